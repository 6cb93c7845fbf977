/* SPDX-License-Identifier: MIT */
/*
 * Runs compressed memory under the model: what each disk gets goes to a
 * compressed store with a small arena and a swap space too.
 */
#include <stdlib.h>

#include <hurdmm/compressed.h>

#include "tests/core/disk.h"

#define ARENA_PAGES 6u

struct shadow {
    struct hurdmm_ramdisk ramdisk;
    struct hurdmm_swap *swap;
    void *bytes;
};

static void end(struct disk *disk)
{
    struct shadow *shadow = disk->shadow_hook;

    if (disk->shadow)
        (void)hurdmm_store_destroy(disk->shadow, HURDMM_DROP);
    disk->shadow = NULL;
    if (shadow->swap)
        (void)hurdmm_swap_destroy(shadow->swap);
    free(shadow->bytes);
    free(shadow);
}

/* Every other disk has no swap space, but an arena in which all fits. */
static bool make(struct disk *disk, struct hurdmm *manager)
{
    static unsigned number;
    size_t room = ((size_t)(disk->capacity / disk->page) + 1) * disk->page;
    struct hurdmm_compressed_options options = {
        .struct_size = sizeof options, .arena = ARENA_PAGES * disk->page};
    struct shadow *shadow = calloc(1, sizeof *shadow);
    int error = 0;

    if (!shadow)
        return false;
    disk->shadow_hook = shadow;
    shadow->bytes = malloc(room);
    if (number++ % 2 == 0) {
        options.arena = 3 * room + 16 * (disk->page + 16);
    } else {
        if (hurdmm_ramdisk_init(&shadow->ramdisk, shadow->bytes, room,
                                disk->page, 0) != 0)
            abort();
        error =
            hurdmm_swap_create(manager, &shadow->ramdisk.block, &shadow->swap);
        options.swap = shadow->swap;
    }
    if (error == 0)
        error = hurdmm_compressed_create(manager, &options, disk->capacity, 0,
                                         &disk->shadow);
    if (error != 0)
        end(disk);
    return error == 0;
}

static const struct disk_shadow shadows = {make, end};

__attribute__((constructor)) static void choose(void)
{
    disk_shadow = &shadows;
}
