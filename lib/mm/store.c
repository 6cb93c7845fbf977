/* SPDX-License-Identifier: MIT */
/* store.c - making, resizing and ending stores, and the verbs by store range.
 *
 * Whatever must see a range at rest (discard, resize, destroy) takes a hold on
 * it first: page.c, M7.
 *
 *   live --- destroy ---> dying --- nothing uses it ---> ended
 *    ^                      |                         \-> zombie (zombie.c),
 *    +---- an error --------+                             while copies need it
 *
 * A store that is dying lets nobody in (hmm_enter_store: ESTALE), but who was
 * inside comes to his end; that is waited for.
 *
 * Verbs may drop the lock: they keep the store by `users' whenever they do, so
 * that after it the store is still there, though its pages may be others.  Only
 * after hmm_reap, at their ends, it may be gone.
 */
#include "lib/mm/mm.h"

#define IDLE_POLL_NS 1000000u

/* EINVAL: flags that nobody knows, no way to fill, dirty pages that could never
 * be written, a block that is no power of two of pages or too large to evict. */
static int check_options(const struct hurdmm *manager,
                         const struct hurdmm_store_ops *ops,
                         const struct hurdmm_store_options *options)
{
    const unsigned all = HURDMM_STORE_SHARED | HURDMM_STORE_READ_ONLY |
                         HURDMM_STORE_DISCARDABLE | HURDMM_STORE_NO_STEAL |
                         HURDMM_STORE_SIGNAL_SAFE | HURDMM_STORE_VOLATILE;
    const unsigned undrained = HURDMM_STORE_READ_ONLY | HURDMM_STORE_VOLATILE |
                               HURDMM_STORE_DISCARDABLE;
    size_t block = options->block_size, page = hmm_page_bytes(manager);

    if (options->flags & ~all || (!ops->page_in && !ops->fault))
        return EINVAL;
    if (!ops->page_out && !(options->flags & undrained))
        return EINVAL;
    if (block &&
        (!hmm_is_pow2(block) || block < page || block > HMM_RUN_MAX * page ||
         block / page > manager->budget / 4))
        return EINVAL;
    return options->size > UINT64_MAX - (block ? block : page) ? EINVAL : 0;
}

/* Cut at `room`; NULL is no name. */
static void copy_name(char *to, size_t room, const char *from)
{
    size_t i = 0;

    while (from && from[i] && i + 1 < room) {
        to[i] = from[i];
        i++;
    }
    to[i] = '\0';
}

/* Makes the store that `made` describes, with its ops, name and sizes. */
static int make_store(struct hurdmm *manager, const struct hurdmm_store *made,
                      size_t block_size, struct hurdmm_store **result)
{
    struct hurdmm_store *store = NULL;
    const struct hurdmm_store_options options = {
        .size = made->size, .block_size = block_size, .flags = made->flags};
    int err = check_options(manager, &made->ops, &options);

    hmm_assert(hmm_entered(manager));
    if (!err && !(store = hmm_slab_alloc(&manager->store_slab)))
        err = ENOMEM;
    if (!err) {
        *store = *made;
        store->manager = manager;
        store->block_pages = 1;
        if (block_size)
            store->block_pages =
                (uint32_t)(block_size / hmm_page_bytes(manager));
        store->id = ++manager->next_id;
        hmm_span_tree_init(&store->grades);
        hmm_index_init(&store->left, &manager->physmem.nodes);
        store->account = manager->account;
        hmm_container_init(&store->cache, &manager->physmem,
                           &manager->account->payer, false);
        hmm_list_append(&manager->stores, &store->link);
        store->magic = HMM_MAGIC_STORE;
        *result = store;
    }
    return err;
}

/* What the caller says, and where he wants the answer, may lie in managed memory:
 * it is looked at before the lock is taken, or after that. */
