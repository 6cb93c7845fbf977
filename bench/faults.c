/* SPDX-License-Identifier: MIT */
/* faults.c - what a fault costs on the posix port, against the bare hand-over.
 *
 *   fill     the page is absent: the store copies it from memory
 *   soft     the page is in the cache, but was taken back from the application
 *   upgrade  the page was lent to read, and is written for the first time
 *
 * One thread touches each page of a region once, in shuffled order, so that each
 * touch is a fault of its own; advice RANDOM keeps the library from lending
 * more.  A round of the library is followed by two of the bare mechanism, whose
 * sides spin in one and sleep in the other; the better one counts.
 *
 * Placement decides most of it, so it is the same for both and measured in three
 * ways: all threads on one processor, the faulting thread on one and all others
 * on another, and as the system likes.  The last is a lottery while the machine
 * does other things, and has no target.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hurdmm/hurdmm.h>
#include <hurdmm/posix.h>

#include "bench/bare.h"
#include "bench/report.h"

struct setup {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_store *store;
    uint32_t pages;
    size_t page;
    char *source;
    uint32_t *order;
    uintptr_t address;
    bool one_cpu;
};

static int page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)done;
    memcpy(buffer, (const char *)hook + offset, length);
    return 0;
}

static int page_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)done;
    memcpy((char *)hook + offset, buffer, length);
    return 0;
}

static const struct hurdmm_store_ops operations = {
    .struct_size = sizeof operations,
    .page_in = page_in,
    .page_out = page_out,
};

static void set_up(struct setup *setup)
{
    struct hurdmm_posix_options posix = {
        .struct_size = sizeof posix,
        .flags = setup->one_cpu ? HURDMM_POSIX_NO_SPIN : 0,
    };
    struct hurdmm_options options = {.struct_size = sizeof options};
    struct hurdmm_store_options store = {.struct_size = sizeof store};
    size_t size = setup->pages * setup->page;

    setup->source = malloc(size);
    setup->order = malloc(setup->pages * sizeof *setup->order);
    need(!setup->source || !setup->order, "no memory");
    memset(setup->source, 7, size);
    shuffle(setup->order, setup->pages, 1);
    need(hurdmm_posix_create(&posix, &setup->port), "hurdmm_posix_create");
    options.port = setup->port;
    options.budget = size * 2;
    options.dirty_limit = options.budget;
    need(hurdmm_create(&options, &setup->manager), "hurdmm_create");
    store.hook = setup->source;
    store.size = size;
    need(
        hurdmm_store_create(setup->manager, &operations, &store, &setup->store),
        "hurdmm_store_create");
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = hurdmm_space_own(setup->manager),
        .store = setup->store,
        .length = size,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .advice = HURDMM_ADVICE_RANDOM,
    };
    need(hurdmm_bind(&bind, &setup->address), "hurdmm_bind");
    bare_start(setup->pages, setup->source);
}

static void tear_down(struct setup *setup)
{
    bare_stop();
    need(hurdmm_destroy(setup->manager, HURDMM_DETACH), "hurdmm_destroy");
    need(hurdmm_posix_destroy(setup->port), "hurdmm_posix_destroy");
    free(setup->order);
    free(setup->source);
}

/* Touches every page; microseconds a page. */
static double touch(const struct setup *setup, volatile char *memory,
                    bool write)
{
    uint64_t start_ns = now_ns();

    for (uint32_t i = 0; i < setup->pages; i++) {
        volatile char *byte = memory + setup->order[i] * setup->page;
        if (write)
            *byte = 1;
        else
            (void)*byte;
    }
    return (double)(now_ns() - start_ns) / 1000 / setup->pages;
}

static void protect(const struct setup *setup, unsigned rights)
{
    need(hurdmm_protect(hurdmm_space_own(setup->manager), setup->address,
                        setup->pages * setup->page, rights),
         "hurdmm_protect");
}

