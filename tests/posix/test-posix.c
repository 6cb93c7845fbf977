/* SPDX-License-Identifier: MIT */
/* The posix port by itself.  It is compiled twice: as test-posix, and with the
 * port compiled without its extensions as test-posix-portable. */
#include "tests/posix/rig.h"

int main(void)
{
#ifdef HMM_POSIX_PORTABLE
    const char *name = "posix-portable";
#else
    const char *name = "posix";
#endif
    Suite *suite = suite_create(name);
    faults_cases(suite);
    handlers_cases(suite);
    memory_cases(suite);
    fork_cases(suite);
    driven_cases(suite);
    return run_suites(name, &suite, 1);
}
