/* SPDX-License-Identifier: MIT */
/* As much of Check as our suites use, for images that have no operating system
 * under them.  Tests run one after the other in one task; the first that fails
 * ends the run, because nothing can be trusted after it. */
#ifndef TESTS_L4_CHECK_H
#define TESTS_L4_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TESTS_IN_CASE_MAX 64
#define CASES_MAX 8

#define WORLD_PAGE 4096 /* tests/core/world.h */

struct l4_test {
    const char *name;
    void (*function)(int _i);
    int first, end;
};

typedef struct {
    const char *name;
    struct l4_test tests[TESTS_IN_CASE_MAX];
    unsigned count;
    void (*setup)(void);
    void (*teardown)(void);
} TCase;

typedef struct {
    const char *name;
    TCase *cases[CASES_MAX];
    unsigned count;
} Suite;

Suite *suite_create(const char *name);
void suite_add_tcase(Suite *suite, TCase *tcase);
TCase *tcase_create(const char *name);
void tcase_add_checked_fixture(TCase *tcase, void (*setup)(void),
                               void (*teardown)(void));
#define tcase_set_timeout(tcase, seconds) ((void)(tcase))
void l4_add_test(TCase *tcase, const char *name, void (*function)(int),
                 int first, int end);
#define tcase_add_loop_test(tcase, name, first, end)                           \
    l4_add_test(tcase, #name, name, first, end)
#define tcase_add_test(tcase, name) l4_add_test(tcase, #name, name, 0, 1)

#define START_TEST(name) static void name(int _i __attribute__((unused)))
#define END_TEST

_Noreturn void l4_test_failed(const char *file, int line, const char *format,
                              ...)
    __attribute__((__format__(__printf__, 3, 4)));

#define ck_assert_msg(condition, ...)                                          \
    ((condition) ? (void)0 : l4_test_failed(__FILE__, __LINE__, __VA_ARGS__))
#define ck_assert(condition) ck_assert_msg(condition, "%s", #condition)
#define ck_abort_msg(...) l4_test_failed(__FILE__, __LINE__, __VA_ARGS__)

#define L4_COMPARE(type, format, a, op, b)                                     \
    do {                                                                       \
        type l4_a = (type)(a);                                                 \
        type l4_b = (type)(b);                                                 \
        ck_assert_msg(l4_a op l4_b, "%s " #op " %s: " format ", " format, #a,  \
                      #b, (long long)l4_a, (long long)l4_b);                   \
    } while (0)
#define L4_INT(a, op, b) L4_COMPARE(int64_t, "%lld", a, op, b)
#define L4_UINT(a, op, b) L4_COMPARE(uint64_t, "%lld", a, op, b)
#define ck_assert_int_eq(a, b) L4_INT(a, ==, b)
#define ck_assert_int_ne(a, b) L4_INT(a, !=, b)
#define ck_assert_uint_eq(a, b) L4_UINT(a, ==, b)
#define ck_assert_uint_ne(a, b) L4_UINT(a, !=, b)
#define ck_assert_uint_ge(a, b) L4_UINT(a, >=, b)
#define ck_assert_uint_gt(a, b) L4_UINT(a, >, b)
#define ck_assert_uint_le(a, b) L4_UINT(a, <=, b)
#define ck_assert_uint_lt(a, b) L4_UINT(a, <, b)
#define ck_assert_ptr_eq(a, b) ck_assert((const void *)(a) == (const void *)(b))
#define ck_assert_ptr_nonnull(a) ck_assert((a) != NULL)
#define ck_assert_str_ne(a, b) ck_assert(strcmp(a, b) != 0)
#define ck_assert_str_eq(a, b) ck_assert(strcmp(a, b) == 0)
#define ck_assert_mem_eq(a, b, n) ck_assert(memcmp(a, b, n) == 0)

#endif
