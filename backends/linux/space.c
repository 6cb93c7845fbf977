/* SPDX-License-Identifier: MIT */
/* Memory and address space: windows, reserving, lending, reclaiming.  Called
 * under the core's lock.
 *
 * A reserved range is private memory that is registered with one of the two
 * descriptors, so that what is absent in it, or write-protected, is a fault.
 *
 *   lend          UFFDIO_COPY of a row of slots, with the write-protect bit when
 *                 it is lent to read: the page and its right come in one step;
 *   lend more     UFFDIO_WRITEPROTECT, off;
 *   keep reading  UFFDIO_WRITEPROTECT, on, by rows;
 *   drop          MADV_DONTNEED, all rows of a call in one process_madvise;
 *   keep bytes    write-protect, read, MADV_DONTNEED.
 * In tracked ranges a page comes with the write-protect bit, which says that it
 * was not written to and stops nobody; mprotect takes the right there.
 *
 * (UFFDIO_MOVE and UFFDIO_ZEROPAGE cannot set the write-protect bit with the page:
 * a write in between would be missed.  doc/tuning.md has what they would gain.)
 *
 * No write is missed: a page is writable only when it was lent to write, and
 * its write-protection is on (and known to every processor when the call
 * returns) before its bytes are looked at.
 *
 * The port itself never touches a region, since a page that the program dropped
 * behind its back would make it wait for itself.  It reads through
 * /proc/self/mem, which gives EIO where nothing is.  Bytes that are gone are
 * reported: HURDMM_GONE, or EFAULT.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <string.h>

#include <sys/syscall.h>
#include <sys/uio.h>

#include "backends/linux/abi.h"
#include "lib/base/assert.h"

#define WRITABLE ((uintptr_t)1)
#define SCATTER_MAX 64u
#define AROUND_MAX 512u

static struct hmm_linux_frame *frame_at(struct hmm_linux_port *port,
                                        uint32_t frame)
{
    hmm_assert(frame < port->frame_count);
    return &port->frames[frame];
}

static bool lent_at(const struct hmm_linux_frame *frame, uintptr_t address)
{
    return (frame->at & ~WRITABLE) == address;
}

static bool has_slot(const struct hmm_linux_frame *frame)
{
    return frame->slot < HMM_LINUX_GONE;
}

/* The frame has no slot any more; what was in it must be elsewhere, or not be
 * wanted.  One that was GONE may be filled anew. */
static void slot_drop(struct hmm_linux_port *port,
                      struct hmm_linux_frame *frame)
{
    if (has_slot(frame))
        hmm_linux_slots_give(&port->staging, frame->slot, 1);
    frame->slot = HMM_LINUX_NO_SLOT;
}

/* ---- Windows ---- */

static bool in_a_row(struct hmm_linux_port *port, uint32_t frame,
                     uint32_t count)
{
    uint32_t first = frame_at(port, frame)->slot;
    for (uint32_t i = 0; i < count; i++)
        if (frame_at(port, frame + i)->slot != first + i)
            return false;
    return has_slot(frame_at(port, frame));
}

/* Brings held frames together in a new row of slots.  Those without bytes get
 * whatever the slot had.  ENOMEM: some may be in the new row, and the rest where
 * they were; nothing is lost. */
static int gather(struct hmm_linux_port *port, uint32_t frame, uint32_t count)
{
    uint32_t row;
    int error = hmm_linux_slots_take(&port->staging, count, &row);
    if (error)
        return error;
    for (uint32_t i = 0; i < count; i++) {
        struct hmm_linux_frame *f = frame_at(port, frame + i);
        if (hmm_linux_placed(f) && hmm_linux_share_fetch(port, frame + i)) {
            hmm_linux_slots_give(&port->staging, row + i, count - i);
            return ENOMEM;
        }
        hmm_assert(!f->at);
        if (has_slot(f))
            memcpy(hmm_linux_slot(&port->staging, row + i),
                   hmm_linux_slot(&port->staging, f->slot), port->page);
        slot_drop(port, f);
        f->slot = row + i;
    }
    return 0;
}

