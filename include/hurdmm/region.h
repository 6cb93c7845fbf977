/* SPDX-License-Identifier: MIT */
/* hurdmm/region.h - memory bound to stores, by address.
 *
 * A region is a range of a space bound to a store at an offset.  Regions can be
 * released, protected and advised in any part, so they have no handles: what is
 * meant is said by space and address, as for the memory calls of POSIX.
 *
 * On ports without HURDMM_PORT_SYSCALLS a system call that touches a page which
 * is not lent gives EFAULT instead of faulting: pin or populate the buffer
 * first, or use hurdmm_read and hurdmm_write.
 */
#ifndef HURDMM_REGION_H
#define HURDMM_REGION_H

#include <hurdmm/store.h>
#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of bind. */
#define HURDMM_BIND_EXACT 1u    /* at `address` or EEXIST */
#define HURDMM_BIND_POPULATE 2u /* fill and lend everything before returning */
#define HURDMM_BIND_RESERVED                                                   \
    4u /* no store: nothing may be bound here; a fault
                                 * in it is EFAULT */

/* Faults are resolved on the threads that fault, which is faster.  For stores
 * that are HURDMM_STORE_SIGNAL_SAFE, on ports with HURDMM_PORT_INLINE; else
 * ENOTSUP.  System calls on absent pages give EFAULT then. */
#define HURDMM_BIND_INLINE 8u
/* All pages are brought in, and stay in memory until they are unbound, as if
 * pinned for writing; the system itself notes which are written to, so that a
 * first write costs a fraction of a fault.  What that takes away: nobody can hold
 * such a writer back, so the range cannot be the source of copies (ENOTSUP), has
 * no first-write callback, and a flush may write a page while it changes.  For
 * ports with HURDMM_PORT_TRACKS, for stores that are not SHARED, and with write
 * rights; else ENOTSUP (EINVAL without write rights, or with INLINE): bind without
 * it, then, and hurdmm_region_scan_dirty finds the same.  EDQUOT: it counts
 * against pin_limit.  EBUSY: the store's pages are read by copies. */
#define HURDMM_BIND_WIRED 16u

struct hurdmm_bind_options {
    size_t struct_size;
    struct hurdmm_space *space;
    struct hurdmm_store *store; /* NULL with HURDMM_BIND_RESERVED */
    uint64_t offset;            /* in the store, page-aligned */
    uintptr_t address;          /* exact place, or a hint, or 0: anywhere */
    size_t length;              /* page-aligned, not 0 */
    unsigned rights;            /* HURDMM_WRITE needs HURDMM_READ */
    unsigned max_rights;        /* protect may raise up to here; 0: all that
                                 * the store allows */
    enum hurdmm_advice advice;  /* NORMAL, SEQUENTIAL, RANDOM or READ_ONCE */
    unsigned flags;
    struct hurdmm_container *container; /* instead of a store: its pages; a
                                         * fault over a hole fails with EFAULT */
};

/* Binds memory to a store; *address says where.  The range may reach past the
 * store's size: faults there fail with ENXIO.
 * EINVAL (alignment, overflow, flags, rights), ESTALE, EEXIST (EXACT and
 * something is there), EBUSY (the store is not SHARED and has a region over
 * these pages), EROFS (write rights on a read-only store), ENOMEM (no room, no
 * memory), and with POPULATE the store's errors: then nothing is bound. */
int hurdmm_bind(const struct hurdmm_bind_options *bind, uintptr_t *address);

/* Takes all regions, and parts of regions, in the range away; holes are
 * ignored, reserved regions go too.  Pages stay in their stores' caches, dirty
 * ones too.  Faults that wait in it fail with EFAULT.  EINVAL, ESTALE, EBUSY
 * (a page in it is pinned), ENOMEM (a split needs memory).  On error nothing is
 * changed. */
int hurdmm_unbind(struct hurdmm_space *space, uintptr_t address, size_t length);

