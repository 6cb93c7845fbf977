/* SPDX-License-Identifier: MIT */
/* access.c - reading and writing through the cache, populating and pinning.
 *
 * Each walks page by page.  Where a page is said by address, the region is
 * looked up again in every round, since the lock may have been dropped; the space
 * may have gone, too, and says so by its magic.  A walk by store keeps the store
 * (users).
 *
 * Nothing that the caller gave is touched under the lock, since it may itself be
 * managed memory: bytes go through a bounce buffer, page states through an array
 * of ours, and counts are written when the lock has been left.
 *
 * Between obtaining a page (hmm_obtain) and the use of its bytes, a lend or a pin
 * of it the lock is not dropped.
 */
#include "lib/mm/mm.h"

/* Where the walk is: by store and offset, or by space and address. */
struct walk {
    struct hurdmm *manager;
    struct hurdmm_store *store; /* NULL: by address */
    struct hurdmm_space *space; /* NULL: by store; may be stale */
    uint64_t at;                /* offset or address of the next byte */
    unsigned access; /* HURDMM_READ... that each page is wanted for */
    uint64_t thread; /* that called, as the port names it */
};

/* Where the next byte of the walk is, by address.  ENOENT: nothing is bound there;
 * ESTALE: the space has gone while the lock was dropped. */
static int find(const struct walk *walk, struct hmm_want *want)
{
    uintptr_t address = (uintptr_t)walk->at;

    hmm_assert(hmm_entered(walk->manager));
    hmm_assert(walk->space && !walk->store);
    if (walk->space->magic != HMM_MAGIC_SPACE)
        return ESTALE;
    want->region = hmm_region_at(walk->space, address);
    if (!want->region || !want->region->store)
        return ENOENT;
    want->store = want->region->store;
    want->address = address;
    want->page = hmm_region_page(want->region, address);
    return 0;
}

/* What the next byte of the walk wants.  ENXIO: after the store's end; EACCES:
 * the region has not the rights; or as above. */
static int locate(const struct walk *walk, struct hmm_want *want)
{
    unsigned shift = walk->manager->physmem.page_shift;

    hmm_assert(hmm_entered(walk->manager));
    want->access = walk->access;
    want->thread = walk->thread;
    if (walk->store) {
        want->store = walk->store;
        want->page = walk->at >> shift;
        return walk->at < walk->store->size ? 0 : ENXIO;
    }
    int err = find(walk, want);
    if (!err && walk->access & ~(unsigned)want->region->rights)
        err = EACCES;
    return err;
}

/* Obtains the walk's page: *want and *slot name its home.  The lock may be dropped
 * before, and is not after that. */
static int obtain(const struct walk *walk, struct hmm_want *want,
                  uint64_t **slot)
{
    int err;

    do {
        err = locate(walk, want);
        if (!err)
            err = hmm_obtain(want, slot);
    } while (err == EAGAIN);
    hmm_assert(err || hmm_resident(*slot));
    hmm_assert(err != HMM_LATER); /* there is no fault to be queued */
    return err;
}

/* Takes the page back so far that the library may touch its bytes, `keep` being
 * what the application keeps.  Pages pinned for writing stay as they are: who pins
 * sees to it that nobody writes meanwhile (hurdmm/port.h).  EAGAIN: the port had no
 * mappings left, and room was made for it; the lock may have been dropped. */
static int quiet(struct hmm_want *want, uint64_t *slot, unsigned keep)
{
    struct hurdmm *manager = want->store->manager;

    hmm_assert(hmm_resident(slot) && !(keep & HURDMM_WRITE));
    if (manager->physmem.table[HMM_SLOT_FRAME(*slot)].pins_write)
        return 0;
    int err = hmm_take_back(&want->store->cache, want->page, slot, keep);
    return err == ENOMEM ? hmm_port_room(want) : err;
}

/* Copies the whole page to `bytes`, which are ours.  EAGAIN: look again; EFAULT: the
 * application has dropped it, and it cannot go. */
static int copy_out(struct hmm_want *want, uint64_t *slot, void *bytes)
{
    int err = quiet(want, slot, HURDMM_READ | HURDMM_EXECUTE);

    if (!err)
        err = hmm_frame_bytes(want->store, want->page, *slot, bytes);
    return err == EFAULT ? hmm_drop_lost(want->store, want->page) : err;
}

