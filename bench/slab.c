/* SPDX-License-Identifier: MIT */
/* slab.c - what an object costs: time beside malloc, and memory beside itself.
 *
 *   slab.pair.1    allocate and free in turn, through a magazine, against
 *                  malloc and free of the same size in the same round
 *   slab.pair.2    two threads at once, each with its magazine
 *   slab.churn.1   the same with a thousand objects held, freed out of order
 *   slab.common.1  without a magazine of one's own (no target)
 *   slab.memory    what the library has in use for itself for each byte of
 *                  objects of 64 bytes
 */
#define _GNU_SOURCE

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>

#include "bench/report.h"

#define SIZE 64u
#define HELD 1024u

static struct hurdmm *manager;
static struct hurdmm_slab *slab;
static struct hurdmm_cache *cache;
static uint32_t pairs;

/* One side's work: `pairs` times. */
struct side {
    bool ours, common;
    struct hurdmm_magazine *magazine;
    uint32_t held; /* objects held meanwhile; 0: freed at once */
    pthread_barrier_t *start;
    uint64_t ns;
};

static void *take(const struct side *side)
{
    void *object = NULL;

    if (!side->ours)
        object = malloc(SIZE);
    else if (side->common)
        need(hurdmm_cache_alloc(cache, &object), "hurdmm_cache_alloc");
    else
        need(hurdmm_magazine_alloc(side->magazine, &object),
             "hurdmm_magazine_alloc");
    /* So that no compiler does without. */
    __asm__ volatile("" : "+r"(object) : : "memory");
    return object;
}

static void give(const struct side *side, void *object)
{
    if (!side->ours)
        free(object);
    else if (side->common)
        need(hurdmm_cache_free(cache, object), "hurdmm_cache_free");
    else
        need(hurdmm_magazine_free(side->magazine, object),
             "hurdmm_magazine_free");
}

static void *work(void *argument)
{
    struct side *side = argument;
    void *held[HELD] = {0};
    uint64_t seed = 1;

    if (side->ours && !side->common)
        need(hurdmm_magazine_create(cache, &side->magazine),
             "hurdmm_magazine_create");
    for (uint32_t i = 0; i < side->held; i++)
        held[i] = take(side);
    if (side->start)
        (void)pthread_barrier_wait(side->start);
    uint64_t began = now_ns();
    for (uint32_t i = 0; i < pairs; i++) {
        if (side->held) {
            void **place = &held[draw(&seed) % side->held];
            give(side, *place);
            *place = take(side);
        } else {
            give(side, take(side));
        }
    }
    side->ns = now_ns() - began;
    for (uint32_t i = 0; i < side->held; i++)
        give(side, held[i]);
    hurdmm_magazine_destroy(side->magazine);
    side->magazine = NULL;
    return NULL;
}

/* Nanoseconds a pair, of the slower one of two. */
static double run(struct side side, unsigned threads)
{
    pthread_barrier_t start;
    pthread_t thread;
    struct side other;

    if (threads == 2) {
        need(pthread_barrier_init(&start, NULL, 2), "pthread_barrier_init");
        side.start = &start;
        other = side;
        need(pthread_create(&thread, NULL, work, &other), "pthread_create");
    }
    (void)work(&side);
    if (threads == 2) {
        need(pthread_join(thread, NULL), "pthread_join");
        (void)pthread_barrier_destroy(&start);
        if (other.ns > side.ns)
            side.ns = other.ns;
    }
    return (double)side.ns / pairs;
}

static void measure(const char *name, uint32_t held, bool common,
                    unsigned threads, double limit, unsigned rounds)
{
    struct samples ours = {.count = 0}, theirs = {.count = 0};
    struct figure figure = {.name = name, .unit = "ns", .ratio_max = limit};

    for (unsigned i = 0; i < rounds; i++) {
        samples_add(&theirs, run((struct side){.held = held}, threads));
        samples_add(
            &ours,
            run((struct side){.ours = true, .held = held, .common = common},
                threads));
    }
    figure.value = median(&ours);
    figure.ratio = median_ratio(&ours, &theirs);
    figure_print(&figure);
}

static uint64_t core_bytes(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};

    need(hurdmm_get_stats(manager, &stats), "hurdmm_get_stats");
    return stats.core_bytes;
}

/* Objects that are not touched need no memory, but are known all the same. */
static void measure_memory(uint32_t objects)
{
    struct figure figure = {.name = "slab.memory", .unit = "%", .value_max = 6};
    void **held = calloc(objects, sizeof *held);
    uint64_t before = core_bytes();

    if (!held)
        need(1, "calloc");
    for (uint32_t i = 0; i < objects; i++)
        need(hurdmm_cache_alloc(cache, &held[i]), "hurdmm_cache_alloc");
    figure.value =
        (double)(core_bytes() - before) * 100 / ((double)objects * SIZE);
    figure_print(&figure);
    for (uint32_t i = 0; i < objects; i++)
        need(hurdmm_cache_free(cache, held[i]), "hurdmm_cache_free");
    free(held);
}

int main(int argc, char **argv)
{
    bool quick = bench_begin(argc, argv).quick;
    unsigned rounds = quick ? 3 : 31;
    struct hurdmm_port *port;
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = (size_t)64 << 20};
    struct hurdmm_slab_options store = {.struct_size = sizeof store,
                                        .size = UINT64_C(1) << 30};
    struct hurdmm_cache_options kind = {.struct_size = sizeof kind,
                                        .size = SIZE};

    pairs = quick ? 100000 : 1000000;
    need(hurdmm_host_port_create(NULL, &port), "hurdmm_host_port_create");
    options.port = port;
    need(hurdmm_create(&options, &manager), "hurdmm_create");
    store.manager = manager;
    need(hurdmm_slab_create(&store, &slab), "hurdmm_slab_create");
    need(hurdmm_cache_create(slab, &kind, &cache), "hurdmm_cache_create");
    measure("slab.pair.1", 0, false, 1, 1.5, rounds);
    measure("slab.pair.2", 0, false, 2, 1.5, rounds);
    measure("slab.churn.1", HELD, false, 1, 1.5, rounds);
    measure("slab.common.1", 0, true, 1, 0, rounds);
    measure_memory(quick ? 100000 : 1000000);
    need(hurdmm_cache_destroy(cache), "hurdmm_cache_destroy");
    need(hurdmm_slab_destroy(slab), "hurdmm_slab_destroy");
    need(hurdmm_destroy(manager, 0), "hurdmm_destroy");
    return hurdmm_host_port_destroy(port);
}
