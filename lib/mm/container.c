/* SPDX-License-Identifier: MIT */
/* container.c - containers of the public kind: private frames by offset. */
#include "lib/mm/mm.h"

static int enter(struct hurdmm_container *container)
{
    if (!container)
        return EINVAL;
    if (container->magic != HMM_MAGIC_CONTAINER)
        return ESTALE;
    struct hurdmm *manager = container->manager;
    int err = hmm_enter(manager);
    if (!err && container->magic != HMM_MAGIC_CONTAINER) {
        hmm_leave(manager);
        err = ESTALE;
    }
    return err;
}

int hurdmm_container_create(struct hurdmm *manager,
                            struct hurdmm_container **result)
{
    if (!result)
        return EINVAL;
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    struct hurdmm_container *container =
        hmm_slab_alloc(&manager->container_slab);
    if (container) {
        memset(container, 0, sizeof *container);
        container->magic = HMM_MAGIC_CONTAINER;
        container->manager = manager;
        hmm_container_init(&container->pages, &manager->physmem);
        hmm_list_append(&manager->containers, &container->link);
        *result = container;
    }
    hmm_leave(manager);
    return container ? 0 : ENOMEM;
}

void hmm_container_end(struct hurdmm_container *container)
{
    struct hurdmm *manager = container->manager;

    hmm_container_clear(&container->pages);
    hmm_list_remove(&container->link);
    container->magic = 0;
    hmm_slab_free(&manager->container_slab, container);
    hmm_event_signal(&manager->progress, &manager->parker);
}

int hurdmm_container_destroy(struct hurdmm_container *container)
{
    int err = enter(container);

    if (err)
        return err;
    struct hurdmm *manager = container->manager;
    hmm_container_end(container);
    hmm_leave(manager);
    return 0;
}

/* Gives one page a zeroed frame. */
static int allocate_page(struct hurdmm_container *container, uint64_t page)
{
    struct hurdmm *manager = container->manager;
    uint32_t frame, got;
    void *bytes;

    if (hmm_container_slot(&container->pages, page))
        return EEXIST;
    int err = hmm_frames_get(manager, 1, HURDMM_FRAME_NONE, &frame, &got);
    if (err)
        return err;
    err = hmm_frames_window(&manager->physmem, frame, 1, &bytes);
    if (!err) {
        memset(bytes, 0, hmm_page_bytes(manager));
        err = hmm_container_put(&container->pages, page, frame);
    }
    if (err)
        hmm_frames_drop(&manager->physmem, frame, 1);
    return err;
}

static void release(struct hurdmm_container *container, uint64_t first,
                    uint64_t last)
{
    struct hurdmm *manager = container->manager;
    uint64_t page;

    while (first <= last &&
           hmm_index_next(&container->pages.index, first, &page) &&
           page <= last) {
        uint64_t slot = hmm_container_take(&container->pages, page);
        hmm_frames_drop(&manager->physmem, HMM_SLOT_FRAME(slot), 1);
        first = page + 1;
    }
    hmm_event_signal(&manager->progress, &manager->parker);
}

/* Is anything there?  All-or-none must know before the first page. */
static bool occupied(struct hurdmm_container *container, uint64_t first,
                     uint64_t last)
{
    uint64_t page;

    return hmm_index_next(&container->pages.index, first, &page) &&
           page <= last;
}

int hurdmm_container_allocate(struct hurdmm_container *container,
                              uint64_t offset, uint64_t length, unsigned flags,
                              uint64_t *done)
{
    if (!done)
        return EINVAL;
    *done = 0;
    if (flags & ~HURDMM_ALL_OR_NONE)
        return EINVAL;
    int err = enter(container);
    if (err)
        return err;
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    uint64_t first = offset >> shift, pages = length >> shift, i = 0;
    err = hmm_range_check(manager, offset, length);
    if (!err && flags & HURDMM_ALL_OR_NONE &&
        occupied(container, first, first + pages - 1))
        err = EEXIST;
    while (!err && i < pages) {
        err = allocate_page(container, first + i);
        if (err == EAGAIN) {
            /* The lock was dropped: the handle may have gone. */
            err = container->magic == HMM_MAGIC_CONTAINER ? 0 : ESTALE;
            continue;
        }
        i += !err;
    }
    if (err && flags & HURDMM_ALL_OR_NONE && i > 0) {
        release(container, first, first + i - 1);
        i = 0;
    }
    *done = i << shift;
    hmm_leave(manager);
    return err;
}

int hurdmm_container_release(struct hurdmm_container *container,
                             uint64_t offset, uint64_t length)
{
    int err = enter(container);

    if (err)
        return err;
    struct hurdmm *manager = container->manager;
    unsigned shift = manager->physmem.page_shift;
    err = hmm_range_check(manager, offset, length);
    if (!err)
        release(container, offset >> shift, (offset + (length - 1)) >> shift);
    hmm_leave(manager);
    return err;
}

/* Copies between the bounce buffer and one page. */
static int copy_piece(struct hurdmm_container *container, uint64_t at,
                      void *bytes, size_t length, bool write)
{
    struct hurdmm *manager = container->manager;
    size_t start = (size_t)(at & (hmm_page_bytes(manager) - 1));
    void *page;

    if (container->magic != HMM_MAGIC_CONTAINER)
        return ESTALE;
    const uint64_t *slot = hmm_container_slot(
        &container->pages, at >> manager->physmem.page_shift);
    if (!slot)
        return ENOENT;
    int err =
        hmm_frames_window(&manager->physmem, HMM_SLOT_FRAME(*slot), 1, &page);
    if (err)
        return err;
    if (write)
        memcpy((char *)page + start, bytes, length);
    else
        memcpy(bytes, (char *)page + start, length);
    return 0;
}

static int transfer(struct hurdmm_container *container, uint64_t offset,
                    void *to, const void *from, size_t length, size_t *done)
{
    if (!done)
        return EINVAL;
    *done = 0;
    if ((!to && !from && length) || (length && !hmm_range_ok(offset, length)))
        return EINVAL;
    int err = enter(container);
    if (err)
        return err;
    struct hurdmm *manager = container->manager;
    size_t page = hmm_page_bytes(manager);
    struct hmm_bounce *bounce = hmm_bounce_get(manager);
    err = bounce ? 0 : ENOMEM;
    while (!err && *done < length) {
        uint64_t at = offset + *done;
        size_t piece =
            (size_t)hmm_min(page - (at & (page - 1)), length - *done);
        if (!from)
            err = copy_piece(container, at, bounce->bytes, piece, false);
        /* The caller's buffer may fault: not under the lock. */
        hmm_leave(manager);
        if (from)
            memcpy(bounce->bytes, (const char *)from + *done, piece);
        else if (!err)
            memcpy((char *)to + *done, bounce->bytes, piece);
        hmm_enter_again(manager);
        if (from)
            err = copy_piece(container, at, bounce->bytes, piece, true);
        if (!err)
            *done += piece;
    }
    hmm_bounce_put(manager, bounce);
    hmm_leave(manager);
    return err;
}

int hurdmm_container_read(struct hurdmm_container *container, uint64_t offset,
                          void *buffer, size_t length, size_t *done)
{
    return transfer(container, offset, buffer, NULL, length, done);
}

int hurdmm_container_write(struct hurdmm_container *container, uint64_t offset,
                           const void *buffer, size_t length, size_t *done)
{
    if (!buffer && length) {
        if (done)
            *done = 0;
        return EINVAL;
    }
    return transfer(container, offset, NULL, buffer ? buffer : "", length,
                    done);
}
