/* SPDX-License-Identifier: MIT */
/*
 * What the library relies on, whichever policy it is given: one suite that
 * every policy goes through.  Each test runs once for each of `policies', which
 * is where to add one.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <hurdmm/error.h>
#include <hurdmm/policy.h>

#include "lib/base/rand.h"
#include "tests/support/runner.h"

static const struct hurdmm_policy_ops *const policies[] = {
    &hurdmm_policy_default, &hurdmm_policy_clock, &hurdmm_policy_random};

#define POLICIES ((int)(sizeof policies / sizeof policies[0]))
#define FRAMES_MAX 256u

/* A policy under test, and what it ought to know. */
struct rig {
    const struct hurdmm_policy_ops *ops;
    void *state;
    uint32_t frames;
    uint32_t resident;
    bool in[FRAMES_MAX];
    uint64_t key[FRAMES_MAX];
    struct hmm_rand rand;
};

static void rig_init(struct rig *rig, int policy, uint32_t frames)
{
    *rig = (struct rig){.ops = policies[policy], .frames = frames};
    ck_assert_uint_le(frames, FRAMES_MAX);
    rig->state = calloc(1, rig->ops->memory(frames));
    ck_assert_ptr_nonnull(rig->state);
    rig->ops->init(rig->state, frames, 42);
    hmm_rand_init(&rig->rand, frames);
}

static void rig_destroy(struct rig *rig)
{
    free(rig->state);
}

static void rig_check(const struct rig *rig)
{
    if (rig->ops->check(rig->state, rig->resident) != 0)
        ck_abort_msg("the state is not sound");
}

static uint32_t below(struct rig *rig, uint32_t bound)
{
    return (uint32_t)hmm_rand_below(&rig->rand, bound);
}

static void insert(struct rig *rig, uint32_t frame, uint64_t key,
                   unsigned flags)
{
    rig->in[frame] = true;
    rig->key[frame] = key;
    rig->resident++;
    rig->ops->insert(rig->state, frame, key, flags);
}

/* The page of key f in each frame f. */
static void insert_all(struct rig *rig, unsigned flags)
{
    for (uint32_t frame = 0; frame < rig->frames; frame++)
        insert(rig, frame, frame, flags);
}

static void take(struct rig *rig, uint32_t frame, int evicted)
{
    rig->in[frame] = false;
    rig->resident--;
    rig->ops->remove(rig->state, frame, rig->key[frame], evicted);
}

/* Selects, and looks at all that can be said about any answer. */
static size_t choose(struct rig *rig, struct hurdmm_victim *victims, size_t max)
{
    bool named[FRAMES_MAX] = {false};
    size_t count = rig->ops->select(rig->state, victims, max);
    bool sound = count <= max && count <= rig->resident &&
                 (count > 0 || max == 0 || rig->resident == 0);

    for (size_t i = 0; i < count && sound; i++) {
        uint32_t frame = victims[i].frame;

        sound = frame < rig->frames && rig->in[frame] && !named[frame] &&
                victims[i].verdict <= HURDMM_TRIAL;
        if (sound)
            named[frame] = true;
    }
    if (!sound) /* Check's assertions write to a file, each time */
        ck_abort_msg("select gave an answer that cannot be right");
    return count;
}

static void answer_anyhow(struct rig *rig, const struct hurdmm_victim *victim)
{
    switch (below(rig, 5)) {
    case 0:
        rig->ops->touched(rig->state, victim->frame);
        break;
    case 1:
        rig->ops->kept(rig->state, victim->frame);
        break;
    case 2: /* none at all; late, where the verdict was EVICT */
        break;
    default:
        if (victim->verdict == HURDMM_EVICT)
            take(rig, victim->frame, 1);
    }
}

