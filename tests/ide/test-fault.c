/* SPDX-License-Identifier: MIT */
/* What goes wrong: each fault, where it is told, and what is left of it. */
#include "backends/l4-x86/ide/private.h"
#include "tests/ide/rig.h"
#include "tests/support/runner.h"

static struct rig rig;

/* By DMA and by PIO, with interrupts. */
static const unsigned ways[] = {0, HMM_IDE_NO_DMA, HMM_IDE_POLL,
                                HMM_IDE_POLL | HMM_IDE_NO_DMA};

/* Nothing takes longer than a few timeouts. */
static void expect_bounded(uint64_t began)
{
    ck_assert_uint_le(rig.machine.now - began,
                      3 * (RIG_COMMAND_NS + RIG_RESET_NS) +
                          UINT64_C(1000000000));
}

/* ---- Errors that pass ---- */

struct passing {
    enum fault_kind kind;
    unsigned way, retries_max;
    bool reset;
};

static const struct passing passings[] = {
    {FAULT_NEVER_READY, 0, 1, true},   {FAULT_NEVER_READY, 1, 1, true},
    {FAULT_NEVER_READY, 3, 1, true},   {FAULT_LATE_DRQ, 1, 0, false},
    {FAULT_LATE_DRQ, 3, 0, false},     {FAULT_SPURIOUS_IRQ, 0, 0, false},
    {FAULT_SPURIOUS_IRQ, 1, 0, false}, {FAULT_MISSING_IRQ, 0, 0, false},
    {FAULT_MISSING_IRQ, 1, 0, false},  {FAULT_ABORT, 0, 1, false},
    {FAULT_ABORT, 1, 1, false},        {FAULT_CRC, 0, 1, false},
    {FAULT_DEVICE, 0, 1, false},       {FAULT_DEVICE, 3, 1, false},
    {FAULT_DMA, 0, 1, true},           {FAULT_DMA, 2, 1, true},
    {FAULT_STUCK_DRQ, 1, 1, true},
};

#define PASSINGS (int)(sizeof passings / sizeof passings[0])

START_TEST(a_read_survives_what_passes)
{
    const struct passing *passing = &passings[_i];
    uint64_t began, resets;

    rig_begin(&rig, ways[passing->way]);
    resets = rig_stats(&rig)->resets;
    machine_fault(rig.drive, passing->kind, 1, false);
    began = rig.machine.now;
    rig_reads(&rig, 10, 20);
    ck_assert_uint_eq(rig_stats(&rig)->retries, passing->retries_max);
    ck_assert_int_eq(rig_stats(&rig)->resets != resets, passing->reset);
    ck_assert_int_eq(rig_stats(&rig)->interrupts_missed != 0,
                     passing->kind == FAULT_MISSING_IRQ);
    expect_bounded(began);
    rig_reads(&rig, 0, 100);
    rig_writes(&rig, 0, 100, 1);
    rig_end(&rig);
}
END_TEST

START_TEST(a_write_survives_what_passes)
{
    const struct passing *passing = &passings[_i];

    rig_begin(&rig, ways[passing->way]);
    machine_fault(rig.drive, passing->kind, 1, false);
    rig_writes(&rig, 10, 20, 5);
    ck_assert_uint_le(rig_stats(&rig)->retries, passing->retries_max);
    rig_reads(&rig, 0, 100);
    rig_end(&rig);
}
END_TEST

START_TEST(the_second_attempt_may_fail_too)
{
    rig_begin(&rig, ways[_i]);
    machine_fault(rig.drive, FAULT_ABORT, 1, false);
    machine_fault(rig.drive, FAULT_DEVICE, 2, false);
    rig_writes(&rig, 10, 20, 5);
    ck_assert_uint_eq(rig_stats(&rig)->retries, 2);
    rig_end(&rig);
}
END_TEST

