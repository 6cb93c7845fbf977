/* SPDX-License-Identifier: MIT */
/* claim.c - stores that others stand on.
 *
 * K1. A writable store that is claimed has an empty cache, no regions and no
 *     bonds, and every entry refuses it: so only its claimants call it.
 * K2. `claims' changes under the manager's lock.  The operations are called
 *     without it: a claimant knows that its claim stands, and the store cannot
 *     end before that is given back.
 */
#include "lib/mm/mm.h"

/* Refuses those whom a claim keeps out. */
int hmm_claim_check(const struct hurdmm_store *store)
{
    return store->claims > 0 && !(store->flags & HURDMM_STORE_READ_ONLY) ? EBUSY
                                                                         : 0;
}

/* As hmm_enter_store, but a claim keeps nobody out. */
static int enter(struct hurdmm_store *store)
{
    if (!store)
        return EINVAL;
    if (store->magic != HMM_MAGIC_STORE)
        return ESTALE;
    int err = hmm_enter(store->manager);
    if (!err && (store->magic != HMM_MAGIC_STORE || store->dying)) {
        hmm_leave(store->manager);
        err = ESTALE;
    }
    return err;
}

/* Whether the store can do what is asked of it, and nobody else has it. */
static int check(const struct hurdmm_store *store, unsigned access)
{
    bool write = access & HURDMM_WRITE;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(!store->claimed_to_write || store->claims == 1);
    if (hmm_in_callback(store->manager, hmm_thread_self(store->manager)))
        return EDEADLK;
    if (write && store->flags & HURDMM_STORE_READ_ONLY)
        return EROFS;
    if (store->ops.fault || !store->ops.page_in ||
        (write && !store->ops.page_out))
        return ENOTSUP;
    if (store->claimed_to_write || (store->claims > 0 && write))
        return EBUSY;
    return 0;
}

/* Whether it is used so that waiting for the end would be in vain: by somebody who
 * need not ever stop. */
static bool occupied(const struct hurdmm_store *store)
{
    const struct hmm_container *cache = &store->cache;

    hmm_assert(hmm_entered(store->manager));
    return cache->mappings.count > 0 || store->pinned ||
           cache->bonds.count > 0 || cache->dependents.count > 0;
}

/* Writes what is dirty and drops everything (K1).  The claim is noted already: nobody
 * makes more work meanwhile.  Whoever claims the store while that is done for
 * another sees to it too, and so waits for the end.  Drops the lock.  On an error
 * what has been dropped is gone from memory, and nothing is lost. */
static int empty(struct hurdmm_store *store)
{
    int err = occupied(store) ? EBUSY : 0;

    hmm_assert(store->claims > 0);
    if (!err) {
        hmm_store_wait_idle(store);
        err = occupied(store) ? EBUSY : hmm_store_in_use(store);
    }
    while (!err && store->dirty > 0 && store->ops.page_out)
        err = hmm_flush(store, 0, hmm_last_page(store));
    if (!err)
        err = store->write_error;
    if (!err)
        err = hmm_hold(store, 0, hmm_last_page(store));
    if (err)
        return err;
    err = hmm_drop_range(store, 0, hmm_last_page(store),
                         store->flags & HURDMM_STORE_DISCARDABLE);
    hmm_unhold(store);
    if (!err && store->cache.index.count > 0)
        err = EBUSY; /* dirty pages that cannot leave */
    hmm_chore_forget(store);
    return err;
}

int hurdmm_store_claim(struct hurdmm_store *store, unsigned access)
{
    if (!(access & HURDMM_READ) || access & ~(HURDMM_READ | HURDMM_WRITE))
        return EINVAL;
    int err = enter(store);
    if (err)
        return err;
    struct hurdmm *manager = store->manager;
    err = check(store, access);
    if (!err) {
        store->claims++;
        store->claimed_to_write = access & HURDMM_WRITE;
        if (!(store->flags & HURDMM_STORE_READ_ONLY))
            err = empty(store);
        if (err) {
            store->claims--;
            store->claimed_to_write = false;
        }
    }
    hmm_leave(manager);
    return err;
}

