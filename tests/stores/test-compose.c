/* SPDX-License-Identifier: MIT */
/*
 * Compositions of stores: which byte is where, whose errors are whose, and what
 * a store that is claimed refuses.
 *
 * The leaves are scripted disks, which watch the contract of hurdmm/store.h: a
 * composition calls them as the library would.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/rand.h"
#include "tests/core/disk.h"
#include "tests/stores/rig.h"
#include "tests/support/runner.h"

#define LEAVES 6
#define LEAF_PAGES 24
#define NODES 32

struct leaf {
    struct disk disk;
    uint8_t bytes[LEAF_PAGES * PAGE];
    uint8_t truth[LEAF_PAGES * PAGE];
};

static struct rig rig;
static struct leaf leaves[LEAVES];
static struct hmm_rand rand_state;

static void begin(void)
{
    rig_begin(&rig, 64, 128);
    hmm_rand_init(&rand_state, 1);
}

static void end(void)
{
    rig_end(&rig);
    for (unsigned i = 0; i < LEAVES; i++)
        ck_assert_msg(leaves[i].disk.complaint == NULL, "leaf %u: %s", i,
                      leaves[i].disk.complaint);
}

static unsigned below(unsigned limit)
{
    return (unsigned)hmm_rand_below(&rand_state, limit);
}

/* A disk with contents of its own. */
static struct hurdmm_store *make_leaf(unsigned number, uint64_t size,
                                      size_t block, unsigned flags,
                                      enum disk_mode mode)
{
    struct leaf *leaf = &leaves[number];

    for (size_t i = 0; i < sizeof leaf->bytes; i++)
        leaf->bytes[i] = (uint8_t)(i * 5 + i / PAGE + number * 41 + 1);
    memcpy(leaf->truth, leaf->bytes, sizeof leaf->bytes);
    disk_init(&leaf->disk, rig.port, PAGE, leaf->bytes, sizeof leaf->bytes);
    leaf->disk.mode = mode;
    ck_assert_int_eq(disk_open(&leaf->disk, rig.manager, size, block, flags),
                     0);
    return leaf->disk.store;
}

static struct hurdmm_store *plain_leaf(unsigned number, unsigned pages)
{
    return make_leaf(number, pages * PAGE, 0, 0, DISK_PLAIN);
}

/* ---- The byte model ------------------------------------------------------ */

/* A store, and for each of its bytes where it really is: NULL is a hole. */
struct node {
    struct hurdmm_store *store;
    uint64_t size;
    uint8_t **bytes;
    bool *writable;
    bool taken; /* another node claims it */
};

static struct node nodes[NODES];
static unsigned node_count;

static struct node *new_node(uint64_t size)
{
    struct node *node = &nodes[node_count++];

    ck_assert_uint_le(node_count, NODES);
    node->size = size;
    node->bytes = calloc((size_t)size, sizeof *node->bytes);
    node->writable = calloc((size_t)size, sizeof *node->writable);
    node->taken = false;
    node->store = NULL;
    return node;
}

static void take_byte(struct node *to, uint64_t at, const struct node *from,
                      uint64_t offset, bool read_only)
{
    ck_assert_uint_lt(at, to->size);
    ck_assert_uint_lt(offset, from->size);
    to->bytes[at] = from->bytes[offset];
    to->writable[at] = from->writable[offset] && !read_only;
}

static void add_leaf(unsigned number, size_t block)
{
    bool read_only = below(5) == 0;
    unsigned blocks = 1 + below((unsigned)(LEAF_PAGES * PAGE / block));
    uint64_t size = blocks * block;
    struct node *node;

    if (below(4) == 0)
        size -= below((unsigned)block);
    node = new_node(size);
    node->store =
        make_leaf(number, size, block, read_only ? HURDMM_STORE_READ_ONLY : 0,
                  below(2) ? DISK_PLAIN : DISK_SIMPLE);
    for (uint64_t i = 0; i < size; i++) {
        node->bytes[i] = &leaves[number].truth[i];
        node->writable[i] = !read_only;
    }
}

/* A node that nobody has claimed, other than `but'. */
static struct node *pick(const struct node *but)
{
    for (unsigned tries = 0; tries < 50; tries++) {
        struct node *node = &nodes[below(node_count)];

        if (!node->taken && node != but)
            return node;
    }
    return NULL;
}

static bool all_read_only(const struct node *node)
{
    for (uint64_t i = 0; i < node->size; i++)
        if (node->writable[i])
            return false;
    return true;
}

/* The store made of `node' if that went as it should; else the node goes. */
static void settle(struct node *node, int error, bool read_only)
{
    if (all_read_only(node) && !read_only && error == EACCES) {
        node->taken = true; /* of no use */
        return;
    }
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(hurdmm_store_size(node->store), node->size);
}

/* Runs of blocks in any order, with holes; the last may be the store's last. */
static void add_remap(size_t block)
{
    struct node *from = pick(NULL), *to;
    bool read_only = below(3) == 0, tail = below(2) == 0;
    struct hurdmm_run runs[40];
    uint64_t blocks, order[LEAF_PAGES * LEAVES + 1], size = 0, at = 0;
    unsigned count = 0;

    if (!from)
        return;
    blocks = from->size / block;
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t k = below((unsigned)i + 1);

        order[i] = order[k];
        order[k] = i;
    }
    for (uint64_t i = 0; i < blocks && count < 38; i++, count++) {
        bool hole = below(6) == 0;

        runs[count].offset = hole ? HURDMM_HOLE : order[i] * block;
        runs[count].length = block * (hole ? 1 + below(3) : 1);
        size += runs[count].length;
    }
    if (tail && from->size % block != 0) {
        runs[count].offset = blocks * block;
        runs[count].length = from->size % block;
        size += runs[count++].length;
    }
    if (count == 0)
        return;
    to = new_node(size);
    for (unsigned i = 0; i < count; at += runs[i++].length)
        for (uint64_t k = 0; k < runs[i].length; k++)
            if (runs[i].offset != HURDMM_HOLE)
                take_byte(to, at + k, from, runs[i].offset + k, read_only);
    int error =
        hurdmm_remap_create(rig.manager, from->store, runs, count,
                            read_only ? HURDMM_STORE_READ_ONLY : 0, &to->store);
    settle(to, error, read_only);
    from->taken = error == 0;
}

