/* SPDX-License-Identifier: MIT */
/* dirty.c - which pages were written: scans, marks, and who is told.
 *
 * There are two ways to know.
 *
 * Ordinary regions: the core knows, since nobody writes without having asked it.
 * From the first scan on a store is `tracked', and a page that may be written has
 * HMM_WRITTEN in its slot; of pages that are not there, `left' says it.
 *
 * No write is missed:
 * - before it is possible: M8.  The mark is set under the lock when the write is
 *   granted (obtain_write and its like), before the right is lent; and whatever
 *   lends more than was asked for (neighbours, large pages, writes foreseen or
 *   likely) asks hmm_must_note first.  When marks begin, what is lent to write
 *   or dirty gets one.
 * - between scan and clearing: both happen under one hold of the lock.  First the
 *   write right goes from every address; when that returns no processor has it,
 *   and lends under way have been waited for.  Every write until then is in the
 *   page, and this scan says so.  Then the mark goes.  Each write after that is a
 *   fault, which waits for the lock and sets the mark again.  If rights could not
 *   be taken, marks stay, and nothing is said.
 * - while a page is written back: that clears HMM_DIRTY, never HMM_WRITTEN.  A
 *   writer that comes meanwhile is granted its write in the ordinary way.
 * - when a page leaves: after the last right was taken, under the same hold,
 *   its mark goes to `left' (hmm_page_drop), and back when it comes in
 *   (hmm_page_publish), before anybody is lent it.
 * - by the library: it writes to a page through hmm_obtain, as faults do.
 *
 * Wired regions (HURDMM_BIND_WIRED): the port knows.  Nobody can hold a writer
 * back there, so a page must never be read and then taken: each is pinned for
 * writing as long as the region is, which keeps eviction, discards and copies off
 * it, and a flush leaves it dirty.  Looking and forgetting are one step of the
 * port for each page.  At the end, unbinding takes the right to write first
 * (reclaim), then the bytes.
 */
#include "lib/mm/mm.h"

/* ---- Marks of pages that are not there ----
 *
 * An entry of `left' has a bit for each of 64 pages, and is there only if one of
 * them is set.  Taking marks needs no memory, so nothing that clears can fail for
 * want of it.  Leaving one may need some, and must not fail, since a page that
 * leaves cannot be kept: then all pages of the store count as written. */

#define LEFT_SHIFT 6u
#define LEFT_MASK 63u

void hmm_page_left(struct hurdmm_store *store, uint64_t page)
{
    uint64_t bit = UINT64_C(1) << (page & LEFT_MASK);
    uint64_t *bits = hmm_index_find(&store->left, page >> LEFT_SHIFT);

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(store->tracked);
    hmm_assert(page <= hmm_last_page(store));
    if (bits)
        *bits |= bit;
    else if (hmm_index_insert(&store->left, page >> LEFT_SHIFT, bit))
        store->left_all = true; /* rather too many than one too few */
}

/* Takes the marks of [first, last]. */
static void take_left(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    uint64_t key = first >> LEFT_SHIFT, *bits;

    hmm_assert(first <= last);
    hmm_assert(hmm_entered(store->manager));
    while ((bits = hmm_index_next(&store->left, key, &key)) != NULL &&
           key <= last >> LEFT_SHIFT) {
        uint64_t low = key << LEFT_SHIFT, gone = UINT64_MAX;

        hmm_assert(*bits != 0);
        if (first > low)
            gone &= UINT64_MAX << (first - low);
        if (last - low < LEFT_MASK)
            gone &= UINT64_MAX >> (LEFT_MASK - (last - low));
        *bits &= ~gone;
        if (*bits == 0)
            hmm_index_remove(&store->left, key, NULL);
        key++;
    }
}

/* The first page from `page` on that has left with a mark, or UINT64_MAX.  Where
 * marks were lost that is any page, also one that is there. */
