/* SPDX-License-Identifier: MIT */
/* The arithmetic of the L4 port on words of the interface, on the host: over
 * structures that a kernel made, recorded on a machine of 64 MiB with one boot
 * module. */
#include <check.h>
#include <string.h>

#include <hurdmm/types.h>

#include "backends/l4-x86/abi.h"
#include "tests/support/runner.h"

#define MS UINT64_C(1000000)

/* Recorded: the memory descriptors, at the end of the kernel interface page. */
static const uint32_t recorded[] = {
    0x00000004, 0xfffffc00, 0x00000011, 0x0009f800, 0x0009fc2f, 0x0009fc00,
    0x000f002f, 0x000ffc00, 0x00100011, 0x03fdfc00, 0x03fe002f, 0x03fffc00,
    0xfffc002f, 0xfffffc00, 0x02fe0002, 0x03fdfc00, 0x000a0004, 0x000bfc66,
    0x000c0004, 0x000efc66, 0x0002002e, 0x00029466, 0x0040002e, 0x00430466,
    0x0084803e, 0x00849466, 0x0080801e, 0x00808c66, 0x0080901e, 0x00809c66,
    0x00000201, 0xbffffc66, 0x00100002, 0x0014bc66,
};

/* Recorded: the kernel's description. */
static const char description[] =
    "\x00\x00\x02\x04\x76\x35\x00\x00\x00\x00\x04\x00UKa "
    "L4Ka::Pistachio - built on Nov 22 2026 15:21:26\0"
    "pagerexregs\0"
    "ioflexpages\0";

#define DESCRIPTION 0x130u
#define DESCRIPTORS 0x1c0u

static _Alignas(4096) unsigned char kip[4096];

static void put(uint32_t offset, uint32_t word)
{
    memcpy(kip + offset, &word, sizeof word);
}

static void make_kip(void)
{
    memset(kip, 0, sizeof kip);
    put(L4_KIP_MEMORY_INFO, DESCRIPTORS << 16 | sizeof recorded / 8);
    put(L4_KIP_KERNEL_DESC, DESCRIPTION);
    memcpy(kip + DESCRIPTION, description, sizeof description);
    memcpy(kip + DESCRIPTORS, recorded, sizeof recorded);
}

START_TEST(conventional_memory_is_what_no_later_descriptor_takes)
{
    const uint32_t expected[][2] = {
        {0x1000, 0x1f000},     /* up to sigma0 */
        {0x2a000, 0x75000},    /* up to the firmware's page */
        {0x14c000, 0x2b4000},  /* behind the kernel, up to the root task */
        {0x431000, 0x3d7000},  /* up to the boot information */
        {0x80a000, 0x3e000},   /* up to the module */
        {0x84a000, 0x2796000}, /* up to what the kernel keeps */
    };
    struct hmm_l4_memory_map map;
    uint32_t start = L4_PAGE_SIZE;
    uint32_t length;
    make_kip();
    hmm_l4_memory_map(kip, &map);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        ck_assert(hmm_l4_memory_next(&map, &start, &length, 0x40000000));
        ck_assert_uint_eq(start, expected[i][0]);
        ck_assert_uint_eq(length, expected[i][1]);
        start += length;
    }
    ck_assert(!hmm_l4_memory_next(&map, &start, &length, 0x40000000));
}
END_TEST

START_TEST(a_piece_of_memory_ends_where_asked)
{
    struct hmm_l4_memory_map map;
    uint32_t start = 0x900000;
    uint32_t length;
    make_kip();
    hmm_l4_memory_map(kip, &map);
    ck_assert(hmm_l4_memory_next(&map, &start, &length, 0xa00000));
    ck_assert_uint_eq(start, 0x900000);
    ck_assert_uint_eq(length, 0x100000);
    ck_assert(!hmm_l4_memory_next(&map, &start, &length, 0x900000));
}
END_TEST

START_TEST(a_page_that_is_described_in_part_is_nobodys)
{
    const uint32_t half[] = {0x00000001, 0x00007c00, 0x00004402, 0x00004400};
    struct hmm_l4_memory_map map = {half, 2};
    uint32_t start = 0;
    uint32_t length;
    ck_assert(hmm_l4_memory_next(&map, &start, &length, 0x10000));
    ck_assert_uint_eq(start, 0);
    ck_assert_uint_eq(length, 0x4000);
    start = 0x4000;
    ck_assert(hmm_l4_memory_next(&map, &start, &length, 0x10000));
    ck_assert_uint_eq(start, 0x5000);
    ck_assert_uint_eq(length, 0x3000);
}
END_TEST

START_TEST(features_are_found_by_name)
{
    make_kip();
    ck_assert(hmm_l4_has_feature(kip, "ioflexpages"));
    ck_assert(hmm_l4_has_feature(kip, "pagerexregs"));
    ck_assert(!hmm_l4_has_feature(kip, "ioflex"));
    ck_assert(!hmm_l4_has_feature(kip, "smallspaces"));
    put(DESCRIPTION + 16, 0);
    ck_assert(!hmm_l4_has_feature(kip, "ioflexpages"));
}
END_TEST

