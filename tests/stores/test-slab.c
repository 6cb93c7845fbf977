/* SPDX-License-Identifier: MIT */
/*
 * The slab store: object caches whose memory the pager may take.
 */
#include <string.h>

#include <hurdmm/slab.h>

#include "tests/stores/rig.h"
#include "tests/support/runner.h"

#define OBJECTS 1000u
#define SLAB ((size_t)16 * PAGE)
#define BIG (PAGE - 16) /* an object that has a page, with its guard */

static struct rig rig;
static struct hurdmm_slab *slab;
static void *object[OBJECTS];

/* What the user's functions have seen and are to do. */
static struct {
    unsigned constructed, destructed, lost, reaps;
    int construct_error, destruct_error;
    unsigned good; /* constructions before the error */
    unsigned free; /* objects that reap gives up, from the first on */
    struct hurdmm_cache *cache;
} user;

static void make_slab(struct hurdmm_swap *swap, uint64_t size,
                      void (*reap)(void *hook, struct hurdmm_slab *slab))
{
    struct hurdmm_slab_options options = {
        .struct_size = sizeof options,
        .manager = rig.manager,
        .swap = swap,
        .size = size,
        .reap = reap,
        .hook = &rig,
    };

    ck_assert_int_eq(hurdmm_slab_create(&options, &slab), 0);
}

static void begin(void)
{
    memset(&user, 0, sizeof user);
    rig_begin(&rig, 64, 1024);
    make_slab(rig.swap, 1024 * PAGE, NULL);
}

static void end(void)
{
    rig_end(&rig);
}

static void restart(struct hurdmm_swap *swap, uint64_t size,
                    void (*reap)(void *hook, struct hurdmm_slab *slab))
{
    ck_assert_int_eq(hurdmm_slab_destroy(slab), 0);
    make_slab(swap, size, reap);
}

static struct hurdmm_cache *make(const struct hurdmm_cache_options *template)
{
    struct hurdmm_cache_options options = *template;
    struct hurdmm_cache *cache;

    options.struct_size = sizeof options;
    ck_assert_int_eq(hurdmm_cache_create(slab, &options, &cache), 0);
    return cache;
}

static struct hurdmm_cache *make_plain(size_t size)
{
    return make(&(struct hurdmm_cache_options){.size = size});
}

static void *take(struct hurdmm_cache *cache)
{
    void *taken = NULL;

    ck_assert_int_eq(hurdmm_cache_alloc(cache, &taken), 0);
    ck_assert_ptr_nonnull(taken);
    return taken;
}

static void give(struct hurdmm_cache *cache, void *taken)
{
    ck_assert_int_eq(hurdmm_cache_free(cache, taken), 0);
}

/* As many objects, to and from `object'. */
static void take_all(struct hurdmm_cache *cache, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        object[i] = take(cache);
}

static void give_all(struct hurdmm_cache *cache, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        give(cache, object[i]);
}

static void put(void *where, size_t at, uint8_t value)
{
    ck_assert_int_eq(
        hurdmm_sim_write(rig.port, NULL, (uintptr_t)where + at, &value, 1), 0);
}

static uint8_t get(const void *where, size_t at)
{
    uint8_t value = 0;

    ck_assert_int_eq(
        hurdmm_sim_read(rig.port, NULL, (uintptr_t)where + at, &value, 1), 0);
    return value;
}

static struct hurdmm_cache_info info_of(struct hurdmm_cache *cache)
{
    struct hurdmm_cache_info info = {.struct_size = sizeof info};

    ck_assert_int_eq(hurdmm_cache_get_info(cache, &info), 0);
    return info;
}

static struct hurdmm_stats stats(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};

    ck_assert_int_eq(hurdmm_get_stats(rig.manager, &stats), 0);
    return stats;
}

static int construct(void *hook, void *where, size_t size)
{
    ck_assert_ptr_eq(hook, &rig);
    if (user.construct_error != 0) {
        if (user.good == 0)
            return user.construct_error;
        user.good--;
    }
    user.constructed++;
    put(where, 0, 0xc0);
    put(where, size - 1, 0xc1);
    return 0;
}

static int destruct(void *hook, void *where, size_t size)
{
    ck_assert_ptr_eq(hook, &rig);
    if (user.destruct_error != 0)
        return user.destruct_error;
    ck_assert_uint_eq(get(where, 0), 0xc0);
    ck_assert_uint_eq(get(where, size - 1), 0xc1);
    user.destructed++;
    return 0;
}

static void lost(void *hook, void *where, size_t size)
{
    (void)where, (void)size;
    ck_assert_ptr_eq(hook, &rig);
    user.lost++;
}

static struct hurdmm_cache *make_constructed(size_t size)
{
    return make(&(struct hurdmm_cache_options){
        .size = size, .construct = construct, .hook = &rig});
}

