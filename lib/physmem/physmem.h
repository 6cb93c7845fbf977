/* SPDX-License-Identifier: MIT */
/* physmem.h - frames, containers, and the lending of frames.
 *
 * This is what a physical-memory server would run: it knows frames, containers
 * that name them by page number, and mappings that show a container's pages at
 * addresses.  It knows nothing of stores, faults or eviction; lib/mm speaks to
 * it in containers.
 *
 * A container's index maps a page number to a slot: a frame number, what the
 * application was lent of it, and tag bits that belong to the container's user.
 *
 * Invariants
 *   P1  a frame that is in use has refs >= 1; its table entry names a container
 *       and page whose slot names the frame, or no container (its holder has
 *       it in hand: a fill's buffer, a run that is being written);
 *   P2  a slot's LENT bits cover what the port was told to lend of the page at
 *       any of the container's mappings (they may say more, never less);
 *   P3  the reverse map is derived: frame -> container and page -> mappings
 *       that cover the page -> addresses.
 *
 * Everything here runs with the manager's lock held.
 */
#ifndef HMM_PHYSMEM_PHYSMEM_H
#define HMM_PHYSMEM_PHYSMEM_H

#include <stdbool.h>

#include "hurdmm/port.h"
#include "lib/base/index.h"
#include "lib/base/slab.h"
#include "lib/base/span.h"
#include "lib/physmem/zones.h"

/* A slot: bits 0-31 the frame, 32-39 ours, 40-63 the user's tag. */
#define HMM_SLOT_FRAME(slot) ((uint32_t)(slot))
#define HMM_LENT_READ (UINT64_C(1) << 32)
#define HMM_LENT_WRITE (UINT64_C(1) << 33)
#define HMM_LENT (HMM_LENT_READ | HMM_LENT_WRITE)
#define HMM_REFERENCED (UINT64_C(1) << 34) /* a reclaim saw it in use */
#define HMM_GONE (UINT64_C(1) << 35) /* the application dropped its bytes */
#define HMM_TAG_SHIFT 40

/* Counts the frames that somebody pays for: one for each slot that has one. */
struct hmm_payer {
    uint64_t used;
    uint64_t wired; /* of these, in containers whose pages cannot leave */
};

struct hmm_container {
    struct hmm_physmem *physmem;
    struct hmm_payer *payer; /* never NULL */
    bool wired;              /* its pages stay until they are released */
    struct hmm_index index;
    struct hmm_span_tree mappings;   /* by byte offset; may overlap */
    struct hmm_span_tree bonds;      /* of which this is the target */
    struct hmm_span_tree dependents; /* bonds of which this is the source */
    bool unread; /* since this was last reset, somebody stopped reading some of
                  * it through a bond: it may have what nobody reads */
};

/* A run of a target's pages that are, where it has no slots, a source's pages:
 * bond.c.  Spans are page numbers. */
struct hmm_bond {
    struct hmm_span by_target, by_source;
    struct hmm_container *target, *source;
    bool shared;
};

/* A range of a container shown at addresses of a space. */
struct hmm_mapping {
    struct hmm_span by_offset;
    struct hmm_container *container; /* NULL: not attached */
    void *space;                     /* the port's token */
    uintptr_t address;               /* of byte by_offset.first */
};

/* A page of a container, found by following bonds. */
struct hmm_place {
    struct hmm_container *container;
    uint64_t page;
    bool read_only; /* a bond on the way was copy on write */
};

struct hmm_frame {
    struct hmm_container *container;
    uint64_t page;
    uint32_t refs;
    uint16_t pins_read;
    uint16_t pins_write;
};

struct hmm_physmem {
    struct hurdmm_port *port;
    const struct hurdmm_port_info *info;
    unsigned page_shift;
    struct hmm_core *core;
    struct hmm_slab nodes; /* of every container's index */
    struct hmm_slab bonds;
    struct hmm_zones zones;
    struct hmm_frame *table;
    uint32_t frames;                 /* in the table */
    uint32_t limit;                  /* that may be in use */
    uint32_t used, peak;             /* in use now; the most ever */
    char *windows[HURDMM_BANKS_MAX]; /* of whole banks, on alias ports */
    uint64_t lends, lend_pages;      /* calls of the port, pages moved */
    uint64_t reclaims, reclaim_pages;
    uint32_t apart; /* what goes on without the lock: lend.c */
};

