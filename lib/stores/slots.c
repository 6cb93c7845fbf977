/* SPDX-License-Identifier: MIT */
/*
 * The slot map: a radix tree with 8 bits a level.
 *
 * Invariants:
 *  1. a node is not empty, unless a page is just being set below it;
 *  2. leaves are at level 0, the root at level height - 1;
 *  3. the root covers the highest page that is set: a page beyond it has none.
 *
 * Nodes have no header, so that their sizes are powers of two, which is what
 * hurdmm_allocate wastes nothing for; their level is known from the way down,
 * and whether one has become empty is seen by looking.
 */
#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "lib/stores/private.h"
#include "lib/stores/slots.h"

#define BITS 8u
#define FANOUT (1u << BITS)
#define LEVELS_MAX (64u / BITS)

struct hmm_slots_node {
    union {
        /* Leaves keep slot + 1, so that fresh memory is empty; they have
         * nothing but these. */
        uint32_t slots[FANOUT];
        struct hmm_slots_node *children[FANOUT];
    } u;
};

_Static_assert(FANOUT == HMM_SLOTS_LEAF, "the header states the leaf's size");

static size_t node_size(unsigned level)
{
    return FANOUT *
           (level == 0 ? sizeof(uint32_t) : sizeof(struct hmm_slots_node *));
}

static unsigned entry_of(uint64_t page, unsigned level)
{
    store_assert(level < LEVELS_MAX);
    return (unsigned)(page >> (level * BITS)) & (FANOUT - 1);
}

/* Whether a tree of so many levels has a place for the page. */
static bool covers(unsigned height, uint64_t page)
{
    return height >= LEVELS_MAX || (height > 0 && page >> (height * BITS) == 0);
}

/* An empty node, or NULL. */
static struct hmm_slots_node *node_new(struct hmm_slots *slots, unsigned level)
{
    void *memory;

    if (hurdmm_allocate(slots->manager, node_size(level), &memory) != 0)
        return NULL;
    return memory;
}

static bool node_empty(const struct hmm_slots_node *node, unsigned level)
{
    for (unsigned i = 0; i < FANOUT; i++)
        if (level == 0 ? node->u.slots[i] != 0 : node->u.children[i] != NULL)
            return false;
    return true;
}

static void node_free(struct hmm_slots *slots, struct hmm_slots_node *node,
                      unsigned level)
{
    store_assert(node_empty(node, level));
    hurdmm_deallocate(slots->manager, node, node_size(level));
}

/* Forgets a root that has become empty. */
static void drop_root(struct hmm_slots *slots)
{
    if (slots->root && node_empty(slots->root, slots->height - 1)) {
        node_free(slots, slots->root, slots->height - 1);
        slots->root = NULL;
    }
    if (!slots->root)
        slots->height = 0;
}

/* Memory is taken with the first page that is set. */
void hmm_slots_init(struct hmm_slots *slots, struct hurdmm *manager)
{
    slots->manager = manager;
    slots->root = NULL;
    slots->height = 0;
}

/* The leaf of a page, NULL where there is none: then the page has no slot. */
static const struct hmm_slots_node *leaf_of(const struct hmm_slots *slots,
                                            uint64_t page)
{
    const struct hmm_slots_node *node = slots->root;

    if (!covers(slots->height, page))
        return NULL;
    for (unsigned level = slots->height - 1; node && level > 0; level--)
        node = node->u.children[entry_of(page, level)];
    return node;
}

uint32_t hmm_slots_get(const struct hmm_slots *slots, uint64_t page)
{
    const struct hmm_slots_node *leaf = leaf_of(slots, page);

    return leaf ? leaf->u.slots[entry_of(page, 0)] - 1 : HMM_SLOT_NONE;
}

/* Adds levels until the tree covers the page.  A tree that is higher than it
 * need be is sound, so there is nothing to undo when memory ends. */
static int grow(struct hmm_slots *slots, uint64_t page)
{
    struct hmm_slots_node *node;

    for (; !covers(slots->height, page); slots->height++) {
        if (!slots->root)
            continue;
        node = node_new(slots, slots->height);
        if (!node)
            return ENOMEM;
        node->u.children[0] = slots->root;
        slots->root = node;
    }
    store_assert(slots->height <= LEVELS_MAX);
    return 0;
}

/* The leaf of a page, made where there is none. */
static struct hmm_slots_node *leaf_make(struct hmm_slots *slots, uint64_t page)
{
    struct hmm_slots_node **place = &slots->root;

    store_assert(covers(slots->height, page));
    for (unsigned level = slots->height - 1;; level--) {
        if (!*place)
            *place = node_new(slots, level);
        if (!*place || level == 0)
            return *place;
        place = &(*place)->u.children[entry_of(page, level)];
    }
}

static bool drop_nothing(void *hook, uint32_t slot, uint32_t count)
{
    (void)hook, (void)slot, (void)count;
    return true;
}

