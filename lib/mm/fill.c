/* SPDX-License-Identifier: MIT */
/* fill.c - bringing pages in: clusters, requests, reading ahead.
 *
 * A fill takes a cluster of absent pages, whole blocks, the wanted one first,
 * and a row of frames for it; the pages are marked filling, every lock is
 * dropped, and the store is asked.  When it answers, pages that are still
 * marked and still name the request's frames are published; the other frames
 * are freed.  So whatever installed a page in between (supply, cache) wins.
 *
 * An error belongs to the first byte that was not done.  The wanted block fails
 * with it, and remembers it (sticky) unless it speaks of the moment only;
 * other pages of the cluster were not asked for and are simply absent again.
 *
 *     begin ----> ask_simple: page_in, refill ---------------------> finish
 *          \----> ask_full: fault, fill_start ---> answered within --/
 *                                          \----> answered later ---/  by
 *                                                 hurdmm_request_complete
 *
 * Who goes straight on has what lies beyond begun before waiting for what is
 * wanted, so that the store is never without work: then both go by fill_start.
 *
 * Invariants
 *   R1  each frame of a request is in the slot of its page, which is marked as
 *       filling, or in no slot: then somebody installed the page in between, or
 *       took the slot for a bond, and finish drops the frame.  Nothing else takes a
 *       filling page away, so its slot need not be looked for at other places;
 *   R2  a request keeps its store (requests: EBUSY, and zombies wait for it), but
 *       neither region nor space: what the description says of them is for the
 *       store to look at, and may be out of date;
 *   R3  blocks are filled and fail whole (M6): windows, rows of frames and what
 *       counts as done are multiples of a block;
 *   R4  `executor' is the thread in the callback, and `result' lies on its stack:
 *       both are taken off before that thread goes on, under the lock;
 *   R5  past the store's size there are zeros, whatever the store put there.
 */
#include "lib/mm/mm.h"

/* Errors that speak of the moment and not of the page: who comes next asks again. */
static bool passing(int error)
{
    return error == ENOMEM || error == EAGAIN || error == EINTR ||
           error == EDEADLK || error == ECANCELED || error == ETIMEDOUT ||
           error == EBUSY;
}

/* The region whose pattern counts: not one that reads through a bond. */
static struct hmm_region *pattern_of(const struct hmm_want *want)
{
    return want->region && want->region->store == want->store &&
                   want->view == want->page
               ? want->region
               : NULL;
}

/* How many pages to bring in from `page` on, by advice and pattern: 1 and up.  What
 * goes straight on doubles each time; nothing is learnt here, begin does that. */
static uint64_t window_for(struct hmm_want *want)
{
    struct hmm_region *region = pattern_of(want);
    const struct hurdmm *manager = want->store->manager;
    uint32_t most = manager->readahead;

    hmm_assert(most > 0 && most <= HMM_RUN_MAX);
    if (!region)
        return hmm_min(most, hmm_max(want->ahead, 1));
    if (region->advice == HURDMM_ADVICE_RANDOM)
        return 1;
    if (region->advice == HURDMM_ADVICE_SEQUENTIAL ||
        region->advice == HURDMM_ADVICE_READ_ONCE)
        return most;
    if (want->page != region->next_page)
        return 1;
    return hmm_min(most, hmm_max(2, (uint64_t)region->window * 2));
}

/* Is the slot one without a frame that a fill replaces? */
static bool marker(const uint64_t *slot)
{
    return slot && (*slot & (HMM_DISCARDED | HMM_OWN));
}

/* Was the block discarded, and is nothing else known of it? */
static bool discarded_at(const struct hurdmm_store *store, uint64_t page,
                         uint64_t block)
{
    bool some = false;

    hmm_assert(page % block == 0);
    for (uint64_t i = page; i < page + block; i++) {
        const uint64_t *slot = hmm_container_slot(&store->cache, i);

        if (slot && !marker(slot))
            return false;
        some = some || (slot && *slot & HMM_DISCARDED);
    }
    return some;
}

/* Stores are told whether what they fill was discarded: of the blocks from
 * `first` on, the first that is not as that one, or that is there. */
