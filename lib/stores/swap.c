/* SPDX-License-Identifier: MIT */
/*
 * Swap space: which slots of a block device hold pages.
 *
 * A slot is a page of the device.  Slots are handled in groups of GROUP, each
 * with a bitmap that is made when the group is first used, so that a device
 * that may grow to terabytes costs little.  The lowest group that fits is taken:
 * the device grows no further than it must.
 *
 * Invariants, all under `mutex':
 *  1. groups from `opened' on have no bitmap and all their slots are free;
 *  2. `longest' of a group is never less than its longest run of free slots, so
 *     that a group is looked at only when it may serve;
 *  3. a run of slots lies in one group;
 *  4. slots that are taken and slots that are promised are no more than there
 *     are, and no more than the opened groups have: a promise needs neither room
 *     nor memory to be kept.
 *
 * A slot is free (its bit is clear), or taken.  Of the free ones some are
 * promised, which is a number and not said of any one:
 *
 *     free     -> promised  hmm_swap_promise, back: hmm_swap_forgive
 *     promised -> taken     hmm_swap_take with `promised', back: hmm_swap_free
 *     free     -> taken     the same without, as far as that leaves every promise
 *                           its slot
 *
 * The device is called without the mutex.  A slot belongs to whoever took it, so
 * nobody else reads or writes it, or its checksum, meanwhile.
 */
#include <hurdmm/error.h>
#include <hurdmm/manager.h>
#include <hurdmm/stores.h>

#include "lib/stores/private.h"
#include "lib/stores/swap.h"

#define GROUP 4096u /* slots; the bitmap of one is 512 bytes */
#define WORDS (GROUP / 64u)

struct group {
    uint64_t *used; /* a bit for each slot */
    uint32_t *sums; /* of what each slot holds; NULL: there are none */
    uint32_t longest;
};

struct hurdmm_swap {
    struct hurdmm *manager;
    struct hurdmm_block *block;
    uint64_t (*checksum)(const void *bytes, size_t length);
    size_t page_size;
    uint64_t corrupt; /* pages that were not what was written */
    unsigned flags;
    uint32_t slots; /* of the device */
    uint32_t mutex;
    uint32_t taken;    /* slots */
    uint32_t promised; /* slots, of those that are free */
    uint32_t stores;   /* that use it */
    uint32_t opened;   /* groups with a bitmap */
    uint32_t group_count;
    struct group groups[];
};

struct run {
    uint32_t start, count;
};

static uint32_t group_slots(const struct hurdmm_swap *swap, uint32_t group)
{
    uint32_t rest = swap->slots - group * GROUP;

    store_assert(group < swap->group_count && rest > 0);
    return rest < GROUP ? rest : GROUP;
}

/* Slots of the opened groups: the last may be cut. */
static uint64_t opened_slots(const struct hurdmm_swap *swap)
{
    uint64_t slots = (uint64_t)swap->opened * GROUP;

    return slots < swap->slots ? slots : swap->slots;
}

/* Invariant 4. */
static bool counts_sound(const struct hurdmm_swap *swap)
{
    return swap->opened <= swap->group_count &&
           (uint64_t)swap->taken + swap->promised <= opened_slots(swap);
}

static size_t swap_bytes(uint32_t groups)
{
    return sizeof(struct hurdmm_swap) + groups * sizeof(struct group);
}

/* How many slots the device has; 0: it is of no use. */
static uint64_t count_slots(const struct hurdmm_block *block, size_t page_size)
{
    uint64_t slots;

    if (!block || !block->ops || !block->ops->read || !block->ops->write ||
        block->block_size == 0 || page_size % block->block_size != 0)
        return 0;
    slots = block->size / page_size;
    return slots < HMM_SWAP_SLOTS_MAX ? slots : HMM_SWAP_SLOTS_MAX;
}

int hurdmm_swap_create_with(struct hurdmm *manager,
                            const struct hurdmm_swap_options *options,
                            struct hurdmm_swap **swap)
{
    struct hurdmm_swap *new;
    uint64_t slots;
    uint32_t groups; /* they are opened as they are needed */
    size_t page_size;
    void *memory;
    int error;

    if (!manager || !options || options->struct_size < sizeof *options ||
        (options->flags & ~HURDMM_SWAP_RESERVE) != 0 || !swap)
        return EINVAL;
    page_size = hurdmm_page_size(manager);
    if (page_size == 0)
        return ESTALE;
    slots = count_slots(options->block, page_size);
    if (slots == 0)
        return EINVAL;
    groups = (uint32_t)((slots + GROUP - 1) / GROUP);
    error = hurdmm_allocate(manager, swap_bytes(groups), &memory);
    if (error != 0)
        return error;
    new = memory;
    new->manager = manager;
    new->block = options->block;
    new->checksum = options->checksum;
    new->flags = options->flags;
    new->page_size = page_size;
    new->slots = (uint32_t)slots;
    new->group_count = groups;
    *swap = new;
    return 0;
}

