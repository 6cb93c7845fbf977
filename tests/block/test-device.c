/* SPDX-License-Identifier: MIT */
/* Using block devices: ramdisks, slices, and what is done for a device that has
 * little. */
#include "tests/block/device.h"
#include "tests/support/runner.h"

#define BLOCKS 64u
#define BLOCK 512u

static struct device device;
static uint8_t buffer[BLOCKS * BLOCK];

static void begin(void)
{
    device_init(&device, BLOCKS, BLOCK);
}

static void end(void)
{
    ck_assert_msg(!device.complaint, "%s", device.complaint);
    device_end(&device);
}

START_TEST(ranges_are_checked_before_the_device_is_called)
{
    struct hurdmm_block *block = &device.block;

    ck_assert_int_eq(hurdmm_block_read(block, 1, buffer, BLOCK), EINVAL);
    ck_assert_int_eq(hurdmm_block_read(block, 0, buffer, BLOCK - 1), EINVAL);
    ck_assert_int_eq(hurdmm_block_read(block, 0, NULL, BLOCK), EINVAL);
    ck_assert_int_eq(hurdmm_block_read(NULL, 0, buffer, BLOCK), EINVAL);
    ck_assert_int_eq(hurdmm_block_read(block, block->size, buffer, BLOCK),
                     ENXIO);
    ck_assert_int_eq(
        hurdmm_block_write(block, block->size - BLOCK, buffer, 2 * BLOCK),
        ENXIO);
    ck_assert_int_eq(
        hurdmm_block_write(block, 0 - (uint64_t)BLOCK, buffer, 2 * BLOCK),
        ENXIO);
    ck_assert_int_eq(hurdmm_block_discard(block, 0, 7), EINVAL);
    ck_assert_int_eq(hurdmm_block_discard(block, block->size, BLOCK), ENXIO);
    ck_assert_int_eq(hurdmm_block_flush(NULL), EINVAL);
    ck_assert_int_eq(hurdmm_block_barrier(NULL), EINVAL);
    ck_assert_int_eq(hurdmm_block_serve(NULL, 0), EINVAL);
    ck_assert_uint_eq(hurdmm_block_capabilities(NULL), 0);
    ck_assert_int_eq(hurdmm_block_read(block, block->size, buffer, 0), 0);
    ck_assert_uint_eq(device.reads + device.writes, 0);
}
END_TEST

START_TEST(a_device_of_odd_blocks_is_refused)
{
    static const size_t sizes[] = {0, 3, 513};

    for (unsigned i = 0; i < 3; i++) {
        device.block.block_size = sizes[i];
        ck_assert_int_eq(hurdmm_block_read(&device.block, 0, buffer, 0),
                         EINVAL);
        ck_assert_int_eq(hurdmm_block_flush(&device.block), EINVAL);
    }
}
END_TEST

START_TEST(a_device_without_write_is_read_only)
{
    struct hurdmm_block_ops ops = *device.block.ops;

    ops.write = NULL;
    ops.flush = NULL;
    device.block.ops = &ops;
    ck_assert_uint_ne(
        hurdmm_block_capabilities(&device.block) & HURDMM_BLOCK_READ_ONLY, 0);
    ck_assert_int_eq(hurdmm_block_write(&device.block, 0, buffer, BLOCK),
                     EROFS);
    ck_assert_int_eq(hurdmm_block_read(&device.block, 0, buffer, BLOCK), 0);
    ck_assert_int_eq(hurdmm_block_flush(&device.block), 0);
}
END_TEST

START_TEST(members_beyond_the_table_are_not_looked_at)
{
    struct hurdmm_block_piece piece = {buffer, BLOCK};

    device_end(&device);
    device_init_old(&device, BLOCKS, BLOCK);
    ck_assert_uint_eq(hurdmm_block_capabilities(&device.block),
                      HURDMM_BLOCK_CACHED);
    ck_assert_int_eq(hurdmm_block_read_pieces(&device.block, BLOCK, &piece, 1),
                     0);
    ck_assert_uint_eq(buffer[3], device_byte(BLOCK + 3));
    ck_assert_int_eq(hurdmm_block_serve(&device.block, 0), ETIMEDOUT);
    hurdmm_block_begin(&device.block);
}
END_TEST

START_TEST(a_device_is_told_that_it_may_begin)
{
    struct hurdmm_slice slice;

    hurdmm_block_begin(NULL);
    hurdmm_block_begin(&device.block); /* it has no use for it */
    device_end(&device);
    device_init_served(&device, BLOCKS, BLOCK);
    hurdmm_block_begin(&device.block);
    ck_assert_uint_eq(device.begins, 1);
    ck_assert_int_eq(hurdmm_slice_init(&slice, &device.block, BLOCK, BLOCK), 0);
    hurdmm_block_begin(&slice.block);
    ck_assert_uint_eq(device.begins, 2);
}
END_TEST

