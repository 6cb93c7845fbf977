/* SPDX-License-Identifier: MIT */
/* The rig of the posix port's tests, see rig.h. */
#include "tests/posix/rig.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/wait.h>

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif

bool on_tsan(void)
{
#ifdef ON_TSAN
    return true;
#else
    return false;
#endif
}

bool on_asan(void)
{
#ifdef ON_ASAN
    return true;
#else
    return false;
#endif
}

bool on_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

void expect_wrong(const volatile void *address, size_t size)
{
    (void)address;
    (void)size;
#ifdef VALGRIND_DISABLE_ADDR_ERROR_REPORTING_IN_RANGE
    (void)VALGRIND_DISABLE_ADDR_ERROR_REPORTING_IN_RANGE(address, size);
#endif
}

static void pager(void *argument)
{
    struct rig *rig = argument;
    int error;
    do
        error = rig_serve(rig, HURDMM_FOREVER);
    while (!error);
    MUST(error == ECANCELED);
}

void rig_open(struct rig *rig, uint32_t pages, unsigned pagers, unsigned flags)
{
    memset(rig, 0, sizeof(*rig));
    struct hurdmm_posix_options options = {.struct_size = sizeof(options),
                                           .flags = flags};
    ck_assert_int_eq(hurdmm_posix_create(&options, &rig->port), 0);
    rig->ops = rig->port->ops;
    struct hurdmm_port_config config = {.struct_size = sizeof(config),
                                        .frames = pages};
    rig->info.struct_size = sizeof(rig->info);
    ck_assert_int_eq(rig->ops->open(rig->port, &config, &rig->info), 0);
    rig->page = rig->info.page_size;
    rig->pages = pages;
    rig->answer = rig_answer;
    ck_assert_int_eq(pthread_mutex_init(&rig->lock, NULL), 0);
    ck_assert_int_eq(
        rig->ops->reserve(rig->port, NULL, &rig->region, pages * rig->page, 0),
        0);
    rig->pager_count = pagers;
    for (unsigned i = 0; i < pagers; i++)
        ck_assert_int_eq(
            rig->ops->thread_start(rig->port, pager, rig, &rig->pagers[i]), 0);
}

void rig_close(struct rig *rig)
{
    rig->ops->fault_stop(rig->port);
    for (unsigned i = 0; i < rig->pager_count; i++)
        ck_assert_int_eq(rig->ops->thread_join(rig->port, rig->pagers[i]), 0);
    ck_assert_int_eq(rig_reclaim(rig, 0, rig->pages, HURDMM_NONE), 0);
    rig->ops->release(rig->port, NULL, rig->region, rig->pages * rig->page);
    rig->ops->close(rig->port);
    ck_assert_int_eq(hurdmm_posix_destroy(rig->port), 0);
    pthread_mutex_destroy(&rig->lock);
}

int rig_answer(struct rig *rig, const struct hurdmm_fault *fault)
{
    uint32_t page = (uint32_t)((fault->address - rig->region) / rig->page);
    MUST(page < rig->pages);
    return rig_lend(rig, page, page, 1,
                    fault->access == HURDMM_WRITE ? READ_WRITE : fault->access);
}

int rig_refuse(struct rig *rig, const struct hurdmm_fault *fault)
{
    (void)fault;
    return *(int *)rig->data;
}

int rig_serve(struct rig *rig, uint64_t timeout_ns)
{
    struct hurdmm_fault fault;
    size_t count = 0;
    int error = rig->ops->fault_wait(rig->port, &fault, 1, timeout_ns, &count);
    if (error)
        return error;
    MUST(count == 1);
    atomic_fetch_add(&rig->faults, 1);
    atomic_fetch_add(fault.access == HURDMM_WRITE ? &rig->writes : &rig->reads,
                     1);
    rig->ops->fault_done(rig->port, &fault, rig->answer(rig, &fault));
    return 0;
}

static uintptr_t enter(struct rig *rig)
{
    uintptr_t cookie;
    MUST(rig->ops->critical_enter(rig->port, &cookie) == 0);
    pthread_mutex_lock(&rig->lock);
    return cookie;
}

static void leave(struct rig *rig, uintptr_t cookie)
{
    pthread_mutex_unlock(&rig->lock);
    rig->ops->critical_leave(rig->port, cookie);
}

int rig_lend(struct rig *rig, uint32_t page, uint32_t frame, uint32_t count,
             unsigned rights)
{
    uint32_t done = 77;
    uintptr_t cookie = enter(rig);
    int error = rig->ops->lend(rig->port, NULL, rig->region + page * rig->page,
                               frame, count, rights, &done);
    leave(rig, cookie);
    MUST(done == (error ? 0 : count));
    return error;
}

int rig_reclaim(struct rig *rig, uint32_t page, uint32_t count, unsigned rights)
{
    struct hurdmm_reclaim row = {.address = rig->region + page * rig->page,
                                 .frame = page,
                                 .count = count,
                                 .rights = rights};
    size_t done = 77;
    uintptr_t cookie = enter(rig);
    int error = rig->ops->reclaim(rig->port, &row, 1, &done);
    leave(rig, cookie);
    MUST(done == (error ? 0 : 1));
    return error;
}

uint8_t *rig_window(struct rig *rig, uint32_t frame)
{
    void *address = NULL;
    uintptr_t cookie = enter(rig);
    MUST(rig->ops->window(rig->port, frame, 1, &address) == 0);
    leave(rig, cookie);
    return address;
}

volatile uint8_t *rig_at(struct rig *rig, uint32_t page)
{
    return (volatile uint8_t *)(rig->region + page * rig->page);
}

struct hurdmm_posix_counters rig_counters(struct rig *rig)
{
    struct hurdmm_posix_counters counters = {.struct_size = sizeof(counters)};
    ck_assert_int_eq(hurdmm_posix_get_counters(rig->port, &counters), 0);
    return counters;
}

/* ---- Accesses that may fail ---- */

struct caught caught;
static sigjmp_buf back;

static void catcher(int signal, siginfo_t *info, void *context)
{
    (void)context;
    caught.info = *info;
    caught.stack = &context;
    pthread_sigmask(SIG_SETMASK, NULL, &caught.mask);
    siglongjmp(back, signal);
}

void catch_install(int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = catcher;
    action.sa_flags = SA_SIGINFO | flags;
    sigaddset(&action.sa_mask, SIGUSR1);
    ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
    ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
}

int try_read(volatile uint8_t *address)
{
    int signal = sigsetjmp(back, 1);
    if (!signal)
        (void)*address;
    return signal;
}

int try_write(volatile uint8_t *address, uint8_t value)
{
    int signal = sigsetjmp(back, 1);
    if (!signal)
        *address = value;
    return signal;
}

int in_child(void (*body)(void *argument), void *argument)
{
    pid_t child = fork();
    MUST(child >= 0);
    if (child == 0) {
        alarm(20);
        body(argument);
        _exit(0);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}
