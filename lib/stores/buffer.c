/* SPDX-License-Identifier: MIT */
/*
 * The buffer store: memory of the program.  No page of it is read and written at
 * once, so there are no locks.
 *
 * What lies behind the memory is not ours, whatever length the store was given
 * since it was made: each transfer is cut at `size' and fails with ENXIO there.
 */
#include <hurdmm/compose.h>
#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "lib/stores/private.h"

struct buffer {
    struct hurdmm *manager;
    char *memory; /* the caller's */
    size_t size;  /* bytes of it */
};

/* How much of a row lies in the memory; ENXIO where that is not all. */
static int clip(const struct buffer *buffer, uint64_t offset, size_t length,
                size_t *done)
{
    *done = 0;
    if (offset >= buffer->size)
        return ENXIO;
    *done = buffer->size - (size_t)offset;
    if (*done < length)
        return ENXIO;
    *done = length;
    return 0;
}

static int buffer_page_in(struct hurdmm_store *store, void *hook,
                          uint64_t offset, void *to, size_t length,
                          size_t *done)
{
    const struct buffer *buffer = hook;
    int error = clip(buffer, offset, length, done);

    (void)store;
    if (*done > 0)
        memcpy(to, buffer->memory + offset, *done);
    return error;
}

static int buffer_page_out(struct hurdmm_store *store, void *hook,
                           uint64_t offset, const void *from, size_t length,
                           size_t *done)
{
    const struct buffer *buffer = hook;
    int error = clip(buffer, offset, length, done);

    (void)store;
    if (*done > 0)
        memcpy(buffer->memory + offset, from, *done);
    return error;
}

static void buffer_destroy(void *hook)
{
    struct buffer *buffer = hook;

    hurdmm_deallocate(buffer->manager, buffer, sizeof *buffer);
}

static const struct hurdmm_store_ops buffer_ops = {
    .struct_size = sizeof buffer_ops,
    .page_in = buffer_page_in,
    .page_out = buffer_page_out,
    .destroy = buffer_destroy,
};

int hurdmm_buffer_create(struct hurdmm *manager, void *memory, size_t size,
                         unsigned flags, struct hurdmm_store **result)
{
    const unsigned known =
        HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED | HURDMM_STORE_NO_STEAL;
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "buffer",
        .size = size,
        .flags = flags | HURDMM_STORE_SIGNAL_SAFE,
    };
    struct buffer *buffer;
    void *room;
    int error;

    if (!manager || !memory || !result || (flags & ~known) != 0)
        return EINVAL;
    error = hurdmm_allocate(manager, sizeof *buffer, &room);
    if (error != 0)
        return error;
    buffer = room;
    *buffer = (struct buffer){manager, memory, size};
    options.hook = buffer;
    error = hurdmm_store_create(manager, &buffer_ops, &options, result);
    if (error != 0)
        buffer_destroy(buffer);
    return error;
}