int hurdmm_swap_create(struct hurdmm *manager, struct hurdmm_block *block,
                       struct hurdmm_swap **swap)
{
    const struct hurdmm_swap_options options = {.struct_size = sizeof options,
                                                .block = block};

    return hurdmm_swap_create_with(manager, &options, swap);
}

static void lock(struct hurdmm_swap *swap)
{
    hurdmm_mutex_lock(swap->manager, &swap->mutex);
}

static void unlock(struct hurdmm_swap *swap)
{
    hurdmm_mutex_unlock(swap->manager, &swap->mutex);
}

int hurdmm_swap_destroy(struct hurdmm_swap *swap)
{
    uint32_t stores;

    if (!swap)
        return EINVAL;
    lock(swap);
    stores = swap->stores;
    unlock(swap);
    if (stores != 0)
        return EBUSY;
    store_assert(swap->taken == 0 && swap->promised == 0 && counts_sound(swap));
    for (uint32_t i = 0; i < swap->opened; i++) {
        hurdmm_deallocate(swap->manager, swap->groups[i].used,
                          WORDS * sizeof(uint64_t));
        hurdmm_deallocate(swap->manager, swap->groups[i].sums,
                          GROUP * sizeof(uint32_t));
    }
    hurdmm_deallocate(swap->manager, swap, swap_bytes(swap->group_count));
    return 0;
}

int hurdmm_swap_get_info(struct hurdmm_swap *swap,
                         struct hurdmm_swap_info *info)
{
    struct hurdmm_swap_info all;

    if (!swap || !info || info->struct_size < sizeof *info)
        return EINVAL;
    all.struct_size = info->struct_size;
    lock(swap);
    all.size = (uint64_t)swap->slots * swap->page_size;
    all.used = (uint64_t)swap->taken * swap->page_size;
    all.reserved = (uint64_t)swap->promised * swap->page_size;
    all.pages_corrupt = swap->corrupt;
    unlock(swap);
    *info = all; /* it may fault: not with the mutex */
    return 0;
}

void hurdmm_swap_usage(struct hurdmm_swap *swap, uint64_t *size, uint64_t *used)
{
    uint64_t slots, taken;

    lock(swap);
    slots = swap->slots;
    taken = swap->taken;
    unlock(swap);
    if (size)
        *size = slots * swap->page_size;
    if (used)
        *used = taken * swap->page_size;
}

/* A swap space has its memory from one manager, and lives no longer. */
int hmm_swap_open(struct hurdmm_swap *swap, struct hurdmm *manager)
{
    if (swap->manager != manager)
        return EINVAL;
    lock(swap);
    swap->stores++;
    unlock(swap);
    return 0;
}

void hmm_swap_close(struct hurdmm_swap *swap)
{
    lock(swap);
    store_assert(swap->stores > 0);
    swap->stores--;
    unlock(swap);
}

/* The first bit at or after `from' that is set (or, with `invert', clear);
 * GROUP when there is none. */
static uint32_t next_bit(const uint64_t *bits, uint32_t from, bool invert)
{
    uint64_t flip = invert ? UINT64_MAX : 0;

    store_assert(from <= GROUP);
    for (uint32_t word = from / 64; word < WORDS; word++) {
        uint64_t value = bits[word] ^ flip;

        if (word == from / 64)
            value &= UINT64_MAX << from % 64;
        if (value != 0)
            return word * 64 + (uint32_t)__builtin_ctzll(value);
    }
    return GROUP;
}

/* Sets or clears bits [start, start + count). */
static void mark(uint64_t *bits, uint32_t start, uint32_t count, bool set)
{
    store_assert(start + count <= GROUP);
    while (count > 0) {
        uint32_t shift = start % 64;
        uint32_t n = 64 - shift < count ? 64 - shift : count;
        uint64_t mask = UINT64_MAX >> (64 - n) << shift;

        store_assert((bits[start / 64] & mask) == (set ? 0 : mask));
        bits[start / 64] ^= mask;
        start += n;
        count -= n;
    }
}

/* The first run of `count' free slots in a group, or the longest; what is
 * learnt of the group is kept in `longest'. */
