/* SPDX-License-Identifier: MIT */
/* page.c - the transitions of one page, the waits for them, and holds.
 *
 * The states are drawn in mm.h.  All here is entered with the lock held.  The
 * transitions never drop it, so a caller's slot stays good, but for absent and
 * drop: they may take the slot out of the index, and then no pointer into that
 * index is good any more.  Waits, holds and callbacks do drop it.
 *
 * Whoever must wait for a page that is filling, being written or held puts a
 * waiter on the manager's list: a thread's waiter lies on its stack, a fault's in
 * a slab, so that a pager thread can go on to the next fault.  Woken waiters look
 * everything up again.
 *
 *     waiters --hmm_page_wake--> (a thread) its word is set, it goes on by itself
 *                           \--> (a fault) ready --hmm_ready_run--> lent, or told
 *                                                                   to try again
 *
 * Invariants
 *   W1  what is waited for ends with a wake: a fill in finish (fill.c) or a push,
 *       a write in finish or abandon (laundry.c), the asking of a store or of who
 *       watches writes in unlock_page (fault.c) and hmm_tell_first_write, a hold
 *       in hmm_unhold.  Each takes its mark off the page under the same hold of
 *       the lock, so nobody begins to wait for what is over;
 *   W2  whoever wakes runs hmm_ready_run before the lock is dropped, or faults
 *       would lie in `ready' until somebody else comes by;
 *   W3  the store that is waited for stays: a thread's wait counts among `users',
 *       and a queued fault hangs on a request, a write, a callback or a hold, each
 *       of which keeps the store;
 *   W4  nobody waits for what only they themselves could end: EDEADLK;
 *   H1  a store has one hold at a time; who wants another waits for its end.
 */
#include "lib/mm/mm.h"

/* Has the slot a frame with contents?  NULL, a marker and a page that is being
 * filled have none. */
bool hmm_resident(const uint64_t *slot)
{
    return slot && HMM_SLOT_FRAME(*slot) != HURDMM_FRAME_NONE &&
           !(*slot & HMM_FILLING);
}

/* The slot where the contents of a page are, which *want is made to name.  NULL: it
 * has none, and *want names where it would be. */
uint64_t *hmm_home_slot(struct hmm_want *want)
{
    struct hmm_place place = {.container = &want->store->cache,
                              .page = want->page};

    hmm_assert(hmm_entered(want->store->manager));
    hmm_home(&place);
    want->store = hmm_store_of(place.container);
    want->page = place.page;
    return hmm_container_slot(place.container, place.page);
}

/* The store or container whose page is in `frame`, NULL: nobody's. */
struct hurdmm_store *hmm_frame_store(struct hurdmm *manager, uint32_t frame)
{
    hmm_assert(hmm_entered(manager));
    hmm_assert(frame < manager->physmem.frames);
    struct hmm_container *container = manager->physmem.table[frame].container;
    hmm_assert(!container || manager->physmem.table[frame].refs > 0);
    return container ? hmm_store_of(container) : NULL;
}

/* By which the policy knows a page that has left: all but unique, and the same each
 * time the same page comes in. */
static uint64_t page_key(const struct hurdmm_store *store, uint64_t page)
{
    return (page + 1) * UINT64_C(0x9e3779b97f4a7c15) +
           store->id * UINT64_C(0xbf58476d1ce4e5b9);
}

bool hmm_page_pinned(const struct hurdmm *manager, uint64_t slot)
{
    uint32_t number = HMM_SLOT_FRAME(slot);

    hmm_assert(hmm_entered(manager));
    if (number == HURDMM_FRAME_NONE)
        return false;
    hmm_assert(number < manager->physmem.frames);
    const struct hmm_frame *frame = &manager->physmem.table[number];
    return frame->pins_read || frame->pins_write;
}

/* Could the page be lent at another address than through the one mapping of its
 * own?  Then nobody knows at which it is. */
static bool several_views(const struct hurdmm_store *store, uint64_t page)
{
    uint64_t offset = page << store->manager->physmem.page_shift;
    struct hmm_span *span =
        hmm_span_first_overlap(&store->cache.mappings, offset, offset);

    return !span || hmm_span_next_overlap(span, offset, offset) ||
           hmm_dependent_in(&store->cache, page, page);
}

/* Something that shows the page, itself or through bonds: *shown is its number
 * there.  NULL: nothing does. */
