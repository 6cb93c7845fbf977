/* SPDX-License-Identifier: MIT */
/* Faults: who is asked, who waits, and what the access ends with. */
#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;

static void begin(void)
{
    world_begin(&world, NULL);
}

static void end(void)
{
    world_end(&world);
}

START_TEST(a_load_reads_what_the_store_has)
{
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    ck_assert_uint_eq(disk->ins, 0);
    world_expect(&world, at + 5, world_byte(5));
    world_expect(&world, at + 2 * world.page, world_byte(2 * world.page));
    ck_assert_uint_eq(disk->ins, 2);
    ck_assert_uint_eq(world_stats(&world).faults_fill, 2);
}
END_TEST

START_TEST(a_page_is_read_once)
{
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    for (unsigned i = 0; i < 10; i++)
        world_expect(&world, at + i, world_byte(i));
    ck_assert_uint_eq(disk->ins, 1);
    ck_assert_uint_eq(world_stats(&world).faults, 1);
}
END_TEST

START_TEST(offsets_of_a_region_count_from_its_binding)
{
    struct disk *disk = world_disk(&world, 16 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 3 * world.page, 4 * world.page);
    world_expect(&world, at, world_byte(3 * world.page));
    world_expect(&world, at + 4 * world.page - 1,
                 world_byte(7 * world.page - 1));
}
END_TEST

START_TEST(a_store_is_seen_by_a_later_load)
{
    struct disk *disk = world_disk(&world, 2 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 2 * world.page);
    world_put(&world, at + 7, 0x5a);
    world_expect(&world, at + 7, 0x5a);
    world_expect(&world, at + 8, world_byte(8));
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_uint_ne(world_state(disk, 0) & HURDMM_STATE_DIRTY, 0);
}
END_TEST

/* A machine whose faults are tried where they come in, and a manager whose host
 * serves none: what is answered was answered at once. */
static void begin_soft(unsigned manager_flags)
{
    const struct world_options options = {.machine_flags = HURDMM_SIM_SOFT,
                                          .manager_flags = manager_flags};
    world_end(&world);
    world_begin(&world, &options);
}

static struct world_access access_to(uintptr_t at, bool write)
{
    struct world_access access = {
        .world = &world, .address = at, .write = write, .value = 99};
    return access;
}

START_TEST(a_soft_fault_needs_no_pager)
{
    begin_soft(HURDMM_NO_THREADS);
    struct disk *disk = world_disk_of(&world, 2 * world.page, 0, 0, DISK_PLAIN);
    uintptr_t at = world_bind(&world, disk, 0, 2 * world.page);
    size_t done;
    ck_assert_int_eq(
        hurdmm_store_populate(disk->store, 0, 2 * world.page, &done), 0);
    struct world_access load = access_to(at, false);
    struct world_access store = access_to(at + world.page, true);
    world_access(&load);
    world_access(&store);
    hurdmm_sim_settle(world.port);
    ck_assert(load.done && store.done);
    ck_assert_uint_eq(world_stats(&world).faults_soft, 2);
    ck_assert_uint_eq(world_state(disk, 0) & HURDMM_STATE_DIRTY, 0);
    ck_assert_uint_ne(world_state(disk, world.page) & HURDMM_STATE_DIRTY, 0);
}
END_TEST

START_TEST(what_is_not_there_waits_for_a_pager)
{
    begin_soft(HURDMM_NO_THREADS);
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    size_t served;
    struct world_access load = access_to(at, false);
    world_access(&load);
    hurdmm_sim_settle(world.port);
    ck_assert(!load.done);
    ck_assert_uint_eq(world_stats(&world).faults, 0);
    ck_assert_int_eq(hurdmm_process(world.manager, 1000, &served), 0);
    hurdmm_sim_settle(world.port);
    ck_assert(load.done);
    ck_assert_uint_eq(served, 1);
}
END_TEST

