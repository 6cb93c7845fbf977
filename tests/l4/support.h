/* SPDX-License-Identifier: MIT */
/* What the images' tests share: each ends with one line of counts and then the
 * line "L4 IMAGE ENDS", at which tests/l4/check.sh stops the machine. */
#ifndef TESTS_L4_SUPPORT_H
#define TESTS_L4_SUPPORT_H

void l4_tests_begin(const char *name);
/* Counts a check that has held. */
void l4_tests_pass(const char *what);
void l4_tests_end(void);

#endif
