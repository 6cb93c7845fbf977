/* SPDX-License-Identifier: MIT */
/* Faults: several at once, resolved and failed, and accesses that race with
 * lend and reclaim. */
#include <stdlib.h>
#include <string.h>

#include "tests/port/rig.h"
#include "tests/support/runner.h"

/* A range whose page i is resolved with frame i. */
struct range {
    uintptr_t at;
    unsigned rights;
    atomic_uint stop;
};

static int resolve_in_order(struct scene *scene,
                            const struct hurdmm_fault *fault)
{
    const struct range *range = scene->data;
    size_t page = scene->rig->page;
    uint32_t i = (uint32_t)((fault->address - range->at) / page);
    uint32_t done = 0;
    return rig_lend_in(scene->rig, NULL, range->at + i * page, i, 1,
                       range->rights, &done);
}

static void store_own_page(struct actor *actor)
{
    struct rig *rig = actor->scene->rig;
    const struct range *range = actor->scene->data;
    actor->error = rig->target->store(rig->port, NULL,
                                      range->at + actor->number * rig->page,
                                      (uint8_t)(actor->number + 1));
}

START_TEST(several_threads_fault_at_once_and_all_go_on)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct range range = {.at = rig_reserve(&rig, 6), .rights = READ_WRITE};
    struct scene scene = {
        .rig = &rig, .resolve = resolve_in_order, .data = &range};
    struct actor actors[6] = {{.body = store_own_page}};
    rig_fill(&rig, 0, 6, 0);
    scene_run(&scene, actors, 6);
    ck_assert_uint_ge(atomic_load(&scene.fault_count), 6);
    for (uint32_t i = 0; i < 6; i++) {
        ck_assert_int_eq(actors[i].error, 0);
        EXPECT_LOAD(&rig, range.at + i * rig.page, (uint8_t)(i + 1));
    }
    rig_drop(&rig, range.at, 0, 6);
    rig_close(&rig);
}
END_TEST

static void load_same_page(struct actor *actor)
{
    struct rig *rig = actor->scene->rig;
    const struct range *range = actor->scene->data;
    uint8_t value = 0;
    actor->error = rig->target->load(rig->port, NULL, range->at, &value);
    actor->value = value;
}

START_TEST(several_threads_fault_on_one_page)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct range range = {.at = rig_reserve(&rig, 1), .rights = HURDMM_READ};
    struct scene scene = {
        .rig = &rig, .resolve = resolve_in_order, .data = &range};
    struct actor actors[5] = {{.body = load_same_page}};
    rig_fill(&rig, 0, 1, 42);
    scene_run(&scene, actors, 5);
    for (uint32_t i = 0; i < 5; i++) {
        ck_assert_int_eq(actors[i].error, 0);
        ck_assert_uint_eq(actors[i].value, 42);
    }
    rig_drop(&rig, range.at, 0, 1);
    rig_close(&rig);
}
END_TEST

static int fail_page_1(struct scene *scene, const struct hurdmm_fault *fault)
{
    const struct range *range = scene->data;
    if ((fault->address - range->at) / scene->rig->page == 1)
        return EIO;
    return resolve_in_order(scene, fault);
}

START_TEST(an_error_reaches_the_thread_that_faulted_alone)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct range range = {.at = rig_reserve(&rig, 3), .rights = READ_WRITE};
    struct scene scene = {.rig = &rig, .resolve = fail_page_1, .data = &range};
    struct actor actors[3] = {{.body = store_own_page}};
    rig_fill(&rig, 0, 3, 0);
    scene_run(&scene, actors, 3);
    ck_assert_int_eq(actors[0].error, 0);
    ck_assert_int_ne(actors[1].error, 0);
    ck_assert_int_eq(actors[2].error, 0);
    EXPECT_FAULT(&rig, range.at + rig.page, HURDMM_READ);
    rig_drop(&rig, range.at, 0, 3);
    rig_close(&rig);
}
END_TEST

static int resolve_second_time(struct scene *scene,
                               const struct hurdmm_fault *fault)
{
    if (atomic_load(&scene->fault_count) < 3)
        return 0;
    return resolve_in_order(scene, fault);
}

