/* SPDX-License-Identifier: MIT */
/*
 * Memory of somebody else's container as a store.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/stores/rig.h"
#include "tests/support/runner.h"

#define PAGES 8u
#define BOTH (HURDMM_READ | HURDMM_WRITE)

static struct rig rig;
static struct hurdmm_container *container;
static struct hurdmm_grant *grant;

static void begin(void)
{
    uint8_t bytes[PAGES * PAGE];
    uint64_t done;
    size_t wrote;

    rig_begin(&rig, 64, 16);
    ck_assert_int_eq(hurdmm_container_create(rig.manager, &container), 0);
    ck_assert_int_eq(
        hurdmm_container_allocate(container, 0, sizeof bytes, 0, &done), 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 3 + i / PAGE);
    ck_assert_int_eq(
        hurdmm_container_write(container, 0, bytes, sizeof bytes, &wrote), 0);
    ck_assert_int_eq(
        hurdmm_grant_create(container, PAGE, 6 * PAGE, BOTH, &grant), 0);
}

static void end(void)
{
    rig_end(&rig);
}

static struct hurdmm_store *make(uint64_t offset, uint64_t size, unsigned flags)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_granted_create(rig.manager, grant, offset, size, flags, &store),
        0);
    return store;
}

static uint8_t byte_at(struct hurdmm_store *store, uint64_t at)
{
    uint8_t byte;
    size_t done;

    ck_assert_int_eq(hurdmm_store_read(store, at, &byte, 1, &done), 0);
    return byte;
}

START_TEST(the_store_is_the_granted_range)
{
    struct hurdmm_store *store = make(PAGE, 3 * PAGE + 5, 0);

    for (uint64_t i = 0; i < 3 * PAGE + 5; i += 11)
        ck_assert_uint_eq(byte_at(store, i), (uint8_t)((i + 2 * PAGE) * 3 +
                                                       (i + 2 * PAGE) / PAGE));
}
END_TEST

START_TEST(what_is_synced_is_in_the_container)
{
    struct hurdmm_store *store = make(0, 6 * PAGE, 0);
    uint8_t byte = 99;
    size_t done;

    ck_assert_int_eq(hurdmm_store_write(store, PAGE + 1, &byte, 1, &done), 0);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    byte = 0;
    ck_assert_int_eq(
        hurdmm_container_read(container, 2 * PAGE + 1, &byte, 1, &done), 0);
    ck_assert_uint_eq(byte, 99);
}
END_TEST

START_TEST(a_hole_is_an_error_until_it_is_filled)
{
    struct hurdmm_store *store = make(0, 6 * PAGE, 0);
    uint64_t done;

    ck_assert_int_eq(hurdmm_container_release(container, 3 * PAGE, PAGE), 0);
    expect_error(store, 2, ENOENT);
    ck_assert_int_eq(
        hurdmm_container_allocate(container, 3 * PAGE, PAGE, 0, &done), 0);
    (void)hurdmm_store_discard(store, 0, HURDMM_WHOLE);
    ck_assert_uint_eq(byte_at(store, 2 * PAGE), 0);
}
END_TEST

START_TEST(a_revoked_grant_is_stale_and_stays_so)
{
    struct hurdmm_store *store = make(0, 6 * PAGE, 0);
    struct hurdmm_grant *others[20];
    uint8_t byte = 1;
    size_t done;

    ck_assert_int_eq(hurdmm_store_write(store, 0, &byte, 1, &done), 0);
    ck_assert_int_eq(hurdmm_grant_revoke(grant), 0);
    ck_assert_int_eq(hurdmm_grant_revoke(grant), ESTALE);
    /* New grants, where the old one was if it were free. */
    for (unsigned i = 0; i < 20; i++)
        ck_assert_int_eq(
            hurdmm_grant_create(container, 0, PAGES * PAGE, BOTH, &others[i]),
            0);
    expect_error(store, 3, ESTALE);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     ESTALE);
    /* What was dirty is not lost. */
    ck_assert_uint_eq(byte_at(store, 0), 1);
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DROP), 0);
    ck_assert_int_eq(hurdmm_grant_close(grant), ESTALE);
}
END_TEST

