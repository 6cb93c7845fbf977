/* SPDX-License-Identifier: MIT */
/* push.c - what comes into a store's cache unasked: supply, cache.
 *
 * It is installed at once, a block at a time (M6), as if the store had been asked
 * for it.  A block that is being filled gets it too: the request drops its own
 * frames when it ends (R1 in fill.c).  What is there already stays, and nothing
 * comes where somebody has a hold (M7), but to end a fill that the hold waits for.
 *
 * The lock is dropped while room is made and while the caller's bytes are read, so
 * that store and container are kept (users), and a block is looked at under the
 * same hold of the lock as it is installed.
 */
#include "lib/mm/mm.h"

/* Nodes of an index that so many pages in a row may need. */
#define NODES_FOR(pages) ((pages) / 8 + 12)

/* Checks a range that is pushed: whole blocks inside the store, the last of which
 * may be cut at its size, or reach past that.  EINVAL. */
static int check_push(const struct hurdmm_store *store, uint64_t offset,
                      uint64_t length)
{
    uint64_t page = hmm_page_bytes(store->manager);
    uint64_t block = page * store->block_pages;

    if (!hmm_range_ok(offset, length) || (offset & (block - 1)))
        return EINVAL;
    if (offset + (length - 1) >= store->size)
        return offset >= store->size ||
                       offset + (length - 1) >= hmm_align_up(store->size, block)
                   ? EINVAL
                   : 0;
    return (length & (block - 1)) && offset + length != store->size ? EINVAL
                                                                    : 0;
}

/* Has the page contents that a push must leave alone? */
static bool present(const struct hurdmm_store *store, uint64_t page)
{
    const uint64_t *slot = hmm_container_slot(&store->cache, page);

    return slot ? hmm_resident(slot) : hmm_bond_at(&store->cache, page) != NULL;
}

/* May a push not put anything there, because somebody has a hold on it (M7)?  A
 * page that is being filled is what the hold itself waits for: that may end. */
static bool kept_out(const struct hurdmm_store *store, uint64_t page)
{
    const uint64_t *slot = hmm_container_slot(&store->cache, page);

    return hmm_page_held(store, page) && !(slot && *slot & HMM_FILLING);
}

/* How many pages of the block nobody pays for yet: the others have a frame, of the
 * request that fills them. */
static uint32_t unpaid(const struct hurdmm_store *store, uint64_t first)
{
    uint32_t n = 0;

    hmm_assert(first % store->block_pages == 0);
    for (uint32_t i = 0; i < store->block_pages; i++) {
        const uint64_t *slot = hmm_container_slot(&store->cache, first + i);

        n += !slot || HMM_SLOT_FRAME(*slot) == HURDMM_FRAME_NONE;
    }
    return n;
}

/* Puts frames, the caller's, at a block that is absent or being filled, and
 * publishes it (M6).  ENOMEM: none was put. */
static int install(struct hurdmm_store *store, uint64_t first,
                   const uint32_t *frame)
{
    struct hurdmm *manager = store->manager;
    uint32_t block = store->block_pages;
    int err = block > 1
                  ? hmm_slab_reserve(&manager->physmem.nodes, NODES_FOR(block))
                  : 0;

    for (uint32_t i = 0; !err && i < block; i++) {
        uint64_t *slot = hmm_container_slot(&store->cache, first + i);

        hmm_assert(!hmm_resident(slot));
        if (slot) /* filling: the request frees its own frame when it ends */
            hmm_container_swap(&store->cache, first + i, slot, frame[i]);
        else
            err = hmm_container_put(&store->cache, first + i, frame[i]);
        hmm_assert(!err || i == 0); /* the others were reserved */
        if (err)
            break;
        hmm_page_publish(store, first + i,
                         hmm_container_slot(&store->cache, first + i), 0);
    }
    if (err)
        return err;
    manager->stats.pages_in += block;
    hmm_page_wake(store, first, block, 0);
    return 0;
}

/* Takes `count` frames that need not be a row, in the caller's hand, with bytes
 * from `bytes` in them and zeros after `length`.  On an error (EAGAIN: the lock
 * was dropped) there are none. */
static int take_filled(struct hurdmm *manager, uint32_t count,
                       const char *bytes, size_t length, uint32_t *frame)
{
    size_t page = hmm_page_bytes(manager);
    uint32_t got, n = 0;
    int err = 0;

    hmm_assert(length <= count * page);
    while (!err && n < count) {
        size_t part = (size_t)hmm_min(length, page);
        void *to;

        err = hmm_frames_get(manager, 1, HURDMM_FRAME_NONE, &frame[n], &got);
        if (err)
            break;
        err = hmm_frames_window(&manager->physmem, frame[n++], 1, &to);
        if (err)
            break;
        memset((char *)to + part, 0, page - part);
        if (part == 0)
            continue;
        memcpy(to, bytes, part);
        bytes += part;
        length -= part;
    }
    while (err && n > 0)
        hmm_frames_drop(&manager->physmem, frame[--n], 1);
    return err;
}

