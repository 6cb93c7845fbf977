/* SPDX-License-Identifier: MIT */
/* A machine with a store on a block device.  See rig.h. */
#include "tests/block/rig.h"

static struct rig_options complete(const struct rig_options *given)
{
    struct rig_options options = {0};

    if (given)
        options = *given;
    if (options.page == 0)
        options.page = 256;
    if (options.frames == 0)
        options.frames = 32;
    if (options.blocks == 0)
        options.blocks = 128;
    if (options.block == 0)
        options.block = 64;
    if (options.readahead == 0)
        options.readahead = 1;
    return options;
}

void rig_machine(struct rig *rig, const struct rig_options *given)
{
    struct rig_options options = complete(given);
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .seed = options.seed,
        .page_size = options.page,
        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK,
        .schedule = options.seed != 0 ? HURDMM_SIM_RANDOM : HURDMM_SIM_FAIR,
    };
    struct hurdmm_options manager = {
        .struct_size = sizeof manager,
        .budget = options.frames * options.page,
        .readahead = options.readahead * options.page,
        .flags = options.manager_flags,
        .seed = 1,
    };

    memset(rig, 0, sizeof *rig);
    ck_assert_int_eq(hurdmm_sim_create(&machine, &rig->port), 0);
    manager.port = rig->port;
    ck_assert_int_eq(hurdmm_create(&manager, &rig->manager), 0);
}

/* ---- A device that does requests by itself ---- */

static void serve(void *argument)
{
    struct rig *rig = argument;

    for (;;) {
        uint32_t seen = rig->device.work;

        if (!rig->device.first) {
            if (rig->over)
                return;
            (void)rig->port->ops->park(rig->port, &rig->device.work, seen,
                                       HURDMM_FOREVER);
            continue;
        }
        for (unsigned i = 0; i < rig->served; i++)
            hurdmm_sim_yield(rig->port);
        (void)device_serve(&rig->device);
    }
}

static void wake_server(struct device *device)
{
    struct rig *rig =
        (struct rig *)(void *)((char *)device - offsetof(struct rig, device));

    rig->port->ops->wake(rig->port, &device->work, 1);
}

static void begin_serving(struct rig *rig, unsigned served)
{
    rig->served = served;
    rig->device.woken = wake_server;
    ck_assert_int_eq(
        rig->port->ops->thread_start(rig->port, serve, rig, &rig->server), 0);
}

static void end_serving(struct rig *rig)
{
    rig->over = true;
    rig->device.work++;
    wake_server(&rig->device);
    ck_assert_int_eq(rig->port->ops->thread_join(rig->port, rig->server), 0);
    ck_assert(!rig->device.first);
}

void rig_begin(struct rig *rig, const struct rig_options *given,
               struct hurdmm_block *block)
{
    struct rig_options options = complete(given);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };

    rig_machine(rig, given);
    if (options.served) {
        device_init_served(&rig->device, options.blocks, options.block);
        begin_serving(rig, options.served);
    } else {
        device_init(&rig->device, options.blocks, options.block);
    }
    ck_assert_int_eq(hurdmm_block_store_create(
                         rig->manager, block ? block : &rig->device.block,
                         options.offset, options.size,
                         options.flags | HURDMM_STORE_SHARED, &rig->store),
                     0);
    rig->size = hurdmm_store_size(rig->store);
    bind.space = hurdmm_space_own(rig->manager);
    bind.store = rig->store;
    bind.length = (size_t)((rig->size + options.page - 1) &
                           ~(uint64_t)(options.page - 1));
    if (options.flags & HURDMM_STORE_READ_ONLY)
        bind.rights = HURDMM_READ;
    ck_assert_int_eq(hurdmm_bind(&bind, &rig->at), 0);
}

void rig_check(struct rig *rig)
{
    const char *what = "nothing";
    int error = hurdmm_check(rig->manager, &what);

    ck_assert_msg(error == 0, "hurdmm_check: %s (%d)", what, error);
    ck_assert_msg(hurdmm_sim_violations(rig->port, &what) == 0,
                  "the port was misused: %s", what);
    ck_assert_msg(!rig->device.complaint, "the device was misused: %s",
                  rig->device.complaint);
}

void rig_end(struct rig *rig)
{
    rig_check(rig);
    rig->device.fail_nth = 0;
    rig->device.bad_count = 0;
    (void)hurdmm_sync_all(rig->manager); /* tells what went wrong before */
    if (rig->served)
        end_serving(rig);
    ck_assert_int_eq(hurdmm_destroy(rig->manager, HURDMM_DETACH), 0);
    hurdmm_sim_destroy(rig->port);
    device_end(&rig->device);
}

int rig_get(struct rig *rig, uint64_t offset, uint8_t *value)
{
    return hurdmm_sim_read(rig->port, NULL, rig->at + (uintptr_t)offset, value,
                           1);
}

int rig_put(struct rig *rig, uint64_t offset, uint8_t value)
{
    return hurdmm_sim_write(rig->port, NULL, rig->at + (uintptr_t)offset,
                            &value, 1);
}

int rig_sync(struct rig *rig)
{
    return hurdmm_store_sync(rig->store, 0, HURDMM_WHOLE, HURDMM_WAIT);
}

int rig_return(struct rig *rig)
{
    return hurdmm_store_return(rig->store, 0, HURDMM_WHOLE, HURDMM_WAIT);
}
