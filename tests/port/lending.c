/* SPDX-License-Identifier: MIT */
/* Lending and reclaiming: what is where, with which rights, and what was
 * seen. */
#include <string.h>

#include "tests/port/rig.h"
#include "tests/support/runner.h"

START_TEST(a_lent_page_shows_what_the_library_wrote)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 1);
    uint8_t *window = rig_window(&rig, 4, 1);
    for (size_t i = 0; i < rig.page; i++)
        window[i] = (uint8_t)(i * 7);
    rig_lend(&rig, at, 4, 1, HURDMM_READ);
    EXPECT_LOAD(&rig, at, 0);
    EXPECT_LOAD(&rig, at + 1, 7);
    EXPECT_LOAD(&rig, at + rig.page - 1, (uint8_t)((rig.page - 1) * 7));
    rig_drop(&rig, at, 4, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(the_library_sees_what_the_application_stored)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 1);
    rig_fill(&rig, 4, 1, 0);
    rig_lend(&rig, at, 4, 1, READ_WRITE);
    EXPECT_STORE(&rig, at, 1);
    EXPECT_STORE(&rig, at + rig.page - 1, 2);
    EXPECT_LOAD(&rig, at, 1);
    rig_reclaim(&rig, at, 4, 1, HURDMM_NONE);
    const uint8_t *window = rig_window(&rig, 4, 1);
    ck_assert_uint_eq(window[0], 1);
    ck_assert_uint_eq(window[1], 0);
    ck_assert_uint_eq(window[rig.page - 1], 2);
    rig_release(&rig, NULL, at, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(an_absent_page_faults_on_load_and_store)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 3);
    EXPECT_FAULT(&rig, at, HURDMM_READ);
    EXPECT_FAULT(&rig, at + rig.page - 1, HURDMM_WRITE);
    EXPECT_FAULT(&rig, at + 3 * rig.page - 1, HURDMM_READ);
    rig_release(&rig, NULL, at, 3);
    rig_close(&rig);
}
END_TEST

START_TEST(a_page_lent_to_read_faults_on_store)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 2);
    rig_fill(&rig, 0, 2, 1);
    rig_lend(&rig, at, 0, 2, HURDMM_READ);
    EXPECT_LOAD(&rig, at + rig.page, 2);
    EXPECT_FAULT(&rig, at + rig.page + 5, HURDMM_WRITE);
    EXPECT_LOAD(&rig, at + rig.page + 5, 2);
    rig_drop(&rig, at, 0, 2);
    rig_close(&rig);
}
END_TEST

START_TEST(reclaim_to_read_leaves_reading)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 1);
    rig_fill(&rig, 0, 1, 1);
    rig_lend(&rig, at, 0, 1, READ_WRITE);
    EXPECT_STORE(&rig, at, 1);
    rig_reclaim(&rig, at, 0, 1, HURDMM_READ);
    EXPECT_LOAD(&rig, at, 1);
    EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    ck_assert_uint_eq(rig_byte(&rig, 0, at), 1);
    rig_drop(&rig, at, 0, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(a_right_that_was_added_later_is_taken_too)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 1);
    rig_fill(&rig, 0, 1, 1);
    for (unsigned kept = HURDMM_NONE; kept <= HURDMM_READ; kept++) {
        rig_lend(&rig, at, 0, 1, HURDMM_READ);
        EXPECT_LOAD(&rig, at, 1);
        rig_lend(&rig, at, 0, 1, READ_WRITE);
        EXPECT_STORE(&rig, at, 1);
        rig_reclaim(&rig, at, 0, 1, kept);
        EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    }
    rig_drop(&rig, at, 0, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(reclaim_to_none_leaves_nothing)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 1);
    rig_fill(&rig, 0, 1, 1);
    rig_lend(&rig, at, 0, 1, READ_WRITE);
    rig_reclaim(&rig, at, 0, 1, HURDMM_NONE);
    EXPECT_FAULT(&rig, at, HURDMM_READ);
    EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    rig_release(&rig, NULL, at, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(content_survives_being_lent_elsewhere)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 2);
    rig_fill(&rig, 0, 1, 0);
    for (uint32_t round = 1; round < 6; round++) {
        uintptr_t here = at + (round & 1) * rig.page;
        rig_lend(&rig, here, 0, 1, READ_WRITE);
        EXPECT_LOAD(&rig, here + round - 1, round == 1 ? 0 : 1);
        EXPECT_STORE(&rig, here + round, 1);
        rig_reclaim(&rig, here, 0, 1, HURDMM_NONE);
    }
    const uint8_t *window = rig_window(&rig, 0, 1);
    for (uint32_t i = 1; i < 6; i++)
        ck_assert_uint_eq(window[i], 1);
    rig_release(&rig, NULL, at, 2);
    rig_close(&rig);
}
END_TEST

