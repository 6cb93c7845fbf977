/* SPDX-License-Identifier: MIT */
/*
 * What the files of the slab store share.
 *
 * A slab is a row of pages of the store; its *sheet*, in the library's own
 * memory, says which cache it belongs to and what state each of its objects is
 * in.  So nobody looks at managed memory to find out what may be done with it.
 *
 *                 take              alloc
 *          FREE --------> STOCKED --------> USED          MADE: constructed,
 *               <--------         <--------               if there is anything
 *                 give               free                 to construct
 *
 * Invariants
 *  1. Every state but STOCKED <-> USED changes under the slab store's mutex.
 *     That one is made by whoever owns the object, without it, so that it must
 *     not matter to anybody else: whoever holds the mutex may tell FREE from the
 *     others, and no more.
 *  2. sheet->free objects of a sheet are FREE, all at or above sheet->hint.
 *  3. A sheet with FREE objects is on its cache's list `partial', those that have
 *     no others at its end; a full one is on `full'; one that is being reaped is
 *     on neither, and all its objects are STOCKED.
 *  4. An object that is STOCKED or USED is MADE, except on its way through
 *     hmm_cache_take and back.
 *  5. Of an object that is FREE but not MADE nothing is known.
 *  6. Where the swap space reserves, the pages of an object that is STOCKED or
 *     USED have a place in it, or the promise of one, as in 4.
 *
 * Lock order: the slab store's mutex, then the manager's lock.  The mutex is not
 * held while managed memory is touched or the user's code runs (but `lost').
 */
#ifndef HMM_STORES_SLAB_H
#define HMM_STORES_SLAB_H

#include <hurdmm/manager.h>
#include <hurdmm/slab.h>
#include <hurdmm/space.h>

#include "lib/stores/private.h"

/* States of an object: one byte of its sheet. */
#define HMM_OBJECT_FREE 0u
#define HMM_OBJECT_STOCKED 1u
#define HMM_OBJECT_USED 2u
#define HMM_OBJECT_WHERE 3u /* mask of the three */
#define HMM_OBJECT_MADE 4u

/* Sheets are found by slab number in leaves of so many. */
#define HMM_LEAF_SHIFT 9u
#define HMM_LEAF ((uint32_t)1 << HMM_LEAF_SHIFT)

/* A magazine's entries at most; half of them go at once. */
#define HMM_ROUNDS_MAX 64u
/* Bytes of objects that a magazine may keep from being dropped; less where a
 * slab is smaller. */
#define HMM_ROUNDS_BYTES ((size_t)32 << 10)

/* The magazines that a cache's users have in common. */
#define HMM_COMMON 8u

/* Bytes behind an object of a DEBUG cache. */
#define HMM_GUARD 16u

struct hmm_link {
    struct hmm_link *next, *prev;
};

struct hmm_sheet {
    struct hmm_link link;
    struct hurdmm_cache *cache;
    uint32_t number; /* of the slab */
    uint32_t first;  /* byte of the slab at which the first object begins */
    uint32_t free;
    uint32_t hint;
    uint8_t state[];
};

struct hurdmm_slab {
    struct hurdmm *manager;
    struct hurdmm_space *space;
    struct hurdmm_store *store;
    const struct hurdmm_store_ops *backing;
    void *backing_hook;
    uintptr_t address;
    size_t page_size;
    unsigned shift;  /* a slab is 1 << shift bytes */
    uint32_t slabs;  /* that the range has room for */
    uint32_t mutex;  /* guards what follows, and the caches */
    uint32_t next;   /* number of the first slab that was never used */
    uint32_t spare;  /* 1 + number of the first one that is free again, or 0 */
    uint32_t caches; /* how many */
    struct hmm_link all;
    uint32_t pressed;   /* memory has been short: atomic */
    uint32_t relieving; /* somebody is in `reap': atomic */
    bool ending;        /* it goes with its store */
    void (*reap)(void *hook, struct hurdmm_slab *slab);
    void *hook;
    /* By number >> HMM_LEAF_SHIFT: NULL, or leaves.  An entry is a sheet, NULL,
     * or, where the number is odd, 1 + 2 * the next of `spare'. */
    uintptr_t *leaves[];
};

struct hmm_round {
    void *object;
    uint8_t *state;
};

struct hurdmm_magazine {
    struct hurdmm_cache *cache;
    struct hurdmm_slab *slab;
    uint32_t count, room;
    uint32_t busy; /* of a common one: somebody has it; atomic */
    struct hmm_round round[HMM_ROUNDS_MAX];
};

struct hurdmm_cache {
    struct hmm_link link; /* of slab->all */
    struct hurdmm_slab *slab;
    struct hurdmm_cache_lazy *lazy;
    char name[32];
    size_t size;
    uint32_t stride;
    uint32_t per_slab;
    uint64_t reciprocal; /* 2^32 / stride, rounded up */
    uint32_t colour, colours, next_colour;
    uint32_t room; /* of its magazines; 0 in debug mode */
    unsigned flags;
    int (*construct)(void *hook, void *object, size_t size);
    int (*destruct)(void *hook, void *object, size_t size);
    void (*lost)(void *hook, void *object, size_t size);
    void *hook;
    struct hmm_link partial, full;
    uint32_t slabs;
    uint32_t magazines;
    uint64_t constructions, destructions, losses;
    uint64_t faults;                            /* atomic */
    struct hurdmm_magazine *common[HMM_COMMON]; /* NULL until it is needed */
};

