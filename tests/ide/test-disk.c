/* SPDX-License-Identifier: MIT */
/* Finding disks and moving sectors, with nothing going wrong. */
#include "tests/ide/rig.h"
#include "tests/support/runner.h"

static struct rig rig;

START_TEST(the_controller_is_found_on_the_pci_bus)
{
    struct hmm_ide_ports ports[2];

    rig_plug(&rig, 1);
    ck_assert_int_eq(hmm_ide_find(rig.machine.ops, &rig.machine, ports), 0);
    ck_assert_uint_eq(ports[0].command, 0x1f0);
    ck_assert_uint_eq(ports[0].master, 0xc000);
    ck_assert_uint_eq(ports[1].command, 0x170);
    ck_assert_uint_eq(ports[1].control, 0x376);
    ck_assert_uint_eq(ports[1].master, 0xc008);
    ck_assert_uint_eq(ports[1].irq, 15);
    ck_assert_uint_eq(rig.machine.config_command & 5, 5);
    rig_end(&rig);
}
END_TEST

START_TEST(without_a_controller_there_are_the_standard_ports)
{
    struct hmm_ide_ports ports[2];

    rig_plug(&rig, 1);
    rig.machine.no_pci = true;
    ck_assert_int_eq(hmm_ide_find(rig.machine.ops, &rig.machine, ports),
                     ENODEV);
    ck_assert_uint_eq(ports[0].command, 0x1f0);
    ck_assert_uint_eq(ports[0].master, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_disk_says_what_it_is)
{
    rig_begin(&rig, 0);
    ck_assert_str_eq(rig.disk.model, "Simulated disk");
    ck_assert_str_eq(rig.disk.serial, "SIM0001");
    ck_assert_uint_eq(rig.disk.block.block_size, 512);
    ck_assert(rig.disk.lba48 && rig.disk.dma && rig.disk.cached);
    ck_assert_uint_eq(hurdmm_block_capabilities(&rig.disk.block),
                      HURDMM_BLOCK_CACHED | HURDMM_BLOCK_PIECES |
                          HURDMM_BLOCK_ASYNC);
    rig_end(&rig);
}
END_TEST

START_TEST(all_four_drives_are_different_disks)
{
    struct hmm_ide_disk disks[4];

    rig_plug(&rig, 1);
    for (unsigned i = 1; i < 4; i++)
        machine_plug(&rig.machine, i / 2, i % 2, 100 + i);
    rig_open(&rig, 0);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, i / 2, i % 2, &disks[i]),
                         0);
        ck_assert_uint_eq(disks[i].sectors, 100 + i);
        memset(rig.buffer, (int)i, 512);
        ck_assert_int_eq(
            hurdmm_block_write(&disks[i].block, 512 * i, rig.buffer, 512), 0);
    }
    for (unsigned i = 1; i < 4; i++) {
        const struct drive *drive = &rig.machine.channels[i / 2].drives[i % 2];

        ck_assert_uint_eq(drive->now[512 * i], i);
        ck_assert_uint_eq(drive->now[512 * i + 511], i);
        ck_assert_uint_eq(drive->now[512 * i + 512],
                          machine_byte(512 * i + 512));
        ck_assert_int_eq(hmm_ide_disk_close(&disks[i]), 0);
    }
    rig_end(&rig);
}
END_TEST

START_TEST(drives_that_are_not_there_are_ENODEV)
{
    struct hmm_ide_disk disk;
    uint64_t began;

    rig_begin(&rig, 0);
    began = rig.machine.now;
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 0, 1, &disk), ENODEV);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 1, 0, &disk), ENODEV);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 1, 1, &disk), ENODEV);
    ck_assert_uint_lt(rig.machine.now - began, UINT64_C(1000000000));
    rig_reads(&rig, 0, 1);
    rig_end(&rig);
}
END_TEST

