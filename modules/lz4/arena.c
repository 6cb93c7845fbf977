/* SPDX-License-Identifier: MIT */
/*
 * The arena: see arena.h.
 *
 * Lengths are counted in units of 16 bytes, header included.  A header says how
 * long its block is and the one before it, so that both neighbours are found.
 *
 * Invariants, which hmm_arena_sound checks:
 *  1. the blocks of a segment follow each other from its beginning to its end,
 *     and `before' of each is `units' of the one before it, 0 for the first;
 *  2. a free block's neighbours are used, and it is on the list of its size;
 *  3. a row or column has its bit set if and only if it has blocks;
 *  4. no segment is one free block, unless it is the only one: to make it
 *     anew for each piece would cost more than to keep it.
 *
 * A list's blocks are at least as long as the list's size, so the first of a
 * list that begins above what is asked always serves.  What the list of the size
 * itself has might serve too, and its first block is tried when nothing else is
 * there.
 */
#include "modules/lz4/arena.h"

#include <string.h>

#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "modules/lz4/private.h"

#define UNIT 16u
#define UNITS_MIN 2u /* room for the links of a free block */
#define SEGMENT_MAX ((size_t)1 << 20)
#define SEGMENT_PIECES 8u /* of the longest, that a segment has room for */

struct arena_block {
    uint32_t units, before;
    uint32_t length; /* as asked */
    uint16_t used, last;
};

/* What a free block has behind its header. */
struct links {
    struct arena_block *next, *previous;
};

_Static_assert(sizeof(struct arena_block) == UNIT, "a header is a unit");
_Static_assert(sizeof(struct links) <= UNIT, "links fit a free block");

static struct links *links_of(struct arena_block *block)
{
    return (struct links *)(void *)(block + 1);
}

static struct arena_block *block_after(struct arena_block *block)
{
    return block->last ? NULL : block + block->units;
}

static struct arena_block *block_before(struct arena_block *block)
{
    return block->before == 0 ? NULL : block - block->before;
}

static uint32_t units_for(size_t length)
{
    uint32_t units = (uint32_t)((length + UNIT - 1) / UNIT) + 1;

    return units < UNITS_MIN ? UNITS_MIN : units;
}

/* The list of blocks of this many units. */
static void place(uint32_t units, unsigned *row, unsigned *column)
{
    unsigned log = 31 - (unsigned)__builtin_clz(units);

    *row = log;
    *column = log < 3 ? units << (3 - log) & 7 : units >> (log - 3) & 7;
    lz4_assert(*row < ARENA_ROWS);
}

/* Puts a block, whose neighbours are used or are about to be, on the list of its
 * size: from now on it is free. */
static void link_block(struct hmm_arena *arena, struct arena_block *block)
{
    unsigned row, column;

    lz4_assert(block->units >= UNITS_MIN); /* room for the links */
    place(block->units, &row, &column);
    links_of(block)->next = arena->free[row][column];
    links_of(block)->previous = NULL;
    if (arena->free[row][column])
        links_of(arena->free[row][column])->previous = block;
    arena->free[row][column] = block;
    arena->columns[row] |= (uint8_t)(1u << column);
    arena->rows |= 1u << row;
    block->used = 0;
}

static void unlink_block(struct hmm_arena *arena, struct arena_block *block)
{
    struct links *links = links_of(block);
    unsigned row, column;

    lz4_assert(!block->used);
    place(block->units, &row, &column);
    if (links->next)
        links_of(links->next)->previous = links->previous;
    if (links->previous)
        links_of(links->previous)->next = links->next;
    else
        arena->free[row][column] = links->next;
    if (!arena->free[row][column])
        arena->columns[row] &= (uint8_t) ~(1u << column);
    if (arena->columns[row] == 0)
        arena->rows &= ~(1u << row);
}

int hmm_arena_begin(struct hmm_arena *arena, struct hurdmm *manager,
                    size_t limit, size_t longest)
{
    size_t segment = SEGMENT_PIECES * (longest + UNIT);
    void *memory;
    int error;

    memset(arena, 0, sizeof *arena);
    arena->manager = manager;
    if (longest == 0 || longest > SEGMENT_MAX)
        return EINVAL;
    if (segment < limit / 16)
        segment = limit / 16 < SEGMENT_MAX ? limit / 16 : SEGMENT_MAX;
    if (segment > limit)
        segment = limit;
    segment -= segment % UNIT;
    if (segment / UNIT < units_for(longest) || limit / segment > UINT32_MAX)
        return EINVAL;
    arena->segment = segment;
    arena->count_max = (uint32_t)(limit / segment);
    error =
        hurdmm_allocate(manager, arena->count_max * sizeof(void *), &memory);
    if (error == 0)
        arena->segments = memory;
    return error;
}

void hmm_arena_end(struct hmm_arena *arena)
{
    for (uint32_t i = 0; i < arena->count; i++)
        hurdmm_deallocate(arena->manager, arena->segments[i], arena->segment);
    hurdmm_deallocate(arena->manager, arena->segments,
                      arena->count_max * sizeof(void *));
}

/* One more segment: one free block.  ENOSPC: the bound is reached; ENOMEM.  Who
 * calls has found no block that would do, and uses this one at once: so invariant
 * 4 is broken only in between. */
static int grow(struct hmm_arena *arena)
{
    struct arena_block *block;
    void *memory;
    int error;

    if (arena->count == arena->count_max)
        return ENOSPC;
    error = hurdmm_allocate(arena->manager, arena->segment, &memory);
    if (error != 0)
        return error;
    arena->segments[arena->count++] = memory;
    block = memory;
    block->units = (uint32_t)(arena->segment / UNIT);
    block->before = 0;
    block->last = 1;
    link_block(arena, block);
    return 0;
}

