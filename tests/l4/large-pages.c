/* SPDX-License-Identifier: MIT */
/*
 * Pages of 4 MiB: memory that may lie in them does, one fault shows one whole,
 * here and in a client's space, and what needs a part of one gets it, with
 * the bytes that were there, again and again.
 */
#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>
#include <string.h>

#include "backends/l4-x86/l4_port.h"
#include "examples/l4/client.h"
#include "examples/l4/load.h"
#include "tests/support/runner.h"

#define PAGE L4_PAGE_SIZE
#define LARGE L4_LARGE_SIZE
#define LARGE_PAGES (LARGE / PAGE)
#define BLOCKS 3u /* large pages of the container */
#define WRITE_TOO (HURDMM_READ | HURDMM_WRITE)

static struct hurdmm_port *port;
static struct hurdmm *manager;
static struct hurdmm_container *container;
static uintptr_t at; /* of all of it */

static uintptr_t bind(struct hurdmm_container *what, uint64_t offset,
                      size_t length, unsigned rights)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = hurdmm_space_own(manager),
                                       .container = what,
                                       .offset = offset,
                                       .length = length,
                                       .rights = rights};
    uintptr_t address;
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
    return address;
}

static void begin(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = 16u << 20};
    uint64_t done;
    ck_assert_int_eq(hurdmm_l4_create(NULL, &port), 0);
    options.port = port;
    ck_assert_int_eq(hurdmm_create(&options, &manager), 0);
    ck_assert_int_eq(hurdmm_container_create(manager, &container), 0);
    ck_assert_int_eq(hurdmm_container_allocate(
                         container, 0, (uint64_t)BLOCKS * LARGE, 0, &done),
                     0);
    at = bind(container, 0, BLOCKS * LARGE, WRITE_TOO);
    ck_assert_uint_eq(at % LARGE, 0);
}

static void end(void)
{
    ck_assert_int_eq(hurdmm_check(manager, NULL), 0);
    ck_assert_int_eq(hurdmm_destroy(manager, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_l4_destroy(port), 0);
}

static uint64_t faults(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(hurdmm_get_stats(manager, &stats), 0);
    return stats.faults;
}

static volatile uint32_t *word(uintptr_t address, uint32_t page)
{
    return (volatile uint32_t *)(address + page * PAGE);
}

/* Each page has its number, and one more for each round. */
static void fill(uintptr_t address, uint32_t first, uint32_t pages,
                 uint32_t round)
{
    for (uint32_t i = first; i < first + pages; i++)
        *word(address, i) = i + round;
}

static void expect(uintptr_t address, uint32_t first, uint32_t pages,
                   uint32_t round)
{
    for (uint32_t i = first; i < first + pages; i++)
        ck_assert_uint_eq(*word(address, i), i + round);
}

/* The number of the frame that a page has. */
static uint64_t physical(uint32_t page)
{
    struct hurdmm_physical_run run;
    size_t count = 0;
    ck_assert_int_eq(hurdmm_container_pin(container, (uint64_t)page * PAGE,
                                          PAGE, HURDMM_READ, &run, 1, &count),
                     0);
    ck_assert_int_eq(hurdmm_container_unpin(container, (uint64_t)page * PAGE,
                                            PAGE, HURDMM_READ),
                     0);
    return run.address;
}

START_TEST(memory_lies_in_large_pages)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        ck_assert_uint_eq(physical(i * LARGE_PAGES) % LARGE, 0);
        ck_assert_uint_eq(physical((i + 1) * LARGE_PAGES - 1),
                          physical(i * LARGE_PAGES) + LARGE - PAGE);
    }
}
END_TEST

START_TEST(one_fault_shows_4_mib)
{
    uint64_t before = faults();
    *word(at, LARGE_PAGES + 7) = 1;
    ck_assert_uint_eq(faults(), before + 1);
    fill(at, LARGE_PAGES, LARGE_PAGES, 5);
    expect(at, LARGE_PAGES, LARGE_PAGES, 5);
    ck_assert_uint_eq(faults(), before + 1);
    ck_assert_uint_eq(
        *(volatile uint32_t *)(uintptr_t)physical(LARGE_PAGES + 9),
        LARGE_PAGES + 9 + 5);
}
END_TEST

/* A test kernel may refuse a large page now and then. */
START_TEST(the_kernel_has_it_as_one_page)
{
    for (unsigned tries = 0;
         tries < 100 && !hmm_l4_is_joined((uint32_t)physical(0)); tries++) {
        uint64_t done;
        ck_assert_int_eq(hurdmm_container_release(container, 0, LARGE), 0);
        ck_assert_int_eq(
            hurdmm_container_allocate(container, 0, LARGE, 0, &done), 0);
        fill(at, 0, 1, tries);
    }
    ck_assert(hmm_l4_is_joined((uint32_t)physical(0)));
    ck_assert_uint_eq(hmm_l4_from(port)->large,
                      2); /* and a leaf that shows it */
}
END_TEST

