/* SPDX-License-Identifier: MIT */
/* hurdmm/compressed.h - anonymous memory that leaves compressed (optional:
 * libhurd-mm-lz4).
 */
#ifndef HURDMM_COMPRESSED_H
#define HURDMM_COMPRESSED_H

#include <hurdmm/stores.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_compressed_options {
    size_t struct_size;
    size_t arena;             /* bytes for compressed pages, at least two
                               * pages; memory of the library's own, beside
                               * the budget, taken as it is needed */
    struct hurdmm_swap *swap; /* for what does not fit; NULL: nothing does */
    int acceleration;         /* of LZ4: faster, larger; 0: 1 */
};

/* Anonymous memory: reads as zeros until written.  Pages that must leave memory
 * are compressed with LZ4 and kept in the arena; a page that is one 32-bit word
 * over and over takes no room.  What does not shrink by an eighth, and what
 * comes when the arena is full, goes to the swap space.  `flags`: 0 or
 * HURDMM_STORE_SHARED.
 *
 * When neither has room, the first write to a page fails with ENOSPC.  Pages
 * that were written before and find no room stay in memory, dirty: flush and
 * return say ENOSPC, and nothing is lost.  A swap space with HURDMM_SWAP_RESERVE
 * promises each page a place before its first write, whether the arena takes it
 * then or not: so every page that was written can leave.  EINVAL, ENOMEM,
 * ESTALE. */
int hurdmm_compressed_create(struct hurdmm *manager,
                             const struct hurdmm_compressed_options *options,
                             uint64_t size, unsigned flags,
                             struct hurdmm_store **store);

struct hurdmm_compressed_stats {
    size_t struct_size;
    /* Now.  A page that has come back to memory is still counted. */
    uint64_t pages_same;   /* kept as one word */
    uint64_t pages_packed; /* in the arena */
    uint64_t bytes_packed; /* what they take there, without overhead */
    uint64_t pages_lower;  /* in the swap space */
    uint64_t arena_used;   /* bytes, with overhead */
    uint64_t arena_bytes;  /* that the arena has grown to */
    /* Since the store was made. */
    uint64_t pages_out, pages_in;
    uint64_t incompressible; /* pages that did not shrink by an eighth */
    uint64_t pages_refused;  /* calls that ended for want of room, or failed */
};

/* The caller sets stats->struct_size.  EINVAL (not such a store).
 * Class: store. */
int hurdmm_compressed_get_stats(struct hurdmm_store *store,
                                struct hurdmm_compressed_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
