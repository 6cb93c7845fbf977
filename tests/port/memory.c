/* SPDX-License-Identifier: MIT */
/* Opening and closing, physical memory, address space. */
#include <string.h>

#include "tests/port/rig.h"
#include "tests/support/runner.h"

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

START_TEST(open_reports_a_machine)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    const struct hurdmm_port_info *info = &rig.info;
    ck_assert(is_power_of_two(info->page_size));
    ck_assert(info->page_sizes & info->page_size);
    ck_assert_uint_eq(info->page_sizes & (info->page_size - 1), 0);
    ck_assert_uint_lt(info->low, info->high);
    ck_assert_uint_eq(info->low & (rig.page - 1), 0);
    ck_assert_uint_eq((info->high + 1) & (rig.page - 1), 0);
    ck_assert_uint_ge(info->bank_count, 1);
    ck_assert_uint_le(info->bank_count, HURDMM_BANKS_MAX);
    ck_assert_str_ne(rig.ops->name, "");
    ck_assert_uint_eq(rig.ops->version, HURDMM_PORT_VERSION);
    ck_assert_uint_eq(rig.ops->struct_size, sizeof *rig.ops);
    rig_close(&rig);
}
END_TEST

START_TEST(banks_number_frames_densely_from_0)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uint32_t next = 0;
    for (unsigned i = 0; i < rig.info.bank_count; i++) {
        const struct hurdmm_bank *bank = &rig.info.banks[i];
        ck_assert_uint_eq(bank->first_frame, next);
        ck_assert_uint_gt(bank->frames, 0);
        ck_assert_uint_eq(bank->base & (rig.page - 1), 0);
        next += bank->frames;
    }
    rig_close(&rig);
}
END_TEST

START_TEST(opening_twice_is_EBUSY)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = FRAMES};
    struct hurdmm_port_info info = {.struct_size = sizeof info};
    ck_assert_int_eq(rig.ops->open(rig.port, &config, &info), EBUSY);
    rig_fill(&rig, 0, 1, 1);
    ck_assert_uint_eq(rig_byte(&rig, 0, 0), 1);
    rig_close(&rig);
}
END_TEST

/* Uses a little of everything. */
static void use(struct rig *rig, uint8_t byte)
{
    uintptr_t address = rig_reserve(rig, 2);
    rig_fill(rig, 0, 2, byte);
    rig_lend(rig, address, 0, 2, READ_WRITE);
    EXPECT_LOAD(rig, address + rig->page, (uint8_t)(byte + 1));
    EXPECT_STORE(rig, address, 99);
    rig_drop(rig, address, 0, 2);
    EXPECT_NOBODY(rig, address);
}

START_TEST(a_closed_port_opens_again)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = CONFORMANCE_FRAMES};
    use(&rig, 1);
    for (uint8_t round = 2; round < 5; round++) {
        rig.ops->close(rig.port);
        ck_assert_int_eq(rig.ops->open(rig.port, &config, &rig.info), 0);
        use(&rig, round);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(faults_come_again_after_stop_close_open)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = CONFORMANCE_FRAMES};
    rig.ops->fault_stop(rig.port);
    rig.ops->close(rig.port);
    ck_assert_int_eq(rig.ops->open(rig.port, &config, &rig.info), 0);
    uintptr_t address = rig_reserve(&rig, 1);
    EXPECT_FAULT(&rig, address, HURDMM_READ);
    rig_release(&rig, NULL, address, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(two_ports_do_not_meet)
{
    struct rig one;
    struct rig two;
    if (!rig_open(&one, _i, NULL, NULL))
        return;
    ck_assert(rig_open(&two, _i, NULL, NULL));
    uintptr_t first = rig_reserve(&one, 1);
    uintptr_t second = rig_reserve(&two, 1);
    rig_fill(&one, 0, 1, 1);
    rig_fill(&two, 0, 1, 2);
    rig_lend(&one, first, 0, 1, HURDMM_READ);
    EXPECT_FAULT(&two, second, HURDMM_READ);
    rig_lend(&two, second, 0, 1, HURDMM_READ);
    EXPECT_LOAD(&one, first, 1);
    EXPECT_LOAD(&two, second, 2);
    rig_drop(&one, first, 0, 1);
    rig_close(&one);
    EXPECT_LOAD(&two, second, 2);
    rig_drop(&two, second, 0, 1);
    rig_close(&two);
}
END_TEST

/* Physical memory. */

START_TEST(a_window_shows_frames_in_a_row)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uint8_t *window = rig_window(&rig, 0, FRAMES);
    for (uint32_t i = 0; i < FRAMES; i++)
        memset(window + i * rig.page, (int)i + 1, rig.page);
    for (uint32_t i = 0; i < FRAMES; i++)
        ck_assert_uint_eq(rig_byte(&rig, i, 0), i + 1);
    const uint8_t *part = rig_window(&rig, 5, 2);
    ck_assert_uint_eq(part[0], 6);
    ck_assert_uint_eq(part[2 * rig.page - 1], 7);
    rig_close(&rig);
}
END_TEST

