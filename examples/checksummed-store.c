/* SPDX-License-Identifier: MIT */
/*
 * A store of one's own: a file whose every block has a checksum beside it.
 *
 *     checksummed-store create FILE BLOCKS     makes FILE and FILE.sums
 *     checksummed-store write FILE OFFSET TEXT puts TEXT there
 *     checksummed-store verify FILE            looks at every block
 *
 * FILE is paged like any other memory, but what it holds is believed only if its
 * checksum is right; else whoever touches it gets EIO: as a return value from
 * hurdmm_read, as SIGBUS from a load.
 *
 * It is a full store: it answers each fault itself, with hurdmm_request_complete,
 * when and on which thread it likes.  Here a thread of its own, the checker,
 * answers one request at a time; while it is busy, the thread that brings a
 * request answers it.  Build it with
 *     cc checksummed-store.c $(pkg-config --cflags --libs hurdmm) -lpthread
 *
 * A crash between the writes of a block and of its checksum leaves a block that
 * is refused; a store for daily use would keep a journal.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>

struct checksummed {
    int data, sums;
    size_t block;
    /* The checker takes `waiting`, if there is one.  Under `mutex`. */
    pthread_t checker;
    pthread_mutex_t mutex;
    pthread_cond_t change;
    struct hurdmm_request *waiting;
    bool ending;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "checksummed-store: %s: %s\n", what, strerror(error));
    exit(2);
}

static void check(const char *what, int error)
{
    if (error != 0)
        fail(what, error);
}

