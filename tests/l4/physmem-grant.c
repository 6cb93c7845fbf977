/* SPDX-License-Identifier: MIT */
/* The host's test of this name, on physical addresses (tests/l4/machine.c), but
 * for holds: those last for a time, which a real clock may have passed. */
int run_all(void);
#define main run_all
#define tcase_add_timed_test(tcase, name) ((void)name)
#define tcase_add_timed_tests(tcase, name, first, end) ((void)name)
#include "tests/physmem/test-grant.c"

void hurdmm_l4_main(void);
void hurdmm_l4_main(void)
{
    (void)run_all();
}
