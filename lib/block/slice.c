/* SPDX-License-Identifier: MIT */
/*
 * A range of a device as a device.  Everything is passed on at another offset,
 * after a look that nothing leaves the range.  Constant; there are no locks.
 */
#include "lib/block/private.h"

static struct hurdmm_slice *of(struct hurdmm_block *block)
{
    return (struct hurdmm_slice *)(void *)block;
}

static int slice_read(struct hurdmm_block *block, uint64_t offset, void *buffer,
                      size_t length)
{
    int error = block_check(block, offset, length);

    return error ? error
                 : hurdmm_block_read(of(block)->whole,
                                     of(block)->start + offset, buffer, length);
}

static int slice_write(struct hurdmm_block *block, uint64_t offset,
                       const void *buffer, size_t length)
{
    int error = block_check(block, offset, length);

    return error
               ? error
               : hurdmm_block_write(of(block)->whole, of(block)->start + offset,
                                    buffer, length);
}

static int slice_flush(struct hurdmm_block *block)
{
    return hurdmm_block_flush(of(block)->whole);
}

static int slice_discard(struct hurdmm_block *block, uint64_t offset,
                         uint64_t length)
{
    int error = block_check(block, offset, length);

    return error ? error
                 : hurdmm_block_discard(of(block)->whole,
                                        of(block)->start + offset, length);
}

static void slice_destroy(struct hurdmm_block *block)
{
    (void)block;
}

/* The callers of these have checked the range: hurdmm_block_read_pieces. */
static int slice_read_pieces(struct hurdmm_block *block, uint64_t offset,
                             const struct hurdmm_block_piece *pieces,
                             unsigned count)
{
    block_assert(block_check(block, offset, 0) == 0);
    return hurdmm_block_read_pieces(of(block)->whole, of(block)->start + offset,
                                    pieces, count);
}

static int slice_write_pieces(struct hurdmm_block *block, uint64_t offset,
                              const struct hurdmm_block_piece *pieces,
                              unsigned count)
{
    block_assert(block_check(block, offset, 0) == 0);
    return hurdmm_block_write_pieces(of(block)->whole,
                                     of(block)->start + offset, pieces, count);
}

static unsigned slice_capabilities(const struct hurdmm_block *block)
{
    return hurdmm_block_capabilities(
        ((const struct hurdmm_slice *)(const void *)block)->whole);
}

static int slice_submit(struct hurdmm_block *block,
                        struct hurdmm_block_request *request)
{
    uint64_t offset = request->offset;
    int error;

    block_assert(request->kind >= HURDMM_BLOCK_FLUSH ||
                 block_check(block, offset, 0) == 0);
    request->offset += of(block)->start;
    error = hurdmm_block_submit(of(block)->whole, request);
    if (error != 0)
        request->offset = offset; /* else it may be gone already */
    return error;
}

static int slice_serve(struct hurdmm_block *block, uint64_t timeout_ns)
{
    return hurdmm_block_serve(of(block)->whole, timeout_ns);
}

static void slice_begin(struct hurdmm_block *block)
{
    hurdmm_block_begin(of(block)->whole);
}

static const struct hurdmm_block_ops slice_ops = {
    .struct_size = sizeof slice_ops,
    .read = slice_read,
    .write = slice_write,
    .flush = slice_flush,
    .discard = slice_discard,
    .destroy = slice_destroy,
    .read_pieces = slice_read_pieces,
    .write_pieces = slice_write_pieces,
    .capabilities = slice_capabilities,
    .submit = slice_submit,
    .serve = slice_serve,
    .begin = slice_begin,
};

int hurdmm_slice_init(struct hurdmm_slice *slice, struct hurdmm_block *whole,
                      uint64_t start, uint64_t size)
{
    int error = block_usable(whole);

    if (error != 0 || !slice || size == 0)
        return EINVAL;
    error = block_check(whole, start, size);
    if (error != 0)
        return error;
    slice->block.ops = &slice_ops;
    slice->block.size = size;
    slice->block.block_size = whole->block_size;
    slice->whole = whole;
    slice->start = start;
    return 0;
}
