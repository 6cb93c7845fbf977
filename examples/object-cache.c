/* SPDX-License-Identifier: MIT */
/*
 * object-cache: a program that keeps what it has rendered, with a quarter of the
 * memory that all of it would take.  Some of it is wanted often, most of it
 * hardly ever (Zipf).  The same reads are done with the cache in three kinds of
 * memory:
 *
 *   swapped      anonymous memory: what does not fit goes to a swap file, and
 *                what is wanted again is read from there
 *   slab         objects of a slab store: when memory is short, the program is
 *                told so and frees what it has not used lately; that is dropped,
 *                not written; what is wanted again is rendered again
 *   discardable  a discardable store: the library drops pages as it likes, and
 *                has them rendered again when they are touched
 *
 * Usage: object-cache [--quick] [--port NAME] [FOLDER]
 * The swap file is made in FOLDER (or TMPDIR, or /var/tmp), and is read and
 * written past the system's cache where that can be done, as a swap device
 * would be.
 */
#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hurdmm/discardable.h>
#include <hurdmm/file.h>
#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/slab.h>

#define OBJECT ((size_t)4096)
#define WORDS (OBJECT / sizeof(uint64_t))
/* Half of all reads go to the few most wanted. */
#define SKEW 0.9
/* The part of all objects that the slab version gives up at a time. */
#define GIVE_UP 64u

static struct {
    size_t objects, reads;
    const char *port, *folder;
} program = {.objects = 16384, .reads = 300000};

static void need(int error, const char *what)
{
    if (!error)
        return;
    (void)fprintf(stderr, "object-cache: %s: %s\n", what, strerror(error));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- Objects, and which are wanted ---- */

static uint64_t mix(uint64_t value)
{
    value ^= value >> 33;
    value *= UINT64_C(0xff51afd7ed558ccd);
    value ^= value >> 33;
    value *= UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ value >> 33;
}

/* Some microseconds of work. */
static void render(size_t number, void *to)
{
    uint64_t *word = to;
    uint64_t state = mix(number + 1);

    for (size_t i = 0; i < WORDS; i++) {
        for (unsigned round = 0; round < 4; round++)
            state = mix(state + i);
        word[i] = state;
    }
    word[0] = number;
}

/* What a reader looks at: that it is the right object, and a bit of it. */
static uint64_t look(size_t number, const void *object)
{
    const uint64_t *word = object;

    if (word[0] != number) {
        (void)fprintf(stderr, "object-cache: object %zu is %llu\n", number,
                      (unsigned long long)word[0]);
        exit(1);
    }
    return word[WORDS / 2] + word[WORDS - 1];
}

/* The sequence of reads, the same for all. */
static uint32_t *wanted;

static void choose_reads(void)
{
    double *sum = malloc((program.objects + 1) * sizeof *sum);
    uint64_t state = 1;

    wanted = malloc(program.reads * sizeof *wanted);
    if (!sum || !wanted)
        need(1, "malloc");
    sum[0] = 0;
    for (size_t i = 0; i < program.objects; i++)
        sum[i + 1] = sum[i] + 1 / pow((double)(i + 1), SKEW);
    for (size_t i = 0; i < program.reads; i++) {
        state = mix(state + i);
        double point =
            (double)(state >> 11) / 9007199254740992.0 * sum[program.objects];
        size_t low = 0, high = program.objects;
        while (high - low > 1) {
            size_t middle = low + (high - low) / 2;
            if (sum[middle] <= point)
                low = middle;
            else
                high = middle;
        }
        /* Neighbours in rank are not neighbours in memory. */
        wanted[i] = (uint32_t)(low * 40503u % program.objects);
    }
    free(sum);
}

/* ---- The three caches ---- */

struct cache {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    size_t rendered;
    /* swapped, discardable */
    uintptr_t address;
    bool *known;
    struct hurdmm_block *block;
    struct hurdmm_swap *swap;
    /* slab */
    struct hurdmm_slab *slab;
    struct hurdmm_cache *objects;
    struct hurdmm_magazine *magazine;
    void **object;
    bool *used;
    size_t hand, count;
};

static void begin(struct cache *cache)
{
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .budget = program.objects * OBJECT / 4,
    };

    memset(cache, 0, sizeof *cache);
    need(hurdmm_host_port_create(program.port, &cache->port), "a port");
    options.port = cache->port;
    need(hurdmm_create(&options, &cache->manager), "a manager");
}