/* Up to four different nodes; those before the last are whole blocks. */
static unsigned pick_several(struct node *chosen[], size_t block, bool whole)
{
    unsigned count = 0;

    for (unsigned tries = 0; tries < 20 && count < 4; tries++) {
        struct node *node = pick(NULL);

        if (!node || (whole && node->size % block != 0))
            continue;
        node->taken = true;
        chosen[count++] = node;
    }
    return count;
}

static void give_back(struct node *chosen[], unsigned count, bool taken)
{
    for (unsigned i = 0; i < count; i++)
        chosen[i]->taken = taken;
}

static void add_concat(size_t block)
{
    struct hurdmm_store *stores[5];
    struct node *chosen[5], *to;
    bool read_only = below(3) == 0;
    unsigned count = pick_several(chosen, block, true);
    struct node *last = pick(NULL);
    uint64_t size = 0, at = 0;

    if (last) {
        last->taken = true;
        chosen[count++] = last;
    }
    if (count == 0)
        return;
    for (unsigned i = 0; i < count; i++) {
        stores[i] = chosen[i]->store;
        size += chosen[i]->size;
    }
    to = new_node(size);
    for (unsigned i = 0; i < count; at += chosen[i++]->size)
        for (uint64_t k = 0; k < chosen[i]->size; k++)
            take_byte(to, at + k, chosen[i], k, read_only);
    int error = hurdmm_concat_create(rig.manager, stores, count,
                                     read_only ? HURDMM_STORE_READ_ONLY : 0,
                                     &to->store);
    settle(to, error, read_only);
    give_back(chosen, count, error == 0);
}

/* Unit by unit, as the Hurd's interleave meant it. */
static void add_stripe(size_t block)
{
    struct hurdmm_store *stores[4];
    struct node *chosen[4], *to;
    bool read_only = below(3) == 0;
    unsigned count = pick_several(chosen, block, false);
    uint64_t unit = block * (1 + below(3)), least = UINT64_MAX, at = 0;

    if (count == 0)
        return;
    for (unsigned i = 0; i < count; i++) {
        stores[i] = chosen[i]->store;
        if (chosen[i]->size / unit < least)
            least = chosen[i]->size / unit;
    }
    if (least == 0) {
        struct hurdmm_store *none;

        ck_assert_int_eq(
            hurdmm_stripe_create(rig.manager, stores, count, unit, 0, &none),
            EINVAL);
        give_back(chosen, count, false);
        return;
    }
    to = new_node(least * unit * count);
    for (uint64_t round = 0; round < least; round++)
        for (unsigned i = 0; i < count; i++)
            for (uint64_t k = 0; k < unit; k++)
                take_byte(to, at++, chosen[i], round * unit + k, read_only);
    int error = hurdmm_stripe_create(rig.manager, stores, count, unit,
                                     read_only ? HURDMM_STORE_READ_ONLY : 0,
                                     &to->store);
    settle(to, error, read_only);
    give_back(chosen, count, error == 0);
}

/* Some bytes, anywhere, mostly near the ends of blocks. */
static uint64_t pick_range(const struct node *node, uint8_t *buffer,
                           size_t *length)
{
    uint64_t offset = below((unsigned)node->size);

    if (below(3) == 0)
        offset = offset / PAGE * PAGE;
    *length = 1 + below(3 * PAGE);
    if (*length > node->size - offset)
        *length = (size_t)(node->size - offset);
    for (size_t i = 0; i < *length; i++)
        buffer[i] = (uint8_t)below(256);
    return offset;
}

static void read_some(const struct node *node)
{
    uint8_t buffer[3 * PAGE];
    size_t length, done;
    uint64_t offset = pick_range(node, buffer, &length);

    ck_assert_int_eq(
        hurdmm_store_read(node->store, offset, buffer, length, &done), 0);
    for (size_t i = 0; i < length; i++) {
        const uint8_t *byte = node->bytes[offset + i];

        ck_assert_msg(buffer[i] == (byte ? *byte : 0), "byte %u of %u",
                      (unsigned)(offset + i), (unsigned)node->size);
    }
}

static void write_some(struct node *node)
{
    uint8_t buffer[3 * PAGE];
    size_t length, done;
    uint64_t offset = pick_range(node, buffer, &length);
    int error = hurdmm_store_write(node->store, offset, buffer, length, &done);

    for (size_t i = 0; i < done; i++) {
        ck_assert(node->writable[offset + i]);
        *node->bytes[offset + i] = buffer[i];
    }
    if (done < length) {
        ck_assert(!node->writable[offset + done]);
        /* A hole below a read-only store is that first. */
        if (error != ENOSPC || node->bytes[offset + done] != NULL)
            ck_assert_int_eq(error, EROFS);
    } else {
        ck_assert_int_eq(error, 0);
    }
}

static void compare_all(const struct node *node)
{
    uint8_t *buffer = malloc((size_t)node->size);
    size_t done;

    ck_assert_int_eq(
        hurdmm_store_read(node->store, 0, buffer, (size_t)node->size, &done),
        0);
    for (uint64_t i = 0; i < node->size; i++)
        ck_assert_uint_eq(buffer[i], node->bytes[i] ? *node->bytes[i] : 0);
    free(buffer);
}

static void free_nodes(void)
{
    for (unsigned i = 0; i < node_count; i++) {
        free(nodes[i].bytes);
        free(nodes[i].writable);
    }
    node_count = 0;
}

