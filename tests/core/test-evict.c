/* SPDX-License-Identifier: MIT */
/* Memory that is short: what leaves, what stays, and who is told. */
#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;

static const struct hurdmm_policy_ops *const policies[] = {
    &hurdmm_policy_default, &hurdmm_policy_clock, &hurdmm_policy_random};

static void begin(void)
{
    world_begin(&world, NULL);
}

static void end(void)
{
    world_end(&world);
}

static void restart(const struct world_options *options)
{
    world_end(&world);
    world_begin(&world, options);
}

/* Loads a byte of each of the first `pages' pages. */
static void load_all(uintptr_t at, unsigned pages)
{
    for (unsigned i = 0; i < pages; i++)
        world_expect(&world, at + i * world.page, world_byte(i * world.page));
}

static unsigned resident(struct disk *disk, unsigned pages)
{
    unsigned count = 0;
    for (unsigned i = 0; i < pages; i++)
        count +=
            (world_state(disk, i * world.page) & HURDMM_STATE_RESIDENT) != 0;
    return count;
}

START_TEST(the_budget_is_kept)
{
    struct world_options options = {.policy = policies[_i]};
    restart(&options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 64; i++) {
            struct hurdmm_stats stats;
            world_put(&world, at + i * world.page, (uint8_t)(round + i));
            stats = world_stats(&world);
            ck_assert_uint_le(stats.frames_used, 32);
            ck_assert_uint_eq(stats.frames_budget, 32);
            ck_assert_uint_le(stats.frames_peak, 32);
        }
    }
    for (unsigned i = 0; i < 64; i++)
        world_expect(&world, at + i * world.page, (uint8_t)(2 + i));
    ck_assert_uint_gt(world_stats(&world).evictions, 64);
}
END_TEST

START_TEST(clean_pages_leave_without_being_written)
{
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    load_all(at, 64);
    load_all(at, 64);
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_uint_gt(world_stats(&world).evictions, 0);
}
END_TEST

START_TEST(dirty_pages_are_written_before_they_leave)
{
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, at + i * world.page, (uint8_t)(i + 1));
    for (unsigned i = 0; i < 64; i++) {
        if (!(world_state(disk, i * world.page) & HURDMM_STATE_RESIDENT))
            ck_assert_uint_eq(disk->bytes[i * world.page], i + 1);
    }
    ck_assert_uint_gt(disk->outs, 0);
}
END_TEST

START_TEST(neighbours_are_written_in_one_call)
{
    struct disk *disk = world_disk(&world, 16 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 16 * world.page);
    for (unsigned i = 0; i < 12; i++)
        world_put(&world, at + i * world.page, 1);
    unsigned before = disk->outs;
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_le(disk->outs - before, 2);
}
END_TEST

START_TEST(eviction_is_told_to_the_store)
{
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    load_all(at, 64);
    ck_assert_uint_gt(disk->evicted, 0);
}
END_TEST

START_TEST(background_reclaim_keeps_frames_free)
{
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 64; i++) {
        world_expect(&world, at + i * world.page, world_byte(i * world.page));
        hurdmm_sim_sleep(world.port, 1000000);
    }
    hurdmm_sim_sleep(world.port, 10000000);
    ck_assert_uint_ge(world_stats(&world).frames_free, 4);
}
END_TEST

START_TEST(a_smaller_budget_evicts_at_once)
{
    struct disk *disk = world_disk(&world, 32 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 32 * world.page);
    for (unsigned i = 0; i < 28; i++)
        world_put(&world, at + i * world.page, (uint8_t)(i + 1));
    ck_assert_int_eq(hurdmm_set_budget(world.manager, 16 * world.page), 0);
    ck_assert_uint_le(world_stats(&world).frames_used, 16);
    ck_assert_uint_eq(world_stats(&world).frames_budget, 16);
    for (unsigned i = 0; i < 28; i++)
        world_expect(&world, at + i * world.page, i + 1);
    ck_assert_uint_le(world_stats(&world).frames_used, 16);
    ck_assert_int_eq(hurdmm_set_budget(world.manager, 32 * world.page), 0);
}
END_TEST

/* A working set that an LRU would lose: between two uses of one of its pages
 * more others are touched than there are frames. */
START_TEST(the_default_policy_resists_a_scan)
{
    struct world_options options = {.page = 64, .frames = 128};
    restart(&options);
    struct disk *disk = world_disk(&world, 32 * world.page, 0);
    struct disk *scan = world_disk(&world, 4096 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 32 * world.page);
    uintptr_t at_scan = world_bind(&world, scan, 0, 4096 * world.page);
    unsigned used = 0;
    unsigned before = 0;
    for (unsigned i = 0; i < 4096; i++) {
        uint64_t offset = used % 32 * world.page;
        world_expect(&world, at_scan + i * world.page,
                     world_byte(i * world.page));
        if (i % 3 != 0)
            continue;
        world_expect(&world, at + offset, world_byte(offset));
        if (used++ == 512)
            before = disk->ins;
    }
    ck_assert_uint_le(disk->ins - before, 512 / 8);
}
END_TEST

