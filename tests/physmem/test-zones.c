/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator: first each promise of its header by itself, then random
 * sequences against an array that says of every frame whether it is free.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hurdmm/error.h"

#include "lib/base/rand.h"
#include "lib/physmem/zones.h"
#include "tests/support/runner.h"

#define PAGE 4096u
#define GIB (UINT64_C(1) << 30)

/* ---- The allocator under test, and what it manages ---- */

static struct hmm_zones zones;
static const struct hmm_bank *banks;
static uint32_t bank_count;

/* Starts afresh. */
static void start(const struct hmm_bank *bank, uint32_t count)
{
    uint32_t frames = 0;

    for (uint32_t i = 0; i < count; i++)
        frames += bank[i].frames;
    void *memory = malloc(hmm_zones_memory(frames, count));
    ck_assert_ptr_nonnull(memory);
    free(zones.zone);
    ck_assert_int_eq(hmm_zones_init(&zones, memory, PAGE, bank, count), 0);
    banks = bank;
    bank_count = count;
}

static void start_one(uint64_t first_page, uint32_t frames)
{
    static struct hmm_bank bank;

    bank = (struct hmm_bank){first_page * PAGE, 0, frames};
    start(&bank, 1);
}

static const struct hmm_bank *bank_of(uint32_t frame)
{
    uint32_t i = 0;

    while (i + 1 < bank_count && frame >= banks[i + 1].first_frame)
        i++;
    return &banks[i];
}

static uint64_t address_of(uint32_t frame)
{
    const struct hmm_bank *bank = bank_of(frame);
    return bank->base + (uint64_t)(frame - bank->first_frame) * PAGE;
}

static uint32_t alloc(uint32_t count)
{
    uint32_t first = HMM_FRAME_NONE;

    ck_assert_int_eq(
        hmm_zones_alloc(&zones, count, NULL, HMM_FRAME_NONE, &first), 0);
    ck_assert(hmm_zones_check(&zones));
    return first;
}

static uint32_t alloc_at(uint32_t hint, uint32_t count)
{
    uint32_t first = HMM_FRAME_NONE;

    ck_assert_int_eq(hmm_zones_alloc(&zones, count, NULL, hint, &first), 0);
    ck_assert_uint_eq(first, hint);
    ck_assert(hmm_zones_check(&zones));
    return first;
}

static uint32_t alloc_with(uint32_t count, struct hmm_constraint constraint)
{
    uint32_t first = HMM_FRAME_NONE;

    ck_assert_int_eq(
        hmm_zones_alloc(&zones, count, &constraint, HMM_FRAME_NONE, &first), 0);
    ck_assert(hmm_zones_check(&zones));
    return first;
}

/* What a refused request says, having changed nothing. */
static int refusal(uint32_t count, const struct hmm_constraint *constraint)
{
    uint32_t first = 12345;
    uint32_t before = hmm_zones_free_count(&zones);
    int error =
        hmm_zones_alloc(&zones, count, constraint, HMM_FRAME_NONE, &first);

    ck_assert_uint_eq(first, 12345);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), before);
    ck_assert(hmm_zones_check(&zones));
    return error;
}

static int refusal_with(uint32_t count, struct hmm_constraint constraint)
{
    return refusal(count, &constraint);
}

static void give_back(uint32_t first, uint32_t count)
{
    ck_assert_int_eq(hmm_zones_free(&zones, first, count), 0);
    ck_assert(hmm_zones_check(&zones));
}

static void refuse_free(uint32_t first, uint32_t count)
{
    uint32_t before = hmm_zones_free_count(&zones);

    ck_assert_int_eq(hmm_zones_free(&zones, first, count), EINVAL);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), before);
    ck_assert(hmm_zones_check(&zones));
}

/* ---- Making ---- */

static int init(size_t page_size, const struct hmm_bank *bank, uint32_t count)
{
    static uint64_t memory[4096];
    struct hmm_zones new_zones;

    return hmm_zones_init(&new_zones, memory, page_size, bank, count);
}

START_TEST(all_frames_are_free_at_first)
{
    start_one(7, 1000);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 1000);
    ck_assert_uint_eq(hmm_zones_largest(&zones), 1000);
    for (uint32_t i = 0; i < 1000; i++)
        ck_assert(hmm_zones_is_free(&zones, i));
    ck_assert(!hmm_zones_is_free(&zones, 1000));
    ck_assert(!hmm_zones_is_free(&zones, HMM_FRAME_NONE));
    ck_assert(hmm_zones_check(&zones));
}
END_TEST

