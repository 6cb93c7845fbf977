/* SPDX-License-Identifier: MIT */
/* The port conformance suite as an image. */
#include <hurdmm/error.h>
#include <hurdmm/l4.h>

#include "tests/port/conformance.h"

#define BODIES_MAX 16u

static int create(struct hurdmm_port **port, uint64_t frames)
{
    (void)frames;
    return hurdmm_l4_create(NULL, port);
}

/* Closed by now. */
static void destroy(struct hurdmm_port *port)
{
    (void)hurdmm_l4_destroy(port);
}

struct access {
    uintptr_t address;
    uint64_t value;
};

static void load_byte(void *argument)
{
    struct access *access = argument;
    access->value = *(volatile uint8_t *)access->address;
}

static void store_byte(void *argument)
{
    struct access *access = argument;
    *(volatile uint8_t *)access->address = (uint8_t)access->value;
}

/* A locked instruction on eight bytes is a loop: the processor has none that
 * adds. */
static void add_number(void *argument)
{
    struct access *access = argument;
    volatile uint64_t *number = (volatile uint64_t *)access->address;
    uint64_t old = *number;
    while (!__sync_bool_compare_and_swap(number, old, old + access->value))
        old = *number;
}

static int load(struct hurdmm_port *port, void *space, uintptr_t address,
                uint8_t *value)
{
    struct access access = {address, 0};
    (void)port;
    (void)space;
    int error = hurdmm_l4_try(load_byte, &access);
    if (error == 0)
        *value = (uint8_t)access.value;
    return error;
}

static int store(struct hurdmm_port *port, void *space, uintptr_t address,
                 uint8_t value)
{
    struct access access = {address, value};
    (void)port;
    (void)space;
    return hurdmm_l4_try(store_byte, &access);
}

static int add(struct hurdmm_port *port, void *space, uintptr_t address,
               uint64_t amount)
{
    struct access access = {address, amount};
    (void)port;
    (void)space;
    return hurdmm_l4_try(add_number, &access);
}

static int run(struct hurdmm_port *port, void (*const bodies[])(void *),
               void *const arguments[], unsigned count)
{
    uint64_t threads[BODIES_MAX];
    int error = 0;
    unsigned started = 0;
    while (started < count && error == 0) {
        error = port->ops->thread_start(port, bodies[started],
                                        arguments[started], &threads[started]);
        started += error == 0 ? 1 : 0;
    }
    for (unsigned i = 0; i < started; i++)
        port->ops->thread_join(port, threads[i]);
    return error;
}

static void sleep(struct hurdmm_port *port, uint64_t time_ns)
{
    uint32_t word = 0;
    (void)port->ops->park(port, &word, 0, time_ns);
}

static const struct conformance_target target = {
    .name = "l4-x86",
    .create = create,
    .destroy = destroy,
    .load = load,
    .store = store,
    .add = add,
    .run = run,
    .sleep = sleep,
    .mappings = 300,
    .reads_first = true,
};

void hurdmm_l4_main(void)
{
    const struct conformance_target *targets[] = {&target};
    conformance_main(targets, 1);
}
