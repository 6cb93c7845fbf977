/* SPDX-License-Identifier: MIT */
/*
 * The copy store: private writes over a base that stays as it is.
 *
 * The delta, in blocks: a header; a map with a bit for each block of the base;
 * then a place for each block.  A set bit says that the newest contents are in
 * the delta, a clear one that they are in the base.  Numbers are little endian.
 *
 * Invariants.
 *  1. A bit is set in memory only after the block has been written to the delta,
 *     and in the delta only after what it speaks of is durable: sync makes the
 *     blocks durable, writes the map as it was before that (`safe'), and makes
 *     that durable.  So whenever the process or the machine dies, a block is the
 *     base's or one that was written.
 *  2. Bits are never cleared, so it does not matter how much of a map block that
 *     is being written arrives.
 *  3. A group is the part of the map that lies in one block.  It is read when it
 *     is first needed; a group without `bits' has not been.
 *
 * The way of a block that is written:
 *
 *     of the base
 *       |  copy_page_out writes it to its place in the delta; if that fails it is
 *       |  the base's still
 *     in the delta: set_bits, from now on it is read from there
 *       |  take_safe, of copy_sync, takes its bit down; sync_delta makes all that
 *       |  was written before durable
 *     known to the map: write_map
 *       |  sync_delta again; if that fails write_again begins anew, as what the
 *       |  delta has of the map is not known then
 *     in the delta for ever
 *
 * `mutex' protects the groups, and is not held over I/O; `sync_mutex' lets one
 * sync at a time write the map, and `load_mutex' one thread at a time read it, as
 * the delta must not be asked for one block twice at once.  Both are taken before
 * `mutex', and held over I/O.
 */
#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "lib/stores/compose.h"

#define HEADER_BYTES 32u /* of the first block; the rest are zeros */

static const unsigned char magic[8] = {'h', 'm', 'm', 'd', 'e', 'l', 't', '1'};

struct group {
    uint8_t *bits; /* as they are now; NULL: not read yet */
    uint8_t *safe; /* as they may be written; NULL: never written */
    bool dirty;    /* bits were set since safe was made */
    bool pending;  /* safe has not been written */
    bool unlocked; /* the delta has room for it */
};

struct copy {
    struct hurdmm *manager;
    struct hurdmm_store *base, *delta;
    uint64_t data; /* where the blocks begin in the delta */
    size_t block;
    size_t group_count;
    unsigned flags, depth;
    uint32_t mutex, sync_mutex, load_mutex;
    bool base_claimed, delta_claimed;
    struct group groups[];
};

static void lock(struct copy *copy)
{
    hurdmm_mutex_lock(copy->manager, &copy->mutex);
}

static void unlock(struct copy *copy)
{
    hurdmm_mutex_unlock(copy->manager, &copy->mutex);
}

/* Blocks of the base for which there are bits in a block of the map. */
static uint64_t group_blocks(size_t block)
{
    return (uint64_t)block * 8;
}

/* The last may be cut. */
static uint64_t blocks_of(uint64_t size, size_t block)
{
    return size / block + (size % block != 0 ? 1 : 0);
}

/* Blocks of the map. */
static uint64_t map_blocks(uint64_t size, size_t block)
{
    uint64_t blocks = blocks_of(size, block), each = group_blocks(block);

    return blocks / each + (blocks % each != 0 ? 1 : 0);
}

uint64_t hurdmm_copy_delta_size(uint64_t size, size_t block_size)
{
    uint64_t head;

    if (size == 0 || block_size < HEADER_BYTES ||
        (block_size & (block_size - 1)) != 0 || group_blocks(block_size) == 0)
        return 0;
    /* An eighth of the size in bits, and a block or two: no overflow. */
    head = (1 + map_blocks(size, block_size)) * block_size;
    store_assert(head >= 2 * block_size && head % block_size == 0);
    return size > UINT64_MAX - block_size - head ? 0 : head + size;
}

static bool get_bit(const uint8_t *bits, uint64_t at)
{
    return (bits[at / 8] >> at % 8 & 1) != 0;
}

/* ---- Groups -------------------------------------------------------------- */

/* What there is a place for in the delta.  The claim keeps the base's size as it
 * is; the copy's own may be changed by anybody. */
static uint64_t size_of(const struct copy *copy)
{
    return hurdmm_store_size(copy->base);
}

