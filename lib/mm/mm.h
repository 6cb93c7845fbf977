/* SPDX-License-Identifier: MIT */
/* mm.h - what the files of lib/mm share: managers, stores, regions, pages.
 *
 * One lock.  Each manager has one lock over all its structures.  It is taken
 * inside the port's critical section (hmm_enter, hmm_leave) and is never held
 * over a store's code, I/O, or a wait: whoever drops it must look everything up
 * again.  Functions that may have dropped it say EAGAIN: "look again".
 *
 * A page of a store's cache and its states (page.c makes every transition):
 *
 *              fill            publish           first write
 *     absent ------> filling --------> clean ---------------> dirty
 *       ^ ^             |                ^ |                    |
 *       | |   error     v                | | evict, drop        | launder
 *       | +---------- failed             | v                    v
 *       +---------------------------- (absent)    clean <--- writing
 *                                                 dirty <------'  failed, or
 *                                                                 written to
 *
 * Invariants
 *   M1  a filling page's frame belongs to one request, and nothing is lent;
 *   M2  a page lent to write is dirty;
 *   M3  a page being written is lent to read at most, or has got a frame other
 *       than the one that the run reads;
 *   M4  a page is ranked by the policy iff it is resident, not filling, not pinned
 *       and a store's: those of containers never leave;
 *   M5  store->dirty, ->writing and the manager's sums count slots;
 *   M6  a block larger than a page is wholly there or wholly absent;
 *   M7  nobody but the holder of store->hold begins to fill pages inside it, makes
 *       them dirty or writes them back, or pushes any there;
 *   M8  in a store whose writes are noted a page lent to write is HMM_WRITTEN.
 */
#ifndef HMM_MM_MM_H
#define HMM_MM_MM_H

#include <stdbool.h>

#include "hurdmm/error.h"
#include "hurdmm/hurdmm.h"
#include "lib/base/assert.h"
#include "lib/base/list.h"
#include "lib/base/lock.h"
#include "lib/base/math.h"
#include "lib/base/string.h"
#include "lib/physmem/physmem.h"

/* Tag bits of a slot. */
#define HMM_TAG(n) (UINT64_C(1) << (HMM_TAG_SHIFT + (n)))
#define HMM_FILLING HMM_TAG(0)
#define HMM_DIRTY HMM_TAG(1)
#define HMM_WRITING HMM_TAG(2)
#define HMM_FAILED HMM_TAG(3)      /* no frame; the error is in the slot */
#define HMM_WRITE_ERROR HMM_TAG(4) /* likewise, of the last write-back */
#define HMM_ON_TRIAL HMM_TAG(5)    /* taken back to see whether it is used */
#define HMM_UNLOCKED HMM_TAG(6)    /* the store has been asked to make room */
#define HMM_RANKED HMM_TAG(7)      /* the policy knows it */
#define HMM_UNLOCKING HMM_TAG(8)   /* the store is being asked */
#define HMM_DISCARDED HMM_TAG(9)   /* no frame: it was dropped unwritten */
#define HMM_AHEAD HMM_TAG(10)      /* read ahead, not touched yet */
#define HMM_OWN HMM_TAG(11)    /* no frame: the store has it, not the bond */
#define HMM_SAMPLE HMM_TAG(12) /* was read in: will it be written to? */
#define HMM_VICTIM                                                             \
    HMM_TAG(13) /* named in the sweep that is being put together */
#define HMM_WRITTEN HMM_TAG(14) /* since it was last said: dirty.c */
#define HMM_MARKER (HMM_FAILED | HMM_DISCARDED | HMM_OWN)
#define HMM_ERROR_SHIFT 56
#define HMM_ERROR_MASK (UINT64_C(0xff) << HMM_ERROR_SHIFT)
#define HMM_ERROR_MAX 0xff

/* Answers of internal functions beside errno values. */
#define HMM_LATER (-1) /* the fault waits; whoever wakes it will answer */

/* The longest run that is written or copied at once, in pages. */
#define HMM_RUN_MAX 64u

#define HMM_MAGIC_MANAGER 0x484d4d01u
#define HMM_MAGIC_SPACE 0x484d4d02u
#define HMM_MAGIC_STORE 0x484d4d03u
#define HMM_MAGIC_CONTAINER 0x484d4d04u
#define HMM_MAGIC_ACCOUNT 0x484d4d06u
#define HMM_MAGIC_GRANT 0x484d4d07u
#define HMM_MAGIC_REQUEST 0x484d4d05u
#define HMM_MAGIC_WRITE 0x484d4d08u

#define HMM_SIZE_CLASSES 7u /* of hurdmm_allocate: 64 bytes to 4 KiB */
#define HMM_CHORES_MAX 16u

enum hmm_chore_kind {
    HMM_CHORE_FLUSH,
    HMM_CHORE_RETURN,
    HMM_CHORE_SYNC,
    HMM_CHORE_PREFETCH
};

/* So many of the pages lent last are spared as long as others will do, or a page
 * might be gone each time before the thread that wants it has run. */
#define HMM_RECENT 8u

/* A range of pages to be done in the background; chore.c. */
struct hmm_chore {
    enum hmm_chore_kind kind;
    struct hurdmm_store *store; /* NULL: it has gone */
    uint64_t first, last;       /* pages, inclusive */
};

