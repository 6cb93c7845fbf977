/* SPDX-License-Identifier: MIT */
/* zombie.c - what has no handle any more and is kept for who reads it.
 *
 * What a container gives up while others depend on it (release, squash, destroy)
 * goes over to a *zombie*, a container that nobody has a handle of; what a
 * destroyed store still owes is kept with the store, as a zombie too.
 *
 *   handle      hmm_bury, hmm_zombify        nobody depends, nothing runs
 *     ------------------------------> zombie -----------------------------> end
 *                                     |    ^
 *                                     +----+ trim: frees what no bond leads to
 *
 * Invariants
 *   Z1  a zombie is in no mapping and pays as its container did;
 *   Z2  a container's zombie has no page for long that nobody reads: whoever
 *       stops reading says so (unread), and the next hmm_reap trims it;
 *   Z3  a zombie does not end while callbacks, fills, writes or holds need it.
 *
 * Ending never fails, since nobody could be told.  Trimming may, for want of
 * memory; then it is done another time.
 */
#include "lib/mm/mm.h"

/* Drops all bonds of a store that is not shown and on which nobody depends: none
 * of them is to be split, so that it cannot fail. */
static void unbond_all(struct hurdmm_store *store)
{
    struct hmm_bond *bond;

    hmm_assert(store->cache.mappings.count == 0);
    hmm_assert(store->cache.dependents.count == 0);
    while ((bond = hmm_bond_in(&store->cache, 0, UINT64_MAX)) != NULL)
        hmm_bond_drop(bond);
    store->manager->reap_due = true;
}

void hmm_zombify(struct hurdmm_store *store)
{
    hmm_assert(hmm_entered(store->manager));
    hmm_assert(!store->zombie && store->cache.mappings.count == 0);
    hmm_list_remove(&store->link);
    hmm_list_append(&store->manager->zombies, &store->link);
    store->magic = 0; /* handles of it are stale */
    store->zombie = true;
    store->cache.unread = true;
    store->manager->reap_due = true;
}

/* Cuts pages that have a slot out of bonds, as far as there is memory for it:
 * of a zombie such slots stay, or there is nobody who would miss them. */
static void unshadow(struct hurdmm_store *zombie)
{
    struct hmm_container *cache = &zombie->cache;
    uint64_t page = 0, found;
    struct hmm_bond *bond;

    while ((bond = hmm_bond_in(cache, page, UINT64_MAX)) != NULL) {
        page = hmm_max(page, bond->by_target.first);
        if (!hmm_index_next(&cache->index, page, &found))
            return;
        if (found > bond->by_target.last) {
            page = found;
            continue;
        }
        if (hmm_slab_reserve(&cache->physmem->bonds, 2)) {
            cache->unread = true; /* to be done another time */
            return;
        }
        hmm_bonds_cut(cache, found);
        hmm_bonds_cut(cache, found + 1);
        hmm_bond_drop(hmm_bond_at(cache, found));
        zombie->manager->reap_due = true;
        page = found + 1;
    }
}

void hmm_drop_slots(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    struct hurdmm *manager = store->manager;
    struct hmm_index_pair slots[HMM_INDEX_TAKE_MAX];
    unsigned n;

    while ((n = hmm_container_take_some(&store->cache, first, last, slots)) >
           0) {
        for (unsigned i = 0; i < n; i++) {
            hmm_assert(!(slots[i].value & (HMM_FILLING | HMM_WRITING)));
            hmm_page_unrank(store, slots[i].key, &slots[i].value, false);
            hmm_page_clean(store, &slots[i].value);
        }
        hmm_frames_drop_slots(&manager->physmem, slots, n);
        first = slots[n - 1].key;
    }
    hmm_event_signal(&manager->progress, &manager->parker);
}

/* The same where rights may be noted in slots that nobody shows any more. */
static void drop_unread(struct hurdmm_store *zombie, uint64_t first,
                        uint64_t last)
{
    hmm_index_clear_bits(&zombie->cache.index, first, last, HMM_LENT);
    hmm_drop_slots(zombie, first, last);
}

/* Frees the pages of a zombie that no bond leads to. */
static void drop_gaps(struct hurdmm_store *zombie)
{
    struct hmm_container *cache = &zombie->cache;
    const struct hmm_bond *bond;
    uint64_t page = 0, last = hmm_last_page(zombie);

    hmm_assert(cache->mappings.count == 0);
    while (page <= last) {
        bond = hmm_dependent_in(cache, page, last);
        if (!bond)
            drop_unread(zombie, page, last);
        else if (bond->by_source.first > page)
            drop_unread(zombie, page, bond->by_source.first - 1);
        page = bond ? bond->by_source.last + 1 : last + 1;
    }
}

