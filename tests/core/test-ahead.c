/* SPDX-License-Identifier: MIT */
/* What nobody waits for yet: stores that begin many fills at once. */
#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;
static struct disk *disk;
static uintptr_t at;

#define PAGES 64u

static void begin_as(const struct world_options *options)
{
    world_begin(&world, options);
    disk = world_disk_of(&world, PAGES * world.page, 0, 0, DISK_AHEAD);
    at = world_bind(&world, disk, 0, PAGES * world.page);
}

static void begin_with(unsigned readahead_pages, unsigned frames)
{
    begin_as(&(struct world_options){.readahead_pages = readahead_pages,
                                     .frames = frames});
}

static void begin(void)
{
    begin_with(1, 0);
}

static void end(void)
{
    world_end(&world);
}

static uintptr_t address(unsigned page)
{
    return at + page * world.page;
}

/* Begins to fill every third page of so many. */
static void prefetch(unsigned count)
{
    uintptr_t list[PAGES];
    for (unsigned i = 0; i < count; i++)
        list[i] = address(i * 3);
    ck_assert_int_eq(hurdmm_prefetch(world.space, list, count), 0);
}

static void expect_page(unsigned page)
{
    world_expect(&world, address(page), world_byte(page * world.page));
}

static void settle(void)
{
    disk->hold_in = false;
    hurdmm_sim_sleep(world.port, 10000000);
    ck_assert_uint_eq(disk->in_flight, 0);
}

START_TEST(a_list_of_pages_is_under_way_at_once)
{
    disk->hold_in = true;
    prefetch(4);
    ck_assert_uint_eq(disk->in_flight, 4);
    ck_assert_uint_eq(disk->starts, 4);
    ck_assert_uint_eq(disk->submits, 1);
    settle();
    for (unsigned i = 0; i < 4; i++)
        expect_page(i * 3);
    ck_assert_uint_eq(disk->ins, 4);
}
END_TEST

START_TEST(willneed_begins_a_range_by_clusters)
{
    end();
    begin_with(2, 0);
    disk->hold_in = true;
    ck_assert_int_eq(
        hurdmm_advise(world.space, at, 4 * world.page, HURDMM_ADVICE_WILLNEED),
        0);
    ck_assert_uint_eq(disk->in_flight, 2);
    ck_assert_uint_eq(disk->submits, 1);
    settle();
    for (unsigned i = 0; i < 4; i++)
        expect_page(i);
    ck_assert_uint_eq(disk->ins, 2);
}
END_TEST

START_TEST(who_comes_meanwhile_waits_for_what_was_begun)
{
    struct world_access access = {.world = &world, .address = address(3)};
    disk->hold_in = true;
    prefetch(2);
    world_access(&access);
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert(!access.done);
    disk->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(access.error, 0);
    ck_assert_uint_eq(access.value, world_byte(3 * world.page));
    ck_assert_uint_eq(disk->ins, 2);
    settle();
}
END_TEST

/* The error is nobody's: who met it asks once more. */
START_TEST(a_prefetch_that_fails_harms_nobody)
{
    struct world_access access = {.world = &world, .address = address(0)};
    disk_fail(disk, DISK_IN, 1, EIO, false);
    disk->hold_in = true;
    prefetch(1);
    world_access(&access);
    hurdmm_sim_sleep(world.port, 1000000);
    disk->hold_in = false;
    world_run(&world);
    ck_assert_uint_eq(disk->failures, 1);
    ck_assert_int_eq(access.error, 0);
    ck_assert_uint_eq(access.value, world_byte(0));
}
END_TEST

START_TEST(an_error_is_said_to_who_reads_the_page)
{
    disk_fail(disk, DISK_IN, 1, EIO, true);
    prefetch(1);
    settle();
    ck_assert_uint_eq(world_state(disk, 0) & HURDMM_STATE_FAILED, 0);
    uint8_t value;
    ck_assert_int_eq(world_load(&world, at, &value), EIO);
    disk_fail(disk, DISK_IN, 0, 0, false);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, world.page), 0);
    expect_page(0);
}
END_TEST

