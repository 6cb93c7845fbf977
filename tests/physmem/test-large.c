/* SPDX-License-Identifier: MIT */
/*
 * Large pages, on a machine whose pages are 256 bytes and whose large pages are
 * 4 and 16 of them: allocation keeps aligned runs together, a fault shows as
 * large a page as both sides allow, and only what must splits it.
 */
#include "tests/physmem/rig.h"
#include "tests/support/runner.h"

#define PAGE 256u
#define MIDDLE 4u /* pages */
#define LARGE 16u

static struct world world;
static struct hurdmm_container *container;

static void begin(void)
{
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .page_size = PAGE,
        .page_sizes = MIDDLE * PAGE | LARGE * PAGE,
        .frames = 128,
        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK,
    };
    memset(&world, 0, sizeof world);
    ck_assert_int_eq(hurdmm_sim_create(&machine, &world.port), 0);
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .port = world.port,
        .budget = 128 * PAGE,
        .pin_limit = 64 * PAGE,
        .readahead = PAGE,
    };
    ck_assert_int_eq(hurdmm_create(&options, &world.manager), 0);
    world.page = PAGE;
    world.space = hurdmm_space_own(world.manager);
    container = rig_container(&world);
}

static void end(void)
{
    world_end(&world);
}

static void allocate(unsigned first, unsigned pages)
{
    uint64_t done;
    ck_assert_int_eq(hurdmm_container_allocate(container, first * PAGE,
                                               pages * PAGE, 0, &done),
                     0);
    ck_assert_uint_eq(done, pages * PAGE);
}

/* The number of physical runs that pages are, and where the first begins. */
static size_t runs(unsigned first, unsigned pages, uint64_t *address)
{
    struct hurdmm_physical_run run[64];
    size_t count = 0;
    ck_assert_int_eq(hurdmm_container_pin(container, first * PAGE, pages * PAGE,
                                          HURDMM_READ, run, 64, &count),
                     0);
    ck_assert_int_eq(hurdmm_container_unpin(container, first * PAGE,
                                            pages * PAGE, HURDMM_READ),
                     0);
    *address = run[0].address;
    return count;
}

static uint64_t faults(void)
{
    return world_stats(&world).faults;
}

/* Loads from each of some pages; how many faults that took. */
static uint64_t load_all(uintptr_t address, unsigned first, unsigned pages)
{
    uint64_t before = faults();
    uint8_t value;
    for (unsigned i = first; i < first + pages; i++)
        ck_assert_int_eq(world_load(&world, address + i * PAGE, &value), 0);
    return faults() - before;
}

static uint64_t store_all(uintptr_t address, unsigned first, unsigned pages)
{
    uint64_t before = faults();
    for (unsigned i = first; i < first + pages; i++)
        ck_assert_int_eq(world_store(&world, address + i * PAGE, 'w'), 0);
    return faults() - before;
}

START_TEST(aligned_allocations_get_aligned_runs)
{
    uint64_t address;
    allocate(5, 1); /* so that frames are not aligned by chance */
    allocate(LARGE, 2 * LARGE);
    for (unsigned i = 1; i <= 2; i++) {
        ck_assert_uint_eq(runs(i * LARGE, LARGE, &address), 1);
        ck_assert_uint_eq(address % (LARGE * PAGE), 0);
    }
}
END_TEST

START_TEST(the_ends_of_an_allocation_get_smaller_pages)
{
    uint64_t address;
    allocate(LARGE - MIDDLE - 1, 1 + MIDDLE + LARGE);
    ck_assert_uint_eq(runs(LARGE - MIDDLE, MIDDLE, &address), 1);
    ck_assert_uint_eq(address % (MIDDLE * PAGE), 0);
    ck_assert_uint_eq(runs(LARGE, LARGE, &address), 1);
    ck_assert_uint_eq(address % (LARGE * PAGE), 0);
}
END_TEST

START_TEST(without_aligned_runs_small_pages_do)
{
    allocate(64, 116);
    for (unsigned i = 64; i < 180; i += 2) /* holes of one frame each */
        ck_assert_int_eq(rig_release(&world, container, i, 1), 0);
    uint64_t address;
    allocate(0, LARGE);
    ck_assert_uint_gt(runs(0, LARGE, &address), 1);
}
END_TEST

