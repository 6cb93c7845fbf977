/* SPDX-License-Identifier: MIT */
/* reclaim.c - frames, and how to come by them when memory is short.
 *
 * The policy names victims in batches.  Those to be put on trial are taken back
 * from the application, in one call of the port.  Those to be evicted are taken
 * back too; the clean ones are freed at once, a dirty one is written by the
 * laundry with its neighbours, for which the lock is dropped.
 *
 * Where frames move (they are the region's own memory), taking pages back costs
 * by the call and by the row of addresses, and a flush of every processor that
 * runs the process; so a victim's neighbours leave with it, as far as the policy
 * does not want to keep them: the addresses of a sweep lie in a few windows, and
 * each window is one row with holes (HURDMM_RECLAIM_JOINED).
 *
 * A page leaves only when no write can slip in: its rights are taken away
 * first, and whether it is dirty is looked at after that, with the lock held.
 *
 * Whoever needs a frame and finds none reclaims in the foreground; a background
 * thread keeps some free ahead of that, between the low and the high mark.  The
 * last few frames (the reserve) are for stores' callbacks, so that a store that
 * needs memory to write can have it.
 *
 * Invariants
 *   R1  what is named in a sweep is ranked, so it has a page whose slot names the
 *       frame; after the lock was dropped that is asked again (judge, written);
 *   R2  between taking victims back and judging them the lock is not dropped; nor
 *       while HMM_VICTIM is set in any slot;
 *   R3  a sweep keeps the stores that it remembers while the lock is dropped
 *       (hold_dirty, deliver_notes);
 *   R4  no loop goes on without progress: work_done has grown, victims are not
 *       named again, or rounds are counted.
 *
 * Whoever gets EAGAIN from here has lost the lock and looks everything up again;
 * 0 says that it was never dropped.
 */
#include "lib/mm/mm.h"

/* Each takes a flush of every processor that runs the process, which on a busy
 * machine costs as much as a dozen of faults; more at once gained nothing. */
#define BATCH 128u
#define BATCH_STAY 32u /* where frames stay */
/* Where they move, others leave with a victim, out of so many pages around it. */
#define WINDOW 512u

uint32_t hmm_frames_free(const struct hurdmm *manager)
{
    const struct hmm_physmem *physmem = &manager->physmem;

    hmm_assert(hmm_entered(manager));
    return physmem->limit > physmem->used ? physmem->limit - physmem->used : 0;
}

void hmm_kick(struct hurdmm *manager)
{
    hmm_assert(hmm_entered(manager));
    if (manager->work_due)
        return;
    manager->work_due = true;
    hmm_event_signal(&manager->work, &manager->parker);
    /* It may be waiting for a frame, which may take for ever. */
    hmm_event_signal(&manager->progress, &manager->parker);
}

/* What the caller may take of the free frames: the reserve is for callbacks. */
static uint32_t available(struct hurdmm *manager)
{
    uint32_t free = hmm_frames_free(manager);

    if (free > manager->reserve)
        return free - manager->reserve;
    return hmm_in_callback(manager, hmm_thread_self(manager)) ? free : 0;
}

/* Who finds none free reclaims, and then takes them under the same hold of the
 * lock if that was not dropped: so nobody else gets them first. */
int hmm_frames_get(struct hurdmm *manager, uint32_t want, uint32_t hint,
                   uint32_t *first, uint32_t *got)
{
    uint32_t most = available(manager);

    hmm_assert(hmm_entered(manager) && want > 0);
    if (most == 0) {
        manager->stats.reclaims_foreground++;
        int err = hmm_reclaim(manager, want);
        if (err)
            return err;
        most = available(manager);
        if (most == 0)
            return EAGAIN;
    }
    if (hmm_frames_free(manager) < manager->low + want)
        hmm_kick(manager);
    return hmm_frames_take(&manager->physmem, want < most ? want : most, hint,
                           first, got);
}