static uint64_t next_left(const struct hurdmm_store *store, uint64_t page)
{
    uint64_t key = page >> LEFT_SHIFT;
    const uint64_t *bits;

    hmm_assert(store->tracked);
    if (store->left_all)
        return page;
    while ((bits = hmm_index_next(&store->left, key, &key)) != NULL) {
        uint64_t low = key << LEFT_SHIFT;
        uint64_t here = page > low ? *bits & UINT64_MAX << (page - low) : *bits;

        hmm_assert(*bits != 0);
        if (here)
            return low + (uint64_t)__builtin_ctzll(here);
        key++;
    }
    return UINT64_MAX;
}

void hmm_page_back(struct hurdmm_store *store, uint64_t page, uint64_t *slot)
{
    const uint64_t *bits = hmm_index_find(&store->left, page >> LEFT_SHIFT);

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(store->tracked && hmm_resident(slot));
    hmm_assert(!(*slot & HMM_LENT)); /* M8 holds from the first lend on */
    if (!bits || !(*bits >> (page & LEFT_MASK) & 1))
        return;
    hmm_index_mark(slot, HMM_WRITTEN);
    take_left(store, page, page);
}

/* ---- Marks of pages that are there ---- */

/* From here on marks are kept.  What is lent to write may have been written, and
 * what is dirty was, at some time that nobody has asked about yet.  Containers
 * have nothing that says so: there it is all that is present.  Bits that slots
 * brought along from other stores mean nothing here. */
static void begin_tracking(struct hurdmm_store *store)
{
    struct hmm_index_cursor cursor;

    hmm_assert(hmm_entered(store->manager));
    if (store->tracked)
        return;
    hmm_assert(store->left.count == 0 && !store->left_all);
    store->tracked = true;
    bool more = hmm_index_seek(&store->cache.index, &cursor, 0);
    for (; more; more = hmm_index_step(&cursor)) {
        *cursor.value &= ~HMM_WRITTEN; /* moved here from somewhere else */
        if (hmm_resident(cursor.value) &&
            (store->container || *cursor.value & (HMM_DIRTY | HMM_LENT_WRITE)))
            hmm_index_mark(cursor.value, HMM_WRITTEN);
    }
}

/* Forgets the marks of [first, last], as the head of this file says: rights
 * first.  The order matters although the lock is held over both: a processor that
 * has the right needs no lock to write.  What is pinned for writing keeps right
 * and mark, so it is found each time.  ENOMEM: no mark is forgotten; rights that
 * are gone come back by soft faults. */
static int forget(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    const struct hmm_frame *table = store->manager->physmem.table;
    struct hmm_index_cursor cursor;
    int err = hmm_take_back_range(&store->cache, first, last,
                                  HURDMM_READ | HURDMM_EXECUTE, false);

    hmm_assert(store->tracked && first <= last);
    if (err)
        return err;
    take_left(store, first, last);
    if (store->pinned == 0) {
        hmm_index_clear_bits(&store->cache.index, first, last, HMM_WRITTEN);
        return 0;
    }
    bool more = hmm_index_seek_marked(&store->cache.index, &cursor, first, last,
                                      HMM_WRITTEN);
    for (; more; more = hmm_index_step_marked(&store->cache.index, &cursor,
                                              last, HMM_WRITTEN)) {
        uint32_t frame = HMM_SLOT_FRAME(*cursor.value);

        hmm_assert(*cursor.value & HMM_WRITTEN);
        if (frame == HURDMM_FRAME_NONE || !table[frame].pins_write)
            *cursor.value &= ~HMM_WRITTEN;
    }
    return 0;
}

/* ---- Scans ---- */

/* At most so many pages are looked at in one hold of the lock, and so many rows
 * found: they are kept here until it is dropped, since the caller's may fault. */
#define PIECE_PAGES 16384u
#define PIECE_ROWS 64u

