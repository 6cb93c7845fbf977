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

#include "examples/l4/client.h"
#include "examples/l4/disk.h"
#include "tests/l4/bad-drives.h"
#include "tests/l4/first-stage.h"

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

/* ---- two-tasks ---- */

static void make_tasks(void)
{
    FILE *file = open_drive("two-tasks.disk", "wb");
    for (uint32_t page = 0; page < CLIENT_DISK_SIZE / CLIENT_PAGE; page++)
        for (uint32_t i = 0; i < CLIENT_PAGE / 4; i++) {
            uint32_t word = client_word(page);
            fwrite(&word, sizeof word, 1, file);
        }
    close_file(file);
    attach(0, "two-tasks.disk");
}

/* What the clients did to the disk is there, and nothing of what they did to
 * their copies of it. */
static void check_tasks(void)
{
    FILE *file = open_drive("two-tasks.disk", "rb");
    uint32_t word, wrong = 0, i = 0;
    for (; fread(&word, sizeof word, 1, file) == 1; i++) {
        uint32_t before = client_word(i / (CLIENT_PAGE / 4));
        wrong += word != (i % (CLIENT_PAGE / 4) == 1 ? ~before : before);
    }
    judge(i == CLIENT_DISK_SIZE / 4, "the disk is as long as before");
    judge(wrong == 0, "the disk is as the clients left it");
    close_file(file);
}

/* ---- Partition tables ---- */

static void put_number(unsigned char *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

/* Partition `n' of four, in sectors. */
static void put_partition(unsigned char *table, unsigned n, uint32_t start,
                          uint32_t count)
{
    unsigned char *entry = table + 446 + 16 * n;
    entry[4] = 0x83;
    put_number(entry + 8, start);
    put_number(entry + 12, count);
    table[510] = 0x55;
    table[511] = 0xaa;
}

static void put_table(FILE *file, uint32_t size, const unsigned char *table)
{
    fwrite(table, 512, 1, file);
    for (uint32_t i = 512; i < size; i++)
        fputc(0, file);
}

static void make_tables(void)
{
    FILE *file = open_drive("tables.disk", "wb");
    unsigned char past[512] = {0}, overlaps[512] = {0};
    put_partition(past, 0, 100, TABLE_SIZE);
    put_partition(overlaps, 0, 100, 200);
    put_partition(overlaps, 1, 150, 100);
    put_table(file, TABLE_SIZE / 2, past);
    put_table(file, TABLE_SIZE / 2, overlaps);
    close_file(file);
    attach(1, "tables.disk");
}

/* ---- bad-drives ---- */

static void make_odd(void)
{
    FILE *file = open_drive("odd.disk", "wb");
    for (uint32_t i = 0; i < ODD_WORDS; i++) {
        uint32_t word = disk_word(i / DISK_PAGE_WORDS, i % DISK_PAGE_WORDS);
        fwrite(&word, sizeof word, 1, file);
    }
    for (uint32_t i = ODD_WORDS * 4; i < ODD_BYTES; i++)
        fputc(0, file);
    close_file(file);
    attach(0, "odd.disk");
}

/* One sector of it cannot be read, and one cannot be written. */
static void make_bad(void)
{
    FILE *file = open_drive("bad.disk", "wb");
    put_pages(file, BAD_SIZE / DISK_PAGE);
    close_file(file);
    file = open_drive("bad.conf", "w");
    fprintf(
        file,
        "[inject-error]\nevent = \"none\"\niotype = \"read\"\nerrno = \"5\"\n"
        "sector = \"%u\"\nonce = \"off\"\n"
        "[inject-error]\nevent = \"none\"\niotype = \"write\"\nerrno = \"5\"\n"
        "sector = \"%u\"\nonce = \"off\"\n",
        BAD_READ_SECTOR, BAD_WRITE_SECTOR);
    close_file(file);
    printf("-drive if=ide,index=3,format=raw,cache=unsafe,rerror=report,"
           "werror=report,file=blkdebug:%s/bad.conf:%s/bad.disk\n",
           directory, directory);
}

static void make_bad_drives(void)
{
    make_odd();
    make_tables();
    printf("-drive if=ide,index=2,media=cdrom\n");
    make_bad();
}

static void check_odd(void)
{
    FILE *file = open_drive("odd.disk", "rb");
    uint32_t word, wrong = 0;
    for (uint32_t i = 0; i < ODD_WORDS && fread(&word, 4, 1, file) == 1; i++)
        wrong += word != (i == ODD_CHANGED ? 0x0ddba11
                                           : disk_word(i / DISK_PAGE_WORDS,
                                                       i % DISK_PAGE_WORDS));
    judge(ftell(file) == ODD_WORDS * 4, "all of the odd disk is there");
    judge(wrong == 0, "the odd disk is as it was left");
    close_file(file);
}

/* The page that could not be written may have been, up to its bad sector. */
static void check_bad(void)
{
    FILE *file = open_drive("bad.disk", "rb");
    uint32_t word, wrong = 0, i = 0;
    for (; fread(&word, 4, 1, file) == 1; i++) {
        uint32_t page = i / DISK_PAGE_WORDS;
        uint32_t right = disk_word(page, i % DISK_PAGE_WORDS);
        if (i == BAD_GOOD_PAGE * DISK_PAGE_WORDS)
            right = 2;
        if (page != BAD_WRITE_SECTOR / 8)
            wrong += word != right;
    }
    judge(i == BAD_SIZE / 4, "the bad disk is as long as before");
    judge(wrong == 0, "what the bad disk could take is there, and no more");
    close_file(file);
}

static void check_bad_drives(void)
{
    check_odd();
    check_bad();
}

/* ---- The boot module of first-stage ---- */

static void make_stage(void)
{
    FILE *file = open_drive("stage", "wb");
    unsigned char table[512] = {0};
    put_partition(table, 0, STAGE_START / 512, STAGE_SECTORS);
    put_table(file, STAGE_START, table);
    for (uint32_t i = 0; i < STAGE_PARTITION_SIZE / 4; i++) {
        uint32_t word = stage_word(i);
        fwrite(&word, sizeof word, 1, file);
    }
    while (ftell(file) < (long)STAGE_SIZE)
        fputc(0, file);
    close_file(file);
}

/* ---- disk-cost ---- */

static void make_cost(void)
{
    FILE *file = open_drive("disk-cost.disk", "wb");
    put_pages(file, 256);
    close_file(file);
    attach(0, "disk-cost.disk");
}

static void check_nothing(void)
{
}

static const struct {
    const char *image;
    void (*make)(void);
    void (*check)(void);
} images[] = {
    {"bad-drives", make_bad_drives, check_bad_drives},
    {"disk-cost", make_cost, check_nothing},
    {"disk-pager", make_pager, check_pager},
    {"stage", make_stage, check_nothing},
    {"two-tasks", make_tasks, check_tasks},
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
