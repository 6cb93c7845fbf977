/* SPDX-License-Identifier: MIT */
/*
 * Guards: bytes behind the objects of a DEBUG cache, which are written when an
 * object is handed out and must be what they were when it is freed.  They go
 * through the library's calls, so that they cannot fault.
 */
#include <hurdmm/error.h>
#include <hurdmm/region.h>

#include "lib/stores/slab.h"

#define PATTERN 0xa5

/* From the object's end to the next object. */
static size_t guard_length(const struct hurdmm_cache *cache)
{
    size_t length = cache->stride - cache->size;

    store_assert(cache->flags & HURDMM_CACHE_DEBUG && length >= HMM_GUARD);
    return length < 2 * HMM_GUARD ? length : 2 * HMM_GUARD;
}

/* An error is the library's: there was no memory for the page, or no space. */
int hmm_guard_set(struct hurdmm_cache *cache, void *object)
{
    uint8_t bytes[2 * HMM_GUARD];
    size_t done, length = guard_length(cache);

    store_assert(length <= sizeof bytes);
    memset(bytes, PATTERN, sizeof bytes);
    return hurdmm_write(cache->slab->space, (uintptr_t)object + cache->size,
                        bytes, length, &done);
}

int hmm_guard_check(struct hurdmm_cache *cache, const void *object)
{
    uint8_t bytes[2 * HMM_GUARD];
    size_t done, length = guard_length(cache);

    if (hurdmm_read(cache->slab->space, (uintptr_t)object + cache->size, bytes,
                    length, &done))
        return EIO;
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != PATTERN)
            return EIO;
    return 0;
}
