/* SPDX-License-Identifier: MIT */
/*
 * A compressed file as a store.
 *
 * A frame is the unit of decompression, a page that of the cache: a page takes
 * its bytes from one frame or more.  A run that covers a frame wholly is decoded
 * where it shall be; else the frame is decoded into a slot, and the pages that
 * are asked for next are copied from there.
 *
 * Slots.  Choosing one needs `mutex' and never waits; using one needs its own
 * mutex, under which the file is read.  Where more threads come than there are
 * slots, some wait for a slot that will hold another frame first.
 *  1. `holds' (slot's mutex) is the frame that `plain' has, checked;
 *  2. `label' (mutex) is what whoever chose the slot last will leave there: a
 *     hint that brings those who want one frame to one slot;
 *  3. `users' (mutex) counts those who chose it and have not gone yet.
 *
 * Lock order: mutex is never held while a slot's is waited for.  Nothing is
 * allocated after the store was made.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <hurdmm/manager.h>
#include <hurdmm/zstd.h>

#include "modules/zstd/frames.h"

#define FRAME_NONE UINT32_MAX
#define FRAME_MAX_DEFAULT ((size_t)16 << 20)
#define SLOTS_DEFAULT 4u
#define SLOTS_MAX 64u

struct slot {
    uint32_t mutex;
    uint32_t users, label, holds;
    uint64_t used; /* when it was chosen last */
    struct zst_decoder decoder;
    unsigned char *plain;
};

struct zstd_store {
    struct hurdmm *manager;
    size_t page_size;
    struct zst_file file;
    uint32_t mutex;
    uint64_t clock;
    uint64_t decoded, failed, found;
    unsigned slot_count;
    struct slot slots[];
};

/* The slot that has the frame or is about to; else the idle one, or where none
 * is idle the one, that was not used for the longest time. */
static struct slot *choose(struct zstd_store *at, uint32_t frame)
{
    struct slot *best = &at->slots[0];

    for (unsigned i = 0; i < at->slot_count; i++) {
        struct slot *slot = &at->slots[i];
        bool idle = slot->users == 0, best_idle = best->users == 0;

        if (slot->label == frame)
            return slot;
        if (idle != best_idle ? idle : slot->used < best->used)
            best = slot;
    }
    return best;
}

/* `whole': the frame will not be left in the slot. */
static struct slot *take_slot(struct zstd_store *at, uint32_t frame, bool whole)
{
    struct slot *slot;

    hurdmm_mutex_lock(at->manager, &at->mutex);
    slot = choose(at, frame);
    slot->users++;
    slot->used = ++at->clock;
    if (!whole)
        slot->label = frame;
    hurdmm_mutex_unlock(at->manager, &at->mutex);
    hurdmm_mutex_lock(at->manager, &slot->mutex);
    return slot;
}

static void leave_slot(struct zstd_store *at, struct slot *slot, bool found,
                       int error)
{
    hurdmm_mutex_unlock(at->manager, &slot->mutex);
    hurdmm_mutex_lock(at->manager, &at->mutex);
    slot->users--;
    if (found)
        at->found++;
    else if (error == 0)
        at->decoded++;
    else
        at->failed++;
    hurdmm_mutex_unlock(at->manager, &at->mutex);
}

/* Copies `length' bytes from `start' on of a frame of `size' bytes. */
static int copy_frame(struct zstd_store *at, uint32_t frame, size_t size,
                      size_t start, void *to, size_t length)
{
    bool whole = length == size;
    struct slot *slot = take_slot(at, frame, whole);
    bool found = slot->holds == frame;
    int error = 0;

    if (!found && whole) {
        error = hmm_zst_decode(&slot->decoder, &at->file, frame, to);
    } else if (!found) {
        slot->holds = FRAME_NONE;
        error = hmm_zst_decode(&slot->decoder, &at->file, frame, slot->plain);
        if (error == 0)
            slot->holds = frame;
    }
    if (slot->holds == frame)
        memcpy(to, slot->plain + start, length);
    leave_slot(at, slot, found, error);
    return error;
}

static int zstd_page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                        void *buffer, size_t length, size_t *done)
{
    struct zstd_store *at = hook;
    const struct zst_entry *entries = at->file.index.entries;
    size_t finished = 0;
    int error = 0;

    (void)store;
    while (finished < length && error == 0) {
        uint64_t from = offset + finished;
        size_t part = length - finished;
        uint32_t frame;

        /* Whoever made the store longer than its file finds nothing there. */
        if (from >= hmm_zst_index_size(&at->file.index)) {
            error = ENXIO;
            break;
        }
        frame = hmm_zst_index_find(&at->file.index, from);
        if (entries[frame + 1].plain - from < part)
            part = (size_t)(entries[frame + 1].plain - from);
        error = copy_frame(
            at, frame,
            (size_t)(entries[frame + 1].plain - entries[frame].plain),
            (size_t)(from - entries[frame].plain), (char *)buffer + finished,
            part);
        if (error == 0)
            finished += part;
    }
    /* A page that lies in a good frame and a bad one is bad. */
    if (error != 0)
        finished -= finished % at->page_size;
    *done = finished;
    return error;
}

