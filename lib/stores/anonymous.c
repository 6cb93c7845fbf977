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
 *     has a slot keeps it;
 *  4. where the swap space reserves, a page that may be written has a slot, or is
 *     marked as promised one, and the swap space has as many promises out as
 *     there are such marks.
 *
 * What the slot map says of a page, and who changes it:
 *
 *     none     -> promised  anonymous_unlock, where the swap space reserves
 *     promised -> a slot    note_slots, when the page has been written there
 *     none     -> a slot    the same, where nothing is reserved, or where a copy
 *                           gave the store a page that nobody asked for
 *     a slot   -> another   the same, where pages that leave together were apart
 *     a slot   -> promised  hmm_anonymous_forget: nobody needs what it has
 *     any      -> none      drop_pages: the page is discarded, or the store ends
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

#define DROPPED_MAX 64u

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

static bool is_slot(uint32_t slot)
{
    return slot != HMM_SLOT_NONE && slot != HMM_SLOT_PROMISED;
}

/* How many of the `count' pages from `page' on can be handled in one go: they
 * are in slots that follow each other, or have none (*slot). */
static uint64_t run_at(struct anonymous *anonymous, uint64_t page,
                       uint64_t count, uint32_t *slot)
{
    uint64_t run, more;
    uint32_t next;

    store_assert(count > 0);
    lock(anonymous);
    run = hmm_slots_run(&anonymous->slots, page, count, slot);
    while (run < count) {
        more = hmm_slots_run(&anonymous->slots, page + run, count - run, &next);
        if (is_slot(*slot) ? next != *slot + run : next != *slot)
            break;
        run += more;
    }
    unlock(anonymous);
    store_assert(run > 0 && run <= count);
    return run;
}

/* Reads or writes the last page of the store, where it ends within a page, by
 * way of a whole one. */
static int transfer_tail(struct anonymous *anonymous, uint32_t slot, void *in,
                         const void *out, size_t length)
{
    size_t page = anonymous->page_size;
    uint32_t good;
    void *whole;
    int error;

    store_assert(length > 0 && length < page);
    store_assert(is_slot(slot) && !in != !out);
    error = hurdmm_allocate(anonymous->manager, page, &whole);
    if (error != 0)
        return error;
    if (out) {
        memcpy(whole, out, length);
        error = hmm_swap_write(anonymous->swap, slot, 1, whole);
    } else {
        error = hmm_swap_read(anonymous->swap, slot, 1, whole, &good);
        if (error == 0)
            memcpy(in, whole, length);
    }
    hurdmm_deallocate(anonymous->manager, whole, page);
    return error;
}

/* Reads slots that follow each other, the last one maybe in part; *done says how
 * much was read, also on error. */
static int read_slots(struct anonymous *anonymous, uint32_t slot, void *buffer,
                      size_t length, size_t *done)
{
    uint32_t whole = (uint32_t)(length / anonymous->page_size), good = 0;
    size_t bytes = whole * anonymous->page_size;
    int error = 0;

    store_assert(is_slot(slot) && length > 0);
    if (whole > 0)
        error = hmm_swap_read(anonymous->swap, slot, whole, buffer, &good);
    *done = good * anonymous->page_size;
    if (error == 0 && bytes < length) {
        error = transfer_tail(anonymous, slot + whole, (char *)buffer + bytes,
                              NULL, length - bytes);
        *done = error == 0 ? length : bytes;
    }
    return error;
}

/* The same out; after an error nothing is known of the slots. */
static int write_slots(struct anonymous *anonymous, uint32_t slot,
                       const void *buffer, size_t length)
{
    uint32_t whole = (uint32_t)(length / anonymous->page_size);
    size_t bytes = whole * anonymous->page_size;
    int error = 0;

    store_assert(is_slot(slot) && length > 0);
    if (whole > 0)
        error = hmm_swap_write(anonymous->swap, slot, whole, buffer);
    if (error == 0 && bytes < length)
        error = transfer_tail(anonymous, slot + whole, NULL,
                              (const char *)buffer + bytes, length - bytes);
    return error;
}

