/* SPDX-License-Identifier: MIT */
/* rows.c - the figures that the linux port holds itself to, each a ratio to a
 * peer of the same run.
 *
 * The two or three sides of a row run in turns, `rounds' times; a row is the
 * median of the rounds' ratios.  No row is a test: what a busy machine says is
 * printed, and `FALLS SHORT' is a line like others.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bench/paging.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hurdmm/file.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/linux.h>

#include "bench/report.h"

#define PAGE ((size_t)4096)

static struct {
    const char *path, *only;
    size_t rounds, pages; /* of the file */
    uint64_t time_ns;
    bool quick;
} rows;

/* A line of the table: `value' against a peer's.  target > 0: at least that
 * ratio, target < 0: at most; 0: for information. */
static void row(const char *name, double value, const char *unit, double peer,
                double ratio, double target)
{
    char wanted[32] = "-", against[32] = "-", got[32] = "-";
    const char *verdict = "-";

    if (peer > 0)
        (void)snprintf(against, sizeof against, "%.2f", peer);
    if (ratio > 0)
        (void)snprintf(got, sizeof got, "%.2f x", ratio);
    if (target > 0 || target < 0) {
        (void)snprintf(wanted, sizeof wanted, "%s %.2f x",
                       target > 0 ? ">=" : "<=", target > 0 ? target : -target);
        verdict = (target > 0 ? ratio >= target : ratio <= -target)
                      ? "holds"
                      : "FALLS SHORT";
    }
    printf("%-44s %9.2f %9s %-7s %8s  %-10s %s\n", name, value, against, unit,
           got, wanted, verdict);
    (void)fflush(stdout);
}

static void limit(const char *name, double value, const char *unit, double most)
{
    printf("%-44s %9.2f %9s %-7s %8s  <= %-7g %s\n", name, value, "-", unit,
           "-", most, value <= most ? "holds" : "FALLS SHORT");
    (void)fflush(stdout);
}

static void not_run(const char *name, const char *why)
{
    printf("%-44s not run: %s\n", name, why);
    (void)fflush(stdout);
}

static bool left_out(const char *name)
{
    return rows.only && !strstr(name, rows.only);
}

/* One value of a trial; 0: it did not run. */
static double value_of(const struct trial *trial, bool again, double scale)
{
    struct outcome outcome = trial_run(trial, rows.path);

    return outcome.ran ? (again ? outcome.again : outcome.rate) / scale : 0;
}

/* Runs two trials in turns, and prints their row. */
static void compare(const char *name, const char *unit, double scale,
                    const struct trial *ours, const struct trial *peer,
                    bool again, double target)
{
    struct samples over = {.count = 0}, under = {.count = 0};

    if (left_out(name))
        return;
    for (size_t i = 0; i < rows.rounds; i++) {
        bool turn = i % 2;
        double first = value_of(turn ? peer : ours, again, scale);
        double second = value_of(turn ? ours : peer, again, scale);
        if (first <= 0 || second <= 0) {
            not_run(name, "a side cannot be had here");
            return;
        }
        samples_add(&over, turn ? second : first);
        samples_add(&under, turn ? first : second);
    }
    row(name, median(&over), unit, median(&under), median_ratio(&over, &under),
        target);
}

static struct trial trial_of(enum how how, enum side side,
                             enum workload workload, unsigned threads)
{
    return (struct trial){
        .how = how,
        .side = side,
        .workload = workload,
        .threads = threads,
        .unit = PAGE,
        .units = rows.pages,
        .budget = rows.pages / 4,
        .time_ns = rows.time_ns,
    };
}

/* ---- Faults ---- */

static void latency(const char *name, enum side side, enum side peer,
                    bool pinned, bool wall, double target)
{
    struct trial ours = trial_of(LATENCY, side, UNIFORM, 1);

    ours.units = rows.pages / 8;
    ours.budget = ours.units + ours.units / 8;
    ours.pinned = pinned;
    struct trial theirs = ours;
    theirs.side = peer;
    compare(name, "us", 1e3, &ours, &theirs, !wall, target);
}

static void measure_faults(void)
{
    latency("fault, inline against bare SIGBUS (p50)", INLINE, BARE, false,
            false, -1.25);
    latency("fault, pager against bare handler, pinned", PAGER, HANDLER, true,
            false, -1.25);
    latency("fault, pager, nothing pinned (wall)", PAGER, HANDLER, false, true,
            -0.4);
}

