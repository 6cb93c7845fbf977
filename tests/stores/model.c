/* SPDX-License-Identifier: MIT */
/*
 * The slab store and the discardable store against a model, on a simulated
 * machine with far too little memory; tests/core/model.c runs, shrinks and prints
 * sequences.
 *
 * The rules.
 *   - An object belongs to one user, and has what that one wrote.
 *   - An object that is handed out is constructed: its ends are as the
 *     constructor left them.  So are they when it is freed.
 *   - What was constructed is destructed, or lost, once.
 *   - Where the swap space reserves, what is dirty has a place in it.
 *   - A page of discardable memory is as it was written, unless it was made
 *     again since; who makes it is told whether it has been there.
 *   - Calls that must fail say why and change nothing.  Others may fail if
 *     something was made to.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <hurdmm/discardable.h>
#include <hurdmm/error.h>
#include <hurdmm/slab.h>

#include "tests/core/model.h"

#define PAGE ((size_t)256)
#define CACHES 3
#define OBJECTS 120u
#define MAGAZINES 3
#define PAGES 48u /* of discardable memory */
#define OTHER 64u /* of what else wants memory */
#define SWAP 512u
#define SLAB_PAGES 400u
#define MADE 0xc3

struct object {
    uint8_t *at; /* NULL: none */
    unsigned cache;
    uint8_t value;
};

struct page {
    bool there; /* it was, since it was last discarded by hand */
    bool doubt; /* a write failed */
    bool own;   /* it was written, and not made since */
    uint8_t value;
};

static struct {
    const struct model_config *config;
    bool verbose;
    char failure[400];
    unsigned step;
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_ramdisk disk;
    uint8_t disk_bytes[SWAP * PAGE];
    struct hurdmm_block device;
    bool device_fails;
    struct hurdmm_swap *swap;
    bool reserves;
    struct hurdmm_slab *slab;
    struct hurdmm_cache *cache[CACHES];
    size_t size[CACHES];
    unsigned flags[CACHES];
    bool destructs[CACHES], loses[CACHES];
    uint64_t constructed[CACHES]; /* that nobody has destructed or lost */
    unsigned construct_fails;     /* the nth from now; 0: none */
    struct hurdmm_magazine *magazine[MAGAZINES];
    unsigned magazine_cache[MAGAZINES];
    struct object object[OBJECTS];
    struct hurdmm_store *discardable, *other;
    struct page page[PAGES];
    bool trouble; /* something may fail */
} state;

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void fail(const char *format, ...)
{
    va_list list;
    if (state.failure[0] != '\0')
        return;
    int length =
        snprintf(state.failure, sizeof state.failure, "step %u: ", state.step);
    va_start(list, format);
    (void)vsnprintf(state.failure + length,
                    sizeof state.failure - (size_t)length, format, list);
    va_end(list);
}

static void say(const char *format, ...)
{
    va_list list;
    if (!state.verbose)
        return;
    va_start(list, format);
    printf("%5u ", state.step);
    (void)vprintf(format, list);
    printf("\n");
    va_end(list);
}

/* Whether a call went well; it must unless there is trouble. */
static bool good(int error, const char *what)
{
    if (error != 0 &&
        (!state.trouble || (error != ENOMEM && error != EIO && error != EBUSY)))
        fail("%s ended with %d", what, error);
    return error == 0;
}

/* ---- Objects ------------------------------------------------------------- */

static int put(uint8_t *at, uint8_t value)
{
    return hurdmm_sim_write(state.port, NULL, (uintptr_t)at, &value, 1);
}

static int get(const uint8_t *at, uint8_t *value)
{
    return hurdmm_sim_read(state.port, NULL, (uintptr_t)at, value, 1);
}

static void expect(const uint8_t *at, uint8_t expected, const char *what)
{
    uint8_t value = 0;
    if (good(get(at, &value), "a load") && value != expected)
        fail("%s of %p is %u, not %u", what, (const void *)at, value, expected);
}

/* The hook of a cache is its number. */
static unsigned number_of(const void *hook)
{
    return (unsigned)((const uint8_t *)hook - state.disk_bytes);
}

