/* SPDX-License-Identifier: MIT */
/* Logical copies: between containers, of stores, at one instant. */
#include "tests/physmem/rig.h"
#include "tests/support/runner.h"

/* Of a machine that decides by a seed who runs, and at every step (tests/l4). */
#ifndef tcase_add_scheduled_test
#define tcase_add_scheduled_test tcase_add_loop_test
#endif

static struct world world;

static void begin(void)
{
    const struct world_options options = {.frames = 64};
    world_begin(&world, &options);
}

static void end(void)
{
    world_end(&world);
}

static struct hurdmm_container *cache_of(const struct disk *disk)
{
    return hurdmm_store_container(disk->store);
}

/* A volatile store with something else on its disk. */
static struct disk *swap_disk(unsigned pages)
{
    char letters[RIG_PAGES + 1] = {0};
    memset(letters, '#', pages);
    return rig_disk(&world, letters, HURDMM_STORE_VOLATILE);
}

/* ---- Kinds of copies ------------------------------------------------------ */

START_TEST(a_copy_on_write_keeps_each_sides_writes_apart)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    rig_copied(&world, b, 0, a, 0, 4, 0);
    rig_letter(&world, a, 1, 'X');
    rig_letter(&world, b, 2, 'Y');
    rig_expect(&world, a, "aXcd");
    rig_expect(&world, b, "abYd");
}
END_TEST

START_TEST(a_shared_copy_shows_all_writes)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    rig_copied(&world, b, 2, a, 0, 4, HURDMM_COPY_SHARED);
    rig_letter(&world, a, 1, 'X');
    rig_letter(&world, b, 4, 'Y');
    rig_expect(&world, a, "aXYd");
    rig_expect(&world, b, "..aXYd");
}
END_TEST

START_TEST(a_move_leaves_holes)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    uint64_t used = world_stats(&world).frames_used;
    rig_copied(&world, b, 1, a, 1, 2, HURDMM_COPY_MOVE);
    rig_expect(&world, a, "a..d");
    rig_expect(&world, b, ".bc.");
    ck_assert_uint_eq(world_stats(&world).frames_used, used);
}
END_TEST

START_TEST(a_move_hands_over_who_depends_on_it)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    struct hurdmm_container *sharer = rig_container(&world);
    struct hurdmm_container *copy = rig_container(&world);
    rig_copied(&world, sharer, 0, a, 0, 4, HURDMM_COPY_SHARED);
    rig_copied(&world, copy, 0, a, 0, 4, 0);
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_MOVE);
    rig_letter(&world, b, 0, 'X');
    rig_letter(&world, sharer, 1, 'Y');
    rig_expect(&world, a, "....");
    rig_expect(&world, b, "XYcd");
    rig_expect(&world, sharer, "XYcd");
    rig_expect(&world, copy, "abcd");
}
END_TEST

START_TEST(a_copy_needs_no_frame_before_a_write)
{
    struct hurdmm_container *a = rig_filled(&world, "abcdefgh");
    struct hurdmm_container *b = rig_container(&world);
    uint64_t used = world_stats(&world).frames_used;
    rig_copied(&world, b, 0, a, 0, 8, 0);
    rig_expect(&world, b, "abcdefgh");
    ck_assert_uint_eq(world_stats(&world).frames_used, used);
    rig_letter(&world, b, 3, 'X');
    ck_assert_uint_eq(world_stats(&world).frames_used, used + 1);
}
END_TEST

START_TEST(squash_replaces_what_was_there)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_filled(&world, "XX.X");
    struct hurdmm_container *sharer = rig_container(&world);
    unsigned done;
    rig_copied(&world, sharer, 0, b, 0, 2, HURDMM_COPY_SHARED);
    ck_assert_int_eq(rig_copy(&world, b, 0, a, 0, 4, 0, &done), EEXIST);
    ck_assert_uint_eq(done, 0);
    rig_expect(&world, b, "XX.X");
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_SQUASH);
    rig_expect(&world, b, "abcd");
    rig_expect(&world, sharer, "XX..");
}
END_TEST

START_TEST(a_copy_without_squash_says_where_it_stopped)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_filled(&world, "..X");
    unsigned done;
    ck_assert_int_eq(rig_copy(&world, b, 0, a, 0, 4, 0, &done), EEXIST);
    ck_assert_uint_eq(done, 2);
    rig_expect(&world, b, "abX.");
}
END_TEST

START_TEST(all_or_none_changes_nothing_when_it_fails)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_filled(&world, "..X");
    unsigned done = 5;
    ck_assert_int_eq(rig_copy(&world, b, 0, a, 0, 4, HURDMM_ALL_OR_NONE, &done),
                     EEXIST);
    ck_assert_uint_eq(done, 0);
    rig_expect(&world, b, "..X.");
}
END_TEST

START_TEST(a_copy_that_lacks_memory_changes_nothing)
{
    static const unsigned flags[] = {0, HURDMM_COPY_SHARED, HURDMM_COPY_MOVE,
                                     HURDMM_COPY_SQUASH};
    for (unsigned nth = 1; nth < 5; nth++) {
        struct hurdmm_container *a = rig_filled(&world, "abcd");
        struct hurdmm_container *b = rig_filled(&world, _i == 3 ? "XYZ" : "");
        uintptr_t address = rig_bind(&world, a, 4);
        unsigned done;
        for (unsigned i = 0; i < 4; i++)
            world_put(&world, address + i * world.page + 1, (uint8_t)('a' + i));
        hurdmm_sim_fail(world.port, HURDMM_SIM_MEMORY, nth, 0, 1);
        int error = rig_copy(&world, b, 0, a, 0, 4, flags[_i], &done);
        hurdmm_sim_fail(world.port, 0, 0, 0, 0);
        ck_assert(error == 0 || error == ENOMEM);
        if (error == 0)
            continue;
        ck_assert_uint_eq(done, 0);
        rig_expect(&world, a, "abcd");
        rig_expect(&world, b, _i == 3 ? "XYZ." : "....");
        /* As writable as it was. */
        world_put(&world, address + 2 * world.page, 'c');
        world_check(&world);
    }
}
END_TEST

START_TEST(a_copy_that_is_tried_again_still_knows_what_was_asked)
{
    struct hurdmm_container *a = rig_filled(&world, "ab");
    struct hurdmm_container *b = rig_container(&world);
    uintptr_t address = rig_bind(&world, a, 2);
    struct disk *disk = rig_disk(&world, "abcd", 0); /* to make room of */
    unsigned done;
    rig_expect_store(&world, disk->store, "abcd");
    world_put(&world, address, 'a');
    hurdmm_sim_fail(world.port, HURDMM_SIM_RECLAIM, 1, 0, 0);
    ck_assert_int_eq(rig_copy(&world, b, 0, a, 0, 4, 0, &done), ENOENT);
    ck_assert_uint_eq(done, 2);
}
END_TEST

static int read_zeros(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    memset(buffer, 0, length);
    *done = length;
    return 0;
}

static struct hurdmm_store *volatile_store(unsigned pages)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = read_zeros};
    const struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .size = pages * world.page,
        .flags = HURDMM_STORE_VOLATILE,
    };
    struct hurdmm_store *store;
    ck_assert_int_eq(hurdmm_store_create(world.manager, &ops, &options, &store),
                     0);
    return store;
}

/* Not even one more bond could be split; none needs to be. */
START_TEST(who_has_copies_can_end_without_memory)
{
    struct hurdmm_container *a =
        rig_filled(&world, "abcdefghijklmnopqrstuvwxyzabcdefghijklmn");
    struct hurdmm_container *others = rig_container(&world);
    struct hurdmm_store *store = volatile_store(40);
    unsigned done;
    rig_copied(&world, hurdmm_store_container(store), 0, a, 0, 40, 0);
    hurdmm_sim_fail(world.port, HURDMM_SIM_CORE_MAP, 1, 0, 1);
    unsigned copies = 0;
    while (!rig_copy(&world, others, copies, a, 0, 1, 0, &done))
        copies++;
    int error = 0;
    for (unsigned page = 1; error == 0 && page < 40; page += 2)
        error = hurdmm_store_discard(store, page * world.page, world.page);
    ck_assert_int_eq(error, ENOMEM);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    hurdmm_sim_fail(world.port, 0, 0, 0, 0);
    world_check(&world);
    rig_letter(&world, a, 0, 'X');
    rig_expect(&world, others, "aaaa");
}
END_TEST