START_TEST(a_store_that_has_enough_to_do_is_left_alone)
{
    disk->starts_max = 2;
    disk->hold_in = true;
    prefetch(4);
    ck_assert_uint_eq(disk->in_flight, 2);
    settle();
    for (unsigned i = 0; i < 4; i++)
        expect_page(i * 3);
}
END_TEST

START_TEST(an_eighth_of_full_memory_is_made_free)
{
    for (unsigned i = 0; i < 40; i++)
        expect_page(PAGES - 1 - i);
    disk->hold_in = true;
    prefetch(8);
    ck_assert_uint_ge(disk->in_flight, 2);
    ck_assert_uint_le(disk->in_flight, 32 / 8);
    settle();
    for (unsigned i = 0; i < 8; i++)
        expect_page(i * 3);
}
END_TEST

START_TEST(what_is_there_is_not_begun)
{
    expect_page(0);
    world_put(&world, address(3), 9);
    prefetch(3);
    ck_assert_uint_eq(disk->starts, 1);
    settle();
    world_expect(&world, address(3), 9);
}
END_TEST

static void advise_sequential(void)
{
    ck_assert_int_eq(hurdmm_advise(world.space, at, PAGES * world.page,
                                   HURDMM_ADVICE_SEQUENTIAL),
                     0);
}

START_TEST(straight_reading_keeps_windows_under_way)
{
    end();
    begin_with(2, 2 * PAGES);
    advise_sequential();
    disk->delay = 1;
    expect_page(0);
    ck_assert_uint_ge(disk->starts, 1);
    for (unsigned i = 1; i < PAGES; i++)
        expect_page(i);
    /* Only the first window was waited for from its beginning. */
    ck_assert_uint_ge(disk->starts, PAGES / 2 - 1 - 2);
    ck_assert_uint_le(disk->ins, PAGES / 2 + 2);
    settle();
}
END_TEST

/* Windows of two pages; faults that need a mapping only are soft. */
static void begin_straight(void)
{
    end();
    begin_as(&(struct world_options){.readahead_pages = 2,
                                     .frames = 2 * PAGES,
                                     .machine_flags = HURDMM_SIM_SOFT});
    advise_sequential();
}

START_TEST(what_lies_beyond_is_begun_before_the_first_page_is_there)
{
    struct world_access access = {.world = &world, .address = address(0)};
    begin_straight();
    disk->hold_in = true;
    world_access(&access);
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert(!access.done);
    ck_assert_uint_eq(disk->in_flight, 8);
    disk->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(access.error, 0);
    ck_assert_uint_eq(access.value, world_byte(0));
    ck_assert_uint_eq(disk->starts, disk->ins);
}
END_TEST

START_TEST(who_waits_for_what_was_begun_has_more_begun)
{
    struct world_access access = {.world = &world, .address = address(10)};
    begin_straight();
    expect_page(0);
    settle();
    ck_assert_uint_eq(disk->starts, 8);
    ck_assert_int_eq(
        hurdmm_store_discard(disk->store, 10 * world.page, 2 * world.page), 0);
    disk->hold_in = true;
    ck_assert_int_eq(hurdmm_prefetch(world.space, &(uintptr_t){address(10)}, 1),
                     0);
    world_access(&access);
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert(!access.done);
    ck_assert_uint_eq(disk->starts, 8 + 1 + 5);
    settle();
    world_run(&world);
    ck_assert_int_eq(access.error, 0);
}
END_TEST

