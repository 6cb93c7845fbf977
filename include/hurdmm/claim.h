/* SPDX-License-Identifier: MIT */
/* hurdmm/claim.h - stores that stand on other stores.
 *
 * A store that is made of others (a concatenation, an encrypted store, a swap
 * space on a file store) claims them: from then on it calls their operations
 * itself, past their caches, so that no page is kept twice.  A writable store
 * that is claimed is nobody else's: whatever would use it says EBUSY.  A
 * READ_ONLY one stays in use, since it is the same for everybody.
 *
 * Who claims a store does what the library would have done for it:
 *   - whole blocks, but for the last, which ends with the store's size;
 *   - never two page_in or page_out of one page at once.  This comes for free
 *     when a page of the claimant is a page of the claimed store: the library
 *     does not call the claimant so either.  Several claimants of one store to
 *     read may well meet in page_in of one page.
 * The functions below that begin with hurdmm_claimed take no lock and are of
 * class store; page_in is of class signal where the store is SIGNAL_SAFE.
 */
#ifndef HURDMM_CLAIM_H
#define HURDMM_CLAIM_H

#include <hurdmm/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Claims a store, of this manager or another, for HURDMM_READ, as often as one
 * likes, or for HURDMM_READ | HURDMM_WRITE, once.  What its cache holds is
 * written first, and dropped.  While it is claimed it can be neither destroyed
 * nor resized (EBUSY).
 * EINVAL, ESTALE, EBUSY (regions are bound, pages are pinned or being filled,
 * copies depend on it, dirty pages cannot leave, or somebody else has claimed
 * it), EROFS (to write to a READ_ONLY store), ENOTSUP (it has no page_in, or to
 * write, no page_out: full stores answer faults, and there are none here),
 * EDEADLK (from a callback), or the store's error in writing: then nothing is
 * lost, and nothing claimed. */
int hurdmm_store_claim(struct hurdmm_store *store, unsigned access);
/* Gives a claim back.  The store can be used as before.  EINVAL (there is none),
 * ESTALE.  Class: store. */
int hurdmm_store_unclaim(struct hurdmm_store *store);

/* The store's operations, with their meaning in struct hurdmm_store_ops.  *done
 * is always written.  What a store does not have is 0 and does nothing.
 * ESTALE: the store is not claimed; EINVAL: not within it or not whole blocks;
 * EROFS; or what the store says, where an error with nothing left to do is none
 * and a short amount without error is EIO. */
int hurdmm_claimed_page_in(struct hurdmm_store *store, uint64_t offset,
                           void *buffer, size_t length, size_t *done);
int hurdmm_claimed_page_out(struct hurdmm_store *store, uint64_t offset,
                            const void *buffer, size_t length, size_t *done);
int hurdmm_claimed_sync(struct hurdmm_store *store, uint64_t offset,
                        uint64_t length);
int hurdmm_claimed_unlock(struct hurdmm_store *store, uint64_t offset,
                          size_t length);
void hurdmm_claimed_evicted(struct hurdmm_store *store, uint64_t offset,
                            size_t length);
void hurdmm_claimed_discarded(struct hurdmm_store *store, uint64_t offset,
                              uint64_t length);
void hurdmm_claimed_advise(struct hurdmm_store *store, uint64_t offset,
                           uint64_t length, enum hurdmm_advice advice);
/* A store without this operation is one piece. */
int hurdmm_claimed_extent(struct hurdmm_store *store, uint64_t offset,
                          uint64_t *start, uint64_t *length);

/* What the store was made with: HURDMM_STORE_..., and bytes. */
unsigned hurdmm_store_flags(const struct hurdmm_store *store);
size_t hurdmm_store_block_size(const struct hurdmm_store *store);

#ifdef __cplusplus
}
#endif

#endif