START_TEST(a_slave_without_a_master_is_found)
{
    struct hmm_ide_disk disk;

    rig_plug(&rig, 1);
    machine_plug(&rig.machine, 1, 1, 50);
    rig_open(&rig, 0);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 1, 0, &disk), ENODEV);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 1, 1, &disk), 0);
    ck_assert_int_eq(hurdmm_block_read(&disk.block, 49 * 512, rig.buffer, 512),
                     0);
    ck_assert_uint_eq(rig.buffer[1], machine_byte(49 * 512 + 1));
    ck_assert_int_eq(hmm_ide_disk_close(&disk), 0);
    rig_end(&rig);
}
END_TEST

/* As a BIOS does that has looked for both. */
START_TEST(an_absent_slave_that_was_left_selected_hides_no_reset)
{
    rig_plug(&rig, 1);
    rig.machine.channels[0].stays = true;
    rig.machine.channels[0].selected = 1;
    rig_open(&rig, 0);
    rig_reads(&rig, 0, 8);
    rig_end(&rig);
}
END_TEST

START_TEST(a_packet_device_is_ENOTSUP)
{
    struct hmm_ide_disk disk;

    rig_begin(&rig, 0);
    machine_plug(&rig.machine, 1, 0, 50)->atapi = true;
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 1, 0, &disk), ENOTSUP);
    rig_end(&rig);
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
    struct hmm_ide_options options = {.struct_size = sizeof options};
    struct hmm_ide_ports ports[2];
    struct hmm_ide_bus_ops half;
    struct hmm_ide_disk disk;
    struct hmm_ide ide;

    rig_begin(&rig, 0);
    hmm_ide_standard_ports(ports);
    ck_assert_int_eq(hmm_ide_init(&ide, &options, ports), EINVAL);
    options.ops = &half;
    half = *rig.machine.ops;
    half.delay = NULL;
    ck_assert_int_eq(hmm_ide_init(&ide, &options, ports), EINVAL);
    half = *rig.machine.ops;
    half.lock = (void (*)(void *))free;
    ck_assert_int_eq(hmm_ide_init(&ide, &options, ports), EINVAL);
    options.ops = rig.machine.ops;
    options.flags = 16;
    ck_assert_int_eq(hmm_ide_init(&ide, &options, ports), EINVAL);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 0, 0, &disk), EBUSY);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 2, 0, &disk), EINVAL);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 0, 2, &disk), EINVAL);
    ck_assert_int_eq(hmm_ide_end(&rig.ide), EBUSY);
    rig_end(&rig);
}
END_TEST

START_TEST(requests_past_the_end_or_of_parts_are_refused)
{
    struct hurdmm_block *block = &rig.disk.block;
    unsigned commands;

    rig_begin(&rig, 0);
    commands = rig.machine.commands;
    ck_assert_int_eq(hurdmm_block_read(block, block->size, rig.buffer, 512),
                     ENXIO);
    ck_assert_int_eq(
        hurdmm_block_write(block, block->size - 512, rig.buffer, 1024), ENXIO);
    ck_assert_int_eq(
        hurdmm_block_read(block, UINT64_MAX - 511, rig.buffer, 1024), ENXIO);
    ck_assert_int_eq(hurdmm_block_read(block, 100, rig.buffer, 512), EINVAL);
    ck_assert_int_eq(hurdmm_block_read(block, 0, rig.buffer, 100), EINVAL);
    ck_assert_int_eq(hurdmm_block_read(block, 0, NULL, 512), EINVAL);
    ck_assert_int_eq(hurdmm_block_read(block, 0, rig.buffer, 0), 0);
    ck_assert_int_eq(block->ops->read(block, block->size, rig.buffer, 512),
                     ENXIO);
    ck_assert_int_eq(block->ops->write(block, 1, rig.buffer, 512), EINVAL);
    ck_assert_uint_eq(rig.machine.commands, commands);
    rig_end(&rig);
}
END_TEST

/* The ways in which sectors are moved. */
static const unsigned ways[] = {
    0,
    HMM_IDE_NO_DMA,
    HMM_IDE_POLL,
    HMM_IDE_POLL | HMM_IDE_NO_DMA,
};

