/* SPDX-License-Identifier: MIT */
/* The linux port's structure, and what its files have of each other.
 *
 * It is built on the posix port: threads, sleeping, ranges, the list of ports
 * that the signal handler reads, and the passing on of signals are that port's.
 * What is its own: memory and faults.  Layers, each using only those above it:
 * uffd.c, detach.c, staging.c, block.c, space.c, track.c, fault.c, thread.c,
 * port.c.
 *
 * A frame is a number.  Its bytes are in one of three places, and `frames' says
 * in which:
 *
 *              window                     lend (COPY)
 *     nowhere ---------> a staging slot -----------------> a region's page
 *       ^                  ^      reclaim, bytes kept        |
 *       |                  +---------------------------------+
 *       |                         reclaim, bytes dropped     |
 *       +----------------------------------------------------+
 *
 * A slot is a page of the staging area, used again as soon as its bytes have
 * gone into a region: so there are about as many as frames are held at once.
 *
 * Who changes what:
 * - `frames' under the core's lock (the functions of which port.h says "one at a
 *   time"), except that lending without it (HURDMM_PORT_LENDS_APART) changes the
 *   entries of the frames that it lends, which nobody else looks at meanwhile;
 * - `staging' under its lock (staging.c);
 * - `blocks' under `blocks.lock', by whoever lends, fails a fault, or meets a
 *   page that was made to fail (block.c);
 * - `faults' without locks (fault.c);
 * - `inlines' and `tracked' like the posix port's `ranges', of which they are
 *   parts.
 */
#ifndef HMM_LINUX_PORT_H
#define HMM_LINUX_PORT_H

#include "backends/posix/posix_port.h"

#include <hurdmm/linux.h>

/* ---- uffd.c ---- */

enum hmm_linux_mode {
    HMM_LINUX_PAGER,
    HMM_LINUX_INLINE,
    HMM_LINUX_TRACKED, /* as inline; write-protection is only noted */
    HMM_LINUX_MODES
};

/* What this machine has, for those who may use it. */
struct hmm_linux_uffd {
    int fd[HMM_LINUX_MODES]; /* -1: none */
    const char *way;         /* how the descriptors were come by */
    bool user_only;          /* faults of the kernel are not reported */
    bool poison;
    bool minor; /* shared memory may be watched, write-protected too */
};

/* Opens the descriptors, `without' of HURDMM_LINUX_NO_...  ENOTSUP, and `why'
 * says which steps failed. */
int hmm_linux_uffd_open(struct hmm_linux_uffd *uffd, unsigned without,
                        char *why, size_t size);
void hmm_linux_uffd_close(struct hmm_linux_uffd *uffd);
int hmm_linux_uffd_register(int fd, uintptr_t address, size_t size);

/* Each does all of a range, however often the kernel stops in between; *done
 * says how many bytes were done.  0, EEXIST (there is a page), ENOENT (nothing
 * of ours is mapped there), ENOMEM, or another error. */
int hmm_linux_copy(int fd, uintptr_t to, const void *from, size_t size,
                   bool protect, size_t *done);
int hmm_linux_protect(int fd, uintptr_t address, size_t size, bool protect);
int hmm_linux_poison(int fd, uintptr_t address, size_t size);
void hmm_linux_wake(int fd, uintptr_t address, size_t size);

/* ---- staging.c ---- */

#define HMM_LINUX_NO_SLOT UINT32_MAX

struct hmm_linux_staging {
    atomic_flag lock;
    char *base;
    size_t page;
    uint32_t slots, hint; /* no slot below hint is free; multiple of 64 */
    uint32_t free_backed; /* slots that take memory and have no bytes */
    uint32_t free_backed_max;
    uint64_t *used, *backed; /* a bit per slot */
    size_t size, maps_size;
};

int hmm_linux_staging_open(struct hmm_linux_staging *staging, uint32_t frames,
                           size_t page);
void hmm_linux_staging_close(struct hmm_linux_staging *staging);
/* `count' slots in a row.  ENOMEM. */
int hmm_linux_slots_take(struct hmm_linux_staging *staging, uint32_t count,
                         uint32_t *first);
