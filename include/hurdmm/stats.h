/* SPDX-License-Identifier: MIT */
/* hurdmm/stats.h - what a manager has done and holds; dump and check. */
#ifndef HURDMM_STATS_H
#define HURDMM_STATS_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_stats {
    size_t struct_size;
    /* Now, in frames unless the name says bytes. */
    uint64_t frames_budget, frames_free, frames_used, frames_peak;
    uint64_t frames_dirty, frames_writing, frames_pinned, frames_trial;
    uint64_t core_bytes; /* the library's own memory */
    uint64_t stores, regions, spaces, containers;
    /* Since the manager was made. */
    uint64_t faults;      /* taken, all kinds */
    uint64_t faults_soft; /* answered without the store: lend more, trial */
    uint64_t faults_fill; /* that asked a store */
    uint64_t faults_join; /* that waited for another's fill */
    uint64_t faults_failed;
    uint64_t pages_in, pages_ahead; /* filled; of these without being asked */
    uint64_t pages_out;             /* written back */
    uint64_t bytes_in, bytes_out;
    uint64_t evictions;            /* pages that left by pressure */
    uint64_t discards;             /* pages dropped unwritten on purpose */
    uint64_t trials, trials_saved; /* put on trial; touched in time */
    uint64_t writes_failed;        /* page_out calls */
    uint64_t throttled;            /* writers that waited at the dirty limit */
    uint64_t reclaims_foreground;  /* by whoever needed the frame */
    uint64_t lends, lend_pages, reclaims, reclaim_pages;
};

/* Fills *stats up to stats->struct_size, which the caller sets.  EINVAL,
 * ESTALE. */
int hurdmm_get_stats(struct hurdmm *manager, struct hurdmm_stats *stats);

/* Describes regions, stores and frames as text through `write`, which is called
 * without locks and gets pieces of lines.  The picture is consistent per line
 * only.  EINVAL (no `write'), ESTALE. */
int hurdmm_dump(struct hurdmm *manager,
                void (*write)(void *hook, const char *text, size_t length),
                void *hook);

/* Checks every invariant of every structure: slow, for tests and for a doubt in
 * the field.  0, or EIO with *what (may be NULL) naming the first that is
 * broken; the text is constant and nobody's to free.  EINVAL (no manager),
 * ESTALE. */
int hurdmm_check(struct hurdmm *manager, const char **what);

#ifdef __cplusplus
}
#endif

#endif