START_TEST(lend_replaces_what_was_lent_there)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_ALIAS))
        return;
    uintptr_t at = rig_reserve(&rig, 1);
    rig_fill(&rig, 0, 2, 1);
    rig_lend(&rig, at, 0, 1, READ_WRITE);
    EXPECT_LOAD(&rig, at, 1);
    rig_lend(&rig, at, 1, 1, HURDMM_READ);
    EXPECT_LOAD(&rig, at, 2);
    EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    ck_assert_uint_eq(rig_byte(&rig, 0, 0), 1);
    rig_drop(&rig, at, 1, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(lend_changes_the_rights_of_a_page)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 1);
    rig_fill(&rig, 0, 1, 1);
    rig_lend(&rig, at, 0, 1, HURDMM_READ);
    EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    rig_lend(&rig, at, 0, 1, READ_WRITE);
    EXPECT_STORE(&rig, at, 9);
    rig_lend(&rig, at, 0, 1, HURDMM_READ);
    EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    EXPECT_LOAD(&rig, at, 9);
    rig_drop(&rig, at, 0, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(a_run_lies_in_order)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, FRAMES);
    rig_fill(&rig, 0, FRAMES, 100);
    rig_lend(&rig, at, 0, FRAMES, HURDMM_READ);
    for (uint32_t i = 0; i < FRAMES; i += 5)
        EXPECT_LOAD(&rig, at + i * rig.page, (uint8_t)(100 + i));
    rig_drop(&rig, at, 0, FRAMES);
    rig_close(&rig);
}
END_TEST

START_TEST(pages_lent_one_by_one_in_any_order_are_right)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, FRAMES);
    rig_fill(&rig, 0, FRAMES, 1);
    for (uint32_t i = 0; i < FRAMES; i++) {
        uint32_t page = i * 13 % FRAMES; /* 13 and FRAMES have no factor */
        uint32_t frame = page % 4 == 3 ? page : page ^ 1;
        if (page % 4 == 2)
            frame = page;
        rig_lend(&rig, at + page * rig.page, frame, 1, HURDMM_READ);
    }
    for (uint32_t page = 0; page < FRAMES; page++) {
        uint32_t frame = page % 4 >= 2 ? page : page ^ 1;
        EXPECT_LOAD(&rig, at + page * rig.page, (uint8_t)(1 + frame));
        rig_reclaim(&rig, at + page * rig.page, frame, 1, HURDMM_NONE);
    }
    rig_release(&rig, NULL, at, FRAMES);
    rig_close(&rig);
}
END_TEST

START_TEST(a_part_of_a_run_is_reclaimed_and_the_rest_stays)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 8);
    rig_fill(&rig, 0, 8, 1);
    rig_lend(&rig, at, 0, 8, READ_WRITE);
    rig_reclaim(&rig, at + 3 * rig.page, 3, 2, HURDMM_NONE);
    rig_reclaim(&rig, at + 6 * rig.page, 6, 1, HURDMM_READ);
    EXPECT_STORE(&rig, at + 2 * rig.page, 50);
    EXPECT_FAULT(&rig, at + 3 * rig.page, HURDMM_READ);
    EXPECT_FAULT(&rig, at + 4 * rig.page, HURDMM_READ);
    EXPECT_STORE(&rig, at + 5 * rig.page, 51);
    EXPECT_FAULT(&rig, at + 6 * rig.page, HURDMM_WRITE);
    EXPECT_LOAD(&rig, at + 6 * rig.page, 7);
    EXPECT_STORE(&rig, at + 7 * rig.page, 52);
    rig_lend(&rig, at + 3 * rig.page, 3, 2, HURDMM_READ);
    EXPECT_LOAD(&rig, at + 4 * rig.page, 5);
    rig_drop(&rig, at, 0, 8);
    rig_close(&rig);
}
END_TEST

