/* SPDX-License-Identifier: MIT */
/* What the tests of the posix port share: an open port, one region, and pagers
 * that stand for the core.  Page i of the region is frame i; a test may put a
 * function of its own in the place of `answer'.
 */
#ifndef TESTS_POSIX_RIG_H
#define TESTS_POSIX_RIG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/port.h>
#include <hurdmm/posix.h>

#include "tests/support/runner.h"

#define MS UINT64_C(1000000) /* nanoseconds */
#define READ_WRITE (HURDMM_READ | HURDMM_WRITE)
#define PAGERS_MAX 4u

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ON_TSAN 1
#elif __has_feature(address_sanitizer)
#define ON_ASAN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define ON_TSAN 1
#endif
#ifdef __SANITIZE_ADDRESS__
#define ON_ASAN 1
#endif

/* Tools in which something cannot be tested. */
bool on_tsan(void);
bool on_asan(void);
bool on_valgrind(void);
/* An access to these addresses is wrong on purpose. */
void expect_wrong(const volatile void *address, size_t size);

/* Asserts, and touches nothing of Check's while the condition is true: pagers
 * must not wait for a lock that a thread holds whose signal handler waits for
 * them. */
#define MUST(condition)                                                        \
    do {                                                                       \
        if (!(condition))                                                      \
            ck_abort_msg("%s", #condition);                                    \
    } while (0)

struct rig {
    struct hurdmm_port *port;
    const struct hurdmm_port_ops *ops;
    struct hurdmm_port_info info;
    size_t page;
    uint32_t pages;
    uintptr_t region;
    pthread_mutex_t lock; /* the core's */
    unsigned pager_count;
    uint64_t pagers[PAGERS_MAX];

    /* Gives the error that the fault ends with. */
    int (*answer)(struct rig *rig, const struct hurdmm_fault *fault);
    void *data;
    atomic_uint faults, reads, writes;
};

/* Opens a port with that many frames and a region of as many pages, and starts
 * pagers, if any. */
void rig_open(struct rig *rig, uint32_t pages, unsigned pagers, unsigned flags);
/* Stops the pagers and reclaims everything. */
void rig_close(struct rig *rig);

/* The default answer: lends the page with what the access needs. */
int rig_answer(struct rig *rig, const struct hurdmm_fault *fault);
/* An answer: the error that `data' points to. */
int rig_refuse(struct rig *rig, const struct hurdmm_fault *fault);
/* Takes one fault, waiting at most so long, and answers it. */
int rig_serve(struct rig *rig, uint64_t timeout_ns);

int rig_lend(struct rig *rig, uint32_t page, uint32_t frame, uint32_t count,
             unsigned rights);
int rig_reclaim(struct rig *rig, uint32_t page, uint32_t count,
                unsigned rights);
uint8_t *rig_window(struct rig *rig, uint32_t frame);
volatile uint8_t *rig_at(struct rig *rig, uint32_t page);

struct hurdmm_posix_counters rig_counters(struct rig *rig);

/* Accesses that may fail: 0, or the signal that a handler of the test's was
 * given.  caught.info is what it was given with.  One thread at a time. */
struct caught {
    siginfo_t info;
    sigset_t mask;
    void *stack; /* an address in the handler's frame */
};

extern struct caught caught;

/* Installs the handler for SIGSEGV and SIGBUS; to be done before rig_open, so
 * that it is the one that was there before. */
void catch_install(int flags);
int try_read(volatile uint8_t *address);
int try_write(volatile uint8_t *address, uint8_t value);

/* Runs a function in a child and gives its wait status. */
int in_child(void (*body)(void *argument), void *argument);

void faults_cases(Suite *suite);
void handlers_cases(Suite *suite);
void memory_cases(Suite *suite);
void fork_cases(Suite *suite);
void driven_cases(Suite *suite);

#endif
