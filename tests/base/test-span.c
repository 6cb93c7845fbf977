/* SPDX-License-Identifier: MIT */
/*
 * The tree of spans against a sorted array, and the traps that region trees fall
 * into: addresses 4 GiB apart, spans over 2 GiB apart, the first byte, the last
 * page, the whole space.
 */
#include <stdlib.h>

#include "lib/base/rand.h"
#include "lib/base/span.h"

#include "tests/support/runner.h"

#define GIB (UINT64_C(1) << 30)
#define LAST_PAGE (UINT64_MAX - 4095)

static struct hmm_span span_of(uint64_t first, uint64_t last)
{
    struct hmm_span span = {.first = first, .last = last};

    return span;
}

/* ---- The model: spans in order ---- */

#define MODEL_MAX 200

struct model {
    struct hmm_span_tree tree;
    struct hmm_span *sorted[MODEL_MAX];
    size_t count;
    struct hmm_rand rand;
    int profile; /* of addresses, see pick */
};

/* Addresses that collide in interesting ways. */
static uint64_t pick(struct model *model)
{
    uint64_t near = hmm_rand_below(&model->rand, 64);

    switch (model->profile) {
    case 0: /* dense */
        return near;
    case 1: /* equal in the low 32 bits */
        return hmm_rand_below(&model->rand, 64) << 32 | (near & 1);
    case 2: /* at either end of the space */
        return near & 1 ? near : UINT64_MAX - near;
    case 3: /* pages */
        return hmm_rand_below(&model->rand, 2000) * 4096;
    default:
        return hmm_rand_next(&model->rand);
    }
}

static void pick_range(struct model *model, uint64_t *first, uint64_t *last)
{
    uint64_t a = pick(model);
    uint64_t b = pick(model);

    *first = a < b ? a : b;
    *last = a < b ? b : a;
}

static void model_add(struct model *model, uint64_t first, uint64_t last)
{
    struct hmm_span *span = malloc(sizeof *span);
    size_t at = model->count;

    ck_assert_ptr_nonnull(span);
    span->first = first;
    span->last = last;
    hmm_span_insert(&model->tree, span);
    while (at > 0 && (model->sorted[at - 1]->first > first ||
                      (model->sorted[at - 1]->first == first &&
                       model->sorted[at - 1]->last > last))) {
        model->sorted[at] = model->sorted[at - 1];
        at--;
    }
    model->sorted[at] = span;
    model->count++;
}

static void model_remove(struct model *model, size_t at)
{
    struct hmm_span *span = model->sorted[at];

    hmm_span_remove(&model->tree, span);
    free(span);
    model->count--;
    for (; at < model->count; at++)
        model->sorted[at] = model->sorted[at + 1];
}

static bool overlaps(const struct hmm_span *span, uint64_t first, uint64_t last)
{
    return span->first <= last && span->last >= first;
}

/* Compares everything that [first, last] overlaps, in order. */
static bool same_overlaps(struct model *model, uint64_t first, uint64_t last)
{
    struct hmm_span *span = hmm_span_first_overlap(&model->tree, first, last);

    for (size_t i = 0; i < model->count; i++) {
        if (!overlaps(model->sorted[i], first, last))
            continue;
        if (span != model->sorted[i])
            return false;
        span = hmm_span_next_overlap(span, first, last);
    }
    return span == NULL;
}

static bool same_order(struct model *model)
{
    struct hmm_span *span = hmm_span_lowest(&model->tree);
    struct hmm_span *prev = NULL;

    for (size_t i = 0; i < model->count; i++) {
        if (span != model->sorted[i] || hmm_span_prev(span) != prev)
            return false;
        prev = span;
        span = hmm_span_next(span);
    }
    return span == NULL && model->tree.count == model->count;
}

