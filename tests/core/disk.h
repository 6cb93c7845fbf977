/* SPDX-License-Identifier: MIT */
/*
 * A disk for tests on simulated machines: a byte array behind a store, that
 * does as its script says: late, short, or not at all.  It watches what the
 * library asks of it and keeps the first breach of the contract of
 * hurdmm/store.h in `complaint'.
 *
 * Everything happens on one host thread, so there are no locks.
 */
#ifndef HMM_TESTS_CORE_DISK_H
#define HMM_TESTS_CORE_DISK_H

#include <stdbool.h>

#include <hurdmm/hurdmm.h>

/* The kinds of calls, as bits. */
#define DISK_IN 1u
#define DISK_OUT 2u
#define DISK_SYNC 4u
#define DISK_UNLOCK 8u
#define DISK_VICTIM 16u /* never fails */

#define DISK_PAGES_MAX 1024u

/* How page_in is answered. */
enum disk_mode {
    DISK_SIMPLE = 0,     /* by page_in */
    DISK_FULL_NOW = 1,   /* by a fault handler, before it returns */
    DISK_FULL_LATER = 2, /* by a fault handler, from another thread */
    DISK_PLAIN = 3,      /* by page_in; there are no notices and no unlock */
    DISK_ASKED = 4,      /* by page_in and refill; it is asked about victims */
    DISK_AHEAD = 5       /* by page_in; what nobody waits for by fill_start,
                          * from another thread */
};

/* The nth call of `kinds' from when this was set fails with `error': all of
 * it, or after `partial' pages of it. */
struct disk_script {
    unsigned kinds;
    uint64_t nth; /* 0: nothing fails */
    bool for_ever;
    int error;
    unsigned partial;
};

struct disk {
    struct hurdmm_port *port; /* a simulated machine */
    struct hurdmm_store *store;
    uint8_t *bytes;
    uint64_t capacity; /* bytes there are */
    size_t page, block;
    enum disk_mode mode;
    unsigned delay; /* points at which a call can lose the processor */
    bool hold_in;   /* calls wait while these are set */
    bool hold_out;
    struct disk_script script;

    unsigned ins, outs, syncs, unlocks, destroys; /* calls */
    unsigned evicted, discarded, advised;
    unsigned in_flight;
    unsigned starts, submits; /* calls of fill_start and write_start, submit */
    unsigned starts_max;      /* both refuse above that; 0: never */
    unsigned write_starts;    /* writes that were begun and do not run yet */
    unsigned why_discarded;   /* requests that said so */
    unsigned asked, dropped;  /* blocks, of DISK_ASKED */
    unsigned failures;        /* scripted ones that happened */
    unsigned write_failures;  /* of those, page_out and sync */
    unsigned read_failures;
    uint64_t bytes_in, bytes_out;
    uint64_t last_in_length, last_out_length, last_out_offset;
    uint64_t last_space_address;
    uint8_t busy[DISK_PAGES_MAX]; /* DISK_IN, DISK_OUT */
    int failed[DISK_PAGES_MAX];   /* the error its last fill ended with */
    bool idle[DISK_PAGES_MAX];    /* of DISK_ASKED: nobody uses the page, */
    bool lost[DISK_PAGES_MAX];    /* and the disk has said that it may go */
    const char *complaint;        /* NULL: none */
    void (*before)(struct disk *disk, unsigned kind, uint64_t offset,
                   size_t length); /* in each call; may be NULL */
    void *before_hook;
    struct hurdmm_store *shadow; /* NULL: none */
    void *shadow_hook;           /* its maker's */
    bool known[DISK_PAGES_MAX];  /* pages that the shadow must have */
};

/* Where a program has one, each disk gets a shadow: a store whose operations are
 * given all that comes in and goes out, and must agree.  So a store that keeps
 * its bytes in another way is run under the model. */
struct disk_shadow {
    /* Makes disk->shadow, of disk->capacity bytes; false: it could not. */
    bool (*make)(struct disk *disk, struct hurdmm *manager);
    void (*end)(struct disk *disk);
};
extern const struct disk_shadow *disk_shadow;

/* Makes the disk, `bytes' being the caller's. */
void disk_init(struct disk *disk, struct hurdmm_port *port, size_t page,
               uint8_t *bytes, uint64_t capacity);

/* Makes the store on it: `size' bytes long, blocks of `block' bytes (0: a
 * page).  disk->mode is to be set before. */
int disk_open(struct disk *disk, struct hurdmm *manager, uint64_t size,
              size_t block, unsigned flags);

/* The owner has changed bytes itself: the shadow need not know them. */
void disk_changed(struct disk *disk, uint64_t offset, uint64_t length);

/* The page was pushed into the cache: it is good now, and calls for it may come
 * while a fill that it has overtaken goes on. */
void disk_overtaken(struct disk *disk, uint64_t page);

/* Fails the nth call of `kinds' from now. */
void disk_fail(struct disk *disk, unsigned kinds, uint64_t nth, int error,
               bool for_ever);

#endif
