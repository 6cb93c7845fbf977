/* SPDX-License-Identifier: MIT */
/* container.c - containers of the public kind: frames by offset.
 *
 * Inside, a container is a store without operations: absent pages are holes,
 * and pages are never ranked, so they never leave memory.
 */
#include "lib/mm/mm.h"

/* Both kinds of handle: a container's, and a store's as a container. */
int hmm_enter_container(struct hurdmm_container *handle)
{
    struct hurdmm_store *container = hmm_container_of(handle);

    if (!container)
        return EINVAL;
    if (container->magic != HMM_MAGIC_CONTAINER)
        return hmm_enter_store(container);
    struct hurdmm *manager = container->manager;
    int err = hmm_enter(manager);
    if (!err && container->magic != HMM_MAGIC_CONTAINER) {
        hmm_leave(manager);
        err = ESTALE;
    }
    return err;
}

/* The container's own kind only: ENOTSUP for a store's. */
static int enter(struct hurdmm_container *handle)
{
    int err = hmm_enter_container(handle);

    if (!err && !hmm_container_of(handle)->container) {
        hmm_leave(hmm_container_of(handle)->manager);
        err = ENOTSUP;
    }
    return err;
}

struct hurdmm_store *hmm_container_make(struct hurdmm *manager)
{
    struct hurdmm_store *container = hmm_slab_alloc(&manager->store_slab);

    hmm_assert(hmm_entered(manager));
    if (!container)
        return NULL;
    memset(container, 0, sizeof *container);
    container->magic = HMM_MAGIC_CONTAINER;
    container->manager = manager;
    container->container = true;
    container->flags = HURDMM_STORE_SHARED | HURDMM_STORE_VOLATILE;
    container->size = UINT64_MAX - (hmm_page_bytes(manager) - 1);
    container->block_pages = 1;
    container->id = ++manager->next_id;
    container->account = manager->account;
    hmm_container_init(&container->cache, &manager->physmem,
                       &manager->account->payer, true);
    hmm_index_init(&container->left, &manager->physmem.nodes);
    hmm_list_append(&manager->containers, &container->link);
    return container;
}

/* An empty one that nobody has seen. */
void hmm_container_end(struct hurdmm_store *container)
{
    hmm_assert(hmm_entered(container->manager));
    hmm_list_remove(&container->link);
    hmm_index_clear(&container->left);
    container->magic = 0;
    container->id = 0;
    hmm_slab_free(&container->manager->store_slab, container);
}

int hurdmm_container_create(struct hurdmm *manager,
                            struct hurdmm_container **result)
{
    if (!result)
        return EINVAL;
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_make(manager);
    hmm_leave(manager);
    if (!container)
        return ENOMEM;
    *result = (struct hurdmm_container *)(void *)container;
    return 0;
}

int hurdmm_container_destroy(struct hurdmm_container *handle)
{
    int err = enter(handle);

    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    if (container->cache.mappings.count > 0 || container->pinned ||
        container->users)
        err = EBUSY;
    if (!err) {
        hmm_grants_forget(container);
        hmm_bury(container);
    }
    hmm_leave(manager);
    return err;
}

/* How many pages from `page` on are free, at most `count` and `most`. */
static uint32_t room_at(const struct hurdmm_store *container, uint64_t page,
                        uint64_t count, uint64_t most)
{
    const struct hmm_bond *bond =
        hmm_bond_in(&container->cache, page, page + (count - 1));
    uint64_t found;

    if (bond)
        count = bond->by_target.first > page ? bond->by_target.first - page : 0;
    if (hmm_index_next(&container->cache.index, page, &found))
        count = hmm_min(count, found - page);
    return (uint32_t)hmm_min(count, most);
}

/* How many of `count` pages come before the first that can begin a large page of
 * the allocation's `rest`: they do not run on into it. */
static uint32_t before_large(const struct hurdmm *manager, uint64_t page,
                             uint32_t count, uint64_t rest)
{
    unsigned shift = manager->physmem.page_shift;
    uint64_t sizes = manager->info.page_sizes >> shift & ~UINT64_C(1);

    for (; sizes != 0; sizes &= sizes - 1) {
        uint64_t size = sizes & -sizes;
        uint64_t before = -page & (size - 1);

        if (before > 0 && before < count && rest - before >= size)
            count = (uint32_t)before;
    }
    return count;
}

/* A large page's frames for the next pages, if they may be one and there are such
 * frames: ENOENT else, and ordinary ones will do. */
