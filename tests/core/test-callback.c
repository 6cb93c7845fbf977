/* SPDX-License-Identifier: MIT */
/* What stores answer and push, in ways and at moments that are not the usual
 * ones: the library must not lose data, trap, or leave a thread behind. */
#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;

static void begin(void)
{
    world_begin(&world, NULL);
}

/* With a second space. */
static void begin_two(void)
{
    struct world_options options = {.spaces = 2};
    world_begin(&world, &options);
}

static void end(void)
{
    world_end(&world);
}

static struct hurdmm_store *make(const struct hurdmm_store_ops *ops, void *hook,
                                 uint64_t size, size_t block, unsigned flags)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .hook = hook,
        .size = size,
        .block_size = block,
        .flags = flags,
    };
    struct hurdmm_store *store = NULL;
    ck_assert_int_eq(hurdmm_store_create(world.manager, ops, &options, &store),
                     0);
    return store;
}

static uintptr_t bind(struct hurdmm_store *store, uint64_t offset,
                      size_t length)
{
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = world.space,
        .store = store,
        .offset = offset,
        .length = length,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };
    uintptr_t address = 0;
    ck_assert_int_eq(hurdmm_bind(&options, &address), 0);
    return address;
}

/* A container with `pages' pages of `byte', the first at page `first'. */
static struct hurdmm_container *filled(unsigned first, unsigned pages,
                                       uint8_t byte)
{
    struct hurdmm_container *c = NULL;
    uint8_t bytes[8 * WORLD_PAGE];
    uint64_t got;
    size_t done;
    ck_assert_uint_le(pages, 8);
    memset(bytes, byte, sizeof bytes);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_allocate(c, first * world.page,
                                               pages * world.page, 0, &got),
                     0);
    ck_assert_int_eq(hurdmm_container_write(c, first * world.page, bytes,
                                            pages * world.page, &done),
                     0);
    return c;
}

static void destroy(struct hurdmm_store *store)
{
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DETACH | HURDMM_DROP),
                     0);
}

/* ---- Answers -------------------------------------------------------------- */

/* Shows a container's memory instead of filling the page. */
static int show_memory(struct hurdmm_store *store, void *hook,
                       struct hurdmm_request *request)
{
    struct hurdmm_request_info info;
    uint64_t done = 0;
    hurdmm_request_get_info(request, &info);
    int error = hurdmm_memory_use(store, info.offset, hook, info.offset,
                                  info.length, &done);
    hurdmm_request_complete(request, error);
    return 0;
}

START_TEST(a_fault_may_be_answered_with_a_containers_memory)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .fault = show_memory};
    struct hurdmm_container *memory = filled(0, 4, 0x61);
    struct hurdmm_store *store =
        make(&ops, memory, 4 * world.page, 0, HURDMM_STORE_VOLATILE);
    uintptr_t at = bind(store, 0, 4 * world.page);
    world_expect(&world, at + world.page, 0x61);
    world_put(&world, at + world.page, 0x62);
    uint8_t byte = 0;
    size_t done;
    ck_assert_int_eq(hurdmm_container_read(memory, world.page, &byte, 1, &done),
                     0);
    ck_assert_uint_eq(byte, 0x62);
    destroy(store);
    ck_assert_int_eq(hurdmm_container_destroy(memory), 0);
}
END_TEST

/* Errors that are none. */
static const int strange[] = {-1, -EIO, 256, 512, 100000};
#define STRANGE 5

static int strange_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *bytes, size_t length, size_t *done)
{
    (void)store;
    (void)offset;
    (void)bytes;
    (void)length;
    *done = 0;
    return *(const int *)hook;
}

START_TEST(what_is_no_errno_value_counts_as_eio)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = strange_in};
    int error = strange[_i];
    struct hurdmm_store *store =
        make(&ops, &error, 4 * world.page, 0, HURDMM_STORE_VOLATILE);
    uintptr_t at = bind(store, 0, 4 * world.page);
    struct world_access access = {.world = &world, .address = at};
    uint8_t byte;
    size_t done;
    ck_assert_int_eq(hurdmm_store_read(store, 0, &byte, 1, &done), EIO);
    ck_assert_int_eq(hurdmm_store_read(store, 0, &byte, 1, &done), EIO);
    world_access(&access);
    world_run(&world);
    ck_assert(access.done);
    ck_assert_int_eq(access.error, EIO);
    world_check(&world);
    destroy(store);
}
END_TEST

static int zeros_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                    void *bytes, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(bytes, 0, length);
    return 0;
}

static const struct hurdmm_store_ops zeros = {
    .struct_size = sizeof zeros,
    .page_in = zeros_in,
};

static int strange_unlock(struct hurdmm_store *store, void *hook,
                          uint64_t offset, size_t length)
{
    (void)store;
    (void)offset;
    (void)length;
    return *(const int *)hook;
}