START_TEST(fpages_have_base_size_and_rights)
{
    uint32_t fpage = l4_fpage(0x12345000, 12, L4_READ | L4_EXECUTE);
    ck_assert_uint_eq(fpage, 0x123450c5);
    ck_assert_uint_eq(l4_fpage_base(fpage), 0x12345000);
    ck_assert_uint_eq(l4_fpage_log2(fpage), 12);
    ck_assert_uint_eq(l4_fpage_rights(fpage), L4_READ | L4_EXECUTE);
    ck_assert_uint_eq(l4_io_fpage(0, 16), 0x4020);
    ck_assert_uint_eq(l4_io_fpage(0x1f0, 3), 0x01f00c20);
}
END_TEST

START_TEST(tags_have_label_and_counts)
{
    uint32_t tag = l4_tag(0xffa0, 2, 0);
    ck_assert_uint_eq(tag, 0xffa00002);
    tag = l4_tag(0x12, 3, 62);
    ck_assert_uint_eq(l4_tag_label(tag), 0x12);
    ck_assert_uint_eq(l4_tag_untyped(tag), 3);
    ck_assert_uint_eq(l4_tag_typed(tag), 62);
    ck_assert_uint_eq(tag & (L4_TAG_ERROR | L4_TAG_PROPAGATE), 0);
}
END_TEST

START_TEST(identifiers_tell_local_from_global)
{
    ck_assert_uint_eq(l4_global_id(48, 1), 0xc0001);
    ck_assert_uint_eq(l4_thread_number(0xc8001), 50);
    ck_assert(l4_is_local_id(0xbf000100));
    ck_assert(!l4_is_local_id(0xc8001));
    ck_assert(!l4_is_local_id(L4_NIL));
    ck_assert(!l4_is_local_id(L4_ANY));
}
END_TEST

START_TEST(a_block_is_the_largest_that_fits_around_an_address)
{
    ck_assert_uint_eq(hmm_l4_block(0x5000, 0x5000, 0x1000, 12, 21), 12);
    ck_assert_uint_eq(hmm_l4_block(0x5000, 0x4000, 0x2000, 12, 21), 13);
    ck_assert_uint_eq(hmm_l4_block(0x5000, 0x4000, 0x4000, 12, 21), 14);
    ck_assert_uint_eq(hmm_l4_block(0x5000, 0x4000, 0x4000, 12, 13), 13);
    ck_assert_uint_eq(hmm_l4_block(0x5000, 0x5000, 0x10000, 12, 21), 12);
    ck_assert_uint_eq(hmm_l4_block(0xfffff000, 0xffff0000, 0x10000, 12, 21),
                      16);
}
END_TEST

START_TEST(a_block_from_here_is_aligned_in_both_places)
{
    ck_assert_uint_eq(hmm_l4_block_from(0x10000, 0x20000, 0x10000, 21), 16);
    ck_assert_uint_eq(hmm_l4_block_from(0x10000, 0x22000, 0x10000, 21), 13);
    ck_assert_uint_eq(hmm_l4_block_from(0x11000, 0x20000, 0x10000, 21), 12);
    ck_assert_uint_eq(hmm_l4_block_from(0x10000, 0x20000, 0x3000, 21), 13);
    ck_assert_uint_eq(hmm_l4_block_from(0, 0, 0x80000000, 21), 21);
}
END_TEST

/* What a kernel makes of a timeout. */
static uint64_t microseconds(uint32_t timeout)
{
    return (uint64_t)(timeout & 0x3ff) << (timeout >> 10 & 0x1f);
}

START_TEST(timeouts_are_never_shorter_and_hardly_longer)
{
    ck_assert_uint_eq(hmm_l4_timeout(HURDMM_FOREVER), L4_TIMEOUT_NEVER);
    ck_assert_uint_eq(hmm_l4_timeout(0), L4_TIMEOUT_ZERO);
    ck_assert_uint_eq(microseconds(hmm_l4_timeout(1)), 1);
    for (uint64_t ns = 1000; ns < 1000000 * MS; ns += ns / 7 + 1) {
        uint32_t timeout = hmm_l4_timeout(ns);
        uint64_t us = (ns + 999) / 1000;
        ck_assert_uint_ne(timeout, L4_TIMEOUT_NEVER);
        ck_assert_uint_lt(timeout, 0x8000);
        ck_assert_uint_ge(microseconds(timeout), us);
        ck_assert_uint_le(microseconds(timeout), us + us / 256 + 1);
    }
    ck_assert_uint_eq(hmm_l4_timeout(HURDMM_FOREVER - 1), L4_TIMEOUT_NEVER);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("l4");
    TCase *tcase = tcase_create("abi");
    tcase_add_test(tcase,
                   conventional_memory_is_what_no_later_descriptor_takes);
    tcase_add_test(tcase, a_piece_of_memory_ends_where_asked);
    tcase_add_test(tcase, a_page_that_is_described_in_part_is_nobodys);
    tcase_add_test(tcase, features_are_found_by_name);
    tcase_add_test(tcase, fpages_have_base_size_and_rights);
    tcase_add_test(tcase, tags_have_label_and_counts);
    tcase_add_test(tcase, identifiers_tell_local_from_global);
    tcase_add_test(tcase, a_block_is_the_largest_that_fits_around_an_address);
    tcase_add_test(tcase, a_block_from_here_is_aligned_in_both_places);
    tcase_add_test(tcase, timeouts_are_never_shorter_and_hardly_longer);
    suite_add_tcase(suite, tcase);
    return run_suites("l4 abi", &suite, 1);
}
