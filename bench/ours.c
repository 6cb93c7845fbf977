/* SPDX-License-Identifier: MIT */
/* ours.c - the sides that are the library's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bench/paging.h"

#include <hurdmm/file.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/linux.h>

static struct hurdmm *manager;

/* Straight reading is told so; its windows are as long as the peer's pieces. */
static bool straight(void)
{
    return run.trial.how == SUMS || run.trial.workload == SEQUENTIAL;
}

static struct hurdmm_store *open_store(void)
{
    const struct trial *trial = &run.trial;
    struct hurdmm_store *store;
    struct hurdmm_file_options options = {
        .struct_size = sizeof options,
        .fd = run.file,
        .size = run_bytes(),
        .how = trial->direct ? HURDMM_FILE_DIRECT : 0,
        .block_size = trial->unit,
    };

    if (trial->how == LISTS || trial->direct)
        options.how |= HURDMM_FILE_ASYNC;
    check(!hurdmm_file_create_how(manager, &options, &store), "file store");
    return store;
}

bool ours_open(void)
{
    const struct trial *trial = &run.trial;
    bool in_place = trial->side == INLINE;
    struct hurdmm_port *port;
    uintptr_t address;

    if (hurdmm_linux_create(NULL, &port))
        return false;
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .port = port,
        .budget = trial->budget * trial->unit,
        .readahead = straight() ? PIECE : 0,
        .flags = in_place ? HURDMM_NO_THREADS : 0,
    };
    check(!hurdmm_create(&options, &manager), "hurdmm_create");
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = hurdmm_space_own(manager),
        .store = open_store(),
        .length = run_bytes(),
        .rights = HURDMM_READ | HURDMM_WRITE,
        .advice = straight() ? HURDMM_ADVICE_SEQUENTIAL : HURDMM_ADVICE_RANDOM,
        .flags = in_place ? HURDMM_BIND_INLINE : 0,
    };
    check(!hurdmm_bind(&bind, &address), "hurdmm_bind");
    run.base = (volatile char *)address;
    return true;
}

void ours_prefetch(const uintptr_t *list, size_t count)
{
    check(!hurdmm_prefetch(hurdmm_space_own(manager), list, count),
          "hurdmm_prefetch");
}

double ours_core(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};

    if (!manager || hurdmm_get_stats(manager, &stats) || !stats.frames_used)
        return 0;
    return (double)stats.core_bytes / (double)stats.frames_used;
}
