/* SPDX-License-Identifier: MIT */
/* A shared store at two addresses: every page is at both at once, or, without
 * the means for it, at the one that was used last, with the same results. */
#include "tests/linux/rig.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <hurdmm/host.h>

static const struct rig_options ways[] = {
    {.pages = 256, .budget = 32, .store_flags = HURDMM_STORE_SHARED},
    {.pages = 256,
     .budget = 32,
     .store_flags = HURDMM_STORE_SHARED,
     .bind_flags = HURDMM_BIND_INLINE},
    {.pages = 256,
     .budget = 128,
     .block_pages = 4,
     .store_flags = HURDMM_STORE_SHARED},
    {.pages = 256,
     .budget = 32,
     .store_flags = HURDMM_STORE_SHARED,
     .bind_flags = HURDMM_BIND_INLINE,
     .manager_flags = HURDMM_NO_THREADS},
    /* From here on pages are at one address at a time. */
    {.pages = 256,
     .budget = 32,
     .store_flags = HURDMM_STORE_SHARED,
     .port_flags = HURDMM_LINUX_NO_SHARED},
    {.pages = 256,
     .budget = 32,
     .store_flags = HURDMM_STORE_SHARED,
     .port_flags = HURDMM_LINUX_NO_SHARED,
     .bind_flags = HURDMM_BIND_INLINE},
};

#define WAYS ((int)(sizeof ways / sizeof ways[0]))
#define SHARING 4

/* Those with somebody who answers for containers, which are not signal-safe. */
static const int threaded[] = {0, 1, 2, 4, 5};

#define THREADED ((int)(sizeof threaded / sizeof threaded[0]))

static struct rig rig;
static uintptr_t second; /* the other address of page 0 */

static volatile uint8_t *also_at(size_t page)
{
    return (volatile uint8_t *)(second + page * PAGE);
}

static uintptr_t bind_part(unsigned flags, size_t page, size_t pages,
                           uintptr_t want)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = rig.space,
        .store = rig.store,
        .address = want,
        .offset = page * PAGE,
        .length = pages * PAGE,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .flags = flags,
    };
    uintptr_t address = 0;
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
    return address;
}

/* A rig with the store bound twice; in ways that share the machine must. */
static bool open_twice(int way)
{
    char text[512];
    if (!rig_open(&rig, &ways[way]))
        return false;
    ck_assert_int_eq(hurdmm_port_describe(rig.port, text, sizeof text), 0);
    if (way < SHARING && !strstr(text, "shared pages at all addresses")) {
        test_skip("the system has no CONTINUE for shared memory");
        rig_close(&rig);
        return false;
    }
    second = bind_part(ways[way].bind_flags, 0, rig.pages, 0);
    return true;
}

