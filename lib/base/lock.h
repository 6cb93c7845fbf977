/* SPDX-License-Identifier: MIT */
/*
 * Mutual exclusion and waiting, built on the port's park and wake.
 *
 * Neither a lock nor an event knows its parker; every call is given one, so
 * both are four bytes and can be anywhere.  A word may be gone by the time a
 * parker's `wake' sees its address (the thread that was let in freed it), so
 * `wake' uses the address and never reads the word.
 */
#ifndef HMM_BASE_LOCK_H
#define HMM_BASE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define HMM_FOREVER UINT64_MAX

/*
 * How threads sleep.
 *
 * `park' sleeps while *word equals `expected', until a `wake' on the same word
 * or for `timeout_ns'; comparing and falling asleep are one step.  It returns 0,
 * EAGAIN or EINTR when the caller is to look at the word again (it may do so for
 * no reason), ETIMEDOUT when the time is up, or another error value.
 * `wake' wakes at most `count' threads that are parked on `word'.
 */
struct hmm_parker {
    int (*park)(void *ctx, _Atomic uint32_t *word, uint32_t expected,
                uint64_t timeout_ns);
    void (*wake)(void *ctx, _Atomic uint32_t *word, int count);
    void *ctx;
    int spins; /* looks at a lock before parking, more than the few usual */
};

/* A mutex.  Not recursive and not fair.  All zeros is a free one. */
struct hmm_lock {
    _Atomic uint32_t word;
};

void hmm_lock_init(struct hmm_lock *lock);

/* Returns with the lock held, after a short spin or a long sleep.  An error of
   the parker other than a time-out is the parker's bug; it is retried. */
void hmm_lock_acquire(struct hmm_lock *lock, const struct hmm_parker *parker);

/* Takes the lock if it is free; says whether it did. */
bool hmm_lock_try(struct hmm_lock *lock);

void hmm_lock_release(struct hmm_lock *lock, const struct hmm_parker *parker);

/* Whether anybody holds the lock: for assertions, and for who waits a while. */
static inline bool hmm_lock_held(const struct hmm_lock *lock)
{
    return atomic_load_explicit(&lock->word, memory_order_relaxed) != 0;
}

/*
 * A sequence of signals.  Take a ticket while what you wait for cannot happen
 * (under the lock that guards it), drop the lock, and wait: every signal since
 * the ticket was taken ends the wait at once, so none is lost.  The waiter may
 * free the event as soon as its wait has ended, also while the signaller is
 * still on its way out of hmm_event_signal.
 */
struct hmm_event {
    _Atomic uint32_t word; /* sequence * 2 + (somebody may be parked) */
};

void hmm_event_init(struct hmm_event *event);

uint32_t hmm_event_ticket(const struct hmm_event *event);

/* Waits for a signal later than `ticket'.  Returns 0, ETIMEDOUT, or what else
   the parker says.  A wake without a signal starts the time-out afresh. */
int hmm_event_wait(struct hmm_event *event, uint32_t ticket,
                   const struct hmm_parker *parker, uint64_t timeout_ns);

/* Ends the wait of all who have a ticket. */
void hmm_event_signal(struct hmm_event *event, const struct hmm_parker *parker);

#endif /* HMM_BASE_LOCK_H */
