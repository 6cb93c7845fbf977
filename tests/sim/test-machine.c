/* SPDX-License-Identifier: MIT */
/* The simulated machine: its options, the contract it watches over, failures
 * that tests ask for, what it tells of itself. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/sim/machine.h"
#include "tests/support/runner.h"

/* Options. */

static int create(struct hurdmm_sim_options options)
{
    struct hurdmm_port *port;
    options.struct_size = sizeof options;
    int error = hurdmm_sim_create(&options, &port);
    if (error == 0)
        hurdmm_sim_destroy(port);
    return error;
}

START_TEST(no_options_are_good_options)
{
    struct hurdmm_port *port;
    ck_assert_int_eq(hurdmm_sim_create(NULL, &port), 0);
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .bytes = 10 * 4096 + 5};
    struct hurdmm_port_info info;
    ck_assert_int_eq(port->ops->open(port, &config, &info), 0);
    ck_assert_uint_eq(info.page_size, 4096);
    ck_assert_uint_eq(info.bank_count, 1);
    ck_assert_uint_eq(info.banks[0].frames, 10);
    ck_assert_uint_eq(info.high, UINTPTR_MAX);
    port->ops->close(port);
    ck_assert_uint_eq(hurdmm_sim_violations(port, NULL), 0);
    hurdmm_sim_destroy(port);
}
END_TEST

START_TEST(bad_options_are_EINVAL)
{
    struct hurdmm_bank bank = {.base = 32, .frames = 1};
    struct hurdmm_bank empty = {.base = 0};
    struct hurdmm_sim_options none = {.struct_size = 0};
    struct hurdmm_port *port;
    ck_assert_int_eq(hurdmm_sim_create(&none, &port), EINVAL);
    none.struct_size = sizeof none + 1;
    ck_assert_int_eq(hurdmm_sim_create(&none, &port), EINVAL);
    ck_assert_int_eq(create((struct hurdmm_sim_options){.page_size = 32}),
                     EINVAL);
    ck_assert_int_eq(create((struct hurdmm_sim_options){.page_size = 96}),
                     EINVAL);
    ck_assert_int_eq(create((struct hurdmm_sim_options){.address_bits = 65}),
                     EINVAL);
    ck_assert_int_eq(
        create((struct hurdmm_sim_options){.switch_permille = 1001}), EINVAL);
    ck_assert_int_eq(
        create((struct hurdmm_sim_options){.banks = &bank, .bank_count = 1}),
        EINVAL);
    ck_assert_int_eq(
        create((struct hurdmm_sim_options){.banks = &empty, .bank_count = 1}),
        EINVAL);
    ck_assert_int_eq(
        create((struct hurdmm_sim_options){.frames = HURDMM_FRAME_NONE}),
        EINVAL);
    ck_assert_int_eq(create((struct hurdmm_sim_options){.page_size = 64}), 0);
}
END_TEST

START_TEST(options_of_an_older_program_are_shorter)
{
    struct hurdmm_port *port;
    struct hurdmm_sim_options options = {
        .struct_size = offsetof(struct hurdmm_sim_options, page_sizes),
        .page_size = 128,
        .frames = 0x5555,
    };
    ck_assert_int_eq(hurdmm_sim_create(&options, &port), 0);
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = 3};
    struct hurdmm_port_info info;
    ck_assert_int_eq(port->ops->open(port, &config, &info), 0);
    ck_assert_uint_eq(info.page_size, 128);
    ck_assert_uint_eq(info.banks[0].frames, 3);
    hurdmm_sim_destroy(port);
}
END_TEST

START_TEST(banks_keep_their_places)
{
    struct hurdmm_bank banks[] = {{.base = 4 * PAGE, .frames = 3},
                                  {.base = 100 * PAGE, .frames = 9}};
    struct machine m;
    machine_make(&m, (struct hurdmm_sim_options){
                         .banks = banks, .bank_count = 2, .page_sizes = 4096});
    ck_assert_uint_eq(m.info.bank_count, 2);
    ck_assert_uint_eq(m.info.banks[1].base, 100 * PAGE);
    ck_assert_uint_eq(m.info.banks[1].first_frame, 3);
    ck_assert_uint_eq(m.info.page_sizes, PAGE | 4096);
    machine_end(&m);
}
END_TEST

