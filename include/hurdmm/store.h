/* SPDX-License-Identifier: MIT */
/* hurdmm/store.h - backing stores: what memory is bound to.
 *
 * A store is a cache (pages by store offset) and the operations that fill and
 * drain it.  The operations are yours: a simple store gives page_in and
 * page_out, a full one answers each fault itself, at once or later.
 *
 * Rules for whoever writes one (doc/stores.md has them with examples):
 *   - Callbacks run on pager threads, on threads that call the library, and,
 *     for stores that are signal-safe, on faulting threads; several at once,
 *     but never two page_in or two page_out of the same page (until somebody
 *     pushes a page that is being filled: see hurdmm_store_supply).
 *   - No lock of the library is held.  Functions of class "store" may be
 *     called; others too unless they would need a page of this same store that
 *     is not there: that is detected and gives EDEADLK.
 *   - A store sees private memory only, never a region's bytes.
 *   - A signal handler that runs in the middle of a callback is a part of it:
 *     if it touches an absent page of the same store, that is EDEADLK.
 */
#ifndef HURDMM_STORE_H
#define HURDMM_STORE_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Properties of a store. */
#define HURDMM_STORE_SHARED 1u    /* regions may overlap in it */
#define HURDMM_STORE_READ_ONLY 2u /* never written: EROFS */
#define HURDMM_STORE_DISCARDABLE                                               \
    4u /* under pressure dirty pages are dropped,
                                     * not written; the next fill is told */
#define HURDMM_STORE_NO_STEAL                                                  \
    8u                               /* dirty pages leave only by flush, return
                                     * or sync, never by pressure */
#define HURDMM_STORE_SIGNAL_SAFE 16u /* page_in may run in a signal handler */
#define HURDMM_STORE_VOLATILE                                                  \
    32u /* contents end with the store: destroying
                                     * it writes nothing back */

struct hurdmm_store_ops {
    size_t struct_size; /* sizeof(struct hurdmm_store_ops) */

    /* Simple stores.  Offsets are multiples of the block size; `length` is a
     * multiple of it too, except that it ends at the store's size: bytes after
     * that are zeroed by the library and never written.  *done comes in as
     * `length`; a store that did less says how much, with the error for the
     * first byte not done (0 counts as EIO).  Pages wholly done count. */
    int (*page_in)(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done);
    int (*page_out)(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done);

    /* Full stores: answers a fault with hurdmm_request_complete, before it
     * returns or later from any thread; with an error it may also just return
     * it.  Replaces page_in. */
    int (*fault)(struct hurdmm_store *store, void *hook,
                 struct hurdmm_request *request);

    /* The rest may be NULL. */

    /* Makes durable what page_out has written in the range. */
    int (*sync)(struct hurdmm_store *store, void *hook, uint64_t offset,
                uint64_t length);
    /* A block is about to be written for the first time since it came in:
     * make room for it, or ENOSPC, EDQUOT, EROFS; the write then fails so. */
    int (*unlock)(struct hurdmm_store *store, void *hook, uint64_t offset,
                  size_t length);
    /* A notice that pages left memory by pressure.  May be missed. */
    void (*evicted)(struct hurdmm_store *store, void *hook, uint64_t offset,
                    size_t length);
    /* Contents of the range were discarded: backing for it may go. */
    void (*discarded)(struct hurdmm_store *store, void *hook, uint64_t offset,
                      uint64_t length);
    void (*advise)(struct hurdmm_store *store, void *hook, uint64_t offset,
                   uint64_t length, enum hurdmm_advice advice);
    /* The contiguous piece of backing around `offset`, for readahead and write
     * runs: [*start, *start + *length). */
    int (*extent)(struct hurdmm_store *store, void *hook, uint64_t offset,
                  uint64_t *start, uint64_t *length);
    /* Called once, after the last use of the store. */
    void (*destroy)(void *hook);