struct hurdmm {
    struct hmm_list unused; /* keeps the magic away from a slab's links */
    uint32_t magic;
    unsigned flags;
    struct hurdmm_port *port;
    const struct hurdmm_port_ops *ops;
    struct hurdmm_port_info info;
    struct hmm_parker parker;
    struct hmm_lock lock;
    uint32_t entering; /* threads that wait for the lock; atomic */
    uintptr_t cookie;  /* of the critical section of whoever has the lock */

    struct hmm_core core;
    struct hmm_physmem physmem;
    struct hmm_slab space_slab, store_slab, region_slab;
    struct hmm_slab account_slab, grant_slab;
    struct hmm_slab run_slab; /* of the laundry, under way */
    struct hmm_slab request_slab, waiter_slab, catcher_slab, arena_slab;
    struct hmm_slab grade_slab;
    struct hmm_slab size_slab[HMM_SIZE_CLASSES];
    struct hmm_large *large_free; /* larger pieces of hurdmm_allocate */

    struct hmm_list spaces, stores, containers;
    struct hmm_list accounts, grants;
    struct hurdmm_account *account; /* the manager's own */
    struct hmm_list zombies;        /* kept for those who depend on them */
    struct hurdmm_space *own;
    struct hmm_list requests;  /* fills that are being answered */
    struct hmm_list calls;     /* stores' callbacks that are running */
    struct hmm_list waiters;   /* for pages */
    struct hmm_list ready;     /* faults to be looked at again */
    struct hmm_event progress; /* a frame may have become free */

    const struct hurdmm_policy_ops *policy;
    void *policy_state;
    uint32_t ranked;
    struct hmm_shelves *shelves; /* NULL: nobody has set a priority */

    /* In frames. */
    uint32_t budget, reserve, low, high, dirty_limit, pin_limit;
    uint32_t budget_max, readahead;
    uint32_t dirty, writing, filling, pinned, trial;
    uint32_t to_write;   /* of the dirty ones: may be written unasked, and have
                          * not failed to be */
    uint64_t kept;       /* victims that their stores would keep */
    uint32_t dirty_hand; /* where the search for dirty pages goes on */
    uint32_t recent[HMM_RECENT]; /* 1 + frames lent last to who faulted */
    unsigned recent_next;
    uint32_t window_yield; /* pages that left with a victim lately, times 16 */

    struct hmm_bounce *bounces; /* free copy buffers */
    uint32_t copy_pages;        /* the longest copied run, but for blocks */
    struct hmm_chore chore[HMM_CHORES_MAX];
    unsigned chore_head, chore_count;

    struct hmm_event work; /* for the background thread */
    bool work_due;         /* nobody has looked since the last kick */
    bool reap_due;         /* a zombie may have lost its last dependent */
    bool reclaiming;       /* between the low mark and the high one */
    bool stopping;
    uint64_t *threads;
    unsigned thread_count;

    void (*log)(void *hook, const char *message);
    void (*fatal)(void *hook, const char *message);
    void *hook;
    uint32_t next_id;
    struct hurdmm_stats stats; /* the counters; the rest is computed */
};

struct hurdmm_account {
    struct hmm_list link;
    uint32_t magic;
    struct hurdmm *manager;
    struct hurdmm_account *parent; /* NULL: the manager's own */
    struct hmm_payer payer;
    uint64_t guaranteed, extra_limit; /* frames */
    uint64_t refused;
    uint32_t users; /* calls that will come back to it */
};

struct hurdmm_grant {
    struct hmm_list link;
    uint32_t magic;
    struct hurdmm *manager;
    struct hurdmm_store *container; /* NULL: it has gone */
    uint64_t offset, length;
    unsigned rights;
    uint32_t users; /* calls of holders that are under way */
    bool held;
    bool revoking;
    bool revoked;        /* and only there until it is closed */
    uint32_t opens;      /* holders that must be told that it is revoked */
    uint64_t held_until; /* by the port's clock */
};

struct hurdmm_space {
    struct hmm_list link;
    uint32_t magic;
    struct hurdmm *manager;
    void *token;
    struct hmm_span_tree regions;
    struct hmm_index starts;     /* regions by first address, for look-ups */
    bool starts_known;           /* else there was no memory for it */
    struct hmm_span_tree arenas; /* what the port reserved for us */
    struct hmm_span_tree catchers;
    size_t arena_size; /* of the next one */
    uintptr_t hand;    /* where hmm_space_make_room goes on */
};

struct hmm_region {
    struct hmm_span by_address;
    struct hmm_mapping mapping; /* its container is the store's cache */
    struct hurdmm_space *space;
    struct hurdmm_store *store; /* NULL: reserved */
    struct hurdmm_grant *grant; /* through which it was mapped, or NULL */
    uint8_t rights, max_rights;
    uint8_t advice;
    uint8_t wired;      /* enum hmm_wired */
    uint32_t window;    /* pages filled by the last cluster; 0: none yet */
    uint64_t next_page; /* of the store: where a sequential reader would fault
                         * next; fill.c */
    uint16_t written;   /* how many samples were written to: fault.c */
    uint16_t foreseen;  /* pages since the last sample */
    hurdmm_first_write *first_write; /* NULL: nobody wants to know */
    void *first_write_hook;
};

/* A region of HURDMM_BIND_WIRED while its pages are brought in, and when each of
 * them has a pin of the region's own. */
enum hmm_wired { HMM_NOT_WIRED, HMM_WIRING, HMM_WIRED };

