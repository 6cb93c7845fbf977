/* SPDX-License-Identifier: MIT */
/* bond.c - logical copies as promises: who gets a page's contents from whom.
 *
 * A bond says that a run of a target container's pages, where the target has no
 * slots of its own, are the pages of a source.  That is all that a logical copy
 * is when it is made, however long it is and whether its pages are present or
 * not:
 *
 *     copy on write   reads go to the source; before either side changes a
 *                     page, the target gets a slot of its own with the old
 *                     contents (the bond is *settled* there);
 *     shared          reads and writes go to the source.
 *
 * A slot shadows the bond.  The source may have no slot either and be a target
 * itself: bonds make chains, which end at a *home*: the container whose slot, or
 * whose lack of one, says where the contents are.
 *
 * Invariants
 *   B1  the bonds of one target do not overlap; those of one source may;
 *   B2  there is no cycle: a copy is refused if its source depends on its
 *       target over pages that meet;
 *   B3  while a page has an unsettled dependent by copy on write, it is lent to
 *       read at most, its own container's mappings included;
 *   B4  nobody but the home has a frame for the page: a frame is in one slot.
 */
#include "hurdmm/error.h"
#include "lib/base/assert.h"
#include "lib/base/list.h"
#include "lib/physmem/physmem.h"

/* The bond that a span of its target's, or of its source's, tree belongs to. */
static struct hmm_bond *of_target(struct hmm_span *span)
{
    return span ? HMM_CONTAINER_OF(span, struct hmm_bond, by_target) : NULL;
}

static struct hmm_bond *of_source(struct hmm_span *span)
{
    return span ? HMM_CONTAINER_OF(span, struct hmm_bond, by_source) : NULL;
}

struct hmm_bond *hmm_bond_at(const struct hmm_container *target, uint64_t page)
{
    return of_target(hmm_span_first_overlap(&target->bonds, page, page));
}

struct hmm_bond *hmm_bond_in(const struct hmm_container *target, uint64_t first,
                             uint64_t last)
{
    return of_target(hmm_span_first_overlap(&target->bonds, first, last));
}

struct hmm_bond *hmm_bond_next(const struct hmm_bond *bond, uint64_t first,
                               uint64_t last)
{
    return of_target(hmm_span_next_overlap(&bond->by_target, first, last));
}

struct hmm_bond *hmm_dependent_in(const struct hmm_container *source,
                                  uint64_t first, uint64_t last)
{
    return of_source(hmm_span_first_overlap(&source->dependents, first, last));
}

struct hmm_bond *hmm_dependent_next(const struct hmm_bond *bond, uint64_t first,
                                    uint64_t last)
{
    return of_source(hmm_span_next_overlap(&bond->by_source, first, last));
}

uint64_t hmm_bond_source_page(const struct hmm_bond *bond, uint64_t page)
{
    hmm_assert(page >= bond->by_target.first && page <= bond->by_target.last);
    return bond->by_source.first + (page - bond->by_target.first);
}

uint64_t hmm_bond_target_page(const struct hmm_bond *bond, uint64_t page)
{
    hmm_assert(page >= bond->by_source.first && page <= bond->by_source.last);
    return bond->by_target.first + (page - bond->by_source.first);
}

void hmm_bond_tie(struct hmm_bond *bond, struct hmm_container *target,
                  uint64_t page, struct hmm_container *source,
                  uint64_t source_page, uint64_t count, bool shared)
{
    hmm_assert(count > 0 && target->physmem == source->physmem);
    hmm_assert(page <= UINT64_MAX - (count - 1));
    hmm_assert(source_page <= UINT64_MAX - (count - 1));
    bond->target = target;
    bond->source = source;
    bond->shared = shared;
    bond->by_target.first = page;
    bond->by_target.last = page + (count - 1);
    bond->by_source.first = source_page;
    bond->by_source.last = source_page + (count - 1);
    hmm_assert(!hmm_bond_in(target, page, bond->by_target.last)); /* B1 */
    hmm_span_insert(&target->bonds, &bond->by_target);
    hmm_span_insert(&source->dependents, &bond->by_source);
}

/* Takes a bond out of both trees: its source may now have what nobody reads. */
static void untie(struct hmm_bond *bond)
{
    hmm_assert(bond->by_target.last - bond->by_target.first ==
               bond->by_source.last - bond->by_source.first);
    bond->source->unread = true;
    hmm_span_remove(&bond->target->bonds, &bond->by_target);
    hmm_span_remove(&bond->source->dependents, &bond->by_source);
}

void hmm_bond_drop(struct hmm_bond *bond)
{
    struct hmm_physmem *physmem = bond->target->physmem;

    untie(bond);
    hmm_slab_free(&physmem->bonds, bond);
}