START_TEST(a_write_at_one_address_is_read_at_the_other)
{
    if (!open_twice(_i))
        return;
    for (size_t i = 0; i < rig.pages; i++) {
        ck_assert_uint_eq(rig_at(&rig, i)[5], (uint8_t)(i + 1));
        also_at(i)[5] = (uint8_t)(i + 2);
        ck_assert_uint_eq(rig_at(&rig, i)[5], (uint8_t)(i + 2));
        rig_at(&rig, i)[5] = (uint8_t)(i + 3);
        ck_assert_uint_eq(also_at(i)[5], (uint8_t)(i + 3));
        ck_assert_uint_eq(also_at(i)[6], (uint8_t)(i + 1));
    }
    rig_check(&rig);
    ck_assert_int_eq(hurdmm_store_sync(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (size_t i = 0; i < rig.pages; i++) {
        ck_assert_uint_eq(rig.disk[i * PAGE + 5], (uint8_t)(i + 3));
        ck_assert_uint_eq(rig.disk[i * PAGE + 6], (uint8_t)(i + 1));
    }
    rig_close(&rig);
}
END_TEST

static uint64_t faults(void)
{
    struct hurdmm_linux_counters counters = rig_counters(&rig);
    return counters.faults + counters.faults_inline;
}

START_TEST(a_page_is_at_both_addresses_at_once)
{
    if (!open_twice(_i))
        return;
    rig_at(&rig, 3)[0] = 1;
    also_at(3)[0] = 2;
    uint64_t before = faults();
    for (unsigned i = 0; i < 200; i++) {
        rig_at(&rig, 3)[0] = (uint8_t)i;
        ck_assert_uint_eq(also_at(3)[0], (uint8_t)i);
        also_at(3)[1] = (uint8_t)i;
        ck_assert_uint_eq(rig_at(&rig, 3)[1], (uint8_t)i);
    }
    ck_assert_uint_eq(faults(), before);
    rig_close(&rig);
}
END_TEST

START_TEST(a_page_comes_in_once_for_both_addresses)
{
    if (!open_twice(_i))
        return;
    (void)rig_at(&rig, 9)[0];
    unsigned reads = atomic_load(&rig.reads);
    (void)also_at(9)[0];
    ck_assert_uint_eq(atomic_load(&rig.reads), reads);
    rig_close(&rig);
}
END_TEST

/* A lock in a shared page is known to the system by the memory, not by the
 * address: so who waits at one is woken at the other. */
static void *wait_there(void *argument)
{
    uint32_t *word = argument;
    while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 0)
        (void)syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
    return NULL;
}

START_TEST(who_waits_at_one_address_is_woken_at_the_other)
{
    pthread_t thread;
    if (!open_twice(_i))
        return;
    uint32_t *here = (uint32_t *)(rig.region + 7 * PAGE);
    uint32_t *there = (uint32_t *)(second + 7 * PAGE);
    ck_assert_int_eq(hurdmm_pin(rig.space, rig.region + 7 * PAGE, PAGE,
                                HURDMM_READ | HURDMM_WRITE),
                     0);
    __atomic_store_n(here, 0, __ATOMIC_SEQ_CST);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_there, here), 0);
    /* Wakes it without a reason until it has met it once. */
    __atomic_store_n(there, 0, __ATOMIC_SEQ_CST);
    while (syscall(SYS_futex, there, FUTEX_WAKE, 1, NULL, NULL, 0) != 1)
        (void)sched_yield();
    __atomic_store_n(there, 1, __ATOMIC_SEQ_CST);
    (void)syscall(SYS_futex, there, FUTEX_WAKE, 1, NULL, NULL, 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(hurdmm_unpin(rig.space, rig.region + 7 * PAGE, PAGE,
                                  HURDMM_READ | HURDMM_WRITE),
                     0);
    rig_close(&rig);
}
END_TEST

START_TEST(a_pinned_page_stays_when_it_is_used_at_the_other_address)
{
    int ends[2];
    char byte = 0;
    if (!open_twice(_i))
        return;
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(
        hurdmm_pin(rig.space, rig.region, PAGE, HURDMM_READ | HURDMM_WRITE), 0);
    also_at(0)[0] = 77;
    /* Inline this is EFAULT when the page is not there. */
    ck_assert_int_eq(write(ends[1], (void *)rig.region, 1), 1);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 77);
    /* The library writes to it where it is. */
    size_t done;
    ck_assert_int_eq(hurdmm_store_write(rig.store, 1, "x", 1, &done), 0);
    ck_assert_uint_eq(rig_at(&rig, 0)[1], 'x');
    ck_assert_uint_eq(also_at(0)[1], 'x');
    ck_assert_int_eq(
        hurdmm_unpin(rig.space, rig.region, PAGE, HURDMM_READ | HURDMM_WRITE),
        0);
    close(ends[0]);
    close(ends[1]);
    rig_close(&rig);
}
END_TEST

START_TEST(what_the_program_drops_at_one_address_is_at_the_other)
{
    if (!open_twice(_i))
        return;
    rig_at(&rig, 2)[0] = 33;
    also_at(2)[1] = 34;
    ck_assert_int_eq(madvise((void *)rig_at(&rig, 2), PAGE, MADV_DONTNEED), 0);
    ck_assert_uint_eq(also_at(2)[0], 33);
    ck_assert_uint_eq(rig_at(&rig, 2)[1], 34);
    rig_close(&rig);
}
END_TEST

/* ---- Ranges ---- */

static int fill(void *hook, uint64_t offset, void *buffer, size_t length)
{
    (void)hook;
    (void)offset;
    memset(buffer, 6, length);
    return 0;
}

