/* SPDX-License-Identifier: MIT */
/*
 * Memory as a block device.  Everything but the bytes is constant, and whoever
 * writes a block while another reads it gets what disks give: either.  There
 * are no locks.
 */
#include "lib/block/private.h"

static struct hurdmm_ramdisk *of(struct hurdmm_block *block)
{
    return (struct hurdmm_ramdisk *)(void *)block;
}

static int ramdisk_read(struct hurdmm_block *block, uint64_t offset,
                        void *buffer, size_t length)
{
    int error = block_check(block, offset, length);

    if (error == 0)
        memcpy(buffer, of(block)->memory + offset, length);
    return error;
}

static int ramdisk_write(struct hurdmm_block *block, uint64_t offset,
                         const void *buffer, size_t length)
{
    int error = block_check(block, offset, length);

    if (error == 0 && (of(block)->flags & HURDMM_BLOCK_READ_ONLY))
        error = EROFS;
    if (error == 0)
        memcpy(of(block)->memory + offset, buffer, length);
    return error;
}

static int ramdisk_flush(struct hurdmm_block *block)
{
    (void)block;
    return 0;
}

static void ramdisk_destroy(struct hurdmm_block *block)
{
    (void)block;
}

static unsigned ramdisk_capabilities(const struct hurdmm_block *block)
{
    return ((const struct hurdmm_ramdisk *)(const void *)block)->flags;
}

static const struct hurdmm_block_ops ramdisk_ops = {
    .struct_size = sizeof ramdisk_ops,
    .read = ramdisk_read,
    .write = ramdisk_write,
    .flush = ramdisk_flush,
    .destroy = ramdisk_destroy,
    .capabilities = ramdisk_capabilities,
};

int hurdmm_ramdisk_init(struct hurdmm_ramdisk *ramdisk, void *memory,
                        size_t size, size_t block_size, unsigned flags)
{
    if (!ramdisk || (!memory && size != 0) || !block_is_pow2(block_size) ||
        size % block_size != 0 || (flags & ~HURDMM_BLOCK_READ_ONLY) != 0)
        return EINVAL;
    ramdisk->block.ops = &ramdisk_ops;
    ramdisk->block.size = size;
    ramdisk->block.block_size = block_size;
    ramdisk->memory = memory;
    ramdisk->flags = flags;
    return 0;
}
