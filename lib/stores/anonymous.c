/* SPDX-License-Identifier: MIT */
/*
 * Anonymous memory: zeros until written, in swap slots while out of memory.
 *
 * Invariants, under `mutex':
 *  1. a page has a slot if and only if the device holds its newest contents, or
 *     held them when the page was last read: a page that came back keeps its
 *     slot, and if it is not written again it leaves without being written;
 *  2. a slot belongs to one page of one store;
 *  3. a slot is freed only after what replaces it has been written, so that a
 *     write that fails loses nothing: the page in memory stays dirty, and what
 *     has a slot keeps it.
 *
 * Pages that are written together get slots that follow each other, so that
 * they are read together again.  Lock order: mutex, then the swap space's.  None
 * is held while the device works.
 */
#include <hurdmm/error.h>
#include <hurdmm/manager.h>
#include <hurdmm/stores.h>

#include "lib/stores/anonymous.h"
#include "lib/stores/private.h"
#include "lib/stores/slots.h"
#include "lib/stores/swap.h"

struct anonymous {
    struct hurdmm *manager;
    struct hurdmm_swap *swap; /* NULL: pages cannot leave */
    size_t page_size;
    struct hmm_slots slots;
    uint32_t mutex;
};

static void lock(struct anonymous *anonymous)
{
    hurdmm_mutex_lock(anonymous->manager, &anonymous->mutex);
}

static void unlock(struct anonymous *anonymous)
{
    hurdmm_mutex_unlock(anonymous->manager, &anonymous->mutex);
}

/* The pages of a row of bytes that ends at the store's size, maybe within a
 * page. */
static uint64_t pages_of(const struct anonymous *anonymous, size_t length)
{
    return length / anonymous->page_size +
           (length % anonymous->page_size != 0 ? 1 : 0);
}

/* How many of the `count' pages from `page' on can be handled in one go: they
 * are in slots that follow each other, or have none (*slot). */
static uint64_t run_at(struct anonymous *anonymous, uint64_t page,
                       uint64_t count, uint32_t *slot)
{
    uint64_t run, more;
    uint32_t next;

    lock(anonymous);
    run = hmm_slots_run(&anonymous->slots, page, count, slot);
    while (run < count) {
        more = hmm_slots_run(&anonymous->slots, page + run, count - run, &next);
        if (*slot == HMM_SLOT_NONE ? next != HMM_SLOT_NONE
                                   : next != *slot + run)
            break;
        run += more;
    }
    unlock(anonymous);
    return run;
}

/* Reads or writes the last page of the store, where it ends within a page, by
 * way of a whole one. */
static int transfer_tail(struct anonymous *anonymous, uint32_t slot, void *in,
                         const void *out, size_t length)
{
    size_t page = anonymous->page_size;
    void *whole;
    int error;

    store_assert(length < page);
    error = hurdmm_allocate(anonymous->manager, page, &whole);
    if (error != 0)
        return error;
    if (out) {
        memcpy(whole, out, length);
        error = hmm_swap_write(anonymous->swap, slot, 1, whole);
    } else {
        error = hmm_swap_read(anonymous->swap, slot, 1, whole);
        if (error == 0)
            memcpy(in, whole, length);
    }
    hurdmm_deallocate(anonymous->manager, whole, page);
    return error;
}

static int read_slots(struct anonymous *anonymous, uint32_t slot, void *buffer,
                      size_t length)
{
    uint32_t whole = (uint32_t)(length / anonymous->page_size);
    size_t bytes = whole * anonymous->page_size;
    int error = 0;

    if (whole > 0)
        error = hmm_swap_read(anonymous->swap, slot, whole, buffer);
    if (error == 0 && bytes < length)
        error = transfer_tail(anonymous, slot + whole, (char *)buffer + bytes,
                              NULL, length - bytes);
    return error;
}

static int write_slots(struct anonymous *anonymous, uint32_t slot,
                       const void *buffer, size_t length)
{
    uint32_t whole = (uint32_t)(length / anonymous->page_size);
    size_t bytes = whole * anonymous->page_size;
    int error = 0;

    if (whole > 0)
        error = hmm_swap_write(anonymous->swap, slot, whole, buffer);
    if (error == 0 && bytes < length)
        error = transfer_tail(anonymous, slot + whole, NULL,
                              (const char *)buffer + bytes, length - bytes);
    return error;
}

