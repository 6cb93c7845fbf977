/* SPDX-License-Identifier: MIT */
/* report.h - what the benchmarks share: options, time, medians, their lines.
 *
 * A figure is one line on stdout:
 *
 *     name  value unit  ratio  target  holds|FALLS SHORT|-
 *
 * The ratio is to the bare mechanism, or to the smaller case, measured in the
 * same run; the target limits the ratio or the value.  Rounds of the two sides
 * alternate, so that whatever else the machine does meets both.
 */
#ifndef HMM_BENCH_REPORT_H
#define HMM_BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUNDS_MAX 99

/* One side's rounds. */
struct samples {
    double value[ROUNDS_MAX];
    size_t count;
};

/* What the command line says: --quick is a small run that proves only that the
 * benchmark works. */
struct bench_options {
    bool quick;
};

struct figure {
    const char *name;
    double value;
    const char *unit;
    double ratio;     /* 0: none */
    double ratio_max; /* 0: no target */
    double value_max; /* 0: no target */
};

/* Reads the options, exits with a usage message if they are wrong. */
struct bench_options bench_begin(int argc, char **argv);

/* Ends the program with a message unless error is 0. */
void need(int error, const char *what);

/* Binds the calling thread to one of the processors that the process may use,
 * counted from 0, and all other threads to another or the same; EVERYWHERE is
 * all of them.  False: there is none such, or threads cannot be bound here. */
#define EVERYWHERE (-1)
bool place_threads(int self, int others);

uint64_t now_ns(void);
void samples_add(struct samples *samples, double value);
double median(const struct samples *samples);
/* The median of the ratios of rounds that ran side by side. */
double median_ratio(const struct samples *over, const struct samples *under);

void figure_print(const struct figure *figure);

/* Fills order[0 .. count - 1] with a shuffled 0 .. count - 1, always the same
 * for the same seed. */
void shuffle(uint32_t *order, uint32_t count, uint64_t seed);
/* The next of a row of numbers; *state is its seed. */
uint64_t draw(uint64_t *state);

#endif
