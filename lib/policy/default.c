/* SPDX-License-Identifier: MIT */
/*
 * The default policy: two generations and a memory for those who left early.
 *
 * A page that comes is on probation.  The probation queue is short, so that a
 * scan passes through it and disturbs nobody else; a page that is used again
 * there, twice, moves to the main queue.  One that leaves from probation leaves
 * its fingerprint behind: if it comes back soon it was worth more, and goes to
 * the main queue at once.  So a working set that probation cannot hold gets in
 * all the same.  The idea is that of 2Q (Johnson and Shasha, 1994) and S3-FIFO
 * (Yang and others, 2023); here nothing is counted on a hit, and what they look
 * up in a counter is found out by a trial near the end of each queue.
 *
 *      insert              insert of one          insert READ_ONCE,
 *        |                  whose ghost is here          or cold
 *        v        second touch    v                        |
 *    PROBATION    +-----------> MAIN <-------+             v
 *      |   ^      |              |           |          PASSING
 *      |   | first|              |           |             |
 *      |   | touch|         TRIAL|      touch|             | EVICT
 * TRIAL|   |      |              |           |             |
 *      v   |      |              v           |             |
 *    PROBATION_TRIAL          MAIN_TRIAL ----+             |
 *      |                         |                         |
 *      | EVICT                   | EVICT                   |
 *      +-----------------------+ | +-----------------------+
 *                              v v v
 *                              NAMED ---> remove; what was on probation
 *                                         leaves a ghost
 *
 * A page that is named and stays, because it was kept, goes back to the end of
 * the queue it belongs in once all others were named, or when newcomers let it
 * back, two for each that comes.  Touched, it goes the way it would have gone
 * on trial.
 *
 * The first touch proves little: on a port with referenced bits it may be the
 * very access that brought the page.  So it buys a second round of probation
 * only; for a page read ahead, which nobody has asked for yet, it does not even
 * count.  On the main queue each touch counts.
 *
 * Which queue gives?  Passing pages first, but for a few, which a reader may be
 * using right now.  Then probation while it has more than its share of all
 * pages, else the main queue.  Trials keep a stretch of the giving queue's end
 * on trial.  Where there is no such stretch yet, they take most of a batch, and
 * probation gives down to half its share; pages of the main queue are evicted
 * untried only when none but passing ones are left.
 *
 * Every page is named at last.  In a sweep, which ends when all were, a page
 * that nobody touches is named twice at most: on trial and to go.
 *
 * Invariants (default_check looks at each):
 *  1. each queue is a ring of as many frames as its length says, and their sum
 *     is the number of resident pages;
 *  2. a frame's byte says which queue it is in, and is 0 where it is in none;
 *  3. but for named ones, a page is in a queue that it belongs in (home_of), on
 *     trial or not;
 *  4. a page of the main queue that is on trial is not USED;
 *  5. the table of ghosts is sound (ghosts.h).
 *
 * Memory: 8 bytes of links, 4 of ghosts and 1 of flags for each frame, and a
 * few hundred in all.  Locks: none, the manager's is held by every caller.
 */
#include <stdbool.h>
#include <stddef.h>

#include <hurdmm/error.h>
#include <hurdmm/policy.h>

#include "lib/base/math.h"
#include "lib/policy/ghosts.h"
#include "lib/policy/links.h"

enum queue {
    NONE,
    PASSING,
    PROBATION,
    PROBATION_TRIAL,
    MAIN,
    MAIN_TRIAL,
    NAMED,
    QUEUES
};

/* The byte of a page. */
#define QUEUE 7u  /* enum queue */
#define USED 8u   /* touched since it came, or since its last second chance */
#define AHEAD 16u /* nobody asked for it yet */
#define ONCE 32u
#define COLD 64u
#define PROVEN 128u /* belongs to the main queue */

/* Probation's share of all pages is a tenth, of which half stands on trial; of
   the main queue it is an eighth.  A longer trial knows better who is in use,
   and costs a soft fault for each who is. */
#define PROBATION_PART 10u
#define MAIN_TRIAL_PART 8u
/* Passing pages beyond this part are due. */
#define PASSING_PART 32u
/* On probation and in passing so many more are let be, for small memories: each
   may be a page that a thread has faulted for and not touched yet, and threads
   that take each other's pages away go round for ever. */
#define NEWCOMERS 4u

struct generations {
    uint32_t frames;
    uint32_t rows; /* of ghosts */
    uint32_t resident;
    uint32_t turn; /* what the last trial batch left over, in quarters */
    uint32_t length[QUEUES];
    /* frames + QUEUES links, then the ghosts, then a byte for each frame. */
    struct hmm_link links[];
};

