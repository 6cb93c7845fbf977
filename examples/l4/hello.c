/* SPDX-License-Identifier: MIT */
/*
 * The smallest root task that pages for itself: a multiplication table of 4096
 * rows and columns, of which no more than 1 MiB is kept.  hello-pager.c is the
 * same for hosts.
 */
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>

#include "tests/l4/support.h"

#define SIDE UINT64_C(4096)

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

static void look(const uint64_t *table)
{
    uint64_t sum = 0;

    l4_test_check(table[1234 * SIDE + 4321 % SIDE] == 1234 * (4321 % SIDE),
                  "a cell is what it should be");
    for (uint64_t i = 0; i < SIDE; i += 16)
        sum += table[i * SIDE + i];
    l4_test_check(sum == UINT64_C(1423278080), "the diagonal adds up");
}

static void page(struct hurdmm_port *port)
{
    struct hurdmm_options options = {
        .struct_size = sizeof options, .port = port, .budget = 1 << 20};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .rights = HURDMM_READ};
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    struct hurdmm *manager;
    uintptr_t address;

    l4_test_zero(hurdmm_create(&options, &manager), "a manager is made");
    bind.space = hurdmm_space_own(manager);
    bind.length = (size_t)(SIDE * SIDE * sizeof(uint64_t));
    l4_test_zero(hurdmm_computed_create(manager, bind.length, 0, fill, NULL,
                                        &bind.store),
                 "a store is made");
    l4_test_zero(hurdmm_bind(&bind, &address), "it is bound");
    look((const uint64_t *)address);
    l4_test_zero(hurdmm_get_stats(manager, &stats), "statistics");
    hmm_l4_printf("%llu faults, %llu pages computed, %llu evicted\n",
                  stats.faults, stats.pages_in, stats.evictions);
    l4_test_check(stats.evictions > 0, "pages have gone");
    l4_test_zero(hurdmm_destroy(manager, HURDMM_DETACH), "all is taken down");
}

void hurdmm_l4_main(void)
{
    struct hurdmm_port *port;

    l4_tests_begin("hello");
    l4_test_zero(hurdmm_l4_create(NULL, &port), "a port is made");
    page(port);
    l4_test_zero(hurdmm_l4_destroy(port), "and goes");
    l4_tests_end();
}
