/* SPDX-License-Identifier: MIT */
/* What the library and the port take for themselves where 16 MiB of pages are
 * there: at most a fiftieth, all counted that comes from sigma0 but stacks. */
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>

#include "backends/l4-x86/l4_port.h"
#include "tests/l4/support.h"

#define MIB (UINT32_C(1) << 20)
#define FRAMES (16 * MIB / L4_PAGE_SIZE)

static struct hurdmm *manager;
static struct hurdmm_port *port;
static const struct hmm_l4_port *l4;

static void begin(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = 16 * MIB};
    l4_test_zero(hurdmm_l4_create(NULL, &port), "a port");
    l4 = hmm_l4_from(port);
    options.port = port;
    l4_test_zero(hurdmm_create(&options, &manager), "a manager");
}

static void end(void)
{
    l4_test_zero(hurdmm_check(manager, NULL), "it is sound");
    l4_test_zero(hurdmm_destroy(manager, HURDMM_DETACH), "all goes");
    l4_test_zero(hurdmm_l4_destroy(port), "the port goes");
}

/* 15 MiB that are there, at addresses. */
static void populate(void)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = 15 * MIB,
                                       .rights = HURDMM_READ | HURDMM_WRITE,
                                       .flags = HURDMM_BIND_POPULATE};
    uintptr_t address;
    l4_test_zero(
        hurdmm_anonymous_create(manager, NULL, bind.length, 0, &bind.store),
        "a store");
    bind.space = hurdmm_space_own(manager);
    l4_test_zero(hurdmm_bind(&bind, &address), "a region");
}

static uint32_t core_pages(void)
{
    uint32_t pages = 0;
    for (unsigned i = 0; i < l4->chunk_count; i++)
        pages += l4->chunks[i].pages;
    return pages;
}

/* Core memory, and the own space's table. */
static uint32_t all_pages(void)
{
    uint32_t pages = core_pages() + l4->own.range_pages;
    for (unsigned i = 0; i < L4_LEAVES; i++)
        pages += l4->own.leaves[i] != NULL;
    return pages;
}

static void it_is_little(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    begin();
    populate();
    l4_test_zero(hurdmm_get_stats(manager, &stats), "statistics");
    uint32_t pages = all_pages();
    hmm_l4_printf("COUNT memory: %u KiB for 16 MiB of frames, %u.%02u %%, of "
                  "which the library has used %llu\n",
                  pages * 4, pages * 100 / FRAMES, pages * 10000 / FRAMES % 100,
                  stats.core_bytes >> 10);
    l4_test_check(stats.frames_used >= FRAMES / 16 * 15, "15 MiB are there");
    l4_test_check(pages * 50 <= FRAMES, "at most 2 %");
    end();
}

/* In one piece, behind the frames, however often more is asked for. */
static void it_is_one_piece(void)
{
    begin();
    const struct hurdmm_bank *bank = &l4->banks[l4->bank_count - 1];
    uint32_t before = core_pages();
    populate();
    l4_test_check(core_pages() > before, "more was needed");
    l4_test_equal(l4->chunk_count, 1, "pieces", __FILE__, __LINE__);
    l4_test_equal(l4->chunks[0].base,
                  (uint32_t)bank->base + bank->frames * L4_PAGE_SIZE,
                  "where it lies", __FILE__, __LINE__);
    end();
}

/* Where the way is barred it goes on elsewhere. */
static void it_goes_round_others(void)
{
    uint32_t page;
    begin();
    const struct hmm_l4_chunk *chunk = &l4->chunks[0];
    uint32_t behind = chunk->base + chunk->pages * L4_PAGE_SIZE;
    l4_test_zero(hmm_l4_pages_take(1, behind, &page), "a page in the way");
    l4_test_equal(page, behind, "where it is", __FILE__, __LINE__);
    populate();
    l4_test_check(l4->chunk_count > 1, "another piece");
    for (unsigned i = 0; i < l4->chunk_count; i++)
        l4_test_check(page - l4->chunks[i].base >=
                          l4->chunks[i].pages * L4_PAGE_SIZE,
                      "the page is not in it");
    l4_test_check(all_pages() * 50 <= FRAMES, "at most 2 % all the same");
    end();
    hmm_l4_pages_give(page, 1);
}

void hurdmm_l4_main(void)
{
    l4_tests_begin("own-memory");
    it_is_little();
    it_is_one_piece();
    it_goes_round_others();
    l4_tests_end();
}
