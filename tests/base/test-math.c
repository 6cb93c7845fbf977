/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic at its edges, random numbers, and the error values.
 */
#include <hurdmm/error.h>

#include "lib/base/math.h"
#include "lib/base/rand.h"

#include "tests/support/runner.h"

#define TOP (UINT64_C(1) << 63)

START_TEST(powers_of_two_are_told_from_others)
{
    ck_assert(!hmm_is_pow2(0));
    ck_assert(!hmm_is_pow2(3));
    ck_assert(!hmm_is_pow2(UINT64_MAX));
    for (unsigned i = 0; i < 64; i++) {
        ck_assert(hmm_is_pow2(UINT64_C(1) << i));
        ck_assert_uint_eq(hmm_log2(UINT64_C(1) << i), i);
        ck_assert_uint_eq(hmm_log2(UINT64_MAX >> (63 - i)), i);
    }
}
END_TEST

START_TEST(aligning_moves_to_the_nearest_multiple)
{
    ck_assert_uint_eq(hmm_align_up(0, 4096), 0);
    ck_assert_uint_eq(hmm_align_up(1, 4096), 4096);
    ck_assert_uint_eq(hmm_align_up(4096, 4096), 4096);
    ck_assert_uint_eq(hmm_align_down(4095, 4096), 0);
    ck_assert_uint_eq(hmm_align_down(UINT64_MAX, 4096), UINT64_MAX - 4095);
    ck_assert_uint_eq(hmm_align_up(UINT64_MAX - 4095, 4096), UINT64_MAX - 4095);
    ck_assert_uint_eq(hmm_align_up(TOP - 1, TOP), TOP);
    ck_assert_uint_eq(hmm_align_up(UINT64_MAX, 1), UINT64_MAX);
    ck_assert(hmm_is_aligned(TOP, TOP));
    ck_assert(!hmm_is_aligned(TOP + 1, 2));
}
END_TEST

START_TEST(a_range_is_not_empty_and_may_end_with_the_space)
{
    ck_assert(!hmm_range_ok(0, 0));
    ck_assert(!hmm_range_ok(UINT64_MAX, 0));
    ck_assert(hmm_range_ok(0, 1));
    ck_assert(hmm_range_ok(0, UINT64_MAX));
    ck_assert(hmm_range_ok(1, UINT64_MAX));
    ck_assert(!hmm_range_ok(2, UINT64_MAX));
    ck_assert(hmm_range_ok(UINT64_MAX - 4095, 4096));
    ck_assert(!hmm_range_ok(UINT64_MAX - 4095, 4097));
    ck_assert(hmm_range_ok(UINT64_MAX, 1));
}
END_TEST

START_TEST(overflow_is_reported_and_stores_nothing)
{
    uint64_t result = 7;

    ck_assert(hmm_add_overflow(UINT64_MAX, 1, &result));
    ck_assert(hmm_mul_overflow(TOP, 2, &result));
    ck_assert(hmm_mul_overflow(UINT64_C(1) << 32, UINT64_C(1) << 32, &result));
    ck_assert_uint_eq(result, 7);
    ck_assert(!hmm_add_overflow(UINT64_MAX - 1, 1, &result));
    ck_assert_uint_eq(result, UINT64_MAX);
    ck_assert(!hmm_mul_overflow(TOP, 1, &result));
    ck_assert_uint_eq(result, TOP);
    ck_assert(!hmm_mul_overflow(0, UINT64_MAX, &result));
    ck_assert_uint_eq(result, 0);
}
END_TEST

START_TEST(smaller_and_larger_compare_as_unsigned)
{
    ck_assert_uint_eq(hmm_min(TOP, 1), 1);
    ck_assert_uint_eq(hmm_max(TOP, 1), TOP);
    ck_assert_uint_eq(hmm_min(UINT64_C(1) << 32, 1), 1);
}
END_TEST

START_TEST(random_numbers_are_those_of_splitmix64)
{
    struct hmm_rand rand;

    hmm_rand_init(&rand, 1234567);
    ck_assert_uint_eq(hmm_rand_next(&rand), UINT64_C(6457827717110365317));
    ck_assert_uint_eq(hmm_rand_next(&rand), UINT64_C(3203168211198807973));
    for (uint64_t i = 1; i < 1000; i++)
        ck_assert_uint_lt(hmm_rand_below(&rand, i), i);
}
END_TEST

START_TEST(error_values_differ)
{
    static const int values[] = {
        EPERM,  ENOENT, EINTR,   EIO,       ENXIO,   EAGAIN,
        ENOMEM, EACCES, EFAULT,  EBUSY,     EEXIST,  ENODEV,
        EINVAL, ENOSPC, EROFS,   ERANGE,    EDEADLK, EOVERFLOW,
        ELOOP,  ESTALE, ENOTSUP, ETIMEDOUT, EDQUOT,  ECANCELED};

    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        ck_assert_int_gt(values[i], 0);
        for (size_t j = 0; j < i; j++)
            ck_assert_int_ne(values[i], values[j]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("math");
    TCase *tcase = tcase_create("math");

    tcase_add_test(tcase, powers_of_two_are_told_from_others);
    tcase_add_test(tcase, aligning_moves_to_the_nearest_multiple);
    tcase_add_test(tcase, a_range_is_not_empty_and_may_end_with_the_space);
    tcase_add_test(tcase, overflow_is_reported_and_stores_nothing);
    tcase_add_test(tcase, smaller_and_larger_compare_as_unsigned);
    tcase_add_test(tcase, random_numbers_are_those_of_splitmix64);
    tcase_add_test(tcase, error_values_differ);
    suite_add_tcase(suite, tcase);
    return run_suites("math", &suite, 1);
}
