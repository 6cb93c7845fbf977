/* SPDX-License-Identifier: MIT */
/* The rig, and running the suite over the targets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/port/rig.h"
#include "tests/support/runner.h"

#define PAGER_NS MS

static const struct conformance_target *const *all;

bool rig_open(struct rig *rig, int i,
              int (*fault)(void *client, const struct hurdmm_fault *fault),
              void *client)
{
    memset(rig, 0, sizeof *rig);
    rig->target = all[i];
    int error = rig->target->create(&rig->port, CONFORMANCE_FRAMES);
    if (error == ENOTSUP) {
        test_skip("the machine does not have this port");
        return false;
    }
    ck_assert_int_eq(error, 0);
    rig->ops = rig->port->ops;
    struct hurdmm_port_config config = {
        .struct_size = sizeof config,
        .frames = CONFORMANCE_FRAMES,
        .fault = fault,
        .client = client,
    };
    rig->info.struct_size = sizeof rig->info;
    ck_assert_int_eq(rig->ops->open(rig->port, &config, &rig->info), 0);
    rig->page = rig->info.page_size;
    if (fault != NULL && rig->info.features & HURDMM_PORT_INLINE)
        rig->reserve_flags = HURDMM_RESERVE_INLINE;
    for (unsigned bank = 0; bank < rig->info.bank_count; bank++)
        rig->frames += rig->info.banks[bank].frames;
    ck_assert_uint_ge(rig->frames, FRAMES);
    return true;
}

void rig_close(struct rig *rig)
{
    rig->ops->close(rig->port);
    if (rig->target->complaint != NULL) {
        const char *complaint = rig->target->complaint(rig->port);
        ck_assert_msg(complaint == NULL, "%s: %s", rig->target->name,
                      complaint);
    }
    rig->target->destroy(rig->port);
}

bool rig_has(struct rig *rig, unsigned features)
{
    if ((rig->info.features & features) == features)
        return true;
    rig_close(rig);
    return false;
}

/* Drepper's second mutex, on park and wake. */
void lock_take(struct rig *rig, struct lock *lock)
{
    uint32_t seen = 0;
    if (__atomic_compare_exchange_n(&lock->word, &seen, 1, false,
                                    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE) != 0)
        rig->ops->park(rig->port, &lock->word, 2, HURDMM_FOREVER);
}

void lock_give(struct rig *rig, struct lock *lock)
{
    if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2)
        rig->ops->wake(rig->port, &lock->word, 1);
}

uintptr_t rig_enter(struct rig *rig)
{
    uintptr_t cookie;
    ck_assert_int_eq(rig->ops->critical_enter(rig->port, &cookie), 0);
    lock_take(rig, &rig->lock);
    return cookie;
}

void rig_leave(struct rig *rig, uintptr_t cookie)
{
    lock_give(rig, &rig->lock);
    rig->ops->critical_leave(rig->port, cookie);
}

int rig_reserve_at(struct rig *rig, void *space, uintptr_t *address,
                   size_t size, unsigned flags)
{
    uintptr_t cookie = rig_enter(rig);
    int error = rig->ops->reserve(rig->port, space, address, size,
                                  flags | rig->reserve_flags);
    rig_leave(rig, cookie);
    return error;
}

uintptr_t rig_reserve(struct rig *rig, uint32_t pages)
{
    uintptr_t address = 0;
    ck_assert_int_eq(rig_reserve_at(rig, NULL, &address, pages * rig->page, 0),
                     0);
    ck_assert_uint_eq(address & (rig->page - 1), 0);
    return address;
}

void rig_release(struct rig *rig, void *space, uintptr_t address,
                 uint32_t pages)
{
    uintptr_t cookie = rig_enter(rig);
    rig->ops->release(rig->port, space, address, pages * rig->page);
    rig_leave(rig, cookie);
}

int rig_lend_in(struct rig *rig, void *space, uintptr_t address, uint32_t frame,
                uint32_t count, unsigned rights, uint32_t *done)
{
    uintptr_t cookie = rig_enter(rig);
    int error =
        rig->ops->lend(rig->port, space, address, frame, count, rights, done);
    rig_leave(rig, cookie);
    return error;
}

