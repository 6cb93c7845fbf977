/* SPDX-License-Identifier: MIT */
/* hurdmm/discardable.h - memory that may vanish and is made again.
 *
 * For what can be had again more cheaply than from a disk: decoded pictures,
 * rendered pages, results.  Under pressure pages are dropped, whatever was
 * written to them, and never written anywhere.  The next access to one calls
 * your `fill` to make it again, and says that it was there before.
 *
 * Pages are dropped whole, one without another: what must be there together is
 * in one block (block_size), or is pinned.
 *
 *   use          hurdmm_pin the range, look whether it is still what you think
 *                it is, use it, hurdmm_unpin: pinned pages do not vanish;
 *   priority     hurdmm_store_set_priority: the lowest go first;
 *   discard now  hurdmm_store_discard: the memory is free at once; the next
 *                access calls fill, as if the pages had never been there.
 */
#ifndef HURDMM_DISCARDABLE_H
#define HURDMM_DISCARDABLE_H

#include <hurdmm/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_discardable_options {
    size_t struct_size;
    struct hurdmm *manager;
    uint64_t size;     /* bytes; it is not to be resized upwards */
    size_t block_size; /* as in hurdmm_store_options */
    unsigned flags;    /* HURDMM_STORE_SHARED, HURDMM_STORE_SIGNAL_SAFE */
    int priority;      /* HURDMM_PRIORITY_MIN to _MAX */
    /* Makes the contents of [offset, offset + length), whole blocks but at the
     * store's end.  `discarded` is 1 if all of it was there before and has
     * vanished, 0 if none of it was, or was discarded by hand.  `buffer` holds
     * anything.  An error fails the access. */
    int (*fill)(void *hook, uint64_t offset, void *buffer, size_t length,
                int discarded);
    void *hook;
    /* Called once, after the last use of the store; may be NULL. */
    void (*destroy)(void *hook);
};

/* Makes the store, an ordinary one: bind it, use the verbs, end it with
 * hurdmm_store_destroy.  It takes a bit of core memory for each page that has
 * been there.  EINVAL, ENOMEM, ESTALE. */
int hurdmm_discardable_create(const struct hurdmm_discardable_options *options,
                              struct hurdmm_store **store);

#ifdef __cplusplus
}
#endif

#endif
