/* SPDX-License-Identifier: MIT */
/*
 * The computed store.
 */
#include <string.h>

#include "tests/stores/rig.h"
#include "tests/support/runner.h"

static struct rig rig;
static unsigned fills;      /* calls of fill */
static uint64_t bad_offset; /* cannot be made */

/* Each byte tells the page that it is in. */
static int fill(void *hook, uint64_t offset, void *buffer, size_t length)
{
    ck_assert_ptr_eq(hook, &rig);
    fills++;
    if (bad_offset >= offset && bad_offset < offset + length)
        return EIO;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)buffer)[i] = (uint8_t)((offset + i) / PAGE + 1);
    return 0;
}

static void begin(void)
{
    rig_begin(&rig, 64, 16);
    fills = 0;
    bad_offset = UINT64_MAX;
}

static void end(void)
{
    rig_end(&rig);
}

static struct hurdmm_store *make(uint64_t size, unsigned flags)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_computed_create(rig.manager, size, flags, fill, &rig, &store),
        0);
    return store;
}

static void expect_byte(struct hurdmm_store *store, uint64_t offset,
                        uint8_t expected)
{
    uint8_t byte = 0;
    size_t done;

    ck_assert_int_eq(hurdmm_store_read(store, offset, &byte, 1, &done), 0);
    ck_assert_uint_eq(byte, expected);
}

START_TEST(what_is_touched_is_computed_once)
{
    struct hurdmm_store *store = make(UINT64_C(1) << 50, 0);

    expect_byte(store, 5 * PAGE, 6);
    expect_byte(store, 5 * PAGE + 100, 6);
    expect_byte(store, (UINT64_C(1) << 50) - 1, 0);
    ck_assert_uint_eq(fills, 2);
}
END_TEST

START_TEST(what_was_evicted_is_computed_again)
{
    struct hurdmm_store *store = make(250 * PAGE, 0);

    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 250; i++)
            expect_byte(store, i * PAGE, (uint8_t)(i + 1));
    ck_assert_uint_gt(fills, 250);
}
END_TEST

START_TEST(it_cannot_be_written)
{
    struct hurdmm_store *store = make(10 * PAGE, 0);

    ck_assert_int_eq(put_page(store, 1, 1), EROFS);
}
END_TEST

START_TEST(a_discardable_one_is_written_until_it_is_dropped)
{
    struct hurdmm_store *store = make(10 * PAGE, HURDMM_STORE_DISCARDABLE);

    ck_assert_int_eq(put_page(store, 1, 1), 0);
    expect_page(store, 1, 1);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    expect_byte(store, PAGE, 2);
}
END_TEST

START_TEST(a_page_that_cannot_be_made_harms_no_other)
{
    struct hurdmm_store *store = make(100 * PAGE, 0);
    uintptr_t address = rig_bind(&rig, store, 100 * PAGE, HURDMM_READ);
    uint8_t byte;

    ck_assert_int_eq(
        hurdmm_advise(rig.space, address, 100 * PAGE, HURDMM_ADVICE_SEQUENTIAL),
        0);
    bad_offset = 10 * PAGE + 3;
    for (unsigned i = 4; i < 20; i++) {
        int error =
            hurdmm_sim_read(rig.port, NULL, address + i * PAGE, &byte, 1);

        ck_assert_int_eq(error, i == 10 ? EIO : 0);
        if (i != 10)
            ck_assert_uint_eq(byte, i + 1);
    }
}
END_TEST

START_TEST(a_last_page_may_be_cut)
{
    struct hurdmm_store *store = make(3 * PAGE + 9, 0);
    uint8_t byte;
    size_t done;

    expect_byte(store, 3 * PAGE + 8, 4);
    ck_assert_int_eq(hurdmm_store_read(store, 3 * PAGE + 9, &byte, 1, &done),
                     ENXIO);
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(hurdmm_computed_create(NULL, PAGE, 0, fill, NULL, &store),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_computed_create(rig.manager, PAGE, 0, NULL, NULL, &store),
        EINVAL);
    ck_assert_int_eq(
        hurdmm_computed_create(rig.manager, PAGE, 0, fill, NULL, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_computed_create(rig.manager, PAGE,
                                            HURDMM_STORE_NO_STEAL, fill, NULL,
                                            &store),
                     EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("computed");
    TCase *tcase = tcase_create("computed");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, what_is_touched_is_computed_once);
    tcase_add_test(tcase, what_was_evicted_is_computed_again);
    tcase_add_test(tcase, it_cannot_be_written);
    tcase_add_test(tcase, a_discardable_one_is_written_until_it_is_dropped);
    tcase_add_test(tcase, a_page_that_cannot_be_made_harms_no_other);
    tcase_add_test(tcase, a_last_page_may_be_cut);
    tcase_add_test(tcase, wrong_arguments_are_refused);
    suite_add_tcase(suite, tcase);
    return run_suites("computed", &suite, 1);
}
