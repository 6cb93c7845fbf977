/* SPDX-License-Identifier: MIT */
/* laundry.c - dirty pages on their way to their store.
 *
 * A run is a row of dirty pages of one store, whole blocks, at most HMM_RUN_MAX
 * pages.  Its pages are marked as being written and taken down to lent-to-read
 * before their bytes are looked at, so what is written is a stable copy.  Then
 * the lock is dropped and the store is called.  A writer that comes meanwhile
 * gets a frame of its own (hmm_page_renew); the run keeps the old one and frees
 * it at the end.
 *
 * A store with an opinion is asked, while the run is marked, about each block
 * that nobody asked to be written.  A block that it drops ends as if it had been
 * written: nothing can be lost that was written before the question, and what
 * was written after it has made the page dirty again.
 *
 * A store with write_start may have several runs of one caller under way (struct
 * hmm_writes).  Such a run lies in a slab and ends on the thread that completes
 * it; the caller waits for all of its runs before it goes on
 * (hmm_writes_end).
 *
 * A page is marked clean when its write begins and dirty again when it fails:
 * so a page that is dirty at the end was dirtied meanwhile, or failed.  A
 * failed page stays, readable and dirty, and is left alone by background work
 * until somebody asks for it to be written.
 *
 *   hmm_launder: find, take down, mark --> start_run --> end_later (any thread)
 *                       |                     | the store would not
 *                       | EAGAIN, ENOMEM      v
 *                       v                 write_run ---> finish
 *                 nothing is marked           |
 *                                             +---> abandon: bytes are gone
 *
 * Invariants
 *   W1  a page that is HMM_WRITING is in one run, which has its frame until it
 *       ends: what is being written neither begins a run nor joins one;
 *   W2  a run is whole blocks (M6), and no page of it is held (M7);
 *   W3  what the store is given does not change before it has said that it is
 *       done: the pages are lent to read at most, or the bytes are a copy; only
 *       of a page pinned for writing may the copy be torn, and it stays dirty;
 *   W4  who begins writes with struct hmm_writes does not wait for a page, or for
 *       his writes, before the store was told to submit them: others may wait
 *       for those.
 *
 * Taking down and marking happen under one hold of the lock, and so does ending
 * a run, to the last page of it.  In between the lock is free, and the caller of
 * hmm_launder keeps the store by store->users.
 */
#include "lib/mm/mm.h"

/* struct hurdmm_writeback in the public API.  On the stack of hmm_launder, or,
 * where it ends later, a copy of that in run_slab.  Once marked nobody changes it
 * but who writes it, without the lock. */
struct run {
    uint32_t magic; /* HMM_MAGIC_WRITE: in the slab, and not completed yet */
    struct hurdmm_store *store;
    struct hmm_writes *writes; /* whose it is, if it may end later */
    uint64_t first;            /* pages, whole blocks */
    uint32_t count;
    unsigned how;              /* HMM_LAUNDER_... */
    struct hmm_bounce *bounce; /* the bytes are put together there, or NULL */
    void *bytes;               /* bounce's, or a window of the frames */
    size_t length;             /* of them: cut at the store's size */
    uint64_t asked;            /* a bit for each page that the store may drop */
    uint64_t dropped;          /* and for each that it did */
    struct hmm_mapping *apart; /* they are read there without the lock */
    bool abandoned;            /* in vain: look again */
    uint32_t frame[HMM_RUN_MAX]; /* as they were when the run was marked: a slot
                                  * that is renewed meanwhile names another */
};

_Static_assert(HMM_RUN_MAX <= 64, "a run has more pages than a word has bits");

/* Is this page dirty and at rest, and may it be written for the reason that `how`
 * gives?  (Its block may be held, or another page of that not at rest.) */
static bool wanted(const struct hurdmm_store *store, const uint64_t *slot,
                   unsigned how)
{
    if (!hmm_resident(slot) || !(*slot & HMM_DIRTY) ||
        *slot & (HMM_WRITING | HMM_UNLOCKING))
        return false;
    if (how & HMM_LAUNDER_ASKED)
        return true;
    if (how == 0 && hmm_frame_recent(store->manager, HMM_SLOT_FRAME(*slot)))
        return false; /* there is no hurry */
    return !(*slot & HMM_WRITE_ERROR) &&
           !hmm_page_pinned(store->manager, *slot);
}

/* May the page be a part of a run, being clean, for the sake of its block? */
static bool may_join(const uint64_t *slot)
{
    return hmm_resident(slot) && !(*slot & (HMM_WRITING | HMM_UNLOCKING));
}

/* Is the block that begins at `page` to be written?  Not while somebody holds
 * some of it (M7). */
static bool block_wanted(const struct hurdmm_store *store, uint64_t page,
                         unsigned how)
{
    bool some = false;

    hmm_assert(page % store->block_pages == 0);
    if (hmm_range_held(store, page, page + (store->block_pages - 1)))
        return false;
    for (uint64_t i = page; i < page + store->block_pages; i++) {
        const uint64_t *slot = hmm_container_slot(&store->cache, i);

        if (!may_join(slot))
            return false;
        some = some || wanted(store, slot, how);
    }
    return some;
}

/* Finds how far the run goes on both sides of `page`, whose block is wanted.  Of
 * a flush no block is looked at twice; else half of the room is left for what
 * comes after the page. */
