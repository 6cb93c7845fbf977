/* SPDX-License-Identifier: MIT */
/*
 * The discardable store: memory that may vanish and is made again.
 */
#include <string.h>

#include <hurdmm/discardable.h>

#include "tests/stores/rig.h"
#include "tests/support/runner.h"

#define FRAMES 64u
#define PAGES (2 * FRAMES)

static struct rig rig;
static unsigned fills[4 * PAGES]; /* for each page: how often it was made, */
static unsigned again[4 * PAGES]; /* and was said to have been there */
static uint64_t bad_offset;       /* cannot be made */
static unsigned destroyed;

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 31 + offset / PAGE * 7 + 1);
}

static int fill(void *hook, uint64_t offset, void *buffer, size_t length,
                int discarded)
{
    ck_assert_ptr_eq(hook, &rig);
    if (bad_offset >= offset && bad_offset < offset + length)
        return EIO;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)buffer)[i] = byte_at(offset + i);
    for (uint64_t at = offset; at < offset + length; at += PAGE) {
        ck_assert_int_eq(discarded, fills[at / PAGE] > 0);
        fills[at / PAGE]++;
        again[at / PAGE] += discarded != 0;
    }
    return 0;
}

static void note_destroy(void *hook)
{
    ck_assert_ptr_eq(hook, &rig);
    destroyed++;
}

static void begin(void)
{
    rig_begin(&rig, FRAMES, 16);
    memset(fills, 0, sizeof fills);
    memset(again, 0, sizeof again);
    bad_offset = UINT64_MAX;
    destroyed = 0;
}

static void end(void)
{
    rig_end(&rig);
}

static struct hurdmm_discardable_options defaults(uint64_t size)
{
    return (struct hurdmm_discardable_options){
        .struct_size = sizeof(struct hurdmm_discardable_options),
        .manager = rig.manager,
        .size = size,
        .fill = fill,
        .hook = &rig,
        .destroy = note_destroy,
    };
}

static struct hurdmm_store *make(uint64_t size)
{
    struct hurdmm_discardable_options options = defaults(size);
    struct hurdmm_store *store;

    ck_assert_int_eq(hurdmm_discardable_create(&options, &store), 0);
    return store;
}

static uint8_t load(uintptr_t address)
{
    uint8_t byte = 0;

    ck_assert_int_eq(hurdmm_sim_read(rig.port, NULL, address, &byte, 1), 0);
    return byte;
}

static void save(uintptr_t address, uint8_t byte)
{
    ck_assert_int_eq(hurdmm_sim_write(rig.port, NULL, address, &byte, 1), 0);
}

static bool resident(struct hurdmm_store *store, uint64_t page)
{
    unsigned state;

    ck_assert_int_eq(hurdmm_store_state(store, page * PAGE, &state, NULL), 0);
    return state & HURDMM_STATE_RESIDENT;
}

static unsigned sum(const unsigned *counts)
{
    unsigned all = 0;

    for (unsigned i = 0; i < PAGES; i++)
        all += counts[i];
    return all;
}

/* 2009's test: twice as many pages as there are frames. */
START_TEST(twice_the_frames_read_right)
{
    struct hurdmm_store *store = make(PAGES * PAGE);
    uintptr_t at = rig_bind(&rig, store, PAGES * PAGE, HURDMM_READ);

    for (unsigned round = 0; round < 4; round++)
        for (unsigned i = 0; i < PAGES; i++)
            for (unsigned j = 0; j < PAGE; j += 51)
                ck_assert_uint_eq(load(at + i * PAGE + j),
                                  byte_at(i * PAGE + j));
    ck_assert_uint_gt(sum(again), PAGES);
    ck_assert_uint_eq(sum(fills) - sum(again), PAGES);
    ck_assert_uint_eq(rig.ram.writes, 0);
}
END_TEST

START_TEST(what_was_written_vanishes_and_is_made_again)
{
    struct hurdmm_store *store = make(PAGES * PAGE);
    uintptr_t at =
        rig_bind(&rig, store, PAGES * PAGE, HURDMM_READ | HURDMM_WRITE);
    unsigned written[PAGES], vanished = 0;

    for (unsigned i = 0; i < PAGES; i++) {
        save(at + i * PAGE + 99, (uint8_t)~byte_at(i * PAGE + 99));
        written[i] = again[i];
    }
    for (unsigned i = 0; i < PAGES; i++) {
        uint8_t byte = load(at + i * PAGE + 99);
        bool made = again[i] > written[i];

        ck_assert_uint_eq(byte, made ? byte_at(i * PAGE + 99)
                                     : (uint8_t)~byte_at(i * PAGE + 99));
        vanished += made;
    }
    ck_assert_uint_ge(vanished, PAGES / 2);
}
END_TEST