START_TEST(a_first_write_above_the_limit_is_not_soft)
{
    const struct world_options options = {.machine_flags = HURDMM_SIM_SOFT,
                                          .manager_flags = HURDMM_NO_THREADS,
                                          .dirty_pages = 1};
    world_end(&world);
    world_begin(&world, &options);
    struct disk *disk = world_disk_of(&world, 2 * world.page, 0, 0, DISK_PLAIN);
    uintptr_t at = world_bind(&world, disk, 0, 2 * world.page);
    size_t done;
    ck_assert_int_eq(
        hurdmm_store_populate(disk->store, 0, 2 * world.page, &done), 0);
    struct world_access first = access_to(at, true);
    struct world_access second = access_to(at + world.page, true);
    world_access(&first);
    hurdmm_sim_settle(world.port);
    world_access(&second);
    hurdmm_sim_settle(world.port);
    ck_assert(first.done && !second.done);
    while (!second.done)
        (void)hurdmm_process(world.manager, 1000, NULL);
}
END_TEST

START_TEST(a_soft_fault_may_not_do_what_its_region_forbids)
{
    begin_soft(0);
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    world_expect(&world, at, world_byte(0));
    ck_assert_int_eq(hurdmm_protect(world.space, at, world.page, HURDMM_READ),
                     0);
    struct world_access store = access_to(at, true);
    world_access(&store);
    world_run(&world);
    ck_assert(store.done);
    ck_assert_int_eq(store.error, EACCES);
}
END_TEST

/* A page that came as a copy is dirty, but its store was not asked for room. */
START_TEST(a_soft_write_asks_for_room_too)
{
    begin_soft(0);
    struct disk *from = world_disk(&world, world.page, 0);
    struct disk *to = world_disk(&world, world.page, HURDMM_STORE_VOLATILE);
    uintptr_t at_from = world_bind(&world, from, 0, world.page);
    uintptr_t at = world_bind(&world, to, 0, world.page);
    uint64_t done;
    ck_assert_int_eq(hurdmm_container_copy(hurdmm_store_container(to->store), 0,
                                           hurdmm_store_container(from->store),
                                           0, world.page, 0, &done),
                     0);
    world_put(&world, at_from, 1); /* the copy gets a frame of its own */
    world_expect(&world, at, world_byte(0));
    ck_assert_uint_ne(world_state(to, 0) & HURDMM_STATE_DIRTY, 0);
    ck_assert_uint_eq(to->unlocks, 0);
    world_put(&world, at, 2);
    ck_assert_uint_eq(to->unlocks, 1);
}
END_TEST

static void join_one_fill(enum disk_mode mode)
{
    struct disk *disk =
        world_disk_of(&world, world.page, 0, HURDMM_STORE_SHARED, mode);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    struct world_access access[5];
    disk->hold_in = true;
    for (unsigned i = 0; i < 5; i++) {
        access[i] = (struct world_access){
            .world = &world, .address = at + i, .write = i == 4, .value = 99};
        world_access(&access[i]);
    }
    hurdmm_sim_settle(world.port);
    ck_assert_uint_eq(disk->ins, 1);
    for (unsigned i = 0; i < 5; i++)
        ck_assert(!access[i].done);
    disk->hold_in = false;
    world_run(&world);
    ck_assert_uint_eq(disk->ins, 1);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert(access[i].done);
        ck_assert_int_eq(access[i].error, 0);
        ck_assert_uint_eq(access[i].value, i == 4 ? 99 : world_byte(i));
    }
    ck_assert_uint_ge(world_stats(&world).faults_join, 3);
}

START_TEST(waiters_join_one_fill)
{
    join_one_fill(DISK_SIMPLE);
}
END_TEST

START_TEST(waiters_join_one_request)
{
    join_one_fill(DISK_FULL_LATER);
}
END_TEST

START_TEST(an_error_reaches_all_waiters)
{
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    struct world_access access[4];
    disk->hold_in = true;
    disk_fail(disk, DISK_IN, 1, EIO, false);
    for (unsigned i = 0; i < 4; i++) {
        access[i] = (struct world_access){.world = &world, .address = at + i};
        world_access(&access[i]);
    }
    hurdmm_sim_settle(world.port);
    disk->hold_in = false;
    world_run(&world);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(access[i].done);
        ck_assert_int_eq(access[i].error, EIO);
    }
    ck_assert_uint_eq(disk->ins, 1);
    ck_assert_uint_ge(world_stats(&world).faults_failed, 4);
}
END_TEST