/* Writes `length` bytes from `start` in the page, which is dirty already (hmm_obtain
 * made it so): nothing is written before all that can fail has been done. */
static int copy_in(struct hmm_want *want, uint64_t *slot, size_t start,
                   const void *bytes, size_t length)
{
    struct hurdmm *manager = want->store->manager;
    void *to;
    int err = quiet(want, slot, HURDMM_NONE);

    /* The application had dropped it, as could be seen only now. */
    if (!err && *slot & HMM_GONE)
        return hmm_drop_lost(want->store, want->page);
    hmm_assert(start < hmm_page_bytes(manager) &&
               length <= hmm_page_bytes(manager) - start);
    hmm_assert(err || *slot & HMM_DIRTY || want->store->container);
    /* The laundry may be reading it without the lock. */
    if (!err && *slot & HMM_WRITING)
        hmm_lends_wait(&manager->physmem);
    if (!err)
        err =
            hmm_frames_window(&manager->physmem, HMM_SLOT_FRAME(*slot), 1, &to);
    if (!err)
        err = hmm_note_write(want->store, want->page, slot);
    if (!err)
        memcpy((char *)to + start, bytes, length);
    return err;
}

/* One page's worth of a read: `length` bytes from `start` in the page, which
 * arrive at the beginning of the bounce buffer. */
static int read_piece(const struct walk *walk, void *bytes, uint64_t ahead)
{
    struct hmm_want want = {.ahead = ahead};
    uint64_t *slot;
    int err;

    do {
        err = obtain(walk, &want, &slot);
        if (!err) {
            hmm_page_used(&want, slot);
            err = copy_out(&want, slot, bytes);
        }
    } while (err == EAGAIN);
    return err;
}

/* One page's worth of a write.  A page that was made for it alone goes again if
 * its bytes cannot be seen: it was never lent, so that the lock was not dropped
 * since it was made. */
static int write_piece(const struct walk *walk, const void *bytes, size_t start,
                       size_t length)
{
    struct hmm_want want = {0};
    uint64_t *slot;
    int err;

    do {
        want.blank = false;
        err = locate(walk, &want);
        if (!err) {
            want.overwrite = start == 0 ? length : 0;
            err = hmm_obtain(&want, &slot);
        }
        if (!err) {
            hmm_assert(!want.blank || !(*slot & HMM_LENT));
            hmm_page_used(&want, slot);
            err = copy_in(&want, slot, start, bytes, length);
        }
        if (err && want.blank) /* its zeros are nobody's data */
            hmm_page_drop(want.store, want.page, slot, false);
    } while (err == EAGAIN);
    return err;
}

/* Reads or writes the walk's bytes; entered with the lock.  *done is not the
 * caller's but ours, since it is counted under the lock. */
static int transfer(struct walk *walk, void *to, const void *from,
                    size_t length, size_t *done)
{
    struct hurdmm *manager = walk->manager;
    struct hmm_bounce *bounce = hmm_bounce_get(manager, 1);
    size_t page = hmm_page_bytes(manager);
    int err = bounce ? 0 : ENOMEM;

    hmm_assert((to != NULL) != (from != NULL));
    hmm_assert(*done == 0 && length > 0);
    while (!err && *done < length) {
        size_t start = (size_t)(walk->at & (page - 1));
        size_t piece = (size_t)hmm_min(page - start, length - *done);

        if (walk->store && walk->at < walk->store->size)
            piece = (size_t)hmm_min(piece, walk->store->size - walk->at);
        if (from) {
            hmm_leave(manager);
            memcpy(bounce->bytes, (const char *)from + *done, piece);
            hmm_enter_again(manager);
            err = write_piece(walk, bounce->bytes, start, piece);
        } else {
            err = read_piece(walk, bounce->bytes,
                             (length - *done + start + page - 1) / page);
            hmm_leave(manager);
            if (!err)
                memcpy((char *)to + *done, (char *)bounce->bytes + start,
                       piece);
            hmm_enter_again(manager);
        }
        if (err)
            break;
        *done += piece;
        walk->at += piece;
    }
    hmm_bounce_put(manager, bounce);
    hmm_ready_run(manager);
    return err;
}