START_TEST(a_strange_answer_to_unlock_counts_as_eio)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = zeros_in,
                                                .unlock = strange_unlock};
    int error = strange[_i];
    struct hurdmm_store *store =
        make(&ops, &error, 4 * world.page, 0, HURDMM_STORE_VOLATILE);
    uintptr_t at = bind(store, 0, 4 * world.page);
    struct world_access access = {
        .world = &world, .address = at, .write = true, .value = 1};
    world_access(&access);
    world_run(&world);
    ck_assert(access.done);
    ck_assert_int_eq(access.error, EIO);
    destroy(store);
}
END_TEST

static int strange_catcher(void *hook, const struct hurdmm_catch_info *info)
{
    (void)info;
    return *(const int *)hook;
}

START_TEST(a_strange_answer_of_a_catcher_counts_as_eio)
{
    int error = strange[_i];
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = world.space,
        .length = 4 * world.page,
        .flags = HURDMM_BIND_RESERVED,
    };
    uintptr_t at = 0;
    ck_assert_int_eq(hurdmm_bind(&options, &at), 0);
    ck_assert_int_eq(
        hurdmm_catch(world.space, at, 4 * world.page, strange_catcher, &error),
        0);
    struct world_access access = {.world = &world, .address = at};
    world_access(&access);
    world_run(&world);
    ck_assert(access.done);
    ck_assert_int_eq(access.error, EIO);
    ck_assert_int_eq(hurdmm_uncatch(world.space, at), 0);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 4 * world.page), 0);
}
END_TEST

static int boast_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                    void *bytes, size_t length, size_t *done)
{
    int error = zeros_in(store, hook, offset, bytes, length, done);
    *done = 2 * length + 1;
    return error;
}

START_TEST(who_says_more_than_was_asked_did_all_of_it)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = boast_in};
    struct hurdmm_store *store =
        make(&ops, NULL, 4 * world.page, 0, HURDMM_STORE_VOLATILE);
    uint8_t bytes[WORLD_PAGE] = {1};
    size_t done;
    ck_assert_int_eq(hurdmm_store_read(store, 0, bytes, 1, &done), 0);
    ck_assert_uint_eq(bytes[0], 0);
    ck_assert_int_eq(hurdmm_store_claim(store, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_claimed_page_in(store, 0, bytes, world.page, &done),
                     0);
    ck_assert_uint_eq(done, world.page);
    ck_assert_int_eq(hurdmm_store_unclaim(store), 0);
    destroy(store);
}
END_TEST

/* ---- Blocks --------------------------------------------------------------- */

START_TEST(of_a_block_all_is_cached_or_nothing)
{
    struct disk *disk =
        world_disk_of(&world, 8 * world.page, 4 * world.page, 0, DISK_SIMPLE);
    struct hurdmm_container *c = filled(0, 6, 0x41);
    uint8_t byte = 0x42;
    size_t done = 0;
    ck_assert_int_eq(
        hurdmm_store_cache(disk->store, 0, c, 0, 8 * world.page, &done),
        ENOENT);
    ck_assert_uint_eq(done, 4 * world.page);
    world_check(&world);
    /* What was not moved is where it was. */
    ck_assert_int_eq(hurdmm_container_read(c, 5 * world.page, &byte, 1, &done),
                     0);
    ck_assert_uint_eq(byte, 0x41);
    byte = 0x42;
    ck_assert_int_eq(
        hurdmm_store_write(disk->store, 4 * world.page, &byte, 1, &done), 0);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[4 * world.page], 0x42);
    ck_assert_uint_eq(disk->bytes[4 * world.page + 1],
                      world_byte(4 * world.page + 1));
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

START_TEST(the_last_block_is_supplied_whole)
{
    struct disk *disk =
        world_disk_of(&world, 6 * world.page, 4 * world.page, 0, DISK_SIMPLE);
    uint8_t bytes[2 * WORLD_PAGE], byte = 0x42;
    size_t done = 0;
    memset(bytes, 0x41, sizeof bytes);
    ck_assert_int_eq(hurdmm_store_supply(disk->store, 4 * world.page, bytes,
                                         sizeof bytes, &done),
                     0);
    ck_assert_uint_eq(done, sizeof bytes);
    world_check(&world);
    ck_assert_int_eq(
        hurdmm_store_write(disk->store, 4 * world.page, &byte, 1, &done), 0);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[4 * world.page], 0x42);
    ck_assert_uint_eq(disk->bytes[5 * world.page], 0x41);
}
END_TEST