static int numbers(void *hook, uint64_t offset, void *buffer, size_t length)
{
    (void)hook, (void)offset;
    memset(buffer, 7, length);
    return 0;
}

/* Wants all of memory for something else, which needs no swap: again and again,
 * or the policy would not believe it. */
static void press(void)
{
    struct hurdmm_store *store;
    uint8_t byte;
    size_t done;

    ck_assert_int_eq(hurdmm_computed_create(rig.manager, 256 * PAGE, 0, numbers,
                                            NULL, &store),
                     0);
    for (unsigned i = 0; i < 6 * 200; i++) {
        uint64_t page = i / 200 * 40 + i % 40;
        ck_assert_int_eq(hurdmm_store_read(store, page * PAGE, &byte, 1, &done),
                         0);
    }
    ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
}

/* ---- Objects ---- */

START_TEST(objects_are_aligned_and_apart)
{
    struct hurdmm_cache *cache =
        make(&(struct hurdmm_cache_options){.size = 24, .align = 32});

    for (unsigned i = 0; i < OBJECTS; i++) {
        object[i] = take(cache);
        ck_assert_uint_eq((uintptr_t)object[i] % 32, 0);
        put(object[i], 0, (uint8_t)i);
        put(object[i], 23, (uint8_t)(i >> 8));
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        ck_assert_uint_eq(get(object[i], 0), (uint8_t)i);
        ck_assert_uint_eq(get(object[i], 23), i >> 8);
    }
    ck_assert_uint_eq(info_of(cache).used, OBJECTS);
}
END_TEST

START_TEST(an_address_leads_to_its_cache_and_object)
{
    struct hurdmm_cache *first = make_plain(48), *second = make_plain(100);
    void *a = take(first), *b = take(second), *start;
    struct hurdmm_cache *cache;

    ck_assert_int_eq(hurdmm_slab_find(slab, (char *)a + 47, &cache, &start), 0);
    ck_assert_ptr_eq(cache, first);
    ck_assert_ptr_eq(start, a);
    ck_assert_int_eq(hurdmm_slab_find(slab, b, &cache, NULL), 0);
    ck_assert_ptr_eq(cache, second);
    ck_assert_int_eq(hurdmm_slab_find(slab, (char *)b + 101, NULL, NULL),
                     ENOENT);
    ck_assert_int_eq(hurdmm_slab_find(slab, &rig, NULL, NULL), ENOENT);
    ck_assert_int_eq(hurdmm_slab_find(slab, NULL, NULL, NULL), ENOENT);
    ck_assert_int_eq(
        hurdmm_slab_find(slab, (char *)a + 1000 * PAGE, NULL, NULL), ENOENT);
    ck_assert_int_eq(hurdmm_slab_find(NULL, a, NULL, NULL), EINVAL);
}
END_TEST

START_TEST(what_is_freed_is_handed_out_again)
{
    struct hurdmm_cache *cache = make_plain(64);
    uint64_t slabs;

    take_all(cache, OBJECTS);
    slabs = info_of(cache).slabs;
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < OBJECTS; i++)
            give(cache, object[i]);
        for (unsigned i = 0; i < OBJECTS; i++)
            object[i] = take(cache);
    }
    ck_assert_uint_le(info_of(cache).slabs, slabs + 1);
}
END_TEST

START_TEST(slabs_begin_at_different_colours)
{
    /* 4096 - 5 * 768: room for four multiples of 64. */
    struct hurdmm_cache *cache = make_plain(768);
    unsigned seen = 0;

    for (unsigned i = 0; i < 5 * 5; i++) {
        uintptr_t at = (uintptr_t)take(cache) - hurdmm_slab_address(slab);
        seen |= 1u << at % SLAB % 768 / 64;
    }
    ck_assert_uint_eq(seen, 0x1f);
}
END_TEST

START_TEST(a_slab_may_be_one_object)
{
    struct hurdmm_cache *cache = make_plain(SLAB);

    for (unsigned i = 0; i < 10; i++) {
        object[i] = take(cache);
        put(object[i], SLAB - 1, (uint8_t)i);
    }
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_uint_eq(get(object[i], SLAB - 1), i);
        give(cache, object[i]);
    }
}
END_TEST

START_TEST(objects_may_be_bytes)
{
    struct hurdmm_cache *cache =
        make(&(struct hurdmm_cache_options){.size = 1, .align = 1});

    for (unsigned i = 0; i < OBJECTS; i++) {
        object[i] = take(cache);
        put(object[i], 0, (uint8_t)(i * 7));
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        ck_assert_uint_eq(get(object[i], 0), (uint8_t)(i * 7));
        give(cache, object[i]);
    }
    ck_assert_uint_eq(info_of(cache).used, 0);
}
END_TEST

