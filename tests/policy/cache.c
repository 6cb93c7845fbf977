/* SPDX-License-Identifier: MIT */
/*
 * The simulated cache of the tests of policies: see cache.h.
 */
#include <stdlib.h>

#include <check.h>

#include "tests/policy/cache.h"

#define BATCH_MAX 64u

static void *room(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

void cache_init(struct cache *cache, const struct hurdmm_policy_ops *ops,
                bool bits, uint32_t frames, uint32_t pages)
{
    *cache = (struct cache){
        .ops = ops, .bits = bits, .frames = frames, .pages = pages};
    cache->batch = frames / 16 + 1 < BATCH_MAX ? frames / 16 + 1 : BATCH_MAX;
    cache->state = room(1, ops->memory(frames));
    cache->frame_of = room(pages, sizeof *cache->frame_of);
    cache->page_of = room(frames, sizeof *cache->page_of);
    cache->free = room(frames, sizeof *cache->free);
    cache->lent = room(frames, sizeof *cache->lent);
    cache->referenced = room(frames, sizeof *cache->referenced);
    for (uint32_t page = 0; page < pages; page++)
        cache->frame_of[page] = HURDMM_FRAME_NONE;
    for (uint32_t i = 0; i < frames; i++)
        cache->free[i] = frames - 1 - i;
    ops->init(cache->state, frames, 1);
}

void cache_destroy(struct cache *cache)
{
    free(cache->state);
    free(cache->frame_of);
    free(cache->page_of);
    free(cache->free);
    free(cache->lent);
    free(cache->referenced);
}

static uint64_t key_of(uint32_t page)
{
    return (uint64_t)page * 4096 + 7;
}

static void answer(struct cache *cache, const struct hurdmm_victim *victim)
{
    uint32_t frame = victim->frame;
    uint32_t page = cache->page_of[frame];

    if (cache->frame_of[page] != frame)
        ck_abort_msg("a victim that is not resident");
    cache->trials += victim->verdict == HURDMM_TRIAL;
    if (cache->bits && cache->referenced[frame]) {
        cache->referenced[frame] = false;
        cache->ops->touched(cache->state, frame);
    } else if (victim->verdict == HURDMM_EVICT) {
        cache->ops->remove(cache->state, frame, key_of(page), 1);
        cache->frame_of[page] = HURDMM_FRAME_NONE;
        cache->free[cache->frames - cache->resident--] = frame;
    } else if (!cache->bits) {
        cache->lent[frame] = false;
    }
}

/* Makes room for half a batch, as a low and a high water mark would. */
static void reclaim(struct cache *cache)
{
    struct hurdmm_victim victims[BATCH_MAX];
    uint32_t goal = cache->frames - (cache->batch + 1) / 2;
    uint64_t patience = 8 * (uint64_t)cache->frames + 8;

    while (cache->resident > goal) {
        size_t count = cache->ops->select(cache->state, victims, cache->batch);
        if (count == 0 || patience-- == 0)
            ck_abort_msg("no room is made");
        cache->selects++;
        for (size_t i = 0; i < count; i++)
            answer(cache, &victims[i]);
    }
}

static void fill(struct cache *cache, uint32_t page, unsigned flags)
{
    if (cache->resident == cache->frames)
        reclaim(cache);
    uint32_t frame = cache->free[cache->frames - ++cache->resident];

    cache->frame_of[page] = frame;
    cache->page_of[frame] = page;
    cache->lent[frame] = (flags & HURDMM_PAGE_AHEAD) == 0;
    cache->referenced[frame] = cache->lent[frame];
    cache->ops->insert(cache->state, frame, key_of(page), flags);
}

bool cache_read(struct cache *cache, uint32_t page, unsigned flags)
{
    uint32_t frame = cache->frame_of[page];

    if (frame == HURDMM_FRAME_NONE) {
        cache->misses++;
        fill(cache, page, flags);
        return false;
    }
    cache->hits++;
    cache->referenced[frame] = true;
    if (!cache->lent[frame]) {
        cache->lent[frame] = true;
        cache->soft_faults++;
        if (!cache->bits)
            cache->ops->touched(cache->state, frame);
    }
    return true;
}

void cache_read_ahead(struct cache *cache, uint32_t page, uint32_t count,
                      unsigned flags)
{
    for (uint32_t i = page; i < page + count && i < cache->pages; i++)
        if (cache->frame_of[i] == HURDMM_FRAME_NONE)
            fill(cache, i, flags | HURDMM_PAGE_AHEAD);
}

void cache_reset_counters(struct cache *cache)
{
    cache->hits = cache->misses = 0;
    cache->soft_faults = cache->trials = cache->selects = 0;
}

double cache_hit_ratio(const struct cache *cache)
{
    return (double)cache->hits / (double)(cache->hits + cache->misses);
}