START_TEST(features_are_offered_and_hidden)
{
    struct machine m;
    machine_make(&m, (struct hurdmm_sim_options){.spaces = 2,
                                                 .offer = HURDMM_PORT_INLINE,
                                                 .hide = HURDMM_PORT_DIRTY});
    ck_assert(m.info.features & HURDMM_PORT_SPACES);
    ck_assert(m.info.features & HURDMM_PORT_INLINE);
    ck_assert(m.info.features & HURDMM_PORT_REFERENCED);
    ck_assert((m.info.features & HURDMM_PORT_DIRTY) == 0);
    machine_end(&m);
}
END_TEST

START_TEST(a_machine_is_made_and_ended_in_microseconds)
{
    enum { ROUNDS = 2000 };
    struct hurdmm_sim_options options = {.struct_size = sizeof options};
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = FRAMES};
    struct hurdmm_port_info info;
    struct timespec start;
    struct timespec end;
    int error = 0;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    for (int i = 0; i < ROUNDS && error == 0; i++) {
        struct hurdmm_port *port;
        error = hurdmm_sim_create(&options, &port);
        if (error != 0)
            break;
        error = port->ops->open(port, &config, &info);
        port->ops->close(port);
        hurdmm_sim_destroy(port);
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double us = (double)(end.tv_sec - start.tv_sec) * 1e6 +
                (double)(end.tv_nsec - start.tv_nsec) / 1e3;
    printf("made and ended in %.2f us of the processor\n", us / ROUNDS);
    ck_assert_int_eq(error, 0);
    ck_assert_double_lt(us / ROUNDS, 1000); /* far less, but for tools */
}
END_TEST

/* Accesses. */

START_TEST(an_access_goes_over_pages)
{
    struct machine m;
    uint32_t done;
    uint8_t out[3 * PAGE];
    uint8_t in[3 * PAGE];
    machine_make(&m, (struct hurdmm_sim_options){.seed = 0});
    ck_assert_int_eq(machine_lend(&m, 0, 4, 4, READ_WRITE, &done), 0);
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (uint8_t)(i * 3 + 1);
    ck_assert_int_eq(hurdmm_sim_write(m.port, NULL, m.at + 10, out, sizeof out),
                     0);
    ck_assert_int_eq(hurdmm_sim_read(m.port, NULL, m.at + 10, in, sizeof in),
                     0);
    ck_assert_mem_eq(in, out, sizeof out);
    const uint8_t *second = hurdmm_sim_frame_bytes(m.port, 5);
    ck_assert_mem_eq(second, out + PAGE - 10, PAGE);
    machine_end(&m);
}
END_TEST

START_TEST(an_unreserved_address_is_EFAULT)
{
    struct machine m;
    uint8_t byte = 0;
    machine_make(&m, (struct hurdmm_sim_options){.address_bits = 32});
    uintptr_t end = m.at + RANGE * PAGE;
    ck_assert_int_eq(hurdmm_sim_read(m.port, NULL, end, &byte, 1), EFAULT);
    ck_assert_int_eq(hurdmm_sim_write(m.port, NULL, 0, &byte, 1), EFAULT);
    ck_assert_int_eq(
        hurdmm_sim_read(m.port, hurdmm_sim_space(m.port, 7), m.at, &byte, 1),
        EFAULT);
    ck_assert_int_eq(
        hurdmm_sim_read(m.port, NULL, (uintptr_t)1 << 32, &byte, 1), EFAULT);
    machine_end(&m);
}
END_TEST

START_TEST(numbers_are_added_and_compared_at_once)
{
    struct machine m;
    uint32_t done;
    uint64_t value = 7;
    machine_make(&m, (struct hurdmm_sim_options){.seed = 0});
    ck_assert_int_eq(machine_lend(&m, 0, 0, 1, READ_WRITE, &done), 0);
    ck_assert_int_eq(hurdmm_sim_store64(m.port, NULL, m.at + 8, 40), 0);
    ck_assert_int_eq(hurdmm_sim_add64(m.port, NULL, m.at + 8, 2, &value), 0);
    ck_assert_uint_eq(value, 40);
    ck_assert_int_eq(hurdmm_sim_compare64(m.port, NULL, m.at + 8, &value, 1),
                     EAGAIN);
    ck_assert_uint_eq(value, 42);
    ck_assert_int_eq(hurdmm_sim_compare64(m.port, NULL, m.at + 8, &value, 1),
                     0);
    ck_assert_int_eq(hurdmm_sim_load64(m.port, NULL, m.at + 8, &value), 0);
    ck_assert_uint_eq(value, 1);
    ck_assert_int_eq(hurdmm_sim_load64(m.port, NULL, m.at + 4, &value), EINVAL);
    machine_end(&m);
}
END_TEST