START_TEST(banks_that_are_wrong_are_refused)
{
    struct hmm_bank good[2] = {{0, 0, 10}, {10 * PAGE, 10, 5}};
    struct hmm_bank bad[2];

    ck_assert_int_eq(init(PAGE, good, 2), 0);
    ck_assert_int_eq(init(PAGE, good, 0), EINVAL);
    ck_assert_int_eq(init(PAGE + 1, good, 2), EINVAL);
    ck_assert_int_eq(init(0, good, 2), EINVAL);
    ck_assert_int_eq(init(32, good, 2), EINVAL);
#define REFUSED_WITH(member, value)                                            \
    do {                                                                       \
        memcpy(bad, good, sizeof bad);                                         \
        bad[1].member = (value);                                               \
        ck_assert_int_eq(init(PAGE, bad, 2), EINVAL);                          \
    } while (0)
    REFUSED_WITH(frames, 0);
    REFUSED_WITH(frames, UINT32_MAX);
    REFUSED_WITH(first_frame, 9);
    REFUSED_WITH(first_frame, 11);
    REFUSED_WITH(base, 10 * PAGE + 1);
    REFUSED_WITH(base, 9 * PAGE);
    REFUSED_WITH(base, 0);
    REFUSED_WITH(base, UINT64_MAX - 4 * PAGE + 1);
#undef REFUSED_WITH
}
END_TEST

START_TEST(the_last_page_of_64_bits_is_usable)
{
    start_one(UINT64_MAX / PAGE - 9, 10);
    ck_assert_uint_eq(alloc(8), 2);
    ck_assert_uint_eq(
        alloc_with(2, (struct hmm_constraint){.high = UINT64_MAX}), 0);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 0);
}
END_TEST

START_TEST(metadata_takes_a_fraction_of_a_byte_a_frame)
{
    ck_assert_uint_le(hmm_zones_memory(1000000, 1), 1000000 * 2 / 3);
    ck_assert_uint_le(hmm_zones_memory(1, 1), 4096);
    if (SIZE_MAX > UINT32_MAX)
        ck_assert_uint_ge(hmm_zones_memory(UINT32_MAX, 16), UINT32_MAX / 8);
}
END_TEST

/* ---- Taking without a constraint ---- */

START_TEST(frame_0_at_physical_0_is_usable)
{
    start_one(0, 1);
    ck_assert_uint_eq(alloc(1), 0);
    ck_assert_int_eq(refusal(1, NULL), ENOMEM);
    give_back(0, 1);
    ck_assert_uint_eq(alloc(1), 0);
}
END_TEST

START_TEST(powers_of_two_are_naturally_aligned_in_physical_memory)
{
    start_one(13, 20000);
    for (uint32_t count = 1; count <= 8192; count *= 2) {
        uint32_t first = alloc(count);
        ck_assert_uint_eq(address_of(first) % ((uint64_t)count * PAGE), 0);
    }
}
END_TEST

START_TEST(odd_sizes_are_exact)
{
    start_one(0, 64);
    ck_assert_uint_eq(alloc(5), 0);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 59);
    ck_assert(!hmm_zones_is_free(&zones, 4));
    ck_assert(hmm_zones_is_free(&zones, 5));
}
END_TEST

START_TEST(an_odd_run_is_found_across_buddies)
{
    start_one(0, 4096 * 3);
    /* 4095 is odd on both sides of the only boundary that matters. */
    alloc_at(0, 2000);
    alloc_at(2000 + 4095, 4096 * 3 - 2000 - 4095);
    ck_assert_uint_eq(hmm_zones_largest(&zones), 4095);
    ck_assert_int_eq(refusal(4096, NULL), ENOMEM);
    ck_assert_uint_eq(alloc(4095), 2000);
    give_back(2000 + 77, 3);
    ck_assert_uint_eq(alloc(3), 2077);
}
END_TEST

START_TEST(an_aligned_run_is_refused_rather_than_misaligned)
{
    start_one(1, 16);
    ck_assert_int_eq(refusal(16, NULL), ERANGE);
    alloc_at(14, 1); /* page 15, of the only eight that are aligned */
    ck_assert_int_eq(refusal(8, NULL), ENOMEM);
    ck_assert_uint_eq(alloc_with(8, (struct hmm_constraint){0}), 0);
}
END_TEST

START_TEST(single_frames_leave_large_blocks_whole)
{
    start_one(0, 4096);
    alloc(1);
    for (uint32_t i = 1; i < 64; i++)
        ck_assert_uint_lt(alloc(1), 64);
    ck_assert_uint_eq(hmm_zones_largest(&zones), 4032);
}
END_TEST

START_TEST(single_frames_hide_nothing_from_other_requests)
{
    start_one(0, 64);
    ck_assert_uint_eq(alloc(1), 0);
    ck_assert_uint_eq(hmm_zones_largest(&zones), 63);
    give_back(0, 1);
    ck_assert_uint_eq(alloc(1), 0);
    ck_assert_uint_eq(alloc(63), 1);
    give_back(7, 1); /* now the next that a single request gets */
    ck_assert_uint_eq(alloc_with(1, (struct hmm_constraint){.low = PAGE}), 7);
    give_back(7, 1);
    give_back(8, 1);
    ck_assert_uint_eq(alloc_at(8, 1), 8);
    give_back(8, 1);
    ck_assert_uint_eq(alloc_with(2, (struct hmm_constraint){0}), 7);
}
END_TEST

