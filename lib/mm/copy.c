/* SPDX-License-Identifier: MIT */
/* copy.c - logical copies, between containers and stores' caches.
 *
 * Making one ties a bond (lib/physmem/bond.c) and touches pages only to take
 * write rights back.  The order is: look, take rights back, reserve memory, and
 * then, with nothing left that can fail and the lock never dropped since the
 * first right was taken, commit.  So a copy is of one instant: whoever would
 * write meanwhile waits for the lock.
 *
 * Living with one means that before a page changes, whoever reads it through a
 * bond gets its own (hmm_settle_page), and that a page read through a bond gets
 * its own before it is written (hmm_materialize).
 *
 * What a container gives up while others depend on it goes over to a zombie
 * (zombie.c).  A store cannot hand over what only it can fetch, so before its
 * contents change (discard, truncation) every dependent page is settled.
 */
#include "lib/mm/mm.h"

#define RANGES_MAX 64u

/* ---- Settling ---- */

/* The bytes of the home of a page, which is lent to read at most. */
static int copy_frame(struct hurdmm_store *home, uint64_t page, uint64_t slot,
                      uint32_t frame)
{
    void *to;
    int err = hmm_frames_window(&home->manager->physmem, frame, 1, &to);

    return err ? err : hmm_frame_bytes(home, page, slot, to);
}

/* Takes back what shows the page, which reads it from where `slot` is. */
static int take_view(struct hurdmm_store *store, uint64_t page, uint64_t *slot)
{
    struct hmm_batch batch;

    hmm_batch_begin(&batch, &store->manager->physmem, HURDMM_NONE);
    int err = hmm_batch_add_view(&batch, &store->cache, page, slot);
    return err ? err : hmm_batch_end(&batch);
}

/* Puts a frame with the page's contents in a slot of its own.  For a store it
 * is dirty: the store has not got it. */
static int put_own(struct hurdmm_store *store, uint64_t page, uint32_t frame)
{
    int err = hmm_container_put(&store->cache, page, frame);

    if (err)
        return err;
    uint64_t *slot = hmm_container_slot(&store->cache, page);
    hmm_page_publish(store, page, slot, 0);
    hmm_page_dirty(store, slot);
    return 0;
}

/* A frame to copy a store's page to, for which `payer' pays, if it is not NULL.
 * The page must not be what is evicted for it, or what the payer gives up: in a
 * memory or quota that has room for one of them only, or whose lowest page it is,
 * that would go on for ever. */
static int frame_beside(struct hurdmm_store *home, uint64_t page,
                        uint64_t *slot, struct hurdmm_store *payer,
                        uint32_t *frame)
{
    struct hurdmm *manager = home->manager;
    uint32_t got;
    bool pinned = (home == payer || hmm_frames_free(manager) <= manager->low) &&
                  !home->container &&
                  !hmm_page_pin(home, page, slot, HURDMM_READ);
    home->users += pinned; /* who reads it may go while the lock is dropped */
    int err = payer ? hmm_account_admit(payer, 1) : 0;

    if (!err)
        err = hmm_frames_get(manager, 1, HURDMM_FRAME_NONE, frame, &got);
    home->users -= pinned;
    if (pinned)
        hmm_page_unpin(home, page, hmm_container_slot(&home->cache, page),
                       HURDMM_READ);
    return err;
}

/* Copies the page of `home` to a frame and puts that in a slot of the page that
 * has been read through a bond.  On an error the frame is still the caller's. */
static int copy_to_own(const struct hmm_want *home, struct hurdmm_store *store,
                       uint64_t page, uint32_t frame)
{
    /* Getting the frame may have freed others without dropping the lock. */
    uint64_t *slot = hmm_container_slot(&home->store->cache, home->page);
    int err = hmm_resident(slot) ? 0 : EAGAIN;

    hmm_assert(!hmm_container_slot(&store->cache, page));
    /* Who shares the page may be writing to it. */
    if (!err && *slot & HMM_LENT_WRITE &&
        !hmm_page_is_pinned_for(store->manager, slot, HURDMM_WRITE))
        err = hmm_take_back(&home->store->cache, home->page, slot,
                            HURDMM_READ | HURDMM_EXECUTE);
    if (!err)
        err = copy_frame(home->store, home->page, *slot, frame);
    if (!err)
        err = take_view(store, page, slot);
    return err ? err : put_own(store, page, frame);
}

int hmm_own_shared(struct hurdmm_store *store, uint64_t page, uint32_t frame)
{
    struct hmm_want home = {.store = store, .page = page};

    hmm_assert(hmm_entered(store->manager));
    (void)hmm_home_slot(&home);
    hmm_assert(home.store != store || home.page != page);
    return copy_to_own(&home, store, page, frame);
}

/* Frees a page that has been copied if it was kept for that only. */
static void drop_if_unread(const struct hmm_want *home)
{
    struct hmm_container *cache = &home->store->cache;
    uint64_t *slot = hmm_container_slot(cache, home->page);

    hmm_assert(hmm_resident(slot));
    if (home->store->zombie && home->store->container &&
        !hmm_depended_on(cache, home->page) &&
        !hmm_take_back(cache, home->page, slot, HURDMM_NONE))
        hmm_page_drop(home->store, home->page, slot, false);
}

