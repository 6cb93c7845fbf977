/* SPDX-License-Identifier: MIT */
/* The posix port's structure, and what its files have of each other.
 *
 * Layers, each using only those above it: word_*.c, mask.c, access.c,
 * ranges.c, memory.c, queue.c, signal.c, space.c, thread.c, port.c.
 *
 * Who changes what:
 * - `memory` and `lends` under the core's lock (the functions of which port.h
 *   says "one at a time");
 * - `ranges` the same, and `ranges.lock`, so that fork waits; the handler reads
 *   it without a lock (ranges.c);
 * - `queue` without locks by faulting threads, under its `lock` by those who
 *   take (queue.c);
 * - `threads` under `thread_lock`, except for `ids`, which anybody reads.
 * The handler's list of ports, and the handlers themselves, are the process's
 * and stand in signal.c.
 */
#ifndef HMM_POSIX_PORT_H
#define HMM_POSIX_PORT_H

#include "backends/posix/system.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hurdmm/port.h>
#include <hurdmm/posix.h>

#include "backends/posix/word.h"

#define HMM_POSIX_THREADS_MAX 64u

/* ---- ranges.c ---- */

struct hmm_posix_range {
    atomic_uintptr_t start, end;
};

/* One size of the table.  Older, smaller ones stay until close, because a
 * handler may be reading them. */
struct hmm_posix_range_table {
    struct hmm_posix_range_table *older;
    size_t capacity;
    struct hmm_posix_range ranges[];
};

struct hmm_posix_ranges {
    atomic_uint version; /* odd while the table is being changed */
    _Atomic(struct hmm_posix_range_table *) table;
    atomic_size_t count;
    atomic_flag lock; /* held by whoever changes it, and around fork */
};

void hmm_posix_ranges_init(struct hmm_posix_ranges *ranges);
void hmm_posix_ranges_free(struct hmm_posix_ranges *ranges);
void hmm_posix_ranges_lock(struct hmm_posix_ranges *ranges);
void hmm_posix_ranges_unlock(struct hmm_posix_ranges *ranges);
/* With the lock held.  add: ENOMEM; no range may overlap another. */
int hmm_posix_ranges_add(struct hmm_posix_ranges *ranges, uintptr_t start,
                         uintptr_t end);
/* Takes away what of [start, end) lies in ranges: all of it, part, or nothing.
 * ENOMEM: a range would have to become two. */
int hmm_posix_ranges_remove(struct hmm_posix_ranges *ranges, uintptr_t start,
                            uintptr_t end);
/* Is the address in a range?  Signal-safe, without the lock. */
bool hmm_posix_ranges_find(struct hmm_posix_ranges *ranges, uintptr_t address);

/* ---- access.c ---- */

/* Where the machine context does not say what was accessed, the page is asked:
 * if it can be read and nothing has changed since this thread faulted here
 * before, then it is a write.  Notes and versions are hashed. */
#define HMM_POSIX_NOTES 64u
#define HMM_POSIX_VERSIONS 256u

struct hmm_posix_access {
    int probe[2];
    _Atomic uint64_t notes[HMM_POSIX_NOTES];
    atomic_uint versions[HMM_POSIX_VERSIONS];
};

int hmm_posix_access_open(struct hmm_posix_access *access);
void hmm_posix_access_close(struct hmm_posix_access *access);
/* To be called before and after rights in the range change. */
void hmm_posix_access_changed(struct hmm_posix_access *access,
                              uintptr_t address, size_t size, size_t page);
/* What the access was, HURDMM_NONE: repeat it to know; and the instruction. */
unsigned hmm_posix_access_decode(struct hmm_posix_access *access,
                                 const void *context, uintptr_t address,
                                 size_t page, uint64_t thread,
                                 uintptr_t *instruction);

/* ---- memory.c ---- */

struct hmm_posix_core {
    struct hmm_posix_core *next;
    void *address;
    size_t size;
};

struct hmm_posix_memory {
    int fd;
    const char *kind; /* what the object is made of, for describe */
    char *window;
    size_t size; /* of the object and the window */
    size_t page;
    uint32_t frames;
    uint8_t *backed; /* a bit per frame: the system has set a page aside */
    struct hmm_posix_core *core;
};