/* One block of a supply; `bytes` is private to the library.  What is there
 * already stays.  So does what is held: the discard or the cut comes after what
 * was supplied, as if it had been a moment earlier. */
static int supply_block(struct hurdmm_store *store, uint64_t first,
                        const void *bytes, size_t length)
{
    struct hurdmm *manager = store->manager;
    uint64_t offset = first << manager->physmem.page_shift;
    uint32_t block = store->block_pages, frame[HMM_RUN_MAX];

    hmm_assert(hmm_entered(manager) && store->users > 0);
    hmm_assert(first % block == 0 && length > 0);
    if (offset >= store->size) /* it has been cut off since */
        return 0;
    for (uint32_t i = 0; i < block; i++)
        if (present(store, first + i) || kept_out(store, first + i))
            return 0;
    uint32_t fresh = unpaid(store, first);
    int err = fresh > 0 ? hmm_account_admit(store, fresh) : 0;
    if (!err)
        err = take_filled(manager, block, bytes,
                          (size_t)hmm_min(length, store->size - offset), frame);
    if (err)
        return err;
    /* The lock was not dropped since the block was looked at. */
    err = install(store, first, frame);
    for (uint32_t i = 0; err && i < block; i++)
        hmm_frames_drop(&manager->physmem, frame[i], 1);
    return err;
}

/* Supplies block after block; entered, and the store is in use. */
static int supply(struct hurdmm_store *store, uint64_t offset,
                  const char *buffer, size_t length, size_t *done)
{
    struct hurdmm *manager = store->manager;
    size_t block = store->block_pages * hmm_page_bytes(manager);
    struct hmm_bounce *bounce = hmm_bounce_get(manager, store->block_pages);
    int err = bounce ? 0 : ENOMEM;

    while (!err && *done < length) {
        size_t piece = (size_t)hmm_min(block, length - *done);
        /* The caller's buffer may fault: not under the lock. */
        hmm_leave(manager);
        memcpy(bounce->bytes, buffer + *done, piece);
        hmm_enter_again(manager);
        do
            err = supply_block(store,
                               (offset + *done) >> manager->physmem.page_shift,
                               bounce->bytes, piece);
        while (err == EAGAIN);
        /* Who waited for these pages need not wait for the rest. */
        hmm_ready_run(manager);
        if (!err)
            *done += piece;
    }
    hmm_bounce_put(manager, bounce);
    return err;
}

int hurdmm_store_supply(struct hurdmm_store *store, uint64_t offset,
                        const void *buffer, size_t length, size_t *done)
{
    size_t amount = 0;

    if (!done)
        return EINVAL;
    *done = 0;
    int err = buffer ? hmm_enter_store(store) : EINVAL;
    if (err)
        return err;
    store->users++;
    err = check_push(store, offset, length);
    if (!err)
        err = supply(store, offset, buffer, length, &amount);
    store->users--;
    hmm_leave(store->manager);
    *done = amount;
    return err;
}

/* A row of pages of a container that is to become a block of a store. */
struct push {
    struct hurdmm_store *store, *container;
    uint64_t to, from; /* pages */
    uint32_t count;    /* all of the block, or what the store has of it */
    /* In our hand, zeroed: for what the block has past the store's end, and for
     * pages that the container shares.  Kept when the lock is dropped, so that
     * what was brought in meanwhile is not what is evicted for them. */
    uint32_t frame[HMM_RUN_MAX], held;
};

/* Does the container share this page, so that it has no frame to hand over?  A copy
 * made at once would share no more, and stay so if the rest failed. */
static bool shares(const struct push *push, uint32_t i)
{
    const struct hmm_container *cache = &push->container->cache;
    const struct hmm_bond *bond = hmm_bond_at(cache, push->from + i);

    return bond && bond->shared && !hmm_container_slot(cache, push->from + i);
}

/* Has the home of a page that is shared brought in.  0 with the lock not dropped. */
static int ready_shared(const struct push *push, uint64_t from)
{
    struct hmm_want home = {.store = push->container,
                            .page = from,
                            .access = HURDMM_READ,
                            .thread = hmm_thread_self(push->store->manager),
                            .raw = true};
    uint64_t *slot;

    return hmm_obtain(&home, &slot);
}