START_TEST(execute_and_read_are_told_apart)
{
    struct machine m;
    uint32_t done;
    uint8_t byte;
    machine_make(&m, (struct hurdmm_sim_options){.seed = 0});
    ck_assert_int_eq(machine_lend(&m, 0, 0, 1, HURDMM_EXECUTE, &done), 0);
    m.ops->fault_stop(m.port);
    ck_assert_int_eq(hurdmm_sim_fetch(m.port, NULL, m.at, &byte, 1), 0);
    ck_assert_int_eq(hurdmm_sim_read(m.port, NULL, m.at, &byte, 1), EFAULT);
    machine_end(&m);
}
END_TEST

/* What is told of frames and pages. */

START_TEST(frames_are_held_lent_to_read_lent_to_write)
{
    struct machine m;
    uint32_t done;
    unsigned rights;
    machine_make(&m, (struct hurdmm_sim_options){.seed = 0});
    ck_assert_int_eq(hurdmm_sim_frame_state(m.port, 3), HURDMM_SIM_HELD);
    machine_lend(&m, 1, 3, 1, HURDMM_READ, &done);
    ck_assert_int_eq(hurdmm_sim_frame_state(m.port, 3),
                     HURDMM_SIM_LENT_TO_READ);
    machine_lend(&m, 2, 3, 1, READ_WRITE, &done);
    ck_assert_int_eq(hurdmm_sim_frame_state(m.port, 3),
                     HURDMM_SIM_LENT_TO_WRITE);
    ck_assert_uint_eq(
        hurdmm_sim_lookup(m.port, NULL, m.at + 2 * PAGE + 5, &rights), 3);
    ck_assert_uint_eq(rights, READ_WRITE);
    machine_reclaim(&m, 2, 3, 1, HURDMM_NONE);
    ck_assert_uint_eq(hurdmm_sim_lookup(m.port, NULL, m.at + 2 * PAGE, NULL),
                      HURDMM_FRAME_NONE);
    ck_assert_int_eq(hurdmm_sim_frame_state(m.port, 3),
                     HURDMM_SIM_LENT_TO_READ);
    ck_assert_ptr_null(hurdmm_sim_frame_bytes(m.port, FRAMES));
    machine_end(&m);
}
END_TEST

START_TEST(statistics_count)
{
    struct machine m;
    uint32_t done;
    uint8_t byte = 0;
    machine_make(&m, (struct hurdmm_sim_options){.mappings_max = 9});
    machine_lend(&m, 0, 0, 4, READ_WRITE, &done);
    machine_reclaim(&m, 1, 1, 1, HURDMM_READ);
    machine_reclaim(&m, 1, 1, 1, HURDMM_READ);
    hurdmm_sim_read(m.port, NULL, m.at + PAGE, &byte, 1);
    m.ops->fault_stop(m.port);
    hurdmm_sim_write(m.port, NULL, m.at + PAGE, &byte, 1);
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(m.port, &stats);
    ck_assert_uint_eq(stats.lends, 1);
    ck_assert_uint_eq(stats.pages_lent, 4);
    ck_assert_uint_eq(stats.reclaims, 2);
    ck_assert_uint_eq(stats.rows_reclaimed, 2);
    ck_assert_uint_eq(stats.pages_reclaimed, 1);
    ck_assert_uint_eq(stats.accesses, 2);
    ck_assert_uint_eq(stats.faults, 1);
    ck_assert_uint_eq(stats.frames_lent, 4);
    ck_assert_uint_eq(stats.mappings, 3);
    ck_assert_uint_gt(stats.clock_ns, 0);
    machine_end(&m);
}
END_TEST

/* The contract. */