START_TEST(a_discarded_failure_is_tried_again)
{
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    uint8_t value;
    disk_fail(disk, DISK_IN, 1, EIO, false);
    ck_assert_int_eq(world_load(&world, at, &value), EIO);
    ck_assert_int_eq(hurdmm_store_discard(disk->store, 0, world.page), 0);
    world_expect(&world, at, world_byte(0));
}
END_TEST

START_TEST(the_error_of_the_store_is_the_error_of_the_access)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EACCES};
    struct disk *disk = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    for (unsigned i = 0; i < 4; i++) {
        uint8_t value;
        disk_fail(disk, DISK_IN, 1, errors[i], false);
        ck_assert_int_eq(world_load(&world, at + i * world.page, &value),
                         errors[i]);
    }
}
END_TEST

START_TEST(a_short_read_without_an_error_is_eio)
{
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    uint8_t value;
    disk_fail(disk, DISK_IN, 1, 0, false);
    ck_assert_int_eq(world_load(&world, at, &value), EIO);
}
END_TEST

/* A fault handler that only returns, with 0 or an error. */
static int return_only(struct hurdmm_store *store, void *hook,
                       struct hurdmm_request *request)
{
    const int *error = hook;
    (void)store;
    if (*error == 0)
        hurdmm_request_complete(request, 0);
    return *error;
}

static struct hurdmm_store *make_full(const struct hurdmm_store_ops *ops,
                                      void *hook, uint64_t size)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .hook = hook,
        .size = size,
        .flags = HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED,
    };
    struct hurdmm_store *store = NULL;
    ck_assert_int_eq(hurdmm_store_create(world.manager, ops, &options, &store),
                     0);
    return store;
}

static uintptr_t bind_store(struct hurdmm_store *store, size_t length)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .store = store,
        .length = length,
        .rights = HURDMM_READ,
    };
    uintptr_t address = 0;
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
    return address;
}

START_TEST(a_request_completed_without_data_is_eio)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .fault = return_only};
    int error = 0;
    struct hurdmm_store *store = make_full(&ops, &error, world.page);
    uintptr_t at = bind_store(store, world.page);
    uint8_t value;
    ck_assert_int_eq(world_load(&world, at, &value), EIO);
}
END_TEST

START_TEST(a_handler_may_return_its_error)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .fault = return_only};
    int error = EDQUOT;
    struct hurdmm_store *store = make_full(&ops, &error, world.page);
    uintptr_t at = bind_store(store, world.page);
    uint8_t value;
    ck_assert_int_eq(world_load(&world, at, &value), EDQUOT);
}
END_TEST

static struct hurdmm_request_info seen;

static int note_request(struct hurdmm_store *store, void *hook,
                        struct hurdmm_request *request)
{
    (void)store;
    (void)hook;
    hurdmm_request_get_info(request, &seen);
    memset(hurdmm_request_buffer(request), 0x42, seen.length);
    hurdmm_request_complete(request, 0);
    return 0;
}

START_TEST(a_request_says_who_where_and_why)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .fault = note_request};
    struct hurdmm_store *store = make_full(&ops, NULL, 8 * world.page);
    uintptr_t at = bind_store(store, 8 * world.page);
    world_expect(&world, at + 2 * world.page + 9, 0x42);
    ck_assert_ptr_eq(seen.store, store);
    ck_assert_ptr_eq(seen.space, world.space);
    ck_assert_uint_eq(seen.address / world.page, at / world.page + 2);
    ck_assert_uint_eq(seen.region, at);
    ck_assert_uint_eq(seen.offset, 2 * world.page);
    ck_assert_uint_eq(seen.length, world.page);
    ck_assert_uint_eq(seen.access, HURDMM_READ);
    ck_assert_uint_eq(seen.why, HURDMM_WHY_ABSENT);
    ck_assert_uint_ne(seen.thread, 0);
    uint8_t byte;
    size_t done;
    ck_assert_int_eq(hurdmm_store_read(store, 5 * world.page, &byte, 1, &done),
                     0);
    ck_assert_ptr_null(seen.space);
    ck_assert_uint_eq(seen.address, 0);
    ck_assert_uint_eq(seen.offset, 5 * world.page);
}
END_TEST

