/* SPDX-License-Identifier: MIT */
/* hurdmm/container.h - physical memory by name: byte offsets naming frames.
 *
 * A container is a sparse 64-bit name space of pages, each naming a frame or
 * nothing.  Its frames are held by the library, count against the manager's
 * budget and are never evicted.  The cache of every store is a container too.
 */
#ifndef HURDMM_CONTAINER_H
#define HURDMM_CONTAINER_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An empty container.  ENOMEM, ESTALE.  Class: store. */
int hurdmm_container_create(struct hurdmm *manager,
                            struct hurdmm_container **container);
/* Frees all its frames.  ESTALE.  Class: store. */
int hurdmm_container_destroy(struct hurdmm_container *container);

/* Gives the page-aligned range frames of its own, zeroed.  Stops at the first
 * page that has one (EEXIST) or when memory ends (ENOMEM); with
 * HURDMM_ALL_OR_NONE it then changes nothing.  *done (bytes) is always written;
 * the error is for the first byte not done.  EINVAL, ESTALE.  Class: store. */
#define HURDMM_ALL_OR_NONE 1u
int hurdmm_container_allocate(struct hurdmm_container *container,
                              uint64_t offset, uint64_t length, unsigned flags,
                              uint64_t *done);
/* Gives back every frame in the page-aligned range; holes are ignored.
 * EINVAL, ESTALE.  Class: store. */
int hurdmm_container_release(struct hurdmm_container *container,
                             uint64_t offset, uint64_t length);

/* Any bytes.  Stops at the first hole (ENOENT).  *done is always written.
 * EINVAL, ESTALE.  Class: store. */
int hurdmm_container_read(struct hurdmm_container *container, uint64_t offset,
                          void *buffer, size_t length, size_t *done);
int hurdmm_container_write(struct hurdmm_container *container, uint64_t offset,
                           const void *buffer, size_t length, size_t *done);

/* Logical copies.
 *
 * Nothing is copied: the target's pages become, where it has none of its own,
 * the source's.  They may be absent in the source (a store's that are not in
 * memory): they are promised, and fetched once for both when somebody asks.
 *
 *   (no flag)           copy on write: each side sees its own later writes
 *   HURDMM_COPY_SHARED  both see all writes, the target's rights allowing
 *   HURDMM_COPY_MOVE    the source's pages are handed over, and are holes then
 *   HURDMM_COPY_SQUASH  what the target has in the range is released first;
 *                       else EEXIST for its first page there
 *   HURDMM_ALL_OR_NONE  the whole range or nothing
 *
 * A copy on write is taken at one instant, while threads write to the source:
 * from the first right that is revoked until it is made, faults and library
 * writes wait.  Pages that are pinned for writing are copied at once; who writes
 * to them by other means sees to it that they are at rest.
 *
 * The target is a container, or the container of a store that is
 * HURDMM_STORE_VOLATILE; the source of a move is a container.  Source and target
 * may be destroyed in any order.  Holes end a copy: ENOENT for the first one.
 * Who pays: the owner of the frame, which is the source until a page is written
 * on either side; the page that then gets a frame of its own pays for it.
 *
 * *done (bytes) is always written; the error is for the first byte not done.
 * EINVAL (alignment, overflow, flags, ranges that overlap in one container),
 * ENOENT, EEXIST, EBUSY (pinned pages to be moved or squashed), ENOTSUP (such a
 * target or source), ENOMEM, ESTALE, EDEADLK (from a callback).  On an error the
 * target has, for bytes past *done, what it had before. */
#define HURDMM_COPY_SHARED 2u
#define HURDMM_COPY_MOVE 4u
#define HURDMM_COPY_SQUASH 8u
int hurdmm_container_copy(struct hurdmm_container *target,
                          uint64_t target_offset,
                          struct hurdmm_container *source,
                          uint64_t source_offset, uint64_t length,
                          unsigned flags, uint64_t *done);

/* Several copies on write taken at the same instant, all or none.  Flags:
 * HURDMM_COPY_SQUASH.  At most 64 ranges.  Errors as above. */
struct hurdmm_copy_range {
    struct hurdmm_container *target;
    uint64_t target_offset;
    struct hurdmm_container *source;
    uint64_t source_offset;
    uint64_t length;
};
int hurdmm_container_copy_ranges(const struct hurdmm_copy_range *ranges,
                                 size_t count, unsigned flags);

/* The container that caches a store: a source of copies, and, if the store is
 * HURDMM_STORE_VOLATILE, a target.  It lives and dies with the store; the
 * functions above that allocate, release, read or write refuse it (ENOTSUP).
 * NULL for a stale handle. */
struct hurdmm_container *hurdmm_store_container(struct hurdmm_store *store);

/* 2005's memory objects.  use: the store's range is, from now on, the memory of
 * a container, which stays the container's and must stay as it is; for stores
 * that are READ_ONLY or VOLATILE.  transfer: the range gets the container's
 * memory as its own, by copy on write or, with `move`, for good.  Both take the
 * data as what the store has: the pages are clean.  The range is absent before
 * (EEXIST).  Errors as hurdmm_container_copy.  Class: store. */
int hurdmm_memory_use(struct hurdmm_store *store, uint64_t offset,
                      struct hurdmm_container *container,
                      uint64_t container_offset, uint64_t length,
                      uint64_t *done);
int hurdmm_memory_transfer(struct hurdmm_store *store, uint64_t offset,
                           struct hurdmm_container *container,
                           uint64_t container_offset, uint64_t length, int move,
                           uint64_t *done);

#ifdef __cplusplus
}
#endif

#endif
