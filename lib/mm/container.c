/* SPDX-License-Identifier: MIT */
/* container.c - containers of the public kind: frames by offset.
 *
 * Inside, a container is a store without operations: absent pages are holes,
 * and pages are never ranked, so they never leave memory.
 */
#include "lib/mm/mm.h"

/* Both kinds of handle: a container's, and a store's as a container. */
int hmm_enter_container(struct hurdmm_container *handle)
{
    struct hurdmm_store *container = hmm_container_of(handle);

    if (!container)
        return EINVAL;
    if (container->magic != HMM_MAGIC_CONTAINER)
        return hmm_enter_store(container);
    struct hurdmm *manager = container->manager;
    int err = hmm_enter(manager);
    if (!err && container->magic != HMM_MAGIC_CONTAINER) {
        hmm_leave(manager);
        err = ESTALE;
    }
    return err;
}

/* The container's own kind only: ENOTSUP for a store's. */
static int enter(struct hurdmm_container *handle)
{
    int err = hmm_enter_container(handle);

    if (!err && !hmm_container_of(handle)->container) {
        hmm_leave(hmm_container_of(handle)->manager);
        err = ENOTSUP;
    }
    return err;
}

struct hurdmm_store *hmm_container_make(struct hurdmm *manager)
{
    struct hurdmm_store *container = hmm_slab_alloc(&manager->store_slab);

    if (!container)
        return NULL;
    memset(container, 0, sizeof *container);
    container->magic = HMM_MAGIC_CONTAINER;
    container->manager = manager;
    container->container = true;
    container->flags = HURDMM_STORE_SHARED | HURDMM_STORE_VOLATILE;
    container->size = UINT64_MAX - (hmm_page_bytes(manager) - 1);
    container->block_pages = 1;
    container->id = ++manager->next_id;
    hmm_container_init(&container->cache, &manager->physmem);
    hmm_list_append(&manager->containers, &container->link);
    return container;
}

/* An empty one that nobody has seen. */
void hmm_container_end(struct hurdmm_store *container)
{
    hmm_list_remove(&container->link);
    container->magic = 0;
    hmm_slab_free(&container->manager->store_slab, container);
}

int hurdmm_container_create(struct hurdmm *manager,
                            struct hurdmm_container **result)
{
    if (!result)
        return EINVAL;
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_make(manager);
    if (container)
        *result = (struct hurdmm_container *)(void *)container;
    hmm_leave(manager);
    return container ? 0 : ENOMEM;
}

int hurdmm_container_destroy(struct hurdmm_container *handle)
{
    int err = enter(handle);

    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    if (container->cache.mappings.count > 0 || container->pinned ||
        container->users)
        err = EBUSY;
    if (!err)
        hmm_bury(container);
    hmm_leave(manager);
    return err;
}

/* Gives one page a zeroed frame. */
static int allocate_page(struct hurdmm_store *container, uint64_t page)
{
    struct hurdmm *manager = container->manager;
    uint32_t frame, got;
    void *bytes;

    if (hmm_container_slot(&container->cache, page) ||
        hmm_bond_at(&container->cache, page))
        return EEXIST;
    int err = hmm_frames_get(manager, 1, HURDMM_FRAME_NONE, &frame, &got);
    if (err)
        return err;
    err = hmm_frames_window(&manager->physmem, frame, 1, &bytes);
    if (!err) {
        memset(bytes, 0, hmm_page_bytes(manager));
        err = hmm_container_put(&container->cache, page, frame);
    }
    if (err)
        hmm_frames_drop(&manager->physmem, frame, 1);
    return err;
}

/* Is anything there?  All-or-none must know before the first page. */
static bool occupied(const struct hurdmm_store *container, uint64_t first,
                     uint64_t last)
{
    uint64_t page;

    return hmm_bond_in(&container->cache, first, last) ||
           (hmm_index_next(&container->cache.index, first, &page) &&
            page <= last);
}

/* Allocates pages one after the other; the lock may be dropped. */
static int allocate(struct hurdmm_store *container, uint64_t first,
                    uint64_t pages, uint64_t *done)
{
    int err = 0;

    container->users++;
    while (!err && *done < pages) {
        err = allocate_page(container, first + *done);
        if (err == EAGAIN)
            err = 0;
        else if (!err)
            ++*done;
    }
    container->users--;
    return err;
}

int hurdmm_container_allocate(struct hurdmm_container *handle, uint64_t offset,
                              uint64_t length, unsigned flags, uint64_t *done)
{
    if (!done)
        return EINVAL;
    *done = 0;
    if (flags & ~HURDMM_ALL_OR_NONE)
        return EINVAL;
    int err = enter(handle);
    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    uint64_t first = offset >> shift, pages = length >> shift, got = 0;
    err = hmm_range_check(manager, offset, length);
    if (!err && flags & HURDMM_ALL_OR_NONE &&
        occupied(container, first, first + pages - 1))
        err = EEXIST;
    if (!err)
        err = allocate(container, first, pages, &got);
    if (err && flags & HURDMM_ALL_OR_NONE && got > 0) {
        hmm_container_release(container, first, first + got - 1);
        got = 0;
    }
    *done = got << shift;
    hmm_leave(manager);
    return err;
}

int hurdmm_container_release(struct hurdmm_container *handle, uint64_t offset,
                             uint64_t length)
{
    int err = enter(handle);

    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    err = hmm_range_check(manager, offset, length);
    if (!err)
        err = hmm_container_release(container, offset >> shift,
                                    (offset + (length - 1)) >> shift);
    hmm_leave(manager);
    return err;
}