struct hurdmm_store {
    struct hmm_list link;
    uint32_t magic;
    uint32_t id; /* no two have the same; 0 when it has ended */
    struct hurdmm *manager;
    struct hurdmm_store_ops ops; /* with NULL for what is missing */
    const struct hurdmm_store_ops *given_ops; /* as it was created */
    void *hook;
    char name[32];
    uint64_t size;
    uint32_t block_pages;
    unsigned flags;
    struct hurdmm_account *account; /* that pays for the cache */
    struct hmm_container cache;
    struct hmm_span_tree grades; /* ranges of pages with other priorities */
    int priority;
    uint32_t users;    /* calls that will come back to it */
    uint32_t requests; /* fills being answered */
    uint32_t claims;   /* stores that stand on it: claim.c */
    uint64_t dirty, writing;
    uint64_t pinned;
    int write_error; /* of the background, not yet reported */
    bool dying;
    bool claimed_to_write;
    bool container;        /* of the public kind: no store behind it */
    bool zombie;           /* destroyed, but others depend on it */
    bool tracked;          /* M8: writes are noted */
    bool left_all;         /* there was no memory for `left' */
    struct hmm_index left; /* pages that were written and are not there: a bit
                            * for each of 64 by their number */
    bool held;             /* M7 */
    uint64_t hold_first, hold_last;
    uint64_t hold_thread; /* whose hold it is */
};

/* Who wants a page, and what for.  On the stack of who asks; it lives over several
 * rounds, between which the lock is dropped: in each round the first part is set
 * anew, and the last tells the next round what has been done already. */
struct hmm_want {
    /* Set by who asks.  hmm_obtain makes store and page the home's, where the
     * contents are. */
    struct hurdmm_store
        *store; /* NULL after a lend without the lock: fault.c */
    uint64_t page;
    unsigned access;           /* HURDMM_READ... */
    uint64_t thread;           /* that wants it, as the port names it */
    struct hmm_region *region; /* NULL: through the cache */
    uintptr_t address;         /* with a region: of the fault, any byte */
    const struct hurdmm_fault *fault; /* NULL: who asks waits on this thread */
    uint64_t ahead;                   /* no region: pages of use, 0: one */
    bool prefetch;                    /* nobody waits for it */
    bool raw;         /* read where it is, though it will not be lent there */
    bool own;         /* not through a copy on write */
    size_t overwrite; /* so many bytes from its first on will be written,
                       * whatever they are now */

    /* Said by hmm_obtain. */
    uint64_t view; /* the page that was asked for, before bonds were followed */
    bool read_only; /* it was reached through a copy on write */
    bool blank;     /* it has just been made with zeros, to be overwritten */

    /* From round to round. */
    uint32_t got;    /* pages that the store was asked for */
    bool filled;     /* the store was asked */
    bool joined;     /* somebody else was waited for */
    bool throttled;  /* it has done its share of writing */
    uint8_t refused; /* how often by the port, for want of memory */
};

/* A fill that is being answered; struct hurdmm_request in the public API.  On
 * manager->requests, and counted in store->requests, from begin to finish (fill.c);
 * guarded by the lock, but for what the store may read meanwhile: the description
 * and the buffer's bytes. */
struct hurdmm_request {
    struct hmm_list link;
    uint32_t magic; /* 0 when it has been answered */
    uint32_t count; /* pages */
    struct hurdmm_store *store;
    uint64_t first;   /* page; a block begins there */
    uint32_t wanted;  /* of them: the first block, what was asked for */
    uint32_t run;     /* first frame of the buffer, which are in a row */
    bool buffer_used; /* complete(0) means that it is full; set by its store */
    bool read_once;   /* for the policy: HURDMM_PAGE_READ_ONCE */
    bool unasked;     /* a prefetch: errors are not remembered */
    size_t length;    /* bytes, cut at the store's size; not 0 */
    void *buffer;     /* the frames' window */
    struct hurdmm_request_info info;
    uint64_t executor;              /* thread in the callback, 0: none */
    struct hmm_fill_result *result; /* of that thread, on its stack; or NULL */
};

/* How a request ended while the callback that began it still ran. */
struct hmm_fill_result {
    bool finished;
    int error; /* of the wanted block */
};

/* One running callback, on the stack of the thread that runs it, and on
 * manager->calls. */
struct hmm_call {
    struct hmm_list link;
    struct hurdmm_store *store;
    uint64_t thread; /* that runs it */
    uint64_t behalf; /* the thread that waits for it, 0: nobody, or itself */
    uintptr_t met;   /* where its thread is said to have faulted in it */
};

enum hmm_waiter_kind { HMM_WAITER_THREAD, HMM_WAITER_FAULT };

/* Somebody who waits for a page: on manager->waiters, and, a fault that was woken, on
 * manager->ready.  A thread's lies on its stack, a fault's in waiter_slab. */
struct hmm_waiter {
    struct hmm_list link;
    struct hurdmm_store *store; /* with the page: what is waited for */
    uint64_t page;
    enum hmm_waiter_kind kind;
    uint64_t thread;           /* that cannot go on */
    int error;                 /* it was woken with; 0: look again */
    uint32_t word;             /* THREAD: 1 when woken; atomic */
    struct hurdmm_fault fault; /* FAULT: to be answered */
};

struct hmm_bounce {
    struct hmm_bounce *next;
    uint32_t pages;
    void *bytes;
};

