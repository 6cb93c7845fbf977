/* SPDX-License-Identifier: MIT */
/* Sleeping on a 32-bit word: what all waiting in the port is made of.
 *
 * Both functions may be called from signal handlers, and neither is a point of
 * cancellation: a thread that waits for a fault must not leave its frame.  They
 * do not touch errno.  The build chooses word_futex.c or word_pipe.c.
 */
#ifndef HMM_POSIX_WORD_H
#define HMM_POSIX_WORD_H

#include <stdatomic.h>
#include <stdint.h>

/* Sleeps while *word == expected until woken, or returns early.  0, or
 * ETIMEDOUT. */
int hmm_posix_word_wait(_Atomic uint32_t *word, uint32_t expected,
                        uint64_t timeout_ns);

/* Wakes up to `count` that sleep on the word.  The word may be gone: whoever
 * has the address now is woken early. */
void hmm_posix_word_wake(_Atomic uint32_t *word, unsigned count);

/* In a child after fork: forgets the parent's sleepers. */
void hmm_posix_word_forked(void);

#endif