/* A store that supplies its data instead of using the buffer. */
static int supply_early(struct hurdmm_store *store, void *hook,
                        struct hurdmm_request *request)
{
    struct hurdmm_request_info info;
    const uint8_t *bytes = hook;
    size_t done;
    hurdmm_request_get_info(request, &info);
    int error = hurdmm_store_supply(store, info.offset, bytes + info.offset,
                                    info.length, &done);
    hurdmm_request_complete(request, error);
    return 0;
}

START_TEST(what_was_supplied_answers_the_request)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .fault = supply_early};
    static uint8_t bytes[4 * 256];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    struct hurdmm_store *store = make_full(&ops, bytes, sizeof bytes);
    uintptr_t at = bind_store(store, sizeof bytes);
    world_expect(&world, at + 300, (uint8_t)(300 * 7));
    world_expect(&world, at, 0);
}
END_TEST

/* A handler that supplies, and completes later from another thread. */
static struct hurdmm_request *held;

static int hold_request(struct hurdmm_store *store, void *hook,
                        struct hurdmm_request *request)
{
    (void)store;
    (void)hook;
    ck_assert_ptr_null(held);
    held = request;
    return 0;
}

START_TEST(a_supply_wakes_before_the_request_is_completed)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .fault = hold_request};
    static uint8_t bytes[256];
    size_t done = 0;
    memset(bytes, 0x77, sizeof bytes);
    held = NULL;
    struct hurdmm_store *store = make_full(&ops, NULL, world.page);
    uintptr_t at = bind_store(store, world.page);
    struct world_access access = {.world = &world, .address = at};
    world_access(&access);
    hurdmm_sim_settle(world.port);
    ck_assert_ptr_nonnull(held);
    ck_assert_int_eq(hurdmm_store_supply(store, 0, bytes, sizeof bytes, &done),
                     0);
    ck_assert_uint_eq(done, sizeof bytes);
    hurdmm_request_complete(held, 0);
    world_run(&world);
    ck_assert_int_eq(access.error, 0);
    ck_assert_uint_eq(access.value, 0x77);
}
END_TEST

START_TEST(a_request_can_be_completed_by_another_thread)
{
    struct disk *disk =
        world_disk_of(&world, 8 * world.page, 0, 0, DISK_FULL_LATER);
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    for (unsigned i = 0; i < 8; i++)
        world_expect(&world, at + i * world.page, world_byte(i * world.page));
    ck_assert_uint_eq(disk->ins, 8);
}
END_TEST

START_TEST(a_slow_fill_does_not_delay_other_pages)
{
    struct disk *slow = world_disk(&world, world.page, 0);
    struct disk *fast = world_disk(&world, world.page, 0);
    uintptr_t at_slow = world_bind(&world, slow, 0, world.page);
    uintptr_t at_fast = world_bind(&world, fast, 0, world.page);
    struct world_access access = {.world = &world, .address = at_slow};
    slow->hold_in = true;
    world_access(&access);
    hurdmm_sim_settle(world.port);
    world_expect(&world, at_fast, world_byte(0));
    ck_assert(!access.done);
    slow->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(access.error, 0);
}
END_TEST

/* ---- Recursion ----------------------------------------------------------- */

static int inner_error;

static int read_own(struct hurdmm_store *store, void *hook, uint64_t offset,
                    void *buffer, size_t length, size_t *done)
{
    uint8_t byte;
    size_t inner = 9;
    (void)hook;
    inner_error = hurdmm_store_read(store, offset, &byte, 1, &inner);
    memset(buffer, 1, length);
    *done = length;
    return 0;
}

