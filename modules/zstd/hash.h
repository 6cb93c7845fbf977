/* SPDX-License-Identifier: MIT */
/* hash.h - XXH64 with seed 0, of which seek tables hold the low half. */
#ifndef HMM_ZSTD_HASH_H
#define HMM_ZSTD_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hmm_zst_hash(const void *bytes, size_t length);

#endif /* HMM_ZSTD_HASH_H */