static void find_run(struct run *run, uint64_t page, uint64_t first,
                     uint64_t last)
{
    const struct hurdmm_store *store = run->store;
    uint64_t block = store->block_pages;
    uint64_t from = page / block * block, to = from + block;

    if (block == 1 && run->how & HMM_LAUNDER_ASKED) {
        /* A flush goes upwards: there is nothing to find below. */
    } else {
        while (to - from + block <= HMM_RUN_MAX / 2 && from >= block &&
               from - block >= first &&
               block_wanted(store, from - block, run->how))
            from -= block;
    }
    while (to - from + block <= HMM_RUN_MAX && to <= last &&
           block_wanted(store, to, run->how))
        to += block;
    run->first = from;
    run->count = (uint32_t)(to - from);
    hmm_assert(run->count > 0 && run->count <= HMM_RUN_MAX);
    hmm_assert(from <= page && page < to && run->count % block == 0);
}

/* May the store read this page of the run where it is?  What is pinned for
 * writing may change meanwhile. */
static bool in_place(const struct run *run, uint32_t i)
{
    const struct hurdmm *manager = run->store->manager;

    return hmm_frames_stay(manager) &&
           !manager->physmem.table[run->frame[i]].pins_write;
}

/* The pages [*from, *to) of the run, around number `at`, that the store may read
 * where they are, because their frames are a row; none: *from == *to.  Where
 * blocks are larger than a page it is all of the run or nothing. */
static void find_row(const struct run *run, uint32_t at, uint32_t *from,
                     uint32_t *to)
{
    const struct hmm_physmem *physmem = &run->store->manager->physmem;
    const uint32_t *frame = run->frame;

    hmm_assert(at < run->count && at % run->store->block_pages == 0);
    *from = *to = at;
    while (
        *to < run->count && in_place(run, *to) &&
        (*to == at || hmm_frames_adjacent(physmem, frame[*to - 1], frame[*to])))
        ++*to;
    while (*to > at && *from > 0 && in_place(run, *from - 1) &&
           hmm_frames_adjacent(physmem, frame[*from - 1], frame[*from]))
        --*from;
    if (run->store->block_pages > 1 && *to - *from < run->count)
        *from = *to = at;
}

/* Leaves [from, from + count) of the run. */
static void cut(struct run *run, uint32_t from, uint32_t count)
{
    hmm_assert(count > 0 && from + count <= run->count);
    run->first += from;
    run->count = count;
    memmove(run->frame, run->frame + from, count * sizeof run->frame[0]);
}

/* Where the bytes of a run with `page` will be: names its frames, and leaves of
 * it what can be written at once.  A long row is written where it is; else some
 * pages are put together in a copy, as far as there is memory for one.  ENOMEM. */
static int choose_bytes(struct run *run, uint64_t page)
{
    struct hurdmm *manager = run->store->manager;
    uint32_t block = run->store->block_pages, from, to;
    /* Whole blocks, also where a copy has room for a part of one more. */
    uint32_t most =
        (uint32_t)hmm_max(manager->copy_pages / block * block, block);

    for (uint32_t i = 0; i < run->count; i++)
        run->frame[i] = HMM_SLOT_FRAME(
            *hmm_container_slot(&run->store->cache, run->first + i));
    uint32_t at = (uint32_t)(page / block * block - run->first);
    hmm_assert(most % block == 0 && most <= HMM_RUN_MAX);
    find_row(run, at, &from, &to);
    if (to - from < hmm_min(run->count, most)) {
        run->bounce = hmm_bounce_get(manager, most);
        if (run->bounce) {
            run->bytes = run->bounce->bytes;
            cut(run, at, (uint32_t)hmm_min(run->count - at, most));
            return 0;
        }
        if (from == to)
            return ENOMEM;
    }
    cut(run, from, to - from);
    return hmm_frames_window(&manager->physmem, run->frame[0], run->count,
                             &run->bytes);
}

/* Where frames move, taking write rights back costs by the call and hardly by
 * the page: those of dirty pages around the run go too, whose turn will come.
 * One that is written to meanwhile is a soft fault. */
#define PROTECT_WINDOW 256u

/* The pages stay dirty, so nothing hangs on what it takes.  ENOMEM: some keep
 * their rights. */
static int protect_around(struct run *run)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;
    uint64_t first = run->first / PROTECT_WINDOW * PROTECT_WINDOW;
    struct hmm_index_cursor cursor;
    struct hmm_batch batch;
    const uint64_t *slot = hmm_container_slot(&store->cache, run->first);

    if (hmm_frames_stay(manager) || !(*slot & HMM_LENT_WRITE) ||
        run->how & HMM_LAUNDER_ASKED)
        return 0;
    hmm_batch_begin(&batch, &manager->physmem, HURDMM_READ | HURDMM_EXECUTE);
    batch.flags = HURDMM_RECLAIM_AROUND;
    bool more = hmm_index_seek(&store->cache.index, &cursor, first);
    for (; more && cursor.key < first + PROTECT_WINDOW;
         more = hmm_index_step(&cursor)) {
        if (!(*cursor.value & HMM_LENT_WRITE) ||
            !wanted(store, cursor.value, run->how))
            continue;
        int err =
            hmm_batch_add(&batch, &store->cache, cursor.key, cursor.value);
        if (err)
            return err;
    }
    return hmm_batch_end(&batch);
}

/* After this nobody can write to the run's pages but for those that are pinned
 * for writing, which stay lent: their copy may be torn, and they stay dirty.
 * ENOMEM: some keep their rights, and nothing may be marked. */
static int take_run(struct run *run)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;
    struct hmm_batch batch;

    hmm_batch_begin(&batch, &manager->physmem, HURDMM_READ | HURDMM_EXECUTE);
    for (uint32_t i = 0; i < run->count; i++) {
        if (manager->physmem.table[run->frame[i]].pins_write)
            continue;
        int err =
            hmm_batch_add(&batch, &store->cache, run->first + i,
                          hmm_container_slot(&store->cache, run->first + i));
        if (err)
            return err;
    }
    return hmm_batch_end(&batch);
}