static uint64_t alike_until(const struct hurdmm_store *store, uint64_t first,
                            uint64_t block, uint64_t end)
{
    uint64_t page = first + block;

    hmm_assert(first % block == 0);
    if (!discarded_at(store, first, block))
        return hmm_index_next(&store->cache.index, page, &page) ? page : end;
    while (page < end && discarded_at(store, page, block))
        page += block;
    return page;
}

/* Cuts a window at the region's end, the store's, a hold, the first bond and the
 * first page that is there: whole blocks, and at least the one that is wanted. */
static uint64_t cut_window(struct hmm_want *want, uint64_t first,
                           uint64_t count)
{
    struct hurdmm_store *store = want->store;
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t block = store->block_pages;
    uint64_t end = hmm_store_pages(store);

    if (pattern_of(want))
        end = hmm_min(end, (want->region->mapping.by_offset.last >> shift) + 1);
    if (store->held && store->hold_first > first)
        end = hmm_min(end, store->hold_first);
    end = hmm_min(end, alike_until(store, first, block, end));
    const struct hmm_bond *bond =
        hmm_bond_in(&store->cache, first + block, UINT64_MAX);
    if (bond)
        end = hmm_min(end, bond->by_target.first);
    count = hmm_min(count, end > first ? end - first : 0);
    return hmm_max(count / block * block, block);
}

/* What is to be known of a page that could not be filled: that it was absent in
 * spite of a bond, through which it must not read now, and that it was
 * discarded. */
static uint64_t marker_again(const struct hurdmm_store *store, uint64_t page,
                             bool discarded)
{
    return (hmm_bond_at(&store->cache, page) ? HMM_OWN : 0) |
           (discarded ? HMM_DISCARDED : 0);
}

/* Marks up to `count' pages, none of which is there, as filling; how many. */
static uint32_t mark_row(struct hurdmm_store *store, uint64_t first,
                         uint64_t count, uint32_t run)
{
    unsigned n = hmm_container_put_row(&store->cache, first, run | HMM_FILLING,
                                       (unsigned)count);

    store->manager->filling += n;
    return n;
}

/* Marks [first, first + count) as filling with frames from `run` on, which go over
 * to the slots.  A marker of a discarded page is replaced; *discarded says that
 * there was one.  ENOMEM: nothing was marked, the frames are the caller's, and
 * markers are as they were. */
static int mark(struct hurdmm_store *store, uint64_t first, uint32_t count,
                uint32_t run, bool *discarded)
{
    struct hurdmm *manager = store->manager;
    uint64_t there = UINT64_MAX; /* before that page there is none */
    uint32_t i, n;

    hmm_assert(first % store->block_pages == 0);
    hmm_assert(count > 0 && count % store->block_pages == 0); /* R3 */
    *discarded = false;
    (void)hmm_index_next(&store->cache.index, first, &there);
    for (i = 0; i < count; i += n) {
        bool absent = first + i < there;
        n = absent ? mark_row(store, first + i,
                              hmm_min(count - i, there - first - i), run + i)
                   : 0;
        if (n > 0)
            continue;
        n = 1;
        uint64_t *slot =
            absent ? NULL : hmm_container_slot(&store->cache, first + i);
        if (slot && !marker(slot)) {
            hmm_assert(store->block_pages > 1);
            continue; /* M6 is kept by the publication */
        }
        if (slot) {
            *discarded = *discarded || *slot & HMM_DISCARDED;
            hmm_container_swap(&store->cache, first + i, slot, run + i);
            *slot = (run + i) | HMM_FILLING;
        } else if (hmm_container_put(&store->cache, first + i,
                                     (run + i) | HMM_FILLING)) {
            break;
        }
        manager->filling++;
    }
    if (i == count)
        return 0;
    while (i-- > 0) {
        uint64_t *slot = hmm_container_slot(&store->cache, first + i);
        if (slot && (*slot & HMM_FILLING) && HMM_SLOT_FRAME(*slot) == run + i) {
            *slot &= ~HMM_FILLING;
            hmm_page_absent(store, first + i, slot,
                            marker_again(store, first + i, *discarded));
            manager->filling--;
        }
    }
    return ENOMEM;
}

/* The bytes of these pages that the store has: its last page may be a part. */
static size_t clipped_length(const struct hurdmm_store *store, uint64_t first,
                             uint32_t count)
{
    unsigned shift = store->manager->physmem.page_shift;
    uint64_t offset = first << shift;

    hmm_assert(count > 0 && offset < store->size);
    return (size_t)hmm_min((uint64_t)count << shift, store->size - offset);
}

