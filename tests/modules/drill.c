/* SPDX-License-Identifier: MIT */
/* See drill.h. */
#define _POSIX_C_SOURCE 200809L

#include "tests/modules/drill.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hurdmm/host.h>
#include <hurdmm/sim.h>

#include "tests/support/runner.h"

#define SIM_PAGE 1024u
#define THREADS 4u

static uint64_t draw(uint64_t *state)
{
    uint64_t x = *state += 0x9E3779B97F4A7C15u;

    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static unsigned below(struct drill *drill, unsigned limit)
{
    return (unsigned)(draw(&drill->state) % limit);
}

const char *drill_port(int index)
{
    static const char *const names[] = {"sim", "posix", "linux"};

    return names[index % DRILL_PORTS];
}

static bool is_sim(const struct drill *drill)
{
    return strcmp(drill->port_name, "sim") == 0;
}

static int make_port(struct drill *drill)
{
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .page_size = SIM_PAGE,
        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK,
    };

    return is_sim(drill)
               ? hurdmm_sim_create(&machine, &drill->port)
               : hurdmm_host_port_create(drill->port_name, &drill->port);
}

bool drill_begin(struct drill *drill, const char *port, unsigned budget)
{
    struct hurdmm_options options = {.struct_size = sizeof options};
    int error;

    memset(drill, 0, sizeof *drill);
    drill->port_name = port;
    error = make_port(drill);
    if (error == ENOENT || error == ENOTSUP) {
        char reason[80];

        snprintf(reason, sizeof reason, "the %s port does not work here", port);
        test_skip(reason);
        return false;
    }
    ck_assert_int_eq(error, 0);
    options.port = drill->port;
    options.budget = budget * (size_t)65536;
    /* The page is known only then: the budget that is meant comes after. */
    ck_assert_int_eq(hurdmm_create(&options, &drill->manager), 0);
    drill->page = hurdmm_page_size(drill->manager);
    ck_assert_int_eq(hurdmm_destroy(drill->manager, 0), 0);
    options.budget = budget * drill->page;
    ck_assert_int_eq(hurdmm_create(&options, &drill->manager), 0);
    return true;
}

void drill_take(struct drill *drill, struct hurdmm_store *store, unsigned flags,
                const uint8_t *truth)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = hurdmm_space_own(drill->manager),
        .store = store,
        .rights =
            flags & DRILL_READ_ONLY ? HURDMM_READ : HURDMM_READ | HURDMM_WRITE,
    };
    uint64_t size = hurdmm_store_size(store);

    drill->store = store;
    drill->flags = flags;
    drill->pages = (unsigned)((size + drill->page - 1) / drill->page);

    drill->truth = calloc(drill->pages, drill->page);
    ck_assert_ptr_nonnull(drill->truth);
    if (truth)
        memcpy(drill->truth, truth, (size_t)size);
    bind.length = drill->pages * drill->page;
    ck_assert_int_eq(hurdmm_bind(&bind, &drill->address), 0);
}

void drill_end(struct drill *drill)
{
    const char *what = "nothing";

    ck_assert_msg(hurdmm_check(drill->manager, &what) == 0, "%s", what);
    ck_assert_int_eq(hurdmm_destroy(drill->manager, HURDMM_DETACH), 0);
    if (is_sim(drill)) {
        ck_assert_msg(hurdmm_sim_violations(drill->port, &what) == 0, "%s",
                      what);
        hurdmm_sim_destroy(drill->port);
    } else {
        ck_assert_int_eq(hurdmm_host_port_destroy(drill->port), 0);
    }
    free(drill->truth);
}

void drill_fill(uint8_t *bytes, size_t length, uint64_t page, unsigned version)
{
    static const char words[] = "the quick brown fox jumps over a lazy dog; ";
    uint64_t state = page * 1000003 + version;

    for (size_t i = 0; i < length; i++) {
        bool second = i >= length / 2;

        switch (version % 4) {
        case 0:
            bytes[i] = (uint8_t)(version >> 2);
            break;
        case 1:
            bytes[i] = (uint8_t)words[(i + page + version) % 43];
            break;
        case 2:
            bytes[i] = (uint8_t)draw(&state);
            break;
        default:
            bytes[i] = second ? (uint8_t)version : (uint8_t)draw(&state);
        }
    }
}

