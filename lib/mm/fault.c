/* SPDX-License-Identifier: MIT */
/* fault.c - answering faults, and what they share with reads and writes.
 *
 *   fault -> region?  no: catcher, else EFAULT
 *            rights?  no: catcher, else EACCES
 *            page:    absent            ask the store (fill.c), look again
 *                     filling           join: wait, look again
 *                     failed            its error
 *                     being written,    a frame of its own (hmm_page_renew), or
 *                       for writing       wait where none is free
 *                     resident          lend more: a soft fault
 *
 * The loop looks everything up again whenever the lock was dropped.  It ends,
 * because a fill that this thread asked for is published and lent under one
 * hold of the lock: a page cannot be stolen in between for ever.
 *
 * Invariants
 *   F1  what hmm_obtain gives is good until the lock is dropped: who asks for a
 *       page lends, copies or pins it at once;
 *   F2  nothing that was looked up before the lock was dropped is used after:
 *       spaces are found again by token, regions by address, stores by region.
 *       What a want remembers from round to round is only what has been done for
 *       it (filled, joined, throttled, refused);
 *   F3  a page is dirty, and noted as written where that is kept, before the right
 *       to write it is lent (M2, M8);
 *   F4  of a write all is seen to in this order: no hold, nobody who reads through
 *       the page, room in the store, the watcher told, few enough dirty pages, no
 *       write-back that reads the frame.  Each step may drop the lock and then
 *       begins anew, so at the end all of them hold at once.
 *
 * Locks: entered with the manager's, but for hmm_fault_serve and hmm_fault_inline,
 * which enter.  Errors are positive; EAGAIN: the lock was dropped, or something
 * was changed, look again; HMM_LATER: the fault is queued, and whoever wakes it
 * answers it.
 */
#include "lib/mm/mm.h"

/* How often an access may find that its page has gone again before it gives up
 * its turn; never reached unless a policy or a store misbehaves. */
#define ROUNDS_MAX 10000u

/* How often the port may refuse to lend one page, or to take it back. */
#define REFUSALS_MAX 8u

/* Asks the store for room for the page's block before any of it gets dirty.
 * EAGAIN, or the store's refusal, of which nothing is remembered: the next writer
 * asks again.  Drops the lock.  Who wants to write to a page of it meanwhile waits,
 * and no write-back or eviction of it begins; what had begun may end, so the marks
 * are put and taken page by page. */
static int unlock_page(struct hmm_want *want)
{
    struct hurdmm_store *store = want->store;
    struct hurdmm *manager = store->manager;
    unsigned shift = manager->physmem.page_shift;
    uint64_t block = store->block_pages;
    uint64_t first = want->page / block * block;
    struct hmm_call call;

    hmm_assert(store->ops.unlock && !store->container);
    hmm_assert(want->page - first < block);
    if (hmm_would_deadlock(store, want->thread, want->page))
        return EDEADLK;
    for (uint64_t i = first; i < first + block; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, i);
        if (slot)
            *slot |= HMM_UNLOCKING;
    }
    hmm_call_begin(&call, store, want->thread);
    int err = hmm_callback_error(store->ops.unlock(
        store, store->hook, first << shift, (size_t)block << shift));
    hmm_call_end(&call);
    for (uint64_t i = first; i < first + block; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, i);
        if (slot)
            *slot = (*slot & ~HMM_UNLOCKING) | (err ? 0 : HMM_UNLOCKED);
    }
    hmm_page_wake(store, first, block, 0);
    hmm_ready_run(manager);
    return err ? err : EAGAIN;
}

/* Above the dirty limit a page is written before another gets dirty: once for each
 * want, or two writers might write for each other for ever.  When none can be
 * written the limit gives way: it is there for speed, not for safety.  Pages that
 * could not be written do not count: they would stop everybody.  Nor is who is in a
 * callback stopped: the write might be for what it has to bring.  EAGAIN also if
 * that write failed: that is the other page's affair. */
