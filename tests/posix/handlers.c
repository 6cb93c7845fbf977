/* SPDX-License-Identifier: MIT */
/* Signal handlers: what is not ours goes to whoever was there before, and what
 * was there before comes back. */
#include "tests/posix/rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/wait.h>

static struct rig rig;

/* An address that nobody has. */
static volatile uint8_t *foreign(void)
{
    long page = sysconf(_SC_PAGESIZE);
    void *address =
        mmap(NULL, (size_t)page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(address, MAP_FAILED);
    expect_wrong(address, (size_t)page);
    return address;
}

static void set(int signal, void (*handler)(int), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    ck_assert_int_eq(sigaction(signal, &action, NULL), 0);
}

static void killed_by(int status, int signal)
{
    ck_assert_msg(WIFSIGNALED(status), "status %x", (unsigned)status);
    ck_assert_int_eq(WTERMSIG(status), signal);
}

static void default_handlers(void)
{
    set(SIGSEGV, SIG_DFL, 0);
    set(SIGBUS, SIG_DFL, 0);
}

static void touch_foreign(void *argument)
{
    default_handlers();
    rig_open(&rig, 4, 1, 0);
    *rig_at(&rig, 0) = 1;
    if (argument)
        set(SIGUSR1, SIG_DFL, 0);
    *foreign() = 1;
}

START_TEST(a_foreign_fault_kills_as_without_us)
{
    killed_by(in_child(touch_foreign, NULL), SIGSEGV);
}
END_TEST

static void touch_foreign_ignoring(void *argument)
{
    (void)argument;
    set(SIGSEGV, SIG_IGN, 0);
    rig_open(&rig, 4, 1, 0);
    *foreign() = 1;
}

START_TEST(a_fault_cannot_be_ignored)
{
    killed_by(in_child(touch_foreign_ignoring, NULL), SIGSEGV);
}
END_TEST

static void be_killed_ignoring(void *argument)
{
    (void)argument;
    set(SIGSEGV, SIG_IGN, 0);
    rig_open(&rig, 4, 1, 0);
    raise(SIGSEGV);
    *rig_at(&rig, 0) = 1;
    rig_close(&rig);
    raise(SIGSEGV);
    _exit(3);
}

START_TEST(a_signal_that_was_sent_can_be_ignored)
{
    int status = in_child(be_killed_ignoring, NULL);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 3);
}
END_TEST

static void be_killed(void *argument)
{
    (void)argument;
    default_handlers();
    rig_open(&rig, 4, 1, 0);
    raise(SIGBUS);
}

START_TEST(a_signal_that_was_sent_kills)
{
    killed_by(in_child(be_killed, NULL), SIGBUS);
}
END_TEST

static void fail_access(void *argument)
{
    default_handlers();
    rig_open(&rig, 4, 1, 0);
    rig.answer = rig_refuse;
    rig.data = argument;
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGBUS);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    (void)*rig_at(&rig, 0);
}

START_TEST(an_access_that_fails_kills_with_its_signal)
{
    int eio = EIO, efault = EFAULT;
    killed_by(in_child(fail_access, &eio), SIGBUS);
    killed_by(in_child(fail_access, &efault), SIGSEGV);
}
END_TEST

START_TEST(the_handler_before_has_its_own_mask)
{
    catch_install(_i ? SA_NODEFER : 0);
    rig_open(&rig, 4, 1, 0);
    ck_assert_int_eq(try_read(foreign()), SIGSEGV);
    ck_assert_int_eq(sigismember(&caught.mask, SIGUSR1), 1);
    ck_assert_int_eq(sigismember(&caught.mask, SIGUSR2), 0);
    ck_assert_int_eq(sigismember(&caught.mask, SIGSEGV), !_i);
    ck_assert_int_eq(caught.info.si_errno, 0);
    rig_close(&rig);
}
END_TEST

START_TEST(handlers_run_on_the_alternate_stack)
{
    size_t size = 64 * 1024;
    char *memory = malloc(size);
    stack_t stack = {.ss_sp = memory, .ss_size = size};
    ck_assert_int_eq(sigaltstack(&stack, NULL), 0);
    catch_install(SA_ONSTACK);
    rig_open(&rig, 4, 1, 0);
    *rig_at(&rig, 1) = 1;
    ck_assert_int_eq(try_read(foreign()), SIGSEGV);
    if (!on_asan() && !on_tsan()) {
        ck_assert(caught.stack >= (void *)memory);
        ck_assert(caught.stack < (void *)(memory + size));
    }
    rig_close(&rig);
    stack.ss_flags = SS_DISABLE;
    ck_assert_int_eq(sigaltstack(&stack, NULL), 0);
    free(memory);
}
END_TEST

static volatile sig_atomic_t plain_calls;
static volatile uint8_t *volatile plain_page;

/* Repairs the page itself, as somebody else's pager would. */
static void plain(int signal)
{
    (void)signal;
    plain_calls = plain_calls + 1;
    mprotect((void *)(uintptr_t)plain_page, (size_t)sysconf(_SC_PAGESIZE),
             PROT_READ | PROT_WRITE);
}

START_TEST(a_plain_handler_may_repair_and_return)
{
    set(SIGSEGV, plain, 0);
    rig_open(&rig, 4, 1, 0);
    plain_page = foreign();
    *plain_page = 1;
    ck_assert_int_eq(plain_calls, 1);
    *rig_at(&rig, 0) = 1;
    ck_assert_int_eq(plain_calls, 1);
    rig_close(&rig);
}
END_TEST

