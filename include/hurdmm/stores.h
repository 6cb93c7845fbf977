/* SPDX-License-Identifier: MIT */
/* hurdmm/stores.h - the predefined stores.
 *
 * Each is written against the public headers only.  All give an ordinary store
 * handle: bind it, use the verbs, end it with hurdmm_store_destroy.
 */
#ifndef HURDMM_STORES_H
#define HURDMM_STORES_H

#include <hurdmm/block.h>
#include <hurdmm/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_swap;

/* Swap space on a block device, for any number of anonymous stores of one
 * manager.  The device stays the caller's, and must live as long as the swap
 * space; nobody else writes to it meanwhile, and nothing of it is kept over the
 * end of the swap space.  Each page has a place of its own: pages are whole
 * blocks of the device, and what is left at its end is not used.
 * EINVAL (no device, one that is smaller than a page, or whose blocks are no part
 * of one), ENOMEM, ESTALE. */
int hurdmm_swap_create(struct hurdmm *manager, struct hurdmm_block *block,
                       struct hurdmm_swap **swap);
/* The same, with more to say.
 *
 * A checksum is kept in memory for every page in swap (4 bytes); a page that
 * comes back as something else fails with EIO, and only that page.
 *
 * HURDMM_SWAP_RESERVE: a page is promised a place before its first write, which
 * fails with ENOSPC where there is none.  So what was written can always leave
 * memory, and nothing is lost or stuck for want of space.  (A page that a logical
 * copy gave a store is promised nothing.)  Without it, whoever writes last finds
 * out. */
#define HURDMM_SWAP_RESERVE 1u
/* Also EINVAL: struct_size, or a flag that is not known. */
struct hurdmm_swap_options {
    size_t struct_size;
    struct hurdmm_block *block;
    /* hurdmm_checksum, hurdmm_xxhash_checksum, yours; NULL: no checksums. */
    uint64_t (*checksum)(const void *bytes, size_t length);
    unsigned flags;
};
int hurdmm_swap_create_with(struct hurdmm *manager,
                            const struct hurdmm_swap_options *options,
                            struct hurdmm_swap **swap);
/* A checksum of our own: quick, for mishaps and not for malice.  Class:
 * signal. */
uint64_t hurdmm_checksum(const void *bytes, size_t length);

/* Ends it; the device is left as it is.  EBUSY while a store uses it, copies of
 * one included; EINVAL (none). */
int hurdmm_swap_destroy(struct hurdmm_swap *swap);
/* Bytes of the device that can hold pages, and those that do now; either may be
 * NULL.  Class: store. */
void hurdmm_swap_usage(struct hurdmm_swap *swap, uint64_t *size,
                       uint64_t *used);
struct hurdmm_swap_info {
    size_t struct_size;
    uint64_t size;          /* bytes of the device that can hold pages */
    uint64_t used;          /* bytes that do */
    uint64_t reserved;      /* bytes that are promised to pages */
    uint64_t pages_corrupt; /* that came back as something else */
};
/* Fills *info; the caller sets info->struct_size.  EINVAL (also: it is smaller than
 * this structure).  Class: store. */
int hurdmm_swap_get_info(struct hurdmm_swap *swap,
                         struct hurdmm_swap_info *info);

/* Anonymous memory: reads as zeros until written; lazy.  Pages that must leave
 * memory go to `swap`; with NULL they cannot leave.  The swap space stays the
 * caller's, who can end it only after the store.  `flags`: 0 or
 * HURDMM_STORE_SHARED.  EINVAL (also: a swap space of another manager), ENOMEM,
 * ESTALE. */
int hurdmm_anonymous_create(struct hurdmm *manager, struct hurdmm_swap *swap,
                            uint64_t size, unsigned flags,
                            struct hurdmm_store **store);

/* Computed memory: `fill` makes the contents of [offset, offset + length) of
 * the store, again each time they are needed.  Read-only, or, with
 * HURDMM_STORE_DISCARDABLE in `flags`, writable until dropped.  Also
 * HURDMM_STORE_SHARED and HURDMM_STORE_SIGNAL_SAFE.  `fill' runs as a store's
 * page_in does; its error is the access's.  Where it fails for several pages at
 * once it is called again for each, up to the one that fails: so it must say the
 * same again of the same page.  EINVAL, ENOMEM, ESTALE. */
int hurdmm_computed_create(struct hurdmm *manager, uint64_t size,
                           unsigned flags,
                           int (*fill)(void *hook, uint64_t offset,
                                       void *buffer, size_t length),
                           void *hook, struct hurdmm_store **store);

/* A block device, or `size` bytes of it from `offset` on (0: to its end), as a
 * store: bind it, and the device is memory.  Whole blocks of the device; where
 * they are larger than a page, pages come and go by the block.  The last page
 * may end within: bytes past the size read as zeros and are never written.
 * sync makes durable what was written (the device's flush, which is left out
 * when nothing was).  Where the device fails with EIO in a long run, the run is
 * tried again piece by piece, so that only the bad ones fail.  `flags`:
 * HURDMM_STORE_READ_ONLY, HURDMM_STORE_SHARED, HURDMM_STORE_NO_STEAL.  The
 * device stays the caller's, and must live as long as the store.
 * EINVAL, ENXIO (past the device's end), EACCES (the device is read-only and
 * the store is not to be), ENOMEM, ESTALE. */
int hurdmm_block_store_create(struct hurdmm *manager,
                              struct hurdmm_block *block, uint64_t offset,
                              uint64_t size, unsigned flags,
                              struct hurdmm_store **store);

/* A barrier: pages in the range that are dirty now reach the medium before
 * anything that this thread writes to the device later.  The range is as for
 * hurdmm_store_flush.  EINVAL (not a block store), or its errors. */
int hurdmm_block_store_barrier(struct hurdmm_store *store, uint64_t offset,
                               uint64_t length);

#ifdef __cplusplus
}
#endif

#endif
