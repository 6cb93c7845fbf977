/* SPDX-License-Identifier: MIT */
/*
 * A file, or the node of a block device, as a block device.
 *
 * A block that was never written, past the end of a file that may still grow,
 * cannot be read: EIO, so that a file which somebody cuts never reads as zeros.
 * There are no locks: everything but the descriptor's file is constant.
 */
#include <errno.h>
#include <stdlib.h>

#include <hurdmm/file.h>

#include "backends/posix/file_io.h"

struct file_block {
    struct hurdmm_block block;
    struct hmm_file file;
};

static struct file_block *of(struct hurdmm_block *block)
{
    return (struct file_block *)(void *)block;
}

/* Whole blocks within the device, or the error. */
static int check(const struct hurdmm_block *block, uint64_t offset,
                 size_t length)
{
    if (offset % block->block_size != 0 || length % block->block_size != 0)
        return EINVAL;
    if (offset > block->size || length > block->size - offset)
        return ENXIO;
    return 0;
}

static int file_block_read(struct hurdmm_block *block, uint64_t offset,
                           void *buffer, size_t length)
{
    size_t done = 0;
    int error = check(block, offset, length);

    if (error == 0)
        error = hmm_file_read(&of(block)->file, offset, buffer, length, &done);
    return error == 0 && done < length ? EIO : error;
}

static int file_block_write(struct hurdmm_block *block, uint64_t offset,
                            const void *buffer, size_t length)
{
    size_t done;
    int error = check(block, offset, length);

    if (error == 0 && !of(block)->file.writable)
        error = EROFS;
    if (error == 0)
        error = hmm_file_write(&of(block)->file, offset, buffer, length, &done);
    return error;
}

static int file_block_flush(struct hurdmm_block *block)
{
    return of(block)->file.writable ? hmm_file_sync(&of(block)->file) : 0;
}

static int file_block_discard(struct hurdmm_block *block, uint64_t offset,
                              uint64_t length)
{
    int error =
        length > SIZE_MAX ? EINVAL : check(block, offset, (size_t)length);

    if (error == 0 && !of(block)->file.writable)
        error = EROFS;
    if (error == 0 && length > 0)
        error = hmm_file_discard(&of(block)->file, offset, length);
    return error;
}

static unsigned file_block_capabilities(const struct hurdmm_block *block)
{
    const struct file_block *file =
        (const struct file_block *)(const void *)block;

    return HURDMM_BLOCK_CACHED | (file->file.writable ? HURDMM_BLOCK_DISCARDS
                                                      : HURDMM_BLOCK_READ_ONLY);
}

void hurdmm_file_block_destroy(struct hurdmm_block *block)
{
    if (!block)
        return;
    hmm_file_close(&of(block)->file);
    free(of(block));
}

static const struct hurdmm_block_ops file_block_ops = {
    .struct_size = sizeof file_block_ops,
    .read = file_block_read,
    .write = file_block_write,
    .flush = file_block_flush,
    .discard = file_block_discard,
    .destroy = hurdmm_file_block_destroy,
    .capabilities = file_block_capabilities,
};

int hurdmm_file_block_create(int fd, uint64_t size, size_t block_size,
                             struct hurdmm_block **block)
{
    struct file_block *new;
    int error;

    if (!block || block_size == 0 || (block_size & (block_size - 1)) != 0 ||
        size > INT64_MAX)
        return EINVAL;
    new = calloc(1, sizeof *new);
    if (!new)
        return ENOMEM;
    error = hmm_file_open(fd, &new->file);
    if (error != 0) {
        free(new);
        return error == EACCES ? EINVAL : error;
    }
    new->block.ops = &file_block_ops;
    new->block.block_size = block_size;
    new->block.size = size != 0 && new->file.regular ? size : new->file.length;
    new->block.size -= new->block.size % block_size;
    *block = &new->block;
    return 0;
}