START_TEST(read_once_pages_go_first)
{
    struct disk *keep = world_disk(&world, 12 * world.page, 0);
    struct disk *once = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, keep, 0, 12 * world.page);
    uintptr_t at_once = world_bind(&world, once, 0, 64 * world.page);
    ck_assert_int_eq(hurdmm_advise(world.space, at_once, 64 * world.page,
                                   HURDMM_ADVICE_READ_ONCE),
                     0);
    load_all(at, 12);
    load_all(at, 12);
    load_all(at_once, 64);
    ck_assert_uint_eq(resident(keep, 12), 12);
}
END_TEST

START_TEST(dontneed_pages_are_the_next_victims)
{
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 8; i++)
        world_put(&world, at + i * world.page, 7);
    ck_assert_int_eq(
        hurdmm_advise(world.space, at, 8 * world.page, HURDMM_ADVICE_DONTNEED),
        0);
    for (unsigned i = 8; i < 36; i++)
        world_expect(&world, at + i * world.page, world_byte(i * world.page));
    ck_assert_uint_le(resident(disk, 8), 4);
    for (unsigned i = 0; i < 8; i++)
        world_expect(&world, at + i * world.page, 7);
}
END_TEST

START_TEST(willneed_reads_ahead_without_waiting)
{
    struct world_options options = {.readahead_pages = 8};
    restart(&options);
    struct disk *disk = world_disk(&world, 16 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 16 * world.page);
    disk->hold_in = true;
    ck_assert_int_eq(
        hurdmm_advise(world.space, at, 8 * world.page, HURDMM_ADVICE_WILLNEED),
        0);
    disk->hold_in = false;
    hurdmm_sim_sleep(world.port, 1000000);
    ck_assert_uint_eq(resident(disk, 8), 8);
    unsigned before = disk->ins;
    load_all(at, 8);
    ck_assert_uint_eq(disk->ins, before);
}
END_TEST