void rig_lend(struct rig *rig, uintptr_t address, uint32_t frame,
              uint32_t count, unsigned rights)
{
    uint32_t done = 0;
    ck_assert_int_eq(
        rig_lend_in(rig, NULL, address, frame, count, rights, &done), 0);
    ck_assert_uint_eq(done, count);
}

int rig_reclaim_rows(struct rig *rig, const struct hurdmm_reclaim *rows,
                     size_t count, size_t *done)
{
    uintptr_t cookie = rig_enter(rig);
    int error = rig->ops->reclaim(rig->port, rows, count, done);
    rig_leave(rig, cookie);
    return error;
}

void rig_reclaim(struct rig *rig, uintptr_t address, uint32_t frame,
                 uint32_t count, unsigned rights)
{
    struct hurdmm_reclaim row = {
        .address = address,
        .frame = frame,
        .count = count,
        .rights = rights,
    };
    size_t done = 0;
    ck_assert_int_eq(rig_reclaim_rows(rig, &row, 1, &done), 0);
    ck_assert_uint_eq(done, 1);
}

void rig_drop(struct rig *rig, uintptr_t address, uint32_t frame,
              uint32_t pages)
{
    rig_reclaim(rig, address, frame, pages, HURDMM_NONE);
    rig_release(rig, NULL, address, pages);
}

uint8_t *rig_window(struct rig *rig, uint32_t frame, uint32_t count)
{
    void *window = NULL;
    uintptr_t cookie = rig_enter(rig);
    int error = rig->ops->window(rig->port, frame, count, &window);
    rig_leave(rig, cookie);
    ck_assert_int_eq(error, 0);
    ck_assert_ptr_nonnull(window);
    return window;
}

void rig_fill(struct rig *rig, uint32_t frame, uint32_t count, uint8_t byte)
{
    uint8_t *window = rig_window(rig, frame, count);
    for (uint32_t i = 0; i < count; i++)
        memset(window + i * rig->page, (int)(uint8_t)(byte + i), rig->page);
}

uint8_t rig_byte(struct rig *rig, uint32_t frame, uintptr_t address)
{
    uint8_t *copy = malloc(rig->page);
    ck_assert_ptr_nonnull(copy);
    uintptr_t cookie = rig_enter(rig);
    int error = rig->ops->frame_read(rig->port, frame, NULL, address, copy);
    rig_leave(rig, cookie);
    ck_assert_int_eq(error, 0);
    ck_assert_msg(memcmp(copy, copy + 1, rig->page - 1) == 0,
                  "the bytes of frame %u differ", (unsigned)frame);
    uint8_t byte = copy[0];
    free(copy);
    return byte;
}

int refuse(struct scene *scene, const struct hurdmm_fault *fault)
{
    (void)scene;
    (void)fault;
    return EFAULT;
}

static void answer(struct scene *scene, const struct hurdmm_fault *fault)
{
    unsigned number = atomic_fetch_add(&scene->fault_count, 1);
    if (number < SCENE_FAULTS)
        scene->faults[number] = *fault;
    int error = scene->resolve(scene, fault);
    scene->rig->ops->fault_done(scene->rig->port, fault, error);
}

static void pager(void *argument)
{
    struct scene *scene = argument;
    struct rig *rig = scene->rig;
    struct hurdmm_fault faults[4];
    while (atomic_load(&scene->running) > 0) {
        size_t count = 0;
        int error =
            rig->ops->fault_wait(rig->port, faults, 4, PAGER_NS, &count);
        if (error != 0 && error != ETIMEDOUT) {
            scene->wait_error = error;
            return;
        }
        for (size_t i = 0; error == 0 && i < count; i++)
            answer(scene, &faults[i]);
    }
}

static void act(void *argument)
{
    struct actor *actor = argument;
    struct rig *rig = actor->scene->rig;
    actor->thread = rig->ops->thread_self(rig->port);
    actor->body(actor);
    atomic_fetch_sub(&actor->scene->running, 1);
}

