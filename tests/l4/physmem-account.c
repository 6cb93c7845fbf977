/* SPDX-License-Identifier: MIT */
/* The host's test of this name, on physical addresses (tests/l4/machine.c).
 * Failures that it draws by lot are left out. */
#include <hurdmm/sim.h>

int run_all(void);
#define main run_all
#define hurdmm_sim_fail(...) ((void)0)
#include "tests/physmem/test-account.c"

void hurdmm_l4_main(void);
void hurdmm_l4_main(void)
{
    (void)run_all();
}
