/* SPDX-License-Identifier: MIT */
/*
 * The block store: a device, or a range of one, as memory.
 *
 * A page of the store is whole blocks of the device, or a block is whole pages:
 * then the store's block is the device's.  The range is whole blocks, so that
 * the last page, where it ends within, needs no care: the library zeroes what
 * lies past the size, and never asks for it to be written.
 *
 * Invariants, under `mutex':
 *  1. everything that was written before `flushed' was last set is durable;
 *     `written' counts writes as they end, so a sync is for nothing only while
 *     the two are equal;
 *  2. a flush that fails leaves `flushed' as it was: the next sync asks again.
 *
 * The device is called without the mutex.
 *
 * Reading ahead.  Fills are submitted, where the device does such requests by
 * itself (HURDMM_BLOCK_SERVED).  There are `jobs', one for each request that can be
 * under way; when all are busy, that is enough.  A job is whose `busy' was set:
 * fill_start's, then the device's until `done', which gives it back before it
 * completes the fill: the store may be gone right after that.
 */
#include "lib/block/private.h"

#include <hurdmm/manager.h>
#include <hurdmm/stores.h>

#define JOBS 8u

struct job {
    struct hurdmm_block_request request;
    struct hurdmm_block_piece piece; /* what the device has of the fill now */
    struct block_store *at;
    struct hurdmm_request *fill;
    uint64_t start;      /* of the fill, on the device */
    size_t length, done; /* bytes of the fill, and of these read */
    bool busy;           /* atomic */
};

struct block_store {
    struct hurdmm *manager;
    struct hurdmm_block *block;
    uint64_t start; /* on the device */
    size_t unit;    /* what can fail by itself: a page, or a larger block */
    uint32_t mutex;
    uint32_t written; /* both wrap: only whether they are equal counts */
    uint32_t flushed;
    unsigned depth; /* how many jobs there are: 0 or JOBS */
    struct job jobs[];
};

/* Bytes of the structure with its jobs. */
static size_t bytes_of(unsigned depth)
{
    return sizeof(struct block_store) + depth * sizeof(struct job);
}

static int transfer(struct block_store *at, uint64_t offset, void *in,
                    const void *out, size_t length)
{
    return out ? hurdmm_block_write(at->block, at->start + offset, out, length)
               : hurdmm_block_read(at->block, at->start + offset, in, length);
}

/* Does a row of pages; where a sector of it is bad, unit by unit, so that the
 * units before the bad one are not lost with it.  Other errors speak of the
 * device, and to try again would only take its time. */
static int transfer_row(struct block_store *at, uint64_t offset, void *in,
                        const void *out, size_t length, size_t *done)
{
    int error = transfer(at, offset, in, out, length);

    if (error == 0)
        return 0;
    *done = 0;
    if (error != EIO || length <= at->unit)
        return error;
    while (*done < length) {
        size_t n = length - *done < at->unit ? length - *done : at->unit;

        error = transfer(at, offset + *done, in ? (char *)in + *done : NULL,
                         out ? (const char *)out + *done : NULL, n);
        if (error != 0)
            return error;
        *done += n;
    }
    return 0;
}

static int store_page_in(struct hurdmm_store *store, void *hook,
                         uint64_t offset, void *buffer, size_t length,
                         size_t *done)
{
    (void)store;
    return transfer_row(hook, offset, buffer, NULL, length, done);
}

/* A job that is the caller's now; NULL: all are busy. */
static struct job *take_job(struct block_store *at)
{
    for (unsigned i = 0; i < at->depth; i++)
        if (!__atomic_exchange_n(&at->jobs[i].busy, true, __ATOMIC_ACQUIRE))
            return &at->jobs[i];
    return NULL;
}

static void give_job(struct job *job)
{
    block_assert(job->busy);
    __atomic_store_n(&job->busy, false, __ATOMIC_RELEASE);
}

static void part_done(struct hurdmm_block_request *request, int error);

/* Has the device read the next `length' bytes of the fill.  An error: it does
 * not, and the job is still the caller's. */
static int read_part(struct job *job, size_t length)
{
    block_assert(job->busy && length <= job->length - job->done);
    job->piece = (struct hurdmm_block_piece){
        .memory = (char *)hurdmm_request_buffer(job->fill) + job->done,
        .length = length,
    };
    job->request = (struct hurdmm_block_request){
        .struct_size = sizeof job->request,
        .kind = HURDMM_BLOCK_READ,
        .piece_count = 1,
        .pieces = &job->piece,
        .offset = job->start + job->done,
        .done = part_done,
        .hook = job,
    };
    return hurdmm_block_submit(job->at->block, &job->request);
}

/* On a thread of the device, or of another that waits for it.  As transfer_row:
 * where a sector is bad, it goes on unit by unit. */
static void part_done(struct hurdmm_block_request *request, int error)
{
    struct job *job = request->hook;
    struct hurdmm_request *fill = job->fill;
    size_t unit = job->at->unit, part = job->piece.length, done;

    if (error == 0)
        job->done += part;
    done = job->done;
    if (error == 0 ? done < job->length : error == EIO && part > unit) {
        error = read_part(job, job->length - done < unit ? job->length - done
                                                         : unit);
        if (error == 0)
            return; /* it may be another's already */
    }
    give_job(job);
    hurdmm_request_complete_part(fill, done, error);
}

static int store_fill_start(struct hurdmm_store *store, void *hook,
                            struct hurdmm_request *fill)
{
    struct block_store *at = hook;
    struct hurdmm_request_info info;
    struct job *job = take_job(at);
    int error;

