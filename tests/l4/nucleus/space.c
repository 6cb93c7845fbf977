/* SPDX-License-Identifier: MIT */
/* Address spaces: a directory, the KIP, and UTCBs, which are the nucleus's
 * pages and no mappings. */
#include "nucleus.h"

struct space spaces[SPACES];

struct space *space_new(void)
{
    for (unsigned i = 0; i < SPACES; i++) {
        struct space *space = &spaces[i];
        if (space->used)
            continue;
        memset(space, 0, sizeof *space);
        space->used = true;
        space->directory = page_get();
        space->directory_at = to_physical(space->directory);
        memcpy(&space->directory[768], &kernel_directory[768], 1024);
        return space;
    }
    stop("more than %u address spaces", SPACES);
}

void space_areas(struct space *space, uint32_t kip_at, uint32_t utcb,
                 unsigned utcb_log2)
{
    space->kip = kip_at;
    space->utcb = utcb;
    space->utcb_log2 = utcb_log2;
    space->ready = true;
    *page_entry(space, kip_at, true) =
        to_physical(kip) | PTE_PRESENT | PTE_USER | PTE_KERNEL;
}

volatile uint32_t *space_utcb(struct space *space, uint32_t local)
{
    uint32_t *entry = page_entry(space, local, true);
    if (!(*entry & PTE_PRESENT))
        *entry = to_physical(page_get()) | PTE_PRESENT | PTE_WRITE | PTE_USER |
                 PTE_KERNEL;
    return from_physical((*entry & ~(PAGE - 1)) | (local & (PAGE - 1)));
}

bool space_reserved(const struct space *space, uint32_t address,
                    uint32_t length)
{
    uint32_t last = address + (length - 1);
    uint32_t utcb_last = space->utcb + ((UINT32_C(1) << space->utcb_log2) - 1);
    if (!space->ready)
        return false;
    return (address <= space->kip + (PAGE - 1) && last >= space->kip) ||
           (address <= utcb_last && last >= space->utcb);
}

void space_free(struct space *space)
{
    tree_clear(space);
    io_clear(space);
    if (loaded_space == space) {
        uint32_t at = to_physical(kernel_directory);
        __asm__ volatile("movl %0, %%cr3" : : "r"(at) : "memory");
        loaded_space = NULL;
    }
    for (unsigned i = 0; i < USER_END >> LARGE_LOG2; i++) {
        uint32_t upper = space->directory[i];
        if (!(upper & PTE_PRESENT))
            continue;
        uint32_t *table = from_physical(upper & ~(PAGE - 1));
        for (unsigned j = 0; j < 1024; j++)
            if ((table[j] & PTE_KERNEL) &&
                (table[j] & ~(PAGE - 1)) != to_physical(kip))
                page_put(from_physical(table[j] & ~(PAGE - 1)));
        page_put(table);
    }
    page_put(space->directory);
    space->used = false;
}
