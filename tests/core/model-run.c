/* SPDX-License-Identifier: MIT */
/* From a seed to a sequence, and from a sequence to a verdict. */
#include <string.h>

#include <hurdmm/error.h>

#include "tests/core/model.h"

static const unsigned char weights[OP_KINDS] = {
    [OP_BIND] = 14,      [OP_UNBIND] = 4,       [OP_PROTECT] = 5,
    [OP_ADVISE] = 3,     [OP_LOAD] = 14,        [OP_STORE] = 16,
    [OP_STORE_READ] = 5, [OP_STORE_WRITE] = 6,  [OP_READ] = 4,
    [OP_WRITE] = 5,      [OP_VERB] = 7,         [OP_VERB_ADDRESS] = 3,
    [OP_DISCARD] = 2,    [OP_SYNC_ALL] = 1,     [OP_POPULATE] = 3,
    [OP_PIN] = 3,        [OP_UNPIN] = 3,        [OP_RESIZE] = 3,
    [OP_BUDGET] = 2,     [OP_SUPPLY] = 2,       [OP_CACHE] = 2,
    [OP_CONTAINER] = 1,  [OP_STORE_ADVISE] = 2, [OP_DESTROY] = 2,
    [OP_CREATE] = 3,     [OP_FAIL_DISK] = 3,    [OP_FAIL_PORT] = 2,
    [OP_CALM] = 4,       [OP_CATCH] = 2,        [OP_UNCATCH] = 1,
    [OP_BURST] = 5,      [OP_SETTLE] = 2,       [OP_INSPECT] = 2,
    [OP_VERIFY] = 1,     [OP_SCAN] = 12,
};

void model_config_make(struct model_config *config, uint64_t seed)
{
    static const size_t pages[] = {64, 64, 64, 64, 128, 256, 512, 1024};
    static const struct hurdmm_policy_ops *const policies[] = {
        &hurdmm_policy_default, &hurdmm_policy_default, &hurdmm_policy_clock,
        &hurdmm_policy_random};
    struct hmm_rand rand;
    hmm_rand_init(&rand, seed ^ UINT64_C(0x636f6e666967));
    *config = (struct model_config){.seed = seed};
    config->page = pages[hmm_rand_below(&rand, 8)];
    if (hmm_rand_below(&rand, 64) == 0)
        config->page = 4096;
    if (config->page < MODEL_PAGE_MIN)
        config->page = MODEL_PAGE_MIN;
    config->frames = 16 + (unsigned)hmm_rand_below(&rand, 25);
    config->block_pages = 1u << hmm_rand_below(&rand, 3);
    config->readahead_pages = 1 + (unsigned)hmm_rand_below(&rand, 8);
    config->policy = policies[hmm_rand_below(&rand, 4)];
    if (hmm_rand_below(&rand, 3) == 0)
        config->hide |= HURDMM_PORT_REFERENCED;
    if (hmm_rand_below(&rand, 3) == 0)
        config->hide |= HURDMM_PORT_DIRTY;
    if (hmm_rand_below(&rand, 3) == 0)
        config->offer |= HURDMM_PORT_INLINE;
    if (hmm_rand_below(&rand, 6) == 0)
        config->offer |= HURDMM_PORT_OVERTAKES;
    if (seed % 8 == 7) {
        config->hide |= HURDMM_PORT_ALIAS;
        /* There an exact bind also depends on who answers faults nearby. */
        config->offer &= ~HURDMM_PORT_INLINE;
        if (seed % 16 == 15)
            config->offer |= HURDMM_PORT_LENDS_APART;
    }
    config->soft = seed % 4 == 1;
    config->no_threads = hmm_rand_below(&rand, 8) == 0;
    config->random_schedule = hmm_rand_below(&rand, 2) == 0;
    config->delay = (unsigned)hmm_rand_below(&rand, 3);
    if (hmm_rand_below(&rand, 4) == 0)
        config->dirty_pages = 2 + (unsigned)hmm_rand_below(&rand, 8);
    config->base = 0x100000;
    if (hmm_rand_below(&rand, 4) == 0) {
        /* The window ends with the last page of the space. */
        config->address_bits = 32;
        config->base =
            (uintptr_t)((UINT64_C(1) << 32) - MODEL_WINDOW * config->page);
    }
}

