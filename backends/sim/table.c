/* SPDX-License-Identifier: MIT */
/* The page table: what is lent where.
 *
 * One hash table serves all spaces, keyed by space and page; it holds only
 * what is lent, so that an address space costs nothing.  The pages that a frame
 * is lent at are also chained at the frame.  Entries are named by number, as
 * the array moves when it grows.
 *
 * Invariants: frame.lent is the length of the frame's chain and frame.writable
 * the number of pages in it with the write right; table.live is the sum of all
 * frame.lent; with mappings_max, stats.mappings is the number of runs: pages
 * lent less the pairs of neighbours that are joined.
 */
#include <stdlib.h>
#include <string.h>

#include "backends/sim/machine.h"

#define FIRST_PAGES 32u
#define FIRST_BUCKETS 64u

int hmm_sim_table_init(struct hmm_sim_table *table)
{
    table->pages = malloc(FIRST_PAGES * sizeof *table->pages);
    table->buckets = calloc(FIRST_BUCKETS, sizeof *table->buckets);
    if (table->pages == NULL || table->buckets == NULL)
        return ENOMEM;
    table->capacity = FIRST_PAGES;
    table->bucket_mask = FIRST_BUCKETS - 1;
    table->used = 1;
    return 0;
}

void hmm_sim_table_free(struct hmm_sim_table *table)
{
    free(table->pages);
    free(table->buckets);
    *table = (struct hmm_sim_table){.pages = NULL};
}

static uint32_t *bucket_of(const struct hmm_sim_table *table, uint32_t space,
                           uintptr_t page)
{
    uint64_t hash =
        ((uint64_t)page ^ (uint64_t)space << 56) * UINT64_C(0x9e3779b97f4a7c15);
    return &table->buckets[(uint32_t)(hash >> 32) & table->bucket_mask];
}

static uint32_t find(const struct hmm_sim_table *table, uint32_t space,
                     uintptr_t page)
{
    uint32_t number = *bucket_of(table, space, page);
    while (number != 0 && (table->pages[number].page != page ||
                           table->pages[number].space != space))
        number = table->pages[number].hash_next;
    return number;
}

struct hmm_sim_page *hmm_sim_find(struct hmm_sim *sim, uint32_t space,
                                  uintptr_t page)
{
    uint32_t number = find(&sim->table, space, page);
    return number == 0 ? NULL : &sim->table.pages[number];
}

static int grow_pages(struct hmm_sim_table *table)
{
    uint32_t capacity = table->capacity * 2;
    void *pages = realloc(table->pages, capacity * sizeof *table->pages);
    if (pages == NULL)
        return ENOMEM;
    table->pages = pages;
    table->capacity = capacity;
    return 0;
}

/* More buckets make it faster only; without memory they stay as they are. */
static void grow_buckets(struct hmm_sim_table *table)
{
    uint32_t old = table->bucket_mask + 1;
    uint32_t *buckets = calloc((size_t)old * 4, sizeof *buckets);
    if (buckets == NULL)
        return;
    uint32_t *former = table->buckets;
    table->buckets = buckets;
    table->bucket_mask = old * 4 - 1;
    for (uint32_t i = 0; i < old; i++) {
        uint32_t number = former[i];
        while (number != 0) {
            struct hmm_sim_page *page = &table->pages[number];
            uint32_t next = page->hash_next;
            uint32_t *bucket = bucket_of(table, page->space, page->page);
            page->hash_next = *bucket;
            *bucket = number;
            number = next;
        }
    }
    free(former);
}

/* A number that is not in use; 0: no memory. */
static uint32_t take_number(struct hmm_sim_table *table)
{
    uint32_t number = table->free;
    if (number != 0) {
        table->free = table->pages[number].hash_next;
        return number;
    }
    if (table->used == table->capacity && grow_pages(table) != 0)
        return 0;
    if (table->used > table->bucket_mask)
        grow_buckets(table);
    return table->used++;
}

static void chain_to_frame(struct hmm_sim *sim, uint32_t number)
{
    struct hmm_sim_page *pages = sim->table.pages;
    struct hmm_sim_page *page = &pages[number];
    struct hmm_sim_frame *frame = &sim->frames[page->frame];
    if (frame->lent++ == 0) {
        hmm_sim_frame_leaves(sim, page->frame);
        sim->stats.frames_lent++;
    }
    if (page->rights & HURDMM_WRITE)
        frame->writable++;
    page->frame_next = frame->first;
    page->frame_previous = 0;
    if (frame->first != 0)
        pages[frame->first].frame_previous = number;
    frame->first = number;
}

static void unchain_from_frame(struct hmm_sim *sim, uint32_t number)
{
    struct hmm_sim_page *pages = sim->table.pages;
    struct hmm_sim_page *page = &pages[number];
    struct hmm_sim_frame *frame = &sim->frames[page->frame];
    if (page->frame_previous != 0)
        pages[page->frame_previous].frame_next = page->frame_next;
    else
        frame->first = page->frame_next;
    if (page->frame_next != 0)
        pages[page->frame_next].frame_previous = page->frame_previous;
    if (page->rights & HURDMM_WRITE)
        frame->writable--;
    hmm_assert(frame->lent > 0);
    if (--frame->lent == 0) {
        hmm_sim_frame_returns(sim, page->frame);
        sim->stats.frames_lent--;
    }
}

