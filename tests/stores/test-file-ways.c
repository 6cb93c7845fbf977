/* SPDX-License-Identifier: MIT */
/*
 * The ways of the file store: through the system's cache or past it, by threads
 * that ask, a pool, or io_uring.  The results are the same.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include <hurdmm/file.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/posix.h>

#include "tests/support/runner.h"

#define DIRECT HURDMM_FILE_DIRECT
#define ASYNC HURDMM_FILE_ASYNC
#define POOL (HURDMM_FILE_ASYNC | HURDMM_FILE_NO_RING)

static const unsigned ways[] = {0,    DIRECT,       ASYNC, ASYNC | DIRECT,
                                POOL, POOL | DIRECT};
#define WAYS 6

#define FRAMES 64u
#define PAGES 300u

static struct hurdmm_port *port;
static struct hurdmm *manager;
static struct hurdmm_store *store;
static size_t page;
static int fd;

/* ---- Failures of the system ---- */

/* While an error is set, reads or writes that touch this byte of the file fail
 * with it.  These stand in for the system's own functions. */
static atomic_int read_error, write_error;
static _Atomic uint64_t bad_offset;

static bool fails(atomic_int *error, uint64_t offset, size_t length)
{
    uint64_t bad = atomic_load(&bad_offset);

    if (!atomic_load(error) || bad < offset || bad - offset >= length)
        return false;
    errno = atomic_load(error);
    return true;
}

ssize_t pread(int file, void *buffer, size_t length, off_t offset)
{
    if (fails(&read_error, (uint64_t)offset, length))
        return -1;
    return syscall(SYS_pread64, file, buffer, length, offset);
}

ssize_t pwrite(int file, const void *buffer, size_t length, off_t offset)
{
    if (fails(&write_error, (uint64_t)offset, length))
        return -1;
    return syscall(SYS_pwrite64, file, buffer, length, offset);
}

/* ---- The rig ---- */

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset / 100 + offset * 7 + 1);
}

static void make_file(size_t size)
{
    char name[] = "/tmp/test-file.XXXXXX";
    uint8_t *bytes = malloc(size);

    fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    unlink(name);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_at(i);
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
    free(bytes);
}

static int try_open(unsigned how, unsigned depth)
{
    struct hurdmm_file_options options = {
        .struct_size = sizeof options,
        .fd = fd,
        .how = how,
        .depth = depth,
    };

    return hurdmm_file_create_how(manager, &options, &store);
}

/* A manager with little memory, clusters of up to so many pages, and a store on
 * a file of so many bytes. */
static void begin(unsigned how, size_t size, unsigned cluster)
{
    struct hurdmm_options options = {.struct_size = sizeof options};

    page = (size_t)sysconf(_SC_PAGESIZE);
    ck_assert_int_eq(hurdmm_posix_create(NULL, &port), 0);
    options.port = port;
    options.budget = FRAMES * page;
    options.readahead = cluster * page;
    ck_assert_int_eq(hurdmm_create(&options, &manager), 0);
    make_file(size);
    ck_assert_int_eq(try_open(how, 0), 0);
}

static void end(void)
{
    const char *what = "nothing";

    ck_assert_msg(hurdmm_check(manager, &what) == 0, "%s", what);
    ck_assert_int_eq(hurdmm_destroy(manager, HURDMM_DETACH | HURDMM_DROP), 0);
    ck_assert_int_eq(hurdmm_posix_destroy(port), 0);
    close(fd);
}

static uint8_t *bind(size_t length, enum hurdmm_advice advice)
{
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = hurdmm_space_own(manager),
        .store = store,
        .length = length,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .advice = advice,
    };
    uintptr_t address;

    ck_assert_int_eq(hurdmm_bind(&options, &address), 0);
    return (uint8_t *)address;
}

static void prefetch(const uint8_t *base, unsigned first, unsigned step,
                     unsigned count)
{
    uintptr_t list[PAGES];

    for (unsigned i = 0; i < count; i++)
        list[i] = (uintptr_t)base + (first + i * step) % PAGES * page;
    ck_assert_int_eq(hurdmm_prefetch(hurdmm_space_own(manager), list, count),
                     0);
}

static unsigned state(unsigned number)
{
    unsigned bits;

    ck_assert_int_eq(hurdmm_store_state(store, number * page, &bits, NULL), 0);
    return bits;
}

/* Until nothing is being filled. */
static void settle(void)
{
    struct timespec moment = {0, 1000000};

    for (unsigned i = 0; i < PAGES; i++)
        while (state(i) & HURDMM_STATE_FILLING)
            nanosleep(&moment, NULL);
}

