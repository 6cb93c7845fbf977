/* SPDX-License-Identifier: MIT */
/*
 * Magazines: a thread's stock of free objects, and the few that a cache's users
 * have in common when they bring none.
 *
 * A magazine is filled by half when it is empty, and loses half when it is full,
 * so a thread that allocates and frees in turn touches no slab.  A common one is
 * tried for, never waited for; which is tried first depends on the caller's
 * stack, so threads mostly meet the same one again and each its own.  Who finds
 * all of them taken goes to the slabs.
 *
 * A DEBUG cache's magazines have no room: each of its objects goes to the slabs.
 */
#include <hurdmm/error.h>

#include "lib/stores/slab.h"

/* What is wrong with an object that is to be freed; not with `state' NULL. */
static int fault(struct hurdmm_cache *cache, const uint8_t *state)
{
    __atomic_fetch_add(&cache->faults, 1, __ATOMIC_RELAXED);
    return state ? EINVAL : ENOENT;
}

/* ---- Without a magazine ---- */

/* An object straight from the slabs. */
static int alloc_one(struct hurdmm_cache *cache, void **object)
{
    struct hmm_round round;
    uint32_t got;
    int error = hmm_cache_take(cache, &round, 1, &got);

    if (error == 0 && cache->flags & HURDMM_CACHE_DEBUG) {
        error = hmm_guard_set(cache, round.object);
        if (error != 0)
            hmm_cache_give(cache, &round, 1);
    }
    if (error != 0)
        return error;
    store_assert(got == 1 && hmm_state_get(round.state) ==
                                 (HMM_OBJECT_STOCKED | HMM_OBJECT_MADE));
    hmm_state_set(round.state, HMM_OBJECT_USED | HMM_OBJECT_MADE);
    *object = round.object;
    return 0;
}

/* The object becomes the caller's: STOCKED, if it was USED.  Of two that try,
 * one succeeds. */
static int reclaim(struct hurdmm_cache *cache, void *object,
                   struct hmm_round *round)
{
    uint8_t *state = hmm_object_state(cache, object);
    uint8_t used = HMM_OBJECT_USED | HMM_OBJECT_MADE;

