/* SPDX-License-Identifier: MIT */
/*
 * The package's XXH3 as a checksum.
 */
#include <xxhash.h>

#include <hurdmm/xxhash.h>

uint64_t hurdmm_xxhash_checksum(const void *bytes, size_t length)
{
    return XXH3_64bits(bytes, length);
}
