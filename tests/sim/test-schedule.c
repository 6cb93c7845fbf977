/* SPDX-License-Identifier: MIT */
/* Simulated threads: they are deterministic, they interleave, they find races,
 * and they are told when they are deadlocked. */
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/machine.h"
#include "tests/support/runner.h"

#define MS UINT64_C(1000000)

struct shared {
    struct machine m;
    uint32_t word;
    uint64_t count;
    unsigned order[8];
    unsigned places;
};

static void make(struct shared *shared, struct hurdmm_sim_options options)
{
    memset(shared, 0, sizeof *shared);
    machine_make(&shared->m, options);
}

static void spawn(struct shared *shared, void (*body)(void *))
{
    ck_assert_int_eq(hurdmm_sim_spawn(shared->m.port, body, shared, NULL), 0);
}

static void pager(void *argument)
{
    struct shared *shared = argument;
    struct machine *m = &shared->m;
    struct hurdmm_fault fault;
    size_t count;
    uint32_t done;
    while (m->ops->fault_wait(m->port, &fault, 1, HURDMM_FOREVER, &count) ==
           0) {
        uint32_t page = (uint32_t)((fault.address - m->at) / PAGE);
        int error = machine_lend(m, page, page, 1, READ_WRITE, &done);
        m->ops->fault_done(m->port, &fault, error);
    }
}

static void add_everywhere(void *argument)
{
    struct shared *shared = argument;
    for (unsigned i = 0; i < 40; i++)
        hurdmm_sim_add64(shared->m.port, NULL, shared->m.at + i % RANGE * PAGE,
                         1, NULL);
}

/* A run with faults, threads and switches; its trace. */
static uint64_t run_one(uint64_t seed, unsigned switch_permille)
{
    struct shared shared;
    uint64_t id;
    make(&shared,
         (struct hurdmm_sim_options){.seed = seed,
                                     .schedule = HURDMM_SIM_RANDOM,
                                     .switch_permille = switch_permille,
                                     .spurious_permille = 10});
    struct machine *m = &shared.m;
    for (uint32_t i = 0; i < RANGE; i++)
        memset(machine_window(m, i), 0, PAGE);
    ck_assert_int_eq(m->ops->thread_start(m->port, pager, &shared, &id), 0);
    for (int i = 0; i < 3; i++)
        spawn(&shared, add_everywhere);
    ck_assert_int_eq(hurdmm_sim_run(m->port), 0);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < RANGE; i++) {
        uint64_t value = 0;
        hurdmm_sim_load64(m->port, NULL, m->at + i * PAGE, &value);
        sum += value;
    }
    ck_assert_uint_eq(sum, 3 * 40);
    m->ops->fault_stop(m->port);
    ck_assert_int_eq(m->ops->thread_join(m->port, id), 0);
    uint64_t hash = hurdmm_sim_trace_hash(m->port);
    machine_end(m);
    return hash;
}

START_TEST(equal_seeds_give_equal_runs)
{
    for (uint64_t seed = 0; seed < 10; seed++) {
        void *noise = malloc(seed * 100 + 1);
        uint64_t first = run_one(seed, 300);
        free(noise);
        ck_assert_uint_eq(run_one(seed, 300), first);
    }
}
END_TEST

START_TEST(other_seeds_and_schedules_give_other_runs)
{
    uint64_t hashes[20];
    for (uint64_t seed = 0; seed < 10; seed++) {
        hashes[2 * seed] = run_one(seed, 300);
        hashes[2 * seed + 1] = run_one(seed, 20);
    }
    for (int i = 0; i < 20; i++)
        for (int j = 0; j < i; j++)
            ck_assert_uint_ne(hashes[i], hashes[j]);
}
END_TEST

/* A counter without a lock. */
static void count_carelessly(void *argument)
{
    struct shared *shared = argument;
    struct hurdmm_port *port = shared->m.port;
    for (int i = 0; i < 5; i++) {
        uint64_t value;
        hurdmm_sim_load64(port, NULL, shared->m.at, &value);
        hurdmm_sim_store64(port, NULL, shared->m.at, value + 1);
    }
}

