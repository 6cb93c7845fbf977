/* SPDX-License-Identifier: MIT */
/* Constrained allocation and pins for devices, on a machine with banks. */
#include "tests/physmem/rig.h"
#include "tests/support/runner.h"

#define PAGE 256u

/* Two banks: at 0 and at 1 MiB. */
static const struct hurdmm_bank banks[] = {
    {.base = 0, .frames = 64},
    {.base = 1 << 20, .frames = 64},
};

static struct world world;
static struct hurdmm_container *container;

static void begin(void)
{
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .page_size = PAGE,
        .banks = banks,
        .bank_count = 2,
        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK,
    };
    memset(&world, 0, sizeof world);
    ck_assert_int_eq(hurdmm_sim_create(&machine, &world.port), 0);
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .port = world.port,
        .budget = 128 * PAGE,
        .pin_limit = 48 * PAGE,
    };
    ck_assert_int_eq(hurdmm_create(&options, &world.manager), 0);
    world.page = PAGE;
    world.space = hurdmm_space_own(world.manager);
    container = rig_container(&world);
}

static void end(void)
{
    world_end(&world);
}

static int allocate(unsigned first, unsigned pages, unsigned flags,
                    const struct hurdmm_constraint *constraint, unsigned *done)
{
    uint64_t bytes = 1;
    int error = hurdmm_container_allocate_constrained(
        container, first * PAGE, pages * PAGE, flags, constraint, &bytes);
    *done = (unsigned)(bytes / PAGE);
    return error;
}

/* The physical address of a page that is there. */
static uint64_t address_of(unsigned page)
{
    struct hurdmm_physical_run run;
    size_t count = 0;
    ck_assert_int_eq(hurdmm_container_pin(container, page * PAGE, PAGE,
                                          HURDMM_READ, &run, 1, &count),
                     0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(run.length, PAGE);
    ck_assert_int_eq(
        hurdmm_container_unpin(container, page * PAGE, PAGE, HURDMM_READ), 0);
    return run.address;
}

START_TEST(bits_that_must_be_set_or_clear_are)
{
    struct hurdmm_constraint c = {.struct_size = sizeof c,
                                  .must_set = 0x400,
                                  .must_clear = 0x100 | 0x100000};
    unsigned done;
    ck_assert_int_eq(allocate(0, 8, 0, &c, &done), 0);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_uint_eq(address_of(i) & c.must_set, c.must_set);
        ck_assert_uint_eq(address_of(i) & c.must_clear, 0);
    }
}
END_TEST

START_TEST(low_and_high_bound_the_run)
{
    struct hurdmm_constraint c = {
        .struct_size = sizeof c, .low = 0x100800, .high = 0x100fff};
    unsigned done;
    ck_assert_int_eq(allocate(0, 8, HURDMM_CONTIGUOUS, &c, &done), 0);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_uint_ge(address_of(i), c.low);
        ck_assert_uint_le(address_of(i) + PAGE - 1, c.high);
    }
    ck_assert_int_eq(allocate(8, 1, 0, &c, &done), ENOMEM);
    ck_assert_int_eq(rig_release(&world, container, 3, 1), 0);
    ck_assert_int_eq(allocate(8, 1, 0, &c, &done), 0);
}
END_TEST

START_TEST(a_contiguous_run_is_aligned_and_crosses_no_boundary)
{
    struct hurdmm_constraint c = {
        .struct_size = sizeof c, .alignment = 0x400, .boundary = 0x1000};
    unsigned done;
    for (unsigned first = 0; first < 40; first += 5) {
        ck_assert_int_eq(allocate(first, 5, HURDMM_CONTIGUOUS, &c, &done), 0);
        uint64_t start = address_of(first);
        ck_assert_uint_eq(start % c.alignment, 0);
        ck_assert_uint_eq(start / c.boundary,
                          (start + 5 * PAGE - 1) / c.boundary);
        for (unsigned i = 1; i < 5; i++)
            ck_assert_uint_eq(address_of(first + i), start + i * PAGE);
    }
}
END_TEST

START_TEST(colours_are_exact)
{
    struct hurdmm_constraint c = {.struct_size = sizeof c, .colours = 8};
    unsigned done;
    for (unsigned i = 0; i < 8; i++) {
        c.colour = i;
        ck_assert_int_eq(allocate(i * 2, 2, 0, &c, &done), 0);
        ck_assert_uint_eq(address_of(i * 2) / PAGE % 8, i);
        ck_assert_uint_eq(address_of(i * 2 + 1) / PAGE % 8, i);
    }
}
END_TEST