static void fault_twice(void *argument)
{
    (void)argument;
    set(SIGSEGV, plain, (int)SA_RESETHAND);
    rig_open(&rig, 4, 1, 0);
    plain_page = foreign();
    *plain_page = 1;
    *rig_at(&rig, 0) = 1;
    plain_page = foreign();
    *plain_page = 1;
}

START_TEST(a_handler_for_once_is_called_once)
{
    killed_by(in_child(fault_twice, NULL), SIGSEGV);
}
END_TEST

static void *handler_now(int signal)
{
    struct sigaction action;
    ck_assert_int_eq(sigaction(signal, NULL, &action), 0);
    return action.sa_flags & SA_SIGINFO ? (void *)action.sa_sigaction
                                        : (void *)action.sa_handler;
}

START_TEST(the_last_port_puts_the_old_handlers_back)
{
    static struct rig other;
    set(SIGSEGV, plain, 0);
    void *before = handler_now(SIGSEGV), *before_bus = handler_now(SIGBUS);
    rig_open(&rig, 4, 1, 0);
    void *ours = handler_now(SIGSEGV);
    ck_assert_ptr_ne(ours, before);
    rig_open(&other, 4, 1, 0);
    rig_close(&rig);
    ck_assert_ptr_eq(handler_now(SIGSEGV), ours);
    *rig_at(&other, 0) = 1;
    rig_close(&other);
    ck_assert_ptr_eq(handler_now(SIGSEGV), before);
    ck_assert_ptr_eq(handler_now(SIGBUS), before_bus);
}
END_TEST

static struct sigaction below;

/* Somebody who comes after us, and passes on. */
static void above(int signal, siginfo_t *info, void *context)
{
    plain_calls = plain_calls + 1;
    below.sa_sigaction(signal, info, context);
}

START_TEST(handlers_under_somebody_elses_stay)
{
    catch_install(0);
    rig_open(&rig, 4, 1, 0);
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = above;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    ck_assert_int_eq(sigaction(SIGSEGV, &action, &below), 0);
    *rig_at(&rig, 0) = 1;
    rig_close(&rig);
    ck_assert_ptr_eq(handler_now(SIGSEGV), (void *)above);
    ck_assert_int_eq(try_read(foreign()), SIGSEGV);
    rig_open(&rig, 4, 1, 0);
    *rig_at(&rig, 0) = 1;
    ck_assert_int_eq(try_read(foreign()), SIGSEGV);
    rig_close(&rig);
    ck_assert_int_ge(plain_calls, 4);
}
END_TEST

static volatile sig_atomic_t resolved, refused;

static void host_handler(int signal, siginfo_t *info, void *context)
{
    int error = hurdmm_posix_handle_signal(signal, info, context);
    if (!error) {
        resolved = resolved + 1;
        return;
    }
    refused = error;
    plain(signal);
}

START_TEST(a_program_may_own_the_signals)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = host_handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGSEGV);
    ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
    rig_open(&rig, 4, 1, HURDMM_POSIX_HOST_SIGNALS);
    ck_assert_ptr_eq(handler_now(SIGSEGV), (void *)host_handler);
    *rig_at(&rig, 0) = 1;
    ck_assert_int_ge(resolved, 1);
    plain_page = foreign();
    *plain_page = 1;
    ck_assert_int_eq(refused, ENOENT);
    rig_close(&rig);
    ck_assert_ptr_eq(handler_now(SIGSEGV), (void *)host_handler);
}
END_TEST

START_TEST(a_fault_after_the_stop_is_nobodys)
{
    catch_install(0);
    rig_open(&rig, 4, 1, 0);
    rig.ops->fault_stop(rig.port);
    ck_assert_int_eq(try_read(rig_at(&rig, 0)), SIGSEGV);
    ck_assert_int_eq(caught.info.si_errno, 0);
    rig_close(&rig);
}
END_TEST

START_TEST(ports_live_side_by_side)
{
    static struct rig rigs[5];
    for (unsigned i = 0; i < 5; i++)
        rig_open(&rigs[i], 4, 1, 0);
    for (unsigned i = 0; i < 5; i++)
        *rig_at(&rigs[i], 2) = (uint8_t)(i + 1);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(*rig_window(&rigs[i], 2), i + 1);
        ck_assert_uint_ge(atomic_load(&rigs[i].faults), 1);
        ck_assert_uint_le(atomic_load(&rigs[i].faults), 2);
    }
    for (unsigned i = 0; i < 5; i++)
        rig_close(&rigs[i]);
}
END_TEST

void handlers_cases(Suite *suite)
{
    TCase *tc = tcase_create("handlers");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_foreign_fault_kills_as_without_us);
    tcase_add_test(tc, a_fault_cannot_be_ignored);
    tcase_add_test(tc, a_signal_that_was_sent_can_be_ignored);
    tcase_add_test(tc, a_signal_that_was_sent_kills);
    tcase_add_test(tc, an_access_that_fails_kills_with_its_signal);
    tcase_add_loop_test(tc, the_handler_before_has_its_own_mask, 0, 2);
    tcase_add_test(tc, handlers_run_on_the_alternate_stack);
    tcase_add_test(tc, a_plain_handler_may_repair_and_return);
    tcase_add_test(tc, a_handler_for_once_is_called_once);
    tcase_add_test(tc, the_last_port_puts_the_old_handlers_back);
    tcase_add_test(tc, handlers_under_somebody_elses_stay);
    tcase_add_test(tc, a_program_may_own_the_signals);
    tcase_add_test(tc, a_fault_after_the_stop_is_nobodys);
    tcase_add_test(tc, ports_live_side_by_side);
    suite_add_tcase(suite, tc);
}
