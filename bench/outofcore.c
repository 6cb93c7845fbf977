/* SPDX-License-Identifier: MIT */
/* More data than memory, on the linux port, beside what it is built on.
 *
 * A file of 1 GiB and memory of a quarter of it; accesses are of 8 bytes.  First
 * the figures of rows.c.  With --all, also all workloads on all sides
 * (paging.h): by units of 4 and 64 KiB, one thread and two, the file in the
 * system's cache and past it; lines are JSON, one a measurement, then comes a
 * table of medians.
 *
 * Usage: outofcore [--quick] [--rows TEXT] [--all] [--only WORKLOAD]
 *                  [--side SIDE] [--rounds N] [FOLDER]
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/paging.h"
#include "bench/report.h"

#define PAGE ((size_t)4096)
#define BOUND (RANDOM + 1) /* the sides that take accesses */

static struct {
    char path[512];
    const char *rows;
    size_t bytes, rounds;
    bool quick, all;
    int only, side;
} bench;

/* The ways of one workload: unit, place of the file, threads. */
#define WAYS 8u

static struct trial way_of(unsigned way, enum workload workload, enum side side)
{
    size_t unit = way & 4 ? 16 * PAGE : PAGE;
    struct trial trial = {
        .how = ACCESSES,
        .side = side,
        .workload = workload,
        .threads = 1 + (way & 1),
        .direct = way & 2,
        .unit = unit,
        .units = bench.bytes / unit,
        .time_ns = bench.quick ? 10000000u : 300000000u,
    };

    /* Filling memory from the disk would take most of the time. */
    trial.units /= trial.direct && !bench.quick ? 8 : 1;
    trial.budget = trial.units / 4;
    return trial;
}

static struct samples rates[BOUND][WAYS];

static void measure(enum workload workload, unsigned way, enum side side)
{
    struct trial trial = way_of(way, workload, side);
    struct outcome outcome = trial_run(&trial, bench.path);

    printf("{\"workload\":\"%s\",\"side\":\"%s\",\"unit\":%zu,"
           "\"direct\":%s,\"threads\":%u,\"bytes\":%zu,",
           workload_names[workload], side_names[side], trial.unit,
           trial.direct ? "true" : "false", trial.threads,
           trial.unit * trial.units);
    if (outcome.ran)
        printf("\"accesses_per_s\":%.0f,\"cpu_us\":%.3f}\n", outcome.rate,
               outcome.cpu_us);
    else
        printf("\"not_run\":true}\n");
    (void)fflush(stdout);
    if (outcome.ran)
        samples_add(&rates[side][way], outcome.rate);
}

static void print_way(enum workload workload, unsigned way)
{
    struct trial trial = way_of(way, workload, INLINE);

    printf("%-12s %3zu KiB %-6s %2u", workload_names[workload],
           trial.unit / 1024, trial.direct ? "direct" : "cached",
           trial.threads);
    for (int s = 0; s < BOUND; s++) {
        if (rates[s][way].count > 0)
            printf(" %9.1f", median(&rates[s][way]) / 1e3);
        else
            printf(" %9s", "-");
    }
    if (rates[BARE][way].count > 0)
        printf(" %11.2f %10.2f",
               median(&rates[INLINE][way]) / median(&rates[BARE][way]),
               median(&rates[PAGER][way]) / median(&rates[BARE][way]));
    printf("\n");
}

static void measure_workload(enum workload workload)
{
    memset(rates, 0, sizeof rates);
    for (unsigned way = 0; way < WAYS; way++)
        for (size_t round = 0; round < bench.rounds; round++)
            for (int i = 0; i < BOUND; i++) {
                int side = (i + (int)round) % BOUND;
                if (bench.side < 0 || side == bench.side)
                    measure(workload, way, (enum side)side);
            }
    printf("%-12s %7s %-6s %2s", "thousands/s", "unit", "file", "t");
    for (int s = 0; s < BOUND; s++)
        printf(" %9s", side_names[s]);
    printf(" inline/bare pager/bare\n");
    for (unsigned way = 0; way < WAYS; way++)
        print_way(workload, way);
}

/* Writes by pages: large pieces make large folios, which are slow to write to
 * by pages. */
static void make_file(void)
{
    static char page[PAGE];
    int file = open(bench.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    need(file >= 0 ? 0 : errno, bench.path);
    for (size_t at = 0; at < bench.bytes; at += PAGE) {
        memset(page, (int)(at / PAGE), PAGE);
        need(write(file, page, PAGE) == (ssize_t)PAGE ? 0 : errno, "write");
    }
    need(fsync(file) ? errno : 0, "fsync");
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

static void read_options(int argc, char **argv)
{
    const char *folder = "/tmp";

    bench.only = bench.side = -1;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (!strcmp(argv[i], "--quick"))
            bench.quick = true;
        else if (!strcmp(argv[i], "--all"))
            bench.all = true;
        else if (!strcmp(argv[i], "--rows") && more)
            bench.rows = argv[++i];
        else if (!strcmp(argv[i], "--only") && more)
            bench.only = find(argv[++i], workload_names, WORKLOADS);
        else if (!strcmp(argv[i], "--side") && more)
            bench.side = find(argv[++i], side_names, BOUND);
        else if (!strcmp(argv[i], "--rounds") && more)
            bench.rounds = (size_t)atoi(argv[++i]);
        else
            folder = argv[i];
    }
    bench.bytes = bench.quick ? (size_t)16 << 20 : (size_t)1 << 30;
    (void)snprintf(bench.path, sizeof bench.path, "%s/outofcore-%ld.bin",
                   folder, (long)getpid());
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    make_file();
    size_t rounds = bench.rounds;
    if (bench.only < 0)
        rows_measure(bench.path, bench.rows, bench.quick,
                     rounds        ? rounds
                     : bench.quick ? 1
                                   : 7);
    bench.rounds = rounds ? rounds : bench.quick ? 1 : 3;
    for (int w = 0; w < WORKLOADS; w++)
        if (bench.only >= 0 ? w == bench.only : bench.all)
            measure_workload((enum workload)w);
    (void)unlink(bench.path);
    return 0;
}
