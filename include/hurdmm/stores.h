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
 * manager.  The device stays the caller's.  EINVAL, ENOMEM, ESTALE. */
int hurdmm_swap_create(struct hurdmm *manager, struct hurdmm_block *block,
                       struct hurdmm_swap **swap);
/* EBUSY while a store uses it. */
int hurdmm_swap_destroy(struct hurdmm_swap *swap);
/* Bytes of the device, and those that hold pages now. */
void hurdmm_swap_usage(struct hurdmm_swap *swap, uint64_t *size,
                       uint64_t *used);

/* Anonymous memory: reads as zeros until written; lazy.  Pages that must leave
 * memory go to `swap`; with NULL they cannot leave.  `flags`: 0 or
 * HURDMM_STORE_SHARED.  EINVAL, ENOMEM, ESTALE. */
int hurdmm_anonymous_create(struct hurdmm *manager, struct hurdmm_swap *swap,
                            uint64_t size, unsigned flags,
                            struct hurdmm_store **store);

/* Computed memory: `fill` makes the contents of [offset, offset + length) of
 * the store, again each time they are needed.  Read-only, or, with
 * HURDMM_STORE_DISCARDABLE in `flags`, writable until dropped.  Also
 * HURDMM_STORE_SHARED and HURDMM_STORE_SIGNAL_SAFE.  EINVAL, ENOMEM, ESTALE. */
int hurdmm_computed_create(struct hurdmm *manager, uint64_t size,
                           unsigned flags,
                           int (*fill)(void *hook, uint64_t offset,
                                       void *buffer, size_t length),
                           void *hook, struct hurdmm_store **store);

#ifdef __cplusplus
}
#endif

#endif