void hmm_linux_slots_give(struct hmm_linux_staging *staging, uint32_t first,
                          uint32_t count);
static inline char *hmm_linux_slot(const struct hmm_linux_staging *staging,
                                   uint32_t slot)
{
    return staging->base + (size_t)slot * staging->page;
}

/* ---- block.c ---- */

#define HMM_LINUX_BLOCKS 64u

/* The end of one fault: the page is made to fail, and the thread that meets it
 * there finds out why. */
struct hmm_linux_block {
    uintptr_t page; /* 0: the entry is free */
    uint64_t thread;
    int error;
    bool armed;    /* the page fails still */
    bool poisoned; /* because of that; else it has no rights */
};

struct hmm_linux_blocks {
    atomic_flag lock;
    atomic_uint armed; /* entries that are, or have been until just now */
    unsigned next;     /* is used over again when all are in use */
    struct hmm_linux_block entry[HMM_LINUX_BLOCKS];
};

struct hmm_linux_port;

/* Around what puts pages at addresses, in a critical section. */
void hmm_linux_blocks_lock(struct hmm_linux_port *port);
void hmm_linux_blocks_unlock(struct hmm_linux_port *port);
/* With the lock: pages in the range fail no more, since they are there. */
void hmm_linux_unblock(struct hmm_linux_port *port, uintptr_t address,
                       size_t size);
/* Makes a thread's access to a page fail. */
void hmm_linux_block(struct hmm_linux_port *port, uintptr_t page,
                     uint64_t thread, int error);
/* The thread met the page: why it failed, or 0: the access is to be repeated;
 * ENOENT: no page was made to fail. */
int hmm_linux_blocked(struct hmm_linux_port *port, uintptr_t page,
                      uint64_t thread);

/* ---- detach.c ---- */

typedef void hmm_linux_piece(struct hmm_linux_port *port, uintptr_t address,
                             size_t size);

/* Is the range what we reserved still, in one piece?  Signal-safe. */
bool hmm_linux_ours(struct hmm_linux_port *port, uintptr_t address,
                    size_t size);
/* Is nothing mapped in the range?  Signal-safe. */
bool hmm_linux_is_unmapped(uintptr_t address, size_t size);
/* Names the pieces of a range that are ours still, and those that are not;
 * either function may be NULL. */
void hmm_linux_sort_out(struct hmm_linux_port *port, uintptr_t address,
                        size_t size, hmm_linux_piece *ours,
                        hmm_linux_piece *strange);
/* Takes what is not ours any more out of the tables of ranges, in a critical
 * section. */
void hmm_linux_detach(struct hmm_linux_port *port, uintptr_t address,
                      size_t size);

/* ---- space.c ---- */

/* Instead of a slot: the bytes are gone, the program itself unmapped them. */
#define HMM_LINUX_GONE (HMM_LINUX_NO_SLOT - 1)

struct hmm_linux_frame {
    uintptr_t at;  /* where it is lent, 0: nowhere; bit 0: to write */
    uint32_t slot; /* where its bytes are otherwise */
    uint32_t next; /* share.c: in a place */
};

/* Instead of an address `at' may say: in a place, four times its number, and
 * these bits. */
#define HMM_LINUX_LENT ((uintptr_t)1)
#define HMM_LINUX_PLACED ((uintptr_t)2)
static inline bool hmm_linux_placed(const struct hmm_linux_frame *frame)
{
    return frame->at & HMM_LINUX_PLACED;
}

int hmm_linux_window(struct hurdmm_port *base, uint32_t frame, uint32_t count,
                     void **address);
int hmm_linux_frame_read(struct hurdmm_port *base, uint32_t frame, void *space,
                         uintptr_t address, void *buffer);
int hmm_linux_reserve(struct hurdmm_port *base, void *space, uintptr_t *address,
                      size_t size, unsigned flags);
void hmm_linux_release(struct hurdmm_port *base, void *space, uintptr_t address,
                       size_t size);
int hmm_linux_lend(struct hurdmm_port *base, void *space, uintptr_t address,
                   uint32_t frame, uint32_t count, unsigned rights,
                   uint32_t *done);
int hmm_linux_reclaim(struct hurdmm_port *base,
                      const struct hurdmm_reclaim *rows, size_t count,
                      size_t *done);
