/* SPDX-License-Identifier: MIT */
/* Breaks one of the rules that X.2 gives to its users: a strict kernel stops,
 * and says who broke which.  `rule=999' on the command line lists them: the
 * words that the kernel is to be booted with, who is to be named, and a part of
 * what is to be said (a pattern of grep). */
#include "tests/l4/probe/probe.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define KEEP 0xffffffffu

static uint32_t root(void)
{
    return l4_global_id(50, 1);
}

/* ---- What the rules share ---------------------------------------------------- */

static void rest_there(void)
{
    rest();
}

static void doze(void)
{
    hmm_l4_ipc(L4_NIL, l4_my_id(), 7u << 10 | 100u, NULL);
}

static void take_items(void)
{
    for (;;)
        hmm_l4_ipc(L4_NIL, L4_ANY, NEVER, NULL);
}

/* To one that waits and takes mappings. */
static void map_there(uint32_t item, uint32_t fpage)
{
    uint32_t id = worker_start(1, take_items);
    doze();
    *(volatile uint32_t *)(worker_local(1) - 64) = L4_FPAGE_ALL;
    utcb()[0] = l4_tag(0, 0, 2);
    utcb()[1] = item;
    utcb()[2] = fpage;
    hmm_l4_ipc(id, L4_NIL, NEVER, NULL);
}

static void map_page_there(uint32_t item)
{
    map_there(item, l4_fpage(page(), 12, 7));
}

/* Not on the stack, which is moved around the call. */
static uint32_t gate;

/* A system call with any registers. */
static void call_gate(uint32_t offset, uint32_t eax, uint32_t edi)
{
    const char *kip = hmm_l4_kernel_interface();
    gate = (uint32_t)(uintptr_t)kip + l4_kip_word(kip, offset);
    uint32_t esi = 0, edx = 0, ecx = AT_ONCE;
    __asm__ volatile(
        "pushl %%ebp; pushl %%ebx; call *%5; popl %%ebx; popl %%ebp"
        : "+a"(eax), "+d"(edx), "+c"(ecx), "+S"(esi), "+D"(edi)
        : "m"(gate)
        : "memory", "cc");
}

/* A client that has a space but does not run. */
static uint32_t space_new(uint32_t kip, uint32_t utcbs, uint32_t control,
                          uint32_t redirector)
{
    uint32_t id = worker_id(CLIENT);
    hmm_l4_thread_control(id, id, l4_my_id(), L4_NIL, KEEP);
    hmm_l4_space_control(id, control, kip, utcbs, redirector);
    return id;
}

#define KIP_THERE l4_fpage(0xb8000000, 12, 0)
#define UTCBS_THERE l4_fpage(0xb0000000, 12, 0)

static void ask(uint32_t label, unsigned untyped, uint32_t one)
{
    utcb()[0] = l4_tag(label, untyped, 0);
    utcb()[1] = one;
    utcb()[2] = 0;
    hmm_l4_ipc(SIGMA0, SIGMA0, NEVER, NULL);
}

/* ---- Flexpages and mappings -------------------------------------------------- */

static void flexpage_unaligned(void)
{
    unmap_one(l4_fpage(page() + 0x1000, 13, 7), false);
}

static void flexpage_reserved(void)
{
    unmap_one(l4_fpage(page(), 12, 7) | 8, false);
}

static void flexpage_small(void)
{
    map_there(WINDOW | L4_ITEM_MAP, l4_fpage(page(), 10, 7));
}

static void map_no_rights(void)
{
    map_there(WINDOW | L4_ITEM_MAP, l4_fpage(page(), 12, 0));
}

static void map_nothing(void)
{
    map_there(WINDOW | L4_ITEM_MAP, l4_fpage(WINDOW + 0x800000, 12, 7));
}

static void map_over_utcbs(void)
{
    map_page_there(0xbf000000 | L4_ITEM_MAP);
}

static void map_over_kip(void)
{
    map_page_there(0xbff00000 | L4_ITEM_MAP);
}

static void map_onto_itself(void)
{
    uint32_t from = page();
    map_there(from | L4_ITEM_MAP, l4_fpage(from, 12, 7));
}