struct hmm_catcher {
    struct hmm_span span;
    int (*call)(void *hook, const struct hurdmm_catch_info *info);
    void *hook;
};

struct hmm_arena {
    struct hmm_span span;
    bool exact; /* made for one bind; goes with it */
    unsigned
        way; /* in which faults are answered: HURDMM_RESERVE_INLINE, _TRACKED */
};

/* manager.c: entering and leaving. */
int hmm_enter(struct hurdmm *manager);
/* The same without waiting; false: somebody is inside. */
bool hmm_enter_try(struct hurdmm *manager);
/* After a leave in the middle of something; cannot fail. */
void hmm_enter_again(struct hurdmm *manager);
void hmm_leave(struct hurdmm *manager);
/* Gives the lock up but not the critical section, for what others wait for while
 * they have the lock: if a signal came to this thread then, and its handler
 * faulted, none of them would go on.  Back with what was returned. */
uintptr_t hmm_step_aside(struct hurdmm *manager);
void hmm_step_back(struct hurdmm *manager, uintptr_t cookie);
/* Leaves, lets one of those by who wait, if any do, and enters again: the lock
 * itself is not fair. */
void hmm_give_way(struct hurdmm *manager);
int hmm_enter_manager(struct hurdmm *manager);
int hmm_enter_space(struct hurdmm_space *space);
int hmm_enter_store(struct hurdmm_store *store);
uint64_t hmm_thread_self(struct hurdmm *manager);
void hmm_broken(struct hurdmm *manager, const char *what);
/* Says a line to the log hook; the lock is dropped for it. */
void hmm_log(struct hurdmm *manager, const char *message);
/* A copy buffer of `pages` or more: NULL when there is no memory. */
struct hmm_bounce *hmm_bounce_get(struct hurdmm *manager, uint32_t pages);
void hmm_bounce_put(struct hurdmm *manager, struct hmm_bounce *bounce);

/* Somebody has entered: what is called with the lock asserts it. */
static inline bool hmm_entered(const struct hurdmm *manager)
{
    return hmm_lock_held(&manager->lock);
}

/* Is there one place for a frame's bytes, wherever it is lent? */
static inline bool hmm_frames_stay(const struct hurdmm *manager)
{
    return manager->info.features & HURDMM_PORT_ALIAS;
}

/* Where frames move: may the store's pages be at all its addresses at once? */
static inline bool hmm_store_shares(const struct hurdmm_store *store)
{
    return store->flags & HURDMM_STORE_SHARED &&
           store->manager->info.features & HURDMM_PORT_SHARES;
}

static inline size_t hmm_page_bytes(const struct hurdmm *manager)
{
    return (size_t)1 << manager->physmem.page_shift;
}

/* The largest of the port's page sizes that divides `at`, as bytes, and is not
 * above `length`; the page itself if no other does. */
static inline size_t hmm_large_page(const struct hurdmm *manager, uint64_t at,
                                    uint64_t length)
{
    uint64_t sizes = manager->info.page_sizes & ((at & -at) * 2 - 1);
    size_t size = hmm_page_bytes(manager);

    for (; sizes != 0; sizes &= sizes - 1) {
        uint64_t lowest = sizes & -sizes;

        if (lowest > size && lowest <= length)
            size = (size_t)lowest;
    }
    return size;
}

/* What a callback said: a number that is no errno value would be taken for an
 * answer of ours (HMM_LATER), or not fit into a slot. */
static inline int hmm_callback_error(int err)
{
    return err >= 0 && err <= HMM_ERROR_MAX ? err : EIO;
}

/* The same of a write or sync.  A fill that says EAGAIN is asked for again; a
 * write that does would count as one that has not been tried. */
static inline int hmm_drain_error(int err)
{
    return err == EAGAIN ? EIO : hmm_callback_error(err);
}

/* Pages that the store has, the last one perhaps in part. */
static inline uint64_t hmm_store_pages(const struct hurdmm_store *store)
{
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t mask = (UINT64_C(1) << shift) - 1;

    return (store->size >> shift) + ((store->size & mask) != 0);
}

/* page.c: one page's transitions and the waits for them. */
bool hmm_resident(const uint64_t *slot);
struct hurdmm_store *hmm_frame_store(struct hurdmm *manager, uint32_t frame);
void hmm_page_publish(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                      unsigned how);
void hmm_page_dirty(struct hurdmm_store *store, uint64_t *slot);
void hmm_page_clean(struct hurdmm_store *store, uint64_t *slot);
void hmm_page_touched(struct hurdmm_store *store, uint64_t *slot);
/* The same, unless the access is the one that brought the page: that says
 * nothing about a second one, and the policy must be able to tell. */
void hmm_page_used(const struct hmm_want *want, uint64_t *slot);
void hmm_page_rank(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                   unsigned how);
void hmm_page_unrank(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                     bool evicted);
/* Frees the page: nothing is lent, nobody pins, fills or writes it. */
void hmm_page_drop(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                   bool evicted);
bool hmm_page_pinned(const struct hurdmm *manager, uint64_t slot);
/* Copies the bytes of a page that is lent to read at most, wherever they are.
 * EFAULT: they are gone. */
int hmm_frame_bytes(struct hurdmm_store *store, uint64_t page, uint64_t slot,
                    void *buffer);
