/* SPDX-License-Identifier: MIT */
/*
 * Runs the stores that are made of others under the model: what each disk gets
 * goes to one of them too, by turns a tower of compositions, a copy, and
 * anonymous memory whose swap space reserves and checks.
 */
#include <stdlib.h>
#include <string.h>

#include <hurdmm/compose.h>
#include <hurdmm/error.h>
#include <hurdmm/stores.h>

#include "tests/core/disk.h"

#define PARTS 6
#define POOL 128 /* more than a sequence makes */

/* The parts, and what they lie on, go with the manager: where a store ends,
 * those that it stood on are still claimed.  So shadows are used again only when
 * POOL others have been made. */
struct shadow {
    struct hurdmm_store *parts[PARTS];
    unsigned count;
    struct hurdmm_ramdisk ramdisk;
    uint8_t *bytes;
};

static struct shadow pool[POOL];

static void end(struct disk *disk)
{
    if (disk->shadow && hurdmm_store_destroy(disk->shadow, HURDMM_DROP) != 0)
        abort();
    disk->shadow = NULL;
}

/* Notes a part that was made. */
static int part(struct shadow *shadow, int error, struct hurdmm_store **store)
{
    if (error == 0)
        shadow->parts[shadow->count++] = *store;
    return error;
}

static int buffer(struct shadow *shadow, struct hurdmm *manager,
                  uint64_t offset, uint64_t size)
{
    struct hurdmm_store *store;

    return part(shadow,
                hurdmm_buffer_create(manager, shadow->bytes + offset,
                                     (size_t)size, 0, &store),
                &store);
}

/* Half of it, backwards, in turns with the other half. */
static int make_tower(struct disk *disk, struct hurdmm *manager)
{
    struct shadow *shadow = disk->shadow_hook;
    uint64_t pages = disk->capacity / disk->page, half = pages / 2;
    size_t count = (size_t)half, page = disk->page;
    struct hurdmm_run *runs = calloc(count, sizeof *runs);
    struct hurdmm_store *stores[2], *made;
    int error = runs && pages % 4 == 0 ? 0 : ENOMEM;

    for (size_t i = 0; error == 0 && i < count; i++)
        runs[i] = (struct hurdmm_run){(count - 1 - i) * page, page};
    if (error == 0)
        error = buffer(shadow, manager, 0, half * page);
    if (error == 0)
        error = buffer(shadow, manager, half * page, half * page);
    if (error == 0)
        error = part(shadow,
                     hurdmm_remap_create(manager, shadow->parts[0], runs, count,
                                         0, &made),
                     &made);
    if (error == 0) {
        stores[0] = shadow->parts[2];
        stores[1] = shadow->parts[1];
        error =
            part(shadow,
                 hurdmm_stripe_create(manager, stores, 2, 2 * page, 0, &made),
                 &made);
    }
    if (error == 0)
        error = hurdmm_concat_create(manager, &shadow->parts[3], 1, 0,
                                     &disk->shadow);
    free(runs);
    return error;
}

static int make_copy(struct disk *disk, struct hurdmm *manager)
{
    struct shadow *shadow = disk->shadow_hook;
    uint64_t delta = hurdmm_copy_delta_size(disk->capacity, disk->page);
    int error = buffer(shadow, manager, 0, disk->capacity);

    if (error == 0)
        error = buffer(shadow, manager, disk->capacity, delta);
    if (error == 0)
        error = hurdmm_copy_create(manager, shadow->parts[0], shadow->parts[1],
                                   0, &disk->shadow);
    return error;
}

static int make_swapped(struct disk *disk, struct hurdmm *manager)
{
    struct shadow *shadow = disk->shadow_hook;
    struct hurdmm_swap_options options = {
        .struct_size = sizeof options,
        .block = &shadow->ramdisk.block,
        .checksum = hurdmm_checksum,
        .flags = HURDMM_SWAP_RESERVE,
    };
    struct hurdmm_swap *swap;
    int error = hurdmm_ramdisk_init(&shadow->ramdisk, shadow->bytes,
                                    2 * (size_t)disk->capacity, disk->page, 0);

    if (error == 0)
        error = hurdmm_swap_create_with(manager, &options, &swap);
    if (error == 0)
        error = hurdmm_anonymous_create(manager, swap, disk->capacity, 0,
                                        &disk->shadow);
    return error;
}

static bool make(struct disk *disk, struct hurdmm *manager)
{
    static int (*const kinds[])(struct disk * disk, struct hurdmm * manager) = {
        make_tower, make_copy, make_swapped};
    static unsigned number;
    struct shadow *shadow = &pool[number % POOL];
    int error;

    free(shadow->bytes);
    memset(shadow, 0, sizeof *shadow);
    shadow->bytes = calloc(3, (size_t)disk->capacity + 4 * disk->page);
    if (!shadow->bytes)
        abort();
    disk->shadow = NULL;
    disk->shadow_hook = shadow;
    error = kinds[number++ % 3](disk, manager);
    if (error != 0 && error != ENOMEM)
        abort();
    return error == 0;
}

static const struct disk_shadow shadows = {make, end};

__attribute__((constructor)) static void choose(void)
{
    disk_shadow = &shadows;
}