static const struct hmm_mapping *view_of(struct hurdmm_store *store,
                                         uint64_t page, uint64_t *shown)
{
    struct hmm_place at = {.container = &store->cache, .page = page};

    do {
        uint64_t offset = at.page << store->manager->physmem.page_shift;
        struct hmm_span *span =
            hmm_span_first_overlap(&at.container->mappings, offset, offset);

        *shown = at.page;
        if (span)
            return HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset);
    } while (hmm_reader_next(&store->cache, page, &at));
    return NULL;
}

/* Where frames move, the bytes of a lent page are at the one address that shows it;
 * if there may be several the page is taken back first, and is in its window then,
 * unless it is pinned.  `slot' is what the page's slot says; it may be out of date
 * after that. */
int hmm_frame_bytes(struct hurdmm_store *store, uint64_t page, uint64_t slot,
                    void *buffer)
{
    struct hurdmm *manager = store->manager;
    const struct hmm_mapping *view = NULL;
    uint64_t shown;
    void *from;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(hmm_resident(&slot));
    hmm_assert(!(slot & HMM_LENT_WRITE) ||
               hmm_page_is_pinned_for(manager, &slot, HURDMM_WRITE));
    if (slot & HMM_GONE)
        return EFAULT;
    hmm_lends_wait(&manager->physmem);
    bool lent = slot & HMM_LENT && !hmm_frames_stay(manager);
    if (lent && !hmm_page_pinned(manager, slot) &&
        !hmm_page_shares(store, page) && several_views(store, page)) {
        int busy =
            hmm_take_back(&store->cache, page,
                          hmm_container_slot(&store->cache, page), HURDMM_NONE);
        if (busy)
            return busy;
        if (*hmm_container_slot(&store->cache, page) & HMM_GONE)
            return EFAULT;
        lent = false;
    }
    if (lent && (view = view_of(store, page, &shown)) != NULL)
        return manager->ops->frame_read(
            manager->port, HMM_SLOT_FRAME(slot), view->space,
            hmm_mapping_address(view, shown), buffer);
    int err =
        hmm_frames_window(&manager->physmem, HMM_SLOT_FRAME(slot), 1, &from);
    if (!err)
        memcpy(buffer, from, hmm_page_bytes(manager));
    return err;
}

/* Makes the policy know the page, or leaves that be where pages never leave. */
void hmm_page_rank(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                   unsigned how)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(hmm_resident(slot) && !(*slot & HMM_RANKED));
    if (store->container) /* its pages never leave */
        return;
    hmm_assert(!hmm_page_pinned(manager, *slot)); /* M4 */
    hmm_assert(!(*slot & HMM_ON_TRIAL));
    manager->policy->insert(manager->policy_state, HMM_SLOT_FRAME(*slot),
                            page_key(store, page), how);
    hmm_shelf_put(store, page, HMM_SLOT_FRAME(*slot));
    manager->ranked++;
    hmm_assert(manager->ranked <= manager->physmem.used);
    *slot |= HMM_RANKED;
}

/* The page was used, or leaves: it is not looked at any longer. */
static void end_trial(struct hurdmm *manager, uint64_t *slot)
{
    if (!(*slot & HMM_ON_TRIAL))
        return;
    hmm_assert(manager->trial > 0);
    *slot &= ~HMM_ON_TRIAL;
    manager->trial--;
}

/* The policy forgets the page.  `evicted': it was its choice, and it may remember
 * the page's key.  Nothing if it was not ranked. */
void hmm_page_unrank(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                     bool evicted)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    end_trial(manager, slot);
    if (!(*slot & HMM_RANKED))
        return;
    hmm_assert(hmm_resident(slot) && !store->container); /* M4 */
    manager->policy->remove(manager->policy_state, HMM_SLOT_FRAME(*slot),
                            page_key(store, page), evicted);
    hmm_shelf_take(manager, HMM_SLOT_FRAME(*slot));
    hmm_assert(manager->ranked > 0);
    manager->ranked--;
    *slot &= ~HMM_RANKED;
}

/* A page that was absent or filling is there, clean, as far as its slot goes: the
 * caller has put the frame in it.  All that the slot said before is forgotten.
 * `how' is HURDMM_PAGE_..., for the policy.  Waking is the caller's. */