bool hmm_page_is_pinned_for(struct hurdmm *manager, const uint64_t *slot,
                            unsigned access);
/* Counts a pin of the page off, and on again before the lock is dropped: so who
 * checks a range finds each pin once, where pages of it have one home.  False: there
 * is none. */
bool hmm_page_pin_off(struct hurdmm *manager, const uint64_t *slot,
                      unsigned access);
void hmm_page_pin_on(struct hurdmm *manager, const uint64_t *slot,
                     unsigned access);
/* EDQUOT: pin_limit, or more pins than can be counted. */
int hmm_page_pin(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                 unsigned access);
void hmm_page_unpin(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                    unsigned access);
void hmm_page_absent(struct hurdmm_store *store, uint64_t page, uint64_t *slot,
                     uint64_t marker);
uint64_t *hmm_home_slot(struct hmm_want *want);
/* Gives a page that is being written a frame of its own to write to. */
int hmm_page_renew(struct hurdmm_store *store, uint64_t page, uint64_t *slot);
/* Waits until somebody wakes the page: EAGAIN, HMM_LATER (the fault is queued),
 * EDEADLK, or the error that the page's waiters were given.  The lock is dropped but
 * for HMM_LATER and EDEADLK. */
int hmm_page_wait(struct hmm_want *want, uint64_t page);
/* Wakes those who wait for [first, first + count) with `error` or 0. */
void hmm_page_wake(struct hurdmm_store *store, uint64_t first, uint64_t count,
                   int error);
/* Whether `thread`, by waiting for the page, would wait for itself. */
bool hmm_would_deadlock(struct hurdmm_store *store, uint64_t thread,
                        uint64_t page);
/* Bracket a call of the store's code, which runs without the lock. */
void hmm_call_begin(struct hmm_call *call, struct hurdmm_store *store,
                    uint64_t behalf);
void hmm_call_end(struct hmm_call *call);
bool hmm_in_callback(struct hurdmm *manager, uint64_t thread);

/* Takes a range for itself (M7): waits for what is filled or written in it.  0, or
 * EDEADLK: a callback of the store would wait for its own end. */
int hmm_hold(struct hurdmm_store *store, uint64_t first, uint64_t last);
/* Wakes who waited for it; does not drop the lock. */
void hmm_unhold(struct hurdmm_store *store);
/* As hmm_hold, when nobody depends on the range by copy on write any more: their
 * pages are settled first.  Also the errors of settling: ENOMEM, EDQUOT, the stores'. */
int hmm_hold_settled(struct hurdmm_store *store, uint64_t first, uint64_t last);
/* Is some page of [first, last] held? */
static inline bool hmm_range_held(const struct hurdmm_store *store,
                                  uint64_t first, uint64_t last)
{
    return store->held && first <= store->hold_last &&
           last >= store->hold_first;
}
static inline bool hmm_page_held(const struct hurdmm_store *store,
                                 uint64_t page)
{
    return hmm_range_held(store, page, page);
}

/* fill.c: bringing pages in. */
/* Asks the store for the absent page in `want`, or waits for who holds it.  Never 0:
 * EAGAIN, the page may be there now; HMM_LATER; EDEADLK; ENOMEM; EDQUOT; or the error
 * of the store.  May drop the lock, whatever it says. */
int hmm_fill(struct hmm_want *want);
/* Gives an absent page a frame that the caller will write wholly: 0 and the
 * lock was not dropped, EAGAIN, or the error. */
int hmm_fill_blank(struct hmm_want *want);
/* Brings a range in unasked, as far as memory is free.  Drops the lock. */
void hmm_prefetch(struct hurdmm_store *store, uint64_t first, uint64_t last);
/* The fault of `want' has been answered, or waits: if it goes straight on, begins to
 * fill what comes next.  Drops the lock if there is something to begin. */
void hmm_read_on(struct hmm_want *want);
/* Is the region of `want', which was in the space with this token, still there, with
 * the same store?  For who has dropped the lock: neither is looked at before. */
bool hmm_still_there(struct hurdmm *manager, void *token,
                     const struct hmm_want *want);
/* Would hmm_read_on begin anything?  The lock is not dropped. */
bool hmm_reads_on(const struct hmm_want *want);

/* fault.c: what faults and accesses through the cache have in common. */
/* Makes the page resident and, for writing, writable: dirty, unlocked, not read
 * by the laundry.  0 with the lock never dropped since the page was looked at, and
 * *slot is its home's, which *want names then.  EAGAIN: set *want anew and ask again;
 * HMM_LATER (only with want->fault): the fault is queued.
 * ENXIO (past the store's end), ENOENT (a hole of a container), EROFS, EDEADLK,
 * EFAULT (the application dropped the page's bytes, and it cannot go), ENOMEM,
 * EDQUOT, what the store says, or the error that the page remembers. */
int hmm_obtain(struct hmm_want *want, uint64_t **slot);
/* After the port answered ENOMEM to a lend or reclaim for `want`: makes room.
 * EAGAIN, or ENOMEM: it was tried often enough. */
int hmm_port_room(struct hmm_want *want);
/* May the page be lent to write although only a read was asked for? */
bool hmm_write_too(const struct hmm_want *want, uint64_t slot);
/* Must the store be asked for room before the page is written?  So it can be of a
 * dirty page, too: one that came as a copy. */
