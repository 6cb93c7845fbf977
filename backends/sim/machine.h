/* SPDX-License-Identifier: MIT */
/* The simulated machine: what its files share.
 *
 *   machine.c  making and ending it; open and close; options
 *   script.c   scripted failures, violations, the trace, statistics
 *   thread.c   simulated threads and their scheduler; park, wake, the clock
 *   table.c    the page table of all spaces, and the frames' lists of pages
 *   space.c    what is reserved
 *   memory.c   windows, core memory, lending and reclaiming
 *   fault.c    the application's accesses, and faults
 *
 * Everything happens on one host thread; there are no locks.  Simulated threads
 * are switched only inside hmm_sim_point and hmm_sim_block, so whatever calls
 * neither is atomic.
 *
 * Determinism: nothing that is hashed, and no decision, depends on a host
 * address, on the host's clock or on the content of memory that was not
 * written.
 */
#ifndef HMM_SIM_MACHINE_H
#define HMM_SIM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hurdmm/error.h>
#include <hurdmm/port.h>
#include <hurdmm/sim.h>

#include "backends/sim/context.h"
#include "lib/base/assert.h"
#include "lib/base/rand.h"

enum hmm_sim_state {
    THREAD_READY, /* or running */
    THREAD_PARKED,
    THREAD_FAULTED,    /* until fault_done */
    THREAD_FAULT_WAIT, /* in fault_wait */
    THREAD_JOINING,
    THREAD_SLEEPING,
    THREAD_RUN,      /* main, in hurdmm_sim_run */
    THREAD_SETTLING, /* main, in hurdmm_sim_settle */
    THREAD_ENDED     /* not joined yet */
};

struct hmm_sim_thread {
    struct hmm_sim_context context;
    uint64_t id; /* 1 is main; never used again */
    enum hmm_sim_state state;
    bool application;
    uint64_t since;    /* the machine's turn when the state was entered */
    uint64_t deadline; /* of a state that ends by itself */
    int result;        /* why the last block ended */
    uintptr_t cookie;  /* of the critical section it is in; 0: none */
    uint32_t *word;    /* PARKED */
    uint64_t joins;    /* JOINING */
    struct hurdmm_fault fault; /* FAULTED; its token is `since` */
    bool fault_taken;
    void (*entry)(void *argument);
    void *argument;
    struct hurdmm_port *port;
};

/* A page that is lent.  In three chains, by number; number 0 is none. */
struct hmm_sim_page {
    uintptr_t page; /* the address, in pages */
    uint32_t space;
    uint32_t frame;
    uint32_t hash_next; /* of the bucket, or of the free ones */
    uint32_t frame_next, frame_previous;
    uint8_t rights;
    uint8_t seen; /* READ: referenced; WRITE: dirty */
    bool written; /* since it was lent, or a scan cleared it */
};

struct hmm_sim_table {
    struct hmm_sim_page *pages;
    uint32_t capacity; /* of `pages` */
    uint32_t used;     /* all below it are live or free */
    uint32_t live;
    uint32_t free;
    uint32_t *buckets;
    uint32_t bucket_mask;
};

struct hmm_sim_frame {
    uint32_t first;    /* page that it is lent at */
    uint32_t lent;     /* how many; */
    uint32_t writable; /* of these to write */
    uint64_t sum;      /* CHECK_FRAMES: of its bytes while it is lent */
    uint64_t user;     /* the thread that lends or reads it now; 0: none */
};

/* Reserved ranges in pages: sorted, never touching. */
struct hmm_sim_range {
    uintptr_t start, end;
};

struct hmm_sim_space {
    struct hmm_sim_range *ranges;
    size_t count, capacity;
    uintptr_t cursor; /* where to look for room first */
};

struct hmm_sim_core; /* a piece of core memory */

/* Every event of the trace; the names are in script.c. */
enum hmm_sim_event {
    EVENT_OPEN,
    EVENT_CLOSE,
    EVENT_WINDOW,
    EVENT_FRAME_READ,
    EVENT_CORE_MAP,
    EVENT_RESERVE,
    EVENT_RELEASE,
    EVENT_LEND,
    EVENT_RECLAIM,
    EVENT_SCAN,
    EVENT_FAULT_WAIT,
    EVENT_FAULT_DONE,
    EVENT_FAULT_STOP,
    EVENT_THREAD_START,
    EVENT_THREAD_JOIN,
    EVENT_THREAD_END,
    EVENT_PARK,
    EVENT_WAKE,
    EVENT_CRITICAL_ENTER,
    EVENT_CRITICAL_LEAVE,
    EVENT_SWITCH,
    EVENT_ACCESS,
    EVENT_FAULT,
    EVENT_SPAWN,
    EVENT_VIOLATION
};

