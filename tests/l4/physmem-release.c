/* SPDX-License-Identifier: MIT */
/* The host's test of this name, on physical addresses (tests/l4/machine.c). */
int run_all(void);
#define main run_all
#include "tests/physmem/test-release.c"

void hurdmm_l4_main(void);
void hurdmm_l4_main(void)
{
    (void)run_all();
}