static inline bool hmm_must_unlock(const struct hurdmm_store *store,
                                   uint64_t slot)
{
    return store->ops.unlock && !(slot & HMM_UNLOCKED);
}
/* The same, or must its first write be noted? */
static inline bool hmm_must_note(const struct hurdmm_store *store,
                                 uint64_t slot)
{
    return hmm_must_unlock(store, slot) ||
           (store->tracked && !(slot & HMM_WRITTEN));
}
/* Lends the page of a region, with neighbours that cost nothing. */
int hmm_lend_around(struct hmm_want *want, uint64_t *slot);
/* Enters, answers, leaves and tells the port. */
void hmm_fault_serve(struct hurdmm *manager, const struct hurdmm_fault *fault);
int hmm_fault_inline(void *client, const struct hurdmm_fault *fault);
/* soft.c: see struct hurdmm_port_config. */
int hmm_fault_soft(void *client, const struct hurdmm_fault *fault);
/* Looks again at faults that were woken; the lock is held. */
void hmm_ready_run(struct hurdmm *manager);

/* dirty.c: which pages were written. */
/* The page is about to be written, by whoever it is. */
static inline void hmm_page_written(const struct hurdmm_store *store,
                                    uint64_t *slot)
{
    if (store->tracked)
        hmm_index_mark(slot, HMM_WRITTEN);
}
/* The page changes, and is not there any more. */
void hmm_page_left(struct hurdmm_store *store, uint64_t page);
/* A page comes in: was it written before it left?  Then its slot says so. */
void hmm_page_back(struct hurdmm_store *store, uint64_t page, uint64_t *slot);
/* Does somebody want to be told before this access writes? */
bool hmm_first_write(const struct hmm_want *want, uint64_t slot);
/* Tells.  EAGAIN, or an error. */
int hmm_tell_first_write(struct hmm_want *want);
/* The library is going to write to a page that it has obtained; where the port
 * notes the application's writes itself, it is told. */
int hmm_note_write(struct hurdmm_store *store, uint64_t page, uint64_t *slot);
/* Is a part of the range shown by a region that the port watches? */
bool hmm_wired_in(const struct hurdmm_store *store, uint64_t first,
                  uint64_t last);
/* Some page of the range of a region that is wired has another pin than the
 * region's. */
bool hmm_wired_busy(const struct hurdmm_store *store, uint64_t first,
                    uint64_t last);
/* Wires the range that was just bound: all there, pinned, and not written. */
int hmm_wire(struct hurdmm_space *space, uintptr_t address, size_t length);
/* The region goes: so do its pins. */
void hmm_unwire(struct hmm_region *region);

/* reclaim.c: frames, and how to come by them. */
/* Takes up to `want` frames in a row; EAGAIN: the lock was dropped to make room;
 * ENOMEM: there is none to be had. */
int hmm_frames_get(struct hurdmm *manager, uint32_t want, uint32_t hint,
                   uint32_t *first, uint32_t *got);
/* Makes `target` frames free: 0 (the lock was not dropped), EAGAIN, ENOMEM. */
int hmm_reclaim(struct hurdmm *manager, uint32_t target);
/* Takes others than what was lent just now, if there are any. */
void hmm_reclaim_others(struct hurdmm *manager, uint32_t target);
/* One step of background work; true: there is more. */
bool hmm_background(struct hurdmm *manager);
void hmm_kick(struct hurdmm *manager);
/* Who wants the page has not run yet: it is spared while others will do. */
void hmm_note_recent(struct hurdmm *manager, const uint64_t *slot);
bool hmm_frame_recent(const struct hurdmm *manager, uint32_t frame);
uint32_t hmm_frames_free(const struct hurdmm *manager);

/* laundry.c: writing pages back. */
size_t hmm_run_size(void);    /* of what lies in run_slab */
#define HMM_LAUNDER_EVICT 1u  /* pages on trial leave when they are clean */
#define HMM_LAUNDER_ASKED 2u  /* also those that failed or must stay */
#define HMM_LAUNDER_VICTIM 4u /* also those lent just now: there is need */
/* Runs of one caller that are under way together, where stores can have that.
 * The caller keeps it until hmm_writes_end has returned. */
#define HMM_WRITES_MAX 8u /* each has a copy buffer */
struct hmm_writes {
    uint32_t running;
    int error;                 /* the first of those that have ended */
    struct hurdmm_store *kept; /* has begun some that it may keep back */
};
/* Writes the run of dirty pages around `page` within [first, last]; *end (may be
 * NULL) is the page after it.  Drops the lock.  0 or the error.  With `writes',
 * of which fewer than HMM_WRITES_MAX are running, it may be under way still. */
int hmm_launder(struct hurdmm_store *store, uint64_t page, uint64_t first,
                uint64_t last, unsigned how, uint64_t *end,
                struct hmm_writes *writes);
/* Waits until there is room for one more.  Drops the lock only if there is not. */
void hmm_writes_room(struct hurdmm *manager, struct hmm_writes *writes);
/* Waits until all have ended. */
void hmm_writes_end(struct hurdmm *manager, struct hmm_writes *writes);
/* Writes what was dirty in [first, last] when called; waits. */
int hmm_flush(struct hurdmm_store *store, uint64_t first, uint64_t last);
/* May its dirty pages be written without being asked? */
bool hmm_may_launder(const struct hurdmm_store *store);
/* Writes some dirty page, any store's: 0, or ENOENT: there is none to write. */
int hmm_launder_any(struct hurdmm *manager);
/* Drops clean, unpinned pages of [first, last] without the lock being dropped;
 * EBUSY when some are pinned. */
