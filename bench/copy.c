/* SPDX-License-Identifier: MIT */
/* copy.c - what logical copies cost, and giving memory back.
 *
 * On the posix port, containers of 1 GiB that are resident and mapped:
 *
 *   copy          a copy on write against fork() of a process that has as much
 *                 memory resident, with 1 % of the pages written to since the
 *                 last copy and with all
 *   pause         the longest pause of a thread that goes on writing, against
 *                 the longest of one in a process that forks
 *   break         the first write to a copied page, against copying a page,
 *                 taking the old one away and mapping the new one
 *   release       of memory a third of which is shared, a third copied on write
 *                 and a third nobody's but the owner's
 *
 * On the simulated machine: a copy of a terabyte of absent pages, and giving out
 * and taking back frame runs of random size from a million frames.
 */
#define _GNU_SOURCE

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hurdmm/hurdmm.h>
#include <hurdmm/posix.h>
#include <hurdmm/sim.h>

#include "bench/report.h"
#include "lib/physmem/zones.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

static size_t size = (size_t)1 << 30;
static size_t rounds = 5;

static struct hurdmm_port *port;
static struct hurdmm *manager;
static struct hurdmm_container *memory;
static uintptr_t address;

static void begin(void)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = size * 5 / 2};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = size,
                                       .rights = HURDMM_READ | HURDMM_WRITE};
    uint64_t done;
    need(hurdmm_posix_create(NULL, &options.port), "port");
    port = options.port;
    need(hurdmm_create(&options, &manager), "manager");
    need(hurdmm_container_create(manager, &memory), "container");
    need(hurdmm_container_allocate(memory, 0, size, 0, &done), "memory");
    bind.space = hurdmm_space_own(manager);
    bind.container = memory;
    need(hurdmm_bind(&bind, &address), "bind");
}

static void end(void)
{
    need(hurdmm_destroy(manager, HURDMM_DETACH), "destroy");
    hurdmm_posix_destroy(port);
}

/* Writes to a hundredth of the pages, in runs of 64, or to all. */
static void write_pages(uintptr_t base, bool all)
{
    for (size_t at = 0; at < size; at += PAGE) {
        if (all || at / PAGE % 6400 < 64)
            *(volatile char *)(base + at) = (char)at;
    }
}

static uint64_t time_fork(void)
{
    uint64_t start = now_ns();
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    uint64_t took = now_ns() - start;
    (void)waitpid(child, NULL, 0);
    return took;
}

static uint64_t time_copy(void)
{
    struct hurdmm_container *copy;
    uint64_t done;
    need(hurdmm_container_create(manager, &copy), "container");
    uint64_t start = now_ns();
    need(hurdmm_container_copy(copy, 0, memory, 0, size, 0, &done), "copy");
    uint64_t took = now_ns() - start;
    need(hurdmm_container_destroy(copy), "container");
    return took;
}

/* ---- Copies against fork -------------------------------------------------- */

/* Everything is written once; then so many pages again after each copy. */
static void bench_copy(bool all)
{
    struct samples copies = {0}, forks = {0};
    char *peer = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(peer == MAP_FAILED, "mmap");
    begin();
    write_pages(address, true);
    write_pages((uintptr_t)peer, true);
    (void)time_copy();
    for (size_t i = 0; i < rounds; i++) {
        write_pages(address, all);
        samples_add(&copies, (double)time_copy());
        write_pages((uintptr_t)peer, all);
        samples_add(&forks, (double)time_fork());
    }
    struct figure figure = {.name = all ? "copy of 1 GiB, all pages writable"
                                        : "copy of 1 GiB, 1 % writable",
                            .value = median(&copies) / 1e6,
                            .unit = "ms",
                            .ratio = median_ratio(&copies, &forks),
                            .ratio_max = all ? 1.2 : 0.1};
    figure_print(&figure);
    end();
    (void)munmap(peer, size);
}

/* ---- The pause of a writer ------------------------------------------------ */

struct writer {
    uintptr_t base;
    size_t bytes;
    atomic_bool stop;
    _Atomic uint64_t longest;
};

static void *write_on(void *argument)
{
    struct writer *writer = argument;
    uint64_t state = 1;
    while (!atomic_load(&writer->stop)) {
        uint64_t start = now_ns();
        size_t at = (size_t)(draw(&state) % (writer->bytes / PAGE)) * PAGE;
        *(volatile char *)(writer->base + at) = (char)start;
        uint64_t took = now_ns() - start;
        if (took > atomic_load(&writer->longest))
            atomic_store(&writer->longest, took);
    }
    return NULL;
}

