/* SPDX-License-Identifier: MIT */
/*
 * Reading a partition table: what the two kinds share.
 */
#ifndef HMM_BLOCK_PARTITION_H
#define HMM_BLOCK_PARTITION_H

#include <hurdmm/partition.h>

#include "lib/block/private.h"

/* A table being read. */
struct hmm_table {
    struct hurdmm_block *block;
    unsigned char *sector; /* the scratch memory, of a sector */
    size_t sector_size;
    uint64_t sectors; /* of the device */
    struct hurdmm_partition *partitions;
    unsigned max, count; /* that fit, that were found */
};

/* Reads a sector into the scratch memory; ERANGE past the device's end. */
int hmm_table_sector(struct hmm_table *table, uint64_t number);

/* Adds [start, start + count) of sectors, unless it is wrong: ERANGE, or
 * EBADMSG (empty, or overlaps another).  *partition is where the rest of it is
 * to be said; NULL: it was counted only. */
int hmm_table_add(struct hmm_table *table, unsigned number, uint64_t start,
                  uint64_t count, struct hurdmm_partition **partition);

/* The MBR is in the scratch memory.  *protective: it stands for a GPT, and
 * nothing was added. */
int hmm_mbr_read(struct hmm_table *table, bool *protective);

/* *backup: the first header, or its table, is broken. */
int hmm_gpt_read(struct hmm_table *table, bool *backup);

#endif /* HMM_BLOCK_PARTITION_H */
