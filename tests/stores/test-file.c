/* SPDX-License-Identifier: MIT */
/*
 * Files as stores and as block devices, on the port to POSIX systems.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hurdmm/file.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/posix.h>

#include "tests/support/runner.h"

static struct hurdmm_port *port;
static struct hurdmm *manager;
static size_t page;
static int fd;
static unsigned how; /* HURDMM_FILE_... */

static int temporary(void)
{
    char name[] = "/tmp/test-file.XXXXXX";
    int file = mkstemp(name);

    ck_assert_int_ge(file, 0);
    unlink(name);
    return file;
}

static void start(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options};

    ck_assert_int_eq(hurdmm_posix_create(NULL, &port), 0);
    options.port = port;
    options.budget = 64 * (size_t)sysconf(_SC_PAGESIZE);
    ck_assert_int_eq(hurdmm_create(&options, &manager), 0);
    page = hurdmm_page_size(manager);
}

static void begin(void)
{
    start();
    fd = temporary();
}

static void begin_direct(void)
{
    how = HURDMM_FILE_DIRECT;
    begin();
}

static void begin_ring(void)
{
    how = HURDMM_FILE_ASYNC;
    begin();
}

static void begin_direct_pool(void)
{
    how = HURDMM_FILE_DIRECT | HURDMM_FILE_ASYNC | HURDMM_FILE_NO_RING;
    begin();
}

static void end(void)
{
    const char *what = "nothing";

    ck_assert_msg(hurdmm_check(manager, &what) == 0, "%s", what);
    ck_assert_int_eq(hurdmm_destroy(manager, HURDMM_DETACH | HURDMM_DROP), 0);
    ck_assert_int_eq(hurdmm_posix_destroy(port), 0);
    close(fd);
}

/* The byte that files of these tests have at an offset. */
static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset / 100 + offset * 7 + 1);
}

static void fill_file(size_t size)
{
    uint8_t *bytes = malloc(size);

    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_at(i);
    ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
    free(bytes);
}

static struct hurdmm_store *make(uint64_t size, unsigned flags)
{
    struct hurdmm_store *store;

    struct hurdmm_file_options options = {
        .struct_size = sizeof options,
        .fd = fd,
        .size = size,
        .flags = flags,
        .how = how,
    };
    ck_assert_int_eq(hurdmm_file_create_how(manager, &options, &store), 0);
    return store;
}

static uint8_t *bind(struct hurdmm_store *store, size_t length, unsigned rights)
{
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = hurdmm_space_own(manager),
        .store = store,
        .length = length,
        .rights = rights,
    };
    uintptr_t address;

    ck_assert_int_eq(hurdmm_bind(&options, &address), 0);
    return (uint8_t *)address;
}

static uint8_t file_byte(uint64_t offset)
{
    uint8_t byte;

    ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
    return byte;
}

static uint64_t file_size(void)
{
    struct stat status;

    ck_assert_int_eq(fstat(fd, &status), 0);
    return (uint64_t)status.st_size;
}

static uint8_t store_byte(struct hurdmm_store *store, uint64_t offset)
{
    uint8_t byte = 0;
    size_t done;

    ck_assert_int_eq(hurdmm_store_read(store, offset, &byte, 1, &done), 0);
    return byte;
}

static int read_error(struct hurdmm_store *store, uint64_t offset)
{
    uint8_t byte;
    size_t done;

    return hurdmm_store_read(store, offset, &byte, 1, &done);
}

static int put_byte(struct hurdmm_store *store, uint64_t offset, uint8_t byte)
{
    size_t done;

    return hurdmm_store_write(store, offset, &byte, 1, &done);
}

static int sync_store(struct hurdmm_store *store)
{
    return hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
}

START_TEST(a_region_shows_the_file)
{
    fill_file(200 * page);
    struct hurdmm_store *store = make(0, HURDMM_STORE_READ_ONLY);
    const uint8_t *bytes = bind(store, 200 * page, HURDMM_READ);

    ck_assert_uint_eq(hurdmm_store_size(store), 200 * page);
    for (size_t i = 0; i < 200 * page; i++)
        ck_assert_uint_eq(bytes[i], byte_at(i));
}
END_TEST

START_TEST(what_a_region_is_told_reaches_the_file)
{
    fill_file(200 * page);
    uint8_t *bytes = bind(make(0, 0), 200 * page, HURDMM_READ | HURDMM_WRITE);

    for (size_t i = 0; i < 200; i++)
        bytes[i * page + i] = (uint8_t)~byte_at(i * page + i);
    ck_assert_int_eq(hurdmm_sync_all(manager), 0);
    for (size_t i = 0; i < 200; i++) {
        ck_assert_uint_eq(file_byte(i * page + i),
                          (uint8_t)~byte_at(i * page + i));
        ck_assert_uint_eq(file_byte(i * page + 300), byte_at(i * page + 300));
    }
}
END_TEST

