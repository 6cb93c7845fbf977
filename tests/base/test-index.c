/* SPDX-License-Identifier: MIT */
/*
 * The page index against a sorted array, its memory, and what it does when there
 * is none.
 */
#include <stdlib.h>

#include <hurdmm/error.h>

#include "lib/base/index.h"
#include "lib/base/rand.h"

#include "tests/base/memory.h"
#include "tests/support/runner.h"

/* ---- What the tests share ---- */

struct fixture {
    struct memory memory;
    struct hmm_core core;
    struct hmm_slab nodes;
    struct hmm_index index;
};

static struct fixture fix;

static void setup(void)
{
    memory_init(&fix.memory);
    hmm_core_init(&fix.core, memory_extend, &fix.memory, 65536);
    hmm_slab_init(&fix.nodes, &fix.core, HMM_INDEX_NODE_SIZE,
                  HMM_INDEX_NODE_SIZE, "index nodes");
    hmm_index_init(&fix.index, &fix.nodes);
}

static void teardown(void)
{
    memory_free(&fix.memory);
}

/* What a search looks for.  Every eighth value has it, others whenever `turn'
   changes. */
#define MARK (UINT64_C(1) << 50)
static uint64_t mark_turn;

static uint64_t value_of(uint64_t key)
{
    uint64_t hash = (key ^ mark_turn) * UINT64_C(0x9e3779b97f4a7c15);

    return ((key * 3 + 1) & ~MARK) | (hash >> 61 == 0 ? MARK : 0);
}

static void insert(uint64_t key)
{
    ck_assert_int_eq(hmm_index_insert(&fix.index, key, value_of(key)), 0);
}

static void remove_key(uint64_t key)
{
    uint64_t value = 0;

    ck_assert_int_eq(hmm_index_remove(&fix.index, key, &value), 0);
    ck_assert_uint_eq(value, value_of(key));
}

static double bytes_per_entry(void)
{
    return (double)fix.nodes.used * HMM_INDEX_NODE_SIZE /
           (double)fix.index.count;
}

/* ---- The model: keys in order ---- */

#define MODEL_MAX 3000

struct model {
    uint64_t key[MODEL_MAX];
    size_t count;
    struct hmm_rand rand;
    int profile;
    uint64_t turn; /* counts up, for keys in order */
};

