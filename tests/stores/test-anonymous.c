/* SPDX-License-Identifier: MIT */
/*
 * Anonymous memory and the swap space that it leaves for.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/stores/rig.h"
#include "tests/support/runner.h"

static struct rig rig;

static void begin(void)
{
    rig_begin(&rig, 64, 512);
}

static void end(void)
{
    rig_end(&rig);
}

static void put_pages(struct hurdmm_store *store, uint64_t first,
                      uint64_t count, unsigned version)
{
    for (uint64_t i = first; i < first + count; i++)
        ck_assert_int_eq(put_page(store, i, version), 0);
}

static void expect_pages(struct hurdmm_store *store, uint64_t first,
                         uint64_t count, unsigned version)
{
    for (uint64_t i = first; i < first + count; i++)
        expect_page(store, i, version);
}

/* Writes the range to swap and takes it out of memory. */
static void page_out(struct hurdmm_store *store, uint64_t first, uint64_t count)
{
    ck_assert_int_eq(
        hurdmm_store_return(store, first * PAGE, count * PAGE, HURDMM_WAIT), 0);
}

START_TEST(untouched_memory_reads_as_zeros)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 100 * PAGE);

    expect_pages(store, 0, 100, 0);
    ck_assert_uint_eq(rig.ram.reads, 0);
    ck_assert_uint_eq(rig.ram.writes, 0);
}
END_TEST

START_TEST(more_memory_than_the_budget_keeps_its_contents)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 400 * PAGE);

    put_pages(store, 0, 400, 1);
    ck_assert_uint_gt(rig_used(&rig), 400 - 64 - 1);
    expect_pages(store, 0, 400, 1);
    put_pages(store, 100, 200, 2);
    expect_pages(store, 0, 100, 1);
    expect_pages(store, 100, 200, 2);
    expect_pages(store, 300, 100, 1);
}
END_TEST

START_TEST(the_application_sees_the_same_through_a_region)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 300 * PAGE);
    uintptr_t address =
        rig_bind(&rig, store, 300 * PAGE, HURDMM_READ | HURDMM_WRITE);
    uint64_t value;

    for (uint64_t i = 0; i < 300; i++)
        ck_assert_int_eq(
            hurdmm_sim_store64(rig.port, NULL, address + i * PAGE, i + 1), 0);
    for (uint64_t i = 0; i < 300; i++) {
        ck_assert_int_eq(
            hurdmm_sim_load64(rig.port, NULL, address + i * PAGE, &value), 0);
        ck_assert_uint_eq(value, i + 1);
    }
}
END_TEST

/* Everything that can happen to pages, against an array of versions. */
START_TEST(random_use_matches_a_model)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 300 * PAGE);
    unsigned model[300] = {0};

    srand(7);
    for (unsigned step = 1; step < 3000; step++) {
        uint64_t page = (uint64_t)rand() % 300;
        uint64_t count = 1 + (uint64_t)rand() % 20;

        if (count > 300 - page)
            count = 300 - page;
        switch (rand() % 5) {
        case 0:
        case 1:
            put_pages(store, page, count, step);
            for (uint64_t i = page; i < page + count; i++)
                model[i] = step;
            break;
        case 2:
            page_out(store, page, count);
            break;
        case 3:
            ck_assert_int_eq(
                hurdmm_store_discard(store, page * PAGE, count * PAGE), 0);
            memset(&model[page], 0, (size_t)count * sizeof *model);
            break;
        default:
            for (uint64_t i = page; i < page + count; i++)
                expect_page(store, i, model[i]);
        }
    }
    for (uint64_t i = 0; i < 300; i++)
        expect_page(store, i, model[i]);
    rig_check(&rig);
}
END_TEST