START_TEST(copies_of_copies_stay_apart)
{
    struct hurdmm_container *c[6] = {rig_filled(&world, "abcd")};
    for (unsigned i = 1; i < 6; i++) {
        c[i] = rig_container(&world);
        rig_copied(&world, c[i], 0, c[i - 1], 0, 4, 0);
    }
    rig_letter(&world, c[2], 0, 'X');
    rig_letter(&world, c[0], 1, 'Y');
    rig_letter(&world, c[5], 2, 'Z');
    rig_expect(&world, c[0], "aYcd");
    rig_expect(&world, c[1], "abcd");
    rig_expect(&world, c[2], "Xbcd");
    rig_expect(&world, c[3], "abcd");
    rig_expect(&world, c[4], "abcd");
    rig_expect(&world, c[5], "abZd");
}
END_TEST

START_TEST(ranges_that_overlap_in_one_container_are_einval)
{
    static const unsigned flags[] = {0, HURDMM_COPY_SHARED, HURDMM_COPY_MOVE,
                                     HURDMM_COPY_SQUASH};
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    unsigned done;
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(rig_copy(&world, a, 2, a, 0, 4, flags[i], &done),
                         EINVAL);
        ck_assert_int_eq(rig_copy(&world, a, 0, a, 0, 4, flags[i], &done),
                         EINVAL);
        ck_assert_int_eq(rig_copy(&world, a, 0, a, 3, 4, flags[i], &done),
                         EINVAL);
    }
    rig_expect(&world, a, "abcd..");
}
END_TEST

START_TEST(a_container_is_copied_within_itself)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    rig_copied(&world, a, 4, a, 0, 4, 0);
    rig_letter(&world, a, 0, 'X');
    rig_letter(&world, a, 5, 'Y');
    rig_expect(&world, a, "XbcdaYcd");
    rig_copied(&world, a, 8, a, 2, 4, HURDMM_COPY_MOVE);
    rig_expect(&world, a, "Xb....cdcdaY");
    ck_assert_int_eq(hurdmm_container_destroy(a), 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
}
END_TEST

START_TEST(bad_copies_are_refused)
{
    struct disk *kept = rig_disk(&world, "abcd", 0);
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    unsigned done;
    ck_assert_int_eq(rig_copy(&world, cache_of(kept), 0, a, 0, 2, 0, &done),
                     ENOTSUP);
    ck_assert_int_eq(
        rig_copy(&world, a, 8, cache_of(kept), 0, 2, HURDMM_COPY_MOVE, &done),
        ENOTSUP);
    ck_assert_int_eq(rig_copy(&world, a, 8, a, 0, 2,
                              HURDMM_COPY_MOVE | HURDMM_COPY_SHARED, &done),
                     EINVAL);
    ck_assert_int_eq(rig_copy(&world, a, 8, a, 0, 2, 1u << 30, &done), EINVAL);
    ck_assert_int_eq(rig_copy(&world, a, 8, NULL, 0, 2, 0, &done), EINVAL);
    rig_expect(&world, a, "abcd....");
}
END_TEST

/* ---- Life and death ------------------------------------------------------- */

/* A container and a chain and a fan of snapshots, ended in every order. */
START_TEST(snapshots_of_snapshots_are_destroyed_in_any_order)
{
    static const unsigned from[] = {0, 0, 1, 1};
    struct hurdmm_container *c[4];
    unsigned order[4], rest = (unsigned)_i;
    bool gone[4] = {false};
    for (unsigned i = 0; i < 4; i++) {
        order[i] = rest % (4 - i);
        rest /= 4 - i;
        c[i] = i ? rig_container(&world) : rig_filled(&world, "abcd");
        if (i)
            rig_copied(&world, c[i], 0, c[from[i]], 0, 4, 0);
        rig_letter(&world, c[i], i, (char)('A' + i));
    }
    static const char *const pictures[] = {"Abcd", "ABcd", "ABCd", "ABcD"};
    for (unsigned i = 0; i < 4; i++) {
        unsigned victim = 0;
        for (unsigned skip = order[i];; victim++) {
            if (!gone[victim] && skip-- == 0)
                break;
        }
        ck_assert_int_eq(hurdmm_container_destroy(c[victim]), 0);
        gone[victim] = true;
        world_check(&world);
        for (unsigned j = 0; j < 4; j++) {
            if (!gone[j])
                rig_expect(&world, c[j], pictures[j]);
        }
    }
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
}
END_TEST

START_TEST(a_copy_outlives_its_store)
{
    struct disk *disk = rig_disk(&world, "abcdefgh", 0);
    struct hurdmm_container *copy = rig_container(&world);
    rig_copied(&world, copy, 0, cache_of(disk), 0, 8, 0);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, 0), 0);
    ck_assert_uint_eq(disk->destroys, 0);
    rig_expect(&world, copy, "abcdefgh");
    ck_assert_int_eq(hurdmm_container_destroy(copy), 0);
    ck_assert_uint_eq(disk->destroys, 1);
}
END_TEST

START_TEST(zombies_that_read_each_other_end)
{
    struct disk *disk = swap_disk(8);
    struct hurdmm_container *a = rig_container(&world);
    rig_copied(&world, a, 0, cache_of(disk), 0, 4, 0);
    rig_copied(&world, cache_of(disk), 4, a, 0, 4, HURDMM_COPY_SQUASH);
    rig_copied(&world, a, 4, cache_of(disk), 2, 4, 0);
    rig_copied(&world, cache_of(disk), 0, a, 2, 4, HURDMM_COPY_SQUASH);
    ck_assert_int_eq(hurdmm_container_destroy(a), 0);
    rig_expect_store(&world, disk->store, "########");
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, 0), 0);
    ck_assert_uint_eq(disk->destroys, 1);
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
}
END_TEST

/* ---- Stores and promises -------------------------------------------------- */

START_TEST(an_absent_page_is_fetched_once_for_all_copies)
{
    struct disk *disk = rig_disk(&world, "abcd", 0);
    struct hurdmm_container *one = rig_container(&world);
    struct hurdmm_container *two = rig_container(&world);
    rig_copied(&world, one, 0, cache_of(disk), 0, 4, 0);
    rig_copied(&world, two, 0, cache_of(disk), 0, 4, 0);
    ck_assert_uint_eq(disk->ins, 0);
    rig_expect(&world, two, "abcd");
    rig_expect(&world, one, "abcd");
    rig_expect_store(&world, disk->store, "abcd");
    ck_assert_uint_eq(disk->bytes_in, 4 * world.page);
    ck_assert_uint_eq(world_stats(&world).frames_used, 4);
}
END_TEST

START_TEST(a_copy_that_is_paged_out_is_written_once)
{
    struct hurdmm_container *memory = rig_filled(&world, "abcd");
    struct disk *one = swap_disk(4), *two = swap_disk(4);
    rig_copied(&world, cache_of(one), 0, memory, 0, 4, HURDMM_COPY_SQUASH);
    rig_copied(&world, cache_of(two), 0, cache_of(one), 0, 4,
               HURDMM_COPY_SQUASH);
    ck_assert_int_eq(hurdmm_container_destroy(memory), 0);
    ck_assert_int_eq(
        hurdmm_store_return(one->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(
        hurdmm_store_return(two->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    rig_expect_store(&world, one->store, "abcd");
    rig_expect_store(&world, two->store, "abcd");
    ck_assert_uint_le(one->bytes_out + two->bytes_out, 4 * world.page);
}
END_TEST

enum side { SOURCE_SIDE, COPY_SIDE };

/* A promise, and what settles it. */
static struct disk *promised(struct hurdmm_container **copy, unsigned flags)
{
    struct disk *disk = rig_disk(&world, "abcd", flags);
    *copy = rig_container(&world);
    rig_copied(&world, *copy, 0, cache_of(disk), 0, 4, 0);
    ck_assert_uint_eq(disk->ins, 0);
    return disk;
}

START_TEST(a_promise_is_settled_by_a_fill_on_either_side)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, 0);
    if (_i == SOURCE_SIDE)
        rig_expect_store(&world, disk->store, "abcd");
    rig_expect(&world, copy, "abcd");
    memset(disk->bytes, '!', 4 * world.page); /* not asked again */
    rig_expect(&world, copy, "abcd");
    rig_expect_store(&world, disk->store, "abcd");
}
END_TEST

START_TEST(a_promise_is_settled_by_a_write_on_either_side)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, 0);
    if (_i == SOURCE_SIDE) {
        uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
        world_put(&world, at + world.page, 'X');
        rig_expect(&world, copy, "abcd");
        rig_expect_store(&world, disk->store, "a?cd");
    } else {
        rig_letter(&world, copy, 1, 'X');
        rig_expect(&world, copy, "aXcd");
        rig_expect_store(&world, disk->store, "abcd");
    }
}
END_TEST

START_TEST(a_promise_is_settled_by_discard)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, 0);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, HURDMM_WHOLE), 0);
    memset(disk->bytes, '!', 4 * world.page);
    rig_expect(&world, copy, "abcd");
    rig_expect_store(&world, disk->store, "!!!!");
}
END_TEST

