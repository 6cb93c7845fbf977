/* SPDX-License-Identifier: MIT */
/*
 * The copy store: writes go to the delta, the base stays, and the delta can be
 * opened again whatever happened to the machine.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/rand.h"
#include "tests/stores/rig.h"
#include "tests/support/runner.h"

#define PAGES 40u
#define SIZE (PAGES * PAGE - 20)
#define DELTA_MAX ((PAGES + 3) * PAGE)
#define PIECE 16u /* of the delta's first blocks, what is written at once */

/* A disk with a cache that is lost with the power. */
struct platter {
    uint8_t bytes[DELTA_MAX]; /* as it is read */
    uint8_t medium[DELTA_MAX];
    unsigned ins, outs, syncs, unlocks;
    unsigned fail_out, fail_sync; /* the nth from now; 0: none */
    int unlock_error;
    bool slow;                       /* others run while it works */
    bool busy[DELTA_MAX / PAGE + 1]; /* pages that are being read */
    bool overlap;                    /* one was asked for twice at once */
};

static struct rig rig;
static struct platter base_disk, delta_disk;
static struct hurdmm_store *base, *delta, *copy;
static struct hmm_rand rand_state;

static unsigned below(unsigned limit)
{
    return (unsigned)hmm_rand_below(&rand_state, limit);
}

static bool nth(unsigned *counter)
{
    return *counter > 0 && --*counter == 0;
}

static int platter_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *buffer, size_t length, size_t *done)
{
    struct platter *platter = hook;
    bool *busy = &platter->busy[offset / PAGE];

    (void)store, (void)done;
    platter->ins++;
    platter->overlap = platter->overlap || *busy;
    *busy = true;
    for (unsigned i = 0; i < 10 && platter->slow; i++)
        hurdmm_sim_yield(rig.port);
    *busy = false;
    memcpy(buffer, platter->bytes + offset, length);
    return 0;
}

static int platter_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                       const void *buffer, size_t length, size_t *done)
{
    struct platter *platter = hook;

    (void)store;
    platter->outs++;
    if (nth(&platter->fail_out)) {
        *done = 0;
        return EIO;
    }
    memcpy(platter->bytes + offset, buffer, length);
    return 0;
}

static int platter_sync(struct hurdmm_store *store, void *hook, uint64_t offset,
                        uint64_t length)
{
    struct platter *platter = hook;

    (void)store, (void)offset, (void)length;
    platter->syncs++;
    if (nth(&platter->fail_sync))
        return EIO;
    memcpy(platter->medium, platter->bytes, sizeof platter->medium);
    return 0;
}

static int platter_unlock(struct hurdmm_store *store, void *hook,
                          uint64_t offset, size_t length)
{
    struct platter *platter = hook;

    (void)store, (void)offset, (void)length;
    platter->unlocks++;
    return platter->unlock_error;
}

static const struct hurdmm_store_ops platter_ops = {
    .struct_size = sizeof platter_ops,
    .page_in = platter_in,
    .page_out = platter_out,
    .sync = platter_sync,
    .unlock = platter_unlock,
};

/* The power goes: of what was not synced any part is on the medium.  Blocks of
 * data are written at once, those of the header and the map in pieces. */
static void lose_power(struct platter *platter, uint64_t data)
{
    for (uint64_t at = 0; at < DELTA_MAX;) {
        uint64_t n = at < data ? PIECE : PAGE;

        if (below(2))
            memcpy(platter->medium + at, platter->bytes + at, n);
        at += n;
    }
    memcpy(platter->bytes, platter->medium, sizeof platter->bytes);
}

static struct hurdmm_store *open_platter_with(struct platter *platter,
                                              uint64_t size, unsigned flags)
{
    const struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .hook = platter,
        .size = size,
        .flags = flags,
    };
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_store_create(rig.manager, &platter_ops, &options, &store), 0);
    return store;
}

static struct hurdmm_store *open_platter(struct platter *platter, uint64_t size)
{
    return open_platter_with(platter, size, 0);
}

static uint8_t base_byte(uint64_t at)
{
    return (uint8_t)(at * 5 + at / PAGE + 5);
}