static int anonymous_page_in(struct hurdmm_store *store, void *hook,
                             uint64_t offset, void *buffer, size_t length,
                             size_t *done)
{
    struct anonymous *anonymous = hook;
    size_t finished = 0;
    int error = 0;

    (void)store;
    store_assert(offset % anonymous->page_size == 0);
    while (finished < length && error == 0) {
        uint64_t page = (offset + finished) / anonymous->page_size;
        size_t rest = length - finished;
        char *to = (char *)buffer + finished;
        uint32_t slot;
        uint64_t run =
            run_at(anonymous, page, pages_of(anonymous, rest), &slot);
        size_t bytes = (size_t)run * anonymous->page_size;

        if (bytes > rest)
            bytes = rest;
        if (slot == HMM_SLOT_NONE)
            memset(to, 0, bytes);
        else
            error = read_slots(anonymous, slot, to, bytes);
        if (error == 0)
            finished += bytes;
    }
    *done = finished;
    return error;
}

/* Makes the slots from `slot' on those of the pages from `page' on, and frees
 * the ones they had.  Returns how many could be noted. */
static uint32_t note_slots(struct anonymous *anonymous, uint64_t page,
                           uint32_t slot, uint32_t count)
{
    uint32_t noted;

    for (noted = 0; noted < count; noted++) {
        uint32_t old;
        int error;

        lock(anonymous);
        error =
            hmm_slots_set(&anonymous->slots, page + noted, slot + noted, &old);
        unlock(anonymous);
        if (error != 0)
            break;
        if (old != HMM_SLOT_NONE)
            hmm_swap_free(anonymous->swap, old, 1);
    }
    return noted;
}

/* Writes pages to slots that are theirs from then on; *wrote says how many. */
static int write_fresh(struct anonymous *anonymous, uint64_t page,
                       uint32_t slot, uint32_t count, const void *buffer,
                       size_t length, uint32_t *wrote)
{
    int error = write_slots(anonymous, slot, buffer, length);

    *wrote = 0;
    if (error == 0) {
        *wrote = note_slots(anonymous, page, slot, count);
        if (*wrote < count)
            error = ENOMEM;
    }
    if (*wrote < count)
        hmm_swap_free(anonymous->swap, slot + *wrote, count - *wrote);
    return error;
}

/* Writes some of the pages from `page' on: where they are, if all of them are
 * in one run, else to a new run, or, when there are no more slots, as many as
 * can stay where they are. */
static int write_some(struct anonymous *anonymous, uint64_t page,
                      const void *buffer, size_t length, uint32_t *wrote)
{
    uint64_t count = pages_of(anonymous, length);
    uint32_t slot, fresh, got;
    uint64_t run = run_at(anonymous, page, count, &slot);
    int error = 0;

    *wrote = 0;
    if (slot == HMM_SLOT_NONE || run < count) {
        error = hmm_swap_take(anonymous->swap, count, &fresh, &got);
        if (error == 0) {
            if (got < count)
                length = got * anonymous->page_size;
            return write_fresh(anonymous, page, fresh, got, buffer, length,
                               wrote);
        }
        if (slot == HMM_SLOT_NONE)
            return error;
    }
    if (run < count)
        length = (size_t)run * anonymous->page_size;
    error = write_slots(anonymous, slot, buffer, length);
    if (error == 0)
        *wrote = (uint32_t)run;
    return error;
}

static int anonymous_page_out(struct hurdmm_store *store, void *hook,
                              uint64_t offset, const void *buffer,
                              size_t length, size_t *done)
{
    struct anonymous *anonymous = hook;
    size_t finished = 0;
    int error = 0;

    (void)store;
    store_assert(offset % anonymous->page_size == 0);
    while (finished < length && error == 0) {
        uint32_t wrote;

        error = write_some(
            anonymous, (offset + finished) / anonymous->page_size,
            (const char *)buffer + finished, length - finished, &wrote);
        finished += wrote * anonymous->page_size;
    }
    *done = finished < length ? finished : length;
    return error;
}

