/* SPDX-License-Identifier: MIT */
/*
 * The slab store: its range of addresses, its sheets, and what the pager asks.
 *
 * The store is anonymous memory but for one operation.  Asked about a victim,
 * it looks at the states of the objects that lie in the page: if one is not
 * FREE the page is written.  Else what was MADE is not any more, the slot of the
 * swap space is freed, and the page may go.  Whoever takes one of these objects
 * after that constructs it anew; that this writes to the page before the pager
 * has done what it was told is the pager's to sort out (see victim in
 * hurdmm/store.h).
 *
 * Where the swap space reserves, pages are promised slots when objects in them
 * are first handed out, so that the allocation fails and not a write.  A promise
 * outlives the slot and is good until the slab is reaped.
 */
#include "lib/stores/slab.h"

#include <hurdmm/error.h>
#include <hurdmm/region.h>

#include "lib/stores/anonymous.h"

#define SLAB_MAX ((size_t)16 << 20)
#define SLAB_PAGES 16u

/* ---- What the pager calls ---- */

/* The objects [*from, *to) of the sheet lie in the page at `at' of its slab,
 * wholly or in part: with a larger object all its pages are kept or lost, as
 * each that is asked about finds the same state. */
static void objects_in(const struct hmm_sheet *sheet, size_t at, size_t length,
                       uint32_t *from, uint32_t *to)
{
    const struct hurdmm_cache *cache = sheet->cache;
    size_t first = sheet->first, stride = cache->stride;

    store_assert(length > 0 && at + length <= (size_t)1 << cache->slab->shift);
    *from = at > first ? (uint32_t)((at - first) / stride) : 0;
    *to = at + length > first
              ? (uint32_t)((at + length - first + stride - 1) / stride)
              : 0;
    if (*to > cache->per_slab)
        *to = cache->per_slab;
    if (*from > *to)
        *from = *to;
    store_assert(*from == *to || (*from < *to && *to <= cache->per_slab));
}

/* May the objects be lost?  Not if one is in use or on its way, nor if a
 * destructor would wait for it in vain.  Locked, so that none of them is taken
 * before lose has noted what is done. */
static bool expendable(const struct hmm_sheet *sheet, uint32_t from,
                       uint32_t to)
{
    bool keep = sheet->cache->destruct && !sheet->cache->lost;

    store_assert(store_held(&sheet->cache->slab->mutex));
    for (uint32_t i = from; i < to; i++) {
        unsigned state = hmm_state_get(&sheet->state[i]);

        if ((state & HMM_OBJECT_WHERE) != HMM_OBJECT_FREE ||
            (keep && (state & HMM_OBJECT_MADE)))
            return false;
    }
    return true;
}

/* Notes that the objects, which are FREE, are not constructed any more.
 * Locked. */
static void lose(struct hmm_sheet *sheet, uint32_t from, uint32_t to)
{
    struct hurdmm_cache *cache = sheet->cache;

    store_assert(store_held(&cache->slab->mutex));
    store_assert(from <= to && to <= cache->per_slab);
    for (uint32_t i = from; i < to; i++) {
        if (!(hmm_state_get(&sheet->state[i]) & HMM_OBJECT_MADE))
            continue;
        hmm_state_set(&sheet->state[i], HMM_OBJECT_FREE);
        if (!cache->construct && !cache->destruct)
            continue;
        cache->losses++;
        if (cache->lost)
            cache->lost(cache->hook, hmm_object_at(sheet, i), cache->size);
    }
}

/* The states are looked at and changed in one go under the mutex: who takes one
 * of these objects comes before, and the page is kept, or after, and constructs
 * it. */
static int slab_victim(struct hurdmm_store *store, void *hook, uint64_t offset,
                       size_t length)
{
    struct hurdmm_slab *slab = hook;
    struct hmm_sheet *sheet;
    uint32_t from = 0, to = 0;
    bool drop = true; /* what is no slab is nobody's */

    (void)store;
    store_assert(offset % slab->page_size == 0);
    __atomic_store_n(&slab->pressed, 1, __ATOMIC_RELAXED);
    hmm_slab_lock(slab);
    sheet = hmm_sheet_at(slab, (uintptr_t)offset);
    if (sheet) {
        objects_in(sheet, (size_t)(offset & (((uint64_t)1 << slab->shift) - 1)),
                   length, &from, &to);
        drop = expendable(sheet, from, to);
        if (drop)
            lose(sheet, from, to);
    }
    hmm_slab_unlock(slab);
    if (!drop)
        return HURDMM_VICTIM_WRITE;
    hmm_anonymous_forget(slab->backing_hook, offset, length);
    return HURDMM_VICTIM_DROP;
}

