/* SPDX-License-Identifier: MIT */
/*
 * Fault sweeps: each scenario is done again and again, and each time the next
 * fallible call fails, once or from then on, until it is done without a failure
 * having been met.  After each: the errors were documented ones, nothing was
 * lost, all structures are sound, and everything works again.
 *
 * A scenario has one disk of PAGES pages, more than there are frames, with its
 * truth: what must be read.  It goes on after an error as a careful program
 * would: what it could not do it leaves out.
 */
#include "tests/core/failure.h"
#include "tests/core/world.h"
#include "tests/support/runner.h"

#define PAGES 40u
#define PAGE 128u
#define FRAMES 20u
#define RUNS_MAX 5000u

struct sweep {
    struct world world;
    struct disk *disk;
    uint8_t truth[PAGES * PAGE];
    uintptr_t at; /* all of the disk, 0: not bound */
    bool failing; /* an error has been met: it may be for ever */
};

struct scenario {
    const char *name;
    void (*run)(struct sweep *sweep);
    bool unbound; /* it binds the disk itself */
};

static const struct failure *current;

/* Whether a call went well; an error must be one of the failure's. */
static bool good(struct sweep *sweep, int error, const char *what)
{
    if (error == 0)
        return true;
    sweep->failing = true;
    ck_assert_msg(failure_excuses(current, error), "%s ended with %d", what,
                  error);
    return false;
}

#define GOOD(call) good(sweep, call, #call)

static void put(struct sweep *sweep, unsigned page, uint8_t value)
{
    uintptr_t at = sweep->at + page * PAGE + page % PAGE;
    if (sweep->at != 0 &&
        good(sweep, world_store(&sweep->world, at, value), "a store"))
        sweep->truth[page * PAGE + page % PAGE] = value;
}

static void get(struct sweep *sweep, unsigned page)
{
    uint8_t value = 0;
    uintptr_t at = sweep->at + page * PAGE + 3;
    if (sweep->at != 0 &&
        good(sweep, world_load(&sweep->world, at, &value), "a load"))
        ck_assert_uint_eq(value, sweep->truth[page * PAGE + 3]);
}

static void bind_all(struct sweep *sweep, unsigned flags)
{
    uintptr_t at = 0;
    sweep->at = 0;
    if (GOOD(world_try_bind(&sweep->world, sweep->disk, 0, PAGES * PAGE, 0,
                            HURDMM_READ | HURDMM_WRITE, flags, &at)))
        sweep->at = at;
}

/* ---- Scenarios ----------------------------------------------------------- */

static void bind_and_populate(struct sweep *sweep)
{
    uintptr_t at = 1;
    if (GOOD(world_try_bind(&sweep->world, sweep->disk, 0, 12 * PAGE, 0,
                            HURDMM_READ | HURDMM_WRITE, HURDMM_BIND_POPULATE,
                            &at))) {
        sweep->at = at;
        for (unsigned i = 0; i < 12; i++)
            get(sweep, i);
        return;
    }
    ck_assert_uint_eq(at, 1);
}

static void read_over_budget(struct sweep *sweep)
{
    for (unsigned i = 0; i < PAGES; i++)
        get(sweep, i);
}

static void write_over_budget(struct sweep *sweep)
{
    for (unsigned i = 0; i < PAGES + 10; i++)
        put(sweep, i * 7 % PAGES, (uint8_t)(i + 1));
    for (unsigned i = 0; i < PAGES; i += 5)
        get(sweep, i);
}

static void dirty_some(struct sweep *sweep)
{
    for (unsigned i = 0; i < 8; i++)
        put(sweep, i * 3, (uint8_t)(100 + i));
}

/* After a verb that says it has written. */
static void expect_written(struct sweep *sweep)
{
    ck_assert_mem_eq(sweep->disk->bytes, sweep->truth, PAGES * PAGE);
}

static void flush(struct sweep *sweep)
{
    dirty_some(sweep);
    if (GOOD(hurdmm_store_flush(sweep->disk->store, 0, HURDMM_WHOLE,
                                HURDMM_WAIT)))
        expect_written(sweep);
}