START_TEST(a_window_stays_where_it_is_on_an_alias_port)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_ALIAS))
        return;
    uintptr_t address = rig_reserve(&rig, 1);
    uint8_t *window = rig_window(&rig, 3, 1);
    memset(window, 7, rig.page);
    rig_lend(&rig, address, 3, 1, HURDMM_READ);
    ck_assert_uint_eq(window[rig.page - 1], 7);
    ck_assert_ptr_eq(rig_window(&rig, 3, 1), window);
    rig_lend(&rig, address, 3, 1, READ_WRITE);
    EXPECT_STORE(&rig, address, 8);
    rig_drop(&rig, address, 3, 1);
    ck_assert_uint_eq(window[0], 8);
    rig_close(&rig);
}
END_TEST

START_TEST(the_first_and_the_last_frame_are_frames)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uint32_t last = rig.frames - 1;
    uintptr_t address = rig_reserve(&rig, 2);
    rig_fill(&rig, 0, 1, 1);
    rig_fill(&rig, last, 1, 2);
    rig_lend(&rig, address, last, 1, HURDMM_READ);
    rig_lend(&rig, address + rig.page, 0, 1, HURDMM_READ);
    EXPECT_LOAD(&rig, address, 2);
    EXPECT_LOAD(&rig, address + rig.page, 1);
    rig_reclaim(&rig, address, last, 1, HURDMM_NONE);
    rig_reclaim(&rig, address + rig.page, 0, 1, HURDMM_NONE);
    rig_release(&rig, NULL, address, 2);
    rig_close(&rig);
}
END_TEST

START_TEST(frame_read_copies_held_and_lent_frames)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t address = rig_reserve(&rig, 1);
    rig_fill(&rig, 1, 1, 5);
    ck_assert_uint_eq(rig_byte(&rig, 1, address), 5);
    rig_lend(&rig, address, 1, 1, HURDMM_READ);
    ck_assert_uint_eq(rig_byte(&rig, 1, address), 5);
    rig_drop(&rig, address, 1, 1);
    ck_assert_uint_eq(rig_byte(&rig, 1, address), 5);
    rig_close(&rig);
}
END_TEST

static bool all_bytes(const uint8_t *bytes, size_t size, uint8_t byte)
{
    return bytes[0] == byte && memcmp(bytes, bytes + 1, size - 1) == 0;
}

START_TEST(core_memory_is_zeroed_aligned_and_apart)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    const size_t sizes[] = {1, 16, 3, 300};
    uint8_t *pieces[4];
    for (size_t i = 0; i < 4; i++) {
        size_t size = sizes[i] * rig.page;
        void *piece = NULL;
        uintptr_t cookie = rig_enter(&rig);
        int error = rig.ops->core_map(rig.port, size, &piece);
        rig_leave(&rig, cookie);
        ck_assert_int_eq(error, 0);
        ck_assert_uint_eq((uintptr_t)piece & (rig.page - 1), 0);
        pieces[i] = piece;
        ck_assert(all_bytes(pieces[i], size, 0));
        memset(pieces[i], (int)i + 1, size);
    }
    for (size_t i = 0; i < 4; i++)
        ck_assert(all_bytes(pieces[i], sizes[i] * rig.page, (uint8_t)(i + 1)));
    rig_close(&rig);
}
END_TEST

