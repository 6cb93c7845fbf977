/* SPDX-License-Identifier: MIT */
/*
 * The discardable store: pages that may vanish, and a note for each that was
 * ever there, so that who makes them again is told, however they left.
 *
 * How a block's note changes:
 *
 *     none  -> there  page_in, refill: it has been made
 *     there -> there  it left memory, however that was, and is made again: `fill'
 *                     is told that it was discarded
 *     there -> none   hurdmm_store_discard, by hand: the next time is the first
 *
 * The notes are bits in leaves that are made when they are needed and live as
 * long as the store.  They are set and cleared without a lock, since a fill may
 * run in a signal handler: the library sees to it that no page is filled twice at
 * once, nor discarded while it is filled, so nobody races for one bit.
 */
#include <hurdmm/discardable.h>
#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "lib/stores/private.h"

#define LEAF_WORDS 64u
#define LEAF_BITS (64u * LEAF_WORDS)

struct discardable {
    struct hurdmm *manager;
    uint64_t block; /* bytes; a note is for one */
    uint64_t leaves;
    int (*fill)(void *hook, uint64_t offset, void *buffer, size_t length,
                int discarded);
    void *hook;
    void (*destroy)(void *hook);
    uint64_t *leaf[];
};

/* NULL: no note was ever made there, or the store has grown since it was made;
 * what lies beyond is made as if for the first time, always. */
static uint64_t *leaf_of(struct discardable *store, uint64_t block)
{
    return block / LEAF_BITS < store->leaves
               ? __atomic_load_n(&store->leaf[block / LEAF_BITS],
                                 __ATOMIC_ACQUIRE)
               : NULL;
}

/* Whether the block was ever there, as far as that is known. */
static bool noted(struct discardable *store, uint64_t block)
{
    const uint64_t *leaf = leaf_of(store, block);
    uint64_t bit = block % LEAF_BITS;

    return leaf &&
           (__atomic_load_n(&leaf[bit / 64], __ATOMIC_RELAXED) >> bit % 64 &
            1) != 0;
}

