/* SPDX-License-Identifier: MIT */
/* paging.c - trials: see paging.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bench/paging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/report.h"

const char *const workload_names[WORKLOADS] = {"uniform", "zipf", "sequential",
                                               "rmw-uniform", "rmw-zipf"};
const char *const side_names[SIDES] = {"inline", "pager",  "bare",   "pool",
                                       "normal", "random", "stream", "handler"};

struct run run;

void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "outofcore: %s, %s: %s\n", side_names[run.trial.side], what,
            strerror(errno));
    _exit(1);
}

/* Of the calling thread. */
static uint64_t cpu_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static bool writes(void)
{
    return run.trial.workload == RMW_UNIFORM || run.trial.workload == RMW_ZIPF;
}

/* ---- Where to go next ---- */

struct walk {
    uint64_t state;
    size_t next;
    double zeta, eta;
};

static uint64_t step(struct walk *walk)
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
    double units = (double)run.trial.units;
    walk->state = 88172645463325252u + thread * 7919;
    walk->next = thread * (run_bytes() / THREADS_MAX / 8);
    walk->zeta = zeta;
    walk->eta = (1 - pow(2 / units, 1 - THETA)) /
                (1 - (1 + pow(0.5, THETA)) / walk->zeta);
}

/* Gray and others, "Quickly generating billion-record databases" (1994). */
static size_t zipf(struct walk *walk)
{
    double u = (double)(step(walk) >> 11) / 9007199254740992.0;
    double uz = u * walk->zeta;
    size_t rank =
        uz < 1 ? 0
        : uz < 1 + pow(0.5, THETA)
            ? 1
            : (size_t)((double)run.trial.units *
                       pow(walk->eta * u - walk->eta + 1, 1 / (1 - THETA)));
    return rank * 0x9e3779b97f4a7c15u % run.trial.units;
}

static size_t walk_next(struct walk *walk)
{
    enum workload workload = run.trial.workload;
    if (workload == SEQUENTIAL)
        return walk->next++ * 8 % run_bytes();
    bool skewed = workload == ZIPF || workload == RMW_ZIPF;
    size_t unit = skewed ? zipf(walk) : step(walk) % run.trial.units;
    return unit * run.trial.unit + step(walk) % (run.trial.unit / 8) * 8;
}

/* ---- Accesses ---- */

struct worker {
    unsigned number;
    double zeta;
    uint64_t accesses, sum, time_ns, cpu_ns;
};