START_TEST(of_a_block_all_is_supplied_or_nothing)
{
    struct disk *disk =
        world_disk_of(&world, 8 * world.page, 4 * world.page, 0, DISK_SIMPLE);
    struct hurdmm_container *c;
    uint8_t bytes[4 * WORLD_PAGE], byte = 0x42;
    uint64_t got = 0;
    size_t done = 0;
    memset(bytes, 0x41, sizeof bytes);
    /* All memory but two frames is taken. */
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    (void)hurdmm_container_allocate(c, 0, 64 * world.page, 0, &got);
    ck_assert_int_eq(
        hurdmm_container_release(c, got - 2 * world.page, 2 * world.page), 0);
    ck_assert_int_eq(
        hurdmm_store_supply(disk->store, 0, bytes, sizeof bytes, &done),
        ENOMEM);
    ck_assert_uint_eq(done, 0);
    world_check(&world);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    ck_assert_int_eq(hurdmm_store_write(disk->store, 0, &byte, 1, &done), 0);
    ck_assert_int_eq(
        hurdmm_store_flush(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[0], 0x42);
}
END_TEST

START_TEST(what_is_cached_past_the_end_is_zeros)
{
    uint64_t size = 5 * world.page + world.page / 2;
    size_t block = _i ? 4 * world.page : 0;
    struct disk *disk =
        world_disk_of(&world, size, block, HURDMM_STORE_SHARED, DISK_SIMPLE);
    struct hurdmm_container *c = filled(0, 2, 0x41);
    uint8_t byte = 1;
    size_t done = 0;
    ck_assert_int_eq(hurdmm_store_cache(disk->store, 4 * world.page, c, 0,
                                        2 * world.page, &done),
                     0);
    ck_assert_uint_eq(done, 2 * world.page);
    world_check(&world);
    ck_assert_int_eq(hurdmm_store_read(disk->store, size - 1, &byte, 1, &done),
                     0);
    ck_assert_uint_eq(byte, 0x41);
    ck_assert_int_eq(hurdmm_store_resize(disk->store, 8 * world.page), 0);
    ck_assert_int_eq(hurdmm_store_read(disk->store, size, &byte, 1, &done), 0);
    ck_assert_uint_eq(byte, 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

START_TEST(what_is_pushed_is_paid_for)
{
    struct disk *disk = world_disk(&world, 16 * world.page, 0);
    struct hurdmm_account *account;
    struct hurdmm_account_info info = {.struct_size = sizeof info};
    struct hurdmm_container *c = filled(0, 8, 0x41);
    uint8_t bytes[8 * WORLD_PAGE] = {1};
    size_t done = 0;
    ck_assert_int_eq(hurdmm_account_split(hurdmm_account_own(world.manager),
                                          4 * world.page, &account),
                     0);
    ck_assert_int_eq(
        hurdmm_account_pay(account, hurdmm_store_container(disk->store)), 0);
    if (_i)
        (void)hurdmm_store_supply(disk->store, 0, bytes, sizeof bytes, &done);
    else
        (void)hurdmm_store_cache(disk->store, 0, c, 0, sizeof bytes, &done);
    ck_assert_int_eq(hurdmm_account_get_info(account, &info), 0);
    ck_assert_uint_le(info.used, 4 * world.page);
    ck_assert_uint_gt(info.used, 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    ck_assert_int_eq(hurdmm_account_destroy(account), 0);
}
END_TEST

/* ---- Containers that go, or have failed ----------------------------------- */

static struct hurdmm_container *victim;
static int victim_error;

static void destroy_victim(struct disk *disk, unsigned kind, uint64_t offset,
                           size_t length)
{
    (void)disk;
    (void)offset;
    (void)length;
    if (kind == DISK_IN && victim)
        victim_error = hurdmm_container_destroy(victim);
}

START_TEST(a_container_stays_while_its_pages_are_cached)
{
    struct disk *source = world_disk(&world, 8 * world.page, 0);
    struct disk *target = world_disk(&world, 8 * world.page, 0);
    uint64_t got;
    size_t done = 0;
    ck_assert_int_eq(hurdmm_container_create(world.manager, &victim), 0);
    ck_assert_int_eq(
        hurdmm_container_copy(victim, 0, hurdmm_store_container(source->store),
                              0, 4 * world.page, 0, &got),
        0);
    victim_error = 0;
    source->before = destroy_victim;
    ck_assert_int_eq(
        hurdmm_store_cache(target->store, 0, victim, 0, world.page, &done), 0);
    ck_assert_int_eq(victim_error, EBUSY);
    source->before = NULL;
    ck_assert_int_eq(hurdmm_container_destroy(victim), 0);
}
END_TEST

START_TEST(a_failed_page_of_a_container_is_not_cached)
{
    struct disk *source = world_disk(&world, 8 * world.page, 0);
    struct disk *target = world_disk(&world, 8 * world.page, 0);
    struct hurdmm_container *c;
    uint8_t bytes[WORLD_PAGE] = {0};
    uint64_t got;
    size_t done = 0;
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(
        hurdmm_container_copy(c, 0, hurdmm_store_container(source->store), 0,
                              4 * world.page, 0, &got),
        0);
    disk_fail(source, DISK_IN, 1, EIO, true);
    ck_assert_int_eq(hurdmm_store_write(source->store, 0, bytes, 1, &done),
                     EIO);
    source->script.nth = 0;
    /* The store's page is good again, the copy's is lost for good. */
    ck_assert_int_eq(hurdmm_store_discard(source->store, 0, world.page), 0);
    ck_assert_int_eq(hurdmm_container_read(c, 0, bytes, 1, &done), EIO);
    ck_assert_int_eq(
        hurdmm_store_cache(target->store, 0, c, 0, world.page, &done), EIO);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

/* ---- Holds ---------------------------------------------------------------- */

static bool cutting;

static int ones_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *bytes, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(bytes, 1, length);
    return 0;
}

static void cut_slowly(struct hurdmm_store *store, void *hook, uint64_t offset,
                       uint64_t length)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)length;
    cutting = true;
    for (unsigned i = 0; i < 100; i++)
        hurdmm_sim_yield(world.port);
}

static void cut(void *argument)
{
    ck_assert_int_eq(hurdmm_store_resize(argument, world.page), 0);
}

static void read_meanwhile(void *argument)
{
    uint8_t byte;
    size_t done;
    while (!cutting)
        hurdmm_sim_yield(world.port);
    ck_assert_int_eq(hurdmm_store_read(argument, 0, &byte, 1, &done), 0);
    ck_assert_uint_eq(byte, 1);
}

START_TEST(a_block_that_is_cut_is_not_filled_to_its_old_end)
{
    static const struct hurdmm_store_ops ops = {
        .struct_size = sizeof ops, .page_in = ones_in, .discarded = cut_slowly};
    struct hurdmm_store *store =
        make(&ops, NULL, 8 * world.page, 4 * world.page, HURDMM_STORE_VOLATILE);
    uint8_t byte = 2;
    size_t done;
    cutting = false;
    world_spawn(&world, cut, store);
    world_spawn(&world, read_meanwhile, store);
    world_run(&world);
    ck_assert_int_eq(hurdmm_store_resize(store, 4 * world.page), 0);
    ck_assert_int_eq(hurdmm_store_read(store, world.page, &byte, 1, &done), 0);
    ck_assert_uint_eq(byte, 0);
    destroy(store);
}
END_TEST

/* One thread has a hold on the first store and waits for a page of the second, the
 * one that brings it wants to write to the first. */
static struct hurdmm_store *knot[2];
static struct hurdmm_container *knot_source;
static int knot_errors[2];

static int knot_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *bytes, size_t length, size_t *done)
{
    uint8_t byte = 0;
    size_t got;
    int error = 0;
    if (store == knot[1]) {
        cutting = true;
        for (unsigned i = 0; i < 100; i++)
            hurdmm_sim_yield(world.port);
        error = hurdmm_store_write(knot[0], 0, &byte, 1, &got);
        knot_errors[0] = error;
    }
    return error ? error : zeros_in(store, hook, offset, bytes, length, done);
}

static void knot_read(void *argument)
{
    uint8_t byte;
    size_t done;
    (void)argument;
    (void)hurdmm_store_read(knot[1], 0, &byte, 1, &done);
}

static void knot_copy(void *argument)
{
    struct hurdmm_copy_range ranges[2];
    (void)argument;
    for (unsigned i = 0; i < 2; i++)
        ranges[i] = (struct hurdmm_copy_range){
            .target = hurdmm_store_container(knot[i]),
            .source = knot_source,
            .length = world.page};
    while (!cutting)
        hurdmm_sim_yield(world.port);
    knot_errors[1] =
        hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SQUASH);
}