START_TEST(three_attempts_are_all_there_are)
{
    unsigned before;

    rig_begin(&rig, ways[_i]);
    machine_fault(rig.drive, FAULT_ABORT, 1, true);
    before = rig.machine.commands;
    ck_assert_int_eq(rig_read(&rig, 10, 20), EIO);
    /* One of them is IDENTIFY, after the reset before the last. */
    ck_assert_uint_eq(rig.machine.commands, before + 4);
    ck_assert_int_eq(rig_write(&rig, 10, 20, 9), EIO);
    rig.drive->faults[0].nth = 0;
    rig_reads(&rig, 10, 20);
    rig_end(&rig);
}
END_TEST

/* ---- Interrupts ---- */

START_TEST(missing_interrupts_lead_to_polling)
{
    uint64_t began;

    rig_begin(&rig, ways[_i]);
    machine_fault(rig.drive, FAULT_MISSING_IRQ, 1, true);
    for (unsigned i = 0; i < 5; i++)
        rig_reads(&rig, i, 1);
    ck_assert(rig.disk.channel->polled);
    ck_assert_uint_eq(rig_stats(&rig)->interrupts_missed, 3);
    ck_assert_uint_eq(rig.machine.channels[0].control & IDE_CONTROL_NIEN,
                      IDE_CONTROL_NIEN);
    began = rig.machine.now;
    for (unsigned i = 0; i < 100; i++)
        rig_writes(&rig, i * 3, 2, (uint8_t)i);
    ck_assert_uint_lt(rig.machine.now - began, UINT64_C(200000000));
    rig_end(&rig);
}
END_TEST

START_TEST(a_few_missing_interrupts_do_not)
{
    rig_begin(&rig, 0);
    for (unsigned i = 0; i < 20; i++) {
        if (i % 4 == 0)
            machine_fault(rig.drive, FAULT_MISSING_IRQ, 1, false);
        rig_reads(&rig, i, 3);
    }
    ck_assert(!rig.disk.channel->polled);
    ck_assert_uint_eq(rig_stats(&rig)->interrupts_missed, 5);
    rig_end(&rig);
}
END_TEST