int hmm_linux_window(struct hurdmm_port *base, uint32_t frame, uint32_t count,
                     void **address)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    hmm_assert(count > 0 && frame < port->frame_count);
    if (hmm_linux_stale(port))
        return ESTALE;
    uintptr_t at = frame_at(port, frame)->at;
    if (at & HMM_LINUX_PLACED && at & HMM_LINUX_LENT)
        return hmm_linux_share_window(port, frame, address);
    if (at && !(at & HMM_LINUX_PLACED)) {
        /* Pinned for writing: it is there, and the only place to write to. */
        hmm_assert(count == 1);
        *address = (void *)(at & ~WRITABLE);
        return 0;
    }
    int error = in_a_row(port, frame, count) ? 0 : gather(port, frame, count);
    if (!error)
        *address = hmm_linux_slot(&port->staging, frame_at(port, frame)->slot);
    return error;
}

/* Copies pages that are lent, as far as they are there; *done in bytes. */
static void region_read(struct hmm_linux_port *port, uintptr_t address,
                        void *buffer, size_t size, size_t *done)
{
    *done = 0;
    if (port->memory_fd < 0) {
        memcpy(buffer, (const void *)address, size);
        *done = size;
        return;
    }
    while (*done < size) {
        ssize_t got = pread(port->memory_fd, (char *)buffer + *done,
                            size - *done, (off_t)(address + *done));
        if (got <= 0 && !(got < 0 && errno == EINTR))
            return;
        *done += got > 0 ? (size_t)got : 0;
    }
}

int hmm_linux_frame_read(struct hurdmm_port *base, uint32_t frame, void *space,
                         uintptr_t address, void *buffer)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    struct hmm_linux_frame *f = frame_at(port, frame);
    size_t done;
    (void)space;
    (void)address;
    if (hmm_linux_stale(port))
        return ESTALE;
    if (hmm_linux_placed(f))
        return hmm_linux_share_read(port, frame, buffer);
    if (f->at) {
        region_read(port, f->at & ~WRITABLE, buffer, port->page, &done);
        return done == port->page ? 0 : EFAULT;
    }
    if (f->slot == HMM_LINUX_GONE)
        return EFAULT;
    if (f->slot == HMM_LINUX_NO_SLOT)
        memset(buffer, 0, port->page);
    else
        memcpy(buffer, hmm_linux_slot(&port->staging, f->slot), port->page);
    return 0;
}

/* ---- Reserving ---- */

static int map_range(struct hmm_linux_port *port, uintptr_t *address,
                     size_t size, unsigned flags)
{
    bool exact = flags & HURDMM_RESERVE_EXACT;
    int rights =
        atomic_load(&port->stopping) ? PROT_NONE : PROT_READ | PROT_WRITE;
    int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    bool possible = *address >= port->posix.low &&
                    *address <= port->posix.high &&
                    size - 1 <= port->posix.high - *address;
    if (exact && !possible)
        return EINVAL;
    void *there = MAP_FAILED;
    if (possible)
        there = mmap((void *)*address, size, rights, how | MAP_FIXED_NOREPLACE,
                     -1, 0);
    if (exact && there == MAP_FAILED)
        return errno == EEXIST ? EEXIST : ENOMEM;
    if (there == MAP_FAILED)
        there = mmap(NULL, size, rights, how, -1, 0);
    if (there == MAP_FAILED)
        return ENOMEM;
    if (exact && (uintptr_t)there != *address) {
        (void)munmap(there, size);
        return EEXIST;
    }
    hmm_assert((uintptr_t)there % port->page == 0);
    *address = (uintptr_t)there;
    return 0;
}

static enum hmm_linux_mode mode_of(unsigned flags)
{
    if (flags & HURDMM_RESERVE_TRACKED)
        return HMM_LINUX_TRACKED;
    return flags & HURDMM_RESERVE_INLINE ? HMM_LINUX_INLINE : HMM_LINUX_PAGER;
}

/* Notes in the tables what kind of range it is; all or nothing. */
static int note_range(struct hmm_linux_port *port, uintptr_t start, size_t size,
                      enum hmm_linux_mode mode)
{
    struct hmm_posix_ranges *tables[HMM_LINUX_MODES] = {
        &port->tracked, &port->inlines, &port->posix.ranges};
    unsigned first = HMM_LINUX_TRACKED - mode, i = first;
    int error = 0;
    for (; i < HMM_LINUX_MODES && !error; i++)
        error = hmm_posix_ranges_add(tables[i], start, start + size);
    while (error && --i > first)
        (void)hmm_posix_ranges_remove(tables[i - 1], start, start + size);
    return error;
}

