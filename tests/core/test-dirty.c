/* SPDX-License-Identifier: MIT */
/* Which pages were written: scans, first writes, and regions that are wired. */
#include "lib/mm/mm.h"
#include "tests/core/world.h"
#include "tests/support/runner.h"

#define PAGES 24u /* of the usual disk */
#define ROWS 32u

static struct world world;
static struct disk *disk;
static uintptr_t base;
static struct hurdmm_dirty rows[ROWS];
static size_t count, done;

static void begin_with(const struct world_options *options)
{
    world_begin(&world, options);
    disk = world_disk(&world, PAGES * world.page, 0);
    base = world_bind(&world, disk, 0, PAGES * world.page);
}

static void begin(void)
{
    begin_with(NULL);
}

static void end(void)
{
    world_end(&world);
}

static void restart(const struct world_options *options)
{
    world_end(&world);
    begin_with(options);
}

static uintptr_t at(unsigned page)
{
    return base + page * world.page;
}

static int scan(unsigned first, unsigned pages, unsigned flags)
{
    return hurdmm_region_scan_dirty(world.space, at(first), pages * world.page,
                                    flags, rows, ROWS, &count, &done);
}

/* The pages that a scan of everything finds, as bits. */
static uint64_t found(unsigned flags)
{
    uint64_t bits = 0;
    ck_assert_int_eq(scan(0, PAGES, flags), 0);
    ck_assert_uint_eq(done, PAGES * world.page);
    for (size_t i = 0; i < count; i++)
        for (uintptr_t a = rows[i].address;
             a < rows[i].address + rows[i].length; a += world.page)
            bits |= UINT64_C(1) << (a - base) / world.page;
    return bits;
}

static void clear(void)
{
    (void)found(HURDMM_SCAN_CLEAR);
    ck_assert_uint_eq(found(0), 0);
}

/* Reads so much else that nothing of the disk stays in memory. */
static void push_out(void)
{
    struct disk *other = world_disk(&world, 64 * world.page, 0);
    uintptr_t there = world_bind(&world, other, 0, 64 * world.page);
    for (unsigned i = 0; i < 3 * 64; i++)
        world_expect(&world, there + i % 64 * world.page,
                     world_byte(i % 64 * world.page));
    ck_assert_int_eq(hurdmm_unbind(world.space, there, 64 * world.page), 0);
    ck_assert_int_eq(hurdmm_store_destroy(other->store, 0), 0);
}

/* ---- Scans ---- */

START_TEST(what_was_written_is_found)
{
    for (unsigned i = 0; i < PAGES; i++)
        world_expect(&world, at(i), world_byte(i * world.page));
    world_put(&world, at(2), 1);
    world_put(&world, at(3) + 7, 1);
    world_put(&world, at(9), 1);
    ck_assert_int_eq(scan(0, PAGES, 0), 0);
    ck_assert_uint_eq(count, 2);
    ck_assert_uint_eq(rows[0].address, at(2));
    ck_assert_uint_eq(rows[0].length, 2 * world.page);
    ck_assert_uint_eq(rows[1].address, at(9));
    ck_assert_uint_eq(rows[1].length, world.page);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 0x20c);
}
END_TEST

START_TEST(what_was_cleared_is_found_when_it_is_written_again)
{
    world_put(&world, at(1), 1);
    world_put(&world, at(2), 1);
    clear();
    world_expect(&world, at(1), 1);
    ck_assert_uint_eq(found(0), 0);
    world_put(&world, at(2), 2);
    ck_assert_uint_eq(found(0), 4);
}
END_TEST

/* The page is dirty still: what it is lent for a read must not let writes by. */
START_TEST(a_read_after_a_clear_hides_no_write)
{
    world_put(&world, at(1), 1);
    world_put(&world, at(2), 1);
    clear();
    ck_assert_uint_ne(world_state(disk, world.page) & HURDMM_STATE_DIRTY, 0);
    ck_assert_int_eq(
        hurdmm_protect(world.space, base, PAGES * world.page, HURDMM_NONE), 0);
    ck_assert_int_eq(hurdmm_protect(world.space, base, PAGES * world.page,
                                    HURDMM_READ | HURDMM_WRITE),
                     0);
    world_expect(&world, at(1), 1);
    world_put(&world, at(1), 2);
    world_put(&world, at(3), 2); /* and of those beside what is written */
    world_put(&world, at(2), 2);
    ck_assert_uint_eq(found(0), 0xe);
}
END_TEST

