/* SPDX-License-Identifier: MIT */
/*
 * Requests: queued by channel, merged with neighbours, and done by whoever
 * waits; the disk as a block device.
 *
 * Invariants, under the bus's lock:
 *  1. `busy' is set while one thread has a batch done by the drive, or looks for
 *     a disk; only that thread touches the hardware and the rest of the channel;
 *  2. a request is in the queue, or in the batch of a thread, or done.  Who has a
 *     batch lets go of the channel before it calls `done', so that the drive has
 *     the next one meanwhile if there is a thread for it;
 *  3. `turn' changes, and all that are parked on it are woken, when there is
 *     something to do and nobody at it, and when somebody's request was done by
 *     another thread.
 *
 * Order.  The oldest request goes first.  With it go up to IDE_BATCH - 1 others
 * of the same disk and kind that lie right before or behind it on the disk,
 * unless a flush or barrier of that disk stands between, or one that overlaps it
 * while one of the two writes.  What a batch of several cannot do is tried
 * request by request, so that each gets the error that is its own.
 */
#include "backends/l4-x86/ide/private.h"

struct batch {
    struct hmm_ide_disk *disk;
    enum hurdmm_block_kind kind;
    unsigned count;
    uint64_t start, sectors;
    struct hurdmm_block_request *requests[IDE_BATCH]; /* by place */
    int errors[IDE_BATCH];                            /* what they came to */
};

/* Somebody waits for it. */
struct waiter {
    struct hurdmm_block_request request;
    struct hurdmm_block_piece piece;
    int error;
    uint32_t done;
};

static struct hmm_ide_disk *of(struct hurdmm_block *block)
{
    return (struct hmm_ide_disk *)(void *)block;
}

static void lock(const struct hmm_ide_channel *channel)
{
    if (ide_ops(channel)->lock)
        ide_ops(channel)->lock(ide_bus(channel));
}

static void unlock(const struct hmm_ide_channel *channel)
{
    if (ide_ops(channel)->unlock)
        ide_ops(channel)->unlock(ide_bus(channel));
}

/* Called with the lock, which it drops. */
static void turn_and_unlock(struct hmm_ide_channel *channel)
{
    __atomic_fetch_add(&channel->turn, 1, __ATOMIC_RELEASE);
    unlock(channel);
    if (ide_ops(channel)->wake)
        ide_ops(channel)->wake(ide_bus(channel), &channel->turn);
}

static bool moves(const struct hurdmm_block_request *request)
{
    return request->kind == HURDMM_BLOCK_READ ||
           request->kind == HURDMM_BLOCK_WRITE;
}

static uint64_t request_sectors(const struct hurdmm_block_request *request)
{
    const struct hmm_ide_disk *disk = request->device;
    uint64_t bytes = 0;

    for (unsigned i = 0; i < request->piece_count; i++)
        bytes += request->pieces[i].length;
    return bytes >> disk->shift;
}

static uint64_t request_start(const struct hurdmm_block_request *request)
{
    const struct hmm_ide_disk *disk = request->device;

    return request->offset >> disk->shift;
}

/* ---- Batches ---- */

/* Whether `late' may be done before `early'. */
static bool may_pass(const struct hurdmm_block_request *early,
                     const struct hurdmm_block_request *late)
{
    uint64_t a = request_start(early), b = request_start(late);

    if (early->device != late->device)
        return true;
    if (!moves(early))
        return false;
    if (early->kind == HURDMM_BLOCK_READ && late->kind == HURDMM_BLOCK_READ)
        return true;
    return a + request_sectors(early) <= b || b + request_sectors(late) <= a;
}

/* Puts a neighbour into the batch; false: it is none, or too much. */
static bool join(struct batch *batch, struct hurdmm_block_request *request)
{
    const struct hmm_ide_options *options = &batch->disk->channel->ide->options;
    uint64_t start = request_start(request), sectors;

    if (request->device != batch->disk || request->kind != batch->kind)
        return false;
    sectors = request_sectors(request);
    if (batch->sectors + sectors > options->sectors_max)
        return false;
    if (start == batch->start + batch->sectors) {
        batch->requests[batch->count++] = request;
    } else if (start + sectors == batch->start) {
        memmove(&batch->requests[1], &batch->requests[0],
                batch->count * sizeof batch->requests[0]);
        batch->requests[0] = request;
        batch->start = start;
        batch->count++;
    } else {
        return false;
    }
    batch->sectors += sectors;
    return true;
}