/* How long what was lent just now is let be at least. */
#define RECENT_NS 100000u

/* One batch of victims, on the stack of reclaim, which goes through it round by
 * round. */
struct sweep {
    struct hurdmm *manager;
    bool spare;                         /* leave what was lent just now */
    struct hurdmm_victim victim[BATCH]; /* frame NONE: it stays, after all */
    size_t count;
    uint32_t named; /* of those that the policy named, not collected yet: they
                     * are HMM_VICTIM, and have room in `victim' kept free */
    uint32_t freed; /* frames, in all rounds */
    struct {
        struct hurdmm_store *store;
        uint64_t page;
    } dirty[BATCH]; /* victims that must be written first */
    uint32_t dirty_count, dirty_most;
    struct hmm_chore note[BATCH]; /* what stores are to be told has left */
    uint32_t notes;
};

/* Where the frame of a victim is.  The policy knows only frames of pages. */
static uint64_t *victim_slot(struct hurdmm *manager, uint32_t frame,
                             struct hurdmm_store **store, uint64_t *page)
{
    *store = hmm_frame_store(manager, frame);
    hmm_assert(*store); /* R1 */
    *page = manager->physmem.table[frame].page;
    return hmm_container_slot(&(*store)->cache, *page);
}

void hmm_note_recent(struct hurdmm *manager, const uint64_t *slot)
{
    hmm_assert(hmm_entered(manager) && hmm_resident(slot));
    hmm_assert(manager->recent_next < HMM_RECENT);
    manager->recent[manager->recent_next] = HMM_SLOT_FRAME(*slot) + 1;
    manager->recent_next = (manager->recent_next + 1) % HMM_RECENT;
}

bool hmm_frame_recent(const struct hurdmm *manager, uint32_t frame)
{
    hmm_assert(hmm_entered(manager));
    for (unsigned i = 0; i < HMM_RECENT; i++) {
        if (manager->recent[i] == frame + 1)
            return true;
    }
    return false;
}

/* Is some page of the block one that was lent just now? */
static bool block_recent(const struct hurdmm_store *store, uint64_t page)
{
    uint64_t first = page / store->block_pages * store->block_pages;

    for (uint64_t i = first; i < first + store->block_pages; i++) {
        const uint64_t *slot = hmm_container_slot(&store->cache, i);

        if (hmm_resident(slot) &&
            hmm_frame_recent(store->manager, HMM_SLOT_FRAME(*slot)))
            return true;
    }
    return false;
}

/* May this page leave now, or be put on trial?  Its block is at rest then as far
 * as holds go; hmm_drop_block looks at the rest of it. */
static bool eligible(const struct sweep *sweep, struct hurdmm_store *store,
                     uint64_t page, uint64_t slot)
{
    const uint64_t busy = HMM_FILLING | HMM_WRITING | HMM_UNLOCKING;
    const struct hurdmm *manager = sweep->manager;
    uint64_t first = page / store->block_pages * store->block_pages;

    if (sweep->spare && block_recent(store, page))
        return false;
    return !(slot & busy) && !hmm_page_pinned(manager, slot) &&
           !hmm_range_held(store, first, first + (store->block_pages - 1));
}

/* Can it be freed as it is?  Dirty pages of a discardable store can. */
static bool free_at_once(const struct hurdmm_store *store, uint64_t slot)
{
    return !(slot & HMM_DIRTY) || (store->flags & HURDMM_STORE_DISCARDABLE);
}

/* Could the laundry write it, or learn from the store that it need not? */
static bool writable_back(const struct hurdmm_store *store, uint64_t slot)
{
    bool writes =
        store->ops.page_out && !(store->flags & HURDMM_STORE_NO_STEAL);

    return (writes || store->ops.victim) && !(slot & HMM_WRITE_ERROR);
}

/* Where taking a page back copies its bytes, one that must be written first is
 * taken back after that, and one of a block with its block. */
