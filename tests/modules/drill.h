/* SPDX-License-Identifier: MIT */
/*
 * A drill that any store can be put through, on any port of the host: random
 * use against a byte array, through calls and through memory, and threads that
 * use it as memory at once.
 */
#ifndef HMM_TESTS_MODULES_DRILL_H
#define HMM_TESTS_MODULES_DRILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>

/* What the store does. */
#define DRILL_READ_ONLY 1u
#define DRILL_FORGETS 2u /* discard makes zeros; else it is flushed first */

struct drill {
    const char *port_name;
    struct hurdmm_port *port;
    struct hurdmm *manager;
    size_t page;
    struct hurdmm_store *store;
    uintptr_t address;
    unsigned pages;
    unsigned flags;
    uint8_t *truth;
    uint64_t state; /* of the random numbers */
};

/* The ports that drills are run on, NULL after the last: for loop tests. */
const char *drill_port(int index);
#define DRILL_PORTS 3

/* A machine and a manager with so many pages of budget, or false, with the skip
 * reported, where the port does not work here. */
bool drill_begin(struct drill *drill, const char *port, unsigned budget);
/* Binds the store, whose bytes are `truth' (NULL: zeros).  The last page may be
 * cut by the store's size. */
void drill_take(struct drill *drill, struct hurdmm_store *store, unsigned flags,
                const uint8_t *truth);
/* Random use, `steps' of it. */
void drill_random(struct drill *drill, unsigned steps, uint64_t seed);
/* Threads that write to pages of their own and read each other's marks, while
 * the store is flushed and emptied.  Not on the simulated machine. */
void drill_threads(struct drill *drill, unsigned rounds);
/* Everything reads as it should, through calls and through memory. */
void drill_verify(struct drill *drill);
/* Ends all but what the test made. */
void drill_end(struct drill *drill);

/* A word of memory, on any port; the error of the access. */
int drill_load(struct drill *drill, size_t offset, uint64_t *value);

/* Contents of a page, by number and version: same-filled, like text, random, or
 * half and half, by turns. */
void drill_fill(uint8_t *bytes, size_t length, uint64_t page, unsigned version);

#endif
