/* SPDX-License-Identifier: MIT */
/* Sleeping on a word by Linux's futex.  The kernel has all the state. */
#include "backends/posix/system.h"

#ifdef HMM_POSIX_HAS_FUTEX

#include "backends/posix/word.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

#include <linux/futex.h>
#include <sys/syscall.h>

#include <hurdmm/types.h>

#include "lib/base/assert.h"

/* 32-bit systems whose time is 64 bits wide have another call. */
#if defined(SYS_futex_time64) && !defined(SYS_futex)
#define FUTEX_CALL SYS_futex_time64
#else
#define FUTEX_CALL SYS_futex
#endif

#define NS_PER_SECOND UINT64_C(1000000000)

/* A relative timeout in the layout that FUTEX_CALL reads. */
struct kernel_timeout {
    long seconds;
    long nanoseconds;
};

int hmm_posix_word_wait(_Atomic uint32_t *word, uint32_t expected,
                        uint64_t timeout_ns)
{
    hmm_assert(word != NULL);
    int saved = errno;
    struct kernel_timeout timeout;
    uint64_t seconds = timeout_ns / NS_PER_SECOND;
    timeout.seconds = seconds > INT_MAX ? INT_MAX : (long)seconds;
    timeout.nanoseconds = (long)(timeout_ns % NS_PER_SECOND);
    int error = 0;
    if (syscall(FUTEX_CALL, word, FUTEX_WAIT_PRIVATE, expected,
                timeout_ns == HURDMM_FOREVER ? NULL : &timeout, NULL, 0) &&
        errno == ETIMEDOUT)
        error = ETIMEDOUT;
    errno = saved;
    return error;
}

void hmm_posix_word_wake(_Atomic uint32_t *word, unsigned count)
{
    hmm_assert(word != NULL && count > 0);
    int saved = errno;
    (void)syscall(FUTEX_CALL, word, FUTEX_WAKE_PRIVATE,
                  count > INT_MAX ? INT_MAX : (int)count, NULL, NULL, 0);
    errno = saved;
}

void hmm_posix_word_forked(void)
{
}

#else

/* ISO C has no empty files. */
extern int hmm_posix_no_futex;

#endif
