/* SPDX-License-Identifier: MIT */
/* A manager on the linux port: more data than memory, by pager threads and
 * inline, with the port's facilities and without. */
#include "tests/linux/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <hurdmm/host.h>

/* The ways to page that every test is run with. */
static const struct rig_options ways[] = {
    {.pages = 512, .budget = 48},
    {.pages = 512,
     .budget = 48,
     .port_flags = HURDMM_LINUX_NO_DEVICE | HURDMM_LINUX_NO_POISON |
                   HURDMM_LINUX_NO_SCATTER | HURDMM_LINUX_NO_PROC},
    {.pages = 512, .budget = 128, .block_pages = 4},
    {.pages = 512, .budget = 48, .bind_flags = HURDMM_BIND_INLINE},
    {.pages = 512,
     .budget = 48,
     .bind_flags = HURDMM_BIND_INLINE,
     .manager_flags = HURDMM_NO_THREADS},
    {.pages = 512,
     .budget = 128,
     .block_pages = 4,
     .bind_flags = HURDMM_BIND_INLINE},
};

#define WAYS ((int)(sizeof ways / sizeof ways[0]))

START_TEST(every_page_is_what_the_store_has)
{
    struct rig rig;
    if (!rig_open(&rig, &ways[_i]))
        return;
    for (size_t i = 0; i < rig.pages; i++)
        ck_assert_uint_eq(rig_at(&rig, i * 7 % rig.pages)[i],
                          (uint8_t)(i * 7 % rig.pages + 1));
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(what_is_written_comes_back)
{
    struct rig rig;
    uint32_t state = 1;
    static uint8_t model[512 * PAGE];
    if (!rig_open(&rig, &ways[_i]))
        return;
    memcpy(model, rig.disk, sizeof model);
    size_t steps = test_scaled(20000);
    for (size_t i = 0; i < steps; i++) {
        state = state * 1664525 + 1013904223;
        size_t at = (state >> 4) % sizeof model;
        if (state >> 31)
            rig_at(&rig, 0)[at] = model[at] = (uint8_t)i;
        else
            ck_assert_uint_eq(rig_at(&rig, 0)[at], model[at]);
        if (i % 1000 == 0)
            rig_check(&rig);
    }
    ck_assert_int_eq(hurdmm_store_sync(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    ck_assert_int_eq(memcmp(rig.disk, model, sizeof model), 0);
    rig_close(&rig);
}
END_TEST

/* Threads count in counters that are spread over all pages. */

#define COUNTERS 64u

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;
static struct rig shared;

static void *count(void *argument)
{
    uint32_t state = (uint32_t)(uintptr_t)argument;
    size_t rounds = test_scaled(20000);
    for (size_t i = 0; i < rounds; i++) {
        state = state * 1664525 + 1013904223;
        size_t page = (state >> 8) % shared.pages;
        uint32_t *at =
            (uint32_t *)(uintptr_t)rig_at(&shared, page) + 1 + page % COUNTERS;
        pthread_mutex_lock(&counting);
        ++*at;
        pthread_mutex_unlock(&counting);
    }
    return NULL;
}

static void *flush(void *argument)
{
    atomic_int *stop = argument;
    while (!atomic_load(stop)) {
        (void)hurdmm_store_flush(shared.store, 0, HURDMM_WHOLE, HURDMM_WAIT);
        usleep(1000);
    }
    return NULL;
}

START_TEST(no_count_is_lost)
{
    pthread_t threads[3], flusher;
    atomic_int stop = 0;
    uint64_t sum = 0;
    if (!rig_open(&shared, &ways[_i]))
        return;
    memset(shared.disk, 0, shared.pages * PAGE);
    pthread_create(&flusher, NULL, flush, &stop);
    for (uintptr_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, count, (void *)(i + 1));
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&stop, 1);
    pthread_join(flusher, NULL);
    rig_check(&shared);
    for (size_t i = 0; i < shared.pages; i++)
        sum += ((uint32_t *)(uintptr_t)rig_at(&shared, i))[1 + i % COUNTERS];
    ck_assert_uint_eq(sum, 3 * test_scaled(20000));
    rig_close(&shared);
}
END_TEST

/* Half of the disk is read page by page, and each page written right after. */
static uint64_t faults_of_updates(struct rig *rig, size_t first, size_t count)
{
    uint64_t before = rig_counters(rig).faults_inline;
    for (size_t i = first; i < first + count; i++) {
        uint8_t value = *rig_at(rig, i);
        *rig_at(rig, i) = (uint8_t)(value + 1);
    }
    return rig_counters(rig).faults_inline - before;
}

START_TEST(pages_that_are_read_and_then_written_fault_once_when_that_is_known)
{
    struct rig rig;
    const struct rig_options options = {.pages = 1024,
                                        .budget = 64,
                                        .bind_flags = HURDMM_BIND_INLINE,
                                        .random = true};
    if (!rig_open(&rig, &options))
        return;
    ck_assert_uint_eq(faults_of_updates(&rig, 0, 16), 32);
    (void)faults_of_updates(&rig, 16, 496);
    ck_assert_uint_lt(faults_of_updates(&rig, 512, 256), 256 + 64);
    for (size_t i = 0; i < 768; i++)
        ck_assert_uint_eq(*rig_at(&rig, i), (uint8_t)(i + 2));
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(what_was_thought_to_be_written_and_was_not_is_unchanged)
{
    struct rig rig;
    const struct rig_options options = {.pages = 1024,
                                        .budget = 64,
                                        .bind_flags = HURDMM_BIND_INLINE,
                                        .random = true};
    if (!rig_open(&rig, &options))
        return;
    (void)faults_of_updates(&rig, 0, 512);
    unsigned written = atomic_load(&rig.writes);
    for (unsigned round = 0; round < 8; round++) /* and it is soon forgotten */
        for (size_t i = 512; i < 1024; i++)
            ck_assert_uint_eq(*rig_at(&rig, i), (uint8_t)(i + 1));
    ck_assert_uint_lt(atomic_load(&rig.writes) - written, 1024);
    rig_check(&rig);
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (size_t i = 512; i < 1024; i++)
        ck_assert_uint_eq(rig.disk[i * PAGE], (uint8_t)(i + 1));
    rig_close(&rig);
}
END_TEST

/* Every second page is written, so that windows have holes of pages that may not
 * be dropped with their neighbours. */
START_TEST(pages_between_those_that_leave_together_stay)
{
    struct rig rig;
    if (!rig_open(&rig, &ways[_i]))
        return;
    for (unsigned round = 1; round <= 6; round++) {
        for (size_t i = 0; i < rig.pages; i++) {
            if (i % 2)
                *rig_at(&rig, i) = (uint8_t)(i + round);
            else
                ck_assert_uint_eq(*rig_at(&rig, i), (uint8_t)(i + 1));
            size_t behind = i >= 20 ? i - 20 : i;
            if (behind % 2)
                ck_assert_uint_eq(*rig_at(&rig, behind),
                                  (uint8_t)(behind + round));
        }
    }
    rig_check(&rig);
    ck_assert_uint_eq(rig_counters(&rig).pages_gone, 0);
    rig_close(&rig);
}
END_TEST

/* What kernels, users and containers may lack, one by one and together; and how
 * pages come then. */
static const unsigned lacks[] = {
    HURDMM_LINUX_NO_DEVICE,
    HURDMM_LINUX_NO_CALL | HURDMM_LINUX_NO_USER,
    HURDMM_LINUX_NO_DEVICE | HURDMM_LINUX_NO_CALL,
    HURDMM_LINUX_NO_INLINE,
    HURDMM_LINUX_NO_POISON,
    HURDMM_LINUX_NO_SCATTER,
    HURDMM_LINUX_NO_PROC,
    HURDMM_LINUX_NO_PAGERS,
    HURDMM_LINUX_NO_ASYNC,
    HURDMM_LINUX_NO_SHARED,
    HURDMM_LINUX_NO_POISON | HURDMM_LINUX_NO_SCATTER | HURDMM_LINUX_NO_PROC,
};

#define LACKS ((int)(sizeof lacks / sizeof lacks[0]))

/* Reads and writes all over the place, flushes, and compares. */
static void page_with(struct rig *rig, size_t steps)
{
    static uint8_t model[256 * PAGE];
    uint32_t state = 1;
    memcpy(model, rig->disk, sizeof model);
    for (size_t i = 0; i < steps; i++) {
        state = state * 1664525 + 1013904223;
        size_t at = (state >> 4) % sizeof model;
        if (state >> 31)
            rig_at(rig, 0)[at] = model[at] = (uint8_t)i;
        else
            ck_assert_uint_eq(rig_at(rig, 0)[at], model[at]);
    }
    ck_assert_int_eq(
        hurdmm_store_flush(rig->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(memcmp(rig->disk, model, sizeof model), 0);
}

static bool lacks_way(const struct rig_options *options)
{
    bool pagers = !(options->bind_flags & HURDMM_BIND_INLINE);
    return (!pagers && options->port_flags & HURDMM_LINUX_NO_INLINE) ||
           (pagers && options->port_flags & HURDMM_LINUX_NO_PAGERS);
}

START_TEST(whatever_the_machine_lacks_pages_come_and_errors_are_signals)
{
    struct rig rig;
    struct rig_options options = {
        .pages = 256,
        .budget = 48,
        .port_flags = lacks[_i / 2],
        .bind_flags = _i % 2 ? HURDMM_BIND_INLINE : 0,
    };
    catch_install();
    if (lacks_way(&options) || !rig_open(&rig, &options))
        return;
    page_with(&rig, 3000);
    atomic_store(&rig.in_error, ETIMEDOUT);
    int failed = 0;
    for (size_t i = 0; i < rig.pages; i++)
        failed += try_read(rig_at(&rig, i)) == SIGBUS;
    ck_assert_int_ge(failed, 256 - 48);
    atomic_store(&rig.in_error, 0);
    page_with(&rig, 500);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* What the port says of itself follows from what it has. */
START_TEST(what_is_lacking_is_said)
{
    static const struct {
        unsigned flags;
        const char *words;
    } said[] = {
        {HURDMM_LINUX_NO_DEVICE, "/dev/userfaultfd: switched off"},
        {HURDMM_LINUX_NO_DEVICE | HURDMM_LINUX_NO_CALL, "USER_MODE_ONLY"},
        {HURDMM_LINUX_NO_INLINE, "inline faults not possible"},
        {HURDMM_LINUX_NO_POISON, "failing pages by protection"},
        {HURDMM_LINUX_NO_SCATTER, "dropped one by one"},
        {HURDMM_LINUX_NO_PAGERS, "inline is the default"},
        {HURDMM_LINUX_NO_ASYNC, "writes noted by faults"},
    };
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        struct rig rig;
        char text[512];
        const struct rig_options options = {
            .pages = 64, .budget = 32, .port_flags = said[i].flags};
        if (!rig_open(&rig, &options))
            continue;
        ck_assert_int_eq(hurdmm_port_describe(rig.port, text, sizeof text), 0);
        ck_assert_msg(strstr(text, said[i].words), "no '%s' in: %s",
                      said[i].words, text);
        rig_close(&rig);
    }
}
END_TEST

START_TEST(inline_faults_are_answered_by_those_who_fault)
{
    struct rig rig;
    if (!rig_open(&rig, &ways[_i]))
        return;
    for (size_t i = 0; i < rig.pages; i++)
        ck_assert_uint_eq(*rig_at(&rig, i), (uint8_t)(i + 1));
    struct hurdmm_linux_counters counters = rig_counters(&rig);
    if (rig_is_inline(&rig, &ways[_i]))
        ck_assert_uint_eq(counters.faults, 0);
    else
        ck_assert_uint_eq(counters.faults_inline, 0);
    ck_assert_uint_gt(counters.faults + counters.faults_inline, 0);
    rig_close(&rig);
}
END_TEST

START_TEST(a_system_call_on_absent_pages_works_by_pager_and_is_EFAULT_inline)
{
    struct rig rig;
    int pipes[2];
    uint8_t byte;
    if (!rig_open(&rig, &ways[_i]))
        return;
    ck_assert_int_eq(pipe(pipes), 0);
    ssize_t done = write(pipes[1], (void *)(uintptr_t)rig_at(&rig, 300), 1);
    if (rig_is_inline(&rig, &ways[_i])) {
        ck_assert_int_eq(done, -1);
        ck_assert_int_eq(errno, EFAULT);
    } else {
        ck_assert_int_eq(done, 1);
        ck_assert_int_eq(read(pipes[0], &byte, 1), 1);
        ck_assert_uint_eq(byte, 300 % 256 + 1);
    }
    close(pipes[0]);
    close(pipes[1]);
    rig_close(&rig);
}
END_TEST

START_TEST(an_error_of_the_store_is_a_signal_and_then_gone)
{
    struct rig rig;
    catch_install();
    if (!rig_open(&rig, &ways[_i]))
        return;
    atomic_store(&rig.in_error, ETIMEDOUT);
    ck_assert_int_eq(try_read(rig_at(&rig, 5)), SIGBUS);
    ck_assert_int_eq(try_write(rig_at(&rig, 5), 1), SIGBUS);
    ck_assert_int_eq(try_read(rig_at(&rig, 6)), SIGBUS);
    atomic_store(&rig.in_error, 0);
    ck_assert_int_eq(try_read(rig_at(&rig, 5)), 0);
    ck_assert_uint_eq(*rig_at(&rig, 5), 6);
    rig_close(&rig);
}
END_TEST

START_TEST(a_write_without_the_right_is_a_signal)
{
    struct rig rig;
    catch_install();
    if (!rig_open(&rig, &ways[_i]))
        return;
    ck_assert_uint_eq(*rig_at(&rig, 9), 10);
    ck_assert_int_eq(
        hurdmm_protect(rig.space, rig.region, rig.pages * PAGE, HURDMM_READ),
        0);
    ck_assert_int_eq(try_write(rig_at(&rig, 9), 1), SIGSEGV);
    ck_assert_int_eq(try_read(rig_at(&rig, 9)), 0);
    ck_assert_uint_eq(*rig_at(&rig, 9), 10);
    ck_assert_int_eq(hurdmm_protect(rig.space, rig.region, rig.pages * PAGE,
                                    HURDMM_READ | HURDMM_WRITE),
                     0);
    ck_assert_int_eq(try_write(rig_at(&rig, 9), 1), 0);
    rig_close(&rig);
}
END_TEST

START_TEST(after_unbind_the_cache_keeps_what_was_written)
{
    struct rig rig;
    uint8_t bytes[2];
    size_t done;
    if (!rig_open(&rig, &ways[_i]))
        return;
    *rig_at(&rig, 3) = 77;
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, rig.pages * PAGE), 0);
    ck_assert_int_eq(hurdmm_store_read(rig.store, 3 * PAGE, bytes, 2, &done),
                     0);
    ck_assert_uint_eq(bytes[0], 77);
    ck_assert_uint_eq(bytes[1], 4);
    rig_close(&rig);
}
END_TEST

START_TEST(reads_and_writes_through_the_cache_agree_with_the_region)
{
    struct rig rig;
    uint8_t bytes[64];
    size_t done;
    if (!rig_open(&rig, &ways[_i]))
        return;
    for (size_t i = 0; i < 40; i++) {
        *rig_at(&rig, i) = (uint8_t)(i + 100);
        ck_assert_int_eq(
            hurdmm_store_read(rig.store, i * PAGE, bytes, 2, &done), 0);
        ck_assert_uint_eq(bytes[0], i + 100);
        bytes[0] = (uint8_t)i;
        ck_assert_int_eq(
            hurdmm_write(rig.space, rig.region + i * PAGE, bytes, 1, &done), 0);
        ck_assert_uint_eq(*rig_at(&rig, i), i);
    }
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(a_pinned_page_stays_for_system_calls)
{
    struct rig rig;
    uint8_t byte = 0;
    int pipes[2];
    size_t done;
    if (!rig_open(&rig, &ways[_i]))
        return;
    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert_int_eq(hurdmm_pin(rig.space, rig.region + 4 * PAGE, 4 * PAGE,
                                HURDMM_READ | HURDMM_WRITE),
                     0);
    for (size_t i = 8; i < rig.pages; i++)
        ck_assert_uint_eq(*rig_at(&rig, i), (uint8_t)(i + 1));
    ck_assert_int_eq(write(pipes[1], "x", 1), 1);
    ck_assert_int_eq(read(pipes[0], (void *)(uintptr_t)rig_at(&rig, 6), 1), 1);
    ck_assert_int_eq(hurdmm_store_read(rig.store, 6 * PAGE, &byte, 1, &done),
                     0);
    ck_assert_uint_eq(byte, 'x');
    ck_assert_int_eq(hurdmm_store_write(rig.store, 6 * PAGE, "y", 1, &done), 0);
    ck_assert_uint_eq(*rig_at(&rig, 6), 'y');
    ck_assert_int_eq(hurdmm_unpin(rig.space, rig.region + 4 * PAGE, 4 * PAGE,
                                  HURDMM_READ | HURDMM_WRITE),
                     0);
    close(pipes[0]);
    close(pipes[1]);
    rig_close(&rig);
}
END_TEST

void paging_cases(Suite *suite)
{
    TCase *tcase = tcase_create("paging");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(
        tcase,
        pages_that_are_read_and_then_written_fault_once_when_that_is_known);
    tcase_add_test(tcase,
                   what_was_thought_to_be_written_and_was_not_is_unchanged);
    tcase_add_loop_test(tcase, pages_between_those_that_leave_together_stay, 0,
                        WAYS);
    tcase_add_loop_test(tcase, every_page_is_what_the_store_has, 0, WAYS);
    tcase_add_loop_test(tcase, what_is_written_comes_back, 0, WAYS);
    tcase_add_loop_test(tcase, no_count_is_lost, 0, WAYS);
    tcase_add_loop_test(
        tcase, whatever_the_machine_lacks_pages_come_and_errors_are_signals, 0,
        2 * LACKS);
    tcase_add_test(tcase, what_is_lacking_is_said);
    tcase_add_loop_test(tcase, inline_faults_are_answered_by_those_who_fault, 0,
                        WAYS);
    tcase_add_loop_test(
        tcase,
        a_system_call_on_absent_pages_works_by_pager_and_is_EFAULT_inline, 0,
        WAYS);
    tcase_add_loop_test(tcase, an_error_of_the_store_is_a_signal_and_then_gone,
                        0, WAYS);
    tcase_add_loop_test(tcase, a_write_without_the_right_is_a_signal, 0, WAYS);
    tcase_add_loop_test(tcase, after_unbind_the_cache_keeps_what_was_written, 0,
                        WAYS);
    tcase_add_loop_test(
        tcase, reads_and_writes_through_the_cache_agree_with_the_region, 0,
        WAYS);
    tcase_add_loop_test(tcase, a_pinned_page_stays_for_system_calls, 0, WAYS);
    suite_add_tcase(suite, tcase);
}