static bool leaves_later(const struct hurdmm_store *store, uint64_t slot)
{
    return store->block_pages > 1 || !free_at_once(store, slot);
}

/* Is the page sure to leave once it is taken back, and its bytes with it? */
static bool leaves_alone(const struct hurdmm_store *store, uint64_t page)
{
    return store->block_pages == 1 && !(store->flags & HURDMM_STORE_SHARED) &&
           !hmm_depended_on(&store->cache, page);
}

/* May the page go instead of one that the policy named? */
static bool may_replace(void *hook, uint32_t frame)
{
    const struct sweep *sweep = hook;
    struct hurdmm_store *store;
    uint64_t page;
    const uint64_t *slot = victim_slot(sweep->manager, frame, &store, &page);

    for (size_t i = 0; i < sweep->count; i++)
        if (sweep->victim[i].frame == frame)
            return false;
    return eligible(sweep, store, page, *slot);
}

/* Of discardable pages, those of the lowest priority go first. */
static void prefer_lowest(struct sweep *sweep)
{
    struct hurdmm *manager = sweep->manager;

    for (size_t i = 0; manager->shelves && i < sweep->count; i++) {
        uint32_t frame = sweep->victim[i].frame, other;

        if (sweep->victim[i].verdict == HURDMM_TRIAL)
            continue;
        other = hmm_shelf_lower(manager, frame, may_replace, sweep,
                                (uint32_t)sweep->count);
        if (other == HURDMM_FRAME_NONE)
            continue;
        manager->policy->kept(manager->policy_state, frame);
        sweep->victim[i].frame = other;
    }
}

/* Adds a page to the batch; it is joined to the one before it, *last of the same
 * store, if nothing lent lies between them. */
static int take_one(struct hmm_batch *batch, struct hurdmm_store *store,
                    uint64_t page, uint64_t *slot, uint64_t *last)
{
    struct hmm_index_cursor cursor;
    bool joined = batch->flags & HURDMM_RECLAIM_DROP && *last < page &&
                  page - *last < WINDOW;

    if (!(*slot & HMM_LENT))
        return 0; /* nothing is taken: *last stays the last row's */

    if (joined && *last + 1 < page) {
        bool more = hmm_index_seek(&store->cache.index, &cursor, *last + 1);
        /* What is read through a copy is lent elsewhere. */
        joined = !hmm_bond_in(&store->cache, *last + 1, page - 1);
        for (; more && cursor.key < page && joined;
             more = hmm_index_step(&cursor))
            joined = !(*cursor.value & HMM_LENT);
    }
    if (joined)
        batch->flags |= HURDMM_RECLAIM_JOINED;
    *last = page;
    return hmm_batch_add(batch, &store->cache, page, slot);
}

/* Takes the victims back from the application; those that cannot leave are given
 * back to the policy.  On an error some were not taken: judge sees it.  The port's
 * status bits, where it has any, are in the slots after this (HMM_REFERENCED). */
static int take_victims(struct sweep *sweep)
{
    struct hurdmm *manager = sweep->manager;
    struct hmm_batch batch;
    struct hurdmm_store *store, *before = NULL;
    uint64_t page, last = UINT64_MAX;

    hmm_assert(sweep->count <= BATCH && sweep->named == 0);
    hmm_batch_begin(&batch, &manager->physmem, HURDMM_NONE);
    for (size_t i = 0; i < sweep->count; i++) {
        uint64_t *slot =
            victim_slot(manager, sweep->victim[i].frame, &store, &page);
        bool trial = sweep->victim[i].verdict == HURDMM_TRIAL;

        if (trial && manager->info.features & HURDMM_PORT_NO_TRIALS) {
            sweep->victim[i].frame = HURDMM_FRAME_NONE;
            continue;
        }
        if (!eligible(sweep, store, page, *slot) ||
            (!trial && !free_at_once(store, *slot) &&
             !writable_back(store, *slot))) {
            manager->policy->kept(manager->policy_state,
                                  sweep->victim[i].frame);
            sweep->victim[i].frame = HURDMM_FRAME_NONE;
            continue;
        }
        if (!hmm_frames_stay(manager) && !trial && leaves_later(store, *slot))
            continue;
        batch.flags =
            !trial && leaves_alone(store, page) ? HURDMM_RECLAIM_DROP : 0;
        last = before == store ? last : UINT64_MAX;
        before = store;
        int err = take_one(&batch, store, page, slot, &last);
        if (err)
            return err;
    }
    return hmm_batch_end(&batch);
}

