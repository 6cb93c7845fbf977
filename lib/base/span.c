/* SPDX-License-Identifier: MIT */
/*
 * The tree of spans: an AVL tree with what it takes to find overlaps and gaps.
 *
 * Invariants, for every node (hmm_span_check):
 *  1. In order, spans do not decrease by (first, last).
 *  2. The heights of the two subtrees differ by at most 1; `height' is right.
 *  3. min_first, max_last, max_gap and disjoint are right for the subtree.
 *
 * A gap is what lies between the greatest `last' so far and the next `first'.
 * Where spans overlap, max_gap is an upper bound: the gaps of the two subtrees
 * are counted without looking at spans that cross from one into the other.
 *
 * Every change ends in `restore', which walks from the lowest changed node to the
 * root. Only comparisons are made between addresses, never differences that could
 * wrap or lose bits.
 */
#include "lib/base/span.h"

#include "lib/base/assert.h"
#include "lib/base/math.h"

void hmm_span_tree_init(struct hmm_span_tree *tree)
{
    tree->root = NULL;
    tree->count = 0;
}

/* ---- Keeping the tree ---- */

static int height(const struct hmm_span *span)
{
    return span != NULL ? span->height : 0;
}

/* The bytes between `last' and a later `first'; none when they touch. */
static uint64_t gap(uint64_t last, uint64_t first)
{
    return first > last ? first - last - 1 : 0;
}

/* What a subtree is known for, from its root and the two below. */
struct summary {
    uint64_t min_first;
    uint64_t max_last;
    uint64_t max_gap;
    int height;
    bool disjoint;
};

static struct summary summarise(const struct hmm_span *span)
{
    const struct hmm_span *left = span->left;
    const struct hmm_span *right = span->right;
    struct summary sum = {span->first, span->last, 0, 0, true};

    sum.height =
        1 + (height(left) > height(right) ? height(left) : height(right));
    if (left != NULL) {
        sum.disjoint = left->disjoint && left->max_last < span->first;
        sum.min_first = left->min_first;
        sum.max_last = hmm_max(left->max_last, sum.max_last);
        sum.max_gap = hmm_max(left->max_gap, gap(left->max_last, span->first));
    }
    if (right != NULL) {
        uint64_t between = gap(sum.max_last, right->min_first);

        sum.disjoint =
            sum.disjoint && right->disjoint && sum.max_last < right->min_first;
        sum.max_gap = hmm_max(sum.max_gap, hmm_max(right->max_gap, between));
        sum.max_last = hmm_max(sum.max_last, right->max_last);
    }
    return sum;
}

static bool up_to_date(const struct hmm_span *span, const struct summary *sum)
{
    return span->min_first == sum->min_first &&
           span->max_last == sum->max_last && span->max_gap == sum->max_gap &&
           span->height == sum->height && span->disjoint == sum->disjoint;
}

/* Brings what `span' knows of its subtree up to date; says whether it changed. */
static bool refresh(struct hmm_span *span)
{
    struct summary sum = summarise(span);

    if (up_to_date(span, &sum))
        return false;
    span->min_first = sum.min_first;
    span->max_last = sum.max_last;
    span->max_gap = sum.max_gap;
    span->height = sum.height;
    span->disjoint = sum.disjoint;
    return true;
}

/* Puts `with', which may be NULL, where `span' hangs from its parent. */
static void replace(struct hmm_span_tree *tree, struct hmm_span *span,
                    struct hmm_span *with)
{
    struct hmm_span *parent = span->parent;

    if (parent == NULL)
        tree->root = with;
    else if (parent->left == span)
        parent->left = with;
    else
        parent->right = with;
    if (with != NULL)
        with->parent = parent;
}

static struct hmm_span *rotate_left(struct hmm_span_tree *tree,
                                    struct hmm_span *span)
{
    struct hmm_span *top = span->right;

    replace(tree, span, top);
    span->right = top->left;
    if (span->right != NULL)
        span->right->parent = span;
    top->left = span;
    span->parent = top;
    (void)refresh(span);
    (void)refresh(top);
    return top;
}

static struct hmm_span *rotate_right(struct hmm_span_tree *tree,
                                     struct hmm_span *span)
{
    struct hmm_span *top = span->left;

    replace(tree, span, top);
    span->left = top->right;
    if (span->left != NULL)
        span->left->parent = span;
    top->right = span;
    span->parent = top;
    (void)refresh(span);
    (void)refresh(top);
    return top;
}

/* Balances one node, whose subtrees are in order; returns what is then there. */
static struct hmm_span *balance(struct hmm_span_tree *tree,
                                struct hmm_span *span)
{
    int lean = height(span->left) - height(span->right);

    hmm_assert(lean >= -2 && lean <= 2);
    if (lean > 1) {
        if (height(span->left->left) < height(span->left->right))
            (void)rotate_left(tree, span->left);
        return rotate_right(tree, span);
    }
    if (lean < -1) {
        if (height(span->right->right) < height(span->right->left))
            (void)rotate_right(tree, span->right);
        return rotate_left(tree, span);
    }
    return span;
}

