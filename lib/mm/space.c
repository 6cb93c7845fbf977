/* SPDX-License-Identifier: MIT */
/* space.c - address spaces and the room in them.
 *
 * Room comes from the port in arenas; regions are packed into them, so that a
 * million regions need no million reservations.  A range that is asked for
 * exactly gets an arena of its own where no arena has it yet, which goes with
 * its last region; the others stay for the next bind.
 *
 * Arenas do not overlap, and each region lies in one or more of them, of its own
 * way of answering faults; reserved regions, in which nothing is ever lent, need
 * not.  Nothing here drops the lock.
 */
#include "lib/mm/mm.h"

#define ARENA_FIRST ((uint64_t)64 << 20)
#define ARENA_MAX ((uint64_t)16 << 30)

int hmm_space_make(struct hurdmm *manager, void *token,
                   struct hurdmm_space **result)
{
    struct hurdmm_space *space = hmm_slab_alloc(&manager->space_slab);

    if (!space)
        return ENOMEM;
    memset(space, 0, sizeof *space);
    space->magic = HMM_MAGIC_SPACE;
    space->manager = manager;
    space->token = token;
    hmm_span_tree_init(&space->regions);
    hmm_index_init(&space->starts, &manager->physmem.nodes);
    space->starts_known = true;
    hmm_span_tree_init(&space->arenas);
    hmm_span_tree_init(&space->catchers);
    space->arena_size = (size_t)hmm_min(
        ARENA_FIRST, hmm_max((manager->info.high - manager->info.low) / 64,
                             hmm_page_bytes(manager)));
    space->arena_size =
        (size_t)hmm_align_up(space->arena_size, hmm_page_bytes(manager));
    hmm_assert(space->arena_size > 0);
    hmm_list_append(&manager->spaces, &space->link);
    *result = space;
    return 0;
}

/* Gives the arena's range back to the port; nothing is bound or lent in it. */
static void release_arena(struct hurdmm_space *space, struct hmm_arena *arena)
{
    struct hurdmm *manager = space->manager;

    hmm_assert(arena->span.first <= arena->span.last);
    manager->ops->release(manager->port, space->token,
                          (uintptr_t)arena->span.first,
                          (size_t)(arena->span.last - arena->span.first + 1));
    hmm_span_remove(&space->arenas, &arena->span);
    hmm_slab_free(&manager->arena_slab, arena);
}

/* Nothing is bound any more. */
void hmm_space_end(struct hurdmm_space *space)
{
    struct hurdmm *manager = space->manager;
    struct hmm_span *span;

    hmm_assert(hmm_entered(space->manager));
    hmm_space_unbind_all(space);
    while ((span = hmm_span_lowest(&space->arenas)) != NULL)
        release_arena(space, HMM_CONTAINER_OF(span, struct hmm_arena, span));
    while ((span = hmm_span_lowest(&space->catchers)) != NULL) {
        hmm_span_remove(&space->catchers, span);
        hmm_slab_free(&manager->catcher_slab,
                      HMM_CONTAINER_OF(span, struct hmm_catcher, span));
    }
    hmm_list_remove(&space->link);
    space->magic = 0;
    hmm_slab_free(&manager->space_slab, space);
}

struct hurdmm_space *hmm_space_by_token(struct hurdmm *manager, void *token)
{
    struct hmm_list *link;

    hmm_assert(hmm_entered(manager));
    if (token == NULL)
        return manager->own;
    HMM_LIST_FOR_EACH(link, &manager->spaces)
    {
        struct hurdmm_space *space =
            HMM_CONTAINER_OF(link, struct hurdmm_space, link);
        if (space->token == token)
            return space;
    }
    return NULL;
}