/* Makes a page of the container one that can be handed over: with a frame, or
 * shared (make_own), read by nobody who has not his own.  0 with the lock not
 * dropped; EAGAIN. */
static int ready_page(const struct push *push, uint32_t i)
{
    struct hurdmm_store *store = push->store;
    uint64_t page = push->to + i, from = push->from + i;
    struct hmm_want want = {.thread = hmm_thread_self(store->manager)};
    const uint64_t *slot = hmm_container_slot(&push->container->cache, from);

    hmm_assert(i < push->count && push->count <= store->block_pages);
    if (present(store, page))
        return EEXIST;
    if (kept_out(store, page)) {
        want.store = store;
        want.joined = true;
        return hmm_page_wait(&want, page);
    }
    /* Also where it is shared from: its pin is known by the container's page. */
    if (hmm_pinned_in(push->container, from, from))
        return EBUSY;
    if (shares(push, i)) {
        int err = hmm_settle_page(&want, push->container, from);
        return err ? err : ready_shared(push, from);
    }
    if (!slot && hmm_bond_at(&push->container->cache, from)) {
        int err = hmm_materialize(&want, push->container, from);
        return err ? err : EAGAIN;
    }
    if (slot && *slot & HMM_FAILED)
        return (int)(*slot >> HMM_ERROR_SHIFT);
    if (!hmm_resident(slot))
        return ENOENT;
    return hmm_settle_page(&want, push->container, from);
}

/* What the pages have past the store's end is zeros, as after a fill; `really', or
 * it is only seen whether that can be done.  Nothing is lent. */
static int zero_past_end(const struct push *push, bool really)
{
    struct hmm_physmem *physmem = push->container->cache.physmem;
    size_t bytes = hmm_page_bytes(push->store->manager);

    for (uint32_t i = 0; i < push->count; i++) {
        uint64_t start = (push->to + i) << physmem->page_shift;
        const uint64_t *slot =
            hmm_container_slot(&push->container->cache, push->from + i);
        size_t from = 0;
        void *to;

        if (start < push->store->size)
            from = (size_t)hmm_min(push->store->size - start, bytes);
        if (from == bytes)
            continue;
        int err = hmm_frames_window(physmem, HMM_SLOT_FRAME(*slot), 1, &to);
        if (err)
            return err;
        if (really)
            memset((char *)to + from, 0, bytes - from);
    }
    return 0;
}

/* Makes room in the target's index and in the trees of bonds, and takes back what
 * is lent, so that nothing of handing over can fail.  Bonds of the container's own
 * go: its pages shadow them, and they must not come to light again.  ENOMEM:
 * nothing was changed that anybody could see. */
static int ready_memory(const struct push *push)
{
    struct hmm_container *from = &push->container->cache;
    struct hmm_physmem *physmem = from->physmem;
    uint64_t last = push->from + (push->count - 1);
    int err = hmm_take_back_range(from, push->from, last, HURDMM_NONE, true);

    if (!err)
        err = hmm_slab_reserve(
            &physmem->bonds,
            (size_t)(6 + 2 * hmm_bonds_cuts(from, push->from, last)));
    if (!err)
        err = hmm_slab_reserve(&physmem->nodes,
                               NODES_FOR(push->store->block_pages));
    if (!err)
        err = zero_past_end(push, false);
    /* Last, because what was shared until here is so no more. */
    if (!err)
        err = hmm_unbond(push->container, push->from, last);
    return err ? err : zero_past_end(push, true);
}

/* Gives pages that the container shares frames of their own, or none of them: the
 * lock is not dropped from here to the end, so that nobody sees that.  `own' says
 * which.  EAGAIN: one has gone again. */
static int make_own(struct push *push, bool *own)
{
    int err = 0;

    for (uint32_t i = 0; i < push->count; i++)
        own[i] = false;
    for (uint32_t i = 0; !err && i < push->count; i++) {
        if (!shares(push, i))
            continue;
        hmm_assert(push->held > 0);
        err = hmm_own_shared(push->container, push->from + i,
                             push->frame[push->held - 1]);
        push->held -= !err;
        own[i] = !err;
    }
    return err;
}

/* They are shared again: not even a marker shadows the bond. */
static void undo_own(const struct push *push, const bool *own)
{
    struct hmm_container *cache = &push->container->cache;

    for (uint32_t i = 0; i < push->count; i++) {
        uint64_t page = push->from + i;

        if (!own[i])
            continue;
        hmm_page_drop(push->container, page, hmm_container_slot(cache, page),
                      false);
        if (hmm_container_slot(cache, page))
            hmm_container_take(cache, page);
    }
}

