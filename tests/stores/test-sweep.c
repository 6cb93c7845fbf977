/* SPDX-License-Identifier: MIT */
/*
 * Fault sweeps over the stores that are made of others: each store is made, used
 * and ended again and again, and each time a later fallible call fails, once or
 * from then on, until none is met; far from the beginning some are left out.  After each: what a call said was written is
 * there, all structures are sound, and nothing is left behind.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/core/failure.h"
#include "tests/stores/rig.h"
#include "tests/support/runner.h"

#define PAGES 20u
#define DISKS 2
#define DISK_PAGES 40u
#define RUNS_MAX 4000u

struct sweep {
    struct rig rig;
    struct disk disks[DISKS];
    uint8_t bytes[DISKS][DISK_PAGES * PAGE];
    struct hurdmm_store *parts[4];
    struct hurdmm_store *store; /* NULL: it could not be made */
    struct hurdmm_store_device device;
    bool has_device;
    struct hurdmm_swap *swap;
    struct hurdmm_container *container;
    struct hurdmm_grant *grant;
    uintptr_t at;          /* where it is bound; 0: nowhere */
    unsigned truth[PAGES]; /* versions; 0: never written */
    bool failing;
};

struct kind {
    const char *name;
    int (*make)(struct sweep *sweep);
    bool forgets; /* what is discarded is gone */
};

static const struct failure *current;

static bool good(struct sweep *sweep, int error, const char *what)
{
    if (error == 0)
        return true;
    sweep->failing = true;
    ck_assert_msg(failure_excuses(current, error), "%s ended with %d", what,
                  error);
    return false;
}

/* ---- The stores ---------------------------------------------------------- */

static int make_remap(struct sweep *sweep)
{
    const struct hurdmm_run runs[] = {
        {10 * PAGE, 10 * PAGE}, {0, 10 * PAGE}, {30 * PAGE, 4 * PAGE}};

    return hurdmm_remap_create(sweep->rig.manager, sweep->disks[0].store, runs,
                               3, 0, &sweep->store);
}

static int make_concat(struct sweep *sweep)
{
    struct hurdmm_store *stores[] = {sweep->disks[0].store,
                                     sweep->disks[1].store};

    return hurdmm_concat_create(sweep->rig.manager, stores, DISKS, 0,
                                &sweep->store);
}

static int make_stripe(struct sweep *sweep)
{
    struct hurdmm_store *stores[] = {sweep->disks[0].store,
                                     sweep->disks[1].store};

    return hurdmm_stripe_create(sweep->rig.manager, stores, DISKS, 2 * PAGE, 0,
                                &sweep->store);
}

/* A copy of the first disk on a part of the other, which is a remap. */
static int make_copy(struct sweep *sweep)
{
    const uint64_t size = PAGES * PAGE;
    const struct hurdmm_run base = {0, size};
    const struct hurdmm_run delta = {0, hurdmm_copy_delta_size(size, PAGE)};
    struct hurdmm *manager = sweep->rig.manager;
    int error = hurdmm_remap_create(manager, sweep->disks[0].store, &base, 1,
                                    HURDMM_STORE_READ_ONLY, &sweep->parts[0]);

    memset(sweep->bytes[1], 0, sizeof sweep->bytes[1]);
    if (error == 0)
        error = hurdmm_remap_create(manager, sweep->disks[1].store, &delta, 1,
                                    0, &sweep->parts[1]);
    if (error == 0)
        error = hurdmm_copy_create(manager, sweep->parts[0], sweep->parts[1], 0,
                                   &sweep->store);
    return error;
}

/* Anonymous memory whose swap space is a concatenation of both disks. */
static int make_swapped(struct sweep *sweep, unsigned flags)
{
    struct hurdmm *manager = sweep->rig.manager;
    struct hurdmm_swap_options options = {
        .struct_size = sizeof options,
        .block = &sweep->device.block,
        .checksum = flags ? hurdmm_checksum : NULL,
        .flags = flags,
    };
    int error = make_concat(sweep);

    sweep->parts[0] = sweep->store;
    sweep->store = NULL;
    if (error == 0)
        error = hurdmm_store_device_init(&sweep->device, sweep->parts[0], 0);
    sweep->has_device = error == 0;
    if (error == 0)
        error = hurdmm_swap_create_with(manager, &options, &sweep->swap);
    if (error == 0)
        error = hurdmm_anonymous_create(manager, sweep->swap, PAGES * PAGE, 0,
                                        &sweep->store);
    return error;
}

static int make_plain_swap(struct sweep *sweep)
{
    return make_swapped(sweep, 0);
}

static int make_reserving_swap(struct sweep *sweep)
{
    return make_swapped(sweep, HURDMM_SWAP_RESERVE);
}

