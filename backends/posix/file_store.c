/* SPDX-License-Identifier: MIT */
/*
 * The file store: a file of the host, or the node of a block device.
 *
 * The file may be changed by others while it is paged; this store then does
 * what shared mappings of files do, but fails where those would lie:
 *  1. the page in which the file ends reads as zeros after the end, and what is
 *     written there after the end goes nowhere;
 *  2. pages that lie after the end altogether cannot be read, nor written, which
 *     would undo the cut: EIO.
 * Between asking for the length and writing, a cut can still come: the system
 * has no call that does both.
 *
 * Somebody who waits for a page reads it on the spot.  What nobody waits for is
 * an engine's (file_engine.h), if one was asked for: it has `jobs', one for each
 * transfer that can be under way; when all are busy, that is enough.
 *
 * There are no locks; a job belongs to who made it busy.  page_in calls pread
 * alone, fill_start and submit nothing that waits, so they may run in a signal
 * handler.
 */
#include "backends/posix/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <hurdmm/file.h>
#include <hurdmm/manager.h>

#include "backends/posix/file_engine.h"
#include "backends/posix/file_io.h"

#define DEPTH_DEFAULT 64u
#define DEPTH_MAX 1024u
#define THREADS_DEFAULT 4u

struct job {
    struct hmm_transfer transfer;
    struct file_store *store;
    struct hurdmm_request *request; /* of a read */
    struct hurdmm_writeback *write; /* of a write */
    atomic_bool busy;
};

struct file_store {
    struct hurdmm *manager;
    size_t page_size;
    size_t bytes; /* of this structure, with its jobs */
    struct hmm_file file;
    bool running; /* there is an engine */
    struct hmm_engine engine;
    unsigned depth;
    atomic_uint next; /* the job to look at first */
    struct job job[];
};

static size_t round_up(size_t length, size_t page)
{
    return (length + page - 1) & ~(page - 1);
}

/* What a read that got so much means for pages: the one in which the file ends
 * is whole, those after it are not there. */
static int end_read(const struct file_store *file, char *buffer, size_t length,
                    size_t *done)
{
    size_t end = round_up(*done, file->page_size);

    end = end < length ? end : length;
    memset(buffer + *done, 0, end - *done);
    *done = end;
    return end < length ? EIO : 0;
}

static int file_page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                        void *buffer, size_t length, size_t *done)
{
    struct file_store *file = hook;
    int error = hmm_file_read(&file->file, offset, buffer, length, done);

    (void)store;
    return error ? error : end_read(file, buffer, length, done);
}

/* ---- What nobody waits for ---- */

static struct job *take_job(struct file_store *file)
{
    unsigned first = atomic_load_explicit(&file->next, memory_order_relaxed);

    for (unsigned i = 0; i < file->depth; i++) {
        struct job *job = &file->job[(first + i) % file->depth];
        if (atomic_load_explicit(&job->busy, memory_order_relaxed) ||
            atomic_exchange(&job->busy, true))
            continue;
        atomic_store_explicit(&file->next, first + i + 1, memory_order_relaxed);
        return job;
    }
    return NULL;
}

static void end_fill(struct hmm_transfer *transfer)
{
    struct job *job = (struct job *)(void *)transfer;
    struct hurdmm_request *request = job->request;
    size_t done = transfer->done;
    int error = transfer->error;

    if (!error)
        error = end_read(job->store, transfer->buffer, transfer->length, &done);
    /* First, since the store may be gone when its last request is. */
    atomic_store(&job->busy, false);
    hurdmm_request_complete_part(request, done, error);
}

static int file_fill_start(struct hurdmm_store *store, void *hook,
                           struct hurdmm_request *request)
{
    struct file_store *file = hook;
    struct hurdmm_request_info info;
    struct job *job = take_job(file);

    (void)store;
    if (!job)
        return EBUSY;
    hurdmm_request_get_info(request, &info);
    job->request = request;
    job->transfer = (struct hmm_transfer){
        .file = &file->file,
        .offset = info.offset,
        .buffer = hurdmm_request_buffer(request),
        .length = info.length,
        .end = end_fill,
    };
    hmm_engine_start(&file->engine, &job->transfer);
    return 0;
}

static void end_write(struct hmm_transfer *transfer)
{
    struct job *job = (struct job *)(void *)transfer;
    struct hurdmm_writeback *write = job->write;
    size_t done = transfer->done;
    int error = transfer->error;

    atomic_store(&job->busy, false);
    hurdmm_writeback_complete(write, done, error);
}

/* A run that the file does not have room for is page_out's. */
static int file_write_start(struct hurdmm_store *store, void *hook,
                            struct hurdmm_writeback *write)
{
    struct file_store *file = hook;
    struct hurdmm_writeback_info info;
    uint64_t end = 0;

