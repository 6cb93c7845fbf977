/* SPDX-License-Identifier: MIT */
/* What the images' tests share: each ends with one line of counts and then the
 * line "L4 IMAGE ENDS", at which tests/l4/check.sh stops the machine. */
#ifndef TESTS_L4_SUPPORT_H
#define TESTS_L4_SUPPORT_H

#include <stdbool.h>

#include "backends/l4-x86/system.h"

void l4_tests_begin(const char *name);
/* Counts a check; the first that does not hold ends the run. */
void l4_test(bool holds, const char *what, const char *file, int line);
#define l4_test_check(condition, what)                                         \
    l4_test(condition, what, __FILE__, __LINE__)
/* For functions that return errors. */
#define l4_test_zero(error, what)                                              \
    l4_test_equal(error, 0, what, __FILE__, __LINE__)
void l4_test_equal(long long value, long long expected, const char *what,
                   const char *file, int line);
void l4_tests_end(void);

#endif