static int make_granted(struct sweep *sweep)
{
    struct hurdmm *manager = sweep->rig.manager;
    const uint64_t size = PAGES * PAGE;
    uint64_t done;
    int error = hurdmm_container_create(manager, &sweep->container);

    if (error == 0)
        error = hurdmm_container_allocate(sweep->container, 0, size, 0, &done);
    if (error == 0)
        error = hurdmm_grant_create(sweep->container, 0, size,
                                    HURDMM_READ | HURDMM_WRITE, &sweep->grant);
    if (error == 0)
        error = hurdmm_granted_create(manager, sweep->grant, 0, size, 0,
                                      &sweep->store);
    return error;
}

static const struct kind kinds[] = {
    {"remap", make_remap, false},
    {"concat", make_concat, false},
    {"stripe", make_stripe, false},
    {"copy", make_copy, false},
    {"swap", make_plain_swap, true},
    {"reserving swap", make_reserving_swap, true},
    {"granted", make_granted, false},
};
#define KINDS (sizeof kinds / sizeof *kinds)

/* ---- The use of them ----------------------------------------------------- */

static uint8_t byte_of(unsigned page, unsigned version, unsigned i)
{
    return (uint8_t)(page * 7 + version * 31 + i * 3 + 1); /* as in rig.c */
}

static void put(struct sweep *sweep, unsigned page, unsigned version)
{
    if (good(sweep, put_page(sweep->store, page, version), "a write"))
        sweep->truth[page] = version;
}

static void check(const struct sweep *sweep, unsigned page,
                  const uint8_t *bytes)
{
    for (unsigned i = 0; sweep->truth[page] != 0 && i < PAGE; i++)
        ck_assert_uint_eq(bytes[i], byte_of(page, sweep->truth[page], i));
}

static void get(struct sweep *sweep, unsigned page)
{
    uint8_t bytes[PAGE];
    size_t done;
    int error =
        hurdmm_store_read(sweep->store, page * PAGE, bytes, PAGE, &done);

    if (good(sweep, error, "a read"))
        check(sweep, page, bytes);
}

/* The same through memory. */
static void store(struct sweep *sweep, unsigned page, unsigned version)
{
    uint8_t bytes[PAGE];

    for (unsigned i = 0; i < PAGE; i++)
        bytes[i] = byte_of(page, version, i);
    if (good(sweep,
             hurdmm_sim_write(sweep->rig.port, NULL, sweep->at + page * PAGE,
                              bytes, PAGE),
             "a store"))
        sweep->truth[page] = version;
}

static void load(struct sweep *sweep, unsigned page)
{
    uint8_t bytes[PAGE];

    if (good(sweep,
             hurdmm_sim_read(sweep->rig.port, NULL, sweep->at + page * PAGE,
                             bytes, PAGE),
             "a load"))
        check(sweep, page, bytes);
}

static void bind(struct sweep *sweep)
{
    const struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = sweep->rig.space,
        .store = sweep->store,
        .length = PAGES * PAGE,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };
    uintptr_t at = 0;

    if (good(sweep, hurdmm_bind(&options, &at), "a bind"))
        sweep->at = at;
}

static void use(struct sweep *sweep)
{
    struct hurdmm_store *used = sweep->store;

    for (unsigned i = 0; i < PAGES; i += 2)
        put(sweep, i, 1);
    (void)good(sweep, hurdmm_store_sync(used, 0, HURDMM_WHOLE, HURDMM_WAIT),
               "sync");
    for (unsigned i = 0; i < PAGES; i++)
        put(sweep, i * 5 % PAGES, 2);
    (void)good(sweep, hurdmm_store_return(used, 0, HURDMM_WHOLE, HURDMM_WAIT),
               "return");
    for (unsigned i = 0; i < PAGES; i++)
        get(sweep, i);
    (void)good(sweep, hurdmm_store_sync(used, 4 * PAGE, 9 * PAGE, HURDMM_WAIT),
               "sync");
    bind(sweep);
    for (unsigned i = 0; sweep->at != 0 && i < PAGES; i += 3)
        store(sweep, i, 3);
    for (unsigned i = 0; sweep->at != 0 && i < PAGES; i += 2)
        load(sweep, i);
}

/* What was written is there, but for pages whose reading failed for good. */
static void expect_truth(struct sweep *sweep, bool forgets)
{
    for (unsigned i = 0; i < PAGES; i++) {
        unsigned state;
        int error;

        ck_assert_int_eq(
            hurdmm_store_state(sweep->store, i * PAGE, &state, &error), 0);
        if ((state & HURDMM_STATE_FAILED) && forgets) {
            expect_error(sweep->store, i, error);
            continue;
        }
        if (state & HURDMM_STATE_FAILED)
            ck_assert_int_eq(hurdmm_store_discard(sweep->store, i * PAGE, PAGE),
                             0);
        if (sweep->truth[i] != 0)
            expect_page(sweep->store, i, sweep->truth[i]);
    }
}

