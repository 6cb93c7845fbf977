/* SPDX-License-Identifier: MIT */
/*
 * Anonymous memory that leaves compressed: the arena, the table, the store.
 */
#include <stdlib.h>
#include <string.h>

#include <hurdmm/compressed.h>

#include "modules/lz4/arena.h"
#include "modules/lz4/table.h"
#include "tests/modules/drill.h"
#include "tests/stores/rig.h"
#include "tests/support/runner.h"

static struct rig rig;

static void begin(void)
{
    rig_begin(&rig, 64, 512);
}

static void end(void)
{
    rig_end(&rig);
}

/* ---- The arena ------------------------------------------------------------ */

#define PIECES 200

struct piece {
    unsigned char *at;
    size_t length;
};

static void expect_pieces(const struct piece *pieces)
{
    for (unsigned i = 0; i < PIECES; i++) {
        if (!pieces[i].at)
            continue;
        ck_assert_uint_eq(hmm_arena_length(pieces[i].at), pieces[i].length);
        for (size_t j = 0; j < pieces[i].length; j++)
            if (pieces[i].at[j] != (unsigned char)i)
                ck_abort_msg("piece %u, byte %u", i, (unsigned)j);
    }
}

START_TEST(the_arena_keeps_pieces_apart)
{
    struct piece pieces[PIECES] = {{NULL, 0}};
    struct hmm_arena arena;
    unsigned full = 0;

    ck_assert_int_eq(hmm_arena_begin(&arena, rig.manager, 40000, 1000), 0);
    srand(11);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)rand() % PIECES;
        size_t length = 1 + (size_t)rand() % 1000;
        void *at = NULL;

        if (pieces[i].at) {
            hmm_arena_give(&arena, pieces[i].at);
            pieces[i].at = NULL;
        } else if (hmm_arena_take(&arena, length, &at) == 0) {
            ck_assert_uint_eq((uintptr_t)at % 16, 0);
            memset(at, (int)i, length);
            pieces[i] = (struct piece){at, length};
        } else {
            ck_assert(!hmm_arena_fits(&arena, length));
            full++;
        }
        if (step % 50 == 0) {
            ck_assert(hmm_arena_sound(&arena));
            expect_pieces(pieces);
        }
        ck_assert_uint_le(hmm_arena_bytes(&arena), 40000);
    }
    ck_assert_uint_gt(full, 100);
    for (unsigned i = 0; i < PIECES; i++)
        if (pieces[i].at)
            hmm_arena_give(&arena, pieces[i].at);
    ck_assert(hmm_arena_sound(&arena));
    ck_assert_uint_eq(arena.used, 0);
    ck_assert_uint_eq(arena.count, 1);
    hmm_arena_end(&arena);
}
END_TEST

START_TEST(a_full_arena_is_well_filled)
{
    struct hmm_arena arena;
    size_t payload = 0;
    void *at;

    ck_assert_int_eq(hmm_arena_begin(&arena, rig.manager, 100000, 1000), 0);
    srand(5);
    for (unsigned i = 0; i < 10000; i++) {
        size_t length = 100 + (size_t)rand() % 400;

        if (hmm_arena_take(&arena, length, &at) == 0)
            payload += length;
    }
    ck_assert_uint_gt(payload, 88000);
    hmm_arena_end(&arena);
}
END_TEST

START_TEST(an_arena_that_cannot_hold_a_piece_is_refused)
{
    struct hmm_arena arena;

    ck_assert_int_eq(hmm_arena_begin(&arena, rig.manager, 1000, 1000), EINVAL);
    ck_assert_int_eq(hmm_arena_begin(&arena, rig.manager, 1000, 0), EINVAL);
    ck_assert_int_eq(hmm_arena_begin(&arena, rig.manager, SIZE_MAX, SIZE_MAX),
                     EINVAL);
}
END_TEST

/* ---- The table ------------------------------------------------------------ */

static uint64_t cleared;

static void note_cleared(void *hook, uint64_t page, uint64_t word)
{
    (void)hook;
    ck_assert_uint_eq(word, page + 1);
    cleared++;
}

