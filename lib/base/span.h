/* SPDX-License-Identifier: MIT */
/*
 * An ordered tree of address ranges: the regions of a space, the mappings of a
 * container, fault catchers, promises.
 *
 * A span is embedded in what it stands for.  Its bounds are *inclusive*, so that
 * the last page of the 64-bit space and the whole space need no special case;
 * this is the one place where ranges are not [start, start + length).  Spans may
 * overlap and even be equal: the order is by `first', then `last', then age.
 *
 * The tree is an AVL tree.  Every node knows the bounds of its subtree and the
 * largest gap in it, so that finding an overlap or a gap takes O(log n).
 * Whoever owns the tree locks it; nothing here allocates or fails.
 */
#ifndef HMM_BASE_SPAN_H
#define HMM_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hmm_span {
    /* What a look-up reads comes first, to lie in one cache line. */
    struct hmm_span *left;
    struct hmm_span *right;
    uint64_t first;
    uint64_t last; /* inclusive */
    /* Of the subtree, kept by the tree: */
    uint64_t max_last;
    int height;    /* a leaf has 1 */
    bool disjoint; /* no two spans overlap */
    uint64_t min_first;
    uint64_t max_gap; /* most bytes between two spans that follow each other */
    struct hmm_span *parent;
};

struct hmm_span_tree {
    struct hmm_span *root;
    size_t count;
};

void hmm_span_tree_init(struct hmm_span_tree *tree);

/* Adds a span whose `first' and `last' the caller has set, first <= last. */
void hmm_span_insert(struct hmm_span_tree *tree, struct hmm_span *span);

/* Removes a span of this tree; its bounds stay readable. */
void hmm_span_remove(struct hmm_span_tree *tree, struct hmm_span *span);

/* Changes the bounds of a span where that does not change its place in the
   order: trimming, or growing into free room. */
void hmm_span_resize(struct hmm_span_tree *tree, struct hmm_span *span,
                     uint64_t first, uint64_t last);

/* The first span in the order that shares a byte with [first, last], or NULL. */
struct hmm_span *hmm_span_first_overlap(const struct hmm_span_tree *tree,
                                        uint64_t first, uint64_t last);

/* The next one after `span' that shares a byte with [first, last], or NULL. */
struct hmm_span *hmm_span_next_overlap(const struct hmm_span *span,
                                       uint64_t first, uint64_t last);

/* In the order; NULL at the ends. */
struct hmm_span *hmm_span_lowest(const struct hmm_span_tree *tree);
struct hmm_span *hmm_span_next(const struct hmm_span *span);
struct hmm_span *hmm_span_prev(const struct hmm_span *span);

/*
 * Stores the lowest multiple of `align' (a power of two) at which `size' bytes
 * (not 0) are free within [low, high], which includes `high'; false when there
 * is none.
 *
 * O(log n) where alignment costs nothing, as it does when all spans are multiples
 * of `align'.  Where more than HMM_SPAN_GAP_TRIES gaps are large enough but
 * misaligned, a higher gap that is certain to fit is preferred to the lowest one,
 * and only if there is none are all gaps looked at.
 */
#define HMM_SPAN_GAP_TRIES 64u
bool hmm_span_find_gap(const struct hmm_span_tree *tree, uint64_t low,
                       uint64_t high, uint64_t size, uint64_t align,
                       uint64_t *first);

/* Checks order, balance, links and everything that nodes know of subtrees. */
bool hmm_span_check(const struct hmm_span_tree *tree);

#endif /* HMM_BASE_SPAN_H */