START_TEST(the_rest_of_the_last_page_is_zeros_and_goes_nowhere)
{
    fill_file(3 * page + 10);
    struct hurdmm_store *store = make(0, 0);
    uint8_t *bytes = bind(store, 4 * page, HURDMM_READ | HURDMM_WRITE);

    for (size_t i = 3 * page + 10; i < 4 * page; i++)
        ck_assert_uint_eq(bytes[i], 0);
    bytes[3 * page + 9] = 1;
    bytes[3 * page + 10] = 2;
    ck_assert_int_eq(sync_store(store), 0);
    ck_assert_uint_eq(file_size(), 3 * page + 10);
    ck_assert_uint_eq(file_byte(3 * page + 9), 1);
    ck_assert_int_eq(read_error(store, 3 * page + 10), ENXIO);
}
END_TEST

START_TEST(the_descriptor_is_the_callers)
{
    fill_file(page);
    int mine = dup(fd);
    struct hurdmm_store *store;

    lseek(mine, 5, SEEK_SET);
    ck_assert_int_eq(hurdmm_file_create(manager, mine, 0, 0, &store), 0);
    ck_assert_int_eq(lseek(mine, 0, SEEK_CUR), 5);
    close(mine);
    ck_assert_uint_eq(store_byte(store, 8), byte_at(8));
}
END_TEST

START_TEST(a_size_extends_the_file)
{
    fill_file(page / 2);
    struct hurdmm_store *store = make(3 * page, 0);

    ck_assert_uint_eq(file_size(), 3 * page);
    ck_assert_uint_eq(store_byte(store, 1), byte_at(1));
    ck_assert_uint_eq(store_byte(store, 3 * page - 1), 0);
}
END_TEST

START_TEST(a_size_shows_a_part_of_the_file)
{
    fill_file(3 * page);
    struct hurdmm_store *store = make(page + 1, 0);

    ck_assert_uint_eq(hurdmm_store_size(store), page + 1);
    ck_assert_int_eq(put_byte(store, page, 1), 0);
    ck_assert_int_eq(sync_store(store), 0);
    ck_assert_uint_eq(file_size(), 3 * page);
    ck_assert_uint_eq(file_byte(page), 1);
    ck_assert_uint_eq(file_byte(page + 1), byte_at(page + 1));
}
END_TEST

START_TEST(a_read_only_store_is_not_written)
{
    fill_file(page);
    struct hurdmm_store *store = make(0, HURDMM_STORE_READ_ONLY);

    ck_assert_int_eq(put_byte(store, 0, 1), EROFS);
    ck_assert_int_eq(hurdmm_file_resize(store, 2 * page), EROFS);
    ck_assert_uint_eq(file_size(), page);
}
END_TEST

START_TEST(descriptors_that_will_not_do_are_refused)
{
    char name[] = "/tmp/test-file.XXXXXX";
    int file = mkstemp(name);
    int reader = open(name, O_RDONLY), writer = open(name, O_WRONLY);
    int appender = open(name, O_RDWR | O_APPEND);
    struct hurdmm_store *store;
    int ends[2];

    unlink(name);
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(hurdmm_file_create(manager, -1, 0, 0, &store), EBADF);
    ck_assert_int_eq(hurdmm_file_create(manager, ends[0], 0, 0, &store),
                     EINVAL);
    ck_assert_int_eq(hurdmm_file_create(manager, reader, 0, 0, &store), EACCES);
    ck_assert_int_eq(hurdmm_file_create(manager, writer, 0, 0, &store), EACCES);
    ck_assert_int_eq(hurdmm_file_create(manager, appender, 0, 0, &store),
                     EINVAL);
    ck_assert_int_eq(hurdmm_file_create(manager, reader, page,
                                        HURDMM_STORE_READ_ONLY, &store),
                     EINVAL);
    ck_assert_int_eq(
        hurdmm_file_create(manager, file, 0, HURDMM_STORE_VOLATILE, &store),
        EINVAL);
    ck_assert_int_eq(hurdmm_file_create(manager, file, UINT64_MAX, 0, &store),
                     EFBIG);
    ck_assert_int_eq(
        hurdmm_file_create(manager, reader, 0, HURDMM_STORE_READ_ONLY, &store),
        0);
    close(file), close(reader), close(writer), close(appender);
    close(ends[0]), close(ends[1]);
}
END_TEST