START_TEST(an_unresolved_fault_comes_again)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct range range = {.at = rig_reserve(&rig, 1), .rights = HURDMM_READ};
    struct scene scene = {
        .rig = &rig, .resolve = resolve_second_time, .data = &range};
    struct actor actor = {.body = load_same_page};
    rig_fill(&rig, 0, 1, 42);
    scene_run(&scene, &actor, 1);
    ck_assert_uint_eq(atomic_load(&scene.fault_count), 3);
    ck_assert_uint_eq(actor.value, 42);
    rig_drop(&rig, range.at, 0, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(a_store_to_a_page_lent_to_read_is_resolved)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct range range = {.at = rig_reserve(&rig, 1), .rights = READ_WRITE};
    struct scene scene = {
        .rig = &rig, .resolve = resolve_in_order, .data = &range};
    struct actor actor = {.body = store_own_page};
    rig_fill(&rig, 0, 1, 42);
    rig_lend(&rig, range.at, 0, 1, HURDMM_READ);
    scene_run(&scene, &actor, 1);
    ck_assert_int_eq(actor.error, 0);
    ck_assert_uint_eq(atomic_load(&scene.fault_count), 1);
    ck_assert_uint_eq(scene.faults[0].access, HURDMM_WRITE);
    EXPECT_LOAD(&rig, range.at, 1);
    rig_drop(&rig, range.at, 0, 1);
    rig_close(&rig);
}
END_TEST

START_TEST(fault_wait_times_out)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct hurdmm_fault fault;
    size_t count = 0;
    uint64_t start = rig.ops->clock(rig.port);
    ck_assert_int_eq(rig.ops->fault_wait(rig.port, &fault, 1, 0, &count),
                     ETIMEDOUT);
    ck_assert_int_eq(rig.ops->fault_wait(rig.port, &fault, 1, 3 * MS, &count),
                     ETIMEDOUT);
    ck_assert_uint_ge(rig.ops->clock(rig.port) - start, 2 * MS);
    rig_close(&rig);
}
END_TEST

/* Tests that take faults themselves. */

struct manual {
    struct rig *rig;
    uintptr_t at;
    atomic_uint left; /* accesses that have not ended */
    int errors[4];
    unsigned ended[4]; /* in which place */
    atomic_uint places;
    struct hurdmm_fault faults[4];
    int wait_error;
    bool waited;
};

struct manual_actor {
    struct manual *manual;
    unsigned number;
};

static void manual_load(void *argument)
{
    struct manual_actor *actor = argument;
    struct manual *manual = actor->manual;
    struct rig *rig = manual->rig;
    uint8_t value;
    manual->errors[actor->number] = rig->target->load(
        rig->port, NULL, manual->at + actor->number * rig->page, &value);
    manual->ended[actor->number] = atomic_fetch_add(&manual->places, 1);
    atomic_fetch_sub(&manual->left, 1);
}

/* Takes three faults before it ends any, and ends the last first, waiting each
 * time until the access has ended. */
static void end_in_reverse(void *argument)
{
    struct manual *manual = argument;
    struct rig *rig = manual->rig;
    size_t taken = 0;
    while (taken < 3) {
        size_t count = 0;
        manual->wait_error =
            rig->ops->fault_wait(rig->port, &manual->faults[taken], 3 - taken,
                                 HURDMM_FOREVER, &count);
        if (manual->wait_error != 0)
            return;
        taken += count;
    }
    for (unsigned i = 3; i-- > 0;) {
        rig->ops->fault_done(rig->port, &manual->faults[i], EFAULT);
        while (atomic_load(&manual->left) > i)
            rig->target->sleep(rig->port, MS / 10);
    }
}

START_TEST(faults_end_in_any_order)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct manual manual = {.rig = &rig, .at = rig_reserve(&rig, 3)};
    struct manual_actor actors[3] = {{&manual, 0}, {&manual, 1}, {&manual, 2}};
    void (*bodies[])(void *) = {end_in_reverse, manual_load, manual_load,
                                manual_load};
    void *arguments[] = {&manual, &actors[0], &actors[1], &actors[2]};
    atomic_store(&manual.left, 3);
    ck_assert_int_eq(rig.target->run(rig.port, bodies, arguments, 4), 0);
    ck_assert_int_eq(manual.wait_error, 0);
    for (unsigned i = 0; i < 3; i++) {
        size_t page = (manual.faults[i].address - manual.at) / rig.page;
        ck_assert_uint_lt(page, 3);
        ck_assert_uint_eq(manual.ended[page], 2 - i);
        ck_assert_int_ne(manual.errors[page], 0);
    }
    rig_release(&rig, NULL, manual.at, 3);
    rig_close(&rig);
}
END_TEST