/* The page is taken back, or about to be; who uses it saves it. */
static void put_on_trial(struct hurdmm_store *store, uint64_t *slot)
{
    hmm_assert(hmm_resident(slot) && *slot & HMM_RANKED);
    if (*slot & HMM_ON_TRIAL)
        return;
    *slot |= HMM_ON_TRIAL;
    store->manager->trial++;
    store->manager->stats.trials++;
}

/* Notes for the store that pages have left; a list that is full is not an error,
 * since stores are told as a favour. */
static void add_note(struct sweep *sweep, struct hurdmm_store *store,
                     uint64_t page, uint32_t count)
{
    struct hmm_chore *note = sweep->note + sweep->notes;

    if (!store->ops.evicted || count == 0)
        return;
    if (sweep->notes && note[-1].store == store && note[-1].last + 1 == page) {
        note[-1].last += count;
    } else if (sweep->notes < BATCH) {
        note->store = store;
        note->first = page;
        note->last = page + count - 1;
        sweep->notes++;
    }
}

/* Tells the stores; the lock is dropped.  All are kept (R3) before the first is
 * told. */
static void deliver_notes(struct sweep *sweep)
{
    struct hurdmm *manager = sweep->manager;
    unsigned shift = manager->physmem.page_shift;

    for (uint32_t i = 0; i < sweep->notes; i++)
        sweep->note[i].store->users++;
    for (uint32_t i = 0; i < sweep->notes; i++) {
        struct hmm_chore *note = &sweep->note[i];
        struct hurdmm_store *store = note->store;
        struct hmm_call call;

        hmm_call_begin(&call, store, 0);
        store->ops.evicted(store, store->hook, note->first << shift,
                           (size_t)(note->last - note->first + 1) << shift);
        hmm_call_end(&call);
        store->users--;
    }
    sweep->notes = 0;
}

/* A victim that must be written first.  Where frames stay, one run is written a
 * sweep; the others are on trial, so that they leave with it if they are in the
 * run, and stand first the next time.  Where they move, all are written and
 * leave together, since the port takes many at once for the price of one. */
static void dismiss_dirty(struct sweep *sweep, struct hurdmm_store *store,
                          uint64_t page, uint64_t *slot)
{
    const struct hurdmm *manager = sweep->manager;

    hmm_assert(*slot & HMM_DIRTY && sweep->dirty_count <= sweep->dirty_most);
    hmm_assert(sweep->dirty_most <= BATCH);
    manager->policy->kept(manager->policy_state, HMM_SLOT_FRAME(*slot));
    manager->policy->cold(manager->policy_state, HMM_SLOT_FRAME(*slot));
    put_on_trial(store, slot);
    if (sweep->dirty_count == sweep->dirty_most)
        return;
    sweep->dirty[sweep->dirty_count].store = store;
    sweep->dirty[sweep->dirty_count++].page = page;
}

/* A block could not be dropped: some of it is dirty, or pinned, or busy. */
static void dismiss_block(struct sweep *sweep, struct hurdmm_store *store,
                          uint64_t first)
{
    struct hurdmm *manager = sweep->manager;

    hmm_assert(first % store->block_pages == 0);
    for (uint64_t i = first; i < first + store->block_pages; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, i);

        if (!slot || !(*slot & HMM_RANKED))
            continue;
        if (*slot & HMM_DIRTY && writable_back(store, *slot) &&
            eligible(sweep, store, i, *slot))
            dismiss_dirty(sweep, store, i, slot);
        else
            manager->policy->kept(manager->policy_state, HMM_SLOT_FRAME(*slot));
    }
}