static void map_into_large(void)
{
    uint32_t large = memory_take(0x1400000, 22, NULL);
    map_there(0x50000000 | L4_ITEM_MAP, l4_fpage(large, 22, 7));
    worker_end(1);
    map_page_there(0x50003000 | L4_ITEM_MAP);
}

static void item_of_no_kind(void)
{
    map_page_there(0x20);
}

static void item_cut_off(void)
{
    worker_start(1, take_items);
    doze();
    utcb()[0] = 1u << 6;
    utcb()[1] = WINDOW | L4_ITEM_MAP;
    hmm_l4_ipc(worker_id(1), L4_NIL, NEVER, NULL);
}

static void item_reserved(void)
{
    map_page_there(WINDOW | 0x100 | L4_ITEM_MAP);
}

static void grant_part(void)
{
    uint32_t large = memory_take(0x1400000, 22, NULL);
    map_there(WINDOW | L4_ITEM_GRANT, l4_fpage(large + 0x3000, 12, 7));
}

static void flush_part(void)
{
    uint32_t large = memory_take(0x1400000, 22, NULL);
    unmap_one(l4_fpage(large + 0x3000, 12, 7), true);
}

static void map_ports(void)
{
    map_there(L4_ITEM_MAP, l4_io_fpage(0x1f0, 3) | 6);
}

static void unmap_reserved(void)
{
    utcb()[0] = l4_fpage(page(), 12, 0);
    hmm_l4_unmap(0x80);
}

/* ---- Threads and spaces ------------------------------------------------------ */

static void delete_nobody(void)
{
    hmm_l4_thread_control(worker_id(5), L4_NIL, L4_NIL, L4_NIL, KEEP);
}

static void send_zero(void)
{
    send(worker_id(0), 1, 0, NEVER);
    rest();
}

static void delete_awaited(void)
{
    worker_start(0, rest_there);
    worker_start(1, send_zero);
    doze();
    worker_end(0);
}

static void delete_handler(void)
{
    uint32_t irq = 14u << 14 | 1;
    worker_new(0);
    hmm_l4_thread_control(irq, irq, L4_NIL, worker_id(0), KEEP);
    worker_end(0);
}

static void halt_waiting(void)
{
    uint32_t id = worker_start(0, rest_there);
    doze();
    hmm_l4_exchange(id, L4_EXCHANGE_HALT, 0, 0);
}

static void exchange_reserved(void)
{
    hmm_l4_exchange(l4_my_id(), 0x1000, 0, 0);
}

static void utcb_twice(void)
{
    uint32_t me = l4_my_id();
    worker_new(0);
    hmm_l4_thread_control(worker_id(1), me, me, me, 0xbf000200);
}

static void move_active(void)
{
    uint32_t client = space_new(KIP_THERE, UTCBS_THERE, 0, 0);
    hmm_l4_thread_control(worker_new(0), client, l4_my_id(), L4_NIL, KEEP);
}

static void control_sigma0(void)
{
    hmm_l4_thread_control(SIGMA0, SIGMA0, L4_NIL, l4_my_id(), KEEP);
}

static void control_local(void)
{
    hmm_l4_thread_control(worker_id(0), 0xbf0ff100, l4_my_id(), L4_NIL, KEEP);
}

static void schedule_high(void)
{
    hmm_l4_schedule(l4_my_id(), 300, KEEP, KEEP, KEEP);
}

static void schedule_elsewhere(void)
{
    hmm_l4_schedule(l4_my_id(), KEEP, KEEP, 1, KEEP);
}

static void switch_nobody(void)
{
    hmm_l4_switch(worker_id(9));
}

static void space_control_word(void)
{
    space_new(KIP_THERE, UTCBS_THERE, 1, 0);
}

static void space_redirector(void)
{
    space_new(KIP_THERE, UTCBS_THERE, 0, l4_my_id());
}

static void space_utcbs(void)
{
    space_new(KIP_THERE, l4_fpage(0xb0001000, 13, 0), 0, 0);
}

static void space_kip(void)
{
    space_new(KIP_THERE | 8, UTCBS_THERE, 0, 0);
}

static void processor_control(void)
{
    call_gate(0xd8, 0, 0);
}

/* ---- Messages ---------------------------------------------------------------- */

static void send_never_was(void)
{
    send(l4_global_id(200, 1), 0, 0, NEVER);
}

static void send_local_nobody(void)
{
    send(0xbf0ff100, 0, 0, NEVER);
}