START_TEST(the_table_takes_any_page_and_gives_memory_back)
{
    static const uint64_t pages[] = {
        0, 1, 255, 256, 65535, 65536, 1u << 30, UINT64_MAX / 4096, UINT64_MAX};
    struct hmm_table table = {.manager = rig.manager};
    uint64_t before = rig_core_bytes(&rig), *word;

    cleared = 0;
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        ck_assert(!hmm_table_find(&table, pages[i]) ||
                  *hmm_table_find(&table, pages[i]) == 0);
        ck_assert_int_eq(hmm_table_make(&table, pages[i], &word), 0);
        *word = pages[i] + 1;
    }
    *word = 0; /* of the last page: its word would be 0 */
    for (size_t i = 0; i + 1 < sizeof pages / sizeof pages[0]; i++)
        ck_assert_uint_eq(*hmm_table_find(&table, pages[i]), pages[i] + 1);
    ck_assert_ptr_null(hmm_table_find(&table, (uint64_t)1 << 40));
    hmm_table_clear(&table, 1, 256, note_cleared, NULL);
    ck_assert_uint_eq(cleared, 3);
    ck_assert_uint_eq(*hmm_table_find(&table, 0), 1);
    ck_assert_uint_eq(*hmm_table_find(&table, 65535), 65536);
    hmm_table_clear(&table, 0, UINT64_MAX, note_cleared, NULL);
    ck_assert_uint_eq(cleared, 8);
    ck_assert_ptr_null(table.root);
    ck_assert_uint_ge(rig_core_bytes(&rig), before);
}
END_TEST

/* ---- The store ------------------------------------------------------------ */

static struct hurdmm_store *make(size_t arena, bool swap, uint64_t size)
{
    struct hurdmm_compressed_options options = {
        .struct_size = sizeof options,
        .arena = arena,
        .swap = swap ? rig.swap : NULL,
    };
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_compressed_create(rig.manager, &options, size, 0, &store), 0);
    return store;
}

static struct hurdmm_compressed_stats stats_of(struct hurdmm_store *store)
{
    struct hurdmm_compressed_stats stats = {.struct_size = sizeof stats};

    ck_assert_int_eq(hurdmm_compressed_get_stats(store, &stats), 0);
    return stats;
}

/* Pages with the contents of drill_fill: version % 4 says of which kind. */
static int put(struct hurdmm_store *store, uint64_t page, unsigned version)
{
    uint8_t bytes[PAGE];
    size_t done;

    drill_fill(bytes, PAGE, page, version);
    return hurdmm_store_write(store, page * PAGE, bytes, PAGE, &done);
}

static void expect(struct hurdmm_store *store, uint64_t page, unsigned version)
{
    uint8_t bytes[PAGE], wanted[PAGE];
    size_t done;

    drill_fill(wanted, PAGE, page, version);
    ck_assert_int_eq(hurdmm_store_read(store, page * PAGE, bytes, PAGE, &done),
                     0);
    ck_assert_mem_eq(bytes, wanted, PAGE);
}

static void page_out(struct hurdmm_store *store, uint64_t first, uint64_t count)
{
    ck_assert_int_eq(
        hurdmm_store_return(store, first * PAGE, count * PAGE, HURDMM_WAIT), 0);
}

#define SAME 400u
#define TEXT 401u
#define NOISE 402u
#define HALF 403u

START_TEST(untouched_memory_reads_as_zeros)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 100 * PAGE);

    for (unsigned i = 0; i < 100; i++)
        expect_page(store, i, 0);
    ck_assert_uint_eq(stats_of(store).pages_out, 0);
}
END_TEST

START_TEST(same_filled_pages_take_no_room)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 300 * PAGE);
    uint32_t word = 0xDEADBEEF;
    uint8_t bytes[PAGE];
    size_t done;

    for (unsigned i = 0; i < 300; i++)
        ck_assert_int_eq(put(store, i, SAME + 4 * (i % 8)), 0);
    for (size_t i = 0; i < PAGE; i += 4)
        memcpy(bytes + i, &word, 4);
    ck_assert_int_eq(hurdmm_store_write(store, 0, bytes, PAGE, &done), 0);
    page_out(store, 0, 300);
    ck_assert_uint_eq(stats_of(store).pages_same, 300);
    ck_assert_uint_eq(stats_of(store).arena_used, 0);
    ck_assert_uint_eq(rig_used(&rig), 0);
    for (unsigned i = 1; i < 300; i++)
        expect(store, i, SAME + 4 * (i % 8));
    memset(bytes, 0, sizeof bytes);
    ck_assert_int_eq(hurdmm_store_read(store, 0, bytes, PAGE, &done), 0);
    for (size_t i = 0; i < PAGE; i += 4)
        ck_assert_mem_eq(bytes + i, &word, 4);
}
END_TEST

