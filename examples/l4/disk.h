/* SPDX-License-Identifier: MIT */
/* What is on the disks of the images: each image and the program of the host
 * that makes its disks and looks at them afterwards (tests/l4/drives.c) agree on
 * it here. */
#ifndef EXAMPLES_L4_DISK_H
#define EXAMPLES_L4_DISK_H

#include <stdbool.h>
#include <stdint.h>

#define DISK_PAGE 4096u
#define DISK_PAGE_WORDS (DISK_PAGE / 4)

/* disk-pager: a disk of 64 MiB. */
#define PAGER_DISK_SIZE (UINT32_C(64) << 20)
#define PAGER_DISK_PAGES (PAGER_DISK_SIZE / DISK_PAGE)

/* What the disk has in this word at first: no two pages are alike. */
static inline uint32_t disk_word(uint32_t page, uint32_t word)
{
    return (page * DISK_PAGE_WORDS + word) * 2654435761u ^ 0x5eed1e55u;
}

/* Which words the threads change: all of some pages, one of most, and none of
 * every seventh row of 64 pages. */
static inline bool disk_changes(uint32_t page, uint32_t word)
{
    if (page / 64 % 7 == 3)
        return false;
    return page % 16 == 5 || word == page % DISK_PAGE_WORDS;
}

/* What is there in the end. */
static inline uint32_t disk_word_after(uint32_t page, uint32_t word)
{
    uint32_t before = disk_word(page, word);
    return disk_changes(page, word) ? ~before + page : before;
}

/* The first word of the last page counts what all threads did. */
#define PAGER_THREADS 4u
#define PAGER_COUNTS 1000u /* by each */
#define PAGER_COUNTER_PAGE (PAGER_DISK_PAGES - 1)

static inline uint32_t pager_word_after(uint32_t page, uint32_t word)
{
    if (page == PAGER_COUNTER_PAGE && word == 0)
        return disk_word_after(page, word) + PAGER_THREADS * PAGER_COUNTS;
    return disk_word_after(page, word);
}

#endif
