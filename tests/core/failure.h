/* SPDX-License-Identifier: MIT */
/*
 * The ways to fail that sweeps try, one after the other: the nth call of a kind,
 * or all from the nth on.
 */
#ifndef HMM_TESTS_CORE_FAILURE_H
#define HMM_TESTS_CORE_FAILURE_H

#include <stdbool.h>

#include <hurdmm/error.h>
#include <hurdmm/sim.h>

#include "tests/core/disk.h"

struct failure {
    const char *name;
    unsigned port; /* HURDMM_SIM_... */
    unsigned disk; /* DISK_... */
    int error;     /* of the disk */
    unsigned partial;
};

static const struct failure failures[] = {
    {"memory of the port", HURDMM_SIM_MEMORY, 0, 0, 0},
    {"lend", HURDMM_SIM_LEND, 0, 0, 0},
    {"reclaim", HURDMM_SIM_RECLAIM, 0, 0, 0},
    {"core memory", HURDMM_SIM_CORE_MAP, 0, 0, 0},
    {"read", 0, DISK_IN, EIO, 0},
    {"short read", 0, DISK_IN, 0, 1},
    {"write", 0, DISK_OUT, EIO, 0},
    {"no space", 0, DISK_OUT, ENOSPC, 1},
    {"sync", 0, DISK_SYNC, EIO, 0},
    {"unlock", 0, DISK_UNLOCK, ENOSPC, 0},
};
#define FAILURES (sizeof failures / sizeof failures[0])

/* Whether a call may end with this error when that fails. */
static inline bool failure_excuses(const struct failure *failure, int error)
{
    return error == ENOMEM ||
           (failure->disk != 0 && (error == failure->error || error == EIO));
}

/* Prepares the port's part, and a disk's. */
static inline void failure_arm_port(const struct failure *failure,
                                    struct hurdmm_port *port, unsigned nth,
                                    bool for_ever)
{
    if (failure->port != 0)
        hurdmm_sim_fail(port, failure->port, nth, 0, for_ever);
}

static inline void failure_arm_disk(const struct failure *failure,
                                    struct disk *disk, unsigned nth,
                                    bool for_ever)
{
    if (failure->disk == 0)
        return;
    disk_fail(disk, failure->disk, nth, failure->error, for_ever);
    disk->script.partial = failure->partial;
}

#endif
