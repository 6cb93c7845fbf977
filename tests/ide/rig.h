/* SPDX-License-Identifier: MIT */
/*
 * A driver on a simulated PC, for tests: a disk, and what it must hold.
 */
#ifndef HMM_TESTS_IDE_RIG_H
#define HMM_TESTS_IDE_RIG_H

#include <check.h>

#include "backends/l4-x86/ide/registers.h"
#include "tests/ide/machine.h"

#define RIG_SECTORS 4096u
#define RIG_PHYSICAL 0x400000u

struct rig {
    struct machine machine;
    struct hmm_ide ide;
    struct hmm_ide_disk disk;
    struct drive *drive;
    uint8_t *buffer; /* of a megabyte, reachable by DMA */
    uint8_t *model;  /* what the disk must hold */
    bool fragile;    /* the machine may complain, the disk may be gone */
};

#define RIG_BUFFER (1u << 20)

/* Times in these tests are short. */
#define RIG_COMMAND_NS UINT64_C(1000000000)
#define RIG_RESET_NS UINT64_C(2000000000)

/* A machine with one disk of RIG_SECTORS sectors as primary master; it is not
 * opened yet. */
void rig_plug(struct rig *rig, uint64_t seed);
/* Begins the driver and opens the disk. */
void rig_open(struct rig *rig, unsigned flags);
int rig_try_open(struct rig *rig, unsigned flags);
/* Both. */
void rig_begin(struct rig *rig, unsigned flags);
/* Looks whether the disk holds what it must, and ends all. */
void rig_end(struct rig *rig);

/* Reads sectors and compares; writes new ones, also to the model. */
int rig_read(struct rig *rig, uint64_t lba, uint64_t count);
int rig_write(struct rig *rig, uint64_t lba, uint64_t count, uint8_t seed);
#define rig_reads(rig, lba, count)                                             \
    ck_assert_int_eq(rig_read(rig, lba, count), 0)
#define rig_writes(rig, lba, count, seed)                                      \
    ck_assert_int_eq(rig_write(rig, lba, count, seed), 0)

static inline struct hmm_ide_stats *rig_stats(struct rig *rig)
{
    return &rig->disk.channel->stats;
}

#endif
