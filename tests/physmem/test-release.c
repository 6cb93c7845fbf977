/* SPDX-License-Identifier: MIT */
/*
 * Giving frames back while others refer to them: the cases D1 to D12 that the
 * release of 2005 had to tell apart, and its gaps and bugs one by one.
 *
 * In each case an owner has the pages "abcdefgh"; others refer to parts of them
 * in one of the ways below, and zones are released, by the owner or by one who
 * refers.  Afterwards everybody must read what he had, writes must be seen by
 * those who share and by nobody else, and no frame may be lost.
 */
#include "tests/physmem/rig.h"
#include "tests/support/runner.h"

#define PAGES 8

/* How others refer to the owner's pages. */
enum way {
    ALONE,     /* nobody does */
    SHARED,    /* one shares them */
    COPIED,    /* one has a copy on write */
    BOTH,      /* one of each */
    UNRELATED, /* one of each, left of a copy of everything that was split */
    MAPPED,    /* both, and all is mapped and was written by everybody */
    WAYS
};

enum actor { OWNER, SHARER, COPIER, ACTORS };

struct zone {
    unsigned first, count;
};

struct release_case {
    struct zone refs[4]; /* what others refer to */
    struct zone zones[4];
    enum actor who; /* releases the zones */
};

static struct world world;
static struct hurdmm_container *container[ACTORS];
static char text[ACTORS][PAGES + 1]; /* what each must read */
static bool sharing[PAGES];          /* do owner and sharer? */
static uintptr_t at[ACTORS];

static void begin(void)
{
    const struct world_options options = {.frames = 128};
    world_begin(&world, &options);
}

static void end(void)
{
    world_end(&world);
}

static bool inside(const struct zone *zones, unsigned page)
{
    for (unsigned i = 0; i < 4; i++) {
        if (page >= zones[i].first && page - zones[i].first < zones[i].count)
            return true;
    }
    return false;
}

static void refer_to(enum actor who, const struct zone *refs, bool split)
{
    unsigned flags = who == SHARER ? HURDMM_COPY_SHARED : 0;
    if (split)
        rig_copied(&world, container[who], 0, container[OWNER], 0, PAGES,
                   flags);
    for (unsigned i = 0; i < PAGES; i++) {
        bool in = inside(refs, i);
        text[who][i] = in ? text[OWNER][i] : '.';
        sharing[i] = sharing[i] || (in && who == SHARER);
        if (split && !in)
            ck_assert_int_eq(rig_release(&world, container[who], i, 1), 0);
    }
    for (unsigned i = 0; i < 4 && !split; i++) {
        if (refs[i].count > 0)
            rig_copied(&world, container[who], refs[i].first, container[OWNER],
                       refs[i].first, refs[i].count, flags);
    }
}

static void put(enum actor who, unsigned page, char letter)
{
    rig_letter(&world, container[who], page, letter);
    text[who][page] = letter;
    if (sharing[page] && who != COPIER)
        text[who == OWNER ? SHARER : OWNER][page] = letter;
}

static void expect_all(void)
{
    for (unsigned i = 0; i < ACTORS; i++) {
        rig_expect(&world, container[i], text[i]);
        for (unsigned page = 0; at[i] != 0 && page < PAGES; page++) {
            uint8_t byte = 0;
            int error =
                world_load(&world, at[i] + page * world.page + 7, &byte);
            ck_assert_int_eq(error, text[i][page] == '.' ? EFAULT : 0);
            ck_assert(error != 0 || byte == (uint8_t)text[i][page]);
        }
    }
    world_check(&world);
}

static void map_all(void)
{
    for (unsigned i = 0; i < ACTORS; i++) {
        at[i] = rig_bind(&world, container[i], PAGES);
        for (unsigned page = 0; page < PAGES; page++) {
            if (text[i][page] != '.' && page % 2)
                put((enum actor)i, page, (char)('A' + PAGES * i + page));
        }
    }
    expect_all();
    for (unsigned i = 0; i < ACTORS; i++) {
        for (unsigned page = 0; page < PAGES; page++) {
            if (text[i][page] != '.' && page % 3 == 0)
                world_put(&world, at[i] + page * world.page,
                          (uint8_t)text[i][page]);
        }
    }
}