START_TEST(writing_back_forgets_no_write)
{
    world_put(&world, at(5), 1);
    ck_assert_int_eq(scan(0, 1, 0), 0);
    ck_assert_int_eq(
        hurdmm_flush(world.space, base, PAGES * world.page, HURDMM_WAIT), 0);
    ck_assert_uint_eq(world_state(disk, 5 * world.page) & HURDMM_STATE_DIRTY,
                      0);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 0x20);
    ck_assert_uint_eq(found(0), 0);
}
END_TEST

START_TEST(what_left_memory_is_found)
{
    clear();
    world_put(&world, at(3), 1);
    world_put(&world, at(11), 1);
    push_out();
    ck_assert_uint_eq(world_state(disk, 3 * world.page), 0);
    ck_assert_uint_eq(found(0), 0x808);
    world_expect(&world, at(3), 1); /* it comes back with its mark */
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 0x808);
    ck_assert_uint_eq(found(0), 0);
    push_out();
    ck_assert_uint_eq(found(0), 0);
}
END_TEST

START_TEST(a_discard_of_writes_counts)
{
    world_put(&world, at(4), 1);
    clear();
    ck_assert_int_eq(hurdmm_discard(world.space, base, PAGES * world.page), 0);
    world_expect(&world, at(4), world_byte(4 * world.page));
    ck_assert_uint_eq(found(0), 0x10);
}
END_TEST

START_TEST(the_librarys_writes_are_found)
{
    uint8_t bytes[WORLD_PAGE] = {0};
    size_t got;
    clear();
    ck_assert_int_eq(hurdmm_write(world.space, at(6), bytes, 1, &got), 0);
    ck_assert_int_eq(
        hurdmm_store_write(disk->store, 8 * world.page, bytes, 1, &got), 0);
    ck_assert_int_eq(hurdmm_store_write(disk->store, 9 * world.page, bytes,
                                        world.page, &got),
                     0);
    ck_assert_uint_eq(found(0), 0x340);
}
END_TEST

START_TEST(a_pinned_page_is_written_each_time)
{
    ck_assert_int_eq(
        hurdmm_pin(world.space, at(2), world.page, HURDMM_READ | HURDMM_WRITE),
        0);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 4);
    world_put(&world, at(2), 1);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 4);
    ck_assert_int_eq(hurdmm_unpin(world.space, at(2), world.page,
                                  HURDMM_READ | HURDMM_WRITE),
                     0);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 4);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 0);
}
END_TEST

START_TEST(what_has_no_room_is_found_next)
{
    uint64_t bits = 0;
    size_t next = 0;
    clear();
    for (unsigned i = 0; i < PAGES; i += 2)
        world_put(&world, at(i), 1);
    for (size_t page = 0; page < PAGES; page = next) {
        ck_assert_int_eq(
            hurdmm_region_scan_dirty(world.space, at((unsigned)page),
                                     (PAGES - page) * world.page,
                                     HURDMM_SCAN_CLEAR, rows, 3, &count, &done),
            0);
        next = page + done / world.page;
        ck_assert_uint_gt(done, 0);
        ck_assert_uint_le(count, 3);
        ck_assert(count == 3 || done == (PAGES - page) * world.page);
        for (size_t i = 0; i < count; i++) {
            ck_assert_uint_eq(rows[i].length, world.page);
            ck_assert_uint_lt(rows[i].address, at((unsigned)next));
            bits |= UINT64_C(1) << (rows[i].address - base) / world.page;
        }
        if (next < PAGES) /* what was not said was not forgotten */
            ck_assert_uint_ne(found(0) | bits, bits);
    }
    ck_assert_uint_eq(bits, 0x555555);
    ck_assert_uint_eq(found(0), 0);
}
END_TEST