START_TEST(parts_are_unbound_and_bound_again)
{
    if (!open_twice(_i))
        return;
    unsigned flags = ways[_i].bind_flags;
    for (size_t i = 0; i < 16; i++)
        also_at(i)[0] = (uint8_t)(100 + i);
    ck_assert_int_eq(hurdmm_unbind(rig.space, second + 4 * PAGE, 4 * PAGE), 0);
    /* Other pages of the store come in the place of those. */
    ck_assert_uint_eq(
        bind_part(flags | HURDMM_BIND_EXACT, 10, 2, second + 5 * PAGE),
        second + 5 * PAGE);
    ck_assert_uint_eq(also_at(5)[0], 110);
    also_at(6)[0] = 9;
    ck_assert_uint_eq(rig_at(&rig, 11)[0], 9);
    ck_assert_uint_eq(also_at(11)[0], 9);
    ck_assert_uint_eq(also_at(3)[0], 103);
    ck_assert_uint_eq(also_at(8)[0], 108);
    rig_check(&rig);
    /* And of a store that is not shared. */
    ck_assert_int_eq(hurdmm_unbind(rig.space, second, rig.pages * PAGE), 0);
    struct hurdmm_store *alone;
    ck_assert_int_eq(hurdmm_computed_create(rig.manager, 8 * PAGE,
                                            HURDMM_STORE_SIGNAL_SAFE |
                                                HURDMM_STORE_DISCARDABLE,
                                            fill, NULL, &alone),
                     0);
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = rig.space,
                                       .store = alone,
                                       .address = second,
                                       .length = 8 * PAGE,
                                       .rights = HURDMM_READ | HURDMM_WRITE,
                                       .flags = flags | HURDMM_BIND_EXACT};
    uintptr_t address;
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
    for (size_t i = 0; i < 8; i++) {
        ck_assert_uint_eq(also_at(i)[0], 6);
        also_at(i)[0] = 5;
        ck_assert_uint_eq(rig_at(&rig, i)[0], (uint8_t)(100 + i));
    }
    bind.flags = flags;
    bind.address = 0;
    ck_assert_int_eq(hurdmm_bind(&bind, &address), EBUSY);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

START_TEST(a_store_that_ends_leaves_nothing_to_the_next)
{
    if (!open_twice(threaded[_i]))
        return;
    for (unsigned round = 0; round < 20; round++) {
        struct hurdmm_container *memory;
        uint64_t done;
        uintptr_t at[2];
        ck_assert_int_eq(hurdmm_container_create(rig.manager, &memory), 0);
        ck_assert_int_eq(
            hurdmm_container_allocate(memory, 0, 8 * PAGE, 0, &done), 0);
        for (unsigned i = 0; i < 2; i++) {
            struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                               .space = rig.space,
                                               .container = memory,
                                               .length = 8 * PAGE,
                                               .rights =
                                                   HURDMM_READ | HURDMM_WRITE};
            ck_assert_int_eq(hurdmm_bind(&bind, &at[i]), 0);
        }
        for (size_t i = 0; i < 8; i++) {
            volatile uint8_t *a = (volatile uint8_t *)(at[0] + i * PAGE);
            volatile uint8_t *b = (volatile uint8_t *)(at[1] + i * PAGE);
            a[0] = (uint8_t)(round + i);
            ck_assert_uint_eq(b[0], (uint8_t)(round + i));
            b[1] = (uint8_t)round;
            ck_assert_uint_eq(a[1], (uint8_t)round);
        }
        ck_assert_uint_eq(rig_at(&rig, round)[0], (uint8_t)(round + 1));
        ck_assert_int_eq(hurdmm_unbind(rig.space, at[0], 8 * PAGE), 0);
        ck_assert_int_eq(hurdmm_unbind(rig.space, at[1], 8 * PAGE), 0);
        ck_assert_int_eq(hurdmm_container_destroy(memory), 0);
    }
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* ---- Copies ---- */

