/* SPDX-License-Identifier: MIT */
/* A block device that fails as told.  See device.h. */
#include <stddef.h>

#include "tests/block/device.h"

uint64_t device_random(struct device *device, uint64_t below)
{
    device->seed ^= device->seed << 13;
    device->seed ^= device->seed >> 7;
    device->seed ^= device->seed << 17;
    return device->seed % below;
}

uint8_t device_byte(uint64_t offset)
{
    return (uint8_t)(offset * 23 + (offset >> 7) * 5 + 1);
}

static struct device *of(struct hurdmm_block *block)
{
    return (struct device *)(void *)block;
}

/* The error of a call, by the script and the range. */
static int judge(struct device *device, unsigned kind, uint64_t offset,
                 size_t length)
{
    uint64_t size = device->block.block_size;

    if (offset % size != 0 || length % size != 0 ||
        offset > device->block.size || length > device->block.size - offset ||
        (length == 0 && kind != DEVICE_FLUSH))
        device->complaint = "a range that is not the device's";
    if (length > device->longest)
        device->longest = length;
    if ((device->fail_kinds & kind) && device->fail_nth != 0 &&
        --device->fail_nth == 0) {
        if (device->fail_for_ever)
            device->fail_nth = 1;
        device->failures++;
        return device->fail_error;
    }
    for (unsigned i = 0; i < device->bad_count; i++)
        if (device->bad[i] * size >= offset &&
            device->bad[i] * size < offset + length)
            return EIO;
    return 0;
}

static int device_read(struct hurdmm_block *block, uint64_t offset,
                       void *buffer, size_t length)
{
    struct device *device = of(block);
    int error = judge(device, DEVICE_READ, offset, length);

    device->reads++;
    if (device->complaint)
        return EINVAL;
    if (error == 0)
        memcpy(buffer, device->now + offset, length);
    else
        memset(buffer, 0xbd, length);
    return error;
}

static int device_write(struct hurdmm_block *block, uint64_t offset,
                        const void *buffer, size_t length)
{
    struct device *device = of(block);
    size_t size = block->block_size;
    int error = judge(device, DEVICE_WRITE, offset, length);

    device->writes++;
    if (device->complaint)
        return EINVAL;
    for (size_t at = 0; at < length; at += size) {
        if (error != 0 && device_random(device, 2))
            continue;
        memcpy(device->now + offset + at, (const char *)buffer + at, size);
        device->unflushed[(offset + at) / size] = true;
    }
    return error;
}

static int device_flush(struct hurdmm_block *block)
{
    struct device *device = of(block);
    size_t size = block->block_size;
    int error = judge(device, DEVICE_FLUSH, 0, 0);

    device->flushes++;
    for (uint64_t i = 0; error == 0 && i < block->size / size; i++) {
        if (device->unflushed[i])
            memcpy(device->medium + i * size, device->now + i * size, size);
        device->unflushed[i] = false;
    }
    return error;
}

static void device_destroy(struct hurdmm_block *block)
{
    (void)block;
}

static unsigned device_capabilities(const struct hurdmm_block *block)
{
    return ((const struct device *)(const void *)block)->capabilities;
}

static const struct hurdmm_block_ops ops = {
    .struct_size = sizeof ops,
    .read = device_read,
    .write = device_write,
    .flush = device_flush,
    .destroy = device_destroy,
    .capabilities = device_capabilities,
};

static int device_submit(struct hurdmm_block *block,
                         struct hurdmm_block_request *request)
{
    struct device *device = of(block);

    if (device->refuse > 0) {
        device->refuse--;
        return ENOMEM;
    }
    request->next = NULL;
    if (device->last)
        device->last->next = request;
    else
        device->first = request;
    device->last = request;
    device->submitted++;
    device->work++;
    if (device->woken)
        device->woken(device);
    return 0;
}

static void device_begin(struct hurdmm_block *block)
{
    of(block)->begins++;
}

bool device_serve(struct device *device)
{
    struct hurdmm_block_request *request = device->first;

    if (!request)
        return false;
    device->first = request->next;
    if (!device->first)
        device->last = NULL;
    if (request->kind != HURDMM_BLOCK_READ)
        device->complaint = "a request that this device does not do";
    request->done(request, hurdmm_block_read_pieces(
                               &device->block, request->offset, request->pieces,
                               request->piece_count));
    return true;
}

static const struct hurdmm_block_ops served_ops = {
    .struct_size = sizeof served_ops,
    .read = device_read,
    .write = device_write,
    .flush = device_flush,
    .destroy = device_destroy,
    .capabilities = device_capabilities,
    .submit = device_submit,
    .begin = device_begin,
};

/* The table as it was first: what lies behind must not be looked at. */
static const struct hurdmm_block_ops old_ops = {
    .struct_size = offsetof(struct hurdmm_block_ops, read_pieces),
    .read = device_read,
    .write = device_write,
    .flush = device_flush,
    .destroy = device_destroy,
    .read_pieces = (int (*)(struct hurdmm_block *, uint64_t,
                            const struct hurdmm_block_piece *, unsigned))1,
    .capabilities = (unsigned (*)(const struct hurdmm_block *))1,
    .begin = (void (*)(struct hurdmm_block *))1,
};

void device_init(struct device *device, uint64_t blocks, size_t block_size)
{
    size_t bytes = (size_t)blocks * block_size;

    memset(device, 0, sizeof *device);
    device->block.ops = &ops;
    device->block.size = bytes;
    device->block.block_size = block_size;
    device->capabilities = HURDMM_BLOCK_CACHED;
    device->seed = 88172645463325253u;
    device->now = malloc(bytes);
    device->medium = malloc(bytes);
    device->unflushed = calloc((size_t)blocks, sizeof *device->unflushed);
    if (!device->now || !device->medium || !device->unflushed)
        abort();
    for (size_t i = 0; i < bytes; i++)
        device->now[i] = device->medium[i] = device_byte(i);
}

void device_init_old(struct device *device, uint64_t blocks, size_t block_size)
{
    device_init(device, blocks, block_size);
    device->block.ops = &old_ops;
}

void device_init_served(struct device *device, uint64_t blocks,
                        size_t block_size)
{
    device_init(device, blocks, block_size);
    device->block.ops = &served_ops;
    device->capabilities |= HURDMM_BLOCK_ASYNC | HURDMM_BLOCK_SERVED;
}

void device_end(struct device *device)
{
    free(device->now);
    free(device->medium);
    free(device->unflushed);
}

void device_fail(struct device *device, unsigned kinds, unsigned nth, int error,
                 bool for_ever)
{
    device->fail_kinds = kinds;
    device->fail_nth = nth;
    device->fail_error = error;
    device->fail_for_ever = for_ever;
}

void device_power_cut(struct device *device)
{
    size_t size = device->block.block_size;

    for (uint64_t i = 0; i < device->block.size / size; i++) {
        uint8_t *now = device->now + i * size;
        uint8_t *medium = device->medium + i * size;

        if (device->unflushed[i] && device_random(device, 2))
            memcpy(medium, now, size);
        memcpy(now, medium, size);
        device->unflushed[i] = false;
    }
}
