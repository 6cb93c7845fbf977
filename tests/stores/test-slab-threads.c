/* SPDX-License-Identifier: MIT */
/*
 * Slab and discardable stores with real threads, on every port of the host that
 * works here, in far less memory than they use.
 *
 * Every object tells its owner and its address, so that one that two threads
 * were given, or that was lost while it was in use, is seen at once.
 */
#include "tests/core/real.h"

#include <hurdmm/discardable.h>
#include <hurdmm/slab.h>

#define FRAMES 64u
#define SLAB_BYTES ((uint64_t)4 << 20)
#define SWAP_BYTES ((size_t)4 << 20)
#define CACHES 3
#define HELD 120u /* by each thread; a third of them are pages */
#define SLOTS 64u

static const size_t sizes[CACHES] = {48, 704, 4096};

struct shared {
    struct real real;
    struct hurdmm_ramdisk disk;
    void *memory;
    struct hurdmm_swap *swap;
    struct hurdmm_slab *slab;
    struct hurdmm_cache *cache[CACHES];
    pthread_barrier_t full; /* all workers hold all that they can hold */
    _Atomic(uint64_t *) slot[SLOTS]; /* objects that change hands */
    atomic_bool stop;
    atomic_uint reaps;
};

struct head {
    uint64_t made; /* by the constructor, and as it was when it is freed */
    uint64_t self;
    uint64_t owner;
};

#define MADE UINT64_C(0x5ee1ab5ee1ab0001)

static int construct(void *hook, void *object, size_t size)
{
    struct head *head = object;
    (void)hook, (void)size;
    head->made = MADE;
    return 0;
}

static void note_reap(void *hook, struct hurdmm_slab *slab)
{
    struct shared *shared = hook;
    (void)slab;
    atomic_fetch_add(&shared->reaps, 1);
}

static void begin(struct shared *shared)
{
    struct hurdmm_slab_options options = {
        .struct_size = sizeof options,
        .manager = shared->real.manager,
        .size = SLAB_BYTES,
        .reap = note_reap,
        .hook = shared,
    };
    ck_assert_int_eq(pthread_barrier_init(&shared->full, NULL, REAL_THREADS),
                     0);
    shared->memory = malloc(SWAP_BYTES);
    ck_assert_ptr_nonnull(shared->memory);
    ck_assert_int_eq(hurdmm_ramdisk_init(&shared->disk, shared->memory,
                                         SWAP_BYTES, shared->real.page, 0),
                     0);
    ck_assert_int_eq(hurdmm_swap_create(shared->real.manager,
                                        &shared->disk.block, &shared->swap),
                     0);
    options.swap = shared->swap;
    ck_assert_int_eq(hurdmm_slab_create(&options, &shared->slab), 0);
    for (unsigned i = 0; i < CACHES; i++) {
        struct hurdmm_cache_options kind = {.struct_size = sizeof kind,
                                            .size = sizes[i],
                                            .construct = construct};
        ck_assert_int_eq(
            hurdmm_cache_create(shared->slab, &kind, &shared->cache[i]), 0);
    }
}

static void end(struct shared *shared)
{
    for (unsigned i = 0; i < CACHES; i++) {
        struct hurdmm_cache_info info = {.struct_size = sizeof info};
        ck_assert_int_eq(hurdmm_cache_get_info(shared->cache[i], &info), 0);
        ck_assert_uint_eq(info.used, 0);
        ck_assert_uint_eq(info.faults, 0);
        ck_assert_int_eq(hurdmm_cache_destroy(shared->cache[i]), 0);
    }
    ck_assert_int_eq(hurdmm_slab_destroy(shared->slab), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(shared->swap), 0);
    free(shared->memory);
    ck_assert_int_eq(pthread_barrier_destroy(&shared->full), 0);
}

struct worker {
    pthread_t thread;
    struct shared *shared;
    struct hurdmm_magazine *magazine[CACHES];
    uint64_t name;
    size_t steps;
    const char *wrong; /* NULL: nothing */
};