static int construct(void *hook, void *object, size_t size)
{
    uint8_t *at = object;
    if (state.construct_fails > 0 && --state.construct_fails == 0)
        return EIO;
    int error = put(at, MADE);
    if (error == 0)
        error = put(at + size - 1, MADE);
    if (error == 0)
        state.constructed[number_of(hook)]++;
    return error;
}

static int destruct(void *hook, void *object, size_t size)
{
    uint8_t *at = object;
    expect(at, MADE, "what is destructed");
    expect(at + size - 1, MADE, "what is destructed");
    state.constructed[number_of(hook)]--;
    return 0;
}

static void lost(void *hook, void *object, size_t size)
{
    (void)object, (void)size;
    state.constructed[number_of(hook)]--;
}

/* Bytes of the object that are its user's. */
static uint8_t *place_in(const struct object *object, unsigned which)
{
    size_t size = state.size[object->cache];
    return object->at + (which == 0 ? 1 : which == 1 ? size / 2 : size - 2);
}

static void write_object(struct object *object, uint8_t value)
{
    /* What fails may have been written in part: it is as before or after. */
    for (unsigned i = 0; i < 3; i++)
        while (put(place_in(object, i), value) != 0)
            if (!state.trouble) {
                fail("a store failed");
                return;
            } else {
                state.device_fails = false;
                hurdmm_sim_fail(state.port, 0, 0, 0, 0);
                (void)hurdmm_store_flush(hurdmm_slab_store(state.slab), 0,
                                         HURDMM_WHOLE, HURDMM_WAIT);
            }
    object->value = value;
}

static void check_object(const struct object *object)
{
    struct hurdmm_cache *cache;
    void *start;
    for (unsigned i = 0; i < 3; i++)
        expect(place_in(object, i), object->value, "an object");
    expect(object->at, MADE, "an object's beginning");
    expect(object->at + state.size[object->cache] - 1, MADE, "an object's end");
    if (hurdmm_slab_find(state.slab, place_in(object, 1), &cache, &start) ||
        cache != state.cache[object->cache] || start != object->at)
        fail("an object is not found");
}

static struct hurdmm_magazine *magazine_for(unsigned cache, unsigned lot)
{
    unsigned i = lot % (2 * MAGAZINES);
    return i < MAGAZINES && state.magazine[i] &&
                   state.magazine_cache[i] == cache
               ? state.magazine[i]
               : NULL;
}

static void do_alloc(const struct model_op *op)
{
    struct object *object = &state.object[op->arg[0] % OBJECTS];
    unsigned number = op->arg[1] % CACHES;
    struct hurdmm_cache *cache = state.cache[number];
    struct hurdmm_magazine *magazine = magazine_for(number, op->arg[2]);
    void *at = NULL;
    if (object->at || !cache)
        return;
    unsigned before = state.construct_fails;
    int error = magazine ? hurdmm_magazine_alloc(magazine, &at)
                         : hurdmm_cache_alloc(cache, &at);
    say("alloc of %u: %d, %p", number, error, at);
    if (error != 0 && (error != EIO || before == 0))
        (void)good(error, "an allocation");
    if (error != 0)
        return;
    object->at = at;
    object->cache = number;
    for (unsigned i = 0; i < OBJECTS; i++) {
        const struct object *other = &state.object[i];
        if (other != object && other->at &&
            other->at < object->at + state.size[number] &&
            object->at < other->at + state.size[other->cache])
            fail("two objects overlap");
    }
    expect(object->at, MADE, "a new object");
    expect(object->at + state.size[number] - 1, MADE, "a new object");
    write_object(object, (uint8_t)op->arg[3]);
}

static void free_object(struct object *object, unsigned lot)
{
    struct hurdmm_magazine *magazine = magazine_for(object->cache, lot);
    struct hurdmm_cache *cache = state.cache[object->cache];
    check_object(object);
    int error = magazine ? hurdmm_magazine_free(magazine, object->at)
                         : hurdmm_cache_free(cache, object->at);
    say("free of %u at %p: %d", object->cache, (void *)object->at, error);
    if (!good(error, "a free"))
        return;
    if (hurdmm_cache_free(cache, object->at) != EINVAL)
        fail("it can be freed twice");
    object->at = NULL;
}