/* From now on absent pages of a new mapping are faults, and it is in the tables,
 * of which the caller has the lock.  On error it is in none, and to be unmapped.
 * A child must not have it: what is absent there would read as zeros.  Large pages
 * of the system's would come where one page was lent. */
static int watch_range(struct hmm_linux_port *port, uintptr_t start,
                       size_t size, enum hmm_linux_mode mode)
{
    int fd = port->uffd.fd[mode];
    hmm_assert(mode < HMM_LINUX_MODES && fd >= 0);
    (void)madvise((void *)start, size, MADV_DONTFORK);
    (void)madvise((void *)start, size, MADV_NOHUGEPAGE);
    int error = hmm_linux_uffd_register(fd, start, size);
    return error ? error : note_range(port, start, size, mode);
}

int hmm_linux_reserve(struct hurdmm_port *base, void *space, uintptr_t *address,
                      size_t size, unsigned flags)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    enum hmm_linux_mode mode = mode_of(flags);
    uintptr_t start = *address;
    hmm_assert(size > 0 && size % port->page == 0);
    if (hmm_linux_stale(port))
        return ESTALE;
    bool pager = mode == HMM_LINUX_PAGER;
    if (space || (!pager && (!port->fault || port->uffd.fd[mode] < 0)))
        return ENOTSUP;
    if (pager && port->without & HURDMM_LINUX_NO_PAGERS)
        return ENOTSUP;
    hmm_posix_ranges_lock(&port->posix.ranges);
    int error = map_range(port, &start, size, flags);
    if (!error) {
        error = watch_range(port, start, size, mode);
        if (error)
            (void)munmap((void *)start, size);
    }
    hmm_posix_ranges_unlock(&port->posix.ranges);
    if (!error)
        *address = start;
    return error;
}

static void unmap_piece(struct hmm_linux_port *port, uintptr_t address,
                        size_t size)
{
    (void)port;
    (void)munmap((void *)address, size);
}

void hmm_linux_release(struct hurdmm_port *base, void *space, uintptr_t address,
                       size_t size)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    hmm_assert(!space && size > 0);
    hmm_assert(size % port->page == 0 && address % port->page == 0);
    (void)space;
    if (hmm_linux_stale(port))
        return;
    hmm_linux_blocks_lock(port);
    hmm_linux_unblock(port, address, size);
    hmm_linux_blocks_unlock(port);
    hmm_posix_ranges_lock(&port->posix.ranges);
    /* If a table cannot grow, the range stays in it and keeps its mapping:
     * accesses are faults, and the core fails them. */
    if (!hmm_posix_ranges_remove(&port->tracked, address, address + size) &&
        !hmm_posix_ranges_remove(&port->inlines, address, address + size) &&
        !hmm_posix_ranges_remove(&port->posix.ranges, address, address + size))
        hmm_linux_sort_out(port, address, size, unmap_piece, NULL);
    hmm_posix_ranges_unlock(&port->posix.ranges);
    hmm_linux_wake(port->uffd.fd[HMM_LINUX_PAGER], address, size);
}

static void stop_piece(struct hmm_linux_port *port, uintptr_t address,
                       size_t size)
{
    (void)mprotect((void *)address, size, PROT_NONE);
    hmm_linux_wake_waiting(port, address, size);
}

void hmm_linux_space_stop(struct hmm_linux_port *port)
{
    hmm_posix_ranges_lock(&port->posix.ranges);
    struct hmm_posix_range_table *table =
        atomic_load(&port->posix.ranges.table);
    size_t count = atomic_load(&port->posix.ranges.count);
    for (size_t i = 0; i < count; i++) {
        uintptr_t start = atomic_load(&table->ranges[i].start);
        size_t size = atomic_load(&table->ranges[i].end) - start;
        if (hmm_posix_ranges_find(&port->inlines, start))
            continue;
        hmm_linux_sort_out(port, start, size, stop_piece, NULL);
    }
    hmm_posix_ranges_unlock(&port->posix.ranges);
}

/* ---- Lending ---- */

/* Is there a page?  What the program dropped of its own is not.  Where it cannot be
 * told (no /proc), yes: a page that is taken for one that is there faults again. */