START_TEST(sequential_reading_is_read_ahead)
{
    struct world_options options = {.readahead_pages = 8};
    restart(&options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    ck_assert_int_eq(hurdmm_advise(world.space, at, 64 * world.page,
                                   HURDMM_ADVICE_SEQUENTIAL),
                     0);
    load_all(at, 64);
    ck_assert_uint_le(disk->ins, 32);
    ck_assert_uint_gt(world_stats(&world).pages_ahead, 30);
}
END_TEST

START_TEST(random_reading_is_not_read_ahead)
{
    struct world_options options = {.readahead_pages = 8};
    restart(&options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    ck_assert_int_eq(
        hurdmm_advise(world.space, at, 64 * world.page, HURDMM_ADVICE_RANDOM),
        0);
    load_all(at, 16);
    ck_assert_uint_eq(disk->ins, 16);
    ck_assert_uint_eq(disk->bytes_in, 16 * world.page);
}
END_TEST

START_TEST(no_steal_pages_stay_until_they_are_asked_for)
{
    struct disk *log =
        world_disk(&world, 8 * world.page, HURDMM_STORE_NO_STEAL);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at_log = world_bind(&world, log, 0, 8 * world.page);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 8; i++)
        world_put(&world, at_log + i * world.page, 9);
    load_all(at, 64);
    load_all(at, 64);
    ck_assert_uint_eq(log->outs, 0);
    ck_assert_uint_eq(resident(log, 8), 8);
    ck_assert_int_eq(
        hurdmm_store_flush(log->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(log->bytes[i * world.page], 9);
    load_all(at, 64);
    ck_assert_uint_lt(resident(log, 8), 8);
}
END_TEST

START_TEST(discardable_pages_are_dropped_and_made_again)
{
    struct disk *disk = world_disk_of(&world, 64 * world.page, 0,
                                      HURDMM_STORE_DISCARDABLE, DISK_FULL_NOW);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, at + i * world.page, 0xdd);
    ck_assert_uint_eq(disk->outs, 0);
    unsigned back = 0;
    for (unsigned i = 0; i < 64; i++) {
        uint8_t value = 0;
        ck_assert_int_eq(world_load(&world, at + i * world.page, &value), 0);
        if (value == world_byte(i * world.page))
            back++;
        else
            ck_assert_uint_eq(value, 0xdd);
    }
    ck_assert_uint_ge(back, 32);
    ck_assert_uint_ge(disk->why_discarded, 32);
    ck_assert_uint_gt(world_stats(&world).discards, 0);
}
END_TEST

static struct disk *asked_disk(unsigned pages, unsigned flags, uintptr_t *at)
{
    struct disk *disk =
        world_disk_of(&world, pages * world.page, 0, flags, DISK_ASKED);
    *at = world_bind(&world, disk, 0, pages * world.page);
    return disk;
}

static void idle(struct disk *disk, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        disk->idle[i] = true;
}

static unsigned resident_from(struct disk *disk, unsigned first, unsigned count)
{
    unsigned there = 0;
    for (unsigned i = first; i < first + count; i++)
        there +=
            (world_state(disk, i * world.page) & HURDMM_STATE_RESIDENT) != 0;
    return there;
}

/* Whatever was touched last. */
START_TEST(of_discardable_pages_the_lowest_go_first)
{
    struct world_options options = {.policy = policies[_i % 3]};
    restart(&options);
    const unsigned flags = HURDMM_STORE_DISCARDABLE;
    struct disk *low = world_disk(&world, 32 * world.page, flags);
    struct disk *high = world_disk(&world, 64 * world.page, flags);
    bool later = _i >= 3; /* it is set when the pages are there */
    if (!later)
        ck_assert_int_eq(
            hurdmm_store_set_priority(low->store, 0, HURDMM_WHOLE, -64), 0);
    uintptr_t a = world_bind(&world, high, 0, 64 * world.page);
    uintptr_t b = world_bind(&world, low, 0, 32 * world.page);
    for (unsigned i = 0; i < 10; i++)
        world_put(&world, a + i * world.page, 1);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 10; i++)
            world_put(&world, b + i * world.page, 1);
    if (later)
        ck_assert_int_eq(
            hurdmm_store_set_priority(high->store, 0, HURDMM_WHOLE, 63), 0);
    ck_assert_uint_eq(resident_from(low, 0, 10), 10);
    for (unsigned i = 10; resident_from(low, 0, 10) > 2; i++) {
        ck_assert_uint_lt(i, 60);
        world_put(&world, a + i * world.page, 1);
        ck_assert_uint_eq(resident_from(high, 0, i), i);
    }
}
END_TEST

START_TEST(a_range_can_have_a_priority_of_its_own)
{
    struct disk *disk =
        world_disk(&world, 64 * world.page, HURDMM_STORE_DISCARDABLE);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    struct hurdmm_store *store = disk->store;
    size_t page = world.page;
    /* Of the first 24: 8 at 5, 4 at -3, 4 at 5, 8 at 0. */
    ck_assert_int_eq(hurdmm_store_set_priority(store, 0, 16 * page, 5), 0);
    ck_assert_int_eq(hurdmm_store_set_priority(store, 8 * page, 4 * page, -3),
                     0);
    ck_assert_int_eq(hurdmm_store_set_priority(store, 24 * page, 40 * page, 63),
                     0);
    for (unsigned i = 0; i < 20; i++)
        world_put(&world, at + i * page, 1);
    unsigned i = 24;
    for (; resident_from(disk, 8, 4) > 0; i++) {
        world_put(&world, at + i * page, 1);
        ck_assert_uint_lt(i, 40);
        if (resident_from(disk, 8, 4) > 1)
            ck_assert_uint_eq(resident_from(disk, 0, 8), 8);
    }
    for (; resident_from(disk, 16, 4) > 0; i++) {
        world_put(&world, at + i * page, 1);
        ck_assert_uint_lt(i, 60);
        if (resident_from(disk, 16, 4) > 1)
            ck_assert_uint_eq(
                resident_from(disk, 0, 8) + resident_from(disk, 12, 4), 12);
    }
}
END_TEST

START_TEST(wrong_priorities_are_refused)
{
    struct disk *disk =
        world_disk(&world, 8 * world.page, HURDMM_STORE_DISCARDABLE);
    struct disk *plain = world_disk(&world, 8 * world.page, 0);
    size_t page = world.page;
    struct hurdmm_store *store = disk->store;
    ck_assert_int_eq(
        hurdmm_store_set_priority(plain->store, 0, HURDMM_WHOLE, 1), EINVAL);
    ck_assert_int_eq(hurdmm_store_set_priority(store, 0, HURDMM_WHOLE, 64),
                     EINVAL);
    ck_assert_int_eq(hurdmm_store_set_priority(store, 0, HURDMM_WHOLE, -65),
                     EINVAL);
    ck_assert_int_eq(hurdmm_store_set_priority(store, 1, page, 1), EINVAL);
    ck_assert_int_eq(hurdmm_store_set_priority(store, page, 1, 1), EINVAL);
    ck_assert_int_eq(hurdmm_store_set_priority(store, page, 0, 1), EINVAL);
    ck_assert_int_eq(
        hurdmm_store_set_priority(store, -(uint64_t)page, 2 * page, 1), EINVAL);
    ck_assert_int_eq(hurdmm_store_set_priority(store, 0, 64 * page, 1), 0);
}
END_TEST

START_TEST(a_victim_that_its_store_drops_is_not_written)
{
    uintptr_t at;
    struct disk *disk = asked_disk(64, 0, &at);
    idle(disk, 0, 64);
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, at + i * world.page, 0xdd);
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_uint_eq(world_stats(&world).pages_out, 0);
    ck_assert_uint_eq(world_stats(&world).bytes_out, 0);
    ck_assert_uint_ge(disk->dropped, 32);
    ck_assert_uint_ge(world_stats(&world).discards, 32);
    world_expect(&world, at, world_byte(0)); /* as the disk has it */
}
END_TEST

START_TEST(a_victim_that_its_store_wants_is_written)
{
    uintptr_t at;
    struct disk *disk = asked_disk(64, 0, &at);
    for (unsigned i = 0; i < 64; i++) {
        disk->idle[i] = i % 2 != 0;
        world_put(&world, at + i * world.page, 0xdd);
    }
    ck_assert_uint_gt(disk->outs, 0);
    ck_assert_uint_gt(disk->dropped, 0);
    for (unsigned i = 0; i < 64; i++)
        world_expect(&world, at + i * world.page,
                     disk->lost[i] ? world_byte(i * world.page) : 0xdd);
}
END_TEST

