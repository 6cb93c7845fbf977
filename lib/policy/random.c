/* SPDX-License-Identifier: MIT */
/*
 * The random policy: any page, by lot.  It has no trials and looks at nothing,
 * so it is what other policies are measured against; and no order of accesses
 * is its worst case.
 *
 *      deck:   | cold ...... | open ............... | named ....... | free
 *              0             cold                   open            resident
 *
 * Cold pages are named first, then open ones, drawn by lot.  A page that was
 * named waits at the end of the deck, so that it is not named again before the
 * others were; each page that comes lets one of them back, and so does a deck
 * in which all were named.
 *
 * Invariants (check looks at each):
 *  1. cold <= open <= resident;
 *  2. deck[place[f] - 1] is f for each resident frame f, and place[f] is 0 for
 *     all others.
 *
 * Eight bytes a frame; every call takes constant time (for each victim).
 * Locks: none, the manager's is held by every caller.
 */
#include <stdbool.h>
#include <stddef.h>

#include <hurdmm/error.h>
#include <hurdmm/policy.h>

#include "lib/base/assert.h"
#include "lib/base/rand.h"

struct lots {
    struct hmm_rand rand;
    uint32_t frames;
    uint32_t cold;
    uint32_t open;
    uint32_t resident;
    uint32_t deck[]; /* frames, then as many places */
};

static uint32_t *place_of(struct lots *lots, uint32_t frame)
{
    hmm_assert(frame < lots->frames);
    return lots->deck + lots->frames + frame;
}

static void swap(struct lots *lots, uint32_t i, uint32_t j)
{
    uint32_t frame = lots->deck[i];

    lots->deck[i] = lots->deck[j];
    lots->deck[j] = frame;
    *place_of(lots, lots->deck[i]) = i + 1;
    *place_of(lots, frame) = j + 1;
}

static size_t random_memory(uint32_t frames)
{
    return sizeof(struct lots) + (size_t)frames * 2 * sizeof(uint32_t);
}

static void random_init(void *state, uint32_t frames, uint64_t seed)
{
    struct lots *lots = state;

    lots->frames = frames;
    hmm_rand_init(&lots->rand, seed);
}

/* The page at `from' goes over the borders to its right, to the end of the
   named ones; returns where it is. */
static uint32_t to_end(struct lots *lots, uint32_t from)
{
    hmm_assert(from < lots->resident);
    if (from < lots->cold) {
        swap(lots, from, --lots->cold);
        from = lots->cold;
    }
    if (from < lots->open) {
        swap(lots, from, --lots->open);
        from = lots->open;
    }
    return from;
}

/* The opposite, to the open ones. */
static uint32_t to_open(struct lots *lots, uint32_t from)
{
    from = to_end(lots, from);
    swap(lots, from, lots->open);
    return lots->open++;
}

static void random_insert(void *state, uint32_t frame, uint64_t key,
                          unsigned flags)
{
    struct lots *lots = state;

    (void)key;
    (void)flags;
    hmm_assert(*place_of(lots, frame) == 0);
    hmm_assert(lots->resident < lots->frames);
    lots->deck[lots->resident] = frame;
    *place_of(lots, frame) = ++lots->resident;
    to_open(lots, lots->resident - 1);
    if (lots->open < lots->resident)
        lots->open++;
}

static void random_remove(void *state, uint32_t frame, uint64_t key,
                          int evicted)
{
    struct lots *lots = state;

    (void)key;
    (void)evicted;
    hmm_assert(*place_of(lots, frame) != 0);
    uint32_t at = to_end(lots, *place_of(lots, frame) - 1);
    swap(lots, at, --lots->resident);
    *place_of(lots, frame) = 0;
}

static void random_touched(void *state, uint32_t frame)
{
    const uint32_t *place = place_of(state, frame);

    (void)place;
    hmm_assert(*place != 0);
}

static void random_cold(void *state, uint32_t frame)
{
    struct lots *lots = state;

    hmm_assert(*place_of(lots, frame) != 0);
    uint32_t at = to_open(lots, *place_of(lots, frame) - 1);
    swap(lots, at, lots->cold++);
}

static size_t random_select(void *state, struct hurdmm_victim *victims,
                            size_t max)
{
    struct lots *lots = state;
    size_t count;

    if (lots->open == 0)
        lots->open = lots->resident;
    for (count = 0; count < max && lots->open > 0; count++) {
        uint32_t i = lots->cold > 0
                         ? lots->cold - 1
                         : (uint32_t)hmm_rand_below(&lots->rand, lots->open);

        victims[count].frame = lots->deck[i];
        victims[count].verdict = HURDMM_EVICT;
        to_end(lots, i);
    }
    return count;
}

/* It went to the end when it was named, but may have been made cold since. */
static void random_kept(void *state, uint32_t frame)
{
    struct lots *lots = state;

    hmm_assert(*place_of(lots, frame) != 0);
    to_end(lots, *place_of(lots, frame) - 1);
}

static int random_check(const void *state, uint32_t resident)
{
    const struct lots *lots = state;
    const uint32_t *places = lots->deck + lots->frames;
    uint32_t placed = 0;

    if (lots->resident != resident || lots->open > resident ||
        lots->cold > lots->open) /* 1 */
        return EINVAL;
    for (uint32_t i = 0; i < lots->frames; i++) { /* 2 */
        if (places[i] == 0)
            continue;
        if (places[i] > resident || lots->deck[places[i] - 1] != i)
            return EINVAL;
        placed++;
    }
    return placed == resident ? 0 : EINVAL;
}

const struct hurdmm_policy_ops hurdmm_policy_random = {
    .struct_size = sizeof(struct hurdmm_policy_ops),
    .name = "random",
    .memory = random_memory,
    .init = random_init,
    .insert = random_insert,
    .remove = random_remove,
    .touched = random_touched,
    .cold = random_cold,
    .select = random_select,
    .kept = random_kept,
    .check = random_check,
};