static void sync_twice(struct sweep *sweep)
{
    dirty_some(sweep);
    if (GOOD(hurdmm_store_sync(sweep->disk->store, 0, HURDMM_WHOLE,
                               HURDMM_WAIT)))
        expect_written(sweep);
    put(sweep, 1, 77);
    if (GOOD(hurdmm_sync_all(sweep->world.manager)))
        expect_written(sweep);
}

static void return_and_read(struct sweep *sweep)
{
    dirty_some(sweep);
    if (GOOD(hurdmm_store_return(sweep->disk->store, 0, HURDMM_WHOLE,
                                 HURDMM_WAIT)))
        expect_written(sweep);
    for (unsigned i = 0; i < 8; i++)
        get(sweep, i * 3);
}

static void unbind_the_middle(struct sweep *sweep)
{
    dirty_some(sweep);
    if (sweep->at == 0)
        return;
    bool gone = GOOD(
        hurdmm_unbind(sweep->world.space, sweep->at + 10 * PAGE, 10 * PAGE));
    uint8_t value;
    int error = world_load(&sweep->world, sweep->at + 12 * PAGE, &value);
    if (gone)
        ck_assert_int_eq(error, EFAULT);
    else
        (void)good(sweep, error, "a load");
    get(sweep, 3);
    get(sweep, 21);
}

static void protect_and_raise(struct sweep *sweep)
{
    dirty_some(sweep);
    if (sweep->at == 0)
        return;
    bool less = GOOD(hurdmm_protect(sweep->world.space, sweep->at + 2 * PAGE,
                                    5 * PAGE, HURDMM_READ));
    if (less)
        ck_assert_int_eq(world_store(&sweep->world, sweep->at + 3 * PAGE, 1),
                         EACCES);
    else
        put(sweep, 3, 9);
    get(sweep, 3);
    if (less && GOOD(hurdmm_protect(sweep->world.space, sweep->at, PAGES * PAGE,
                                    HURDMM_READ | HURDMM_WRITE)))
        put(sweep, 3, 10);
}

static void shrink_and_grow(struct sweep *sweep)
{
    const uint64_t size = 9 * PAGE + 17;
    dirty_some(sweep);
    uint64_t whole = PAGES * (uint64_t)PAGE;
    if (!GOOD(hurdmm_store_resize(sweep->disk->store, size))) {
        ck_assert_uint_eq(hurdmm_store_size(sweep->disk->store), whole);
        return;
    }
    memset(sweep->disk->bytes + size, 0, (size_t)(whole - size));
    memset(sweep->truth + size, 0, (size_t)(whole - size));
    get(sweep, 3);
    (void)GOOD(hurdmm_store_resize(sweep->disk->store, whole));
    get(sweep, 30);
    put(sweep, 31, 5);
}

static void pin_and_unpin(struct sweep *sweep)
{
    struct hurdmm_space *space = sweep->world.space;
    uint64_t before = world_stats(&sweep->world).frames_pinned;
    if (sweep->at == 0)
        return;
    bool first = GOOD(hurdmm_pin(space, sweep->at, 6 * PAGE, HURDMM_WRITE));
    bool second =
        GOOD(hurdmm_pin(space, sweep->at + 4 * PAGE, 4 * PAGE, HURDMM_READ));
    if (!first && !second)
        ck_assert_uint_eq(world_stats(&sweep->world).frames_pinned, before);
    for (unsigned i = 0; i < 6 && first; i++)
        put(sweep, i, (uint8_t)(50 + i));
    read_over_budget(sweep);
    if (first)
        ck_assert_int_eq(hurdmm_unpin(space, sweep->at, 6 * PAGE, HURDMM_WRITE),
                         0);
    if (second)
        ck_assert_int_eq(
            hurdmm_unpin(space, sweep->at + 4 * PAGE, 4 * PAGE, HURDMM_READ),
            0);
    ck_assert_uint_eq(world_stats(&sweep->world).frames_pinned, before);
}