/* Trims or grows a span between its neighbours in the order. */
static void resize_one(struct model *model)
{
    size_t at = (size_t)hmm_rand_below(&model->rand, model->count);
    struct hmm_span *span = model->sorted[at];
    const struct hmm_span *prev = at > 0 ? model->sorted[at - 1] : NULL;
    const struct hmm_span *next =
        at + 1 < model->count ? model->sorted[at + 1] : NULL;
    uint64_t first, last;

    pick_range(model, &first, &last);
    if ((prev == NULL || prev->first < first ||
         (prev->first == first && prev->last <= last)) &&
        (next == NULL || next->first > first ||
         (next->first == first && next->last >= last)))
        hmm_span_resize(&model->tree, span, first, last);
}

static void model_step(struct model *model, bool may_overlap)
{
    uint64_t first, last;
    uint64_t what = hmm_rand_below(&model->rand, 10);

    pick_range(model, &first, &last);
    if (what < 6 && model->count < MODEL_MAX) {
        if (may_overlap ||
            hmm_span_first_overlap(&model->tree, first, last) == NULL)
            model_add(model, first, last);
    } else if (what < 8 && model->count > 0) {
        model_remove(model, (size_t)hmm_rand_below(&model->rand, model->count));
    } else if (model->count > 0 && may_overlap) {
        resize_one(model);
    }
}

static void model_init(struct model *model, uint64_t seed)
{
    hmm_span_tree_init(&model->tree);
    model->count = 0;
    hmm_rand_init(&model->rand, seed);
    model->profile = (int)(seed % 5);
}

static void model_clear(struct model *model)
{
    while (model->count > 0)
        model_remove(model, model->count / 2);
    ck_assert_ptr_null(model->tree.root);
    ck_assert(hmm_span_check(&model->tree));
}

START_TEST(random_overlapping_spans_agree_with_a_sorted_array)
{
    size_t rounds = test_scaled(50);

    for (uint64_t seed = 0; seed < rounds; seed++) {
        struct model model;

        model_init(&model, seed);
        for (int step = 0; step < 600; step++) {
            uint64_t first, last;

            model_step(&model, true);
            pick_range(&model, &first, &last);
            ck_assert_msg(hmm_span_check(&model.tree) && same_order(&model) &&
                              same_overlaps(&model, first, last) &&
                              same_overlaps(&model, first, first),
                          "seed %llu, step %d", (unsigned long long)seed, step);
        }
        model_clear(&model);
    }
}
END_TEST

/* ---- Overlap ---- */

START_TEST(an_empty_tree_overlaps_nothing)
{
    struct hmm_span_tree tree;

    hmm_span_tree_init(&tree);
    ck_assert_ptr_null(hmm_span_first_overlap(&tree, 0, UINT64_MAX));
    ck_assert_ptr_null(hmm_span_lowest(&tree));
    ck_assert(hmm_span_check(&tree));
}
END_TEST

START_TEST(spans_four_gib_apart_are_told_apart)
{
    struct hmm_span_tree tree;
    struct hmm_span spans[16];

    hmm_span_tree_init(&tree);
    for (unsigned i = 0; i < 16; i++) {
        spans[i] = span_of(0x1000 + (uint64_t)i * 4 * GIB,
                           0x1fff + (uint64_t)i * 4 * GIB);
        hmm_span_insert(&tree, &spans[i]);
    }
    ck_assert(hmm_span_check(&tree));
    for (unsigned i = 0; i < 16; i++) {
        uint64_t base = (uint64_t)i * 4 * GIB;

        ck_assert_ptr_eq(
            hmm_span_first_overlap(&tree, base + 0x1000, base + 0x1000),
            &spans[i]);
        ck_assert_ptr_null(
            hmm_span_first_overlap(&tree, base + 0x2000, base + 0x2fff));
        ck_assert_ptr_null(hmm_span_first_overlap(&tree, base, base + 0xfff));
    }
}
END_TEST

START_TEST(spans_more_than_two_gib_apart_keep_their_order)
{
    struct hmm_span_tree tree;
    struct hmm_span spans[] = {
        span_of(3 * GIB, 3 * GIB + 1), span_of(0, 1),
        span_of(UINT64_MAX - 1, UINT64_MAX),
        span_of(UINT64_C(1) << 63, (UINT64_C(1) << 63) + 1),
        span_of(6 * GIB, 6 * GIB + 1)};
    static const unsigned order[] = {1, 0, 4, 3, 2};
    struct hmm_span *span;

    hmm_span_tree_init(&tree);
    for (unsigned i = 0; i < 5; i++)
        hmm_span_insert(&tree, &spans[i]);
    span = hmm_span_lowest(&tree);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_ptr_eq(span, &spans[order[i]]);
        span = hmm_span_next(span);
    }
    ck_assert_ptr_null(span);
}
END_TEST

