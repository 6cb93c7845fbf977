/* SPDX-License-Identifier: MIT */
/*
 * What other libraries of this kind are known to do wrong, each by name, on
 * every port of the host that works here.
 *
 *   a pager of files by userfaultfd threads
 *     flush deadlocks with eviction in flight
 *                               a_flush_ends_with_evictions_in_flight (threads)
 *     of two regions one is unmapped: SIGSEGV
 *                               of_two_regions_one_may_go
 *     buffers of 1 and 2 pages hang, 4 to 32 crash
 *                               tiny_budgets_are_refused,
 *                               small_budgets_are_enough
 *     past the end of a file: bytes of another page; a write extends the file
 *                               past_the_end_of_a_file_is_nothing
 *     the offset is ignored     the_offset_is_honoured
 *     a fixed address destroys the page after it
 *                               an_exact_address_leaves_its_neighbours
 *     a forked child reads zeros
 *                               a_forked_child_gets_no_zeros
 *     exit without unmapping loses writes
 *                               ending_without_unmapping_keeps_writes,
 *                               exit_without_unmapping_keeps_what_was_synced
 *     after unmapping the region stays, and writes vanish
 *                               after_unmapping_a_write_does_not_vanish
 *     every map and unmap leaks memory and descriptors
 *                               mapping_and_unmapping_leaks_nothing,
 *                               managers_that_end_leave_no_descriptors
 *     a store's error, half an unmapping, an ordinary user: the process aborts
 *                               an_error_or_half_an_unmapping_is_survived,
 *                               tests/linux/test-denied
 *   a pager of files by mprotect
 *     pages of 4 KiB die at the limit of mappings
 *                               more_pages_than_mappings_can_be_used
 *     a reader and a writer livelock
 *                               a_reader_and_a_writer_of_one_region_get_on
 *                               (threads)
 *
 * (threads): in tests/core/test-threads.
 */
#include "tests/core/real.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hurdmm/file.h>
#include <hurdmm/posix.h>

START_TEST(of_two_regions_one_may_go)
{
    struct real real;
    if (!real_begin(&real, _i))
        return;
    uintptr_t other = real_bind(&real, real.store, 8, 8);
    real_stores(other, 1);
    real_stores(other + real.page, 2);
    ck_assert_int_eq(hurdmm_unbind(real.space, other, 8 * real.page), 0);
    real_load_fails(other);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        real_loads(real_at(&real, page) + REAL_MARK, (uint8_t)page);
    real_loads(real_at(&real, 8), 1);
    real_loads(real_at(&real, 9), 2);
    real_end(&real);
}
END_TEST

static int nothing_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(buffer, 0, length);
    return 0;
}

/* Puts what it is told before the end of a page so that it begins there and ends
 * in the next one. */
static void *across(struct real *real, unsigned page, const void *bytes,
                    size_t length)
{
    uint8_t *to = real_at(real, page + 1) - sizeof(size_t);
    memcpy(to, bytes, length);
    return to;
}

/* Arguments and results may lie in pages that are not there: they are not looked
 * at while the library keeps everybody out. */