void model_config_print(const struct model_config *config, FILE *file)
{
    fprintf(
        file,
        "seed %#llx: page %zu, %u frames, blocks %u, readahead %u, hide "
        "%u, offer %u, soft %d,\n  threads %d, random schedule %d, delay %u, dirty "
        "%u, policy %s, base %#lx\n",
        (unsigned long long)config->seed, config->page, config->frames,
        config->block_pages, config->readahead_pages, config->hide,
        config->offer, config->soft, !config->no_threads,
        config->random_schedule, config->delay, config->dirty_pages,
        config->policy->name, (unsigned long)config->base);
}

static unsigned weight_of(unsigned kind)
{
    return weights[kind];
}

unsigned model_ops_make(struct model_op *ops, uint64_t seed, unsigned steps)
{
    struct hmm_rand rand;
    hmm_rand_init(&rand, seed);
    unsigned count = steps / 2 + (unsigned)hmm_rand_below(&rand, steps);
    if (count > MODEL_OPS)
        count = MODEL_OPS;
    model_ops_draw(ops, count, &rand, OP_KINDS, weight_of);
    return count;
}

/* The library's work in a manager without threads of its own. */
static void drive(void *argument)
{
    struct model *model = argument;
    while (!model->stop)
        (void)hurdmm_process(model->manager, 100000, NULL);
    model->stop = false;
}

static void print_event(void *client, const char *line)
{
    (void)client;
    printf("        | %s\n", line);
    fflush(stdout);
}

static int make_machine(struct model *model)
{
    const struct model_config *config = &model->config;
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .seed = config->seed,
        .page_size = config->page,
        .address_bits = config->address_bits,
        .offer = config->offer,
        .hide = config->hide,
        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK |
                 (config->soft ? HURDMM_SIM_SOFT : 0),
        .schedule =
            config->random_schedule ? HURDMM_SIM_RANDOM : HURDMM_SIM_FAIR,
        .stack_size = 64 * 1024,
        .trace = config->trace ? print_event : NULL,
    };
    int error = hurdmm_sim_create(&machine, &model->port);
    if (error != 0)
        return error;
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .port = model->port,
        .budget = config->frames * config->page,
        .dirty_limit = config->dirty_pages * config->page,
        .flags = config->no_threads ? HURDMM_NO_THREADS : 0,
        .readahead = config->readahead_pages * config->page,
        .policy = config->policy,
        .seed = config->seed,
    };
    error = hurdmm_create(&options, &model->manager);
    if (error != 0)
        return error;
    model->page = hurdmm_page_size(model->manager);
    model->budget = options.budget;
    model->space = hurdmm_space_own(model->manager);
    if (config->no_threads)
        error = hurdmm_sim_spawn(model->port, drive, model, NULL);
    return error;
}

static void begin(struct model *model)
{
    struct hmm_rand rand;
    hmm_rand_init(&rand, model->config.seed + 1);
    int error = make_machine(model);
    for (int i = 0; i < MODEL_STORES && error == 0; i++)
        error = model_create_store(model, i,
                                   (unsigned)hmm_rand_next(&rand) % 0x10000);
    if (error == 0)
        error = hurdmm_container_create(model->manager, &model->container);
    if (error != 0)
        model_fail(model, "the beginning failed: %d", error);
}

/* What must hold after each step. */
static void check(struct model *model)
{
    const char *what = "nothing";
    int error = hurdmm_check(model->manager, &what);
    if (error != 0)
        model_fail(model, "hurdmm_check: %s (%d)", what, error);
    if (hurdmm_sim_violations(model->port, &what) != 0)
        model_fail(model, "the port was misused: %s", what);
    for (int i = 0; i < MODEL_STORES; i++) {
        if (model->stores[i].disk.complaint != NULL)
            model_fail(model, "store %d: %s", i,
                       model->stores[i].disk.complaint);
    }
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    if (hurdmm_get_stats(model->manager, &stats) != 0 ||
        stats.frames_used > stats.frames_budget ||
        stats.frames_used + stats.frames_free != stats.frames_budget)
        model_fail(model, "%llu frames used, %llu free, of %llu",
                   (unsigned long long)stats.frames_used,
                   (unsigned long long)stats.frames_free,
                   (unsigned long long)stats.frames_budget);
}