/* Is the store asked about what it is to write? */
static bool may_ask(const struct hurdmm_store *store, unsigned how)
{
    return store->ops.victim && !(how & HMM_LAUNDER_ASKED);
}

/* May the library write to the store, being asked or not? */
static bool may_write(const struct hurdmm_store *store, unsigned how)
{
    return store->ops.page_out &&
           (how & HMM_LAUNDER_ASKED || !(store->flags & HURDMM_STORE_NO_STEAL));
}

/* Pages whose contents end with the store need not be written as long as there
 * is memory. */
bool hmm_may_launder(const struct hurdmm_store *store)
{
    hmm_assert(hmm_entered(store->manager));
    return may_write(store, 0) &&
           !(store->flags & (HURDMM_STORE_DISCARDABLE | HURDMM_STORE_VOLATILE));
}

/* Cannot fail: from here on the run must be ended, by finish or abandon.  A page
 * that is dirtied from now on is so for another write. */
static void mark_run(struct run *run)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;
    unsigned shift = manager->physmem.page_shift;
    bool ask = may_ask(store, run->how);

    for (uint32_t i = 0; i < run->count; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, run->first + i);

        hmm_assert(may_join(slot) && HMM_SLOT_FRAME(*slot) == run->frame[i]);
        if (!manager->physmem.table[run->frame[i]].pins_write)
            hmm_page_clean(store, slot);
        /* Copies must not lose what the store would not miss. */
        if (ask && !hmm_depended_on(&store->cache, run->first + i))
            run->asked |= UINT64_C(1) << i;
        *slot |= HMM_WRITING;
        store->writing++;
        manager->writing++;
    }
    run->length = (size_t)hmm_min((uint64_t)run->count << shift,
                                  store->size - (run->first << shift));
}

/* Where frames move, the bytes are where the page is lent, and may leave there
 * as soon as the lock is dropped: they are put together under it, which is not
 * dropped here.  After that the pages are anybody's again.  EAGAIN: some were not
 * there any more, and their block has been discarded; EFAULT: it cannot be. */
static int gather_lent(struct run *run)
{
    struct hurdmm_store *store = run->store;
    size_t page = hmm_page_bytes(store->manager);

    /* Where frames move no row is read in place (in_place). */
    hmm_assert(run->bounce && !hmm_frames_stay(store->manager));
    for (uint32_t i = 0; i < run->count; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, run->first + i);
        int err = *slot & HMM_GONE
                      ? EFAULT
                      : hmm_frame_bytes(store, run->first + i, *slot,
                                        (char *)run->bytes + i * page);
        if (err == EFAULT)
            err = hmm_drop_lost(store, run->first + i);
        if (err)
            return err;
    }
    return 0;
}

/* May that be done without the lock (lend.c)?  Every page is at one place, which
 * is told from the first one's.  Whoever would take them from there waits
 * meanwhile (hmm_lends_wait), also who unbinds the region. */
static bool may_gather_apart(struct run *run)
{
    struct hurdmm_store *store = run->store;
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t offset = run->first << shift;
    uint64_t last = offset + (((uint64_t)run->count << shift) - 1);

    if (hmm_frames_stay(store->manager) || run->asked ||
        store->flags & HURDMM_STORE_SHARED || store->cache.dependents.count > 0)
        return false;
    struct hmm_span *span =
        hmm_span_first_overlap(&store->cache.mappings, offset, last);
    if (!span || span->first > offset || span->last < last)
        return false;
    for (uint32_t i = 0; i < run->count; i++) {
        uint64_t slot = *hmm_container_slot(&store->cache, run->first + i);
        if (slot & HMM_GONE || hmm_page_pinned(store->manager, slot))
            return false;
    }
    run->apart = HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset);
    return true;
}

/* Drops the lock, but not the critical section, and has it again after that.  On
 * an error, which it was and of which page: EFAULT, it was not there any more. */
static int gather_apart(struct run *run, uint32_t *bad)
{
    struct hurdmm *manager = run->store->manager;
    size_t page = hmm_page_bytes(manager);
    void *space = run->apart->space;
    uintptr_t address = hmm_mapping_address(run->apart, run->first);
    int err = 0;

    hmm_assert(run->apart && run->bounce);
    /* What is lent to read only had no right to lose, so nobody has waited for
     * those who may be bringing it there. */
    hmm_lends_wait(&manager->physmem);
    hmm_apart_begin(&manager->physmem);
    uintptr_t cookie = hmm_step_aside(manager);
    for (*bad = 0; *bad < run->count; ++*bad) {
        err = manager->ops->frame_read(manager->port, run->frame[*bad], space,
                                       address + *bad * page,
                                       (char *)run->bytes + *bad * page);
        if (err)
            break;
    }
    hmm_apart_end(&manager->physmem);
    hmm_step_back(manager, cookie);
    return err;
}

/* Puts the bytes together, without the lock: the frames are the run's (W1).
 * ENOMEM. */
static int gather(struct run *run)
{
    struct hurdmm *manager = run->store->manager;
    size_t page = hmm_page_bytes(manager);

    if (!hmm_frames_stay(manager))
        return 0;
    for (uint32_t i = 0; run->bounce && i < run->count; i++) {
        void *from;
        int err = hmm_frames_window(&manager->physmem, run->frame[i], 1, &from);
        if (err)
            return err;
        memcpy((char *)run->bytes + i * page, from, page);
    }
    return 0;
}

