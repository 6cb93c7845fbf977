/* SPDX-License-Identifier: MIT */
/*
 * Random use of a block store, against arrays of bytes.
 *
 * `now' is what memory must show.  For the medium a block has the contents it
 * had at the last sync and all that it was given since: when the power goes, one
 * of them must be there.  A few calls of the device fail on the way.
 */
#include "backends/l4-x86/ide/ide.h"
#include "tests/block/rig.h"
#include "tests/ide/machine.h"
#include "tests/support/runner.h"

#define SIZE_MAX_BYTES 16384u
#define VERSIONS 64u

static struct rig rig;
static uint8_t now[SIZE_MAX_BYTES], synced[SIZE_MAX_BYTES];
/* Every value that a byte was given since it was synced. */
static uint8_t given[SIZE_MAX_BYTES][VERSIONS];
static uint8_t given_count[SIZE_MAX_BYTES];
static uint64_t seed;

static uint64_t pick(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (seed >> 24) % below;
}

static void remember(uint64_t offset, uint8_t value)
{
    now[offset] = value;
    if (given_count[offset] < VERSIONS)
        given[offset][given_count[offset]++] = value;
    else
        ck_abort_msg("a byte is written too often in this test");
}

static void all_synced(void)
{
    memcpy(synced, now, sizeof now);
    memset(given_count, 0, sizeof given_count);
}

/* An error that the device was told to give. */
static void expect_passing(int error)
{
    ck_assert_msg(error == 0 || error == EIO || error == ENOSPC ||
                      error == ETIMEDOUT,
                  "error %d", error);
    ck_assert(error == 0 || rig.device.failures > 0);
}

static void touch(void)
{
    uint64_t offset = pick(rig.size);
    uint8_t value = (uint8_t)pick(256);
    int error;

    if (pick(2)) {
        error = rig_put(&rig, offset, value);
        if (error == 0)
            remember(offset, value);
    } else {
        error = rig_get(&rig, offset, &value);
        if (error == 0)
            ck_assert_uint_eq(value, now[offset]);
    }
    expect_passing(error);
}

static void copy(void)
{
    static uint8_t bytes[SIZE_MAX_BYTES];
    uint64_t offset = pick(rig.size);
    size_t length = (size_t)(1 + pick(rig.size - offset)), done = 0;
    int error;

    if (length > 1500)
        length = 1500;
    if (pick(2)) {
        for (size_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)pick(256);
        error = hurdmm_store_write(rig.store, offset, bytes, length, &done);
        for (size_t i = 0; i < done; i++)
            remember(offset + i, bytes[i]);
    } else {
        error = hurdmm_store_read(rig.store, offset, bytes, length, &done);
        ck_assert_int_eq(memcmp(bytes, now + offset, done), 0);
    }
    ck_assert(done == length || error != 0);
    expect_passing(error);
}

static void verb(void)
{
    size_t block = rig.device.block.block_size;
    uint64_t unit = block > 256 ? block : 256;
    uint64_t first = pick(rig.size / unit) * unit;
    uint64_t length = unit * (1 + pick(8));
    int error;

    switch (pick(5)) {
    case 0:
        error = hurdmm_store_flush(rig.store, first, length, HURDMM_WAIT);
        break;
    case 1:
        error = hurdmm_store_return(rig.store, first, length, HURDMM_WAIT);
        break;
    case 2:
        error = hurdmm_block_store_barrier(rig.store, first, length);
        break;
    case 3:
        error = hurdmm_store_flush(rig.store, first, length, 0);
        break;
    default:
        error = rig_sync(&rig);
        if (error == 0)
            all_synced();
        break;
    }
    expect_passing(error);
}

static void fail_something(void)
{
    static const int errors[] = {EIO, ENOSPC, ETIMEDOUT};
    unsigned kinds = 1u << pick(3);

    device_fail(&rig.device, kinds, 1 + (unsigned)pick(4), errors[pick(3)],
                false);
}

/* After the power went: each byte is one that it may be. */
static void expect_medium(void)
{
    device_power_cut(&rig.device);
    for (uint64_t i = 0; i < rig.size; i++) {
        uint8_t value = rig.device.medium[i];
        bool may = value == synced[i];

        for (unsigned j = 0; !may && j < given_count[i]; j++)
            may = given[i][j] == value;
        ck_assert_msg(may, "byte %u is lost", (unsigned)i);
    }
}