/* Reserves a range, at this address if `exact`, else anywhere. */
static int add_arena(struct hurdmm_space *space, uintptr_t address, size_t size,
                     bool exact, unsigned way, struct hmm_arena **result)
{
    struct hurdmm *manager = space->manager;
    struct hmm_arena *arena = hmm_slab_alloc(&manager->arena_slab);

    hmm_assert(size > 0 && !(size & (hmm_page_bytes(manager) - 1)));
    if (!arena)
        return ENOMEM;
    int err = manager->ops->reserve(manager->port, space->token, &address, size,
                                    (exact ? HURDMM_RESERVE_EXACT : 0) | way);
    if (err) {
        hmm_slab_free(&manager->arena_slab, arena);
        return err;
    }
    hmm_assert(!(address & (hmm_page_bytes(manager) - 1)));
    hmm_assert(size - 1 <= UINTPTR_MAX - address);
    arena->exact = exact;
    arena->way = way;
    arena->span.first = address;
    arena->span.last = address + (size - 1);
    hmm_span_insert(&space->arenas, &arena->span);
    *result = arena;
    return 0;
}

static unsigned way_of(const struct hmm_span *span)
{
    return HMM_CONTAINER_OF(span, struct hmm_arena, span)->way;
}

unsigned hmm_space_way(const struct hurdmm_space *space, uintptr_t address)
{
    struct hmm_span *span =
        hmm_span_first_overlap(&space->arenas, address, address);

    hmm_assert(hmm_entered(space->manager));
    return span ? way_of(span) : 0;
}

/* Reserves what no arena has of the range, piece by piece.  EEXIST also where
 * one has it whose faults are answered in the other way. */
static int room_exact(struct hurdmm_space *space, uintptr_t address,
                      size_t length, unsigned way)
{
    struct hmm_arena *made[16];
    uint64_t first = address, last = address + (length - 1);
    unsigned count = 0;
    int err = 0;

    hmm_assert(length > 0 && first <= last);
    if (hmm_span_first_overlap(&space->regions, first, last))
        return EEXIST;
    for (;;) {
        struct hmm_span *span =
            hmm_span_first_overlap(&space->arenas, first, last);
        if (span && way_of(span) != way) {
            err = EEXIST;
            break;
        }
        if (!span || span->first > first) {
            uint64_t end = span ? span->first - 1 : last;
            err = count < 16 ? add_arena(space, (uintptr_t)first,
                                         (size_t)(end - first + 1), true, way,
                                         &made[count])
                             : ENOMEM;
            if (err)
                break;
            count++;
        }
        if (!span || span->last >= last)
            break;
        first = span->last + 1;
    }
    while (err && count > 0)
        release_arena(space, made[--count]);
    return err;
}

/* The lowest room that an arena of this way of answering has. */
static bool room_in_arenas(struct hurdmm_space *space, size_t length,
                           size_t align, unsigned way, uintptr_t *found)
{
    struct hmm_span *span = hmm_span_lowest(&space->arenas);
    uint64_t first;

    for (; span; span = hmm_span_next(span)) {
        if (span->last - span->first < length - 1 || way_of(span) != way)
            continue;
        if (hmm_span_find_gap(&space->regions, span->first, span->last, length,
                              align, &first)) {
            *found = (uintptr_t)first;
            return true;
        }
    }
    return false;
}

/* A new arena, large enough for many such, or at least for this one. */
static int room_new(struct hurdmm_space *space, size_t length, unsigned way)
{
    struct hmm_arena *arena;
    size_t size = space->arena_size > length ? space->arena_size : length;
    int err = add_arena(space, 0, size, false, way, &arena);

    if (err && size > length)
        err = add_arena(space, 0, length, false, way, &arena);
    else if (!err && (uint64_t)space->arena_size * 2 <= ARENA_MAX &&
             space->arena_size < space->manager->info.high / 64)
        space->arena_size *= 2;
    return err;
}

int hmm_space_room(struct hurdmm_space *space, uintptr_t address, size_t length,
                   size_t align, unsigned flags, uintptr_t *found)
{
    unsigned way = (flags & HURDMM_BIND_INLINE ? HURDMM_RESERVE_INLINE : 0) |
                   (flags & HURDMM_BIND_WIRED ? HURDMM_RESERVE_TRACKED : 0);
    size_t slack = align - hmm_page_bytes(space->manager);

    hmm_assert(hmm_entered(space->manager));
    hmm_assert(hmm_is_pow2(align) && align <= length);

    if (flags & HURDMM_BIND_EXACT || address) {
        int err = room_exact(space, address, length, way);
        if (!err)
            *found = address;
        if (!err || flags & HURDMM_BIND_EXACT)
            return err;
    }
    /* A new arena may lie over a reserved region and have less room than it
     * seems: ask for another then. */
    for (int tries = 0; tries < 8; tries++) {
        if (room_in_arenas(space, length, align, way, found))
            return 0;
        int err = length <= SIZE_MAX - slack
                      ? room_new(space, length + slack, way)
                      : ENOMEM;
        if (err)
            return err;
    }
    return ENOMEM;
}

