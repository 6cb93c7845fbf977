/* SPDX-License-Identifier: MIT */
/*
 * Locks and events over a parker made of one pthread mutex and condition. The
 * scripted parker below it has no threads: it shows what is asked of a port.
 */
/* Before anything else, for clock_gettime. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/lock.h"

#include "tests/base/trap.h"
#include "tests/support/runner.h"

/* ---- A parker for threads ---- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t opened = PTHREAD_COND_INITIALIZER;
static unsigned parked; /* threads that sleep now; under `gate' */

static int park(void *ctx, _Atomic uint32_t *word, uint32_t expected,
                uint64_t timeout_ns)
{
    struct timespec until;
    int error = 0;

    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(timeout_ns / 1000000000 % 100000);
    until.tv_nsec += (long)(timeout_ns % 1000000000);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&gate);
    if (*word != expected) {
        error = EAGAIN;
    } else {
        parked++;
        error = pthread_cond_timedwait(&opened, &gate, &until);
        parked--;
    }
    pthread_mutex_unlock(&gate);
    return error;
}

/* Wakes everybody, which is more than asked for and must do no harm. */
static void wake(void *ctx, _Atomic uint32_t *word, int count)
{
    (void)ctx;
    (void)word;
    (void)count;
    pthread_mutex_lock(&gate);
    pthread_cond_broadcast(&opened);
    pthread_mutex_unlock(&gate);
}

static const struct hmm_parker threads = {park, wake, NULL, 0};

static void wait_until_parked(unsigned count)
{
    unsigned now;

    do {
        pthread_mutex_lock(&gate);
        now = parked;
        pthread_mutex_unlock(&gate);
    } while (now < count);
}

/* ---- A parker that follows a script ---- */

struct script {
    int parks;
    int wakes;
    int woken;          /* the last count given to wake */
    uint32_t expected;  /* by the last park */
    uint64_t timeout;   /* of the last park */
    int answer[4];      /* of each park */
    int change_at;      /* the park that changes the word, from 0 */
    uint32_t change_to; /* to this */
};

static int script_park(void *ctx, _Atomic uint32_t *word, uint32_t expected,
                       uint64_t timeout_ns)
{
    struct script *script = ctx;

    script->expected = expected;
    script->timeout = timeout_ns;
    ck_assert_uint_eq(*word, expected);
    ck_assert_int_lt(script->parks, 4);
    if (script->parks == script->change_at)
        *word = script->change_to;
    return script->answer[script->parks++];
}

static void script_wake(void *ctx, _Atomic uint32_t *word, int count)
{
    struct script *script = ctx;

    (void)word;
    script->wakes++;
    script->woken = count;
}

/* ---- Locks ---- */

START_TEST(a_free_lock_is_taken_and_given_without_the_port)
{
    struct script script = {0};
    struct hmm_parker parker = {script_park, script_wake, &script, 0};
    struct hmm_lock lock;

    hmm_lock_init(&lock);
    ck_assert(!hmm_lock_held(&lock));
    hmm_lock_acquire(&lock, &parker);
    ck_assert(hmm_lock_held(&lock));
    hmm_lock_release(&lock, &parker);
    ck_assert(!hmm_lock_held(&lock));
    ck_assert_int_eq(script.parks, 0);
    ck_assert_int_eq(script.wakes, 0);
}
END_TEST

START_TEST(a_held_lock_is_not_taken_by_trying)
{
    struct hmm_lock lock = {0};

    ck_assert(hmm_lock_try(&lock));
    ck_assert(!hmm_lock_try(&lock));
    hmm_lock_release(&lock, &threads);
    ck_assert(hmm_lock_try(&lock));
}
END_TEST

START_TEST(a_thread_that_waited_wakes_another_in_turn)
{
    struct script script = {.answer = {EINTR, EIO}, .change_at = 1};
    struct hmm_parker parker = {script_park, script_wake, &script, 0};
    struct hmm_lock lock;

    hmm_lock_init(&lock);
    ck_assert(hmm_lock_try(&lock));
    hmm_lock_acquire(&lock, &parker);
    ck_assert_int_eq(script.parks, 2);
    ck_assert_uint_eq(script.timeout, HMM_FOREVER);
    hmm_lock_release(&lock, &parker);
    ck_assert_int_eq(script.wakes, 1);
    ck_assert_int_eq(script.woken, 1);
}
END_TEST

