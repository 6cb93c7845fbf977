/* SPDX-License-Identifier: MIT */
/*
 * The device: what its users call.  Each call makes a job of what it is asked,
 * wakes the service thread and, unless it is a request, waits for the job.
 *
 * Nobody waits for ever: every job has a deadline, to which the service thread
 * keeps.  `errno' is left as it was.
 */
#define _POSIX_C_SOURCE 200809L

#include "modules/nbd/private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_NS 10000000000u
#define RETRY_DELAY_NS 100000000u
#define RETRIES 3u
#define IN_FLIGHT 16u

static struct nbd_device *device_of(struct hurdmm_block *block)
{
    return (struct nbd_device *)(void *)block;
}

/* Adds a job and waits until it is finished. */
static int run_job(struct nbd_device *device, struct nbd_job *job)
{
    pthread_cond_t wake = PTHREAD_COND_INITIALIZER;

    if (device->pid != getpid())
        return ESTALE;
    job->wake = &wake;
    job->deadline_ns = hmm_nbd_now() + device->timeout_ns;
    pthread_mutex_lock(&device->mutex);
    hmm_nbd_job_add(device, job);
    hmm_nbd_wake(device);
    while (!job->finished)
        pthread_cond_wait(&wake, &device->mutex);
    pthread_mutex_unlock(&device->mutex);
    pthread_cond_destroy(&wake);
    return job->error;
}

/* Whole blocks within the device, or the error. */
static int check(const struct hurdmm_block *block, uint64_t offset,
                 uint64_t length)
{
    if (offset % block->block_size != 0 || length % block->block_size != 0)
        return EINVAL;
    if (offset > block->size || length > block->size - offset)
        return ENXIO;
    return 0;
}

static int transfer(struct hurdmm_block *block, enum nbd_kind kind,
                    uint64_t offset, void *memory, uint64_t length)
{
    struct nbd_device *device = device_of(block);
    struct nbd_job job = {.kind = kind, .offset = offset, .length = length};
    int error = check(block, offset, length);

    if (error != 0 || length == 0)
        return error;
    if (kind != NBD_READ && device->read_only)
        return EROFS;
    job.whole.memory = memory;
    job.whole.length = (size_t)length;
    job.pieces = &job.whole;
    return run_job(device, &job);
}

static int nbd_read(struct hurdmm_block *block, uint64_t offset, void *buffer,
                    size_t length)
{
    return transfer(block, NBD_READ, offset, buffer, length);
}

static int nbd_write(struct hurdmm_block *block, uint64_t offset,
                     const void *buffer, size_t length)
{
    return transfer(block, NBD_WRITE, offset, (void *)(uintptr_t)buffer,
                    length);
}

static int nbd_flush(struct hurdmm_block *block)
{
    struct nbd_job job = {.kind = NBD_FLUSH};

    return run_job(device_of(block), &job);
}

static int nbd_discard(struct hurdmm_block *block, uint64_t offset,
                       uint64_t length)
{
    return device_of(block)->can_trim
               ? transfer(block, NBD_TRIM, offset, NULL, length)
               : check(block, offset, length);
}

static unsigned nbd_capabilities(const struct hurdmm_block *block)
{
    const struct nbd_device *device = (const void *)block;

    return HURDMM_BLOCK_ASYNC |
           (device->read_only ? HURDMM_BLOCK_READ_ONLY : 0) |
           (device->can_flush ? HURDMM_BLOCK_CACHED : 0) |
           (device->can_trim ? HURDMM_BLOCK_DISCARDS : 0);
}

/* ---- Requests ------------------------------------------------------------- */

/* The bytes of a transfer; *whole: each piece is whole blocks. */
static uint64_t measure(const struct hurdmm_block *block,
                        const struct hurdmm_block_request *request, bool *whole)
{
    uint64_t length = 0;

    *whole = true;
    for (unsigned i = 0; i < request->piece_count; i++) {
        length += request->pieces[i].length;
        if (request->pieces[i].length % block->block_size != 0 ||
            request->pieces[i].length == 0)
            *whole = false;
    }
    return length;
}

