/* SPDX-License-Identifier: MIT */
/* What the rest of the program does while memory is paged: fork, madvise, and
 * users who may not have everything. */
#include "tests/linux/rig.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/wait.h>

static const struct rig_options ways[] = {
    {.pages = 256, .budget = 64},
    {.pages = 256, .budget = 64, .bind_flags = HURDMM_BIND_INLINE},
};

#define WAYS 2

static struct rig rig;

static void touch(void *argument)
{
    (void)*(volatile uint8_t *)argument;
}

START_TEST(a_child_gets_a_signal_and_never_zeros)
{
    if (!rig_open(&rig, &ways[_i]))
        return;
    ck_assert_uint_eq(*rig_at(&rig, 1), 2);
    for (size_t i = 1; i < 200; i += 150) {
        int status = in_child(touch, (void *)(uintptr_t)rig_at(&rig, i));
        /* A sanitizer turns the signal into a report and an exit. */
        ck_assert(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
        if (WIFSIGNALED(status))
            ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
    }
    ck_assert_uint_eq(*rig_at(&rig, 199), 200);
    rig_close(&rig);
}
END_TEST

static void use_handles(void *argument)
{
    size_t done;
    uint8_t byte;
    (void)argument;
    if (hurdmm_store_read(rig.store, 0, &byte, 1, &done) != ESTALE ||
        hurdmm_linux_destroy(rig.port) != ESTALE)
        _exit(1);
    struct rig own;
    if (!rig_open(&own, &ways[0]) || *rig_at(&own, 7) != 8)
        _exit(2);
    rig_close(&own);
}

START_TEST(in_a_child_handles_are_stale_and_a_new_port_works)
{
    if (!rig_open(&rig, &ways[_i]))
        return;
    ck_assert_uint_eq(*rig_at(&rig, 1), 2);
    ck_assert_int_eq(in_child(use_handles, NULL), 0);
    rig_close(&rig);
}
END_TEST

START_TEST(what_the_program_drops_is_discarded)
{
    if (!rig_open(&rig, &ways[_i]))
        return;
    for (size_t i = 0; i < 8; i++)
        *rig_at(&rig, i) = 99;
    ck_assert_int_eq(madvise((void *)rig.region, 8 * PAGE, MADV_DONTNEED), 0);
    ck_assert_uint_eq(*rig_at(&rig, 0), 1);
    *rig_at(&rig, 1) = 50;
    ck_assert_uint_eq(rig_at(&rig, 1)[1], 2);
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(rig.disk[PAGE], 50);
    for (size_t i = 2; i < 8; i++)
        ck_assert_uint_eq(rig.disk[i * PAGE], i + 1);
    for (size_t i = 0; i < rig.pages; i++)
        ck_assert_uint_eq(rig_at(&rig, i)[2], (uint8_t)(i + 1));
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(what_was_dropped_is_written_by_the_library_whole)
{
    uint8_t byte = 77;
    size_t done;
    if (!rig_open(&rig, &ways[_i]))
        return;
    *rig_at(&rig, 3) = 99;
    ck_assert_int_eq(
        madvise((void *)(rig.region + 3 * PAGE), PAGE, MADV_DONTNEED), 0);
    ck_assert_int_eq(
        hurdmm_store_write(rig.store, 3 * PAGE + 5, &byte, 1, &done), 0);
    ck_assert_uint_eq(rig_at(&rig, 3)[5], 77);
    ck_assert_uint_eq(rig_at(&rig, 3)[6], 4);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(what_was_dropped_is_no_neighbour)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind};
    if (!rig_open(&rig, &ways[_i]))
        return;
    for (size_t i = 0; i < 8; i++)
        ck_assert_uint_eq(*rig_at(&rig, i), i + 1);
    ck_assert_int_eq(
        madvise((void *)(rig.region + 3 * PAGE), PAGE, MADV_DONTNEED), 0);
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, rig.pages * PAGE), 0);
    bind.space = rig.space;
    bind.store = rig.store;
    bind.length = rig.pages * PAGE;
    bind.rights = HURDMM_READ | HURDMM_WRITE;
    bind.flags = ways[_i].bind_flags;
    ck_assert_int_eq(hurdmm_bind(&bind, &rig.region), 0);
    for (size_t i = 0; i < 8; i++)
        ck_assert_uint_eq(*rig_at(&rig, i), i + 1);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* ---- The program unmaps ---- */

