/* SPDX-License-Identifier: MIT */
/* Which pages were written: by faults, and noted by the kernel. */
#include "tests/linux/rig.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/wait.h>

#include <hurdmm/host.h>

#define PAGES 128u

static struct rig rig;

static const struct {
    struct rig_options rig;
    bool wired;
} ways[] = {
    {{.pages = PAGES, .budget = 48}, false},
    {{.pages = PAGES, .budget = 48, .bind_flags = HURDMM_BIND_INLINE}, false},
    {{.pages = PAGES, .budget = 4 * PAGES}, true},
};

#define WAYS ((int)(sizeof ways / sizeof ways[0]))
#define WIRED (WAYS - 1)

static int bind_wired(void)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = rig.space,
        .store = rig.store,
        .length = PAGES * PAGE,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .flags = HURDMM_BIND_WIRED,
    };
    return hurdmm_bind(&bind, &rig.region);
}

static bool begin(int way)
{
    if (!rig_open(&rig, &ways[way].rig))
        return false;
    if (!ways[way].wired)
        return true;
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, PAGES * PAGE), 0);
    int error = bind_wired();
    if (!error)
        return true;
    ck_assert_int_eq(error, ENOTSUP);
    test_skip("the kernel does not note writes");
    rig_close(&rig);
    return false;
}

/* Marks the pages that a scan finds. */
static void scan(unsigned flags, bool *found)
{
    struct hurdmm_dirty rows[8];
    size_t count, done;
    memset(found, 0, PAGES * sizeof *found);
    for (uintptr_t at = rig.region; at < rig.region + PAGES * PAGE;
         at += done) {
        ck_assert_int_eq(hurdmm_region_scan_dirty(
                             rig.space, at, rig.region + PAGES * PAGE - at,
                             flags, rows, 8, &count, &done),
                         0);
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < rows[i].length / PAGE; k++)
                found[(rows[i].address - rig.region) / PAGE + k] = true;
    }
}

