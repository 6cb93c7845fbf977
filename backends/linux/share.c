/* SPDX-License-Identifier: MIT */
/* Pages that are seen at several addresses.
 *
 * Ranges of shared stores are mappings of one object in memory, of which every
 * page of every such store has a *place*: 16 TiB of places for each 16 TiB of a
 * store that is bound.  They are registered for pages that are missing, that are
 * there and not mapped (MINOR), and that are write-protected:
 *
 *   lend          the bytes go to the page's place, if they are not there, and
 *                 UFFDIO_CONTINUE maps it, write-protected when lent to read;
 *   keep reading  UFFDIO_WRITEPROTECT, on, at one address;
 *   take back     MADV_DONTNEED, at one address: the bytes stay in their place;
 *   window        they leave it for a slot, and the place is a hole again.
 *
 * A frame is in a place (PLACED), or it is not; a place has one frame at most,
 * and `heads' finds it.  That is all that has to be true: a place whose frame
 * the core has long given another page, or whose store has ended, is emptied
 * when the place or the frame is wanted.  Emptying unmaps it everywhere.
 *
 * Ranges change, and frames come to places, under the core's lock.  A frame may
 * leave its place without it, when it is lent to a private range: so `lock'
 * guards the chains.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <sys/ioctl.h>

#include "backends/linux/abi.h"
#include "lib/base/assert.h"

/* Places: an object's number and 32 bits of page. */
#define OBJECTS ((size_t)1 << 17)
#define OBJECT_SHIFT 32
#define NO_FRAME 0u /* heads and next: one more than the frame */

struct hmm_linux_shown {
    uintptr_t start, end;
    uint64_t place;
};

struct hmm_linux_object {
    uint64_t object, part;
    uint32_t uses; /* ranges */
    bool known;    /* since the table was empty: looking goes on behind it */
};

static struct hmm_linux_frame *frame_at(struct hmm_linux_port *port,
                                        uint32_t frame)
{
    hmm_assert(frame < port->frame_count);
    return &port->frames[frame];
}

static uint64_t place_of(const struct hmm_linux_frame *frame)
{
    hmm_assert(hmm_linux_placed(frame));
    return (uint64_t)frame->at >> 2;
}

static off_t offset_of(const struct hmm_linux_port *port, uint64_t place)
{
    return (off_t)(place * port->page);
}

/* ---- Who is in a place ---- */

static void lock(struct hmm_linux_shares *shares)
{
    while (
        atomic_flag_test_and_set_explicit(&shares->lock, memory_order_acquire))
        (void)sched_yield();
}

static void unlock(struct hmm_linux_shares *shares)
{
    atomic_flag_clear_explicit(&shares->lock, memory_order_release);
}

static uint32_t *head_of(struct hmm_linux_shares *shares, uint64_t place)
{
    uint64_t mixed = (place ^ place >> OBJECT_SHIFT) * 0x9e3779b97f4a7c15u;
    return &shares->heads[mixed >> shares->head_shift];
}

/* The frame in a place, and one more; NO_FRAME. */
static uint32_t find(struct hmm_linux_port *port, uint64_t place)
{
    lock(&port->shares);
    uint32_t next = *head_of(&port->shares, place);
    while (next != NO_FRAME && place_of(frame_at(port, next - 1)) != place)
        next = frame_at(port, next - 1)->next;
    unlock(&port->shares);
    return next;
}

static void link_frame(struct hmm_linux_port *port, uint32_t frame,
                       uint64_t place)
{
    struct hmm_linux_frame *f = frame_at(port, frame);
    hmm_assert(!f->at && find(port, place) == NO_FRAME);
    lock(&port->shares);
    uint32_t *head = head_of(&port->shares, place);
    f->at = (uintptr_t)(place << 2) | HMM_LINUX_PLACED;
    f->next = *head;
    *head = frame + 1;
    unlock(&port->shares);
}