static void recover(struct sweep *sweep, const struct kind *kind)
{
    hurdmm_sim_fail(sweep->rig.port, 0, 0, 0, 0);
    for (unsigned i = 0; i < DISKS; i++)
        sweep->disks[i].script.nth = 0;
    hurdmm_sim_settle(sweep->rig.port);
    rig_check(&sweep->rig);
    if (!sweep->store)
        return;
    if (sweep->at != 0)
        ck_assert_int_eq(
            hurdmm_unbind(sweep->rig.space, sweep->at, PAGES * PAGE), 0);
    expect_truth(sweep, kind->forgets);
    (void)hurdmm_sync_all(sweep->rig.manager); /* tells of what failed */
    ck_assert_int_eq(hurdmm_sync_all(sweep->rig.manager), 0);
    ck_assert_int_eq(
        hurdmm_store_return(sweep->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    expect_truth(sweep, kind->forgets);
}

/* Everything can be ended, in its order. */
static void tear_down(struct sweep *sweep)
{
    if (sweep->store)
        ck_assert_int_eq(hurdmm_store_destroy(sweep->store, 0), 0);
    if (sweep->swap)
        ck_assert_int_eq(hurdmm_swap_destroy(sweep->swap), 0);
    if (sweep->has_device)
        ck_assert_int_eq(hurdmm_store_device_end(&sweep->device), 0);
    for (unsigned i = 0; i < 4; i++)
        if (sweep->parts[i])
            ck_assert_int_eq(hurdmm_store_destroy(sweep->parts[i], 0), 0);
    if (sweep->grant)
        ck_assert_int_eq(hurdmm_grant_revoke(sweep->grant), 0);
    if (sweep->container)
        ck_assert_int_eq(hurdmm_container_destroy(sweep->container), 0);
    for (unsigned i = 0; i < DISKS; i++) {
        ck_assert_msg(!sweep->disks[i].complaint, "disk %u: %s", i,
                      sweep->disks[i].complaint);
        ck_assert_int_eq(hurdmm_store_destroy(sweep->disks[i].store, 0), 0);
    }
}

static uint64_t failed_calls(struct sweep *sweep)
{
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};

    hurdmm_sim_get_stats(sweep->rig.port, &stats);
    for (unsigned i = 0; i < DISKS; i++)
        stats.failures += sweep->disks[i].failures;
    return stats.failures;
}

static void begin(struct sweep *sweep)
{
    memset(sweep, 0, sizeof *sweep);
    rig_begin(&sweep->rig, 40, 16);
    for (unsigned i = 0; i < DISKS; i++) {
        struct disk *disk = &sweep->disks[i];

        disk_init(disk, sweep->rig.port, PAGE, sweep->bytes[i],
                  sizeof sweep->bytes[i]);
        disk->mode = DISK_SIMPLE;
        ck_assert_int_eq(
            disk_open(disk, sweep->rig.manager, DISK_PAGES * PAGE, 0, 0), 0);
    }
}

/* One run; whether the failure was met. */
static bool run_once(const struct kind *kind, unsigned nth, bool for_ever)
{
    static struct sweep sweep;
    uint64_t before;
    bool met;

    begin(&sweep);
    before = failed_calls(&sweep);
    failure_arm_port(current, sweep.rig.port, nth, for_ever);
    for (unsigned i = 0; i < DISKS; i++)
        failure_arm_disk(current, &sweep.disks[i], nth, for_ever);
    if (good(&sweep, kind->make(&sweep), "making it"))
        use(&sweep);
    else
        sweep.store = NULL;
    met = failed_calls(&sweep) != before;
    ck_assert_msg(met || !sweep.failing, "an error without a failure");
    recover(&sweep, kind);
    tear_down(&sweep);
    rig_end(&sweep.rig);
    return met;
}

START_TEST(every_failure_is_survived)
{
    const struct kind *kind = &kinds[(size_t)_i / FAILURES];
    const bool slow = test_scaled(8) < 8;
    unsigned runs = 0;

    current = &failures[(size_t)_i % FAILURES];
    for (unsigned for_ever = 0; for_ever < 2; for_ever++)
        for (unsigned nth = 1; run_once(kind, nth, for_ever != 0);
             nth += slow ? 1 + 3 * nth : 1 + nth / 8)
            ck_assert_uint_lt(++runs, RUNS_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stores/sweep");
    TCase *tcase = tcase_create("sweep");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, every_failure_is_survived, 0,
                        (int)(KINDS * FAILURES));
    suite_add_tcase(suite, tcase);
    return run_suites("stores/sweep", &suite, 1);
}