int hmm_materialize(struct hmm_want *want, struct hurdmm_store *store,
                    uint64_t page)
{
    struct hmm_want home = {
        .store = store,
        .page = page,
        .access = HURDMM_READ,
        .thread = want->thread,
        .fault = want->fault,
        .raw = true,
    };
    uint32_t frame;
    uint64_t *slot;

    hmm_assert(hmm_entered(store->manager));
    int err = hmm_obtain(&home, &slot);
    if (err)
        return err;
    hmm_assert(home.store != store || home.page != page);
    /* Who writes to his copy pays first; who keeps what another writes over
     * may come to owe. */
    err = frame_beside(home.store, home.page, slot,
                       want->store == store ? store : NULL, &frame);
    if (err)
        return err;
    err = copy_to_own(&home, store, page, frame);
    if (err)
        hmm_frames_drop(&store->manager->physmem, frame, 1);
    else
        drop_if_unread(&home);
    return err;
}

/* A page that cannot be read, for good, is read through a bond: if that is why
 * materializing it failed, the page gets the error for its own, and who changes
 * the one that it was to be copied from can go on.  Else `err` stands. */
static int put_error(struct hurdmm_store *store, uint64_t page, int err)
{
    struct hmm_want home = {.store = store, .page = page};
    const uint64_t *slot = hmm_home_slot(&home);

    if (!slot || !(*slot & HMM_FAILED))
        return err;
    hmm_assert(home.store != store || home.page != page);
    return hmm_container_put(&store->cache, page,
                             HURDMM_FRAME_NONE | HMM_FAILED |
                                 (*slot & HMM_ERROR_MASK));
}

int hmm_settle_page(struct hmm_want *want, struct hurdmm_store *store,
                    uint64_t page)
{
    struct hmm_place place;
    int err = 0;

    hmm_assert(hmm_entered(store->manager));
    while (!err && store->cache.dependents.count > 0 &&
           hmm_unsettled(&store->cache, page, &place)) {
        struct hurdmm_store *target = hmm_store_of(place.container);
        uint32_t number = target->id;

        err = hmm_materialize(want, target, place.page);
        if (!err || err == EAGAIN || err == HMM_LATER)
            continue;
        /* Nobody kept the target while the lock was dropped: if it has gone, so
         * has its number. */
        err =
            target->id == number ? put_error(target, place.page, err) : EAGAIN;
    }
    return err;
}

/* Settles one page for good; the lock may be dropped. */
static int settle_now(struct hurdmm_store *store, uint64_t page)
{
    struct hmm_want want = {.thread = hmm_thread_self(store->manager)};
    int err;

    do
        err = hmm_settle_page(&want, store, page);
    while (err == EAGAIN);
    return err;
}

int hmm_settle_range(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    const struct hmm_bond *bond;
    int err = 0;

    hmm_assert(hmm_entered(store->manager));
    store->users++;
    last = hmm_min(last, hmm_store_pages(store) - 1);
    while (!err && first <= last &&
           (bond = hmm_dependent_in(&store->cache, first, last)) != NULL) {
        /* One page at a time: the bonds may change meanwhile. */
        first = hmm_max(first, bond->by_source.first);
        err = settle_now(store, first);
        first++;
    }
    store->users--;
    return err;
}

/* Takes back what shows pages of the range that are read through bonds. */
static int take_views(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    struct hmm_container *cache = &store->cache;
    struct hmm_batch batch;
    int err = 0;

    if (cache->mappings.count == 0 && cache->dependents.count == 0)
        return 0;
    hmm_batch_begin(&batch, cache->physmem, HURDMM_NONE);
    while (!err && first <= last && hmm_bond_in(cache, first, last)) {
        struct hmm_place place = {.container = cache, .page = first};
        uint64_t absent = hmm_absent_length(cache, first);

        if (absent == 0) {
            hmm_home(&place);
            if (place.container != cache || place.page != first)
                err = hmm_batch_add_view(
                    &batch, cache, first,
                    hmm_container_slot(place.container, place.page));
            absent = 1;
        }
        if (absent > last - first)
            break;
        first += absent;
    }
    return err ? err : hmm_batch_end(&batch);
}

/* Drops the bonds of a range of which nothing is lent.  ENOMEM: when a bond must
 * be split. */
static int unbond(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    struct hmm_container *cache = &store->cache;
    struct hmm_bond *bond;

    if (!hmm_bond_in(cache, first, last))
        return 0;
    int err = hmm_slab_reserve(&cache->physmem->bonds, 2);
    if (err)
        return err;
    hmm_bonds_cut(cache, first);
    if (last < UINT64_MAX)
        hmm_bonds_cut(cache, last + 1);
    while ((bond = hmm_bond_in(cache, first, last)) != NULL)
        hmm_bond_drop(bond);
    store->manager->reap_due = true;
    return 0;
}

int hmm_unbond(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    hmm_assert(hmm_entered(store->manager));
    if (!hmm_bond_in(&store->cache, first, last))
        return 0;
    int err = take_views(store, first, last);
    return err ? err : unbond(store, first, last);
}

/* ---- Giving up pages of a container ---- */

int hmm_take_all(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    hmm_assert(hmm_entered(store->manager));
    int err =
        hmm_take_back_range(&store->cache, first, last, HURDMM_NONE, true);
    return err ? err : take_views(store, first, last);
}

static uint64_t count_slots(const struct hurdmm_store *store, uint64_t first,
                            uint64_t last)
{
    struct hmm_index_cursor cursor;
    uint64_t n = 0;

    if (hmm_container_within(&store->cache, first, last))
        return store->cache.index.count;
    bool more = hmm_index_seek(&store->cache.index, &cursor, first);
    for (; more && cursor.key <= last; more = hmm_index_step(&cursor))
        n++;
    return n;
}

/* Memory that a commit will take. */
struct needs {
    uint64_t bonds, nodes;
};