START_TEST(who_waits_for_a_hold_is_seen_by_its_holder)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = knot_in};
    for (unsigned i = 0; i < 2; i++)
        knot[i] = make(&ops, NULL, world.page, 0, HURDMM_STORE_VOLATILE);
    knot_source = filled(0, 1, 0x41);
    cutting = false;
    world_spawn(&world, knot_read, NULL);
    world_spawn(&world, knot_copy, NULL);
    world_run(&world);
    ck_assert(knot_errors[0] == EDEADLK || knot_errors[1] == EDEADLK);
    for (unsigned i = 0; i < 2; i++)
        destroy(knot[i]);
    ck_assert_int_eq(hurdmm_container_destroy(knot_source), 0);
}
END_TEST

START_TEST(a_store_may_be_the_target_of_several_copies_at_once)
{
    struct hurdmm_container *c = filled(0, 2, 0x41);
    struct hurdmm_store *store =
        make(&zeros, NULL, 8 * world.page, 0, HURDMM_STORE_VOLATILE);
    struct hurdmm_copy_range ranges[2];
    uint8_t byte = 0;
    size_t done;
    for (unsigned i = 0; i < 2; i++)
        ranges[i] = (struct hurdmm_copy_range){
            .target = hurdmm_store_container(store),
            .target_offset = (5 - 4 * i) * world.page,
            .source = c,
            .source_offset = i * world.page,
            .length = world.page};
    ck_assert_int_eq(hurdmm_container_copy_ranges(ranges, 2, 0), 0);
    for (unsigned page = 0; page < 8; page++) {
        ck_assert_int_eq(
            hurdmm_store_read(store, page * world.page, &byte, 1, &done), 0);
        ck_assert_uint_eq(byte, page == 1 || page == 5 ? 0x41 : 0);
    }
    destroy(store);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

/* Copies to both stores of the knot, the one that is given first. */
static void copy_to_both(void *argument)
{
    struct hurdmm_copy_range ranges[2];
    unsigned first = *(unsigned *)argument;
    for (unsigned i = 0; i < 2; i++)
        ranges[i] = (struct hurdmm_copy_range){
            .target = hurdmm_store_container(knot[first ^ i]),
            .source = knot_source,
            .length = 4 * world.page};
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(
            hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SQUASH), 0);
}

