/* SPDX-License-Identifier: MIT */
/* Worlds for tests.  See world.h. */
#include <stdio.h>

#include "tests/core/world.h"

uint8_t world_byte(uint64_t offset)
{
    return (uint8_t)(offset * 31 + (offset >> 8) * 17 + 3);
}

static void note_log(void *hook, const char *message)
{
    struct world *world = hook;
    if (world->logged < 8)
        snprintf(world->log[world->logged], sizeof world->log[0], "%s",
                 message);
    world->logged++;
}

static void make_machine(struct world *world,
                         const struct world_options *options)
{
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .seed = options->seed,
        .page_size = options->page,
        .address_bits = options->address_bits,
        .spaces = options->spaces,
        .offer = options->offer,
        .hide = options->hide,
        .mappings_max = options->mappings,
        .flags =
            HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK | options->machine_flags,
        .schedule = options->seed != 0 ? HURDMM_SIM_RANDOM : HURDMM_SIM_FAIR,
    };
    ck_assert_int_eq(hurdmm_sim_create(&machine, &world->port), 0);
}

void world_begin(struct world *world, const struct world_options *given)
{
    static const struct world_options ordinary;
    struct world_options options = given != NULL ? *given : ordinary;
    if (options.page == 0)
        options.page = WORLD_PAGE;
    if (options.frames == 0)
        options.frames = 32;
    if (options.readahead_pages == 0)
        options.readahead_pages = 1;
    memset(world, 0, sizeof *world);
    make_machine(world, &options);
    struct hurdmm_options manager = {
        .struct_size = sizeof manager,
        .port = world->port,
        .budget = options.frames * options.page,
        .dirty_limit = options.dirty_pages * options.page,
        .pin_limit = options.pin_pages * options.page,
        .flags = options.manager_flags,
        .readahead = options.readahead_pages * options.page,
        .policy = options.policy,
        .seed = 1,
        .log = note_log,
        .hook = world,
    };
    ck_assert_int_eq(hurdmm_create(&manager, &world->manager), 0);
    world->page = hurdmm_page_size(world->manager);
    ck_assert_uint_eq(world->page, options.page);
    world->space = hurdmm_space_own(world->manager);
    ck_assert_ptr_nonnull(world->space);
}

void world_check(struct world *world)
{
    const char *what = "nothing";
    int error = hurdmm_check(world->manager, &what);
    ck_assert_msg(error == 0, "hurdmm_check: %s (%d)", what, error);
    ck_assert_msg(hurdmm_sim_violations(world->port, &what) == 0,
                  "the port was misused: %s", what);
    for (unsigned i = 0; i < world->disk_count; i++)
        ck_assert_msg(world->disks[i].complaint == NULL, "disk %u: %s", i,
                      world->disks[i].complaint);
}

void world_end(struct world *world)
{
    const char *what = "nothing";
    world_check(world);
    for (unsigned i = 0; i < world->disk_count; i++)
        world->disks[i].script.nth = 0;
    (void)hurdmm_sync_all(world->manager);
    ck_assert_int_eq(hurdmm_destroy(world->manager, HURDMM_DETACH), 0);
    ck_assert_msg(hurdmm_sim_violations(world->port, &what) == 0,
                  "the port was misused: %s", what);
    for (unsigned i = 0; i < world->disk_count; i++) {
        ck_assert_uint_eq(world->disks[i].destroys, 1);
        free(world->bytes[i]);
    }
    hurdmm_sim_destroy(world->port);
}

struct disk *world_disk_of(struct world *world, uint64_t size, size_t block,
                           unsigned flags, enum disk_mode mode)
{
    ck_assert_uint_lt(world->disk_count, WORLD_DISKS);
    unsigned number = world->disk_count++;
    struct disk *disk = &world->disks[number];
    uint64_t capacity = WORLD_DISK_PAGES * (uint64_t)world->page;
    if (capacity < size)
        capacity = size;
    uint8_t *bytes = malloc((size_t)capacity);
    ck_assert_ptr_nonnull(bytes);
    for (uint64_t i = 0; i < capacity; i++)
        bytes[i] = world_byte(i);
    world->bytes[number] = bytes;
    disk_init(disk, world->port, world->page, bytes, capacity);
    disk->mode = mode;
    ck_assert_int_eq(disk_open(disk, world->manager, size, block, flags), 0);
    return disk;
}

struct disk *world_disk(struct world *world, uint64_t size, unsigned flags)
{
    return world_disk_of(world, size, 0, flags, DISK_SIMPLE);
}

int world_try_bind(struct world *world, struct disk *disk, uint64_t offset,
                   size_t length, uintptr_t want, unsigned rights,
                   unsigned flags, uintptr_t *address)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world->space,
        .store = disk != NULL ? disk->store : NULL,
        .offset = offset,
        .address = want,
        .length = length,
        .rights = rights,
        .flags = flags,
    };
    return hurdmm_bind(&bind, address);
}

uintptr_t world_bind(struct world *world, struct disk *disk, uint64_t offset,
                     size_t length)
{
    uintptr_t address = 0;
    ck_assert_int_eq(world_try_bind(world, disk, offset, length, 0,
                                    HURDMM_READ | HURDMM_WRITE, 0, &address),
                     0);
    ck_assert_uint_ne(address, 0);
    return address;
}

int world_load(struct world *world, uintptr_t address, uint8_t *value)
{
    return hurdmm_sim_read(world->port, NULL, address, value, 1);
}

int world_store(struct world *world, uintptr_t address, uint8_t value)
{
    return hurdmm_sim_write(world->port, NULL, address, &value, 1);
}

struct hurdmm_stats world_stats(struct world *world)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(hurdmm_get_stats(world->manager, &stats), 0);
    return stats;
}

unsigned world_state(struct disk *disk, uint64_t offset)
{
    unsigned state = 0;
    ck_assert_int_eq(hurdmm_store_state(disk->store, offset, &state, NULL), 0);
    return state;
}

void world_spawn(struct world *world, void (*body)(void *), void *argument)
{
    ck_assert_int_eq(hurdmm_sim_spawn(world->port, body, argument, NULL), 0);
}

void world_run(struct world *world)
{
    ck_assert_int_eq(hurdmm_sim_run(world->port), 0);
}

static void access_body(void *argument)
{
    struct world_access *access = argument;
    if (access->write)
        access->error =
            world_store(access->world, access->address, access->value);
    else
        access->error =
            world_load(access->world, access->address, &access->value);
    access->done = true;
}

void world_access(struct world_access *access)
{
    access->done = false;
    world_spawn(access->world, access_body, access);
}
