/* SPDX-License-Identifier: MIT */
/* What is written back: in which pieces, what a store may answer, and what is
 * left alone while somebody holds it. */
#include "lib/mm/mm.h"
#include "tests/core/world.h"
#include "tests/support/runner.h"

static struct world world;

/* A store that keeps nothing, and says to each write what it is told to. */
struct sink {
    int answer;
    unsigned outs, syncs;
    size_t odd; /* the length of a write that was not whole blocks */
    size_t block;
};

static int sink_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(buffer, 0, length);
    return 0;
}

static int sink_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
{
    struct sink *sink = hook;
    (void)store;
    (void)buffer;
    sink->outs++;
    if (offset % sink->block != 0 || length % sink->block != 0)
        sink->odd = length;
    if (sink->answer != 0)
        *done = 0;
    return sink->answer;
}

static int sink_sync(struct hurdmm_store *store, void *hook, uint64_t offset,
                     uint64_t length)
{
    struct sink *sink = hook;
    (void)store;
    (void)offset;
    (void)length;
    sink->syncs++;
    return sink->answer;
}

static const struct hurdmm_store_ops sink_ops = {
    .struct_size = sizeof sink_ops,
    .page_in = sink_in,
    .page_out = sink_out,
    .sync = sink_sync,
};

static struct hurdmm_store *make(struct sink *sink, unsigned pages,
                                 unsigned block)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .hook = sink,
        .size = pages * world.page,
        .block_size = block * world.page,
    };
    struct hurdmm_store *store = NULL;
    sink->block = block * world.page;
    ck_assert_int_eq(
        hurdmm_store_create(world.manager, &sink_ops, &options, &store), 0);
    return store;
}

static int put(struct hurdmm_store *store, unsigned page)
{
    static const uint8_t byte = 1;
    size_t done;
    return hurdmm_store_write(store, page * world.page, &byte, 1, &done);
}

/* ---- Pieces --------------------------------------------------------------- */

/* With so many frames the laundry's copies are of three pages. */
START_TEST(what_is_written_comes_in_whole_blocks)
{
    struct world_options options = {.frames = 3 * 1024};
    struct sink sink = {0};
    world_begin(&world, &options);
    struct hurdmm_store *store = make(&sink, 16, 2);
    for (unsigned page = 16; page > 0; page -= 2) /* their frames are no row */
        ck_assert_int_eq(put(store, page - 2), 0);
    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    ck_assert_uint_gt(sink.outs, 1);
    ck_assert_uint_eq(sink.odd, 0);
    ck_assert_uint_eq(world_stats(&world).frames_dirty, 0);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    world_end(&world);
}
END_TEST

/* Who cannot have a copy buffer tries again at the next run. */
START_TEST(no_memory_for_copies_costs_no_memory)
{
    struct world_options options = {.page = 4096, .frames = 2 * 1024};
    struct sink sink = {0};
    void *piece = NULL;
    world_begin(&world, &options);
    struct hurdmm_store *store = make(&sink, 32, 1);
    for (unsigned page = 32; page > 0; page--)
        ck_assert_int_eq(put(store, page - 1), 0);
    /* There is room for the head of a buffer, and none for its bytes. */
    ck_assert_int_eq(hurdmm_allocate(world.manager, 12288, &piece), 0);
    hurdmm_sim_fail(world.port, HURDMM_SIM_CORE_MAP, 1, 0, true);
    while (hurdmm_allocate(world.manager, 8192, &piece) == 0)
        continue;
    uint64_t before = world_stats(&world).core_bytes;
    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    ck_assert_uint_gt(sink.outs, 1);
    ck_assert_uint_eq(world_stats(&world).core_bytes, before);
    hurdmm_sim_fail(world.port, 0, 0, 0, false);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    world_end(&world);
}
END_TEST

/* ---- Answers -------------------------------------------------------------- */

/* Errors that are none; EAGAIN is ours, and says that all is to be looked at
 * again. */