/* Whether no bit is set for blocks that the base does not have. */
static bool plausible(const struct copy *copy, size_t index,
                      const uint8_t *bits)
{
    uint64_t each = group_blocks(copy->block);
    uint64_t blocks = blocks_of(size_of(copy), copy->block);
    uint64_t rest = blocks - index * each;

    store_assert(index < copy->group_count && rest > 0);
    for (uint64_t i = rest; i < each; i++)
        if (get_bit(bits, i))
            return false;
    return true;
}

/* What the delta says of a group.  EIO: nonsense. */
static int read_group(struct copy *copy, size_t index, uint8_t *bits)
{
    size_t done;
    int error;

    if (copy->flags & HURDMM_STORE_VOLATILE)
        return 0; /* fresh memory is zeros */
    error = hurdmm_claimed_page_in(copy->delta, (1 + index) * copy->block, bits,
                                   copy->block, &done);
    if (error == 0 && !plausible(copy, index, bits))
        error = EIO;
    return error;
}

/* Whether memory of a group is there: once it is, it stays. */
static bool is_there(struct copy *copy, uint8_t *const *bits)
{
    bool there;

    lock(copy);
    there = *bits != NULL;
    unlock(copy);
    return there;
}

/* Makes bits a group's, if it has none there yet. */
static void put(struct copy *copy, uint8_t **place, void *bits)
{
    lock(copy);
    if (!*place) {
        *place = bits;
        bits = NULL;
    }
    unlock(copy);
    hurdmm_deallocate(copy->manager, bits, copy->block);
}

/* Sees to it that a group is there. */
static int load(struct copy *copy, size_t index)
{
    struct group *group = &copy->groups[index];
    void *bits;
    int error = 0;

    store_assert(index < copy->group_count);
    if (is_there(copy, &group->bits))
        return 0;
    hurdmm_mutex_lock(copy->manager, &copy->load_mutex);
    if (!is_there(copy, &group->bits)) {
        error = hurdmm_allocate(copy->manager, copy->block, &bits);
        if (error == 0)
            error = read_group(copy, index, bits);
        if (error == 0)
            put(copy, &group->bits, bits);
        else
            hurdmm_deallocate(copy->manager, bits, copy->block);
    }
    hurdmm_mutex_unlock(copy->manager, &copy->load_mutex);
    return error;
}

/* Gives a group that will be written the memory for it. */
static int prepare(struct copy *copy, size_t index)
{
    struct group *group = &copy->groups[index];
    void *safe;
    int error = load(copy, index);

    store_assert(error != 0 || group->bits);
    if (error != 0 || is_there(copy, &group->safe))
        return error;
    error = hurdmm_allocate(copy->manager, copy->block, &safe);
    if (error == 0)
        put(copy, &group->safe, safe);
    return error;
}

/* ---- Pages --------------------------------------------------------------- */

/* Of `count' blocks, how many lie where the first one does, in one group. */
static uint64_t run_at(struct copy *copy, uint64_t block, uint64_t count,
                       bool *in_delta)
{
    uint64_t each = group_blocks(copy->block);
    const uint8_t *bits = copy->groups[block / each].bits;
    uint64_t start = block % each, run = 1;

    store_assert(bits && count > 0 && block / each < copy->group_count);
    if (count > each - start)
        count = each - start;
    lock(copy);
    *in_delta = get_bit(bits, start);
    while (run < count && get_bit(bits, start + run) == *in_delta)
        run++;
    unlock(copy);
    store_assert(run <= count && start + run <= each);
    return run;
}

/* A read that fails in the middle says how far it got: what is there is not read
 * again.  ENXIO: whoever made the copy longer finds nothing behind the base. */
static int copy_page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                        void *buffer, size_t length, size_t *done)
{
    struct copy *copy = hook;
    int error = 0;

    (void)store;
    store_assert(offset % copy->block == 0 && length > 0);
    *done = 0;
    while (error == 0 && *done < length) {
        uint64_t at = offset + *done, block = at / copy->block, run;
        char *to = (char *)buffer + *done;
        size_t rest = length - *done, moved = 0;
        bool in_delta;

        if (at >= size_of(copy))
            return ENXIO;
        if (rest > size_of(copy) - at)
            rest = (size_t)(size_of(copy) - at);
        error = load(copy, (size_t)(block / group_blocks(copy->block)));
        if (error != 0)
            break;
        run = run_at(copy, block, blocks_of(rest, copy->block), &in_delta);
        if (rest > run * copy->block)
            rest = (size_t)run * copy->block;
        error = hurdmm_claimed_page_in(in_delta ? copy->delta : copy->base,
                                       in_delta ? copy->data + at : at, to,
                                       rest, &moved);
        store_assert(moved <= rest && (error != 0 || moved > 0));
        *done += moved;
    }
    return error;
}

