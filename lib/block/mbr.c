/* SPDX-License-Identifier: MIT */
/*
 * MBR tables.
 *
 * The first sector has four entries of 16 bytes at 446.  One of them may be an
 * extended partition: a chain of sectors within it, each with an entry for a
 * logical partition, counted from that sector, and one for the next sector of
 * the chain, counted from the beginning of the extended partition.
 *
 * A first sector of a file system also ends with the signature.  What looks like
 * its entries is hardly ever right, so an entry whose first byte is none that
 * exists means that the table is broken.
 */
#include "lib/block/partition.h"

#define ENTRIES 446u
#define ENTRY_SIZE 16u
#define SIGNATURE 510u
#define LOGICAL_MAX 256u

#define TYPE_EXTENDED 0x05u
#define TYPE_EXTENDED_LBA 0x0fu
#define TYPE_EXTENDED_LINUX 0x85u
#define TYPE_PROTECTIVE 0xeeu

struct entry {
    unsigned flags, type;
    uint64_t start, count; /* sectors */
};

static struct entry get_entry(const struct hmm_table *table, unsigned index)
{
    const unsigned char *at = table->sector + ENTRIES + index * ENTRY_SIZE;
    struct entry entry = {
        .flags = at[0],
        .type = at[4],
        .start = block_le32(at + 8),
        .count = block_le32(at + 12),
    };

    block_assert(index < 4);
    return entry;
}

static bool extended(const struct entry *entry)
{
    return entry->type == TYPE_EXTENDED || entry->type == TYPE_EXTENDED_LBA ||
           entry->type == TYPE_EXTENDED_LINUX;
}

static bool signed_sector(const struct hmm_table *table)
{
    return block_le16(table->sector + SIGNATURE) == 0xaa55u;
}

static int add(struct hmm_table *table, unsigned number, uint64_t base,
               const struct entry *entry)
{
    struct hurdmm_partition *partition;
    int error = hmm_table_add(table, number, base + entry->start, entry->count,
                              &partition);

    if (error == 0 && partition) {
        partition->type = entry->type;
        partition->flags = entry->flags;
    }
    return error;
}

/* Whether a primary partition that was kept lies in the extended one. */
static bool overlaps(const struct hmm_table *table, const struct entry *outer)
{
    uint64_t start = outer->start * table->sector_size;
    uint64_t end = start + outer->count * table->sector_size;

    for (unsigned i = 0; i < table->count && i < table->max; i++) {
        const struct hurdmm_partition *other = &table->partitions[i];

        if (other->start < end && start < other->start + other->size)
            return true;
    }
    return false;
}

/* Follows the chain of an extended partition. */
static int add_logical(struct hmm_table *table, const struct entry *outer)
{
    unsigned number = 5;
    uint64_t at = outer->start;
    int error;

    for (unsigned links = 0; links < LOGICAL_MAX; links++) {
        struct entry logical, next;

        error = hmm_table_sector(table, at);
        if (error != 0)
            return error;
        if (!signed_sector(table))
            return EBADMSG;
        logical = get_entry(table, 0);
        next = get_entry(table, 1);
        if (logical.type != 0) {
            if (at + logical.start + logical.count >
                outer->start + outer->count)
                return ERANGE;
            error = add(table, number++, at, &logical);
            if (error != 0)
                return error;
        }
        if (!extended(&next))
            return 0;
        if (next.start >= outer->count)
            return ERANGE;
        at = outer->start + next.start;
    }
    return ELOOP;
}

/* The entries of the first sector, before anything is believed. */
static int check(const struct hmm_table *table, unsigned *wrappers,
                 bool *protective)
{
    *wrappers = 0;
    *protective = false;
    for (unsigned i = 0; i < 4; i++) {
        struct entry entry = get_entry(table, i);

        if ((entry.flags & 0x7fu) != 0)
            return EBADMSG;
        if (entry.type == TYPE_PROTECTIVE)
            *protective = true;
        if (extended(&entry))
            ++*wrappers;
    }
    return *wrappers > 1 ? EBADMSG : 0;
}

int hmm_mbr_read(struct hmm_table *table, bool *protective)
{
    struct entry outer = {0, 0, 0, 0};
    unsigned wrappers;
    int error;

    if (!signed_sector(table))
        return ENOENT;
    error = check(table, &wrappers, protective);
    if (error != 0 || *protective)
        return error;
    for (unsigned i = 0; i < 4 && error == 0; i++) {
        struct entry entry = get_entry(table, i);

        if (extended(&entry))
            outer = entry;
        else if (entry.type != 0)
            error = add(table, i + 1, 0, &entry);
    }
    if (error != 0 || wrappers == 0)
        return error;
    if (outer.start == 0 || outer.count == 0)
        return EBADMSG;
    if (outer.start + outer.count > table->sectors)
        return ERANGE;
    if (overlaps(table, &outer))
        return EBADMSG;
    return add_logical(table, &outer);
}