/* One forest of compositions, used and taken down. */
static void try_forest(uint64_t seed)
{
    size_t block = PAGE << (seed % 3);

    hmm_rand_init(&rand_state, seed);
    rig_begin(&rig, 64, 16);
    for (unsigned i = 0; i < LEAVES; i++)
        add_leaf(i, block);
    for (unsigned i = 0; i < 8; i++)
        switch (below(3)) {
        case 0:
            add_remap(block);
            break;
        case 1:
            add_concat(block);
            break;
        default:
            add_stripe(block);
        }
    for (unsigned i = 0; i < 60; i++) {
        struct node *node = pick(NULL);

        if (node && below(2))
            write_some(node);
        else if (node)
            read_some(node);
        if (node && below(10) == 0)
            ck_assert_int_eq(
                hurdmm_store_return(node->store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                0);
    }
    ck_assert_int_eq(hurdmm_sync_all(rig.manager), 0);
    for (unsigned i = 0; i < node_count; i++)
        if (!nodes[i].taken)
            compare_all(&nodes[i]);
    for (unsigned i = 0; i < LEAVES; i++)
        ck_assert_mem_eq(leaves[i].bytes, leaves[i].truth,
                         sizeof leaves[i].bytes);
    end();
    free_nodes();
}

START_TEST(random_compositions_match_a_byte_model)
{
    unsigned rounds = (unsigned)test_scaled(80);

    for (uint64_t seed = 1; seed <= rounds; seed++)
        try_forest(seed);
}
END_TEST

/* ---- One thing at a time ------------------------------------------------- */

START_TEST(all_of_zero_can_be_a_part)
{
    const uint64_t most = UINT64_MAX - 2 * PAGE + 1;
    struct hurdmm_run run = {0, most};
    struct hurdmm_store *zero, *part;

    ck_assert_int_eq(hurdmm_zero_create(rig.manager, most, 0, &zero), 0);
    ck_assert_int_eq(hurdmm_remap_create(rig.manager, zero, &run, 1,
                                         HURDMM_STORE_READ_ONLY, &part),
                     0);
    ck_assert_uint_eq(hurdmm_store_size(part), most);
    expect_page(part, 0, 0);
    expect_page(part, most / PAGE - 1, 0);
    expect_error(part, most / PAGE, ENXIO);
}
END_TEST

START_TEST(what_zero_is_told_is_refused)
{
    struct hurdmm_store *zero;

    ck_assert_int_eq(hurdmm_zero_create(rig.manager, 3 * PAGE, 0, &zero), 0);
    ck_assert_int_eq(put_page(zero, 1, 1), EROFS);
    expect_page(zero, 1, 0);
    ck_assert_int_eq(
        hurdmm_zero_create(rig.manager, PAGE, HURDMM_STORE_READ_ONLY, &zero),
        EINVAL);
}
END_TEST

START_TEST(a_buffer_gets_what_is_written_and_no_more)
{
    static uint8_t memory[5 * PAGE];
    const size_t size = 4 * PAGE + 7;
    struct hurdmm_store *store;
    uint8_t byte = 9;
    size_t done;

    memset(memory, 1, sizeof memory);
    ck_assert_int_eq(hurdmm_buffer_create(rig.manager, memory, size, 0, &store),
                     0);
    ck_assert_int_eq(hurdmm_store_write(store, size - 1, &byte, 1, &done), 0);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(memory[size - 2], 1);
    ck_assert_uint_eq(memory[size - 1], 9);
    ck_assert_uint_eq(memory[size], 1);
    ck_assert_int_eq(hurdmm_buffer_create(rig.manager, NULL, PAGE, 0, &store),
                     EINVAL);
}
END_TEST

/* Whoever makes a store longer than what it is made of finds nothing there, and
 * what it is made of is as it was. */
static void expect_nothing_beyond(struct hurdmm_store *store, uint64_t size)
{
    uint8_t byte = 7;
    size_t done;

    ck_assert_int_eq(hurdmm_store_resize(store, size + 3000 * PAGE), 0);
    ck_assert_int_eq(hurdmm_store_read(store, size + 2 * PAGE, &byte, 1, &done),
                     ENXIO);
    ck_assert_int_eq(
        hurdmm_store_read(store, size + 2900 * PAGE, &byte, 1, &done), ENXIO);
    (void)hurdmm_store_write(store, size + 2 * PAGE, &byte, 1, &done);
    (void)hurdmm_store_write(store, size + 2900 * PAGE, &byte, 1, &done);
    (void)hurdmm_store_advise(store, 0, HURDMM_WHOLE, HURDMM_ADVICE_WILLNEED);
    (void)hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    ck_assert_int_eq(hurdmm_store_read(store, PAGE, &byte, 1, &done), 0);
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DROP), 0);
}

START_TEST(a_composition_that_grows_has_nothing_there)
{
    struct hurdmm_store *parts[2] = {plain_leaf(0, 4), plain_leaf(1, 4)};
    struct hurdmm_store *store;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, parts, 2, 0, &store), 0);
    expect_nothing_beyond(store, 8 * PAGE);
    ck_assert_int_eq(
        hurdmm_stripe_create(rig.manager, parts, 2, PAGE, 0, &store), 0);
    expect_nothing_beyond(store, 8 * PAGE);
}
END_TEST

START_TEST(a_composition_that_asks_before_it_writes_may_grow)
{
    struct hurdmm_store *parts[2] = {plain_leaf(0, 4), NULL};
    struct hurdmm_store *store;

    ck_assert_int_eq(hurdmm_zero_create(rig.manager, 4 * PAGE, 0, &parts[1]),
                     0);
    ck_assert_int_eq(hurdmm_concat_create(rig.manager, parts, 2, 0, &store), 0);
    expect_nothing_beyond(store, 8 * PAGE);
}
END_TEST

START_TEST(a_buffer_that_grows_has_nothing_there)
{
    static uint8_t memory[5 * PAGE];
    struct hurdmm_store *store;

    memset(memory, 1, sizeof memory);
    ck_assert_int_eq(
        hurdmm_buffer_create(rig.manager, memory, 4 * PAGE - 7, 0, &store), 0);
    expect_nothing_beyond(store, 4 * PAGE);
    for (size_t i = 0; i < sizeof memory; i++)
        ck_assert_uint_eq(memory[i], 1);
}
END_TEST

START_TEST(a_composition_cut_within_a_block_fails_there_only)
{
    struct hurdmm_store *parts[2] = {plain_leaf(0, 4), plain_leaf(1, 4)};
    struct hurdmm_store *store;
    uint8_t byte = 7;
    size_t done;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, parts, 2, 0, &store), 0);
    ck_assert_int_eq(hurdmm_store_resize(store, 5 * PAGE + 100), 0);
    ck_assert_int_eq(hurdmm_store_write(store, PAGE, &byte, 1, &done), 0);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     EINVAL);
    ck_assert_uint_eq(leaves[0].bytes[PAGE], 7);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    ck_assert_int_eq(hurdmm_store_read(store, 5 * PAGE, &byte, 1, &done),
                     EINVAL);
    ck_assert_int_eq(hurdmm_store_resize(store, 8 * PAGE), 0);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    ck_assert_int_eq(hurdmm_store_read(store, 5 * PAGE, &byte, 1, &done), 0);
    ck_assert_uint_eq(byte, leaves[1].truth[PAGE]);
}
END_TEST