/* The kinds of fallible calls, bits of the HURDMM_SIM_OPEN family. */
#define HMM_SIM_KINDS 9

struct hmm_sim {
    struct hurdmm_port port; /* first: the machine is its port */
    struct hurdmm_sim_options options;
    struct hurdmm_bank banks[HURDMM_BANKS_MAX];
    unsigned features;
    unsigned page_shift;
    uintptr_t low, high;
    struct hurdmm_port_config config;
    bool is_open;

    /* Memory. */
    uint32_t frame_count;
    struct hmm_sim_frame *frames;
    uint8_t *home; /* the frames' bytes, as windows show them */
    uint8_t *away; /* without ALIAS: while they are lent */
    struct hmm_sim_table table;
    struct hmm_sim_space *spaces;
    struct hmm_sim_core *core;
    uint64_t busy; /* the thread inside a memory function; 0: none */

    /* Threads. */
    struct hmm_sim_thread main;
    struct hmm_sim_thread **threads; /* all, main is threads[0] */
    size_t thread_count, thread_capacity;
    struct hmm_sim_thread *self;
    struct hmm_sim_thread *dead; /* to be freed by whoever runs next */
    uint64_t last_id;
    uint64_t applications; /* threads that have not ended */
    uint64_t turn;         /* grows with every change of a state */
    uint64_t clock;
    uint64_t next_deadline; /* at most the earliest */
    uint64_t budget;        /* points until the next switch */
    uint64_t idle_jumps;
    struct hmm_rand rand;
    bool stopped; /* fault_stop */

    /* Script and trace. */
    uint64_t calls[HMM_SIM_KINDS];
    unsigned fail_points;
    uint64_t fail_in;
    int fail_error;
    bool fail_for_ever;
    uint64_t hash;
    uint64_t violations;
    char first_violation[160];
    struct hurdmm_sim_stats stats;
};

static inline struct hmm_sim *hmm_sim_of(struct hurdmm_port *port)
{
    return (struct hmm_sim *)port;
}

static inline size_t hmm_sim_page_size(const struct hmm_sim *sim)
{
    return (size_t)1 << sim->page_shift;
}

/* script.c */

/* Adds an event to the trace. */
void hmm_sim_note(struct hmm_sim *sim, enum hmm_sim_event event,
                  const uint64_t *values, size_t count);