/* Restores invariants 2 and 3 from `span' up. Everything up to and including
   `least' is looked at; above it, the first node that stays what it was ends the
   walk, because nothing above can have changed. */
static void restore(struct hmm_span_tree *tree, struct hmm_span *span,
                    const struct hmm_span *least)
{
    while (span != NULL) {
        bool changed = refresh(span);
        struct hmm_span *top = balance(tree, span);

        if (span == least)
            least = NULL;
        if (least == NULL && !changed && top == span)
            return;
        span = top->parent;
    }
}

static bool goes_before(const struct hmm_span *a, const struct hmm_span *b)
{
    return a->first < b->first || (a->first == b->first && a->last < b->last);
}

void hmm_span_insert(struct hmm_span_tree *tree, struct hmm_span *span)
{
    struct hmm_span **link = &tree->root;
    struct hmm_span *parent = NULL;

    hmm_assert(span->first <= span->last);
    while (*link != NULL) {
        parent = *link;
        link = goes_before(span, parent) ? &parent->left : &parent->right;
    }
    *link = span;
    span->parent = parent;
    span->left = NULL;
    span->right = NULL;
    span->min_first = span->first;
    span->max_last = span->last;
    span->max_gap = 0;
    span->disjoint = true;
    span->height = 0; /* which `restore' finds to be wrong */
    tree->count++;
    restore(tree, span, span);
}

/* Puts `next', the lowest of span's right subtree, in the place of `span'.
   Returns the lowest node that this changes. */
static struct hmm_span *supplant(struct hmm_span_tree *tree,
                                 struct hmm_span *span, struct hmm_span *next)
{
    struct hmm_span *lowest = next;

    if (next->parent != span) {
        lowest = next->parent;
        replace(tree, next, next->right);
        next->right = span->right;
        next->right->parent = next;
    }
    next->left = span->left;
    next->left->parent = next;
    /* So that `restore' sees whether this place of the tree changes. */
    next->min_first = span->min_first;
    next->max_last = span->max_last;
    next->max_gap = span->max_gap;
    next->height = span->height;
    next->disjoint = span->disjoint;
    replace(tree, span, next);
    return lowest;
}

void hmm_span_remove(struct hmm_span_tree *tree, struct hmm_span *span)
{
    hmm_assert(tree->count > 0);
    hmm_assert(span->parent != NULL || tree->root == span);
    tree->count--;
    if (span->left != NULL && span->right != NULL) {
        struct hmm_span *next = hmm_span_next(span);

        restore(tree, supplant(tree, span, next), next);
    } else {
        replace(tree, span, span->left != NULL ? span->left : span->right);
        restore(tree, span->parent, span->parent);
    }
    span->left = NULL;
    span->right = NULL;
    span->parent = NULL;
}

void hmm_span_resize(struct hmm_span_tree *tree, struct hmm_span *span,
                     uint64_t first, uint64_t last)
{
    hmm_assert(first <= last);
    span->first = first;
    span->last = last;
    hmm_assert(hmm_span_prev(span) == NULL ||
               !goes_before(span, hmm_span_prev(span)));
    hmm_assert(hmm_span_next(span) == NULL ||
               !goes_before(hmm_span_next(span), span));
    restore(tree, span, span);
}

/* ---- Order and overlap ---- */

struct hmm_span *hmm_span_lowest(const struct hmm_span_tree *tree)
{
    struct hmm_span *span = tree->root;

    while (span != NULL && span->left != NULL)
        span = span->left;
    return span;
}

struct hmm_span *hmm_span_next(const struct hmm_span *span)
{
    struct hmm_span *next = span->right;

    if (next == NULL) {
        for (next = span->parent; next != NULL && next->right == span;
             next = next->parent)
            span = next;
        return next;
    }
    while (next->left != NULL)
        next = next->left;
    return next;
}

struct hmm_span *hmm_span_prev(const struct hmm_span *span)
{
    struct hmm_span *prev = span->left;

    if (prev == NULL) {
        for (prev = span->parent; prev != NULL && prev->left == span;
             prev = prev->parent)
            span = prev;
        return prev;
    }
    while (prev->right != NULL)
        prev = prev->right;
    return prev;
}

static bool reaches(const struct hmm_span *subtree, uint64_t first)
{
    return subtree != NULL && subtree->max_last >= first;
}

/* Of a subtree in which some span ends at or after `first', the first that does.
   If it begins after the range that is asked for, so does every later one, and
   nothing overlaps. */
static struct hmm_span *first_reaching(struct hmm_span *span, uint64_t first)
{
    struct hmm_span *best = NULL;

    while (!span->disjoint) {
        if (reaches(span->left, first))
            span = span->left;
        else if (span->last >= first)
            return span;
        else
            span = span->right;
        hmm_assert(reaches(span, first));
    }
    /* Here the ends are in order too: no need to look at both children. */
    while (span != NULL) {
        if (span->last < first) {
            span = span->right;
        } else {
            best = span;
            if (span->first <= first)
                break;
            span = span->left;
        }
    }
    return best;
}

