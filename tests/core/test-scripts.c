/* SPDX-License-Identifier: MIT */
/*
 * The operation scripts (scripts.h) on every port that works here: each answers
 * what it should, and the same as the simulated machine.
 */
#include <stdlib.h>

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/host.h>
#include <hurdmm/sim.h>

#include "tests/core/scripts.h"
#include "tests/core/touch.h"
#include "tests/support/runner.h"

#define TRACE_SIZE 65536

/* ---- The application's accesses ------------------------------------------ */

static int host_load(void *hook, uintptr_t address, uint8_t *value)
{
    (void)hook;
    return touch_load(address, value);
}

static int host_store(void *hook, uintptr_t address, uint8_t value)
{
    (void)hook;
    return touch_store(address, value);
}

static int sim_load(void *hook, uintptr_t address, uint8_t *value)
{
    return hurdmm_sim_read(hook, NULL, address, value, 1);
}

static int sim_store(void *hook, uintptr_t address, uint8_t value)
{
    return hurdmm_sim_write(hook, NULL, address, &value, 1);
}

/* ---- Running -------------------------------------------------------------- */

static struct script_trace new_trace(void)
{
    struct script_trace trace = {.size = TRACE_SIZE};
    trace.text = malloc(TRACE_SIZE);
    ck_assert_ptr_nonnull(trace.text);
    return trace;
}

static struct script_trace run_on(struct hurdmm_port *port, unsigned number,
                                  int sim)
{
    struct script_machine machine = {
        .port = port,
        .load = sim ? sim_load : host_load,
        .store = sim ? sim_store : host_store,
        .hook = port,
        .disks = malloc(SCRIPT_MEMORY),
    };
    struct script_trace trace = new_trace();
    ck_assert_ptr_nonnull(machine.disks);
    unsigned wrong = script_run(number, &machine, &trace);
    free(machine.disks);
    ck_assert_msg(wrong == 0, "%u steps answer wrongly:\n%s", wrong,
                  trace.text);
    ck_assert_msg(trace.length < trace.size - 1, "the trace is too long");
    return trace;
}

static struct script_trace run_on_sim(unsigned number, uint64_t seed,
                                      unsigned hide)
{
    struct hurdmm_sim_options options = {
        .struct_size = sizeof options,
        .seed = seed,
        .hide = hide,
        /* Not CHECK_FRAMES, which knows nothing of pinned pages. */
        .flags = HURDMM_SIM_JUNK,
        .schedule = seed != 0 ? HURDMM_SIM_RANDOM : HURDMM_SIM_FAIR,
    };
    struct hurdmm_port *port;
    const char *what = "nothing";
    ck_assert_int_eq(hurdmm_sim_create(&options, &port), 0);
    struct script_trace trace = run_on(port, number, 1);
    ck_assert_msg(hurdmm_sim_violations(port, &what) == 0,
                  "the port was misused: %s", what);
    hurdmm_sim_destroy(port);
    return trace;
}

/* Where two texts differ first, in whole lines. */
static void same(const struct script_trace *a, const struct script_trace *b)
{
    size_t line = 0;
    for (size_t i = 0; a->text[i] != 0 || b->text[i] != 0; i++) {
        ck_assert_msg(a->text[i] == b->text[i],
                      "%.200s\n... differs from ...\n%.200s", a->text + line,
                      b->text + line);
        if (a->text[i] == '\n')
            line = i + 1;
    }
}

static void same_on_host(const char *name, unsigned number)
{
    struct hurdmm_port *port;
    touch_begin();
    int error = hurdmm_host_port_create(name, &port);
    if (error == ENOENT || error == ENOTSUP) {
        test_skip("the machine does not have this port");
        return;
    }
    ck_assert_int_eq(error, 0);
    struct script_trace expected = run_on_sim(number, 0, 0);
    struct script_trace found = run_on(port, number, 0);
    same(&expected, &found);
    ck_assert_int_eq(hurdmm_host_port_destroy(port), 0);
    free(expected.text);
    free(found.text);
}

START_TEST(sim_answers_alike_whatever_the_schedule)
{
    struct script_trace expected = run_on_sim((unsigned)_i, 0, 0);
    for (unsigned seed = 1; seed <= test_scaled(4); seed++) {
        struct script_trace found = run_on_sim((unsigned)_i, seed, 0);
        same(&expected, &found);
        free(found.text);
    }
    free(expected.text);
}
END_TEST

START_TEST(sim_answers_alike_whatever_the_machine_can)
{
    static const unsigned hidden[] = {
        HURDMM_PORT_ALIAS, HURDMM_PORT_DIRTY,
        HURDMM_PORT_REFERENCED | HURDMM_PORT_DIRTY,
        HURDMM_PORT_ALIAS | HURDMM_PORT_REFERENCED | HURDMM_PORT_DIRTY};
    struct script_trace expected = run_on_sim((unsigned)_i, 0, 0);
    for (unsigned i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        struct script_trace found = run_on_sim((unsigned)_i, i, hidden[i]);
        same(&expected, &found);
        free(found.text);
    }
    free(expected.text);
}
END_TEST

START_TEST(posix_answers_as_sim_does)
{
    same_on_host("posix", (unsigned)_i);
}
END_TEST

START_TEST(linux_answers_as_sim_does)
{
    same_on_host("linux", (unsigned)_i);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("scripts");
    TCase *c = tcase_create("scripts");
    int count = (int)script_count();
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, sim_answers_alike_whatever_the_schedule, 0, count);
    tcase_add_loop_test(c, sim_answers_alike_whatever_the_machine_can, 0,
                        count);
    tcase_add_loop_test(c, posix_answers_as_sim_does, 0, count);
    tcase_add_loop_test(c, linux_answers_as_sim_does, 0, count);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-scripts", suites, 1);
}
