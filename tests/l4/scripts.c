/* SPDX-License-Identifier: MIT */
/* The operation scripts as an image: each answers what it should.  What it has
 * written down is printed as a number, for check.sh to compare with what the
 * simulated machine wrote (script-traces.c). */
#include <hurdmm/error.h>
#include <hurdmm/l4.h>

#include "tests/l4/support.h"
#include "tests/l4/traces.h"

static char text[TRACE_SIZE];
static uint8_t disks[SCRIPT_MEMORY];

struct access {
    uintptr_t address;
    uint8_t value;
};

static void load_byte(void *argument)
{
    struct access *access = argument;
    access->value = *(volatile uint8_t *)access->address;
}

static void store_byte(void *argument)
{
    struct access *access = argument;
    *(volatile uint8_t *)access->address = access->value;
}

static int load(void *hook, uintptr_t address, uint8_t *value)
{
    struct access access = {address, 0};
    (void)hook;
    int error = hurdmm_l4_try(load_byte, &access);
    if (error == 0)
        *value = access.value;
    return error;
}

static int store(void *hook, uintptr_t address, uint8_t value)
{
    struct access access = {address, value};
    (void)hook;
    return hurdmm_l4_try(store_byte, &access);
}

static void run(unsigned number)
{
    struct script_machine machine = {
        .load = load, .store = store, .disks = disks};
    struct script_trace trace = {.text = text, .size = sizeof text};
    l4_test_zero(hurdmm_l4_create(NULL, &machine.port), "a port");
    unsigned wrong = script_run(number, &machine, &trace);
    if (wrong != 0)
        hmm_l4_puts(text);
    l4_test_equal(wrong, 0, script_name(number), __FILE__, __LINE__);
    l4_test_zero(hurdmm_l4_destroy(machine.port), "it goes");
    hmm_l4_printf("TRACE %s %llx\n", script_name(number),
                  script_trace_sum(&trace));
}

void hurdmm_l4_main(void)
{
    l4_tests_begin("scripts");
    for (unsigned i = 0; i < script_count(); i++)
        run(i);
    l4_tests_end();
}