static void step(struct model *model, const struct model_op *op)
{
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(model->port, &stats);
    model->port_failures = stats.failures;
    for (int i = 0; i < MODEL_STORES; i++) {
        model_note(model, i, false, 0, "");
        const struct disk *disk = &model->stores[i].disk;
        model->read_failures[i] = disk->read_failures;
        model->write_failures[i] = disk->write_failures;
        model->disk_failures[i] = disk->failures;
    }
    model->kind = (enum model_kind)op->kind;
    model_do(model, op);
}

/* Everything works again, and the library must have lost nothing. */
static void recover(struct model *model)
{
    const struct model_op calm = {.kind = OP_CALM};
    const struct model_op unpin = {.kind = OP_UNPIN, .arg = {0, 1}};
    const struct model_op sync = {.kind = OP_SYNC_ALL};
    const struct model_op verify = {.kind = OP_VERIFY};
    const struct model_op inspect = {.kind = OP_INSPECT};
    step(model, &calm);
    if (model->container_pages > 0) {
        const struct model_op give = {.kind = OP_CONTAINER};
        step(model, &give);
    }
    while (model->pin_count > 0 && model->failure[0] == '\0')
        step(model, &unpin);
    step(model, &verify);
    step(model, &sync);
    step(model, &verify);
    step(model, &inspect);
    /* All errors were told of; this one must go well. */
    hurdmm_sim_settle(model->port);
    (void)hurdmm_sync_all(model->manager);
    int error = hurdmm_sync_all(model->manager);
    if (error != 0)
        model_fail(model, "sync_all ends with %d though nothing fails", error);
    for (int i = 0; i < MODEL_STORES; i++)
        model->stores[i].stuck = false;
    step(model, &verify);
}

static void end_driver(struct model *model)
{
    if (!model->config.no_threads)
        return;
    model->stop = true;
    while (model->stop)
        hurdmm_sim_sleep(model->port, 100000);
}

static void end(struct model *model)
{
    unsigned step_count = model->step;
    model->kind = OP_KINDS;
    for (int i = 0; i < MODEL_STORES; i++) {
        while (model->stores[i].exists && model->stores[i].disk.in_flight > 0)
            hurdmm_sim_sleep(model->port, 10000);
    }
    end_driver(model);
    for (unsigned i = 0; i < model->catcher_count; i++)
        (void)hurdmm_uncatch(model->space, model->catchers[i].address);
    int error = hurdmm_container_destroy(model->container);
    if (error == 0)
        error = hurdmm_destroy(model->manager, HURDMM_DETACH);
    model->step = step_count;
    if (error != 0)
        model_fail(model, "hurdmm_destroy: %d", error);
    for (int i = 0; i < MODEL_STORES; i++) {
        const struct model_store *store = &model->stores[i];
        if (store->exists && store->disk.destroys != 1)
            model_fail(model, "store %d was ended %u times", i,
                       store->disk.destroys);
    }
    const char *what;
    if (hurdmm_sim_violations(model->port, &what) != 0)
        model_fail(model, "the port was misused: %s", what);
}

static struct model model;

const char *model_run(const struct model_config *config,
                      const struct model_op *ops, unsigned count, bool verbose)
{
    size_t head = offsetof(struct model, stores);
    memset(&model, 0, head);
    for (int i = 0; i < MODEL_STORES; i++) {
        size_t fixed = offsetof(struct model_store, bytes);
        memset(&model.stores[i], 0, fixed);
    }
    memset(&model.regions, 0, sizeof model - offsetof(struct model, regions));
    model.config = *config;
    model.verbose = verbose;
    model.kind = OP_KINDS;
    begin(&model);
    for (unsigned i = 0; i < count && model.failure[0] == '\0'; i++) {
        model.step = i;
        step(&model, &ops[i]);
        if (model.failure[0] == '\0')
            check(&model);
    }
    model.step = count;
    if (model.failure[0] == '\0')
        recover(&model);
    if (model.failure[0] == '\0')
        check(&model);
    if (model.failure[0] == '\0')
        end(&model);
    if (model.port != NULL)
        hurdmm_sim_destroy(model.port);
    return model.failure[0] == '\0' ? NULL : model.failure;
}