struct scan {
    struct hurdmm_space *space;
    uint64_t at, last; /* addresses */
    unsigned flags;
    size_t count, max;
    struct hurdmm_dirty row[PIECE_ROWS];
};

/* Adds a row, or makes the last one longer.  False: there is no room. */
static bool add_row(struct scan *scan, uintptr_t address, size_t length)
{
    struct hurdmm_dirty *before = scan->row + scan->count - 1;

    hmm_assert(length > 0);
    hmm_assert(scan->count <= scan->max && scan->max <= PIECE_ROWS);
    hmm_assert(scan->count == 0 || before->address + before->length <= address);
    if (scan->count > 0 && before->address + before->length == address) {
        before->length += length;
        return true;
    }
    if (scan->count == scan->max)
        return false;
    scan->row[scan->count++] = (struct hurdmm_dirty){address, length};
    return true;
}

/* Finds the written pages of [first, last]: those with a mark in their slot and
 * those in `left', in one order.  *end is the first that there was no room to
 * say, or the one after the last. */
static void find_written(struct scan *scan, const struct hmm_region *region,
                         uint64_t first, uint64_t last, uint64_t *end)
{
    const struct hurdmm_store *store = region->store;
    size_t bytes = hmm_page_bytes(store->manager);
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek_marked(&store->cache.index, &cursor, first, last,
                                      HMM_WRITTEN);
    uint64_t left = next_left(store, first);

    hmm_assert(store->tracked);
    hmm_assert(first <= last && scan->count == 0);
    *end = last + 1;
    for (;;) {
        uint64_t page = hmm_min(left, more ? cursor.key : UINT64_MAX);

        hmm_assert(page >= first);
        if (page > last)
            return;
        if (!add_row(scan, hmm_mapping_address(&region->mapping, page),
                     bytes)) {
            *end = page;
            return;
        }
        if (more && cursor.key == page)
            more = hmm_index_step_marked(&store->cache.index, &cursor, last,
                                         HMM_WRITTEN);
        if (left == page)
            left = next_left(store, page + 1);
    }
}

/* Are pages of the range somebody else's, who has their marks? */
static bool elsewhere(const struct hurdmm_store *store, uint64_t first,
                      uint64_t last)
{
    const struct hmm_bond *bond = hmm_bond_in(&store->cache, first, last);

    hmm_assert(hmm_entered(store->manager));
    for (; bond; bond = hmm_bond_next(bond, first, last))
        if (bond->shared)
            return true;
    return false;
}

/* The pages [first, last] of an ordinary region.  What cannot be cleared is not
 * said either, or it would be said twice. */
static int scan_marks(struct scan *scan, struct hmm_region *region,
                      uint64_t first, uint64_t last)
{
    struct hurdmm_store *store = region->store;
    uint64_t end;
    int err = 0;

    hmm_assert(region->wired != HMM_WIRED);
    if (elsewhere(store, first, last))
        return ENOTSUP;
    begin_tracking(store);
    find_written(scan, region, first, last, &end);
    if (scan->flags & HURDMM_SCAN_CLEAR && end > first)
        err = forget(store, first, end - 1);
    if (err) {
        scan->count = 0;
        return err;
    }
    scan->at += (end - first) << store->manager->physmem.page_shift;
    return 0;
}

/* The addresses [scan->at, last] of a wired region.  Lends that go on are waited
 * for: what they bring would else come after the port has looked. */
static int scan_port(struct scan *scan, uint64_t last)
{
    struct hurdmm *manager = scan->space->manager;
    uintptr_t end = (uintptr_t)scan->at;

    hmm_assert(hmm_entered(manager));
    hmm_assert(manager->info.features & HURDMM_PORT_TRACKS);
    hmm_assert(scan->at <= last && scan->max > 0);
    hmm_lends_wait(&manager->physmem);
    int err = manager->ops->scan(
        manager->port, scan->space->token, (uintptr_t)scan->at,
        (size_t)(last - scan->at + 1),
        scan->flags & HURDMM_SCAN_CLEAR ? HURDMM_TRACK_CLEAR : 0, scan->row,
        scan->max, &scan->count, &end);
    hmm_assert(scan->count <= scan->max);
    hmm_assert(end >= scan->at && end - 1 <= last);
    scan->at = end;
    return err;
}

