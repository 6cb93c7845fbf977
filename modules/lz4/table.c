/* SPDX-License-Identifier: MIT */
/*
 * The table of pages: see table.h.
 *
 * A node has FAN members: words on the lowest level, nodes above.  A node of
 * level l covers FAN^(l+1) pages; the root's level is height - 1.
 */
#include "modules/lz4/table.h"

#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "modules/lz4/private.h"

#define FAN_BITS 8u
#define FAN (1u << FAN_BITS)
#define HEIGHT_MAX (64u / FAN_BITS)

struct node {
    union {
        struct node *child;
        uint64_t word;
    } member[FAN];
};

static unsigned index_at(uint64_t page, unsigned level)
{
    return (unsigned)(page >> level * FAN_BITS & (FAN - 1));
}

/* Whether a tree of this height has the page. */
static int covers(unsigned height, uint64_t page)
{
    return height == HEIGHT_MAX ||
           (height > 0 && page >> height * FAN_BITS == 0);
}

static int new_node(struct hmm_table *table, struct node **node)
{
    void *memory;
    int error = hurdmm_allocate(table->manager, sizeof **node, &memory);

    if (error == 0)
        *node = memory;
    return error;
}

uint64_t *hmm_table_find(const struct hmm_table *table, uint64_t page)
{
    struct node *node = table->root;

    if (!covers(table->height, page))
        return NULL;
    for (unsigned level = table->height - 1; level > 0 && node; level--)
        node = node->member[index_at(page, level)].child;
    return node ? &node->member[index_at(page, 0)].word : NULL;
}

/* Puts nodes above the root until the page is covered. */
static int raise(struct hmm_table *table, uint64_t page)
{
    while (!covers(table->height, page)) {
        struct node *node;
        int error = new_node(table, &node);

        if (error != 0)
            return error;
        node->member[0].child = table->root;
        table->root = node;
        table->height++;
    }
    lz4_assert(table->root && table->height <= HEIGHT_MAX);
    return 0;
}

int hmm_table_make(struct hmm_table *table, uint64_t page, uint64_t **word)
{
    struct node *node;
    int error = raise(table, page);

    if (error != 0)
        return error;
    node = table->root;
    for (unsigned level = table->height - 1; level > 0; level--) {
        struct node **child = &node->member[index_at(page, level)].child;

        if (!*child && (error = new_node(table, child)) != 0)
            return error;
        node = *child;
    }
    *word = &node->member[index_at(page, 0)].word;
    return 0;
}

struct clearing {
    struct hmm_table *table;
    uint64_t first, last;
    void (*clear)(void *hook, uint64_t page, uint64_t word);
    void *hook;
};

static void clear_word(const struct clearing *c, struct node *leaf,
                       uint64_t page)
{
    uint64_t *word = &leaf->member[index_at(page, 0)].word;
    uint64_t old = *word;

    if (old == 0)
        return;
    *word = 0;
    c->clear(c->hook, page, old);
}

/* Clears what the node, whose pages begin at `base', has of the range; whether
 * that was all it covers, so that it can go.  As deep as the tree is high. */
static int clear_node(const struct clearing *c, struct node *node,
                      unsigned level, uint64_t base)
{
    uint64_t step = (uint64_t)1 << level * FAN_BITS;

    for (unsigned i = 0; i < FAN; i++) {
        uint64_t at = base + i * step;

        if (at > c->last || at + (step - 1) < c->first)
            continue;
        if (level == 0) {
            clear_word(c, node, at);
        } else if (node->member[i].child &&
                   clear_node(c, node->member[i].child, level - 1, at)) {
            hurdmm_deallocate(c->table->manager, node->member[i].child,
                              sizeof *node);
            node->member[i].child = NULL;
        }
    }
    return c->first <= base && base + (step * FAN - 1) <= c->last;
}

void hmm_table_clear(struct hmm_table *table, uint64_t first, uint64_t last,
                     void (*clear)(void *hook, uint64_t page, uint64_t word),
                     void *hook)
{
    struct clearing c = {table, first, last, clear, hook};

    lz4_assert(first <= last);
    if (table->height == 0 ||
        !clear_node(&c, table->root, table->height - 1, 0))
        return;
    hurdmm_deallocate(table->manager, table->root, sizeof(struct node));
    table->root = NULL;
    table->height = 0;
}
