/* SPDX-License-Identifier: MIT */
/*
 * Object caches: between slabs and magazines; growth, reaping, and the user's
 * constructors and destructors.
 *
 * Objects on their way are STOCKED, so that nobody else takes them and the pager
 * leaves their pages alone, while they are constructed or destructed without the
 * mutex.  slab.h has the states and the locks.
 */
#include <hurdmm/error.h>

#include "lib/stores/slab.h"

static size_t sheet_bytes(const struct hurdmm_cache *cache)
{
    return sizeof(struct hmm_sheet) + cache->per_slab;
}

/* ---- Slabs ---- */

/* Invariant 2 of slab.h, looked at object by object. */
static bool sheet_sound(const struct hmm_sheet *sheet)
{
    uint32_t free = 0;

    for (uint32_t i = 0; i < sheet->cache->per_slab; i++) {
        if ((hmm_state_get(&sheet->state[i]) & HMM_OBJECT_WHERE) !=
            HMM_OBJECT_FREE)
            continue;
        if (i < sheet->hint)
            return false;
        free++;
    }
    return free == sheet->free;
}

/* Makes a slab more, of objects about which nothing is known.  ENOMEM.
 * Locked. */
static int grow(struct hurdmm_cache *cache)
{
    struct hurdmm_slab *slab = cache->slab;
    struct hmm_sheet *sheet;
    void *memory;
    int error = hurdmm_allocate(slab->manager, sheet_bytes(cache), &memory);

    store_assert(store_held(&slab->mutex) && hmm_link_empty(&cache->partial));
    if (error != 0)
        return error;
    sheet = memory;
    sheet->cache = cache;
    sheet->free = cache->per_slab;
    sheet->first = cache->next_colour * cache->colour;
    store_assert(sheet->first + (uint64_t)cache->per_slab * cache->stride <=
                 (uint64_t)1 << slab->shift);
    error = hmm_slab_place(slab, sheet);
    if (error != 0) {
        hurdmm_deallocate(slab->manager, sheet, sheet_bytes(cache));
        return error;
    }
    cache->next_colour = (cache->next_colour + 1) % cache->colours;
    cache->slabs++;
    hmm_link_after(cache->partial.prev, &sheet->link);
    return 0;
}

/* Puts a sheet where invariant 3 wants it, after `free' has changed. */
static void place(struct hmm_sheet *sheet)
{
    struct hurdmm_cache *cache = sheet->cache;

    store_assert(store_held(&cache->slab->mutex));
    store_assert(sheet->free <= cache->per_slab);
    store_assert_slow(sheet_sound(sheet));
    hmm_link_remove(&sheet->link);
    if (sheet->free == 0)
        hmm_link_after(&cache->full, &sheet->link);
    else if (sheet->free == cache->per_slab)
        hmm_link_after(cache->partial.prev, &sheet->link);
    else
        hmm_link_after(&cache->partial, &sheet->link);
}

/* Takes objects off one sheet that has some, the lowest first.  Locked. */
static uint32_t take_from(struct hmm_sheet *sheet, struct hmm_round *round,
                          uint32_t count)
{
    uint32_t per_slab = sheet->cache->per_slab, got = 0, i = sheet->hint;

    store_assert(store_held(&sheet->cache->slab->mutex));
    store_assert(sheet->free > 0 && count > 0);
    for (; got < count && got < sheet->free; i++) {
        store_assert(i < per_slab);
        unsigned state = hmm_state_get(&sheet->state[i]);

        if ((state & HMM_OBJECT_WHERE) != HMM_OBJECT_FREE)
            continue;
        hmm_state_set(&sheet->state[i], state | HMM_OBJECT_STOCKED);
        round[got].object = hmm_object_at(sheet, i);
        round[got++].state = &sheet->state[i];
    }
    store_assert(got > 0 && got <= sheet->free);
    sheet->hint = i < per_slab ? i : 0;
    sheet->free -= got;
    if (sheet->free == 0)
        place(sheet);
    return got;
}

/* Gives an object back; `made': HMM_OBJECT_MADE if it stays constructed.
 * Locked. */
