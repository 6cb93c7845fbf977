/* SPDX-License-Identifier: MIT */
/* report.c - options, time, medians and the lines of the benchmarks. */
#define _GNU_SOURCE

#include "bench/report.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void need(int error, const char *what)
{
    if (!error)
        return;
    (void)fprintf(stderr, "%s: %s\n", what, strerror(error));
    exit(1);
}

#ifdef __linux__

/* The set of the one processor of this number among `all`. */
static bool only(const cpu_set_t *all, int number, cpu_set_t *set)
{
    if (number == EVERYWHERE) {
        *set = *all;
        return true;
    }
    CPU_ZERO(set);
    for (size_t i = 0; i < CPU_SETSIZE && number >= 0; i++)
        if (CPU_ISSET(i, all) && number-- == 0)
            CPU_SET(i, set);
    return CPU_COUNT(set) == 1;
}

bool place_threads(int self, int others)
{
    static cpu_set_t all;
    static bool known;
    cpu_set_t own, rest;
    const struct dirent *entry;

    if (!known && sched_getaffinity(0, sizeof all, &all))
        return false;
    known = true;
    if (!only(&all, self, &own) || !only(&all, others, &rest))
        return false;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        return false;
    while ((entry = readdir(tasks)) != NULL) {
        pid_t task = (pid_t)strtol(entry->d_name, NULL, 10);
        if (task > 0)
            (void)sched_setaffinity(task, sizeof rest, &rest);
    }
    (void)closedir(tasks);
    return !sched_setaffinity(0, sizeof own, &own);
}

#else

bool place_threads(int self, int others)
{
    return self == EVERYWHERE && others == EVERYWHERE;
}

#endif

struct bench_options bench_begin(int argc, char **argv)
{
    struct bench_options options = {.quick = argc == 2};

    if (argc > 2 || (argc == 2 && strcmp(argv[1], "--quick") != 0)) {
        (void)fprintf(stderr, "usage: %s [--quick]\n", argv[0]);
        exit(2);
    }
    return options;
}

uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void samples_add(struct samples *samples, double value)
{
    if (samples->count < ROUNDS_MAX)
        samples->value[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double median(const struct samples *samples)
{
    struct samples sorted = *samples;

    if (sorted.count == 0)
        return 0;
    qsort(sorted.value, sorted.count, sizeof sorted.value[0], compare);
    return sorted.value[sorted.count / 2];
}

double median_ratio(const struct samples *over, const struct samples *under)
{
    struct samples ratios = {.count = 0};

    for (size_t i = 0; i < over->count && i < under->count; i++)
        samples_add(&ratios, over->value[i] / under->value[i]);
    return median(&ratios);
}

void figure_print(const struct figure *figure)
{
    char ratio[32] = "-", target[32] = "-";
    const char *verdict = "-";
    bool holds = true;

    if (figure->ratio > 0)
        (void)snprintf(ratio, sizeof ratio, "%.2f x", figure->ratio);
    if (figure->ratio_max > 0) {
        (void)snprintf(target, sizeof target, "<= %.2f x", figure->ratio_max);
        holds = figure->ratio <= figure->ratio_max;
    } else if (figure->value_max > 0) {
        (void)snprintf(target, sizeof target, "<= %g %s", figure->value_max,
                       figure->unit);
        holds = figure->value <= figure->value_max;
    }
    if (figure->ratio_max > 0 || figure->value_max > 0)
        verdict = holds ? "holds" : "FALLS SHORT";
    printf("%-34s %10.2f %-10s %8s  %-14s %s\n", figure->name, figure->value,
           figure->unit, ratio, target, verdict);
    (void)fflush(stdout);
}

uint64_t draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return *state >> 33;
}

void shuffle(uint32_t *order, uint32_t count, uint64_t seed)
{
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)(draw(&seed) % i), old = order[i - 1];
        order[i - 1] = order[j];
        order[j] = old;
    }
}
