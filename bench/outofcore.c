/* SPDX-License-Identifier: MIT */
/* More data than memory, on the linux port, beside what it is built on.
 *
 * A file four times as large as the budget, in the system's cache, accessed by
 * 8 bytes at a time.  The sides, each in a process of its own, in turns:
 *   inline  the port, faults resolved on the threads that fault
 *   pager   the port as it is by default
 *   bare    a loop of SIGBUS, pread, UFFDIO_COPY and single-page MADV_DONTNEED
 *   pool    an explicit pool: a table and pread, no faults
 *   kernel  mmap with MADV_RANDOM, with all of memory at its disposal
 * Lines are JSON, one a measurement; then come the ratios, of medians.
 *
 * Usage: outofcore [--quick] [--only WORKLOAD] [--side SIDE] [FOLDER]
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <hurdmm/file.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/linux.h>

#define PAGE ((size_t)4096)
#define ROUNDS 3
#define THREADS_MAX 2

enum workload { UNIFORM, ZIPF, SEQUENTIAL, RMW_UNIFORM, RMW_ZIPF, WORKLOADS };
static const char *const workload_names[] = {"uniform", "zipf", "sequential",
                                             "rmw-uniform", "rmw-zipf"};

enum side { INLINE, PAGER, BARE, POOL, KERNEL, SIDES };
static const char *const side_names[] = {"inline", "pager", "bare", "pool",
                                         "kernel"};

static struct {
    char path[512];
    size_t pages, budget;
    uint64_t time_ns;
    int only, side;
} bench;

/* One run, in a process of its own. */
static struct {
    int file;
    enum workload workload;
    enum side side;
    volatile char *base;
    atomic_bool stop;
} run;

static uint64_t now_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Of the calling thread. */
static uint64_t cpu_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void need(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "outofcore: %s: %s\n", what, strerror(errno));
    exit(1);
}

static bool writes(enum workload workload)
{
    return workload == RMW_UNIFORM || workload == RMW_ZIPF;
}

/* ---- Where to go next ---- */

struct walk {
    uint64_t state;
    size_t next;
    double zeta, eta;
};

static uint64_t draw(struct walk *walk)
{
    walk->state ^= walk->state << 13;
    walk->state ^= walk->state >> 7;
    walk->state ^= walk->state << 17;
    return walk->state;
}

#define THETA 0.99

static double zeta_of(size_t count)
{
    double sum = 0;
    for (size_t i = 1; i <= count; i++)
        sum += 1 / pow((double)i, THETA);
    return sum;
}

static void walk_begin(struct walk *walk, unsigned thread, double zeta)
{
    double pages = (double)bench.pages;
    walk->state = 88172645463325252u + thread * 7919;
    walk->next = thread * bench.pages / THREADS_MAX * (PAGE / 8);
    walk->zeta = zeta;
    walk->eta = (1 - pow(2 / pages, 1 - THETA)) /
                (1 - (1 + pow(0.5, THETA)) / walk->zeta);
}

/* Gray and others, "Quickly generating billion-record databases" (1994). */
static size_t zipf(struct walk *walk)
{
    double u = (double)(draw(walk) >> 11) / 9007199254740992.0;
    double uz = u * walk->zeta;
    size_t rank =
        uz < 1 ? 0
        : uz < 1 + pow(0.5, THETA)
            ? 1
            : (size_t)((double)bench.pages *
                       pow(walk->eta * u - walk->eta + 1, 1 / (1 - THETA)));
    return rank * 0x9e3779b97f4a7c15u % bench.pages;
}

static size_t walk_next(struct walk *walk)
{
    if (run.workload == SEQUENTIAL)
        return walk->next++ * 8 % (bench.pages * PAGE);
    bool skewed = run.workload == ZIPF || run.workload == RMW_ZIPF;
    size_t page = skewed ? zipf(walk) : draw(walk) % bench.pages;
    return page * PAGE + draw(walk) % (PAGE / 8) * 8;
}

/* ---- The bare loop ---- */

static struct {
    int fd;
    _Atomic uint32_t *ring;
    atomic_uint head;
    atomic_uchar *dirty, *there;
} bare;

static void bare_evict(uint32_t page)
{
    atomic_store(&bare.there[page], 0);
    char *at = (char *)(uintptr_t)run.base + page * PAGE;
    if (atomic_exchange(&bare.dirty[page], 0)) {
        struct uffdio_writeprotect protect = {.range = {(uintptr_t)at, PAGE},
                                              .mode =
                                                  UFFDIO_WRITEPROTECT_MODE_WP};
        (void)ioctl(bare.fd, UFFDIO_WRITEPROTECT, &protect);
        need(pwrite(run.file, at, PAGE, (off_t)(page * PAGE)) == (ssize_t)PAGE,
             "pwrite");
    }
    (void)madvise(at, PAGE, MADV_DONTNEED);
}