int hurdmm_store_create(struct hurdmm *manager,
                        const struct hurdmm_store_ops *ops,
                        const struct hurdmm_store_options *options,
                        struct hurdmm_store **result)
{
    if (!ops || !options || !result ||
        ops->struct_size < offsetof(struct hurdmm_store_ops, sync) ||
        options->struct_size < sizeof *options)
        return EINVAL;
    struct hurdmm_store made = {.given_ops = ops,
                                .hook = options->hook,
                                .size = options->size,
                                .flags = options->flags};
    size_t block_size = options->block_size;
    struct hurdmm_store *store = NULL;
    memcpy(&made.ops, ops, (size_t)hmm_min(ops->struct_size, sizeof made.ops));
    copy_name(made.name, sizeof made.name, options->name);
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    err = make_store(manager, &made, block_size, &store);
    hmm_leave(manager);
    if (!err)
        *result = store;
    return err;
}

int hmm_store_settle(struct hurdmm_store *store, uint64_t offset,
                     uint64_t length)
{
    struct hmm_call call;

    hmm_assert(hmm_entered(store->manager));
    if (!store->ops.sync || store->flags & HURDMM_STORE_READ_ONLY)
        return 0;
    hmm_call_begin(&call, store, 0);
    int err =
        hmm_drain_error(store->ops.sync(store, store->hook, offset, length));
    hmm_call_end(&call);
    return err;
}

/* The checks of destroy that may be asked at any time. */
int hmm_store_in_use(const struct hurdmm_store *store)
{
    hmm_assert(hmm_entered(store->manager));
    if (store->cache.mappings.count > 0 || store->pinned || store->requests ||
        store->users || store->held)
        return EBUSY;
    return 0;
}

/* Nothing uses or depends on it, or shows it, and its bonds are gone.  Drops the
 * lock for the store's own destroy, when the store is gone already. */
void hmm_store_end(struct hurdmm_store *store)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(!store->requests && !store->users && !store->pinned);
    hmm_assert(!store->cache.dependents.count && !store->cache.bonds.count);
    hmm_drop_range(store, 0, hmm_last_page(store), true);
    hmm_assert(store->cache.index.count == 0);
    hmm_assert(store->dirty == 0 && store->writing == 0);
    hmm_chore_forget(store);
    hmm_grades_drop(store);
    hmm_index_clear(&store->left);
    hmm_list_remove(&store->link);
    store->magic = 0;
    store->id = 0;
    void (*destroy)(void *) = store->ops.destroy;
    void *hook = store->hook;
    hmm_slab_free(&manager->store_slab, store);
    if (!destroy)
        return;
    hmm_leave(manager);
    destroy(hook);
    hmm_enter_again(manager);
}

/* Lets calls that are under way, of the background too, come to their ends.
 * What a full store has not answered yet may take for ever: that is EBUSY. */
void hmm_store_wait_idle(struct hurdmm_store *store)
{
    struct hurdmm *manager = store->manager;

    hmm_assert(hmm_entered(store->manager));
    while (store->users || (store->requests && !store->ops.fault)) {
        uint32_t ticket = hmm_event_ticket(&manager->progress);

        if (store->requests && store->ops.fault)
            return;
        hmm_leave(manager);
        /* Not all ends are signalled. */
        hmm_event_wait(&manager->progress, ticket, &manager->parker,
                       IDLE_POLL_NS);
        if (hmm_enter(manager))
            hmm_broken(manager, "the critical section is gone");
    }
}

/* Writes what is dirty and makes it durable; tells of earlier errors; drops the
 * lock.  *written is the count of written pages that stands for what is durable
 * then: it is read before the sync, so that what is written during that counts as
 * not durable. */
static int write_all(struct hurdmm_store *store, uint64_t *written)
{
    int err = hmm_flush(store, 0, hmm_last_page(store));

    if (!err)
        err = store->write_error;
    store->write_error = 0;
    *written = store->manager->stats.pages_out;
    return err ? err : hmm_store_settle(store, 0, store->size);
}

/* Takes the regions away, but first does what may fail, as far as it can be
 * done while they are there.  Drops the lock; EBUSY, or the store's error: all are
 * there still. */
