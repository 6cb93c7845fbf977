/* SPDX-License-Identifier: MIT */
/* stats.c - what a manager has done and holds, as numbers and as text. */
#include "lib/mm/mm.h"

unsigned hmm_page_state(const struct hurdmm *manager, uint64_t slot)
{
    unsigned state = 0;

    if (hmm_resident(&slot))
        state |= HURDMM_STATE_RESIDENT;
    if (slot & HMM_DIRTY)
        state |= HURDMM_STATE_DIRTY;
    if (slot & HMM_FILLING)
        state |= HURDMM_STATE_FILLING;
    if (slot & HMM_WRITING)
        state |= HURDMM_STATE_WRITING;
    if (slot & HMM_FAILED)
        state |= HURDMM_STATE_FAILED;
    if (slot & HMM_WRITE_ERROR)
        state |= HURDMM_STATE_WRITE_ERROR;
    if (hmm_page_pinned(manager, slot))
        state |= HURDMM_STATE_PINNED;
    return state;
}

/* Counted when asked for: the lists are short, and their lengths nobody's state. */
static uint64_t list_length(const struct hmm_list *list)
{
    const struct hmm_list *link;
    uint64_t n = 0;

    HMM_LIST_FOR_EACH(link, list)
    n++;
    return n;
}

/* The counters, and what can be seen now. */
static void collect(struct hurdmm *manager, struct hurdmm_stats *stats)
{
    hmm_assert(hmm_entered(manager));
    const struct hmm_physmem *physmem = &manager->physmem;
    const struct hmm_list *link;

    *stats = manager->stats;
    stats->frames_budget = manager->budget;
    stats->frames_free = hmm_frames_free(manager);
    stats->frames_used = physmem->used;
    stats->frames_peak = physmem->peak;
    stats->frames_dirty = manager->dirty;
    stats->frames_writing = manager->writing;
    stats->frames_pinned = manager->pinned;
    stats->frames_trial = manager->trial;
    stats->core_bytes = manager->core.bytes_used;
    stats->stores = list_length(&manager->stores);
    stats->spaces = list_length(&manager->spaces);
    stats->containers = list_length(&manager->containers);
    HMM_LIST_FOR_EACH(link, &manager->spaces)
    stats->regions +=
        HMM_CONTAINER_OF(link, struct hurdmm_space, link)->regions.count;
    stats->lends = physmem->lends;
    stats->lend_pages = physmem->lend_pages;
    stats->reclaims = physmem->reclaims;
    stats->reclaim_pages = physmem->reclaim_pages;
}

int hurdmm_get_stats(struct hurdmm *manager, struct hurdmm_stats *stats)
{
    struct hurdmm_stats all;

    if (!stats || stats->struct_size < sizeof stats->struct_size)
        return EINVAL;
    size_t size = (size_t)hmm_min(stats->struct_size, sizeof all);
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    collect(manager, &all);
    hmm_leave(manager);
    all.struct_size = stats->struct_size;
    memcpy(stats, &all, size);
    return 0;
}