START_TEST(a_promise_is_settled_by_truncation)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, 0);
    ck_assert_int_eq(hurdmm_store_resize(disk->store, world.page / 2), 0);
    memset(disk->bytes, '!', 4 * world.page);
    rig_expect(&world, copy, "abcd");
}
END_TEST

START_TEST(a_promise_gets_what_is_supplied)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, 0);
    char bytes[WORLD_PAGE];
    size_t done;
    memset(bytes, 'b', sizeof bytes);
    ck_assert_int_eq(
        hurdmm_store_supply(disk->store, world.page, bytes, world.page, &done),
        0);
    rig_expect(&world, copy, "abcd");
    ck_assert_uint_eq(disk->bytes_in, 3 * world.page);
}
END_TEST

START_TEST(a_promise_gets_the_frame_of_store_cache)
{
    struct hurdmm_container *copy, *memory = rig_filled(&world, "b");
    struct disk *disk = promised(&copy, 0);
    size_t done;
    ck_assert_int_eq(hurdmm_store_cache(disk->store, world.page, memory, 0,
                                        world.page, &done),
                     0);
    rig_expect(&world, memory, ".");
    rig_expect(&world, copy, "abcd");
    ck_assert_uint_eq(disk->bytes_in, 3 * world.page);
}
END_TEST

START_TEST(a_promise_is_settled_by_an_overwrite_of_the_whole_page)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, 0);
    rig_store_letter(&world, disk->store, 1, 'X');
    rig_expect(&world, copy, "abcd");
    rig_expect_store(&world, disk->store, "aXcd");
}
END_TEST

START_TEST(a_promise_survives_the_destruction_of_its_source)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, _i ? HURDMM_STORE_VOLATILE : 0);
    ck_assert_int_eq(hurdmm_store_destroy(disk->store, HURDMM_DROP), 0);
    rig_expect(&world, copy, "abcd");
}
END_TEST

START_TEST(a_promise_survives_a_write_back_of_its_source)
{
    struct disk *disk = rig_disk(&world, "abcd", 0);
    struct hurdmm_container *copy = rig_container(&world);
    rig_store_letter(&world, disk->store, 1, 'X');
    rig_copied(&world, copy, 0, cache_of(disk), 0, 4, 0);
    ck_assert_int_eq(
        hurdmm_store_return(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    rig_expect(&world, copy, "aXcd");
    rig_store_letter(&world, disk->store, 1, 'Y');
    ck_assert_int_eq(
        hurdmm_store_return(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    rig_expect(&world, copy, "aXcd");
    rig_expect_store(&world, disk->store, "aYcd");
}
END_TEST

/* A promise of a promise: a copy of a container that has copied a store. */
static struct disk *promised_twice(struct hurdmm_container **middle,
                                   struct hurdmm_container **copy)
{
    struct disk *disk = promised(middle, 0);
    *copy = rig_container(&world);
    rig_copied(&world, *copy, 0, *middle, 0, 4, 0);
    ck_assert_uint_eq(disk->ins, 0);
    return disk;
}

START_TEST(a_promise_survives_the_release_of_its_source)
{
    struct hurdmm_container *middle, *copy;
    struct disk *disk = promised_twice(&middle, &copy);
    ck_assert_int_eq(rig_release(&world, middle, 1, 2), 0);
    ck_assert_uint_eq(disk->ins, 0);
    rig_expect(&world, middle, "a..d");
    rig_expect(&world, copy, "abcd");
    rig_expect_store(&world, disk->store, "abcd");
}
END_TEST

START_TEST(a_promise_survives_a_squash_of_its_source)
{
    struct hurdmm_container *middle, *copy, *other = rig_filled(&world, "xyz");
    struct disk *disk = promised_twice(&middle, &copy);
    rig_copied(&world, middle, 1, other, 0, 3,
               _i ? HURDMM_COPY_SQUASH : HURDMM_COPY_SQUASH | HURDMM_COPY_MOVE);
    ck_assert_uint_eq(disk->ins, 0);
    rig_expect(&world, middle, "axyz");
    rig_expect(&world, copy, "abcd");
    rig_expect(&world, other, _i ? "xyz" : "...");
    rig_expect_store(&world, disk->store, "abcd");
}
END_TEST

START_TEST(a_promise_goes_where_its_source_moves)
{
    struct hurdmm_container *middle, *copy, *there = rig_container(&world);
    struct disk *disk = promised_twice(&middle, &copy);
    rig_copied(&world, there, 7, middle, 1, 2, HURDMM_COPY_MOVE);
    ck_assert_uint_eq(disk->ins, 0);
    rig_letter(&world, there, 8, 'X');
    rig_expect(&world, there, ".......bX");
    rig_expect(&world, middle, "a..d");
    rig_expect(&world, copy, "abcd");
    ck_assert_int_eq(hurdmm_container_destroy(there), 0);
    rig_expect(&world, copy, "abcd");
    rig_expect_store(&world, disk->store, "abcd");
}
END_TEST

/* The source comes, goes by pressure, and comes again. */
START_TEST(a_promise_survives_the_eviction_of_its_source)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, 0);
    struct disk *other = world_disk(&world, 200 * world.page, 0);
    char byte;
    size_t done;
    if (_i)
        rig_store_letter(&world, disk->store, 2, 'C');
    else
        rig_expect_store(&world, disk->store, "abcd");
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 200; i++)
            ck_assert_int_eq(hurdmm_store_read(other->store, i * world.page,
                                               &byte, 1, &done),
                             0);
    ck_assert_uint_gt(world_stats(&world).evictions, 0);
    rig_expect(&world, copy, "abcd");
    rig_expect_store(&world, disk->store, _i ? "abCd" : "abcd");
}
END_TEST

START_TEST(a_copy_whose_store_cannot_be_read_says_so)
{
    struct hurdmm_container *copy;
    struct disk *disk = promised(&copy, 0);
    char byte;
    size_t done;
    disk_fail(disk, DISK_IN, 1, EIO, false);
    ck_assert_int_eq(hurdmm_container_read(copy, 0, &byte, 1, &done), EIO);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(rig_release(&world, copy, 0, 1), 0);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, HURDMM_WHOLE), 0);
    rig_expect(&world, copy, ".bcd");
    rig_expect_store(&world, disk->store, "abcd");
}
END_TEST

/* A copy of a disk whose first page cannot be read. */
static struct disk *unreadable(struct hurdmm_container **copy)
{
    struct disk *disk = promised(copy, 0);
    char byte;
    size_t done;
    disk_fail(disk, DISK_IN, 1, EIO, false);
    ck_assert_int_eq(hurdmm_container_read(*copy, 0, &byte, 1, &done), EIO);
    return disk;
}

/* The copy has the error of its own, until it is written over. */
static void expect_error_kept(struct hurdmm_container *copy)
{
    char page[4096], byte;
    size_t done;
    ck_assert_int_eq(hurdmm_container_read(copy, 0, &byte, 1, &done), EIO);
    ck_assert_int_eq(hurdmm_container_write(copy, 3, "x", 1, &done), EIO);
    memset(page, 'X', world.page);
    ck_assert_int_eq(hurdmm_container_write(copy, 0, page, world.page, &done),
                     0);
    rig_expect(&world, copy, "Xbcd");
}

START_TEST(a_page_that_cannot_be_read_can_be_discarded_though_copied)
{
    struct hurdmm_container *copy;
    struct disk *disk = unreadable(&copy);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, HURDMM_WHOLE), 0);
    rig_expect_store(&world, disk->store, "abcd");
    expect_error_kept(copy);
    rig_expect_store(&world, disk->store, "abcd");
}
END_TEST

START_TEST(a_page_that_cannot_be_read_can_be_rewritten_though_copied)
{
    struct hurdmm_container *copy = rig_container(&world);
    struct disk *disk = world_disk_of(&world, 4 * world.page, 0,
                                      HURDMM_STORE_SHARED, DISK_PLAIN);
    char page[4096], byte;
    size_t done;
    for (unsigned i = 0; i < 4; i++)
        memset(disk->bytes + i * world.page, "abcd"[i], world.page);
    rig_copied(&world, copy, 0, cache_of(disk), 0, 4, 0);
    disk_fail(disk, DISK_IN, 1, EIO, false);
    ck_assert_int_eq(hurdmm_container_read(copy, 0, &byte, 1, &done), EIO);
    memset(page, 'N', world.page);
    ck_assert_int_eq(
        hurdmm_store_write(disk->store, 0, page, world.page, &done), 0);
    rig_expect_store(&world, disk->store, "Nbcd");
    expect_error_kept(copy);
    rig_expect_store(&world, disk->store, "Nbcd");
}
END_TEST