/* What the store may ask about the request. */
static void describe(struct hurdmm_request *request, struct hmm_want *want,
                     bool discarded)
{
    unsigned shift = want->store->manager->physmem.page_shift;
    const struct hmm_region *region = pattern_of(want);

    hmm_assert(request->store == want->store && request->length > 0);
    request->info = (struct hurdmm_request_info){
        .store = want->store,
        .space = region ? region->space : NULL,
        .address = region ? want->address : 0,
        .region = region ? (uintptr_t)region->by_address.first : 0,
        .offset = request->first << shift,
        .length = request->length,
        .access = want->access & HURDMM_WRITE ? HURDMM_WRITE : HURDMM_READ,
        .why = discarded ? HURDMM_WHY_DISCARDED : HURDMM_WHY_ABSENT,
        .thread = want->thread,
    };
}

/* Takes up to `count` frames in a row, a multiple of `block`; *got may be 0, when no
 * row is as long as a block.  EAGAIN, ENOMEM. */
static int take_blocks(struct hurdmm *manager, uint32_t count, uint32_t block,
                       uint32_t hint, uint32_t *run, uint32_t *got)
{
    int err = hmm_frames_get(manager, count, hint, run, got);

    if (err)
        return err;
    uint32_t rest = *got % block;
    hmm_assert(*got > 0 && *got <= count);
    hmm_frames_drop(&manager->physmem, *run + *got - rest, rest);
    *got -= rest;
    return 0;
}

/* Takes frames in a row for up to `count` pages from `first` on, whole blocks,
 * and behind the frame of the page before where that is free: neighbours can be lent
 * and written at once then.  EAGAIN: the lock may have been dropped; ENOMEM. */
static int take_frames(struct hurdmm_store *store, uint64_t first,
                       uint64_t count, uint32_t *run, uint32_t *got)
{
    struct hurdmm *manager = store->manager;
    uint32_t block = store->block_pages;
    uint64_t *before =
        first ? hmm_container_slot(&store->cache, first - 1) : NULL;
    uint32_t hint =
        hmm_resident(before) ? HMM_SLOT_FRAME(*before) + 1 : HURDMM_FRAME_NONE;
    int err = take_blocks(manager, (uint32_t)count, block, hint, run, got);

    if (!err && *got == 0 && hint != HURDMM_FRAME_NONE)
        err = take_blocks(manager, (uint32_t)count, block, HURDMM_FRAME_NONE,
                          run, got);
    hmm_assert(err || *got % block == 0);
    if (err || *got > 0)
        return err;
    /* The block needs frames in a row: make room until they are. */
    err = hmm_reclaim(manager, block);
    return err ? err : EAGAIN;
}

/* All but what only the caller knows: buffer and description. */
static void init_request(struct hurdmm_request *request, struct hmm_want *want,
                         uint64_t first, uint32_t count, uint32_t run)
{
    struct hurdmm_store *store = want->store;

    hmm_assert(count >= store->block_pages && run != HURDMM_FRAME_NONE);
    memset(request, 0, sizeof *request);
    request->magic = HMM_MAGIC_REQUEST;
    request->store = store;
    request->first = first;
    request->count = count;
    request->wanted = store->block_pages;
    request->run = run;
    request->length = clipped_length(store, first, count);
    request->unasked = want->prefetch;
    request->read_once =
        pattern_of(want) && want->region->advice == HURDMM_ADVICE_READ_ONCE;
}

/* Makes the request: frames, marks, structure.  0: the lock was not dropped since the
 * page was seen to be absent; EAGAIN or an error: there is none.  The region learns
 * where a sequential reader would go on. */
