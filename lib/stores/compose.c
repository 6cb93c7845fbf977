/* SPDX-License-Identifier: MIT */
/*
 * Compositions: which byte is where, and the operations.
 *
 * Everything but the bytes is constant; there are no locks.  Both layouts have
 * this in common, from which all that goes by range follows: a range of the
 * composition is one range, or nothing, of each piece (hmm_composed_before), as
 * bytes of a piece never change their order.
 */
#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "lib/stores/compose.h"

/* Sequential: the piece in which a byte lies. */
static size_t search(const struct hmm_composed *composed, uint64_t offset)
{
    size_t low = 0, high = composed->count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (composed->pieces[middle].at <= offset)
            low = middle;
        else
            high = middle;
    }
    store_assert(composed->unit == 0 && composed->pieces[low].at <= offset);
    return low;
}

/* Sequential pieces are searched; of a stripe it is arithmetic. */
void hmm_composed_locate(const struct hmm_composed *composed, uint64_t offset,
                         struct hmm_composed_place *place)
{
    uint64_t unit = composed->unit;

    store_assert(offset < composed->size);
    if (unit == 0) {
        place->piece = &composed->pieces[search(composed, offset)];
        place->within = offset - place->piece->at;
        place->run = place->piece->length - place->within;
    } else {
        uint64_t number = offset / unit;

        place->piece = &composed->pieces[number % composed->count];
        place->within = number / composed->count * unit + offset % unit;
        place->run = unit - offset % unit;
    }
    store_assert(place->run > 0 && place->within < place->piece->length);
}

static uint64_t at_most(uint64_t value, uint64_t limit)
{
    return value < limit ? value : limit;
}

uint64_t hmm_composed_before(const struct hmm_composed *composed, size_t piece,
                             uint64_t offset)
{
    const struct hmm_piece *at = &composed->pieces[piece];
    uint64_t unit = composed->unit;
    uint64_t start, rest;

    store_assert(piece < composed->count && offset <= composed->size);
    if (unit == 0)
        return offset <= at->at ? 0 : at_most(offset - at->at, at->length);
    /* The whole rounds before it, and its share of the round that is cut. */
    rest = offset % (unit * composed->count);
    start = unit * piece;
    return offset / (unit * composed->count) * unit +
           (rest <= start ? 0 : at_most(rest - start, unit));
}

/* ---- Pages --------------------------------------------------------------- */

/* Reads or writes a part of one piece, which does not leave the piece. */
static int transfer_piece(const struct hmm_composed_place *place, void *in,
                          const void *out, size_t length, size_t *done)
{
    struct hurdmm_store *store = place->piece->store;
    uint64_t offset = place->piece->from + place->within;

    store_assert(!in != !out && length > 0 && length <= place->run);
    if (out) /* `unlock' refuses holes before, but for who has no unlock */
        return store ? hurdmm_claimed_page_out(store, offset, out, length, done)
                     : ENOSPC;
    if (store)
        return hurdmm_claimed_page_in(store, offset, in, length, done);
    memset(in, 0, length);
    *done = length;
    return 0;
}

/* The same of a part of the composition, piece by piece; *done says how far it
 * got, also on error.  ENXIO: whoever made the store longer finds nothing behind
 * the pieces. */
static int transfer(const struct hmm_composed *composed, uint64_t offset,
                    char *in, const char *out, size_t length, size_t *done)
{
    int error = 0;

    store_assert(offset % composed->block == 0 && length > 0);
    *done = 0;
    while (error == 0 && *done < length) {
        struct hmm_composed_place place;
        size_t rest = length - *done;
        size_t moved = 0;

        if (offset + *done >= composed->size)
            return ENXIO;
        hmm_composed_locate(composed, offset + *done, &place);
        if (rest > place.run)
            rest = (size_t)place.run;
        error = transfer_piece(&place, in ? in + *done : NULL,
                               out ? out + *done : NULL, rest, &moved);
        store_assert(moved <= rest && (error != 0 || moved > 0));
        *done += moved;
    }
    return error;
}

