/* SPDX-License-Identifier: MIT */
/* verbs.c - flush, return, discard and sync by address.
 *
 * A range of addresses is a row of ranges of stores, done one after the other
 * with the lock dropped in between; regions that come or go meanwhile are done
 * or left out, as chance has it.
 */
#include "lib/mm/mm.h"

/* What is done with the part of the range that one store has; takes the lock. */
typedef int verb(struct hurdmm_store *store, uint64_t offset, uint64_t length,
                 unsigned flags);

/* The next part of [*at, last] that is bound to a store; *at goes past it.
 * False: nothing is left.  *hole is set when something was not bound. */
static bool next_part(struct hurdmm_space *space, uint64_t *at, uint64_t last,
                      struct hurdmm_store **store, uint64_t *offset,
                      uint64_t *length, bool *hole)
{
    struct hmm_span *span = hmm_span_first_overlap(&space->regions, *at, last);

    hmm_assert(hmm_entered(space->manager) && *at <= last);
    while (span) {
        struct hmm_region *region =
            HMM_CONTAINER_OF(span, struct hmm_region, by_address);
        uint64_t from = hmm_max(*at, span->first);
        uint64_t to = hmm_min(last, span->last);

        if (span->first > *at || !region->store)
            *hole = true;
        if (region->store) {
            *store = region->store;
            *offset = region->mapping.by_offset.first + (from - span->first);
            *length = to - from + 1;
            *at = to;
            return true;
        }
        if (to == last)
            return false;
        *at = to + 1;
        span = hmm_span_first_overlap(&space->regions, *at, last);
    }
    *hole = true;
    return false;
}

/* Does it for all that is bound in the range, and goes on after an error.  The
 * first error; ENOENT: some of the range was not bound; ESTALE: the space has
 * gone meanwhile.  The store stays while it is called (users): what is made in its
 * place must not be discarded. */
static int each(struct hurdmm_space *space, uintptr_t address, size_t length,
                unsigned flags, verb *call)
{
    int err = hmm_enter_space(space), first_error = 0;

    if (err)
        return err;
    if (hmm_range_check(space->manager, address, length) ||
        length - 1 > UINTPTR_MAX - address || flags & ~HURDMM_WAIT) {
        hmm_leave(space->manager);
        return EINVAL;
    }
    struct hurdmm *manager = space->manager;
    uint64_t at = address, last = address + (length - 1);
    for (;;) {
        struct hurdmm_store *store;
        uint64_t offset, part;
        bool hole = false;
        bool more = next_part(space, &at, last, &store, &offset, &part, &hole);

        if (hole && !first_error)
            first_error = ENOENT;
        if (!more)
            break;
        hmm_assert(part > 0 && at <= last);
        store->users++;
        hmm_leave(manager);
        err = call(store, offset, part, flags);
        hmm_enter_again(manager);
        hmm_assert(store->users > 0);
        store->users--;
        if (err && !first_error)
            first_error = err;
        if (at == last)
            break;
        if (space->magic != HMM_MAGIC_SPACE) {
            first_error = ESTALE;
            break;
        }
        at++;
    }
    hmm_leave(manager);
    return first_error;
}

static int discard(struct hurdmm_store *store, uint64_t offset, uint64_t length,
                   unsigned flags)
{
    (void)flags;
    return hurdmm_store_discard(store, offset, length);
}

int hurdmm_flush(struct hurdmm_space *space, uintptr_t address, size_t length,
                 unsigned flags)
{
    return each(space, address, length, flags, hurdmm_store_flush);
}

int hurdmm_return(struct hurdmm_space *space, uintptr_t address, size_t length,
                  unsigned flags)
{
    return each(space, address, length, flags, hurdmm_store_return);
}

int hurdmm_discard(struct hurdmm_space *space, uintptr_t address, size_t length)
{
    return each(space, address, length, 0, discard);
}

int hurdmm_sync(struct hurdmm_space *space, uintptr_t address, size_t length,
                unsigned flags)
{
    return each(space, address, length, flags, hurdmm_store_sync);
}
