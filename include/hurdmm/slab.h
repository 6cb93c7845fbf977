/* SPDX-License-Identifier: MIT */
/* hurdmm/slab.h - object caches whose memory is a store.
 *
 * A *slab store* is a range of addresses bound to a store of its own; caches
 * cut it into *slabs*, and slabs into objects of one size.  What it knows of its
 * objects lies beside them, in memory that is never paged, so that memory that
 * is short can be taken where it costs least:
 *
 *   - pages in which no object is in use are dropped, never written;
 *   - objects in them that had been constructed are lost, and constructed again
 *     before they are handed out the next time;
 *   - pages with objects in use leave like anonymous memory, for the swap space.
 *
 * Whoever holds objects that could be made again (a cache of something) frees
 * some when the reap callback says that memory is short, so that nothing of
 * them is ever written.
 *
 * Magazines.  Memory shared by threads is slow: a thread that allocates often
 * has a *magazine*, a stock of free objects that only it touches, which it gives
 * to the fast functions; a slab is touched once for dozens of objects.  Without
 * one there are a few magazines in common.  Objects may be freed by any thread,
 * through any magazine of their cache or none.  Pages with objects in a magazine
 * count as in use.
 *
 * Constructors and destructors.  An object is constructed when its slab grows by
 * it, not each time it is handed out, and destructed when its slab is reaped:
 * whoever frees it leaves it constructed.  They may touch the object and call
 * all functions; no lock is held.  When a constructor fails, the others of those
 * that were taken with it (half a magazine) go on being handed out; the allocation
 * fails with its error only when there is none of these.  When
 * a destructor fails, its slab stays and the reap says so.  What a constructed
 * object holds elsewhere (memory, handles) would leak if it were lost: so a cache
 * with a destructor loses objects only if it has `lost` too.
 *
 * Contents of an object that was just allocated: what the constructor left, else
 * anything.
 */
#ifndef HURDMM_SLAB_H
#define HURDMM_SLAB_H

#include <hurdmm/stores.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_slab;     /* a slab store */
struct hurdmm_cache;    /* objects of one kind */
struct hurdmm_magazine; /* one thread's stock of them */

struct hurdmm_slab_options {
    size_t struct_size;
    struct hurdmm *manager;
    struct hurdmm_space *space; /* NULL: the manager's own */
    struct hurdmm_swap *swap;   /* NULL: pages in use cannot leave memory.
                                 * With HURDMM_SWAP_RESERVE an allocation fails
                                 * with ENOSPC where there is no place for the
                                 * object, so that no write to it does; its
                                 * pages keep theirs until they are reaped */
    uint64_t size;              /* of the range of addresses, in bytes; rounded
                                 * up to whole slabs */
    size_t slab_size;           /* a power of two, a page to 16 MiB; 0: 16
                                 * pages.  No object is larger. */
    /* Memory is short: free what can be done without, reap if you like.  Called
     * on threads that allocate, before they do, without locks; not again before
     * memory has been short again.  NULL: nothing. */
    void (*reap)(void *hook, struct hurdmm_slab *slab);
    void *hook;
};

/* Makes a slab store and binds it.  EINVAL (sizes), ENOMEM, ESTALE. */
int hurdmm_slab_create(const struct hurdmm_slab_options *options,
                       struct hurdmm_slab **slab);
/* Ends it and its range of addresses.  EBUSY while it has caches, or memory of it
 * is pinned; EINVAL; ESTALE.  If the manager is destroyed before, with
 * HURDMM_DETACH, the slab store and its caches go with it. */
int hurdmm_slab_destroy(struct hurdmm_slab *slab);

/* Its store and where that is bound: to pin, advise, account.  Do not resize,
 * discard or destroy it.  NULL for a NULL slab. */
struct hurdmm_store *hurdmm_slab_store(struct hurdmm_slab *slab);
uintptr_t hurdmm_slab_address(struct hurdmm_slab *slab);

/* Gives the memory of all caches' empty slabs back, destructing what is
 * constructed.  *bytes (may be NULL) says how many bytes of addresses that were.
 * Goes on after an error (a destructor's, EBUSY of a pinned page) and returns
 * the first; what could not be reaped can be used as before.  Meanwhile caches may
 * be used, and made and ended but for the one whose turn it is (EBUSY).  EINVAL. */
int hurdmm_slab_reap(struct hurdmm_slab *slab, uint64_t *bytes);

/* The cache that the address belongs to, and the object that it is in, whether
 * that is in use or not.  ENOENT: no slab, or between objects.  `cache` and
 * `start` may be NULL.  EINVAL. */
int hurdmm_slab_find(struct hurdmm_slab *slab, const void *address,
                     struct hurdmm_cache **cache, void **start);

/* Flags of a cache.  DEBUG: each object is followed by a guard, which is looked
 * at when it is freed, magazines are not used, and objects that are freed twice
 * are found even if two threads do it at once.  Slow. */