    (void)store;
    hurdmm_writeback_get_info(write, &info);
    int error = hmm_file_length(&file->file, &end);
    if (error)
        return error;
    if (info.offset >= end || end - info.offset < info.length)
        return EBUSY;
    struct job *job = take_job(file);
    if (!job)
        return EBUSY;
    job->write = write;
    job->transfer = (struct hmm_transfer){
        .file = &file->file,
        .write = true,
        .offset = info.offset,
        .buffer = (char *)(uintptr_t)info.buffer,
        .length = info.length,
        .end = end_write,
    };
    hmm_engine_start(&file->engine, &job->transfer);
    return 0;
}

static void file_submit(struct hurdmm_store *store, void *hook)
{
    struct file_store *file = hook;

    (void)store;
    hmm_engine_submit(&file->engine);
}

static int file_page_out(struct hurdmm_store *store, void *hook,
                         uint64_t offset, const void *buffer, size_t length,
                         size_t *done)
{
    struct file_store *file = hook;
    uint64_t end = 0;
    size_t within = length;
    int error;

    (void)store;
    *done = 0;
    error = hmm_file_length(&file->file, &end);
    if (error != 0)
        return error;
    if (offset >= end)
        return EIO;
    if (end - offset < length)
        within = (size_t)(end - offset);
    error = hmm_file_write(&file->file, offset, buffer, within, done);
    if (error != 0 || within == length)
        return error;
    *done = round_up(within, file->page_size);
    if (*done < length)
        return EIO;
    *done = length;
    return 0;
}

static int file_sync(struct hurdmm_store *store, void *hook, uint64_t offset,
                     uint64_t length)
{
    struct file_store *file = hook;

    (void)store;
    (void)offset;
    (void)length;
    return hmm_file_sync(&file->file);
}

static void file_advise(struct hurdmm_store *store, void *hook, uint64_t offset,
                        uint64_t length, enum hurdmm_advice advice)
{
#ifdef POSIX_FADV_WILLNEED
    struct file_store *file = hook;

    if (advice == HURDMM_ADVICE_WILLNEED && offset <= INT64_MAX &&
        length <= INT64_MAX - offset && !file->running && file->file.direct < 0)
        posix_fadvise(file->file.fd, (off_t)offset, (off_t)length,
                      POSIX_FADV_WILLNEED);
#else
    (void)hook, (void)offset, (void)length, (void)advice;
#endif
    (void)store;
}

static void file_destroy(void *hook)
{
    struct file_store *file = hook;

    if (file->running)
        hmm_engine_close(&file->engine);
    hmm_file_close(&file->file);
    hurdmm_deallocate(file->manager, file, file->bytes);
}

static const struct hurdmm_store_ops file_ops = {
    .struct_size = sizeof file_ops,
    .page_in = file_page_in,
    .page_out = file_page_out,
    .sync = file_sync,
    .advise = file_advise,
    .destroy = file_destroy,
};

static const struct hurdmm_store_ops running_ops = {
    .struct_size = sizeof running_ops,
    .page_in = file_page_in,
    .page_out = file_page_out,
    .sync = file_sync,
    .advise = file_advise,
    .destroy = file_destroy,
    .fill_start = file_fill_start,
    .write_start = file_write_start,
    .submit = file_submit,
};

/* Checks the file against what is asked of it, and gives it its length. */
static int prepare(const struct hmm_file *file, uint64_t size, unsigned flags)
{
    bool read_only = (flags & HURDMM_STORE_READ_ONLY) != 0;

    if (!read_only && !file->writable)
        return EACCES;
    if (size <= file->length)
        return 0;
    if (read_only || !file->regular)
        return EINVAL;
    return hmm_file_truncate(file, size);
}

/* The structure, with the file open as the options say. */
static int file_new(struct hurdmm *manager,
                    const struct hurdmm_file_options *options,
                    struct file_store **result)
{
    bool async = options->how & HURDMM_FILE_ASYNC;
    unsigned depth = !async           ? 0
                     : options->depth ? options->depth
                                      : DEPTH_DEFAULT;
    size_t bytes =
        offsetof(struct file_store, job) + depth * sizeof(struct job);
    struct file_store *file;
    void *memory;
    int error = hurdmm_allocate(manager, bytes, &memory);

    if (error != 0)
        return error;
    memset(memory, 0, bytes);
    file = memory;
    file->manager = manager;
    file->page_size = hurdmm_page_size(manager);
    file->bytes = bytes;
    file->depth = depth;
    for (unsigned i = 0; i < depth; i++)
        file->job[i].store = file;
    error = hmm_file_open(options->fd, &file->file);
    if (error == 0 && (options->how & HURDMM_FILE_DIRECT)) {
        error = hmm_file_go_direct(&file->file, file->page_size);
        if (error != 0)
            hmm_file_close(&file->file);
    }
    if (error != 0)
        hurdmm_deallocate(manager, file, bytes);
    else
        *result = file;
    return error;
}