START_TEST(the_last_page_of_the_space_is_found)
{
    struct hmm_span_tree tree;
    struct hmm_span last = span_of(LAST_PAGE, UINT64_MAX);
    struct hmm_span first = span_of(0, 4095);

    hmm_span_tree_init(&tree);
    hmm_span_insert(&tree, &last);
    hmm_span_insert(&tree, &first);
    ck_assert_ptr_eq(hmm_span_first_overlap(&tree, UINT64_MAX, UINT64_MAX),
                     &last);
    ck_assert_ptr_eq(hmm_span_first_overlap(&tree, LAST_PAGE, LAST_PAGE),
                     &last);
    ck_assert_ptr_null(
        hmm_span_first_overlap(&tree, LAST_PAGE - 1, LAST_PAGE - 1));
    ck_assert_ptr_eq(hmm_span_next_overlap(&first, 0, UINT64_MAX), &last);
    ck_assert_ptr_null(hmm_span_next_overlap(&last, 0, UINT64_MAX));
}
END_TEST

START_TEST(a_span_of_one_byte_at_zero_is_found_and_only_there)
{
    struct hmm_span_tree tree;
    struct hmm_span zero = span_of(0, 0);

    hmm_span_tree_init(&tree);
    hmm_span_insert(&tree, &zero);
    ck_assert_ptr_eq(hmm_span_first_overlap(&tree, 0, 0), &zero);
    ck_assert_ptr_null(hmm_span_first_overlap(&tree, 1, 1));
    ck_assert_ptr_null(hmm_span_first_overlap(&tree, 1, UINT64_MAX));
}
END_TEST

START_TEST(a_span_of_the_whole_space_overlaps_everything)
{
    struct hmm_span_tree tree;
    struct hmm_span whole = span_of(0, UINT64_MAX);
    struct hmm_span inside = span_of(4 * GIB, 4 * GIB);
    uint64_t gap;

    hmm_span_tree_init(&tree);
    hmm_span_insert(&tree, &whole);
    ck_assert_ptr_eq(hmm_span_first_overlap(&tree, 0, 0), &whole);
    ck_assert_ptr_eq(hmm_span_first_overlap(&tree, UINT64_MAX, UINT64_MAX),
                     &whole);
    ck_assert(!hmm_span_find_gap(&tree, 0, UINT64_MAX, 1, 1, &gap));
    hmm_span_insert(&tree, &inside);
    ck_assert_ptr_eq(hmm_span_first_overlap(&tree, 4 * GIB, 4 * GIB), &whole);
    ck_assert_ptr_eq(hmm_span_next_overlap(&whole, 4 * GIB, 4 * GIB), &inside);
    ck_assert_ptr_null(hmm_span_next_overlap(&whole, 5 * GIB, 5 * GIB));
    hmm_span_remove(&tree, &whole);
    ck_assert_ptr_null(hmm_span_first_overlap(&tree, 0, 0));
    ck_assert(hmm_span_check(&tree));
}
END_TEST

START_TEST(equal_spans_stay_in_the_order_they_came_in)
{
    struct hmm_span_tree tree;
    struct hmm_span spans[40];
    struct hmm_span *span;

    hmm_span_tree_init(&tree);
    for (unsigned i = 0; i < 40; i++) {
        spans[i] = span_of(7, 9);
        hmm_span_insert(&tree, &spans[i]);
    }
    ck_assert(hmm_span_check(&tree));
    span = hmm_span_first_overlap(&tree, 8, 8);
    for (unsigned i = 0; i < 40; i++) {
        ck_assert_ptr_eq(span, &spans[i]);
        span = hmm_span_next_overlap(span, 8, 8);
    }
    ck_assert_ptr_null(span);
}
END_TEST