/* ---- Accesses ---- */

static void measure_accesses(void)
{
    struct trial ours = trial_of(ACCESSES, INLINE, UNIFORM, 1);
    struct trial peer = trial_of(ACCESSES, BARE, UNIFORM, 1);
    struct trial two = trial_of(ACCESSES, INLINE, UNIFORM, 2);

    compare("uniform, cached, against the bare loop", "k/s", 1e3, &ours, &peer,
            false, 1.1);
    compare("uniform, 2 threads against 1", "k/s", 1e3, &two, &ours, false,
            1.6);
    ours.workload = two.workload = peer.workload = RMW_UNIFORM;
    compare("read-modify-write, 2 threads against 1", "k/s", 1e3, &two, &ours,
            false, 1.4);
    compare("read-modify-write against the bare loop", "k/s", 1e3, &ours, &peer,
            false, 0);
    peer.threads = 2;
    compare("read-modify-write, 2 threads, bare loop", "k/s", 1e3, &two, &peer,
            false, 0);
}

/* ---- Sums ---- */

static void measure_sums(void)
{
    struct trial ours = trial_of(SUMS, INLINE, SEQUENTIAL, 1);
    struct trial stream = trial_of(SUMS, STREAM, SEQUENTIAL, 1);

    compare("sequential, cached, against pread of 256 KiB", "GB/s", 1e9, &ours,
            &stream, false, 0.5);
    ours.side = PAGER;
    compare("the same, by pager threads", "GB/s", 1e9, &ours, &stream, false,
            0);
    struct trial resident = trial_of(SUMS, INLINE, SEQUENTIAL, 1);
    resident.units = rows.pages / 4;
    resident.budget = rows.pages / 4 + rows.pages / 16;
    struct trial kernel = resident;
    kernel.side = NORMAL;
    compare("sequential, resident, against kernel mmap", "GB/s", 1e9, &resident,
            &kernel, true, 0.95);
}

/* ---- The disk ---- */

/* Smaller, or filling memory would take most of the time. */
static struct trial direct_of(enum how how, enum side side,
                              enum workload workload)
{
    struct trial trial = trial_of(how, side, workload, 1);

    trial.direct = true;
    trial.units /= how == SUMS ? 1 : 8;
    trial.budget = trial.units / 4;
    return trial;
}

static void measure_disk(void)
{
    struct trial ours = direct_of(SUMS, INLINE, SEQUENTIAL);
    struct trial stream = direct_of(SUMS, STREAM, SEQUENTIAL);
    struct trial kernel = direct_of(SUMS, NORMAL, SEQUENTIAL);
    struct trial lists = direct_of(LISTS, INLINE, UNIFORM);
    struct trial random = direct_of(ACCESSES, RANDOM, UNIFORM);
    struct trial plain = direct_of(ACCESSES, INLINE, UNIFORM);

    compare("sequential, O_DIRECT, against 4 x 256 KiB", "GB/s", 1e9, &ours,
            &stream, false, 0.85);
    compare("the same against kernel mmap in a cgroup", "GB/s", 1e9, &ours,
            &kernel, false, 0);
    compare("prefetch lists of 32, O_DIRECT, kernel mmap", "k/s", 1e3, &lists,
            &random, false, 4);
    compare("uniform, O_DIRECT, against kernel mmap", "k/s", 1e3, &plain,
            &random, false, 0.95);
}

/* A figure of a process of its own, which has nothing else in memory; 0: it
 * failed. */
static double in_child(double (*measure)(unsigned, unsigned), unsigned first,
                       unsigned second)
{
    double value = 0;
    int pipes[2];

    need(pipe(pipes), "pipe");
    pid_t child = fork();
    if (child == 0) {
        value = measure(first, second);
        _exit(write(pipes[1], &value, sizeof value) != (ssize_t)sizeof value);
    }
    (void)close(pipes[1]);
    if (read(pipes[0], &value, sizeof value) != (ssize_t)sizeof value)
        value = 0;
    (void)close(pipes[0]);
    (void)waitpid(child, NULL, 0);
    return value;
}

/* ---- A copy of an instant ---- */

struct writer {
    uintptr_t base;
    size_t bytes;
    atomic_bool stop;
    _Atomic uint64_t longest;
};