#define HOLE ((size_t)40) /* the first page that is unmapped, and how many */
#define HOLE_PAGES ((size_t)48)

/* The last are of shared stores: there nothing may be mapped in place of what was
 * unmapped. */
static const struct rig_options hole_ways[] = {
    {.pages = 256, .budget = 64},
    {.pages = 256, .budget = 64, .bind_flags = HURDMM_BIND_INLINE},
    {.pages = 256, .budget = 64, .store_flags = HURDMM_STORE_SHARED},
    {.pages = 256,
     .budget = 64,
     .store_flags = HURDMM_STORE_SHARED,
     .bind_flags = HURDMM_BIND_INLINE},
};

#define HOLE_WAYS 4

static bool in_hole(size_t page)
{
    return page - HOLE < HOLE_PAGES;
}

static uint64_t frames_used(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(hurdmm_get_stats(rig.manager, &stats), 0);
    return stats.frames_used;
}

/* Of the pages of the hole, some are there, some are dirty, some are absent. */
static void make_hole(void)
{
    for (size_t i = HOLE - 8; i < HOLE + HOLE_PAGES / 2; i++) {
        ck_assert_uint_eq(*rig_at(&rig, i), i + 1);
        if (i % 2)
            rig_at(&rig, i)[1] = 99;
    }
    ck_assert_int_eq(
        munmap((void *)(uintptr_t)rig_at(&rig, HOLE), HOLE_PAGES * PAGE), 0);
}

/* Everything beside the hole, several times, so that all leaves memory. */
static void use_the_rest(void)
{
    for (unsigned round = 0; round < 3; round++)
        for (size_t i = 0; i < rig.pages; i++)
            if (!in_hole(i))
                ck_assert_uint_eq(*rig_at(&rig, i), (uint8_t)(i + 1));
}

START_TEST(what_the_program_unmaps_is_detached)
{
    size_t done;
    catch_install();
    if (!rig_open(&rig, &hole_ways[_i]))
        return;
    make_hole();
    use_the_rest();
    for (size_t i = HOLE; i < HOLE + HOLE_PAGES; i += 7) {
        ck_assert_int_eq(try_read(rig_at(&rig, i)), SIGSEGV);
        ck_assert_int_eq(try_write(rig_at(&rig, i), 1), SIGSEGV);
    }
    ck_assert_int_eq(hurdmm_populate(rig.space,
                                     (uintptr_t)rig_at(&rig, HOLE - 2),
                                     4 * PAGE, HURDMM_READ, &done),
                     ENOENT);
    ck_assert_uint_eq(done, 2 * PAGE);
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    bool shared = hole_ways[_i].store_flags & HURDMM_STORE_SHARED;
    if (!shared)
        ck_assert_uint_gt(rig_counters(&rig).pages_detached, 0);
    rig_check(&rig);
    /* What was written beside the hole is there, and in it is not, unless it is
     * in an object of which the range was a view. */
    for (size_t i = HOLE - 7; i < HOLE + HOLE_PAGES / 2; i += 2)
        ck_assert_uint_eq(rig.disk[i * PAGE + 1],
                          in_hole(i) && !shared ? i + 1 : 99);
    rig_close(&rig);
}
END_TEST

