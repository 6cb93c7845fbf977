/* SPDX-License-Identifier: MIT */
/*
 * A disk of 64 MiB as memory, of which no more than 4 MiB is kept.  Four threads
 * read all of it, find every word as it should be, change what disk.h says, and
 * sync while others go on; then they look at pages here and there, and count
 * together in one of them.  What is on the disk in the end is looked at by the
 * host, byte for byte (tests/l4/drives.c).
 */
#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>

#include "examples/l4/disk.h"
#include "tests/l4/support.h"

#define BUDGET (UINT32_C(4) << 20)
#define LOOKS 400u /* by each thread, after the first pass */

static struct hurdmm *manager;
static struct hurdmm_port *port;
static struct hurdmm_block *disk;
static struct hurdmm_store *store;
static volatile uint32_t *words; /* the disk */
static uint32_t wrong;           /* words that were not as they should be */
static int sync_errors;

static void note_wrong(void)
{
    __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
}

/* Every word of the page is as before; then some are changed. */
static void work_on(uint32_t page)
{
    volatile uint32_t *at = words + page * DISK_PAGE_WORDS;
    for (uint32_t i = 0; i < DISK_PAGE_WORDS; i++)
        if (at[i] != disk_word(page, i))
            note_wrong();
    for (uint32_t i = 0; i < DISK_PAGE_WORDS; i++)
        if (disk_changes(page, i))
            at[i] = disk_word_after(page, i);
}

static void look_at(uint32_t page)
{
    volatile uint32_t *at = words + page * DISK_PAGE_WORDS;
    for (uint32_t i = 1; i < DISK_PAGE_WORDS; i++)
        if (at[i] != disk_word_after(page, i))
            note_wrong();
}

static void sync_some(uint64_t offset, uint64_t length)
{
    int error = hurdmm_store_sync(store, offset, length, HURDMM_WAIT);
    if (error != 0)
        __atomic_store_n(&sync_errors, error, __ATOMIC_RELAXED);
}

static void advise(enum hurdmm_advice advice, uint32_t page, uint32_t count)
{
    l4_test_zero(hurdmm_advise(hurdmm_space_own(manager),
                               (uintptr_t)words + page * DISK_PAGE,
                               count * DISK_PAGE, advice),
                 "advice is taken");
}

/* A quarter of the disk, page by page; each quarter in four parts, and a sync
 * after each. */
static void pass(void *argument)
{
    const uint32_t part = PAGER_DISK_PAGES / PAGER_THREADS / 4;
    uint32_t page = (uint32_t)(uintptr_t)argument * 4 * part;
    for (unsigned i = 0; i < 4; i++) {
        advise(HURDMM_ADVICE_SEQUENTIAL, page, part);
        for (uint32_t n = 0; n < part; n++)
            work_on(page + n);
        sync_some((uint64_t)page * DISK_PAGE, (uint64_t)part * DISK_PAGE);
        hmm_l4_printf("pages %u to %u are done\n", page, page + part - 1);
        page += part;
    }
}

/* Pages in no order, of all the disk, and counting between them. */
static void roam(void *argument)
{
    uint32_t random = 12345 + (uint32_t)(uintptr_t)argument;
    volatile uint32_t *counter = words + PAGER_COUNTER_PAGE * DISK_PAGE_WORDS;
    for (uint32_t i = 0; i < PAGER_COUNTS; i++) {
        random = random * 1103515245u + 12345u;
        if (i < LOOKS)
            look_at((random >> 8) % PAGER_DISK_PAGES);
        __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
    }
}

static void on_threads(void (*body)(void *argument))
{
    uint64_t threads[PAGER_THREADS];
    for (uintptr_t i = 0; i < PAGER_THREADS; i++)
        l4_test_zero(
            port->ops->thread_start(port, body, (void *)i, &threads[i]),
            "a thread starts");
    for (unsigned i = 0; i < PAGER_THREADS; i++)
        l4_test_zero(port->ops->thread_join(port, threads[i]), "and ends");
}

static void set_up(void)
{
    struct hurdmm_options options = {
        .struct_size = sizeof options, .port = port, .budget = BUDGET};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = PAGER_DISK_SIZE,
                                       .rights = HURDMM_READ | HURDMM_WRITE};
    uintptr_t address;
    l4_test_zero(hurdmm_create(&options, &manager), "a manager");
    l4_test_zero(hurdmm_l4_disk_open(manager, 0, 0, 0, &disk), "a disk");
    l4_test_check(disk->size == PAGER_DISK_SIZE, "it has 64 MiB");
    l4_test_zero(hurdmm_block_store_create(manager, disk, 0, 0, 0, &store),
                 "a store on it");
    bind.space = hurdmm_space_own(manager);
    bind.store = store;
    l4_test_zero(hurdmm_bind(&bind, &address), "it is memory");
    words = (volatile uint32_t *)address;
}

static void look_at_statistics(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    struct hurdmm_l4_disk_stats done = {.struct_size = sizeof done};
    l4_test_zero(hurdmm_get_stats(manager, &stats), "statistics");
    l4_test_zero(hurdmm_l4_disk_get_stats(disk, &done), "the disk's too");
    hmm_l4_printf("%llu faults, %llu pages in, %llu out, %llu evicted\n",
                  stats.faults, stats.pages_in, stats.pages_out,
                  stats.evictions);
    hmm_l4_printf(
        "%llu commands, %llu by DMA, %llu bytes copied, %llu retries, "
        "%llu interrupts missed\n",
        done.commands, done.dma_commands, done.bytes_copied, done.retries,
        done.interrupts_missed);
    l4_test_check(stats.evictions > PAGER_DISK_PAGES, "pages have gone");
    l4_test_check(done.sectors_read >= PAGER_DISK_SIZE / 512,
                  "all of the disk was read");
    l4_test_check(done.dma_commands > done.commands / 2, "by DMA");
    l4_test_check(done.bytes_copied == 0, "straight to where it belongs");
    l4_test_check(done.interrupts_missed < 3, "with interrupts");
}

void hurdmm_l4_main(void)
{
    l4_tests_begin("disk-pager");
    l4_test_zero(hurdmm_l4_create(NULL, &port), "a port");
    set_up();
    on_threads(pass);
    l4_test_equal(wrong, 0, "every word was as it should be", __FILE__,
                  __LINE__);
    l4_test_equal(sync_errors, 0, "what was synced is on the disk", __FILE__,
                  __LINE__);
    advise(HURDMM_ADVICE_RANDOM, 0, PAGER_DISK_PAGES);
    on_threads(roam);
    l4_test_equal(wrong, 0, "every word is as it was left", __FILE__, __LINE__);
    l4_test_zero(hurdmm_store_sync(store, 0, PAGER_DISK_SIZE, HURDMM_WAIT),
                 "all is on the disk");
    look_at_statistics();
    l4_test_zero(hurdmm_store_destroy(store, HURDMM_DETACH), "the store goes");
    l4_test_zero(hurdmm_l4_disk_close(disk), "the disk goes");
    l4_test_zero(hurdmm_destroy(manager, 0), "the manager goes");
    l4_test_zero(hurdmm_l4_destroy(port), "the port goes");
    l4_tests_end();
}
