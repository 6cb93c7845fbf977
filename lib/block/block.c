/* SPDX-License-Identifier: MIT */
/*
 * Using block devices: what is asked is checked here, and what a device does
 * not have is made of what it has.
 *
 * Pieces without the device's help: a part of a piece that is whole blocks goes
 * to the device as it is; a block that lies in several pieces goes through a
 * copy on the stack, block by block.  There are no locks and no state.
 */
#include "lib/block/private.h"

#define COPY_MAX 4096u /* the largest block that may lie in several pieces */

/* Where one is in a row of pieces. */
struct cursor {
    const struct hurdmm_block_piece *pieces;
    size_t within;
};

unsigned hurdmm_block_capabilities(const struct hurdmm_block *block)
{
    unsigned capabilities = HURDMM_BLOCK_CACHED;

    if (block_usable(block) != 0)
        return 0;
    if (BLOCK_HAS(block, capabilities))
        capabilities = block->ops->capabilities(block);
    if (!BLOCK_HAS(block, write))
        capabilities |= HURDMM_BLOCK_READ_ONLY;
    return capabilities;
}

/* Everything that can be wrong with a transfer to memory in one piece. */
static int check(const struct hurdmm_block *block, uint64_t offset,
                 const void *memory, uint64_t length, bool write)
{
    int error = block_usable(block);

    if (error == 0 && !memory && length != 0)
        error = EINVAL;
    if (error == 0)
        error = block_check(block, offset, length);
    if (error == 0 && write && !block->ops->write)
        error = EROFS;
    return error;
}

int hurdmm_block_read(struct hurdmm_block *block, uint64_t offset, void *buffer,
                      size_t length)
{
    int error = check(block, offset, buffer, length, false);

    if (error != 0 || length == 0)
        return error;
    return block->ops->read(block, offset, buffer, length);
}

int hurdmm_block_write(struct hurdmm_block *block, uint64_t offset,
                       const void *buffer, size_t length)
{
    int error = check(block, offset, buffer, length, true);

    if (error != 0 || length == 0)
        return error;
    return block->ops->write(block, offset, buffer, length);
}

static int transfer(struct hurdmm_block *block, uint64_t offset, void *memory,
                    size_t length, bool write)
{
    block_assert(length > 0 && length % block->block_size == 0);
    return write ? block->ops->write(block, offset, memory, length)
                 : block->ops->read(block, offset, memory, length);
}

/* Copies a block to or from the pieces and moves on. */
static void copy_block(struct cursor *cursor, unsigned char *copy,
                       size_t length, bool write)
{
    while (length > 0) {
        const struct hurdmm_block_piece *piece = cursor->pieces;
        size_t n = piece->length - cursor->within;
        unsigned char *at;

        if (n == 0) {
            cursor->pieces++;
            cursor->within = 0;
            continue;
        }
        n = n < length ? n : length;
        at = (unsigned char *)piece->memory + cursor->within;
        if (write)
            memcpy(copy, at, n);
        else
            memcpy(at, copy, n);
        cursor->within += n;
        copy += n;
        length -= n;
    }
}

/* A block that lies in several pieces. */
static int transfer_copy(struct hurdmm_block *block, uint64_t offset,
                         struct cursor *cursor, bool write)
{
    unsigned char copy[COPY_MAX];
    size_t length = block->block_size;
    int error;

    if (length > sizeof copy)
        return ENOTSUP;
    if (write) {
        copy_block(cursor, copy, length, true);
        return transfer(block, offset, copy, length, true);
    }
    error = transfer(block, offset, copy, length, false);
    if (error == 0)
        copy_block(cursor, copy, length, false);
    return error;
}

/* Does the pieces one after the other. */
static int transfer_pieces(struct hurdmm_block *block, uint64_t offset,
                           const struct hurdmm_block_piece *pieces,
                           uint64_t length, bool write)
{
    struct cursor cursor = {pieces, 0};
    int error = 0;

    while (error == 0 && length > 0) {
        const struct hurdmm_block_piece *piece = cursor.pieces;
        size_t whole =
            (piece->length - cursor.within) & ~(block->block_size - 1);

        if (whole > 0) {
            error = transfer(block, offset,
                             (unsigned char *)piece->memory + cursor.within,
                             whole, write);
            cursor.within += whole;
        } else if (piece->length == cursor.within) {
            cursor.pieces++;
            cursor.within = 0;
        } else {
            whole = block->block_size;
            error = transfer_copy(block, offset, &cursor, write);
        }
        offset += whole;
        length -= whole;
    }
    return error;
}

