/* SPDX-License-Identifier: MIT */
/* priority.c - which discardable pages go first.
 *
 * How much memory discardable pages have beside others is the policy's affair.
 * But when it names one of them, one of a lower priority goes instead as long as
 * there is any.  For that, ranked pages of discardable stores stand on shelves,
 * one for each priority, the longest there first.  There are none before the
 * first priority is set, so that who sets none pays nothing.
 *
 * A store has a priority, and *grades*: ranges with others.
 *
 * Invariants (hmm_shelves_check)
 *   P1  with shelves, a frame stands on one iff its page is ranked and its store
 *       discardable, on that of the page's priority;
 *   P2  a bit of `some` is set iff there is something on the shelf;
 *   P3  grades of a store do not overlap.
 *
 * All is under the manager's lock, which nothing here drops.  A frame comes to a
 * shelf when its page is ranked and leaves it when it is unranked (page.c), and
 * between the two when its priority is set (arrange).
 */
#include "lib/mm/mm.h"

#define LEVELS (HURDMM_PRIORITY_MAX - HURDMM_PRIORITY_MIN + 1)

/* Candidates that are looked at for one victim, beside those that have been
 * chosen already. */
#define TRIES 8u

struct shelf {
    uint32_t first, last; /* 1 + frame, 0: nobody */
};

struct place {
    uint32_t next, prev; /* as above */
    uint8_t level;       /* 1 + number of the shelf, 0: on none */
};

struct hmm_shelves {
    uint64_t some[LEVELS / 64];
    struct shelf shelf[LEVELS];
    struct place place[]; /* by frame */
};

_Static_assert(LEVELS % 64 == 0, "P2 needs whole words");

/* A range of pages with a priority of its own. */
struct grade {
    struct hmm_span span;
    int priority;
};

/* The grade of a span in a store's tree. */
static struct grade *grade_of(struct hmm_span *span)
{
    return HMM_CONTAINER_OF(span, struct grade, span);
}

/* The grade's that covers the page, else the store's. */
static int priority_of(const struct hurdmm_store *store, uint64_t page)
{
    struct hmm_span *span =
        store->grades.count == 0
            ? NULL
            : hmm_span_first_overlap(&store->grades, page, page);

    return span ? grade_of(span)->priority : store->priority;
}

/* The number of the shelf for the page: 0 goes first. */
static uint32_t level_of(const struct hurdmm_store *store, uint64_t page)
{
    hmm_assert(priority_of(store, page) >= HURDMM_PRIORITY_MIN &&
               priority_of(store, page) <= HURDMM_PRIORITY_MAX);
    return (uint32_t)(priority_of(store, page) - HURDMM_PRIORITY_MIN);
}

/* ---- Shelves ---- */

void hmm_shelf_put(struct hurdmm_store *store, uint64_t page, uint32_t frame)
{
    struct hmm_shelves *shelves = store->manager->shelves;

    if (!shelves || !(store->flags & HURDMM_STORE_DISCARDABLE))
        return;
    hmm_assert(frame < store->manager->physmem.frames);
    uint32_t level = level_of(store, page);
    struct shelf *shelf = &shelves->shelf[level];
    struct place *place = &shelves->place[frame];
    hmm_assert(place->level == 0 && level < LEVELS);
    hmm_assert(!shelf->first == !shelf->last); /* P2 */
    place->level = (uint8_t)(level + 1);
    place->next = 0;
    place->prev = shelf->last;
    if (shelf->last)
        shelves->place[shelf->last - 1].next = frame + 1;
    else
        shelf->first = frame + 1;
    shelf->last = frame + 1;
    shelves->some[level / 64] |= UINT64_C(1) << level % 64;
}

void hmm_shelf_take(struct hurdmm *manager, uint32_t frame)
{
    struct hmm_shelves *shelves = manager->shelves;

    if (!shelves || !shelves->place[frame].level)
        return;
    struct place *place = &shelves->place[frame];
    uint32_t level = place->level - 1u;
    struct shelf *shelf = &shelves->shelf[level];
    if (place->prev)
        shelves->place[place->prev - 1].next = place->next;
    else
        shelf->first = place->next;
    if (place->next)
        shelves->place[place->next - 1].prev = place->prev;
    else
        shelf->last = place->prev;
    place->level = 0;
    hmm_assert(!shelf->first == !shelf->last); /* P2 */
    if (!shelf->first)
        shelves->some[level / 64] &= ~(UINT64_C(1) << level % 64);
}

/* The first shelf from `level` on with something on it, LEVELS: none. */
static uint32_t next_level(const struct hmm_shelves *shelves, uint32_t level)
{
    while (level < LEVELS) {
        uint64_t rest = shelves->some[level / 64] >> level % 64;

        if (rest)
            return level + (uint32_t)__builtin_ctzll(rest);
        level = (level / 64 + 1) * 64;
    }
    return LEVELS;
}

uint32_t hmm_shelf_lower(const struct hurdmm *manager, uint32_t frame,
                         bool (*may_go)(void *hook, uint32_t frame), void *hook,
                         uint32_t chosen)
{
    const struct hmm_shelves *shelves = manager->shelves;
    uint32_t tries = chosen + TRIES;

    if (!shelves || !shelves->place[frame].level)
        return HURDMM_FRAME_NONE;
    uint32_t own = shelves->place[frame].level - 1u;
    uint32_t level = next_level(shelves, 0);
    for (; level < own; level = next_level(shelves, level + 1)) {
        uint32_t other = shelves->shelf[level].first;

        for (; other; other = shelves->place[other - 1].next) {
            if (tries-- == 0)
                return HURDMM_FRAME_NONE;
            if (may_go(hook, other - 1))
                return other - 1;
        }
    }
    return HURDMM_FRAME_NONE;
}