START_TEST(a_region_is_placed_where_large_pages_fit)
{
    allocate(0, 2 * LARGE);
    uintptr_t small = rig_bind(&world, container, 1);
    uintptr_t address = rig_bind(&world, container, 2 * LARGE);
    ck_assert_uint_ne(small, 0);
    ck_assert_uint_eq(address % (LARGE * PAGE), 0);
}
END_TEST

START_TEST(one_fault_shows_a_large_page)
{
    allocate(0, 2 * LARGE);
    uintptr_t address = rig_bind(&world, container, 2 * LARGE);
    ck_assert_uint_eq(load_all(address, LARGE + 7, 1), 1);
    ck_assert_uint_eq(load_all(address, LARGE, LARGE), 0);
    ck_assert_uint_eq(store_all(address, 3, 1), 1);
    ck_assert_uint_eq(store_all(address, 0, LARGE), 0);
    ck_assert_uint_eq(store_all(address, LARGE, LARGE), 1);
}
END_TEST

/* A fault at an odd page, where the region has only a part of the large one. */
START_TEST(a_region_that_cuts_a_large_page_gets_a_smaller_one)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .length = (LARGE - MIDDLE) * PAGE,
        .rights = HURDMM_READ,
        .container = container,
        .offset = MIDDLE * PAGE,
    };
    uintptr_t address;
    allocate(0, LARGE);
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
    ck_assert_uint_eq(address % (MIDDLE * PAGE), 0);
    ck_assert_uint_eq(load_all(address, 0, LARGE - MIDDLE),
                      (LARGE - MIDDLE) / MIDDLE);
}
END_TEST

START_TEST(a_partial_release_leaves_the_rest_shown)
{
    allocate(0, LARGE);
    uintptr_t address = rig_bind(&world, container, LARGE);
    (void)load_all(address, 0, 1);
    ck_assert_int_eq(rig_release(&world, container, 5, 1), 0);
    uint8_t value;
    ck_assert_int_eq(world_load(&world, address + 5 * PAGE, &value), EFAULT);
    uint64_t before = faults();
    ck_assert_uint_eq(load_all(address, 0, 5) + load_all(address, 6, 10), 0);
    ck_assert_uint_eq(faults(), before);
    /* What is left is shown by pages that fit it. */
    ck_assert_uint_eq(store_all(address, LARGE - MIDDLE, MIDDLE), 1);
    ck_assert_uint_eq(store_all(address, 4, 1), 1);
}
END_TEST

START_TEST(a_break_of_a_copy_splits_its_own_page_only)
{
    struct hurdmm_container *copy = rig_container(&world);
    uintptr_t address;
    allocate(0, LARGE);
    address = rig_bind(&world, container, LARGE);
    ck_assert_uint_eq(store_all(address, 0, LARGE), 1);
    rig_copied(&world, copy, 0, container, 0, LARGE, 0);
    ck_assert_uint_eq(store_all(address, 5, 1), 1);
    ck_assert_uint_eq(load_all(address, 0, LARGE), 0);
    ck_assert_int_eq(rig_release(&world, copy, 0, LARGE), 0);
    /* Together again: the owner's frames were never split. */
    ck_assert_uint_eq(store_all(address, 0, 1), 1);
    ck_assert_uint_eq(store_all(address, 0, LARGE), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("large");
    TCase *cases = tcase_create("cases");
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_test(cases, aligned_allocations_get_aligned_runs);
    tcase_add_test(cases, the_ends_of_an_allocation_get_smaller_pages);
    tcase_add_test(cases, without_aligned_runs_small_pages_do);
    tcase_add_test(cases, a_region_is_placed_where_large_pages_fit);
    tcase_add_test(cases, one_fault_shows_a_large_page);
    tcase_add_test(cases, a_region_that_cuts_a_large_page_gets_a_smaller_one);
    tcase_add_test(cases, a_partial_release_leaves_the_rest_shown);
    tcase_add_test(cases, a_break_of_a_copy_splits_its_own_page_only);
    suite_add_tcase(suite, cases);
    return run_suites("tests/physmem/test-large", &suite, 1);
}