START_TEST(constraints_that_make_no_sense_are_einval)
{
    static const struct hurdmm_constraint bad[] = {
        {.struct_size = sizeof bad[0], .must_set = 0x300, .must_clear = 0x100},
        {.struct_size = sizeof bad[0], .must_set = 0x80},
        {.struct_size = sizeof bad[0], .alignment = 0x300},
        {.struct_size = sizeof bad[0], .boundary = 0x700},
        {.struct_size = sizeof bad[0], .low = 0x2000, .high = 0x1000},
        {.struct_size = sizeof bad[0], .colours = 4, .colour = 4},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        unsigned done = 3;
        ck_assert_int_eq(allocate(0, 2, 0, &bad[i], &done), EINVAL);
        ck_assert_uint_eq(done, 0);
    }
    rig_expect(&world, container, "..");
}
END_TEST

START_TEST(memory_that_there_is_not_is_erange)
{
    static const struct hurdmm_constraint none[] = {
        {.struct_size = sizeof none[0], .low = 0x200000},
        {.struct_size = sizeof none[0], .must_set = 0x80000},
        {.struct_size = sizeof none[0], .low = 0x8000, .high = 0xfffff},
    };
    for (unsigned i = 0; i < sizeof none / sizeof none[0]; i++) {
        unsigned done = 3;
        ck_assert_int_eq(allocate(0, 2, 0, &none[i], &done), ERANGE);
        ck_assert_uint_eq(done, 0);
    }
    unsigned done;
    ck_assert_int_eq(allocate(0, 65, HURDMM_CONTIGUOUS, NULL, &done), ERANGE);
    rig_expect(&world, container, "..");
}
END_TEST

START_TEST(memory_that_is_taken_is_enomem)
{
    struct hurdmm_constraint c = {.struct_size = sizeof c, .high = 0xfff};
    unsigned done;
    ck_assert_int_eq(allocate(0, 20, 0, &c, &done), ENOMEM);
    ck_assert_uint_eq(done, 16);
    ck_assert_int_eq(allocate(32, 2, HURDMM_CONTIGUOUS, &c, &done), ENOMEM);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(rig_release(&world, container, 0, 20), 0);
    ck_assert_int_eq(allocate(0, 20, HURDMM_ALL_OR_NONE, &c, &done), ENOMEM);
    ck_assert_uint_eq(done, 0);
    rig_expect(&world, container, "....");
}
END_TEST

START_TEST(constrained_memory_is_zeroed)
{
    struct hurdmm_constraint c = {.struct_size = sizeof c, .high = 0xfff};
    unsigned done;
    ck_assert_int_eq(allocate(0, 4, HURDMM_CONTIGUOUS, &c, &done), 0);
    rig_expect(&world, container, "0000");
}
END_TEST

/* A cache must make room where a device needs it. */
START_TEST(contiguous_memory_is_had_to_exhaustion_and_back)
{
    for (unsigned round = 0; round < 3; round++) {
        unsigned count = 0, done;
        while (allocate(count * 7, 7, HURDMM_CONTIGUOUS, NULL, &done) == 0)
            count++;
        ck_assert_uint_ge(count, 14);
        ck_assert_int_eq(rig_release(&world, container, 0, 7 * count), 0);
    }
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
}
END_TEST

/* Somebody else allocates in the middle, while memory is made for a run. */
static void allocate_in_the_middle(struct disk *disk, unsigned kind,
                                   uint64_t offset, size_t length)
{
    unsigned done, *tries = disk->before_hook;
    (void)offset;
    (void)length;
    if (kind == DISK_OUT && (*tries)++ == 0)
        ck_assert_int_eq(allocate(5, 1, 0, NULL, &done), 0);
}

START_TEST(a_run_leaves_what_came_meanwhile)
{
    unsigned tries = 0, done;
    struct disk *disk = world_disk(&world, 64 * PAGE, HURDMM_STORE_SHARED);
    uintptr_t address = world_bind(&world, disk, 0, 64 * PAGE);
    for (unsigned i = 0; i < 64; i++)
        world_put(&world, address + i * PAGE, 'd');
    ck_assert_int_eq(allocate(64, 48, 0, NULL, &done), 0);
    disk->before = allocate_in_the_middle;
    disk->before_hook = &tries;
    ck_assert_int_eq(allocate(0, 20, HURDMM_CONTIGUOUS, NULL, &done), EEXIST);
    disk->before = NULL;
    ck_assert_uint_gt(tries, 0);
    ck_assert_uint_eq(done, 0);
    rig_expect(&world, container, ".....0..............");
}
END_TEST

/* ---- Pins ----------------------------------------------------------------- */

