/* SPDX-License-Identifier: MIT */
/* region.c - binding ranges of a space to stores, and taking them away.
 *
 * Every function first checks everything, then reserves what it may need, and
 * only then changes something, so that an error changes nothing.  Taking rights
 * back can fail for want of mappings: that happens before bookkeeping changes,
 * and a right that was taken early comes back by a soft fault.
 *
 * Regions are kept twice: in a tree, which never fails, and in an index of their
 * first addresses, in which a fault finds one of very many with a quarter of the
 * cache misses.  Without memory for the index the tree is asked.
 *
 * Invariants
 *   G1  the regions of a space do not overlap; each that has a store has a mapping
 *       of the store's cache, of just its addresses;
 *   G2  with starts_known every region is in the index; without, the index is
 *       empty until the space is;
 *   G3  a store that is not SHARED is shown at most once at each offset;
 *   G4  when a region is removed nothing is lent through it any more.
 *
 * Nothing here drops the lock but what calls stores: binding, when it populates
 * or wires, and advice.
 */
#include "lib/mm/mm.h"

/* The region of a span in its space's tree. */
static struct hmm_region *region_of(struct hmm_span *span)
{
    return span ? HMM_CONTAINER_OF(span, struct hmm_region, by_address) : NULL;
}

struct hmm_region *hmm_region_at(struct hurdmm_space *space, uintptr_t address)
{
    uint64_t first;

    hmm_assert(hmm_entered(space->manager));
    if (!space->starts_known)
        return region_of(
            hmm_span_first_overlap(&space->regions, address, address));
    const uint64_t *found = hmm_index_prev(&space->starts, address, &first);
    if (!found)
        return NULL;
    struct hmm_region *region = (struct hmm_region *)(uintptr_t)*found;
    for (size_t at = 64; at < sizeof *region; at += 64)
        __builtin_prefetch((const char *)region + at); /* all is read soon */
    hmm_assert(region->by_address.first == first);
    return region->by_address.last >= address ? region : NULL;
}

/* Puts the region into both; without memory for the index there is none, until
 * the space is empty again. */
static void add_region(struct hurdmm_space *space, struct hmm_region *region)
{
    uint64_t first = region->by_address.first;

    hmm_assert(first <= region->by_address.last);
    hmm_assert(!hmm_span_first_overlap(&space->regions, first,
                                       region->by_address.last));
    hmm_span_insert(&space->regions, &region->by_address);
    if (space->starts_known &&
        hmm_index_insert(&space->starts, first, (uint64_t)(uintptr_t)region)) {
        hmm_index_clear(&space->starts);
        space->starts_known = false;
    }
}

static void remove_region(struct hurdmm_space *space, struct hmm_region *region)
{
    uint64_t first = region->by_address.first;

    hmm_assert(region->space == space && space->regions.count > 0);
    hmm_span_remove(&space->regions, &region->by_address);
    if (space->starts_known)
        hmm_index_remove(&space->starts, first, NULL);
    else
        space->starts_known = space->regions.count == 0;
}

struct hmm_region *hmm_region_next(struct hmm_region *region)
{
    hmm_assert(hmm_entered(region->space->manager));
    return region_of(hmm_span_next(&region->by_address));
}

uint64_t hmm_region_page(const struct hmm_region *region, uintptr_t address)
{
    uint64_t offset =
        region->mapping.by_offset.first + (address - region->by_address.first);

    hmm_assert(hmm_entered(region->space->manager));
    hmm_assert(region->store && address >= region->by_address.first &&
               address <= region->by_address.last);
    return offset >> region->space->manager->physmem.page_shift;
}

/* Who may write or execute may read: no platform has it otherwise everywhere. */
static bool rights_valid(unsigned rights)
{
    if (rights & ~HURDMM_RIGHTS)
        return false;
    return !(rights & ~HURDMM_READ) || (rights & HURDMM_READ);
}