    /* Memory is short, and the block at `offset` is dirty: must it be written?
     * Answers HURDMM_VICTIM_WRITE or, when nothing in it is worth that,
     * HURDMM_VICTIM_DROP.  From before the question until the answer has been
     * acted on, the block cannot be written to where it is: who writes to it
     * then, has it kept with what they wrote.  So a store that sees, under a
     * lock of its own, that nobody uses the block, and that notes there that
     * its contents are lost, may hand it out again at once.  After a drop the
     * contents are what they were, until the block leaves memory unwritten; the
     * next page_in is not told.
     * Asked only before writes that nobody asked for, not by flush, return,
     * sync and destroy, and not while copies depend on the block.  A store
     * without page_out, or with NO_STEAL, is asked too: what it does not drop
     * stays.  DISCARDABLE stores need not be asked. */
    int (*victim)(struct hurdmm_store *store, void *hook, uint64_t offset,
                  size_t length);
    /* As page_in, for blocks that were discarded under pressure since they were
     * last there (HURDMM_WHY_DISCARDED); all blocks of a call are.  NULL:
     * page_in makes them too. */
    int (*refill)(struct hurdmm_store *store, void *hook, uint64_t offset,
                  void *buffer, size_t length, size_t *done);

    /* For stores with page_in that can have many transfers under way.
     *
     * Begins to fill what nobody waits for yet, and, for a reader that goes
     * straight on, what it waits for, so that what lies behind that is begun at
     * once; page_in fills the rest.  The request is completed before this
     * returns or later from any thread: a part of it that fails is told as page_in
     * would (hurdmm_request_complete_part).  An error may also just be returned:
     * then page_in is called for what somebody waits for.  EBUSY: there is enough
     * under way, and the library leaves the rest of what it wanted for later.
     * Runs where page_in does, in a signal handler too if the store is
     * SIGNAL_SAFE. */
    int (*fill_start)(struct hurdmm_store *store, void *hook,
                      struct hurdmm_request *request);
    /* Begins to write, beside page_out: completed (hurdmm_writeback_complete)
     * before this returns or later from any thread.  An error that is returned
     * says that nothing was begun: page_out is called instead. */
    int (*write_start)(struct hurdmm_store *store, void *hook,
                       struct hurdmm_writeback *write);
    /* Whatever was begun is on its way when this returns; until then the store
     * may keep it back, to start many at once.  Always called after fill_start
     * and write_start, by the same thread. */
    void (*submit)(struct hurdmm_store *store, void *hook);
};

/* Answers of victim. */
#define HURDMM_VICTIM_WRITE 0
#define HURDMM_VICTIM_DROP 1

struct hurdmm_store_options {
    size_t struct_size;
    const char *name;  /* for dumps; copied, at most 31 bytes; NULL: none */
    void *hook;        /* passed to every callback */
    uint64_t size;     /* bytes */
    size_t block_size; /* a power of two, a multiple of the page; 0: a page.
                        * Blocks are filled and written whole. */
    unsigned flags;    /* HURDMM_STORE_... */
};

/* Makes a store.  `ops` is kept and must outlive it.  A store without page_in
 * and fault, a writable one without page_out that is neither VOLATILE nor
 * DISCARDABLE, a wrong block size or flag: EINVAL.  ENOMEM, ESTALE. */
int hurdmm_store_create(struct hurdmm *manager,
                        const struct hurdmm_store_ops *ops,
                        const struct hurdmm_store_options *options,
                        struct hurdmm_store **store);

/* Ends a store.  EBUSY while regions are bound (unless HURDMM_DETACH), pages
 * are pinned or a fill is being answered.  Dirty pages are written and synced
 * first, unless the store is VOLATILE or HURDMM_DROP is given; if that fails
 * the error is returned, and the store is as before.  ESTALE, EINVAL, EDEADLK
 * (from its own callback). */
int hurdmm_store_destroy(struct hurdmm_store *store, unsigned flags);

/* The size in bytes, as it is now, and the hook that the store was made with.
 * These take no lock and do not look whether the handle is stale. */
uint64_t hurdmm_store_size(const struct hurdmm_store *store);
void *hurdmm_store_hook(const struct hurdmm_store *store);
struct hurdmm *hurdmm_store_manager(const struct hurdmm_store *store);
/* The operations: how a kind of store recognises its own. */
const struct hurdmm_store_ops *hurdmm_store_operations(
    const struct hurdmm_store *store);

