/* SPDX-License-Identifier: MIT */
/*
 * The clock policy: pages stand in a ring in the order in which they came; a
 * hand goes round and gives each one bit of grace.
 *
 *            insert
 *               |
 *               v        the hand comes by
 *          +--------+ ------- TRIAL ------> +----------+
 *          | in use |                       | on trial |
 *          +--------+ <------ touched ----- +----------+
 *                                                |  the hand comes by again
 *                                                v
 *                                              EVICT, then remove or kept
 *
 * The ring is a queue: the hand stands at its end, and moving on is taking a
 * page from the end to the front.  So what was named goes to the back, and no
 * page is named twice before all others were.
 *
 * Invariants (check looks at each):
 *  1. the queue is one ring of `resident' frames;
 *  2. a frame is in it if and only if its byte has IN.
 *
 * Nine bytes a frame.  Locks: none, the manager's is held by every caller.
 */
#include <stdbool.h>
#include <stddef.h>

#include <hurdmm/error.h>
#include <hurdmm/policy.h>

#include "lib/base/assert.h"
#include "lib/policy/links.h"

#define IN 1u    /* resident */
#define TRIED 2u /* on trial: not seen in use since the hand came by */

struct clock {
    uint32_t frames;
    uint32_t resident;
    struct hmm_link links[]; /* frames + 1: the last is the queue */
};

static uint8_t *page_of(struct clock *clock, uint32_t frame)
{
    hmm_assert(frame < clock->frames);
    return (uint8_t *)(clock->links + clock->frames + 1) + frame;
}

static size_t clock_memory(uint32_t frames)
{
    return sizeof(struct clock) +
           ((size_t)frames + 1) * sizeof(struct hmm_link) + frames;
}

static void clock_init(void *state, uint32_t frames, uint64_t seed)
{
    struct clock *clock = state;

    (void)seed;
    hmm_assert(frames < UINT32_MAX);
    clock->frames = frames;
    hmm_links_init(clock->links, frames);
}

static void clock_insert(void *state, uint32_t frame, uint64_t key,
                         unsigned flags)
{
    struct clock *clock = state;

    (void)key;
    (void)flags;
    hmm_assert(*page_of(clock, frame) == 0);
    *page_of(clock, frame) = IN;
    hmm_links_add_first(clock->links, clock->frames, frame);
    clock->resident++;
}

static void clock_remove(void *state, uint32_t frame, uint64_t key, int evicted)
{
    struct clock *clock = state;

    (void)key;
    (void)evicted;
    hmm_assert((*page_of(clock, frame) & IN) != 0);
    *page_of(clock, frame) = 0;
    hmm_links_take(clock->links, frame);
    clock->resident--;
}

static void clock_touched(void *state, uint32_t frame)
{
    uint8_t *page = page_of(state, frame);

    hmm_assert((*page & IN) != 0);
    *page = IN;
}

/* Right before the hand, its grace used up. */
static void clock_cold(void *state, uint32_t frame)
{
    struct clock *clock = state;
    uint8_t *page = page_of(clock, frame);

    hmm_assert((*page & IN) != 0);
    *page = IN | TRIED;
    hmm_links_take(clock->links, frame);
    hmm_links_add_last(clock->links, clock->frames, frame);
}

static size_t clock_select(void *state, struct hurdmm_victim *victims,
                           size_t max)
{
    struct clock *clock = state;
    size_t count = max < clock->resident ? max : clock->resident;

    for (size_t i = 0; i < count; i++) {
        uint32_t frame = hmm_links_last(clock->links, clock->frames);
        uint8_t *page = page_of(clock, frame);

        victims[i].frame = frame;
        victims[i].verdict = (*page & TRIED) != 0 ? HURDMM_EVICT : HURDMM_TRIAL;
        *page |= TRIED;
        hmm_links_take(clock->links, frame);
        hmm_links_add_first(clock->links, clock->frames, frame);
    }
    return count;
}

/* It went to the back when it was named. */
static void clock_kept(void *state, uint32_t frame)
{
    const uint8_t *page = page_of(state, frame);

    (void)page;
    hmm_assert((*page & IN) != 0);
}

static int clock_check(const void *state, uint32_t resident)
{
    const struct clock *clock = state;
    const uint8_t *pages = (const uint8_t *)(clock->links + clock->frames + 1);
    uint32_t in = 0;

    for (uint32_t i = 0; i < clock->frames; i++)
        in += (pages[i] & IN) != 0;
    if (in != resident || clock->resident != resident) /* 2 */
        return EINVAL;
    for (uint32_t i = clock->frames;;) { /* 1 */
        uint32_t next = clock->links[i].after;
        if (next > clock->frames || clock->links[next].before != i)
            return EINVAL;
        if (next == clock->frames)
            return in == 0 ? 0 : EINVAL;
        if ((pages[next] & IN) == 0 || in-- == 0)
            return EINVAL;
        i = next;
    }
}

const struct hurdmm_policy_ops hurdmm_policy_clock = {
    .struct_size = sizeof(struct hurdmm_policy_ops),
    .name = "clock",
    .memory = clock_memory,
    .init = clock_init,
    .insert = clock_insert,
    .remove = clock_remove,
    .touched = clock_touched,
    .cold = clock_cold,
    .select = clock_select,
    .kept = clock_kept,
    .check = clock_check,
};