START_TEST(a_store_that_needs_itself_gets_edeadlk)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = read_own};
    struct hurdmm_store *store = make_full(&ops, NULL, 4 * world.page);
    uintptr_t at = bind_store(store, 4 * world.page);
    inner_error = -1;
    world_expect(&world, at, 1);
    ck_assert_int_eq(inner_error, EDEADLK);
}
END_TEST

static int verbs_in_callback[6];

static int verb_own(struct hurdmm_store *store, void *hook, uint64_t offset,
                    void *buffer, size_t length, size_t *done)
{
    (void)hook;
    (void)offset;
    verbs_in_callback[0] =
        hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    verbs_in_callback[1] =
        hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    verbs_in_callback[2] = hurdmm_store_destroy(store, 0);
    verbs_in_callback[3] =
        hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    verbs_in_callback[4] = hurdmm_process(world.manager, 0, NULL);
    memset(buffer, 1, length);
    *done = length;
    return 0;
}

START_TEST(a_callback_cannot_wait_for_its_own_store)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = verb_own};
    struct hurdmm_store *store = make_full(&ops, NULL, 4 * world.page);
    uintptr_t at = bind_store(store, 4 * world.page);
    world_expect(&world, at, 1);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_msg(verbs_in_callback[i] == EDEADLK, "call %u ended with %d",
                      i, verbs_in_callback[i]);
}
END_TEST

/* A store made of another store, as a file system of a disk is. */
static int read_lower(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *buffer, size_t length, size_t *done)
{
    struct disk *lower = hook;
    (void)store;
    return hurdmm_store_read(lower->store, offset, buffer, length, done);
}

START_TEST(a_store_may_stand_on_another)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = read_lower};
    struct disk *lower = world_disk(&world, 8 * world.page, 0);
    struct hurdmm_store *store = make_full(&ops, lower, 8 * world.page);
    uintptr_t at = bind_store(store, 8 * world.page);
    for (unsigned i = 0; i < 8; i++)
        world_expect(&world, at + i * world.page, world_byte(i * world.page));
    disk_fail(lower, DISK_IN, 1, EIO, false);
}
END_TEST

struct ring {
    struct hurdmm_store *other;
    int error;
};

static int read_other(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *buffer, size_t length, size_t *done)
{
    struct ring *ring = hook;
    (void)store;
    ring->error = hurdmm_store_read(ring->other, offset, buffer, length, done);
    return ring->error;
}

START_TEST(two_stores_that_need_each_other_get_edeadlk)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = read_other};
    static struct ring rings[2];
    struct hurdmm_store *first = make_full(&ops, &rings[0], world.page);
    struct hurdmm_store *second = make_full(&ops, &rings[1], world.page);
    rings[0].other = second;
    rings[1].other = first;
    uintptr_t at = bind_store(first, world.page);
    uint8_t value;
    ck_assert_int_eq(world_load(&world, at, &value), EDEADLK);
    ck_assert_int_eq(rings[1].error, EDEADLK);
}
END_TEST

/* ---- Nobody's and catchers ---------------------------------------------- */

START_TEST(an_unbound_address_is_nobodys)
{
    struct disk *disk = world_disk(&world, 2 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 2 * world.page);
    uint8_t value;
    ck_assert_int_eq(hurdmm_unbind(world.space, at, world.page), 0);
    ck_assert_int_eq(world_load(&world, at, &value), EFAULT);
    world_expect(&world, at + world.page, world_byte(world.page));
}
END_TEST

START_TEST(a_forbidden_access_is_eacces)
{
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at;
    uint8_t value;
    ck_assert_int_eq(
        world_try_bind(&world, disk, 0, world.page, 0, HURDMM_READ, 0, &at), 0);
    ck_assert_int_eq(world_store(&world, at, 1), EACCES);
    world_expect(&world, at, world_byte(0));
    ck_assert_int_eq(world_store(&world, at, 1), EACCES);
    ck_assert_int_eq(hurdmm_protect(world.space, at, world.page, HURDMM_NONE),
                     0);
    ck_assert_int_eq(world_load(&world, at, &value), EACCES);
}
END_TEST