/* ---- Tests ---- */

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* One step of somebody who reads and writes here and there, and says so before
 * or not. */
static void random_step(uint8_t *base, uint8_t *model, size_t size,
                        uint32_t *seed)
{
    size_t at = draw(seed) % size, first = draw(seed) % PAGES;

    switch (draw(seed) % 8) {
    case 0:
        prefetch(base, (unsigned)first, 1 + draw(seed) % 7, draw(seed) % 32);
        break;
    case 1:
        for (size_t i = at; i < size && i < at + 5 * page; i += 64)
            ck_assert_uint_eq(base[i], model[i]);
        break;
    case 2:
        ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE,
                                            draw(seed) % 2 ? HURDMM_WAIT : 0),
                         0);
        break;
    case 3:
        ck_assert_int_eq(hurdmm_advise(hurdmm_space_own(manager),
                                       (uintptr_t)base + first * page, page,
                                       HURDMM_ADVICE_WILLNEED),
                         0);
        break;
    default:
        base[at] = model[at] = (uint8_t)draw(seed);
    }
}

START_TEST(all_ways_give_the_same_results)
{
    const size_t size = (PAGES - 1) * (size_t)sysconf(_SC_PAGESIZE) + 1234;
    uint32_t seed = 4711;

    begin(ways[_i], size, 8);
    uint8_t *model = malloc(size), *got = malloc(size);
    uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_NORMAL);
    for (size_t i = 0; i < size; i++)
        model[i] = byte_at(i);
    for (size_t n = test_scaled(4000); n > 0; n--)
        random_step(base, model, size, &seed);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(pread(fd, got, size, 0), (ssize_t)size);
    ck_assert(memcmp(got, model, size) == 0);
    free(model), free(got);
    end();
}
END_TEST

START_TEST(a_prefetched_list_comes_without_being_touched)
{
    begin(ways[_i], PAGES * (size_t)sysconf(_SC_PAGESIZE), 8);
    const uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_RANDOM);
    unsigned there = 0;

    prefetch(base, 5, 9, 32);
    for (unsigned i = 0; i < 32; i++)
        there += (state(5 + i * 9) &
                  (HURDMM_STATE_FILLING | HURDMM_STATE_RESIDENT)) != 0;
    if (ways[_i] & ASYNC)
        ck_assert_uint_eq(there, 32);
    settle();
    for (unsigned i = 0; i < 32; i++) {
        size_t at = (5 + i * 9) * page + i;
        if (ways[_i] & ASYNC)
            ck_assert_uint_eq(state(5 + i * 9), HURDMM_STATE_RESIDENT);
        ck_assert_uint_eq(base[at], byte_at(at));
    }
    end();
}
END_TEST

START_TEST(straight_reading_is_read_ahead)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};

    begin(ways[_i], PAGES * (size_t)sysconf(_SC_PAGESIZE), 4);
    const uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_SEQUENTIAL);
    for (size_t i = 0; i < PAGES * page; i += 512)
        ck_assert_uint_eq(base[i], byte_at(i));
    ck_assert_int_eq(hurdmm_get_stats(manager, &stats), 0);
    ck_assert_uint_ge(stats.pages_ahead, PAGES / 2);
    /* Windows that were begun by themselves are lent with a soft fault. */
    if (ways[_i] & ASYNC)
        ck_assert_uint_le(stats.faults_fill, PAGES / 4 / 2);
    end();
}
END_TEST

START_TEST(a_read_error_is_for_who_reads)
{
    begin(ways[_i], PAGES * (size_t)sysconf(_SC_PAGESIZE), 8);
    const uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_RANDOM);
    uint8_t byte;
    size_t done;

    atomic_store(&bad_offset, 10 * page + 7);
    atomic_store(&read_error, EIO);
    if (!(ways[_i] & ASYNC) || ways[_i] & HURDMM_FILE_NO_RING)
        prefetch(base, 8, 1, 5);
    ck_assert_int_eq(hurdmm_store_read(store, 9 * page, &byte, 1, &done), 0);
    ck_assert_int_eq(hurdmm_store_read(store, 10 * page, &byte, 1, &done), EIO);
    ck_assert_uint_eq(base[11 * page], byte_at(11 * page));
    settle();
    atomic_store(&read_error, 0);
    ck_assert_int_eq(hurdmm_store_discard(store, 10 * page, page), 0);
    ck_assert_uint_eq(base[10 * page], byte_at(10 * page));
    end();
}
END_TEST

/* A flush that goes well, after one that did not: the first byte of each of the
 * first pages was to be 77. */
