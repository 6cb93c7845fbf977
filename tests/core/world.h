/* SPDX-License-Identifier: MIT */
/*
 * A world for a test of the core: a simulated machine, a manager on it, and
 * disks with known contents.  Everything that goes wrong here is the test's
 * failure, by Check's assertions.
 */
#ifndef HMM_TESTS_CORE_WORLD_H
#define HMM_TESTS_CORE_WORLD_H

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/sim.h>

#include "tests/core/disk.h"

#ifndef WORLD_PAGE
#define WORLD_PAGE 256 /* unless the machine has its own */
#endif
#define WORLD_DISKS 4
#define WORLD_DISK_PAGES 64u

/* What differs from the ordinary world: pages of WORLD_PAGE bytes, 32 frames. */
struct world_options {
    size_t page;
    unsigned frames; /* of the budget */
    unsigned offer, hide;
    unsigned machine_flags; /* HURDMM_SIM_SOFT */
    unsigned manager_flags;
    unsigned dirty_pages, pin_pages;
    unsigned readahead_pages; /* 0: one, so that the calls can be counted */
    unsigned address_bits, spaces;
    uint64_t mappings;
    uint64_t seed; /* not 0: a random schedule */
    const struct hurdmm_policy_ops *policy;
};

struct world {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_space *space;
    size_t page;
    unsigned disk_count;
    struct disk disks[WORLD_DISKS];
    uint8_t *bytes[WORLD_DISKS];
    char log[8][100]; /* what the manager had to say */
    unsigned logged;
};

/* options NULL: the ordinary world. */
void world_begin(struct world *world, const struct world_options *options);
/* Ends all, and looks whether anything was left or misused. */
void world_end(struct world *world);
/* hurdmm_check, the port's and the disks' complaints. */
void world_check(struct world *world);

/* A disk of `size' bytes with a store on it; byte i is world_byte(i). */
struct disk *world_disk(struct world *world, uint64_t size, unsigned flags);
/* The same with blocks and a mode. */
struct disk *world_disk_of(struct world *world, uint64_t size, size_t block,
                           unsigned flags, enum disk_mode mode);
uint8_t world_byte(uint64_t offset);

/* Binds [offset, + length) of the disk to read and write, anywhere. */
uintptr_t world_bind(struct world *world, struct disk *disk, uint64_t offset,
                     size_t length);
/* Binds with all that can be said; the error. */
int world_try_bind(struct world *world, struct disk *disk, uint64_t offset,
                   size_t length, uintptr_t want, unsigned rights,
                   unsigned flags, uintptr_t *address);

/* One byte, as the application. */
int world_load(struct world *world, uintptr_t address, uint8_t *value);
int world_store(struct world *world, uintptr_t address, uint8_t value);
/* Loads and compares. */
#define world_expect(world, address, expected)                                 \
    do {                                                                       \
        uint8_t world_value = 0;                                               \
        ck_assert_int_eq(world_load(world, address, &world_value), 0);         \
        ck_assert_uint_eq(world_value, expected);                              \
    } while (0)
#define world_put(world, address, value)                                       \
    ck_assert_int_eq(world_store(world, address, value), 0)

struct hurdmm_stats world_stats(struct world *world);
unsigned world_state(struct disk *disk, uint64_t offset);

/* Runs it in a thread of the application; world_run waits for all. */
void world_spawn(struct world *world, void (*body)(void *), void *argument);
void world_run(struct world *world);

/* A load or store in a thread of its own. */
struct world_access {
    struct world *world;
    uintptr_t address;
    bool write;
    uint8_t value;
    int error;
    bool done;
};
void world_access(struct world_access *access);

#endif
