/* SPDX-License-Identifier: MIT */
/* Grants: what a holder may do, may not do, and loses at once. */
#include "tests/physmem/rig.h"
#include "tests/support/runner.h"

/* Of a machine whose clock does not run while nobody does (tests/l4). */
#ifndef tcase_add_timed_test
#define tcase_add_timed_test tcase_add_test
#define tcase_add_timed_tests tcase_add_loop_test
#endif

static struct world world;
static struct hurdmm_container *owner;

static void begin(void)
{
    world_begin(&world, NULL);
    owner = rig_filled(&world, "abcd");
}

static void end(void)
{
    world_end(&world);
}

static struct hurdmm_grant *granted(unsigned first, unsigned pages,
                                    unsigned rights)
{
    struct hurdmm_grant *grant = NULL;
    ck_assert_int_eq(hurdmm_grant_create(owner, first * world.page,
                                         pages * world.page, rights, &grant),
                     0);
    return grant;
}

static char letter(struct hurdmm_grant *grant, unsigned page, int expected)
{
    char byte = 0;
    size_t done = 9;
    ck_assert_int_eq(
        hurdmm_grant_read(grant, page * world.page, &byte, 1, &done), expected);
    ck_assert_uint_eq(done, expected == 0);
    return byte;
}

START_TEST(a_holder_reads_and_writes)
{
    struct hurdmm_grant *grant = granted(1, 2, HURDMM_READ | HURDMM_WRITE);
    size_t done;
    ck_assert_int_eq(letter(grant, 0, 0), 'b');
    ck_assert_int_eq(letter(grant, 1, 0), 'c');
    ck_assert_int_eq(hurdmm_grant_write(grant, world.page + 3, "X", 1, &done),
                     0);
    rig_expect(&world, owner, "ab?d");
}
END_TEST

START_TEST(a_holder_does_not_leave_the_range)
{
    struct hurdmm_grant *grant = granted(1, 2, HURDMM_READ | HURDMM_WRITE);
    char bytes[1024];
    size_t done = 9;
    uintptr_t address;
    (void)letter(grant, 2, ENXIO);
    ck_assert_int_eq(
        hurdmm_grant_read(grant, world.page, bytes, 2 * world.page, &done),
        ENXIO);
    ck_assert_int_eq(hurdmm_grant_read(grant, UINT64_MAX - 3, bytes, 8, &done),
                     ENXIO);
    ck_assert_int_eq(hurdmm_grant_write(grant, 2 * world.page, "X", 1, &done),
                     ENXIO);
    ck_assert_int_eq(hurdmm_grant_map(grant, world.page, 2 * world.page,
                                      world.space, HURDMM_READ, &address),
                     ENXIO);
    rig_expect(&world, owner, "abcd");
}
END_TEST

START_TEST(beyond_the_rights_is_eperm)
{
    struct hurdmm_grant *grant = granted(0, 4, HURDMM_READ);
    size_t done = 9;
    uintptr_t address;
    ck_assert_int_eq(hurdmm_grant_write(grant, 0, "X", 1, &done), EPERM);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(hurdmm_grant_map(grant, 0, world.page, world.space,
                                      HURDMM_READ | HURDMM_WRITE, &address),
                     EPERM);
    rig_expect(&world, owner, "abcd");
}
END_TEST

START_TEST(a_hole_is_enoent_until_it_is_filled)
{
    struct hurdmm_grant *grant = granted(4, 4, HURDMM_READ);
    uint64_t done;
    (void)letter(grant, 1, ENOENT);
    ck_assert_int_eq(
        hurdmm_container_allocate(owner, 5 * world.page, world.page, 0, &done),
        0);
    ck_assert_int_eq(letter(grant, 1, 0), 0);
}
END_TEST