START_TEST(what_is_not_ours_or_free_already_is_refused)
{
    bool debug = _i != 0;
    struct hurdmm_cache_options options = {
        .size = 40, .flags = debug ? HURDMM_CACHE_DEBUG : 0};
    struct hurdmm_cache *cache = make(&options), *other = make(&options);
    char *mine = take(cache), *its = take(other);

    give(cache, mine);
    ck_assert_int_eq(hurdmm_cache_free(cache, mine), EINVAL);
    ck_assert_int_eq(hurdmm_cache_free(cache, its), ENOENT);
    ck_assert_int_eq(hurdmm_cache_free(cache, mine + 1), ENOENT);
    ck_assert_int_eq(hurdmm_cache_free(cache, NULL), ENOENT);
    ck_assert_int_eq(hurdmm_cache_free(cache, &rig), ENOENT);
    ck_assert_int_eq(hurdmm_cache_free(cache, its + 500 * PAGE), ENOENT);
    ck_assert_int_eq(hurdmm_cache_free(NULL, mine), EINVAL);
    ck_assert_uint_eq(info_of(cache).faults, 6);
    ck_assert_uint_eq(info_of(cache).used, 0);
    /* It was not put on any list twice. */
    for (unsigned i = 0; i < 100; i++) {
        object[i] = take(cache);
        for (unsigned j = 0; j < i; j++)
            ck_assert_ptr_ne(object[i], object[j]);
    }
    give(other, its);
}
END_TEST

START_TEST(a_debug_cache_sees_what_is_written_behind_an_object)
{
    struct hurdmm_cache *cache = make(&(struct hurdmm_cache_options){
        .size = 40, .flags = HURDMM_CACHE_DEBUG});
    void *mine = take(cache), *next = take(cache);
    uint8_t guard = get(mine, 40);

    put(mine, 39, 1);
    put(mine, 40, (uint8_t)~guard);
    ck_assert_int_eq(hurdmm_cache_free(cache, mine), EIO);
    ck_assert_uint_eq(info_of(cache).used, 2);
    ck_assert_uint_eq(info_of(cache).faults, 1);
    give(cache, next);
    put(mine, 40, guard);
    give(cache, mine);
    ck_assert_uint_eq(info_of(cache).used, 0);
}
END_TEST

START_TEST(bad_options_are_refused)
{
    static const struct hurdmm_cache_options bad[] = {
        {.size = 0},
        {.size = SLAB + 1},
        {.size = SIZE_MAX},
        {.size = SIZE_MAX - 7},
        {.size = 8, .align = 3},
        {.size = 8, .align = 2 * PAGE},
        {.size = 8, .colour = 48},
        {.size = 8, .flags = 2},
        {.size = SLAB, .flags = HURDMM_CACHE_DEBUG},
        {.size = SLAB - 15, .flags = HURDMM_CACHE_DEBUG},
    };
    const struct hurdmm_slab_options good = {
        .struct_size = sizeof good, .manager = rig.manager, .size = 100};
    struct hurdmm_slab_options wrong;
    struct hurdmm_cache_options options;
    struct hurdmm_cache *cache;
    struct hurdmm_slab *none;

    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options = bad[i];
        options.struct_size = sizeof options;
        ck_assert_int_eq(hurdmm_cache_create(slab, &options, &cache), EINVAL);
    }
    ck_assert_int_eq(hurdmm_cache_create(slab, &bad[0], &cache), EINVAL);
    ck_assert_int_eq(hurdmm_cache_create(slab, NULL, &cache), EINVAL);
    ck_assert_int_eq(hurdmm_slab_create(NULL, &none), EINVAL);
    for (unsigned i = 0; i < 7; i++) {
        wrong = good;
        wrong.struct_size = i == 0 ? 8 : sizeof wrong;
        wrong.manager = i == 1 ? NULL : rig.manager;
        wrong.size = i == 2 ? 0 : i == 3 ? UINT64_MAX : 100;
        wrong.slab_size = i == 4   ? PAGE / 2
                          : i == 5 ? 3 * PAGE
                          : i == 6 ? (size_t)32 << 20
                                   : 0;
        ck_assert_int_eq(hurdmm_slab_create(&wrong, &none), EINVAL);
    }
    ck_assert_int_eq(hurdmm_cache_alloc(NULL, object), EINVAL);
    ck_assert_int_eq(hurdmm_cache_reap(NULL, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_slab_reap(NULL, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_magazine_alloc(NULL, object), EINVAL);
    ck_assert_int_eq(hurdmm_magazine_free(NULL, object), EINVAL);
    ck_assert_int_eq(hurdmm_cache_get_info(NULL, NULL), EINVAL);
    hurdmm_magazine_destroy(NULL);
}
END_TEST

START_TEST(a_range_that_is_used_up_is_no_loss)
{
    struct hurdmm_cache *cache;
    unsigned count = 0;

    restart(rig.swap, 4 * SLAB, NULL);
    cache = make_plain(256);
    while (hurdmm_cache_alloc(cache, &object[count]) == 0)
        count++;
    ck_assert_uint_eq(count, 64);
    ck_assert_int_eq(hurdmm_cache_alloc(cache, &object[64]), ENOMEM);
    give(cache, object[17]);
    ck_assert_ptr_eq(take(cache), object[17]);
}
END_TEST

START_TEST(no_core_memory_changes_nothing)
{
    static void *pieces[20000];
    struct hurdmm_cache *cache = make_plain(64);
    unsigned count = 0, taken = 0;

    hurdmm_sim_fail(rig.port, HURDMM_SIM_CORE_MAP, 1, ENOMEM, 1);
    for (size_t size = 65536; size >= 64; size /= 2)
        while (hurdmm_allocate(rig.manager, size, &pieces[count]) == 0)
            count++;
    ck_assert_int_eq(hurdmm_cache_alloc(cache, &object[0]), ENOMEM);
    ck_assert_uint_eq(info_of(cache).slabs, 0);
    hurdmm_sim_fail(rig.port, 0, 0, 0, 0);
    while (taken < 100)
        object[taken++] = take(cache);
    rig_check(&rig);
}
END_TEST

/* ---- Constructors and destructors ---- */

START_TEST(an_object_is_constructed_once)
{
    struct hurdmm_cache *cache = make_constructed(64);

    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 100; i++) {
            object[i] = take(cache);
            ck_assert_uint_eq(get(object[i], 0), 0xc0);
        }
        for (unsigned i = 0; i < 100; i++)
            give(cache, object[i]);
    }
    ck_assert_uint_ge(user.constructed, 100);
    ck_assert_uint_le(user.constructed, 3 * 64);
    ck_assert_uint_eq(info_of(cache).constructions, user.constructed);
}
END_TEST