START_TEST(a_copied_error_goes_with_a_release)
{
    struct hurdmm_container *copy;
    struct disk *disk = unreadable(&copy);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, HURDMM_WHOLE), 0);
    ck_assert_int_eq(rig_release(&world, copy, 0, 1), 0);
    rig_expect(&world, copy, ".bcd");
}
END_TEST

START_TEST(a_store_with_an_unreadable_copied_page_is_truncated)
{
    struct hurdmm_container *copy;
    struct disk *disk = unreadable(&copy);
    char byte;
    size_t done;
    ck_assert_int_eq(hurdmm_store_resize(disk->store, 0), 0);
    ck_assert_int_eq(hurdmm_container_read(copy, 0, &byte, 1, &done), EIO);
    ck_assert_int_eq(hurdmm_container_read(copy, world.page, &byte, 1, &done),
                     0);
    ck_assert_int_eq(byte, 'b');
    ck_assert_int_eq(hurdmm_store_resize(disk->store, 4 * world.page), 0);
}
END_TEST

START_TEST(a_shared_copy_sees_a_truncation)
{
    struct hurdmm_container *copy;
    struct disk *disk = rig_disk(&world, "abcd", 0);
    copy = rig_container(&world);
    rig_copied(&world, copy, 0, cache_of(disk), 0, 4, HURDMM_COPY_SHARED);
    uintptr_t address = rig_bind(&world, copy, 4);
    char byte;
    size_t done;
    uint8_t value;
    world_expect(&world, address + 3 * world.page, 'd');
    ck_assert_int_eq(
        hurdmm_store_resize(disk->store, 2 * world.page + world.page / 2), 0);
    ck_assert_int_eq(
        hurdmm_container_read(copy, 3 * world.page, &byte, 1, &done), ENXIO);
    ck_assert_int_eq(world_load(&world, address + 3 * world.page, &value),
                     ENXIO);
    world_expect(&world, address + 2 * world.page, 'c');
    world_expect(&world, address + 3 * world.page - 1, 0);
    ck_assert_int_eq(hurdmm_store_resize(disk->store, 4 * world.page), 0);
    ck_assert_int_eq(
        hurdmm_container_read(copy, 3 * world.page, &byte, 1, &done), 0);
}
END_TEST

START_TEST(a_terabyte_of_absent_pages_is_copied_without_a_page)
{
    struct disk *disk = rig_disk(&world, "abcd", 0);
    struct hurdmm_container *copy = rig_container(&world);
    const uint64_t size = UINT64_C(1) << 40;
    ck_assert_int_eq(hurdmm_store_resize(disk->store, size), 0);
    uint64_t core = world_stats(&world).core_bytes, done;
    ck_assert_int_eq(
        hurdmm_container_copy(copy, 0, cache_of(disk), 0, size, 0, &done), 0);
    ck_assert_uint_eq(done, size);
    ck_assert_uint_lt(world_stats(&world).core_bytes - core, 65536);
    rig_expect(&world, copy, "abcd");
    ck_assert_int_eq(hurdmm_container_release(copy, 0, size), 0);
    ck_assert_int_eq(hurdmm_store_resize(disk->store, 4 * world.page), 0);
}
END_TEST

START_TEST(sharers_of_memory_that_a_store_takes_see_the_store)
{
    struct hurdmm_container *memory = rig_filled(&world, "ab");
    struct hurdmm_container *sharer = rig_container(&world);
    struct disk *disk = rig_disk(&world, "abcd", 0);
    size_t done;
    rig_copied(&world, sharer, 0, memory, 0, 2, HURDMM_COPY_SHARED);
    ck_assert_int_eq(
        hurdmm_store_cache(disk->store, 0, memory, 0, 2 * world.page, &done),
        0);
    rig_store_letter(&world, disk->store, 1, 'X');
    rig_expect(&world, sharer, "aX");
    rig_expect(&world, memory, "..");
}
END_TEST

START_TEST(what_a_store_took_does_not_come_back)
{
    struct hurdmm_container *first = rig_filled(&world, "ab");
    struct hurdmm_container *copy = rig_container(&world);
    struct disk *disk = rig_disk(&world, "abcd", 0);
    size_t done;
    rig_copied(&world, copy, 0, first, 0, 2, 0);
    ck_assert_int_eq(
        hurdmm_store_cache(disk->store, 0, copy, 0, 2 * world.page, &done), 0);
    rig_expect(&world, copy, "..");
    rig_expect(&world, first, "ab");
}
END_TEST

START_TEST(a_supply_leaves_a_copied_page_alone)
{
    struct hurdmm_container *memory = rig_filled(&world, "ab");
    struct disk *disk = swap_disk(2);
    char bytes[2 * WORLD_PAGE];
    size_t done;
    memset(bytes, '#', sizeof bytes);
    rig_copied(&world, cache_of(disk), 0, memory, 0, 2, 0);
    ck_assert_int_eq(
        hurdmm_store_supply(disk->store, 0, bytes, sizeof bytes, &done), 0);
    rig_expect_store(&world, disk->store, "ab");
}
END_TEST

START_TEST(a_store_is_not_read_through_itself)
{
    struct disk *disk = swap_disk(8);
    struct hurdmm_container *view = rig_container(&world);
    unsigned done;
    rig_copied(&world, view, 0, cache_of(disk), 0, 8, HURDMM_COPY_SHARED);
    for (unsigned to = 0; to < 4; to++)
        ck_assert_int_eq(rig_copy(&world, cache_of(disk), to, view, 2, 4,
                                  HURDMM_COPY_SQUASH, &done),
                         EINVAL);
    rig_copied(&world, cache_of(disk), 6, view, 2, 2, HURDMM_COPY_SQUASH);
    rig_letter(&world, view, 2, 'X');
    rig_expect_store(&world, disk->store, "##X#####");
}
END_TEST

START_TEST(a_snapshot_is_put_back)
{
    struct disk *disk = swap_disk(4);
    struct hurdmm_container *copy = rig_container(&world);
    for (unsigned i = 0; i < 4; i++)
        rig_store_letter(&world, disk->store, i, (char)('a' + i));
    rig_copied(&world, copy, 0, cache_of(disk), 0, 4, 0);
    rig_store_letter(&world, disk->store, 2, 'X');
    rig_copied(&world, cache_of(disk), 0, copy, 0, 4, HURDMM_COPY_SQUASH);
    ck_assert_int_eq(hurdmm_container_destroy(copy), 0);
    rig_expect_store(&world, disk->store, "abcd");
    ck_assert_int_eq(
        hurdmm_store_return(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    rig_expect_store(&world, disk->store, "abcd");
}
END_TEST

/* ---- 2005's memory objects ------------------------------------------------ */

START_TEST(memory_use_shows_the_containers_memory)
{
    struct hurdmm_container *memory = rig_filled(&world, "abcd");
    struct disk *disk = swap_disk(4);
    uint64_t done;
    ck_assert_int_eq(hurdmm_memory_use(disk->store, world.page, memory,
                                       2 * world.page, 2 * world.page, &done),
                     0);
    ck_assert_uint_eq(done, 2 * world.page);
    rig_expect_store(&world, disk->store, "#cd#");
    rig_store_letter(&world, disk->store, 1, 'X');
    rig_expect(&world, memory, "abXd");
    ck_assert_int_eq(hurdmm_memory_use(disk->store, world.page, memory, 0,
                                       world.page, &done),
                     EEXIST);
}
END_TEST

START_TEST(memory_use_needs_a_store_that_writes_nothing_back)
{
    struct hurdmm_container *memory = rig_filled(&world, "abcd");
    struct disk *disk = rig_disk(&world, "####", 0);
    uint64_t done;
    ck_assert_int_eq(
        hurdmm_memory_use(disk->store, 0, memory, 0, 2 * world.page, &done),
        ENOTSUP);
    ck_assert_uint_eq(done, 0);
}
END_TEST

START_TEST(memory_transfer_copies_or_moves)
{
    struct hurdmm_container *memory = rig_filled(&world, "abcd");
    struct disk *disk = rig_disk(&world, "####", 0);
    uint64_t done;
    ck_assert_int_eq(hurdmm_memory_transfer(disk->store, 0, memory, 0,
                                            4 * world.page, _i, &done),
                     0);
    ck_assert_uint_eq(done, 4 * world.page);
    rig_expect_store(&world, disk->store, "abcd");
    rig_expect(&world, memory, _i ? "...." : "abcd");
    if (!_i)
        rig_letter(&world, memory, 0, 'X');
    rig_expect_store(&world, disk->store, "abcd");
    ck_assert_uint_eq(disk->ins, 0);
}
END_TEST

/* A page that another has and may write to: the store gets it as it is. */
START_TEST(memory_transfer_moves_what_is_shared)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    struct disk *disk = swap_disk(4);
    uint64_t done;
    uintptr_t address = rig_bind(&world, a, 4);
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_SHARED);
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, address + i * world.page, '!');
    ck_assert_int_eq(
        hurdmm_memory_transfer(disk->store, 0, b, 0, 4 * world.page, 1, &done),
        0);
    ck_assert_uint_eq(done, 4 * world.page);
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, address + i * world.page, '?');
    uint8_t byte;
    size_t bytes;
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(
            hurdmm_store_read(disk->store, i * world.page, &byte, 1, &bytes),
            0);
        ck_assert_uint_eq(byte, '!');
    }
}
END_TEST

