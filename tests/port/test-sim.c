/* SPDX-License-Identifier: MIT */
/* The simulated machine is a port, in each of its forms. */
#include <hurdmm/error.h>
#include <hurdmm/sim.h>

#include "tests/port/conformance.h"

static int make(struct hurdmm_port **port, uint64_t frames,
                struct hurdmm_sim_options options)
{
    options.struct_size = sizeof options;
    options.frames = frames;
    options.flags |= HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK;
    return hurdmm_sim_create(&options, port);
}

static int plain(struct hurdmm_port **port, uint64_t frames)
{
    return make(
        port, frames,
        (struct hurdmm_sim_options){.seed = 1, .offer = HURDMM_PORT_TRACKS});
}

static int shuffled(struct hurdmm_port **port, uint64_t frames)
{
    return make(port, frames,
                (struct hurdmm_sim_options){.seed = 2,
                                            .schedule = HURDMM_SIM_RANDOM,
                                            .switch_permille = 400,
                                            .spurious_permille = 50,
                                            .early_permille = 20});
}

static int small(struct hurdmm_port **port, uint64_t frames)
{
    return make(port, frames,
                (struct hurdmm_sim_options){
                    .page_size = 64, .address_bits = 32, .mappings_max = 100});
}

static int moving(struct hurdmm_port **port, uint64_t frames)
{
    return make(port, frames,
                (struct hurdmm_sim_options){
                    .page_size = 256,
                    .offer = HURDMM_PORT_TRACKS,
                    .hide = HURDMM_PORT_ALIAS | HURDMM_PORT_REFERENCED |
                            HURDMM_PORT_DIRTY | HURDMM_PORT_THREADS |
                            HURDMM_PORT_EXECUTE});
}

static int overtaking(struct hurdmm_port **port, uint64_t frames)
{
    return make(port, frames,
                (struct hurdmm_sim_options){.spaces = 3,
                                            .offer = HURDMM_PORT_OVERTAKES |
                                                     HURDMM_PORT_INLINE,
                                            .schedule = HURDMM_SIM_RANDOM});
}

static int banked(struct hurdmm_port **port, uint64_t frames)
{
    struct hurdmm_bank banks[] = {
        {.base = 0x1000, .frames = 5},
        {.base = 0x100000, .frames = (uint32_t)frames},
        {.base = UINT64_C(0x100000000), .frames = 1},
    };
    return make(port, frames,
                (struct hurdmm_sim_options){.banks = banks, .bank_count = 3});
}

static int load(struct hurdmm_port *port, void *space, uintptr_t address,
                uint8_t *value)
{
    return hurdmm_sim_read(port, space, address, value, 1);
}

static int store(struct hurdmm_port *port, void *space, uintptr_t address,
                 uint8_t value)
{
    return hurdmm_sim_write(port, space, address, &value, 1);
}

static int add(struct hurdmm_port *port, void *space, uintptr_t address,
               uint64_t amount)
{
    return hurdmm_sim_add64(port, space, address, amount, NULL);
}

static int run(struct hurdmm_port *port, void (*const bodies[])(void *),
               void *const arguments[], unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int error = hurdmm_sim_spawn(port, bodies[i], arguments[i], NULL);
        if (error != 0)
            return error;
    }
    return hurdmm_sim_run(port);
}

static const char *complaint(struct hurdmm_port *port)
{
    const char *first;
    return hurdmm_sim_violations(port, &first) == 0 ? NULL : first;
}

static void *space(struct hurdmm_port *port, unsigned index)
{
    return hurdmm_sim_space(port, index + 1);
}

#define TARGET(form, ...)                                                      \
    {                                                                          \
        .name = "sim-" #form, .create = form, .destroy = hurdmm_sim_destroy,   \
        .load = load, .store = store, .add = add, .run = run,                  \
        .sleep = hurdmm_sim_sleep, .complaint = complaint, .mappings = 300,    \
        __VA_ARGS__                                                            \
    }

static const struct conformance_target forms[] = {
    TARGET(plain, .spaces = 0),
    TARGET(shuffled, .spaces = 0),
    TARGET(small, .spaces = 0),
    TARGET(moving, .spaces = 0),
    TARGET(overtaking, .spaces = 2, .space = space),
    TARGET(banked, .spaces = 0),
};

int main(void)
{
    const struct conformance_target *targets[] = {
        &forms[0], &forms[1], &forms[2], &forms[3], &forms[4], &forms[5]};
    return conformance_main(targets, 6);
}