/* Asserts that the contract was broken once, in words that contain `word`. */
static void expect_violation(int line, struct machine *machine,
                             const char *word)
{
    const char *first;
    uint64_t count = hurdmm_sim_violations(machine->port, &first);
    ck_assert_msg(count == 1 && strstr(first, word) != NULL,
                  "line %d: %d violations: %s", line, (int)count, first);
    hurdmm_sim_destroy(machine->port);
}

#define EXPECT_VIOLATION(machine, word)                                        \
    expect_violation(__LINE__, machine, word)

static void make_plain(struct machine *m)
{
    machine_make(m, (struct hurdmm_sim_options){
                        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK});
}

START_TEST(lending_wrongly_is_a_violation)
{
    struct machine m;
    uint32_t done;
    make_plain(&m);
    ck_assert_int_ne(machine_lend(&m, 0, FRAMES, 1, HURDMM_READ, &done), 0);
    EXPECT_VIOLATION(&m, "no frames");
    make_plain(&m);
    ck_assert_int_ne(machine_lend(&m, RANGE - 1, 0, 2, HURDMM_READ, &done), 0);
    ck_assert_uint_eq(done, 0);
    EXPECT_VIOLATION(&m, "not reserved");
    make_plain(&m);
    ck_assert_int_ne(machine_lend(&m, 0, 0, 1, HURDMM_NONE, &done), 0);
    EXPECT_VIOLATION(&m, "rights");
    make_plain(&m);
    m.at += 1;
    ck_assert_int_ne(machine_lend(&m, 0, 0, 1, HURDMM_READ, &done), 0);
    EXPECT_VIOLATION(&m, "address");
}
END_TEST

START_TEST(reclaiming_wrongly_is_a_violation)
{
    struct machine m;
    uint32_t done;
    make_plain(&m);
    ck_assert_int_ne(machine_reclaim(&m, 0, 0, 1, HURDMM_WRITE), 0);
    EXPECT_VIOLATION(&m, "rights");
    make_plain(&m);
    machine_lend(&m, 0, 3, 1, HURDMM_READ, &done);
    machine_reclaim(&m, 0, 4, 1, HURDMM_NONE);
    EXPECT_VIOLATION(&m, "frame 3");
}
END_TEST

/* Takes two pages of READ_WRITE rights back whose rows are said to be joined. */
static void reclaim_joined(struct machine *m, unsigned second)
{
    struct hurdmm_reclaim rows[2];
    uintptr_t cookie;
    size_t done;
    for (unsigned i = 0; i < 2; i++)
        rows[i] = (struct hurdmm_reclaim){
            .address = m->at + i * second * PAGE,
            .frame = i * second,
            .count = 1,
            .flags = HURDMM_RECLAIM_DROP | (i ? HURDMM_RECLAIM_JOINED : 0)};
    m->ops->critical_enter(m->port, &cookie);
    ck_assert_int_eq(m->ops->reclaim(m->port, rows, 2, &done), 0);
    m->ops->critical_leave(m->port, cookie);
}

START_TEST(joining_rows_over_what_is_lent_is_a_violation)
{
    struct machine m;
    uint32_t done;
    make_plain(&m);
    machine_lend(&m, 0, 0, 3, READ_WRITE, &done);
    machine_reclaim(&m, 1, 1, 1, HURDMM_NONE);
    reclaim_joined(&m, 2);
    ck_assert_uint_eq(hurdmm_sim_violations(m.port, NULL), 0);
    machine_lend(&m, 0, 0, 3, READ_WRITE, &done);
    reclaim_joined(&m, 2);
    EXPECT_VIOLATION(&m, "between");
    make_plain(&m);
    machine_lend(&m, 0, 0, 1, READ_WRITE, &done);
    reclaim_joined(&m, 0);
    EXPECT_VIOLATION(&m, "joined with");
}
END_TEST

static void take_back_meanwhile(void *argument)
{
    machine_reclaim(argument, 0, 0, 2, HURDMM_NONE);
}

/* The frames are lent one by one, and others run in between. */
START_TEST(what_is_being_lent_apart_may_not_be_taken_back)
{
    struct machine m;
    uint32_t done;
    machine_make(&m, (struct hurdmm_sim_options){
                         .offer = HURDMM_PORT_LENDS_APART,
                         .schedule = HURDMM_SIM_RANDOM,
                         .switch_permille = 1000,
                         .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK});
    ck_assert_int_eq(hurdmm_sim_spawn(m.port, take_back_meanwhile, &m, NULL),
                     0);
    machine_lend(&m, 0, 0, 2, READ_WRITE, &done);
    hurdmm_sim_settle(m.port);
    const char *first;
    ck_assert_uint_gt(hurdmm_sim_violations(m.port, &first), 0);
    ck_assert_ptr_nonnull(strstr(first, "is using frame"));
    hurdmm_sim_destroy(m.port);
}
END_TEST

