/* SPDX-License-Identifier: MIT */
/*
 * The computed store: a function of the offset makes the contents, each time
 * they are needed.  It keeps nothing but the function, and has no locks.
 */
#include <hurdmm/error.h>
#include <hurdmm/manager.h>
#include <hurdmm/stores.h>

#include "lib/stores/private.h"

struct computed {
    struct hurdmm *manager;
    size_t page_size;
    int (*fill)(void *hook, uint64_t offset, void *buffer, size_t length);
    void *hook;
};

/* Makes a row of pages.  Where that fails, page by page, so that the pages
 * before the one that cannot be made are not lost with it. */
static int computed_page_in(struct hurdmm_store *store, void *hook,
                            uint64_t offset, void *buffer, size_t length,
                            size_t *done)
{
    struct computed *computed = hook;
    size_t page = computed->page_size;
    int error;

    (void)store;
    store_assert(offset % page == 0 && length > 0);
    error = computed->fill(computed->hook, offset, buffer, length);
    if (error == 0)
        return 0;
    *done = 0;
    while (length - *done > page) {
        int failed = computed->fill(computed->hook, offset + *done,
                                    (char *)buffer + *done, page);

        if (failed != 0)
            return failed;
        *done += page;
        store_assert(*done < length);
    }
    return error;
}

static void computed_destroy(void *hook)
{
    struct computed *computed = hook;

    hurdmm_deallocate(computed->manager, computed, sizeof *computed);
}

static const struct hurdmm_store_ops computed_ops = {
    .struct_size = sizeof computed_ops,
    .page_in = computed_page_in,
    .destroy = computed_destroy,
};

int hurdmm_computed_create(struct hurdmm *manager, uint64_t size,
                           unsigned flags,
                           int (*fill)(void *hook, uint64_t offset,
                                       void *buffer, size_t length),
                           void *hook, struct hurdmm_store **store)
{
    const unsigned known = HURDMM_STORE_DISCARDABLE | HURDMM_STORE_SHARED |
                           HURDMM_STORE_SIGNAL_SAFE;
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "computed",
        .size = size,
        .flags = flags,
    };
    struct computed *computed;
    void *memory;
    int error;

    if (!manager || !fill || !store || (flags & ~known) != 0)
        return EINVAL;
    /* What is written to a page is lost when it leaves: only for whom that is no
     * surprise. */
    if ((flags & HURDMM_STORE_DISCARDABLE) == 0)
        options.flags |= HURDMM_STORE_READ_ONLY;
    error = hurdmm_allocate(manager, sizeof *computed, &memory);
    if (error != 0)
        return error;
    computed = memory;
    computed->manager = manager;
    computed->page_size = hurdmm_page_size(manager);
    computed->fill = fill;
    computed->hook = hook;
    options.hook = computed;
    error = hurdmm_store_create(manager, &computed_ops, &options, store);
    if (error != 0)
        computed_destroy(computed);
    return error;
}
