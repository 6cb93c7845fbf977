/* SPDX-License-Identifier: MIT */
/* The cache from the library's side: read, write, supply, containers. */
#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;
static struct disk *disk;
static uint8_t buffer[16 * 256];

static void begin(void)
{
    world_begin(&world, NULL);
    disk = world_disk(&world, 8 * world.page - 20, HURDMM_STORE_SHARED);
    memset(buffer, 0, sizeof buffer);
}

static void end(void)
{
    world_end(&world);
}

static void expect_bytes(uint64_t offset, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ck_assert_uint_eq(buffer[i], world_byte(offset + i));
}

START_TEST(read_crosses_pages)
{
    size_t done = 0;
    ck_assert_int_eq(hurdmm_store_read(disk->store, 100, buffer, 1000, &done),
                     0);
    ck_assert_uint_eq(done, 1000);
    expect_bytes(100, 1000);
    ck_assert_uint_eq(world_stats(&world).faults, 0);
}
END_TEST

START_TEST(read_stops_at_the_end)
{
    uint64_t size = hurdmm_store_size(disk->store);
    size_t done = 9;
    ck_assert_int_eq(
        hurdmm_store_read(disk->store, size - 30, buffer, 100, &done), ENXIO);
    ck_assert_uint_eq(done, 30);
    expect_bytes(size - 30, 30);
    done = 9;
    ck_assert_int_eq(hurdmm_store_read(disk->store, size, buffer, 1, &done),
                     ENXIO);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(
        hurdmm_store_read(disk->store, UINT64_MAX - 5, buffer, 3, &done),
        ENXIO);
    ck_assert_int_eq(hurdmm_store_read(disk->store, size, buffer, 0, &done), 0);
}
END_TEST

START_TEST(read_says_how_much_an_error_left)
{
    size_t done = 9;
    ck_assert_int_eq(
        hurdmm_store_read(disk->store, 0, buffer, 2 * world.page, &done), 0);
    disk_fail(disk, DISK_IN, 1, EIO, true);
    ck_assert_int_eq(
        hurdmm_store_read(disk->store, 10, buffer, 4 * world.page, &done), EIO);
    ck_assert_uint_eq(done, 2 * world.page - 10);
    expect_bytes(10, done);
}
END_TEST

START_TEST(write_is_seen_through_every_region)
{
    uintptr_t first = world_bind(&world, disk, 0, 8 * world.page);
    uintptr_t second = world_bind(&world, disk, world.page, 4 * world.page);
    size_t done = 0;
    world_expect(&world, first + world.page + 8, world_byte(world.page + 8));
    memset(buffer, 0xab, 600);
    ck_assert_int_eq(hurdmm_store_write(disk->store, 200, buffer, 600, &done),
                     0);
    ck_assert_uint_eq(done, 600);
    for (unsigned i = 200; i < 800; i += 57)
        world_expect(&world, first + i, 0xab);
    world_expect(&world, first + 199, world_byte(199));
    world_expect(&world, first + 800, world_byte(800));
    world_expect(&world, second + 300 - world.page, 0xab);
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_uint_ne(world_state(disk, 0) & HURDMM_STATE_DIRTY, 0);
}
END_TEST

START_TEST(read_sees_what_a_region_wrote)
{
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    size_t done;
    world_put(&world, at + 300, 0x11);
    ck_assert_int_eq(hurdmm_store_read(disk->store, 300, buffer, 1, &done), 0);
    ck_assert_uint_eq(buffer[0], 0x11);
    world_put(&world, at + 300, 0x12);
    ck_assert_int_eq(hurdmm_store_read(disk->store, 300, buffer, 1, &done), 0);
    ck_assert_uint_eq(buffer[0], 0x12);
}
END_TEST

START_TEST(writing_a_whole_page_does_not_read_it)
{
    struct disk *plain =
        world_disk_of(&world, 4 * world.page, 0, 0, DISK_PLAIN);
    size_t done;
    ck_assert_int_eq(hurdmm_store_write(plain->store, world.page, buffer,
                                        2 * world.page, &done),
                     0);
    ck_assert_uint_eq(plain->ins, 0);
}
END_TEST

START_TEST(write_stops_at_the_end_and_extends_nothing)
{
    uint64_t size = hurdmm_store_size(disk->store);
    size_t done = 9;
    ck_assert_int_eq(
        hurdmm_store_write(disk->store, size - 10, buffer, 50, &done), ENXIO);
    ck_assert_uint_eq(done, 10);
    ck_assert_uint_eq(hurdmm_store_size(disk->store), size);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[size], world_byte(size));
    ck_assert_uint_eq(disk->bytes[size - 1], 0);
}
END_TEST