START_TEST(what_is_said_may_lie_in_managed_memory)
{
    struct real real;
    if (!real_begin(&real, _i))
        return;
    struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                   .page_in = nothing_in};
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = (const char *)real_at(&real, 40),
        .size = 4 * real.page,
        .flags = HURDMM_STORE_READ_ONLY,
    };
    struct hurdmm_store_ops *far_ops = across(&real, 20, &ops, sizeof ops);
    struct hurdmm_store_options *far_options =
        across(&real, 24, &options, sizeof options);
    struct hurdmm_store **made = (struct hurdmm_store **)real_at(&real, 28);
    struct hurdmm_region_info *info =
        (struct hurdmm_region_info *)real_at(&real, 32);
    unsigned *state = (unsigned *)real_at(&real, 36);
    int *error = (int *)real_at(&real, 38);
    ck_assert_int_eq(
        hurdmm_store_return(real.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(hurdmm_region_find(real.space, real.base, info), 0);
    ck_assert_uint_eq(info->address, real.base);
    ck_assert_int_eq(hurdmm_store_state(real.store, 0, state, error), 0);
    ck_assert_int_eq(*error, 0);
    ck_assert_int_eq(
        hurdmm_store_create(real.manager, far_ops, far_options, made), 0);
    struct hurdmm_store *store = *made;
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = real.space,
        .store = store,
        .length = 4 * real.page,
        .rights = HURDMM_READ,
    };
    struct hurdmm_bind_options *far_bind =
        across(&real, 44, &bind, sizeof bind);
    uintptr_t *where = (uintptr_t *)real_at(&real, 48);
    ck_assert_int_eq(
        hurdmm_store_return(real.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(hurdmm_bind(far_bind, where), 0);
    ck_assert_int_eq(hurdmm_unbind(real.space, *where, 4 * real.page), 0);
    ck_assert_ptr_eq(hurdmm_store_operations(store), far_ops);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    real_end(&real);
}
END_TEST

/* Sends all pages away, so that the next look at one is a fault. */
static void send_away(struct real *real)
{
    ck_assert_int_eq(
        hurdmm_store_return(real->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
}

START_TEST(what_containers_say_may_lie_in_managed_memory)
{
    struct real real;
    if (!real_begin(&real, _i))
        return;
    struct hurdmm_container **made =
        (struct hurdmm_container **)real_at(&real, 20);
    struct hurdmm_grant **grant = (struct hurdmm_grant **)real_at(&real, 24);
    struct hurdmm_account **account =
        (struct hurdmm_account **)real_at(&real, 28);
    uint64_t *done = (uint64_t *)real_at(&real, 32);
    size_t *count = (size_t *)real_at(&real, 36);
    struct hurdmm_physical_run runs[4] = {{0}}, *far_runs;
    far_runs = across(&real, 40, runs, sizeof runs);
    send_away(&real);
    ck_assert_int_eq(hurdmm_container_create(real.manager, made), 0);
    struct hurdmm_container *container = *made;
    send_away(&real);
    ck_assert_int_eq(
        hurdmm_container_allocate(container, 0, 4 * real.page, 0, done), 0);
    ck_assert_uint_eq(*done, 4 * real.page);
    send_away(&real);
    ck_assert_int_eq(hurdmm_container_pin(container, 0, real.page, HURDMM_READ,
                                          far_runs, 4, count),
                     0);
    ck_assert_uint_eq(*count, 1);
    ck_assert_uint_eq(far_runs[0].length, real.page);
    ck_assert_int_eq(
        hurdmm_container_unpin(container, 0, real.page, HURDMM_READ), 0);
    struct hurdmm_copy_range range = {.target = container,
                                      .target_offset = 4 * real.page,
                                      .source = container,
                                      .length = 4 * real.page};
    struct hurdmm_copy_range *far_range =
        across(&real, 44, &range, sizeof range);
    send_away(&real);
    ck_assert_int_eq(hurdmm_container_copy_ranges(far_range, 1, 0), 0);
    send_away(&real);
    ck_assert_int_eq(
        hurdmm_grant_create(container, 0, real.page, HURDMM_READ, grant), 0);
    send_away(&real);
    ck_assert_int_eq(
        hurdmm_account_split(hurdmm_account_own(real.manager), 0, account), 0);
    ck_assert_int_eq(hurdmm_account_destroy(*account), 0);
    ck_assert_int_eq(hurdmm_grant_revoke(*grant), 0);
    ck_assert_int_eq(hurdmm_container_destroy(container), 0);
    real_end(&real);
}
END_TEST

START_TEST(tiny_budgets_are_refused)
{
    struct real real;
    if (!real_begin(&real, _i))
        return;
    real_end(&real);
    for (unsigned frames = 0; frames < 16; frames++) {
        struct hurdmm *manager = NULL;
        struct hurdmm_options options = {.struct_size = sizeof options};
        ck_assert_int_eq(real_port(_i, &options.port), 0);
        options.budget = frames * real.page;
        ck_assert_int_eq(hurdmm_create(&options, &manager), EINVAL);
        ck_assert_ptr_null(manager);
        ck_assert_int_eq(hurdmm_host_port_destroy(options.port), 0);
    }
}
END_TEST

START_TEST(small_budgets_are_enough)
{
    for (unsigned frames = 16; frames <= 32; frames += 8) {
        struct real real;
        struct real_worker workers[REAL_THREADS];
        if (!real_begin_with(&real, _i, frames))
            return;
        real_mark(&real);
        real.base = real_bind(&real, real.store, 0, REAL_PAGES);
        real_start(&real, workers, test_scaled(300), false);
        real_finish(&real, workers);
        real_end(&real);
    }
}
END_TEST

static int make_file(size_t size)
{
    char name[] = "test-defects-XXXXXX";
    uint8_t bytes[100];
    int fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(name), 0);
    memset(bytes, 7, sizeof bytes);
    for (size_t done = 0; done < size; done += sizeof bytes) {
        size_t piece = size - done < sizeof bytes ? size - done : sizeof bytes;
        ck_assert_int_eq((int)write(fd, bytes, piece), (int)piece);
    }
    return fd;
}

START_TEST(past_the_end_of_a_file_is_nothing)
{
    struct real real;
    struct hurdmm_store *store;
    struct stat now;
    if (!real_begin(&real, _i))
        return;
    size_t size = 2 * real.page + 100;
    int fd = make_file(size);
    ck_assert_int_eq(hurdmm_file_create(real.manager, fd, 0, 0, &store), 0);
    uintptr_t file = real_bind(&real, store, 0, 8);
    real_loads(file + size - 1, 7);
    real_loads(file + size, 0);
    real_loads(file + 3 * real.page - 1, 0);
    real_load_fails(file + 3 * real.page);
    real_load_fails(file + 7 * real.page);
    real_stores(file + size - 1, 8);
    real_stores(file + size, 9);
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DETACH), 0);
    ck_assert_int_eq(fstat(fd, &now), 0);
    ck_assert_uint_eq((size_t)now.st_size, size);
    uint8_t last;
    ck_assert_int_eq((int)pread(fd, &last, 1, (off_t)size - 1), 1);
    ck_assert_uint_eq(last, 8);
    close(fd);
    real_end(&real);
}
END_TEST

START_TEST(the_offset_is_honoured)
{
    struct real real;
    if (!real_begin(&real, _i))
        return;
    uintptr_t other = real_bind(&real, real.store, 100, 2);
    real_loads(other + REAL_MARK, 100);
    real_loads(other + real.page + REAL_MARK, 101);
    real_stores(other, 55);
    ck_assert_int_eq(hurdmm_flush(real.space, other, real.page, HURDMM_WAIT),
                     0);
    ck_assert_uint_eq(real.disk[100 * real.page], 55);
    real_end(&real);
}
END_TEST

START_TEST(an_exact_address_leaves_its_neighbours)
{
    struct real real;
    uintptr_t place;
    if (!real_begin(&real, _i))
        return;
    uint8_t *own = mmap(NULL, 3 * real.page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(own, MAP_FAILED);
    memset(own, 0x11, 3 * real.page);
    uintptr_t middle = (uintptr_t)own + real.page;
    ck_assert_int_eq(real_try_bind(&real, real.store, 3, 1, middle,
                                   HURDMM_BIND_EXACT, &place),
                     EEXIST);
    ck_assert_uint_eq(own[real.page], 0x11);
    ck_assert_int_eq(munmap(own + real.page, real.page), 0);
    ck_assert_int_eq(real_try_bind(&real, real.store, 3, 1, middle,
                                   HURDMM_BIND_EXACT, &place),
                     0);
    ck_assert_uint_eq(place, middle);
    real_loads(middle + REAL_MARK, 3);
    for (size_t i = 0; i < real.page; i++) {
        ck_assert_uint_eq(own[i], 0x11);
        ck_assert_uint_eq(own[2 * real.page + i], 0x11);
    }
    ck_assert_int_eq(hurdmm_unbind(real.space, middle, real.page), 0);
    ck_assert_uint_eq(own[real.page - 1], 0x11);
    ck_assert_uint_eq(own[2 * real.page], 0x11);
    real_end(&real);
}
END_TEST

START_TEST(a_forked_child_gets_no_zeros)
{
    struct real real;
    int status = 0;
    if (!real_begin(&real, _i))
        return;
    real_stores(real_at(&real, 5), 5);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        _exit(*(volatile uint8_t *)real_at(&real, 5) == 5 ? 5 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert(WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
    real_loads(real_at(&real, 5), 5);
    real_end(&real);
}
END_TEST

START_TEST(ending_without_unmapping_keeps_writes)
{
    struct real real;
    if (!real_begin(&real, _i))
        return;
    for (unsigned page = 0; page < REAL_PAGES; page++)
        real_stores(real_at(&real, page), (uint8_t)(page + 1));
    ck_assert_int_eq(hurdmm_destroy(real.manager, HURDMM_DETACH), 0);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        ck_assert_uint_eq(real.disk[page * real.page], (uint8_t)(page + 1));
    real_load_fails(real_at(&real, 5));
    ck_assert_int_eq(hurdmm_host_port_destroy(real.port), 0);
    free(real.disk);
}
END_TEST

static unsigned open_files(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        closedir(directory);
    return count;
}

static uint64_t core_bytes(struct real *real)
{
    return real_stats(real).core_bytes;
}

static void map_and_unmap(struct real *real, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        struct hurdmm_store *store = real_store(real, 0);
        uintptr_t place = real_bind(real, store, 0, REAL_PAGES);
        real_stores(place, (uint8_t)i);
        real_loads(place + 5 * real->page + REAL_MARK, 5);
        ck_assert_int_eq(
            hurdmm_unbind(real->space, place, REAL_PAGES * real->page), 0);
        ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    }
}

START_TEST(mapping_and_unmapping_leaks_nothing)
{
    struct real real;
    if (!real_begin(&real, _i))
        return;
    map_and_unmap(&real, 10);
    uint64_t bytes = core_bytes(&real);
    unsigned files = open_files();
    map_and_unmap(&real, test_scaled(300));
    ck_assert_uint_eq(core_bytes(&real), bytes);
    ck_assert_uint_eq(open_files(), files);
    real_end(&real);
}
END_TEST

START_TEST(managers_that_end_leave_no_descriptors)
{
    unsigned files = 0;
    for (unsigned i = 0; i < 5; i++) {
        struct real real;
        if (!real_begin(&real, _i))
            return;
        real_loads(real_at(&real, 7) + REAL_MARK, 7);
        real_end(&real);
        if (i == 0)
            files = open_files();
    }
    ck_assert_uint_eq(open_files(), files);
}
END_TEST

START_TEST(an_error_or_half_an_unmapping_is_survived)
{
    struct real real;
    if (!real_begin(&real, _i))
        return;
    atomic_store(&real.bad_page, 40);
    real_load_fails(real_at(&real, 40));
    ck_assert_int_ne(touch_store(real.base + 40 * real.page, 1), 0);
    real_loads(real_at(&real, 41) + REAL_MARK, 41);
    real_loads(real_at(&real, 39) + REAL_MARK, 39);
    ck_assert_int_eq(
        hurdmm_unbind(real.space, real.base + 38 * real.page, 4 * real.page),
        0);
    real_load_fails(real_at(&real, 38));
    real_load_fails(real_at(&real, 41) + real.page - 1);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        if (page < 38 || page >= 42)
            real_loads(real_at(&real, page) + REAL_MARK, (uint8_t)page);
    real_end(&real);
}
END_TEST

START_TEST(after_unmapping_a_write_does_not_vanish)
{
    struct real real;
    size_t done;
    uint8_t byte;
    if (!real_begin(&real, _i))
        return;
    for (unsigned page = 0; page < REAL_FRAMES; page++)
        real_stores(real_at(&real, page), 9);
    ck_assert_int_eq(
        hurdmm_unbind(real.space, real.base, REAL_PAGES * real.page), 0);
    for (unsigned page = 0; page < REAL_PAGES; page++) {
        real_store_fails(real_at(&real, page));
        real_load_fails(real_at(&real, page));
    }
    for (unsigned page = 0; page < REAL_FRAMES; page++) {
        ck_assert_int_eq(
            hurdmm_store_read(real.store, page * real.page, &byte, 1, &done),
            0);
        ck_assert_uint_eq(byte, 9);
    }
    ck_assert_int_eq(
        hurdmm_store_flush(real.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        ck_assert_uint_eq(real.disk[page * real.page],
                          page < REAL_FRAMES ? 9 : 0);
    real_end(&real);
}
END_TEST

/* A program that maps a file, writes all of it, syncs, writes on and exits. */
static void write_sync_exit(int way, int fd)
{
    struct real real;
    struct hurdmm_store *store;
    if (!real_begin(&real, way))
        _exit(1);
    if (hurdmm_file_create(real.manager, fd, 0, 0, &store))
        _exit(2);
    uintptr_t file = real_bind(&real, store, 0, REAL_PAGES);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        *(volatile uint8_t *)(file + page * real.page + 1) = 77;
    if (hurdmm_sync_all(real.manager))
        _exit(3);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        *(volatile uint8_t *)(file + page * real.page + 2) = 78;
    exit(0);
}

START_TEST(exit_without_unmapping_keeps_what_was_synced)
{
    struct real real;
    int status = 1;
    if (!real_begin(&real, _i)) /* is there such a port? */
        return;
    real_end(&real);
    size_t size = REAL_PAGES * real.page;
    int fd = make_file(size);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        write_sync_exit(_i, fd);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    for (unsigned page = 0; page < REAL_PAGES; page++) {
        uint8_t bytes[4];
        ck_assert_int_eq((int)pread(fd, bytes, 4, (off_t)(page * real.page)),
                         4);
        ck_assert_uint_eq(bytes[0], 7);
        ck_assert_uint_eq(bytes[1], 77);
        ck_assert(bytes[2] == 7 || bytes[2] == 78);
        ck_assert_uint_eq(bytes[3], 7);
    }
    close(fd);
}
END_TEST

static int zeros_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                    void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(buffer, 0, length);
    return 0;
}

#define SCATTERED 40000u /* pages, so far apart that none are one mapping */

static volatile uint32_t *scattered(struct real *real, uintptr_t base, size_t i)
{
    return (volatile uint32_t *)(base + 2 * i * real->page);
}

/* A region of zeros, twice SCATTERED pages, all of which may be in memory. */
static uintptr_t bind_zeros(struct real *real, size_t count)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = zeros_in};
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .size = 2 * count * real->page,
                                           .flags = HURDMM_STORE_VOLATILE |
                                                    HURDMM_STORE_SIGNAL_SAFE};
    struct hurdmm_store *store;
    uintptr_t base = 0;
    ck_assert_int_eq(hurdmm_store_create(real->manager, &ops, &options, &store),
                     0);
    ck_assert_int_eq(real_try_bind(real, store, 0, 2 * count, 0, 0, &base), 0);
    ck_assert_int_eq(hurdmm_advise(real->space, base, 2 * count * real->page,
                                   HURDMM_ADVICE_RANDOM),
                     0);
    return base;
}

START_TEST(more_pages_than_mappings_can_be_used)
{
    struct real real;
    size_t count = test_scaled(SCATTERED);
    if (!real_begin_with(&real, _i, SCATTERED + SCATTERED / 2))
        return;
    uintptr_t base = bind_zeros(&real, count);
    for (size_t i = 0; i < count; i++)
        *scattered(&real, base, i * 7919 % count) = (uint32_t)i + 1;
    for (size_t i = 0; i < count; i++)
        ck_assert_uint_eq(*scattered(&real, base, i * 7919 % count), i + 1);
    /* All of it was dirty, and could not have been written anywhere. */
    ck_assert_uint_eq(real_stats(&real).pages_out, 0);
    ck_assert_uint_ge(real_stats(&real).frames_used, count);
    real_end(&real);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("defects of others");
    TCase *c = tcase_create("defects of others");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, of_two_regions_one_may_go, 0, REAL_WAYS);
    tcase_add_loop_test(c, what_is_said_may_lie_in_managed_memory, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, what_containers_say_may_lie_in_managed_memory, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, tiny_budgets_are_refused, 0, REAL_WAYS);
    tcase_add_loop_test(c, small_budgets_are_enough, 0, REAL_WAYS);
    tcase_add_loop_test(c, past_the_end_of_a_file_is_nothing, 0, REAL_WAYS);
    tcase_add_loop_test(c, the_offset_is_honoured, 0, REAL_WAYS);
    tcase_add_loop_test(c, an_exact_address_leaves_its_neighbours, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, a_forked_child_gets_no_zeros, 0, REAL_WAYS);
    tcase_add_loop_test(c, ending_without_unmapping_keeps_writes, 0, REAL_WAYS);
    tcase_add_loop_test(c, mapping_and_unmapping_leaks_nothing, 0, REAL_WAYS);
    tcase_add_loop_test(c, managers_that_end_leave_no_descriptors, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, an_error_or_half_an_unmapping_is_survived, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, after_unmapping_a_write_does_not_vanish, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, exit_without_unmapping_keeps_what_was_synced, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, more_pages_than_mappings_can_be_used, 0, REAL_WAYS);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-defects", suites, 1);
}