static int write_and_detach(struct hurdmm_store *store, bool keep,
                            uint64_t *written)
{
    int err = store->pinned ? EBUSY : 0;

    if (!err && keep)
        err = write_all(store, written);
    if (err)
        return err;
    store->dying = true; /* else what is idle now might not be, after all */
    hmm_store_wait_idle(store);
    err = store->held || store->requests || store->users
              ? EBUSY
              : hmm_store_detach(store);
    store->dying = false;
    return err;
}

/* Drops the lock.  After 0 the store is gone, or a zombie without a handle; after
 * an error it is as before, but for regions that HURDMM_DETACH has taken. */
int hmm_store_destroy(struct hurdmm_store *store, unsigned flags)
{
    bool keep = !(store->flags & HURDMM_STORE_VOLATILE) &&
                !(flags & HURDMM_DROP) && store->ops.page_out;
    uint64_t written = UINT64_MAX;
    int err = 0;

    hmm_assert(hmm_entered(store->manager));
    if (hmm_in_callback(store->manager, hmm_thread_self(store->manager)))
        return EDEADLK;
    if (store->claims > 0)
        return EBUSY;
    if (flags & HURDMM_DETACH)
        err = write_and_detach(store, keep, &written);
    if (!err && (store->cache.mappings.count > 0 || store->pinned))
        err = EBUSY;
    if (err)
        return err;
    /* Nothing new can come in while it dies. */
    store->dying = true;
    hmm_store_wait_idle(store);
    err = hmm_store_in_use(store);
    if (!err && keep) {
        while (!err && store->dirty > 0)
            err = hmm_flush(store, 0, hmm_last_page(store));
        if (!err)
            err = store->write_error;
        store->write_error = 0; /* this is what tells of it */
        if (!err && written != store->manager->stats.pages_out)
            err = hmm_store_settle(store, 0, store->size);
    }
    if (!err)
        err = hmm_hold(store, 0, hmm_last_page(store));
    if (!err) {
        hmm_unhold(store);
        hmm_chore_forget(store);
        hmm_bury(store);
        return 0;
    }
    store->dying = false;
    return err;
}

int hurdmm_store_destroy(struct hurdmm_store *store, unsigned flags)
{
    if (flags & ~(HURDMM_DETACH | HURDMM_DROP))
        return EINVAL;
    int err = hmm_enter_store(store);
    if (err)
        return err;
    struct hurdmm *manager = store->manager;
    err = hmm_store_destroy(store, flags);
    hmm_leave(manager);
    return err;
}

uint64_t hurdmm_store_size(const struct hurdmm_store *store)
{
    return store->size;
}

void *hurdmm_store_hook(const struct hurdmm_store *store)
{
    return store->hook;
}

const struct hurdmm_store_ops *hurdmm_store_operations(
    const struct hurdmm_store *store)
{
    return store->given_ops;
}

struct hurdmm *hurdmm_store_manager(const struct hurdmm_store *store)
{
    return store->manager;
}

/* Tells the store, while the hold keeps the range as it is. */
static void tell_discarded(struct hurdmm_store *store, uint64_t first,
                           uint64_t last)
{
    struct hurdmm *manager = store->manager;
    unsigned shift = manager->physmem.page_shift;
    struct hmm_call call;

    hmm_assert(store->held && first <= last);
    if (!store->ops.discarded)
        return;
    hmm_call_begin(&call, store, 0);
    store->ops.discarded(store, store->hook, first << shift,
                         (last - first + 1) << shift);
    hmm_call_end(&call);
}

/* Zeroes what lies past the new end in the pages before `end`, the last block's,
 * as far as they are there.  First it is called without `now`, to do all that
 * may fail: the pages are taken back then, and their windows found. */
