/* SPDX-License-Identifier: MIT */
/* hurdmm/partition.h - what partition tables say.
 *
 * Reads MBR tables, with logical partitions, and GPT.  Nothing is ever written.
 * A sector is what the table counts in: a block of the device, or 512 bytes
 * where its blocks are smaller.
 */
#ifndef HURDMM_PARTITION_H
#define HURDMM_PARTITION_H

#include <hurdmm/block.h>
#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The kinds of tables. */
enum hurdmm_partition_scheme {
    HURDMM_PARTITION_MBR = 1,
    HURDMM_PARTITION_GPT = 2
};

struct hurdmm_partition {
    unsigned number; /* from 1, as everybody counts: logical ones from 5, GPT
                      * entries by their place in the table */
    unsigned type;   /* MBR: the byte; GPT: 0 */
    uint64_t start;  /* bytes */
    uint64_t size;
    uint64_t flags;      /* MBR: 0x80 active; GPT: its attributes */
    uint8_t type_id[16]; /* GPT: as they lie on the disk; MBR: zeros */
    uint8_t id[16];
    char name[112]; /* GPT: in UTF-8; MBR: empty */
};

struct hurdmm_partition_table {
    size_t struct_size;
    enum hurdmm_partition_scheme scheme;
    int backup;     /* 1: the GPT at the beginning is broken, this is from the
                     * copy at the end */
    unsigned count; /* partitions there are; more than `max` were not kept */
};

/* Reads the table of a device.  `partitions` receives the first `max`, in the
 * order of their numbers (NULL with max 0: only count); extended partitions, as
 * mere wrapping, are not among them.  `scratch` is memory for a sector.
 *
 * ENOENT: no table.  EBADMSG: a broken one, which contradicts itself: checksum,
 * overlaps, a first byte that none has.  ERANGE: a partition reaches past the
 * end of the device.  ELOOP: the chain of logical partitions does not end.
 * ENOTSUP: GPT entries larger than a sector.  EINVAL, or the device's error.
 * `scratch` and `partitions` are written also then. */
int hurdmm_partition_read(struct hurdmm_block *block, void *scratch,
                          size_t scratch_size,
                          struct hurdmm_partition *partitions, unsigned max,
                          struct hurdmm_partition_table *table);

#ifdef __cplusplus
}
#endif

#endif