START_TEST(text_shrinks)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 100 * PAGE);

    for (unsigned i = 0; i < 100; i++)
        ck_assert_int_eq(put(store, i, TEXT), 0);
    page_out(store, 0, 100);
    ck_assert_uint_eq(stats_of(store).pages_packed, 100);
    ck_assert_uint_lt(stats_of(store).bytes_packed, 50 * PAGE);
    ck_assert_uint_eq(rig_used(&rig), 0);
    for (unsigned i = 0; i < 100; i++)
        expect(store, i, TEXT);
}
END_TEST

START_TEST(noise_goes_to_the_swap_space_in_one_piece)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 100 * PAGE);

    for (unsigned i = 0; i < 8; i++)
        ck_assert_int_eq(put(store, i, NOISE), 0);
    page_out(store, 0, 8);
    ck_assert_uint_eq(stats_of(store).pages_lower, 8);
    ck_assert_uint_eq(stats_of(store).incompressible, 8);
    ck_assert_uint_eq(stats_of(store).arena_used, 0);
    ck_assert_uint_eq(rig_used(&rig), 8);
    ck_assert_uint_eq(rig.ram.writes, 1);
    for (unsigned i = 0; i < 8; i++)
        expect(store, i, NOISE);
}
END_TEST

START_TEST(noise_without_swap_space_is_kept_as_it_is)
{
    struct hurdmm_store *store = make(64 * PAGE, false, 100 * PAGE);

    for (unsigned i = 0; i < 30; i++)
        ck_assert_int_eq(put(store, i, NOISE), 0);
    page_out(store, 0, 30);
    ck_assert_uint_eq(stats_of(store).bytes_packed, 30 * PAGE);
    for (unsigned i = 0; i < 30; i++)
        expect(store, i, NOISE);
}
END_TEST

START_TEST(a_full_arena_overflows_to_the_swap_space)
{
    struct hurdmm_store *store = make(8 * PAGE, true, 300 * PAGE);
    struct hurdmm_compressed_stats stats;

    for (unsigned i = 0; i < 300; i++)
        ck_assert_int_eq(put(store, i, i % 2 ? TEXT : HALF), 0);
    page_out(store, 0, 300);
    stats = stats_of(store);
    ck_assert_uint_gt(stats.pages_packed, 8);
    ck_assert_uint_gt(stats.pages_lower, 100);
    ck_assert_uint_eq(stats.pages_packed + stats.pages_lower, 300);
    ck_assert_uint_le(stats.arena_bytes, 8 * PAGE);
    ck_assert_uint_eq(rig_used(&rig), stats.pages_lower);
    for (unsigned i = 0; i < 300; i++)
        expect(store, i, i % 2 ? TEXT : HALF);
}
END_TEST

START_TEST(a_page_changes_its_place_with_its_contents)
{
    static const unsigned kinds[] = {NOISE, TEXT, SAME,  HALF, NOISE,
                                     SAME,  TEXT, NOISE, TEXT, TEXT};
    struct hurdmm_store *store = make(64 * PAGE, true, 100 * PAGE);

    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct hurdmm_compressed_stats stats;

        ck_assert_int_eq(put(store, 5, kinds[i]), 0);
        page_out(store, 5, 1);
        expect(store, 5, kinds[i]);
        stats = stats_of(store);
        ck_assert_uint_eq(stats.pages_lower, kinds[i] == NOISE);
        ck_assert_uint_eq(stats.pages_same, kinds[i] == SAME);
        ck_assert_uint_eq(stats.pages_packed,
                          kinds[i] == TEXT || kinds[i] == HALF);
        ck_assert_uint_eq(rig_used(&rig), kinds[i] == NOISE);
        ck_assert((stats.arena_used != 0) == (stats.pages_packed != 0));
    }
}
END_TEST

START_TEST(discarded_pages_are_zeros_and_take_nothing)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 100 * PAGE);

    for (unsigned i = 0; i < 90; i++)
        ck_assert_int_eq(put(store, i, SAME + i % 4), 0);
    page_out(store, 0, 90);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, 100 * PAGE), 0);
    ck_assert_uint_eq(stats_of(store).pages_same, 0);
    ck_assert_uint_eq(stats_of(store).pages_packed, 0);
    ck_assert_uint_eq(stats_of(store).bytes_packed, 0);
    ck_assert_uint_eq(stats_of(store).pages_lower, 0);
    ck_assert_uint_eq(stats_of(store).arena_used, 0);
    ck_assert_uint_eq(rig_used(&rig), 0);
    for (unsigned i = 0; i < 90; i++)
        expect_page(store, i, 0);
}
END_TEST