/* Makes the leaf of a block, which two may try at once. */
static int make_leaf(struct discardable *store, uint64_t block)
{
    uint64_t **place = &store->leaf[block / LEAF_BITS];
    uint64_t *none = NULL;
    void *memory;
    int error;

    store_assert(block / LEAF_BITS < store->leaves);
    error =
        hurdmm_allocate(store->manager, LEAF_WORDS * sizeof **place, &memory);
    if (error != 0)
        return error;
    if (!__atomic_compare_exchange_n(place, &none, (uint64_t *)memory, false,
                                     __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        hurdmm_deallocate(store->manager, memory, LEAF_WORDS * sizeof **place);
    return 0;
}

/* Makes sure that notes can be made for blocks.  ENOMEM. */
static int prepare(struct discardable *store, uint64_t first, uint64_t count)
{
    int error = 0;

    for (uint64_t i = first; i < first + count && error == 0; i++)
        if (i / LEAF_BITS < store->leaves && !leaf_of(store, i))
            error = make_leaf(store, i);
    return error;
}

/* Notes that blocks are there now; prepare was there before. */
static void note(struct discardable *store, uint64_t first, uint64_t count)
{
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t *leaf = leaf_of(store, i);
        uint64_t bit = i % LEAF_BITS;

        store_assert(leaf || i / LEAF_BITS >= store->leaves);
        if (leaf)
            __atomic_fetch_or(&leaf[bit / 64], UINT64_C(1) << bit % 64,
                              __ATOMIC_RELAXED);
    }
}

static uint64_t blocks_in(const struct discardable *store, uint64_t length)
{
    return length / store->block + (length % store->block != 0);
}

/* How many of the blocks from `first' on are as that one. */
static uint64_t alike(struct discardable *store, uint64_t first, uint64_t count)
{
    bool before = noted(store, first);
    uint64_t run = 1;

    store_assert(count > 0);
    while (run < count && noted(store, first + run) == before)
        run++;
    store_assert(run <= count);
    return run;
}

/* Pages that were written to before they vanished.  There need not be a note of
 * them: who writes a whole page has it without its having been made. */
static int discardable_refill(struct hurdmm_store *handle, void *hook,
                              uint64_t offset, void *buffer, size_t length,
                              size_t *done)
{
    struct discardable *store = hook;
    uint64_t first = offset / store->block, count = blocks_in(store, length);
    int error = prepare(store, first, count);

    (void)handle;
    store_assert(offset % store->block == 0 && length > 0);
    if (error == 0)
        error = store->fill(store->hook, offset, buffer, length, 1);
    if (error != 0)
        *done = 0;
    else
        note(store, first, count);
    return error;
}

/* Blocks of which some were there and some were not are made in pieces, as `fill'
 * is told the same of all that it makes at once. */
static int discardable_page_in(struct hurdmm_store *handle, void *hook,
                               uint64_t offset, void *buffer, size_t length,
                               size_t *done)
{
    struct discardable *store = hook;
    uint64_t first = offset / store->block, count = blocks_in(store, length);
    int error = prepare(store, first, count);

    (void)handle;
    store_assert(offset % store->block == 0 && length > 0);
    for (*done = 0; error == 0 && *done < length;) {
        uint64_t at = first + *done / store->block;
        uint64_t run = alike(store, at, first + count - at);
        size_t rest = length - *done;
        size_t part =
            run < first + count - at ? (size_t)(run * store->block) : rest;

        error = store->fill(store->hook, offset + *done, (char *)buffer + *done,
                            part, noted(store, at));
        if (error != 0)
            break;
        note(store, at, run);
        *done += part;
        store_assert(*done <= length);
    }
    return error;
}

/* By hand: as if it had never been there. */
static void discardable_discarded(struct hurdmm_store *handle, void *hook,
                                  uint64_t offset, uint64_t length)
{
    struct discardable *store = hook;
    uint64_t first = offset / store->block;
    uint64_t end = first + blocks_in(store, length);

    (void)handle;
    if (end > store->leaves * LEAF_BITS)
        end = store->leaves * LEAF_BITS;
    for (uint64_t i = first; i < end; i++) {
        uint64_t *leaf = leaf_of(store, i);
        uint64_t bit = i % LEAF_BITS;

        if (leaf)
            __atomic_fetch_and(&leaf[bit / 64], ~(UINT64_C(1) << bit % 64),
                               __ATOMIC_RELAXED);
        else
            i |= LEAF_BITS - 1; /* nothing in all that the leaf would have */
    }
}

static size_t bytes_of(const struct discardable *store)
{
    return sizeof *store + (size_t)store->leaves * sizeof store->leaf[0];
}

static void discardable_destroy(void *hook)
{
    struct discardable *store = hook;

    for (uint64_t i = 0; i < store->leaves; i++)
        hurdmm_deallocate(store->manager, store->leaf[i],
                          LEAF_WORDS * sizeof store->leaf[i][0]);
    if (store->destroy)
        store->destroy(store->hook);
    hurdmm_deallocate(store->manager, store, bytes_of(store));
}

static const struct hurdmm_store_ops discardable_ops = {
    .struct_size = sizeof discardable_ops,
    .page_in = discardable_page_in,
    .discarded = discardable_discarded,
    .destroy = discardable_destroy,
    .refill = discardable_refill,
};

static int check_options(const struct hurdmm_discardable_options *options,
                         uint64_t *leaves)
{
    const unsigned known = HURDMM_STORE_SHARED | HURDMM_STORE_SIGNAL_SAFE;
    uint64_t block, blocks; /* hurdmm_store_create knows what a block may be */

    if (!options || options->struct_size < sizeof *options ||
        !options->manager || !options->fill || (options->flags & ~known) != 0 ||
        options->priority < HURDMM_PRIORITY_MIN ||
        options->priority > HURDMM_PRIORITY_MAX)
        return EINVAL;
    block = options->block_size != 0 ? options->block_size
                                     : hurdmm_page_size(options->manager);
    blocks = options->size / block + 1;
    *leaves = blocks / LEAF_BITS + 1;
    return *leaves > SIZE_MAX / 2 / sizeof(uint64_t *) ? ENOMEM : 0;
}

int hurdmm_discardable_create(const struct hurdmm_discardable_options *options,
                              struct hurdmm_store **result)
{
    struct hurdmm_store_options store_options = {
        .struct_size = sizeof store_options, .name = "discardable"};
    struct discardable shape = {0}, *store;
    struct hurdmm_store *handle;
    void *memory;
    int error = result ? check_options(options, &shape.leaves) : EINVAL;

    if (error == 0)
        error = hurdmm_allocate(options->manager, bytes_of(&shape), &memory);
    if (error != 0)
        return error;
    store = memory;
    store->manager = options->manager;
    store->leaves = shape.leaves;
    store->block = options->block_size != 0
                       ? options->block_size
                       : hurdmm_page_size(options->manager);
    store->fill = options->fill;
    store->hook = options->hook;
    store_assert(store->block > 0 && store->leaves > 0);
    store_options.hook = store;
    store_options.size = options->size;
    store_options.block_size = options->block_size;
    store_options.flags = options->flags | HURDMM_STORE_DISCARDABLE;
    error = hurdmm_store_create(store->manager, &discardable_ops,
                                &store_options, &handle);
    if (error != 0) {
        discardable_destroy(store);
        return error;
    }
    store->destroy = options->destroy;
    if (options->priority != 0)
        error = hurdmm_store_set_priority(handle, 0, HURDMM_WHOLE,
                                          options->priority);
    if (error != 0) {
        store->destroy = NULL;
        (void)hurdmm_store_destroy(handle, 0);
        return error;
    }
    *result = handle;
    return 0;
}