static double longest_pause(uintptr_t base, bool all, uint64_t (*copy)(void))
{
    struct writer writer = {.base = base, .bytes = all ? size : size / 100};
    pthread_t thread;
    need(pthread_create(&thread, NULL, write_on, &writer), "thread");
    (void)usleep(20000);
    atomic_store(&writer.longest, 0);
    (void)copy();
    atomic_store(&writer.stop, true);
    need(pthread_join(thread, NULL), "thread");
    return (double)atomic_load(&writer.longest);
}

static void bench_pause(bool all)
{
    struct samples copies = {0}, forks = {0};
    char *peer = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(peer == MAP_FAILED, "mmap");
    begin();
    write_pages(address, true);
    write_pages((uintptr_t)peer, true);
    (void)time_copy();
    for (size_t i = 0; i < rounds; i++) {
        write_pages(address, all);
        samples_add(&copies, longest_pause(address, all, time_copy));
        write_pages((uintptr_t)peer, all);
        samples_add(&forks, longest_pause((uintptr_t)peer, all, time_fork));
    }
    struct figure figure = {.name = all ? "longest pause, all pages writable"
                                        : "longest pause, 1 % writable",
                            .value = median(&copies) / 1e6,
                            .unit = "ms",
                            .ratio = median_ratio(&copies, &forks),
                            .ratio_max = all ? 1.2 : 0.1};
    figure_print(&figure);
    end();
    (void)munmap(peer, size);
}

/* ---- A break -------------------------------------------------------------- */

/* What must happen: a page is copied and mapped in the place of another, after
 * a fault of its own; memory in one file, as the port has it. */
static double bare_break(size_t pages)
{
    int file = memfd_create("bare", MFD_CLOEXEC);
    need(file < 0 || ftruncate(file, (off_t)(2 * pages * PAGE)) != 0, "memfd");
    char *window = mmap(NULL, 2 * pages * PAGE, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, file, 0);
    char *place = mmap(NULL, pages * PAGE, PROT_READ, MAP_SHARED, file, 0);
    need(window == MAP_FAILED || place == MAP_FAILED, "mmap");
    for (size_t i = 0; i < pages; i++)
        (void)*(volatile char *)(place + i * PAGE);
    uint64_t start = now_ns();
    for (size_t i = 0; i < pages; i++) {
        memcpy(window + (pages + i) * PAGE, window + i * PAGE, PAGE);
        need(mmap(place + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_FIXED, file,
                  (off_t)((pages + i) * PAGE)) == MAP_FAILED,
             "mmap");
        *(volatile char *)(place + i * PAGE) = 1;
    }
    double took = (double)(now_ns() - start) / (double)pages;
    (void)munmap(window, 2 * pages * PAGE);
    (void)munmap(place, pages * PAGE);
    (void)close(file);
    return took;
}

/* The library's: bytes are written through the copy's container, so that the
 * figure is of the break and not of the port's faults. */
static double one_break(size_t pages)
{
    struct hurdmm_container *copy;
    uint64_t copied;
    size_t done;
    need(hurdmm_container_create(manager, &copy), "container");
    need(hurdmm_container_copy(copy, 0, memory, 0, pages * PAGE, 0, &copied),
         "copy");
    uint64_t start = now_ns();
    for (size_t i = 0; i < pages; i++)
        need(hurdmm_container_write(copy, i * PAGE, "x", 1, &done), "write");
    double took = (double)(now_ns() - start) / (double)pages;
    need(hurdmm_container_destroy(copy), "container");
    return took;
}

static void bench_break(void)
{
    struct samples breaks = {0}, bare = {0};
    size_t pages = size / PAGE < 8192 ? size / PAGE / 2 : 8192;
    begin();
    write_pages(address, true);
    for (size_t i = 0; i < rounds; i++) {
        samples_add(&breaks, one_break(pages));
        samples_add(&bare, bare_break(pages));
    }
    struct figure figure = {.name = "break of a copied page",
                            .value = median(&breaks),
                            .unit = "ns",
                            .ratio = median_ratio(&breaks, &bare),
                            .ratio_max = 1.3};
    figure_print(&figure);
    end();
}

/* ---- Release -------------------------------------------------------------- */