/* What can be said of a bind without a look at the store: EINVAL. */
static int check_bind(const struct hurdmm *manager,
                      const struct hurdmm_bind_options *bind)
{
    const unsigned flags = HURDMM_BIND_EXACT | HURDMM_BIND_POPULATE |
                           HURDMM_BIND_RESERVED | HURDMM_BIND_INLINE |
                           HURDMM_BIND_WIRED;
    bool reserved = bind->flags & HURDMM_BIND_RESERVED;
    bool bound = bind->store != NULL || bind->container != NULL;
    unsigned max = bind->max_rights ? bind->max_rights : HURDMM_RIGHTS;

    if (bind->flags & ~flags || reserved == bound ||
        (bind->store && bind->container) ||
        (reserved && bind->flags & HURDMM_BIND_POPULATE))
        return EINVAL;
    if (hmm_range_check(manager, bind->offset, bind->length) ||
        bind->address & (hmm_page_bytes(manager) - 1) ||
        bind->length - 1 > manager->info.high - manager->info.low)
        return EINVAL;
    if (bind->flags & HURDMM_BIND_EXACT &&
        (bind->address < manager->info.low ||
         bind->length - 1 > manager->info.high - bind->address))
        return EINVAL;
    if (!rights_valid(bind->rights) || !rights_valid(max) ||
        bind->rights & ~max)
        return EINVAL;
    if (bind->flags & HURDMM_BIND_WIRED &&
        (!bound || bind->flags & HURDMM_BIND_INLINE ||
         !(bind->rights & HURDMM_WRITE)))
        return EINVAL;
    if (bind->advice != HURDMM_ADVICE_NORMAL &&
        bind->advice != HURDMM_ADVICE_SEQUENTIAL &&
        bind->advice != HURDMM_ADVICE_RANDOM &&
        bind->advice != HURDMM_ADVICE_READ_ONCE)
        return EINVAL;
    return 0;
}

/* What is bound: a store, or a container as one. */
static struct hurdmm_store *store_of(const struct hurdmm_bind_options *bind)
{
    return bind->store ? bind->store : hmm_container_of(bind->container);
}

/* May the store, in the state it is in, be bound so? */
static int check_store(const struct hurdmm *manager,
                       const struct hurdmm_bind_options *bind)
{
    const struct hurdmm_store *store = store_of(bind);

    if (!store)
        return bind->flags & HURDMM_BIND_INLINE ? EINVAL : 0;
    if (store->magic != (bind->store ? HMM_MAGIC_STORE : HMM_MAGIC_CONTAINER) ||
        store->dying)
        return ESTALE;
    if (store->manager != manager)
        return EINVAL;
    if (hmm_claim_check(store))
        return EBUSY;
    if (bind->flags & HURDMM_BIND_INLINE &&
        (!(store->flags & HURDMM_STORE_SIGNAL_SAFE) ||
         !(manager->info.features & HURDMM_PORT_INLINE)))
        return ENOTSUP;
    if (bind->flags & HURDMM_BIND_WIRED &&
        (store->flags & HURDMM_STORE_SHARED ||
         !(manager->info.features & HURDMM_PORT_TRACKS)))
        return ENOTSUP;
    if (store->flags & HURDMM_STORE_READ_ONLY &&
        (bind->rights | bind->max_rights) & HURDMM_WRITE)
        return EROFS;
    if (!(store->flags & HURDMM_STORE_SHARED) &&
        hmm_span_first_overlap(&store->cache.mappings, bind->offset,
                               bind->offset + (bind->length - 1)))
        return EBUSY;
    /* Copies made before would be read from what nobody holds back. */
    if (bind->flags & HURDMM_BIND_WIRED && store->cache.dependents.count > 0)
        return EBUSY;
    return 0;
}

/* The flags of a bind, with the way in which its faults are answered.  Where
 * pager threads could not help system calls either, inline has no drawback. */
static unsigned way_of(const struct hurdmm *manager,
                       const struct hurdmm_bind_options *bind)
{
    unsigned port = manager->info.features;
    bool better = port & HURDMM_PORT_INLINE && !(port & HURDMM_PORT_SYSCALLS) &&
                  !hmm_frames_stay(manager) &&
                  !(bind->flags & HURDMM_BIND_WIRED);

    if (better && bind->store && bind->store->flags & HURDMM_STORE_SIGNAL_SAFE)
        return bind->flags | HURDMM_BIND_INLINE;
    return bind->flags;
}

/* The rights that hurdmm_protect may give later: by default all that the store
 * has. */
