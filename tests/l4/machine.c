/* SPDX-License-Identifier: MIT */
/* The simulated machine's functions over the real one, as far as the tests of
 * containers call them: so these run unchanged on physical addresses.  Failures
 * cannot be injected; a test that wants some is counted as skipped. */
#include <hurdmm/error.h>
#include <hurdmm/l4.h>
#include <hurdmm/sim.h>
#include <string.h>

#include "tests/support/runner.h"

#define SPAWNED_MAX 32u

static uint64_t spawned[SPAWNED_MAX];
static unsigned spawned_count;

int hurdmm_sim_create(const struct hurdmm_sim_options *options,
                      struct hurdmm_port **port)
{
    (void)options;
    spawned_count = 0;
    return hurdmm_l4_create(NULL, port);
}

void hurdmm_sim_destroy(struct hurdmm_port *port)
{
    (void)hurdmm_l4_destroy(port);
}

/* ---- Accesses ---- */

struct access {
    void *to;
    const void *from;
    size_t length;
};

static void do_access(void *argument)
{
    const struct access *access = argument;
    memcpy(access->to, access->from, access->length);
}

int hurdmm_sim_read(struct hurdmm_port *port, void *space, uintptr_t address,
                    void *buffer, size_t length)
{
    struct access access = {buffer, (const void *)address, length};
    (void)port;
    return space != NULL ? ENOTSUP : hurdmm_l4_try(do_access, &access);
}

int hurdmm_sim_write(struct hurdmm_port *port, void *space, uintptr_t address,
                     const void *buffer, size_t length)
{
    struct access access = {(void *)address, buffer, length};
    (void)port;
    return space != NULL ? ENOTSUP : hurdmm_l4_try(do_access, &access);
}

int hurdmm_sim_store64(struct hurdmm_port *port, void *space, uintptr_t address,
                       uint64_t value)
{
    return hurdmm_sim_write(port, space, address, &value, sizeof value);
}

/* Of numbers that stay below 2^32: the lower half is added to.  All 64 bits would
 * take a cmpxchg8b, and with one here every tenth run ended with a kernel that
 * fell over garbage in the flags: QEMU's doing, as we infer (judge_flags in
 * nucleus/trap.c). */
struct addition {
    uint32_t *to;
    uint32_t amount, before;
};

static void do_addition(void *argument)
{
    struct addition *addition = argument;
    addition->before =
        __atomic_fetch_add(addition->to, addition->amount, __ATOMIC_SEQ_CST);
}

int hurdmm_sim_add64(struct hurdmm_port *port, void *space, uintptr_t address,
                     uint64_t amount, uint64_t *before)
{
    struct addition addition = {(uint32_t *)address, (uint32_t)amount, 0};
    (void)port;
    int error = space != NULL ? ENOTSUP : hurdmm_l4_try(do_addition, &addition);
    if (error == 0 && before != NULL)
        *before = addition.before;
    return error;
}

/* ---- Threads and time ---- */

int hurdmm_sim_spawn(struct hurdmm_port *port, void (*entry)(void *argument),
                     void *argument, uint64_t *thread)
{
    uint64_t id;
    if (spawned_count == SPAWNED_MAX)
        return ENOMEM;
    int error = port->ops->thread_start(port, entry, argument, &id);
    if (error != 0)
        return error;
    spawned[spawned_count++] = id;
    if (thread != NULL)
        *thread = id;
    return 0;
}

int hurdmm_sim_run(struct hurdmm_port *port)
{
    int error = 0;
    while (spawned_count > 0 && error == 0)
        error = port->ops->thread_join(port, spawned[--spawned_count]);
    return error;
}

void hurdmm_sim_sleep(struct hurdmm_port *port, uint64_t time_ns)
{
    uint64_t start = port->ops->clock(port);
    uint64_t passed = 0;
    uint32_t word = 0;
    while (passed < time_ns) {
        (void)port->ops->park(port, &word, 0, time_ns - passed);
        passed = port->ops->clock(port) - start;
    }
}

/* The clock alone. */
void hurdmm_sim_get_stats(struct hurdmm_port *port,
                          struct hurdmm_sim_stats *stats)
{
    stats->clock_ns = port->ops->clock(port);
}

void hurdmm_sim_yield(struct hurdmm_port *port)
{
    hurdmm_sim_sleep(port, 1000);
}

/* ---- What there is not ---- */

void hurdmm_sim_fail(struct hurdmm_port *port, unsigned points, uint64_t nth,
                     int error, int for_ever)
{
    (void)port;
    (void)nth;
    (void)error;
    (void)for_ever;
    if (points != 0)
        test_skip("a real machine does not fail on demand");
}

uint64_t hurdmm_sim_violations(struct hurdmm_port *port, const char **first)
{
    (void)port;
    (void)first;
    return 0;
}