START_TEST(a_container_that_ends_takes_its_memory_along)
{
    struct hurdmm_store *store = make(0, 6 * PAGE, HURDMM_STORE_READ_ONLY);

    ck_assert_int_eq(hurdmm_container_destroy(container), 0);
    expect_error(store, 1, ESTALE);
    ck_assert_int_eq(hurdmm_grant_revoke(grant), 0);
    expect_error(store, 2, ESTALE);
}
END_TEST

START_TEST(rights_and_ranges_are_the_grants)
{
    struct hurdmm *m = rig.manager;
    struct hurdmm_grant *reader;
    struct hurdmm_store *s;

    ck_assert_int_eq(
        hurdmm_grant_create(container, 0, PAGE, HURDMM_READ, &reader), 0);
    ck_assert_int_eq(hurdmm_granted_create(m, reader, 0, PAGE, 0, &s), EPERM);
    ck_assert_int_eq(
        hurdmm_granted_create(m, reader, 0, PAGE, HURDMM_STORE_READ_ONLY, &s),
        0);
    ck_assert_int_eq(hurdmm_granted_create(m, grant, 0, 6 * PAGE + 1, 0, &s),
                     ENXIO);
    ck_assert_int_eq(hurdmm_granted_create(m, grant, 7 * PAGE, 1, 0, &s),
                     ENXIO);
    ck_assert_int_eq(hurdmm_granted_create(m, grant, PAGE, UINT64_MAX, 0, &s),
                     EINVAL);
    ck_assert_int_eq(hurdmm_granted_create(m, grant, 0, 0, 0, &s), EINVAL);
    ck_assert_int_eq(hurdmm_granted_create(m, NULL, 0, PAGE, 0, &s), EINVAL);
    ck_assert_int_eq(hurdmm_granted_create(NULL, grant, 0, PAGE, 0, &s),
                     EINVAL);
    ck_assert_int_eq(hurdmm_granted_create(m, grant, 0, PAGE, 0, NULL), EINVAL);
    ck_assert_int_eq(
        hurdmm_granted_create(m, grant, 0, PAGE, HURDMM_STORE_VOLATILE, &s),
        EINVAL);
}
END_TEST

START_TEST(a_grant_is_closed_as_often_as_it_was_opened)
{
    ck_assert_int_eq(hurdmm_grant_open(NULL), EINVAL);
    ck_assert_int_eq(hurdmm_grant_close(NULL), EINVAL);
    ck_assert_int_eq(hurdmm_grant_close(grant), EINVAL);
    ck_assert_int_eq(hurdmm_grant_open(grant), 0);
    ck_assert_int_eq(hurdmm_grant_open(grant), 0);
    ck_assert_int_eq(hurdmm_grant_revoke(grant), 0);
    ck_assert_int_eq(hurdmm_grant_open(grant), ESTALE);
    ck_assert_int_eq(hurdmm_grant_close(grant), 0);
    ck_assert_int_eq(hurdmm_grant_close(grant), 0);
    ck_assert_int_eq(hurdmm_grant_close(grant), ESTALE);
}
END_TEST

START_TEST(granted_memory_composes)
{
    struct hurdmm_store *parts[] = {make(4 * PAGE, 2 * PAGE, 0),
                                    make(0, 2 * PAGE, 0)};
    struct hurdmm_store *both;
    uint8_t byte = 42;
    size_t done;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, parts, 2, 0, &both), 0);
    ck_assert_int_eq(hurdmm_store_write(both, 2 * PAGE, &byte, 1, &done), 0);
    ck_assert_int_eq(hurdmm_store_destroy(both, 0), 0);
    ck_assert_uint_eq(byte_at(parts[1], 0), 42);
    ck_assert_int_eq(hurdmm_container_read(container, PAGE, &byte, 1, &done),
                     0);
    ck_assert_uint_eq(byte, 42);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("granted");
    TCase *tcase = tcase_create("granted");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, the_store_is_the_granted_range);
    tcase_add_test(tcase, what_is_synced_is_in_the_container);
    tcase_add_test(tcase, a_hole_is_an_error_until_it_is_filled);
    tcase_add_test(tcase, a_revoked_grant_is_stale_and_stays_so);
    tcase_add_test(tcase, a_container_that_ends_takes_its_memory_along);
    tcase_add_test(tcase, rights_and_ranges_are_the_grants);
    tcase_add_test(tcase, a_grant_is_closed_as_often_as_it_was_opened);
    tcase_add_test(tcase, granted_memory_composes);
    suite_add_tcase(suite, tcase);
    return run_suites("granted", &suite, 1);
}