/* What cutting a range out and moving it takes; `whole`: to the same pages of
 * an empty container. */
static void need_shift(const struct hurdmm_store *store, uint64_t first,
                       uint64_t last, bool whole, struct needs *needs)
{
    needs->bonds += 2 * hmm_bonds_cuts(&store->cache, first, last);
    if (!whole || !hmm_container_within(&store->cache, first, last))
        needs->nodes += count_slots(store, first, last) / 8 + 12;
}

static int reserve(struct hurdmm *manager, const struct needs *needs)
{
    int err = hmm_slab_reserve(&manager->physmem.bonds, (size_t)needs->bonds);

    return err ? err
               : hmm_slab_reserve(&manager->physmem.nodes,
                                  (size_t)needs->nodes);
}

/* What can fail of giving a range up, but for memory that `needs` says; *zombie
 * is made when somebody depends on the range. */
static int prepare_release(struct hurdmm_store *store, uint64_t first,
                           uint64_t last, struct needs *needs,
                           struct hurdmm_store **zombie)
{
    *zombie = NULL;
    if (hmm_pinned_in(store, first, last))
        return EBUSY;
    int err = hmm_take_all(store, first, last);
    if (err)
        return err;
    need_shift(store, first, last, true, needs);
    if (store->container && hmm_dependent_in(&store->cache, first, last)) {
        *zombie = hmm_container_make(store->manager);
        if (!*zombie)
            err = ENOMEM;
    }
    return err;
}

static void commit_release(struct hurdmm_store *store, uint64_t first,
                           uint64_t last, struct hurdmm_store *zombie)
{
    if (zombie) {
        zombie->account = store->account;
        hmm_container_charge(&zombie->cache, &store->account->payer);
        hmm_container_shift(&store->cache, first, last, &zombie->cache, first);
        hmm_zombify(zombie);
        return;
    }
    int err = unbond(store, first, last);
    hmm_assert(!err); /* reserved */
    (void)err;
    hmm_drop_slots(store, first, last);
}

int hmm_container_release(struct hurdmm_store *store, uint64_t first,
                          uint64_t last)
{
    struct needs needs = {0};
    struct hurdmm_store *zombie;
    int err = prepare_release(store, first, last, &needs, &zombie);

    hmm_assert(hmm_entered(store->manager));
    if (!err)
        err = reserve(store->manager, &needs);
    if (!err)
        commit_release(store, first, last, zombie);
    else if (zombie)
        hmm_container_end(zombie);
    hmm_reap(store->manager);
    return err;
}

/* ---- Copies ---- */

struct copy {
    struct hurdmm_store *target, *source;
    uint64_t to, from, count; /* pages */
    uint64_t asked;           /* count before it was cut */
    unsigned flags;
    bool filling; /* the target's pages may be filling: clear_way looks */
    int error;    /* for the page after the last */
    struct hurdmm_store *zombie;
    uint32_t eager; /* copies of pages that are pinned for writing, chained */
};

/* How many pages from `first` on are there, or promised. */
static uint64_t present_length(const struct hurdmm_store *store, uint64_t first,
                               uint64_t count)
{
    uint64_t page = first, end = first + count, run;

    if (!store->container)
        return hmm_min(end, hmm_max(first, hmm_store_pages(store))) - first;
    while (page < end) {
        const struct hmm_bond *bond = hmm_bond_at(&store->cache, page);

        run = bond ? bond->by_target.last + 1 - page
                   : hmm_index_run(&store->cache.index, page);
        if (run == 0)
            break;
        page += run;
    }
    return hmm_min(page, end) - first;
}

/* How many pages from `first` on are free in the target. */
static uint64_t empty_length(const struct hurdmm_store *store, uint64_t first,
                             uint64_t count)
{
    const struct hmm_bond *bond =
        hmm_bond_in(&store->cache, first, first + (count - 1));
    uint64_t found;

    if (bond)
        count =
            bond->by_target.first > first ? bond->by_target.first - first : 0;
    if (hmm_index_next(&store->cache.index, first, &found))
        count = hmm_min(count, found - first);
    return count;
}

/* Will the copies change some of these pages in a store?  Containers hand what
 * others read of them over to a zombie, stores do not. */
static bool is_changed(const struct copy *copies, size_t count,
                       const struct hmm_place *place, uint64_t pages)
{
    for (size_t i = 0; i < count; i++) {
        const struct copy *copy = &copies[i];

        if (!copy->target->container &&
            place->container == &copy->target->cache &&
            place->page < copy->to + copy->count &&
            copy->to < place->page + pages)
            return true;
    }
    return false;
}

/* Are the source's pages [page, page + pages), which are all read from the same
 * containers, read from pages that the copies change? */
static bool comes_back(const struct copy *copies, size_t count,
                       const struct copy *copy, uint64_t page, uint64_t pages)
{
    struct hmm_place place = {.container = &copy->source->cache, .page = page};
    const struct hmm_bond *bond;

    while (!is_changed(copies, count, &place, pages)) {
        if (hmm_container_slot(place.container, place.page) ||
            !(bond = hmm_bond_at(place.container, place.page)))
            return false;
        place.page = hmm_bond_source_page(bond, place.page);
        place.container = bond->source;
    }
    return true;
}

