/* SPDX-License-Identifier: MIT */
/*
 * How often a page is still there: the default policy against the two others,
 * in a simulated cache (cache.h), with referenced bits and with trials.
 *
 * Each test runs twice; `_i' says whether the port has referenced bits.
 */
#include <stdlib.h>

#include "lib/base/rand.h"
#include "tests/policy/cache.h"
#include "tests/support/runner.h"

#define FRAMES 1000u
#define PAGES 60000u
#define ZIPF_PAGES 20000u /* the first of PAGES */
#define READS 200000u

/* ---- Workloads ---------------------------------------------------------- */

/* Draws page i with a chance in proportion to (i + 1) ** -0.99. */
struct zipf {
    struct hmm_rand rand;
    double *upto; /* chance of page i or a lower one */
};

/* (1 - x) ** 0.99 for 0 <= x <= 1/2, without the mathematical library. */
static double power(double x)
{
    double term = 1, sum = 1;

    for (int i = 0; i < 40; i++) {
        term *= -x * (0.99 - i) / (i + 1);
        sum += term;
    }
    return sum;
}

static void zipf_init(struct zipf *zipf)
{
    double weight = 1, sum = 1;

    hmm_rand_init(&zipf->rand, 5);
    zipf->upto = malloc(ZIPF_PAGES * sizeof *zipf->upto);
    ck_assert_ptr_nonnull(zipf->upto);
    zipf->upto[0] = sum;
    for (uint32_t i = 1; i < ZIPF_PAGES; i++) {
        weight *= power(1.0 / (i + 1));
        zipf->upto[i] = sum += weight;
    }
}