static unsigned max_rights(const struct hurdmm_bind_options *bind)
{
    if (bind->max_rights || !store_of(bind))
        return bind->max_rights;
    return store_of(bind)->flags & HURDMM_STORE_READ_ONLY
               ? HURDMM_READ | HURDMM_EXECUTE
               : HURDMM_RIGHTS;
}

/* Tells a port that has objects which one a range, of which nothing is lent, is
 * to show.  Each range that is bound says so, also that it shows none: what was
 * there before may be shown still, if there was no memory to end that.  ENOMEM. */
static int share(struct hurdmm_space *space, uint64_t first, uint64_t last,
                 const struct hurdmm_store *store, uint64_t offset)
{
    struct hurdmm *manager = space->manager;
    uint64_t object = store && hmm_store_shares(store) ? store->id : 0;

    hmm_assert(first <= last);
    if (!(manager->info.features & HURDMM_PORT_SHARES))
        return 0;
    return manager->ops->share(manager->port, space->token, (uintptr_t)first,
                               (size_t)(last - first + 1), object, offset);
}

/* Before the region, of which nothing is lent, is removed.  That it fails does
 * not matter: see above. */
static void unshare(const struct hmm_region *region)
{
    if (region->store && hmm_store_shares(region->store))
        (void)share(region->space, region->by_address.first,
                    region->by_address.last, NULL, 0);
}

bool hmm_page_shares(const struct hurdmm_store *store, uint64_t page)
{
    const struct hmm_bond *bond;

    hmm_assert(hmm_entered(store->manager));
    if (!hmm_store_shares(store))
        return false;
    bond = hmm_dependent_in(&store->cache, page, page);
    for (; bond; bond = hmm_dependent_next(bond, page, page))
        if (bond->shared)
            return false;
    return true;
}

/* Finds room, and makes the region there.  All has been checked, and the lock is
 * not dropped since.  An error, also of the port, leaves nothing. */
static int bind_region(struct hurdmm *manager,
                       const struct hurdmm_bind_options *bind,
                       uintptr_t *address)
{
    struct hurdmm_space *space = bind->space;
    struct hmm_region *region = hmm_slab_alloc(&manager->region_slab);
    uintptr_t hint = bind->address;

    if (!region)
        return ENOMEM;
    if (hint && (hint < manager->info.low || hint > manager->info.high ||
                 bind->length - 1 > manager->info.high - hint))
        hint = 0;
    int err = 0;
    if (bind->flags & HURDMM_BIND_RESERVED && bind->flags & HURDMM_BIND_EXACT)
        err = hmm_span_first_overlap(&space->regions, hint,
                                     hint + (bind->length - 1))
                  ? EEXIST
                  : 0;
    else
        err =
            hmm_space_room(space, hint, bind->length,
                           hmm_large_page(manager, bind->offset, bind->length),
                           way_of(manager, bind), &hint);
    if (!err && store_of(bind)) {
        err = share(space, hint, hint + (bind->length - 1), store_of(bind),
                    bind->offset);
        if (err)
            hmm_space_shrink(space, hint, bind->length);
    }
    if (err) {
        hmm_slab_free(&manager->region_slab, region);
        return err;
    }
    memset(region, 0, sizeof *region);
    region->space = space;
    region->store = store_of(bind);
    region->rights = (uint8_t)bind->rights;
    region->max_rights = (uint8_t)max_rights(bind);
    region->advice = (uint8_t)bind->advice;
    region->wired =
        bind->flags & HURDMM_BIND_WIRED ? HMM_WIRING : HMM_NOT_WIRED;
    region->next_page = bind->offset >> manager->physmem.page_shift;
    region->by_address.first = hint;
    region->by_address.last = hint + (bind->length - 1);
    add_region(space, region);
    if (region->store)
        hmm_mapping_attach(&region->mapping, &region->store->cache,
                           bind->offset, bind->length, space->token, hint);
    *address = hint;
    return 0;
}

/* Takes back pages of a region that are read through bonds: they are lent from
 * others' slots, whose LENT bits stay, since those speak of all who read them. */
static int take_views(struct hmm_region *region, struct hmm_batch *batch,
                      uint64_t first, uint64_t last)
{
    struct hurdmm_store *store = region->store;
    int err = 0;

    while (!err && first <= last && hmm_bond_in(&store->cache, first, last)) {
        uint64_t absent = hmm_absent_length(&store->cache, first);
        struct hmm_want want = {.store = store, .page = first};

        if (absent == 0) {
            uint64_t *slot = hmm_home_slot(&want);
            if (want.store != store || want.page != first)
                err = hmm_batch_add_one(batch, &region->mapping, first, slot);
            absent = 1;
        }
        if (absent > last - first)
            break;
        first += absent;
    }
    return err;
}