/* Gives an empty segment back.  Looks at each segment: there are 16 or so, or as
 * many as the arena has MiB. */
static void shrink(struct hmm_arena *arena, struct arena_block *block)
{
    uint32_t i = 0;

    while (arena->segments[i] != block)
        i++;
    lz4_assert(i < arena->count);
    arena->segments[i] = arena->segments[--arena->count];
    hurdmm_deallocate(arena->manager, block, arena->segment);
}

/* A free block of so many units at least, or NULL. */
static struct arena_block *find(const struct hmm_arena *arena, uint32_t units)
{
    unsigned row, column, bits;
    struct arena_block *block;
    uint32_t rows;

    place(units, &row, &column);
    bits = arena->columns[row] & (0xFEu << column);
    if (bits != 0)
        return arena->free[row][__builtin_ctz(bits)];
    rows = arena->rows & ~(uint32_t)((2ull << row) - 1);
    if (rows != 0) {
        row = (unsigned)__builtin_ctz(rows);
        return arena->free[row][__builtin_ctz(arena->columns[row])];
    }
    block = arena->free[row][column];
    return block && block->units >= units ? block : NULL;
}

/* Cuts what the block does not need off, as a free block of its own. */
static void split(struct hmm_arena *arena, struct arena_block *block,
                  uint32_t units)
{
    struct arena_block *rest, *after;

    lz4_assert(block->units >= units && units >= UNITS_MIN);
    if (block->units - units < UNITS_MIN)
        return;
    after = block_after(block);
    rest = block + units;
    rest->units = block->units - units;
    rest->before = units;
    rest->last = block->last;
    rest->length = 0;
    block->units = units;
    block->last = 0;
    if (after)
        after->before = rest->units;
    link_block(arena, rest);
}

int hmm_arena_take(struct hmm_arena *arena, size_t length, void **piece)
{
    uint32_t units = units_for(length);
    struct arena_block *block = find(arena, units);

    lz4_assert(length > 0 && units <= arena->segment / UNIT);
    if (!block) {
        int error = grow(arena);

        if (error != 0)
            return error;
        block = find(arena, units);
        lz4_assert(block);
    }
    unlink_block(arena, block);
    split(arena, block, units);
    block->used = 1;
    block->length = (uint32_t)length;
    arena->used += (uint64_t)block->units * UNIT;
    *piece = block + 1;
    return 0;
}

/* Joins a block with the one after it; neither is on a list. */
static void join(struct arena_block *block, struct arena_block *after)
{
    struct arena_block *next = block_after(after);

    lz4_assert(block + block->units == after && after->before == block->units);
    block->units += after->units;
    block->last = after->last;
    if (next)
        next->before = block->units;
}

void hmm_arena_give(struct hmm_arena *arena, void *piece)
{
    struct arena_block *block = (struct arena_block *)piece - 1;
    struct arena_block *near;

    lz4_assert(block->used);
    lz4_assert(arena->used >= (uint64_t)block->units * UNIT);
    arena->used -= (uint64_t)block->units * UNIT;
    near = block_after(block);
    if (near && !near->used) {
        unlink_block(arena, near);
        join(block, near);
    }
    near = block_before(block);
    if (near && !near->used) {
        unlink_block(arena, near);
        join(near, block);
        block = near;
    }
    if (block->before == 0 && block->last && arena->count > 1)
        shrink(arena, block);
    else
        link_block(arena, block);
}

size_t hmm_arena_length(const void *piece)
{
    const struct arena_block *block = (const struct arena_block *)piece - 1;

    lz4_assert(block->used);
    return block->length;
}

bool hmm_arena_fits(const struct hmm_arena *arena, size_t length)
{
    return arena->count < arena->count_max ||
           find(arena, units_for(length)) != NULL;
}

uint64_t hmm_arena_bytes(const struct hmm_arena *arena)
{
    return (uint64_t)arena->count * arena->segment;
}

static bool on_list(const struct hmm_arena *arena, struct arena_block *block)
{
    struct arena_block *at;
    unsigned row, column;

    place(block->units, &row, &column);
    for (at = arena->free[row][column]; at && at != block;
         at = links_of(at)->next)
        ;
    return at == block && arena->rows >> row & 1 &&
           arena->columns[row] >> column & 1;
}

static bool segment_sound(const struct hmm_arena *arena,
                          struct arena_block *block, uint64_t *used)
{
    uint32_t before = 0;
    uint64_t units = 0;
    bool was_free = false;

    if (block->last && !block->used && arena->count > 1)
        return false;

    for (; block; block = block_after(block)) {
        if (block->before != before || block->units < UNITS_MIN ||
            (!block->used && (was_free || !on_list(arena, block))))
            return false;
        was_free = !block->used;
        before = block->units;
        units += block->units;
        if (block->used)
            *used += (uint64_t)block->units * UNIT;
        if (units > arena->segment / UNIT)
            return false;
    }
    return units == arena->segment / UNIT;
}

bool hmm_arena_sound(const struct hmm_arena *arena)
{
    uint64_t used = 0;

    for (uint32_t i = 0; i < arena->count; i++)
        if (!segment_sound(arena, arena->segments[i], &used))
            return false;
    for (unsigned row = 0; row < ARENA_ROWS; row++) {
        if ((arena->columns[row] != 0) != (arena->rows >> row & 1))
            return false;
        for (unsigned i = 0; i < ARENA_COLUMNS; i++)
            if ((arena->free[row][i] != NULL) != (arena->columns[row] >> i & 1))
                return false;
    }
    return used == arena->used;
}