static void drop_slots(void *hook, uint32_t slot, uint32_t count)
{
    struct anonymous *anonymous = hook;

    hmm_swap_free(anonymous->swap, slot, count);
}

static void anonymous_discarded(struct hurdmm_store *store, void *hook,
                                uint64_t offset, uint64_t length)
{
    struct anonymous *anonymous = hook;
    uint64_t last;

    (void)store;
    if (length == 0)
        return;
    last = length - 1 > UINT64_MAX - offset ? UINT64_MAX : offset + length - 1;
    lock(anonymous);
    hmm_slots_clear(&anonymous->slots, offset / anonymous->page_size,
                    last / anonymous->page_size, drop_slots, anonymous);
    unlock(anonymous);
}

/* Pages that are near each other in the store and on the device, or that have
 * not been written yet; no more than a leaf of the slot map. */
static int anonymous_extent(struct hurdmm_store *store, void *hook,
                            uint64_t offset, uint64_t *start, uint64_t *length)
{
    struct anonymous *anonymous = hook;
    uint64_t page = offset / anonymous->page_size;
    uint64_t before, after;
    uint32_t slot;

    (void)store;
    lock(anonymous);
    before = hmm_slots_run_before(&anonymous->slots, page);
    after = hmm_slots_run(&anonymous->slots, page, HMM_SLOTS_LEAF, &slot);
    unlock(anonymous);
    store_assert(before <= page && after > 0);
    *start = (page - before) * anonymous->page_size;
    *length = (before + after) * anonymous->page_size;
    return 0;
}

static void anonymous_destroy(void *hook)
{
    struct anonymous *anonymous = hook;

    if (anonymous->swap) {
        hmm_slots_clear(&anonymous->slots, 0, UINT64_MAX, drop_slots,
                        anonymous);
        hmm_swap_close(anonymous->swap);
    }
    hurdmm_deallocate(anonymous->manager, anonymous, sizeof *anonymous);
}

static const struct hurdmm_store_ops swapped_ops = {
    .struct_size = sizeof swapped_ops,
    .page_in = anonymous_page_in,
    .page_out = anonymous_page_out,
    .discarded = anonymous_discarded,
    .extent = anonymous_extent,
    .destroy = anonymous_destroy,
};

/* Without swap there is never a slot. */
static const struct hurdmm_store_ops resident_ops = {
    .struct_size = sizeof resident_ops,
    .page_in = anonymous_page_in,
    .destroy = anonymous_destroy,
};

const struct hurdmm_store_ops *hmm_anonymous_ops(const struct hurdmm_swap *swap)
{
    return swap ? &swapped_ops : &resident_ops;
}

int hmm_anonymous_make(struct hurdmm *manager, struct hurdmm_swap *swap,
                       void **hook)
{
    struct anonymous *anonymous;
    void *memory;
    int error = hurdmm_allocate(manager, sizeof *anonymous, &memory);

    if (error != 0)
        return error;
    anonymous = memory;
    anonymous->manager = manager;
    anonymous->swap = swap;
    anonymous->page_size = hurdmm_page_size(manager);
    hmm_slots_init(&anonymous->slots, manager);
    error = swap ? hmm_swap_open(swap, manager) : 0;
    if (error != 0) {
        hurdmm_deallocate(manager, anonymous, sizeof *anonymous);
        return error;
    }
    *hook = anonymous;
    return 0;
}

int hurdmm_anonymous_create(struct hurdmm *manager, struct hurdmm_swap *swap,
                            uint64_t size, unsigned flags,
                            struct hurdmm_store **store)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "anonymous",
        .size = size,
        .flags = flags | HURDMM_STORE_VOLATILE,
    };
    int error;

    if (!manager || !store || (flags & ~HURDMM_STORE_SHARED) != 0)
        return EINVAL;
    error = hmm_anonymous_make(manager, swap, &options.hook);
    if (error != 0)
        return error;
    error =
        hurdmm_store_create(manager, hmm_anonymous_ops(swap), &options, store);
    if (error != 0)
        anonymous_destroy(options.hook);
    return error;
}
