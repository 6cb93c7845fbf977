/* SPDX-License-Identifier: MIT */
/* A driver on a simulated PC.  See rig.h. */
#include "tests/ide/rig.h"

void rig_plug(struct rig *rig, uint64_t seed)
{
    size_t bytes = RIG_SECTORS * 512u;

    memset(rig, 0, sizeof *rig);
    machine_init(&rig->machine, seed);
    rig->drive = machine_plug(&rig->machine, 0, 0, RIG_SECTORS);
    rig->buffer = malloc(RIG_BUFFER);
    rig->model = malloc(bytes);
    ck_assert_ptr_nonnull(rig->buffer);
    ck_assert_ptr_nonnull(rig->model);
    for (size_t i = 0; i < bytes; i++)
        rig->model[i] = machine_byte(i);
    machine_memory(&rig->machine, rig->buffer, RIG_PHYSICAL, RIG_BUFFER);
}

int rig_try_open(struct rig *rig, unsigned flags)
{
    struct hmm_ide_options options = {
        .struct_size = sizeof options,
        .ops = rig->machine.ops,
        .bus = &rig->machine,
        .flags = flags,
        .command_ns = RIG_COMMAND_NS,
        .reset_ns = RIG_RESET_NS,
        .flush_ns = RIG_COMMAND_NS,
    };
    struct hmm_ide_ports ports[2];

    ck_assert_int_eq(hmm_ide_find(rig->machine.ops, &rig->machine, ports), 0);
    ck_assert_int_eq(hmm_ide_init(&rig->ide, &options, ports), 0);
    return hmm_ide_disk_open(&rig->ide, 0, 0, &rig->disk);
}

void rig_open(struct rig *rig, unsigned flags)
{
    ck_assert_int_eq(rig_try_open(rig, flags), 0);
    ck_assert_uint_eq(rig->disk.block.size, RIG_SECTORS * 512u);
}

void rig_begin(struct rig *rig, unsigned flags)
{
    rig_plug(rig, 1);
    rig_open(rig, flags);
}

void rig_end(struct rig *rig)
{
    const char *complaint = rig->machine.complaint;

    if (rig->disk.block.ops) {
        int error = hmm_ide_disk_close(&rig->disk);

        ck_assert(error == 0 || rig->fragile);
    }
    ck_assert_msg(!complaint || rig->fragile, "%s", complaint);
    ck_assert_int_eq(memcmp(rig->drive->now, rig->model, RIG_SECTORS * 512u),
                     0);
    ck_assert_int_eq(hmm_ide_end(&rig->ide), 0);
    machine_end(&rig->machine);
    free(rig->buffer);
    free(rig->model);
}

int rig_read(struct rig *rig, uint64_t lba, uint64_t count)
{
    size_t bytes = (size_t)count * 512;
    int error;

    memset(rig->buffer, 0xee, bytes);
    error = hurdmm_block_read(&rig->disk.block, lba * 512, rig->buffer, bytes);
    if (error == 0)
        ck_assert_int_eq(memcmp(rig->buffer, rig->model + lba * 512, bytes), 0);
    return error;
}

int rig_write(struct rig *rig, uint64_t lba, uint64_t count, uint8_t seed)
{
    size_t bytes = (size_t)count * 512;
    int error;

    for (size_t i = 0; i < bytes; i++)
        rig->buffer[i] = (uint8_t)(i * 7 + (i >> 9) + seed);
    error = hurdmm_block_write(&rig->disk.block, lba * 512, rig->buffer, bytes);
    if (error == 0)
        memcpy(rig->model + lba * 512, rig->buffer, bytes);
    return error;
}