static int open_copy(unsigned flags)
{
    return hurdmm_copy_create(rig.manager, base, delta, flags, &copy);
}

static void begin(void)
{
    rig_begin(&rig, 64, 128);
    memset(&base_disk, 0, sizeof base_disk);
    memset(&delta_disk, 0, sizeof delta_disk);
    for (uint64_t i = 0; i < SIZE; i++)
        base_disk.bytes[i] = base_byte(i);
    base = open_platter(&base_disk, SIZE);
    delta = open_platter(&delta_disk, hurdmm_copy_delta_size(SIZE, PAGE));
    ck_assert_int_eq(open_copy(0), 0);
}

static void end(void)
{
    rig_end(&rig);
    for (uint64_t i = 0; i < SIZE; i++)
        ck_assert_uint_eq(base_disk.bytes[i], base_byte(i));
    ck_assert_uint_eq(base_disk.outs, 0);
}

static uint8_t byte_at(uint64_t at)
{
    uint8_t byte;
    size_t done;

    ck_assert_int_eq(hurdmm_store_read(copy, at, &byte, 1, &done), 0);
    return byte;
}

static int set_byte(uint64_t at, uint8_t byte)
{
    size_t done;

    return hurdmm_store_write(copy, at, &byte, 1, &done);
}

static int sync_copy(void)
{
    return hurdmm_store_sync(copy, 0, HURDMM_WHOLE, HURDMM_WAIT);
}

static void open_again(unsigned flags)
{
    ck_assert_int_eq(hurdmm_store_destroy(copy, 0), 0);
    ck_assert_int_eq(open_copy(flags), 0);
}

START_TEST(what_is_not_written_is_the_base)
{
    for (uint64_t i = 0; i < SIZE; i += 7)
        ck_assert_uint_eq(byte_at(i), base_byte(i));
    ck_assert_uint_eq(byte_at(SIZE - 1), base_byte(SIZE - 1));
}
END_TEST