START_TEST(pages_written_together_are_read_together)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 100 * PAGE);
    size_t done;

    /* Slots that are taken one by one, out of order. */
    for (uint64_t i = 0; i < 8; i++) {
        put_pages(store, (i * 5) % 8, 1, 1);
        page_out(store, (i * 5) % 8, 1);
    }
    put_pages(store, 0, 8, 2);
    rig.ram.writes = 0;
    page_out(store, 0, 8);
    ck_assert_uint_eq(rig.ram.writes, 1);
    rig.ram.reads = 0;
    ck_assert_int_eq(hurdmm_store_populate(store, 0, 8 * PAGE, &done), 0);
    ck_assert_uint_eq(rig.ram.reads, 1);
    expect_pages(store, 0, 8, 2);
}
END_TEST

START_TEST(a_page_that_was_only_read_leaves_without_being_written)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 100 * PAGE);

    put_pages(store, 0, 20, 1);
    page_out(store, 0, 20);
    expect_pages(store, 0, 20, 1);
    rig.ram.writes = 0;
    page_out(store, 0, 20);
    ck_assert_uint_eq(rig.ram.writes, 0);
    expect_pages(store, 0, 20, 1);
}
END_TEST

START_TEST(discarding_frees_slots)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 100 * PAGE);

    put_pages(store, 0, 40, 1);
    page_out(store, 0, 40);
    ck_assert_uint_eq(rig_used(&rig), 40);
    ck_assert_int_eq(hurdmm_store_discard(store, 10 * PAGE, 20 * PAGE), 0);
    ck_assert_uint_eq(rig_used(&rig), 20);
    expect_pages(store, 0, 10, 1);
    expect_pages(store, 10, 20, 0);
    expect_pages(store, 30, 10, 1);
}
END_TEST

START_TEST(destroying_frees_slots)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 100 * PAGE);

    put_pages(store, 0, 40, 1);
    page_out(store, 0, 40);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_uint_eq(rig_used(&rig), 0);
}
END_TEST

START_TEST(writing_again_takes_no_more_slots)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 100 * PAGE);

    for (unsigned version = 1; version < 10; version++) {
        put_pages(store, version, 40, version);
        page_out(store, version, 40);
        ck_assert_uint_eq(rig_used(&rig), 40 + version - 1);
    }
}
END_TEST

START_TEST(stores_share_swap_without_mixing)
{
    struct hurdmm_store *one = rig_anonymous(&rig, 150 * PAGE);
    struct hurdmm_store *two = rig_anonymous(&rig, 150 * PAGE);

    for (uint64_t i = 0; i < 150; i++) {
        put_pages(one, i, 1, 1);
        put_pages(two, i, 1, 2);
    }
    expect_pages(one, 0, 150, 1);
    expect_pages(two, 0, 150, 2);
    ck_assert_int_eq(hurdmm_store_destroy(one, 0), 0);
    expect_pages(two, 0, 150, 2);
}
END_TEST

START_TEST(shrinking_frees_slots_and_growing_again_reads_as_zeros)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 40 * PAGE);
    uint8_t bytes[PAGE];
    size_t done;

    put_pages(store, 0, 40, 1);
    page_out(store, 0, 40);
    ck_assert_int_eq(hurdmm_store_resize(store, 10 * PAGE + 50), 0);
    ck_assert_uint_le(rig_used(&rig), 11);
    ck_assert_int_eq(hurdmm_store_resize(store, 40 * PAGE), 0);
    expect_pages(store, 0, 10, 1);
    expect_pages(store, 11, 29, 0);
    ck_assert_int_eq(hurdmm_store_read(store, 10 * PAGE, bytes, PAGE, &done),
                     0);
    for (size_t i = 50; i < PAGE; i++)
        ck_assert_uint_eq(bytes[i], 0);
}
END_TEST

START_TEST(a_last_page_that_is_cut_comes_back)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 5 * PAGE + 77);

    put_pages(store, 0, 6, 1);
    ck_assert_int_eq(hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    ck_assert_uint_eq(rig_used(&rig), 6);
    expect_pages(store, 0, 6, 1);
}
END_TEST