/* Would a source change by what is copied, or be read through itself (B2)? */
static bool circular(const struct copy *copies, size_t count,
                     const struct copy *copy)
{
    const struct hmm_container *source = &copy->source->cache;
    uint64_t last = copy->from + (copy->count - 1), run;

    for (size_t i = 0; i < count; i++) {
        if (&copies[i] != copy && copies[i].target == copy->source &&
            copies[i].to <= last && copy->count && copies[i].count &&
            copy->from <= copies[i].to + (copies[i].count - 1))
            return true;
    }
    for (uint64_t i = 0; i < copy->count; i += run) {
        if (hmm_bond_in(source, copy->from + i, last) == NULL)
            return false;
        run = hmm_absent_length(source, copy->from + i);
        run = hmm_max(hmm_min(run, copy->count - i), 1);
        if (comes_back(copies, count, copy, copy->from + i, run))
            return true;
    }
    return false;
}

/* Cuts the copy to what can be done of it, with the error for the rest. */
static int measure(struct copy *copy)
{
    uint64_t whole = copy->asked;

    copy->error = 0;
    copy->count = present_length(copy->source, copy->from, whole);
    if (copy->count < whole)
        copy->error = copy->source->container ? ENOENT : ENXIO;
    if (!(copy->flags & HURDMM_COPY_SQUASH) && !copy->filling &&
        copy->count > 0) {
        uint64_t room = empty_length(copy->target, copy->to, copy->count);
        if (room < copy->count) {
            copy->count = room;
            copy->error = EEXIST;
        }
    }
    if (copy->error && (copy->flags & HURDMM_ALL_OR_NONE || !copy->count)) {
        copy->count = 0;
        return copy->error;
    }
    return 0;
}

/* Takes the write rights on a range back, through shared bonds too. */
static int revoke(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    const struct hmm_bond *bond;
    int err = hmm_take_back_range(&store->cache, first, last,
                                  HURDMM_READ | HURDMM_EXECUTE, !store->pinned);

    bond = hmm_bond_in(&store->cache, first, last);
    for (; !err && bond; bond = hmm_bond_next(bond, first, last)) {
        if (bond->shared)
            err = revoke(hmm_store_of(bond->source),
                         hmm_bond_source_page(
                             bond, hmm_max(first, bond->by_target.first)),
                         hmm_bond_source_page(
                             bond, hmm_min(last, bond->by_target.last)));
    }
    return err;
}

/* The next page of the source, from *page on, that is pinned for writing, maybe
 * where it is shared from: *place is its home, whose slot is returned. */
static const uint64_t *pinned_page(const struct copy *copy, uint64_t *page,
                                   struct hmm_place *place)
{
    struct hmm_container *source = &copy->source->cache;
    uint64_t end = copy->from + copy->count;

    for (; *page < end; ++*page) {
        uint64_t absent = hmm_absent_length(source, *page);

        if (absent > 0) {
            *page += hmm_min(absent, end - *page) - 1;
            continue;
        }
        place->container = source;
        place->page = *page;
        hmm_home(place);
        const uint64_t *slot =
            hmm_container_slot(place->container, place->page);
        if (hmm_resident(slot) &&
            source->physmem->table[HMM_SLOT_FRAME(*slot)].pins_write)
            return slot;
    }
    return NULL;
}

/* Copies the pages of the source that are pinned for writing, which stay lent: to
 * frames that are a chain by the frame table's page member.  Errors: what was taken
 * is in the chain. */
static int take_eager(struct copy *copy, struct needs *needs)
{
    struct hmm_physmem *physmem = &copy->source->manager->physmem;
    struct hmm_place place;
    const uint64_t *slot;
    uint64_t page = copy->from;
    uint32_t frame, got, last = HURDMM_FRAME_NONE;
    int err = 0;

    if (copy->flags & (HURDMM_COPY_SHARED | HURDMM_COPY_MOVE) ||
        !hmm_pinned_for(copy->source, copy->from,
                        copy->from + (copy->count - 1), true))
        return 0;
    needs->nodes += 12;
    for (; !err && (slot = pinned_page(copy, &page, &place)) != NULL; page++) {
        err = hmm_frames_take(physmem, 1, HURDMM_FRAME_NONE, &frame, &got);
        if (err)
            break;
        physmem->table[frame].page = HURDMM_FRAME_NONE;
        if (last == HURDMM_FRAME_NONE)
            copy->eager = frame;
        else
            physmem->table[last].page = frame;
        last = frame;
        needs->nodes += 2;
        err =
            copy_frame(hmm_store_of(place.container), place.page, *slot, frame);
    }
    return err;
}

static void drop_eager(struct copy *copy)
{
    struct hmm_physmem *physmem = &copy->source->manager->physmem;

    while (copy->eager != HURDMM_FRAME_NONE) {
        uint32_t frame = copy->eager;
        copy->eager = (uint32_t)physmem->table[frame].page;
        hmm_frames_drop(physmem, frame, 1);
    }
}

/* Gives the target what take_eager has copied. */
static void put_eager(struct copy *copy)
{
    struct hurdmm *manager = copy->source->manager;
    struct hmm_place place;
    uint64_t page = copy->from;

    for (; copy->eager != HURDMM_FRAME_NONE && pinned_page(copy, &page, &place);
         page++) {
        uint32_t frame = copy->eager;

        copy->eager = (uint32_t)manager->physmem.table[frame].page;
        if (put_own(copy->target, copy->to + (page - copy->from), frame))
            hmm_broken(manager, "a reserved copy failed");
    }
    hmm_assert(copy->eager == HURDMM_FRAME_NONE);
}

/* Copies by others of the same pages read through ours from now on: what they
 * and we have in common is then settled, and paged out, once. */