void hmm_page_publish(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                      unsigned how)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(HMM_SLOT_FRAME(*slot) != HURDMM_FRAME_NONE);
    hmm_assert(!(*slot & (HMM_LENT | HMM_DIRTY | HMM_RANKED))); /* M1 */
    hmm_assert(!(*slot & HMM_FILLING) || manager->filling > 0);
    if (*slot & HMM_FILLING)
        manager->filling--;
    *slot = HMM_SLOT_FRAME(*slot);
    if (how & HURDMM_PAGE_AHEAD)
        *slot |= HMM_AHEAD;
    if (store->tracked)
        hmm_page_back(store, page, slot);
    hmm_page_rank(store, page, slot, how);
}

/* The page has, or may be given, contents that the store has not (M2, M5): to be
 * called before the right to write is lent.  Containers have no store behind them:
 * nothing of theirs is ever dirty. */
void hmm_page_dirty(struct hurdmm_store *store, uint64_t *slot)
{
    hmm_assert(hmm_entered(store->manager));
    hmm_assert(hmm_resident(slot));
    if (*slot & HMM_DIRTY || store->container)
        return;
    *slot |= HMM_DIRTY;
    store->dirty++;
    store->manager->dirty++;
    if (hmm_may_launder(store))
        store->manager->to_write++;
    hmm_assert(store->manager->dirty >= store->dirty);
    hmm_assert(store->manager->dirty >= store->manager->to_write);
}

/* What the page has is the store's too, or nobody's concern any more.  Nobody may
 * write to it (M2).  The error of its last write goes as well, and with a write
 * error the page was not among those `to_write' (end_bad_page, laundry.c). */
void hmm_page_clean(struct hurdmm_store *store, uint64_t *slot)
{
    struct hurdmm *manager = store->manager;
    bool waits = *slot & HMM_DIRTY && !(*slot & HMM_WRITE_ERROR);

    hmm_assert(hmm_entered(manager));
    if (waits && hmm_may_launder(store)) {
        hmm_assert(manager->to_write > 0);
        manager->to_write--;
    }
    *slot &= ~(HMM_WRITE_ERROR | HMM_ERROR_MASK);
    if (!(*slot & HMM_DIRTY))
        return;
    hmm_assert(!(*slot & HMM_LENT_WRITE)); /* M2 */
    hmm_assert(store->dirty > 0 && manager->dirty >= store->dirty);
    *slot &= ~HMM_DIRTY;
    store->dirty--;
    manager->dirty--;
}

/* Somebody uses the page, as a fault or the port's status bits show. */
void hmm_page_touched(struct hurdmm_store *store, uint64_t *slot)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    if (*slot & HMM_ON_TRIAL) {
        manager->stats.trials_saved++;
        end_trial(manager, slot);
    }
    *slot &= ~(HMM_AHEAD | HMM_REFERENCED);
    if (*slot & HMM_RANKED)
        manager->policy->touched(manager->policy_state, HMM_SLOT_FRAME(*slot));
}

/* The page that was wanted is about to be lent or copied.  That it had to be
 * brought in is no second use of it: the policy was told when it came. */
void hmm_page_used(const struct hmm_want *want, uint64_t *slot)
{
    hmm_assert(hmm_entered(want->store->manager));
    if ((want->filled || want->joined) && !(*slot & (HMM_ON_TRIAL | HMM_AHEAD)))
        return;
    hmm_page_touched(want->store, slot);
}

/* The page leaves memory and its frame is free.  What it had and the store has
 * not is lost: that is asked for, or the store's to allow (evicted and dirty:
 * the next fill is told that something was). */
void hmm_page_drop(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                   bool evicted)
{
    struct hurdmm *manager = store->manager;
    uint32_t frame = HMM_SLOT_FRAME(*slot);
    bool forget = (*slot & HMM_DIRTY) && evicted;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(!(*slot & (HMM_FILLING | HMM_WRITING | HMM_LENT)));
    hmm_page_unrank(store, page, slot, evicted);
    if (store->tracked && *slot & (HMM_WRITTEN | HMM_DIRTY))
        hmm_page_left(store, page);
    hmm_page_clean(store, slot);
    uint64_t marker = forget ? HMM_DISCARDED : 0; /* the next fill is told */
    if (hmm_bond_at(&store->cache, page) && frame != HURDMM_FRAME_NONE)
        marker |= HMM_OWN; /* it would read through the bond again */
    hmm_page_absent(store, page, slot, marker);
    if (frame == HURDMM_FRAME_NONE)
        return;
    hmm_assert(!manager->physmem.table[frame].pins_read &&
               !manager->physmem.table[frame].pins_write);
    if (evicted)
        manager->stats.evictions++;
    if (forget)
        manager->stats.discards++;
    hmm_frames_drop(&manager->physmem, frame, 1);
    hmm_event_signal(&manager->progress, &manager->parker);
}