/* Zeros, or what the slots have, run by run. */
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
        if (is_slot(slot))
            error = read_slots(anonymous, slot, to, bytes, &bytes);
        else
            memset(to, 0, bytes);
        store_assert(error != 0 || bytes > 0); /* it comes to an end */
        finished += bytes;
    }
    store_assert(finished <= length);
    *done = finished;
    return error;
}

/* Makes the slots from `slot' on those of the pages from `page' on, and frees
 * the ones they had, or the promises, unless those were kept by these slots.
 * Returns how many could be noted. */
static uint32_t note_slots(struct anonymous *anonymous, uint64_t page,
                           uint32_t slot, uint32_t count, bool promised)
{
    uint32_t noted;

    store_assert(is_slot(slot) && count > 0);
    for (noted = 0; noted < count; noted++) {
        uint32_t old;
        int error;

        lock(anonymous);
        error =
            hmm_slots_set(&anonymous->slots, page + noted, slot + noted, &old);
        unlock(anonymous);
        if (error != 0)
            break;
        store_assert(!promised || old == HMM_SLOT_PROMISED);
        if (is_slot(old))
            hmm_swap_free(anonymous->swap, old, 1, false);
        else if (old == HMM_SLOT_PROMISED && !promised)
            hmm_swap_forgive(anonymous->swap, 1);
    }
    return noted;
}

/* Writes pages to slots that are theirs from then on; *wrote says how many. */
static int write_fresh(struct anonymous *anonymous, uint64_t page,
                       uint32_t slot, uint32_t count, bool promised,
                       const void *buffer, size_t length, uint32_t *wrote)
{
    int error = write_slots(anonymous, slot, buffer, length);

    /* Not before they are written does anybody look for the pages there. */
    store_assert(pages_of(anonymous, length) == count);
    *wrote = 0;
    if (error == 0) {
        *wrote = note_slots(anonymous, page, slot, count, promised);
        if (*wrote < count)
            error = ENOMEM;
    }
    store_assert(*wrote <= count && (error != 0) == (*wrote < count));
    if (*wrote < count)
        hmm_swap_free(anonymous->swap, slot + *wrote, count - *wrote, promised);
    return error;
}

/* Of `count' pages that begin with a run of `run' at `slot', how many to write to
 * new slots; 0: the run stays where it is.  Where slots are reserved, none is
 * taken but those that are promised to these very pages: nobody shall find the
 * swap space full because somebody else is moving. */
static uint64_t to_move(const struct anonymous *anonymous, uint32_t slot,
                        uint64_t run, uint64_t count)
{
    store_assert(run > 0 && run <= count);
    if (!is_slot(slot))
        return hmm_swap_reserves(anonymous->swap) ? run : count;
    if (run == count || hmm_swap_reserves(anonymous->swap))
        return 0;
    return count;
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
    uint64_t moving = to_move(anonymous, slot, run, count);
    bool promised = slot == HMM_SLOT_PROMISED;
    int error = 0;

    *wrote = 0;
    if (moving > 0) {
        error = hmm_swap_take(anonymous->swap, moving, promised, &fresh, &got);
        store_assert(!promised || error != ENOSPC);
        store_assert(error != 0 || (got > 0 && got <= moving));
        if (error == 0) {
            if (got < count)
                length = got * anonymous->page_size;
            return write_fresh(anonymous, page, fresh, got, promised, buffer,
                               length, wrote);
        }
        if (!is_slot(slot))
            return error;
    }
    if (run < count)
        length = (size_t)run * anonymous->page_size;
    error = write_slots(anonymous, slot, buffer, length);
    if (error == 0)
        *wrote = (uint32_t)run;
    return error;
}

/* As many pages at once as get slots in a row; *done counts those before the
 * first that could not be written. */
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
        store_assert(error != 0 || wrote > 0);
        finished += wrote * anonymous->page_size;
    }
    *done = finished < length ? finished : length;
    return error;
}

