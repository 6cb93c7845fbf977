/* SPDX-License-Identifier: MIT */
/*
 * Drives that are not as they should be, through the driver on the machine's
 * hardware: an error each time, and never a hang; and the ways to reach good
 * ones: by DMA or by the processor, with interrupts or without.
 */
#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>
#include <hurdmm/partition.h>

#include "lib/base/string.h"
#include "tests/l4/bad-drives.h"
#include "tests/l4/support.h"

#define BUDGET (UINT32_C(1) << 20)
#define PAGE DISK_PAGE

#define EQUAL(value, expected, what)                                           \
    l4_test_equal(value, expected, what, __FILE__, __LINE__)

static struct hurdmm *manager;
static struct hurdmm_port *port;
static _Alignas(4096) uint32_t buffer[4 * DISK_PAGE_WORDS];

/* An access that may fail. */
struct access {
    volatile uint32_t *at;
    uint32_t value;
    bool write;
};

static void do_access(void *argument)
{
    struct access *access = argument;
    if (access->write)
        *access->at = access->value;
    else
        access->value = *access->at;
}

static int load(volatile uint32_t *at, uint32_t *value)
{
    struct access access = {.at = at};
    int error = hurdmm_l4_try(do_access, &access);
    *value = access.value;
    return error;
}

static int store_word(volatile uint32_t *at, uint32_t value)
{
    struct access access = {.at = at, .value = value, .write = true};
    return hurdmm_l4_try(do_access, &access);
}

static struct hurdmm_block *open_disk(unsigned channel, unsigned drive,
                                      unsigned flags)
{
    struct hurdmm_block *disk;
    l4_test_zero(hurdmm_l4_disk_open(manager, channel, drive, flags, &disk),
                 "a disk opens");
    return disk;
}

static volatile uint32_t *bind(struct hurdmm_store *store, size_t length)
{
    struct hurdmm_bind_options options = {.struct_size = sizeof options,
                                          .space = hurdmm_space_own(manager),
                                          .store = store,
                                          .length = length,
                                          .rights = HURDMM_READ | HURDMM_WRITE,
                                          .advice = HURDMM_ADVICE_RANDOM};
    uintptr_t address;
    l4_test_zero(hurdmm_bind(&options, &address), "a store is memory");
    return (volatile uint32_t *)address;
}

/* ---- Arguments, and drives that are none ---- */

static void refuse(void)
{
    struct hurdmm_block *disk = open_disk(0, 0, 0), *again;
    struct hurdmm_block stray = *disk;
    EQUAL(hurdmm_l4_disk_open(manager, 0, 0, 0, &again), EBUSY,
          "a disk is opened once");
    EQUAL(hurdmm_l4_disk_open(manager, 2, 0, 0, &again), EINVAL,
          "there are two channels");
    EQUAL(hurdmm_l4_disk_open(manager, 0, 2, 0, &again), EINVAL,
          "with two drives each");
    EQUAL(hurdmm_l4_disk_open(manager, 0, 1, 64, &again), EINVAL,
          "flags are looked at");
    EQUAL(hurdmm_l4_disk_open(NULL, 0, 1, 0, &again), EINVAL,
          "a manager must pay");
    EQUAL(hurdmm_l4_disk_close(&stray), EINVAL, "who is no disk is not closed");
    l4_test_zero(hurdmm_l4_disk_close(disk), "a disk closes");
    EQUAL(hurdmm_l4_disk_close(disk), EINVAL, "once");
}

static void look_for_a_medium(void)
{
    struct hurdmm_block *disk;
    int error = hurdmm_l4_disk_open(manager, 1, 0, 0, &disk);
    l4_test_check(error == ENODEV || error == ENOTSUP,
                  "a drive without a medium is no disk");
}

/* ---- The odd disk ---- */

