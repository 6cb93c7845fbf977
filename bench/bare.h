/* SPDX-License-Identifier: MIT */
/* bare.h - the bare hand-over that faults of the posix port are compared with.
 *
 * The same thing with nothing around it: pages of a memory object, a handler of
 * SIGSEGV that hands the address to one pager thread, which copies the page
 * (fill) and maps it, or only maps it (soft), or raises its rights (upgrade),
 * and lets the faulting thread go on.  There is one faulting thread, one region
 * and no table, lock, mask or check.  Both sides sleep at once, or look for each
 * other for as long as the port's do before they sleep: which of the two is
 * better depends on what else the machine does.
 */
#ifndef HMM_BENCH_BARE_H
#define HMM_BENCH_BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bare_work { BARE_FILL, BARE_SOFT, BARE_UPGRADE };

/* Starts it, with a region of `pages`; fills copy from `source`.  Ends the
 * program if it cannot. */
void bare_start(uint32_t pages, const char *source);
void bare_stop(void);

/* Faults get this work from now on: the region is made absent, or, for upgrades,
 * mapped to be read; the handler is ours until bare_end.  `spin`: look before
 * sleeping. */
volatile char *bare_begin(enum bare_work work, bool spin);
void bare_end(void);

#endif