START_TEST(a_full_swap_space_keeps_pages_in_memory)
{
    struct hurdmm_swap *swap;
    struct hurdmm_store *store;
    struct ram ram;

    ram_begin(&ram, 8 * PAGE);
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, &ram.block, &swap), 0);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, swap, 100 * PAGE, 0, &store), 0);
    put_pages(store, 0, 12, 1);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     ENOSPC);
    expect_pages(store, 0, 12, 1);
    rig_check(&rig);

    /* What has a slot can still be written again; nothing else was lost. */
    put_pages(store, 0, 12, 2);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     ENOSPC);
    expect_pages(store, 0, 12, 2);

    ck_assert_int_eq(hurdmm_store_discard(store, 0, 4 * PAGE), 0);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    page_out(store, 0, 12);
    expect_pages(store, 0, 4, 0);
    expect_pages(store, 4, 8, 2);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
    ram_end(&ram);
}
END_TEST

START_TEST(memory_without_swap_stays_and_then_ends)
{
    struct hurdmm_store *store;
    uint64_t pages = 0;

    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, NULL, 1000 * PAGE, 0, &store), 0);
    while (pages < 1000 && put_page(store, pages, 1) == 0)
        pages++;
    ck_assert_uint_gt(pages, 32);
    ck_assert_uint_le(pages, 64);
    ck_assert_int_eq(put_page(store, pages, 1), ENOMEM);
    expect_pages(store, 0, pages, 1);
}
END_TEST

START_TEST(a_failed_write_keeps_the_page_and_what_it_replaces)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 100 * PAGE);

    put_pages(store, 0, 20, 1);
    page_out(store, 0, 20);
    put_pages(store, 5, 10, 2);
    rig.ram.write_error = EIO;
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     EIO);
    rig.ram.write_error = 0;
    ck_assert_uint_eq(rig_used(&rig), 20);
    expect_pages(store, 0, 5, 1);
    expect_pages(store, 5, 10, 2);
    expect_pages(store, 15, 5, 1);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    page_out(store, 0, 20);
    expect_pages(store, 5, 10, 2);
}
END_TEST

START_TEST(a_failed_read_fails_the_reader)
{
    struct hurdmm_store *store = rig_anonymous(&rig, 100 * PAGE);

    put_pages(store, 0, 4, 1);
    page_out(store, 0, 4);
    rig.ram.read_error = EIO;
    expect_error(store, 2, EIO);
    rig.ram.read_error = 0;
    expect_page(store, 1, 1);
    expect_page(store, 3, 1);
    ck_assert_int_eq(hurdmm_store_discard(store, 2 * PAGE, PAGE), 0);
    expect_page(store, 2, 0);
}
END_TEST

START_TEST(a_terabyte_costs_what_is_touched)
{
    uint64_t pages = (UINT64_C(1) << 40) / PAGE;
    uint64_t before = rig_core_bytes(&rig);
    struct hurdmm_store *store = rig_anonymous(&rig, pages * PAGE);

    for (uint64_t i = 0; i < 16; i++) {
        put_pages(store, i * (pages / 16), 1, 1);
        page_out(store, i * (pages / 16), 1);
    }
    ck_assert_uint_le(rig_core_bytes(&rig) - before, 512 * 1024);
    for (uint64_t i = 0; i < 16; i++)
        expect_page(store, i * (pages / 16), 1);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    ck_assert_uint_eq(rig_used(&rig), 0);
}
END_TEST

START_TEST(a_swapped_page_costs_sixteen_bytes_at_most)
{
    const uint64_t pages = 32768;
    struct hurdmm_swap *swap;
    struct hurdmm_store *store;
    uint64_t before;
    struct ram ram;

    ram_begin(&ram, pages * PAGE);
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, &ram.block, &swap), 0);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, swap, pages * PAGE, 0, &store), 0);
    put_pages(store, 0, 200, 1);
    before = rig_core_bytes(&rig);
    put_pages(store, 0, pages, 1);
    ck_assert_uint_le(rig_core_bytes(&rig) - before, 16 * pages);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
    ram_end(&ram);
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(hurdmm_anonymous_create(NULL, rig.swap, PAGE, 0, &store),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, rig.swap, PAGE, 0, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_anonymous_create(rig.manager, rig.swap, PAGE,
                                             HURDMM_STORE_READ_ONLY, &store),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, rig.swap, UINT64_MAX, 0, &store),
        EINVAL);
}
END_TEST