static void give_one(struct hurdmm_cache *cache, const struct hmm_round *round,
                     unsigned made)
{
    struct hmm_sheet *sheet = hmm_sheet_at(
        cache->slab, (uintptr_t)round->object - cache->slab->address);
    uint32_t i;

    store_assert(store_held(&cache->slab->mutex));
    store_assert(sheet && sheet->cache == cache);
    store_assert((made & ~HMM_OBJECT_MADE) == 0);
    store_assert((hmm_state_get(round->state) & HMM_OBJECT_WHERE) ==
                 HMM_OBJECT_STOCKED);
    hmm_state_set(round->state, HMM_OBJECT_FREE | made);
    i = hmm_object_number(sheet, round->state);
    store_assert(i < cache->per_slab && sheet->free < cache->per_slab);
    if (sheet->free == 0 || i < sheet->hint)
        sheet->hint = i;
    sheet->free++;
    if (sheet->free == 1 || sheet->free == cache->per_slab)
        place(sheet);
}

/* What was constructed stays so. */
void hmm_cache_give(struct hurdmm_cache *cache, const struct hmm_round *round,
                    uint32_t count)
{
    hmm_slab_lock(cache->slab);
    for (uint32_t i = 0; i < count; i++)
        give_one(cache, &round[i],
                 hmm_state_get(round[i].state) & HMM_OBJECT_MADE);
    hmm_slab_unlock(cache->slab);
}

/* ---- Constructing ---- */

/* Sees to it that an object may be written to, and is constructed. */
static int construct_one(struct hurdmm_cache *cache, void *object,
                         uint64_t *made)
{
    int error = hmm_slab_promise(cache->slab, object, cache->stride);

    if (error != 0 || !cache->construct)
        return error;
    error = cache->construct(cache->hook, object, cache->size);
    *made += error == 0;
    return error;
}

/* Constructs what is not; those that cannot be go back to their slabs. */
static int construct(struct hurdmm_cache *cache, struct hmm_round *round,
                     uint32_t count, uint32_t *good)
{
    uint64_t made = 0;
    int first_error = 0;

    store_assert(count > 0);
    *good = 0;
    for (uint32_t i = 0; i < count; i++) {
        unsigned state = hmm_state_get(round[i].state);
        int error = 0;

        if (!(state & HMM_OBJECT_MADE))
            error = construct_one(cache, round[i].object, &made);
        if (error == 0) {
            hmm_state_set(round[i].state, HMM_OBJECT_STOCKED | HMM_OBJECT_MADE);
            round[(*good)++] = round[i];
            continue;
        }
        first_error = first_error != 0 ? first_error : error;
        hmm_cache_give(cache, &round[i], 1);
    }
    if (made > 0) {
        hmm_slab_lock(cache->slab);
        cache->constructions += made;
        hmm_slab_unlock(cache->slab);
    }
    return *good > 0 ? 0 : first_error;
}

/* Takes what partial slabs have first, so that empty ones stay so, and can be
 * reaped; and constructs when all is taken, without the mutex. */
int hmm_cache_take(struct hurdmm_cache *cache, struct hmm_round *round,
                   uint32_t count, uint32_t *got)
{
    uint32_t taken = 0;
    int error = 0;

    store_assert(count > 0 && count <= HMM_ROUNDS_MAX);
    hmm_slab_lock(cache->slab);
    while (taken < count && error == 0) {
        if (hmm_link_empty(&cache->partial)) {
            /* A slab more is made only for who would get nothing. */
            if (taken > 0)
                break;
            error = grow(cache);
            continue;
        }
        taken += take_from(hmm_sheet_of(cache->partial.next), round + taken,
                           count - taken);
    }
    hmm_slab_unlock(cache->slab);
    store_assert(taken <= count && (taken > 0 || error != 0));
    *got = 0;
    return taken > 0 ? construct(cache, round, taken, got) : error;
}

/* ---- Reaping ---- */

/* Takes a sheet without a used object for the reaper; NULL: there is none. */
static struct hmm_sheet *claim_empty(struct hurdmm_cache *cache)
{
    struct hmm_sheet *sheet = NULL;

    hmm_slab_lock(cache->slab);
    if (!hmm_link_empty(&cache->partial))
        sheet = hmm_sheet_of(cache->partial.prev);
    /* Those without a used object are at the end: there is no other. */
    if (sheet && sheet->free < cache->per_slab)
        sheet = NULL;
    if (sheet) {
        store_assert_slow(sheet_sound(sheet));
        hmm_link_remove(&sheet->link);
        sheet->free = 0;
        for (uint32_t i = 0; i < cache->per_slab; i++)
            hmm_state_set(&sheet->state[i],
                          hmm_state_get(&sheet->state[i]) | HMM_OBJECT_STOCKED);
    }
    hmm_slab_unlock(cache->slab);
    return sheet;
}