static void cache_from_a_container(struct sweep *sweep)
{
    struct hurdmm_container *c = NULL;
    uint64_t given = 0;
    size_t done = 0;
    if (!GOOD(hurdmm_container_create(sweep->world.manager, &c)))
        return;
    if (GOOD(hurdmm_container_allocate(c, 0, 3 * PAGE, HURDMM_ALL_OR_NONE,
                                       &given)) &&
        GOOD(hurdmm_container_write(c, 0, sweep->truth + 20 * PAGE, 3 * PAGE,
                                    &done))) {
        done = 0;
        (void)GOOD(hurdmm_store_cache(sweep->disk->store, 20 * PAGE, c, 0,
                                      3 * PAGE, &done));
        ck_assert_uint_eq(done % PAGE, 0);
    }
    for (unsigned i = 19; i < 24; i++)
        get(sweep, i);
    ck_assert_int_eq(hurdmm_container_destroy(c), 0);
    (void)GOOD(hurdmm_store_supply(sweep->disk->store, 30 * PAGE,
                                   sweep->truth + 30 * PAGE, 2 * PAGE, &done));
    get(sweep, 31);
}

static void destroy_and_make_again(struct sweep *sweep)
{
    dirty_some(sweep);
    if (GOOD(hurdmm_store_destroy(sweep->disk->store, HURDMM_DETACH))) {
        expect_written(sweep);
        sweep->at = 0;
        sweep->disk->destroys = 0;
        while (disk_open(sweep->disk, sweep->world.manager, PAGES * PAGE, 0,
                         HURDMM_STORE_SHARED) != 0)
            hurdmm_sim_fail(sweep->world.port, 0, 0, 0, 0);
        bind_all(sweep, 0);
    }
    for (unsigned i = 0; i < PAGES; i += 3)
        get(sweep, i);
}

static void through_the_cache(struct sweep *sweep)
{
    static uint8_t buffer[6 * PAGE];
    size_t done = 0;
    for (unsigned i = 0; i < 30; i++) {
        uint64_t offset = i * 191 % ((PAGES - 6) * PAGE);
        if (i % 2 == 0) {
            memset(buffer, (int)i + 1, sizeof buffer);
            (void)GOOD(hurdmm_store_write(sweep->disk->store, offset, buffer,
                                          5 * PAGE, &done));
            memcpy(sweep->truth + offset, buffer, done);
        } else {
            (void)GOOD(hurdmm_store_read(sweep->disk->store, offset, buffer,
                                         5 * PAGE, &done));
            ck_assert_mem_eq(buffer, sweep->truth + offset, done);
        }
    }
}

static void two_views(struct sweep *sweep)
{
    uintptr_t second = 0;
    if (GOOD(world_try_bind(&sweep->world, sweep->disk, 4 * PAGE, 10 * PAGE, 0,
                            HURDMM_READ | HURDMM_WRITE, 0, &second))) {
        for (unsigned i = 4; i < 14; i++) {
            uint8_t value = 0;
            put(sweep, i, (uint8_t)i);
            if (good(sweep,
                     world_load(&sweep->world,
                                second + (i - 4) * PAGE + i % PAGE, &value),
                     "a load"))
                ck_assert_uint_eq(value, sweep->truth[i * PAGE + i % PAGE]);
        }
        if (!GOOD(hurdmm_unbind(sweep->world.space, second, 10 * PAGE)))
            return;
    }
    dirty_some(sweep);
}

static void a_smaller_budget(struct sweep *sweep)
{
    dirty_some(sweep);
    (void)GOOD(hurdmm_set_budget(sweep->world.manager, 16 * PAGE));
    read_over_budget(sweep);
    (void)GOOD(hurdmm_set_budget(sweep->world.manager, FRAMES * PAGE));
}