/* The rest is anonymous memory's, which cannot tell whose hook it gets. */
static int slab_page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                        void *buffer, size_t length, size_t *done)
{
    struct hurdmm_slab *slab = hook;

    return slab->backing->page_in(store, slab->backing_hook, offset, buffer,
                                  length, done);
}

static int slab_page_out(struct hurdmm_store *store, void *hook,
                         uint64_t offset, const void *buffer, size_t length,
                         size_t *done)
{
    struct hurdmm_slab *slab = hook;

    store_assert(slab->backing->page_out);
    return slab->backing->page_out(store, slab->backing_hook, offset, buffer,
                                   length, done);
}

static int slab_unlock(struct hurdmm_store *store, void *hook, uint64_t offset,
                       size_t length)
{
    struct hurdmm_slab *slab = hook;

    store_assert(slab->backing->unlock && length == slab->page_size);
    return slab->backing->unlock(store, slab->backing_hook, offset, length);
}

static void slab_discarded(struct hurdmm_store *store, void *hook,
                           uint64_t offset, uint64_t length)
{
    struct hurdmm_slab *slab = hook;

    slab->backing->discarded(store, slab->backing_hook, offset, length);
}

static int slab_extent(struct hurdmm_store *store, void *hook, uint64_t offset,
                       uint64_t *start, uint64_t *length)
{
    struct hurdmm_slab *slab = hook;

    return slab->backing->extent(store, slab->backing_hook, offset, start,
                                 length);
}

static size_t bytes_of(const struct hurdmm_slab *slab)
{
    size_t leaves = (slab->slabs + HMM_LEAF - 1) / HMM_LEAF;

    return sizeof *slab + leaves * sizeof slab->leaves[0];
}

/* It may be later than hurdmm_slab_destroy, if copies depend on the store; or
 * without that, if the manager ends, whose memory goes with it. */
static void slab_store_destroyed(void *hook)
{
    struct hurdmm_slab *slab = hook;

    slab->backing->destroy(slab->backing_hook);
    if (!slab->ending)
        return;
    store_assert(slab->caches == 0 && hmm_link_empty(&slab->all));
    for (uint32_t i = 0; i * HMM_LEAF < slab->slabs; i++)
        hurdmm_deallocate(slab->manager, slab->leaves[i],
                          HMM_LEAF * sizeof slab->leaves[i][0]);
    hurdmm_deallocate(slab->manager, slab, bytes_of(slab));
}

static const struct hurdmm_store_ops swapped_ops = {
    .struct_size = sizeof swapped_ops,
    .page_in = slab_page_in,
    .page_out = slab_page_out,
    .discarded = slab_discarded,
    .extent = slab_extent,
    .destroy = slab_store_destroyed,
    .victim = slab_victim,
};

static const struct hurdmm_store_ops reserved_ops = {
    .struct_size = sizeof reserved_ops,
    .page_in = slab_page_in,
    .page_out = slab_page_out,
    .unlock = slab_unlock,
    .discarded = slab_discarded,
    .extent = slab_extent,
    .destroy = slab_store_destroyed,
    .victim = slab_victim,
};

static const struct hurdmm_store_ops resident_ops = {
    .struct_size = sizeof resident_ops,
    .page_in = slab_page_in,
    .destroy = slab_store_destroyed,
    .victim = slab_victim,
};

/* ---- Numbers and sheets ---- */

/* The entry of a slab that has been used before, or whose leaf is made now. */
static uintptr_t *entry_of(struct hurdmm_slab *slab, uint32_t number)
{
    uintptr_t **leaf = &slab->leaves[number >> HMM_LEAF_SHIFT];

    store_assert(number < slab->slabs && store_held(&slab->mutex));
    if (!*leaf) {
        void *memory;

        if (hurdmm_allocate(slab->manager, HMM_LEAF * sizeof **leaf, &memory))
            return NULL;
        __atomic_store_n(leaf, memory, __ATOMIC_RELEASE);
    }
    return &(*leaf)[number & (HMM_LEAF - 1)];
}