/* The store does without the page's memory neither way: it stays. */
static void keep_page(struct run *run, uint64_t *slot)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;

    hmm_page_dirty(store, slot);
    if (!(*slot & HMM_RANKED))
        return;
    /* Or it would be named again at once. */
    hmm_page_touched(store, slot);
    manager->policy->kept(manager->policy_state, HMM_SLOT_FRAME(*slot));
    manager->kept++;
}

/* The write failed: the page is as dirty as before, and the background leaves it
 * alone (to_write) until somebody asks for it, or its block is written. */
static void end_bad_page(struct run *run, uint64_t *slot, int err)
{
    struct hurdmm_store *store = run->store;

    hmm_assert(err > 0 && err <= HMM_ERROR_MAX);
    hmm_page_dirty(store, slot);
    if (!(*slot & HMM_WRITE_ERROR) && hmm_may_launder(store))
        store->manager->to_write--;
    *slot &= ~HMM_ERROR_MASK;
    *slot |= HMM_WRITE_ERROR | (uint64_t)err << HMM_ERROR_SHIFT;
}

/* Ends the write of one page: good, or failed with `err`.  Where the slot has
 * another frame by now, the old one was the run's alone.  A good page that was
 * on trial leaves, if that is why it was written and nobody came in between; then
 * its slot is gone after this. */
static void end_page(struct run *run, uint32_t i, int err)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;
    uint64_t page = run->first + i;
    uint64_t *slot = hmm_container_slot(&store->cache, page);

    hmm_assert(i < run->count && slot && *slot & HMM_WRITING);
    hmm_assert(store->writing > 0 && manager->writing >= store->writing);
    *slot &= ~HMM_WRITING;
    store->writing--;
    manager->writing--;
    if (HMM_SLOT_FRAME(*slot) != run->frame[i]) {
        hmm_assert(*slot & HMM_DIRTY);
        hmm_frames_drop(&manager->physmem, run->frame[i], 1);
    }
    if (err) {
        end_bad_page(run, slot, err);
        return;
    }
    if (!(run->dropped >> i & 1)) {
        if (!may_write(store, run->how)) {
            keep_page(run, slot);
            return;
        }
        manager->stats.pages_out++;
    } else {
        manager->stats.discards++;
        if (hmm_depended_on(&store->cache, page))
            hmm_page_dirty(store, slot); /* a copy was taken meanwhile */
    }
    if (!(run->how & HMM_LAUNDER_EVICT) || !(*slot & HMM_ON_TRIAL) ||
        *slot & (HMM_DIRTY | HMM_LENT) || hmm_page_pinned(manager, *slot) ||
        hmm_page_held(store, page))
        return;
    if (store->block_pages == 1)
        hmm_page_drop(store, page, slot, true);
}

/* Blocks are evicted whole, when all of their pages have ended. */
static void evict_blocks(struct run *run)
{
    struct hurdmm_store *store = run->store;

    if (store->block_pages == 1 || !(run->how & HMM_LAUNDER_EVICT))
        return;
    for (uint32_t i = 0; i < run->count; i++) {
        const uint64_t *slot =
            hmm_container_slot(&store->cache, run->first + i);
        if (slot && *slot & HMM_ON_TRIAL)
            hmm_drop_block(store, run->first + i);
    }
}

/* Where frames move, the pages of a run that leave are lent until it has been
 * written: takes the first `good' of them back, without their bytes. */
static void take_leavers(struct run *run, uint32_t good)
{
    struct hurdmm_store *store = run->store;
    struct hmm_batch batch;

    if (hmm_frames_stay(store->manager) || store->block_pages > 1 ||
        store->flags & HURDMM_STORE_SHARED || !(run->how & HMM_LAUNDER_EVICT))
        return;
    hmm_batch_begin(&batch, &store->manager->physmem, HURDMM_NONE);
    batch.flags = HURDMM_RECLAIM_DROP;
    for (uint32_t i = 0; i < good; i++) {
        uint64_t page = run->first + i;
        uint64_t *slot = hmm_container_slot(&store->cache, page);

        if (!(*slot & HMM_ON_TRIAL) || *slot & HMM_DIRTY ||
            !(may_write(store, run->how) || run->dropped >> i & 1) ||
            hmm_page_pinned(store->manager, *slot) ||
            hmm_page_held(store, page) || hmm_depended_on(&store->cache, page))
            continue;
        if (hmm_batch_add(&batch, &store->cache, page, slot))
            return;
    }
    hmm_batch_end(&batch);
}

/* Ends a marked run of which the store has taken `done` bytes, and says `err` for
 * the first that it has not: whole blocks of them count.  Tells all who wait.
 * The lock is not dropped; the run's slots may be gone after this. */
static void finish(struct run *run, size_t done, int err)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;
    unsigned shift = manager->physmem.page_shift;
    uint64_t good = done >= run->length ? run->count : done >> shift;

    good = good == run->count ? good
                              : good / store->block_pages * store->block_pages;
    if (good < run->count && !err)
        err = EIO;
    hmm_assert(good <= run->count && store->writing >= run->count);
    take_leavers(run, (uint32_t)good);
    for (uint32_t i = 0; i < run->count; i++)
        end_page(run, i, i < good ? 0 : err);
    evict_blocks(run);
    if (err) {
        manager->stats.writes_failed++;
        if (!store->write_error)
            store->write_error = err;
    }
    hmm_bounce_put(manager, run->bounce);
    hmm_page_wake(store, run->first, run->count, 0);
    hmm_event_signal(&manager->progress, &manager->parker);
    hmm_ready_run(manager);
}

