/* SPDX-License-Identifier: MIT */
/*
 * An ordered map from 64-bit keys to 64-bit values: the page index of a
 * container.
 *
 * It is a B+ tree of 512-byte nodes.  Pointers to values, and cursors, are good
 * until the next insert or remove.  Memory is about 20 bytes an entry when keys
 * arrive at random and 17 when they arrive in order, up or down; an empty index
 * has none.  Removing never needs memory.
 *
 * Whoever owns the index locks it, and the slab of nodes, which indexes share.
 */
#ifndef HMM_BASE_INDEX_H
#define HMM_BASE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/assert.h"
#include "lib/base/slab.h"

/* The size of the objects of the slab that an index takes its nodes from, and
   their alignment, so that the node of a value is known from where it is. */
#define HMM_INDEX_NODE_SIZE 512u

struct hmm_index_node;

struct hmm_index {
    struct hmm_index_node *root; /* NULL when empty */
    unsigned height;             /* levels of nodes; 0 when empty */
    uint64_t count;
    struct hmm_slab *nodes;
};

/* A place in an index.  `key' and `value' may be read, and *value written, after
   a seek or step that said true. */
struct hmm_index_cursor {
    struct hmm_index_node *leaf;
    unsigned slot;
    uint64_t key;
    uint64_t *value;
};

void hmm_index_init(struct hmm_index *index, struct hmm_slab *nodes);

/* The value of `key', or NULL. */
uint64_t *hmm_index_find(const struct hmm_index *index, uint64_t key);

/* Adds `key'.  EEXIST: it is there; ENOMEM: no node; both change nothing. */
int hmm_index_insert(struct hmm_index *index, uint64_t key, uint64_t value);

/* Adds up to `n' keys from `key' on, none of which is there, with the values from
   `value' on, and says how many: as many as fit behind lower ones without a new node,
   at less than a tenth of the cost each.  0: insert one. */
unsigned hmm_index_insert_row(struct hmm_index *index, uint64_t key,
                              uint64_t value, unsigned n);

/* Removes `key' and stores its value, where `value' is not NULL.  ENOENT. */
int hmm_index_remove(struct hmm_index *index, uint64_t key, uint64_t *value);

/* Removes up to HMM_INDEX_TAKE_MAX neighbouring keys of [first, last], the lowest
   ones, and stores them with their values, in order.  Says how many: 0 when there
   is none left, so that a range is emptied by asking again from the last key on.
   It costs about as much as removing one. */
#define HMM_INDEX_TAKE_MAX 31u
struct hmm_index_pair {
    uint64_t key;
    uint64_t value;
};
unsigned hmm_index_take(struct hmm_index *index, uint64_t first, uint64_t last,
                        struct hmm_index_pair *pairs);

/* The value of the lowest key >= `key', which is stored in *found; or NULL. */
uint64_t *hmm_index_next(const struct hmm_index *index, uint64_t key,
                         uint64_t *found);

/* The value of the greatest key <= `key', which is stored in *found; or NULL. */
uint64_t *hmm_index_prev(const struct hmm_index *index, uint64_t key,
                         uint64_t *found);

/* Puts the cursor at the lowest key >= `key'; false when there is none. */
bool hmm_index_seek(const struct hmm_index *index,
                    struct hmm_index_cursor *cursor, uint64_t key);

/* Moves to the next key; false at the end, where the cursor then stays. */
bool hmm_index_step(struct hmm_index_cursor *cursor);

/* Values of keys in a row from `key' on, as an array: *values, and how many.  There may
   be more behind them; 0: there is none. */
unsigned hmm_index_row(const struct hmm_index *index, uint64_t key,
                       uint64_t **values);

/* How many keys there are in a row from `key' on: `key', `key' + 1 ... */
uint64_t hmm_index_run(const struct hmm_index *index, uint64_t key);

/* Bits of values that can be searched for; the searcher says which.  A bit that
   was not in the value when that was inserted must be set by hmm_index_mark, where
   `value' is in an index; it may be cleared in any way. */
#define HMM_INDEX_MARKS ((uint64_t)UINT32_MAX << 32)
/* Where a node says what its values have: without a call, since each fault sets
   some. */
#define HMM_INDEX_MARKS_AT (sizeof(void *) + sizeof(uint32_t))
static inline void hmm_index_mark(uint64_t *value, uint64_t bits)
{
    uintptr_t node = (uintptr_t)value & ~(uintptr_t)(HMM_INDEX_NODE_SIZE - 1);

    hmm_assert(!(bits & ~HMM_INDEX_MARKS));
    *(uint32_t *)(node + HMM_INDEX_MARKS_AT) |= (uint32_t)(bits >> 32);
    *value |= bits;
}

/* Seek and step for the keys of [key, last] whose value has a bit of `mask', of
   HMM_INDEX_MARKS; others cost next to nothing.  After a false the cursor has no
   place. */
bool hmm_index_seek_marked(const struct hmm_index *index,
                           struct hmm_index_cursor *cursor, uint64_t key,
                           uint64_t last, uint64_t mask);
bool hmm_index_step_marked(const struct hmm_index *index,
                           struct hmm_index_cursor *cursor, uint64_t last,
                           uint64_t mask);

/* Takes bits out of the values of all keys of [first, last]. */
void hmm_index_clear_bits(struct hmm_index *index, uint64_t first,
                          uint64_t last, uint64_t bits);

/* Removes every key. */
void hmm_index_clear(struct hmm_index *index);

/* Checks order, fill, links and counts. */
bool hmm_index_check(const struct hmm_index *index);

/* Will a search for `mask' find every value with a bit of it? */
bool hmm_index_check_marks(const struct hmm_index *index, uint64_t mask);

#endif /* HMM_BASE_INDEX_H */