START_TEST(a_mapping_shows_the_memory)
{
    struct hurdmm_grant *grant = granted(1, 2, HURDMM_READ | HURDMM_WRITE);
    uintptr_t address = 0;
    ck_assert_int_eq(hurdmm_grant_map(grant, 0, 2 * world.page, world.space,
                                      HURDMM_READ | HURDMM_WRITE, &address),
                     0);
    world_expect(&world, address + world.page, 'c');
    world_put(&world, address, 'X');
    rig_expect(&world, owner, "a?cd");
}
END_TEST

START_TEST(a_mapping_to_read_cannot_be_raised)
{
    struct hurdmm_grant *grant = granted(0, 4, HURDMM_READ);
    uintptr_t address = 0;
    ck_assert_int_eq(hurdmm_grant_map(grant, 0, 2 * world.page, world.space,
                                      HURDMM_READ, &address),
                     0);
    ck_assert_int_eq(hurdmm_protect(world.space, address, world.page,
                                    HURDMM_READ | HURDMM_WRITE),
                     EACCES);
    ck_assert_int_eq(world_store(&world, address, 'X'), EACCES);
    rig_expect(&world, owner, "abcd");
}
END_TEST

START_TEST(revoking_takes_mappings_at_once)
{
    struct hurdmm_grant *grant = granted(0, 4, HURDMM_READ | HURDMM_WRITE);
    struct hurdmm_grant *other = granted(0, 4, HURDMM_READ);
    uintptr_t address = 0, kept = 0, own = rig_bind(&world, owner, 4);
    uint8_t byte;
    ck_assert_int_eq(hurdmm_grant_map(grant, 0, 4 * world.page, world.space,
                                      HURDMM_READ | HURDMM_WRITE, &address),
                     0);
    ck_assert_int_eq(hurdmm_grant_map(other, 0, 4 * world.page, world.space,
                                      HURDMM_READ, &kept),
                     0);
    world_put(&world, address, 'X');
    ck_assert_int_eq(hurdmm_grant_revoke(grant), 0);
    ck_assert_int_ne(world_load(&world, address, &byte), 0);
    ck_assert_int_ne(world_store(&world, address, 'Y'), 0);
    (void)letter(grant, 0, ESTALE);
    world_expect(&world, kept, 'X');
    world_put(&world, own, 'Z');
    world_expect(&world, kept, 'Z');
}
END_TEST