/* Takes the port's banks, up to `limit` frames in use.  ENOMEM. */
int hmm_physmem_init(struct hmm_physmem *physmem, struct hurdmm_port *port,
                     const struct hurdmm_port_info *info, struct hmm_core *core,
                     uint32_t limit);

/* Takes up to `want` consecutive frames, near `hint` where that is free: refs 1,
 * no container, contents undefined.  ENOMEM: none, or the limit is reached. */
int hmm_frames_take(struct hmm_physmem *physmem, uint32_t want, uint32_t hint,
                    uint32_t *first, uint32_t *got);
/* Takes exactly `count` consecutive frames that satisfy a constraint.  ENOMEM:
 * not now; ERANGE: not on this machine; EINVAL: nowhere. */
int hmm_frames_take_run(struct hmm_physmem *physmem, uint32_t count,
                        const struct hmm_constraint *constraint,
                        uint32_t *first);
/* Drops one reference of each; a frame without references is free. */
void hmm_frames_drop(struct hmm_physmem *physmem, uint32_t first,
                     uint32_t count);
/* The same for the frames that slots name, neighbours at once. */
void hmm_frames_drop_slots(struct hmm_physmem *physmem,
                           const struct hmm_index_pair *slots, unsigned n);
/* Where the library sees consecutive frames that are held (or, on an alias
 * port, lent to read).  ENOMEM. */
int hmm_frames_window(struct hmm_physmem *physmem, uint32_t first,
                      uint32_t count, void **address);
/* The physical address of a frame. */
uint64_t hmm_frame_address(const struct hmm_physmem *physmem, uint32_t frame);
/* Whether `second` follows `first` in physical memory. */
bool hmm_frames_adjacent(const struct hmm_physmem *physmem, uint32_t first,
                         uint32_t second);

/* The frame after the last one of the bank that `frame` is in. */
uint32_t hmm_bank_end(const struct hmm_physmem *physmem, uint32_t frame);

void hmm_container_init(struct hmm_container *container,
                        struct hmm_physmem *physmem, struct hmm_payer *payer,
                        bool wired);
/* Makes somebody else pay for it. */
void hmm_container_charge(struct hmm_container *container,
                          struct hmm_payer *payer);
/* Frees every frame; nothing is lent. */
void hmm_container_clear(struct hmm_container *container);
/* Puts a slot; its frame, if it names one, goes over to the container.  EEXIST,
 * ENOMEM. */
int hmm_container_put(struct hmm_container *container, uint64_t page,
                      uint64_t slot);
/* The same for up to `n' pages that are not there, with consecutive frames: how many
 * it was, 0: put one. */
unsigned hmm_container_put_row(struct hmm_container *container, uint64_t page,
                               uint64_t slot, unsigned n);
/* The slot of `page` or NULL; valid until the next put or take. */
uint64_t *hmm_container_slot(const struct hmm_container *container,
                             uint64_t page);
/* Removes the slot of `page`; its frame is the caller's again. */
uint64_t hmm_container_take(struct hmm_container *container, uint64_t page);
/* The same for slots of [first, last], as many as go at once (at most
 * HMM_INDEX_TAKE_MAX), the lowest first.  How many; 0: there are no more. */
unsigned hmm_container_take_some(struct hmm_container *container,
                                 uint64_t first, uint64_t last,
                                 struct hmm_index_pair *slots);
/* Does [first, last] have all slots of the container? */
bool hmm_container_within(const struct hmm_container *container, uint64_t first,
                          uint64_t last);
/* Puts another frame (or HURDMM_FRAME_NONE) in a slot; the old one is the
 * caller's.  Nothing of the page is lent. */
void hmm_container_swap(struct hmm_container *container, uint64_t page,
                        uint64_t *slot, uint32_t frame);

/* Attaches a mapping of [offset, offset + length) at `address`. */
void hmm_mapping_attach(struct hmm_mapping *mapping,
                        struct hmm_container *container, uint64_t offset,
                        uint64_t length, void *space, uintptr_t address);
