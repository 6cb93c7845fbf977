/* SPDX-License-Identifier: MIT */
/*
 * The queue of started transfers, and the pool: see file_engine.h.
 *
 * Whoever starts a transfer may be in a signal handler, so the queue has no
 * lock: it is pushed by exchange of its head and taken as a whole.  `lock' is
 * taken by threads of the pool alone, which have all signals masked; it is not
 * held over a transfer.
 *
 * No wake-up is missed: a thread reads `posted' before it looks at the queue
 * and sleeps only while `posted' is the same; submit changes it after the push.
 */
#include "backends/posix/system.h"

#include <errno.h>
#include <string.h>

#include <hurdmm/types.h>

#include "backends/posix/file_engine.h"
#include "backends/posix/word.h"
#include "lib/base/assert.h"

#define STACK_SIZE ((size_t)256 * 1024)

void hmm_engine_start(struct hmm_engine *engine, struct hmm_transfer *transfer)
{
    struct hmm_transfer *first =
        atomic_load_explicit(&engine->queue, memory_order_relaxed);

    hmm_assert(transfer->length > 0 && transfer->end);
    transfer->done = 0;
    transfer->error = 0;
    do
        transfer->next = first;
    while (!atomic_compare_exchange_weak_explicit(
        &engine->queue, &first, transfer, memory_order_seq_cst,
        memory_order_relaxed));
}

void hmm_engine_submit(struct hmm_engine *engine)
{
    if (engine->ring) {
        /* One wake-up for all that is posted before the thread looks. */
        if (!atomic_exchange(&engine->posted, 1))
            hmm_ring_wake(engine->ring);
        return;
    }
    atomic_fetch_add(&engine->posted, 1);
    hmm_posix_word_wake(&engine->posted, engine->threads);
}

struct hmm_transfer *hmm_engine_take(struct hmm_engine *engine)
{
    struct hmm_transfer *newest = atomic_exchange(&engine->queue, NULL);
    struct hmm_transfer *oldest = NULL;

    while (newest) {
        struct hmm_transfer *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

void hmm_transfer_finish(struct hmm_transfer *transfer)
{
    size_t left = transfer->length - transfer->done, done = 0;
    uint64_t offset = transfer->offset + transfer->done;
    char *buffer = transfer->buffer + transfer->done;

    hmm_assert(transfer->done <= transfer->length);
    if (left > 0 && transfer->write)
        transfer->error =
            hmm_file_write(transfer->file, offset, buffer, left, &done);
    else if (left > 0)
        transfer->error =
            hmm_file_read(transfer->file, offset, buffer, left, &done);
    transfer->done += done;
    transfer->end(transfer);
}

static struct hmm_transfer *pool_next(struct hmm_engine *engine)
{
    (void)pthread_mutex_lock(&engine->lock);
    if (!engine->taken)
        engine->taken = hmm_engine_take(engine);
    struct hmm_transfer *next = engine->taken;
    if (next)
        engine->taken = next->next;
    (void)pthread_mutex_unlock(&engine->lock);
    return next;
}

static void pool_run(struct hmm_engine *engine)
{
    for (;;) {
        uint32_t seen = atomic_load(&engine->posted);
        struct hmm_transfer *transfer = pool_next(engine);
        if (transfer)
            hmm_transfer_finish(transfer);
        else if (atomic_load(&engine->stopping))
            return;
        else
            (void)hmm_posix_word_wait(&engine->posted, seen, HURDMM_FOREVER);
    }
}

static void *run(void *argument)
{
    struct hmm_engine *engine = argument;

    if (engine->ring)
        hmm_ring_run(engine);
    else
        pool_run(engine);
    return NULL;
}

/* With all signals masked, so that no handler of the program runs there. */
static int start_thread(struct hmm_engine *engine, pthread_t *thread)
{
    pthread_attr_t attributes;
    sigset_t all, old;
    int error = pthread_attr_init(&attributes);

    if (error)
        return error;
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(thread, &attributes, run, engine);
    if (error == EINVAL) /* too small for the program's thread-locals */
        error = pthread_create(thread, NULL, run, engine);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attributes);
    return error;
}

static void stop(struct hmm_engine *engine)
{
    atomic_store(&engine->stopping, true);
    hmm_engine_submit(engine);
    while (engine->threads > 0)
        (void)pthread_join(engine->thread[--engine->threads], NULL);
}

int hmm_engine_open(struct hmm_engine *engine, unsigned depth, unsigned threads,
                    bool ring)
{
    int error = 0;

    hmm_assert(depth > 0 && threads > 0 && threads <= HMM_ENGINE_THREADS);
    memset(engine, 0, sizeof *engine);
    engine->depth = depth;
    if (ring)
        engine->why_no_ring = hmm_ring_open(depth, &engine->ring);
    if (!engine->ring)
        error = pthread_mutex_init(&engine->lock, NULL);
    if (error)
        return error;
    threads = engine->ring ? 1 : threads;
    while (!error && engine->threads < threads) {
        error = start_thread(engine, &engine->thread[engine->threads]);
        engine->threads += !error;
    }
    /* A smaller pool is a pool too. */
    if (engine->threads > 0)
        return 0;
    hmm_engine_close(engine);
    return error;
}

void hmm_engine_close(struct hmm_engine *engine)
{
    hmm_assert(!atomic_load(&engine->queue));
    stop(engine);
    if (engine->ring)
        hmm_ring_close(engine->ring);
    else
        (void)pthread_mutex_destroy(&engine->lock);
}