static void expect_the_rest_is_written(void)
{
    uint8_t byte;

    ck_assert_int_eq(hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_eq(pread(fd, &byte, 1, (off_t)(i * page)), 1);
        ck_assert_uint_eq(byte, 77);
    }
}

START_TEST(a_full_disk_loses_nothing)
{
    begin(ways[_i], PAGES * (size_t)sysconf(_SC_PAGESIZE), 8);
    uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_RANDOM);

    for (unsigned i = 0; i < 20; i++)
        base[i * page] = 77;
    atomic_store(&bad_offset, 10 * page + 7);
    atomic_store(&write_error, ENOSPC);
    int error = hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    atomic_store(&write_error, 0);
    /* A ring does not come by here, and writes. */
    if (!(ways[_i] & ASYNC) || ways[_i] & HURDMM_FILE_NO_RING)
        ck_assert_int_eq(error, ENOSPC);
    ck_assert_uint_eq(base[10 * page], 77);
    expect_the_rest_is_written();
    end();
}
END_TEST

/* The system's own answer, to rings too: a limit on how long files are. */
START_TEST(a_file_that_is_too_long_to_write_loses_nothing)
{
    begin(ways[_i], PAGES * (size_t)sysconf(_SC_PAGESIZE), 8);
    struct rlimit all, few = {10 * page, RLIM_INFINITY};
    uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_RANDOM);

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &all), 0);
    few.rlim_max = all.rlim_max;
    for (unsigned i = 0; i < 20; i++)
        base[i * page] = 77;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &few), 0);
    int error = hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &all), 0);
    ck_assert_int_eq(error, EFBIG);
    ck_assert_uint_eq(base[15 * page], 77);
    expect_the_rest_is_written();
    end();
}
END_TEST

START_TEST(a_file_that_shrinks_meanwhile_ends_where_it_ends)
{
    const size_t size = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t byte;
    size_t done;

    begin(ways[_i], PAGES * size, 16);
    const uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_NORMAL);
    ck_assert_int_eq(ftruncate(fd, (off_t)(20 * page + 100)), 0);
    ck_assert_int_eq(hurdmm_advise(hurdmm_space_own(manager),
                                   (uintptr_t)base + 16 * page, 16 * page,
                                   HURDMM_ADVICE_WILLNEED),
                     0);
    ck_assert_uint_eq(base[19 * page], byte_at(19 * page));
    ck_assert_uint_eq(base[20 * page + 99], byte_at(20 * page + 99));
    ck_assert_uint_eq(base[20 * page + 100], 0);
    ck_assert_int_eq(hurdmm_store_read(store, 21 * page, &byte, 1, &done), EIO);
    end();
}
END_TEST

START_TEST(a_last_page_that_is_cut_grows_whole)
{
    begin(ways[_i], 3 * (size_t)sysconf(_SC_PAGESIZE) + 10, 8);
    uint8_t got[3];
    struct stat status;

    ck_assert_int_eq(
        hurdmm_store_write(store, 3 * page + 9, "x", 1, &(size_t){0}), 0);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(hurdmm_file_resize(store, 5 * page + 3), 0);
    ck_assert_int_eq(
        hurdmm_store_write(store, 4 * page - 1, "yz", 2, &(size_t){0}), 0);
    ck_assert_int_eq(
        hurdmm_store_write(store, 5 * page, "abc", 3, &(size_t){0}), 0);
    ck_assert_int_eq(hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    ck_assert_int_eq(fstat(fd, &status), 0);
    ck_assert_int_eq(status.st_size, (off_t)(5 * page + 3));
    ck_assert_int_eq(pread(fd, got, 3, (off_t)(4 * page - 2)), 3);
    ck_assert_mem_eq(got, "\0yz", 3);
    ck_assert_int_eq(hurdmm_store_read(store, 5 * page, got, 3, &(size_t){0}),
                     0);
    ck_assert_mem_eq(got, "abc", 3);
    ck_assert_int_eq(
        hurdmm_store_read(store, 3 * page + 9, got, 2, &(size_t){0}), 0);
    ck_assert_mem_eq(got, "x", 2);
    end();
}
END_TEST

START_TEST(blocks_are_read_and_written_whole)
{
    begin(ways[_i], PAGES * (size_t)sysconf(_SC_PAGESIZE), 8);
    struct hurdmm_file_options options = {
        .struct_size = sizeof options,
        .fd = fd,
        .how = ways[_i],
        .block_size = 4 * page,
    };
    uint8_t byte = 5;

    ck_assert_int_eq(hurdmm_file_create_how(manager, &options, &store), 0);
    ck_assert_int_eq(
        hurdmm_store_write(store, 9 * page, &byte, 1, &(size_t){0}), 0);
    for (unsigned i = 0; i < PAGES; i++)
        ck_assert_uint_eq((state(i) & HURDMM_STATE_RESIDENT) != 0,
                          i / 4 == 9 / 4);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(pread(fd, &byte, 1, (off_t)(9 * page)), 1);
    ck_assert_uint_eq(byte, 5);
    end();
}
END_TEST

/* No more than `depth' are under way, and none is lost by that. */
START_TEST(a_small_depth_is_kept)
{
    begin(0, PAGES * (size_t)sysconf(_SC_PAGESIZE), 8);
    ck_assert_int_eq(try_open(ways[_i] | ASYNC, 2), 0);
    const uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_RANDOM);

    for (unsigned round = 0; round < 8; round++) {
        prefetch(base, round, 8, 32);
        for (unsigned i = 0; i < 32; i++) {
            size_t at = (round + i * 8) % PAGES * page;
            ck_assert_uint_eq(base[at], byte_at(at));
        }
    }
    end();
}
END_TEST

