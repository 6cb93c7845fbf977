/* SPDX-License-Identifier: MIT */
/*
 * The slot map, which the anonymous store keeps its slots in, against an array.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/stores/slots.h"
#include "tests/stores/rig.h"
#include "tests/support/runner.h"

#define PAGES 1500u

/* Millions of conditions: Check is told only of those that do not hold. */
#define EXPECT(condition)                                                      \
    do {                                                                       \
        if (!(condition))                                                      \
            ck_abort_msg("%s", #condition);                                    \
    } while (0)

static struct rig rig;
static struct hmm_slots slots;
static uint32_t model[PAGES]; /* slot + 1 */
static uint64_t base;         /* the first of these pages */
#define PROMISED (HMM_SLOT_PROMISED + 1)

static uint32_t dropped;

static void begin(void)
{
    rig_begin(&rig, 32, 16);
    hmm_slots_init(&slots, rig.manager);
    memset(model, 0, sizeof model);
    base = 0;
}

static uint32_t drops;

/* The slots that are dropped are those of the model, in its order.  Every third
 * time it has had enough. */
static bool drop(void *hook, uint32_t slot, uint32_t count)
{
    uint64_t *page = hook;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t step = slot == HMM_SLOT_PROMISED ? 0 : i;

        while (model[*page - base] == 0)
            ++*page;
        EXPECT(model[*page - base] == slot + step + 1);
        model[*page - base] = 0;
    }
    dropped += count;
    return ++drops % 3 != 0;
}

static void clear(uint64_t first, uint64_t last)
{
    uint64_t page = first < base ? base : first;

    while (!hmm_slots_clear(&slots, first, last, drop, &page))
        EXPECT(drops % 3 == 0);
}

static void end(void)
{
    clear(0, UINT64_MAX);
    ck_assert_ptr_null(slots.root);
    EXPECT(slots.height == 0);
    rig_end(&rig);
}

static void set(uint64_t page, uint32_t slot)
{
    uint32_t old;

    EXPECT(hmm_slots_set(&slots, page, slot, &old) == 0);
    EXPECT(old == model[page - base] - 1);
    model[page - base] = slot + 1;
}

/* Whether two neighbours belong to one run. */
static bool together(uint32_t before, uint32_t after)
{
    if (before == 0 || before == PROMISED || after == 0 || after == PROMISED)
        return before == after;
    return after == before + 1;
}

static void check_runs(uint64_t i)
{
    uint64_t count = 1, before = 0;
    uint32_t slot;

    while (i + count < PAGES && (base + i + count) % HMM_SLOTS_LEAF != 0 &&
           together(model[i + count - 1], model[i + count]))
        count++;
    while (before < i && (base + i - before) % HMM_SLOTS_LEAF != 0 &&
           together(model[i - before - 1], model[i - before]))
        before++;
    EXPECT(hmm_slots_run(&slots, base + i, PAGES - i, &slot) == count);
    EXPECT(slot == model[i] - 1);
    /* Pages before the model's have no slots. */
    if (before < i || base == 0)
        EXPECT(hmm_slots_run_before(&slots, base + i) == before);
}

/* Pages from `first` on. */
static void use_at_random(uint64_t first, unsigned steps)
{
    base = first;
    srand(3);
    for (unsigned step = 0; step < steps; step++) {
        uint64_t i = (uint64_t)rand() % PAGES;
        uint64_t last = i + (uint64_t)rand() % 40;

        if (last >= PAGES)
            last = PAGES - 1;
        if (rand() % 3 == 0) {
            clear(base + i, base + last);
            for (uint64_t k = i; k <= last; k++)
                EXPECT(model[k] == 0);
        } else {
            uint32_t slot = (uint32_t)rand() % 100000;
            uint32_t next = rand() % 4 != 0 ? 1 : 0;

            if (next == 0)
                slot = HMM_SLOT_PROMISED;
            for (uint64_t k = i; k <= last; k++, slot += next)
                set(base + k, slot);
        }
        i = (uint64_t)rand() % PAGES;
        EXPECT(hmm_slots_get(&slots, base + i) == model[i] - 1);
        check_runs(i);
    }
    clear(0, UINT64_MAX);
}

