/* SPDX-License-Identifier: MIT */
/* Faults of the posix port: how they are handed over, answered and failed. */
#include "tests/posix/rig.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/time.h>

#define THREADS 3u
#define PAGES 16u

static struct rig rig;

static void nap(uint64_t time_ns)
{
    struct timespec left = {.tv_sec = 0, .tv_nsec = (long)time_ns};
    while (nanosleep(&left, &left))
        continue;
}

START_TEST(a_read_gets_what_is_in_the_frame)
{
    rig_open(&rig, PAGES, 1, 0);
    rig_window(&rig, 3)[5] = 42;
    ck_assert_uint_eq(rig_at(&rig, 3)[5], 42);
    ck_assert_uint_eq(atomic_load(&rig.reads), 1);
    ck_assert_uint_eq(atomic_load(&rig.writes), 0);
    rig_close(&rig);
}
END_TEST

START_TEST(a_write_after_a_read_is_a_write_fault)
{
    rig_open(&rig, PAGES, 1, 0);
    (void)*rig_at(&rig, 2);
    *rig_at(&rig, 2) = 9;
    ck_assert_uint_eq(atomic_load(&rig.reads), 1);
    ck_assert_uint_eq(atomic_load(&rig.writes), 1);
    ck_assert_uint_eq(*rig_window(&rig, 2), 9);
    rig_close(&rig);
}
END_TEST

START_TEST(a_write_to_an_absent_page_ends_with_the_right_to_write)
{
    rig_open(&rig, PAGES, 1, 0);
    *rig_at(&rig, 1) = 7;
    ck_assert_uint_eq(*rig_window(&rig, 1), 7);
    ck_assert_uint_eq(atomic_load(&rig.writes), 1);
    ck_assert_uint_le(atomic_load(&rig.reads), 1);
    rig_close(&rig);
}
END_TEST

/* Reads that come while the page does are not writes: the answer would be an
 * error. */
static int refuse_writes(struct rig *of, const struct hurdmm_fault *fault)
{
    if (fault->access == HURDMM_WRITE)
        return EACCES;
    return rig_answer(of, fault);
}

static void *read_all(void *argument)
{
    (void)argument;
    for (unsigned round = 0; round < 300; round++)
        for (uint32_t i = 0; i < 4; i++)
            ck_assert_uint_eq(*rig_at(&rig, i), i + 1);
    return NULL;
}

START_TEST(reads_that_race_with_the_answer_stay_reads)
{
    rig_open(&rig, PAGES, 2, 0);
    rig.answer = refuse_writes;
    for (uint32_t i = 0; i < 4; i++)
        *rig_window(&rig, i) = (uint8_t)(i + 1);
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, read_all, NULL);
    for (unsigned round = 0; round < 200; round++)
        ck_assert_int_eq(rig_reclaim(&rig, round % 4, 1, HURDMM_NONE), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(atomic_load(&rig.writes), 0);
    rig_close(&rig);
}
END_TEST

static pthread_mutex_t counting = PTHREAD_MUTEX_INITIALIZER;

/* Not by atomic instructions: clang's TSan makes them with a lock held that our
 * handler needs for its own. */
static void *count_up(void *argument)
{
    uint32_t first = *(uint32_t *)argument;
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t *at = (uint32_t *)(uintptr_t)rig_at(&rig, (first + i) % PAGES);
        pthread_mutex_lock(&counting);
        ++*at;
        pthread_mutex_unlock(&counting);
    }
    return NULL;
}