START_TEST(what_is_discarded_by_hand_was_never_there)
{
    struct hurdmm_store *store = make(PAGES * PAGE);
    uintptr_t at =
        rig_bind(&rig, store, PAGES * PAGE, HURDMM_READ | HURDMM_WRITE);

    save(at + 3 * PAGE, 9);
    save(at + 4 * PAGE, 9);
    ck_assert_int_eq(hurdmm_store_discard(store, 3 * PAGE, PAGE), 0);
    ck_assert(!resident(store, 3) && resident(store, 4));
    fills[3] = 0; /* fill is told so */
    ck_assert_uint_eq(load(at + 3 * PAGE), byte_at(3 * PAGE));
    ck_assert_uint_eq(load(at + 4 * PAGE), 9);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    memset(fills, 0, sizeof fills);
    ck_assert_uint_eq(load(at + 4 * PAGE), byte_at(4 * PAGE));
}
END_TEST

START_TEST(what_is_pinned_does_not_vanish)
{
    struct hurdmm_store *store = make(PAGES * PAGE);
    uintptr_t at =
        rig_bind(&rig, store, PAGES * PAGE, HURDMM_READ | HURDMM_WRITE);

    ck_assert_int_eq(hurdmm_pin(rig.space, at, 8 * PAGE, HURDMM_WRITE), 0);
    for (unsigned i = 0; i < 8; i++)
        save(at + i * PAGE, (uint8_t)(100 + i));
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 8; i < PAGES; i++)
            ck_assert_uint_eq(load(at + i * PAGE), byte_at(i * PAGE));
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), EBUSY);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(load(at + i * PAGE), 100 + i);
    ck_assert_int_eq(hurdmm_unpin(rig.space, at, 8 * PAGE, HURDMM_WRITE), 0);
    memset(fills, 0, sizeof fills);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    ck_assert_uint_eq(load(at), byte_at(0));
}
END_TEST

static int fill_zeros(void *hook, uint64_t offset, void *buffer, size_t length,
                      int discarded)
{
    (void)hook, (void)offset, (void)discarded;
    memset(buffer, 0, length);
    return 0;
}

START_TEST(the_lowest_priority_goes_first)
{
    struct hurdmm_discardable_options options = defaults(20 * PAGE);
    struct hurdmm_store *high = make(PAGES * PAGE), *low;
    uintptr_t at = rig_bind(&rig, high, PAGES * PAGE, HURDMM_READ), other;

    options.priority = -1;
    options.fill = fill_zeros;
    ck_assert_int_eq(hurdmm_discardable_create(&options, &low), 0);
    other = rig_bind(&rig, low, 20 * PAGE, HURDMM_READ);
    for (unsigned i = 0; i < 30; i++)
        (void)load(at + i * PAGE);
    for (unsigned i = 0; i < 20; i++)
        (void)load(other + i * PAGE);
    ck_assert_int_eq(
        hurdmm_advise(rig.space, at, PAGES * PAGE, HURDMM_ADVICE_RANDOM), 0);
    for (unsigned i = 30, there = 20; there > 4; i++) {
        (void)load(at + i * PAGE);
        ck_assert_uint_lt(i, 60);
        for (unsigned j = 0; j <= i; j++)
            ck_assert(resident(high, j));
        there = 0;
        for (unsigned j = 0; j < 20; j++)
            there += resident(low, j);
    }
}
END_TEST

START_TEST(a_page_that_cannot_be_made_was_not_there)
{
    struct hurdmm_store *store = make(PAGES * PAGE);
    uintptr_t at = rig_bind(&rig, store, PAGES * PAGE, HURDMM_READ);
    uint8_t byte;

    bad_offset = 5 * PAGE + 1;
    ck_assert_int_eq(hurdmm_sim_read(rig.port, NULL, at + 5 * PAGE, &byte, 1),
                     EIO);
    ck_assert_uint_eq(load(at + 4 * PAGE), byte_at(4 * PAGE));
    bad_offset = UINT64_MAX;
    ck_assert_int_eq(hurdmm_store_discard(store, 5 * PAGE, PAGE), 0);
    ck_assert_uint_eq(load(at + 5 * PAGE), byte_at(5 * PAGE));
    ck_assert_uint_eq(again[5], 0);
}
END_TEST