START_TEST(memory_transfer_leaves_what_is_pinned)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    struct disk *disk = swap_disk(4);
    struct hurdmm_physical_run run[4];
    uint64_t done;
    size_t runs;
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_SHARED);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(hurdmm_container_pin(i ? a : b, world.page, world.page,
                                              HURDMM_READ, run, 4, &runs),
                         0);
        ck_assert_int_eq(hurdmm_memory_transfer(disk->store, i * world.page, b,
                                                i * world.page, 2 * world.page,
                                                1, &done),
                         EBUSY);
        ck_assert_uint_eq(done, (1 - i) * world.page);
        ck_assert_int_eq(hurdmm_container_unpin(i ? a : b, world.page,
                                                world.page, HURDMM_READ),
                         0);
    }
    ck_assert_uint_eq(world_stats(&world).frames_pinned, 0);
}
END_TEST

/* Where frames move the bytes are where the page is shown. */
START_TEST(a_pinned_page_is_read_where_it_is_shown)
{
    const struct world_options options = {.frames = 64,
                                          .hide = HURDMM_PORT_ALIAS};
    world_end(&world);
    world_begin(&world, &options);
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    rig_copied(&world, b, 1, a, 0, 4, HURDMM_COPY_SHARED);
    uintptr_t address = rig_bind(&world, b, 5);
    ck_assert_int_eq(hurdmm_pin(world.space, address + world.page,
                                2 * world.page, HURDMM_READ),
                     0);
    rig_expect(&world, a, "abcd");
    world_check(&world);
    ck_assert_int_eq(hurdmm_unpin(world.space, address + world.page,
                                  2 * world.page, HURDMM_READ),
                     0);
}
END_TEST

/* Who had a copy of the store before does not see what is written there later. */
START_TEST(memory_that_is_used_is_copied_before_it_is_written)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *copy = rig_container(&world);
    struct disk *disk = swap_disk(4);
    uint64_t done;
    uintptr_t address = rig_bind(&world, a, 4);
    world_put(&world, address, 'a');
    rig_copied(&world, copy, 0, cache_of(disk), 0, 4, 0);
    ck_assert_int_eq(
        hurdmm_memory_use(disk->store, 0, a, 0, 4 * world.page, &done), 0);
    world_check(&world);
    world_put(&world, address, '!');
    rig_expect(&world, copy, "abcd");
}
END_TEST

/* Cuts a store while a copy waits for a page of it that is on its way. */
struct cutter {
    struct disk *disk;
    struct hurdmm_container *source;
    int error[3];
};

static void discard_body(void *argument)
{
    struct cutter *cutter = argument;
    cutter->error[0] =
        hurdmm_store_discard(cutter->disk->store, 0, 2 * world.page);
}

/* A page that cannot be read is copied to somebody who goes meanwhile. */
START_TEST(a_copy_that_goes_is_not_given_an_error)
{
    struct hurdmm_container *copy = rig_container(&world);
    struct cutter cutter = {swap_disk(8), NULL, {-1, -1, -1}};
    rig_copied(&world, copy, 0, cache_of(cutter.disk), 0, 2, 0);
    cutter.disk->hold_in = true;
    disk_fail(cutter.disk, DISK_IN, 1, EIO, true);
    world_spawn(&world, discard_body, &cutter);
    while (cutter.disk->ins == 0)
        hurdmm_sim_sleep(world.port, 1000);
    ck_assert_int_eq(hurdmm_container_destroy(copy), 0);
    cutter.disk->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(cutter.error[0], 0);
    disk_fail(cutter.disk, DISK_IN, 0, 0, false);
}
END_TEST

START_TEST(memory_transfer_stops_at_holes)
{
    struct hurdmm_container *memory = rig_filled(&world, "ab.d");
    struct disk *disk = rig_disk(&world, "####", 0);
    uint64_t done;
    ck_assert_int_eq(hurdmm_memory_transfer(disk->store, 0, memory, 0,
                                            4 * world.page, _i, &done),
                     ENOENT);
    ck_assert_uint_eq(done, 2 * world.page);
    rig_expect_store(&world, disk->store, "ab##");
}
END_TEST

/* ---- Regions and pins ----------------------------------------------------- */

START_TEST(a_copy_takes_write_rights_back_first)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    uintptr_t mine = rig_bind(&world, a, 4), his = rig_bind(&world, b, 4);
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, mine + i * world.page, (uint8_t)('0' + i));
    rig_copied(&world, b, 0, a, 0, 4, 0);
    for (unsigned i = 0; i < 4; i++) {
        world_expect(&world, his + i * world.page, '0' + i);
        world_put(&world, (i % 2 ? mine : his) + i * world.page, '!');
        world_expect(&world, (i % 2 ? his : mine) + i * world.page, '0' + i);
    }
}
END_TEST

START_TEST(regions_of_sharers_see_each_others_stores)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    uintptr_t mine = rig_bind(&world, a, 4), his = rig_bind(&world, b, 4);
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_SHARED);
    world_put(&world, his + world.page, '1');
    world_expect(&world, mine + world.page, '1');
    world_put(&world, mine + world.page, '2');
    world_expect(&world, his + world.page, '2');
}
END_TEST

START_TEST(a_page_pinned_for_writing_is_copied_at_once)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    uintptr_t mine = rig_bind(&world, a, 4);
    ck_assert_int_eq(hurdmm_pin(world.space, mine + world.page, world.page,
                                HURDMM_READ | HURDMM_WRITE),
                     0);
    uint64_t used = world_stats(&world).frames_used;
    uint64_t faults = world_stats(&world).faults;
    rig_copied(&world, b, 0, a, 0, 4, 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, used + 1);
    world_put(&world, mine + world.page, '!');
    ck_assert_uint_eq(world_stats(&world).faults, faults); /* still writable */
    rig_expect(&world, b, "abcd");
    unsigned done;
    ck_assert_int_eq(rig_release(&world, a, 0, 4), EBUSY);
    ck_assert_int_eq(rig_copy(&world, b, 4, a, 0, 4, HURDMM_COPY_MOVE, &done),
                     EBUSY);
    ck_assert_int_eq(rig_copy(&world, a, 0, b, 0, 4, HURDMM_COPY_SQUASH, &done),
                     EBUSY);
    ck_assert_int_eq(hurdmm_unpin(world.space, mine + world.page, world.page,
                                  HURDMM_READ | HURDMM_WRITE),
                     0);
}
END_TEST

/* Also where the copy is of somebody who shares it. */
START_TEST(a_shared_page_pinned_for_writing_is_copied_at_once)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    struct hurdmm_container *c = rig_container(&world);
    uintptr_t mine = rig_bind(&world, a, 4);
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_SHARED);
    ck_assert_int_eq(hurdmm_pin(world.space, mine + world.page, world.page,
                                HURDMM_READ | HURDMM_WRITE),
                     0);
    rig_letter(&world, b, 3, 'D');
    rig_copied(&world, c, 8, b, 0, 4, 0);
    world_put(&world, mine + world.page, '!');
    rig_letter(&world, a, 2, 'C');
    rig_expect(&world, c, "........abcD");
    rig_expect(&world, b, "a?CD");
    ck_assert_int_eq(hurdmm_unpin(world.space, mine + world.page, world.page,
                                  HURDMM_READ | HURDMM_WRITE),
                     0);
}
END_TEST

START_TEST(a_copy_of_pinned_pages_that_lacks_memory_changes_nothing)
{
    const struct world_options options = {.frames = 64,
                                          .hide = HURDMM_PORT_ALIAS};
    world_end(&world);
    world_begin(&world, &options);
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_filled(&world, "12");
    uintptr_t mine = rig_bind(&world, a, 4);
    unsigned done, nth = 1;
    int error;
    ck_assert_int_eq(hurdmm_pin(world.space, mine, 4 * world.page,
                                HURDMM_READ | HURDMM_WRITE),
                     0);
    do {
        hurdmm_sim_fail(world.port, HURDMM_SIM_MEMORY, nth++, 0, 1);
        error = rig_copy(&world, b, 0, a, 0, 4, HURDMM_COPY_SQUASH, &done);
        hurdmm_sim_fail(world.port, 0, 0, 0, 0);
        ck_assert(error == 0 || error == ENOMEM);
        rig_expect(&world, b, error ? "12.." : "abcd");
    } while (error);
    ck_assert_int_eq(hurdmm_unpin(world.space, mine, 4 * world.page,
                                  HURDMM_READ | HURDMM_WRITE),
                     0);
}
END_TEST