static uint64_t count_with(struct hurdmm_sim_options options,
                           void (*body)(void *))
{
    struct shared shared;
    uint32_t done;
    uint64_t value = 0;
    make(&shared, options);
    machine_lend(&shared.m, 0, 0, 1, READ_WRITE, &done);
    hurdmm_sim_store64(shared.m.port, NULL, shared.m.at, 0);
    spawn(&shared, body);
    spawn(&shared, body);
    ck_assert_int_eq(hurdmm_sim_run(shared.m.port), 0);
    hurdmm_sim_load64(shared.m.port, NULL, shared.m.at, &value);
    machine_end(&shared.m);
    return value;
}

START_TEST(a_random_schedule_finds_a_race)
{
    unsigned lost = 0;
    for (uint64_t seed = 0; seed < 50; seed++)
        lost += count_with(
                    (struct hurdmm_sim_options){.seed = seed,
                                                .schedule = HURDMM_SIM_RANDOM},
                    count_carelessly) != 10;
    ck_assert_uint_gt(lost, 5);
}
END_TEST

START_TEST(a_fair_schedule_does_not_switch_for_nothing)
{
    ck_assert_uint_eq(
        count_with((struct hurdmm_sim_options){.seed = 1}, count_carelessly),
        10);
}
END_TEST

static void count_atomically(void *argument)
{
    struct shared *shared = argument;
    for (int i = 0; i < 5; i++)
        hurdmm_sim_add64(shared->m.port, NULL, shared->m.at, 1, NULL);
}

START_TEST(a_single_access_is_never_interrupted)
{
    for (uint64_t seed = 0; seed < 50; seed++)
        ck_assert_uint_eq(
            count_with(
                (struct hurdmm_sim_options){.seed = seed,
                                            .schedule = HURDMM_SIM_RANDOM,
                                            .switch_permille = 1000},
                count_atomically),
            10);
}
END_TEST

/* Blocking. */

static void park_for_ever(void *argument)
{
    struct shared *shared = argument;
    struct hurdmm_port *port = shared->m.port;
    while (shared->word == 0)
        port->ops->park(port, &shared->word, 0, HURDMM_FOREVER);
    shared->count++;
}

static void load_absent(void *argument)
{
    struct shared *shared = argument;
    uint8_t byte;
    hurdmm_sim_read(shared->m.port, NULL, shared->m.at, &byte, 1);
}

START_TEST(a_deadlock_is_told)
{
    struct shared shared;
    make(&shared, (struct hurdmm_sim_options){.seed = 1});
    spawn(&shared, park_for_ever);
    spawn(&shared, load_absent);
    ck_assert_int_eq(hurdmm_sim_run(shared.m.port), EDEADLK);
    shared.word = 1;
    shared.m.ops->wake(shared.m.port, &shared.word, 1);
    ck_assert_int_eq(hurdmm_sim_run(shared.m.port), EDEADLK);
    ck_assert_uint_eq(shared.count, 1);
    shared.m.ops->fault_stop(shared.m.port);
    ck_assert_int_eq(hurdmm_sim_run(shared.m.port), 0);
    machine_end(&shared.m);
}
END_TEST

static void tick(void *argument)
{
    struct shared *shared = argument;
    struct hurdmm_port *port = shared->m.port;
    while (shared->word == 0)
        port->ops->park(port, &shared->word, 0, MS);
}

START_TEST(a_periodic_thread_does_not_hide_a_deadlock)
{
    struct shared shared;
    uint64_t id;
    make(&shared, (struct hurdmm_sim_options){.seed = 1});
    struct hurdmm_port *port = shared.m.port;
    ck_assert_int_eq(port->ops->thread_start(port, tick, &shared, &id), 0);
    spawn(&shared, load_absent);
    ck_assert_int_eq(hurdmm_sim_run(port), EDEADLK);
    shared.word = 1;
    port->ops->fault_stop(port);
    ck_assert_int_eq(hurdmm_sim_run(port), 0);
    ck_assert_int_eq(port->ops->thread_join(port, id), 0);
    machine_end(&shared.m);
}
END_TEST