static int begin(struct hmm_want *want, struct hurdmm_request **result)
{
    struct hurdmm_store *store = want->store;
    struct hurdmm *manager = store->manager;
    uint64_t block = store->block_pages;
    uint64_t first = want->page / block * block;
    uint64_t count = hmm_max(window_for(want), block);
    uint32_t run, got;
    bool discarded;

    count = cut_window(want, first, (count + block - 1) / block * block);
    hmm_assert(count > 0 && count % block == 0 && count <= HMM_RUN_MAX);
    int err = hmm_account_admit(store, count);
    if (!err)
        err = take_frames(store, first, count, &run, &got);
    if (err)
        return err;
    struct hurdmm_request *request = hmm_slab_alloc(&manager->request_slab);
    void *buffer = NULL;
    err = request ? hmm_frames_window(&manager->physmem, run, got, &buffer)
                  : ENOMEM;
    if (!err)
        err = mark(store, first, got, run, &discarded);
    if (err) {
        if (request)
            hmm_slab_free(&manager->request_slab, request);
        hmm_frames_drop(&manager->physmem, run, got);
        return err;
    }
    init_request(request, want, first, got, run);
    request->buffer = buffer;
    describe(request, want, discarded);
    hmm_list_append(&manager->requests, &request->link);
    store->requests++;
    if (pattern_of(want)) {
        want->region->window = got;
        want->region->next_page = first + got;
    }
    *result = request;
    return 0;
}

/* Ends one page of a request, whose slot is `slot' (NULL: none): published, or absent
 * again with what is to be known of it (`sticky': the error that it remembers).  A
 * page that is published leaves all slots where they are.  Waking is the caller's. */
static void end_page(struct hurdmm_request *request, uint32_t i, uint64_t *slot,
                     bool good, int sticky)
{
    struct hurdmm_store *store = request->store;
    struct hurdmm *manager = store->manager;
    uint64_t page = request->first + i;
    uint32_t frame = request->run + i;
    unsigned how = request->read_once ? HURDMM_PAGE_READ_ONCE : 0;

    hmm_assert(i < request->count);
    if (!slot || !(*slot & HMM_FILLING) || HMM_SLOT_FRAME(*slot) != frame) {
        hmm_frames_drop(&manager->physmem, frame, 1);
        return;
    }
    hmm_assert(!(*slot & (HMM_LENT | HMM_DIRTY))); /* M1 */
    if (good) {
        if (i >= request->wanted || request->unasked) {
            how |= HURDMM_PAGE_AHEAD;
            manager->stats.pages_ahead++;
        }
        manager->stats.pages_in++;
        hmm_page_publish(store, page, slot, how);
        return;
    }
    manager->filling--;
    *slot &= ~HMM_FILLING;
    hmm_page_absent(
        store, page, slot,
        sticky && i < request->wanted
            ? HMM_FAILED | (uint64_t)sticky << HMM_ERROR_SHIFT
            : marker_again(store, page,
                           request->info.why == HURDMM_WHY_DISCARDED));
    hmm_frames_drop(&manager->physmem, frame, 1);
}

/* Ends all pages, of which the first `good` came. */
static void end_pages(struct hurdmm_request *request, uint32_t good, int sticky)
{
    const struct hmm_container *cache = &request->store->cache;
    uint32_t i = 0;

    while (i < good) {
        uint64_t *slot;
        unsigned n = hmm_index_row(&cache->index, request->first + i, &slot);

        if (n == 0)
            end_page(request, i++, NULL, true, sticky);
        for (; n > 0 && i < good; n--)
            end_page(request, i++, slot++, true, sticky);
    }
    for (; i < request->count; i++)
        end_page(request, i, hmm_container_slot(cache, request->first + i),
                 false, sticky);
}

/* How many pages `done` bytes are: whole blocks, the last one cut short. */
static uint32_t pages_done(const struct hurdmm_request *request, size_t done)
{
    const struct hurdmm_store *store = request->store;
    unsigned shift = store->manager->physmem.page_shift;

    hmm_assert(request->length > 0 && request->count >= request->wanted);
    if (done >= request->length)
        return request->count;
    return (uint32_t)((done >> shift) / store->block_pages *
                      store->block_pages);
}

/* What the last page has past the store's end is zeros, whatever the store put
 * there. */
static void zero_rest(struct hurdmm_request *request)
{
    size_t whole = (size_t)request->count
                   << request->store->manager->physmem.page_shift;

    hmm_assert(request->length <= whole); /* R5 */
    memset((char *)request->buffer + request->length, 0,
           whole - request->length);
}

/* Did somebody else (supply, cache) install all that was wanted? */
static bool installed(const struct hurdmm_request *request)
{
    for (uint32_t i = 0; i < request->wanted; i++) {
        struct hmm_want home = {.store = request->store,
                                .page = request->first + i};
        if (!hmm_resident(hmm_home_slot(&home)))
            return false;
    }
    return true;
}

