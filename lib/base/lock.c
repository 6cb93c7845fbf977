/* SPDX-License-Identifier: MIT */
/*
 * Locks and events over a parker.
 *
 * A lock's word is FREE, HELD, or CONTENDED: held, and somebody may be parked.
 *
 *      FREE ---- try ----> HELD ---- release ----> FREE
 *      any  -- slow path --> CONTENDED -- release, wake one --> FREE
 *
 * A thread that comes out of the slow path holds the lock as CONTENDED, since it
 * cannot know whether it was the last to park; at worst one wake is for nobody.
 * An event's low bit says the same of the event, and every signal clears it.
 */
#include "lib/base/lock.h"

#include <limits.h>

#include "hurdmm/error.h"
#include "lib/base/assert.h"

enum { FREE, HELD, CONTENDED };

/* Critical sections are short: one that is about to end is worth this many looks
   before the port is asked to put the thread to sleep. */
#define SPINS 100

/* So often another thread may be faster. */
#define TRIES 64

#define PARKED UINT32_C(1)
#define STEP UINT32_C(2)

void hmm_lock_init(struct hmm_lock *lock)
{
    atomic_init(&lock->word, FREE);
}

bool hmm_lock_try(struct hmm_lock *lock)
{
    uint32_t expected = FREE;

    return atomic_compare_exchange_strong_explicit(&lock->word, &expected, HELD,
                                                   memory_order_acquire,
                                                   memory_order_relaxed);
}

/* Waits actively for the lock to be free; says whether it was. */
static bool look_out(const struct hmm_lock *lock,
                     const struct hmm_parker *parker)
{
    for (int i = 0; i < SPINS + parker->spins; i++)
        if (!hmm_lock_held(lock))
            return true;
    return false;
}

void hmm_lock_acquire(struct hmm_lock *lock, const struct hmm_parker *parker)
{
    if (hmm_lock_try(lock))
        return;
    for (int tries = 0; tries < TRIES && look_out(lock, parker); tries++)
        if (hmm_lock_try(lock))
            return;
    /* One that was woken looks out again: it takes long to wake up, and if it
       slept at once whenever somebody else was faster, each release would wake
       it for nothing from then on. */
    while (atomic_exchange_explicit(&lock->word, CONTENDED,
                                    memory_order_acquire) != FREE) {
        (void)parker->park(parker->ctx, &lock->word, CONTENDED, HMM_FOREVER);
        (void)look_out(lock, parker);
    }
}

void hmm_lock_release(struct hmm_lock *lock, const struct hmm_parker *parker)
{
    uint32_t was =
        atomic_exchange_explicit(&lock->word, FREE, memory_order_release);

    hmm_assert(was == HELD || was == CONTENDED);
    if (was == CONTENDED)
        parker->wake(parker->ctx, &lock->word, 1);
}

void hmm_event_init(struct hmm_event *event)
{
    atomic_init(&event->word, 0);
}

uint32_t hmm_event_ticket(const struct hmm_event *event)
{
    return atomic_load_explicit(&event->word, memory_order_acquire) & ~PARKED;
}

int hmm_event_wait(struct hmm_event *event, uint32_t ticket,
                   const struct hmm_parker *parker, uint64_t timeout_ns)
{
    hmm_assert((ticket & PARKED) == 0);
    for (;;) {
        uint32_t word = atomic_fetch_or_explicit(&event->word, PARKED,
                                                 memory_order_acquire);
        int error;

        if ((word & ~PARKED) != ticket)
            return 0;
        error = parker->park(parker->ctx, &event->word, ticket | PARKED,
                             timeout_ns);
        if (error != 0 && error != EAGAIN && error != EINTR)
            return hmm_event_ticket(event) != ticket ? 0 : error;
    }
}

void hmm_event_signal(struct hmm_event *event, const struct hmm_parker *parker)
{
    uint32_t word = atomic_load_explicit(&event->word, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(
        &event->word, &word, (word & ~PARKED) + STEP, memory_order_release,
        memory_order_relaxed))
        continue;
    if ((word & PARKED) != 0)
        parker->wake(parker->ctx, &event->word, INT_MAX);
}