static void set_up(const struct release_case *c, enum way way)
{
    memset(sharing, 0, sizeof sharing);
    memset(at, 0, sizeof at);
    memset(text, '.', sizeof text);
    for (unsigned i = 0; i < ACTORS; i++) {
        text[i][PAGES] = '\0';
        container[i] =
            i == OWNER ? rig_filled(&world, "abcdefgh") : rig_container(&world);
    }
    memcpy(text[OWNER], "abcdefgh", PAGES);
    if (way != ALONE && way != COPIED)
        refer_to(SHARER, c->refs, way == UNRELATED);
    if (way != ALONE && way != SHARED)
        refer_to(COPIER, c->refs, way == UNRELATED);
    if (way == MAPPED)
        map_all();
}

static void tear_down(const struct hurdmm_stats *before)
{
    for (unsigned i = 0; i < ACTORS; i++) {
        if (at[i] != 0)
            ck_assert_int_eq(
                hurdmm_unbind(world.space, at[i], PAGES * world.page), 0);
        ck_assert_int_eq(hurdmm_container_destroy(container[i]), 0);
    }
    struct hurdmm_stats after = world_stats(&world);
    ck_assert_uint_eq(after.frames_used, before->frames_used);
    ck_assert_uint_eq(after.containers, before->containers);
}

/* How many pages are read by somebody, but for copies of what others have. */
static unsigned distinct_pages(enum way way)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PAGES; i++) {
        if (text[OWNER][i] != '.' || text[SHARER][i] != '.' ||
            text[COPIER][i] != '.')
            count++;
    }
    (void)way;
    return count;
}

static void release_zones(const struct release_case *c)
{
    for (unsigned i = 0; i < 4; i++) {
        const struct zone *zone = &c->zones[i];
        if (zone->count == 0)
            continue;
        ck_assert_int_eq(
            rig_release(&world, container[c->who], zone->first, zone->count),
            0);
        for (unsigned p = zone->first; p < zone->first + zone->count; p++) {
            text[c->who][p] = '.';
            sharing[p] = sharing[p] && c->who == COPIER;
        }
    }
}

static void run(const struct release_case *c, enum way way)
{
    struct hurdmm_stats before = world_stats(&world);
    set_up(c, way);
    release_zones(c);
    expect_all();
    if (way != MAPPED) /* nobody wrote: one frame each, and no frame is lost */
        ck_assert_uint_eq(world_stats(&world).frames_used - before.frames_used,
                          distinct_pages(way));
    for (unsigned page = 0; page < PAGES; page++) {
        for (unsigned who = 0; who < ACTORS; who++) {
            if (text[who][page] == '.')
                continue;
            put((enum actor)who, page, (char)('0' + (page * 3 + who) % 10));
            expect_all();
        }
    }
    tear_down(&before);
}

#define CASE(name, ...)                                                        \
    START_TEST(name)                                                           \
    {                                                                          \
        static const struct release_case cases[] = {__VA_ARGS__};              \
        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)          \
            run(&cases[i], (enum way)_i);                                      \
    }                                                                          \
    END_TEST

#define R(...) .refs = {__VA_ARGS__}
#define Z(...) .zones = {__VA_ARGS__}

CASE(d1_sole_user_frees_all_head_tail_or_middle, {Z({0, 8})}, {Z({0, 3})},
     {Z({5, 3})}, {Z({2, 3})})
CASE(d3_reference_to_a_part_is_freed_all_head_tail_or_middle,
     {R({2, 4}), Z({2, 4}), .who = SHARER},
     {R({2, 4}), Z({2, 1}), .who = SHARER},
     {R({2, 4}), Z({5, 1}), .who = SHARER},
     {R({2, 4}), Z({3, 2}), .who = SHARER},
     {R({2, 4}), Z({2, 4}), .who = COPIER},
     {R({2, 4}), Z({2, 1}), .who = COPIER},
     {R({2, 4}), Z({5, 1}), .who = COPIER},
     {R({2, 4}), Z({3, 2}), .who = COPIER})
CASE(d4_freed_zone_is_fully_referenced, {R({0, 8}), Z({0, 8})},
     {R({2, 4}), Z({2, 4})}, {R({0, 8}), Z({3, 2})}, {R({0, 4}), Z({0, 2})})
CASE(d5_freed_zone_has_unreferenced_holes, {R({4, 4}), Z({0, 8})},
     {R({0, 3}, {5, 3}), Z({0, 8})}, {R({0, 5}), Z({0, 8})},
     {R({1, 1}, {3, 1}, {5, 1}), Z({0, 8})}, {R({2, 1}, {6, 1}), Z({1, 6})})
CASE(d6_reference_straddles_the_start_of_the_zone, {R({0, 4}), Z({2, 6})},
     {R({1, 3}), Z({3, 2})})