/* Makes the page absent, with a marker where there is something to remember: it
 * stays in the slot until a fill, a push or a drop.  Its frame is the caller's.
 * Without a marker the slot is gone. */
void hmm_page_absent(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                     uint64_t marker)
{
    hmm_assert(hmm_entered(store->manager));
    hmm_assert(!(*slot & (HMM_LENT | HMM_DIRTY | HMM_RANKED)));
    hmm_assert(!(*slot & (HMM_FILLING | HMM_WRITING)));
    hmm_assert((marker & HMM_FAILED) ? marker >> HMM_ERROR_SHIFT
                                     : !(marker >> HMM_ERROR_SHIFT));
    hmm_assert(!(marker & ~(HMM_MARKER | HMM_ERROR_MASK)));
    if (!marker) {
        hmm_container_take(&store->cache, page);
        return;
    }
    hmm_container_swap(&store->cache, page, slot, HURDMM_FRAME_NONE);
    *slot = HURDMM_FRAME_NONE | marker;
}

/* The laundry reads the old frame until its write ends, and frees it then; so the
 * page may be written at once (M3).  Only where frames stay: elsewhere the run has
 * a copy.  The frame comes from what is free, the reserve included, since to make
 * room the lock would be dropped.  ENOMEM: nothing has changed but rights. */
int hmm_page_renew(struct hurdmm_store *store, uint64_t page, uint64_t *slot)
{
    struct hurdmm *manager = store->manager;
    uint32_t old = HMM_SLOT_FRAME(*slot), frame, got;
    bool ranked = *slot & HMM_RANKED;
    void *from, *to;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(*slot & HMM_WRITING && !(*slot & HMM_DIRTY));
    hmm_assert(hmm_frames_stay(manager) && !hmm_page_pinned(manager, *slot));
    int err =
        hmm_frames_take(&manager->physmem, 1, HURDMM_FRAME_NONE, &frame, &got);
    if (err)
        return err;
    err = hmm_frames_window(&manager->physmem, old, 1, &from);
    if (!err)
        err = hmm_frames_window(&manager->physmem, frame, 1, &to);
    if (!err)
        err = hmm_take_back(&store->cache, page, slot, HURDMM_NONE);
    if (err) {
        hmm_frames_drop(&manager->physmem, frame, 1);
        return err;
    }
    memcpy(to, from, hmm_page_bytes(manager));
    hmm_page_unrank(store, page, slot, false);
    hmm_container_swap(&store->cache, page, slot, frame);
    if (ranked)
        hmm_page_rank(store, page, slot, 0);
    hmm_assert(HMM_SLOT_FRAME(*slot) == frame && !(*slot & HMM_LENT));
    return 0;
}

/* Pins: counted in the frame table, those for reading and for writing apart.  The
 * first makes the policy forget the page, the last makes it known again (M4). */

static uint16_t *pin_count(struct hmm_frame *frame, unsigned access)
{
    return access & HURDMM_WRITE ? &frame->pins_write : &frame->pins_read;
}

bool hmm_page_is_pinned_for(struct hurdmm *manager, const uint64_t *slot,
                            unsigned access)
{
    hmm_assert(hmm_entered(manager));
    return hmm_resident(slot) &&
           *pin_count(&manager->physmem.table[HMM_SLOT_FRAME(*slot)], access);
}

int hmm_page_pin(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                 unsigned access)
{
    struct hurdmm *manager = store->manager;
    struct hmm_frame *frame = &manager->physmem.table[HMM_SLOT_FRAME(*slot)];
    uint16_t *count = pin_count(frame, access);

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(hmm_resident(slot));
    if (*count == UINT16_MAX)
        return EDQUOT;
    if (!frame->pins_read && !frame->pins_write) {
        if (manager->pinned >= manager->pin_limit)
            return EDQUOT;
        hmm_page_unrank(store, page, slot, false);
        manager->pinned++;
        store->pinned++;
    }
    ++*count;
    hmm_assert(!(*slot & HMM_RANKED)); /* M4 */
    return 0;
}

