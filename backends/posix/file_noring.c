/* SPDX-License-Identifier: MIT */
/*
 * In place of file_ring.c where the library is built without liburing.
 */
#include <errno.h>

#include "backends/posix/file_engine.h"

int hmm_ring_open(unsigned depth, struct hmm_ring **ring)
{
    (void)depth;
    (void)ring;
    return ENOSYS;
}

void hmm_ring_close(struct hmm_ring *ring)
{
    (void)ring;
}

void hmm_ring_run(struct hmm_engine *engine)
{
    (void)engine;
}

void hmm_ring_wake(struct hmm_ring *ring)
{
    (void)ring;
}