static int throttle(struct hmm_want *want)
{
    struct hurdmm *manager = want->store->manager;

    if (manager->to_write < manager->dirty_limit || want->throttled ||
        hmm_in_callback(manager, want->thread))
        return 0;
    want->throttled = true;
    manager->stats.throttled++;
    return hmm_launder_any(manager) == ENOENT ? 0 : EAGAIN;
}

/* Makes a resident page writable: the last steps of F4.  0, and the lock was not
 * dropped; then it is dirty, and may be lent to write. */
static int obtain_write(struct hmm_want *want, uint64_t *slot)
{
    struct hurdmm_store *store = want->store;

    hmm_assert(hmm_resident(slot) && want->access & HURDMM_WRITE);
    hmm_assert(!hmm_page_held(store, want->page) && !want->read_only);
    if (*slot & HMM_UNLOCKING)
        return hmm_page_wait(want, want->page);
    if (hmm_must_unlock(store, *slot))
        return unlock_page(want);
    if (hmm_first_write(want, *slot))
        return hmm_tell_first_write(want);
    if (!(*slot & HMM_DIRTY) && !store->container) {
        int err = throttle(want);
        if (err)
            return err;
    }
    if (!hmm_frames_stay(store->manager)) {
        /* The laundry has a copy already. */
    } else if (*slot & HMM_WRITING && !(*slot & HMM_DIRTY) &&
               !hmm_page_pinned(store->manager, *slot)) {
        if (hmm_page_renew(store, want->page, slot))
            return hmm_page_wait(want, want->page);
    } else if (*slot & HMM_WRITING && !(*slot & HMM_DIRTY)) {
        return hmm_page_wait(want, want->page);
    }
    hmm_page_dirty(store, slot);
    hmm_page_written(store, slot);
    hmm_assert(*slot & HMM_DIRTY || store->container); /* F3 */
    hmm_assert(!hmm_must_note(store, *slot));
    return 0;
}

/* A page that will be written wholly needs no fill.  It holds nothing of use
 * until the caller has written it, so the lock is not dropped after this. */
static int obtain_blank(struct hmm_want *want, uint64_t **result)
{
    struct hurdmm_store *store = want->store;
    int err = throttle(want);

    if (!err)
        err = hmm_fill_blank(want);
    if (err)
        return err;
    *result = hmm_container_slot(&store->cache, want->page);
    hmm_assert(hmm_resident(*result) && !(**result & HMM_LENT));
    hmm_assert(store->block_pages == 1 && !store->ops.unlock);
    hmm_page_dirty(store, *result);
    hmm_page_written(store, *result);
    want->blank = true;
    return 0;
}

/* A write goes through shared bonds; where the page is read through a copy on
 * write it gets its own.  0: want names the page to be written, which need not be
 * there; EAGAIN also when it has just been given its own. */
static int follow_write(struct hmm_want *want)
{
    struct hurdmm_store *store = want->store;
    struct hmm_bond *bond;

    while (!hmm_container_slot(&store->cache, want->page) &&
           (bond = hmm_bond_at(&store->cache, want->page)) != NULL) {
        if (!bond->shared) {
            want->store = store;
            if (hmm_page_held(store, want->page))
                return hmm_page_wait(want, want->page);
            return hmm_materialize(want, store, want->page);
        }
        want->page = hmm_bond_source_page(bond, want->page);
        store = hmm_store_of(bond->source);
    }
    want->store = store;
    return 0;
}

/* Follows bonds from the page that was asked for to its home, which *want names
 * afterwards; `view' keeps what was asked for, and `read_only' says that others
 * read the home's page for what it is. */