/* Each is read through the one that was made after it. */
#define GENERATIONS 4000u

static void write_first(void *address)
{
    world_put(&world, (uintptr_t)address, '!');
}

START_TEST(a_page_of_many_generations_can_be_written)
{
    static struct hurdmm_container *copies[GENERATIONS];
    struct hurdmm_container *live = rig_filled(&world, "ab");
    uintptr_t address = rig_bind(&world, live, 2);
    for (unsigned i = 0; i < GENERATIONS; i++) {
        copies[i] = rig_container(&world);
        rig_copied(&world, copies[i], 0, live, 0, 2, 0);
    }
    uintptr_t old = rig_bind(&world, copies[0], 2);
    world_expect(&world, old, 'a');
    world_spawn(&world, write_first, (void *)address);
    world_run(&world);
    world_expect(&world, old, 'a');
    world_expect(&world, address, '!');
    rig_expect(&world, copies[GENERATIONS / 2], "ab");
}
END_TEST

START_TEST(a_page_is_pinned_for_all_who_share_it)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_SHARED);
    uintptr_t his = rig_bind(&world, b, 4);
    ck_assert_int_eq(
        hurdmm_pin(world.space, his + world.page, world.page, HURDMM_READ), 0);
    ck_assert_int_eq(rig_release(&world, b, 0, 4), EBUSY);
    ck_assert_int_eq(rig_release(&world, a, 0, 4), EBUSY);
    ck_assert_int_eq(rig_release(&world, b, 2, 2), 0);
    ck_assert_int_eq(hurdmm_unbind(world.space, his, 2 * world.page), EBUSY);
    ck_assert_int_eq(
        hurdmm_unpin(world.space, his + world.page, world.page, HURDMM_READ),
        0);
    ck_assert_int_eq(rig_release(&world, b, 0, 4), 0);
}
END_TEST

START_TEST(a_discard_leaves_shared_pages_that_are_pinned)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct disk *disk = swap_disk(4);
    rig_copied(&world, cache_of(disk), 0, a, 0, 4, HURDMM_COPY_SHARED);
    uintptr_t his = world_bind(&world, disk, 0, 4 * world.page);
    ck_assert_int_eq(
        hurdmm_pin(world.space, his + world.page, world.page, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, HURDMM_WHOLE), EBUSY);
    rig_expect_store(&world, disk->store, "#b##");
    ck_assert_int_eq(
        hurdmm_unpin(world.space, his + world.page, world.page, HURDMM_READ),
        0);
}
END_TEST

/* And what is copied is a copy itself. */
START_TEST(neighbours_in_one_store_are_copied_either_way)
{
    struct disk *disk = rig_disk(&world, "abcd", HURDMM_STORE_VOLATILE);
    struct hurdmm_container *other = rig_filled(&world, "xy");
    unsigned from = _i ? 2 : 0;
    rig_copied(&world, cache_of(disk), from, other, 0, 2, HURDMM_COPY_SQUASH);
    rig_copied(&world, cache_of(disk), 2 - from, cache_of(disk), from, 2,
               HURDMM_COPY_SQUASH);
    rig_expect_store(&world, disk->store, "xyxy");
    rig_store_letter(&world, disk->store, from, 'X');
    rig_expect_store(&world, disk->store, _i ? "xyXy" : "Xyxy");
    rig_expect(&world, other, "xy");
}
END_TEST

/* The source has no page of its own: who shares it writes through a mapping. */
START_TEST(a_copy_of_a_sharer_takes_rights_back_from_the_owner)
{
    struct hurdmm_container *owner = rig_filled(&world, "abcd");
    struct hurdmm_container *sharer = rig_container(&world);
    struct hurdmm_container *copy = rig_container(&world);
    uintptr_t address = rig_bind(&world, owner, 4);
    rig_copied(&world, sharer, 0, owner, 0, 4, HURDMM_COPY_SHARED);
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, address + i * world.page, (uint8_t)('a' + i));
    rig_copied(&world, copy, 0, sharer, 0, 4, 0);
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, address + i * world.page, '!');
    rig_expect(&world, copy, "abcd");
    rig_expect(&world, sharer, "????");
}
END_TEST

START_TEST(a_squash_frees_what_only_the_target_read)
{
    struct hurdmm_container *first = rig_filled(&world, "abcd");
    struct hurdmm_container *other = rig_filled(&world, "wxyz");
    struct hurdmm_container *copy = rig_container(&world);
    rig_copied(&world, copy, 0, first, 0, 4, 0);
    ck_assert_int_eq(hurdmm_container_destroy(first), 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, 8);
    rig_copied(&world, copy, 0, other, 0, 4, HURDMM_COPY_SQUASH);
    ck_assert_uint_eq(world_stats(&world).frames_used, 4);
    rig_expect(&world, copy, "wxyz");
}
END_TEST

/* Each copy must be cut in two where the release begins, but not where it
 * ends; there is no memory to be had meanwhile. */
START_TEST(a_release_through_many_copies_reserves_what_it_takes)
{
    static struct hurdmm_container *copies[600];
    struct hurdmm_container *c = rig_filled(&world, "abcdefgh");
    int error = ENOMEM;
    for (unsigned i = 0; i < 600; i++) {
        copies[i] = rig_container(&world);
        rig_copied(&world, copies[i], 0, c, 0, 5, _i ? HURDMM_COPY_SHARED : 0);
    }
    for (unsigned nth = 1; error; nth++) {
        hurdmm_sim_fail(world.port, HURDMM_SIM_MEMORY, nth, 0, 1);
        error = rig_release(&world, c, 2, 5);
        hurdmm_sim_fail(world.port, 0, 0, 0, 0);
        ck_assert(error == 0 || error == ENOMEM);
        rig_expect(&world, c, error ? "abcdefgh" : "ab.....h");
        for (unsigned i = 0; i < 600; i += 7)
            rig_expect(&world, copies[i], "abcde");
    }
    world_check(&world);
}
END_TEST

static void touch_body(void *argument)
{
    struct cutter *cutter = argument;
    size_t done;
    cutter->error[0] = hurdmm_store_populate(cutter->disk->store,
                                             5 * world.page, world.page, &done);
}

static void cut_body(void *argument)
{
    struct cutter *cutter = argument;
    cutter->error[1] = hurdmm_store_resize(cutter->disk->store, 2 * world.page);
}

static void copy_body(void *argument)
{
    struct cutter *cutter = argument;
    unsigned done;
    cutter->error[2] =
        rig_copy(&world, cache_of(cutter->disk), 4, cutter->source, 0, 4,
                 HURDMM_COPY_SQUASH, &done);
}

START_TEST(a_copy_does_not_go_past_a_cut)
{
    struct cutter cutter = {
        swap_disk(8), rig_filled(&world, "abcd"), {-1, -1, -1}};
    cutter.disk->hold_in = true;
    world_spawn(&world, touch_body, &cutter);
    hurdmm_sim_sleep(world.port, 10000);
    world_spawn(&world, cut_body, &cutter);
    hurdmm_sim_sleep(world.port, 10000);
    world_spawn(&world, copy_body, &cutter);
    hurdmm_sim_sleep(world.port, 10000);
    cutter.disk->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(cutter.error[1], 0);
    ck_assert(cutter.error[2] == 0 || cutter.error[2] == ENOTSUP);
    ck_assert_int_eq(hurdmm_store_resize(cutter.disk->store, 8 * world.page),
                     0);
    rig_expect_store(&world, cutter.disk->store, "########");
}
END_TEST

struct user {
    struct disk *disk;
    struct hurdmm_container *source;
    int error[2];
};

static void shorten_body(void *argument)
{
    struct user *user = argument;
    user->error[0] = hurdmm_store_resize(user->disk->store, 2 * world.page);
}

static void use_body(void *argument)
{
    struct user *user = argument;
    uint64_t done;
    user->error[1] = hurdmm_memory_use(user->disk->store, 4 * world.page,
                                       user->source, 0, 2 * world.page, &done);
}

START_TEST(memory_is_not_used_past_a_cut)
{
    const struct world_options options = {.frames = 64,
                                          .seed = 1 + (uint64_t)_i};
    world_end(&world);
    world_begin(&world, &options);
    struct user user = {swap_disk(8), rig_filled(&world, "ab"), {-1, -1}};
    world_spawn(&world, shorten_body, &user);
    world_spawn(&world, use_body, &user);
    world_run(&world);
    ck_assert_int_eq(user.error[0], 0);
    ck_assert(user.error[1] == 0 || user.error[1] == EINVAL);
    ck_assert_int_eq(hurdmm_store_resize(user.disk->store, 8 * world.page), 0);
    rig_expect_store(&world, user.disk->store, "########");
}
END_TEST