static uint32_t rows_for(uint32_t frames)
{
    return frames < HMM_GHOST_WAYS ? 1 : frames / HMM_GHOST_WAYS;
}

static uint32_t *ghosts_of(struct generations *g)
{
    return (uint32_t *)(g->links + g->frames + QUEUES);
}

static uint8_t *page_of(struct generations *g, uint32_t frame)
{
    hmm_assert(frame < g->frames);
    return (uint8_t *)(ghosts_of(g) + (size_t)g->rows * HMM_GHOST_WAYS) + frame;
}

static size_t default_memory(uint32_t frames)
{
    hmm_assert(frames <= UINT32_MAX - QUEUES);
    return sizeof(struct generations) +
           ((size_t)frames + QUEUES) * sizeof(struct hmm_link) +
           (size_t)rows_for(frames) * HMM_GHOST_WAYS * sizeof(uint32_t) +
           frames;
}

static void default_init(void *state, uint32_t frames, uint64_t seed)
{
    struct generations *g = state;

    (void)seed;
    g->frames = frames;
    g->rows = rows_for(frames);
    for (uint32_t queue = NONE; queue < QUEUES; queue++)
        hmm_links_init(g->links, frames + queue);
}

enum end { FRONT, END };

static void put(struct generations *g, uint32_t frame, enum queue queue,
                enum end end)
{
    uint8_t *page = page_of(g, frame);

    hmm_assert((*page & QUEUE) == NONE && queue != NONE);
    *page = (uint8_t)(*page | queue);
    g->length[queue]++;
    if (end == FRONT)
        hmm_links_add_first(g->links, g->frames + queue, frame);
    else
        hmm_links_add_last(g->links, g->frames + queue, frame);
}

static void take(struct generations *g, uint32_t frame)
{
    uint8_t *page = page_of(g, frame);

    hmm_assert((*page & QUEUE) != NONE);
    hmm_assert(g->length[*page & QUEUE] > 0);
    g->length[*page & QUEUE]--;
    *page &= (uint8_t)~QUEUE;
    hmm_links_take(g->links, frame);
}

static void move(struct generations *g, uint32_t frame, enum queue queue,
                 enum end end)
{
    take(g, frame);
    put(g, frame, queue, end);
}

/* The queue that a page with these flags belongs in.  A page that is read once
   and ahead passes only after it was read. */
static enum queue home_of(uint8_t page)
{
    if ((page & PROVEN) != 0)
        return MAIN;
    if ((page & (ONCE | COLD)) != 0 && (page & AHEAD) == 0)
        return PASSING;
    return PROBATION;
}

/* Lets the named page that waits longest back among the others. */
static void recall(struct generations *g)
{
    if (g->length[NAMED] > 0) {
        uint32_t frame = hmm_links_last(g->links, g->frames + NAMED);
        move(g, frame, home_of(*page_of(g, frame)), END);
    }
}

/* What a page starts with. */
static uint8_t flags_of(unsigned flags, bool known)
{
    if ((flags & HURDMM_PAGE_READ_ONCE) != 0)
        return (flags & HURDMM_PAGE_AHEAD) != 0 ? ONCE | AHEAD : ONCE;
    if ((flags & HURDMM_PAGE_AHEAD) != 0)
        return known ? AHEAD | USED : AHEAD;
    return known ? PROVEN : 0;
}

static void default_insert(void *state, uint32_t frame, uint64_t key,
                           unsigned flags)
{
    struct generations *g = state;
    bool known = hmm_ghost_take(ghosts_of(g), g->rows, key);
    uint8_t *page = page_of(g, frame);

    hmm_assert(*page == 0 && g->resident < g->frames);
    *page = flags_of(flags, known);
    put(g, frame, home_of(*page), FRONT);
    g->resident++;
    recall(g);
    recall(g);
}

/* Pages that were not wanted again by their own account leave no ghost. */
static void default_remove(void *state, uint32_t frame, uint64_t key,
                           int evicted)
{
    struct generations *g = state;
    uint8_t *page = page_of(g, frame);

    if (evicted && (*page & (AHEAD | ONCE | COLD | PROVEN)) == 0)
        hmm_ghost_add(ghosts_of(g), g->rows, key);
    take(g, frame);
    *page = 0;
    g->resident--;
}

static void touched_on_main(struct generations *g, uint32_t frame)
{
    uint8_t *page = page_of(g, frame);

    if ((*page & QUEUE) == MAIN)
        *page |= USED;
    else
        move(g, frame, MAIN, FRONT);
}

