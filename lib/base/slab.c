/* SPDX-License-Identifier: MIT */
/*
 * Core memory and slabs.
 *
 * The core's memory, from above:
 *
 *   extend -> [cursor, end) -- carve --> tables, for ever
 *                           \- carve --> slab pages <--> pool
 *
 * A slab page is 4 KiB << order and aligned to its size, so that the page of an
 * object is found by masking its address.  It begins with a `struct page'; what
 * is in use is a bit map there, so that a free object is not written to, a second
 * free is seen, and an object's number is the only thing ever computed from it.
 * The pool splits pages and never joins them: at most the sum of the peaks of the
 * five orders is held.
 *
 * Invariants of a slab (hmm_slab_check):
 *  1. `partial' holds the pages with a free object, those with nothing in use at
 *     the end, so that they drain; `full' holds the others.
 *  2. used, capacity and empty are the sums over the pages.
 *  3. capacity - used >= reserved.
 *  4. Of a page, `used' bits are set, all below per_page.
 */
#include "lib/base/slab.h"

#include "hurdmm/error.h"
#include "lib/base/assert.h"
#include "lib/base/math.h"
#include "lib/base/string.h"

#define MAP_WORDS 4
#define OBJECTS_MAX (64 * MAP_WORDS)

/* How much of a free object is left alone, and what the rest is filled with. */
#define KEPT 16
#define POISON 0xdb

#ifdef NDEBUG
enum { POISONING = 0 };
#else
enum { POISONING = 1 };
#endif

struct page {
    struct hmm_list node;  /* on the slab's partial or full, or in the pool */
    struct hmm_slab *slab; /* NULL in the pool */
    uint32_t used;
    uint64_t map[MAP_WORDS];
};

_Static_assert(sizeof(struct page) <= 64, "a slab page wastes too much");

static struct page *page_of_node(struct hmm_list *node)
{
    return HMM_CONTAINER_OF(node, struct page, node);
}

static size_t order_size(unsigned order)
{
    return (size_t)HMM_CORE_PAGE_MIN << order;
}

/* ---- The core ---- */

void hmm_core_init(struct hmm_core *core,
                   int (*extend)(void *ctx, size_t size, void **address),
                   void *ctx, size_t chunk)
{
    hmm_assert(hmm_is_pow2(chunk) && chunk >= HMM_CORE_PAGE_MIN);
    core->extend = extend;
    core->ctx = ctx;
    core->chunk = chunk;
    core->bytes_total = 0;
    core->bytes_used = 0;
    core->cursor = 0;
    core->end = 0;
    for (unsigned i = 0; i < HMM_CORE_ORDERS; i++)
        hmm_list_init(&core->pool[i]);
}

static void pool_put(struct hmm_core *core, uintptr_t address, unsigned order)
{
    struct page *page = (struct page *)address;

    page->slab = NULL;
    hmm_list_prepend(&core->pool[order], &page->node);
}

/* Cuts [from, to) into the largest pages there are and puts them in the pool;
   less than a page at either end is lost. */
static void donate(struct hmm_core *core, uintptr_t from, uintptr_t to)
{
    from = (uintptr_t)hmm_align_up(from, HMM_CORE_PAGE_MIN);
    while (from < to && to - from >= HMM_CORE_PAGE_MIN) {
        unsigned order = 0;

        while (order + 1 < HMM_CORE_ORDERS &&
               hmm_is_aligned(from, order_size(order + 1)) &&
               to - from >= order_size(order + 1))
            order++;
        pool_put(core, from, order);
        from += order_size(order);
    }
}

/* How much more is asked for at a time: a chunk at first, then a part of
   what there is, so that a small core has little in store. */
static size_t step(const struct hmm_core *core)
{
    size_t least = core->chunk / 8;
    size_t part = core->chunk;

    hmm_assert(hmm_is_pow2(core->chunk));
    if (core->bytes_total == 0 || least < HMM_CORE_PAGE_MIN)
        return core->chunk;
    while (part > least && part > core->bytes_total / 32)
        part /= 2;
    return part;
}

/* Makes [cursor, end) at least `size' bytes. */
static int extend(struct hmm_core *core, size_t size)
{
    void *memory;
    uintptr_t start;
    int error;

    if (size > SIZE_MAX - (core->chunk - 1))
        return ENOMEM;
    size = (size_t)hmm_align_up(size, step(core));
    error = core->extend(core->ctx, size, &memory);
    if (error != 0)
        return error;
    start = (uintptr_t)memory;
    hmm_assert(start != 0 && start <= UINTPTR_MAX - size);
    core->bytes_total += size;
    if (start != core->end) {
        donate(core, core->cursor, core->end);
        core->cursor = start;
    }
    core->end = start + size;
    return 0;
}

