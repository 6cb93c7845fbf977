/* SPDX-License-Identifier: MIT */
/*
 * The first stage of a root file system: a boot module is a disk in memory, and
 * a partition of it a store.  What is written lands in the module.
 */
#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>
#include <hurdmm/partition.h>

#include "tests/l4/first-stage.h"
#include "tests/l4/support.h"

#define BUDGET (STAGE_SIZE / 4)

static struct hurdmm *manager;
static unsigned char sector[512];

static void find_partition(struct hurdmm_block *disk,
                           struct hurdmm_slice *slice)
{
    struct hurdmm_partition_table table = {.struct_size = sizeof table};
    struct hurdmm_partition partition;
    l4_test_zero(hurdmm_partition_read(disk, sector, sizeof sector, &partition,
                                       1, &table),
                 "it has a partition table");
    l4_test_equal(table.count, 1, "with a partition", __FILE__, __LINE__);
    l4_test_zero(
        hurdmm_slice_init(slice, disk, partition.start, partition.size),
        "that is a device");
}

/* All of it is read through 64 pages, and changed. */
static void work(struct hurdmm_store *store, const unsigned char *module)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = hurdmm_space_own(manager),
                                       .store = store,
                                       .length = STAGE_PARTITION_SIZE,
                                       .rights = HURDMM_READ | HURDMM_WRITE};
    uintptr_t address;
    uint32_t wrong = 0;
    l4_test_zero(hurdmm_bind(&bind, &address), "the partition is memory");
    volatile uint32_t *words = (volatile uint32_t *)address;
    const volatile uint32_t *there =
        (const volatile uint32_t *)(uintptr_t)(module + STAGE_START);
    for (uint32_t i = 0; i < STAGE_PARTITION_SIZE / 4; i++) {
        wrong += words[i] != stage_word(i);
        words[i] = ~words[i];
    }
    l4_test_equal(wrong, 0, "every word is there", __FILE__, __LINE__);
    l4_test_zero(hurdmm_store_sync(store, 0, STAGE_PARTITION_SIZE, HURDMM_WAIT),
                 "it is written back");
    for (uint32_t i = 0; i < STAGE_PARTITION_SIZE / 4; i++)
        wrong += there[i] != ~stage_word(i);
    l4_test_equal(wrong, 0, "to the module", __FILE__, __LINE__);
}

void hurdmm_l4_main(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = BUDGET};
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    struct hurdmm_l4_module module;
    struct hurdmm_ramdisk disk;
    struct hurdmm_slice slice;
    struct hurdmm_store *store;
    l4_tests_begin("first-stage");
    l4_test_zero(hurdmm_l4_create(NULL, &options.port), "a port");
    l4_test_zero(hurdmm_create(&options, &manager), "a manager");
    l4_test_equal(hurdmm_l4_get_module(7, &module), ENOENT,
                  "there is no eighth module", __FILE__, __LINE__);
    l4_test_zero(hurdmm_l4_get_module(0, &module), "a boot module");
    l4_test_equal((long long)module.size, STAGE_SIZE, "it has its size",
                  __FILE__, __LINE__);
    l4_test_zero(hurdmm_ramdisk_init(&disk, (void *)(uintptr_t)module.start,
                                     module.size, 512, 0),
                 "it is a disk");
    find_partition(&disk.block, &slice);
    l4_test_zero(
        hurdmm_block_store_create(manager, &slice.block, 0, 0, 0, &store),
        "and a store");
    work(store, module.start);
    l4_test_zero(hurdmm_get_stats(manager, &stats), "statistics");
    l4_test_check(stats.evictions > 0, "pages have gone");
    l4_test_zero(hurdmm_destroy(manager, HURDMM_DETACH), "all goes");
    l4_test_zero(hurdmm_l4_destroy(options.port), "the port goes");
    l4_tests_end();
}