static void adopt_dependents(struct copy *copy, const struct hmm_bond *ours)
{
    struct hmm_container *source = &copy->source->cache;
    uint64_t last = copy->from + (copy->count - 1);
    struct hmm_bond *bond, *next;

    hmm_dependents_cut(source, copy->from);
    hmm_dependents_cut(source, last + 1);
    for (bond = hmm_dependent_in(source, copy->from, last); bond; bond = next) {
        next = hmm_dependent_next(bond, copy->from, last);
        if (bond == ours || bond->shared ||
            bond->by_source.first < copy->from || bond->by_source.last > last)
            continue;
        hmm_bond_redirect(bond, &copy->target->cache,
                          copy->to + (bond->by_source.first - copy->from));
    }
}

/* All that can fail of one copy, but for memory that `needs` says. */
static int prepare(struct copy *copy, struct needs *needs)
{
    uint64_t from_last = copy->from + (copy->count - 1);
    uint64_t to_last = copy->to + (copy->count - 1);
    int err = 0;

    needs->bonds +=
        4 + 2 * hmm_bonds_cuts(&copy->source->cache, copy->from, from_last);
    if (copy->flags & HURDMM_COPY_MOVE) {
        if (hmm_pinned_in(copy->source, copy->from, from_last))
            return EBUSY;
        if (copy->target->account != copy->source->account)
            err = hmm_account_admit(copy->target, copy->count);
        if (!err)
            err = hmm_take_all(copy->source, copy->from, from_last);
        need_shift(copy->source, copy->from, from_last, false, needs);
    } else if (!(copy->flags & HURDMM_COPY_SHARED) ||
               hmm_dependent_in(&copy->target->cache, copy->to, to_last)) {
        /* Also for those who have copies of a store's absent pages (B3). */
        err = revoke(copy->source, copy->from, from_last);
    }
    if (!err && copy->flags & HURDMM_COPY_SQUASH)
        err = prepare_release(copy->target, copy->to, to_last, needs,
                              &copy->zombie);
    return err ? err : take_eager(copy, needs);
}

static void undo_prepare(struct copy *copy)
{
    drop_eager(copy);
    if (copy->zombie)
        hmm_container_end(copy->zombie);
    copy->zombie = NULL;
}

static void commit(struct copy *copy)
{
    struct hmm_container *target = &copy->target->cache;
    struct hmm_container *source = &copy->source->cache;
    uint64_t last = copy->to + (copy->count - 1);

    if (copy->flags & HURDMM_COPY_SQUASH)
        commit_release(copy->target, copy->to, last, copy->zombie);
    if (copy->flags & HURDMM_COPY_MOVE) {
        hmm_container_shift(source, copy->from, copy->from + (copy->count - 1),
                            target, copy->to);
        return;
    }
    struct hmm_bond *bond = hmm_slab_alloc(&source->physmem->bonds);
    hmm_assert(bond); /* reserved */
    hmm_bond_tie(bond, target, copy->to, source, copy->from, copy->count,
                 copy->flags & HURDMM_COPY_SHARED);
    if (copy->flags & HURDMM_COPY_SHARED)
        return;
    adopt_dependents(copy, bond);
    put_eager(copy);
}

/* The store that caches the target hears that its backing is of no use. */
static void tell_target(const struct copy *copy)
{
    struct hurdmm_store *store = copy->target;
    unsigned shift = store->manager->physmem.page_shift;
    struct hmm_call call;

    if (!store->ops.discarded || !copy->count)
        return;
    hmm_call_begin(&call, store, 0);
    store->ops.discarded(store, store->hook, copy->to << shift,
                         copy->count << shift);
    hmm_call_end(&call);
}

/* What may change while the lock is dropped.  The handles are good. */
static int check_state(const struct copy *copy)
{
    const struct hurdmm_store *target = copy->target, *source = copy->source;

    hmm_assert(hmm_entered(target->manager) && copy->asked > 0);
    if (hmm_claim_check(target) || hmm_claim_check(source))
        return EBUSY;
    if (!target->container && copy->to + copy->asked > hmm_store_pages(target))
        return ENOTSUP;
    /* Nothing could hold its writers back. */
    return hmm_wired_in(source, copy->from, copy->from + (copy->asked - 1))
               ? ENOTSUP
               : 0;
}

/* Prepares all, commits all: the lock is not dropped in between. */
static int copy_now(struct hurdmm *manager, struct copy *copies, size_t count)
{
    struct needs needs = {0};
    int err = 0;

    for (size_t i = 0; i < count; i++) {
        copies[i].zombie = NULL;
        copies[i].eager = HURDMM_FRAME_NONE;
    }
    for (size_t i = 0; !err && i < count; i++)
        err = check_state(&copies[i]);
    for (size_t i = 0; !err && i < count; i++)
        err = measure(&copies[i]);
    for (size_t i = 0; !err && i < count; i++)
        err = circular(copies, count, &copies[i]) ? EINVAL : 0;
    for (size_t i = 0; !err && i < count; i++)
        err = prepare(&copies[i], &needs);
    if (!err)
        err = reserve(manager, &needs);
    for (size_t i = 0; i < count; i++) {
        if (err)
            undo_prepare(&copies[i]);
        else
            commit(&copies[i]);
    }
    return err;
}

/* The target with the next number that is a store's cache, or NULL. */
static struct hurdmm_store *next_target(const struct copy *copies, size_t count,
                                        const struct hurdmm_store *before)
{
    struct hurdmm_store *next = NULL;

    for (size_t i = 0; i < count; i++) {
        struct hurdmm_store *store = copies[i].target;

        if (!store->container && (!before || store->id > before->id) &&
            (!next || store->id < next->id))
            next = store;
    }
    return next;
}

