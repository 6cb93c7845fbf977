/* SPDX-License-Identifier: MIT */
/* chore.c - work that nobody waits for: write-back and prefetch by range.
 *
 * A short ring, under the manager's lock.  A chore for a range next to or over one
 * that is queued becomes a part of it: so callers that go through a store in small
 * steps do not fill it.  Who finds it full does the work himself.
 *
 * A queued chore does not keep its store: a store that ends takes its name off
 * (hmm_chore_forget), and the chore is passed over.  While one is done the store
 * stays (users).
 */
#include "lib/mm/mm.h"

/* The i-th of those that wait, the oldest first. */
static struct hmm_chore *chore_at(struct hurdmm *manager, unsigned i)
{
    hmm_assert(i < HMM_CHORES_MAX);
    return &manager->chore[(manager->chore_head + i) % HMM_CHORES_MAX];
}

/* Is there nothing between the two ranges?  Page numbers are far from 2^64. */
static bool touches(const struct hmm_chore *chore, uint64_t first,
                    uint64_t last)
{
    hmm_assert(first <= last && chore->first <= chore->last);
    return first <= chore->last + 1 && chore->first <= last + 1;
}

bool hmm_chore_add(struct hurdmm *manager, enum hmm_chore_kind kind,
                   struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    hmm_assert(hmm_entered(manager) && first <= last);
    hmm_assert(last <= hmm_last_page(store));
    for (unsigned i = 0; i < manager->chore_count; i++) {
        struct hmm_chore *chore = chore_at(manager, i);

        if (chore->kind != kind || chore->store != store ||
            !touches(chore, first, last))
            continue;
        chore->first = hmm_min(chore->first, first);
        chore->last = hmm_max(chore->last, last);
        return true;
    }
    if (manager->chore_count == HMM_CHORES_MAX)
        return false;
    *chore_at(manager, manager->chore_count++) = (struct hmm_chore){
        .kind = kind,
        .store = store,
        .first = first,
        .last = last,
    };
    hmm_kick(manager);
    return true;
}

void hmm_chore_forget(struct hurdmm_store *store)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    for (unsigned i = 0; i < manager->chore_count; i++) {
        if (chore_at(manager, i)->store == store)
            chore_at(manager, i)->store = NULL;
    }
}

/* Errors stay with the store, for the next sync to report. */
bool hmm_chore_run(struct hurdmm *manager)
{
    hmm_assert(hmm_entered(manager));
    if (manager->chore_count == 0)
        return false;
    struct hmm_chore chore = *chore_at(manager, 0);
    unsigned shift = manager->physmem.page_shift;
    manager->chore_head = (manager->chore_head + 1) % HMM_CHORES_MAX;
    manager->chore_count--;
    hmm_assert(manager->chore_count < HMM_CHORES_MAX);
    if (!chore.store || chore.store->dying)
        return true;
    if (chore.kind == HMM_CHORE_PREFETCH) {
        hmm_prefetch(chore.store, chore.first, chore.last);
        return true;
    }
    chore.store->users++; /* it stays, although the lock is dropped */
    hmm_flush(chore.store, chore.first, chore.last);
    if (chore.kind == HMM_CHORE_RETURN)
        hmm_drop_range(chore.store, chore.first, chore.last, false);
    if (chore.kind == HMM_CHORE_SYNC) {
        int err = hmm_store_settle(chore.store, chore.first << shift,
                                   (chore.last - chore.first + 1) << shift);
        if (err && !chore.store->write_error)
            chore.store->write_error = err;
    }
    hmm_assert(chore.store->users > 0);
    chore.store->users--;
    return true;
}
