/* SPDX-License-Identifier: MIT */
/*
 * Runs compressed files under the model: each disk's first contents are a
 * compressed file too, in frames of odd lengths.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <hurdmm/zstd.h>

#include "modules/zstd/writer.h"
#include "tests/core/disk.h"

static void end(struct disk *disk)
{
    (void)hurdmm_store_destroy(disk->shadow, HURDMM_DROP);
    disk->shadow = NULL;
}

static FILE *file_with(const void *bytes, size_t length)
{
    FILE *file = tmpfile();

    if (!file || fwrite(bytes, 1, length, file) != length ||
        fflush(file) != 0 || fseek(file, 0, SEEK_SET) != 0)
        abort();
    return file;
}

static bool make(struct disk *disk, struct hurdmm *manager)
{
    static unsigned number;
    struct hurdmm_zstd_options options = {.struct_size = sizeof options,
                                          .frames_cached = 1 + number % 3};
    size_t frame = disk->page / 2 + number % 7 * disk->page + number % 50;
    FILE *plain = file_with(disk->bytes, (size_t)disk->capacity);
    FILE *packed = file_with("", 0);
    struct zst_written written;
    int error;

    number++;
    if (hmm_zst_write(fileno(plain), fileno(packed), frame, 1, &written) != 0)
        abort();
    error =
        hurdmm_zstd_create(manager, fileno(packed), &options, 0, &disk->shadow);
    fclose(plain);
    fclose(packed);
    if (error != 0)
        disk->shadow = NULL;
    return error == 0;
}

static const struct disk_shadow shadows = {make, end};

__attribute__((constructor)) static void choose(void)
{
    disk_shadow = &shadows;
}