static void threads_at_once(struct sweep *sweep)
{
    struct world_access access[6];
    if (sweep->at == 0)
        return;
    for (unsigned i = 0; i < 6; i++) {
        access[i] = (struct world_access){.world = &sweep->world,
                                          .address = sweep->at + i * PAGE + i,
                                          .write = i % 2,
                                          .value = (uint8_t)(i + 9)};
        world_access(&access[i]);
    }
    world_run(&sweep->world);
    for (unsigned i = 0; i < 6; i++) {
        uint8_t *truth = &sweep->truth[i * PAGE + i];
        if (!good(sweep, access[i].error, "a thread's access"))
            continue;
        if (access[i].write)
            *truth = access[i].value;
        else
            ck_assert_uint_eq(access[i].value, *truth);
    }
}

static int compute(void *hook, uint64_t offset, void *buffer, size_t length)
{
    (void)hook;
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)buffer)[i] = world_byte(offset + i);
    return 0;
}

static void computed_memory(struct sweep *sweep)
{
    struct hurdmm_store *store = NULL;
    size_t done = 0;
    static uint8_t buffer[30 * PAGE];
    if (!GOOD(hurdmm_computed_create(sweep->world.manager, 30 * PAGE, 0,
                                     compute, NULL, &store)))
        return;
    (void)GOOD(hurdmm_store_read(store, 0, buffer, sizeof buffer, &done));
    for (size_t i = 0; i < done; i++)
        ck_assert_uint_eq(buffer[i], world_byte(i));
    dirty_some(sweep);
    (void)GOOD(hurdmm_store_destroy(store, 0));
}

/* A block device that fails as the disk does. */
static struct sweep *device_sweep;
static uint8_t device_bytes[64 * PAGE];

static int device_fails(unsigned kind)
{
    struct disk_script *script = &device_sweep->disk->script;
    if (script->nth == 0 || !(script->kinds & kind))
        return 0;
    if (script->nth > 1) {
        script->nth--;
        return 0;
    }
    if (!script->for_ever)
        script->nth = 0;
    device_sweep->disk->failures++;
    return script->error != 0 ? script->error : EIO;
}

static int device_read(struct hurdmm_block *block, uint64_t offset,
                       void *buffer, size_t length)
{
    int error = device_fails(DISK_IN);
    (void)block;
    if (error == 0)
        memcpy(buffer, device_bytes + offset, length);
    return error;
}

static int device_write(struct hurdmm_block *block, uint64_t offset,
                        const void *buffer, size_t length)
{
    int error = device_fails(DISK_OUT);
    (void)block;
    if (error == 0)
        memcpy(device_bytes + offset, buffer, length);
    return error;
}

static int device_flush(struct hurdmm_block *block)
{
    (void)block;
    return device_fails(DISK_SYNC);
}

static const struct hurdmm_block_ops device_ops = {.struct_size =
                                                       sizeof device_ops,
                                                   .read = device_read,
                                                   .write = device_write,
                                                   .flush = device_flush};

static void anonymous_and_swap(struct sweep *sweep)
{
    struct hurdmm_block device = {
        .ops = &device_ops, .size = sizeof device_bytes, .block_size = PAGE};
    struct hurdmm_swap *swap = NULL;
    struct hurdmm_store *store = NULL;
    uint8_t seen[PAGES] = {0};
    device_sweep = sweep;
    if (!GOOD(hurdmm_swap_create(sweep->world.manager, &device, &swap)))
        return;
    bool made = GOOD(hurdmm_anonymous_create(sweep->world.manager, swap,
                                             PAGES * PAGE, 0, &store));
    for (unsigned i = 0; made && i < 2 * PAGES; i++) {
        uint8_t value = (uint8_t)(i + 1);
        size_t done = 0;
        if (GOOD(hurdmm_store_write(store, i % PAGES * PAGE, &value, 1, &done)))
            seen[i % PAGES] = value;
    }
    for (unsigned i = 0; made && i < PAGES; i++) {
        uint8_t value = 0;
        size_t done = 0;
        if (GOOD(hurdmm_store_read(store, i * PAGE, &value, 1, &done)))
            ck_assert_uint_eq(value, seen[i]);
    }
    sweep->disk->script.nth = 0;
    hurdmm_sim_fail(sweep->world.port, 0, 0, 0, 0);
    if (made)
        ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
}

#define OBJECTS 40u
#define OBJECT 56u