START_TEST(what_is_written_is_read)
{
    rig_begin(&rig, ways[_i]);
    rig_reads(&rig, 0, 1);
    rig_writes(&rig, 5, 1, 1);
    rig_writes(&rig, 4095, 1, 2);
    rig_reads(&rig, 4094, 2);
    rig_writes(&rig, 300, 257, 3);
    rig_reads(&rig, 290, 300);
    rig_writes(&rig, 1000, 2000, 4);
    rig_reads(&rig, 900, 2048);
    ck_assert_uint_eq(rig_stats(&rig)->retries, 0);
    ck_assert_uint_eq(rig_stats(&rig)->dma_commands != 0,
                      (ways[_i] & HMM_IDE_NO_DMA) == 0);
    ck_assert_uint_eq(rig.machine.waits != 0, (ways[_i] & HMM_IDE_POLL) == 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_megabyte_is_one_command)
{
    unsigned before;

    rig_begin(&rig, 0);
    before = rig.machine.commands;
    rig_reads(&rig, 1, 2048);
    ck_assert_uint_eq(rig.machine.commands, before + 1);
    ck_assert_uint_eq(rig.machine.log[before].command, IDE_READ_DMA_EXT);
    ck_assert_uint_eq(rig.machine.log[before].count, 2048);
    ck_assert_uint_eq(rig.machine.entries, 16);
    rig_end(&rig);
}
END_TEST

START_TEST(small_transfers_use_28_bits)
{
    unsigned before;

    rig_begin(&rig, 0);
    before = rig.machine.commands;
    rig_reads(&rig, 1, 256);
    ck_assert_uint_eq(rig.machine.log[before].command, IDE_READ_DMA);
    ck_assert_uint_eq(rig.machine.log[before].count, 256);
    rig_writes(&rig, 1, 257, 1);
    ck_assert_uint_eq(rig.machine.log[before + 1].command, IDE_WRITE_DMA_EXT);
    rig_end(&rig);
}
END_TEST

START_TEST(a_disk_without_48_bits_gets_small_commands)
{
    unsigned before;

    rig_plug(&rig, 1);
    rig.drive->lba48 = false;
    rig_open(&rig, 0);
    before = rig.machine.commands;
    rig_writes(&rig, 100, 600, 9);
    ck_assert_uint_eq(rig.machine.commands, before + 3);
    ck_assert_uint_eq(rig.machine.log[before].command, IDE_WRITE_DMA);
    ck_assert_uint_eq(rig.machine.log[before + 2].lba, 612);
    ck_assert_uint_eq(rig.machine.log[before + 2].count, 88);
    rig_end(&rig);
}
END_TEST

/* A drive that is too large to be simulated as an array says where it was asked
 * for; what it would hold is not looked at. */
START_TEST(sectors_beyond_28_bits_are_addressed_with_48)
{
    uint64_t far = (UINT64_C(1) << 28) - 1;
    unsigned before;

    rig_plug(&rig, 1);
    rig.drive->sectors = UINT64_C(1) << 40;
    ck_assert_int_eq(rig_try_open(&rig, 0), 0);
    ck_assert_uint_eq(rig.disk.block.size, UINT64_C(1) << 49);
    rig.drive->sectors = RIG_SECTORS; /* IDNF from here on */
    before = rig.machine.commands;
    ck_assert_int_eq(
        hurdmm_block_read(&rig.disk.block, far * 512, rig.buffer, 512), ENXIO);
    ck_assert_uint_eq(rig.machine.log[before].command, IDE_READ_DMA);
    ck_assert_uint_eq(rig.machine.log[before].lba, far);
    ck_assert_int_eq(
        hurdmm_block_read(&rig.disk.block, far * 512, rig.buffer, 1024), ENXIO);
    ck_assert_uint_eq(rig.machine.log[before + 1].command, IDE_READ_DMA_EXT);
    ck_assert_uint_eq(rig.machine.log[before + 1].lba, far);
    far = UINT64_C(0x123456789a);
    ck_assert_int_eq(
        hurdmm_block_write(&rig.disk.block, far * 512, rig.buffer, 512), ENXIO);
    ck_assert_uint_eq(rig.machine.log[before + 2].lba, far);
    rig_end(&rig);
}
END_TEST

START_TEST(sectors_of_4096_bytes)
{
    struct hmm_ide_disk disk;
    struct drive *drive;

    rig_plug(&rig, 1);
    drive = machine_plug_of(&rig.machine, 1, 0, 64, 12);
    rig_open(&rig, ways[_i]);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 1, 0, &disk), 0);
    ck_assert_uint_eq(disk.block.block_size, 4096);
    ck_assert_uint_eq(disk.block.size, 64 * 4096);
    ck_assert_int_eq(hurdmm_block_read(&disk.block, 512, rig.buffer, 512),
                     EINVAL);
    memset(rig.buffer, 0x5a, 8192);
    ck_assert_int_eq(
        hurdmm_block_write(&disk.block, 4096 * 62, rig.buffer, 8192), 0);
    ck_assert_uint_eq(drive->now[4096 * 62], 0x5a);
    ck_assert_uint_eq(drive->now[4096 * 64 - 1], 0x5a);
    ck_assert_int_eq(
        hurdmm_block_read(&disk.block, 4096 * 60, rig.buffer, 16384), 0);
    ck_assert_int_eq(memcmp(rig.buffer, drive->now + 4096 * 60, 16384), 0);
    ck_assert_int_eq(hmm_ide_disk_close(&disk), 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_drive_without_a_mode_gets_one)
{
    rig_plug(&rig, 1);
    rig.drive->no_mode = true;
    rig_open(&rig, 0);
    ck_assert_uint_eq(rig.machine.log[rig.machine.commands - 1].command,
                      IDE_SET_FEATURES);
    ck_assert_uint_eq(rig.drive->count[0], 0x22);
    ck_assert(rig.disk.dma);
    rig_end(&rig);
}
END_TEST

