/* SPDX-License-Identifier: MIT */
/*
 * A block device for tests: arrays of bytes that fail as told.
 *
 * What is written is in `now' at once and in `medium' after a flush; when the
 * power goes, of each block that was not flushed either may be what is left.
 * It checks what it is asked for and keeps the first wrong thing in `complaint'.
 */
#ifndef HMM_TESTS_BLOCK_DEVICE_H
#define HMM_TESTS_BLOCK_DEVICE_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <hurdmm/block.h>
#include <hurdmm/error.h>

#define DEVICE_READ 1u
#define DEVICE_WRITE 2u
#define DEVICE_FLUSH 4u

#define DEVICE_BAD 8

struct device {
    struct hurdmm_block block; /* first */
    uint8_t *now, *medium;
    bool *unflushed;
    uint64_t bad[DEVICE_BAD]; /* blocks: EIO */
    unsigned bad_count;
    /* The nth call of `fail_kinds' from now, 1 the next, ends with fail_error;
     * what a write that fails did of its blocks is a matter of the seed. */
    unsigned fail_kinds, fail_nth;
    bool fail_for_ever;
    int fail_error;
    unsigned capabilities;

    /* What was submitted and waits for device_serve; `work' changes, and `woken'
     * is called, when something comes. */
    struct hurdmm_block_request *first, *last;
    uint32_t work;
    void (*woken)(struct device *device);
    unsigned submitted, begins;
    unsigned refuse; /* so many requests are not taken */

    unsigned reads, writes, flushes, failures;
    size_t longest;
    uint64_t seed;
    const char *complaint;
};

/* Byte i of it is device_byte(i). */
void device_init(struct device *device, uint64_t blocks, size_t block_size);
/* Without the members that were added to the table later. */
void device_init_old(struct device *device, uint64_t blocks, size_t block_size);
/* One that takes requests (HURDMM_BLOCK_SERVED), and does them in order. */
void device_init_served(struct device *device, uint64_t blocks,
                        size_t block_size);
/* Does the request that waits longest; false: none does. */
bool device_serve(struct device *device);
void device_end(struct device *device);
uint8_t device_byte(uint64_t offset);
void device_fail(struct device *device, unsigned kinds, unsigned nth, int error,
                 bool for_ever);
void device_power_cut(struct device *device);
uint64_t device_random(struct device *device, uint64_t below);

#endif
