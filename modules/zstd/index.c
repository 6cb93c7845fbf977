/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing seek tables: see index.h.
 *
 * A number is looked at only after what it says was compared with the length of
 * the file, and nothing is allocated by a number that the file's own length
 * does not bear out.  There are no locks: whoever has an index does not change
 * it.
 */
#include "modules/zstd/index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define MAGIC_SKIPPABLE 0x184D2A5Eu
#define MAGIC_SEEKABLE 0x8F92EAB1u
#define FLAG_CHECKSUMS 0x80u
#define FLAGS_RESERVED 0x7Cu
#define FRAMES_MAX 0x8000000u /* the format's limit */
#define ENTRY_MAX 12u
#define PIECE 1024u /* entries that are read at once */

static uint32_t get32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}

static void put32(unsigned char *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

uint64_t hmm_zst_index_size(const struct zst_index *index)
{
    return index->entries[index->count].plain;
}

void hmm_zst_index_free(struct zst_index *index)
{
    free(index->entries);
    index->entries = NULL;
    index->count = 0;
}

/* Where the table's entries are, by the footer and the header, which must
 * agree. */
static int locate(struct zst_index *index, const struct zst_source *source,
                  uint64_t *table)
{
    unsigned char footer[ZST_FOOTER], header[ZST_HEADER];
    uint64_t length;
    int error;

    if (source->size < ZST_HEADER + ZST_FOOTER)
        return EBADMSG;
    error = source->read(source->hook, source->size - ZST_FOOTER, footer,
                         sizeof footer);
    if (error != 0)
        return error;
    index->count = get32(footer);
    index->checksums = (footer[4] & FLAG_CHECKSUMS) != 0;
    if (get32(footer + 5) != MAGIC_SEEKABLE || footer[4] & FLAGS_RESERVED ||
        index->count > FRAMES_MAX)
        return EBADMSG;
    length = (uint64_t)index->count * (index->checksums ? ENTRY_MAX : 8);
    if (length > source->size - ZST_HEADER - ZST_FOOTER)
        return EBADMSG;
    *table = source->size - ZST_FOOTER - length;
    error =
        source->read(source->hook, *table - ZST_HEADER, header, sizeof header);
    if (error != 0)
        return error;
    if (get32(header) != MAGIC_SKIPPABLE ||
        get32(header + 4) != length + ZST_FOOTER)
        return EBADMSG;
    return 0;
}

/* Notes one frame; *next is the entry after it. */
static int add_entry(struct zst_index *index, struct zst_entry *entry,
                     const unsigned char *bytes, uint64_t end, size_t limit)
{
    uint32_t packed = get32(bytes), plain = get32(bytes + 4);

    if (packed == 0 || packed > end - entry->packed)
        return EBADMSG;
    /* A frame that did not shrink grows by a few bytes. */
    if (plain > limit || (plain != 0 && packed > limit + limit / 8 + 4096))
        return EOVERFLOW;
    entry->checksum = index->checksums ? get32(bytes + 8) : 0;
    entry[1].packed = entry->packed + packed;
    entry[1].plain = entry->plain + plain;
    /* A frame without contents is never read, so its length binds nobody. */
    if (plain != 0 && packed > index->packed_max)
        index->packed_max = packed;
    if (plain > index->plain_max)
        index->plain_max = plain;
    assert(entry[1].packed <= end);
    return 0;
}

static int read_entries(struct zst_index *index,
                        const struct zst_source *source, uint64_t table,
                        size_t limit)
{
    unsigned char bytes[PIECE * ENTRY_MAX];
    size_t each = index->checksums ? ENTRY_MAX : 8;
    uint64_t end = table - ZST_HEADER;
    int error = 0;

    for (uint32_t i = 0; i < index->count && error == 0; i++) {
        if (i % PIECE == 0) {
            uint32_t n = index->count - i < PIECE ? index->count - i : PIECE;

            error = source->read(source->hook, table + i * (uint64_t)each,
                                 bytes, n * each);
        }
        if (error == 0)
            error = add_entry(index, &index->entries[i],
                              bytes + i % PIECE * each, end, limit);
    }
    if (error == 0 && index->entries[index->count].packed != end)
        error = EBADMSG;
    return error;
}

int hmm_zst_index_load(struct zst_index *index, const struct zst_source *source,
                       size_t limit)
{
    struct zst_index new = {0};
    uint64_t table = 0;
    int error = locate(&new, source, &table);

    if (error != 0)
        return error;
    assert(table >= ZST_HEADER && table <= source->size - ZST_FOOTER);
    new.entries = calloc((size_t) new.count + 1, sizeof *new.entries);
    if (!new.entries)
        return ENOMEM;
    error = read_entries(&new, source, table, limit);
    if (error != 0)
        hmm_zst_index_free(&new);
    else
        *index = new;
    return error;
}

uint32_t hmm_zst_index_find(const struct zst_index *index, uint64_t offset)
{
    uint32_t low = 0, high = index->count;

    assert(offset < hmm_zst_index_size(index));
    /* entries[low] begins at or before the offset, entries[high] after it; so
     * frames without contents are passed over. */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (index->entries[middle].plain <= offset)
            low = middle;
        else
            high = middle;
    }
    assert(index->entries[low].plain <= offset);
    assert(offset < index->entries[low + 1].plain);
    return low;
}

/* Makes room for so many bytes more. */
static int reserve(struct zst_table *table, size_t more)
{
    size_t room = table->room != 0 ? table->room : 4096;
    unsigned char *bytes;

    if (table->room >= table->length + more)
        return 0;
    while (room < table->length + more)
        room *= 2;
    bytes = realloc(table->bytes, room);
    if (!bytes)
        return ENOMEM;
    table->bytes = bytes;
    table->room = room;
    return 0;
}

int hmm_zst_table_add(struct zst_table *table, uint32_t packed, uint32_t plain,
                      uint32_t checksum)
{
    int error;

    if (table->count == FRAMES_MAX)
        return EOVERFLOW;
    if (table->length == 0)
        table->length = ZST_HEADER;
    error = reserve(table, ENTRY_MAX);
    if (error != 0)
        return error;
    put32(table->bytes + table->length, packed);
    put32(table->bytes + table->length + 4, plain);
    put32(table->bytes + table->length + 8, checksum);
    table->length += ENTRY_MAX;
    table->count++;
    return 0;
}

int hmm_zst_table_end(struct zst_table *table)
{
    unsigned char *footer;
    int error;

    if (table->length == 0)
        table->length = ZST_HEADER;
    error = reserve(table, ZST_FOOTER);
    if (error != 0)
        return error;
    footer = table->bytes + table->length;
    put32(footer, table->count);
    footer[4] = FLAG_CHECKSUMS;
    put32(footer + 5, MAGIC_SEEKABLE);
    table->length += ZST_FOOTER;
    put32(table->bytes, MAGIC_SKIPPABLE);
    put32(table->bytes + 4, (uint32_t)(table->length - ZST_HEADER));
    return 0;
}

void hmm_zst_table_free(struct zst_table *table)
{
    free(table->bytes);
    *table = (struct zst_table){0};
}