START_TEST(nobody_is_asked_about_what_the_user_has_written)
{
    uintptr_t at;
    struct disk *disk = asked_disk(8, 0, &at);
    idle(disk, 0, 8);
    for (unsigned i = 0; i < 8; i++)
        world_put(&world, at + i * world.page, 0xdd);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, 2 * world.page, HURDMM_WAIT), 0);
    ck_assert_int_eq(hurdmm_store_return(disk->store, 2 * world.page,
                                         2 * world.page, HURDMM_WAIT),
                     0);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->asked, 0);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(disk->bytes[i * world.page], 0xdd);
}
END_TEST

static uintptr_t base;

static void write_into_the_question(struct disk *disk, unsigned kind,
                                    uint64_t offset, size_t length)
{
    struct world_access *access = disk->before_hook;
    (void)length;
    if (kind != DISK_VICTIM || access->world != NULL)
        return;
    *access = (struct world_access){.world = &world,
                                    .address = base + (uintptr_t)offset,
                                    .write = true,
                                    .value = 0x77};
    disk->idle[offset / world.page] = false;
    disk->delay = 20;
    world_access(access);
}

START_TEST(what_is_written_while_the_store_is_asked_stays)
{
    struct world_options options = {.hide = _i ? HURDMM_PORT_ALIAS : 0};
    restart(&options);
    static struct world_access access;
    struct disk *disk = asked_disk(64, 0, &base);
    idle(disk, 0, 64);
    access = (struct world_access){0};
    disk->before = write_into_the_question;
    disk->before_hook = &access;
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, base + i * world.page, 0xdd);
    world_run(&world);
    ck_assert_ptr_nonnull(access.world);
    ck_assert_int_eq(access.error, 0);
    ck_assert(disk->lost[(access.address - base) / world.page]);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 64; i++) {
            uintptr_t page = base + i * world.page;
            if (page != access.address)
                world_put(&world, page, 0xee);
        }
    world_expect(&world, access.address, 0x77);
}
END_TEST

static int zeros(struct hurdmm_store *store, void *hook, uint64_t offset,
                 void *buffer, size_t length, size_t *done)
{
    (void)store, (void)hook, (void)offset, (void)done;
    memset(buffer, 0, length);
    return 0;
}

static unsigned questions;

/* Of every four pages one may go. */
static int three_stay(struct hurdmm_store *store, void *hook, uint64_t offset,
                      size_t length)
{
    (void)store, (void)hook, (void)length;
    questions++;
    return offset / world.page % 4 == 0 ? HURDMM_VICTIM_DROP
                                        : HURDMM_VICTIM_WRITE;
}

START_TEST(without_page_out_what_is_not_dropped_stays)
{
    static const struct hurdmm_store_ops ops = {
        .struct_size = sizeof ops, .page_in = zeros, .victim = three_stay};
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .size = 24 * world.page,
                                           .flags = HURDMM_STORE_VOLATILE};
    struct world_options with = {.policy = policies[_i]};
    restart(&with);
    struct disk *other = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, other, 0, 64 * world.page);
    struct hurdmm_store *store;
    size_t done;
    ck_assert_int_eq(hurdmm_store_create(world.manager, &ops, &options, &store),
                     0);
    for (unsigned i = 0; i < 24; i++)
        ck_assert_int_eq(
            hurdmm_store_write(store, i * world.page, &(char){9}, 1, &done), 0);
    questions = 0;
    load_all(at, 64);
    load_all(at, 64);
    ck_assert_uint_gt(questions, 0);
    ck_assert_uint_lt(questions, 2000);
    for (unsigned i = 0; i < 24; i++) {
        char byte = 1;
        ck_assert_int_eq(
            hurdmm_store_read(store, i * world.page, &byte, 1, &done), 0);
        ck_assert(byte == 9 || (byte == 0 && i % 4 == 0));
    }
    ck_assert_uint_gt(world_stats(&world).discards, 0);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
}
END_TEST

START_TEST(that_a_page_was_discarded_outlives_a_fill_that_fails)
{
    struct disk *disk = world_disk_of(&world, 64 * world.page, 0,
                                      HURDMM_STORE_DISCARDABLE, DISK_ASKED);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    uint8_t value;
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, at + i * world.page, 1);
    ck_assert_uint_eq(disk->why_discarded, 0);
    ck_assert(!(world_state(disk, 0) & HURDMM_STATE_RESIDENT));
    disk_fail(disk, DISK_IN, 1, ENOMEM, false);
    ck_assert_int_eq(world_load(&world, at, &value), ENOMEM);
    ck_assert_uint_eq(disk->why_discarded, 1);
    world_expect(&world, at, world_byte(0));
    ck_assert_uint_eq(disk->why_discarded, 2);
}
END_TEST

static bool told_before[64];
static bool mixed;

/* Notes which pages it was told of as discarded. */
static int fill_again(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *buffer, size_t length, size_t *done)
{
    for (uint64_t at = offset; at < offset + length; at += world.page)
        told_before[at / world.page] = true;
    return zeros(store, hook, offset, buffer, length, done);
}

