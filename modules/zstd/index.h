/* SPDX-License-Identifier: MIT */
/*
 * The seek table of a compressed file: which frame holds which bytes.
 *
 * A seekable file is a row of Zstandard frames, each compressed by itself, and
 * one skippable frame after them, the seek table.  All numbers are
 * little-endian.
 *
 *     skippable frame   magic 0x184D2A5E, length of what follows (4 bytes each)
 *     for each frame    packed length, plain length, checksum (4 bytes each;
 *                       the checksum only if the flag says so)
 *     footer            number of frames (4), flags (1), magic 0x8F92EAB1 (4)
 *
 * Flag 0x80: there are checksums, the low half of XXH64 of the plain bytes.
 * Flags 0x7C must be 0, 0x03 are free.  Where frames begin is not said: they
 * follow each other from the file's beginning, and the table follows them.
 *
 * What is read here comes from a stranger.  Invariants of an index that was
 * loaded:
 *  1. entries begin where those before them end, in both measures;
 *  2. the packed bytes of all frames and the table are the whole file;
 *  3. no frame is longer than what the caller allows, packed or plain.
 */
#ifndef HMM_ZSTD_INDEX_H
#define HMM_ZSTD_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZST_FOOTER 9u
#define ZST_HEADER 8u

/* What a file is read through: all of the range, or an errno value (EIO where
 * it ends within). */
struct zst_source {
    int (*read)(void *hook, uint64_t offset, void *buffer, size_t length);
    void *hook;
    uint64_t size;
};

struct zst_entry {
    uint64_t packed, plain; /* where the frame begins */
    uint32_t checksum;
};

struct zst_index {
    struct zst_entry *entries; /* count + 1: the last says where all ends */
    uint32_t count;
    bool checksums;
    size_t packed_max, plain_max; /* of one frame */
};

/* The frames' lengths together, plain. */
uint64_t hmm_zst_index_size(const struct zst_index *index);

/* Reads the table of a file none of whose frames may be longer, plain, than
 * `limit'.  EBADMSG (no seekable file, or one that was cut, or whose table
 * contradicts the file), EOVERFLOW (a frame is longer), ENOMEM, or the error of
 * the source. */
int hmm_zst_index_load(struct zst_index *index, const struct zst_source *source,
                       size_t limit);
void hmm_zst_index_free(struct zst_index *index);

/* The frame that holds the plain byte at `offset', which must be one. */
uint32_t hmm_zst_index_find(const struct zst_index *index, uint64_t offset);

/* A table that grows, for who writes a file. */
struct zst_table {
    unsigned char *bytes; /* the whole skippable frame, once it is ended */
    size_t length, room;
    uint32_t count;
};
/* EOVERFLOW (too many frames), ENOMEM. */
int hmm_zst_table_add(struct zst_table *table, uint32_t packed, uint32_t plain,
                      uint32_t checksum);
/* Writes header and footer: `bytes' is what belongs into the file. */
int hmm_zst_table_end(struct zst_table *table);
void hmm_zst_table_free(struct zst_table *table);

#endif /* HMM_ZSTD_INDEX_H */