/* Frees a victim, or says that it must be written first. */
static void dismiss(struct sweep *sweep, struct hurdmm_store *store,
                    uint64_t page, uint64_t *slot)
{
    struct hurdmm *manager = sweep->manager;
    uint32_t frame = HMM_SLOT_FRAME(*slot), freed;

    hmm_assert(hmm_resident(slot));
    if (*slot & HMM_LENT &&
        (hmm_frames_stay(manager) || !leaves_later(store, *slot))) {
        /* The port could not take it. */
        manager->policy->kept(manager->policy_state, frame);
        return;
    }
    if (!free_at_once(store, *slot)) {
        dismiss_dirty(sweep, store, page, slot);
        return;
    }
    if (store->block_pages > 1) {
        freed = hmm_drop_block(store, page);
        page = page / store->block_pages * store->block_pages;
    } else {
        hmm_page_drop(store, page, slot, true);
        freed = 1;
    }
    if (freed == 0)
        dismiss_block(sweep, store, page);
    sweep->freed += freed;
    add_note(sweep, store, page, freed);
}

/* What becomes of each victim, now that nobody can write to it: used, it is let
 * be; else it is put on trial, leaves, or is written first.  One may have left
 * with the block of another before its turn: its frame is nobody's then, since
 * the lock was not dropped (R2). */
static void judge(struct sweep *sweep)
{
    struct hurdmm *manager = sweep->manager;
    struct hurdmm_store *store;
    uint64_t page;

    for (size_t i = 0; i < sweep->count; i++) {
        uint32_t frame = sweep->victim[i].frame;

        if (frame == HURDMM_FRAME_NONE ||
            !manager->physmem.table[frame].container)
            continue;
        uint64_t *slot = victim_slot(manager, frame, &store, &page);
        if (!slot || HMM_SLOT_FRAME(*slot) != frame)
            continue;
        if (*slot & HMM_REFERENCED)
            hmm_page_touched(store, slot);
        else if (sweep->victim[i].verdict == HURDMM_TRIAL)
            put_on_trial(store, slot);
        else
            dismiss(sweep, store, page, slot);
    }
}

/* Has the page been written, and may it still leave? */
static bool written(const struct sweep *sweep, struct hurdmm_store *store,
                    uint64_t page, const uint64_t *slot)
{
    return hmm_resident(slot) && *slot & HMM_RANKED && *slot & HMM_ON_TRIAL &&
           !(*slot & HMM_DIRTY) && store->block_pages == 1 &&
           eligible(sweep, store, page, *slot);
}

/* Where frames move: what was written leaves, all of it in one call.  The lock was
 * dropped for writing, so each is looked up again.  What an error leaves lent
 * stays. */
static void dismiss_written(struct sweep *sweep)
{
    const struct hurdmm_store *before = NULL;
    uint64_t last = UINT64_MAX;
    struct hmm_batch batch;

    hmm_batch_begin(&batch, &sweep->manager->physmem, HURDMM_NONE);
    for (uint32_t i = 0; i < sweep->dirty_count; i++) {
        struct hurdmm_store *store = sweep->dirty[i].store;
        uint64_t page = sweep->dirty[i].page;
        uint64_t *slot = hmm_container_slot(&store->cache, page);

        if (!written(sweep, store, page, slot))
            continue;
        batch.flags = leaves_alone(store, page) ? HURDMM_RECLAIM_DROP : 0;
        last = before == store ? last : UINT64_MAX;
        before = store;
        if (take_one(&batch, store, page, slot, &last))
            break;
    }
    hmm_batch_end(&batch);
    for (uint32_t i = 0; i < sweep->dirty_count; i++) {
        struct hurdmm_store *store = sweep->dirty[i].store;
        uint64_t page = sweep->dirty[i].page;
        uint64_t *slot = hmm_container_slot(&store->cache, page);

        if (store->block_pages > 1)
            hmm_drop_block(store, page);
        else if (written(sweep, store, page, slot) && !(*slot & HMM_LENT))
            hmm_page_drop(store, page, slot, true);
    }
}

