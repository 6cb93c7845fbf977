/* SPDX-License-Identifier: MIT */
/*
 * The ring: one thread that has many transfers under way by io_uring.
 *
 * Only that thread touches the ring.  It sleeps in it, and is woken by a read
 * of `bell' that is under way always: so whoever starts transfers writes there,
 * pays for nothing else, and may be in a signal handler.
 *
 * Invariants
 *   1. the ring has room for every transfer there can be, and the bell's;
 *   2. `posted' is 0 from before the thread takes the queue until somebody has
 *      put more there: the bell is rung once for many.
 */
#include "backends/posix/system.h"

#include <errno.h>
#include <stdlib.h>

#include <liburing.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "backends/posix/file_engine.h"
#include "lib/base/assert.h"

struct hmm_ring {
    struct io_uring ring;
    int bell;
    uint64_t rung; /* what the read of the bell puts there */
    bool armed;    /* that read is under way */
};

int hmm_ring_open(unsigned depth, struct hmm_ring **result)
{
    struct hmm_ring *ring = calloc(1, sizeof *ring);
    int error;

    if (!ring)
        return ENOMEM;
    ring->bell = eventfd(0, EFD_CLOEXEC);
    if (ring->bell < 0) {
        error = errno;
        free(ring);
        return error;
    }
    error = -io_uring_queue_init(depth + 1, &ring->ring, 0);
    if (error) {
        (void)close(ring->bell);
        free(ring);
        return error;
    }
    (void)io_uring_ring_dontfork(&ring->ring);
    *result = ring;
    return 0;
}

void hmm_ring_close(struct hmm_ring *ring)
{
    io_uring_queue_exit(&ring->ring);
    (void)close(ring->bell);
    free(ring);
}

void hmm_ring_wake(struct hmm_ring *ring)
{
    int saved = errno;
    uint64_t one = 1;

    (void)!write(ring->bell, &one, sizeof one);
    errno = saved;
}

static struct io_uring_sqe *entry(struct hmm_ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->ring);

    if (!sqe) {
        /* What could not be submitted has filled it. */
        (void)io_uring_submit(&ring->ring);
        sqe = io_uring_get_sqe(&ring->ring);
    }
    return sqe;
}

static void begin(struct hmm_ring *ring, struct hmm_transfer *transfer)
{
    size_t part;
    int fd = hmm_file_way(transfer->file, transfer->offset, transfer->buffer,
                          transfer->length, &part);
    struct io_uring_sqe *sqe = entry(ring);

    if (!sqe) {
        hmm_transfer_finish(transfer);
        return;
    }
    if (transfer->write)
        io_uring_prep_write(sqe, fd, transfer->buffer, (unsigned)part,
                            transfer->offset);
    else
        io_uring_prep_read(sqe, fd, transfer->buffer, (unsigned)part,
                           transfer->offset);
    io_uring_sqe_set_data(sqe, transfer);
}

static void arm(struct hmm_ring *ring)
{
    struct io_uring_sqe *sqe = ring->armed ? NULL : entry(ring);

    if (!sqe)
        return;
    io_uring_prep_read(sqe, ring->bell, &ring->rung, sizeof ring->rung, 0);
    io_uring_sqe_set_data(sqe, NULL);
    ring->armed = true;
}

/* Ends what the system is done with. */
static void collect(struct hmm_ring *ring)
{
    struct io_uring_cqe *cqe;

    while (!io_uring_peek_cqe(&ring->ring, &cqe)) {
        struct hmm_transfer *transfer = io_uring_cqe_get_data(cqe);
        int result = cqe->res;

        io_uring_cqe_seen(&ring->ring, cqe);
        if (!transfer) {
            ring->armed = false;
            continue;
        }
        hmm_assert(result <= 0 || (size_t)result <= transfer->length);
        if (result > 0)
            transfer->done = (size_t)result;
        hmm_transfer_finish(transfer);
    }
}

void hmm_ring_run(struct hmm_engine *engine)
{
    struct hmm_ring *ring = engine->ring;

    while (!atomic_load(&engine->stopping)) {
        atomic_store(&engine->posted, 0);
        struct hmm_transfer *next = hmm_engine_take(engine), *transfer;
        while ((transfer = next) != NULL) {
            next = transfer->next; /* it may end at once */
            begin(ring, transfer);
        }
        arm(ring);
        /* EAGAIN, EBUSY: the system is short of something; what was not taken
         * is so the next time, after what is under way has ended. */
        if (io_uring_submit_and_wait(&ring->ring, 1) < 0)
            (void)sched_yield();
        collect(ring);
    }
}
