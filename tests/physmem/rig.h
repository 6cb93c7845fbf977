/* SPDX-License-Identifier: MIT */
/*
 * Containers as strings, for tests: each page is filled with one letter, and a
 * hole reads as a dot.  A page whose bytes are not all equal reads as '?'.
 */
#ifndef HMM_TESTS_PHYSMEM_RIG_H
#define HMM_TESTS_PHYSMEM_RIG_H

#include "tests/core/world.h"

#define RIG_PAGES 64

/* An empty container, and one with a page for each letter. */
struct hurdmm_container *rig_container(struct world *world);
struct hurdmm_container *rig_filled(struct world *world, const char *letters);

/* Fills a page that is there with a letter. */
void rig_letter(struct world *world, struct hurdmm_container *container,
                unsigned page, char letter);
/* The same through the store that the container caches. */
void rig_store_letter(struct world *world, struct hurdmm_store *store,
                      unsigned page, char letter);

/* The first pages as letters.  The string lives until the fourth next call. */
const char *rig_picture(struct world *world, struct hurdmm_container *container,
                        unsigned pages);
const char *rig_store_picture(struct world *world, struct hurdmm_store *store,
                              unsigned pages);

#define rig_expect(world, container, letters)                                  \
    ck_assert_str_eq(rig_picture(world, container, (unsigned)strlen(letters)), \
                     letters)
#define rig_expect_store(world, store, letters)                                \
    ck_assert_str_eq(                                                          \
        rig_store_picture(world, store, (unsigned)strlen(letters)), letters)

/* hurdmm_container_copy in pages; *done likewise. */
int rig_copy(struct world *world, struct hurdmm_container *target, unsigned to,
             struct hurdmm_container *source, unsigned from, unsigned pages,
             unsigned flags, unsigned *done);
/* All of it, without error. */
void rig_copied(struct world *world, struct hurdmm_container *target,
                unsigned to, struct hurdmm_container *source, unsigned from,
                unsigned pages, unsigned flags);
int rig_release(struct world *world, struct hurdmm_container *container,
                unsigned first, unsigned pages);

/* Binds the container's first pages to read and write. */
uintptr_t rig_bind(struct world *world, struct hurdmm_container *container,
                   unsigned pages);

/* A store whose page i is full of letters[i]. */
struct disk *rig_disk(struct world *world, const char *letters, unsigned flags);

#endif