/* Frees the pages of a zombie that all who had a bond to them have a page of
 * their own for. */
static void drop_shadowed(struct hurdmm_store *zombie)
{
    struct hmm_container *cache = &zombie->cache;
    const struct hmm_bond *bond =
        hmm_dependent_in(cache, 0, hmm_last_page(zombie));
    uint64_t page, *slot;

    for (; bond; bond = hmm_dependent_next(bond, 0, hmm_last_page(zombie))) {
        page = bond->by_target.first;
        for (; hmm_index_next(&bond->target->index, page, &page) &&
               page <= bond->by_target.last;
             page++) {
            uint64_t here = hmm_bond_source_page(bond, page);
            slot = hmm_container_slot(cache, here);
            if (!slot || hmm_depended_on(cache, here))
                continue;
            if (!hmm_take_back(cache, here, slot, HURDMM_NONE))
                hmm_page_drop(zombie, here, slot, false);
            else
                cache->unread = true; /* to be done another time */
        }
    }
}

/* Drops what nobody reads any more of a container that nobody has: its bonds
 * too, or zombies would keep each other for ever. */
static void trim(struct hurdmm_store *zombie)
{
    struct hmm_bond *bond, *next;

    zombie->cache.unread = false;
    unshadow(zombie);
    bond = hmm_bond_in(&zombie->cache, 0, UINT64_MAX);
    for (; bond; bond = next) {
        next = hmm_bond_next(bond, 0, UINT64_MAX);
        if (hmm_bond_trim(bond))
            zombie->manager->reap_due = true;
    }
    if (!zombie->container)
        return;
    drop_gaps(zombie);
    drop_shadowed(zombie);
}

/* A zombie that has no page of its own in the way, and reads one bond there,
 * need not stand between: its dependents read that bond's source. */
static void step_aside(struct hurdmm_store *zombie)
{
    struct hmm_container *cache = &zombie->cache;
    struct hmm_bond *bond, *next;
    uint64_t last = hmm_last_page(zombie);

    if (cache->index.count > 0 || !zombie->container)
        return;
    bond = hmm_dependent_in(cache, 0, last);
    for (; bond; bond = next) {
        const struct hmm_bond *up = hmm_bond_at(cache, bond->by_source.first);

        next = hmm_dependent_next(bond, 0, last);
        if (!up || up->by_target.last < bond->by_source.last)
            continue;
        bond->shared = bond->shared && up->shared;
        hmm_bond_redirect(bond, up->source,
                          hmm_bond_source_page(up, bond->by_source.first));
    }
}

static bool may_end(const struct hurdmm_store *zombie)
{
    return zombie->cache.dependents.count == 0 && !zombie->users &&
           !zombie->requests && !zombie->writing && !zombie->held;
}

/* Ends one zombie, if there is one to end; the lock may have been dropped. */
static bool reap_one(struct hurdmm *manager)
{
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, &manager->zombies)
    {
        struct hurdmm_store *zombie =
            HMM_CONTAINER_OF(link, struct hurdmm_store, link);

        if (zombie->cache.unread) {
            trim(zombie);
            step_aside(zombie);
        }
        if (!may_end(zombie))
            continue;
        unbond_all(zombie);
        hmm_store_end(zombie);
        return true;
    }
    return false;
}

void hmm_reap(struct hurdmm *manager)
{
    struct hmm_list *link;

    hmm_assert(hmm_entered(manager));
    while (manager->reap_due) {
        manager->reap_due = false;
        while (reap_one(manager))
            continue;
    }
    /* Who could end but is busy is looked at the next time. */
    HMM_LIST_FOR_EACH(link, &manager->zombies)
    {
        if (HMM_CONTAINER_OF(link, struct hurdmm_store, link)
                ->cache.dependents.count == 0)
            manager->reap_due = true;
    }
}

void hmm_bury(struct hurdmm_store *store)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    if (store->cache.dependents.count == 0 && may_end(store)) {
        unbond_all(store);
        hmm_store_end(store);
    } else {
        hmm_zombify(store);
    }
    hmm_reap(manager);
}