bool hmm_page_pin_off(struct hurdmm *manager, const uint64_t *slot,
                      unsigned access)
{
    if (!hmm_page_is_pinned_for(manager, slot, access))
        return false;
    --*pin_count(&manager->physmem.table[HMM_SLOT_FRAME(*slot)], access);
    return true;
}

void hmm_page_pin_on(struct hurdmm *manager, const uint64_t *slot,
                     unsigned access)
{
    hmm_assert(hmm_entered(manager) && hmm_resident(slot));
    ++*pin_count(&manager->physmem.table[HMM_SLOT_FRAME(*slot)], access);
}

void hmm_page_unpin(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                    unsigned access)
{
    struct hurdmm *manager = store->manager;
    struct hmm_frame *frame = &manager->physmem.table[HMM_SLOT_FRAME(*slot)];

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(hmm_resident(slot) && *pin_count(frame, access) > 0);
    --*pin_count(frame, access);
    if (frame->pins_read || frame->pins_write)
        return;
    hmm_assert(store->pinned > 0 && manager->pinned >= store->pinned);
    manager->pinned--;
    store->pinned--;
    hmm_page_rank(store, page, slot, 0);
}

/* ---- Callbacks that run ---- */

/* While one runs its store stays (users), and nobody waits for what it is to
 * bring who would have to bring it: hmm_would_deadlock looks at the list.  Leaves
 * the lock, and hmm_call_end takes it again: whatever was looked up before is to be
 * looked up again, but for the store.  `behalf' is the thread that waits for the
 * callback's end, or 0. */
void hmm_call_begin(struct hmm_call *call, struct hurdmm_store *store,
                    uint64_t behalf)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    call->store = store;
    call->thread = hmm_thread_self(manager);
    call->behalf = behalf == call->thread ? 0 : behalf;
    call->met = 0;
    hmm_list_append(&manager->calls, &call->link);
    store->users++;
    hmm_leave(manager);
}

void hmm_call_end(struct hmm_call *call)
{
    hmm_enter_again(call->store->manager);
    hmm_assert(!hmm_list_empty(&call->link));
    hmm_assert(call->store->users > 0);
    call->store->users--;
    hmm_list_remove(&call->link);
}

/* Such a thread may have the last frames, and must not wait for what may wait for
 * it. */
bool hmm_in_callback(struct hurdmm *manager, uint64_t thread)
{
    struct hmm_list *link;

    hmm_assert(hmm_entered(manager));
    HMM_LIST_FOR_EACH(link, &manager->calls)
    {
        if (HMM_CONTAINER_OF(link, struct hmm_call, link)->thread == thread)
            return true;
    }
    return false;
}

/* Does `thread` work, itself or through others that work for it, on a callback
 * of `store`?  Each step goes from a thread to the one it works for.  A callback
 * that it runs within another is on its own behalf: whom the other is for counts.
 * A chain is as long as calls are nested, so that a bound does no harm. */
static bool works_for(struct hurdmm *manager, uint64_t thread,
                      const struct hurdmm_store *store)
{
    struct hmm_list *link;
    uint64_t next;

    for (unsigned steps = 0; thread && steps < 16; steps++, thread = next) {
        next = 0;
        HMM_LIST_FOR_EACH(link, &manager->calls)
        {
            const struct hmm_call *call =
                HMM_CONTAINER_OF(link, struct hmm_call, link);
            if (call->thread != thread)
                continue;
            if (call->store == store)
                return true;
            if (call->behalf)
                next = call->behalf;
        }
    }
    return false;
}

/* The fill that will bring the page, or NULL. */
static struct hurdmm_request *request_for(struct hurdmm_store *store,
                                          uint64_t page)
{
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, &store->manager->requests)
    {
        struct hurdmm_request *request =
            HMM_CONTAINER_OF(link, struct hurdmm_request, link);
        if (request->store == store && page - request->first < request->count)
            return request;
    }
    return NULL;
}

/* What the thread waits for, or NULL.  A thread waits for one thing: a pager that
 * queued a fault is not the fault's thread. */
static struct hmm_waiter *waiter_of(struct hurdmm *manager, uint64_t thread)
{
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, &manager->waiters)
    {
        struct hmm_waiter *waiter =
            HMM_CONTAINER_OF(link, struct hmm_waiter, link);
        if (waiter->thread == thread)
            return waiter;
    }
    return NULL;
}