START_TEST(what_is_written_goes_to_the_delta_and_comes_back)
{
    for (uint64_t i = 3; i < SIZE; i += 3 * PAGE)
        ck_assert_int_eq(set_byte(i, 200), 0);
    ck_assert_int_eq(set_byte(SIZE - 1, 201), 0);
    ck_assert_int_eq(hurdmm_store_return(copy, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (uint64_t i = 3; i < SIZE; i += 3 * PAGE) {
        ck_assert_uint_eq(byte_at(i), 200);
        ck_assert_uint_eq(byte_at(i - 1), base_byte(i - 1));
    }
    ck_assert_uint_eq(byte_at(SIZE - 1), 201);
}
END_TEST

/* Whoever makes the copy longer than its base finds nothing there. */
START_TEST(a_copy_that_grows_has_nothing_there)
{
    uint8_t byte;
    size_t done;

    ck_assert_int_eq(hurdmm_store_resize(copy, SIZE + 5000 * PAGE), 0);
    for (uint64_t page = PAGES; page < 5000; page += 1200) {
        ck_assert_int_eq(hurdmm_store_read(copy, page * PAGE, &byte, 1, &done),
                         ENXIO);
        ck_assert_int_eq(set_byte(page * PAGE, 9), ENXIO);
    }
    ck_assert_int_eq(set_byte(PAGE, 9), 0);
    ck_assert_int_eq(
        hurdmm_store_advise(copy, 0, PAGES * PAGE, HURDMM_ADVICE_WILLNEED), 0);
    ck_assert_int_eq(sync_copy(), 0);
    ck_assert_int_eq(hurdmm_store_return(copy, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    open_again(0);
    ck_assert_uint_eq(byte_at(PAGE), 9);
    ck_assert_uint_eq(byte_at(2 * PAGE), base_byte(2 * PAGE));
    ck_assert_uint_eq(byte_at(SIZE - 1), base_byte(SIZE - 1));
}
END_TEST

START_TEST(a_delta_opened_again_is_the_same_copy)
{
    ck_assert_int_eq(set_byte(5 * PAGE, 77), 0);
    ck_assert_int_eq(set_byte(SIZE - 1, 78), 0);
    open_again(0);
    ck_assert_uint_eq(byte_at(5 * PAGE), 77);
    ck_assert_uint_eq(byte_at(SIZE - 1), 78);
    ck_assert_uint_eq(byte_at(6 * PAGE), base_byte(6 * PAGE));
    ck_assert_int_eq(set_byte(6 * PAGE, 79), 0);
    open_again(HURDMM_STORE_READ_ONLY);
    ck_assert_uint_eq(byte_at(5 * PAGE), 77);
    ck_assert_uint_eq(byte_at(6 * PAGE), 79);
    ck_assert_int_eq(set_byte(6 * PAGE, 80), EROFS);
}
END_TEST

static void read_a_page(void *argument)
{
    uint64_t at = *(const uint64_t *)argument;

    ck_assert_uint_eq(byte_at(at), base_byte(at));
}

/* Each page needs the same block of the map. */
START_TEST(the_map_is_read_once)
{
    uint64_t at[8];
    unsigned before;

    open_again(0);
    before = delta_disk.ins;
    delta_disk.slow = true;
    for (unsigned i = 0; i < 8; i++) {
        at[i] = i * 5 * PAGE;
        ck_assert_int_eq(hurdmm_sim_spawn(rig.port, read_a_page, &at[i], NULL),
                         0);
    }
    ck_assert_int_eq(hurdmm_sim_run(rig.port), 0);
    ck_assert(!delta_disk.overlap);
    ck_assert_uint_eq(delta_disk.ins, before + 1);
}
END_TEST

START_TEST(what_is_not_to_be_stolen_is_not_through_a_copy)
{
    ck_assert_int_eq(hurdmm_store_destroy(copy, 0), 0);
    ck_assert_int_eq(hurdmm_store_destroy(delta, 0), 0);
    delta = open_platter_with(&delta_disk, hurdmm_copy_delta_size(SIZE, PAGE),
                              HURDMM_STORE_NO_STEAL);
    ck_assert_int_eq(open_copy(0), 0);
    ck_assert(hurdmm_store_flags(copy) & HURDMM_STORE_NO_STEAL);
}
END_TEST

START_TEST(copies_of_one_base_do_not_see_each_other)
{
    static struct platter other_disk;
    struct hurdmm_store *first = copy, *second;

    memset(&other_disk, 0, sizeof other_disk);
    delta = open_platter(&other_disk, hurdmm_copy_delta_size(SIZE, PAGE));
    ck_assert_int_eq(open_copy(0), 0);
    second = copy;
    ck_assert_int_eq(set_byte(9, 1), 0);
    copy = first;
    ck_assert_uint_eq(byte_at(9), base_byte(9));
    ck_assert_int_eq(set_byte(9, 2), 0);
    copy = second;
    ck_assert_uint_eq(byte_at(9), 1);
}
END_TEST

START_TEST(a_volatile_copy_leaves_no_account)
{
    ck_assert_int_eq(hurdmm_store_destroy(copy, 0), 0);
    memset(delta_disk.bytes, 0, sizeof delta_disk.bytes);
    ck_assert_int_eq(open_copy(HURDMM_STORE_VOLATILE), 0);
    for (uint64_t i = 0; i < SIZE; i += PAGE)
        ck_assert_int_eq(set_byte(i, 9), 0);
    ck_assert_int_eq(hurdmm_store_return(copy, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (uint64_t i = 0; i < SIZE; i += PAGE)
        ck_assert_uint_eq(byte_at(i), 9);
    for (size_t i = 0; i < 2 * PAGE; i++)
        ck_assert_uint_eq(delta_disk.bytes[i], 0);
    open_again(HURDMM_STORE_VOLATILE);
    ck_assert_uint_eq(byte_at(0), base_byte(0));
}
END_TEST

START_TEST(somebody_elses_delta_is_left_alone)
{
    uint8_t before[DELTA_MAX];

    ck_assert_int_eq(hurdmm_store_destroy(copy, 0), 0);
    delta_disk.bytes[PAGE - 1] = 1;
    memcpy(before, delta_disk.bytes, sizeof before);
    ck_assert_int_eq(open_copy(0), EBADMSG);
    ck_assert_mem_eq(before, delta_disk.bytes, sizeof before);
    /* And nothing is left claimed. */
    ck_assert_int_eq(hurdmm_store_destroy(delta, 0), 0);
    ck_assert_int_eq(hurdmm_store_destroy(base, 0), 0);
}
END_TEST

START_TEST(a_map_that_lies_is_an_error_where_it_does)
{
    ck_assert_int_eq(hurdmm_store_destroy(copy, 0), 0);
    delta_disk.bytes[PAGE + PAGES / 8] = 1; /* the block after the last */
    ck_assert_int_eq(open_copy(0), 0);
    expect_error(copy, 0, EIO);
}
END_TEST

START_TEST(deltas_that_will_not_do_are_refused)
{
    static struct platter disk;
    uint64_t right = hurdmm_copy_delta_size(SIZE, PAGE);
    struct hurdmm_store *result;

    ck_assert_uint_eq(right, 2 * PAGE + SIZE);
    for (int wrong = -1; wrong <= 1; wrong += 2)
        ck_assert_int_eq(
            hurdmm_copy_create(rig.manager, base,
                               open_platter(&disk, right + (uint64_t)wrong), 0,
                               &result),
            EINVAL);
    ck_assert_int_eq(open_copy(0), EBUSY);
    ck_assert_int_eq(open_copy(HURDMM_STORE_DISCARDABLE), EINVAL);
    ck_assert_int_eq(hurdmm_copy_create(NULL, base, delta, 0, &result), EINVAL);
    ck_assert_int_eq(hurdmm_copy_create(rig.manager, NULL, delta, 0, &result),
                     EINVAL);
    ck_assert_int_eq(hurdmm_copy_create(rig.manager, base, NULL, 0, &result),
                     EINVAL);
    ck_assert_int_eq(hurdmm_store_destroy(copy, 0), 0);
    ck_assert_int_eq(hurdmm_copy_create(rig.manager, base, delta, 0, NULL),
                     EINVAL);
    ck_assert_uint_eq(hurdmm_copy_delta_size(0, PAGE), 0);
    ck_assert_uint_eq(hurdmm_copy_delta_size(SIZE, 0), 0);
    ck_assert_uint_eq(hurdmm_copy_delta_size(SIZE, 100), 0);
    ck_assert_uint_eq(hurdmm_copy_delta_size(SIZE, SIZE_MAX / 2 + 1), 0);
    ck_assert_uint_eq(hurdmm_copy_delta_size(UINT64_MAX - 1, PAGE), 0);
}
END_TEST

START_TEST(a_delta_without_room_says_so_before_the_write)
{
    delta_disk.unlock_error = ENOSPC;
    ck_assert_int_eq(set_byte(PAGE, 1), ENOSPC);
    ck_assert_uint_eq(byte_at(PAGE), base_byte(PAGE));
    delta_disk.unlock_error = 0;
    ck_assert_int_eq(set_byte(PAGE, 1), 0);
    ck_assert_int_eq(sync_copy(), 0);
}
END_TEST

START_TEST(a_failed_write_or_sync_loses_nothing)
{
    for (unsigned way = 0; way < 12; way++) {
        for (uint64_t i = 0; i < SIZE; i += 3 * PAGE)
            ck_assert_int_eq(set_byte(i, (uint8_t)(way + 1)), 0);
        delta_disk.fail_out = way % 2 ? 1 + way / 2 : 0;
        delta_disk.fail_sync = way % 2 ? 0 : 1 + way % 3;
        (void)sync_copy();
        delta_disk.fail_out = delta_disk.fail_sync = 0;
        (void)sync_copy(); /* may tell of what failed before */
        ck_assert_int_eq(sync_copy(), 0);
        memcpy(delta_disk.bytes, delta_disk.medium, sizeof delta_disk.bytes);
        ck_assert_int_eq(hurdmm_store_destroy(copy, HURDMM_DROP), 0);
        ck_assert_int_eq(open_copy(0), 0);
        for (uint64_t i = 0; i < SIZE; i += 3 * PAGE)
            ck_assert_uint_eq(byte_at(i), way + 1);
    }
}
END_TEST

/* The versions that a page may have after the power went. */
static unsigned oldest[PAGES], newest[PAGES];

static void write_page(unsigned page, unsigned version)
{
    ck_assert_int_eq(put_page(copy, page, version), 0);
    newest[page] = version;
}

/* Which version is it?  Version 0 is the base. */
static unsigned version_of(unsigned page)
{
    uint8_t bytes[2][PAGE];
    size_t length = page + 1 < PAGES ? PAGE : SIZE % PAGE, done;

    ck_assert_int_eq(
        hurdmm_store_read(copy, page * PAGE, bytes[0], length, &done), 0);
    if (memcmp(bytes[0], base_disk.bytes + page * PAGE, length) == 0)
        return 0;
    for (unsigned version = 1; version <= newest[page]; version++) {
        for (size_t i = 0; i < length; i++)
            bytes[1][i] = (uint8_t)(page * 7 + version * 31 + i * 3 + 1);
        if (memcmp(bytes[0], bytes[1], length) == 0)
            return version;
    }
    ck_abort_msg("page %u has no version", page);
    return 0;
}

START_TEST(after_a_power_cut_each_page_is_old_or_new)
{
    unsigned rounds = (unsigned)test_scaled(60), version = 0;

    hmm_rand_init(&rand_state, 11);
    memset(oldest, 0, sizeof oldest);
    memset(newest, 0, sizeof newest);
    for (unsigned round = 0; round < rounds; round++) {
        version = version % 200 + 1;
        for (unsigned i = below(30); i > 0; i--)
            write_page(below(PAGES), version);
        if (below(2))
            (void)hurdmm_store_flush(copy, 0, HURDMM_WHOLE, HURDMM_WAIT);
        if (below(2)) {
            ck_assert_int_eq(sync_copy(), 0);
            memcpy(oldest, newest, sizeof oldest);
        }
        for (unsigned i = below(10); i > 0; i--)
            write_page(below(PAGES), version);
        (void)hurdmm_store_flush(copy, 0, below(30) * PAGE + PAGE, HURDMM_WAIT);
        ck_assert_int_eq(hurdmm_store_destroy(copy, HURDMM_DROP), 0);
        lose_power(&delta_disk, 2 * PAGE);
        if (open_copy(0) == EBADMSG) {
            /* Cut off in the middle of making the delta: nothing was synced. */
            for (unsigned i = 0; i < PAGES; i++)
                ck_assert_uint_eq(oldest[i], 0);
            memset(&delta_disk, 0, sizeof delta_disk);
            ck_assert_int_eq(open_copy(0), 0);
        }
        for (unsigned i = 0; i < PAGES; i++) {
            unsigned found = version_of(i);

            ck_assert_msg(found == oldest[i] || found == newest[i],
                          "round %u: page %u is %u, not %u or %u", round, i,
                          found, oldest[i], newest[i]);
            oldest[i] = newest[i] = found;
        }
        ck_assert_int_eq(sync_copy(), 0);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("copy");
    TCase *tcase = tcase_create("copy");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_is_not_written_is_the_base);
    tcase_add_test(tcase, what_is_written_goes_to_the_delta_and_comes_back);
    tcase_add_test(tcase, a_copy_that_grows_has_nothing_there);
    tcase_add_test(tcase, a_delta_opened_again_is_the_same_copy);
    tcase_add_test(tcase, the_map_is_read_once);
    tcase_add_test(tcase, what_is_not_to_be_stolen_is_not_through_a_copy);
    tcase_add_test(tcase, copies_of_one_base_do_not_see_each_other);
    tcase_add_test(tcase, a_volatile_copy_leaves_no_account);
    tcase_add_test(tcase, somebody_elses_delta_is_left_alone);
    tcase_add_test(tcase, a_map_that_lies_is_an_error_where_it_does);
    tcase_add_test(tcase, deltas_that_will_not_do_are_refused);
    tcase_add_test(tcase, a_delta_without_room_says_so_before_the_write);
    tcase_add_test(tcase, a_failed_write_or_sync_loses_nothing);
    tcase_add_test(tcase, after_a_power_cut_each_page_is_old_or_new);
    suite_add_tcase(suite, tcase);
    return run_suites("copy", &suite, 1);
}