static void acknowledge(void)
{
    send(14u << 14 | 1, 0, 0, NEVER);
}

static void send_too_much(void)
{
    utcb()[0] = 63u << 6 | 1;
    hmm_l4_ipc(SIGMA0, L4_NIL, AT_ONCE, NULL);
}

static void send_flags(void)
{
    uint32_t id = worker_start(0, rest_there);
    utcb()[0] = 0x2000;
    hmm_l4_ipc(id, L4_NIL, AT_ONCE, NULL);
}

static void wait_until(void)
{
    hmm_l4_ipc(L4_NIL, l4_my_id(), 0x8401, NULL);
}

static void wait_until_after_sending(void)
{
    utcb()[0] = 0;
    hmm_l4_ipc(root(), l4_my_id(), L4_TIMEOUTS(0, 0x8401), NULL);
    rest();
}

/* Whose message is taken by another, and who only then begins to wait. */
static void wait_until_later(void)
{
    uint32_t id = worker_start(0, wait_until_after_sending);
    doze();
    hmm_l4_ipc(L4_NIL, id, NEVER, NULL);
}

static void propagate(void)
{
    worker_start(1, take_items);
    doze();
    utcb()[L4_TCR_VIRTUAL_SENDER] = worker_id(9);
    utcb()[0] = L4_TAG_PROPAGATE;
    hmm_l4_ipc(worker_id(1), L4_NIL, NEVER, NULL);
}

static void ipc_utcb(void)
{
    call_gate(L4_KIP_IPC, L4_NIL, 0x1000);
}

static void unmap_utcb(void)
{
    call_gate(L4_KIP_UNMAP, 0, 0x1000);
}

static void memory_utcb(void)
{
    call_gate(L4_KIP_MEMORY_CONTROL, 0, 0x1000);
}

/* ---- Sigma0 ------------------------------------------------------------------ */

static void sigma0_no_window(void)
{
    utcb()[L4_BR(0)] = 0;
    ask(L4_LABEL_SIGMA0, 2, l4_fpage(0x1800000, 12, 7));
}

static void sigma0_not_asked(void)
{
    hmm_l4_ipc(L4_NIL, SIGMA0, AT_ONCE, NULL);
}

static void sigma0_not_awaited(void)
{
    utcb()[L4_BR(0)] = L4_FPAGE_ALL;
    utcb()[0] = l4_tag(L4_LABEL_SIGMA0, 2, 0);
    utcb()[1] = l4_fpage(0x1800000, 12, 7);
    utcb()[2] = 0;
    hmm_l4_ipc(SIGMA0, L4_NIL, NEVER, NULL);
}

static void sigma0_small(void)
{
    memory_take(0x1800000, 10, NULL);
}

static void sigma0_ports(void)
{
    ask(L4_LABEL_SIGMA0, 2, l4_io_fpage(0, 17));
}

static void sigma0_any_ports(void)
{
    ask(L4_LABEL_SIGMA0, 2, l4_io_fpage(0x1f0, 3));
}

static void sigma0_one_word(void)
{
    ask(L4_LABEL_SIGMA0, 1, l4_fpage(0x1800000, 12, 7));
}

static void sigma0_other_label(void)
{
    ask(0x1230, 2, l4_fpage(0x1800000, 12, 7));
}

static void fault_outside(void)
{
    *(volatile uint32_t *)0x800000 = 1;
}

/* ---- Faults and exceptions --------------------------------------------------- */

static void touch_unpaged(void)
{
    utcb()[L4_TCR_PAGER] = L4_NIL;
    *(volatile uint32_t *)WINDOW = 1;
}

static void port_unpaged(void)
{
    utcb()[L4_TCR_PAGER] = L4_NIL;
    l4_in8(0x1f7);
}

static void divide(void)
{
    uint32_t left = 1;
    __asm__ volatile("xorl %%ecx, %%ecx; divl %%ecx"
                     : "+a"(left)
                     :
                     : "ecx", "edx");
}

static void divide_unhandled(void)
{
    utcb()[L4_TCR_EXCEPTION_HANDLER] = L4_NIL;
    divide();
}

static void divide_handled(void)
{
    utcb()[L4_TCR_EXCEPTION_HANDLER] = root();
    divide();
}