CASE(d7_reference_straddles_the_end_of_the_zone, {R({0, 2}), Z({0, 1})},
     {R({0, 4}), Z({0, 2})}, {R({4, 4}), Z({6, 2})}, {R({3, 4}), Z({1, 4})},
     {R({6, 2}), Z({7, 1})})
CASE(d8_references_only_before_or_after_the_zone, {R({0, 2}), Z({4, 4})},
     {R({6, 2}), Z({0, 4})}, {R({0, 2}, {6, 2}), Z({3, 2})})
CASE(d11_zones_span_holes_and_partial_entries,
     {R({1, 2}, {5, 2}), Z({2, 2}, {1, 6})},
     {R({1, 2}, {5, 2}), Z({4, 1}, {6, 1}, {0, 8})},
     {R({1, 2}, {5, 2}), Z({0, 8}), .who = SHARER},
     {R({1, 2}, {5, 2}), Z({1, 1}, {6, 1}, {0, 8}), .who = COPIER})

/* D2: memory that is not there yet: pages that a store has not been asked for.
 * The store is the owner here, and cannot release. */
static void refer_to_disk(struct disk *disk, enum way way)
{
    for (unsigned who = SHARER; who < ACTORS; who++) {
        container[who] = rig_container(&world);
        memset(text[who], '.', PAGES);
        text[who][PAGES] = '\0';
        if (way == (who == SHARER ? COPIED : SHARED))
            continue;
        rig_copied(&world, container[who], 0,
                   hurdmm_store_container(disk->store), 0, PAGES,
                   who == SHARER ? HURDMM_COPY_SHARED : 0);
        memcpy(text[who], "abcdefgh", PAGES);
    }
}

static void release_of(enum actor who, unsigned first, unsigned count)
{
    ck_assert_int_eq(rig_release(&world, container[who], first, count), 0);
    memset(text[who] + first, '.', count);
}

START_TEST(d2_promised_pages_are_freed_unfetched)
{
    struct disk *disk = rig_disk(&world, "abcdefgh", 0);
    static const struct zone zones[] = {{0, 2}, {6, 2}, {3, 2}};
    enum way way = (enum way)_i;
    refer_to_disk(disk, way);
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned who = SHARER; who < ACTORS; who++)
            if (way != UNRELATED || i != who)
                release_of((enum actor)who, zones[i].first, zones[i].count);
    }
    ck_assert_uint_eq(disk->ins, 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
    for (unsigned who = SHARER; who < ACTORS; who++)
        rig_expect(&world, container[who], text[who]);
    for (unsigned who = SHARER; who < ACTORS; who++) {
        release_of((enum actor)who, 0, PAGES);
        rig_expect(&world, container[who], "........");
        ck_assert_int_eq(hurdmm_container_destroy(container[who]), 0);
    }
    rig_expect_store(&world, disk->store, "abcdefgh");
}
END_TEST

/* D10.  Everybody has mapped everything and written some of it; then the zone
 * goes, through whatever shows it, and what others have stays where it is. */
START_TEST(d10_mappings_go_through_every_container)
{
    static const struct release_case cases[] = {
        {.refs = {{0, 8}}, .zones = {{1, 2}}},
        {.refs = {{0, 8}}, .zones = {{2, 4}}, .who = SHARER},
        {.refs = {{0, 8}}, .zones = {{2, 4}}, .who = COPIER},
        {.refs = {{2, 4}}, .zones = {{0, 8}}}};
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct release_case *c = &cases[i];
        struct hurdmm_stats before = world_stats(&world);
        uint8_t byte;
        set_up(c, (enum way)_i);
        map_all();
        if (text[c->who][c->zones[0].first] != '.')
            release_zones(c);
        expect_all();
        for (unsigned p = c->zones[0].first;
             p < c->zones[0].first + c->zones[0].count; p++)
            ck_assert_int_eq(
                world_load(&world, at[c->who] + p * world.page, &byte), EFAULT);
        for (unsigned who = 0; who < ACTORS; who++) {
            for (unsigned p = 0; p < PAGES; p++)
                if (text[who][p] == '.')
                    ck_assert_int_eq(
                        world_store(&world, at[who] + p * world.page, 1),
                        EFAULT);
        }
        expect_all();
        tear_down(&before);
    }
}
END_TEST

/* D12.  A copy, one who really shares it, and one who is left of sharing more:
 * whoever writes, the write is seen by whom it concerns. */
struct breaking {
    struct hurdmm_container *owner, *copy, *real, *unrelated;
};