static void bench_release(void)
{
    struct samples releases = {0};
    size_t third = size / 3 / PAGE * PAGE;
    for (size_t i = 0; i < rounds; i++) {
        struct hurdmm_container *sharer, *copy;
        uint64_t done;
        begin();
        need(hurdmm_container_create(manager, &sharer), "container");
        need(hurdmm_container_create(manager, &copy), "container");
        need(hurdmm_container_copy(sharer, 0, memory, 0, third,
                                   HURDMM_COPY_SHARED, &done),
             "copy");
        need(hurdmm_container_copy(copy, 0, memory, third, third, 0, &done),
             "copy");
        need(hurdmm_unbind(hurdmm_space_own(manager), address, size), "unbind");
        uint64_t start = now_ns();
        need(hurdmm_container_release(memory, 0, size), "release");
        need(hurdmm_container_destroy(sharer), "destroy");
        need(hurdmm_container_destroy(copy), "destroy");
        samples_add(&releases,
                    (double)(now_ns() - start) / (double)(size / PAGE));
        end();
    }
    struct figure figure = {.name = "release of 1 GiB of all kinds, per page",
                            .value = median(&releases),
                            .unit = "ns",
                            .value_max = 50};
    figure_print(&figure);
}

/* ---- A terabyte, and runs ------------------------------------------------- */

static int nothing(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(buffer, 0, length);
    return 0;
}

static void bench_terabyte(void)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = nothing};
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .size = UINT64_C(1) << 40,
                                           .flags = HURDMM_STORE_VOLATILE};
    struct hurdmm_options mm = {.struct_size = sizeof mm, .budget = 1 << 20};
    struct hurdmm_container *copy;
    struct hurdmm_store *store;
    struct samples copies = {0};
    uint64_t done;
    need(hurdmm_sim_create(NULL, &mm.port), "port");
    need(hurdmm_create(&mm, &manager), "manager");
    need(hurdmm_store_create(manager, &ops, &options, &store), "store");
    for (size_t i = 0; i < rounds; i++) {
        need(hurdmm_container_create(manager, &copy), "container");
        uint64_t start = now_ns();
        need(hurdmm_container_copy(copy, 0, hurdmm_store_container(store), 0,
                                   UINT64_C(1) << 40, 0, &done),
             "copy");
        samples_add(&copies, (double)(now_ns() - start) / 1e3);
        need(hurdmm_container_destroy(copy), "container");
    }
    struct figure figure = {.name = "copy of 1 TiB of absent pages",
                            .value = median(&copies),
                            .unit = "us",
                            .value_max = 1000};
    figure_print(&figure);
    need(hurdmm_destroy(manager, HURDMM_DETACH), "destroy");
    hurdmm_sim_destroy(mm.port);
}

#define RUNS 4096u

static void bench_runs(void)
{
    static struct {
        uint32_t first, count;
    } run[RUNS];
    const uint32_t frames = 1000000;
    const struct hmm_bank bank = {.frames = frames};
    struct samples times = {0};
    void *bytes = aligned_alloc(64, (hmm_zones_memory(frames, 1) + 63) & ~63u);
    struct hmm_zones zones;
    uint64_t state = 7;
    need(bytes == NULL, "memory");
    need(hmm_zones_init(&zones, bytes, 4096, &bank, 1), "zones");
    for (size_t round = 0; round < rounds; round++) {
        const size_t turns = 200000;
        uint64_t start = now_ns();
        for (size_t i = 0; i < turns; i++) {
            uint64_t lot = draw(&state);
            size_t which = lot % RUNS;
            if (run[which].count > 0)
                need(hmm_zones_free(&zones, run[which].first, run[which].count),
                     "free");
            run[which].count = 1 + (uint32_t)((lot >> 20) % 400);
            if (hmm_zones_alloc(&zones, run[which].count, NULL, HMM_FRAME_NONE,
                                &run[which].first))
                run[which].count = 0;
        }
        samples_add(&times, (double)(now_ns() - start) / (2.0 * (double)turns));
    }
    struct figure figure = {.name = "allocate or free a run, 10^6 frames",
                            .value = median(&times),
                            .unit = "ns",
                            .value_max = 300};
    figure_print(&figure);
    free(bytes);
}

int main(int argc, char **argv)
{
    if (bench_begin(argc, argv).quick) {
        size = (size_t)16 << 20;
        rounds = 1;
    }
    bench_copy(false);
    bench_copy(true);
    bench_pause(false);
    bench_pause(true);
    bench_break();
    bench_release();
    bench_terabyte();
    bench_runs();
    return 0;
}