static struct object *pick(unsigned lot)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        struct object *object = &state.object[(lot + i) % OBJECTS];
        if (object->at)
            return object;
    }
    return NULL;
}

static void do_free(const struct model_op *op)
{
    struct object *object = pick(op->arg[0]);
    if (object)
        free_object(object, op->arg[1]);
}

static void do_free_many(const struct model_op *op)
{
    for (unsigned i = 0; i < OBJECTS; i++)
        if (state.object[i].at && (op->arg[0] >> i % 16 & 1))
            free_object(&state.object[i], op->arg[1] + i);
}

static void do_write(const struct model_op *op)
{
    struct object *object = pick(op->arg[0]);
    if (object)
        write_object(object, (uint8_t)op->arg[1]);
}

static void do_check(const struct model_op *op)
{
    const struct object *object = pick(op->arg[0]);
    if (object)
        check_object(object);
}

static void do_wrong(const struct model_op *op)
{
    const struct object *object = pick(op->arg[0]);
    unsigned other = op->arg[1] % CACHES;
    if (!object || !state.cache[other])
        return;
    int error = hurdmm_cache_free(state.cache[other],
                                  object->at + (other == object->cache));
    if (error != ENOENT)
        fail("what is not its own is freed: %d", error);
    check_object(object);
}

static void do_reap(const struct model_op *op)
{
    unsigned number = op->arg[0] % (CACHES + 1);
    uint64_t bytes = 0;
    if (number < CACHES && !state.cache[number])
        return;
    int error = number == CACHES
                    ? hurdmm_slab_reap(state.slab, &bytes)
                    : hurdmm_cache_reap(state.cache[number], &bytes);
    say("reap of %u: %d, %llu", number, error, (unsigned long long)bytes);
    (void)good(error, "a reap");
}

static void do_magazine(const struct model_op *op)
{
    unsigned i = op->arg[0] % MAGAZINES, number = op->arg[1] % CACHES;
    if (state.magazine[i]) {
        hurdmm_magazine_destroy(state.magazine[i]);
        state.magazine[i] = NULL;
    } else if (state.cache[number] &&
               good(hurdmm_magazine_create(state.cache[number],
                                           &state.magazine[i]),
                    "a magazine")) {
        state.magazine_cache[i] = number;
    }
}

static unsigned live_in(unsigned cache)
{
    unsigned live = 0;
    for (unsigned i = 0; i < OBJECTS; i++)
        live += state.object[i].at && state.object[i].cache == cache;
    return live;
}

static void make_cache(unsigned number, unsigned lot)
{
    static const size_t sizes[] = {8, 24, 40, 100, 256, 300, 1000};
    struct hurdmm_cache_options options = {
        .struct_size = sizeof options,
        .size = sizes[lot % 7],
        .align = (size_t)8 << lot / 7 % 3,
        .flags = lot / 21 % 3 == 0 ? HURDMM_CACHE_DEBUG : 0,
        .construct = construct,
        .hook = state.disk_bytes + number,
    };
    state.destructs[number] = lot / 63 % 2;
    state.loses[number] = !state.destructs[number] || lot / 126 % 2;
    if (state.destructs[number])
        options.destruct = destruct;
    if (state.loses[number])
        options.lost = lost;
    state.size[number] = options.size;
    state.constructed[number] = 0;
    int error = hurdmm_cache_create(state.slab, &options, &state.cache[number]);
    if (!good(error, "a cache"))
        state.cache[number] = NULL;
}

static void do_cache(const struct model_op *op)
{
    unsigned number = op->arg[0] % CACHES;
    bool busy = live_in(number) > 0;
    if (!state.cache[number]) {
        make_cache(number, op->arg[1]);
        return;
    }
    for (unsigned i = 0; i < MAGAZINES; i++)
        busy = busy || (state.magazine[i] && state.magazine_cache[i] == number);
    int error = hurdmm_cache_destroy(state.cache[number]);
    say("destroy of %u: %d", number, error);
    if (busy && error == 0)
        fail("a cache in use is destroyed");
    if (!busy)
        (void)good(error, "the end of a cache");
    if (error != 0)
        return;
    state.cache[number] = NULL;
    if (state.destructs[number] && state.constructed[number] != 0)
        fail("%llu objects are left constructed",
             (unsigned long long)state.constructed[number]);
}

