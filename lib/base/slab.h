/* SPDX-License-Identifier: MIT */
/*
 * The library's own memory: a core that gets it, and slabs that hand it out.
 *
 * A core takes memory from the port in large pieces and never gives it back; the
 * port frees it all when the manager closes.  So an object that was freed stays
 * readable.  A slab hands out objects of one size from *slab pages*; a page that
 * has become wholly free returns to the core's pool and may serve another slab.
 *
 * Handles: freeing an object leaves its first 16 bytes as they were (debug
 * builds poison the rest).  A handle therefore has its magic number there, at
 * the same offset in every kind of handle, and destroying the handle overwrites
 * it before the object is freed.  Until the memory is used again a stale handle
 * is recognised for certain; afterwards only as far as the new contents do not
 * look like the magic number.
 *
 * There are no locks: whoever owns a core locks it and its slabs together.
 */
#ifndef HMM_BASE_SLAB_H
#define HMM_BASE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/list.h"

/* Slab pages are 4 KiB to 64 KiB: 4 KiB << order. */
#define HMM_CORE_PAGE_MIN 4096u
#define HMM_CORE_ORDERS 5u

/* The largest object that a slab can have. */
#define HMM_SLAB_OBJECT_MAX 8064u

struct hmm_core {
    int (*extend)(void *ctx, size_t size, void **address);
    void *ctx;
    size_t chunk; /* extend is asked for multiples of this, or of an eighth */
    size_t bytes_total; /* obtained by extend */
    size_t bytes_used;  /* of those, in slab pages in use and in tables */
    uintptr_t cursor;   /* [cursor, end): obtained, never used yet */
    uintptr_t end;
    struct hmm_list pool[HMM_CORE_ORDERS]; /* free slab pages, by order */
};

struct hmm_slab {
    struct hmm_core *core;
    const char *name;
    size_t size;             /* of an object, rounded up to its alignment */
    unsigned order;          /* of its pages */
    uint32_t offset;         /* of the first object in a page */
    uint32_t per_page;       /* objects in a page */
    uint32_t reciprocal;     /* 2^32 / size, rounded up */
    uint32_t empty;          /* pages with no object in use, all on `partial' */
    struct hmm_list partial; /* pages with a free object, empty ones last */
    struct hmm_list full;
    size_t used;     /* objects in use */
    size_t capacity; /* objects that the slab's pages hold */
    size_t reserved; /* objects that may not go back to the pool */
};

/* Makes an empty core.  `extend' stores the address of `size' new bytes, aligned
   for any object, and returns 0 or an error value.  `chunk' is a power of two
   and at least HMM_CORE_PAGE_MIN. */
void hmm_core_init(struct hmm_core *core,
                   int (*extend)(void *ctx, size_t size, void **address),
                   void *ctx, size_t chunk);

/* Memory for a table that lives as long as the core: not zeroed, NULL when there
   is none.  `align' is a power of two. */
void *hmm_core_alloc(struct hmm_core *core, size_t size, size_t align);

/* Makes an empty slab of objects of `size' bytes (at most HMM_SLAB_OBJECT_MAX),
   aligned to `align', a power of two and at most 4096.  It takes no memory before
   the first object. */
void hmm_slab_init(struct hmm_slab *slab, struct hmm_core *core, size_t size,
                   size_t align, const char *name);

/* Has the pages of a slab without objects no larger than `bytes', though more of
   each is wasted: for a slab that will have little in all, and most of a page
   unused.  An object must fit beside a page's head of 64 bytes. */
void hmm_slab_limit(struct hmm_slab *slab, size_t bytes);

/* An object, not zeroed, or NULL when there is no memory. */
void *hmm_slab_alloc(struct hmm_slab *slab);

/* Frees an object of this slab; asserts that it is one and in use. */
void hmm_slab_free(struct hmm_slab *slab, void *object);

/* Makes sure that the next `count' objects can be allocated without failing,
   whatever is freed in between.  ENOMEM: it cannot, and nothing is promised. */
int hmm_slab_reserve(struct hmm_slab *slab, size_t count);

/* Whether `pointer' is an object of this slab in use, given that it points into
   memory that the core obtained. */
bool hmm_slab_owns(const struct hmm_slab *slab, const void *pointer);

/* Checks every page and count of the slab. */
bool hmm_slab_check(const struct hmm_slab *slab);

#endif /* HMM_BASE_SLAB_H */
