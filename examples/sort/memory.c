/* SPDX-License-Identifier: MIT */
/*
 * The manager, its stores and regions, and what happens when a load fails.
 *
 * The text and the index are read and written through plain pointers.  Where a
 * page cannot be had (the disk fails, the file was cut, swap is full) the thread
 * gets SIGBUS; the handler jumps back here, and the error is reported with the
 * name of the file behind the address.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include <hurdmm/host.h>

#include "sort.h"

static struct memory *current;
static const char *volatile failed_address;
static volatile int failed_error;

/* Only jumps: what it interrupts is a load or store of ours, never the library
 * or stdio, for those do not touch regions. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    failed_address = info->si_addr;
    failed_error = info->si_errno ? info->si_errno : EFAULT;
    siglongjmp(memory_failed, 1);
}

static bool within(const struct area *area, const char *address)
{
    return area->address && address >= area->address &&
           (uint64_t)(address - area->address) < area->size;
}

void memory_report(void)
{
    struct area *areas[] = {&current->input, &current->index, &current->output};

    for (size_t i = 0; i < sizeof areas / sizeof areas[0]; i++)
        if (within(areas[i], failed_address))
            memory_fail(current, areas[i], failed_error);
    memory_fail(current, &current->runs, failed_error);
}

void memory_fail(struct memory *memory, const struct area *area, int error)
{
    const struct area *areas[] = {&memory->output, &memory->runs,
                                  &memory->index};

    for (size_t i = 0; error == ENOMEM && i < 3; i++) {
        int cause = 0;

        if (areas[i]->store)
            cause = hurdmm_store_flush(areas[i]->store, 0, HURDMM_WHOLE,
                                       HURDMM_WAIT);
        if (cause != 0)
            fail(areas[i]->name, cause);
    }
    fail(error == ENOMEM ? "--memory" : area->name, error);
}

static void catch_faults(void)
{
    struct sigaction action = {.sa_sigaction = on_fault,
                               .sa_flags = SA_SIGINFO};

    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
}

/* While runs are merged each should have room for what is read ahead of it: the
 * fewer pages, the more runs there will be.  An index takes about as much again
 * as half the text. */
static size_t choose_readahead(size_t budget, uint64_t size, size_t page)
{
    uint64_t runs = 1 + size / 2 * 3 / (budget / 3 + 1);
    uint64_t bytes = budget / 2 / runs;

    if (bytes > 32 * page)
        bytes = 32 * page;
    return bytes < page ? page : (size_t)bytes;
}

void memory_start(struct memory *memory, const char *port, size_t budget,
                  uint64_t size)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = budget};

    if (port && strcmp(port, "sim") == 0)
        fail("--port sim: its memory cannot be loaded from", ENOTSUP);
    /* Before the library's handlers, which pass on what they cannot cure. */
    current = memory;
    catch_faults();
    check(port ? port : "port", hurdmm_host_port_create(port, &memory->port));
    options.port = memory->port;
    options.readahead = choose_readahead(budget, size, 4096);
    check("--memory", hurdmm_create(&options, &memory->manager));
    memory->space = hurdmm_space_own(memory->manager);
    memory->page = hurdmm_page_size(memory->manager);
    memory->budget = budget;
}

static char *bind(struct memory *memory, const struct area *area,
                  uint64_t offset, size_t length, unsigned rights,
                  enum hurdmm_advice advice)
{
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = memory->space,
        .store = area->store,
        .offset = offset,
        .length = length,
        .rights = rights,
        .advice = advice,
    };
    uintptr_t address;

    check(area->name, hurdmm_bind(&options, &address));
    return (char *)address;
}

char *memory_bind(struct memory *memory, const struct area *area,
                  uint64_t offset, size_t length)
{
    return bind(memory, area, offset, length, HURDMM_READ,
                HURDMM_ADVICE_SEQUENTIAL);
}

void memory_unbind(struct memory *memory, char *address, size_t length)
{
    check("unbinding",
          hurdmm_unbind(memory->space, (uintptr_t)address, length));
}

static void bind_whole(struct memory *memory, struct area *area,
                       unsigned rights, enum hurdmm_advice advice)
{
    if (area->size > SIZE_MAX / 2)
        fail(area->name, EFBIG);
    area->address = bind(memory, area, 0, round_up(area->size, memory->page),
                         rights, advice);
}

void memory_input(struct memory *memory, const char *name, int fd,
                  uint64_t size)
{
    memory->input.name = name;
    memory->input.size = size;
    check(name,
          hurdmm_file_create(memory->manager, fd, size, HURDMM_STORE_READ_ONLY,
                             &memory->input.store));
    bind_whole(memory, &memory->input, HURDMM_READ, HURDMM_ADVICE_NORMAL);
}

/* Room for runs is only an offset, what is not used costs nothing; the swap file
 * grows as it is written. */
void memory_work(struct memory *memory, const char *name, int swap_fd)
{
    uint64_t swap_size = 8 * memory->input.size + 4 * memory->budget;

    memory->index.name = memory->runs.name = name;
    memory->index.size = round_up(memory->budget / 3, memory->page);
    memory->runs.size = UINT64_C(1) << 50;
    check(name, hurdmm_file_block_create(swap_fd, swap_size, memory->page,
                                         &memory->block));
    check(name,
          hurdmm_swap_create(memory->manager, memory->block, &memory->swap));
    check(name,
          hurdmm_anonymous_create(memory->manager, memory->swap,
                                  memory->index.size, 0, &memory->index.store));
    check(name,
          hurdmm_anonymous_create(memory->manager, memory->swap,
                                  memory->runs.size, 0, &memory->runs.store));
    bind_whole(memory, &memory->index, HURDMM_READ | HURDMM_WRITE,
               HURDMM_ADVICE_NORMAL);
}

void memory_output(struct memory *memory, const char *name, int fd,
                   uint64_t size)
{
    memory->output.name = name;
    memory->output.size = size;
    check(name, hurdmm_file_create(memory->manager, fd, size, 0,
                                   &memory->output.store));
    bind_whole(memory, &memory->output, HURDMM_READ | HURDMM_WRITE,
               HURDMM_ADVICE_SEQUENTIAL);
}

void memory_finish(struct memory *memory)
{
    check(memory->output.name, hurdmm_store_sync(memory->output.store, 0,
                                                 HURDMM_WHOLE, HURDMM_WAIT));
    check(memory->runs.name,
          hurdmm_store_destroy(memory->runs.store, HURDMM_DETACH));
    check(memory->index.name,
          hurdmm_store_destroy(memory->index.store, HURDMM_DETACH));
    check(memory->runs.name, hurdmm_swap_destroy(memory->swap));
    hurdmm_file_block_destroy(memory->block);
}

void memory_end(struct memory *memory)
{
    check("ending", hurdmm_destroy(memory->manager, HURDMM_DETACH));
    check("port", hurdmm_host_port_destroy(memory->port));
}