/* As large as all objects, and in place, so that no read finds a hole. */
static void add_swap(struct cache *cache)
{
    char path[4096];
    off_t size = (off_t)(program.objects * OBJECT);

    (void)snprintf(path, sizeof path, "%s/object-cache.XXXXXX", program.folder);
    int file = mkstemp(path);
    if (file < 0)
        need(errno, path);
    (void)unlink(path);
    need(posix_fallocate(file, 0, size), path);
#ifdef O_DIRECT
    if (fcntl(file, F_SETFL, O_DIRECT))
        (void)fprintf(stderr, "object-cache: the swap file is cached\n");
#endif
    need(hurdmm_file_block_create(file, (uint64_t)size, OBJECT, &cache->block),
         "a swap file");
    (void)close(file);
    need(hurdmm_swap_create(cache->manager, cache->block, &cache->swap),
         "swap space");
}

static void bind_all(struct cache *cache, struct hurdmm_store *store)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = hurdmm_space_own(cache->manager),
        .store = store,
        .length = program.objects * OBJECT,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .advice = HURDMM_ADVICE_RANDOM,
    };

    need(hurdmm_bind(&bind, &cache->address), "bind");
}

static void begin_swapped(struct cache *cache)
{
    struct hurdmm_store *store;

    add_swap(cache);
    need(hurdmm_anonymous_create(cache->manager, cache->swap,
                                 program.objects * OBJECT, 0, &store),
         "anonymous memory");
    bind_all(cache, store);
    cache->known = calloc(program.objects, sizeof *cache->known);
    if (!cache->known)
        need(errno, "calloc");
}

static const void *get_swapped(struct cache *cache, size_t number)
{
    void *object = (char *)cache->address + number * OBJECT;

    if (!cache->known[number]) {
        render(number, object);
        cache->known[number] = true;
        cache->rendered++;
    }
    return object;
}

/* Gives up some objects that have not been used since the hand came by. */
static void give_up(void *hook, struct hurdmm_slab *slab)
{
    struct cache *cache = hook;
    size_t enough = program.objects / GIVE_UP, freed = 0, steps = 0;

    (void)slab;
    while (freed < enough && cache->count > 0 &&
           steps++ < 2 * program.objects) {
        size_t number = cache->hand++ % program.objects;
        if (!cache->object[number])
            continue;
        if (cache->used[number]) {
            cache->used[number] = false;
            continue;
        }
        need(hurdmm_magazine_free(cache->magazine, cache->object[number]),
             "free");
        cache->object[number] = NULL;
        cache->count--;
        freed++;
    }
}

static void begin_slab(struct cache *cache)
{
    struct hurdmm_slab_options options = {
        .struct_size = sizeof options,
        .size = 2 * program.objects * OBJECT,
        .reap = give_up,
        .hook = cache,
    };
    struct hurdmm_cache_options kind = {
        .struct_size = sizeof kind, .name = "object", .size = OBJECT};

    add_swap(cache); /* for what nobody gave up in time */
    options.manager = cache->manager;
    options.swap = cache->swap;
    need(hurdmm_slab_create(&options, &cache->slab), "a slab store");
    need(hurdmm_cache_create(cache->slab, &kind, &cache->objects), "a cache");
    need(hurdmm_magazine_create(cache->objects, &cache->magazine),
         "a magazine");
    cache->object = calloc(program.objects, sizeof *cache->object);
    cache->used = calloc(program.objects, sizeof *cache->used);
    if (!cache->object || !cache->used)
        need(errno, "calloc");
}