static int composed_page_in(struct hurdmm_store *store, void *hook,
                            uint64_t offset, void *buffer, size_t length,
                            size_t *done)
{
    (void)store;
    return transfer(hook, offset, buffer, NULL, length, done);
}

static int composed_page_out(struct hurdmm_store *store, void *hook,
                             uint64_t offset, const void *buffer, size_t length,
                             size_t *done)
{
    (void)store;
    return transfer(hook, offset, NULL, buffer, length, done);
}

/* A block lies in one piece.  Nothing can be written to a hole, nor behind the
 * pieces. */
static int composed_unlock(struct hurdmm_store *store, void *hook,
                           uint64_t offset, size_t length)
{
    struct hmm_composed_place place;

    (void)store;
    if (offset >= ((struct hmm_composed *)hook)->size)
        return ENXIO;
    hmm_composed_locate(hook, offset, &place);
    store_assert(place.within % ((struct hmm_composed *)hook)->block == 0);
    if (!place.piece->store)
        return ENOSPC;
    if (length > place.run) /* the last block is asked for as a whole */
        length = (size_t)place.run;
    return hurdmm_claimed_unlock(place.piece->store,
                                 place.piece->from + place.within, length);
}

/* ---- Ranges -------------------------------------------------------------- */

/* What is to be done with a piece's part of a range. */
struct ranged {
    enum { SYNC, EVICTED, DISCARDED, ADVISE } what;
    enum hurdmm_advice advice;
};

/* Does it to a part of a piece's store. */
static int ranged_piece(const struct ranged *ranged,
                        const struct hmm_piece *piece, uint64_t offset,
                        uint64_t length)
{
    store_assert(piece->store && length > 0);
    switch (ranged->what) {
    case SYNC:
        return hurdmm_claimed_sync(piece->store, offset, length);
    case EVICTED:
        hurdmm_claimed_evicted(piece->store, offset, (size_t)length);
        break;
    case DISCARDED:
        hurdmm_claimed_discarded(piece->store, offset, length);
        break;
    case ADVISE:
        hurdmm_claimed_advise(piece->store, offset, length, ranged->advice);
        break;
    }
    return 0;
}

/* Asks all pieces that the range touches; the first error. */
static int for_range(const struct hmm_composed *composed, uint64_t offset,
                     uint64_t length, const struct ranged *ranged)
{
    size_t first = composed->unit == 0 ? search(composed, offset) : 0;
    uint64_t end;
    int error = 0;

    if (offset >= composed->size)
        return 0;
    end = offset + at_most(length, composed->size - offset);
    for (size_t i = first; i < composed->count; i++) {
        const struct hmm_piece *piece = &composed->pieces[i];
        uint64_t from = hmm_composed_before(composed, i, offset);
        uint64_t to = hmm_composed_before(composed, i, end);
        int failed;

        if (composed->unit == 0 && piece->at >= end)
            break;
        if (from == to || !piece->store)
            continue;
        store_assert(from < to && to <= piece->length);
        failed = ranged_piece(ranged, piece, piece->from + from, to - from);
        if (error == 0)
            error = failed;
    }
    return error;
}

/* Runs of one store, as remap has, are synced together: a sync seldom costs less
 * for a part. */
static int composed_sync(struct hurdmm_store *store, void *hook,
                         uint64_t offset, uint64_t length)
{
    const struct ranged ranged = {SYNC, HURDMM_ADVICE_NORMAL};
    const struct hmm_composed *composed = hook;

    (void)store;
    for (size_t i = 0; composed->one && i < composed->count; i++)
        if (composed->pieces[i].claimed) {
            struct hurdmm_store *one = composed->pieces[i].store;

            return hurdmm_claimed_sync(one, 0, hurdmm_store_size(one));
        }
    return for_range(composed, offset, length, &ranged);
}

static void composed_evicted(struct hurdmm_store *store, void *hook,
                             uint64_t offset, size_t length)
{
    const struct ranged ranged = {EVICTED, HURDMM_ADVICE_NORMAL};

    (void)store;
    (void)for_range(hook, offset, length, &ranged);
}

