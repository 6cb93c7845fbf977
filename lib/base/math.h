/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic on addresses, offsets and sizes that cannot go wrong silently.
 *
 * Everything is uint64_t, whatever the width of a pointer.  What may overflow
 * on a caller's numbers has a name that says so and reports it; the others
 * state what they need and assert it.
 */
#ifndef HMM_BASE_MATH_H
#define HMM_BASE_MATH_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/assert.h"

static inline bool hmm_is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* Rounds down to a multiple of `align', a power of two. */
static inline uint64_t hmm_align_down(uint64_t x, uint64_t align)
{
    hmm_assert(hmm_is_pow2(align));
    return x & ~(align - 1);
}

/* Rounds up to a multiple of `align', a power of two.  The result must be below
   2^64: look with hmm_add_overflow(x, align - 1, ...) at numbers from outside. */
static inline uint64_t hmm_align_up(uint64_t x, uint64_t align)
{
    hmm_assert(x <= UINT64_MAX - (align - 1));
    return hmm_align_down(x + (align - 1), align);
}

static inline bool hmm_is_aligned(uint64_t x, uint64_t align)
{
    hmm_assert(hmm_is_pow2(align));
    return (x & (align - 1)) == 0;
}

/* Whether [start, start + length) is a range: not empty, and not past the last
   byte of the 64-bit space, which it may include. */
static inline bool hmm_range_ok(uint64_t start, uint64_t length)
{
    return length > 0 && start <= UINT64_MAX - (length - 1);
}

static inline uint64_t hmm_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t hmm_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The number of the highest bit set in `x', which must not be 0. */
static inline unsigned hmm_log2(uint64_t x)
{
    hmm_assert(x != 0);
    return 63u - (unsigned)__builtin_clzll(x);
}

/* Stores a + b and says false, or says true: it does not fit. */
static inline bool hmm_add_overflow(uint64_t a, uint64_t b, uint64_t *sum)
{
    if (a > UINT64_MAX - b)
        return true;
    *sum = a + b;
    return false;
}

/* Stores a * b and says false, or says true: it does not fit. */
static inline bool hmm_mul_overflow(uint64_t a, uint64_t b, uint64_t *product)
{
    uint64_t result;

    if (__builtin_mul_overflow(a, b, &result))
        return true;
    *product = result;
    return false;
}

#endif /* HMM_BASE_MATH_H */