static void *write_on(void *argument)
{
    struct writer *writer = argument;
    uint64_t state = 1;

    while (!atomic_load(&writer->stop)) {
        uint64_t start = now_ns();
        size_t at = (size_t)(draw(&state) % (writer->bytes / PAGE)) * PAGE;
        *(volatile char *)(writer->base + at) = (char)start;
        uint64_t took = now_ns() - start;
        if (took > atomic_load(&writer->longest))
            atomic_store(&writer->longest, took);
    }
    return NULL;
}

static struct {
    struct hurdmm *manager;
    struct hurdmm_container *memory;
    uintptr_t address;
    size_t bytes;
} copied;

static void copy_open(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = copied.bytes * 5 / 2};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = copied.bytes,
                                       .rights = HURDMM_READ | HURDMM_WRITE};
    uint64_t done;

    need(hurdmm_linux_create(NULL, &options.port), "port");
    need(hurdmm_create(&options, &copied.manager), "manager");
    need(hurdmm_container_create(copied.manager, &copied.memory), "container");
    need(hurdmm_container_allocate(copied.memory, 0, copied.bytes, 0, &done),
         "memory");
    bind.space = hurdmm_space_own(copied.manager);
    bind.container = copied.memory;
    need(hurdmm_bind(&bind, &copied.address), "bind");
}

static void copy_all(void)
{
    struct hurdmm_container *copy;
    uint64_t done;

    need(hurdmm_container_create(copied.manager, &copy), "container");
    need(hurdmm_container_copy(copy, 0, copied.memory, 0, copied.bytes, 0,
                               &done),
         "copy");
    need(hurdmm_container_destroy(copy), "container");
}

static void fork_all(void)
{
    pid_t child = fork();

    if (child == 0)
        _exit(0);
    (void)waitpid(child, NULL, 0);
}

static double longest_pause(uintptr_t base, void (*copy)(void))
{
    struct writer writer = {.base = base, .bytes = copied.bytes};
    pthread_t thread;

    for (size_t at = 0; at < copied.bytes; at += PAGE)
        *(volatile char *)(base + at) = (char)at;
    need(pthread_create(&thread, NULL, write_on, &writer), "thread");
    (void)usleep(20000);
    atomic_store(&writer.longest, 0);
    copy();
    atomic_store(&writer.stop, true);
    need(pthread_join(thread, NULL), "thread");
    return (double)atomic_load(&writer.longest) / 1e6;
}

static double pause_of(unsigned forks, unsigned ignored)
{
    (void)ignored;
    copied.bytes = rows.pages * PAGE;
    if (!forks) {
        copy_open();
        return longest_pause(copied.address, copy_all);
    }
    void *base = mmap(NULL, copied.bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(base == MAP_FAILED, "mmap");
    (void)madvise(base, copied.bytes, MADV_NOHUGEPAGE);
    return longest_pause((uintptr_t)base, fork_all);
}

static void measure_pause(void)
{
    const char *name = "longest pause in a copy of 1 GiB, against fork";
    struct samples copies = {.count = 0}, forks = {.count = 0};

    if (left_out(name))
        return;
    for (size_t i = 0; i < rows.rounds; i++) {
        samples_add(&copies, in_child(pause_of, 0, 0));
        samples_add(&forks, in_child(pause_of, 1, 0));
    }
    if (median(&copies) <= 0)
        not_run(name, "the copy failed");
    else
        row(name, median(&copies), "ms", median(&forks),
            median_ratio(&copies, &forks), -0.25);
}

/* ---- What was written ---- */

static int zeros(struct hurdmm_store *store, void *hook, uint64_t offset,
                 void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(buffer, 0, length);
    return 0;
}

/* All of it is in memory. */
static bool written_open(unsigned flags, struct hurdmm_space **space,
                         uintptr_t *address)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = zeros};
    size_t bytes = rows.pages * PAGE;
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = bytes + bytes / 4,
                                     .pin_limit = bytes};
    struct hurdmm_store_options store = {.struct_size = sizeof store,
                                         .size = bytes,
                                         .flags = HURDMM_STORE_VOLATILE};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = bytes,
                                       .rights = HURDMM_READ | HURDMM_WRITE,
                                       .flags = flags};
    struct hurdmm *manager;

    need(hurdmm_linux_create(NULL, &options.port), "port");
    need(hurdmm_create(&options, &manager), "manager");
    need(hurdmm_store_create(manager, &ops, &store, &bind.store), "store");
    bind.space = *space = hurdmm_space_own(manager);
    int error = hurdmm_bind(&bind, address);
    need(error == ENOTSUP ? 0 : error, "bind");
    return !error;
}