static int construct(void *hook, void *object, size_t size)
{
    struct sweep *sweep = hook;
    uint8_t made = 0xc0;
    (void)size;
    return hurdmm_sim_write(sweep->world.port, NULL, (uintptr_t)object, &made,
                            1);
}

static void use_objects(struct sweep *sweep, struct hurdmm_cache *cache)
{
    void *object[OBJECTS] = {NULL};
    uint8_t seen[OBJECTS] = {0};
    for (unsigned i = 0; i < 2 * OBJECTS; i++) {
        unsigned n = i * 7 % OBJECTS;
        uint8_t value = 0;
        if (object[n] == NULL) {
            if (GOOD(hurdmm_cache_alloc(cache, &object[n])) &&
                good(sweep,
                     world_load(&sweep->world, (uintptr_t)object[n], &value),
                     "a load"))
                ck_assert_uint_eq(value, 0xc0);
        } else if (i % 5 == 0) {
            if (GOOD(hurdmm_cache_free(cache, object[n])))
                object[n] = NULL;
            (void)GOOD(hurdmm_cache_reap(cache, NULL));
            seen[n] = 0;
        } else if (good(sweep,
                        world_store(&sweep->world, (uintptr_t)object[n] + 9,
                                    (uint8_t)(i + 1)),
                        "a store")) {
            seen[n] = (uint8_t)(i + 1);
        }
    }
    for (unsigned i = 0; i < OBJECTS; i++) {
        uint8_t value = 0;
        if (object[i] != NULL && seen[i] != 0 &&
            good(sweep,
                 world_load(&sweep->world, (uintptr_t)object[i] + 9, &value),
                 "a load"))
            ck_assert_uint_eq(value, seen[i]);
        if (object[i] != NULL)
            ck_assert_int_eq(hurdmm_cache_free(cache, object[i]), 0);
    }
}

static void use_a_slab_store(struct sweep *sweep, unsigned swap_flags)
{
    struct hurdmm_block device = {
        .ops = &device_ops, .size = sizeof device_bytes, .block_size = PAGE};
    const struct hurdmm_swap_options swap_options = {.struct_size =
                                                         sizeof swap_options,
                                                     .block = &device,
                                                     .flags = swap_flags};
    struct hurdmm_slab_options options = {.struct_size = sizeof options,
                                          .manager = sweep->world.manager,
                                          .size = 64 * PAGE,
                                          .slab_size = 8 * PAGE};
    struct hurdmm_cache_options kind = {.struct_size = sizeof kind,
                                        .size = OBJECT,
                                        .construct = construct,
                                        .hook = sweep};
    struct hurdmm_swap *swap = NULL;
    struct hurdmm_slab *slab = NULL;
    struct hurdmm_cache *cache = NULL;
    device_sweep = sweep;
    if (!GOOD(hurdmm_swap_create_with(sweep->world.manager, &swap_options,
                                      &swap)))
        return;
    options.swap = swap;
    bool made = GOOD(hurdmm_slab_create(&options, &slab));
    bool cached = made && GOOD(hurdmm_cache_create(slab, &kind, &cache));
    if (cached)
        use_objects(sweep, cache);
    sweep->disk->script.nth = 0;
    hurdmm_sim_fail(sweep->world.port, 0, 0, 0, 0);
    if (cached)
        ck_assert_int_eq(hurdmm_cache_destroy(cache), 0);
    if (made)
        ck_assert_int_eq(hurdmm_slab_destroy(slab), 0);
    ck_assert_int_eq(hurdmm_swap_destroy(swap), 0);
}

static void objects_of_a_slab_store(struct sweep *sweep)
{
    use_a_slab_store(sweep, 0);
}

static void objects_with_places(struct sweep *sweep)
{
    use_a_slab_store(sweep, HURDMM_SWAP_RESERVE);
}

static int fill_again(void *hook, uint64_t offset, void *buffer, size_t length,
                      int discarded)
{
    (void)hook, (void)discarded;
    int error = device_fails(DISK_IN);
    if (error == 0)
        for (size_t i = 0; i < length; i++)
            ((uint8_t *)buffer)[i] = world_byte(offset + i);
    return error;
}

