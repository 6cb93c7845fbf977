/* SPDX-License-Identifier: MIT */
/* Who a thread is, where pager threads run, and critical sections.
 *
 * A thread is known by the kernel's number, because faults are reported with
 * it.  The number, and whether a thread is in the signal handler, are kept in
 * thread-local variables of the initial-exec kind, which are there from the
 * thread's beginning: nothing is allocated when a handler reads them.
 *
 * A pager thread is given a processor of its own when it first waits for a
 * fault.  All of them wait for the same faults, so one of them is on the
 * processor of the thread that faulted, and nobody need be woken from afar.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <sched.h>

#include <sys/syscall.h>

#include "lib/base/assert.h"

#define INITIAL __attribute__((tls_model("initial-exec")))

static _Thread_local uint32_t own_number INITIAL;
static _Thread_local unsigned own_forks INITIAL; /* at which it was asked */
static _Thread_local uint32_t in_handler INITIAL;
static _Thread_local bool is_placed INITIAL;

/* What critical_enter gives where signals were masked already. */
#define MASKED_ALREADY UINTPTR_MAX

uint64_t hmm_linux_thread_self(struct hurdmm_port *base)
{
    (void)base;
    if (!own_number || own_forks != hmm_posix_forks()) {
        own_forks = hmm_posix_forks();
        own_number = (uint32_t)syscall(SYS_gettid);
    }
    return own_number;
}

void hmm_linux_handler_enter(void)
{
    in_handler++;
}

void hmm_linux_handler_leave(void)
{
    hmm_assert(in_handler > 0);
    in_handler--;
}

int hmm_linux_critical_enter(struct hurdmm_port *base, uintptr_t *cookie)
{
    if (in_handler) {
        *cookie = MASKED_ALREADY;
        return hmm_linux_stale(hmm_linux_from(base)) ? ESTALE : 0;
    }
    return hmm_posix_critical_enter(base, cookie);
}

void hmm_linux_critical_leave(struct hurdmm_port *base, uintptr_t cookie)
{
    if (cookie != MASKED_ALREADY)
        hmm_posix_critical_leave(base, cookie);
}

/* ---- Threads ---- */

static void run(void *argument)
{
    struct hmm_linux_thread *thread = argument;
    uint64_t number = hmm_linux_thread_self(&thread->port->posix.base);
    hmm_assert(number > 0 && number <= UINT32_MAX);
    atomic_store(&thread->number, (uint32_t)number);
    hmm_posix_word_wake(&thread->number, 1);
    thread->entry(thread->argument);
}

static struct hmm_linux_thread *slot_find(struct hmm_linux_threads *threads,
                                          uint64_t posix)
{
    for (unsigned i = 0; i < HMM_POSIX_THREADS_MAX; i++)
        if (threads->slots[i].posix == posix)
            return &threads->slots[i];
    return NULL;
}

static int start_locked(struct hmm_linux_port *port, void (*entry)(void *),
                        void *argument, uint64_t *thread)
{
    struct hmm_linux_thread *slot = slot_find(&port->threads, 0);
    if (!slot)
        return ENOMEM;
    slot->port = port;
    slot->entry = entry;
    slot->argument = argument;
    atomic_store(&slot->number, 0);
    int error =
        hmm_posix_thread_start(&port->posix.base, run, slot, &slot->posix);
    if (error)
        return error;
    while (!atomic_load(&slot->number))
        (void)hmm_posix_word_wait(&slot->number, 0, HURDMM_FOREVER);
    *thread = atomic_load(&slot->number);
    return 0;
}

int hmm_linux_thread_start(struct hurdmm_port *base, void (*entry)(void *),
                           void *argument, uint64_t *thread)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    if (hmm_linux_stale(port))
        return ESTALE;
    (void)pthread_mutex_lock(&port->threads.lock);
    int error = start_locked(port, entry, argument, thread);
    (void)pthread_mutex_unlock(&port->threads.lock);
    return error;
}

/* The thread's slot; it may have ended already. */
static struct hmm_linux_thread *slot_of(struct hmm_linux_port *port,
                                        uint64_t number)
{
    for (unsigned i = 0; i < HMM_POSIX_THREADS_MAX; i++)
        if (port->threads.slots[i].posix &&
            atomic_load(&port->threads.slots[i].number) == number)
            return &port->threads.slots[i];
    return NULL;
}

int hmm_linux_thread_join(struct hurdmm_port *base, uint64_t thread)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    if (hmm_linux_stale(port))
        return ESTALE;
    if (thread == hmm_linux_thread_self(base))
        return EDEADLK;
    (void)pthread_mutex_lock(&port->threads.lock);
    struct hmm_linux_thread *slot = slot_of(port, thread);
    uint64_t posix = slot ? slot->posix : 0;
    (void)pthread_mutex_unlock(&port->threads.lock);
    if (!posix)
        return EINVAL;
    int error = hmm_posix_thread_join(base, posix);
    if (error)
        return error;
    (void)pthread_mutex_lock(&port->threads.lock);
    slot->posix = 0;
    (void)pthread_mutex_unlock(&port->threads.lock);
    return 0;
}

/* ---- Places ---- */

unsigned hmm_linux_processors(void)
{
    cpu_set_t allowed;
    unsigned count = 1;
    if (!sched_getaffinity(0, sizeof(allowed), &allowed))
        count = (unsigned)CPU_COUNT(&allowed);
    return count < HURDMM_LINUX_PAGERS ? count : HURDMM_LINUX_PAGERS;
}

/* Where there are more processors than pager threads, those are left to run
 * anywhere. */
static void place(unsigned turn)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof(allowed), &allowed))
        return;
    unsigned count = (unsigned)CPU_COUNT(&allowed);
    if (count < 2 || count > HURDMM_LINUX_PAGERS)
        return;
    unsigned wanted = turn % count;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || wanted-- > 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)sched_setaffinity(0, sizeof(one), &one);
        return;
    }
}

void hmm_linux_place(struct hmm_linux_port *port)
{
    if (is_placed)
        return;
    is_placed = true;
    (void)pthread_mutex_lock(&port->threads.lock);
    bool ours = slot_of(port, hmm_linux_thread_self(&port->posix.base)) != NULL;
    (void)pthread_mutex_unlock(&port->threads.lock);
    if (ours)
        place(atomic_fetch_add(&port->threads.placed, 1));
}
