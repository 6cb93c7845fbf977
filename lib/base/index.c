/* SPDX-License-Identifier: MIT */
/*
 * The page index: a B+ tree.
 *
 * A node has up to 31 pairs. In a leaf they are keys and values; above, they are
 * children and *exactly* the lowest key in each. So a key that is in the tree has
 * one way down, and the greatest key below any key is in the leaf that the way
 * down ends in. Leaves are linked upwards.
 *
 * Fill. A node is on the *edge* if it is the first or the last of its level.
 * Others never have less than a third. To get there:
 *   - a full leaf first moves pairs to a neighbour under the same parent that has
 *     room, and is split only when both are full (random keys fill four fifths);
 *   - at an edge, what is split off is the new pair alone, so that keys that
 *     arrive in order, up or down, leave full nodes behind;
 *   - a node that falls below a third is joined with a neighbour, or takes half of
 *     what the two have. Edge nodes are only joined: a queue, which grows at one
 *     edge and shrinks at the other, moves nothing.
 *
 * Invariants (hmm_index_check):
 *  1. Keys increase along the leaves; `next' links lead from leaf to leaf.
 *  2. The key of a child is the lowest key below it.
 *  3. A node that is not on the edge has MIN pairs or more, every node one or
 *     more, and a root above the leaves two or more.
 *  4. All leaves are at the same depth, `height'; `count' is right.
 *  5. `marks' of a leaf has the upper half of every bit that a search may look
 *     for in one of its values (hmm_index_check_marks), and perhaps more: it goes
 *     with the values where those go, and is made exact when a search finds it to
 *     be wrong.  So a search reads one cache line of a leaf that has nothing.
 *
 * An insert reserves every node that it may need before it changes anything.
 */
#include "lib/base/index.h"

#include <stddef.h>

#include "hurdmm/error.h"
#include "lib/base/assert.h"
#include "lib/base/string.h"

#define CAPACITY 31u
#define MIN 10u

/* Ten to the sixteenth entries do not fit in any memory. */
#define HEIGHT_MAX 16u

union slot {
    uint64_t value;
    struct hmm_index_node *child;
};

struct hmm_index_node {
    struct hmm_index_node *next; /* of a leaf; NULL for the last */
    uint32_t count;
    uint32_t marks; /* of a leaf: invariant 5 */
    uint64_t key[CAPACITY];
    union slot slot[CAPACITY];
};

_Static_assert(CAPACITY == HMM_INDEX_TAKE_MAX, "a leaf is taken at once");
_Static_assert(sizeof(struct hmm_index_node) <= HMM_INDEX_NODE_SIZE,
               "a node is too large");
_Static_assert(offsetof(struct hmm_index_node, marks) == HMM_INDEX_MARKS_AT,
               "where hmm_index_mark sets them");
_Static_assert((HMM_INDEX_NODE_SIZE & (HMM_INDEX_NODE_SIZE - 1)) == 0,
               "the size is the alignment");

/* The way from the root, at level height - 1, to a leaf, at level 0: the slot of
   the child taken, and in the leaf the slot of the first key not below the one
   that was looked for. node[1] is NULL where the root is a leaf. */
struct path {
    struct hmm_index_node *node[HEIGHT_MAX];
    unsigned slot[HEIGHT_MAX];
};

void hmm_index_init(struct hmm_index *index, struct hmm_slab *nodes)
{
    hmm_assert(nodes->size >= HMM_INDEX_NODE_SIZE);
    index->root = NULL;
    index->height = 0;
    index->count = 0;
    index->nodes = nodes;
}

/* ---- Nodes ---- */

/* Fetches all of a node at once, where the search would take its cache lines one
   after the other. */
static inline void fetch(const struct hmm_index_node *node)
{
    for (size_t at = 64; at < sizeof *node; at += 64)
        __builtin_prefetch((const char *)node + at);
}

/* The last slot whose key is not above `key'; the first if there is none. */
static inline unsigned slot_at_or_below(const struct hmm_index_node *node,
                                        uint64_t key)
{
    unsigned slot = 0;

    /* No branch depends on the keys, which are not predictable. */
    for (unsigned n = node->count; n > 1; n -= n / 2)
        slot += node->key[slot + n / 2] <= key ? n / 2 : 0;
    return slot;
}