START_TEST(a_page_that_was_only_read_leaves_without_work)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 100 * PAGE);

    for (unsigned i = 0; i < 20; i++)
        ck_assert_int_eq(put(store, i, TEXT), 0);
    page_out(store, 0, 20);
    for (unsigned i = 0; i < 20; i++)
        expect(store, i, TEXT);
    page_out(store, 0, 20);
    ck_assert_uint_eq(stats_of(store).pages_out, 20);
    for (unsigned i = 0; i < 20; i++)
        expect(store, i, TEXT);
}
END_TEST

/* Neither loss nor a hang: the writer is told, and what was written stays. */
START_TEST(when_all_is_full_the_writer_is_told)
{
    struct hurdmm_store *store = make(8 * PAGE, false, 300 * PAGE);
    unsigned written = 0;
    int error = 0;

    while (written < 300 && error == 0) {
        error = put(store, written, NOISE);
        written += error == 0;
    }
    ck_assert(error == ENOSPC || error == ENOMEM);
    ck_assert_uint_ge(written, 8);
    ck_assert_uint_lt(written, 80);
    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     ENOSPC);
    for (unsigned i = 0; i < written; i++)
        expect(store, i, NOISE);
    /* Room is made: all is well again. */
    ck_assert_int_eq(hurdmm_store_discard(store, 0, 4 * PAGE), 0);
    for (unsigned i = 4; i < written; i++)
        ck_assert_int_eq(put(store, i, SAME), 0);
    /* The first may tell of what the background met. */
    (void)hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (unsigned i = 4; i < written; i++)
        expect(store, i, SAME);
}
END_TEST

/* The swap space is shared with others, who may fill it. */
START_TEST(a_full_swap_space_is_told_before_the_write)
{
    struct hurdmm_store *store = make(8 * PAGE, true, 300 * PAGE);
    struct hurdmm_store *other = rig_anonymous(&rig, 512 * PAGE);
    unsigned written = 0;

    for (unsigned i = 0; i < 512; i++) {
        ck_assert_int_eq(put_page(other, i, 1), 0);
        if (i % 32 == 31)
            page_out(other, i - 31, 32);
    }
    while (written < 300 && put(store, written, NOISE) == 0)
        written++;
    ck_assert_uint_lt(written, 100);
    for (unsigned i = 0; i < written; i++)
        expect(store, i, NOISE);
    ck_assert_int_eq(hurdmm_store_destroy(other, 0), 0);
    /* The first may tell of what the background met. */
    (void)hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    ck_assert_int_eq(put(store, 299, NOISE), 0);
    page_out(store, 0, 300);
    for (unsigned i = 0; i < written; i++)
        expect(store, i, NOISE);
    expect(store, 299, NOISE);
}
END_TEST

/* Pages move between arena and swap space as they are written, and never find
 * that somebody else has taken their place. */
