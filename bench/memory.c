/* SPDX-License-Identifier: MIT */
/* memory.c - what the library needs for itself, by page of cached memory.
 *
 * A cache is filled, a third of it written, and paged out again by one of three
 * patterns, each touching pages four times the budget twice over:
 *
 *   sequential  one page after the other
 *   random      drawn at random
 *   isolated    drawn at random, no two within the same MiB
 *
 * Then all memory that the library has in use for itself (frame table, policy,
 * index, laundry) is counted.  This is done with two budgets; by how much more
 * is in use for how many more resident pages is what a page costs.  What remains
 * is the figure for a manager: the same for any budget, but that memory is taken
 * from the port in pieces of 64 KiB.
 *
 * On the simulated machine; the core is the same on all ports.
 */
#include <stdio.h>

#include <hurdmm/hurdmm.h>
#include <hurdmm/sim.h>

#include "bench/report.h"

#define PAGE 4096u
#define TIB (UINT64_C(1) << 40)

struct machine {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_store *store;
    uintptr_t address;
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

static int page_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
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
    .page_out = page_out,
};

static void begin(struct machine *machine, size_t budget)
{
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .budget = budget,
        .low_water = PAGE,
        .high_water = 2 * PAGE,
    };

    need(hurdmm_sim_create(NULL, &machine->port), "hurdmm_sim_create");
    options.port = machine->port;
    need(hurdmm_create(&options, &machine->manager), "hurdmm_create");
}

static void bind(struct machine *machine, uint64_t size)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .size = size,
    };

    need(hurdmm_store_create(machine->manager, &operations, &options,
                             &machine->store),
         "hurdmm_store_create");
    struct hurdmm_bind_options binding = {
        .struct_size = sizeof binding,
        .space = hurdmm_space_own(machine->manager),
        .store = machine->store,
        .length = size,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };
    need(hurdmm_bind(&binding, &machine->address), "hurdmm_bind");
}

static void end(struct machine *machine)
{
    need(hurdmm_destroy(machine->manager, HURDMM_DETACH), "hurdmm_destroy");
    hurdmm_sim_destroy(machine->port);
}

/* What the library has in use for itself. */
static double core_bytes(const struct machine *machine)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};

    need(hurdmm_get_stats(machine->manager, &stats), "hurdmm_get_stats");
    return (double)stats.core_bytes;
}

static void touch(const struct machine *machine, uint64_t page, bool write)
{
    char byte = 1;
    uintptr_t address = machine->address + (uintptr_t)(page * PAGE);
    int error = write ? hurdmm_sim_write(machine->port, NULL, address, &byte, 1)
                      : hurdmm_sim_read(machine->port, NULL, address, &byte, 1);

    need(error, "access");
}

struct pattern {
    const char *name;
    uint32_t stride; /* in pages */
    bool ordered;
};

/* What the library took, and for how many resident pages. */
static double fill(const struct pattern *pattern, uint32_t budget,
                   double *pages)
{
    struct machine machine;
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    uint64_t range = (uint64_t)budget * 4, seed = 1;

    begin(&machine, (size_t)budget * PAGE);
    bind(&machine, range * pattern->stride * PAGE);
    for (uint64_t i = 0; i < 2 * range; i++) {
        uint64_t page = pattern->ordered ? i % range : draw(&seed) % range;
        touch(&machine, page * pattern->stride, i % 3 == 0);
    }
    need(hurdmm_get_stats(machine.manager, &stats), "hurdmm_get_stats");
    if (stats.frames_used < budget / 16 * 15)
        need(1, "the budget is not in use");
    double bytes = core_bytes(&machine);
    *pages = (double)stats.frames_used;
    end(&machine);
    return bytes;
}

/* Returns what is left for the manager itself. */
static double measure(const struct pattern *pattern, uint32_t budget)
{
    struct figure figure = {
        .name = pattern->name, .unit = "bytes/page", .value_max = 64};
    double less, more;
    double small = fill(pattern, budget, &less);
    double large = fill(pattern, budget * 5, &more);

    figure.value = (large - small) / (more - less);
    figure_print(&figure);
    return small - figure.value * less;
}

/* A terabyte of which next to nothing is touched. */
static void sparse(bool quick)
{
    struct machine machine;
    struct figure figure = {
        .name = "memory.terabyte", .unit = "KiB", .value_max = 1024};
    uint64_t seed = 1;

    begin(&machine, (size_t)1024 * PAGE);
    double before = core_bytes(&machine);
    bind(&machine, TIB);
    for (int i = 0; i < (quick ? 10 : 1000); i++)
        touch(&machine, draw(&seed) % (TIB / PAGE), false);
    figure.value = (core_bytes(&machine) - before) / 1024;
    figure_print(&figure);
    end(&machine);
}

int main(int argc, char **argv)
{
    static const struct pattern patterns[] = {
        {"memory.page.sequential", 1, true},
        {"memory.page.random", 1, false},
        {"memory.page.isolated", (1u << 20) / PAGE, false},
    };
    bool quick = bench_begin(argc, argv).quick;
    struct figure figure = {.name = "memory.manager", .unit = "KiB"};

    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        double fixed = measure(&patterns[i], quick ? 1024 : 8192);
        figure.value =
            fixed / 1024 > figure.value ? fixed / 1024 : figure.value;
    }
    figure_print(&figure);
    sparse(quick);
    return 0;
}
