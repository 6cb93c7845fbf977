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

/* An empty container.  EINVAL, ENOMEM, ESTALE.  Class: store. */
int hurdmm_container_create(struct hurdmm *manager,
                            struct hurdmm_container **container);
/* Frees all its frames, but for those that copies still read: these go with the
 * last copy.  Its grants are stale then.  EBUSY (it is bound to memory, pages are
 * pinned, or a call is inside it), EINVAL, ENOTSUP (a store's), ESTALE; on error
 * nothing is changed.  Class: store. */
int hurdmm_container_destroy(struct hurdmm_container *container);

/* Gives the page-aligned range frames of its own, zeroed.  Stops at the first
 * page that has one (EEXIST) or when memory ends (ENOMEM); with
 * HURDMM_ALL_OR_NONE it then changes nothing.  *done (bytes) is always written;
 * the error is for the first byte not done.  EINVAL, ESTALE.  Class: store.
 *
 * Where the port has larger pages (hurdmm_port_info.page_sizes), what the range
 * has of them, whole and aligned by offset, gets frames that can be shown as one
 * such page, as long as there are some; regions are placed so that they can be. */
#define HURDMM_ALL_OR_NONE 1u
int hurdmm_container_allocate(struct hurdmm_container *container,
                              uint64_t offset, uint64_t length, unsigned flags,
                              uint64_t *done);
/* Where frames may lie in physical memory.  All members must hold; 0 asks
 * nothing.  The first two are the words that 2005 asked for: bits that are set,
 * and bits that are clear, in the physical address at which a run starts. */
struct hurdmm_constraint {
    size_t struct_size;
    uint64_t must_set, must_clear;
    uint64_t low, high;       /* first and last byte of the run; high 0: any */
    uint64_t alignment;       /* of the start, a power of two */
    uint64_t boundary;        /* no run crosses a multiple of it; power of 2 */
    uint32_t colour, colours; /* (start / page) % colours == colour */
};

/* As hurdmm_container_allocate, with frames that satisfy the constraint (NULL:
 * none): each page on its own, or, with HURDMM_CONTIGUOUS, all of them as one
 * run, all or none.  Also EINVAL (masks that contradict each other, or that set
 * bits below the page size), ERANGE (this machine has no such memory), ENOMEM
 * (it has, but not now).  Class: store. */
#define HURDMM_CONTIGUOUS 16u
int hurdmm_container_allocate_constrained(
    struct hurdmm_container *container, uint64_t offset, uint64_t length,
    unsigned flags, const struct hurdmm_constraint *constraint, uint64_t *done);

/* For devices.  pin keeps a page-aligned range, every page of which is there, as
 * it is until it is unpinned, and tells where it lies: physical runs in the
 * order of the range, at most `max` of them.  Pins nest and count against the
 * manager's pin_limit; pinned pages cannot be released or moved (EBUSY), and
 * copies of pages pinned for writing are made at once.  ENOENT (a hole), EDQUOT
 * (pin_limit), ERANGE (more than `max` runs), ENOMEM, EINVAL, ESTALE; on error
 * nothing is pinned.  Class: store. */
struct hurdmm_physical_run {
    uint64_t address; /* physical */
    uint64_t length;  /* bytes */
};
int hurdmm_container_pin(struct hurdmm_container *container, uint64_t offset,
                         uint64_t length, unsigned access,
                         struct hurdmm_physical_run *runs, size_t max,
                         size_t *count);
/* Undoes one pin of the same range and access.  EINVAL (not pinned: nothing is
 * changed), ESTALE.  Class: store. */
int hurdmm_container_unpin(struct hurdmm_container *container, uint64_t offset,
                           uint64_t length, unsigned access);

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
 * A page of a store that cannot be read stays a promise as long as the store may
 * yet give it; when its contents go (discard, truncation, a write of the whole
 * page) the copy has the error for its own, until it is released or wholly
 * written.  A shared copy of a store sees its truncation: ENXIO past the end, and
 * after growth what the store then has.
 * Who pays: the owner of the frame, which is the source until a page is written
 * on either side; the page that then gets a frame of its own pays for it.
 *
 * *done (bytes) is always written; the error is for the first byte not done.
 * EINVAL (alignment, overflow, flags, ranges that overlap in one container, a
 * store's range that the source shares),
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
 * HURDMM_COPY_SQUASH.  At most 64 ranges, whose targets have no page in common
 * (EINVAL).  Errors as above. */
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

/* Grants: weak handles on a range of a container, to give to somebody else.  The
 * holder may read, write and map it, as the grant's rights say, and nothing more:
 * he cannot allocate, release, copy or grant on, since the functions for that
 * take a container.  The owner may revoke at any time. */
struct hurdmm_grant;

/* Grants `rights` on a page-aligned range; later allocations in it are covered.
 * EINVAL, ENOMEM, ESTALE. */
int hurdmm_grant_create(struct hurdmm_container *container, uint64_t offset,
                        uint64_t length, unsigned rights,
                        struct hurdmm_grant **grant);
/* Takes everything back at once: what was mapped through the grant is unbound,
 * and the handle is stale.  Calls of the holder that are under way are waited
 * for: when it returns, nothing more is read or written by them.  While the
 * holder has a hold on it that is not over, waits for that too, at most until
 * its deadline.  EBUSY (pages pinned through it), ESTALE, EDEADLK (from a
 * callback, while a call of the holder is under way). */
int hurdmm_grant_revoke(struct hurdmm_grant *grant);
/* For a holder that lives longer than a call: while it is open, a grant that is
 * revoked, or whose container has gone, answers ESTALE and is nothing else.
 * Close it as often as it was opened, before the end of its manager.  ESTALE,
 * EINVAL (it is not open).  Class: store. */
int hurdmm_grant_open(struct hurdmm_grant *grant);
int hurdmm_grant_close(struct hurdmm_grant *grant);
/* The holder's: nothing is taken from him before he drops the hold or
 * `timeout_ns` has passed, one second at most.  EBUSY (held already), ESTALE,
 * EINVAL. */
int hurdmm_grant_hold(struct hurdmm_grant *grant, uint64_t timeout_ns);
int hurdmm_grant_drop(struct hurdmm_grant *grant);
/* Any bytes of the range, by offset in the grant.  *done is always written.
 * EPERM (beyond its rights), ENXIO (beyond its range), ENOENT (a hole), ESTALE,
 * EINVAL, ENOMEM. */
int hurdmm_grant_read(struct hurdmm_grant *grant, uint64_t offset, void *buffer,
                      size_t length, size_t *done);
int hurdmm_grant_write(struct hurdmm_grant *grant, uint64_t offset,
                       const void *buffer, size_t length, size_t *done);
/* Binds part of the range to memory, as hurdmm_bind with `rights`.  EPERM,
 * ENXIO, ESTALE, and what hurdmm_bind says. */
int hurdmm_grant_map(struct hurdmm_grant *grant, uint64_t offset, size_t length,
                     struct hurdmm_space *space, unsigned rights,
                     uintptr_t *address);

#ifdef __cplusplus
}
#endif

#endif