START_TEST(main_blocked_for_ever_aborts)
{
    pid_t child = fork();
    if (child == 0) {
        struct shared shared;
        freopen("/dev/null", "w", stderr);
        signal(SIGABRT, SIG_DFL);
        make(&shared, (struct hurdmm_sim_options){.seed = 1});
        park_for_ever(&shared);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}
END_TEST

START_TEST(others_run_while_main_is_blocked)
{
    struct shared shared;
    uint64_t id;
    uint64_t value = 1;
    make(&shared, (struct hurdmm_sim_options){.seed = 1});
    struct hurdmm_port *port = shared.m.port;
    memset(machine_window(&shared.m, 2), 0, PAGE);
    ck_assert_int_eq(port->ops->thread_start(port, pager, &shared, &id), 0);
    ck_assert_int_eq(
        hurdmm_sim_load64(port, NULL, shared.m.at + 2 * PAGE, &value), 0);
    ck_assert_uint_eq(value, 0);
    port->ops->fault_stop(port);
    ck_assert_int_eq(port->ops->thread_join(port, id), 0);
    machine_end(&shared.m);
}
END_TEST

static int resolve(void *client, const struct hurdmm_fault *fault)
{
    struct shared *shared = client;
    uint32_t done;
    shared->count++;
    if (fault->access == HURDMM_WRITE)
        return EROFS;
    return machine_lend(&shared->m, 0, 0, 1, HURDMM_READ, &done);
}

START_TEST(inline_faults_end_with_their_error)
{
    struct shared shared = {.count = 0};
    struct machine *m = &shared.m;
    uint8_t byte = 0;
    struct hurdmm_sim_options options = {.struct_size = sizeof options,
                                         .page_size = PAGE,
                                         .offer = HURDMM_PORT_INLINE};
    ck_assert_int_eq(hurdmm_sim_create(&options, &m->port), 0);
    m->ops = m->port->ops;
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = FRAMES,
                                        .fault = resolve,
                                        .client = &shared};
    uintptr_t cookie;
    ck_assert_int_eq(m->ops->open(m->port, &config, &m->info), 0);
    m->ops->critical_enter(m->port, &cookie);
    m->at = 0;
    m->ops->reserve(m->port, NULL, &m->at, PAGE, 0);
    m->ops->critical_leave(m->port, cookie);
    ck_assert_int_eq(hurdmm_sim_read(m->port, NULL, m->at, &byte, 1), 0);
    ck_assert_int_eq(hurdmm_sim_write(m->port, NULL, m->at, &byte, 1), EROFS);
    ck_assert_uint_eq(shared.count, 2);
    machine_end(m);
}
END_TEST

/* Time. */

static void sleep_by_number(void *argument)
{
    struct shared *shared = argument;
    unsigned number = (unsigned)shared->word++;
    hurdmm_sim_sleep(shared->m.port, (5 - number) * 1000 * MS);
    shared->order[shared->places++] = number;
}

START_TEST(the_clock_jumps_to_the_next_timeout)
{
    struct shared shared;
    make(&shared, (struct hurdmm_sim_options){.seed = 1});
    struct hurdmm_port *port = shared.m.port;
    uint64_t start = port->ops->clock(port);
    for (int i = 0; i < 5; i++)
        spawn(&shared, sleep_by_number);
    ck_assert_int_eq(hurdmm_sim_run(port), 0);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_uint_eq(shared.order[i], 4 - i);
    uint64_t passed = port->ops->clock(port) - start;
    ck_assert_uint_ge(passed, 5000 * MS);
    ck_assert_uint_lt(passed, 5001 * MS);
    machine_end(&shared.m);
}
END_TEST

START_TEST(settle_leaves_the_clock_alone)
{
    struct shared shared;
    make(&shared, (struct hurdmm_sim_options){.seed = 1});
    struct hurdmm_port *port = shared.m.port;
    uint64_t start = port->ops->clock(port);
    spawn(&shared, sleep_by_number);
    spawn(&shared, park_for_ever);
    hurdmm_sim_settle(port);
    ck_assert_uint_eq(shared.word, 1);
    ck_assert_uint_lt(port->ops->clock(port) - start, MS);
    ck_assert_uint_eq(shared.places, 0);
    machine_end(&shared.m);
}
END_TEST