/* Sets the rights of everything in the range.  ENOENT (a hole), EACCES (above
 * a region's max_rights), EBUSY (pinned for writing), ENOMEM, EINVAL, ESTALE;
 * on error nothing is changed. */
int hurdmm_protect(struct hurdmm_space *space, uintptr_t address, size_t length,
                   unsigned rights);

/* Advice.  NORMAL, SEQUENTIAL, RANDOM and READ_ONCE are remembered for the
 * range; WILLNEED and DONTNEED act once.  Never loses data.  ENOENT, ENOMEM,
 * EINVAL, ESTALE. */
int hurdmm_advise(struct hurdmm_space *space, uintptr_t address, size_t length,
                  enum hurdmm_advice advice);

/* WILLNEED for the pages at `count` addresses, in any order: what a program
 * that knows where it goes next says a while before.  Where the store has
 * fill_start all of them are under way together when this returns; nobody waits
 * for them.  Addresses without a region are passed over, and so is what there
 * is no memory for.  EINVAL, ESTALE. */
int hurdmm_prefetch(struct hurdmm_space *space, const uintptr_t *addresses,
                    size_t count);

/* Fills and lends a range so that `access` will not fault now (it may be
 * evicted again later).  *done (may be NULL) is always written.  ENOENT,
 * EACCES, EINVAL, ESTALE, ENOMEM, EDEADLK, or the store's errors. */
int hurdmm_populate(struct hurdmm_space *space, uintptr_t address,
                    size_t length, unsigned access, size_t *done);

/* Populates and keeps in memory until unpinned; counted, so that pins nest.
 * Pinned for writing a page stays writable, and dirty.  All or nothing.  Also
 * EDQUOT (pin_limit). */
int hurdmm_pin(struct hurdmm_space *space, uintptr_t address, size_t length,
               unsigned access);
/* Undoes one pin of the same range and access.  EINVAL (not pinned: nothing is
 * changed), ENOENT, ESTALE. */
int hurdmm_unpin(struct hurdmm_space *space, uintptr_t address, size_t length,
                 unsigned access);

/* The verbs of hurdmm/store.h by address: each region in the range is done,
 * holes are ENOENT (what is there is done all the same). */
int hurdmm_flush(struct hurdmm_space *space, uintptr_t address, size_t length,
                 unsigned flags);
int hurdmm_return(struct hurdmm_space *space, uintptr_t address, size_t length,
                  unsigned flags);
int hurdmm_discard(struct hurdmm_space *space, uintptr_t address,
                   size_t length);
int hurdmm_sync(struct hurdmm_space *space, uintptr_t address, size_t length,
                unsigned flags);

/* Copies between bound memory, at any address, and a private buffer without a
 * fault: as the application would, rights included.  *done is always written.
 * ENOENT, EACCES, EINVAL, ESTALE, ENOMEM, EDEADLK, the store's errors. */
int hurdmm_read(struct hurdmm_space *space, uintptr_t address, void *buffer,
                size_t length, size_t *done);
int hurdmm_write(struct hurdmm_space *space, uintptr_t address,
                 const void *buffer, size_t length, size_t *done);

/* One byte of HURDMM_STATE_... for each page of the range, 0 for absent ones.
 * ENOENT (a hole), EINVAL, ESTALE. */
int hurdmm_resident(struct hurdmm_space *space, uintptr_t address,
                    size_t length, uint8_t *states);

/* ---- Which pages were written ---- */

/* A page counts as written from the first write to it on, by the application, by
 * hurdmm_write and the like, or by a discard that loses writes, until it is said
 * with HURDMM_SCAN_CLEAR.  Writing it back, or its leaving memory, changes
 * nothing about that.  The mark is the page's: all regions over it share it.
 * Marks are kept from the first scan of a store on; what memory holds dirty then
 * counts as written (of a container: all there is).
 *
 * May be reported although they were not written: pages pinned for writing, each
 * time; pages that were lent to write, or were to be written to by a thread that
 * failed; on ports that watch wired regions, pages that were populated or pinned
 * again; and all pages of a store, for good, for whose marks there was no memory.
 * Not reported: what copies put into the range, what the store itself supplies,
 * and what is released. */