static void random_run(bool faults)
{
    struct rig_options options = {
        .block = (size_t)64 << pick(5),
        .frames = 16 + (unsigned)pick(64),
        .readahead = 1 + (unsigned)pick(8),
        .seed = pick(2) * pick(1000),
    };

    options.blocks = SIZE_MAX_BYTES / options.block - pick(4);
    rig_begin(&rig, &options, NULL);
    for (uint64_t i = 0; i < SIZE_MAX_BYTES && i < rig.size; i++)
        now[i] = device_byte(i);
    all_synced();
    for (unsigned step = 0; step < 120; step++) {
        uint64_t what = pick(20);

        if (faults && what == 0)
            fail_something();
        else if (what < 4)
            verb();
        else if (what < 8)
            copy();
        else
            touch();
        if (step % 16 == 0)
            rig_check(&rig);
    }
    if (pick(2)) {
        rig.device.fail_nth = 0;
        if (rig_sync(&rig) == 0 || rig_sync(&rig) == 0)
            all_synced();
    }
    expect_medium();
    rig_end(&rig);
}

START_TEST(random_use)
{
    for (size_t i = test_scaled(15); i > 0; i--) {
        seed = (uint64_t)_i * 100000 + i;
        random_run(_i % 2 != 0);
    }
}
END_TEST

/* ---- A sweep: each call of the device in turn fails ---- */

static int scenario(void)
{
    int error = rig_put(&rig, 100, 1);

    if (error == 0)
        error = rig_put(&rig, 3000, 2);
    for (uint64_t i = 0; error == 0 && i < 60; i++)
        error = rig_put(&rig, 4096 + i * 200, (uint8_t)i);
    if (error == 0)
        error = rig_sync(&rig);
    if (error == 0)
        error = rig_return(&rig);
    for (uint64_t i = 0; error == 0 && i < 60; i++) {
        uint8_t value = 0;

        error = rig_get(&rig, 4096 + i * 200, &value);
        if (error == 0)
            ck_assert_uint_eq(value, i);
    }
    return error;
}

START_TEST(each_call_fails_once_and_for_ever)
{
    static const unsigned kinds[] = {DEVICE_READ, DEVICE_WRITE, DEVICE_FLUSH};
    struct rig_options options = {.blocks = 256, .frames = 24};
    bool for_ever = _i % 2 != 0;
    unsigned nth = 0, failures;

    do {
        int error;

        rig_begin(&rig, &options, NULL);
        device_fail(&rig.device, kinds[_i / 2], ++nth, EIO, for_ever);
        error = scenario();
        failures = rig.device.failures;
        /* Memory full of pages that cannot be written is ENOMEM. */
        ck_assert(error == 0 || error == EIO || error == ENOMEM);
        ck_assert(error == 0 || failures > 0);
        rig_check(&rig);
        /* When the device works again, so does all else; but a page that
         * could not be read says so until it is dropped. */
        rig.device.fail_nth = 0;
        if (error != 0) {
            (void)rig_sync(&rig);
            ck_assert_int_eq(rig_sync(&rig), 0);
            ck_assert_int_eq(hurdmm_store_discard(rig.store, 0, HURDMM_WHOLE),
                             0);
        }
        ck_assert_int_eq(scenario(), 0);
        ck_assert_uint_eq(rig.device.medium[100], 1);
        ck_assert_uint_eq(rig.device.medium[4096 + 59 * 200], 59);
        rig_end(&rig);
    } while (failures > 0);
    ck_assert_uint_gt(nth, 1);
}
END_TEST

/* ---- Several threads ---- */

#define THREADS 4u

struct worker {
    unsigned number;
    unsigned wrong;
};

static void work(void *argument)
{
    struct worker *worker = argument;

    for (unsigned i = 0; i < 100; i++) {
        uint64_t offset = (i * 151 % 2000) * THREADS + worker->number;
        uint8_t value = 0;

        worker->wrong += rig_put(&rig, offset, (uint8_t)i) != 0;
        worker->wrong += rig_get(&rig, offset, &value) != 0;
        worker->wrong += value != (uint8_t)i;
        if (i % 25 == 24)
            worker->wrong += rig_sync(&rig) != 0;
    }
}