START_TEST(what_was_promised_a_place_can_always_leave)
{
    enum { PLACES = 40 };
    static const unsigned kinds[] = {NOISE, TEXT, NOISE, SAME, NOISE};
    struct ram ram;
    struct hurdmm_swap_options options = {.struct_size = sizeof options,
                                          .block = &ram.block,
                                          .flags = HURDMM_SWAP_RESERVE};
    struct hurdmm_swap *plain = rig.swap;
    struct hurdmm_store *store, *other;

    ram_begin(&ram, PLACES * PAGE);
    ck_assert_int_eq(hurdmm_swap_create_with(rig.manager, &options, &rig.swap),
                     0);
    store = make(8 * PAGE, true, 100 * PAGE);
    other = rig_anonymous(&rig, 100 * PAGE);
    for (unsigned round = 0; round < sizeof kinds / sizeof kinds[0]; round++) {
        for (unsigned i = 0; i < PLACES; i++)
            ck_assert_int_eq(put(store, i, kinds[round]), 0);
        ck_assert_int_eq(put(store, PLACES, SAME), ENOSPC);
        ck_assert_int_eq(put_page(other, round, 1), ENOSPC);
        /* They stay in memory: nobody is asked before they are written again. */
        ck_assert_int_eq(
            hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    }
    page_out(store, 0, PLACES);
    for (unsigned i = 0; i < PLACES; i++)
        expect(store, i, NOISE);
    ck_assert_int_eq(hurdmm_store_discard(store, 0, PAGE), 0);
    ck_assert_int_eq(put_page(other, 0, 1), 0);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_int_eq(hurdmm_store_destroy(other, 0), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(rig.swap), 0);
    rig.swap = plain;
    ram_end(&ram);
}
END_TEST

/* A copy keeps a store alive that was destroyed; what it stands on stays too. */
START_TEST(a_copy_outlives_the_store)
{
    struct hurdmm_store *store = make(8 * PAGE, true, 100 * PAGE);
    struct hurdmm_container *copy;
    uint8_t bytes[PAGE], wanted[PAGE];
    uint64_t copied;
    size_t done;

    for (unsigned i = 0; i < 60; i++)
        ck_assert_int_eq(put(store, i, NOISE), 0);
    page_out(store, 0, 60);
    ck_assert_int_eq(hurdmm_container_create(rig.manager, &copy), 0);
    ck_assert_int_eq(hurdmm_container_copy(copy, 0,
                                           hurdmm_store_container(store), 0,
                                           60 * PAGE, 0, &copied),
                     0);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    for (unsigned i = 0; i < 20; i++) {
        drill_fill(wanted, PAGE, i, NOISE);
        ck_assert_int_eq(
            hurdmm_container_read(copy, i * PAGE, bytes, PAGE, &done), 0);
        ck_assert_mem_eq(bytes, wanted, PAGE);
    }
    /* rig_end ends the manager while it is so. */
}
END_TEST

START_TEST(a_swap_space_that_fails_loses_nothing)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 100 * PAGE);

    for (unsigned i = 0; i < 30; i++)
        ck_assert_int_eq(put(store, i, NOISE), 0);
    rig.ram.write_error = EIO;
    ck_assert_int_eq(hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     EIO);
    for (unsigned i = 0; i < 30; i++)
        expect(store, i, NOISE);
    rig.ram.write_error = 0;
    page_out(store, 0, 30);
    rig.ram.read_error = EIO;
    expect_error(store, 7, EIO);
    rig.ram.read_error = 0;
    ck_assert_uint_eq(stats_of(store).pages_lower, 30);
}
END_TEST

/* Takes all core memory there is, and lets it have no more. */
static void use_up_memory(void)
{
    static void *pieces[20000];
    unsigned count = 0;

    hurdmm_sim_fail(rig.port, HURDMM_SIM_CORE_MAP, 1, ENOMEM, 1);
    for (size_t size = 65536; size >= 64; size /= 2)
        while (hurdmm_allocate(rig.manager, size, &pieces[count]) == 0)
            ck_assert_uint_lt(++count, 20000);
}

/* Pages 252 to 255 wait for the swap space when page 256, of which the table
 * has no leaf, finds no memory for one. */
START_TEST(a_page_that_cannot_be_noted_takes_no_others_with_it)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 600 * PAGE);

    ck_assert_int_eq(put(store, 0, NOISE), 0);
    page_out(store, 0, 1);
    for (unsigned i = 252; i < 260; i++)
        ck_assert_int_eq(put(store, i, NOISE), 0);
    use_up_memory();
    ck_assert_int_eq(
        hurdmm_store_return(store, 252 * PAGE, 8 * PAGE, HURDMM_WAIT), ENOMEM);
    for (unsigned i = 252; i < 260; i++)
        expect(store, i, NOISE);
    hurdmm_sim_fail(rig.port, 0, 0, 0, 0);
    page_out(store, 252, 8);
    for (unsigned i = 252; i < 260; i++)
        expect(store, i, NOISE);
}
END_TEST

START_TEST(the_last_page_may_be_cut)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 10 * PAGE + 100);
    static const unsigned kinds[] = {SAME, TEXT, NOISE};
    uint8_t bytes[100], wanted[100];
    size_t done;

    for (unsigned i = 0; i < 3; i++) {
        drill_fill(wanted, 100, 10, kinds[i]);
        ck_assert_int_eq(
            hurdmm_store_write(store, 10 * PAGE, wanted, 100, &done), 0);
        page_out(store, 9, 2);
        ck_assert_int_eq(hurdmm_store_read(store, 10 * PAGE, bytes, 100, &done),
                         0);
        ck_assert_mem_eq(bytes, wanted, 100);
    }
}
END_TEST

START_TEST(a_store_that_grows_goes_on)
{
    struct hurdmm_store *store = make(64 * PAGE, true, 10 * PAGE);

    ck_assert_int_eq(hurdmm_store_resize(store, 2000 * PAGE), 0);
    for (unsigned i = 0; i < 2000; i += 97)
        ck_assert_int_eq(put(store, i, SAME + i % 4), 0);
    page_out(store, 0, 2000);
    for (unsigned i = 0; i < 2000; i += 97)
        expect(store, i, SAME + i % 4);
}
END_TEST