static struct breaking before_a_break(void)
{
    struct breaking b = {rig_filled(&world, "abcd"), rig_container(&world),
                         rig_container(&world), rig_container(&world)};
    rig_copied(&world, b.copy, 0, b.owner, 0, 4, 0);
    rig_copied(&world, b.real, 0, b.copy, 0, 2, HURDMM_COPY_SHARED);
    rig_copied(&world, b.unrelated, 0, b.copy, 0, 4, HURDMM_COPY_SHARED);
    ck_assert_int_eq(rig_release(&world, b.unrelated, 0, 2), 0);
    return b;
}

START_TEST(d12_a_break_moves_only_real_sharers)
{
    struct breaking b = before_a_break();
    rig_letter(&world, b.copy, 0, 'X');
    rig_expect(&world, b.owner, "abcd");
    rig_expect(&world, b.copy, "Xbcd");
    rig_expect(&world, b.real, "Xb..");
    rig_expect(&world, b.unrelated, "..cd");
    rig_letter(&world, b.real, 1, 'Y');
    rig_letter(&world, b.unrelated, 2, 'Z');
    rig_expect(&world, b.copy, "XYZd");
    rig_expect(&world, b.owner, "abcd");
    rig_letter(&world, b.owner, 3, 'W');
    rig_expect(&world, b.unrelated, "..Zd");
}
END_TEST

START_TEST(d12_a_break_by_any_of_them_is_seen_by_its_sharers)
{
    struct breaking b = before_a_break();
    struct hurdmm_container *const who[] = {b.owner, b.copy, b.real,
                                            b.unrelated};
    static const char *const after[4][4] = {
        {"XbcX", "abcd", "ab..", "..cd"},
        {"abcd", "XbcX", "Xb..", "..cX"},
        {"abcd", "Xbcd", "Xb..", "..cd"},
        {"abcd", "abcX", "ab..", "..cX"},
    };
    uintptr_t address[4];
    for (unsigned i = 0; i < 4; i++)
        address[i] = rig_bind(&world, who[i], 4);
    for (unsigned page = 0; page < 4; page += 3) {
        for (unsigned i = 0; i < 4; i++) { /* all of it is lent */
            uint8_t byte;
            (void)world_load(&world, address[i] + page * world.page, &byte);
        }
        if (rig_picture(&world, who[_i], 4)[page] != '.')
            for (unsigned k = 0; k < world.page; k++)
                world_put(&world, address[_i] + page * world.page + k, 'X');
    }
    for (unsigned i = 0; i < 4; i++)
        rig_expect(&world, who[i], after[_i][i]);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(hurdmm_unbind(world.space, address[i], 4 * world.page),
                         0);
}
END_TEST

/* Once the last sharer or copy has gone a write needs no frame. */
START_TEST(d12_a_break_needs_no_frame_when_nobody_is_left)
{
    struct breaking b = before_a_break();
    ck_assert_int_eq(hurdmm_container_destroy(b.owner), 0);
    ck_assert_int_eq(hurdmm_container_destroy(b.real), 0);
    ck_assert_int_eq(hurdmm_container_destroy(b.unrelated), 0);
    uint64_t used = world_stats(&world).frames_used;
    ck_assert_uint_eq(used, 4);
    for (unsigned page = 0; page < 4; page++)
        rig_letter(&world, b.copy, page, (char)('p' + page));
    rig_expect(&world, b.copy, "pqrs");
    ck_assert_uint_eq(world_stats(&world).frames_used, used);
}
END_TEST

/* The gaps and bugs of features.md 1.1 and 1.3. */

START_TEST(release_begins_after_a_hole_too)
{
    struct hurdmm_container *c = rig_filled(&world, "..cd.f");
    ck_assert_int_eq(rig_release(&world, c, 0, 6), 0);
    rig_expect(&world, c, "......");
}
END_TEST

START_TEST(release_does_not_stop_at_holes)
{
    struct hurdmm_container *c = rig_filled(&world, "a..d..g");
    ck_assert_int_eq(rig_release(&world, c, 0, 6), 0);
    rig_expect(&world, c, "......g");
}
END_TEST

START_TEST(allocation_needs_page_aligned_ranges)
{
    struct hurdmm_container *c = rig_container(&world);
    static const uint64_t bad[][2] = {
        {1, 256}, {0, 255}, {0, 0}, {UINT64_MAX - 255, 512}};
    for (unsigned i = 0; i < 4; i++) {
        uint64_t done = 5;
        ck_assert_int_eq(
            hurdmm_container_allocate(c, bad[i][0], bad[i][1], 0, &done),
            EINVAL);
        ck_assert_uint_eq(done, 0);
        ck_assert_int_eq(hurdmm_container_release(c, bad[i][0], bad[i][1]),
                         EINVAL);
    }
    uint64_t done = 5;
    ck_assert_int_eq(
        hurdmm_container_allocate(c, 0, world.page, 1u << 20, &done), EINVAL);
}
END_TEST