START_TEST(scans_find_what_was_written_and_nothing_else)
{
    static bool written[PAGES], found[PAGES];
    uint32_t state = 1;
    if (!begin(_i))
        return;
    scan(HURDMM_SCAN_CLEAR, found);
    scan(0, found);
    ck_assert_int_eq(memcmp(found, written, sizeof found), 0);
    for (unsigned round = 0; round < 40; round++) {
        bool clears = round % 4 == 3;
        for (unsigned i = 0; i < 12; i++) {
            state = state * 1664525 + 1013904223;
            unsigned page = (state >> 8) % PAGES;
            if (state >> 31) {
                *rig_at(&rig, page) = (uint8_t)i;
                written[page] = true;
            } else {
                (void)*rig_at(&rig, page);
            }
        }
        if (round % 8 == 5)
            ck_assert_int_eq(
                hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
        scan(clears ? HURDMM_SCAN_CLEAR : 0, found);
        for (unsigned i = 0; i < PAGES; i++)
            ck_assert_msg(found[i] == written[i], "round %u, page %u", round,
                          i);
        if (clears)
            memset(written, 0, sizeof written);
    }
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* ---- Races ---- */

#define WRITERS 2u

static atomic_uint running;

/* Writes its own half of all pages again and again, the highest count last. */
static void *write_on(void *argument)
{
    unsigned self = (unsigned)(uintptr_t)argument;
    uint32_t state = self + 1;
    for (size_t i = 1; i <= test_scaled(20000); i++) {
        state = state * 1664525 + 1013904223;
        unsigned page = (state >> 8) % (PAGES / WRITERS) * WRITERS + self;
        volatile uint32_t *word = (volatile uint32_t *)rig_at(&rig, page);
        word[1] = word[0] = (uint32_t)i;
    }
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static uint32_t copies[PAGES];

/* Copies what a scan names: what is written meanwhile is named the next time. */
static void follow(void)
{
    static bool found[PAGES];
    size_t done;
    scan(HURDMM_SCAN_CLEAR, found);
    for (unsigned i = 0; i < PAGES; i++)
        if (found[i])
            ck_assert_int_eq(hurdmm_read(rig.space, rig.region + i * PAGE + 4,
                                         &copies[i], sizeof copies[i], &done),
                             0);
}

START_TEST(who_follows_scans_misses_no_write_of_other_threads)
{
    pthread_t threads[WRITERS];
    if (!begin(_i))
        return;
    memset(copies, 0, sizeof copies);
    for (unsigned i = 0; i < PAGES; i++)
        memset((void *)(uintptr_t)rig_at(&rig, i), 0, 8);
    follow(); /* from the first scan on nothing is missed */
    atomic_store(&running, WRITERS);
    for (unsigned i = 0; i < WRITERS; i++)
        ck_assert_int_eq(
            pthread_create(&threads[i], NULL, write_on, (void *)(uintptr_t)i),
            0);
    for (unsigned round = 0; atomic_load(&running) > 0; round++) {
        follow();
        if (round % 3 == 0)
            ck_assert_int_eq(
                hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    follow();
    for (unsigned i = 0; i < PAGES; i++)
        ck_assert_uint_eq(((volatile uint32_t *)rig_at(&rig, i))[1], copies[i]);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* ---- What the kernel notes ---- */

START_TEST(writes_to_wired_pages_are_no_faults)
{
    static bool found[PAGES];
    if (!begin(WIRED))
        return;
    struct hurdmm_linux_counters before = rig_counters(&rig);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < PAGES; i += 3)
            *rig_at(&rig, i) = (uint8_t)round;
        scan(HURDMM_SCAN_CLEAR, found);
        for (unsigned i = 0; i < PAGES; i++)
            ck_assert_int_eq(found[i], i % 3 == 0);
    }
    struct hurdmm_linux_counters after = rig_counters(&rig);
    ck_assert_uint_eq(after.faults, before.faults);
    ck_assert_uint_eq(after.faults_inline, before.faults_inline);
    rig_close(&rig);
}
END_TEST

START_TEST(writes_by_calls_to_wired_pages_are_noted)
{
    static bool found[PAGES];
    size_t done;
    int ends[2];
    if (!begin(WIRED))
        return;
    ck_assert_int_eq(
        hurdmm_write(rig.space, rig.region + 3 * PAGE, "three", 5, &done), 0);
    ck_assert_int_eq(hurdmm_store_write(rig.store, 5 * PAGE, "five", 4, &done),
                     0);
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "seven", 5), 5);
    ck_assert_int_eq(read(ends[0], (void *)(rig.region + 7 * PAGE), 5), 5);
    (void)close(ends[0]);
    (void)close(ends[1]);
    scan(0, found);
    for (unsigned i = 0; i < PAGES; i++)
        ck_assert_int_eq(found[i], i == 3 || i == 5 || i == 7);
    ck_assert_uint_eq(*rig_at(&rig, 3), 't');
    ck_assert_uint_eq(*rig_at(&rig, 5), 'f');
    ck_assert_uint_eq(*rig_at(&rig, 7), 's');
    rig_close(&rig);
}
END_TEST

START_TEST(wired_pages_are_in_the_store_when_they_are_unbound)
{
    if (!begin(WIRED))
        return;
    for (unsigned round = 1; round < 4; round++) {
        for (unsigned i = 0; i < PAGES; i++)
            *rig_at(&rig, i) = (uint8_t)(i ^ round);
        ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, PAGE), 0);
        ck_assert_int_eq(
            hurdmm_unbind(rig.space, rig.region + PAGE, (PAGES - 1) * PAGE), 0);
        ck_assert_int_eq(
            hurdmm_store_return(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
        for (unsigned i = 0; i < PAGES; i++)
            ck_assert_uint_eq(rig.disk[i * PAGE], (uint8_t)(i ^ round));
        ck_assert_int_eq(bind_wired(), 0);
    }
    rig_close(&rig); /* one that nobody has unbound */
}
END_TEST

static void touch(void *argument)
{
    (void)*(volatile uint8_t *)argument;
}

/* Before the wired pages and after them the rig's store, whose pages are written
 * back under pressure: the right to write is taken from many at once. */
#define AROUND 512u
#define BEFORE 64u
#define BETWEEN 32u

static int bind_piece(struct hurdmm_store *store, size_t first, size_t pages,
                      unsigned flags)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = rig.space,
        .store = store,
        .offset = store == rig.store ? first * PAGE : 0,
        .address = rig.region + first * PAGE,
        .length = pages * PAGE,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .flags = HURDMM_BIND_EXACT | flags,
    };
    uintptr_t address;
    return hurdmm_bind(&bind, &address);
}