START_TEST(past_the_end_of_the_store_is_enxio)
{
    struct disk *disk = world_disk(&world, 2 * world.page - 10, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    uint8_t value;
    world_expect(&world, at + 2 * world.page - 11,
                 world_byte(2 * world.page - 11));
    world_expect(&world, at + 2 * world.page - 10, 0);
    world_expect(&world, at + 2 * world.page - 1, 0);
    ck_assert_int_eq(world_load(&world, at + 2 * world.page, &value), ENXIO);
    ck_assert_int_eq(world_store(&world, at + 3 * world.page, 1), ENXIO);
}
END_TEST

struct catching {
    struct hurdmm_catch_info info;
    unsigned calls;
    struct disk *disk; /* bind this one */
    int error;
};

static int catcher(void *hook, const struct hurdmm_catch_info *info)
{
    struct catching *catching = hook;
    catching->info = *info;
    catching->calls++;
    if (catching->disk == NULL)
        return catching->error;
    uintptr_t address;
    return world_try_bind(&world, catching->disk, 0, world.page,
                          info->address - info->address % world.page,
                          HURDMM_READ, HURDMM_BIND_EXACT, &address);
}

/* A range that the port has, with nothing bound. */
static uintptr_t find_hole(size_t length)
{
    struct disk *disk = world_disk(&world, length, 0);
    uintptr_t at = world_bind(&world, disk, 0, length);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, length), 0);
    return at;
}

START_TEST(a_catcher_binds_what_was_missing)
{
    uintptr_t at = find_hole(4 * world.page);
    struct catching catching = {.disk = &world.disks[0]};
    ck_assert_int_eq(
        hurdmm_catch(world.space, at, 4 * world.page, catcher, &catching), 0);
    world_expect(&world, at + world.page + 4, world_byte(4));
    ck_assert_uint_eq(catching.calls, 1);
    ck_assert_ptr_eq(catching.info.space, world.space);
    ck_assert_uint_eq(catching.info.address / world.page, at / world.page + 1);
    ck_assert_uint_eq(catching.info.access, HURDMM_READ);
    ck_assert_int_eq(catching.info.error, EFAULT);
    world_expect(&world, at + world.page + 5, world_byte(5));
    ck_assert_uint_eq(catching.calls, 1);
    ck_assert_int_eq(hurdmm_uncatch(world.space, at), 0);
}
END_TEST

START_TEST(a_catcher_says_the_error)
{
    uintptr_t at = find_hole(2 * world.page);
    struct catching catching = {.error = ENODEV};
    uint8_t value;
    ck_assert_int_eq(
        hurdmm_catch(world.space, at, world.page, catcher, &catching), 0);
    ck_assert_int_eq(world_load(&world, at, &value), ENODEV);
    ck_assert_int_eq(world_load(&world, at + world.page, &value), EFAULT);
    ck_assert_uint_eq(catching.calls, 1);
    ck_assert_int_eq(hurdmm_uncatch(world.space, at), 0);
    ck_assert_int_eq(world_load(&world, at, &value), EFAULT);
}
END_TEST

START_TEST(a_catcher_sees_forbidden_accesses)
{
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at;
    struct catching catching = {.error = EPERM};
    ck_assert_int_eq(
        world_try_bind(&world, disk, 0, world.page, 0, HURDMM_READ, 0, &at), 0);
    ck_assert_int_eq(
        hurdmm_catch(world.space, at, world.page, catcher, &catching), 0);
    ck_assert_int_eq(world_store(&world, at, 1), EPERM);
    ck_assert_int_eq(catching.info.error, EACCES);
    ck_assert_uint_eq(catching.info.access, HURDMM_WRITE);
    world_expect(&world, at, world_byte(0));
    ck_assert_uint_eq(catching.calls, 1);
}
END_TEST