/* Writes the victims, whose stores the caller keeps; drops the lock.  The last
 * error: ENOMEM may be the port's, which would not take them, or a store's. */
static int launder_victims(struct sweep *sweep)
{
    bool stay = hmm_frames_stay(sweep->manager);
    unsigned how = HMM_LAUNDER_VICTIM | (stay ? HMM_LAUNDER_EVICT : 0);
    struct hmm_writes writes = {0};
    int failed = 0;

    for (uint32_t i = 0; i < sweep->dirty_count; i++) {
        hmm_writes_room(sweep->manager, &writes);
        int err = hmm_launder(sweep->dirty[i].store, sweep->dirty[i].page, 0,
                              UINT64_MAX, how, NULL, &writes);
        failed = err ? err : failed;
    }
    hmm_writes_end(sweep->manager, &writes);
    failed = writes.error ? writes.error : failed;
    if (!stay)
        dismiss_written(sweep);
    return failed;
}

/* Keeps the stores of the dirty victims while the lock is dropped; -1: no more. */
static void hold_dirty(struct sweep *sweep, uint32_t users)
{
    for (uint32_t i = 0; i < sweep->dirty_count; i++) {
        sweep->dirty[i].store->users += users;
        hmm_assert(users == 1 || sweep->dirty[i].store->users < UINT32_MAX);
    }
}

/* Waits for a fill or a write of others to end; drops the lock: EAGAIN.  ENOMEM:
 * there is none, or the caller is in a callback, for which it might wait. */
static int wait_progress(struct hurdmm *manager)
{
    uint64_t self = hmm_thread_self(manager);

    if (manager->writing + manager->filling == 0 ||
        hmm_in_callback(manager, self))
        return ENOMEM;
    uint32_t ticket = hmm_event_ticket(&manager->progress);
    hmm_leave(manager);
    hmm_event_wait(&manager->progress, ticket, &manager->parker,
                   HURDMM_FOREVER);
    hmm_enter_again(manager);
    return EAGAIN;
}

/* Victims to be named at once.  Batches are cheaper for the port, but in little
 * memory a long one would be most of what there is. */
static uint32_t batch_for(const struct hurdmm *manager, uint32_t target)
{
    uint32_t most = hmm_frames_stay(manager) ? BATCH_STAY : BATCH;

    return (uint32_t)hmm_min(hmm_max(target, manager->budget / 16), most);
}

/* May this page leave with `victim', which is near it? */
static bool leaves_too(const struct sweep *sweep, struct hurdmm_store *store,
                       uint64_t page, uint64_t slot, uint32_t victim)
{
    const struct hurdmm *manager = sweep->manager;
    const uint64_t out = HMM_VICTIM | HMM_WRITE_ERROR | HMM_ON_TRIAL;

    if (!(slot & HMM_RANKED) || slot & out)
        return false;
    if (manager->policy->stays &&
        manager->policy->stays(manager->policy_state, HMM_SLOT_FRAME(slot),
                               victim))
        return false;
    return eligible(sweep, store, page, slot) &&
           (free_at_once(store, slot) || writable_back(store, slot));
}

/* Puts the page of the slot into the batch. */
static void collect(struct sweep *sweep, uint64_t *slot)
{
    hmm_assert(sweep->count < BATCH && hmm_resident(slot));
    hmm_assert(!(*slot & HMM_VICTIM) || sweep->named > 0);
    if (*slot & HMM_VICTIM)
        sweep->named--;
    *slot &= ~HMM_VICTIM;
    sweep->victim[sweep->count++] =
        (struct hurdmm_victim){HMM_SLOT_FRAME(*slot), HURDMM_EVICT};
}