static int slow_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *bytes, size_t length, size_t *done)
{
    for (unsigned i = 0; i < 5; i++)
        hurdmm_sim_yield(world.port);
    return zeros_in(store, hook, offset, bytes, length, done);
}

/* Pages of both are being filled again and again, so that holds are waited for. */
static void read_both(void *argument)
{
    uint8_t byte;
    size_t done;
    (void)argument;
    for (unsigned i = 0; i < 8; i++) {
        (void)hurdmm_store_discard(knot[i % 2], 0, HURDMM_WHOLE);
        ck_assert_int_eq(hurdmm_store_read(knot[i % 2], 0, &byte, 1, &done), 0);
    }
}

START_TEST(copies_to_the_same_stores_do_not_stop_each_other)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = slow_in};
    unsigned firsts[2] = {0, 1};
    for (uint64_t seed = 1; seed <= test_scaled(100); seed++) {
        struct world_options options = {.seed = seed};
        world_begin(&world, &options);
        for (unsigned i = 0; i < 2; i++)
            knot[i] =
                make(&zeros, NULL, 4 * world.page, 0, HURDMM_STORE_VOLATILE);
        knot_source = filled(0, 4, 0x41);
        for (unsigned i = 0; i < 2; i++)
            world_spawn(&world, copy_to_both, &firsts[i]);
        world_spawn(&world, read_both, NULL);
        world_run(&world);
        for (unsigned i = 0; i < 2; i++)
            destroy(knot[i]);
        ck_assert_int_eq(hurdmm_container_destroy(knot_source), 0);
        world_end(&world);
    }
}
END_TEST

static uint64_t pushed;

static void push_back(struct hurdmm_store *store, void *hook, uint64_t offset,
                      uint64_t length)
{
    static const uint8_t bytes[WORLD_PAGE] = {7, 7, 7};
    size_t done;
    (void)hook;
    (void)length;
    (void)hurdmm_store_supply(store, offset, bytes, sizeof bytes, &done);
    pushed++;
}

START_TEST(what_is_being_cut_off_cannot_be_supplied)
{
    static const struct hurdmm_store_ops ops = {
        .struct_size = sizeof ops, .page_in = zeros_in, .discarded = push_back};
    struct hurdmm_store *store =
        make(&ops, NULL, 8 * world.page, 0, HURDMM_STORE_VOLATILE);
    uint8_t byte = 1;
    size_t done;
    pushed = 0;
    ck_assert_int_eq(hurdmm_store_resize(store, 2 * world.page), 0);
    ck_assert_uint_eq(pushed, 1);
    world_check(&world);
    ck_assert_int_eq(hurdmm_store_resize(store, 8 * world.page), 0);
    ck_assert_int_eq(hurdmm_store_read(store, 2 * world.page, &byte, 1, &done),
                     0);
    ck_assert_uint_eq(byte, 0);
    destroy(store);
}
END_TEST

START_TEST(discarding_a_huge_store_with_one_copied_page_is_quick)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = zeros_in};
    struct hurdmm_store *store =
        make(&ops, NULL, UINT64_C(1) << 52, 0, HURDMM_STORE_VOLATILE);
    struct hurdmm_container *c;
    uint64_t got;
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_copy(c, 0, hurdmm_store_container(store),
                                           (UINT64_C(1) << 52) - world.page,
                                           world.page, 0, &got),
                     0);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    destroy(store);
}
END_TEST

/* ---- Whole pages through copies ------------------------------------------- */

/* A store's page 0 that cannot be read, and another store that shows it. */
static void make_shared_failure(struct disk **source, struct disk **target,
                                uint64_t target_size)
{
    uint64_t got;
    uint8_t byte;
    size_t done;
    *source = world_disk_of(&world, 8 * world.page, 0, 0, DISK_PLAIN);
    *target = world_disk_of(&world, target_size, 0, HURDMM_STORE_VOLATILE,
                            DISK_PLAIN);
    ck_assert_int_eq(
        hurdmm_container_copy(hurdmm_store_container((*target)->store), 0,
                              hurdmm_store_container((*source)->store), 0,
                              world.page, HURDMM_COPY_SHARED, &got),
        0);
    disk_fail(*source, DISK_IN, 1, EIO, false);
    ck_assert_int_eq(hurdmm_store_read((*source)->store, 0, &byte, 1, &done),
                     EIO);
}