START_TEST(only_the_range_is_cleared)
{
    for (unsigned i = 0; i < PAGES; i++)
        world_put(&world, at(i), 1);
    push_out();
    ck_assert_int_eq(scan(0, 1, 0), 0);
    for (unsigned i = 0; i < PAGES; i++)
        world_put(&world, at(i), 2);
    ck_assert_int_eq(scan(4, 3, HURDMM_SCAN_CLEAR), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(rows[0].length, 3 * world.page);
    ck_assert_uint_eq(found(0), 0xffff8f);
    push_out();
    ck_assert_int_eq(scan(8, 2, HURDMM_SCAN_CLEAR), 0);
    ck_assert_uint_eq(found(0), 0xfffc8f);
}
END_TEST

START_TEST(regions_over_the_same_pages_share_marks)
{
    struct disk *shared =
        world_disk(&world, PAGES * world.page, HURDMM_STORE_SHARED);
    uintptr_t one = world_bind(&world, shared, 0, 8 * world.page);
    uintptr_t two = world_bind(&world, shared, 4 * world.page, 8 * world.page);
    world_put(&world, one + 5 * world.page, 1);
    world_put(&world, two + 2 * world.page, 1);
    base = one;
    ck_assert_int_eq(scan(0, 8, HURDMM_SCAN_CLEAR), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(rows[0].address, one + 5 * world.page);
    ck_assert_uint_eq(rows[0].length, 2 * world.page);
    world_put(&world, two + world.page, 2); /* its right was taken there too */
    ck_assert_int_eq(scan(0, 8, HURDMM_SCAN_CLEAR), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(rows[0].address, one + 5 * world.page);
}
END_TEST

START_TEST(containers_are_scanned_too)
{
    struct hurdmm_container *c, *copy;
    uint64_t got;
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(
        hurdmm_container_allocate(c, 0, PAGES * world.page, 0, &got), 0);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .container = c,
        .length = PAGES * world.page,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };
    ck_assert_int_eq(hurdmm_bind(&bind, &base), 0);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 0xffffff);
    ck_assert_uint_eq(found(0), 0);
    world_put(&world, at(3), 1);
    /* A copy, which is settled when its source is written. */
    ck_assert_int_eq(hurdmm_container_create(world.manager, &copy), 0);
    ck_assert_int_eq(
        hurdmm_container_copy(copy, 0, c, 0, PAGES * world.page, 0, &got), 0);
    world_put(&world, at(4), 1);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 0x18);
    /* Pages that are another's by a shared copy. */
    uint64_t wide = (PAGES + 4) * world.page;
    ck_assert_int_eq(hurdmm_container_copy(c, wide, copy, 0, 4 * world.page,
                                           HURDMM_COPY_SHARED, &got),
                     0);
    bind.offset = wide;
    bind.length = 4 * world.page;
    ck_assert_int_eq(hurdmm_bind(&bind, &base), 0);
    ck_assert_int_eq(scan(0, 4, HURDMM_SCAN_CLEAR), ENOTSUP);
}
END_TEST

START_TEST(rights_that_cannot_be_taken_leave_the_marks)
{
    world_put(&world, at(1), 1);
    world_put(&world, at(7), 1);
    hurdmm_sim_fail(world.port, HURDMM_SIM_RECLAIM, 1, 0, 0);
    ck_assert_int_eq(scan(0, PAGES, HURDMM_SCAN_CLEAR), ENOMEM);
    ck_assert_uint_eq(count, 0);
    ck_assert_uint_eq(done, 0);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 0x82);
}
END_TEST

/* Marks of what left need memory; without it everything counts as written. */
START_TEST(without_memory_for_marks_too_much_is_found)
{
    struct hmm_slab *nodes = &world.manager->physmem.nodes;
    static void *taken[4096];
    unsigned n = 0;
    clear();
    world_put(&world, at(3), 1);
    ck_assert_int_eq(
        hurdmm_flush(world.space, base, PAGES * world.page, HURDMM_WAIT), 0);
    hurdmm_sim_fail(world.port, HURDMM_SIM_CORE_MAP, 1, 0, 1);
    ck_assert_int_eq(hmm_enter(world.manager), 0);
    while (n < 4096 && (taken[n] = hmm_slab_alloc(nodes)) != NULL)
        n++;
    hmm_leave(world.manager);
    ck_assert_uint_lt(n, 4096);
    ck_assert_int_eq(
        hurdmm_return(world.space, base, PAGES * world.page, HURDMM_WAIT), 0);
    hurdmm_sim_fail(world.port, 0, 0, 0, 0);
    ck_assert_int_eq(hmm_enter(world.manager), 0);
    while (n > 0)
        hmm_slab_free(nodes, taken[--n]);
    hmm_leave(world.manager);
    ck_assert_uint_eq(found(0), 0xffffff);
}
END_TEST