START_TEST(revoking_what_is_pinned_takes_nothing)
{
    struct hurdmm_grant *grant = granted(0, 4, HURDMM_READ);
    uintptr_t address[2];
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(hurdmm_grant_map(grant, 2 * i * world.page, world.page,
                                          world.space, HURDMM_READ,
                                          &address[i]),
                         0);
    ck_assert_int_eq(
        hurdmm_pin(world.space, address[1], world.page, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_grant_revoke(grant), EBUSY);
    world_expect(&world, address[0], 'a');
    world_expect(&world, address[1], 'c');
    ck_assert_int_eq(
        hurdmm_unpin(world.space, address[1], world.page, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_grant_revoke(grant), 0);
}
END_TEST

START_TEST(a_stale_grant_is_estale)
{
    struct hurdmm_grant *grant = granted(0, 4, HURDMM_READ);
    uintptr_t address;
    size_t done;
    ck_assert_int_eq(hurdmm_grant_revoke(grant), 0);
    ck_assert_int_eq(hurdmm_grant_revoke(grant), ESTALE);
    ck_assert_int_eq(hurdmm_grant_hold(grant, 1000), ESTALE);
    ck_assert_int_eq(hurdmm_grant_drop(grant), ESTALE);
    ck_assert_int_eq(hurdmm_grant_write(grant, 0, "X", 1, &done), ESTALE);
    ck_assert_int_eq(hurdmm_grant_map(grant, 0, world.page, world.space,
                                      HURDMM_READ, &address),
                     ESTALE);
}
END_TEST

START_TEST(a_grant_ends_with_its_container)
{
    struct hurdmm_grant *grant = granted(0, 4, HURDMM_READ);
    ck_assert_int_eq(hurdmm_container_destroy(owner), 0);
    (void)letter(grant, 0, ESTALE);
}
END_TEST

START_TEST(bad_grants_are_refused)
{
    struct hurdmm_grant *grant = NULL;
    ck_assert_int_eq(
        hurdmm_grant_create(owner, 1, world.page, HURDMM_READ, &grant), EINVAL);
    ck_assert_int_eq(hurdmm_grant_create(owner, 0, 0, HURDMM_READ, &grant),
                     EINVAL);
    ck_assert_int_eq(hurdmm_grant_create(owner, 0, world.page, 1u << 9, &grant),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_grant_create(NULL, 0, world.page, HURDMM_READ, &grant), EINVAL);
}
END_TEST

/* ---- Holds ---------------------------------------------------------------- */

struct holder {
    struct hurdmm_grant *grant;
    uint64_t hold_ns, sleep_ns;
    bool dropped;
    int error;
};

static void hold_body(void *argument)
{
    struct holder *holder = argument;
    holder->error = hurdmm_grant_hold(holder->grant, holder->hold_ns);
    hurdmm_sim_sleep(world.port, holder->sleep_ns);
    size_t done;
    if (holder->error == 0)
        holder->error = hurdmm_grant_write(holder->grant, 0, "X", 1, &done);
    (void)hurdmm_grant_drop(holder->grant);
    holder->dropped = true;
}

static uint64_t clock_now(void)
{
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(world.port, &stats);
    return stats.clock_ns;
}

START_TEST(revoking_waits_for_a_hold_that_is_dropped)
{
    struct holder holder = {granted(0, 4, HURDMM_READ | HURDMM_WRITE),
                            100000000, 1000000, false, -1};
    world_spawn(&world, hold_body, &holder);
    hurdmm_sim_sleep(world.port, 1000);
    uint64_t start = clock_now();
    ck_assert_int_eq(hurdmm_grant_revoke(holder.grant), 0);
    ck_assert_uint_lt(clock_now() - start, 50000000);
    world_run(&world);
    ck_assert_int_eq(holder.error, 0);
    ck_assert(holder.dropped);
    rig_expect(&world, owner, "?bcd");
}
END_TEST

START_TEST(revoking_does_not_wait_for_ever)
{
    struct holder holder = {granted(0, 4, HURDMM_READ | HURDMM_WRITE), 1000000,
                            900000000, false, -1};
    world_spawn(&world, hold_body, &holder);
    hurdmm_sim_sleep(world.port, 1000);
    uint64_t start = clock_now();
    ck_assert_int_eq(hurdmm_grant_revoke(holder.grant), 0);
    ck_assert_uint_lt(clock_now() - start, 100000000);
    ck_assert(!holder.dropped);
    world_run(&world);
    ck_assert_int_eq(holder.error, ESTALE);
    rig_expect(&world, owner, "abcd");
}
END_TEST

/* ---- A use that takes its time ---- */

struct slow {
    struct hurdmm_grant *grant;
    struct hurdmm_store *store;
    int revoked; /* what revoking said from the callback, -1: not tried */
    bool revoking, began, filled, done;
    int error;
};

static int slow_page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                        void *buffer, size_t length, size_t *done)
{
    struct slow *slow = hook;
    (void)store;
    (void)offset;
    (void)done;
    __atomic_store_n(&slow->revoking, true, __ATOMIC_SEQ_CST);
    if (slow->revoked == -1)
        slow->revoked = hurdmm_grant_revoke(slow->grant);
    __atomic_store_n(&slow->began, true, __ATOMIC_SEQ_CST);
    hurdmm_sim_sleep(world.port, 1000000);
    memset(buffer, 's', length);
    __atomic_store_n(&slow->filled, true, __ATOMIC_SEQ_CST);
    return 0;
}

static void slow_body(void *argument)
{
    struct slow *slow = argument;
    char byte = 0;
    size_t done;
    slow->error = hurdmm_grant_read(slow->grant, 0, &byte, 1, &done);
    if (slow->error == 0)
        slow->error = byte == 's' ? 0 : EIO;
    slow->done = true;
}

/* A grant on a container that has a promise of a slow store's page. */
static void slow_begin(struct slow *slow)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = slow_page_in};
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .hook = slow,
                                           .size = world.page,
                                           .flags = HURDMM_STORE_VOLATILE};
    struct hurdmm_container *copy = rig_container(&world);
    ck_assert_int_eq(
        hurdmm_store_create(world.manager, &ops, &options, &slow->store), 0);
    rig_copied(&world, copy, 0, hurdmm_store_container(slow->store), 0, 1, 0);
    ck_assert_int_eq(hurdmm_grant_create(copy, 0, world.page,
                                         HURDMM_READ | HURDMM_WRITE,
                                         &slow->grant),
                     0);
}