static int take_large(struct hurdmm_store *container, uint64_t page,
                      uint64_t count, uint32_t *first, uint32_t *got)
{
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    size_t size = hmm_large_page(manager, page << shift, count << shift);
    struct hmm_constraint aligned = {.alignment = size};

    hmm_assert(hmm_is_pow2(size) && size >= hmm_page_bytes(manager));
    *got = (uint32_t)(size >> shift);
    if (*got == 1 || room_at(container, page, count, *got) < *got ||
        hmm_account_try(container, *got))
        return ENOENT;
    return hmm_frames_take_run(&manager->physmem, *got, &aligned, first)
               ? ENOENT
               : 0;
}

/* Zeroes frames and gives them to pages.  On an error none are given. */
static int give(struct hurdmm_store *container, uint64_t page, uint32_t first,
                uint32_t count)
{
    struct hurdmm *manager = container->manager;
    void *bytes;
    uint32_t i = 0;
    int err = hmm_frames_window(&manager->physmem, first, count, &bytes);

    hmm_assert(count > 0 && room_at(container, page, count, count) == count);
    if (!err)
        memset(bytes, 0, (size_t)count << manager->physmem.page_shift);
    while (!err && i < count) {
        err = hmm_container_put(&container->cache, page + i, first + i);
        i += !err;
    }
    while (err && i-- > 0)
        hmm_container_take(&container->cache, page + i);
    if (err)
        hmm_frames_drop(&manager->physmem, first, count);
    return err;
}

/* What an allocation asks for. */
struct asked {
    unsigned flags;
    const struct hmm_constraint *constraint; /* NULL: none */
    uint64_t pages;
};

/* Frames for some pages, in a row.  EAGAIN: the lock was dropped. */
static int take_frames(struct hurdmm *manager, const struct asked *asked,
                       uint32_t want, uint32_t hint, uint32_t *first,
                       uint32_t *got)
{
    bool whole = asked->flags & HURDMM_CONTIGUOUS;

    if (!asked->constraint && !whole)
        return hmm_frames_get(manager, want, hint, first, got);
    *got = whole ? (uint32_t)asked->pages : 1;
    int err =
        hmm_frames_take_run(&manager->physmem, *got, asked->constraint, first);
    if (err != ENOMEM)
        return err;
    err = hmm_reclaim(manager, *got);
    return err ? err : EAGAIN;
}

/* Allocates the next pages; *got says how many. */
static int allocate_some(struct hurdmm_store *container, uint64_t page,
                         uint64_t count, const struct asked *asked,
                         uint32_t *got)
{
    struct hurdmm *manager = container->manager;
    bool whole = asked->flags & HURDMM_CONTIGUOUS;
    uint32_t want, first;
    const uint64_t *before =
        page ? hmm_container_slot(&container->cache, page - 1) : NULL;
    uint32_t hint = before ? HMM_SLOT_FRAME(*before) + 1 : HURDMM_FRAME_NONE;

    if (!whole && !asked->constraint &&
        !take_large(container, page, count, &first, got))
        return give(container, page, first, *got);
    /* Somebody may have come since it was looked at as a whole. */
    want = room_at(container, page, count, whole ? count : HMM_RUN_MAX);
    if (want == 0 || (whole && want < count))
        return EEXIST;
    if (!whole && !asked->constraint)
        want = before_large(manager, page, want, count);
    int err = hmm_account_try(container, want);
    if (err && want > 1 && !whole) {
        want = 1;
        err = hmm_account_try(container, 1);
    }
    if (!err)
        err = take_frames(manager, asked, want, hint, &first, got);
    return err ? err : give(container, page, first, *got);
}

/* Is anything there?  All-or-none must know before the first page. */
static bool occupied(const struct hurdmm_store *container, uint64_t first,
                     uint64_t last)
{
    uint64_t page;

    return hmm_bond_in(&container->cache, first, last) ||
           (hmm_index_next(&container->cache.index, first, &page) &&
            page <= last);
}

/* How often a request that a constraint or contiguity makes hard is tried with
 * more memory free. */
#define TRIES_MAX 16u