struct hmm_span *hmm_span_first_overlap(const struct hmm_span_tree *tree,
                                        uint64_t first, uint64_t last)
{
    struct hmm_span *span;

    hmm_assert(first <= last);
    if (!reaches(tree->root, first))
        return NULL;
    span = first_reaching(tree->root, first);
    return span->first <= last ? span : NULL;
}

struct hmm_span *hmm_span_next_overlap(const struct hmm_span *span,
                                       uint64_t first, uint64_t last)
{
    struct hmm_span *next = span->right;

    hmm_assert(first <= last);
    while (!reaches(next, first)) {
        /* Up to where `span' was on the left: that one and its right follow. */
        const struct hmm_span *below = span;

        for (next = span->parent; next != NULL && next->right == below;
             next = next->parent)
            below = next;
        if (next == NULL)
            return NULL;
        if (next->last >= first)
            return next->first <= last ? next : NULL;
        span = next;
        next = span->right;
    }
    next = first_reaching(next, first);
    return next->first <= last ? next : NULL;
}

/* ---- Gaps ---- */

/* A search for a gap. Subtrees are visited in order; `next' is the lowest address
   that is still possible. Every step says whether the search is over. */
struct gap_search {
    uint64_t next;
    uint64_t high;
    uint64_t size;
    uint64_t align;
    uint64_t worth;   /* subtrees whose gaps are all smaller are passed over */
    uint64_t misfits; /* how many more misaligned gaps to put up with */
    bool gave_up;     /* there were more */
    bool found;       /* at `next' */
};

/* Tries the free bytes from `next' to `limit', which is inclusive. */
static bool try_gap(struct gap_search *search, uint64_t limit)
{
    uint64_t slack = -search->next & (search->align - 1);

    if (limit < search->next || limit - search->next < search->size - 1)
        return false;
    if (limit - search->next - (search->size - 1) >= slack) {
        search->next += slack;
        search->found = true;
        return true;
    }
    search->gave_up = search->misfits-- == 0;
    return search->gave_up;
}

/* Passes the gap that ends where something begins at `first'. */
static bool pass_gap(struct gap_search *search, uint64_t first)
{
    if (first <= search->next)
        return false;
    if (try_gap(search, hmm_min(first - 1, search->high)))
        return true;
    search->next = first;
    return first > search->high;
}

/* Passes what ends with `last'. */
static bool pass_used(struct gap_search *search, uint64_t last)
{
    if (last >= search->high)
        return true;
    search->next = hmm_max(search->next, last + 1);
    return false;
}

static bool visit(struct gap_search *search, const struct hmm_span *span)
{
    if (!reaches(span, search->next))
        return false;
    if (pass_gap(search, span->min_first))
        return true;
    if (span->max_gap < search->worth)
        return pass_used(search, span->max_last);
    return visit(search, span->left) || pass_gap(search, span->first) ||
           pass_used(search, span->last) || visit(search, span->right);
}

/* Searches `search', a copy; says whether a gap was found, or that it gave up. */
static bool search_gaps(const struct hmm_span_tree *tree,
                        struct gap_search search, uint64_t *first,
                        bool *gave_up)
{
    if (!visit(&search, tree->root))
        (void)try_gap(&search, search.high);
    *gave_up = search.gave_up;
    if (search.found)
        *first = search.next;
    return search.found;
}

bool hmm_span_find_gap(const struct hmm_span_tree *tree, uint64_t low,
                       uint64_t high, uint64_t size, uint64_t align,
                       uint64_t *first)
{
    struct gap_search search = {.next = low,
                                .high = high,
                                .size = size,
                                .align = align,
                                .worth = size,
                                .misfits = HMM_SPAN_GAP_TRIES};
    bool gave_up;

    hmm_assert(size > 0 && hmm_is_pow2(align));
    if (low > high)
        return false;
    if (search_gaps(tree, search, first, &gave_up))
        return true;
    if (!gave_up)
        return false;
    search.misfits = UINT64_MAX;
    if (!hmm_add_overflow(size, align - 1, &search.worth) &&
        search_gaps(tree, search, first, &gave_up))
        return true;
    search.worth = size;
    return search_gaps(tree, search, first, &gave_up);
}

/* ---- Checking ---- */

static bool node_check(const struct hmm_span *span)
{
    struct summary sum = summarise(span);
    int lean = height(span->left) - height(span->right);

    return span->first <= span->last && lean >= -1 && lean <= 1 &&
           up_to_date(span, &sum);
}

/* Checks a subtree that comes after *prev, and leaves its last span there. */
static bool subtree_check(const struct hmm_span *span,
                          const struct hmm_span *parent,
                          const struct hmm_span **prev, size_t *count)
{
    if (span == NULL)
        return true;
    if (span->parent != parent || !node_check(span) ||
        !subtree_check(span->left, span, prev, count))
        return false;
    if (*prev != NULL && goes_before(span, *prev))
        return false;
    *prev = span;
    ++*count;
    return subtree_check(span->right, span, prev, count);
}

bool hmm_span_check(const struct hmm_span_tree *tree)
{
    const struct hmm_span *prev = NULL;
    size_t count = 0;

    return subtree_check(tree->root, NULL, &prev, &count) &&
           count == tree->count;
}