static void composed_discarded(struct hurdmm_store *store, void *hook,
                               uint64_t offset, uint64_t length)
{
    const struct ranged ranged = {DISCARDED, HURDMM_ADVICE_NORMAL};

    (void)store;
    (void)for_range(hook, offset, length, &ranged);
}

static void composed_advise(struct hurdmm_store *store, void *hook,
                            uint64_t offset, uint64_t length,
                            enum hurdmm_advice advice)
{
    const struct ranged ranged = {ADVISE, advice};

    (void)store;
    (void)for_range(hook, offset, length, &ranged);
}

/* In a stripe neighbours are never together for long; to limit runs by that
 * would only make them short. */
static int composed_extent(struct hurdmm_store *store, void *hook,
                           uint64_t offset, uint64_t *start, uint64_t *length)
{
    const struct hmm_composed *composed = hook;
    struct hmm_composed_place place;
    uint64_t first, end, from, to;
    int error;

    (void)store;
    *start = 0;
    *length = composed->size;
    if (composed->unit != 0 || offset >= composed->size)
        return 0;
    hmm_composed_locate(composed, offset, &place);
    first = place.piece->from;
    end = first + place.piece->length;
    if (place.piece->store) {
        error = hurdmm_claimed_extent(place.piece->store, first + place.within,
                                      &from, &to);
        if (error != 0)
            return error;
        to = from + to;
        end = to < end ? to : end;
        from = from > first ? from : first;
    } else {
        from = first;
    }
    store_assert(from <= first + place.within && first + place.within < end);
    *start = place.piece->at + (from - first);
    *length = end - from;
    return 0;
}

static void composed_destroy(void *hook)
{
    hmm_composed_free(hook);
}

/* With `unlock' the library reads a page before it is written whole, so the
 * compositions that need none have none. */
static const struct hurdmm_store_ops plain_ops = {
    .struct_size = sizeof plain_ops,
    .page_in = composed_page_in,
    .page_out = composed_page_out,
    .sync = composed_sync,
    .evicted = composed_evicted,
    .discarded = composed_discarded,
    .advise = composed_advise,
    .extent = composed_extent,
    .destroy = composed_destroy,
};

static const struct hurdmm_store_ops unlocked_ops = {
    .struct_size = sizeof unlocked_ops,
    .page_in = composed_page_in,
    .page_out = composed_page_out,
    .sync = composed_sync,
    .unlock = composed_unlock,
    .evicted = composed_evicted,
    .discarded = composed_discarded,
    .advise = composed_advise,
    .extent = composed_extent,
    .destroy = composed_destroy,
};

/* ---- Making -------------------------------------------------------------- */

/* What a store's own functions are tells what it is. */
unsigned hmm_composed_depth(const struct hurdmm_store *store)
{
    const struct hurdmm_store_ops *ops = hurdmm_store_operations(store);
    const struct hmm_composed *composed;

    if (ops == &hmm_copy_ops)
        return hmm_copy_depth(store);
    if (ops != &plain_ops && ops != &unlocked_ops)
        return 0;
    composed = hurdmm_store_hook(store);
    return composed->depth;
}

static size_t bytes_of(size_t count)
{
    return sizeof(struct hmm_composed) + count * sizeof(struct hmm_piece);
}

int hmm_composed_new(struct hurdmm *manager, size_t count, unsigned flags,
                     struct hmm_composed **composed)
{
    const unsigned known =
        HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED | HURDMM_STORE_NO_STEAL;
    const size_t limit =
        (SIZE_MAX - sizeof **composed) / sizeof(struct hmm_piece);
    void *memory;
    int error;

    if (!manager || count == 0 || count > limit || (flags & ~known) != 0)
        return EINVAL;
    error = hurdmm_allocate(manager, bytes_of(count), &memory);
    if (error != 0)
        return error;
    *composed = memory;
    (*composed)->manager = manager;
    (*composed)->count = count;
    (*composed)->flags = flags;
    return 0;
}