/* ---- Discardable memory -------------------------------------------------- */

static uint8_t byte_of(uint64_t page)
{
    return (uint8_t)(page * 11 + 5);
}

static int fill(void *hook, uint64_t offset, void *buffer, size_t length,
                int discarded)
{
    (void)hook;
    if (state.construct_fails == 1)
        return ENOMEM; /* which is not remembered */
    for (size_t i = 0; i < length; i += PAGE) {
        uint64_t number = (offset + i) / PAGE;
        struct page *page = &state.page[number];
        if (!page->doubt && (discarded != 0) != page->there)
            fail("page %u of discardable memory was %sthere", (unsigned)number,
                 page->there ? "" : "not ");
        memset((uint8_t *)buffer + i, byte_of(number), PAGE);
        *page = (struct page){.there = true};
    }
    return 0;
}

static void do_discardable_write(const struct model_op *op)
{
    unsigned number = op->arg[0] % PAGES;
    struct page *page = &state.page[number];
    uint8_t bytes[PAGE];
    size_t length = op->arg[1] % 2 ? PAGE : 1, done = 0;
    memset(bytes, op->arg[2], sizeof bytes);
    page->doubt = true; /* as it is written, who knows */
    int error = hurdmm_store_write(state.discardable, number * PAGE, bytes,
                                   length, &done);
    say("write of discardable page %u: %d", number, error);
    if (error == ENOMEM && state.construct_fails == 1)
        return;
    if (good(error, "a write of discardable memory"))
        *page = (struct page){
            .there = true, .own = true, .value = (uint8_t)op->arg[2]};
}

static void do_discardable_read(const struct model_op *op)
{
    unsigned number = op->arg[0] % PAGES;
    const struct page *page = &state.page[number];
    uint8_t byte = 0;
    size_t done = 0;
    int error =
        hurdmm_store_read(state.discardable, number * PAGE, &byte, 1, &done);
    say("read of discardable page %u: %d, %u", number, error, byte);
    if (error == ENOMEM && state.construct_fails == 1)
        return;
    if (!good(error, "a read of discardable memory") || page->doubt)
        return;
    if (byte != (page->own ? page->value : byte_of(number)))
        fail("page %u of discardable memory reads %u", number, byte);
}

static void do_discard(const struct model_op *op)
{
    unsigned first = op->arg[0] % PAGES;
    unsigned count = 1 + op->arg[1] % (PAGES - first);
    for (unsigned i = first; i < first + count; i++)
        state.page[i].doubt = true;
    int error =
        hurdmm_store_discard(state.discardable, first * PAGE, count * PAGE);
    say("discard of %u pages from %u: %d", count, first, error);
    if (good(error, "a discard"))
        for (unsigned i = first; i < first + count; i++)
            state.page[i] = (struct page){.there = false};
}

static void do_priority(const struct model_op *op)
{
    unsigned first = op->arg[0] % PAGES;
    unsigned count = 1 + op->arg[1] % (PAGES - first);
    (void)good(hurdmm_store_set_priority(state.discardable, first * PAGE,
                                         count * PAGE, op->arg[2] % 128 - 64),
               "a priority");
}

/* ---- Memory that is short, and what fails -------------------------------- */

static int number_pages(void *hook, uint64_t offset, void *buffer,
                        size_t length)
{
    (void)hook;
    memset(buffer, (int)(offset / PAGE), length);
    return 0;
}

static void do_press(const struct model_op *op)
{
    uint8_t byte;
    size_t done;
    for (unsigned i = 0; i < 8u + op->arg[0] % 64; i++)
        (void)good(hurdmm_store_read(state.other,
                                     (op->arg[1] + i % 24) % OTHER * PAGE,
                                     &byte, 1, &done),
                   "another store's read");
}