/* Binds the rig's store anew, with wired pages in place of some; false:
 * skipped. */
static bool begin_between(void)
{
    const struct rig_options options = {.pages = AROUND, .budget = AROUND / 2};
    struct hurdmm_store *store;
    if (!rig_open(&rig, &options))
        return false;
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, AROUND * PAGE), 0);
    ck_assert_int_eq(
        hurdmm_anonymous_create(rig.manager, NULL, BETWEEN * PAGE, 0, &store),
        0);
    void *place = mmap(NULL, AROUND * PAGE, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(place, MAP_FAILED);
    ck_assert_int_eq(munmap(place, AROUND * PAGE), 0);
    rig.region = (uintptr_t)place;
    int error = bind_piece(store, BEFORE, BETWEEN, HURDMM_BIND_WIRED);
    if (error) {
        ck_assert_int_eq(error, ENOTSUP);
        test_skip("the kernel does not note writes");
        rig_close(&rig);
        return false;
    }
    ck_assert_int_eq(bind_piece(rig.store, 0, BEFORE, 0), 0);
    ck_assert_int_eq(
        bind_piece(rig.store, BEFORE + BETWEEN, AROUND - BEFORE - BETWEEN, 0),
        0);
    return true;
}

START_TEST(write_back_on_both_sides_leaves_the_notes_of_wired_pages)
{
    struct hurdmm_dirty row;
    size_t count = 0, done;
    if (!begin_between())
        return;
    uintptr_t wired = rig.region + BEFORE * PAGE;
    for (unsigned i = 0; i < BETWEEN; i++)
        *rig_at(&rig, BEFORE + i) = 1;
    for (unsigned i = 0; i < 8 * AROUND; i++) {
        unsigned page = i * 37 % AROUND;
        if (page < BEFORE || page >= BEFORE + BETWEEN)
            *rig_at(&rig, page) = (uint8_t)i;
    }
    ck_assert_uint_gt(atomic_load(&rig.writes), 0);
    ck_assert_int_eq(hurdmm_region_scan_dirty(rig.space, wired, BETWEEN * PAGE,
                                              0, &row, 1, &count, &done),
                     0);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(row.address, wired);
    ck_assert_uint_eq(row.length, BETWEEN * PAGE);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(what_is_lost_of_wired_pages_is_a_signal_and_never_zeros)
{
    catch_install();
    if (!begin(WIRED))
        return;
    int status = in_child(touch, (void *)(uintptr_t)rig_at(&rig, 1));
    ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    ck_assert_int_eq(
        madvise((void *)(uintptr_t)rig_at(&rig, 3), PAGE, MADV_DONTNEED), 0);
    ck_assert_int_ne(try_read(rig_at(&rig, 3)), 0);
    ck_assert_int_ne(try_write(rig_at(&rig, 3), 1), 0);
    ck_assert_uint_eq(*rig_at(&rig, 4), 5);
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, PAGES * PAGE), 0);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* Kernels, or users, without: the same by faults. */
START_TEST(without_the_kernels_notes_scans_find_the_same)
{
    static const unsigned lacks[] = {HURDMM_LINUX_NO_ASYNC,
                                     HURDMM_LINUX_NO_PROC};
    static bool found[PAGES];
    struct rig_options options = ways[0].rig;
    char text[1024];
    options.port_flags = lacks[_i];
    if (!rig_open(&rig, &options))
        return;
    uintptr_t region = rig.region;
    ck_assert_int_eq(hurdmm_port_describe(rig.port, text, sizeof text), 0);
    ck_assert_ptr_nonnull(strstr(text, "writes noted by faults"));
    ck_assert_ptr_null(strstr(text, "or the kernel"));
    ck_assert_int_eq(hurdmm_unbind(rig.space, region + PAGE, PAGE), 0);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = rig.space,
        .store = rig.store,
        .offset = PAGE,
        .address = region + PAGE,
        .length = PAGE,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .flags = HURDMM_BIND_WIRED,
    };
    uintptr_t at = 1;
    ck_assert_int_eq(hurdmm_bind(&bind, &at), ENOTSUP);
    ck_assert_uint_eq(at, 1);
    bind.flags = HURDMM_BIND_EXACT;
    ck_assert_int_eq(hurdmm_bind(&bind, &at), 0);
    scan(HURDMM_SCAN_CLEAR, found);
    for (unsigned i = 0; i < PAGES; i += 3)
        *rig_at(&rig, i) = 1;
    scan(0, found);
    for (unsigned i = 0; i < PAGES; i++)
        ck_assert_int_eq(found[i], i % 3 == 0);
    rig_close(&rig);
}
END_TEST

