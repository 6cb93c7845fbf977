/* SPDX-License-Identifier: MIT */
/*
 * Bad input: every public argument is wrong once.  The call gives its error,
 * writes no result, and the world is as it was.
 */
#include <stdint.h>

#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;
static struct disk *disk;
static uintptr_t at;
static uint8_t bytes[1024];

/* Two pages of eight are bound; the first one is dirty. */
static void begin(void)
{
    world_begin(&world, NULL);
    disk = world_disk(&world, 8 * world.page, HURDMM_STORE_SHARED);
    at = world_bind(&world, disk, 0, 2 * world.page);
    world_put(&world, at, 0x5e);
}

static void end(void)
{
    struct hurdmm_stats stats = world_stats(&world);
    ck_assert_uint_eq(stats.regions, 1);
    ck_assert_uint_eq(stats.frames_used, 1);
    ck_assert_uint_eq(stats.frames_dirty, 1);
    ck_assert_uint_eq(stats.frames_pinned, 0);
    ck_assert_uint_eq(disk->outs, 0);
    ck_assert_uint_eq(disk->bytes[0], world_byte(0));
    world_expect(&world, at, 0x5e);
    world_end(&world);
}

#define REFUSED(call, expected)                                                \
    do {                                                                       \
        int refused_error = (call);                                            \
        ck_assert_msg(refused_error == (expected), "%s: %d, not %d", #call,    \
                      refused_error, (expected));                              \
    } while (0)

/* ---- hurdmm_create ------------------------------------------------------- */

static struct hurdmm_options good_options(struct hurdmm_port *port)
{
    return (struct hurdmm_options){
        .struct_size = sizeof(struct hurdmm_options),
        .port = port,
        .budget = 32 * 256,
    };
}

START_TEST(create_refuses_bad_options)
{
    struct hurdmm_sim_options machine = {.struct_size = sizeof machine,
                                         .page_size = 256};
    struct hurdmm_port *port;
    ck_assert_int_eq(hurdmm_sim_create(&machine, &port), 0);
    struct hurdmm *none = (struct hurdmm *)1;
    struct hurdmm *manager = none;
    const struct hurdmm_options good = good_options(port);
    struct hurdmm_options bad[9];
    for (unsigned i = 0; i < 9; i++)
        bad[i] = good;
    bad[0].struct_size = 4;
    bad[1].port = NULL;
    bad[2].budget = 15 * 256;
    bad[3].budget = 0;
    bad[4].flags = 0x80000000u;
    bad[5].low_water = 20 * 256;
    bad[5].high_water = 10 * 256;
    bad[6].high_water = 100 * 256;
    bad[7].low_water = 100 * 256;
    bad[8].dirty_limit = 100 * 256;
    for (unsigned i = 0; i < 8; i++) {
        int error = hurdmm_create(&bad[i], &manager);
        ck_assert_msg(error == EINVAL, "options %u: %d", i, error);
        ck_assert_ptr_eq(manager, none);
    }
    REFUSED(hurdmm_create(NULL, &manager), EINVAL);
    REFUSED(hurdmm_create(&good, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_create(&good, &manager), 0);
    ck_assert_int_eq(hurdmm_destroy(manager, 0), 0);
    hurdmm_sim_destroy(port);
}
END_TEST

START_TEST(the_manager_functions_refuse)
{
    struct hurdmm_stats stats = {.struct_size = 0};
    void *memory = (void *)1;
    REFUSED(hurdmm_destroy(NULL, 0), EINVAL);
    REFUSED(hurdmm_destroy(world.manager, 0x100), EINVAL);
    REFUSED(hurdmm_set_budget(world.manager, 15 * world.page), EINVAL);
    REFUSED(hurdmm_set_budget(world.manager, 0), EINVAL);
    REFUSED(hurdmm_set_budget(world.manager, 33 * world.page), EINVAL);
    REFUSED(hurdmm_get_stats(world.manager, NULL), EINVAL);
    REFUSED(hurdmm_get_stats(world.manager, &stats), EINVAL);
    REFUSED(hurdmm_allocate(world.manager, 0, &memory), EINVAL);
    REFUSED(hurdmm_allocate(world.manager, 8, NULL), EINVAL);
    int error = hurdmm_allocate(world.manager, SIZE_MAX - 3, &memory);
    ck_assert(error == ENOMEM || error == EINVAL);
    ck_assert_ptr_eq(memory, (void *)1);
    ck_assert_uint_eq(world_stats(&world).frames_budget, 32);
}
END_TEST

/* ---- Stores -------------------------------------------------------------- */

static int page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(buffer, 0, length);
    return 0;
}