START_TEST(a_store_may_be_as_long_as_any)
{
    uint64_t size = (UINT64_MAX - PAGE) & ~(uint64_t)(PAGE - 1);
    struct hurdmm_store *store = make(64 * PAGE, true, size);
    uint64_t pages[] = {0, (UINT64_C(1) << 62) / PAGE, size / PAGE - 1};
    static const unsigned kinds[] = {SAME, TEXT, NOISE};

    for (unsigned kind = 0; kind < 3; kind++)
        for (unsigned i = 0; i < 3; i++) {
            ck_assert_int_eq(put(store, pages[i], kinds[kind]), 0);
            page_out(store, pages[i], 1);
            expect(store, pages[i], kinds[kind]);
        }
    ck_assert_uint_eq(rig_used(&rig), 3);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(hurdmm_store_discard(store, pages[i] * PAGE, PAGE), 0);
    ck_assert_uint_eq(rig_used(&rig), 0);
}
END_TEST

START_TEST(the_store_gives_all_its_memory_back)
{
    struct hurdmm_store *store;
    uint64_t after[3];

    for (unsigned i = 0; i < 3; i++) {
        store = make(64 * PAGE, true, 300 * PAGE);
        for (unsigned page = 0; page < 300; page++)
            ck_assert_int_eq(put(store, page, TEXT + page % 3), 0);
        page_out(store, 0, 300);
        ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
        ck_assert_uint_eq(rig_used(&rig), 0);
        after[i] = rig_core_bytes(&rig);
    }
    ck_assert_uint_eq(after[2], after[1]);
}
END_TEST

START_TEST(bad_input_is_refused)
{
    struct hurdmm_compressed_options good = {
        .struct_size = sizeof good, .arena = 64 * PAGE, .swap = rig.swap};
    struct hurdmm_compressed_options bad = good;
    struct hurdmm_compressed_stats stats = {.struct_size = sizeof stats};
    struct hurdmm_store *store = NULL, *other = rig_anonymous(&rig, PAGE);

#define REFUSED(manager, options, size, flags, result)                         \
    ck_assert_int_eq(                                                          \
        hurdmm_compressed_create(manager, options, size, flags, result),       \
        EINVAL);                                                               \
    ck_assert_ptr_null(store)
    REFUSED(NULL, &good, PAGE, 0, &store);
    REFUSED(rig.manager, NULL, PAGE, 0, &store);
    REFUSED(rig.manager, &good, PAGE, 0, NULL);
    REFUSED(rig.manager, &good, PAGE, HURDMM_STORE_READ_ONLY, &store);
    REFUSED(rig.manager, &good, UINT64_MAX, 0, &store);
    bad.struct_size--;
    REFUSED(rig.manager, &bad, PAGE, 0, &store);
    bad = good;
    bad.arena = 0;
    REFUSED(rig.manager, &bad, PAGE, 0, &store);
    bad.arena = PAGE;
    REFUSED(rig.manager, &bad, PAGE, 0, &store);
    bad = good;
    bad.acceleration = -1;
    REFUSED(rig.manager, &bad, PAGE, 0, &store);
    ck_assert_int_eq(hurdmm_compressed_get_stats(NULL, &stats), EINVAL);
    ck_assert_int_eq(hurdmm_compressed_get_stats(other, &stats), EINVAL);
    store = make(64 * PAGE, true, PAGE);
    ck_assert_int_eq(hurdmm_compressed_get_stats(store, NULL), EINVAL);
    stats.struct_size = 8;
    ck_assert_int_eq(hurdmm_compressed_get_stats(store, &stats), EINVAL);
}
END_TEST

/* ---- Sweeps: the nth call that may fail fails ------------------------------ */

#define SWEEP_MAX 1000u

static uint64_t device_calls, device_nth;

static int (*ram_read)(struct hurdmm_block *, uint64_t, void *, size_t);
static int (*ram_write)(struct hurdmm_block *, uint64_t, const void *, size_t);

static int failing_read(struct hurdmm_block *block, uint64_t offset,
                        void *buffer, size_t length)
{
    return ++device_calls == device_nth
               ? EIO
               : ram_read(block, offset, buffer, length);
}

static int failing_write(struct hurdmm_block *block, uint64_t offset,
                         const void *buffer, size_t length)
{
    return ++device_calls == device_nth
               ? EIO
               : ram_write(block, offset, buffer, length);
}