/* The frame's bytes are in a slot then, wherever they were.  ENOMEM; EFAULT:
 * they are gone. */
int hmm_linux_rest(struct hmm_linux_port *port, uint32_t frame);
/* Makes every range inaccessible for good, and ends the faults in it that
 * nobody has taken. */
void hmm_linux_space_stop(struct hmm_linux_port *port);

/* ---- track.c ---- */

/* Can the port see what is written in ranges of that descriptor? */
bool hmm_linux_track_works(struct hmm_linux_port *port);
int hmm_linux_scan(struct hurdmm_port *base, void *space, uintptr_t address,
                   size_t size, unsigned flags, struct hurdmm_dirty *rows,
                   size_t max, size_t *count, uintptr_t *end);

/* ---- share.c ---- */

#define HMM_LINUX_PEEPS 16u

struct hmm_linux_shares {
    int fd; /* of the object, -1: there is none */
    struct hmm_linux_object *objects;
    struct hmm_linux_shown *shown; /* ranges, sorted; under the core's lock */
    size_t count, capacity;
    struct hmm_posix_ranges ranges; /* the same, for all */
    atomic_flag lock;               /* of the chains: heads, and frames' next */
    uint32_t *heads;
    unsigned head_shift;
    char *peeps; /* windows to frames that are lent */
    unsigned peep;
};

/* Whether it works here is in `fd'. */
void hmm_linux_shares_open(struct hmm_linux_port *port);
void hmm_linux_shares_close(struct hmm_linux_port *port);
int hmm_linux_share(struct hurdmm_port *base, void *space, uintptr_t address,
                    size_t size, uint64_t object, uint64_t offset);
/* Does the address show an object? */
bool hmm_linux_shown(struct hmm_linux_port *port, uintptr_t address);
/* Like lend and reclaim of the port, for one row of such addresses. */
int hmm_linux_share_lend(struct hmm_linux_port *port, uintptr_t address,
                         uint32_t frame, uint32_t count, bool write,
                         uint32_t *done);
int hmm_linux_share_reclaim(struct hmm_linux_port *port,
                            const struct hurdmm_reclaim *row);
/* Of a frame in a place: takes it to a slot; copies its bytes; shows where the
 * library may write to them.  ENOMEM, EFAULT. */
int hmm_linux_share_fetch(struct hmm_linux_port *port, uint32_t frame);
int hmm_linux_share_read(struct hmm_linux_port *port, uint32_t frame,
                         void *buffer);
int hmm_linux_share_window(struct hmm_linux_port *port, uint32_t frame,
                           void **address);

/* ---- fault.c ---- */

#define HMM_LINUX_FAULTS 64u

/* A fault that was taken and not ended: its page, and in the low bits what has
 * become of its thread; 0: the entry is free.  One word, so that an entry that is
 * used anew meanwhile is never taken for what it was. */
struct hmm_linux_fault {
    _Atomic uintptr_t word;
};

#define HMM_LINUX_WAKING ((uintptr_t)1) /* a call that wakes it is being made */
#define HMM_LINUX_WOKEN ((uintptr_t)2)  /* it goes on already */
#define HMM_LINUX_FATE (HMM_LINUX_WAKING | HMM_LINUX_WOKEN)

int hmm_linux_faults_open(struct hmm_linux_port *port);
void hmm_linux_faults_close(struct hmm_linux_port *port);
/* Before and after a call that wakes the threads that wait for pages of the range
 * (of the second, as far as it came).  Only a fault that was taken before the call
 * is known to be woken by it. */
void hmm_linux_waking(struct hmm_linux_port *port, uintptr_t address,
                      size_t size);
void hmm_linux_woken(struct hmm_linux_port *port, uintptr_t address,
                     size_t size);
/* Wakes the threads that wait in the range, but for those whose faults were
 * taken. */
void hmm_linux_wake_waiting(struct hmm_linux_port *port, uintptr_t address,
                            size_t size);
int hmm_linux_fault_wait(struct hurdmm_port *base, struct hurdmm_fault *faults,
                         size_t max, uint64_t timeout_ns, size_t *count);