static bool is_there(struct hmm_linux_port *port, uintptr_t address)
{
    uint64_t entry;
    if (port->pagemap_fd < 0 ||
        pread(port->pagemap_fd, &entry, sizeof(entry),
              (off_t)(address / port->page * sizeof(entry))) !=
            (ssize_t)sizeof(entry))
        return true;
    return entry & (HMM_PAGEMAP_PRESENT | HMM_PAGEMAP_SWAPPED);
}

/* The bytes are in the range now, and their slots free. */
static void note_lent(struct hmm_linux_port *port, uintptr_t address,
                      uint32_t frame, size_t count, bool write)
{
    for (size_t i = 0; i < count; i++) {
        struct hmm_linux_frame *f = frame_at(port, frame + (uint32_t)i);
        slot_drop(port, f);
        f->at = (address + i * port->page) | (write ? WRITABLE : 0);
    }
    atomic_fetch_add_explicit(&port->copies, count, memory_order_relaxed);
}

/* A page that nobody lent is in the way: one that fails, or the program's own
 * doing.  It goes, with the lock of the blocks held, so that none that fails is
 * dropped once more when bytes have come in its place. */
static int clear_way(struct hmm_linux_port *port, uintptr_t page)
{
    hmm_linux_blocks_lock(port);
    int error = madvise((void *)page, port->page, MADV_DONTNEED);
    hmm_linux_unblock(port, page, port->page);
    hmm_linux_blocks_unlock(port);
    return error ? EEXIST : EAGAIN;
}

/* Puts a row of held frames at an address, and wakes who waits there; *done says
 * how many, whatever is returned.  EAGAIN: something was in the way, and is not any
 * more.  ENOENT: the program has unmapped some of it.  Others: see
 * hmm_linux_copy. */
static int put(struct hmm_linux_port *port, int fd, uintptr_t address,
               uint32_t frame, uint32_t count, bool write, uint32_t *done)
{
    const char *from =
        hmm_linux_slot(&port->staging, frame_at(port, frame)->slot);
    size_t size = count * port->page, copied;
    hmm_assert(count > 0 && has_slot(frame_at(port, frame)));
    bool blocked = atomic_load(&port->blocks.armed) > 0;
    if (blocked)
        hmm_linux_blocks_lock(port);
    bool protect = !write || hmm_linux_is_tracked(port, fd);
    int error = hmm_linux_copy(fd, address, from, size, protect, &copied);
    if (blocked) {
        hmm_linux_unblock(port, address, copied);
        hmm_linux_blocks_unlock(port);
    }
    if (error == EEXIST)
        error = clear_way(port, address + copied);
    if (error == ENOENT)
        hmm_linux_detach(port, address, size);
    /* Of our own memory, when the system has none for it. */
    if (error == EFAULT)
        error = ENOMEM;
    *done = (uint32_t)(copied / port->page);
    note_lent(port, address, frame, *done, write);
    return error;
}

/* A row of frames that are lent there already, with other rights or, when two
 * threads faulted, the same. */
static int lend_again(struct hmm_linux_port *port, int fd, uintptr_t address,
                      uint32_t frame, uint32_t count, bool write)
{
    /* More rights: the page was there when the thread faulted.  If it has been
     * dropped since, the access faults again, asks for rights that it has, and
     * that is looked into. */
    bool more = write && !(frame_at(port, frame)->at & WRITABLE);
    hmm_assert(count > 0 && lent_at(frame_at(port, frame), address));
    if (!more && !is_there(port, address)) {
        atomic_fetch_add(&port->pages_gone, 1);
        return EFAULT;
    }
    int error = hmm_linux_protect(fd, address, count * port->page, !write);
    if (!error && more && hmm_linux_is_tracked(port, fd) &&
        mprotect((void *)address, count * port->page, PROT_READ | PROT_WRITE))
        error = ENOMEM;
    if (error == ENOENT)
        hmm_linux_detach(port, address, count * port->page);
    if (error)
        return error;
    if (!write) /* the kernel wakes nobody then */
        hmm_linux_wake(fd, address, count * port->page);
    for (uint32_t i = 0; i < count; i++)
        frame_at(port, frame + i)->at =
            (address + i * port->page) | (write ? WRITABLE : 0);
    return 0;
}

/* How many frames from the first are in the same place: lent there, or in a row
 * of slots. */