START_TEST(allocation_says_how_far_it_came)
{
    struct hurdmm_container *c = rig_filled(&world, "...d");
    uint64_t done = 0;
    ck_assert_int_eq(
        hurdmm_container_allocate(c, world.page, 6 * world.page, 0, &done),
        EEXIST);
    ck_assert_uint_eq(done, 2 * world.page);
    rig_expect(&world, c, ".00d..");
}
END_TEST

START_TEST(allocation_all_or_none_leaves_nothing_behind)
{
    struct hurdmm_container *c = rig_filled(&world, "...d");
    uint64_t done = 9;
    ck_assert_int_eq(hurdmm_container_allocate(c, 0, 8 * world.page,
                                               HURDMM_ALL_OR_NONE, &done),
                     EEXIST);
    ck_assert_uint_eq(done, 0);
    rig_expect(&world, c, "...d....");
    ck_assert_int_eq(hurdmm_container_allocate(c, 4 * world.page,
                                               1000 * world.page,
                                               HURDMM_ALL_OR_NONE, &done),
                     ENOMEM);
    ck_assert_uint_eq(done, 0);
    rig_expect(&world, c, "...d....");
}
END_TEST

START_TEST(allocation_fails_when_memory_ends)
{
    struct hurdmm_container *c = rig_container(&world);
    uint64_t done = 0;
    ck_assert_int_eq(
        hurdmm_container_allocate(c, 0, 1000 * world.page, 0, &done), ENOMEM);
    ck_assert_uint_gt(done, 64 * world.page);
    ck_assert_uint_lt(done, 129 * world.page);
    ck_assert_int_eq(rig_release(&world, c, 0, 1000), 0);
    rig_expect(&world, c, "....");
}
END_TEST

/* Frame 0 must be a frame like any other: all frames can be had. */
START_TEST(every_frame_can_be_had)
{
    struct hurdmm_container *c = rig_container(&world);
    uint64_t done = 0, again = 0;
    (void)hurdmm_container_allocate(c, 0, 1000 * world.page, 0, &done);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    c = rig_container(&world);
    (void)hurdmm_container_allocate(c, 0, 1000 * world.page, 0, &again);
    ck_assert_uint_eq(done, again);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
}
END_TEST

START_TEST(a_mapped_hole_is_a_fault_error_not_success)
{
    struct hurdmm_container *c = rig_filled(&world, "a.c");
    uintptr_t address = rig_bind(&world, c, 3);
    uint8_t byte;
    ck_assert_int_eq(world_load(&world, address + world.page, &byte), EFAULT);
    ck_assert_int_eq(world_store(&world, address + world.page, 1), EFAULT);
    world_expect(&world, address + 2 * world.page, 'c');
}
END_TEST

START_TEST(a_copy_ends_at_a_hole_with_enoent)
{
    struct hurdmm_container *c = rig_filled(&world, "ab.d");
    struct hurdmm_container *t = rig_container(&world);
    unsigned done;
    ck_assert_int_eq(rig_copy(&world, t, 0, c, 0, 4, 0, &done), ENOENT);
    ck_assert_uint_eq(done, 2);
    rig_expect(&world, t, "ab..");
}
END_TEST

START_TEST(all_or_none_looks_at_the_source_too)
{
    struct hurdmm_container *c = rig_filled(&world, "ab.d");
    struct hurdmm_container *t = rig_container(&world);
    unsigned done;
    ck_assert_int_eq(rig_copy(&world, t, 0, c, 0, 4, HURDMM_ALL_OR_NONE, &done),
                     ENOENT);
    ck_assert_uint_eq(done, 0);
    rig_expect(&world, t, "....");
}
END_TEST

/* The isolation breach: the copy ended in an error and the source remained
 * writable through mappings that were there before. */
START_TEST(an_error_in_the_middle_of_a_copy_leaks_no_writes)
{
    struct hurdmm_container *c = rig_filled(&world, "abcd");
    struct hurdmm_container *t = rig_filled(&world, "..X");
    uintptr_t address = rig_bind(&world, c, 4);
    unsigned done;
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, address + i * world.page, (uint8_t)('a' + i));
    ck_assert_int_eq(rig_copy(&world, t, 0, c, 0, 4, 0, &done), EEXIST);
    ck_assert_uint_eq(done, 2);
    for (unsigned i = 0; i < 4; i++)
        world_put(&world, address + i * world.page + 5, '!');
    rig_expect(&world, t, "abX.");
}
END_TEST