/* Reads or writes all of a range: 0 or an errno value. */
static int transfer(int fd, void *in, const void *out, size_t length,
                    uint64_t offset)
{
    size_t done = 0;

    while (done < length) {
        off_t at = (off_t)(offset + done);
        ssize_t n =
            out ? pwrite(fd, (const char *)out + done, length - done, at)
                : pread(fd, (char *)in + done, length - done, at);

        if (n == 0)
            return EIO;
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

/* FNV-1a with the block's number in front, so that a block that landed in the
 * wrong place is found as well. */
static uint64_t checksum(uint64_t number, const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;
    uint64_t sum = UINT64_C(0xcbf29ce484222325) ^ number;

    for (size_t i = 0; i < length; i++)
        sum = (sum ^ byte[i]) * UINT64_C(0x100000001b3);
    return sum;
}

static int read_block(const struct checksummed *store, uint64_t number,
                      void *buffer)
{
    uint64_t sum;
    int error = transfer(store->data, buffer, NULL, store->block,
                         number * store->block);

    if (error == 0)
        error =
            transfer(store->sums, &sum, NULL, sizeof sum, number * sizeof sum);
    if (error == 0 && sum != checksum(number, buffer, store->block))
        error = EIO;
    return error;
}

static int write_block(const struct checksummed *store, uint64_t number,
                       const void *buffer)
{
    uint64_t sum = checksum(number, buffer, store->block);
    int error = transfer(store->data, NULL, buffer, store->block,
                         number * store->block);

    if (error == 0)
        error =
            transfer(store->sums, NULL, &sum, sizeof sum, number * sizeof sum);
    return error;
}

/* Fills the request's buffer and completes it: then the buffer becomes memory,
 * or everybody who waits for it gets the error.  More may be asked for than
 * somebody waits for, so what comes before a bad block is supplied: where that
 * is all that is waited for, the error is nobody's. */
static void answer(const struct checksummed *store,
                   struct hurdmm_request *request)
{
    struct hurdmm_request_info info;
    char *buffer = hurdmm_request_buffer(request);
    size_t good = 0, done;
    int error = 0;

    hurdmm_request_get_info(request, &info);
    while (good < info.length && error == 0) {
        error = read_block(store, (info.offset + good) / store->block,
                           buffer + good);
        if (error == 0)
            good += store->block;
    }
    if (error != 0 && good > 0)
        (void)hurdmm_store_supply(info.store, info.offset, buffer, good, &done);
    hurdmm_request_complete(request, error);
}

static void *checker(void *argument)
{
    struct checksummed *store = argument;
    struct hurdmm_request *request;

    pthread_mutex_lock(&store->mutex);
    while (!store->ending || store->waiting) {
        request = store->waiting;
        if (!request) {
            pthread_cond_wait(&store->change, &store->mutex);
            continue;
        }
        pthread_mutex_unlock(&store->mutex);
        answer(store, request);
        pthread_mutex_lock(&store->mutex);
        store->waiting = NULL;
    }
    pthread_mutex_unlock(&store->mutex);
    return NULL;
}

static int checksummed_fault(struct hurdmm_store *handle, void *hook,
                             struct hurdmm_request *request)
{
    struct checksummed *store = hook;
    bool handed_over = false;

    (void)handle;
    pthread_mutex_lock(&store->mutex);
    if (!store->waiting) {
        store->waiting = request;
        handed_over = true;
        pthread_cond_signal(&store->change);
    }
    pthread_mutex_unlock(&store->mutex);
    if (!handed_over)
        answer(store, request);
    return 0;
}

static int checksummed_page_out(struct hurdmm_store *handle, void *hook,
                                uint64_t offset, const void *buffer,
                                size_t length, size_t *done)
{
    struct checksummed *store = hook;
    int error = 0;

    (void)handle;
    for (*done = 0; *done < length && error == 0;) {
        error = write_block(store, (offset + *done) / store->block,
                            (const char *)buffer + *done);
        if (error == 0)
            *done += store->block;
    }
    return error;
}

static int checksummed_sync(struct hurdmm_store *handle, void *hook,
                            uint64_t offset, uint64_t length)
{
    struct checksummed *store = hook;

    (void)handle, (void)offset, (void)length;
    if (fdatasync(store->data) < 0 || fdatasync(store->sums) < 0)
        return errno;
    return 0;
}

static void checksummed_destroy(void *hook)
{
    struct checksummed *store = hook;

    pthread_mutex_lock(&store->mutex);
    store->ending = true;
    pthread_cond_signal(&store->change);
    pthread_mutex_unlock(&store->mutex);
    pthread_join(store->checker, NULL);
    pthread_cond_destroy(&store->change);
    pthread_mutex_destroy(&store->mutex);
    close(store->data);
    close(store->sums);
    free(store);
}

static const struct hurdmm_store_ops checksummed_ops = {
    .struct_size = sizeof checksummed_ops,
    .fault = checksummed_fault,
    .page_out = checksummed_page_out,
    .sync = checksummed_sync,
    .destroy = checksummed_destroy,
};

static int open_files(struct checksummed *store, const char *path, int flags)
{
    size_t length = strlen(path) + sizeof ".sums";
    char *sums = malloc(length);

    if (!sums)
        return ENOMEM;
    snprintf(sums, length, "%s.sums", path);
    store->data = open(path, flags | O_CLOEXEC, 0666);
    store->sums = store->data < 0 ? -1 : open(sums, flags | O_CLOEXEC, 0666);
    free(sums);
    return store->sums < 0 ? errno : 0;
}

static int checksummed_create(struct hurdmm *manager, const char *path,
                              int flags, uint64_t blocks,
                              struct hurdmm_store **handle)
{
    struct checksummed *store = calloc(1, sizeof *store);
    struct hurdmm_store_options options = {
        .struct_size = sizeof options, .name = "checksummed", .hook = store};
    int error;

    if (!store)
        return ENOMEM;
    store->block = hurdmm_page_size(manager);
    error = open_files(store, path, flags);
    if (error != 0)
        return error; /* the program ends */
    if (blocks == 0)
        blocks = (uint64_t)lseek(store->data, 0, SEEK_END) / store->block;
    options.size = blocks * store->block;
    pthread_mutex_init(&store->mutex, NULL);
    pthread_cond_init(&store->change, NULL);
    error = pthread_create(&store->checker, NULL, checker, store);
    if (error != 0)
        return error;
    return hurdmm_store_create(manager, &checksummed_ops, &options, handle);
}

struct program {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_store *store;
    struct hurdmm_space *space;
    uintptr_t address;
    size_t length;
};

static void start(struct program *program, const char *path, int flags,
                  uint64_t blocks)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = 1 << 20};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind};

    check("port", hurdmm_host_port_create(NULL, &program->port));
    options.port = program->port;
    check("manager", hurdmm_create(&options, &program->manager));
    check(path, checksummed_create(program->manager, path, flags, blocks,
                                   &program->store));
    program->space = hurdmm_space_own(program->manager);
    program->length = (size_t)hurdmm_store_size(program->store);
    if (program->length == 0)
        fail(path, EINVAL);
    bind.space = program->space;
    bind.store = program->store;
    bind.length = program->length;
    bind.rights = HURDMM_READ | HURDMM_WRITE;
    check("bind", hurdmm_bind(&bind, &program->address));
}