/* One piece of our own in the place of theirs. */
static int make_bounce(struct nbd_job *job)
{
    const struct hurdmm_block_request *request = job->request;
    char *to = malloc((size_t)job->length);

    if (!to)
        return ENOMEM;
    job->bounce = to;
    job->whole.memory = to;
    job->whole.length = (size_t)job->length;
    job->pieces = &job->whole;
    if (job->kind == NBD_WRITE)
        for (unsigned i = 0; i < request->piece_count; i++) {
            memcpy(to, request->pieces[i].memory, request->pieces[i].length);
            to += request->pieces[i].length;
        }
    return 0;
}

static int prepare_transfer(struct nbd_device *device, struct nbd_job *job)
{
    struct hurdmm_block_request *request = job->request;
    bool write = request->kind == HURDMM_BLOCK_WRITE, whole;
    int error;

    job->kind = write ? NBD_WRITE : NBD_READ;
    job->offset = request->offset;
    job->pieces = request->pieces;
    job->length = measure(&device->block, request, &whole);
    error = check(&device->block, job->offset, job->length);
    if (error == 0 && job->length == 0)
        job->kind = NBD_NOTHING;
    else if (error == 0 && write && device->read_only)
        error = EROFS;
    else if (error == 0 && !whole)
        error = make_bounce(job);
    return error;
}

static int prepare(struct nbd_device *device, struct nbd_job *job)
{
    switch (job->request->kind) {
    case HURDMM_BLOCK_READ:
    case HURDMM_BLOCK_WRITE:
        return prepare_transfer(device, job);
    case HURDMM_BLOCK_FLUSH:
    case HURDMM_BLOCK_BARRIER:
        /* The protocol has no order but that of flushes. */
        job->kind = NBD_FLUSH;
        job->barrier = true;
        return 0;
    default:
        return EINVAL;
    }
}

/* ECANCELED: the device is ending, and it is `done' of a request that was
 * cancelled which submits: nobody would serve it any more.  The job is ours until
 * it is added, then the service thread's. */
static int nbd_submit(struct hurdmm_block *block,
                      struct hurdmm_block_request *request)
{
    struct nbd_device *device = device_of(block);
    struct nbd_job *job;
    bool late;
    int error;

    if (device->pid != getpid())
        return ESTALE;
    job = calloc(1, sizeof *job);
    if (!job)
        return ENOMEM;
    job->request = request;
    job->ordered = true;
    error = prepare(device, job);
    if (error != 0) {
        free(job->bounce);
        free(job);
        return error;
    }
    job->deadline_ns = hmm_nbd_now() + device->timeout_ns;
    pthread_mutex_lock(&device->mutex);
    late = device->stop;
    if (!late) {
        hmm_nbd_job_add(device, job);
        hmm_nbd_wake(device);
    }
    pthread_mutex_unlock(&device->mutex);
    if (!late)
        return 0;
    free(job->bounce);
    free(job);
    return ECANCELED;
}

static const struct hurdmm_block_ops nbd_ops = {
    .struct_size = sizeof nbd_ops,
    .read = nbd_read,
    .write = nbd_write,
    .flush = nbd_flush,
    .discard = nbd_discard,
    .destroy = hurdmm_nbd_destroy,
    .capabilities = nbd_capabilities,
    .submit = nbd_submit,
};

/* ---- Making and ending ---------------------------------------------------- */

static int copy_text(char **to, const char *from)
{
    *to = from ? strdup(from) : NULL;
    return from && !*to ? ENOMEM : 0;
}

static int copy_options(struct nbd_device *device,
                        const struct hurdmm_nbd_options *options)
{
    int error = copy_text(&device->uri, options->uri);

    if (error == 0)
        error = copy_text(&device->socket_path, options->socket_path);
    if (error == 0)
        error = copy_text(&device->export_name, options->export_name);
    device->timeout_ns = options->timeout_ns ? options->timeout_ns : TIMEOUT_NS;
    device->retry_delay_ns =
        options->retry_delay_ns ? options->retry_delay_ns : RETRY_DELAY_NS;
    device->retries = options->retries ? options->retries : RETRIES;
    device->slot_count = options->in_flight ? options->in_flight : IN_FLIGHT;
    device->flags = options->flags;
    return error;
}