/* After an unbind: arenas in the range that were made for one bind and have no
 * region left go back. */
void hmm_space_shrink(struct hurdmm_space *space, uintptr_t address,
                      size_t length)
{
    uint64_t last = address + (length - 1);
    struct hmm_span *span, *next;

    hmm_assert(hmm_entered(space->manager));
    span = hmm_span_first_overlap(&space->arenas, address, last);
    for (; span; span = next) {
        struct hmm_arena *arena =
            HMM_CONTAINER_OF(span, struct hmm_arena, span);
        next = hmm_span_next_overlap(span, address, last);
        if (arena->exact &&
            !hmm_span_first_overlap(&space->regions, span->first, span->last))
            release_arena(space, arena);
    }
}

struct hurdmm_space *hurdmm_space_own(struct hurdmm *manager)
{
    return manager && manager->magic == HMM_MAGIC_MANAGER ? manager->own : NULL;
}

int hurdmm_space_create(struct hurdmm *manager, void *token,
                        struct hurdmm_space **result)
{
    struct hurdmm_space *space = NULL;

    if (!result || !token)
        return EINVAL;
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    if (!(manager->info.features & HURDMM_PORT_SPACES))
        err = ENOTSUP;
    else if (hmm_space_by_token(manager, token))
        err = EEXIST;
    else
        err = hmm_space_make(manager, token, &space);
    hmm_leave(manager);
    if (!err)
        *result = space;
    return err;
}

int hurdmm_space_destroy(struct hurdmm_space *space, unsigned flags)
{
    if (flags & ~HURDMM_DETACH)
        return EINVAL;
    int err = hmm_enter_space(space);
    if (err)
        return err;
    struct hurdmm *manager = space->manager;
    /* Pins are undone by space and address: after its end nobody could. */
    if (space == manager->own ||
        (space->regions.count > 0 && !(flags & HURDMM_DETACH)) ||
        hmm_space_pinned(space))
        err = EBUSY;
    else
        hmm_space_end(space);
    hmm_leave(manager);
    return err;
}

struct hurdmm *hurdmm_space_manager(const struct hurdmm_space *space)
{
    return space->manager;
}

int hurdmm_catch(struct hurdmm_space *space, uintptr_t address, size_t length,
                 int (*catcher)(void *hook,
                                const struct hurdmm_catch_info *info),
                 void *hook)
{
    if (!catcher || !hmm_range_ok(address, length) ||
        length - 1 > UINTPTR_MAX - address)
        return EINVAL;
    int err = hmm_enter_space(space);
    if (err)
        return err;
    struct hurdmm *manager = space->manager;
    struct hmm_catcher *entry = NULL;
    uint64_t last = address + (length - 1);
    if (hmm_span_first_overlap(&space->catchers, address, last))
        err = EEXIST;
    else if (!(entry = hmm_slab_alloc(&manager->catcher_slab)))
        err = ENOMEM;
    if (!err) {
        entry->call = catcher;
        entry->hook = hook;
        entry->span.first = address;
        entry->span.last = last;
        hmm_span_insert(&space->catchers, &entry->span);
    }
    hmm_leave(manager);
    return err;
}

int hurdmm_uncatch(struct hurdmm_space *space, uintptr_t address)
{
    int err = hmm_enter_space(space);

    if (err)
        return err;
    struct hurdmm *manager = space->manager;
    struct hmm_span *span =
        hmm_span_first_overlap(&space->catchers, address, address);
    if (span && span->first == address) {
        hmm_span_remove(&space->catchers, span);
        hmm_slab_free(&manager->catcher_slab,
                      HMM_CONTAINER_OF(span, struct hmm_catcher, span));
    } else {
        err = ENOENT;
    }
    hmm_leave(manager);
    return err;
}
