/* SPDX-License-Identifier: MIT */
/* regions.c - what a fault costs where there are 100,000 regions and where there
 * are 10.
 *
 * A store is covered by regions, few long ones or many of one page.  Pages drawn at random over all of them are
 * touched once each, as many in both cases, and a store with nothing to do fills
 * them.  A round with many regions follows each round with few.  A thousand pages
 * are touched again in each round, and of what is known of their regions the
 * processor's caches still hold a part; of the regions of ten thousand (cold)
 * they hold less.
 *
 * On the simulated machine, with faults answered on the faulting thread and by a
 * pager, the figure is the host's time for all of a fault: the machine's share
 * is small.  On the posix port as many regions are made as its mappings allow.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <hurdmm/hurdmm.h>
#include <hurdmm/posix.h>
#include <hurdmm/sim.h>

#include "bench/report.h"

enum where { SIM_INLINE, SIM_PAGER, POSIX };

struct world {
    enum where where;
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_store *store;
    uintptr_t base;
    size_t page;
    uint32_t regions;
    uint32_t length;   /* pages of each region */
    uint32_t pages;    /* to be touched */
    uint32_t *touched; /* their numbers, in the order in which they are */
};

static int page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)buffer;
    (void)length;
    (void)done;
    return 0;
}

static const struct hurdmm_store_ops operations = {
    .struct_size = sizeof operations,
    .page_in = page_in,
};

static void make_port(struct world *world)
{
    struct hurdmm_sim_options sim = {
        .struct_size = sizeof sim,
        .offer = world->where == SIM_INLINE ? HURDMM_PORT_INLINE : 0,
    };

    if (world->where == POSIX)
        need(hurdmm_posix_create(NULL, &world->port), "hurdmm_posix_create");
    else
        need(hurdmm_sim_create(&sim, &world->port), "hurdmm_sim_create");
}

static void bind(struct world *world, uint32_t number, uintptr_t *address)
{
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = hurdmm_space_own(world->manager),
        .store = world->store,
        .offset = (uint64_t)number * world->length * world->page,
        .address = *address,
        .length = world->length * world->page,
        .rights = HURDMM_READ,
        .advice = HURDMM_ADVICE_RANDOM,
        .flags = *address ? HURDMM_BIND_EXACT : 0,
    };

    need(hurdmm_bind(&options, address), "hurdmm_bind");
}

/* Reserves room for all in one piece, then fills it with regions. */
static void bind_all(struct world *world)
{
    size_t step = world->length * world->page;
    struct hurdmm_space *space = hurdmm_space_own(world->manager);
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = space,
        .length = world->regions * step,
        .flags = HURDMM_BIND_RESERVED,
    };

    need(hurdmm_bind(&options, &world->base), "hurdmm_bind, reserved");
    for (uint32_t i = 0; i < world->regions; i++) {
        uintptr_t address = world->base + i * step;
        need(hurdmm_unbind(space, address, step), "hurdmm_unbind");
        bind(world, i, &address);
    }
}

static void begin(struct world *world, uint32_t regions, uint32_t all,
                  uint32_t pages)
{
    struct hurdmm_options options = {.struct_size = sizeof options};
    struct hurdmm_store_options store = {
        .struct_size = sizeof store,
        .flags = HURDMM_STORE_READ_ONLY,
    };

    world->page = (size_t)sysconf(_SC_PAGESIZE);
    world->regions = regions;
    world->length = all / regions;
    world->pages = pages;
    world->touched = malloc(all * sizeof *world->touched);
    need(!world->touched, "no memory");
    shuffle(world->touched, all, 1);
    make_port(world);
    options.port = world->port;
    options.budget = (pages + pages / 2 + 64) * world->page;
    need(hurdmm_create(&options, &world->manager), "hurdmm_create");
    store.size = (uint64_t)all * world->page;
    need(
        hurdmm_store_create(world->manager, &operations, &store, &world->store),
        "hurdmm_store_create");
    bind_all(world);
}

static void end(struct world *world)
{
    need(hurdmm_destroy(world->manager, HURDMM_DETACH), "hurdmm_destroy");
    if (world->where == POSIX)
        need(hurdmm_posix_destroy(world->port), "hurdmm_posix_destroy");
    else
        hurdmm_sim_destroy(world->port);
    free(world->touched);
}

/* Touches the pages; nanoseconds a page. */
static double touch(const struct world *world)
{
    need(hurdmm_store_discard(world->store, 0, HURDMM_WHOLE), "discard");
    uint64_t start_ns = now_ns();

    for (uint32_t i = 0; i < world->pages; i++) {
        uint32_t page = world->touched[i];
        uintptr_t address = world->base + page * world->page;
        char byte;

        if (world->where == POSIX)
            byte = *(volatile char *)address;
        else
            need(hurdmm_sim_read(world->port, NULL, address, &byte, 1),
                 "access");
        (void)byte;
    }
    return (double)(now_ns() - start_ns) / world->pages;
}

static void measure(const char *name, enum where where, uint32_t many,
                    uint32_t pages, unsigned rounds)
{
    struct world small = {.where = where}, large = {.where = where};
    struct samples few = {.count = 0}, lots = {.count = 0};
    struct figure figure = {.name = name, .unit = "ns", .ratio_max = 1.5};

    begin(&small, 10, many, pages);
    begin(&large, many, many, pages);
    for (unsigned i = 0; i <= rounds; i++) {
        double first = touch(&small), second = touch(&large);
        if (i == 0)
            continue; /* the first round makes the memory there is */
        samples_add(&few, first);
        samples_add(&lots, second);
    }
    figure.value = median(&lots);
    figure.ratio = median_ratio(&lots, &few);
    figure_print(&figure);
    end(&large);
    end(&small);
}

int main(int argc, char **argv)
{
    bool quick = bench_begin(argc, argv).quick;
    uint32_t many = quick ? 1000 : 100000;
    unsigned rounds = quick ? 2 : 21;

    measure("regions.sim.inline", SIM_INLINE, many, many / 100, rounds);
    measure("regions.sim.inline.cold", SIM_INLINE, many, many / 10, rounds);
    measure("regions.sim.pager", SIM_PAGER, many, many / 100, rounds);
    measure("regions.sim.pager.cold", SIM_PAGER, many, many / 10, rounds);
    measure("regions.posix", POSIX, many, many / 100, rounds);
    return 0;
}
