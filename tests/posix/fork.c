/* SPDX-License-Identifier: MIT */
/* fork: the child inherits nothing, and never reads anything wrong. */
#include "tests/posix/rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/syscall.h>
#include <sys/wait.h>

static struct rig rig;

static void setup(void)
{
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    rig_open(&rig, 8, 1, 0);
    *rig_at(&rig, 0) = 1;
}

static void read_page(void *argument)
{
    (void)*rig_at(&rig, *(uint32_t *)argument);
}

START_TEST(a_page_is_out_of_reach_in_a_child)
{
    uint32_t present = 0, absent = 5;
    setup();
    ck_assert_int_eq(WTERMSIG(in_child(read_page, &present)), SIGSEGV);
    ck_assert_int_eq(WTERMSIG(in_child(read_page, &absent)), SIGSEGV);
    ck_assert_uint_eq(*rig_at(&rig, 0), 1);
    *rig_at(&rig, 5) = 2;
    rig_close(&rig);
}
END_TEST

static void read_window(void *argument)
{
    (void)*(volatile uint8_t *)argument;
}

START_TEST(the_window_is_out_of_reach_in_a_child)
{
    setup();
    ck_assert_int_eq(WTERMSIG(in_child(read_window, rig_window(&rig, 0))),
                     SIGSEGV);
    rig_close(&rig);
}
END_TEST

/* Says which call went wrong by its exit status. */
static void call_everything(void *argument)
{
    (void)argument;
    const struct hurdmm_port_ops *ops = rig.ops;
    struct hurdmm_port *port = rig.port;
    struct hurdmm_port_config config = {.struct_size = sizeof(config),
                                        .frames = 4};
    struct hurdmm_posix_counters counters = {.struct_size = sizeof(counters)};
    struct hurdmm_reclaim row = {.address = rig.region, .count = 1};
    struct hurdmm_fault fault;
    uintptr_t word = 0;
    uint64_t thread = 0;
    uint32_t done = 0;
    size_t count = 0;
    void *memory;
    int fd;
    const int errors[] = {
        ops->critical_enter(port, &word),
        ops->open(port, &config, &rig.info),
        ops->window(port, 0, 1, &memory),
        ops->core_map(port, rig.page, &memory),
        ops->reserve(port, NULL, &word, rig.page, 0),
        ops->lend(port, NULL, rig.region, 0, 1, HURDMM_READ, &done),
        ops->reclaim(port, &row, 1, &count),
        ops->fault_wait(port, &fault, 1, HURDMM_FOREVER, &count),
        ops->thread_start(port, read_page, NULL, &thread),
        ops->thread_join(port, rig.pagers[0]),
        hurdmm_posix_get_fd(port, &fd),
        hurdmm_posix_get_counters(port, &counters),
        hurdmm_posix_destroy(port),
    };
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i] != ESTALE)
            _exit((int)i + 1);
    ops->fault_stop(port);
    ops->close(port);
    _exit(100);
}

START_TEST(every_call_in_a_child_is_stale)
{
    setup();
    ck_assert_int_eq(WEXITSTATUS(in_child(call_everything, NULL)), 100);
    *rig_at(&rig, 3) = 1;
    rig_close(&rig);
}
END_TEST

static void make_another(void *argument)
{
    static struct rig other;
    (void)argument;
    rig_open(&other, 4, 1, 0);
    *rig_at(&other, 1) = 3;
    if (*rig_window(&other, 1) != 3)
        _exit(1);
    rig_close(&other);
    _exit(100);
}

START_TEST(a_child_can_make_a_port_of_its_own)
{
    if (on_tsan()) {
        test_skip("TSan starts no threads after fork");
        return;
    }
    setup();
    ck_assert_int_eq(WEXITSTATUS(in_child(make_another, NULL)), 100);
    rig_close(&rig);
    ck_assert_int_eq(WEXITSTATUS(in_child(make_another, NULL)), 100);
}
END_TEST

START_TEST(a_child_made_behind_our_back_does_not_wait_for_ever)
{
#ifndef SYS_fork
    test_skip("no such call here");
#else
    setup();
    pid_t child = (pid_t)syscall(SYS_fork);
    MUST(child >= 0);
    if (child == 0) {
        alarm(20);
        (void)*rig_at(&rig, 5);
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
    rig_close(&rig);
#endif
}
END_TEST

static atomic_bool enough;

static void *keep_faulting(void *argument)
{
    (void)argument;
    while (!atomic_load(&enough)) {
        *rig_at(&rig, 2) = 1;
        rig_reclaim(&rig, 2, 1, HURDMM_NONE);
        uintptr_t start = 0;
        ck_assert_int_eq(rig.ops->reserve(rig.port, NULL, &start, rig.page, 0),
                         0);
        rig.ops->release(rig.port, NULL, start, rig.page);
    }
    return NULL;
}

START_TEST(forking_beside_faults_harms_neither)
{
    uint32_t page = 0;
    setup();
    pthread_t thread;
    atomic_store(&enough, false);
    pthread_create(&thread, NULL, keep_faulting, NULL);
    for (unsigned i = 0; i < 10; i++)
        ck_assert_int_eq(WTERMSIG(in_child(read_page, &page)), SIGSEGV);
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    rig_close(&rig);
}
END_TEST

void fork_cases(Suite *suite)
{
    TCase *tc = tcase_create("fork");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_page_is_out_of_reach_in_a_child);
    tcase_add_test(tc, the_window_is_out_of_reach_in_a_child);
    tcase_add_test(tc, every_call_in_a_child_is_stale);
    tcase_add_test(tc, a_child_can_make_a_port_of_its_own);
    tcase_add_test(tc, a_child_made_behind_our_back_does_not_wait_for_ever);
    tcase_add_test(tc, forking_beside_faults_harms_neither);
    suite_add_tcase(suite, tc);
}