int hmm_posix_memory_open(struct hmm_posix_memory *memory, uint64_t frames);
void hmm_posix_memory_close(struct hmm_posix_memory *memory);
/* In a child after fork. */
void hmm_posix_memory_forked(struct hmm_posix_memory *memory);
/* Sees to it that touching these frames cannot fail.  ENOMEM. */
int hmm_posix_memory_back(struct hmm_posix_memory *memory, uint32_t frame,
                          uint32_t count);
int hmm_posix_core_map(struct hmm_posix_memory *memory, size_t size,
                       void **address);

/* ---- mask.c ---- */

struct hmm_posix_thread {
    void (*entry)(void *argument);
    void *argument;
    pthread_t handle;
    void *stack; /* the alternate one */
    size_t stack_size;
    _Atomic uint64_t *place; /* for its id, while it runs entry */
    _Atomic uint32_t started;
    uint64_t id;
    bool joining;
};

struct hmm_posix_threads {
    pthread_mutex_t lock;
    struct hmm_posix_thread *slots[HMM_POSIX_THREADS_MAX];
    _Atomic uint64_t ids[HMM_POSIX_THREADS_MAX]; /* 0: none */
    atomic_uint ids_used;                        /* those that ever were */
    size_t stack_size;
    /* Masks of threads in a critical section, where a cookie is too small. */
    _Atomic uint64_t masks_taken;
    sigset_t masks[64];
};

/* A number for the calling thread, never 0.  Signal-safe. */
uint64_t hmm_posix_thread_id(void);
/* All signals but those that the processor raises. */
void hmm_posix_asynchronous(sigset_t *set);
/* Masks the asynchronous signals of the calling thread; undone with the value
 * that it returns.  Does not nest. */
uintptr_t hmm_posix_mask(struct hmm_posix_threads *threads);
void hmm_posix_unmask(struct hmm_posix_threads *threads, uintptr_t cookie);

/* ---- queue.c ---- */

/* A fault that waits, on the stack of its thread. */
struct hmm_posix_record {
    struct hmm_posix_record *next;
    struct hurdmm_fault fault;
    uint64_t time_ns;
    int error;
    _Atomic uint32_t state;
};

/* Faults that nobody will answer (fault_stop). */
#define HMM_POSIX_NOBODY (-1)

/* Whether looking for each other actively pays: the last few times. */
struct hmm_posix_spin {
    atomic_int credit;
};

struct hmm_posix_queue {
    struct hmm_posix_threads *threads;
    _Atomic(struct hmm_posix_record *) arrived; /* newest first */
    struct hmm_posix_record *first, *last;      /* oldest first; `lock` */
    atomic_uint first_waits;                    /* first is not NULL */
    _Atomic uint32_t lock;                      /* 2: somebody sleeps for it */
    _Atomic uint32_t rings;                     /* sleepers wait on it */
    atomic_uint sleepers;
    atomic_uint spinner; /* one at a time looks actively */
    atomic_uint stopping;
    unsigned spin; /* may spin at all */
    struct hmm_posix_spin taker, waiter;
    atomic_int fd_read, fd_write; /* -1: not asked for */

    /* Threads that have called fault_wait, and how many of them wait for a
     * fault of their own. */
    _Atomic uint64_t pagers[HMM_POSIX_THREADS_MAX];
    atomic_uint pager_count, pagers_blocked;

    atomic_uint_fast64_t faults, failed, deadlocks, sleeps;
};

void hmm_posix_queue_open(struct hmm_posix_queue *queue,
                          struct hmm_posix_threads *threads, bool spin);
void hmm_posix_queue_close(struct hmm_posix_queue *queue);
/* Hands a fault over and waits for its end: 0, HMM_POSIX_NOBODY or an errno
 * value.  Signal-safe. */
int hmm_posix_queue_wait_for(struct hmm_posix_queue *queue,
                             const struct hurdmm_fault *fault);
int hmm_posix_queue_take(struct hmm_posix_queue *queue, uint64_t thread,
                         struct hurdmm_fault *faults, size_t max,
                         uint64_t timeout_ns, size_t *count);
void hmm_posix_queue_done(struct hmm_posix_queue *queue,
                          const struct hurdmm_fault *fault, int error);
void hmm_posix_queue_stop(struct hmm_posix_queue *queue);
int hmm_posix_queue_fd(struct hmm_posix_queue *queue, int *fd);

/* ---- space.c ---- */