static struct run search_group(struct hurdmm_swap *swap, uint32_t index,
                               uint32_t count)
{
    struct group *group = &swap->groups[index];
    uint32_t end = group_slots(swap, index);
    struct run best = {0, 0};
    uint32_t start = next_bit(group->used, 0, true);

    store_assert(store_held(&swap->mutex) && index < swap->opened && count > 0);
    while (start < end) {
        uint32_t stop = next_bit(group->used, start, false);

        if (stop > end)
            stop = end;
        if (stop - start > best.count)
            best = (struct run){start, stop - start};
        if (best.count >= count)
            return (struct run){best.start, count};
        start = next_bit(group->used, stop, true);
    }
    store_assert(best.count < count && best.count <= group->longest);
    group->longest = best.count;
    return best;
}

/* Gives the next group its bitmap, and its checksums.  ENOMEM.  Locked. */
static int open_group(struct hurdmm_swap *swap)
{
    struct group *group = &swap->groups[swap->opened];
    void *used, *sums = NULL;
    int error;

    store_assert(store_held(&swap->mutex) && swap->opened < swap->group_count);
    error = hurdmm_allocate(swap->manager, WORDS * sizeof(uint64_t), &used);
    if (error != 0)
        return error;
    if (swap->checksum)
        error = hurdmm_allocate(swap->manager, GROUP * sizeof(uint32_t), &sums);
    if (error != 0) {
        hurdmm_deallocate(swap->manager, used, WORDS * sizeof(uint64_t));
        return error;
    }
    group->used = used;
    group->sums = sums;
    group->longest = group_slots(swap, swap->opened);
    swap->opened++;
    return 0;
}

/* Opens groups until they have so many slots.  ENOMEM.  Locked. */
static int cover(struct hurdmm_swap *swap, uint64_t slots)
{
    int error = 0;

    store_assert(slots <= swap->slots);
    while (error == 0 && opened_slots(swap) < slots)
        error = open_group(swap);
    return error;
}

bool hmm_swap_reserves(const struct hurdmm_swap *swap)
{
    return (swap->flags & HURDMM_SWAP_RESERVE) != 0;
}

int hmm_swap_promise(struct hurdmm_swap *swap, uint32_t count)
{
    uint64_t need;
    int error = 0;

    lock(swap);
    need = (uint64_t)swap->taken + swap->promised + count;
    if (need > swap->slots)
        error = ENOSPC;
    if (error == 0)
        error = cover(swap, need);
    if (error == 0)
        swap->promised += count;
    store_assert(counts_sound(swap));
    unlock(swap);
    return error;
}

void hmm_swap_forgive(struct hurdmm_swap *swap, uint32_t count)
{
    lock(swap);
    store_assert(swap->promised >= count);
    swap->promised -= count;
    unlock(swap);
}

/* Finds the run to take; *index is its group.  An empty run: *error why. */
static struct run search(struct hurdmm_swap *swap, uint32_t count,
                         uint32_t *index, int *error)
{
    struct run best = {0, 0};

    store_assert(store_held(&swap->mutex) && count > 0);
    *error = ENOSPC;
    for (uint32_t i = 0; i < swap->group_count; i++) {
        struct run run;

        if (i == swap->opened) {
            int opening = open_group(swap);

            if (opening != 0) {
                *error = opening;
                break;
            }
        }
        if (swap->groups[i].longest <= best.count)
            continue;
        run = search_group(swap, i, count);
        if (run.count > best.count) {
            best = run;
            *index = i;
        }
        if (best.count == count)
            break;
    }
    return best;
}

/* How many of `count' slots may be taken: of those that are promised to nobody,
 * or to whoever asks.  0: *error says why.  Locked. */
static uint64_t takeable(struct hurdmm_swap *swap, uint64_t count,
                         bool promised, int *error)
{
    uint64_t others = swap->taken + (uint64_t)swap->promised;
    uint64_t free = swap->slots - others;

    if (promised)
        return count;
    *error = ENOSPC;
    if (count > free)
        count = free;
    if (count == 0 || cover(swap, others + count) == 0)
        return count;
    /* As far as that leaves the others their room in what is opened. */
    *error = ENOMEM;
    free = opened_slots(swap) - others;
    return count < free ? count : free;
}

