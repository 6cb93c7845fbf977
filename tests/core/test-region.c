/* SPDX-License-Identifier: MIT */
/* Regions: where they go, what they allow, and what is left of them. */
#include "lib/mm/mm.h"
#include "tests/core/world.h"
#include "tests/support/runner.h"

#define GIB (UINT64_C(1) << 30)

static struct world world;

static void begin(void)
{
    world_begin(&world, NULL);
}

static void end(void)
{
    world_end(&world);
}

static int bind_at(struct disk *disk, uint64_t offset, size_t length,
                   uintptr_t address, unsigned flags, uintptr_t *got)
{
    return world_try_bind(&world, disk, offset, length, address,
                          HURDMM_READ | HURDMM_WRITE, flags, got);
}

START_TEST(exact_binds_there_or_says_eexist)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    uintptr_t at = 0x200000;
    uintptr_t got = 1;
    ck_assert_int_eq(
        bind_at(disk, 0, 4 * world.page, at, HURDMM_BIND_EXACT, &got), 0);
    ck_assert_uint_eq(got, at);
    got = 1;
    for (int shift = -3; shift <= 3; shift++)
        ck_assert_int_eq(bind_at(disk, 0, 4 * world.page,
                                 at + (uintptr_t)shift * world.page,
                                 HURDMM_BIND_EXACT, &got),
                         EEXIST);
    ck_assert_int_eq(bind_at(disk, 0, 16 * world.page, at - 4 * world.page,
                             HURDMM_BIND_EXACT, &got),
                     EEXIST);
    ck_assert_uint_eq(got, 1);
    ck_assert_int_eq(bind_at(disk, 0, 4 * world.page, at - 4 * world.page,
                             HURDMM_BIND_EXACT, &got),
                     0);
    ck_assert_int_eq(bind_at(disk, 0, 4 * world.page, at + 4 * world.page,
                             HURDMM_BIND_EXACT, &got),
                     0);
}
END_TEST

START_TEST(an_exact_address_leaves_the_neighbours)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    uintptr_t at = 0x200000;
    uintptr_t got;
    ck_assert_int_eq(bind_at(disk, 0, world.page, at, HURDMM_BIND_EXACT, &got),
                     0);
    ck_assert_int_eq(bind_at(disk, world.page, world.page, at + world.page,
                             HURDMM_BIND_EXACT, &got),
                     0);
    world_put(&world, at + world.page, 1);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, world.page), 0);
    ck_assert_int_eq(bind_at(disk, 0, world.page, at, HURDMM_BIND_EXACT, &got),
                     0);
    world_expect(&world, at + world.page, 1);
}
END_TEST

START_TEST(a_free_hint_is_taken)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    uintptr_t at = 0x400000;
    uintptr_t got = 0;
    ck_assert_int_eq(bind_at(disk, 0, 4 * world.page, at, 0, &got), 0);
    ck_assert_uint_eq(got, at);
    ck_assert_int_eq(bind_at(disk, 0, 4 * world.page, at, 0, &got), 0);
    ck_assert_uint_ne(got, at);
    ck_assert_uint_eq(got % world.page, 0);
    world_put(&world, got, 7);
    world_expect(&world, at, 7);
}
END_TEST

/* Else there would be no way out of a lack of memory. */
START_TEST(whole_regions_go_when_there_is_no_memory)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    static uintptr_t at[4096];
    unsigned count = 0;
    hurdmm_sim_fail(world.port, HURDMM_SIM_CORE_MAP, 1, 0, true);
    while (count < 4096 &&
           bind_at(disk, 0, 2 * world.page, 0, 0, &at[count]) == 0)
        count++;
    ck_assert_uint_lt(count, 4096);
    ck_assert_uint_gt(count, 1);
    ck_assert_int_eq(
        hurdmm_protect(world.space, at[0], 2 * world.page, HURDMM_READ), 0);
    for (unsigned i = 0; i < count; i++)
        ck_assert_int_eq(hurdmm_unbind(world.space, at[i], 2 * world.page), 0);
    hurdmm_sim_fail(world.port, 0, 0, 0, false);
}
END_TEST

START_TEST(anywhere_never_overlaps)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    uintptr_t at[40];
    size_t length[40];
    for (unsigned i = 0; i < 40; i++) {
        length[i] = (1 + i % 7) * world.page;
        at[i] = world_bind(&world, disk, 0, length[i]);
        for (unsigned j = 0; j < i; j++)
            ck_assert(at[i] + length[i] <= at[j] || at[j] + length[j] <= at[i]);
    }
    ck_assert_uint_eq(world_stats(&world).regions, 40);
}
END_TEST