static uint32_t alike(struct hmm_linux_port *port, uintptr_t address,
                      uint32_t frame, uint32_t count)
{
    const struct hmm_linux_frame *first = frame_at(port, frame);
    uint32_t n = 1;
    hmm_assert(count > 0 && (first->at || has_slot(first)));
    for (; n < count; n++) {
        const struct hmm_linux_frame *f = frame_at(port, frame + n);
        if (first->at ? !lent_at(f, address + n * port->page)
                      : f->at || f->slot != first->slot + n)
            break;
    }
    return n;
}

static int keep_row(struct hmm_linux_port *port,
                    const struct hurdmm_reclaim *row);

/* A frame of a shared store that is lent at another address comes from there:
 * it can be at one address only.  Bytes that the program has dropped there, or
 * unmapped, are gone, and must not become zeros here. */
static int fetch(struct hmm_linux_port *port, uint32_t frame)
{
    struct hmm_linux_frame *f = frame_at(port, frame);
    uint8_t status = 0;
    struct hurdmm_reclaim row = {
        .address = f->at & ~WRITABLE,
        .frame = frame,
        .count = 1,
        .status = &status,
    };
    hmm_assert(f->at && !hmm_linux_placed(f));
    int error = keep_row(port, &row);
    if (!error && status & HURDMM_GONE) {
        slot_drop(port, f);
        f->slot = HMM_LINUX_GONE;
    }
    return error;
}

/* Lends frames that are all lent there, or all in a row of slots. */
static int lend_row(struct hmm_linux_port *port, int fd, uintptr_t address,
                    uint32_t frame, uint32_t count, bool write, uint32_t *done)
{
    const struct hmm_linux_frame *first = frame_at(port, frame);
    if (!first->at)
        return put(port, fd, address, frame, count, write, done);
    hmm_assert(lent_at(first, address));
    int error = lend_again(port, fd, address, frame, count, write);
    *done = error ? 0 : count;
    return error;
}

int hmm_linux_rest(struct hmm_linux_port *port, uint32_t frame)
{
    struct hmm_linux_frame *f = frame_at(port, frame);
    int error = 0;
    if (hmm_linux_placed(f))
        error = hmm_linux_share_fetch(port, frame);
    else if (f->at)
        error = fetch(port, frame);
    if (error)
        return error;
    if (f->slot == HMM_LINUX_GONE)
        return EFAULT;
    if (f->slot == HMM_LINUX_NO_SLOT) {
        /* Whatever the slot had: nobody wrote this frame, so zeros will do. */
        error = gather(port, frame, 1);
        if (error)
            return error;
        memset(hmm_linux_slot(&port->staging, f->slot), 0, port->page);
    }
    hmm_assert(!f->at && has_slot(f));
    return 0;
}

static int lend_some(struct hmm_linux_port *port, int fd, uintptr_t address,
                     uint32_t frame, uint32_t count, bool write, uint32_t *done)
{
    *done = 0;
    if (!lent_at(frame_at(port, frame), address)) {
        int error = hmm_linux_rest(port, frame);
        if (error)
            return error;
    }
    uint32_t n = alike(port, address, frame, count);
    int error = lend_row(port, fd, address, frame, n, write, done);
    /* The faulting page may be there still, though its neighbours are not. */
    if (error == ENOENT && n > 1)
        error = lend_row(port, fd, address, frame, 1, write, done);
    return error;
}

int hmm_linux_lend(struct hurdmm_port *base, void *space, uintptr_t address,
                   uint32_t frame, uint32_t count, unsigned rights,
                   uint32_t *done)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    bool write = rights & HURDMM_WRITE;
    hmm_assert(!space && count > 0 && rights != HURDMM_NONE);
    (void)space;
    *done = 0;
    if (hmm_linux_stale(port))
        return ESTALE;
    if (hmm_linux_shown(port, address))
        return hmm_linux_share_lend(port, address, frame, count, write, done);
    int fd = hmm_linux_fd_for(port, address), error = 0;
    while (!error && *done < count) {
        uint32_t some;
        uintptr_t at = address + *done * port->page;
        hmm_linux_waking(port, at, (count - *done) * port->page);
        error =
            lend_some(port, fd, at, frame + *done, count - *done, write, &some);
        if (error == EAGAIN)
            error = 0;
        if (some)
            hmm_linux_woken(port, at, some * port->page);
        *done += some;
    }
    /* Only what was seen to be gone is (EFAULT): an answer that nobody expects must
     * not be what loses a page. */
    return error == 0 || error == EFAULT || error == ENOENT ? error : ENOMEM;
}

