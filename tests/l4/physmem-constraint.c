/* SPDX-License-Identifier: MIT */
/*
 * Constrained memory and pins, by physical address: what is promised of a run is
 * looked up in the addresses that a device would be given, and the bytes are
 * looked at there.
 */
#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>
#include <string.h>

#include "backends/l4-x86/l4_port.h"
#include "tests/support/runner.h"

#define PAGE ((uint64_t)L4_PAGE_SIZE)
#define FRAMES 512u
#define DMA_BOUNDARY UINT64_C(0x10000)

static struct hurdmm_port *port;
static struct hurdmm *manager;
static struct hurdmm_container *container;

static void begin(void)
{
    ck_assert_int_eq(hurdmm_l4_create(NULL, &port), 0);
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .port = port,
                                     .budget = FRAMES * L4_PAGE_SIZE,
                                     .pin_limit = FRAMES * L4_PAGE_SIZE};
    ck_assert_int_eq(hurdmm_create(&options, &manager), 0);
    ck_assert_int_eq(hurdmm_container_create(manager, &container), 0);
}

static void end(void)
{
    ck_assert_int_eq(hurdmm_check(manager, NULL), 0);
    ck_assert_int_eq(hurdmm_destroy(manager, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_l4_destroy(port), 0);
}

static int allocate(uint64_t first, uint64_t pages, unsigned flags,
                    const struct hurdmm_constraint *constraint, uint64_t *done)
{
    int error = hurdmm_container_allocate_constrained(
        container, first * PAGE, pages * PAGE, flags, constraint, done);
    *done /= PAGE;
    return error;
}

static uint64_t address_of(uint64_t page)
{
    struct hurdmm_physical_run run;
    size_t count = 0;
    ck_assert_int_eq(hurdmm_container_pin(container, page * PAGE, PAGE,
                                          HURDMM_READ, &run, 1, &count),
                     0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(run.length, PAGE);
    ck_assert_int_eq(
        hurdmm_container_unpin(container, page * PAGE, PAGE, HURDMM_READ), 0);
    return run.address;
}

START_TEST(a_physical_address_is_where_the_bytes_are)
{
    uint64_t done;
    ck_assert_int_eq(allocate(0, 64, 0, NULL, &done), 0);
    for (uint64_t i = 0; i < 64; i++) {
        uint32_t word = 0xda7a0000u + (uint32_t)i;
        size_t length;
        ck_assert_int_eq(hurdmm_container_write(container, i * PAGE + 8, &word,
                                                sizeof word, &length),
                         0);
        const volatile uint32_t *there =
            (const volatile uint32_t *)(uintptr_t)(address_of(i) + 8);
        ck_assert_uint_eq(*there, word);
    }
}
END_TEST

/* What an IDE controller asks for: 64 KiB at most, and across no multiple of
 * it. */
START_TEST(no_dma_run_crosses_64_kib)
{
    const struct hurdmm_constraint c = {
        .struct_size = sizeof c, .high = UINT32_MAX, .boundary = DMA_BOUNDARY};
    uint64_t first = 0, done;
    for (uint64_t pages = 1; pages <= 16; pages += 3, first += pages) {
        ck_assert_int_eq(allocate(first, pages, HURDMM_CONTIGUOUS, &c, &done),
                         0);
        uint64_t start = address_of(first);
        ck_assert_uint_eq(start / DMA_BOUNDARY,
                          (start + pages * PAGE - 1) / DMA_BOUNDARY);
        for (uint64_t i = 0; i < pages; i++)
            ck_assert_uint_eq(address_of(first + i), start + i * PAGE);
    }
    ck_assert_int_eq(allocate(first, 17, HURDMM_CONTIGUOUS, &c, &done), ERANGE);
}
END_TEST

START_TEST(low_high_and_alignment_hold)
{
    uint64_t middle, done;
    ck_assert_int_eq(allocate(0, 64, HURDMM_CONTIGUOUS, NULL, &done), 0);
    middle = address_of(32);
    ck_assert_int_eq(hurdmm_container_release(container, 0, 64 * PAGE), 0);
    struct hurdmm_constraint c = {.struct_size = sizeof c,
                                  .low = middle,
                                  .high = middle + 32 * PAGE - 1,
                                  .alignment = 4 * PAGE};
    ck_assert_int_eq(allocate(0, 4, HURDMM_CONTIGUOUS, &c, &done), 0);
    ck_assert_uint_ge(address_of(0), middle);
    ck_assert_uint_lt(address_of(3), middle + 32 * PAGE);
    ck_assert_uint_eq(address_of(0) % c.alignment, 0);
}
END_TEST

START_TEST(bits_and_colours_are_exact)
{
    struct hurdmm_constraint bits = {
        .struct_size = sizeof bits, .must_set = 2 * PAGE, .must_clear = PAGE};
    struct hurdmm_constraint colour = {.struct_size = sizeof colour,
                                       .colours = 8};
    uint64_t done;
    ck_assert_int_eq(allocate(0, 16, 0, &bits, &done), 0);
    for (uint64_t i = 0; i < 16; i++)
        ck_assert_uint_eq(address_of(i) & (3 * PAGE), 2 * PAGE);
    for (uint32_t i = 0; i < 8; i++) {
        colour.colour = i;
        ck_assert_int_eq(allocate(16 + i, 1, 0, &colour, &done), 0);
        ck_assert_uint_eq(address_of(16 + i) / PAGE % 8, i);
    }
}
END_TEST

/* No frame is page 0, the image, or a boot module: they are not the port's. */
START_TEST(every_frame_is_memory_that_nobody_else_has)
{
    extern char __image_start[], _end[];
    uint64_t done;
    ck_assert_int_eq(allocate(0, FRAMES - 32, 0, NULL, &done), 0);
    for (uint64_t i = 0; i < FRAMES - 32; i++) {
        uint64_t at = address_of(i);
        ck_assert_uint_ge(at, PAGE);
        ck_assert_uint_lt(at, L4_WINDOW_END);
        ck_assert(at + PAGE <= (uintptr_t)__image_start ||
                  at >= (uintptr_t)_end);
    }
}
END_TEST

START_TEST(memory_that_is_not_there_is_erange)
{
    const struct hurdmm_constraint none[] = {
        {.struct_size = sizeof none[0], .low = L4_WINDOW_END},
        {.struct_size = sizeof none[0], .high = PAGE - 1},
    };
    uint64_t done;
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(allocate(0, 1, 0, &none[i], &done), ERANGE);
        ck_assert_uint_eq(done, 0);
    }
}
END_TEST

/* A pinned page stays where it is while everything else is wanted. */
START_TEST(a_pinned_page_stays_where_it_is)
{
    struct hurdmm_physical_run runs[8];
    size_t count;
    uint64_t done;
    ck_assert_int_eq(allocate(0, 8, 0, NULL, &done), 0);
    ck_assert_int_eq(hurdmm_container_pin(container, 0, 8 * PAGE, HURDMM_WRITE,
                                          runs, 8, &count),
                     0);
    for (unsigned round = 0; round < 3; round++) {
        (void)allocate(8, 2 * FRAMES, 0, NULL, &done);
        ck_assert_int_eq(
            hurdmm_container_release(container, 8 * PAGE, 2 * FRAMES * PAGE),
            0);
        ck_assert_uint_eq(address_of(0), runs[0].address);
    }
    ck_assert_int_eq(hurdmm_container_release(container, 0, PAGE), EBUSY);
    ck_assert_int_eq(
        hurdmm_container_unpin(container, 0, 8 * PAGE, HURDMM_WRITE), 0);
}
END_TEST

void hurdmm_l4_main(void)
{
    Suite *suite = suite_create("constraints");
    TCase *cases = tcase_create("cases");
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_test(cases, a_physical_address_is_where_the_bytes_are);
    tcase_add_test(cases, no_dma_run_crosses_64_kib);
    tcase_add_test(cases, low_high_and_alignment_hold);
    tcase_add_test(cases, bits_and_colours_are_exact);
    tcase_add_test(cases, every_frame_is_memory_that_nobody_else_has);
    tcase_add_test(cases, memory_that_is_not_there_is_erange);
    tcase_add_test(cases, a_pinned_page_stays_where_it_is);
    suite_add_tcase(suite, cases);
    (void)run_suites("physmem-constraint", &suite, 1);
}
