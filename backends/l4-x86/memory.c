/* SPDX-License-Identifier: MIT */
/* Physical memory: pages that the task has or may ask sigma0 for.
 *
 * sigma0 maps idempotently, so a page's address is its physical address.  Only
 * what lies below L4_WINDOW_END is used.  Pages are asked for when they are
 * first taken, in blocks below the large page size: they come as 4 KiB pages
 * then, which every kernel can unmap one by one (doc/l4.md).  What sigma0 has
 * given stays with the task for ever; large.c asks for it again, as large pages
 * or small ones.  sigma0 gives again to the thread that it gave to only, so one
 * thread asks for all others.
 *
 * Invariant: a page that is in neither set is another's, or in use.
 */
#include "backends/l4-x86/l4_port.h"

#define PAGES (L4_WINDOW_END >> L4_PAGE_SHIFT)
#define BLOCK_LOG2_MAX 21u
#define BLOCK_PAGES (L4_LARGE_SIZE >> L4_PAGE_SHIFT)
#define SIGMA0 1u /* its version; its number is the first of all users' */

struct page_set {
    uint32_t words[PAGES / 32];
};

static struct page_set unused; /* conventional memory that nobody uses */
static struct page_set mapped; /* what sigma0 has given */
static uint32_t sigma0;
static uint32_t asker; /* the thread that asks it; nil: everybody for himself */
static bool large;     /* the kernel has 4 MiB pages */

#define ASKER_STACK 4096u

static bool has(const struct page_set *set, uint32_t page)
{
    return (set->words[page / 32] >> page % 32 & 1) != 0;
}

static void add(struct page_set *set, uint32_t page)
{
    set->words[page / 32] |= UINT32_C(1) << page % 32;
}

static void take_out(struct page_set *set, uint32_t page)
{
    set->words[page / 32] &= ~(UINT32_C(1) << page % 32);
}

bool hmm_l4_has_large(void)
{
    return large;
}