START_TEST(a_row_may_hold_pages_that_are_not_lent)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 6);
    rig_fill(&rig, 0, 6, 1);
    rig_lend(&rig, at + rig.page, 1, 1, READ_WRITE);
    rig_lend(&rig, at + 4 * rig.page, 4, 1, HURDMM_READ);
    rig_reclaim(&rig, at, 0, 6, HURDMM_READ);
    EXPECT_LOAD(&rig, at + rig.page, 2);
    EXPECT_FAULT(&rig, at + rig.page, HURDMM_WRITE);
    EXPECT_LOAD(&rig, at + 4 * rig.page, 5);
    EXPECT_FAULT(&rig, at + 2 * rig.page, HURDMM_READ);
    rig_reclaim(&rig, at, 0, 6, HURDMM_NONE);
    EXPECT_FAULT(&rig, at + 4 * rig.page, HURDMM_READ);
    rig_reclaim(&rig, at, 0, 6, HURDMM_NONE);
    rig_release(&rig, NULL, at, 6);
    rig_close(&rig);
}
END_TEST

START_TEST(reclaim_never_adds_a_right)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 2);
    rig_fill(&rig, 0, 2, 1);
    rig_lend(&rig, at, 0, 1, HURDMM_READ);
    rig_reclaim(&rig, at, 0, 2, HURDMM_RIGHTS);
    EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    EXPECT_FAULT(&rig, at + rig.page, HURDMM_READ);
    rig_reclaim(&rig, at, 0, 2, HURDMM_READ);
    EXPECT_FAULT(&rig, at + rig.page, HURDMM_READ);
    rig_drop(&rig, at, 0, 2);
    rig_close(&rig);
}
END_TEST

START_TEST(several_rows_go_in_one_call)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig_reserve(&rig, 6);
    rig_fill(&rig, 0, 6, 1);
    rig_lend(&rig, at, 0, 6, READ_WRITE);
    struct hurdmm_reclaim rows[] = {
        {NULL, at + 5 * rig.page, 5, 1, HURDMM_NONE, NULL, 0},
        {NULL, at, 0, 2, HURDMM_READ, NULL, 0},
        {NULL, at + 3 * rig.page, 3, 1, HURDMM_NONE, NULL, 0},
    };
    size_t done = 0;
    ck_assert_int_eq(rig_reclaim_rows(&rig, rows, 3, &done), 0);
    ck_assert_uint_eq(done, 3);
    EXPECT_FAULT(&rig, at + rig.page, HURDMM_WRITE);
    EXPECT_LOAD(&rig, at + rig.page, 2);
    EXPECT_STORE(&rig, at + 2 * rig.page, 3);
    EXPECT_FAULT(&rig, at + 3 * rig.page, HURDMM_READ);
    EXPECT_STORE(&rig, at + 4 * rig.page, 5);
    EXPECT_FAULT(&rig, at + 5 * rig.page, HURDMM_READ);
    rig_drop(&rig, at, 0, 6);
    rig_close(&rig);
}
END_TEST

/* What was seen. */

static void read_status(struct rig *rig, uintptr_t at, uint32_t count,
                        unsigned rights, uint8_t *status)
{
    struct hurdmm_reclaim row = {NULL, at, 0, count, rights, status, 0};
    size_t done = 0;
    ck_assert_int_eq(rig_reclaim_rows(rig, &row, 1, &done), 0);
    ck_assert_uint_eq(done, 1);
}

START_TEST(referenced_pages_are_reported_once)
{
    struct rig rig;
    uint8_t status[3];
    if (!rig_open(&rig, _i, NULL, NULL) ||
        !rig_has(&rig, HURDMM_PORT_REFERENCED))
        return;
    uintptr_t at = rig_reserve(&rig, 3);
    rig_fill(&rig, 0, 3, 1);
    rig_lend(&rig, at, 0, 3, HURDMM_READ);
    EXPECT_LOAD(&rig, at + rig.page, 2);
    read_status(&rig, at, 3, HURDMM_RIGHTS, status);
    ck_assert_uint_eq(status[0] & HURDMM_READ, 0);
    ck_assert_uint_eq(status[1] & HURDMM_READ, HURDMM_READ);
    ck_assert_uint_eq(status[2] & HURDMM_READ, 0);
    EXPECT_LOAD(&rig, at + 2 * rig.page, 3);
    read_status(&rig, at, 3, HURDMM_NONE, status);
    ck_assert_uint_eq(status[1] & HURDMM_READ, 0);
    ck_assert_uint_eq(status[2] & HURDMM_READ, HURDMM_READ);
    rig_release(&rig, NULL, at, 3);
    rig_close(&rig);
}
END_TEST