START_TEST(writing_a_read_only_store_is_erofs)
{
    struct disk *fixed =
        world_disk(&world, 4 * world.page, HURDMM_STORE_READ_ONLY);
    size_t done = 9;
    ck_assert_int_eq(hurdmm_store_write(fixed->store, 0, buffer, 1, &done),
                     EROFS);
    ck_assert_uint_eq(done, 0);
}
END_TEST

START_TEST(read_and_write_by_address_keep_the_rights)
{
    uintptr_t at = 0x800000;
    uintptr_t got;
    size_t done = 9;
    ck_assert_int_eq(world_try_bind(&world, disk, 0, world.page, at,
                                    HURDMM_READ | HURDMM_WRITE,
                                    HURDMM_BIND_EXACT, &got),
                     0);
    ck_assert_int_eq(world_try_bind(&world, disk, 4 * world.page, world.page,
                                    at + world.page, HURDMM_READ,
                                    HURDMM_BIND_EXACT, &got),
                     0);
    ck_assert_int_eq(
        hurdmm_read(world.space, at, buffer, 2 * world.page, &done), 0);
    ck_assert_uint_eq(done, 2 * world.page);
    expect_bytes(0, world.page);
    ck_assert_uint_eq(buffer[world.page], world_byte(4 * world.page));
    ck_assert_int_eq(
        hurdmm_write(world.space, at + 6, buffer, 2 * world.page - 6, &done),
        EACCES);
    ck_assert_uint_eq(done, world.page - 6);
    ck_assert_int_eq(
        hurdmm_read(world.space, at, buffer, 3 * world.page, &done), ENOENT);
    ck_assert_uint_eq(done, 2 * world.page);
    world_expect(&world, at + 6, world_byte(0));
}
END_TEST

START_TEST(populate_brings_a_range_in)
{
    size_t done = 0;
    ck_assert_int_eq(
        hurdmm_store_populate(disk->store, 0, 4 * world.page, &done), 0);
    ck_assert_uint_eq(done, 4 * world.page);
    unsigned before = disk->ins;
    ck_assert_int_eq(
        hurdmm_store_read(disk->store, 0, buffer, 4 * world.page, &done), 0);
    ck_assert_uint_eq(disk->ins, before);
}
END_TEST

START_TEST(populate_says_how_much_it_did)
{
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    size_t done = 9;
    ck_assert_int_eq(
        hurdmm_populate(world.space, at, 2 * world.page, HURDMM_READ, &done),
        0);
    disk_fail(disk, DISK_IN, 1, EIO, true);
    ck_assert_int_eq(
        hurdmm_populate(world.space, at, 4 * world.page, HURDMM_READ, &done),
        EIO);
    ck_assert_uint_eq(done, 2 * world.page);
    uint64_t faults = world_stats(&world).faults;
    world_expect(&world, at, world_byte(0));
    world_expect(&world, at + world.page, world_byte(world.page));
    ck_assert_uint_eq(world_stats(&world).faults, faults);
}
END_TEST

START_TEST(populate_for_writing_leaves_nothing_to_fault)
{
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    ck_assert_int_eq(
        hurdmm_populate(world.space, at, 4 * world.page, HURDMM_WRITE, NULL),
        0);
    uint64_t faults = world_stats(&world).faults;
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, at + i * world.page, 1);
    ck_assert_uint_eq(world_stats(&world).faults, faults);
}
END_TEST

START_TEST(resident_tells_the_state_of_each_page)
{
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    uint8_t states[8];
    world_expect(&world, at, world_byte(0));
    world_put(&world, at + 2 * world.page, 1);
    ck_assert_int_eq(hurdmm_resident(world.space, at, 8 * world.page, states),
                     0);
    ck_assert_uint_eq(states[0], HURDMM_STATE_RESIDENT);
    ck_assert_uint_eq(states[1], 0);
    ck_assert_uint_eq(states[2], HURDMM_STATE_RESIDENT | HURDMM_STATE_DIRTY);
    for (unsigned i = 3; i < 8; i++)
        ck_assert_uint_eq(states[i], 0);
    ck_assert_int_eq(hurdmm_resident(world.space, at, 9 * world.page, buffer),
                     ENOENT);
}
END_TEST

/* ---- Data that comes unasked --------------------------------------------- */

START_TEST(supplied_pages_are_clean_and_not_asked_for)
{
    size_t done = 0;
    memset(buffer, 0x66, 2 * world.page);
    ck_assert_int_eq(hurdmm_store_supply(disk->store, world.page, buffer,
                                         2 * world.page, &done),
                     0);
    ck_assert_uint_eq(done, 2 * world.page);
    ck_assert_uint_eq(world_state(disk, world.page), HURDMM_STATE_RESIDENT);
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    world_expect(&world, at + world.page, 0x66);
    ck_assert_uint_eq(disk->ins, 0);
}
END_TEST