static void anything(struct rig *rig)
{
    struct hurdmm_victim victims[FRAMES_MAX];
    uint32_t frame = below(rig, rig->frames);
    uint32_t what = below(rig, 16);

    if (what == 0) {
        size_t count = choose(rig, victims, below(rig, rig->frames + 2));
        for (size_t i = 0; i < count; i++)
            answer_anyhow(rig, &victims[i]);
    } else if (!rig->in[frame]) {
        insert(rig, frame, below(rig, 4 * rig->frames), below(rig, 4));
    } else if (what < 4) {
        rig->ops->touched(rig->state, frame);
    } else if (what == 4) {
        rig->ops->cold(rig->state, frame);
    } else if (what == 5) {
        take(rig, frame, what % 2);
    }
}

START_TEST(any_sequence_of_events_keeps_the_state_sound)
{
    static const uint32_t sizes[] = {1, 2, 3, 9, 40, 150};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct rig rig;

        rig_init(&rig, _i, sizes[i]);
        for (size_t step = test_scaled(100000); step > 0; step--) {
            anything(&rig);
            rig_check(&rig);
        }
        rig_destroy(&rig);
    }
}
END_TEST

/* Evicts until nothing is left; how many selects it took. */
static size_t drain(struct rig *rig, size_t max)
{
    struct hurdmm_victim victims[FRAMES_MAX];
    size_t selects = 0;

    for (; rig->resident > 0; selects++) {
        size_t count = choose(rig, victims, max);
        if (selects > 100 * FRAMES_MAX)
            ck_abort_msg("some pages are never named");
        for (size_t i = 0; i < count; i++)
            if (victims[i].verdict == HURDMM_EVICT)
                take(rig, victims[i].frame, 1);
    }
    return selects;
}

START_TEST(untouched_pages_all_leave_in_few_rounds)
{
    static const size_t batches[] = {1, 2, 7, 64, FRAMES_MAX};

    for (size_t i = 0; i < sizeof batches / sizeof batches[0]; i++) {
        struct rig rig;

        rig_init(&rig, _i, FRAMES_MAX);
        for (int step = 0; step < 5000; step++)
            anything(&rig);
        size_t bound = 3 * rig.resident / batches[i] + 4;
        ck_assert_uint_le(drain(&rig, batches[i]), bound);
        rig_check(&rig);
        rig_destroy(&rig);
    }
}
END_TEST

START_TEST(select_names_as_many_as_it_may)
{
    struct hurdmm_victim victims[FRAMES_MAX];
    struct rig rig;

    for (size_t max = 0; max < 45; max++) {
        rig_init(&rig, _i, 40);
        insert_all(&rig, 0);
        ck_assert_uint_eq(choose(&rig, victims, max), max < 40 ? max : 40);
        rig_destroy(&rig);
    }
}
END_TEST

START_TEST(select_finds_nothing_where_nothing_is)
{
    struct hurdmm_victim victims[4];
    struct rig rig;

    rig_init(&rig, _i, 4);
    ck_assert_uint_eq(choose(&rig, victims, 4), 0);
    insert_all(&rig, 0);
    drain(&rig, 4);
    ck_assert_uint_eq(choose(&rig, victims, 4), 0);
    rig_destroy(&rig);
}
END_TEST

START_TEST(kept_pages_are_not_named_again_before_all_others)
{
    struct hurdmm_victim victims[FRAMES_MAX];
    struct rig rig;

    rig_init(&rig, _i, 150);
    for (int step = 0; step < 5000; step++)
        anything(&rig);
    while (choose(&rig, victims, 1) == 1) /* lets late answers arrive */
        take(&rig, victims[0].frame, 0);
    insert_all(&rig, 0);
    for (int sweep = 0; sweep < 3; sweep++) {
        bool named[FRAMES_MAX] = {false};

        for (uint32_t left = rig.resident; left > 0;) {
            size_t count = choose(&rig, victims, left < 7 ? left : 7);
            for (size_t i = 0; i < count; i++) {
                ck_assert(!named[victims[i].frame]);
                named[victims[i].frame] = true;
                rig.ops->kept(rig.state, victims[i].frame);
            }
            left -= (uint32_t)count;
        }
        rig_check(&rig);
    }
    rig_destroy(&rig);
}
END_TEST