int hmm_drop_range(struct hurdmm_store *store, uint64_t first, uint64_t last,
                   bool dirty_too);
/* Drops the block of `page`, if none of it is dirty, pinned or busy; says how
 * many pages that freed. */
uint32_t hmm_drop_block(struct hurdmm_store *store, uint64_t page);
/* The application dropped the bytes of a lent page by means of its own: discards
 * the page's block.  EAGAIN: look again; EFAULT: it cannot go. */
int hmm_drop_lost(struct hurdmm_store *store, uint64_t page);
/* Makes the resident pages of a range the policy's next victims. */
void hmm_cool_range(struct hurdmm_store *store, uint64_t first, uint64_t last);
/* The durable part of sync.  Drops the lock. */
int hmm_store_settle(struct hurdmm_store *store, uint64_t offset,
                     uint64_t length);

/* region.c, space.c */
struct hmm_region *hmm_region_at(struct hurdmm_space *space, uintptr_t address);
/* Is a page that is lent through one of the store's regions at the others' too?
 * Not where it is read through a bond: that is another object's address. */
bool hmm_page_shares(const struct hurdmm_store *store, uint64_t page);
struct hmm_region *hmm_region_next(struct hmm_region *region);
uint64_t hmm_region_page(const struct hmm_region *region, uintptr_t address);
/* Checks what every call by address checks, and enters.  *last is the range's
 * last byte. */
int hmm_enter_range(struct hurdmm_space *space, uintptr_t address,
                    size_t length, uint64_t *last);
/* Is every byte bound, and to something that allows `rights`?  ENOENT, EACCES. */
int hmm_check_covered(struct hurdmm_space *space, uint64_t first, uint64_t last,
                      unsigned rights);
/* Is any page pinned that the space shows?  Pages that are pinned by nothing but
 * being in a wired region do not count.  Locked. */
bool hmm_space_pinned(struct hurdmm_space *space);
/* Is any page pinned otherwise than by being in a region that is wired? */
bool hmm_pins_left(struct hurdmm *manager);
/* hurdmm_bind without HURDMM_BIND_WIRED and _POPULATE, and hurdmm_unbind, by who has
 * entered: the lock is not dropped.  The space has been looked at. */
int hmm_bind(struct hurdmm *manager, const struct hurdmm_bind_options *bind,
             uintptr_t *address);
int hmm_unbind(struct hurdmm_space *space, uint64_t first, uint64_t last);
/* Would hmm_unbind say EBUSY? */
int hmm_unbind_check(struct hurdmm_space *space, uint64_t first, uint64_t last);
/* Makes regions begin and end at the ends of the range.  ENOMEM: some would have
 * to be split. */
int hmm_regions_cut(struct hurdmm_space *space, uint64_t first, uint64_t last);
/* Takes rights back from about so many pages, which stay in memory, for the port
 * to have mappings again.  Whether it took any. */
bool hmm_space_make_room(struct hurdmm_space *space, uint32_t pages);
/* Finds or makes room for a region; where any address will do, a multiple of
 * `align`, a power of two that is not above `length`. */
int hmm_space_room(struct hurdmm_space *space, uintptr_t address, size_t length,
                   size_t align, unsigned flags, uintptr_t *found);
/* The way in which faults at an address are answered: HURDMM_RESERVE_... */
unsigned hmm_space_way(const struct hurdmm_space *space, uintptr_t address);
void hmm_space_shrink(struct hurdmm_space *space, uintptr_t address,
                      size_t length);
void hmm_space_unbind_all(struct hurdmm_space *space);
void hmm_region_remove(struct hmm_region *region);
/* Unbinds every region of the store, or none. */
int hmm_store_detach(struct hurdmm_store *store);
struct hurdmm_space *hmm_space_by_token(struct hurdmm *manager, void *token);
int hmm_space_make(struct hurdmm *manager, void *token,
                   struct hurdmm_space **space);
void hmm_space_end(struct hurdmm_space *space);

/* chore.c: work that nobody waits for */
/* Queues it; neighbours of one kind become one.  False: the queue is full. */
bool hmm_chore_add(struct hurdmm *manager, enum hmm_chore_kind kind,
                   struct hurdmm_store *store, uint64_t first, uint64_t last);
/* The store is going. */
void hmm_chore_forget(struct hurdmm_store *store);
/* Does the first; false: there was none.  Drops the lock. */
bool hmm_chore_run(struct hurdmm *manager);

/* stats.c */
unsigned hmm_page_state(const struct hurdmm *manager, uint64_t slot);

/* store.c */
/* EBUSY while anything uses it. */
int hmm_store_in_use(const struct hurdmm_store *store);
/* Lets calls that are under way, of the background too, come to their ends.
 * What a full store has not answered yet may take for ever: it is not waited
 * for. */
void hmm_store_wait_idle(struct hurdmm_store *store);
/* claim.c: EBUSY where a claim keeps everybody else out. */
int hmm_claim_check(const struct hurdmm_store *store);
int hmm_store_destroy(struct hurdmm_store *store, unsigned flags);
/* Frees a store or container that nothing uses or depends on. */
void hmm_store_end(struct hurdmm_store *store);
static inline uint64_t hmm_last_page(const struct hurdmm_store *store)
{
    return UINT64_MAX >> store->manager->physmem.page_shift;
}
/* Some page of [first, last] is pinned. */
bool hmm_pinned_in(const struct hurdmm_store *store, uint64_t first,
                   uint64_t last);
