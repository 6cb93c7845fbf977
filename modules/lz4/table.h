/* SPDX-License-Identifier: MIT */
/*
 * A table of one word for each page of a store: a radix tree that grows upwards
 * as higher pages are set.  Pages that were never set cost nothing.  Whoever
 * owns a table locks it.
 */
#ifndef HMM_LZ4_TABLE_H
#define HMM_LZ4_TABLE_H

#include <hurdmm/types.h>

struct hmm_table {
    struct hurdmm *manager;
    void *root;      /* NULL when empty */
    unsigned height; /* levels of nodes; 0 when empty */
};

/* The word of a page, or NULL where none is. */
uint64_t *hmm_table_find(const struct hmm_table *table, uint64_t page);
/* The same, which makes it, 0, where none is.  ENOMEM. */
int hmm_table_make(struct hmm_table *table, uint64_t page, uint64_t **word);
/* Calls `clear' for each word of [first, last], which includes `last', that is
 * not 0, and makes it 0.  Memory of wholly cleared nodes is given back. */
void hmm_table_clear(struct hmm_table *table, uint64_t first, uint64_t last,
                     void (*clear)(void *hook, uint64_t page, uint64_t word),
                     void *hook);

#endif /* HMM_LZ4_TABLE_H */