START_TEST(without_dma_memory_there_is_pio)
{
    rig_plug(&rig, 1);
    rig.machine.allocations_left = (unsigned)_i;
    rig_open(&rig, 0);
    rig_writes(&rig, 7, 20, 1);
    rig_reads(&rig, 0, 30);
    ck_assert_uint_eq(rig_stats(&rig)->dma_commands, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_flush_makes_durable)
{
    rig_begin(&rig, ways[_i]);
    rig_writes(&rig, 10, 10, 1);
    ck_assert_int_eq(hurdmm_block_flush(&rig.disk.block), 0);
    ck_assert_int_eq(memcmp(rig.drive->medium + 5120, rig.model + 5120, 5120),
                     0);
    rig_writes(&rig, 15, 1, 2);
    machine_power_cut(&rig.machine, rig.drive, false);
    memcpy(rig.model, rig.drive->medium, RIG_SECTORS * 512);
    rig_reads(&rig, 10, 10);
    rig_end(&rig);
}
END_TEST

START_TEST(closing_flushes)
{
    rig_begin(&rig, 0);
    rig_writes(&rig, 10, 10, 1);
    ck_assert_int_eq(hmm_ide_disk_close(&rig.disk), 0);
    ck_assert_int_eq(memcmp(rig.drive->medium, rig.model, RIG_SECTORS * 512),
                     0);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 0, 0, &rig.disk), 0);
    rig_reads(&rig, 0, 100);
    rig_end(&rig);
}
END_TEST

START_TEST(a_drive_without_a_cache_needs_no_flush)
{
    unsigned before;

    rig_plug(&rig, 1);
    rig.drive->has_flush = rig.drive->cached = false;
    rig_open(&rig, 0);
    ck_assert_uint_eq(
        hurdmm_block_capabilities(&rig.disk.block) & HURDMM_BLOCK_CACHED, 0);
    before = rig.machine.commands;
    ck_assert_int_eq(hurdmm_block_flush(&rig.disk.block), 0);
    ck_assert_int_eq(hurdmm_block_barrier(&rig.disk.block), 0);
    ck_assert_uint_eq(rig.machine.commands, before);
    rig_end(&rig);
}
END_TEST

/* ---- Memory ---- */