START_TEST(revoking_waits_for_what_is_under_way)
{
    struct slow slow = {.error = -1};
    slow_begin(&slow);
    world_spawn(&world, slow_body, &slow);
    while (!__atomic_load_n(&slow.began, __ATOMIC_SEQ_CST))
        hurdmm_sim_sleep(world.port, 1000);
    ck_assert_int_eq(hurdmm_grant_revoke(slow.grant), 0);
    ck_assert(__atomic_load_n(&slow.filled, __ATOMIC_SEQ_CST));
    world_run(&world);
    ck_assert(slow.done);
    ck_assert_int_eq(slow.error, 0);
}
END_TEST

START_TEST(revoking_by_a_callback_of_the_use_is_edeadlk)
{
    struct slow slow = {.revoked = -1};
    slow_begin(&slow);
    slow_body(&slow);
    ck_assert_int_eq(slow.revoked, EDEADLK);
    ck_assert_int_eq(slow.error, 0);
    ck_assert_int_eq(hurdmm_grant_revoke(slow.grant), 0);
}
END_TEST

/* Holds the grant, and then uses it as long as somebody revokes it by a callback. */
static void hold_and_read(void *argument)
{
    struct slow *slow = argument;
    char byte;
    size_t done;
    ck_assert_int_eq(hurdmm_grant_hold(slow->grant, 100000000), 0);
    while (!__atomic_load_n(&slow->revoking, __ATOMIC_SEQ_CST))
        hurdmm_sim_sleep(world.port, 1000);
    slow->error = hurdmm_grant_read(slow->grant, 0, &byte, 1, &done);
    (void)hurdmm_grant_drop(slow->grant);
}

START_TEST(revoking_by_a_callback_is_edeadlk_also_after_a_hold)
{
    struct slow slow = {.error = -1, .revoked = -1};
    size_t done;
    slow_begin(&slow);
    world_spawn(&world, hold_and_read, &slow);
    hurdmm_sim_sleep(world.port, 1000);
    ck_assert_int_eq(hurdmm_store_populate(slow.store, 0, world.page, &done),
                     0);
    world_run(&world);
    ck_assert_int_eq(slow.revoked, EDEADLK);
    ck_assert_int_eq(slow.error, 0);
    ck_assert_int_eq(hurdmm_grant_revoke(slow.grant), 0);
}
END_TEST

struct mapper {
    struct hurdmm_grant *grant;
    uintptr_t address;
    int revoked, error;
};

static void revoke_body(void *argument)
{
    struct mapper *mapper = argument;
    mapper->revoked = hurdmm_grant_revoke(mapper->grant);
}

START_TEST(a_hold_lets_map_while_somebody_revokes)
{
    struct mapper mapper = {.grant = granted(0, 4, HURDMM_READ)};
    uint8_t byte;
    ck_assert_int_eq(hurdmm_grant_hold(mapper.grant, 100000000), 0);
    mapper.revoked = -1;
    world_spawn(&world, revoke_body, &mapper);
    hurdmm_sim_sleep(world.port, 1000);
    ck_assert_int_eq(hurdmm_grant_map(mapper.grant, 0, world.page, world.space,
                                      HURDMM_READ, &mapper.address),
                     0);
    world_expect(&world, mapper.address, 'a');
    ck_assert_int_eq(mapper.revoked, -1);
    ck_assert_int_eq(hurdmm_grant_drop(mapper.grant), 0);
    world_run(&world);
    ck_assert_int_eq(mapper.revoked, 0);
    ck_assert_int_ne(world_load(&world, mapper.address, &byte), 0);
}
END_TEST

