/* SPDX-License-Identifier: MIT */
/* Flush, return, discard and sync: what is written, what stays, who is told. */
#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;
static struct disk *disk;
static uintptr_t at;

/* Eight pages bound to read and write. */
static void begin(void)
{
    world_begin(&world, NULL);
    disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    at = world_bind(&world, disk, 0, 8 * world.page);
}

static void end(void)
{
    world_end(&world);
}

static bool has(unsigned page, unsigned state)
{
    return (world_state(disk, page * world.page) & state) == state;
}

START_TEST(flush_writes_and_keeps)
{
    world_put(&world, at, 1);
    ck_assert(has(0, HURDMM_STATE_DIRTY));
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert(has(0, HURDMM_STATE_RESIDENT));
    ck_assert(!has(0, HURDMM_STATE_DIRTY));
    ck_assert_uint_eq(disk->outs, 1);
    ck_assert_uint_eq(disk->syncs, 0);
    world_expect(&world, at, 1);
    ck_assert_uint_eq(disk->ins, 1);
}
END_TEST

START_TEST(return_writes_and_drops)
{
    world_put(&world, at, 1);
    world_expect(&world, at + world.page, world_byte(world.page));
    ck_assert_int_eq(
        hurdmm_store_return(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert(!has(0, HURDMM_STATE_RESIDENT));
    ck_assert(!has(1, HURDMM_STATE_RESIDENT));
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
    world_expect(&world, at, 1);
    ck_assert_uint_eq(disk->ins, 3);
}
END_TEST

START_TEST(discard_drops_without_writing)
{
    world_put(&world, at, 1);
    world_put(&world, at + world.page, 2);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, world.page), 0);
    ck_assert_uint_eq(disk->outs, 0);
    world_expect(&world, at, world_byte(0));
    world_expect(&world, at + world.page, 2);
    ck_assert_uint_ge(world_stats(&world).discards, 1);
    ck_assert_uint_eq(disk->discarded, 1);
}
END_TEST

START_TEST(sync_writes_and_makes_durable)
{
    world_put(&world, at, 1);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert_uint_eq(disk->outs, 1);
    ck_assert_uint_eq(disk->syncs, 1);
    ck_assert(has(0, HURDMM_STATE_RESIDENT));
}
END_TEST