static const int strange[] = {-1, -EIO, 256, 512, 100000, EAGAIN};
#define STRANGE 6

START_TEST(a_strange_answer_to_page_out_counts_as_eio)
{
    struct sink sink = {.answer = strange[_i]};
    unsigned state = 0;
    int error = 0;
    world_begin(&world, NULL);
    struct hurdmm_store *store = make(&sink, 8, 1);
    ck_assert_int_eq(put(store, 0), 0);
    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     EIO);
    ck_assert_int_eq(hurdmm_store_state(store, 0, &state, &error), 0);
    ck_assert(state & HURDMM_STATE_DIRTY && state & HURDMM_STATE_WRITE_ERROR);
    ck_assert_int_eq(error, EIO);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), EIO);
    world_check(&world);
    sink.answer = 0;
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    world_end(&world);
}
END_TEST

START_TEST(a_strange_answer_to_sync_counts_as_eio)
{
    struct sink sink = {.answer = strange[_i]};
    world_begin(&world, NULL);
    struct hurdmm_store *store = make(&sink, 8, 1);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     EIO);
    ck_assert_int_eq(hurdmm_sync_all(world.manager), EIO);
    sink.answer = 0;
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    world_end(&world);
}
END_TEST

/* The store has no memory for its writes: that is no reason to give up while
 * pages could leave that need not be written. */
START_TEST(a_store_that_lacks_memory_is_not_the_librarys_lack)
{
    struct sink sink = {.answer = ENOMEM}, other = {0};
    uint8_t byte;
    size_t done;
    world_begin(&world, NULL);
    struct hurdmm_store *store = make(&sink, 64, 1);
    struct hurdmm_store *clean = make(&other, 64, 1);
    for (unsigned page = 0; page < 12; page++)
        ck_assert_int_eq(put(store, page), 0);
    for (unsigned page = 0; page < 64; page++)
        ck_assert_int_eq(
            hurdmm_store_read(clean, page * world.page, &byte, 1, &done), 0);
    sink.answer = 0;
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DROP), 0);
    ck_assert_int_eq(hurdmm_store_destroy(clean, 0), 0);
    world_end(&world);
}
END_TEST

/* ---- Holds ---------------------------------------------------------------- */

static struct disk *held, *slow;
static int flushed[2], copied;

static void flush_held(void *argument)
{
    (void)argument;
    flushed[0] = hurdmm_store_flush(held->store, 0, HURDMM_WHOLE, HURDMM_WAIT);
}

static void flush_slow(void *argument)
{
    (void)argument;
    flushed[1] = hurdmm_store_flush(slow->store, 0, HURDMM_WHOLE, HURDMM_WAIT);
}

static void copy_to_both(void *argument)
{
    struct hurdmm_container *source = argument;
    struct hurdmm_copy_range ranges[] = {
        {hurdmm_store_container(held->store), 0, source, 0, 4 * world.page},
        {hurdmm_store_container(slow->store), 0, source, 4 * world.page,
         4 * world.page},
    };
    copied = hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SQUASH);
}

/* A copy holds its first target while it waits for the second: meanwhile nobody
 * may begin to write what it is about to replace. */