/* Collects the pages of a victim's window that leave, in the order of their
 * addresses, as far as there is room beside those that were named. */
static void collect_window(struct sweep *sweep, struct hurdmm_store *store,
                           uint64_t page, uint32_t victim, uint32_t batch)
{
    uint64_t first = page / WINDOW * WINDOW;
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek(&store->cache.index, &cursor, first);

    for (; more && cursor.key < first + WINDOW;
         more = hmm_index_step(&cursor)) {
        if (!hmm_resident(cursor.value))
            continue;
        if (*cursor.value & HMM_VICTIM ||
            (sweep->count + sweep->named < batch &&
             leaves_too(sweep, store, cursor.key, *cursor.value, victim)))
            collect(sweep, cursor.value);
    }
}

/* Names victims, as many as are likely to fill the batch with their neighbours,
 * and collects them all.  Trials are left out: there are none on such a port.
 * False: nobody was named. */
static bool choose_windows(struct sweep *sweep, uint32_t batch)
{
    struct hurdmm *manager = sweep->manager;
    struct hurdmm_victim named[BATCH];
    struct hurdmm_store *store;
    uint64_t page;
    uint64_t wanted = 16 * batch / hmm_max(manager->window_yield, 16) + 1;
    size_t count = manager->policy->select(manager->policy_state, named,
                                           (size_t)hmm_min(wanted, batch));

    for (size_t i = 0; i < count; i++) {
        if (named[i].verdict == HURDMM_TRIAL)
            continue;
        *victim_slot(manager, named[i].frame, &store, &page) |= HMM_VICTIM;
        sweep->named++;
    }
    uint32_t evict = sweep->named;
    for (size_t i = 0; i < count; i++) {
        uint64_t *slot = victim_slot(manager, named[i].frame, &store, &page);
        if (!(*slot & HMM_VICTIM))
            continue; /* a trial, or it went with another */
        if (leaves_alone(store, page))
            collect_window(sweep, store, page, named[i].frame, batch);
        else
            collect(sweep, slot);
    }
    hmm_assert(sweep->named == 0 && sweep->count <= BATCH);
    if (evict)
        manager->window_yield =
            (15 * manager->window_yield + 16 * (uint32_t)sweep->count / evict) /
            16;
    return count > 0;
}

/* Names the next victims; false: there are none left. */
static bool choose(struct sweep *sweep, uint32_t batch)
{
    const struct hurdmm *manager = sweep->manager;

    sweep->count = sweep->named = 0;
    if (!hmm_frames_stay(manager))
        return choose_windows(sweep, batch);
    sweep->count =
        manager->policy->select(manager->policy_state, sweep->victim, batch);
    return sweep->count > 0;
}

/* Grows with everything that could make a frame free, whoever did it. */
static uint64_t work_done(const struct hurdmm *manager)
{
    const struct hurdmm_stats *stats = &manager->stats;

    return stats->evictions + stats->pages_out + stats->writes_failed +
           stats->discards;
}

/* Frees up to `target` frames, or somewhat more, since blocks and windows leave
 * whole: 0 and *freed, EAGAIN (the lock was dropped), or an error with which
 * nothing was freed.  0 with *freed 0: nobody could go; the lock may have been
 * dropped. */