/* Brings the region to where each page has the fault that is measured. */
static void prepare(const struct setup *setup, enum bare_work work)
{
    size_t length = setup->pages * setup->page;
    struct hurdmm_space *space = hurdmm_space_own(setup->manager);

    need(hurdmm_store_discard(setup->store, 0, HURDMM_WHOLE), "discard");
    if (work == BARE_FILL)
        return;
    need(hurdmm_populate(space, setup->address, length, HURDMM_READ, NULL),
         "populate");
    if (work == BARE_SOFT) {
        protect(setup, HURDMM_NONE);
        protect(setup, HURDMM_READ | HURDMM_WRITE);
    } else {
        /* What the system itself does at the first touch is not the matter. */
        (void)touch(setup, (volatile char *)setup->address, false);
    }
}

static uint64_t faults_of(const struct setup *setup)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};

    need(hurdmm_get_stats(setup->manager, &stats), "hurdmm_get_stats");
    return stats.faults;
}

static double bare(const struct setup *setup, enum bare_work work, bool spin)
{
    double result = touch(setup, bare_begin(work, spin), work == BARE_UPGRADE);

    bare_end();
    return result;
}

static void measure(const struct setup *setup, enum bare_work work,
                    unsigned rounds, struct figure figure)
{
    struct samples library = {.count = 0}, alone = {.count = 0};

    for (unsigned i = 0; i <= rounds; i++) {
        prepare(setup, work);
        uint64_t before = faults_of(setup);
        double ours =
            touch(setup, (volatile char *)setup->address, work == BARE_UPGRADE);
        if (faults_of(setup) - before != setup->pages)
            need(1, "not one fault a page");
        double asleep = bare(setup, work, false);
        double theirs = setup->one_cpu ? asleep : bare(setup, work, true);
        theirs = theirs < asleep ? theirs : asleep;
        if (i == 0)
            continue; /* the first round makes the memory there is */
        samples_add(&library, ours);
        samples_add(&alone, theirs);
    }
    figure.value = median(&library);
    figure.unit = "us";
    figure.ratio = median_ratio(&library, &alone);
    figure_print(&figure);
}

/* Where the threads run: the faulting one, then all others. */
struct placement {
    const char *name;
    int faulting, others;
    bool has_target;
};

static const struct placement placements[] = {
    {"one-cpu", 0, 0, true},
    {"two-cpus", 0, 1, true},
    {"free", EVERYWHERE, EVERYWHERE, false},
};

static const struct kind {
    enum bare_work work;
    const char *name;
    double ratio_max;
} kinds[] = {
    {BARE_FILL, "resident", 1.5},
    {BARE_SOFT, "soft", 1.3},
    {BARE_UPGRADE, "upgrade", 1.3},
};

static void run(struct setup *setup, const struct placement *placement,
                unsigned rounds)
{
    char name[64];

    setup->one_cpu = placement->faulting == placement->others &&
                     placement->faulting != EVERYWHERE;
    set_up(setup);
    if (!place_threads(placement->faulting, placement->others)) {
        printf("posix.fault.*.%s: not on this machine\n", placement->name);
        tear_down(setup);
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct figure figure = {
            .name = name,
            .ratio_max = placement->has_target ? kinds[i].ratio_max : 0,
        };
        (void)snprintf(name, sizeof name, "posix.fault.%s.%s", kinds[i].name,
                       placement->name);
        measure(setup, kinds[i].work, rounds, figure);
    }
    (void)place_threads(EVERYWHERE, EVERYWHERE);
    tear_down(setup);
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_begin(argc, argv);
    struct setup setup = {
        .pages = options.quick ? 64 : 1024,
        .page = (size_t)sysconf(_SC_PAGESIZE),
    };

    for (size_t i = 0; i < sizeof placements / sizeof placements[0]; i++)
        run(&setup, &placements[i], options.quick ? 2 : 41);
    return 0;
}