START_TEST(regions_4_gib_apart_are_different)
{
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    uintptr_t base = 0x100000;
    uintptr_t got;
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(bind_at(disk, i * world.page, world.page,
                                 (uintptr_t)(base + i * 4 * GIB),
                                 HURDMM_BIND_EXACT, &got),
                         0);
    for (unsigned i = 0; i < 4; i++) {
        struct hurdmm_region_info info;
        uintptr_t at = (uintptr_t)(base + i * 4 * GIB);
        world_expect(&world, at, world_byte(i * world.page));
        ck_assert_int_eq(hurdmm_region_find(world.space, at, &info), 0);
        ck_assert_uint_eq(info.address, at);
        ck_assert_uint_eq(info.offset, i * world.page);
    }
}
END_TEST

START_TEST(regions_more_than_2_gib_apart_are_ordered)
{
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    uintptr_t low = 0x100000;
    uintptr_t high = (uintptr_t)(low + 3 * GIB);
    uintptr_t got;
    struct hurdmm_region_info info;
    ck_assert_int_eq(
        bind_at(disk, 0, world.page, high, HURDMM_BIND_EXACT, &got), 0);
    ck_assert_int_eq(
        bind_at(disk, world.page, world.page, low, HURDMM_BIND_EXACT, &got), 0);
    ck_assert_int_eq(hurdmm_region_find(world.space, 0, &info), 0);
    ck_assert_uint_eq(info.address, low);
    ck_assert_int_eq(hurdmm_region_find(world.space, low + world.page, &info),
                     0);
    ck_assert_uint_eq(info.address, high);
    ck_assert_int_eq(hurdmm_region_find(world.space, high + world.page, &info),
                     ENOENT);
}
END_TEST

START_TEST(the_last_page_of_a_space_can_be_bound)
{
    struct world_options options = {.address_bits = 32};
    world_end(&world);
    world_begin(&world, &options);
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    uintptr_t last = (uintptr_t)(4 * GIB - world.page);
    uintptr_t got;
    struct hurdmm_region_info info;
    ck_assert_int_eq(
        bind_at(disk, 0, world.page, last, HURDMM_BIND_EXACT, &got), 0);
    ck_assert_int_eq(
        bind_at(disk, 0, world.page, last, HURDMM_BIND_EXACT, &got), EEXIST);
    world_put(&world, last + world.page - 1, 1);
    world_expect(&world, last + world.page - 1, 1);
    ck_assert_int_eq(hurdmm_region_find(world.space, last, &info), 0);
    ck_assert_uint_eq(info.address, last);
    ck_assert_int_ne(bind_at(disk, 0, 2 * world.page, last + world.page,
                             HURDMM_BIND_EXACT, &got),
                     0);
    ck_assert_int_eq(hurdmm_unbind(world.space, last, world.page), 0);
    uint8_t value;
    ck_assert_int_eq(world_load(&world, last, &value), EFAULT);
}
END_TEST

START_TEST(the_last_page_that_a_pointer_reaches_is_bound_or_refused)
{
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    uintptr_t last = UINTPTR_MAX - (world.page - 1);
    uintptr_t got = 1;
    int error = bind_at(disk, 0, world.page, last, HURDMM_BIND_EXACT, &got);
    if (error != 0) {
        ck_assert(error == EINVAL || error == ENOMEM);
        ck_assert_uint_eq(got, 1);
        return;
    }
    world_put(&world, last, 1);
    world_expect(&world, last, 1);
    ck_assert_int_eq(
        bind_at(disk, 0, world.page, last, HURDMM_BIND_EXACT, &got), EEXIST);
    ck_assert_int_eq(hurdmm_unbind(world.space, last, world.page), 0);
}
END_TEST

START_TEST(zero_size_is_einval_everywhere)
{
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    uintptr_t got = 1;
    ck_assert_int_eq(bind_at(disk, 0, 0, 0, 0, &got), EINVAL);
    ck_assert_int_eq(bind_at(disk, 0, 0, at, HURDMM_BIND_EXACT, &got), EINVAL);
    ck_assert_uint_eq(got, 1);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 0), EINVAL);
    ck_assert_int_eq(hurdmm_protect(world.space, at, 0, HURDMM_READ), EINVAL);
    world_expect(&world, at, world_byte(0));
}
END_TEST