/* The first slot whose key is not below `key'; may be one past the last. */
static inline unsigned slot_at_or_above(const struct hmm_index_node *node,
                                        uint64_t key)
{
    unsigned slot = slot_at_or_below(node, key);

    return slot < node->count && node->key[slot] < key ? slot + 1 : slot;
}

static void insert_pair(struct hmm_index_node *node, unsigned at, uint64_t key,
                        union slot slot)
{
    size_t after = node->count - at;

    hmm_assert(at <= node->count && node->count < CAPACITY);
    if (after > 0) {
        memmove(&node->key[at + 1], &node->key[at],
                after * sizeof node->key[0]);
        memmove(&node->slot[at + 1], &node->slot[at],
                after * sizeof node->slot[0]);
    }
    node->key[at] = key;
    node->slot[at] = slot;
    node->marks |= (uint32_t)(slot.value >> 32);
    node->count++;
}

static void remove_pairs(struct hmm_index_node *node, unsigned at, unsigned n)
{
    size_t after = node->count - at - n;

    hmm_assert(n > 0 && at + n <= node->count);
    memmove(&node->key[at], &node->key[at + n], after * sizeof node->key[0]);
    memmove(&node->slot[at], &node->slot[at + n], after * sizeof node->slot[0]);
    node->count -= n;
}

static void remove_pair(struct hmm_index_node *node, unsigned at)
{
    remove_pairs(node, at, 1);
}

/* Moves the last `n' pairs of `left' to the front of `right'. */
static void move_up(struct hmm_index_node *left, struct hmm_index_node *right,
                    unsigned n)
{
    hmm_assert(n <= left->count && right->count + n <= CAPACITY);
    memmove(&right->key[n], right->key, right->count * sizeof right->key[0]);
    memmove(&right->slot[n], right->slot, right->count * sizeof right->slot[0]);
    left->count -= n;
    right->count += n;
    right->marks |= left->marks;
    memcpy(right->key, &left->key[left->count], n * sizeof right->key[0]);
    memcpy(right->slot, &left->slot[left->count], n * sizeof right->slot[0]);
}

/* Moves the first `n' pairs of `right' to the end of `left'. */
static void move_down(struct hmm_index_node *left, struct hmm_index_node *right,
                      unsigned n)
{
    hmm_assert(n <= right->count && left->count + n <= CAPACITY);
    memcpy(&left->key[left->count], right->key, n * sizeof left->key[0]);
    memcpy(&left->slot[left->count], right->slot, n * sizeof left->slot[0]);
    left->count += n;
    right->count -= n;
    left->marks |= right->marks;
    memmove(right->key, &right->key[n], right->count * sizeof right->key[0]);
    memmove(right->slot, &right->slot[n], right->count * sizeof right->slot[0]);
}

/* ---- Ways through the tree ---- */

/* The same as slot_at_or_below right above the leaves: where pages lie in a row
 * the leaves are full, and the first look finds it. */
static inline unsigned slot_above_leaf(const struct hmm_index_node *node,
                                       uint64_t key)
{
    uint64_t distance = key - node->key[0];

    if (distance < CAPACITY * CAPACITY) {
        unsigned slot = (unsigned)distance / CAPACITY;
        if (slot < node->count && node->key[slot] <= key &&
            (slot + 1 == node->count || key < node->key[slot + 1]))
            return slot;
    }
    return slot_at_or_below(node, key);
}

/* The leaf where `key' is, or where it would be inserted. */
static inline struct hmm_index_node *leaf_of(const struct hmm_index *index,
                                             uint64_t key)
{
    struct hmm_index_node *node = index->root;

    for (unsigned level = index->height; level > 1; level--) {
        unsigned slot = level == 2 ? slot_above_leaf(node, key)
                                   : slot_at_or_below(node, key);
        node = node->slot[slot].child;
        fetch(node);
    }
    return node;
}

