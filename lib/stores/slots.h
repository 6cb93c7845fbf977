/* SPDX-License-Identifier: MIT */
/*
 * A slot map: which slot of the swap space holds a page of an anonymous store.
 *
 * It is a radix tree over page numbers that grows upwards as higher pages are
 * set and loses what becomes empty.  A leaf of 1 KiB covers 256 pages: 4 bytes a
 * page where pages are dense, nothing where there are none, so that the size of
 * a store costs nothing.  Whoever owns a map locks it.
 */
#ifndef HMM_STORES_SLOTS_H
#define HMM_STORES_SLOTS_H

#include <stdbool.h>

#include <hurdmm/types.h>

#define HMM_SLOT_NONE UINT32_MAX
/* No slot yet, but the swap space has promised one. */
#define HMM_SLOT_PROMISED (UINT32_MAX - 1)

/* Pages of a leaf: what hmm_slots_run looks at, at most. */
#define HMM_SLOTS_LEAF 256u

struct hmm_slots_node;

struct hmm_slots {
    struct hurdmm *manager;
    struct hmm_slots_node *root; /* NULL when empty */
    unsigned height;             /* levels of nodes; 0 when empty */
};

void hmm_slots_init(struct hmm_slots *slots, struct hurdmm *manager);

/* The slot of a page, or HMM_SLOT_NONE. */
uint32_t hmm_slots_get(const struct hmm_slots *slots, uint64_t page);

/* Sets the slot of a page; *old gets what it was.  ENOMEM changes nothing. */
int hmm_slots_set(struct hmm_slots *slots, uint64_t page, uint32_t slot,
                  uint32_t *old);

/* Of the pages from `page' on, at most `max', how many are in slots that follow
 * each other; or, where `page' has no slot, how many have none, or are promised
 * one.  *slot gets the first one's.  At least 1; it may stop early, but only at
 * a multiple of HMM_SLOTS_LEAF. */
uint64_t hmm_slots_run(const struct hmm_slots *slots, uint64_t page,
                       uint64_t max, uint32_t *slot);

/* The same backwards: how many pages before `page' belong to its run. */
uint64_t hmm_slots_run_before(const struct hmm_slots *slots, uint64_t page);

/* Takes pages out of [first, last], which includes `last', and gives them, run
 * by run, to `drop', until that says false: then there may be more, and false is
 * returned.  Needs no memory. */
bool hmm_slots_clear(struct hmm_slots *slots, uint64_t first, uint64_t last,
                     bool (*drop)(void *hook, uint32_t slot, uint32_t count),
                     void *hook);

#endif /* HMM_STORES_SLOTS_H */
