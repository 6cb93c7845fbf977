/* SPDX-License-Identifier: MIT */
/* check.c - the invariants of mm.h, as code. */
#include "lib/mm/mm.h"

/* Sums over the slots of a store. */
struct sums {
    uint64_t dirty, writing, filling, pinned, trial, ranked, to_write;
};

static const char *check_slot(const struct hurdmm *manager,
                              const struct hurdmm_store *store, uint64_t page,
                              uint64_t slot)
{
    bool resident = hmm_resident(&slot);
    bool pinned = hmm_page_pinned(manager, slot);

    if (slot & HMM_FILLING && slot & (HMM_LENT | HMM_DIRTY | HMM_RANKED))
        return "M1: a filling page is lent, dirty or ranked";
    if (slot & HMM_LENT_WRITE && !(slot & HMM_DIRTY) && !store->container)
        return "M2: a clean page is lent to write";
    if (slot & HMM_WRITING && slot & HMM_LENT_WRITE && !(slot & HMM_DIRTY))
        return "M3: a page being written is lent to write";
    if (((slot & HMM_RANKED) != 0) !=
        (resident && !pinned && !store->container))
        return "M4: a page is ranked and should not be, or the reverse";
    if (!resident && !(slot & (HMM_FILLING | HMM_MARKER)))
        return "a slot says nothing";
    if (slot & HMM_LENT_WRITE &&
        hmm_unsettled(&store->cache, page, &(struct hmm_place){0}) &&
        !manager->physmem.table[HMM_SLOT_FRAME(slot)].pins_write)
        return "B3: a page that others depend on is lent to write";
    if (slot & HMM_LENT_WRITE && store->tracked && !(slot & HMM_WRITTEN))
        return "M8: a write would not be noted";
    if (slot & HMM_FAILED && !(slot >> HMM_ERROR_SHIFT))
        return "a failed page has no error";
    if (page >= hmm_store_pages(store) + store->block_pages)
        return "a page lies past the store's end";
    return NULL;
}

static const char *check_blocks(const struct hurdmm_store *store, uint64_t page,
                                bool resident)
{
    uint64_t block = store->block_pages, first = page / block * block;

    for (uint64_t i = first; block > 1 && i < first + block; i++) {
        if (hmm_resident(hmm_container_slot(&store->cache, i)) != resident)
            return "M6: a block is there in part";
    }
    return NULL;
}

static const char *check_store(struct hurdmm *manager,
                               struct hurdmm_store *store, struct sums *all)
{
    struct hmm_index_cursor cursor;
    struct sums sums = {0};
    bool more = hmm_index_seek(&store->cache.index, &cursor, 0);

    for (; more; more = hmm_index_step(&cursor)) {
        uint64_t slot = *cursor.value;
        const char *what = check_slot(manager, store, cursor.key, slot);
        if (!what && !(slot & HMM_FILLING))
            what = check_blocks(store, cursor.key, hmm_resident(&slot));
        if (what)
            return what;
        sums.dirty += (slot & HMM_DIRTY) != 0;
        sums.writing += (slot & HMM_WRITING) != 0;
        sums.filling += (slot & HMM_FILLING) != 0;
        sums.pinned += hmm_page_pinned(manager, slot);
        sums.trial += (slot & HMM_ON_TRIAL) != 0;
        sums.to_write += slot & HMM_DIRTY && !(slot & HMM_WRITE_ERROR) &&
                         hmm_may_launder(store);
        sums.ranked += (slot & HMM_RANKED) != 0;
    }
    if (sums.dirty != store->dirty || sums.writing != store->writing ||
        sums.pinned != store->pinned)
        return "M5: a store's counts are wrong";
    all->dirty += sums.dirty;
    all->writing += sums.writing;
    all->filling += sums.filling;
    all->pinned += sums.pinned;
    all->trial += sums.trial;
    all->to_write += sums.to_write;
    all->ranked += sums.ranked;
    if (!hmm_index_check_marks(&store->cache.index, HMM_LENT | HMM_WRITTEN))
        return "a store's index would not find what is lent or written";
    return hmm_container_check(&store->cache) ? NULL
                                              : "P1: a store's container";
}

static const char *check_sums(const struct hurdmm *manager,
                              const struct sums *sums)
{
    if (sums->dirty != manager->dirty || sums->writing != manager->writing ||
        sums->filling != manager->filling || sums->pinned != manager->pinned ||
        sums->trial != manager->trial || sums->ranked != manager->ranked ||
        sums->to_write != manager->to_write)
        return "M5: the manager's counts are wrong";
    return NULL;
}