/* Takes the oldest request out of the queue. */
static void take_first(struct hmm_ide_channel *channel, struct batch *batch)
{
    struct hurdmm_block_request *request = channel->first;

    channel->first = request->next;
    if (!channel->first)
        channel->last = NULL;
    batch->disk = request->device;
    batch->kind = request->kind;
    batch->count = 1;
    batch->requests[0] = request;
    batch->start = moves(request) ? request_start(request) : 0;
    batch->sectors = moves(request) ? request_sectors(request) : 0;
}

/* Whether it may go before all that stand before it. */
static bool may_pass_all(const struct hmm_ide_channel *channel,
                         const struct hurdmm_block_request *late)
{
    const struct hurdmm_block_request *early = channel->first;

    for (; early != late; early = early->next)
        if (!may_pass(early, late))
            return false;
    return true;
}

/* Takes one more out of the queue that joins; false: there is none. */
static bool take_neighbour(struct hmm_ide_channel *channel, struct batch *batch)
{
    struct hurdmm_block_request *before = NULL;
    struct hurdmm_block_request *request = channel->first;

    for (unsigned looked = 0; request && looked < 2 * IDE_BATCH; looked++) {
        if (!moves(request) && request->device == batch->disk)
            return false;
        if (may_pass_all(channel, request) && join(batch, request)) {
            if (before)
                before->next = request->next;
            else
                channel->first = request->next;
            if (channel->last == request)
                channel->last = before;
            return true;
        }
        before = request;
        request = request->next;
    }
    return false;
}

static void take_batch(struct hmm_ide_channel *channel, struct batch *batch)
{
    hmm_assert(channel->busy && channel->first);
    take_first(channel, batch);
    if (batch->sectors == 0 ||
        (channel->ide->options.flags & HMM_IDE_NO_MERGE) != 0)
        return;
    while (batch->count < IDE_BATCH && take_neighbour(channel, batch))
        channel->stats.merged++;
}

/* ---- Doing them ---- */

static int transfer(const struct batch *batch, unsigned first, unsigned count)
{
    struct ide_cursor cursor = {.requests = &batch->requests[first]};
    uint64_t sectors = 0;

    for (unsigned i = first; i < first + count; i++)
        sectors += request_sectors(batch->requests[i]);
    if (sectors == 0)
        return 0;
    return hmm_ide_transfer(batch->disk, request_start(batch->requests[first]),
                            sectors, &cursor,
                            batch->kind == HURDMM_BLOCK_WRITE);
}

static int perform(const struct batch *batch)
{
    switch (batch->kind) {
    case HURDMM_BLOCK_READ:
    case HURDMM_BLOCK_WRITE:
        return transfer(batch, 0, batch->count);
    case HURDMM_BLOCK_FLUSH:
        return hmm_ide_flush(batch->disk);
    case HURDMM_BLOCK_BARRIER:
        return batch->disk->cached ? hmm_ide_flush(batch->disk) : 0;
    }
    return EINVAL;
}

/* Whether the error may be that of one request of several. */
static bool of_one(int error)
{
    return error == EIO || error == ENXIO;
}

static void do_batch(struct batch *batch)
{
    int error = perform(batch);
    bool apart = batch->count > 1 && of_one(error);

    for (unsigned i = 0; i < batch->count; i++)
        batch->errors[i] = apart ? transfer(batch, i, 1) : error;
}

static void yield(const struct hmm_ide_channel *channel)
{
    if (ide_ops(channel)->yield)
        ide_ops(channel)->yield(ide_bus(channel));
}

void hmm_ide_release(struct hmm_ide_channel *channel)
{
    bool more;

    lock(channel);
    hmm_assert(channel->busy);
    channel->busy = false;
    more = channel->first != NULL;
    if (!more && channel->claims == 0) {
        unlock(channel);
        return;
    }
    turn_and_unlock(channel);
    if (more)
        yield(channel);
}

static void waited_for(struct hurdmm_block_request *request, int error)
{
    struct waiter *waiter = request->hook;

    waiter->error = error;
    __atomic_store_n(&waiter->done, 1, __ATOMIC_RELEASE);
}

/* Tells what became of a batch.  Who waits for one of its requests is parked,
 * unless that is `own', which this thread waits for. */