/* Takes rights on [first, last] (bytes of the store) of one region back.  ENOMEM:
 * some are there still; what was taken comes back by faults. */
static int take_range(struct hmm_region *region, uint64_t first, uint64_t last,
                      unsigned keep)
{
    struct hurdmm_store *store = region->store;
    unsigned shift = store->manager->physmem.page_shift;
    /* The LENT bits speak of every address that shows a page. */
    bool alone = !(store->flags & HURDMM_STORE_SHARED) &&
                 store->cache.dependents.count == 0;
    struct hmm_index_cursor cursor;
    struct hmm_batch batch;
    int err = 0;

    hmm_assert(first >= region->mapping.by_offset.first && first <= last &&
               last <= region->mapping.by_offset.last);
    hmm_batch_begin(&batch, &store->manager->physmem, keep);
    bool more = hmm_index_seek(&store->cache.index, &cursor, first >> shift);
    for (; !err && more && cursor.key <= last >> shift;
         more = hmm_index_step(&cursor)) {
        err = alone ? hmm_batch_add(&batch, &store->cache, cursor.key,
                                    cursor.value)
                    : hmm_batch_add_one(&batch, &region->mapping, cursor.key,
                                        cursor.value);
    }
    if (!err)
        err = take_views(region, &batch, first >> shift, last >> shift);
    return err ? err : hmm_batch_end(&batch);
}

/* The part of the region in [first, last] (addresses), as bytes of its store. */
static void part_of(const struct hmm_region *region, uint64_t first,
                    uint64_t last, uint64_t *from, uint64_t *to)
{
    uint64_t base = region->mapping.by_offset.first;

    first = hmm_max(first, region->by_address.first);
    last = hmm_min(last, region->by_address.last);
    hmm_assert(first <= last); /* they overlap */
    *from = base + (first - region->by_address.first);
    *to = base + (last - region->by_address.first);
}

/* Takes back rights of every region in the range. */
static int take_all(struct hurdmm_space *space, uint64_t first, uint64_t last,
                    unsigned keep)
{
    struct hmm_span *span =
        hmm_span_first_overlap(&space->regions, first, last);

    for (; span; span = hmm_span_next_overlap(span, first, last)) {
        struct hmm_region *region = region_of(span);
        uint64_t from, to;

        if (!region->store)
            continue;
        part_of(region, first, last, &from, &to);
        int err = take_range(region, from, to, keep);
        if (err)
            return err;
    }
    return 0;
}

/* Is any page pinned that the range shows?  `writers`: pinned for writing;
 * `wired_too`: or by being in a region that is wired. */
static bool pinned_in(struct hurdmm_space *space, uint64_t first, uint64_t last,
                      bool writers, bool wired_too)
{
    unsigned shift = space->manager->physmem.page_shift;
    struct hmm_span *span =
        hmm_span_first_overlap(&space->regions, first, last);

    for (; span; span = hmm_span_next_overlap(span, first, last)) {
        struct hmm_region *region = region_of(span);
        uint64_t from, to;

        if (!region->store)
            continue;
        part_of(region, first, last, &from, &to);
        if (region->wired == HMM_WIRED && !wired_too
                ? hmm_wired_busy(region->store, from >> shift, to >> shift)
                : hmm_pinned_for(region->store, from >> shift, to >> shift,
                                 writers))
            return true;
    }
    return false;
}

bool hmm_space_pinned(struct hurdmm_space *space)
{
    hmm_assert(hmm_entered(space->manager));
    return pinned_in(space, 0, UINT64_MAX, false, false);
}