#define HURDMM_CACHE_DEBUG 1u

struct hurdmm_cache_options {
    size_t struct_size;
    const char *name; /* for dumps; copied, at most 31 bytes; NULL: none */
    size_t size;      /* of an object */
    size_t align;     /* a power of two, at most a page; 0: 16, or 8 for
                       * objects smaller than that */
    size_t colour;    /* slabs begin their objects at different multiples of
                       * this, as far as the room that is left allows, so that
                       * objects do not all fall on the same lines of the
                       * processor's caches; a power of two; 0: 64 */
    unsigned flags;
    /* An error value refuses.  Each may be NULL. */
    int (*construct)(void *hook, void *object, size_t size);
    int (*destruct)(void *hook, void *object, size_t size);
    /* Tells that a constructed object is gone with its memory, which must not
     * be touched.  Called inside the pager, with the slab store locked: no
     * function of this header may be called. */
    void (*lost)(void *hook, void *object, size_t size);
    void *hook;
};

/* Makes a cache.  Takes no memory of the slab store before the first object.
 * EINVAL (a size of 0 or larger than a slab, with the guard; an alignment),
 * ENOMEM, ESTALE. */
int hurdmm_cache_create(struct hurdmm_slab *slab,
                        const struct hurdmm_cache_options *options,
                        struct hurdmm_cache **cache);
/* Destructs all and ends the cache.  EBUSY while objects are in use, there are
 * magazines of it, pages are pinned, or hurdmm_slab_reap is at it; or a
 * destructor's error: the cache lives on. */
int hurdmm_cache_destroy(struct hurdmm_cache *cache);
/* As hurdmm_slab_reap, for one cache. */
int hurdmm_cache_reap(struct hurdmm_cache *cache, uint64_t *bytes);

/* Hands an object out.  ENOMEM (the range of addresses is used up, or core
 * memory is), ENOSPC (the swap space is, and reserves), the constructor's error,
 * EINVAL. */
int hurdmm_cache_alloc(struct hurdmm_cache *cache, void **object);
/* Takes it back.  ENOENT (no object of this cache), EINVAL (not in use: freed
 * already), and, in a DEBUG cache, EIO: bytes behind it were written, or could
 * not be read; it stays in use.  On error nothing is changed. */
int hurdmm_cache_free(struct hurdmm_cache *cache, void *object);

/* A stock of objects for one thread at a time.  ENOMEM, EINVAL. */
int hurdmm_magazine_create(struct hurdmm_cache *cache,
                           struct hurdmm_magazine **magazine);
/* Gives its objects back to the slabs, constructed as they are.  NULL does
 * nothing. */
void hurdmm_magazine_destroy(struct hurdmm_magazine *magazine);
/* As hurdmm_cache_alloc and hurdmm_cache_free, for the thread that has the
 * magazine: there is no lock on the way of most calls.  An object of another cache
 * is ENOENT, also here. */
int hurdmm_magazine_alloc(struct hurdmm_magazine *magazine, void **object);
int hurdmm_magazine_free(struct hurdmm_magazine *magazine, void *object);

struct hurdmm_cache_info {
    size_t struct_size;
    size_t size;          /* of an object, as asked */
    size_t stride;        /* from one to the next */
    uint64_t per_slab;    /* objects */
    uint64_t slabs;       /* that it has now */
    uint64_t used;        /* objects in use */
    uint64_t stocked;     /* in magazines */
    uint64_t constructed; /* of the others: constructed and free */
    /* Since it was made. */
    uint64_t constructions, destructions;
    uint64_t losses; /* objects that were constructed and lost */
    uint64_t faults; /* of the program: freed twice, not ours, overrun */
};

/* Fills *info up to info->struct_size, which the caller sets.  EINVAL. */
int hurdmm_cache_get_info(struct hurdmm_cache *cache,
                          struct hurdmm_cache_info *info);

/* A cache that is made when it is first asked for; to be a static variable:
 *
 *     static struct hurdmm_slab *slab;     (made by main)
 *     static const struct hurdmm_cache_options nodes = {...};
 *     static struct hurdmm_cache_lazy node_cache =
 *         HURDMM_CACHE_LAZY(&slab, &nodes);
 */
struct hurdmm_cache_lazy {
    struct hurdmm_slab **slab;
    const struct hurdmm_cache_options *options;
    struct hurdmm_cache *cache; /* the library's; NULL until it is made */
};
#define HURDMM_CACHE_LAZY(slab, options)                                       \
    {                                                                          \
        slab, options, NULL                                                    \
    }
/* The cache, made now if it was not; threads may race for it.  Destroying the
 * cache makes the next call make another.  EINVAL (no slab store yet), or what
 * hurdmm_cache_create says. */
int hurdmm_cache_get(struct hurdmm_cache_lazy *lazy,
                     struct hurdmm_cache **cache);

#ifdef __cplusplus
}
#endif

#endif