START_TEST(a_store_may_end_while_its_pages_come)
{
    for (unsigned round = 0; round < test_scaled(40); round++) {
        begin(ways[_i], PAGES * (size_t)sysconf(_SC_PAGESIZE), 8);
        prefetch(bind(PAGES * page, HURDMM_ADVICE_RANDOM), round, 7, 32);
        ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DETACH), 0);
        end();
    }
}
END_TEST

/* ---- Many threads ---- */

static struct {
    volatile uint8_t *base;
    atomic_uint turn;
} shared;

/* Each has pages of its own to write, all read everything. */
static void *hammer(void *argument)
{
    unsigned self = atomic_fetch_add(&shared.turn, 1);
    uint32_t seed = self + 1, counts[PAGES] = {0};

    (void)argument;
    for (size_t steps = test_scaled(3000); steps > 0; steps--) {
        unsigned number = draw(&seed) % PAGES;
        volatile uint32_t *word =
            (volatile uint32_t *)(volatile void *)(shared.base + number * page);
        if (steps % 16 == 0) {
            uintptr_t list[16];
            for (unsigned i = 0; i < 16; i++)
                list[i] = (uintptr_t)shared.base + draw(&seed) % PAGES * page;
            (void)hurdmm_prefetch(hurdmm_space_own(manager), list, 16);
        }
        if (number % 4 != self) {
            (void)word[1000 + number % 4];
            continue;
        }
        if (counts[number] == 0)
            word[self] = 0;
        word[self]++;
        if (word[self] != ++counts[number])
            return (void *)1;
    }
    return NULL;
}

START_TEST(many_threads_lose_nothing)
{
    pthread_t threads[4];

    begin(ways[_i], PAGES * (size_t)sysconf(_SC_PAGESIZE), 4);
    shared.base = bind(PAGES * page, HURDMM_ADVICE_NORMAL);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *result;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_null(result);
    }
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    end();
}
END_TEST

/* ---- What is said ---- */

START_TEST(the_way_is_said)
{
    char line[100];

    begin(ways[_i], (size_t)sysconf(_SC_PAGESIZE), 8);
    ck_assert_int_eq(hurdmm_file_describe(store, line, sizeof line), 0);
    ck_assert_int_eq(strncmp(line, ways[_i] & DIRECT ? "direct" : "cached", 6),
                     0);
    ck_assert_int_eq(strstr(line, "ask") != NULL, !(ways[_i] & ASYNC));
    if (ways[_i] & HURDMM_FILE_NO_RING)
        ck_assert_ptr_nonnull(strstr(line, "4 threads, 64 at once"));
    char small[4] = "abc";
    ck_assert_int_eq(hurdmm_file_describe(store, small, 3), 0);
    ck_assert_int_eq(small[2], 0);
    ck_assert_int_eq(hurdmm_file_describe(NULL, small, 3), EINVAL);
    end();
}
END_TEST

START_TEST(options_that_mean_nothing_are_refused)
{
    begin(0, (size_t)sysconf(_SC_PAGESIZE), 8);
    const struct hurdmm_file_options good = {.struct_size = sizeof good,
                                             .fd = fd};
    struct hurdmm_file_options bad[6] = {good, good, good, good, good, good};

    bad[0].struct_size--;
    bad[1].how = 8;
    bad[2].flags = HURDMM_STORE_VOLATILE;
    bad[3].depth = 1025;
    bad[4].threads = 17;
    bad[5].block_size = page + 1;
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(hurdmm_file_create_how(manager, &bad[i], &store),
                         EINVAL);
    ck_assert_int_eq(hurdmm_file_create_how(manager, NULL, &store), EINVAL);
    ck_assert_int_eq(hurdmm_file_create_how(NULL, &good, &store), EINVAL);
    ck_assert_int_eq(hurdmm_file_create_how(manager, &good, NULL), EINVAL);
    end();
}
END_TEST