START_TEST(a_trimmed_span_leaves_what_was_trimmed)
{
    struct hmm_span_tree tree;
    struct hmm_span a = span_of(0, 99);
    struct hmm_span b = span_of(100, 199);
    struct hmm_span c = span_of(200, 299);
    uint64_t gap;

    hmm_span_tree_init(&tree);
    hmm_span_insert(&tree, &a);
    hmm_span_insert(&tree, &b);
    hmm_span_insert(&tree, &c);
    hmm_span_resize(&tree, &b, 120, 179);
    ck_assert(hmm_span_check(&tree));
    ck_assert_ptr_null(hmm_span_first_overlap(&tree, 100, 119));
    ck_assert_ptr_null(hmm_span_first_overlap(&tree, 180, 199));
    ck_assert_ptr_eq(hmm_span_first_overlap(&tree, 179, 180), &b);
    ck_assert(hmm_span_find_gap(&tree, 0, 299, 20, 1, &gap));
    ck_assert_uint_eq(gap, 100);
    ck_assert(!hmm_span_find_gap(&tree, 0, 299, 21, 1, &gap));
}
END_TEST

/* ---- Gaps ---- */

/* The lowest place within [low, limit], which may be wrong way round. */
static bool place(uint64_t low, uint64_t limit, uint64_t size, uint64_t align,
                  uint64_t *first)
{
    uint64_t slack = (align - low % align) % align;

    if (low > limit || limit - low < slack || limit - low - slack < size - 1)
        return false;
    *first = low + slack;
    return true;
}

/* The lowest gap, by walking. */
static bool walk_gap(const struct model *model, uint64_t low, uint64_t high,
                     uint64_t size, uint64_t align, uint64_t *first)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct hmm_span *span = model->sorted[i];

        if (span->last < low)
            continue;
        if (span->first > high)
            break;
        if (span->first > low &&
            place(low, span->first - 1, size, align, first))
            return true;
        if (span->last >= high)
            return false;
        low = span->last + 1;
    }
    return place(low, high, size, align, first);
}

static bool same_gap(struct model *model)
{
    uint64_t size =
        hmm_rand_next(&model->rand) >> hmm_rand_below(&model->rand, 64);
    uint64_t align = UINT64_C(1) << hmm_rand_below(&model->rand, 14);
    uint64_t low, high, a = 0, b = 0;
    bool found, expected;

    pick_range(model, &low, &high);
    if (hmm_rand_below(&model->rand, 3) == 0)
        high = UINT64_MAX;
    if (hmm_rand_below(&model->rand, 3) == 0)
        align = 1;
    size += size == 0;
    found = hmm_span_find_gap(&model->tree, low, high, size, align, &a);
    expected = walk_gap(model, low, high, size, align, &b);
    if (found != expected)
        return false;
    /* Beyond so many misaligned gaps, any that fits will do. */
    if (found && model->count >= HMM_SPAN_GAP_TRIES)
        return a >= b && a % align == 0 && a <= high && high - a >= size - 1 &&
               hmm_span_first_overlap(&model->tree, a, a + (size - 1)) == NULL;
    return a == b;
}

START_TEST(random_gaps_agree_with_walking)
{
    size_t rounds = test_scaled(50);

    for (uint64_t seed = 0; seed < rounds; seed++) {
        struct model model;

        model_init(&model, seed);
        for (int step = 0; step < 600; step++) {
            uint64_t at = pick(&model);
            uint64_t length = hmm_rand_below(&model.rand, 5);

            if (at <= UINT64_MAX - length && model.count < MODEL_MAX &&
                hmm_span_first_overlap(&model.tree, at, at + length) == NULL)
                model_add(&model, at, at + length);
            else
                model_step(&model, false);
            ck_assert_msg(hmm_span_check(&model.tree) && same_gap(&model) &&
                              same_gap(&model),
                          "seed %llu, step %d", (unsigned long long)seed, step);
        }
        model_clear(&model);
    }
}
END_TEST