START_TEST(dirty_pages_are_reported_exactly_and_once)
{
    struct rig rig;
    uint8_t status[3];
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_DIRTY))
        return;
    uintptr_t at = rig_reserve(&rig, 3);
    rig_fill(&rig, 0, 3, 1);
    rig_lend(&rig, at, 0, 3, READ_WRITE);
    EXPECT_LOAD(&rig, at, 1);
    EXPECT_STORE(&rig, at + rig.page, 2);
    read_status(&rig, at, 3, HURDMM_RIGHTS, status);
    ck_assert_uint_eq(status[0] & HURDMM_WRITE, 0);
    ck_assert_uint_eq(status[1] & HURDMM_WRITE, HURDMM_WRITE);
    ck_assert_uint_eq(status[2] & HURDMM_WRITE, 0);
    EXPECT_STORE(&rig, at + 2 * rig.page, 2);
    read_status(&rig, at, 3, HURDMM_READ, status);
    ck_assert_uint_eq(status[1] & HURDMM_WRITE, 0);
    ck_assert_uint_eq(status[2] & HURDMM_WRITE, HURDMM_WRITE);
    read_status(&rig, at, 3, HURDMM_NONE, status);
    ck_assert_uint_eq(status[2] & HURDMM_WRITE, 0);
    rig_release(&rig, NULL, at, 3);
    rig_close(&rig);
}
END_TEST

/* Features. */

/* Faults in tracked ranges would be answered here. */
static int answer_nothing(void *client, const struct hurdmm_fault *fault)
{
    (void)client;
    (void)fault;
    return EFAULT;
}

/* Opens a port that tracks, with `pages` pages at *at that are lent to write. */
static bool open_tracked(struct rig *rig, int i, uint32_t pages, uintptr_t *at)
{
    if (!rig_open(rig, i, answer_nothing, NULL) ||
        !rig_has(rig, HURDMM_PORT_TRACKS))
        return false;
    ck_assert_ptr_nonnull(rig->ops->scan);
    rig->reserve_flags = HURDMM_RESERVE_TRACKED;
    *at = rig_reserve(rig, pages);
    rig_fill(rig, 0, pages, 1);
    rig_lend(rig, *at, 0, pages, READ_WRITE);
    return true;
}

static int scan(struct rig *rig, uintptr_t at, uint32_t pages, unsigned flags,
                struct hurdmm_dirty *rows, size_t max, size_t *count,
                uintptr_t *end)
{
    uintptr_t cookie = rig_enter(rig);
    int error = rig->ops->scan(rig->port, NULL, at, pages * rig->page, flags,
                               rows, max, count, end);
    rig_leave(rig, cookie);
    return error;
}

/* The written pages of 8, as bits, by scans that may find one row each. */
static unsigned written(struct rig *rig, uintptr_t at, unsigned flags)
{
    unsigned bits = 0;
    uintptr_t next = at, last = at + 8 * rig->page;
    while (next < last) {
        struct hurdmm_dirty row;
        size_t count;
        uintptr_t from = next;
        ck_assert_int_eq(scan(rig, from, (uint32_t)((last - from) / rig->page),
                              flags, &row, 1, &count, &next),
                         0);
        ck_assert_uint_gt(next, from);
        ck_assert_uint_le(next, last);
        for (uintptr_t a = row.address;
             count > 0 && a < row.address + row.length; a += rig->page)
            bits |= 1u << (a - at) / rig->page;
    }
    return bits;
}