START_TEST(what_was_shown_to_be_read_is_shown_to_be_written)
{
    uintptr_t fixed = bind(container, 0, BLOCKS * LARGE, HURDMM_READ);
    expect(fixed, 0, 1, 0);
    fill(at, 0, LARGE_PAGES, 1);
    expect(fixed, 0, LARGE_PAGES, 1);
    fill(at, 0, LARGE_PAGES, 2);
    expect(fixed, 0, LARGE_PAGES, 2);
    ck_assert_int_eq(
        hurdmm_unbind(hurdmm_space_own(manager), fixed, BLOCKS * LARGE), 0);
    expect(at, 0, LARGE_PAGES, 2);
}
END_TEST

static void load(void *address)
{
    (void)*(volatile uint32_t *)address;
}

static int read_at(uintptr_t address)
{
    return hurdmm_l4_try(load, (void *)address);
}

START_TEST(a_part_that_goes_leaves_the_rest)
{
    for (uint32_t round = 1; round < 9; round++) {
        uint64_t done;
        fill(at, 0, LARGE_PAGES, round);
        ck_assert_int_eq(hurdmm_container_release(
                             container, (uint64_t)(100 + round) * PAGE, PAGE),
                         0);
        expect(at, 0, 100 + round, round);
        expect(at, 101 + round, LARGE_PAGES - 101 - round, round);
        ck_assert_int_eq(read_at(at + (100 + round) * PAGE), EFAULT);
        ck_assert_int_eq(hurdmm_container_release(container, 0, LARGE), 0);
        ck_assert_int_eq(
            hurdmm_container_allocate(container, 0, LARGE, 0, &done), 0);
        ck_assert_uint_eq(*word(at, 100 + round), 0);
    }
}
END_TEST

START_TEST(a_copy_breaks_where_it_is_written)
{
    struct hurdmm_container *copy;
    uint64_t done;
    ck_assert_int_eq(hurdmm_container_create(manager, &copy), 0);
    for (uint32_t round = 1; round < 6; round++) {
        fill(at, 0, LARGE_PAGES, round);
        ck_assert_int_eq(
            hurdmm_container_copy(copy, 0, container, 0, LARGE, 0, &done), 0);
        uintptr_t there = bind(copy, 0, LARGE, WRITE_TOO);
        expect(there, 0, LARGE_PAGES, round);
        fill(at, 10, 20, 100 + round);
        fill(there, 500, 7, 200 + round);
        expect(there, 0, 500, round);
        expect(there, 500, 7, 200 + round);
        expect(at, 0, 10, round);
        expect(at, 10, 20, 100 + round);
        expect(at, 30, LARGE_PAGES - 30, round);
        ck_assert_int_eq(hurdmm_unbind(hurdmm_space_own(manager), there, LARGE),
                         0);
        ck_assert_int_eq(hurdmm_container_release(copy, 0, LARGE), 0);
    }
    ck_assert_int_eq(hurdmm_container_destroy(copy), 0);
}
END_TEST

/* A region where the pages do not lie as in memory: page by page. */
START_TEST(one_block_is_shown_whole_and_in_pieces)
{
    uintptr_t pieces =
        bind(container, 3 * PAGE, (LARGE_PAGES - 3) * PAGE, WRITE_TOO);
    for (uint32_t round = 1; round < 9; round++) {
        fill(at, 0, LARGE_PAGES, round);
        ck_assert_uint_eq(*word(pieces, 0), 3 + round);
        ck_assert(!hmm_l4_is_joined((uint32_t)physical(0)));
        *word(pieces, round) = 1000 + round;
        ck_assert_uint_eq(*word(at, 3 + round), 1000 + round);
        expect(at, 4 + round, LARGE_PAGES - 4 - round, round);
        ck_assert_int_eq(hurdmm_container_write(container, 9 * PAGE, &round,
                                                sizeof round, &(size_t){0}),
                         0);
        ck_assert_uint_eq(*word(at, 9), round);
        ck_assert_uint_eq(*word(pieces, 6), round);
    }
}
END_TEST

/* ---- While it is split ---- */

struct looker {
    const volatile uint32_t *word;
    uint32_t wrong, looks;
    bool stop;
};

static void look(void *argument)
{
    struct looker *looker = argument;
    while (!__atomic_load_n(&looker->stop, __ATOMIC_SEQ_CST)) {
        looker->wrong += *looker->word != 700;
        looker->looks++;
    }
}

