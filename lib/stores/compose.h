/* SPDX-License-Identifier: MIT */
/*
 * Compositions from inside: pieces of stores, one after the other or in turns.
 */
#ifndef HMM_STORES_COMPOSE_H
#define HMM_STORES_COMPOSE_H

#include <hurdmm/claim.h>
#include <hurdmm/compose.h>

#include "lib/stores/private.h"

/* A part of a store, or a hole. */
struct hmm_piece {
    struct hurdmm_store *store; /* NULL: a hole */
    uint64_t from;              /* where it begins in the store */
    uint64_t at;                /* and in the composition; stripes: 0 */
    uint64_t length;
    bool claimed; /* this piece has the claim on its store */
};

struct hmm_composed {
    struct hurdmm *manager;
    uint64_t size;
    uint64_t unit; /* of a stripe; 0: the pieces follow each other */
    bool one;      /* all pieces are of one store, which is claimed once */
    size_t block;
    unsigned flags;
    unsigned depth;
    size_t count;
    struct hmm_piece pieces[];
};

/* A place in a piece. */
struct hmm_composed_place {
    const struct hmm_piece *piece;
    uint64_t within; /* bytes into the piece */
    uint64_t run;    /* that follow each other there, at least 1 */
};

/* Where a byte of the composition is. */
void hmm_composed_locate(const struct hmm_composed *composed, uint64_t offset,
                         struct hmm_composed_place *place);
/* How many of the composition's first `offset' bytes lie in a piece. */
uint64_t hmm_composed_before(const struct hmm_composed *composed, size_t piece,
                             uint64_t offset);

/* Memory for so many pieces; the caller fills them in. */
int hmm_composed_new(struct hurdmm *manager, size_t count, unsigned flags,
                     struct hmm_composed **composed);
void hmm_composed_free(struct hmm_composed *composed);
/* Makes the store of pieces that are filled in, or frees them. */
int hmm_composed_finish(struct hmm_composed *composed, const char *name,
                        struct hurdmm_store **result);

/* How many compositions stand below the store, itself included. */
unsigned hmm_composed_depth(const struct hurdmm_store *store);

/* copy.c: what says that a store is a copy, and its depth. */
extern const struct hurdmm_store_ops hmm_copy_ops;
unsigned hmm_copy_depth(const struct hurdmm_store *store);

#endif /* HMM_STORES_COMPOSE_H */
