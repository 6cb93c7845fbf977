/* SPDX-License-Identifier: MIT */
/* Under the images' tests: running suites, and a little of a C library. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/l4-x86/system.h"
#include "tests/l4/support.h"
#include "tests/support/runner.h"

#define HEAP_SIZE (1280 * 1024) /* the disks of tests/core/world.h */

/* ---- Counting ---- */

static const char *image_name = "l4";
static const char *running = "";
static unsigned passed, failed, skipped;
static bool was_skipped;

void l4_tests_begin(const char *name)
{
    image_name = name;
    passed = failed = skipped = 0;
}

void l4_tests_end(void)
{
    hmm_l4_printf("%s: %u passed, %u failed, %u skipped\nL4 IMAGE ENDS\n",
                  image_name, passed, failed, skipped);
}

_Noreturn void l4_test_failed(const char *file, int line, const char *format,
                              ...)
{
    va_list arguments;
    va_start(arguments, format);
    hmm_l4_printf("FAIL: %s: %s:%d: ", running, file, line);
    hmm_l4_vprintf(format, arguments);
    hmm_l4_puts("\n");
    va_end(arguments);
    failed++;
    l4_tests_end();
    hmm_l4_panic("the test %s has failed", running);
}

void l4_test(bool holds, const char *what, const char *file, int line)
{
    running = what;
    if (!holds)
        l4_test_failed(file, line, "does not hold");
    passed++;
}

void l4_test_equal(long long value, long long expected, const char *what,
                   const char *file, int line)
{
    running = what;
    if (value != expected)
        l4_test_failed(file, line, "%lld, not %lld", value, expected);
    passed++;
}

/* ---- Suites ---- */

static Suite suites[2];
static TCase cases[CASES_MAX];
static unsigned suite_count, case_count;

Suite *suite_create(const char *name)
{
    Suite *suite = &suites[suite_count++];
    suite->name = name;
    return suite;
}

TCase *tcase_create(const char *name)
{
    TCase *tcase = &cases[case_count++];
    tcase->name = name;
    return tcase;
}

void suite_add_tcase(Suite *suite, TCase *tcase)
{
    suite->cases[suite->count++] = tcase;
}

void tcase_add_checked_fixture(TCase *tcase, void (*setup)(void),
                               void (*teardown)(void))
{
    tcase->setup = setup;
    tcase->teardown = teardown;
}

void l4_add_test(TCase *tcase, const char *name, void (*function)(int),
                 int first, int end)
{
    tcase->tests[tcase->count++] = (struct l4_test){name, function, first, end};
}

static void run_test(const TCase *tcase, const struct l4_test *test, int i)
{
    running = test->name;
    was_skipped = false;
    if (tcase->setup != NULL)
        tcase->setup();
    test->function(i);
    if (tcase->teardown != NULL)
        tcase->teardown();
    if (was_skipped)
        skipped++;
    else
        passed++;
}

static void run_case(const TCase *tcase)
{
    for (unsigned t = 0; t < tcase->count; t++) {
        const struct l4_test *test = &tcase->tests[t];
        for (int n = test->first; n < test->end; n++)
            run_test(tcase, test, n);
    }
}

int run_suites(const char *name, Suite *const *all, size_t count)
{
    l4_tests_begin(name);
    for (size_t i = 0; i < count; i++)
        for (unsigned c = 0; c < all[i]->count; c++)
            run_case(all[i]->cases[c]);
    l4_tests_end();
    return 0;
}

void test_skip(const char *reason)
{
    if (was_skipped)
        return;
    hmm_l4_printf("SKIP: %s: %s\n", running, reason);
    was_skipped = true;
}

size_t test_scaled(size_t full)
{
    return full / 10 + 1;
}

/* ---- A little of a C library ---- */

#define HEAP_UNIT 32u
#define HEAP_UNITS (HEAP_SIZE / HEAP_UNIT)
#define HEAP_PIECE (UINT32_C(1) << 16)
_Static_assert(HEAP_UNITS < HEAP_PIECE, "both halves of the state hold it");

static _Alignas(HEAP_UNIT) unsigned char heap[HEAP_SIZE];

/* Pieces in use, and in the lower half the units they have: one word, because
 * threads allocate too, and are preempted; and of 32 bits, because of what
 * machine.c says of cmpxchg8b.  All is given back when the last piece is. */
static uint32_t heap_state;

void *malloc(size_t size)
{
    uint32_t old, units;
    if (size > HEAP_SIZE)
        return NULL;
    units = size == 0 ? 1 : (uint32_t)(size + HEAP_UNIT - 1) / HEAP_UNIT;
    do {
        old = heap_state;
        if (units > HEAP_UNITS - old % HEAP_PIECE)
            return NULL;
    } while (!__sync_bool_compare_and_swap(&heap_state, old,
                                           old + HEAP_PIECE + units));
    return &heap[old % HEAP_PIECE * HEAP_UNIT];
}

void *calloc(size_t count, size_t size)
{
    void *piece = malloc(count * size);
    return piece == NULL ? NULL : memset(piece, 0, count * size);
}

void free(void *piece)
{
    uint32_t old, left;
    if (piece == NULL)
        return;
    do {
        old = heap_state;
        left = old - HEAP_PIECE;
    } while (!__sync_bool_compare_and_swap(&heap_state, old,
                                           left < HEAP_PIECE ? 0 : left));
}

void abort(void)
{
    hmm_l4_panic("abort in %s", running);
}

int strcmp(const char *one, const char *two)
{
    while (*one != '\0' && *one == *two) {
        one++;
        two++;
    }
    return (unsigned char)*one - (unsigned char)*two;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length] != '\0')
        length++;
    return length;
}

/* Knows %s only. */
int snprintf(char *text, size_t size, const char *format, ...)
{
    va_list arguments;
    size_t length = 0;
    va_start(arguments, format);
    while (*format != '\0' && length + 1 < size) {
        const char *piece = "";
        if (format[0] != '%' || format[1] != 's') {
            text[length++] = *format++;
            continue;
        }
        piece = va_arg(arguments, const char *);
        format += 2;
        while (*piece != '\0' && length + 1 < size)
            text[length++] = *piece++;
    }
    va_end(arguments);
    text[length] = '\0';
    return (int)length;
}