/* Five pages bound; takes [first, first + count) away and looks at each. */
static void take_part(unsigned first, unsigned count)
{
    struct disk *disk = world_disk(&world, 5 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 5 * world.page);
    for (unsigned i = 0; i < 5; i++)
        world_put(&world, at + i * world.page, (uint8_t)(100 + i));
    ck_assert_int_eq(
        hurdmm_unbind(world.space, at + first * world.page, count * world.page),
        0);
    for (unsigned i = 0; i < 5; i++) {
        uint8_t value = 0;
        int error = world_load(&world, at + i * world.page, &value);
        if (i >= first && i < first + count) {
            ck_assert_int_eq(error, EFAULT);
        } else {
            ck_assert_int_eq(error, 0);
            ck_assert_uint_eq(value, 100 + i);
        }
    }
    /* What was dirty stays in the cache. */
    for (unsigned i = 0; i < 5; i++) {
        uint8_t value = 0;
        size_t done;
        ck_assert_int_eq(
            hurdmm_store_read(disk->store, i * world.page, &value, 1, &done),
            0);
        ck_assert_uint_eq(value, 100 + i);
    }
}

START_TEST(the_head_of_a_region_can_go)
{
    take_part(0, 2);
}
END_TEST

START_TEST(the_tail_of_a_region_can_go)
{
    take_part(3, 2);
}
END_TEST

START_TEST(the_middle_of_a_region_can_go)
{
    take_part(2, 1);
    ck_assert_uint_eq(world_stats(&world).regions, 2);
}
END_TEST

START_TEST(all_of_a_region_can_go)
{
    take_part(0, 5);
    ck_assert_uint_eq(world_stats(&world).regions, 0);
}
END_TEST

START_TEST(unbind_ignores_holes)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    uintptr_t at = 0x300000;
    uintptr_t got;
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(bind_at(disk, i * world.page, world.page,
                                 at + 2 * i * world.page, HURDMM_BIND_EXACT,
                                 &got),
                         0);
    ck_assert_int_eq(
        hurdmm_unbind(world.space, at + world.page, 4 * world.page), 0);
    ck_assert_uint_eq(world_stats(&world).regions, 2);
    ck_assert_int_eq(
        hurdmm_unbind(world.space, at - 64 * world.page, 128 * world.page), 0);
    ck_assert_uint_eq(world_stats(&world).regions, 0);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, world.page), 0);
}
END_TEST

START_TEST(a_region_that_came_back_shows_the_cache)
{
    struct disk *disk = world_disk(&world, 2 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 2 * world.page);
    world_put(&world, at, 1);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 2 * world.page), 0);
    at = world_bind(&world, disk, 0, 2 * world.page);
    world_expect(&world, at, 1);
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_uint_eq(disk->ins, 1);
}
END_TEST

START_TEST(unbinding_one_view_leaves_the_other)
{
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    uintptr_t first = world_bind(&world, disk, 0, 4 * world.page);
    uintptr_t second = world_bind(&world, disk, 0, 4 * world.page);
    world_put(&world, first + 1, 5);
    world_expect(&world, second + 1, 5);
    ck_assert_int_eq(hurdmm_unbind(world.space, first, 4 * world.page), 0);
    world_expect(&world, second + 1, 5);
    world_put(&world, second + 2, 6);
    world_expect(&world, second + 2, 6);
}
END_TEST

START_TEST(overlapping_regions_of_a_shared_store_are_coherent)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    uintptr_t first = world_bind(&world, disk, 0, 6 * world.page);
    uintptr_t second = world_bind(&world, disk, 2 * world.page, 6 * world.page);
    for (unsigned i = 2; i < 6; i++) {
        uintptr_t a = first + i * world.page;
        uintptr_t b = second + (i - 2) * world.page;
        world_put(&world, a, (uint8_t)i);
        world_expect(&world, b, i);
        world_put(&world, b, (uint8_t)(i + 50));
        world_expect(&world, a, i + 50);
    }
}
END_TEST

