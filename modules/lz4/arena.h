/* SPDX-License-Identifier: MIT */
/*
 * The arena: memory of a bounded size for pieces of any length.
 *
 * It grows by segments and gives those back that are empty.  A segment is a row
 * of blocks that fill it; a block is used or free, and no two free ones lie side
 * by side.  Free blocks hang on lists by size, a list for each eighth of a power
 * of two, with bits that say which lists have any: taking and giving look at a
 * bounded number of blocks.  Whoever owns an arena locks it.
 */
#ifndef HMM_LZ4_ARENA_H
#define HMM_LZ4_ARENA_H

#include <hurdmm/types.h>

#include <stdbool.h>

#define ARENA_ROWS 24u /* powers of two of a block's length, in units */
#define ARENA_COLUMNS 8u

struct arena_block;

struct hmm_arena {
    struct hurdmm *manager;
    size_t segment;     /* bytes of one */
    uint32_t count;     /* segments there are */
    uint32_t count_max; /* and may be */
    void **segments;
    uint32_t rows; /* a bit for each row that has blocks */
    uint8_t columns[ARENA_ROWS];
    struct arena_block *free[ARENA_ROWS][ARENA_COLUMNS];
    uint64_t used; /* bytes of blocks that are taken */
};

/* An arena of at most `limit' bytes, in which a piece of `longest' bytes must
 * have room: EINVAL.  ENOMEM. */
int hmm_arena_begin(struct hmm_arena *arena, struct hurdmm *manager,
                    size_t limit, size_t longest);
/* Takes back all that was taken. */
void hmm_arena_end(struct hmm_arena *arena);

/* Memory for `length' bytes, aligned to 16.  ENOSPC: none within the bound;
 * ENOMEM: none to grow by. */
int hmm_arena_take(struct hmm_arena *arena, size_t length, void **piece);
void hmm_arena_give(struct hmm_arena *arena, void *piece);
/* What the piece was asked as. */
size_t hmm_arena_length(const void *piece);

/* Whether a piece of this length would be taken, if there is memory to grow. */
bool hmm_arena_fits(const struct hmm_arena *arena, size_t length);
/* Bytes of the segments there are. */
uint64_t hmm_arena_bytes(const struct hmm_arena *arena);

/* Checks every block: false if something is broken.  Slow. */
bool hmm_arena_sound(const struct hmm_arena *arena);

#endif /* HMM_LZ4_ARENA_H */