/* The same for those that then do more than look: it is long, and here once. */
__attribute__((noinline)) static struct hmm_index_node *leaf_for(
    const struct hmm_index *index, uint64_t key)
{
    return leaf_of(index, key);
}

/* The same, noting the way. */
static void locate(const struct hmm_index *index, uint64_t key,
                   struct path *path)
{
    struct hmm_index_node *node = index->root;
    unsigned level = index->height - 1;

    hmm_assert(index->height > 0 && index->height <= HEIGHT_MAX);
    path->node[1] = NULL;
    path->slot[1] = 0;
    while (level > 0) {
        unsigned slot = slot_at_or_below(node, key);

        path->node[level] = node;
        path->slot[level] = slot;
        node = node->slot[slot].child;
        fetch(node);
        level--;
    }
    path->node[0] = node;
    path->slot[0] = slot_at_or_above(node, key);
}

/* Whether the node at `level' is the first, or the last, of its level. */
static bool is_first(const struct hmm_index *index, const struct path *path,
                     unsigned level)
{
    while (++level < index->height)
        if (path->slot[level] != 0)
            return false;
    return true;
}

static bool is_last(const struct hmm_index *index, const struct path *path,
                    unsigned level)
{
    while (++level < index->height)
        if (path->slot[level] != path->node[level]->count - 1)
            return false;
    return true;
}

/* Restores invariant 2 above the node at `level', whose lowest key changed. */
static void lowest_changed(const struct hmm_index *index,
                           const struct path *path, unsigned level)
{
    uint64_t key = path->node[level]->key[0];

    while (++level < index->height) {
        path->node[level]->key[path->slot[level]] = key;
        if (path->slot[level] != 0)
            return;
    }
}

/* ---- Finding ---- */

uint64_t *hmm_index_find(const struct hmm_index *index, uint64_t key)
{
    struct hmm_index_node *leaf = leaf_of(index, key);
    unsigned slot;

    if (leaf == NULL)
        return NULL;
    /* Most leaves have a row of keys. */
    uint64_t distance = key - leaf->key[0];
    if (distance < leaf->count && leaf->key[distance] == key)
        return &leaf->slot[distance].value;
    slot = slot_at_or_below(leaf, key);
    return leaf->key[slot] == key ? &leaf->slot[slot].value : NULL;
}

uint64_t *hmm_index_next(const struct hmm_index *index, uint64_t key,
                         uint64_t *found)
{
    struct hmm_index_cursor cursor;

    if (!hmm_index_seek(index, &cursor, key))
        return NULL;
    *found = cursor.key;
    return cursor.value;
}

uint64_t *hmm_index_prev(const struct hmm_index *index, uint64_t key,
                         uint64_t *found)
{
    struct hmm_index_node *leaf = leaf_of(index, key);
    unsigned slot;

    if (leaf == NULL)
        return NULL;
    slot = slot_at_or_below(leaf, key);
    if (leaf->key[slot] > key)
        return NULL;
    *found = leaf->key[slot];
    return &leaf->slot[slot].value;
}

/* Makes the cursor point at its slot, or at the first one of the next leaf if
   there is none in this leaf. */
static bool cursor_settle(struct hmm_index_cursor *cursor)
{
    if (cursor->slot >= cursor->leaf->count) {
        if (cursor->leaf->next == NULL)
            return false;
        cursor->leaf = cursor->leaf->next;
        cursor->slot = 0;
    }
    cursor->key = cursor->leaf->key[cursor->slot];
    cursor->value = &cursor->leaf->slot[cursor->slot].value;
    return true;
}

bool hmm_index_seek(const struct hmm_index *index,
                    struct hmm_index_cursor *cursor, uint64_t key)
{
    cursor->leaf = leaf_for(index, key);
    if (cursor->leaf == NULL)
        return false;
    cursor->slot = slot_at_or_above(cursor->leaf, key);
    return cursor_settle(cursor);
}

bool hmm_index_step(struct hmm_index_cursor *cursor)
{
    if (cursor->leaf == NULL)
        return false;
    if (cursor->slot < cursor->leaf->count)
        cursor->slot++;
    return cursor_settle(cursor);
}

