/* SPDX-License-Identifier: MIT */
/*
 * Anonymous memory's way out and back, for stores that are that and more: their
 * operations call these with the hook that is made here, which they keep.
 */
#ifndef HMM_STORES_ANONYMOUS_H
#define HMM_STORES_ANONYMOUS_H

#include <hurdmm/stores.h>

/* Makes what stands for the pages that are out of memory, in `swap' or nowhere
 * (NULL).  It goes by the operation `destroy', with the hook.  EINVAL, ENOMEM,
 * ESTALE. */
int hmm_anonymous_make(struct hurdmm *manager, struct hurdmm_swap *swap,
                       void **hook);

/* The operations with swap, or without.  None looks at the store. */
const struct hurdmm_store_ops *hmm_anonymous_ops(
    const struct hurdmm_swap *swap);

/* What pages hold is of no use to anybody, but they may be written again: they
 * keep what they were promised. */
void hmm_anonymous_forget(void *hook, uint64_t offset, size_t length);

#endif /* HMM_STORES_ANONYMOUS_H */