static void do_budget(const struct model_op *op)
{
    size_t pages = 16 + op->arg[0] % (state.config->frames - 15);
    int error = hurdmm_set_budget(state.manager, pages * PAGE);
    say("budget of %zu pages: %d", pages, error);
    (void)good(error, "a budget");
}

static void do_verb(const struct model_op *op)
{
    struct hurdmm_store *store = hurdmm_slab_store(state.slab);
    int error = op->arg[0] % 3 == 0
                    ? hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT)
                : op->arg[0] % 3 == 1
                    ? hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT)
                    : hurdmm_store_sync(store, 0, HURDMM_WHOLE, 0);
    say("verb %u: %d", op->arg[0] % 3, error);
    (void)good(error, "a verb");
}

static void do_fail(const struct model_op *op)
{
    static const unsigned ways[] = {HURDMM_SIM_MEMORY, HURDMM_SIM_LEND,
                                    HURDMM_SIM_RECLAIM, HURDMM_SIM_CORE_MAP};
    switch (op->arg[0] % 6) {
    case 0:
        state.construct_fails = 1 + op->arg[1] % 8;
        return;
    case 1:
        state.device_fails = true;
        break;
    default:
        hurdmm_sim_fail(state.port, ways[op->arg[0] % 4], 1 + op->arg[1] % 20,
                        ENOMEM, op->arg[2] % 4 == 0);
        break;
    }
    state.trouble = true;
}

static void do_calm(const struct model_op *op)
{
    (void)op;
    state.construct_fails = 0;
    state.device_fails = false;
    hurdmm_sim_fail(state.port, 0, 0, 0, 0);
    /* Errors of the background are told of; pages that could not be written can
     * be now. */
    (void)hurdmm_store_flush(hurdmm_slab_store(state.slab), 0, HURDMM_WHOLE,
                             HURDMM_WAIT);
    if (hurdmm_store_flush(hurdmm_slab_store(state.slab), 0, HURDMM_WHOLE,
                           HURDMM_WAIT))
        fail("what can be written is not");
    state.trouble = false;
}

/* Memory is written to only where there is a place for it. */
static void check_places(void)
{
    struct hurdmm_swap_info info = {.struct_size = sizeof info};
    uint64_t dirty = 0;
    (void)hurdmm_swap_get_info(state.swap, &info);
    for (unsigned i = 0; i < SLAB_PAGES; i++) {
        unsigned page_state = 0;
        (void)hurdmm_store_state(hurdmm_slab_store(state.slab), i * PAGE,
                                 &page_state, NULL);
        dirty += page_state & HURDMM_STATE_DIRTY ? PAGE : 0;
    }
    if (dirty > info.used + info.reserved)
        fail("%llu bytes are dirty, with a place for %llu",
             (unsigned long long)dirty,
             (unsigned long long)(info.used + info.reserved));
}

static void verify(void)
{
    struct model_op none = {0};
    if (state.reserves)
        check_places();
    do_calm(&none);
    for (unsigned i = 0; i < OBJECTS; i++)
        if (state.object[i].at)
            check_object(&state.object[i]);
    for (unsigned i = 0; i < PAGES; i++) {
        none.arg[0] = (uint16_t)i;
        do_discardable_read(&none);
    }
    for (unsigned i = 0; i < CACHES; i++) {
        struct hurdmm_cache_info info = {.struct_size = sizeof info};
        if (!state.cache[i])
            continue;
        if (hurdmm_cache_get_info(state.cache[i], &info) ||
            info.used != live_in(i))
            fail("cache %u says that %llu objects are in use, not %u", i,
                 (unsigned long long)info.used, live_in(i));
        if (state.destructs[i] &&
            info.used + info.stocked + info.constructed != state.constructed[i])
            fail("cache %u has %llu constructed objects, not %llu", i,
                 (unsigned long long)(info.used + info.stocked +
                                      info.constructed),
                 (unsigned long long)state.constructed[i]);
    }
}

static void do_verify(const struct model_op *op)
{
    (void)op;
    verify();
}

/* ---- Sequences ----------------------------------------------------------- */