/* Takes all that is ranked off its shelf, or puts it on the one where it
 * belongs. */
static void arrange(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek(&store->cache.index, &cursor, first);

    for (; more && cursor.key <= last; more = hmm_index_step(&cursor)) {
        uint32_t frame = HMM_SLOT_FRAME(*cursor.value);

        if (!(*cursor.value & HMM_RANKED))
            continue;
        hmm_shelf_take(store->manager, frame);
        hmm_shelf_put(store, cursor.key, frame);
    }
}

/* Arranges all stores of a list. */
static void arrange_list(struct hmm_list *stores)
{
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, stores)
    {
        struct hurdmm_store *store =
            HMM_CONTAINER_OF(link, struct hurdmm_store, link);
        arrange(store, 0, hmm_last_page(store));
    }
}

/* Makes them when the first priority is set, with all that is ranked then: of
 * zombies, too.  ENOMEM. */
static int make_shelves(struct hurdmm *manager)
{
    uint32_t frames = manager->physmem.frames;
    size_t size =
        sizeof(struct hmm_shelves) + (size_t)frames * sizeof(struct place);

    if (manager->shelves)
        return 0;
    struct hmm_shelves *shelves = hmm_core_alloc(&manager->core, size, 16);
    if (!shelves)
        return ENOMEM;
    memset(shelves, 0, size);
    manager->shelves = shelves;
    arrange_list(&manager->stores);
    arrange_list(&manager->zombies);
    return 0;
}

/* ---- Grades ---- */

void hmm_grades_init(struct hurdmm *manager)
{
    hmm_slab_init(&manager->grade_slab, &manager->core, sizeof(struct grade),
                  16, "grade");
}

static void drop_grade(struct hurdmm_store *store, struct hmm_span *span)
{
    hmm_span_remove(&store->grades, span);
    hmm_slab_free(&store->manager->grade_slab, grade_of(span));
}

void hmm_grades_drop(struct hurdmm_store *store)
{
    struct hmm_span *span;

    while ((span = hmm_span_lowest(&store->grades)) != NULL)
        drop_grade(store, span);
}

static void add_grade(struct hurdmm_store *store, uint64_t first, uint64_t last,
                      int priority)
{
    struct grade *grade = hmm_slab_alloc(&store->manager->grade_slab);

    hmm_assert(grade); /* it was reserved */
    grade->span.first = first;
    grade->span.last = last;
    grade->priority = priority;
    hmm_span_insert(&store->grades, &grade->span);
}

/* Takes [first, last] out of all grades.  At most two more of them come of it: what
 * a grade has before the range, and what one has after it. */
static void cut_grades(struct hurdmm_store *store, uint64_t first,
                       uint64_t last)
{
    struct hmm_span *span;

    hmm_assert(first <= last);
    while ((span = hmm_span_first_overlap(&store->grades, first, last)) !=
           NULL) {
        int priority = grade_of(span)->priority;
        uint64_t from = span->first, to = span->last;

        drop_grade(store, span);
        if (from < first)
            add_grade(store, from, first - 1, priority);
        if (to > last)
            add_grade(store, last + 1, to, priority);
    }
}

int hmm_store_grade(struct hurdmm_store *store, uint64_t first, uint64_t last,
                    int priority)
{
    int err = make_shelves(store->manager);

    hmm_assert(store->flags & HURDMM_STORE_DISCARDABLE && first <= last);
    hmm_assert(priority >= HURDMM_PRIORITY_MIN &&
               priority <= HURDMM_PRIORITY_MAX);
    if (!err)
        err = hmm_slab_reserve(&store->manager->grade_slab, 3);
    if (err)
        return err;
    if (first == 0 && last == hmm_last_page(store)) {
        hmm_grades_drop(store);
        store->priority = priority;
    } else {
        cut_grades(store, first, last);
        add_grade(store, first, last, priority);
    }
    arrange(store, first, last);
    return 0;
}

/* ---- Checking ---- */

bool hmm_shelves_check(struct hurdmm *manager)
{
    const struct hmm_shelves *shelves = manager->shelves;
    uint32_t standing = 0, listed = 0;

    for (uint32_t i = 0; shelves && i < manager->physmem.frames; i++) {
        struct hurdmm_store *store = hmm_frame_store(manager, i);
        uint64_t page = manager->physmem.table[i].page;
        const uint64_t *slot =
            store ? hmm_container_slot(&store->cache, page) : NULL;
        bool on = slot && HMM_SLOT_FRAME(*slot) == i && *slot & HMM_RANKED &&
                  store->flags & HURDMM_STORE_DISCARDABLE;

        if (shelves->place[i].level != (on ? level_of(store, page) + 1 : 0))
            return false;
        standing += on;
    }
    for (uint32_t i = 0; shelves && i < LEVELS; i++) {
        uint32_t at = shelves->shelf[i].first;

        if ((shelves->some[i / 64] >> i % 64 & 1) != (at != 0))
            return false;
        for (; at && listed <= standing; at = shelves->place[at - 1].next)
            listed++;
    }
    return standing == listed;
}
