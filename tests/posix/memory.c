/* SPDX-License-Identifier: MIT */
/* Mappings: what is not lent never reads as zeros, runs that share a system
 * call, and the limit of mappings. */
#include "tests/posix/rig.h"

#include <string.h>
#include <unistd.h>

#include <sys/mman.h>

static struct rig rig;

START_TEST(reclaiming_to_read_lends_nothing_that_was_absent)
{
    catch_install(0);
    rig_open(&rig, 8, 0, 0);
    *rig_window(&rig, 2) = 2;
    ck_assert_int_eq(rig_lend(&rig, 2, 2, 1, READ_WRITE), 0);
    ck_assert_int_eq(rig_reclaim(&rig, 0, 8, HURDMM_READ), 0);
    ck_assert_uint_eq(*rig_at(&rig, 2), 2);
    rig.ops->fault_stop(rig.port);
    ck_assert_int_ne(try_read(rig_at(&rig, 1)), 0);
    ck_assert_int_ne(try_read(rig_at(&rig, 7)), 0);
    ck_assert_int_ne(try_write(rig_at(&rig, 2), 1), 0);
    rig_close(&rig);
}
END_TEST

START_TEST(an_absent_page_with_the_right_to_read_is_a_fault_like_any_other)
{
    rig_open(&rig, 8, 1, 0);
    *rig_window(&rig, 5) = 55;
    ck_assert_int_eq(rig_reclaim(&rig, 0, 8, HURDMM_READ), 0);
    ck_assert_uint_eq(*rig_at(&rig, 5), 55);
    ck_assert_uint_eq(atomic_load(&rig.faults), 1);
    rig_close(&rig);
}
END_TEST

/* The port remembers what it lent; whatever replaces it must be remembered. */
START_TEST(more_rights_go_to_the_frame_that_is_asked)
{
    rig_open(&rig, 8, 0, 0);
    for (uint32_t i = 0; i < 8; i++)
        *rig_window(&rig, i) = (uint8_t)i;
    ck_assert_int_eq(rig_lend(&rig, 1, 1, 1, HURDMM_READ), 0);
    ck_assert_int_eq(rig_lend(&rig, 1, 4, 1, HURDMM_READ), 0);
    ck_assert_int_eq(rig_lend(&rig, 1, 1, 1, READ_WRITE), 0);
    ck_assert_uint_eq(*rig_at(&rig, 1), 1);
    ck_assert_int_eq(rig_reclaim(&rig, 1, 1, HURDMM_NONE), 0);
    ck_assert_int_eq(rig_lend(&rig, 1, 1, 1, READ_WRITE), 0);
    *rig_at(&rig, 1) = 11;
    ck_assert_uint_eq(*rig_window(&rig, 1), 11);
    ck_assert_int_eq(rig_lend(&rig, 0, 2, 4, HURDMM_READ), 0);
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_uint_eq(*rig_at(&rig, i), i + 2);
    rig_close(&rig);
}
END_TEST

START_TEST(one_frame_can_be_at_two_addresses)
{
    rig_open(&rig, 8, 0, 0);
    ck_assert_int_eq(rig_lend(&rig, 0, 3, 1, READ_WRITE), 0);
    ck_assert_int_eq(rig_lend(&rig, 6, 3, 1, READ_WRITE), 0);
    *rig_at(&rig, 0) = 9;
    ck_assert_uint_eq(*rig_at(&rig, 6), 9);
    rig_close(&rig);
}
END_TEST