/* Has at least so many frames in hand; EAGAIN: the lock was dropped. */
static int hold_frames(struct push *push, uint32_t count)
{
    int err = 0;

    hmm_assert(count <= HMM_RUN_MAX);
    while (!err && push->held < count) {
        err = take_filled(push->store->manager, 1, NULL, 0,
                          &push->frame[push->held]);
        push->held += !err;
    }
    return err;
}

static void drop_held(struct push *push)
{
    while (push->held > 0)
        hmm_frames_drop(&push->store->manager->physmem,
                        push->frame[--push->held], 1);
}

/* Hands the container's pages over, with those who share them; `rest' are frames
 * for what the block has past the store's end. */
static void hand_over(const struct push *push, const uint32_t *rest)
{
    struct hurdmm_store *store = push->store;
    struct hmm_container *to = &store->cache;

    hmm_assert(push->count > 0 && push->count <= store->block_pages);
    hmm_assert(push->to % store->block_pages == 0);
    for (uint32_t i = 0; i < store->block_pages; i++) {
        const uint64_t *slot = hmm_container_slot(to, push->to + i);

        if (slot && *slot & HMM_FILLING)
            store->manager->filling--; /* the request frees its own frame */
        if (slot)
            hmm_container_take(to, push->to + i);
    }
    hmm_container_shift(&push->container->cache, push->from,
                        push->from + (push->count - 1), to, push->to);
    for (uint32_t i = 0; i < store->block_pages; i++) {
        int err = i < push->count ? 0
                                  : hmm_container_put(to, push->to + i,
                                                      rest[i - push->count]);
        hmm_assert(!err); /* reserved */
        (void)err;
        hmm_page_publish(store, push->to + i,
                         hmm_container_slot(to, push->to + i), 0);
    }
    store->manager->stats.pages_in += push->count;
    hmm_page_wake(store, push->to, store->block_pages, 0);
    hmm_ready_run(store->manager);
}

/* One block from a container, which keeps its frames when that fails. */
static int cache_block(struct push *push)
{
    struct hurdmm_store *store = push->store;
    uint32_t need = store->block_pages - push->count, rest = need;
    int err = push->to < hmm_store_pages(store) ? 0 : EINVAL;
    bool own[HMM_RUN_MAX];

    /* First what may drop the lock: all is looked at again after that. */
    for (uint32_t i = 0; !err && i < push->count; i++) {
        err = ready_page(push, i);
        need += shares(push, i);
    }
    uint32_t fresh = unpaid(store, push->to);
    if (!err && fresh > 0 && store->account != push->container->account)
        err = hmm_account_admit(store, fresh);
    if (!err)
        err = hold_frames(push, need);
    if (err)
        return err;
    err = make_own(push, own);
    if (!err)
        err = ready_memory(push);
    if (err) {
        undo_own(push, own);
        return err;
    }
    hand_over(push, push->frame);
    push->held -= rest;
    memmove(push->frame, push->frame + rest, push->held * sizeof *push->frame);
    return 0;
}

/* Caches block after block; entered, and both are in use. */
static int cache(struct push *push, uint64_t pages, uint64_t *done)
{
    int err = 0;

    hmm_assert(push->store->users > 0 && push->container->users > 0);
    hmm_assert(push->container->container && !push->store->container);
    while (!err && *done < pages) {
        push->count =
            (uint32_t)hmm_min(push->store->block_pages, pages - *done);
        err = cache_block(push);
        if (err == EAGAIN) {
            err = 0;
        } else if (!err) {
            *done += push->count;
            push->to += push->count;
            push->from += push->count;
        }
    }
    drop_held(push);
    return err;
}

int hurdmm_store_cache(struct hurdmm_store *store, uint64_t offset,
                       struct hurdmm_container *container,
                       uint64_t container_offset, size_t length, size_t *done)
{
    if (!done)
        return EINVAL;
    *done = 0;
    int err = container ? hmm_enter_store(store) : EINVAL;
    if (err)
        return err;
    struct hurdmm *manager = store->manager;
    unsigned shift = manager->physmem.page_shift;
    struct hurdmm_store *source = hmm_container_of(container);
    uint64_t pages = 0;
    if (source->magic != HMM_MAGIC_CONTAINER)
        err = ESTALE;
    else if (source->manager != manager ||
             hmm_range_check(manager, container_offset, length) ||
             check_push(store, offset, length))
        err = EINVAL;
    if (!err) {
        struct push push = {.store = store,
                            .container = source,
                            .to = offset >> shift,
                            .from = container_offset >> shift};
        store->users++;
        source->users++;
        err = cache(&push, length >> shift, &pages);
        source->users--;
        store->users--;
    }
    hmm_reap(manager);
    hmm_leave(manager);
    *done = (size_t)(pages << shift);
    return err;
}