bool hmm_sim_joined(struct hmm_sim *sim, uint32_t space, uintptr_t page)
{
    const struct hmm_sim_page *one = hmm_sim_find(sim, space, page);
    if (one == NULL)
        return false;
    const struct hmm_sim_page *next = hmm_sim_find(sim, space, page + 1);
    return next != NULL && next->frame == one->frame + 1 &&
           next->rights == one->rights;
}

/* What a page adds to the number of runs. */
static int64_t weight(struct hmm_sim *sim, uint32_t space, uintptr_t page)
{
    if (sim->options.mappings_max == 0 ||
        hmm_sim_find(sim, space, page) == NULL)
        return 0;
    return 1 - (hmm_sim_joined(sim, space, page) ? 1 : 0) -
           (page > 0 && hmm_sim_joined(sim, space, page - 1) ? 1 : 0);
}

static void reweigh(struct hmm_sim *sim, uint32_t space, uintptr_t page,
                    int64_t before)
{
    int64_t change = weight(sim, space, page) - before;
    sim->stats.mappings = (uint64_t)((int64_t)sim->stats.mappings + change);
}

/* Makes a page that was absent. */
static int insert(struct hmm_sim *sim, uint32_t space, uintptr_t page,
                  uint32_t frame, unsigned rights)
{
    struct hmm_sim_table *table = &sim->table;
    uint32_t number = take_number(table);
    if (number == 0)
        return ENOMEM;
    uint32_t *bucket = bucket_of(table, space, page);
    table->pages[number] = (struct hmm_sim_page){
        .page = page,
        .space = space,
        .frame = frame,
        .hash_next = *bucket,
        .rights = (uint8_t)rights,
    };
    *bucket = number;
    table->live++;
    chain_to_frame(sim, number);
    return 0;
}

/* Puts another frame, or other rights, where a page is.  What was seen stays
 * with the frame that it was seen of. */
static void replace(struct hmm_sim *sim, uint32_t number, uint32_t frame,
                    unsigned rights)
{
    struct hmm_sim_page *page = &sim->table.pages[number];
    if (page->frame == frame) {
        struct hmm_sim_frame *same = &sim->frames[frame];
        same->writable -= (page->rights & HURDMM_WRITE) ? 1 : 0;
        same->writable += (rights & HURDMM_WRITE) ? 1 : 0;
        page->rights = (uint8_t)rights;
        page->written = rights & HURDMM_WRITE; /* lent again: see port.h */
        return;
    }
    unchain_from_frame(sim, number);
    page->frame = frame;
    page->rights = (uint8_t)rights;
    page->seen = 0;
    page->written = false;
    chain_to_frame(sim, number);
}

int hmm_sim_enter(struct hmm_sim *sim, uint32_t space, uintptr_t page,
                  uint32_t frame, unsigned rights)
{
    int error = 0;
    int64_t before = weight(sim, space, page);
    uint32_t number = find(&sim->table, space, page);
    if (number == 0)
        error = insert(sim, space, page, frame, rights);
    else
        replace(sim, number, frame, rights);
    reweigh(sim, space, page, before);
    return error;
}

static void erase(struct hmm_sim *sim, uint32_t number)
{
    struct hmm_sim_table *table = &sim->table;
    struct hmm_sim_page *page = &table->pages[number];
    uint32_t *link = bucket_of(table, page->space, page->page);
    while (*link != number)
        link = &table->pages[*link].hash_next;
    *link = page->hash_next;
    unchain_from_frame(sim, number);
    page->hash_next = table->free;
    page->frame = HURDMM_FRAME_NONE;
    table->free = number;
    table->live--;
}

void hmm_sim_cut(struct hmm_sim *sim, struct hmm_sim_page *page,
                 unsigned rights)
{
    uint32_t space = page->space;
    uintptr_t address = page->page;
    uint32_t number = (uint32_t)(page - sim->table.pages);
    int64_t before = weight(sim, space, address);
    unsigned left = page->rights & rights;
    if (left == HURDMM_NONE)
        erase(sim, number);
    else
        replace(sim, number, page->frame, left);
    reweigh(sim, space, address, before);
}

bool hmm_sim_any_lent(struct hmm_sim *sim, uint32_t space, uintptr_t start,
                      uintptr_t end)
{
    const struct hmm_sim_table *table = &sim->table;
    if (end - start <= table->used) {
        while (start < end && find(table, space, start) == 0)
            start++;
        return start < end;
    }
    for (uint32_t i = 1; i < table->used; i++) {
        const struct hmm_sim_page *page = &table->pages[i];
        if (page->frame != HURDMM_FRAME_NONE && page->space == space &&
            page->page >= start && page->page < end)
            return true;
    }
    return false;
}
