/* SPDX-License-Identifier: MIT */
/* hurdmm/compose.h - stores that are made of other stores.
 *
 * A composition is an ordinary store: bind it, compose it again, end it with
 * hurdmm_store_destroy.  It claims the stores that it is made of
 * (hurdmm/claim.h) until it ends, and goes past their caches: no page is kept
 * twice.  They stay the caller's and may belong to other managers.  A composition
 * that was destroyed ends when no copy depends on it any more, and not inside the
 * `destroy` of another store: until then its stores are still claimed.
 *
 * Offsets and lengths are bytes, and whole blocks but at the end of a store.
 * Stores that are composed must have the same block size, which is the
 * composition's.  Where a store is READ_ONLY, or not there, a composition that
 * is not READ_ONLY refuses the first write to a page: EROFS, ENOSPC.  Of the
 * operations, those by range (sync, discard, advice, notices) go to every store
 * that the range touches; all are asked, and the first error is returned.
 *
 * Resizing a composition does not resize its stores.  Longer, it has nothing
 * there: pages that reach past the size that it was made with fail with ENXIO.
 * Cut within a block, its last page fails with EINVAL when it is read or written,
 * as stores take whole blocks from who has claimed them.
 *
 * Flags of all: HURDMM_STORE_READ_ONLY, HURDMM_STORE_SHARED,
 * HURDMM_STORE_NO_STEAL.  A composition is SIGNAL_SAFE where all its stores are,
 * and NO_STEAL where one of those that it writes to is.
 * Errors of all: EINVAL (also: block sizes that differ, the same bytes twice in
 * a composition that can be written, sizes that overflow), EACCES (nothing of it
 * could be written, and it is not READ_ONLY), ELOOP (more than
 * HURDMM_COMPOSE_DEPTH compositions one upon the other), ENOMEM, ESTALE, and
 * what hurdmm_store_claim says: EBUSY, ENOTSUP, EDEADLK, the store's errors.
 * Then nothing is claimed and nothing made. */
#ifndef HURDMM_COMPOSE_H
#define HURDMM_COMPOSE_H

#include <hurdmm/block.h>
#include <hurdmm/container.h>
#include <hurdmm/store.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HURDMM_COMPOSE_DEPTH 16u

/* A part of a store, or a hole, which reads as zeros. */
#define HURDMM_HOLE UINT64_MAX
struct hurdmm_run {
    uint64_t offset; /* in the store, or HURDMM_HOLE */
    uint64_t length; /* not 0 */
};

/* A store's runs, one after the other: a sub-range, or a file of which one knows
 * where its blocks are.  The last run may end where the store does, within a
 * block.  Also ENXIO (past the store's end). */
int hurdmm_remap_create(struct hurdmm *manager, struct hurdmm_store *store,
                        const struct hurdmm_run *runs, size_t count,
                        unsigned flags, struct hurdmm_store **result);

/* Stores, one after the other.  All but the last are whole blocks. */
int hurdmm_concat_create(struct hurdmm *manager,
                         struct hurdmm_store *const *stores, size_t count,
                         unsigned flags, struct hurdmm_store **result);

/* `unit` bytes of the first store, of the second, and so on, and round again.
 * Of each store as many whole units are used as the smallest has; EINVAL where
 * that is none. */
int hurdmm_stripe_create(struct hurdmm *manager,
                         struct hurdmm_store *const *stores, size_t count,
                         uint64_t unit, unsigned flags,
                         struct hurdmm_store **result);

/* A private copy of `base`: what is written goes to `delta`, and `base` stays as
 * it is; any number of copies may be made of it.  The delta keeps what it has:
 * opened again with the same base, it is the same copy, as of the last sync or
 * later, block by block, also if the process was killed.  A delta that is all
 * zeros is new; one that was written by somebody else, or for another size or
 * block size, is EBADMSG, and stays as it is.  It must be as long as
 * hurdmm_copy_delta_size says (EINVAL), but a file may be sparse.  With
 * HURDMM_STORE_VOLATILE in `flags` no account is kept in the delta, and the copy
 * is lost when it ends.  Discarding gives back what the delta and the base
 * have; pages that were written do not become the base's again. */
int hurdmm_copy_create(struct hurdmm *manager, struct hurdmm_store *base,
                       struct hurdmm_store *delta, unsigned flags,
                       struct hurdmm_store **result);
/* Bytes of a delta for a base of `size' bytes in blocks of `block_size': the
 * blocks, a bit for each, and a block for the header.  0: such a delta cannot be
 * (no bytes, a block that is no power of two or smaller than 32, or a sum that
 * overflows).  Class: signal. */
uint64_t hurdmm_copy_delta_size(uint64_t size, size_t block_size);

/* Zeros, any number of them, READ_ONLY.  `flags`: 0 or HURDMM_STORE_SHARED. */
int hurdmm_zero_create(struct hurdmm *manager, uint64_t size, unsigned flags,
                       struct hurdmm_store **result);

/* Private memory of the program as a store.  It stays the caller's, and is not
 * to be touched between a sync and the store's end.  Resizing does not change how
 * much of it there is: ENXIO past `size'.  It claims nothing, and is SIGNAL_SAFE;
 * EINVAL (no memory), ENOMEM, ESTALE. */
int hurdmm_buffer_create(struct hurdmm *manager, void *memory, size_t size,
                         unsigned flags, struct hurdmm_store **result);

/* Memory that somebody else granted, of a container of this manager or another:
 * [offset, offset + size) of the grant.  (Of this manager, hurdmm_grant_map shows
 * it without copying.)  A hole is ENOENT.  When the grant is revoked, or the
 * container is gone, all that must be read or written fails with ESTALE; pages in
 * memory stay, and dirty ones too, until the store ends, with HURDMM_DROP.  It is
 * to end before the grant's manager does.
 * EPERM (beyond the grant's rights), ENXIO (beyond its range). */
int hurdmm_granted_create(struct hurdmm *manager, struct hurdmm_grant *grant,
                          uint64_t offset, uint64_t size, unsigned flags,
                          struct hurdmm_store **result);

/* A store as a block device, for a swap space, or the driver of a file system,
 * that knows devices only.  Its blocks are the store's; what of the last one is
 * cut is no part of it.  Give &device.block to whoever wants a device.  The
 * structure stays the caller's and is in use until `end`, which gives the store
 * back.  `flags`: 0 or HURDMM_BLOCK_READ_ONLY.  EINVAL, ESTALE, and as
 * hurdmm_store_claim.  `end': EINVAL, ESTALE; no call may be under way. */
struct hurdmm_store_device {
    struct hurdmm_block block;
    struct hurdmm_store *store;
    unsigned flags;
};
int hurdmm_store_device_init(struct hurdmm_store_device *device,
                             struct hurdmm_store *store, unsigned flags);
int hurdmm_store_device_end(struct hurdmm_store_device *device);

#ifdef __cplusplus
}
#endif

#endif