/* Allocates pages one after the other; the lock may be dropped. */
static int allocate(struct hurdmm_store *container, uint64_t first,
                    const struct asked *asked, uint64_t *done)
{
    unsigned tries = 0;
    uint32_t got = 0;
    int err = 0;

    container->users++;
    while (!err && *done < asked->pages) {
        err = allocate_some(container, first + *done, asked->pages - *done,
                            asked, &got);
        if (!err) {
            *done += got;
            tries = 0;
        } else if (err == EAGAIN) {
            err = (asked->constraint || asked->flags & HURDMM_CONTIGUOUS) &&
                          ++tries > TRIES_MAX
                      ? ENOMEM
                      : 0;
        }
    }
    container->users--;
    return err;
}

/* EINVAL: no range of pages; ERANGE: no machine has such a run. */
static int check_asked(const struct hurdmm *manager, uint64_t offset,
                       uint64_t length, const struct asked *asked)
{
    if (hmm_range_check(manager, offset, length))
        return EINVAL;
    if (asked->flags & HURDMM_CONTIGUOUS && asked->pages >= UINT32_MAX)
        return ERANGE;
    return 0;
}

/* Checks, allocates, and says how many bytes came of it; all-or-none gives back
 * what it got. */
static int allocate_range(struct hurdmm_container *handle, uint64_t offset,
                          uint64_t length, struct asked *asked, uint64_t *done)
{
    int err = enter(handle);

    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    uint64_t first = offset >> shift, got = 0;
    asked->pages = length >> shift;
    err = check_asked(manager, offset, length, asked);
    if (!err && asked->flags & (HURDMM_ALL_OR_NONE | HURDMM_CONTIGUOUS) &&
        occupied(container, first, first + asked->pages - 1))
        err = EEXIST;
    if (!err)
        err = allocate(container, first, asked, &got);
    hmm_account_refuse(container, err);
    if (err && asked->flags & HURDMM_ALL_OR_NONE && got > 0) {
        hmm_container_release(container, first, first + got - 1);
        got = 0;
    }
    hmm_leave(manager);
    *done = got << shift; /* it may lie in managed memory */
    return err;
}

int hurdmm_container_allocate(struct hurdmm_container *container,
                              uint64_t offset, uint64_t length, unsigned flags,
                              uint64_t *done)
{
    struct asked asked = {.flags = flags};

    if (!done)
        return EINVAL;
    *done = 0;
    if (flags & ~HURDMM_ALL_OR_NONE)
        return EINVAL;
    return allocate_range(container, offset, length, &asked, done);
}

int hurdmm_container_allocate_constrained(
    struct hurdmm_container *container, uint64_t offset, uint64_t length,
    unsigned flags, const struct hurdmm_constraint *constraint, uint64_t *done)
{
    struct hmm_constraint inner;
    struct asked asked = {.flags = flags};

    if (!done)
        return EINVAL;
    *done = 0;
    if (flags & ~(HURDMM_ALL_OR_NONE | HURDMM_CONTIGUOUS) ||
        (constraint && constraint->struct_size < sizeof *constraint))
        return EINVAL;
    if (constraint) {
        inner = (struct hmm_constraint){
            .must_set = constraint->must_set,
            .must_clear = constraint->must_clear,
            .low = constraint->low,
            .high = constraint->high,
            .alignment = constraint->alignment,
            .boundary = constraint->boundary,
            .colour = constraint->colour,
            .colours = constraint->colours,
        };
        asked.constraint = &inner;
    }
    return allocate_range(container, offset, length, &asked, done);
}

int hurdmm_container_release(struct hurdmm_container *handle, uint64_t offset,
                             uint64_t length)
{
    int err = enter(handle);

    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    err = hmm_range_check(manager, offset, length);
    if (!err)
        err = hmm_container_release(container, offset >> shift,
                                    (offset + (length - 1)) >> shift);
    hmm_leave(manager);
    return err;
}

/* ---- Pins ---- */

/* So many runs are kept until the lock is dropped: the caller's may be managed
 * memory. */
#define RUNS_SOME 16u

/* The physical runs of a range, in the order of its pages. */
struct runs {
    struct hurdmm_physical_run *given; /* the caller's */
    size_t max;                        /* that he has room for */
    size_t told;                       /* that he has; more are in `some' */
    size_t count;                      /* in `some', the last of them open */
    struct hurdmm_physical_run some[RUNS_SOME];
};

/* Hands over what has been found.  Drops the lock. */
static void tell_runs(struct hurdmm *manager, struct runs *runs)
{
    hmm_assert(runs->told + runs->count <= runs->max);
    hmm_leave(manager);
    memcpy(runs->given + runs->told, runs->some,
           runs->count * sizeof runs->some[0]);
    hmm_enter_again(manager);
    runs->told += runs->count;
    runs->count = 0;
}