START_TEST(a_constructor_may_fail)
{
    struct hurdmm_cache *cache = make_constructed(64);
    void *taken = NULL;

    user.construct_error = EIO;
    ck_assert_int_eq(hurdmm_cache_alloc(cache, &taken), EIO);
    ck_assert_ptr_null(taken);
    ck_assert_uint_eq(info_of(cache).used + info_of(cache).stocked, 0);
    /* Those that could be constructed are handed out. */
    user.good = 3;
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(get(take(cache), 63), 0xc1);
    user.construct_error = 0;
    for (unsigned i = 0; i < 200; i++)
        ck_assert_uint_eq(get(take(cache), 63), 0xc1);
    ck_assert_uint_eq(info_of(cache).used, 203);
}
END_TEST

START_TEST(a_reap_destructs_and_gives_the_memory_back)
{
    struct hurdmm_cache *cache =
        make(&(struct hurdmm_cache_options){.size = 128,
                                            .construct = construct,
                                            .destruct = destruct,
                                            .hook = &rig});
    uint64_t bytes, used;

    take_all(cache, 300);
    for (unsigned i = 1; i < 300; i++)
        give(cache, object[i]);
    used = stats().frames_used;
    ck_assert_int_eq(hurdmm_slab_reap(slab, &bytes), 0);
    ck_assert_uint_ge(bytes, 8 * SLAB);
    ck_assert_uint_eq(bytes % SLAB, 0);
    ck_assert_uint_lt(stats().frames_used, used);
    ck_assert_uint_eq(info_of(cache).slabs, 1);
    ck_assert_uint_eq(user.constructed - user.destructed,
                      1 + info_of(cache).constructed);
    give(cache, object[0]);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
    ck_assert_uint_eq(user.constructed, user.destructed);
    ck_assert_uint_eq(rig_used(&rig), 0);
}
END_TEST

START_TEST(a_destructor_may_fail)
{
    struct hurdmm_cache *cache =
        make(&(struct hurdmm_cache_options){.size = 128,
                                            .construct = construct,
                                            .destruct = destruct,
                                            .hook = &rig});
    uint64_t bytes = 1;

    take_all(cache, 100);
    give_all(cache, 100);
    user.destruct_error = EBUSY;
    ck_assert_int_eq(hurdmm_cache_reap(cache, &bytes), EBUSY);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), EBUSY);
    unsigned before = user.constructed;
    object[0] = take(cache);
    ck_assert_uint_eq(user.constructed, before);
    give(cache, object[0]);
    user.destruct_error = 0;
    ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
    ck_assert_uint_eq(user.destructed, user.constructed);
}
END_TEST

START_TEST(memory_that_was_reaped_serves_other_caches)
{
    struct hurdmm_cache *first, *second;

    restart(rig.swap, 4 * SLAB, NULL);
    first = make_plain(64);
    second = make_plain(512);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 256; i++)
            object[i] = take(first);
        ck_assert_int_eq(hurdmm_cache_alloc(second, &object[256]), ENOMEM);
        for (unsigned i = 0; i < 256; i++)
            give(first, object[i]);
        ck_assert_int_eq(hurdmm_slab_reap(slab, NULL), 0);
        for (unsigned i = 0; i < 32; i++)
            object[i] = take(second);
        for (unsigned i = 0; i < 32; i++)
            give(second, object[i]);
        ck_assert_int_eq(hurdmm_slab_reap(slab, NULL), 0);
    }
}
END_TEST