/* Reads (to) or writes (from) bytes of a store or container.  Entered; leaves. */
static int store_transfer(struct hurdmm_store *store, uint64_t offset, void *to,
                          const void *from, size_t length, size_t *done)
{
    struct walk walk = {
        .manager = store->manager,
        .store = store,
        .at = offset,
        .access = from ? HURDMM_WRITE : HURDMM_READ,
        .thread = hmm_thread_self(store->manager),
    };
    size_t amount = 0;
    int err = 0;

    store->users++;
    if (length)
        err = (to || from) && hmm_range_ok(offset, length)
                  ? transfer(&walk, to, from, length, &amount)
                  : EINVAL;
    hmm_assert(store->users > 0);
    store->users--;
    hmm_leave(walk.manager);
    *done = amount;
    return err;
}

int hurdmm_store_read(struct hurdmm_store *store, uint64_t offset, void *buffer,
                      size_t length, size_t *done)
{
    if (!done)
        return EINVAL;
    *done = 0;
    int err = hmm_enter_store(store);
    return err ? err
               : store_transfer(store, offset, buffer, NULL, length, done);
}

int hurdmm_store_write(struct hurdmm_store *store, uint64_t offset,
                       const void *buffer, size_t length, size_t *done)
{
    if (!done)
        return EINVAL;
    *done = 0;
    if (!buffer && length)
        return EINVAL;
    int err = hmm_enter_store(store);
    return err ? err
               : store_transfer(store, offset, NULL, buffer ? buffer : "",
                                length, done);
}

/* Containers are read and written the same way. */
static int enter_plain(struct hurdmm_container *container, size_t *done)
{
    if (!done)
        return EINVAL;
    *done = 0;
    int err = hmm_enter_container(container);
    if (!err && !hmm_container_of(container)->container) {
        hmm_leave(hmm_container_of(container)->manager);
        err = ENOTSUP;
    }
    return err;
}

int hurdmm_container_read(struct hurdmm_container *container, uint64_t offset,
                          void *buffer, size_t length, size_t *done)
{
    int err = enter_plain(container, done);

    return err ? err
               : store_transfer(hmm_container_of(container), offset, buffer,
                                NULL, length, done);
}

int hurdmm_container_write(struct hurdmm_container *container, uint64_t offset,
                           const void *buffer, size_t length, size_t *done)
{
    if (!buffer && length) {
        if (done)
            *done = 0;
        return EINVAL;
    }
    int err = enter_plain(container, done);
    return err ? err
               : store_transfer(hmm_container_of(container), offset, NULL,
                                buffer ? buffer : "", length, done);
}

/* The same by address. */
static int space_transfer(struct hurdmm_space *space, uintptr_t address,
                          void *to, const void *from, size_t length,
                          size_t *done)
{
    if (!done)
        return EINVAL;
    *done = 0;
    if ((!to && !from && length) ||
        (length && length - 1 > UINTPTR_MAX - address))
        return EINVAL;
    int err = hmm_enter_space(space);
    if (err)
        return err;
    struct walk walk = {
        .manager = space->manager,
        .space = space,
        .at = address,
        .access = from ? HURDMM_WRITE : HURDMM_READ,
        .thread = hmm_thread_self(space->manager),
    };
    size_t amount = 0;
    if (length > 0)
        err = transfer(&walk, to, from, length, &amount);
    hmm_leave(walk.manager);
    *done = amount;
    return err;
}

int hurdmm_read(struct hurdmm_space *space, uintptr_t address, void *buffer,
                size_t length, size_t *done)
{
    return space_transfer(space, address, buffer, NULL, length, done);
}

int hurdmm_write(struct hurdmm_space *space, uintptr_t address,
                 const void *buffer, size_t length, size_t *done)
{
    if (!buffer && length) {
        if (done)
            *done = 0;
        return EINVAL;
    }
    return space_transfer(space, address, NULL, buffer ? buffer : "", length,
                          done);
}

/* ---- Populate and pin ---- */

