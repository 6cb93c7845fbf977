/* SPDX-License-Identifier: MIT */
/* hurdmm/port.h - the platform layer: one table of functions.
 *
 * Who needs this header: people who port the library to a new system, and the
 * ports themselves.  doc/porting.md walks through a port; tests/port/ is a
 * suite that takes a port and proves it.
 *
 * Preconditions, stated once for all functions and kept by the core:
 * addresses, offsets and sizes are page-aligned, ranges are not empty and do
 * not overflow; frames are below the number that open reported; lend and
 * reclaim stay inside what reserve gave; a frame that is lent to write at one
 * address is not lent to another space's address at the same time unless the
 * port has HURDMM_PORT_ALIAS.  Every function returns 0 or an errno value and
 * on error has done nothing, unless its comment says how much it did.
 *
 * Held and lent.  A frame is *held* (the library reads and writes it through
 * window), *lent to read* (both read) or *lent to write* (only the application
 * touches it).  It is the core that keeps track; the port does what it is told.
 * One exception: a page pinned for writing stays lent to write while the core
 * copies to or from it for a verb that its user called; who pins a page sees to
 * it that its writers are at rest.
 *
 * Locking.  The core calls lend, reclaim, reserve, release, core_map and window
 * one at a time, from any thread, between critical_enter and critical_leave
 * (but see HURDMM_PORT_LENDS_APART).
 * fault_wait, fault_done, the thread functions, park, wake and clock are called
 * from several threads at once.
 */
#ifndef HURDMM_PORT_H
#define HURDMM_PORT_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HURDMM_PORT_VERSION 1u

/* What a port can do, in struct hurdmm_port_info.features. */
#define HURDMM_PORT_ALIAS 1u /* one frame at many addresses; windows stay */
#define HURDMM_PORT_REFERENCED 2u /* reclaim reports referenced */
#define HURDMM_PORT_DIRTY 4u      /* reclaim reports dirty exactly */
#define HURDMM_PORT_INLINE 8u     /* may resolve on the faulting thread */
#define HURDMM_PORT_THREADS 16u   /* thread_start works */
#define HURDMM_PORT_SPACES 32u    /* can page spaces other than its own */
#define HURDMM_PORT_OVERTAKES 64u /* reclaim may take more than was asked */
#define HURDMM_PORT_SYSCALLS                                                   \
    128u                         /* system calls on absent pages are resolved */
#define HURDMM_PORT_EXECUTE 256u /* the execute right can be told from read */
/* Taking a page back moves its bytes: not worth it only to see whether it is
 * used.  Policies' trials are left out. */
#define HURDMM_PORT_NO_TRIALS 512u
/* lend and frame_read may be called without the core's lock (but in a critical
 * section), for frames that nobody lends, takes back or frees until they have
 * returned. */
#define HURDMM_PORT_LENDS_APART 1024u
/* Without HURDMM_PORT_ALIAS: ranges may show an object, and there is `share'.  A
 * frame may then be lent at all addresses that show the same page of one. */
#define HURDMM_PORT_SHARES 4096u

/* Ranges can be reserved with HURDMM_RESERVE_TRACKED, and there is `scan'. */
#define HURDMM_PORT_TRACKS 2048u

/* One row of physical memory.  Frames are numbered densely over all banks. */
struct hurdmm_bank {
    uint64_t base;        /* physical address of the first frame */
    uint32_t first_frame; /* its number */
    uint32_t frames;      /* how many */
};

#define HURDMM_BANKS_MAX 16

/* A page fault.  `token` belongs to the port. */
struct hurdmm_fault {
    void *space;       /* the port's token for the space, NULL: its own */
    uint64_t thread;   /* the thread that faulted, as thread_self names it */
    uintptr_t address; /* any byte of the page */
    uintptr_t instruction; /* where, 0: not known */
    unsigned access;       /* HURDMM_READ, HURDMM_WRITE or HURDMM_EXECUTE */
    uintptr_t token;
};

/* What the core tells a port when it opens it. */
struct hurdmm_port_config {
    size_t struct_size;
    uint64_t frames; /* frames wanted; the port may give fewer or more */
    uint64_t bytes;  /* used when frames is 0: memory wanted, rounded down */
    /* Resolves a fault on the calling thread, for ports with
     * HURDMM_PORT_INLINE: 0, or the error that the access must end with. */
    int (*fault)(void *client, const struct hurdmm_fault *fault);
    void *client;
    /* Answers a fault if that takes no waiting, no store and no lock that
     * somebody has: 0, and what the access needs is lent.  EAGAIN: the fault
     * goes the usual way, as if this had not been asked.  For ports whose
     * faults come to one thread; called outside of critical sections, with no
     * lock of the port that lend takes, and not after fault_stop. */
    int (*fault_soft)(void *client, const struct hurdmm_fault *fault);
};

