/* SPDX-License-Identifier: MIT */
/*
 * The smallest pager: a multiplication table of 65,536 rows and columns.
 *
 * It has 32 GiB, of which only what is looked at is ever computed, and no more
 * than 1 MiB is kept.  Build it with
 *     cc hello-pager.c $(pkg-config --cflags --libs hurdmm)
 * and run it with the name of a port, if it shall not be the best there is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>

#define SIDE UINT64_C(65536)

/* Called when somebody touches a page that is not in memory. */
static int fill(void *hook, uint64_t offset, void *buffer, size_t length)
{
    uint64_t *cells = buffer;
    uint64_t first = offset / sizeof *cells;

    (void)hook;
    for (size_t i = 0; i < length / sizeof *cells; i++)
        cells[i] = (first + i) / SIDE * ((first + i) % SIDE);
    return 0;
}

static void check(const char *what, int error)
{
    if (error == 0)
        return;
    fprintf(stderr, "hello-pager: %s: %s\n", what, strerror(error));
    exit(2);
}

int main(int argc, char **argv)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = 1 << 20};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .rights = HURDMM_READ};
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    struct hurdmm *manager;
    uint64_t sum = 0;
    uintptr_t address;

    /* The best port there is, or the one that is asked for. */
    check("port",
          hurdmm_host_port_create(argc > 1 ? argv[1] : NULL, &options.port));
    check("manager", hurdmm_create(&options, &manager));
    bind.space = hurdmm_space_own(manager);
    bind.length = (size_t)(SIDE * SIDE * sizeof(uint64_t));
    check("store", hurdmm_computed_create(manager, bind.length, 0, fill, NULL,
                                          &bind.store));
    check("bind", hurdmm_bind(&bind, &address));

    /* From here on it is memory like any other. */
    const uint64_t *table = (const uint64_t *)address;
    printf("12345 * 54321 = %" PRIu64 "\n", table[12345 * SIDE + 54321]);
    for (uint64_t i = 0; i < SIDE; i += 64)
        sum += table[i * SIDE + i];
    printf("0^2 + 64^2 + ... + 65472^2 = %" PRIu64 "\n", sum);

    check("stats", hurdmm_get_stats(manager, &stats));
    printf("%" PRIu64 " faults, %" PRIu64 " pages computed, %" PRIu64
           " evicted, at most %" PRIu64 " in memory\n",
           stats.faults, stats.pages_in, stats.evictions, stats.frames_peak);
    check("destroy", hurdmm_destroy(manager, HURDMM_DETACH));
    check("port", hurdmm_host_port_destroy(options.port));
    return 0;
}