/* As who writes a page back does: by the address of its frame. */
START_TEST(who_uses_the_frames_meanwhile_goes_on)
{
    uintptr_t pieces = bind(container, PAGE, PAGE, HURDMM_READ);
    struct looker looker = {
        .word = (const volatile uint32_t *)(uintptr_t)physical(700)};
    uint64_t thread;
    fill(at, 0, LARGE_PAGES, 0);
    ck_assert_int_eq(port->ops->thread_start(port, look, &looker, &thread), 0);
    for (uint32_t round = 0; round < 20; round++) {
        uint64_t done;
        ck_assert_uint_eq(*word(pieces, 0), 1); /* splits */
        ck_assert_int_eq(hurdmm_container_release(container, PAGE, PAGE), 0);
        ck_assert_int_eq(
            hurdmm_container_allocate(container, PAGE, PAGE, 0, &done), 0);
        fill(at, 1, LARGE_PAGES - 1, 0); /* joins */
        hmm_l4_switch(L4_NIL);
    }
    __atomic_store_n(&looker.stop, true, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(port->ops->thread_join(port, thread), 0);
    ck_assert_uint_eq(looker.wrong, 0);
    ck_assert_uint_gt(looker.looks, 0);
}
END_TEST

/* ---- A client ---- */

static void bind_there(struct hurdmm_space *space, uintptr_t address,
                       struct hurdmm_container *what, size_t length)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = space,
                                       .container = what,
                                       .address = address,
                                       .length = length,
                                       .rights = WRITE_TOO,
                                       .flags = HURDMM_BIND_EXACT};
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
}

/* What the client is to find in each page (examples/l4/client.c). */
static void fill_for_client(uint32_t first, uint32_t pages)
{
    for (uint32_t i = 0; i < pages; i++)
        word(at, first + i)[0] = word(at, first + i)[1023] = client_word(i);
}

START_TEST(a_client_gets_large_pages_too)
{
    struct hurdmm_l4_status status = {.struct_size = sizeof status};
    struct program program;
    struct image image;
    struct hurdmm_l4_task *task;
    struct hurdmm_space *space;
    struct hurdmm_container *rest;
    uintptr_t stack;
    uint64_t done;
    ck_assert_int_eq(program_find(0, &program), 0);
    ck_assert_int_eq(hurdmm_l4_task_create(port, &task), 0);
    ck_assert_int_eq(
        hurdmm_space_create(manager, hurdmm_l4_task_space(task), &space), 0);
    ck_assert_int_eq(program_load(&program, manager, space, CLIENT_STACK,
                                  CLIENT_STACK_SIZE, CLIENT_WORK, &image,
                                  &stack),
                     0);
    fill_for_client(0, CLIENT_DISK_SIZE / PAGE);
    fill_for_client(LARGE_PAGES, CLIENT_COPY_SIZE / PAGE);
    ck_assert_int_eq(hurdmm_container_create(manager, &rest), 0);
    ck_assert_int_eq(hurdmm_container_copy(rest, 0, container, LARGE,
                                           CLIENT_COPY_SIZE, 0, &done),
                     0);
    ck_assert_int_eq(
        hurdmm_container_allocate(rest, CLIENT_COPY_SIZE, PAGE, 0, &done), 0);
    bind_there(space, CLIENT_DISK, container, LARGE);
    bind_there(space, CLIENT_COPY, rest, CLIENT_COPY_SIZE + PAGE);
    struct hurdmm_bind_options shared = {.struct_size = sizeof shared,
                                         .space = space,
                                         .container = rest,
                                         .offset = CLIENT_COPY_SIZE,
                                         .address = CLIENT_SHARED,
                                         .length = PAGE,
                                         .rights = WRITE_TOO,
                                         .flags = HURDMM_BIND_EXACT};
    uintptr_t there;
    ck_assert_int_eq(hurdmm_bind(&shared, &there), 0);
    uint64_t before = faults();
    ck_assert_int_eq(hurdmm_l4_task_start(task, program.entry, stack), 0);
    ck_assert_int_eq(hurdmm_l4_task_wait(task, UINT64_C(60000000000), &status),
                     0);
    ck_assert_uint_eq(status.state, HURDMM_L4_EXITED);
    ck_assert_uint_eq(status.value,
                      (CLIENT_DISK_SIZE + CLIENT_COPY_SIZE) / PAGE);
    ck_assert_uint_lt(faults() - before, 100); /* not one each */
    for (uint32_t i = 0; i < CLIENT_DISK_SIZE / PAGE; i++)
        ck_assert_uint_eq(word(at, i)[1], ~client_word(i));
    ck_assert_int_eq(hurdmm_space_destroy(space, HURDMM_DETACH), 0);
    hurdmm_l4_task_destroy(task);
    image_drop(&image);
    ck_assert_int_eq(hurdmm_container_destroy(rest), 0);
}
END_TEST

void hurdmm_l4_main(void)
{
    Suite *suite = suite_create("large-pages");
    TCase *cases = tcase_create("cases");
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_test(cases, memory_lies_in_large_pages);
    tcase_add_test(cases, one_fault_shows_4_mib);
    tcase_add_test(cases, the_kernel_has_it_as_one_page);
    tcase_add_test(cases, what_was_shown_to_be_read_is_shown_to_be_written);
    tcase_add_test(cases, a_part_that_goes_leaves_the_rest);
    tcase_add_test(cases, a_copy_breaks_where_it_is_written);
    tcase_add_test(cases, one_block_is_shown_whole_and_in_pieces);
    tcase_add_test(cases, who_uses_the_frames_meanwhile_goes_on);
    tcase_add_test(cases, a_client_gets_large_pages_too);
    suite_add_tcase(suite, cases);
    (void)run_suites("large-pages", &suite, 1);
}