    (void)store;
    if (!job)
        return EBUSY;
    hurdmm_request_get_info(fill, &info);
    job->at = at;
    job->fill = fill;
    job->start = at->start + info.offset;
    job->length = info.length;
    job->done = 0;
    error = read_part(job, info.length);
    if (error != 0)
        give_job(job); /* else it may be another's already */
    return error;
}

static void store_submit(struct hurdmm_store *store, void *hook)
{
    const struct block_store *at = hook;

    (void)store;
    hurdmm_block_begin(at->block);
}

static int store_page_out(struct hurdmm_store *store, void *hook,
                          uint64_t offset, const void *buffer, size_t length,
                          size_t *done)
{
    struct block_store *at = hook;
    int error;

    (void)store;
    error = transfer_row(at, offset, NULL, buffer, length, done);
    /* Also after an error: a part may have been written. */
    hurdmm_mutex_lock(at->manager, &at->mutex);
    at->written++;
    hurdmm_mutex_unlock(at->manager, &at->mutex);
    return error;
}

static int store_sync(struct hurdmm_store *store, void *hook, uint64_t offset,
                      uint64_t length)
{
    struct block_store *at = hook;
    uint32_t written;
    bool needed;
    int error;

    (void)store;
    (void)offset;
    (void)length;
    hurdmm_mutex_lock(at->manager, &at->mutex);
    written = at->written;
    needed = at->flushed != written;
    hurdmm_mutex_unlock(at->manager, &at->mutex);
    if (!needed)
        return 0;
    error = hurdmm_block_flush(at->block);
    if (error != 0)
        return error;
    hurdmm_mutex_lock(at->manager, &at->mutex);
    at->flushed = written;
    hurdmm_mutex_unlock(at->manager, &at->mutex);
    return 0;
}

static void store_destroy(void *hook)
{
    struct block_store *at = hook;

    hurdmm_deallocate(at->manager, at, bytes_of(at->depth));
}

static const struct hurdmm_store_ops block_store_ops = {
    .struct_size = sizeof block_store_ops,
    .page_in = store_page_in,
    .page_out = store_page_out,
    .sync = store_sync,
    .destroy = store_destroy,
};

/* The same for devices that have requests under way by themselves. */
static const struct hurdmm_store_ops served_store_ops = {
    .struct_size = sizeof served_store_ops,
    .page_in = store_page_in,
    .page_out = store_page_out,
    .sync = store_sync,
    .destroy = store_destroy,
    .fill_start = store_fill_start,
    .submit = store_submit,
};

/* How many requests may be under way. */
static unsigned depth_of(const struct hurdmm_block *block)
{
    const unsigned both = HURDMM_BLOCK_ASYNC | HURDMM_BLOCK_SERVED;

    return (hurdmm_block_capabilities(block) & both) == both ? JOBS : 0;
}

/* The structure; 0 or an error of hurdmm_allocate. */
static int store_new(struct hurdmm *manager, struct hurdmm_block *block,
                     uint64_t offset, struct block_store **result)
{
    unsigned depth = depth_of(block);
    void *memory;
    int error = hurdmm_allocate(manager, bytes_of(depth), &memory);

    if (error != 0)
        return error;
    memset(memory, 0, bytes_of(depth));
    *result = memory;
    (*result)->manager = manager;
    (*result)->block = block;
    (*result)->start = offset;
    (*result)->depth = depth;
    return 0;
}

/* The range of the device, and whether it may be bound so. */
static int check(const struct hurdmm_block *block, uint64_t offset,
                 uint64_t *size, unsigned flags)
{
    int error = block_usable(block);

    if (error != 0)
        return error;
    if (*size == 0 && offset < block->size)
        *size = block->size - offset;
    error = block_check(block, offset, *size);
    if (error != 0)
        return error;
    if (*size == 0)
        return offset == block->size && block->size != 0 ? ENXIO : EINVAL;
    if (!(flags & HURDMM_STORE_READ_ONLY) &&
        (hurdmm_block_capabilities(block) & HURDMM_BLOCK_READ_ONLY))
        return EACCES;
    return 0;
}

int hurdmm_block_store_create(struct hurdmm *manager,
                              struct hurdmm_block *block, uint64_t offset,
                              uint64_t size, unsigned flags,
                              struct hurdmm_store **store)
{
    const unsigned known =
        HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED | HURDMM_STORE_NO_STEAL;
    struct hurdmm_store_options options = {
        .struct_size = sizeof options, .name = "block", .flags = flags};
    struct block_store *at;
    int error;

    if (!manager || !store || (flags & ~known) != 0)
        return EINVAL;
    error = check(block, offset, &size, flags);
    if (error != 0)
        return error;
    error = store_new(manager, block, offset, &at);
    if (error != 0)
        return error;
    at->unit = hurdmm_page_size(manager);
    if (at->unit < block->block_size)
        at->unit = options.block_size = block->block_size;
    options.hook = at;
    options.size = size;
    error = hurdmm_store_create(
        manager, at->depth > 0 ? &served_store_ops : &block_store_ops, &options,
        store);
    if (error != 0)
        store_destroy(at);
    return error;
}

int hurdmm_block_store_barrier(struct hurdmm_store *store, uint64_t offset,
                               uint64_t length)
{
    struct block_store *at;
    int error;

    if (!store || hurdmm_store_operations(store)->page_in != store_page_in)
        return EINVAL;
    at = hurdmm_store_hook(store);
    error = hurdmm_store_flush(store, offset, length, HURDMM_WAIT);
    if (error != 0)
        return error;
    return hurdmm_block_barrier(at->block);
}