/* Takes one fault of two, stops, and ends the one it took. */
static void stop_between(void *argument)
{
    struct manual *manual = argument;
    struct rig *rig = manual->rig;
    size_t count = 0;
    manual->wait_error = rig->ops->fault_wait(rig->port, manual->faults, 1,
                                              HURDMM_FOREVER, &count);
    if (manual->wait_error != 0)
        return;
    rig->target->sleep(rig->port, 2 * MS);
    rig->ops->fault_stop(rig->port);
    while (atomic_load(&manual->left) > 1)
        rig->target->sleep(rig->port, MS / 10);
    rig->ops->fault_done(rig->port, &manual->faults[0], EFAULT);
}

START_TEST(fault_stop_fails_what_is_not_taken)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct manual manual = {.rig = &rig, .at = rig_reserve(&rig, 2)};
    struct manual_actor actors[2] = {{&manual, 0}, {&manual, 1}};
    void (*bodies[])(void *) = {stop_between, manual_load, manual_load};
    void *arguments[] = {&manual, &actors[0], &actors[1]};
    atomic_store(&manual.left, 2);
    ck_assert_int_eq(rig.target->run(rig.port, bodies, arguments, 3), 0);
    ck_assert_int_eq(manual.wait_error, 0);
    size_t taken = (manual.faults[0].address - manual.at) / rig.page;
    ck_assert_int_ne(manual.errors[0], 0);
    ck_assert_int_ne(manual.errors[1], 0);
    ck_assert_uint_lt(taken, 2);
    ck_assert_uint_eq(manual.ended[taken], 1);
    uint8_t value;
    ck_assert_int_ne(rig.target->load(rig.port, NULL, manual.at, &value), 0);
    rig_release(&rig, NULL, manual.at, 2);
    rig_close(&rig);
}
END_TEST

static void wait_for_stop(void *argument)
{
    struct manual *manual = argument;
    struct rig *rig = manual->rig;
    size_t count = 0;
    manual->wait_error = rig->ops->fault_wait(rig->port, manual->faults, 1,
                                              HURDMM_FOREVER, &count);
    manual->waited = true;
}

static void stop_later(void *argument)
{
    struct manual *manual = argument;
    manual->rig->target->sleep(manual->rig->port, MS);
    manual->rig->ops->fault_stop(manual->rig->port);
}

START_TEST(fault_stop_ends_waits_now_and_later)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct manual one = {.rig = &rig};
    struct manual two = {.rig = &rig};
    void (*bodies[])(void *) = {wait_for_stop, wait_for_stop, stop_later};
    void *arguments[] = {&one, &two, &one};
    ck_assert_int_eq(rig.target->run(rig.port, bodies, arguments, 3), 0);
    ck_assert(one.waited && two.waited);
    ck_assert_int_eq(one.wait_error, ECANCELED);
    ck_assert_int_eq(two.wait_error, ECANCELED);
    size_t count = 0;
    ck_assert_int_eq(
        rig.ops->fault_wait(rig.port, one.faults, 1, HURDMM_FOREVER, &count),
        ECANCELED);
    ck_assert_int_eq(rig.ops->fault_wait(rig.port, one.faults, 1, 0, &count),
                     ECANCELED);
    rig_close(&rig);
}
END_TEST

/* Accesses that race with lend and reclaim. */

#define REPLACEMENTS 200

static void replace_again_and_again(struct actor *actor)
{
    struct rig *rig = actor->scene->rig;
    struct range *range = actor->scene->data;
    for (uint32_t i = 0; i < REPLACEMENTS; i++) {
        rig_lend(rig, range->at, 2 * (i & 1), 2, HURDMM_READ);
        if (i % 16 == 0)
            rig->target->sleep(rig->port, MS / 10);
    }
    atomic_store(&range->stop, 1);
}