START_TEST(copies_need_page_aligned_ranges)
{
    struct hurdmm_container *c = rig_filled(&world, "ab");
    struct hurdmm_container *t = rig_container(&world);
    static const uint64_t bad[][3] = {{1, 0, 256},
                                      {0, 1, 256},
                                      {0, 0, 255},
                                      {0, 0, 0},
                                      {UINT64_MAX - 255, 0, 512},
                                      {0, UINT64_MAX - 255, 512}};
    for (unsigned i = 0; i < 6; i++) {
        uint64_t done = 3;
        ck_assert_int_eq(hurdmm_container_copy(t, bad[i][0], c, bad[i][1],
                                               bad[i][2], 0, &done),
                         EINVAL);
        ck_assert_uint_eq(done, 0);
    }
    rig_expect(&world, t, "..");
}
END_TEST

START_TEST(a_stale_container_is_estale)
{
    struct hurdmm_container *c = rig_filled(&world, "ab");
    struct hurdmm_container *t = rig_container(&world);
    uint64_t done;
    unsigned pages;
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), ESTALE);
    ck_assert_int_eq(hurdmm_container_release(c, 0, world.page), ESTALE);
    ck_assert_int_eq(hurdmm_container_allocate(c, 0, world.page, 0, &done),
                     ESTALE);
    ck_assert_int_eq(rig_copy(&world, t, 0, c, 0, 1, 0, &pages), ESTALE);
    ck_assert_int_eq(rig_copy(&world, c, 0, t, 0, 1, 0, &pages), ESTALE);
}
END_TEST

/* A release that cannot be done changes nothing. */
START_TEST(a_release_without_memory_changes_nothing)
{
    for (unsigned nth = 1; nth < 6; nth++) {
        struct hurdmm_container *c = rig_filled(&world, "abcdefgh");
        struct hurdmm_container *t = rig_container(&world);
        uintptr_t address = rig_bind(&world, c, 8);
        rig_copied(&world, t, 0, c, 2, 4, 0);
        world_put(&world, address, 'a');
        hurdmm_sim_fail(world.port, HURDMM_SIM_MEMORY, nth, 0, 1);
        int error = rig_release(&world, c, 0, 6);
        hurdmm_sim_fail(world.port, 0, 0, 0, 0);
        ck_assert(error == 0 || error == ENOMEM);
        rig_expect(&world, c, error ? "abcdefgh" : "......gh");
        rig_expect(&world, t, "cdef");
        world_check(&world);
        ck_assert_int_eq(hurdmm_unbind(world.space, address, 8 * world.page),
                         0);
        ck_assert_int_eq(hurdmm_container_destroy(c), 0);
        rig_expect(&world, t, "cdef");
        ck_assert_int_eq(hurdmm_container_destroy(t), 0);
    }
}
END_TEST

/* MC2 */
START_TEST(destroying_a_container_frees_all)
{
    struct hurdmm_container *c = rig_filled(&world, "abc.efgh");
    struct hurdmm_container *t = rig_container(&world);
    rig_copied(&world, t, 0, c, 0, 2, 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, 2);
    rig_expect(&world, t, "ab");
    ck_assert_int_eq(hurdmm_container_destroy(t), 0);
    ck_assert_uint_eq(world_stats(&world).frames_used, 0);
    ck_assert_uint_eq(world_stats(&world).containers, 0);
}
END_TEST

START_TEST(a_container_that_is_mapped_cannot_be_destroyed)
{
    struct hurdmm_container *c = rig_filled(&world, "ab");
    uintptr_t address = rig_bind(&world, c, 2);
    ck_assert_int_eq(hurdmm_container_destroy(c), EBUSY);
    world_expect(&world, address + world.page, 'b');
    ck_assert_int_eq(hurdmm_unbind(world.space, address, 2 * world.page), 0);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
}
END_TEST