/* As a container does it: whoever asks for a ring is told EPERM. */
START_TEST(where_io_uring_is_refused_there_is_a_pool)
{
    begin(0, PAGES * (size_t)sysconf(_SC_PAGESIZE), 8);
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, filter};
    char line[100];

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        test_skip("there is no seccomp here");
    ck_assert_int_eq(try_open(ASYNC | DIRECT, 0), 0);
    ck_assert_int_eq(hurdmm_file_describe(store, line, sizeof line), 0);
    ck_assert_msg(strstr(line, "4 threads") != NULL, "%s", line);
    const uint8_t *base = bind(PAGES * page, HURDMM_ADVICE_RANDOM);
    prefetch(base, 0, 7, 32);
    settle();
    for (unsigned i = 0; i < 32; i++)
        ck_assert_uint_eq(base[i * 7 * page], byte_at(i * 7 * page));
    end();
}
END_TEST

START_TEST(a_file_that_cannot_go_past_the_cache_is_enotsup)
{
    begin(0, (size_t)sysconf(_SC_PAGESIZE), 8);
    char name[] = "/proc/sys/kernel/hostname";
    struct hurdmm_store *other;
    struct hurdmm_file_options options = {
        .struct_size = sizeof options,
        .fd = open(name, O_RDONLY),
        .flags = HURDMM_STORE_READ_ONLY,
        .how = DIRECT,
    };

    ck_assert_int_ge(options.fd, 0);
    ck_assert_int_eq(hurdmm_file_create_how(manager, &options, &other),
                     ENOTSUP);
    close(options.fd);
    end();
}
END_TEST

/* A descriptor that goes past the cache cannot do with half a page. */
START_TEST(a_direct_descriptor_of_the_callers_will_do)
{
    const size_t size = 2 * (size_t)sysconf(_SC_PAGESIZE) + 5;
    char name[64];

    begin(0, size, 8);
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int direct = open(name, O_RDWR | O_DIRECT);
    ck_assert_int_ge(direct, 0);
    (void)close(fd);
    fd = direct;
    ck_assert_int_eq(try_open(ways[_i] | DIRECT, 0), 0);
    const uint8_t *base = bind(3 * page, HURDMM_ADVICE_NORMAL);
    for (size_t i = 0; i < size; i++)
        ck_assert_uint_eq(base[i], byte_at(i));
    ck_assert_int_eq(
        hurdmm_store_write(store, 2 * page + 4, "z", 1, &(size_t){0}), 0);
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ways");
    TCase *tcase = tcase_create("ways");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, all_ways_give_the_same_results, 0, WAYS);
    tcase_add_loop_test(tcase, a_prefetched_list_comes_without_being_touched, 0,
                        WAYS);
    tcase_add_loop_test(tcase, straight_reading_is_read_ahead, 0, WAYS);
    tcase_add_loop_test(tcase, a_read_error_is_for_who_reads, 0, WAYS);
    tcase_add_loop_test(tcase, a_full_disk_loses_nothing, 0, WAYS);
    tcase_add_loop_test(tcase, a_file_that_is_too_long_to_write_loses_nothing,
                        0, WAYS);
    tcase_add_loop_test(tcase, a_file_that_shrinks_meanwhile_ends_where_it_ends,
                        0, WAYS);
    tcase_add_loop_test(tcase, a_last_page_that_is_cut_grows_whole, 0, WAYS);
    tcase_add_loop_test(tcase, blocks_are_read_and_written_whole, 0, WAYS);
    tcase_add_loop_test(tcase, a_small_depth_is_kept, 2, WAYS);
    tcase_add_loop_test(tcase, a_store_may_end_while_its_pages_come, 0, WAYS);
    tcase_add_loop_test(tcase, many_threads_lose_nothing, 0, WAYS);
    tcase_add_loop_test(tcase, the_way_is_said, 0, WAYS);
    tcase_add_loop_test(tcase, a_direct_descriptor_of_the_callers_will_do, 0,
                        WAYS);
    tcase_add_test(tcase, options_that_mean_nothing_are_refused);
    tcase_add_test(tcase, where_io_uring_is_refused_there_is_a_pool);
    tcase_add_test(tcase, a_file_that_cannot_go_past_the_cache_is_enotsup);
    suite_add_tcase(suite, tcase);
    return run_suites("ways", &suite, 1);
}