/* Makes one page resident, and, by address, lent: then there is no fault until it is
 * taken back.  `pin': the caller pins it at once, so it is not one that is read
 * through a copy on write, which would be settled away from under the pin. */
static int bring(const struct walk *walk, uint64_t ahead, bool pin,
                 struct hmm_want *want, uint64_t **slot)
{
    int err;

    hmm_assert(hmm_entered(walk->manager));
    memset(want, 0, sizeof *want);
    want->ahead = ahead;
    want->own = pin;
    do {
        err = obtain(walk, want, slot);
        if (!err && want->region) {
            hmm_page_used(want, *slot);
            err = hmm_lend_around(want, *slot);
            if (err == ENOMEM)
                err = hmm_port_room(want);
        }
    } while (err == EAGAIN);
    return err;
}

/* Brings the pages of a range one after the other; *done, which is ours, says how
 * many bytes of it. */
static int populate(struct walk *walk, uint64_t length, size_t *done)
{
    size_t page = hmm_page_bytes(walk->manager);
    struct hmm_want want;
    uint64_t *slot;
    int err = 0;

    hmm_assert(!(length & (page - 1)) && !(walk->at & (page - 1)));
    for (*done = 0; !err && *done < length;) {
        err = bring(walk, (length - *done) / page, false, &want, &slot);
        if (err)
            break;
        *done += page;
        walk->at += page;
    }
    return err;
}

int hurdmm_store_populate(struct hurdmm_store *store, uint64_t offset,
                          size_t length, size_t *done)
{
    if (done)
        *done = 0;
    int err = hmm_enter_store(store);
    if (err)
        return err;
    struct walk walk = {
        .manager = store->manager,
        .store = store,
        .at = offset,
        .access = HURDMM_READ,
        .thread = hmm_thread_self(store->manager),
    };
    size_t amount = 0;
    store->users++;
    err = hmm_range_check(walk.manager, offset, length);
    if (!err)
        err = populate(&walk, length, &amount);
    store->users--;
    hmm_leave(walk.manager);
    if (done)
        *done = amount;
    return err;
}

/* Checks and enters for the calls by address that take an access.  With an error it
 * has not entered. */
static int enter_walk(struct hurdmm_space *space, uintptr_t address,
                      size_t length, unsigned access, struct walk *walk)
{
    if (!access || access & ~HURDMM_RIGHTS)
        return EINVAL;
    int err = hmm_enter_space(space);
    if (err)
        return err;
    if (hmm_range_check(space->manager, address, length) ||
        length - 1 > UINTPTR_MAX - address) {
        hmm_leave(space->manager);
        return EINVAL;
    }
    *walk = (struct walk){
        .manager = space->manager,
        .space = space,
        .at = address,
        .access = access,
        .thread = hmm_thread_self(space->manager),
    };
    return 0;
}

int hurdmm_populate(struct hurdmm_space *space, uintptr_t address,
                    size_t length, unsigned access, size_t *done)
{
    struct walk walk;
    size_t amount;

    if (done)
        *done = 0;
    int err = enter_walk(space, address, length, access, &walk);
    if (err)
        return err;
    err = populate(&walk, length, &amount);
    hmm_leave(walk.manager);
    if (done)
        *done = amount;
    return err;
}

/* Unpins the first `length` bytes of a range that is pinned, whatever the rights
 * to it are now.  Pages of a space that has gone stay pinned: nobody can say any
 * more which they were. */
static void undo_pins(struct walk *walk, uint64_t address, uint64_t length)
{
    size_t page = hmm_page_bytes(walk->manager);

    hmm_assert(hmm_entered(walk->manager) && walk->space);
    hmm_assert(!(address & (page - 1)) && !(length & (page - 1)));
    for (walk->at = address; walk->at - address < length; walk->at += page) {
        struct hmm_want want = {0};

        if (find(walk, &want))
            continue;
        uint64_t *slot = hmm_home_slot(&want);
        hmm_assert(hmm_resident(slot)); /* since it is pinned */
        hmm_page_unpin(want.store, want.page, slot, walk->access);
    }
}