/* Writes and reads sectors through pieces, and compares. */
static void through_pieces(const struct hurdmm_block_piece *pieces,
                           unsigned count, uint64_t lba)
{
    uint8_t *at = rig.model + lba * 512;
    size_t total = 0;

    for (unsigned i = 0; i < count; i++) {
        uint8_t *memory = pieces[i].memory;

        for (size_t j = 0; j < pieces[i].length; j++)
            memory[j] = at[total + j] = (uint8_t)(total * 3 + j + lba);
        total += pieces[i].length;
    }
    ck_assert_int_eq(
        hurdmm_block_write_pieces(&rig.disk.block, lba * 512, pieces, count),
        0);
    ck_assert_int_eq(memcmp(rig.drive->now + lba * 512, at, total), 0);
    for (unsigned i = 0; i < count; i++)
        memset(pieces[i].memory, 0xcc, pieces[i].length);
    ck_assert_int_eq(
        hurdmm_block_read_pieces(&rig.disk.block, lba * 512, pieces, count), 0);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(memcmp(pieces[i].memory, at, pieces[i].length), 0);
        at += pieces[i].length;
    }
}

START_TEST(pieces_of_any_length_and_place)
{
    uint8_t far[1024];
    struct hurdmm_block_piece pieces[] = {
        {NULL, 5},   {NULL, 502},  {NULL, 5},       {NULL, 0}, {NULL, 512},
        {far, 1000}, {NULL, 1048}, {far + 1001, 1}, {NULL, 3}, {NULL, 1020},
    };

    rig_begin(&rig, ways[_i]);
    for (unsigned i = 0; i < 10; i++)
        if (!pieces[i].memory)
            pieces[i].memory = rig.buffer + 5000 * i + i % 3;
    through_pieces(pieces, 10, 77);
    through_pieces(pieces, 3, 9);
    through_pieces(pieces + 4, 6, 500);
    rig_end(&rig);
}
END_TEST

START_TEST(memory_that_dma_cannot_reach_is_copied)
{
    size_t length = 200 * 512;
    uint8_t *memory = malloc(length + 1);
    struct hurdmm_block_piece piece = {memory + 1, length};
    unsigned before;

    ck_assert_ptr_nonnull(memory);
    rig_begin(&rig, 0);
    before = rig.machine.commands;
    through_pieces(&piece, 1, 3);
    ck_assert_uint_eq(rig_stats(&rig)->bytes_copied, 2 * length);
    ck_assert_uint_eq(rig.machine.commands, before + 4);
    free(memory);
    rig_end(&rig);
}
END_TEST

START_TEST(memory_above_4_GiB_is_copied)
{
    size_t length = 16 * 512;
    uint8_t *memory = malloc(length);
    struct hurdmm_block_piece piece = {memory, length};

    ck_assert_ptr_nonnull(memory);
    rig_begin(&rig, 0);
    /* The last half of it. */
    machine_memory(&rig.machine, memory, (UINT64_C(1) << 32) - length / 2,
                   length);
    through_pieces(&piece, 1, 3);
    ck_assert_uint_eq(rig_stats(&rig)->bytes_copied, length);
    free(memory);
    rig_end(&rig);
}
END_TEST

START_TEST(entries_do_not_cross_64_KiB)
{
    uint8_t *memory = malloc(256 * 512);
    struct hurdmm_block_piece piece = {memory, 256 * 512};

    ck_assert_ptr_nonnull(memory);
    rig_begin(&rig, 0);
    machine_memory(&rig.machine, memory, 0x7ffee02, 256 * 512);
    through_pieces(&piece, 1, 3);
    ck_assert_uint_eq(rig_stats(&rig)->bytes_copied, 0);
    ck_assert_uint_eq(rig.machine.entries, 3);
    free(memory);
    rig_end(&rig);
}
END_TEST

START_TEST(scattered_frames_fill_the_table)
{
    struct hurdmm_block_piece piece;
    unsigned before;

    rig_begin(&rig, 0);
    rig.machine.run_max = 510; /* each run is an entry; they join */
    before = rig.machine.commands;
    piece = (struct hurdmm_block_piece){rig.buffer, 2048 * 512};
    through_pieces(&piece, 1, 0);
    ck_assert_uint_eq(rig.machine.commands, before + 2);
    rig_end(&rig);
}
END_TEST

