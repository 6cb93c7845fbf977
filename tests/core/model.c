/* SPDX-License-Identifier: MIT */
/*
 * The model checker: random sequences of operations, each on a simulated
 * machine and on a model of it that is obviously right (model.h).
 *
 *   model [--seed N] [--sequences N] [--steps N] [--jobs N] [--verbose]
 *         [--only STEP,STEP,... [--trace]]
 *
 * Sequence i has the seed N + i.  Sequences run in child processes, so that a
 * crash or a hang of the library is a failure like any other.  One that fails
 * is shrunk: operations are left out, first many and then one by one, as long
 * as it still fails.  What is left is printed, with the command that does it
 * again.
 */
#define _DEFAULT_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/core/model.h"
#include "tests/support/runner.h"

/* Other areas' models use this engine too. */
#ifndef MODEL_NAME
#define MODEL_NAME "tests/core/model"
#define MODEL_SEQUENCES 100000
#define MODEL_STEPS 30
#endif

#define JOBS_MAX 16
#define HANG_SECONDS 30u

/* Shared with a child. */
struct report {
    uint64_t done; /* sequences that went well */
    char text[400];
};

struct settings {
    uint64_t seed, sequences;
    unsigned steps, jobs;
    bool verbose, trace;
    const char *only;
};

static struct report *reports;

void model_ops_draw(struct model_op *ops, unsigned count, struct hmm_rand *rand,
                    unsigned kinds, unsigned (*weight)(unsigned kind))
{
    unsigned sum = 0;
    for (unsigned i = 0; i < kinds; i++)
        sum += weight(i);
    for (unsigned i = 0; i < count; i++) {
        unsigned number = (unsigned)hmm_rand_below(rand, sum);
        uint16_t kind = 0;
        while (number >= weight(kind))
            number -= weight(kind++);
        ops[i].kind = kind;
        for (unsigned j = 0; j < 6; j++)
            ops[i].arg[j] = (uint16_t)hmm_rand_next(rand);
    }
}

/* ---- One sequence in a process of its own ------------------------------- */

static void run_child(const struct model_config *config,
                      const struct model_op *ops, unsigned count,
                      struct report *report, bool verbose)
{
    alarm(HANG_SECONDS / 3);
    const char *text = model_run(config, ops, count, verbose);
    if (text == NULL)
        _exit(0);
    snprintf(report->text, sizeof report->text, "%s", text);
    _exit(1);
}

/* Whether the sequence fails, and how. */
static bool fails(const struct model_config *config, const struct model_op *ops,
                  unsigned count, char *text, size_t size)
{
    struct report *report = &reports[JOBS_MAX];
    report->text[0] = '\0';
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        FILE *silence = freopen("/dev/null", "w", stderr);
        (void)silence;
        run_child(config, ops, count, report, false);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (status == 0)
        return false;
    if (WIFSIGNALED(status))
        snprintf(text, size, "killed by signal %d%s", WTERMSIG(status),
                 WTERMSIG(status) == 14 ? " (it hangs)" : "");
    else
        snprintf(text, size, "%s", report->text);
    return true;
}

/* Leaves out what is not needed for the failure: `keep' lists the numbers of
 * the operations that stay. */
static unsigned shrink(const struct model_config *config,
                       const struct model_op *ops, unsigned *keep,
                       unsigned count)
{
    struct model_op tried[MODEL_OPS];
    char text[400];
    time_t deadline = time(NULL) + 120;
    for (unsigned chunk = (count + 1) / 2; chunk > 0;) {
        bool smaller = false;
        for (unsigned start = 0; start < count && time(NULL) < deadline;) {
            unsigned end = start + chunk < count ? start + chunk : count;
            unsigned used = 0;
            for (unsigned i = 0; i < count; i++) {
                if (i < start || i >= end)
                    tried[used++] = ops[keep[i]];
            }
            if (fails(config, tried, used, text, sizeof text)) {
                memmove(keep + start, keep + end, (count - end) * sizeof *keep);
                count = used;
                smaller = true;
            } else {
                start = end;
            }
        }
        if (!smaller || chunk > 1)
            chunk /= 2;
    }
    return count;
}

static void explain(const struct settings *settings, uint64_t seed)
{
    struct model_config config;
    struct model_op ops[MODEL_OPS];
    struct model_op kept[MODEL_OPS] = {0};
    unsigned keep[MODEL_OPS];
    char text[400] = "it went well the second time";
    model_config_make(&config, seed);
    unsigned count = model_ops_make(ops, seed, settings->steps);
    for (unsigned i = 0; i < count; i++)
        keep[i] = i;
    bool again = fails(&config, ops, count, text, sizeof text);
    printf("FAILURE: seed %#llx: %s\n", (unsigned long long)seed, text);
    if (!again)
        return;
    fflush(stdout);
    unsigned left = shrink(&config, ops, keep, count);
    for (unsigned i = 0; i < left; i++)
        kept[i] = ops[keep[i]];
    (void)fails(&config, kept, left, text, sizeof text);
    model_config_print(&config, stdout);
    printf("shrunk from %u to %u operations: %s\n", count, left, text);
    printf("again: model --seed %#llx --sequences 1 --steps %u --verbose "
           "--only ",
           (unsigned long long)seed, settings->steps);
    for (unsigned i = 0; i < left; i++)
        printf("%u%s", keep[i], i + 1 < left ? "," : "");
    printf("%s\n", left == 0 ? "none" : "");
    fflush(stdout);
    config.trace = settings->trace;
    pid_t child = fork();
    if (child == 0)
        run_child(&config, kept, left, &reports[JOBS_MAX], true);
    int status;
    if (child > 0)
        (void)waitpid(child, &status, 0);
}