START_TEST(what_is_in_use_keeps_everything)
{
    struct hurdmm_cache *cache = make_plain(64);
    struct hurdmm_magazine *magazine;
    void *mine = take(cache);

    ck_assert_int_eq(hurdmm_cache_destroy(cache), EBUSY);
    ck_assert_int_eq(hurdmm_slab_destroy(slab), EBUSY);
    give(cache, mine);
    ck_assert_int_eq(hurdmm_magazine_create(cache, &magazine), 0);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), EBUSY);
    ck_assert_int_eq(hurdmm_magazine_alloc(magazine, &mine), 0);
    ck_assert_int_eq(hurdmm_magazine_free(magazine, mine), 0);
    hurdmm_magazine_destroy(magazine);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
    ck_assert_int_eq(hurdmm_slab_destroy(slab), 0);
    make_slab(rig.swap, 1, NULL);
}
END_TEST

START_TEST(a_pinned_page_is_not_reaped)
{
    struct hurdmm_cache *cache = make_plain(64);
    void *mine = take(cache);
    uintptr_t page = (uintptr_t)mine / PAGE * PAGE;

    put(mine, 0, 1);
    ck_assert_int_eq(hurdmm_pin(rig.space, page, PAGE, HURDMM_READ), 0);
    give(cache, mine);
    ck_assert_int_eq(hurdmm_cache_reap(cache, NULL), EBUSY);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), EBUSY);
    give(cache, take(cache));
    ck_assert_int_eq(hurdmm_unpin(rig.space, page, PAGE, HURDMM_READ), 0);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
}
END_TEST

START_TEST(what_ends_leaves_nothing)
{
    uint64_t before = 0;

    for (unsigned round = 0; round < 4; round++) {
        struct hurdmm_cache *cache = make_constructed(200);

        for (unsigned i = 0; i < 500; i++)
            object[i] = take(cache);
        for (unsigned i = 0; i < 500; i++)
            give(cache, object[i]);
        ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
        restart(rig.swap, (100 + 900 * (round % 2)) * SLAB, NULL);
        if (round == 1)
            before = rig_core_bytes(&rig);
    }
    ck_assert_uint_le(rig_core_bytes(&rig), before);
    ck_assert_uint_eq(rig_used(&rig), 0);
}
END_TEST

static struct hurdmm_cache_options lazy_options = {
    .struct_size = sizeof lazy_options, .size = 32};
static struct hurdmm_cache_lazy lazy = HURDMM_CACHE_LAZY(&slab, &lazy_options);

START_TEST(a_lazy_cache_is_made_when_it_is_needed)
{
    struct hurdmm_slab *kept = slab;
    struct hurdmm_cache *first, *second;

    slab = NULL;
    ck_assert_int_eq(hurdmm_cache_get(&lazy, &first), EINVAL);
    slab = kept;
    ck_assert_int_eq(hurdmm_cache_get(&lazy, &first), 0);
    ck_assert_int_eq(hurdmm_cache_get(&lazy, &second), 0);
    ck_assert_ptr_eq(first, second);
    give(first, take(second));
    ck_assert_int_eq(hurdmm_cache_destroy(first), 0);
    ck_assert_int_eq(hurdmm_cache_get(&lazy, &second), 0);
    give(second, take(second));
    ck_assert_int_eq(hurdmm_cache_get(NULL, &second), EINVAL);
}
END_TEST

static void get_lazily(void *argument)
{
    struct hurdmm_cache **cache = argument;

    ck_assert_int_eq(hurdmm_cache_get(&lazy, cache), 0);
}

START_TEST(threads_that_race_for_a_lazy_cache_get_one)
{
    struct hurdmm_cache *cache[6];

    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(
            hurdmm_sim_spawn(rig.port, get_lazily, &cache[i], NULL), 0);
    ck_assert_int_eq(hurdmm_sim_run(rig.port), 0);
    for (unsigned i = 1; i < 6; i++)
        ck_assert_ptr_eq(cache[i], cache[0]);
    ck_assert_int_eq(hurdmm_cache_destroy(cache[0]), 0);
    restart(rig.swap, 1, NULL); /* there was no other */
}
END_TEST

/* ---- Memory that is short ---- */

START_TEST(empty_slabs_are_never_written)
{
    struct hurdmm_cache *cache = make_plain(64);

    for (unsigned round = 0; round < 3; round++) {
        /* As much as memory has room for without pressure. */
        for (unsigned i = 0; i < 128; i++) {
            object[i] = take(cache);
            put(object[i], 5, 1);
        }
        for (unsigned i = 0; i < 128; i++)
            give(cache, object[i]);
        /* What the magazines in common hold counts as in use. */
        ck_assert_int_eq(hurdmm_cache_reap(cache, NULL), 0);
        for (unsigned i = 0; i < 128; i++)
            object[i] = take(cache);
        for (unsigned i = 0; i < 128; i++)
            put(object[i], 5, 1);
        for (unsigned i = 0; i < 128; i++)
            give(cache, object[i]);
        press();
    }
    /* At most the pages of the one magazine. */
    ck_assert_uint_le(stats().pages_out, 3 * 16);
    ck_assert_uint_ge(stats().discards, 16);
}
END_TEST