START_TEST(a_memory_function_outside_a_critical_section_is_a_violation)
{
    struct machine m;
    void *window;
    make_plain(&m);
    m.ops->window(m.port, 0, 1, &window);
    EXPECT_VIOLATION(&m, "critical section");
}
END_TEST

START_TEST(critical_sections_do_not_nest)
{
    struct machine m;
    uintptr_t cookie;
    make_plain(&m);
    m.ops->critical_enter(m.port, &cookie);
    m.ops->critical_enter(m.port, &cookie);
    m.ops->critical_leave(m.port, cookie);
    EXPECT_VIOLATION(&m, "critical_enter");
    make_plain(&m);
    m.ops->critical_leave(m.port, 5);
    EXPECT_VIOLATION(&m, "critical_leave");
}
END_TEST

START_TEST(an_access_in_a_critical_section_is_a_violation)
{
    struct machine m;
    uintptr_t cookie;
    uint32_t done;
    uint8_t byte;
    make_plain(&m);
    machine_lend(&m, 0, 0, 1, HURDMM_READ, &done);
    m.ops->critical_enter(m.port, &cookie);
    hurdmm_sim_read(m.port, NULL, m.at, &byte, 1);
    m.ops->critical_leave(m.port, cookie);
    EXPECT_VIOLATION(&m, "access");
}
END_TEST

START_TEST(releasing_what_is_lent_is_a_violation)
{
    struct machine m;
    uint32_t done;
    uintptr_t cookie;
    make_plain(&m);
    machine_lend(&m, RANGE - 1, 0, 1, HURDMM_READ, &done);
    m.ops->critical_enter(m.port, &cookie);
    m.ops->release(m.port, NULL, m.at, RANGE * PAGE);
    m.ops->critical_leave(m.port, cookie);
    EXPECT_VIOLATION(&m, "are lent");
}
END_TEST

START_TEST(closing_too_early_is_a_violation)
{
    struct machine m;
    make_plain(&m);
    m.ops->close(m.port);
    EXPECT_VIOLATION(&m, "reserved");
}
END_TEST

START_TEST(reading_a_frame_that_is_lent_to_write_is_a_violation)
{
    struct machine m;
    uint32_t done;
    uint8_t buffer[PAGE];
    make_plain(&m);
    machine_lend(&m, 0, 1, 1, READ_WRITE, &done);
    m.ops->frame_read(m.port, 1, NULL, m.at, buffer);
    EXPECT_VIOLATION(&m, "frame_read");
}
END_TEST

START_TEST(writing_a_frame_that_is_lent_is_noticed)
{
    struct machine m;
    uint32_t done;
    uint8_t byte = 9;
    make_plain(&m);
    uint8_t *window = machine_window(&m, 1);
    memset(window, 1, PAGE);
    machine_lend(&m, 0, 1, 1, HURDMM_READ, &done);
    window[5] = 2;
    machine_reclaim(&m, 0, 1, 1, HURDMM_NONE);
    EXPECT_VIOLATION(&m, "written by the library");
    make_plain(&m);
    memset(machine_window(&m, 1), 1, PAGE);
    machine_lend(&m, 0, 1, 1, READ_WRITE, &done);
    hurdmm_sim_write(m.port, NULL, m.at, &byte, 1);
    machine_reclaim(&m, 0, 1, 1, HURDMM_NONE);
    machine_end(&m);
}
END_TEST