/* Targets that are stores' caches must be at rest, and nobody may depend on
 * what they have: one hold on each store, over all of its ranges.  They are taken
 * in the order of the stores' numbers, or two callers might wait for each other.
 * *held is the last that is; the lock may be dropped. */
static int hold_targets(const struct copy *copies, size_t count,
                        struct hurdmm_store **held)
{
    struct hurdmm_store *store = NULL;
    int err = 0;

    *held = NULL;
    while (!err && (store = next_target(copies, count, store)) != NULL) {
        uint64_t first = UINT64_MAX, last = 0;

        for (size_t i = 0; i < count; i++) {
            if (copies[i].target != store)
                continue;
            first = hmm_min(first, copies[i].to);
            last = hmm_max(last, copies[i].to + (copies[i].count - 1));
        }
        err = hmm_hold_settled(store, first, last);
        if (!err)
            *held = store;
    }
    return err;
}

/* Gives the holds up to `held' up. */
static void unhold_targets(const struct copy *copies, size_t count,
                           const struct hurdmm_store *held)
{
    struct hurdmm_store *store = NULL;

    while (held && store != held) {
        store = next_target(copies, count, store);
        hmm_unhold(store);
    }
}

/* Taking rights back ahead.
 *
 * From the first right that a copy takes back to its end all writers stop.  So
 * most rights are taken back before, in pieces between which the lock is
 * dropped.  A writer who comes meanwhile gets his right again, as after any soft
 * fault, and only such are left to be taken while writers stop: round by round
 * fewer, since a fault takes a writer longer than taking its right takes us.
 * Nothing hangs on it: what is not taken here is taken later. */

/* A piece ends after so many pages, or runs of pages: each may be a call of the
 * port that waits for other processors. */
#define PIECE_PAGES 1024u
#define PIECE_RUNS 16u
/* Rights that are too few for another round, and how many rounds at most: there
 * may be more writers than can be outrun. */
#define LEFT_FEW 64u
#define ROUNDS_MAX 4

/* Finds the next pages that are lent to write, from *first on. */
static bool find_piece(const struct hurdmm_store *store, uint64_t *first,
                       uint64_t end, uint64_t *last)
{
    struct hmm_index_cursor cursor;
    unsigned pages = 0, runs = 0;
    bool more = hmm_index_seek_marked(&store->cache.index, &cursor, *first, end,
                                      HMM_LENT_WRITE);

    for (; more && pages < PIECE_PAGES; pages++) {
        if (pages == 0)
            *first = cursor.key;
        else if (cursor.key != *last + 1 && ++runs == PIECE_RUNS)
            break;
        *last = cursor.key;
        more = hmm_index_step_marked(&store->cache.index, &cursor, end,
                                     HMM_LENT_WRITE);
    }
    hmm_assert(pages == 0 || (*first <= *last && *last <= end));
    return pages > 0;
}

/* What takes longer to take back than another look at all pages; and how many
 * pages, in how many places, tell what there is. */
#define MUCH_PAGES 16384u
#define MUCH_RUNS 96u
#define SAMPLES 64u
#define SAMPLE_PAGES 32u

/* Is much of the range lent to write, or in many runs?  A guess, by samples: a
 * wrong one costs time and no more. */
static bool much_writable(const struct hurdmm_store *store, uint64_t first,
                          uint64_t last)
{
    uint64_t step = (last - first) / SAMPLES + 1, pages = 0, runs = 0;
    uint64_t width = hmm_min(step, SAMPLE_PAGES);
    struct hmm_index_cursor cursor;
    bool before = false;

    hmm_assert(first <= last && width > 0);
    for (uint64_t from = first; from <= last; from += step) {
        uint64_t end = hmm_min(last, from + (width - 1));
        bool more = hmm_index_seek(&store->cache.index, &cursor, from);

        before = before || step > width; /* no run is seen to begin there */
        for (; more && cursor.key <= end; more = hmm_index_step(&cursor)) {
            bool now = *cursor.value & HMM_LENT_WRITE;

            pages += now;
            runs += now && !before;
            before = now;
        }
    }
    return pages * (step / width) > MUCH_PAGES ||
           runs * (step / width) > MUCH_RUNS;
}

/* Are more than a few pages of the range lent to write? */
static bool many_writable(const struct hurdmm_store *store, uint64_t first,
                          uint64_t last)
{
    struct hmm_index_cursor cursor;
    unsigned found = 0;
    bool more = hmm_index_seek_marked(&store->cache.index, &cursor, first, last,
                                      HMM_LENT_WRITE);

    for (; more && found <= LEFT_FEW; found++)
        more = hmm_index_step_marked(&store->cache.index, &cursor, last,
                                     HMM_LENT_WRITE);
    return found > LEFT_FEW;
}

/* The lock is dropped. */
static void take_ahead(struct hurdmm_store *store, uint64_t first,
                       uint64_t last)
{
    struct hurdmm *manager = store->manager;
    uint64_t page = first, piece = first;
    int err = 0, rounds = 0;

    hmm_assert(hmm_entered(manager) && store->users > 0);
    if (!much_writable(store, first, last))
        return;
    while (!err && rounds < ROUNDS_MAX && many_writable(store, first, last)) {
        for (page = first;
             !err && page <= last && find_piece(store, &page, last, &piece);
             page = piece + 1) {
            err = hmm_take_back_range(&store->cache, page, piece,
                                      HURDMM_READ | HURDMM_EXECUTE,
                                      !store->pinned);
            hmm_give_way(manager);
        }
        rounds++;
    }
}

