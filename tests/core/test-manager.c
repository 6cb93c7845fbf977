/* SPDX-License-Identifier: MIT */
/* Managers: several at once, driven by the host, their ends and their words. */
#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;

START_TEST(two_managers_know_nothing_of_each_other)
{
    static struct world other;
    struct world_options options = {.page = 512, .frames = 20};
    world_begin(&world, NULL);
    world_begin(&other, &options);
    struct disk *here = world_disk(&world, 64 * world.page, 0);
    struct disk *there = world_disk(&other, 64 * other.page, 0);
    uintptr_t at = world_bind(&world, here, 0, 64 * world.page);
    uintptr_t at_other = world_bind(&other, there, 0, 64 * other.page);
    for (unsigned i = 0; i < 64; i++) {
        world_put(&world, at + i * world.page, (uint8_t)i);
        world_put(&other, at_other + i * other.page, (uint8_t)(i + 1));
    }
    for (unsigned i = 0; i < 64; i++) {
        world_expect(&world, at + i * world.page, i);
        world_expect(&other, at_other + i * other.page, i + 1);
    }
    ck_assert_uint_eq(world_stats(&other).frames_budget, 20);
    ck_assert_uint_eq(world_stats(&world).frames_budget, 32);
    world_end(&world);
    world_expect(&other, at_other, 1);
    world_end(&other);
}
END_TEST

START_TEST(a_space_of_another_manager_is_einval)
{
    static struct world other;
    world_begin(&world, NULL);
    world_begin(&other, NULL);
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = other.space,
        .store = disk->store,
        .length = world.page,
        .rights = HURDMM_READ,
    };
    uintptr_t at = 1;
    int error = hurdmm_bind(&bind, &at);
    ck_assert(error == EINVAL || error == ESTALE);
    ck_assert_uint_eq(at, 1);
    world_end(&world);
    world_end(&other);
}
END_TEST

static bool stop;

static void host(void *argument)
{
    size_t *served = argument;
    while (!stop) {
        size_t faults = 0;
        int error = hurdmm_process(world.manager, 1000000, &faults);
        ck_assert(error == 0 || error == ETIMEDOUT);
        *served += faults;
    }
}

START_TEST(a_host_can_do_the_work_of_the_pagers)
{
    struct world_options options = {.manager_flags = HURDMM_NO_THREADS};
    size_t served = 0;
    stop = false;
    world_begin(&world, &options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    world_spawn(&world, host, &served);
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, at + i * world.page, (uint8_t)i);
    for (unsigned i = 0; i < 64; i++)
        world_expect(&world, at + i * world.page, i);
    stop = true;
    world_run(&world);
    ck_assert_uint_ge(served, 64);
    world_end(&world);
}
END_TEST

START_TEST(process_with_nothing_to_do_times_out)
{
    struct world_options options = {.manager_flags = HURDMM_NO_THREADS};
    size_t faults = 9;
    world_begin(&world, &options);
    ck_assert_int_eq(hurdmm_process(world.manager, 0, &faults), ETIMEDOUT);
    ck_assert_int_eq(hurdmm_process(world.manager, 1000, NULL), ETIMEDOUT);
    world_end(&world);
}
END_TEST

START_TEST(a_host_driven_manager_needs_no_threads)
{
    struct world_options options = {.manager_flags = HURDMM_NO_THREADS,
                                    .hide = HURDMM_PORT_THREADS};
    world_begin(&world, &options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uint8_t byte;
    size_t done;
    for (unsigned i = 0; i < 64; i++)
        ck_assert_int_eq(
            hurdmm_store_write(disk->store, i * world.page, &byte, 1, &done),
            0);
    world_end(&world);
}
END_TEST

START_TEST(destroy_without_detach_is_busy)
{
    world_begin(&world, NULL);
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    world_put(&world, at, 1);
    ck_assert_int_eq(hurdmm_destroy(world.manager, 0), EBUSY);
    world_expect(&world, at, 1);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 4 * world.page), 0);
    ck_assert_int_eq(hurdmm_destroy(world.manager, 0), EBUSY);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, 0), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert_int_eq(hurdmm_destroy(world.manager, 0), 0);
    ck_assert_uint_eq(disk->destroys, 1);
    hurdmm_sim_destroy(world.port);
    free(world.bytes[0]);
}
END_TEST