static int zero_tail(struct hurdmm_store *store, uint64_t size, uint64_t end,
                     void *windows[], bool now)
{
    struct hurdmm *manager = store->manager;
    size_t bytes = hmm_page_bytes(manager);
    size_t from = (size_t)(size & (bytes - 1));
    uint64_t page = size >> manager->physmem.page_shift;

    hmm_assert(end <= page || end - page <= HMM_RUN_MAX);
    for (unsigned i = 0; page < end; page++, i++, from = 0) {
        uint64_t *slot = hmm_container_slot(&store->cache, page);

        if (!hmm_resident(slot))
            continue;
        if (now) {
            memset((char *)windows[i] + from, 0, bytes - from);
            continue;
        }
        int err = hmm_take_back(&store->cache, page, slot, HURDMM_NONE);
        if (!err)
            err = hmm_frames_window(&manager->physmem, HMM_SLOT_FRAME(*slot), 1,
                                    &windows[i]);
        if (err)
            return err;
    }
    return 0;
}

static bool pinned_slot(const struct hurdmm *manager, uint64_t slot,
                        bool writers)
{
    uint32_t number = HMM_SLOT_FRAME(slot);

    if (number == HURDMM_FRAME_NONE)
        return false;
    const struct hmm_frame *frame = &manager->physmem.table[number];
    return frame->pins_write || (!writers && frame->pins_read);
}

bool hmm_pinned_for(const struct hurdmm_store *store, uint64_t first,
                    uint64_t last, bool writers)
{
    struct hmm_index_cursor cursor;
    const struct hmm_bond *bond;

    hmm_assert(hmm_entered(store->manager));
    if (!store->manager->pinned)
        return false;
    bool more =
        store->pinned && hmm_index_seek(&store->cache.index, &cursor, first);
    for (; more && cursor.key <= last; more = hmm_index_step(&cursor)) {
        if (pinned_slot(store->manager, *cursor.value, writers))
            return true;
    }
    /* A page that is shared is pinned where its frame is. */
    bond = hmm_bond_in(&store->cache, first, last);
    for (; bond; bond = hmm_bond_next(bond, first, last)) {
        uint64_t from = hmm_max(first, bond->by_target.first);
        uint64_t to = hmm_min(last, bond->by_target.last);
        if (bond->shared &&
            hmm_pinned_for(hmm_store_of(bond->source),
                           hmm_bond_source_page(bond, from),
                           hmm_bond_source_page(bond, to), writers))
            return true;
    }
    return false;
}

bool hmm_pinned_in(const struct hurdmm_store *store, uint64_t first,
                   uint64_t last)
{
    hmm_assert(hmm_entered(store->manager));
    return hmm_pinned_for(store, first, last, false);
}

/* Makes the page that the new end cuts resident and dirty and takes a hold on
 * it and all after it: its bytes after the end shall be zeros for good, not only
 * until it leaves memory. */
static int hold_tail(struct hurdmm_store *store, uint64_t size)
{
    struct hurdmm *manager = store->manager;
    uint64_t page = size >> manager->physmem.page_shift;
    bool keeps = (size & (hmm_page_bytes(manager) - 1)) &&
                 !(store->flags & HURDMM_STORE_READ_ONLY);
    bool throttled = false; /* once is enough */
    uint64_t *slot;

    hmm_assert(hmm_entered(manager));
    for (;;) {
        struct hmm_want want = {
            .store = store,
            .page = page,
            .access = HURDMM_WRITE,
            .thread = hmm_thread_self(manager),
            .throttled = throttled,
        };
        int err = keeps ? hmm_obtain(&want, &slot) : 0;
        throttled = want.throttled;
        if (err == EAGAIN)
            continue;
        if (!err)
            err = hmm_hold_settled(store, page, hmm_last_page(store));
        if (err || !keeps)
            return err;
        slot = hmm_container_slot(&store->cache, page);
        if (hmm_resident(slot)) {
            hmm_page_dirty(store, slot);
            hmm_page_written(store, slot);
            return 0;
        }
        hmm_unhold(store); /* it left while the hold was waited for */
    }
}

/* Cuts the store off at `size`.  All that can fail is done before the first byte
 * is lost; then what lies past the end goes, written or not. */