START_TEST(a_barrier_flushes_only_what_is_cached)
{
    ck_assert_int_eq(hurdmm_block_barrier(&device.block), 0);
    ck_assert_uint_eq(device.flushes, 1);
    device.capabilities = 0;
    ck_assert_int_eq(hurdmm_block_barrier(&device.block), 0);
    ck_assert_uint_eq(device.flushes, 1);
}
END_TEST

/* Random pieces against the device's bytes. */
START_TEST(pieces_of_any_length)
{
    for (size_t n = test_scaled(300); n > 0; n--) {
        struct hurdmm_block_piece pieces[10];
        uint64_t first = device_random(&device, BLOCKS);
        size_t left = (1 + device_random(&device, BLOCKS - first)) * BLOCK;
        size_t total = left, at = 0;
        uint8_t expected[sizeof buffer];
        unsigned count = 0;

        while (left > 0) {
            size_t length = device_random(&device, left + 1);

            if (count == 9 || device_random(&device, 3) == 0)
                length = left;
            pieces[count++] = (struct hurdmm_block_piece){buffer + at, length};
            at += length;
            left -= length;
        }
        for (size_t i = 0; i < total; i++)
            expected[i] = buffer[i] = (uint8_t)device_random(&device, 256);
        ck_assert_int_eq(hurdmm_block_write_pieces(&device.block, first * BLOCK,
                                                   pieces, count),
                         0);
        ck_assert_int_eq(memcmp(device.now + first * BLOCK, expected, total),
                         0);
        memset(buffer, 0, sizeof buffer);
        ck_assert_int_eq(hurdmm_block_read_pieces(&device.block, first * BLOCK,
                                                  pieces, count),
                         0);
        ck_assert_int_eq(memcmp(buffer, expected, total), 0);
    }
}
END_TEST

START_TEST(pieces_are_checked)
{
    struct hurdmm_block_piece pieces[2] = {{buffer, 500}, {buffer, 11}};
    struct hurdmm_block *block = &device.block;

    ck_assert_int_eq(hurdmm_block_read_pieces(block, 0, pieces, 2), EINVAL);
    pieces[1].length = 12;
    ck_assert_int_eq(hurdmm_block_read_pieces(block, 0, pieces, 2), 0);
    ck_assert_int_eq(hurdmm_block_read_pieces(block, 0, NULL, 2), EINVAL);
    ck_assert_int_eq(hurdmm_block_read_pieces(block, 0, NULL, 0), 0);
    ck_assert_int_eq(hurdmm_block_write_pieces(block, block->size, pieces, 2),
                     ENXIO);
    pieces[0].length = SIZE_MAX - 511;
    pieces[1].length = 1024; /* 512 in all, if nobody looks */
    ck_assert_int_eq(hurdmm_block_write_pieces(block, 0, pieces, 2),
                     sizeof(size_t) == 8 ? EINVAL : ENXIO);
    pieces[0].memory = NULL;
    ck_assert_int_eq(hurdmm_block_write_pieces(block, 0, pieces, 2), EINVAL);
    ck_assert_uint_eq(device.writes, 0);
}
END_TEST

START_TEST(an_error_ends_a_row_of_pieces)
{
    struct hurdmm_block_piece pieces[3] = {
        {buffer, BLOCK}, {buffer + BLOCK, BLOCK}, {buffer + 2 * BLOCK, BLOCK}};

    device_fail(&device, DEVICE_WRITE, 2, ENOSPC, false);
    ck_assert_int_eq(hurdmm_block_write_pieces(&device.block, 0, pieces, 3),
                     ENOSPC);
    ck_assert_uint_eq(device.writes, 2);
}
END_TEST

static int ended_with;
static unsigned ended;

static void note_end(struct hurdmm_block_request *request, int error)
{
    (void)request;
    ended_with = error;
    ended++;
}

START_TEST(without_submit_a_request_is_done_at_once)
{
    struct hurdmm_block_piece piece = {buffer, 2 * BLOCK};
    struct hurdmm_block_request request = {
        .struct_size = sizeof request,
        .kind = HURDMM_BLOCK_READ,
        .piece_count = 1,
        .pieces = &piece,
        .offset = BLOCK,
        .done = note_end,
    };

    ended = 0;
    ck_assert_int_eq(hurdmm_block_submit(&device.block, &request), 0);
    ck_assert_uint_eq(ended, 1);
    ck_assert_int_eq(ended_with, 0);
    ck_assert_uint_eq(buffer[9], device_byte(BLOCK + 9));
    device_fail(&device, DEVICE_FLUSH, 1, EIO, false);
    request.kind = HURDMM_BLOCK_FLUSH;
    ck_assert_int_eq(hurdmm_block_submit(&device.block, &request), 0);
    ck_assert_int_eq(ended_with, EIO);
    request.kind = HURDMM_BLOCK_BARRIER;
    ck_assert_int_eq(hurdmm_block_submit(&device.block, &request), 0);
    ck_assert_int_eq(ended_with, 0);
    request.kind = HURDMM_BLOCK_WRITE;
    request.offset = device.block.size;
    ck_assert_int_eq(hurdmm_block_submit(&device.block, &request), ENXIO);
    ck_assert_uint_eq(ended, 3);
}
END_TEST

