/* SPDX-License-Identifier: MIT */
/* What the files of the L4 port share.
 *
 * memory.c   physical memory: what sigma0 gives, page by page
 * thread.c   the task's threads, their stacks, sleep and wake
 * table.c    what is lent where: a page table of our own for each space
 * fault.c    the dispatcher: faults and exceptions, and the answers to them
 * large.c    4 MiB pages
 * port.c     the table of functions, opening and closing, lend and reclaim
 * task.c     client address spaces
 * begin.c    from the first instruction to hurdmm_l4_main; boot modules
 *
 * Lending is lazy.  lend writes into the space's table; the page is mapped by
 * the answer to the page-fault message of whoever touches it.  A fault that the
 * table can answer never leaves the dispatcher.  Unmap is by frame and hits
 * every address of it; those that keep their entry come back by such a fault.
 * So aliases are right without the core's help, and a replaced page is the old
 * one until the old one is unmapped and the new one from then on.
 *
 * One lock (hmm_l4_lock) guards everything here.  There is one processor, a
 * holder is seldom preempted, and whoever finds the lock taken yields.  It is held over Unmap and over messages with a zero timeout,
 * never over anything that waits.  A message with a map item is sent under the
 * lock, so that no mapping arrives after its entry has gone.
 *
 * The core's lock is taken before this one, never after.
 */
#ifndef HMM_L4_PORT_H
#define HMM_L4_PORT_H

#include <hurdmm/error.h>
#include <hurdmm/l4.h>
#include <hurdmm/port.h>

#include "backends/l4-x86/abi.h"
#include "backends/l4-x86/system.h"
#include "lib/base/assert.h"

#define L4_PORTS_MAX 4u
#define L4_OWN_THREADS 64u
#define L4_THREADS 128u           /* own ones, then the tasks' */
#define L4_WINDOW_END 0x40000000u /* our regions lie above it */
#define L4_CLIENT_LOW 0x10000u    /* nothing at address 0 */
#define L4_USER_END 0xc0000000u
#define L4_PRIORITY 100u

/* ---- memory.c: pages below L4_WINDOW_END, at their physical addresses ---- */

void hmm_l4_memory_init(const void *kip);
/* Starts the thread that asks sigma0, once there is a dispatcher. */
void hmm_l4_memory_start(void);
/* Whether the kernel maps 4 MiB as one page. */
bool hmm_l4_has_large(void);
/* Takes `count' pages in a row, at `hint' if that is free, else anywhere.  What
 * is in them is undefined.  ENOMEM. */
int hmm_l4_pages_take(uint32_t count, uint32_t hint, uint32_t *base);
/* The longest row up to `count'.  ENOMEM: there is not one page. */
int hmm_l4_pages_take_most(uint32_t *count, uint32_t *base);
void hmm_l4_pages_give(uint32_t base, uint32_t count);
/* Makes 4 MiB that are one page small pages; they are not there meanwhile. */
void hmm_l4_pages_split(uint32_t base);
/* Has sigma0 map a block, also one that is not conventional memory. */
bool hmm_l4_sigma0_get(uint32_t base, unsigned log2);

/* ---- thread.c ---- */

enum hmm_l4_fault_state {
    L4_NO_FAULT,
    L4_FAULT_QUEUED,
    L4_FAULT_TAKEN,
    L4_STOPPED
};

/* Where an own thread goes on when its access fails (catch.S). */
struct hmm_l4_pad {
    uint32_t sp;
    int error;
    struct hmm_l4_pad *outer;
};

struct hmm_l4_thread {
    uint32_t id;                /* 0: free */
    struct hmm_l4_space *space; /* of a task; NULL: the root task's */
    struct hmm_l4_task *task;
    struct hmm_l4_pad *pad;

    /* Its fault; the thread waits for the dispatcher's answer meanwhile. */
    enum hmm_l4_fault_state fault_state;
    struct hurdmm_fault fault;
    struct hmm_l4_thread *fault_next;

    /* Asleep: on this key. */
    const void *key;
    struct hmm_l4_thread *sleep_next;

    /* Own threads. */
    struct hmm_l4_port *port;
    void (*entry)(void *argument);
    void *argument;
    uint32_t stack, stack_pages;
    bool ended;
};

void hmm_l4_lock(void);
void hmm_l4_unlock(void);
bool hmm_l4_locked(void);