START_TEST(a_gap_that_ends_with_the_space_is_found)
{
    struct hmm_span_tree tree;
    struct hmm_span most = span_of(0, LAST_PAGE - 1);
    uint64_t gap = 1;

    hmm_span_tree_init(&tree);
    hmm_span_insert(&tree, &most);
    ck_assert(hmm_span_find_gap(&tree, 0, UINT64_MAX, 4096, 4096, &gap));
    ck_assert_uint_eq(gap, LAST_PAGE);
    ck_assert(!hmm_span_find_gap(&tree, 0, UINT64_MAX, 4097, 1, &gap));
    ck_assert(!hmm_span_find_gap(&tree, 0, UINT64_MAX - 1, 4096, 1, &gap));
}
END_TEST

START_TEST(an_empty_tree_is_one_gap)
{
    struct hmm_span_tree tree;
    uint64_t gap = 1;

    hmm_span_tree_init(&tree);
    ck_assert(hmm_span_find_gap(&tree, 0, UINT64_MAX, UINT64_MAX, 1, &gap));
    ck_assert_uint_eq(gap, 0);
    ck_assert(hmm_span_find_gap(&tree, 5, UINT64_MAX, 1, 4 * GIB, &gap));
    ck_assert_uint_eq(gap, 4 * GIB);
    ck_assert(!hmm_span_find_gap(&tree, UINT64_MAX, UINT64_MAX, 1, 2, &gap));
    ck_assert(!hmm_span_find_gap(&tree, 2, 1, 1, 1, &gap));
}
END_TEST

START_TEST(a_gap_is_found_behind_many_that_alignment_spoils)
{
    enum { COUNT = 1000 };
    static struct hmm_span spans[COUNT];
    struct hmm_span_tree tree;
    uint64_t gap = 0;

    /* One page at every multiple of 16 KiB, and three free ones after it. */
    hmm_span_tree_init(&tree);
    for (uint64_t i = 0; i < COUNT; i++) {
        spans[i] = span_of(i * 16384, i * 16384 + 4095);
        hmm_span_insert(&tree, &spans[i]);
    }
    ck_assert(hmm_span_find_gap(&tree, 0, spans[COUNT - 1].last, 3 * 4096, 4096,
                                &gap));
    ck_assert_uint_eq(gap, 4096);
    /* Aligned to 16 KiB nothing but the room behind the last fits. */
    ck_assert(
        !hmm_span_find_gap(&tree, 0, spans[COUNT - 1].last, 4096, 16384, &gap));
    ck_assert(hmm_span_find_gap(&tree, 0, UINT64_MAX, 4096, 16384, &gap));
    ck_assert_uint_eq(gap, (uint64_t)COUNT * 16384);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("span");
    TCase *order = tcase_create("overlap");
    TCase *gaps = tcase_create("gaps");

    tcase_set_timeout(order, 60);
    tcase_add_test(order, random_overlapping_spans_agree_with_a_sorted_array);
    tcase_add_test(order, an_empty_tree_overlaps_nothing);
    tcase_add_test(order, spans_four_gib_apart_are_told_apart);
    tcase_add_test(order, spans_more_than_two_gib_apart_keep_their_order);
    tcase_add_test(order, the_last_page_of_the_space_is_found);
    tcase_add_test(order, a_span_of_one_byte_at_zero_is_found_and_only_there);
    tcase_add_test(order, a_span_of_the_whole_space_overlaps_everything);
    tcase_add_test(order, equal_spans_stay_in_the_order_they_came_in);
    tcase_add_test(order, a_trimmed_span_leaves_what_was_trimmed);
    tcase_set_timeout(gaps, 60);
    tcase_add_test(gaps, random_gaps_agree_with_walking);
    tcase_add_test(gaps, a_gap_that_ends_with_the_space_is_found);
    tcase_add_test(gaps, an_empty_tree_is_one_gap);
    tcase_add_test(gaps, a_gap_is_found_behind_many_that_alignment_spoils);
    suite_add_tcase(suite, order);
    suite_add_tcase(suite, gaps);
    return run_suites("span", &suite, 1);
}