START_TEST(growing_adds_zeros)
{
    fill_file(page + 10);
    struct hurdmm_store *store = make(0, 0);

    ck_assert_uint_eq(store_byte(store, page + 9), byte_at(page + 9));
    ck_assert_int_eq(hurdmm_file_resize(store, 3 * page + 1), 0);
    ck_assert_uint_eq(file_size(), 3 * page + 1);
    for (size_t i = page + 10; i < 3 * page + 1; i++)
        ck_assert_uint_eq(store_byte(store, i), 0);
    ck_assert_int_eq(put_byte(store, 3 * page, 9), 0);
    ck_assert_int_eq(sync_store(store), 0);
    ck_assert_uint_eq(file_byte(3 * page), 9);
}
END_TEST

START_TEST(shrinking_cuts_and_growing_again_shows_zeros)
{
    fill_file(8 * page);
    struct hurdmm_store *store = make(0, 0);

    for (size_t i = 0; i < 8; i++)
        ck_assert_int_eq(put_byte(store, i * page, 7), 0);
    ck_assert_int_eq(hurdmm_file_resize(store, 2 * page + 10), 0);
    ck_assert_uint_eq(file_size(), 2 * page + 10);
    ck_assert_int_eq(read_error(store, 2 * page + 10), ENXIO);
    ck_assert_int_eq(hurdmm_file_resize(store, 8 * page), 0);
    ck_assert_uint_eq(store_byte(store, 2 * page), 7);
    ck_assert_uint_eq(store_byte(store, 2 * page + 9), byte_at(2 * page + 9));
    for (size_t i = 2 * page + 10; i < 8 * page; i++)
        ck_assert_uint_eq(store_byte(store, i), 0);
    ck_assert_int_eq(sync_store(store), 0);
    ck_assert_uint_eq(file_byte(0), 7);
}
END_TEST

static int fill_nothing(void *hook, uint64_t offset, void *buffer,
                        size_t length)
{
    (void)hook, (void)offset, (void)buffer, (void)length;
    return 0;
}

START_TEST(only_file_stores_are_resized)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_computed_create(manager, page, 0, fill_nothing, NULL, &store),
        0);
    ck_assert_int_eq(hurdmm_file_resize(store, 1), EINVAL);
    ck_assert_int_eq(hurdmm_file_resize(NULL, 1), EINVAL);
}
END_TEST

START_TEST(pages_that_others_cut_away_fail)
{
    fill_file(6 * page);
    struct hurdmm_store *store = make(0, 0);

    ck_assert_int_eq(ftruncate(fd, (off_t)(2 * page + 10)), 0);
    ck_assert_int_eq(read_error(store, 3 * page), EIO);
    ck_assert_int_eq(read_error(store, 5 * page), EIO);
    ck_assert_uint_eq(store_byte(store, 2 * page + 9), byte_at(2 * page + 9));
    ck_assert_uint_eq(store_byte(store, 2 * page + 10), 0);
    ck_assert_uint_eq(store_byte(store, 1), byte_at(1));
}
END_TEST

START_TEST(a_cut_by_others_is_not_undone)
{
    fill_file(6 * page);
    struct hurdmm_store *store = make(0, 0);

    for (size_t i = 0; i < 6; i++)
        ck_assert_int_eq(put_byte(store, i * page, 7), 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)(2 * page + 10)), 0);
    ck_assert_int_eq(sync_store(store), EIO);
    ck_assert_uint_eq(file_size(), 2 * page + 10);
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_eq(file_byte(i * page), 7);
    /* What is in memory is not lost: the file may grow again. */
    ck_assert_uint_eq(store_byte(store, 5 * page), 7);
    ck_assert_int_eq(ftruncate(fd, (off_t)(6 * page)), 0);
    ck_assert_int_eq(sync_store(store), 0);
    ck_assert_uint_eq(file_byte(5 * page), 7);
}
END_TEST

static volatile sig_atomic_t ticks;

static void on_alarm(int number)
{
    (void)number;
    ticks++;
}

/* A timer that interrupts every system call it can. */
START_TEST(signals_do_not_cut_transfers_short)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerspec rhythm = {{0, 200000}, {0, 200000}};
    timer_t timer;

    fill_file(300 * page);
    struct hurdmm_store *store = make(0, 0);
    sigaction(SIGALRM, &action, NULL);
    ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, NULL, &timer), 0);
    ck_assert_int_eq(timer_settime(timer, 0, &rhythm, NULL), 0);
    for (unsigned round = 0; round < 2 || ticks < 20; round++) {
        for (size_t i = 0; i < 300; i++)
            ck_assert_int_eq(put_byte(store, i * page, (uint8_t)round), 0);
        ck_assert_int_eq(sync_store(store), 0);
    }
    timer_delete(timer);
    ck_assert_uint_eq(store_byte(store, page + 1), byte_at(page + 1));
}
END_TEST