START_TEST(who_reads_what_was_begun_has_more_begun)
{
    begin_straight();
    expect_page(0);
    settle();
    ck_assert_uint_eq(disk->starts, 8);
    ck_assert_uint_eq(disk->submits, 2);
    for (unsigned i = 2; i < 10; i += 2)
        expect_page(i);
    ck_assert_uint_eq(disk->starts, 8);
    expect_page(10); /* half of what was begun is left */
    ck_assert_uint_eq(disk->starts, 13);
    ck_assert_uint_eq(disk->submits, 3);
    ck_assert_uint_eq(disk->ins, 13);
    settle();
    /* Nobody had asked for any of these but the first. */
    ck_assert_uint_eq(world_stats(&world).pages_ahead, 13 * 2 - 1);
}
END_TEST

/* All windows together are at most half of memory: fewer, and then shorter ones. */
START_TEST(small_memory_has_less_under_way)
{
    static const struct {
        unsigned frames, windows, pages;
    } cases[] = {{32, 8, 16}, {28, 7, 14}, {20, 5, 10}, {16, 4, 5}};
    end();
    begin_with(2, cases[_i].frames);
    advise_sequential();
    struct world_access access = {.world = &world, .address = address(0)};
    disk->hold_in = true;
    world_access(&access);
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert_uint_eq(disk->in_flight, cases[_i].windows);
    disk->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(access.error, 0);
    settle();
    ck_assert_uint_eq(world_stats(&world).pages_ahead, cases[_i].pages - 1);
}
END_TEST

START_TEST(what_cannot_be_begun_is_read_at_once)
{
    begin_straight();
    disk->starts_max = 1;
    disk->hold_in = true;
    ck_assert_int_eq(hurdmm_prefetch(world.space, &(uintptr_t){address(40)}, 1),
                     0);
    ck_assert_uint_eq(disk->starts, 1);
    struct world_access access = {.world = &world, .address = address(0)};
    world_access(&access);
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert(!access.done);
    ck_assert_uint_eq(disk->in_flight, 2);
    ck_assert_uint_eq(disk->starts, 1);
    disk->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(access.error, 0);
    ck_assert_uint_eq(access.value, world_byte(0));
    settle();
}
END_TEST

START_TEST(what_is_waited_for_fails_with_its_error)
{
    struct world_access access = {.world = &world, .address = address(0)};
    begin_straight();
    disk_fail(disk, DISK_IN, 1, EIO, false);
    world_access(&access);
    world_run(&world);
    ck_assert_int_eq(access.error, EIO);
    ck_assert_uint_eq(disk->starts, disk->ins);
    settle();
    for (unsigned i = 2; i < PAGES; i++)
        expect_page(i);
}
END_TEST

static bool inside, gone;
static uint64_t awaited; /* the call for this offset waits */

static void wait_until_gone(struct disk *of, unsigned kind, uint64_t offset,
                            size_t length)
{
    (void)kind;
    (void)length;
    if (offset != awaited)
        return;
    inside = true;
    while (!gone)
        hurdmm_sim_yield(of->port);
}

/* The store is called without the lock: of what is wanted, or of what lies beyond.
 * Where the region was in the library's memory is another one then. */
START_TEST(a_region_may_go_while_what_it_reads_is_begun)
{
    struct world_access access = {.world = &world, .address = address(0)};
    struct hurdmm_bind_options other = {.struct_size = sizeof other,
                                        .space = world.space,
                                        .length = PAGES * world.page,
                                        .rights = HURDMM_READ,
                                        .advice = HURDMM_ADVICE_SEQUENTIAL,
                                        .flags = HURDMM_BIND_EXACT};
    uintptr_t there;
    begin_straight();
    inside = gone = false;
    awaited = (unsigned)_i * 2 * world.page;
    disk->before = wait_until_gone;
    world_access(&access);
    while (!inside)
        hurdmm_sim_yield(world.port);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, PAGES * world.page), 0);
    other.space = world.space;
    other.store = disk->store;
    other.address = at + 2 * PAGES * world.page;
    ck_assert_int_eq(hurdmm_bind(&other, &there), 0);
    gone = true;
    world_run(&world);
    ck_assert_int_eq(access.error, EFAULT);
    ck_assert_uint_eq(disk->starts, 1 + (unsigned)_i);
    settle();
    at = there;
    for (unsigned i = 0; i < PAGES; i++)
        expect_page(i);
}
END_TEST

