/* SPDX-License-Identifier: MIT */
/* The nucleus: a small L4 X.2 kernel for tests.
 *
 * One processor, one kernel stack, interrupts closed in the nucleus: every trap
 * runs to its end, changes the state of threads, and resumes one of them.  A
 * thread that waits keeps what it waits for in its control block; whoever ends
 * the wait writes the results into its frame.
 *
 * Layers, each using those above it: print, options; pages (physical memory,
 * page tables); tree (mappings); io (ports); space; thread (table, ready
 * queues); sigma0; ipc; control (the other system calls); trap; boot.
 */
#ifndef NUCLEUS_H
#define NUCLEUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_BASE 0xc0000000u
#define USER_END 0xc0000000u
#define PAGE 4096u
#define LARGE 0x400000u
#define PAGE_LOG2 12u
#define LARGE_LOG2 22u

/* ---- Identifiers ----------------------------------------------------------- */

#define NIL 0u
#define ANY 0xffffffffu
#define ANY_LOCAL 0xffffffc0u
#define SYSTEM_BASE 16u /* the first number that is no interrupt */
#define USER_BASE 48u
#define SIGMA0 (USER_BASE << 14 | 1)
#define ROOT ((USER_BASE + 2) << 14 | 1)

/* Error codes of Ipc, and of the others. */
#define IPC_TIMEOUT 1u
#define IPC_NOBODY 2u
#define IPC_CANCELED 3u
#define IPC_OVERFLOW 4u
#define IPC_ABORTED 7u
#define NO_PRIVILEGE 1u
#define BAD_THREAD 2u
#define BAD_SPACE 3u
#define BAD_PARAMETER 5u
#define BAD_UTCB_AREA 6u
#define BAD_KIP_AREA 7u

#define TAG_ERROR 0x8000u
#define READ 4u
#define WRITE 2u
#define EXECUTE 1u

/* UTCB words relative to message register 0. */
#define TCR_VIRTUAL_SENDER (-6)
#define TCR_ERROR (-9)
#define TCR_HANDLER (-11)
#define TCR_PAGER (-12)
#define TCR_HANDLE (-13)
#define TCR_ID (-15)
#define BR0 (-16)

/* ---- Structures ------------------------------------------------------------ */

/* What is on the stack after a trap, from the lowest address. */
struct frame {
    uint32_t edi, esi, ebp, unused, ebx, edx, ecx, eax;
    uint32_t vector, error;
    uint32_t eip, cs, eflags, esp, ss;
};

struct space {
    bool used, ready; /* ready: its areas are known */
    uint32_t *directory;
    uint32_t directory_at; /* physical */
    uint32_t kip, utcb, utcb_log2;
    unsigned threads;
    uint8_t *ports; /* a bit set for each that is closed; null for all */
};

/* A mapping: the address space, where, and what it came from.  The children of
 * a node map frames of it, in any space.  Nodes that sigma0 gave hang below
 * `sigma0_node', which has no space. */
struct node {
    struct node *parent, *child, *next, *before;
    struct node *chain; /* of the hash table */
    struct space *space;
    uint32_t address, frame;
    uint8_t log2, rights;
    uint8_t seen; /* status that was read below, for those above */
};

enum state { INACTIVE, READY, HALTED, SENDING, WAITING };

/* Whose message it is: the thread's own (in its UTCB) or one that the nucleus
 * sends or takes for it (in `message'). */
enum purpose { OWN, PAGE_FAULT, PORT_FAULT, EXCEPTION, STARTUP };

struct thread {
    struct frame frame; /* first: see entry.S */
    uint8_t fpu[512] __attribute__((aligned(16)));
    uint32_t id;
    struct space *space;
    uint32_t local;        /* address of message register 0 */
    volatile uint32_t *mr; /* the same for the nucleus; null: inactive */
    uint32_t scheduler;
    enum state state;
    enum purpose purpose;
    bool used, halted; /* halted: as soon as it is ready */
    bool uses_fpu;
    uint8_t priority;
    unsigned slice;
    struct thread *next, *before;         /* ready queue */
    struct thread *senders, *next_sender; /* who waits to send to it */
    uint32_t to, from, timeouts;          /* of the Ipc it is in */
    uint64_t deadline;                    /* 0: none */
    bool reply_ready;                     /* sigma0 has answered */
    uint32_t reply[3];                    /* tag and map item */
    uint32_t message[64];
    struct thread *chain; /* of the table */
};