START_TEST(requests_beyond_the_memory_are_told_from_exhaustion)
{
    start_one(0, 100);
    ck_assert_int_eq(refusal(0, NULL), EINVAL);
    ck_assert_int_eq(refusal(101, NULL), ERANGE);
    ck_assert_int_eq(refusal(128, NULL), ERANGE);
    ck_assert_int_eq(refusal(UINT32_MAX, NULL), ERANGE);
    ck_assert_int_eq(refusal(UINT32_C(1) << 31, NULL), ERANGE);
    ck_assert_uint_eq(alloc(100), 0);
    ck_assert_int_eq(refusal(100, NULL), ENOMEM);
    ck_assert_int_eq(refusal(1, NULL), ENOMEM);
    ck_assert_int_eq(refusal(101, NULL), ERANGE);
}
END_TEST

START_TEST(runs_of_more_than_2_gib_work)
{
    const uint32_t frames = 3u << 19; /* 6 GiB */

    start_one(1u << 19, frames);
    ck_assert_uint_eq(address_of(alloc(1u << 20)) % (4 * GIB), 0);
    ck_assert_uint_eq(address_of(alloc(1u << 19)), 2 * GIB);
    give_back(0, frames);
    ck_assert_uint_eq(alloc(frames), 0);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 0);
}
END_TEST

START_TEST(no_run_spans_two_banks)
{
    /* The frame numbers are neighbours, the second bank even follows. */
    static const struct hmm_bank two[] = {{0, 0, 10}, {10 * PAGE, 10, 10}};

    start(two, 2);
    ck_assert_int_eq(refusal(11, NULL), ERANGE);
    alloc(9);
    alloc(9);
    ck_assert_int_eq(refusal(2, NULL), ENOMEM);
}
END_TEST

START_TEST(every_bank_is_searched)
{
    static const struct hmm_bank three[] = {
        {0, 0, 16}, {100 * PAGE, 16, 40}, {50 * PAGE, 56, 8}};

    start(three, 3);
    ck_assert_uint_eq(alloc(33), 16);
    for (uint32_t i = 0; i < 31; i++)
        alloc(1);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 0);
    give_back(3, 1);
    ck_assert_uint_eq(alloc(1), 3);
    give_back(60, 1);
    ck_assert_uint_eq(alloc(1), 60);
}
END_TEST

/* ---- Hints ---- */

START_TEST(a_free_hint_is_taken_exactly)
{
    start_one(0, 1000);
    alloc_at(333, 64); /* also where it is not aligned */
    alloc_at(397, 5);
    alloc_at(999, 1);
}
END_TEST

START_TEST(a_hint_that_is_not_free_is_ignored)
{
    uint32_t first;

    start_one(0, 100);
    alloc_at(50, 2);
    ck_assert_int_eq(hmm_zones_alloc(&zones, 4, NULL, 48, &first), 0);
    ck_assert_uint_ne(first, 48);
    ck_assert_int_eq(hmm_zones_alloc(&zones, 4, NULL, 98, &first), 0);
    ck_assert_int_eq(hmm_zones_alloc(&zones, 4, NULL, 100, &first), 0);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 100 - 2 - 12);
}
END_TEST

START_TEST(a_constraint_is_stronger_than_a_hint)
{
    struct hmm_constraint low = {.high = 50 * PAGE - 1};
    uint32_t first;

    start_one(0, 100);
    ck_assert_int_eq(hmm_zones_alloc(&zones, 3, &low, 40, &first), 0);
    ck_assert_uint_eq(first, 40);
    ck_assert_int_eq(hmm_zones_alloc(&zones, 3, &low, 48, &first), 0);
    ck_assert_uint_lt(first, 48);
}
END_TEST

/* ---- As many as are handy ---- */

START_TEST(some_continues_at_the_hint)
{
    uint32_t first, got;

    start_one(0, 100);
    alloc_at(30, 10);
    ck_assert_int_eq(hmm_zones_alloc_some(&zones, 64, 20, &first, &got), 0);
    ck_assert_uint_eq(first, 20);
    ck_assert_uint_eq(got, 10);
    ck_assert_int_eq(hmm_zones_alloc_some(&zones, 16, 40, &first, &got), 0);
    ck_assert_uint_eq(first, 40);
    ck_assert_uint_eq(got, 16);
}
END_TEST

START_TEST(some_gets_all_it_wants_where_that_is_free)
{
    uint32_t first, got;

    start_one(0, 100);
    alloc_at(3, 1);
    ck_assert_int_eq(
        hmm_zones_alloc_some(&zones, 32, HMM_FRAME_NONE, &first, &got), 0);
    ck_assert_uint_eq(got, 32);
    ck_assert_uint_eq(first % 32, 0);
}
END_TEST