static inline void hmm_link_init(struct hmm_link *list)
{
    list->next = list->prev = list;
}

static inline bool hmm_link_empty(const struct hmm_link *list)
{
    return list->next == list;
}

static inline void hmm_link_after(struct hmm_link *where, struct hmm_link *link)
{
    link->prev = where;
    link->next = where->next;
    where->next->prev = link;
    where->next = link;
}

static inline void hmm_link_remove(struct hmm_link *link)
{
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = link->prev = link;
}

static inline struct hmm_sheet *hmm_sheet_of(struct hmm_link *link)
{
    return (struct hmm_sheet *)(void *)link;
}

static inline unsigned hmm_state_get(const uint8_t *state)
{
    return __atomic_load_n(state, __ATOMIC_RELAXED);
}

static inline void hmm_state_set(uint8_t *state, unsigned value)
{
    __atomic_store_n(state, (uint8_t)value, __ATOMIC_RELAXED);
}

static inline void hmm_slab_lock(struct hurdmm_slab *slab)
{
    hurdmm_mutex_lock(slab->manager, &slab->mutex);
}

static inline void hmm_slab_unlock(struct hurdmm_slab *slab)
{
    hurdmm_mutex_unlock(slab->manager, &slab->mutex);
}

/* The sheet of the slab at `offset' of the range, or NULL. */
static inline struct hmm_sheet *hmm_sheet_at(const struct hurdmm_slab *slab,
                                             uintptr_t offset)
{
    uintptr_t number = offset >> slab->shift;
    uintptr_t *const *leaf;
    uintptr_t entry;

    if (number >= slab->slabs)
        return NULL;
    leaf = &slab->leaves[number >> HMM_LEAF_SHIFT];
    uintptr_t *entries = __atomic_load_n(leaf, __ATOMIC_ACQUIRE);
    if (!entries)
        return NULL;
    entry =
        __atomic_load_n(&entries[number & (HMM_LEAF - 1)], __ATOMIC_ACQUIRE);
    return entry & 1 ? NULL : (struct hmm_sheet *)entry;
}

static inline char *hmm_object_at(const struct hmm_sheet *sheet, uint32_t i)
{
    const struct hurdmm_cache *cache = sheet->cache;

    return (char *)cache->slab->address +
           ((uintptr_t)sheet->number << cache->slab->shift) + sheet->first +
           (uintptr_t)i * cache->stride;
}

/* The state of an object of the cache, NULL if it is none. */
static inline uint8_t *hmm_object_state(const struct hurdmm_cache *cache,
                                        const void *object)
{
    const struct hurdmm_slab *slab = cache->slab;
    uintptr_t offset = (uintptr_t)object - slab->address;
    struct hmm_sheet *sheet = hmm_sheet_at(slab, offset);
    uint32_t in, i;

    if (!sheet || sheet->cache != cache)
        return NULL;
    in =
        (uint32_t)(offset & (((uintptr_t)1 << slab->shift) - 1)) - sheet->first;
    i = (uint32_t)(in * cache->reciprocal >> 32);
    if (i >= cache->per_slab || i * cache->stride != in)
        return NULL;
    return &sheet->state[i];
}

/* slab.c */

/* Takes a number for a slab and makes its sheet known there.  ENOMEM.  Locked. */
int hmm_slab_place(struct hurdmm_slab *slab, struct hmm_sheet *sheet);
/* Forgets the sheet and gives its number back.  Locked. */
void hmm_slab_unplace(struct hurdmm_slab *slab, struct hmm_sheet *sheet);
/* Promises the pages of these bytes a place in the swap space, if that reserves.
 * They keep it until they are discarded.  ENOSPC, ENOMEM. */
int hmm_slab_promise(struct hurdmm_slab *slab, const void *address,
                     size_t length);
/* Calls the user's reap if memory has been short. */
void hmm_slab_relieve(struct hurdmm_slab *slab);

/* cache.c: between slabs and magazines */

/* Takes up to `count' objects, constructed, STOCKED.  *got says how many.  An
 * error only if there is none. */
int hmm_cache_take(struct hurdmm_cache *cache, struct hmm_round *round,
                   uint32_t count, uint32_t *got);
/* Gives objects that are STOCKED back. */
void hmm_cache_give(struct hurdmm_cache *cache, const struct hmm_round *round,
                    uint32_t count);
/* Gives the stock of the magazines in common back, as far as nobody has them. */
void hmm_cache_unstock(struct hurdmm_cache *cache);
/* The number of an object in its slab. */
static inline uint32_t hmm_object_number(const struct hmm_sheet *sheet,
                                         const uint8_t *state)
{
    return (uint32_t)(state - sheet->state);
}

/* guard.c: of DEBUG caches */

int hmm_guard_set(struct hurdmm_cache *cache, void *object);
/* EIO: it was written to. */
int hmm_guard_check(struct hurdmm_cache *cache, const void *object);

#endif /* HMM_STORES_SLAB_H */