START_TEST(a_region_that_the_program_unmapped_is_unbound_and_leaks_nothing)
{
    size_t done;
    uint8_t byte;
    if (!rig_open(&rig, &hole_ways[_i]))
        return;
    make_hole();
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, rig.pages * PAGE), 0);
    for (size_t i = 0; i < rig.pages; i++) {
        ck_assert_int_eq(
            hurdmm_store_read(rig.store, i * PAGE, &byte, 1, &done), 0);
        ck_assert_uint_eq(byte, (uint8_t)(i + 1));
    }
    ck_assert_int_eq(
        hurdmm_store_return(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_uint_eq(frames_used(), 0);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(no_write_is_missed_behind_what_the_program_mapped)
{
    size_t done;
    if (!rig_open(&rig, &hole_ways[_i]))
        return;
    /* In one go, so that they are a row of frames. */
    ck_assert_int_eq(hurdmm_populate(rig.space, rig.region, 16 * PAGE,
                                     HURDMM_READ | HURDMM_WRITE, &done),
                     0);
    for (size_t i = 0; i < 16; i++)
        *rig_at(&rig, i) = 98;
    void *own = (void *)(uintptr_t)rig_at(&rig, 4);
    ck_assert_ptr_eq(mmap(own, PAGE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                     own);
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (size_t i = 5; i < 16; i++)
        *rig_at(&rig, i) = 99;
    ck_assert_int_eq(
        hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (size_t i = 5; i < 16; i++)
        ck_assert_uint_eq(rig.disk[i * PAGE], 99);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(what_the_program_maps_where_it_unmapped_is_its_own)
{
    if (!rig_open(&rig, &hole_ways[_i]))
        return;
    make_hole();
    uint8_t *own =
        mmap((void *)(uintptr_t)rig_at(&rig, HOLE), HOLE_PAGES * PAGE,
             PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    ck_assert_ptr_eq(own, (void *)(uintptr_t)rig_at(&rig, HOLE));
    memset(own, 77, HOLE_PAGES * PAGE);
    use_the_rest();
    ck_assert_int_eq(
        hurdmm_store_return(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, rig.pages * PAGE), 0);
    for (size_t i = 0; i < HOLE_PAGES * PAGE; i++)
        ck_assert_uint_eq(own[i], 77);
    for (size_t i = HOLE; i < HOLE + HOLE_PAGES; i++)
        ck_assert_uint_eq(rig.disk[i * PAGE + 1], i + 1);
    munmap(own, HOLE_PAGES * PAGE);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* ---- A page that is at one address at a time ---- */

static const struct rig_options single_ways[] = {
    {.pages = 64,
     .budget = 32,
     .port_flags = HURDMM_LINUX_NO_SHARED,
     .store_flags = HURDMM_STORE_SHARED},
    {.pages = 64,
     .budget = 32,
     .port_flags = HURDMM_LINUX_NO_SHARED,
     .store_flags = HURDMM_STORE_SHARED,
     .bind_flags = HURDMM_BIND_INLINE},
};

/* The store at a second address. */
static volatile uint8_t *bind_again(const struct rig_options *way)
{
    uintptr_t again = 0;
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = rig.space,
        .store = rig.store,
        .length = rig.pages * PAGE,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .flags = way->bind_flags,
    };
    ck_assert_int_eq(hurdmm_bind(&bind, &again), 0);
    return (volatile uint8_t *)again;
}

START_TEST(what_was_dropped_at_one_address_is_read_anew_at_another)
{
    if (!rig_open(&rig, &single_ways[_i]))
        return;
    volatile uint8_t *again = bind_again(&single_ways[_i]);
    ck_assert_uint_eq(*rig_at(&rig, 3), 4);
    ck_assert_int_eq(
        madvise((void *)(uintptr_t)rig_at(&rig, 3), PAGE, MADV_DONTNEED), 0);
    ck_assert_uint_eq(again[3 * PAGE], 4);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(what_the_program_maps_is_not_taken_for_a_page_wanted_elsewhere)
{
    if (!rig_open(&rig, &single_ways[_i]))
        return;
    volatile uint8_t *again = bind_again(&single_ways[_i]);
    ck_assert_uint_eq(*rig_at(&rig, 3), 4);
    uint8_t *own = (uint8_t *)(uintptr_t)rig_at(&rig, 3);
    ck_assert_int_eq(munmap(own, PAGE), 0);
    ck_assert_ptr_eq(mmap(own, PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                          0),
                     own);
    memset(own, 77, PAGE);
    ck_assert_uint_eq(again[3 * PAGE], 4);
    for (size_t i = 0; i < PAGE; i++)
        ck_assert_uint_eq(own[i], 77);
    rig_check(&rig);
    ck_assert_int_eq(hurdmm_unbind(rig.space, rig.region, rig.pages * PAGE), 0);
    ck_assert_uint_eq(own[0], 77);
    munmap(own, PAGE);
    rig_close(&rig);
}
END_TEST

/* Threads that read and write while others madvise and fork. */

static atomic_int stop;
/* Check's assertions take a lock, which a forked child may find taken. */
static atomic_uint wrong;

static void *work(void *argument)
{
    uint32_t state = (uint32_t)(uintptr_t)argument;
    while (!atomic_load(&stop)) {
        state = state * 1664525 + 1013904223;
        size_t page = (state >> 8) % rig.pages;
        if (rig_at(&rig, page)[7] != (uint8_t)(page + 1))
            atomic_fetch_add(&wrong, 1);
        if (state >> 31)
            rig_at(&rig, page)[9] = (uint8_t)(page + 1);
    }
    return NULL;
}

static void *drop(void *argument)
{
    uint32_t state = 5;
    (void)argument;
    while (!atomic_load(&stop)) {
        state = state * 1664525 + 1013904223;
        size_t page = (state >> 8) % (rig.pages - 4);
        (void)madvise((void *)(rig.region + page * PAGE), 4 * PAGE,
                      MADV_DONTNEED);
        usleep(100);
    }
    return NULL;
}

static void *map_and_unmap(void *argument)
{
    (void)argument;
    while (!atomic_load(&stop)) {
        volatile uint8_t *piece = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *piece = 1;
        (void)munmap((void *)(uintptr_t)piece, 64 * PAGE);
    }
    return NULL;
}

START_TEST(a_storm_of_madvise_munmap_and_fork_changes_nothing)
{
    void *(*bodies[])(void *) = {work, work, drop, map_and_unmap};
    pthread_t threads[4];
    if (!rig_open(&rig, &ways[_i]))
        return;
    atomic_store(&stop, 0);
    atomic_store(&wrong, 0);
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, bodies[i], (void *)(i + 1));
    size_t forks = test_scaled(40);
    for (size_t i = 0; i < forks; i++) {
        int status = 1;
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (waitpid(child, &status, 0) != child || status)
            atomic_fetch_add(&wrong, 1);
        (void)hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    }
    atomic_store(&stop, 1);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(atomic_load(&wrong), 0);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(without_any_descriptor_the_port_says_so)
{
    struct hurdmm_linux_options options = {
        .struct_size = sizeof options,
        .flags = HURDMM_LINUX_NO_DEVICE | HURDMM_LINUX_NO_CALL |
                 HURDMM_LINUX_NO_USER,
    };
    struct hurdmm_port *port = NULL;
    ck_assert_int_eq(hurdmm_linux_create(&options, &port), ENOTSUP);
    ck_assert_ptr_null(port);
}
END_TEST

void strangers_cases(Suite *suite)
{
    TCase *tcase = tcase_create("strangers");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, a_child_gets_a_signal_and_never_zeros, 0, WAYS);
    tcase_add_loop_test(
        tcase, in_a_child_handles_are_stale_and_a_new_port_works, 0, WAYS);
    tcase_add_loop_test(tcase, what_the_program_drops_is_discarded, 0, WAYS);
    tcase_add_loop_test(tcase, what_was_dropped_is_written_by_the_library_whole,
                        0, WAYS);
    tcase_add_loop_test(tcase, what_was_dropped_is_no_neighbour, 0, WAYS);
    tcase_add_loop_test(tcase, what_the_program_unmaps_is_detached, 0,
                        HOLE_WAYS);
    tcase_add_loop_test(
        tcase, a_region_that_the_program_unmapped_is_unbound_and_leaks_nothing,
        0, HOLE_WAYS);
    tcase_add_loop_test(
        tcase, no_write_is_missed_behind_what_the_program_mapped, 0, HOLE_WAYS);
    tcase_add_loop_test(
        tcase, what_the_program_maps_where_it_unmapped_is_its_own, 0, 2);
    tcase_add_loop_test(
        tcase, what_was_dropped_at_one_address_is_read_anew_at_another, 0, 2);
    tcase_add_loop_test(
        tcase, what_the_program_maps_is_not_taken_for_a_page_wanted_elsewhere,
        0, 2);
    tcase_add_loop_test(
        tcase, a_storm_of_madvise_munmap_and_fork_changes_nothing, 0, WAYS);
    tcase_add_test(tcase, without_any_descriptor_the_port_says_so);
    suite_add_tcase(suite, tcase);
}