/* Asks the store about each block, without the lock. */
static void ask_run(struct run *run)
{
    struct hurdmm_store *store = run->store;
    unsigned shift = store->manager->physmem.page_shift;
    uint32_t block = store->block_pages;
    uint64_t pages = UINT64_MAX >> (64 - block);

    hmm_assert(store->ops.victim && run->asked && !run->dropped);
    for (uint32_t i = 0; i < run->count; i += block) {
        uint64_t at = (uint64_t)i << shift;

        if ((run->asked >> i & pages) != pages)
            continue;
        if (store->ops.victim(
                store, store->hook, (run->first << shift) + at,
                (size_t)hmm_min((uint64_t)block << shift, run->length - at)) ==
            HURDMM_VICTIM_DROP)
            run->dropped |= pages << i;
    }
}

/* The bytes of the run from `from` on that are to be dropped, or not. */
static size_t piece_of(const struct run *run, size_t from, bool dropped)
{
    unsigned shift = run->store->manager->physmem.page_shift;
    size_t at = from;

    hmm_assert(from <= run->length);
    while (at < run->length && (run->dropped >> (at >> shift) & 1) == dropped)
        at += (size_t)1 << shift;
    return (size_t)hmm_min(at, run->length) - from;
}

/* Writes what the store has not dropped, without the lock; *done is how far it
 * got, with what was dropped before that, *wrote what of it was written.  Stops at
 * the first error. */
static int write_pieces(struct run *run, size_t *done, size_t *wrote)
{
    struct hurdmm_store *store = run->store;
    uint64_t offset = run->first << store->manager->physmem.page_shift;
    int err = 0;

    *done = *wrote = 0;
    while (!err && *done < run->length) {
        size_t piece = piece_of(run, *done, false), part = piece;

        if (piece > 0)
            err = hmm_drain_error(
                store->ops.page_out(store, store->hook, offset + *done,
                                    (char *)run->bytes + *done, piece, &part));
        part = (size_t)hmm_min(part, piece);
        if (err && part == piece)
            part = 0; /* it did not say how much: nothing, then */
        *done += part;
        *wrote += part;
        if (!err && part < piece)
            err = EIO;
        if (!err)
            *done += piece_of(run, *done, true);
        hmm_assert(*done <= run->length && *wrote <= *done);
    }
    return err;
}

/* A page of the run could not be read; with EFAULT, since the program itself has
 * dropped its bytes.  The others are as they were before. */
static int abandon(struct run *run, uint32_t bad, int err)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;

    hmm_assert(err && bad < run->count);
    for (uint32_t i = 0; i < run->count; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, run->first + i);

        /* Where frames move no page is renewed: the slot has its frame. */
        hmm_assert(slot && *slot & HMM_WRITING);
        hmm_assert(HMM_SLOT_FRAME(*slot) == run->frame[i]);
        *slot &= ~HMM_WRITING;
        store->writing--;
        manager->writing--;
        hmm_page_dirty(store, slot);
    }
    hmm_bounce_put(manager, run->bounce);
    if (err == EFAULT)
        (void)hmm_drop_lost(store, run->first + bad);
    hmm_page_wake(store, run->first, run->count, 0);
    hmm_event_signal(&manager->progress, &manager->parker);
    hmm_ready_run(manager);
    run->abandoned = true;
    return err == EFAULT ? 0 : err;
}

/* Writes a marked run by page_out, and ends it.  Drops the lock; 0 also when it
 * was abandoned. */
static int write_run(struct run *run)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;
    size_t done = run->length, wrote = 0;
    struct hmm_call call;
    uint32_t bad = 0;
    int err = run->apart ? gather_apart(run, &bad) : 0;

    hmm_assert(hmm_entered(manager) && store->users > 0);
    if (err)
        return abandon(run, bad, err);
    hmm_call_begin(&call, store, 0);
    if (run->asked)
        ask_run(run);
    if (may_write(store, run->how)) {
        err = gather(run);
        if (err)
            done = 0;
        else
            err = write_pieces(run, &done, &wrote);
    }
    hmm_call_end(&call);
    manager->stats.bytes_out += wrote;
    finish(run, done, err);
    if (err && !(run->how & HMM_LAUNDER_ASKED))
        hmm_log(manager, "hurdmm: a write-back failed; its pages are kept");
    return err;
}

size_t hmm_run_size(void)
{
    return sizeof(struct run);
}

/* Ends a run that was under way.  Its caller sees that `running' has sunk when he
 * has the lock again, so after this *writes may be gone. */
static void end_later(struct run *run, size_t done, int err)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;
    struct hmm_writes *writes = run->writes;

    hmm_assert(hmm_entered(manager) && run->magic == HMM_MAGIC_WRITE);
    hmm_assert(writes->running > 0 && store->users > 0);
    err = hmm_drain_error(err);
    if (done < run->length && !err)
        err = EIO;
    run->magic = 0;
    manager->stats.bytes_out += hmm_min(done, run->length);
    writes->running--;
    if (err && !writes->error)
        writes->error = err;
    store->users--;
    finish(run, done, err);
    hmm_slab_free(&manager->run_slab, run);
}

void hurdmm_writeback_get_info(const struct hurdmm_writeback *write,
                               struct hurdmm_writeback_info *info)
{
    const struct run *run = (const struct run *)(const void *)write;

    *info = (struct hurdmm_writeback_info){
        .store = run->store,
        .offset = run->first << run->store->manager->physmem.page_shift,
        .buffer = run->bytes,
        .length = run->length,
    };
}

