/* SPDX-License-Identifier: MIT */
/*
 * What partition tables say: finding which kind it is, and keeping what is
 * found.
 *
 * Nothing on the disk is believed: every number is looked at before it is used,
 * every loop over what the disk says has a bound.
 */
#include "lib/block/partition.h"

#define SECTOR_MIN 512u

int hmm_table_sector(struct hmm_table *table, uint64_t number)
{
    if (number >= table->sectors)
        return ERANGE;
    return hurdmm_block_read(table->block, number * table->sector_size,
                             table->sector, table->sector_size);
}

int hmm_table_add(struct hmm_table *table, unsigned number, uint64_t start,
                  uint64_t count, struct hurdmm_partition **partition)
{
    uint64_t bytes = table->sector_size;
    unsigned kept = table->count < table->max ? table->count : table->max;
    struct hurdmm_partition *new;

    *partition = NULL;
    if (count == 0 || start == 0)
        return EBADMSG;
    if (start >= table->sectors || count > table->sectors - start)
        return ERANGE;
    for (unsigned i = 0; i < kept; i++) {
        const struct hurdmm_partition *other = &table->partitions[i];

        if (start * bytes < other->start + other->size &&
            other->start < (start + count) * bytes)
            return EBADMSG;
    }
    table->count++;
    if (kept == table->max)
        return 0;
    new = &table->partitions[kept];
    memset(new, 0, sizeof *new);
    new->number = number;
    new->start = start *bytes;
    new->size = count *bytes;
    *partition = new;
    return 0;
}

static int check(const struct hurdmm_block *block, const void *scratch,
                 size_t scratch_size, const struct hurdmm_partition *partitions,
                 unsigned max, const struct hurdmm_partition_table *table)
{
    int error = block_usable(block);

    if (error != 0)
        return error;
    if (!scratch || scratch_size < SECTOR_MIN ||
        scratch_size < block->block_size || (max != 0 && !partitions))
        return EINVAL;
    if (!table || table->struct_size < sizeof *table)
        return EINVAL;
    return 0;
}

int hurdmm_partition_read(struct hurdmm_block *block, void *scratch,
                          size_t scratch_size,
                          struct hurdmm_partition *partitions, unsigned max,
                          struct hurdmm_partition_table *table)
{
    struct hmm_table at = {
        .block = block,
        .sector = scratch,
        .partitions = partitions,
        .max = max,
    };
    bool gpt = false, backup = false;
    int error = check(block, scratch, scratch_size, partitions, max, table);

    if (error != 0)
        return error;
    at.sector_size =
        block->block_size > SECTOR_MIN ? block->block_size : SECTOR_MIN;
    at.sectors = block->size / at.sector_size;
    if (at.sectors == 0)
        return ENOENT;
    error = hmm_table_sector(&at, 0);
    if (error == 0)
        error = hmm_mbr_read(&at, &gpt);
    if (error == 0 && gpt)
        error = hmm_gpt_read(&at, &backup);
    if (error != 0)
        return error;
    table->scheme = gpt ? HURDMM_PARTITION_GPT : HURDMM_PARTITION_MBR;
    table->backup = backup;
    table->count = at.count;
    return 0;
}
