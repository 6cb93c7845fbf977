/* SPDX-License-Identifier: MIT */
/*
 * What every Check program of the tree shares: it runs its suites, and its last
 * line says how many tests passed, failed and were skipped. tools/check adds
 * those lines up.
 *
 * Check's environment works as always: CK_FORK=no for a debugger, CK_RUN_SUITE
 * and CK_RUN_CASE to pick tests, CK_VERBOSITY=verbose to list them.
 */
#ifndef HMM_TESTS_SUPPORT_RUNNER_H
#define HMM_TESTS_SUPPORT_RUNNER_H

#include <stddef.h>
#include <stdint.h>

#include <check.h>

/* Runs the suites, which become its own, and prints
 * "NAME: N passed, N failed, N skipped" as the last line. Returns what main()
 * returns: 0, 1 when a test failed or none ran, 77 when all were skipped. */
int run_suites(const char *name, Suite *const *suites, size_t count);

/* Says that the running test cannot do its work here, and why. Call it at most
 * once in a test, from its own thread, and return from the test afterwards. */
void test_skip(const char *reason);

/* Says how many faults the storm of the running test has made, at least;
 * tools/check adds them up. */
void test_faults(uint64_t count);

/* How many rounds of FULL a long test does here: HMM_TEST_PERCENT of it, or all
 * where that is not set, and at least one. */
size_t test_scaled(size_t full);

#endif