static int follow(struct hmm_want *want)
{
    struct hmm_place place = {.container = &want->store->cache,
                              .page = want->page};

    want->view = want->page;
    want->read_only = false;
    if (want->store->cache.bonds.count == 0)
        return 0;
    if (want->access & HURDMM_WRITE)
        return follow_write(want);
    hmm_home(&place);
    /* Where a frame can be at one address only, a reader gets its own too. */
    if (place.read_only && !want->raw &&
        (want->own ||
         !(want->store->manager->info.features & HURDMM_PORT_ALIAS)))
        return follow_write(want);
    want->store = hmm_store_of(place.container);
    want->page = place.page;
    want->read_only = place.read_only;
    return 0;
}

/* Is nothing of what the page has now needed?  That is for its home to say: it
 * may be longer than what it was asked for through, and have more to be asked.
 * Who wants to be told of first writes is told while the old bytes are there. */
static bool whole_page(const struct hmm_want *want)
{
    const struct hurdmm_store *store = want->store;
    unsigned shift = store->manager->physmem.page_shift;

    if (!want->overwrite || store->block_pages > 1 || store->ops.unlock ||
        (want->region && want->region->first_write))
        return false;
    return want->overwrite == hmm_page_bytes(store->manager) ||
           (want->page << shift) + want->overwrite >= store->size;
}

/* The page is absent: a hole, an error, or something to be filled. */
static int obtain_absent(struct hmm_want *want, const uint64_t *slot,
                         uint64_t **result)
{
    struct hurdmm_store *store = want->store;
    hmm_assert(!slot || *slot & HMM_MARKER);
    bool failed = slot && *slot & HMM_FAILED, whole = whole_page(want);
    struct hmm_place place;

    if (store->container && !failed)
        return ENOENT;
    if (whole && !hmm_unsettled(&store->cache, want->page, &place))
        return obtain_blank(want, result);
    if (whole && failed) {
        int err = hmm_settle_page(want, store, want->page);
        return err ? err : EAGAIN;
    }
    if (failed)
        return (int)(*slot >> HMM_ERROR_SHIFT);
    return hmm_fill(want);
}

/* The application itself has dropped the page's bytes.  Whoever wants them gets
 * what the store has; the page goes, and is asked for like any other.  EFAULT: it
 * cannot go, because it is pinned. */
static int obtain_lost(struct hmm_want *want, uint64_t slot)
{
    if (slot & (HMM_WRITING | HMM_UNLOCKING))
        return hmm_page_wait(want, want->page);
    return hmm_drop_lost(want->store, want->page);
}

int hmm_obtain(struct hmm_want *want, uint64_t **result)
{
    hmm_assert(hmm_entered(want->store->manager));
    hmm_assert(!want->overwrite || want->access & HURDMM_WRITE);
    if (want->page >= hmm_store_pages(want->store))
        return ENXIO;
    int err = follow(want);
    struct hurdmm_store *store = want->store;
    if (err)
        return err;
    if (want->page >= hmm_store_pages(store))
        return ENXIO;
    if (want->access & HURDMM_WRITE && store->flags & HURDMM_STORE_READ_ONLY)
        return EROFS;
    uint64_t *slot = hmm_container_slot(&store->cache, want->page);
    if (!slot || *slot & HMM_MARKER)
        return obtain_absent(want, slot, result);
    if (*slot & HMM_FILLING)
        return hmm_page_wait(want, want->page);
    if (*slot & HMM_GONE)
        return obtain_lost(want, *slot);
    if (want->access & HURDMM_WRITE) {
        if (hmm_page_held(store, want->page))
            return hmm_page_wait(want, want->page);
        if (store->cache.dependents.count > 0) {
            err = hmm_settle_page(want, store, want->page);
            /* Room for copies may have been made of this page itself; and after an
             * error the home may have gone. */
            slot = err ? NULL : hmm_container_slot(&store->cache, want->page);
            if (!err && (!hmm_resident(slot) || *slot & HMM_GONE))
                err = EAGAIN;
        }
        if (!err)
            err = obtain_write(want, slot);
        if (err)
            return err;
    }
    hmm_assert(hmm_resident(slot));
    hmm_assert(!want->read_only || !(want->access & HURDMM_WRITE));
    *result = slot;
    return 0;
}