/* How often a copy makes room for itself before it gives up. */
#define TRIES_MAX 8
/* Taking rights back may need up to as many mappings as this has pages. */
#define ROOM 1024u

static int copy_all(struct hurdmm *manager, struct copy *copies, size_t count)
{
    struct hurdmm_store *held;

    if (hmm_in_callback(manager, hmm_thread_self(manager)))
        return EDEADLK;
    for (size_t i = 0; i < count; i++) {
        copies[i].source->users++;
        copies[i].target->users++;
    }
    int err = hold_targets(copies, count, &held);
    for (size_t i = 0; !err && i < count; i++)
        if (copies[i].count > 0 &&
            !(copies[i].flags & (HURDMM_COPY_SHARED | HURDMM_COPY_MOVE)))
            take_ahead(copies[i].source, copies[i].from,
                       copies[i].from + (copies[i].count - 1));
    for (int tries = 0; !err && tries < TRIES_MAX; tries++) {
        err = copy_now(manager, copies, count);
        if (err != ENOMEM || tries == TRIES_MAX - 1)
            break;
        /* It may be frames that lack, or the port's mappings. */
        bool room = hmm_space_make_room(manager->own, ROOM);
        err = hmm_reclaim(manager, manager->readahead);
        err = err == EAGAIN || room ? 0 : err;
    }
    for (size_t i = 0; !err && i < count; i++)
        if (!copies[i].target->container)
            tell_target(&copies[i]);
    unhold_targets(copies, count, held);
    for (size_t i = 0; i < count; i++) {
        copies[i].source->users--;
        copies[i].target->users--;
    }
    hmm_ready_run(manager);
    hmm_reap(manager);
    return err;
}

/* What is checked of one copy before anything is done. */
static int check_copy(const struct hurdmm *manager,
                      const struct hurdmm_copy_range *range, unsigned flags,
                      struct copy *copy)
{
    unsigned shift = manager->physmem.page_shift;
    uint64_t end;

    *copy = (struct copy){
        .target = hmm_container_of(range->target),
        .source = hmm_container_of(range->source),
    };
    if (!copy->target || !copy->source)
        return EINVAL;
    if ((copy->target->magic != HMM_MAGIC_CONTAINER &&
         copy->target->magic != HMM_MAGIC_STORE) ||
        (copy->source->magic != HMM_MAGIC_CONTAINER &&
         copy->source->magic != HMM_MAGIC_STORE))
        return ESTALE;
    if (copy->target->manager != manager || copy->source->manager != manager ||
        hmm_range_check(manager, range->target_offset, range->length) ||
        hmm_range_check(manager, range->source_offset, range->length))
        return EINVAL;
    copy->to = range->target_offset >> shift;
    copy->from = range->source_offset >> shift;
    copy->count = copy->asked = range->length >> shift;
    copy->flags = flags;
    end = copy->to + copy->count;
    if (copy->target == copy->source && copy->to < copy->from + copy->count &&
        copy->from < end)
        return EINVAL;
    if (!copy->target->container &&
        (!(copy->target->flags & HURDMM_STORE_VOLATILE) ||
         copy->target->block_pages > 1 || flags & HURDMM_COPY_MOVE))
        return ENOTSUP;
    if ((flags & HURDMM_COPY_MOVE && !copy->source->container) ||
        copy->source->block_pages > 1)
        return ENOTSUP;
    return check_state(copy);
}

/* Do two copies have pages of a target in common? */
static bool targets_meet(const struct copy *copies, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (copies[i].target == copies[k].target &&
                copies[i].to < copies[k].to + copies[k].asked &&
                copies[k].to < copies[i].to + copies[i].asked)
                return true;
    return false;
}

int hurdmm_container_copy(struct hurdmm_container *target,
                          uint64_t target_offset,
                          struct hurdmm_container *source,
                          uint64_t source_offset, uint64_t length,
                          unsigned flags, uint64_t *done)
{
    const unsigned all = HURDMM_COPY_SHARED | HURDMM_COPY_MOVE |
                         HURDMM_COPY_SQUASH | HURDMM_ALL_OR_NONE;
    struct hurdmm_copy_range range = {target, target_offset, source,
                                      source_offset, length};
    struct copy copy = {0};

    if (!done)
        return EINVAL;
    *done = 0;
    if (flags & ~all ||
        (flags & HURDMM_COPY_SHARED && flags & HURDMM_COPY_MOVE))
        return EINVAL;
    int err = hmm_enter_container(target);
    if (err)
        return err;
    struct hurdmm *manager = hmm_container_of(target)->manager;
    unsigned shift = manager->physmem.page_shift;
    err = check_copy(manager, &range, flags, &copy);
    if (!err)
        err = copy_all(manager, &copy, 1);
    hmm_leave(manager);
    if (err)
        return err;
    *done = copy.count << shift;
    return copy.error;
}

int hurdmm_container_copy_ranges(const struct hurdmm_copy_range *ranges,
                                 size_t count, unsigned flags)
{
    struct hurdmm_copy_range range[RANGES_MAX];
    struct copy copies[RANGES_MAX];

    if (!ranges || count == 0 || count > RANGES_MAX ||
        flags & ~HURDMM_COPY_SQUASH)
        return EINVAL;
    /* They may lie in managed memory, which nobody may touch with the lock. */
    memcpy(range, ranges, count * sizeof range[0]);
    int err = hmm_enter_container(range[0].target);
    if (err)
        return err;
    struct hurdmm *manager = hmm_container_of(range[0].target)->manager;
    for (size_t i = 0; !err && i < count; i++)
        err = check_copy(manager, &range[i], flags | HURDMM_ALL_OR_NONE,
                         &copies[i]);
    if (!err && targets_meet(copies, count))
        err = EINVAL;
    if (!err)
        err = copy_all(manager, copies, count);
    hmm_leave(manager);
    return err;
}