/* What a port tells the core; open fills it. */
struct hurdmm_port_info {
    size_t struct_size;
    size_t page_size;    /* the base page, a power of two */
    uint64_t page_sizes; /* or of the powers of two that lend can use */
    unsigned features;   /* HURDMM_PORT_... */
    unsigned bank_count;
    uintptr_t low, high; /* usable addresses of a space, high is inclusive */
    struct hurdmm_bank banks[HURDMM_BANKS_MAX];
    unsigned pagers; /* threads in fault_wait that pay, 0: any number */
};

/* One row of `count` pages of a space to take rights from.  `rights` is what
 * the application may keep: HURDMM_NONE or HURDMM_READ (with or without
 * HURDMM_EXECUTE), or HURDMM_RIGHTS to read and clear the status only.
 * Pages of the row need not be lent.  `frame` is the frame at `address`; the
 * rest of the row follows it in frame numbers too. */
struct hurdmm_reclaim {
    void *space;
    uintptr_t address;
    uint32_t frame;
    uint32_t count;
    unsigned rights;
    /* Out, where the port has the features: for each page of the row a byte of
     * HURDMM_READ (referenced) and HURDMM_WRITE (dirty) since it was last
     * reported; of pages that were lent by one call as a large page it may be
     * said as soon as any of them was used.
     * NULL: not wanted (and what was seen may be forgotten).  And
     * of HURDMM_GONE: the page had no bytes any more, because the application
     * dropped them by means of its own; they are zeros now. */
    uint8_t *status;
    unsigned flags; /* HURDMM_RECLAIM_... */
};

/* Flags of a row.  DROP: the bytes are not needed any more, if nothing is kept;
 * the frames' contents are undefined after that. */
#define HURDMM_RECLAIM_DROP 1u
/* Pages between the rows may lose the same rights, if that is cheaper. */
#define HURDMM_RECLAIM_AROUND 2u

/* With DROP: this row and the one before it lie in one region, and nothing that
 * lies between them is lent: if that one has DROP too, all may be dropped. */
#define HURDMM_RECLAIM_JOINED 4u

/* A bit of a status, beside HURDMM_READ and HURDMM_WRITE. */
#define HURDMM_GONE 8u

/* Flags of reserve. */
#define HURDMM_RESERVE_EXACT 1u /* there or EEXIST; else *address is a hint */
/* Faults in it are resolved by config.fault on the thread that faults (ports
 * with HURDMM_PORT_INLINE; ENOTSUP elsewhere or ignored). */
#define HURDMM_RESERVE_INLINE 2u
/* Pages in it are lent to write or not at all, and the port notes which are
 * written to, without a fault.  A page that is lent is not written yet; one that
 * is lent again where it is counts as written.  Faults in it (the application
 * dropped a page) are resolved as in INLINE ranges, where there are such. */
#define HURDMM_RESERVE_TRACKED 4u

/* A flag of scan: what is found counts as not written from then on. */
#define HURDMM_TRACK_CLEAR 1u

/* Every member is needed unless it says otherwise. */
struct hurdmm_port_ops {
    size_t struct_size;
    unsigned version; /* HURDMM_PORT_VERSION */
    const char *name;

    /* Physical memory. */

    /* Starts the port for one manager.  ENOMEM, EBUSY (open already), ENOTSUP
     * (this machine cannot; the backend's describe function says why). */
    int (*open)(struct hurdmm_port *port,
                const struct hurdmm_port_config *config,
                struct hurdmm_port_info *info);
    /* Ends it.  No thread is in any other function; nothing is reserved or
     * lent.  All memory goes back to the system, core memory too. */
    void (*close)(struct hurdmm_port *port);
    /* The address at which the library sees `count` consecutive held frames as
     * consecutive bytes.  On a port with HURDMM_PORT_ALIAS it is the same for
     * the whole life of the port and good for frames lent to read also; on
     * others it is good until the frame is lent.  ENOMEM. */
    int (*window)(struct hurdmm_port *port, uint32_t frame, uint32_t count,
                  void **address);
    /* Copies the page in `frame`, which is held or lent to read at `address`,
     * wherever its bytes are, to private memory.  EFAULT: they are gone. */
    int (*frame_read)(struct hurdmm_port *port, uint32_t frame, void *space,
                      uintptr_t address, void *buffer);
    /* Memory for the library's own structures: zeroed, never paged, kept until
     * close.  ENOMEM. */
    int (*core_map)(struct hurdmm_port *port, size_t size, void **address);

    /* Address space. */

