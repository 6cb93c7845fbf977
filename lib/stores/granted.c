/* SPDX-License-Identifier: MIT */
/*
 * Memory that was granted, as a store.
 *
 * The grant is weak: it may be revoked at any time, also while a page is read.
 * It is held open, so that what it answers then is ESTALE and nothing else.  It
 * has a lock of its own, inside its manager; there is none here.
 */
#include <hurdmm/compose.h>
#include <hurdmm/error.h>
#include <hurdmm/manager.h>

#include "lib/stores/private.h"

struct granted {
    struct hurdmm *manager;
    struct hurdmm_grant *grant;
    uint64_t offset; /* in the grant */
};

/* Neither knows what else happens to the container: who shares it with others
 * sees to it that they agree. */
static int granted_page_in(struct hurdmm_store *store, void *hook,
                           uint64_t offset, void *buffer, size_t length,
                           size_t *done)
{
    struct granted *granted = hook;

    (void)store;
    store_assert(length > 0 && granted->offset <= UINT64_MAX - offset);
    return hurdmm_grant_read(granted->grant, granted->offset + offset, buffer,
                             length, done);
}

static int granted_page_out(struct hurdmm_store *store, void *hook,
                            uint64_t offset, const void *buffer, size_t length,
                            size_t *done)
{
    struct granted *granted = hook;

    (void)store;
    store_assert(length > 0 && granted->offset <= UINT64_MAX - offset);
    return hurdmm_grant_write(granted->grant, granted->offset + offset, buffer,
                              length, done);
}

static void granted_destroy(void *hook)
{
    struct granted *granted = hook;

    (void)hurdmm_grant_close(granted->grant);
    hurdmm_deallocate(granted->manager, granted, sizeof *granted);
}

static const struct hurdmm_store_ops granted_ops = {
    .struct_size = sizeof granted_ops,
    .page_in = granted_page_in,
    .page_out = granted_page_out,
    .destroy = granted_destroy,
};

/* Whether the grant reaches so far and allows so much: a transfer of nothing at
 * its end says so. */
static int probe(struct hurdmm_grant *grant, uint64_t offset, uint64_t size,
                 unsigned flags)
{
    char nothing = 0;
    size_t done;
    int error;

    if (size == 0 || size > UINT64_MAX - offset)
        return EINVAL;
    error = hurdmm_grant_read(grant, offset + size, &nothing, 0, &done);
    if (error == 0 && !(flags & HURDMM_STORE_READ_ONLY))
        error = hurdmm_grant_write(grant, offset + size, &nothing, 0, &done);
    return error;
}

int hurdmm_granted_create(struct hurdmm *manager, struct hurdmm_grant *grant,
                          uint64_t offset, uint64_t size, unsigned flags,
                          struct hurdmm_store **result)
{
    const unsigned known =
        HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED | HURDMM_STORE_NO_STEAL;
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "granted",
        .size = size,
        .flags = flags,
    };
    struct granted *granted;
    void *memory;
    int error;

    if (!manager || !grant || !result || (flags & ~known) != 0)
        return EINVAL;
    error = probe(grant, offset, size, flags);
    if (error == 0)
        error = hurdmm_allocate(manager, sizeof *granted, &memory);
    if (error != 0)
        return error;
    granted = memory;
    *granted = (struct granted){manager, grant, offset};
    error = hurdmm_grant_open(grant);
    if (error != 0) {
        hurdmm_deallocate(manager, granted, sizeof *granted);
        return error;
    }
    options.hook = granted;
    error = hurdmm_store_create(manager, &granted_ops, &options, result);
    if (error != 0)
        granted_destroy(granted);
    return error;
}