static const void *get_slab(struct cache *cache, size_t number)
{
    void **object = &cache->object[number];

    cache->used[number] = *object != NULL;
    if (*object)
        return *object;
    need(hurdmm_magazine_alloc(cache->magazine, object), "an object");
    cache->count++;
    render(number, *object);
    cache->rendered++;
    return *object;
}

static int fill(void *hook, uint64_t offset, void *buffer, size_t length,
                int discarded)
{
    struct cache *cache = hook;

    (void)discarded;
    for (size_t i = 0; i < length; i += OBJECT)
        render((size_t)((offset + i) / OBJECT), (char *)buffer + i);
    /* Pager threads may be several. */
    __atomic_fetch_add(&cache->rendered, length / OBJECT, __ATOMIC_RELAXED);
    return 0;
}

static void begin_discardable(struct cache *cache)
{
    struct hurdmm_discardable_options options = {
        .struct_size = sizeof options,
        .manager = cache->manager,
        .size = program.objects * OBJECT,
        .fill = fill,
        .hook = cache,
    };
    struct hurdmm_store *store;

    need(hurdmm_discardable_create(&options, &store), "a discardable store");
    bind_all(cache, store);
}

static const void *get_discardable(struct cache *cache, size_t number)
{
    return (const char *)cache->address + number * OBJECT;
}

static void end(struct cache *cache)
{
    need(hurdmm_destroy(cache->manager, HURDMM_DETACH), "the end");
    if (cache->block)
        hurdmm_file_block_destroy(cache->block);
    (void)hurdmm_host_port_destroy(cache->port);
    free(cache->known);
    free(cache->object);
    free(cache->used);
}

/* ---- Measuring ---- */

struct kind {
    const char *name;
    void (*begin)(struct cache *cache);
    const void *(*get)(struct cache *cache, size_t number);
};

static const struct kind kinds[] = {
    {"swapped", begin_swapped, get_swapped},
    {"slab", begin_slab, get_slab},
    {"discardable", begin_discardable, get_discardable},
};

/* Reads a second, after a third of the reads to warm up. */
static double measure(const struct kind *kind, uint64_t *check)
{
    struct cache cache;
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    size_t warm = program.reads / 3;
    uint64_t began = 0;

    begin(&cache);
    kind->begin(&cache);
    *check = 0;
    for (size_t i = 0; i < program.reads; i++) {
        if (i == warm) {
            cache.rendered = 0;
            began = now_ns();
        }
        *check += look(wanted[i], kind->get(&cache, wanted[i]));
    }
    double seconds = (double)(now_ns() - began) / 1e9;
    double rate = (double)(program.reads - warm) / seconds;
    need(hurdmm_get_stats(cache.manager, &stats), "statistics");
    printf("%-12s %10.0f reads/s, %7zu rendered again, %8llu pages written\n",
           kind->name, rate, cache.rendered,
           (unsigned long long)stats.pages_out);
    (void)fflush(stdout);
    end(&cache);
    return rate;
}

int main(int argc, char **argv)
{
    double rate[3];
    uint64_t check[3];

    program.folder = getenv("TMPDIR") ? getenv("TMPDIR") : "/var/tmp";
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--quick")) {
            program.objects = 1024;
            program.reads = 12000;
        } else if (!strcmp(argv[i], "--port") && i + 1 < argc) {
            program.port = argv[++i];
        } else if (argv[i][0] != '-') {
            program.folder = argv[i];
        } else {
            (void)fprintf(stderr,
                          "usage: %s [--quick] [--port NAME] [FOLDER]\n",
                          argv[0]);
            return 2;
        }
    }
    choose_reads();
    printf("%zu objects of %zu bytes, memory for %zu\n", program.objects,
           OBJECT, program.objects / 4);
    for (unsigned i = 0; i < 3; i++)
        rate[i] = measure(&kinds[i], &check[i]);
    for (unsigned i = 1; i < 3; i++)
        printf("%-12s %10.2f x swapped\n", kinds[i].name, rate[i] / rate[0]);
    free(wanted);
    if (check[0] != check[1] || check[0] != check[2]) {
        (void)fprintf(stderr, "object-cache: the caches differ\n");
        return 1;
    }
    return 0;
}
