/* SPDX-License-Identifier: MIT */
/*
 * Making compositions: what is asked is checked here and becomes pieces.
 */
#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "lib/stores/compose.h"

/* ---- Runs of one store --------------------------------------------------- */

/* A run of whole blocks, or the last, which may end where the store does. */
static int check_run(const struct hurdmm_store *store,
                     const struct hurdmm_run *run, bool last)
{
    uint64_t mask = hurdmm_store_block_size(store) - 1;
    uint64_t size = hurdmm_store_size(store);

    if (run->length == 0)
        return EINVAL;
    if (run->offset == HURDMM_HOLE)
        return (run->length & mask) != 0 ? EINVAL : 0;
    if (run->offset > size || run->length > size - run->offset)
        return ENXIO;
    if ((run->offset & mask) != 0)
        return EINVAL;
    if ((run->length & mask) == 0)
        return 0;
    return last && run->offset + run->length == size ? 0 : EINVAL;
}

/* Adds a piece behind the others.  EINVAL: the sum overflows. */
static int append(struct hmm_composed *composed, size_t index,
                  struct hurdmm_store *store, uint64_t from, uint64_t length)
{
    store_assert(index < composed->count && length > 0);
    if (length > UINT64_MAX - composed->block - composed->size)
        return EINVAL;
    composed->pieces[index] = (struct hmm_piece){
        .store = store, .from = from, .at = composed->size, .length = length};
    composed->size += length;
    return 0;
}

/* Puts runs in the order of their offsets, by halving gaps. */
static void sort(struct hurdmm_run *runs, size_t count)
{
    for (size_t gap = count / 2; gap > 0; gap /= 2)
        for (size_t i = gap; i < count; i++) {
            struct hurdmm_run run = runs[i];
            size_t j = i;

            for (; j >= gap && runs[j - gap].offset > run.offset; j -= gap)
                runs[j] = runs[j - gap];
            runs[j] = run;
        }
    for (size_t i = 1; i < count; i++)
        store_assert_slow(runs[i - 1].offset <= runs[i].offset);
}

/* The same bytes twice would be two pages that know nothing of each other. */
static int check_apart(struct hurdmm *manager, const struct hurdmm_run *runs,
                       size_t count)
{
    struct hurdmm_run *sorted;
    void *memory;
    int error = hurdmm_allocate(manager, count * sizeof *sorted, &memory);

    if (error != 0)
        return error;
    sorted = memory;
    for (size_t i = 0; i < count; i++)
        sorted[i] = runs[i];
    sort(sorted, count);
    for (size_t i = 1; i < count; i++)
        if (sorted[i].offset != HURDMM_HOLE &&
            sorted[i].offset - sorted[i - 1].offset < sorted[i - 1].length)
            error = EINVAL;
    hurdmm_deallocate(manager, memory, count * sizeof *sorted);
    return error;
}

/* Makes the pieces, a hole being a piece of no store. */
static int fill_runs(struct hmm_composed *composed, struct hurdmm_store *store,
                     const struct hurdmm_run *runs)
{
    bool writes = ((composed->flags | hurdmm_store_flags(store)) &
                   HURDMM_STORE_READ_ONLY) == 0;
    int error = 0;

    composed->one = true;
    composed->block = hurdmm_store_block_size(store);
    store_assert(composed->size == 0 && composed->count > 0);
    for (size_t i = 0; error == 0 && i < composed->count; i++) {
        bool hole = runs[i].offset == HURDMM_HOLE;

        error = check_run(store, &runs[i], i + 1 == composed->count);
        if (error == 0)
            error = append(composed, i, hole ? NULL : store,
                           hole ? 0 : runs[i].offset, runs[i].length);
    }
    if (error == 0 && writes)
        error = check_apart(composed->manager, runs, composed->count);
    return error;
}

int hurdmm_remap_create(struct hurdmm *manager, struct hurdmm_store *store,
                        const struct hurdmm_run *runs, size_t count,
                        unsigned flags, struct hurdmm_store **result)
{
    struct hmm_composed *composed;
    int error;

    if (!store || !runs || !result)
        return EINVAL;
    error = hmm_composed_new(manager, count, flags, &composed);
    if (error != 0)
        return error;
    error = fill_runs(composed, store, runs);
    if (error != 0) {
        hmm_composed_free(composed);
        return error;
    }
    return hmm_composed_finish(composed, "remap", result);
}

/* ---- Several stores ------------------------------------------------------ */

/* All there, of one block size, none of them empty. */
static int check_stores(struct hurdmm_store *const *stores, size_t count,
                        size_t *block)
{
    if (!stores || count == 0)
        return EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (!stores[i] || hurdmm_store_size(stores[i]) == 0)
            return EINVAL;
        if (i == 0)
            *block = hurdmm_store_block_size(stores[0]);
        else if (hurdmm_store_block_size(stores[i]) != *block)
            return EINVAL;
    }
    return 0;
}

int hurdmm_concat_create(struct hurdmm *manager,
                         struct hurdmm_store *const *stores, size_t count,
                         unsigned flags, struct hurdmm_store **result)
{
    struct hmm_composed *composed;
    size_t block = 0;
    int error = check_stores(stores, count, &block);

    if (error != 0 || !result)
        return EINVAL;
    error = hmm_composed_new(manager, count, flags, &composed);
    if (error != 0)
        return error;
    composed->block = block;
    /* All but the last end with a block, so that no block lies in two. */
    for (size_t i = 0; error == 0 && i < count; i++) {
        uint64_t size = hurdmm_store_size(stores[i]);

        if (i + 1 < count && (size & (block - 1)) != 0)
            error = EINVAL;
        else
            error = append(composed, i, stores[i], 0, size);
    }
    if (error != 0) {
        hmm_composed_free(composed);
        return error;
    }
    return hmm_composed_finish(composed, "concat", result);
}

/* The whole units that all have. */
static uint64_t share(struct hurdmm_store *const *stores, size_t count,
                      uint64_t unit)
{
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < count; i++)
        if (hurdmm_store_size(stores[i]) < least)
            least = hurdmm_store_size(stores[i]);
    store_assert(count > 0 && unit > 0);
    return least / unit * unit;
}

int hurdmm_stripe_create(struct hurdmm *manager,
                         struct hurdmm_store *const *stores, size_t count,
                         uint64_t unit, unsigned flags,
                         struct hurdmm_store **result)
{
    struct hmm_composed *composed;
    size_t block = 0;
    uint64_t length;
    int error = check_stores(stores, count, &block);

    if (error != 0 || !result || unit == 0 || (unit & (block - 1)) != 0)
        return EINVAL;
    length = share(stores, count, unit);
    if (length == 0 || length > (UINT64_MAX - block) / count)
        return EINVAL;
    error = hmm_composed_new(manager, count, flags, &composed);
    if (error != 0)
        return error;
    composed->block = block;
    composed->unit = unit;
    composed->size = length * count;
    for (size_t i = 0; i < count; i++)
        composed->pieces[i] =
            (struct hmm_piece){.store = stores[i], .length = length};
    return hmm_composed_finish(composed, "stripe", result);
}