START_TEST(some_gets_what_there_is_where_memory_is_in_pieces)
{
    uint32_t first, got;

    start_one(0, 256);
    alloc(256);
    give_back(10, 2);
    give_back(61, 9);
    give_back(200, 3);
    ck_assert_int_eq(hmm_zones_alloc_some(&zones, 64, 5, &first, &got), 0);
    ck_assert_uint_eq(first, 61);
    ck_assert_uint_eq(got, 9);
    ck_assert_int_eq(hmm_zones_alloc_some(&zones, 64, 5, &first, &got), 0);
    ck_assert_int_eq(hmm_zones_alloc_some(&zones, 64, 5, &first, &got), 0);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 0);
    ck_assert_int_eq(hmm_zones_alloc_some(&zones, 64, 5, &first, &got), ENOMEM);
    ck_assert_int_eq(hmm_zones_alloc_some(&zones, 0, 5, &first, &got), EINVAL);
}
END_TEST

/* ---- Giving back ---- */

START_TEST(any_part_of_a_run_can_be_given_back)
{
    start_one(0, 64);
    alloc(64);
    give_back(10, 7);
    give_back(0, 10);
    give_back(63, 1);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 18);
    ck_assert_uint_eq(hmm_zones_largest(&zones), 17);
    give_back(17, 46);
    ck_assert_uint_eq(alloc(64), 0);
}
END_TEST

START_TEST(a_double_free_is_refused)
{
    start_one(0, 5000);
    refuse_free(0, 1);
    refuse_free(0, 5000);
    alloc_at(0, 5000);
    give_back(4096, 1);
    refuse_free(4096, 1);
    refuse_free(0, 5000); /* overlaps with what is free */
    refuse_free(4000, 97);
    refuse_free(4096, 2);
    give_back(4000, 96);
}
END_TEST

START_TEST(frames_that_do_not_exist_are_refused)
{
    start_one(0, 100);
    alloc(100);
    refuse_free(0, 0);
    refuse_free(100, 1);
    refuse_free(99, 2);
    refuse_free(HMM_FRAME_NONE, 1);
    refuse_free(1, UINT32_MAX);
}
END_TEST

START_TEST(neighbours_in_two_banks_can_be_given_back_at_once)
{
    static const struct hmm_bank two[] = {{0, 0, 10}, {100 * PAGE, 10, 10}};

    start(two, 2);
    alloc(10);
    alloc(10);
    give_back(15, 1);
    refuse_free(5, 12); /* and the part in the first bank stays taken */
    give_back(5, 10);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), 11);
}
END_TEST

/* ---- Constraints ---- */

#define BOTH(set, clear)                                                       \
    (struct hmm_constraint)                                                    \
    {                                                                          \
        .must_set = (set), .must_clear = (clear)                               \
    }

START_TEST(conflicting_masks_are_invalid)
{
    start_one(0, 100);
    ck_assert_int_eq(refusal_with(1, BOTH(3 * PAGE, PAGE)), EINVAL);
    ck_assert_int_eq(refusal_with(1, BOTH(PAGE / 2, 0)), EINVAL);
    ck_assert_int_eq(refusal_with(1, BOTH(1, 0)), EINVAL);
    ck_assert_int_eq(
        refusal_with(1, (struct hmm_constraint){.must_set = 2 * PAGE,
                                                .alignment = 4 * PAGE}),
        EINVAL);
    ck_assert_int_eq(refusal_with(0, BOTH(0, 0)), EINVAL);
}
END_TEST

START_TEST(constraints_that_mean_nothing_are_invalid)
{
    start_one(0, 100);
    ck_assert_int_eq(
        refusal_with(1, (struct hmm_constraint){.alignment = 3 * PAGE}),
        EINVAL);
    ck_assert_int_eq(
        refusal_with(1, (struct hmm_constraint){.boundary = 3 * PAGE}), EINVAL);
    ck_assert_int_eq(
        refusal_with(1, (struct hmm_constraint){.low = PAGE, .high = PAGE - 1}),
        EINVAL);
    ck_assert_int_eq(
        refusal_with(1, (struct hmm_constraint){.colour = 4, .colours = 4}),
        EINVAL);
}
END_TEST

START_TEST(all_bits_decided_name_one_address)
{
    struct hmm_constraint there = BOTH(777 * PAGE, ~(uint64_t)(777 * PAGE));

    start_one(5, 10000);
    ck_assert_uint_eq(alloc_with(16, there), 772);
    ck_assert_int_eq(refusal(1, &there), ENOMEM);
    there = BOTH(4 * PAGE, ~(uint64_t)(4 * PAGE));
    ck_assert_int_eq(refusal(1, &there), ERANGE);
    there = BOTH(10004 * PAGE, ~(uint64_t)(10004 * PAGE));
    ck_assert_int_eq(refusal(2, &there), ERANGE);
    ck_assert_uint_eq(alloc_with(1, there), 9999);
}
END_TEST

START_TEST(clear_bits_are_alignment_and_limit)
{
    start_one(1, 10000);
    ck_assert_uint_eq(address_of(alloc_with(3, BOTH(0, 0xffff))), 0x10000);
    ck_assert_uint_eq(address_of(alloc_with(3, BOTH(0, 0xffff))), 0x20000);
    /* Below 64 KiB: pages 1 to 15. */
    for (uint32_t i = 1; i < 16; i++)
        ck_assert_uint_lt(address_of(alloc_with(1, BOTH(0, ~UINT64_C(0xffff)))),
                          0x10000);
    ck_assert_int_eq(refusal_with(1, BOTH(0, ~UINT64_C(0xffff))), ENOMEM);
}
END_TEST

