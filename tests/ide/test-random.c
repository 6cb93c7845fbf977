/* SPDX-License-Identifier: MIT */
/*
 * Random requests on random machines with random faults, against an array of
 * bytes.
 *
 * What a write that failed leaves is not known, sector by sector: there the disk
 * is asked.  Everything else must be as the array says, nothing may take longer
 * than its timeouts, and no driver may do what the machine complains about.
 */
#include "tests/ide/rig.h"
#include "tests/support/runner.h"

#define STEPS 60

static struct rig rig;
static uint64_t seed_of_run;

static uint64_t pick(uint64_t below)
{
    return machine_random(&rig.machine, below);
}

/* Faults that a driver outlives. */
static void random_fault(void)
{
    static const enum fault_kind kinds[] = {
        FAULT_LATE_DRQ, FAULT_SPURIOUS_IRQ, FAULT_MISSING_IRQ,
        FAULT_ABORT,    FAULT_CRC,          FAULT_DEVICE,
        FAULT_DMA,      FAULT_STUCK_DRQ,    FAULT_NEVER_READY,
    };
    struct fault *fault = &rig.drive->faults[pick(MACHINE_FAULTS)];

    fault->kind = kinds[pick(sizeof kinds / sizeof kinds[0])];
    fault->nth = 1 + (unsigned)pick(4);
    fault->for_ever = false;
}

/* Cuts `bytes' of the buffer into pieces, some out of the reach of DMA. */
static unsigned random_pieces(struct hurdmm_block_piece *pieces, unsigned max,
                              size_t bytes, uint8_t *far)
{
    unsigned count = 0;
    size_t at = 0;

    while (at < bytes) {
        size_t n = 1 + (size_t)pick(bytes - at);

        if (pick(3) == 0)
            n = bytes - at;
        if (pick(2) && n > 2)
            n &= ~(size_t)1;
        if (count + 1 == max)
            n = bytes - at;
        /* Pieces do not overlap: each lies where its bytes would, or one on. */
        pieces[count].memory =
            (pick(3) == 0 ? far : rig.buffer) + 2 * at + pick(2);
        pieces[count++].length = n;
        at += n;
    }
    return count;
}

static void scatter(const struct hurdmm_block_piece *pieces, unsigned count,
                    uint8_t *from, bool to_pieces)
{
    for (unsigned i = 0; i < count; i++) {
        if (to_pieces)
            memcpy(pieces[i].memory, from, pieces[i].length);
        else
            memcpy(from, pieces[i].memory, pieces[i].length);
        from += pieces[i].length;
    }
}

/* After a write that failed: old or new in each sector, nothing else. */
static void settle(uint64_t lba, uint64_t count, const uint8_t *wrote)
{
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *now = rig.drive->now + (lba + i) * 512;
        uint8_t *model = rig.model + (lba + i) * 512;

        ck_assert_msg(memcmp(now, model, 512) == 0 ||
                          memcmp(now, wrote + i * 512, 512) == 0,
                      "a sector is neither old nor new");
        memcpy(model, now, 512);
    }
}

static void step(uint8_t *far, uint8_t *flat)
{
    uint64_t lba = pick(RIG_SECTORS);
    uint64_t count = 1 + pick(pick(4) == 0 ? 700 : 20);
    struct hurdmm_block_piece pieces[12];
    uint64_t began = rig.machine.now;
    unsigned pieces_used;
    int error;

    if (count > RIG_SECTORS - lba)
        count = RIG_SECTORS - lba;
    pieces_used = random_pieces(pieces, 12, (size_t)count * 512, far);
    if (pick(2)) {
        for (uint64_t i = 0; i < count * 512; i++)
            flat[i] = (uint8_t)(i * 5 + began);
        scatter(pieces, pieces_used, flat, true);
        error = hurdmm_block_write_pieces(&rig.disk.block, lba * 512, pieces,
                                          pieces_used);
        if (error == 0)
            memcpy(rig.model + lba * 512, flat, (size_t)count * 512);
        else
            settle(lba, count, flat);
    } else {
        error = hurdmm_block_read_pieces(&rig.disk.block, lba * 512, pieces,
                                         pieces_used);
        scatter(pieces, pieces_used, flat, false);
        if (error == 0)
            ck_assert_int_eq(
                memcmp(flat, rig.model + lba * 512, (size_t)count * 512), 0);
    }
    ck_assert(error == 0 || error == EIO || error == ETIMEDOUT ||
              error == ENODEV);
    ck_assert_uint_le(rig.machine.now - began,
                      8 * (RIG_COMMAND_NS + RIG_RESET_NS));
    if (pick(10) == 0 && hurdmm_block_flush(&rig.disk.block) == 0)
        ck_assert_int_eq(
            memcmp(rig.drive->medium, rig.drive->now, RIG_SECTORS * 512), 0);
}