int hmm_slab_place(struct hurdmm_slab *slab, struct hmm_sheet *sheet)
{
    uintptr_t *entry;

    store_assert(sheet->cache->slab == slab && store_held(&slab->mutex));
    store_assert(slab->next <= slab->slabs && slab->spare <= slab->next);
    if (slab->spare == 0 && slab->next == slab->slabs)
        return ENOMEM;
    sheet->number = slab->spare != 0 ? slab->spare - 1 : slab->next;
    entry = entry_of(slab, sheet->number);
    if (!entry)
        return ENOMEM;
    /* A number that was used before leads to the next of them; a fresh one has
     * an empty entry. */
    store_assert(slab->spare != 0 ? (*entry & 1) == 1 : *entry == 0);
    if (slab->spare != 0)
        slab->spare = (uint32_t)(*entry >> 1);
    else
        slab->next++;
    __atomic_store_n(entry, (uintptr_t)sheet, __ATOMIC_RELEASE);
    return 0;
}

void hmm_slab_unplace(struct hurdmm_slab *slab, struct hmm_sheet *sheet)
{
    uintptr_t *entry = entry_of(slab, sheet->number);

    store_assert(entry && *entry == (uintptr_t)sheet);
    __atomic_store_n(entry, (uintptr_t)slab->spare << 1 | 1, __ATOMIC_RELEASE);
    slab->spare = sheet->number + 1;
    store_assert(slab->spare <= slab->next);
}

int hmm_slab_promise(struct hurdmm_slab *slab, const void *address,
                     size_t length)
{
    uint64_t at = (uintptr_t)address - slab->address,
             mask = slab->page_size - 1;
    int error = 0;

    store_assert(length > 0 && at + length <= (uint64_t)slab->slabs
                                                  << slab->shift);
    if (!slab->backing->unlock)
        return 0;
    for (uint64_t page = at & ~mask; error == 0 && page < at + length;
         page += slab->page_size)
        error = slab->backing->unlock(slab->store, slab->backing_hook, page,
                                      slab->page_size);
    return error;
}

void hmm_slab_relieve(struct hurdmm_slab *slab)
{
    /* A look that costs nothing first: this is on the way of each allocation
     * that misses its magazine. */
    if (__atomic_load_n(&slab->pressed, __ATOMIC_RELAXED) == 0 ||
        __atomic_exchange_n(&slab->pressed, 0, __ATOMIC_RELAXED) == 0)
        return;
    /* One at a time: the callback allocates, too. */
    if (!slab->reap ||
        __atomic_exchange_n(&slab->relieving, 1, __ATOMIC_ACQUIRE) != 0)
        return;
    slab->reap(slab->hook, slab);
    __atomic_store_n(&slab->relieving, 0, __ATOMIC_RELEASE);
}

/* ---- Making and ending ---- */

static bool power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* Completes the options and finds how many slabs there are to be. */
static int check_options(const struct hurdmm_slab_options *options,
                         size_t *slab_size, uint64_t *slabs)
{
    size_t page = hurdmm_page_size(options->manager);

    store_assert(page == 0 || power_of_two(page)); /* 0: a manager that died */
    *slab_size =
        options->slab_size != 0 ? options->slab_size : SLAB_PAGES * page;
    if (!power_of_two(*slab_size) || *slab_size < page ||
        *slab_size > SLAB_MAX || options->size == 0 ||
        options->size > UINT64_MAX - *slab_size)
        return EINVAL;
    *slabs = (options->size + *slab_size - 1) / *slab_size;
    return *slabs < UINT32_MAX / 2 && *slabs <= SIZE_MAX / *slab_size ? 0
                                                                      : EINVAL;
}

/* Those that the backing has: see hmm_anonymous_ops. */
static const struct hurdmm_store_ops *ops_for(const struct hurdmm_slab *slab)
{
    if (!slab->backing->page_out)
        return &resident_ops;
    return slab->backing->unlock ? &reserved_ops : &swapped_ops;
}

