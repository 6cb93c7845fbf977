/* SPDX-License-Identifier: MIT */
/* Traps, interrupts, the clock, and the tables that the processor wants.
 *
 * The tick is the real-time clock's (IRQ 8, 512 a second), as on Pistachio, so
 * that the same fifteen lines are left to user code.
 */
#include "nucleus.h"

#define PIC1 0x20u
#define PIC2 0xa0u
#define TICK_IRQ 8u

static uint64_t gdt[8];
static uint64_t idt[256];
static struct {
    uint32_t link, esp0, ss0, middle[22];
    uint16_t trap, bitmap;
    uint8_t ports[8192];
    uint8_t end;
} __attribute__((packed)) tss;
static const struct space *ports_of; /* whose bitmap is in the TSS */
static uint64_t started;
static uint32_t cycles_per_ms = 1;
uint64_t tick_us;
/* Who has not come a step further is not preempted again: a long stay in the
 * nucleus must not cost a thread its turn. */
static uint32_t resumed_at;
static bool must_arm; /* on the way out, so that user code gets its turn */

/* ---- Tables ----------------------------------------------------------------- */

static uint64_t segment(uint32_t base, uint32_t limit, uint32_t type)
{
    return (uint64_t)(limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
           (uint64_t)(type & 0xff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
           (uint64_t)(type >> 8 & 0xf) << 52 | (uint64_t)(base >> 24) << 56;
}

static void set_vector(unsigned vector, unsigned level)
{
    uint32_t at = (uint32_t)vector_stubs[vector];
    idt[vector] = (uint64_t)(at & 0xffff) | UINT64_C(8) << 16 |
                  (uint64_t)(0x8e00 | level << 13) << 32 |
                  (uint64_t)(at >> 16) << 48;
}

struct pointer {
    uint16_t limit;
    const void *base;
} __attribute__((packed));

static void load_tables(void)
{
    const struct pointer to_gdt = {sizeof gdt - 1, gdt};
    const struct pointer to_idt = {sizeof idt - 1, idt};
    gdt[1] = segment(0, 0xfffff, 0xc9a);
    gdt[2] = segment(0, 0xfffff, 0xc92);
    gdt[3] = segment(0, 0xfffff, 0xcfa);
    gdt[4] = segment(0, 0xfffff, 0xcf2);
    gdt[5] = segment(0xfffff000, 3, 0x4f0); /* %gs: one word, to read */
    gdt[6] = segment((uint32_t)&tss, sizeof tss - 1, 0x089);
    for (unsigned i = 0; i < 256; i++)
        set_vector(i, i == 3 || i == 4 || (i >= 0x90 && i < 0x9a) ? 3 : 0);
    tss.ss0 = 0x10;
    tss.bitmap = 0xffff;
    tss.end = 0xff;
    machine_segments(&to_gdt, &to_idt);
}

void trap_esp0(uint32_t esp0)
{
    tss.esp0 = esp0;
}

/* Few spaces have ports, so that the copy is rare. */
void trap_ports(struct space *space, bool changed)
{
    if (changed && ports_of == space)
        ports_of = NULL;
    if (space != loaded_space)
        return;
    tss.bitmap = 0xffff;
    if (space->ports == NULL)
        return;
    if (ports_of != space)
        memcpy(tss.ports, space->ports, sizeof tss.ports);
    ports_of = space;
    tss.bitmap = offsetof(__typeof__(tss), ports);
}

/* ---- Interrupt controller and clock ------------------------------------------ */

void irq_mask(unsigned irq, bool masked)
{
    uint16_t port = irq < 8 ? PIC1 + 1 : PIC2 + 1;
    uint8_t bit = (uint8_t)(1u << (irq % 8));
    uint8_t old = in8(port);
    out8(port, masked ? old | bit : (uint8_t)(old & ~bit));
}

static void start_controllers(void)
{
    static const uint8_t first[] = {0x11, 0x20, 4, 1},
                         second[] = {0x11, 0x28, 2, 1};
    for (unsigned i = 0; i < 4; i++) {
        out8(i == 0 ? PIC1 : PIC1 + 1, first[i]);
        out8(i == 0 ? PIC2 : PIC2 + 1, second[i]);
    }
    out8(PIC1 + 1, 0xfb);
    out8(PIC2 + 1, 0xff);
}

static uint8_t clock_chip(uint8_t index)
{
    out8(0x70, index);
    return in8(0x71);
}

/* Counts of timer channel 2 since it was set to 0xffff. */
static uint32_t counts_passed(void)
{
    out8(0x43, 0x80);
    uint32_t low = in8(0x42);
    return 0xffff - (low | (uint32_t)in8(0x42) << 8);
}

/* Over a millisecond by the timer: each read of a port costs an emulator more
 * than a thousand instructions.  Both are read at the end, so that it does not
 * matter when the machine stood still meanwhile. */
static uint32_t measure_cycles(void)
{
    uint32_t passed;
    out8(0x61, (uint8_t)((in8(0x61) & ~2u) | 1));
    out8(0x43, 0xb0);
    out8(0x42, 0xff);
    out8(0x42, 0xff);
    uint64_t first = cycles();
    do
        passed = counts_passed();
    while (passed < 1193);
    return (uint32_t)((cycles() - first) * 1193 / passed);
}

static void start_clock(void)
{
    uint32_t one = measure_cycles(), two = measure_cycles();
    uint32_t three = measure_cycles();
    uint32_t low = one < two ? one : two, high = one < two ? two : one;
    cycles_per_ms = three < low ? low : three > high ? high : three;
    if (cycles_per_ms == 0)
        cycles_per_ms = 1;
    started = cycles();
    out8(0x70, 0x0a);
    out8(0x71, 0x27); /* 512 a second */
    uint8_t b = clock_chip(0x0b);
    out8(0x70, 0x0b);
    out8(0x71, b | 0x40);
    clock_chip(0x0c);
    irq_mask(TICK_IRQ, false);
    kip[0x120 / 4 + 1] = cycles_per_ms;
}

/* The next forced preemption.  The timer counts in 838 ns, which with -icount
 * shift=0 is as many instructions, each time the same ones. */
static void arm_preemption(void)
{
    must_arm = false;
    uint32_t counts = 1 + random_below(options.step / 419 + 1);
    out8(0x43, 0x30);
    out8(0x40, (uint8_t)counts);
    out8(0x40, (uint8_t)(counts >> 8));
}

uint64_t clock_us(void)
{
    uint64_t passed = cycles() - started;
    return passed / cycles_per_ms * 1000 +
           passed % cycles_per_ms * 1000 / cycles_per_ms;
}

void trap_init(void)
{
    load_tables();
    start_controllers();
    start_clock();
    if (options.step) {
        irq_mask(0, false);
        must_arm = true;
    }
}

/* ---- Interrupts ------------------------------------------------------------- */

/* A line that fell before it was asked about: the chip names its last one. */
static bool is_false_alarm(unsigned irq)
{
    uint16_t port = irq < 8 ? PIC1 : PIC2;
    if (irq % 8 != 7)
        return false;
    out8(port, 0x0b);
    return !(in8(port) & 0x80);
}

static void interrupt(unsigned irq)
{
    if (is_false_alarm(irq)) {
        if (irq == 15)
            out8(PIC1, 0x20);
        return;
    }
    if (irq != TICK_IRQ)
        irq_mask(irq, true);
    if (irq >= 8)
        out8(PIC2, 0x20);
    out8(PIC1, 0x20);
    if (irq == 0 && options.step) {
        must_arm = true;
        irq_mask(0, false);
        if (current != NULL && current->frame.eip != resumed_at)
            thread_yield(current);
        return;
    }
    if (irq != TICK_IRQ) {
        ipc_raise(irq);
        return;
    }
    clock_chip(0x0c);
    thread_tick();
    ipc_tick();
    tick_us += 1953;
    ipc_expire();
}

void trap_from_nucleus(struct frame *frame)
{
    unsigned vector = frame->vector & 0xff;
    if (vector >= 0x20 && vector < 0x30) {
        interrupt(vector - 0x20);
        return;
    }
    print_frame(frame);
    uint32_t at;
    __asm__ volatile("movl %%cr2, %0" : "=r"(at));
    stop("trap %u in the nucleus, CR2 %x", vector, at);
}

/* ---- Faults ----------------------------------------------------------------- */

static void send_fault(enum purpose purpose, uint32_t tag, uint32_t one,
                       uint32_t two)
{
    current->message[0] = tag;
    current->message[1] = one;
    current->message[2] = two;
    ipc_send(current, purpose, thread_pager(current));
}

static void page_fault(const struct frame *frame)
{
    uint32_t at;
    __asm__ volatile("movl %%cr2, %0" : "=r"(at));
    if (options.trace)
        print("[%x fault %x ip %x %x]\n", current->id, at, frame->eip,
              frame->error);
    send_fault(PAGE_FAULT, (frame->error & 2 ? 0xffe2u : 0xffe5u) << 16 | 2, at,
               frame->eip);
}

static void exception(const struct frame *frame)
{
    uint32_t words[] = {
        0xffb0000c,   frame->eip, frame->eflags, frame->vector & 0xff,
        frame->error, frame->edi, frame->esi,    frame->ebp,
        frame->esp,   frame->ebx, frame->edx,    frame->ecx,
        frame->eax};
    memcpy(current->message, words, sizeof words);
    ipc_send(current, EXCEPTION, current->mr[TCR_HANDLER]);
}

/* Whether the instruction is one of in, out, ins, outs; then log2 of its width
 * and its port. */
static bool is_port_access(const struct frame *frame, uint32_t *port,
                           unsigned *log2)
{
    uint32_t at = frame->eip;
    bool narrow = false;
    const uint8_t *byte = user_bytes(current->space, at);
    while (byte != NULL && (*byte == 0x66 || *byte == 0xf3 || *byte == 0xf2)) {
        narrow = narrow || *byte == 0x66;
        byte = user_bytes(current->space, ++at);
    }
    if (byte == NULL || ((*byte & 0xf4) != 0xe4 && (*byte & 0xfc) != 0x6c))
        return false;
    *log2 = !(*byte & 1) ? 0 : narrow ? 1 : 2;
    *port = frame->edx & 0xffff;
    if ((*byte & 0xfc) == 0xe4) {
        byte = user_bytes(current->space, at + 1);
        if (byte == NULL)
            return false;
        *port = *byte;
    }
    return true;
}

static void protection_fault(const struct frame *frame)
{
    uint32_t port;
    unsigned log2;
    if (frame->error == 0 && options.ports &&
        is_port_access(frame, &port, &log2)) {
        if (port + (1u << log2) > 0x10000 ||
            !io_open(current->space, port, 1u << log2)) {
            send_fault(PORT_FAULT, 0xff860002, port << 16 | log2 << 10 | 0x20,
                       frame->eip);
            return;
        }
        return; /* another space's bitmap was loaded: again */
    }
    exception(frame);
}

static void invalid_opcode(struct frame *frame)
{
    const uint8_t *first = user_bytes(current->space, frame->eip);
    const uint8_t *second = user_bytes(current->space, frame->eip + 1);
    if (first != NULL && second != NULL && *first == 0xf0 && *second == 0x90) {
        frame->eax = current->space->kip;
        frame->ecx = kip[1];
        frame->edx = kip[2];
        frame->esi = kip[kip[3] / 4];
        frame->eip += 2;
        return;
    }
    strict("an invalid instruction at %x: Pistachio enters its debugger",
           frame->eip);
    exception(frame);
}

/* ---- System calls ----------------------------------------------------------- */

static void call_ipc(struct frame *frame)
{
    (void)frame;
    ipc_call(current);
}

static void call_clock(struct frame *frame)
{
    uint64_t now = clock_us();
    frame->eax = (uint32_t)now;
    frame->edx = (uint32_t)(now >> 32);
    frame->ecx = frame->esi = frame->edi = frame->ebx = 0xdead0009;
}

static void call_processor_control(struct frame *frame)
{
    strict("ProcessorControl: not in this nucleus");
    frame->eax = 0;
}

static void system_call(struct frame *frame, unsigned number)
{
    static void (*const calls[])(struct frame *) = {
        call_ipc,
        call_unmap,
        call_exchange_registers,
        call_clock,
        call_thread_switch,
        call_schedule,
        call_thread_control,
        call_space_control,
        call_processor_control,
        call_memory_control,
    };
    if (options.trace)
        print("[%x call %u eax %x ecx %x edx %x esi %x ip %x]\n", current->id,
              number, frame->eax, frame->ecx, frame->edx, frame->esi,
              frame->eip);
    calls[number](frame);
    if (chance(options.yield) && current->state == READY)
        thread_yield(current);
}

static void dispatch(struct frame *frame, unsigned vector)
{
    if (vector >= 0x90 && vector < 0x9a)
        system_call(frame, vector - 0x90);
    else if (vector >= 0x20 && vector < 0x30)
        interrupt(vector - 0x20);
    else if (vector == 14)
        page_fault(frame);
    else if (vector == 13)
        protection_fault(frame);
    else if (vector == 6)
        invalid_opcode(frame);
    else if (vector == 7)
        thread_fpu();
    else if (vector == 3)
        stop("a breakpoint, which means the kernel debugger");
    else
        exception(frame);
}

/* Who seems to run in virtual-8086 mode, to step, or to have closed interrupts.
 * From the log of QEMU 7.2 we infer that it may take an operand for the flags
 * when `lock cmpxchg8b' is interrupted behind an addition.  It is no fault of
 * ours or of the image, then: the run is void. */
static void judge_flags(const struct frame *frame)
{
    uint32_t free = 0x00250cd5u; /* what user code may change */
    uint32_t fixed = options.ports ? 0x202u : 0x3202u;
    if ((frame->eflags & ~free) == fixed)
        return;
    print("\nnucleus: EMULATOR: thread %x at %x has the flags %x\n"
          "KD# the run is void\n",
          current->id, frame->eip, frame->eflags);
    for (;;)
        __asm__ volatile("cli; hlt");
}

struct frame *trap_from_user(struct frame *frame)
{
    unsigned vector = frame->vector & 0xff;
    judge_flags(frame);
    if (frame != &current->frame)
        stop("a trap of thread %x came to the wrong place", current->id);
    dispatch(frame, vector);
    if (options.check && (vector < 0x20 || vector >= 0x30)) {
        thread_check();
        ipc_check();
        tree_check();
        io_check();
    }
    struct thread *next = thread_choose();
    if (next != current || loaded_space != next->space)
        thread_switch_to(next);
    if (must_arm)
        arm_preemption();
    resumed_at = next->frame.eip;
    return &next->frame;
}
