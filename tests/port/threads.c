/* SPDX-License-Identifier: MIT */
/* Threads, park and wake, critical sections, the clock. */
#include <string.h>

#include "tests/port/rig.h"
#include "tests/support/runner.h"

#define ROUNDS 500

/* What the bodies of a test share. */
struct shared {
    struct rig *rig;
    struct lock lock;
    uint32_t word;
    uint64_t count; /* under the lock */
    atomic_uint errors;
    atomic_uint awake;
};

static void run_all(struct shared *shared, void (*body)(void *), unsigned count)
{
    void (*bodies[8])(void *);
    void *arguments[8];
    for (unsigned i = 0; i < count; i++) {
        bodies[i] = body;
        arguments[i] = shared;
    }
    struct rig *rig = shared->rig;
    ck_assert_int_eq(rig->target->run(rig->port, bodies, arguments, count), 0);
    ck_assert_uint_eq(atomic_load(&shared->errors), 0);
}

START_TEST(park_returns_where_the_word_differs)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uint32_t word = 5;
    ck_assert_int_eq(rig.ops->park(rig.port, &word, 4, HURDMM_FOREVER), 0);
    rig.ops->wake(rig.port, &word, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(park_times_out)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    uint32_t word = 5;
    uint64_t start = rig.ops->clock(rig.port);
    uint64_t end = start + 5 * MS;
    int error = 0;
    while (error == 0) {
        uint64_t now = rig.ops->clock(rig.port);
        ck_assert_uint_lt(now - start, 60000 * MS);
        error = rig.ops->park(rig.port, &word, 5, now < end ? end - now : 0);
    }
    ck_assert_int_eq(error, ETIMEDOUT);
    ck_assert_uint_ge(rig.ops->clock(rig.port) - start, 4 * MS);
    rig_close(&rig);
}
END_TEST

/* Two bodies hand a word to one another: even is the one's turn, odd the
 * other's. */
static void hand_over(struct shared *shared, uint32_t mine)
{
    struct rig *rig = shared->rig;
    for (uint32_t i = mine; i < 2 * ROUNDS; i += 2) {
        uint32_t seen;
        while ((seen = __atomic_load_n(&shared->word, __ATOMIC_SEQ_CST)) != i)
            if (rig->ops->park(rig->port, &shared->word, seen,
                               HURDMM_FOREVER) != 0)
                atomic_fetch_add(&shared->errors, 1);
        __atomic_store_n(&shared->word, i + 1, __ATOMIC_SEQ_CST);
        rig->ops->wake(rig->port, &shared->word, 1);
    }
}

static void hand_over_even(void *argument)
{
    hand_over(argument, 0);
}

static void hand_over_odd(void *argument)
{
    hand_over(argument, 1);
}

START_TEST(no_wake_is_lost)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct shared shared = {.rig = &rig};
    void (*bodies[])(void *) = {hand_over_even, hand_over_odd};
    void *arguments[] = {&shared, &shared};
    ck_assert_int_eq(rig.target->run(rig.port, bodies, arguments, 2), 0);
    ck_assert_uint_eq(shared.word, 2 * ROUNDS);
    ck_assert_uint_eq(atomic_load(&shared.errors), 0);
    rig_close(&rig);
}
END_TEST

static void park_until_set(void *argument)
{
    struct shared *shared = argument;
    struct rig *rig = shared->rig;
    while (__atomic_load_n(&shared->word, __ATOMIC_SEQ_CST) == 0)
        rig->ops->park(rig->port, &shared->word, 0, HURDMM_FOREVER);
    atomic_fetch_add(&shared->awake, 1);
}

static void set_and_wake_all(void *argument)
{
    struct shared *shared = argument;
    struct rig *rig = shared->rig;
    rig->target->sleep(rig->port, 2 * MS);
    __atomic_store_n(&shared->word, 1, __ATOMIC_SEQ_CST);
    rig->ops->wake(rig->port, &shared->word, UINT32_MAX);
}

START_TEST(wake_wakes_all)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct shared shared = {.rig = &rig};
    void (*bodies[])(void *) = {park_until_set, park_until_set, park_until_set,
                                park_until_set, set_and_wake_all};
    void *arguments[] = {&shared, &shared, &shared, &shared, &shared};
    ck_assert_int_eq(rig.target->run(rig.port, bodies, arguments, 5), 0);
    ck_assert_uint_eq(atomic_load(&shared.awake), 4);
    rig_close(&rig);
}
END_TEST

static void count_locked(void *argument)
{
    struct shared *shared = argument;
    struct rig *rig = shared->rig;
    for (unsigned i = 0; i < ROUNDS; i++) {
        lock_take(rig, &shared->lock);
        uint64_t count = shared->count;
        if (i % 32 == 0)
            rig->ops->clock(rig->port);
        shared->count = count + 1;
        lock_give(rig, &shared->lock);
    }
}

START_TEST(a_lock_can_be_made_of_park_and_wake)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct shared shared = {.rig = &rig};
    run_all(&shared, count_locked, 4);
    ck_assert_uint_eq(shared.count, 4 * ROUNDS);
    rig_close(&rig);
}
END_TEST