START_TEST(a_start_inside_a_large_block_is_found)
{
    start_one(0, 1 << 16);
    ck_assert_uint_eq(
        alloc_with(5, (struct hmm_constraint){.low = 4097 * PAGE}), 4097);
    ck_assert_uint_eq(alloc_with(1, BOTH(8195 * PAGE, 0)), 8195);
    ck_assert_uint_eq(hmm_zones_free_count(&zones), (1 << 16) - 6);
}
END_TEST

START_TEST(low_and_high_bound_the_whole_run)
{
    struct hmm_constraint c = {.low = 10 * PAGE + 1, .high = 15 * PAGE - 1};

    start_one(0, 100);
    ck_assert_int_eq(refusal(5, &c), ERANGE);
    ck_assert_uint_eq(alloc_with(4, c), 11);
    ck_assert_int_eq(refusal(1, &c), ENOMEM);
    c.low = 20 * PAGE;
    c.high = 21 * PAGE - 2; /* one byte short of a page */
    ck_assert_int_eq(refusal(1, &c), ERANGE);
    c = (struct hmm_constraint){.low = 99 * PAGE, .high = UINT64_MAX};
    ck_assert_uint_eq(alloc_with(1, c), 99);
    c.low = UINT64_MAX;
    ck_assert_int_eq(refusal(1, &c), ERANGE);
}
END_TEST

START_TEST(no_run_crosses_a_boundary)
{
    struct hmm_constraint c = {.boundary = 16 * PAGE};

    start_one(10, 54); /* pages 10 to 63 */
    ck_assert_int_eq(refusal(17, &c), ERANGE);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq((alloc_with(13, c) + 10) % 16, 0);
    ck_assert_int_eq(refusal(7, &c), ENOMEM);
    ck_assert_uint_eq(alloc_with(6, c), 0);
    c.boundary = PAGE / 2;
    ck_assert_int_eq(refusal(1, &c), ERANGE);
}
END_TEST

START_TEST(a_dma_table_is_below_4_gib_and_within_64_kib)
{
    static const struct hmm_bank two[] = {{3 * GIB + 13 * PAGE, 0, 16},
                                          {4 * GIB, 16, 1000}};
    struct hmm_constraint dma = {.high = 4 * GIB - 1, .boundary = 1 << 16};

    start(two, 2);
    ck_assert_uint_ge(alloc(1), 16); /* others do not take the low bank first */
    ck_assert_uint_eq(address_of(alloc_with(10, dma)), 3 * GIB + 16 * PAGE);
    ck_assert_int_eq(refusal(4, &dma), ENOMEM);
    ck_assert_uint_eq(alloc_with(3, dma), 0);
}
END_TEST

START_TEST(colours_are_exact_for_any_number_of_them)
{
    static const uint32_t numbers[] = {1, 2, 3, 6, 7, 16, 24, 64, 100, 256};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct hmm_constraint c = {.colours = numbers[i]};

        c.colour = numbers[i] * 2 / 3;
        start_one(1000, 512);
        uint32_t want = 0, got = 0, first;
        for (uint32_t page = 1000; page < 1512; page++)
            want += page % c.colours == c.colour;
        while (hmm_zones_alloc(&zones, 1, &c, HMM_FRAME_NONE, &first) == 0) {
            ck_assert_uint_eq((first + 1000) % c.colours, c.colour);
            got++;
        }
        ck_assert_uint_eq(got, want);
        ck_assert_int_eq(refusal(1, &c), ENOMEM);
    }
}
END_TEST

START_TEST(a_colour_that_the_masks_exclude_is_out_of_range)
{
    struct hmm_constraint c = {.must_set = PAGE, .colour = 2, .colours = 4};

    start_one(0, 1000);
    ck_assert_int_eq(refusal(1, &c), ERANGE);
    c.colours = 6;
    ck_assert_int_eq(refusal(1, &c), ERANGE);
    c.colours = 5;
    ck_assert_uint_eq(alloc_with(1, c), 7);
}
END_TEST

START_TEST(constrained_powers_of_two_are_aligned_where_they_can_be)
{
    struct hmm_constraint c = {.low = PAGE};

    start_one(0, 16);
    ck_assert_uint_eq(alloc_with(4, c), 4);
    ck_assert_uint_eq(alloc_with(4, c), 8);
    ck_assert_uint_eq(alloc_with(4, c), 12);
    alloc_at(0, 1);
    give_back(4, 1);
    ck_assert_uint_eq(alloc_with(4, c), 1);
}
END_TEST

/* ---- Random sequences against an array ---- */

#define FRAMES_MAX 20000

static struct hmm_rand rnd;
static bool taken[FRAMES_MAX];

