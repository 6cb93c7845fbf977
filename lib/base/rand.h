/* SPDX-License-Identifier: MIT */
/*
 * Pseudo-random numbers for policies and tests: splitmix64 (Steele, Lea and
 * Flood, 2014).  The seed is always explicit, any seed is good, and equal seeds
 * give equal sequences everywhere.  Not for secrets.
 */
#ifndef HMM_BASE_RAND_H
#define HMM_BASE_RAND_H

#include <stdint.h>

#include "lib/base/assert.h"

struct hmm_rand {
    uint64_t state;
};

static inline void hmm_rand_init(struct hmm_rand *rand, uint64_t seed)
{
    rand->state = seed;
}

static inline uint64_t hmm_rand_next(struct hmm_rand *rand)
{
    uint64_t z = rand->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A number below `bound', which must not be 0; the bias is below bound/2^64. */
static inline uint64_t hmm_rand_below(struct hmm_rand *rand, uint64_t bound)
{
    hmm_assert(bound != 0);
    return hmm_rand_next(rand) % bound;
}

#endif /* HMM_BASE_RAND_H */