/* ---- Ramdisks ---- */

START_TEST(a_ramdisk_is_its_memory)
{
    static uint8_t memory[8 * BLOCK];
    struct hurdmm_ramdisk ramdisk;

    ck_assert_int_eq(
        hurdmm_ramdisk_init(&ramdisk, memory, sizeof memory, BLOCK, 0), 0);
    ck_assert_uint_eq(hurdmm_block_capabilities(&ramdisk.block), 0);
    memset(buffer, 0x77, BLOCK);
    ck_assert_int_eq(
        hurdmm_block_write(&ramdisk.block, 7 * BLOCK, buffer, BLOCK), 0);
    ck_assert_uint_eq(memory[7 * BLOCK], 0x77);
    ck_assert_uint_eq(memory[7 * BLOCK - 1], 0);
    memory[5] = 9;
    ck_assert_int_eq(hurdmm_block_read(&ramdisk.block, 0, buffer, BLOCK), 0);
    ck_assert_uint_eq(buffer[5], 9);
    ck_assert_int_eq(hurdmm_block_flush(&ramdisk.block), 0);
    ck_assert_int_eq(hurdmm_block_barrier(&ramdisk.block), 0);
    ck_assert_int_eq(
        hurdmm_block_read(&ramdisk.block, 8 * BLOCK, buffer, BLOCK), ENXIO);
    ck_assert_int_eq(
        ramdisk.block.ops->read(&ramdisk.block, 8 * BLOCK, buffer, BLOCK),
        ENXIO);
    ck_assert_int_eq(ramdisk.block.ops->write(&ramdisk.block, 3, buffer, BLOCK),
                     EINVAL);
}
END_TEST

START_TEST(a_ramdisk_can_be_read_only)
{
    uint8_t memory[BLOCK] = {1};
    struct hurdmm_ramdisk ramdisk;

    ck_assert_int_eq(hurdmm_ramdisk_init(&ramdisk, memory, BLOCK, BLOCK,
                                         HURDMM_BLOCK_READ_ONLY),
                     0);
    ck_assert_int_eq(hurdmm_block_write(&ramdisk.block, 0, buffer, BLOCK),
                     EROFS);
    ck_assert_uint_eq(memory[0], 1);
}
END_TEST

START_TEST(an_image_of_odd_size_is_refused)
{
    static uint8_t memory[3 * BLOCK];
    struct hurdmm_ramdisk ramdisk;

    ck_assert_int_eq(
        hurdmm_ramdisk_init(&ramdisk, memory, 2 * BLOCK + 1, BLOCK, 0), EINVAL);
    ck_assert_int_eq(hurdmm_ramdisk_init(&ramdisk, memory, BLOCK, 0, 0),
                     EINVAL);
    ck_assert_int_eq(hurdmm_ramdisk_init(&ramdisk, memory, 600, 300, 0),
                     EINVAL);
    ck_assert_int_eq(hurdmm_ramdisk_init(&ramdisk, NULL, BLOCK, BLOCK, 0),
                     EINVAL);
    ck_assert_int_eq(hurdmm_ramdisk_init(NULL, memory, BLOCK, BLOCK, 0),
                     EINVAL);
    ck_assert_int_eq(hurdmm_ramdisk_init(&ramdisk, memory, BLOCK, BLOCK, 2),
                     EINVAL);
    ck_assert_int_eq(hurdmm_ramdisk_init(&ramdisk, NULL, 0, BLOCK, 0), 0);
    ck_assert_int_eq(hurdmm_block_read(&ramdisk.block, 0, buffer, BLOCK),
                     ENXIO);
}
END_TEST

/* ---- Slices ---- */