/* Takes `size' bytes, aligned to `align', from [cursor, end); 0 for failure. */
static uintptr_t carve(struct hmm_core *core, size_t size, size_t align)
{
    uintptr_t start;
    size_t slack = align - 1;

    if (size > SIZE_MAX - slack)
        return 0;
    start = (core->cursor + slack) & ~(uintptr_t)slack;
    if (start < core->cursor || start > core->end || core->end - start < size) {
        if (extend(core, size + slack) != 0)
            return 0;
        start = (core->cursor + slack) & ~(uintptr_t)slack;
    }
    hmm_assert(start <= core->end && core->end - start >= size);
    donate(core, core->cursor, start);
    core->cursor = start + size;
    core->bytes_used += size;
    return start;
}

void *hmm_core_alloc(struct hmm_core *core, size_t size, size_t align)
{
    hmm_assert(size > 0 && hmm_is_pow2(align));
    return (void *)carve(core, size, align);
}

/* A slab page from the pool, splitting a larger one if need be, or a new one. */
static struct page *page_take(struct hmm_core *core, unsigned order)
{
    unsigned from = order;
    struct page *page;

    while (from < HMM_CORE_ORDERS && hmm_list_empty(&core->pool[from]))
        from++;
    if (from == HMM_CORE_ORDERS)
        return (struct page *)carve(core, order_size(order), order_size(order));
    page = page_of_node(hmm_list_first(&core->pool[from]));
    hmm_list_remove(&page->node);
    while (from > order) {
        from--;
        pool_put(core, (uintptr_t)page + order_size(from), from);
    }
    core->bytes_used += order_size(order);
    return page;
}

static void page_give(struct hmm_core *core, struct page *page, unsigned order)
{
    hmm_assert(core->bytes_used >= order_size(order));
    core->bytes_used -= order_size(order);
    pool_put(core, (uintptr_t)page, order);
}

/* ---- Slabs ---- */

/* Sets the layout of pages of `order' and says whether little is wasted: 2.5 %,
 * so that 50 objects of 80 bytes are content with 4 KiB. */
static bool lay_out(struct hmm_slab *slab, unsigned order)
{
    size_t fit = (order_size(order) - slab->offset) / slab->size;

    slab->order = order;
    slab->per_page = (uint32_t)hmm_min(fit, OBJECTS_MAX);
    return (order_size(order) - fit * slab->size) * 40 <= order_size(order);
}

void hmm_slab_init(struct hmm_slab *slab, struct hmm_core *core, size_t size,
                   size_t align, const char *name)
{
    hmm_assert(size > 0 && size <= HMM_SLAB_OBJECT_MAX);
    hmm_assert(hmm_is_pow2(align) && align <= HMM_CORE_PAGE_MIN);
    slab->core = core;
    slab->name = name;
    slab->size = (size_t)hmm_align_up(hmm_max(size, KEPT), align);
    slab->reciprocal =
        (uint32_t)(((UINT64_C(1) << 32) + slab->size - 1) / slab->size);
    slab->offset = (uint32_t)hmm_align_up(sizeof(struct page), align);
    for (unsigned order = 0; order < HMM_CORE_ORDERS; order++)
        if (lay_out(slab, order))
            break;
    hmm_assert(slab->per_page > 0);
    hmm_list_init(&slab->partial);
    hmm_list_init(&slab->full);
    slab->empty = 0;
    slab->used = 0;
    slab->capacity = 0;
    slab->reserved = 0;
}

void hmm_slab_limit(struct hmm_slab *slab, size_t bytes)
{
    hmm_assert(bytes >= slab->offset + slab->size && slab->capacity == 0);
    while (order_size(slab->order) > bytes)
        (void)lay_out(slab, slab->order - 1);
    hmm_assert(slab->per_page > 0);
}

static struct page *page_of(const struct hmm_slab *slab, const void *object)
{
    uintptr_t mask = (uintptr_t)order_size(slab->order) - 1;

    return (struct page *)((uintptr_t)object & ~mask);
}

/* The number of the object that `object' is in, if it is in one. */
static uint32_t number_of(const struct hmm_slab *slab, const void *object)
{
    uintptr_t in_page = (uintptr_t)object - (uintptr_t)page_of(slab, object);
    uint64_t offset = (uint32_t)in_page - slab->offset;

    return (uint32_t)(offset * slab->reciprocal >> 32);
}

static unsigned char *object_at(const struct hmm_slab *slab, struct page *page,
                                uint32_t number)
{
    return (unsigned char *)page + slab->offset + number * slab->size;
}

static void poison(const struct hmm_slab *slab, unsigned char *object)
{
    if (POISONING)
        memset(object + KEPT, POISON, slab->size - KEPT);
}

/* Whether nobody wrote to a free object. */
static bool poisoned(const struct hmm_slab *slab, const unsigned char *object)
{
    for (size_t i = KEPT; POISONING && i < slab->size; i++)
        if (object[i] != POISON)
            return false;
    return true;
}

/* Makes every object of a new page look freed, where somebody will look. */
static void poison_page(const struct hmm_slab *slab, struct page *page)
{
#ifdef HMM_SLOW_CHECKS
    for (uint32_t i = 0; i < slab->per_page; i++)
        poison(slab, object_at(slab, page, i));
#else
    (void)slab;
    (void)page;
#endif
}