START_TEST(swap_of_another_manager_is_refused)
{
    struct hurdmm_store *store;
    struct rig other;

    rig_begin(&other, 32, 16);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, other.swap, PAGE, 0, &store),
        EINVAL);
    rig_end(&other);
}
END_TEST

START_TEST(swap_in_use_is_not_destroyed)
{
    struct hurdmm_store *store = rig_anonymous(&rig, PAGE);

    ck_assert_int_eq(hurdmm_swap_destroy(rig.swap), EBUSY);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(rig.swap), 0);
}
END_TEST

START_TEST(a_device_that_cannot_hold_pages_is_refused)
{
    struct hurdmm_block block = rig.ram.block;
    struct hurdmm_swap *swap;

    block.block_size = 2 * PAGE;
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, &block, &swap), EINVAL);
    block.block_size = 0;
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, &block, &swap), EINVAL);
    block.block_size = PAGE / 2;
    block.size = PAGE - 1;
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, &block, &swap), EINVAL);
    block.ops = NULL;
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, &block, &swap), EINVAL);
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, NULL, &swap), EINVAL);
    ck_assert_int_eq(hurdmm_swap_create(NULL, &rig.ram.block, &swap), EINVAL);
}
END_TEST

START_TEST(usage_is_of_whole_pages)
{
    struct hurdmm_block block = rig.ram.block;
    struct hurdmm_swap *swap;
    uint64_t size, used;

    block.size = 10 * PAGE + PAGE / 2;
    ck_assert_int_eq(hurdmm_swap_create(rig.manager, &block, &swap), 0);
    hurdmm_swap_usage(swap, &size, &used);
    ck_assert_uint_eq(size, 10 * PAGE);
    ck_assert_uint_eq(used, 0);
    ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("anonymous");
    TCase *tcase = tcase_create("anonymous");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, untouched_memory_reads_as_zeros);
    tcase_add_test(tcase, more_memory_than_the_budget_keeps_its_contents);
    tcase_add_test(tcase, the_application_sees_the_same_through_a_region);
    tcase_add_test(tcase, random_use_matches_a_model);
    tcase_add_test(tcase, pages_written_together_are_read_together);
    tcase_add_test(tcase,
                   a_page_that_was_only_read_leaves_without_being_written);
    tcase_add_test(tcase, discarding_frees_slots);
    tcase_add_test(tcase, destroying_frees_slots);
    tcase_add_test(tcase, writing_again_takes_no_more_slots);
    tcase_add_test(tcase, stores_share_swap_without_mixing);
    tcase_add_test(tcase,
                   shrinking_frees_slots_and_growing_again_reads_as_zeros);
    tcase_add_test(tcase, a_last_page_that_is_cut_comes_back);
    tcase_add_test(tcase, a_full_swap_space_keeps_pages_in_memory);
    tcase_add_test(tcase, memory_without_swap_stays_and_then_ends);
    tcase_add_test(tcase, a_failed_write_keeps_the_page_and_what_it_replaces);
    tcase_add_test(tcase, a_failed_read_fails_the_reader);
    tcase_add_test(tcase, a_terabyte_costs_what_is_touched);
    tcase_add_test(tcase, a_swapped_page_costs_sixteen_bytes_at_most);
    tcase_add_test(tcase, wrong_arguments_are_refused);
    tcase_add_test(tcase, swap_of_another_manager_is_refused);
    tcase_add_test(tcase, swap_in_use_is_not_destroyed);
    tcase_add_test(tcase, a_device_that_cannot_hold_pages_is_refused);
    tcase_add_test(tcase, usage_is_of_whole_pages);
    suite_add_tcase(suite, tcase);
    return run_suites("anonymous", &suite, 1);
}