static void page_fault(void)
{
    worker_start(0, touch_unpaged);
    doze();
}

static void port_fault(void)
{
    worker_start(0, port_unpaged);
    doze();
}

static void exception(void)
{
    worker_start(0, divide_unhandled);
    doze();
}

static void exception_answer(void)
{
    uint32_t id = worker_start(0, divide_handled);
    hmm_l4_ipc(L4_NIL, id, SOON, NULL);
    send(id, 0, 3, NEVER);
}

static void invalid_instruction(void)
{
    __asm__ volatile("ud2");
}

/* ---- Of a client ------------------------------------------------------------- */

static void client_body(void)
{
    unmap_one(l4_fpage(0x1001000, 13, 7), false);
    send(root(), 0x80, 0, NEVER);
    rest();
}

static void client_unaligned(void)
{
    uint32_t sender;
    client_start(client_body);
    if (l4_tag_label(client_wait(&sender)) != 0x80)
        hmm_l4_printf("the client does not go on\n");
}

/* ---- All --------------------------------------------------------------------- */

#define WORKER0 "f0001"
#define ROOT_ID "c8001"
#define CLIENT_ID "140001"

static const struct {
    void (*broken)(void);
    const char *who, *said;
    const char *words; /* more than check=1 */
} rules[] = {
    {flexpage_unaligned, ROOT_ID, "Unmap: flexpage .* not aligned", ""},
    {flexpage_reserved, ROOT_ID, "flexpage .* has the reserved bit 3", ""},
    {flexpage_small, ROOT_ID, "map item: .* smaller than a page", ""},
    {map_no_rights, ROOT_ID, "maps 40000000 without rights", ""},
    {map_nothing, ROOT_ID, "maps 408000c7, where it has no page", ""},
    {map_over_utcbs, ROOT_ID, "maps over the KIP or UTCB area", ""},
    {map_over_kip, ROOT_ID, "maps over the KIP or UTCB area", ""},
    {map_onto_itself, ROOT_ID, "maps onto .* what comes from there", ""},
    {map_into_large, ROOT_ID, "maps 4 KiB at 50003000 over .* 4 MiB", ""},
    {item_of_no_kind, ROOT_ID, "typed item 20, word 1 of 2, is none", ""},
    {item_cut_off, ROOT_ID, "typed item 40000008, word 1 of 1, is none", ""},
    {item_reserved, ROOT_ID, "map item 40000108 has reserved bits", ""},
    {grant_part, ROOT_ID, "grants a part of the 4 MiB page at 1400000", ""},
    {flush_part, ROOT_ID, "flushes a part of the 4 MiB page at 1400000", ""},
    {map_ports, ROOT_ID, "maps I/O ports 1f00c26 that it does not", ""},
    {unmap_reserved, ROOT_ID, "Unmap with control 80", ""},
    {delete_nobody, ROOT_ID, "deletes 104001, which is no thread", ""},
    {delete_awaited, ROOT_ID, "deletes f0001, to which f4001 sends", ""},
    {delete_handler, ROOT_ID, "deletes f0001, the handler of IRQ 14", ""},
    {halt_waiting, ROOT_ID, "halts thread f0001, which is in an Ipc", ""},
    {exchange_reserved, ROOT_ID, "ExchangeRegisters with control 1000", ""},
    {utcb_twice, ROOT_ID, "gives thread f4001 the UTCB of another", ""},
    {move_active, ROOT_ID, "moves the active thread f0001", ""},
    {control_sigma0, ROOT_ID, "means sigma0 or sigma1, c0001", ""},
    {control_local, ROOT_ID, "bf0ff100, which is no local identifier", ""},
    {schedule_high, ROOT_ID, "Schedule with priority 12c", ""},
    {schedule_elsewhere, ROOT_ID, "Schedule to processor 1", ""},
    {switch_nobody, ROOT_ID, "switches to 114001, which is no thread", ""},
    {space_control_word, ROOT_ID, "SpaceControl with control 1", ""},
    {space_redirector, ROOT_ID, "SpaceControl with the redirector", ""},
    {space_utcbs, ROOT_ID, "UTCB area: flexpage .* not aligned", ""},
    {space_kip, ROOT_ID, "KIP area: flexpage .* reserved bit", ""},
    {processor_control, ROOT_ID, "ProcessorControl", ""},
    {send_never_was, ROOT_ID, "sends to 320001, which never was", ""},
    {send_local_nobody, ROOT_ID, "bf0ff100, which is no local identifier", ""},
    {acknowledge, ROOT_ID, "acknowledges IRQ 14, which it was not", ""},
    {send_too_much, ROOT_ID, "sends 64 message registers", ""},
    {send_flags, ROOT_ID, "sends a tag with reserved flags: 2000", ""},
    {wait_until, ROOT_ID, "a point in time as a timeout", ""},
    {wait_until_later, WORKER0, "a point in time as a timeout", ""},
    {propagate, ROOT_ID, "propagates for 114001, which it may not", ""},
    {ipc_utcb, ROOT_ID, "Ipc with 1000 for its UTCB", ""},
    {unmap_utcb, ROOT_ID, "Unmap with 1000 for its UTCB", ""},
    {memory_utcb, ROOT_ID, "MemoryControl with 1000 for its UTCB", ""},
    {sigma0_no_window, ROOT_ID, "sigma0 without a receive window", ""},
    {sigma0_not_asked, ROOT_ID, "waits for sigma0, which has nothing", ""},
    {sigma0_not_awaited, ROOT_ID, "does not wait for the answer", ""},
    {sigma0_small, ROOT_ID, "asks sigma0 for a page of 2^10", ""},
    {sigma0_ports, ROOT_ID, "asks sigma0 for I/O ports 4420", ""},
    {sigma0_any_ports, ROOT_ID, "the KIP has no ioflexpages", "ports=0"},
    {sigma0_one_word, ROOT_ID, "that it drops, tag ffa00001", ""},
    {sigma0_other_label, ROOT_ID, "what it does not know, tag 12300002", ""},
    {fault_outside, ROOT_ID, "faults at 800000, ip 4", ""},
    {page_fault, WORKER0, "its page fault at ip .* found no pager", ""},
    {port_fault, WORKER0, "its I/O fault at ip .* found no pager", ""},
    {exception, WORKER0, "its exception at ip .* found no pager or ", ""},
    {exception_answer, ROOT_ID, "is answered by 3 words, not 12", ""},
    {invalid_instruction, ROOT_ID, "an invalid instruction at 4", ""},
    {client_unaligned, CLIENT_ID, "Unmap: flexpage .* not aligned", "strict=2"},
};