START_TEST(scans_that_mean_nothing_say_so)
{
    struct hurdmm_space *space = world.space;
    size_t page = world.page;
    world_put(&world, at(0), 1);
    const struct {
        uintptr_t address;
        size_t length;
        unsigned flags;
        struct hurdmm_dirty *rows;
        size_t max;
        int error;
    } bad[] = {
        {base + 1, page, 0, rows, 1, EINVAL},
        {base, page + 1, 0, rows, 1, EINVAL},
        {base, 0, 0, rows, 1, EINVAL},
        {base, page, 2, rows, 1, EINVAL},
        {base, page, HURDMM_SCAN_CLEAR, NULL, 1, EINVAL},
        {base, page, HURDMM_SCAN_CLEAR, rows, 0, EINVAL},
        {UINTPTR_MAX - page + 1, 2 * page, 0, rows, 1, EINVAL},
        {base, (PAGES + 1) * page, HURDMM_SCAN_CLEAR, rows, 1, ENOENT},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        count = done = 77;
        ck_assert_int_eq(hurdmm_region_scan_dirty(
                             space, bad[i].address, bad[i].length, bad[i].flags,
                             bad[i].rows, bad[i].max, &count, &done),
                         bad[i].error);
        ck_assert_uint_eq(count, 0);
        ck_assert_uint_eq(done, 0);
    }
    ck_assert_int_eq(
        hurdmm_region_scan_dirty(space, base, page, 0, rows, 1, NULL, &done),
        EINVAL);
    ck_assert_int_eq(
        hurdmm_region_scan_dirty(space, base, page, 0, rows, 1, &count, NULL),
        EINVAL);
    ck_assert_uint_eq(found(0), 1);
}
END_TEST

START_TEST(a_reserved_region_has_no_pages)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world.space,
        .length = 4 * world.page,
        .flags = HURDMM_BIND_RESERVED,
    };
    ck_assert_int_eq(hurdmm_bind(&bind, &base), 0);
    ck_assert_int_eq(scan(0, 4, 0), ENOENT);
}
END_TEST

/* ---- Races ---- */

#define WRITERS 3u
#define ROUNDS 40u

static struct race {
    unsigned running;
    bool wired;
    uint8_t copy[PAGES];
    uint8_t last[PAGES]; /* what each page was last given, by its one writer */
} race;

static void write_body(void *argument)
{
    unsigned self = (unsigned)(uintptr_t)argument;
    for (unsigned i = 1; i <= ROUNDS; i++) {
        unsigned page = (i * 7 * (self + 1)) % PAGES / WRITERS * WRITERS + self;
        if (page >= PAGES)
            continue;
        race.last[page] = (uint8_t)(i + 1);
        if (i % 5 ||
            race.wired) /* this machine's library does not write there */
            world_put(&world, at(page), (uint8_t)(i + 1));
        else
            ck_assert_int_eq(hurdmm_write(world.space, at(page),
                                          &race.last[page], 1, &(size_t){0}),
                             0);
    }
    race.running--;
}

/* Copies what has been written since the last time. */
static void follow(void)
{
    struct hurdmm_dirty some[4];
    size_t n, part;
    for (uintptr_t a = base; a < at(PAGES); a += part) {
        ck_assert_int_eq(hurdmm_region_scan_dirty(world.space, a, at(PAGES) - a,
                                                  HURDMM_SCAN_CLEAR, some, 4,
                                                  &n, &part),
                         0);
        for (size_t i = 0; i < n; i++)
            for (uintptr_t p = some[i].address;
                 p < some[i].address + some[i].length; p += world.page)
                ck_assert_int_eq(
                    hurdmm_read(world.space, p,
                                &race.copy[(p - base) / world.page], 1,
                                &(size_t){0}),
                    0);
    }
}

static void follow_body(void *argument)
{
    (void)argument;
    while (race.running > 0)
        follow();
}

static void flush_body(void *argument)
{
    (void)argument;
    while (race.running > 0)
        ck_assert_int_eq(
            hurdmm_flush(world.space, base, PAGES * world.page, HURDMM_WAIT),
            0);
}

/* Somebody who copies what each scan names has everything in the end, however
 * scans, writes, write-backs and evictions fall. */