static void random_run(uint64_t seed)
{
    uint8_t *far = malloc(RIG_BUFFER), *flat = malloc(RIG_BUFFER);
    bool again;

    ck_assert_ptr_nonnull(far);
    ck_assert_ptr_nonnull(flat);
    seed_of_run = seed;
    rig_plug(&rig, seed);
    rig.fragile = true; /* closing may meet a fault */
    rig.drive->lba48 = pick(4) != 0;
    rig.drive->cached = pick(4) != 0;
    rig.machine.run_max = pick(2) ? 512u << pick(5) : 0;
    rig.machine.no_irq = pick(8) == 0;
    again = pick(3) != 0;
    rig_open(&rig, (unsigned)pick(4));
    for (unsigned i = 0; i < STEPS; i++) {
        if (again && pick(4) == 0)
            random_fault();
        step(far, flat);
        ck_assert_msg(!rig.machine.complaint, "seed %llu: %s",
                      (unsigned long long)seed, rig.machine.complaint);
    }
    free(far);
    free(flat);
    rig_end(&rig);
}

START_TEST(random_requests_with_random_faults)
{
    for (size_t i = 0; i < test_scaled(8); i++)
        random_run((uint64_t)_i * 1000 + i + 1);
}
END_TEST

/* ---- A sweep: each command in turn meets each fault ---- */

static int scenario(void)
{
    int error = rig_write(&rig, 10, 30, 1);

    if (error == 0)
        error = rig_read(&rig, 0, 50);
    if (error == 0)
        error = hurdmm_block_flush(&rig.disk.block);
    if (error == 0)
        error = rig_write(&rig, 35, 300, 2);
    if (error == 0)
        error = rig_read(&rig, 30, 600);
    return error;
}

/* Whether the nth command was there to fail. */
static bool sweep_one(enum fault_kind kind, unsigned nth, bool for_ever,
                      unsigned way)
{
    static uint8_t before[RIG_SECTORS * 512];
    bool happened;
    uint64_t began;

    rig_begin(&rig, way);
    rig.fragile = true;
    machine_fault(rig.drive, kind, nth, for_ever);
    began = rig.machine.now;
    memcpy(before, rig.model, sizeof before);
    if (scenario() != 0) {
        for (uint64_t i = 0; i < RIG_SECTORS; i++) {
            const uint8_t *now = rig.drive->now + i * 512;

            ck_assert(i >= 10 && i < 335
                          ? true
                          : memcmp(now, before + i * 512, 512) == 0);
        }
        memcpy(rig.model, rig.drive->now, RIG_SECTORS * 512);
    }
    happened = rig.drive->faults[0].nth == 0 || for_ever;
    ck_assert_uint_le(rig.machine.now - began,
                      30 * (RIG_COMMAND_NS + RIG_RESET_NS));
    ck_assert_msg(!rig.machine.complaint, "%s", rig.machine.complaint);
    rig_end(&rig);
    return happened;
}

START_TEST(each_fault_at_each_command)
{
    static const unsigned ways[] = {0, HMM_IDE_NO_DMA, HMM_IDE_POLL};
    enum fault_kind kind = (enum fault_kind)_i;

    for (unsigned way = 0; way < 3; way++) {
        for (unsigned nth = 1; nth <= 8; nth++) {
            if (!sweep_one(kind, nth, false, ways[way]))
                break;
            sweep_one(kind, nth, true, ways[way]);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ide-random");
    TCase *random_case = tcase_create("random");
    TCase *sweep = tcase_create("sweep");

    tcase_add_loop_test(random_case, random_requests_with_random_faults, 0, 8);
    tcase_set_timeout(random_case, 120);
    tcase_add_loop_test(sweep, each_fault_at_each_command, FAULT_NEVER_READY,
                        FAULT_KINDS);
    tcase_set_timeout(sweep, 120);
    suite_add_tcase(suite, random_case);
    suite_add_tcase(suite, sweep);
    return run_suites("tests/ide/test-random", &suite, 1);
}