static uint32_t below(uint64_t bound)
{
    return (uint32_t)hmm_rand_below(&rnd, bound);
}

static uint32_t random_count(uint32_t max)
{
    uint32_t count = 1 + below((uint64_t)1 << below(14));

    if (below(2))
        count = (uint32_t)1 << below(10);
    return count <= max ? count : 1 + below(max);
}

static uint64_t random_address(void)
{
    uint64_t address = address_of(below(zones.frames));
    return below(4) ? address : address + below(3 * PAGE) - PAGE;
}

static struct hmm_constraint random_constraint(uint32_t count)
{
    static const uint32_t colours[] = {1, 2, 3, 4, 7, 12, 16, 128, 1000};
    struct hmm_constraint c = {0};

    if (below(3) == 0) {
        c.must_set = random_address() & hmm_rand_next(&rnd) &
                     hmm_rand_next(&rnd) & ~(uint64_t)(PAGE - 1);
        c.must_clear = hmm_rand_next(&rnd) & hmm_rand_next(&rnd) & 0xffffff &
                       (below(20) ? ~c.must_set : UINT64_MAX);
    }
    if (below(3) == 0)
        c.low = random_address();
    if (below(3) == 0)
        c.high = random_address() + below(2) * count * PAGE;
    if (below(4) == 0)
        c.alignment = (uint64_t)1 << below(22);
    if (below(4) == 0)
        c.boundary = (uint64_t)PAGE << below(12);
    if (below(4) == 0) {
        c.colours = colours[below(sizeof colours / sizeof *colours)];
        c.colour = below(c.colours + (below(10) == 0));
    }
    return c;
}

static bool zero_or_pow2(uint64_t x)
{
    return (x & (x - 1)) == 0;
}

static bool valid(const struct hmm_constraint *c)
{
    uint64_t clear = c->must_clear | (PAGE - 1);

    if (c->alignment)
        clear |= c->alignment - 1;
    return (c->must_set & clear) == 0 && zero_or_pow2(c->alignment) &&
           zero_or_pow2(c->boundary) && (!c->high || c->low <= c->high) &&
           (!c->colours || c->colour < c->colours);
}

/* Whether a run at this frame, all in one bank, is where it was asked to be. */
static bool allowed(uint32_t frame, uint32_t count,
                    const struct hmm_constraint *c)
{
    const struct hmm_bank *bank = bank_of(frame);
    uint64_t first = address_of(frame);
    uint64_t last = first + (uint64_t)count * PAGE - 1;

    if (frame - bank->first_frame + count > bank->frames)
        return false;
    if (c == NULL)
        return (count & (count - 1)) != 0 || first / PAGE % count == 0;
    return (first & c->must_set) == c->must_set &&
           (first & c->must_clear) == 0 && first >= c->low &&
           (!c->high || last <= c->high) &&
           (!c->alignment || first % c->alignment == 0) &&
           (!c->boundary || first / c->boundary == last / c->boundary) &&
           (!c->colours || first / PAGE % c->colours == c->colour);
}

/* What a request without a usable hint should say. */
static int expected(uint32_t count, const struct hmm_constraint *c)
{
    int error = ERANGE;
    uint32_t free = 0;

    if (count == 0 || (c != NULL && !valid(c)))
        return EINVAL;
    for (uint32_t frame = zones.frames; frame-- > 0;) {
        free = taken[frame] ? 0 : free + 1;
        if (!allowed(frame, count, c))
            continue;
        if (free >= count)
            return 0;
        error = ENOMEM;
    }
    return error;
}

static bool all_are(uint32_t first, uint32_t count, bool state)
{
    for (uint32_t i = 0; i < count; i++) {
        if (first + i >= zones.frames || taken[first + i] != state)
            return false;
    }
    return true;
}

static void mark(uint32_t first, uint32_t count, bool state)
{
    ck_assert(all_are(first, count, !state));
    memset(&taken[first], state, count);
}

static void random_alloc(void)
{
    uint32_t count = random_count(zones.frames);
    struct hmm_constraint some = random_constraint(count);
    const struct hmm_constraint *c = below(2) ? &some : NULL;
    uint32_t hint = below(2) ? HMM_FRAME_NONE : below(zones.frames + 2);
    uint32_t first = HMM_FRAME_NONE;
    bool hinted = false;

    if (hint < zones.frames && all_are(hint, count, false))
        hinted = c != NULL ? valid(c) && allowed(hint, count, c)
                           : bank_of(hint) == bank_of(hint + count - 1);
    int wanted = hinted ? 0 : expected(count, c);
    int error = hmm_zones_alloc(&zones, count, c, hint, &first);
    ck_assert_int_eq(error, wanted);
    if (error != 0) {
        ck_assert_uint_eq(first, HMM_FRAME_NONE);
        return;
    }
    if (hinted)
        ck_assert_uint_eq(first, hint);
    else
        ck_assert(allowed(first, count, c));
    mark(first, count, true);
}