/* Writes, reads, discards and verbs over more memory than there is; what a call
 * reports as done must be there in the end. */
static void swept_scenario(unsigned *versions, struct hurdmm_store *store)
{
    for (unsigned i = 0; i < 160; i++) {
        unsigned page = i * 7 % 80, version = SAME + i % 4 + 4 * i;

        if (put(store, page, version) == 0)
            versions[page] = version;
        if (i % 20 == 19)
            (void)hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
        if (i % 50 == 49 && hurdmm_store_discard(store, 0, 4 * PAGE) == 0)
            memset(versions, 0, 4 * sizeof *versions);
    }
}

/* One run; whether the failure was met. */
static bool sweep_once(uint64_t port_nth, uint64_t nth, bool for_ever)
{
    struct hurdmm_compressed_options options = {.struct_size = sizeof options,
                                                .arena = 16 * PAGE};
    struct hurdmm_sim_stats before = {.struct_size = sizeof before}, after;
    struct hurdmm_block_ops ops;
    unsigned versions[80] = {0};
    struct hurdmm_store *store;
    int error;

    rig_begin(&rig, 32, 512);
    ops = *rig.ram.block.ops;
    ram_read = ops.read;
    ram_write = ops.write;
    ops.read = failing_read;
    ops.write = failing_write;
    rig.ram.block.ops = &ops;
    options.swap = rig.swap;
    device_calls = 0;
    device_nth = nth;
    hurdmm_sim_get_stats(rig.port, &before);
    hurdmm_sim_fail(rig.port, HURDMM_SIM_MEMORY, port_nth, 0, for_ever);
    error =
        hurdmm_compressed_create(rig.manager, &options, 80 * PAGE, 0, &store);
    ck_assert(error == 0 || error == ENOMEM);
    if (error == 0)
        swept_scenario(versions, store);
    after = before;
    hurdmm_sim_get_stats(rig.port, &after);
    hurdmm_sim_fail(rig.port, 0, 0, 0, 0);
    device_nth = 0;
    /* Pages that could not be written wait until they are asked for. */
    (void)hurdmm_sync_all(rig.manager);
    ck_assert_int_eq(hurdmm_sync_all(rig.manager), 0);
    for (unsigned i = 0; error == 0 && i < 80; i++) {
        unsigned state;

        ck_assert_int_eq(hurdmm_store_state(store, i * PAGE, &state, NULL), 0);
        if (state & HURDMM_STATE_FAILED)
            continue; /* its contents are there, behind an error that stays */
        if (versions[i] == 0)
            expect_page(store, i, 0);
        else
            expect(store, i, versions[i]);
    }
    rig_end(&rig);
    return after.failures != before.failures ||
           (nth > 0 && device_calls >= nth);
}

START_TEST(every_failure_is_survived)
{
    uint64_t nth;

    for (unsigned for_ever = 0; for_ever < 2; for_ever++) {
        for (nth = 1; sweep_once(nth, 0, for_ever != 0); nth++)
            ck_assert_uint_lt(nth, SWEEP_MAX);
        ck_assert_uint_gt(nth, 3);
    }
    for (nth = 1; sweep_once(0, nth, false); nth++)
        ck_assert_uint_lt(nth, SWEEP_MAX);
    ck_assert_uint_gt(nth, 10);
}
END_TEST

/* ---- On all ports --------------------------------------------------------- */

/* A swap space of its own for the port's page size. */
static struct hurdmm_ramdisk disk;
static struct hurdmm_swap *disk_swap;
static void *disk_bytes;

static struct hurdmm_store *drill_store(struct drill *drill, bool swap)
{
    struct hurdmm_compressed_options options = {.struct_size = sizeof options,
                                                .arena = 24 * drill->page};
    struct hurdmm_store *store;
    size_t bytes = 512 * drill->page;

    if (swap) {
        disk_bytes = malloc(bytes);
        ck_assert_ptr_nonnull(disk_bytes);
        ck_assert_int_eq(
            hurdmm_ramdisk_init(&disk, disk_bytes, bytes, drill->page, 0), 0);
        ck_assert_int_eq(
            hurdmm_swap_create(drill->manager, &disk.block, &disk_swap), 0);
        options.swap = disk_swap;
    }
    ck_assert_int_eq(hurdmm_compressed_create(drill->manager, &options,
                                              200 * drill->page - 100, 0,
                                              &store),
                     0);
    return store;
}