static void load_again_and_again(struct actor *actor)
{
    struct rig *rig = actor->scene->rig;
    struct range *range = actor->scene->data;
    size_t last = 2 * rig->page - 1;
    for (uint32_t i = 0; atomic_load(&range->stop) == 0; i++) {
        uint8_t value = 0;
        size_t at = (i * 37) & last;
        if (rig->target->load(rig->port, NULL, range->at + at, &value) != 0)
            atomic_fetch_add(&actor->scene->errors, 1);
        else if (value != 10 + at / rig->page && value != 12 + at / rig->page)
            atomic_fetch_add(&actor->scene->errors, 1);
    }
}

START_TEST(replacing_a_page_is_atomic)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL) || !rig_has(&rig, HURDMM_PORT_ALIAS))
        return;
    struct range range = {.at = rig_reserve(&rig, 2)};
    struct scene scene = {.rig = &rig, .resolve = refuse, .data = &range};
    struct actor actors[3] = {{.body = replace_again_and_again},
                              {.body = load_again_and_again},
                              {.body = load_again_and_again}};
    rig_fill(&rig, 0, 4, 10);
    rig_lend(&rig, range.at, 0, 2, HURDMM_READ);
    scene_run(&scene, actors, 3);
    ck_assert_uint_eq(atomic_load(&scene.fault_count), 0);
    uint32_t left = 2 * ((REPLACEMENTS - 1) & 1);
    rig_drop(&rig, range.at, left, 2);
    rig_close(&rig);
}
END_TEST

#define TAKES 60

/* Frame 0 is lent to write whenever it is not being looked at. */
static void take_and_look(struct actor *actor)
{
    struct rig *rig = actor->scene->rig;
    struct range *range = actor->scene->data;
    uint8_t *one = malloc(2 * rig->page);
    uint8_t *two = one + rig->page;
    for (uint32_t i = 0; i < TAKES; i++) {
        uintptr_t cookie = rig_enter(rig);
        struct hurdmm_reclaim row = {
            NULL, range->at, 0, 1, i % 2 == 0 ? HURDMM_READ : HURDMM_NONE,
            NULL, 0};
        size_t done;
        int error = rig->ops->reclaim(rig->port, &row, 1, &done);
        error |= rig->ops->frame_read(rig->port, 0, NULL, range->at, one);
        for (int j = 0; j < 20; j++)
            rig->ops->clock(rig->port);
        error |= rig->ops->frame_read(rig->port, 0, NULL, range->at, two);
        rig_leave(rig, cookie);
        if (error != 0 || memcmp(one, two, rig->page) != 0)
            atomic_fetch_add(&actor->scene->errors, 1);
        rig->target->sleep(rig->port, MS / 20);
    }
    free(one);
    atomic_store(&range->stop, 1);
}

static void add_again_and_again(struct actor *actor)
{
    struct rig *rig = actor->scene->rig;
    struct range *range = actor->scene->data;
    while (atomic_load(&range->stop) == 0) {
        if (rig->target->add(rig->port, NULL, range->at + 8, 1) != 0)
            atomic_fetch_add(&actor->scene->errors, 1);
        else
            actor->value++;
    }
}

START_TEST(no_store_slips_through_after_reclaim)
{
    struct rig rig;
    if (!rig_open(&rig, _i, NULL, NULL))
        return;
    struct range range = {.at = rig_reserve(&rig, 1), .rights = READ_WRITE};
    struct scene scene = {
        .rig = &rig, .resolve = resolve_in_order, .data = &range};
    struct actor actors[3] = {{.body = take_and_look},
                              {.body = add_again_and_again},
                              {.body = add_again_and_again}};
    rig_fill(&rig, 0, 1, 0);
    scene_run(&scene, actors, 3);
    rig_drop(&rig, range.at, 0, 1);
    uint64_t sum;
    memcpy(&sum, rig_window(&rig, 0, 1) + 8, sizeof sum);
    ck_assert_uint_eq(sum, actors[1].value + actors[2].value);
    rig_close(&rig);
}
END_TEST

/* Inline faults. */

