/* SPDX-License-Identifier: MIT */
/*
 * A world for tests on the ports of this host, with real threads: a port, a
 * manager whose budget is a tenth of the memory, or the smallest there is, and a
 * disk in memory with a store on it.  Everything that goes wrong here is the
 * test's failure, by Check's assertions.
 */
#ifndef HMM_TESTS_CORE_REAL_H
#define HMM_TESTS_CORE_REAL_H

#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE 1
#endif

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>

#include "tests/core/touch.h"
#include "tests/support/runner.h"

#define REAL_PAGES 160u
#define REAL_FRAMES 16u
#define REAL_THREADS 4u
#define REAL_MARK                                                              \
    4000u /* byte of each page of the disk with the page's number */

/* posix, linux by pager threads, linux on the faulting threads. */
#define REAL_WAYS 3

struct real {
    int way;
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_space *space;
    struct hurdmm_store *store; /* shared, on the disk */
    size_t page;
    uint8_t *disk;
    uintptr_t base;      /* where real_begin has bound the store */
    atomic_int bad_page; /* that cannot be read; -1: none */
};

/* A port for the way: what hurdmm_host_port_create says. */
int real_port(int way, struct hurdmm_port **port);
/* A manager with so many frames, and a disk of zeros.  false: there is no such
 * port here, and the test is skipped. */
bool real_begin_with(struct real *real, int way, unsigned frames);
/* The same with REAL_FRAMES; the disk's pages are marked, and bound. */
bool real_begin(struct real *real, int way);
void real_mark(struct real *real);
void real_end(struct real *real);

/* A store on the disk, and a binding of it, in the way of the world. */
struct hurdmm_store *real_store(struct real *real, unsigned flags);
int real_try_bind(struct real *real, struct hurdmm_store *store, unsigned page,
                  size_t pages, uintptr_t want, unsigned flags,
                  uintptr_t *address);
uintptr_t real_bind(struct real *real, struct hurdmm_store *store,
                    unsigned page, size_t pages);
uint8_t *real_at(struct real *real, unsigned page);
/* Can system calls touch pages that are absent? */
bool real_has_calls(struct real *real);
struct hurdmm_stats real_stats(struct real *real);

/* Accesses of the main thread: see touch.h. */
#define real_loads(address, wanted)                                            \
    do {                                                                       \
        uint8_t real_found = 0;                                                \
        ck_assert_int_eq(touch_load((uintptr_t)(address), &real_found), 0);    \
        ck_assert_uint_eq(real_found, wanted);                                 \
    } while (0)
#define real_load_fails(address)                                               \
    do {                                                                       \
        uint8_t real_found;                                                    \
        ck_assert_int_ne(touch_load((uintptr_t)(address), &real_found), 0);    \
    } while (0)
#define real_stores(address, byte)                                             \
    ck_assert_int_eq(touch_store((uintptr_t)(address), byte), 0)
#define real_store_fails(address)                                              \
    ck_assert_int_ne(touch_store((uintptr_t)(address), 1), 0)

/* Threads that count in words of their own in pages drawn by lot. */
struct real_worker {
    pthread_t thread;
    struct real *real;
    unsigned number;
    size_t rounds;
    bool locking; /* they take the mutex in the first page, too */
    size_t done;
};
/* What the first page begins with. */
struct real_shared {
    pthread_mutex_t mutex;
    uint64_t counter;
};
void real_start(struct real *real, struct real_worker *workers, size_t rounds,
                bool locking);
/* Waits for them, and adds up what they should have written. */
void real_finish(struct real *real, struct real_worker *workers);

/* A number of 31 bits. */
uint64_t real_draw(uint64_t *seed);

#endif