START_TEST(clean_pages_are_not_written)
{
    world_expect(&world, at, world_byte(0));
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    world_put(&world, at, 1);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    world_expect(&world, at, 1);
    ck_assert_int_eq(
        hurdmm_store_return(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->outs, 1);
}
END_TEST

START_TEST(a_page_written_again_is_dirty_again)
{
    for (unsigned i = 0; i < 5; i++) {
        world_put(&world, at, (uint8_t)i);
        ck_assert_int_eq(
            hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
        ck_assert_uint_eq(disk->bytes[0], i);
    }
    ck_assert_uint_eq(disk->outs, 5);
}
END_TEST

START_TEST(verbs_keep_to_their_range)
{
    for (unsigned i = 0; i < 8; i++)
        world_put(&world, at + i * world.page, (uint8_t)(i + 1));
    ck_assert_int_eq(hurdmm_store_flush(disk->store, 2 * world.page,
                                        3 * world.page, HURDMM_WAIT),
                     0);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert(has(i, HURDMM_STATE_DIRTY) == (i < 2 || i >= 5));
        ck_assert_uint_eq(disk->bytes[i * world.page],
                          i >= 2 && i < 5 ? i + 1 : world_byte(i * world.page));
    }
    ck_assert_int_eq(
        hurdmm_store_discard(disk->store, 6 * world.page, 100 * world.page), 0);
    world_expect(&world, at + 5 * world.page, 6);
    world_expect(&world, at + 6 * world.page, world_byte(6 * world.page));
    world_expect(&world, at + 7 * world.page, world_byte(7 * world.page));
}
END_TEST

START_TEST(verbs_by_address_do_each_region)
{
    struct disk *other = world_disk(&world, 4 * world.page, 0);
    uintptr_t got;
    uintptr_t base = 0x900000;
    ck_assert_int_eq(world_try_bind(&world, disk, 4 * world.page, world.page,
                                    base, HURDMM_READ | HURDMM_WRITE,
                                    HURDMM_BIND_EXACT, &got),
                     0);
    ck_assert_int_eq(
        world_try_bind(&world, other, 0, world.page, base + world.page,
                       HURDMM_READ | HURDMM_WRITE, HURDMM_BIND_EXACT, &got),
        0);
    world_put(&world, base, 5);
    world_put(&world, base + world.page, 6);
    world_put(&world, at, 7);
    ck_assert_int_eq(
        hurdmm_sync(world.space, base, 2 * world.page, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[4 * world.page], 5);
    ck_assert_uint_eq(other->bytes[0], 6);
    ck_assert_uint_eq(disk->bytes[0], world_byte(0));
    ck_assert_uint_eq(disk->syncs, 1);
    ck_assert_uint_eq(other->syncs, 1);
    world_put(&world, base, 8);
    ck_assert_int_eq(
        hurdmm_flush(world.space, base, 3 * world.page, HURDMM_WAIT), ENOENT);
    ck_assert_uint_eq(disk->bytes[4 * world.page], 8);
    world_put(&world, base, 9);
    ck_assert_int_eq(hurdmm_discard(world.space, base, world.page), 0);
    world_expect(&world, base, 8);
    ck_assert_int_eq(
        hurdmm_return(world.space, base, 2 * world.page, HURDMM_WAIT), 0);
    ck_assert(!has(4, HURDMM_STATE_RESIDENT));
}
END_TEST

START_TEST(a_verb_without_wait_only_starts)
{
    world_put(&world, at, 1);
    disk->hold_out = true;
    ck_assert_int_eq(hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, 0), 0);
    hurdmm_sim_settle(world.port);
    ck_assert_uint_eq(disk->bytes[0], world_byte(0));
    disk->hold_out = false;
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert(!has(0, HURDMM_STATE_DIRTY));
}
END_TEST

struct flusher {
    int error;
    bool done;
};

static void flush_body(void *argument)
{
    struct flusher *flusher = argument;
    flusher->error =
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    flusher->done = true;
}

START_TEST(a_page_dirtied_while_it_is_written_stays_dirty)
{
    struct flusher flusher = {0};
    world_put(&world, at, 1);
    disk->hold_out = true;
    world_spawn(&world, flush_body, &flusher);
    hurdmm_sim_settle(world.port);
    ck_assert_uint_eq(disk->outs, 1);
    ck_assert(has(0, HURDMM_STATE_WRITING));
    world_put(&world, at, 2); /* gets a fresh frame: does not wait */
    world_expect(&world, at, 2);
    disk->hold_out = false;
    world_run(&world);
    ck_assert(flusher.done);
    ck_assert_int_eq(flusher.error, 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert(has(0, HURDMM_STATE_DIRTY));
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[0], 2);
}
END_TEST

START_TEST(readers_go_on_while_a_page_is_written)
{
    struct flusher flusher = {0};
    world_put(&world, at, 1);
    disk->hold_out = true;
    world_spawn(&world, flush_body, &flusher);
    hurdmm_sim_settle(world.port);
    world_expect(&world, at, 1);
    uint8_t value = 0;
    size_t done;
    ck_assert_int_eq(hurdmm_store_read(disk->store, 0, &value, 1, &done), 0);
    ck_assert_uint_eq(value, 1);
    disk->hold_out = false;
    world_run(&world);
}
END_TEST

static void dirty_body(void *argument)
{
    const struct flusher *flusher = argument;
    for (unsigned i = 0; !flusher->done; i++) {
        ck_assert_uint_lt(i, 10000);
        world_put(&world, at + i % 8 * world.page, (uint8_t)i);
        hurdmm_sim_yield(world.port);
    }
}

START_TEST(a_flush_ends_though_others_go_on_writing)
{
    struct flusher flusher = {0};
    for (unsigned i = 0; i < 8; i++)
        world_put(&world, at + i * world.page, 9);
    disk->delay = 2;
    world_spawn(&world, dirty_body, &flusher);
    world_spawn(&world, dirty_body, &flusher);
    world_spawn(&world, flush_body, &flusher);
    world_run(&world);
    ck_assert(flusher.done);
    ck_assert_int_eq(flusher.error, 0);
    ck_assert_uint_gt(world_stats(&world).frames_dirty, 0);
}
END_TEST

START_TEST(a_flush_waits_for_writes_that_are_under_way)
{
    struct flusher flusher = {0};
    world_put(&world, at, 1);
    disk->hold_out = true;
    ck_assert_int_eq(hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, 0), 0);
    hurdmm_sim_settle(world.port);
    world_spawn(&world, flush_body, &flusher);
    hurdmm_sim_settle(world.port);
    ck_assert(!flusher.done);
    disk->hold_out = false;
    world_run(&world);
    ck_assert(flusher.done);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert_uint_eq(disk->outs, 1);
}
END_TEST

