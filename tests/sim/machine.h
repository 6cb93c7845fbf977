/* SPDX-License-Identifier: MIT */
/* A machine as these tests like it: open, small, with a range reserved. */
#ifndef TESTS_SIM_MACHINE_H
#define TESTS_SIM_MACHINE_H

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/sim.h>

#define PAGE 64u
#define FRAMES 16u
#define RANGE 8u /* pages */
#define READ_WRITE (HURDMM_READ | HURDMM_WRITE)

struct machine {
    struct hurdmm_port *port;
    const struct hurdmm_port_ops *ops;
    struct hurdmm_port_info info;
    uintptr_t at; /* RANGE pages */
};

/* Makes, opens and reserves; page_size 0 becomes PAGE. */
static inline void machine_make(struct machine *machine,
                                struct hurdmm_sim_options options)
{
    options.struct_size = sizeof options;
    if (options.page_size == 0)
        options.page_size = PAGE;
    ck_assert_int_eq(hurdmm_sim_create(&options, &machine->port), 0);
    machine->ops = machine->port->ops;
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = FRAMES};
    ck_assert_int_eq(machine->ops->open(machine->port, &config, &machine->info),
                     0);
    machine->at = 0;
    uintptr_t cookie;
    ck_assert_int_eq(machine->ops->critical_enter(machine->port, &cookie), 0);
    ck_assert_int_eq(machine->ops->reserve(machine->port, NULL, &machine->at,
                                           RANGE * options.page_size, 0),
                     0);
    machine->ops->critical_leave(machine->port, cookie);
}

static inline int machine_lend(struct machine *machine, uint32_t page,
                               uint32_t frame, uint32_t count, unsigned rights,
                               uint32_t *done)
{
    uintptr_t cookie;
    int error = machine->ops->critical_enter(machine->port, &cookie);
    if (error != 0)
        return error;
    error = machine->ops->lend(machine->port, NULL,
                               machine->at + page * machine->info.page_size,
                               frame, count, rights, done);
    machine->ops->critical_leave(machine->port, cookie);
    return error;
}

static inline int machine_reclaim(struct machine *machine, uint32_t page,
                                  uint32_t frame, uint32_t count,
                                  unsigned rights)
{
    struct hurdmm_reclaim row = {
        NULL,   machine->at + page * machine->info.page_size,
        frame,  count,
        rights, NULL,
        0};
    size_t done;
    uintptr_t cookie;
    int error = machine->ops->critical_enter(machine->port, &cookie);
    if (error != 0)
        return error;
    error = machine->ops->reclaim(machine->port, &row, 1, &done);
    machine->ops->critical_leave(machine->port, cookie);
    return error;
}

static inline void *machine_window(struct machine *machine, uint32_t frame)
{
    void *window = NULL;
    uintptr_t cookie;
    ck_assert_int_eq(machine->ops->critical_enter(machine->port, &cookie), 0);
    ck_assert_int_eq(machine->ops->window(machine->port, frame, 1, &window), 0);
    machine->ops->critical_leave(machine->port, cookie);
    return window;
}

/* Asserts that nothing was wrong; machines with threads or pages left may be
 * destroyed so. */
static inline void machine_end(struct machine *machine)
{
    const char *first;
    uint64_t count = hurdmm_sim_violations(machine->port, &first);
    ck_assert_msg(count == 0, "%s", first);
    hurdmm_sim_destroy(machine->port);
}

#endif
