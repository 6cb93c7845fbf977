/* SPDX-License-Identifier: MIT */
/*
 * GPT tables.
 *
 * A header is in sector 1, a copy in the last, each with a table of entries of
 * its own.  A header counts only when its checksum, its own place, its table's
 * checksum and every place it names are right; the copy is looked at when the
 * first does not count.  The table is read twice, once for the checksum and once
 * for what it says: there is memory for one sector only.
 */
#include "lib/block/partition.h"

#define HEADER_MIN 92u
#define ENTRY_MIN 128u
#define ENTRIES_MAX 4096u
#define NAME_UNITS 36u

struct header {
    uint64_t first, last; /* sectors that partitions may use, inclusive */
    uint64_t entries;     /* the sector where the table begins */
    uint32_t count, entry_size;
    uint32_t checksum;
};

/* The CRC that Ethernet uses; the table of half bytes is made on the way. */
static uint32_t crc32(uint32_t crc, const unsigned char *at, size_t length)
{
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= at[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

/* The header's own checksum is counted as zeros. */
static bool header_sum_right(struct hmm_table *table, size_t size)
{
    uint32_t sum = block_le32(table->sector + 16);

    memset(table->sector + 16, 0, 4);
    return crc32(0, table->sector, size) == sum;
}

static bool places_right(const struct hmm_table *table,
                         const struct header *header, uint64_t number)
{
    uint64_t bytes = (uint64_t)header->count * header->entry_size;
    uint64_t sectors = (bytes + table->sector_size - 1) / table->sector_size;

    if (header->first > header->last || header->last >= table->sectors ||
        header->entries >= table->sectors ||
        sectors > table->sectors - header->entries)
        return false;
    if (header->entries < 2 ||
        (number >= header->entries && number < header->entries + sectors))
        return false;
    return header->entries > header->last ||
           header->entries + sectors <= header->first;
}

/* Reads the header in sector `number'; EBADMSG: it does not count. */
static int read_header(struct hmm_table *table, uint64_t number,
                       struct header *header)
{
    const unsigned char *at = table->sector;
    int error = hmm_table_sector(table, number);
    size_t size;

    if (error != 0)
        return error;
    size = block_le32(at + 12);
    if (memcmp(at, "EFI PART", 8) != 0 || size < HEADER_MIN ||
        size > table->sector_size || !header_sum_right(table, size) ||
        block_le64(at + 24) != number)
        return EBADMSG;
    header->first = block_le64(at + 40);
    header->last = block_le64(at + 48);
    header->entries = block_le64(at + 72);
    header->count = block_le32(at + 80);
    header->entry_size = block_le32(at + 84);
    header->checksum = block_le32(at + 88);
    if (header->entry_size < ENTRY_MIN || !block_is_pow2(header->entry_size) ||
        header->count > ENTRIES_MAX)
        return EBADMSG;
    if (header->entry_size > table->sector_size)
        return ENOTSUP;
    return places_right(table, header, number) ? 0 : EBADMSG;
}

static int check_entries(struct hmm_table *table, const struct header *header)
{
    uint64_t rest = (uint64_t)header->count * header->entry_size;
    uint32_t sum = 0;

    for (uint64_t at = header->entries; rest > 0; at++) {
        size_t n =
            rest < table->sector_size ? (size_t)rest : table->sector_size;
        int error = hmm_table_sector(table, at);

        if (error != 0)
            return error;
        sum = crc32(sum, table->sector, n);
        rest -= n;
    }
    return sum == header->checksum ? 0 : EBADMSG;
}

/* Adds a character; false: there is no room. */
static bool put_utf8(char *name, size_t room, size_t *used, uint32_t code)
{
    unsigned more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};

    if (room - *used <= more + 1)
        return false;
    name[(*used)++] = (char)(lead[more] | code >> 6 * more);
    while (more-- > 0)
        name[(*used)++] = (char)(0x80 | (code >> 6 * more & 0x3f));
    return true;
}

/* UTF-16 to UTF-8; half a pair becomes U+FFFD. */
static void get_name(const unsigned char *at, char *name, size_t room)
{
    size_t used = 0;

    for (unsigned i = 0; i < NAME_UNITS; i++) {
        uint32_t code = block_le16(at + 2 * i);
        uint32_t low = i + 1 < NAME_UNITS ? block_le16(at + 2 * i + 2) : 0;

        if (code == 0)
            break;
        if (code >= 0xd800 && code < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            i++;
        } else if (code >= 0xd800 && code < 0xe000) {
            code = 0xfffd;
        }
        if (!put_utf8(name, room, &used, code))
            break;
    }
    name[used] = '\0';
}

static bool used(const unsigned char *entry)
{
    for (unsigned i = 0; i < 16; i++)
        if (entry[i] != 0)
            return true;
    return false;
}

static int add(struct hmm_table *table, const struct header *header,
               unsigned number, const unsigned char *entry)
{
    uint64_t first = block_le64(entry + 32), last = block_le64(entry + 40);
    struct hurdmm_partition *partition;
    int error;

    if (first > last || first < header->first)
        return EBADMSG;
    if (last > header->last)
        return last >= table->sectors ? ERANGE : EBADMSG;
    error = hmm_table_add(table, number, first, last - first + 1, &partition);
    if (error != 0 || !partition)
        return error;
    memcpy(partition->type_id, entry, 16);
    memcpy(partition->id, entry + 16, 16);
    partition->flags = block_le64(entry + 48);
    get_name(entry + 56, partition->name, sizeof partition->name);
    return 0;
}

static int add_entries(struct hmm_table *table, const struct header *header)
{
    size_t size = header->entry_size;
    unsigned each = (unsigned)(table->sector_size / size);

    block_assert(each > 0);
    for (unsigned i = 0; i < header->count; i++) {
        const unsigned char *entry = table->sector + i % each * size;
        int error = 0;

        if (i % each == 0)
            error = hmm_table_sector(table, header->entries + i / each);
        if (error == 0 && used(entry))
            error = add(table, header, i + 1, entry);
        if (error != 0)
            return error;
    }
    return 0;
}

int hmm_gpt_read(struct hmm_table *table, bool *backup)
{
    struct header header = {0};
    int error = read_header(table, 1, &header);

    if (error == 0)
        error = check_entries(table, &header);
    *backup = error != 0;
    if (*backup) {
        int first = error;

        error = read_header(table, table->sectors - 1, &header);
        if (error == 0)
            error = check_entries(table, &header);
        /* Of two errors the first is the one to know, unless it was only that
         * the header does not count. */
        if (error != 0)
            return first != EBADMSG ? first : error;
    }
    return add_entries(table, &header);
}