bool hmm_pins_left(struct hurdmm *manager)
{
    unsigned shift = manager->physmem.page_shift;
    uint64_t wired = 0;
    struct hmm_list *link;

    hmm_assert(hmm_entered(manager));
    HMM_LIST_FOR_EACH(link, &manager->spaces)
    {
        struct hurdmm_space *space =
            HMM_CONTAINER_OF(link, struct hurdmm_space, link);
        struct hmm_region *region = region_of(hmm_span_lowest(&space->regions));

        for (; region; region = hmm_region_next(region)) {
            uint64_t first = region->mapping.by_offset.first >> shift;
            uint64_t last = region->mapping.by_offset.last >> shift;

            if (region->wired != HMM_WIRED)
                continue;
            if (hmm_wired_busy(region->store, first, last))
                return true;
            wired += last - first + 1;
        }
    }
    hmm_assert(wired <= manager->pinned); /* such stores are not SHARED */
    return manager->pinned > wired;
}

/* Room among the port's mappings.  Whole windows of addresses are taken back,
 * because neighbours that show nothing melt into one mapping, whereas one page
 * taken from the middle of a run makes two of it. */
#define WINDOW 256u
#define WINDOWS_MAX 64u

/* Takes pages back from every address that shows them: else their LENT bits
 * would stay, and who takes them back next would make mappings of nothing.
 * Pinned pages stay. */
static void take_pages(struct hurdmm_store *store, uint64_t first,
                       uint64_t last)
{
    struct hmm_physmem *physmem = &store->manager->physmem;
    struct hmm_batch batch;
    int err = 0;

    hmm_batch_begin(&batch, physmem, HURDMM_NONE);
    for (uint64_t page = first; !err && page <= last; page++) {
        struct hmm_place home = {.container = &store->cache, .page = page};

        hmm_home(&home);
        uint64_t *slot = hmm_container_slot(home.container, home.page);
        if (!hmm_resident(slot))
            continue;
        const struct hmm_frame *frame = &physmem->table[HMM_SLOT_FRAME(*slot)];
        if (!frame->pins_read && !frame->pins_write)
            err = hmm_batch_add(&batch, home.container, home.page, slot);
    }
    /* What an error leaves lent is lent still, and that is all. */
    if (!err)
        (void)hmm_batch_end(&batch);
}

/* Takes the next window after the hand back.  Where nothing is present the hand
 * moves on at once. */
static void take_window(struct hurdmm_space *space)
{
    unsigned shift = space->manager->physmem.page_shift;
    struct hmm_span *span =
        hmm_span_first_overlap(&space->regions, space->hand, UINTPTR_MAX);
    uint64_t from, to;

    if (!span) {
        space->hand = 0;
        return;
    }
    struct hmm_region *region = region_of(span);
    uint64_t start = hmm_max(space->hand, span->first);
    space->hand = (uintptr_t)(span->last + 1); /* 0: the space begins again */
    if (!region->store)
        return;
    part_of(region, start, span->last, &from, &to);
    uint64_t absent = hmm_absent_length(&region->store->cache, from >> shift);
    if (absent > (to - from) >> shift)
        return;
    from += absent << shift;
    to = hmm_min(to, from + ((WINDOW << shift) - 1));
    take_pages(region->store, from >> shift, to >> shift);
    if (to < region->mapping.by_offset.last)
        space->hand = hmm_mapping_address(&region->mapping, (to + 1) >> shift);
}

bool hmm_space_make_room(struct hurdmm_space *space, uint32_t pages)
{
    struct hurdmm *manager = space->manager;
    uint64_t before = manager->physmem.reclaim_pages;

    hmm_assert(hmm_entered(space->manager));
    /* Where bytes move with the rights there is nothing to win by it. */
    if (!(manager->info.features & HURDMM_PORT_ALIAS))
        return false;
    for (unsigned i = 0; i < WINDOWS_MAX; i++) {
        take_window(space);
        if (manager->physmem.reclaim_pages - before >= pages)
            return true;
    }
    return manager->physmem.reclaim_pages != before;
}

/* Splits the region that spans `address` so that one begins there.  The memory
 * for it is reserved, and what is lent stays lent: both parts together show what
 * the one did. */