static void discardable_memory(struct sweep *sweep)
{
    struct hurdmm_discardable_options options = {
        .struct_size = sizeof options,
        .manager = sweep->world.manager,
        .size = PAGES * PAGE,
        .fill = fill_again,
        .priority = 5,
    };
    struct hurdmm_store *store = NULL;
    device_sweep = sweep;
    if (!GOOD(hurdmm_discardable_create(&options, &store)))
        return;
    for (unsigned i = 0; i < 2 * PAGES; i++) {
        uint64_t offset = i * 7 % PAGES * PAGE;
        uint8_t made = world_byte(offset), mine = (uint8_t)~made, value = mine;
        size_t done = 0;
        if (i % 3 == 0) {
            (void)GOOD(hurdmm_store_write(store, offset, &value, 1, &done));
            continue;
        }
        if (GOOD(hurdmm_store_read(store, offset, &value, 1, &done)))
            ck_assert(value == made || value == mine);
        if (i % 10 == 9)
            (void)GOOD(hurdmm_store_set_priority(store, offset, PAGE, -5));
    }
    (void)GOOD(hurdmm_store_discard(store, 0, HURDMM_WHOLE));
    dirty_some(sweep);
    (void)GOOD(hurdmm_store_destroy(store, 0));
}

static const struct scenario scenarios[] = {
    {"bind and populate", bind_and_populate, true},
    {"read over budget", read_over_budget, false},
    {"write over budget", write_over_budget, false},
    {"flush", flush, false},
    {"sync", sync_twice, false},
    {"return", return_and_read, false},
    {"unbind the middle", unbind_the_middle, false},
    {"protect", protect_and_raise, false},
    {"resize", shrink_and_grow, false},
    {"pin", pin_and_unpin, false},
    {"cache and supply", cache_from_a_container, false},
    {"destroy", destroy_and_make_again, false},
    {"through the cache", through_the_cache, false},
    {"two views", two_views, false},
    {"a smaller budget", a_smaller_budget, false},
    {"threads", threads_at_once, false},
    {"computed", computed_memory, false},
    {"anonymous and swap", anonymous_and_swap, false},
    {"objects", objects_of_a_slab_store, false},
    {"objects with places", objects_with_places, false},
    {"discardable", discardable_memory, false},
};

#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

/* ---- The sweep ------------------------------------------------------------ */

static void begin(struct sweep *sweep, const struct scenario *scenario)
{
    struct world_options options = {.page = PAGE, .frames = FRAMES};
    memset(sweep, 0, sizeof *sweep);
    world_begin(&sweep->world, &options);
    sweep->disk = world_disk(&sweep->world, PAGES * PAGE, HURDMM_STORE_SHARED);
    memcpy(sweep->truth, sweep->disk->bytes, PAGES * PAGE);
    if (!scenario->unbound)
        sweep->at = world_bind(&sweep->world, sweep->disk, 0, PAGES * PAGE);
}

static uint64_t failed_calls(struct sweep *sweep)
{
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(sweep->world.port, &stats);
    return stats.failures + sweep->disk->failures;
}