START_TEST(parked_threads_wake_for_nothing_where_asked)
{
    struct shared shared;
    make(&shared, (struct hurdmm_sim_options){.seed = 1,
                                              .schedule = HURDMM_SIM_RANDOM,
                                              .spurious_permille = 1000});
    struct hurdmm_port *port = shared.m.port;
    ck_assert_int_eq(port->ops->park(port, &shared.word, 0, HURDMM_FOREVER), 0);
    machine_end(&shared.m);
}
END_TEST

/* Ends. */

static void leave_critical_open(void *argument)
{
    struct shared *shared = argument;
    uintptr_t cookie;
    shared->m.ops->critical_enter(shared->m.port, &cookie);
}

START_TEST(a_thread_that_ends_in_a_critical_section_is_a_violation)
{
    struct shared shared;
    make(&shared, (struct hurdmm_sim_options){.seed = 1});
    spawn(&shared, leave_critical_open);
    ck_assert_int_eq(hurdmm_sim_run(shared.m.port), 0);
    ck_assert_uint_eq(hurdmm_sim_violations(shared.m.port, NULL), 1);
    hurdmm_sim_destroy(shared.m.port);
}
END_TEST

static void spawn_another(void *argument)
{
    struct shared *shared = argument;
    if (++shared->count < 100)
        spawn(shared, spawn_another);
}

START_TEST(threads_spawn_threads)
{
    struct shared shared;
    make(&shared, (struct hurdmm_sim_options){.seed = 1});
    spawn(&shared, spawn_another);
    ck_assert_int_eq(hurdmm_sim_run(shared.m.port), 0);
    ck_assert_uint_eq(shared.count, 100);
    machine_end(&shared.m);
}
END_TEST

static void count_line(void *client, const char *line)
{
    unsigned *lines = client;
    if (strstr(line, "thread 1: lend") != NULL)
        ++*lines;
}

START_TEST(the_trace_can_be_read)
{
    struct machine m;
    uint32_t done;
    unsigned lines = 0;
    machine_make(&m, (struct hurdmm_sim_options){.trace = count_line,
                                                 .trace_client = &lines});
    machine_lend(&m, 0, 0, 1, HURDMM_READ, &done);
    ck_assert_uint_eq(lines, 1);
    machine_end(&m);
}
END_TEST

static TCase *random_case(void)
{
    TCase *tcase = tcase_create("random");
    tcase_add_test(tcase, equal_seeds_give_equal_runs);
    tcase_add_test(tcase, other_seeds_and_schedules_give_other_runs);
    tcase_add_test(tcase, a_random_schedule_finds_a_race);
    tcase_add_test(tcase, a_fair_schedule_does_not_switch_for_nothing);
    tcase_add_test(tcase, a_single_access_is_never_interrupted);
    tcase_add_test(tcase, the_trace_can_be_read);
    return tcase;
}

static TCase *blocking_case(void)
{
    TCase *tcase = tcase_create("blocking");
    tcase_add_test(tcase, a_deadlock_is_told);
    tcase_add_test(tcase, a_periodic_thread_does_not_hide_a_deadlock);
    tcase_add_test(tcase, main_blocked_for_ever_aborts);
    tcase_add_test(tcase, others_run_while_main_is_blocked);
    tcase_add_test(tcase, inline_faults_end_with_their_error);
    tcase_add_test(tcase, the_clock_jumps_to_the_next_timeout);
    tcase_add_test(tcase, settle_leaves_the_clock_alone);
    tcase_add_test(tcase, parked_threads_wake_for_nothing_where_asked);
    tcase_add_test(tcase,
                   a_thread_that_ends_in_a_critical_section_is_a_violation);
    tcase_add_test(tcase, threads_spawn_threads);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("sim schedule");
    suite_add_tcase(suite, random_case());
    suite_add_tcase(suite, blocking_case());
    return run_suites("sim-schedule", &suite, 1);
}
