/* SPDX-License-Identifier: MIT */
/* Making and ending a simulated machine; the port's table, open and close. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sim/machine.h"

#define DEFAULT_PAGE_SIZE 4096u
#define PAGE_SIZE_MIN 64u
#define DEFAULT_FEATURES                                                       \
    (HURDMM_PORT_ALIAS | HURDMM_PORT_REFERENCED | HURDMM_PORT_DIRTY |          \
     HURDMM_PORT_THREADS | HURDMM_PORT_EXECUTE)
/* The first pages of a space cannot be reserved, so that NULL never can. */
#define LOW_PAGES 16u

static int sim_open(struct hurdmm_port *port,
                    const struct hurdmm_port_config *config,
                    struct hurdmm_port_info *info);
static void sim_close(struct hurdmm_port *port);

static const struct hurdmm_port_ops sim_ops = {
    .struct_size = sizeof sim_ops,
    .version = HURDMM_PORT_VERSION,
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .window = hmm_sim_window,
    .frame_read = hmm_sim_frame_read,
    .core_map = hmm_sim_core_map,
    .reserve = hmm_sim_reserve,
    .release = hmm_sim_release,
    .lend = hmm_sim_lend,
    .reclaim = hmm_sim_reclaim,
    .fault_wait = hmm_sim_fault_wait,
    .fault_done = hmm_sim_fault_done,
    .fault_stop = hmm_sim_fault_stop,
    .thread_start = hmm_sim_thread_start,
    .thread_join = hmm_sim_thread_join,
    .thread_self = hmm_sim_thread_self,
    .park = hmm_sim_park,
    .wake = hmm_sim_wake,
    .critical_enter = hmm_sim_critical_enter,
    .critical_leave = hmm_sim_critical_leave,
    .clock = hmm_sim_clock,
    .scan = hmm_sim_scan,
};

/* The banks that the options ask for, or one as the manager asks for; how many
 * frames. */
static uint64_t lay_out(struct hmm_sim *sim,
                        const struct hurdmm_port_config *config)
{
    uint64_t wanted = config->frames;
    uint64_t total = 0;
    if (wanted == 0)
        wanted = config->bytes >> sim->page_shift;
    for (unsigned i = 0; i < sim->options.bank_count; i++) {
        sim->banks[i].first_frame = (uint32_t)total;
        total += sim->banks[i].frames;
    }
    if (sim->options.bank_count > 0)
        return total;
    total = sim->options.frames != 0 ? sim->options.frames : wanted;
    sim->banks[0] = (struct hurdmm_bank){.frames = (uint32_t)total};
    return total;
}

static void fill_info(const struct hmm_sim *sim, struct hurdmm_port_info *info)
{
    unsigned banks = sim->options.bank_count;
    *info = (struct hurdmm_port_info){
        .struct_size = sizeof *info,
        .page_size = hmm_sim_page_size(sim),
        .page_sizes = sim->options.page_sizes | hmm_sim_page_size(sim),
        .features = sim->features,
        .bank_count = banks > 0 ? banks : 1,
        .low = sim->low,
        .high = sim->high,
    };
    memcpy(info->banks, sim->banks, sizeof sim->banks);
}

static int sim_open(struct hurdmm_port *port,
                    const struct hurdmm_port_config *config,
                    struct hurdmm_port_info *info)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    uint64_t total = 0;
    int error = sim->is_open ? EBUSY : 0;
    if (error == 0)
        error = hmm_sim_fallible(sim, HURDMM_SIM_OPEN);
    if (error == 0) {
        total = lay_out(sim, config);
        if (total == 0 || total >= HURDMM_FRAME_NONE)
            error = ENOMEM;
    }
    if (error == 0) {
        sim->frame_count = (uint32_t)total;
        error = hmm_sim_memory_init(sim);
        if (error != 0)
            hmm_sim_memory_free(sim);
    }
    if (error == 0) {
        sim->config = *config;
        sim->stopped = false;
        sim->is_open = true;
        fill_info(sim, info);
    }
    HMM_SIM_NOTE(sim, EVENT_OPEN, config->frames, total, (uint64_t)error);
    return error;
}