static uint32_t longest(void)
{
    uint32_t best = 0, length = 0;

    for (uint32_t i = 0; i < zones.frames; i++) {
        if (bank_of(i)->first_frame == i)
            length = 0;
        length = taken[i] ? 0 : length + 1;
        best = length > best ? length : best;
    }
    return best;
}

static void random_alloc_some(void)
{
    uint32_t want = random_count(zones.frames);
    uint32_t hint = below(zones.frames + 1);
    uint32_t first, got;
    uint32_t best = longest();
    int error = hmm_zones_alloc_some(&zones, want, hint, &first, &got);

    ck_assert_int_eq(error, best == 0 ? ENOMEM : 0);
    if (error != 0)
        return;
    if (hint < zones.frames && !taken[hint]) {
        ck_assert_uint_eq(first, hint);
        ck_assert(got == want || hint + got == zones.frames ||
                  taken[hint + got] || bank_of(hint) != bank_of(hint + got));
    } else {
        ck_assert(got == want || got == best);
    }
    ck_assert_uint_le(got, want);
    ck_assert_ptr_eq(bank_of(first), bank_of(first + got - 1));
    mark(first, got, true);
}

static void random_free(void)
{
    uint32_t first = below(zones.frames);
    uint32_t count = 1;

    if (below(10) == 0) {
        count = random_count(zones.frames + 1);
    } else {
        /* Something that is taken: from there on, as far as it goes. */
        for (uint32_t i = 0; i < zones.frames && !taken[first]; i++)
            first = (first + 1) % zones.frames;
        uint32_t max = random_count(zones.frames);
        while (count < max && first + count < zones.frames &&
               taken[first + count])
            count++;
    }
    bool good = all_are(first, count, true);
    int error = hmm_zones_free(&zones, first, count);
    ck_assert_int_eq(error, good ? 0 : EINVAL);
    if (good)
        mark(first, count, false);
}

static void compare(void)
{
    uint32_t free = 0;

    for (uint32_t i = 0; i < zones.frames; i++) {
        if (hmm_zones_is_free(&zones, i) == taken[i])
            ck_abort_msg("frame %u is %s", i, taken[i] ? "taken" : "free");
        free += !taken[i];
    }
    ck_assert_uint_eq(hmm_zones_free_count(&zones), free);
    ck_assert(hmm_zones_check(&zones));
    if (below(10) == 0) /* seldom, as it closes the allocator's open word */
        ck_assert_uint_eq(hmm_zones_largest(&zones), longest());
}

/* Takes more than it gives back for a while, then the other way round. */
static void random_steps(size_t steps, size_t compare_every)
{
    uint32_t taking = 50;

    memset(taken, 0, sizeof taken);
    for (size_t i = 0; i < steps; i++) {
        if (i % 100 == 0)
            taking = 20 + below(70);
        if (below(100) >= taking)
            random_free();
        else if (below(5) == 0)
            random_alloc_some();
        else
            random_alloc();
        if (i % compare_every == 0)
            compare();
    }
    compare();
}

static const struct hmm_bank small_banks[] = {{0, 0, 70}};
static const struct hmm_bank odd_banks[] = {{63 * PAGE, 0, 130}};
static const struct hmm_bank hole_banks[] = {
    {0, 0, 1}, {900 * PAGE, 1, 333}, {3 * PAGE, 334, 200}, {GIB, 534, 66}};
static const struct hmm_bank large_banks[] = {{4000 * PAGE, 0, 9001},
                                              {3 * GIB, 9001, 8200}};
static const struct {
    const struct hmm_bank *bank;
    uint32_t count;
    size_t sequences;
    size_t steps;
    size_t compare_every;
} worlds[] = {
    {small_banks, 1, 300, 300, 1},
    {odd_banks, 1, 300, 300, 1},
    {hole_banks, 4, 100, 500, 1},
    {large_banks, 2, 10, 3000, 100},
};

START_TEST(random_sequences_agree_with_an_array)
{
    size_t sequences = test_scaled(worlds[_i].sequences);

    for (size_t seed = 0; seed < sequences; seed++) {
        start(worlds[_i].bank, worlds[_i].count);
        hmm_rand_init(&rnd, seed);
        random_steps(worlds[_i].steps, worlds[_i].compare_every);
    }
}
END_TEST

START_TEST(exhaustion_and_back_leaves_no_trace)
{
    start(hole_banks, 4);
    hmm_rand_init(&rnd, 7);
    memset(taken, 0, sizeof taken);
    for (size_t round = 0; round < test_scaled(50); round++) {
        while (hmm_zones_free_count(&zones) > 0)
            random_alloc_some();
        ck_assert_int_eq(refusal(1, NULL), ENOMEM);
        for (uint32_t left = zones.frames; left > 0;) {
            random_free();
            left = zones.frames - hmm_zones_free_count(&zones);
        }
        compare();
        ck_assert_uint_eq(hmm_zones_largest(&zones), 333);
        for (uint32_t i = 0; i < 4; i++)
            give_back(alloc_at(banks[i].first_frame, banks[i].frames),
                      banks[i].frames);
    }
}
END_TEST