START_TEST(a_kept_page_is_named_again_while_pages_come_and_go)
{
    struct hurdmm_victim victim;
    struct rig rig;
    uint64_t key = FRAMES_MAX;

    rig_init(&rig, _i, 64);
    insert_all(&rig, 0);
    do
        ck_assert_uint_eq(choose(&rig, &victim, 1), 1);
    while (victim.verdict != HURDMM_EVICT);
    uint32_t kept = victim.frame;
    rig.ops->kept(rig.state, kept);
    for (int step = 0;; step++) {
        ck_assert_int_lt(step, 64 * 30);
        ck_assert_uint_eq(choose(&rig, &victim, 1), 1);
        if (victim.frame == kept)
            break;
        if (victim.verdict == HURDMM_EVICT) {
            take(&rig, victim.frame, 1);
            insert(&rig, victim.frame, key++, 0);
        }
    }
    rig_destroy(&rig);
}
END_TEST

START_TEST(cold_pages_are_the_next_victims)
{
    struct hurdmm_victim victims[10];
    struct rig rig;

    rig_init(&rig, _i, 100);
    insert_all(&rig, 0);
    for (uint32_t frame = 0; frame < 100; frame += 10)
        rig.ops->cold(rig.state, frame);
    ck_assert_uint_eq(choose(&rig, victims, 10), 10);
    for (size_t i = 0; i < 10; i++) {
        ck_assert_uint_eq(victims[i].frame % 10, 0);
        ck_assert_uint_eq(victims[i].verdict, HURDMM_EVICT);
    }
    rig_destroy(&rig);
}
END_TEST

START_TEST(cold_pages_go_before_pages_read_once)
{
    struct hurdmm_victim victim;
    struct rig rig;

    rig_init(&rig, _i, 100);
    insert_all(&rig, HURDMM_PAGE_READ_ONCE);
    rig.ops->cold(rig.state, 50);
    ck_assert_uint_eq(choose(&rig, &victim, 1), 1);
    ck_assert_uint_eq(victim.frame, 50);
    rig_destroy(&rig);
}
END_TEST

START_TEST(a_page_may_leave_in_any_state)
{
    struct hurdmm_victim victims[30];
    struct rig rig;

    for (uint32_t frame = 0; frame < 30; frame++) {
        rig_init(&rig, _i, 30);
        insert_all(&rig, 0);
        rig.ops->touched(rig.state, 3);
        rig.ops->cold(rig.state, 7);
        choose(&rig, victims, 11);
        choose(&rig, victims, 11);
        rig.ops->kept(rig.state, victims[0].frame);
        rig.ops->touched(rig.state, victims[1].frame);
        take(&rig, frame, 0);
        rig_check(&rig);
        drain(&rig, 5);
        rig_check(&rig);
        rig_destroy(&rig);
    }
}
END_TEST

/* Every fourth page is in use: it is touched whenever it is on trial.  The
   first victims are those of a policy that knows nobody yet. */
START_TEST(pages_touched_on_trial_outlive_the_others)
{
    struct hurdmm_victim victims[8];
    struct rig rig;
    uint32_t survivors = 0;

    rig_init(&rig, _i, 240);
    insert_all(&rig, 0);
    while (rig.resident > 80) {
        size_t count = choose(&rig, victims, 8);
        for (size_t i = 0; i < count; i++) {
            if (victims[i].verdict == HURDMM_EVICT)
                take(&rig, victims[i].frame, 1);
            else if (victims[i].frame % 4 == 0)
                rig.ops->touched(rig.state, victims[i].frame);
        }
    }
    for (uint32_t frame = 0; frame < 240; frame += 4)
        survivors += rig.in[frame];
    ck_assert_uint_gt(survivors, 50);
    rig_destroy(&rig);
}
END_TEST

START_TEST(check_finds_a_page_too_many_or_too_few)
{
    struct rig rig;

    rig_init(&rig, _i, 20);
    for (uint32_t frame = 0; frame < 10; frame++)
        insert(&rig, frame, frame, 0);
    ck_assert_int_eq(rig.ops->check(rig.state, 9), EINVAL);
    ck_assert_int_eq(rig.ops->check(rig.state, 10), 0);
    ck_assert_int_eq(rig.ops->check(rig.state, 11), EINVAL);
    rig_destroy(&rig);
}
END_TEST