START_TEST(threads_share_a_store)
{
    for (size_t n = test_scaled(10); n > 0; n--) {
        struct rig_options options = {
            .blocks = 128, .frames = 16, .seed = (uint64_t)_i * 100 + n};
        struct worker workers[THREADS];

        rig_begin(&rig, &options, NULL);
        for (unsigned i = 0; i < THREADS; i++) {
            workers[i] = (struct worker){.number = i};
            ck_assert_int_eq(
                hurdmm_sim_spawn(rig.port, work, &workers[i], NULL), 0);
        }
        ck_assert_int_eq(hurdmm_sim_run(rig.port), 0);
        ck_assert_int_eq(rig_sync(&rig), 0);
        for (unsigned i = 0; i < THREADS; i++) {
            ck_assert_uint_eq(workers[i].wrong, 0);
            ck_assert_uint_eq(rig.device.medium[99 * 151 % 2000 * THREADS + i],
                              99);
        }
        rig_end(&rig);
    }
}
END_TEST

/* ---- On the IDE driver ---- */

/* A store on a disk on a simulated PC: the whole way from a fault to the
 * registers, with faults of the drive that the driver must make good. */
START_TEST(a_store_on_an_ide_disk)
{
    static struct machine machine;
    static struct hmm_ide ide;
    static struct hmm_ide_disk disk;
    static uint8_t model[64 * 512];
    struct hmm_ide_options ide_options = {.struct_size = sizeof ide_options,
                                          .bus = &machine};
    struct hmm_ide_ports ports[2];
    struct rig_options options = {
        .page = 1024, .frames = 16, .offset = 512 * 8, .size = 64 * 512};
    struct drive *drive;

    seed = (uint64_t)_i + 1;
    machine_init(&machine, seed);
    drive = machine_plug(&machine, 0, 0, 128);
    ide_options.ops = machine.ops;
    ck_assert_int_eq(hmm_ide_find(machine.ops, &machine, ports), 0);
    ck_assert_int_eq(hmm_ide_init(&ide, &ide_options, ports), 0);
    ck_assert_int_eq(hmm_ide_disk_open(&ide, 0, 0, &disk), 0);
    rig_begin(&rig, &options, &disk.block);
    for (uint64_t i = 0; i < sizeof model; i++)
        model[i] = machine_byte(512 * 8 + i);
    for (unsigned step = 0; step < 600; step++) {
        uint64_t offset = pick(sizeof model);

        if (pick(30) == 0)
            machine_fault(drive, pick(2) ? FAULT_DMA : FAULT_ABORT, 1, false);
        if (pick(2)) {
            model[offset] = (uint8_t)step;
            rig_set(&rig, offset, model[offset]);
        } else {
            rig_expect(&rig, offset, model[offset]);
        }
        for (unsigned i = 0; i < MACHINE_FAULTS; i++)
            drive->faults[i].nth = 0;
    }
    ck_assert_int_eq(rig_sync(&rig), 0);
    ck_assert_int_eq(memcmp(drive->medium + 512 * 8, model, sizeof model), 0);
    ck_assert_uint_eq(drive->medium[512 * 8 - 1], machine_byte(512 * 8 - 1));
    ck_assert_msg(!machine.complaint, "%s", machine.complaint);
    rig_end(&rig);
    ck_assert_int_eq(hmm_ide_disk_close(&disk), 0);
    ck_assert_int_eq(hmm_ide_end(&ide), 0);
    machine_end(&machine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("block-random");
    TCase *use = tcase_create("use");
    TCase *sweep = tcase_create("sweep");
    TCase *threads = tcase_create("threads");
    TCase *disk = tcase_create("ide");

    tcase_add_loop_test(use, random_use, 0, 8);
    tcase_set_timeout(use, 60);
    tcase_add_loop_test(sweep, each_call_fails_once_and_for_ever, 0, 6);
    tcase_set_timeout(sweep, 60);
    tcase_add_loop_test(threads, threads_share_a_store, 0, 2);
    tcase_set_timeout(threads, 60);
    tcase_add_loop_test(disk, a_store_on_an_ide_disk, 0, 4);
    tcase_set_timeout(disk, 60);
    suite_add_tcase(suite, use);
    suite_add_tcase(suite, sweep);
    suite_add_tcase(suite, threads);
    suite_add_tcase(suite, disk);
    return run_suites("tests/block/test-random", &suite, 1);
}