START_TEST(errno_is_left_alone)
{
    fill_file(page);
    struct hurdmm_store *store = make(0, 0);

    ck_assert_int_eq(ftruncate(fd, 0), 0);
    errno = 4711;
    ck_assert_int_eq(read_error(store, 0), EIO);
    ck_assert_int_eq(errno, 4711);
    ck_assert_int_eq(hurdmm_file_create(manager, -1, 0, 0, &store), EBADF);
    ck_assert_int_eq(errno, 4711);
}
END_TEST

START_TEST(a_block_device_reads_what_it_was_told)
{
    struct hurdmm_block *block;
    uint8_t out[1024], in[1024];

    memset(out, 5, sizeof out);
    ck_assert_int_eq(hurdmm_file_block_create(fd, 64 * 512 + 100, 512, &block),
                     0);
    ck_assert_uint_eq(block->size, 64 * 512);
    ck_assert_uint_eq(block->block_size, 512);
    ck_assert_int_eq(block->ops->write(block, 62 * 512, out, 1024), 0);
    ck_assert_int_eq(block->ops->read(block, 62 * 512, in, 1024), 0);
    ck_assert_mem_eq(in, out, 1024);
    ck_assert_int_eq(block->ops->flush(block), 0);
    ck_assert_int_eq(block->ops->write(block, 63 * 512, out, 1024), ENXIO);
    ck_assert_int_eq(block->ops->read(block, 63 * 512, in, 1024), ENXIO);
    ck_assert_int_eq(block->ops->read(block, UINT64_MAX - 511, in, 512), ENXIO);
    ck_assert_int_eq(block->ops->read(block, 1, in, 512), EINVAL);
    ck_assert_uint_eq(file_size(), 64 * 512);
    hurdmm_file_block_destroy(block);
}
END_TEST

START_TEST(blocks_that_are_not_in_the_file_are_not_zeros)
{
    struct hurdmm_block *block;
    uint8_t in[512];

    ck_assert_int_eq(hurdmm_file_block_create(fd, 64 * 512, 512, &block), 0);
    ck_assert_int_eq(block->ops->read(block, 0, in, 512), EIO);
    hurdmm_file_block_destroy(block);
}
END_TEST

START_TEST(a_block_device_is_checked_when_it_is_made)
{
    int reader = open("/dev/null", O_RDONLY);
    struct hurdmm_block *block;

    ck_assert_int_eq(hurdmm_file_block_create(-1, 0, 512, &block), EBADF);
    ck_assert_int_eq(hurdmm_file_block_create(fd, 0, 0, &block), EINVAL);
    ck_assert_int_eq(hurdmm_file_block_create(fd, 0, 500, &block), EINVAL);
    ck_assert_int_eq(hurdmm_file_block_create(fd, 0, 512, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_file_block_create(reader, 0, 512, &block), EINVAL);
    close(reader);
    hurdmm_file_block_destroy(NULL);
}
END_TEST

START_TEST(memory_pages_out_to_a_file)
{
    struct hurdmm_block *block;
    struct hurdmm_swap *swap;
    struct hurdmm_store *store;
    uint32_t *words;

    ck_assert_int_eq(hurdmm_file_block_create(fd, 1000 * page, page, &block),
                     0);
    ck_assert_int_eq(hurdmm_swap_create(manager, block, &swap), 0);
    ck_assert_int_eq(
        hurdmm_anonymous_create(manager, swap, 500 * page, 0, &store), 0);
    words =
        (uint32_t *)(void *)bind(store, 500 * page, HURDMM_READ | HURDMM_WRITE);
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 500; i++)
            words[i * page / 4 + i] += i;
        for (uint32_t i = 0; i < 500; i++)
            ck_assert_uint_eq(words[i * page / 4 + i], i * (round + 1));
    }
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
    hurdmm_file_block_destroy(block);
}
END_TEST

#define KILLED_PAGES 200u

/* Writes one generation of pages after the other, and says which are synced. */
static _Noreturn void write_for_ever(int report)
{
    start();
    struct hurdmm_store *store = make(0, 0);
    uint32_t *words = (uint32_t *)(void *)bind(store, KILLED_PAGES * page,
                                               HURDMM_READ | HURDMM_WRITE);

    for (uint32_t generation = 1;; generation++) {
        for (size_t i = 0; i < KILLED_PAGES; i++)
            for (size_t k = 0; k < page / 4; k++)
                words[i * page / 4 + k] = generation;
        if (generation % 3 == 0 &&
            (sync_store(store) != 0 ||
             write(report, &generation, sizeof generation) < 0))
            _exit(1);
    }
}