START_TEST(an_exclusive_store_has_one_region_over_a_page)
{
    struct disk *disk = world_disk(&world, 8 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 2 * world.page, 2 * world.page);
    uintptr_t got = 1;
    ck_assert_int_eq(bind_at(disk, 0, 3 * world.page, 0, 0, &got), EBUSY);
    ck_assert_int_eq(bind_at(disk, 3 * world.page, 2 * world.page, 0, 0, &got),
                     EBUSY);
    ck_assert_uint_eq(got, 1);
    ck_assert_int_eq(bind_at(disk, 0, 2 * world.page, 0, 0, &got), 0);
    ck_assert_int_eq(bind_at(disk, 4 * world.page, 2 * world.page, 0, 0, &got),
                     0);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, world.page), 0);
    ck_assert_int_eq(bind_at(disk, 2 * world.page, world.page, 0, 0, &got), 0);
}
END_TEST

START_TEST(a_reserved_region_keeps_its_place)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    uintptr_t at = 0x500000;
    uintptr_t got;
    uint8_t value;
    struct hurdmm_region_info info;
    ck_assert_int_eq(
        world_try_bind(&world, NULL, 0, 4 * world.page, at, HURDMM_NONE,
                       HURDMM_BIND_EXACT | HURDMM_BIND_RESERVED, &got),
        0);
    ck_assert_uint_eq(got, at);
    ck_assert_int_eq(bind_at(disk, 0, world.page, at, HURDMM_BIND_EXACT, &got),
                     EEXIST);
    ck_assert_int_eq(world_load(&world, at, &value), EFAULT);
    ck_assert_int_eq(world_store(&world, at + world.page, 1), EFAULT);
    ck_assert_int_eq(hurdmm_region_find(world.space, at, &info), 0);
    ck_assert_ptr_null(info.store);
    ck_assert_int_eq(hurdmm_unbind(world.space, at + world.page, world.page),
                     0);
    ck_assert_int_eq(
        bind_at(disk, 0, world.page, at + world.page, HURDMM_BIND_EXACT, &got),
        0);
    world_expect(&world, at + world.page, world_byte(0));
    ck_assert_int_eq(world_load(&world, at, &value), EFAULT);
}
END_TEST

START_TEST(rights_that_go_are_gone_at_once)
{
    struct disk *disk = world_disk(&world, 3 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 3 * world.page);
    for (unsigned i = 0; i < 3; i++)
        world_put(&world, at + i * world.page, 1);
    ck_assert_int_eq(
        hurdmm_protect(world.space, at + world.page, world.page, HURDMM_READ),
        0);
    world_put(&world, at, 2);
    ck_assert_int_eq(world_store(&world, at + world.page, 2), EACCES);
    world_put(&world, at + 2 * world.page, 2);
    world_expect(&world, at + world.page, 1);
    ck_assert_int_eq(hurdmm_protect(world.space, at, 3 * world.page,
                                    HURDMM_READ | HURDMM_WRITE),
                     0);
    world_put(&world, at + world.page, 3);
    world_expect(&world, at + world.page, 3);
}
END_TEST

START_TEST(a_page_without_rights_keeps_its_contents)
{
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    uint8_t value;
    world_put(&world, at, 42);
    ck_assert_int_eq(hurdmm_protect(world.space, at, world.page, HURDMM_NONE),
                     0);
    ck_assert_int_eq(world_load(&world, at, &value), EACCES);
    ck_assert_int_eq(hurdmm_protect(world.space, at, world.page, HURDMM_READ),
                     0);
    world_expect(&world, at, 42);
}
END_TEST

START_TEST(protect_stops_at_the_maximum)
{
    struct disk *disk = world_disk(&world, 2 * world.page, 0);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .store = disk->store,
        .length = 2 * world.page,
        .rights = HURDMM_NONE,
        .max_rights = HURDMM_READ,
    };
    uintptr_t at;
    ck_assert_int_eq(hurdmm_bind(&bind, &at), 0);
    ck_assert_int_eq(
        hurdmm_protect(world.space, at, world.page, HURDMM_READ | HURDMM_WRITE),
        EACCES);
    ck_assert_int_eq(hurdmm_protect(world.space, at, world.page, HURDMM_READ),
                     0);
    world_expect(&world, at, world_byte(0));
    ck_assert_int_eq(world_store(&world, at, 1), EACCES);
}
END_TEST

START_TEST(protect_of_a_hole_changes_nothing)
{
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    ck_assert_int_eq(
        hurdmm_unbind(world.space, at + 2 * world.page, world.page), 0);
    ck_assert_int_eq(
        hurdmm_protect(world.space, at, 4 * world.page, HURDMM_READ), ENOENT);
    world_put(&world, at, 1);
    world_put(&world, at + 3 * world.page, 1);
}
END_TEST