unsigned hmm_index_row(const struct hmm_index *index, uint64_t key,
                       uint64_t **values)
{
    struct hmm_index_node *leaf = leaf_for(index, key);

    if (leaf == NULL)
        return 0;
    unsigned slot = slot_at_or_above(leaf, key), n = leaf->count - slot;
    if (n == 0 || leaf->key[slot] != key)
        return 0;
    /* All the rest of the leaf, mostly. */
    if (leaf->key[leaf->count - 1] - key != n - 1)
        for (n = 1; leaf->key[slot + n] - key == n;)
            n++;
    *values = &leaf->slot[slot].value;
    return n;
}

/* Are all keys from the lowest to the highest there?  Then that is known without
   a walk. */
static bool is_solid(const struct hmm_index *index, uint64_t *highest)
{
    const struct hmm_index_node *leaf = leaf_for(index, UINT64_MAX);

    *highest = leaf->key[leaf->count - 1];
    return *highest - index->root->key[0] == index->count - 1;
}

uint64_t hmm_index_run(const struct hmm_index *index, uint64_t key)
{
    struct hmm_index_cursor cursor;
    uint64_t next = key, highest;

    if (!hmm_index_seek(index, &cursor, key) || cursor.key != key)
        return 0;
    if (is_solid(index, &highest))
        return highest - key + 1;
    for (const struct hmm_index_node *leaf = cursor.leaf; leaf != NULL;
         leaf = leaf->next) {
        unsigned slot = leaf == cursor.leaf ? cursor.slot : 0;
        uint64_t rest = leaf->count - slot;

        if (leaf->key[slot] != next)
            break;
        if (leaf->key[leaf->count - 1] - next != rest - 1) {
            while (leaf->key[slot] == next) /* there is a gap in this leaf */
                slot++, next++;
            break;
        }
        next += rest;
    }
    return next - key;
}

/* ---- Keys with marks ---- */

/* So many leaves ahead of the one that is looked at are fetched: memory answers
   several requests in the time of one, but only where their addresses are known,
   which is why a search goes by the parents and not by `next'. */
#define AHEAD 8u

/* What `marks' must have at least. */
static uint32_t marks_of(const struct hmm_index_node *leaf)
{
    uint64_t bits = 0;

    for (unsigned i = 0; i < leaf->count; i++)
        bits |= leaf->slot[i].value;
    return (uint32_t)(bits >> 32);
}

/* The first slot from `slot' on whose value has a bit of `mask'; the count when
   none has. */
static unsigned marked_slot(struct hmm_index_node *leaf, unsigned slot,
                            uint64_t mask)
{
    if (!(leaf->marks & (uint32_t)(mask >> 32)))
        return leaf->count;
    while (slot < leaf->count && !(leaf->slot[slot].value & mask))
        slot++;
    if (slot == leaf->count)
        leaf->marks = marks_of(leaf);
    return slot;
}

/* Moves on to the next leaf; false when there is none.  Fetches the head of one
   that will be looked at soon. */
static bool next_leaf(const struct hmm_index *index, struct path *path)
{
    unsigned level = 1;

    while (level < index->height &&
           path->slot[level] + 1 >= path->node[level]->count)
        level++;
    if (level >= index->height)
        return false;
    path->slot[level]++;
    for (; level > 0; level--) {
        path->node[level - 1] =
            path->node[level]->slot[path->slot[level]].child;
        path->slot[level - 1] = 0;
    }
    const struct hmm_index_node *parent = path->node[1];
    unsigned from = path->slot[1] == 0 ? 0 : path->slot[1] + AHEAD;
    for (unsigned i = from; i <= path->slot[1] + AHEAD && i < parent->count;
         i++)
        __builtin_prefetch(parent->slot[i].child);
    return true;
}