/* One that is used in passing stays a little; used twice, it is like others. */
static void touched_in_passing(struct generations *g, uint32_t frame)
{
    uint8_t *page = page_of(g, frame);

    if ((*page & USED) != 0)
        *page &= (uint8_t) ~(ONCE | COLD | USED);
    else
        *page |= USED;
    move(g, frame, home_of(*page), FRONT);
}

static void touched_on_probation(struct generations *g, uint32_t frame)
{
    uint8_t *page = page_of(g, frame);
    uint8_t seen = *page & (USED | AHEAD);

    if (seen == 0 && (*page & QUEUE) == PROBATION) {
        *page |= USED;
        return;
    }
    *page &= (uint8_t)~AHEAD;
    if ((seen & USED) != 0)
        *page = (uint8_t)((*page & QUEUE) | PROVEN);
    else if (seen == 0)
        *page |= USED;
    move(g, frame, home_of(*page), FRONT);
}

static void default_touched(void *state, uint32_t frame)
{
    struct generations *g = state;
    enum queue home = home_of(*page_of(g, frame));

    hmm_assert((*page_of(g, frame) & QUEUE) != NONE);
    if (home == MAIN)
        touched_on_main(g, frame);
    else if (home == PASSING)
        touched_in_passing(g, frame);
    else
        touched_on_probation(g, frame);
}

static void default_cold(void *state, uint32_t frame)
{
    struct generations *g = state;
    uint8_t *page = page_of(g, frame);

    hmm_assert((*page & QUEUE) != NONE);
    *page = (uint8_t)((*page & QUEUE) | COLD);
    move(g, frame, PASSING, END);
}

/* A page named EVICT waits already; the others are those that could not be put
   on trial. */
static void default_kept(void *state, uint32_t frame)
{
    struct generations *g = state;

    hmm_assert((*page_of(g, frame) & QUEUE) != NONE);
    if ((*page_of(g, frame) & QUEUE) != NAMED)
        move(g, frame, NAMED, FRONT);
}

/* Whether probation has no more than one in `part' of all pages. */
static bool probation_within(const struct generations *g, uint32_t part)
{
    return g->length[PROBATION] + g->length[PROBATION_TRIAL] <=
           g->resident / part + NEWCOMERS;
}

static uint32_t wanted_on_trial(const struct generations *g, enum queue trial)
{
    hmm_assert(trial == PROBATION_TRIAL || trial == MAIN_TRIAL);
    if (trial == PROBATION_TRIAL)
        return g->resident / (2 * PROBATION_PART) + 1;
    return (g->length[MAIN] + g->length[MAIN_TRIAL]) / MAIN_TRIAL_PART + 1;
}

/* The page that leaves `queue' next.  One of the main queue that was seen in
   use is passed over, once: it goes to the front. */
static uint32_t last_of(struct generations *g, enum queue queue)
{
    uint32_t frame = hmm_links_last(g->links, g->frames + queue);

    while (queue == MAIN && (*page_of(g, frame) & USED) != 0) {
        *page_of(g, frame) &= (uint8_t)~USED;
        move(g, frame, MAIN, FRONT);
        frame = hmm_links_last(g->links, g->frames + queue);
    }
    return frame;
}

static bool passing_due(struct generations *g)
{
    return g->length[PASSING] > g->resident / PASSING_PART + NEWCOMERS ||
           (g->length[PASSING] > 0 &&
            (*page_of(g, last_of(g, PASSING)) & COLD) != 0);
}

static struct hurdmm_victim evict(struct generations *g, enum queue queue)
{
    struct hurdmm_victim victim = {last_of(g, queue), HURDMM_EVICT};

    move(g, victim.frame, NAMED, FRONT);
    return victim;
}

/* Puts pages on trial until enough are, but at most three of four of those that
   may be named; this holds over several calls too, when `max' is small.  They
   are named backwards from `end'. */
static size_t name_trials(struct generations *g, enum queue trial,
                          struct hurdmm_victim *end, size_t max)
{
    enum queue queue = trial == MAIN_TRIAL ? MAIN : PROBATION;
    uint32_t wanted = wanted_on_trial(g, trial);
    size_t count = 0;

    if (g->length[trial] >= wanted)
        return 0;
    size_t quarters = 3 * max + g->turn;
    size_t limit = (size_t)hmm_min(quarters / 4, wanted - g->length[trial]);
    g->turn = (uint32_t)(quarters % 4);
    while (count < limit && g->length[queue] > 0) {
        uint32_t frame = last_of(g, queue);

        move(g, frame, trial, FRONT);
        *(end - ++count) = (struct hurdmm_victim){frame, HURDMM_TRIAL};
    }
    return count;
}

/* The queue that gives a page.  `fresh' pages of `trial' have just been named
   and may not be named again. */