START_TEST(store_create_refuses)
{
    static const struct hurdmm_store_ops nothing = {.struct_size =
                                                        sizeof nothing};
    static const struct hurdmm_store_ops read = {.struct_size = sizeof read,
                                                 .page_in = page_in};
    static const struct hurdmm_store_ops small = {.struct_size = 8,
                                                  .page_in = page_in};
    struct hurdmm_store_options good = {
        .struct_size = sizeof good,
        .size = 4 * world.page,
        .flags = HURDMM_STORE_READ_ONLY,
    };
    struct hurdmm_store *none = (struct hurdmm_store *)1;
    struct hurdmm_store *store = none;
    struct hurdmm_store_options bad[6];
    for (unsigned i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].struct_size = 4;
    bad[1].block_size = world.page / 2;
    bad[2].block_size = 3 * world.page;
    bad[3].flags |= 0x80000000u;
    bad[4].flags = 0; /* writable without page_out */
    bad[5].block_size = 1000 * world.page;
    for (unsigned i = 0; i < 6; i++) {
        int error = hurdmm_store_create(world.manager, &read, &bad[i], &store);
        ck_assert_msg(error == EINVAL, "options %u: %d", i, error);
        ck_assert_ptr_eq(store, none);
    }
    REFUSED(hurdmm_store_create(world.manager, &nothing, &good, &store),
            EINVAL);
    REFUSED(hurdmm_store_create(world.manager, &small, &good, &store), EINVAL);
    REFUSED(hurdmm_store_create(world.manager, NULL, &good, &store), EINVAL);
    REFUSED(hurdmm_store_create(world.manager, &read, NULL, &store), EINVAL);
    REFUSED(hurdmm_store_create(world.manager, &read, &good, NULL), EINVAL);
    ck_assert_ptr_eq(store, none);
    ck_assert_uint_eq(world_stats(&world).stores, 1);
    good.flags = HURDMM_STORE_VOLATILE; /* writable, and may be without it */
    ck_assert_int_eq(hurdmm_store_create(world.manager, &read, &good, &store),
                     0);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
}
END_TEST

/* Each verb of a store's range, with what is wrong for all of them. */
static int store_verb(unsigned number, uint64_t offset, uint64_t length)
{
    size_t done;
    switch (number) {
    case 0:
        return hurdmm_store_flush(disk->store, offset, length, HURDMM_WAIT);
    case 1:
        return hurdmm_store_return(disk->store, offset, length, HURDMM_WAIT);
    case 2:
        return hurdmm_store_discard(disk->store, offset, length);
    case 3:
        return hurdmm_store_sync(disk->store, offset, length, HURDMM_WAIT);
    case 4:
        return hurdmm_store_advise(disk->store, offset, length,
                                   HURDMM_ADVICE_DONTNEED);
    default:
        return hurdmm_store_populate(disk->store, offset, (size_t)length,
                                     &done);
    }
}

START_TEST(verbs_refuse_bad_ranges)
{
    uint64_t page = world.page;
    for (unsigned i = 0; i < 6; i++) {
        ck_assert_msg(store_verb(i, 1, page) == EINVAL, "verb %u", i);
        ck_assert_msg(store_verb(i, 0, page + 1) == EINVAL, "verb %u", i);
        ck_assert_msg(store_verb(i, 0, 0) == EINVAL, "verb %u", i);
        ck_assert_msg(store_verb(i, 0 - page, 2 * page) == EINVAL, "verb %u",
                      i);
    }
    REFUSED(hurdmm_store_flush(disk->store, 0, page, 0x10), EINVAL);
    REFUSED(hurdmm_store_return(disk->store, 0, page, 0x10), EINVAL);
    REFUSED(hurdmm_store_sync(disk->store, 0, page, 0x10), EINVAL);
    REFUSED(hurdmm_store_destroy(disk->store, 0x10), EINVAL);
    REFUSED(hurdmm_store_advise(disk->store, 0, page, (enum hurdmm_advice)77),
            EINVAL);
}
END_TEST