/* Those that leave a forgiving kernel and us in working order, one after the
 * other: `rule=998', for a kernel that checks itself. */
static void break_all(void)
{
    static void (*const mild[])(void) = {
        flexpage_unaligned, flexpage_reserved, flexpage_small,
        map_no_rights,      map_nothing,       map_over_utcbs,
        map_over_kip,       map_into_large,    item_of_no_kind,
        item_cut_off,       item_reserved,     grant_part,
        map_ports,          unmap_reserved,    delete_nobody,
        delete_awaited,     delete_handler,    exchange_reserved,
        move_active,        control_sigma0,    control_local,
        schedule_elsewhere, switch_nobody,     space_redirector,
        send_never_was,     send_local_nobody, acknowledge,
        send_flags,         propagate,         sigma0_not_awaited,
        sigma0_small,       page_fault,        port_fault,
        exception,          exception_answer,  client_unaligned,
    };
    for (unsigned i = 0; i < COUNT(mild); i++) {
        hmm_l4_printf("breaks %u of %u\n", i, (unsigned)COUNT(mild));
        mild[i]();
        utcb()[L4_BR(0)] = L4_FPAGE_ALL;
        worker_end(0);
        worker_end(1);
        client_end();
    }
}

void break_rule(unsigned rule)
{
    if (rule == 998) {
        break_all();
        hmm_l4_printf("nobody minded\n");
        rest();
    }
    if (rule < COUNT(rules)) {
        hmm_l4_printf("breaks rule %u\n", rule);
        rules[rule].broken();
        hmm_l4_printf("nobody minded\n");
        rest();
    }
    for (unsigned i = 0; i < COUNT(rules); i++)
        hmm_l4_printf("rule %u %s check=1%s%s / %s\n", i, rules[i].who,
                      rules[i].words[0] == '\0' ? "" : " ", rules[i].words,
                      rules[i].said);
    hmm_l4_printf("L4 IMAGE ENDS\n");
    rest();
}