/* How many pages from the wanted one on can be lent together at no cost: there, at
 * rest, not lent yet, not on trial (they would be saved unused), not gone, and for
 * writing dirty already and with nothing to be asked or told (F4).  The frames need
 * not be a row: that is for the one who lends.  At least 1. */
static uint32_t neighbours(const struct hmm_want *want, bool write)
{
    struct hmm_region *region = want->region;
    uint64_t page = want->page;
    const uint64_t out = HMM_FILLING | HMM_ON_TRIAL | HMM_LENT | HMM_GONE;
    struct hurdmm_store *store = region->store;
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t end = (region->mapping.by_offset.last >> shift) + 1;
    uint64_t *slot;
    uint32_t n = 1;

    hmm_assert(hmm_entered(want->store->manager) && store);
    if (region->advice == HURDMM_ADVICE_RANDOM || want->store != store ||
        page != want->view || (write && store->cache.dependents.count > 0))
        return 1;
    end = hmm_min(end, page + store->manager->readahead);
    end = hmm_min(end, hmm_store_pages(store)); /* its last block is longer */
    for (unsigned row = 0; page + n < end; n++, slot++, row--) {
        if (row == 0)
            row = hmm_index_row(&store->cache.index, page + n, &slot);
        if (row == 0 || HMM_SLOT_FRAME(*slot) == HURDMM_FRAME_NONE ||
            *slot & out)
            break;
        if (write && !store->container &&
            (!(*slot & HMM_DIRTY) || *slot & HMM_WRITING))
            break;
        if (write && hmm_must_note(store, *slot))
            break;
    }
    hmm_assert(n <= hmm_max(store->manager->readahead, 1));
    return n;
}

/* Lends the page as part of a large one, where all of that is at rest, and may be
 * written if that is asked.  ENOENT: there is none. */
static int lend_large(const struct hmm_want *want, uint64_t slot, bool write,
                      unsigned rights)
{
    const struct hurdmm_store *store = want->store;
    uint64_t busy =
        HMM_FILLING | HMM_ON_TRIAL | HMM_WRITING | HMM_UNLOCKING | HMM_GONE;
    uint64_t room = store->ops.unlock ? HMM_UNLOCKED : 0; /* hmm_must_unlock */
    uint64_t dirty = write && !store->container ? HMM_DIRTY | room : 0;
    dirty |= write && store->tracked ? HMM_WRITTEN : 0; /* hmm_must_note */
    const struct hmm_suit suit = {
        .end = hmm_store_pages(store),
        .mask = busy | dirty | (write ? 0 : HMM_LENT_WRITE),
        .bits = dirty,
    };

    if (store != want->region->store || want->page != want->view)
        return ENOENT;
    return hmm_lend_large(&want->region->mapping, want->page, slot, &suit,
                          rights);
}

/* All that the region has; but without `write' the write right is kept back, so
 * that the first write is noticed (F3). */
static unsigned lend_rights(const struct hmm_region *region, bool write)
{
    return write ? region->rights : region->rights & ~(unsigned)HURDMM_WRITE;
}

/* It is dirty already, and nothing hangs on its next write being noticed: no
 * write-back reads it, nobody depends on it, no hold is on it. */
bool hmm_write_too(const struct hmm_want *want, uint64_t slot)
{
    const struct hurdmm_store *store = want->store;

    hmm_assert(hmm_entered(want->store->manager) && want->region);
    if (!(slot & HMM_DIRTY) || slot & HMM_WRITING || want->read_only ||
        !(want->region->rights & HURDMM_WRITE) || hmm_must_note(store, slot))
        return false;
    return !hmm_page_held(store, want->page) &&
           !hmm_depended_on(&store->cache, want->page);
}