    if (!state ||
        !__atomic_compare_exchange_n(
            state, &used, (uint8_t)(HMM_OBJECT_STOCKED | HMM_OBJECT_MADE),
            false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return fault(cache, state);
    round->object = object;
    round->state = state;
    return 0;
}

/* Straight back to its slab.  What fails leaves it in use. */
static int free_one(struct hurdmm_cache *cache, void *object)
{
    struct hmm_round round;
    int error = reclaim(cache, object, &round);

    if (error != 0)
        return error;
    if (cache->flags & HURDMM_CACHE_DEBUG && hmm_guard_check(cache, object)) {
        hmm_state_set(round.state, HMM_OBJECT_USED | HMM_OBJECT_MADE);
        __atomic_fetch_add(&cache->faults, 1, __ATOMIC_RELAXED);
        return EIO;
    }
    hmm_cache_give(cache, &round, 1);
    return 0;
}

/* ---- With one ---- */

/* An empty one that nobody knows of yet. */
static int magazine_make(struct hurdmm_cache *cache,
                         struct hurdmm_magazine **result)
{
    struct hurdmm_magazine *magazine;
    void *memory;
    int error =
        hurdmm_allocate(cache->slab->manager, sizeof *magazine, &memory);

    if (error != 0)
        return error;
    magazine = memory;
    magazine->cache = cache;
    magazine->slab = cache->slab;
    magazine->room = cache->room;
    *result = magazine;
    return 0;
}

/* The magazine is empty: loads half of it, so that there is room for what is
 * freed next. */
static int alloc_slowly(struct hurdmm_magazine *magazine, void **object)
{
    struct hurdmm_cache *cache = magazine->cache;
    int error;

    store_assert(magazine->count == 0 && magazine->slab == cache->slab);
    hmm_slab_relieve(magazine->slab);
    /* The user's reap may have freed something through this magazine. */
    if (magazine->count == 0) {
        if (magazine->room == 0)
            return alloc_one(cache, object);
        error = hmm_cache_take(cache, magazine->round, magazine->room / 2,
                               &magazine->count);
        if (error != 0)
            return error;
    }
    store_assert(magazine->count > 0 && magazine->count <= magazine->room);
    return hurdmm_magazine_alloc(magazine, object);
}

int hurdmm_magazine_alloc(struct hurdmm_magazine *magazine, void **object)
{
    const struct hmm_round *round;

    if (!magazine || !object)
        return EINVAL;
    if (magazine->count == 0)
        return alloc_slowly(magazine, object);
    round = &magazine->round[--magazine->count];
    hmm_state_set(round->state, HMM_OBJECT_USED | HMM_OBJECT_MADE);
    *object = round->object;
    return 0;
}

/* The older half goes, so that what is warm stays. */
static void unload_half(struct hurdmm_magazine *magazine)
{
    uint32_t half = magazine->room / 2;

    store_assert(magazine->count == magazine->room && half > 0);
    hmm_cache_give(magazine->cache, magazine->round, half);
    magazine->count -= half;
    for (uint32_t i = 0; i < magazine->count; i++)
        magazine->round[i] = magazine->round[i + half];
}

int hurdmm_magazine_free(struct hurdmm_magazine *magazine, void *object)
{
    struct hmm_round *round;
    uint8_t *state;

    if (!magazine)
        return EINVAL;
    if (magazine->room == 0)
        return free_one(magazine->cache, object);
    state = hmm_object_state(magazine->cache, object);
    if (!state || hmm_state_get(state) != (HMM_OBJECT_USED | HMM_OBJECT_MADE))
        return fault(magazine->cache, state);
    hmm_state_set(state, HMM_OBJECT_STOCKED | HMM_OBJECT_MADE);
    if (magazine->count == magazine->room)
        unload_half(magazine);
    round = &magazine->round[magazine->count++];
    round->object = object;
    round->state = state;
    return 0;
}

int hurdmm_magazine_create(struct hurdmm_cache *cache,
                           struct hurdmm_magazine **magazine)
{
    int error = cache && magazine ? magazine_make(cache, magazine) : EINVAL;

    if (error != 0)
        return error;
    hmm_slab_lock(cache->slab);
    cache->magazines++;
    hmm_slab_unlock(cache->slab);
    return 0;
}

void hurdmm_magazine_destroy(struct hurdmm_magazine *magazine)
{
    struct hurdmm_slab *slab;

    if (!magazine)
        return;
    slab = magazine->slab;
    store_assert(magazine->count <= magazine->room && magazine->busy == 0);
    hmm_cache_give(magazine->cache, magazine->round, magazine->count);
    hmm_slab_lock(slab);
    store_assert(magazine->cache->magazines > 0);
    magazine->cache->magazines--;
    hmm_slab_unlock(slab);
    hurdmm_deallocate(slab->manager, magazine, sizeof *magazine);
}

/* ---- The magazines in common ---- */

/* One that is nobody's now, or NULL. */
static struct hurdmm_magazine *borrow(struct hurdmm_cache *cache)
{
    uintptr_t here = (uintptr_t)&cache;

    store_assert(cache->room > 0);
    unsigned start = (unsigned)((here >> 20) * 0x9e37u >> 4);

    for (unsigned i = 0; i < HMM_COMMON; i++) {
        struct hurdmm_magazine **place =
            &cache->common[(start + i) % HMM_COMMON];
        struct hurdmm_magazine *magazine =
            __atomic_load_n(place, __ATOMIC_ACQUIRE);

        if (!magazine) {
            struct hurdmm_magazine *none = NULL;

            if (magazine_make(cache, &magazine))
                return NULL;
            magazine->busy = 1;
            if (__atomic_compare_exchange_n(place, &none, magazine, false,
                                            __ATOMIC_RELEASE, __ATOMIC_RELAXED))
                return magazine;
            hurdmm_deallocate(cache->slab->manager, magazine, sizeof *magazine);
            continue;
        }
        if (!__atomic_exchange_n(&magazine->busy, 1, __ATOMIC_ACQUIRE))
            return magazine;
    }
    return NULL;
}

/* Whoever borrows it next sees what was done to it. */
static void put_back(struct hurdmm_magazine *magazine)
{
    store_assert(__atomic_load_n(&magazine->busy, __ATOMIC_RELAXED) == 1);
    store_assert(magazine->count <= magazine->room);
    __atomic_store_n(&magazine->busy, 0, __ATOMIC_RELEASE);
}

int hurdmm_cache_alloc(struct hurdmm_cache *cache, void **object)
{
    struct hurdmm_magazine *magazine;
    int error;

    if (!cache || !object)
        return EINVAL;
    magazine = cache->room > 0 ? borrow(cache) : NULL;
    if (!magazine) {
        hmm_slab_relieve(cache->slab);
        return alloc_one(cache, object);
    }
    error = hurdmm_magazine_alloc(magazine, object);
    put_back(magazine);
    return error;
}

int hurdmm_cache_free(struct hurdmm_cache *cache, void *object)
{
    struct hurdmm_magazine *magazine;
    int error;

    if (!cache)
        return EINVAL;
    magazine = cache->room > 0 ? borrow(cache) : NULL;
    if (!magazine)
        return free_one(cache, object);
    error = hurdmm_magazine_free(magazine, object);
    put_back(magazine);
    return error;
}

void hmm_cache_unstock(struct hurdmm_cache *cache)
{
    for (unsigned i = 0; i < HMM_COMMON; i++) {
        struct hurdmm_magazine *magazine =
            __atomic_load_n(&cache->common[i], __ATOMIC_ACQUIRE);

        if (!magazine ||
            __atomic_exchange_n(&magazine->busy, 1, __ATOMIC_ACQUIRE))
            continue;
        store_assert(magazine->cache == cache);
        hmm_cache_give(cache, magazine->round, magazine->count);
        magazine->count = 0;
        put_back(magazine);
    }
}