START_TEST(a_part_that_fails_leaves_the_others_alone)
{
    struct hurdmm_store *stores[] = {plain_leaf(0, 4), plain_leaf(1, 4)};
    struct hurdmm_store *both;
    uint8_t byte;
    size_t done;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, stores, 2, 0, &both), 0);
    disk_fail(&leaves[1].disk, DISK_IN, 1, EIO, true);
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_int_eq(hurdmm_store_read(both, i * PAGE, &byte, 1, &done), 0);
    expect_error(both, 4, EIO);
    expect_error(both, 7, EIO);
}
END_TEST

START_TEST(a_short_answer_of_a_part_is_where_it_ends)
{
    struct hurdmm_store *stores[] = {plain_leaf(0, 4), plain_leaf(1, 4)};
    struct hurdmm_store *both;
    uint8_t bytes[8 * PAGE];
    size_t done;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, stores, 2, 0, &both), 0);
    disk_fail(&leaves[1].disk, DISK_IN, 1, 0, true);
    leaves[1].disk.script.partial = 2;
    ck_assert_int_eq(
        hurdmm_claimed_page_in(stores[1], 0, bytes, 4 * PAGE, &done), EIO);
    ck_assert_uint_eq(done, 2 * PAGE);
    leaves[1].disk.script.nth = 0;
    ck_assert_int_eq(hurdmm_store_read(both, 0, bytes, 8 * PAGE, &done), 0);
    ck_assert_mem_eq(bytes + 4 * PAGE, leaves[1].bytes, 4 * PAGE);
}
END_TEST

START_TEST(a_write_that_fails_in_one_part_loses_nothing)
{
    struct hurdmm_store *stores[] = {plain_leaf(0, 4), plain_leaf(1, 4)};
    struct hurdmm_store *both;

    ck_assert_int_eq(
        hurdmm_stripe_create(rig.manager, stores, 2, PAGE, 0, &both), 0);
    for (uint64_t i = 0; i < 8; i++)
        ck_assert_int_eq(put_page(both, i, 1), 0);
    disk_fail(&leaves[1].disk, DISK_OUT, 1, ENOSPC, true);
    ck_assert_int_eq(hurdmm_store_sync(both, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     ENOSPC);
    for (uint64_t i = 0; i < 8; i++)
        expect_page(both, i, 1);
    leaves[1].disk.script.nth = 0;
    ck_assert_int_eq(hurdmm_store_sync(both, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(hurdmm_store_return(both, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (uint64_t i = 0; i < 8; i++)
        expect_page(both, i, 1);
}
END_TEST

START_TEST(a_sync_asks_all_parts_and_tells_the_first_error)
{
    struct hurdmm_store *stores[] = {plain_leaf(0, 4), plain_leaf(1, 4),
                                     plain_leaf(2, 4)};
    struct hurdmm_store *all;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, stores, 3, 0, &all), 0);
    for (uint64_t i = 0; i < 12; i++)
        ck_assert_int_eq(put_page(all, i, 1), 0);
    disk_fail(&leaves[0].disk, DISK_SYNC, 1, ENOSPC, false);
    disk_fail(&leaves[1].disk, DISK_SYNC, 1, EIO, false);
    ck_assert_int_eq(hurdmm_store_sync(all, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     ENOSPC);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(leaves[i].disk.syncs, 1);
    /* A range asks those that it touches. */
    ck_assert_int_eq(hurdmm_store_sync(all, 6 * PAGE, 3 * PAGE, HURDMM_WAIT),
                     0);
    ck_assert_uint_eq(leaves[0].disk.syncs, 1);
    ck_assert_uint_eq(leaves[1].disk.syncs, 2);
    ck_assert_uint_eq(leaves[2].disk.syncs, 2);
}
END_TEST

START_TEST(the_runs_of_one_store_are_synced_once)
{
    const struct hurdmm_run runs[] = {
        {3 * PAGE, PAGE}, {HURDMM_HOLE, PAGE}, {0, 2 * PAGE}};
    struct hurdmm_store *part;

    ck_assert_int_eq(
        hurdmm_remap_create(rig.manager, plain_leaf(0, 4), runs, 3, 0, &part),
        0);
    ck_assert_int_eq(put_page(part, 0, 1), 0);
    ck_assert_int_eq(put_page(part, 3, 1), 0);
    ck_assert_int_eq(hurdmm_store_sync(part, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(leaves[0].disk.syncs, 1);
    ck_assert_int_eq(hurdmm_sync_all(rig.manager), 0);
}
END_TEST

START_TEST(discarded_ranges_arrive_where_they_lie)
{
    struct hurdmm_store *stores[] = {make_leaf(0, 6 * PAGE, 0, 0, DISK_SIMPLE),
                                     make_leaf(1, 6 * PAGE, 0, 0, DISK_SIMPLE)};
    struct hurdmm_store *both;

    ck_assert_int_eq(
        hurdmm_stripe_create(rig.manager, stores, 2, 2 * PAGE, 0, &both), 0);
    ck_assert_int_eq(hurdmm_store_discard(both, 0, 2 * PAGE), 0);
    ck_assert_uint_eq(leaves[0].disk.discarded, 1);
    ck_assert_uint_eq(leaves[1].disk.discarded, 0);
    ck_assert_int_eq(hurdmm_store_discard(both, PAGE, 5 * PAGE), 0);
    ck_assert_uint_eq(leaves[0].disk.discarded, 2);
    ck_assert_uint_eq(leaves[1].disk.discarded, 1);
}
END_TEST

START_TEST(the_first_write_is_asked_for_where_it_will_go)
{
    struct hurdmm_store *stores[] = {make_leaf(0, 2 * PAGE, 0, 0, DISK_PLAIN),
                                     make_leaf(1, 2 * PAGE, 0, 0, DISK_SIMPLE)};
    struct hurdmm_store *both;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, stores, 2, 0, &both), 0);
    disk_fail(&leaves[1].disk, DISK_UNLOCK, 1, EDQUOT, false);
    ck_assert_int_eq(put_page(both, 0, 1), 0);
    ck_assert_int_eq(put_page(both, 2, 1), EDQUOT);
    ck_assert_int_eq(put_page(both, 2, 1), 0);
    ck_assert_uint_eq(leaves[1].disk.unlocks, 2);
}
END_TEST

/* ---- Claims -------------------------------------------------------------- */

START_TEST(a_store_that_is_a_part_is_nobody_elses)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4), *part, *other;
    const struct hurdmm_run run = {PAGE, 2 * PAGE};
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = rig.space,
        .store = leaf,
        .length = PAGE,
        .rights = HURDMM_READ,
    };
    uint8_t bytes[PAGE];
    uintptr_t address;
    uint64_t done;
    size_t length;

    ck_assert_int_eq(put_page(leaf, 1, 3), 0);
    ck_assert_int_eq(hurdmm_remap_create(rig.manager, leaf, &run, 1, 0, &part),
                     0);
    /* What was dirty has been written, and is what the part shows. */
    ck_assert_int_eq(hurdmm_store_read(part, 0, bytes, PAGE, &length), 0);
    ck_assert_mem_eq(bytes, leaves[0].bytes + PAGE, PAGE);
    expect_error(leaf, 0, EBUSY);
    ck_assert_int_eq(put_page(leaf, 0, 1), EBUSY);
    ck_assert_int_eq(hurdmm_bind(&bind, &address), EBUSY);
    ck_assert_int_eq(hurdmm_store_flush(leaf, 0, HURDMM_WHOLE, 0), EBUSY);
    ck_assert_int_eq(hurdmm_store_discard(leaf, 0, HURDMM_WHOLE), EBUSY);
    ck_assert_int_eq(hurdmm_store_resize(leaf, PAGE), EBUSY);
    ck_assert_int_eq(hurdmm_store_destroy(leaf, HURDMM_DETACH), EBUSY);
    ck_assert_int_eq(hurdmm_remap_create(rig.manager, leaf, &run, 1, 0, &other),
                     EBUSY);
    ck_assert_int_eq(hurdmm_container_copy(
                         hurdmm_store_container(rig_anonymous(&rig, PAGE)), 0,
                         hurdmm_store_container(leaf), 0, PAGE, 0, &done),
                     EBUSY);
    ck_assert_int_eq(hurdmm_store_destroy(part, 0), 0);
    expect_page(leaf, 1, 3);
    ck_assert_int_eq(hurdmm_store_destroy(leaf, 0), 0);
}
END_TEST

START_TEST(a_store_in_use_cannot_be_claimed)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4);
    uintptr_t address = rig_bind(&rig, leaf, PAGE, HURDMM_READ);

    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ), EBUSY);
    ck_assert_int_eq(hurdmm_unbind(rig.space, address, PAGE), 0);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_store_unclaim(leaf), 0);
}
END_TEST