bool hmm_index_seek_marked(const struct hmm_index *index,
                           struct hmm_index_cursor *cursor, uint64_t key,
                           uint64_t last, uint64_t mask)
{
    struct path path;
    unsigned slot;

    cursor->leaf = index->root;
    if (index->root == NULL)
        return false;
    locate(index, key, &path);
    while ((slot = marked_slot(path.node[0], path.slot[0], mask)) ==
           path.node[0]->count) {
        if (!next_leaf(index, &path) || path.node[0]->key[0] > last)
            return false;
    }
    cursor->leaf = path.node[0];
    cursor->slot = slot;
    return cursor_settle(cursor) && cursor->key <= last;
}

bool hmm_index_step_marked(const struct hmm_index *index,
                           struct hmm_index_cursor *cursor, uint64_t last,
                           uint64_t mask)
{
    const struct hmm_index_node *leaf = cursor->leaf;
    uint64_t highest = leaf->key[leaf->count - 1];

    hmm_assert(cursor->slot < leaf->count);
    do
        cursor->slot++;
    while (cursor->slot < leaf->count &&
           !(leaf->slot[cursor->slot].value & mask));
    if (cursor->slot < leaf->count)
        return cursor_settle(cursor) && cursor->key <= last;
    return highest < last &&
           hmm_index_seek_marked(index, cursor, highest + 1, last, mask);
}

void hmm_index_clear_bits(struct hmm_index *index, uint64_t first,
                          uint64_t last, uint64_t bits)
{
    struct hmm_index_cursor cursor;

    if (!hmm_index_seek(index, &cursor, first))
        return;
    for (struct hmm_index_node *leaf = cursor.leaf; leaf != NULL;
         leaf = leaf->next) {
        unsigned slot = leaf == cursor.leaf ? cursor.slot : 0;

        for (; slot < leaf->count && leaf->key[slot] <= last; slot++)
            leaf->slot[slot].value &= ~bits;
        if (slot < leaf->count)
            return;
        if (leaf->next != NULL)
            fetch(leaf->next);
    }
}

/* ---- Inserting ---- */

/* A node; after a reservation this does not fail. */
static struct hmm_index_node *node_new(struct hmm_index *index)
{
    struct hmm_index_node *node = hmm_slab_alloc(index->nodes);

    if (node != NULL) {
        node->next = NULL;
        node->count = 0;
        node->marks = 0;
    }
    return node;
}

/* How many pairs to move from a full leaf to a neighbour with `room'. A key that
   goes to the other end of the leaf lets all of the room be used: more keys in
   that order will be coming. */
static unsigned share(unsigned room, bool in_order)
{
    if (in_order)
        return room < CAPACITY - MIN ? room : CAPACITY - MIN;
    return (room + 1) / 2;
}

/* Moves pairs from the leaf of the path, which is full, to a neighbour with room
   for two, so that both then have room. Says whether there is one. */
static bool move_over(const struct path *path)
{
    struct hmm_index_node *leaf = path->node[0];
    struct hmm_index_node *parent = path->node[1];
    struct hmm_index_node *left = leaf;
    struct hmm_index_node *right = leaf;
    unsigned slot = path->slot[1];

    hmm_assert(leaf->count == CAPACITY);
    if (slot > 0)
        left = parent->slot[slot - 1].child;
    if (parent != NULL && slot + 1 < parent->count)
        right = parent->slot[slot + 1].child;
    if (left->count + 1 < CAPACITY) {
        move_down(left, leaf,
                  share(CAPACITY - left->count, path->slot[0] == CAPACITY));
        parent->key[slot] = leaf->key[0];
    } else if (right->count + 1 < CAPACITY) {
        move_up(leaf, right,
                share(CAPACITY - right->count, path->slot[0] == 0));
        parent->key[slot + 1] = right->key[0];
    } else {
        return false;
    }
    return true;
}

/* Reserves the nodes that splitting the full nodes of the path will take. */
static int reserve(struct hmm_index *index, const struct path *path)
{
    unsigned level = 0;

    while (level < index->height && path->node[level]->count == CAPACITY)
        level++;
    return hmm_slab_reserve(index->nodes,
                            level == index->height ? level + 1 : level);
}

/* How many pairs of the full node at `level' stay when it is split to let in a
   pair at `at'. */
