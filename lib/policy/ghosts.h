/* SPDX-License-Identifier: MIT */
/*
 * The keys of pages that left a short while ago, four bytes each.
 *
 * A set of rows of HMM_GHOST_WAYS fingerprints.  A key belongs to one row; in a
 * row the youngest stands first, and one that joins a full row pushes the
 * eldest out.  So the table remembers about as many keys as it has slots,
 * without a clock.  Two keys are mistaken for each other once in 2^28, which
 * costs a page a better place than it deserves.
 *
 * Invariant: the free slots (0) of a row come last.
 */
#ifndef HMM_POLICY_GHOSTS_H
#define HMM_POLICY_GHOSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/assert.h"

#define HMM_GHOST_WAYS 8u

/* The row of `key' among `rows', and its fingerprint, which is never 0. */
static inline uint32_t *hmm_ghost_row(uint32_t *slots, uint32_t rows,
                                      uint64_t key, uint32_t *print)
{
    uint64_t hash = key * UINT64_C(0x9e3779b97f4a7c15);

    hmm_assert(rows > 0);
    hash = (hash ^ (hash >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    hash ^= hash >> 32;
    *print = (uint32_t)(hash >> 32) | 1u;
    return slots + ((hash & UINT32_MAX) * rows >> 32) * HMM_GHOST_WAYS;
}

static inline void hmm_ghost_add(uint32_t *slots, uint32_t rows, uint64_t key)
{
    uint32_t print;
    uint32_t *row = hmm_ghost_row(slots, rows, key, &print);

    for (uint32_t i = HMM_GHOST_WAYS - 1; i > 0; i--)
        row[i] = row[i - 1];
    row[0] = print;
}

/* Whether `key' was there; it is not any more. */
static inline bool hmm_ghost_take(uint32_t *slots, uint32_t rows, uint64_t key)
{
    uint32_t print;
    uint32_t *row = hmm_ghost_row(slots, rows, key, &print);
    uint32_t i = 0;

    while (i < HMM_GHOST_WAYS && row[i] != print)
        i++;
    if (i == HMM_GHOST_WAYS)
        return false;
    for (; i + 1 < HMM_GHOST_WAYS; i++)
        row[i] = row[i + 1];
    row[HMM_GHOST_WAYS - 1] = 0;
    return true;
}

static inline bool hmm_ghosts_sound(const uint32_t *slots, uint32_t rows)
{
    for (uint64_t i = 1; i < (uint64_t)rows * HMM_GHOST_WAYS; i++)
        if (i % HMM_GHOST_WAYS != 0 && slots[i] != 0 && slots[i - 1] == 0)
            return false;
    return true;
}

#endif /* HMM_POLICY_GHOSTS_H */
