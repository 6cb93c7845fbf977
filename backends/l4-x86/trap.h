/* SPDX-License-Identifier: MIT */
/* Included before every file that is compiled for L4: `ud2' would enter the
 * kernel's debugger, or stop without a word on a kernel that has none, so that
 * a failed assertion says where it was instead. */
#ifndef HMM_L4_TRAP_H
#define HMM_L4_TRAP_H

_Noreturn void hmm_l4_trap(const char *file, int line);

#define __builtin_trap() hmm_l4_trap(__FILE__, __LINE__)

#endif