/* Destructs what is constructed in a sheet that was claimed, as far as it can
 * be; what is left stays MADE.  The first error.  Not locked: a destructor may
 * call anything. */
static int destruct(struct hmm_sheet *sheet)
{
    struct hurdmm_cache *cache = sheet->cache;
    uint64_t gone = 0;
    int first_error = 0;

    store_assert(sheet->free == 0 && hmm_link_empty(&sheet->link));
    for (uint32_t i = 0; i < cache->per_slab; i++) {
        int error = 0;

        if (!(hmm_state_get(&sheet->state[i]) & HMM_OBJECT_MADE))
            continue;
        if (cache->destruct) {
            error = cache->destruct(cache->hook, hmm_object_at(sheet, i),
                                    cache->size);
            gone += error == 0;
        }
        if (error == 0)
            hmm_state_set(&sheet->state[i], HMM_OBJECT_STOCKED);
        first_error = first_error != 0 ? first_error : error;
    }
    hmm_slab_lock(cache->slab);
    cache->destructions += gone;
    hmm_slab_unlock(cache->slab);
    return first_error;
}

/* What could not be reaped can be used again. */
static void unclaim(struct hurdmm_cache *cache, struct hmm_link *failed)
{
    hmm_slab_lock(cache->slab);
    while (!hmm_link_empty(failed)) {
        struct hmm_sheet *sheet = hmm_sheet_of(failed->next);

        store_assert(sheet->cache == cache && sheet->free == 0);
        for (uint32_t i = 0; i < cache->per_slab; i++)
            hmm_state_set(&sheet->state[i],
                          hmm_state_get(&sheet->state[i]) & HMM_OBJECT_MADE);
        sheet->free = cache->per_slab;
        sheet->hint = 0;
        place(sheet);
    }
    hmm_slab_unlock(cache->slab);
}

/* Ends a sheet that was claimed.  On error it stays so. */
static int reap_one(struct hmm_sheet *sheet)
{
    struct hurdmm_cache *cache = sheet->cache;
    struct hurdmm_slab *slab = cache->slab;
    uint64_t length = (uint64_t)1 << slab->shift;
    int error = destruct(sheet);

    if (error == 0)
        error =
            hurdmm_store_discard(slab->store, sheet->number * length, length);
    if (error != 0)
        return error;
    hmm_slab_lock(slab);
    store_assert(cache->slabs > 0);
    hmm_slab_unplace(slab, sheet);
    cache->slabs--;
    hmm_slab_unlock(slab);
    hurdmm_deallocate(slab->manager, sheet, sheet_bytes(cache));
    return 0;
}

int hurdmm_cache_reap(struct hurdmm_cache *cache, uint64_t *bytes)
{
    struct hmm_link failed;
    struct hmm_sheet *sheet;
    uint64_t gone = 0;
    int first_error = 0;

    if (!cache)
        return EINVAL;
    hmm_link_init(&failed);
    hmm_cache_unstock(cache); /* objects in magazines keep slabs */
    while ((sheet = claim_empty(cache)) != NULL) {
        int error = reap_one(sheet);

        if (error == 0) {
            gone += (uint64_t)1 << cache->slab->shift;
            continue;
        }
        hmm_link_after(&failed, &sheet->link);
        first_error = first_error != 0 ? first_error : error;
    }
    unclaim(cache, &failed);
    if (bytes)
        *bytes = gone;
    return first_error;
}

/* Reaps the cache after `cache', in the order in which they were made, while
 * others may come and go: a cache that is being reaped cannot. */
int hurdmm_slab_reap(struct hurdmm_slab *slab, uint64_t *bytes)
{
    uint64_t sum = 0, some;
    uint32_t rounds;
    int first_error = 0;

    if (!slab)
        return EINVAL;
    hmm_slab_lock(slab);
    rounds = slab->caches;
    while (rounds-- > 0 && !hmm_link_empty(&slab->all)) {
        struct hurdmm_cache *cache =
            (struct hurdmm_cache *)(void *)slab->all.next;

        /* To the end, so that each has its turn. */
        hmm_link_remove(&cache->link);
        hmm_link_after(slab->all.prev, &cache->link);
        cache->magazines++; /* nobody can end it meanwhile */
        hmm_slab_unlock(slab);
        int error = hurdmm_cache_reap(cache, &some);
        hmm_slab_lock(slab);
        store_assert(cache->magazines > 0 && slab->caches > 0);
        cache->magazines--;
        sum += some;
        first_error = first_error != 0 ? first_error : error;
    }
    hmm_slab_unlock(slab);
    if (bytes)
        *bytes = sum;
    return first_error;
}

