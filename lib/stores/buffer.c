/* SPDX-License-Identifier: MIT */
/*
 * The buffer store: memory of the program.  The hook is the memory; no page of
 * it is read and written at once, so there are no locks.
 */
#include <hurdmm/compose.h>
#include <hurdmm/error.h>

#include "lib/stores/private.h"

static int buffer_page_in(struct hurdmm_store *store, void *hook,
                          uint64_t offset, void *buffer, size_t length,
                          size_t *done)
{
    store_assert(offset + length <= hurdmm_store_size(store));
    (void)store;
    memcpy(buffer, (const char *)hook + offset, length);
    *done = length;
    return 0;
}

static int buffer_page_out(struct hurdmm_store *store, void *hook,
                           uint64_t offset, const void *buffer, size_t length,
                           size_t *done)
{
    store_assert(offset + length <= hurdmm_store_size(store));
    (void)store;
    memcpy((char *)hook + offset, buffer, length);
    *done = length;
    return 0;
}

static const struct hurdmm_store_ops buffer_ops = {
    .struct_size = sizeof buffer_ops,
    .page_in = buffer_page_in,
    .page_out = buffer_page_out,
};

int hurdmm_buffer_create(struct hurdmm *manager, void *memory, size_t size,
                         unsigned flags, struct hurdmm_store **result)
{
    const unsigned known =
        HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED | HURDMM_STORE_NO_STEAL;
    const struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "buffer",
        .hook = memory,
        .size = size,
        .flags = flags | HURDMM_STORE_SIGNAL_SAFE,
    };

    if (!memory || (flags & ~known) != 0)
        return EINVAL;
    return hurdmm_store_create(manager, &buffer_ops, &options, result);
}