/* The same, or, if `writers', only of pins for writing. */
bool hmm_pinned_for(const struct hurdmm_store *store, uint64_t first,
                    uint64_t last, bool writers);

/* copy.c: logical copies and what they mean for stores */
/* Gives a page that is read through a bond a copy of its own in `frame', which
 * shadows the bond: to drop the page again, marker included, is to undo it.  The
 * lock is not dropped.  EAGAIN: its home has no frame now.  On an error the frame is
 * the caller's. */
int hmm_own_shared(struct hurdmm_store *store, uint64_t page, uint32_t frame);
/* Gives a page that reads through a bond a slot of its own with the same
 * contents.  0: the lock was not dropped; EAGAIN; HMM_LATER; or an error. */
int hmm_materialize(struct hmm_want *want, struct hurdmm_store *store,
                    uint64_t page);
/* Gives every page that depends on this one its own contents, before it
 * changes; or its own error, where there are none to be had for good.  As
 * above. */
int hmm_settle_page(struct hmm_want *want, struct hurdmm_store *store,
                    uint64_t page);
/* The same for a range; may drop the lock.  0 or an error. */
int hmm_settle_range(struct hurdmm_store *store, uint64_t first, uint64_t last);
/* Takes every right on the range back, whoever reads it.  ENOMEM. */
int hmm_take_all(struct hurdmm_store *store, uint64_t first, uint64_t last);
/* Drops the bonds of a target's range.  ENOMEM: nothing was dropped. */
int hmm_unbond(struct hurdmm_store *store, uint64_t first, uint64_t last);
/* Gives a container's range up: what others depend on stays with them. */
int hmm_container_release(struct hurdmm_store *store, uint64_t first,
                          uint64_t last);

/* zombie.c: what is kept for those who depend on it */
/* Ends what nobody depends on any more; may drop the lock. */
void hmm_reap(struct hurdmm *manager);
/* Ends a store or container, now or when nobody depends on it any more.  Nothing
 * shows it. */
void hmm_bury(struct hurdmm_store *store);
/* Takes its handle from a store or container; what it has stays for others. */
void hmm_zombify(struct hurdmm_store *store);
/* Frees the slots of a range that nobody reads: nothing is shown, pinned, filled
 * or written, and no bond of this container's is in the way. */
void hmm_drop_slots(struct hurdmm_store *store, uint64_t first, uint64_t last);

/* priority.c */
/* A page of the store was ranked, in this frame; it is not any more. */
void hmm_shelf_put(struct hurdmm_store *store, uint64_t page, uint32_t frame);
void hmm_shelf_take(struct hurdmm *manager, uint32_t frame);
/* A discardable page with a lower priority than that in `frame`, of which
 * `may_go` approves; `chosen` is how many it may turn down because they were
 * chosen before.  HURDMM_FRAME_NONE. */
uint32_t hmm_shelf_lower(const struct hurdmm *manager, uint32_t frame,
                         bool (*may_go)(void *hook, uint32_t frame), void *hook,
                         uint32_t chosen);
void hmm_grades_init(struct hurdmm *manager);
/* ENOMEM: nothing was changed. */
int hmm_store_grade(struct hurdmm_store *store, uint64_t first, uint64_t last,
                    int priority);
void hmm_grades_drop(struct hurdmm_store *store);
bool hmm_shelves_check(struct hurdmm *manager);

/* account.c */
int hmm_account_make(struct hurdmm *manager, struct hurdmm_account *parent,
                     struct hurdmm_account **account);
/* May the store's account pay for `count` more frames?  For a cache, pages of
 * its own are dropped to make room.  0, EAGAIN (the lock was dropped), EDQUOT,
 * and for the manager's own account ENOMEM. */
int hmm_account_admit(struct hurdmm_store *store, uint64_t count);
/* The same for who will try something else when it is refused, and says at the end,
 * by hmm_account_refuse, what came of it. */
int hmm_account_try(struct hurdmm_store *store, uint64_t count);
void hmm_account_refuse(struct hurdmm_store *store, int err);
/* The sum of all guarantees but the manager's own. */
uint64_t hmm_account_promised(const struct hurdmm *manager);

/* grant.c */
void hmm_grants_forget(struct hurdmm_store *container);

/* container.c */
struct hurdmm_store *hmm_container_make(struct hurdmm *manager);
void hmm_container_end(struct hurdmm_store *container);
int hmm_enter_container(struct hurdmm_container *container);
static inline struct hurdmm_store *hmm_container_of(
    struct hurdmm_container *container)
{
    return (struct hurdmm_store *)(void *)container;
}
static inline struct hurdmm_store *hmm_store_of(struct hmm_container *cache)
{
    return HMM_CONTAINER_OF(cache, struct hurdmm_store, cache);
}

/* pager.c */
int hmm_threads_start(struct hurdmm *manager, unsigned pagers);
void hmm_threads_stop(struct hurdmm *manager);

/* check.c */
const char *hmm_check(struct hurdmm *manager);

/* A page-aligned range: EINVAL when it is not one. */
int hmm_range_check(const struct hurdmm *manager, uint64_t start,
                    uint64_t length);

#endif