int hmm_swap_take(struct hurdmm_swap *swap, uint64_t count, bool promised,
                  uint32_t *slot, uint32_t *got)
{
    struct run run = {0, 0};
    uint32_t index = 0;
    int error = ENOSPC;

    store_assert(count > 0);
    lock(swap);
    store_assert(!promised || count <= swap->promised);
    count = takeable(swap, count < GROUP ? count : GROUP, promised, &error);
    if (count > 0)
        run = search(swap, (uint32_t)count, &index, &error);
    if (run.count > 0) {
        mark(swap->groups[index].used, run.start, run.count, true);
        swap->taken += run.count;
        if (promised) {
            store_assert(swap->promised >= run.count);
            swap->promised -= run.count;
        }
    }
    store_assert(run.count <= count && counts_sound(swap));
    unlock(swap);
    if (run.count == 0)
        return error;
    *slot = index * GROUP + run.start;
    *got = run.count;
    return 0;
}

void hmm_swap_free(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                   bool promised)
{
    store_assert(count > 0 && (uint64_t)slot + count <= swap->slots);
    /* Before the slots are free: or it would be another's that is discarded. */
    (void)hurdmm_block_discard(swap->block, (uint64_t)slot * swap->page_size,
                               (uint64_t)count * swap->page_size);
    lock(swap);
    store_assert(swap->taken >= count);
    swap->taken -= count;
    if (promised)
        swap->promised += count;
    store_assert(counts_sound(swap));
    /* Slots that follow each other may have been taken in several runs. */
    while (count > 0) {
        struct group *group = &swap->groups[slot / GROUP];
        uint32_t start = slot % GROUP;
        uint32_t n = GROUP - start < count ? GROUP - start : count;

        mark(group->used, start, n, false);
        group->longest = GROUP;
        slot += n;
        count -= n;
    }
    unlock(swap);
}

/* ---- The device ---------------------------------------------------------- */

/* What is kept of a page's checksum. */
static uint32_t sum_of(const struct hurdmm_swap *swap, const void *bytes)
{
    uint64_t sum = swap->checksum(bytes, swap->page_size);

    return (uint32_t)(sum ^ sum >> 32);
}

/* The checksums are not locked: whoever has the slot has its sum. */
static uint32_t *sum_at(struct hurdmm_swap *swap, uint32_t slot)
{
    store_assert(slot < swap->slots && swap->groups[slot / GROUP].sums);
    return &swap->groups[slot / GROUP].sums[slot % GROUP];
}

/* Slots that follow each other in one go. */
static int read_device(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                       void *buffer)
{
    return hurdmm_block_read(swap->block, (uint64_t)slot * swap->page_size,
                             buffer, count * swap->page_size);
}

/* Reads slots; where one of them is bad, one after the other, so that those
 * before it are not lost with it. */
static int read_slots(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                      char *buffer, uint32_t *good)
{
    int error = read_device(swap, slot, count, buffer);

    *good = error == 0 ? count : 0;
    if (error != EIO || count == 1)
        return error;
    for (error = 0; error == 0 && *good < count; *good += error == 0 ? 1 : 0)
        error = read_device(swap, slot + *good, 1,
                            buffer + *good * swap->page_size);
    return error;
}

int hmm_swap_read(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                  void *buffer, uint32_t *good)
{
    int error;

    store_assert(count > 0 && (uint64_t)slot + count <= swap->slots);
    error = read_slots(swap, slot, count, buffer, good);
    store_assert(*good <= count && (error != 0) == (*good < count));
    if (!swap->checksum)
        return error;
    for (uint32_t i = 0; i < *good; i++) {
        if (sum_of(swap, (char *)buffer + i * swap->page_size) ==
            *sum_at(swap, slot + i))
            continue;
        *good = i;
        lock(swap);
        swap->corrupt++;
        unlock(swap);
        return EIO;
    }
    return error;
}

int hmm_swap_write(struct hurdmm_swap *swap, uint32_t slot, uint32_t count,
                   const void *buffer)
{
    int error;

    store_assert(count > 0 && (uint64_t)slot + count <= swap->slots);
    error = hurdmm_block_write(swap->block, (uint64_t)slot * swap->page_size,
                               buffer, count * swap->page_size);
    for (uint32_t i = 0; error == 0 && swap->checksum && i < count; i++)
        *sum_at(swap, slot + i) =
            sum_of(swap, (const char *)buffer + i * swap->page_size);
    return error;
}

/* Every step is a bijection of what was before it, so that a change of one word
 * can never be lost; of others one in 2^64 is. */
uint64_t hurdmm_checksum(const void *bytes, size_t length)
{
    const char *at = bytes;
    uint64_t sum = length, word;

    for (; length > 0; length -= length < sizeof word ? length : sizeof word) {
        word = 0;
        memcpy(&word, at, length < sizeof word ? length : sizeof word);
        at += sizeof word;
        sum = (sum ^ word) * UINT64_C(0x9fb21c651e98df25);
        sum ^= sum >> 32;
    }
    return sum;
}