/* The thread that whoever waits for the page waits for, 0: none that is known, or
 * none that could wait itself.  In a hold that has just begun what is under way is
 * waited for first. */
static uint64_t waited_for(struct hurdmm_store *store, uint64_t page)
{
    const uint64_t busy = HMM_FILLING | HMM_WRITING | HMM_UNLOCKING;
    const struct hurdmm_request *request = request_for(store, page);
    const uint64_t *slot = hmm_container_slot(&store->cache, page);

    if (request)
        return request->executor;
    if ((slot && *slot & busy) || !hmm_page_held(store, page))
        return 0;
    return store->hold_thread;
}

/* True after 16 steps, too: rather one error too many than threads that wait for
 * ever. */
bool hmm_would_deadlock(struct hurdmm_store *store, uint64_t thread,
                        uint64_t page)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    if (hmm_list_empty(&manager->calls) && !store->held)
        return false;
    if (works_for(manager, thread, store))
        return true;
    /* The page's filler may wait, in its callback, for a page that we fill; and so
     * may who has a hold on it. */
    for (unsigned steps = 0; steps < 16; steps++) {
        uint64_t other = waited_for(store, page);
        if (!other)
            return false;
        if (other == thread)
            return true;
        const struct hmm_waiter *waiter = waiter_of(manager, other);
        if (!waiter)
            return false;
        store = waiter->store;
        page = waiter->page;
    }
    return true;
}

/* ---- Waits ---- */

/* Queues the fault; the thread that took it goes on.  HMM_LATER, or ENOMEM.  The
 * lock is not dropped.  From here on the waiter is the list's: hmm_ready_run frees
 * it. */
static int wait_later(struct hmm_want *want, uint64_t page)
{
    struct hurdmm *manager = want->store->manager;

    hmm_assert(want->fault);
    struct hmm_waiter *waiter = hmm_slab_alloc(&manager->waiter_slab);

    if (!waiter)
        return ENOMEM;
    waiter->store = want->store;
    waiter->page = page;
    waiter->kind = HMM_WAITER_FAULT;
    waiter->thread = want->thread;
    waiter->error = 0;
    waiter->fault = *want->fault;
    hmm_list_append(&manager->waiters, &waiter->link);
    return HMM_LATER;
}

/* Sleeps until somebody wakes the page: EAGAIN, or the error that came along.
 * The store stays meanwhile (W3).  Who wakes takes the waiter off the list before
 * the word is set, under the lock: so when the word is set, nobody has it. */
static int wait_here(struct hurdmm_store *store, uint64_t page, uint64_t thread)
{
    struct hurdmm *manager = store->manager;
    struct hmm_waiter waiter = {
        .store = store,
        .page = page,
        .kind = HMM_WAITER_THREAD,
        .thread = thread,
    };

    hmm_list_append(&manager->waiters, &waiter.link);
    store->users++;
    hmm_leave(manager);
    while (!__atomic_load_n(&waiter.word, __ATOMIC_ACQUIRE))
        manager->ops->park(manager->port, &waiter.word, 0, HURDMM_FOREVER);
    hmm_enter_again(manager);
    hmm_assert(hmm_list_empty(&waiter.link));
    hmm_assert(store->users > 0);
    store->users--;
    return waiter.error ? waiter.error : EAGAIN;
}

/* The lock is dropped unless it says HMM_LATER or EDEADLK. */
int hmm_page_wait(struct hmm_want *want, uint64_t page)
{
    struct hurdmm *manager = want->store->manager;

    hmm_assert(hmm_entered(want->store->manager));
    if (hmm_would_deadlock(want->store, want->thread, page))
        return EDEADLK;
    if (!want->joined)
        manager->stats.faults_join++;
    want->joined = true;
    if (want->fault) {
        int err = wait_later(want, page);
        if (err != ENOMEM)
            return err;
        /* No memory to queue it: this thread waits in its place. */
    }
    return wait_here(want->store, page, want->thread);
}

