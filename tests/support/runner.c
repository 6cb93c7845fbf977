/* SPDX-License-Identifier: MIT */
/*
 * Runs Check suites and counts. Check knows no skipped tests, and runs each in
 * a process of its own, so skips are counted in a page that all processes
 * share.
 */
#define _DEFAULT_SOURCE

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <sys/mman.h>

#include "tests/support/runner.h"

/* Check's own, which the command line has renamed. */
#undef _mark_point
void _mark_point(const char *file, int line);

static atomic_int *skips;

#define MARKS 256u /* a power of two */
static atomic_int marks[MARKS];

static int share_skips(void)
{
    void *page = mmap(NULL, sizeof *skips, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    skips = page;
    atomic_init(skips, 0);
    return 0;
}

/* Instead of Check's function that each assertion calls when it holds: that
 * sends every one to the parent, which costs more than most tests.  Here a place
 * is sent when the test comes by for the first time, or others have taken its
 * slot since: where a test died, it was seen last at a place that was new. */
void test_mark(const char *file, int line)
{
    atomic_int *slot = &marks[(unsigned)line % MARKS];
    if (atomic_load_explicit(slot, memory_order_relaxed) == line)
        return;
    atomic_store_explicit(slot, line, memory_order_relaxed);
    _mark_point(file, line);
}

int run_suites(const char *name, Suite *const *suites, size_t count)
{
    if (count == 0 || share_skips() != 0) {
        printf("%s: 0 passed, 1 failed, 0 skipped\n", name);
        return 1;
    }
    SRunner *runner = srunner_create(suites[0]);
    for (size_t i = 1; i < count; i++)
        srunner_add_suite(runner, suites[i]);
    srunner_run_all(runner, CK_ENV);

    int ran = srunner_ntests_run(runner);
    int failed = srunner_ntests_failed(runner);
    int skipped = atomic_load(skips);
    if (skipped > ran - failed)
        skipped = ran - failed;
    srunner_free(runner);

    int passed = ran - failed - skipped;
    printf("%s: %d passed, %d failed, %d skipped\n", name, passed, failed,
           skipped);
    if (failed > 0 || ran == 0)
        return 1;
    return passed == 0 ? 77 : 0;
}

void test_skip(const char *reason)
{
    printf("SKIP: %s\n", reason);
    fflush(stdout);
    atomic_fetch_add(skips, 1);
}

void test_faults(uint64_t count)
{
    printf("FAULTS: %llu\n", (unsigned long long)count);
    fflush(stdout);
}

size_t test_scaled(size_t full)
{
    const char *text = getenv("HMM_TEST_PERCENT");
    if (text == NULL || *text == '\0')
        return full;
    size_t percent = (size_t)strtoul(text, NULL, 10);
    size_t part = full / 100 * percent + full % 100 * percent / 100;
    return part == 0 ? 1 : part;
}