/* Adds a page.  ERANGE: there are too many runs; EAGAIN: the lock was dropped to
 * make room, and nothing was added. */
static int add_run(struct hurdmm *manager, uint32_t frame, struct runs *runs)
{
    uint64_t address = hmm_frame_address(&manager->physmem, frame);
    struct hurdmm_physical_run *last =
        runs->count > 0 ? &runs->some[runs->count - 1] : NULL;
    size_t page = hmm_page_bytes(manager);

    hmm_assert(runs->count <= RUNS_SOME);
    if (last && last->address + last->length == address) {
        last->length += page;
        return 0;
    }
    if (runs->told + runs->count == runs->max)
        return ERANGE;
    if (runs->count == RUNS_SOME) {
        tell_runs(manager, runs);
        return EAGAIN;
    }
    runs->some[runs->count].address = address;
    runs->some[runs->count++].length = page;
    return 0;
}

/* Pins the pages one after the other and lists where they are in memory.  On an
 * error none is pinned; the lock may have been dropped. */
static int pin_range(struct hurdmm_store *container, uint64_t first,
                     uint64_t pages, unsigned access, struct runs *runs)
{
    struct hurdmm *manager = container->manager;
    uint64_t i = 0;
    int err = 0;

    container->users++;
    while (!err && i < pages) {
        struct hmm_want want = {
            .store = container,
            .page = first + i,
            .access = access,
            .thread = hmm_thread_self(manager),
            .own = true,
        };
        uint64_t *slot;

        err = hmm_obtain(&want, &slot);
        if (!err)
            err = add_run(manager, HMM_SLOT_FRAME(*slot), runs);
        if (err == EAGAIN) {
            err = 0;
            continue;
        }
        if (!err)
            err = hmm_page_pin(want.store, want.page, slot, access);
        i += !err;
    }
    while (err && i-- > 0) {
        struct hmm_want want = {.store = container, .page = first + i};
        uint64_t *slot = hmm_home_slot(&want);
        hmm_page_unpin(want.store, want.page, slot, access);
    }
    container->users--;
    return err;
}

int hurdmm_container_pin(struct hurdmm_container *handle, uint64_t offset,
                         uint64_t length, unsigned access,
                         struct hurdmm_physical_run *runs, size_t max,
                         size_t *count)
{
    struct runs found = {.given = runs, .max = max};

    if (!runs || !count || !access || access & ~HURDMM_RIGHTS)
        return EINVAL;
    int err = enter(handle);
    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    err = hmm_range_check(manager, offset, length);
    if (!err && length >> shift > manager->pin_limit)
        err = EDQUOT;
    if (!err)
        err = pin_range(container, offset >> shift, length >> shift, access,
                        &found);
    hmm_leave(manager);
    if (err)
        return err;
    memcpy(runs + found.told, found.some, found.count * sizeof found.some[0]);
    *count = found.told + found.count;
    return 0;
}

/* Has each page of the range a pin of its own?  EINVAL. */
static int check_pins(struct hurdmm_store *container, uint64_t first,
                      uint64_t pages, unsigned access)
{
    struct hurdmm *manager = container->manager;
    uint64_t n = 0;
    int err = 0;

    hmm_assert(hmm_entered(manager));
    while (!err && n < pages) {
        struct hmm_want want = {.store = container, .page = first + n};

        if (hmm_page_pin_off(manager, hmm_home_slot(&want), access))
            n++;
        else
            err = EINVAL;
    }
    while (n-- > 0) {
        struct hmm_want want = {.store = container, .page = first + n};

        hmm_page_pin_on(manager, hmm_home_slot(&want), access);
    }
    return err;
}

int hurdmm_container_unpin(struct hurdmm_container *handle, uint64_t offset,
                           uint64_t length, unsigned access)
{
    if (!access || access & ~HURDMM_RIGHTS)
        return EINVAL;
    int err = enter(handle);
    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    uint64_t first = offset >> shift, pages = length >> shift;
    err = hmm_range_check(manager, offset, length);
    if (!err)
        err = check_pins(container, first, pages, access);
    for (uint64_t i = 0; !err && i < pages; i++) {
        struct hmm_want want = {.store = container, .page = first + i};
        uint64_t *slot = hmm_home_slot(&want);
        hmm_page_unpin(want.store, want.page, slot, access);
    }
    hmm_leave(manager);
    return err;
}