START_TEST(detach_keeps_what_was_written)
{
    world_begin(&world, NULL);
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    world_put(&world, at, 1);
    world_put(&world, at + 3 * world.page, 2);
    ck_assert_int_eq(hurdmm_destroy(world.manager, HURDMM_DETACH), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert_uint_eq(disk->bytes[3 * world.page], 2);
    ck_assert_uint_eq(disk->destroys, 1);
    ck_assert_uint_eq(hurdmm_sim_violations(world.port, NULL), 0);
    hurdmm_sim_destroy(world.port);
    free(world.bytes[0]);
}
END_TEST

START_TEST(a_detach_that_cannot_write_loses_nothing)
{
    world_begin(&world, NULL);
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    world_put(&world, at, 1);
    disk_fail(disk, DISK_OUT, 1, ENOSPC, true);
    ck_assert_int_eq(hurdmm_destroy(world.manager, HURDMM_DETACH), ENOSPC);
    uint8_t value = 0;
    size_t done;
    ck_assert_int_eq(hurdmm_store_read(disk->store, 0, &value, 1, &done), 0);
    ck_assert_uint_eq(value, 1);
    disk->script.nth = 0;
    world_end(&world);
}
END_TEST

/* Where the memory is in use by a device, and cannot be taken away, all stays as
 * it is, so that it can be unpinned. */
START_TEST(a_detach_leaves_what_is_pinned)
{
    struct hurdmm_container *container = NULL;
    struct hurdmm_physical_run run[4];
    uint64_t got;
    size_t count;
    world_begin(&world, NULL);
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    ck_assert_int_eq(hurdmm_pin(world.space, at, world.page, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_destroy(world.manager, HURDMM_DETACH), EBUSY);
    ck_assert_int_eq(hurdmm_unpin(world.space, at, world.page, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &container), 0);
    ck_assert_int_eq(
        hurdmm_container_allocate(container, 0, 4 * world.page, 0, &got), 0);
    ck_assert_int_eq(hurdmm_container_pin(container, 0, 4 * world.page,
                                          HURDMM_READ, run, 4, &count),
                     0);
    ck_assert_int_eq(hurdmm_destroy(world.manager, HURDMM_DETACH), EBUSY);
    world_expect(&world, at, world_byte(0));
    ck_assert_int_eq(
        hurdmm_container_unpin(container, 0, 4 * world.page, HURDMM_READ), 0);
    world_end(&world);
}
END_TEST

/* ---- Budgets -------------------------------------------------------------- */

static struct hurdmm_account *split_off;
static int split_error;

static void split_account(struct disk *disk, unsigned kind, uint64_t offset,
                          size_t length)
{
    (void)disk;
    (void)offset;
    (void)length;
    if (kind == DISK_OUT && !split_off)
        split_error = hurdmm_account_split(hurdmm_account_own(world.manager),
                                           8 * world.page, &split_off);
}

/* Shrinking writes pages back, and meanwhile others may ask for guarantees. */
START_TEST(what_is_guaranteed_while_the_budget_shrinks_stays_guaranteed)
{
    struct world_options options = {.frames = 64, .dirty_pages = 64};
    world_begin(&world, &options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    split_off = NULL;
    for (unsigned i = 0; i < 48; i++)
        world_put(&world, at + i * world.page, 1);
    split_error = -1;
    disk->before = split_account;
    ck_assert_int_eq(hurdmm_set_budget(world.manager, 32 * world.page), 0);
    disk->before = NULL;
    ck_assert_int_eq(split_error, 0);
    world_check(&world);
    ck_assert_int_eq(hurdmm_account_destroy(split_off), 0);
    world_check(&world);
    world_end(&world);
}
END_TEST

/* There is nothing for the background to take, and a fill that does not end: what
 * it is asked to do is done all the same. */
START_TEST(a_fill_that_hangs_does_not_stop_the_background)
{
    world_begin(&world, NULL);
    struct disk *kept =
        world_disk(&world, 64 * world.page, HURDMM_STORE_NO_STEAL);
    struct disk *slow = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, kept, 0, 64 * world.page);
    struct world_access access = {
        .world = &world, .address = world_bind(&world, slow, 0, world.page)};
    for (unsigned i = 0; i < 29; i++)
        world_put(&world, at + i * world.page, 1);
    slow->hold_in = true;
    world_access(&access);
    hurdmm_sim_settle(world.port);
    ck_assert(!access.done);
    ck_assert_int_eq(hurdmm_store_flush(kept->store, 0, HURDMM_WHOLE, 0), 0);
    hurdmm_sim_settle(world.port);
    ck_assert_uint_gt(kept->outs, 0);
    slow->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(access.error, 0);
    world_end(&world);
}
END_TEST

START_TEST(nothing_of_no_size_is_given_back)
{
    void *piece = NULL;
    world_begin(&world, NULL);
    ck_assert_int_eq(hurdmm_allocate(world.manager, 10, &piece), 0);
    hurdmm_deallocate(world.manager, piece, 0);
    hurdmm_deallocate(world.manager, NULL, 10);
    hurdmm_deallocate(world.manager, piece, 10);
    world_end(&world);
}
END_TEST

START_TEST(a_port_serves_one_manager_at_a_time)
{
    struct hurdmm *second = (struct hurdmm *)1;
    world_begin(&world, NULL);
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .port = world.port,
                                     .budget = 16 * world.page};
    ck_assert_int_eq(hurdmm_create(&options, &second), EBUSY);
    ck_assert_ptr_eq(second, (struct hurdmm *)1);
    struct hurdmm_port *port = world.port;
    ck_assert_int_eq(hurdmm_destroy(world.manager, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_create(&options, &second), 0);
    ck_assert_int_eq(hurdmm_destroy(second, 0), 0);
    hurdmm_sim_destroy(port);
}
END_TEST

START_TEST(managers_that_come_and_go_leave_nothing)
{
    for (unsigned i = 0; i < 50; i++) {
        struct world_options options = {.seed = i};
        world_begin(&world, &options);
        struct disk *disk = world_disk(&world, 8 * world.page, 0);
        uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
        world_put(&world, at, (uint8_t)i);
        world_end(&world);
    }
}
END_TEST

START_TEST(stats_fill_only_what_is_asked_for)
{
    struct hurdmm_stats stats;
    world_begin(&world, NULL);
    memset(&stats, 0xee, sizeof stats);
    stats.struct_size = offsetof(struct hurdmm_stats, frames_used);
    ck_assert_int_eq(hurdmm_get_stats(world.manager, &stats), 0);
    ck_assert_uint_eq(stats.frames_budget, 32);
    ck_assert_uint_eq(stats.frames_used, UINT64_C(0xeeeeeeeeeeeeeeee));
    world_end(&world);
}
END_TEST

START_TEST(stats_count)
{
    world_begin(&world, NULL);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 8; i++)
        world_put(&world, at + i * world.page, 1);
    struct hurdmm_stats stats = world_stats(&world);
    ck_assert_uint_eq(stats.frames_used, 8);
    ck_assert_uint_eq(stats.frames_free, 24);
    ck_assert_uint_eq(stats.frames_dirty, 8);
    ck_assert_uint_eq(stats.stores, 1);
    ck_assert_uint_eq(stats.regions, 1);
    ck_assert_uint_eq(stats.spaces, 1);
    ck_assert_uint_eq(stats.containers, 0);
    ck_assert_uint_eq(stats.pages_in, 8);
    ck_assert_uint_eq(stats.bytes_in, 8 * world.page);
    ck_assert_uint_eq(stats.faults_fill, 8);
    ck_assert_uint_eq(stats.pages_out, 0);
    ck_assert_int_eq(hurdmm_sync_all(world.manager), 0);
    stats = world_stats(&world);
    ck_assert_uint_eq(stats.frames_dirty, 0);
    ck_assert_uint_eq(stats.pages_out, 8);
    ck_assert_uint_eq(stats.bytes_out, 8 * world.page);
    world_end(&world);
}
END_TEST

static char text[20000];
static size_t text_length;

static void keep_text(void *hook, const char *piece, size_t length)
{
    (void)hook;
    ck_assert_uint_lt(text_length + length, sizeof text);
    memcpy(text + text_length, piece, length);
    text_length += length;
}

START_TEST(dump_names_stores_and_regions)
{
    world_begin(&world, NULL);
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    world_put(&world, at, 1);
    text_length = 0;
    ck_assert_int_eq(hurdmm_dump(world.manager, keep_text, NULL), 0);
    text[text_length] = '\0';
    ck_assert_ptr_nonnull(strstr(text, "disk"));
    ck_assert_uint_eq((uint8_t)text[text_length - 1], '\n');
    world_end(&world);
}
END_TEST

static unsigned lines_of_spaces;

/* Ends the second space as soon as it is named. */
static void end_space(void *hook, const char *piece, size_t length)
{
    if (length < 5 || memcmp(piece, "space", 5) != 0 || ++lines_of_spaces != 2)
        return;
    ck_assert_int_eq(hurdmm_space_destroy(hook, HURDMM_DETACH), 0);
}

START_TEST(a_space_may_end_while_it_is_dumped)
{
    struct world_options options = {.spaces = 3};
    struct hurdmm_space *spaces[2];
    world_begin(&world, &options);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(
            hurdmm_space_create(
                world.manager, hurdmm_sim_space(world.port, i + 1), &spaces[i]),
            0);
    lines_of_spaces = 0;
    ck_assert_int_eq(hurdmm_dump(world.manager, end_space, spaces[0]), 0);
    ck_assert_uint_ge(lines_of_spaces, 2);
    world_end(&world);
}
END_TEST

START_TEST(a_write_that_fails_behind_our_backs_is_logged)
{
    world_begin(&world, NULL);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    disk_fail(disk, DISK_OUT, 1, EIO, false);
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, at + i * world.page, 1);
    ck_assert_uint_ge(world.logged, 1);
    ck_assert_ptr_null(strchr(world.log[0], '\n'));
    world_end(&world);
}
END_TEST