/* Notes that blocks are in the delta now, whether they were before or not; their
 * groups are prepared. */
static void set_bits(struct copy *copy, uint64_t block, uint64_t count)
{
    uint64_t each = group_blocks(copy->block);

    lock(copy);
    for (; count > 0; count--, block++) {
        struct group *group = &copy->groups[block / each];
        uint8_t mask = (uint8_t)(1u << block % 8);

        store_assert(group->bits && group->safe);
        if (group->bits[block % each / 8] & mask)
            continue;
        group->bits[block % each / 8] |= mask;
        group->dirty = true;
    }
    unlock(copy);
}

/* The memory for the map is there before anything is written: or the delta had
 * blocks that nobody could be told of.  ENXIO: nothing is written behind the
 * base. */
static int copy_page_out(struct hurdmm_store *store, void *hook,
                         uint64_t offset, const void *buffer, size_t length,
                         size_t *done)
{
    struct copy *copy = hook;
    uint64_t each = group_blocks(copy->block) * copy->block;
    uint64_t whole, size = size_of(copy);
    bool beyond;
    int error = 0;

    (void)store;
    store_assert(offset % copy->block == 0 && length > 0);
    *done = 0;
    if (offset >= size)
        return ENXIO;
    beyond = length > size - offset;
    if (beyond)
        length = (size_t)(size - offset);
    for (uint64_t i = offset / each;
         error == 0 && i <= (offset + length - 1) / each; i++)
        error = prepare(copy, (size_t)i);
    if (error != 0)
        return error;
    error = hurdmm_claimed_page_out(copy->delta, copy->data + offset, buffer,
                                    length, done);
    store_assert(*done <= length && (error != 0 || *done == length));
    whole = *done / copy->block;
    if (offset + *done == size)
        whole = blocks_of(*done, copy->block);
    set_bits(copy, offset / copy->block, whole);
    return error == 0 && beyond ? ENXIO : error;
}

/* Makes room for a block, and for its part of the map. */
static int copy_unlock(struct hurdmm_store *store, void *hook, uint64_t offset,
                       size_t length)
{
    struct copy *copy = hook;
    size_t index = (size_t)(offset / copy->block / group_blocks(copy->block));
    uint64_t size = size_of(copy);
    bool unlocked;
    int error = 0;

    (void)store;
    if (offset >= size)
        return ENXIO;
    store_assert(index < copy->group_count && offset % copy->block == 0);
    if (length > size - offset) /* the last block */
        length = (size_t)(size - offset);
    lock(copy);
    unlocked = copy->groups[index].unlocked;
    unlock(copy);
    if (!unlocked && !(copy->flags & HURDMM_STORE_VOLATILE))
        error = hurdmm_claimed_unlock(copy->delta, (1 + index) * copy->block,
                                      copy->block);
    if (error == 0)
        error = hurdmm_claimed_unlock(copy->delta, copy->data + offset, length);
    if (error != 0)
        return error;
    lock(copy);
    copy->groups[index].unlocked = true;
    unlock(copy);
    return 0;
}

/* ---- Ranges -------------------------------------------------------------- */

/* Takes down what may be written of the map when all that was written so far is
 * durable; whether there is anything.  `sync_mutex' is held: nobody writes from
 * what is changed here. */
static bool take_safe(struct copy *copy)
{
    bool any = false;

    store_assert(store_held(&copy->sync_mutex));
    lock(copy);
    for (size_t i = 0; i < copy->group_count; i++) {
        struct group *group = &copy->groups[i];

        if (group->dirty) {
            store_assert(group->bits && group->safe);
            memcpy(group->safe, group->bits, copy->block);
            group->pending = true;
            group->dirty = false;
        }
        any = any || group->pending;
    }
    unlock(copy);
    return any;
}

/* Writes what was taken down, all that can be; the first error.  `pending' and
 * `safe' change only while `sync_mutex' is held. */
static int write_map(struct copy *copy)
{
    int error = 0;

    for (size_t i = 0; i < copy->group_count; i++) {
        struct group *group = &copy->groups[i];
        size_t done;
        int failed;

        if (!group->pending)
            continue;
        store_assert(group->safe && store_held(&copy->sync_mutex));
        failed = hurdmm_claimed_page_out(copy->delta, (1 + i) * copy->block,
                                         group->safe, copy->block, &done);
        if (failed == 0)
            group->pending = false;
        else if (error == 0)
            error = failed;
    }
    return error;
}