START_TEST(random_use_matches_a_model)
{
    struct drill drill;

    if (!drill_begin(&drill, drill_port(_i), 64))
        return;
    drill_take(&drill, drill_store(&drill, true), DRILL_FORGETS, NULL);
    drill_random(&drill, (unsigned)test_scaled(3000), 17);
    drill_end(&drill);
    free(disk_bytes);
}
END_TEST

/* What is asked of the store, and of the swap space, may lie in pages that they
 * have: they are not asked for these while their locks are held. */
START_TEST(its_figures_may_lie_in_it)
{
    struct hurdmm_compressed_stats *stats;
    struct hurdmm_swap_info *info;
    struct drill drill;

    if (!drill_begin(&drill, drill_port(_i), 64))
        return;
    drill_take(&drill, drill_store(&drill, true), DRILL_FORGETS, NULL);
    drill_fill((uint8_t *)drill.address, 8 * drill.page, 0, NOISE);
    stats = (struct hurdmm_compressed_stats *)(drill.address + 2 * drill.page);
    info = (struct hurdmm_swap_info *)(drill.address + 5 * drill.page);
    stats->struct_size = sizeof *stats;
    info->struct_size = sizeof *info;
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(
            hurdmm_store_return(drill.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
        ck_assert_int_eq(i == 0
                             ? hurdmm_compressed_get_stats(drill.store, stats)
                             : hurdmm_swap_get_info(disk_swap, info),
                         0);
    }
    ck_assert_uint_ge(stats->pages_lower, 8);
    ck_assert_uint_ge(info->used, 8 * drill.page);
    memset((void *)drill.address, 0, 8 * drill.page);
    drill_end(&drill);
    free(disk_bytes);
}
END_TEST

START_TEST(threads_use_it_at_once)
{
    struct drill drill;

    if (!drill_begin(&drill, drill_port(_i), 64))
        return;
    drill_take(&drill, drill_store(&drill, true), DRILL_FORGETS, NULL);
    drill_threads(&drill, (unsigned)test_scaled(6000));
    drill_end(&drill);
    free(disk_bytes);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compressed");
    TCase *c = tcase_create("on a simulated machine");

    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, the_arena_keeps_pieces_apart);
    tcase_add_test(c, a_full_arena_is_well_filled);
    tcase_add_test(c, an_arena_that_cannot_hold_a_piece_is_refused);
    tcase_add_test(c, the_table_takes_any_page_and_gives_memory_back);
    tcase_add_test(c, untouched_memory_reads_as_zeros);
    tcase_add_test(c, same_filled_pages_take_no_room);
    tcase_add_test(c, text_shrinks);
    tcase_add_test(c, noise_goes_to_the_swap_space_in_one_piece);
    tcase_add_test(c, noise_without_swap_space_is_kept_as_it_is);
    tcase_add_test(c, a_full_arena_overflows_to_the_swap_space);
    tcase_add_test(c, a_page_changes_its_place_with_its_contents);
    tcase_add_test(c, discarded_pages_are_zeros_and_take_nothing);
    tcase_add_test(c, a_page_that_was_only_read_leaves_without_work);
    tcase_add_test(c, when_all_is_full_the_writer_is_told);
    tcase_add_test(c, a_full_swap_space_is_told_before_the_write);
    tcase_add_test(c, what_was_promised_a_place_can_always_leave);
    tcase_add_test(c, a_copy_outlives_the_store);
    tcase_add_test(c, a_swap_space_that_fails_loses_nothing);
    tcase_add_test(c, a_page_that_cannot_be_noted_takes_no_others_with_it);
    tcase_add_test(c, the_last_page_may_be_cut);
    tcase_add_test(c, a_store_that_grows_goes_on);
    tcase_add_test(c, a_store_may_be_as_long_as_any);
    tcase_add_test(c, the_store_gives_all_its_memory_back);
    tcase_add_test(c, bad_input_is_refused);
    suite_add_tcase(s, c);
    c = tcase_create("sweeps");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, every_failure_is_survived);
    suite_add_tcase(s, c);
    c = tcase_create("on all ports");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, random_use_matches_a_model, 0, DRILL_PORTS);
    tcase_add_loop_test(c, its_figures_may_lie_in_it, 1, DRILL_PORTS);
    tcase_add_loop_test(c, threads_use_it_at_once, 1, DRILL_PORTS);
    suite_add_tcase(s, c);
    Suite *const suites[] = {s};
    return run_suites("tests/modules/test-compressed", suites, 1);
}