START_TEST(verbs_past_the_end_do_nothing)
{
    for (unsigned i = 0; i < 5; i++)
        ck_assert_msg(store_verb(i, 100 * world.page, world.page) == 0,
                      "verb %u", i);
    size_t done = 9;
    REFUSED(
        hurdmm_store_populate(disk->store, 100 * world.page, world.page, &done),
        ENXIO);
    ck_assert_uint_eq(done, 0);
}
END_TEST

START_TEST(transfers_refuse)
{
    size_t done = 9;
    REFUSED(hurdmm_store_read(disk->store, 0, NULL, 1, &done), EINVAL);
    ck_assert_uint_eq(done, 0);
    done = 9;
    REFUSED(hurdmm_store_write(disk->store, 0, NULL, 1, &done), EINVAL);
    ck_assert_uint_eq(done, 0);
    REFUSED(hurdmm_store_read(disk->store, 0, bytes, 1, NULL), EINVAL);
    REFUSED(hurdmm_store_write(disk->store, 0, bytes, 1, NULL), EINVAL);
    done = 9;
    REFUSED(hurdmm_store_read(disk->store, UINT64_MAX - 2, bytes, 8, &done),
            EINVAL);
    ck_assert_uint_eq(done, 0);
    REFUSED(hurdmm_read(world.space, at, NULL, 1, &done), EINVAL);
    REFUSED(hurdmm_write(world.space, at, NULL, 1, &done), EINVAL);
    REFUSED(hurdmm_read(world.space, at, bytes, 1, NULL), EINVAL);
    REFUSED(hurdmm_write(world.space, at, bytes, 1, NULL), EINVAL);
    REFUSED(hurdmm_read(world.space, UINTPTR_MAX - 2, bytes, 8, &done), EINVAL);
}
END_TEST

START_TEST(supply_and_cache_refuse)
{
    size_t done = 9;
    uint64_t given;
    struct hurdmm_container *c;
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_allocate(c, 0, world.page, 0, &given), 0);
    size_t page = world.page;
    REFUSED(hurdmm_store_supply(disk->store, 1, bytes, page, &done), EINVAL);
    REFUSED(hurdmm_store_supply(disk->store, page, bytes, page / 2, &done),
            EINVAL);
    REFUSED(hurdmm_store_supply(disk->store, page, bytes, 0, &done), EINVAL);
    REFUSED(hurdmm_store_supply(disk->store, page, NULL, page, &done), EINVAL);
    REFUSED(hurdmm_store_supply(disk->store, page, bytes, page, NULL), EINVAL);
    REFUSED(hurdmm_store_supply(disk->store, 8 * page, bytes, page, &done),
            EINVAL);
    REFUSED(hurdmm_store_cache(disk->store, 1, c, 0, page, &done), EINVAL);
    REFUSED(hurdmm_store_cache(disk->store, page, c, 1, page, &done), EINVAL);
    REFUSED(hurdmm_store_cache(disk->store, page, c, 0, 1, &done), EINVAL);
    REFUSED(hurdmm_store_cache(disk->store, page, c, 0, 0, &done), EINVAL);
    REFUSED(hurdmm_store_cache(disk->store, page, NULL, 0, page, &done),
            EINVAL);
    REFUSED(hurdmm_store_cache(disk->store, page, c, 0, page, NULL), EINVAL);
    REFUSED(hurdmm_store_cache(disk->store, 8 * page, c, 0, page, &done),
            EINVAL);
    REFUSED(hurdmm_store_cache(disk->store, page, c, page, page, &done),
            ENOENT);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