int drill_load(struct drill *drill, size_t offset, uint64_t *value)
{
    uintptr_t at = drill->address + offset;

    if (is_sim(drill))
        return hurdmm_sim_load64(drill->port, NULL, at, value);
    *value = *(volatile uint64_t *)at;
    return 0;
}

static void memory_write(struct drill *drill, size_t offset, const void *bytes,
                         size_t length)
{
    uintptr_t at = drill->address + offset;

    if (is_sim(drill))
        ck_assert_int_eq(hurdmm_sim_write(drill->port, NULL, at, bytes, length),
                         0);
    else
        memcpy((void *)at, bytes, length);
}

static void memory_expect(struct drill *drill, size_t offset, size_t length)
{
    uintptr_t at = drill->address + offset;
    uint8_t *bytes = malloc(length);

    ck_assert_ptr_nonnull(bytes);
    if (is_sim(drill))
        ck_assert_int_eq(hurdmm_sim_read(drill->port, NULL, at, bytes, length),
                         0);
    else
        memcpy(bytes, (const void *)at, length);
    ck_assert_mem_eq(bytes, drill->truth + offset, length);
    free(bytes);
}

static void store_expect(struct drill *drill, size_t offset, size_t length)
{
    uint8_t *bytes = malloc(length);
    size_t done;

    ck_assert_ptr_nonnull(bytes);
    ck_assert_int_eq(
        hurdmm_store_read(drill->store, offset, bytes, length, &done), 0);
    ck_assert_uint_eq(done, length);
    ck_assert_mem_eq(bytes, drill->truth + offset, length);
    free(bytes);
}

static size_t size_of(const struct drill *drill)
{
    return (size_t)hurdmm_store_size(drill->store);
}

/* Bytes [*offset, + *length) of the store, any. */
static void any_range(struct drill *drill, size_t *offset, size_t *length)
{
    size_t size = size_of(drill);

    *offset = (size_t)(draw(&drill->state) % size);
    *length = 1 + (size_t)(draw(&drill->state) % (3 * drill->page));
    if (*length > size - *offset)
        *length = size - *offset;
}

/* Some pages: as a range, cut at the size. */
static void any_pages(struct drill *drill, size_t *offset, size_t *length)
{
    unsigned first = below(drill, drill->pages);
    unsigned count = 1 + below(drill, 24);

    *offset = first * drill->page;
    *length = (first + count > drill->pages ? drill->pages - first : count) *
              drill->page;
}

static void step_write(struct drill *drill, unsigned version)
{
    size_t offset, length, done;

    if (below(drill, 2) == 0)
        any_pages(drill, &offset, &length);
    else
        any_range(drill, &offset, &length);
    if (length > size_of(drill) - offset)
        length = size_of(drill) - offset;
    for (size_t at = 0; at < length; at += drill->page)
        drill_fill(drill->truth + offset + at,
                   length - at < drill->page ? length - at : drill->page,
                   offset / drill->page, version + (unsigned)at);
    if (below(drill, 2) == 0) {
        memory_write(drill, offset, drill->truth + offset, length);
    } else {
        ck_assert_int_eq(hurdmm_store_write(drill->store, offset,
                                            drill->truth + offset, length,
                                            &done),
                         0);
        ck_assert_uint_eq(done, length);
    }
}

static void step_discard(struct drill *drill)
{
    size_t offset, length;

    any_pages(drill, &offset, &length);
    if (drill->flags & DRILL_FORGETS)
        memset(drill->truth + offset, 0, length);
    else
        ck_assert_int_eq(
            hurdmm_store_flush(drill->store, offset, length, HURDMM_WAIT), 0);
    ck_assert_int_eq(hurdmm_store_discard(drill->store, offset, length), 0);
}