/* Address space. */

START_TEST(reserved_ranges_do_not_overlap)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at[20];
    for (uint32_t i = 0; i < 20; i++) {
        at[i] = rig_reserve(&rig, i + 1);
        ck_assert_uint_ge(at[i], rig.info.low);
        ck_assert_uint_le(at[i] + (i + 1) * rig.page - 1, rig.info.high);
        for (uint32_t j = 0; j < i; j++)
            ck_assert(at[j] + (j + 1) * rig.page <= at[i] ||
                      at[i] + (i + 1) * rig.page <= at[j]);
    }
    for (uint32_t i = 0; i < 20; i++)
        rig_release(&rig, NULL, at[i], i + 1);
    rig_close(&rig);
}
END_TEST

START_TEST(an_exact_range_is_there_or_EEXIST)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t start = rig_reserve(&rig, 8);
    rig_release(&rig, NULL, start + 2 * rig.page, 4);
    uintptr_t at = start + 2 * rig.page;
    ck_assert_int_eq(
        rig_reserve_at(&rig, NULL, &at, 4 * rig.page, HURDMM_RESERVE_EXACT), 0);
    ck_assert_uint_eq(at, start + 2 * rig.page);
    for (uint32_t i = 0; i < 8; i++) {
        at = start + i * rig.page;
        ck_assert_int_eq(
            rig_reserve_at(&rig, NULL, &at, rig.page, HURDMM_RESERVE_EXACT),
            EEXIST);
    }
    rig_release(&rig, NULL, start, 8);
    rig_close(&rig);
}
END_TEST

START_TEST(a_taken_hint_leads_elsewhere)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t taken = rig_reserve(&rig, 4);
    uintptr_t at = taken + rig.page;
    ck_assert_int_eq(rig_reserve_at(&rig, NULL, &at, rig.page, 0), 0);
    ck_assert(at < taken || at >= taken + 4 * rig.page);
    rig_release(&rig, NULL, at, 1);
    rig_release(&rig, NULL, taken, 4);
    rig_close(&rig);
}
END_TEST

START_TEST(a_range_outside_the_space_is_EINVAL)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig.info.high + 1;
    if (at != 0) /* else the space ends where addresses end */
        ck_assert_int_eq(
            rig_reserve_at(&rig, NULL, &at, rig.page, HURDMM_RESERVE_EXACT),
            EINVAL);
    at = rig.info.low - rig.page;
    if (rig.info.low != 0)
        ck_assert_int_eq(
            rig_reserve_at(&rig, NULL, &at, rig.page, HURDMM_RESERVE_EXACT),
            EINVAL);
    rig_close(&rig);
}
END_TEST

