/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator: which frames of physical memory are free.
 *
 * Frames are numbered densely over all banks; a *run* is a row of consecutive
 * frames of one bank.  Requests may constrain where a run lies in physical
 * memory.  Nothing is zeroed, nothing but the numbers is touched: the frames
 * themselves need not be readable.
 *
 * The caller serialises all calls on one set of zones.  Results are written
 * only on success, and a call that fails changes nothing.
 */
#ifndef HMM_PHYSMEM_ZONES_H
#define HMM_PHYSMEM_ZONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HMM_FRAME_NONE UINT32_MAX

/* One row of physical memory: the physical address of a frame is
   base + (frame - first_frame) * page_size. */
struct hmm_bank {
    uint64_t base; /* physical address of the first frame, page-aligned */
    uint32_t first_frame;
    uint32_t frames;
};

/*
 * Where a run may lie.  All members must hold; 0 in all of them asks nothing.
 *
 * The masks are the two words of 2005: bits of the physical address at which
 * the run starts.  All bits decided name one address, low clear bits are an
 * alignment, high clear bits a limit.  Clear bits below the page size are
 * allowed, as they are always true.
 */
struct hmm_constraint {
    uint64_t must_set;   /* bits that are 1 in the start address */
    uint64_t must_clear; /* bits that are 0 in it */
    uint64_t low;        /* the run's first byte is here or above */
    uint64_t high;       /* its last byte is here or below; 0: no limit */
    uint64_t alignment;  /* of the start; 0 or a power of two */
    uint64_t boundary; /* 0, or no run crosses a multiple of this power of 2 */
    uint32_t colour;   /* start / page_size modulo `colours' is this */
    uint32_t colours;  /* 0: any colour */
};

struct hmm_zone;

struct hmm_zones {
    struct hmm_zone *zone; /* one for each bank, in the order of the frames */
    uint32_t count;
    uint32_t frames;
    uint32_t free;
    unsigned page_shift;
    struct hmm_zone *open; /* the zone of open_word, or NULL */
    uint64_t open_word;
};

/* The bytes of memory that hmm_zones_init needs for this many frames in this
   many banks: about 0.63 bytes a frame and two or three KiB a bank.  0 if it does not
   fit a size_t. */
size_t hmm_zones_memory(uint32_t frames, uint32_t banks);

/* Makes all frames of the banks free.  `memory' is aligned to 8, holds
   hmm_zones_memory() bytes and belongs to the zones from now on.  EINVAL:
   page_size is no power of two or below 64, there is no bank, or a bank is empty,
   misaligned, overlaps another, ends above 2^64, or does not begin with the
   frame number that follows the bank before it (0 for the first). */
int hmm_zones_init(struct hmm_zones *zones, void *memory, size_t page_size,
                   const struct hmm_bank *banks, uint32_t count);

/*
 * Takes a run of exactly `count' frames and stores the number of the first.
 *
 * Where the run at the frame `hint' is free and meets the constraint, it is
 * taken; any other hint is ignored.  Without a constraint and a hint that was
 * followed, a run of a power of two of frames is naturally aligned in physical
 * memory, and is refused rather than misaligned.  With a constraint, natural
 * alignment is preferred but only what the constraint says is required.
 *
 * The search is complete: a run is found wherever there is one.  The time is
 * O(log n); with a constraint it grows also with the number of free runs of this
 * size that have to be passed over because they are in the wrong place.
 *
 * EINVAL: count is 0; a bit both set and clear, or set and below the alignment
 * or the page size; alignment or boundary is no power of two; high (not 0) is
 * below low; colour is not below colours (not 0).  ERANGE: no run of these banks
 * would do even if all frames were free.  ENOMEM: some would, none is free.
 */
int hmm_zones_alloc(struct hmm_zones *zones, uint32_t count,
                    const struct hmm_constraint *constraint, uint32_t hint,
                    uint32_t *first);

/*
 * Takes a handy run of 1 to `want' frames in O(log n): what is free from the
 * frame `hint' on, else `want' frames, else the longest run there is.  EINVAL:
 * want is 0.  ENOMEM: no frame is free.
 */
int hmm_zones_alloc_some(struct hmm_zones *zones, uint32_t want, uint32_t hint,
                         uint32_t *first, uint32_t *got);

/* Gives back any frames that were taken: part of a run, or several neighbours.
   EINVAL: count is 0, a frame does not exist, or a frame is free already. */
int hmm_zones_free(struct hmm_zones *zones, uint32_t first, uint32_t count);

/* How many frames are free. */
uint32_t hmm_zones_free_count(const struct hmm_zones *zones);

/* The length of the longest free run, exactly, in O(banks + log n). */
uint32_t hmm_zones_largest(struct hmm_zones *zones);

/* Whether this frame exists and is free. */
bool hmm_zones_is_free(const struct hmm_zones *zones, uint32_t frame);

/* Checks every invariant of the structure, in O(frames). */
bool hmm_zones_check(const struct hmm_zones *zones);

#endif /* HMM_PHYSMEM_ZONES_H */