struct in_place {
    struct rig rig;
    uintptr_t at;
    atomic_uint count;
    atomic_uint strange; /* on another thread than said */
    int error;
};

static int resolve_in_place(void *client, const struct hurdmm_fault *fault)
{
    struct in_place *place = client;
    struct rig *rig = &place->rig;
    uint32_t i = (uint32_t)((fault->address - place->at) / rig->page);
    uint32_t done = 0;
    atomic_fetch_add(&place->count, 1);
    if (rig->ops->thread_self(rig->port) != fault->thread)
        atomic_fetch_add(&place->strange, 1);
    if (place->error != 0)
        return place->error;
    return rig_lend_in(rig, NULL, place->at + i * rig->page, i, 1, READ_WRITE,
                       &done);
}

static void store_three_pages(void *argument)
{
    struct in_place *place = argument;
    struct rig *rig = &place->rig;
    for (uint32_t i = 0; i < 3; i++)
        if (rig->target->store(rig->port, NULL, place->at + i * rig->page,
                               (uint8_t)i) != 0)
            atomic_fetch_add(&place->strange, 1);
}

START_TEST(a_fault_is_resolved_on_the_thread_that_faulted)
{
    struct in_place place = {.count = 0};
    struct rig *rig = &place.rig;
    if (!rig_open(rig, _i, resolve_in_place, &place) ||
        !rig_has(rig, HURDMM_PORT_INLINE))
        return;
    place.at = rig_reserve(rig, 3);
    rig_fill(rig, 0, 3, 9);
    void (*bodies[])(void *) = {store_three_pages, store_three_pages};
    void *arguments[] = {&place, &place};
    ck_assert_int_eq(rig->target->run(rig->port, bodies, arguments, 2), 0);
    ck_assert_uint_ge(atomic_load(&place.count), 3);
    ck_assert_uint_eq(atomic_load(&place.strange), 0);
    rig_drop(rig, place.at, 0, 3);
    ck_assert_uint_eq(rig_window(rig, 2, 1)[0], 2);
    rig_close(rig);
}
END_TEST

START_TEST(a_fault_fails_on_the_thread_that_faulted)
{
    struct in_place place = {.error = EIO};
    struct rig *rig = &place.rig;
    if (!rig_open(rig, _i, resolve_in_place, &place) ||
        !rig_has(rig, HURDMM_PORT_INLINE))
        return;
    place.at = rig_reserve(rig, 1);
    uint8_t value;
    ck_assert_int_ne(rig->target->load(rig->port, NULL, place.at, &value), 0);
    ck_assert_uint_eq(atomic_load(&place.count), 1);
    rig_release(rig, NULL, place.at, 1);
    rig_close(rig);
}
END_TEST

TCase *fault_case(int count)
{
    TCase *tcase = tcase_create("faults");
    tcase_set_timeout(tcase, 20);
    tcase_add_loop_test(tcase, several_threads_fault_at_once_and_all_go_on, 0,
                        count);
    tcase_add_loop_test(tcase, several_threads_fault_on_one_page, 0, count);
    tcase_add_loop_test(tcase, an_error_reaches_the_thread_that_faulted_alone,
                        0, count);
    tcase_add_loop_test(tcase, an_unresolved_fault_comes_again, 0, count);
    tcase_add_loop_test(tcase, a_store_to_a_page_lent_to_read_is_resolved, 0,
                        count);
    tcase_add_loop_test(tcase, fault_wait_times_out, 0, count);
    tcase_add_loop_test(tcase, faults_end_in_any_order, 0, count);
    tcase_add_loop_test(tcase, fault_stop_fails_what_is_not_taken, 0, count);
    tcase_add_loop_test(tcase, fault_stop_ends_waits_now_and_later, 0, count);
    tcase_add_loop_test(tcase, replacing_a_page_is_atomic, 0, count);
    tcase_add_loop_test(tcase, no_store_slips_through_after_reclaim, 0, count);
    tcase_add_loop_test(tcase, a_fault_is_resolved_on_the_thread_that_faulted,
                        0, count);
    tcase_add_loop_test(tcase, a_fault_fails_on_the_thread_that_faulted, 0,
                        count);
    return tcase;
}