START_TEST(a_slice_is_a_part_of_the_whole)
{
    struct hurdmm_slice slice;
    struct hurdmm_block_piece pieces[2] = {{buffer, 100}, {buffer + 100, 412}};
    struct hurdmm_block_request request = {
        .struct_size = sizeof request,
        .kind = HURDMM_BLOCK_WRITE,
        .piece_count = 2,
        .pieces = pieces,
        .offset = BLOCK,
        .done = note_end,
    };

    ck_assert_int_eq(
        hurdmm_slice_init(&slice, &device.block, 10 * BLOCK, 4 * BLOCK), 0);
    ck_assert_uint_eq(slice.block.size, 4 * BLOCK);
    ck_assert_uint_eq(slice.block.block_size, BLOCK);
    ck_assert_int_eq(hurdmm_block_read(&slice.block, BLOCK, buffer, BLOCK), 0);
    ck_assert_uint_eq(buffer[0], device_byte(11 * BLOCK));
    memset(buffer, 0x42, BLOCK);
    ck_assert_int_eq(hurdmm_block_write(&slice.block, 0, buffer, BLOCK), 0);
    ck_assert_uint_eq(device.now[10 * BLOCK], 0x42);
    ck_assert_int_eq(
        hurdmm_block_write_pieces(&slice.block, 3 * BLOCK, pieces, 2), 0);
    ck_assert_uint_eq(device.now[13 * BLOCK + 511], 0x42);
    ended = 0;
    ck_assert_int_eq(hurdmm_block_submit(&slice.block, &request), 0);
    ck_assert_uint_eq(ended, 1);
    ck_assert_uint_eq(device.now[11 * BLOCK], 0x42);
    ck_assert_uint_eq(device.now[12 * BLOCK], device_byte(12 * BLOCK));
    ck_assert_int_eq(
        hurdmm_block_read_pieces(&slice.block, 2 * BLOCK, pieces, 2), 0);
    ck_assert_uint_eq(buffer[511], device_byte(12 * BLOCK + 511));
    ck_assert_int_eq(hurdmm_block_flush(&slice.block), 0);
    ck_assert_uint_eq(device.flushes, 1);
}
END_TEST

START_TEST(nothing_leaves_a_slice)
{
    struct hurdmm_slice slice, inner;
    struct hurdmm_block *block = &slice.block;

    ck_assert_int_eq(
        hurdmm_slice_init(&slice, &device.block, 10 * BLOCK, 4 * BLOCK), 0);
    ck_assert_int_eq(hurdmm_block_read(block, 4 * BLOCK, buffer, BLOCK), ENXIO);
    ck_assert_int_eq(hurdmm_block_write(block, 3 * BLOCK, buffer, 2 * BLOCK),
                     ENXIO);
    ck_assert_int_eq(hurdmm_block_discard(block, 3 * BLOCK, 2 * BLOCK), ENXIO);
    ck_assert_int_eq(block->ops->read(block, 4 * BLOCK, buffer, BLOCK), ENXIO);
    ck_assert_int_eq(
        hurdmm_block_read(block, 0 - (uint64_t)BLOCK, buffer, BLOCK), ENXIO);
    ck_assert_int_eq(hurdmm_slice_init(&inner, block, 2 * BLOCK, 3 * BLOCK),
                     ENXIO);
    ck_assert_int_eq(hurdmm_slice_init(&inner, block, 100, BLOCK), EINVAL);
    ck_assert_int_eq(hurdmm_slice_init(&inner, block, 0, 0), EINVAL);
    ck_assert_int_eq(hurdmm_slice_init(&inner, NULL, 0, BLOCK), EINVAL);
    ck_assert_int_eq(hurdmm_slice_init(NULL, block, 0, BLOCK), EINVAL);
    ck_assert_uint_eq(device.reads + device.writes, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("block-device");
    TCase *use = tcase_create("use");
    TCase *ramdisk = tcase_create("ramdisk");
    TCase *slice = tcase_create("slice");

    tcase_add_checked_fixture(use, begin, end);
    tcase_add_test(use, ranges_are_checked_before_the_device_is_called);
    tcase_add_test(use, a_device_of_odd_blocks_is_refused);
    tcase_add_test(use, a_device_without_write_is_read_only);
    tcase_add_test(use, members_beyond_the_table_are_not_looked_at);
    tcase_add_test(use, a_device_is_told_that_it_may_begin);
    tcase_add_test(use, a_barrier_flushes_only_what_is_cached);
    tcase_add_test(use, pieces_of_any_length);
    tcase_add_test(use, pieces_are_checked);
    tcase_add_test(use, an_error_ends_a_row_of_pieces);
    tcase_add_test(use, without_submit_a_request_is_done_at_once);
    tcase_add_test(ramdisk, a_ramdisk_is_its_memory);
    tcase_add_test(ramdisk, a_ramdisk_can_be_read_only);
    tcase_add_test(ramdisk, an_image_of_odd_size_is_refused);
    tcase_add_checked_fixture(slice, begin, end);
    tcase_add_test(slice, a_slice_is_a_part_of_the_whole);
    tcase_add_test(slice, nothing_leaves_a_slice);
    suite_add_tcase(suite, use);
    suite_add_tcase(suite, ramdisk);
    suite_add_tcase(suite, slice);
    return run_suites("tests/block/test-device", &suite, 1);
}