/* Looks at the next piece of the range, which lies in one region.  The region is
 * looked up each time, because the lock was dropped since. */
static int scan_piece(struct scan *scan)
{
    struct hmm_region *region = hmm_region_at(scan->space, (uintptr_t)scan->at);
    unsigned shift = scan->space->manager->physmem.page_shift;

    hmm_assert(scan->at <= scan->last && scan->count == 0);
    if (!region || !region->store)
        return ENOENT;
    uint64_t last = hmm_min(scan->last, region->by_address.last);
    if ((last - scan->at) >> shift >= PIECE_PAGES)
        last = scan->at + (((uint64_t)PIECE_PAGES << shift) - 1);
    hmm_assert(last >= scan->at);
    if (region->wired == HMM_WIRED)
        return scan_port(scan, last);
    return scan_marks(scan, region,
                      hmm_region_page(region, (uintptr_t)scan->at),
                      hmm_region_page(region, (uintptr_t)last));
}

/* Reserved regions have no pages that could be looked at. */
static int check_stores(struct hurdmm_space *space, uint64_t first,
                        uint64_t last)
{
    struct hmm_region *region = hmm_region_at(space, (uintptr_t)first);
    int err = hmm_check_covered(space, first, last, 0);

    hmm_assert(first <= last);
    hmm_assert(err || region);
    for (; !err && region && region->by_address.first <= last;
         region = hmm_region_next(region))
        err = region->store ? 0 : ENOENT;
    return err;
}

int hurdmm_region_scan_dirty(struct hurdmm_space *space, uintptr_t address,
                             size_t length, unsigned flags,
                             struct hurdmm_dirty *rows, size_t max,
                             size_t *count, size_t *done)
{
    struct scan scan = {.space = space, .at = address, .flags = flags};
    size_t n = 0;

    if (!count || !done)
        return EINVAL;
    *count = *done = 0;
    if (!rows || max == 0 || flags & ~HURDMM_SCAN_CLEAR)
        return EINVAL;
    int err = hmm_enter_range(space, address, length, &scan.last);
    if (err)
        return err;
    struct hurdmm *manager = space->manager;
    err = check_stores(space, scan.at, scan.last);
    /* What the caller gave may fault: not under the lock. */
    while (!err && n < max && scan.at - address < length) {
        scan.count = 0;
        scan.max = (size_t)hmm_min(PIECE_ROWS, max - n);
        err = scan_piece(&scan);
        hmm_assert(scan.count <= scan.max && scan.at >= address);
        hmm_leave(manager);
        memcpy(rows + n, scan.row, scan.count * sizeof *rows);
        n += scan.count;
        *count = n;
        *done = (size_t)(scan.at - address);
        int gone = hmm_enter_space(space);
        if (gone)
            return err ? err : gone;
    }
    hmm_leave(manager);
    return err;
}

/* ---- First writes ----
 *
 * A page of another store, reached through a shared bond, has its mark there, if
 * any: the region's callback is not told of it, or it might be without end. */

bool hmm_first_write(const struct hmm_want *want, uint64_t slot)
{
    const struct hmm_region *region = want->region;

    hmm_assert(hmm_entered(want->store->manager));
    hmm_assert(want->access & HURDMM_WRITE);
    return region && region->first_write && region->store == want->store &&
           !(slot & HMM_WRITTEN);
}

/* The page is marked as its block is while its store is asked for room, so that
 * other writers wait, and nobody writes it back or takes it. */
