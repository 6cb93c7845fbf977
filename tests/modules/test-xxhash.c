/* SPDX-License-Identifier: MIT */
/*
 * XXH3 as the checksum of a swap space.
 */
#include <string.h>

#include <hurdmm/xxhash.h>

#include "tests/stores/rig.h"
#include "tests/support/runner.h"

START_TEST(every_bit_counts)
{
    uint8_t bytes[PAGE];
    uint64_t sum;

    for (size_t i = 0; i < PAGE; i++)
        bytes[i] = (uint8_t)(i * 7);
    sum = hurdmm_xxhash_checksum(bytes, PAGE);
    for (size_t bit = 0; bit < 8 * PAGE; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_uint_ne(hurdmm_xxhash_checksum(bytes, PAGE), sum);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_uint_eq(hurdmm_xxhash_checksum(bytes, PAGE), sum);
    /* What the algorithm is known to say of nothing. */
    ck_assert_uint_eq(hurdmm_xxhash_checksum(bytes, 0),
                      UINT64_C(0x2d06800538d394c2));
}
END_TEST

START_TEST(swap_space_finds_what_was_altered)
{
    struct hurdmm_swap_options options = {
        .struct_size = sizeof options,
        .checksum = hurdmm_xxhash_checksum,
    };
    struct hurdmm_store *store;
    struct hurdmm_swap *swap;
    struct rig rig;

    rig_begin(&rig, 32, 64);
    options.block = &rig.ram.block;
    ck_assert_int_eq(hurdmm_swap_create_with(rig.manager, &options, &swap), 0);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, swap, 40 * PAGE, 0, &store), 0);
    for (uint64_t i = 0; i < 40; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    ck_assert_int_eq(hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (uint64_t i = 0; i < 40; i++)
        expect_page(store, i, 1);
    ck_assert_int_eq(hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (size_t i = 0; i < 40; i++)
        rig.ram.bytes[i * PAGE + i] ^= 1;
    for (uint64_t i = 0; i < 40; i++)
        expect_error(store, i, EIO);
    rig_end(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("xxhash");
    TCase *tcase = tcase_create("xxhash");

    tcase_add_test(tcase, every_bit_counts);
    tcase_add_test(tcase, swap_space_finds_what_was_altered);
    suite_add_tcase(suite, tcase);
    return run_suites("xxhash", &suite, 1);
}
