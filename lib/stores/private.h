/* SPDX-License-Identifier: MIT */
/*
 * What the predefined stores share: assertions and the memory functions.
 *
 * The stores are written as their users would write them, against the public
 * headers alone, so that they prove those headers; nothing of lib/base is used
 * here.
 */
#ifndef HMM_STORES_PRIVATE_H
#define HMM_STORES_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memset(void *to, int byte, size_t length);

#ifdef NDEBUG
#define store_assert(cond) ((void)(0 && (cond)))
#else
#define store_assert(cond) ((cond) ? (void)0 : __builtin_trap())
#endif

/* Conditions that look at whole structures, for --enable-slow-checks. */
#ifdef HMM_SLOW_CHECKS
#define store_assert_slow(cond) store_assert(cond)
#else
#define store_assert_slow(cond) ((void)(0 && (cond)))
#endif

/* Whether somebody holds a mutex of hurdmm_mutex_lock: what a function that is
 * to be called with it asserts.  That it is the caller, nobody can tell. */
static inline bool store_held(const uint32_t *mutex)
{
    return __atomic_load_n(mutex, __ATOMIC_RELAXED) != 0;
}

#endif /* HMM_STORES_PRIVATE_H */