static void release_free_lock(void)
{
    struct hmm_lock lock = {0};

    hmm_lock_release(&lock, &threads);
}

START_TEST(releasing_a_free_lock_traps)
{
#ifdef NDEBUG
    test_skip("assertions are compiled out");
    (void)release_free_lock;
    (void)dies;
#else
    ck_assert(dies(release_free_lock));
#endif
}
END_TEST

struct counter {
    struct hmm_lock lock;
    unsigned count; /* not atomic: the lock has to do it */
    unsigned rounds;
};

static void *count_up(void *argument)
{
    struct counter *counter = argument;

    for (unsigned i = 0; i < counter->rounds; i++) {
        unsigned seen;

        hmm_lock_acquire(&counter->lock, &threads);
        seen = counter->count;
        for (volatile int pause = 0; pause < 50; pause++)
            continue;
        counter->count = seen + 1;
        hmm_lock_release(&counter->lock, &threads);
    }
    return NULL;
}

START_TEST(four_threads_count_without_losing_one)
{
    struct counter counter = {.rounds = (unsigned)test_scaled(20000)};
    pthread_t thread[4];

    hmm_lock_init(&counter.lock);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, count_up, &counter),
                         0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(counter.count, 4 * counter.rounds);
    ck_assert(!hmm_lock_held(&counter.lock));
}
END_TEST

static void *take_once(void *argument)
{
    struct counter *counter = argument;

    hmm_lock_acquire(&counter->lock, &threads);
    counter->count++;
    hmm_lock_release(&counter->lock, &threads);
    return NULL;
}

START_TEST(everybody_parked_on_a_lock_gets_it)
{
    struct counter counter = {.count = 0};
    pthread_t thread[4];

    hmm_lock_init(&counter.lock);
    hmm_lock_acquire(&counter.lock, &threads);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, take_once, &counter),
                         0);
    wait_until_parked(4);
    hmm_lock_release(&counter.lock, &threads);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    ck_assert_uint_eq(counter.count, 4);
}
END_TEST

/* ---- Events ---- */

START_TEST(a_signal_before_the_wait_is_not_lost)
{
    struct script script = {0};
    struct hmm_parker parker = {script_park, script_wake, &script, 0};
    struct hmm_event event;
    uint32_t ticket;

    hmm_event_init(&event);
    ticket = hmm_event_ticket(&event);
    hmm_event_signal(&event, &parker);
    ck_assert_int_eq(hmm_event_wait(&event, ticket, &parker, HMM_FOREVER), 0);
    ck_assert_int_eq(script.parks, 0);
    ck_assert_int_eq(script.wakes, 0);
}
END_TEST

START_TEST(a_wait_goes_on_until_it_is_signalled)
{
    struct script script = {
        .answer = {0, EINTR, EAGAIN}, .change_at = 2, .change_to = 2};
    struct hmm_parker parker = {script_park, script_wake, &script, 0};
    struct hmm_event event;

    hmm_event_init(&event);
    ck_assert_int_eq(
        hmm_event_wait(&event, hmm_event_ticket(&event), &parker, 1000), 0);
    ck_assert_int_eq(script.parks, 3);
    ck_assert_uint_eq(script.timeout, 1000);
}
END_TEST

START_TEST(a_wait_ends_when_its_time_is_up)
{
    struct script script = {.answer = {ETIMEDOUT}, .change_at = -1};
    struct hmm_parker parker = {script_park, script_wake, &script, 0};
    struct hmm_event event;

    hmm_event_init(&event);
    ck_assert_int_eq(
        hmm_event_wait(&event, hmm_event_ticket(&event), &parker, 1000),
        ETIMEDOUT);
    ck_assert_int_eq(script.parks, 1);
}
END_TEST

START_TEST(a_signal_at_the_last_moment_beats_the_time_out)
{
    struct script script = {.answer = {ETIMEDOUT}, .change_to = 2};
    struct hmm_parker parker = {script_park, script_wake, &script, 0};
    struct hmm_event event;

    hmm_event_init(&event);
    ck_assert_int_eq(
        hmm_event_wait(&event, hmm_event_ticket(&event), &parker, 1000), 0);
}
END_TEST

