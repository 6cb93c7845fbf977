/* SPDX-License-Identifier: MIT */
/*
 * Intrusive doubly linked lists.
 *
 * A list is a ring through its head, so no operation has a special case for the
 * ends.  A node that is on no list is a ring of one: `hmm_list_remove' leaves it
 * so, removing it again does nothing, and `hmm_list_empty(node)' tells whether
 * it is on a list.  Whoever owns the head locks it.
 */
#ifndef HMM_BASE_LIST_H
#define HMM_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/assert.h"

struct hmm_list {
    struct hmm_list *next;
    struct hmm_list *prev;
};

/* The object of `type' whose `member' is at `ptr'. */
#define HMM_CONTAINER_OF(ptr, type, member)                                    \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Walks the list in order; `pos' must stay on it during its turn. */
#define HMM_LIST_FOR_EACH(pos, list)                                           \
    for ((pos) = (list)->next; (pos) != (list); (pos) = (pos)->next)

/* The same, where `pos' may be removed (or freed) during its turn; `tmp', which
   is the node after it, may not. */
#define HMM_LIST_FOR_EACH_SAFE(pos, tmp, list)                                 \
    for ((pos) = (list)->next, (tmp) = (pos)->next; (pos) != (list);           \
         (pos) = (tmp), (tmp) = (pos)->next)

/* Makes `list' an empty list, or a node on no list. */
static inline void hmm_list_init(struct hmm_list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool hmm_list_empty(const struct hmm_list *list)
{
    return list->next == list;
}

/* Puts `node', which must be on no list (its links are not read), at the end. */
static inline void hmm_list_append(struct hmm_list *list, struct hmm_list *node)
{
    hmm_assert(list->prev->next == list);
    node->next = list;
    node->prev = list->prev;
    list->prev->next = node;
    list->prev = node;
}

/* Puts `node', which must be on no list, at the beginning. */
static inline void hmm_list_prepend(struct hmm_list *list,
                                    struct hmm_list *node)
{
    hmm_list_append(list->next, node);
}

static inline void hmm_list_remove(struct hmm_list *node)
{
    hmm_assert(node->next->prev == node && node->prev->next == node);
    node->next->prev = node->prev;
    node->prev->next = node->next;
    hmm_list_init(node);
}

/* The first node, or NULL when the list is empty. */
static inline struct hmm_list *hmm_list_first(const struct hmm_list *list)
{
    return hmm_list_empty(list) ? NULL : list->next;
}

#endif /* HMM_BASE_LIST_H */