START_TEST(a_page_that_failed_and_is_shared_can_be_written_anew)
{
    struct disk *source, *target;
    uint8_t bytes[WORLD_PAGE] = {5}, byte = 0;
    size_t done;
    make_shared_failure(&source, &target, 8 * world.page);
    struct hurdmm_store *by = _i ? target->store : source->store;
    ck_assert_int_eq(hurdmm_store_write(by, 0, bytes, world.page, &done), 0);
    ck_assert_int_eq(hurdmm_store_read(target->store, 0, &byte, 1, &done), 0);
    ck_assert_uint_eq(byte, 5);
}
END_TEST

START_TEST(a_page_that_failed_is_not_written_anew_in_part)
{
    struct disk *source, *target;
    uint8_t bytes[WORLD_PAGE] = {5};
    size_t done;
    make_shared_failure(&source, &target, world.page / 2);
    ck_assert_int_eq(
        hurdmm_store_write(target->store, 0, bytes, world.page / 2, &done),
        EIO);
}
END_TEST

START_TEST(a_short_page_that_shows_another_loses_nothing_of_it)
{
    struct disk *source = world_disk(&world, 8 * world.page, 0);
    struct disk *target = world_disk_of(&world, world.page + world.page / 2, 0,
                                        HURDMM_STORE_VOLATILE, DISK_PLAIN);
    uint8_t bytes[WORLD_PAGE] = {0};
    uint64_t got;
    size_t done;
    ck_assert_int_eq(
        hurdmm_container_copy(hurdmm_store_container(target->store), 0,
                              hurdmm_store_container(source->store), 0,
                              2 * world.page, HURDMM_COPY_SHARED, &got),
        0);
    ck_assert_int_eq(hurdmm_store_write(target->store, world.page, bytes,
                                        world.page / 2, &done),
                     0);
    ck_assert_int_eq(
        hurdmm_store_read(source->store, world.page, bytes, world.page, &done),
        0);
    for (size_t i = 0; i < world.page; i++)
        ck_assert_uint_eq(bytes[i],
                          i < world.page / 2 ? 0 : world_byte(world.page + i));
}
END_TEST

START_TEST(who_writes_through_a_shared_copy_asks_the_source_for_room)
{
    struct disk *source = world_disk(&world, 8 * world.page, 0);
    struct disk *target = world_disk_of(&world, 8 * world.page, 0,
                                        HURDMM_STORE_VOLATILE, DISK_PLAIN);
    uint8_t bytes[WORLD_PAGE] = {0};
    uint64_t got;
    size_t done;
    ck_assert_int_eq(
        hurdmm_container_copy(hurdmm_store_container(target->store), 0,
                              hurdmm_store_container(source->store), 0,
                              2 * world.page, HURDMM_COPY_SHARED, &got),
        0);
    ck_assert_int_eq(
        hurdmm_store_write(target->store, 0, bytes, world.page, &done), 0);
    ck_assert_uint_eq(source->unlocks, 1);
}
END_TEST

static uint8_t before_write;
static int told;

static int look_before(void *hook, struct hurdmm_space *space,
                       uintptr_t address)
{
    size_t done;
    (void)hook;
    told++;
    return hurdmm_read(space, address, &before_write, 1, &done);
}

START_TEST(a_whole_page_is_not_written_before_that_is_told)
{
    struct disk *disk = world_disk_of(&world, 8 * world.page, 0, 0, DISK_PLAIN);
    uintptr_t at = world_bind(&world, disk, 0, 8 * world.page);
    uint8_t bytes[WORLD_PAGE] = {0};
    size_t done;
    told = 0;
    ck_assert_int_eq(hurdmm_region_on_first_write(
                         world.space, at, 8 * world.page, look_before, NULL),
                     0);
    ck_assert_int_eq(hurdmm_write(world.space, at, bytes, world.page, &done),
                     0);
    ck_assert_int_eq(told, 1);
    ck_assert_uint_eq(before_write, world_byte(0));
}
END_TEST

/* ---- Spaces, pins, priorities --------------------------------------------- */

START_TEST(a_pin_can_be_undone_whatever_rights_are_left)
{
    struct disk *disk = world_disk(&world, 8 * world.page, 0);
    uintptr_t at;
    ck_assert_int_eq(world_try_bind(&world, disk, 0, 8 * world.page, 0,
                                    HURDMM_READ | HURDMM_EXECUTE, 0, &at),
                     0);
    ck_assert_int_eq(
        hurdmm_pin(world.space, at, 4 * world.page, HURDMM_EXECUTE), 0);
    ck_assert_int_eq(
        hurdmm_protect(world.space, at, 4 * world.page, HURDMM_READ), 0);
    ck_assert_int_eq(
        hurdmm_unpin(world.space, at, 4 * world.page, HURDMM_EXECUTE), 0);
    ck_assert_uint_eq(world_state(disk, 0) & HURDMM_STATE_PINNED, 0);
}
END_TEST