static unsigned cut(const struct hmm_index *index, const struct path *path,
                    unsigned level, unsigned at)
{
    /* Above the leaves, what comes in at the first edge is the second pair. */
    unsigned first = level > 0 ? 1 : 0;

    if (at == CAPACITY && is_last(index, path, level))
        return CAPACITY;
    if (at <= first && is_first(index, path, level))
        return at;
    return at <= CAPACITY / 2 ? CAPACITY / 2 : CAPACITY / 2 + 1;
}

/* Splits the full node at `level' and inserts a pair into the one half or the
   other; returns the upper half, which is new and not yet in the tree. */
static struct hmm_index_node *split(struct hmm_index *index,
                                    const struct path *path, unsigned level,
                                    unsigned at, uint64_t key, union slot slot)
{
    struct hmm_index_node *lower = path->node[level];
    struct hmm_index_node *upper = node_new(index);
    unsigned stay = cut(index, path, level, at);

    hmm_assert(upper != NULL && lower->count == CAPACITY);
    upper->next = lower->next;
    if (level == 0)
        lower->next = upper;
    move_up(lower, upper, CAPACITY - stay);
    if (at > stay || stay == CAPACITY)
        insert_pair(upper, at - stay, key, slot);
    else
        insert_pair(lower, at, key, slot);
    return upper;
}

/* Puts a new root above two nodes. */
static void grow_root(struct hmm_index *index, struct hmm_index_node *lower,
                      struct hmm_index_node *upper)
{
    struct hmm_index_node *root = node_new(index);

    hmm_assert(root != NULL && index->height < HEIGHT_MAX);
    root->key[0] = lower->key[0];
    root->slot[0].child = lower;
    root->key[1] = upper->key[0];
    root->slot[1].child = upper;
    root->count = 2;
    index->root = root;
    index->height++;
}

/* Inserts a pair at the end of the path, splitting what is full. */
static void put(struct hmm_index *index, const struct path *path, uint64_t key,
                union slot slot)
{
    unsigned at = path->slot[0];

    for (unsigned level = 0; level < index->height; level++) {
        struct hmm_index_node *node = path->node[level];
        struct hmm_index_node *upper = NULL;

        if (node->count < CAPACITY)
            insert_pair(node, at, key, slot);
        else
            upper = split(index, path, level, at, key, slot);
        if (at == 0)
            lowest_changed(index, path, level);
        if (upper == NULL)
            return;
        if (level + 1 == index->height) {
            grow_root(index, node, upper);
            return;
        }
        at = path->slot[level + 1] + 1;
        key = upper->key[0];
        slot.child = upper;
    }
}

/* Makes a leaf with no pairs the root. */
static int plant(struct hmm_index *index)
{
    index->root = node_new(index);
    if (index->root == NULL)
        return ENOMEM;
    index->height = 1;
    return 0;
}

/* Adds `key' where that concerns one leaf only: one with room and with a lower
 * key, as where keys arrive in order.  False: nothing was done. */
static bool insert_in_leaf(struct hmm_index *index, uint64_t key,
                           uint64_t value)
{
    struct hmm_index_node *leaf = leaf_for(index, key);

    if (leaf == NULL || leaf->count == CAPACITY)
        return false;
    unsigned at = leaf->count;
    if (leaf->key[at - 1] >= key) {
        at = slot_at_or_above(leaf, key);
        if (at == 0 || leaf->key[at] == key)
            return false;
    }
    insert_pair(leaf, at, key, (union slot){.value = value});
    index->count++;
    return true;
}

int hmm_index_insert(struct hmm_index *index, uint64_t key, uint64_t value)
{
    struct path path;
    int error = 0;

    if (insert_in_leaf(index, key, value))
        return 0;
    if (index->root == NULL)
        error = plant(index);
    if (error != 0)
        return error;
    locate(index, key, &path);
    if (path.slot[0] < path.node[0]->count &&
        path.node[0]->key[path.slot[0]] == key)
        return EEXIST;
    if (path.node[0]->count == CAPACITY) {
        if (move_over(&path))
            locate(index, key, &path);
        else
            error = reserve(index, &path);
    }
    if (error != 0)
        return error;
    put(index, &path, key, (union slot){.value = value});
    index->count++;
    return 0;
}