START_TEST(catchers_do_not_overlap)
{
    uintptr_t at = find_hole(8 * world.page);
    struct catching catching = {.error = ENODEV};
    ck_assert_int_eq(hurdmm_catch(world.space, at + world.page, 2 * world.page,
                                  catcher, &catching),
                     0);
    ck_assert_int_eq(
        hurdmm_catch(world.space, at, 2 * world.page, catcher, &catching),
        EEXIST);
    ck_assert_int_eq(
        hurdmm_catch(world.space, at, world.page, catcher, &catching), 0);
    ck_assert_int_eq(hurdmm_uncatch(world.space, at + 2 * world.page), ENOENT);
    ck_assert_int_eq(hurdmm_uncatch(world.space, at + world.page), 0);
}
END_TEST

START_TEST(unbinding_fails_the_faults_that_wait)
{
    struct disk *disk = world_disk(&world, world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, world.page);
    struct world_access access = {.world = &world, .address = at};
    disk->hold_in = true;
    world_access(&access);
    hurdmm_sim_settle(world.port);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, world.page), 0);
    disk->hold_in = false;
    world_run(&world);
    ck_assert_int_eq(access.error, EFAULT);
}
END_TEST

START_TEST(the_store_makes_room_at_the_first_write)
{
    struct disk *disk = world_disk(&world, 2 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 2 * world.page);
    world_expect(&world, at, world_byte(0));
    ck_assert_uint_eq(disk->unlocks, 0);
    disk_fail(disk, DISK_UNLOCK, 1, ENOSPC, false);
    ck_assert_int_eq(world_store(&world, at, 1), ENOSPC);
    world_expect(&world, at, world_byte(0));
    world_put(&world, at, 2);
    world_put(&world, at + 1, 3);
    world_expect(&world, at, 2);
    ck_assert_uint_eq(disk->unlocks, 2);
}
END_TEST

START_TEST(blocks_larger_than_a_page_are_filled_whole)
{
    struct disk *disk =
        world_disk_of(&world, 16 * world.page, 4 * world.page, 0, DISK_SIMPLE);
    uintptr_t at = world_bind(&world, disk, 5 * world.page, 8 * world.page);
    world_expect(&world, at, world_byte(5 * world.page));
    ck_assert_uint_eq(disk->ins, 1);
    ck_assert_uint_eq(disk->last_in_length, 4 * world.page);
    for (unsigned i = 4; i < 8; i++)
        ck_assert_uint_ne(
            world_state(disk, i * world.page) & HURDMM_STATE_RESIDENT, 0);
    world_expect(&world, at + 2 * world.page, world_byte(7 * world.page));
    ck_assert_uint_eq(disk->ins, 1);
}
END_TEST

START_TEST(blocks_larger_than_a_page_are_written_whole)
{
    struct disk *disk =
        world_disk_of(&world, 16 * world.page, 4 * world.page, 0, DISK_SIMPLE);
    uintptr_t at = world_bind(&world, disk, 0, 16 * world.page);
    world_put(&world, at + 6 * world.page, 9);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->outs, 1);
    ck_assert_uint_eq(disk->last_out_offset, 4 * world.page);
    ck_assert_uint_eq(disk->last_out_length, 4 * world.page);
    ck_assert_uint_eq(disk->bytes[6 * world.page], 9);
}
END_TEST

START_TEST(every_page_of_a_fault_storm_is_right)
{
    struct world_access access[24];
    struct disk *disk = world_disk(&world, 24 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 24 * world.page);
    disk->delay = 3;
    for (unsigned i = 0; i < 24; i++) {
        access[i] = (struct world_access){.world = &world,
                                          .address = at + i * world.page + i};
        world_access(&access[i]);
    }
    world_run(&world);
    for (unsigned i = 0; i < 24; i++) {
        ck_assert_int_eq(access[i].error, 0);
        ck_assert_uint_eq(access[i].value, world_byte(i * world.page + i));
    }
}
END_TEST

/* ---- Inline -------------------------------------------------------------- */