START_TEST(a_tracked_range_says_what_was_written)
{
    struct rig rig;
    struct hurdmm_dirty rows[4];
    uintptr_t at, end;
    size_t count;
    if (!open_tracked(&rig, _i, 8, &at))
        return;
    ck_assert_uint_eq(written(&rig, at, 0), 0);
    EXPECT_LOAD(&rig, at + rig.page, 2);
    EXPECT_STORE(&rig, at + 2 * rig.page, 7);
    EXPECT_STORE(&rig, at + 4 * rig.page - 1, 7);
    EXPECT_STORE(&rig, at + 6 * rig.page, 7);
    ck_assert_int_eq(scan(&rig, at, 8, 0, rows, 4, &count, &end), 0);
    ck_assert_uint_eq(count, 2);
    ck_assert_uint_eq(end, at + 8 * rig.page);
    ck_assert_uint_eq(rows[0].address, at + 2 * rig.page);
    ck_assert_uint_eq(rows[0].length, 2 * rig.page);
    ck_assert_uint_eq(rows[1].address, at + 6 * rig.page);
    ck_assert_uint_eq(written(&rig, at, HURDMM_TRACK_CLEAR), 0x4c);
    ck_assert_uint_eq(written(&rig, at, 0), 0);
    EXPECT_STORE(&rig, at + 3 * rig.page, 8);
    rig_lend(&rig, at + 5 * rig.page, 5, 1, READ_WRITE); /* it is lent again */
    ck_assert_uint_eq(written(&rig, at, 0), 0x28);
    rig_drop(&rig, at, 0, 8);
    rig_close(&rig);
}
END_TEST

START_TEST(what_is_cleared_is_only_what_is_said)
{
    struct rig rig;
    struct hurdmm_dirty row;
    uintptr_t at, end;
    size_t count;
    if (!open_tracked(&rig, _i, 8, &at))
        return;
    for (unsigned i = 1; i < 8; i += 2)
        EXPECT_STORE(&rig, at + i * rig.page, 7);
    ck_assert_int_eq(
        scan(&rig, at, 8, HURDMM_TRACK_CLEAR, &row, 1, &count, &end), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(row.address, at + rig.page);
    ck_assert_uint_gt(end, at + rig.page);
    ck_assert_uint_le(end, at + 3 * rig.page);
    ck_assert_uint_eq(written(&rig, at, 0), 0xa8);
    rig_drop(&rig, at, 0, 8);
    rig_close(&rig);
}
END_TEST

START_TEST(tracked_pages_are_taken_with_what_was_written)
{
    struct rig rig;
    uintptr_t at;
    if (!open_tracked(&rig, _i, 8, &at))
        return;
    EXPECT_STORE(&rig, at + rig.page, 99);
    rig_reclaim(&rig, at, 0, 8, HURDMM_NONE);
    ck_assert_uint_eq(rig_window(&rig, 1, 1)[0], 99);
    ck_assert_uint_eq(rig_window(&rig, 2, 1)[0], 3);
    rig_lend(&rig, at, 0, 8, READ_WRITE);
    ck_assert_uint_eq(written(&rig, at, 0), 0);
    EXPECT_STORE(&rig, at + 7 * rig.page, 98);
    ck_assert_uint_eq(written(&rig, at, 0), 0x80);
    rig_drop(&rig, at, 0, 8);
    rig_close(&rig);
}
END_TEST

START_TEST(an_alias_port_lends_one_frame_twice)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_ALIAS))
        return;
    uintptr_t at = rig_reserve(&rig, 4);
    rig_fill(&rig, 2, 1, 1);
    rig_lend(&rig, at, 2, 1, READ_WRITE);
    rig_lend(&rig, at + 3 * rig.page, 2, 1, HURDMM_READ);
    EXPECT_STORE(&rig, at, 9);
    EXPECT_LOAD(&rig, at + 3 * rig.page, 9);
    EXPECT_FAULT(&rig, at + 3 * rig.page, HURDMM_WRITE);
    rig_reclaim(&rig, at, 2, 1, HURDMM_NONE);
    EXPECT_FAULT(&rig, at, HURDMM_READ);
    if ((rig.info.features & HURDMM_PORT_OVERTAKES) == 0)
        EXPECT_LOAD(&rig, at + 3 * rig.page, 9);
    rig_reclaim(&rig, at + 3 * rig.page, 2, 1, HURDMM_NONE);
    rig_release(&rig, NULL, at, 4);
    rig_close(&rig);
}
END_TEST

static int share(struct rig *rig, uintptr_t at, uint32_t pages, uint64_t object,
                 uint64_t page)
{
    uintptr_t cookie = rig_enter(rig);
    int error = rig->ops->share(rig->port, NULL, at, pages * rig->page, object,
                                page * rig->page);
    rig_leave(rig, cookie);
    return error;
}