/* What close requires. */
static void check_close(struct hmm_sim *sim)
{
    if (!sim->is_open)
        hmm_sim_violation(sim, "close: the port is not open");
    if (sim->table.live != 0)
        hmm_sim_violation(sim, "close: %" PRIu32 " pages are lent",
                          sim->table.live);
    for (unsigned i = 0; i < sim->options.spaces; i++)
        if (sim->spaces[i].count != 0)
            hmm_sim_violation(sim,
                              "close: %#" PRIxPTR " of space %u is "
                              "reserved",
                              sim->spaces[i].ranges[0].start << sim->page_shift,
                              i);
    if (sim->self->cookie != 0)
        hmm_sim_violation(sim, "close: in a critical section");
    for (size_t i = 0; i < sim->thread_count; i++)
        if (!sim->threads[i]->application)
            hmm_sim_violation(sim, "close: thread %" PRIu64 " is not joined",
                              sim->threads[i]->id);
}

static void free_spaces(struct hmm_sim *sim)
{
    for (unsigned i = 0; sim->spaces != NULL && i < sim->options.spaces; i++) {
        free(sim->spaces[i].ranges);
        sim->spaces[i] = (struct hmm_sim_space){.ranges = NULL};
    }
}

static void sim_close(struct hurdmm_port *port)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    check_close(sim);
    hmm_sim_memory_free(sim);
    free_spaces(sim);
    sim->is_open = false;
    sim->stats.frames_lent = 0;
    sim->stats.mappings = 0;
    sim->stats.core_bytes = 0;
    HMM_SIM_NOTE(sim, EVENT_CLOSE, 0);
}

static bool good_options(const struct hurdmm_sim_options *options)
{
    uint64_t frames = 0;
    if ((options->page_size & (options->page_size - 1)) != 0 ||
        options->page_size < PAGE_SIZE_MIN ||
        options->bank_count > HURDMM_BANKS_MAX ||
        options->switch_permille > 1000 || options->spurious_permille > 1000 ||
        options->early_permille > 1000 || options->address_bits < 16 ||
        options->address_bits > sizeof(uintptr_t) * 8 ||
        options->spaces > UINT16_MAX)
        return false;
    for (unsigned i = 0; i < options->bank_count; i++) {
        frames += options->banks[i].frames;
        if (options->banks[i].frames == 0 ||
            (options->banks[i].base & (options->page_size - 1)) != 0)
            return false;
    }
    return frames < HURDMM_FRAME_NONE && options->frames < HURDMM_FRAME_NONE;
}

/* Copies the options, the older and shorter ones too, and puts the defaults
 * in. */
static int take_options(struct hmm_sim *sim,
                        const struct hurdmm_sim_options *options)
{
    struct hurdmm_sim_options *own = &sim->options;
    size_t size = options == NULL ? 0 : options->struct_size;
    if (options != NULL && (size == 0 || size > sizeof *own))
        return EINVAL;
    if (size > 0)
        memcpy(own, options, size);
    if (own->page_size == 0)
        own->page_size = DEFAULT_PAGE_SIZE;
    if (own->spaces == 0)
        own->spaces = 1;
    if (own->address_bits == 0)
        own->address_bits = sizeof(uintptr_t) * 8;
    if (!good_options(own))
        return EINVAL;
    if (own->bank_count > 0)
        memcpy(sim->banks, own->banks, own->bank_count * sizeof *own->banks);
    own->banks = NULL;
    return 0;
}

/* What follows from the options. */
static void derive(struct hmm_sim *sim)
{
    const struct hurdmm_sim_options *options = &sim->options;
    while (options->page_size >> sim->page_shift != 1)
        sim->page_shift++;
    sim->low = LOW_PAGES << sim->page_shift;
    sim->high = UINTPTR_MAX;
    if (options->address_bits < sizeof(uintptr_t) * 8)
        sim->high = ((uintptr_t)1 << options->address_bits) - 1;
    sim->features = DEFAULT_FEATURES;
    if (options->spaces > 1)
        sim->features |= HURDMM_PORT_SPACES;
    sim->features = (sim->features | options->offer) & ~options->hide;
    sim->hash = options->seed;
}

int hurdmm_sim_create(const struct hurdmm_sim_options *options,
                      struct hurdmm_port **port)
{
    struct hmm_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return ENOMEM;
    sim->port.ops = &sim_ops;
    int error = take_options(sim, options);
    if (error == 0) {
        derive(sim);
        if (sim->low >= sim->high)
            error = EINVAL;
    }
    if (error == 0) {
        sim->spaces = calloc(sim->options.spaces, sizeof *sim->spaces);
        error = sim->spaces == NULL ? ENOMEM : hmm_sim_threads_init(sim);
    }
    if (error != 0) {
        free(sim->spaces);
        free(sim);
        return error;
    }
    *port = &sim->port;
    return 0;
}

void hurdmm_sim_destroy(struct hurdmm_port *port)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_memory_free(sim);
    free_spaces(sim);
    free(sim->spaces);
    hmm_sim_threads_free(sim);
    free(sim);
}
