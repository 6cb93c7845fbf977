/* SPDX-License-Identifier: MIT */
/*
 * Core memory and slabs: objects do not overlap, memory is not wasted, failures
 * change nothing, misuse is noticed.
 */
#include <stdlib.h>
#include <string.h>

#include <hurdmm/error.h>

#include "lib/base/rand.h"
#include "lib/base/slab.h"

#include "tests/base/memory.h"
#include "tests/base/trap.h"
#include "tests/support/runner.h"

static struct memory memory;
static struct hmm_core core;
static struct hmm_slab slab;

static void setup(void)
{
    memory_init(&memory);
    hmm_core_init(&core, memory_extend, &memory, 65536);
    hmm_slab_init(&slab, &core, 72, 8, "things");
}

static void teardown(void)
{
    memory_free(&memory);
}

/* ---- The model: objects filled with a byte of their own ---- */

#define MODEL_SLABS 6
#define MODEL_MAX 2000

static const size_t model_sizes[MODEL_SLABS] = {1, 24, 80, 512, 1000, 8000};
static const size_t model_aligns[MODEL_SLABS] = {1, 8, 16, 64, 128, 4096};

struct object {
    unsigned char *bytes;
    unsigned slab;
    unsigned char fill;
};

struct model {
    struct hmm_slab slab[MODEL_SLABS];
    struct object object[MODEL_MAX];
    size_t count;
    struct hmm_rand rand;
};

static void model_alloc(struct model *model, unsigned which)
{
    size_t calls = memory.calls;
    size_t used = model->slab[which].used;
    struct object object = {NULL, which,
                            (unsigned char)hmm_rand_next(&model->rand)};

    object.bytes = hmm_slab_alloc(&model->slab[which]);
    if (object.bytes == NULL) {
        ck_assert_uint_gt(memory.calls, calls);
        ck_assert_uint_eq(model->slab[which].used, used);
        return;
    }
    ck_assert_uint_eq((uintptr_t)object.bytes % model_aligns[which], 0);
    memset(object.bytes, object.fill, model_sizes[which]);
    model->object[model->count++] = object;
}

