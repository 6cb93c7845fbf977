/* SPDX-License-Identifier: MIT */
/* What is reserved: for each space the ranges in order, in pages.  Ranges that
 * touch become one, so that a row of regions costs one entry. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sim/machine.h"

uint32_t hmm_sim_space_number(struct hmm_sim *sim, const void *token)
{
    uintptr_t number = (uintptr_t)token;
    if (number < sim->options.spaces)
        return (uint32_t)number;
    hmm_sim_violation(sim, "there is no space %" PRIuPTR, number);
    return sim->options.spaces;
}

void *hurdmm_sim_space(struct hurdmm_port *port, unsigned number)
{
    (void)port;
    return (void *)(uintptr_t)number;
}

/* The first range that ends after `page`. */
static size_t range_after(const struct hmm_sim_space *space, uintptr_t page)
{
    size_t low = 0;
    size_t high = space->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (space->ranges[middle].end <= page)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool hmm_sim_reserved(const struct hmm_sim_space *space, uintptr_t start,
                      uintptr_t end)
{
    size_t i = range_after(space, start);
    return i < space->count && space->ranges[i].start <= start &&
           end <= space->ranges[i].end;
}

static bool is_free(const struct hmm_sim_space *space, uintptr_t start,
                    uintptr_t end)
{
    size_t i = range_after(space, start);
    return i == space->count || end <= space->ranges[i].start;
}

/* Makes room for two more ranges: one to reserve, and one that a release may
 * split off later. */
static int room_for_ranges(struct hmm_sim_space *space)
{
    if (space->count + 2 <= space->capacity)
        return 0;
    size_t capacity = space->capacity == 0 ? 8 : 2 * space->capacity;
    void *ranges = realloc(space->ranges, capacity * sizeof *space->ranges);
    if (ranges == NULL)
        return ENOMEM;
    space->ranges = ranges;
    space->capacity = capacity;
    return 0;
}

static void remove_range(struct hmm_sim_space *space, size_t i)
{
    space->count--;
    memmove(&space->ranges[i], &space->ranges[i + 1],
            (space->count - i) * sizeof *space->ranges);
}

static void insert_range(struct hmm_sim_space *space, size_t i, uintptr_t start,
                         uintptr_t end)
{
    memmove(&space->ranges[i + 1], &space->ranges[i],
            (space->count - i) * sizeof *space->ranges);
    space->ranges[i] = (struct hmm_sim_range){start, end};
    space->count++;
}

static int add_range(struct hmm_sim_space *space, uintptr_t start,
                     uintptr_t end)
{
    if (room_for_ranges(space) != 0)
        return ENOMEM;
    size_t i = range_after(space, start);
    bool joins_next = i < space->count && space->ranges[i].start == end;
    bool joins_last = i > 0 && space->ranges[i - 1].end == start;
    if (joins_last && joins_next) {
        space->ranges[i - 1].end = space->ranges[i].end;
        remove_range(space, i);
    } else if (joins_last) {
        space->ranges[i - 1].end = end;
    } else if (joins_next) {
        space->ranges[i].start = start;
    } else {
        insert_range(space, i, start, end);
    }
    return 0;
}

/* Looks for room in [start, end) of the space. */
static bool find_room(const struct hmm_sim_space *space, uintptr_t start,
                      uintptr_t end, uintptr_t pages, uintptr_t *found)
{
    for (size_t i = range_after(space, start); start < end; i++) {
        uintptr_t limit = end;
        if (i < space->count && space->ranges[i].start < end)
            limit = space->ranges[i].start;
        if (limit > start && limit - start >= pages) {
            *found = start;
            return true;
        }
        if (i >= space->count)
            return false;
        start = space->ranges[i].end;
    }
    return false;
}

static int place(struct hmm_sim *sim, struct hmm_sim_space *space,
                 uintptr_t hint, uintptr_t pages, unsigned flags,
                 uintptr_t *start)
{
    uintptr_t low = sim->low >> sim->page_shift;
    uintptr_t end = (sim->high >> sim->page_shift) + 1;
    bool inside = hint >= low && hint < end && pages <= end - hint;
    bool fits = inside && is_free(space, hint, hint + pages);
    *start = hint;
    if (flags & HURDMM_RESERVE_EXACT) {
        if (!inside)
            return EINVAL;
        return fits ? 0 : EEXIST;
    }
    if (fits)
        return 0;
    uintptr_t cursor = space->cursor < low ? low : space->cursor;
    if (find_room(space, cursor, end, pages, start) ||
        find_room(space, low, end, pages, start)) {
        space->cursor = *start + pages;
        return 0;
    }
    return ENOMEM;
}

int hmm_sim_reserve(struct hurdmm_port *port, void *space, uintptr_t *address,
                    size_t size, unsigned flags)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_memory_begin(sim, "reserve");
    size_t mask = hmm_sim_page_size(sim) - 1;
    uintptr_t number = (uintptr_t)space;
    uintptr_t start = 0;
    int error = 0;
    if (size == 0 || ((*address | size) & mask) != 0) {
        hmm_sim_violation(sim, "reserve: %#" PRIxPTR " + %#zx is not aligned",
                          *address, size);
        error = EINVAL;
    } else if (number >= sim->options.spaces) {
        error = ENOTSUP;
    }
    if (error == 0)
        error = hmm_sim_fallible(sim, HURDMM_SIM_RESERVE);
    if (error == 0)
        error = place(sim, &sim->spaces[number], *address >> sim->page_shift,
                      size >> sim->page_shift, flags, &start);
    if (error == 0)
        error = add_range(&sim->spaces[number], start,
                          start + (size >> sim->page_shift));
    HMM_SIM_NOTE(sim, EVENT_RESERVE, number, *address, size, flags, start,
                 (uint64_t)error);
    if (error == 0) {
        *address = start << sim->page_shift;
        sim->stats.reserves++;
    }
    hmm_sim_memory_end(sim);
    return error;
}