static uint64_t *tail_of(struct head *head, unsigned kind)
{
    return (uint64_t *)(void *)((char *)head + sizes[kind] - sizeof(uint64_t));
}

static struct head *take(struct worker *worker, unsigned kind)
{
    void *object = NULL;
    int error = worker->name % 2
                    ? hurdmm_magazine_alloc(worker->magazine[kind], &object)
                    : hurdmm_cache_alloc(worker->shared->cache[kind], &object);
    if (error != 0) {
        worker->wrong = "an allocation failed";
        return NULL;
    }
    struct head *head = object;
    if (head->made != MADE)
        worker->wrong = "an object is not constructed";
    head->self = (uint64_t)(uintptr_t)head;
    head->owner = worker->name;
    if (sizes[kind] > sizeof *head)
        *tail_of(head, kind) = worker->name ^ head->self;
    return head;
}

static void give(struct worker *worker, struct head *head)
{
    struct hurdmm_cache *cache;
    unsigned kind = 0;
    void *start;
    if (hurdmm_slab_find(worker->shared->slab, head, &cache, &start) ||
        start != head) {
        worker->wrong = "an object is not found";
        return;
    }
    while (worker->shared->cache[kind] != cache)
        kind++;
    if (head->made != MADE || head->self != (uint64_t)(uintptr_t)head ||
        *tail_of(head, kind) != (head->owner ^ head->self))
        worker->wrong = "an object has changed";
    int error = worker->name % 2
                    ? hurdmm_magazine_free(worker->magazine[kind], head)
                    : hurdmm_cache_free(cache, head);
    if (error != 0)
        worker->wrong = "an object cannot be freed";
}

/* However few steps follow, and whoever runs first: when all have done this,
 * there is far more in use than there is memory. */
static void fill_hands(struct worker *worker, struct head **held)
{
    for (unsigned i = 0; i < CACHES && worker->name % 2; i++)
        if (hurdmm_magazine_create(worker->shared->cache[i],
                                   &worker->magazine[i]))
            worker->wrong = "no magazine";
    for (unsigned i = 0; i < HELD && !worker->wrong; i++)
        held[i] = take(worker, i % CACHES);
    (void)pthread_barrier_wait(&worker->shared->full);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct shared *shared = worker->shared;
    struct head *held[HELD] = {NULL};
    uint64_t state = worker->name * 7919;
    fill_hands(worker, held);
    for (size_t i = 0; i < worker->steps && !worker->wrong; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        struct head **place = &held[(state >> 33) % HELD];
        if (*place)
            give(worker, *place);
        *place = NULL;
        if ((state >> 50) % 3 != 0)
            *place = take(worker, (unsigned)((state >> 40) % CACHES));
        if ((state >> 45) % 4 == 0) /* what another has had */
            *place = (struct head *)(void *)atomic_exchange(
                &shared->slot[(state >> 20) % SLOTS],
                (uint64_t *)(void *)*place);
    }
    for (unsigned i = 0; i < HELD; i++)
        if (held[i])
            give(worker, held[i]);
    for (unsigned i = 0; i < CACHES; i++)
        hurdmm_magazine_destroy(worker->magazine[i]);
    return NULL;
}

static void *keep_reaping(void *argument)
{
    struct shared *shared = argument;
    while (!atomic_load(&shared->stop)) {
        if (hurdmm_slab_reap(shared->slab, NULL))
            return shared;
        sched_yield();
    }
    return NULL;
}

