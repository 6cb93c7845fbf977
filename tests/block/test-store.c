/* SPDX-License-Identifier: MIT */
/* The block store: a device as memory, on a simulated machine. */
#include "tests/block/rig.h"
#include "tests/support/runner.h"

static struct rig rig;

/* Compares the device with an array. */
static void expect_device(const uint8_t *model, uint64_t from, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        ck_assert_msg(rig.device.now[from + i] == model[i],
                      "byte %u of the device", (unsigned)(from + i));
}

/* The blocks of the device, against the page of 256 bytes. */
static const size_t blocks[] = {1, 64, 256, 1024};

START_TEST(what_is_on_the_device_is_in_memory)
{
    struct rig_options options = {.blocks = 8192 / blocks[_i],
                                  .block = blocks[_i]};

    rig_begin(&rig, &options, NULL);
    ck_assert_uint_eq(rig.size, 8192);
    for (uint64_t i = 0; i < rig.size; i += 91)
        rig_expect(&rig, i, device_byte(i));
    ck_assert_uint_eq(rig.device.writes, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(what_is_written_is_on_the_device_after_sync)
{
    struct rig_options options = {.blocks = 8192 / blocks[_i],
                                  .block = blocks[_i]};
    uint8_t model[8192];

    rig_begin(&rig, &options, NULL);
    for (uint64_t i = 0; i < rig.size; i++)
        model[i] = device_byte(i);
    for (uint64_t i = 5; i < rig.size; i += 700) {
        rig_set(&rig, i, (uint8_t)i);
        model[i] = (uint8_t)i;
    }
    ck_assert_int_eq(rig_sync(&rig), 0);
    expect_device(model, 0, sizeof model);
    ck_assert_int_eq(memcmp(rig.device.medium, model, sizeof model), 0);
    rig_end(&rig);
}
END_TEST

START_TEST(flush_writes_and_only_sync_makes_durable)
{
    rig_begin(&rig, NULL, NULL);
    rig_set(&rig, 1000, 0x55);
    ck_assert_uint_eq(rig.device.writes, 0);
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(rig.device.now[1000], 0x55);
    ck_assert_uint_eq(rig.device.flushes, 0);
    ck_assert_uint_eq(rig.device.medium[1000], device_byte(1000));
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_eq(rig.device.flushes, 1);
    ck_assert_uint_eq(rig.device.medium[1000], 0x55);
    rig_end(&rig);
}
END_TEST

START_TEST(a_sync_for_nothing_costs_nothing)
{
    rig_begin(&rig, NULL, NULL);
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_eq(rig.device.flushes, 0);
    rig_set(&rig, 0, 1);
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_int_eq(rig_sync(&rig), 0);
    rig_expect(&rig, 4000, device_byte(4000));
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_eq(rig.device.flushes, 1);
    rig_end(&rig);
}
END_TEST

START_TEST(the_last_page_may_end_within)
{
    struct rig_options options = {.blocks = 10, .block = 64};

    rig_begin(&rig, &options, NULL);
    ck_assert_uint_eq(rig.size, 640);
    rig_expect(&rig, 639, device_byte(639));
    rig_expect(&rig, 640, 0);
    rig_expect(&rig, 767, 0);
    rig_set(&rig, 639, 0x99);
    rig_set(&rig, 640, 0x98); /* nobody's */
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_eq(rig.device.now[639], 0x99);
    ck_assert_int_eq(rig_return(&rig), 0);
    rig_expect(&rig, 640, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_part_of_a_device)
{
    struct rig_options options = {
        .blocks = 64, .block = 64, .offset = 192, .size = 1088};
    uint8_t model[64 * 64];

    rig_begin(&rig, &options, NULL);
    for (uint64_t i = 0; i < sizeof model; i++)
        model[i] = device_byte(i);
    ck_assert_uint_eq(rig.size, 1088);
    for (uint64_t i = 0; i < 1088; i++) {
        rig_expect(&rig, i, device_byte(192 + i));
        rig_set(&rig, i, (uint8_t)(i * 3));
        model[192 + i] = (uint8_t)(i * 3);
    }
    ck_assert_int_eq(rig_sync(&rig), 0);
    expect_device(model, 0, sizeof model);
    rig_end(&rig);
}
END_TEST

START_TEST(without_a_size_it_goes_to_the_end)
{
    struct rig_options options = {.blocks = 64, .block = 64, .offset = 64};

    rig_begin(&rig, &options, NULL);
    ck_assert_uint_eq(rig.size, 63 * 64);
    rig_end(&rig);
}
END_TEST

START_TEST(a_device_larger_than_memory)
{
    struct rig_options options = {.blocks = 256, .block = 256, .frames = 16};
    static uint8_t model[65536];

    rig_begin(&rig, &options, NULL);
    for (uint64_t i = 0; i < rig.size; i++)
        model[i] = device_byte(i);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = round; i < rig.size; i += 97) {
            rig_expect(&rig, i, model[i]);
            model[i] = (uint8_t)(i + round);
            rig_set(&rig, i, model[i]);
        }
        rig_check(&rig);
    }
    ck_assert_int_eq(rig_sync(&rig), 0);
    expect_device(model, 0, rig.size);
    rig_end(&rig);
}
END_TEST

START_TEST(neighbours_are_read_and_written_together)
{
    struct rig_options options = {.blocks = 32, .block = 256, .readahead = 8};
    size_t done;

    rig_begin(&rig, &options, NULL);
    ck_assert_int_eq(hurdmm_store_populate(rig.store, 0, 16 * 256, &done), 0);
    ck_assert_uint_le(rig.device.reads, 6);
    for (uint64_t i = 0; i < 16; i++)
        rig_set(&rig, i * 256, 1);
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_le(rig.device.writes, 2);
    rig_end(&rig);
}
END_TEST

/* ---- Errors ---- */

START_TEST(a_bad_block_fails_its_own_page_only)
{
    struct rig_options options = {.blocks = 32, .block = 256, .readahead = 8};
    uint8_t value;
    size_t done;

    rig_begin(&rig, &options, NULL);
    rig.device.bad[rig.device.bad_count++] = 5;
    ck_assert_int_eq(hurdmm_store_populate(rig.store, 0, 16 * 256, &done), EIO);
    ck_assert_uint_eq(done, 5 * 256);
    ck_assert_int_eq(rig_get(&rig, 5 * 256, &value), EIO);
    rig_expect(&rig, 4 * 256, device_byte(4 * 256));
    rig_expect(&rig, 6 * 256, device_byte(6 * 256));
    rig_end(&rig);
}
END_TEST

START_TEST(an_error_of_the_device_reaches_who_reads)
{
    static const int errors[] = {EIO, ENXIO, ENODEV, ETIMEDOUT};
    uint8_t value;

    rig_begin(&rig, NULL, NULL);
    device_fail(&rig.device, DEVICE_READ, 1, errors[_i], true);
    ck_assert_int_eq(rig_get(&rig, 77, &value), errors[_i]);
    ck_assert_int_eq(rig_put(&rig, 777, 1), errors[_i]);
    rig_end(&rig);
}
END_TEST

START_TEST(a_device_that_is_gone_is_not_asked_again_and_again)
{
    struct rig_options options = {.blocks = 64, .block = 256, .readahead = 8};
    size_t done;

    rig_begin(&rig, &options, NULL);
    device_fail(&rig.device, DEVICE_READ, 1, ENODEV, true);
    ck_assert_int_eq(hurdmm_store_populate(rig.store, 0, 8 * 256, &done),
                     ENODEV);
    ck_assert_uint_gt(rig.device.longest, 256);
    ck_assert_uint_eq(rig.device.reads, 1);
    rig_end(&rig);
}
END_TEST

/* What is evicted for the new contents lies beside the page that failed. */
START_TEST(a_failed_page_is_overwritten_when_memory_is_full)
{
    struct rig_options options = {.blocks = 32,
                                  .block = 256,
                                  .frames = 16,
                                  .manager_flags = HURDMM_NO_THREADS};
    uint8_t bytes[256];
    size_t done;

    rig_begin(&rig, &options, NULL);
    rig.device.bad[rig.device.bad_count++] = 20;
    ck_assert_int_eq(hurdmm_store_read(rig.store, 20 * 256, bytes, 256, &done),
                     EIO);
    for (unsigned i = 0; i < 16; i++)
        ck_assert_int_eq(
            hurdmm_store_read(rig.store, i * 256, bytes, 256, &done), 0);
    rig.device.bad_count = 0;
    memset(bytes, 0x44, sizeof bytes);
    ck_assert_int_eq(hurdmm_store_write(rig.store, 20 * 256, bytes, 256, &done),
                     0);
    rig_check(&rig);
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_int_eq(memcmp(rig.device.medium + 20 * 256, bytes, 256), 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_page_that_cannot_be_written_stays_dirty)
{
    unsigned state = 0;

    rig_begin(&rig, NULL, NULL);
    rig_set(&rig, 300, 0x31);
    rig_set(&rig, 1300, 0x32);
    rig.device.bad[rig.device.bad_count++] = 5; /* of the second page */
    ck_assert_int_eq(rig_sync(&rig), EIO);
    ck_assert_int_eq(hurdmm_store_state(rig.store, 256, &state, NULL), 0);
    ck_assert_uint_ne(state & HURDMM_STATE_DIRTY, 0);
    rig_expect(&rig, 300, 0x31);
    ck_assert_uint_eq(rig.device.now[1300], 0x32);
    rig.device.bad_count = 0;
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_eq(rig.device.medium[300], 0x31);
    ck_assert_uint_eq(rig.device.medium[1300], 0x32);
    rig_end(&rig);
}
END_TEST

START_TEST(a_flush_that_failed_is_told_and_asked_again)
{
    rig_begin(&rig, NULL, NULL);
    rig_set(&rig, 300, 0x31);
    device_fail(&rig.device, DEVICE_FLUSH, 1, EIO, false);
    ck_assert_int_eq(rig_sync(&rig), EIO);
    ck_assert_uint_eq(rig.device.medium[300], device_byte(300));
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_eq(rig.device.flushes, 2);
    ck_assert_uint_eq(rig.device.medium[300], 0x31);
    rig_end(&rig);
}
END_TEST

START_TEST(destroying_writes_back_and_makes_durable)
{
    rig_begin(&rig, NULL, NULL);
    rig_set(&rig, 300, 0x31);
    ck_assert_int_eq(hurdmm_store_destroy(rig.store, HURDMM_DETACH), 0);
    ck_assert_uint_eq(rig.device.medium[300], 0x31);
    rig_end(&rig);
}
END_TEST

START_TEST(a_read_only_device)
{
    struct rig_options options = {.flags = HURDMM_STORE_READ_ONLY};
    struct hurdmm_store *store;

    rig_begin(&rig, &options, NULL);
    rig_expect(&rig, 500, device_byte(500));
    ck_assert_int_eq(rig_put(&rig, 500, 1), EACCES);
    rig.device.capabilities = HURDMM_BLOCK_READ_ONLY;
    ck_assert_int_eq(hurdmm_block_store_create(rig.manager, &rig.device.block,
                                               0, 0, 0, &store),
                     EACCES);
    ck_assert_int_eq(hurdmm_block_store_create(rig.manager, &rig.device.block,
                                               0, 0, HURDMM_STORE_READ_ONLY,
                                               &store),
                     0);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    rig_end(&rig);
}
END_TEST

static int make(uint64_t offset, uint64_t size, unsigned flags)
{
    struct hurdmm_store *store;

    return hurdmm_block_store_create(rig.manager, &rig.device.block, offset,
                                     size, flags, &store);
}

START_TEST(wrong_arguments_are_refused)
{
    struct hurdmm_store *store;
    struct hurdmm_block *block = &rig.device.block;

    rig_begin(&rig, NULL, NULL);
    ck_assert_int_eq(make(1, 64, 0), EINVAL);
    ck_assert_int_eq(make(0, 65, 0), EINVAL);
    ck_assert_int_eq(make(0, block->size + 64, 0), ENXIO);
    ck_assert_int_eq(make(block->size, 0, 0), ENXIO);
    ck_assert_int_eq(make(block->size + 64, 0, 0), ENXIO);
    ck_assert_int_eq(make(0 - (uint64_t)64, 128, 0), ENXIO);
    ck_assert_int_eq(make(0, 64, HURDMM_STORE_VOLATILE), EINVAL);
    ck_assert_int_eq(hurdmm_block_store_create(NULL, block, 0, 0, 0, &store),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_block_store_create(rig.manager, NULL, 0, 0, 0, &store), EINVAL);
    ck_assert_int_eq(
        hurdmm_block_store_create(rig.manager, block, 0, 0, 0, NULL), EINVAL);
    block->size = 0;
    ck_assert_int_eq(make(0, 0, 0), EINVAL);
    block->size = 100; /* an image of odd size */
    ck_assert_int_eq(make(0, 0, 0), EINVAL);
    block->size = 128 * 64;
    block->block_size = 96;
    ck_assert_int_eq(make(0, 0, 0), EINVAL);
    block->block_size = 64;
    rig_end(&rig);
}
END_TEST

START_TEST(no_memory_for_a_store_is_ENOMEM)
{
    unsigned nth = 1;
    int error;

    rig_begin(&rig, NULL, NULL);
    do {
        struct hurdmm_store *store;

        hurdmm_sim_fail(rig.port, HURDMM_SIM_MEMORY, nth++, ENOMEM, 1);
        error = hurdmm_block_store_create(rig.manager, &rig.device.block, 0, 0,
                                          0, &store);
        hurdmm_sim_fail(rig.port, 0, 0, 0, 0);
        ck_assert(error == 0 || error == ENOMEM);
        if (error == 0)
            ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    } while (error != 0);
    rig_end(&rig);
}
END_TEST

/* ---- Reading ahead ---- */

/* A device that does requests by itself; 64 pages of four blocks. */
static void begin_served(uint64_t random, unsigned frames, unsigned served)
{
    struct rig_options options = {.blocks = 256,
                                  .frames = frames,
                                  .readahead = 4,
                                  .served = served,
                                  .seed = random};

    rig_begin(&rig, &options, NULL);
}

START_TEST(what_comes_next_is_read_ahead)
{
    begin_served(0, 128, 1);
    for (uint64_t i = 0; i < rig.size; i += 256)
        rig_expect(&rig, i, device_byte(i));
    /* Of four pages, but for the first few, which nobody foresees. */
    ck_assert_uint_gt(rig.device.submitted, 8);
    ck_assert_uint_le(rig.device.reads, 20);
    rig_end(&rig);
}
END_TEST

START_TEST(a_device_that_must_be_served_is_not_given_requests)
{
    rig_begin(&rig, &(struct rig_options){.blocks = 256, .readahead = 4}, NULL);
    rig.device.capabilities |= HURDMM_BLOCK_ASYNC;
    ck_assert_int_eq(make(0, 0, 0), 0);
    for (uint64_t i = 0; i < rig.size; i += 256)
        rig_expect(&rig, i, device_byte(i));
    ck_assert_uint_eq(rig.device.submitted, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_bad_block_ahead_takes_no_page_before_it)
{
    begin_served(0, 64, 1 + (unsigned)_i);
    rig.device.bad[rig.device.bad_count++] = 4 * 30 + 2;
    for (uint64_t page = 0; page < 64; page++) {
        uint8_t value = 0;

        ck_assert_int_eq(rig_get(&rig, page * 256, &value),
                         page == 30 ? EIO : 0);
        if (page != 30)
            ck_assert_uint_eq(value, device_byte(page * 256));
    }
    ck_assert_uint_gt(rig.device.submitted, 0);
    rig_end(&rig);
}
END_TEST

/* Also where the window that is waited for was submitted, and fails as a whole. */
START_TEST(a_bad_block_in_the_first_window_fails_its_own_page_only)
{
    begin_served(0, 64, 1);
    ck_assert_int_eq(hurdmm_advise(hurdmm_space_own(rig.manager), rig.at,
                                   rig.size, HURDMM_ADVICE_SEQUENTIAL),
                     0);
    rig.device.bad[rig.device.bad_count++] = 4 * (unsigned)_i + 2;
    for (unsigned page = 0; page < 64; page++) {
        uint8_t value = 0;

        ck_assert_int_eq(rig_get(&rig, page * 256, &value),
                         page == (unsigned)_i ? EIO : 0);
        if (page != (unsigned)_i)
            ck_assert_uint_eq(value, device_byte(page * 256));
    }
    ck_assert_uint_gt(rig.device.submitted, 64 / 4);
    rig_end(&rig);
}
END_TEST

/* Whatever is asked for fails: what is submitted, and what is waited for. */
START_TEST(a_device_that_fails_while_it_reads_ahead)
{
    static const int errors[] = {EIO, ENODEV, ETIMEDOUT};
    uint8_t value = 0;

    begin_served(0, 64, 1);
    for (uint64_t i = 0; i < 16 * 256; i += 256)
        rig_expect(&rig, i, device_byte(i));
    device_fail(&rig.device, DEVICE_READ, 1, errors[_i], true);
    for (uint64_t i = 16 * 256; i < rig.size; i += 256) {
        int error = rig_get(&rig, i, &value);

        ck_assert(error == 0 || error == errors[_i]);
    }
    ck_assert_int_eq(rig_get(&rig, rig.size - 1, &value), errors[_i]);
    rig_end(&rig);
}
END_TEST

START_TEST(more_than_can_be_under_way_is_left_for_later)
{
    begin_served(0, 128, 5);
    ck_assert_int_eq(
        hurdmm_store_advise(rig.store, 0, rig.size, HURDMM_ADVICE_WILLNEED), 0);
    ck_assert_uint_ge(rig.device.submitted, 4);
    ck_assert_uint_eq(rig.device.begins, 1);
    for (uint64_t i = rig.size; i > 0; i -= 256)
        rig_expect(&rig, i - 256, device_byte(i - 256));
    rig_end(&rig);
}
END_TEST

START_TEST(a_device_that_takes_no_request_is_asked_again)
{
    begin_served(0, 128, 1);
    rig.device.refuse = 40;
    for (unsigned i = 0; rig.device.refuse > 0; i++) {
        ck_assert_uint_lt(i, 80);
        ck_assert_int_eq(
            hurdmm_store_advise(rig.store, 0, rig.size, HURDMM_ADVICE_WILLNEED),
            0);
    }
    ck_assert_int_eq(
        hurdmm_store_advise(rig.store, 0, rig.size, HURDMM_ADVICE_WILLNEED), 0);
    ck_assert_uint_gt(rig.device.submitted, 0);
    for (uint64_t i = 0; i < rig.size; i += 256)
        rig_expect(&rig, i, device_byte(i));
    rig_end(&rig);
}
END_TEST

START_TEST(a_store_may_go_while_it_reads_ahead)
{
    begin_served((uint64_t)_i, 64, 40);
    for (uint64_t i = 0; i < 16 * 256; i += 256)
        rig_expect(&rig, i, device_byte(i));
    if (_i == 0)
        ck_assert_ptr_nonnull(rig.device.first);
    ck_assert_int_eq(hurdmm_store_destroy(rig.store, HURDMM_DETACH), 0);
    ck_assert_ptr_null(rig.device.first);
    rig_end(&rig);
}
END_TEST

START_TEST(reading_ahead_and_eviction_share_the_device)
{
    static uint8_t model[256 * 64];

    begin_served((uint64_t)_i + 1, 40, 1 + (unsigned)_i % 7);
    for (uint64_t i = 0; i < rig.size; i++)
        model[i] = device_byte(i);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = round; i < rig.size; i += 128) {
            rig_expect(&rig, i, model[i]);
            model[i] = (uint8_t)(i + round);
            rig_set(&rig, i, model[i]);
        }
        rig_check(&rig);
    }
    ck_assert_uint_gt(rig.device.submitted, 0);
    ck_assert_int_eq(rig_sync(&rig), 0);
    expect_device(model, 0, sizeof model);
    rig_end(&rig);
}
END_TEST

/* ---- Other devices ---- */

START_TEST(a_ramdisk_works_as_a_store)
{
    static uint8_t memory[4096];
    struct hurdmm_ramdisk ramdisk;

    for (unsigned i = 0; i < sizeof memory; i++)
        memory[i] = device_byte(i);
    ck_assert_int_eq(
        hurdmm_ramdisk_init(&ramdisk, memory, sizeof memory, 512, 0), 0);
    rig_begin(&rig, NULL, &ramdisk.block);
    rig_expect(&rig, 4095, device_byte(4095));
    rig_set(&rig, 4095, 1);
    rig_set(&rig, 17, 2);
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_eq(memory[4095], 1);
    ck_assert_uint_eq(memory[17], 2);
    rig_end(&rig);
}
END_TEST

START_TEST(a_partition_found_on_the_device_is_bound)
{
    static uint8_t memory[64 * 512], scratch[512];
    static const uint8_t entry[] = {0, 0, 0, 0, 0x83, 0, 0, 0,
                                    7, 0, 0, 0, 9,    0, 0, 0};
    struct hurdmm_ramdisk ramdisk;
    struct hurdmm_partition part;
    struct hurdmm_partition_table table = {.struct_size = sizeof table};
    struct rig_options options = {0};

    memset(memory, 0x11, sizeof memory);
    memset(memory + 446, 0, 64);
    memcpy(memory + 446 + 16, entry, 16);
    memory[510] = 0x55;
    memory[511] = 0xaa;
    ck_assert_int_eq(
        hurdmm_ramdisk_init(&ramdisk, memory, sizeof memory, 512, 0), 0);
    ck_assert_int_eq(
        hurdmm_partition_read(&ramdisk.block, scratch, 512, &part, 1, &table),
        0);
    ck_assert_uint_eq(table.count, 1);
    options.offset = part.start;
    options.size = part.size;
    rig_begin(&rig, &options, &ramdisk.block);
    ck_assert_uint_eq(rig.size, 9 * 512);
    rig_set(&rig, 0, 0xa1);
    rig_set(&rig, 9 * 512 - 1, 0xa2);
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_uint_eq(memory[7 * 512], 0xa1);
    ck_assert_uint_eq(memory[16 * 512 - 1], 0xa2);
    ck_assert_uint_eq(memory[7 * 512 - 1], 0x11);
    ck_assert_uint_eq(memory[16 * 512], 0x11);
    rig_end(&rig);
}
END_TEST

START_TEST(two_slices_of_a_device_are_two_stores)
{
    struct rig_options options = {.blocks = 64, .block = 64, .size = 2048};
    struct hurdmm_slice slice;
    struct hurdmm_store *other;
    uint8_t bytes[2048];
    size_t done;

    rig_begin(&rig, &options, NULL);
    ck_assert_int_eq(hurdmm_slice_init(&slice, &rig.device.block, 2048, 2048),
                     0);
    ck_assert_int_eq(
        hurdmm_block_store_create(rig.manager, &slice.block, 0, 0, 0, &other),
        0);
    memset(bytes, 0xc3, sizeof bytes);
    ck_assert_int_eq(hurdmm_store_write(other, 0, bytes, sizeof bytes, &done),
                     0);
    for (uint64_t i = 0; i < 2048; i += 64)
        rig_set(&rig, i, 0x3c);
    ck_assert_int_eq(hurdmm_sync_all(rig.manager), 0);
    ck_assert_uint_eq(rig.device.medium[2047], device_byte(2047));
    ck_assert_uint_eq(rig.device.medium[1984], 0x3c);
    ck_assert_int_eq(memcmp(rig.device.medium + 2048, bytes, 2048), 0);
    rig_end(&rig);
}
END_TEST

/* ---- Order ---- */

START_TEST(a_barrier_keeps_the_order_when_the_power_goes)
{
    bool late_seen = false, early_alone = false;

    for (unsigned seed = 1; seed <= 60; seed++) {
        rig_begin(&rig, NULL, NULL);
        rig.device.seed = seed * 7919;
        rig_set(&rig, 300, 0x31);
        rig_set(&rig, 5000, 0x31);
        ck_assert_int_eq(hurdmm_block_store_barrier(rig.store, 0, HURDMM_WHOLE),
                         0);
        rig_set(&rig, 900, 0x32);
        ck_assert_int_eq(
            hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
        device_power_cut(&rig.device);
        if (rig.device.medium[900] == 0x32) {
            late_seen = true;
            ck_assert_uint_eq(rig.device.medium[300], 0x31);
            ck_assert_uint_eq(rig.device.medium[5000], 0x31);
        } else {
            early_alone = true;
        }
        rig_end(&rig);
    }
    ck_assert(late_seen && early_alone);
}
END_TEST

START_TEST(a_barrier_tells_what_it_could_not_do)
{
    rig_begin(&rig, NULL, NULL);
    rig_set(&rig, 300, 0x31);
    device_fail(&rig.device, DEVICE_WRITE, 1, EIO, true);
    ck_assert_int_eq(hurdmm_block_store_barrier(rig.store, 0, HURDMM_WHOLE),
                     EIO);
    device_fail(&rig.device, DEVICE_FLUSH, 1, EIO, false);
    ck_assert_int_eq(hurdmm_block_store_barrier(rig.store, 0, HURDMM_WHOLE),
                     EIO);
    ck_assert_int_eq(hurdmm_block_store_barrier(rig.store, 0, HURDMM_WHOLE), 0);
    ck_assert_int_eq(hurdmm_block_store_barrier(rig.store, 13, 256), EINVAL);
    ck_assert_int_eq(hurdmm_block_store_barrier(NULL, 0, HURDMM_WHOLE), EINVAL);
    rig_end(&rig);
}
END_TEST

START_TEST(a_barrier_is_for_block_stores)
{
    struct hurdmm_store *store;

    rig_begin(&rig, NULL, NULL);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, NULL, 4096, 0, &store), 0);
    ck_assert_int_eq(hurdmm_block_store_barrier(store, 0, HURDMM_WHOLE),
                     EINVAL);
    rig_end(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("block-store");
    TCase *data = tcase_create("data");
    TCase *errors = tcase_create("errors");
    TCase *ahead = tcase_create("ahead");
    TCase *devices = tcase_create("devices");
    TCase *order = tcase_create("order");

    tcase_add_loop_test(data, what_is_on_the_device_is_in_memory, 0, 4);
    tcase_add_loop_test(data, what_is_written_is_on_the_device_after_sync, 0,
                        4);
    tcase_add_test(data, flush_writes_and_only_sync_makes_durable);
    tcase_add_test(data, a_sync_for_nothing_costs_nothing);
    tcase_add_test(data, the_last_page_may_end_within);
    tcase_add_test(data, a_part_of_a_device);
    tcase_add_test(data, without_a_size_it_goes_to_the_end);
    tcase_add_test(data, a_device_larger_than_memory);
    tcase_add_test(data, neighbours_are_read_and_written_together);
    tcase_add_test(errors, a_bad_block_fails_its_own_page_only);
    tcase_add_loop_test(errors, an_error_of_the_device_reaches_who_reads, 0, 4);
    tcase_add_test(errors, a_device_that_is_gone_is_not_asked_again_and_again);
    tcase_add_test(errors, a_failed_page_is_overwritten_when_memory_is_full);
    tcase_add_test(errors, a_page_that_cannot_be_written_stays_dirty);
    tcase_add_test(errors, a_flush_that_failed_is_told_and_asked_again);
    tcase_add_test(errors, destroying_writes_back_and_makes_durable);
    tcase_add_test(errors, a_read_only_device);
    tcase_add_test(errors, wrong_arguments_are_refused);
    tcase_add_test(errors, no_memory_for_a_store_is_ENOMEM);
    tcase_add_test(ahead, what_comes_next_is_read_ahead);
    tcase_add_test(ahead, a_device_that_must_be_served_is_not_given_requests);
    tcase_add_loop_test(ahead, a_bad_block_ahead_takes_no_page_before_it, 0, 4);
    tcase_add_loop_test(
        ahead, a_bad_block_in_the_first_window_fails_its_own_page_only, 0, 4);
    tcase_add_loop_test(ahead, a_device_that_fails_while_it_reads_ahead, 0, 3);
    tcase_add_test(ahead, more_than_can_be_under_way_is_left_for_later);
    tcase_add_test(ahead, a_device_that_takes_no_request_is_asked_again);
    tcase_add_loop_test(ahead, a_store_may_go_while_it_reads_ahead, 0, 20);
    tcase_add_loop_test(ahead, reading_ahead_and_eviction_share_the_device, 0,
                        40);
    tcase_add_test(devices, a_ramdisk_works_as_a_store);
    tcase_add_test(devices, a_partition_found_on_the_device_is_bound);
    tcase_add_test(devices, two_slices_of_a_device_are_two_stores);
    tcase_add_test(order, a_barrier_keeps_the_order_when_the_power_goes);
    tcase_add_test(order, a_barrier_tells_what_it_could_not_do);
    tcase_add_test(order, a_barrier_is_for_block_stores);
    suite_add_tcase(suite, data);
    suite_add_tcase(suite, errors);
    suite_add_tcase(suite, ahead);
    suite_add_tcase(suite, devices);
    suite_add_tcase(suite, order);
    return run_suites("tests/block/test-store", &suite, 1);
}