START_TEST(a_last_page_may_be_cut)
{
    struct hurdmm_store *store = make(9 * PAGE + 17);
    uintptr_t at = rig_bind(&rig, store, 10 * PAGE, HURDMM_READ);

    ck_assert_uint_eq(load(at + 9 * PAGE + 16), byte_at(9 * PAGE + 16));
    ck_assert_uint_eq(load(at + 9 * PAGE + 17), 0);
}
END_TEST

START_TEST(blocks_vanish_whole)
{
    struct hurdmm_discardable_options options = defaults(PAGES * PAGE);
    struct hurdmm_store *store;

    options.block_size = 4 * PAGE;
    ck_assert_int_eq(hurdmm_discardable_create(&options, &store), 0);
    uintptr_t at =
        rig_bind(&rig, store, PAGES * PAGE, HURDMM_READ | HURDMM_WRITE);
    for (unsigned i = 0; i < PAGES; i++)
        save(at + i * PAGE, 200);
    for (unsigned i = 0; i < PAGES; i += 4) {
        bool there = load(at + i * PAGE) == 200;

        for (unsigned j = i; j < i + 4; j++)
            ck_assert_uint_eq(load(at + j * PAGE),
                              there ? 200 : byte_at(j * PAGE));
    }
}
END_TEST

START_TEST(the_size_costs_little)
{
    uint64_t before = rig_core_bytes(&rig);
    struct hurdmm_store *store = make(UINT64_C(1) << 40);
    uint8_t byte;
    size_t done;

    ck_assert_int_eq(hurdmm_store_read(store, PAGES * PAGE, &byte, 1, &done),
                     0);
    ck_assert_uint_eq(byte, byte_at(PAGES * PAGE));
    ck_assert_uint_lt(rig_core_bytes(&rig) - before, 16u << 20);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_uint_eq(destroyed, 1);
}
END_TEST

START_TEST(bad_options_are_refused)
{
    struct hurdmm_store *store;

    for (unsigned i = 0; i < 8; i++) {
        struct hurdmm_discardable_options options = defaults(PAGE);

        options.struct_size -= i == 0;
        options.manager = i == 1 ? NULL : rig.manager;
        options.fill = i == 2 ? NULL : fill;
        options.flags = i == 3 ? HURDMM_STORE_READ_ONLY : 0;
        options.priority = i == 4 ? 64 : i == 5 ? -65 : 0;
        options.block_size = i == 6 ? 3 * PAGE : i == 7 ? PAGE / 2 : 0;
        ck_assert_int_eq(hurdmm_discardable_create(&options, &store), EINVAL);
    }
    ck_assert_int_eq(hurdmm_discardable_create(NULL, &store), EINVAL);
    ck_assert_uint_eq(destroyed, 0);
}
END_TEST

START_TEST(no_memory_changes_nothing)
{
    static void *pieces[20000];
    struct hurdmm_store *store = make(PAGES * PAGE);
    unsigned count = 0;
    uint8_t byte;
    size_t done;

    hurdmm_sim_fail(rig.port, HURDMM_SIM_CORE_MAP, 1, ENOMEM, 1);
    for (size_t size = 65536; size >= 64; size /= 2)
        while (hurdmm_allocate(rig.manager, size, &pieces[count]) == 0)
            count++;
    ck_assert_int_eq(hurdmm_store_read(store, 0, &byte, 1, &done), ENOMEM);
    ck_assert_uint_eq(fills[0], 0);
    hurdmm_sim_fail(rig.port, 0, 0, 0, 0);
    ck_assert_int_eq(hurdmm_store_read(store, 0, &byte, 1, &done), 0);
    ck_assert_uint_eq(byte, byte_at(0));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("discardable");
    TCase *tcase = tcase_create("discardable");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, twice_the_frames_read_right);
    tcase_add_test(tcase, what_was_written_vanishes_and_is_made_again);
    tcase_add_test(tcase, what_is_discarded_by_hand_was_never_there);
    tcase_add_test(tcase, what_is_pinned_does_not_vanish);
    tcase_add_test(tcase, the_lowest_priority_goes_first);
    tcase_add_test(tcase, a_page_that_cannot_be_made_was_not_there);
    tcase_add_test(tcase, a_last_page_may_be_cut);
    tcase_add_test(tcase, blocks_vanish_whole);
    tcase_add_test(tcase, the_size_costs_little);
    tcase_add_test(tcase, bad_options_are_refused);
    tcase_add_test(tcase, no_memory_changes_nothing);
    suite_add_tcase(suite, tcase);
    return run_suites("discardable", &suite, 1);
}