/* What is known to be lent at an address; an address has one slot. */
struct hmm_posix_lent {
    uintptr_t address; /* 0: nothing known */
    uint32_t frame;
};

#define HMM_POSIX_LENT_SLOTS 4096u
#define HMM_POSIX_SPARES 32u

struct hmm_posix_lends {
    struct hmm_posix_lent slots[HMM_POSIX_LENT_SLOTS];
    /* A strip of pages nobody uses.  With every second one given another right
     * it takes mappings, which reclaim can free when it meets their limit. */
    char *strip;
    unsigned spares; /* of HMM_POSIX_SPARES; two mappings each */
    atomic_uint_fast64_t mappings_short;
};

struct hmm_posix_port;

int hmm_posix_lends_open(struct hmm_posix_port *port);
void hmm_posix_lends_close(struct hmm_posix_port *port);
/* Gives a spare mapping up.  false: there is none. */
bool hmm_posix_spare(struct hmm_posix_port *port);
int hmm_posix_reserve(struct hurdmm_port *base, void *space, uintptr_t *address,
                      size_t size, unsigned flags);
void hmm_posix_release(struct hurdmm_port *base, void *space, uintptr_t address,
                       size_t size);
int hmm_posix_lend(struct hurdmm_port *base, void *space, uintptr_t address,
                   uint32_t frame, uint32_t count, unsigned rights,
                   uint32_t *done);
int hmm_posix_reclaim(struct hurdmm_port *base,
                      const struct hurdmm_reclaim *rows, size_t count,
                      size_t *done);

/* ---- signal.c ---- */

/* Makes the port known to the handler, and with `install` sees to it that there
 * is one.  ENOMEM (too many ports), or what sigaction says. */
int hmm_posix_signal_attach(struct hmm_posix_port *port, bool install);
/* Waits until no handler uses the port any more. */
void hmm_posix_signal_detach(struct hmm_posix_port *port, bool install);
/* How often this process has been forked from one that has ports. */
unsigned hmm_posix_forks(void);

/* ---- thread.c ---- */

int hmm_posix_thread_start(struct hurdmm_port *base, void (*entry)(void *),
                           void *argument, uint64_t *thread);
int hmm_posix_thread_join(struct hurdmm_port *base, uint64_t thread);
uint64_t hmm_posix_thread_self(struct hurdmm_port *base);
int hmm_posix_park(struct hurdmm_port *base, uint32_t *word, uint32_t expected,
                   uint64_t timeout_ns);
void hmm_posix_wake(struct hurdmm_port *base, uint32_t *word, unsigned count);
int hmm_posix_critical_enter(struct hurdmm_port *base, uintptr_t *cookie);
void hmm_posix_critical_leave(struct hurdmm_port *base, uintptr_t cookie);

/* ---- port.c ---- */

/* What a port that is built on this one does in its own way. */
struct hmm_posix_hooks {
    /* A fault at an address of the port's ranges, in the signal handler: 0
     * (repeat the access), ENOENT (it is nobody's), or why it fails. */
    int (*resolve)(struct hmm_posix_port *port, int signal, uintptr_t address,
                   const void *context);
    /* In a child after fork, before what the posix port does there. */
    void (*forked)(struct hmm_posix_port *port);
};

struct hmm_posix_port {
    struct hurdmm_port base;
    const struct hmm_posix_hooks *hooks; /* NULL: a posix port */
    unsigned flags;
    unsigned forks; /* hmm_posix_forks at its creation; else it is stale */
    pid_t pid;
    bool opened;
    uintptr_t low, high; /* usable addresses, high is inclusive */
    struct hmm_posix_memory memory;
    struct hmm_posix_ranges ranges;
    struct hmm_posix_access access;
    struct hmm_posix_queue queue;
    struct hmm_posix_lends lends;
    struct hmm_posix_threads threads;
};

struct hmm_posix_port *hmm_posix_from(struct hurdmm_port *base);
bool hmm_posix_is(const struct hurdmm_port *base);
bool hmm_posix_stale(const struct hmm_posix_port *port);
/* Nanoseconds of the monotonic clock.  Signal-safe. */
uint64_t hmm_posix_now(void);
/* In a child after fork: takes the parent's memory out of reach. */
void hmm_posix_forked(struct hmm_posix_port *port);
/* For hurdmm_port_describe. */
void hmm_posix_describe(struct hurdmm_port *base, char *buffer, size_t size);

#endif
