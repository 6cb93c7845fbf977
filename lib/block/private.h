/* SPDX-License-Identifier: MIT */
/*
 * What the files of lib/block share: assertions, the memory functions, numbers
 * as they lie on disks.
 *
 * Like the stores, they are written against the public headers alone.
 */
#ifndef HMM_BLOCK_PRIVATE_H
#define HMM_BLOCK_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hurdmm/block.h>
#include <hurdmm/error.h>

void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);
int memcmp(const void *a, const void *b, size_t length);

#ifdef NDEBUG
#define block_assert(cond) ((void)(0 && (cond)))
#else
#define block_assert(cond) ((cond) ? (void)0 : __builtin_trap())
#endif

/* Whether a device's table has a member, which may have been added later. */
#define BLOCK_HAS(block, member)                                               \
    ((block)->ops->struct_size >= offsetof(struct hurdmm_block_ops, member) +  \
                                      sizeof((block)->ops->member) &&          \
     (block)->ops->member)

static inline bool block_is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* A device that can be used: EINVAL. */
static inline int block_usable(const struct hurdmm_block *block)
{
    return block && block->ops && block->ops->read &&
                   block_is_pow2(block->block_size)
               ? 0
               : EINVAL;
}

/* Whole blocks (EINVAL) within a usable device (ENXIO). */
static inline int block_check(const struct hurdmm_block *block, uint64_t offset,
                              uint64_t length)
{
    uint64_t mask = block->block_size - 1;

    if ((offset & mask) != 0 || (length & mask) != 0)
        return EINVAL;
    if (offset > block->size || length > block->size - offset)
        return ENXIO;
    return 0;
}

static inline uint32_t block_le16(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8;
}

static inline uint32_t block_le32(const unsigned char *at)
{
    return block_le16(at) | block_le16(at + 2) << 16;
}

static inline uint64_t block_le64(const unsigned char *at)
{
    return block_le32(at) | (uint64_t)block_le32(at + 4) << 32;
}

#endif /* HMM_BLOCK_PRIVATE_H */