/* Opens a port that shares, with 8 pages at *at, which show nothing yet. */
static bool open_sharing(struct rig *rig, int i, uintptr_t *at)
{
    if (!rig_open(rig, i, NULL, NULL) || !rig_has(rig, HURDMM_PORT_SHARES))
        return false;
    ck_assert_ptr_nonnull(rig->ops->share);
    *at = rig_reserve(rig, 8);
    rig_fill(rig, 0, 8, 1);
    return true;
}

START_TEST(a_frame_is_at_all_addresses_that_show_its_page)
{
    struct rig rig;
    uintptr_t at;
    if (!open_sharing(&rig, _i, &at))
        return;
    ck_assert_int_eq(share(&rig, at, 4, 9, 2), 0);
    ck_assert_int_eq(share(&rig, at + 4 * rig.page, 4, 9, 2), 0);
    rig_lend(&rig, at + rig.page, 3, 1, READ_WRITE);
    rig_lend(&rig, at + 5 * rig.page, 3, 1, HURDMM_READ);
    EXPECT_STORE(&rig, at + rig.page, 77);
    EXPECT_LOAD(&rig, at + 5 * rig.page, 77);
    EXPECT_FAULT(&rig, at + 5 * rig.page, HURDMM_WRITE);
    rig_reclaim(&rig, at + rig.page, 3, 1, HURDMM_NONE);
    EXPECT_FAULT(&rig, at + rig.page, HURDMM_READ);
    EXPECT_LOAD(&rig, at + 5 * rig.page, 77);
    rig_reclaim(&rig, at + 5 * rig.page, 3, 1, HURDMM_NONE);
    ck_assert_uint_eq(rig_window(&rig, 3, 1)[0], 77);
    rig_release(&rig, NULL, at, 8);
    rig_close(&rig);
}
END_TEST

START_TEST(a_range_shows_what_was_said_last)
{
    struct rig rig;
    uintptr_t at;
    if (!open_sharing(&rig, _i, &at))
        return;
    ck_assert_int_eq(share(&rig, at, 8, 1, 0), 0);
    rig_lend(&rig, at, 0, 8, READ_WRITE);
    rig_reclaim(&rig, at, 0, 8, HURDMM_NONE);
    /* Another object in the middle, over what was not ended. */
    ck_assert_int_eq(share(&rig, at + 2 * rig.page, 3, 2, 0), 0);
    rig_lend(&rig, at + 2 * rig.page, 7, 1, READ_WRITE); /* page 0 of 2 */
    rig_lend(&rig, at + 5 * rig.page, 5, 1, READ_WRITE); /* page 5 of 1 */
    EXPECT_LOAD(&rig, at + 2 * rig.page, 8);
    EXPECT_LOAD(&rig, at + 5 * rig.page, 6);
    rig_reclaim(&rig, at + 2 * rig.page, 7, 1, HURDMM_NONE);
    /* Nothing, twice, where there are two objects and where there is none. */
    ck_assert_int_eq(share(&rig, at + rig.page, 3, 0, 0), 0);
    ck_assert_int_eq(share(&rig, at + rig.page, 3, 0, 0), 0);
    rig_lend(&rig, at + 2 * rig.page, 7, 1, READ_WRITE);
    EXPECT_LOAD(&rig, at + 2 * rig.page, 8);
    EXPECT_LOAD(&rig, at + 5 * rig.page, 6);
    rig_reclaim(&rig, at + 2 * rig.page, 7, 1, HURDMM_NONE);
    rig_reclaim(&rig, at + 5 * rig.page, 5, 1, HURDMM_NONE);
    rig_release(&rig, NULL, at, 8);
    rig_close(&rig);
}
END_TEST