static void run_race(uint64_t seed, unsigned hide, unsigned offer,
                     unsigned flags)
{
    struct world_options options = {
        .frames = flags & HURDMM_BIND_WIRED ? 2 * PAGES + 8 : 16,
        .seed = seed,
        .hide = hide,
        .offer = offer,
        .pin_pages = flags & HURDMM_BIND_WIRED ? PAGES : 0,
    };
    restart(&options);
    if (flags) {
        ck_assert_int_eq(hurdmm_unbind(world.space, base, PAGES * world.page),
                         0);
        ck_assert_int_eq(world_try_bind(&world, disk, 0, PAGES * world.page, 0,
                                        HURDMM_READ | HURDMM_WRITE, flags,
                                        &base),
                         0);
    }
    race = (struct race){.running = WRITERS, .wired = flags != 0};
    for (unsigned i = 0; i < PAGES; i++)
        race.copy[i] = race.last[i] = world_byte(i * world.page);
    clear();
    for (unsigned i = 0; i < WRITERS; i++)
        world_spawn(&world, write_body, (void *)(uintptr_t)i);
    world_spawn(&world, follow_body, NULL);
    world_spawn(&world, flush_body, NULL);
    world_run(&world);
    follow();
    ck_assert_mem_eq(race.copy, race.last, PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        world_expect(&world, at(i), race.last[i]);
    world_check(&world);
}

START_TEST(no_write_is_missed)
{
    run_race((uint64_t)_i + 1, 0, 0, 0);
}
END_TEST

START_TEST(no_write_is_missed_where_frames_move)
{
    run_race((uint64_t)_i + 1, HURDMM_PORT_ALIAS,
             _i % 2 ? HURDMM_PORT_LENDS_APART : 0, 0);
}
END_TEST

START_TEST(no_write_is_missed_that_the_port_notes)
{
    run_race((uint64_t)_i + 1, _i % 2 ? HURDMM_PORT_ALIAS : 0,
             HURDMM_PORT_TRACKS, HURDMM_BIND_WIRED);
}
END_TEST

/* ---- First writes ---- */

static struct told {
    unsigned calls;
    uint64_t pages; /* bits */
    uint8_t before; /* what the last one read */
    int answer;
} told;

static int tell(void *hook, struct hurdmm_space *space, uintptr_t address)
{
    struct told *t = hook;
    size_t got;
    t->calls++;
    t->pages |= UINT64_C(1) << (address - base) / world.page;
    ck_assert_uint_eq(address % world.page, 0);
    ck_assert_int_eq(hurdmm_read(space, address, &t->before, 1, &got), 0);
    return t->answer;
}

static void watch(void)
{
    told = (struct told){0};
    ck_assert_int_eq(hurdmm_region_on_first_write(
                         world.space, base, PAGES * world.page, tell, &told),
                     0);
}

START_TEST(a_first_write_is_told_before_it_comes)
{
    watch();
    world_expect(&world, at(3), world_byte(3 * world.page));
    ck_assert_uint_eq(told.calls, 0);
    world_put(&world, at(3), 1);
    ck_assert_uint_eq(told.calls, 1);
    ck_assert_uint_eq(told.pages, 8);
    ck_assert_uint_eq(told.before, world_byte(3 * world.page));
    world_expect(&world, at(3), 1);
}
END_TEST

START_TEST(a_page_is_told_of_once_until_it_is_cleared)
{
    watch();
    for (unsigned i = 0; i < 3; i++)
        world_put(&world, at(3) + i, 1);
    ck_assert_int_eq(
        hurdmm_flush(world.space, base, PAGES * world.page, HURDMM_WAIT), 0);
    world_put(&world, at(3), 2);
    push_out();
    world_put(&world, at(3), 3);
    ck_assert_uint_eq(told.calls, 1);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 8);
    world_expect(&world, at(3), 3);
    ck_assert_uint_eq(told.calls, 1);
    world_put(&world, at(3), 4);
    ck_assert_uint_eq(told.calls, 2);
    ck_assert_uint_eq(told.before, 3);
}
END_TEST

START_TEST(all_ways_to_write_by_address_are_told)
{
    uint8_t bytes[WORLD_PAGE] = {0};
    size_t got;
    watch();
    ck_assert_int_eq(hurdmm_write(world.space, at(1), bytes, world.page, &got),
                     0);
    ck_assert_int_eq(hurdmm_populate(world.space, at(4), 2 * world.page,
                                     HURDMM_READ | HURDMM_WRITE, NULL),
                     0);
    ck_assert_uint_eq(told.pages, 0x32);
    ck_assert_int_eq(
        hurdmm_store_write(disk->store, 7 * world.page, bytes, 1, &got), 0);
    ck_assert_uint_eq(told.calls, 3);
}
END_TEST

