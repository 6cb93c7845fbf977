/* SPDX-License-Identifier: MIT */
/*
 * kill -9 while the linux port writes back: a file that a killed process had
 * bound has old or new pages, and what was synced is there.
 */
#include "tests/linux/rig.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <sys/wait.h>

#include <hurdmm/file.h>

#define PAGES 96u
#define FRAMES 16u
#define WORDS (PAGE / 4)

static const unsigned ways[] = {0, HURDMM_BIND_INLINE};

static int make_file(void)
{
    char name[] = "test-killed-XXXXXX";
    int fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(name), 0);
    ck_assert_int_eq(ftruncate(fd, PAGES * PAGE), 0);
    return fd;
}

/* Binds the file; exits where it cannot. */
static volatile uint32_t *bind_file(int fd, unsigned flags,
                                    struct hurdmm_store **store)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = FRAMES * PAGE};
    struct hurdmm *manager;
    uintptr_t address;
    if (hurdmm_linux_create(NULL, &options.port) ||
        hurdmm_create(&options, &manager) ||
        hurdmm_file_create(manager, fd, 0, 0, store))
        _exit(1);
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = hurdmm_space_own(manager),
                                       .store = *store,
                                       .length = PAGES * PAGE,
                                       .rights = HURDMM_READ | HURDMM_WRITE,
                                       .flags = flags};
    if (hurdmm_bind(&bind, &address))
        _exit(1);
    return (volatile uint32_t *)address;
}

/* Generation after generation, each in every word of every page; now and then
 * it is synced, and said so. */
static void write_for_ever(int fd, unsigned flags, int report)
{
    struct hurdmm_store *store;
    volatile uint32_t *words = bind_file(fd, flags, &store);
    for (uint32_t generation = 1;; generation++) {
        for (size_t i = 0; i < PAGES * WORDS; i++)
            words[i] = generation;
        if (generation % 3)
            continue;
        if (hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT) ||
            write(report, &generation, sizeof generation) < 0)
            _exit(1);
    }
}

/* The generation that was synced when it was killed. */
static uint32_t write_and_kill(int fd, unsigned flags, unsigned round)
{
    struct timespec while_it_writes = {0, 1000000 + round * 3000000};
    uint32_t generation, synced = 0;
    int ends[2], status = 0;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        write_for_ever(fd, flags, ends[1]);
    close(ends[1]);
    ck_assert_int_eq(read(ends[0], &synced, sizeof synced), sizeof synced);
    nanosleep(&while_it_writes, NULL);
    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    while (read(ends[0], &generation, sizeof generation) > 0)
        synced = generation;
    close(ends[0]);
    return synced;
}

/* A page may have been written in the middle of a generation: then it is one
 * generation up to some word and the one before from there on. */
static void expect_old_or_new(volatile uint32_t *page, uint32_t synced)
{
    ck_assert_uint_ge(page[WORDS - 1], synced);
    for (size_t k = 1; k < WORDS; k++) {
        ck_assert(page[k] == page[0] || page[k] + 1 == page[0]);
        ck_assert_uint_le(page[k], page[k - 1]);
    }
}

/* Through a store that is opened on it, it is the same. */
static void reopen(int fd, unsigned flags, uint32_t synced)
{
    struct hurdmm_store *store;
    volatile uint32_t *words = bind_file(fd, flags, &store);
    for (size_t i = 0; i < PAGES; i++)
        expect_old_or_new(words + i * WORDS, synced);
}

START_TEST(killed_while_it_writes_back_pages_are_old_or_new)
{
    struct hurdmm_port *port;
    int error = hurdmm_linux_create(NULL, &port);
    if (error == ENOTSUP) {
        test_skip("the machine does not have this port");
        return;
    }
    ck_assert_int_eq(error, 0);
    ck_assert_int_eq(hurdmm_linux_destroy(port), 0);
    unsigned rounds = (unsigned)test_scaled(4);
    int fd = make_file();
    for (unsigned round = 0; round < rounds; round++) {
        static uint32_t page[WORDS];
        uint32_t synced = write_and_kill(fd, ways[_i], round);
        for (size_t i = 0; i < PAGES; i++) {
            ck_assert_int_eq((int)pread(fd, page, PAGE, (off_t)(i * PAGE)),
                             (int)PAGE);
            expect_old_or_new(page, synced);
        }
        if (round + 1 == rounds)
            reopen(fd, ways[_i], synced);
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        ck_assert_int_eq(ftruncate(fd, PAGES * PAGE), 0);
    }
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("killed");
    TCase *tcase = tcase_create("killed");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, killed_while_it_writes_back_pages_are_old_or_new,
                        0, 2);
    suite_add_tcase(suite, tcase);
    return run_suites("tests/linux/test-killed", &suite, 1);
}
