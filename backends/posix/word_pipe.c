/* SPDX-License-Identifier: MIT */
/* Sleeping on a word by pipes, for systems without a futex.
 *
 * A fixed number of sleepers have a seat with a pipe; whoever finds no seat or
 * no descriptors looks again every millisecond.  Invariants:
 * 1. A seat belongs to the thread that took `taken` from 0 to 1.
 * 2. The owner names its word in `word` before it looks at the word again, and
 *    a waker changes the word before it reads `word`: one of them sees the
 *    other.
 * 3. Who takes `word` back to 0 writes one byte (a waker) or none (the owner),
 *    so that the pipe is empty whenever the seat is free.
 * There are no locks; read, write, poll, pipe and fcntl are async-signal-safe.
 * They are points of cancellation, so that is switched off around them.
 */
#include "backends/posix/system.h"

#ifndef HMM_POSIX_HAS_FUTEX

#include "backends/posix/word.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include <hurdmm/types.h>

#include "lib/base/assert.h"

#define SEATS 64u
#define NS_PER_MS UINT64_C(1000000)

struct seat {
    _Atomic uintptr_t word; /* what its owner sleeps on, 0: woken */
    atomic_uint taken;
    bool has_pipe; /* the owner's */
    int pipe[2];
};

static struct seat seats[SEATS];

static bool seat_open(struct seat *seat)
{
    if (seat->has_pipe)
        return true;
    if (pipe(seat->pipe))
        return false;
    (void)fcntl(seat->pipe[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(seat->pipe[1], F_SETFD, FD_CLOEXEC);
    seat->has_pipe = true;
    return true;
}

static struct seat *seat_take(void)
{
    for (unsigned i = 0; i < SEATS; i++) {
        unsigned none = 0;
        if (!atomic_compare_exchange_strong(&seats[i].taken, &none, 1))
            continue;
        if (seat_open(&seats[i]))
            return &seats[i];
        atomic_store(&seats[i].taken, 0);
        return NULL;
    }
    return NULL;
}

/* poll, in milliseconds rounded up. */
static int poll_for(struct pollfd *fd, uint64_t timeout_ns)
{
    int timeout = -1;
    if (timeout_ns != HURDMM_FOREVER) {
        uint64_t ms = timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0);
        timeout = ms > INT_MAX ? INT_MAX : (int)ms;
    }
    return poll(fd, fd ? 1 : 0, timeout);
}

static int seat_sleep(struct seat *seat, _Atomic uint32_t *word,
                      uint32_t expected, uint64_t timeout_ns)
{
    int ready = 1;
    atomic_store(&seat->word, (uintptr_t)word);
    if (atomic_load(word) == expected) {
        struct pollfd fd = {.fd = seat->pipe[0], .events = POLLIN};
        ready = poll_for(&fd, timeout_ns);
    }
    if (atomic_exchange(&seat->word, 0))
        return ready == 0 ? ETIMEDOUT : 0;
    char byte;
    while (read(seat->pipe[0], &byte, 1) != 1)
        hmm_assert(errno == EINTR);
    return 0;
}

int hmm_posix_word_wait(_Atomic uint32_t *word, uint32_t expected,
                        uint64_t timeout_ns)
{
    hmm_assert(word != NULL);
    int saved = errno;
    int cancel;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    int error = 0;
    struct seat *seat = seat_take();
    if (seat) {
        error = seat_sleep(seat, word, expected, timeout_ns);
        atomic_store(&seat->taken, 0);
    } else if (atomic_load(word) == expected) {
        if (timeout_ns <= NS_PER_MS)
            error = ETIMEDOUT;
        (void)poll_for(NULL, error ? timeout_ns : NS_PER_MS);
    }
    (void)pthread_setcancelstate(cancel, NULL);
    errno = saved;
    return error;
}

void hmm_posix_word_wake(_Atomic uint32_t *word, unsigned count)
{
    hmm_assert(word != NULL && count > 0);
    int saved = errno;
    int cancel;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    for (unsigned i = 0; i < SEATS && count; i++) {
        uintptr_t here = (uintptr_t)word;
        if (!atomic_compare_exchange_strong(&seats[i].word, &here, 0))
            continue;
        while (write(seats[i].pipe[1], "", 1) != 1)
            hmm_assert(errno == EINTR);
        count--;
    }
    (void)pthread_setcancelstate(cancel, NULL);
    errno = saved;
}

/* The pipes are the parent's too. */
void hmm_posix_word_forked(void)
{
    for (unsigned i = 0; i < SEATS; i++) {
        atomic_store(&seats[i].word, 0);
        atomic_store(&seats[i].taken, 0);
        if (seats[i].has_pipe) {
            (void)close(seats[i].pipe[0]);
            (void)close(seats[i].pipe[1]);
        }
        seats[i].has_pipe = false;
    }
}

#else

/* ISO C has no empty files. */
extern int hmm_posix_has_futex;

#endif