/* Publishes and wakes; the request is gone.  `done' bytes of it are there, as the
 * store says, and `err' is for the next.  Returns the error of the wanted block, 0
 * also if somebody else has brought that.  The lock is not dropped, so that who
 * asked and still has it finds the page there. */
static int finish(struct hurdmm_request *request, size_t done, int err)
{
    struct hurdmm_store *store = request->store;
    struct hurdmm *manager = store->manager;
    uint32_t good = pages_done(request, done);
    struct hmm_want home = {.store = store, .page = request->first};
    int wanted = 0;

    hmm_assert(request->magic == HMM_MAGIC_REQUEST && store->requests > 0);
    hmm_assert(good <= request->count);
    hmm_assert(good == request->count || good % store->block_pages == 0);
    hmm_assert(!hmm_list_empty(&request->link));
    if (good < request->wanted && !installed(request))
        wanted = err ? hmm_callback_error(err) : EIO;
    if (good == request->count)
        zero_rest(request);
    int sticky = passing(wanted) || request->unasked ? 0 : wanted;
    manager->stats.bytes_in += hmm_min(done, request->length);
    end_pages(request, good, sticky);
    /* What answered may be a bond (hurdmm_memory_use). */
    const uint64_t *slot = hmm_home_slot(&home);
    if (!wanted && !request->unasked && hmm_resident(slot))
        hmm_note_recent(manager, slot);
    store->requests--;
    hmm_list_remove(&request->link);
    if (request->result) {
        request->result->finished = true;
        request->result->error = wanted;
    }
    uint64_t first = request->first;
    uint32_t count = request->count, block = request->wanted;
    bool unasked = request->unasked;
    request->magic = 0;
    hmm_slab_free(&manager->request_slab, request);
    /* Who met a prefetch that failed asks for the page itself. */
    hmm_page_wake(store, first, block, unasked ? 0 : wanted);
    if (count > block)
        hmm_page_wake(store, first + block, count - block, 0);
    hmm_event_signal(&manager->progress, &manager->parker);
    hmm_ready_run(manager);
    return wanted;
}

/* Asks by a call that answers before it returns.  `behalf' waits for it.  Drops the
 * lock.  The error of the wanted block. */
static int ask_simple(struct hurdmm_request *request, uint64_t behalf)
{
    struct hurdmm_store *store = request->store;
    struct hurdmm *manager = store->manager;
    size_t done = request->length;
    struct hmm_call call;

    hmm_assert(request->magic == HMM_MAGIC_REQUEST && store->users > 0);
    hmm_assert(!request->executor && !request->result); /* R4 */
    request->executor = hmm_thread_self(manager);
    bool again = request->info.why == HURDMM_WHY_DISCARDED && store->ops.refill;

    hmm_call_begin(&call, store, behalf);
    int err = (again ? store->ops.refill : store->ops.page_in)(
        store, store->hook, request->info.offset, request->buffer,
        request->length, &done);
    hmm_call_end(&call);
    if (err && done == request->length)
        done = 0; /* it did not say how much: nothing, then */
    return finish(request, done, err);
}

typedef int start_call(struct hurdmm_store *store, void *hook,
                       struct hurdmm_request *request);

/* Asks by a call that may leave the answer for later.  Drops the lock.  0: the page
 * is there or will be, and who wants it joins.  An error that the call returns is an
 * answer, too, unless the request was completed; but what fill_start does not begin
 * and somebody wants is page_in's. */
static int ask_full(struct hurdmm_request *request, uint64_t behalf,
                    start_call *start)
{
    struct hurdmm_store *store = request->store;
    struct hurdmm *manager = store->manager;
    struct hmm_fill_result result = {false, 0};
    struct hmm_call call;

    hmm_assert(request->magic == HMM_MAGIC_REQUEST && store->users > 0);
    hmm_assert(!request->executor && !request->result); /* R4 */
    request->executor = hmm_thread_self(manager);
    request->result = &result;
    hmm_call_begin(&call, store, behalf);
    int err = start(store, store->hook, request);
    hmm_call_end(&call);
    if (result.finished)
        return result.error;
    /* What is answered later has us as a waiter like others (R4). */
    request->result = NULL;
    request->executor = 0;
    if (!err)
        return 0;
    return start == store->ops.fault || request->unasked
               ? finish(request, 0, err)
               : ask_simple(request, behalf);
}