START_TEST(write_rights_on_a_read_only_store_are_erofs)
{
    struct disk *disk =
        world_disk(&world, 2 * world.page, HURDMM_STORE_READ_ONLY);
    uintptr_t at = 1;
    ck_assert_int_eq(bind_at(disk, 0, world.page, 0, 0, &at), EROFS);
    ck_assert_uint_eq(at, 1);
    ck_assert_int_eq(
        world_try_bind(&world, disk, 0, world.page, 0, HURDMM_READ, 0, &at), 0);
    ck_assert_int_eq(
        hurdmm_protect(world.space, at, world.page, HURDMM_READ | HURDMM_WRITE),
        EACCES);
    world_expect(&world, at, world_byte(0));
}
END_TEST

START_TEST(the_execute_right_is_its_own)
{
    struct disk *disk = world_disk(&world, 2 * world.page, 0);
    uintptr_t at;
    uint8_t value;
    ck_assert_int_eq(world_try_bind(&world, disk, 0, 2 * world.page, 0,
                                    HURDMM_READ | HURDMM_EXECUTE, 0, &at),
                     0);
    ck_assert_int_eq(hurdmm_sim_fetch(world.port, NULL, at, &value, 1), 0);
    ck_assert_uint_eq(value, world_byte(0));
    ck_assert_int_eq(hurdmm_protect(world.space, at, world.page, HURDMM_READ),
                     0);
    world_expect(&world, at, world_byte(0));
    ck_assert_int_eq(hurdmm_sim_fetch(world.port, NULL, at, &value, 1), EACCES);
}
END_TEST

START_TEST(populate_at_binding_leaves_nothing_to_fault)
{
    struct disk *disk = world_disk(&world, 8 * world.page, 0);
    uintptr_t at;
    ck_assert_int_eq(
        bind_at(disk, 0, 8 * world.page, 0, HURDMM_BIND_POPULATE, &at), 0);
    uint64_t faults = world_stats(&world).faults;
    for (unsigned i = 0; i < 8; i++)
        world_expect(&world, at + i * world.page, world_byte(i * world.page));
    ck_assert_uint_eq(world_stats(&world).faults, faults);
}
END_TEST

START_TEST(a_failed_populate_binds_nothing)
{
    struct disk *disk = world_disk(&world, 8 * world.page, 0);
    uintptr_t at = 1;
    disk_fail(disk, DISK_IN, 3, EIO, false);
    ck_assert_int_eq(
        bind_at(disk, 0, 8 * world.page, 0, HURDMM_BIND_POPULATE, &at), EIO);
    ck_assert_uint_eq(at, 1);
    ck_assert_uint_eq(world_stats(&world).regions, 0);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, HURDMM_WHOLE), 0);
    ck_assert_int_eq(
        bind_at(disk, 0, 8 * world.page, 0, HURDMM_BIND_POPULATE, &at), 0);
    world_expect(&world, at + 2 * world.page, world_byte(2 * world.page));
}
END_TEST

START_TEST(region_find_tells_what_was_bound)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .store = disk->store,
        .offset = 2 * world.page,
        .address = 0x700000,
        .length = 3 * world.page,
        .rights = HURDMM_READ,
        .max_rights = HURDMM_READ | HURDMM_WRITE,
        .advice = HURDMM_ADVICE_RANDOM,
        .flags = HURDMM_BIND_EXACT,
    };
    uintptr_t at;
    struct hurdmm_region_info info;
    ck_assert_int_eq(hurdmm_bind(&bind, &at), 0);
    ck_assert_int_eq(
        hurdmm_region_find(world.space, at + 2 * world.page + 5, &info), 0);
    ck_assert_uint_eq(info.address, at);
    ck_assert_uint_eq(info.length, bind.length);
    ck_assert_ptr_eq(info.store, disk->store);
    ck_assert_uint_eq(info.offset, bind.offset);
    ck_assert_uint_eq(info.rights, bind.rights);
    ck_assert_uint_eq(info.max_rights, bind.max_rights);
    ck_assert_int_eq(info.advice, bind.advice);
}
END_TEST

