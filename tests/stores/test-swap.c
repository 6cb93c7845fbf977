/* SPDX-License-Identifier: MIT */
/*
 * Swap space: slots that are promised before they are needed, checksums, bad
 * sectors, and what the device is told.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/stores/swap.h"
#include "tests/stores/rig.h"
#include "tests/support/runner.h"

static struct rig rig;
static struct ram ram;
static struct hurdmm_swap *swap;

static void begin_with(unsigned pages, unsigned flags)
{
    const struct hurdmm_swap_options options = {
        .struct_size = sizeof options,
        .block = &ram.block,
        .checksum = hurdmm_checksum,
        .flags = flags,
    };

    rig_begin(&rig, 64, 16);
    ram_begin(&ram, pages * PAGE);
    ck_assert_int_eq(hurdmm_swap_create_with(rig.manager, &options, &swap), 0);
}

static void begin(void)
{
    begin_with(100, HURDMM_SWAP_RESERVE);
}

static void begin_small(void)
{
    begin_with(30, HURDMM_SWAP_RESERVE);
}

/* So many that their slots are kept in two parts. */
static void begin_large(void)
{
    begin_with(8192, HURDMM_SWAP_RESERVE);
}

static void end(void)
{
    rig_end(&rig);
    ram_end(&ram);
}

static struct hurdmm_store *make(uint64_t size)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, swap, size, 0, &store), 0);
    return store;
}

static struct hurdmm_swap_info info(void)
{
    struct hurdmm_swap_info info = {.struct_size = sizeof info};

    ck_assert_int_eq(hurdmm_swap_get_info(swap, &info), 0);
    ck_assert_uint_le(info.used + info.reserved, info.size);
    return info;
}

static int page_out(struct hurdmm_store *store)
{
    return hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
}