START_TEST(supply_leaves_resident_pages)
{
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    size_t done = 0;
    world_put(&world, at + world.page, 5);
    memset(buffer, 0x66, 3 * world.page);
    ck_assert_int_eq(
        hurdmm_store_supply(disk->store, 0, buffer, 3 * world.page, &done), 0);
    ck_assert_uint_eq(done, 3 * world.page);
    world_expect(&world, at, 0x66);
    world_expect(&world, at + world.page, 5);
    world_expect(&world, at + world.page + 1, world_byte(world.page + 1));
    world_expect(&world, at + 2 * world.page, 0x66);
}
END_TEST

static struct hurdmm_container *container(uint64_t pages)
{
    struct hurdmm_container *c = NULL;
    uint64_t done = 9;
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(
        hurdmm_container_allocate(c, 0, pages * world.page, 0, &done), 0);
    ck_assert_uint_eq(done, pages * world.page);
    return c;
}

START_TEST(a_container_is_zeros_until_it_is_written)
{
    struct hurdmm_container *c = container(3);
    size_t done = 0;
    buffer[5] = 1;
    ck_assert_int_eq(hurdmm_container_read(c, 0, buffer, 3 * world.page, &done),
                     0);
    for (size_t i = 0; i < 3 * world.page; i++)
        ck_assert_uint_eq(buffer[i], 0);
    memset(buffer, 7, 300);
    ck_assert_int_eq(hurdmm_container_write(c, 100, buffer, 300, &done), 0);
    ck_assert_uint_eq(done, 300);
    ck_assert_int_eq(hurdmm_container_read(c, 399, buffer, 2, &done), 0);
    ck_assert_uint_eq(buffer[0], 7);
    ck_assert_uint_eq(buffer[1], 0);
    ck_assert_int_eq(
        hurdmm_container_read(c, 2 * world.page, buffer, 2 * world.page, &done),
        ENOENT);
    ck_assert_uint_eq(done, world.page);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

START_TEST(a_container_allocates_up_to_what_is_there)
{
    struct hurdmm_container *c = container(1);
    uint64_t done = 9;
    ck_assert_int_eq(hurdmm_container_release(c, 0, world.page), 0);
    ck_assert_int_eq(
        hurdmm_container_allocate(c, 2 * world.page, world.page, 0, &done), 0);
    ck_assert_int_eq(hurdmm_container_allocate(c, 0, 4 * world.page, 0, &done),
                     EEXIST);
    ck_assert_uint_eq(done, 2 * world.page);
    ck_assert_int_eq(hurdmm_container_release(c, 0, 2 * world.page), 0);
    ck_assert_int_eq(hurdmm_container_allocate(c, 0, 4 * world.page,
                                               HURDMM_ALL_OR_NONE, &done),
                     EEXIST);
    ck_assert_uint_eq(done, 0);
    size_t read;
    ck_assert_int_eq(hurdmm_container_read(c, 0, buffer, 1, &read), ENOENT);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

START_TEST(a_container_cannot_have_more_than_the_budget)
{
    struct hurdmm_container *c = container(1);
    uint64_t done = 9;
    uint64_t used = world_stats(&world).frames_used;
    ck_assert_int_eq(hurdmm_container_allocate(c, world.page, 64 * world.page,
                                               HURDMM_ALL_OR_NONE, &done),
                     ENOMEM);
    ck_assert_uint_eq(done, 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, used);
    ck_assert_int_eq(
        hurdmm_container_allocate(c, world.page, 64 * world.page, 0, &done),
        ENOMEM);
    ck_assert_uint_gt(done, 0);
    ck_assert_uint_le(world_stats(&world).frames_used, 32);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
}
END_TEST

START_TEST(container_pages_are_never_evicted)
{
    struct hurdmm_container *c = container(8);
    size_t done;
    memset(buffer, 0x3c, 8 * world.page);
    ck_assert_int_eq(
        hurdmm_container_write(c, 0, buffer, 8 * world.page, &done), 0);
    struct disk *big = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, big, 0, 64 * world.page);
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, at + i * world.page, 1);
    memset(buffer, 0, sizeof buffer);
    ck_assert_int_eq(hurdmm_container_read(c, 0, buffer, 8 * world.page, &done),
                     0);
    for (size_t i = 0; i < 8 * world.page; i++)
        ck_assert_uint_eq(buffer[i], 0x3c);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

START_TEST(cache_moves_frames_without_copying)
{
    struct hurdmm_container *c = container(3);
    size_t done = 9;
    uint64_t used = world_stats(&world).frames_used;
    memset(buffer, 0x21, 3 * world.page);
    ck_assert_int_eq(
        hurdmm_container_write(c, 0, buffer, 3 * world.page, &done), 0);
    ck_assert_int_eq(hurdmm_store_cache(disk->store, 2 * world.page, c, 0,
                                        2 * world.page, &done),
                     0);
    ck_assert_uint_eq(done, 2 * world.page);
    ck_assert_uint_eq(world_stats(&world).frames_used, used);
    ck_assert_int_eq(hurdmm_container_read(c, 0, buffer, 1, &done), ENOENT);
    ck_assert_int_eq(hurdmm_container_read(c, 2 * world.page, buffer, 1, &done),
                     0);
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    world_expect(&world, at + 3 * world.page, 0x21);
    ck_assert_uint_eq(disk->ins, 0);
    ck_assert_int_eq(hurdmm_store_cache(disk->store, 2 * world.page, c,
                                        2 * world.page, world.page, &done),
                     EEXIST);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(hurdmm_store_cache(disk->store, 5 * world.page, c,
                                        2 * world.page, 2 * world.page, &done),
                     ENOENT);
    ck_assert_uint_eq(done, world.page);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

START_TEST(library_memory_for_stores_is_counted)
{
    void *small = NULL;
    void *large = NULL;
    ck_assert_int_eq(hurdmm_allocate(world.manager, 40, &small), 0);
    ck_assert_int_eq(hurdmm_allocate(world.manager, 100000, &large), 0);
    ck_assert_uint_eq((uintptr_t)small % 16, 0);
    ck_assert_uint_eq((uintptr_t)large % 16, 0);
    for (size_t i = 0; i < 100000; i++)
        ck_assert_uint_eq(((uint8_t *)large)[i], 0);
    memset(large, 1, 100000);
    memset(small, 1, 40);
    ck_assert_uint_ge(world_stats(&world).core_bytes, 100040);
    hurdmm_deallocate(world.manager, small, 40);
    hurdmm_deallocate(world.manager, large, 100000);
    hurdmm_deallocate(world.manager, NULL, 1);
    uint64_t before = world_stats(&world).core_bytes;
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(hurdmm_allocate(world.manager, 100000, &large), 0);
        ck_assert_uint_eq(((uint8_t *)large)[99999], 0);
        memset(large, 1, 100000);
        hurdmm_deallocate(world.manager, large, 100000);
    }
    ck_assert_uint_eq(world_stats(&world).core_bytes, before);
}
END_TEST

static uint32_t mutex;
static unsigned inside, entered;

static void use_mutex(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 20; i++) {
        hurdmm_mutex_lock(world.manager, &mutex);
        ck_assert_uint_eq(inside++, 0);
        hurdmm_sim_yield(world.port);
        entered++;
        inside--;
        hurdmm_mutex_unlock(world.manager, &mutex);
        hurdmm_sim_yield(world.port);
    }
}