START_TEST(a_thousand_regions_come_and_go)
{
    struct disk *disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    uint64_t before = 0;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 1000; i++) {
            uintptr_t got;
            ck_assert_int_eq(
                bind_at(disk, i % 8 * world.page, world.page,
                        0x1000000 + (i * 7919 % 1000) * 2 * world.page,
                        HURDMM_BIND_EXACT, &got),
                0);
        }
        ck_assert_uint_eq(world_stats(&world).regions, 1000);
        world_check(&world);
        ck_assert_int_eq(
            hurdmm_unbind(world.space, 0x1000000, 2000 * world.page), 0);
        ck_assert_uint_eq(world_stats(&world).regions, 0);
        if (round == 0)
            before = world_stats(&world).core_bytes;
        else
            ck_assert_uint_eq(world_stats(&world).core_bytes, before);
    }
}
END_TEST

/* The index of regions is only a help.  Where the nth piece of memory is refused
 * that it, or a region, asks for, what could be bound is found all the same. */
START_TEST(regions_are_found_without_memory_for_their_index)
{
    static uintptr_t where[4000]; /* 0: not bound */
    bool without = false;
    for (unsigned n = 1; n < 24 && !without; n++) {
        world_end(&world);
        begin();
        struct disk *disk =
            world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
        uintptr_t at = 0x1000000, got;
        hurdmm_sim_fail(world.port, HURDMM_SIM_CORE_MAP, n, 0, 0);
        for (unsigned i = 0; i < 4000; i++) {
            int error = bind_at(disk, i % 8 * world.page, world.page,
                                at + i * world.page, 0, &got);
            ck_assert(error == 0 || error == ENOMEM);
            where[i] = error == 0 ? got : 0;
        }
        without = !world.space->starts_known;
        world_check(&world);
        for (unsigned i = 0; i < 4000; i += 97) {
            if (where[i] != 0)
                world_expect(&world, where[i], world_byte(i % 8 * world.page));
        }
        ck_assert_int_eq(hurdmm_unbind(world.space, at, 4000 * world.page), 0);
        ck_assert(world.space->starts_known);
    }
    ck_assert(without);
}
END_TEST

/* Binds the disk's first page there, in one of the spaces. */
static int bind_in(struct hurdmm_space *space, const struct disk *disk,
                   uintptr_t at)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = space,
        .store = disk->store,
        .address = at,
        .length = world.page,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .flags = HURDMM_BIND_EXACT,
    };
    return hurdmm_bind(&bind, &at);
}

START_TEST(another_space_has_addresses_of_its_own)
{
    struct world_options options = {.spaces = 2};
    world_end(&world);
    world_begin(&world, &options);
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    struct hurdmm_space *other;
    void *token = hurdmm_sim_space(world.port, 1);
    ck_assert_int_eq(hurdmm_space_create(world.manager, token, &other), 0);
    ck_assert_int_eq(hurdmm_space_create(world.manager, token, &other), EEXIST);
    uintptr_t at = 0x600000;
    uint8_t value = 9;
    ck_assert_int_eq(bind_in(other, disk, at), 0);
    ck_assert_int_eq(bind_in(world.space, disk, at), 0);
    ck_assert_int_eq(hurdmm_sim_write(world.port, token, at, &value, 1), 0);
    world_expect(&world, at, 9);
    ck_assert_int_eq(hurdmm_space_destroy(other, 0), EBUSY);
    ck_assert_int_eq(hurdmm_unbind(other, at, world.page), 0);
    ck_assert_int_eq(hurdmm_sim_read(world.port, token, at, &value, 1), EFAULT);
    world_expect(&world, at, 9);
    ck_assert_int_eq(hurdmm_space_destroy(other, 0), 0);
    ck_assert_int_eq(hurdmm_space_destroy(world.space, 0), EBUSY);
}
END_TEST

