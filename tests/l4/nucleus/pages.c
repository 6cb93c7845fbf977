/* SPDX-License-Identifier: MIT */
/* The nucleus's own memory (a run of pages at the end of RAM), and page tables.
 *
 * All RAM that is used is visible at KERNEL_BASE.  The part of a directory above
 * it is the same in all spaces and never changes after boot.
 */
#include "nucleus.h"

struct space *loaded_space;

static uint32_t pool_next, pool_end;
static void *pool_free; /* freed pages, each holding the next one's address */

void pages_init(uint32_t start, uint32_t end)
{
    pool_next = start;
    pool_end = end;
}

void *page_run(unsigned pages)
{
    if (pool_end - pool_next < pages * PAGE)
        stop("out of kernel memory (%u nodes): give the machine more",
             tree_count());
    void *page = from_physical(pool_next);
    pool_next += pages * PAGE;
    return memset(page, 0, pages * PAGE);
}

void *page_get(void)
{
    void *page = pool_free;
    if (page == NULL)
        return page_run(1);
    pool_free = *(void **)page;
    return memset(page, 0, PAGE);
}

void page_put(void *page)
{
    *(void **)page = pool_free;
    pool_free = page;
}

uint32_t *page_entry(struct space *space, uint32_t address, bool make)
{
    uint32_t *upper = &space->directory[address >> LARGE_LOG2];
    if (!(*upper & PTE_PRESENT)) {
        if (!make)
            return NULL;
        *upper = to_physical(page_get()) | PTE_USER | PTE_WRITE | PTE_PRESENT;
    }
    if (*upper & PTE_LARGE)
        return upper;
    uint32_t *table = from_physical(*upper & ~(PAGE - 1));
    return &table[address >> PAGE_LOG2 & 0x3ff];
}

const uint8_t *user_bytes(struct space *space, uint32_t address)
{
    const uint32_t *entry =
        address < USER_END ? page_entry(space, address, false) : NULL;
    if (entry == NULL || !(*entry & PTE_PRESENT))
        return NULL;
    uint32_t inside = *entry & PTE_LARGE ? LARGE - 1 : PAGE - 1;
    uint32_t at = (*entry & ~inside & ~(PAGE - 1)) | (address & inside);
    return at < 0x3f000000u ? from_physical(at) : NULL;
}

void tlb_drop(const struct space *space, uint32_t address)
{
    if (space == loaded_space)
        __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}