/* Checks pieces and adds up their lengths. */
static int check_pieces(const struct hurdmm_block *block, uint64_t offset,
                        const struct hurdmm_block_piece *pieces, unsigned count,
                        bool write, uint64_t *length)
{
    *length = 0;
    if (!pieces && count != 0)
        return EINVAL;
    for (unsigned i = 0; i < count; i++) {
        if ((!pieces[i].memory && pieces[i].length != 0) ||
            pieces[i].length > UINT64_MAX - *length)
            return EINVAL;
        *length += pieces[i].length;
    }
    return check(block, offset, "", *length, write);
}

int hurdmm_block_read_pieces(struct hurdmm_block *block, uint64_t offset,
                             const struct hurdmm_block_piece *pieces,
                             unsigned count)
{
    uint64_t length;
    int error = check_pieces(block, offset, pieces, count, false, &length);

    if (error != 0 || length == 0)
        return error;
    if (BLOCK_HAS(block, read_pieces))
        return block->ops->read_pieces(block, offset, pieces, count);
    return transfer_pieces(block, offset, pieces, length, false);
}

int hurdmm_block_write_pieces(struct hurdmm_block *block, uint64_t offset,
                              const struct hurdmm_block_piece *pieces,
                              unsigned count)
{
    uint64_t length;
    int error = check_pieces(block, offset, pieces, count, true, &length);

    if (error != 0 || length == 0)
        return error;
    if (BLOCK_HAS(block, write_pieces))
        return block->ops->write_pieces(block, offset, pieces, count);
    return transfer_pieces(block, offset, pieces, length, true);
}

int hurdmm_block_flush(struct hurdmm_block *block)
{
    int error = block_usable(block);

    if (error != 0 || !BLOCK_HAS(block, flush))
        return error;
    return block->ops->flush(block);
}

/* Transfers are done when they return; only a cache may still reorder them. */
int hurdmm_block_barrier(struct hurdmm_block *block)
{
    if (hurdmm_block_capabilities(block) & HURDMM_BLOCK_CACHED)
        return hurdmm_block_flush(block);
    return block_usable(block);
}

int hurdmm_block_discard(struct hurdmm_block *block, uint64_t offset,
                         uint64_t length)
{
    int error = check(block, offset, "", length, true);

    if (error != 0 || length == 0 || !BLOCK_HAS(block, discard))
        return error;
    return block->ops->discard(block, offset, length);
}

/* Does a request on the calling thread. */
static int perform(struct hurdmm_block *block,
                   const struct hurdmm_block_request *request)
{
    switch (request->kind) {
    case HURDMM_BLOCK_READ:
        return hurdmm_block_read_pieces(block, request->offset, request->pieces,
                                        request->piece_count);
    case HURDMM_BLOCK_WRITE:
        return hurdmm_block_write_pieces(block, request->offset,
                                         request->pieces, request->piece_count);
    case HURDMM_BLOCK_FLUSH:
        return hurdmm_block_flush(block);
    case HURDMM_BLOCK_BARRIER:
        return hurdmm_block_barrier(block);
    }
    return EINVAL;
}

int hurdmm_block_submit(struct hurdmm_block *block,
                        struct hurdmm_block_request *request)
{
    bool moves;
    uint64_t length;
    int error = block_usable(block);

    if (error != 0 || !request || request->struct_size < sizeof *request ||
        (unsigned)request->kind > HURDMM_BLOCK_BARRIER || !request->done)
        return EINVAL;
    moves = request->kind == HURDMM_BLOCK_READ ||
            request->kind == HURDMM_BLOCK_WRITE;
    if (moves)
        error = check_pieces(block, request->offset, request->pieces,
                             request->piece_count,
                             request->kind == HURDMM_BLOCK_WRITE, &length);
    if (error != 0)
        return error;
    if (BLOCK_HAS(block, submit) && (!moves || length != 0))
        return block->ops->submit(block, request);
    request->done(request, perform(block, request));
    return 0;
}

int hurdmm_block_serve(struct hurdmm_block *block, uint64_t timeout_ns)
{
    int error = block_usable(block);

    if (error != 0)
        return error;
    return BLOCK_HAS(block, serve) ? block->ops->serve(block, timeout_ns)
                                   : ETIMEDOUT;
}

void hurdmm_block_begin(struct hurdmm_block *block)
{
    if (block_usable(block) == 0 && BLOCK_HAS(block, begin))
        block->ops->begin(block);
}