static enum queue giver(struct generations *g, enum queue trial, size_t fresh)
{
    size_t main = g->length[MAIN_TRIAL] - (trial == MAIN_TRIAL ? fresh : 0);
    size_t probation =
        g->length[PROBATION_TRIAL] - (trial == PROBATION_TRIAL ? fresh : 0);
    bool ripe = g->length[MAIN_TRIAL] >= wanted_on_trial(g, MAIN_TRIAL) / 2;

    if (main > 0 && ((ripe && probation_within(g, PROBATION_PART)) ||
                     probation_within(g, 2 * PROBATION_PART)))
        return MAIN_TRIAL;
    if (probation > 0)
        return PROBATION_TRIAL;
    if (g->length[PROBATION] > 0)
        return PROBATION;
    if (main > 0)
        return MAIN_TRIAL;
    if (g->length[MAIN] > 0)
        return MAIN;
    return g->length[PASSING] > 0 ? PASSING : NONE;
}

static size_t default_select(void *state, struct hurdmm_victim *victims,
                             size_t max)
{
    struct generations *g = state;
    size_t count = 0;

    if (g->length[NAMED] == g->resident)
        while (g->length[NAMED] > 0)
            recall(g);
    max = (size_t)hmm_min(max, g->resident - g->length[NAMED]);
    while (count < max && passing_due(g))
        victims[count++] = evict(g, PASSING);

    enum queue trial =
        probation_within(g, PROBATION_PART) ? MAIN_TRIAL : PROBATION_TRIAL;
    size_t trials = name_trials(g, trial, victims + max, max - count);
    while (count + trials < max)
        victims[count++] = evict(g, giver(g, trial, trials));
    hmm_assert(count + trials == max);
    return max;
}

static bool belongs(uint8_t page, enum queue queue)
{
    enum queue home = home_of(page);

    if (queue == NAMED || queue == home)
        return true;
    if (queue == MAIN_TRIAL)
        return home == MAIN && (page & USED) == 0; /* 4 */
    return queue == PROBATION_TRIAL && home == PROBATION;
}

static bool ring_sound(struct generations *g, enum queue queue)
{
    uint32_t ring = g->frames + queue;
    uint32_t length = 0;

    for (uint32_t at = ring;; length++) {
        uint32_t next = g->links[at].after;

        if (next != ring && next >= g->frames)
            return false;
        if (g->links[next].before != at)
            return false;
        if (next == ring)
            return length == g->length[queue]; /* 1 */
        uint8_t page = *page_of(g, next);
        if ((page & QUEUE) != queue || !belongs(page, queue)) /* 2, 3 */
            return false;
        if (length == g->length[queue])
            return false;
        at = next;
    }
}

static int default_check(const void *state, uint32_t resident)
{
    /* page_of() and ghosts_of() give what they get, const or not. */
    struct generations *g = (struct generations *)(uintptr_t)state;
    uint32_t sum = 0;
    uint32_t in = 0;

    for (enum queue queue = NONE; queue < QUEUES; queue++) {
        if (!ring_sound(g, queue))
            return EINVAL;
        sum += g->length[queue];
    }
    for (uint32_t frame = 0; frame < g->frames; frame++) {
        uint8_t page = *page_of(g, frame);
        if (page != 0 && (page & QUEUE) == NONE) /* 2 */
            return EINVAL;
        in += page != 0;
    }
    if (sum != resident || in != resident || g->resident != resident) /* 1 */
        return EINVAL;
    return hmm_ghosts_sound(ghosts_of(g), g->rows) ? 0 : EINVAL; /* 5 */
}

/* A page that has shown to be worth more than the victim stays, and so does one
   that was read ahead and that nobody has used yet, unless its reader has
   passed. */
static int default_stays(const void *state, uint32_t frame, uint32_t victim)
{
    struct generations *g = (struct generations *)(uintptr_t)state;
    uint8_t page = *page_of(g, frame), other = *page_of(g, victim);

    hmm_assert((page & QUEUE) != NONE);
    if ((page & COLD) != 0)
        return 0;
    if ((page & (USED | AHEAD)) != 0)
        return 1;
    return (page & PROVEN) != 0 && (other & PROVEN) == 0;
}

const struct hurdmm_policy_ops hurdmm_policy_default = {
    .struct_size = sizeof(struct hurdmm_policy_ops),
    .name = "default",
    .memory = default_memory,
    .init = default_init,
    .insert = default_insert,
    .remove = default_remove,
    .touched = default_touched,
    .cold = default_cold,
    .select = default_select,
    .kept = default_kept,
    .check = default_check,
    .stays = default_stays,
};