START_TEST(a_first_write_can_be_refused)
{
    size_t got;
    watch();
    told.answer = EPERM;
    ck_assert_int_eq(world_store(&world, at(2), 1), EPERM);
    ck_assert_int_eq(hurdmm_write(world.space, at(2), "x", 1, &got), EPERM);
    ck_assert_uint_eq(told.calls, 2);
    world_expect(&world, at(2), world_byte(2 * world.page));
    ck_assert_uint_eq(found(0), 0);
    told.answer = 0;
    world_put(&world, at(2), 1);
    ck_assert_uint_eq(found(0), 4);
}
END_TEST

START_TEST(a_part_of_a_region_can_be_watched)
{
    told = (struct told){0};
    ck_assert_int_eq(hurdmm_region_on_first_write(world.space, at(4),
                                                  2 * world.page, tell, &told),
                     0);
    for (unsigned i = 0; i < PAGES; i++)
        world_put(&world, at(i), 1);
    ck_assert_uint_eq(told.pages, 0x30);
    clear();
    ck_assert_int_eq(hurdmm_region_on_first_write(world.space, at(5),
                                                  world.page, NULL, NULL),
                     0);
    for (unsigned i = 0; i < PAGES; i++)
        world_put(&world, at(i), 2);
    ck_assert_uint_eq(told.calls, 3);
}
END_TEST

static int set_inside(void *hook, struct hurdmm_space *space, uintptr_t address)
{
    (void)address;
    *(int *)hook =
        hurdmm_region_on_first_write(space, base, world.page, NULL, NULL);
    return 0;
}

START_TEST(watching_wrongly_is_refused)
{
    struct hurdmm_space *space = world.space;
    size_t page = world.page;
    int inside = 0;
    ck_assert_int_eq(
        hurdmm_region_on_first_write(space, base + 1, page, tell, NULL),
        EINVAL);
    ck_assert_int_eq(hurdmm_region_on_first_write(
                         space, base, (PAGES + 1) * page, tell, NULL),
                     ENOENT);
    ck_assert_int_eq(hurdmm_protect(space, at(8), page, HURDMM_READ), 0);
    ck_assert_int_eq(
        hurdmm_region_on_first_write(space, base, PAGES * page, tell, NULL),
        EINVAL);
    ck_assert_int_eq(
        hurdmm_region_on_first_write(space, base, page, set_inside, &inside),
        0);
    world_put(&world, base, 1);
    ck_assert_int_eq(inside, EDEADLK);
}
END_TEST

static int unbind_inside(void *hook, struct hurdmm_space *space,
                         uintptr_t address)
{
    (void)hook;
    (void)address;
    return hurdmm_unbind(space, base, PAGES * world.page);
}

START_TEST(the_region_may_go_while_it_is_told)
{
    ck_assert_int_eq(hurdmm_region_on_first_write(world.space, base,
                                                  PAGES * world.page,
                                                  unbind_inside, NULL),
                     0);
    ck_assert_int_eq(world_store(&world, at(2), 1), EFAULT);
}
END_TEST

START_TEST(writers_are_told_of_apart_and_wait_for_each_other)
{
    struct world_options options = {.frames = 16, .seed = (uint64_t)_i + 1};
    restart(&options);
    watch();
    race = (struct race){.running = WRITERS};
    for (unsigned i = 0; i < WRITERS; i++)
        world_spawn(&world, write_body, (void *)(uintptr_t)i);
    world_run(&world);
    ck_assert_uint_eq(told.pages, found(0));
    unsigned pages = 0;
    for (uint64_t bits = told.pages; bits; bits &= bits - 1)
        pages++;
    ck_assert_uint_eq(told.calls, pages);
}
END_TEST

/* ---- Wired regions ---- */

static struct hurdmm_bind_options wired_bind(void)
{
    return (struct hurdmm_bind_options){
        .struct_size = sizeof(struct hurdmm_bind_options),
        .space = world.space,
        .store = disk->store,
        .length = PAGES * world.page,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .flags = HURDMM_BIND_WIRED,
    };
}

static void begin_wired(unsigned hide)
{
    struct world_options options = {
        .offer = HURDMM_PORT_TRACKS,
        .hide = hide,
        .pin_pages = PAGES + 4,
    };
    restart(&options);
    ck_assert_int_eq(hurdmm_unbind(world.space, base, PAGES * world.page), 0);
    struct hurdmm_bind_options bind = wired_bind();
    ck_assert_int_eq(hurdmm_bind(&bind, &base), 0);
}