/* Objects are as large as offsets go, whatever parts a port makes of them. */
START_TEST(pages_of_an_object_lie_in_a_row_at_any_offset)
{
    struct rig rig;
    uintptr_t at;
    for (unsigned bits = 31; bits < 48; bits++) {
        if (!open_sharing(&rig, _i, &at))
            return;
        ck_assert_int_eq(share(&rig, at, 8, 5, (UINT64_C(1) << bits) - 4), 0);
        rig_lend(&rig, at, 0, 8, READ_WRITE);
        for (uint32_t i = 0; i < 8; i++)
            EXPECT_LOAD(&rig, at + i * rig.page, (uint8_t)(i + 1));
        rig_reclaim(&rig, at, 0, 8, HURDMM_NONE);
        EXPECT_FAULT(&rig, at + 6 * rig.page, HURDMM_READ);
        for (uint32_t i = 0; i < 8; i++)
            ck_assert_uint_eq(rig_byte(&rig, i, 0), i + 1);
        rig_lend(&rig, at + 2 * rig.page, 2, 6, HURDMM_READ);
        EXPECT_LOAD(&rig, at + 7 * rig.page, 8);
        rig_drop(&rig, at, 0, 8);
        rig_close(&rig);
    }
}
END_TEST

START_TEST(execute_is_a_right_of_its_own)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_EXECUTE))
        return;
    uintptr_t at = rig_reserve(&rig, 1);
    rig_fill(&rig, 0, 1, 1);
    rig_lend(&rig, at, 0, 1, HURDMM_READ | HURDMM_EXECUTE);
    EXPECT_LOAD(&rig, at, 1);
    EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    rig_lend(&rig, at, 0, 1, HURDMM_RIGHTS);
    EXPECT_STORE(&rig, at, 2);
    rig_reclaim(&rig, at, 0, 1, HURDMM_READ | HURDMM_EXECUTE);
    EXPECT_FAULT(&rig, at, HURDMM_WRITE);
    EXPECT_LOAD(&rig, at, 2);
    rig_drop(&rig, at, 0, 1);
    rig_close(&rig);
}
END_TEST

static void reserve_both(struct rig *rig, void *space, uintptr_t *at)
{
    *at = rig_reserve(rig, 1);
    ck_assert_int_eq(
        rig_reserve_at(rig, space, at, rig->page, HURDMM_RESERVE_EXACT), 0);
}

START_TEST(spaces_have_the_same_address_apart)
{
    struct rig rig;
    uint32_t done;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_SPACES))
        return;
    if (rig.target->spaces == 0) {
        test_skip("the target cannot touch other spaces");
        rig_close(&rig);
        return;
    }
    void *space = rig.target->space(rig.port, 0);
    uintptr_t at;
    reserve_both(&rig, space, &at);
    rig_fill(&rig, 0, 2, 1);
    rig_lend(&rig, at, 0, 1, HURDMM_READ);
    expect_fault(__LINE__, &rig, space, at, HURDMM_READ);
    ck_assert_int_eq(rig_lend_in(&rig, space, at, 1, 1, HURDMM_READ, &done), 0);
    expect_load(__LINE__, &rig, space, at, 2);
    EXPECT_LOAD(&rig, at, 1);
    rig_drop(&rig, at, 0, 1);
    expect_load(__LINE__, &rig, space, at, 2);
    struct hurdmm_reclaim row = {space, at, 1, 1, HURDMM_NONE, NULL, 0};
    size_t rows = 0;
    ck_assert_int_eq(rig_reclaim_rows(&rig, &row, 1, &rows), 0);
    expect_fault(__LINE__, &rig, space, at, HURDMM_WRITE);
    rig_release(&rig, space, at, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(the_last_page_of_the_space_can_be_lent)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uintptr_t at = rig.info.high - (rig.page - 1);
    int error = rig_reserve_at(&rig, NULL, &at, rig.page, HURDMM_RESERVE_EXACT);
    if (error == 0) {
        rig_fill(&rig, 0, 1, 1);
        rig_lend(&rig, at, 0, 1, READ_WRITE);
        EXPECT_STORE(&rig, at + rig.page - 1, 1);
        EXPECT_LOAD(&rig, at, 1);
        rig_drop(&rig, at, 0, 1);
    } else {
        /* Somebody else may have it. */
        ck_assert(error == EEXIST || error == ENOMEM);
    }
    rig_close(&rig);
}
END_TEST

/* Reclaims `count` single mappings of frame 0 at every other page. */
static void reclaim_singles(struct rig *rig, uintptr_t at, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        rig_reclaim(rig, at + 2 * i * rig->page, 0, 1, HURDMM_NONE);
}