static size_t bytes_of(unsigned slots)
{
    return sizeof(struct zstd_store) + slots * sizeof(struct slot);
}

static void zstd_destroy(void *hook)
{
    struct zstd_store *at = hook;

    for (unsigned i = 0; i < at->slot_count; i++) {
        hmm_zst_decoder_end(&at->slots[i].decoder);
        free(at->slots[i].plain);
    }
    hmm_zst_file_close(&at->file);
    hurdmm_deallocate(at->manager, at, bytes_of(at->slot_count));
}

static const struct hurdmm_store_ops zstd_ops = {
    .struct_size = sizeof zstd_ops,
    .page_in = zstd_page_in,
    .destroy = zstd_destroy,
};

static int begin_slot(struct slot *slot, const struct zst_file *file)
{
    slot->label = FRAME_NONE;
    slot->holds = FRAME_NONE;
    slot->plain = malloc(file->index.plain_max + 1);
    if (!slot->plain)
        return ENOMEM;
    return hmm_zst_decoder_begin(&slot->decoder, file);
}

/* Opens the file and makes the slots; what was made is in *result also on
 * error. */
static int open_file(struct hurdmm *manager, int fd, size_t frame_max,
                     unsigned slots, struct zstd_store **result)
{
    struct zst_file file;
    void *memory;
    int error = hmm_zst_file_open(&file, fd, frame_max);

    if (error != 0)
        return error;
    error = hurdmm_allocate(manager, bytes_of(slots), &memory);
    if (error != 0) {
        hmm_zst_file_close(&file);
        return error;
    }
    *result = memory;
    (*result)->manager = manager;
    (*result)->page_size = hurdmm_page_size(manager);
    (*result)->file = file;
    (*result)->slot_count = slots;
    for (unsigned i = 0; i < slots && error == 0; i++)
        error = begin_slot(&(*result)->slots[i], &file);
    return error;
}

int hurdmm_zstd_create(struct hurdmm *manager, int fd,
                       const struct hurdmm_zstd_options *given, unsigned flags,
                       struct hurdmm_store **store)
{
    struct hurdmm_zstd_options limits = {.struct_size = sizeof limits};
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "zstd",
        .flags = flags | HURDMM_STORE_READ_ONLY,
    };
    struct zstd_store *at = NULL;
    int error;

    if (!manager || !store || (given && given->struct_size < sizeof *given))
        return EINVAL;
    if (given)
        limits = *given;
    if (limits.frames_cached > SLOTS_MAX ||
        (flags & ~(HURDMM_STORE_SHARED | HURDMM_STORE_READ_ONLY)) != 0)
        return EINVAL;
    if (hurdmm_page_size(manager) == 0)
        return ESTALE;
    error = open_file(
        manager, fd, limits.frame_max ? limits.frame_max : FRAME_MAX_DEFAULT,
        limits.frames_cached ? limits.frames_cached : SLOTS_DEFAULT, &at);
    if (error == 0) {
        options.hook = at;
        options.size = hmm_zst_index_size(&at->file.index);
        error = hurdmm_store_create(manager, &zstd_ops, &options, store);
    }
    if (error != 0 && at)
        zstd_destroy(at);
    return error;
}

int hurdmm_zstd_get_stats(struct hurdmm_store *store,
                          struct hurdmm_zstd_stats *stats)
{
    struct hurdmm_zstd_stats all;
    struct zstd_store *at;

    if (!store || !stats || stats->struct_size < sizeof *stats ||
        hurdmm_store_operations(store) != &zstd_ops)
        return EINVAL;
    at = hurdmm_store_hook(store);
    all.struct_size = stats->struct_size;
    hurdmm_mutex_lock(at->manager, &at->mutex);
    all.frames_decoded = at->decoded;
    all.frames_failed = at->failed;
    all.frames_found = at->found;
    hurdmm_mutex_unlock(at->manager, &at->mutex);
    all.frames = at->file.index.count;
    all.bytes = hmm_zst_index_size(&at->file.index);
    all.bytes_packed = at->file.size;
    *stats = all; /* it may fault: not with the mutex */
    return 0;
}