/* Has somebody a hold on some of the page's block, which is filled whole?  *page is
 * one that it is on. */
static bool block_held(const struct hurdmm_store *store, uint64_t *page)
{
    uint64_t first = *page / store->block_pages * store->block_pages;

    if (!hmm_range_held(store, first, first + (store->block_pages - 1)))
        return false;
    *page = hmm_max(first, store->hold_first);
    return true;
}

/* Makes sure that the thread would not wait for itself, and that nobody has
 * taken a hold on the block. */
static int may_fill(struct hmm_want *want)
{
    uint64_t page = want->page;

    hmm_assert(hmm_entered(want->store->manager));
    if (hmm_would_deadlock(want->store, want->thread, page))
        return EDEADLK;
    return block_held(want->store, &page) ? hmm_page_wait(want, page) : 0;
}

/* A reader that goes straight on will not come back soon for what lies two
 * windows behind it. */
static void cool_behind(struct hmm_want *want)
{
    const struct hmm_region *region = pattern_of(want);
    uint64_t most = 2 * (uint64_t)want->store->manager->readahead;

    if (!region || region->advice != HURDMM_ADVICE_SEQUENTIAL ||
        want->page < most)
        return;
    hmm_cool_range(want->store, want->page - most, want->page - most / 2 - 1);
}

/* Lets the store start what it has kept back.  Drops the lock. */
static void submit(struct hurdmm_store *store)
{
    struct hmm_call call;

    hmm_assert(hmm_entered(store->manager));
    if (!store->ops.fill_start || !store->ops.submit)
        return;
    store->users++;
    hmm_call_begin(&call, store, 0);
    store->ops.submit(store, store->hook);
    hmm_call_end(&call);
    store->users--;
}

/* Starts the request, and what lies beyond it.  Drops the lock. */
static int fill_and_read_on(struct hmm_want *want,
                            struct hurdmm_request *request)
{
    struct hurdmm_store *store = want->store;
    void *token = want->region->space->token;
    int err = ask_full(request, want->thread, store->ops.fill_start);

    submit(store);
    if (!err && hmm_still_there(store->manager, token, want))
        hmm_read_on(want);
    return err;
}

int hmm_fill(struct hmm_want *want)
{
    struct hurdmm_store *store = want->store;
    struct hurdmm_request *request = NULL;

    hmm_assert(hmm_entered(want->store->manager));
    hmm_assert(!store->container && (store->ops.fault || store->ops.page_in));
    hmm_assert(!want->prefetch || !want->region);
    int err = may_fill(want);
    if (err)
        return err;
    cool_behind(want);
    err = begin(want, &request);
    if (err)
        return err;
    want->filled = true;
    want->got = request->count;
    store->users++;
    if (store->ops.fault)
        err = ask_full(request, want->thread, store->ops.fault);
    else if (want->prefetch && store->ops.fill_start)
        err = ask_full(request, 0, store->ops.fill_start);
    else if (hmm_reads_on(want))
        err = fill_and_read_on(want, request);
    else
        err = ask_simple(request, want->thread);
    store->users--;
    return err ? err : EAGAIN;
}

int hmm_fill_blank(struct hmm_want *want)
{
    struct hurdmm_store *store = want->store;
    struct hurdmm *manager = store->manager;
    uint64_t *slot;
    uint32_t frame, got;
    void *bytes;

    hmm_assert(hmm_entered(want->store->manager));
    hmm_assert(store->block_pages == 1 && want->access & HURDMM_WRITE);
    int err = may_fill(want);
    if (!err)
        err = hmm_account_admit(store, 1);
    if (!err)
        err = hmm_frames_get(manager, 1, HURDMM_FRAME_NONE, &frame, &got);
    if (err)
        return err;
    err = hmm_frames_window(&manager->physmem, frame, 1, &bytes);
    /* Only now: what was evicted for the frame may have moved the slots. */
    slot = hmm_container_slot(&store->cache, want->page);
    if (!err && slot) /* a marker: of an error, or of a discard */
        hmm_container_swap(&store->cache, want->page, slot, frame);
    else if (!err)
        err = hmm_container_put(&store->cache, want->page, frame);
    if (err) {
        hmm_frames_drop(&manager->physmem, frame, 1);
        return err;
    }
    memset(bytes, 0, hmm_page_bytes(manager)); /* what lies past the end */
    slot = hmm_container_slot(&store->cache, want->page);
    hmm_page_publish(store, want->page, slot, 0);
    return 0;
}

