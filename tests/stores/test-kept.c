/* SPDX-License-Identifier: MIT */
/*
 * Stores that are made of files, on every port of this host that has files: what
 * was synced is there after a kill, and nobody's page is torn.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <hurdmm/file.h>
#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>

#include "tests/support/runner.h"

#define PAGES 60u /* of a store: more than there are frames */
#define ROUNDS 4u

/* Which store, and which files it has. */
struct kind {
    const char *name;
    struct hurdmm_store *(*open)(void);
};

static const char *port_name;
static struct hurdmm_port *port;
static struct hurdmm *manager;
static size_t page;
static int files[2];

static bool start(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options};
    int error = hurdmm_host_port_create(port_name, &port);

    if (error == ENOTSUP)
        return false;
    ck_assert_int_eq(error, 0);
    page = (size_t)sysconf(_SC_PAGESIZE);
    options.port = port;
    options.budget = 40 * page;
    ck_assert_int_eq(hurdmm_create(&options, &manager), 0);
    return true;
}

static void stop(void)
{
    const char *what = "nothing";

    ck_assert_msg(hurdmm_check(manager, &what) == 0, "%s", what);
    ck_assert_int_eq(hurdmm_destroy(manager, HURDMM_DETACH | HURDMM_DROP), 0);
    ck_assert_int_eq(hurdmm_host_port_destroy(port), 0);
}

static int temporary(void)
{
    char name[] = "/tmp/test-kept.XXXXXX";
    int file = mkstemp(name);

    ck_assert_int_ge(file, 0);
    unlink(name);
    return file;
}

static struct hurdmm_store *open_file(unsigned number, uint64_t size,
                                      unsigned flags)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_file_create(manager, files[number], size, flags, &store), 0);
    return store;
}

static struct hurdmm_store *open_copy(void)
{
    uint64_t size = PAGES * page;
    struct hurdmm_store *copy;

    ck_assert_int_eq(ftruncate(files[0], (off_t)size), 0);
    ck_assert_int_eq(
        hurdmm_copy_create(manager, open_file(0, 0, HURDMM_STORE_READ_ONLY),
                           open_file(1, hurdmm_copy_delta_size(size, page), 0),
                           0, &copy),
        0);
    return copy;
}

static struct hurdmm_store *open_stripe(void)
{
    struct hurdmm_store *parts[] = {open_file(0, PAGES / 2 * page, 0),
                                    open_file(1, PAGES / 2 * page, 0)};
    struct hurdmm_store *stripe;

    ck_assert_int_eq(
        hurdmm_stripe_create(manager, parts, 2, 2 * page, 0, &stripe), 0);
    return stripe;
}

static const struct kind kinds[] = {{"copy", open_copy},
                                    {"stripe", open_stripe}};

static uint32_t *bind(struct hurdmm_store *store)
{
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = hurdmm_space_own(manager),
        .store = store,
        .length = PAGES * page,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };
    uintptr_t address;

    ck_assert_int_eq(hurdmm_bind(&options, &address), 0);
    return (uint32_t *)address;
}

/* Writes one generation of pages after the other, and says which are synced. */
static _Noreturn void write_for_ever(const struct kind *kind, int report)
{
    struct hurdmm_store *store;
    uint32_t *words;

    if (!start())
        _exit(1);
    store = kind->open();
    words = bind(store);
    for (uint32_t generation = 1;; generation++) {
        for (size_t i = 0; i < PAGES; i++)
            for (size_t k = 0; k < page / 4; k++)
                words[i * page / 4 + k] = generation;
        if (generation % 3 == 0 &&
            (hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT) != 0 ||
             write(report, &generation, sizeof generation) < 0))
            _exit(1);
    }
}

/* Lets a child write until it is killed; the generation it said was synced. */
static uint32_t write_and_kill(const struct kind *kind, unsigned round)
{
    struct timespec while_it_writes = {0, 2000000 + round * 9000000};
    uint32_t generation, synced = 0;
    int ends[2];
    pid_t child;

    ck_assert_int_eq(pipe(ends), 0);
    child = fork();
    if (child == 0)
        write_for_ever(kind, ends[1]);
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

/* A page may have been written in the middle of a generation: it is that up to
 * some word and the one before from there on. */
static void expect_generations(const struct kind *kind, uint32_t synced)
{
    uint32_t *words = malloc(page);
    struct hurdmm_store *store;
    size_t done;

    ck_assert(start());
    store = kind->open();
    for (size_t i = 0; i < PAGES; i++) {
        ck_assert_int_eq(hurdmm_store_read(store, i * page, words, page, &done),
                         0);
        ck_assert_uint_ge(words[page / 4 - 1], synced);
        for (size_t k = 1; k < page / 4; k++) {
            ck_assert(words[k] == words[0] || words[k] + 1 == words[0]);
            ck_assert_uint_le(words[k], words[k - 1]);
        }
    }
    free(words);
    stop();
}

/* No thread is there when a child is made. */
static void try_kind(const struct kind *kind)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        files[0] = temporary();
        files[1] = temporary();
        expect_generations(kind, write_and_kill(kind, round));
        close(files[0]);
        close(files[1]);
    }
}