void scene_run(struct scene *scene, struct actor *actors, unsigned count)
{
    struct rig *rig = scene->rig;
    void (*bodies[SCENE_BODIES + 1])(void *) = {pager};
    void *arguments[SCENE_BODIES + 1] = {scene};
    ck_assert_uint_le(count, SCENE_BODIES);
    for (unsigned i = 0; i < count; i++) {
        actors[i].scene = scene;
        actors[i].number = i;
        if (actors[i].body == NULL)
            actors[i].body = actors[0].body;
        bodies[i + 1] = act;
        arguments[i + 1] = &actors[i];
    }
    atomic_store(&scene->running, count);
    ck_assert_int_eq(rig->target->run(rig->port, bodies, arguments, count + 1),
                     0);
    ck_assert_uint_eq(atomic_load(&scene->errors), 0);
}

struct touch {
    void *space;
    uintptr_t address;
    unsigned access;
    uint8_t value;
};

static void touch(struct actor *actor)
{
    const struct conformance_target *target = actor->scene->rig->target;
    struct hurdmm_port *port = actor->scene->rig->port;
    struct touch *touch = actor->scene->data;
    if (touch->access == HURDMM_WRITE)
        actor->error =
            target->store(port, touch->space, touch->address, touch->value);
    else
        actor->error =
            target->load(port, touch->space, touch->address, &touch->value);
}

struct probe probe(struct rig *rig, void *space, uintptr_t address,
                   unsigned access, uint8_t value)
{
    struct touch what = {space, address, access, value};
    struct scene scene = {.rig = rig, .resolve = refuse, .data = &what};
    struct actor actor = {.body = touch};
    scene_run(&scene, &actor, 1);
    ck_assert_int_eq(scene.wait_error, 0);
    return (struct probe){
        .error = actor.error,
        .value = what.value,
        .faults = atomic_load(&scene.fault_count),
        .fault = scene.faults[0],
        .thread = actor.thread,
    };
}

void expect_load(int line, struct rig *rig, void *space, uintptr_t address,
                 uint8_t byte)
{
    struct probe result =
        probe(rig, space, address, HURDMM_READ, (uint8_t)~byte);
    CHECK_AT(line, result.error == 0);
    CHECK_AT(line, result.faults == 0);
    CHECK_AT(line, result.value == byte);
}

void expect_store(int line, struct rig *rig, void *space, uintptr_t address,
                  uint8_t byte)
{
    struct probe result = probe(rig, space, address, HURDMM_WRITE, byte);
    CHECK_AT(line, result.error == 0);
    CHECK_AT(line, result.faults == 0);
}

void expect_fault(int line, struct rig *rig, void *space, uintptr_t address,
                  unsigned access)
{
    struct probe result = probe(rig, space, address, access, 0);
    unsigned told = result.fault.access;
    if (rig->target->reads_first && access == HURDMM_WRITE &&
        told == HURDMM_READ)
        told = HURDMM_WRITE;
    CHECK_AT(line, result.error != 0);
    CHECK_AT(line, result.faults == 1);
    CHECK_AT(line, told == access);
    CHECK_AT(line, result.fault.space == space);
    CHECK_AT(line, result.fault.thread == result.thread);
    CHECK_AT(line, (result.fault.address & ~(rig->page - 1)) ==
                       (address & ~(rig->page - 1)));
}

/* On the test's first thread: a new thread's stack could lie just there. */
void expect_nobody(int line, struct rig *rig, uintptr_t address)
{
    uint8_t value;
    struct hurdmm_fault fault;
    size_t count;
    CHECK_AT(line, rig->target->load(rig->port, NULL, address, &value) != 0);
    CHECK_AT(line, rig->ops->fault_wait(rig->port, &fault, 1, 0, &count) ==
                       ETIMEDOUT);
}

int conformance_main(const struct conformance_target *const targets[],
                     int count)
{
    all = targets;
    Suite *suite = suite_create("port");
    suite_add_tcase(suite, memory_case(count));
    suite_add_tcase(suite, lending_case(count));
    suite_add_tcase(suite, fault_case(count));
    suite_add_tcase(suite, thread_case(count));
    char name[80];
    snprintf(name, sizeof name, "port-%s", targets[0]->name);
    return run_suites(name, &suite, 1);
}