START_TEST(a_store_that_others_copy_from_cannot_be_claimed)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4);
    struct hurdmm_store *copy = rig_anonymous(&rig, 4 * PAGE);
    uint64_t done;

    ck_assert_int_eq(hurdmm_container_copy(hurdmm_store_container(copy), 0,
                                           hurdmm_store_container(leaf), 0,
                                           4 * PAGE, 0, &done),
                     0);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ | HURDMM_WRITE),
                     EBUSY);
    ck_assert_int_eq(hurdmm_store_claim(copy, HURDMM_READ | HURDMM_WRITE),
                     EBUSY);
    ck_assert_int_eq(hurdmm_store_destroy(copy, 0), 0);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ | HURDMM_WRITE), 0);
    ck_assert_int_eq(hurdmm_store_unclaim(leaf), 0);
}
END_TEST

START_TEST(a_claim_that_cannot_write_loses_nothing)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4);

    ck_assert_int_eq(put_page(leaf, 1, 3), 0);
    disk_fail(&leaves[0].disk, DISK_OUT, 1, EIO, true);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ | HURDMM_WRITE), EIO);
    expect_page(leaf, 1, 3);
    leaves[0].disk.script.nth = 0;
    (void)hurdmm_store_flush(leaf, 0, HURDMM_WHOLE, HURDMM_WAIT);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ | HURDMM_WRITE), 0);
    ck_assert_int_eq(hurdmm_store_unclaim(leaf), 0);
    expect_page(leaf, 1, 3);
}
END_TEST

START_TEST(readers_share_a_claim_and_a_writer_does_not)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4);
    const unsigned both = HURDMM_READ | HURDMM_WRITE;

    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_store_claim(leaf, both), EBUSY);
    ck_assert_int_eq(hurdmm_store_unclaim(leaf), 0);
    ck_assert_int_eq(hurdmm_store_unclaim(leaf), 0);
    ck_assert_int_eq(hurdmm_store_unclaim(leaf), EINVAL);
    ck_assert_int_eq(hurdmm_store_claim(leaf, both), 0);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ), EBUSY);
    ck_assert_int_eq(hurdmm_store_unclaim(leaf), 0);
}
END_TEST

static void claim_to_read(void *argument)
{
    struct hurdmm_store *leaf = leaves[0].disk.store;
    uint64_t page = *(const uint64_t *)argument;
    uint8_t bytes[PAGE];
    size_t done;

    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ), 0);
    ck_assert_int_eq(
        hurdmm_claimed_page_in(leaf, page * PAGE, bytes, PAGE, &done), 0);
    for (unsigned i = 0; i < PAGE; i++)
        ck_assert_uint_eq(bytes[i], (uint8_t)(page * 7 + 31 + i * 3 + 1));
}

/* The second comes while the cache is emptied for the first. */
START_TEST(all_who_claim_find_the_store_written)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4);
    uint64_t pages[] = {0, 1};

    leaves[0].disk.delay = 20;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(put_page(leaf, i, 1), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(
            hurdmm_sim_spawn(rig.port, claim_to_read, &pages[i], NULL), 0);
    ck_assert_int_eq(hurdmm_sim_run(rig.port), 0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(hurdmm_store_unclaim(leaf), 0);
}
END_TEST

START_TEST(what_is_not_to_be_stolen_is_not_through_others)
{
    struct hurdmm_store *stores[] = {
        plain_leaf(0, 4),
        make_leaf(1, 4 * PAGE, 0, HURDMM_STORE_NO_STEAL, DISK_PLAIN)};
    struct hurdmm_store *both;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, stores, 2, 0, &both), 0);
    ck_assert(hurdmm_store_flags(both) & HURDMM_STORE_NO_STEAL);
    ck_assert_int_eq(hurdmm_store_destroy(both, 0), 0);
    ck_assert_int_eq(hurdmm_concat_create(rig.manager, stores, 1, 0, &both), 0);
    ck_assert(!(hurdmm_store_flags(both) & HURDMM_STORE_NO_STEAL));
}
END_TEST