/* Makes the bond's part from the n-th page on a bond of its own. */
static void split(struct hmm_bond *bond, uint64_t n)
{
    uint64_t count = bond->by_target.last - bond->by_target.first + 1;
    struct hmm_bond *rest = hmm_slab_alloc(&bond->target->physmem->bonds);

    hmm_assert(rest && n > 0 && n < count);
    uint64_t page = bond->by_target.first, from = bond->by_source.first;
    untie(bond);
    hmm_bond_tie(bond, bond->target, page, bond->source, from, n, bond->shared);
    hmm_bond_tie(rest, bond->target, page + n, bond->source, from + n,
                 count - n, bond->shared);
}

void hmm_bonds_cut(struct hmm_container *target, uint64_t page)
{
    struct hmm_bond *bond = hmm_bond_at(target, page);

    if (bond && bond->by_target.first < page)
        split(bond, page - bond->by_target.first);
}

void hmm_dependents_cut(struct hmm_container *source, uint64_t page)
{
    struct hmm_bond *bond = hmm_dependent_in(source, page, page), *next;

    for (; bond; bond = next) {
        next = hmm_dependent_next(bond, page, page);
        if (bond->by_source.first < page)
            split(bond, page - bond->by_source.first);
    }
}

uint64_t hmm_bonds_cuts(const struct hmm_container *container, uint64_t first,
                        uint64_t last)
{
    const struct hmm_bond *bond = hmm_dependent_in(container, first, last);
    uint64_t n = 2;

    for (; bond; bond = hmm_dependent_next(bond, first, last))
        n += 2;
    return n;
}

void hmm_bond_redirect(struct hmm_bond *bond, struct hmm_container *source,
                       uint64_t source_page)
{
    struct hmm_container *target = bond->target;
    uint64_t page = bond->by_target.first;
    uint64_t count = bond->by_target.last - page + 1;
    bool shared = bond->shared;

    untie(bond);
    hmm_bond_tie(bond, target, page, source, source_page, count, shared);
}

void hmm_bond_retarget(struct hmm_bond *bond, struct hmm_container *target,
                       uint64_t page)
{
    struct hmm_container *source = bond->source;
    uint64_t from = bond->by_source.first;
    uint64_t count = bond->by_source.last - from + 1;
    bool shared = bond->shared;

    untie(bond);
    hmm_bond_tie(bond, target, page, source, from, count, shared);
}

bool hmm_bond_trim(struct hmm_bond *bond)
{
    struct hmm_container *target = bond->target, *source = bond->source;
    struct hmm_span of = bond->by_target;
    const struct hmm_bond *reader = hmm_dependent_in(target, of.first, of.last);
    uint64_t first = UINT64_MAX, last = 0;
    bool shared = bond->shared;

    for (; reader; reader = hmm_dependent_next(reader, of.first, of.last)) {
        if (reader->by_source.first < first)
            first = reader->by_source.first;
        if (reader->by_source.last > last)
            last = reader->by_source.last;
    }
    if (first > last) {
        hmm_bond_drop(bond);
        return true;
    }
    if (first <= of.first && last >= of.last)
        return false;
    first = first > of.first ? first : of.first;
    last = last < of.last ? last : of.last;
    uint64_t from = hmm_bond_source_page(bond, first);
    untie(bond);
    hmm_bond_tie(bond, target, first, source, from, last - first + 1, shared);
    return true;
}

void hmm_home(struct hmm_place *place)
{
    struct hmm_bond *bond;

    place->read_only = false;
    while (!hmm_container_slot(place->container, place->page) &&
           (bond = hmm_bond_at(place->container, place->page)) != NULL) {
        if (!bond->shared)
            place->read_only = true;
        place->page = hmm_bond_source_page(bond, place->page);
        place->container = bond->source;
    }
}

uint64_t hmm_absent_length(const struct hmm_container *container, uint64_t page)
{
    uint64_t length = UINT64_MAX, found;

    for (;;) {
        const struct hmm_bond *bond = hmm_bond_in(container, page, UINT64_MAX);
        if (hmm_index_next(&container->index, page, &found) &&
            found - page < length)
            length = found - page;
        if (length == 0 || !bond)
            return length;
        if (bond->by_target.first > page)
            return bond->by_target.first - page < length
                       ? bond->by_target.first - page
                       : length;
        if (bond->by_target.last - page < length)
            length = bond->by_target.last - page + 1;
        page = hmm_bond_source_page(bond, page);
        container = bond->source;
    }
}

/* Gives all slots to a container that has none: the index changes hands.  So a
 * move of everything needs no index nodes, and a write to each frame's entry. */
static void graft(struct hmm_container *from, struct hmm_container *to)
{
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek(&from->index, &cursor, 0);
    uint64_t frames = 0;

    hmm_assert(to->index.count == 0 && to->physmem == from->physmem);
    for (; more; more = hmm_index_step(&cursor)) {
        uint32_t frame = HMM_SLOT_FRAME(*cursor.value);

        hmm_assert(!(*cursor.value & HMM_LENT));
        if (frame == HURDMM_FRAME_NONE)
            continue;
        from->physmem->table[frame].container = to;
        frames++;
    }
    hmm_assert(from->payer->used >= frames);
    from->payer->used -= frames;
    from->payer->wired -= from->wired ? frames : 0;
    to->payer->used += frames;
    to->payer->wired += to->wired ? frames : 0;
    hmm_index_clear(&to->index);
    to->index = from->index;
    hmm_index_init(&from->index, &from->physmem->nodes);
}

