/* SPDX-License-Identifier: MIT */
/* The boot module of first-stage: a disk with one partition. */
#ifndef TESTS_L4_FIRST_STAGE_H
#define TESTS_L4_FIRST_STAGE_H

#include <stdint.h>

#define STAGE_SIZE (UINT32_C(1) << 20)
#define STAGE_START (63u * 512)
#define STAGE_SECTORS 1896u
#define STAGE_PARTITION_SIZE (STAGE_SECTORS * 512) /* whole pages */

static inline uint32_t stage_word(uint32_t i)
{
    return i * 2246822519u ^ 0x57a6e001u;
}

#endif