/* How often room is made for one prefetch before it is given up. */
#define ROOM_MAX 8u

/* Fills up to `count` pages from `first` on that nobody waits for; *got says how
 * many (0: one that need not be filled).  0, or why nothing more can be. */
static int fill_ahead(struct hurdmm_store *store, uint64_t first,
                      uint64_t count, uint32_t *got)
{
    struct hmm_want want = {
        .store = store,
        .page = first,
        .access = HURDMM_READ,
        .thread = hmm_thread_self(store->manager),
        .ahead = count,
        .prefetch = true,
    };
    uint64_t held = first;
    int err = EAGAIN;

    hmm_assert(hmm_entered(store->manager) && count > 0);
    *got = 0;
    for (unsigned i = 0; i < ROOM_MAX && err == EAGAIN && !want.filled; i++) {
        if (first >= hmm_store_pages(store) || store->dying)
            return ENXIO;
        if (hmm_container_slot(&store->cache, first) ||
            hmm_bond_at(&store->cache, first) || block_held(store, &held))
            return 0;
        err = hmm_fill(&want);
    }
    *got = want.filled ? want.got : 0;
    return want.filled && err == EAGAIN ? 0 : err;
}

/* May more be brought in unasked?  What is begun and not waited for may take
 * the place of other pages, but not of many. */
static bool room_ahead(const struct hurdmm_store *store)
{
    const struct hurdmm *manager = store->manager;

    return hmm_frames_free(manager) > manager->high + manager->readahead ||
           (store->ops.fill_start && manager->filling < manager->budget / 8);
}

void hmm_prefetch(struct hurdmm_store *store, uint64_t first, uint64_t last)
{
    bool begun = false;
    uint32_t got;

    hmm_assert(hmm_entered(store->manager));
    store->users++;
    for (; first <= last && room_ahead(store); first += hmm_max(got, 1)) {
        int err = fill_ahead(store, first, last - first + 1, &got);
        begun = begun || got > 0;
        if (err)
            break;
    }
    if (begun)
        submit(store);
    store->users--;
}

/* So many addresses are read before the lock is taken: the caller's may fault. */
#define ADDRESSES_SOME 64u

/* Pages at addresses of one store one after the other are begun together.  False:
 * there is no room for more. */
static bool prefetch_some(struct hurdmm *manager, void *token,
                          const uintptr_t *addresses, size_t count)
{
    struct hurdmm_store *store = NULL;
    bool room = true;
    uint32_t got;

    hmm_assert(hmm_entered(manager) && count <= ADDRESSES_SOME);
    for (size_t i = 0; room && i < count; i++) {
        struct hurdmm_space *space = hmm_space_by_token(manager, token);
        struct hmm_region *region =
            space ? hmm_region_at(space, addresses[i]) : NULL;
        if (!region || !region->store || region->store->container)
            continue;
        uint64_t page = hmm_region_page(region, addresses[i]);
        if (store && store != region->store) {
            submit(store);
            store->users--;
            store = NULL;
            i--; /* the lock was dropped: look again */
            continue;
        }
        if (!store)
            region->store->users++;
        store = region->store;
        int err = room_ahead(store) ? fill_ahead(store, page, 1, &got) : ENOMEM;
        room = !err || err == ENXIO;
    }
    if (store) {
        submit(store);
        store->users--;
    }
    return room;
}

int hurdmm_prefetch(struct hurdmm_space *space, const uintptr_t *addresses,
                    size_t count)
{
    uintptr_t some[ADDRESSES_SOME];
    bool room;

    if (!addresses && count)
        return EINVAL;
    do {
        size_t n = (size_t)hmm_min(count, ADDRESSES_SOME);

        if (n > 0)
            memcpy(some, addresses, n * sizeof *some);
        int err = hmm_enter_space(space);
        if (err)
            return err;
        struct hurdmm *manager = space->manager;
        room = prefetch_some(manager, space->token, some, n);
        hmm_leave(manager);
        addresses += n;
        count -= n;
    } while (room && count > 0);
    return 0;
}

/* So many windows are on their way, or there, ahead of one that is read; more are
 * begun when half of them are left, so that they are begun together. */