static void unlink_frame(struct hmm_linux_port *port, uint32_t frame)
{
    struct hmm_linux_frame *f = frame_at(port, frame);
    hmm_assert(hmm_linux_placed(f));
    lock(&port->shares);
    uint32_t *link = head_of(&port->shares, place_of(f));
    while (*link != frame + 1) {
        hmm_assert(*link != NO_FRAME);
        link = &frame_at(port, *link - 1)->next;
    }
    *link = f->next;
    f->at = 0;
    unlock(&port->shares);
}

/* The bytes go, from every address too. */
static void leave_place(struct hmm_linux_port *port, uint32_t frame)
{
    off_t offset = offset_of(port, place_of(frame_at(port, frame)));
    (void)fallocate(port->shares.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    offset, (off_t)port->page);
    unlink_frame(port, frame);
}

int hmm_linux_share_fetch(struct hmm_linux_port *port, uint32_t frame)
{
    struct hmm_linux_frame *f = frame_at(port, frame);
    uint32_t slot;
    hmm_assert(hmm_linux_placed(f));
    int error = hmm_linux_slots_take(&port->staging, 1, &slot);
    if (error)
        return error;
    error =
        hmm_linux_share_read(port, frame, hmm_linux_slot(&port->staging, slot));
    if (error) {
        hmm_linux_slots_give(&port->staging, slot, 1);
        return ENOMEM;
    }
    leave_place(port, frame);
    f->slot = slot;
    return 0;
}

int hmm_linux_share_read(struct hmm_linux_port *port, uint32_t frame,
                         void *buffer)
{
    off_t offset = offset_of(port, place_of(frame_at(port, frame)));
    ssize_t got;
    do
        got = pread(port->shares.fd, buffer, port->page, offset);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)port->page ? 0 : EFAULT;
}

/* One of a few pages through which the library sees places. */
int hmm_linux_share_window(struct hmm_linux_port *port, uint32_t frame,
                           void **address)
{
    struct hmm_linux_shares *shares = &port->shares;
    char *at = shares->peeps + shares->peep++ % HMM_LINUX_PEEPS * port->page;
    if (mmap(at, port->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
             shares->fd,
             offset_of(port, place_of(frame_at(port, frame)))) == MAP_FAILED)
        return ENOMEM;
    (void)madvise(at, port->page, MADV_DONTFORK);
    *address = at;
    return 0;
}

/* ---- Objects ---- */

static size_t object_hash(uint64_t object, uint64_t part)
{
    return (size_t)(object + part * 7919) % OBJECTS;
}

/* The number for a part of an object, which is used once more.  ENOMEM. */
static int object_use(struct hmm_linux_shares *shares, uint64_t object,
                      uint64_t part, size_t *number)
{
    size_t free = OBJECTS, i = object_hash(object, part);
    for (size_t n = 0; n < OBJECTS; n++, i = (i + 1) % OBJECTS) {
        struct hmm_linux_object *entry = &shares->objects[i];
        if (entry->uses && entry->object == object && entry->part == part) {
            entry->uses++;
            *number = i;
            return 0;
        }
        if (!entry->uses && free == OBJECTS)
            free = i;
        if (!entry->known)
            break;
    }
    if (free == OBJECTS)
        return ENOMEM;
    shares->objects[free] = (struct hmm_linux_object){object, part, 1, true};
    *number = free;
    return 0;
}

/* Entries that nobody looks behind any more are as they were at first. */
static void object_unuse(struct hmm_linux_shares *shares, size_t number)
{
    hmm_assert(shares->objects[number].uses > 0);
    shares->objects[number].uses--;
    while (!shares->objects[number].uses && shares->objects[number].known &&
           !shares->objects[(number + 1) % OBJECTS].known) {
        shares->objects[number].known = false;
        number = (number + OBJECTS - 1) % OBJECTS;
    }
}

/* ---- Ranges ---- */

