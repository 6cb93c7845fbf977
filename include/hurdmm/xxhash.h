/* SPDX-License-Identifier: MIT */
/* hurdmm/xxhash.h - a checksum for swap space that is as good as it is quick
 * (optional: libhurd-mm-xxhash).
 */
#ifndef HURDMM_XXHASH_H
#define HURDMM_XXHASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* XXH3, 64 bits, of the package xxhash: for hurdmm_swap_options.checksum.
 * Class: signal. */
uint64_t hurdmm_xxhash_checksum(const void *bytes, size_t length);

#ifdef __cplusplus
}
#endif

#endif