static bool grow(struct hmm_slab *slab)
{
    struct page *page = page_take(slab->core, slab->order);

    if (page == NULL)
        return false;
    page->slab = slab;
    page->used = 0;
    memset(page->map, 0, sizeof page->map);
    poison_page(slab, page);
    hmm_list_append(&slab->partial, &page->node);
    slab->empty++;
    slab->capacity += slab->per_page;
    return true;
}

static void shrink(struct hmm_slab *slab, struct page *page)
{
    hmm_assert(page->used == 0 && slab->empty > 0);
    hmm_list_remove(&page->node);
    slab->empty--;
    slab->capacity -= slab->per_page;
    page_give(slab->core, page, slab->order);
}

/* Takes the lowest free object of a page that has one. */
static uint32_t page_claim(struct page *page)
{
    uint32_t word = 0;
    uint32_t bit;

    while (page->map[word] == UINT64_MAX)
        word++;
    hmm_assert(word < MAP_WORDS);
    bit = (uint32_t)__builtin_ctzll(~page->map[word]);
    page->map[word] |= UINT64_C(1) << bit;
    page->used++;
    return word * 64 + bit;
}

void *hmm_slab_alloc(struct hmm_slab *slab)
{
    struct page *page;
    uint32_t number;

    if (hmm_list_empty(&slab->partial) && !grow(slab))
        return NULL;
    page = page_of_node(hmm_list_first(&slab->partial));
    hmm_assert(page->slab == slab);
    number = page_claim(page);
    hmm_assert(number < slab->per_page);
    hmm_assert_slow(poisoned(slab, object_at(slab, page, number)));
    if (page->used == 1)
        slab->empty--;
    if (page->used == slab->per_page) {
        hmm_list_remove(&page->node);
        hmm_list_append(&slab->full, &page->node);
    }
    slab->used++;
    if (slab->reserved > 0)
        slab->reserved--;
    return object_at(slab, page, number);
}

bool hmm_slab_owns(const struct hmm_slab *slab, const void *pointer)
{
    struct page *page = page_of(slab, pointer);
    uint32_t number = number_of(slab, pointer);

    return page->slab == slab && number < slab->per_page &&
           object_at(slab, page, number) == pointer &&
           (page->map[number / 64] >> number % 64 & 1) != 0;
}

/* Puts a page that lost an object where invariant 1 wants it. */
static void page_relist(struct hmm_slab *slab, struct page *page)
{
    if (page->used == 0) {
        hmm_list_remove(&page->node);
        hmm_list_append(&slab->partial, &page->node);
        slab->empty++;
    } else if (page->used == slab->per_page - 1) {
        hmm_list_remove(&page->node);
        hmm_list_prepend(&slab->partial, &page->node);
    }
}

void hmm_slab_free(struct hmm_slab *slab, void *object)
{
    struct page *page = page_of(slab, object);
    uint32_t number = number_of(slab, object);

    hmm_assert(hmm_slab_owns(slab, object));
    page->map[number / 64] &= ~(UINT64_C(1) << number % 64);
    page->used--;
    slab->used--;
    poison(slab, object);
    page_relist(slab, page);
    /* One empty page stays, or a slab at a boundary would thrash. */
    while (slab->empty > 1 &&
           slab->capacity - slab->used >= slab->reserved + slab->per_page)
        shrink(slab, page_of_node(slab->partial.prev));
}

int hmm_slab_reserve(struct hmm_slab *slab, size_t count)
{
    hmm_assert(slab->capacity - slab->used >= slab->reserved);
    while (slab->capacity - slab->used < count)
        if (!grow(slab))
            return ENOMEM;
    if (count > slab->reserved)
        slab->reserved = count;
    return 0;
}

/* ---- Checking ---- */

static bool page_check(const struct hmm_slab *slab, const struct page *page)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < OBJECTS_MAX; i++)
        if ((page->map[i / 64] >> i % 64 & 1) != 0) {
            if (i >= slab->per_page)
                return false;
            bits++;
        }
    return page->slab == slab && bits == page->used &&
           page == page_of(slab, page);
}

bool hmm_slab_check(const struct hmm_slab *slab)
{
    const struct hmm_list *lists[] = {&slab->partial, &slab->full};
    size_t used = 0;
    size_t capacity = 0;
    uint32_t empty = 0;

    for (int i = 0; i < 2; i++) {
        struct hmm_list *node;

        HMM_LIST_FOR_EACH(node, lists[i])
        {
            const struct page *page = page_of_node(node);

            if (!page_check(slab, page) ||
                (page->used == slab->per_page) != (i == 1) ||
                (page->used > 0 && i == 0 && empty > 0))
                return false;
            used += page->used;
            capacity += slab->per_page;
            empty += page->used == 0;
        }
    }
    return used == slab->used && capacity == slab->capacity &&
           empty == slab->empty && capacity - used >= slab->reserved;
}
