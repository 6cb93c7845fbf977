/* SPDX-License-Identifier: MIT */
/* The port's threads, and its port functions for parking.
 *
 * A thread starts with all asynchronous signals masked, so that the program's
 * handlers never run on it, and with an alternate stack, so that a handler of
 * SIGSEGV that reports an overflow of the stack works there too.
 *
 * `lock' protects the slots.  A thread itself writes and clears its id, so that
 * it is the port's own for as long as it runs entry (mask.c); its slot is free
 * when it has been joined.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "lib/base/assert.h"

#define STACK_DEFAULT ((size_t)256 * 1024)
#define STACK_SIGNAL ((size_t)64 * 1024)

static void *run(void *argument)
{
    struct hmm_posix_thread *thread = argument;
    stack_t stack = {.ss_sp = thread->stack, .ss_size = STACK_SIGNAL};
    (void)sigaltstack(&stack, NULL);
    thread->id = hmm_posix_thread_id();
    atomic_store(thread->place, thread->id);
    HMM_POSIX_BEFORE(&thread->started);
    atomic_store(&thread->started, 1);
    hmm_posix_word_wake(&thread->started, 1);
    thread->entry(thread->argument);
    atomic_store(thread->place, 0);
    stack.ss_flags = SS_DISABLE;
    (void)sigaltstack(&stack, NULL);
    return NULL;
}

/* The number of a free slot. */
static unsigned slot_find(struct hmm_posix_threads *threads)
{
    unsigned i = 0;
    while (i < HMM_POSIX_THREADS_MAX && threads->slots[i])
        i++;
    return i;
}

/* pthread_create with our stack size, or with the default where that is too
 * small for the program's thread-local variables. */
static int create(struct hmm_posix_thread *thread, size_t stack_size)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes))
        return ENOMEM;
    int error = pthread_attr_setstacksize(
        &attributes, stack_size ? stack_size : STACK_DEFAULT);
    if (!error)
        error = pthread_create(&thread->handle, &attributes, run, thread);
    if (error == EINVAL)
        error = pthread_create(&thread->handle, NULL, run, thread);
    (void)pthread_attr_destroy(&attributes);
    return error ? ENOMEM : 0;
}

static int create_masked(struct hmm_posix_thread *thread, size_t stack_size)
{
    sigset_t all, old;
    hmm_posix_asynchronous(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = create(thread, stack_size);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

static void thread_free(struct hmm_posix_thread *thread)
{
    if (thread)
        free(thread->stack);
    free(thread);
}

static struct hmm_posix_thread *thread_new(void (*entry)(void *),
                                           void *argument)
{
    struct hmm_posix_thread *thread = malloc(sizeof(*thread));
    if (!thread)
        return NULL;
    thread->entry = entry;
    thread->argument = argument;
    atomic_init(&thread->started, 0);
    thread->joining = false;
    thread->stack = malloc(STACK_SIGNAL);
    if (thread->stack)
        return thread;
    thread_free(thread);
    return NULL;
}

static int start_locked(struct hmm_posix_threads *threads,
                        struct hmm_posix_thread *thread)
{
    unsigned slot = slot_find(threads);
    if (slot == HMM_POSIX_THREADS_MAX)
        return ENOMEM;
    if (slot >= atomic_load(&threads->ids_used))
        atomic_store(&threads->ids_used, slot + 1);
    thread->place = &threads->ids[slot];
    int error = create_masked(thread, threads->stack_size);
    if (error)
        return error;
    threads->slots[slot] = thread;
    while (!atomic_load(&thread->started))
        (void)hmm_posix_word_wait(&thread->started, 0, HURDMM_FOREVER);
    HMM_POSIX_AFTER(&thread->started);
    return 0;
}

int hmm_posix_thread_start(struct hurdmm_port *base, void (*entry)(void *),
                           void *argument, uint64_t *thread)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    struct hmm_posix_thread *made = thread_new(entry, argument);
    if (!made)
        return ENOMEM;
    (void)pthread_mutex_lock(&port->threads.lock);
    int error = start_locked(&port->threads, made);
    if (!error)
        *thread = made->id;
    (void)pthread_mutex_unlock(&port->threads.lock);
    if (error)
        thread_free(made);
    return error;
}

/* The slot of a thread that nobody is joining yet, which is now being joined;
 * NULL: there is none. */
static struct hmm_posix_thread **slot_claim(struct hmm_posix_threads *threads,
                                            uint64_t id)
{
    struct hmm_posix_thread **found = NULL;
    (void)pthread_mutex_lock(&threads->lock);
    for (unsigned i = 0; i < HMM_POSIX_THREADS_MAX && !found; i++) {
        struct hmm_posix_thread *thread = threads->slots[i];
        if (thread && thread->id == id && !thread->joining)
            found = &threads->slots[i];
    }
    if (found)
        (*found)->joining = true;
    (void)pthread_mutex_unlock(&threads->lock);
    return found;
}

int hmm_posix_thread_join(struct hurdmm_port *base, uint64_t thread)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    if (thread == hmm_posix_thread_id())
        return EDEADLK;
    struct hmm_posix_thread **slot = slot_claim(&port->threads, thread);
    if (!slot)
        return EINVAL;
    int error = pthread_join((*slot)->handle, NULL);
    hmm_assert(!error);
    (void)pthread_mutex_lock(&port->threads.lock);
    thread_free(*slot);
    *slot = NULL;
    (void)pthread_mutex_unlock(&port->threads.lock);
    return error;
}

uint64_t hmm_posix_thread_self(struct hurdmm_port *base)
{
    (void)base;
    return hmm_posix_thread_id();
}

int hmm_posix_park(struct hurdmm_port *base, uint32_t *word, uint32_t expected,
                   uint64_t timeout_ns)
{
    (void)base;
    return hmm_posix_word_wait((_Atomic uint32_t *)word, expected, timeout_ns);
}

void hmm_posix_wake(struct hurdmm_port *base, uint32_t *word, unsigned count)
{
    (void)base;
    if (count)
        hmm_posix_word_wake((_Atomic uint32_t *)word, count);
}

int hmm_posix_critical_enter(struct hurdmm_port *base, uintptr_t *cookie)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    *cookie = hmm_posix_mask(&port->threads);
    return 0;
}

void hmm_posix_critical_leave(struct hurdmm_port *base, uintptr_t cookie)
{
    hmm_posix_unmask(&hmm_posix_from(base)->threads, cookie);
}
