/* SPDX-License-Identifier: MIT */
/*
 * The model that the library is checked against: what every byte of every store
 * must be, what is bound where, and which errors an operation may end with.
 *
 * A sequence is a configuration and a list of operations, both from one seed.
 * An operation is a kind and raw random numbers, which get their meaning when
 * it is done, from what is there then: so any part of a sequence is a sequence,
 * and one that fails can be shrunk.
 *
 * The rules.
 *   - `truth' is what must be read; the disk's bytes are what its store wrote.
 *     They differ only where a page is dirty.
 *   - Pages of a discardable store are truth or disk, whole pages; those of a
 *     store that is asked only from when it has said that they may go until
 *     they are written to again.
 *   - An operation ends as the model says, or with an error that a scripted
 *     failure excuses, or with ENOMEM where something keeps memory from being
 *     freed; then it changed nothing beyond what it says was done.
 *   - A scan for written pages names each page whose truth is not what it was
 *     when the last scan cleared it.
 *   - After each operation hurdmm_check and the simulated machine are content.
 */
#ifndef HMM_TESTS_CORE_MODEL_H
#define HMM_TESTS_CORE_MODEL_H

#include <stdbool.h>
#include <stdio.h>

#include <hurdmm/hurdmm.h>
#include <hurdmm/sim.h>

#include "lib/base/rand.h"
#include "tests/core/disk.h"

#define MODEL_STORES 3
#define MODEL_PAGES 24 /* of a store, at most */
#define MODEL_PAGE_MAX 4096
#ifndef MODEL_PAGE_MIN
#define MODEL_PAGE_MIN 64 /* more where shadows have larger blocks */
#endif
#define MODEL_REGIONS 96
#define MODEL_PINS 8
#define MODEL_CATCHERS 3
#define MODEL_WINDOW 64 /* pages in which exact addresses are chosen */
#define MODEL_OPS 256
#define MODEL_RESERVED (-1)

enum model_kind {
    OP_BIND,
    OP_UNBIND,
    OP_PROTECT,
    OP_ADVISE,
    OP_LOAD,
    OP_STORE,
    OP_STORE_READ,
    OP_STORE_WRITE,
    OP_READ,
    OP_WRITE,
    OP_VERB,         /* flush, return, sync of a store's range */
    OP_VERB_ADDRESS, /* the same by address */
    OP_DISCARD,
    OP_SYNC_ALL,
    OP_POPULATE,
    OP_PIN,
    OP_UNPIN,
    OP_RESIZE,
    OP_BUDGET,
    OP_SUPPLY,
    OP_CACHE,
    OP_CONTAINER,
    OP_STORE_ADVISE,
    OP_DESTROY,
    OP_CREATE,
    OP_FAIL_DISK,
    OP_FAIL_PORT,
    OP_CALM,
    OP_CATCH,
    OP_UNCATCH,
    OP_BURST,
    OP_SETTLE,
    OP_INSPECT,
    OP_VERIFY,
    OP_SCAN,
    OP_KINDS
};

struct model_op {
    uint16_t kind;
    uint16_t arg[6];
};

struct model_config {
    uint64_t seed;
    size_t page;
    unsigned frames;
    unsigned block_pages;
    unsigned readahead_pages;
    unsigned hide, offer;
    bool soft; /* faults are tried by fault_soft */
    bool no_threads;
    bool random_schedule;
    unsigned delay;
    unsigned dirty_pages; /* limit, 0: the default */
    const struct hurdmm_policy_ops *policy;
    uintptr_t base; /* of the window */
    unsigned address_bits;
    bool trace; /* print the machine's events */
};

struct model_store {
    struct disk disk;
    bool exists;
    bool stuck; /* pages that could not be written wait to be asked for */
    unsigned flags;
    unsigned block_pages;
    uint64_t size;
    /* Write failures that a waiting verb has not told of: at least, at most. */
    unsigned untold_min, untold_max;
    unsigned seen_write_failures;
    unsigned made;
    uint8_t bytes[MODEL_PAGES * MODEL_PAGE_MAX];
    uint8_t truth[MODEL_PAGES * MODEL_PAGE_MAX];
    /* Of pages whose marks a scan has cleared: the truth at that time. */
    uint8_t cleared[MODEL_PAGES * MODEL_PAGE_MAX];
    bool is_cleared[MODEL_PAGES];
};

struct model_region {
    uintptr_t address;
    size_t length;
    int store; /* or MODEL_RESERVED */
    uint64_t offset;
    unsigned rights, max_rights;
};

struct model_pin {
    uintptr_t address;
    size_t length;
    unsigned access;
};

struct model_catcher {
    uintptr_t address;
    size_t length;
    int store; /* binds a page of this store, or -1 */
    int error; /* else ends the access so */
};