/* Writes back what is dirty. */
static void stop(struct program *program)
{
    check("write", hurdmm_destroy(program->manager, HURDMM_DETACH));
    check("port", hurdmm_host_port_destroy(program->port));
}

/* Whole pages are overwritten without being read, so that blocks which have no
 * checksum yet are never verified. */
static void create(const char *path, uint64_t blocks)
{
    struct program program;
    size_t page, done;
    char *zeros;

    if (blocks == 0 || blocks > SIZE_MAX >> 20)
        fail("BLOCKS", EINVAL);
    start(&program, path, O_RDWR | O_CREAT | O_TRUNC, blocks);
    page = hurdmm_page_size(program.manager);
    zeros = calloc(1, page);
    if (!zeros)
        fail("memory", ENOMEM);
    for (size_t at = 0; at < program.length; at += page)
        check(path, hurdmm_store_write(program.store, at, zeros, page, &done));
    free(zeros);
    stop(&program);
}

static void write_text(const char *path, uint64_t offset, const char *text)
{
    struct program program;
    size_t length = strlen(text);
    size_t done;

    start(&program, path, O_RDWR, 0);
    if (offset > program.length || length > program.length - offset)
        fail("OFFSET", EINVAL);
    check(path, hurdmm_write(program.space, program.address + (size_t)offset,
                             text, length, &done));
    check(path, hurdmm_store_sync(program.store, 0, HURDMM_WHOLE, HURDMM_WAIT));
    stop(&program);
}

static sigjmp_buf after_fault;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    siglongjmp(after_fault, info->si_errno ? info->si_errno : EFAULT);
}

/* Loads a byte: 0, or the error that the load ended with. */
static int touch(const volatile char *byte)
{
    int error = sigsetjmp(after_fault, 1);

    if (error == 0)
        (void)*byte;
    return error;
}

static int verify(const char *path)
{
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO};
    struct program program;
    uint64_t bad = 0;
    size_t page, done;
    char byte;

    /* Before the library's handlers, which pass on what they cannot cure. */
    sigaction(SIGBUS, &action, NULL);
    start(&program, path, O_RDWR, 0);
    page = hurdmm_page_size(program.manager);
    for (size_t at = 0; at < program.length; at += page) {
        int returned =
            hurdmm_read(program.space, program.address + at, &byte, 1, &done);
        int caught = touch((const char *)program.address + at);

        if (returned == 0 && caught == 0)
            continue;
        bad++;
        printf("block %zu: hurdmm_read: %s; load: %s\n", at / page,
               strerror(returned), strerror(caught));
    }
    printf("%zu blocks, %" PRIu64 " corrupt\n", program.length / page, bad);
    stop(&program);
    return bad == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "create") == 0) {
        create(argv[2], strtoull(argv[3], NULL, 0));
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "write") == 0) {
        write_text(argv[2], strtoull(argv[3], NULL, 0), argv[4]);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "verify") == 0)
        return verify(argv[2]);
    fprintf(stderr, "usage: checksummed-store create FILE BLOCKS\n"
                    "       checksummed-store write FILE OFFSET TEXT\n"
                    "       checksummed-store verify FILE\n");
    return 2;
}