/* A pin can be undone through its space only. */
START_TEST(a_space_with_pinned_pages_stays)
{
    struct world_options options = {.spaces = 2};
    world_end(&world);
    world_begin(&world, &options);
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    struct hurdmm_space *other;
    ck_assert_int_eq(hurdmm_space_create(world.manager,
                                         hurdmm_sim_space(world.port, 1),
                                         &other),
                     0);
    uintptr_t at = 0x600000;
    ck_assert_int_eq(bind_in(other, disk, at), 0);
    ck_assert_int_eq(hurdmm_pin(other, at, world.page, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_space_destroy(other, HURDMM_DETACH), EBUSY);
    ck_assert_int_eq(hurdmm_unpin(other, at, world.page, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_space_destroy(other, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, 0), 0);
    disk->store = NULL;
}
END_TEST

struct foreign {
    void *token;
    uintptr_t address;
    int error;
};

static void load_there(void *argument)
{
    struct foreign *foreign = argument;
    uint8_t value;
    foreign->error = hurdmm_sim_read(world.port, foreign->token,
                                     foreign->address, &value, 1);
}

START_TEST(a_space_may_end_while_its_fault_is_being_filled)
{
    struct world_options options = {.spaces = 2};
    world_end(&world);
    world_begin(&world, &options);
    struct disk *disk = world_disk(&world, 4 * world.page, HURDMM_STORE_SHARED);
    struct foreign foreign = {.token = hurdmm_sim_space(world.port, 1)};
    struct hurdmm_space *other;
    ck_assert_int_eq(hurdmm_space_create(world.manager, foreign.token, &other),
                     0);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = other,
        .store = disk->store,
        .length = world.page,
        .rights = HURDMM_READ,
    };
    ck_assert_int_eq(hurdmm_bind(&bind, &foreign.address), 0);
    disk->hold_in = true;
    world_spawn(&world, load_there, &foreign);
    hurdmm_sim_settle(world.port);
    ck_assert_uint_eq(disk->ins, 1);
    ck_assert_int_eq(hurdmm_space_destroy(other, HURDMM_DETACH), 0);
    disk->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(foreign.error, EFAULT);
    ck_assert_uint_eq(world_stats(&world).spaces, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("regions");
    TCase *place = tcase_create("place");
    tcase_add_checked_fixture(place, begin, end);
    tcase_add_test(place, exact_binds_there_or_says_eexist);
    tcase_add_test(place, an_exact_address_leaves_the_neighbours);
    tcase_add_test(place, a_free_hint_is_taken);
    tcase_add_test(place, whole_regions_go_when_there_is_no_memory);
    tcase_add_test(place, anywhere_never_overlaps);
    tcase_add_test(place, regions_4_gib_apart_are_different);
    tcase_add_test(place, regions_more_than_2_gib_apart_are_ordered);
    tcase_add_test(place, the_last_page_of_a_space_can_be_bound);
    tcase_add_test(place,
                   the_last_page_that_a_pointer_reaches_is_bound_or_refused);
    tcase_add_test(place, zero_size_is_einval_everywhere);
    tcase_add_test(place, a_reserved_region_keeps_its_place);
    tcase_add_test(place, region_find_tells_what_was_bound);
    tcase_add_test(place, a_thousand_regions_come_and_go);
    tcase_add_test(place, regions_are_found_without_memory_for_their_index);
    tcase_add_test(place, another_space_has_addresses_of_its_own);
    tcase_add_test(place, a_space_with_pinned_pages_stays);
    tcase_add_test(place, a_space_may_end_while_its_fault_is_being_filled);
    suite_add_tcase(s, place);
    TCase *cut = tcase_create("cut");
    tcase_add_checked_fixture(cut, begin, end);
    tcase_add_test(cut, the_head_of_a_region_can_go);
    tcase_add_test(cut, the_tail_of_a_region_can_go);
    tcase_add_test(cut, the_middle_of_a_region_can_go);
    tcase_add_test(cut, all_of_a_region_can_go);
    tcase_add_test(cut, unbind_ignores_holes);
    tcase_add_test(cut, a_region_that_came_back_shows_the_cache);
    tcase_add_test(cut, unbinding_one_view_leaves_the_other);
    tcase_add_test(cut, overlapping_regions_of_a_shared_store_are_coherent);
    tcase_add_test(cut, an_exclusive_store_has_one_region_over_a_page);
    suite_add_tcase(s, cut);
    TCase *rights = tcase_create("rights");
    tcase_add_checked_fixture(rights, begin, end);
    tcase_add_test(rights, rights_that_go_are_gone_at_once);
    tcase_add_test(rights, a_page_without_rights_keeps_its_contents);
    tcase_add_test(rights, protect_stops_at_the_maximum);
    tcase_add_test(rights, protect_of_a_hole_changes_nothing);
    tcase_add_test(rights, write_rights_on_a_read_only_store_are_erofs);
    tcase_add_test(rights, the_execute_right_is_its_own);
    tcase_add_test(rights, populate_at_binding_leaves_nothing_to_fault);
    tcase_add_test(rights, a_failed_populate_binds_nothing);
    suite_add_tcase(s, rights);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-region", suites, 1);
}
