/* SPDX-License-Identifier: MIT */
/* A program that answers the faults itself, in its own loop. */
#include "tests/posix/rig.h"

#include <poll.h>
#include <time.h>

static struct rig rig;

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, timeout_ms) == 1 && polled.revents & POLLIN;
}

static void *touch_three(void *argument)
{
    (void)argument;
    for (uint32_t i = 0; i < 3; i++)
        *rig_at(&rig, i) = (uint8_t)(i + 1);
    return NULL;
}

START_TEST(the_descriptor_tells_of_faults)
{
    int fd = -1, again = -1;
    rig_open(&rig, 4, 0, 0);
    ck_assert_int_eq(hurdmm_posix_get_fd(rig.port, &fd), 0);
    ck_assert_int_eq(hurdmm_posix_get_fd(rig.port, &again), 0);
    ck_assert_int_eq(fd, again);
    ck_assert(!is_readable(fd, 0));
    pthread_t thread;
    pthread_create(&thread, NULL, touch_three, NULL);
    while (atomic_load(&rig.writes) < 3) {
        ck_assert(is_readable(fd, 10000));
        int error = rig_serve(&rig, 0);
        ck_assert(error == 0 || error == ETIMEDOUT);
    }
    pthread_join(thread, NULL);
    while (rig_serve(&rig, 0) != ETIMEDOUT)
        continue;
    ck_assert(!is_readable(fd, 0));
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_uint_eq(*rig_window(&rig, i), i + 1);
    rig.ops->fault_stop(rig.port);
    ck_assert(is_readable(fd, 0));
    rig_close(&rig);
}
END_TEST

static void *touch_page(void *argument)
{
    *rig_at(&rig, *(uint32_t *)argument) = 1;
    return NULL;
}

START_TEST(the_descriptor_stays_readable_while_faults_are_left)
{
    int fd = -1;
    uint32_t pages[2] = {1, 2};
    pthread_t threads[2];
    rig_open(&rig, 4, 0, 0);
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, touch_page, &pages[i]);
    /* Who sleeps has queued its fault. */
    while (rig_counters(&rig).sleeps < 2) {
        struct timespec nap = {0, (long)MS};
        nanosleep(&nap, NULL);
    }
    /* Asked for late. */
    ck_assert_int_eq(hurdmm_posix_get_fd(rig.port, &fd), 0);
    ck_assert(is_readable(fd, 0));
    ck_assert_int_eq(rig_serve(&rig, 0), 0);
    ck_assert(is_readable(fd, 0));
    while (atomic_load(&rig.writes) < 2)
        rig_serve(&rig, MS);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    rig_close(&rig);
}
END_TEST

START_TEST(waiting_ends_with_its_time)
{
    rig_open(&rig, 4, 0, _i ? HURDMM_POSIX_NO_SPIN : 0);
    ck_assert_int_eq(rig_serve(&rig, 0), ETIMEDOUT);
    uint64_t start = rig.ops->clock(rig.port);
    ck_assert_int_eq(rig_serve(&rig, 20 * MS), ETIMEDOUT);
    ck_assert_uint_ge(rig.ops->clock(rig.port) - start, 20 * MS);
    ck_assert_int_eq(rig_serve(&rig, 1000), ETIMEDOUT);
    rig.ops->fault_stop(rig.port);
    ck_assert_int_eq(rig_serve(&rig, 20 * MS), ECANCELED);
    rig_close(&rig);
}
END_TEST

START_TEST(the_only_server_cannot_wait_for_itself)
{
    catch_install(0);
    rig_open(&rig, 4, 0, 0);
    ck_assert_int_eq(rig_serve(&rig, 0), ETIMEDOUT);
    ck_assert_int_eq(try_read(rig_at(&rig, 0)), SIGBUS);
    ck_assert_int_eq(caught.info.si_errno, EDEADLK);
    rig_close(&rig);
}
END_TEST

void driven_cases(Suite *suite)
{
    TCase *tc = tcase_create("driven");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_descriptor_tells_of_faults);
    tcase_add_test(tc, the_descriptor_stays_readable_while_faults_are_left);
    tcase_add_loop_test(tc, waiting_ends_with_its_time, 0, 2);
    tcase_add_test(tc, the_only_server_cannot_wait_for_itself);
    suite_add_tcase(suite, tc);
}