START_TEST(state_and_resize_refuse)
{
    unsigned state = 77;
    int error = 77;
    REFUSED(hurdmm_store_state(disk->store, 100 * world.page, &state, &error),
            EINVAL);
    REFUSED(hurdmm_store_state(disk->store, 0, NULL, &error), EINVAL);
    ck_assert_uint_eq(state, 77);
    ck_assert_int_eq(error, 77);
    REFUSED(hurdmm_store_resize(disk->store, UINT64_MAX), EINVAL);
    ck_assert_uint_eq(hurdmm_store_size(disk->store), 8 * world.page);
}
END_TEST

START_TEST(containers_refuse)
{
    struct hurdmm_container *c;
    uint64_t given = 9;
    size_t done = 9;
    uint64_t page = world.page;
    REFUSED(hurdmm_container_create(world.manager, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    REFUSED(hurdmm_container_allocate(c, 1, page, 0, &given), EINVAL);
    REFUSED(hurdmm_container_allocate(c, 0, page + 1, 0, &given), EINVAL);
    REFUSED(hurdmm_container_allocate(c, 0, 0, 0, &given), EINVAL);
    REFUSED(hurdmm_container_allocate(c, 0 - page, 2 * page, 0, &given),
            EINVAL);
    REFUSED(hurdmm_container_allocate(c, 0, page, 0x80, &given), EINVAL);
    REFUSED(hurdmm_container_allocate(c, 0, page, 0, NULL), EINVAL);
    REFUSED(hurdmm_container_release(c, 1, page), EINVAL);
    REFUSED(hurdmm_container_release(c, 0, 1), EINVAL);
    REFUSED(hurdmm_container_release(c, 0, 0), EINVAL);
    REFUSED(hurdmm_container_read(c, 0, NULL, 1, &done), EINVAL);
    REFUSED(hurdmm_container_read(c, 0, bytes, 1, NULL), EINVAL);
    REFUSED(hurdmm_container_write(c, 0, NULL, 1, &done), EINVAL);
    REFUSED(hurdmm_container_write(c, 0, bytes, 1, NULL), EINVAL);
    REFUSED(hurdmm_container_read(c, UINT64_MAX, bytes, 8, &done), EINVAL);
    REFUSED(hurdmm_container_read(c, 0, bytes, 8, &done), ENOENT);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    REFUSED(hurdmm_container_destroy(NULL), EINVAL);
}
END_TEST

/* ---- Regions ------------------------------------------------------------- */

START_TEST(bind_refuses)
{
    const struct hurdmm_bind_options good = {
        .struct_size = sizeof good,
        .space = world.space,
        .store = disk->store,
        .offset = 4 * world.page,
        .length = world.page,
        .rights = HURDMM_READ,
    };
    struct hurdmm_bind_options bad[18];
    uintptr_t got = 1;
    for (unsigned i = 0; i < 18; i++)
        bad[i] = good;
    bad[0].struct_size = 8;
    bad[1].space = NULL;
    bad[2].store = NULL;
    bad[3].offset = 1;
    bad[4].length = 0;
    bad[5].length = world.page + 1;
    bad[6].rights = 0x80;
    bad[7].rights = HURDMM_WRITE;
    bad[8].max_rights = 0x80;
    bad[9].max_rights = HURDMM_EXECUTE; /* less than rights */
    bad[10].advice = HURDMM_ADVICE_WILLNEED;
    bad[11].advice = (enum hurdmm_advice)99;
    bad[12].flags = 0x100;
    bad[13].flags = HURDMM_BIND_EXACT;
    bad[13].address = 0x200001;
    bad[14].offset = 0 - (uint64_t)world.page;
    bad[14].length = 2 * world.page;
    bad[15].flags = HURDMM_BIND_EXACT;
    bad[15].address = 0 - (uintptr_t)world.page;
    bad[15].length = 2 * world.page;
    bad[16].length = SIZE_MAX - world.page + 1;
    bad[17].flags = HURDMM_BIND_RESERVED; /* with a store */
    for (unsigned i = 0; i < 18; i++) {
        int error = hurdmm_bind(&bad[i], &got);
        ck_assert_msg(error == EINVAL || (i == 16 && error == ENOMEM),
                      "bind %u: %d", i, error);
        ck_assert_uint_eq(got, 1);
    }
    REFUSED(hurdmm_bind(NULL, &got), EINVAL);
    REFUSED(hurdmm_bind(&good, NULL), EINVAL);
}
END_TEST

/* Each call on a range of a space. */
static int range_call(unsigned number, uintptr_t address, size_t length)
{
    uint8_t states[8];
    switch (number) {
    case 0:
        return hurdmm_unbind(world.space, address, length);
    case 1:
        return hurdmm_protect(world.space, address, length, HURDMM_READ);
    case 2:
        return hurdmm_advise(world.space, address, length,
                             HURDMM_ADVICE_RANDOM);
    case 3:
        return hurdmm_populate(world.space, address, length, HURDMM_READ, NULL);
    case 4:
        return hurdmm_pin(world.space, address, length, HURDMM_READ);
    case 5:
        return hurdmm_unpin(world.space, address, length, HURDMM_READ);
    case 6:
        return hurdmm_flush(world.space, address, length, HURDMM_WAIT);
    case 7:
        return hurdmm_return(world.space, address, length, HURDMM_WAIT);
    case 8:
        return hurdmm_discard(world.space, address, length);
    case 9:
        return hurdmm_sync(world.space, address, length, HURDMM_WAIT);
    default:
        return hurdmm_resident(world.space, address, length, states);
    }
}

START_TEST(calls_by_address_refuse_bad_ranges)
{
    size_t page = world.page;
    for (unsigned i = 0; i <= 10; i++) {
        ck_assert_msg(range_call(i, at + 1, page) == EINVAL, "call %u", i);
        ck_assert_msg(range_call(i, at, page - 1) == EINVAL, "call %u", i);
        ck_assert_msg(range_call(i, at, 0) == EINVAL, "call %u", i);
        ck_assert_msg(range_call(i, 0 - (uintptr_t)page, 2 * page) == EINVAL,
                      "call %u", i);
    }
}
END_TEST

START_TEST(calls_by_address_say_where_nothing_is_bound)
{
    uintptr_t hole = at + 64 * world.page;
    for (unsigned i = 1; i <= 10; i++) {
        int error = range_call(i, hole, world.page);
        ck_assert_msg(error == ENOENT, "call %u: %d", i, error);
    }
    ck_assert_int_eq(range_call(0, hole, world.page), 0);
}
END_TEST

START_TEST(calls_by_address_refuse_unknown_words)
{
    size_t page = world.page;
    size_t done = 9;
    REFUSED(hurdmm_protect(world.space, at, page, 0x80), EINVAL);
    REFUSED(hurdmm_protect(world.space, at, page, HURDMM_WRITE), EINVAL);
    REFUSED(hurdmm_advise(world.space, at, page, (enum hurdmm_advice)99),
            EINVAL);
    REFUSED(hurdmm_populate(world.space, at, page, 0x80, &done), EINVAL);
    ck_assert_uint_eq(done, 0);
    REFUSED(hurdmm_populate(world.space, at, page, 0, &done), EINVAL);
    REFUSED(hurdmm_pin(world.space, at, page, 0), EINVAL);
    REFUSED(hurdmm_pin(world.space, at, page, 0x80), EINVAL);
    REFUSED(hurdmm_unpin(world.space, at, page, HURDMM_READ), EINVAL);
    REFUSED(hurdmm_unpin(world.space, at, page, 0x80), EINVAL);
    REFUSED(hurdmm_flush(world.space, at, page, 0x10), EINVAL);
    REFUSED(hurdmm_return(world.space, at, page, 0x10), EINVAL);
    REFUSED(hurdmm_sync(world.space, at, page, 0x10), EINVAL);
    REFUSED(hurdmm_resident(world.space, at, page, NULL), EINVAL);
    REFUSED(hurdmm_region_find(world.space, at, NULL), EINVAL);
}
END_TEST

static int catch_nothing(void *hook, const struct hurdmm_catch_info *info)
{
    (void)hook;
    (void)info;
    return EFAULT;
}

START_TEST(catch_refuses)
{
    size_t page = world.page;
    REFUSED(hurdmm_catch(world.space, at, page, NULL, NULL), EINVAL);
    REFUSED(hurdmm_catch(world.space, at, 0, catch_nothing, NULL), EINVAL);
    REFUSED(hurdmm_catch(world.space, 0 - (uintptr_t)page, 2 * page,
                         catch_nothing, NULL),
            EINVAL);
    REFUSED(hurdmm_catch(NULL, at, page, catch_nothing, NULL), EINVAL);
    REFUSED(hurdmm_uncatch(world.space, at), ENOENT);
}
END_TEST

START_TEST(spaces_refuse)
{
    struct hurdmm_space *none = (struct hurdmm_space *)1;
    struct hurdmm_space *space = none;
    REFUSED(hurdmm_space_create(world.manager, (void *)8, &space), ENOTSUP);
    ck_assert_ptr_eq(space, none);
    REFUSED(hurdmm_space_create(world.manager, NULL, NULL), EINVAL);
    REFUSED(hurdmm_space_destroy(world.space, 0x100), EINVAL);
    REFUSED(hurdmm_space_destroy(world.space, 0), EBUSY);
    REFUSED(hurdmm_space_destroy(NULL, 0), EINVAL);
}
END_TEST

/* ---- Handles ------------------------------------------------------------- */

/* NULL, and what is no handle of this kind. */
START_TEST(handles_of_nothing_are_refused)
{
    static uint64_t junk[64];
    struct hurdmm_store *stores[] = {NULL, (void *)junk};
    struct hurdmm_space *spaces[] = {NULL, (void *)junk};
    struct hurdmm_container *containers[] = {NULL, (void *)junk};
    size_t done;
    uint64_t given;
    unsigned state;
    memset(junk, 0xa5, sizeof junk);
    for (unsigned i = 0; i < 2; i++) {
        int errors[] = {
            hurdmm_store_flush(stores[i], 0, world.page, 0),
            hurdmm_store_read(stores[i], 0, bytes, 1, &done),
            hurdmm_store_destroy(stores[i], 0),
            hurdmm_store_resize(stores[i], 1),
            hurdmm_store_state(stores[i], 0, &state, NULL),
            hurdmm_unbind(spaces[i], at, world.page),
            hurdmm_read(spaces[i], at, bytes, 1, &done),
            hurdmm_container_allocate(containers[i], 0, world.page, 0, &given),
            hurdmm_container_read(containers[i], 0, bytes, 1, &done),
            hurdmm_store_cache(disk->store, world.page, containers[i], 0,
                               world.page, &done),
        };
        for (unsigned j = 0; j < sizeof errors / sizeof *errors; j++)
            ck_assert_msg(errors[j] == EINVAL || errors[j] == ESTALE,
                          "handle %u, call %u: %d", i, j, errors[j]);
    }
}
END_TEST

START_TEST(destroyed_handles_are_stale)
{
    struct disk *gone = world_disk(&world, 4 * world.page, 0);
    struct hurdmm_store *store = gone->store;
    struct hurdmm_container *c;
    uint64_t given;
    uintptr_t got = 1;
    size_t done;
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    gone->store = NULL;
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .store = store,
        .length = world.page,
        .rights = HURDMM_READ,
    };
    REFUSED(hurdmm_bind(&bind, &got), ESTALE);
    REFUSED(hurdmm_store_read(store, 0, bytes, 1, &done), ESTALE);
    REFUSED(hurdmm_store_destroy(store, 0), ESTALE);
    REFUSED(hurdmm_store_sync(store, 0, world.page, HURDMM_WAIT), ESTALE);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    REFUSED(hurdmm_container_destroy(c), ESTALE);
    REFUSED(hurdmm_container_allocate(c, 0, world.page, 0, &given), ESTALE);
}
END_TEST

START_TEST(handles_of_another_manager_are_refused)
{
    static struct world other;
    world_begin(&other, NULL);
    struct hurdmm_container *c;
    uint64_t given;
    size_t done = 9;
    ck_assert_int_eq(hurdmm_container_create(other.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_allocate(c, 0, other.page, 0, &given), 0);
    int error =
        hurdmm_store_cache(disk->store, world.page, c, 0, world.page, &done);
    ck_assert(error == EINVAL || error == ESTALE);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    world_end(&other);
}
END_TEST

/* In a child after fork() the port has nothing of what the parent has. */
START_TEST(after_a_fork_everything_is_stale)
{
    size_t done;
    uintptr_t got;
    uint64_t given;
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    struct hurdmm_container *c;
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    hurdmm_sim_fail(world.port, HURDMM_SIM_CRITICAL, 1, 0, 1);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .store = disk->store,
        .offset = 2 * world.page,
        .length = world.page,
        .rights = HURDMM_READ,
    };
    REFUSED(hurdmm_bind(&bind, &got), ESTALE);
    REFUSED(hurdmm_unbind(world.space, at, world.page), ESTALE);
    REFUSED(hurdmm_store_read(disk->store, 0, bytes, 1, &done), ESTALE);
    REFUSED(hurdmm_read(world.space, at, bytes, 1, &done), ESTALE);
    REFUSED(hurdmm_sync_all(world.manager), ESTALE);
    REFUSED(hurdmm_get_stats(world.manager, &stats), ESTALE);
    REFUSED(hurdmm_check(world.manager, NULL), ESTALE);
    REFUSED(hurdmm_process(world.manager, 0, NULL), ESTALE);
    REFUSED(hurdmm_set_budget(world.manager, 20 * world.page), ESTALE);
    REFUSED(hurdmm_container_allocate(c, 0, world.page, 0, &given), ESTALE);
    REFUSED(hurdmm_store_destroy(disk->store, HURDMM_DETACH), ESTALE);
    REFUSED(hurdmm_destroy(world.manager, HURDMM_DETACH), ESTALE);
    hurdmm_sim_fail(world.port, 0, 0, 0, 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

/* ---- The predefined stores ----------------------------------------------- */

START_TEST(the_predefined_stores_refuse)
{
    struct hurdmm_store *none = (struct hurdmm_store *)1;
    struct hurdmm_store *store = none;
    struct hurdmm_swap *swap = NULL;
    REFUSED(hurdmm_anonymous_create(world.manager, NULL, world.page, 0x1000,
                                    &store),
            EINVAL);
    REFUSED(hurdmm_anonymous_create(world.manager, NULL, world.page, 0, NULL),
            EINVAL);
    REFUSED(hurdmm_computed_create(world.manager, world.page, 0, NULL, NULL,
                                   &store),
            EINVAL);
    REFUSED(hurdmm_swap_create(world.manager, NULL, &swap), EINVAL);
    ck_assert_ptr_eq(store, none);
    ck_assert_uint_eq(world_stats(&world).stores, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("bad input");
    TCase *c = tcase_create("bad input");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, create_refuses_bad_options);
    tcase_add_test(c, the_manager_functions_refuse);
    tcase_add_test(c, store_create_refuses);
    tcase_add_test(c, verbs_refuse_bad_ranges);
    tcase_add_test(c, verbs_past_the_end_do_nothing);
    tcase_add_test(c, transfers_refuse);
    tcase_add_test(c, supply_and_cache_refuse);
    tcase_add_test(c, state_and_resize_refuse);
    tcase_add_test(c, containers_refuse);
    tcase_add_test(c, bind_refuses);
    tcase_add_test(c, calls_by_address_refuse_bad_ranges);
    tcase_add_test(c, calls_by_address_say_where_nothing_is_bound);
    tcase_add_test(c, calls_by_address_refuse_unknown_words);
    tcase_add_test(c, catch_refuses);
    tcase_add_test(c, spaces_refuse);
    tcase_add_test(c, handles_of_nothing_are_refused);
    tcase_add_test(c, destroyed_handles_are_stale);
    tcase_add_test(c, handles_of_another_manager_are_refused);
    tcase_add_test(c, after_a_fork_everything_is_stale);
    tcase_add_test(c, the_predefined_stores_refuse);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-bad-input", suites, 1);
}