/* Every frame in use is paid for, but for those that somebody has in hand. */
static const char *check_accounts(const struct hurdmm *manager)
{
    const struct hmm_physmem *physmem = &manager->physmem;
    const struct hmm_list *link;
    uint64_t paid = 0, guaranteed = 0, in_hand = 0;

    HMM_LIST_FOR_EACH(link, &manager->accounts)
    {
        const struct hurdmm_account *account =
            HMM_CONTAINER_OF(link, struct hurdmm_account, link);
        paid += account->payer.used;
        guaranteed += account->guaranteed;
    }
    for (uint32_t i = 0; i < physmem->frames; i++)
        in_hand += physmem->table[i].refs > 0 && !physmem->table[i].container;
    if (paid + in_hand != physmem->used)
        return "accounts do not pay for the frames in use";
    return guaranteed + manager->reserve == manager->budget
               ? NULL
               : "A1: guarantees do not sum up";
}

static const char *check_space(const struct hurdmm_space *space)
{
    struct hmm_span *span = hmm_span_lowest(&space->regions);
    uint64_t last = 0;

    for (bool first = true; span; span = hmm_span_next(span), first = false) {
        const struct hmm_region *region =
            HMM_CONTAINER_OF(span, struct hmm_region, by_address);

        if (!first && span->first <= last)
            return "regions overlap";
        last = span->last;
        if (hmm_region_at(region->space, (uintptr_t)last) != region)
            return "a region is not found by its address";
        if (region->rights & ~(unsigned)region->max_rights && region->store)
            return "a region has more rights than it may";
        if (!region->store)
            continue;
        if (region->mapping.container != &region->store->cache ||
            region->mapping.address != span->first ||
            region->mapping.by_offset.last - region->mapping.by_offset.first !=
                span->last - span->first)
            return "a region's mapping is not the region's";
    }
    if (space->starts.count != (space->starts_known ? space->regions.count : 0))
        return "regions that have gone are found";
    return hmm_span_check(&space->regions) && hmm_span_check(&space->arenas) &&
                   hmm_index_check(&space->starts)
               ? NULL
               : "a space's trees";
}

static const char *check_slabs(const struct hurdmm *manager)
{
    const struct hmm_slab *slabs[] = {
        &manager->space_slab,    &manager->store_slab,
        &manager->region_slab,   &manager->physmem.bonds,
        &manager->request_slab,  &manager->waiter_slab,
        &manager->catcher_slab,  &manager->arena_slab,
        &manager->physmem.nodes, &manager->grade_slab,
    };

    for (size_t i = 0; i < sizeof slabs / sizeof slabs[0]; i++) {
        if (!hmm_slab_check(slabs[i]))
            return "a slab";
    }
    return NULL;
}

static const char *check_list(struct hurdmm *manager, struct hmm_list *list,
                              struct sums *sums)
{
    const char *what = NULL;
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, list)
    what = what ? what
                : check_store(manager,
                              HMM_CONTAINER_OF(link, struct hurdmm_store, link),
                              sums);
    return what;
}

const char *hmm_check(struct hurdmm *manager)
{
    struct sums sums = {0};
    const char *what = check_slabs(manager);
    struct hmm_list *link;

    hmm_assert(hmm_entered(manager));
    what = what ? what : check_list(manager, &manager->stores, &sums);
    what = what ? what : check_list(manager, &manager->containers, &sums);
    what = what ? what : check_list(manager, &manager->zombies, &sums);
    HMM_LIST_FOR_EACH(link, &manager->spaces)
    what = what
               ? what
               : check_space(HMM_CONTAINER_OF(link, struct hurdmm_space, link));
    if (!what)
        what = check_sums(manager, &sums);
    if (!what && !hmm_shelves_check(manager))
        what = "the shelves of discardable pages";
    if (!what)
        what = check_accounts(manager);
    if (!what && !hmm_physmem_check(&manager->physmem))
        what = "P1: the frame table";
    if (!what && manager->policy->check(manager->policy_state, manager->ranked))
        what = "the policy's state";
    return what;
}

int hurdmm_check(struct hurdmm *manager, const char **what)
{
    int err = hmm_enter_manager(manager);

    if (err)
        return err;
    const char *broken = hmm_check(manager);
    hmm_leave(manager);
    if (what)
        *what = broken;
    return broken ? EIO : 0;
}