START_TEST(running_out_of_mappings_loses_nothing)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_ALIAS))
        return;
    uint32_t most = rig.target->mappings;
    if (most == 0) {
        rig_close(&rig);
        return;
    }
    uintptr_t at = rig_reserve(&rig, 2 * most + 1);
    uint32_t count = 0;
    uint32_t done = 1;
    int error = 0;
    rig_fill(&rig, 0, 1, 1);
    for (; count < most && error == 0; count += done)
        error = rig_lend_in(&rig, NULL, at + 2 * count * rig.page, 0, 1,
                            HURDMM_READ, &done);
    ck_assert(error == 0 || (error == ENOMEM && done == 0));
    for (uint32_t i = 0; i < count; i += 1 + count / 7)
        ck_assert_int_eq(rig.target->load(rig.port, NULL, at + 2 * i * rig.page,
                                          &(uint8_t){0}),
                         0);
    reclaim_singles(&rig, at, count);
    rig_lend(&rig, at + 2 * rig.page, 0, 1, HURDMM_READ);
    EXPECT_LOAD(&rig, at + 2 * rig.page, 1);
    rig_reclaim(&rig, at + 2 * rig.page, 0, 1, HURDMM_NONE);
    rig_release(&rig, NULL, at, 2 * most + 1);
    rig_close(&rig);
}
END_TEST

TCase *lending_case(int count)
{
    TCase *tcase = tcase_create("lending");
    tcase_set_timeout(tcase, 20);
    tcase_add_loop_test(tcase, a_lent_page_shows_what_the_library_wrote, 0,
                        count);
    tcase_add_loop_test(tcase, the_library_sees_what_the_application_stored, 0,
                        count);
    tcase_add_loop_test(tcase, an_absent_page_faults_on_load_and_store, 0,
                        count);
    tcase_add_loop_test(tcase, a_page_lent_to_read_faults_on_store, 0, count);
    tcase_add_loop_test(tcase, reclaim_to_read_leaves_reading, 0, count);
    tcase_add_loop_test(tcase, a_right_that_was_added_later_is_taken_too, 0,
                        count);
    tcase_add_loop_test(tcase, reclaim_to_none_leaves_nothing, 0, count);
    tcase_add_loop_test(tcase, content_survives_being_lent_elsewhere, 0, count);
    tcase_add_loop_test(tcase, lend_replaces_what_was_lent_there, 0, count);
    tcase_add_loop_test(tcase, lend_changes_the_rights_of_a_page, 0, count);
    tcase_add_loop_test(tcase, a_run_lies_in_order, 0, count);
    tcase_add_loop_test(tcase, pages_lent_one_by_one_in_any_order_are_right, 0,
                        count);
    tcase_add_loop_test(tcase, a_part_of_a_run_is_reclaimed_and_the_rest_stays,
                        0, count);
    tcase_add_loop_test(tcase, a_row_may_hold_pages_that_are_not_lent, 0,
                        count);
    tcase_add_loop_test(tcase, reclaim_never_adds_a_right, 0, count);
    tcase_add_loop_test(tcase, several_rows_go_in_one_call, 0, count);
    tcase_add_loop_test(tcase, referenced_pages_are_reported_once, 0, count);
    tcase_add_loop_test(tcase, dirty_pages_are_reported_exactly_and_once, 0,
                        count);
    tcase_add_loop_test(tcase, a_tracked_range_says_what_was_written, 0, count);
    tcase_add_loop_test(tcase, what_is_cleared_is_only_what_is_said, 0, count);
    tcase_add_loop_test(tcase, tracked_pages_are_taken_with_what_was_written, 0,
                        count);
    tcase_add_loop_test(tcase, an_alias_port_lends_one_frame_twice, 0, count);
    tcase_add_loop_test(tcase, a_frame_is_at_all_addresses_that_show_its_page,
                        0, count);
    tcase_add_loop_test(tcase, a_range_shows_what_was_said_last, 0, count);
    tcase_add_loop_test(tcase, pages_of_an_object_lie_in_a_row_at_any_offset, 0,
                        count);
    tcase_add_loop_test(tcase, execute_is_a_right_of_its_own, 0, count);
    tcase_add_loop_test(tcase, spaces_have_the_same_address_apart, 0, count);
    tcase_add_loop_test(tcase, the_last_page_of_the_space_can_be_lent, 0,
                        count);
    tcase_add_loop_test(tcase, running_out_of_mappings_loses_nothing, 0, count);
    return tcase;
}