/* What was obtained (F1).  The lock is not dropped, so that it can be done before
 * others are answered, too.  ENOMEM, EFAULT: as the port's lend says; nothing was
 * lent. */
int hmm_lend_around(struct hmm_want *want, uint64_t *slot)
{
    struct hmm_region *region = want->region;
    struct hmm_place home = {&want->store->cache, want->page, want->read_only};
    bool write = want->access & HURDMM_WRITE || hmm_write_too(want, *slot);
    uint32_t done;

    hmm_assert(hmm_entered(want->store->manager));
    hmm_assert(hmm_resident(slot));
    hmm_assert(!write || *slot & HMM_DIRTY || want->store->container); /* M2 */
    /* Where a frame can be at one address only, it comes from the other. */
    if (!hmm_frames_stay(want->store->manager) && *slot & HMM_LENT &&
        want->store->flags & HURDMM_STORE_SHARED &&
        (region->store != want->store ||
         !hmm_page_shares(want->store, want->page))) {
        int taken =
            hmm_take_back(&want->store->cache, want->page, slot, HURDMM_NONE);
        if (taken)
            return taken;
        /* The program has dropped it there: zeros are not what the page has. */
        if (*slot & HMM_GONE)
            return EFAULT;
    }
    if (!lend_large(want, *slot, write, lend_rights(region, write)))
        return 0;
    int err =
        hmm_lend(&region->mapping, want->view, &home, slot,
                 neighbours(want, write), lend_rights(region, write), &done);
    return done > 0 ? 0 : err;
}

/* The same without the lock where the port can.  The thread that faulted may be
 * running before it returns, and have destroyed region and store: so they are NULL
 * in *want whenever the lock was dropped, and *slot is not to be looked at then.
 * The page itself cannot be taken meanwhile: lend.c. */
static int lend_apart(struct hmm_want *want, uint64_t *slot)
{
    struct hurdmm_store *store = want->store;
    struct hurdmm *manager = store->manager;
    struct hmm_region *region = want->region;
    struct hmm_place home = {&store->cache, want->page, want->read_only};
    bool write = want->access & HURDMM_WRITE || hmm_write_too(want, *slot);
    struct hmm_lend_apart lend;

    hmm_assert(hmm_resident(slot) && region->store);
    hmm_assert(!write || *slot & HMM_DIRTY || store->container); /* M2 */
    if (!(manager->info.features & HURDMM_PORT_LENDS_APART))
        return hmm_lend_around(want, slot);
    uint32_t count = neighbours(want, write);
    /* The laundry may be reading them where they are. */
    if (*slot & HMM_WRITING || (count > 1 && store->writing > 0))
        hmm_lends_wait(&manager->physmem);
    if (hmm_store_shares(region->store) ||
        (*slot & HMM_LENT && store->flags & HURDMM_STORE_SHARED) ||
        !hmm_lend_begin(&lend, &region->mapping, want->view, &home, slot, count,
                        lend_rights(region, write)))
        return hmm_lend_around(want, slot);
    uintptr_t cookie = hmm_step_aside(manager);
    int err = hmm_lend_go(&lend);
    hmm_step_back(manager, cookie);
    hmm_lend_end(&lend);
    want->region = NULL;
    want->store = NULL;
    return lend.done > 0 ? 0 : err;
}

/* Gives a fault that has no answer to the program's catcher of that address,
 * whose answer counts; without one it stays the error.  Drops the lock: the space
 * may be gone after that.  The catcher is copied, since it may be taken away while
 * it runs. */
static int catch_fault(struct hurdmm_space *space,
                       const struct hurdmm_fault *fault, int error)
{
    struct hurdmm *manager = space->manager;
    struct hurdmm_catch_info info = {
        .space = space,
        .address = fault->address,
        .instruction = fault->instruction,
        .thread = fault->thread,
        .access = fault->access,
        .error = error,
    };
    struct hmm_span *span = hmm_span_first_overlap(
        &space->catchers, fault->address, fault->address);

    hmm_assert(hmm_entered(manager) && error > 0);
    if (!span)
        return error;
    struct hmm_catcher catcher =
        *HMM_CONTAINER_OF(span, struct hmm_catcher, span);
    hmm_leave(manager);
    error = hmm_callback_error(catcher.call(catcher.hook, &info));
    hmm_enter_again(manager);
    return error;
}

