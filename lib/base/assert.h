/* SPDX-License-Identifier: MIT */
/*
 * Assertions: what the library promises itself.  What callers can get wrong is
 * an error value instead.
 *
 * There are two tiers.  `hmm_assert' is for conditions that cost a few
 * instructions; NDEBUG takes it away.  `hmm_assert_slow' is for conditions that
 * look at whole structures; only HMM_SLOW_CHECKS brings it in.  A condition that
 * is not evaluated is still compiled, so that it cannot rot and so that what
 * only an assertion uses is not reported as unused.
 *
 * A failed assertion traps.  Nothing is printed and abort() is not called: the
 * library runs in other people's programs and where there is no libc.
 */
#ifndef HMM_BASE_ASSERT_H
#define HMM_BASE_ASSERT_H

#define HMM_ASSERT_ON(cond) ((cond) ? (void)0 : __builtin_trap())
#define HMM_ASSERT_OFF(cond) ((void)(0 && (cond)))

#ifdef NDEBUG
#define hmm_assert(cond) HMM_ASSERT_OFF(cond)
#else
#define hmm_assert(cond) HMM_ASSERT_ON(cond)
#endif

#ifdef HMM_SLOW_CHECKS
#define hmm_assert_slow(cond) HMM_ASSERT_ON(cond)
#else
#define hmm_assert_slow(cond) HMM_ASSERT_OFF(cond)
#endif

/* Marks a place that no input may reach.  It traps in every build: a few bytes
   of code are cheaper than undefined behaviour in a pager. */
#define HMM_UNREACHABLE() __builtin_trap()

#endif /* HMM_BASE_ASSERT_H */