START_TEST(what_no_magazine_holds_is_all_dropped)
{
    struct hurdmm_cache *cache = make(&(struct hurdmm_cache_options){
        .size = 48, .flags = HURDMM_CACHE_DEBUG});

    take_all(cache, 80);
    give_all(cache, 80);
    press();
    ck_assert_uint_eq(rig.ram.writes, 0);
    ck_assert_uint_eq(stats().pages_out, 0);
    ck_assert_uint_eq(stats().discards, 80 * 64 / PAGE);
}
END_TEST

START_TEST(lost_objects_are_constructed_again)
{
    struct hurdmm_cache *cache =
        make(&(struct hurdmm_cache_options){.size = BIG,
                                            .flags = HURDMM_CACHE_DEBUG,
                                            .construct = construct,
                                            .hook = &rig});

    take_all(cache, 20);
    give_all(cache, 20);
    ck_assert_uint_eq(info_of(cache).constructed, 20);
    press();
    ck_assert_uint_eq(info_of(cache).losses, 20);
    ck_assert_uint_eq(info_of(cache).constructed, 0);
    ck_assert_uint_eq(rig.ram.writes, 0);
    for (unsigned i = 0; i < 20; i++) {
        object[i] = take(cache);
        ck_assert_uint_eq(get(object[i], 0), 0xc0);
        ck_assert_uint_eq(get(object[i], BIG - 1), 0xc1);
    }
    ck_assert_uint_eq(user.constructed, 40);
}
END_TEST

START_TEST(what_is_in_use_is_paged)
{
    struct hurdmm_cache *cache = make_plain(72);

    for (unsigned i = 0; i < OBJECTS; i++) {
        object[i] = take(cache);
        put(object[i], i % 72, (uint8_t)(i * 3 + 1));
        if (i % 3 == 2)
            give(cache, object[i]);
    }
    press();
    ck_assert_uint_gt(rig.ram.writes, 0);
    ck_assert_uint_gt(rig_used(&rig), 0);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (i % 3 != 2)
            ck_assert_uint_eq(get(object[i], i % 72), (uint8_t)(i * 3 + 1));
}
END_TEST

START_TEST(without_swap_only_what_is_free_leaves)
{
    struct hurdmm_cache *cache;

    restart(NULL, 1024 * PAGE, NULL);
    cache = make_plain(PAGE);
    for (unsigned i = 0; i < 44; i++) {
        object[i] = take(cache);
        put(object[i], 9, (uint8_t)i);
    }
    for (unsigned i = 0; i < 44; i++)
        if (i % 2)
            give(cache, object[i]);
    press();
    for (unsigned i = 0; i < 44; i += 2)
        ck_assert_uint_eq(get(object[i], 9), i);
    ck_assert_uint_gt(stats().discards, 0);
}
END_TEST

START_TEST(what_a_destructor_must_see_is_not_lost)
{
    struct hurdmm_cache *cache =
        make(&(struct hurdmm_cache_options){.size = BIG,
                                            .flags = HURDMM_CACHE_DEBUG,
                                            .construct = construct,
                                            .destruct = destruct,
                                            .hook = &rig});

    take_all(cache, 20);
    give_all(cache, 20);
    press();
    ck_assert_uint_eq(info_of(cache).losses, 0);
    ck_assert_uint_gt(rig.ram.writes, 0);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
    ck_assert_uint_eq(user.destructed, user.constructed);
}
END_TEST

START_TEST(who_asks_is_told_of_what_is_lost)
{
    struct hurdmm_cache *cache =
        make(&(struct hurdmm_cache_options){.size = BIG,
                                            .flags = HURDMM_CACHE_DEBUG,
                                            .construct = construct,
                                            .destruct = destruct,
                                            .lost = lost,
                                            .hook = &rig});

    take_all(cache, 20);
    give_all(cache, 20);
    press();
    ck_assert_uint_eq(user.lost, 20);
    ck_assert_uint_eq(info_of(cache).losses, user.lost);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
    ck_assert_uint_eq(user.constructed, user.destructed + user.lost);
}
END_TEST

static void reap(void *hook, struct hurdmm_slab *of)
{
    ck_assert_ptr_eq(hook, &rig);
    ck_assert_ptr_eq(of, slab);
    user.reaps++;
    for (unsigned i = 0; i < OBJECTS && user.free > 0; i++)
        if (object[i]) {
            give(user.cache, object[i]);
            object[i] = NULL;
            user.free--;
        }
}