/* ---- Reclaiming ---- */

/* Ranges that are to be dropped in one call. */
struct scatter {
    struct hmm_linux_port *port;
    unsigned count;
    struct iovec range[SCATTER_MAX];
};

/* What of the row the program itself has unmapped is gone.  Must be called
 * before a page is read or dropped, since it may be somebody else's by now. */
static void look_for_gone(struct hmm_linux_port *port,
                          const struct hurdmm_reclaim *row)
{
    if (hmm_linux_ours(port, row->address, row->count * port->page))
        return;
    hmm_linux_detach(port, row->address, row->count * port->page);
    for (uint32_t i = 0; i < row->count; i++) {
        struct hmm_linux_frame *f = frame_at(port, row->frame + i);
        uintptr_t address = row->address + i * port->page;
        if (!lent_at(f, address) || hmm_linux_ours(port, address, port->page))
            continue;
        *f = (struct hmm_linux_frame){0, HMM_LINUX_GONE, 0};
        if (row->status)
            row->status[i] |= HURDMM_GONE;
        atomic_fetch_add(&port->pages_gone, 1);
    }
}

static void drop_piece(struct hmm_linux_port *port, uintptr_t address,
                       size_t size)
{
    (void)port;
    (void)madvise((void *)address, size, MADV_DONTNEED);
}

static int drop_range(uintptr_t address, size_t size)
{
    void *start = (void *)address;
    if (!madvise(start, size, MADV_DONTNEED) || errno == ENOMEM)
        return 0; /* or it is not even mapped */
    return madvise(start, size, MADV_DONTNEED_LOCKED) ? ENOMEM : 0;
}

/* Do all ranges lie in one piece that is ours?  One call for them all. */
static bool all_ours(const struct scatter *scatter)
{
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (unsigned i = 0; i < scatter->count; i++) {
        uintptr_t start = (uintptr_t)scatter->range[i].iov_base;
        uintptr_t end = start + scatter->range[i].iov_len;
        low = start < low ? start : low;
        high = end > high ? end : high;
    }
    return scatter->count > 0 && hmm_linux_ours(scatter->port, low, high - low);
}

/* Leaves the ranges that are ours; of the others, what is ours is dropped here. */
static void leave_ours(struct scatter *scatter)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < scatter->count; i++) {
        struct iovec range = scatter->range[i];
        uintptr_t start = (uintptr_t)range.iov_base;
        if (hmm_linux_ours(scatter->port, start, range.iov_len)) {
            scatter->range[kept++] = range;
            continue;
        }
        hmm_linux_detach(scatter->port, start, range.iov_len);
        hmm_linux_sort_out(scatter->port, start, range.iov_len, drop_piece,
                           NULL);
    }
    scatter->count = kept;
}

static int scatter_flush(struct scatter *scatter)
{
    struct hmm_linux_port *port = scatter->port;
    size_t size = 0;
    int error = 0;
    if (!all_ours(scatter))
        leave_ours(scatter);
    unsigned count = scatter->count;
    scatter->count = 0;
    for (unsigned i = 0; i < count; i++)
        size += scatter->range[i].iov_len;
    if (count > 1 && port->scattered &&
        syscall(SYS_process_madvise, port->pid_fd, scatter->range, count,
                MADV_DONTNEED, 0) == (long)size)
        return 0;
    for (unsigned i = 0; i < count && !error; i++)
        error = drop_range((uintptr_t)scatter->range[i].iov_base,
                           scatter->range[i].iov_len);
    return error;
}

/* `joined': nothing that counts lies between it and the range before. */
static int scatter_add(struct scatter *scatter, uintptr_t address, size_t size,
                       bool joined)
{
    if (scatter->count > 0) {
        struct iovec *last = &scatter->range[scatter->count - 1];
        uintptr_t start = (uintptr_t)last->iov_base;
        if (start + last->iov_len == address ||
            (joined && start + last->iov_len < address)) {
            last->iov_len = address + size - start;
            return 0;
        }
    }
    int error = scatter->count == SCATTER_MAX ? scatter_flush(scatter) : 0;
    hmm_assert(size > 0 && scatter->count < SCATTER_MAX);
    scatter->range[scatter->count].iov_base = (void *)address;
    scatter->range[scatter->count].iov_len = size;
    scatter->count++;
    return error;
}