int hmm_tell_first_write(struct hmm_want *want)
{
    struct hurdmm_store *store = want->store;
    const struct hmm_region *region = want->region;
    hurdmm_first_write *call = region->first_write;
    void *hook = region->first_write_hook;
    struct hurdmm_space *space = region->space;
    uintptr_t address = hmm_mapping_address(&region->mapping, want->page);
    struct hmm_call running;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(store->tracked && call);
    if (hmm_would_deadlock(store, want->thread, want->page))
        return EDEADLK;
    *hmm_container_slot(&store->cache, want->page) |= HMM_UNLOCKING;
    hmm_call_begin(&running, store, want->thread);
    int err = hmm_callback_error(call(hook, space, address));
    hmm_call_end(&running);
    uint64_t *slot = hmm_container_slot(&store->cache, want->page);
    if (slot)
        *slot &= ~HMM_UNLOCKING;
    /* Also if it has gone meanwhile: or it might be told for ever. */
    if (!err && hmm_resident(slot))
        hmm_page_written(store, slot);
    else if (!err)
        hmm_page_left(store, want->page);
    hmm_page_wake(store, want->page, 1, 0);
    hmm_ready_run(store->manager);
    return err ? err : EAGAIN;
}

/* The region that has all of the range, and may have a callback. */
static int find_watched(struct hurdmm_space *space, uint64_t first,
                        uint64_t last, struct hmm_region **result)
{
    struct hmm_region *region = hmm_region_at(space, (uintptr_t)first);
    int err = hmm_check_covered(space, first, last, 0);

    hmm_assert(hmm_entered(space->manager));
    if (err)
        return err;
    hmm_assert(region && region->by_address.first <= first);
    if (region->by_address.last < last)
        return EINVAL;
    if (!region->store)
        return ENOENT;
    *result = region;
    return region->wired || hmm_space_way(space, (uintptr_t)first) ? ENOTSUP
                                                                   : 0;
}

/* Under a hold nobody is being told, and nobody can be: whoever is has his page
 * marked as busy, and no page is written as long as it lasts.  EDEADLK. */
static int hold_watched(struct hurdmm_space *space, uint64_t first,
                        uint64_t last, struct hmm_region **region)
{
    for (;;) {
        int err = find_watched(space, first, last, region);
        struct hurdmm_store *store = err ? NULL : (*region)->store;

        if (!err)
            err = hmm_hold(store, hmm_region_page(*region, (uintptr_t)first),
                           hmm_region_page(*region, (uintptr_t)last));
        if (err)
            return err;
        /* The lock may have been dropped, and all of it be another's. */
        err = find_watched(space, first, last, region);
        if (!err && (*region)->store == store &&
            hmm_page_held(store, hmm_region_page(*region, (uintptr_t)first)))
            return 0;
        hmm_unhold(store);
    }
}

int hurdmm_region_on_first_write(struct hurdmm_space *space, uintptr_t address,
                                 size_t length, hurdmm_first_write *call,
                                 void *hook)
{
    struct hmm_region *region = NULL;
    uint64_t last;
    int err = hmm_enter_range(space, address, length, &last);

    if (err)
        return err;
    struct hurdmm *manager = space->manager;
    if (hmm_in_callback(manager, hmm_thread_self(manager)))
        err = EDEADLK;
    if (!err)
        err = hold_watched(space, address, last, &region);
    if (!err) {
        struct hurdmm_store *store = region->store;
        err = hmm_regions_cut(space, address, last);
        if (!err) {
            region = hmm_region_at(space, address);
            hmm_assert(region->by_address.first == address);
            hmm_assert(region->by_address.last == last);
            region->first_write = call;
            region->first_write_hook = hook;
            begin_tracking(store);
        }
        hmm_unhold(store);
    }
    hmm_leave(manager);
    return err;
}

/* ---- Wired regions ---- */