START_TEST(the_user_can_free_when_memory_is_short)
{
    restart(rig.swap, 1024 * PAGE, reap);
    user.cache = make_plain(PAGE);
    memset(object, 0, sizeof object);
    for (unsigned i = 0; i < 500; i++) {
        user.free = 24;
        object[i] = take(user.cache);
        put(object[i], 0, 1);
    }
    ck_assert_uint_gt(user.reaps, 5);
    ck_assert_uint_lt(user.reaps, 500);
    /* Most was dropped, and not written. */
    ck_assert_uint_gt(stats().discards, 50);
    ck_assert_uint_lt(stats().pages_out, 150);
}
END_TEST

START_TEST(a_swap_device_that_fails_loses_nothing)
{
    struct hurdmm_cache *cache = make_plain(PAGE);
    void *more;

    rig.ram.write_error = EIO;
    for (unsigned i = 0; i < 40; i++) {
        object[i] = take(cache);
        put(object[i], 3, (uint8_t)(i + 1));
    }
    for (unsigned i = 0; i < 40; i += 2)
        give(cache, object[i]);
    press();
    for (unsigned i = 1; i < 40; i += 2)
        ck_assert_uint_eq(get(object[i], 3), i + 1);
    rig.ram.write_error = 0;
    ck_assert_int_eq(hurdmm_cache_alloc(cache, &more), 0);
    put(more, 0, 1);
}
END_TEST

/* Swap space for fewer pages than memory has. */
#define PLACES 20u

static struct ram ram;
static struct hurdmm_swap *reserving;

static void begin_reserving(void)
{
    struct hurdmm_swap_options options = {.struct_size = sizeof options,
                                          .block = &ram.block,
                                          .flags = HURDMM_SWAP_RESERVE};

    begin();
    ram_begin(&ram, PLACES * PAGE);
    ck_assert_int_eq(hurdmm_swap_create_with(rig.manager, &options, &reserving),
                     0);
    restart(reserving, 1024 * PAGE, NULL);
}

static void end_reserving(void)
{
    end();
    ram_end(&ram);
}

static struct hurdmm_swap_info places(void)
{
    struct hurdmm_swap_info info = {.struct_size = sizeof info};

    ck_assert_int_eq(hurdmm_swap_get_info(reserving, &info), 0);
    return info;
}

START_TEST(what_is_handed_out_has_a_place)
{
    bool many = _i != 0; /* objects to a page */
    unsigned each = many ? 4 : 1;
    struct hurdmm_cache *cache = make_plain(PAGE / each);
    void *more = NULL;

    take_all(cache, PLACES * each);
    ck_assert_int_eq(hurdmm_cache_alloc(cache, &more), ENOSPC);
    ck_assert_ptr_null(more);
    ck_assert_uint_eq(info_of(cache).stocked, 0);
    for (unsigned i = 0; i < PLACES * each; i++)
        put(object[i], 3, (uint8_t)(i + 1));
    press();
    ck_assert_uint_eq(places().used, PLACES * PAGE);
    for (unsigned i = 0; i < PLACES * each; i++)
        ck_assert_uint_eq(get(object[i], 3), i + 1);
    /* The places of what is reaped are others'. */
    give_all(cache, PLACES * each);
    ck_assert_int_eq(hurdmm_cache_reap(cache, NULL), 0);
    ck_assert_uint_eq(places().used + places().reserved, 0);
    for (unsigned i = 0; i < PLACES * each; i++)
        give(cache, take(cache));
}
END_TEST

/* The page may be in use again before it has gone. */
START_TEST(what_is_dropped_keeps_its_place)
{
    struct hurdmm_cache *cache = make(&(struct hurdmm_cache_options){
        .size = BIG, .flags = HURDMM_CACHE_DEBUG});

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < PLACES; i++) {
            object[i] = take(cache);
            put(object[i], 3, (uint8_t)(i + round));
        }
        if (round == 1) /* once out and in again, where it has a slot */
            press();
        for (unsigned i = 0; i < PLACES; i++) {
            ck_assert_uint_eq(get(object[i], 3), i + round);
            put(object[i], 3, 0);
            give(cache, object[i]);
        }
        press();
        ck_assert_uint_eq(places().used, 0);
        ck_assert_uint_eq(places().reserved, PLACES * PAGE);
    }
    ck_assert_uint_ge(stats().discards, 3 * PLACES);
}
END_TEST

/* ---- Threads, of the simulated machine ---- */

struct worker {
    struct hurdmm_cache *cache;
    uint8_t name;
    bool magazine;
};

