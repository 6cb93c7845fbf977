/* SPDX-License-Identifier: MIT */
/* The linux port under a manager. */
#include "tests/linux/rig.h"

int main(void)
{
    Suite *suite = suite_create("linux");
    paging_cases(suite);
    shared_cases(suite);
    strangers_cases(suite);
    dirty_cases(suite);
    return run_suites("linux", &suite, 1);
}