START_TEST(a_copy_of_what_two_addresses_show_is_of_one_instant)
{
    struct hurdmm_container *memory, *copy;
    uint64_t copied;
    size_t done;
    uintptr_t at[2];
    uint8_t byte;
    if (!open_twice(threaded[_i]))
        return;
    ck_assert_int_eq(hurdmm_container_create(rig.manager, &memory), 0);
    ck_assert_int_eq(hurdmm_container_create(rig.manager, &copy), 0);
    ck_assert_int_eq(hurdmm_container_allocate(memory, 0, 4 * PAGE, 0, &copied),
                     0);
    for (unsigned i = 0; i < 2; i++) {
        struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                           .space = rig.space,
                                           .container = memory,
                                           .length = 4 * PAGE,
                                           .rights =
                                               HURDMM_READ | HURDMM_WRITE};
        ck_assert_int_eq(hurdmm_bind(&bind, &at[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        ((volatile uint8_t *)at[0])[i * PAGE] = (uint8_t)(i + 1);
        ((volatile uint8_t *)at[1])[i * PAGE + 1] = (uint8_t)(i + 1);
    }
    ck_assert_int_eq(
        hurdmm_container_copy(copy, 0, memory, 0, 4 * PAGE, 0, &copied), 0);
    for (size_t i = 0; i < 4; i++)
        ((volatile uint8_t *)at[i % 2])[i * PAGE] = 50;
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(hurdmm_container_read(copy, i * PAGE, &byte, 1, &done),
                         0);
        ck_assert_uint_eq(byte, i + 1);
        ck_assert_uint_eq(((volatile uint8_t *)at[0])[i * PAGE], 50);
        ck_assert_uint_eq(((volatile uint8_t *)at[1])[i * PAGE], 50);
        ck_assert_uint_eq(((volatile uint8_t *)at[0])[i * PAGE + 1], i + 1);
    }
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* ---- Threads ---- */

struct counting {
    pthread_t thread;
    unsigned number;
};

/* Atomic counters in all pages, by one address or the other. */
static void *count(void *argument)
{
    const struct counting *counting = argument;
    uint32_t state = counting->number;
    size_t rounds = test_scaled(4000);
    for (size_t i = 0; i < rounds; i++) {
        state = state * 1664525 + 1013904223;
        size_t page = (state >> 8) % rig.pages;
        uintptr_t base = (state >> 20) % 2 ? rig.region : second;
        uint32_t *at = (uint32_t *)(base + page * PAGE) + 2;
        __atomic_fetch_add(at, 1, __ATOMIC_RELAXED);
        if (i % 512 == 0)
            (void)hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    }
    return NULL;
}

static void *flush(void *argument)
{
    atomic_int *stop = argument;
    while (!atomic_load(stop)) {
        (void)hurdmm_store_flush(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT);
        usleep(1000);
    }
    return NULL;
}

START_TEST(no_count_is_lost_between_two_addresses)
{
    struct counting counting[3];
    uint32_t sum = 0;
    pthread_t flusher;
    atomic_int stop = 0;
    if (!open_twice(_i))
        return;
    ck_assert_int_eq(pthread_create(&flusher, NULL, flush, &stop), 0);
    for (unsigned i = 0; i < 3; i++) {
        counting[i].number = i + 1;
        ck_assert_int_eq(
            pthread_create(&counting[i].thread, NULL, count, &counting[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_join(counting[i].thread, NULL), 0);
    atomic_store(&stop, 1);
    ck_assert_int_eq(pthread_join(flusher, NULL), 0);
    rig_check(&rig);
    for (size_t i = 0; i < rig.pages; i++)
        sum += ((volatile uint32_t *)also_at(i))[2] -
               (uint32_t)(uint8_t)(i + 1) * 0x01010101u;
    ck_assert_uint_eq(sum, 3 * test_scaled(4000));
    rig_close(&rig);
}
END_TEST

void shared_cases(Suite *suite)
{
    TCase *cases = tcase_create("shared");
    tcase_set_timeout(cases, 60);
    tcase_add_loop_test(cases, a_write_at_one_address_is_read_at_the_other, 0,
                        WAYS);
    tcase_add_loop_test(cases, a_page_is_at_both_addresses_at_once, 0, SHARING);
    tcase_add_loop_test(cases, a_page_comes_in_once_for_both_addresses, 0,
                        WAYS);
    tcase_add_loop_test(cases, who_waits_at_one_address_is_woken_at_the_other,
                        0, SHARING);
    tcase_add_loop_test(
        cases, a_pinned_page_stays_when_it_is_used_at_the_other_address, 0,
        SHARING);
    tcase_add_loop_test(cases,
                        what_the_program_drops_at_one_address_is_at_the_other,
                        0, SHARING);
    tcase_add_loop_test(cases, parts_are_unbound_and_bound_again, 0, WAYS);
    tcase_add_loop_test(cases, a_store_that_ends_leaves_nothing_to_the_next, 0,
                        THREADED);
    tcase_add_loop_test(cases,
                        a_copy_of_what_two_addresses_show_is_of_one_instant, 0,
                        THREADED);
    tcase_add_loop_test(cases, no_count_is_lost_between_two_addresses, 0, WAYS);
    suite_add_tcase(suite, cases);
}
