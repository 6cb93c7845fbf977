/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes that nobody waits for: threads that make them, and hand
 * their results over.
 *
 *     start (any thread, signal handlers too)
 *       |  pushed on `queue', the newest first
 *     submit
 *       |  `posted' goes up, a thread is woken
 *     a thread of the engine takes the queue, and makes the transfer
 *       |
 *     transfer->end, on that thread
 *
 * There are two kinds.  The ring (file_ring.c) is one thread that has many
 * transfers under way by io_uring; the pool (file_engine.c) is several threads
 * with one each.  Nothing is allocated after the beginning: a transfer is its
 * owner's.
 *
 * Whatever a ring or O_DIRECT does not do, be it that the file ends, a part is
 * not aligned, or something fails, is done once more as a plain read or write,
 * and that one's answer counts.  So all kinds give the same results.
 */
#ifndef HMM_POSIX_FILE_ENGINE_H
#define HMM_POSIX_FILE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/posix/file_io.h"

#define HMM_ENGINE_THREADS 16u

struct hmm_transfer {
    struct hmm_transfer *next;
    const struct hmm_file *file;
    bool write;
    uint64_t offset;
    char *buffer;
    size_t length;
    size_t done; /* when it has ended */
    int error;   /* for the first byte that was not done; 0 at a file's end */
    void (*end)(struct hmm_transfer *transfer);
};

struct hmm_ring;

struct hmm_engine {
    _Atomic(struct hmm_transfer *) queue;
    _Atomic uint32_t posted; /* changes when there is something to do */
    atomic_bool stopping;
    struct hmm_ring *ring; /* NULL: this is a pool */
    unsigned depth, threads;
    pthread_t thread[HMM_ENGINE_THREADS];
    /* The pool's: what its threads have taken off the queue, the oldest first. */
    pthread_mutex_t lock;
    struct hmm_transfer *taken;
    int why_no_ring; /* errno value of io_uring_setup, 0: not tried */
};

/* At most `depth' transfers are ever started at once.  `threads': of the pool.
 * EAGAIN: no thread can be had. */
int hmm_engine_open(struct hmm_engine *engine, unsigned depth, unsigned threads,
                    bool ring);
/* Ends it; nothing is under way. */
void hmm_engine_close(struct hmm_engine *engine);
void hmm_engine_start(struct hmm_engine *engine, struct hmm_transfer *transfer);
/* What was started is on its way. */
void hmm_engine_submit(struct hmm_engine *engine);

/* Does what is left of it, on the calling thread, and ends it. */
void hmm_transfer_finish(struct hmm_transfer *transfer);
/* Takes all that was started, the oldest first. */
struct hmm_transfer *hmm_engine_take(struct hmm_engine *engine);

/* ---- file_ring.c, or file_noring.c where there is no liburing ---- */

/* ENOSYS, EPERM or another error where the system has or gives none. */
int hmm_ring_open(unsigned depth, struct hmm_ring **ring);
void hmm_ring_close(struct hmm_ring *ring);
/* What the engine's thread does until the engine stops. */
void hmm_ring_run(struct hmm_engine *engine);
/* Signal-safe. */
void hmm_ring_wake(struct hmm_ring *ring);

#endif /* HMM_POSIX_FILE_ENGINE_H */