void hmm_l4_threads_init(void);
/* The thread that a message came from, or NULL. */
struct hmm_l4_thread *hmm_l4_thread_by_sender(uint32_t sender);
struct hmm_l4_thread *hmm_l4_thread_by_id(uint64_t id);
struct hmm_l4_thread *hmm_l4_thread_self(void);
/* A free entry for an own thread or for a task's, with a new identifier. */
struct hmm_l4_thread *hmm_l4_thread_new(bool own);
void hmm_l4_thread_free(struct hmm_l4_thread *thread);
/* Starts an own thread.  `pager' answers its faults. */
int hmm_l4_thread_start(struct hmm_l4_port *port, size_t stack_size,
                        void (*entry)(void *argument), void *argument,
                        uint32_t pager, struct hmm_l4_thread **result);
int hmm_l4_thread_join(uint64_t id);
/* The dispatcher has heard that the thread is at its end. */
void hmm_l4_thread_ended(struct hmm_l4_thread *thread);

/* With the lock held, which is given up: sleeps on `key' until woken or until
 * the time is over.  ETIMEDOUT. */
int hmm_l4_sleep(const void *key, uint64_t timeout_ns);
/* With the lock held, which is given up: wakes up to `count' of those who sleep
 * on `key', the first first. */
void hmm_l4_rouse(const void *key, unsigned count);
/* With the lock held: takes out the first sleeper on `key', nil if there is
 * none.  The caller sends it a message with L4_LABEL_WAKE soon. */
uint32_t hmm_l4_rouse_later(const void *key);

/* ---- table.c ---- */

/* An entry: frame number + 1 in bits 31-8, the L4 rights in 2-0. */
#define L4_ENTRY_MAPPED 8u /* the kernel has been told */
/* It was told of fewer rights first.  A mapping database was seen to keep the
 * right to write when only that is taken from such a page, so that all is. */
#define L4_ENTRY_WIDENED 16u
#define L4_ENTRY(frame, rights) (((frame) + 1) << 8 | (rights))
#define L4_ENTRY_NEXT 256u /* to that of the next frame */
#define L4_ENTRY_FRAME(entry) (((entry) >> 8) - 1)
#define L4_ENTRY_RIGHTS(entry) ((entry)&7u)
#define L4_LEAF_ENTRIES 1024u
#define L4_LEAF_SHIFT 22u
#define L4_LEAVES (L4_USER_END >> L4_LEAF_SHIFT)

struct hmm_l4_range {
    uint32_t start, end; /* end is the first byte after it */
};

struct hmm_l4_space {
    struct hmm_l4_port *port;
    struct hmm_l4_space *next;   /* of the port's; under the lock */
    uint32_t low, end;           /* what may be reserved */
    struct hmm_l4_range *ranges; /* sorted, none touches another */
    uint32_t range_count, range_pages;
    uint32_t *leaves[L4_LEAVES];
    uint32_t large[L4_LEAVES / 32]; /* a bit of each leaf: large.c */
};

void hmm_l4_space_init(struct hmm_l4_space *space, struct hmm_l4_port *port,
                       uint32_t low, uint32_t end);
void hmm_l4_space_clear(struct hmm_l4_space *space);
int hmm_l4_range_reserve(struct hmm_l4_space *space, uint32_t *address,
                         uint32_t size, bool exact);
/* ENOMEM: the rest could not be noted. */
int hmm_l4_range_release(struct hmm_l4_space *space, uint32_t address,
                         uint32_t size);
bool hmm_l4_range_has(const struct hmm_l4_space *space, uint32_t address);
/* The entry of a page, NULL where there never was one. */
static inline uint32_t *hmm_l4_entry(const struct hmm_l4_space *space,
                                     uint32_t address)
{
    uint32_t *leaf = space->leaves[address >> L4_LEAF_SHIFT];
    return leaf == NULL
               ? NULL
               : &leaf[address >> L4_PAGE_SHIFT & (L4_LEAF_ENTRIES - 1)];
}
/* The same, but makes room for one.  NULL: no memory. */
uint32_t *hmm_l4_entry_make(struct hmm_l4_space *space, uint32_t address);

/* ---- port.c ---- */

#define L4_CORE_CHUNKS 64u

struct hmm_l4_chunk {
    uint32_t base, pages;
};

struct hmm_l4_port {
    struct hurdmm_port base; /* first */
    bool used, is_open, stopped;
    bool asking; /* the dispatcher is in fault_soft */
    int (*fault_soft)(void *client, const struct hurdmm_fault *fault);
    void *client;
    size_t stack_size;
    struct hmm_l4_space own; /* and the first of the list */
    struct hmm_l4_space *spaces;
    unsigned bank_count;
    struct hurdmm_bank banks[HURDMM_BANKS_MAX];
    uint32_t frames;
    uint32_t large; /* 4 MiB pages, of any kind: large.c */
    uint8_t *seen;  /* of each frame: L4 rights used, not yet reported */
    struct hmm_l4_chunk chunks[L4_CORE_CHUNKS];
    unsigned chunk_count;
    struct hmm_l4_thread *faults, **faults_end; /* waiting to be taken */
};