/* A page may have been written in the middle of a generation, so it is one
 * generation up to some word and the one before from there on. */
static void expect_generations(uint32_t synced)
{
    uint32_t *words = malloc(page);

    for (size_t i = 0; i < KILLED_PAGES; i++) {
        ck_assert_int_eq(pread(fd, words, page, (off_t)(i * page)),
                         (ssize_t)page);
        ck_assert_uint_ge(words[page / 4 - 1], synced);
        for (size_t k = 1; k < page / 4; k++)
            ck_assert(words[k] == words[0] || words[k] + 1 == words[0]);
        for (size_t k = 1; k < page / 4; k++)
            ck_assert_uint_le(words[k], words[k - 1]);
    }
    free(words);
}

/* Lets a child write until it is killed; which generation it said was synced. */
static uint32_t write_and_kill(unsigned round)
{
    struct timespec while_it_writes = {0, 3000000 + round * 7000000};
    uint32_t generation, synced = 0;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0)
        write_for_ever(ends[1]);
    close(ends[1]);
    if (round % 2 == 1)
        ck_assert_int_eq(read(ends[0], &synced, sizeof synced), sizeof synced);
    nanosleep(&while_it_writes, NULL);
    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    while (read(ends[0], &generation, sizeof generation) > 0)
        synced = generation;
    close(ends[0]);
    return synced;
}

/* There are no threads here when the children are made. */
START_TEST(killed_while_writing_pages_are_old_or_new)
{
    fd = temporary();
    page = (size_t)sysconf(_SC_PAGESIZE);
    how = _i == 0 ? 0 : HURDMM_FILE_ASYNC | HURDMM_FILE_DIRECT;
    for (unsigned round = 0; round < 8; round++) {
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        ck_assert_int_eq(ftruncate(fd, (off_t)(KILLED_PAGES * page)), 0);
        expect_generations(write_and_kill(round));
    }
    /* Through a store that is opened on it, it is the same. */
    start();
    struct hurdmm_store *store = make(0, 0);
    for (size_t i = 0; i < KILLED_PAGES * page; i += page)
        ck_assert_uint_eq(store_byte(store, i), file_byte(i));
    end();
}
END_TEST

/* What is the same in whatever way the file is read and written. */
static void add_case(Suite *suite, const char *name, void (*first)(void))
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, first, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, a_region_shows_the_file);
    tcase_add_test(tcase, what_a_region_is_told_reaches_the_file);
    tcase_add_test(tcase, the_rest_of_the_last_page_is_zeros_and_goes_nowhere);
    tcase_add_test(tcase, a_size_extends_the_file);
    tcase_add_test(tcase, a_size_shows_a_part_of_the_file);
    tcase_add_test(tcase, a_read_only_store_is_not_written);
    tcase_add_test(tcase, growing_adds_zeros);
    tcase_add_test(tcase, shrinking_cuts_and_growing_again_shows_zeros);
    tcase_add_test(tcase, pages_that_others_cut_away_fail);
    tcase_add_test(tcase, a_cut_by_others_is_not_undone);
    tcase_add_test(tcase, signals_do_not_cut_transfers_short);
    tcase_add_test(tcase, errno_is_left_alone);
    suite_add_tcase(suite, tcase);
}

int main(void)
{
    Suite *suite = suite_create("file");
    TCase *tcase = tcase_create("files and devices");

    add_case(suite, "cached", begin);
    add_case(suite, "direct", begin_direct);
    add_case(suite, "io_uring", begin_ring);
    add_case(suite, "direct, pool", begin_direct_pool);

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_set_timeout(tcase, 30);
    tcase_add_test(tcase, the_descriptor_is_the_callers);
    tcase_add_test(tcase, descriptors_that_will_not_do_are_refused);
    tcase_add_test(tcase, only_file_stores_are_resized);
    tcase_add_test(tcase, a_block_device_reads_what_it_was_told);
    tcase_add_test(tcase, blocks_that_are_not_in_the_file_are_not_zeros);
    tcase_add_test(tcase, a_block_device_is_checked_when_it_is_made);
    tcase_add_test(tcase, memory_pages_out_to_a_file);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("killed");
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, killed_while_writing_pages_are_old_or_new, 0, 2);
    suite_add_tcase(suite, tcase);
    return run_suites("file", &suite, 1);
}