static bool filled(const unsigned char *bytes, size_t size, unsigned char fill)
{
    return bytes[0] == fill && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static void model_free(struct model *model)
{
    size_t at = (size_t)hmm_rand_below(&model->rand, model->count);
    struct object object = model->object[at];

    ck_assert(filled(object.bytes, model_sizes[object.slab], object.fill));
    hmm_slab_free(&model->slab[object.slab], object.bytes);
    model->object[at] = model->object[--model->count];
}

static bool model_check(const struct model *model)
{
    size_t used = 0;
    size_t count = 0;

    for (unsigned i = 0; i < MODEL_SLABS; i++) {
        const struct hmm_slab *each = &model->slab[i];

        if (!hmm_slab_check(each))
            return false;
        used += each->capacity * each->size;
        count += each->used;
    }
    return count == model->count && used <= core.bytes_used &&
           core.bytes_used <= core.bytes_total;
}

/* Grows and shrinks in turns; memory runs out at times. */
static void model_run(struct model *model, uint64_t seed)
{
    hmm_rand_init(&model->rand, seed);
    model->count = 0;
    for (unsigned i = 0; i < MODEL_SLABS; i++)
        hmm_slab_init(&model->slab[i], &core, model_sizes[i], model_aligns[i],
                      "model");
    if (seed % 2 != 0)
        hmm_slab_limit(&model->slab[3], 8192);
    for (int step = 0; step < 4000; step++) {
        bool growing = step / 500 % 2 == 0;
        uint64_t what = hmm_rand_below(&model->rand, 10);

        memory.left = step / 100 % 3 == 2 ? 0 : SIZE_MAX;
        if ((growing ? what < 8 : what < 2) && model->count < MODEL_MAX)
            model_alloc(model,
                        (unsigned)hmm_rand_below(&model->rand, MODEL_SLABS));
        else if (model->count > 0)
            model_free(model);
        ck_assert_msg(step % 10 != 0 || model_check(model),
                      "seed %llu, step %d", (unsigned long long)seed, step);
    }
}

START_TEST(random_objects_keep_their_bytes)
{
    static struct model model;
    size_t rounds = test_scaled(20);

    for (uint64_t seed = 0; seed < rounds; seed++) {
        model_run(&model, seed);
        while (model.count > 0)
            model_free(&model);
        ck_assert(model_check(&model));
        for (unsigned i = 0; i < MODEL_SLABS; i++)
            ck_assert_uint_le(model.slab[i].capacity, model.slab[i].per_page);
        memory_free(&memory);
        setup();
    }
}
END_TEST

/* ---- The core ---- */

START_TEST(a_slab_takes_no_memory_before_its_first_object)
{
    ck_assert_uint_eq(core.bytes_total, 0);
    ck_assert_ptr_nonnull(hmm_slab_alloc(&slab));
    ck_assert_uint_eq(core.bytes_total, 65536);
    ck_assert_uint_eq(core.bytes_used, 4096);
}
END_TEST

START_TEST(memory_is_asked_for_in_chunks)
{
    ck_assert_ptr_nonnull(hmm_core_alloc(&core, 100000, 8));
    for (size_t i = 0; i < memory.count; i++)
        ck_assert_uint_eq(memory.size[i] % 65536, 0);
    ck_assert_uint_eq(core.bytes_used, 100000);
}
END_TEST

START_TEST(tables_are_aligned_and_apart)
{
    unsigned char *table[40];

    for (size_t i = 0; i < 40; i++) {
        size_t align = (size_t)1 << i % 14;

        table[i] = hmm_core_alloc(&core, i * 500 + 1, align);
        ck_assert_ptr_nonnull(table[i]);
        ck_assert_uint_eq((uintptr_t)table[i] % align, 0);
        memset(table[i], (int)i, i * 500 + 1);
    }
    for (size_t i = 0; i < 40; i++)
        ck_assert(filled(table[i], i * 500 + 1, (unsigned char)i));
}
END_TEST

START_TEST(a_table_that_cannot_be_is_refused)
{
    ck_assert_ptr_null(hmm_core_alloc(&core, SIZE_MAX, 1));
    ck_assert_ptr_null(hmm_core_alloc(&core, SIZE_MAX, 4096));
    ck_assert_ptr_null(hmm_core_alloc(&core, SIZE_MAX - 4096, 4096));
    ck_assert_uint_eq(core.bytes_total, 0);
    ck_assert_uint_eq(core.bytes_used, 0);
}
END_TEST

START_TEST(what_alignment_skips_becomes_slab_pages)
{
    size_t total;

    ck_assert_ptr_nonnull(hmm_core_alloc(&core, 1, 1));
    ck_assert_ptr_nonnull(hmm_core_alloc(&core, 8192, 32768));
    total = core.bytes_total;
    for (size_t i = 0; i < 56 * 4; i++)
        ck_assert_ptr_nonnull(hmm_slab_alloc(&slab));
    ck_assert_uint_eq(core.bytes_total, total);
}
END_TEST

START_TEST(empty_pages_serve_other_slabs)
{
    enum { COUNT = 1000 };
    void *object[COUNT];
    struct hmm_slab other;
    size_t total;

    hmm_slab_init(&other, &core, 512, 64, "nodes");
    for (int i = 0; i < COUNT; i++)
        object[i] = hmm_slab_alloc(&other);
    total = core.bytes_total;
    for (int i = 0; i < COUNT; i++)
        hmm_slab_free(&other, object[i]);
    ck_assert_uint_eq(other.capacity, other.per_page);
    for (int i = 0; i < 5 * COUNT; i++)
        ck_assert_ptr_nonnull(hmm_slab_alloc(&slab));
    ck_assert_uint_eq(core.bytes_total, total);
}
END_TEST

START_TEST(an_empty_slab_at_a_boundary_does_not_thrash)
{
    void *object = hmm_slab_alloc(&slab);

    for (int i = 0; i < 3; i++) {
        hmm_slab_free(&slab, object);
        ck_assert_uint_eq(slab.capacity, slab.per_page);
        object = hmm_slab_alloc(&slab);
        ck_assert_ptr_nonnull(object);
    }
}
END_TEST

START_TEST(nodes_of_512_bytes_cost_two_per_cent_at_most)
{
    struct hmm_slab nodes;

    hmm_slab_init(&nodes, &core, 512, 64, "nodes");
    for (int i = 0; i < 63 * 10; i++)
        ck_assert_ptr_nonnull(hmm_slab_alloc(&nodes));
    ck_assert_uint_le(core.bytes_used, 63 * 10 * 512 * 102 / 100);
}
END_TEST

/* What the core gives for the first object of a slab. */
static size_t first_page(size_t size, size_t limit)
{
    size_t before = core.bytes_used;
    struct hmm_slab small;

    hmm_slab_init(&small, &core, size, 16, "small");
    if (limit != 0)
        hmm_slab_limit(&small, limit);
    ck_assert_ptr_nonnull(hmm_slab_alloc(&small));
    ck_assert(hmm_slab_check(&small));
    return core.bytes_used - before;
}

START_TEST(a_slab_page_is_no_larger_than_it_need_be)
{
    ck_assert_uint_eq(first_page(64, 0), 4096);
    ck_assert_uint_eq(first_page(80, 0), 4096);
    ck_assert_uint_eq(first_page(320, 0), 8192);
    ck_assert_uint_eq(first_page(512, 0), 32768);
}
END_TEST

START_TEST(a_limited_slab_has_pages_of_that_size_at_most)
{
    ck_assert_uint_eq(first_page(512, 8192), 8192);
    ck_assert_uint_eq(first_page(512, 16383), 8192);
    ck_assert_uint_eq(first_page(512, 4096), 4096);
    ck_assert_uint_eq(first_page(64, 8192), 4096);
    ck_assert_uint_eq(first_page(8000, 8192), 8192);
}
END_TEST

START_TEST(a_limited_slab_fills_its_pages)
{
    struct hmm_slab nodes;

    hmm_slab_init(&nodes, &core, 512, 512, "nodes");
    hmm_slab_limit(&nodes, 8192);
    for (size_t i = 0; i < 15 * 10; i++) {
        void *node = hmm_slab_alloc(&nodes);

        ck_assert_uint_eq((uintptr_t)node % 512, 0);
        ck_assert(hmm_slab_owns(&nodes, node));
        memset(node, (int)i, 512);
    }
    ck_assert(hmm_slab_check(&nodes));
    ck_assert_uint_eq(core.bytes_used, 10 * 8192);
}
END_TEST

/* ---- Failures ---- */

START_TEST(an_allocation_without_memory_fails_and_a_later_one_works)
{
    memory.left = 0;
    ck_assert_ptr_null(hmm_slab_alloc(&slab));
    ck_assert(hmm_slab_check(&slab));
    ck_assert_uint_eq(core.bytes_used, 0);
    memory.left = 1;
    ck_assert_ptr_nonnull(hmm_slab_alloc(&slab));
}
END_TEST

START_TEST(reserved_objects_can_be_had_without_memory)
{
    ck_assert_int_eq(hmm_slab_reserve(&slab, 1000), 0);
    memory.left = 0;
    for (int i = 0; i < 1000; i++)
        ck_assert_ptr_nonnull(hmm_slab_alloc(&slab));
    ck_assert(hmm_slab_check(&slab));
}
END_TEST

START_TEST(a_reservation_survives_what_is_freed_in_between)
{
    enum { COUNT = 500 };
    void *object[COUNT];

    for (int i = 0; i < COUNT; i++)
        object[i] = hmm_slab_alloc(&slab);
    ck_assert_int_eq(hmm_slab_reserve(&slab, COUNT), 0);
    for (int i = 0; i < COUNT; i++)
        hmm_slab_free(&slab, object[i]);
    ck_assert(hmm_slab_check(&slab));
    memory.left = 0;
    for (unsigned i = 0; i < HMM_CORE_ORDERS; i++)
        hmm_list_init(&core.pool[i]);
    for (int i = 0; i < COUNT; i++)
        ck_assert_ptr_nonnull(hmm_slab_alloc(&slab));
}
END_TEST

START_TEST(a_reservation_that_cannot_be_says_so)
{
    memory.left = 1;
    ck_assert_int_eq(hmm_slab_reserve(&slab, 100000), ENOMEM);
    ck_assert(hmm_slab_check(&slab));
    ck_assert_uint_eq(slab.reserved, 0);
    ck_assert_uint_eq(slab.used, 0);
}
END_TEST

/* ---- Misuse ---- */

START_TEST(a_freed_object_keeps_its_first_16_bytes)
{
    unsigned char *object = hmm_slab_alloc(&slab);

    memset(object, 0x5a, 72);
    hmm_slab_free(&slab, object);
    for (int i = 0; i < 16; i++)
        ck_assert_uint_eq(object[i], 0x5a);
#ifndef NDEBUG
    for (int i = 16; i < 72; i++)
        ck_assert_uint_ne(object[i], 0x5a);
#endif
}
END_TEST

START_TEST(a_slab_owns_its_objects_in_use_and_nothing_else)
{
    struct hmm_slab other;
    char *object = hmm_slab_alloc(&slab);
    char *foreign;

    hmm_slab_init(&other, &core, 72, 8, "others");
    foreign = hmm_slab_alloc(&other);
    ck_assert(hmm_slab_owns(&slab, object));
    ck_assert(!hmm_slab_owns(&slab, object + 8));
    ck_assert(!hmm_slab_owns(&slab, object + 72));
    ck_assert(!hmm_slab_owns(&slab, foreign));
    ck_assert(!hmm_slab_owns(&slab, (char *)((uintptr_t)object & ~4095ul)));
    hmm_slab_free(&slab, object);
    ck_assert(!hmm_slab_owns(&slab, object));
}
END_TEST

static void free_twice(void)
{
    void *object = hmm_slab_alloc(&slab);

    hmm_slab_free(&slab, object);
    hmm_slab_free(&slab, object);
}

static void free_foreign(void)
{
    struct hmm_slab other;

    hmm_slab_init(&other, &core, 72, 8, "others");
    hmm_slab_free(&slab, hmm_slab_alloc(&other));
}

static void free_inside(void)
{
    char *object = hmm_slab_alloc(&slab);

    hmm_slab_free(&slab, object + 16);
}

static void limit_below_an_object(void)
{
    hmm_slab_limit(&slab, 128);
}

static void limit_in_use(void)
{
    (void)hmm_slab_alloc(&slab);
    hmm_slab_limit(&slab, 4096);
}

static void free_properly(void)
{
    hmm_slab_free(&slab, hmm_slab_alloc(&slab));
}

START_TEST(a_wrong_free_traps)
{
#ifdef NDEBUG
    test_skip("assertions are compiled out");
#else
    ck_assert(!dies(free_properly));
    ck_assert(dies(free_twice));
    ck_assert(dies(free_foreign));
    ck_assert(dies(free_inside));
#endif
    (void)free_twice;
    (void)free_foreign;
    (void)free_inside;
    (void)free_properly;
}
END_TEST

START_TEST(a_wrong_limit_traps)
{
#ifdef NDEBUG
    test_skip("assertions are compiled out");
#else
    ck_assert(dies(limit_below_an_object));
    ck_assert(dies(limit_in_use));
#endif
    (void)limit_below_an_object;
    (void)limit_in_use;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slab");
    TCase *model = tcase_create("model");
    TCase *single = tcase_create("single");

    tcase_set_timeout(model, 60);
    tcase_add_checked_fixture(model, setup, teardown);
    tcase_add_test(model, random_objects_keep_their_bytes);
    tcase_add_checked_fixture(single, setup, teardown);
    tcase_add_test(single, a_slab_takes_no_memory_before_its_first_object);
    tcase_add_test(single, memory_is_asked_for_in_chunks);
    tcase_add_test(single, tables_are_aligned_and_apart);
    tcase_add_test(single, a_table_that_cannot_be_is_refused);
    tcase_add_test(single, what_alignment_skips_becomes_slab_pages);
    tcase_add_test(single, empty_pages_serve_other_slabs);
    tcase_add_test(single, an_empty_slab_at_a_boundary_does_not_thrash);
    tcase_add_test(single, nodes_of_512_bytes_cost_two_per_cent_at_most);
    tcase_add_test(single, a_slab_page_is_no_larger_than_it_need_be);
    tcase_add_test(single, a_limited_slab_has_pages_of_that_size_at_most);
    tcase_add_test(single, a_limited_slab_fills_its_pages);
    tcase_add_test(single,
                   an_allocation_without_memory_fails_and_a_later_one_works);
    tcase_add_test(single, reserved_objects_can_be_had_without_memory);
    tcase_add_test(single, a_reservation_survives_what_is_freed_in_between);
    tcase_add_test(single, a_reservation_that_cannot_be_says_so);
    tcase_add_test(single, a_freed_object_keeps_its_first_16_bytes);
    tcase_add_test(single, a_slab_owns_its_objects_in_use_and_nothing_else);
    tcase_add_test(single, a_wrong_free_traps);
    tcase_add_test(single, a_wrong_limit_traps);
    suite_add_tcase(suite, model);
    suite_add_tcase(suite, single);
    return run_suites("slab", &suite, 1);
}
