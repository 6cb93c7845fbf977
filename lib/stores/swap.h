/* SPDX-License-Identifier: MIT */
/*
 * Swap space, as the anonymous store sees it: slots of a page each, numbered
 * from 0.  All of it may be called from several threads at once.
 */
#ifndef HMM_STORES_SWAP_H
#define HMM_STORES_SWAP_H

#include <stdbool.h>

#include <hurdmm/stores.h>

/* Slots beyond these are not used: 16 TiB with pages of 4 KiB. */
#define HMM_SWAP_SLOTS_MAX (UINT32_MAX - 2)

/* A store begins and ends its use of the swap space, which must belong to the
 * same manager (EINVAL). */
int hmm_swap_open(struct hurdmm_swap *swap, struct hurdmm *manager);
void hmm_swap_close(struct hurdmm_swap *swap);

/* Whether stores are to reserve slots before pages are written. */
bool hmm_swap_reserves(const struct hurdmm_swap *swap);
/* Promises slots, which nobody else gets: ENOSPC, ENOMEM; or takes promises
 * back. */
int hmm_swap_promise(struct hurdmm_swap *swap, uint32_t count);
void hmm_swap_forgive(struct hurdmm_swap *swap, uint32_t count);

/* Takes up to `count' slots that follow each other: all of them where there is
 * such a run, else as many as the longest run has.  *slot is the first, *got
 * how many.  With `promised' that many promises are kept by it, and there is one
 * slot at least.  ENOSPC: there is none; ENOMEM. */
int hmm_swap_take(struct hurdmm_swap *swap, uint64_t count, bool promised,
                  uint32_t *slot, uint32_t *got);
/* Gives slots back; with `promised' they are promised again. */
void hmm_swap_free(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                   bool promised);

/* Whole slots.  The device's errors.  A read says how many slots before the bad
 * one were read; EIO also where what was read is not what was written. */
int hmm_swap_read(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                  void *buffer, uint32_t *good);
int hmm_swap_write(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                   const void *buffer);

#endif /* HMM_STORES_SWAP_H */