static size_t model_at(const struct model *model, uint64_t key)
{
    size_t low = 0;
    size_t high = model->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (model->key[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint64_t pick(struct model *model)
{
    switch (model->profile) {
    case 0: /* many hits */
        return hmm_rand_below(&model->rand, 2000);
    case 1: /* equal in the low 32 bits, and at both ends */
        return (hmm_rand_next(&model->rand) & UINT64_C(0xfff8000000000000)) |
               hmm_rand_below(&model->rand, 4) << 32;
    case 2: /* mostly upwards */
        return hmm_rand_below(&model->rand, 8) == 0
                   ? hmm_rand_below(&model->rand, model->turn + 1)
                   : model->turn++;
    case 3: /* mostly downwards, from the end of the space */
        return UINT64_MAX - (hmm_rand_below(&model->rand, 8) == 0
                                 ? hmm_rand_below(&model->rand, model->turn + 1)
                                 : model->turn++);
    default: /* sixteen streams, as sequential writers make them */
        return (hmm_rand_below(&model->rand, 16) << 40) + model->turn++ / 16;
    }
}

/* A key to remove: one that is there, at either end or anywhere. */
static uint64_t pick_there(struct model *model)
{
    size_t at = (size_t)hmm_rand_below(&model->rand, model->count);

    switch (hmm_rand_below(&model->rand, 4)) {
    case 0:
        return model->key[0];
    case 1:
        return model->key[model->count - 1];
    default:
        return model->key[at];
    }
}

static void model_insert(struct model *model, uint64_t key)
{
    size_t at = model_at(model, key);
    bool there = at < model->count && model->key[at] == key;

    ck_assert_int_eq(hmm_index_insert(&fix.index, key, value_of(key)),
                     there ? EEXIST : 0);
    if (there)
        return;
    for (size_t i = model->count++; i > at; i--)
        model->key[i] = model->key[i - 1];
    model->key[at] = key;
}

static void model_remove(struct model *model, uint64_t key)
{
    size_t at = model_at(model, key);
    bool there = at < model->count && model->key[at] == key;
    uint64_t value = 0;

    ck_assert_int_eq(hmm_index_remove(&fix.index, key, &value),
                     there ? 0 : ENOENT);
    ck_assert_uint_eq(value, there ? value_of(key) : 0);
    if (!there)
        return;
    model->count--;
    for (size_t i = at; i < model->count; i++)
        model->key[i] = model->key[i + 1];
}

/* Removes keys of [first, last] as many at a time as go at once. */
static void model_take(struct model *model, uint64_t first, uint64_t last)
{
    struct hmm_index_pair pairs[HMM_INDEX_TAKE_MAX];
    size_t at = model_at(model, first);
    unsigned n = hmm_index_take(&fix.index, first, last, pairs);

    ck_assert_uint_le(n, HMM_INDEX_TAKE_MAX);
    ck_assert(n > 0 || at == model->count || model->key[at] > last);
    for (unsigned i = 0; i < n; i++) {
        ck_assert_uint_le(pairs[i].key, last);
        ck_assert_uint_eq(pairs[i].key, model->key[at + i]);
        ck_assert_uint_eq(pairs[i].value, value_of(pairs[i].key));
    }
    model->count -= n;
    for (size_t i = at; i < model->count; i++)
        model->key[i] = model->key[i + n];
}

/* Adds keys in a row behind the lowest ones, or a single one. */
static void model_insert_row(struct model *model, uint64_t key)
{
    size_t at = model_at(model, key);
    unsigned most = 1 + (unsigned)hmm_rand_below(&model->rand, 70), n;

    if (at < model->count && model->key[at] - key < most)
        most = (unsigned)(model->key[at] - key);
    if (most > UINT64_MAX - key)
        most = (unsigned)(UINT64_MAX - key);
    if (most > MODEL_MAX - model->count)
        most = (unsigned)(MODEL_MAX - model->count);
    if (most == 0 || fix.index.root == NULL) {
        model_insert(model, key);
        return;
    }
    n = hmm_index_insert_row(&fix.index, key, MARK + key, most);
    ck_assert_uint_le(n, most);
    ck_assert(hmm_index_check_marks(&fix.index, MARK));
    for (size_t i = model->count; i > at; i--)
        model->key[i + n - 1] = model->key[i - 1];
    for (unsigned i = 0; i < n; i++) {
        uint64_t *value = hmm_index_find(&fix.index, key + i);
        ck_assert_ptr_nonnull(value);
        ck_assert_uint_eq(*value, MARK + key + i);
        *value = value_of(key + i);
        hmm_index_mark(value, *value & HMM_INDEX_MARKS);
        model->key[at + i] = key + i;
    }
    model->count += n;
    if (n == 0)
        model_insert(model, key);
}

/* From a key that is there on, or before it, for a few or for all. */
static void model_take_some(struct model *model)
{
    uint64_t first = pick_there(model), length = pick(model);

    first -= hmm_rand_below(&model->rand, 40);
    if (hmm_rand_below(&model->rand, 2) == 0)
        length = hmm_rand_below(&model->rand, 100);
    model_take(model, first,
               length > UINT64_MAX - first ? UINT64_MAX : first + length);
}

/* Whether find, next and prev of `key' are what the model says. */
static bool same_at(const struct model *model, uint64_t key)
{
    size_t at = model_at(model, key);
    bool there = at < model->count && model->key[at] == key;
    uint64_t *value = hmm_index_find(&fix.index, key);
    uint64_t found = 0;

    if ((value != NULL) != there || (there && *value != value_of(key)))
        return false;
    value = hmm_index_next(&fix.index, key, &found);
    if ((value != NULL) != (at < model->count) ||
        (value != NULL &&
         (found != model->key[at] || *value != value_of(found))))
        return false;
    value = hmm_index_prev(&fix.index, key, &found);
    at += there;
    if ((value != NULL) != (at > 0))
        return false;
    return value == NULL ||
           (found == model->key[at - 1] && *value == value_of(found));
}

/* Whether a cursor from `key' walks over the rest of the model. */
static bool same_walk(const struct model *model, uint64_t key)
{
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek(&fix.index, &cursor, key);

    for (size_t i = model_at(model, key); i < model->count; i++) {
        if (!more || cursor.key != model->key[i] ||
            *cursor.value != value_of(cursor.key))
            return false;
        more = hmm_index_step(&cursor);
    }
    return !more && (fix.index.root == NULL || !hmm_index_step(&cursor));
}

/* The same for keys of a range whose values have a bit. */
static bool same_marked(const struct model *model, uint64_t key, uint64_t last,
                        uint64_t mask)
{
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek_marked(&fix.index, &cursor, key, last, mask);

    for (size_t i = model_at(model, key); i < model->count; i++) {
        if (!(value_of(model->key[i]) & mask) || model->key[i] > last)
            continue;
        if (!more || cursor.key != model->key[i] ||
            *cursor.value != value_of(cursor.key))
            return false;
        more = hmm_index_step_marked(&fix.index, &cursor, last, mask);
    }
    return !more;
}

static bool same_run(const struct model *model, uint64_t key)
{
    size_t at = model_at(model, key);
    uint64_t n = 0;

    while (at + n < model->count && model->key[at + n] == key + n)
        n++;
    return hmm_index_run(&fix.index, key) == n;
}

/* Whether the values of a row are those of its keys, and it is not too long. */
static bool same_row(struct model *model, uint64_t key)
{
    size_t at = model_at(model, key);
    bool there = at < model->count && model->key[at] == key;
    uint64_t *values;
    unsigned n = hmm_index_row(&fix.index, key, &values);

    for (unsigned i = 0; i < n; i++)
        if (at + i >= model->count || model->key[at + i] != key + i ||
            values + i != hmm_index_find(&fix.index, key + i))
            return false;
    return (n > 0) == there;
}

static bool same(struct model *model)
{
    uint64_t key = pick(model);

    return hmm_index_check(&fix.index) && fix.index.count == model->count &&
           same_at(model, key) && same_at(model, key + 1) &&
           same_at(model, 0) && same_at(model, UINT64_MAX) &&
           same_walk(model, key) && same_run(model, key) &&
           (model->count == 0 || same_run(model, model->key[0])) &&
           same_row(model, key) &&
           (model->count == 0 || same_row(model, pick_there(model))) &&
           hmm_index_check_marks(&fix.index, MARK) &&
           same_marked(model, key, UINT64_MAX, MARK) &&
           same_marked(model, 0, key, MARK) &&
           same_marked(model, 0, UINT64_MAX, UINT64_C(1) << 63) &&
           same_marked(model, 0, UINT64_MAX, UINT64_C(3) << 62);
}

/* Other values have the mark from now on. */
static void mark_anew(struct model *model)
{
    mark_turn = hmm_rand_next(&model->rand);
    for (size_t i = 0; i < model->count; i++) {
        uint64_t *value = hmm_index_find(&fix.index, model->key[i]);

        ck_assert_ptr_nonnull(value);
        if (value_of(model->key[i]) & MARK)
            hmm_index_mark(value, MARK);
        else
            *value &= ~MARK;
    }
}

/* Grows and shrinks in turns, so that nodes split, join and go. */
static void model_run(struct model *model, uint64_t seed, int steps)
{
    hmm_rand_init(&model->rand, seed);
    model->profile = (int)(seed % 5);
    model->count = 0;
    model->turn = 0;
    for (int step = 0; step < steps; step++) {
        bool growing = step / 400 % 2 == 0;
        uint64_t what = hmm_rand_below(&model->rand, 10);

        if (hmm_rand_below(&model->rand, growing ? 100 : 20) == 0 &&
            model->count > 0)
            model_take_some(model);
        else if (growing && what == 7 && model->count < MODEL_MAX)
            model_insert_row(model, pick(model));
        else if ((growing ? what < 7 : what < 2) && model->count < MODEL_MAX)
            model_insert(model, pick(model));
        else if (model->count > 0 && what != 8)
            model_remove(model, pick_there(model));
        else
            model_remove(model, pick(model));
        if (hmm_rand_below(&model->rand, 64) == 0)
            mark_anew(model);
        ck_assert_msg((step % 8 != 0 && hmm_index_check(&fix.index)) ||
                          same(model),
                      "seed %llu, step %d", (unsigned long long)seed, step);
    }
}

START_TEST(random_operations_agree_with_a_sorted_array)
{
    static struct model model;
    size_t rounds = test_scaled(40);

    for (uint64_t seed = 0; seed < rounds; seed++) {
        model_run(&model, seed, 1600);
        if (seed % 2 == 0) {
            hmm_index_clear(&fix.index);
        } else {
            while (model.count > 0)
                model_remove(&model, pick_there(&model));
        }
        ck_assert(hmm_index_check(&fix.index));
        ck_assert_uint_eq(fix.index.height, 0);
        ck_assert_uint_eq(fix.nodes.used, 0);
        ck_assert(hmm_slab_check(&fix.nodes));
    }
}
END_TEST

/* ---- Single behaviours ---- */

START_TEST(an_empty_index_has_nothing_and_no_memory)
{
    struct hmm_index_cursor cursor;
    uint64_t found;

    ck_assert_ptr_null(hmm_index_find(&fix.index, 0));
    ck_assert_ptr_null(hmm_index_next(&fix.index, 0, &found));
    ck_assert_ptr_null(hmm_index_prev(&fix.index, UINT64_MAX, &found));
    ck_assert(!hmm_index_seek(&fix.index, &cursor, 0));
    ck_assert(!hmm_index_step(&cursor));
    ck_assert_int_eq(hmm_index_remove(&fix.index, 0, NULL), ENOENT);
    ck_assert(hmm_index_check(&fix.index));
    ck_assert_uint_eq(fix.core.bytes_total, 0);
}
END_TEST

START_TEST(the_ends_of_the_key_space_are_keys_like_others)
{
    uint64_t found = 1;

    insert(0);
    insert(UINT64_MAX);
    ck_assert_uint_eq(*hmm_index_find(&fix.index, 0), value_of(0));
    ck_assert_uint_eq(*hmm_index_find(&fix.index, UINT64_MAX),
                      value_of(UINT64_MAX));
    ck_assert_ptr_nonnull(hmm_index_next(&fix.index, 1, &found));
    ck_assert_uint_eq(found, UINT64_MAX);
    ck_assert_ptr_nonnull(hmm_index_prev(&fix.index, UINT64_MAX - 1, &found));
    ck_assert_uint_eq(found, 0);
    remove_key(0);
    ck_assert_ptr_null(hmm_index_prev(&fix.index, UINT64_MAX - 1, &found));
}
END_TEST

START_TEST(a_row_is_inserted_as_far_as_the_leaf_has_room)
{
    uint64_t *values;
    ck_assert_uint_eq(hmm_index_insert_row(&fix.index, 5, 50, 3), 0);
    ck_assert_uint_eq(hmm_index_row(&fix.index, 5, &values), 0);
    insert(4);
    ck_assert_uint_eq(hmm_index_insert_row(&fix.index, 5, 50, 100), 30);
    ck_assert_uint_eq(fix.index.count, 31);
    ck_assert_uint_eq(hmm_index_insert_row(&fix.index, 35, 80, 1), 0);
    ck_assert_uint_eq(hmm_index_insert_row(&fix.index, 0, 80, 2), 0);
    ck_assert_uint_eq(hmm_index_row(&fix.index, 6, &values), 29);
    ck_assert_uint_eq(values[0], 51);
    ck_assert_uint_eq(values[28], 79);
    ck_assert(hmm_index_check(&fix.index));
}
END_TEST

START_TEST(a_second_insert_of_a_key_changes_nothing)
{
    insert(5);
    ck_assert_int_eq(hmm_index_insert(&fix.index, 5, 99), EEXIST);
    ck_assert_uint_eq(*hmm_index_find(&fix.index, 5), value_of(5));
    ck_assert_uint_eq(fix.index.count, 1);
}
END_TEST

START_TEST(a_found_value_may_be_changed_in_place)
{
    insert(5);
    *hmm_index_find(&fix.index, 5) = 77;
    ck_assert_uint_eq(*hmm_index_find(&fix.index, 5), 77);
}
END_TEST

START_TEST(indexes_may_share_a_slab)
{
    struct hmm_index other;

    hmm_index_init(&other, &fix.nodes);
    for (uint64_t key = 0; key < 500; key++) {
        insert(key);
        ck_assert_int_eq(hmm_index_insert(&other, key, 7), 0);
    }
    hmm_index_clear(&other);
    ck_assert(hmm_index_check(&fix.index));
    ck_assert_uint_eq(*hmm_index_find(&fix.index, 499), value_of(499));
}
END_TEST

/* Full nodes on two levels: the next key gets a leaf and a parent of its own. */
#define FULL (31 * 31)

START_TEST(the_last_key_may_come_and_go_alone_in_its_leaf)
{
    uint64_t found;

    for (uint64_t key = 0; key < FULL; key++)
        insert(key);
    for (int turn = 0; turn < 3; turn++) {
        insert(FULL);
        ck_assert(hmm_index_check(&fix.index));
        remove_key(FULL);
        ck_assert(hmm_index_check(&fix.index));
        ck_assert_ptr_null(hmm_index_next(&fix.index, FULL, &found));
    }
}
END_TEST

START_TEST(the_first_key_may_come_and_go_alone_in_its_leaf)
{
    uint64_t found;

    for (uint64_t key = FULL; key > 0; key--)
        insert(key);
    for (int turn = 0; turn < 3; turn++) {
        insert(0);
        ck_assert(hmm_index_check(&fix.index));
        remove_key(0);
        ck_assert(hmm_index_check(&fix.index));
        ck_assert_ptr_null(hmm_index_prev(&fix.index, 0, &found));
    }
}
END_TEST

/* ---- Memory ---- */

START_TEST(random_keys_take_at_most_24_bytes_each)
{
    struct hmm_rand rand;

    hmm_rand_init(&rand, 1);
    for (int i = 0; i < 50000; i++)
        (void)hmm_index_insert(&fix.index, hmm_rand_next(&rand), 0);
    ck_assert(hmm_index_check(&fix.index));
    ck_assert_double_le(bytes_per_entry(), 24.0);
}
END_TEST

START_TEST(keys_in_ascending_order_fill_their_nodes)
{
    for (uint64_t key = 0; key < 50000; key++)
        insert(key);
    ck_assert(hmm_index_check(&fix.index));
    ck_assert_double_le(bytes_per_entry(), 17.5);
}
END_TEST

START_TEST(keys_in_descending_order_fill_their_nodes)
{
    for (uint64_t key = 50000; key > 0; key--)
        insert(key);
    ck_assert(hmm_index_check(&fix.index));
    ck_assert_double_le(bytes_per_entry(), 17.5);
}
END_TEST

START_TEST(sixteen_streams_in_order_fill_their_nodes)
{
    for (uint64_t i = 0; i < 50000; i++)
        insert((i % 16 << 40) + i / 16);
    ck_assert(hmm_index_check(&fix.index));
    ck_assert_double_le(bytes_per_entry(), 18.5);
}
END_TEST

START_TEST(thinning_out_at_random_keeps_nodes_a_third_full)
{
    for (uint64_t key = 0; key < 40000; key++)
        insert(key * 7919 % 40009);
    for (uint64_t key = 0; key < 36000; key++)
        remove_key(key * 7919 % 40009);
    ck_assert(hmm_index_check(&fix.index));
    ck_assert_double_le(bytes_per_entry(), 3 * 17.5);
}
END_TEST

START_TEST(bits_are_cleared_in_a_range_and_nowhere_else)
{
    for (uint64_t key = 0; key < 4000; key += 2)
        ck_assert_int_eq(hmm_index_insert(&fix.index, key, 7), 0);
    hmm_index_clear_bits(&fix.index, 33, 3001, 2);
    for (uint64_t key = 0; key < 4000; key += 2)
        ck_assert_uint_eq(*hmm_index_find(&fix.index, key),
                          key >= 33 && key <= 3001 ? 5 : 7);
}
END_TEST

START_TEST(a_range_is_taken_by_whole_leaves)
{
    struct hmm_index_pair pairs[HMM_INDEX_TAKE_MAX];
    unsigned calls = 0, n;

    for (uint64_t key = 0; key < 31000; key++)
        insert(key);
    while ((n = hmm_index_take(&fix.index, 310, 30689, pairs)) > 0)
        calls++;
    ck_assert_uint_le(calls, 30380 / 31 + 1);
    ck_assert_uint_eq(fix.index.count, 620);
    ck_assert(hmm_index_check(&fix.index));
    ck_assert_ptr_nonnull(hmm_index_find(&fix.index, 309));
    ck_assert_ptr_nonnull(hmm_index_find(&fix.index, 30690));
}
END_TEST

START_TEST(a_queue_of_keys_stays_small)
{
    for (uint64_t key = 0; key < 50000; key++) {
        insert(key);
        if (key >= 1000)
            remove_key(key - 1000);
        ck_assert_msg(key % 100 != 0 || hmm_index_check(&fix.index), "key %llu",
                      (unsigned long long)key);
    }
    ck_assert_double_le(bytes_per_entry(), 20.0);
}
END_TEST

/* Takes all nodes there are but `left'; each begins with a link to the next. */
static void *hoard_nodes(uint64_t left)
{
    void *hoard = NULL;
    void **node;

    fix.memory.left = 0;
    while ((node = hmm_slab_alloc(&fix.nodes)) != NULL) {
        *node = hoard;
        hoard = node;
    }
    for (; left > 0 && hoard != NULL; left--) {
        node = hoard;
        hoard = *node;
        hmm_slab_free(&fix.nodes, node);
    }
    return hoard;
}

static void release_nodes(void *hoard)
{
    fix.memory.left = SIZE_MAX;
    while (hoard != NULL) {
        void **node = hoard;

        hoard = *node;
        hmm_slab_free(&fix.nodes, node);
    }
}

START_TEST(a_failed_insert_changes_nothing)
{
    uint64_t failed = 0;

    for (uint64_t i = 0; i < 6000; i++) {
        uint64_t key = i * 7919 % 40009;
        void *hoard = hoard_nodes(i % 3);
        size_t nodes = fix.nodes.used;

        if (hmm_index_insert(&fix.index, key, value_of(key)) != 0) {
            ck_assert_uint_eq(fix.index.count, i);
            ck_assert_uint_eq(fix.nodes.used, nodes);
            ck_assert_ptr_null(hmm_index_find(&fix.index, key));
            ck_assert(hmm_index_check(&fix.index));
            failed++;
            release_nodes(hoard);
            insert(key);
        } else {
            release_nodes(hoard);
        }
    }
    ck_assert(hmm_index_check(&fix.index));
    for (uint64_t i = 0; i < 6000; i++)
        ck_assert_ptr_nonnull(hmm_index_find(&fix.index, i * 7919 % 40009));
    ck_assert_uint_gt(failed, 40);
}
END_TEST

START_TEST(removing_needs_no_memory)
{
    for (uint64_t key = 0; key < 5000; key++)
        insert(key);
    fix.memory.left = 0;
    for (uint64_t i = 0; i < 5000; i++) {
        remove_key(i * 7919 % 5000);
        ck_assert(i % 16 != 0 || hmm_index_check(&fix.index));
    }
    ck_assert_uint_eq(fix.nodes.used, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("index");
    TCase *model = tcase_create("model");
    TCase *single = tcase_create("single");
    TCase *memory = tcase_create("memory");

    tcase_set_timeout(model, 120);
    tcase_add_checked_fixture(model, setup, teardown);
    tcase_add_test(model, random_operations_agree_with_a_sorted_array);
    tcase_add_checked_fixture(single, setup, teardown);
    tcase_add_test(single, an_empty_index_has_nothing_and_no_memory);
    tcase_add_test(single, the_ends_of_the_key_space_are_keys_like_others);
    tcase_add_test(single, a_row_is_inserted_as_far_as_the_leaf_has_room);
    tcase_add_test(single, a_second_insert_of_a_key_changes_nothing);
    tcase_add_test(single, a_found_value_may_be_changed_in_place);
    tcase_add_test(single, indexes_may_share_a_slab);
    tcase_add_test(single, the_last_key_may_come_and_go_alone_in_its_leaf);
    tcase_add_test(single, the_first_key_may_come_and_go_alone_in_its_leaf);
    tcase_set_timeout(memory, 60);
    tcase_add_checked_fixture(memory, setup, teardown);
    tcase_add_test(memory, random_keys_take_at_most_24_bytes_each);
    tcase_add_test(memory, keys_in_ascending_order_fill_their_nodes);
    tcase_add_test(memory, keys_in_descending_order_fill_their_nodes);
    tcase_add_test(memory, sixteen_streams_in_order_fill_their_nodes);
    tcase_add_test(memory, thinning_out_at_random_keeps_nodes_a_third_full);
    tcase_add_test(memory, a_range_is_taken_by_whole_leaves);
    tcase_add_test(memory, bits_are_cleared_in_a_range_and_nowhere_else);
    tcase_add_test(memory, a_queue_of_keys_stays_small);
    tcase_add_test(memory, a_failed_insert_changes_nothing);
    tcase_add_test(memory, removing_needs_no_memory);
    suite_add_tcase(suite, model);
    suite_add_tcase(suite, single);
    suite_add_tcase(suite, memory);
    return run_suites("index", &suite, 1);
}