/* The pages that are found count as not written from now on.  No write is lost
 * between: each is found by this scan, or by the next. */
#define HURDMM_SCAN_CLEAR 1u

/* Finds the written pages of a range that is bound, in order: up to `max' rows
 * of them, rows[0 .. *count), which may touch each other.  *done says how much of
 * the range was looked at; less than `length' with 0: there was no room for more
 * rows, go on from there.  *count and *done are always written, and true also
 * when there is an error: what was cleared is in `rows'.  The rows may lie in
 * managed memory.
 * EINVAL (alignment, flags, no room for a row), ESTALE, ENOENT (a hole, or a
 * reserved region), ENOTSUP (pages of the range are, by a shared copy, another
 * container's: scan that one), ENOMEM (with CLEAR: rights could not be taken).
 * Up to a few ns a page where nothing is cleared; with CLEAR the write right of
 * what is found goes, and the next write to it is a fault (not in regions that
 * are wired).  Class: store. */
int hurdmm_region_scan_dirty(struct hurdmm_space *space, uintptr_t address,
                             size_t length, unsigned flags,
                             struct hurdmm_dirty *rows, size_t max,
                             size_t *count, size_t *done);

/* Told when a page that does not count as written is about to be, through this
 * region or by address: once for each page, until it is cleared, and again only
 * if there is no memory for marks.  The write waits until it returns, so that the
 * old contents can still be had (hurdmm_read).  Then the page counts as written,
 * also if the write does not come.  Not 0: the access fails with that.
 * Runs on the thread that answers the fault, or that called, as a store's callback
 * does: no lock is held, class "store" may be called, but nothing that waits for
 * writes of these pages or writes them back. */
typedef int hurdmm_first_write(void *hook, struct hurdmm_space *space,
                               uintptr_t address);

/* Sets what is called for a range, which lies in one region; NULL: nothing.
 * When it returns, nobody runs what was set before.  EINVAL (also more than one
 * region), ENOENT (a hole), ENOTSUP (a wired or inline region), EDEADLK (from
 * inside a callback), ENOMEM, ESTALE; on error nothing is changed. */
int hurdmm_region_on_first_write(struct hurdmm_space *space, uintptr_t address,
                                 size_t length, hurdmm_first_write *call,
                                 void *hook);

struct hurdmm_region_info {
    uintptr_t address;
    size_t length;
    struct hurdmm_store *store; /* NULL: reserved */
    uint64_t offset;
    unsigned rights, max_rights;
    enum hurdmm_advice advice;
};

/* The region that contains `address`, else the next one above it; *info is written
 * whole.  ENOENT (there is none), EINVAL, ESTALE. */
int hurdmm_region_find(struct hurdmm_space *space, uintptr_t address,
                       struct hurdmm_region_info *info);

/* A fault catcher: called for a fault in its range that no region answers or
 * that rights forbid, before the platform's failure.  Faults are seen only
 * where the space has room of the library's: bind a HURDMM_BIND_RESERVED region
 * to have some.  Returns 0 to have the
 * access repeated (it has bound something there), or the error to fail with.
 * Runs as a store's callback does.  ENOMEM, EINVAL, ESTALE, EEXIST (overlaps
 * another catcher). */
struct hurdmm_catch_info {
    struct hurdmm_space *space;
    uintptr_t address, instruction;
    uint64_t thread;
    unsigned access;
    int error; /* what it would end with: EFAULT or EACCES */
};
int hurdmm_catch(struct hurdmm_space *space, uintptr_t address, size_t length,
                 int (*catcher)(void *hook,
                                const struct hurdmm_catch_info *info),
                 void *hook);
/* Takes the catcher that begins at `address` away.  Calls of it that are under way
 * are not waited for: its hook is to live until these are over.  ENOENT, EINVAL,
 * ESTALE. */
int hurdmm_uncatch(struct hurdmm_space *space, uintptr_t address);

#ifdef __cplusplus
}
#endif

#endif