/* Puts a region of the owner's in the place of one that was mapped by a grant. */
static void replace_body(void *argument)
{
    struct mapper *mapper = argument;
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .container = owner,
        .offset = 2 * world.page,
        .length = world.page,
        .address = mapper->address,
        .rights = HURDMM_READ,
        .flags = HURDMM_BIND_EXACT,
    };
    uintptr_t address = 0;
    (void)hurdmm_unbind(world.space, mapper->address, world.page);
    mapper->error = hurdmm_bind(&bind, &address);
}

START_TEST(revoking_leaves_what_is_bound_in_the_place)
{
    struct world_options options = {.seed = 1 + (uint64_t)_i};
    struct mapper mapper = {.revoked = -1, .error = -1};
    world_end(&world);
    world_begin(&world, &options);
    owner = rig_filled(&world, "abcd");
    mapper.grant = granted(0, 4, HURDMM_READ);
    ck_assert_int_eq(hurdmm_grant_map(mapper.grant, 0, world.page, world.space,
                                      HURDMM_READ, &mapper.address),
                     0);
    world_spawn(&world, revoke_body, &mapper);
    world_spawn(&world, replace_body, &mapper);
    world_run(&world);
    ck_assert_int_eq(mapper.revoked, 0);
    ck_assert_int_eq(mapper.error, 0);
    world_expect(&world, mapper.address, 'c');
}
END_TEST

START_TEST(a_hold_is_one_second_at_most)
{
    struct hurdmm_grant *grant = granted(0, 4, HURDMM_READ);
    int error = hurdmm_grant_hold(grant, UINT64_C(60000000000));
    ck_assert(error == 0 || error == EINVAL);
    if (error == 0) {
        uint64_t start = clock_now();
        ck_assert_int_eq(hurdmm_grant_hold(grant, 1000), EBUSY);
        ck_assert_int_eq(hurdmm_grant_revoke(grant), 0);
        ck_assert_uint_le(clock_now() - start, 1100000000);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grant");
    TCase *cases = tcase_create("cases");
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_test(cases, a_holder_reads_and_writes);
    tcase_add_test(cases, a_holder_does_not_leave_the_range);
    tcase_add_test(cases, beyond_the_rights_is_eperm);
    tcase_add_test(cases, a_hole_is_enoent_until_it_is_filled);
    tcase_add_test(cases, a_mapping_shows_the_memory);
    tcase_add_test(cases, a_mapping_to_read_cannot_be_raised);
    tcase_add_test(cases, revoking_takes_mappings_at_once);
    tcase_add_test(cases, revoking_what_is_pinned_takes_nothing);
    tcase_add_test(cases, a_stale_grant_is_estale);
    tcase_add_test(cases, a_grant_ends_with_its_container);
    tcase_add_test(cases, bad_grants_are_refused);
    tcase_add_timed_test(cases, revoking_waits_for_a_hold_that_is_dropped);
    tcase_add_timed_test(cases, revoking_does_not_wait_for_ever);
    tcase_add_timed_test(cases, a_hold_is_one_second_at_most);
    tcase_add_test(cases, revoking_waits_for_what_is_under_way);
    tcase_add_test(cases, revoking_by_a_callback_of_the_use_is_edeadlk);
    tcase_add_timed_test(cases,
                         revoking_by_a_callback_is_edeadlk_also_after_a_hold);
    tcase_add_timed_test(cases, a_hold_lets_map_while_somebody_revokes);
    tcase_add_timed_tests(cases, revoking_leaves_what_is_bound_in_the_place, 0,
                          70);
    suite_add_tcase(suite, cases);
    return run_suites("tests/physmem/test-grant", &suite, 1);
}
