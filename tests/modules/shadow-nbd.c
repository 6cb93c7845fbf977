/* SPDX-License-Identifier: MIT */
/*
 * Runs network block devices under the model: what each disk gets goes to a
 * store on a device that nbdkit serves, too.  Pages are no smaller than its
 * blocks (MODEL_PAGE_MIN).
 *
 * The first process runs the server, which is memory without end; each process
 * that runs sequences has a device of its own and an area there, and each disk a
 * part of that.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <hurdmm/nbd.h>

#include "tests/core/disk.h"
#include "tests/modules/server.h"

#define PART ((uint64_t)128 << 10) /* no disk is longer */
#define PARTS 256u                 /* more than there are disks at once */
/* Slow is not wrong: the engine sees to what hangs. */
#define PATIENCE_NS UINT64_C(3600000000000)

static struct server server;
static pid_t server_owner;
static struct hurdmm_block *device;
static unsigned part;

static void end(struct disk *disk)
{
    (void)hurdmm_store_destroy(disk->shadow, HURDMM_DROP);
    disk->shadow = NULL;
    free(disk->shadow_hook);
}

static void connect_device(void)
{
    struct hurdmm_nbd_options options = {.struct_size = sizeof options,
                                         .socket_path = server.socket,
                                         .timeout_ns = PATIENCE_NS};

    if (!device && hurdmm_nbd_create(&options, &device) != 0)
        abort();
}

static bool make(struct disk *disk, struct hurdmm *manager)
{
    struct hurdmm_slice *slice = malloc(sizeof *slice);
    uint64_t at = ((uint64_t)getpid() * PARTS + part++ % PARTS) * PART;
    int error;

    connect_device();
    if (!slice || disk->capacity > PART ||
        hurdmm_slice_init(slice, device, at, disk->capacity) != 0)
        abort();
    disk->shadow_hook = slice;
    error = hurdmm_block_store_create(manager, &slice->block, 0, 0, 0,
                                      &disk->shadow);
    if (error == 0)
        return true;
    disk->shadow = NULL;
    free(slice);
    return false;
}

static const struct disk_shadow shadows = {make, end};

__attribute__((constructor)) static void choose(void)
{
    if (!server_installed()) {
        printf("SKIP: nbdkit is not installed\n"
               "tests/modules/model-nbd: 0 passed, 0 failed, 1 skipped\n");
        exit(77);
    }
    server_owner = getpid();
    server_begin(&server);
    server_start(&server, "memory", "1P", NULL);
    disk_shadow = &shadows;
}

__attribute__((destructor)) static void leave(void)
{
    if (server_owner == getpid())
        server_end(&server);
}