START_TEST(a_pin_tells_physical_runs_in_order)
{
    struct hurdmm_physical_run runs[8];
    size_t count = 0;
    unsigned done;
    ck_assert_int_eq(allocate(0, 4, HURDMM_CONTIGUOUS, NULL, &done), 0);
    ck_assert_int_eq(allocate(8, 4, HURDMM_CONTIGUOUS, NULL, &done), 0);
    rig_copied(&world, container, 4, container, 8, 4, HURDMM_COPY_MOVE);
    for (unsigned i = 0; i < 8; i++)
        rig_letter(&world, container, i, (char)('a' + i));
    ck_assert_int_eq(hurdmm_container_pin(container, 0, 8 * PAGE, HURDMM_READ,
                                          runs, 8, &count),
                     0);
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        for (uint64_t at = 0; at < runs[i].length; at += PAGE, offset += PAGE) {
            uint64_t address = runs[i].address + at;
            uint32_t frame = (uint32_t)(address < 0x100000
                                            ? address / PAGE
                                            : 64 + (address - 0x100000) / PAGE);
            const char *bytes = hurdmm_sim_frame_bytes(world.port, frame);
            ck_assert_int_eq(bytes[0], (char)('a' + offset / PAGE));
        }
    }
    ck_assert_uint_eq(offset, 8 * PAGE);
    ck_assert_uint_le(count, 2);
    ck_assert_int_eq(
        hurdmm_container_unpin(container, 0, 8 * PAGE, HURDMM_READ), 0);
}
END_TEST

START_TEST(a_pin_needs_room_pages_and_quota)
{
    struct hurdmm_physical_run runs[32];
    struct hurdmm_constraint odd = {.struct_size = sizeof odd,
                                    .must_set = 0x100};
    size_t count = 0;
    unsigned done;
    ck_assert_int_eq(allocate(0, 20, 0, &odd, &done), 0);
    ck_assert_int_eq(hurdmm_container_pin(container, 0, 8 * PAGE, HURDMM_READ,
                                          runs, 7, &count),
                     ERANGE);
    ck_assert_int_eq(hurdmm_container_pin(container, 0, 49 * PAGE, HURDMM_READ,
                                          runs, 32, &count),
                     EDQUOT);
    ck_assert_int_eq(hurdmm_container_pin(container, 18 * PAGE, 4 * PAGE,
                                          HURDMM_READ, runs, 32, &count),
                     ENOENT);
    ck_assert_int_eq(
        hurdmm_container_pin(container, 1, PAGE, HURDMM_READ, runs, 32, &count),
        EINVAL);
    ck_assert_uint_eq(world_stats(&world).frames_pinned, 0);
    ck_assert_int_eq(rig_release(&world, container, 0, 20), 0);
}
END_TEST

START_TEST(a_pin_tells_as_many_runs_as_there_are)
{
    struct hurdmm_physical_run runs[40];
    struct hurdmm_constraint odd = {.struct_size = sizeof odd,
                                    .must_set = 0x100};
    size_t count = 0;
    unsigned done;
    ck_assert_int_eq(allocate(0, 40, 0, &odd, &done), 0);
    ck_assert_int_eq(hurdmm_container_pin(container, 0, 40 * PAGE, HURDMM_READ,
                                          runs, 39, &count),
                     ERANGE);
    ck_assert_uint_eq(world_stats(&world).frames_pinned, 0);
    ck_assert_int_eq(hurdmm_container_pin(container, 0, 40 * PAGE, HURDMM_READ,
                                          runs, 40, &count),
                     0);
    ck_assert_uint_eq(count, 40);
    for (unsigned i = 0; i < 40; i++) {
        ck_assert_uint_eq(runs[i].address, address_of(i));
        ck_assert_uint_eq(runs[i].length, PAGE);
    }
    ck_assert_int_eq(
        hurdmm_container_unpin(container, 0, 40 * PAGE, HURDMM_READ), 0);
}
END_TEST

/* Two pages of a range that are one page: a pin for one is not one for both. */
START_TEST(a_page_that_is_shown_twice_is_unpinned_as_often_as_pinned)
{
    struct hurdmm_space *space = hurdmm_space_own(world.manager);
    struct hurdmm_physical_run run[2];
    size_t count;
    unsigned done;
    ck_assert_int_eq(allocate(0, 1, 0, NULL, &done), 0);
    rig_copied(&world, container, 1, container, 0, 1, HURDMM_COPY_SHARED);
    uintptr_t address = rig_bind(&world, container, 2);
    for (uint64_t pages = 1; pages <= 2; pages++) {
        int both = pages == 2 ? 0 : EINVAL;
        ck_assert_int_eq(hurdmm_container_pin(container, 0, pages * PAGE,
                                              HURDMM_READ, run, 2, &count),
                         0);
        ck_assert_int_eq(
            hurdmm_container_unpin(container, 0, 2 * PAGE, HURDMM_READ), both);
        ck_assert_uint_eq(world_stats(&world).frames_pinned, both != 0);
        if (both)
            ck_assert_int_eq(
                hurdmm_container_unpin(container, PAGE, PAGE, HURDMM_READ), 0);
        ck_assert_int_eq(
            hurdmm_pin(space, address, (size_t)pages * PAGE, HURDMM_WRITE), 0);
        ck_assert_int_eq(hurdmm_unpin(space, address, 2 * PAGE, HURDMM_WRITE),
                         both);
        ck_assert_uint_eq(world_stats(&world).frames_pinned, both != 0);
        if (both)
            ck_assert_int_eq(hurdmm_unpin(space, address, PAGE, HURDMM_WRITE),
                             0);
    }
    ck_assert_uint_eq(world_stats(&world).frames_pinned, 0);
}
END_TEST