START_TEST(a_wait_hands_on_the_error_of_the_port)
{
    struct script script = {.answer = {ECANCELED}, .change_at = -1};
    struct hmm_parker parker = {script_park, script_wake, &script, 0};
    struct hmm_event event;

    hmm_event_init(&event);
    ck_assert_int_eq(
        hmm_event_wait(&event, hmm_event_ticket(&event), &parker, HMM_FOREVER),
        ECANCELED);
}
END_TEST

START_TEST(a_signal_wakes_all_and_only_when_somebody_waits)
{
    struct script script = {.answer = {ETIMEDOUT}, .change_at = -1};
    struct hmm_parker parker = {script_park, script_wake, &script, 0};
    struct hmm_event event;

    hmm_event_init(&event);
    (void)hmm_event_wait(&event, hmm_event_ticket(&event), &parker, 1);
    hmm_event_signal(&event, &parker);
    ck_assert_int_eq(script.wakes, 1);
    ck_assert_int_eq(script.woken, INT_MAX);
    hmm_event_signal(&event, &parker);
    ck_assert_int_eq(script.wakes, 1);
}
END_TEST

static void *wait_for(void *argument)
{
    struct hmm_event *event = argument;

    return hmm_event_wait(event, 0, &threads, HMM_FOREVER) == 0 ? event : NULL;
}

START_TEST(everybody_parked_on_an_event_is_let_go)
{
    struct hmm_event event;
    pthread_t thread[4];

    hmm_event_init(&event);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, wait_for, &event), 0);
    wait_until_parked(4);
    hmm_event_signal(&event, &threads);
    for (int i = 0; i < 4; i++) {
        void *result;

        pthread_join(thread[i], &result);
        ck_assert_ptr_eq(result, &event);
    }
}
END_TEST

/* One thread makes an event on the heap, the other signals it, and the first
   frees it at once: what a sanitizer or Valgrind sees if a signal reads the event
   after the waiter was let go. */
struct baton {
    struct hmm_event *_Atomic event;
    unsigned rounds;
};

static void *signal_all(void *argument)
{
    struct baton *baton = argument;

    for (unsigned i = 0; i < baton->rounds; i++) {
        struct hmm_event *event;

        do
            event = atomic_exchange(&baton->event, NULL);
        while (event == NULL);
        hmm_event_signal(event, &threads);
    }
    return NULL;
}

START_TEST(a_waiter_may_free_the_event_at_once)
{
    struct baton baton = {.rounds = (unsigned)test_scaled(2000)};
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, signal_all, &baton), 0);
    for (unsigned i = 0; i < baton.rounds; i++) {
        struct hmm_event *event = malloc(sizeof *event);
        uint32_t ticket;

        ck_assert_ptr_nonnull(event);
        hmm_event_init(event);
        ticket = hmm_event_ticket(event);
        atomic_store(&baton.event, event);
        ck_assert_int_eq(hmm_event_wait(event, ticket, &threads, HMM_FOREVER),
                         0);
        memset(event, 0xff, sizeof *event);
        free(event);
    }
    pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock");
    TCase *lock = tcase_create("lock");
    TCase *event = tcase_create("event");

    tcase_set_timeout(lock, 60);
    tcase_add_test(lock, a_free_lock_is_taken_and_given_without_the_port);
    tcase_add_test(lock, a_held_lock_is_not_taken_by_trying);
    tcase_add_test(lock, a_thread_that_waited_wakes_another_in_turn);
    tcase_add_test(lock, releasing_a_free_lock_traps);
    tcase_add_test(lock, four_threads_count_without_losing_one);
    tcase_add_test(lock, everybody_parked_on_a_lock_gets_it);
    tcase_set_timeout(event, 60);
    tcase_add_test(event, a_signal_before_the_wait_is_not_lost);
    tcase_add_test(event, a_wait_goes_on_until_it_is_signalled);
    tcase_add_test(event, a_wait_ends_when_its_time_is_up);
    tcase_add_test(event, a_signal_at_the_last_moment_beats_the_time_out);
    tcase_add_test(event, a_wait_hands_on_the_error_of_the_port);
    tcase_add_test(event, a_signal_wakes_all_and_only_when_somebody_waits);
    tcase_add_test(event, everybody_parked_on_an_event_is_let_go);
    tcase_add_test(event, a_waiter_may_free_the_event_at_once);
    suite_add_tcase(suite, lock);
    suite_add_tcase(suite, event);
    return run_suites("lock", &suite, 1);
}