/* Memory that is half full and always changing keeps its large blocks. */
START_TEST(fragmentation_does_not_grow)
{
    enum { FRAMES = 16384, RUNS = 512 };
    uint32_t first[RUNS] = {0}, count[RUNS] = {0};
    uint32_t early = UINT32_MAX, late = UINT32_MAX;

    start_one(0, FRAMES);
    hmm_rand_init(&rnd, 3);
    for (size_t i = 0; i < 100000; i++) {
        uint32_t k = below(RUNS);
        if (count[k] != 0)
            ck_assert_int_eq(hmm_zones_free(&zones, first[k], count[k]), 0);
        count[k] = 1 + below(31);
        ck_assert_int_eq(
            hmm_zones_alloc(&zones, count[k], NULL, HMM_FRAME_NONE, &first[k]),
            0);
        if (i < 10000 || i % 1000 != 0)
            continue;
        uint32_t largest = hmm_zones_largest(&zones);
        uint32_t *least = i < 50000 ? &early : &late;
        *least = largest < *least ? largest : *least;
    }
    ck_assert_uint_ge(late, FRAMES / 16);
    ck_assert_uint_ge(late, early / 2);
}
END_TEST

static Suite *zones_suite(void)
{
    Suite *suite = suite_create("zones");
    TCase *making = tcase_create("making");
    TCase *taking = tcase_create("taking");
    TCase *giving = tcase_create("giving back");
    TCase *where = tcase_create("constraints");
    TCase *model = tcase_create("model");

    tcase_add_test(making, all_frames_are_free_at_first);
    tcase_add_test(making, banks_that_are_wrong_are_refused);
    tcase_add_test(making, the_last_page_of_64_bits_is_usable);
    tcase_add_test(making, metadata_takes_a_fraction_of_a_byte_a_frame);
    suite_add_tcase(suite, making);

    tcase_add_test(taking, frame_0_at_physical_0_is_usable);
    tcase_add_test(taking,
                   powers_of_two_are_naturally_aligned_in_physical_memory);
    tcase_add_test(taking, odd_sizes_are_exact);
    tcase_add_test(taking, an_odd_run_is_found_across_buddies);
    tcase_add_test(taking, an_aligned_run_is_refused_rather_than_misaligned);
    tcase_add_test(taking, single_frames_leave_large_blocks_whole);
    tcase_add_test(taking, single_frames_hide_nothing_from_other_requests);
    tcase_add_test(taking, requests_beyond_the_memory_are_told_from_exhaustion);
    tcase_add_test(taking, runs_of_more_than_2_gib_work);
    tcase_add_test(taking, no_run_spans_two_banks);
    tcase_add_test(taking, every_bank_is_searched);
    tcase_add_test(taking, a_free_hint_is_taken_exactly);
    tcase_add_test(taking, a_hint_that_is_not_free_is_ignored);
    tcase_add_test(taking, a_constraint_is_stronger_than_a_hint);
    tcase_add_test(taking, some_continues_at_the_hint);
    tcase_add_test(taking, some_gets_all_it_wants_where_that_is_free);
    tcase_add_test(taking, some_gets_what_there_is_where_memory_is_in_pieces);
    suite_add_tcase(suite, taking);

    tcase_add_test(giving, any_part_of_a_run_can_be_given_back);
    tcase_add_test(giving, a_double_free_is_refused);
    tcase_add_test(giving, frames_that_do_not_exist_are_refused);
    tcase_add_test(giving, neighbours_in_two_banks_can_be_given_back_at_once);
    suite_add_tcase(suite, giving);

    tcase_add_test(where, conflicting_masks_are_invalid);
    tcase_add_test(where, constraints_that_mean_nothing_are_invalid);
    tcase_add_test(where, all_bits_decided_name_one_address);
    tcase_add_test(where, clear_bits_are_alignment_and_limit);
    tcase_add_test(where, a_start_inside_a_large_block_is_found);
    tcase_add_test(where, low_and_high_bound_the_whole_run);
    tcase_add_test(where, no_run_crosses_a_boundary);
    tcase_add_test(where, a_dma_table_is_below_4_gib_and_within_64_kib);
    tcase_add_test(where, colours_are_exact_for_any_number_of_them);
    tcase_add_test(where, a_colour_that_the_masks_exclude_is_out_of_range);
    tcase_add_test(where,
                   constrained_powers_of_two_are_aligned_where_they_can_be);
    suite_add_tcase(suite, where);

    tcase_set_timeout(model, 120);
    tcase_add_loop_test(model, random_sequences_agree_with_an_array, 0,
                        (int)(sizeof worlds / sizeof *worlds));
    tcase_add_test(model, exhaustion_and_back_leaves_no_trace);
    tcase_add_test(model, fragmentation_does_not_grow);
    suite_add_tcase(suite, model);
    return suite;
}

int main(void)
{
    Suite *suite = zones_suite();
    return run_suites("zones", &suite, 1);
}