/* Changes the size.  Shrinking drops what lies past the new end, dirty or not,
 * and zeroes the rest of the last page; it waits for fills and writes there.
 * Growing asks nothing of the store, which is then asked for what lies there.
 * Faults past the end fail with ENXIO.
 * EBUSY (some of what goes is pinned, or the store is claimed), EINVAL (a size
 * within a block of 2^64), ENOMEM, EDEADLK (from a callback of this store),
 * ESTALE, or what the store says when the page that the new end cuts must be
 * read: then the size is what it was. */
int hurdmm_store_resize(struct hurdmm_store *store, uint64_t size);

/* Verbs by store range.  Ranges are page-aligned; a length that reaches past
 * the size is cut there, HURDMM_WHOLE means to the end.  Waiting covers what
 * was dirty when asked, not what comes later.  Without HURDMM_WAIT they only
 * start the work (discard never needs to wait).
 *
 * flush: write dirty pages, keep them.  return: write them and drop all.
 * discard: drop without writing; contents are what the store has.
 * sync: flush, then the store makes it durable.
 * All go on after an error and return the first; a page that could not be
 * written stays in memory, readable and dirty.  An error that happened in the
 * background is returned once, by the next of flush, return or sync that
 * waits, even if the page could be written meanwhile.
 * EINVAL, ESTALE, EBUSY (discard, return: pinned pages, which stay; the rest is
 * done), EDEADLK (from a callback of this store), or the store's error. */
#define HURDMM_WAIT 1u
#define HURDMM_WHOLE UINT64_MAX
int hurdmm_store_flush(struct hurdmm_store *store, uint64_t offset,
                       uint64_t length, unsigned flags);
int hurdmm_store_return(struct hurdmm_store *store, uint64_t offset,
                        uint64_t length, unsigned flags);
int hurdmm_store_discard(struct hurdmm_store *store, uint64_t offset,
                         uint64_t length);
int hurdmm_store_sync(struct hurdmm_store *store, uint64_t offset,
                      uint64_t length, unsigned flags);

/* Which discardable pages go first when memory is short: those of the lowest
 * priority, whichever store they are of.  (How many discardable pages go, beside
 * others, is the policy's to say.)  Of the whole store (offset 0,
 * HURDMM_WHOLE), those included that have had another, or of a page-aligned
 * range, which may reach past the store's end.  At first it is 0.
 * EINVAL (the range, the priority, or the store is not DISCARDABLE), ENOMEM
 * (nothing was changed), ESTALE.  Class: store. */
#define HURDMM_PRIORITY_MIN (-64)
#define HURDMM_PRIORITY_MAX 63
int hurdmm_store_set_priority(struct hurdmm_store *store, uint64_t offset,
                              uint64_t length, int priority);

/* Reads and writes through the cache, any bytes, coherent with all regions of
 * the store.  `buffer` must not be memory of this store.  *done is always
 * written: the error is for the first byte not done.  EINVAL, ESTALE, ENXIO
 * (past the size), EROFS, ENOMEM, EDEADLK, or the store's error. */
int hurdmm_store_read(struct hurdmm_store *store, uint64_t offset, void *buffer,
                      size_t length, size_t *done);
int hurdmm_store_write(struct hurdmm_store *store, uint64_t offset,
                       const void *buffer, size_t length, size_t *done);

/* Brings a page-aligned range into memory.  *done (may be NULL) is always
 * written.  Errors as hurdmm_store_read. */
int hurdmm_store_populate(struct hurdmm_store *store, uint64_t offset,
                          size_t length, size_t *done);

/* Advice for a page-aligned range, passed on to the store.  WILLNEED reads
 * ahead without waiting: as far as memory is free, in the background; or, where
 * the store has fill_start, at once, and then up to an eighth of the budget is
 * made free for it.  DONTNEED makes the pages the next victims; the others set
 * nothing here (regions carry them).  That the store has errors is not told.
 * EINVAL, EBUSY (the store is claimed), ESTALE. */
int hurdmm_store_advise(struct hurdmm_store *store, uint64_t offset,
                        uint64_t length, enum hurdmm_advice advice);

