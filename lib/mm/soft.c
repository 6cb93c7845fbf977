/* SPDX-License-Identifier: MIT */
/* soft.c - faults that need nothing but a mapping, answered at once.
 *
 * For ports whose faults come to one thread that must not wait: it asks here
 * first, and saves the way to a pager thread and back.  Nothing here drops the
 * lock, allocates, evicts or calls a store; what would need that is left as it
 * is, for a pager.  All that is decided here, hmm_obtain would decide alike: each
 * step of a write that fault.c lists (F4) is one that is over here already, or the
 * answer is EAGAIN.  Only where frames stay: elsewhere lending copies, and writes
 * are foreseen.
 */
#include "lib/mm/mm.h"

/* May the page be written now, and nobody need be asked or told? */
static bool may_write(const struct hurdmm_store *store, uint64_t slot)
{
    const struct hurdmm *manager = store->manager;

    hmm_assert(hmm_resident(&slot));
    if (hmm_must_note(store, slot))
        return false;
    /* Dirty and being written: it has a frame of its own (M3). */
    if (slot & (HMM_DIRTY | HMM_WRITING))
        return slot & HMM_DIRTY;
    return store->container || manager->to_write < manager->dirty_limit;
}

/* Is the page there, and would the access find it as it should be? */
static bool ready(const struct hmm_want *want, uint64_t slot)
{
    const struct hurdmm_store *store = want->store;
    const uint64_t busy = HMM_MARKER | HMM_FILLING | HMM_GONE | HMM_UNLOCKING;

    hmm_assert(hmm_entered(store->manager));
    if (slot & busy)
        return false;
    /* The last block may be longer than the store. */
    if (store->block_pages > 1 && want->page >= hmm_store_pages(store))
        return false;
    if (!(want->access & HURDMM_WRITE))
        return true;
    if (store->flags & HURDMM_STORE_READ_ONLY ||
        store->cache.dependents.count > 0 || hmm_page_held(store, want->page))
        return false;
    return may_write(store, slot);
}

/* Lends the page, and, but for a random reader, neighbours that cost nothing. */
static int lend(struct hmm_want *want, uint64_t *slot)
{
    const struct hmm_region *region = want->region;
    uintptr_t mask = hmm_page_bytes(want->store->manager) - 1;
    unsigned rights = region->rights;

    hmm_assert(hmm_resident(slot) && region->store == want->store);
    if (region->advice != HURDMM_ADVICE_RANDOM)
        return hmm_lend_around(want, slot);
    if (!(want->access & HURDMM_WRITE) && !hmm_write_too(want, *slot))
        rights &= ~(unsigned)HURDMM_WRITE;
    return hmm_lend_page(&region->mapping, want->address & ~mask, slot, rights);
}

/* Lends the page if nothing else is to be done; EAGAIN: something is, and
 * nothing was changed but that the page may be dirty, as it will be. */
static int answer(struct hurdmm *manager, const struct hurdmm_fault *fault)
{
    struct hurdmm_space *space = hmm_space_by_token(manager, fault->space);
    struct hmm_region *region =
        space ? hmm_region_at(space, fault->address) : NULL;

    if (!region || !region->store || fault->access & ~(unsigned)region->rights)
        return EAGAIN;
    struct hmm_want want = {
        .store = region->store,
        .region = region,
        .page = hmm_region_page(region, fault->address),
        .access = fault->access,
        .address = fault->address,
    };
    want.view = want.page;
    if (want.store->cache.bonds.count > 0)
        return EAGAIN;
    uint64_t *slot = hmm_container_slot(&want.store->cache, want.page);
    if (!slot || !ready(&want, *slot))
        return EAGAIN;
    /* Who goes on to what was read ahead needs more to be. */
    if (want.store->ops.fill_start && *slot & HMM_AHEAD && hmm_reads_on(&want))
        return EAGAIN;
    if (fault->access & HURDMM_WRITE)
        hmm_page_dirty(want.store, slot);
    hmm_page_used(&want, slot);
    if (lend(&want, slot))
        return EAGAIN;
    hmm_assert(*slot & HMM_LENT);
    hmm_assert(!(*slot & HMM_LENT_WRITE) || *slot & HMM_DIRTY ||
               want.store->container); /* M2 */
    hmm_note_recent(manager, slot);
    manager->stats.faults++;
    manager->stats.faults_soft++;
    return 0;
}

int hmm_fault_soft(void *client, const struct hurdmm_fault *fault)
{
    struct hurdmm_port *port = client;
    struct hurdmm *manager = port->manager;

    if (!manager || !hmm_frames_stay(manager) || !hmm_enter_try(manager))
        return EAGAIN;
    int err = answer(manager, fault);
    hmm_leave(manager);
    return err;
}