/* ---- Making and ending ---- */

static bool power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static size_t round_up(size_t value, size_t to)
{
    store_assert(power_of_two(to) && value <= SIZE_MAX - to);
    return (value + to - 1) & ~(to - 1);
}

/* Lays a slab out.  EINVAL: there is no room for one object. */
static int lay_out(struct hurdmm_cache *cache,
                   const struct hurdmm_cache_options *options)
{
    const struct hurdmm_slab *slab = cache->slab;
    size_t room = (size_t)1 << slab->shift, size = options->size;
    size_t align = options->align, colour = options->colour;
    size_t guard = options->flags & HURDMM_CACHE_DEBUG ? HMM_GUARD : 0;

    if (align == 0)
        align = size < 16 ? 8 : 16;
    if (colour == 0)
        colour = 64;
    if (size == 0 || size > room || guard > room - size ||
        !power_of_two(align) || align > slab->page_size ||
        !power_of_two(colour) || options->flags & ~HURDMM_CACHE_DEBUG)
        return EINVAL;
    size_t stride = round_up(size + guard, align);
    if (stride > room)
        return EINVAL;
    colour = colour < align ? align : colour;
    cache->size = size;
    cache->stride = (uint32_t)stride;
    cache->per_slab = (uint32_t)(room / stride);
    cache->reciprocal = ((UINT64_C(1) << 32) + stride - 1) / stride;
    cache->colour = (uint32_t)colour;
    cache->colours = (uint32_t)((room - cache->per_slab * stride) / colour) + 1;
    size_t most = (room < HMM_ROUNDS_BYTES ? room : HMM_ROUNDS_BYTES) / stride;
    cache->room = most > HMM_ROUNDS_MAX ? HMM_ROUNDS_MAX : (uint32_t)most & ~1u;
    if (cache->room < 2)
        cache->room = 2;
    if (guard > 0)
        cache->room = 0;
    store_assert(cache->per_slab > 0 && cache->colours > 0);
    store_assert(cache->room % 2 == 0 && cache->room <= HMM_ROUNDS_MAX);
    /* The reciprocal is right for the last object, and so for all. */
    store_assert((cache->per_slab - 1) * stride * cache->reciprocal >> 32 ==
                 cache->per_slab - 1);
    return 0;
}

/* As much of the name as has room, with its end. */
static void copy_name(char *to, size_t room, const char *from)
{
    size_t i = 0;

    store_assert(room > 0);
    for (; from && from[i] && i + 1 < room; i++)
        to[i] = from[i];
    to[i] = '\0';
}

/* Makes a cache that nobody knows of yet. */
static int cache_new(struct hurdmm_slab *slab,
                     const struct hurdmm_cache_options *options,
                     struct hurdmm_cache **result)
{
    struct hurdmm_cache *cache;
    void *memory;
    int error;

    if (!slab || !options || options->struct_size < sizeof *options)
        return EINVAL;
    error = hurdmm_allocate(slab->manager, sizeof *cache, &memory);
    if (error != 0)
        return error;
    cache = memory;
    cache->slab = slab;
    error = lay_out(cache, options);
    if (error != 0) {
        hurdmm_deallocate(slab->manager, cache, sizeof *cache);
        return error;
    }
    copy_name(cache->name, sizeof cache->name, options->name);
    cache->flags = options->flags;
    cache->construct = options->construct;
    cache->destruct = options->destruct;
    cache->lost = options->lost;
    cache->hook = options->hook;
    hmm_link_init(&cache->partial);
    hmm_link_init(&cache->full);
    *result = cache;
    return 0;
}

/* Makes it one of the slab store's.  Locked. */
static void attach(struct hurdmm_cache *cache)
{
    store_assert(store_held(&cache->slab->mutex));
    hmm_link_after(cache->slab->all.prev, &cache->link);
    cache->slab->caches++;
}

int hurdmm_cache_create(struct hurdmm_slab *slab,
                        const struct hurdmm_cache_options *options,
                        struct hurdmm_cache **result)
{
    struct hurdmm_cache *cache;
    int error = result ? cache_new(slab, options, &cache) : EINVAL;