void hurdmm_writeback_complete(struct hurdmm_writeback *write, size_t done,
                               int error)
{
    struct run *run = (struct run *)(void *)write;
    struct hurdmm *manager = run->store->manager;

    if (run->magic != HMM_MAGIC_WRITE || hmm_enter(manager))
        return;
    if (run->magic == HMM_MAGIC_WRITE) /* or it was completed twice at once */
        end_later(run, done, error);
    hmm_leave(manager);
}

/* Lets the store start what it has kept back to start many at once (W4).  Drops
 * the lock if there is anything. */
static void submit_writes(struct hmm_writes *writes)
{
    struct hurdmm_store *store = writes->kept;
    struct hmm_call call;

    writes->kept = NULL;
    if (!store)
        return;
    hmm_assert(hmm_entered(store->manager) && store->users > 0);
    if (store->ops.submit) {
        hmm_call_begin(&call, store, 0);
        store->ops.submit(store, store->hook);
        hmm_call_end(&call);
    }
    store->users--;
}

/* Waits until at most so many are under way; drops the lock.  finish signals. */
static void wait_writes(struct hurdmm *manager, struct hmm_writes *writes,
                        uint32_t most)
{
    hmm_assert(hmm_entered(manager));
    submit_writes(writes);
    while (writes->running > most) {
        uint32_t ticket = hmm_event_ticket(&manager->progress);

        hmm_leave(manager);
        hmm_event_wait(&manager->progress, ticket, &manager->parker,
                       HURDMM_FOREVER);
        hmm_enter_again(manager);
    }
}

void hmm_writes_room(struct hurdmm *manager, struct hmm_writes *writes)
{
    /* Half, so that the next ones are started together too. */
    if (writes->running >= HMM_WRITES_MAX)
        wait_writes(manager, writes, HMM_WRITES_MAX / 2);
}

void hmm_writes_end(struct hurdmm *manager, struct hmm_writes *writes)
{
    if (writes->running > 0 || writes->kept)
        wait_writes(manager, writes, 0);
    hmm_assert(writes->running == 0 && !writes->kept);
}

/* Begins to write a marked run; drops the lock, and the run may have ended when
 * this returns.  False: it must be written by page_out, and is as it was (the
 * lock may have been dropped).  The run in the slab keeps the store by `users'
 * until it ends, `kept' until it is submitted. */
static bool start_run(const struct run *run, struct hmm_writes *writes)
{
    struct hurdmm_store *store = run->store;
    struct hurdmm *manager = store->manager;
    struct hmm_call call;

    if (!writes || !store->ops.write_start || run->asked ||
        !may_write(store, run->how))
        return false;
    if (writes->kept != store) {
        submit_writes(writes);
        writes->kept = store;
        store->users++;
    }
    struct run *later = hmm_slab_alloc(&manager->run_slab);
    if (!later)
        return false;
    *later = *run;
    later->magic = HMM_MAGIC_WRITE;
    later->writes = writes;
    writes->running++;
    store->users++;
    hmm_call_begin(&call, store, 0);
    int err = gather(later);
    if (!err)
        err = store->ops.write_start(store, store->hook,
                                     (struct hurdmm_writeback *)(void *)later);
    hmm_call_end(&call);
    if (!err)
        return true;
    later->magic = 0;
    hmm_slab_free(&manager->run_slab, later);
    store->users--;
    writes->running--;
    return false;
}

/* Takes the run's pages down and marks them: their bytes are fixed.  `apart':
 * they may be put together later, without the lock, which is not dropped here.
 * On an error nothing is marked and nothing kept, though rights may be gone;
 * EAGAIN: look at `page' again, which *end says. */
static int prepare_run(struct run *run, uint64_t page, uint64_t first,
                       uint64_t last, uint64_t *end, bool apart)
{
    hmm_assert(hmm_entered(run->store->manager) && !run->bounce);
    find_run(run, page, first, last);
    int err = choose_bytes(run, page);
    *end = run->first + run->count;
    if (!err)
        err = protect_around(run);
    if (!err)
        err = take_run(run);
    if (!err && !hmm_frames_stay(run->store->manager) &&
        !(apart && may_gather_apart(run)))
        err = gather_lent(run);
    if (!err) {
        mark_run(run);
        return 0;
    }
    hmm_bounce_put(run->store->manager, run->bounce);
    if (err == EAGAIN)
        *end = page;
    return err;
}

int hmm_launder(struct hurdmm_store *store, uint64_t page, uint64_t first,
                uint64_t last, unsigned how, uint64_t *end,
                struct hmm_writes *writes)
{
    struct run run = {.store = store, .how = how};
    uint64_t after = page + 1;
    int err = 0;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(!writes || writes->running < HMM_WRITES_MAX);
    hmm_assert(first <= page && page <= last);
    /* Volatile or discardable: there is nowhere to write to. */
    if (block_wanted(store, page / store->block_pages * store->block_pages,
                     how) &&
        (may_write(store, how) || may_ask(store, how))) {
        err = prepare_run(&run, page, first, last, &after, !writes);
        store->users++;
        if (!err && !start_run(&run, writes))
            err = write_run(&run);
        store->users--;
        after = run.abandoned ? page : after;
    }
    if (end)
        *end = after;
    return err == EAGAIN ? 0 : err;
}

/* Why a page cannot be written now, or has not been yet: the page of its block
 * that is being written, asked about or held, or UINT64_MAX.  What others of the
 * block wait for is no concern of a page that is clean. */
