/* SPDX-License-Identifier: MIT */
/* The conformance suite on the linux port, with all that the machine has and
 * with each of its facilities switched off.  Skipped where there is no
 * userfaultfd. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include <hurdmm/linux.h>

#include "tests/port/conformance.h"

static _Thread_local sigjmp_buf back;
static _Thread_local volatile int is_trying;

static void on_failure(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    if (is_trying)
        siglongjmp(back, info->si_errno ? info->si_errno : EFAULT);
    struct sigaction action = {.sa_handler = SIG_DFL};
    (void)sigaction(signal, &action, NULL);
}

/* Before the port's own handlers, so that they pass failures on to it. */
static void catch_failures(void)
{
    struct sigaction action = {.sa_sigaction = on_failure,
                               .sa_flags = SA_SIGINFO};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGBUS, &action, NULL);
}

static int make(struct hurdmm_port **port, unsigned flags)
{
    struct hurdmm_linux_options options = {.struct_size = sizeof options,
                                           .flags = flags};
    catch_failures();
    return hurdmm_linux_create(&options, port);
}

/* Each of the forms lacks something. */
#define FORM(name, without)                                                    \
    static int name(struct hurdmm_port **port, uint64_t frames)                \
    {                                                                          \
        (void)frames;                                                          \
        return make(port, without);                                            \
    }

FORM(whole, 0)
FORM(bare, HURDMM_LINUX_NO_DEVICE | HURDMM_LINUX_NO_POISON |
               HURDMM_LINUX_NO_SCATTER | HURDMM_LINUX_NO_PROC)
FORM(user, HURDMM_LINUX_NO_DEVICE | HURDMM_LINUX_NO_CALL)
FORM(unpoisoned, HURDMM_LINUX_NO_POISON)
FORM(unscattered, HURDMM_LINUX_NO_SCATTER)
FORM(procless, HURDMM_LINUX_NO_PROC)
FORM(unshared, HURDMM_LINUX_NO_SHARED)
FORM(unnoted, HURDMM_LINUX_NO_ASYNC)

static void destroy(struct hurdmm_port *port)
{
    (void)hurdmm_linux_destroy(port);
}

static int load(struct hurdmm_port *port, void *space, uintptr_t address,
                uint8_t *value)
{
    (void)port;
    (void)space;
    int error = sigsetjmp(back, 1);
    is_trying = error == 0;
    if (error == 0)
        *value = *(volatile uint8_t *)address;
    is_trying = 0;
    return error;
}

static int store(struct hurdmm_port *port, void *space, uintptr_t address,
                 uint8_t value)
{
    (void)port;
    (void)space;
    int error = sigsetjmp(back, 1);
    is_trying = error == 0;
    if (error == 0)
        *(volatile uint8_t *)address = value;
    is_trying = 0;
    return error;
}

static int add(struct hurdmm_port *port, void *space, uintptr_t address,
               uint64_t amount)
{
    (void)port;
    (void)space;
    int error = sigsetjmp(back, 1);
    is_trying = error == 0;
    if (error == 0)
        __atomic_fetch_add((uint64_t *)address, amount, __ATOMIC_SEQ_CST);
    is_trying = 0;
    return error;
}

struct start {
    void (*body)(void *argument);
    void *argument;
};

static void *run_one(void *argument)
{
    struct start *start = argument;
    start->body(start->argument);
    return NULL;
}

static int run(struct hurdmm_port *port, void (*const bodies[])(void *),
               void *const arguments[], unsigned count)
{
    pthread_t threads[16];
    struct start starts[16];
    unsigned started = 0;
    (void)port;
    for (; started < count && started < 16; started++) {
        starts[started] = (struct start){bodies[started], arguments[started]};
        if (pthread_create(&threads[started], NULL, run_one, &starts[started]))
            break;
    }
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    return started == count ? 0 : EAGAIN;
}

static void sleep_for(struct hurdmm_port *port, uint64_t time_ns)
{
    struct timespec time = {.tv_sec = (time_t)(time_ns / 1000000000u),
                            .tv_nsec = (long)(time_ns % 1000000000u)};
    (void)port;
    (void)nanosleep(&time, NULL);
}

#define TARGET(form)                                                           \
    {                                                                          \
        .name = "linux-" #form, .create = form, .destroy = destroy,            \
        .load = load, .store = store, .add = add, .run = run,                  \
        .sleep = sleep_for, .mappings = 0,                                     \
    }

static const struct conformance_target forms[] = {
    TARGET(whole),       TARGET(bare),     TARGET(user),     TARGET(unpoisoned),
    TARGET(unscattered), TARGET(procless), TARGET(unshared), TARGET(unnoted),
};

#define FORMS (sizeof forms / sizeof forms[0])

int main(void)
{
    const struct conformance_target *targets[FORMS];
    for (size_t i = 0; i < FORMS; i++)
        targets[i] = &forms[i];
    return conformance_main(targets, FORMS);
}