START_TEST(spurious_interrupts_are_told_apart)
{
    rig_begin(&rig, ways[_i]);
    machine_fault(rig.drive, FAULT_SPURIOUS_IRQ, 1, true);
    for (unsigned i = 0; i < 20; i++) {
        rig_reads(&rig, i, 3);
        rig_writes(&rig, 30 + i, 3, (uint8_t)i);
    }
    ck_assert_uint_ge(rig_stats(&rig)->interrupts_spurious, 20);
    ck_assert_uint_eq(rig_stats(&rig)->retries, 0);
    ck_assert_uint_eq(rig_stats(&rig)->interrupts_missed, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_machine_without_interrupts_is_polled)
{
    rig_plug(&rig, 1);
    rig.machine.no_irq = true;
    rig_open(&rig, ways[_i]);
    rig_writes(&rig, 0, 100, 1);
    rig_reads(&rig, 0, 200);
    ck_assert_uint_le(rig.machine.waits, 1);
    ck_assert(rig.disk.channel->polled);
    rig_end(&rig);
}
END_TEST

START_TEST(each_interrupt_is_answered)
{
    rig_begin(&rig, ways[_i]);
    rig_writes(&rig, 0, 10, 1);
    rig_reads(&rig, 0, 20);
    ck_assert_uint_ge(rig.machine.irqs_done, _i == 0 ? 3 : 31);
    ck_assert_uint_eq(rig_stats(&rig)->interrupts_missed, 0);
    ck_assert(!rig.machine.channels[0].latched);
    rig_end(&rig);
}
END_TEST

/* ---- Bad sectors ---- */

START_TEST(a_bad_sector_is_EIO_and_the_others_are_read)
{
    rig_begin(&rig, ways[_i]);
    rig.drive->bad[rig.drive->bad_count++] = 25;
    ck_assert_int_eq(rig_read(&rig, 20, 10), EIO);
    ck_assert_int_eq(rig_read(&rig, 25, 1), EIO);
    rig_reads(&rig, 20, 5);
    rig_reads(&rig, 26, 10);
    ck_assert(rig.disk.dma == !(ways[_i] & HMM_IDE_NO_DMA));
    rig_end(&rig);
}
END_TEST

START_TEST(a_bad_sector_cannot_be_written)
{
    rig_begin(&rig, ways[_i]);
    rig.drive->bad[rig.drive->bad_count++] = 25;
    ck_assert_int_eq(rig_write(&rig, 25, 5, 1), EIO);
    /* What came of those before it is not known. */
    memcpy(rig.model, rig.drive->now, RIG_SECTORS * 512);
    rig_writes(&rig, 26, 5, 2);
    rig_writes(&rig, 20, 5, 3);
    rig_end(&rig);
}
END_TEST

/* ---- Errors that stay ---- */

struct final {
    enum fault_kind kind;
    int error;
};

START_TEST(some_errors_are_not_tried_again)
{
    static const struct final finals[] = {{FAULT_NO_MEDIUM, ENODEV},
                                          {FAULT_PROTECTED, EROFS}};
    unsigned before;

    rig_begin(&rig, 0);
    machine_fault(rig.drive, finals[_i].kind, 1, true);
    before = rig.machine.commands;
    ck_assert_int_eq(rig_write(&rig, 3, 3, 1), finals[_i].error);
    ck_assert_uint_eq(rig.machine.commands, before + 1);
    rig.drive->faults[0].nth = 0;
    /* A medium may come back. */
    rig_writes(&rig, 3, 3, 1);
    rig_end(&rig);
}
END_TEST

START_TEST(a_disk_that_is_gone_is_ENODEV_at_once)
{
    uint64_t began;

    rig_begin(&rig, ways[_i]);
    rig.fragile = true;
    rig_writes(&rig, 0, 10, 1);
    machine_fault(rig.drive, FAULT_GONE, 1, false);
    began = rig.machine.now;
    ck_assert_int_eq(rig_read(&rig, 0, 10), ENODEV);
    expect_bounded(began);
    began = rig.machine.now;
    ck_assert_int_eq(rig_read(&rig, 0, 10), ENODEV);
    ck_assert_int_eq(rig_write(&rig, 0, 10, 2), ENODEV);
    ck_assert_int_eq(hurdmm_block_flush(&rig.disk.block), ENODEV);
    ck_assert_uint_eq(rig.machine.now, began);
    rig_end(&rig);
}
END_TEST

START_TEST(a_slave_that_goes_leaves_the_master)
{
    struct hmm_ide_disk slave;
    struct drive *drive;

    rig_plug(&rig, 1);
    drive = machine_plug(&rig.machine, 0, 1, 100);
    rig_open(&rig, ways[_i]);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 0, 1, &slave), 0);
    machine_fault(drive, FAULT_GONE, 1, false);
    ck_assert_int_eq(hurdmm_block_read(&slave.block, 0, rig.buffer, 512),
                     ENODEV);
    ck_assert(slave.gone && !rig.disk.gone);
    rig_writes(&rig, 0, 100, 1);
    rig_reads(&rig, 0, 200);
    ck_assert_int_eq(hmm_ide_disk_close(&slave), ENODEV);
    rig_end(&rig);
}
END_TEST

START_TEST(a_disk_that_is_exchanged_is_gone)
{
    rig_begin(&rig, 0);
    rig.fragile = true;
    machine_fault(rig.drive, FAULT_NEVER_READY, 1, false);
    rig.drive->sectors--;
    ck_assert_int_eq(rig_read(&rig, 0, 10), ENODEV);
    ck_assert_int_eq(rig_read(&rig, 0, 10), ENODEV);
    rig_end(&rig);
}
END_TEST

