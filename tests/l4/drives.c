/* SPDX-License-Identifier: MIT */
/* Runs on the host: makes the drives that images are booted with, and looks at
 * them afterwards.
 *
 *   drives make IMAGE DIRECTORY    writes files there, prints what QEMU is told
 *   drives check IMAGE DIRECTORY   prints "drives: N passed", or what is wrong
 *
 * An image that is not named here has no drives.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/l4/disk.h"

static unsigned passed, failed;

static void judge(bool holds, const char *what)
{
    if (!holds)
        printf("It does not hold that %s\n", what);
    passed += holds;
    failed += !holds;
}

static const char *directory;

/* The drive's file: DIRECTORY/NAME. */
static FILE *open_drive(const char *drive, const char *mode)
{
    char name[1024];
    snprintf(name, sizeof name, "%s/%s", directory, drive);
    FILE *file = fopen(name, mode);
    if (!file) {
        perror(name);
        exit(1);
    }
    return file;
}

/* Tells QEMU of it. */
static void attach(unsigned index, const char *drive)
{
    printf("-drive if=ide,index=%u,format=raw,cache=unsafe,file=%s/%s\n", index,
           directory, drive);
}

static void close_file(FILE *file)
{
    if (ferror(file) || fclose(file) != 0) {
        perror("drives");
        exit(1);
    }
}

static void put_pages(FILE *file, uint32_t pages)
{
    uint32_t page[DISK_PAGE_WORDS];
    for (uint32_t i = 0; i < pages; i++) {
        for (uint32_t word = 0; word < DISK_PAGE_WORDS; word++)
            page[word] = disk_word(i, word);
        fwrite(page, sizeof page, 1, file);
    }
}

/* ---- disk-pager ---- */

static void make_pager(void)
{
    FILE *file = open_drive("disk-pager.disk", "wb");
    put_pages(file, PAGER_DISK_PAGES);
    close_file(file);
    attach(0, "disk-pager.disk");
}

static void check_pager(void)
{
    FILE *file = open_drive("disk-pager.disk", "rb");
    uint32_t page[DISK_PAGE_WORDS], wrong = 0, i = 0;
    for (; fread(page, sizeof page, 1, file) == 1; i++)
        for (uint32_t word = 0; word < DISK_PAGE_WORDS; word++)
            wrong += page[word] != pager_word_after(i, word);
    judge(i == PAGER_DISK_PAGES && fgetc(file) == EOF,
          "the disk is as long as before");
    judge(wrong == 0, "every byte of the disk is as it should be");
    close_file(file);
}

/* ---- */

static const struct {
    const char *image;
    void (*make)(void);
    void (*check)(void);
} images[] = {
    {"disk-pager", make_pager, check_pager},
};

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    directory = arguments[3];
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        if (strcmp(arguments[2], images[i].image) != 0)
            continue;
        if (strcmp(arguments[1], "make") == 0) {
            images[i].make();
        } else {
            images[i].check();
            if (failed == 0)
                printf("drives: %u passed\n", passed);
        }
    }
    return failed != 0;
}