static size_t scan_all(struct hurdmm_space *space, uintptr_t address,
                       unsigned flags)
{
    static struct hurdmm_dirty found[1024];
    size_t bytes = rows.pages * PAGE, count, done, pages = 0;

    for (size_t at = 0; at < bytes; at += done) {
        need(hurdmm_region_scan_dirty(space, address + at, bytes - at, flags,
                                      found, 1024, &count, &done),
             "scan");
        for (size_t i = 0; i < count; i++)
            pages += found[i].length / PAGE;
    }
    return pages;
}

/* Of this thread: a scan is so short that what else runs would rule it. */
static uint64_t processor_ns(void)
{
    struct timespec time;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* ns a page, of which one in a hundred is dirty; 0: cannot be had. */
static double scan_time(unsigned bind_flags, unsigned scan_flags)
{
    struct samples times = {.count = 0};
    struct hurdmm_space *space;
    uintptr_t address;
    uint64_t state = 1;

    if (!written_open(bind_flags, &space, &address))
        return 0;
    for (size_t i = 0; i < rows.pages; i++)
        *(volatile char *)(address + i * PAGE) = 1;
    (void)scan_all(space, address, HURDMM_SCAN_CLEAR);
    for (size_t round = 0; round < rows.rounds; round++) {
        for (size_t i = 0; i < rows.pages; i += 100)
            *(volatile char *)(address + (i + (size_t)(draw(&state) % 100)) %
                                             rows.pages * PAGE) = 2;
        uint64_t start = processor_ns();
        size_t found = scan_all(space, address, scan_flags);
        samples_add(&times,
                    (double)(processor_ns() - start) / (double)rows.pages);
        need(found * 110 < rows.pages, "too few were found");
        (void)scan_all(space, address, HURDMM_SCAN_CLEAR);
    }
    return median(&times);
}

static void measure_scan(const char *name, unsigned bind_flags,
                         unsigned scan_flags, double most)
{
    if (left_out(name))
        return;
    double time = in_child(scan_time, bind_flags, scan_flags);
    if (time <= 0)
        not_run(name, "the kernel does not note writes");
    else if (most > 0)
        limit(name, time, "ns/page", most);
    else
        row(name, time, "ns/page", 0, 0, 0);
}

static void measure_scans(void)
{
    measure_scan("dirty scan, 1 % dirty", 0, 0, 10);
    measure_scan("dirty scan, 1 % dirty, wired", HURDMM_BIND_WIRED, 0, 10);
    measure_scan("dirty scan, 1 % dirty, clearing", 0, HURDMM_SCAN_CLEAR, 0);
    measure_scan("dirty scan, 1 % dirty, clearing, wired", HURDMM_BIND_WIRED,
                 HURDMM_SCAN_CLEAR, 0);
}

/* ---- Counts ---- */

static void measure_counts(void)
{
    struct trial ours = trial_of(ACCESSES, INLINE, RMW_UNIFORM, 1);
    struct outcome outcome = {.ran = false};

    if (rows.only)
        return;
    outcome = trial_run(&ours, rows.path);
    if (!outcome.ran) {
        not_run("library memory", "the port cannot be had here");
        return;
    }
    limit("library memory for a resident page", outcome.core, "bytes", 64);
    limit("threads started for an inline binding", outcome.threads, "", 0);
}

void rows_measure(const char *path, const char *only, bool quick, size_t rounds)
{
    rows.only = only;
    rows.path = path;
    rows.quick = quick;
    rows.rounds = rounds;
    rows.pages = quick ? 4096 : (size_t)1 << 18;
    rows.time_ns = quick ? 20000000u : 500000000u;
    printf("%-44s %9s %9s %-7s %8s  %-10s\n", "figure", "ours", "peer", "unit",
           "ratio", "target");
    measure_faults();
    measure_accesses();
    measure_sums();
    measure_disk();
    measure_pause();
    measure_scans();
    measure_counts();
}
