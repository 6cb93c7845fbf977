/* SPDX-License-Identifier: MIT */
/*
 * Real threads, on every port of the host that works here: memory whose budget
 * is a tenth of it, or the smallest there is.
 */
#include "tests/core/real.h"

#include <unistd.h>

START_TEST(a_mutex_and_a_counter_work_in_paged_memory)
{
    struct real real;
    struct real_worker workers[REAL_THREADS];
    if (!real_begin(&real, _i))
        return;
    struct real_shared *shared = (void *)real_at(&real, 0);
    bool pins = !real_has_calls(&real);
    if (pins) /* or who waits for the mutex might get EFAULT */
        ck_assert_int_eq(hurdmm_pin(real.space, real.base, real.page,
                                    HURDMM_READ | HURDMM_WRITE),
                         0);
    ck_assert_int_eq(pthread_mutex_init(&shared->mutex, NULL), 0);
    size_t rounds = test_scaled(2000);
    real_start(&real, workers, rounds, true);
    real_finish(&real, workers);
    ck_assert_uint_eq(shared->counter, REAL_THREADS * rounds);
    ck_assert_uint_le(real_stats(&real).frames_peak, REAL_FRAMES);
    ck_assert_uint_gt(real_stats(&real).evictions, 0);
    ck_assert_int_eq(pthread_mutex_destroy(&shared->mutex), 0);
    if (pins)
        ck_assert_int_eq(hurdmm_unpin(real.space, real.base, real.page,
                                      HURDMM_READ | HURDMM_WRITE),
                         0);
    real_end(&real);
}
END_TEST