static int shrink(struct hurdmm_store *store, uint64_t size)
{
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t block = (uint64_t)store->block_pages << shift;
    uint64_t keep = (size + block - 1) / block * store->block_pages;
    uint64_t pages = hmm_store_pages(store);
    uint64_t first = size >> shift, last = hmm_last_page(store);
    void *windows[HMM_RUN_MAX];

    hmm_assert(size < store->size && keep >= first);
    if (hmm_pinned_in(store, first, last))
        return EBUSY;
    int err = hold_tail(store, size);
    if (err)
        return err;
    if (hmm_pinned_in(store, first, last))
        err = EBUSY;
    /* What can fail of losing the pages comes before the first is lost. */
    if (!err)
        err = zero_tail(store, size, keep, windows, false);
    if (!err)
        err = hmm_take_all(store, keep, last);
    if (!err)
        err = hmm_unbond(store, keep, last);
    if (!err)
        err = hmm_drop_range(store, keep, last, true);
    if (!err)
        err = zero_tail(store, size, keep, windows, true);
    if (!err && keep < pages)
        tell_discarded(store, keep, pages - 1);
    if (!err)
        store->size = size;
    hmm_unhold(store);
    hmm_reap(store->manager);
    return err;
}

int hurdmm_store_resize(struct hurdmm_store *store, uint64_t size)
{
    int err = hmm_enter_store(store);

    if (err)
        return err;
    struct hurdmm *manager = store->manager;
    uint64_t block = (uint64_t)store->block_pages
                     << manager->physmem.page_shift;
    if (size > UINT64_MAX - block)
        err = EINVAL;
    else if (store->claims > 0)
        err = EBUSY;
    else if (size < store->size)
        err = shrink(store, size);
    else
        store->size = size;
    hmm_leave(manager);
    return err;
}

/* ---- Verbs ---- */

/* Enters, and makes pages of a byte range, cut at the store's end.  ENOENT: the
 * range is empty then, and there is nothing to do. */
static int enter_range(struct hurdmm_store *store, uint64_t offset,
                       uint64_t length, uint64_t *first, uint64_t *last)
{
    int err = hmm_enter_store(store);

    if (err)
        return err;
    const struct hurdmm *manager = store->manager;
    uint64_t mask = hmm_page_bytes(manager) - 1;
    uint64_t pages = hmm_store_pages(store);
    uint64_t block = store->block_pages;
    if ((offset & mask) || length == 0 ||
        (length != HURDMM_WHOLE &&
         ((length & mask) || !hmm_range_ok(offset, length)))) {
        hmm_leave(store->manager);
        return EINVAL;
    }
    *first = offset >> manager->physmem.page_shift;
    *last = (pages + block - 1) / block * block - 1;
    if (length != HURDMM_WHOLE) {
        uint64_t asked = (offset + (length - 1)) >> manager->physmem.page_shift;
        *last = asked + 1 < pages ? asked : *last;
    }
    if (pages == 0 || *first > *last) {
        hmm_leave(store->manager);
        return ENOENT;
    }
    hmm_assert(*last <= hmm_last_page(store));
    return 0;
}

/* Leaves, and hands the error through. */
static int leave_with(struct hurdmm_store *store, int err)
{
    hmm_leave(store->manager);
    return err;
}

/* EDEADLK: the caller is, or works for, a callback of the store, which what it
 * asks for would wait for. */
static int own_callback(struct hurdmm_store *store)
{
    return hmm_would_deadlock(store, hmm_thread_self(store->manager), 0)
               ? EDEADLK
               : 0;
}

/* The error of background writes, reported once. */
static int report(struct hurdmm_store *store, int err)
{
    int earlier = store->write_error;

    store->write_error = 0;
    return earlier ? earlier : err;
}

/* Without HURDMM_WAIT the work is queued; a queue that is full makes the caller
 * do it. */
static bool start_only(struct hurdmm_store *store, enum hmm_chore_kind kind,
                       unsigned flags, uint64_t first, uint64_t last)
{
    return !(flags & HURDMM_WAIT) &&
           hmm_chore_add(store->manager, kind, store, first, last);
}