static void work(void *argument)
{
    const struct worker *worker = argument;
    struct hurdmm_magazine *magazine = NULL;
    void *held[40] = {0};

    if (worker->magazine)
        ck_assert_int_eq(hurdmm_magazine_create(worker->cache, &magazine), 0);
    for (unsigned i = 0; i < 400; i++) {
        void **place = &held[i * 7 % 40];
        if (*place) {
            ck_assert_uint_eq(get(*place, 1), worker->name);
            ck_assert_uint_eq(get(*place, 30), worker->name);
            ck_assert_int_eq(magazine
                                 ? hurdmm_magazine_free(magazine, *place)
                                 : hurdmm_cache_free(worker->cache, *place),
                             0);
            *place = NULL;
            continue;
        }
        ck_assert_int_eq(magazine ? hurdmm_magazine_alloc(magazine, place)
                                  : hurdmm_cache_alloc(worker->cache, place),
                         0);
        ck_assert_uint_eq(get(*place, 0), 0xc0);
        put(*place, 1, worker->name);
        put(*place, 30, worker->name);
        if (i % 16 == 0)
            ck_assert_int_eq(hurdmm_cache_reap(worker->cache, NULL), 0);
    }
    for (unsigned i = 0; i < 40; i++)
        if (held[i])
            give(worker->cache, held[i]);
    hurdmm_magazine_destroy(magazine);
}

START_TEST(threads_share_a_cache)
{
    struct worker worker[5];
    struct hurdmm_cache *cache = make_constructed(80);

    ck_assert_int_eq(hurdmm_set_budget(rig.manager, 16 * PAGE), 0);
    for (unsigned i = 0; i < 5; i++) {
        worker[i] = (struct worker){cache, (uint8_t)(i + 1), i % 2 != 0};
        ck_assert_int_eq(hurdmm_sim_spawn(rig.port, work, &worker[i], NULL), 0);
    }
    hurdmm_sim_settle(rig.port);
    ck_assert_uint_eq(info_of(cache).used, 0);
    ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slab");
    TCase *objects = tcase_create("objects");
    TCase *made = tcase_create("constructed");
    TCase *pressure = tcase_create("pressure");
    TCase *places = tcase_create("places");

    tcase_add_checked_fixture(objects, begin, end);
    tcase_add_checked_fixture(made, begin, end);
    tcase_add_checked_fixture(pressure, begin, end);
    tcase_add_checked_fixture(places, begin_reserving, end_reserving);
    tcase_set_timeout(pressure, 30);
    tcase_add_test(objects, objects_are_aligned_and_apart);
    tcase_add_test(objects, an_address_leads_to_its_cache_and_object);
    tcase_add_test(objects, what_is_freed_is_handed_out_again);
    tcase_add_test(objects, slabs_begin_at_different_colours);
    tcase_add_test(objects, a_slab_may_be_one_object);
    tcase_add_test(objects, objects_may_be_bytes);
    tcase_add_loop_test(objects, what_is_not_ours_or_free_already_is_refused, 0,
                        2);
    tcase_add_test(objects,
                   a_debug_cache_sees_what_is_written_behind_an_object);
    tcase_add_test(objects, bad_options_are_refused);
    tcase_add_test(objects, a_range_that_is_used_up_is_no_loss);
    tcase_add_test(objects, no_core_memory_changes_nothing);
    tcase_add_test(objects, a_lazy_cache_is_made_when_it_is_needed);
    tcase_add_test(objects, threads_that_race_for_a_lazy_cache_get_one);
    tcase_add_test(made, an_object_is_constructed_once);
    tcase_add_test(made, a_constructor_may_fail);
    tcase_add_test(made, a_reap_destructs_and_gives_the_memory_back);
    tcase_add_test(made, a_destructor_may_fail);
    tcase_add_test(made, memory_that_was_reaped_serves_other_caches);
    tcase_add_test(made, what_is_in_use_keeps_everything);
    tcase_add_test(made, a_pinned_page_is_not_reaped);
    tcase_add_test(made, what_ends_leaves_nothing);
    tcase_add_test(pressure, empty_slabs_are_never_written);
    tcase_add_test(pressure, what_no_magazine_holds_is_all_dropped);
    tcase_add_test(pressure, lost_objects_are_constructed_again);
    tcase_add_test(pressure, what_is_in_use_is_paged);
    tcase_add_test(pressure, without_swap_only_what_is_free_leaves);
    tcase_add_test(pressure, what_a_destructor_must_see_is_not_lost);
    tcase_add_test(pressure, who_asks_is_told_of_what_is_lost);
    tcase_add_test(pressure, the_user_can_free_when_memory_is_short);
    tcase_add_test(pressure, a_swap_device_that_fails_loses_nothing);
    tcase_add_test(pressure, threads_share_a_cache);
    tcase_add_loop_test(places, what_is_handed_out_has_a_place, 0, 2);
    tcase_add_test(places, what_is_dropped_keeps_its_place);
    suite_add_tcase(suite, objects);
    suite_add_tcase(suite, made);
    suite_add_tcase(suite, pressure);
    suite_add_tcase(suite, places);
    return run_suites("slab", &suite, 1);
}
