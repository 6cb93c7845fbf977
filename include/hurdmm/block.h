/* SPDX-License-Identifier: MIT */
/* hurdmm/block.h - block devices: what swap, and stores on disks, stand on.
 *
 * Whoever drives a device fills in the table; whoever uses one calls the
 * functions below, which check what they are given and do without the members
 * that a device does not have.  Calls may come from several threads at once and
 * may block.
 */
#ifndef HURDMM_BLOCK_H
#define HURDMM_BLOCK_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_block;
struct hurdmm_block_request;

/* A piece of memory that a transfer reads from or writes to. */
struct hurdmm_block_piece {
    void *memory;
    size_t length;
};

/* What a device is and can do. */
#define HURDMM_BLOCK_READ_ONLY 1u /* writing is EROFS */
#define HURDMM_BLOCK_CACHED                                                    \
    2u                           /* what was written is durable after a flush,
                                   * and reaches the medium in any order */
#define HURDMM_BLOCK_DISCARDS 4u /* has use for discard */
#define HURDMM_BLOCK_PIECES 8u   /* transfers many pieces in one command */
#define HURDMM_BLOCK_ASYNC 16u   /* submit returns before the work is done */
#define HURDMM_BLOCK_SERVED                                                    \
    32u /* with ASYNC: what is submitted is done though nobody waits for it,    \
         * nor serves */

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

    /* All that follow may be NULL, or lie beyond struct_size. */

    /* As read and write, with memory in pieces of any length that are whole
     * blocks together.  NULL: block by block through read and write. */
    int (*read_pieces)(struct hurdmm_block *block, uint64_t offset,
                       const struct hurdmm_block_piece *pieces, unsigned count);
    int (*write_pieces)(struct hurdmm_block *block, uint64_t offset,
                        const struct hurdmm_block_piece *pieces,
                        unsigned count);
    /* HURDMM_BLOCK_...; NULL: HURDMM_BLOCK_CACHED. */
    unsigned (*capabilities)(const struct hurdmm_block *block);
    /* Queues a request; 0: its `done` is called once, maybe before this
     * returns.  An error: it was not taken, `done` is not called.  NULL: what
     * is submitted is done at once. */
    int (*submit)(struct hurdmm_block *block,
                  struct hurdmm_block_request *request);
    /* Lends the calling thread to the device for some of the work that is
     * queued, waiting for some up to timeout_ns; ETIMEDOUT: there was none.
     * NULL: the device has threads of its own. */
    int (*serve)(struct hurdmm_block *block, uint64_t timeout_ns);
    /* A hint: no more is submitted for the moment, and the device may as well
     * begin before this returns.  NULL: submit is all it needs. */
    void (*begin)(struct hurdmm_block *block);
};

struct hurdmm_block {
    const struct hurdmm_block_ops *ops;
    uint64_t size;     /* bytes; a device that grows says its limit */
    size_t block_size; /* bytes, a power of two */
};

/* Kinds of requests.  Reads and writes that are under way together are done in
 * any order. */
enum hurdmm_block_kind {
    HURDMM_BLOCK_READ = 0,
    HURDMM_BLOCK_WRITE = 1,
    /* What was submitted before is durable when this is done, and all of it
     * reaches the medium before what is submitted after. */
    HURDMM_BLOCK_FLUSH = 2,
    /* Only the order; where nothing is cached this costs nothing. */
    HURDMM_BLOCK_BARRIER = 3
};

/* A request.  It and what it points to are the device's until `done` is called,
 * `offset` may be changed by then.  `done` runs on a thread of the device or on
 * one that uses it; it must not wait for the device, but may submit. */
struct hurdmm_block_request {
    size_t struct_size;
    enum hurdmm_block_kind kind;
    unsigned piece_count; /* of a read or write; else not looked at */
    const struct hurdmm_block_piece *pieces;
    uint64_t offset;
    void (*done)(struct hurdmm_block_request *request, int error);
    void *hook;                        /* the submitter's */
    struct hurdmm_block_request *next; /* the next two are the device's */
    void *device;
};

/* Using a device.  Ranges are whole blocks.  EINVAL (no device, or not whole
 * blocks), ENXIO (past the end), EROFS, or what the device says: ENODEV when it
 * or its medium is gone, ETIMEDOUT when it does not answer, EIO. */
int hurdmm_block_read(struct hurdmm_block *block, uint64_t offset, void *buffer,
                      size_t length);
int hurdmm_block_write(struct hurdmm_block *block, uint64_t offset,
                       const void *buffer, size_t length);
int hurdmm_block_read_pieces(struct hurdmm_block *block, uint64_t offset,
                             const struct hurdmm_block_piece *pieces,
                             unsigned count);
int hurdmm_block_write_pieces(struct hurdmm_block *block, uint64_t offset,
                              const struct hurdmm_block_piece *pieces,
                              unsigned count);
/* What was written before is durable after. */
int hurdmm_block_flush(struct hurdmm_block *block);
/* What was written before is on the medium before what is written after. */
int hurdmm_block_barrier(struct hurdmm_block *block);
/* A hint: 0 also where the device has no use for it. */
int hurdmm_block_discard(struct hurdmm_block *block, uint64_t offset,
                         uint64_t length);
unsigned hurdmm_block_capabilities(const struct hurdmm_block *block);
/* See struct hurdmm_block_ops. */
int hurdmm_block_submit(struct hurdmm_block *block,
                        struct hurdmm_block_request *request);
int hurdmm_block_serve(struct hurdmm_block *block, uint64_t timeout_ns);
void hurdmm_block_begin(struct hurdmm_block *block);

/* Memory as a block device: the file system's first stage out of a boot module.
 * Give &ramdisk.block to whoever wants a device.  The structure and the memory
 * stay the caller's.  `flags`: 0 or HURDMM_BLOCK_READ_ONLY.
 * EINVAL: `size` is not whole blocks, `block_size` no power of two. */
struct hurdmm_ramdisk {
    struct hurdmm_block block;
    unsigned char *memory;
    unsigned flags;
};
int hurdmm_ramdisk_init(struct hurdmm_ramdisk *ramdisk, void *memory,
                        size_t size, size_t block_size, unsigned flags);

/* A range of a device as a device: a partition.  Both stay the caller's.
 * Flushing it flushes the whole.  EINVAL (not whole blocks, or empty), ENXIO
 * (past the end of the whole). */
struct hurdmm_slice {
    struct hurdmm_block block;
    struct hurdmm_block *whole;
    uint64_t start;
};
int hurdmm_slice_init(struct hurdmm_slice *slice, struct hurdmm_block *whole,
                      uint64_t start, uint64_t size);

#ifdef __cplusplus
}
#endif

#endif
