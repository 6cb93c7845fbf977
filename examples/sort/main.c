/* SPDX-License-Identifier: MIT */
/*
 * hurdmm-sort: sorts the lines of a text file as `LC_ALL=C sort' does, however
 * large the file, in the memory that it is given.
 *
 *     hurdmm-sort [--memory SIZE] [--port NAME] INPUT OUTPUT
 *
 * There is no code here that reads blocks, evicts or counts memory: the text,
 * the index of its lines and the sorted runs are memory, and the library pages
 * it.  What the program does for its speed is to be orderly: a run fits into the
 * budget, runs are read from front to back, and what is not needed any more is
 * given up.  Build it with
 *     cc examples/sort/[a-z]*.c $(pkg-config --cflags --libs hurdmm)
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sort.h"

static bool progress_shown;

sigjmp_buf memory_failed;

void progress(const char *phase, uint64_t done, uint64_t total)
{
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\rhurdmm-sort: %s, %3.0f %% ", phase,
            100.0 * (double)done / (double)(total ? total : 1));
    progress_shown = true;
}

static void end_progress(void)
{
    if (progress_shown)
        fputs("\r\033[K", stderr);
    progress_shown = false;
}

void fail(const char *what, int error)
{
    end_progress();
    fprintf(stderr, "hurdmm-sort: %s: %s\n", what, strerror(error));
    files_abandon();
    /* At once: other threads may be using what exit() would take away. */
    _exit(2);
}

static _Noreturn void usage(void)
{
    fprintf(stderr,
            "usage: hurdmm-sort [--memory SIZE] [--port NAME] INPUT OUTPUT\n"
            "SIZE is in bytes, or with K, M or G; 32M if not given.\n");
    exit(2);
}

/* A number of bytes with a suffix. */
static size_t parse_size(const char *text)
{
    static const char suffixes[] = "KMG";
    char *end;
    const char *suffix;
    uintmax_t size;
    unsigned shift = 0;

    errno = 0;
    size = strtoumax(text, &end, 10);
    suffix = *end ? strchr(suffixes, *end) : NULL;
    if (suffix) {
        shift = 10 * (unsigned)(suffix - suffixes + 1);
        end++;
    }
    if (errno != 0 || end == text || text[0] == '-' || *end != '\0' ||
        size == 0 || size > SIZE_MAX >> shift)
        fail("--memory", errno ? errno : EINVAL);
    return (size_t)(size << shift);
}

struct options {
    size_t budget;
    const char *port;
};

static void parse_options(int argc, char **argv, struct options *options,
                          struct files *files)
{
    static const struct option known[] = {
        {"memory", required_argument, NULL, 'm'},
        {"port", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'm')
            options->budget = parse_size(optarg);
        else if (option == 'p')
            options->port = optarg;
        else
            usage();
    }
    if (argc - optind != 2)
        usage();
    files->input_name = argv[optind];
    files->output_name = argv[optind + 1];
}

/* Somebody wants us to stop: nothing stays behind. */
static void on_interrupt(int number)
{
    files_abandon();
    signal(number, SIG_DFL);
    raise(number);
}

static void catch_interrupts(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = on_interrupt};
    struct sigaction old;

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaction(numbers[i], NULL, &old);
        if (old.sa_handler == SIG_DFL)
            sigaction(numbers[i], &action, NULL);
    }
    /* A file that reaches the limit of its size is an error like others. */
    signal(SIGXFSZ, SIG_IGN);
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void summary(const struct memory *memory, double seconds)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};

    check("statistics", hurdmm_get_stats(memory->manager, &stats));
    fprintf(stderr,
            "faults %" PRIu64 " (soft %" PRIu64 "), evictions %" PRIu64
            ", write-backs %" PRIu64 "\n"
            "read %" PRIu64 " bytes, wrote %" PRIu64 " bytes, peak %" PRIu64
            " frames of %zu bytes, budget %" PRIu64 "\n%.2f seconds\n",
            stats.faults, stats.faults_soft, stats.evictions, stats.pages_out,
            stats.bytes_in, stats.bytes_out, stats.frames_peak, memory->page,
            stats.frames_budget, seconds);
}

/* The output has one byte more than the input where the last line of this has
 * no newline. */
static uint64_t output_size(const struct files *files)
{
    char last = '\n';

    if (files->size > 0 &&
        pread(files->input, &last, 1, (off_t)(files->size - 1)) != 1)
        fail(files->input_name, errno);
    return files->size + (last != '\n');
}

static void sort(const struct options *options, struct files *files)
{
    static struct memory memory;
    static struct runs runs;
    double began = now();

    if (sigsetjmp(memory_failed, 1) != 0)
        memory_report();
    files_open(files);
    memory_start(&memory, options->port, options->budget, files->size);
    if (files->size > 0) {
        memory_input(&memory, files->input_name, files->input, files->size);
        memory_output(&memory, files->output_name, files->output,
                      output_size(files));
        memory_work(&memory, "swap file", files->swap);
        if (!runs_make(&memory, &runs))
            runs_merge(&memory, &runs);
        memory_finish(&memory);
    }
    end_progress();
    summary(&memory, now() - began);
    memory_end(&memory);
    files_finish(files);
    free(runs.run);
}

int main(int argc, char **argv)
{
    struct options options = {.budget = (size_t)32 << 20};
    struct files files = {0};

    parse_options(argc, argv, &options, &files);
    catch_interrupts();
    sort(&options, &files);
    return 0;
}