static int start_engine(struct file_store *file,
                        const struct hurdmm_file_options *options)
{
    unsigned threads = options->threads ? options->threads : THREADS_DEFAULT;
    int error;

    if (file->depth == 0)
        return 0;
    error = hmm_engine_open(&file->engine, file->depth, threads,
                            !(options->how & HURDMM_FILE_NO_RING));
    file->running = error == 0;
    return error;
}

static int check_options(const struct hurdmm_file_options *options)
{
    const unsigned flags =
        HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED | HURDMM_STORE_NO_STEAL;
    const unsigned how =
        HURDMM_FILE_DIRECT | HURDMM_FILE_ASYNC | HURDMM_FILE_NO_RING;

    if (!options || options->struct_size < sizeof *options ||
        (options->flags & ~flags) || (options->how & ~how) ||
        options->depth > DEPTH_MAX || options->threads > HMM_ENGINE_THREADS)
        return EINVAL;
    return 0;
}

int hurdmm_file_create_how(struct hurdmm *manager,
                           const struct hurdmm_file_options *options,
                           struct hurdmm_store **store)
{
    struct file_store *file = NULL;
    int error = manager && store ? check_options(options) : EINVAL;

    if (error == 0)
        error = file_new(manager, options, &file);
    if (error != 0)
        return error;
    struct hurdmm_store_options wanted = {
        .struct_size = sizeof wanted,
        .name = "file",
        .hook = file,
        .size = options->size != 0 ? options->size : file->file.length,
        .block_size = options->block_size,
        .flags = options->flags | HURDMM_STORE_SIGNAL_SAFE,
    };
    error = start_engine(file, options);
    if (error == 0)
        error = prepare(&file->file, options->size, options->flags);
    if ((options->flags & HURDMM_STORE_READ_ONLY) != 0)
        file->file.writable = false;
    if (error == 0) {
        error = hurdmm_store_create(
            manager, file->running ? &running_ops : &file_ops, &wanted, store);
        if (error != 0 && options->size > file->file.length)
            (void)hmm_file_truncate(&file->file, file->file.length);
    }
    if (error != 0)
        file_destroy(file);
    return error;
}

int hurdmm_file_create(struct hurdmm *manager, int fd, uint64_t size,
                       unsigned flags, struct hurdmm_store **store)
{
    struct hurdmm_file_options options = {
        .struct_size = sizeof options,
        .fd = fd,
        .size = size,
        .flags = flags,
    };

    return hurdmm_file_create_how(manager, &options, store);
}

static struct file_store *file_of(struct hurdmm_store *store)
{
    return store && hurdmm_store_operations(store)->page_in == file_page_in
               ? hurdmm_store_hook(store)
               : NULL;
}

int hurdmm_file_describe(struct hurdmm_store *store, char *buffer, size_t size)
{
    const struct file_store *file = file_of(store);
    const char *cache = "cached";
    char reason[64];

    if (!file || (!buffer && size > 0))
        return EINVAL;
    if (file->file.direct >= 0)
        cache = "direct";
    if (!file->running) {
        (void)snprintf(buffer, size, "%s, on the threads that ask", cache);
    } else if (file->engine.ring) {
        (void)snprintf(buffer, size, "%s, io_uring, %u at once", cache,
                       file->depth);
    } else {
        reason[0] = '\0';
        if (file->engine.why_no_ring)
            (void)snprintf(reason, sizeof reason, " (io_uring: error %d)",
                           file->engine.why_no_ring);
        (void)snprintf(buffer, size, "%s, %u threads%s, %u at once", cache,
                       file->engine.threads, reason, file->depth);
    }
    return 0;
}

/* Cutting: the store first, so that nothing is written past the new end. */
static int cut(struct hurdmm_store *store, const struct hmm_file *file,
               uint64_t old, uint64_t size)
{
    int error = hurdmm_store_resize(store, size);

    if (error != 0)
        return error;
    error = hmm_file_truncate(file, size);
    if (error != 0)
        (void)hurdmm_store_resize(store, old);
    return error;
}

/* Growing: the file first, so that there is something behind each page. */
static int extend(struct hurdmm_store *store, const struct hmm_file *file,
                  uint64_t old, uint64_t size)
{
    int error = hmm_file_truncate(file, size);

    if (error != 0)
        return error;
    error = hurdmm_store_resize(store, size);
    if (error != 0)
        (void)hmm_file_truncate(file, old);
    return error;
}

int hurdmm_file_resize(struct hurdmm_store *store, uint64_t size)
{
    const struct file_store *file = file_of(store);
    uint64_t old;

    if (!file)
        return EINVAL;
    if (!file->file.writable)
        return EROFS;
    if (!file->file.regular)
        return EINVAL;
    old = hurdmm_store_size(store);
    return size < old ? cut(store, &file->file, old, size)
                      : extend(store, &file->file, old, size);
}