static void cut_range(struct hmm_sim_space *space, uintptr_t start,
                      uintptr_t end)
{
    size_t i = range_after(space, start);
    struct hmm_sim_range *range = &space->ranges[i];
    uintptr_t range_end = range->end;
    if (range->start == start && range_end == end) {
        remove_range(space, i);
    } else if (range->start == start) {
        range->start = end;
    } else {
        /* Without memory the rest stays reserved with what is cut. */
        if (range_end != end && room_for_ranges(space) != 0)
            return;
        space->ranges[i].end = start;
        if (range_end != end)
            insert_range(space, i + 1, end, range_end);
    }
    if (start < space->cursor)
        space->cursor = start;
}

void hmm_sim_release(struct hurdmm_port *port, void *space, uintptr_t address,
                     size_t size)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_memory_begin(sim, "release");
    uintptr_t start = address >> sim->page_shift;
    uintptr_t end = start + (size >> sim->page_shift);
    uint32_t number = hmm_sim_space_number(sim, space);
    if (size == 0 || ((address | size) & (hmm_sim_page_size(sim) - 1)) != 0)
        hmm_sim_violation(sim, "release: %#" PRIxPTR " + %#zx is not aligned",
                          address, size);
    else if (number < sim->options.spaces) {
        if (hmm_sim_any_lent(sim, number, start, end))
            hmm_sim_violation(sim,
                              "release: pages of %#" PRIxPTR " + %#zx are lent",
                              address, size);
        if (hmm_sim_reserved(&sim->spaces[number], start, end))
            cut_range(&sim->spaces[number], start, end);
        else
            hmm_sim_violation(sim,
                              "release: %#" PRIxPTR " + %#zx is not reserved",
                              address, size);
    }
    HMM_SIM_NOTE(sim, EVENT_RELEASE, number, address, size);
    hmm_sim_memory_end(sim);
}