static bool keeps_all(const struct hurdmm_reclaim *row)
{
    return (row->rights & HURDMM_RIGHTS) == HURDMM_RIGHTS;
}

static bool drops(const struct hurdmm_reclaim *row)
{
    return row->flags & HURDMM_RECLAIM_DROP && !(row->rights & HURDMM_RIGHTS);
}

/* The next pages of the row from `from' on that are lent there; false: there
 * are none. */
static bool next_lent(struct hmm_linux_port *port,
                      const struct hurdmm_reclaim *row, uint32_t from,
                      uint32_t *first, uint32_t *count)
{
    uint32_t i = from;
    while (i < row->count && !lent_at(frame_at(port, row->frame + i),
                                      row->address + i * port->page))
        i++;
    *first = i;
    while (i < row->count && lent_at(frame_at(port, row->frame + i),
                                     row->address + i * port->page))
        i++;
    *count = i - *first;
    return *count > 0;
}

static bool some_writable(struct hmm_linux_port *port, uint32_t frame,
                          uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (frame_at(port, frame + i)->at & WRITABLE)
            return true;
    return false;
}

/* Takes the right to write.  ENOENT: not all of it is ours. */
static int take_write(struct hmm_linux_port *port, uintptr_t address,
                      uint32_t count)
{
    int fd = hmm_linux_fd_for(port, address);
    size_t size = count * port->page;
    hmm_assert(count > 0);
    if (!hmm_linux_is_tracked(port, fd))
        return hmm_linux_protect(fd, address, size, true);
    if (!mprotect((void *)address, size, PROT_READ))
        return 0;
    return hmm_linux_ours(port, address, size) ? ENOMEM : ENOENT;
}

/* Write-protects a part of a row, all of which is lent. */
static int protect_part(struct hmm_linux_port *port,
                        const struct hurdmm_reclaim *row, uint32_t first,
                        uint32_t count)
{
    uintptr_t address = row->address + first * port->page;
    if (!some_writable(port, row->frame + first, count))
        return 0;
    int error = take_write(port, address, count);
    if (error == ENOENT) {
        /* The kernel stopped at what is not ours: page by page, then. */
        look_for_gone(port, row);
        error = 0;
        for (uint32_t i = 0; i < count && (!error || error == ENOENT); i++)
            error = take_write(port, address + i * port->page, 1);
    }
    if (error && error != ENOENT)
        return ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        frame_at(port, row->frame + first + i)->at &= ~WRITABLE;
    return 0;
}

static int protect_row(struct hmm_linux_port *port,
                       const struct hurdmm_reclaim *row)
{
    uint32_t first = 0, count = 0;
    int error = 0;
    while (!error && next_lent(port, row, first + count, &first, &count))
        error = protect_part(port, row, first, count);
    return error;
}

/* Write-protects rows and what lies between them in one call; *done says how
 * many, of those that come one after the other in one piece of memory.  Not where
 * anything is tracked: to protect that is to forget that it was written. */
static int protect_around(struct hmm_linux_port *port,
                          const struct hurdmm_reclaim *rows, size_t count,
                          size_t *done)
{
    uintptr_t start = rows[0].address, end = start;
    size_t n = 0;
    if (atomic_load(&port->tracked.count) > 0)
        return ENOENT;
    while (n < count && rows[n].flags & HURDMM_RECLAIM_AROUND &&
           rows[n].rights & HURDMM_READ && rows[n].address >= end &&
           rows[n].address - start < AROUND_MAX * port->page) {
        end = rows[n].address + rows[n].count * port->page;
        n++;
    }
    if (n == 0 || hmm_linux_protect(hmm_linux_fd_for(port, start), start,
                                    end - start, true))
        return ENOENT; /* row by row, then */
    for (size_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < rows[i].count; j++) {
            struct hmm_linux_frame *f = frame_at(port, rows[i].frame + j);
            if (lent_at(f, rows[i].address + j * port->page))
                f->at &= ~WRITABLE;
        }
    }
    *done = n;
    return 0;
}

