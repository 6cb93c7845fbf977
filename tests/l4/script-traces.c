/* SPDX-License-Identifier: MIT */
/* Prints what the operation scripts write down on the simulated machine, each
 * as a number, for the image of the same scripts to be compared with. */
#include <stdio.h>
#include <stdlib.h>

#include <hurdmm/sim.h>

#include "tests/l4/traces.h"

static int load(void *hook, uintptr_t address, uint8_t *value)
{
    return hurdmm_sim_read(hook, NULL, address, value, 1);
}

static int store(void *hook, uintptr_t address, uint8_t value)
{
    return hurdmm_sim_write(hook, NULL, address, &value, 1);
}

int main(void)
{
    static char text[TRACE_SIZE];
    static uint8_t disks[SCRIPT_MEMORY];
    for (unsigned i = 0; i < script_count(); i++) {
        struct hurdmm_sim_options options = {.struct_size = sizeof options};
        struct script_machine machine = {
            .load = load, .store = store, .disks = disks};
        struct script_trace trace = {.text = text, .size = sizeof text};
        if (hurdmm_sim_create(&options, &machine.port) != 0)
            return 1;
        machine.hook = machine.port;
        if (script_run(i, &machine, &trace) != 0)
            return 1;
        printf("TRACE %s %llx\n", script_name(i), script_trace_sum(&trace));
        hurdmm_sim_destroy(machine.port);
    }
    return 0;
}