/* ---- First writes ---- */

static atomic_uint calls;
static uint8_t before[PAGES];

static int tell(void *hook, struct hurdmm_space *space, uintptr_t address)
{
    size_t done;
    (void)hook;
    int error = hurdmm_read(space, address,
                            &before[(address - rig.region) / PAGE], 1, &done);
    atomic_fetch_add(&calls, 1);
    return error;
}

static void *write_all(void *argument)
{
    for (unsigned i = 0; i < PAGES; i++)
        __atomic_store_n(rig_at(&rig, i), (uint8_t)(uintptr_t)argument,
                         __ATOMIC_RELAXED); /* others do so too */
    return NULL;
}

/* What was there at the beginning can be had of every page, once. */
START_TEST(first_writes_are_told_before_they_come_whoever_writes)
{
    pthread_t threads[WRITERS];
    if (!begin(0))
        return;
    atomic_store(&calls, 0);
    int error = hurdmm_region_on_first_write(rig.space, rig.region,
                                             PAGES * PAGE, tell, NULL);
    if (rig_is_inline(&rig, &ways[0].rig)) {
        ck_assert_int_eq(error, ENOTSUP);
        rig_close(&rig);
        return;
    }
    ck_assert_int_eq(error, 0);
    for (unsigned i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_all,
                                        (void *)(uintptr_t)(200 + i)),
                         0);
    for (unsigned i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&calls), PAGES);
    for (unsigned i = 0; i < PAGES; i++)
        ck_assert_uint_eq(before[i], i + 1);
    rig_close(&rig);
}
END_TEST

START_TEST(inline_regions_tell_nobody)
{
    if (!rig_open(&rig, &ways[1].rig))
        return;
    ck_assert_int_eq(
        hurdmm_region_on_first_write(rig.space, rig.region, PAGE, tell, NULL),
        ENOTSUP);
    rig_close(&rig);
}
END_TEST

void dirty_cases(Suite *suite)
{
    TCase *t = tcase_create("dirty");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, scans_find_what_was_written_and_nothing_else, 0,
                        WAYS);
    tcase_add_loop_test(t, who_follows_scans_misses_no_write_of_other_threads,
                        0, WAYS);
    tcase_add_test(t, writes_to_wired_pages_are_no_faults);
    tcase_add_test(t, writes_by_calls_to_wired_pages_are_noted);
    tcase_add_test(t, wired_pages_are_in_the_store_when_they_are_unbound);
    tcase_add_test(t, write_back_on_both_sides_leaves_the_notes_of_wired_pages);
    tcase_add_test(t, what_is_lost_of_wired_pages_is_a_signal_and_never_zeros);
    tcase_add_loop_test(t, without_the_kernels_notes_scans_find_the_same, 0, 2);
    tcase_add_test(t, first_writes_are_told_before_they_come_whoever_writes);
    tcase_add_test(t, inline_regions_tell_nobody);
    suite_add_tcase(suite, t);
}
