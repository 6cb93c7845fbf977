/* SPDX-License-Identifier: MIT */
/* The posix port as a whole: its table of functions, opening and closing, and
 * the public functions of hurdmm/posix.h but for handle_signal.
 *
 * What `open' sets up it sets up in the order of the layers (posix_port.h) and
 * takes down in the opposite one.  The port is known to the signal handler last
 * and forgotten first.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/assert.h"

#define NS_PER_SECOND UINT64_C(1000000000)

/* Where a process ends.  The kernel has the last word, by mmap. */
#if UINTPTR_MAX > UINT32_MAX
#define SPACE_END ((uintptr_t)1 << 47)
#else
#define SPACE_END ((uintptr_t)UINT32_MAX - 0xfff)
#endif

static const struct hurdmm_port_ops ops;

bool hmm_posix_is(const struct hurdmm_port *base)
{
    return base->ops == &ops;
}

struct hmm_posix_port *hmm_posix_from(struct hurdmm_port *base)
{
    struct hmm_posix_port *port = (struct hmm_posix_port *)base;
    hmm_assert(hmm_posix_is(base) || port->hooks);
    return port;
}

bool hmm_posix_stale(const struct hmm_posix_port *port)
{
    return port->forks != hmm_posix_forks();
}

uint64_t hmm_posix_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* ---- Opening ---- */

/* Is there another processor, on which somebody could answer? */
static bool has_processors(void)
{
#if !defined(HMM_POSIX_PORTABLE) && defined(CPU_COUNT)
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof(set), &set))
        return CPU_COUNT(&set) > 1;
#endif
#ifdef _SC_NPROCESSORS_ONLN
    return sysconf(_SC_NPROCESSORS_ONLN) > 1;
#else
    return false;
#endif
}

static void describe_machine(struct hmm_posix_port *port,
                             struct hurdmm_port_info *info)
{
    memset(info, 0, sizeof(*info));
    info->struct_size = sizeof(*info);
    info->page_size = port->memory.page;
    info->page_sizes = port->memory.page;
    info->features = HURDMM_PORT_ALIAS | HURDMM_PORT_THREADS;
#ifdef HMM_POSIX_HAS_DECODE
    info->features |= HURDMM_PORT_EXECUTE;
#endif
    info->bank_count = 1;
    info->banks[0].frames = port->memory.frames;
    port->low = port->memory.page > 0x10000 ? port->memory.page : 0x10000;
    port->high = SPACE_END - port->memory.page - 1;
    info->low = port->low;
    info->high = port->high;
}

/* Opens one layer after the other; on error those that were opened are closed
 * again. */
static int open_layers(struct hmm_posix_port *port, uint64_t frames)
{
    hmm_posix_ranges_init(&port->ranges);
    hmm_posix_queue_open(&port->queue, &port->threads,
                         !(port->flags & HURDMM_POSIX_NO_SPIN) &&
                             has_processors() && !HMM_POSIX_ON_VALGRIND());
    int error = hmm_posix_memory_open(&port->memory, frames);
    if (error)
        return error;
    error = hmm_posix_lends_open(port);
    if (error)
        goto close_memory;
    error = hmm_posix_access_open(&port->access);
    if (error)
        goto close_lends;
    port->pid = getpid();
    error = hmm_posix_signal_attach(port,
                                    !(port->flags & HURDMM_POSIX_HOST_SIGNALS));
    if (!error)
        return 0;
    hmm_posix_access_close(&port->access);
close_lends:
    hmm_posix_lends_close(port);
close_memory:
    hmm_posix_memory_close(&port->memory);
    return error;
}

static int port_open(struct hurdmm_port *base,
                     const struct hurdmm_port_config *config,
                     struct hurdmm_port_info *info)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    if (port->opened)
        return EBUSY;
    uint64_t frames = config->frames;
    if (frames == 0)
        frames = config->bytes / (uint64_t)sysconf(_SC_PAGESIZE);
    int error = open_layers(port, frames);
    if (error)
        return error;
    describe_machine(port, info);
    port->opened = true;
    return 0;
}

static void port_close(struct hurdmm_port *base)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return;
    hmm_assert(port->opened);
    hmm_posix_signal_detach(port, !(port->flags & HURDMM_POSIX_HOST_SIGNALS));
    hmm_posix_access_close(&port->access);
    hmm_posix_lends_close(port);
    hmm_posix_memory_close(&port->memory);
    hmm_posix_queue_close(&port->queue);
    hmm_posix_ranges_free(&port->ranges);
    port->opened = false;
}

/* ---- The functions that are a line each ---- */

static int port_window(struct hurdmm_port *base, uint32_t frame, uint32_t count,
                       void **address)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    int error = hmm_posix_memory_back(&port->memory, frame, count);
    if (!error)
        *address = port->memory.window + frame * port->memory.page;
    return error;
}

static int port_frame_read(struct hurdmm_port *base, uint32_t frame,
                           void *space, uintptr_t address, void *buffer)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    (void)space;
    (void)address;
    if (hmm_posix_stale(port))
        return ESTALE;
    hmm_assert(frame < port->memory.frames);
    memcpy(buffer, port->memory.window + frame * port->memory.page,
           port->memory.page);
    return 0;
}

static int port_core_map(struct hurdmm_port *base, size_t size, void **address)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    int error = hmm_posix_core_map(&port->memory, size, address);
    /* What lacks may be a mapping. */
    while (error && hmm_posix_spare(port))
        error = hmm_posix_core_map(&port->memory, size, address);
    return error;
}