START_TEST(a_read_only_store_stays_in_use)
{
    struct hurdmm_store *leaf =
        make_leaf(0, 4 * PAGE, 0, HURDMM_STORE_READ_ONLY, DISK_PLAIN);
    struct hurdmm_store *twice[] = {leaf, leaf}, *both;
    uint8_t bytes[PAGE];
    size_t done;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, twice, 2,
                                          HURDMM_STORE_READ_ONLY, &both),
                     0);
    ck_assert_int_eq(hurdmm_store_read(leaf, PAGE, bytes, PAGE, &done), 0);
    ck_assert_int_eq(hurdmm_store_read(both, 5 * PAGE, bytes, PAGE, &done), 0);
    ck_assert_mem_eq(bytes, leaves[0].bytes + PAGE, PAGE);
    ck_assert_int_eq(hurdmm_store_destroy(leaf, 0), EBUSY);
    ck_assert_int_eq(hurdmm_store_resize(leaf, PAGE), EBUSY);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ | HURDMM_WRITE),
                     EROFS);
}
END_TEST

START_TEST(what_cannot_answer_cannot_be_a_part)
{
    struct hurdmm_store *full = make_leaf(0, 4 * PAGE, 0, 0, DISK_FULL_NOW);
    struct hurdmm_store *resident, *part;

    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, NULL, PAGE, 0, &resident), 0);
    ck_assert_int_eq(hurdmm_concat_create(rig.manager, &full, 1, 0, &part),
                     ENOTSUP);
    ck_assert_int_eq(hurdmm_concat_create(rig.manager, &resident, 1, 0, &part),
                     ENOTSUP);
    ck_assert_int_eq(put_page(resident, 0, 1), 0);
    ck_assert_int_eq(hurdmm_store_claim(resident, HURDMM_READ), EBUSY);
    expect_page(resident, 0, 1);
    expect_error(full, 5, ENXIO);
}
END_TEST

/* As a store's callback might. */
static int claim_result;

static void claim_another(struct disk *disk, unsigned kind, uint64_t offset,
                          size_t length)
{
    (void)kind, (void)offset, (void)length;
    claim_result = hurdmm_store_claim(disk->before_hook, HURDMM_READ);
}

START_TEST(a_callback_claims_nothing)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4), *other = plain_leaf(1, 4);
    uint8_t byte;
    size_t done;

    leaves[0].disk.before = claim_another;
    leaves[0].disk.before_hook = other;
    ck_assert_int_eq(hurdmm_store_read(leaf, 0, &byte, 1, &done), 0);
    ck_assert_int_eq(claim_result, EDEADLK);
}
END_TEST

START_TEST(what_is_not_claimed_is_not_called)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4);
    uint8_t bytes[PAGE];
    uint64_t start, length;
    size_t done;

    ck_assert_int_eq(hurdmm_claimed_page_in(leaf, 0, bytes, PAGE, &done),
                     ESTALE);
    ck_assert_int_eq(hurdmm_claimed_sync(leaf, 0, PAGE), ESTALE);
    ck_assert_int_eq(hurdmm_claimed_extent(leaf, 0, &start, &length), ESTALE);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_claimed_page_in(leaf, 1, bytes, PAGE, &done),
                     EINVAL);
    ck_assert_int_eq(hurdmm_claimed_page_in(leaf, 0, bytes, PAGE - 1, &done),
                     EINVAL);
    ck_assert_int_eq(hurdmm_claimed_page_in(leaf, 0, bytes, 5 * PAGE, &done),
                     EINVAL);
    ck_assert_int_eq(hurdmm_claimed_page_out(leaf, 0, bytes, PAGE, &done),
                     EROFS);
    ck_assert_int_eq(hurdmm_claimed_unlock(leaf, 0, PAGE), EROFS);
    ck_assert_int_eq(hurdmm_claimed_extent(leaf, 0, &start, &length), 0);
    ck_assert_uint_eq(length, 4 * PAGE);
    ck_assert_int_eq(hurdmm_store_unclaim(leaf), 0);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_WRITE), EINVAL);
    ck_assert_int_eq(hurdmm_store_claim(leaf, HURDMM_EXECUTE), EINVAL);
    ck_assert_int_eq(hurdmm_store_claim(NULL, HURDMM_READ), EINVAL);
    ck_assert_int_eq(hurdmm_store_unclaim(NULL), EINVAL);
}
END_TEST

/* ---- What cannot be ------------------------------------------------------ */

START_TEST(a_store_composed_with_itself_is_refused)
{
    struct hurdmm_store *leaf = plain_leaf(0, 8), *result;
    struct hurdmm_store *twice[] = {leaf, leaf};
    const struct hurdmm_run overlapping[] = {
        {0, 2 * PAGE}, {HURDMM_HOLE, PAGE}, {PAGE, PAGE}};

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, twice, 2, 0, &result),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_stripe_create(rig.manager, twice, 2, PAGE, 0, &result), EINVAL);
    ck_assert_int_eq(
        hurdmm_remap_create(rig.manager, leaf, overlapping, 3, 0, &result),
        EINVAL);
    ck_assert_int_eq(hurdmm_copy_create(rig.manager, leaf, leaf, 0, &result),
                     EINVAL);
    expect_error(leaf, 8, ENXIO); /* nothing is left claimed */
}
END_TEST

START_TEST(a_tower_of_compositions_ends)
{
    struct hurdmm_store *top = plain_leaf(0, 2), *next;
    unsigned height = 0;
    int error;

    while ((error = hurdmm_concat_create(rig.manager, &top, 1, 0, &next)) ==
           0) {
        top = next;
        ck_assert_uint_le(++height, HURDMM_COMPOSE_DEPTH);
    }
    ck_assert_int_eq(error, ELOOP);
    ck_assert_uint_eq(height, HURDMM_COMPOSE_DEPTH);
    ck_assert_int_eq(put_page(top, 1, 1), 0);
    ck_assert_int_eq(hurdmm_store_return(top, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    expect_page(top, 1, 1);
}
END_TEST

START_TEST(block_sizes_that_differ_are_refused)
{
    struct hurdmm_store *stores[] = {
        make_leaf(0, 8 * PAGE, PAGE, 0, DISK_PLAIN),
        make_leaf(1, 8 * PAGE, 2 * PAGE, 0, DISK_PLAIN)};
    struct hurdmm_store *result;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, stores, 2, 0, &result),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_stripe_create(rig.manager, stores, 2, 2 * PAGE, 0, &result),
        EINVAL);
    ck_assert_int_eq(
        hurdmm_copy_create(rig.manager, stores[0], stores[1], 0, &result),
        EINVAL);
}
END_TEST