START_TEST(an_equal_run_has_an_equal_trace)
{
    uint64_t hashes[2];
    for (unsigned round = 0; round < 2; round++) {
        struct world_options options = {.seed = 77, .readahead_pages = 4};
        world_begin(&world, &options);
        struct disk *disk = world_disk(&world, 64 * world.page, 0);
        uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
        struct world_access access[16];
        for (unsigned i = 0; i < 16; i++) {
            access[i] = (struct world_access){
                .world = &world,
                .address = at + i * 4 * world.page,
                .write = i % 2,
            };
            world_access(&access[i]);
        }
        world_run(&world);
        hashes[round] = hurdmm_sim_trace_hash(world.port);
        world_end(&world);
    }
    ck_assert_uint_eq(hashes[0], hashes[1]);
}
END_TEST

START_TEST(the_version_is_the_headers)
{
    ck_assert_uint_eq(hurdmm_version(), HURDMM_VERSION_MAJOR << 16 |
                                            HURDMM_VERSION_MINOR << 8 |
                                            HURDMM_VERSION_PATCH);
}
END_TEST

START_TEST(handles_know_their_manager)
{
    world_begin(&world, NULL);
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    ck_assert_ptr_eq(hurdmm_store_manager(disk->store), world.manager);
    ck_assert_ptr_eq(hurdmm_store_hook(disk->store), disk);
    ck_assert_uint_eq(hurdmm_store_size(disk->store), 4 * world.page);
    ck_assert_ptr_eq(hurdmm_space_manager(world.space), world.manager);
    world_end(&world);
}
END_TEST

