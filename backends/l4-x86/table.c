/* SPDX-License-Identifier: MIT */
/* What is reserved in a space and what is lent there.
 *
 * The table has a leaf for each 4 MiB in which a page was lent; a leaf lives
 * until nothing around it is reserved.  Only the core's calls change ranges and
 * leaves, one at a time; the dispatcher reads them under the lock.
 */
#include "backends/l4-x86/l4_port.h"

#include "lib/base/string.h"

#define RANGES_IN_PAGE (L4_PAGE_SIZE / (uint32_t)sizeof(struct hmm_l4_range))

void hmm_l4_space_init(struct hmm_l4_space *space, struct hmm_l4_port *port,
                       uint32_t low, uint32_t end)
{
    memset(space, 0, sizeof *space);
    space->port = port;
    space->low = low;
    space->end = end;
}

static void leaf_free(struct hmm_l4_space *space, uint32_t i)
{
    uint32_t *leaf = space->leaves[i];
    hmm_l4_leaf_forget(space, i << L4_LEAF_SHIFT);
    space->leaves[i] = NULL;
    if (leaf != NULL)
        hmm_l4_pages_give((uint32_t)(uintptr_t)leaf, 1);
}

void hmm_l4_space_clear(struct hmm_l4_space *space)
{
    for (uint32_t i = 0; i < L4_LEAVES; i++)
        leaf_free(space, i);
    if (space->range_pages != 0)
        hmm_l4_pages_give((uint32_t)(uintptr_t)space->ranges,
                          space->range_pages);
    space->ranges = NULL;
    space->range_count = 0;
    space->range_pages = 0;
}

/* ---- Ranges ---- */