/* Makes the store and binds it.  On error there is neither. */
static int make_store(struct hurdmm_slab *slab, struct hurdmm_swap *swap)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "slab",
        .hook = slab,
        .size = (uint64_t)slab->slabs << slab->shift,
        .flags = HURDMM_STORE_VOLATILE,
    };
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = slab->space,
        .length = (size_t)slab->slabs << slab->shift,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };
    int error = hmm_anonymous_make(slab->manager, swap, &slab->backing_hook);

    store_assert(slab->slabs > 0 && !slab->ending);
    if (error != 0)
        return error;
    slab->backing = hmm_anonymous_ops(swap);
    error = hurdmm_store_create(slab->manager, ops_for(slab), &options,
                                &slab->store);
    if (error != 0) {
        slab->backing->destroy(slab->backing_hook);
        return error;
    }
    bind.store = slab->store;
    error = hurdmm_bind(&bind, &slab->address);
    if (error != 0)
        (void)hurdmm_store_destroy(slab->store, 0);
    return error;
}

int hurdmm_slab_create(const struct hurdmm_slab_options *options,
                       struct hurdmm_slab **result)
{
    struct hurdmm_slab shape = {0};
    struct hurdmm_slab *slab;
    size_t slab_size;
    uint64_t slabs;
    void *memory;
    int error;

    if (!options || !result || options->struct_size < sizeof *options ||
        !options->manager)
        return EINVAL;
    error = check_options(options, &slab_size, &slabs);
    if (error != 0)
        return error;
    shape.slabs = (uint32_t)slabs;
    error = hurdmm_allocate(options->manager, bytes_of(&shape), &memory);
    if (error != 0)
        return error;
    slab = memory;
    slab->manager = options->manager;
    slab->space =
        options->space ? options->space : hurdmm_space_own(options->manager);
    slab->page_size = hurdmm_page_size(options->manager);
    slab->shift = (unsigned)__builtin_ctzll(slab_size);
    slab->slabs = shape.slabs;
    slab->reap = options->reap;
    slab->hook = options->hook;
    hmm_link_init(&slab->all);
    error = make_store(slab, options->swap);
    if (error != 0)
        hurdmm_deallocate(slab->manager, slab, bytes_of(slab));
    else
        *result = slab;
    return error;
}

int hurdmm_slab_destroy(struct hurdmm_slab *slab)
{
    uint32_t caches;
    int error;

    if (!slab)
        return EINVAL;
    hmm_slab_lock(slab);
    caches = slab->caches;
    hmm_slab_unlock(slab);
    if (caches > 0)
        return EBUSY;
    slab->ending = true;
    error = hurdmm_store_destroy(slab->store, HURDMM_DETACH);
    if (error != 0)
        slab->ending = false;
    return error;
}

struct hurdmm_store *hurdmm_slab_store(struct hurdmm_slab *slab)
{
    return slab ? slab->store : NULL;
}

uintptr_t hurdmm_slab_address(struct hurdmm_slab *slab)
{
    return slab ? slab->address : 0;
}

int hurdmm_slab_find(struct hurdmm_slab *slab, const void *address,
                     struct hurdmm_cache **cache, void **start)
{
    const struct hmm_sheet *sheet;
    struct hurdmm_cache *found = NULL;
    void *where = NULL;
    uintptr_t offset;
    size_t in;

    if (!slab)
        return EINVAL;
    offset = (uintptr_t)address - slab->address;
    hmm_slab_lock(slab);
    sheet = hmm_sheet_at(slab, offset);
    in = (size_t)(offset & (((uintptr_t)1 << slab->shift) - 1));
    if (sheet && in >= sheet->first) {
        const struct hurdmm_cache *owner = sheet->cache;

        store_assert(owner->slab == slab && sheet->first < (size_t)1
                                                               << slab->shift);
        size_t i = (in - sheet->first) / owner->stride;

        if (i < owner->per_slab &&
            in - sheet->first - i * owner->stride < owner->size) {
            found = sheet->cache;
            where = hmm_object_at(sheet, (uint32_t)i);
        }
    }
    hmm_slab_unlock(slab);
    if (!found)
        return ENOENT;
    /* The caller's may be objects themselves, which may fault: without the lock. */
    if (cache)
        *cache = found;
    if (start)
        *start = where;
    return 0;
}