int hurdmm_store_unclaim(struct hurdmm_store *store)
{
    int err = enter(store);

    if (err)
        return err;
    if (store->claims == 0) {
        err = EINVAL;
    } else {
        hmm_assert(!store->claimed_to_write || store->claims == 1);
        store->claims--;
        store->claimed_to_write = false;
        store->manager->reap_due = true;
    }
    hmm_leave(store->manager);
    return err;
}

/* A range that the operations may be given.  Without the lock (K2): whoever has no
 * claim is told so only as far as that can be seen. */
static int check_range(const struct hurdmm_store *store, uint64_t offset,
                       uint64_t length)
{
    uint64_t mask = hurdmm_store_block_size(store) - 1;

    if (store->magic != HMM_MAGIC_STORE || store->claims == 0)
        return ESTALE;
    if (offset & mask || length == 0 || offset >= store->size ||
        length > store->size - offset)
        return EINVAL;
    return length & mask && offset + length != store->size ? EINVAL : 0;
}

/* What a transfer came to, as fill.c and laundry.c understand it: more than was
 * asked for is all of it. */
static int outcome(int error, size_t length, size_t *done)
{
    *done = (size_t)hmm_min(*done, length);
    if (error && *done == length)
        *done = 0; /* it did not say how much */
    if (*done == length)
        return 0;
    return error ? error : EIO;
}

int hurdmm_claimed_page_in(struct hurdmm_store *store, uint64_t offset,
                           void *buffer, size_t length, size_t *done)
{
    *done = 0;
    int err = check_range(store, offset, length);
    if (err)
        return err;
    *done = length;
    err = store->ops.page_in(store, store->hook, offset, buffer, length, done);
    return outcome(err, length, done);
}

int hurdmm_claimed_page_out(struct hurdmm_store *store, uint64_t offset,
                            const void *buffer, size_t length, size_t *done)
{
    *done = 0;
    int err = check_range(store, offset, length);
    if (!err && !store->claimed_to_write)
        err = EROFS;
    if (err)
        return err;
    *done = length;
    err = store->ops.page_out(store, store->hook, offset, buffer, length, done);
    return outcome(err, length, done);
}

int hurdmm_claimed_sync(struct hurdmm_store *store, uint64_t offset,
                        uint64_t length)
{
    int err = check_range(store, offset, length);

    if (err || !store->ops.sync || !store->claimed_to_write)
        return err;
    return store->ops.sync(store, store->hook, offset, length);
}

int hurdmm_claimed_unlock(struct hurdmm_store *store, uint64_t offset,
                          size_t length)
{
    int err = check_range(store, offset, length);

    if (!err && !store->claimed_to_write)
        err = EROFS;
    if (err || !store->ops.unlock)
        return err;
    return store->ops.unlock(store, store->hook, offset, length);
}

void hurdmm_claimed_evicted(struct hurdmm_store *store, uint64_t offset,
                            size_t length)
{
    if (!check_range(store, offset, length) && store->ops.evicted)
        store->ops.evicted(store, store->hook, offset, length);
}

void hurdmm_claimed_discarded(struct hurdmm_store *store, uint64_t offset,
                              uint64_t length)
{
    if (!check_range(store, offset, length) && store->claimed_to_write &&
        store->ops.discarded)
        store->ops.discarded(store, store->hook, offset, length);
}

void hurdmm_claimed_advise(struct hurdmm_store *store, uint64_t offset,
                           uint64_t length, enum hurdmm_advice advice)
{
    if (!check_range(store, offset, length) && store->ops.advise)
        store->ops.advise(store, store->hook, offset, length, advice);
}

int hurdmm_claimed_extent(struct hurdmm_store *store, uint64_t offset,
                          uint64_t *start, uint64_t *length)
{
    if (store->magic != HMM_MAGIC_STORE || store->claims == 0)
        return ESTALE;
    if (offset >= store->size)
        return EINVAL;
    if (store->ops.extent)
        return store->ops.extent(store, store->hook, offset, start, length);
    *start = 0;
    *length = store->size;
    return 0;
}

unsigned hurdmm_store_flags(const struct hurdmm_store *store)
{
    return store->flags;
}

size_t hurdmm_store_block_size(const struct hurdmm_store *store)
{
    return store->block_pages * hmm_page_bytes(store->manager);
}