START_TEST(a_pinned_page_stays_where_it_is)
{
    struct hurdmm_container *other = rig_container(&world);
    struct hurdmm_physical_run run;
    size_t count;
    unsigned done;
    ck_assert_int_eq(allocate(0, 4, 0, NULL, &done), 0);
    ck_assert_int_eq(hurdmm_container_pin(container, PAGE, PAGE,
                                          HURDMM_READ | HURDMM_WRITE, &run, 1,
                                          &count),
                     0);
    ck_assert_int_eq(rig_release(&world, container, 0, 4), EBUSY);
    ck_assert_int_eq(
        rig_copy(&world, other, 0, container, 0, 4, HURDMM_COPY_MOVE, &done),
        EBUSY);
    ck_assert_int_eq(hurdmm_container_destroy(container), EBUSY);
    rig_copied(&world, other, 0, container, 0, 4, 0);
    rig_letter(&world, other, 1, 'X');
    ck_assert_uint_eq(address_of(1), run.address);
    ck_assert_int_eq(hurdmm_container_unpin(container, PAGE, PAGE, HURDMM_READ),
                     EINVAL);
    ck_assert_int_eq(hurdmm_container_unpin(container, PAGE, PAGE,
                                            HURDMM_READ | HURDMM_WRITE),
                     0);
    ck_assert_int_eq(rig_release(&world, container, 0, 4), 0);
    rig_expect(&world, other, "0X00");
}
END_TEST

/* The device writes while the page is pinned; the copy made before must keep
 * what was there. */
START_TEST(a_device_does_not_write_into_copies)
{
    struct hurdmm_container *other = rig_container(&world);
    struct hurdmm_physical_run run;
    size_t count;
    unsigned done;
    ck_assert_int_eq(allocate(0, 1, 0, NULL, &done), 0);
    rig_letter(&world, container, 0, 'a');
    rig_copied(&world, other, 0, container, 0, 1, 0);
    ck_assert_int_eq(hurdmm_container_pin(container, 0, PAGE,
                                          HURDMM_READ | HURDMM_WRITE, &run, 1,
                                          &count),
                     0);
    uint32_t frame = (uint32_t)(run.address < 0x100000
                                    ? run.address / PAGE
                                    : 64 + (run.address - 0x100000) / PAGE);
    memset(hurdmm_sim_frame_bytes(world.port, frame), 'D', PAGE);
    rig_expect(&world, other, "a");
    ck_assert_int_eq(
        hurdmm_container_unpin(container, 0, PAGE, HURDMM_READ | HURDMM_WRITE),
        0);
    rig_expect(&world, container, "D");
    rig_expect(&world, other, "a");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("constraint");
    TCase *cases = tcase_create("cases");
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_test(cases, bits_that_must_be_set_or_clear_are);
    tcase_add_test(cases, low_and_high_bound_the_run);
    tcase_add_test(cases, a_contiguous_run_is_aligned_and_crosses_no_boundary);
    tcase_add_test(cases, colours_are_exact);
    tcase_add_test(cases, constraints_that_make_no_sense_are_einval);
    tcase_add_test(cases, memory_that_there_is_not_is_erange);
    tcase_add_test(cases, memory_that_is_taken_is_enomem);
    tcase_add_test(cases, constrained_memory_is_zeroed);
    tcase_add_test(cases, contiguous_memory_is_had_to_exhaustion_and_back);
    tcase_add_test(cases, a_run_leaves_what_came_meanwhile);
    tcase_add_test(cases, a_pin_tells_physical_runs_in_order);
    tcase_add_test(cases, a_pin_needs_room_pages_and_quota);
    tcase_add_test(cases, a_pin_tells_as_many_runs_as_there_are);
    tcase_add_test(cases,
                   a_page_that_is_shown_twice_is_unpinned_as_often_as_pinned);
    tcase_add_test(cases, a_pinned_page_stays_where_it_is);
    tcase_add_test(cases, a_device_does_not_write_into_copies);
    suite_add_tcase(suite, cases);
    return run_suites("tests/physmem/test-constraint", &suite, 1);
}