static void read_past_the_end(struct hurdmm_block *disk)
{
    EQUAL(hurdmm_block_read(disk, disk->size, buffer, 512), ENXIO,
          "nothing lies behind the end");
    EQUAL(hurdmm_block_read(disk, disk->size - 512, buffer, 1024), ENXIO,
          "nor half of it");
    EQUAL(hurdmm_block_write(disk, UINT64_MAX - 511, buffer, 512), ENXIO,
          "nor far away");
    EQUAL(hurdmm_block_read(disk, 1, buffer, 512), EINVAL,
          "a sector begins at a sector");
    EQUAL(hurdmm_block_read(disk, 0, buffer, 511), EINVAL, "and is whole");
    l4_test_zero(hurdmm_block_read(disk, disk->size - 512, buffer, 512),
                 "the last sector is there");
}

static void page_the_odd_disk(struct hurdmm_block *disk)
{
    struct hurdmm_store *store;
    uint32_t wrong = 0, value;
    l4_test_zero(hurdmm_block_store_create(manager, disk, 0, 0, 0, &store),
                 "a store of odd size");
    size_t length = ((size_t)disk->size + PAGE - 1) / PAGE * PAGE;
    volatile uint32_t *words = bind(store, length + PAGE);
    for (uint32_t i = 0; i < ODD_WORDS; i++)
        wrong +=
            words[i] != disk_word(i / DISK_PAGE_WORDS, i % DISK_PAGE_WORDS);
    EQUAL(wrong, 0, "every word is there");
    for (uint32_t i = ODD_WORDS + 1; i < length / 4; i++)
        wrong += words[i] != 0;
    EQUAL(wrong, 0, "behind the end are zeros, as far as the page goes");
    EQUAL(load(words + length / 4, &value), ENXIO, "and then nothing");
    words[ODD_CHANGED] = 0x0ddba11;
    l4_test_zero(hurdmm_store_sync(store, 0, length, HURDMM_WAIT),
                 "its last page can be written");
    l4_test_zero(hurdmm_store_destroy(store, HURDMM_DETACH), "the store goes");
}

static void use_the_odd_disk(void)
{
    struct hurdmm_block *disk = open_disk(0, 0, 0);
    EQUAL((long long)disk->size, ODD_SECTORS * 512, "whole sectors");
    read_past_the_end(disk);
    page_the_odd_disk(disk);
    l4_test_zero(hurdmm_l4_disk_close(disk), "the disk closes");
}

/* ---- Partition tables ---- */

static void read_tables(void)
{
    struct hurdmm_block *disk = open_disk(0, 1, 0);
    struct hurdmm_partition_table table = {.struct_size = sizeof table};
    struct hurdmm_partition partitions[4];
    struct hurdmm_slice slice;
    EQUAL(hurdmm_partition_read(disk, buffer, sizeof buffer, partitions, 4,
                                &table),
          ERANGE, "a partition that goes on behind the end");
    l4_test_zero(
        hurdmm_slice_init(&slice, disk, TABLE_SIZE / 2, TABLE_SIZE / 2),
        "a part of the disk");
    EQUAL(hurdmm_partition_read(&slice.block, buffer, sizeof buffer, partitions,
                                4, &table),
          EBADMSG, "partitions that overlap");
    EQUAL(hurdmm_slice_init(&slice, disk, TABLE_SIZE / 2, TABLE_SIZE), ENXIO,
          "a part that is not all there");
    l4_test_zero(hurdmm_l4_disk_close(disk), "the disk closes");
}

/* ---- Sectors that fail ---- */

static void fail_to_read(struct hurdmm_block *disk, volatile uint32_t *words)
{
    uint32_t page = BAD_READ_SECTOR / 8, value = 0;
    EQUAL(hurdmm_block_read(disk, BAD_READ_SECTOR * 512, buffer, 512), EIO,
          "a bad sector is an error");
    EQUAL(load(words + page * DISK_PAGE_WORDS, &value), EIO,
          "also for who touches its page");
    EQUAL(load(words + (page + 1) * DISK_PAGE_WORDS, &value), 0,
          "the next page is there");
    EQUAL(value, disk_word(page + 1, 0), "and right");
}