START_TEST(a_moving_machine_fills_stale_windows_with_junk)
{
    struct machine m;
    uint32_t done;
    uint8_t byte = 9;
    machine_make(&m, (struct hurdmm_sim_options){.hide = HURDMM_PORT_ALIAS});
    uint8_t *window = machine_window(&m, 1);
    memset(window, 1, PAGE);
    machine_lend(&m, 0, 1, 1, READ_WRITE, &done);
    ck_assert_uint_ne(window[3], 1);
    hurdmm_sim_write(m.port, NULL, m.at, &byte, 1);
    machine_reclaim(&m, 0, 1, 1, HURDMM_NONE);
    ck_assert_uint_eq(window[0], 9);
    ck_assert_uint_eq(window[3], 1);
    machine_lend(&m, 0, 1, 1, HURDMM_READ, &done);
    machine_lend(&m, 1, 1, 1, HURDMM_READ, &done);
    EXPECT_VIOLATION(&m, "another address");
}
END_TEST

/* Failures. */

START_TEST(the_nth_call_fails_once)
{
    struct machine m;
    uintptr_t cookie;
    void *memory;
    make_plain(&m);
    hurdmm_sim_fail(m.port, HURDMM_SIM_CORE_MAP, 2, 0, 0);
    m.ops->critical_enter(m.port, &cookie);
    ck_assert_int_eq(m.ops->core_map(m.port, PAGE, &memory), 0);
    ck_assert_int_eq(m.ops->window(m.port, 0, 1, &memory), 0);
    ck_assert_int_eq(m.ops->core_map(m.port, PAGE, &memory), ENOMEM);
    ck_assert_int_eq(m.ops->core_map(m.port, PAGE, &memory), 0);
    m.ops->critical_leave(m.port, cookie);
    ck_assert_uint_eq(hurdmm_sim_fallible_calls(m.port, HURDMM_SIM_CORE_MAP |
                                                            HURDMM_SIM_WINDOW),
                      4);
    machine_end(&m);
}
END_TEST

START_TEST(all_calls_from_the_nth_fail_for_ever)
{
    struct machine m;
    uintptr_t cookie = 0;
    make_plain(&m);
    hurdmm_sim_fail(m.port, HURDMM_SIM_CRITICAL, 1, EIO, 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(m.ops->critical_enter(m.port, &cookie), EIO);
    hurdmm_sim_fail(m.port, HURDMM_SIM_CRITICAL, 0, 0, 0);
    ck_assert_int_eq(m.ops->critical_enter(m.port, &cookie), 0);
    m.ops->critical_leave(m.port, cookie);
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(m.port, &stats);
    ck_assert_uint_eq(stats.failures, 3);
    machine_end(&m);
}
END_TEST

START_TEST(a_failing_lend_has_done_a_part)
{
    unsigned parts = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct machine m;
        uint32_t done = 99;
        machine_make(&m, (struct hurdmm_sim_options){.seed = seed});
        hurdmm_sim_fail(m.port, HURDMM_SIM_MEMORY, 1, 0, 0);
        ck_assert_int_eq(machine_lend(&m, 0, 0, 4, HURDMM_READ, &done), ENOMEM);
        ck_assert_uint_lt(done, 4);
        parts |= 1u << done;
        for (uint32_t i = 0; i < 4; i++)
            ck_assert_int_eq(hurdmm_sim_frame_state(m.port, i),
                             i < done ? HURDMM_SIM_LENT_TO_READ
                                      : HURDMM_SIM_HELD);
        machine_end(&m);
    }
    ck_assert_uint_eq(parts, 15);
}
END_TEST

START_TEST(a_failing_reclaim_has_done_some_rows)
{
    struct machine m;
    uint32_t done;
    size_t rows_done = 99;
    uintptr_t cookie;
    make_plain(&m);
    machine_lend(&m, 0, 0, 2, HURDMM_READ, &done);
    struct hurdmm_reclaim rows[] = {
        {NULL, m.at, 0, 1, HURDMM_NONE, NULL, 0},
        {NULL, m.at + PAGE, 1, 1, HURDMM_NONE, NULL, 0},
    };
    hurdmm_sim_fail(m.port, HURDMM_SIM_RECLAIM, 1, 0, 0);
    m.ops->critical_enter(m.port, &cookie);
    ck_assert_int_eq(m.ops->reclaim(m.port, rows, 2, &rows_done), ENOMEM);
    m.ops->critical_leave(m.port, cookie);
    ck_assert_uint_lt(rows_done, 2);
    ck_assert_int_eq(hurdmm_sim_frame_state(m.port, 1),
                     HURDMM_SIM_LENT_TO_READ);
    machine_end(&m);
}
END_TEST