static uint64_t busy_page(const struct hurdmm_store *store, uint64_t page,
                          uint64_t slot)
{
    const uint64_t busy = HMM_WRITING | HMM_UNLOCKING;
    uint64_t block = store->block_pages, first = page / block * block;

    if (slot & busy)
        return page;
    for (uint64_t i = first; slot & HMM_DIRTY && i < first + block; i++) {
        const uint64_t *other = hmm_container_slot(&store->cache, i);

        if (hmm_page_held(store, i) || (other && *other & busy))
            return i;
    }
    return UINT64_MAX;
}

/* Waits for what keeps one page from being written, `busy', or for its write;
 * says whether it must be looked at again, since it was dirtied before we were
 * asked, or the store was asked about it and may have kept it. */
static int wait_written(struct hurdmm_store *store, uint64_t page,
                        uint64_t busy, bool *again)
{
    struct hmm_want want = {
        .store = store,
        .page = busy,
        .thread = hmm_thread_self(store->manager),
        .joined = true,
    };
    const uint64_t *slot = hmm_container_slot(&store->cache, page);

    hmm_assert(hmm_entered(store->manager) && slot);
    *again = *slot & (HMM_DIRTY | HMM_UNLOCKING) ||
             (may_ask(store, 0) && !may_write(store, 0));
    int err = hmm_page_wait(&want, busy);
    return err == EAGAIN ? 0 : err;
}

/* Goes upwards, and looks up where it is each time, since the lock is dropped.
 * So it ends: who makes pages dirty behind it is not met again, and a page is
 * looked at again only while somebody else has it.  A dirty page is passed only when
 * it was written, or failed, or there is no way to write it. */
int hmm_flush(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    struct hmm_writes writes = {0};
    uint64_t page, end;
    int error = 0;

    hmm_assert(hmm_entered(store->manager));
    store->users++;
    while (first <= last && (store->dirty || store->writing)) {
        bool again = false;
        int err = 0;

        hmm_writes_room(store->manager, &writes);
        uint64_t *slot = hmm_index_next(&store->cache.index, first, &page);
        if (!slot || page > last)
            break;
        end = page + 1;
        uint64_t busy = busy_page(store, page, *slot);
        if (busy != UINT64_MAX && writes.kept) {
            /* Nobody waits while others may wait for what he keeps back. */
            submit_writes(&writes);
            continue;
        }
        if (busy != UINT64_MAX)
            err = wait_written(store, page, busy, &again);
        else if (*slot & HMM_DIRTY)
            err = hmm_launder(store, page, page, last, HMM_LAUNDER_ASKED, &end,
                              &writes);
        if (err && !error)
            error = err;
        hmm_assert(page >= first && end >= page);
        first = again && !err ? page : end;
    }
    hmm_writes_end(store->manager, &writes);
    store->users--;
    return error ? error : writes.error;
}

/* Where frames move, the write rights of a whole window go with those of the
 * first page that is written (protect_around), and one call for many pages is
 * what makes it cheap: so the others are written too, as many as are one batch's
 * worth, before their writers take the rights back one by one. */
static int launder_window(struct hurdmm_store *store, uint64_t page,
                          struct hmm_writes *writes)
{
    struct hmm_writes *later = store->ops.write_start ? writes : NULL;
    uint64_t first = page / PROTECT_WINDOW * PROTECT_WINDOW, end;
    uint64_t last = first + PROTECT_WINDOW - 1;
    uint64_t out = store->manager->stats.pages_out;
    uint64_t most =
        hmm_min(hmm_max(store->manager->budget / 16, 1), HMM_RUN_MAX);
    int err = hmm_launder(store, page, first, last, 0, NULL, later);

    store->users++;
    while (!err && first <= last && writes->running < HMM_WRITES_MAX &&
           store->manager->stats.pages_out - out < most) {
        const uint64_t *slot =
            hmm_index_next(&store->cache.index, first, &page);
        if (!slot || page > last)
            break;
        end = page + 1;
        if (wanted(store, slot, 0))
            err = hmm_launder(store, page, page, last, 0, &end, later);
        first = hmm_max(end, page + 1); /* or a page that comes back is met
                                         * again for ever */
    }
    store->users--;
    return err;
}

/* The next dirty page that the laundry may write.  The frame table is walked
 * round and round, so every dirty page has its turn however the policy ranks
 * it. */
static struct hurdmm_store *next_dirty(struct hurdmm *manager, uint64_t *page)
{
    const struct hmm_physmem *physmem = &manager->physmem;

    for (uint32_t i = 0; manager->to_write > 0 && i < physmem->frames; i++) {
        uint32_t frame = (manager->dirty_hand + i) % physmem->frames;
        const struct hmm_frame *entry = &physmem->table[frame];

        if (!entry->refs || !entry->container)
            continue;
        const uint64_t *slot =
            hmm_container_slot(entry->container, entry->page);
        if (!(*slot & HMM_RANKED) || !(*slot & HMM_DIRTY))
            continue;
        struct hurdmm_store *store = hmm_frame_store(manager, frame);
        uint64_t block = store->block_pages;
        if (!hmm_may_launder(store) || !wanted(store, slot, 0) ||
            !block_wanted(store, entry->page / block * block, 0))
            continue;
        manager->dirty_hand = frame + 1;
        *page = entry->page;
        return store;
    }
    return NULL;
}