static void bare_fault(int signal, siginfo_t *info, void *context)
{
    static _Thread_local char buffer[PAGE] __attribute__((aligned(4096)));
    uintptr_t at = (uintptr_t)info->si_addr & ~(PAGE - 1);
    uint32_t page = (uint32_t)((at - (uintptr_t)run.base) / PAGE);
    bool write = ((ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
    (void)signal;
    if (write)
        atomic_store(&bare.dirty[page], 1);
    struct uffdio_writeprotect protect = {.range = {at, PAGE}};
    if (write && atomic_load(&bare.there[page])) {
        (void)ioctl(bare.fd, UFFDIO_WRITEPROTECT, &protect);
        return;
    }
    uint32_t place = atomic_fetch_add(&bare.head, 1) % (uint32_t)bench.budget;
    uint32_t old = atomic_exchange(&bare.ring[place], page + 1);
    if (old)
        bare_evict(old - 1);
    (void)!pread(run.file, buffer, PAGE, (off_t)(page * PAGE));
    struct uffdio_copy copy = {.dst = at,
                               .src = (uintptr_t)buffer,
                               .len = PAGE,
                               .mode = write ? 0 : UFFDIO_COPY_MODE_WP};
    atomic_store(&bare.there[page], 1);
    if (ioctl(bare.fd, UFFDIO_COPY, &copy) && write)
        (void)ioctl(bare.fd, UFFDIO_WRITEPROTECT, &protect);
}

static void bare_open(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    need(device >= 0, "/dev/userfaultfd");
    bare.fd = ioctl(device, _IO(0xAA, 0x00), O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_SIGBUS |
                                         UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    need(!ioctl(bare.fd, UFFDIO_API, &api), "UFFDIO_API");
    run.base = mmap(NULL, bench.pages * PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct uffdio_register range = {
        .range = {(uintptr_t)run.base, bench.pages * PAGE},
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};
    need(!ioctl(bare.fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
    bare.ring = calloc(bench.budget, sizeof *bare.ring);
    bare.dirty = calloc(bench.pages, 1);
    bare.there = calloc(bench.pages, 1);
    struct sigaction action = {.sa_sigaction = bare_fault,
                               .sa_flags = SA_SIGINFO | SA_NODEFER};
    need(!sigaction(SIGBUS, &action, NULL), "sigaction");
}

/* ---- The explicit pool ---- */

#define POOL_LOCKS 1024u

static struct {
    char *memory;
    _Atomic uint32_t *page_of; /* of each place, + 1 */
    uint32_t *place_of;        /* of each page, + 1; under the page's lock */
    atomic_uchar *dirty;
    atomic_uint head;
    pthread_mutex_t lock[POOL_LOCKS];
} pool;

static void pool_open(void)
{
    pool.memory = malloc(bench.budget * PAGE);
    pool.page_of = calloc(bench.budget, sizeof *pool.page_of);
    pool.place_of = calloc(bench.pages, sizeof *pool.place_of);
    pool.dirty = calloc(bench.budget, 1);
    need(pool.memory && pool.page_of && pool.place_of && pool.dirty, "malloc");
    for (unsigned i = 0; i < POOL_LOCKS; i++)
        pthread_mutex_init(&pool.lock[i], NULL);
}

static pthread_mutex_t *pool_lock(size_t page)
{
    return &pool.lock[page % POOL_LOCKS];
}

static void pool_evict(uint32_t place)
{
    uint32_t page = atomic_load(&pool.page_of[place]);
    if (!page--)
        return;
    pthread_mutex_lock(pool_lock(page));
    if (pool.place_of[page] == place + 1) {
        if (atomic_exchange(&pool.dirty[place], 0))
            (void)!pwrite(run.file, pool.memory + place * PAGE, PAGE,
                          (off_t)(page * PAGE));
        pool.place_of[page] = 0;
    }
    pthread_mutex_unlock(pool_lock(page));
}

static uint64_t pool_touch(size_t offset, bool write)
{
    size_t page = offset / PAGE;
    pthread_mutex_lock(pool_lock(page));
    while (!pool.place_of[page]) {
        pthread_mutex_unlock(pool_lock(page));
        uint32_t place =
            atomic_fetch_add(&pool.head, 1) % (uint32_t)bench.budget;
        pool_evict(place);
        (void)!pread(run.file, pool.memory + place * PAGE, PAGE,
                     (off_t)(page * PAGE));
        pthread_mutex_lock(pool_lock(page));
        atomic_store(&pool.page_of[place], (uint32_t)page + 1);
        pool.place_of[page] = place + 1;
    }
    uint32_t place = pool.place_of[page] - 1;
    uint64_t *at =
        (uint64_t *)(void *)(pool.memory + place * PAGE + offset % PAGE);
    uint64_t value = *at;
    if (write) {
        atomic_store(&pool.dirty[place], 1);
        *at = value + 1;
    }
    pthread_mutex_unlock(pool_lock(page));
    return value;
}

/* ---- Ours, and the kernel ---- */

static void ours_open(void)
{
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_store *store;
    uintptr_t address;
    bool in_place = run.side == INLINE;
    need(!hurdmm_linux_create(NULL, &port), "hurdmm_linux_create");
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .port = port,
                                     .budget = bench.budget * PAGE,
                                     .flags = in_place ? HURDMM_NO_THREADS : 0};
    need(!hurdmm_create(&options, &manager), "hurdmm_create");
    need(!hurdmm_file_create(manager, run.file, 0, 0, &store),
         "hurdmm_file_create");
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = hurdmm_space_own(manager),
        .store = store,
        .length = bench.pages * PAGE,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .advice = run.workload == SEQUENTIAL ? HURDMM_ADVICE_SEQUENTIAL
                                             : HURDMM_ADVICE_RANDOM,
        .flags = in_place ? HURDMM_BIND_INLINE : 0,
    };
    need(!hurdmm_bind(&bind, &address), "hurdmm_bind");
    run.base = (volatile char *)address;
}

static void kernel_open(void)
{
    run.base = mmap(NULL, bench.pages * PAGE, PROT_READ | PROT_WRITE,
                    MAP_SHARED, run.file, 0);
    need(run.base != MAP_FAILED, "mmap");
    (void)madvise((void *)(uintptr_t)run.base, bench.pages * PAGE,
                  run.workload == SEQUENTIAL ? MADV_NORMAL : MADV_RANDOM);
}

/* ---- Measuring ---- */

struct worker {
    unsigned number;
    double zeta;
    uint64_t accesses, sum, time_ns, cpu_ns;
};

static void access_some(struct worker *worker, struct walk *walk,
                        unsigned count)
{
    bool write = writes(run.workload);
    for (unsigned i = 0; i < count; i++) {
        size_t offset = walk_next(walk);
        if (run.side == POOL) {
            worker->sum += pool_touch(offset, write);
            continue;
        }
        volatile uint64_t *at = (volatile uint64_t *)(run.base + offset);
        uint64_t value = *at;
        worker->sum += value;
        if (write)
            *at = value + 1;
    }
    worker->accesses += count;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct walk walk;
    walk_begin(&walk, worker->number, worker->zeta);
    uint64_t start_ns = now_ns();
    /* Until memory is full, and long enough. */
    size_t fill = 2 * bench.budget;
    if (run.workload == SEQUENTIAL)
        fill *= PAGE / 8;
    while (now_ns() - start_ns < bench.time_ns / 2 || worker->accesses < fill)
        access_some(worker, &walk, 256);
    worker->accesses = 0;
    start_ns = now_ns();
    uint64_t start_cpu_ns = cpu_ns();
    while ((worker->time_ns = now_ns() - start_ns) < bench.time_ns)
        access_some(worker, &walk, 256);
    worker->cpu_ns = cpu_ns() - start_cpu_ns;
    return NULL;
}

struct result {
    double rate;   /* accesses per second */
    double cpu_us; /* of an access, on the threads that make them */
};

static struct result measure(unsigned threads)
{
    pthread_t handles[THREADS_MAX];
    struct worker workers[THREADS_MAX] = {{0}};
    struct result result = {0, 0};
    double zeta = zeta_of(bench.pages);
    run.file = open(bench.path, O_RDWR | O_CLOEXEC);
    need(run.file >= 0, bench.path);
    if (run.side == BARE)
        bare_open();
    else if (run.side == POOL)
        pool_open();
    else if (run.side == KERNEL)
        kernel_open();
    else
        ours_open();
    for (unsigned i = 0; i < threads; i++) {
        workers[i].number = i;
        workers[i].zeta = zeta;
        need(!pthread_create(&handles[i], NULL, work, &workers[i]), "thread");
    }
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(handles[i], NULL);
        result.rate +=
            (double)workers[i].accesses * 1e9 / (double)workers[i].time_ns;
        result.cpu_us += (double)workers[i].cpu_ns / 1e3 /
                         (double)workers[i].accesses / threads;
    }
    return result;
}

static struct result measure_apart(enum side side, enum workload workload,
                                   unsigned threads)
{
    int pipes[2];
    struct result result = {0, 0};
    need(!pipe(pipes), "pipe");
    pid_t child = fork();
    if (child == 0) {
        run.side = side;
        run.workload = workload;
        result = measure(threads);
        _exit(write(pipes[1], &result, sizeof result) !=
              (ssize_t)sizeof result);
    }
    (void)close(pipes[1]);
    if (read(pipes[0], &result, sizeof result) != (ssize_t)sizeof result)
        result.rate = 0;
    (void)close(pipes[0]);
    (void)waitpid(child, NULL, 0);
    return result;
}

static double rates[SIDES][WORKLOADS][THREADS_MAX][ROUNDS];

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(enum side side, enum workload workload, unsigned threads)
{
    double *values = rates[side][workload][threads - 1];
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

static void measure_all(void)
{
    for (int w = 0; w < WORKLOADS; w++)
        for (unsigned t = 1; t <= THREADS_MAX; t++)
            for (int round = 0; round < ROUNDS; round++)
                for (int i = 0; i < SIDES; i++) {
                    int s = (i + round) % SIDES;
                    if ((bench.only >= 0 && w != bench.only) ||
                        (bench.side >= 0 && s != bench.side))
                        continue;
                    struct result result =
                        measure_apart((enum side)s, (enum workload)w, t);
                    rates[s][w][t - 1][round] = result.rate;
                    printf("{\"workload\":\"%s\",\"side\":\"%s\","
                           "\"threads\":%u,\"round\":%d,"
                           "\"accesses_per_s\":%.0f,\"cpu_us\":%.3f}\n",
                           workload_names[w], side_names[s], t, round,
                           result.rate, result.cpu_us);
                    (void)fflush(stdout);
                }
}

static void table(void)
{
    printf("%-12s %2s", "thousands/s", "t");
    for (int s = 0; s < SIDES; s++)
        printf(" %9s", side_names[s]);
    printf("  inline/bare pager/bare inline-2/1\n");
    for (int w = 0; w < WORKLOADS; w++)
        for (unsigned t = 1; t <= THREADS_MAX; t++) {
            if (bench.only >= 0 && w != bench.only)
                continue;
            printf("%-12s %2u", workload_names[w], t);
            for (int s = 0; s < SIDES; s++)
                printf(" %9.1f",
                       median((enum side)s, (enum workload)w, t) / 1e3);
            double floor = median(BARE, (enum workload)w, t);
            printf("  %11.2f %10.2f %10.2f\n",
                   median(INLINE, (enum workload)w, t) / floor,
                   median(PAGER, (enum workload)w, t) / floor,
                   median(INLINE, (enum workload)w, t) /
                       median(INLINE, (enum workload)w, 1));
        }
}

/* Writes by pages: large pieces make large folios, which are slow to write to
 * by pages. */
static void make_file(void)
{
    static char page[PAGE];
    int file = open(bench.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    need(file >= 0, bench.path);
    for (size_t i = 0; i < bench.pages; i++) {
        memset(page, (int)i, PAGE);
        need(write(file, page, PAGE) == (ssize_t)PAGE, "write");
    }
    (void)close(file);
}

static int find(const char *name, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(name, names[i]))
            return i;
    fprintf(stderr, "outofcore: what is %s?\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    const char *folder = "/tmp";
    bench.pages = (size_t)1 << 18;
    bench.time_ns = 1000000000u;
    bench.only = bench.side = -1;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--quick")) {
            bench.pages = 4096;
            bench.time_ns = 20000000u;
        } else if (!strcmp(argv[i], "--only") && i + 1 < argc) {
            bench.only = find(argv[++i], workload_names, WORKLOADS);
        } else if (!strcmp(argv[i], "--side") && i + 1 < argc) {
            bench.side = find(argv[++i], side_names, SIDES);
        } else {
            folder = argv[i];
        }
    }
    bench.budget = bench.pages / 4;
    (void)snprintf(bench.path, sizeof bench.path, "%s/outofcore-%ld.bin",
                   folder, (long)getpid());
    make_file();
    measure_all();
    (void)unlink(bench.path);
    table();
    return 0;
}