static int port_fault_wait(struct hurdmm_port *base,
                           struct hurdmm_fault *faults, size_t max,
                           uint64_t timeout_ns, size_t *count)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    return hmm_posix_queue_take(&port->queue, hmm_posix_thread_id(), faults,
                                max, timeout_ns, count);
}

static void port_fault_done(struct hurdmm_port *base,
                            const struct hurdmm_fault *fault, int error)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (!hmm_posix_stale(port))
        hmm_posix_queue_done(&port->queue, fault, error);
}

static void port_fault_stop(struct hurdmm_port *base)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (!hmm_posix_stale(port))
        hmm_posix_queue_stop(&port->queue);
}

static uint64_t port_clock(struct hurdmm_port *base)
{
    (void)base;
    return hmm_posix_now();
}

static const struct hurdmm_port_ops ops = {
    .struct_size = sizeof(ops),
    .version = HURDMM_PORT_VERSION,
    .name = "posix",
    .open = port_open,
    .close = port_close,
    .window = port_window,
    .frame_read = port_frame_read,
    .core_map = port_core_map,
    .reserve = hmm_posix_reserve,
    .release = hmm_posix_release,
    .lend = hmm_posix_lend,
    .reclaim = hmm_posix_reclaim,
    .fault_wait = port_fault_wait,
    .fault_done = port_fault_done,
    .fault_stop = port_fault_stop,
    .thread_start = hmm_posix_thread_start,
    .thread_join = hmm_posix_thread_join,
    .thread_self = hmm_posix_thread_self,
    .park = hmm_posix_park,
    .wake = hmm_posix_wake,
    .critical_enter = hmm_posix_critical_enter,
    .critical_leave = hmm_posix_critical_leave,
    .clock = port_clock,
};

/* ---- In a child ---- */

void hmm_posix_forked(struct hmm_posix_port *port)
{
    if (port->hooks)
        port->hooks->forked(port);
    struct hmm_posix_range_table *table = atomic_load(&port->ranges.table);
    size_t count = atomic_load(&port->ranges.count);
    for (size_t i = 0; i < count; i++) {
        uintptr_t start = atomic_load(&table->ranges[i].start);
        size_t size = atomic_load(&table->ranges[i].end) - start;
#ifdef HMM_POSIX_HAS_ANONYMOUS
        if (mmap((void *)start, size, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                 0) != MAP_FAILED)
            continue;
#endif
        (void)mprotect((void *)start, size, PROT_NONE);
    }
    hmm_posix_memory_forked(&port->memory);
    hmm_posix_access_close(&port->access);
    hmm_posix_queue_close(&port->queue);
}

/* ---- Public functions ---- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

int hurdmm_posix_create(const struct hurdmm_posix_options *options,
                        struct hurdmm_port **result)
{
    struct hurdmm_posix_options given = {.struct_size = sizeof(given)};
    if (options)
        memcpy(&given, options, smaller(options->struct_size, sizeof(given)));
    if (!result ||
        given.flags & ~(HURDMM_POSIX_HOST_SIGNALS | HURDMM_POSIX_NO_SPIN))
        return EINVAL;
    struct hmm_posix_port *port = calloc(1, sizeof(*port));
    if (!port)
        return ENOMEM;
    if (pthread_mutex_init(&port->threads.lock, NULL)) {
        free(port);
        return ENOMEM;
    }
    port->base.ops = &ops;
    port->flags = given.flags;
    port->forks = hmm_posix_forks();
    port->threads.stack_size = given.stack_size;
    *result = &port->base;
    return 0;
}

int hurdmm_posix_destroy(struct hurdmm_port *base)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    if (port->opened)
        return EBUSY;
    (void)pthread_mutex_destroy(&port->threads.lock);
    free(port);
    return 0;
}

int hurdmm_posix_get_fd(struct hurdmm_port *base, int *fd)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    if (!fd || !port->opened)
        return EINVAL;
    return hmm_posix_queue_fd(&port->queue, fd);
}

int hurdmm_posix_get_counters(struct hurdmm_port *base,
                              struct hurdmm_posix_counters *counters)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    if (hmm_posix_stale(port))
        return ESTALE;
    if (!counters || counters->struct_size < sizeof(counters->struct_size))
        return EINVAL;
    struct hurdmm_posix_counters now = {
        .struct_size = smaller(counters->struct_size, sizeof(now)),
        .faults = atomic_load(&port->queue.faults),
        .failed = atomic_load(&port->queue.failed),
        .deadlocks = atomic_load(&port->queue.deadlocks),
        .sleeps = atomic_load(&port->queue.sleeps),
        .mappings_short = atomic_load(&port->lends.mappings_short),
    };
    memcpy(counters, &now, now.struct_size);
    return 0;
}

void hmm_posix_describe(struct hurdmm_port *base, char *buffer, size_t size)
{
    const struct hmm_posix_port *port = hmm_posix_from(base);
#ifdef HMM_POSIX_HAS_FUTEX
    const char *sleep = "futex";
#else
    const char *sleep = "pipes";
#endif
#ifdef HMM_POSIX_HAS_DECODE
    const char *access = "told by the processor";
#else
    const char *access = "found by trying";
#endif
    (void)snprintf(
        buffer, size,
        "posix: SIGSEGV and SIGBUS handled by %s; memory from %s, "
        "sleep by %s, kind of access %s",
        port->flags & HURDMM_POSIX_HOST_SIGNALS ? "the program" : "the port",
        port->opened ? port->memory.kind : "an object", sleep, access);
}