static int fill_first(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *buffer, size_t length, size_t *done)
{
    for (uint64_t at = offset; at < offset + length; at += world.page)
        mixed |= told_before[at / world.page];
    return zeros(store, hook, offset, buffer, length, done);
}

START_TEST(a_simple_store_is_told_of_what_was_discarded)
{
    static const struct hurdmm_store_ops ops = {
        .struct_size = sizeof ops, .page_in = fill_first, .refill = fill_again};
    struct world_options with = {.readahead_pages = 8};
    restart(&with);
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .size = 64 * world.page,
                                           .flags = HURDMM_STORE_DISCARDABLE};
    struct hurdmm_store *store;
    size_t done;
    char byte;
    ck_assert_int_eq(hurdmm_store_create(world.manager, &ops, &options, &store),
                     0);
    /* Odd ones are written, and so discarded; even ones are clean. */
    for (unsigned i = 0; i < 64; i++)
        ck_assert_int_eq(i % 4 < 2 ? hurdmm_store_write(store, i * world.page,
                                                        &(char){9}, 1, &done)
                                   : hurdmm_store_read(store, i * world.page,
                                                       &byte, 1, &done),
                         0);
    unsigned gone = 0;
    static char bytes[64 * 256];
    for (unsigned i = 0; i < 64; i++) {
        unsigned state;
        ck_assert_int_eq(
            hurdmm_store_state(store, i * world.page, &state, NULL), 0);
        gone += i % 4 < 2 && !(state & HURDMM_STATE_RESIDENT);
    }
    ck_assert_uint_gt(gone, 8);
    ck_assert_int_eq(hurdmm_store_read(store, 0, bytes, 64 * world.page, &done),
                     0);
    unsigned told = 0;
    for (unsigned i = 0; i < 64; i++) {
        ck_assert(!told_before[i] || i % 4 < 2);
        told += told_before[i];
    }
    ck_assert_uint_ge(told, gone);
    ck_assert(!mixed);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
}
END_TEST

START_TEST(pinned_pages_are_never_evicted)
{
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    ck_assert_int_eq(hurdmm_pin(world.space, at, 8 * world.page, HURDMM_READ),
                     0);
    for (unsigned round = 0; round < 3; round++)
        load_all(at, 64);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(world_state(disk, i * world.page),
                          HURDMM_STATE_RESIDENT | HURDMM_STATE_PINNED);
    uint64_t faults = world_stats(&world).faults;
    load_all(at, 8);
    ck_assert_uint_eq(world_stats(&world).faults, faults);
    ck_assert_uint_eq(world_stats(&world).frames_pinned, 8);
    ck_assert_int_eq(hurdmm_unpin(world.space, at, 8 * world.page, HURDMM_READ),
                     0);
    for (unsigned i = 8; i < 64; i++)
        world_expect(&world, at + i * world.page, world_byte(i * world.page));
    ck_assert_uint_lt(resident(disk, 8), 8);
}
END_TEST

START_TEST(pins_nest)
{
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    ck_assert_int_eq(hurdmm_pin(world.space, at, 2 * world.page, HURDMM_READ),
                     0);
    ck_assert_int_eq(hurdmm_pin(world.space, at, 2 * world.page, HURDMM_READ),
                     0);
    ck_assert_int_eq(hurdmm_unpin(world.space, at, 2 * world.page, HURDMM_READ),
                     0);
    ck_assert_uint_ne(world_state(disk, 0) & HURDMM_STATE_PINNED, 0);
    ck_assert_int_eq(hurdmm_unpin(world.space, at, 2 * world.page, HURDMM_READ),
                     0);
    ck_assert_uint_eq(world_state(disk, 0) & HURDMM_STATE_PINNED, 0);
    ck_assert_int_eq(hurdmm_unpin(world.space, at, 2 * world.page, HURDMM_READ),
                     EINVAL);
}
END_TEST

START_TEST(a_page_pinned_for_writing_stays_writable_and_dirty)
{
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    ck_assert_int_eq(hurdmm_pin(world.space, at, world.page, HURDMM_WRITE), 0);
    uint64_t faults = world_stats(&world).faults;
    world_put(&world, at, 1);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[0], 1);
    world_put(&world, at, 2);
    ck_assert_uint_eq(world_stats(&world).faults, faults);
    ck_assert_uint_ne(world_state(disk, 0) & HURDMM_STATE_DIRTY, 0);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[0], 2);
    ck_assert_int_eq(hurdmm_unpin(world.space, at, world.page, HURDMM_WRITE),
                     0);
}
END_TEST

START_TEST(the_pin_limit_is_edquot)
{
    struct world_options options = {.pin_pages = 6};
    restart(&options);
    struct disk *disk = world_disk(&world, 16 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 16 * world.page);
    ck_assert_int_eq(hurdmm_pin(world.space, at, 4 * world.page, HURDMM_READ),
                     0);
    ck_assert_int_eq(hurdmm_pin(world.space, at + 4 * world.page,
                                4 * world.page, HURDMM_READ),
                     EDQUOT);
    ck_assert_uint_eq(world_stats(&world).frames_pinned, 4);
    for (unsigned i = 4; i < 8; i++)
        ck_assert_uint_eq(
            world_state(disk, i * world.page) & HURDMM_STATE_PINNED, 0);
    ck_assert_int_eq(hurdmm_pin(world.space, at + 4 * world.page,
                                2 * world.page, HURDMM_READ),
                     0);
    ck_assert_int_eq(hurdmm_unpin(world.space, at, 4 * world.page, HURDMM_READ),
                     0);
    ck_assert_int_eq(hurdmm_unpin(world.space, at + 4 * world.page,
                                  2 * world.page, HURDMM_READ),
                     0);
}
END_TEST