START_TEST(several_ranges_are_copied_or_none)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_filled(&world, "12.4");
    struct hurdmm_container *t = rig_container(&world);
    struct hurdmm_copy_range ranges[2] = {
        {t, 0, a, 0, 4 * world.page},
        {t, 4 * world.page, b, 0, 4 * world.page},
    };
    ck_assert_int_eq(hurdmm_container_copy_ranges(ranges, 2, 0), ENOENT);
    rig_expect(&world, t, "........");
    ranges[1].length = 2 * world.page;
    ck_assert_int_eq(hurdmm_container_copy_ranges(ranges, 2, 0), 0);
    rig_expect(&world, t, "abcd12..");
    ck_assert_int_eq(hurdmm_container_copy_ranges(ranges, 2, 0), EEXIST);
    ck_assert_int_eq(
        hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SQUASH), 0);
    ck_assert_int_eq(hurdmm_container_copy_ranges(ranges, 0, 0), EINVAL);
    ck_assert_int_eq(hurdmm_container_copy_ranges(ranges, 65, 0), EINVAL);
    ck_assert_int_eq(
        hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SHARED), EINVAL);
    ranges[1].target_offset = 3 * world.page;
    ck_assert_int_eq(
        hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SQUASH), EINVAL);
    ranges[1] = (struct hurdmm_copy_range){a, 0, t, 0, world.page};
    ck_assert_int_eq(
        hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SQUASH), EINVAL);
    ranges[1] = (struct hurdmm_copy_range){t, 3 * world.page, b, 0, world.page};
    ck_assert_int_eq(rig_release(&world, t, 0, 8), 0);
    ck_assert_int_eq(hurdmm_container_copy_ranges(ranges, 2, 0), EINVAL);
    rig_expect(&world, t, "........");
}
END_TEST

/* ---- At one instant ------------------------------------------------------- */

/* Writers move amounts between the first numbers of the pages of two stores;
 * the sum is the same at every instant.  Each transfer first takes and then
 * gives, so that a copy may miss what is on its way, which the writer says in a
 * number of its own page. */
#define ACCOUNTS 12u
#define WRITERS 3u
#define START 1000000u /* no account is ever overdrawn */

struct writer {
    unsigned number;
    uintptr_t base[2];
    uint64_t seed;
    bool *stop;
    unsigned transfers;
};

static struct world bank;

static uintptr_t account(const struct writer *writer, unsigned number)
{
    return writer->base[number % 2] + number / 2 * bank.page;
}

/* Where the writer notes what it has in its hands. */
static uintptr_t hands(const struct writer *writer)
{
    return writer->base[0] + (ACCOUNTS / 2 + writer->number) * bank.page;
}

/* Writes are one at a time and in this order, in every copy too: the note is
 * written before the account is debited, so that the sum of accounts and notes
 * never falls below the truth and exceeds it by less than what is moved. */
static void transfer(struct writer *writer)
{
    unsigned from = (unsigned)(writer->seed >> 33) % ACCOUNTS;
    unsigned to = (unsigned)(writer->seed >> 13) % ACCOUNTS;
    uint64_t amount = 1 + (writer->seed >> 50) % 9, note = 0;
    writer->seed = writer->seed * UINT64_C(6364136223846793005) + 1442695;
    ck_assert_int_eq(hurdmm_sim_store64(bank.port, NULL, hands(writer), amount),
                     0);
    ck_assert_int_eq(hurdmm_sim_add64(bank.port, NULL, account(writer, from),
                                      0 - amount, NULL),
                     0);
    ck_assert_int_eq(
        hurdmm_sim_add64(bank.port, NULL, account(writer, to), amount, NULL),
        0);
    ck_assert_int_eq(hurdmm_sim_store64(bank.port, NULL, hands(writer), note),
                     0);
    writer->transfers++;
}

static void writer_body(void *argument)
{
    struct writer *writer = argument;
    while (!*writer->stop)
        transfer(writer);
}

static uint64_t number_at(struct hurdmm_container *container, uint64_t page)
{
    uint64_t number = 0;
    size_t done;
    ck_assert_int_eq(hurdmm_container_read(container, page * bank.page, &number,
                                           sizeof number, &done),
                     0);
    return number;
}

/* What is in no account is at most what the writers say is in their hands. */
static void expect_balance(struct hurdmm_container *copy)
{
    uint64_t sum = 0, held = 0;
    for (unsigned i = 0; i < ACCOUNTS; i++)
        sum += number_at(copy, i % 2 * 32 + i / 2);
    for (unsigned i = 0; i < WRITERS; i++)
        held += number_at(copy, ACCOUNTS / 2 + i);
    ck_assert_msg(sum <= ACCOUNTS * START && sum + held >= ACCOUNTS * START,
                  "a copy of no instant: %llu + %llu", (unsigned long long)sum,
                  (unsigned long long)held);
}

/* Two ranges at one instant, with a single range within. */
static void snapshot(struct disk *disks[2], struct hurdmm_container *copy)
{
    struct hurdmm_copy_range ranges[2];
    unsigned pages = ACCOUNTS / 2 + WRITERS;
    for (unsigned i = 0; i < 2; i++)
        ranges[i] = (struct hurdmm_copy_range){
            copy, i * 32 * bank.page, hurdmm_store_container(disks[i]->store),
            0, pages * bank.page};
    ck_assert_int_eq(
        hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SQUASH), 0);
}

START_TEST(a_copy_is_of_one_instant)
{
    const struct world_options options = {.frames = _i % 2 ? 24 : 64,
                                          .seed = (uint64_t)_i + 1};
    struct writer writers[WRITERS];
    struct disk *disks[2];
    struct hurdmm_container *copy;
    bool stop = false;
    world_begin(&bank, &options);
    copy = rig_container(&bank);
    for (unsigned i = 0; i < 2; i++) {
        disks[i] = world_disk(&bank, 16 * bank.page, HURDMM_STORE_SHARED);
        memset(disks[i]->bytes, 0, 16 * bank.page);
        for (unsigned j = 0; j < ACCOUNTS / 2; j++)
            *(uint64_t *)(void *)(disks[i]->bytes + j * bank.page) = START;
    }
    uintptr_t base[2] = {world_bind(&bank, disks[0], 0, 16 * bank.page),
                         world_bind(&bank, disks[1], 0, 16 * bank.page)};
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){
            i, {base[0], base[1]}, (uint64_t)_i * 977 + i, &stop, 0};
        world_spawn(&bank, writer_body, &writers[i]);
    }
    for (unsigned round = 0; round < 6; round++) {
        hurdmm_sim_sleep(bank.port, 20000);
        snapshot(disks, copy);
        expect_balance(copy);
        expect_balance(copy); /* whoever has written since */
    }
    stop = true;
    world_run(&bank);
    for (unsigned i = 0; i < WRITERS; i++)
        ck_assert_uint_gt(writers[i].transfers, 0);
    ck_assert_int_eq(hurdmm_container_destroy(copy), 0);
    world_end(&bank);
}
END_TEST

/* Every second page, so that rights go in many pieces. */
#define SCATTERED 128u

static void write_body(void *argument)
{
    struct writer *writer = argument;
    for (unsigned i = 0; !*writer->stop; i++) {
        uintptr_t at = writer->base[0] + i % 8 * 2 * bank.page;
        ck_assert_int_eq(hurdmm_sim_store64(bank.port, NULL, at, i), 0);
        writer->transfers++;
    }
}

static uint64_t lends(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(hurdmm_get_stats(bank.manager, &stats), 0);
    return stats.lends;
}

START_TEST(writers_go_on_while_a_copy_takes_rights_back)
{
    const struct world_options options = {.frames = 4 * SCATTERED,
                                          .seed = (uint64_t)_i + 1};
    bool stop = false;
    struct writer writer = {.stop = &stop};
    uint64_t done, size;
    world_begin(&bank, &options);
    size = 2 * SCATTERED * bank.page;
    struct hurdmm_container *memory = rig_container(&bank);
    struct hurdmm_container *copy = rig_container(&bank);
    ck_assert_int_eq(hurdmm_container_allocate(memory, 0, size, 0, &done), 0);
    writer.base[0] = rig_bind(&bank, memory, 2 * SCATTERED);
    for (unsigned i = 0; i < SCATTERED; i++)
        world_put(&bank, writer.base[0] + 2 * i * bank.page, 1);
    world_spawn(&bank, write_body, &writer);
    hurdmm_sim_sleep(bank.port, 20000);
    uint64_t before = lends();
    ck_assert_int_eq(hurdmm_container_copy(copy, 0, memory, 0, size, 0, &done),
                     0);
    uint64_t during = lends() - before;
    stop = true;
    world_run(&bank);
    /* Who waits to the end gets a right or two when all is over. */
    ck_assert_uint_gt(during, 4);
    world_end(&bank);
}
END_TEST