struct model {
    struct model_config config;
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_space *space;
    struct hurdmm_container *container;
    unsigned container_pages;
    size_t page;
    size_t budget; /* bytes */
    bool verbose;
    bool stop; /* asks the driver thread of a manager without threads to end */
    struct model_store stores[MODEL_STORES];
    struct model_region regions[MODEL_REGIONS];
    unsigned region_count;
    struct model_pin pins[MODEL_PINS];
    unsigned pin_count;
    struct model_catcher catchers[MODEL_CATCHERS];
    unsigned catcher_count;
    /* At the beginning of the operation. */
    uint64_t port_failures;
    unsigned read_failures[MODEL_STORES], write_failures[MODEL_STORES];
    unsigned disk_failures[MODEL_STORES];
    bool port_armed;
    char failure[400]; /* empty: none */
    unsigned step;
    enum model_kind kind;
};

/* What an operation may end with. */
struct model_allow {
    bool ok;
    unsigned count;
    int errors[12];
};

/* model-state.c: the model itself. */

void model_fail(struct model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void model_say(struct model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void model_permit(struct model_allow *allow, int error);
bool model_permitted(const struct model_allow *allow, int error);
/* Fails the model unless `result' is permitted. */
void model_expect(struct model *model, const struct model_allow *allow,
                  int result, const char *what);

struct model_region *model_find(struct model *model, uintptr_t address);
bool model_overlaps(const struct model *model, uintptr_t address,
                    size_t length);
/* Whether a region binds any of these bytes of a store. */
bool model_bound(const struct model *model, int store, uint64_t offset,
                 uint64_t length);
void model_insert(struct model *model, const struct model_region *region);
/* Cuts the regions so that none crosses `address'. */
void model_split(struct model *model, uintptr_t address);
void model_remove(struct model *model, uintptr_t address, size_t length);
void model_remove_store(struct model *model, int store);

/* Pages of the range that are pinned, for any access or for writing. */
bool model_pinned(const struct model *model, uintptr_t address, size_t length,
                  unsigned access);
unsigned model_pinned_store(struct model *model, int store, uint64_t offset,
                            uint64_t length);

/* Whether one of these bytes is pinned for writing.  The library may not write
 * them, since the application has them. */
bool model_pinned_to_write(struct model *model, int store, uint64_t offset,
                           uint64_t length);

/* What an access to the page at `address' must end with whatever the disks and
 * memory do: 0 if nothing forbids it. */
int model_hard_error(struct model *model, uintptr_t address, unsigned access);
/* Adds what the operation's failures excuse for this page of the store; -1 for
 * none. */
void model_excuse(struct model *model, struct model_allow *allow, int store,
                  uint64_t offset);
/* Whether ENOMEM needs no other reason. */
bool model_tight(const struct model *model);

/* Compares what was read; adopts the disk's page of a discardable store. */
void model_compare(struct model *model, int store, uint64_t offset,
                   const uint8_t *bytes, size_t length, const char *what);
/* Notes the failed writes of a store since the last look, and those that a
 * verb, if it waits, has told of. */
void model_note(struct model *model, int store, bool waits, int result,
                const char *what);

/* Whether it is written by whole pages only. */
static inline bool model_discardable(const struct model_store *store)
{
    return (store->flags & HURDMM_STORE_DISCARDABLE) != 0 ||
           store->disk.mode == DISK_ASKED;
}

/* Whether the page at `offset' may be the disk's. */
static inline bool model_loses(const struct model_store *store, uint64_t offset)
{
    return (store->flags & HURDMM_STORE_DISCARDABLE) != 0 ||
           (store->disk.mode == DISK_ASKED &&
            store->disk.lost[offset / store->disk.page]);
}

/* Whole pages are going to be written: from now on they are in use. */
void model_take(struct model_store *store, uint64_t offset, uint64_t length);
/* They could not be written: what they have is not known. */
void model_doubt(struct model_store *store, uint64_t offset, uint64_t length);

static inline bool model_read_only(const struct model_store *store)
{
    return (store->flags & HURDMM_STORE_READ_ONLY) != 0;
}

static inline uint64_t model_round(const struct model *model, uint64_t size)
{
    return (size + model->page - 1) / model->page * model->page;
}

/* model-ops.c: each does one operation on both, and compares. */

void model_do(struct model *model, const struct model_op *op);
int model_create_store(struct model *model, int index, unsigned flags);
/* Reads everything. */
void model_verify(struct model *model);

/* model-burst.c: several threads of the application at once. */
void model_burst(struct model *model, const struct model_op *op);

/* model-run.c: from a seed to a result. */

void model_config_make(struct model_config *config, uint64_t seed);
void model_config_print(const struct model_config *config, FILE *file);
unsigned model_ops_make(struct model_op *ops, uint64_t seed, unsigned steps);
/* Does the sequence.  The text says what is wrong; NULL: nothing. */
const char *model_run(const struct model_config *config,
                      const struct model_op *ops, unsigned count, bool verbose);
const char *model_kind_name(unsigned kind);

/* model.c: draws operations, each kind as often as its weight says. */
void model_ops_draw(struct model_op *ops, unsigned count, struct hmm_rand *rand,
                    unsigned kinds, unsigned (*weight)(unsigned kind));

#endif