void hmm_linux_fault_done(struct hurdmm_port *base,
                          const struct hurdmm_fault *fault, int error);
void hmm_linux_fault_stop(struct hurdmm_port *base);
int hmm_linux_resolve(struct hmm_posix_port *posix, int signal,
                      uintptr_t address, const void *context);

/* ---- thread.c ---- */

/* Threads are known by the kernel's number here, since that is what a fault
 * says. */
struct hmm_linux_thread {
    struct hmm_linux_port *port;
    void (*entry)(void *argument);
    void *argument;
    uint64_t posix;          /* as the posix port knows it; 0: free */
    _Atomic uint32_t number; /* 0: not running yet */
};

struct hmm_linux_threads {
    pthread_mutex_t lock;
    struct hmm_linux_thread slots[HMM_POSIX_THREADS_MAX];
    atomic_uint placed; /* how many were given a processor */
};

int hmm_linux_thread_start(struct hurdmm_port *base, void (*entry)(void *),
                           void *argument, uint64_t *thread);
int hmm_linux_thread_join(struct hurdmm_port *base, uint64_t thread);
/* Signal-safe. */
uint64_t hmm_linux_thread_self(struct hurdmm_port *base);
/* The processors that this process may use, at most HURDMM_LINUX_PAGERS. */
unsigned hmm_linux_processors(void);
/* Gives the calling thread, if it is one of the port's, a processor. */
void hmm_linux_place(struct hmm_linux_port *port);
/* The calling thread is, or is no more, in the signal handler, where signals
 * are masked already. */
void hmm_linux_handler_enter(void);
void hmm_linux_handler_leave(void);
int hmm_linux_critical_enter(struct hurdmm_port *base, uintptr_t *cookie);
void hmm_linux_critical_leave(struct hurdmm_port *base, uintptr_t cookie);

/* ---- port.c ---- */

struct hmm_linux_port {
    struct hmm_posix_port posix;
    unsigned without; /* HURDMM_LINUX_NO_... */
    struct hmm_linux_uffd uffd;
    char why[256]; /* which ways to descriptors failed before, and why */
    int memory_fd; /* /proc/self/mem and pagemap, -1: not to be had */
    int pagemap_fd;
    bool scattered; /* process_madvise takes back many ranges at once */
    int pid_fd;
    size_t page;
    uint32_t frame_count;
    struct hmm_linux_frame *frames;
    struct hmm_linux_staging staging;
    struct hmm_linux_blocks blocks;
    struct hmm_posix_ranges inlines; /* those that are tracked, too */
    struct hmm_posix_ranges tracked;
    struct hmm_linux_shares shares;
    int (*fault)(void *client, const struct hurdmm_fault *fault);
    void *client;

    /* Waiting for faults: see fault.c. */
    char *bell;
    int stop_fd;
    atomic_uint stopping, readers, polled, blocking;
    struct hmm_linux_fault faults[HMM_LINUX_FAULTS];

    struct hmm_linux_threads threads;
    void *core;               /* the last piece of core memory */
    _Atomic uint32_t *parent; /* reads as 0 in a child */
    atomic_uint_fast64_t fault_count, inline_count, failed, copies, pages_gone,
        detached;
};

struct hmm_linux_port *hmm_linux_from(struct hurdmm_port *base);
bool hmm_linux_stale(const struct hmm_linux_port *port);
static inline int hmm_linux_fd_for(struct hmm_linux_port *port,
                                   uintptr_t address)
{
    if (!hmm_posix_ranges_find(&port->inlines, address))
        return port->uffd.fd[HMM_LINUX_PAGER];
    return port->uffd
        .fd[hmm_posix_ranges_find(&port->tracked, address) ? HMM_LINUX_TRACKED
                                                           : HMM_LINUX_INLINE];
}
static inline bool hmm_linux_is_tracked(struct hmm_linux_port *port, int fd)
{
    return fd >= 0 && fd == port->uffd.fd[HMM_LINUX_TRACKED];
}
/* Why the port cannot work here, or "" if it can. */
void hmm_linux_why_not(char *buffer, size_t size);
/* For hurdmm_port_describe. */
void hmm_linux_describe(struct hurdmm_port *base, char *buffer, size_t size);

#endif