struct hurdmm_container *hurdmm_store_container(struct hurdmm_store *store)
{
    return store && store->magic == HMM_MAGIC_STORE
               ? (struct hurdmm_container *)(void *)store
               : NULL;
}

/* ---- 2005's memory objects ---- */

/* Pages of the range that a request is filling make room for the bond. */
static int clear_way(struct copy *copy)
{
    struct hmm_container *cache = &copy->target->cache;

    for (uint64_t i = 0; i < copy->count; i++) {
        const uint64_t *slot = hmm_container_slot(cache, copy->to + i);
        if ((slot && !(*slot & HMM_FILLING)) ||
            hmm_bond_at(cache, copy->to + i))
            return EEXIST;
    }
    for (uint64_t i = 0; i < copy->count; i++) {
        if (!hmm_container_slot(cache, copy->to + i))
            continue;
        hmm_container_take(cache, copy->to + i);
        copy->target->manager->filling--;
    }
    return 0;
}

static int tie_memory(struct hurdmm *manager, struct copy *copy)
{
    struct needs needs = {0};
    int err = measure(copy);

    copy->zombie = NULL;
    copy->eager = HURDMM_FRAME_NONE;
    if (!err && circular(copy, 1, copy))
        err = EINVAL;
    if (!err)
        err = prepare(copy, &needs);
    if (!err)
        err = reserve(manager, &needs);
    if (!err)
        err = clear_way(copy);
    if (err) {
        undo_prepare(copy);
        return err;
    }
    commit(copy);
    hmm_page_wake(copy->target, copy->to, copy->count, 0);
    hmm_ready_run(manager);
    return 0;
}

/* Waits for a hold that others have on the range: nothing comes there meanwhile
 * but what ends a fill, which the hold may wait for itself (M7).  EAGAIN: the lock
 * was dropped; EDEADLK. */
static int wait_held(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    struct hmm_want want = {.store = store,
                            .thread = hmm_thread_self(store->manager),
                            .joined = true};

    if (!hmm_range_held(store, first, last))
        return 0;
    first = hmm_max(first, store->hold_first);
    last = hmm_min(last, store->hold_last);
    for (; first <= last; first++) {
        const uint64_t *slot = hmm_container_slot(&store->cache, first);

        if (!slot || !(*slot & HMM_FILLING))
            return hmm_page_wait(&want, first);
    }
    return 0;
}

/* Checks what memory_call is given, and waits until it may be done.  EAGAIN: look
 * again. */
static int check_memory(struct hurdmm_store *store, uint64_t offset,
                        struct hurdmm_store *source, uint64_t from,
                        uint64_t length, bool shared)
{
    const struct hurdmm *manager = store->manager;
    unsigned shift = manager->physmem.page_shift;
    uint64_t last;

    if (!source || hmm_range_check(manager, offset, length) ||
        hmm_range_check(manager, from, length))
        return EINVAL;
    last = (offset + (length - 1)) >> shift;
    if (source->magic != HMM_MAGIC_CONTAINER)
        return ESTALE;
    if (source->manager != manager || store->block_pages > 1 ||
        last >= hmm_store_pages(store))
        return EINVAL;
    if (shared &&
        !(store->flags & (HURDMM_STORE_READ_ONLY | HURDMM_STORE_VOLATILE)))
        return ENOTSUP;
    store->users++;
    source->users++;
    int err = wait_held(store, offset >> shift, last);
    source->users--;
    store->users--;
    return err;
}

static int memory_call(struct hurdmm_store *store, uint64_t offset,
                       struct hurdmm_container *container,
                       uint64_t container_offset, uint64_t length, bool shared,
                       uint64_t *done)
{
    struct copy copy = {
        .flags = shared ? HURDMM_COPY_SHARED : 0,
        .filling = true,
    };

    if (!done)
        return EINVAL;
    *done = 0;
    int err = hmm_enter_store(store);
    if (err)
        return err;
    struct hurdmm *manager = store->manager;
    unsigned shift = manager->physmem.page_shift;
    struct hurdmm_store *source = hmm_container_of(container);
    do
        err = check_memory(store, offset, source, container_offset, length,
                           shared);
    while (err == EAGAIN);
    if (!err) {
        copy.target = store;
        copy.source = source;
        copy.to = offset >> shift;
        copy.from = container_offset >> shift;
        copy.count = copy.asked = length >> shift;
        err = tie_memory(manager, &copy);
    }
    hmm_leave(manager);
    if (err)
        return err;
    *done = copy.count << shift;
    return copy.error;
}

int hurdmm_memory_use(struct hurdmm_store *store, uint64_t offset,
                      struct hurdmm_container *container,
                      uint64_t container_offset, uint64_t length,
                      uint64_t *done)
{
    return memory_call(store, offset, container, container_offset, length, true,
                       done);
}

int hurdmm_memory_transfer(struct hurdmm_store *store, uint64_t offset,
                           struct hurdmm_container *container,
                           uint64_t container_offset, uint64_t length, int move,
                           uint64_t *done)
{
    size_t amount = 0;
    int err;

    if (!move)
        return memory_call(store, offset, container, container_offset, length,
                           false, done);
    if (!done || length > SIZE_MAX)
        return EINVAL;
    err = hurdmm_store_cache(store, offset, container, container_offset,
                             (size_t)length, &amount);
    *done = amount;
    return err;
}