/* The first range that ends after the address. */
static uint32_t search(const struct hmm_l4_space *space, uint32_t address)
{
    uint32_t low = 0;
    uint32_t high = space->range_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (space->ranges[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool hmm_l4_range_has(const struct hmm_l4_space *space, uint32_t address)
{
    uint32_t i = search(space, address);
    return i < space->range_count && space->ranges[i].start <= address;
}

/* Makes room for one more range. */
static int grow(struct hmm_l4_space *space)
{
    uint32_t pages = space->range_pages == 0 ? 1 : 2 * space->range_pages;
    uint32_t base;
    if (space->range_count < space->range_pages * RANGES_IN_PAGE)
        return 0;
    int error = hmm_l4_pages_take(pages, 0, &base);
    if (error != 0)
        return error;
    if (space->range_pages != 0) {
        memcpy((void *)(uintptr_t)base, space->ranges,
               space->range_count * sizeof *space->ranges);
        hmm_l4_pages_give((uint32_t)(uintptr_t)space->ranges,
                          space->range_pages);
    }
    space->ranges = (struct hmm_l4_range *)(uintptr_t)base;
    space->range_pages = pages;
    return 0;
}

/* Moves the ranges from `from' on to `to'. */
static void move(struct hmm_l4_space *space, uint32_t from, uint32_t to)
{
    memmove(&space->ranges[to], &space->ranges[from],
            (space->range_count - from) * sizeof *space->ranges);
    space->range_count += to - from;
}

/* The end of what another port has reserved of [start, start + size) in the root
 * task's space, 0: nothing. */
static uint32_t end_of_other(const struct hmm_l4_space *space, uint32_t start,
                             uint32_t size)
{
    for (unsigned i = 0; i < L4_PORTS_MAX; i++) {
        const struct hmm_l4_port *port = &hmm_l4_ports[i];
        if (space != &space->port->own || port == space->port || !port->is_open)
            continue;
        uint32_t at = search(&port->own, start);
        if (at < port->own.range_count &&
            port->own.ranges[at].start < start + size)
            return port->own.ranges[at].end;
    }
    return 0;
}

/* Where `size' bytes are free in [start, end), which this port has not
 * reserved; 0: nowhere. */
static uint32_t find_between(const struct hmm_l4_space *space, uint32_t start,
                             uint32_t end, uint32_t size)
{
    while (start < end && end - start >= size) {
        uint32_t other = end_of_other(space, start, size);
        if (other == 0)
            return start;
        start = other;
    }
    return 0;
}

/* The same in the whole space, at `hint' if possible. */
static uint32_t find_free(const struct hmm_l4_space *space, uint32_t hint,
                          uint32_t size)
{
    uint32_t at = space->low;
    uint32_t found;
    if (hint >= space->low && hint < space->end && size <= space->end - hint) {
        uint32_t i = search(space, hint);
        if ((i == space->range_count ||
             (space->ranges[i].start >= hint &&
              space->ranges[i].start - hint >= size)) &&
            end_of_other(space, hint, size) == 0)
            return hint;
    }
    for (uint32_t i = 0; i < space->range_count; i++) {
        found = find_between(space, at, space->ranges[i].start, size);
        if (found != 0)
            return found;
        at = space->ranges[i].end;
    }
    return find_between(space, at, space->end, size);
}

/* Notes a range of which nothing is reserved. */
static int insert(struct hmm_l4_space *space, uint32_t start, uint32_t end)
{
    uint32_t i = search(space, start);
    bool joins_before = i > 0 && space->ranges[i - 1].end == start;
    bool joins_after = i < space->range_count && space->ranges[i].start == end;
    if (joins_before && joins_after) {
        space->ranges[i - 1].end = space->ranges[i].end;
        move(space, i + 1, i);
    } else if (joins_before) {
        space->ranges[i - 1].end = end;
    } else if (joins_after) {
        space->ranges[i].start = start;
    } else {
        int error = grow(space);
        if (error != 0)
            return error;
        move(space, i, i + 1);
        space->ranges[i] = (struct hmm_l4_range){start, end};
    }
    return 0;
}

int hmm_l4_range_reserve(struct hmm_l4_space *space, uint32_t *address,
                         uint32_t size, bool exact)
{
    uint32_t at = *address;
    if (exact) {
        if (at < space->low || at >= space->end || size > space->end - at)
            return EINVAL;
        uint32_t i = search(space, at);
        if ((i < space->range_count && space->ranges[i].start < at + size) ||
            end_of_other(space, at, size) != 0)
            return EEXIST;
    } else {
        at = find_free(space, at, size);
        if (at == 0)
            return ENOMEM;
    }
    int error = insert(space, at, at + size);
    if (error == 0)
        *address = at;
    return error;
}

/* Gives up the leaves of [start, end) around which nothing is reserved. */
static void prune(struct hmm_l4_space *space, uint32_t start, uint32_t end)
{
    for (uint32_t i = start >> L4_LEAF_SHIFT; i <= (end - 1) >> L4_LEAF_SHIFT;
         i++) {
        uint32_t range = search(space, i << L4_LEAF_SHIFT);
        if (range == space->range_count ||
            space->ranges[range].start >> L4_LEAF_SHIFT > i)
            leaf_free(space, i);
    }
}

int hmm_l4_range_release(struct hmm_l4_space *space, uint32_t address,
                         uint32_t size)
{
    uint32_t end = address + size;
    uint32_t i;
    int error = 0;
    while ((i = search(space, address)) < space->range_count &&
           space->ranges[i].start < end && error == 0) {
        struct hmm_l4_range old = space->ranges[i];
        if (old.start < address && old.end > end) {
            error = grow(space);
            if (error != 0)
                break;
            move(space, i, i + 1);
            space->ranges[i].end = address;
            space->ranges[i + 1].start = end;
        } else if (old.start < address) {
            space->ranges[i].end = address;
        } else if (old.end > end) {
            space->ranges[i].start = end;
        } else {
            move(space, i + 1, i);
        }
    }
    if (error == 0)
        prune(space, address, end);
    return error;
}

/* ---- Entries ---- */

uint32_t *hmm_l4_entry_make(struct hmm_l4_space *space, uint32_t address)
{
    uint32_t i = address >> L4_LEAF_SHIFT;
    uint32_t base;
    if (space->leaves[i] == NULL) {
        if (hmm_l4_pages_take(1, 0, &base) != 0)
            return NULL;
        memset((void *)(uintptr_t)base, 0, L4_PAGE_SIZE);
        space->leaves[i] = (uint32_t *)(uintptr_t)base;
    }
    return hmm_l4_entry(space, address);
}