START_TEST(signal_safe_stores_are_resolved_by_the_faulting_thread)
{
    struct world_options options = {.offer = HURDMM_PORT_INLINE};
    world_end(&world);
    world_begin(&world, &options);
    struct disk *disk =
        world_disk(&world, 4 * world.page, HURDMM_STORE_SIGNAL_SAFE);
    struct disk *other = world_disk(&world, 4 * world.page, 0);
    uintptr_t at = world_bind(&world, disk, 0, 4 * world.page);
    uintptr_t at_other = world_bind(&world, other, 0, 4 * world.page);
    for (unsigned i = 0; i < 4; i++) {
        world_expect(&world, at + i * world.page, world_byte(i * world.page));
        world_put(&world, at_other + i * world.page, (uint8_t)i);
        world_expect(&world, at_other + i * world.page, i);
    }
    uint8_t value;
    ck_assert_int_eq(hurdmm_unbind(world.space, at, world.page), 0);
    ck_assert_int_eq(world_load(&world, at, &value), EFAULT);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("faults");
    TCase *fill = tcase_create("fill");
    tcase_add_checked_fixture(fill, begin, end);
    tcase_add_test(fill, a_load_reads_what_the_store_has);
    tcase_add_test(fill, a_page_is_read_once);
    tcase_add_test(fill, offsets_of_a_region_count_from_its_binding);
    tcase_add_test(fill, a_store_is_seen_by_a_later_load);
    tcase_add_test(fill, a_soft_fault_needs_no_pager);
    tcase_add_test(fill, what_is_not_there_waits_for_a_pager);
    tcase_add_test(fill, a_first_write_above_the_limit_is_not_soft);
    tcase_add_test(fill, a_soft_fault_may_not_do_what_its_region_forbids);
    tcase_add_test(fill, a_soft_write_asks_for_room_too);
    tcase_add_test(fill, waiters_join_one_fill);
    tcase_add_test(fill, waiters_join_one_request);
    tcase_add_test(fill, an_error_reaches_all_waiters);
    tcase_add_test(fill, a_discarded_failure_is_tried_again);
    tcase_add_test(fill, the_error_of_the_store_is_the_error_of_the_access);
    tcase_add_test(fill, a_short_read_without_an_error_is_eio);
    tcase_add_test(fill, a_request_completed_without_data_is_eio);
    tcase_add_test(fill, a_handler_may_return_its_error);
    tcase_add_test(fill, a_request_says_who_where_and_why);
    tcase_add_test(fill, what_was_supplied_answers_the_request);
    tcase_add_test(fill, a_supply_wakes_before_the_request_is_completed);
    tcase_add_test(fill, a_request_can_be_completed_by_another_thread);
    tcase_add_test(fill, a_slow_fill_does_not_delay_other_pages);
    tcase_add_test(fill, the_store_makes_room_at_the_first_write);
    tcase_add_test(fill, blocks_larger_than_a_page_are_filled_whole);
    tcase_add_test(fill, blocks_larger_than_a_page_are_written_whole);
    tcase_add_test(fill, every_page_of_a_fault_storm_is_right);
    suite_add_tcase(s, fill);
    TCase *deny = tcase_create("deny");
    tcase_add_checked_fixture(deny, begin, end);
    tcase_add_test(deny, a_store_that_needs_itself_gets_edeadlk);
    tcase_add_test(deny, a_callback_cannot_wait_for_its_own_store);
    tcase_add_test(deny, a_store_may_stand_on_another);
    tcase_add_test(deny, two_stores_that_need_each_other_get_edeadlk);
    tcase_add_test(deny, an_unbound_address_is_nobodys);
    tcase_add_test(deny, a_forbidden_access_is_eacces);
    tcase_add_test(deny, past_the_end_of_the_store_is_enxio);
    tcase_add_test(deny, a_catcher_binds_what_was_missing);
    tcase_add_test(deny, a_catcher_says_the_error);
    tcase_add_test(deny, a_catcher_sees_forbidden_accesses);
    tcase_add_test(deny, catchers_do_not_overlap);
    tcase_add_test(deny, unbinding_fails_the_faults_that_wait);
    tcase_add_test(deny,
                   signal_safe_stores_are_resolved_by_the_faulting_thread);
    suite_add_tcase(s, deny);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-fault", suites, 1);
}