static bool ask_sigma0(uint32_t base, unsigned log2)
{
    volatile uint32_t *mr = utcb();
    mr[L4_BR(0)] = L4_FPAGE_ALL;
    mr[0] = l4_tag(L4_LABEL_SIGMA0, 2, 0);
    mr[1] = l4_fpage(base, log2, L4_FULL);
    mr[2] = 0;
    uint32_t tag = hmm_l4_ipc(
        sigma0, sigma0, L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
    mr[L4_BR(0)] = 0;
    return (tag & L4_TAG_ERROR) == 0 && l4_tag_typed(tag) == 2 &&
           (mr[1] & L4_ITEM_KIND) == L4_ITEM_MAP && mr[2] != L4_FPAGE_NIL;
}

/* Asks for whoever calls: the address, and the size as a power of two. */
static void ask_for_others(void *argument)
{
    volatile uint32_t *mr = utcb();
    uint32_t sender = L4_NIL;
    (void)argument;
    for (;;) {
        uint32_t tag =
            hmm_l4_ipc(sender, L4_ANY_LOCAL,
                       L4_TIMEOUTS(L4_TIMEOUT_ZERO, L4_TIMEOUT_NEVER), &sender);
        if ((tag & L4_TAG_ERROR) != 0) {
            sender = L4_NIL;
            continue;
        }
        mr[1] = ask_sigma0(mr[1], mr[2]);
        mr[0] = l4_tag(0, 1, 0);
    }
}

void hmm_l4_memory_start(void)
{
    struct hmm_l4_thread *thread;
    if (hmm_l4_thread_start(NULL, ASKER_STACK, ask_for_others, NULL, l4_my_id(),
                            &thread) != 0)
        hmm_l4_panic("no thread for memory");
    asker = thread->id;
}

bool hmm_l4_sigma0_get(uint32_t base, unsigned log2)
{
    volatile uint32_t *mr = utcb();
    if (asker == L4_NIL)
        return ask_sigma0(base, log2);
    mr[0] = l4_tag(0, 2, 0);
    mr[1] = base;
    mr[2] = log2;
    uint32_t tag = hmm_l4_ipc(
        asker, asker, L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
    return (tag & L4_TAG_ERROR) == 0 && mr[1] != 0;
}

void hmm_l4_memory_init(const void *kip)
{
    struct hmm_l4_memory_map map;
    uint32_t start = L4_PAGE_SIZE; /* never page 0 */
    uint32_t length;
    extern char __image_start[], _end[];
    sigma0 = l4_global_id(l4_kip_word(kip, L4_KIP_THREAD_INFO) >> 20, SIGMA0);
    large = (l4_kip_word(kip, L4_KIP_PAGE_INFO) & L4_LARGE_SIZE) != 0;
    hmm_l4_memory_map(kip, &map);
    while (hmm_l4_memory_next(&map, &start, &length, L4_WINDOW_END)) {
        for (uint32_t at = start; at < start + length; at += L4_PAGE_SIZE)
            if (at + L4_PAGE_MASK < (uintptr_t)__image_start ||
                at >= (uintptr_t)_end)
                add(&unused, at >> L4_PAGE_SHIFT);
        start += length;
    }
}

/* How many pages from `first' on are unused, up to `count'. */
static uint32_t row_at(uint32_t first, uint32_t count)
{
    uint32_t n = 0;
    while (n < count && first + n < PAGES && has(&unused, first + n))
        n++;
    return n;
}

/* The first unused page at or after this one. */
static uint32_t next_unused(uint32_t page)
{
    while (page < PAGES) {
        uint32_t word = unused.words[page / 32] >> page % 32;
        if (word != 0)
            return page + (uint32_t)__builtin_ctz(word);
        page = (page | 31) + 1;
    }
    return PAGES;
}

/* Has sigma0 map what it has not mapped yet of a row of pages.  Returns the page
 * that it refuses, which is not ours to use, or the one after the row. */
static uint32_t map_row(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t page = first + i;
        uint32_t n = 0;
        while (i + n < count && !has(&mapped, page + n))
            n++;
        if (n == 0) {
            i++;
            continue;
        }
        uint32_t at = page << L4_PAGE_SHIFT;
        unsigned log2 =
            hmm_l4_block_from(at, at, n << L4_PAGE_SHIFT, BLOCK_LOG2_MAX);
        while (!hmm_l4_sigma0_get(at, log2)) {
            if (log2 == L4_PAGE_SHIFT)
                return page;
            log2--;
        }
        for (n = 0; n < UINT32_C(1) << (log2 - L4_PAGE_SHIFT); n++)
            add(&mapped, page + n);
        i += n;
    }
    return first + count;
}

/* With the lock held, which is given up while sigma0 is asked: the row is out
 * of the set meanwhile. */
static bool take_row(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        take_out(&unused, first + i);
    hmm_l4_unlock();
    uint32_t refused = map_row(first, count);
    hmm_l4_lock();
    if (refused == first + count)
        return true;
    for (uint32_t i = 0; i < count; i++)
        if (first + i != refused)
            add(&unused, first + i);
    return false;
}

int hmm_l4_pages_take(uint32_t count, uint32_t hint, uint32_t *base)
{
    uint32_t page = hint >> L4_PAGE_SHIFT;
    bool locked = hmm_l4_locked();
    int error = ENOMEM;
    hmm_assert(count > 0);
    if (!locked)
        hmm_l4_lock();
    if (hint == 0 || row_at(page, count) < count)
        page = next_unused(0);
    while (error != 0 && page < PAGES) {
        uint32_t n = row_at(page, count);
        if (n < count) {
            page = next_unused(page + n);
        } else if (take_row(page, count)) {
            *base = page << L4_PAGE_SHIFT;
            error = 0;
        }
    }
    if (!locked)
        hmm_l4_unlock();
    return error;
}

/* The first page from this one on that is as good as a beginning: of a large page,
 * where there is room for one. */
static uint32_t aligned(uint32_t page, uint32_t count)
{
    uint32_t at = (page + BLOCK_PAGES - 1) & ~(BLOCK_PAGES - 1);
    return count < BLOCK_PAGES || row_at(at, count) < count ? page : at;
}

int hmm_l4_pages_take_most(uint32_t *count, uint32_t *base)
{
    uint32_t longest = 0;
    uint32_t at = 0;
    hmm_l4_lock();
    for (uint32_t page = next_unused(0); page < PAGES && longest < *count;) {
        uint32_t n = row_at(page, *count);
        if (n > longest) {
            longest = n;
            at = n < *count ? page : aligned(page, n);
        }
        page = next_unused(page + n);
    }
    hmm_l4_unlock();
    if (longest == 0)
        return ENOMEM;
    *count = longest;
    return hmm_l4_pages_take(longest, at << L4_PAGE_SHIFT, base);
}

void hmm_l4_pages_give(uint32_t base, uint32_t count)
{
    bool locked = hmm_l4_locked();
    if (!locked)
        hmm_l4_lock();
    for (uint32_t i = 0; i < count; i++) {
        hmm_assert(!has(&unused, (base >> L4_PAGE_SHIFT) + i));
        add(&unused, (base >> L4_PAGE_SHIFT) + i);
    }
    if (!locked)
        hmm_l4_unlock();
}

/* Nobody else looks at the block's bits meanwhile: its pages are one port's. */
void hmm_l4_pages_split(uint32_t base)
{
    uint32_t first = base >> L4_PAGE_SHIFT;
    utcb()[0] = l4_fpage(base, L4_LARGE_SHIFT, L4_FULL);
    hmm_l4_unmap(L4_UNMAP_FLUSH);
    for (uint32_t i = 0; i < BLOCK_PAGES; i++)
        take_out(&mapped, first + i);
    if (map_row(first, BLOCK_PAGES) != first + BLOCK_PAGES)
        hmm_l4_panic("sigma0 does not give %08x again", base);
}