static const struct kind {
    const char *name;
    void (*perform)(const struct model_op *op);
    unsigned weight;
} kinds[] = {
    {"alloc", do_alloc, 40},
    {"free", do_free, 14},
    {"free_many", do_free_many, 3},
    {"write", do_write, 8},
    {"check", do_check, 8},
    {"wrong", do_wrong, 2},
    {"reap", do_reap, 4},
    {"magazine", do_magazine, 3},
    {"cache", do_cache, 3},
    {"discardable_write", do_discardable_write, 8},
    {"discardable_read", do_discardable_read, 8},
    {"discard", do_discard, 2},
    {"priority", do_priority, 2},
    {"press", do_press, 8},
    {"budget", do_budget, 2},
    {"verb", do_verb, 2},
    {"fail", do_fail, 2},
    {"calm", do_calm, 4},
    {"verify", do_verify, 1},
};
#define KINDS (sizeof kinds / sizeof kinds[0])

const char *model_kind_name(unsigned kind)
{
    return kinds[kind].name;
}

void model_config_make(struct model_config *config, uint64_t seed)
{
    struct hmm_rand rand;
    hmm_rand_init(&rand, seed ^ UINT64_C(0x736c6162));
    *config = (struct model_config){.seed = seed, .page = PAGE};
    config->frames = 20 + (unsigned)hmm_rand_below(&rand, 40);
    config->readahead_pages = 1 + (unsigned)hmm_rand_below(&rand, 4);
    if (hmm_rand_below(&rand, 3) == 0)
        config->hide |= HURDMM_PORT_REFERENCED;
    if (hmm_rand_below(&rand, 4) == 0)
        config->hide |= HURDMM_PORT_ALIAS;
    if (config->hide & HURDMM_PORT_ALIAS && seed % 2)
        config->offer |= HURDMM_PORT_LENDS_APART;
    config->random_schedule = hmm_rand_below(&rand, 2) == 0;
    config->dirty_pages = hmm_rand_below(&rand, 2) ? 6 : 0;
    static const struct hurdmm_policy_ops *const policies[] = {
        &hurdmm_policy_default, &hurdmm_policy_clock, &hurdmm_policy_random};
    config->policy = policies[hmm_rand_below(&rand, 3)];
}

void model_config_print(const struct model_config *config, FILE *file)
{
    fprintf(file,
            "seed %#llx: %u frames, readahead %u, hide %u, offer %u, random "
            "schedule %d, policy %s\n",
            (unsigned long long)config->seed, config->frames,
            config->readahead_pages, config->hide, config->offer,
            config->random_schedule, config->policy->name);
}

static unsigned weight_of(unsigned kind)
{
    return kinds[kind].weight;
}

unsigned model_ops_make(struct model_op *ops, uint64_t seed, unsigned steps)
{
    struct hmm_rand rand;
    hmm_rand_init(&rand, seed);
    model_ops_draw(ops, steps, &rand, KINDS, weight_of);
    return steps;
}

static int device_read(struct hurdmm_block *block, uint64_t offset,
                       void *buffer, size_t length)
{
    (void)block;
    memcpy(buffer, state.disk_bytes + offset, length);
    return 0;
}

static int device_write(struct hurdmm_block *block, uint64_t offset,
                        const void *buffer, size_t length)
{
    (void)block;
    if (state.device_fails)
        return EIO;
    memcpy(state.disk_bytes + offset, buffer, length);
    return 0;
}

static const struct hurdmm_block_ops device_ops = {.struct_size =
                                                       sizeof device_ops,
                                                   .read = device_read,
                                                   .write = device_write};