/* All of it: parts of the map lie anywhere, and who else has the delta? */
static int sync_delta(struct copy *copy)
{
    return hurdmm_claimed_sync(copy->delta, 0, hurdmm_store_size(copy->delta));
}

/* A map that was written but not made durable is written again: there is no
 * knowing what became of it. */
static void write_again(struct copy *copy)
{
    lock(copy);
    for (size_t i = 0; i < copy->group_count; i++)
        if (copy->groups[i].safe)
            copy->groups[i].dirty = true;
    unlock(copy);
}

/* Blocks, then the map that speaks of them: see invariant 1. */
static int copy_sync(struct hurdmm_store *store, void *hook, uint64_t offset,
                     uint64_t length)
{
    struct copy *copy = hook;
    bool map;
    int error;

    (void)store, (void)offset, (void)length;
    if (copy->flags & HURDMM_STORE_VOLATILE)
        return 0;
    hurdmm_mutex_lock(copy->manager, &copy->sync_mutex);
    map = take_safe(copy);
    error = sync_delta(copy);
    if (error == 0 && map) {
        error = write_map(copy);
        if (error == 0)
            error = sync_delta(copy);
        if (error != 0)
            write_again(copy);
    }
    hurdmm_mutex_unlock(copy->manager, &copy->sync_mutex);
    return error;
}

static void copy_advise(struct hurdmm_store *store, void *hook, uint64_t offset,
                        uint64_t length, enum hurdmm_advice advice)
{
    struct copy *copy = hook;
    uint64_t size = size_of(copy);

    (void)store;
    if (offset >= size)
        return;
    if (length > size - offset)
        length = size - offset;
    hurdmm_claimed_advise(copy->base, offset, length, advice);
    hurdmm_claimed_advise(copy->delta, copy->data + offset, length, advice);
}

static size_t bytes_of(size_t groups)
{
    return sizeof(struct copy) + groups * sizeof(struct group);
}

static void copy_destroy(void *hook)
{
    struct copy *copy = hook;

    store_assert(!copy->delta_claimed || copy->base_claimed);
    for (size_t i = 0; i < copy->group_count; i++) {
        hurdmm_deallocate(copy->manager, copy->groups[i].bits, copy->block);
        hurdmm_deallocate(copy->manager, copy->groups[i].safe, copy->block);
    }
    if (copy->base_claimed)
        (void)hurdmm_store_unclaim(copy->base);
    if (copy->delta_claimed)
        (void)hurdmm_store_unclaim(copy->delta);
    hurdmm_deallocate(copy->manager, copy, bytes_of(copy->group_count));
}

const struct hurdmm_store_ops hmm_copy_ops = {
    .struct_size = sizeof hmm_copy_ops,
    .page_in = copy_page_in,
    .page_out = copy_page_out,
    .sync = copy_sync,
    .unlock = copy_unlock,
    .advise = copy_advise,
    .destroy = copy_destroy,
};

/* ---- Making -------------------------------------------------------------- */

unsigned hmm_copy_depth(const struct hurdmm_store *store)
{
    const struct copy *copy = hurdmm_store_hook(store);

    store_assert(copy->depth > 0);
    return copy->depth;
}

static void put_number(unsigned char *to, uint64_t number)
{
    for (unsigned i = 0; i < 8; i++)
        to[i] = (unsigned char)(number >> i * 8);
}

/* The header that a delta of this copy begins with. */
static void make_header(const struct copy *copy, unsigned char *header)
{
    store_assert(copy->block >= HEADER_BYTES);
    memset(header, 0, copy->block);
    memcpy(header, magic, sizeof magic);
    put_number(header + 8, hurdmm_store_size(copy->base));
    put_number(header + 16, copy->block);
    put_number(header + 24, copy->data);
}

