/* SPDX-License-Identifier: MIT */
/* hurdmm/policy.h - which page goes when memory is short.
 *
 * A policy ranks the resident, evictable pages, each known by its frame's
 * number.  It is told when a page comes, when one was seen in use, and when it
 * left; it is asked for victims.  It is never called on a hit.  All calls come
 * with the manager's lock held: a policy computes, it cannot allocate, block or
 * call the library.
 *
 * "Seen in use" comes from the port's status bits where it has them.  Where it
 * has none, a policy puts a page *on trial*: the library takes the page back
 * from the application but keeps it; the next access is a soft fault, cheap and
 * without I/O, and is reported by `touched`.
 */
#ifndef HURDMM_POLICY_H
#define HURDMM_POLICY_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a page came, for insert. */
#define HURDMM_PAGE_READ_ONCE 1u /* expected to be used once */
#define HURDMM_PAGE_AHEAD 2u     /* read ahead: nobody has touched it yet */

enum hurdmm_verdict {
    HURDMM_EVICT = 0, /* it shall leave memory */
    HURDMM_TRIAL = 1  /* take it back on trial and ask again later */
};

struct hurdmm_victim {
    uint32_t frame;
    uint32_t verdict; /* enum hurdmm_verdict */
};

struct hurdmm_policy_ops {
    size_t struct_size;
    const char *name;
    /* Bytes of state for frames 0 to `frames` - 1; all the memory it gets. */
    size_t (*memory)(uint32_t frames);
    /* `state` is zeroed memory of that size. */
    void (*init)(void *state, uint32_t frames, uint64_t seed);
    /* The page `key` became resident in `frame`.  A key is the same each time
     * the same page comes back, and all but unique. */
    void (*insert)(void *state, uint32_t frame, uint64_t key, unsigned flags);
    /* The page in `frame` is no longer resident; `evicted` says whether memory
     * pressure did it (else it was dropped, discarded or pinned). */
    void (*remove)(void *state, uint32_t frame, uint64_t key, int evicted);
    /* It was seen in use. */
    void (*touched)(void *state, uint32_t frame);
    /* It will not be needed soon: it shall be among the next victims. */
    void (*cold)(void *state, uint32_t frame);
    /* Names up to `max` pages, the best first.  Each is answered, before the
     * next call of select, by one of: remove, touched, kept (could not go now:
     * pinned, being written), or, for HURDMM_TRIAL, by nothing at all.
     * Fewer than max only if fewer are left to name. */
    size_t (*select)(void *state, struct hurdmm_victim *victims, size_t max);
    void (*kept)(void *state, uint32_t frame);
    /* Whole-structure check for tests: 0 when the state is sound and ranks
     * exactly `resident` pages, else EINVAL. */
    int (*check)(const void *state, uint32_t resident);
    /* May be NULL: none.  Where pages leave together at little cost because
     * their addresses are near each other, `frame` may leave with `victim`,
     * which was named; nonzero when it ought to stay in spite of that. */
    int (*stays)(const void *state, uint32_t frame, uint32_t victim);
};

/* The default: resists scans, refuses one-time pages the room of the others. */
extern const struct hurdmm_policy_ops hurdmm_policy_default;
/* A clock with one bit of trial. */
extern const struct hurdmm_policy_ops hurdmm_policy_clock;
/* Any page, by lot. */
extern const struct hurdmm_policy_ops hurdmm_policy_random;

#ifdef __cplusplus
}
#endif

#endif