START_TEST(a_failed_write_keeps_the_page_dirty_and_readable)
{
    world_put(&world, at, 1);
    disk_fail(disk, DISK_OUT, 1, ENOSPC, false);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), ENOSPC);
    ck_assert(has(0, HURDMM_STATE_RESIDENT | HURDMM_STATE_DIRTY |
                         HURDMM_STATE_WRITE_ERROR));
    unsigned state;
    int error = 0;
    ck_assert_int_eq(hurdmm_store_state(disk->store, 0, &state, &error), 0);
    ck_assert_int_eq(error, ENOSPC);
    world_expect(&world, at, 1);
    ck_assert_uint_eq(world_stats(&world).writes_failed, 1);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert(!has(0, HURDMM_STATE_WRITE_ERROR));
}
END_TEST

START_TEST(verbs_go_on_after_an_error_and_return_the_first)
{
    for (unsigned i = 0; i < 8; i += 2)
        world_put(&world, at + i * world.page, (uint8_t)(i + 1));
    disk_fail(disk, DISK_OUT, 2, EIO, false);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), EIO);
    unsigned written = 0;
    for (unsigned i = 0; i < 8; i += 2)
        written += disk->bytes[i * world.page] == i + 1;
    ck_assert_uint_eq(written, 3);
    ck_assert_int_eq(
        hurdmm_store_return(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (unsigned i = 0; i < 8; i += 2)
        ck_assert_uint_eq(disk->bytes[i * world.page], i + 1);
}
END_TEST

START_TEST(a_background_error_is_told_once)
{
    world_put(&world, at, 1);
    disk_fail(disk, DISK_OUT, 1, EIO, false);
    ck_assert_int_eq(hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, 0), 0);
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert_uint_ge(disk->write_failures, 1);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), EIO);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
}
END_TEST

START_TEST(a_write_that_is_short_says_so)
{
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, at + i * world.page, (uint8_t)(i + 1));
    disk_fail(disk, DISK_OUT, 1, 0, false);
    disk->script.partial = 2;
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, 4 * world.page, HURDMM_WAIT), EIO);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, 4 * world.page, HURDMM_WAIT), 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(disk->bytes[i * world.page], i + 1);
}
END_TEST

START_TEST(the_stores_sync_error_is_the_verbs)
{
    world_put(&world, at, 1);
    disk_fail(disk, DISK_SYNC, 1, EIO, false);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), EIO);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
}
END_TEST