/* What a fault wants, if there is a region and it allows it: EFAULT, EACCES.  Sets
 * all of *want that names the page, and nothing of what has been done for it (F2). */
static int look_up(struct hurdmm_space *space, const struct hurdmm_fault *fault,
                   struct hmm_want *want)
{
    struct hmm_region *region = hmm_region_at(space, fault->address);

    if (!region || !region->store)
        return EFAULT;
    if (fault->access & ~(unsigned)region->rights)
        return EACCES;
    want->region = region;
    want->store = region->store;
    want->page = hmm_region_page(region, fault->address);
    want->access = fault->access;
    want->address = fault->address;
    want->thread = fault->thread;
    /* Nobody can have the address before all is there; and after that it is the
     * program that has dropped it.  The store is not asked: it may not be fit to
     * be asked on this thread. */
    if (region->wired &&
        !hmm_resident(hmm_container_slot(&want->store->cache, want->page)))
        return EFAULT;
    return 0;
}

/* Pages that lose their rights come back by a soft fault; pages that leave must
 * be filled again, and may not be able to leave.  So those are next, and the
 * page itself is spared.  May drop the lock. */
int hmm_port_room(struct hmm_want *want)
{
    struct hurdmm_store *store = want->store;
    struct hurdmm_space *space =
        want->region ? want->region->space : store->manager->own;
    const uint64_t *slot = hmm_container_slot(&store->cache, want->page);

    hmm_assert(hmm_entered(want->store->manager));
    if (want->refused++ >= REFUSALS_MAX)
        return ENOMEM;
    if (hmm_resident(slot))
        hmm_note_recent(store->manager, slot);
    if (!hmm_space_make_room(space, store->manager->readahead))
        hmm_reclaim_others(store->manager, store->manager->readahead);
    return EAGAIN;
}

/* Foreseeing writes.  Where frames move, a page that is read first and written
 * next costs two faults, and giving the right costs a flush of every processor
 * that runs the process.  So some of the pages that a read brings in are
 * samples: it is counted how many of them are written to.  Where nearly all are,
 * further pages are lent to write, and are dirty, at once; one in a few stays a
 * sample, so that a change of habits is noticed.  A page that was foreseen wrongly
 * is written back for nothing, and nothing else: its contents are the store's.
 *
 * `written' goes down by a part of itself with each sample, and up by the same
 * part of what is missing when one is written to: all written is half-way. */
#define WRITTEN_ALL 4096u
#define WRITTEN_PART 64u
#define WRITTEN_LIKELY (WRITTEN_ALL * 7 / 16)
#define SAMPLE_EACH 32u

/* Could the page be made dirty now, without anybody being asked?  What is never
 * written back unasked would only be kept in memory for it. */
static bool may_foresee(const struct hmm_want *want)
{
    const struct hurdmm_store *store = want->store;
    const struct hurdmm *manager = store->manager;

    return !(store->flags & (HURDMM_STORE_READ_ONLY | HURDMM_STORE_NO_STEAL |
                             HURDMM_STORE_DISCARDABLE)) &&
           store->ops.page_out && !store->ops.unlock && !store->container &&
           !store->tracked && /* whoever counts writes wants them exact */
           store->cache.dependents.count == 0 &&
           !hmm_page_held(store, want->page) &&
           manager->to_write < manager->dirty_limit;
}

