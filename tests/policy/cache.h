/* SPDX-License-Identifier: MIT */
/*
 * A simulated cache that a policy rules: what is read, what is there, and what
 * it cost.  No memory is moved; a page is a number.
 *
 * It stands for the library and a port, in one of two manners: with referenced
 * bits, which are looked at when a page is named, or without, where a page on
 * trial is taken back and its next access is a soft fault.
 */
#ifndef HMM_TESTS_POLICY_CACHE_H
#define HMM_TESTS_POLICY_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include <hurdmm/policy.h>

struct cache {
    const struct hurdmm_policy_ops *ops;
    void *state;
    bool bits;
    uint32_t frames;
    uint32_t pages;
    uint32_t resident;
    uint32_t batch;     /* how many are asked of the policy at once */
    uint32_t *frame_of; /* by page; HURDMM_FRAME_NONE where absent */
    uint32_t *page_of;  /* by frame */
    uint32_t *free;     /* stack of frames - resident */
    bool *lent;         /* by frame: an access goes unseen */
    bool *referenced;   /* by frame */
    /* Counters; anybody may reset them. */
    uint64_t hits, misses, soft_faults, trials, selects;
};

/* Pages 0 to `pages' - 1 in `frames' frames. */
void cache_init(struct cache *cache, const struct hurdmm_policy_ops *ops,
                bool bits, uint32_t frames, uint32_t pages);
void cache_destroy(struct cache *cache);

/* Reads a page, which comes with `flags' (HURDMM_PAGE_...) if it is absent;
 * whether it was there. */
bool cache_read(struct cache *cache, uint32_t page, unsigned flags);

/* Brings `count' pages from `page' on, unless they are there, unasked. */
void cache_read_ahead(struct cache *cache, uint32_t page, uint32_t count,
                      unsigned flags);

void cache_reset_counters(struct cache *cache);

/* Hits of all reads since, from 0 to 1. */
double cache_hit_ratio(const struct cache *cache);

#endif
