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

#endif /* HMM_STORES_PRIVATE_H */