/* Notes what becomes of a sample, or makes the page of this read one, or dirty. */
static void foresee(struct hmm_want *want, uint64_t *slot)
{
    struct hmm_region *region = want->region;

    hmm_assert(hmm_resident(slot) && region->written <= WRITTEN_ALL);
    if (hmm_frames_stay(want->store->manager) || want->view != want->page ||
        region->store != want->store || !(region->rights & HURDMM_WRITE))
        return;
    if (want->access & HURDMM_WRITE) {
        if (*slot & HMM_SAMPLE)
            region->written +=
                (uint16_t)((WRITTEN_ALL - region->written) / WRITTEN_PART);
        *slot &= ~HMM_SAMPLE;
    } else if (want->filled && region->written >= WRITTEN_LIKELY &&
               ++region->foreseen % SAMPLE_EACH && may_foresee(want)) {
        want->access |= HURDMM_WRITE;
        hmm_page_dirty(want->store, slot);
    } else if (want->filled) {
        region->written -= (uint16_t)(region->written / WRITTEN_PART);
        *slot |= HMM_SAMPLE;
    }
}

/* Lends what was obtained; when mappings run out, pages are taken back.  0: the
 * thread can go on.  The lock may have been dropped even then: find_again. */
static int lend_wanted(struct hmm_want *want, uint64_t *slot)
{
    struct hurdmm *manager = want->store->manager;

    hmm_page_used(want, slot);
    foresee(want, slot);
    hmm_note_recent(manager, slot);
    int err = lend_apart(want, slot);

    if (want->store && err == EFAULT)
        return obtain_lost(want, *slot);
    if (err == EFAULT)
        return EAGAIN;
    if (err != ENOMEM)
        return err;
    if (want->store)
        return hmm_port_room(want);
    if (want->refused++ >= REFUSALS_MAX)
        return ENOMEM;
    hmm_reclaim_others(manager, manager->readahead);
    return EAGAIN;
}

/* Finds the region again, after its page was lent without the lock.  False: it has
 * gone, or the page was read through a bond, where nothing is read ahead. */
static bool find_again(struct hurdmm_space *space, struct hmm_want *want)
{
    if (want->store)
        return true;
    want->region = hmm_region_at(space, want->address);
    if (!want->region || !want->region->store || want->page != want->view)
        return false;
    want->store = want->region->store;
    want->page = want->view = hmm_region_page(want->region, want->address);
    return true;
}

/* Answers a fault: 0, HMM_LATER or an error.  `later`: the fault may be queued; else
 * the thread waits here, be it the one that faulted.  Drops the lock. */
static int answer(struct hurdmm *manager, const struct hurdmm_fault *fault,
                  bool later)
{
    struct hmm_want want = {.fault = later ? fault : NULL};
    void *token = fault->space;
    uint64_t *slot;

    hmm_assert(hmm_entered(manager));
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        /* The space, too, may have gone while the lock was dropped. */
        struct hurdmm_space *space = hmm_space_by_token(manager, token);
        if (!space)
            return EFAULT;
        int err = look_up(space, fault, &want);
        if (err)
            return catch_fault(space, fault, err);
        err = hmm_obtain(&want, &slot);
        if (err == HMM_LATER) { /* the fault itself is not ours any more */
            if (hmm_still_there(manager, token, &want))
                hmm_read_on(&want);
            return err;
        }
        if (!err)
            err = lend_wanted(&want, slot);
        if (err == EAGAIN)
            continue;
        space = hmm_space_by_token(manager, token);
        if (err == ENOENT && space) /* a hole of a container */
            return catch_fault(space, fault, EFAULT);
        if (!err && !want.filled && !want.joined)
            manager->stats.faults_soft++;
        if (want.filled)
            manager->stats.faults_fill++;
        /* And so may the region. */
        if (!err && space && find_again(space, &want))
            hmm_read_on(&want);
        return err;
    }
    return 0; /* let the thread fault again */
}

/* A fault that its thread would wait for itself for may be an old one: where a
 * fault is taken before the page is lent for another's sake, the thread has gone
 * on, and into a callback, before we look at it.  Who is in a callback and meets
 * the page there meets it again. */