START_TEST(mappings_run_out)
{
    struct machine m;
    uint32_t done;
    machine_make(&m, (struct hurdmm_sim_options){.mappings_max = 2});
    ck_assert_int_eq(machine_lend(&m, 0, 0, 3, READ_WRITE, &done), 0);
    ck_assert_int_eq(machine_lend(&m, 4, 8, 1, READ_WRITE, &done), 0);
    ck_assert_int_eq(machine_lend(&m, 6, 9, 1, READ_WRITE, &done), ENOMEM);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(hurdmm_sim_frame_state(m.port, 9), HURDMM_SIM_HELD);
    ck_assert_int_eq(machine_reclaim(&m, 1, 1, 1, HURDMM_NONE), ENOMEM);
    ck_assert_int_eq(machine_reclaim(&m, 2, 2, 1, HURDMM_READ), ENOMEM);
    ck_assert_int_eq(machine_reclaim(&m, 2, 2, 1, HURDMM_NONE), 0);
    ck_assert_int_eq(machine_lend(&m, 2, 2, 1, READ_WRITE, &done), 0);
    ck_assert_int_eq(machine_reclaim(&m, 0, 0, 3, HURDMM_READ), 0);
    ck_assert_int_eq(machine_reclaim(&m, 0, 0, 3, HURDMM_NONE), 0);
    ck_assert_int_eq(machine_lend(&m, 6, 9, 1, READ_WRITE, &done), 0);
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(m.port, &stats);
    ck_assert_uint_eq(stats.mappings, 2);
    machine_end(&m);
}
END_TEST

static TCase *option_case(void)
{
    TCase *tcase = tcase_create("options");
    tcase_add_test(tcase, no_options_are_good_options);
    tcase_add_test(tcase, bad_options_are_EINVAL);
    tcase_add_test(tcase, options_of_an_older_program_are_shorter);
    tcase_add_test(tcase, banks_keep_their_places);
    tcase_add_test(tcase, features_are_offered_and_hidden);
    tcase_add_test(tcase, a_machine_is_made_and_ended_in_microseconds);
    tcase_add_test(tcase, an_access_goes_over_pages);
    tcase_add_test(tcase, an_unreserved_address_is_EFAULT);
    tcase_add_test(tcase, numbers_are_added_and_compared_at_once);
    tcase_add_test(tcase, execute_and_read_are_told_apart);
    tcase_add_test(tcase, frames_are_held_lent_to_read_lent_to_write);
    tcase_add_test(tcase, statistics_count);
    return tcase;
}

static TCase *contract_case(void)
{
    TCase *tcase = tcase_create("contract");
    tcase_add_test(tcase, lending_wrongly_is_a_violation);
    tcase_add_test(tcase, reclaiming_wrongly_is_a_violation);
    tcase_add_test(tcase, joining_rows_over_what_is_lent_is_a_violation);
    tcase_add_test(tcase, what_is_being_lent_apart_may_not_be_taken_back);
    tcase_add_test(tcase,
                   a_memory_function_outside_a_critical_section_is_a_violation);
    tcase_add_test(tcase, critical_sections_do_not_nest);
    tcase_add_test(tcase, an_access_in_a_critical_section_is_a_violation);
    tcase_add_test(tcase, releasing_what_is_lent_is_a_violation);
    tcase_add_test(tcase, closing_too_early_is_a_violation);
    tcase_add_test(tcase, reading_a_frame_that_is_lent_to_write_is_a_violation);
    tcase_add_test(tcase, writing_a_frame_that_is_lent_is_noticed);
    tcase_add_test(tcase, a_moving_machine_fills_stale_windows_with_junk);
    return tcase;
}

static TCase *failure_case(void)
{
    TCase *tcase = tcase_create("failures");
    tcase_add_test(tcase, the_nth_call_fails_once);
    tcase_add_test(tcase, all_calls_from_the_nth_fail_for_ever);
    tcase_add_test(tcase, a_failing_lend_has_done_a_part);
    tcase_add_test(tcase, a_failing_reclaim_has_done_some_rows);
    tcase_add_test(tcase, mappings_run_out);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("sim machine");
    suite_add_tcase(suite, option_case());
    suite_add_tcase(suite, contract_case());
    suite_add_tcase(suite, failure_case());
    return run_suites("sim-machine", &suite, 1);
}