static void count_critical(void *argument)
{
    struct shared *shared = argument;
    struct rig *rig = shared->rig;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uintptr_t cookie;
        if (rig->ops->critical_enter(rig->port, &cookie) != 0) {
            atomic_fetch_add(&shared->errors, 1);
            return;
        }
        lock_take(rig, &shared->lock);
        shared->count++;
        lock_give(rig, &shared->lock);
        rig->ops->critical_leave(rig->port, cookie);
    }
}

START_TEST(threads_park_in_critical_sections)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct shared shared = {.rig = &rig};
    run_all(&shared, count_critical, 4);
    ck_assert_uint_eq(shared.count, 4 * ROUNDS);
    rig_close(&rig);
}
END_TEST

struct started {
    struct rig *rig;
    uint64_t self;
};

static void say_self(void *argument)
{
    struct started *started = argument;
    started->self = started->rig->ops->thread_self(started->rig->port);
}

START_TEST(threads_start_and_are_joined)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_THREADS))
        return;
    struct started started[4];
    uint64_t ids[4];
    for (unsigned i = 0; i < 4; i++) {
        started[i] = (struct started){&rig, 0};
        ck_assert_int_eq(
            rig.ops->thread_start(rig.port, say_self, &started[i], &ids[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(rig.ops->thread_join(rig.port, ids[i]), 0);
        ck_assert_uint_ne(ids[i], 0);
        ck_assert_uint_eq(started[i].self, ids[i]);
        ck_assert_uint_ne(ids[i], rig.ops->thread_self(rig.port));
    }
    rig_close(&rig);
}
END_TEST

START_TEST(a_port_without_threads_says_ENOTSUP)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    if ((rig.info.features & HURDMM_PORT_THREADS) == 0) {
        struct started started = {&rig, 0};
        uint64_t id;
        ck_assert_int_eq(
            rig.ops->thread_start(rig.port, say_self, &started, &id), ENOTSUP);
    }
    rig_close(&rig);
}
END_TEST

static void wait_for_faults(void *argument)
{
    struct started *started = argument;
    struct hurdmm_port *port = started->rig->port;
    struct hurdmm_fault fault;
    size_t count;
    int error = 0;
    while (error == 0)
        error = port->ops->fault_wait(port, &fault, 1, HURDMM_FOREVER, &count);
    started->self = error == ECANCELED;
}

START_TEST(pager_threads_end_with_fault_stop)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_THREADS))
        return;
    struct started started[3];
    uint64_t ids[3];
    for (unsigned i = 0; i < 3; i++) {
        started[i] = (struct started){&rig, 0};
        ck_assert_int_eq(rig.ops->thread_start(rig.port, wait_for_faults,
                                               &started[i], &ids[i]),
                         0);
    }
    rig.target->sleep(rig.port, MS);
    rig.ops->fault_stop(rig.port);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(rig.ops->thread_join(rig.port, ids[i]), 0);
        ck_assert_uint_eq(started[i].self, 1);
    }
    rig_close(&rig);
}
END_TEST

static void note_self(void *argument)
{
    struct shared *shared = argument;
    struct rig *rig = shared->rig;
    uint64_t self = rig->ops->thread_self(rig->port);
    for (int i = 0; i < 20; i++)
        if (self == 0 || rig->ops->thread_self(rig->port) != self)
            atomic_fetch_add(&shared->errors, 1);
}

START_TEST(a_thread_keeps_its_name)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct shared shared = {.rig = &rig};
    run_all(&shared, note_self, 3);
    rig_close(&rig);
}
END_TEST

static void watch_clock(void *argument)
{
    struct shared *shared = argument;
    struct rig *rig = shared->rig;
    for (unsigned i = 0; i < ROUNDS; i++) {
        lock_take(rig, &shared->lock);
        uint64_t now = rig->ops->clock(rig->port);
        if (now < shared->count)
            atomic_fetch_add(&shared->errors, 1);
        shared->count = now;
        lock_give(rig, &shared->lock);
    }
}

START_TEST(the_clock_never_goes_back)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct shared shared = {.rig = &rig};
    run_all(&shared, watch_clock, 3);
    uint64_t start = rig.ops->clock(rig.port);
    ck_assert_uint_ge(start, shared.count);
    rig.target->sleep(rig.port, 2 * MS);
    ck_assert_uint_ge(rig.ops->clock(rig.port) - start, MS);
    rig_close(&rig);
}
END_TEST

TCase *thread_case(int count)
{
    TCase *tcase = tcase_create("threads");
    tcase_set_timeout(tcase, 20);
    tcase_add_loop_test(tcase, park_returns_where_the_word_differs, 0, count);
    tcase_add_loop_test(tcase, park_times_out, 0, count);
    tcase_add_loop_test(tcase, no_wake_is_lost, 0, count);
    tcase_add_loop_test(tcase, wake_wakes_all, 0, count);
    tcase_add_loop_test(tcase, a_lock_can_be_made_of_park_and_wake, 0, count);
    tcase_add_loop_test(tcase, threads_park_in_critical_sections, 0, count);
    tcase_add_loop_test(tcase, threads_start_and_are_joined, 0, count);
    tcase_add_loop_test(tcase, a_port_without_threads_says_ENOTSUP, 0, count);
    tcase_add_loop_test(tcase, pager_threads_end_with_fault_stop, 0, count);
    tcase_add_loop_test(tcase, a_thread_keeps_its_name, 0, count);
    tcase_add_loop_test(tcase, the_clock_never_goes_back, 0, count);
    return tcase;
}