START_TEST(objects_are_one_threads_each)
{
    static struct shared shared;
    struct worker worker[REAL_THREADS];
    pthread_t reaper;
    void *failed = NULL;
    if (!real_begin_with(&shared.real, _i, FRAMES))
        return;
    begin(&shared);
    for (unsigned i = 0; i < REAL_THREADS; i++) {
        worker[i] = (struct worker){
            .shared = &shared, .name = i + 1, .steps = test_scaled(6000)};
        ck_assert_int_eq(
            pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
    }
    ck_assert_int_eq(pthread_create(&reaper, NULL, keep_reaping, &shared), 0);
    for (unsigned i = 0; i < REAL_THREADS; i++)
        ck_assert_int_eq(pthread_join(worker[i].thread, NULL), 0);
    atomic_store(&shared.stop, true);
    ck_assert_int_eq(pthread_join(reaper, &failed), 0);
    ck_assert_ptr_null(failed);
    for (unsigned i = 0; i < REAL_THREADS; i++)
        ck_assert_msg(!worker[i].wrong, "thread %u: %s", i, worker[i].wrong);
    worker[0].magazine[0] = NULL;
    worker[0].name = 2; /* without magazines */
    for (unsigned i = 0; i < SLOTS; i++)
        if (shared.slot[i])
            give(&worker[0], (struct head *)(void *)shared.slot[i]);
    ck_assert_msg(!worker[0].wrong, "%s", worker[0].wrong);
    ck_assert_uint_gt(real_stats(&shared.real).evictions, 0);
    end(&shared);
    real_end(&shared.real);
}
END_TEST

/* ---- The last place ---- */

#define PLACES 100u /* of the swap space, more than there are frames */

struct taker {
    pthread_t thread;
    struct hurdmm_cache *cache;
    uint64_t *object[PLACES];
    unsigned count;
    int error; /* that ended it */
};

/* Takes pages until there is no place for one more, and writes to each. */
static void *take_pages(void *argument)
{
    struct taker *taker = argument;
    void *object;
    while ((taker->error = hurdmm_cache_alloc(taker->cache, &object)) == 0 &&
           taker->count < PLACES) {
        taker->object[taker->count++] = object;
        *(uint64_t *)object = (uint64_t)(uintptr_t)object;
    }
    return NULL;
}

static struct hurdmm_swap *make_reserving(const struct real *real,
                                          struct hurdmm_ramdisk *disk)
{
    struct hurdmm_swap_options options = {.struct_size = sizeof options,
                                          .block = &disk->block,
                                          .flags = HURDMM_SWAP_RESERVE};
    struct hurdmm_swap *swap;
    void *memory = malloc(PLACES * real->page);
    ck_assert_ptr_nonnull(memory);
    ck_assert_int_eq(
        hurdmm_ramdisk_init(disk, memory, PLACES * real->page, real->page, 0),
        0);
    ck_assert_int_eq(hurdmm_swap_create_with(real->manager, &options, &swap),
                     0);
    return swap;
}

static void give_pages(struct taker *taker)
{
    for (unsigned i = 0; i < taker->count; i++) {
        ck_assert_uint_eq(*taker->object[i],
                          (uint64_t)(uintptr_t)taker->object[i]);
        ck_assert_int_eq(hurdmm_cache_free(taker->cache, taker->object[i]), 0);
    }
}

/* Whoever gets an object can write to it, and it can leave. */
START_TEST(the_last_place_is_one_threads)
{
    static struct taker taker[REAL_THREADS];
    struct real real;
    struct hurdmm_ramdisk disk;
    struct hurdmm_slab_options options = {.struct_size = sizeof options,
                                          .size = SLAB_BYTES};
    struct hurdmm_cache_options kind = {.struct_size = sizeof kind};
    struct hurdmm_cache_info info = {.struct_size = sizeof info};
    struct hurdmm_slab *slab;
    struct hurdmm_cache *cache;
    if (!real_begin_with(&real, _i, FRAMES))
        return;
    options.manager = real.manager;
    options.swap = make_reserving(&real, &disk);
    kind.size = real.page;
    ck_assert_int_eq(hurdmm_slab_create(&options, &slab), 0);
    ck_assert_int_eq(hurdmm_cache_create(slab, &kind, &cache), 0);
    for (unsigned i = 0; i < REAL_THREADS; i++) {
        taker[i] = (struct taker){.cache = cache};
        ck_assert_int_eq(
            pthread_create(&taker[i].thread, NULL, take_pages, &taker[i]), 0);
    }
    for (unsigned i = 0; i < REAL_THREADS; i++) {
        ck_assert_int_eq(pthread_join(taker[i].thread, NULL), 0);
        ck_assert_int_eq(taker[i].error, ENOSPC);
    }
    ck_assert_int_eq(hurdmm_cache_get_info(cache, &info), 0);
    ck_assert_uint_eq(info.used + info.stocked, PLACES);
    ck_assert_int_eq(hurdmm_store_return(hurdmm_slab_store(slab), 0,
                                         HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    for (unsigned i = 0; i < REAL_THREADS; i++)
        give_pages(&taker[i]);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
    ck_assert_int_eq(hurdmm_slab_destroy(slab), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(options.swap), 0);
    free(disk.memory);
    real_end(&real);
}
END_TEST

/* ---- Discardable memory ---- */

#define DISCARDABLE 512u /* pages */

static size_t page_size;

static uint64_t word_at(uint64_t offset)
{
    return offset * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static int fill(void *hook, uint64_t offset, void *buffer, size_t length,
                int discarded)
{
    (void)hook, (void)discarded;
    for (size_t i = 0; i < length; i += sizeof(uint64_t))
        *(uint64_t *)(void *)((char *)buffer + i) = word_at(offset + i);
    return 0;
}

struct reader {
    pthread_t thread;
    uintptr_t base;
    unsigned name;
    size_t steps;
    bool wrong;
};

static void *read_all(void *argument)
{
    struct reader *reader = argument;
    uint64_t state = reader->name;
    for (size_t i = 0; i < reader->steps; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t offset = (state >> 33) % (DISCARDABLE * page_size / 8) * 8;
        const uint64_t *word = (const uint64_t *)(reader->base + offset);
        if (__atomic_load_n(word, __ATOMIC_RELAXED) != word_at(offset))
            reader->wrong = true;
    }
    return NULL;
}

START_TEST(what_is_made_again_reads_right)
{
    struct real real;
    struct reader reader[REAL_THREADS];
    struct hurdmm_store *store;
    if (!real_begin_with(&real, _i, FRAMES))
        return;
    page_size = real.page;
    struct hurdmm_discardable_options options = {
        .struct_size = sizeof options,
        .manager = real.manager,
        .size = DISCARDABLE * real.page,
        .flags = _i == 2 ? HURDMM_STORE_SIGNAL_SAFE : 0,
        .fill = fill,
    };
    ck_assert_int_eq(hurdmm_discardable_create(&options, &store), 0);
    uintptr_t base = real_bind(&real, store, 0, DISCARDABLE);
    for (unsigned i = 0; i < REAL_THREADS; i++) {
        reader[i] = (struct reader){
            .base = base, .name = i + 1, .steps = test_scaled(4000)};
        ck_assert_int_eq(
            pthread_create(&reader[i].thread, NULL, read_all, &reader[i]), 0);
    }
    for (unsigned i = 0; i < test_scaled(50); i++) {
        ck_assert_int_eq(
            hurdmm_store_discard(store, i * 8 * real.page, 16 * real.page), 0);
        sched_yield();
    }
    for (unsigned i = 0; i < REAL_THREADS; i++) {
        ck_assert_int_eq(pthread_join(reader[i].thread, NULL), 0);
        ck_assert(!reader[i].wrong);
    }
    ck_assert_uint_gt(real_stats(&real).evictions, 0);
    ck_assert_int_eq(hurdmm_unbind(real.space, base, DISCARDABLE * real.page),
                     0);
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    real_end(&real);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slab threads");
    TCase *tcase = tcase_create("threads");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, objects_are_one_threads_each, 0, 2);
    tcase_add_loop_test(tcase, the_last_place_is_one_threads, 0, 2);
    tcase_add_loop_test(tcase, what_is_made_again_reads_right, 0, REAL_WAYS);
    suite_add_tcase(suite, tcase);
    return run_suites("slab-threads", &suite, 1);
}