/* Who gives way must not be woken in the place of one who waits for the lock: he
 * would sleep for ever, and a writer with him. */
START_TEST(whoever_waits_while_a_copy_gives_way_goes_on)
{
    const struct world_options options = {.frames = 4 * SCATTERED,
                                          .seed = (uint64_t)_i + 1};
    struct writer writers[WRITERS];
    bool stop = false;
    uint64_t done, size;
    world_begin(&bank, &options);
    size = 2 * SCATTERED * bank.page;
    struct hurdmm_container *memory = rig_container(&bank);
    struct hurdmm_container *copy = rig_container(&bank);
    ck_assert_int_eq(hurdmm_container_allocate(memory, 0, size, 0, &done), 0);
    uintptr_t base = rig_bind(&bank, memory, 2 * SCATTERED);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] =
            (struct writer){.stop = &stop, .base = {base + 16 * i * bank.page}};
        world_spawn(&bank, write_body, &writers[i]);
    }
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < SCATTERED; i++)
            world_put(&bank, base + (2 * i + 1) * bank.page, 1);
        ck_assert_int_eq(hurdmm_container_copy(copy, 0, memory, 0, size,
                                               HURDMM_COPY_SQUASH, &done),
                         0);
    }
    stop = true;
    world_run(&bank);
    world_end(&bank);
}
END_TEST

static void add_kinds(TCase *cases)
{
    tcase_add_test(cases, a_copy_on_write_keeps_each_sides_writes_apart);
    tcase_add_test(cases, a_shared_copy_shows_all_writes);
    tcase_add_test(cases, a_move_leaves_holes);
    tcase_add_test(cases, a_move_hands_over_who_depends_on_it);
    tcase_add_test(cases, a_copy_needs_no_frame_before_a_write);
    tcase_add_test(cases, squash_replaces_what_was_there);
    tcase_add_test(cases, a_copy_without_squash_says_where_it_stopped);
    tcase_add_test(cases, all_or_none_changes_nothing_when_it_fails);
    tcase_add_loop_test(cases, a_copy_that_lacks_memory_changes_nothing, 0, 4);
    tcase_add_test(cases,
                   a_copy_that_is_tried_again_still_knows_what_was_asked);
    tcase_add_test(cases, who_has_copies_can_end_without_memory);
    tcase_add_test(cases, copies_of_copies_stay_apart);
    tcase_add_test(cases, ranges_that_overlap_in_one_container_are_einval);
    tcase_add_test(cases, a_container_is_copied_within_itself);
    tcase_add_test(cases, bad_copies_are_refused);
    tcase_add_loop_test(
        cases, snapshots_of_snapshots_are_destroyed_in_any_order, 0, 24);
    tcase_add_test(cases, a_copy_outlives_its_store);
    tcase_add_test(cases, zombies_that_read_each_other_end);
}

static void add_promises(TCase *cases)
{
    tcase_add_test(cases, an_absent_page_is_fetched_once_for_all_copies);
    tcase_add_test(cases, a_copy_that_is_paged_out_is_written_once);
    tcase_add_loop_test(cases, a_promise_is_settled_by_a_fill_on_either_side, 0,
                        2);
    tcase_add_loop_test(cases, a_promise_is_settled_by_a_write_on_either_side,
                        0, 2);
    tcase_add_test(cases, a_promise_is_settled_by_discard);
    tcase_add_test(cases, a_promise_is_settled_by_truncation);
    tcase_add_test(cases, a_promise_gets_what_is_supplied);
    tcase_add_test(cases, a_promise_gets_the_frame_of_store_cache);
    tcase_add_test(cases,
                   a_promise_is_settled_by_an_overwrite_of_the_whole_page);
    tcase_add_loop_test(cases, a_promise_survives_the_destruction_of_its_source,
                        0, 2);
    tcase_add_test(cases, a_promise_survives_a_write_back_of_its_source);
    tcase_add_test(cases, a_promise_survives_the_release_of_its_source);
    tcase_add_loop_test(cases, a_promise_survives_a_squash_of_its_source, 0, 2);
    tcase_add_test(cases, a_promise_goes_where_its_source_moves);
    tcase_add_loop_test(cases, a_promise_survives_the_eviction_of_its_source, 0,
                        2);
    tcase_add_test(cases, a_copy_whose_store_cannot_be_read_says_so);
    tcase_add_test(cases,
                   a_page_that_cannot_be_read_can_be_discarded_though_copied);
    tcase_add_test(cases,
                   a_page_that_cannot_be_read_can_be_rewritten_though_copied);
    tcase_add_test(cases, a_copied_error_goes_with_a_release);
    tcase_add_test(cases, a_store_with_an_unreadable_copied_page_is_truncated);
    tcase_add_test(cases, a_shared_copy_sees_a_truncation);
    tcase_add_test(cases, a_terabyte_of_absent_pages_is_copied_without_a_page);
    tcase_add_test(cases, sharers_of_memory_that_a_store_takes_see_the_store);
    tcase_add_test(cases, what_a_store_took_does_not_come_back);
    tcase_add_test(cases, a_supply_leaves_a_copied_page_alone);
    tcase_add_test(cases, a_store_is_not_read_through_itself);
    tcase_add_test(cases, a_snapshot_is_put_back);
}

static void add_memory(TCase *cases)
{
    tcase_add_test(cases, memory_use_shows_the_containers_memory);
    tcase_add_test(cases, memory_use_needs_a_store_that_writes_nothing_back);
    tcase_add_loop_test(cases, memory_transfer_copies_or_moves, 0, 2);
    tcase_add_test(cases, memory_transfer_moves_what_is_shared);
    tcase_add_test(cases, memory_transfer_leaves_what_is_pinned);
    tcase_add_test(cases, a_pinned_page_is_read_where_it_is_shown);
    tcase_add_test(cases, memory_that_is_used_is_copied_before_it_is_written);
    tcase_add_test(cases, a_copy_that_goes_is_not_given_an_error);
    tcase_add_loop_test(cases, memory_transfer_stops_at_holes, 0, 2);
    tcase_add_test(cases, a_copy_takes_write_rights_back_first);
    tcase_add_test(cases, regions_of_sharers_see_each_others_stores);
    tcase_add_test(cases, a_page_pinned_for_writing_is_copied_at_once);
    tcase_add_test(cases, a_shared_page_pinned_for_writing_is_copied_at_once);
    tcase_add_test(cases,
                   a_copy_of_pinned_pages_that_lacks_memory_changes_nothing);
    tcase_add_test(cases, a_page_of_many_generations_can_be_written);
    tcase_add_test(cases, a_page_is_pinned_for_all_who_share_it);
    tcase_add_test(cases, a_discard_leaves_shared_pages_that_are_pinned);
    tcase_add_test(cases, several_ranges_are_copied_or_none);
    tcase_add_test(cases, a_copy_does_not_go_past_a_cut);
    tcase_add_scheduled_test(cases, memory_is_not_used_past_a_cut, 0, 40);
    tcase_add_loop_test(cases, neighbours_in_one_store_are_copied_either_way, 0,
                        2);
    tcase_add_test(cases, a_copy_of_a_sharer_takes_rights_back_from_the_owner);
    tcase_add_test(cases, a_squash_frees_what_only_the_target_read);
    tcase_add_loop_test(
        cases, a_release_through_many_copies_reserves_what_it_takes, 0, 2);
}

int main(void)
{
    Suite *suite = suite_create("copy");
    TCase *kinds = tcase_create("kinds"), *promises = tcase_create("promises");
    TCase *memory = tcase_create("memory"), *instant = tcase_create("instant");
    tcase_add_checked_fixture(kinds, begin, end);
    tcase_add_checked_fixture(promises, begin, end);
    tcase_add_checked_fixture(memory, begin, end);
    add_kinds(kinds);
    add_promises(promises);
    add_memory(memory);
    tcase_set_timeout(instant, 60);
    tcase_add_loop_test(instant, a_copy_is_of_one_instant, 0,
                        (int)test_scaled(60));
    tcase_add_scheduled_test(
        instant, writers_go_on_while_a_copy_takes_rights_back, 0, 8);
    tcase_add_scheduled_test(
        instant, whoever_waits_while_a_copy_gives_way_goes_on, 0, 64);
    suite_add_tcase(suite, kinds);
    suite_add_tcase(suite, promises);
    suite_add_tcase(suite, memory);
    suite_add_tcase(suite, instant);
    return run_suites("tests/physmem/test-copy", &suite, 1);
}