START_TEST(no_write_is_lost_while_pages_come_and_go)
{
    rig_open(&rig, PAGES, 2, _i ? HURDMM_POSIX_NO_SPIN : 0);
    pthread_t threads[THREADS];
    uint32_t first[THREADS] = {0, 5, 11};
    for (unsigned i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, count_up, &first[i]);
    for (uint32_t round = 0; round < 300; round++)
        ck_assert_int_eq(rig_reclaim(&rig, round % PAGES, 1,
                                     round % 3 ? HURDMM_NONE : HURDMM_READ),
                         0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    uint32_t sum = 0;
    for (uint32_t i = 0; i < PAGES; i++) {
        uint32_t part;
        memcpy(&part, rig_window(&rig, i), sizeof(part));
        sum += part;
    }
    ck_assert_uint_eq(sum, THREADS * 200);
    rig_close(&rig);
}
END_TEST

static atomic_uint ticks;

static void tick(int signal)
{
    (void)signal;
    int saved = errno;
    atomic_fetch_add(&ticks, 1);
    errno = saved;
}

/* A handler of the program's that uses managed memory. */
static void tick_and_touch(int signal)
{
    tick(signal);
    *rig_at(&rig, atomic_load(&ticks) % PAGES) = 1;
}

static void storm(void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    struct itimerval every = {{0, 300}, {0, 300}};
    ck_assert_int_eq(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void calm(void)
{
    struct itimerval never = {{0, 0}, {0, 0}};
    ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
}

static int answer_slowly(struct rig *of, const struct hurdmm_fault *fault)
{
    nap(MS / 2);
    return rig_answer(of, fault);
}

START_TEST(a_storm_of_signals_disturbs_no_fault)
{
    if (_i && (on_tsan() || on_valgrind())) {
        test_skip("the tool blocks SIGSEGV in signal handlers");
        return;
    }
    rig_open(&rig, PAGES, 1, HURDMM_POSIX_NO_SPIN);
    rig.answer = answer_slowly;
    storm(_i ? tick_and_touch : tick);
    for (uint32_t round = 0; round < 100; round++) {
        uint32_t page = round % PAGES;
        rig_at(&rig, page)[8] = (uint8_t)round;
        ck_assert_uint_eq(rig_at(&rig, page)[8], round);
        ck_assert_int_eq(rig_reclaim(&rig, page, 1, HURDMM_NONE), 0);
        ck_assert_uint_eq(rig_window(&rig, page)[8], round);
    }
    calm();
    ck_assert_uint_gt(atomic_load(&ticks), 10);
    rig_close(&rig);
}
END_TEST

START_TEST(errno_is_the_same_after_a_fault)
{
    rig_open(&rig, PAGES, 1, 0);
    errno = 1234;
    *rig_at(&rig, 0) = 1;
    ck_assert_int_eq(errno, 1234);
    rig_close(&rig);
}
END_TEST

static void *touch_and_be_cancelled(void *argument)
{
    atomic_bool *touched = argument;
    int type;
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
    pthread_cancel(pthread_self());
    *rig_at(&rig, 4) = 3;
    atomic_store(touched, true);
    pthread_testcancel();
    return NULL;
}

START_TEST(a_fault_is_no_point_of_cancellation)
{
    if (on_asan()) {
        test_skip("ASan does not survive a cancelled thread");
        return;
    }
    rig_open(&rig, PAGES, 1, HURDMM_POSIX_NO_SPIN);
    rig.answer = answer_slowly;
    atomic_bool touched = false;
    pthread_t thread;
    pthread_create(&thread, NULL, touch_and_be_cancelled, &touched);
    void *result;
    pthread_join(thread, &result);
    ck_assert(atomic_load(&touched));
    ck_assert(result == PTHREAD_CANCELED);
    rig_close(&rig);
}
END_TEST

START_TEST(an_error_reaches_the_handler_that_was_there_before)
{
    static const struct {
        int error, signal;
    } rows[] = {{EFAULT, SIGSEGV}, {EACCES, SIGSEGV}, {EPERM, SIGSEGV},
                {EIO, SIGBUS},     {ENOSPC, SIGBUS},  {ENOMEM, SIGBUS}};
    int error = rows[_i].error;
    catch_install(0);
    rig_open(&rig, PAGES, 1, 0);
    rig.answer = rig_refuse;
    rig.data = &error;
    ck_assert_int_eq(try_read(rig_at(&rig, 6) + 10), rows[_i].signal);
    ck_assert_int_eq(caught.info.si_signo, rows[_i].signal);
    ck_assert_int_eq(caught.info.si_errno, error);
    ck_assert_ptr_eq(caught.info.si_addr, (void *)(rig_at(&rig, 6) + 10));
    ck_assert_uint_eq(rig_counters(&rig).failed, 1);
    rig.answer = rig_answer;
    ck_assert_int_eq(try_read(rig_at(&rig, 6) + 10), 0);
    rig_close(&rig);
}
END_TEST

/* A pager whose store touches page 1 while it fills page 0. */
static int answer_with_fault(struct rig *of, const struct hurdmm_fault *fault)
{
    if (fault->address - of->region < of->page)
        *(int *)of->data = try_write(rig_at(of, 1), 5);
    return rig_answer(of, fault);
}

START_TEST(the_last_free_pager_is_told_of_its_deadlock)
{
    int result = -1;
    catch_install(0);
    rig_open(&rig, PAGES, 1, 0);
    rig.answer = answer_with_fault;
    rig.data = &result;
    *rig_at(&rig, 0) = 1;
    ck_assert_int_eq(result, SIGBUS);
    ck_assert_int_eq(caught.info.si_errno, EDEADLK);
    ck_assert_uint_ge(rig_counters(&rig).deadlocks, 1);
    rig_close(&rig);
}
END_TEST

/* Each of two pagers answers only when the other has a fault, too. */
static int answer_together(struct rig *of, const struct hurdmm_fault *fault)
{
    atomic_uint *met = of->data;
    atomic_fetch_add(met, 1);
    while (atomic_load(met) < 2)
        nap(MS);
    return rig_answer(of, fault);
}

static void *touch_one(void *argument)
{
    *rig_at(&rig, *(uint32_t *)argument) = 1;
    return NULL;
}

START_TEST(another_pager_answers_a_pager)
{
    int result = -1;
    atomic_uint met = 0;
    uint32_t page = 6;
    pthread_t thread;
    catch_install(0);
    rig_open(&rig, PAGES, 2, 0);
    /* Both must have asked for faults. */
    rig.answer = answer_together;
    rig.data = &met;
    pthread_create(&thread, NULL, touch_one, &page);
    *rig_at(&rig, 7) = 1;
    pthread_join(thread, NULL);
    rig.answer = answer_with_fault;
    rig.data = &result;
    *rig_at(&rig, 0) = 1;
    ck_assert_int_eq(result, 0);
    ck_assert_uint_eq(*rig_window(&rig, 1), 5);
    ck_assert_uint_eq(rig_counters(&rig).deadlocks, 0);
    rig_close(&rig);
}
END_TEST

START_TEST(faults_are_taken_in_the_order_of_their_coming)
{
    rig_open(&rig, PAGES, 0, 0);
    pthread_t threads[4];
    uint32_t pages[4] = {3, 1, 2, 0};
    for (unsigned i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, touch_one, &pages[i]);
        /* Who sleeps has queued its fault. */
        while (rig_counters(&rig).sleeps <= i)
            nap(MS);
    }
    struct hurdmm_fault faults[4];
    size_t count = 0, more = 0;
    ck_assert_int_eq(rig.ops->fault_wait(rig.port, faults, 3, 0, &count), 0);
    ck_assert_uint_eq(count, 3);
    ck_assert_int_eq(rig.ops->fault_wait(rig.port, faults + 3, 3, 0, &more), 0);
    ck_assert_uint_eq(more, 1);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_eq(faults[i].address, (uintptr_t)rig_at(&rig, pages[i]));
        ck_assert_int_eq(rig_lend(&rig, pages[i], pages[i], 1, READ_WRITE), 0);
        rig.ops->fault_done(rig.port, &faults[i], 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    rig_close(&rig);
}
END_TEST

void faults_cases(Suite *suite)
{
    TCase *tc = tcase_create("faults");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_read_gets_what_is_in_the_frame);
    tcase_add_test(tc, a_write_after_a_read_is_a_write_fault);
    tcase_add_test(tc, a_write_to_an_absent_page_ends_with_the_right_to_write);
    tcase_add_test(tc, reads_that_race_with_the_answer_stay_reads);
    tcase_add_loop_test(tc, no_write_is_lost_while_pages_come_and_go, 0, 2);
    tcase_add_loop_test(tc, a_storm_of_signals_disturbs_no_fault, 0, 2);
    tcase_add_test(tc, errno_is_the_same_after_a_fault);
    tcase_add_test(tc, a_fault_is_no_point_of_cancellation);
    tcase_add_loop_test(tc, an_error_reaches_the_handler_that_was_there_before,
                        0, 6);
    tcase_add_test(tc, the_last_free_pager_is_told_of_its_deadlock);
    tcase_add_test(tc, another_pager_answers_a_pager);
    tcase_add_test(tc, faults_are_taken_in_the_order_of_their_coming);
    suite_add_tcase(suite, tc);
}