/* MC5 */
START_TEST(a_mapping_has_the_rights_that_were_asked)
{
    struct hurdmm_container *c = rig_filled(&world, "ab");
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = world.space,
                                       .container = c,
                                       .length = 2 * world.page,
                                       .rights = HURDMM_READ,
                                       .max_rights = HURDMM_READ};
    uintptr_t address = 0;
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
    world_expect(&world, address, 'a');
    ck_assert_int_eq(world_store(&world, address, 1), EACCES);
    ck_assert_int_eq(hurdmm_protect(world.space, address, world.page,
                                    HURDMM_READ | HURDMM_WRITE),
                     EACCES);
    bind.rights = bind.max_rights = HURDMM_NONE;
    bind.max_rights = HURDMM_READ;
    uintptr_t none = 0;
    ck_assert_int_eq(hurdmm_bind(&bind, &none), 0);
    uint8_t byte;
    ck_assert_int_eq(world_load(&world, none, &byte), EACCES);
    rig_expect(&world, c, "ab");
}
END_TEST

START_TEST(a_short_mapping_says_how_short_and_why)
{
    struct hurdmm_container *c = rig_filled(&world, "abc.e");
    uintptr_t address = rig_bind(&world, c, 5);
    size_t done = 99;
    ck_assert_int_eq(hurdmm_populate(world.space, address, 5 * world.page,
                                     HURDMM_READ, &done),
                     ENOENT);
    ck_assert_uint_eq(done, 3 * world.page);
    ck_assert_int_eq(hurdmm_populate(world.space, address + 3 * world.page,
                                     world.page, HURDMM_READ, &done),
                     ENOENT);
    ck_assert_uint_eq(done, 0);
    ck_assert_int_eq(hurdmm_populate(world.space, address + 4 * world.page,
                                     world.page, HURDMM_WRITE, &done),
                     0);
    ck_assert_uint_eq(done, world.page);
}
END_TEST

START_TEST(a_write_through_a_mapping_breaks_the_copy)
{
    struct hurdmm_container *c = rig_filled(&world, "abcd");
    struct hurdmm_container *t = rig_container(&world);
    rig_copied(&world, t, 0, c, 0, 4, 0);
    uintptr_t mine = rig_bind(&world, c, 4), his = rig_bind(&world, t, 4);
    uint64_t used = world_stats(&world).frames_used;
    world_expect(&world, his + world.page, 'b');
    ck_assert_uint_eq(world_stats(&world).frames_used, used);
    world_put(&world, his + world.page, 'B');
    ck_assert_uint_eq(world_stats(&world).frames_used, used + 1);
    world_expect(&world, mine + world.page, 'b');
    world_put(&world, mine + 2 * world.page, 'C');
    world_expect(&world, his + 2 * world.page, 'c');
    ck_assert_uint_eq(world_stats(&world).frames_used, used + 2);
    /* Each has his own now. */
    world_put(&world, mine + world.page, 'x');
    world_put(&world, his + 2 * world.page, 'y');
    ck_assert_uint_eq(world_stats(&world).frames_used, used + 2);
}
END_TEST

/* MC8 */
START_TEST(a_move_onto_itself_changes_nothing)
{
    struct hurdmm_container *c = rig_filled(&world, "abcd..");
    unsigned done;
    for (unsigned to = 0; to < 6; to++) {
        unsigned flags = HURDMM_COPY_MOVE | HURDMM_COPY_SQUASH;
        if (to >= 4)
            continue;
        ck_assert_int_eq(rig_copy(&world, c, to, c, 0, 4, flags, &done),
                         EINVAL);
        ck_assert_uint_eq(done, 0);
        rig_expect(&world, c, "abcd..");
    }
    rig_copied(&world, c, 4, c, 0, 2, HURDMM_COPY_MOVE);
    rig_expect(&world, c, "..cdab");
}
END_TEST

/* MC10: neighbours in memory are lent in one call, until something splits
 * them. */
static uint64_t lends_for(uintptr_t address, unsigned pages)
{
    uint64_t before = world_stats(&world).lends;
    for (unsigned i = 0; i < pages; i++) {
        uint8_t byte;
        ck_assert_int_eq(world_load(&world, address + i * world.page, &byte),
                         0);
    }
    return world_stats(&world).lends - before;
}

/* Eight pages that are neighbours, and a copy of them. */
static struct hurdmm_container *run_with_copy(struct hurdmm_container **copy)
{
    struct hurdmm_container *c = rig_container(&world);
    uint64_t done;
    ck_assert_int_eq(hurdmm_container_allocate_constrained(
                         c, 0, 8 * world.page, HURDMM_CONTIGUOUS, NULL, &done),
                     0);
    *copy = rig_container(&world);
    rig_copied(&world, *copy, 0, c, 0, 8, 0);
    return c;
}