START_TEST(runs_that_will_not_do_are_refused)
{
    static const struct {
        struct hurdmm_run run;
        int error;
    } bad[] = {
        {{0, 0}, EINVAL},
        {{1, PAGE}, EINVAL},
        {{0, PAGE + 1}, EINVAL},
        {{HURDMM_HOLE, PAGE / 2}, EINVAL},
        {{HURDMM_HOLE, UINT64_MAX - PAGE + 1}, EINVAL},
        {{5 * PAGE, PAGE}, ENXIO},
        {{4 * PAGE, PAGE}, ENXIO},
        {{UINT64_MAX - PAGE, PAGE}, ENXIO},
    };
    struct hurdmm_store *leaf = make_leaf(0, 4 * PAGE + 9, 0, 0, DISK_PLAIN);
    struct hurdmm_run runs[2] = {{0, PAGE}, {0, 0}};
    struct hurdmm_store *result;

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        runs[1] = bad[i].run;
        ck_assert_int_eq(
            hurdmm_remap_create(rig.manager, leaf, runs, 2, 0, &result),
            bad[i].error);
    }
    /* The tail, but not in the middle. */
    runs[0] = (struct hurdmm_run){4 * PAGE, 9};
    runs[1] = (struct hurdmm_run){PAGE, PAGE};
    ck_assert_int_eq(
        hurdmm_remap_create(rig.manager, leaf, runs, 2, 0, &result), EINVAL);
    ck_assert_int_eq(
        hurdmm_remap_create(rig.manager, leaf, runs, 1, 0, &result), 0);
    ck_assert_uint_eq(hurdmm_store_size(result), 9);
}
END_TEST