    /* Takes a range for regions; accesses to it become faults.  ENOMEM, EEXIST,
     * EINVAL (a range that this space does not have), ENOTSUP (this space). */
    int (*reserve)(struct hurdmm_port *port, void *space, uintptr_t *address,
                   size_t size, unsigned flags);
    /* Gives a reserved range, or a part of one, back; nothing in it is lent.
     * Accesses to it are nobody's from now on.  Cannot fail for want of
     * memory: what the port cannot give back it keeps inaccessible. */
    void (*release)(struct hurdmm_port *port, void *space, uintptr_t address,
                    size_t size);

    /* Lending. */

    /* Lends `count` consecutive frames at consecutive pages, atomically for
     * each page: another thread sees what was there before or the new page.
     * Replaces what was lent there: other rights to the same frame, and on
     * ports with HURDMM_PORT_ALIAS another frame too.  *done says how many
     * pages, from the first, were lent, also on error.  ENOMEM (memory or
     * mappings): the core will reclaim some and try again.  EFAULT: the frame
     * is lent there already, and the application itself has dropped its
     * bytes.  ENOENT: the application has unmapped the page. */
    int (*lend)(struct hurdmm_port *port, void *space, uintptr_t address,
                uint32_t frame, uint32_t count, unsigned rights,
                uint32_t *done);
    /* Takes rights away from `count` rows.  When it returns, no processor uses
     * a right that was taken.  *done says how many rows were finished, also on
     * error.  ENOMEM: mappings ran out; the row keeps its rights. */
    int (*reclaim)(struct hurdmm_port *port, const struct hurdmm_reclaim *rows,
                   size_t count, size_t *done);

    /* Faults. */

    /* Waits for faults and takes up to `max`.  ETIMEDOUT; ECANCELED after
     * fault_stop. */
    int (*fault_wait)(struct hurdmm_port *port, struct hurdmm_fault *faults,
                      size_t max, uint64_t timeout_ns, size_t *count);
    /* Ends a fault: with 0 the thread repeats its access, else the access
     * fails in the way of the platform (a signal, an exception message). */
    void (*fault_done)(struct hurdmm_port *port,
                       const struct hurdmm_fault *fault, int error);
    /* Makes every fault_wait, now and later, return ECANCELED.  Faults not yet
     * taken, and later ones, fail as if the address were nobody's. */
    void (*fault_stop)(struct hurdmm_port *port);

    /* Threads.  A port without HURDMM_PORT_THREADS answers ENOTSUP. */

    int (*thread_start)(struct hurdmm_port *port, void (*entry)(void *argument),
                        void *argument, uint64_t *thread);
    int (*thread_join)(struct hurdmm_port *port, uint64_t thread);
    uint64_t (*thread_self)(struct hurdmm_port *port); /* never 0 */
    /* Sleeps while *word == expected, until woken; may return early.
     * ETIMEDOUT.  In a critical section and out of one. */
    int (*park)(struct hurdmm_port *port, uint32_t *word, uint32_t expected,
                uint64_t timeout_ns);
    void (*wake)(struct hurdmm_port *port, uint32_t *word, unsigned count);
    /* Brackets the time in which core locks are held: asynchronous signals are
     * masked where the port resolves faults in signal handlers.  Does not nest.
     * enter: ESTALE in a child after fork. */
    int (*critical_enter)(struct hurdmm_port *port, uintptr_t *cookie);
    void (*critical_leave)(struct hurdmm_port *port, uintptr_t cookie);

    /* Nanoseconds since some start, never going back. */
    uint64_t (*clock)(struct hurdmm_port *port);

    /* With HURDMM_PORT_TRACKS; else it is not called and may be NULL. */

    /* Finds the pages of a range, a part of what was reserved as TRACKED, that
     * were written to: up to `max` rows of them in order, *count says how many.
     * *end is where it stopped, the range's end if there was room for all.  With
     * CLEAR looking and forgetting are one step for each page: no write falls in
     * between.  On error *end and *count are true too.  Called as lend is.
     * ENOMEM. */
    int (*scan)(struct hurdmm_port *port, void *space, uintptr_t address,
                size_t size, unsigned flags, struct hurdmm_dirty *rows,
                size_t max, size_t *count, uintptr_t *end);

    /* With HURDMM_PORT_SHARES; else it is not called and may be NULL. */

    /* From now on a range, which lies in reserved ones and in which nothing is
     * lent, shows the bytes from `offset` on of an object, whatever it showed
     * before; object 0: it shows none.  ENOMEM: it shows what it did, or, where
     * it showed an object, none. */
    int (*share)(struct hurdmm_port *port, void *space, uintptr_t address,
                 size_t size, uint64_t object, uint64_t offset);
};

/* What every port begins with; a backend embeds it in a structure of its own
 * and hands out a pointer to it.  One port serves one manager at a time. */
struct hurdmm_port {
    const struct hurdmm_port_ops *ops;
    void *manager; /* the core's, while the port is open */
};

#ifdef __cplusplus
}
#endif

#endif