START_TEST(more_pieces_than_the_table_has_entries)
{
    enum { PIECES = 1400 };
    static struct hurdmm_block_piece pieces[PIECES];

    rig_begin(&rig, 0);
    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = (struct hurdmm_block_piece){
            rig.buffer + 700 * ((i * 37) % PIECES), 512};
    through_pieces(pieces, PIECES, 40);
    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = (struct hurdmm_block_piece){
            rig.buffer + 700 * ((i * 37) % PIECES), i % 2 ? 500 : 12};
    through_pieces(pieces, PIECES, 40);
    rig_end(&rig);
}
END_TEST

START_TEST(pieces_too_small_for_the_table_go_by_pio)
{
    enum { PIECES = 2048 };
    static struct hurdmm_block_piece pieces[PIECES];
    struct hmm_ide_disk small = {0};

    rig_plug(&rig, 1);
    machine_plug_of(&rig.machine, 1, 0, 16, 12);
    rig_open(&rig, 0);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 1, 0, &small), 0);
    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = (struct hurdmm_block_piece){rig.buffer + 4 * i, 2};
    ck_assert_int_eq(
        hurdmm_block_read_pieces(&small.block, 4096, pieces, PIECES), 0);
    for (unsigned i = 0; i < PIECES; i++) {
        ck_assert_uint_eq(rig.buffer[4 * i], machine_byte(4096 + 2 * i));
        ck_assert_uint_eq(rig.buffer[4 * i + 1], machine_byte(4097 + 2 * i));
    }
    ck_assert_int_eq(hmm_ide_disk_close(&small), 0);
    rig_end(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ide-disk");
    TCase *find = tcase_create("find");
    TCase *move = tcase_create("move");
    TCase *memory = tcase_create("memory");

    tcase_add_test(find, the_controller_is_found_on_the_pci_bus);
    tcase_add_test(find, without_a_controller_there_are_the_standard_ports);
    tcase_add_test(find, a_disk_says_what_it_is);
    tcase_add_test(find, all_four_drives_are_different_disks);
    tcase_add_test(find, drives_that_are_not_there_are_ENODEV);
    tcase_add_test(find, a_slave_without_a_master_is_found);
    tcase_add_test(find, an_absent_slave_that_was_left_selected_hides_no_reset);
    tcase_add_test(find, a_packet_device_is_ENOTSUP);
    tcase_add_test(find, wrong_arguments_are_refused);
    tcase_add_test(find, a_drive_without_a_mode_gets_one);
    tcase_add_test(move, requests_past_the_end_or_of_parts_are_refused);
    tcase_add_loop_test(move, what_is_written_is_read, 0, 4);
    tcase_add_test(move, a_megabyte_is_one_command);
    tcase_add_test(move, small_transfers_use_28_bits);
    tcase_add_test(move, a_disk_without_48_bits_gets_small_commands);
    tcase_add_test(move, sectors_beyond_28_bits_are_addressed_with_48);
    tcase_add_loop_test(move, sectors_of_4096_bytes, 0, 4);
    tcase_add_loop_test(move, without_dma_memory_there_is_pio, 0, 2);
    tcase_add_loop_test(move, a_flush_makes_durable, 0, 4);
    tcase_add_test(move, closing_flushes);
    tcase_add_test(move, a_drive_without_a_cache_needs_no_flush);
    tcase_add_loop_test(memory, pieces_of_any_length_and_place, 0, 4);
    tcase_add_test(memory, memory_that_dma_cannot_reach_is_copied);
    tcase_add_test(memory, memory_above_4_GiB_is_copied);
    tcase_add_test(memory, entries_do_not_cross_64_KiB);
    tcase_add_test(memory, scattered_frames_fill_the_table);
    tcase_add_test(memory, more_pieces_than_the_table_has_entries);
    tcase_add_test(memory, pieces_too_small_for_the_table_go_by_pio);
    suite_add_tcase(suite, find);
    suite_add_tcase(suite, move);
    suite_add_tcase(suite, memory);
    return run_suites("tests/ide/test-disk", &suite, 1);
}