/* Reads a part of a row into slots; pages that are gone are said to be. */
static void save_part(struct hmm_linux_port *port,
                      const struct hurdmm_reclaim *row, uint32_t first,
                      uint32_t count, uint32_t slot)
{
    uint32_t i = 0;
    while (i < count) {
        char *to = hmm_linux_slot(&port->staging, slot + i);
        size_t done;
        region_read(port, row->address + (first + i) * port->page, to,
                    (count - i) * port->page, &done);
        i += (uint32_t)(done / port->page);
        if (i == count)
            break;
        memset(hmm_linux_slot(&port->staging, slot + i), 0, port->page);
        if (row->status)
            row->status[first + i] |= HURDMM_GONE;
        atomic_fetch_add(&port->pages_gone, 1);
        i++;
    }
}

/* Takes pages that are lent side by side back to new slots, with their bytes.  The
 * order is what matters: the right to write goes before the bytes are read, and the
 * pages only when they were.  On error they are lent still, perhaps to read only.
 * The caller has made sure that the range is ours. */
static int keep_part(struct hmm_linux_port *port,
                     const struct hurdmm_reclaim *row, uint32_t first,
                     uint32_t count)
{
    uint32_t slot;
    hmm_assert(count > 0 && first < row->count);
    int error = hmm_linux_slots_take(&port->staging, count, &slot);
    if (error)
        return error;
    error = protect_part(port, row, first, count);
    if (!error) {
        save_part(port, row, first, count, slot);
        error =
            drop_range(row->address + first * port->page, count * port->page);
    }
    if (error) {
        hmm_linux_slots_give(&port->staging, slot, count);
        return error;
    }
    for (uint32_t i = 0; i < count; i++)
        *frame_at(port, row->frame + first + i) =
            (struct hmm_linux_frame){0, slot + i, 0};
    /* Makes mappings one again, and so cannot fail for want of them. */
    if (hmm_linux_is_tracked(port, hmm_linux_fd_for(port, row->address)))
        (void)mprotect((void *)(row->address + first * port->page),
                       count * port->page, PROT_READ | PROT_WRITE);
    return 0;
}

static int keep_row(struct hmm_linux_port *port,
                    const struct hurdmm_reclaim *row)
{
    uint32_t first = 0, count = 0;
    int error = 0;
    look_for_gone(port, row);
    while (!error && next_lent(port, row, first + count, &first, &count))
        error = keep_part(port, row, first, count);
    return error;
}

/* Drops as many rows from the first as may be dropped, in one call if all goes
 * well; *done says how many. */
static int drop_rows(struct hmm_linux_port *port,
                     const struct hurdmm_reclaim *rows, size_t count,
                     size_t *done)
{
    struct scatter scatter = {.port = port};
    size_t n = 0;
    int error = 0;
    while (!error && n < count && drops(&rows[n]) &&
           scatter.count < SCATTER_MAX) {
        error =
            scatter_add(&scatter, rows[n].address, rows[n].count * port->page,
                        n > 0 && rows[n].flags & HURDMM_RECLAIM_JOINED);
        n++;
    }
    if (!error)
        error = scatter_flush(&scatter);
    for (size_t i = 0; i < n && !error; i++) {
        for (uint32_t j = 0; j < rows[i].count; j++) {
            struct hmm_linux_frame *f = frame_at(port, rows[i].frame + j);
            slot_drop(port, f);
            if (lent_at(f, rows[i].address + j * port->page))
                f->at = 0;
        }
    }
    *done = error ? 0 : n;
    return error;
}

int hmm_linux_reclaim(struct hurdmm_port *base,
                      const struct hurdmm_reclaim *rows, size_t count,
                      size_t *done)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    int error = hmm_linux_stale(port) ? ESTALE : 0;
    *done = 0;
    while (*done < count && !error) {
        const struct hurdmm_reclaim *row = &rows[*done];
        size_t some = 1;
        hmm_assert(!row->space && row->count > 0);
        if (hmm_linux_shown(port, row->address))
            error = hmm_linux_share_reclaim(port, row);
        else if (drops(row))
            error = drop_rows(port, row, count - *done, &some);
        else if (row->flags & HURDMM_RECLAIM_AROUND &&
                 !protect_around(port, row, count - *done, &some))
            error = 0;
        else if (row->rights & HURDMM_READ && !keeps_all(row))
            error = protect_row(port, row);
        else if (!keeps_all(row))
            error = keep_row(port, row);
        *done += error ? 0 : some;
    }
    hmm_assert(*done <= count && (error || *done == count));
    return error;
}