START_TEST(a_pin_is_all_or_nothing)
{
    struct disk *disk = world_disk(&world, 8 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    disk_fail(disk, DISK_IN, 3, EIO, false);
    ck_assert_int_eq(hurdmm_pin(world.space, at, 4 * world.page, HURDMM_READ),
                     EIO);
    ck_assert_uint_eq(world_stats(&world).frames_pinned, 0);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 8 * world.page), 0);
}
END_TEST

START_TEST(what_is_pinned_is_busy)
{
    struct disk *disk = world_disk(&world, 8 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    uintptr_t pinned = at + 2 * world.page;
    world_put(&world, pinned, 5);
    ck_assert_int_eq(hurdmm_pin(world.space, pinned, world.page, HURDMM_WRITE),
                     0);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 8 * world.page), EBUSY);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, HURDMM_DETACH), EBUSY);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, HURDMM_WHOLE), EBUSY);
    ck_assert_int_eq(
        hurdmm_store_return(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), EBUSY);
    ck_assert_int_eq(hurdmm_store_resize(disk->store, world.page), EBUSY);
    ck_assert_int_eq(
        hurdmm_protect(world.space, at, 8 * world.page, HURDMM_READ), EBUSY);
    world_put(&world, at, 1);
    world_expect(&world, pinned, 5);
    ck_assert_int_eq(
        hurdmm_unpin(world.space, pinned, world.page, HURDMM_WRITE), 0);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 8 * world.page), 0);
}
END_TEST

START_TEST(the_dirty_limit_makes_writers_wait)
{
    struct world_options options = {.dirty_pages = 4};
    restart(&options);
    struct disk *disk = world_disk(&world, 24 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 24 * world.page);
    for (unsigned i = 0; i < 24; i++) {
        world_put(&world, at + i * world.page, (uint8_t)(i + 1));
        ck_assert_uint_le(world_stats(&world).frames_dirty, 12);
    }
    ck_assert_uint_gt(disk->outs, 0);
    ck_assert_uint_gt(world_stats(&world).throttled, 0);
    for (unsigned i = 0; i < 24; i++)
        world_expect(&world, at + i * world.page, i + 1);
}
END_TEST

/* All memory dirty, and the disk refuses to write. */
static unsigned fill_unwritable(struct disk *disk, uintptr_t at, int *error)
{
    unsigned i = 0;
    disk_fail(disk, DISK_OUT, 1, EIO, true);
    for (*error = 0; i < 64 && *error == 0; i++)
        *error = world_store(&world, at + i * world.page, (uint8_t)(i + 1));
    return i - 1;
}

START_TEST(nothing_can_be_written_is_enomem_and_loses_nothing)
{
    struct world_options options = {.policy = policies[_i]};
    restart(&options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    int error;
    unsigned written = fill_unwritable(disk, at, &error);
    ck_assert_int_eq(error, ENOMEM);
    ck_assert_uint_ge(written, 16);
    for (unsigned i = 0; i < written; i++)
        world_expect(&world, at + i * world.page, i + 1);
    world_check(&world);
    disk->script.nth = 0;
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), EIO);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (unsigned i = 0; i < written; i++)
        ck_assert_uint_eq(disk->bytes[i * world.page], i + 1);
    for (unsigned i = written; i < 64; i++)
        world_put(&world, at + i * world.page, (uint8_t)(i + 1));
    for (unsigned i = 0; i < 64; i++)
        world_expect(&world, at + i * world.page, i + 1);
}
END_TEST

START_TEST(readers_go_on_though_nothing_can_be_written)
{
    struct disk *bad = world_disk(&world, 8 * world.page, 0);
    struct disk *good = world_disk(&world, 64 * world.page, 0);
    uintptr_t at_bad = world_bind(&world, bad, 0, 8 * world.page);
    uintptr_t at = world_bind(&world, good, 0, 64 * world.page);
    disk_fail(bad, DISK_OUT, 1, EIO, true);
    for (unsigned i = 0; i < 8; i++)
        world_put(&world, at_bad + i * world.page, 3);
    load_all(at, 64);
    load_all(at, 64);
    for (unsigned i = 0; i < 8; i++)
        world_expect(&world, at_bad + i * world.page, 3);
}
END_TEST