static uint32_t zipf_next(struct zipf *zipf)
{
    uint64_t bits = hmm_rand_next(&zipf->rand) >> 11;
    double lot = (double)bits / 9007199254740992.0 * zipf->upto[ZIPF_PAGES - 1];
    uint32_t low = 0, high = ZIPF_PAGES - 1;

    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (zipf->upto[middle] < lot)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void zipf_reads(struct cache *cache)
{
    struct zipf zipf;

    zipf_init(&zipf);
    for (uint32_t i = 0; i < READS; i++) {
        if (i == READS / 8)
            cache_reset_counters(cache);
        cache_read(cache, zipf_next(&zipf), 0);
    }
    free(zipf.upto);
}

/* Now and then a scan of three times the memory, while the reads go on. */
static void zipf_and_scans(struct cache *cache)
{
    struct zipf zipf;
    uint32_t scanned = 0;

    zipf_init(&zipf);
    for (uint32_t i = 0; i < READS; i++) {
        if (i == READS / 8)
            cache_reset_counters(cache);
        if (i % 20000 < 12000 && i % 4 == 0)
            cache_read(cache, ZIPF_PAGES + scanned++ % (PAGES - ZIPF_PAGES), 0);
        cache_read(cache, zipf_next(&zipf), 0);
    }
    free(zipf.upto);
}

static void loop_over(struct cache *cache, uint32_t pages)
{
    for (uint32_t round = 0; round < 30; round++) {
        if (round == 10)
            cache_reset_counters(cache);
        for (uint32_t page = 0; page < pages; page++)
            cache_read(cache, page, 0);
    }
}

static void loop_5_percent_larger(struct cache *cache)
{
    loop_over(cache, FRAMES + FRAMES / 20);
}

static void loop_20_percent_larger(struct cache *cache)
{
    loop_over(cache, FRAMES + FRAMES / 5);
}

static void loop_twice_as_large(struct cache *cache)
{
    loop_over(cache, 2 * FRAMES);
}

static double ratio(const struct hurdmm_policy_ops *ops, bool bits,
                    void (*workload)(struct cache *))
{
    struct cache cache;

    cache_init(&cache, ops, bits, FRAMES, PAGES);
    workload(&cache);
    double hits = cache_hit_ratio(&cache);
    cache_destroy(&cache);
    return hits;
}

/* ---- The default against the others ------------------------------------- */

START_TEST(default_beats_clock_and_random_where_scans_disturb)
{
    double ours = ratio(&hurdmm_policy_default, _i, zipf_and_scans);

    ck_assert_double_gt(ours,
                        ratio(&hurdmm_policy_clock, _i, zipf_and_scans) + 0.04);
    ck_assert_double_gt(ours, ratio(&hurdmm_policy_random, _i, zipf_and_scans) +
                                  0.04);
}
END_TEST

START_TEST(default_beats_clock_and_random_at_zipf)
{
    double ours = ratio(&hurdmm_policy_default, _i, zipf_reads);

    ck_assert_double_gt(ours,
                        ratio(&hurdmm_policy_clock, _i, zipf_reads) + 0.03);
    ck_assert_double_gt(ours,
                        ratio(&hurdmm_policy_random, _i, zipf_reads) + 0.03);
}
END_TEST

/* A clock has no hit at all in a loop that is larger than memory. */
START_TEST(default_keeps_a_part_of_a_loop_that_does_not_fit)
{
    ck_assert_double_ge(
        ratio(&hurdmm_policy_default, _i, loop_5_percent_larger),
        ratio(&hurdmm_policy_clock, _i, loop_5_percent_larger));
    ck_assert_double_gt(
        ratio(&hurdmm_policy_default, _i, loop_5_percent_larger), 0.7);
    ck_assert_double_gt(
        ratio(&hurdmm_policy_default, _i, loop_20_percent_larger), 0.5);
    ck_assert_double_gt(ratio(&hurdmm_policy_default, _i, loop_twice_as_large),
                        0.3);
}
END_TEST

/* ---- A hot set beside pages that pass ----------------------------------- */

/* Reads of `hot' pages, each followed by one of a stream (none where it has no
 * page), which reads 16 pages ahead if asked to; the hit ratio of the hot ones
 * in the second half. */
static double hot_ratio(struct cache *cache, uint32_t hot, uint32_t stream,
                        unsigned flags)
{
    struct hmm_rand rand = {3};
    uint64_t hits = 0;

    for (uint32_t i = 0; i < READS; i++) {
        if (i == READS / 2) {
            cache_reset_counters(cache);
            hits = 0;
        }
        hits += cache_read(cache, (uint32_t)hmm_rand_below(&rand, hot), 0);
        if (stream == 0)
            continue;
        uint32_t page = hot + i % stream;
        if ((flags & HURDMM_PAGE_AHEAD) != 0 && i % 16 == 0)
            cache_read_ahead(cache, page, 16, flags);
        cache_read(cache, page, flags & HURDMM_PAGE_READ_ONCE);
    }
    return (double)hits / (READS / 2);
}

static double hot_ratio_of(const struct hurdmm_policy_ops *ops, bool bits,
                           uint32_t hot, uint32_t stream, unsigned flags)
{
    struct cache cache;

    cache_init(&cache, ops, bits, FRAMES, PAGES);
    double hits = hot_ratio(&cache, hot, stream, flags);
    cache_destroy(&cache);
    return hits;
}

START_TEST(pages_read_once_do_not_displace_a_hot_set)
{
    const struct hurdmm_policy_ops *ops = &hurdmm_policy_default;
    unsigned once = HURDMM_PAGE_READ_ONCE;
    double alone = hot_ratio_of(ops, _i, 900, 0, 0);

    ck_assert_double_gt(hot_ratio_of(ops, _i, 900, 50000, once), alone - 0.02);
    ck_assert_double_lt(
        hot_ratio_of(&hurdmm_policy_clock, _i, 900, 50000, once), alone - 0.3);
}
END_TEST

START_TEST(pages_read_once_and_ahead_do_not_displace_a_hot_set)
{
    unsigned flags = HURDMM_PAGE_READ_ONCE | HURDMM_PAGE_AHEAD;

    ck_assert_double_gt(
        hot_ratio_of(&hurdmm_policy_default, _i, 850, 50000, flags), 0.98);
}
END_TEST

START_TEST(a_scan_without_advice_does_not_displace_a_hot_set)
{
    ck_assert_double_gt(hot_ratio_of(&hurdmm_policy_default, _i, 850, 50000, 0),
                        0.98);
    ck_assert_double_gt(
        hot_ratio_of(&hurdmm_policy_default, _i, 850, 50000, HURDMM_PAGE_AHEAD),
        0.98);
}
END_TEST

START_TEST(pages_read_ahead_are_there_when_they_are_read)
{
    struct cache cache;

    cache_init(&cache, &hurdmm_policy_default, _i, FRAMES, PAGES);
    hot_ratio(&cache, 850, 50000, HURDMM_PAGE_READ_ONCE | HURDMM_PAGE_AHEAD);
    ck_assert_double_gt(cache_hit_ratio(&cache), 0.98);
    cache_destroy(&cache);
}
END_TEST

/* A reader may be in the middle of it. */
START_TEST(the_latest_page_read_once_stays_a_moment)
{
    struct cache cache;
    uint32_t lost = 0;

    cache_init(&cache, &hurdmm_policy_default, _i, FRAMES, PAGES);
    hot_ratio(&cache, 900, 50000, HURDMM_PAGE_READ_ONCE);
    for (uint32_t page = FRAMES; page < 10 * FRAMES; page++) {
        cache_read(&cache, page, HURDMM_PAGE_READ_ONCE);
        cache_read(&cache, 20 * FRAMES + page, HURDMM_PAGE_READ_ONCE);
        lost += !cache_read(&cache, page, HURDMM_PAGE_READ_ONCE);
    }
    ck_assert_uint_eq(lost, 0);
    cache_destroy(&cache);
}
END_TEST

/* ---- What it costs ------------------------------------------------------ */

START_TEST(a_hot_set_is_not_on_trial_while_pages_pass)
{
    struct cache cache;

    cache_init(&cache, &hurdmm_policy_default, false, FRAMES, PAGES);
    hot_ratio(&cache, 900, 50000, HURDMM_PAGE_READ_ONCE);
    ck_assert_uint_eq(cache.trials, 0);
    ck_assert_uint_eq(cache.soft_faults, 0);
    cache_destroy(&cache);
}
END_TEST

START_TEST(soft_faults_are_few)
{
    struct cache cache;

    cache_init(&cache, &hurdmm_policy_default, false, FRAMES, PAGES);
    zipf_reads(&cache);
    ck_assert_uint_lt(cache.soft_faults, (cache.hits + cache.misses) / 40);
    ck_assert_uint_lt(cache.trials, cache.misses);
    cache_destroy(&cache);
}
END_TEST

/* ---- Single pages ------------------------------------------------------- */

/* Reads `count' pages that nobody read before. */
static void flood(struct cache *cache, uint32_t *next, uint32_t count)
{
    while (count-- > 0)
        cache_read(cache, (*next)++, 0);
}

/* Pages named while others are there for longer or shorter. */
START_TEST(neighbours_that_are_worth_more_than_the_victim_stay)
{
    const struct hurdmm_policy_ops *ops = &hurdmm_policy_default;
    void *state = calloc(1, ops->memory(8));
    ck_assert_ptr_nonnull(state);
    ops->init(state, 8, 1);
    ops->insert(state, 0, 100, 0); /* leaves, and comes back soon */
    ops->remove(state, 0, 100, 1);
    ops->insert(state, 0, 100, 0);
    ops->insert(state, 1, 101, 0);
    ops->insert(state, 2, 102, HURDMM_PAGE_AHEAD);
    ops->insert(state, 3, 103, 0);
    ops->insert(state, 4, 104, 0);
    ops->touched(state, 4);
    ops->insert(state, 5, 105, HURDMM_PAGE_AHEAD);
    ops->cold(state, 5);
    ck_assert(ops->stays(state, 0, 1));
    ck_assert(!ops->stays(state, 1, 0));
    ck_assert(!ops->stays(state, 3, 1));
    ck_assert(ops->stays(state, 2, 1));
    ck_assert(ops->stays(state, 4, 1));
    ck_assert(!ops->stays(state, 5, 1));
    free(state);
}
END_TEST

START_TEST(a_page_that_comes_back_soon_outlives_a_scan)
{
    struct cache cache;
    uint32_t next = 1;

    cache_init(&cache, &hurdmm_policy_default, _i, FRAMES, PAGES);
    cache_read(&cache, 0, 0);
    flood(&cache, &next, 3 * FRAMES);
    ck_assert(!cache_read(&cache, 0, 0));
    flood(&cache, &next, 10);
    while (cache.frame_of[0] != HURDMM_FRAME_NONE && next < PAGES)
        flood(&cache, &next, 10);
    ck_assert_uint_lt(next, 3 * FRAMES + 2 * FRAMES);

    ck_assert(!cache_read(&cache, 0, 0));
    flood(&cache, &next, 20 * FRAMES);
    ck_assert(cache_read(&cache, 0, 0));
    cache_destroy(&cache);
}
END_TEST

START_TEST(a_page_read_ahead_in_vain_does_not_outlive_a_scan)
{
    struct cache cache;
    uint32_t next = 100;

    cache_init(&cache, &hurdmm_policy_default, _i, FRAMES, PAGES);
    flood(&cache, &next, 2 * FRAMES);
    for (int round = 0; round < 5; round++) {
        cache_read_ahead(&cache, 0, 16, 0);
        flood(&cache, &next, FRAMES + FRAMES / 5);
        for (uint32_t page = 0; page < 16; page++)
            ck_assert_uint_eq(cache.frame_of[page], HURDMM_FRAME_NONE);
    }
    cache_destroy(&cache);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hits");
    TCase *both = tcase_create("with and without bits");
    TCase *trials = tcase_create("without bits");

    tcase_set_timeout(both, 60);
    tcase_add_loop_test(
        both, default_beats_clock_and_random_where_scans_disturb, 0, 2);
    tcase_add_loop_test(both, default_beats_clock_and_random_at_zipf, 0, 2);
    tcase_add_loop_test(both, default_keeps_a_part_of_a_loop_that_does_not_fit,
                        0, 2);
    tcase_add_loop_test(both, pages_read_once_do_not_displace_a_hot_set, 0, 2);
    tcase_add_loop_test(
        both, pages_read_once_and_ahead_do_not_displace_a_hot_set, 0, 2);
    tcase_add_loop_test(both, a_scan_without_advice_does_not_displace_a_hot_set,
                        0, 2);
    tcase_add_loop_test(both, pages_read_ahead_are_there_when_they_are_read, 0,
                        2);
    tcase_add_loop_test(both, the_latest_page_read_once_stays_a_moment, 0, 2);
    tcase_add_test(both, neighbours_that_are_worth_more_than_the_victim_stay);
    tcase_add_loop_test(both, a_page_that_comes_back_soon_outlives_a_scan, 0,
                        2);
    tcase_add_loop_test(both, a_page_read_ahead_in_vain_does_not_outlive_a_scan,
                        0, 2);
    tcase_add_test(trials, a_hot_set_is_not_on_trial_while_pages_pass);
    tcase_add_test(trials, soft_faults_are_few);
    suite_add_tcase(suite, both);
    suite_add_tcase(suite, trials);
    return run_suites("hits", &suite, 1);
}