/* Whether two neighbours belong to one run, as leaves keep them. */
static bool follows(uint32_t before, uint32_t entry)
{
    if (before == 0 || before == HMM_SLOT_PROMISED + 1)
        return entry == before;
    return entry == before + 1;
}

int hmm_slots_set(struct hmm_slots *slots, uint64_t page, uint32_t slot,
                  uint32_t *old)
{
    struct hmm_slots_node *leaf = NULL;
    uint32_t *entry;

    store_assert(slot != HMM_SLOT_NONE);
    if (grow(slots, page) == 0)
        leaf = leaf_make(slots, page);
    if (!leaf) {
        /* There may be empty nodes on the way to it; it has no slot. */
        (void)hmm_slots_clear(slots, page, page, drop_nothing, NULL);
        return ENOMEM;
    }
    entry = &leaf->u.slots[entry_of(page, 0)];
    *old = *entry - 1;
    *entry = slot + 1;
    store_assert(hmm_slots_get(slots, page) == slot);
    return 0;
}

uint64_t hmm_slots_run(const struct hmm_slots *slots, uint64_t page,
                       uint64_t max, uint32_t *slot)
{
    const struct hmm_slots_node *leaf = leaf_of(slots, page);
    unsigned first = entry_of(page, 0);
    uint64_t limit = FANOUT - first;
    uint64_t count = 1;

    store_assert(max > 0);
    if (limit > max)
        limit = max;
    *slot = leaf ? leaf->u.slots[first] - 1 : HMM_SLOT_NONE;
    if (!leaf)
        return limit;
    while (count < limit && follows(leaf->u.slots[first + count - 1],
                                    leaf->u.slots[first + count]))
        count++;
    store_assert(count <= max && first + count <= FANOUT);
    return count;
}

/* It stops at the leaf's beginning: a hint, which says where to begin to read. */
uint64_t hmm_slots_run_before(const struct hmm_slots *slots, uint64_t page)
{
    const struct hmm_slots_node *leaf = leaf_of(slots, page);
    unsigned first = entry_of(page, 0);
    uint64_t count = 0;

    if (!leaf)
        return first;
    while (count < first && follows(leaf->u.slots[first - count - 1],
                                    leaf->u.slots[first - count]))
        count++;
    store_assert(count <= first);
    return count;
}

struct clearing {
    struct hmm_slots *slots;
    uint64_t first, last;
    bool (*drop)(void *hook, uint32_t slot, uint32_t count);
    void *hook;
    bool go_on;
};

/* Clears entries [from, to] of a leaf, run by run, until `drop' has enough. */
static void clear_leaf(struct clearing *clearing, struct hmm_slots_node *leaf,
                       unsigned from, unsigned to)
{
    unsigned i = from;

    store_assert(to < FANOUT);
    while (i <= to && clearing->go_on) {
        unsigned start = i++;

        if (leaf->u.slots[start] == 0)
            continue;
        while (i <= to && follows(leaf->u.slots[i - 1], leaf->u.slots[i]))
            i++;
        clearing->go_on =
            clearing->drop(clearing->hook, leaf->u.slots[start] - 1, i - start);
        memset(&leaf->u.slots[start], 0, (i - start) * sizeof(uint32_t));
    }
}

/* Clears what of the range is below `node', whose first page is `base', and
 * frees the nodes that are empty then.  The depth of the recursion is the height
 * of the tree. */
static void clear_node(struct clearing *clearing, struct hmm_slots_node *node,
                       unsigned level, uint64_t base)
{
    unsigned shift = level * BITS;
    unsigned from = 0;
    unsigned to = FANOUT - 1;

    if (clearing->first > base)
        from = (unsigned)((clearing->first - base) >> shift);
    if ((clearing->last - base) >> shift < to)
        to = (unsigned)((clearing->last - base) >> shift);
    store_assert(from <= to);
    if (level == 0) {
        clear_leaf(clearing, node, from, to);
        return;
    }
    for (unsigned i = from; i <= to && clearing->go_on; i++) {
        struct hmm_slots_node *child = node->u.children[i];

        if (!child)
            continue;
        clear_node(clearing, child, level - 1, base + ((uint64_t)i << shift));
        if (node_empty(child, level - 1)) {
            node->u.children[i] = NULL;
            node_free(clearing->slots, child, level - 1);
        }
    }
}

bool hmm_slots_clear(struct hmm_slots *slots, uint64_t first, uint64_t last,
                     bool (*drop)(void *hook, uint32_t slot, uint32_t count),
                     void *hook)
{
    struct clearing clearing = {slots, first, last, drop, hook, true};

    store_assert(first <= last);
    if (slots->root && covers(slots->height, first))
        clear_node(&clearing, slots->root, slots->height - 1, 0);
    drop_root(slots);
    store_assert(!slots->root == (slots->height == 0));
    return clearing.go_on;
}
