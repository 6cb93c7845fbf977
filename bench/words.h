/* SPDX-License-Identifier: MIT */
/* words.h - text that compresses as text does: words of a vocabulary, frequent
 * ones more often. */
#ifndef HMM_BENCH_WORDS_H
#define HMM_BENCH_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* The same for the same seed. */
void words_fill(char *to, size_t length, uint64_t seed);

#endif
