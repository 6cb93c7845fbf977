/* SPDX-License-Identifier: MIT */
/* The drives of the image `bad-drives', as tests/l4/drives.c makes them. */
#ifndef TESTS_L4_BAD_DRIVES_H
#define TESTS_L4_BAD_DRIVES_H

#include "examples/l4/disk.h"

/* First channel, master: a file whose size is no whole sector, nor a page.  The
 * emulator fills the last sector up with zeros. */
#define ODD_BYTES 100001u
#define ODD_SECTORS (ODD_BYTES / 512 + 1)
#define ODD_WORDS (ODD_BYTES / 4) /* whole ones */
#define ODD_CHANGED (ODD_WORDS - 1)

/* Slave: its partition table has a partition that goes on behind the end, and
 * the one in its second MiB two that overlap. */
#define TABLE_SIZE (UINT32_C(2) << 20)

/* Second channel, master: a CD drive without a disc.  Slave: a disk on which a
 * sector cannot be read and one cannot be written. */
#define BAD_SIZE (UINT32_C(1) << 20)
#define BAD_READ_SECTOR 805u
#define BAD_WRITE_SECTOR 1609u
#define BAD_GOOD_PAGE 7u /* a page that is written */

#endif