START_TEST(random_use_matches_a_model)
{
    unsigned steps = (unsigned)test_scaled(20000);

    use_at_random(0, steps);
    use_at_random(1 << 16, steps);
    use_at_random(UINT64_C(1) << 40, steps);
    use_at_random(UINT64_MAX - PAGES, steps);
}
END_TEST

START_TEST(pages_far_apart_are_told_apart)
{
    uint64_t pages[] = {0,
                        255,
                        256,
                        65535,
                        65536,
                        UINT64_C(1) << 32,
                        (UINT64_C(1) << 56) - 1,
                        UINT64_C(1) << 56,
                        UINT64_MAX};
    size_t count = sizeof pages / sizeof pages[0];
    uint32_t old;

    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(hmm_slots_set(&slots, pages[i], (uint32_t)i, &old), 0);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(hmm_slots_get(&slots, pages[i]), i);
        model[i] = (uint32_t)i + 1;
    }
    ck_assert_uint_eq(hmm_slots_get(&slots, 1), HMM_SLOT_NONE);
    ck_assert_uint_eq(hmm_slots_get(&slots, UINT64_MAX - 1), HMM_SLOT_NONE);
    dropped = 0;
    clear(1, UINT64_MAX - 1);
    ck_assert_uint_eq(hmm_slots_get(&slots, 0), 0);
    ck_assert_uint_eq(hmm_slots_get(&slots, UINT64_MAX), count - 1);
    clear(0, UINT64_MAX);
    ck_assert_uint_eq(dropped, count);
}
END_TEST

START_TEST(what_is_cleared_gives_its_memory_back)
{
    uint64_t before;

    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t i = 0; i < PAGES; i++)
            set(i, (uint32_t)i);
        clear(0, PAGES);
        ck_assert_ptr_null(slots.root);
    }
    before = rig_core_bytes(&rig);
    for (uint64_t i = 0; i < PAGES; i++)
        set(i, (uint32_t)i);
    ck_assert_uint_eq(rig_core_bytes(&rig), before);
}
END_TEST

#define PIECES 20000u

/* Takes up to `max` pieces of memory. */
static unsigned take(void *memory[], unsigned max, size_t size)
{
    unsigned count = 0;

    while (count < max &&
           hurdmm_allocate(rig.manager, size, &memory[count]) == 0)
        count++;
    return count;
}

START_TEST(no_memory_changes_nothing)
{
    static void *large[PIECES], *small[PIECES];
    unsigned larges, smalls;
    uint32_t old = 7;

    set(3, 33);
    larges = take(large, 8, 2048);
    hurdmm_sim_fail(rig.port, HURDMM_SIM_CORE_MAP, 1, ENOMEM, 1);
    larges += take(large + larges, PIECES - larges, 2048);
    smalls = take(small, PIECES, 1024);
    ck_assert_int_eq(hmm_slots_set(&slots, 1000, 5, &old), ENOMEM);
    ck_assert_int_eq(hmm_slots_set(&slots, UINT64_C(1) << 60, 5, &old), ENOMEM);
    ck_assert_uint_eq(old, 7);
    ck_assert_uint_eq(hmm_slots_get(&slots, 3), 33);
    ck_assert_uint_eq(hmm_slots_get(&slots, 1000), HMM_SLOT_NONE);
    /* Enough for some of the nodes on the way. */
    for (unsigned i = 0; i < 3; i++)
        hurdmm_deallocate(rig.manager, large[--larges], 2048);
    ck_assert_int_eq(hmm_slots_set(&slots, UINT64_C(1) << 60, 5, &old), ENOMEM);
    ck_assert_uint_eq(hmm_slots_get(&slots, 3), 33);
    hurdmm_sim_fail(rig.port, 0, 0, 0, 0);
    while (larges > 0)
        hurdmm_deallocate(rig.manager, large[--larges], 2048);
    while (smalls > 0)
        hurdmm_deallocate(rig.manager, small[--smalls], 1024);
    set(1000, 5);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slots");
    TCase *tcase = tcase_create("slots");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, random_use_matches_a_model);
    tcase_add_test(tcase, pages_far_apart_are_told_apart);
    tcase_add_test(tcase, what_is_cleared_gives_its_memory_back);
    tcase_add_test(tcase, no_memory_changes_nothing);
    suite_add_tcase(suite, tcase);
    return run_suites("slots", &suite, 1);
}