static void step_verb(struct drill *drill)
{
    size_t offset, length;

    any_pages(drill, &offset, &length);
    switch (below(drill, 4)) {
    case 0:
        ck_assert_int_eq(
            hurdmm_store_sync(drill->store, offset, length, HURDMM_WAIT), 0);
        break;
    case 1:
        ck_assert_int_eq(
            hurdmm_store_populate(drill->store, offset, drill->page, &length),
            0);
        break;
    default:
        ck_assert_int_eq(
            hurdmm_store_return(drill->store, offset, length, HURDMM_WAIT), 0);
    }
}

void drill_random(struct drill *drill, unsigned steps, uint64_t seed)
{
    bool read_only = (drill->flags & DRILL_READ_ONLY) != 0;
    size_t offset, length;

    drill->state = seed;
    for (unsigned step = 1; step <= steps; step++) {
        unsigned kind = below(drill, 10);

        any_range(drill, &offset, &length);
        if (kind < 4 && !read_only)
            step_write(drill, step * 5 + 1);
        else if (kind < 6)
            memory_expect(drill, offset, length);
        else if (kind < 8)
            store_expect(drill, offset, length);
        else if (kind < 9)
            step_verb(drill);
        else
            step_discard(drill);
    }
    drill_verify(drill);
}

void drill_verify(struct drill *drill)
{
    const char *what = "nothing";
    size_t size = size_of(drill);

    store_expect(drill, 0, size);
    memory_expect(drill, 0, size);
    ck_assert_int_eq(
        hurdmm_store_return(drill->store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    memory_expect(drill, 0, size);
    ck_assert_msg(hurdmm_check(drill->manager, &what) == 0, "%s", what);
}

/* ---- Threads -------------------------------------------------------------- */

struct worker {
    struct drill *drill;
    unsigned number, rounds;
    unsigned wrong;
};

static atomic_bool stop;
static atomic_uint verb_errors;

/* Pages number, number + THREADS, ... are the worker's: a word in each page, and
 * what the page says of itself. */
static void *work(void *argument)
{
    struct worker *worker = argument;
    struct drill *drill = worker->drill;
    bool read_only = (drill->flags & DRILL_READ_ONLY) != 0;
    size_t words = drill->page / sizeof(uint64_t);
    uint64_t state = worker->number + 1;

    for (unsigned i = 0; i < worker->rounds; i++) {
        size_t count = (drill->pages - 1 - worker->number) / THREADS + 1;
        size_t page = (size_t)(draw(&state) % count) * THREADS + worker->number;
        size_t word = (size_t)(draw(&state) % words);
        size_t offset = page * drill->page + word * sizeof(uint64_t);
        volatile uint64_t *at = (volatile uint64_t *)(drill->address + offset);
        uint64_t expected;

        if (offset + sizeof expected > size_of(drill))
            continue;
        memcpy(&expected, drill->truth + offset, sizeof expected);
        worker->wrong += *at != expected;
        if (read_only)
            continue;
        expected = draw(&state);
        *at = expected;
        memcpy(drill->truth + offset, &expected, sizeof expected);
    }
    return NULL;
}

/* Takes memory away under the workers. */
static void *empty(void *argument)
{
    struct drill *drill = argument;

    while (!atomic_load(&stop)) {
        if (hurdmm_store_return(drill->store, 0, HURDMM_WHOLE, HURDMM_WAIT) ||
            hurdmm_store_sync(drill->store, 0, HURDMM_WHOLE, HURDMM_WAIT))
            atomic_fetch_add(&verb_errors, 1);
    }
    return NULL;
}

void drill_threads(struct drill *drill, unsigned rounds)
{
    struct worker workers[THREADS];
    pthread_t threads[THREADS], emptier;

    ck_assert(!is_sim(drill));
    atomic_store(&stop, false);
    atomic_store(&verb_errors, 0);
    ck_assert_int_eq(pthread_create(&emptier, NULL, empty, drill), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){drill, i, rounds, 0};
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, &workers[i]),
                         0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_msg(workers[i].wrong == 0, "worker %u: %u wrong words", i,
                      workers[i].wrong);
    }
    atomic_store(&stop, true);
    ck_assert_int_eq(pthread_join(emptier, NULL), 0);
    ck_assert_uint_eq(atomic_load(&verb_errors), 0);
    drill_verify(drill);
}