/* Promises a slot to a page that has none. */
static int anonymous_unlock(struct hurdmm_store *store, void *hook,
                            uint64_t offset, size_t length)
{
    struct anonymous *anonymous = hook;
    uint64_t page = offset / anonymous->page_size;
    uint32_t old;
    int error = 0;

    (void)store;
    store_assert(length > 0 && length <= anonymous->page_size);
    store_assert(hmm_swap_reserves(anonymous->swap));
    (void)length;
    lock(anonymous);
    if (hmm_slots_get(&anonymous->slots, page) == HMM_SLOT_NONE) {
        error = hmm_swap_promise(anonymous->swap, 1);
        if (error == 0) {
            error =
                hmm_slots_set(&anonymous->slots, page, HMM_SLOT_PROMISED, &old);
            if (error != 0)
                hmm_swap_forgive(anonymous->swap, 1);
        }
    }
    unlock(anonymous);
    return error;
}

/* Runs that were taken out of the map, to be freed without the mutex. */
struct dropped {
    struct {
        uint32_t slot, count;
    } runs[DROPPED_MAX];
    unsigned count;
};

static bool note_dropped(void *hook, uint32_t slot, uint32_t count)
{
    struct dropped *dropped = hook;

    store_assert(dropped->count < DROPPED_MAX);
    dropped->runs[dropped->count].slot = slot;
    dropped->runs[dropped->count].count = count;
    return ++dropped->count < DROPPED_MAX;
}

/* Takes what [first, last] has out of the map, and then gives it back to the swap
 * space: who finds a slot in the map may use it. */
static void drop_pages(struct anonymous *anonymous, uint64_t first,
                       uint64_t last)
{
    struct dropped dropped;
    bool all;

    store_assert(first <= last);
    do {
        dropped.count = 0;
        lock(anonymous);
        all = hmm_slots_clear(&anonymous->slots, first, last, note_dropped,
                              &dropped);
        unlock(anonymous);
        for (unsigned i = 0; i < dropped.count; i++) {
            uint32_t slot = dropped.runs[i].slot;
            uint32_t count = dropped.runs[i].count;

            if (slot == HMM_SLOT_PROMISED)
                hmm_swap_forgive(anonymous->swap, count);
            else
                hmm_swap_free(anonymous->swap, slot, count, false);
        }
    } while (!all);
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
    drop_pages(anonymous, offset / anonymous->page_size,
               last / anonymous->page_size);
}

/* The mark comes before the slot is free: who finds a slot in the map may use it.
 * In between the swap space has a promise less out than there are marks, which
 * only this very page could miss, and the library asks nothing else of a page
 * while it asks this. */
void hmm_anonymous_forget(void *hook, uint64_t offset, size_t length)
{
    struct anonymous *anonymous = hook;
    uint64_t page = offset / anonymous->page_size;
    uint64_t end = page + pages_of(anonymous, length);
    uint32_t slot, old;

    store_assert(offset % anonymous->page_size == 0 && page < end);
    if (!anonymous->swap)
        return;
    if (!hmm_swap_reserves(anonymous->swap)) {
        drop_pages(anonymous, page, end - 1);
        return;
    }
    for (; page < end; page++) {
        lock(anonymous);
        slot = hmm_slots_get(&anonymous->slots, page);
        if (is_slot(slot)) /* and needs no memory to be another */
            (void)hmm_slots_set(&anonymous->slots, page, HMM_SLOT_PROMISED,
                                &old);
        unlock(anonymous);
        if (is_slot(slot))
            hmm_swap_free(anonymous->swap, slot, 1, true);
    }
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
    store_assert(before + after <= HMM_SLOTS_LEAF);
    *start = (page - before) * anonymous->page_size;
    *length = (before + after) * anonymous->page_size;
    return 0;
}

static void anonymous_destroy(void *hook)
{
    struct anonymous *anonymous = hook;

    if (anonymous->swap) {
        drop_pages(anonymous, 0, UINT64_MAX);
        store_assert(!anonymous->slots.root);
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

static const struct hurdmm_store_ops reserved_ops = {
    .struct_size = sizeof reserved_ops,
    .page_in = anonymous_page_in,
    .page_out = anonymous_page_out,
    .unlock = anonymous_unlock,
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
    if (!swap)
        return &resident_ops;
    return hmm_swap_reserves(swap) ? &reserved_ops : &swapped_ops;
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
    store_assert(anonymous->page_size > 0); /* or there had been no memory */
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
