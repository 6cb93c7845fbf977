/* SPDX-License-Identifier: MIT */
/* peers.c - what the library is compared with: see paging.h.
 *
 * Each is written as plainly as it can be and has the fewest system calls that
 * do the work; none has the errors, the copies or the write-back order that a
 * library must have.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bench/paging.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/aio_abi.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>

#define BUFFER_MAX ((size_t)64 * 1024)

/* ---- The bare loop ---- */

static struct {
    int fd;
    _Atomic uint32_t *ring;
    atomic_uint head;
    atomic_uchar *dirty, *there;
} bare;

static void protect(uintptr_t at, bool on)
{
    struct uffdio_writeprotect range = {
        .range = {at, run.trial.unit},
        .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    (void)ioctl(bare.fd, UFFDIO_WRITEPROTECT, &range);
}

static void bare_evict(uint32_t number)
{
    size_t unit = run.trial.unit;
    char *at = (char *)(uintptr_t)run.base + number * unit;

    atomic_store(&bare.there[number], 0);
    if (atomic_exchange(&bare.dirty[number], 0)) {
        protect((uintptr_t)at, true);
        /* Another thread may have dropped it: nothing is gone that counts. */
        (void)!pwrite(run.file, at, unit, (off_t)(number * unit));
    }
    (void)madvise(at, unit, MADV_DONTNEED);
}

static void bare_fill(uintptr_t at, uint32_t number, bool write)
{
    static _Thread_local char buffer[BUFFER_MAX] __attribute__((aligned(4096)));
    size_t unit = run.trial.unit;

    (void)!pread(run.file, buffer, unit, (off_t)(number * unit));
    struct uffdio_copy copy = {.dst = at,
                               .src = (uintptr_t)buffer,
                               .len = unit,
                               .mode = write ? 0 : UFFDIO_COPY_MODE_WP};
    atomic_store(&bare.there[number], 1);
    if (ioctl(bare.fd, UFFDIO_COPY, &copy) && write)
        protect(at, false);
}

static void bare_fault(int signal, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr & ~(run.trial.unit - 1);
    uint32_t number = (uint32_t)((at - (uintptr_t)run.base) / run.trial.unit);
    bool write = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;

    (void)signal;
    if (write)
        atomic_store(&bare.dirty[number], 1);
    if (write && atomic_load(&bare.there[number])) {
        protect(at, false);
        return;
    }
    uint32_t place =
        atomic_fetch_add(&bare.head, 1) % (uint32_t)run.trial.budget;
    uint32_t old = atomic_exchange(&bare.ring[place], number + 1);
    if (old)
        bare_evict(old - 1);
    bare_fill(at, number, write);
}

/* A descriptor and a range of as many units, which begins at one. */
static bool watch(uint64_t features)
{
    size_t bytes = run_bytes(), unit = run.trial.unit;
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

    bare.fd = device >= 0 ? ioctl(device, _IO(0xAA, 0x00), O_CLOEXEC)
                          : (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    if (bare.fd < 0 || ioctl(bare.fd, UFFDIO_API, &api))
        return false;
    char *there = mmap(NULL, bytes + unit, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(there != MAP_FAILED, "mmap");
    there += unit - (uintptr_t)there % unit;
    (void)madvise(there, bytes, MADV_NOHUGEPAGE);
    struct uffdio_register range = {.range = {(uintptr_t)there, bytes},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING |
                                            UFFDIO_REGISTER_MODE_WP};
    check(!ioctl(bare.fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
    run.base = there;
    bare.ring = calloc(run.trial.budget, sizeof *bare.ring);
    bare.dirty = calloc(run.trial.units, 1);
    bare.there = calloc(run.trial.units, 1);
    check(bare.ring && bare.dirty && bare.there, "calloc");
    return true;
}

bool bare_open(void)
{
    struct sigaction action = {.sa_sigaction = bare_fault,
                               .sa_flags = SA_SIGINFO | SA_NODEFER};

    if (!watch(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP))
        return false;
    check(!sigaction(SIGBUS, &action, NULL), "sigaction");
    return true;
}

static void *handle(void *argument)
{
    struct uffd_msg message;

    (void)argument;
    while (read(bare.fd, &message, sizeof message) == sizeof message) {
        uintptr_t at =
            (uintptr_t)message.arg.pagefault.address & ~(run.trial.unit - 1);
        bare_fill(at, (uint32_t)((at - (uintptr_t)run.base) / run.trial.unit),
                  false);
    }
    return NULL;
}

bool handler_open(void)
{
    pthread_t thread;
    cpu_set_t one;

    if (!watch(UFFD_FEATURE_PAGEFAULT_FLAG_WP))
        return false;
    check(!pthread_create(&thread, NULL, handle, NULL), "thread");
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (run.trial.pinned)
        (void)pthread_setaffinity_np(thread, sizeof one, &one);
    return true;
}

/* ---- The explicit pool ---- */

#define POOL_LOCKS 1024u

static struct {
    char *memory;
    _Atomic uint32_t *unit_of; /* of each place, + 1 */
    uint32_t *place_of;        /* of each unit, + 1; under the unit's lock */
    atomic_uchar *dirty;
    atomic_uint head;
    pthread_mutex_t lock[POOL_LOCKS];
} pool;

bool pool_open(void)
{
    size_t bytes = run.trial.budget * run.trial.unit;
    void *memory;

    check(!posix_memalign(&memory, 4096, bytes), "memory");
    pool.memory = memory;
    pool.unit_of = calloc(run.trial.budget, sizeof *pool.unit_of);
    pool.place_of = calloc(run.trial.units, sizeof *pool.place_of);
    pool.dirty = calloc(run.trial.budget, 1);
    check(pool.unit_of && pool.place_of && pool.dirty, "calloc");
    for (unsigned i = 0; i < POOL_LOCKS; i++)
        pthread_mutex_init(&pool.lock[i], NULL);
    return true;
}

static pthread_mutex_t *pool_lock(size_t number)
{
    return &pool.lock[number % POOL_LOCKS];
}

static void pool_evict(uint32_t place)
{
    uint32_t number = atomic_load(&pool.unit_of[place]);
    size_t unit = run.trial.unit;

    if (!number--)
        return;
    pthread_mutex_lock(pool_lock(number));
    if (pool.place_of[number] == place + 1) {
        if (atomic_exchange(&pool.dirty[place], 0))
            (void)!pwrite(run.file, pool.memory + place * unit, unit,
                          (off_t)(number * unit));
        pool.place_of[number] = 0;
    }
    pthread_mutex_unlock(pool_lock(number));
}

uint64_t pool_touch(size_t offset, bool write)
{
    size_t unit = run.trial.unit, number = offset / unit;

    pthread_mutex_lock(pool_lock(number));
    while (!pool.place_of[number]) {
        pthread_mutex_unlock(pool_lock(number));
        uint32_t place =
            atomic_fetch_add(&pool.head, 1) % (uint32_t)run.trial.budget;
        pool_evict(place);
        (void)!pread(run.file, pool.memory + place * unit, unit,
                     (off_t)(number * unit));
        pthread_mutex_lock(pool_lock(number));
        atomic_store(&pool.unit_of[place], (uint32_t)number + 1);
        pool.place_of[number] = place + 1;
    }
    uint32_t place = pool.place_of[number] - 1;
    uint64_t *at =
        (uint64_t *)(void *)(pool.memory + place * unit + offset % unit);
    uint64_t value = *at;
    if (write) {
        atomic_store(&pool.dirty[place], 1);
        *at = value + 1;
    }
    pthread_mutex_unlock(pool_lock(number));
    return value;
}

/* ---- The kernel ---- */

static bool put(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool good =
        file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);

    if (file >= 0)
        (void)close(file);
    return good;
}

static const char *const cgroup_places[][2] = {
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
    {"/sys/fs/cgroup", "memory.max"},
};

static char cgroup[128];

/* Its process has ended, by whatever means: until then it may be busy. */
void cgroup_forget(long process)
{
    char name[128];

    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof name, "%s/hurdmm-bench-%ld",
                       cgroup_places[i][0], process);
        (void)rmdir(name);
    }
}

/* A memory cgroup of so many bytes for this process, of either version. */
static bool cgroup_enter(size_t bytes)
{
    char name[256], text[32];

    for (unsigned i = 0; i < 2; i++) {
        (void)snprintf(cgroup, sizeof cgroup, "%s/hurdmm-bench-%ld",
                       cgroup_places[i][0], (long)getpid());
        if (mkdir(cgroup, 0700))
            continue;
        (void)snprintf(name, sizeof name, "%s/%s", cgroup, cgroup_places[i][1]);
        (void)snprintf(text, sizeof text, "%zu", bytes);
        bool good = put(name, text);
        (void)snprintf(name, sizeof name, "%s/cgroup.procs", cgroup);
        if (good && put(name, "0"))
            return true;
        (void)rmdir(cgroup);
    }
    return false;
}

bool kernel_open(void)
{
    const struct trial *trial = &run.trial;

    if (trial->direct) {
        /* The pages of the program itself count too. */
        if (!cgroup_enter(trial->budget * trial->unit + ((size_t)4 << 20)))
            return false;
        (void)fdatasync(run.file);
        (void)posix_fadvise(run.file, 0, 0, POSIX_FADV_DONTNEED);
    }
    run.base = mmap(NULL, run_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED,
                    run.file, 0);
    check(run.base != MAP_FAILED, "mmap");
    (void)madvise((void *)(uintptr_t)run.base, run_bytes(),
                  trial->side == RANDOM ? MADV_RANDOM : MADV_NORMAL);
    return true;
}

/* ---- Explicit reading ---- */

uint64_t sum_words(const volatile char *at, size_t bytes)
{
    const uint64_t *words = (const uint64_t *)(uintptr_t)at;
    uint64_t sum[4] = {0, 0, 0, 0};

    for (size_t i = 0; i < bytes / 8; i += 4) {
        sum[0] += words[i];
        sum[1] += words[i + 1];
        sum[2] += words[i + 2];
        sum[3] += words[i + 3];
    }
    return sum[0] + sum[1] + sum[2] + sum[3];
}

static struct {
    char *buffer;
    aio_context_t queue;
} stream;

bool stream_open(void)
{
    void *memory;

    check(!posix_memalign(&memory, 4096, DEPTH * PIECE), "memory");
    stream.buffer = memory;
    memset(memory, 0, DEPTH * PIECE);
    return !run.trial.direct || !syscall(SYS_io_setup, DEPTH, &stream.queue);
}

static void piece_begin(size_t number)
{
    struct iocb piece = {
        .aio_data = number % DEPTH,
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)run.file,
        .aio_buf = (uint64_t)(uintptr_t)stream.buffer + number % DEPTH * PIECE,
        .aio_nbytes = PIECE,
        .aio_offset = (int64_t)(number * PIECE),
    };
    struct iocb *list = &piece;

    if (number * PIECE < run_bytes())
        check(syscall(SYS_io_submit, stream.queue, 1, &list) == 1, "io_submit");
}

static uint64_t sum_direct(void)
{
    bool there[DEPTH] = {false};
    uint64_t sum = 0;

    for (size_t i = 0; i < DEPTH; i++)
        piece_begin(i);
    for (size_t i = 0; i * PIECE < run_bytes(); i++) {
        while (!there[i % DEPTH]) {
            struct io_event event;
            check(syscall(SYS_io_getevents, stream.queue, 1, 1, &event, NULL) ==
                          1 &&
                      event.res == (int64_t)PIECE,
                  "io_getevents");
            there[event.data] = true;
        }
        there[i % DEPTH] = false;
        sum += sum_words(stream.buffer + i % DEPTH * PIECE, PIECE);
        piece_begin(i + DEPTH);
    }
    return sum;
}

uint64_t stream_sum(void)
{
    uint64_t sum = 0;

    if (run.trial.direct)
        return sum_direct();
    for (size_t at = 0; at < run_bytes(); at += PIECE) {
        check(pread(run.file, stream.buffer, PIECE, (off_t)at) ==
                  (ssize_t)PIECE,
              "pread");
        sum += sum_words(stream.buffer, PIECE);
    }
    return sum;
}
