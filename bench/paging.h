/* SPDX-License-Identifier: MIT */
/* paging.h - one trial of paging: who pages, what is accessed, how it is timed.
 *
 * A trial runs in a process of its own.  The sides:
 *   inline   the linux port, faults resolved on the threads that fault
 *   pager    the port as it is by default
 *   bare     a loop of SIGBUS, pread, UFFDIO_COPY and MADV_DONTNEED of one unit
 *   pool     an explicit pool: a table and pread, no faults
 *   normal   the kernel's mmap with MADV_NORMAL
 *   random   the same with MADV_RANDOM
 *   handler  a bare thread that reads faults from the descriptor (latency only)
 *   stream   explicit reads of 256 KiB, and, past the cache, four under way
 * The kernel's have all of memory where the file is cached; past the cache (a
 * `direct' trial) they run in a memory cgroup of the budget, or not at all.
 */
#ifndef HMM_BENCH_PAGING_H
#define HMM_BENCH_PAGING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THREADS_MAX 2u
#define LIST 32u /* of a prefetch */
#define PIECE ((size_t)256 * 1024)
#define DEPTH 4u /* pieces under way */

enum workload { UNIFORM, ZIPF, SEQUENTIAL, RMW_UNIFORM, RMW_ZIPF, WORKLOADS };
enum side { INLINE, PAGER, BARE, POOL, NORMAL, RANDOM, STREAM, HANDLER, SIDES };
extern const char *const workload_names[WORKLOADS];
extern const char *const side_names[SIDES];

enum how {
    ACCESSES, /* 8 bytes at a time, for a time */
    LISTS,    /* the same, uniform; LIST accesses ahead are said before */
    SUMS,     /* all bytes are summed, twice */
    LATENCY   /* every page once in random order, each timed */
};

struct trial {
    enum how how;
    enum side side;
    enum workload workload;
    unsigned threads;
    bool direct;
    bool pinned; /* faulting and answering threads on one processor */
    size_t unit, units, budget;
    uint64_t time_ns;
};

struct outcome {
    bool ran;
    double rate;    /* accesses, or bytes, a second; LATENCY: ns by the clock */
    double again;   /* SUMS: the second time; LATENCY: the median in ns */
    double cpu_us;  /* of an access, on the threads that make it */
    double threads; /* that were started for it */
    double core;    /* bytes of library memory for a resident page */
};

/* Runs it; outcome.ran is false where it cannot be (no cgroup, no descriptor).
 * `path' is the file, of as many bytes at least. */
struct outcome trial_run(const struct trial *trial, const char *path);

/* ---- What the sides share ---- */

struct run {
    struct trial trial;
    int file;
    volatile char *base;
};
extern struct run run;

void check(bool good, const char *what);
extern volatile uint64_t trial_sum;
static inline size_t run_bytes(void)
{
    return run.trial.unit * run.trial.units;
}

/* peers.c: each sets run.base; false: cannot be had here. */
bool bare_open(void);
bool handler_open(void);
bool pool_open(void);
uint64_t pool_touch(size_t offset, bool write);
bool kernel_open(void);
/* Takes the cgroup of a process that has ended away, if it had one. */
void cgroup_forget(long process);
/* Explicit reading: all bytes are summed once. */
bool stream_open(void);
uint64_t stream_sum(void);
uint64_t sum_words(const volatile char *at, size_t bytes);

/* ours.c */
bool ours_open(void);
void ours_prefetch(const uintptr_t *list, size_t count);
double ours_core(void);

/* rows.c: the figures that the library holds itself to.  Prints them, or those
 * with `only' in their names; `quick' proves only that it works. */
void rows_measure(const char *path, const char *only, bool quick,
                  size_t rounds);

#endif