START_TEST(rows_of_a_batch_may_touch_or_not)
{
    catch_install(0);
    rig_open(&rig, 16, 0, 0);
    ck_assert_int_eq(rig_lend(&rig, 0, 0, 16, READ_WRITE), 0);
    static const struct {
        uint32_t page, count;
        unsigned rights;
    } shape[] = {{0, 2, HURDMM_NONE},   {2, 1, HURDMM_NONE},
                 {3, 2, HURDMM_READ},   {5, 1, HURDMM_READ},
                 {8, 1, HURDMM_RIGHTS}, {9, 1, HURDMM_NONE},
                 {12, 2, HURDMM_NONE}};
    struct hurdmm_reclaim rows[7];
    for (unsigned i = 0; i < 7; i++)
        rows[i] = (struct hurdmm_reclaim){
            .address = (uintptr_t)rig_at(&rig, shape[i].page),
            .frame = shape[i].page,
            .count = shape[i].count,
            .rights = shape[i].rights};
    size_t done = 0;
    ck_assert_int_eq(rig.ops->reclaim(rig.port, rows, 7, &done), 0);
    ck_assert_uint_eq(done, 7);
    rig.ops->fault_stop(rig.port);
    static const char rights[] = "---rrrwww-ww--ww";
    for (uint32_t i = 0; i < 16; i++) {
        ck_assert_int_eq(try_read(rig_at(&rig, i)) == 0, rights[i] != '-');
        ck_assert_int_eq(try_write(rig_at(&rig, i), 1) == 0, rights[i] == 'w');
    }
    rig_close(&rig);
}
END_TEST