unsigned hmm_index_insert_row(struct hmm_index *index, uint64_t key,
                              uint64_t value, unsigned n)
{
    struct hmm_index_node *leaf = leaf_for(index, key);

    if (leaf == NULL || leaf->key[leaf->count - 1] >= key)
        return 0;
    hmm_assert(leaf->next == NULL || leaf->next->key[0] - key >= n);
    if (n > CAPACITY - leaf->count)
        n = CAPACITY - leaf->count;
    for (unsigned i = 0; i < n; i++) {
        leaf->key[leaf->count + i] = key + i;
        leaf->slot[leaf->count + i].value = value + i;
    }
    leaf->count += n;
    leaf->marks |= (uint32_t)(value >> 32);
    index->count += n;
    return n;
}

/* ---- Removing ---- */

/* Takes the empty node at `level', an only child, out of the tree. The key that
   its parent has for it is the one that was removed: what leads to the key below
   ends in the leaf before. */
static void drop_only_child(struct hmm_index *index, const struct path *path,
                            unsigned level)
{
    struct hmm_index_node *node = path->node[level];
    uint64_t key = path->node[level + 1]->key[0];

    hmm_assert(node->count == 0 && path->node[level + 1]->count == 1);
    if (level == 0 && key > 0) {
        struct hmm_index_node *before = leaf_for(index, key - 1);

        if (before != node)
            before->next = node->next;
    }
    remove_pair(path->node[level + 1], 0);
    hmm_slab_free(index->nodes, node);
}

/* Joins the node at `level' with a neighbour if they fit in one node, or shares
   the pairs out evenly. Says whether the parent has lost a child. */
static bool join(struct hmm_index *index, const struct path *path,
                 unsigned level)
{
    struct hmm_index_node *parent = path->node[level + 1];
    unsigned slot = path->slot[level + 1] > 0 ? path->slot[level + 1] - 1 : 0;
    struct hmm_index_node *left = parent->slot[slot].child;
    struct hmm_index_node *right = parent->slot[slot + 1].child;
    unsigned sum = left->count + right->count;

    if (sum <= CAPACITY) {
        move_down(left, right, right->count);
        left->next = right->next;
        remove_pair(parent, slot + 1);
        hmm_slab_free(index->nodes, right);
        if (path->node[level] == left)
            lowest_changed(index, path, level);
        return true;
    }
    if (is_first(index, path, level) || is_last(index, path, level))
        return false;
    if (left->count < right->count)
        move_down(left, right, sum / 2 - left->count);
    else
        move_up(left, right, sum / 2 - right->count);
    parent->key[slot + 1] = right->key[0];
    return false;
}

/* Takes away roots with a single child, and an empty leaf. */
static void lower_root(struct hmm_index *index)
{
    while (index->height > 1 && index->root->count == 1) {
        struct hmm_index_node *root = index->root;

        index->root = root->slot[0].child;
        index->height--;
        hmm_slab_free(index->nodes, root);
    }
    if (index->root->count == 0) {
        hmm_slab_free(index->nodes, index->root);
        index->root = NULL;
        index->height = 0;
    }
}

/* Restores invariant 3 from the leaf of the path, which lost keys, up. */
static void refill(struct hmm_index *index, const struct path *path)
{
    for (unsigned level = 0; level + 1 < index->height; level++) {
        const struct hmm_index_node *node = path->node[level];

        if (node->count >= MIN)
            return;
        if (path->node[level + 1]->count > 1) {
            if (!join(index, path, level))
                return;
        } else {
            if (node->count > 0)
                return;
            drop_only_child(index, path, level);
        }
    }
    lower_root(index);
}

/* Removes the `n' keys at the end of the path, all of one leaf. */
static void remove_at(struct hmm_index *index, const struct path *path,
                      unsigned n)
{
    struct hmm_index_node *leaf = path->node[0];
    unsigned at = path->slot[0];

    remove_pairs(leaf, at, n);
    index->count -= n;
    if (at == 0 && leaf->count > 0)
        lowest_changed(index, path, 0);
    refill(index, path);
}