START_TEST(many_writers_share_little_memory)
{
    struct world_options options = {.frames = 16};
    restart(&options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    disk->delay = 4;
    struct world_access access[40];
    for (unsigned i = 0; i < 40; i++) {
        access[i] = (struct world_access){.world = &world,
                                          .address = at + i * world.page,
                                          .write = true,
                                          .value = (uint8_t)(i + 1)};
        world_access(&access[i]);
    }
    world_run(&world);
    for (unsigned i = 0; i < 40; i++) {
        ck_assert_int_eq(access[i].error, 0);
        world_expect(&world, at + i * world.page, i + 1);
    }
}
END_TEST

START_TEST(a_page_touched_on_trial_stays)
{
    struct world_options options = {.hide = HURDMM_PORT_REFERENCED |
                                            HURDMM_PORT_DIRTY,
                                    .policy = &hurdmm_policy_clock};
    restart(&options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 640; i++) {
        if (i % 12 == 0)
            world_expect(&world, at, world_byte(0));
        world_expect(&world, at + i % 64 * world.page,
                     world_byte(i % 64 * world.page));
    }
    ck_assert_uint_gt(world_stats(&world).trials, 0);
    ck_assert_uint_gt(world_stats(&world).trials_saved, 0);
}
END_TEST

START_TEST(mappings_that_run_out_are_survived)
{
    struct world_options options = {.mappings = 6};
    restart(&options);
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, at + i * 37 % 64 * world.page, (uint8_t)(i + 1));
    for (unsigned i = 0; i < 64; i++)
        world_expect(&world, at + i * 37 % 64 * world.page, i + 1);
}
END_TEST

/* Above the dirty limit with pages that have nowhere to go, writers go on; and
 * pages that have are written as before. */
START_TEST(dirty_pages_that_stay_throttle_nobody)
{
    struct world_options options = {.frames = 64, .dirty_pages = 8};
    restart(&options);
    struct disk *stays = world_disk_of(&world, 32 * world.page, 0,
                                       HURDMM_STORE_NO_STEAL, DISK_PLAIN);
    struct disk *goes = world_disk(&world, 16 * world.page, 0);
    uintptr_t at = world_bind(&world, stays, 0, 32 * world.page);
    uintptr_t beside = world_bind(&world, goes, 0, 16 * world.page);
    for (unsigned i = 0; i < 32; i++)
        world_put(&world, at + i * world.page, (uint8_t)i);
    ck_assert_uint_eq(stays->outs + goes->outs, 0);
    for (unsigned i = 0; i < 16; i++)
        world_put(&world, beside + i * world.page, (uint8_t)i);
    ck_assert_uint_gt(goes->outs, 0);
    for (unsigned i = 0; i < 32; i++)
        world_expect(&world, at + i * world.page, i);
    ck_assert_uint_eq(stays->outs, 0);
}
END_TEST

START_TEST(what_ends_with_its_store_is_written_for_want_of_memory_only)
{
    struct world_options options = {.frames = 64, .dirty_pages = 8};
    restart(&options);
    struct disk *disk = world_disk_of(&world, 64 * world.page, 0,
                                      HURDMM_STORE_VOLATILE, DISK_PLAIN);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned i = 0; i < 40; i++)
        world_put(&world, at + i * world.page, (uint8_t)i);
    hurdmm_sim_sleep(world.port, 10000000);
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_uint_eq(world_stats(&world).throttled, 0);
    for (unsigned i = 40; i < 64; i++)
        world_put(&world, at + i * world.page, (uint8_t)i);
    ck_assert_uint_gt(disk->outs, 0);
    for (unsigned i = 0; i < 64; i++)
        world_expect(&world, at + i * world.page, i);
}
END_TEST

/* All pages are dirty and have nowhere to go: what runs out is not memory. */
START_TEST(mappings_that_run_out_evict_nothing)
{
    struct world_options options = {.mappings = 6, .frames = 96};
    restart(&options);
    struct disk *disk = world_disk_of(&world, 64 * world.page, 0,
                                      HURDMM_STORE_NO_STEAL, DISK_PLAIN);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 64; i++)
            world_put(&world, at + i * 37 % 64 * world.page,
                      (uint8_t)(i + round));
    for (unsigned i = 0; i < 64; i++)
        world_expect(&world, at + i * 37 % 64 * world.page, i + 2);
    ck_assert_uint_eq(world_stats(&world).evictions, 0);
    ck_assert_uint_eq(world_stats(&world).pages_out, 0);
    ck_assert_uint_eq(disk->ins, 64);
}
END_TEST

/* Where frames move, what leaves is dropped with what lies in between: so that
 * must not be a page of somebody else's. */
START_TEST(shared_pages_between_those_that_leave_stay)
{
    struct world_options options = {.hide = HURDMM_PORT_ALIAS};
    struct hurdmm_container *c;
    uint64_t done;
    restart(&options);
    size_t page = world.page;
    struct disk *disk = world_disk(&world, 64 * page, HURDMM_STORE_VOLATILE);
    uintptr_t at = world_bind(&world, disk, 0, 64 * page);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_allocate(c, 0, 8 * page, 0, &done), 0);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_int_eq(hurdmm_container_copy(
                             hurdmm_store_container(disk->store), 8 * i * page,
                             c, i * page, page,
                             HURDMM_COPY_SHARED | HURDMM_COPY_SQUASH, &done),
                         0);
        world_put(&world, at + 8 * i * page, (uint8_t)(i + 100));
    }
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 64; i++)
            world_expect(&world, at + i * page,
                         i % 8 ? world_byte(i * page) : i / 8 + 100);
    ck_assert_uint_gt(world_stats(&world).evictions, 0);
}
END_TEST