START_TEST(sync_all_goes_on_and_returns_the_first_error)
{
    struct disk *second = world_disk(&world, 4 * world.page, 0);
    uintptr_t at_second = world_bind(&world, second, 0, 4 * world.page);
    world_put(&world, at, 1);
    world_put(&world, at_second, 2);
    disk_fail(disk, DISK_OUT, 1, EIO, false);
    ck_assert_int_eq(hurdmm_sync_all(world.manager), EIO);
    ck_assert_uint_eq(second->bytes[0], 2);
    ck_assert_int_eq(hurdmm_sync_all(world.manager), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
}
END_TEST

START_TEST(the_last_page_is_written_up_to_the_size)
{
    struct disk *odd = world_disk(&world, 2 * world.page - 100, 0);
    uintptr_t at_odd = world_bind(&world, odd, 0, 2 * world.page);
    world_put(&world, at_odd + 2 * world.page - 101, 1);
    world_put(&world, at_odd + 2 * world.page - 1, 2); /* past the size */
    ck_assert_int_eq(
        hurdmm_store_return(odd->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(odd->last_out_offset + odd->last_out_length,
                      2 * world.page - 100);
    ck_assert_uint_eq(odd->bytes[2 * world.page - 101], 1);
    ck_assert_uint_eq(odd->bytes[2 * world.page - 1],
                      world_byte(2 * world.page - 1));
    world_expect(&world, at_odd + 2 * world.page - 1, 0);
    world_expect(&world, at_odd + 2 * world.page - 101, 1);
}
END_TEST

START_TEST(destroy_writes_what_is_dirty)
{
    world_put(&world, at, 1);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, 0), EBUSY);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 8 * world.page), 0);
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, 0), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    ck_assert_uint_eq(disk->syncs, 1);
    ck_assert_uint_eq(disk->destroys, 1);
}
END_TEST

START_TEST(a_destroy_that_fails_changes_nothing)
{
    world_put(&world, at, 1);
    disk_fail(disk, DISK_OUT, 1, ENOSPC, true);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, HURDMM_DETACH), ENOSPC);
    ck_assert_uint_eq(disk->destroys, 0);
    world_expect(&world, at, 1);
    disk->script.nth = 0;
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, HURDMM_DETACH), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    uint8_t value;
    ck_assert_int_eq(world_load(&world, at, &value), EFAULT);
}
END_TEST

START_TEST(destroy_with_drop_writes_nothing)
{
    world_put(&world, at, 1);
    ck_assert_int_eq(
        hurdmm_store_destroy(disk->store, HURDMM_DETACH | HURDMM_DROP), 0);
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_uint_eq(disk->bytes[0], world_byte(0));
}
END_TEST

START_TEST(a_volatile_store_ends_without_writing)
{
    struct disk *temporary =
        world_disk(&world, 4 * world.page, HURDMM_STORE_VOLATILE);
    uintptr_t there = world_bind(&world, temporary, 0, 4 * world.page);
    world_put(&world, there, 1);
    ck_assert_int_eq(hurdmm_store_destroy(temporary->store, HURDMM_DETACH), 0);
    ck_assert_uint_eq(temporary->outs, 0);
}
END_TEST

START_TEST(shrinking_drops_what_lies_past_the_end)
{
    uint8_t value;
    for (unsigned i = 0; i < 8; i++)
        world_put(&world, at + i * world.page, 1);
    uint64_t size = 2 * world.page + 10;
    world_put(&world, at + size, 5);
    ck_assert_int_eq(hurdmm_store_resize(disk->store, size), 0);
    ck_assert_uint_eq(hurdmm_store_size(disk->store), size);
    ck_assert_int_eq(world_load(&world, at + 3 * world.page, &value), ENXIO);
    world_expect(&world, at + 2 * world.page, 1);
    world_expect(&world, at + size, 0);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[3 * world.page], world_byte(3 * world.page));
    ck_assert_uint_eq(disk->bytes[size], world_byte(size));
}
END_TEST