/* Not before its store has ended: the claims are what keeps others out. */
void hmm_composed_free(struct hmm_composed *composed)
{
    for (size_t i = 0; i < composed->count; i++)
        if (composed->pieces[i].claimed)
            (void)hurdmm_store_unclaim(composed->pieces[i].store);
    hurdmm_deallocate(composed->manager, composed, bytes_of(composed->count));
}

/* A store of another's may have been compiled with fewer operations. */
static bool has_unlock(const struct hurdmm_store *store)
{
    const struct hurdmm_store_ops *ops = hurdmm_store_operations(store);

    return ops->struct_size >= offsetof(struct hurdmm_store_ops, evicted) &&
           ops->unlock;
}

/* What the composition is, from what its pieces are. */
static int summarise(struct hmm_composed *composed, bool *unlock)
{
    bool read_only = (composed->flags & HURDMM_STORE_READ_ONLY) != 0;
    bool signal_safe = true, writable = read_only;

    store_assert(composed->depth == 0);
    *unlock = false;
    for (size_t i = 0; i < composed->count; i++) {
        const struct hurdmm_store *store = composed->pieces[i].store;
        unsigned flags =
            store ? hurdmm_store_flags(store)
                  : HURDMM_STORE_READ_ONLY | HURDMM_STORE_SIGNAL_SAFE;

        if (!(flags & HURDMM_STORE_SIGNAL_SAFE))
            signal_safe = false;
        if (!(flags & HURDMM_STORE_READ_ONLY)) {
            composed->flags |= flags & HURDMM_STORE_NO_STEAL;
            writable = true;
        }
        if ((flags & HURDMM_STORE_READ_ONLY) || has_unlock(store))
            *unlock = !read_only;
        if (store && hmm_composed_depth(store) >= composed->depth)
            composed->depth = hmm_composed_depth(store) + 1;
    }
    if (composed->depth == 0)
        composed->depth = 1;
    if (composed->depth > HURDMM_COMPOSE_DEPTH)
        return ELOOP;
    store_assert(composed->depth > 0);
    if (signal_safe)
        composed->flags |= HURDMM_STORE_SIGNAL_SAFE;
    return writable ? 0 : EACCES;
}

/* Claims a piece's store; in a composition of one store the first piece does.
 * A store that is busy because an earlier piece has it is composed with
 * itself. */
static int claim(struct hmm_composed *composed, size_t index)
{
    struct hmm_piece *piece = &composed->pieces[index];
    unsigned access = HURDMM_READ;
    int error;

    store_assert(piece->store && !piece->claimed);
    if (!(composed->flags & HURDMM_STORE_READ_ONLY) &&
        !(hurdmm_store_flags(piece->store) & HURDMM_STORE_READ_ONLY))
        access |= HURDMM_WRITE;
    error = hurdmm_store_claim(piece->store, access);
    piece->claimed = error == 0;
    for (size_t i = 0; error == EBUSY && i < index; i++)
        if (composed->pieces[i].store == piece->store)
            error = EINVAL;
    return error;
}

/* Those that were claimed before an error go back with hmm_composed_free. */
static int claim_all(struct hmm_composed *composed)
{
    bool done = false;
    int error = 0;

    for (size_t i = 0; error == 0 && i < composed->count; i++) {
        if (!composed->pieces[i].store || (composed->one && done))
            continue;
        error = claim(composed, i);
        done = true;
    }
    return error;
}

/* The claims come last, but for the store: they write back what the parts have in
 * memory, and keep everybody out. */
int hmm_composed_finish(struct hmm_composed *composed, const char *name,
                        struct hurdmm_store **result)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = name,
        .hook = composed,
        .size = composed->size,
        .block_size = composed->block,
    };
    bool unlock = false;
    int error = summarise(composed, &unlock);

    store_assert(composed->size > 0 && composed->count > 0);
    if (error == 0)
        error = claim_all(composed);
    options.flags = composed->flags;
    if (error == 0)
        error = hurdmm_store_create(composed->manager,
                                    unlock ? &unlocked_ops : &plain_ops,
                                    &options, result);
    if (error != 0)
        hmm_composed_free(composed);
    return error;
}