START_TEST(a_write_without_room_fails_and_nothing_else_does)
{
    struct hurdmm_store *store = make(200 * PAGE);

    for (uint64_t i = 0; i < 100; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    for (uint64_t i = 100; i < 120; i++)
        ck_assert_int_eq(put_page(store, i, 1), ENOSPC);
    ck_assert_int_eq(page_out(store), 0);
    for (uint64_t i = 0; i < 100; i++)
        expect_page(store, i, 1);
    for (uint64_t i = 100; i < 120; i++)
        expect_page(store, i, 0);
    ck_assert_uint_eq(info().used, 100 * PAGE);
}
END_TEST

START_TEST(a_full_swap_space_takes_what_has_a_place)
{
    struct hurdmm_store *store = make(200 * PAGE);

    for (unsigned round = 1; round < 4; round++) {
        for (uint64_t i = 0; i < 100; i++)
            ck_assert_int_eq(put_page(store, i * 7 % 100, round), 0);
        ck_assert_int_eq(page_out(store), 0);
        for (uint64_t i = 0; i < 100; i++)
            expect_page(store, i, round);
    }
    ck_assert_int_eq(put_page(store, 100, 1), ENOSPC);
}
END_TEST

START_TEST(promises_are_given_back)
{
    struct hurdmm_store *store = make(60 * PAGE), *other = make(100 * PAGE);

    for (uint64_t i = 0; i < 60; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    ck_assert_uint_eq(info().reserved + info().used, 60 * PAGE);
    ck_assert_int_eq(hurdmm_store_discard(store, 10 * PAGE, 20 * PAGE), 0);
    ck_assert_uint_eq(info().reserved + info().used, 40 * PAGE);
    for (uint64_t i = 0; i < 60; i++)
        ck_assert_int_eq(put_page(other, i, 1), 0);
    ck_assert_int_eq(put_page(other, 60, 1), ENOSPC);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_uint_eq(info().reserved + info().used, 60 * PAGE);
    ck_assert_int_eq(put_page(other, 60, 1), 0);
    ck_assert_int_eq(hurdmm_store_destroy(other, 0), 0);
    ck_assert_uint_eq(info().reserved + info().used, 0);
    ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
}
END_TEST

START_TEST(a_write_that_fails_keeps_its_promise)
{
    struct hurdmm_store *store = make(100 * PAGE);

    for (uint64_t i = 0; i < 30; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    ram.write_error = EIO;
    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     EIO);
    ck_assert_uint_eq(info().reserved + info().used, 30 * PAGE);
    ram.write_error = 0;
    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    ck_assert_uint_eq(info().used, 30 * PAGE);
    ck_assert_uint_eq(info().reserved, 0);
}
END_TEST

START_TEST(untouched_memory_is_promised_nothing)
{
    struct hurdmm_store *store = make(1000 * PAGE);

    for (uint64_t i = 0; i < 1000; i++)
        expect_page(store, i, 0);
    ck_assert_uint_eq(info().reserved, 0);
}
END_TEST

/* A page that a copy's source leaves to it asks for no room: it gets none of what
 * was promised to others. */
START_TEST(copies_take_no_promised_place)
{
    struct hurdmm_store *store = make(30 * PAGE), *copy = make(PAGE);
    struct hurdmm_container *source;
    uint8_t byte = 7;
    uint64_t done;
    size_t wrote;

    ck_assert_int_eq(hurdmm_container_create(rig.manager, &source), 0);
    ck_assert_int_eq(hurdmm_container_allocate(source, 0, PAGE, 0, &done), 0);
    ck_assert_int_eq(hurdmm_container_copy(hurdmm_store_container(copy), 0,
                                           source, 0, PAGE, 0, &done),
                     0);
    for (uint64_t i = 0; i < 30; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    ck_assert_int_eq(hurdmm_container_write(source, 0, &byte, 1, &wrote), 0);
    ck_assert_int_eq(hurdmm_store_flush(copy, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     ENOSPC);
    ck_assert_int_eq(page_out(store), 0);
    expect_page(copy, 0, 0);
    for (uint64_t i = 0; i < 30; i++)
        expect_page(store, i, 1);
}
END_TEST

/* Versions of pages, and how many have a place. */
START_TEST(random_use_matches_a_model)
{
    struct hurdmm_store *store = make(160 * PAGE);
    unsigned model[160] = {0}, placed = 0;
    bool place[160] = {false};

    srand(5);
    for (unsigned step = 1; step < 2000; step++) {
        unsigned page = (unsigned)rand() % 160,
                 count = 1 + (unsigned)rand() % 8;

        for (; count > 0 && page < 160; count--, page++)
            switch (rand() % 8) {
            case 0:
                ck_assert_int_eq(hurdmm_store_discard(store, page * PAGE, PAGE),
                                 0);
                placed -= place[page] ? 1 : 0;
                place[page] = false;
                model[page] = 0;
                break;
            case 1:
                ck_assert_int_eq(
                    hurdmm_store_return(store, page * PAGE, PAGE, HURDMM_WAIT),
                    0);
                break;
            case 2:
                expect_page(store, page, model[page]);
                break;
            default:
                if (put_page(store, page, step % 200 + 1) == 0) {
                    placed += place[page] ? 0 : 1;
                    place[page] = true;
                    model[page] = step % 200 + 1;
                } else {
                    ck_assert_uint_eq(placed, 100);
                    ck_assert(!place[page]);
                }
            }
        ck_assert_uint_eq(info().used + info().reserved, placed * PAGE);
    }
    for (unsigned i = 0; i < 160; i++)
        expect_page(store, i, model[i]);
    rig_check(&rig);
}
END_TEST

START_TEST(a_page_that_was_altered_fails_and_no_other)
{
    struct hurdmm_store *store = make(40 * PAGE);

    for (uint64_t i = 0; i < 40; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    ck_assert_int_eq(page_out(store), 0);
    ram.bytes[17 * PAGE + 100] ^= 4; /* slots were taken in order */
    for (uint64_t i = 0; i < 40; i++) {
        if (i == 17)
            expect_error(store, i, EIO);
        else
            expect_page(store, i, 1);
    }
    ck_assert_uint_gt(info().pages_corrupt, 0);
    /* What is discarded, or written anew, is well again. */
    ck_assert_int_eq(hurdmm_store_discard(store, 17 * PAGE, PAGE), 0);
    ck_assert_int_eq(put_page(store, 17, 2), 0);
    ck_assert_int_eq(page_out(store), 0);
    expect_page(store, 17, 2);
}
END_TEST

START_TEST(a_cut_last_page_has_a_checksum_too)
{
    struct hurdmm_store *store = make(3 * PAGE + 50);

    for (uint64_t i = 0; i < 4; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    ck_assert_int_eq(page_out(store), 0);
    for (uint64_t i = 0; i < 4; i++)
        expect_page(store, i, 1);
    ck_assert_int_eq(page_out(store), 0);
    ram.bytes[3 * PAGE] ^= 1;
    expect_error(store, 3, EIO);
}
END_TEST

START_TEST(a_bad_sector_is_one_page)
{
    struct hurdmm_store *store = make(40 * PAGE);
    size_t done;

    for (uint64_t i = 0; i < 40; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    ck_assert_int_eq(page_out(store), 0);
    ram.bad_block = 1 + 5;
    ck_assert_int_eq(hurdmm_store_populate(store, 0, 8 * PAGE, &done), EIO);
    ck_assert_uint_eq(done, 5 * PAGE);
    expect_error(store, 5, EIO);
    expect_page(store, 6, 1);
}
END_TEST

START_TEST(freed_slots_are_discarded_in_runs)
{
    struct hurdmm_store *store = make(40 * PAGE);

    for (uint64_t i = 0; i < 40; i++)
        ck_assert_int_eq(put_page(store, i, 1), 0);
    ck_assert_int_eq(page_out(store), 0);
    ram.discards = 0;
    ck_assert_int_eq(hurdmm_store_discard(store, 8 * PAGE, 16 * PAGE), 0);
    ck_assert_uint_eq(ram.discards, 1);
    for (unsigned i = 8; i < 24; i++)
        ck_assert(!ram.written[i]);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_uint_eq(ram.discards, 3);
}
END_TEST

START_TEST(a_checksum_tells_bytes_apart)
{
    uint8_t bytes[64];
    uint64_t sum;

    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 11);
    sum = hurdmm_checksum(bytes, sizeof bytes);
    for (unsigned bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_uint_ne(hurdmm_checksum(bytes, sizeof bytes), sum);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    ck_assert_uint_eq(hurdmm_checksum(bytes, sizeof bytes), sum);
    memset(bytes, 0, sizeof bytes);
    ck_assert_uint_ne(hurdmm_checksum(bytes, 63), hurdmm_checksum(bytes, 64));
    ck_assert_uint_ne(hurdmm_checksum(bytes, 0), hurdmm_checksum(bytes, 1));
}
END_TEST

START_TEST(bad_input_is_refused)
{
    struct hurdmm_swap_options options = {
        .struct_size = sizeof options,
        .block = &ram.block,
    };
    struct hurdmm_swap_info info = {.struct_size = sizeof info};
    struct hurdmm_swap *other;
    struct hurdmm *m = rig.manager;

    ck_assert_int_eq(hurdmm_swap_create_with(NULL, &options, &other), EINVAL);
    ck_assert_int_eq(hurdmm_swap_create_with(m, NULL, &other), EINVAL);
    ck_assert_int_eq(hurdmm_swap_create_with(m, &options, NULL), EINVAL);
    options.flags = 2;
    ck_assert_int_eq(hurdmm_swap_create_with(m, &options, &other), EINVAL);
    options.flags = 0;
    options.struct_size--;
    ck_assert_int_eq(hurdmm_swap_create_with(m, &options, &other), EINVAL);
    options.struct_size++;
    options.block = NULL;
    ck_assert_int_eq(hurdmm_swap_create_with(m, &options, &other), EINVAL);
    ck_assert_int_eq(hurdmm_swap_get_info(NULL, &info), EINVAL);
    ck_assert_int_eq(hurdmm_swap_get_info(swap, NULL), EINVAL);
    info.struct_size = 8;
    ck_assert_int_eq(hurdmm_swap_get_info(swap, &info), EINVAL);
}
END_TEST

/* Takes slots until there are so many; they go back at the end. */
static void take(unsigned count, bool promised)
{
    static uint32_t slots[16], counts[16];
    unsigned runs = 0, left = count;

    for (; left > 0; left -= counts[runs++]) {
        ck_assert_uint_lt(runs, 16);
        ck_assert_int_eq(
            hmm_swap_take(swap, left, promised, &slots[runs], &counts[runs]),
            0);
    }
    while (runs-- > 0)
        hmm_swap_free(swap, slots[runs], counts[runs], promised);
}

/* Memory of the library's own for whatever keeping a promise might want. */
static void *take_all_memory(size_t size)
{
    void *all = NULL, *memory;

    hurdmm_sim_fail(rig.port, HURDMM_SIM_CORE_MAP, 1, 0, true);
    while (hurdmm_allocate(rig.manager, size, &memory) == 0) {
        memcpy(memory, &all, sizeof all);
        all = memory;
    }
    return all;
}

static void give_memory(void *all, size_t size)
{
    while (all) {
        void *memory = all;

        memcpy(&all, memory, sizeof all);
        hurdmm_deallocate(rig.manager, memory, size);
    }
    hurdmm_sim_fail(rig.port, 0, 0, 0, 0);
}

START_TEST(a_promise_is_kept_without_memory)
{
    const size_t size = 512;
    uint32_t slot, got;
    void *all;

    ck_assert_int_eq(hmm_swap_promise(swap, 4000), 0);
    /* By who was promised nothing: more than fits beside. */
    ck_assert_int_eq(hmm_swap_take(swap, 200, false, &slot, &got), 0);
    ck_assert_uint_eq(got, 200);
    all = take_all_memory(size);
    take(4000, true);
    give_memory(all, size);
    hmm_swap_free(swap, slot, got, false);
    hmm_swap_forgive(swap, 4000);
}
END_TEST

START_TEST(without_memory_what_is_promised_is_left_alone)
{
    const size_t size = 512;
    uint32_t slot, got;
    void *all;

    ck_assert_int_eq(hmm_swap_promise(swap, 4000), 0);
    all = take_all_memory(size);
    ck_assert_int_eq(hmm_swap_take(swap, 200, false, &slot, &got), 0);
    ck_assert_uint_eq(got, 96);
    ck_assert_int_eq(hmm_swap_promise(swap, 1), ENOMEM);
    take(4000, true);
    give_memory(all, size);
    hmm_swap_free(swap, slot, got, false);
    hmm_swap_forgive(swap, 4000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("swap");
    TCase *tcase = tcase_create("swap");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, a_write_without_room_fails_and_nothing_else_does);
    tcase_add_test(tcase, a_full_swap_space_takes_what_has_a_place);
    tcase_add_test(tcase, promises_are_given_back);
    tcase_add_test(tcase, a_write_that_fails_keeps_its_promise);
    tcase_add_test(tcase, untouched_memory_is_promised_nothing);
    tcase_add_test(tcase, random_use_matches_a_model);
    tcase_add_test(tcase, a_page_that_was_altered_fails_and_no_other);
    tcase_add_test(tcase, a_cut_last_page_has_a_checksum_too);
    tcase_add_test(tcase, a_bad_sector_is_one_page);
    tcase_add_test(tcase, freed_slots_are_discarded_in_runs);
    tcase_add_test(tcase, a_checksum_tells_bytes_apart);
    tcase_add_test(tcase, bad_input_is_refused);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("small");
    tcase_add_checked_fixture(tcase, begin_small, end);
    tcase_add_test(tcase, copies_take_no_promised_place);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("large");
    tcase_add_checked_fixture(tcase, begin_large, end);
    tcase_add_test(tcase, a_promise_is_kept_without_memory);
    tcase_add_test(tcase, without_memory_what_is_promised_is_left_alone);
    suite_add_tcase(suite, tcase);
    return run_suites("swap", &suite, 1);
}
