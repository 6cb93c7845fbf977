/* SPDX-License-Identifier: MIT */
/*
 * The zero store: as many zeros as one likes, and nothing behind them.
 */
#include <hurdmm/compose.h>
#include <hurdmm/error.h>

#include "lib/stores/private.h"

static int zero_page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                        void *buffer, size_t length, size_t *done)
{
    store_assert(offset + length <= hurdmm_store_size(store));
    (void)store, (void)hook, (void)offset;
    memset(buffer, 0, length);
    *done = length;
    return 0;
}

static const struct hurdmm_store_ops zero_ops = {
    .struct_size = sizeof zero_ops,
    .page_in = zero_page_in,
};

int hurdmm_zero_create(struct hurdmm *manager, uint64_t size, unsigned flags,
                       struct hurdmm_store **result)
{
    const struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "zero",
        .size = size,
        .flags = flags | HURDMM_STORE_READ_ONLY | HURDMM_STORE_SIGNAL_SAFE,
    };

    if ((flags & ~HURDMM_STORE_SHARED) != 0)
        return EINVAL;
    return hurdmm_store_create(manager, &zero_ops, &options, result);
}