static void split_at(struct hurdmm_space *space, uint64_t address)
{
    struct hmm_region *head = hmm_region_at(space, (uintptr_t)address);

    hmm_assert(!(address & (hmm_page_bytes(space->manager) - 1)));
    if (!head || head->by_address.first == address)
        return;
    struct hurdmm *manager = space->manager;
    struct hmm_region *tail = hmm_slab_alloc(&manager->region_slab);
    uint64_t first = head->by_address.first, last = head->by_address.last;
    uint64_t offset = head->mapping.by_offset.first;
    hmm_assert(tail && first < address && address <= last);
    *tail = *head;
    if (head->store)
        hmm_mapping_detach(&head->mapping);
    hmm_span_resize(&space->regions, &head->by_address, first, address - 1);
    tail->by_address.first = address;
    tail->by_address.last = last;
    add_region(space, tail);
    if (!head->store)
        return;
    hmm_mapping_attach(&head->mapping, &head->store->cache, offset,
                       address - first, space->token, (uintptr_t)first);
    hmm_mapping_attach(&tail->mapping, &head->store->cache,
                       offset + (address - first), last - address + 1,
                       space->token, (uintptr_t)address);
}

/* Is there a region that begins before `address` and spans it? */
static bool spanned(struct hurdmm_space *space, uint64_t address)
{
    const struct hmm_region *region = hmm_region_at(space, (uintptr_t)address);

    return region && region->by_address.first < address;
}

/* What needs no split needs no memory: so regions can go when there is none. */
int hmm_regions_cut(struct hurdmm_space *space, uint64_t first, uint64_t last)
{
    bool after = last < UINTPTR_MAX && spanned(space, last + 1);
    size_t cuts = (size_t)spanned(space, first) + after;
    int err = cuts ? hmm_slab_reserve(&space->manager->region_slab, cuts) : 0;

    hmm_assert(first <= last);
    if (err)
        return err;
    split_at(space, first);
    if (after)
        split_at(space, last + 1);
    return 0;
}

/* Nothing is lent through it any more. */
void hmm_region_remove(struct hmm_region *region)
{
    struct hurdmm *manager = region->space->manager;

    hmm_assert(hmm_entered(manager));
    if (region->wired == HMM_WIRED)
        hmm_unwire(region);
    unshare(region);
    if (region->store)
        hmm_mapping_detach(&region->mapping);
    remove_region(region->space, region);
    hmm_slab_free(&manager->region_slab, region);
}

/* Takes all of the range away.  ENOMEM: it is bound as it was. */
static int unbind(struct hurdmm_space *space, uint64_t first, uint64_t last)
{
    struct hmm_span *span, *next;

    int err = take_all(space, first, last, HURDMM_NONE);
    if (!err)
        err = hmm_regions_cut(space, first, last);
    if (err)
        return err;
    span = hmm_span_first_overlap(&space->regions, first, last);
    for (; span; span = next) {
        next = hmm_span_next_overlap(span, first, last);
        hmm_region_remove(region_of(span));
    }
    hmm_space_shrink(space, (uintptr_t)first, (size_t)(last - first + 1));
    return 0;
}

int hmm_enter_range(struct hurdmm_space *space, uintptr_t address,
                    size_t length, uint64_t *last)
{
    int err = hmm_enter_space(space);

    if (err)
        return err;
    if (hmm_range_check(space->manager, address, length) ||
        length - 1 > UINTPTR_MAX - address) {
        hmm_leave(space->manager);
        return EINVAL;
    }
    *last = address + (length - 1);
    return 0;
}

int hmm_unbind_check(struct hurdmm_space *space, uint64_t first, uint64_t last)
{
    hmm_assert(hmm_entered(space->manager));
    return pinned_in(space, first, last, false, false) ? EBUSY : 0;
}

int hmm_unbind(struct hurdmm_space *space, uint64_t first, uint64_t last)
{
    int err = hmm_unbind_check(space, first, last);

    return err ? err : unbind(space, first, last);
}

int hurdmm_unbind(struct hurdmm_space *space, uintptr_t address, size_t length)
{
    uint64_t last;
    int err = hmm_enter_range(space, address, length, &last);

    if (err)
        return err;
    err = hmm_unbind(space, address, last);
    hmm_leave(space->manager);
    return err;
}

/* Its pages may be pinned through another region, which does not matter here. */
static void undo_bind(struct hurdmm_space *space, uintptr_t address,
                      size_t length)
{
    if (hmm_enter_space(space))
        return;
    unbind(space, address, address + (length - 1));
    hmm_leave(space->manager);
}

int hmm_bind(struct hurdmm *manager, const struct hurdmm_bind_options *bind,
             uintptr_t *address)
{
    hmm_assert(hmm_entered(manager));
    int err = check_bind(manager, bind);
    if (!err)
        err = check_store(manager, bind);
    return err ? err : bind_region(manager, bind, address);
}