/* Puts data into the cache unasked, as if the store had just filled it (clean):
 * whole blocks, absent or being filled; resident ones are left as they are, and so
 * is what is just being discarded or cut off.  A fill that is overtaken so goes on,
 * for nothing: before it ends the page may be written, or leave and be filled anew.
 * Answers a fault of a full store, or pushes what it happens to have.  *done is
 * always written.  EINVAL, ENOMEM, EDQUOT (who pays for the store has no more),
 * ESTALE.  Class: store. */
int hurdmm_store_supply(struct hurdmm_store *store, uint64_t offset,
                        const void *buffer, size_t length, size_t *done);

/* The same with frames of a container, which move into the cache and leave the
 * container: no byte is copied.  A block moves whole or not at all.  ENOENT (the
 * container has a hole there), EEXIST (resident already), EBUSY (pinned), EDEADLK
 * (from a callback that is told that the range goes), or the error with which the
 * container's page was lost.  *done as above.  Class: store. */
int hurdmm_store_cache(struct hurdmm_store *store, uint64_t offset,
                       struct hurdmm_container *container,
                       uint64_t container_offset, size_t length, size_t *done);

/* What is known of a page. */
#define HURDMM_STATE_RESIDENT 1u
#define HURDMM_STATE_DIRTY 2u
#define HURDMM_STATE_FILLING 4u
#define HURDMM_STATE_WRITING 8u
#define HURDMM_STATE_FAILED 16u      /* cannot be filled: `error` */
#define HURDMM_STATE_WRITE_ERROR 32u /* last write-back failed: `error` */
#define HURDMM_STATE_PINNED 64u
/* The state of the page at `offset`; *error (may be NULL) its error or 0.  What is
 * said may have changed when this returns.  EINVAL (past the size), EBUSY (the
 * store is claimed), ESTALE; nothing is written then. */
int hurdmm_store_state(struct hurdmm_store *store, uint64_t offset,
                       unsigned *state, int *error);

/* Why a full store is asked. */
#define HURDMM_WHY_ABSENT 0u
#define HURDMM_WHY_DISCARDED 1u /* absent because it was discarded */

struct hurdmm_request_info {
    struct hurdmm_store *store;
    struct hurdmm_space *space; /* NULL: no region, a read or write */
    uintptr_t address;          /* that faulted, 0 without a region */
    uintptr_t region;           /* where the region begins */
    uint64_t offset;            /* of the first byte wanted, in the store */
    size_t length;              /* bytes wanted, whole blocks */
    unsigned access;            /* HURDMM_READ or HURDMM_WRITE */
    unsigned why;               /* HURDMM_WHY_... */
    uint64_t thread;            /* that faulted, as the port names it */
};

/* Says what is wanted.  Class: store. */
void hurdmm_request_get_info(const struct hurdmm_request *request,
                             struct hurdmm_request_info *info);
/* Private memory of info.length bytes to put the data in: hidden from the
 * application until the request is completed with 0, which then installs it.
 * Class: store. */
void *hurdmm_request_buffer(struct hurdmm_request *request);
/* Answers: with 0 what was put in the buffer is installed, or what was supplied
 * or cached meanwhile is used; if nothing was, every waiter gets EIO.  With an
 * errno value every waiter gets that.  The request is gone.  Class: store. */
void hurdmm_request_complete(struct hurdmm_request *request, int error);
/* The same when only the first `done` bytes of the buffer are there: `error` (0
 * counts as EIO) is for the first byte that is not.  Class: store. */
void hurdmm_request_complete_part(struct hurdmm_request *request, size_t done,
                                  int error);

/* What write_start is to write, as page_out would be told.  The buffer is the
 * library's and stays as it is until the write is completed. */
struct hurdmm_writeback_info {
    struct hurdmm_store *store;
    uint64_t offset;
    const void *buffer;
    size_t length;
};

/* Says what is to be written.  Class: store. */
void hurdmm_writeback_get_info(const struct hurdmm_writeback *write,
                               struct hurdmm_writeback_info *info);
/* The first `done` bytes were written; `error` (0 counts as EIO) is for the
 * first that was not.  The write is gone.  Class: store. */
void hurdmm_writeback_complete(struct hurdmm_writeback *write, size_t done,
                               int error);

#ifdef __cplusplus
}
#endif

#endif