static bool all_zeros(const unsigned char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static bool same(const unsigned char *a, const unsigned char *b, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

/* Looks whose delta it is; a new one, all zeros, becomes ours, unless it is only
 * to be read: then it says of no block that it is there.  EBADMSG: another's. */
static int check_header(struct copy *copy, unsigned char *wanted,
                        unsigned char *found)
{
    size_t done;
    int error =
        hurdmm_claimed_page_in(copy->delta, 0, found, copy->block, &done);

    if (error != 0)
        return error;
    make_header(copy, wanted);
    if (same(wanted, found, copy->block))
        return 0;
    if (!all_zeros(found, copy->block))
        return EBADMSG;
    if (copy->flags & HURDMM_STORE_READ_ONLY)
        return 0;
    error = hurdmm_claimed_unlock(copy->delta, 0, copy->block);
    if (error != 0)
        return error;
    return hurdmm_claimed_page_out(copy->delta, 0, wanted, copy->block, &done);
}

/* A volatile copy looks at nothing: its delta is scratch. */
static int open_delta(struct copy *copy)
{
    void *headers;
    int error;

    if (copy->flags & HURDMM_STORE_VOLATILE)
        return 0;
    error = hurdmm_allocate(copy->manager, 2 * copy->block, &headers);
    if (error != 0)
        return error;
    error = check_header(copy, headers, (unsigned char *)headers + copy->block);
    hurdmm_deallocate(copy->manager, headers, 2 * copy->block);
    return error;
}

/* Whether the two may be base and delta. */
static int check(struct hurdmm *manager, const struct hurdmm_store *base,
                 const struct hurdmm_store *delta, unsigned flags)
{
    const unsigned known = HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED |
                           HURDMM_STORE_NO_STEAL | HURDMM_STORE_VOLATILE;
    uint64_t size;
    size_t block;

    if (!manager || !base || !delta || base == delta || (flags & ~known) != 0)
        return EINVAL;
    block = hurdmm_store_block_size(base);
    if (hurdmm_store_block_size(delta) != block)
        return EINVAL;
    size = hurdmm_copy_delta_size(hurdmm_store_size(base), block);
    if (size == 0 || hurdmm_store_size(delta) != size)
        return EINVAL;
    if (hmm_composed_depth(base) >= HURDMM_COMPOSE_DEPTH ||
        hmm_composed_depth(delta) >= HURDMM_COMPOSE_DEPTH)
        return ELOOP;
    return 0;
}

/* Claims both, or notes which of them it has: copy_destroy gives that back. */
static int claim(struct copy *copy)
{
    unsigned access = HURDMM_READ;
    int error = hurdmm_store_claim(copy->base, access);

    copy->base_claimed = error == 0;
    if (!(copy->flags & HURDMM_STORE_READ_ONLY))
        access |= HURDMM_WRITE;
    if (error == 0)
        error = hurdmm_store_claim(copy->delta, access);
    copy->delta_claimed = copy->base_claimed && error == 0;
    return error;
}

/* A copy that has claimed nothing yet. */
static int copy_new(struct hurdmm *manager, struct hurdmm_store *base,
                    struct hurdmm_store *delta, unsigned flags,
                    struct copy **result)
{
    size_t block = hurdmm_store_block_size(base);
    uint64_t groups = map_blocks(hurdmm_store_size(base), block);
    unsigned below = hmm_composed_depth(base), beside;
    struct copy *copy;
    void *memory;
    int error;

    if (groups > (SIZE_MAX - sizeof *copy) / sizeof(struct group))
        return ENOMEM;
    error = hurdmm_allocate(manager, bytes_of((size_t)groups), &memory);
    if (error != 0)
        return error;
    copy = memory;
    beside = hmm_composed_depth(delta);
    copy->manager = manager;
    copy->base = base;
    copy->delta = delta;
    copy->block = block;
    copy->data = (1 + groups) * block;
    store_assert(copy->data + hurdmm_store_size(base) ==
                 hurdmm_store_size(delta));
    copy->group_count = (size_t)groups;
    copy->flags = flags;
    copy->depth = 1 + (below > beside ? below : beside);
    *result = copy;
    return 0;
}

int hurdmm_copy_create(struct hurdmm *manager, struct hurdmm_store *base,
                       struct hurdmm_store *delta, unsigned flags,
                       struct hurdmm_store **result)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "copy",
        .flags = flags,
    };
    struct copy *copy;
    int error = check(manager, base, delta, flags);

    if (error == 0)
        error = result ? copy_new(manager, base, delta, flags, &copy) : EINVAL;
    if (error != 0)
        return error;
    error = claim(copy);
    if (error == 0)
        error = open_delta(copy);
    if (error == 0) {
        options.hook = copy;
        options.size = hurdmm_store_size(base);
        options.block_size = copy->block;
        options.flags |= hurdmm_store_flags(delta) & HURDMM_STORE_NO_STEAL;
        error = hurdmm_store_create(manager, &hmm_copy_ops, &options, result);
    }
    if (error != 0)
        copy_destroy(copy);
    return error;
}