int hurdmm_store_flush(struct hurdmm_store *store, uint64_t offset,
                       uint64_t length, unsigned flags)
{
    uint64_t first, last;

    if (flags & ~HURDMM_WAIT)
        return EINVAL;
    int err = enter_range(store, offset, length, &first, &last);
    if (err)
        return err == ENOENT ? 0 : err;
    if (!start_only(store, HMM_CHORE_FLUSH, flags, first, last)) {
        err = own_callback(store);
        if (!err)
            err = report(store, hmm_flush(store, first, last));
    }
    return leave_with(store, err);
}

/* Ranges of verbs that drop pages are whole blocks. */
static int check_blocks(const struct hurdmm_store *store, uint64_t first,
                        uint64_t last)
{
    uint64_t mask = store->block_pages - 1;
    uint64_t end = hmm_store_pages(store);

    if (first & mask)
        return EINVAL;
    return ((last + 1) & mask) && last + 1 < end ? EINVAL : 0;
}

int hurdmm_store_return(struct hurdmm_store *store, uint64_t offset,
                        uint64_t length, unsigned flags)
{
    uint64_t first, last;

    if (flags & ~HURDMM_WAIT)
        return EINVAL;
    int err = enter_range(store, offset, length, &first, &last);
    if (err)
        return err == ENOENT ? 0 : err;
    err = check_blocks(store, first, last);
    if (!err)
        err = own_callback(store);
    if (err)
        return leave_with(store, err);
    if (!start_only(store, HMM_CHORE_RETURN, flags, first, last))
        err = report(store, hmm_flush(store, first, last));
    int busy = hmm_drop_range(store, first, last, false);
    return leave_with(store, err ? err : busy);
}

/* Drops all but pinned pages, and tells the store of the pieces between. */
static int discard(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    uint64_t from = first;
    int err = hmm_drop_range(store, first, last, true);

    hmm_assert(store->held);
    if (err && err != EBUSY)
        return err;
    while (from <= last) {
        uint64_t page = from;
        /* What is still there is pinned. */
        uint64_t *slot = hmm_index_next(&store->cache.index, from, &page);
        if (!slot || page > last) {
            tell_discarded(store, from, last);
            break;
        }
        if (page > from)
            tell_discarded(store, from, page - 1);
        from = page + 1;
    }
    return err;
}

/* Forgets copies but for pages that are pinned where their frames are. */
static int unbond_unpinned(struct hurdmm_store *store, uint64_t first,
                           uint64_t last)
{
    const struct hmm_bond *bond;
    bool busy = false;
    int err = 0;

    if (!hmm_pinned_in(store, first, last))
        return hmm_unbond(store, first, last);
    while (!err && first <= last &&
           (bond = hmm_bond_in(&store->cache, first, last)) != NULL) {
        first = hmm_max(first, bond->by_target.first);
        if (hmm_pinned_in(store, first, first))
            busy = true;
        else
            err = hmm_unbond(store, first, first);
        first++;
    }
    return !err && busy ? EBUSY : err;
}

int hurdmm_store_discard(struct hurdmm_store *store, uint64_t offset,
                         uint64_t length)
{
    uint64_t first, last;
    int err = enter_range(store, offset, length, &first, &last);

    if (err)
        return err == ENOENT ? 0 : err;
    struct hurdmm *manager = store->manager;
    err = check_blocks(store, first, last);
    if (!err)
        err = hmm_hold_settled(store, first, last);
    if (!err) {
        int busy = unbond_unpinned(store, first, last);
        err = busy && busy != EBUSY ? busy : discard(store, first, last);
        err = err ? err : busy;
        hmm_unhold(store);
        hmm_reap(manager); /* drops the lock: the store may go */
    }
    hmm_leave(manager);
    return err;
}

int hurdmm_store_sync(struct hurdmm_store *store, uint64_t offset,
                      uint64_t length, unsigned flags)
{
    uint64_t first, last;

    if (flags & ~HURDMM_WAIT)
        return EINVAL;
    int err = enter_range(store, offset, length, &first, &last);
    if (err)
        return err == ENOENT ? 0 : err;
    unsigned shift = store->manager->physmem.page_shift;
    if (start_only(store, HMM_CHORE_SYNC, flags, first, last))
        return leave_with(store, 0);
    err = own_callback(store);
    if (err)
        return leave_with(store, err);
    int written = hmm_flush(store, first, last);
    err = hmm_store_settle(store, first << shift, (last - first + 1) << shift);
    return leave_with(store, report(store, written ? written : err));
}