int hmm_index_remove(struct hmm_index *index, uint64_t key, uint64_t *value)
{
    struct hmm_index_node *leaf;
    struct path path;
    unsigned at;

    if (index->root == NULL)
        return ENOENT;
    locate(index, key, &path);
    leaf = path.node[0];
    at = path.slot[0];
    if (at == leaf->count || leaf->key[at] != key)
        return ENOENT;
    if (value != NULL)
        *value = leaf->slot[at].value;
    remove_at(index, &path, 1);
    return 0;
}

unsigned hmm_index_take(struct hmm_index *index, uint64_t first, uint64_t last,
                        struct hmm_index_pair *pairs)
{
    struct hmm_index_node *leaf;
    struct path path;
    unsigned n = 0;

    if (index->root == NULL)
        return 0;
    locate(index, first, &path);
    if (path.slot[0] == path.node[0]->count) {
        if (path.node[0]->next == NULL)
            return 0;
        locate(index, path.node[0]->next->key[0], &path);
    }
    leaf = path.node[0];
    for (unsigned at = path.slot[0]; at < leaf->count; at++) {
        if (leaf->key[at] > last)
            break;
        hmm_assert(leaf->key[at] >= first);
        pairs[n].key = leaf->key[at];
        pairs[n++].value = leaf->slot[at].value;
    }
    if (n > 0)
        remove_at(index, &path, n);
    return n;
}

static void free_subtree(struct hmm_index *index, struct hmm_index_node *node,
                         unsigned level)
{
    for (unsigned i = 0; level > 0 && i < node->count; i++)
        free_subtree(index, node->slot[i].child, level - 1);
    hmm_slab_free(index->nodes, node);
}

void hmm_index_clear(struct hmm_index *index)
{
    if (index->root != NULL)
        free_subtree(index, index->root, index->height - 1);
    hmm_index_init(index, index->nodes);
}

/* ---- Checking ---- */

/* What a walk over the tree carries from node to node. */
struct walk {
    const struct hmm_index_node *leaf; /* the last one seen */
    uint64_t count;
};

static bool keys_check(const struct hmm_index_node *node)
{
    for (unsigned i = 1; i < node->count; i++)
        if (node->key[i - 1] >= node->key[i])
            return false;
    return true;
}

static bool leaf_check(const struct hmm_index_node *leaf, struct walk *walk)
{
    if (walk->leaf != NULL &&
        (walk->leaf->next != leaf ||
         walk->leaf->key[walk->leaf->count - 1] >= leaf->key[0]))
        return false;
    walk->leaf = leaf;
    walk->count += leaf->count;
    return true;
}

static bool subtree_check(const struct hmm_index_node *node, unsigned level,
                          bool first, bool last, struct walk *walk)
{
    unsigned min = first || last ? 1 : MIN;

    if (node->count < min || node->count > CAPACITY || !keys_check(node))
        return false;
    if (level == 0)
        return leaf_check(node, walk);
    for (unsigned i = 0; i < node->count; i++) {
        const struct hmm_index_node *child = node->slot[i].child;

        if (child->key[0] != node->key[i] ||
            !subtree_check(child, level - 1, first && i == 0,
                           last && i == node->count - 1, walk))
            return false;
    }
    return true;
}

bool hmm_index_check_marks(const struct hmm_index *index, uint64_t mask)
{
    const struct hmm_index_node *leaf = leaf_for(index, 0);

    while (leaf != NULL &&
           !(marks_of(leaf) & (uint32_t)(mask >> 32) & ~leaf->marks))
        leaf = leaf->next;
    return leaf == NULL;
}

bool hmm_index_check(const struct hmm_index *index)
{
    struct walk walk = {NULL, 0};

    if (index->root == NULL)
        return index->height == 0 && index->count == 0;
    if (index->height > 1 && index->root->count < 2)
        return false;
    return subtree_check(index->root, index->height - 1, true, true, &walk) &&
           walk.leaf->next == NULL && walk.count == index->count;
}