extern struct hmm_l4_port hmm_l4_ports[L4_PORTS_MAX];

struct hmm_l4_port *hmm_l4_from(struct hurdmm_port *base);
uint32_t hmm_l4_frame_address(const struct hmm_l4_port *port, uint32_t frame);
/* How many of `count' frames from this one on lie in a row. */
uint32_t hmm_l4_row_length(const struct hmm_l4_port *port, uint32_t frame,
                           uint32_t count);

/* ---- large.c, all under the lock ---- */

#define L4_LARGE_SHIFT 22u
#define L4_LARGE_SIZE (UINT32_C(1) << L4_LARGE_SHIFT)
_Static_assert(L4_LARGE_SHIFT == L4_LEAF_SHIFT, "a leaf is a large page");

/* Is the block of 4 MiB that has this address one page for the kernel? */
bool hmm_l4_is_joined(uint32_t physical);
/* Whether the frame is part of a joined block, of which no piece is mapped. */
static inline bool hmm_l4_in_large(const struct hmm_l4_port *port,
                                   uint32_t frame)
{
    return port->large != 0 &&
           hmm_l4_is_joined(hmm_l4_frame_address(port, frame));
}
/* Makes small pages of the block that has the frame and is joined.  All that is
 * mapped of it is taken away; what was seen is noted. */
void hmm_l4_block_split(struct hmm_l4_port *port, uint32_t frame);
/* The same with all blocks of a bank, before it is given back. */
void hmm_l4_blocks_end(struct hmm_l4_port *port, uint32_t first,
                       uint32_t count);
/* Before a page is mapped, where port->large is not 0: true if it is to be mapped
 * with all of its leaf; else it can be mapped alone then. */
bool hmm_l4_large_ready(struct hmm_l4_space *space, uint32_t page,
                        uint32_t entry);
bool hmm_l4_leaf_is_large(const struct hmm_l4_space *space, uint32_t address);
/* The leaf, or those of some pages, have entries of their own from now on. */
void hmm_l4_leaf_forget(struct hmm_l4_space *space, uint32_t address);
/* The same, and the leaf's block is split: the pages that do not change can be
 * mapped again in small blocks. */
void hmm_l4_leaf_break(struct hmm_l4_space *space, uint32_t address);
/* The pages are about to get other entries. */
void hmm_l4_leaves_break(struct hmm_l4_space *space, uint32_t address,
                         uint32_t pages);
/* Pages were lent in a row, with the same rights: notes the large leaves. */
void hmm_l4_leaves_note(struct hmm_l4_space *space, uint32_t address,
                        uint32_t frame, uint32_t pages);
/* Whether a port has the page as a frame. */
bool hmm_l4_is_frame(uint32_t address);

/* ---- fault.c ---- */

#define L4_LABEL_ENDED 0x10u /* an own thread to the dispatcher */
#define L4_LABEL_WAKE 0x11u
#define L4_LABEL_START 0x12u /* of a task's thread: MR1 id, MR2 IP, MR3 SP */
#define L4_LABEL_EXIT 0x20u  /* a client's last word: MR1 */

void hmm_l4_dispatcher_start(void);
uint32_t hmm_l4_dispatcher(void);
/* Answers a thread's fault, with the lock held: 0, or why it fails. */
void hmm_l4_fault_end(struct hmm_l4_thread *thread, int error);
/* With the lock held, before the thread of a task is freed. */
void hmm_l4_fault_forget(struct hmm_l4_thread *thread);
int hmm_l4_fault_wait(struct hurdmm_port *base, struct hurdmm_fault *faults,
                      size_t max, uint64_t timeout_ns, size_t *count);
void hmm_l4_fault_done(struct hurdmm_port *base,
                       const struct hurdmm_fault *fault, int error);
void hmm_l4_fault_stop(struct hurdmm_port *base);
/* With the lock held: waits until the dispatcher is not in the core. */
void hmm_l4_fault_quiet(const struct hmm_l4_port *port);
void hmm_l4_pad_push(struct hmm_l4_pad *pad, uint32_t sp);
int hmm_l4_pad_pop(struct hmm_l4_pad *pad);
void hmm_l4_landing(void);

/* ---- task.c ---- */

struct hmm_l4_task;
/* With the lock held: the task is at its end. */
void hmm_l4_task_over(struct hmm_l4_task *task,
                      const struct hurdmm_l4_status *status);

/* ---- begin.c ---- */

extern void *hmm_l4_kip;
void hmm_l4_begin(void);

#endif