#define WINDOWS_MOST 7u
#define WINDOWS_LEAST 4u

/* The same for this manager.  All of them together, and the one that is read, are at
 * most half of the budget, so that they do not push each other out: in small memories
 * they are fewer, and then shorter. */
static uint32_t windows_ahead(const struct hurdmm *manager)
{
    uint32_t fit = manager->budget / 2 / manager->readahead;

    if (fit <= WINDOWS_LEAST)
        return WINDOWS_LEAST;
    return fit <= WINDOWS_MOST ? fit - 1 : WINDOWS_MOST;
}

/* Pages of a window. */
static uint64_t ahead_by(const struct hurdmm *manager)
{
    return hmm_min(manager->readahead,
                   manager->budget / (2 * (windows_ahead(manager) + 1)));
}

/* How many pages to begin from the region's next_page on; 0: enough is on its way, or
 * the reader does not go straight on. */
static uint64_t next_window(const struct hmm_want *want)
{
    const struct hmm_region *region = pattern_of(want);
    const struct hurdmm_store *store = want->store;
    const struct hurdmm *manager = store->manager;
    uint64_t most = ahead_by(manager);

    if (!store->ops.fill_start || !region || most < store->block_pages ||
        region->advice == HURDMM_ADVICE_RANDOM ||
        (region->advice == HURDMM_ADVICE_NORMAL &&
         (most < 2 || region->window < manager->readahead)))
        return 0;
    /* Where it is read is a little behind what was asked for so far. */
    uint64_t reach = want->page + (windows_ahead(manager) + 1) * most;
    if (region->next_page <= want->page || region->next_page + most > reach)
        return 0;
    uint64_t end = hmm_min(
        hmm_store_pages(store),
        (region->mapping.by_offset.last >> manager->physmem.page_shift) + 1);
    return region->next_page < end ? hmm_min(most, end - region->next_page) : 0;
}

bool hmm_reads_on(const struct hmm_want *want)
{
    const struct hurdmm *manager = want->store->manager;
    uint64_t left = windows_ahead(manager) / 2 * ahead_by(manager);

    hmm_assert(hmm_entered(want->store->manager));
    return next_window(want) != 0 &&
           want->region->next_page - want->page <= left &&
           room_ahead(want->store);
}

bool hmm_still_there(struct hurdmm *manager, void *token,
                     const struct hmm_want *want)
{
    struct hurdmm_space *space = hmm_space_by_token(manager, token);

    return space && hmm_region_at(space, want->address) == want->region &&
           want->region && want->region->store == want->store;
}

void hmm_read_on(struct hmm_want *want)
{
    struct hurdmm_store *store = want->store;
    struct hurdmm *manager = store->manager;
    bool begun = false;
    uint64_t count;
    uint32_t got;

    hmm_assert(hmm_entered(want->store->manager));
    if (!hmm_reads_on(want))
        return;
    while ((count = next_window(want)) != 0) {
        struct hmm_region *region = want->region;
        void *token = region->space->token;
        uint64_t first = region->next_page;
        store->users++;
        int err = fill_ahead(store, first, count, &got);
        store->users--;
        begun = begun || got > 0;
        if (err || !hmm_still_there(manager, token, want))
            break;
        region->next_page = first + hmm_max(got, 1);
    }
    if (begun)
        submit(store);
}

/* ---- What stores call ---- */

void hurdmm_request_get_info(const struct hurdmm_request *request,
                             struct hurdmm_request_info *info)
{
    *info = request->info;
}

void *hurdmm_request_buffer(struct hurdmm_request *request)
{
    request->buffer_used = true;
    return request->buffer;
}

void hurdmm_request_complete(struct hurdmm_request *request, int error)
{
    struct hurdmm *manager = request->store->manager;

    if (request->magic != HMM_MAGIC_REQUEST || hmm_enter(manager))
        return;
    finish(request, !error && request->buffer_used ? request->length : 0,
           error);
    hmm_leave(manager);
}

void hurdmm_request_complete_part(struct hurdmm_request *request, size_t done,
                                  int error)
{
    struct hurdmm *manager = request->store->manager;

    if (request->magic != HMM_MAGIC_REQUEST || hmm_enter(manager))
        return;
    finish(request, done, error);
    hmm_leave(manager);
}
