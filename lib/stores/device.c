/* SPDX-License-Identifier: MIT */
/*
 * A store as a block device.  The store is claimed, and has a lock of its own if
 * it needs one; there is none here.
 */
#include <hurdmm/claim.h>
#include <hurdmm/compose.h>
#include <hurdmm/error.h>

#include "lib/stores/private.h"

static struct hurdmm_store_device *of(struct hurdmm_block *block)
{
    return (struct hurdmm_store_device *)(void *)block;
}

/* Whole blocks within the device. */
static int check(const struct hurdmm_block *block, uint64_t offset,
                 uint64_t length)
{
    uint64_t mask = block->block_size - 1;

    store_assert((block->block_size & mask) == 0 && block->ops);
    if ((offset & mask) != 0 || (length & mask) != 0)
        return EINVAL;
    return offset > block->size || length > block->size - offset ? ENXIO : 0;
}

static int device_read(struct hurdmm_block *block, uint64_t offset,
                       void *buffer, size_t length)
{
    size_t done;
    int error = check(block, offset, length);

    return error ? error
                 : hurdmm_claimed_page_in(of(block)->store, offset, buffer,
                                          length, &done);
}

/* A store that wants to be asked before a block's first write is asked before
 * each: what it has made room for costs it little. */
static int device_write(struct hurdmm_block *block, uint64_t offset,
                        const void *buffer, size_t length)
{
    struct hurdmm_store *store = of(block)->store;
    size_t done;
    int error = check(block, offset, length);

    if (error == 0 && (of(block)->flags & HURDMM_BLOCK_READ_ONLY))
        error = EROFS;
    for (size_t at = 0; error == 0 && at < length; at += block->block_size)
        error = hurdmm_claimed_unlock(store, offset + at, block->block_size);
    if (error == 0)
        error = hurdmm_claimed_page_out(store, offset, buffer, length, &done);
    return error;
}

/* What was answered is durable then: the claim leaves nobody else to write. */
static int device_flush(struct hurdmm_block *block)
{
    struct hurdmm_store *store = of(block)->store;

    return hurdmm_claimed_sync(store, 0, hurdmm_store_size(store));
}

static int device_discard(struct hurdmm_block *block, uint64_t offset,
                          uint64_t length)
{
    int error = check(block, offset, length);

    if (error == 0)
        hurdmm_claimed_discarded(of(block)->store, offset, length);
    return error;
}

/* The memory is the caller's, who ends it with hurdmm_store_device_end. */
static void device_destroy(struct hurdmm_block *block)
{
    (void)block;
}

static unsigned device_capabilities(const struct hurdmm_block *block)
{
    const struct hurdmm_store_device *device =
        (const struct hurdmm_store_device *)(const void *)block;

    return device->flags | HURDMM_BLOCK_CACHED | HURDMM_BLOCK_DISCARDS;
}

static const struct hurdmm_block_ops device_ops = {
    .struct_size = sizeof device_ops,
    .read = device_read,
    .write = device_write,
    .flush = device_flush,
    .discard = device_discard,
    .destroy = device_destroy,
    .capabilities = device_capabilities,
};

int hurdmm_store_device_init(struct hurdmm_store_device *device,
                             struct hurdmm_store *store, unsigned flags)
{
    unsigned access = HURDMM_READ;
    int error;

    if (!device || !store || (flags & ~HURDMM_BLOCK_READ_ONLY) != 0)
        return EINVAL;
    if (!(flags & HURDMM_BLOCK_READ_ONLY))
        access |= HURDMM_WRITE;
    error = hurdmm_store_claim(store, access);
    if (error != 0)
        return error;
    device->block.ops = &device_ops;
    device->block.block_size = hurdmm_store_block_size(store);
    device->block.size = hurdmm_store_size(store);
    device->block.size -= device->block.size % device->block.block_size;
    /* What a store that ends within a block has left is no part of it. */
    store_assert(device->block.size % device->block.block_size == 0);
    device->store = store;
    device->flags = flags;
    return 0;
}

int hurdmm_store_device_end(struct hurdmm_store_device *device)
{
    return device ? hurdmm_store_unclaim(device->store) : EINVAL;
}