/* A thread goes on by itself; a fault is looked at by hmm_ready_run. */
static void wake_one(struct hurdmm *manager, struct hmm_waiter *waiter,
                     int error)
{
    hmm_assert(waiter->kind == HMM_WAITER_THREAD ||
               waiter->kind == HMM_WAITER_FAULT);
    waiter->error = error;
    hmm_list_remove(&waiter->link);
    if (waiter->kind == HMM_WAITER_FAULT) {
        hmm_list_append(&manager->ready, &waiter->link);
        return;
    }
    /* The waiter's stack is gone as soon as the word is set; the port wakes by
     * address and does not look at it. */
    uint32_t *word = &waiter->word;
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    manager->ops->wake(manager->port, word, 1);
}

/* Nothing is lent here, and nobody told: see W2. */
void hmm_page_wake(struct hurdmm_store *store, uint64_t first, uint64_t count,
                   int error)
{
    struct hurdmm *manager = store->manager;
    struct hmm_list *link, *next;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(count > 0);
    HMM_LIST_FOR_EACH_SAFE(link, next, &manager->waiters)
    {
        struct hmm_waiter *waiter =
            HMM_CONTAINER_OF(link, struct hmm_waiter, link);
        if (waiter->store == store && waiter->page - first < count)
            wake_one(manager, waiter, error);
    }
}

/* ---- Holds ---- */

/* Waits on this thread for whoever wakes the page: EAGAIN or EDEADLK. */
static int wait_for(struct hurdmm_store *store, uint64_t page)
{
    struct hmm_want want = {
        .store = store,
        .page = page,
        .thread = hmm_thread_self(store->manager),
        .joined = true,
    };

    return hmm_page_wait(&want, page);
}

/* The first page of the range that is being filled, written or asked about.  Each
 * of these has a request, a write or a callback, so that without any the range need
 * not be searched. */
static bool find_busy(struct hurdmm_store *store, uint64_t first, uint64_t last,
                      uint64_t *page)
{
    const uint64_t busy = HMM_FILLING | HMM_WRITING | HMM_UNLOCKING;
    struct hmm_index_cursor cursor;

    if (!store->requests && !store->writing && !store->users)
        return false;
    bool more = hmm_index_seek(&store->cache.index, &cursor, first);
    for (; more && cursor.key <= last; more = hmm_index_step(&cursor)) {
        if (*cursor.value & busy) {
            *page = cursor.key;
            return true;
        }
    }
    return false;
}

/* The mark is set first, so that nothing new begins in the range while what has
 * begun is waited for; an error of that is not ours.  0: the hold is the caller's,
 * and the lock may have been dropped; EDEADLK: there is none.  While it lasts the
 * range is neither filled, nor made dirty, nor written back; what was dirty and
 * lent before may still be lent to write, until the holder takes it back. */
int hmm_hold(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    uint64_t page;
    int err = EAGAIN;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(first <= last);
    while (store->held && err == EAGAIN)
        err = wait_for(store, store->hold_first);
    if (err != EAGAIN)
        return err;
    store->held = true;
    store->hold_first = first;
    store->hold_last = last;
    store->hold_thread = hmm_thread_self(store->manager);
    while (find_busy(store, first, last, &page)) {
        err = wait_for(store, page);
        if (err == EDEADLK) {
            hmm_unhold(store);
            return err;
        }
    }
    hmm_assert(store->held && store->hold_first == first); /* H1 */
    return 0;
}

void hmm_unhold(struct hurdmm_store *store)
{
    uint64_t first = store->hold_first;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(store->held && first <= store->hold_last);
    store->held = false;
    hmm_page_wake(store, first, store->hold_last - first + 1, 0);
    hmm_ready_run(store->manager);
}

/* Does some page of the range have to be settled?  Only pages that bonds lead to
 * are looked at: the range may be a store of any size. */
static bool depended_on_in(const struct hurdmm_store *store, uint64_t first,
                           uint64_t last)
{
    const struct hmm_container *cache = &store->cache;
    const struct hmm_bond *bond;
    struct hmm_place place;

    while (first <= last &&
           (bond = hmm_dependent_in(cache, first, last)) != NULL) {
        first = hmm_max(first, bond->by_source.first);
        if (first >= hmm_store_pages(store))
            return false;
        if (hmm_unsettled(cache, first, &place))
            return true;
        first++;
    }
    return false;
}

int hmm_hold_settled(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    hmm_assert(hmm_entered(store->manager));
    for (;;) {
        int err = hmm_settle_range(store, first, last);
        if (!err)
            err = hmm_hold(store, first, last);
        /* A copy may have been taken before the hold. */
        if (err || !depended_on_in(store, first, last))
            return err;
        hmm_unhold(store);
    }
}