static int make_stores(void)
{
    struct hurdmm_slab_options slab = {.struct_size = sizeof slab,
                                       .manager = state.manager,
                                       .size = SLAB_PAGES * PAGE,
                                       .slab_size = 4 * PAGE
                                                    << state.config->seed % 3};
    struct hurdmm_discardable_options discardable = {.struct_size =
                                                         sizeof discardable,
                                                     .manager = state.manager,
                                                     .size = PAGES * PAGE,
                                                     .fill = fill};
    state.device = (struct hurdmm_block){
        .ops = &device_ops, .size = SWAP * PAGE, .block_size = PAGE};
    state.reserves = state.config->seed >> 4 & 1;
    const struct hurdmm_swap_options swap = {
        .struct_size = sizeof swap,
        .block = &state.device,
        .flags = state.reserves ? HURDMM_SWAP_RESERVE : 0};
    int error = hurdmm_swap_create_with(state.manager, &swap, &state.swap);
    slab.swap = state.swap;
    if (error == 0)
        error = hurdmm_slab_create(&slab, &state.slab);
    if (error == 0)
        error = hurdmm_discardable_create(&discardable, &state.discardable);
    if (error == 0)
        error = hurdmm_computed_create(state.manager, OTHER * PAGE, 0,
                                       number_pages, NULL, &state.other);
    for (unsigned i = 0; i < CACHES && error == 0; i++)
        make_cache(i, (unsigned)(state.config->seed >> 2) * 5 + i * 13);
    return error;
}

static void begin(void)
{
    const struct model_config *config = state.config;
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .seed = config->seed,
        .page_size = PAGE,
        .offer = config->offer,
        .hide = config->hide,
        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK,
        .schedule =
            config->random_schedule ? HURDMM_SIM_RANDOM : HURDMM_SIM_FAIR,
        .stack_size = 64 * 1024,
    };
    int error = hurdmm_sim_create(&machine, &state.port);
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .port = state.port,
        .budget = config->frames * PAGE,
        .readahead = config->readahead_pages * PAGE,
        .dirty_limit = config->dirty_pages * PAGE,
        .pager_threads = 1,
        .seed = config->seed,
        .policy = config->policy,
    };
    if (error == 0)
        error = hurdmm_create(&options, &state.manager);
    if (error == 0)
        error = make_stores();
    if (error != 0)
        fail("the beginning failed: %d", error);
}

static void check(void)
{
    const char *what = "nothing";
    int error = hurdmm_check(state.manager, &what);
    if (error != 0)
        fail("hurdmm_check: %s", what);
    if (hurdmm_sim_violations(state.port, &what) != 0)
        fail("the port was misused: %s", what);
}

static void end(void)
{
    struct hurdmm_swap_info info = {.struct_size = sizeof info};
    verify();
    for (unsigned i = 0; i < OBJECTS; i++)
        if (state.object[i].at && state.failure[0] == '\0')
            free_object(&state.object[i], i);
    for (unsigned i = 0; i < MAGAZINES; i++)
        hurdmm_magazine_destroy(state.magazine[i]);
    for (unsigned i = 0; i < CACHES; i++)
        if (state.cache[i] && state.failure[0] == '\0') {
            state.magazine[0] = state.magazine[1] = state.magazine[2] = NULL;
            do_cache(&(struct model_op){.arg = {(uint16_t)i}});
        }
    if (state.failure[0] == '\0' && hurdmm_slab_destroy(state.slab))
        fail("the slab store cannot be destroyed");
    (void)hurdmm_swap_get_info(state.swap, &info);
    if (info.used + info.reserved != 0)
        fail("%llu bytes of swap are left",
             (unsigned long long)(info.used + info.reserved));
    check();
    if (state.failure[0] == '\0' &&
        hurdmm_destroy(state.manager, HURDMM_DETACH))
        fail("the manager cannot be destroyed");
    hurdmm_sim_destroy(state.port);
}

const char *model_run(const struct model_config *config,
                      const struct model_op *ops, unsigned count, bool verbose)
{
    static char text[sizeof state.failure + 32];
    memset(&state, 0, sizeof state);
    state.config = config;
    state.verbose = verbose;
    begin();
    for (unsigned i = 0; i < count && state.failure[0] == '\0'; i++) {
        state.step = i;
        kinds[ops[i].kind].perform(&ops[i]);
        if (state.failure[0] == '\0')
            check();
        if (state.failure[0] != '\0')
            snprintf(text, sizeof text, "%s (%s)", state.failure,
                     kinds[ops[i].kind].name);
    }
    if (state.failure[0] != '\0') {
        hurdmm_sim_destroy(state.port);
        return text;
    }
    state.step = count;
    end();
    return state.failure[0] != '\0' ? state.failure : NULL;
}
