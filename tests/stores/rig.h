/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the predefined stores share: a simulated machine with a
 * manager, and a block device in memory that counts and fails as it is told.
 */
#ifndef HMM_TESTS_STORES_RIG_H
#define HMM_TESTS_STORES_RIG_H

#include <stdbool.h>

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/sim.h>

#define PAGE ((size_t)256)

/* A block device.  What was never written cannot be read. */
struct ram {
    struct hurdmm_block block;
    uint8_t *bytes;
    bool *written; /* for each block */
    unsigned reads, writes;
    int read_error, write_error; /* what all calls fail with, 0: none do */
    uint64_t bad_block;          /* one that cannot be read, 0: none, 1: the
                                  * first */
    unsigned discards;
};

void ram_begin(struct ram *ram, uint64_t size);
void ram_end(struct ram *ram);

struct rig {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_space *space;
    struct ram ram;
    struct hurdmm_swap *swap;
};

/* A budget of so many pages, a cluster of up to an eighth of it, and so many
 * pages of swap. */
void rig_begin(struct rig *rig, unsigned pages, unsigned swap_pages);
/* Checks everything and ends it; the stores are detached. */
void rig_end(struct rig *rig);
void rig_check(struct rig *rig);

struct hurdmm_store *rig_anonymous(struct rig *rig, uint64_t size);
uintptr_t rig_bind(struct rig *rig, struct hurdmm_store *store, size_t length,
                   unsigned rights);
uint64_t rig_used(struct rig *rig); /* pages of swap */
uint64_t rig_core_bytes(struct rig *rig);

/* A page of the store gets contents that tell it and `version`: 0 are zeros. */
int put_page(struct hurdmm_store *store, uint64_t page, unsigned version);
/* The page has these contents. */
void expect_page(struct hurdmm_store *store, uint64_t page, unsigned version);
/* Reading the page fails so. */
void expect_error(struct hurdmm_store *store, uint64_t page, int error);

#endif