START_TEST(scattered_reading_begins_nothing)
{
    end();
    begin_with(4, 2 * PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        expect_page(i * 29 % PAGES);
    ck_assert_uint_eq(disk->starts, 0);
}
END_TEST

START_TEST(a_region_may_go_while_its_pages_come)
{
    disk->hold_in = true;
    prefetch(4);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, PAGES * world.page), 0);
    settle();
    at = world_bind(&world, disk, 0, PAGES * world.page);
    for (unsigned i = 0; i < 4; i++)
        expect_page(i * 3);
    ck_assert_uint_eq(disk->ins, 4);
}
END_TEST

START_TEST(a_store_that_ends_waits_for_what_it_began)
{
    disk->delay = 5;
    prefetch(4);
    ck_assert_uint_eq(disk->in_flight, 4);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, HURDMM_DETACH), 0);
    ck_assert_uint_eq(disk->in_flight, 0);
    ck_assert_uint_eq(disk->destroys, 1);
}
END_TEST

static void dirty_pages(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        world_put(&world, address(i * 3), (uint8_t)(i + 1));
}

static int flush(void)
{
    return hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT);
}

static void run_flush(void *result)
{
    *(int *)result = flush();
}

static void expect_written(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        ck_assert_uint_eq(disk->bytes[i * 3 * world.page], i + 1);
}

START_TEST(a_flush_has_many_writes_under_way)
{
    int result = -1;
    dirty_pages(6);
    disk->hold_out = true;
    world_spawn(&world, run_flush, &result);
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert_uint_eq(disk->in_flight, 6);
    ck_assert_int_eq(result, -1);
    disk->hold_out = false;
    world_run(&world);
    ck_assert_int_eq(result, 0);
    expect_written(6);
    ck_assert_uint_eq(disk->outs, 6);
}
END_TEST

START_TEST(writes_under_way_are_few)
{
    int result = -1;
    dirty_pages(15);
    disk->hold_out = true;
    world_spawn(&world, run_flush, &result);
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert_uint_eq(disk->in_flight, 8);
    disk->hold_out = false;
    world_run(&world);
    ck_assert_int_eq(result, 0);
    expect_written(15);
}
END_TEST

START_TEST(a_write_under_way_that_fails_is_reported)
{
    dirty_pages(6);
    disk_fail(disk, DISK_OUT, 3, ENOSPC, false);
    ck_assert_int_eq(flush(), ENOSPC);
    ck_assert_uint_eq(disk->failures, 1);
    unsigned dirty = 0;
    for (unsigned i = 0; i < 6; i++)
        dirty +=
            (world_state(disk, i * 3 * world.page) & HURDMM_STATE_DIRTY) != 0;
    ck_assert_uint_eq(dirty, 1);
    ck_assert_int_eq(flush(), 0);
    expect_written(6);
}
END_TEST

START_TEST(a_page_written_to_meanwhile_stays_dirty)
{
    int result = -1;
    dirty_pages(2);
    disk->hold_out = true;
    world_spawn(&world, run_flush, &result);
    hurdmm_sim_sleep(world.port, 1000000);
    world_put(&world, address(0), 99);
    disk->hold_out = false;
    world_run(&world);
    ck_assert_int_eq(result, 0);
    expect_written(2);
    ck_assert_int_eq(flush(), 0);
    ck_assert_uint_eq(disk->bytes[0], 99);
}
END_TEST

START_TEST(a_write_that_cannot_begin_is_done_at_once)
{
    dirty_pages(4);
    disk->starts_max = 1;
    disk->delay = 3;
    ck_assert_int_eq(flush(), 0);
    expect_written(4);
    ck_assert_uint_lt(disk->starts, 4);
}
END_TEST