static int reclaim(struct hurdmm *manager, uint32_t target, bool spare,
                   uint32_t *freed)
{
    /* Every page may have to be named several times (trial, kept, evict). */
    uint32_t rounds =
        8 + 6 * (manager->ranked / batch_for(manager, target) + 1);
    struct sweep sweep = {.manager = manager, .spare = spare};
    bool unlocked = false;

    while (sweep.freed < target && rounds-- > 0) {
        if (!choose(&sweep, batch_for(manager, target - sweep.freed)))
            break;
        sweep.dirty_count = 0;
        sweep.dirty_most = hmm_frames_stay(manager) ? 1 : BATCH;
        hmm_assert(sweep.count <= BATCH && sweep.notes == 0);
        prefer_lowest(&sweep);
        int err = take_victims(&sweep);
        judge(&sweep);
        hold_dirty(&sweep, 1);
        bool told = sweep.notes > 0;
        deliver_notes(&sweep);
        if (sweep.dirty_count > 0) {
            uint64_t before = work_done(manager), kept = manager->kept;
            int failed = launder_victims(&sweep);
            hold_dirty(&sweep, (uint32_t)-1);
            /* What failed to be written is no victim any more (and its ENOMEM
             * the store's own), but what could not be taken from the
             * application would be again. */
            if (work_done(manager) != before || sweep.freed > 0)
                return EAGAIN;
            if (failed == ENOMEM)
                return ENOMEM;
            if (manager->kept == kept)
                break;       /* nobody got anywhere: nor would the next round */
            unlocked = true; /* but these will not be the next victims */
            continue;
        }
        if (told)
            return EAGAIN;
        if (err && sweep.freed == 0)
            return err;
    }
    *freed = sweep.freed;
    return unlocked && sweep.freed > 0 ? EAGAIN : 0;
}

/* Lets those run who have just got what they wanted; drops the lock.  The word
 * is this thread's own, and nobody wakes it. */
static void yield_to_recent(struct hurdmm *manager)
{
    uint32_t word = 0;

    hmm_leave(manager);
    manager->ops->park(manager->port, &word, 0, RECENT_NS);
    hmm_enter_again(manager);
}

/* When nothing else can go than what was lent just now, that goes, but not at
 * once: threads that take each other's pages away in turn get nowhere. */
int hmm_reclaim(struct hurdmm *manager, uint32_t target)
{
    uint32_t freed = 0, free = hmm_frames_free(manager);
    int err = reclaim(manager, target, true, &freed);

    hmm_assert(hmm_entered(manager));
    if (err || freed > 0)
        return err;
    yield_to_recent(manager);
    if (hmm_frames_free(manager) > free)
        return EAGAIN;
    err = reclaim(manager, target, false, &freed);
    if (err)
        return err;
    return freed > 0 ? EAGAIN : wait_progress(manager);
}

void hmm_reclaim_others(struct hurdmm *manager, uint32_t target)
{
    uint32_t freed;

    hmm_assert(hmm_entered(manager));
    reclaim(manager, target, true, &freed);
}

/* Should pages be written although nobody waits for their frames? */
static bool too_dirty(const struct hurdmm *manager)
{
    hmm_assert(manager->to_write <= manager->dirty);
    return manager->to_write > manager->dirty_limit - manager->dirty_limit / 4;
}

/* Keeps frames free and dirty pages few.  One step, with one batch of victims:
 * so others have the lock in between. */
bool hmm_background(struct hurdmm *manager)
{
    hmm_assert(hmm_entered(manager));
    manager->work_due = false;
    if (hmm_chore_run(manager))
        return true;
    if (too_dirty(manager)) {
        int err = hmm_launder_any(manager);
        /* ENOMEM: the port would not let go of them. */
        if (err != ENOENT && err != ENOMEM)
            return true;
    }
    if (hmm_frames_free(manager) >= manager->high)
        manager->reclaiming = false;
    else if (hmm_frames_free(manager) < manager->low)
        manager->reclaiming = true;
    if (!manager->reclaiming)
        return false;
    uint32_t freed = 0, lacking = manager->high - hmm_frames_free(manager);
    uint32_t batch = batch_for(manager, lacking);
    int err = reclaim(manager, lacking < batch ? lacking : batch, true, &freed);
    if (!err && freed == 0)
        err = wait_progress(manager);
    return !err || err == EAGAIN;
}