START_TEST(a_run_is_lent_at_once_until_it_is_split)
{
    const struct world_options options = {.frames = 128, .readahead_pages = 16};
    struct hurdmm_container *copy;
    world_end(&world);
    world_begin(&world, &options);
    /* A copy splits nothing. */
    struct hurdmm_container *c = run_with_copy(&copy);
    ck_assert_uint_eq(lends_for(rig_bind(&world, c, 8), 8), 1);
    /* A break in the middle does: the copy keeps what was there. */
    c = run_with_copy(&copy);
    rig_letter(&world, c, 3, 'x');
    rig_expect(&world, copy, "00000000");
    ck_assert_uint_le(lends_for(rig_bind(&world, c, 8), 8), 3);
    /* And so does a release. */
    c = run_with_copy(&copy);
    ck_assert_int_eq(rig_release(&world, c, 5, 1), 0);
    uintptr_t at_c = rig_bind(&world, c, 8);
    ck_assert_uint_eq(lends_for(at_c, 5), 1);
    ck_assert_uint_eq(lends_for(at_c + 6 * world.page, 2), 1);
}
END_TEST

static void add_cases(TCase *cases)
{
    tcase_add_test(cases, d1_sole_user_frees_all_head_tail_or_middle);
    tcase_add_loop_test(cases, d2_promised_pages_are_freed_unfetched, SHARED,
                        MAPPED);
    tcase_add_loop_test(cases,
                        d3_reference_to_a_part_is_freed_all_head_tail_or_middle,
                        BOTH, WAYS);
    tcase_add_loop_test(cases, d4_freed_zone_is_fully_referenced, 0, WAYS);
    tcase_add_loop_test(cases, d5_freed_zone_has_unreferenced_holes, 0, WAYS);
    tcase_add_loop_test(cases, d6_reference_straddles_the_start_of_the_zone, 0,
                        WAYS);
    tcase_add_loop_test(cases, d7_reference_straddles_the_end_of_the_zone, 0,
                        WAYS);
    tcase_add_loop_test(cases, d8_references_only_before_or_after_the_zone, 0,
                        WAYS);
    tcase_add_loop_test(cases, d10_mappings_go_through_every_container, SHARED,
                        MAPPED);
    tcase_add_loop_test(cases, d11_zones_span_holes_and_partial_entries, BOTH,
                        WAYS);
    tcase_add_test(cases, d12_a_break_moves_only_real_sharers);
    tcase_add_loop_test(
        cases, d12_a_break_by_any_of_them_is_seen_by_its_sharers, 0, 4);
    tcase_add_test(cases, d12_a_break_needs_no_frame_when_nobody_is_left);
}

int main(void)
{
    Suite *suite = suite_create("release");
    TCase *cases = tcase_create("cases"), *gaps = tcase_create("gaps");
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_checked_fixture(gaps, begin, end);
    add_cases(cases);
    tcase_add_test(gaps, release_begins_after_a_hole_too);
    tcase_add_test(gaps, release_does_not_stop_at_holes);
    tcase_add_test(gaps, allocation_needs_page_aligned_ranges);
    tcase_add_test(gaps, allocation_says_how_far_it_came);
    tcase_add_test(gaps, allocation_all_or_none_leaves_nothing_behind);
    tcase_add_test(gaps, allocation_fails_when_memory_ends);
    tcase_add_test(gaps, every_frame_can_be_had);
    tcase_add_test(gaps, a_mapped_hole_is_a_fault_error_not_success);
    tcase_add_test(gaps, a_copy_ends_at_a_hole_with_enoent);
    tcase_add_test(gaps, all_or_none_looks_at_the_source_too);
    tcase_add_test(gaps, an_error_in_the_middle_of_a_copy_leaks_no_writes);
    tcase_add_test(gaps, copies_need_page_aligned_ranges);
    tcase_add_test(gaps, a_stale_container_is_estale);
    tcase_add_test(gaps, a_release_without_memory_changes_nothing);
    tcase_add_test(gaps, destroying_a_container_frees_all);
    tcase_add_test(gaps, a_container_that_is_mapped_cannot_be_destroyed);
    tcase_add_test(gaps, a_mapping_has_the_rights_that_were_asked);
    tcase_add_test(gaps, a_short_mapping_says_how_short_and_why);
    tcase_add_test(gaps, a_write_through_a_mapping_breaks_the_copy);
    tcase_add_test(gaps, a_move_onto_itself_changes_nothing);
    tcase_add_test(gaps, a_run_is_lent_at_once_until_it_is_split);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, gaps);
    return run_suites("tests/physmem/test-release", &suite, 1);
}
