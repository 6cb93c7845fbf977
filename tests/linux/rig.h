/* SPDX-License-Identifier: MIT */
/* What the tests of the linux port share: a manager on it with one store, a
 * disk in memory, that is bound once.
 */
#ifndef TESTS_LINUX_RIG_H
#define TESTS_LINUX_RIG_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <check.h>

#include <hurdmm/hurdmm.h>
#include <hurdmm/linux.h>

#include "tests/support/runner.h"

#define PAGE ((size_t)4096)
#define MS UINT64_C(1000000) /* nanoseconds */

struct rig {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_space *space;
    struct hurdmm_store *store;
    uint8_t *disk;
    size_t pages; /* of the disk */
    uintptr_t region;
    atomic_int in_error, out_error; /* that the disk gives from now on */
    atomic_uint reads, writes;
};

struct rig_options {
    size_t pages, budget; /* in pages */
    unsigned port_flags;  /* HURDMM_LINUX_... */
    unsigned bind_flags;  /* HURDMM_BIND_... */
    unsigned store_flags; /* besides what the binding needs */
    unsigned manager_flags;
    size_t block_pages; /* 0: one */
    bool random;        /* bound with that advice */
};

/* Opens it, or says that the test is skipped.  Page i of the disk is filled with
 * the byte i + 1. */
bool rig_open(struct rig *rig, const struct rig_options *options);
/* Destroys everything, with the dirty pages written. */
void rig_close(struct rig *rig);
volatile uint8_t *rig_at(struct rig *rig, size_t page);
/* Faults are resolved inline: because it was asked for, or because this user
 * has only descriptors with which pager threads help no system calls. */
bool rig_is_inline(struct rig *rig, const struct rig_options *options);
/* Every invariant holds. */
void rig_check(struct rig *rig);
struct hurdmm_linux_counters rig_counters(struct rig *rig);

/* Accesses that may fail: 0, or the signal.  To be installed before rig_open. */
void catch_install(void);
int try_read(volatile uint8_t *address);
int try_write(volatile uint8_t *address, uint8_t value);

/* Runs a function in a child and gives its wait status. */
int in_child(void (*body)(void *argument), void *argument);

void paging_cases(Suite *suite);
void shared_cases(Suite *suite);
void strangers_cases(Suite *suite);
void dirty_cases(Suite *suite);

#endif