/* The first range that ends after the address. */
static size_t search(const struct hmm_linux_shares *shares, uintptr_t address)
{
    size_t low = 0, high = shares->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (shares->shown[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int shown_room(struct hmm_linux_shares *shares, size_t more)
{
    size_t capacity = shares->capacity ? shares->capacity : 16;
    while (capacity < shares->count + more)
        capacity *= 2;
    if (capacity == shares->capacity)
        return 0;
    void *grown = realloc(shares->shown, capacity * sizeof(*shares->shown));
    if (!grown)
        return ENOMEM;
    shares->shown = grown;
    shares->capacity = capacity;
    return 0;
}

static void shown_insert(struct hmm_linux_shares *shares,
                         const struct hmm_linux_shown *new)
{
    size_t at = search(shares, new->start);
    hmm_assert(shares->count < shares->capacity);
    memmove(&shares->shown[at + 1], &shares->shown[at],
            (shares->count - at) * sizeof(*shares->shown));
    shares->shown[at] = *new;
    shares->count++;
}

/* Makes a range of no rights of the mapping there, then one that is watched: so
 * there is no moment at which it reads as zeros. */
static int map_watched(struct hmm_linux_port *port, uintptr_t address,
                       size_t size, int flags, int file, off_t offset)
{
    void *there = (void *)address;
    uint64_t mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
    if (file >= 0)
        mode |= HMM_UFFDIO_REGISTER_MINOR;
    struct uffdio_register range = {.range = {.start = address, .len = size},
                                    .mode = mode};
    if (mmap(there, size, PROT_NONE, flags | MAP_FIXED | MAP_NORESERVE, file,
             offset) == MAP_FAILED)
        return ENOMEM;
    (void)madvise(there, size, MADV_DONTFORK);
    (void)madvise(there, size, MADV_NOHUGEPAGE);
    if (ioctl(hmm_linux_fd_for(port, address), UFFDIO_REGISTER, &range) ||
        (!atomic_load(&port->stopping) &&
         mprotect(there, size, PROT_READ | PROT_WRITE)))
        return ENOMEM;
    return 0;
}

/* The range, of one part of an object, shows it. */
static int show(struct hmm_linux_port *port, uintptr_t address, size_t size,
                uint64_t object, uint64_t page)
{
    struct hmm_linux_shares *shares = &port->shares;
    struct hmm_linux_shown shown = {.start = address, .end = address + size};
    size_t number;
    int error = shown_room(shares, 1);
    if (!error)
        error = object_use(shares, object, page >> OBJECT_SHIFT, &number);
    if (error)
        return error;
    shown.place =
        (uint64_t)number << OBJECT_SHIFT | (page & (uint64_t)UINT32_MAX);
    error = map_watched(port, address, size, MAP_SHARED, shares->fd,
                        offset_of(port, shown.place));
    if (!error)
        error = hmm_posix_ranges_add(&shares->ranges, address, address + size);
    if (error)
        object_unuse(shares, number);
    else
        shown_insert(shares, &shown);
    return error;
}

/* Cuts the range that spans the address in two; there is room for it. */
static void cut(struct hmm_linux_port *port, uintptr_t address)
{
    struct hmm_linux_shares *shares = &port->shares;
    size_t i = search(shares, address);
    if (i == shares->count || shares->shown[i].start >= address)
        return;
    struct hmm_linux_shown tail = shares->shown[i];
    tail.place += (address - tail.start) / port->page;
    tail.start = address;
    shares->shown[i].end = address;
    shown_insert(shares, &tail);
    shares->objects[tail.place >> OBJECT_SHIFT].uses++;
}

/* What is shown in the range is private memory again. */
static int hide(struct hmm_linux_port *port, uintptr_t address, size_t size)
{
    struct hmm_linux_shares *shares = &port->shares;
    size_t some = search(shares, address);
    if (some == shares->count || shares->shown[some].start >= address + size)
        return 0;
    int error = shown_room(shares, 2);
    if (!error)
        error = map_watched(port, address, size, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
    if (!error)
        error =
            hmm_posix_ranges_remove(&shares->ranges, address, address + size);
    if (error)
        return ENOMEM;
    cut(port, address);
    cut(port, address + size);
    size_t first = search(shares, address), last = first;
    for (; last < shares->count && shares->shown[last].start < address + size;
         last++)
        object_unuse(shares, shares->shown[last].place >> OBJECT_SHIFT);
    memmove(&shares->shown[first], &shares->shown[last],
            (shares->count - last) * sizeof(*shares->shown));
    shares->count -= last - first;
    return 0;
}

int hmm_linux_share(struct hurdmm_port *base, void *space, uintptr_t address,
                    size_t size, uint64_t object, uint64_t offset)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    uint64_t page = offset / port->page;
    uint64_t count = size / port->page, done = 0;
    hmm_assert(offset % port->page == 0 && address % port->page == 0);
    hmm_assert(!space && port->shares.fd >= 0 && count > 0);
    (void)space;
    if (hmm_linux_stale(port))
        return ESTALE;
    int error = hide(port, address, size);
    while (!error && object && done < count) {
        uint64_t left = (UINT64_C(1) << OBJECT_SHIFT) -
                        ((page + done) & (uint64_t)UINT32_MAX);
        uint64_t some = count - done < left ? count - done : left;
        error = show(port, address + (size_t)done * port->page,
                     (size_t)some * port->page, object, page + done);
        done += some;
    }
    if (error && done > 0)
        (void)hide(port, address, size);
    return error ? ENOMEM : 0;
}

bool hmm_linux_shown(struct hmm_linux_port *port, uintptr_t address)
{
    return port->shares.fd >= 0 &&
           hmm_posix_ranges_find(&port->shares.ranges, address);
}

/* ---- Lending ---- */

/* The place of an address, and how many pages from there on are in one part of an
 * object: the places of the next part are elsewhere, and it is a mapping of its
 * own. */
static uint64_t place_at(struct hmm_linux_port *port, uintptr_t address,
                         uint32_t *count)
{
    size_t i = search(&port->shares, address);
    hmm_assert(i < port->shares.count &&
               port->shares.shown[i].start <= address);
    const struct hmm_linux_shown *shown = &port->shares.shown[i];
    size_t left = (shown->end - address) / port->page;
    hmm_assert(left > 0 && *count > 0);
    if (*count > left)
        *count = (uint32_t)left;
    return shown->place + (address - shown->start) / port->page;
}

/* Brings the frame's bytes to a place. */
static int bring(struct hmm_linux_port *port, uint32_t frame, uint64_t place)
{
    struct hmm_linux_frame *f = frame_at(port, frame);
    if (hmm_linux_placed(f) && place_of(f) == place)
        return 0;
    uint32_t other = find(port, place);
    int error = other == NO_FRAME ? 0 : hmm_linux_share_fetch(port, other - 1);
    if (!error)
        error = hmm_linux_rest(port, frame);
    if (error)
        return error;
    hmm_assert(!f->at && f->slot < HMM_LINUX_GONE);
    const char *bytes = hmm_linux_slot(&port->staging, f->slot);
    ssize_t put =
        pwrite(port->shares.fd, bytes, port->page, offset_of(port, place));
    if (put != (ssize_t)port->page)
        return ENOMEM;
    hmm_linux_slots_give(&port->staging, f->slot, 1);
    f->slot = HMM_LINUX_NO_SLOT;
    link_frame(port, frame, place);
    atomic_fetch_add_explicit(&port->copies, 1, memory_order_relaxed);
    return 0;
}

/* Maps pages that are in their places; *done in bytes. */
static int map_places(int fd, uintptr_t address, size_t size, bool write,
                      size_t *done)
{
    *done = 0;
    while (*done < size) {
        struct hmm_uffdio_continue range = {
            .start = address + *done,
            .length = size - *done,
            .mode = write ? 0 : HMM_UFFDIO_CONTINUE_WP,
        };
        if (!ioctl(fd, HMM_UFFDIO_CONTINUE, &range)) {
            *done = size;
            break;
        }
        int error = errno;
        if (range.mapped > 0)
            *done += (size_t)range.mapped;
        else if (error != EAGAIN)
            return error;
        else
            (void)sched_yield();
    }
    return 0;
}

/* Pages that are in their places, and may be mapped already. */
static int show_pages(struct hmm_linux_port *port, uintptr_t address,
                      size_t size, bool write)
{
    int fd = hmm_linux_fd_for(port, address), error = 0;
    size_t at = 0, done;
    while (!error && at < size) {
        error = map_places(fd, address + at, size - at, write, &done);
        at += done;
        if (error == EEXIST) {
            error = hmm_linux_protect(fd, address + at, port->page, !write);
            if (!error && !write) /* the kernel wakes nobody then */
                hmm_linux_wake(fd, address + at, port->page);
            at += error ? 0 : port->page;
        }
    }
    /* EFAULT: the program has dropped the page from the file. */
    return error && error != EFAULT && error != ENOENT ? ENOMEM : error;
}

/* Lends pages of one part of an object; *done says how many, whatever is returned,
 * which is of the page after those. */
static int lend_part(struct hmm_linux_port *port, uintptr_t address,
                     uint64_t place, uint32_t frame, uint32_t count, bool write,
                     uint32_t *done)
{
    uint32_t n = 0;
    int error = 0, rest;
    hmm_assert(count > 0);
    *done = 0;
    while (n < count && !(error = bring(port, frame + n, place + n)))
        n++;
    if (n == 0)
        return error;
    rest = error; /* of the page after those that are lent */
    bool blocked = atomic_load(&port->blocks.armed) > 0;
    if (blocked)
        hmm_linux_blocks_lock(port);
    hmm_linux_waking(port, address, n * port->page);
    error = show_pages(port, address, n * port->page, write);
    /* The program has unmapped some of it, but maybe not the first page. */
    if (error == ENOENT && n > 1) {
        n = 1;
        error = show_pages(port, address, port->page, write);
        rest = ENOENT;
    }
    if (blocked) {
        if (!error)
            hmm_linux_unblock(port, address, n * port->page);
        hmm_linux_blocks_unlock(port);
    }
    if (error)
        return error;
    for (uint32_t i = 0; i < n; i++)
        frame_at(port, frame + i)->at |= HMM_LINUX_LENT;
    hmm_linux_woken(port, address, n * port->page);
    *done = n;
    return rest;
}

int hmm_linux_share_lend(struct hmm_linux_port *port, uintptr_t address,
                         uint32_t frame, uint32_t count, bool write,
                         uint32_t *done)
{
    int error = 0;
    while (!error && *done < count) {
        uintptr_t at = address + *done * port->page;
        uint32_t some = count - *done, lent;
        uint64_t place = place_at(port, at, &some);
        error = lend_part(port, at, place, frame + *done, some, write, &lent);
        *done += lent;
    }
    return error;
}

/* The pages of one part that were lent at an address are not any more. */
static void note_taken(struct hmm_linux_port *port,
                       const struct hurdmm_reclaim *row, uint64_t place,
                       uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t frame = row->frame + first + i;
        struct hmm_linux_frame *f = frame_at(port, frame);
        if (!hmm_linux_placed(f) || place_of(f) != place + i)
            continue;
        f->at &= ~HMM_LINUX_LENT;
        if (row->flags & HURDMM_RECLAIM_DROP)
            leave_place(port, frame);
    }
}

/* Takes the right to write.  The kernel stops at what the program has unmapped;
 * what lies behind it loses the right all the same. */
static int take_write(struct hmm_linux_port *port, uintptr_t address,
                      uint32_t count)
{
    int fd = hmm_linux_fd_for(port, address);
    int error = hmm_linux_protect(fd, address, count * port->page, true);
    for (uint32_t i = 0; error == ENOENT && count > 1 && i < count; i++) {
        uintptr_t page = address + i * port->page;
        int one = hmm_linux_protect(fd, page, port->page, true);
        error = one ? one : ENOENT;
    }
    return error && error != ENOENT ? ENOMEM : 0;
}

int hmm_linux_share_reclaim(struct hmm_linux_port *port,
                            const struct hurdmm_reclaim *row)
{
    size_t size = row->count * port->page;
    hmm_assert(row->count > 0);
    if ((row->rights & HURDMM_RIGHTS) == HURDMM_RIGHTS)
        return 0;
    if (row->rights & HURDMM_READ)
        return take_write(port, row->address, row->count);
    if (madvise((void *)row->address, size, MADV_DONTNEED) && errno == EINVAL &&
        madvise((void *)row->address, size, MADV_DONTNEED_LOCKED))
        return ENOMEM;
    for (uint32_t done = 0; done < row->count;) {
        uint32_t some = row->count - done;
        uint64_t place =
            place_at(port, row->address + done * port->page, &some);
        note_taken(port, row, place, done, some);
        done += some;
    }
    return 0;
}

/* ---- Opening ---- */

/* Does the kernel show a page of the object when it is asked to, write-protected
 * at once? */
static bool works(struct hmm_linux_port *port)
{
    size_t page = port->page, done;
    int fd = port->uffd.fd[HMM_LINUX_PAGER];
    char byte = 1;
    void *there = mmap(NULL, page, PROT_NONE, MAP_SHARED, port->shares.fd, 0);
    if (there == MAP_FAILED)
        return false;
    bool good = !map_watched(port, (uintptr_t)there, page, MAP_SHARED,
                             port->shares.fd, 0) &&
                pwrite(port->shares.fd, &byte, 1, 0) == 1 &&
                !map_places(fd, (uintptr_t)there, page, false, &done) &&
                *(volatile char *)there == 1;
    (void)munmap(there, page);
    (void)fallocate(port->shares.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    0, (off_t)page);
    return good;
}

static void *table(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static size_t heads_size(const struct hmm_linux_shares *shares)
{
    return ((size_t)1 << (64 - shares->head_shift)) * sizeof(uint32_t);
}

void hmm_linux_shares_open(struct hmm_linux_port *port)
{
    struct hmm_linux_shares *shares = &port->shares;
    off_t most = (off_t)OBJECTS << OBJECT_SHIFT;
    shares->fd = -1;
    if (port->without & HURDMM_LINUX_NO_SHARED || sizeof(uintptr_t) < 8 ||
        !port->uffd.minor)
        return;
    shares->head_shift = 63;
    while (shares->head_shift > 40 &&
           heads_size(shares) / sizeof(uint32_t) < port->frame_count)
        shares->head_shift--;
    shares->heads = table(heads_size(shares));
    shares->objects = table(OBJECTS * sizeof(*shares->objects));
    shares->peeps = table(HMM_LINUX_PEEPS * port->page);
    shares->fd = memfd_create("hurd-mm", MFD_CLOEXEC);
    if (!shares->heads || !shares->objects || !shares->peeps ||
        shares->fd < 0 || ftruncate(shares->fd, most * (off_t)port->page) ||
        !works(port))
        hmm_linux_shares_close(port);
}

void hmm_linux_shares_close(struct hmm_linux_port *port)
{
    struct hmm_linux_shares *shares = &port->shares;
    if (shares->heads)
        (void)munmap(shares->heads, heads_size(shares));
    if (shares->objects)
        (void)munmap(shares->objects, OBJECTS * sizeof(*shares->objects));
    if (shares->peeps)
        (void)munmap(shares->peeps, HMM_LINUX_PEEPS * port->page);
    if (shares->fd >= 0)
        (void)close(shares->fd);
    free(shares->shown);
    hmm_posix_ranges_free(&shares->ranges);
    memset(shares, 0, sizeof(*shares));
    shares->fd = -1;
}