/* Detaches it; nothing is lent through it. */
void hmm_mapping_detach(struct hmm_mapping *mapping);
uintptr_t hmm_mapping_address(const struct hmm_mapping *mapping, uint64_t page);

/* Lends the page at `home`, and those after it up to `count` as far as frames
 * follow each other, with `rights`, at the place where the mapping shows `page`;
 * *done says how many.  Every one has a frame; `slot` is the first one's.
 * ENOMEM. */
int hmm_lend(struct hmm_mapping *mapping, uint64_t page,
             const struct hmm_place *home, uint64_t *slot, uint32_t count,
             unsigned rights, uint32_t *done);

/* The same for one page, which is shown at `address`. */
int hmm_lend_page(const struct hmm_mapping *mapping, uintptr_t address,
                  uint64_t *slot, unsigned rights);

/* Which slots may be lent together with one: those of pages before `end` that have,
 * of the bits of `mask`, just `bits`. */
struct hmm_suit {
    uint64_t end, mask, bits;
};

/* Lends the largest of the port's large pages that has `page`, is aligned in the
 * mapping and in memory, and whose pages' slots suit.  ENOENT: there is none, or
 * the port did not take it. */
int hmm_lend_large(struct hmm_mapping *mapping, uint64_t page, uint64_t slot,
                   const struct hmm_suit *suit, unsigned rights);

/* The same in three steps, of which the second goes without the lock, on ports
 * with HURDMM_PORT_LENDS_APART.  begin: false, if there is nothing to be lent. */
struct hmm_lend_apart {
    struct hmm_physmem *physmem;
    void *space;
    uintptr_t address;
    uint32_t frame, count, done;
    unsigned rights;
};
bool hmm_lend_begin(struct hmm_lend_apart *lend, struct hmm_mapping *mapping,
                    uint64_t page, const struct hmm_place *home, uint64_t *slot,
                    uint32_t count, unsigned rights);
int hmm_lend_go(struct hmm_lend_apart *lend);
void hmm_lend_end(const struct hmm_lend_apart *lend);
/* With the lock, and after it: bytes of pages that are lent are read. */
void hmm_apart_begin(struct hmm_physmem *physmem);
void hmm_apart_end(struct hmm_physmem *physmem);
/* Waits for what goes on without the lock; before anything is done with the
 * bytes of a page that is lent. */
void hmm_lends_wait(struct hmm_physmem *physmem);
static inline bool hmm_lends_apart(const struct hmm_physmem *physmem)
{
    return __atomic_load_n(&physmem->apart, __ATOMIC_ACQUIRE) > 0;
}

/* Takes rights back from pages, any number, in few calls of the port. */
#define HMM_BATCH_ROWS 64u
#define HMM_BATCH_PAGES 256u
struct hmm_batch {
    struct hmm_physmem *physmem;
    unsigned keep;  /* rights that stay, or HURDMM_RIGHTS: look only */
    unsigned flags; /* of the rows that are added next, 0 at first */
    const struct hmm_mapping *mapping; /* of the last row */
    uint32_t rows, pages;
    struct hurdmm_reclaim row[HMM_BATCH_ROWS];
    struct {
        uint64_t *slot;
        uint32_t row;
        bool last; /* no further rows of this page follow */
    } page[HMM_BATCH_PAGES];
    uint8_t status[HMM_BATCH_PAGES];
};
void hmm_batch_begin(struct hmm_batch *batch, struct hmm_physmem *physmem,
                     unsigned keep);
/* Adds a page; `slot` must stay valid until the batch ends.  Full batches are
 * passed to the port at once.  ENOMEM. */
int hmm_batch_add(struct hmm_batch *batch, struct hmm_container *container,
                  uint64_t page, uint64_t *slot);
/* Adds what shows `page` of `view`, which reads it through bonds from where
 * `slot` is; the slot's LENT bits stay. */
int hmm_batch_add_view(struct hmm_batch *batch, struct hmm_container *view,
                       uint64_t page, uint64_t *slot);
/* Adds a page for one mapping only: the slot's LENT bits stay, since other
 * mappings may have it. */
int hmm_batch_add_one(struct hmm_batch *batch, struct hmm_mapping *mapping,
                      uint64_t page, uint64_t *slot);
