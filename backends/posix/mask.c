/* SPDX-License-Identifier: MIT */
/* Who a thread is, and how it shuts out asynchronous signals.
 *
 * A signal handler of the program may touch managed memory, and then waits for
 * a thread that takes the library's locks.  So whoever holds one of them has
 * asynchronous signals masked.  The port's own threads have them masked always
 * and pay nothing.
 *
 * The old mask must be kept without thread-locals.  Where it fits a word it is
 * the cookie; else it lies in one of 64 places, and a 65th thread waits for
 * one, without holding anything yet.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <sched.h>

#include "lib/base/assert.h"

#if !defined(HMM_POSIX_PORTABLE) && defined(__linux__) &&                      \
    UINTPTR_MAX > UINT32_MAX && !defined(__mips__)
#include <sys/syscall.h>
#define MASK_IN_COOKIE 1
#endif

/* What is never masked: the processor raises them at an instruction. */
static const int synchronous[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};

#define SYNCHRONOUS (sizeof(synchronous) / sizeof(synchronous[0]))

uint64_t hmm_posix_thread_id(void)
{
    /* Every thread has its own errno, which handlers may use, so it is never
     * made lazily. */
    return (uint64_t)(uintptr_t)&errno;
}

void hmm_posix_asynchronous(sigset_t *set)
{
    (void)sigfillset(set);
    for (unsigned i = 0; i < SYNCHRONOUS; i++)
        (void)sigdelset(set, synchronous[i]);
}

static bool is_own(struct hmm_posix_threads *threads)
{
    uint64_t id = hmm_posix_thread_id();
    unsigned count =
        atomic_load_explicit(&threads->ids_used, memory_order_acquire);
    for (unsigned i = 0; i < count; i++)
        if (atomic_load_explicit(&threads->ids[i], memory_order_relaxed) == id)
            return true;
    return false;
}

#ifdef MASK_IN_COOKIE

/* The library function would copy the whole of its larger set; the system
 * call's is 64 bits.  Signals 32 and 33, which that function spares, are the C
 * library's and stay open too. */
static uintptr_t mask_all(struct hmm_posix_threads *threads)
{
    (void)threads;
    uint64_t old = 0, set = ~(UINT64_C(3) << 31);
    for (unsigned i = 0; i < SYNCHRONOUS; i++)
        set &= ~(UINT64_C(1) << (synchronous[i] - 1));
    long failed =
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, &old, sizeof(set));
    hmm_assert(!failed);
    (void)failed;
    return (uintptr_t)old;
}

static void mask_restore(struct hmm_posix_threads *threads, uintptr_t cookie)
{
    (void)threads;
    uint64_t old = cookie;
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old));
}

#else

/* The cookie is the number of a place. */
static unsigned place_take(struct hmm_posix_threads *threads)
{
    for (;;) {
        uint64_t taken = atomic_load(&threads->masks_taken);
        for (unsigned i = 0; i < 64; i++) {
            if (taken >> i & 1)
                continue;
            if (atomic_compare_exchange_strong(&threads->masks_taken, &taken,
                                               taken | UINT64_C(1) << i))
                return i;
        }
        (void)sched_yield();
    }
}

static uintptr_t mask_all(struct hmm_posix_threads *threads)
{
    sigset_t all, old;
    hmm_posix_asynchronous(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    unsigned place = place_take(threads);
    threads->masks[place] = old;
    return place;
}

static void mask_restore(struct hmm_posix_threads *threads, uintptr_t cookie)
{
    hmm_assert(cookie < 64);
    sigset_t old = threads->masks[cookie];
    atomic_fetch_and(&threads->masks_taken, ~(UINT64_C(1) << cookie));
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

#endif

uintptr_t hmm_posix_mask(struct hmm_posix_threads *threads)
{
    return is_own(threads) ? 0 : mask_all(threads);
}

void hmm_posix_unmask(struct hmm_posix_threads *threads, uintptr_t cookie)
{
    if (!is_own(threads))
        mask_restore(threads, cookie);
}
