/* SPDX-License-Identifier: MIT */
/*
 * A simulated machine with a manager and a store on a block device.
 */
#ifndef HMM_TESTS_BLOCK_RIG_H
#define HMM_TESTS_BLOCK_RIG_H

#include <check.h>

#include <hurdmm/hurdmm.h>
#include <hurdmm/sim.h>

#include "tests/block/device.h"

struct rig_options {
    size_t page;     /* 256 */
    unsigned frames; /* of the budget; 32 */
    uint64_t blocks; /* of the device; 128 */
    size_t block;    /* 64 */
    uint64_t offset, size;
    unsigned flags;     /* of the store; HURDMM_STORE_SHARED is added */
    unsigned readahead; /* pages; 1 */
    unsigned served;    /* not 0: the device does requests by itself, each after
                         * so many points at which others may run */
    uint64_t seed;      /* not 0: a random schedule */
    unsigned manager_flags;
};

struct rig {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct device device;
    struct hurdmm_store *store;
    uint64_t size; /* of the store */
    uintptr_t at;  /* all of it, bound to read and write */
    unsigned served;
    bool over; /* the device's thread is to end */
    uint64_t server;
};

/* NULL: all defaults.  `block' NULL: on rig->device, which is made. */
void rig_begin(struct rig *rig, const struct rig_options *options,
               struct hurdmm_block *block);
/* Only the machine and the manager. */
void rig_machine(struct rig *rig, const struct rig_options *options);
/* The core's own check, and what machine and device complain about. */
void rig_check(struct rig *rig);
void rig_end(struct rig *rig);

/* A byte of the store, through the region. */
int rig_get(struct rig *rig, uint64_t offset, uint8_t *value);
int rig_put(struct rig *rig, uint64_t offset, uint8_t value);
#define rig_expect(rig, offset, expected)                                      \
    do {                                                                       \
        uint8_t rig_value = 0;                                                 \
        ck_assert_int_eq(rig_get(rig, offset, &rig_value), 0);                 \
        ck_assert_uint_eq(rig_value, expected);                                \
    } while (0)
#define rig_set(rig, offset, value)                                            \
    ck_assert_int_eq(rig_put(rig, offset, value), 0)

int rig_sync(struct rig *rig);
/* Drops all pages, after writing them. */
int rig_return(struct rig *rig);

#endif
