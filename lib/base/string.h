/* SPDX-License-Identifier: MIT */
/*
 * The four memory functions that the library expects from its surroundings;
 * compilers expect them too, even of freestanding ones.  They are declared here
 * because a freestanding compiler has no <string.h>.
 */
#ifndef HMM_BASE_STRING_H
#define HMM_BASE_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);
int memcmp(const void *a, const void *b, size_t length);

#endif /* HMM_BASE_STRING_H */
