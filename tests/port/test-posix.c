/* SPDX-License-Identifier: MIT */
/* The posix port, with and without active waiting.  Compiled a second time with
 * a port that was compiled without its extensions. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include <hurdmm/error.h>
#include <hurdmm/posix.h>

#include "tests/port/conformance.h"

/* ---- Accesses ----
 * Many threads make them, so each finds its own place to come back to. */

#define THREADS_MAX 64

struct place {
    _Atomic pthread_t thread; /* others look at it, too */
    _Atomic int state;        /* 0 free, 1 being taken, 2 in use */
    sigjmp_buf back;
};

static struct place places[THREADS_MAX];

static struct place *place_of(pthread_t thread)
{
    for (unsigned i = 0; i < THREADS_MAX; i++)
        if (atomic_load(&places[i].state) == 2 &&
            pthread_equal(atomic_load(&places[i].thread), thread))
            return &places[i];
    return NULL;
}

static struct place *place_take(void)
{
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        int free = 0;
        if (!atomic_compare_exchange_strong(&places[i].state, &free, 1))
            continue;
        atomic_store(&places[i].thread, pthread_self());
        atomic_store(&places[i].state, 2);
        return &places[i];
    }
    return NULL;
}

/* What was there before the port: an access has failed. */
static void failed(int signal, siginfo_t *info, void *context)
{
    (void)context;
    struct place *place = place_of(pthread_self());
    if (place) {
        int error = info->si_errno ? info->si_errno : EFAULT;
        siglongjmp(place->back, error);
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    (void)sigaction(signal, &action, NULL);
}

/* Evaluates to 0, or the error of the access. */
#define ACCESS(statement)                                                      \
    struct place *place = place_take();                                        \
    if (place == NULL)                                                         \
        return ENOMEM;                                                         \
    int error = sigsetjmp(place->back, 1);                                     \
    if (error == 0) {                                                          \
        statement;                                                             \
    }                                                                          \
    atomic_store(&place->state, 0);                                            \
    return error

static int load(struct hurdmm_port *port, void *space, uintptr_t address,
                uint8_t *value)
{
    (void)port;
    (void)space;
    ACCESS(*value = *(volatile uint8_t *)address);
}

static int store(struct hurdmm_port *port, void *space, uintptr_t address,
                 uint8_t value)
{
    (void)port;
    (void)space;
    ACCESS(*(volatile uint8_t *)address = value);
}

static int add(struct hurdmm_port *port, void *space, uintptr_t address,
               uint64_t amount)
{
    (void)port;
    (void)space;
    ACCESS(__atomic_fetch_add((uint64_t *)address, amount, __ATOMIC_SEQ_CST));
}

/* ---- Threads ---- */

struct start {
    void (*body)(void *);
    void *argument;
};

static void *begin(void *argument)
{
    struct start *start = argument;
    start->body(start->argument);
    return NULL;
}

static int run(struct hurdmm_port *port, void (*const bodies[])(void *),
               void *const arguments[], unsigned count)
{
    (void)port;
    struct start starts[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    int error = 0;
    unsigned started = 0;
    while (started < count && error == 0) {
        starts[started].body = bodies[started];
        starts[started].argument = arguments[started];
        error =
            pthread_create(&threads[started], NULL, begin, &starts[started]);
        if (error == 0)
            started++;
    }
    while (started-- > 0)
        (void)pthread_join(threads[started], NULL);
    return error;
}

static void nap(struct hurdmm_port *port, uint64_t time_ns)
{
    (void)port;
    struct timespec left = {.tv_sec = (time_t)(time_ns / 1000000000),
                            .tv_nsec = (long)(time_ns % 1000000000)};
    while (nanosleep(&left, &left) != 0)
        continue;
}

/* ---- Ports ---- */

static int make(struct hurdmm_port **port, unsigned flags)
{
    struct hurdmm_posix_options options = {.struct_size = sizeof options,
                                           .flags = flags};
    return hurdmm_posix_create(&options, port);
}

static int plain(struct hurdmm_port **port, uint64_t frames)
{
    (void)frames;
    return make(port, 0);
}

static int sleeping(struct hurdmm_port **port, uint64_t frames)
{
    (void)frames;
    return make(port, HURDMM_POSIX_NO_SPIN);
}

static void destroy(struct hurdmm_port *port)
{
    (void)hurdmm_posix_destroy(port);
}

#ifdef HMM_POSIX_PORTABLE
#define READS_FIRST true
#else
#define READS_FIRST false
#endif

#define TARGET(form)                                                           \
    {                                                                          \
        .name = "posix-" #form, .create = form, .destroy = destroy,            \
        .load = load, .store = store, .add = add, .run = run, .sleep = nap,    \
        .mappings = MAPPINGS, .reads_first = READS_FIRST                       \
    }

/* Tools need mappings of their own; they leave that test out. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MAPPINGS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MAPPINGS 0
#endif
#endif
#ifndef MAPPINGS
#define MAPPINGS 40000
#endif

static const struct conformance_target forms[] = {TARGET(plain),
                                                  TARGET(sleeping)};

int main(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = failed;
    action.sa_flags = SA_SIGINFO;
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGBUS, &action, NULL);
    const struct conformance_target *targets[] = {&forms[0], &forms[1]};
    return conformance_main(targets, 2);
}