START_TEST(mutexes_for_stores_exclude)
{
    mutex = inside = entered = 0;
    for (unsigned i = 0; i < 4; i++)
        world_spawn(&world, use_mutex, NULL);
    world_run(&world);
    ck_assert_uint_eq(entered, 80);
    ck_assert_uint_eq(mutex, 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("cache");
    TCase *c = tcase_create("cache");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, read_crosses_pages);
    tcase_add_test(c, read_stops_at_the_end);
    tcase_add_test(c, read_says_how_much_an_error_left);
    tcase_add_test(c, write_is_seen_through_every_region);
    tcase_add_test(c, read_sees_what_a_region_wrote);
    tcase_add_test(c, writing_a_whole_page_does_not_read_it);
    tcase_add_test(c, write_stops_at_the_end_and_extends_nothing);
    tcase_add_test(c, writing_a_read_only_store_is_erofs);
    tcase_add_test(c, read_and_write_by_address_keep_the_rights);
    tcase_add_test(c, populate_brings_a_range_in);
    tcase_add_test(c, populate_says_how_much_it_did);
    tcase_add_test(c, populate_for_writing_leaves_nothing_to_fault);
    tcase_add_test(c, resident_tells_the_state_of_each_page);
    tcase_add_test(c, supplied_pages_are_clean_and_not_asked_for);
    tcase_add_test(c, supply_leaves_resident_pages);
    tcase_add_test(c, a_container_is_zeros_until_it_is_written);
    tcase_add_test(c, a_container_allocates_up_to_what_is_there);
    tcase_add_test(c, a_container_cannot_have_more_than_the_budget);
    tcase_add_test(c, container_pages_are_never_evicted);
    tcase_add_test(c, cache_moves_frames_without_copying);
    tcase_add_test(c, library_memory_for_stores_is_counted);
    tcase_add_test(c, mutexes_for_stores_exclude);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-cache", suites, 1);
}
