/* SPDX-License-Identifier: MIT */
/* hurdmm/block.h - block devices: what swap, and stores on disks, stand on.
 *
 * Whoever drives a device fills in the table; whoever uses one calls it through
 * the structure.  Calls may come from several threads at once and may block.
 */
#ifndef HURDMM_BLOCK_H
#define HURDMM_BLOCK_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_block;

struct hurdmm_block_ops {
    size_t struct_size;
    /* Whole blocks; 0 only when all of it was done, else EIO, ENOSPC, ENXIO
     * (past the end), EROFS. */
    int (*read)(struct hurdmm_block *block, uint64_t offset, void *buffer,
                size_t length);
    int (*write)(struct hurdmm_block *block, uint64_t offset,
                 const void *buffer, size_t length);
    /* What was written before is durable after. */
    int (*flush)(struct hurdmm_block *block);
    /* The range's contents are not needed any more; may be NULL. */
    int (*discard)(struct hurdmm_block *block, uint64_t offset,
                   uint64_t length);
    void (*destroy)(struct hurdmm_block *block);
};

struct hurdmm_block {
    const struct hurdmm_block_ops *ops;
    uint64_t size;     /* bytes; a device that grows says its limit */
    size_t block_size; /* bytes, a power of two */
};

#ifdef __cplusplus
}
#endif

#endif