static bool next_port(unsigned *index)
{
    while ((port_name = hurdmm_host_port_name((*index)++)) != NULL) {
        if (strcmp(port_name, "sim") == 0 || !start())
            continue;
        stop();
        return true;
    }
    return false;
}

START_TEST(killed_while_writing_pages_are_old_or_new)
{
    unsigned index = 0, ports = 0;

    for (; next_port(&index); ports++)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            try_kind(&kinds[i]);
    ck_assert_uint_gt(ports, 0);
}
END_TEST

/* Blocks of the file, as the system counts them. */
static long long room_of(int file)
{
    struct stat status;

    ck_assert_int_eq(fstat(file, &status), 0);
    return (long long)status.st_blocks * 512;
}

START_TEST(swap_on_a_file_keeps_its_word_and_gives_room_back)
{
    unsigned index = 0;

    while (next_port(&index)) {
        struct hurdmm_swap_options options = {
            .struct_size = sizeof options,
            .checksum = hurdmm_checksum,
            .flags = HURDMM_SWAP_RESERVE,
        };
        struct hurdmm_block *block;
        struct hurdmm_swap *swap;
        struct hurdmm_store *store;
        uint32_t *words;
        size_t done;

        ck_assert(start());
        files[0] = temporary();
        ck_assert_int_eq(
            hurdmm_file_block_create(files[0], PAGES * page, page, &block), 0);
        options.block = block;
        ck_assert_int_eq(hurdmm_swap_create_with(manager, &options, &swap), 0);
        ck_assert_int_eq(
            hurdmm_anonymous_create(manager, swap, 2 * PAGES * page, 0, &store),
            0);
        words = bind(store);
        for (uint32_t round = 1; round < 4; round++) {
            for (uint32_t i = 0; i < PAGES; i++)
                words[i * page / 4 + i] += i + round;
            for (uint32_t i = 0; i < PAGES; i++)
                ck_assert_uint_eq(words[i * page / 4 + i],
                                  i * round + round * (round + 1) / 2);
        }
        ck_assert_int_eq(
            hurdmm_store_write(store, PAGES * page, words, 1, &done), ENOSPC);
        ck_assert_int_eq(
            hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
        ck_assert_int_ge(room_of(files[0]), (long long)(PAGES * page));
        ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DETACH), 0);
        if (hurdmm_block_capabilities(block) & HURDMM_BLOCK_DISCARDS)
            ck_assert_int_lt(room_of(files[0]), (long long)(PAGES * page));
        ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
        hurdmm_file_block_destroy(block);
        stop();
        close(files[0]);
    }
}
END_TEST

/* The client of another manager, whose memory is granted. */
START_TEST(memory_of_another_manager_is_a_store)
{
    struct hurdmm_options options = {.struct_size = sizeof options};
    struct hurdmm_port *other_port;
    struct hurdmm *other;
    struct hurdmm_container *container;
    struct hurdmm_grant *grant;
    struct hurdmm_store *store;
    uint32_t *words, value = 7;
    uint64_t done;
    size_t moved;

    port_name = "posix";
    ck_assert(start());
    ck_assert_int_eq(hurdmm_host_port_create("posix", &other_port), 0);
    options.port = other_port;
    options.budget = 100 * page;
    ck_assert_int_eq(hurdmm_create(&options, &other), 0);
    ck_assert_int_eq(hurdmm_container_create(other, &container), 0);
    ck_assert_int_eq(
        hurdmm_container_allocate(container, 0, PAGES * page, 0, &done), 0);
    ck_assert_int_eq(
        hurdmm_container_write(container, 5 * page, &value, 4, &moved), 0);
    ck_assert_int_eq(hurdmm_grant_create(container, 0, PAGES * page,
                                         HURDMM_READ | HURDMM_WRITE, &grant),
                     0);
    ck_assert_int_eq(
        hurdmm_granted_create(manager, grant, 0, PAGES * page, 0, &store), 0);
    words = bind(store);
    ck_assert_uint_eq(words[5 * page / 4], 7);
    for (uint32_t i = 0; i < PAGES; i++)
        words[i * page / 4] = i + 100;
    ck_assert_int_eq(hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    ck_assert_int_eq(
        hurdmm_container_read(container, 9 * page, &value, 4, &moved), 0);
    ck_assert_uint_eq(value, 109);
    ck_assert_int_eq(hurdmm_grant_revoke(grant), 0);
    ck_assert_int_eq(hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0); /* clean pages go */
    ck_assert_int_eq(hurdmm_store_read(store, 0, &value, 4, &moved), ESTALE);
    stop();
    ck_assert_int_eq(hurdmm_destroy(other, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_host_port_destroy(other_port), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kept");
    TCase *tcase = tcase_create("kept");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, killed_while_writing_pages_are_old_or_new);
    tcase_add_test(tcase, swap_on_a_file_keeps_its_word_and_gives_room_back);
    tcase_add_test(tcase, memory_of_another_manager_is_a_store);
    suite_add_tcase(suite, tcase);
    return run_suites("kept", &suite, 1);
}