/* Nothing fails any more: everything is there, and everything works. */
static void recover(struct sweep *sweep)
{
    static uint8_t seen[PAGES * PAGE];
    struct hurdmm_store *store = sweep->disk->store;
    uint64_t size = hurdmm_store_size(store);
    size_t done = 0;
    hurdmm_sim_fail(sweep->world.port, 0, 0, 0, 0);
    sweep->disk->script.nth = 0;
    hurdmm_sim_settle(sweep->world.port);
    world_check(&sweep->world);
    (void)hurdmm_sync_all(sweep->world.manager);
    ck_assert_int_eq(hurdmm_sync_all(sweep->world.manager), 0);
    ck_assert_mem_eq(sweep->disk->bytes, sweep->truth, (size_t)size);
    for (uint64_t i = 0; i < size; i += PAGE) { /* what a failed read left */
        unsigned state = world_state(sweep->disk, i);
        if (state & HURDMM_STATE_FAILED)
            ck_assert_int_eq(hurdmm_store_discard(store, i, PAGE), 0);
    }
    ck_assert_int_eq(hurdmm_store_read(store, 0, seen, (size_t)size, &done), 0);
    ck_assert_mem_eq(seen, sweep->truth, (size_t)size);
    uintptr_t at = 0;
    ck_assert_int_eq(world_try_bind(&sweep->world, sweep->disk, 0, PAGES * PAGE,
                                    0, HURDMM_READ | HURDMM_WRITE, 0, &at),
                     0);
    for (unsigned i = 0; i < size / PAGE; i++) {
        world_put(&sweep->world, at + i * PAGE, (uint8_t)(200 - i));
        world_expect(&sweep->world, at + i * PAGE + 3,
                     sweep->truth[i * PAGE + 3]);
    }
    ck_assert_int_eq(hurdmm_unbind(sweep->world.space, at, PAGES * PAGE), 0);
}

/* One run; whether the failure was met. */
static bool run_once(const struct scenario *scenario,
                     const struct failure *failure, unsigned nth, bool for_ever)
{
    static struct sweep sweep;
    begin(&sweep, scenario);
    uint64_t before = failed_calls(&sweep);
    failure_arm_port(failure, sweep.world.port, nth, for_ever);
    failure_arm_disk(failure, sweep.disk, nth, for_ever);
    scenario->run(&sweep);
    bool met = failed_calls(&sweep) != before;
    ck_assert_msg(met || !sweep.failing, "an error without a failure");
    recover(&sweep);
    world_end(&sweep.world);
    return met;
}

START_TEST(every_failure_is_survived)
{
    const struct scenario *scenario = &scenarios[(size_t)_i / FAILURES];
    unsigned runs = 0;
    current = &failures[(size_t)_i % FAILURES];
    for (unsigned for_ever = 0; for_ever < 2; for_ever++) {
        unsigned nth = 1;
        while (run_once(scenario, current, nth, for_ever != 0)) {
            nth++;
            runs++;
            ck_assert_uint_lt(runs, RUNS_MAX);
        }
    }
}
END_TEST

/* Making a manager: all or nothing, and the port can be used again. */
START_TEST(a_manager_that_cannot_be_made_leaves_nothing)
{
    for (unsigned for_ever = 0; for_ever < 2; for_ever++) {
        for (unsigned nth = 1;; nth++) {
            struct hurdmm_sim_options machine = {.struct_size = sizeof machine,
                                                 .page_size = PAGE};
            struct hurdmm_port *port;
            struct hurdmm *manager = NULL;
            const char *what = "";
            ck_assert_uint_lt(nth, 200);
            ck_assert_int_eq(hurdmm_sim_create(&machine, &port), 0);
            struct hurdmm_options options = {.struct_size = sizeof options,
                                             .port = port,
                                             .budget = FRAMES * PAGE};
            hurdmm_sim_fail(port, HURDMM_SIM_MEMORY, nth, 0, for_ever != 0);
            int error = hurdmm_create(&options, &manager);
            hurdmm_sim_fail(port, 0, 0, 0, 0);
            ck_assert(error == 0 || error == ENOMEM);
            if (error != 0) {
                ck_assert_ptr_null(manager);
                ck_assert_int_eq(hurdmm_create(&options, &manager), 0);
            }
            ck_assert_int_eq(hurdmm_destroy(manager, 0), 0);
            ck_assert_msg(hurdmm_sim_violations(port, &what) == 0, "%s", what);
            hurdmm_sim_destroy(port);
            if (error == 0)
                break;
        }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sweeps");
    TCase *c = tcase_create("sweeps");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, every_failure_is_survived, 0,
                        (int)(SCENARIOS * FAILURES));
    tcase_add_test(c, a_manager_that_cannot_be_made_leaves_nothing);
    suite_add_tcase(s, c);
    Suite *const suites[] = {s};
    return run_suites("tests/core/test-sweep", suites, 1);
}