static void tell(struct hmm_ide_channel *channel, struct batch *batch,
                 const struct hurdmm_block_request *own)
{
    bool others = false;

    for (unsigned i = 0; i < batch->count; i++) {
        struct hurdmm_block_request *request = batch->requests[i];

        others = others || (request->done == waited_for && request != own);
        request->done(request, batch->errors[i]); /* it may be gone now */
    }
    if (!others)
        return;
    lock(channel);
    turn_and_unlock(channel);
}

/* Does a batch.  EBUSY: another thread is doing one; ETIMEDOUT: there is
 * nothing to do. */
static int work(struct hmm_ide_channel *channel,
                const struct hurdmm_block_request *own)
{
    struct batch batch;
    int error;

    lock(channel);
    error = channel->busy ? EBUSY : !channel->first ? ETIMEDOUT : 0;
    if (error == 0) {
        channel->busy = true;
        take_batch(channel, &batch);
    }
    unlock(channel);
    if (error != 0)
        return error;
    channel->stats.requests += batch.count;
    do_batch(&batch);
    hmm_ide_release(channel);
    tell(channel, &batch, own);
    return 0;
}

/* Sleeps until `turn' is not `seen'; EDEADLK: there is nobody to change it. */
static int sleep(struct hmm_ide_channel *channel, uint32_t seen,
                 uint64_t timeout_ns)
{
    const struct hmm_ide_bus_ops *ops = ide_ops(channel);

    if (!ops->park)
        return EDEADLK;
    return ops->park(ide_bus(channel), &channel->turn, seen, timeout_ns);
}

static uint32_t get_turn(struct hmm_ide_channel *channel)
{
    return __atomic_load_n(&channel->turn, __ATOMIC_ACQUIRE);
}

void hmm_ide_claim(struct hmm_ide_channel *channel)
{
    bool claiming = false; /* counted among `claims' */

    for (;;) {
        uint32_t seen = get_turn(channel);

        lock(channel);
        if (!channel->busy) {
            channel->busy = true;
            channel->claims -= claiming;
            unlock(channel);
            return;
        }
        channel->claims += !claiming;
        claiming = true;
        unlock(channel);
        if (sleep(channel, seen, HURDMM_FOREVER) == EDEADLK)
            HMM_UNREACHABLE(); /* a `done' that opens, without threads */
    }
}

/* ---- The block device ---- */

static int check(const struct hmm_ide_disk *disk, uint64_t offset,
                 uint64_t length)
{
    const struct hurdmm_block *block = &disk->block;

    if (((offset | length) & (block->block_size - 1)) != 0)
        return EINVAL;
    if (offset > block->size || length > block->size - offset)
        return ENXIO;
    return 0;
}

/* Puts a request into the queue.  0: the lock is held. */
static int enqueue_and_lock(struct hmm_ide_disk *disk,
                            struct hurdmm_block_request *request)
{
    struct hmm_ide_channel *channel = disk->channel;

    request->device = disk;
    request->next = NULL;
    if (moves(request)) {
        uint64_t length = request_sectors(request) << disk->shift;
        int error = check(disk, request->offset, length);

        if (error != 0)
            return error;
    }
    lock(channel);
    if (channel->last)
        channel->last->next = request;
    else
        channel->first = request;
    channel->last = request;
    return 0;
}

static int ide_submit(struct hurdmm_block *block,
                      struct hurdmm_block_request *request)
{
    struct hmm_ide_channel *channel = of(block)->channel;
    int error = enqueue_and_lock(of(block), request);

    if (error != 0)
        return error;
    if (channel->busy) /* who is at it looks again */
        unlock(channel);
    else
        turn_and_unlock(channel);
    return 0;
}

static int serve(struct hmm_ide_channel *channel, uint64_t timeout_ns)
{
    uint32_t seen = get_turn(channel);
    int error = work(channel, NULL);

    if (error == 0 || timeout_ns == 0)
        return error == 0 ? 0 : ETIMEDOUT;
    (void)sleep(channel, seen, timeout_ns);
    return work(channel, NULL) == 0 ? 0 : ETIMEDOUT;
}

static int ide_serve(struct hurdmm_block *block, uint64_t timeout_ns)
{
    return serve(of(block)->channel, timeout_ns);
}

int hmm_ide_serve(struct hmm_ide *ide, unsigned channel, uint64_t timeout_ns)
{
    hmm_assert(channel < 2);
    return serve(&ide->channels[channel], timeout_ns);
}

void hmm_ide_rouse(struct hmm_ide *ide, unsigned channel)
{
    hmm_assert(channel < 2);
    lock(&ide->channels[channel]);
    turn_and_unlock(&ide->channels[channel]);
}