START_TEST(victims_are_written_together)
{
    for (unsigned i = 0; i < 3 * PAGES; i++)
        world_put(&world, address(i * 5 % PAGES), (uint8_t)(i % PAGES));
    ck_assert_int_eq(flush(), 0);
    for (unsigned i = 2 * PAGES; i < 3 * PAGES; i++)
        ck_assert_uint_eq(disk->bytes[i * 5 % PAGES * world.page], i % PAGES);
    ck_assert_uint_gt(disk->starts, 0);
}
END_TEST

START_TEST(lists_that_mean_nothing_begin_nothing)
{
    uintptr_t list[2] = {1, at + PAGES * world.page};
    ck_assert_int_eq(hurdmm_prefetch(world.space, NULL, 1), EINVAL);
    ck_assert_int_eq(hurdmm_prefetch(world.space, NULL, 0), 0);
    ck_assert_int_eq(hurdmm_prefetch(NULL, list, 1), EINVAL);
    ck_assert_int_eq(hurdmm_prefetch(world.space, list, 2), 0);
    ck_assert_uint_eq(disk->starts, 0);
    ck_assert_uint_eq(disk->submits, 0);
}
END_TEST

START_TEST(what_a_store_does_not_have_is_passed_over)
{
    uintptr_t list[2] = {address(40), address(3)};
    ck_assert_int_eq(hurdmm_store_resize(disk->store, 40 * world.page), 0);
    ck_assert_int_eq(hurdmm_prefetch(world.space, list, 2), 0);
    ck_assert_uint_eq(disk->starts, 1);
    settle();
    expect_page(3);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("ahead");
    TCase *t = tcase_create("ahead");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, a_list_of_pages_is_under_way_at_once);
    tcase_add_test(t, willneed_begins_a_range_by_clusters);
    tcase_add_test(t, who_comes_meanwhile_waits_for_what_was_begun);
    tcase_add_test(t, a_prefetch_that_fails_harms_nobody);
    tcase_add_test(t, an_error_is_said_to_who_reads_the_page);
    tcase_add_test(t, a_store_that_has_enough_to_do_is_left_alone);
    tcase_add_test(t, an_eighth_of_full_memory_is_made_free);
    tcase_add_test(t, what_is_there_is_not_begun);
    tcase_add_test(t, straight_reading_keeps_windows_under_way);
    tcase_add_test(t, what_lies_beyond_is_begun_before_the_first_page_is_there);
    tcase_add_test(t, who_waits_for_what_was_begun_has_more_begun);
    tcase_add_test(t, who_reads_what_was_begun_has_more_begun);
    tcase_add_loop_test(t, small_memory_has_less_under_way, 0, 4);
    tcase_add_test(t, what_cannot_be_begun_is_read_at_once);
    tcase_add_test(t, what_is_waited_for_fails_with_its_error);
    tcase_add_loop_test(t, a_region_may_go_while_what_it_reads_is_begun, 0, 3);
    tcase_add_test(t, scattered_reading_begins_nothing);
    tcase_add_test(t, a_region_may_go_while_its_pages_come);
    tcase_add_test(t, a_store_that_ends_waits_for_what_it_began);
    tcase_add_test(t, a_flush_has_many_writes_under_way);
    tcase_add_test(t, writes_under_way_are_few);
    tcase_add_test(t, a_write_under_way_that_fails_is_reported);
    tcase_add_test(t, a_page_written_to_meanwhile_stays_dirty);
    tcase_add_test(t, a_write_that_cannot_begin_is_done_at_once);
    tcase_add_test(t, victims_are_written_together);
    tcase_add_test(t, lists_that_mean_nothing_begin_nothing);
    tcase_add_test(t, what_a_store_does_not_have_is_passed_over);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-ahead", suites, 1);
}