int hurdmm_bind(const struct hurdmm_bind_options *given, uintptr_t *address)
{
    uintptr_t where = 0;

    if (!given || !address || given->struct_size < sizeof *given)
        return EINVAL;
    /* It may lie in managed memory, which nobody may touch with the lock. */
    const struct hurdmm_bind_options copy = *given, *bind = &copy;
    int err = hmm_enter_space(bind->space);
    if (err)
        return err;
    struct hurdmm *manager = bind->space->manager;
    err = hmm_bind(manager, bind, &where);
    hmm_leave(manager);
    if (!err && bind->flags & HURDMM_BIND_WIRED) {
        err = hmm_wire(bind->space, where, bind->length);
        if (err)
            undo_bind(bind->space, where, bind->length);
    } else if (!err && bind->flags & HURDMM_BIND_POPULATE) {
        unsigned access = bind->rights & HURDMM_WRITE
                              ? HURDMM_READ | HURDMM_WRITE
                              : HURDMM_READ;
        err = hurdmm_populate(bind->space, where, bind->length, access, NULL);
        if (err)
            undo_bind(bind->space, where, bind->length);
    }
    if (!err)
        *address = where;
    return err;
}

/* Some region that shows the store, or NULL. */
static struct hmm_region *first_region(struct hurdmm_store *store)
{
    struct hmm_span *span = hmm_span_lowest(&store->cache.mappings);

    return span ? HMM_CONTAINER_OF(
                      HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset),
                      struct hmm_region, mapping)
                : NULL;
}

int hmm_store_detach(struct hurdmm_store *store)
{
    struct hmm_span *span = hmm_span_lowest(&store->cache.mappings);
    struct hmm_region *region;
    struct hmm_mapping *mapping;

    hmm_assert(hmm_entered(store->manager));
    for (; span; span = hmm_span_next(span)) {
        mapping = HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset);
        region = HMM_CONTAINER_OF(mapping, struct hmm_region, mapping);
        int err = take_range(region, span->first, span->last, HURDMM_NONE);
        if (err)
            return err;
    }
    while ((region = first_region(store)) != NULL) {
        struct hurdmm_space *space = region->space;
        uint64_t first = region->by_address.first;
        uint64_t last = region->by_address.last;

        hmm_region_remove(region);
        hmm_space_shrink(space, (uintptr_t)first, (size_t)(last - first + 1));
    }
    return 0;
}

/* For ends that may not fail: pins are ignored, and a reclaim that fails for
 * want of mappings is tried again region by region. */
void hmm_space_unbind_all(struct hurdmm_space *space)
{
    struct hmm_span *span;

    hmm_assert(hmm_entered(space->manager));
    while ((span = hmm_span_lowest(&space->regions)) != NULL) {
        struct hmm_region *region = region_of(span);
        uint64_t first = span->first, last = span->last;

        while (region->store &&
               take_range(region, region->mapping.by_offset.first,
                          region->mapping.by_offset.last, HURDMM_NONE))
            continue;
        hmm_region_remove(region);
        hmm_space_shrink(space, (uintptr_t)first, (size_t)(last - first + 1));
    }
}

int hmm_check_covered(struct hurdmm_space *space, uint64_t first, uint64_t last,
                      unsigned rights)
{
    struct hmm_region *region = hmm_region_at(space, (uintptr_t)first);

    for (;;) {
        if (!region || region->by_address.first > first)
            return ENOENT;
        if (rights & ~(unsigned)region->max_rights)
            return EACCES;
        if (region->by_address.last >= last)
            return 0;
        first = region->by_address.last + 1;
        region = hmm_region_next(region);
    }
}

