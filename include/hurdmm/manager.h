/* SPDX-License-Identifier: MIT */
/* hurdmm/manager.h - one instance of the library: a budget, a policy, pagers.
 *
 * A manager owns everything made with it: spaces, stores, containers, regions.
 * Any number may live in one process, each on a port of its own.
 */
#ifndef HURDMM_MANAGER_H
#define HURDMM_MANAGER_H

#include <hurdmm/policy.h>
#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of a manager. */
#define HURDMM_NO_THREADS 1u /* host-driven: see hurdmm_process */

struct hurdmm_options {
    size_t struct_size;       /* sizeof(struct hurdmm_options) */
    struct hurdmm_port *port; /* in use by no other manager */
    size_t budget;            /* bytes of memory to cache pages in; at least 16
                               * pages; rounded down to pages */
    size_t low_water;         /* free bytes below which background reclaim
                               * starts; 0: an eighth of the budget, at most
                               * 4 MiB */
    size_t high_water;        /* and at which it stops; 0: 3/2 of low_water */
    size_t dirty_limit;       /* bytes of dirty pages above which writers wait
                               * for the laundry; 0: half the budget, or where
                               * a page is cheaper to write when it leaves
                               * (linux), all of it.  Pages of VOLATILE stores
                               * do not count: they are written when memory is
                               * short, not before */
    size_t pin_limit;         /* bytes that may be pinned; 0: half the budget */
    unsigned pager_threads;   /* 0: two */
    unsigned flags;           /* HURDMM_NO_THREADS */
    size_t readahead;         /* longest cluster in bytes; 0: 32 pages */
    const struct hurdmm_policy_ops *policy; /* NULL: hurdmm_policy_default */
    uint64_t seed;                          /* for policies that draw lots */
    /* Called with a line of text (no newline) on events worth a log: a failed
     * write-back, a port that falls back.  From any library thread, without
     * locks.  NULL: silence. */
    void (*log)(void *hook, const char *message);
    /* Called when the library finds its own structures broken; must not
     * return.  NULL: the processor's trap instruction. */
    void (*fatal)(void *hook, const char *message);
    void *hook; /* first argument of log and fatal */
};

/* Makes a manager.  `options` is not kept.  The port stays the caller's and
 * must live until the manager is destroyed.
 * EINVAL (a size or flag that is wrong, budget too small, water marks out of
 * order), ENOMEM, EBUSY (the port has a manager), or what the port's open says.
 */
int hurdmm_create(const struct hurdmm_options *options,
                  struct hurdmm **manager);

/* Ends a manager.  Without HURDMM_DETACH: EBUSY while stores, containers or
 * regions exist.  With it every region is unbound and every store destroyed as
 * hurdmm_store_destroy does; the first write error stops it and is returned,
 * the manager lives on and nothing is lost; EBUSY, and all is as before, while
 * pages are pinned.  No other thread may be inside a
 * function of this manager.  EINVAL, ESTALE. */
int hurdmm_destroy(struct hurdmm *manager, unsigned flags);

/* The base page of the manager's port in bytes.  Class: signal. */
size_t hurdmm_page_size(const struct hurdmm *manager);

/* Changes the budget, in bytes, up to the one given at creation; shrinking
 * evicts until it holds.  EINVAL, ENOMEM (pinned or unwritable pages are in the
 * way; the budget is as small as could be), ESTALE. */
int hurdmm_set_budget(struct hurdmm *manager, size_t budget);

/* Does the work of the library's threads on the calling thread, for managers
 * with HURDMM_NO_THREADS: serves faults that wait (waiting up to timeout_ns for
 * the first) and runs due background work.  *faults (may be NULL) counts those
 * served.  ETIMEDOUT when there was nothing, EDEADLK from a store callback,
 * EINVAL (no manager), ESTALE, or the port's error. */
int hurdmm_process(struct hurdmm *manager, uint64_t timeout_ns, size_t *faults);

/* Writes every dirty page of every store and makes it durable; waits.  Goes on
 * after errors and returns the first.  Stores that are claimed are passed over:
 * their claimants write to them.  EINVAL (no manager), ESTALE, or the stores'
 * errors. */
int hurdmm_sync_all(struct hurdmm *manager);

/* Memory of the library's own (never paged, counted in
 * hurdmm_stats.core_bytes), for people who write stores: zeroed, aligned to 16.
 * EINVAL (no bytes, or more than half of what can be addressed), ENOMEM, ESTALE.
 * Class: store. */
int hurdmm_allocate(struct hurdmm *manager, size_t size, void **memory);
/* Gives it back; `size` as it was asked.  NULL does nothing. */
void hurdmm_deallocate(struct hurdmm *manager, void *memory, size_t size);

/* Locks for people who write stores, built on the port.  A mutex is a word that
 * begins as 0.  Not recursive; not to be held while touching managed memory of
 * the same store.  Class: store. */
void hurdmm_mutex_lock(struct hurdmm *manager, uint32_t *mutex);
void hurdmm_mutex_unlock(struct hurdmm *manager, uint32_t *mutex);

#ifdef __cplusplus
}
#endif

#endif