/* All three end with what they know of the last frame. */
START_TEST(check_finds_damage)
{
    struct rig rig;
    unsigned char *last;

    rig_init(&rig, _i, 20);
    for (uint32_t frame = 0; frame < 10; frame++)
        insert(&rig, frame, frame, 0);
    last = (unsigned char *)rig.state + rig.ops->memory(20) - 1;
    *last ^= 1;
    ck_assert_int_eq(rig.ops->check(rig.state, 10), EINVAL);
    rig_destroy(&rig);
}
END_TEST

START_TEST(the_state_takes_13_bytes_a_frame)
{
    size_t mebi = (size_t)1 << 20;

    ck_assert_uint_le(policies[_i]->memory(1 << 20), 13 * mebi + 512);
    ck_assert_uint_le(policies[_i]->memory(16), 13 * 16 + 512);
}
END_TEST

/* Names everything, one by one, and drops it. */
static void order_of(int policy, uint64_t seed, uint32_t *order)
{
    struct hurdmm_victim victim;
    struct rig rig;

    rig_init(&rig, policy, 50);
    rig.ops->init(rig.state, 50, seed);
    insert_all(&rig, 0);
    for (uint32_t i = 0; i < 50; i++) {
        ck_assert_uint_eq(choose(&rig, &victim, 1), 1);
        order[i] = victim.frame;
        take(&rig, victim.frame, 0);
    }
    rig_destroy(&rig);
}

START_TEST(equal_seeds_give_equal_victims)
{
    uint32_t first[50], second[50];

    order_of(_i, 11, first);
    order_of(_i, 11, second);
    ck_assert_mem_eq(first, second, sizeof first);
}
END_TEST

START_TEST(random_draws_by_its_seed)
{
    uint32_t first[50], second[50];

    order_of(POLICIES - 1, 11, first);
    order_of(POLICIES - 1, 12, second);
    ck_assert_mem_ne(first, second, sizeof first);
}
END_TEST

static TCase *conformance(void)
{
    TCase *tcase = tcase_create("conformance");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, any_sequence_of_events_keeps_the_state_sound, 0,
                        POLICIES);
    tcase_add_loop_test(tcase, untouched_pages_all_leave_in_few_rounds, 0,
                        POLICIES);
    tcase_add_loop_test(tcase, select_names_as_many_as_it_may, 0, POLICIES);
    tcase_add_loop_test(tcase, select_finds_nothing_where_nothing_is, 0,
                        POLICIES);
    tcase_add_loop_test(tcase, kept_pages_are_not_named_again_before_all_others,
                        0, POLICIES);
    tcase_add_loop_test(
        tcase, a_kept_page_is_named_again_while_pages_come_and_go, 0, POLICIES);
    tcase_add_loop_test(tcase, cold_pages_are_the_next_victims, 0, POLICIES);
    tcase_add_loop_test(tcase, cold_pages_go_before_pages_read_once, 0,
                        POLICIES);
    tcase_add_loop_test(tcase, pages_touched_on_trial_outlive_the_others, 0,
                        POLICIES - 1); /* random has no trials */
    tcase_add_loop_test(tcase, a_page_may_leave_in_any_state, 0, POLICIES);
    tcase_add_loop_test(tcase, check_finds_a_page_too_many_or_too_few, 0,
                        POLICIES);
    tcase_add_loop_test(tcase, check_finds_damage, 0, POLICIES);
    tcase_add_loop_test(tcase, the_state_takes_13_bytes_a_frame, 0, POLICIES);
    tcase_add_loop_test(tcase, equal_seeds_give_equal_victims, 0, POLICIES);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *tcase = tcase_create("random");

    tcase_add_test(tcase, random_draws_by_its_seed);
    suite_add_tcase(suite, conformance());
    suite_add_tcase(suite, tcase);
    return run_suites("policy", &suite, 1);
}