/* An interrupt as a thread of its own: halted, or its handler has yet to take
 * the message, or to acknowledge it. */
enum line_state { LINE_FREE, LINE_OPEN, LINE_PENDING, LINE_TAKEN };
struct line {
    enum line_state state;
    uint32_t handler;
    unsigned late;  /* ticks until it is told */
    bool again;     /* came while it was being handled (edge, spurious) */
    unsigned order; /* of arrival, among pending lines */
};

/* ---- print.c, options.c ---------------------------------------------------- */

void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The nucleus itself is wrong, or cannot go on. */
_Noreturn void stop(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
/* The caller (`blamed', if set, or the current thread) breaks a rule of X.2, or
 * relies on what it leaves undefined.  Stops if it is of the root task's space,
 * because clients may do what they like, or always where strict is 2, or never
 * where it is 0; otherwise returns.  Each place that says so is broken once by
 * tests/l4/probe/rules.c. */
#define strict(...) strict_at(__FILE_NAME__, __LINE__, __VA_ARGS__)
void strict_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
extern struct thread *blamed;
void print_frame(const struct frame *frame);

struct options {
    unsigned strict, check, trace;
    unsigned seed;
    unsigned yield;    /* per mille of system calls that preempt the caller */
    unsigned step;     /* preempt after so many instructions, on average */
    unsigned slice;    /* ticks of a time slice */
    unsigned late;     /* interrupts come up to so many ticks late */
    unsigned spurious; /* per mille of ticks with an interrupt nobody sent */
    unsigned less;     /* per mille of pages that are not mapped */
    unsigned timeout;  /* per mille of finite waits that end late */
    unsigned cancel;   /* per mille of own waits that are cancelled */
    unsigned refuse;   /* per mille of large pages that sigma0 refuses */
    unsigned ports;    /* 0: all I/O ports are open, no I/O flexpages */
};
extern struct options options;
void options_read(const char *line);
/* True `per_mille' times in a thousand, by the seed. */
bool chance(unsigned per_mille);
uint32_t random_below(uint32_t bound);

/* ---- pages.c ---------------------------------------------------------------- */

#define PTE_PRESENT 0x001u
#define PTE_WRITE 0x002u
#define PTE_USER 0x004u
#define PTE_UNCACHED 0x010u
#define PTE_ACCESSED 0x020u
#define PTE_DIRTY 0x040u
#define PTE_LARGE 0x080u
#define PTE_KERNEL 0x200u /* KIP or UTCB: no mapping */

static inline void *from_physical(uint32_t at)
{
    return (void *)(at + KERNEL_BASE);
}
static inline uint32_t to_physical(const void *at)
{
    return (uint32_t)at - KERNEL_BASE;
}
extern uint32_t kernel_directory[1024];
void pages_init(uint32_t start, uint32_t end);
void *page_get(void); /* zeroed */
void page_put(void *page);
void *page_run(unsigned pages);
/* The entry for an address: a large one, or one of a page table; null if there
 * is no table, unless `make'. */
uint32_t *page_entry(struct space *space, uint32_t address, bool make);
/* Where the bytes of a user address are, or null. */
const uint8_t *user_bytes(struct space *space, uint32_t address);
void tlb_drop(const struct space *space, uint32_t address);
extern struct space *loaded_space;

/* ---- tree.c ----------------------------------------------------------------- */

extern struct node sigma0_node;
struct node *node_find(struct space *space, uint32_t address);
void tree_map(struct space *from, uint32_t fpage, struct space *to,
              uint32_t window, uint32_t base, bool grant);
/* From sigma0, idempotent. */
void tree_give(uint32_t fpage, struct space *to, uint32_t window,
               uint32_t base);
uint32_t tree_unmap(struct space *space, uint32_t fpage, bool flush);
void tree_clear(struct space *space);
void tree_check(void);
unsigned tree_count(void);

static inline unsigned fpage_log2(uint32_t fpage)
{
    return (fpage & ~0xfu) == 0x10 ? 32 : fpage >> 4 & 0x3f;
}
static inline bool fpage_is_io(uint32_t fpage)
{
    return (fpage & 0x3f0u) == 0x20;
}
/* Strict: a memory flexpage as X.2 has it. */
void fpage_judge(uint32_t fpage, const char *what);

/* ---- io.c ------------------------------------------------------------------- */

void io_give(uint32_t fpage, struct space *to);
void io_map(struct space *from, uint32_t fpage, struct space *to);
void io_unmap(struct space *space, uint32_t fpage, bool flush);
void io_clear(struct space *space);
bool io_open(const struct space *space, unsigned port, unsigned count);
void io_check(void);

/* ---- space.c ---------------------------------------------------------------- */

#define SPACES 64
extern struct space spaces[SPACES];
struct space *space_new(void);
void space_areas(struct space *space, uint32_t kip, uint32_t utcb,
                 unsigned utcb_log2);
void space_free(struct space *space);
/* The kernel's address of a UTCB's message register 0. */
volatile uint32_t *space_utcb(struct space *space, uint32_t local);
bool space_reserved(const struct space *space, uint32_t address,
                    uint32_t length);

/* ---- thread.c --------------------------------------------------------------- */

extern struct thread *current;
extern struct thread *all_threads[512];
extern unsigned thread_count;
struct thread *thread_find(uint32_t id);
struct thread *thread_by_number(uint32_t number);
bool thread_existed(uint32_t number);
struct thread *thread_local(struct space *space, uint32_t local);
struct thread *thread_new(uint32_t id);
void thread_free(struct thread *thread);
void thread_ready(struct thread *thread);
void thread_block(struct thread *thread, enum state state);
void thread_set_priority(struct thread *thread, unsigned priority);
void thread_yield(struct thread *thread);
/* Chooses who goes on; waits for an interrupt if nobody can. */
struct thread *thread_choose(void);
void thread_switch_to(struct thread *thread);
void thread_prefer(struct thread *thread);
void thread_tick(void);
void thread_check(void);
void thread_fpu(void);
bool is_privileged(const struct space *space);
/* The identifier by which `whom' is told of `thread'. */
uint32_t id_for(const struct thread *thread, const struct thread *whom);
uint32_t thread_pager(const struct thread *thread);

/* ---- sigma0.c --------------------------------------------------------------- */

void sigma0_init(uint32_t memory);
void sigma0_own(uint32_t start, uint32_t end, uint32_t owner);
/* A request of two or three words; leaves the answer in sender->reply. */
void sigma0_request(struct thread *sender, uint32_t tag,
                    const volatile uint32_t *words);

/* ---- ipc.c ------------------------------------------------------------------ */

void ipc_call(struct thread *thread);
void ipc_send(struct thread *thread, enum purpose purpose, uint32_t to);
void ipc_expire(void);
void ipc_cancel(struct thread *thread, uint32_t reason);
void ipc_forget(struct thread *thread);
void ipc_raise(unsigned irq);
void ipc_tick(void);
bool ipc_attach(unsigned irq, uint32_t handler);
void ipc_check(void);
extern struct line lines[16];

/* ---- control.c, trap.c, boot.c ---------------------------------------------- */

void call_thread_control(struct frame *frame);
void call_space_control(struct frame *frame);
void call_exchange_registers(struct frame *frame);
void call_schedule(struct frame *frame);
void call_thread_switch(struct frame *frame);
void call_unmap(struct frame *frame);
void call_memory_control(struct frame *frame);

void trap_init(void);
void trap_esp0(uint32_t esp0);
/* Makes the ports of the space that is loaded take effect. */
void trap_ports(struct space *space, bool changed);
void irq_mask(unsigned irq, bool masked);
uint64_t clock_us(void);
extern uint64_t tick_us; /* what timeouts are counted in */
struct frame *trap_from_user(struct frame *frame);
void trap_from_nucleus(struct frame *frame);
_Noreturn void machine_resume(void *frame) __attribute__((regparm(1)));
void machine_segments(const void *gdt, const void *idt);
extern uint8_t vector_stubs[256][16];

#define KIP_DESCRIPTORS 0x200u
#define KIP_DESCRIPTORS_MAX 64u
extern uint32_t kip[1024];
void boot_main(uint32_t magic, uint32_t information);
struct boot_piece {
    uint32_t start, end, type;
};
unsigned kip_kind(uint32_t address);

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}
static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static inline uint64_t cycles(void)
{
    uint64_t value;
    __asm__ volatile("rdtsc" : "=A"(value));
    return value;
}

void *memset(void *to, int value, size_t length);
void *memcpy(void *to, const void *from, size_t length);

#endif
