/* SPDX-License-Identifier: MIT */
/* The host's test of this name, on physical addresses (tests/l4/machine.c), but
 * for what only a machine shows that lets everybody run at every step. */
int run_all(void);
#define main run_all
#define tcase_add_scheduled_test(tcase, name, first, end) ((void)name)
#include "tests/physmem/test-copy.c"

void hurdmm_l4_main(void);
void hurdmm_l4_main(void)
{
    (void)run_all();
}