START_TEST(other_bad_input_is_refused)
{
    struct hurdmm_store *leaf = make_leaf(0, 4 * PAGE + 9, 0, 0, DISK_PLAIN);
    struct hurdmm_store *fixed =
        make_leaf(1, PAGE, 0, HURDMM_STORE_READ_ONLY, DISK_PLAIN);
    struct hurdmm_store *stores[] = {leaf, fixed}, *none[] = {leaf, NULL};
    struct hurdmm_run run = {0, PAGE};
    struct hurdmm *m = rig.manager;
    struct hurdmm_store *r;

    ck_assert_int_eq(hurdmm_remap_create(NULL, leaf, &run, 1, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_remap_create(m, NULL, &run, 1, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_remap_create(m, leaf, NULL, 1, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_remap_create(m, leaf, &run, 0, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_remap_create(m, leaf, &run, 1, 0, NULL), EINVAL);
    ck_assert_int_eq(
        hurdmm_remap_create(m, leaf, &run, 1, HURDMM_STORE_DISCARDABLE, &r),
        EINVAL);
    ck_assert_int_eq(hurdmm_remap_create(m, leaf, &run, SIZE_MAX / 8, 0, &r),
                     EINVAL);
    ck_assert_int_eq(hurdmm_concat_create(m, stores, 2, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_concat_create(m, none, 2, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_concat_create(m, NULL, 1, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_concat_create(m, stores, 0, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_concat_create(m, &fixed, 1, 0, &r), EACCES);
    ck_assert_int_eq(hurdmm_stripe_create(m, stores, 2, 0, 0, &r), EINVAL);
    ck_assert_int_eq(hurdmm_stripe_create(m, stores, 2, PAGE / 2, 0, &r),
                     EINVAL);
    ck_assert_int_eq(hurdmm_stripe_create(m, stores, 2, 2 * PAGE, 0, &r),
                     EINVAL);
    ck_assert_int_eq(hurdmm_stripe_create(m, stores, 2, PAGE, 0, NULL), EINVAL);
}
END_TEST

START_TEST(compositions_end_before_what_they_are_made_of)
{
    struct hurdmm_store *stores[] = {plain_leaf(0, 4), plain_leaf(1, 4)};
    struct hurdmm_store *copy = rig_anonymous(&rig, 8 * PAGE);
    struct hurdmm_store *both;
    uint64_t done;

    ck_assert_int_eq(hurdmm_concat_create(rig.manager, stores, 2, 0, &both), 0);
    ck_assert_int_eq(put_page(both, 1, 1), 0);
    /* A composition that is gone, but that somebody still reads through. */
    ck_assert_int_eq(hurdmm_container_copy(hurdmm_store_container(copy), 0,
                                           hurdmm_store_container(both), 0,
                                           8 * PAGE, 0, &done),
                     0);
    ck_assert_int_eq(hurdmm_store_destroy(both, 0), 0);
    ck_assert_int_eq(hurdmm_store_destroy(stores[0], 0), EBUSY);
    expect_page(copy, 1, 1);
    /* end() destroys the manager with all of them. */
}
END_TEST

/* ---- Devices ------------------------------------------------------------- */

START_TEST(a_device_is_the_store)
{
    struct hurdmm_store *leaf = make_leaf(0, 4 * PAGE + 9, 0, 0, DISK_SIMPLE);
    struct hurdmm_store_device device;
    uint8_t bytes[2 * PAGE];

    ck_assert_int_eq(hurdmm_store_device_init(&device, leaf, 0), 0);
    ck_assert_uint_eq(device.block.size, 4 * PAGE);
    ck_assert_int_eq(
        hurdmm_block_read(&device.block, PAGE, bytes, sizeof bytes), 0);
    ck_assert_mem_eq(bytes, leaves[0].bytes + PAGE, sizeof bytes);
    memset(bytes, 7, sizeof bytes);
    ck_assert_int_eq(
        hurdmm_block_write(&device.block, 2 * PAGE, bytes, sizeof bytes), 0);
    ck_assert_mem_eq(leaves[0].bytes + 2 * PAGE, bytes, sizeof bytes);
    ck_assert_uint_eq(leaves[0].disk.unlocks, 2);
    ck_assert_int_eq(hurdmm_block_flush(&device.block), 0);
    ck_assert_uint_eq(leaves[0].disk.syncs, 1);
    ck_assert_int_eq(hurdmm_block_discard(&device.block, 0, PAGE), 0);
    ck_assert_uint_eq(leaves[0].disk.discarded, 1);
    ck_assert_int_eq(hurdmm_block_read(&device.block, 4 * PAGE, bytes, PAGE),
                     ENXIO);
    disk_fail(&leaves[0].disk, DISK_UNLOCK, 1, ENOSPC, false);
    ck_assert_int_eq(hurdmm_block_write(&device.block, 0, bytes, PAGE), ENOSPC);
    ck_assert_int_eq(hurdmm_store_destroy(leaf, 0), EBUSY);
    ck_assert_int_eq(hurdmm_store_device_end(&device), 0);
    ck_assert_int_eq(hurdmm_store_destroy(leaf, 0), 0);
}
END_TEST

START_TEST(a_read_only_device_does_not_write)
{
    struct hurdmm_store *leaf = plain_leaf(0, 4);
    struct hurdmm_store_device device, other;
    uint8_t bytes[PAGE];

    ck_assert_int_eq(
        hurdmm_store_device_init(&device, leaf, HURDMM_BLOCK_READ_ONLY), 0);
    ck_assert(hurdmm_block_capabilities(&device.block) &
              HURDMM_BLOCK_READ_ONLY);
    ck_assert_int_eq(hurdmm_block_read(&device.block, 0, bytes, PAGE), 0);
    ck_assert_int_eq(hurdmm_block_write(&device.block, 0, bytes, PAGE), EROFS);
    ck_assert_int_eq(hurdmm_store_device_init(&other, leaf, 0), EBUSY);
    ck_assert_int_eq(hurdmm_store_device_init(&other, leaf, 2), EINVAL);
    ck_assert_int_eq(hurdmm_store_device_init(NULL, leaf, 0), EINVAL);
    ck_assert_int_eq(hurdmm_store_device_init(&other, NULL, 0), EINVAL);
    ck_assert_int_eq(hurdmm_store_device_end(NULL), EINVAL);
    ck_assert_int_eq(hurdmm_store_device_end(&device), 0);
}
END_TEST

START_TEST(memory_pages_out_to_a_stripe)
{
    struct hurdmm_store *stores[] = {plain_leaf(0, 24), plain_leaf(1, 24),
                                     plain_leaf(2, 24), plain_leaf(3, 24)};
    struct hurdmm_store *stripe, *memory;
    struct hurdmm_store_device device;
    struct hurdmm_swap *swap;

    ck_assert_int_eq(
        hurdmm_stripe_create(rig.manager, stores, 4, 2 * PAGE, 0, &stripe), 0);
    ck_assert_int_eq(hurdmm_store_device_init(&device, stripe, 0), 0);
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, &device.block, &swap), 0);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, swap, 90 * PAGE, 0, &memory), 0);
    for (unsigned round = 1; round < 3; round++) {
        for (uint64_t i = 0; i < 90; i++)
            ck_assert_int_eq(put_page(memory, i, round), 0);
        for (uint64_t i = 0; i < 90; i++)
            expect_page(memory, i, round);
    }
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_gt(leaves[i].disk.outs, 0);
    ck_assert_int_eq(hurdmm_store_destroy(memory, 0), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
    ck_assert_int_eq(hurdmm_store_device_end(&device), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("compose");
    TCase *tcase = tcase_create("compose");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, all_of_zero_can_be_a_part);
    tcase_add_test(tcase, what_zero_is_told_is_refused);
    tcase_add_test(tcase, a_buffer_gets_what_is_written_and_no_more);
    tcase_add_test(tcase, a_composition_that_grows_has_nothing_there);
    tcase_add_test(tcase, a_composition_that_asks_before_it_writes_may_grow);
    tcase_add_test(tcase, a_buffer_that_grows_has_nothing_there);
    tcase_add_test(tcase, a_composition_cut_within_a_block_fails_there_only);
    tcase_add_test(tcase, a_part_that_fails_leaves_the_others_alone);
    tcase_add_test(tcase, a_short_answer_of_a_part_is_where_it_ends);
    tcase_add_test(tcase, a_write_that_fails_in_one_part_loses_nothing);
    tcase_add_test(tcase, a_sync_asks_all_parts_and_tells_the_first_error);
    tcase_add_test(tcase, the_runs_of_one_store_are_synced_once);
    tcase_add_test(tcase, discarded_ranges_arrive_where_they_lie);
    tcase_add_test(tcase, the_first_write_is_asked_for_where_it_will_go);
    tcase_add_test(tcase, a_store_that_is_a_part_is_nobody_elses);
    tcase_add_test(tcase, a_store_in_use_cannot_be_claimed);
    tcase_add_test(tcase, a_store_that_others_copy_from_cannot_be_claimed);
    tcase_add_test(tcase, a_claim_that_cannot_write_loses_nothing);
    tcase_add_test(tcase, readers_share_a_claim_and_a_writer_does_not);
    tcase_add_test(tcase, all_who_claim_find_the_store_written);
    tcase_add_test(tcase, what_is_not_to_be_stolen_is_not_through_others);
    tcase_add_test(tcase, a_read_only_store_stays_in_use);
    tcase_add_test(tcase, what_cannot_answer_cannot_be_a_part);
    tcase_add_test(tcase, a_callback_claims_nothing);
    tcase_add_test(tcase, what_is_not_claimed_is_not_called);
    tcase_add_test(tcase, a_store_composed_with_itself_is_refused);
    tcase_add_test(tcase, a_tower_of_compositions_ends);
    tcase_add_test(tcase, block_sizes_that_differ_are_refused);
    tcase_add_test(tcase, runs_that_will_not_do_are_refused);
    tcase_add_test(tcase, other_bad_input_is_refused);
    tcase_add_test(tcase, compositions_end_before_what_they_are_made_of);
    tcase_add_test(tcase, a_device_is_the_store);
    tcase_add_test(tcase, a_read_only_device_does_not_write);
    tcase_add_test(tcase, memory_pages_out_to_a_stripe);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("random");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, random_compositions_match_a_byte_model);
    suite_add_tcase(suite, tcase);
    return run_suites("compose", &suite, 1);
}