int hurdmm_pin(struct hurdmm_space *space, uintptr_t address, size_t length,
               unsigned access)
{
    struct hmm_want want;
    struct walk walk;
    uint64_t *slot, amount = 0;
    int err = enter_walk(space, address, length, access, &walk);

    if (err)
        return err;
    size_t page = hmm_page_bytes(walk.manager);
    if (length / page > walk.manager->pin_limit)
        err = EDQUOT;
    while (!err && amount < length) {
        err = bring(&walk, 1, true, &want, &slot);
        if (!err)
            err = hmm_page_pin(want.store, want.page, slot, access);
        if (err)
            break;
        amount += page;
        walk.at += page;
    }
    if (err)
        undo_pins(&walk, address, amount);
    hmm_leave(walk.manager);
    return err;
}

/* Is the walk's page pinned so, once more than is counted off already?  Then that is
 * counted off, too.  EINVAL, ENOENT. */
static int check_pin(const struct walk *walk)
{
    struct hmm_want want = {0};
    int err = find(walk, &want);

    if (err)
        return err;
    const uint64_t *slot = hmm_home_slot(&want);
    if (!hmm_page_pin_off(walk->manager, slot, walk->access))
        return EINVAL;
    /* What the region itself has pinned is nobody else's to unpin: is that still
     * counted? */
    if (!want.region->wired || !(walk->access & HURDMM_WRITE) ||
        hmm_page_is_pinned_for(walk->manager, slot, HURDMM_WRITE))
        return 0;
    hmm_page_pin_on(walk->manager, slot, walk->access);
    return EINVAL;
}

/* Is every page of the range pinned so?  EINVAL, ENOENT.  The walk is where it was.
 * The lock is not dropped, so that unpinning them cannot fail. */
static int check_pins(struct walk *walk, uint64_t length)
{
    struct hurdmm *manager = walk->manager;
    uint64_t address = walk->at;
    size_t page = hmm_page_bytes(manager);
    int err = 0;

    hmm_assert(hmm_entered(manager) && walk->space);
    hmm_assert(!(address & (page - 1)) && !(length & (page - 1)));
    while (!err && walk->at - address < length) {
        err = check_pin(walk);
        walk->at += err ? 0 : page;
    }
    while (walk->at > address) {
        struct hmm_want want = {0};

        walk->at -= page;
        if (!find(walk, &want)) /* as before */
            hmm_page_pin_on(manager, hmm_home_slot(&want), walk->access);
    }
    return err;
}

int hurdmm_unpin(struct hurdmm_space *space, uintptr_t address, size_t length,
                 unsigned access)
{
    struct walk walk;
    int err = enter_walk(space, address, length, access, &walk);

    if (err)
        return err;
    err = check_pins(&walk, length);
    if (!err)
        undo_pins(&walk, address, length);
    hmm_leave(walk.manager);
    return err;
}

/* So many states are kept until the lock is dropped. */
#define STATES_SOME 256u

/* HURDMM_STATE_... of the walk's page, where its contents are. */
static int state_of(const struct walk *walk, uint8_t *state)
{
    struct hmm_want want = {0};
    int err = find(walk, &want);

    if (err)
        return err;
    const uint64_t *slot = hmm_home_slot(&want);
    *state = slot ? (uint8_t)hmm_page_state(walk->manager, *slot) : 0;
    return 0;
}

int hurdmm_resident(struct hurdmm_space *space, uintptr_t address,
                    size_t length, uint8_t *states)
{
    uint8_t some[STATES_SOME];
    struct walk walk;

    if (!states)
        return EINVAL;
    int err = enter_walk(space, address, length, HURDMM_READ, &walk);
    if (err)
        return err;
    struct hurdmm *manager = walk.manager;
    size_t pages = length >> manager->physmem.page_shift;
    while (!err && pages > 0) {
        size_t n = 0, most = (size_t)hmm_min(pages, STATES_SOME);

        while (!err && n < most) {
            err = state_of(&walk, &some[n]);
            n += !err;
            walk.at += hmm_page_bytes(manager);
        }
        /* The caller's may fault. */
        hmm_leave(manager);
        memcpy(states, some, n);
        hmm_enter_again(manager);
        states += n;
        pages -= n;
    }
    hmm_leave(manager);
    return err;
}
