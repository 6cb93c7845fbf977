/* SPDX-License-Identifier: MIT */
/*
 * The stores that are made of others, drilled as memory on every port of this
 * host: random use against a byte array, and threads at once.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/modules/drill.h"
#include "tests/support/runner.h"

#define PAGES 160u /* of each store, but for its cut end */
#define BUDGET 64u

/* What lies below, as long as the longest page of a port makes it. */
static uint8_t *memory[2];
static struct hurdmm_ramdisk ramdisk;
static struct hurdmm_store_device device;
static struct hurdmm_swap *swap; /* NULL: none was made */

static void begin(void)
{
    swap = NULL;
    memory[0] = calloc(PAGES + 80, 65536);
    memory[1] = calloc(PAGES + 80, 65536);
    ck_assert_ptr_nonnull(memory[0]);
    ck_assert_ptr_nonnull(memory[1]);
}

static void end(void)
{
    free(memory[0]);
    free(memory[1]);
}

static struct hurdmm_store *buffer(struct drill *drill, unsigned number,
                                   uint64_t size, unsigned flags)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(hurdmm_buffer_create(drill->manager, memory[number],
                                          (size_t)size, flags, &store),
                     0);
    return store;
}

/* Two remaps in turns, in a row with one that ends within a page. */
static struct hurdmm_store *make_tower(struct drill *drill)
{
    const size_t page = drill->page;
    const struct hurdmm_run even[] = {{40 * page, 40 * page}, {0, 24 * page}};
    struct hurdmm_store *parts[2], *row[2], *stripe, *store;
    struct hurdmm *manager = drill->manager;

    ck_assert_int_eq(hurdmm_remap_create(manager,
                                         buffer(drill, 0, 80 * page, 0), even,
                                         2, 0, &parts[0]),
                     0);
    parts[1] = buffer(drill, 1, 64 * page, 0);
    ck_assert_int_eq(
        hurdmm_stripe_create(manager, parts, 2, 4 * page, 0, &stripe), 0);
    row[0] = stripe;
    ck_assert_int_eq(hurdmm_buffer_create(manager, memory[1] + 64 * page,
                                          32 * page - 7, 0, &row[1]),
                     0);
    ck_assert_int_eq(hurdmm_concat_create(manager, row, 2, 0, &store), 0);
    return store;
}

static struct hurdmm_store *make_copy(struct drill *drill)
{
    uint64_t size = PAGES * drill->page - 9;
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_copy_create(
            drill->manager, buffer(drill, 0, size, HURDMM_STORE_READ_ONLY),
            buffer(drill, 1, hurdmm_copy_delta_size(size, drill->page), 0), 0,
            &store),
        0);
    return store;
}

/* Swap space that reserves and checks, on a store as a device. */
static struct hurdmm_store *make_swapped(struct drill *drill)
{
    struct hurdmm_swap_options options = {
        .struct_size = sizeof options,
        .checksum = hurdmm_checksum,
        .flags = HURDMM_SWAP_RESERVE,
    };
    struct hurdmm_store *below, *store;

    ck_assert_int_eq(hurdmm_ramdisk_init(&ramdisk, memory[0],
                                         PAGES * drill->page, drill->page, 0),
                     0);
    ck_assert_int_eq(hurdmm_block_store_create(drill->manager, &ramdisk.block,
                                               0, 0, 0, &below),
                     0);
    ck_assert_int_eq(hurdmm_store_device_init(&device, below, 0), 0);
    options.block = &device.block;
    ck_assert_int_eq(hurdmm_swap_create_with(drill->manager, &options, &swap),
                     0);
    ck_assert_int_eq(hurdmm_anonymous_create(drill->manager, swap,
                                             PAGES * drill->page, 0, &store),
                     0);
    return store;
}

/* Of a container of the same manager, which takes memory of the same budget. */
static struct hurdmm_store *make_granted(struct drill *drill)
{
    uint64_t size = 24 * drill->page, done;
    struct hurdmm_container *container;
    struct hurdmm_grant *grant;
    struct hurdmm_store *store;

    ck_assert_int_eq(hurdmm_container_create(drill->manager, &container), 0);
    ck_assert_int_eq(hurdmm_container_allocate(container, 0, size, 0, &done),
                     0);
    ck_assert_int_eq(hurdmm_grant_create(container, 0, size,
                                         HURDMM_READ | HURDMM_WRITE, &grant),
                     0);
    ck_assert_int_eq(
        hurdmm_granted_create(drill->manager, grant, 0, size - 3, 0, &store),
        0);
    return store;
}

static const struct {
    struct hurdmm_store *(*make)(struct drill *drill);
    unsigned flags;
} kinds[] = {
    {make_tower, 0},
    {make_copy, 0},
    {make_swapped, DRILL_FORGETS},
    {make_granted, 0},
};
#define KINDS ((int)(sizeof kinds / sizeof *kinds))

/* Swap space is ended before what it lies on. */
static void finish(struct drill *drill)
{
    if (swap) {
        ck_assert_int_eq(hurdmm_store_destroy(drill->store, HURDMM_DETACH), 0);
        ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
        ck_assert_int_eq(hurdmm_store_device_end(&device), 0);
    }
    drill_end(drill);
}

START_TEST(random_use_matches_a_byte_array)
{
    const unsigned kind = (unsigned)_i / DRILL_PORTS;
    struct drill drill;

    if (!drill_begin(&drill, drill_port(_i), BUDGET))
        return;
    drill_take(&drill, kinds[kind].make(&drill), kinds[kind].flags, NULL);
    drill_random(&drill, (unsigned)test_scaled(1000), 5 + kind);
    finish(&drill);
}
END_TEST

START_TEST(threads_use_it_at_once)
{
    const unsigned kind = (unsigned)_i / DRILL_PORTS;
    struct drill drill;

    if (!drill_begin(&drill, drill_port(_i), BUDGET))
        return;
    drill_take(&drill, kinds[kind].make(&drill), kinds[kind].flags, NULL);
    if (_i % DRILL_PORTS != 0)
        drill_threads(&drill, (unsigned)test_scaled(1500));
    finish(&drill);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stores/drill");
    TCase *tcase = tcase_create("drill");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, random_use_matches_a_byte_array, 0,
                        KINDS * DRILL_PORTS);
    tcase_add_loop_test(tcase, threads_use_it_at_once, 0, KINDS * DRILL_PORTS);
    suite_add_tcase(suite, tcase);
    return run_suites("stores/drill", &suite, 1);
}