static int open_pipe(int fds[2])
{
    if (pipe(fds) < 0)
        return errno;
    for (unsigned i = 0; i < 2; i++) {
        (void)fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(fds[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

/* Signals are the application's: the thread takes none but its own faults. */
static int start_thread(struct nbd_device *device)
{
    sigset_t all, old;
    int error;

    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(&device->thread, NULL, hmm_nbd_serve, device);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

static void free_device(struct nbd_device *device)
{
    if (device->wake[0] >= 0) {
        close(device->wake[0]);
        close(device->wake[1]);
    }
    pthread_mutex_destroy(&device->mutex);
    free(device->uri);
    free(device->socket_path);
    free(device->export_name);
    free(device);
}

void hurdmm_nbd_destroy(struct hurdmm_block *block)
{
    struct nbd_device *device = device_of(block);
    int saved = errno;

    if (!block)
        return;
    /* In a child there is no thread, and the connection is the parent's: what
     * libnbd has of it stays where it is. */
    if (device->pid == getpid()) {
        pthread_mutex_lock(&device->mutex);
        device->stop = true;
        hmm_nbd_wake(device);
        pthread_mutex_unlock(&device->mutex);
        pthread_join(device->thread, NULL);
    }
    free_device(device);
    errno = saved;
}

static int check_options(const struct hurdmm_nbd_options *options)
{
    const unsigned known = HURDMM_NBD_READ_ONLY | HURDMM_NBD_DURABLE;

    if (!options || options->struct_size < sizeof *options ||
        !options->uri == !options->socket_path ||
        (options->uri && options->export_name) ||
        options->in_flight > NBD_SLOTS_MAX || (options->flags & ~known) != 0 ||
        options->timeout_ns > INT64_MAX || options->retry_delay_ns > INT64_MAX)
        return EINVAL;
    return 0;
}

static int new_device(const struct hurdmm_nbd_options *options,
                      struct nbd_device **result)
{
    struct nbd_device *device = calloc(1, sizeof *device);
    int error;

    if (!device)
        return ENOMEM;
    device->wake[0] = -1;
    device->jobs_end = &device->jobs;
    device->pid = getpid();
    device->block.ops = &nbd_ops;
    pthread_mutex_init(&device->mutex, NULL);
    error = copy_options(device, options);
    if (error == 0)
        error = open_pipe(device->wake);
    if (error == 0)
        error = start_thread(device);
    if (error != 0)
        free_device(device);
    else
        *result = device;
    return error;
}

int hurdmm_nbd_create(const struct hurdmm_nbd_options *options,
                      struct hurdmm_block **block)
{
    struct nbd_job hello = {.kind = NBD_NOTHING};
    struct nbd_device *device;
    int saved = errno;
    int error = check_options(options);

    if (error != 0 || !block)
        return error != 0 ? error : EINVAL;
    error = new_device(options, &device);
    if (error == 0) {
        /* A job that needs nothing is done when there is a connection. */
        error = run_job(device, &hello);
        if (error != 0)
            hurdmm_nbd_destroy(&device->block);
        else
            *block = &device->block;
    }
    errno = saved;
    return error;
}

int hurdmm_nbd_get_stats(struct hurdmm_block *block,
                         struct hurdmm_nbd_stats *stats)
{
    struct hurdmm_nbd_stats all;
    struct nbd_device *device;

    if (!block || !stats || stats->struct_size < sizeof *stats ||
        block->ops != &nbd_ops)
        return EINVAL;
    device = device_of(block);
    if (device->pid != getpid())
        return ESTALE;
    pthread_mutex_lock(&device->mutex);
    all = device->stats;
    pthread_mutex_unlock(&device->mutex);
    all.struct_size = stats->struct_size;
    *stats = all; /* it may fault: not with the mutex */
    return 0;
}