/* A region that is wired, or about to be, over a part of the range. */
static struct hmm_region *wired_at(const struct hurdmm_store *store,
                                   uint64_t first, uint64_t last)
{
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t end = hmm_min(last, UINT64_MAX >> shift) << shift;
    struct hmm_span *span =
        hmm_span_first_overlap(&store->cache.mappings, first << shift, end);

    hmm_assert(first <= last);
    for (; span; span = hmm_span_next_overlap(span, first << shift, end)) {
        struct hmm_mapping *mapping =
            HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset);
        hmm_assert(mapping->container == &store->cache);
        struct hmm_region *region =
            HMM_CONTAINER_OF(mapping, struct hmm_region, mapping);
        if (region->wired)
            return region;
    }
    return NULL;
}

bool hmm_wired_in(const struct hurdmm_store *store, uint64_t first,
                  uint64_t last)
{
    hmm_assert(hmm_entered(store->manager));
    return wired_at(store, first, last) != NULL;
}

bool hmm_wired_busy(const struct hurdmm_store *store, uint64_t first,
                    uint64_t last)
{
    const struct hmm_frame *table = store->manager->physmem.table;

    hmm_assert(hmm_entered(store->manager));
    for (uint64_t page = first; page <= last; page++) {
        const uint64_t *slot = hmm_container_slot(&store->cache, page);

        hmm_assert(hmm_resident(slot));
        const struct hmm_frame *frame = &table[HMM_SLOT_FRAME(*slot)];
        hmm_assert(frame->pins_write > 0);
        if (frame->pins_read || frame->pins_write > 1)
            return true;
    }
    return false;
}

/* Lending again is how a port is told that a page is written.  It may fail, as any
 * lend may, so it comes before the write; no scan can come in between. */
int hmm_note_write(struct hurdmm_store *store, uint64_t page, uint64_t *slot)
{
    hmm_assert(hmm_entered(store->manager));
    if (!(store->manager->info.features & HURDMM_PORT_TRACKS) ||
        !(*slot & HMM_LENT_WRITE))
        return 0;
    struct hmm_region *region = wired_at(store, page, page);
    if (!region)
        return 0;
    hmm_assert(region->rights & HURDMM_WRITE);
    return hmm_lend_page(&region->mapping,
                         hmm_mapping_address(&region->mapping, page), slot,
                         region->rights);
}

/* From here on the port is asked, and the region's pins are its own.  Forgets what
 * was noted while the pages came in: nobody had the address yet. */
static int begin_wired(struct hurdmm_space *space, uint64_t first,
                       uint64_t last)
{
    struct scan scan = {.space = space, .at = first, .last = last};
    struct hmm_region *region = hmm_region_at(space, (uintptr_t)first);
    int err = 0;

    for (; region && region->by_address.first <= last;
         region = hmm_region_next(region)) {
        hmm_assert(region->wired == HMM_WIRING);
        region->wired = HMM_WIRED;
    }
    scan.flags = HURDMM_SCAN_CLEAR;
    scan.max = PIECE_ROWS;
    while (!err && scan.at <= last)
        err = scan_port(&scan, last);
    return err;
}

/* Since the pages are pinned, nobody can have taken the range away in between. */
int hmm_wire(struct hurdmm_space *space, uintptr_t address, size_t length)
{
    int err = hurdmm_pin(space, address, length, HURDMM_READ | HURDMM_WRITE);

    if (err)
        return err;
    err = hmm_enter_space(space);
    if (err)
        return err;
    err = begin_wired(space, address, address + (length - 1));
    hmm_leave(space->manager);
    return err;
}

void hmm_unwire(struct hmm_region *region)
{
    struct hurdmm_store *store = region->store;
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t last = region->mapping.by_offset.last >> shift;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(region->wired == HMM_WIRED);
    hmm_assert(store->pinned > 0);
    for (uint64_t page = region->mapping.by_offset.first >> shift; page <= last;
         page++)
        hmm_page_unpin(store, page, hmm_container_slot(&store->cache, page),
                       HURDMM_WRITE);
    region->wired = HMM_NOT_WIRED;
}
