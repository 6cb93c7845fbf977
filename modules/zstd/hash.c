/* SPDX-License-Identifier: MIT */
/*
 * XXH64, by its published description: four lanes of eight bytes each over
 * stripes of 32, folded into one; then what is left, by eights, a four and
 * ones; then an avalanche.  Words are little-endian on every machine.
 */
#include "modules/zstd/hash.h"

#define P1 0x9E3779B185EBCA87u
#define P2 0xC2B2AE3D27D4EB4Fu
#define P3 0x165667B19E3779F9u
#define P4 0x85EBCA77C2B2AE63u
#define P5 0x27D4EB2F165667C5u

static uint64_t rotate(uint64_t word, unsigned by)
{
    return word << by | word >> (64 - by);
}

/* Compilers make one load of this. */
static uint64_t word_at(const unsigned char *at, unsigned bytes)
{
    uint64_t word = 0;

    for (unsigned i = 0; i < bytes; i++)
        word |= (uint64_t)at[i] << 8 * i;
    return word;
}

static uint64_t mix(uint64_t lane, uint64_t word)
{
    return rotate(lane + word * P2, 31) * P1;
}

/* All whole stripes; *at and *left end behind them. */
static uint64_t stripes(const unsigned char **at, size_t *left)
{
    uint64_t lane[4] = {P1 + P2, P2, 0, 0 - P1};
    uint64_t hash;

    for (; *left >= 32; *at += 32, *left -= 32)
        for (unsigned i = 0; i < 4; i++)
            lane[i] = mix(lane[i], word_at(*at + 8 * i, 8));
    hash = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) +
           rotate(lane[3], 18);
    for (unsigned i = 0; i < 4; i++)
        hash = (hash ^ mix(0, lane[i])) * P1 + P4;
    return hash;
}

uint64_t hmm_zst_hash(const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    size_t left = length;
    uint64_t hash = left >= 32 ? stripes(&at, &left) : P5;

    hash += length;
    for (; left >= 8; at += 8, left -= 8)
        hash = rotate(hash ^ mix(0, word_at(at, 8)), 27) * P1 + P4;
    if (left >= 4) {
        hash = rotate(hash ^ word_at(at, 4) * P1, 23) * P2 + P3;
        at += 4;
        left -= 4;
    }
    for (; left > 0; at++, left--)
        hash = rotate(hash ^ *at * P5, 11) * P1;
    hash = (hash ^ hash >> 33) * P2;
    hash = (hash ^ hash >> 29) * P3;
    return hash ^ hash >> 32;
}
