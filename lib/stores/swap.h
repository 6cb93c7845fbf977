/* SPDX-License-Identifier: MIT */
/*
 * Swap space, as the anonymous store sees it: slots of a page each, numbered
 * from 0.  All of it may be called from several threads at once.
 */
#ifndef HMM_STORES_SWAP_H
#define HMM_STORES_SWAP_H

#include <hurdmm/stores.h>

/* Slots beyond these are not used: 16 TiB with pages of 4 KiB. */
#define HMM_SWAP_SLOTS_MAX (UINT32_MAX - 1)

/* A store begins and ends its use of the swap space, which must belong to the
 * same manager (EINVAL). */
int hmm_swap_open(struct hurdmm_swap *swap, struct hurdmm *manager);
void hmm_swap_close(struct hurdmm_swap *swap);

/* Takes up to `count' slots that follow each other: all of them where there is
 * such a run, else as many as the longest run has.  *slot is the first, *got
 * how many.  ENOSPC: there is none; ENOMEM. */
int hmm_swap_take(struct hurdmm_swap *swap, uint64_t count, uint32_t *slot,
                  uint32_t *got);
void hmm_swap_free(struct hurdmm_swap *swap, uint32_t slot, uint32_t count);

/* Whole slots.  The device's errors. */
int hmm_swap_read(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                  void *buffer);
int hmm_swap_write(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                   const void *buffer);

#endif /* HMM_STORES_SWAP_H */