static void fail_to_write(struct hurdmm_store *store, volatile uint32_t *words)
{
    uint32_t page = BAD_WRITE_SECTOR / 8, value = 0;
    EQUAL(store_word(words + page * DISK_PAGE_WORDS, 1), 0,
          "a page is written to that the disk will not take");
    EQUAL(store_word(words + BAD_GOOD_PAGE * DISK_PAGE_WORDS, 2), 0,
          "and one that it will");
    EQUAL(hurdmm_store_sync(store, 0, BAD_SIZE, HURDMM_WAIT), EIO,
          "a sync says so");
    EQUAL(load(words + page * DISK_PAGE_WORDS, &value), 0,
          "the page is still there");
    EQUAL(value, 1, "as it was written");
}

static void use_the_bad_disk(unsigned flags)
{
    struct hurdmm_block *disk = open_disk(1, 1, flags);
    struct hurdmm_store *store;
    l4_test_zero(hurdmm_block_store_create(manager, disk, 0, 0, 0, &store),
                 "a store on it");
    volatile uint32_t *words = bind(store, BAD_SIZE);
    fail_to_read(disk, words);
    fail_to_write(store, words);
    l4_test_zero(
        hurdmm_unbind(hurdmm_space_own(manager), (uintptr_t)words, BAD_SIZE),
        "the region goes");
    l4_test_zero(hurdmm_store_destroy(store, HURDMM_DROP),
                 "the store goes with what it could not write");
    l4_test_zero(hurdmm_l4_disk_close(disk), "the disk closes");
}

/* ---- The ways to reach a disk ---- */

static void read_by(unsigned flags)
{
    struct hurdmm_l4_disk_stats stats = {.struct_size = sizeof stats};
    struct hurdmm_block *disk = open_disk(0, 0, flags);
    uint32_t wrong = 0;
    for (uint64_t at = 0; at < 16 * PAGE; at += sizeof buffer) {
        l4_test_zero(hurdmm_block_read(disk, at, buffer, sizeof buffer),
                     "four pages are read");
        for (uint32_t i = 0; i < 4 * DISK_PAGE_WORDS; i++)
            wrong += buffer[i] !=
                     disk_word((uint32_t)(at / PAGE) + i / DISK_PAGE_WORDS,
                               i % DISK_PAGE_WORDS);
    }
    EQUAL(wrong, 0, "they are right");
    l4_test_zero(hurdmm_l4_disk_get_stats(disk, &stats), "statistics");
    EQUAL((flags & HURDMM_L4_DISK_NO_DMA) == 0, stats.dma_commands != 0,
          "by DMA or not, as it was asked for");
    EQUAL((long long)stats.retries, 0, "at the first attempt");
    l4_test_zero(hurdmm_l4_disk_close(disk), "the disk closes");
}

void hurdmm_l4_main(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = BUDGET};
    l4_tests_begin("bad-drives");
    l4_test_zero(hurdmm_l4_create(NULL, &port), "a port");
    options.port = port;
    l4_test_zero(hurdmm_create(&options, &manager), "a manager");
    refuse();
    look_for_a_medium();
    read_by(0);
    read_by(HURDMM_L4_DISK_POLL);
    read_by(HURDMM_L4_DISK_NO_DMA);
    read_by(HURDMM_L4_DISK_POLL | HURDMM_L4_DISK_NO_DMA);
    use_the_odd_disk();
    read_tables();
    use_the_bad_disk(0);
    use_the_bad_disk(HURDMM_L4_DISK_NO_DMA);
    l4_test_zero(hurdmm_destroy(manager, 0), "the manager goes");
    l4_test_zero(hurdmm_l4_destroy(port), "the port goes");
    l4_tests_end();
}