START_TEST(a_range_that_fits_nowhere_is_ENOMEM)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t taken = rig_reserve(&rig, 1);
    uintptr_t at = 0;
    size_t most = rig.info.high - rig.info.low + 1; /* low is not 0 */
    ck_assert_int_eq(rig_reserve_at(&rig, NULL, &at, most, 0), ENOMEM);
    rig_release(&rig, NULL, taken, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(a_foreign_space_is_ENOTSUP_on_a_port_of_one)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    if ((rig.info.features & HURDMM_PORT_SPACES) == 0) {
        uintptr_t at = 0;
        ck_assert_int_eq(
            rig_reserve_at(&rig, (void *)(uintptr_t)77, &at, rig.page, 0),
            ENOTSUP);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(a_released_part_is_nobodys_and_the_rest_stays)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t start = rig_reserve(&rig, 5);
    rig_fill(&rig, 0, 5, 1);
    rig_lend(&rig, start, 0, 5, HURDMM_READ);
    rig_reclaim(&rig, start + 2 * rig.page, 2, 1, HURDMM_NONE);
    rig_release(&rig, NULL, start + 2 * rig.page, 1);
    EXPECT_LOAD(&rig, start + rig.page, 2);
    EXPECT_NOBODY(&rig, start + 2 * rig.page);
    EXPECT_LOAD(&rig, start + 3 * rig.page, 4);
    rig_reclaim(&rig, start + rig.page, 1, 1, HURDMM_NONE);
    EXPECT_FAULT(&rig, start + rig.page, HURDMM_READ);
    rig_drop(&rig, start, 0, 2);
    rig_drop(&rig, start + 3 * rig.page, 3, 2);
    EXPECT_NOBODY(&rig, start);
    EXPECT_NOBODY(&rig, start + 4 * rig.page);
    rig_close(&rig);
}
END_TEST

START_TEST(a_range_is_empty_when_reserved_again)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t start = rig_reserve(&rig, 2);
    rig_fill(&rig, 0, 2, 1);
    rig_lend(&rig, start, 0, 2, READ_WRITE);
    rig_drop(&rig, start, 0, 2);
    uintptr_t at = start;
    ck_assert_int_eq(
        rig_reserve_at(&rig, NULL, &at, 2 * rig.page, HURDMM_RESERVE_EXACT), 0);
    EXPECT_FAULT(&rig, start, HURDMM_READ);
    rig_lend(&rig, start + rig.page, 0, 1, HURDMM_READ);
    EXPECT_LOAD(&rig, start + rig.page, 1);
    rig_reclaim(&rig, start + rig.page, 0, 1, HURDMM_NONE);
    rig_release(&rig, NULL, start, 2);
    rig_close(&rig);
}
END_TEST

TCase *memory_case(int count)
{
    TCase *tcase = tcase_create("memory");
    tcase_add_loop_test(tcase, open_reports_a_machine, 0, count);
    tcase_add_loop_test(tcase, banks_number_frames_densely_from_0, 0, count);
    tcase_add_loop_test(tcase, opening_twice_is_EBUSY, 0, count);
    tcase_add_loop_test(tcase, a_closed_port_opens_again, 0, count);
    tcase_add_loop_test(tcase, faults_come_again_after_stop_close_open, 0,
                        count);
    tcase_add_loop_test(tcase, two_ports_do_not_meet, 0, count);
    tcase_add_loop_test(tcase, a_window_shows_frames_in_a_row, 0, count);
    tcase_add_loop_test(tcase, a_window_stays_where_it_is_on_an_alias_port, 0,
                        count);
    tcase_add_loop_test(tcase, the_first_and_the_last_frame_are_frames, 0,
                        count);
    tcase_add_loop_test(tcase, frame_read_copies_held_and_lent_frames, 0,
                        count);
    tcase_add_loop_test(tcase, core_memory_is_zeroed_aligned_and_apart, 0,
                        count);
    tcase_add_loop_test(tcase, reserved_ranges_do_not_overlap, 0, count);
    tcase_add_loop_test(tcase, an_exact_range_is_there_or_EEXIST, 0, count);
    tcase_add_loop_test(tcase, a_taken_hint_leads_elsewhere, 0, count);
    tcase_add_loop_test(tcase, a_range_outside_the_space_is_EINVAL, 0, count);
    tcase_add_loop_test(tcase, a_range_that_fits_nowhere_is_ENOMEM, 0, count);
    tcase_add_loop_test(tcase, a_foreign_space_is_ENOTSUP_on_a_port_of_one, 0,
                        count);
    tcase_add_loop_test(tcase, a_released_part_is_nobodys_and_the_rest_stays, 0,
                        count);
    tcase_add_loop_test(tcase, a_range_is_empty_when_reserved_again, 0, count);
    return tcase;
}