/* ---- Many sequences ----------------------------------------------------- */

/* A child's share: every jobs-th sequence, from `first'. */
static void run_share(const struct settings *settings, unsigned job,
                      uint64_t first, struct report *report)
{
    struct model_config config;
    struct model_op ops[MODEL_OPS];
    for (uint64_t i = first; i < settings->sequences; i += settings->jobs) {
        if (i / settings->jobs % 64 == 0)
            alarm(HANG_SECONDS);
        model_config_make(&config, settings->seed + i);
        unsigned count =
            model_ops_make(ops, settings->seed + i, settings->steps);
        const char *text = model_run(&config, ops, count, false);
        if (text != NULL) {
            snprintf(report->text, sizeof report->text, "%s", text);
            exit(1);
        }
        report->done = (i - job) / settings->jobs + 1;
    }
    exit(0);
}

/* Runs them all; the seed of one that fails, else UINT64_MAX. */
static uint64_t run_all(const struct settings *settings)
{
    pid_t children[JOBS_MAX];
    uint64_t failed = UINT64_MAX;
    fflush(NULL);
    for (unsigned job = 0; job < settings->jobs; job++) {
        children[job] = fork();
        if (children[job] == 0)
            run_share(settings, job, job, &reports[job]);
    }
    for (unsigned job = 0; job < settings->jobs; job++) {
        int status = 1;
        if (children[job] > 0)
            (void)waitpid(children[job], &status, 0);
        if (status != 0 && failed == UINT64_MAX)
            failed = settings->seed + job + reports[job].done * settings->jobs;
    }
    return failed;
}

static int run_some(const struct settings *settings)
{
    struct model_config config;
    struct model_op ops[MODEL_OPS];
    struct model_op kept[MODEL_OPS] = {0};
    unsigned count = model_ops_make(ops, settings->seed, settings->steps);
    unsigned left = 0;
    const char *text = settings->only;
    model_config_make(&config, settings->seed);
    config.trace = settings->trace;
    model_config_print(&config, stdout);
    while (*text >= '0' && *text <= '9') {
        char *end;
        unsigned long number = strtoul(text, &end, 10);
        if (number < count && left < MODEL_OPS)
            kept[left++] = ops[number];
        text = *end == ',' ? end + 1 : end;
    }
    const char *wrong = model_run(&config, kept, left, settings->verbose);
    printf("%s\n", wrong == NULL ? "it goes well" : wrong);
    return wrong != NULL;
}

/* ---- Options ------------------------------------------------------------ */

static int usage(void)
{
    fprintf(stderr, "usage: model [--seed N] [--sequences N] [--steps N] "
                    "[--jobs N] [--verbose] [--only STEP,... [--trace]]\n");
    return 2;
}

static int parse(struct settings *settings, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--verbose") == 0) {
            settings->verbose = true;
            continue;
        }
        if (strcmp(name, "--trace") == 0) {
            settings->trace = true;
            continue;
        }
        if (i + 1 == argc)
            return usage();
        const char *value = argv[++i];
        if (strcmp(name, "--seed") == 0)
            settings->seed = strtoull(value, NULL, 0);
        else if (strcmp(name, "--sequences") == 0)
            settings->sequences = strtoull(value, NULL, 0);
        else if (strcmp(name, "--steps") == 0)
            settings->steps = (unsigned)strtoul(value, NULL, 0);
        else if (strcmp(name, "--jobs") == 0)
            settings->jobs = (unsigned)strtoul(value, NULL, 0);
        else if (strcmp(name, "--only") == 0)
            settings->only = value;
        else
            return usage();
    }
    if (settings->steps < 2 || settings->steps > MODEL_OPS ||
        settings->jobs == 0 || settings->jobs > JOBS_MAX)
        return usage();
    return 0;
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct settings settings = {
        .seed = 1,
        .sequences = test_scaled(MODEL_SEQUENCES),
        .steps = MODEL_STEPS,
        .jobs = cores > 4   ? 4
                : cores < 1 ? 1
                            : (unsigned)cores,
    };
    if (parse(&settings, argc, argv) != 0)
        return 2;
    reports = mmap(NULL, (JOBS_MAX + 1) * sizeof *reports,
                   PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reports == MAP_FAILED)
        return 99;
    if (settings.only != NULL)
        return run_some(&settings);
    uint64_t failed = run_all(&settings);
    if (failed != UINT64_MAX)
        explain(&settings, failed);
    printf("model: %llu sequences from seed %#llx, %u steps at most\n",
           (unsigned long long)settings.sequences,
           (unsigned long long)settings.seed, settings.steps * 3 / 2);
    printf(MODEL_NAME ": %d passed, %d failed, 0 skipped\n",
           failed == UINT64_MAX, failed != UINT64_MAX);
    return failed != UINT64_MAX;
}