static bool may_be_stale(struct hurdmm *manager,
                         const struct hurdmm_fault *fault)
{
    struct hmm_list *link;

    hmm_assert(hmm_entered(manager));
    if (hmm_frames_stay(manager)) /* a thread waits until its fault is done */
        return false;
    HMM_LIST_FOR_EACH(link, &manager->calls)
    {
        struct hmm_call *call = HMM_CONTAINER_OF(link, struct hmm_call, link);

        if (call->thread != fault->thread || call->met == fault->address)
            continue;
        call->met = fault->address;
        return true;
    }
    return false;
}

/* On a pager's thread.  What is queued is answered by hmm_ready_run, perhaps before
 * this returns: the fault is not ours any more then. */
void hmm_fault_serve(struct hurdmm *manager, const struct hurdmm_fault *fault)
{
    int err = hmm_enter(manager);

    if (!err) {
        manager->stats.faults++;
        err = answer(manager, fault, true);
        if (err == EDEADLK && may_be_stale(manager, fault))
            err = 0;
        if (err > 0)
            manager->stats.faults_failed++;
        hmm_leave(manager);
    }
    if (err != HMM_LATER)
        manager->ops->fault_done(manager->port, fault, err);
}

/* On the thread that faulted, in a signal handler perhaps; it waits where it must.
 * What the port gives back to it is the result. */
int hmm_fault_inline(void *client, const struct hurdmm_fault *fault)
{
    struct hurdmm_port *port = client;
    struct hurdmm *manager = port->manager;
    int err = manager ? hmm_enter(manager) : EFAULT;

    if (err)
        return err;
    manager->stats.faults++;
    err = answer(manager, fault, false);
    if (err)
        manager->stats.faults_failed++;
    hmm_leave(manager);
    return err;
}

/* Lends to a fault whose page has come, if that is all there is to do.  The lock is
 * not dropped, and nothing is followed, filled or asked for. */
static void try_lend(struct hurdmm *manager, const struct hurdmm_fault *fault)
{
    struct hurdmm_space *space = hmm_space_by_token(manager, fault->space);
    struct hmm_want want = {0};

    if (!space || look_up(space, fault, &want))
        return;
    want.view = want.page;
    uint64_t *slot = hmm_container_slot(&want.store->cache, want.page);
    if (!hmm_resident(slot) || *slot & (HMM_UNLOCKING | HMM_GONE) ||
        want.page >= hmm_store_pages(want.store))
        return;
    /* A write that still needs something done comes back for it. */
    if (want.access & HURDMM_WRITE &&
        (!(*slot & HMM_DIRTY) || hmm_must_note(want.store, *slot) ||
         hmm_page_held(want.store, want.page) ||
         hmm_depended_on(&want.store->cache, want.page)))
        return;
    want.joined = true;
    hmm_page_used(&want, slot);
    if (!hmm_lend_around(&want, slot))
        hmm_note_recent(manager, slot);
}

/* A fault that was woken is lent its page when that is simple; else the thread
 * repeats its access and faults again, which is always right.  The lock is not
 * dropped: fault_done is a port's call that waits for nobody. */
void hmm_ready_run(struct hurdmm *manager)
{
    struct hmm_list *link;

    hmm_assert(hmm_entered(manager));
    while ((link = hmm_list_first(&manager->ready)) != NULL) {
        struct hmm_waiter *waiter =
            HMM_CONTAINER_OF(link, struct hmm_waiter, link);
        hmm_assert(waiter->kind == HMM_WAITER_FAULT);
        struct hurdmm_fault fault = waiter->fault;
        int error = waiter->error;

        hmm_list_remove(link);
        hmm_slab_free(&manager->waiter_slab, waiter);
        if (error)
            manager->stats.faults_failed++;
        else
            try_lend(manager, &fault);
        manager->ops->fault_done(manager->port, &fault, error);
    }
}