#define HMM_SIM_NOTE(sim, event, ...)                                          \
    hmm_sim_note(sim, event, (const uint64_t[]){__VA_ARGS__},                  \
                 sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* The contract was broken; the text says how. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void hmm_sim_violation(struct hmm_sim *sim, const char *format, ...);

/* Counts a call of the kind `point`: 0, or the error it is to fail with. */
int hmm_sim_fallible(struct hmm_sim *sim, unsigned point);

/* thread.c */

int hmm_sim_threads_init(struct hmm_sim *sim);
void hmm_sim_threads_free(struct hmm_sim *sim);

/* Time passes; another thread may run. */
void hmm_sim_point(struct hmm_sim *sim);

/* The running thread enters a state that others end; why it ended. */
int hmm_sim_block(struct hmm_sim *sim, enum hmm_sim_state state,
                  uint64_t timeout_ns);
void hmm_sim_unblock(struct hmm_sim *sim, struct hmm_sim_thread *thread,
                     int result);
/* The thread that is longest in a state, or NULL. */
struct hmm_sim_thread *hmm_sim_oldest(struct hmm_sim *sim,
                                      enum hmm_sim_state state);

/* The port's functions, where they are simplest. */
int hmm_sim_thread_start(struct hurdmm_port *port,
                         void (*entry)(void *argument), void *argument,
                         uint64_t *thread);
int hmm_sim_thread_join(struct hurdmm_port *port, uint64_t thread);
uint64_t hmm_sim_thread_self(struct hurdmm_port *port);
int hmm_sim_park(struct hurdmm_port *port, uint32_t *word, uint32_t expected,
                 uint64_t timeout_ns);
void hmm_sim_wake(struct hurdmm_port *port, uint32_t *word, unsigned count);
int hmm_sim_critical_enter(struct hurdmm_port *port, uintptr_t *cookie);
void hmm_sim_critical_leave(struct hurdmm_port *port, uintptr_t cookie);
uint64_t hmm_sim_clock(struct hurdmm_port *port);

/* table.c */

int hmm_sim_table_init(struct hmm_sim_table *table);
void hmm_sim_table_free(struct hmm_sim_table *table);

/* The page lent at an address, or NULL; good until the next lend. */
struct hmm_sim_page *hmm_sim_find(struct hmm_sim *sim, uint32_t space,
                                  uintptr_t page);
/* Lends a frame at a page, in place of what was there.  ENOMEM: nothing has
 * changed. */
int hmm_sim_enter(struct hmm_sim *sim, uint32_t space, uintptr_t page,
                  uint32_t frame, unsigned rights);
/* Leaves at most `rights` to a page; NONE makes it absent. */
void hmm_sim_cut(struct hmm_sim *sim, struct hmm_sim_page *page,
                 unsigned rights);
/* Whether a page of the range is lent. */
bool hmm_sim_any_lent(struct hmm_sim *sim, uint32_t space, uintptr_t start,
                      uintptr_t end);
/* Whether pages `page` and page + 1 are in one run. */
bool hmm_sim_joined(struct hmm_sim *sim, uint32_t space, uintptr_t page);

/* space.c */

bool hmm_sim_reserved(const struct hmm_sim_space *space, uintptr_t start,
                      uintptr_t end);
/* The space's number, or `spaces` and a violation. */
uint32_t hmm_sim_space_number(struct hmm_sim *sim, const void *token);
int hmm_sim_reserve(struct hurdmm_port *port, void *space, uintptr_t *address,
                    size_t size, unsigned flags);
void hmm_sim_release(struct hurdmm_port *port, void *space, uintptr_t address,
                     size_t size);

/* memory.c */

int hmm_sim_memory_init(struct hmm_sim *sim);
void hmm_sim_memory_free(struct hmm_sim *sim);

/* Brackets a memory function: it is called in a critical section, and by one
 * thread at a time (with HURDMM_PORT_LENDS_APART not lend and frame_read, but
 * what they are called for is nobody else's meanwhile). */
void hmm_sim_memory_begin(struct hmm_sim *sim, const char *function);
void hmm_sim_memory_end(struct hmm_sim *sim);

/* Where a frame's bytes are. */
uint8_t *hmm_sim_bytes(struct hmm_sim *sim, uint32_t frame);
/* CHECK_FRAMES: looks at the bytes of a lent frame, and lets them be changed
 * until frame_changed. */
void hmm_sim_frame_check(struct hmm_sim *sim, uint32_t frame);
void hmm_sim_frame_changed(struct hmm_sim *sim, uint32_t frame);
/* The first page of a frame is about to be lent; the last has gone. */
void hmm_sim_frame_leaves(struct hmm_sim *sim, uint32_t frame);
void hmm_sim_frame_returns(struct hmm_sim *sim, uint32_t frame);

int hmm_sim_window(struct hurdmm_port *port, uint32_t frame, uint32_t count,
                   void **address);
int hmm_sim_frame_read(struct hurdmm_port *port, uint32_t frame, void *space,
                       uintptr_t address, void *buffer);
int hmm_sim_core_map(struct hurdmm_port *port, size_t size, void **address);
int hmm_sim_lend(struct hurdmm_port *port, void *space, uintptr_t address,
                 uint32_t frame, uint32_t count, unsigned rights,
                 uint32_t *done);
int hmm_sim_reclaim(struct hurdmm_port *port, const struct hurdmm_reclaim *rows,
                    size_t count, size_t *done);
int hmm_sim_scan(struct hurdmm_port *port, void *space, uintptr_t address,
                 size_t size, unsigned flags, struct hurdmm_dirty *rows,
                 size_t max, size_t *count, uintptr_t *end);

/* fault.c */

int hmm_sim_fault_wait(struct hurdmm_port *port, struct hurdmm_fault *faults,
                       size_t max, uint64_t timeout_ns, size_t *count);
void hmm_sim_fault_done(struct hurdmm_port *port,
                        const struct hurdmm_fault *fault, int error);
void hmm_sim_fault_stop(struct hurdmm_port *port);

#endif