static void protect_now(struct disk *disk, unsigned kind, uint64_t offset,
                        size_t length)
{
    (void)length;
    if (kind == DISK_IN && offset == 2 * world.page)
        ck_assert_int_eq(hurdmm_protect(world.space,
                                        *(uintptr_t *)disk->before_hook,
                                        8 * world.page, HURDMM_READ),
                         0);
}

START_TEST(a_pin_that_fails_leaves_no_pins)
{
    struct disk *disk = world_disk(&world, 8 * world.page, 0);
    uintptr_t at;
    ck_assert_int_eq(world_try_bind(&world, disk, 0, 8 * world.page, 0,
                                    HURDMM_READ | HURDMM_EXECUTE, 0, &at),
                     0);
    disk->before = protect_now;
    disk->before_hook = &at;
    ck_assert_int_eq(
        hurdmm_pin(world.space, at, 4 * world.page, HURDMM_EXECUTE), EACCES);
    disk->before = NULL;
    ck_assert_uint_eq(world_state(disk, 0) & HURDMM_STATE_PINNED, 0);
    ck_assert_int_eq(hurdmm_unbind(world.space, at, 8 * world.page), 0);
}
END_TEST

/* ---- What goes while it is used ------------------------------------------- */

static struct hurdmm_space *other;

static int destroy_space(struct hurdmm_store *store, void *hook,
                         uint64_t offset, void *bytes, size_t length,
                         size_t *done)
{
    if (offset > 0)
        ck_assert_int_eq(hurdmm_space_destroy(other, HURDMM_DETACH), 0);
    return zeros_in(store, hook, offset, bytes, length, done);
}

START_TEST(a_space_may_go_while_it_is_read)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = destroy_space};
    struct hurdmm_store *store =
        make(&ops, NULL, 8 * world.page, 0, HURDMM_STORE_VOLATILE);
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .store = store,
        .length = 8 * world.page,
        .rights = HURDMM_READ,
    };
    uint8_t bytes[4 * WORLD_PAGE];
    uintptr_t at = 0;
    size_t done = 0;
    ck_assert_int_eq(hurdmm_space_create(world.manager,
                                         hurdmm_sim_space(world.port, 1),
                                         &other),
                     0);
    options.space = other;
    ck_assert_int_eq(hurdmm_bind(&options, &at), 0);
    ck_assert_int_eq(hurdmm_read(other, at, bytes, sizeof bytes, &done),
                     ESTALE);
    ck_assert_uint_eq(done, world.page);
    destroy(store);
}
END_TEST

/* Filling A touches B, for which C is read, for which A is read. */
static struct hurdmm_store *ring[3];
static uintptr_t ring_b;
static int ring_error;

static int ring_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *bytes, size_t length, size_t *done)
{
    uint8_t byte;
    size_t got;
    int error = 0;
    if (store == ring[0])
        error = hurdmm_sim_read(world.port, NULL, ring_b, &byte, 1);
    else if (store == ring[1])
        error = hurdmm_store_read(ring[2], 0, &byte, 1, &got);
    else
        ring_error = error = hurdmm_store_read(ring[0], 0, &byte, 1, &got);
    return error ? error : zeros_in(store, hook, offset, bytes, length, done);
}

START_TEST(a_ring_of_callbacks_is_seen_through_nested_ones)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = ring_in};
    for (unsigned i = 0; i < 3; i++)
        ring[i] = make(&ops, NULL, world.page, 0, HURDMM_STORE_VOLATILE);
    ring_b = bind(ring[1], 0, world.page);
    ring_error = 0;
    struct world_access access = {.world = &world,
                                  .address = bind(ring[0], 0, world.page)};
    world_access(&access);
    world_run(&world);
    ck_assert(access.done);
    ck_assert_int_eq(ring_error, EDEADLK);
    for (unsigned i = 0; i < 3; i++)
        destroy(ring[i]);
}
END_TEST

static struct hurdmm_store *doomed;
static uintptr_t doomed_at;

static void discard_all(void *argument)
{
    (void)argument;
    int error = hurdmm_discard(world.space, doomed_at, 4 * world.page);
    ck_assert_msg(error == 0 || error == ENOENT || error == ESTALE, "%d",
                  error);
}

/* Ends the store, makes another, which lies where it lay, and writes to that. */
static void replace(void *argument)
{
    uint8_t byte = 9;
    size_t done;
    (void)argument;
    ck_assert_int_eq(hurdmm_unbind(world.space, doomed_at, 4 * world.page), 0);
    while (hurdmm_store_destroy(doomed, HURDMM_DROP) != 0)
        hurdmm_sim_yield(world.port);
    doomed = make(&zeros, NULL, 4 * world.page, 0, HURDMM_STORE_VOLATILE);
    ck_assert_int_eq(hurdmm_store_write(doomed, 0, &byte, 1, &done), 0);
}