START_TEST(a_disk_that_is_never_ready_times_out)
{
    uint64_t began;

    rig_begin(&rig, ways[_i]);
    rig.fragile = true;
    machine_fault(rig.drive, FAULT_NEVER_READY, 1, true);
    began = rig.machine.now;
    ck_assert_int_eq(rig_write(&rig, 0, 10, 1), ETIMEDOUT);
    expect_bounded(began);
    ck_assert_int_eq(rig_write(&rig, 0, 10, 1), ENODEV);
    rig_end(&rig);
}
END_TEST

START_TEST(dma_that_fails_gives_way_to_pio)
{
    rig_begin(&rig, ways[_i]);
    machine_fault(rig.drive, FAULT_DMA, 1, true);
    for (unsigned i = 0; i < 5; i++) {
        rig_writes(&rig, 10 * i, 4, (uint8_t)i);
        rig_reads(&rig, 10 * i, 6);
    }
    ck_assert(!rig.disk.dma);
    ck_assert_uint_eq(rig_stats(&rig)->dma_commands, 6);
    rig_end(&rig);
}
END_TEST

/* ---- Flush ---- */

START_TEST(a_flush_that_failed_is_told_and_not_repeated)
{
    static const enum fault_kind kinds[] = {FAULT_ABORT, FAULT_DEVICE};
    unsigned before;

    rig_begin(&rig, 0);
    rig_writes(&rig, 0, 4, 1);
    before = rig.machine.commands;
    machine_fault(rig.drive, kinds[_i], 1, false);
    ck_assert_int_eq(hurdmm_block_flush(&rig.disk.block), EIO);
    ck_assert_uint_eq(rig.machine.commands, before + 1);
    ck_assert_int_eq(hurdmm_block_flush(&rig.disk.block), 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_flush_that_hangs_times_out)
{
    uint64_t began;

    rig_begin(&rig, 0);
    machine_fault(rig.drive, FAULT_NEVER_READY, 1, false);
    began = rig.machine.now;
    ck_assert_int_eq(hurdmm_block_flush(&rig.disk.block), ETIMEDOUT);
    expect_bounded(began);
    rig_reads(&rig, 0, 10);
    ck_assert_int_eq(hurdmm_block_flush(&rig.disk.block), 0);
    rig_end(&rig);
}
END_TEST

/* ---- At the beginning ---- */

START_TEST(a_short_identify_is_EIO)
{
    static const unsigned words_there[] = {1, 100, 110, 128, 255};

    for (unsigned i = 0; i < 10; i++) {
        rig_plug(&rig, 1);
        rig.drive->short_words = words_there[i / 2];
        /* A line that nobody drives, or one that is held low. */
        rig.drive->short_value = i % 2 ? 0xffff : 0;
        machine_fault(rig.drive, FAULT_SHORT_IDENTIFY, 1, true);
        ck_assert_int_eq(rig_try_open(&rig, ways[_i]), EIO);
        rig_end(&rig);
    }
}
END_TEST

START_TEST(a_late_identify_is_waited_for)
{
    rig_plug(&rig, 1);
    machine_fault(rig.drive, FAULT_LATE_DRQ, 1, false);
    rig_open(&rig, ways[_i]);
    rig_reads(&rig, 0, 3);
    rig_end(&rig);
}
END_TEST

START_TEST(opening_a_dead_disk_times_out)
{
    uint64_t began;

    rig_plug(&rig, 1);
    rig.drive->state = DRIVE_STUCK;
    rig.drive->status = IDE_STATUS_BSY;
    machine_fault(rig.drive, FAULT_NEVER_READY, 1, true);
    began = rig.machine.now;
    ck_assert_int_eq(rig_try_open(&rig, ways[_i]), ETIMEDOUT);
    expect_bounded(began);
    rig_end(&rig);
}
END_TEST

START_TEST(a_disk_that_dies_when_asked_what_it_is_times_out)
{
    rig_plug(&rig, 1);
    rig.fragile = true;
    machine_fault(rig.drive, FAULT_NEVER_READY, 1, false);
    ck_assert_int_eq(rig_try_open(&rig, ways[_i]), ETIMEDOUT);
    rig_end(&rig);
}
END_TEST

START_TEST(a_disk_with_no_medium_is_ENODEV)
{
    rig_plug(&rig, 1);
    rig.drive->sectors = 0;
    ck_assert_int_eq(rig_try_open(&rig, 0), ENODEV);
    rig.drive->sectors = RIG_SECTORS;
    rig_end(&rig);
}
END_TEST

/* ---- What IDENTIFY may say ---- */

static uint8_t words[512];

static void set_word(unsigned index, unsigned value)
{
    words[2 * index] = (uint8_t)value;
    words[2 * index + 1] = (uint8_t)(value >> 8);
}

/* Words of a good drive, without the checksum, with one word changed. */
static int parse_with(unsigned index, unsigned value)
{
    struct hmm_ide_disk disk = {0};

    drive_identify(rig.drive, words);
    set_word(255, 0);
    set_word(index, value);
    return hmm_ide_parse(words, &disk);
}

START_TEST(wrong_words_are_refused)
{
    rig_plug(&rig, 1);
    ck_assert_int_eq(parse_with(255, 0), 0);
    ck_assert_int_eq(parse_with(255, 0xffff), EIO);
    ck_assert_int_eq(parse_with(255, 0x00a5), EIO);
    ck_assert_int_eq(parse_with(0, 0x8580), ENOTSUP);
    ck_assert_int_eq(parse_with(0, 0xffff), EIO);
    ck_assert_int_eq(parse_with(49, 0x0100), ENOTSUP);
    ck_assert_int_eq(parse_with(103, 2), EIO);
    ck_assert_int_eq(parse_with(106, 0x5000), EIO);
    rig.drive->lba48 = false;
    ck_assert_int_eq(parse_with(61, 0xffff), EIO);
    ck_assert_int_eq(parse_with(83, 0x8400), 0);
    rig_end(&rig);
}
END_TEST

START_TEST(no_words_are_too_wild)
{
    struct hmm_ide_disk disk;

    rig_plug(&rig, (uint64_t)_i + 1);
    for (size_t n = test_scaled(20000); n > 0; n--) {
        memset(&disk, 0, sizeof disk);
        drive_identify(rig.drive, words);
        set_word(255, 0);
        for (unsigned i = 0; i < 1 + n % 12; i++)
            set_word((unsigned)machine_random(&rig.machine, 256),
                     (unsigned)machine_random(&rig.machine, 65536));
        if (hmm_ide_parse(words, &disk) != 0)
            continue;
        ck_assert_uint_gt(disk.sectors, 0);
        ck_assert_uint_le(disk.sectors, UINT64_C(1) << 48);
        ck_assert_uint_ge(disk.shift, 9);
        ck_assert_uint_le(disk.shift, 12);
        ck_assert_uint_lt(strlen(disk.model), sizeof disk.model);
        ck_assert_uint_lt(strlen(disk.serial), sizeof disk.serial);
    }
    rig_end(&rig);
}
END_TEST

START_TEST(errors_have_their_values)
{
    const uint8_t err = IDE_STATUS_DRDY | IDE_STATUS_ERR;

    ck_assert_int_eq(hmm_ide_decode(IDE_STATUS_DRDY, 0xff, true), 0);
    ck_assert_int_eq(hmm_ide_decode(0xff, 0, false), ENODEV);
    ck_assert_int_eq(hmm_ide_decode(0x7f, 0, false), ENODEV);
    ck_assert_int_eq(hmm_ide_decode(IDE_STATUS_DF, 0, false), EIO);
    ck_assert_int_eq(hmm_ide_decode(err, IDE_ERROR_ABRT, false), ENOTSUP);
    ck_assert_int_eq(hmm_ide_decode(err, IDE_ERROR_UNC, false), EIO);
    ck_assert_int_eq(hmm_ide_decode(err, IDE_ERROR_WP, true), EROFS);
    ck_assert_int_eq(hmm_ide_decode(err, IDE_ERROR_IDNF, true), ENXIO);
    ck_assert_int_eq(hmm_ide_decode(err, IDE_ERROR_NM, false), ENODEV);
    ck_assert_int_eq(hmm_ide_decode(err, IDE_ERROR_MC, false), ENODEV);
    ck_assert_int_eq(hmm_ide_decode(err, IDE_ERROR_MCR, false), EBUSY);
    ck_assert_int_eq(
        hmm_ide_decode(err, IDE_ERROR_ICRC | IDE_ERROR_ABRT, false), EIO);
    ck_assert_int_eq(hmm_ide_decode(err, 0, false), EIO);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ide-fault");
    TCase *passing = tcase_create("passing");
    TCase *interrupts = tcase_create("interrupts");
    TCase *final = tcase_create("final");
    TCase *begin = tcase_create("begin");

    tcase_add_loop_test(passing, a_read_survives_what_passes, 0, PASSINGS);
    tcase_add_loop_test(passing, a_write_survives_what_passes, 0, PASSINGS);
    tcase_add_loop_test(passing, the_second_attempt_may_fail_too, 0, 4);
    tcase_add_loop_test(passing, three_attempts_are_all_there_are, 0, 4);
    tcase_add_loop_test(interrupts, missing_interrupts_lead_to_polling, 0, 2);
    tcase_add_test(interrupts, a_few_missing_interrupts_do_not);
    tcase_add_loop_test(interrupts, spurious_interrupts_are_told_apart, 0, 2);
    tcase_add_loop_test(interrupts, a_machine_without_interrupts_is_polled, 0,
                        4);
    tcase_add_loop_test(interrupts, each_interrupt_is_answered, 0, 2);
    tcase_add_loop_test(final, a_bad_sector_is_EIO_and_the_others_are_read, 0,
                        4);
    tcase_add_loop_test(final, a_bad_sector_cannot_be_written, 0, 4);
    tcase_add_loop_test(final, some_errors_are_not_tried_again, 0, 2);
    tcase_add_loop_test(final, a_disk_that_is_gone_is_ENODEV_at_once, 0, 4);
    tcase_add_loop_test(final, a_slave_that_goes_leaves_the_master, 0, 4);
    tcase_add_test(final, a_disk_that_is_exchanged_is_gone);
    tcase_add_loop_test(final, a_disk_that_is_never_ready_times_out, 0, 4);
    tcase_add_loop_test(final, dma_that_fails_gives_way_to_pio, 0, 1);
    tcase_add_loop_test(final, a_flush_that_failed_is_told_and_not_repeated, 0,
                        2);
    tcase_add_test(final, a_flush_that_hangs_times_out);
    tcase_add_loop_test(begin, a_short_identify_is_EIO, 0, 4);
    tcase_add_loop_test(begin, a_late_identify_is_waited_for, 0, 4);
    tcase_add_loop_test(begin, opening_a_dead_disk_times_out, 0, 4);
    tcase_add_loop_test(begin, a_disk_that_dies_when_asked_what_it_is_times_out,
                        0, 4);
    tcase_add_test(begin, a_disk_with_no_medium_is_ENODEV);
    tcase_add_test(begin, wrong_words_are_refused);
    tcase_add_loop_test(begin, no_words_are_too_wild, 0, 4);
    tcase_add_test(begin, errors_have_their_values);
    suite_add_tcase(suite, passing);
    suite_add_tcase(suite, interrupts);
    suite_add_tcase(suite, final);
    suite_add_tcase(suite, begin);
    return run_suites("tests/ide/test-fault", &suite, 1);
}