int hmm_launder_any(struct hurdmm *manager)
{
    struct hmm_writes writes = {0};
    struct hurdmm_store *store;
    uint64_t page;
    int err = ENOENT;

    hmm_assert(hmm_entered(manager));
    /* As many as can be under way together; where none can, one. */
    for (unsigned i = 0; i < HMM_WRITES_MAX; i++) {
        store = next_dirty(manager, &page);
        if (!store)
            break;
        err = hmm_frames_stay(manager)
                  ? hmm_launder(store, page, 0, UINT64_MAX, 0, NULL, &writes)
                  : launder_window(store, page, &writes);
        if (err || writes.running == 0 || !hmm_frames_stay(manager))
            break;
    }
    hmm_writes_end(manager, &writes);
    return err ? err : writes.error;
}

/* Can the page, or what its slot remembers, go?  Without `dirty_too' nothing goes
 * that the store has not: markers say what it would not know either. */
static bool droppable(const struct hurdmm_store *store, const uint64_t *slot,
                      bool dirty_too)
{
    if (*slot & (HMM_FILLING | HMM_WRITING | HMM_UNLOCKING) ||
        hmm_page_pinned(store->manager, *slot))
        return false;
    return dirty_too || !(*slot & (HMM_DIRTY | HMM_MARKER));
}

/* Their bytes are not needed, if they are sure to go: where each page is shown at
 * one place at most, which the row names. */
static unsigned drop_flags(const struct hurdmm_store *store, bool sure)
{
    return sure && !(store->flags & HURDMM_STORE_SHARED) &&
                   store->cache.dependents.count == 0
               ? HURDMM_RECLAIM_DROP
               : 0;
}

/* Takes back what can be dropped.  *pinned is set if something in the range is.
 * With drop_flags the bytes of what was taken are gone: it must be dropped under
 * the same hold of the lock, after an error too. */
static int take_droppable(struct hurdmm_store *store, uint64_t first,
                          uint64_t last, bool dirty_too, bool sure,
                          bool *pinned)
{
    struct hmm_index_cursor cursor;
    struct hmm_batch batch;

    hmm_assert(hmm_entered(store->manager) && first <= last);
    hmm_batch_begin(&batch, &store->manager->physmem, HURDMM_NONE);
    batch.flags = drop_flags(store, sure);
    bool more = hmm_index_seek(&store->cache.index, &cursor, first);
    for (; more && cursor.key <= last; more = hmm_index_step(&cursor)) {
        if (hmm_page_pinned(store->manager, *cursor.value))
            *pinned = true;
        if (!droppable(store, cursor.value, dirty_too))
            continue;
        int err =
            hmm_batch_add(&batch, &store->cache, cursor.key, cursor.value);
        if (err)
            return err;
    }
    return hmm_batch_end(&batch);
}

/* Can all of the block go, `lent' or not? */
static bool block_droppable(const struct hurdmm_store *store, uint64_t first,
                            bool dirty_too, bool lent)
{
    for (uint64_t i = first; i < first + store->block_pages; i++) {
        const uint64_t *slot = hmm_container_slot(&store->cache, i);

        if (slot &&
            (!droppable(store, slot, dirty_too) || (!lent && *slot & HMM_LENT)))
            return false;
    }
    return true;
}

int hmm_drop_range(struct hurdmm_store *store, uint64_t first, uint64_t last,
                   bool dirty_too)
{
    uint64_t block = store->block_pages, page;
    bool pinned = false;
    int err =
        take_droppable(store, first, last, dirty_too, block == 1, &pinned);
    uint64_t *slot;

    if (err && block > 1)
        return err; /* else those that were taken have no bytes */
    while (first <= last &&
           (slot = hmm_index_next(&store->cache.index, first, &page)) != NULL &&
           page <= last) {
        first = page + 1;
        if (!block_droppable(store, page / block * block, dirty_too, false))
            continue;
        if (*slot & HMM_DIRTY)
            store->manager->stats.discards++;
        hmm_page_drop(store, page, slot, false);
    }
    return err ? err : pinned ? EBUSY : 0;
}

/* Looks twice: first so that no right is taken in vain, then because the port may
 * have kept some. */
uint32_t hmm_drop_block(struct hurdmm_store *store, uint64_t page)
{
    uint64_t block = store->block_pages, first = page / block * block;
    bool free = store->flags & HURDMM_STORE_DISCARDABLE, pinned = false;
    uint32_t freed = 0;

    hmm_assert(hmm_entered(store->manager));
    if (!block_droppable(store, first, free, true) ||
        take_droppable(store, first, first + block - 1, free, false, &pinned) ||
        !block_droppable(store, first, free, false))
        return 0;
    for (uint64_t i = first; i < first + block; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, i);

        if (!hmm_resident(slot))
            continue;
        hmm_page_drop(store, i, slot, true);
        freed++;
    }
    return freed;
}

int hmm_drop_lost(struct hurdmm_store *store, uint64_t page)
{
    uint64_t block = store->block_pages, first = page / block * block;
    bool pinned = false;

    hmm_assert(hmm_entered(store->manager));
    if (take_droppable(store, first, first + block - 1, true, false, &pinned) ||
        !block_droppable(store, first, true, false))
        return EFAULT;
    for (uint64_t i = first; i < first + block; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, i);

        if (slot)
            hmm_page_drop(store, i, slot, false);
    }
    store->manager->stats.discards += block;
    return EAGAIN;
}

void hmm_cool_range(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    const struct hurdmm *manager = store->manager;
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek(&store->cache.index, &cursor, first);

    hmm_assert(hmm_entered(store->manager));
    for (; more && cursor.key <= last; more = hmm_index_step(&cursor)) {
        if (*cursor.value & HMM_RANKED)
            manager->policy->cold(manager->policy_state,
                                  HMM_SLOT_FRAME(*cursor.value));
    }
}