START_TEST(a_verb_does_not_meet_the_store_that_comes_after)
{
    for (uint64_t seed = 1; seed <= test_scaled(300); seed++) {
        struct world_options options = {.seed = seed};
        uint8_t byte = 0;
        size_t done;
        world_begin(&world, &options);
        doomed = make(&zeros, NULL, 4 * world.page, 0, HURDMM_STORE_VOLATILE);
        doomed_at = bind(doomed, 0, 4 * world.page);
        world_spawn(&world, discard_all, NULL);
        world_spawn(&world, replace, NULL);
        world_run(&world);
        ck_assert_int_eq(hurdmm_store_read(doomed, 0, &byte, 1, &done), 0);
        ck_assert_msg(byte == 9, "seed %llu", (unsigned long long)seed);
        destroy(doomed);
        world_end(&world);
    }
}
END_TEST

START_TEST(priorities_may_come_after_a_store_has_gone_that_is_copied)
{
    struct disk *first =
        world_disk(&world, 8 * world.page, HURDMM_STORE_DISCARDABLE);
    struct disk *second =
        world_disk(&world, 8 * world.page, HURDMM_STORE_DISCARDABLE);
    struct hurdmm_container *c;
    uint8_t byte;
    uint64_t got;
    size_t done;
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_copy(c, 0,
                                           hurdmm_store_container(first->store),
                                           0, 4 * world.page, 0, &got),
                     0);
    ck_assert_int_eq(hurdmm_store_read(first->store, 0, &byte, 1, &done), 0);
    ck_assert_int_eq(hurdmm_store_destroy(first->store, HURDMM_DROP), 0);
    ck_assert_int_eq(
        hurdmm_store_set_priority(second->store, 0, HURDMM_WHOLE, 3), 0);
    world_check(&world);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("callbacks");
    TCase *c = tcase_create("callbacks");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, a_fault_may_be_answered_with_a_containers_memory);
    tcase_add_loop_test(c, what_is_no_errno_value_counts_as_eio, 0, STRANGE);
    tcase_add_loop_test(c, a_strange_answer_to_unlock_counts_as_eio, 0,
                        STRANGE);
    tcase_add_loop_test(c, a_strange_answer_of_a_catcher_counts_as_eio, 0,
                        STRANGE);
    tcase_add_test(c, who_says_more_than_was_asked_did_all_of_it);
    tcase_add_test(c, of_a_block_all_is_cached_or_nothing);
    tcase_add_test(c, the_last_block_is_supplied_whole);
    tcase_add_test(c, of_a_block_all_is_supplied_or_nothing);
    tcase_add_loop_test(c, what_is_cached_past_the_end_is_zeros, 0, 2);
    tcase_add_loop_test(c, what_is_pushed_is_paid_for, 0, 2);
    tcase_add_test(c, a_container_stays_while_its_pages_are_cached);
    tcase_add_test(c, a_failed_page_of_a_container_is_not_cached);
    tcase_add_test(c, a_block_that_is_cut_is_not_filled_to_its_old_end);
    tcase_add_test(c, who_waits_for_a_hold_is_seen_by_its_holder);
    tcase_add_test(c, a_store_may_be_the_target_of_several_copies_at_once);
    tcase_add_test(c, what_is_being_cut_off_cannot_be_supplied);
    tcase_add_test(c, discarding_a_huge_store_with_one_copied_page_is_quick);
    tcase_add_loop_test(c, a_page_that_failed_and_is_shared_can_be_written_anew,
                        0, 2);
    tcase_add_test(c, a_page_that_failed_is_not_written_anew_in_part);
    tcase_add_test(c, a_short_page_that_shows_another_loses_nothing_of_it);
    tcase_add_test(c,
                   who_writes_through_a_shared_copy_asks_the_source_for_room);
    tcase_add_test(c, a_whole_page_is_not_written_before_that_is_told);
    tcase_add_test(c, a_pin_can_be_undone_whatever_rights_are_left);
    tcase_add_test(c, a_pin_that_fails_leaves_no_pins);
    tcase_add_test(c,
                   priorities_may_come_after_a_store_has_gone_that_is_copied);
    suite_add_tcase(s, c);
    c = tcase_create("rings");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, a_ring_of_callbacks_is_seen_through_nested_ones);
    suite_add_tcase(s, c);
    c = tcase_create("going");
    tcase_add_checked_fixture(c, begin_two, end);
    tcase_add_test(c, a_space_may_go_while_it_is_read);
    suite_add_tcase(s, c);
    c = tcase_create("seeds");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, copies_to_the_same_stores_do_not_stop_each_other);
    tcase_add_test(c, a_verb_does_not_meet_the_store_that_comes_after);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-callback", suites, 1);
}