    if (error != 0)
        return error;
    hmm_slab_lock(slab);
    attach(cache);
    hmm_slab_unlock(slab);
    *result = cache;
    return 0;
}

/* Takes the cache off the slab store's list if nothing is left of it. */
static bool detach(struct hurdmm_cache *cache)
{
    struct hurdmm_slab *slab = cache->slab;
    bool gone;

    hmm_slab_lock(slab);
    gone = cache->slabs == 0 && cache->magazines == 0;
    if (gone) {
        store_assert(hmm_link_empty(&cache->partial) &&
                     hmm_link_empty(&cache->full) && slab->caches > 0);
        hmm_link_remove(&cache->link);
        slab->caches--;
        if (cache->lazy)
            __atomic_store_n(&cache->lazy->cache, NULL, __ATOMIC_RELEASE);
    }
    hmm_slab_unlock(slab);
    return gone;
}

int hurdmm_cache_destroy(struct hurdmm_cache *cache)
{
    int error = hurdmm_cache_reap(cache, NULL);

    if (error != 0)
        return error;
    if (!detach(cache))
        return EBUSY;
    for (unsigned i = 0; i < HMM_COMMON; i++)
        hurdmm_deallocate(cache->slab->manager, cache->common[i],
                          sizeof *cache->common[i]);
    hurdmm_deallocate(cache->slab->manager, cache, sizeof *cache);
    return 0;
}

int hurdmm_cache_get(struct hurdmm_cache_lazy *lazy,
                     struct hurdmm_cache **result)
{
    struct hurdmm_cache *cache, *mine;
    struct hurdmm_slab *slab;
    int error;

    if (!lazy || !result || !lazy->slab)
        return EINVAL;
    cache = __atomic_load_n(&lazy->cache, __ATOMIC_ACQUIRE);
    if (!cache) {
        slab = *lazy->slab;
        error = cache_new(slab, lazy->options, &mine);
        if (error != 0)
            return error;
        hmm_slab_lock(slab);
        cache = lazy->cache;
        if (!cache) {
            cache = mine;
            attach(mine);
            mine->lazy = lazy;
            __atomic_store_n(&lazy->cache, mine, __ATOMIC_RELEASE);
        }
        hmm_slab_unlock(slab);
        if (cache != mine) /* somebody was faster */
            hurdmm_deallocate(slab->manager, mine, sizeof *mine);
    }
    *result = cache;
    return 0;
}

/* ---- Looking ---- */

/* Adds what the sheets of a list say; objects that are handed out or put into a
 * magazine meanwhile may be counted as either.  Locked. */
static void count(const struct hmm_link *list, struct hurdmm_cache_info *info)
{
    for (struct hmm_link *link = list->next; link != list; link = link->next) {
        const struct hmm_sheet *sheet = hmm_sheet_of(link);

        for (uint32_t i = 0; i < sheet->cache->per_slab; i++) {
            unsigned state = hmm_state_get(&sheet->state[i]);

            switch (state & HMM_OBJECT_WHERE) {
            case HMM_OBJECT_USED:
                info->used++;
                break;
            case HMM_OBJECT_STOCKED:
                info->stocked++;
                break;
            default:
                info->constructed += (state & HMM_OBJECT_MADE) != 0;
                break;
            }
        }
    }
}

int hurdmm_cache_get_info(struct hurdmm_cache *cache,
                          struct hurdmm_cache_info *info)
{
    struct hurdmm_cache_info all = {0};

    if (!cache || !info || info->struct_size < sizeof info->struct_size)
        return EINVAL;
    hmm_slab_lock(cache->slab);
    all.struct_size =
        info->struct_size < sizeof all ? info->struct_size : sizeof all;
    all.size = cache->size;
    all.stride = cache->stride;
    all.per_slab = cache->per_slab;
    all.slabs = cache->slabs;
    all.constructions = cache->constructions;
    all.destructions = cache->destructions;
    all.losses = cache->losses;
    all.faults = __atomic_load_n(&cache->faults, __ATOMIC_RELAXED);
    count(&cache->partial, &all);
    count(&cache->full, &all);
    if (!cache->construct)
        all.constructed = 0;
    hmm_slab_unlock(cache->slab);
    memcpy(info, &all, all.struct_size);
    return 0;
}