START_TEST(what_others_have_is_not_reserved)
{
    rig_open(&rig, 4, 0, 0);
    char *theirs = mmap(NULL, rig.page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *theirs = 3;
    uintptr_t address = (uintptr_t)theirs;
    ck_assert_int_eq(rig.ops->reserve(rig.port, NULL, &address, rig.page,
                                      HURDMM_RESERVE_EXACT),
                     EEXIST);
    ck_assert_int_eq(rig.ops->reserve(rig.port, NULL, &address, rig.page, 0),
                     0);
    ck_assert_uint_ne(address, (uintptr_t)theirs);
    ck_assert_int_eq(*theirs, 3);
    rig.ops->release(rig.port, NULL, address, rig.page);
    ck_assert_int_eq(rig.ops->reserve(rig.port, NULL, &address, rig.page,
                                      HURDMM_RESERVE_EXACT),
                     0);
    rig.ops->release(rig.port, NULL, address, rig.page);
    address = rig.info.high + 1 - rig.page;
    ck_assert_int_ne(rig.ops->reserve(rig.port, NULL, &address, 2 * rig.page,
                                      HURDMM_RESERVE_EXACT),
                     0);
    rig_close(&rig);
}
END_TEST

START_TEST(a_hole_in_a_reservation_is_nobodys)
{
    catch_install(0);
    rig_open(&rig, 4, 1, 0);
    uintptr_t start = 0;
    ck_assert_int_eq(rig.ops->reserve(rig.port, NULL, &start, 3 * rig.page, 0),
                     0);
    rig.ops->release(rig.port, NULL, start + rig.page, rig.page);
    expect_wrong((void *)(start + rig.page), rig.page);
    ck_assert_int_eq(try_read((uint8_t *)start + rig.page), SIGSEGV);
    ck_assert_int_eq(caught.info.si_errno, 0);
    ck_assert_uint_eq(atomic_load(&rig.faults), 0);
    rig.ops->release(rig.port, NULL, start, rig.page);
    rig.ops->release(rig.port, NULL, start + 2 * rig.page, rig.page);
    rig_close(&rig);
}
END_TEST

/* More ranges than the table begins with, in an order that moves it. */
START_TEST(many_ranges_are_told_apart)
{
    enum { RANGES = 100 };
    catch_install(0);
    rig_open(&rig, 4, 0, 0);
    uintptr_t start = 0, part[RANGES];
    ck_assert_int_eq(
        rig.ops->reserve(rig.port, NULL, &start, 2 * RANGES * rig.page, 0), 0);
    rig.ops->release(rig.port, NULL, start, 2 * RANGES * rig.page);
    for (unsigned i = 0; i < RANGES; i++) {
        part[i] = start + i * 37 % RANGES * 2 * rig.page;
        ck_assert_int_eq(rig.ops->reserve(rig.port, NULL, &part[i], rig.page,
                                          HURDMM_RESERVE_EXACT),
                         0);
    }
    uint32_t done;
    for (unsigned i = 0; i < RANGES; i++) {
        ck_assert_int_eq(
            rig.ops->lend(rig.port, NULL, part[i], i % 4, 1, READ_WRITE, &done),
            0);
        *(volatile uint8_t *)part[i] = 1;
        struct hurdmm_reclaim row = {
            .address = part[i], .frame = i % 4, .count = 1};
        size_t rows;
        ck_assert_int_eq(rig.ops->reclaim(rig.port, &row, 1, &rows), 0);
    }
    rig.ops->fault_stop(rig.port);
    for (unsigned i = 0; i < RANGES; i++) {
        ck_assert_int_eq(try_read((uint8_t *)part[i]), SIGSEGV);
        rig.ops->release(rig.port, NULL, part[i], rig.page);
    }
    rig_close(&rig);
}
END_TEST

START_TEST(memory_is_sparse)
{
    uint32_t frames = sizeof(void *) == 8 ? 1u << 20 : 1u << 14;
    struct hurdmm_port *port;
    ck_assert_int_eq(hurdmm_posix_create(NULL, &port), 0);
    struct hurdmm_port_config config = {.struct_size = sizeof(config),
                                        .frames = frames};
    struct hurdmm_port_info info = {.struct_size = sizeof(info)};
    ck_assert_int_eq(port->ops->open(port, &config, &info), 0);
    void *window, *again;
    ck_assert_int_eq(port->ops->window(port, frames - 2, 2, &window), 0);
    memset(window, 1, 2 * info.page_size);
    ck_assert_int_eq(port->ops->window(port, frames - 1, 1, &again), 0);
    ck_assert_ptr_eq(again, (char *)window + info.page_size);
    port->ops->close(port);
    ck_assert_int_eq(hurdmm_posix_destroy(port), 0);
}
END_TEST

START_TEST(too_much_memory_is_refused)
{
    struct hurdmm_port *port;
    ck_assert_int_eq(hurdmm_posix_create(NULL, &port), 0);
    struct hurdmm_port_info info = {.struct_size = sizeof(info)};
    static const uint64_t wrong[] = {0, UINT32_MAX, UINT64_MAX};
    for (unsigned i = 0; i < 3; i++) {
        struct hurdmm_port_config config = {.struct_size = sizeof(config),
                                            .frames = wrong[i]};
        ck_assert_int_eq(port->ops->open(port, &config, &info), ENOMEM);
    }
    ck_assert_int_eq(hurdmm_posix_destroy(port), 0);
}
END_TEST

START_TEST(create_checks_its_arguments)
{
    struct hurdmm_port *port;
    struct hurdmm_posix_options options = {.struct_size = sizeof(options),
                                           .flags = 0x8000};
    ck_assert_int_eq(hurdmm_posix_create(&options, &port), EINVAL);
    ck_assert_int_eq(hurdmm_posix_create(NULL, NULL), EINVAL);
    int fd;
    ck_assert_int_eq(hurdmm_posix_create(NULL, &port), 0);
    ck_assert_int_eq(hurdmm_posix_get_fd(port, &fd), EINVAL);
    struct hurdmm_posix_counters counters = {.struct_size = 1};
    ck_assert_int_eq(hurdmm_posix_get_counters(port, &counters), EINVAL);
    ck_assert_int_eq(hurdmm_posix_get_counters(port, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_posix_destroy(port), 0);
}
END_TEST

/* ---- The limit of mappings ---- */

#define RUN 1024u /* pages that stay in one piece */

/* Lends every second page behind the run until no more go. */
static uint32_t fill_up(uint32_t pages)
{
    uint32_t page = RUN + 1;
    int error = 0;
    while (page < pages) {
        error = rig_lend(&rig, page, page % 64, 1, READ_WRITE);
        if (error)
            break;
        page += 2;
    }
    if (page < pages)
        ck_assert_int_eq(error, ENOMEM);
    return page;
}

START_TEST(at_the_limit_of_mappings_lend_fails_and_reclaim_works)
{
    if (on_tsan() || on_asan() || on_valgrind()) {
        test_skip("the tool needs mappings of its own");
        return;
    }
    uint32_t pages = 200000;
    catch_install(0);
    rig_open(&rig, pages, 0, 0);
    for (uint32_t i = 0; i < 64; i++)
        *rig_window(&rig, i) = (uint8_t)i;
    ck_assert_int_eq(rig_lend(&rig, 0, 0, RUN, READ_WRITE), 0);
    uint32_t full = fill_up(pages);
    if (full >= pages) {
        test_skip("this machine has no such limit");
        rig_close(&rig);
        return;
    }
    ck_assert_uint_ge(rig_counters(&rig).mappings_short, 1);
    /* Everything is as it was. */
    for (uint32_t i = RUN + 1; i < full; i += 2)
        ck_assert_uint_eq(*rig_at(&rig, i), i % 64);
    /* From the middle of the run, where each takes two mappings more. */
    for (uint32_t i = 0; i < 16; i++)
        ck_assert_int_eq(rig_reclaim(&rig, 8 + 4 * i, 1, HURDMM_NONE), 0);
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_int_eq(rig_reclaim(&rig, 100 + 4 * i, 1, HURDMM_READ), 0);
    ck_assert_int_eq(rig_lend(&rig, full, 0, 1, READ_WRITE), ENOMEM);
    /* The library can still have memory for itself. */
    void *core = NULL;
    ck_assert_int_eq(rig.ops->core_map(rig.port, 1 << 20, &core), 0);
    memset(core, 1, 16);
    /* Taking from the scattered pages gives them back. */
    for (uint32_t i = RUN + 1; i < RUN + 513; i += 2)
        ck_assert_int_eq(rig_reclaim(&rig, i, 1, HURDMM_NONE), 0);
    ck_assert_int_eq(rig_lend(&rig, full, 7, 1, READ_WRITE), 0);
    ck_assert_uint_eq(*rig_at(&rig, full), 7);
    rig.ops->fault_stop(rig.port);
    ck_assert_int_ne(try_read(rig_at(&rig, 8)), 0);
    ck_assert_int_ne(try_read(rig_at(&rig, RUN + 1)), 0);
    ck_assert_int_eq(try_read(rig_at(&rig, 100)), 0);
    ck_assert_int_ne(try_write(rig_at(&rig, 100), 1), 0);
    rig_close(&rig);
}
END_TEST

void memory_cases(Suite *suite)
{
    TCase *tc = tcase_create("memory");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, reclaiming_to_read_lends_nothing_that_was_absent);
    tcase_add_test(
        tc, an_absent_page_with_the_right_to_read_is_a_fault_like_any_other);
    tcase_add_test(tc, more_rights_go_to_the_frame_that_is_asked);
    tcase_add_test(tc, one_frame_can_be_at_two_addresses);
    tcase_add_test(tc, rows_of_a_batch_may_touch_or_not);
    tcase_add_test(tc, what_others_have_is_not_reserved);
    tcase_add_test(tc, a_hole_in_a_reservation_is_nobodys);
    tcase_add_test(tc, many_ranges_are_told_apart);
    tcase_add_test(tc, memory_is_sparse);
    tcase_add_test(tc, too_much_memory_is_refused);
    tcase_add_test(tc, create_checks_its_arguments);
    tcase_add_test(tc, at_the_limit_of_mappings_lend_fails_and_reclaim_works);
    suite_add_tcase(suite, tc);
}