START_TEST(what_is_held_is_written_after_that)
{
    struct hurdmm_container *source = NULL;
    uint8_t bytes[8 * WORLD_PAGE];
    uint64_t got;
    size_t done;
    world_begin(&world, NULL);
    memset(bytes, 0x5a, sizeof bytes);
    held = world_disk(&world, 8 * world.page, HURDMM_STORE_VOLATILE);
    slow = world_disk(&world, 8 * world.page, HURDMM_STORE_VOLATILE);
    ck_assert_int_eq(hurdmm_container_create(world.manager, &source), 0);
    ck_assert_int_eq(
        hurdmm_container_allocate(source, 0, sizeof bytes, 0, &got), 0);
    ck_assert_int_eq(
        hurdmm_container_write(source, 0, bytes, sizeof bytes, &done), 0);
    ck_assert_int_eq(put(held->store, 1), 0);
    ck_assert_int_eq(put(slow->store, 1), 0);
    flushed[0] = flushed[1] = copied = -1;
    slow->hold_out = held->hold_out = true;
    world_spawn(&world, flush_slow, NULL);
    hurdmm_sim_settle(world.port);
    world_spawn(&world, copy_to_both, source);
    hurdmm_sim_settle(world.port);
    world_spawn(&world, flush_held, NULL);
    hurdmm_sim_settle(world.port);
    ck_assert_int_eq(copied, -1);
    slow->hold_out = false;
    hurdmm_sim_settle(world.port);
    held->hold_out = false;
    world_run(&world);
    ck_assert_int_eq(copied, 0);
    ck_assert_int_eq(flushed[0], 0);
    ck_assert_int_eq(flushed[1], 0);
    ck_assert_int_eq(
        hurdmm_store_read(held->store, world.page, bytes, 1, &done), 0);
    ck_assert_uint_eq(bytes[0], 0x5a);
    ck_assert_int_eq(hurdmm_container_destroy(source), 0);
    world_end(&world);
}
END_TEST

/* ---- Accounts ------------------------------------------------------------- */

/* An account of four pages that pays for the store. */
static struct hurdmm_account *four_pages(struct hurdmm_store *store)
{
    struct hurdmm_account *account = NULL;
    ck_assert_int_eq(hurdmm_account_split(hurdmm_account_own(world.manager),
                                          4 * world.page, &account),
                     0);
    ck_assert_int_eq(hurdmm_account_pay(account, hurdmm_store_container(store)),
                     0);
    return account;
}

/* What could not be written is no way to come by room: who asks for more is told
 * so at once. */
START_TEST(an_account_full_of_failed_pages_says_so)
{
    struct sink sink = {0};
    uint8_t byte;
    size_t done;
    world_begin(&world, NULL);
    struct hurdmm_store *store = make(&sink, 16, 1);
    struct hurdmm_account *account = four_pages(store);
    for (unsigned page = 0; page < 4; page++)
        ck_assert_int_eq(put(store, page), 0);
    sink.answer = EIO;
    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     EIO);
    ck_assert_int_eq(hurdmm_store_read(store, 8 * world.page, &byte, 1, &done),
                     EDQUOT);
    sink.answer = 0;
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DROP), 0);
    ck_assert_int_eq(hurdmm_account_destroy(account), 0);
    world_end(&world);
}
END_TEST

/* Nor is it that all of them were lent just now. */
START_TEST(an_account_may_be_full_of_pages_that_were_just_lent)
{
    struct sink sink = {0};
    world_begin(&world, NULL);
    struct hurdmm_store *store = make(&sink, 16, 1);
    struct hurdmm_account *account = four_pages(store);
    for (unsigned page = 0; page < 16; page++)
        ck_assert_int_eq(put(store, page), 0);
    ck_assert_uint_gt(sink.outs, 0);
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DROP), 0);
    ck_assert_int_eq(hurdmm_account_destroy(account), 0);
    world_end(&world);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("laundry");
    TCase *c = tcase_create("laundry");
    tcase_add_test(c, what_is_written_comes_in_whole_blocks);
    tcase_add_test(c, no_memory_for_copies_costs_no_memory);
    tcase_add_loop_test(c, a_strange_answer_to_page_out_counts_as_eio, 0,
                        STRANGE);
    tcase_add_loop_test(c, a_strange_answer_to_sync_counts_as_eio, 0, STRANGE);
    tcase_add_test(c, a_store_that_lacks_memory_is_not_the_librarys_lack);
    tcase_add_test(c, what_is_held_is_written_after_that);
    tcase_add_test(c, an_account_full_of_failed_pages_says_so);
    tcase_add_test(c, an_account_may_be_full_of_pages_that_were_just_lent);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-laundry", suites, 1);
}