START_TEST(a_flush_ends_with_evictions_in_flight)
{
    struct real real;
    struct real_worker workers[REAL_THREADS];
    if (!real_begin(&real, _i))
        return;
    real_start(&real, workers, test_scaled(2000), false);
    for (size_t i = 0; i < test_scaled(100); i++) {
        ck_assert_int_eq(hurdmm_flush(real.space, real.base,
                                      REAL_PAGES * real.page, HURDMM_WAIT),
                         0);
        ck_assert_int_eq(
            hurdmm_store_sync(real.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    }
    real_finish(&real, workers);
    ck_assert_int_eq(
        hurdmm_store_flush(real.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        ck_assert_mem_eq(real_at(&real, page), real.disk + page * real.page,
                         real.page);
    real_end(&real);
}
END_TEST

START_TEST(pages_may_be_returned_and_unbound_beside_traffic)
{
    struct real real;
    struct real_worker workers[REAL_THREADS];
    if (!real_begin(&real, _i))
        return;
    real_start(&real, workers, test_scaled(1000), false);
    for (unsigned i = 0; i < test_scaled(100); i++) {
        uintptr_t other =
            real_bind(&real, real.store, i % 64, 1 + i % REAL_FRAMES);
        real_loads(other + REAL_MARK, (uint8_t)(i % 64));
        int error =
            hurdmm_store_return(real.store, (i % REAL_PAGES) * real.page,
                                4 * real.page, HURDMM_WAIT);
        ck_assert_int_eq(error, 0);
        ck_assert_int_eq(
            hurdmm_unbind(real.space, other, (1 + i % REAL_FRAMES) * real.page),
            0);
    }
    real_finish(&real, workers);
    real_end(&real);
}
END_TEST

START_TEST(what_a_caller_gives_may_be_managed_memory)
{
    struct real real;
    uint8_t byte;
    if (!real_begin(&real, _i))
        return;
    uint8_t *states = real_at(&real, 150);
    uintptr_t *addresses = (void *)real_at(&real, 151);
    size_t *done = (void *)real_at(&real, 152);
    for (unsigned i = 0; i < 8; i++)
        addresses[i] = (uintptr_t)real_at(&real, 2 * i);
    ck_assert_int_eq(hurdmm_store_return(real.store, 150 * real.page,
                                         3 * real.page, HURDMM_WAIT),
                     0);
    ck_assert_int_eq(hurdmm_prefetch(real.space, addresses, 8), 0);
    ck_assert_int_eq(
        hurdmm_resident(real.space, real.base, 8 * real.page, states), 0);
    ck_assert_int_eq(
        hurdmm_read(real.space, real.base + REAL_MARK, &byte, 1, done), 0);
    ck_assert_uint_eq(*done, 1);
    ck_assert_uint_eq(byte, 0);
    ck_assert_int_eq(hurdmm_resident(real.space, real.base, real.page, states),
                     0);
    ck_assert_uint_eq(states[0] & HURDMM_STATE_RESIDENT, HURDMM_STATE_RESIDENT);
    real_end(&real);
}
END_TEST

/* ---- Readers and writers ------------------------------------------------------ */

struct pair {
    struct real *real;
    atomic_bool stop;
    atomic_size_t read, written;
};

static void *keep_reading(void *argument)
{
    struct pair *pair = argument;
    uint64_t last = 0;
    while (!atomic_load(&pair->stop)) {
        for (unsigned page = 0; page < 2 * REAL_FRAMES; page++) {
            atomic_ullong *word = (void *)real_at(pair->real, page);
            uint64_t now = atomic_load(word);
            if (page == 0 && now < last)
                return pair; /* a write was lost */
            if (page == 0)
                last = now;
        }
        atomic_fetch_add(&pair->read, 1);
    }
    return NULL;
}

static void *keep_writing(void *argument)
{
    struct pair *pair = argument;
    while (!atomic_load(&pair->stop)) {
        for (unsigned page = 0; page < 2 * REAL_FRAMES; page++)
            atomic_fetch_add((atomic_ullong *)(void *)real_at(pair->real, page),
                             1);
        atomic_fetch_add(&pair->written, 1);
    }
    return NULL;
}

START_TEST(a_reader_and_a_writer_of_one_region_get_on)
{
    struct real real;
    pthread_t reader, writer;
    void *lost = NULL;
    if (!real_begin(&real, _i))
        return;
    struct pair pair = {.real = &real};
    ck_assert_int_eq(pthread_create(&reader, NULL, keep_reading, &pair), 0);
    ck_assert_int_eq(pthread_create(&writer, NULL, keep_writing, &pair), 0);
    size_t rounds = test_scaled(50);
    while (atomic_load(&pair.read) < rounds ||
           atomic_load(&pair.written) < rounds)
        usleep(1000);
    atomic_store(&pair.stop, true);
    ck_assert_int_eq(pthread_join(reader, &lost), 0);
    ck_assert_int_eq(pthread_join(writer, NULL), 0);
    ck_assert_ptr_null(lost);
    for (unsigned page = 0; page < 2 * REAL_FRAMES; page++)
        ck_assert_uint_eq(
            atomic_load((atomic_ullong *)(void *)real_at(&real, page)),
            atomic_load(&pair.written));
    real_end(&real);
}
END_TEST

/* Two counters on pages of their own: the first is never behind the second, and
 * never more than one ahead. */
static void *count_twice(void *argument)
{
    struct pair *pair = argument;
    atomic_ullong *first = (void *)real_at(pair->real, 1);
    atomic_ullong *second = (void *)real_at(pair->real, 9);
    while (!atomic_load(&pair->stop)) {
        atomic_fetch_add(first, 1);
        atomic_fetch_add(second, 1);
        atomic_fetch_add(&pair->written, 1);
    }
    return NULL;
}

/* Waits until the writer has written some more. */
static void let_write(struct pair *pair)
{
    size_t before = atomic_load(&pair->written);
    while (atomic_load(&pair->written) == before)
        usleep(100);
}

START_TEST(a_snapshot_is_of_one_instant)
{
    struct real real;
    pthread_t writer;
    if (!real_begin_with(&real, _i, 4 * REAL_FRAMES))
        return;
    real.base = real_bind(&real, real.store, 0, REAL_PAGES);
    struct hurdmm_store *image = real_store(&real, HURDMM_STORE_VOLATILE);
    struct pair pair = {.real = &real};
    ck_assert_int_eq(pthread_create(&writer, NULL, count_twice, &pair), 0);
    for (size_t i = 0; i < test_scaled(100); i++) {
        uint64_t done = 0, first = 0, second = 0;
        size_t got;
        let_write(&pair);
        ck_assert_int_eq(
            hurdmm_container_copy(hurdmm_store_container(image), 0,
                                  hurdmm_store_container(real.store), 0,
                                  16 * real.page, HURDMM_COPY_SQUASH, &done),
            0);
        let_write(&pair);
        ck_assert_int_eq(
            hurdmm_store_read(image, real.page, &first, sizeof first, &got), 0);
        ck_assert_int_eq(hurdmm_store_read(image, 9 * real.page, &second,
                                           sizeof second, &got),
                         0);
        ck_assert_uint_ge(first, second);
        ck_assert_uint_le(first, second + 1);
        ck_assert_uint_gt(first, 0);
    }
    atomic_store(&pair.stop, true);
    ck_assert_int_eq(pthread_join(writer, NULL), 0);
    real_end(&real);
}
END_TEST

/* Copies the pages that a scan names, which then count as not written. */
static void copy_written(struct real *real, uint8_t *copy)
{
    size_t length = REAL_PAGES * real->page, count, got;
    struct hurdmm_dirty rows[8];
    for (size_t at = 0, done; at < length; at += done) {
        ck_assert_int_eq(
            hurdmm_region_scan_dirty(real->space, real->base + at, length - at,
                                     HURDMM_SCAN_CLEAR, rows, 8, &count, &done),
            0);
        for (size_t i = 0; i < count; i++)
            ck_assert_int_eq(hurdmm_read(real->space, rows[i].address,
                                         copy + (rows[i].address - real->base),
                                         rows[i].length, &got),
                             0);
    }
}

START_TEST(who_copies_what_scans_name_misses_no_write)
{
    struct real real;
    struct real_worker workers[REAL_THREADS];
    size_t got;
    if (!real_begin(&real, _i))
        return;
    uint8_t *copy = calloc(REAL_PAGES, real.page);
    ck_assert_ptr_nonnull(copy);
    copy_written(&real, copy);
    ck_assert_int_eq(
        hurdmm_read(real.space, real.base, copy, REAL_PAGES * real.page, &got),
        0);
    real_start(&real, workers, test_scaled(2000), false);
    for (size_t i = 0; i < test_scaled(60); i++)
        copy_written(&real, copy);
    real_finish(&real, workers);
    copy_written(&real, copy);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        ck_assert_mem_eq(real_at(&real, page), copy + page * real.page,
                         real.page);
    free(copy);
    real_end(&real);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("threads");
    TCase *c = tcase_create("threads");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, what_a_caller_gives_may_be_managed_memory, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, a_mutex_and_a_counter_work_in_paged_memory, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, a_flush_ends_with_evictions_in_flight, 0, REAL_WAYS);
    tcase_add_loop_test(c, pages_may_be_returned_and_unbound_beside_traffic, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, a_reader_and_a_writer_of_one_region_get_on, 0,
                        REAL_WAYS);
    tcase_add_loop_test(c, a_snapshot_is_of_one_instant, 0, REAL_WAYS);
    tcase_add_loop_test(c, who_copies_what_scans_name_misses_no_write, 0,
                        REAL_WAYS);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-threads", suites, 1);
}
