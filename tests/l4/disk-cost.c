/* SPDX-License-Identifier: MIT */
/* What a disk costs: a sequential MiB through faults beside the same MiB read by
 * the driver alone, by DMA and by the processor, in commands and in time; and
 * what a page costs where the disk is memory.
 *
 * `make bench-l4' runs it twice: where a cycle is an instruction, for the
 * counts, and in real time, for the ratios. */
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>

#include "backends/l4-x86/l4_port.h"
#include "tests/l4/support.h"

#define PAGES 256u /* a MiB */
#define SIZE (PAGES * L4_PAGE_SIZE)
#define CHUNK (UINT32_C(128) << 10) /* the library's longest read, too */
#define ROUNDS 9u

static struct hurdmm *manager;
static struct hurdmm_port *port;
static unsigned char *memory; /* for the driver alone: frames in a row */

static uint64_t cycles(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static void touch(volatile const unsigned char *at)
{
    for (uint32_t i = 0; i < SIZE; i += L4_PAGE_SIZE)
        (void)at[i];
}

/* The driver alone. */
static uint64_t time_alone(struct hurdmm_block *disk)
{
    uint64_t start = cycles();
    for (uint32_t at = 0; at < SIZE; at += CHUNK)
        l4_test_zero(hurdmm_block_read(disk, at, memory + at, CHUNK), "a read");
    touch(memory);
    return cycles() - start;
}

/* A disk as memory. */
struct paged {
    struct hurdmm_store *store;
    volatile unsigned char *at;
};

static void page(struct hurdmm_block *disk, struct paged *paged)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = hurdmm_space_own(manager),
                                       .length = SIZE,
                                       .rights = HURDMM_READ,
                                       .advice = HURDMM_ADVICE_SEQUENTIAL};
    uintptr_t address;
    l4_test_zero(
        hurdmm_block_store_create(manager, disk, 0, SIZE, 0, &paged->store),
        "a store");
    bind.store = paged->store;
    l4_test_zero(hurdmm_bind(&bind, &address), "a region");
    paged->at = (volatile unsigned char *)address;
}

static uint64_t time_paged(const struct paged *paged)
{
    l4_test_zero(hurdmm_store_discard(paged->store, 0, SIZE),
                 "nothing is there");
    uint64_t start = cycles();
    touch(paged->at);
    return cycles() - start;
}

static uint64_t commands(struct hurdmm_block *disk)
{
    struct hurdmm_l4_disk_stats stats = {.struct_size = sizeof stats};
    l4_test_zero(hurdmm_l4_disk_get_stats(disk, &stats), "statistics");
    return stats.commands;
}

static uint64_t median(uint64_t *values)
{
    for (unsigned i = 1; i < ROUNDS; i++)
        for (unsigned j = i; j > 0 && values[j - 1] > values[j]; j--) {
            uint64_t value = values[j];
            values[j] = values[j - 1];
            values[j - 1] = value;
        }
    return values[ROUNDS / 2];
}

static void compare(const char *how, unsigned flags)
{
    struct hurdmm_block *disk;
    struct paged paged;
    uint64_t ratios[ROUNDS];
    l4_test_zero(hurdmm_l4_disk_open(manager, 0, 0, flags, &disk), "a disk");
    page(disk, &paged);
    uint64_t start = commands(disk);
    (void)time_alone(disk);
    uint64_t alone = commands(disk) - start;
    (void)time_paged(&paged);
    uint64_t through = commands(disk) - start - alone;
    hmm_l4_printf("COUNT %s: %llu commands through faults, %llu by the driver "
                  "alone\n",
                  how, through, alone);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t driver = time_alone(disk);
        ratios[i] = driver * 100 / time_paged(&paged);
    }
    hmm_l4_printf("WALL %s: %llu %% of the driver's speed (median of 9)\n", how,
                  median(ratios));
    l4_test_zero(hurdmm_store_destroy(paged.store, HURDMM_DETACH),
                 "the store goes");
    l4_test_zero(hurdmm_l4_disk_close(disk), "the disk goes");
}

/* A disk in memory: what is left is the library's own. */
static void count_ramdisk(void)
{
    struct hurdmm_ramdisk ramdisk;
    struct paged paged;
    void *bytes;
    l4_test_zero(hurdmm_allocate(manager, SIZE, &bytes), "memory for a disk");
    l4_test_zero(hurdmm_ramdisk_init(&ramdisk, bytes, SIZE, 512, 0), "a disk");
    page(&ramdisk.block, &paged);
    (void)time_paged(&paged);
    uint64_t through = time_paged(&paged);
    uint64_t alone = time_alone(&ramdisk.block);
    hmm_l4_printf("COUNT ramdisk: %llu instructions a page, beside %llu for "
                  "its copy\n",
                  (through - alone) / PAGES, alone / PAGES);
    l4_test_zero(hurdmm_store_destroy(paged.store, HURDMM_DETACH),
                 "the store goes");
    hurdmm_deallocate(manager, bytes, SIZE);
}

static void take_memory(void)
{
    struct hurdmm_container *container;
    struct hurdmm_physical_run run;
    uint64_t done;
    size_t count;
    l4_test_zero(hurdmm_container_create(manager, &container), "a container");
    l4_test_zero(hurdmm_container_allocate_constrained(
                     container, 0, SIZE, HURDMM_CONTIGUOUS, NULL, &done),
                 "a MiB in a row");
    l4_test_zero(hurdmm_container_pin(container, 0, SIZE,
                                      HURDMM_READ | HURDMM_WRITE, &run, 1,
                                      &count),
                 "it stays");
    memory = (unsigned char *)(uintptr_t)run.address;
}

void hurdmm_l4_main(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = UINT32_C(4) << 20};
    l4_tests_begin("disk-cost");
    l4_test_zero(hurdmm_l4_create(NULL, &port), "a port");
    options.port = port;
    l4_test_zero(hurdmm_create(&options, &manager), "a manager");
    take_memory();
    compare("DMA", 0);
    compare("PIO", HURDMM_L4_DISK_NO_DMA);
    count_ramdisk();
    l4_tests_end();
}