/* Queues a request and works until it is done.  Nobody is woken for it: this
 * thread does it, or comes after who is at the channel. */
static int wait_for(struct hmm_ide_disk *disk, struct waiter *waiter)
{
    struct hmm_ide_channel *channel = disk->channel;
    int error;

    waiter->request.struct_size = sizeof waiter->request;
    waiter->request.hook = waiter;
    waiter->request.done = waited_for;
    error = enqueue_and_lock(disk, &waiter->request);
    if (error != 0)
        return error;
    unlock(channel);
    for (;;) {
        uint32_t seen = get_turn(channel);

        if (__atomic_load_n(&waiter->done, __ATOMIC_ACQUIRE))
            return waiter->error;
        if (work(channel, &waiter->request) != 0 &&
            sleep(channel, seen, HURDMM_FOREVER) == EDEADLK)
            HMM_UNREACHABLE(); /* a `done' that waits, without threads */
    }
}

static int ide_pieces(struct hurdmm_block *block, enum hurdmm_block_kind kind,
                      uint64_t offset, const struct hurdmm_block_piece *pieces,
                      unsigned count)
{
    struct waiter waiter = {.request = {
                                .kind = kind,
                                .piece_count = count,
                                .pieces = pieces,
                                .offset = offset,
                            }};

    return wait_for(of(block), &waiter);
}

static int ide_read_pieces(struct hurdmm_block *block, uint64_t offset,
                           const struct hurdmm_block_piece *pieces,
                           unsigned count)
{
    return ide_pieces(block, HURDMM_BLOCK_READ, offset, pieces, count);
}

static int ide_write_pieces(struct hurdmm_block *block, uint64_t offset,
                            const struct hurdmm_block_piece *pieces,
                            unsigned count)
{
    return ide_pieces(block, HURDMM_BLOCK_WRITE, offset, pieces, count);
}

static int ide_one_piece(struct hurdmm_block *block,
                         enum hurdmm_block_kind kind, uint64_t offset,
                         void *memory, size_t length)
{
    struct hurdmm_block_piece piece = {memory, length};
    int error = check(of(block), offset, length);

    if (error != 0 || length == 0)
        return error;
    return ide_pieces(block, kind, offset, &piece, 1);
}

static int ide_read(struct hurdmm_block *block, uint64_t offset, void *buffer,
                    size_t length)
{
    return ide_one_piece(block, HURDMM_BLOCK_READ, offset, buffer, length);
}

static int ide_write(struct hurdmm_block *block, uint64_t offset,
                     const void *buffer, size_t length)
{
    union {
        const void *from;
        void *memory;
    } piece = {.from = buffer}; /* pieces serve both directions */

    return ide_one_piece(block, HURDMM_BLOCK_WRITE, offset, piece.memory,
                         length);
}

static int ide_flush(struct hurdmm_block *block)
{
    return ide_pieces(block, HURDMM_BLOCK_FLUSH, 0, NULL, 0);
}

static void ide_begin(struct hurdmm_block *block)
{
    yield(of(block)->channel);
}

/* The disk is its opener's: see hmm_ide_disk_close. */
static void ide_destroy(struct hurdmm_block *block)
{
    (void)block;
}

static unsigned ide_capabilities(const struct hurdmm_block *block)
{
    const struct hmm_ide_disk *disk =
        (const struct hmm_ide_disk *)(const void *)block;

    bool served = (disk->channel->ide->options.flags & HMM_IDE_SERVED) != 0;

    return HURDMM_BLOCK_PIECES | HURDMM_BLOCK_ASYNC |
           (served ? HURDMM_BLOCK_SERVED : 0) |
           (disk->cached ? HURDMM_BLOCK_CACHED : 0);
}

static const struct hurdmm_block_ops ide_block_ops = {
    .struct_size = sizeof ide_block_ops,
    .read = ide_read,
    .write = ide_write,
    .flush = ide_flush,
    .destroy = ide_destroy,
    .read_pieces = ide_read_pieces,
    .write_pieces = ide_write_pieces,
    .capabilities = ide_capabilities,
    .submit = ide_submit,
    .serve = ide_serve,
    .begin = ide_begin,
};

void hmm_ide_export(struct hmm_ide_disk *disk)
{
    disk->block.ops = &ide_block_ops;
    disk->block.size = disk->sectors << disk->shift;
    disk->block.block_size = (size_t)1 << disk->shift;
}