/* Most of it are slab pages of 4 or 8 KiB: one of 32 KiB for the index would be a
 * half as much again. */
START_TEST(a_small_manager_takes_little)
{
    struct world_options options = {.page = 4096, .frames = 256};
    struct hurdmm_store *store;
    size_t done;
    world_begin(&world, &options);
    ck_assert_int_eq(
        hurdmm_anonymous_create(world.manager, NULL, 1 << 20, 0, &store), 0);
    ck_assert_int_eq(hurdmm_store_populate(store, 0, 220 * world.page, &done),
                     0);
    struct hurdmm_stats stats = world_stats(&world);
    ck_assert_uint_ge(stats.frames_used, 220);
    ck_assert_uint_le(stats.core_bytes, 64 << 10);
    world_end(&world);
}
END_TEST

START_TEST(a_terabyte_costs_nothing_until_it_is_touched)
{
    world_begin(&world, NULL);
    uint64_t before = world_stats(&world).core_bytes;
    struct hurdmm_store *store;
    uintptr_t at;
    ck_assert_int_eq(hurdmm_anonymous_create(world.manager, NULL,
                                             UINT64_C(1) << 40, 0, &store),
                     0);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .store = store,
        .length = (size_t)1 << 40,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };
    ck_assert_int_eq(hurdmm_bind(&bind, &at), 0);
    world_put(&world, at, 1);
    world_put(&world, at + ((size_t)1 << 39), 2);
    world_put(&world, at + ((size_t)1 << 40) - 1, 3);
    world_expect(&world, at + ((size_t)1 << 39), 2);
    ck_assert_uint_le(world_stats(&world).core_bytes - before, 1 << 20);
    world_end(&world);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("managers");
    TCase *c = tcase_create("managers");
    tcase_add_test(c, two_managers_know_nothing_of_each_other);
    tcase_add_test(c, a_space_of_another_manager_is_einval);
    tcase_add_test(c, a_host_can_do_the_work_of_the_pagers);
    tcase_add_test(c, process_with_nothing_to_do_times_out);
    tcase_add_test(c, a_host_driven_manager_needs_no_threads);
    tcase_add_test(c, destroy_without_detach_is_busy);
    tcase_add_test(c, detach_keeps_what_was_written);
    tcase_add_test(c, a_detach_that_cannot_write_loses_nothing);
    tcase_add_test(c, a_detach_leaves_what_is_pinned);
    tcase_add_test(
        c, what_is_guaranteed_while_the_budget_shrinks_stays_guaranteed);
    tcase_add_test(c, a_fill_that_hangs_does_not_stop_the_background);
    tcase_add_test(c, nothing_of_no_size_is_given_back);
    tcase_add_test(c, a_port_serves_one_manager_at_a_time);
    tcase_add_test(c, managers_that_come_and_go_leave_nothing);
    tcase_add_test(c, stats_fill_only_what_is_asked_for);
    tcase_add_test(c, stats_count);
    tcase_add_test(c, dump_names_stores_and_regions);
    tcase_add_test(c, a_space_may_end_while_it_is_dumped);
    tcase_add_test(c, a_write_that_fails_behind_our_backs_is_logged);
    tcase_add_test(c, an_equal_run_has_an_equal_trace);
    tcase_add_test(c, the_version_is_the_headers);
    tcase_add_test(c, handles_know_their_manager);
    tcase_add_test(c, a_terabyte_costs_nothing_until_it_is_touched);
    tcase_add_test(c, a_small_manager_takes_little);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-manager", suites, 1);
}