static void access_some(struct worker *worker, struct walk *walk,
                        unsigned count)
{
    bool write = writes();
    for (unsigned i = 0; i < count; i++) {
        size_t offset = walk_next(walk);
        if (run.trial.side == POOL) {
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

/* The next list is said before the last one is used. */
static void access_lists(struct worker *worker, struct walk *walk,
                         unsigned count)
{
    static _Thread_local uintptr_t list[2][LIST];
    static _Thread_local unsigned which;
    for (unsigned n = 0; n < count; n += LIST) {
        uintptr_t *next = list[which ^= 1], *now = list[which ^ 1];
        for (unsigned i = 0; i < LIST; i++)
            next[i] = (uintptr_t)run.base + walk_next(walk);
        ours_prefetch(next, LIST);
        for (unsigned i = 0; i < LIST && now[0]; i++)
            worker->sum += *(volatile uint64_t *)now[i];
    }
    worker->accesses += count;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct walk walk;
    bool lists = run.trial.how == LISTS && run.trial.side <= PAGER;
    void (*some)(struct worker *, struct walk *, unsigned) =
        lists ? access_lists : access_some;
    walk_begin(&walk, worker->number, worker->zeta);
    uint64_t start_ns = now_ns();
    /* Until memory is full, and long enough. */
    size_t fill = run.trial.budget * (run.trial.direct ? 1 : 2);
    if (run.trial.workload == SEQUENTIAL)
        fill *= run.trial.unit / 8;
    while (now_ns() - start_ns < run.trial.time_ns / 2 ||
           worker->accesses < fill)
        some(worker, &walk, 256);
    worker->accesses = 0;
    start_ns = now_ns();
    uint64_t start_cpu_ns = cpu_ns();
    while ((worker->time_ns = now_ns() - start_ns) < run.trial.time_ns)
        some(worker, &walk, 256);
    worker->cpu_ns = cpu_ns() - start_cpu_ns;
    return NULL;
}

static void run_accesses(struct outcome *outcome)
{
    pthread_t handles[THREADS_MAX];
    struct worker workers[THREADS_MAX] = {{0}};
    double zeta = zeta_of(run.trial.units);
    unsigned threads = run.trial.threads;
    for (unsigned i = 0; i < threads; i++) {
        workers[i].number = i;
        workers[i].zeta = zeta;
        check(!pthread_create(&handles[i], NULL, work, &workers[i]), "thread");
    }
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(handles[i], NULL);
        outcome->rate +=
            (double)workers[i].accesses * 1e9 / (double)workers[i].time_ns;
        outcome->cpu_us += (double)workers[i].cpu_ns / 1e3 /
                           (double)workers[i].accesses / threads;
    }
}

/* ---- Sums ---- */

/* What was read, so that it must be. */
volatile uint64_t trial_sum;

static double sum_once(void)
{
    uint64_t start_ns = now_ns();
    trial_sum = run.trial.side == STREAM ? stream_sum()
                                         : sum_words(run.base, run_bytes());
    return (double)run_bytes() * 1e9 / (double)(now_ns() - start_ns);
}

/* ---- Latency ---- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void run_latency(struct outcome *outcome)
{
    size_t units = run.trial.units;
    uint32_t *order = malloc(units * sizeof *order);
    uint64_t *took = malloc(units * sizeof *took);
    cpu_set_t one;

    check(order && took, "malloc");
    shuffle(order, (uint32_t)units, 1);
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (run.trial.pinned)
        (void)sched_setaffinity(0, sizeof one, &one);
    memset(took, 0, units * sizeof *took);
    uint64_t start_ns = now_ns(), before = start_ns;
    for (size_t i = 0; i < units; i++) {
        (void)run.base[order[i] * run.trial.unit];
        uint64_t now = now_ns();
        took[i] = now - before;
        before = now;
    }
    outcome->rate = (double)(before - start_ns) / (double)units;
    qsort(took, units, sizeof *took, compare);
    outcome->again = (double)took[units / 2];
}

/* ---- Trials ---- */

static double count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    double count = -2; /* . and .. */
    while (folder && readdir(folder))
        count++;
    if (folder)
        (void)closedir(folder);
    return count;
}

static bool open_side(void)
{
    static bool (*const opens[SIDES])(void) = {
        ours_open,   ours_open,   bare_open,   pool_open,
        kernel_open, kernel_open, stream_open, handler_open};
    return opens[run.trial.side]();
}

static void run_trial(const char *path, struct outcome *outcome)
{
    bool explicit = run.trial.side != INLINE && run.trial.side != PAGER &&
                    run.trial.side != NORMAL && run.trial.side != RANDOM;
    int how = O_RDWR | O_CLOEXEC;
    if (run.trial.direct && explicit)
        how |= O_DIRECT;
    run.file = open(path, how);
    check(run.file >= 0, path);
    double before = count_threads();
    if (!open_side())
        return;
    outcome->threads = count_threads() - before;
    if (run.trial.how == SUMS) {
        outcome->rate = sum_once();
        outcome->again = sum_once();
    } else if (run.trial.how == LATENCY) {
        run_latency(outcome);
    } else {
        run_accesses(outcome);
    }
    outcome->core = run.trial.side <= PAGER ? ours_core() : 0;
    outcome->ran = true;
}

struct outcome trial_run(const struct trial *trial, const char *path)
{
    struct outcome outcome = {.ran = false};
    int pipes[2];

    need(pipe(pipes) ? errno : 0, "pipe");
    (void)fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run.trial = *trial;
        run_trial(path, &outcome);
        exit(write(pipes[1], &outcome, sizeof outcome) !=
             (ssize_t)sizeof outcome);
    }
    (void)close(pipes[1]);
    if (read(pipes[0], &outcome, sizeof outcome) != (ssize_t)sizeof outcome)
        outcome.ran = false;
    (void)close(pipes[0]);
    (void)waitpid(child, NULL, 0);
    cgroup_forget((long)child);
    return outcome;
}
