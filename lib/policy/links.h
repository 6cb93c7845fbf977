/* SPDX-License-Identifier: MIT */
/*
 * Queues of frame numbers in memory that its owner gives: rings of 32-bit
 * links, eight bytes a frame.
 *
 * The link of frame f is links[f]; that of queue q is links[frames + q], the
 * place where its ring begins and ends.  `after' leads from the front, where
 * pages join, to the end, where they leave.  A frame is in one queue or in
 * none, which its owner knows; the links do not say.
 */
#ifndef HMM_POLICY_LINKS_H
#define HMM_POLICY_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/assert.h"

struct hmm_link {
    uint32_t before;
    uint32_t after;
};

static inline void hmm_links_init(struct hmm_link *links, uint32_t queue)
{
    links[queue].before = queue;
    links[queue].after = queue;
}

static inline bool hmm_links_empty(const struct hmm_link *links, uint32_t queue)
{
    return links[queue].after == queue;
}

/* The frame that leaves next; the queue must not be empty. */
static inline uint32_t hmm_links_last(const struct hmm_link *links,
                                      uint32_t queue)
{
    hmm_assert(!hmm_links_empty(links, queue));
    return links[queue].before;
}

/* Puts `frame', which is in no queue, behind `place': a queue's own link, or a
   frame of it. */
static inline void hmm_links_add_after(struct hmm_link *links, uint32_t place,
                                       uint32_t frame)
{
    uint32_t next = links[place].after;

    hmm_assert(place != frame);
    links[frame].before = place;
    links[frame].after = next;
    links[place].after = frame;
    links[next].before = frame;
}

static inline void hmm_links_add_first(struct hmm_link *links, uint32_t queue,
                                       uint32_t frame)
{
    hmm_links_add_after(links, queue, frame);
}

static inline void hmm_links_add_last(struct hmm_link *links, uint32_t queue,
                                      uint32_t frame)
{
    hmm_links_add_after(links, links[queue].before, frame);
}

static inline void hmm_links_take(struct hmm_link *links, uint32_t frame)
{
    struct hmm_link link = links[frame];

    hmm_assert(links[link.before].after == frame);
    hmm_assert(links[link.after].before == frame);
    links[link.before].after = link.after;
    links[link.after].before = link.before;
}

#endif /* HMM_POLICY_LINKS_H */