/* Moves the slots of [first, last]; nodes for them are reserved. */
static void shift_slots(struct hmm_container *from, uint64_t first,
                        uint64_t last, struct hmm_container *to, uint64_t there)
{
    struct hmm_index_pair slots[HMM_INDEX_TAKE_MAX];
    unsigned n;

    hmm_assert(first <= last && (from != to || there != first));
    if (there == first && to->index.count == 0 &&
        hmm_container_within(from, first, last)) {
        graft(from, to);
        return;
    }
    while ((n = hmm_container_take_some(from, first, last, slots)) > 0) {
        for (unsigned i = 0; i < n; i++) {
            int err = hmm_container_put(to, there + (slots[i].key - first),
                                        slots[i].value);
            hmm_assert(!err);
            (void)err;
        }
        there += slots[n - 1].key - first;
        first = slots[n - 1].key;
    }
}

void hmm_container_shift(struct hmm_container *from, uint64_t first,
                         uint64_t last, struct hmm_container *to,
                         uint64_t there)
{
    struct hmm_bond *bond;

    /* A slot may come to shadow a bond; bonds may not meet (B1). */
    hmm_assert(!hmm_bond_in(from, first, last) ||
               !hmm_bond_in(to, there, there + (last - first)));
    hmm_bonds_cut(from, first);
    hmm_dependents_cut(from, first);
    if (last < UINT64_MAX) {
        hmm_bonds_cut(from, last + 1);
        hmm_dependents_cut(from, last + 1);
    }
    shift_slots(from, first, last, to, there);
    while ((bond = hmm_bond_in(from, first, last)) != NULL)
        hmm_bond_retarget(bond, to, there + (bond->by_target.first - first));
    while ((bond = hmm_dependent_in(from, first, last)) != NULL)
        hmm_bond_redirect(bond, to, there + (bond->by_source.first - first));
}

/* The first of those whose bond leads to the page and who have no slot; the
 * search begins at `bond'. */
static bool find_reader(const struct hmm_bond *bond, struct hmm_place *at)
{
    for (; bond; bond = hmm_dependent_next(bond, at->page, at->page)) {
        uint64_t there = hmm_bond_target_page(bond, at->page);

        if (hmm_container_slot(bond->target, there))
            continue;
        at->container = bond->target;
        at->page = there;
        return true;
    }
    return false;
}

/* A page has one bond at most that it reads through (B1), so the way back is
 * known: chains of copies may be longer than any stack is deep. */
bool hmm_reader_next(const struct hmm_container *container, uint64_t page,
                     struct hmm_place *at)
{
    const struct hmm_bond *bond =
        hmm_dependent_in(at->container, at->page, at->page);

    while (!find_reader(bond, at)) {
        if (at->container == container && at->page == page)
            return false;
        bond = hmm_bond_at(at->container, at->page);
        hmm_assert(bond && !hmm_container_slot(at->container, at->page));
        at->page = hmm_bond_source_page(bond, at->page);
        at->container = bond->source;
        bond = hmm_dependent_next(bond, at->page, at->page);
    }
    return true;
}

bool hmm_unsettled(const struct hmm_container *container, uint64_t page,
                   struct hmm_place *place)
{
    const struct hmm_bond *bond = hmm_dependent_in(container, page, page);

    if (!bond)
        return false;
    place->container = bond->source;
    place->page = page;
    while (hmm_reader_next(container, page, place)) {
        if (!hmm_bond_at(place->container, place->page)->shared)
            return true;
    }
    return false;
}

bool hmm_depended_on(const struct hmm_container *container, uint64_t page)
{
    const struct hmm_bond *bond = hmm_dependent_in(container, page, page);

    for (; bond; bond = hmm_dependent_next(bond, page, page)) {
        if (!hmm_container_slot(bond->target, hmm_bond_target_page(bond, page)))
            return true;
    }
    return false;
}

bool hmm_bonds_check(const struct hmm_container *container)
{
    const struct hmm_span *span = hmm_span_lowest(&container->bonds);
    uint64_t end = 0;

    for (bool first = true; span; span = hmm_span_next(span), first = false) {
        const struct hmm_bond *bond =
            HMM_CONTAINER_OF(span, struct hmm_bond, by_target);

        if (bond->target != container || (!first && span->first <= end))
            return false; /* B1 */
        if (bond->by_source.last - bond->by_source.first !=
            span->last - span->first)
            return false;
        end = span->last;
    }
    return hmm_span_check(&container->bonds) &&
           hmm_span_check(&container->dependents);
}