/* Rights that go are taken back at once; those that come, come with faults. */
static int protect(struct hurdmm_space *space, uint64_t first, uint64_t last,
                   unsigned rights)
{
    struct hmm_span *span;
    int err = hmm_check_covered(space, first, last, rights);

    if (err)
        return err;
    if (!(rights & HURDMM_WRITE) &&
        pinned_in(space, first, last, rights & HURDMM_READ, true))
        return EBUSY;
    /* Only the write right can be taken alone. */
    if ((rights & (HURDMM_READ | HURDMM_EXECUTE)) !=
        (HURDMM_READ | HURDMM_EXECUTE))
        err = take_all(space, first, last,
                       rights & HURDMM_READ && !(space->manager->info.features &
                                                 HURDMM_PORT_EXECUTE)
                           ? HURDMM_READ
                           : HURDMM_NONE);
    else if (!(rights & HURDMM_WRITE))
        err = take_all(space, first, last, HURDMM_READ | HURDMM_EXECUTE);
    if (!err)
        err = hmm_regions_cut(space, first, last);
    if (err)
        return err;
    span = hmm_span_first_overlap(&space->regions, first, last);
    for (; span; span = hmm_span_next_overlap(span, first, last))
        region_of(span)->rights = (uint8_t)rights;
    return 0;
}

int hurdmm_protect(struct hurdmm_space *space, uintptr_t address, size_t length,
                   unsigned rights)
{
    uint64_t last;

    if (!rights_valid(rights))
        return EINVAL;
    int err = hmm_enter_range(space, address, length, &last);
    if (err)
        return err;
    err = protect(space, address, last, rights);
    hmm_leave(space->manager);
    return err;
}

/* The advice that says how a region is read.  What was learnt of it goes. */
static int set_advice(struct hurdmm_space *space, uint64_t first, uint64_t last,
                      enum hurdmm_advice advice)
{
    struct hmm_span *span;
    int err = hmm_check_covered(space, first, last, 0);

    if (!err)
        err = hmm_regions_cut(space, first, last);
    if (err)
        return err;
    span = hmm_span_first_overlap(&space->regions, first, last);
    for (; span; span = hmm_span_next_overlap(span, first, last)) {
        region_of(span)->advice = (uint8_t)advice;
        region_of(span)->window = 0;
    }
    return 0;
}

/* WILLNEED and DONTNEED go to the stores; the others are the region's too. */
static int advise_stores(struct hurdmm_space *space, uint64_t first,
                         uint64_t last, enum hurdmm_advice advice)
{
    struct hmm_span *span =
        hmm_span_first_overlap(&space->regions, first, last);

    while (span) {
        struct hurdmm_store *store = region_of(span)->store;
        uint64_t from, to, end = span->last;

        part_of(region_of(span), first, last, &from, &to);
        if (store) {
            hmm_leave(space->manager);
            hurdmm_store_advise(store, from, to - from + 1, advice);
            int err = hmm_enter_space(space);
            if (err)
                return err;
        }
        if (end >= last)
            break;
        first = end + 1;
        span = hmm_span_first_overlap(&space->regions, first, last);
    }
    hmm_leave(space->manager);
    return 0;
}

int hurdmm_advise(struct hurdmm_space *space, uintptr_t address, size_t length,
                  enum hurdmm_advice advice)
{
    uint64_t last;

    if ((unsigned)advice > HURDMM_ADVICE_READ_ONCE)
        return EINVAL;
    int err = hmm_enter_range(space, address, length, &last);
    if (err)
        return err;
    if (advice == HURDMM_ADVICE_WILLNEED || advice == HURDMM_ADVICE_DONTNEED)
        err = hmm_check_covered(space, address, last, 0);
    else
        err = set_advice(space, address, last, advice);
    if (!err)
        return advise_stores(space, address, last, advice);
    hmm_leave(space->manager);
    return err;
}

int hurdmm_region_find(struct hurdmm_space *space, uintptr_t address,
                       struct hurdmm_region_info *info)
{
    if (!info)
        return EINVAL;
    int err = hmm_enter_space(space);
    if (err)
        return err;
    struct hurdmm_region_info found = {0};
    struct hmm_region *region =
        region_of(hmm_span_first_overlap(&space->regions, address, UINT64_MAX));
    if (region) {
        found = (struct hurdmm_region_info){
            .address = (uintptr_t)region->by_address.first,
            .length = (size_t)(region->by_address.last -
                               region->by_address.first + 1),
            .store = region->store && !region->store->container ? region->store
                                                                : NULL,
            .offset = region->mapping.by_offset.first,
            .rights = region->rights,
            .max_rights = region->max_rights,
            .advice = (enum hurdmm_advice)region->advice,
        };
    }
    hmm_leave(space->manager);
    if (!region)
        return ENOENT;
    *info = found;
    return 0;
}