START_TEST(growing_shows_the_new_end)
{
    ck_assert_int_eq(hurdmm_store_resize(disk->store, 2 * world.page), 0);
    uint8_t value;
    ck_assert_int_eq(world_load(&world, at + 2 * world.page, &value), ENXIO);
    ck_assert_int_eq(hurdmm_store_resize(disk->store, 4 * world.page), 0);
    world_expect(&world, at + 2 * world.page, world_byte(2 * world.page));
    ck_assert_int_eq(world_load(&world, at + 4 * world.page, &value), ENXIO);
}
END_TEST

START_TEST(two_stores_are_kept_apart)
{
    struct disk *second = world_disk(&world, 8 * world.page, 0);
    uintptr_t there = world_bind(&world, second, 0, 8 * world.page);
    for (unsigned i = 0; i < 8; i++) {
        world_put(&world, at + i * world.page, (uint8_t)i);
        world_put(&world, there + i * world.page, (uint8_t)(i + 100));
    }
    ck_assert_int_eq(
        hurdmm_store_return(second->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (unsigned i = 0; i < 8; i++) {
        world_expect(&world, at + i * world.page, i);
        world_expect(&world, there + i * world.page, i + 100);
        ck_assert_uint_eq(second->bytes[i * world.page], i + 100);
    }
    ck_assert_uint_eq(disk->outs, 0);
}
END_TEST

START_TEST(all_views_of_a_dirty_page_are_taken_down_to_write_it)
{
    uintptr_t second = world_bind(&world, disk, 0, 8 * world.page);
    world_put(&world, at, 1);
    world_put(&world, second + 1, 2);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    world_put(&world, second + 2, 3);
    ck_assert(has(0, HURDMM_STATE_DIRTY));
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    world_put(&world, at + 3, 4);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(disk->bytes[i], i + 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("verbs");
    TCase *c = tcase_create("verbs");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, flush_writes_and_keeps);
    tcase_add_test(c, return_writes_and_drops);
    tcase_add_test(c, discard_drops_without_writing);
    tcase_add_test(c, sync_writes_and_makes_durable);
    tcase_add_test(c, clean_pages_are_not_written);
    tcase_add_test(c, a_page_written_again_is_dirty_again);
    tcase_add_test(c, verbs_keep_to_their_range);
    tcase_add_test(c, verbs_by_address_do_each_region);
    tcase_add_test(c, a_verb_without_wait_only_starts);
    tcase_add_test(c, a_page_dirtied_while_it_is_written_stays_dirty);
    tcase_add_test(c, readers_go_on_while_a_page_is_written);
    tcase_add_test(c, a_flush_ends_though_others_go_on_writing);
    tcase_add_test(c, a_flush_waits_for_writes_that_are_under_way);
    tcase_add_test(c, a_failed_write_keeps_the_page_dirty_and_readable);
    tcase_add_test(c, verbs_go_on_after_an_error_and_return_the_first);
    tcase_add_test(c, a_background_error_is_told_once);
    tcase_add_test(c, a_write_that_is_short_says_so);
    tcase_add_test(c, the_stores_sync_error_is_the_verbs);
    tcase_add_test(c, sync_all_goes_on_and_returns_the_first_error);
    tcase_add_test(c, the_last_page_is_written_up_to_the_size);
    tcase_add_test(c, destroy_writes_what_is_dirty);
    tcase_add_test(c, a_destroy_that_fails_changes_nothing);
    tcase_add_test(c, destroy_with_drop_writes_nothing);
    tcase_add_test(c, a_volatile_store_ends_without_writing);
    tcase_add_test(c, shrinking_drops_what_lies_past_the_end);
    tcase_add_test(c, growing_shows_the_new_end);
    tcase_add_test(c, two_stores_are_kept_apart);
    tcase_add_test(c, all_views_of_a_dirty_page_are_taken_down_to_write_it);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-verb", suites, 1);
}