START_TEST(a_wired_region_costs_no_faults)
{
    begin_wired(_i ? HURDMM_PORT_ALIAS : 0);
    uint64_t before = world_stats(&world).faults;
    ck_assert_uint_eq(found(0), 0);
    world_put(&world, at(2), 1);
    world_put(&world, at(5), 1);
    ck_assert_uint_eq(found(HURDMM_SCAN_CLEAR), 0x24);
    world_put(&world, at(5), 2);
    world_put(&world, at(15), 2);
    ck_assert_uint_eq(found(0), 0x8020);
    ck_assert_uint_eq(world_stats(&world).faults, before);
}
END_TEST

START_TEST(wired_pages_stay)
{
    size_t length = PAGES * world.page;
    begin_wired(_i ? HURDMM_PORT_ALIAS : 0);
    world_put(&world, at(2), 1);
    push_out();
    ck_assert_uint_ne(world_state(disk, 0) & HURDMM_STATE_RESIDENT, 0);
    ck_assert_int_eq(hurdmm_discard(world.space, base, length), EBUSY);
    ck_assert_int_eq(hurdmm_protect(world.space, base, length, HURDMM_READ),
                     EBUSY);
    ck_assert_int_eq(
        hurdmm_unpin(world.space, base, length, HURDMM_READ | HURDMM_WRITE),
        EINVAL);
    ck_assert_int_eq(hurdmm_flush(world.space, base, length, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[2 * world.page], 1);
    ck_assert_uint_eq(found(0), 4);
}
END_TEST

START_TEST(a_wired_region_ends_with_what_was_written)
{
    begin_wired(_i ? HURDMM_PORT_ALIAS : 0);
    world_put(&world, at(2), 1);
    world_put(&world, at(9), 1);
    ck_assert_int_eq(hurdmm_pin(world.space, at(9), world.page, HURDMM_READ),
                     0);
    ck_assert_int_eq(hurdmm_unbind(world.space, base, PAGES * world.page),
                     EBUSY);
    ck_assert_int_eq(hurdmm_unpin(world.space, at(9), world.page, HURDMM_READ),
                     0);
    ck_assert_int_eq(hurdmm_unbind(world.space, base, 8 * world.page), 0);
    world_put(&world, at(9), 2);
    base = at(8);
    ck_assert_int_eq(scan(0, 16, 0), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(hurdmm_unbind(world.space, base, 16 * world.page), 0);
    ck_assert_int_eq(
        hurdmm_store_sync(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(disk->bytes[2 * world.page], 1);
    ck_assert_uint_eq(disk->bytes[9 * world.page], 2);
    push_out();
    ck_assert_uint_eq(world_state(disk, 9 * world.page), 0);
}
END_TEST

START_TEST(wired_pages_cannot_be_copied)
{
    struct hurdmm_container *c;
    uint64_t got;
    begin_wired(0);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &c), 0);
    ck_assert_int_eq(hurdmm_container_copy(c, 0,
                                           hurdmm_store_container(disk->store),
                                           0, 4 * world.page, 0, &got),
                     ENOTSUP);
    ck_assert_int_eq(hurdmm_unbind(world.space, base, 4 * world.page), 0);
    ck_assert_int_eq(hurdmm_container_copy(c, 0,
                                           hurdmm_store_container(disk->store),
                                           0, 4 * world.page, 0, &got),
                     0);
    /* And the copy keeps pages from being wired. */
    ck_assert_int_eq(hurdmm_unbind(world.space, at(4), 20 * world.page), 0);
    struct hurdmm_bind_options bind = wired_bind();
    ck_assert_int_eq(hurdmm_bind(&bind, &base), EBUSY);
    ck_assert_int_eq(
        hurdmm_region_on_first_write(world.space, base, world.page, tell, NULL),
        ENOENT);
}
END_TEST

START_TEST(what_cannot_be_wired_is_refused)
{
    begin_wired(0);
    ck_assert_int_eq(
        hurdmm_region_on_first_write(world.space, base, world.page, tell, NULL),
        ENOTSUP);
    ck_assert_int_eq(hurdmm_unbind(world.space, base, PAGES * world.page), 0);
    struct disk *shared =
        world_disk(&world, PAGES * world.page, HURDMM_STORE_SHARED);
    struct disk *large = world_disk(&world, 32 * world.page, 0);
    struct hurdmm_bind_options bind = wired_bind();
    uintptr_t got = 1;
    bind.rights = HURDMM_READ;
    ck_assert_int_eq(hurdmm_bind(&bind, &got), EINVAL);
    bind = wired_bind();
    bind.flags |= HURDMM_BIND_INLINE;
    ck_assert_int_eq(hurdmm_bind(&bind, &got), EINVAL);
    bind = wired_bind();
    bind.store = shared->store;
    ck_assert_int_eq(hurdmm_bind(&bind, &got), ENOTSUP);
    bind = wired_bind();
    bind.store = large->store;
    bind.length = 32 * world.page; /* pin_limit */
    ck_assert_int_eq(hurdmm_bind(&bind, &got), EDQUOT);
    bind = wired_bind();
    disk->script =
        (struct disk_script){.kinds = DISK_IN, .nth = 1, .error = EIO};
    ck_assert_int_eq(hurdmm_return(world.space, base, world.page, 0), ENOENT);
    ck_assert_int_eq(
        hurdmm_store_return(disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(hurdmm_bind(&bind, &got), EIO);
    ck_assert_uint_eq(got, 1);
    ck_assert_uint_eq(world_stats(&world).regions, 0);
    ck_assert_uint_eq(world_stats(&world).frames_pinned, 0);
}
END_TEST

START_TEST(without_a_port_that_watches_nothing_is_wired)
{
    struct hurdmm_bind_options bind = wired_bind();
    uintptr_t got = 1;
    ck_assert_int_eq(hurdmm_unbind(world.space, base, PAGES * world.page), 0);
    ck_assert_int_eq(hurdmm_bind(&bind, &got), ENOTSUP);
    ck_assert_uint_eq(got, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("dirty");
    TCase *t = tcase_create("scan");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, what_was_written_is_found);
    tcase_add_test(t, what_was_cleared_is_found_when_it_is_written_again);
    tcase_add_test(t, a_read_after_a_clear_hides_no_write);
    tcase_add_test(t, writing_back_forgets_no_write);
    tcase_add_test(t, what_left_memory_is_found);
    tcase_add_test(t, a_discard_of_writes_counts);
    tcase_add_test(t, the_librarys_writes_are_found);
    tcase_add_test(t, a_pinned_page_is_written_each_time);
    tcase_add_test(t, what_has_no_room_is_found_next);
    tcase_add_test(t, only_the_range_is_cleared);
    tcase_add_test(t, regions_over_the_same_pages_share_marks);
    tcase_add_test(t, containers_are_scanned_too);
    tcase_add_test(t, rights_that_cannot_be_taken_leave_the_marks);
    tcase_add_test(t, without_memory_for_marks_too_much_is_found);
    tcase_add_test(t, scans_that_mean_nothing_say_so);
    tcase_add_test(t, a_reserved_region_has_no_pages);
    suite_add_tcase(s, t);

    t = tcase_create("race");
    tcase_add_checked_fixture(t, begin, end);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, no_write_is_missed, 0, 20);
    tcase_add_loop_test(t, no_write_is_missed_where_frames_move, 0, 20);
    tcase_add_loop_test(t, no_write_is_missed_that_the_port_notes, 0, 20);
    suite_add_tcase(s, t);

    t = tcase_create("first");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, a_first_write_is_told_before_it_comes);
    tcase_add_test(t, a_page_is_told_of_once_until_it_is_cleared);
    tcase_add_test(t, all_ways_to_write_by_address_are_told);
    tcase_add_test(t, a_first_write_can_be_refused);
    tcase_add_test(t, a_part_of_a_region_can_be_watched);
    tcase_add_test(t, watching_wrongly_is_refused);
    tcase_add_test(t, the_region_may_go_while_it_is_told);
    tcase_add_loop_test(t, writers_are_told_of_apart_and_wait_for_each_other, 0,
                        10);
    suite_add_tcase(s, t);

    t = tcase_create("wired");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_loop_test(t, a_wired_region_costs_no_faults, 0, 2);
    tcase_add_loop_test(t, wired_pages_stay, 0, 2);
    tcase_add_loop_test(t, a_wired_region_ends_with_what_was_written, 0, 2);
    tcase_add_test(t, wired_pages_cannot_be_copied);
    tcase_add_test(t, what_cannot_be_wired_is_refused);
    tcase_add_test(t, without_a_port_that_watches_nothing_is_wired);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    Suite *s = suite();
    return run_suites("tests/core/test-dirty", &s, 1);
}