/* The same through a container that reads another's pages: nothing of what is
 * mapped is its own. */
START_TEST(mappings_that_run_out_are_taken_from_copies_too)
{
    struct world_options options = {.mappings = 6, .frames = 96};
    struct hurdmm_container *c, *copy;
    uint64_t done;
    uintptr_t address = 0;
    restart(&options);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &copy), 0);
    ck_assert_int_eq(hurdmm_container_allocate(c, 0, 64 * world.page, 0, &done),
                     0);
    ck_assert_int_eq(
        hurdmm_container_copy(copy, 0, c, 0, 64 * world.page, 0, &done), 0);
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = world.space,
                                       .container = copy,
                                       .length = 64 * world.page,
                                       .rights = HURDMM_READ};
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
    for (unsigned i = 0; i < 192; i++)
        world_expect(&world, address + i * 37 % 64 * world.page, 0);
}
END_TEST

START_TEST(library_memory_does_not_grow_with_use)
{
    struct disk *disk = world_disk(&world, 64 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 64 * world.page);
    load_all(at, 64);
    load_all(at, 64);
    uint64_t before = world_stats(&world).core_bytes;
    for (unsigned i = 0; i < 20; i++)
        load_all(at, 64);
    ck_assert_uint_eq(world_stats(&world).core_bytes, before);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("eviction");
    TCase *leave = tcase_create("leave");
    tcase_add_checked_fixture(leave, begin, end);
    tcase_add_loop_test(leave, the_budget_is_kept, 0, 3);
    tcase_add_test(leave, clean_pages_leave_without_being_written);
    tcase_add_test(leave, dirty_pages_are_written_before_they_leave);
    tcase_add_test(leave, neighbours_are_written_in_one_call);
    tcase_add_test(leave, eviction_is_told_to_the_store);
    tcase_add_test(leave, background_reclaim_keeps_frames_free);
    tcase_add_test(leave, a_smaller_budget_evicts_at_once);
    tcase_add_test(leave, the_default_policy_resists_a_scan);
    tcase_add_test(leave, read_once_pages_go_first);
    tcase_add_test(leave, dontneed_pages_are_the_next_victims);
    tcase_add_test(leave, willneed_reads_ahead_without_waiting);
    tcase_add_test(leave, sequential_reading_is_read_ahead);
    tcase_add_test(leave, random_reading_is_not_read_ahead);
    tcase_add_test(leave, discardable_pages_are_dropped_and_made_again);
    tcase_add_loop_test(leave, of_discardable_pages_the_lowest_go_first, 0, 6);
    tcase_add_test(leave, a_range_can_have_a_priority_of_its_own);
    tcase_add_test(leave, wrong_priorities_are_refused);
    tcase_add_test(leave, a_victim_that_its_store_drops_is_not_written);
    tcase_add_test(leave, a_victim_that_its_store_wants_is_written);
    tcase_add_test(leave, nobody_is_asked_about_what_the_user_has_written);
    tcase_add_loop_test(leave, what_is_written_while_the_store_is_asked_stays,
                        0, 2);
    tcase_add_loop_test(leave, without_page_out_what_is_not_dropped_stays, 0,
                        3);
    tcase_add_test(leave, a_simple_store_is_told_of_what_was_discarded);
    tcase_add_test(leave, that_a_page_was_discarded_outlives_a_fill_that_fails);
    tcase_add_test(leave, a_page_touched_on_trial_stays);
    tcase_add_test(leave, mappings_that_run_out_are_survived);
    tcase_add_test(leave, dirty_pages_that_stay_throttle_nobody);
    tcase_add_test(leave,
                   what_ends_with_its_store_is_written_for_want_of_memory_only);
    tcase_add_test(leave, mappings_that_run_out_evict_nothing);
    tcase_add_test(leave, shared_pages_between_those_that_leave_stay);
    tcase_add_test(leave, mappings_that_run_out_are_taken_from_copies_too);
    tcase_add_test(leave, library_memory_does_not_grow_with_use);
    suite_add_tcase(s, leave);
    TCase *stay = tcase_create("stay");
    tcase_add_checked_fixture(stay, begin, end);
    tcase_add_test(stay, no_steal_pages_stay_until_they_are_asked_for);
    tcase_add_test(stay, pinned_pages_are_never_evicted);
    tcase_add_test(stay, pins_nest);
    tcase_add_test(stay, a_page_pinned_for_writing_stays_writable_and_dirty);
    tcase_add_test(stay, the_pin_limit_is_edquot);
    tcase_add_test(stay, a_pin_is_all_or_nothing);
    tcase_add_test(stay, what_is_pinned_is_busy);
    tcase_add_test(stay, the_dirty_limit_makes_writers_wait);
    tcase_add_loop_test(
        stay, nothing_can_be_written_is_enomem_and_loses_nothing, 0, 3);
    tcase_add_test(stay, readers_go_on_though_nothing_can_be_written);
    tcase_add_test(stay, many_writers_share_little_memory);
    suite_add_tcase(s, stay);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-evict", suites, 1);
}