/* Passes on what is left.  After it (and 0) the LENT bits of the pages are what
 * was to be kept, and HMM_REFERENCED is set where the port saw use.  ENOMEM:
 * some pages keep what they had. */
int hmm_batch_end(struct hmm_batch *batch);

/* Takes back from every page of [first, last], in rows as long as they come; what
 * the port saw of their use is forgotten.  Without `pinned_too` pages that are
 * pinned for writing keep what they have.  ENOMEM as above. */
int hmm_take_back_range(struct hmm_container *container, uint64_t first,
                        uint64_t last, unsigned keep, bool pinned_too);

/* One page: begin, add, end. */
int hmm_take_back(struct hmm_container *container, uint64_t page,
                  uint64_t *slot, unsigned keep);

/* Bonds: bond.c. */
/* The bond that covers a page of its target, or the first that meets a range. */
struct hmm_bond *hmm_bond_at(const struct hmm_container *target, uint64_t page);
struct hmm_bond *hmm_bond_in(const struct hmm_container *target, uint64_t first,
                             uint64_t last);
struct hmm_bond *hmm_bond_next(const struct hmm_bond *bond, uint64_t first,
                               uint64_t last);
/* The first, and the next, bond whose source range meets [first, last]. */
struct hmm_bond *hmm_dependent_in(const struct hmm_container *source,
                                  uint64_t first, uint64_t last);
struct hmm_bond *hmm_dependent_next(const struct hmm_bond *bond, uint64_t first,
                                    uint64_t last);
uint64_t hmm_bond_source_page(const struct hmm_bond *bond, uint64_t page);
uint64_t hmm_bond_target_page(const struct hmm_bond *bond, uint64_t page);
/* Sets a bond up and puts it in both trees. */
void hmm_bond_tie(struct hmm_bond *bond, struct hmm_container *target,
                  uint64_t page, struct hmm_container *source,
                  uint64_t source_page, uint64_t count, bool shared);
void hmm_bond_drop(struct hmm_bond *bond);
/* Splits the bonds that span the boundary before `page`.  Reserve first, in
 * physmem->bonds, what hmm_bonds_cuts says for the range to be cut out. */
void hmm_bonds_cut(struct hmm_container *target, uint64_t page);
void hmm_dependents_cut(struct hmm_container *source, uint64_t page);
uint64_t hmm_bonds_cuts(const struct hmm_container *container, uint64_t first,
                        uint64_t last);
/* Gives a bond another source, or another target. */
void hmm_bond_redirect(struct hmm_bond *bond, struct hmm_container *source,
                       uint64_t source_page);
void hmm_bond_retarget(struct hmm_bond *bond, struct hmm_container *target,
                       uint64_t page);
/* Cuts the ends off that nobody reads through the target; a bond that nobody
 * reads is gone.  Whether it was changed. */
bool hmm_bond_trim(struct hmm_bond *bond);

/* Follows bonds to the page's home. */
void hmm_home(struct hmm_place *place);
/* For how many pages from `page` on there is no slot on the way to the home, or
 * 0 when there is one at the first. */
uint64_t hmm_absent_length(const struct hmm_container *container,
                           uint64_t page);
/* Moves slots, bonds and dependents of [first, last] to another container's
 * pages from `there` on, which are empty.  Nothing of them is lent or pinned;
 * memory is reserved: no index nodes if all slots go to the same pages of a
 * container that has none. */
void hmm_container_shift(struct hmm_container *from, uint64_t first,
                         uint64_t last, struct hmm_container *to,
                         uint64_t there);
/* Goes from one page to the next of those that read a page through bonds, each
 * before those that read it in turn: `at' is the page itself at first.  False:
 * there are no more. */
bool hmm_reader_next(const struct hmm_container *container, uint64_t page,
                     struct hmm_place *at);
/* Finds a page that must get its own contents before this one changes. */
bool hmm_unsettled(const struct hmm_container *container, uint64_t page,
                   struct hmm_place *place);
/* Does any other container read this page? */
bool hmm_depended_on(const struct hmm_container *container, uint64_t page);
bool hmm_bonds_check(const struct hmm_container *container);

/* Checks the invariants of one container, and of the frame table. */
bool hmm_container_check(const struct hmm_container *container);
bool hmm_physmem_check(const struct hmm_physmem *physmem);

#endif
