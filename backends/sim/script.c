/* SPDX-License-Identifier: MIT */
/* Scripted failures, violations, the trace, statistics. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sim/machine.h"

static const char *const names[] = {
    [EVENT_OPEN] = "open",
    [EVENT_CLOSE] = "close",
    [EVENT_WINDOW] = "window",
    [EVENT_FRAME_READ] = "frame_read",
    [EVENT_CORE_MAP] = "core_map",
    [EVENT_RESERVE] = "reserve",
    [EVENT_RELEASE] = "release",
    [EVENT_LEND] = "lend",
    [EVENT_RECLAIM] = "reclaim",
    [EVENT_SCAN] = "scan",
    [EVENT_FAULT_WAIT] = "fault_wait",
    [EVENT_FAULT_DONE] = "fault_done",
    [EVENT_FAULT_STOP] = "fault_stop",
    [EVENT_THREAD_START] = "thread_start",
    [EVENT_THREAD_JOIN] = "thread_join",
    [EVENT_THREAD_END] = "thread_end",
    [EVENT_PARK] = "park",
    [EVENT_WAKE] = "wake",
    [EVENT_CRITICAL_ENTER] = "critical_enter",
    [EVENT_CRITICAL_LEAVE] = "critical_leave",
    [EVENT_SWITCH] = "switch",
    [EVENT_ACCESS] = "access",
    [EVENT_FAULT] = "fault",
    [EVENT_SPAWN] = "spawn",
    [EVENT_VIOLATION] = "violation",
};

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    return hash ^ (hash >> 29);
}

static void print(struct hmm_sim *sim, enum hmm_sim_event event,
                  const uint64_t *values, size_t count)
{
    char line[256];
    int end =
        snprintf(line, sizeof line, "%" PRIu64 " ns thread %" PRIu64 ": %s",
                 sim->clock, sim->self->id, names[event]);
    for (size_t i = 0; i < count && (size_t)end < sizeof line; i++)
        end += snprintf(line + end, sizeof line - (size_t)end, " %#" PRIx64,
                        values[i]);
    sim->options.trace(sim->options.trace_client, line);
}

void hmm_sim_note(struct hmm_sim *sim, enum hmm_sim_event event,
                  const uint64_t *values, size_t count)
{
    uint64_t hash = mix(sim->hash, sim->clock);
    hash = mix(hash, sim->self->id << 8 | (uint64_t)event);
    for (size_t i = 0; i < count; i++)
        hash = mix(hash, values[i]);
    sim->hash = hash;
    if (sim->options.trace != NULL)
        print(sim, event, values, count);
}

void hmm_sim_violation(struct hmm_sim *sim, const char *format, ...)
{
    char text[sizeof sim->first_violation];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (sim->violations++ == 0)
        memcpy(sim->first_violation, text, sizeof text);
    HMM_SIM_NOTE(sim, EVENT_VIOLATION, sim->violations);
    if (sim->options.trace != NULL)
        sim->options.trace(sim->options.trace_client, text);
    if (sim->options.flags & HURDMM_SIM_ABORT) {
        fprintf(stderr, "simulated machine: %s\n", text);
        abort();
    }
}

uint64_t hurdmm_sim_violations(struct hurdmm_port *port, const char **first)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    if (first != NULL)
        *first = sim->first_violation;
    return sim->violations;
}

uint64_t hurdmm_sim_trace_hash(struct hurdmm_port *port)
{
    return hmm_sim_of(port)->hash;
}

static int usual_error(unsigned point)
{
    if (point == HURDMM_SIM_FRAME_READ)
        return EFAULT;
    return point == HURDMM_SIM_CRITICAL ? ESTALE : ENOMEM;
}

int hmm_sim_fallible(struct hmm_sim *sim, unsigned point)
{
    unsigned kind = 0;
    while (point >> kind != 1)
        kind++;
    sim->calls[kind]++;
    if (sim->fail_in == 0 || (sim->fail_points & point) == 0)
        return 0;
    if (sim->fail_in > 1) {
        sim->fail_in--;
        return 0;
    }
    if (!sim->fail_for_ever)
        sim->fail_in = 0;
    sim->stats.failures++;
    return sim->fail_error != 0 ? sim->fail_error : usual_error(point);
}

void hurdmm_sim_fail(struct hurdmm_port *port, unsigned points, uint64_t nth,
                     int error, int for_ever)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    sim->fail_points = points;
    sim->fail_in = nth;
    sim->fail_error = error;
    sim->fail_for_ever = for_ever != 0;
}

uint64_t hurdmm_sim_fallible_calls(struct hurdmm_port *port, unsigned points)
{
    const struct hmm_sim *sim = hmm_sim_of(port);
    uint64_t calls = 0;
    for (unsigned kind = 0; kind < HMM_SIM_KINDS; kind++)
        if (points >> kind & 1)
            calls += sim->calls[kind];
    return calls;
}

void hurdmm_sim_get_stats(struct hurdmm_port *port,
                          struct hurdmm_sim_stats *stats)
{
    const struct hmm_sim *sim = hmm_sim_of(port);
    struct hurdmm_sim_stats now = sim->stats;
    size_t size = stats->struct_size;
    now.struct_size = size;
    now.clock_ns = sim->clock;
    memcpy(stats, &now, size < sizeof now ? size : sizeof now);
}