int hurdmm_sync_all(struct hurdmm *manager)
{
    struct hmm_list *link;
    int first_error = 0;
    uint32_t id = 0;
    int err = hmm_enter_manager(manager);

    if (err)
        return err;
    /* Stores come in the order of their numbers; the lock is dropped in
     * between, so each step looks for the next number. */
    for (;;) {
        struct hurdmm_store *store = NULL;
        HMM_LIST_FOR_EACH(link, &manager->stores)
        {
            store = HMM_CONTAINER_OF(link, struct hurdmm_store, link);
            if (store->id > id)
                break;
            store = NULL;
        }
        if (!store)
            break;
        id = store->id;
        bool skip = store->flags & HURDMM_STORE_READ_ONLY ||
                    store->claims > 0; /* who claims it sees to it */
        hmm_leave(manager);
        err = skip ? 0 : hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
        if (!first_error && err != ESTALE)
            first_error = err;
        err = hmm_enter_manager(manager);
        if (err)
            return err;
    }
    hmm_leave(manager);
    return first_error;
}

int hurdmm_store_state(struct hurdmm_store *store, uint64_t offset,
                       unsigned *state, int *error)
{
    int err = hmm_enter_store(store);

    if (err)
        return err;
    struct hurdmm *manager = store->manager;
    uint64_t page = offset >> manager->physmem.page_shift;
    if (!state || offset >= store->size)
        return leave_with(store, EINVAL);
    struct hmm_want want = {.store = store, .page = page};
    const uint64_t *slot = hmm_home_slot(&want);
    unsigned found = slot ? hmm_page_state(manager, *slot) : 0;
    int said = slot ? (int)(*slot >> HMM_ERROR_SHIFT) : 0;
    hmm_leave(manager);
    *state = found;
    if (error)
        *error = said;
    return 0;
}

int hurdmm_store_set_priority(struct hurdmm_store *store, uint64_t offset,
                              uint64_t length, int priority)
{
    int err = hmm_enter_store(store);

    if (err)
        return err;
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t last = hmm_last_page(store);
    if (!(store->flags & HURDMM_STORE_DISCARDABLE) ||
        priority < HURDMM_PRIORITY_MIN || priority > HURDMM_PRIORITY_MAX ||
        offset & (hmm_page_bytes(store->manager) - 1))
        err = EINVAL;
    else if (length != HURDMM_WHOLE)
        err = hmm_range_check(store->manager, offset, length);
    if (!err && length != HURDMM_WHOLE)
        last = (offset + (length - 1)) >> shift;
    if (!err)
        err = hmm_store_grade(store, offset >> shift, last, priority);
    return leave_with(store, err);
}

int hurdmm_store_advise(struct hurdmm_store *store, uint64_t offset,
                        uint64_t length, enum hurdmm_advice advice)
{
    uint64_t first, last;

    if ((unsigned)advice > HURDMM_ADVICE_READ_ONCE)
        return EINVAL;
    int err = enter_range(store, offset, length, &first, &last);
    if (err)
        return err == ENOENT ? 0 : err;
    struct hurdmm *manager = store->manager;
    unsigned shift = manager->physmem.page_shift;
    if (advice == HURDMM_ADVICE_WILLNEED && store->ops.fill_start)
        hmm_prefetch(store, first, last);
    else if (advice == HURDMM_ADVICE_WILLNEED)
        hmm_chore_add(manager, HMM_CHORE_PREFETCH, store, first, last);
    else if (advice == HURDMM_ADVICE_DONTNEED)
        hmm_cool_range(store, first, last);
    if (!store->ops.advise)
        return leave_with(store, 0);
    struct hmm_call call;
    hmm_call_begin(&call, store, 0);
    store->ops.advise(store, store->hook, first << shift,
                      (last - first + 1) << shift, advice);
    hmm_call_end(&call);
    return leave_with(store, 0);
}
