/* SPDX-License-Identifier: MIT */
/* Address space: reserving, lending, reclaiming.  Called under the core's lock.
 *
 * A page of a reservation is mapped in one of two ways:
 *   lent     from its frame's place in the memory object, with its rights;
 *   nothing  from beyond the end of the object, without rights.
 * What lies beyond the end never reads as zeros: not while a mapping is being
 * replaced, and not when reclaim to read, which takes rows that have unlent
 * pages in them, gives those the right to be read by mprotect: the access raises
 * SIGBUS, which is a fault like any other.  Neighbouring pages of nothing have
 * neighbouring offsets, so that they are one mapping.
 *
 * mmap replaces what was there in one step, as other threads see it.  It fails
 * with ENOMEM at the limit of mappings; kernels before 6.12 may then have
 * unmapped the range already, so it is filled again before anything else can
 * take the place (mend).
 *
 * Reclaiming from the middle of a mapping makes two of it, just when there are
 * no more to be had.  So `spares' keeps some: reclaim spends them, and core_map
 * does; lend does nothing before they are whole again.
 *
 * `slots' remembers what was lent where, hashed by address, because mprotect is
 * cheaper than mmap (3 us against 6) for more rights to the same frame.  A slot
 * that names an address is right about it: whatever maps there says so here.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>

#include "lib/base/assert.h"

/* Where "nothing" is in the object: behind its end, by address, within what
 * every file system takes as an offset. */
#define NOTHING_SPAN (UINT64_C(1) << 40)

static off_t nothing_at(const struct hmm_posix_port *port, uintptr_t address)
{
    return (off_t)(port->memory.size + address % NOTHING_SPAN);
}

static void *map_nothing(const struct hmm_posix_port *port, uintptr_t address,
                         size_t size, int flags)
{
    return mmap((void *)address, size, PROT_NONE, MAP_SHARED | flags,
                port->memory.fd, nothing_at(port, address));
}

/* map_nothing over what is there.  Where offsets start again it takes two
 * calls. */
static int clear(const struct hmm_posix_port *port, uintptr_t address,
                 size_t size)
{
    while (size) {
        uint64_t left = NOTHING_SPAN - address % NOTHING_SPAN;
        size_t part = size < left ? size : (size_t)left;
        if (hmm_posix_remap((void *)address, part, PROT_NONE, MAP_SHARED,
                            port->memory.fd,
                            nothing_at(port, address)) == MAP_FAILED)
            return errno;
        address += part;
        size -= part;
    }
    return 0;
}

/* After a mapping that failed: if there is a hole, fills it. */
static void mend(const struct hmm_posix_port *port, uintptr_t address,
                 size_t size)
{
#ifdef MAP_FIXED_NOREPLACE
    for (size_t i = 0; i < size; i += port->memory.page)
        (void)map_nothing(port, address + i, port->memory.page,
                          MAP_FIXED_NOREPLACE);
#else
    (void)clear(port, address, size);
#endif
}

/* ---- What is known to be lent ---- */

static struct hmm_posix_lent *slot_of(struct hmm_posix_port *port,
                                      uintptr_t address)
{
    uintptr_t number = address / port->memory.page;
    return &port->lends.slots[number % HMM_POSIX_LENT_SLOTS];
}

static void note(struct hmm_posix_port *port, uintptr_t address, uint32_t frame,
                 uint32_t count)
{
    hmm_assert(count > 0 && address % port->memory.page == 0);
    uint32_t i =
        count > HMM_POSIX_LENT_SLOTS ? count - HMM_POSIX_LENT_SLOTS : 0;
    for (; i < count; i++) {
        struct hmm_posix_lent *slot =
            slot_of(port, address + i * port->memory.page);
        slot->address = address + i * port->memory.page;
        slot->frame = frame + i;
    }
}

static void forget(struct hmm_posix_port *port, uintptr_t address, size_t size)
{
    size_t count = size / port->memory.page;
    for (size_t i = 0; i < count && i < HMM_POSIX_LENT_SLOTS; i++) {
        struct hmm_posix_lent *slot =
            slot_of(port, address + i * port->memory.page);
        if (slot->address - address < size)
            slot->address = 0;
    }
}

static bool is_there(struct hmm_posix_port *port, uintptr_t address,
                     uint32_t frame, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct hmm_posix_lent *slot =
            slot_of(port, address + i * port->memory.page);
        if (slot->address != address + i * port->memory.page ||
            slot->frame != frame + i)
            return false;
    }
    return true;
}

/* ---- Spare mappings ---- */

static char *spare_at(struct hmm_posix_port *port, unsigned i)
{
    return port->lends.strip + (2 * i + 1) * port->memory.page;
}

static bool spares_fill(struct hmm_posix_port *port)
{
    struct hmm_posix_lends *lends = &port->lends;
    while (lends->spares < HMM_POSIX_SPARES) {
        if (mprotect(spare_at(port, lends->spares), port->memory.page,
                     PROT_READ))
            return false;
        lends->spares++;
    }
    return true;
}

bool hmm_posix_spare(struct hmm_posix_port *port)
{
    struct hmm_posix_lends *lends = &port->lends;
    if (!lends->spares)
        return false;
    if (mprotect(spare_at(port, lends->spares - 1), port->memory.page,
                 PROT_NONE))
        return false;
    lends->spares--;
    return true;
}

static size_t strip_size(const struct hmm_posix_port *port)
{
    return (2 * HMM_POSIX_SPARES + 1) * port->memory.page;
}

int hmm_posix_lends_open(struct hmm_posix_port *port)
{
    struct hmm_posix_lends *lends = &port->lends;
    for (unsigned i = 0; i < HMM_POSIX_LENT_SLOTS; i++)
        lends->slots[i].address = 0;
    lends->spares = 0;
    atomic_init(&lends->mappings_short, 0);
    lends->strip = map_nothing(port, 0, strip_size(port), 0);
    if (lends->strip == MAP_FAILED)
        return ENOMEM;
    if (spares_fill(port))
        return 0;
    hmm_posix_lends_close(port);
    return ENOMEM;
}

void hmm_posix_lends_close(struct hmm_posix_port *port)
{
    (void)munmap(port->lends.strip, strip_size(port));
}

/* ---- Reserving ---- */

static int map_there(const struct hmm_posix_port *port, uintptr_t address,
                     size_t size)
{
    void *there = map_nothing(port, address, size, HMM_POSIX_MAP_THERE);
    if (there == MAP_FAILED)
        return errno;
    if ((uintptr_t)there == address)
        return clear(port, address, size);
    (void)munmap(there, size);
    return EEXIST;
}

static int map_anywhere(const struct hmm_posix_port *port, uintptr_t *address,
                        size_t size)
{
    void *there = map_nothing(port, 0, size, 0);
    if (there == MAP_FAILED)
        return errno;
    int error = clear(port, (uintptr_t)there, size);
    if (error) {
        (void)munmap(there, size);
        return error;
    }
    *address = (uintptr_t)there;
    return 0;
}

static bool is_possible(const struct hmm_posix_port *port, uintptr_t address,
                        size_t size)
{
    return address >= port->low && address <= port->high &&
           size - 1 <= port->high - address;
}

static int map_range(const struct hmm_posix_port *port, uintptr_t *address,
                     size_t size, bool exact)
{
    bool possible = is_possible(port, *address, size);
    if (exact && !possible)
        return EINVAL;
    int error = possible ? map_there(port, *address, size) : EEXIST;
    if (error && !exact)
        error = map_anywhere(port, address, size);
    return error == 0 || error == EEXIST ? error : ENOMEM;
}

int hmm_posix_reserve(struct hurdmm_port *base, void *space, uintptr_t *address,
                      size_t size, unsigned flags)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    uintptr_t start = *address;
    hmm_assert(size > 0 && size % port->memory.page == 0);
    if (hmm_posix_stale(port))
        return ESTALE;
    if (space)
        return ENOTSUP;
    hmm_posix_ranges_lock(&port->ranges);
    int error = map_range(port, &start, size, flags & HURDMM_RESERVE_EXACT);
    if (!error) {
        error = hmm_posix_ranges_add(&port->ranges, start, start + size);
        if (error)
            (void)munmap((void *)start, size);
    }
    hmm_posix_ranges_unlock(&port->ranges);
    if (!error) {
        HMM_POSIX_RESERVED(start, size);
        *address = start;
    }
    return error;
}

void hmm_posix_release(struct hurdmm_port *base, void *space, uintptr_t address,
                       size_t size)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    hmm_assert(!space && size > 0);
    hmm_assert(size % port->memory.page == 0);
    (void)space;
    if (hmm_posix_stale(port))
        return;
    forget(port, address, size);
    HMM_POSIX_RELEASED(address, size);
    hmm_posix_ranges_lock(&port->ranges);
    /* If the table cannot grow, the range stays in it and keeps its mapping:
     * accesses are handed over, and the core fails them. */
    if (!hmm_posix_ranges_remove(&port->ranges, address, address + size) &&
        munmap((void *)address, size))
        (void)mprotect((void *)address, size, PROT_NONE);
    hmm_posix_ranges_unlock(&port->ranges);
}

/* ---- Lending ---- */

/* Writing is never without reading. */
static int protection(unsigned rights)
{
    int result = PROT_NONE;
    if (rights & (HURDMM_READ | HURDMM_WRITE))
        result |= PROT_READ;
    if (rights & HURDMM_WRITE)
        result |= PROT_WRITE;
    if (rights & HURDMM_EXECUTE)
        result |= PROT_EXEC;
    return result;
}

static int map_frames(struct hmm_posix_port *port, uintptr_t address,
                      uint32_t frame, uint32_t count, unsigned rights)
{
    size_t page = port->memory.page;
    void *start = (void *)address;
    if (is_there(port, address, frame, count) &&
        !mprotect(start, count * page, protection(rights)))
        return 0;
    if (hmm_posix_remap(start, count * page, protection(rights), MAP_SHARED,
                        port->memory.fd,
                        (off_t)frame * (off_t)page) != MAP_FAILED) {
        note(port, address, frame, count);
        return 0;
    }
    int error = errno;
    forget(port, address, count * page);
    mend(port, address, count * page);
    return error;
}

int hmm_posix_lend(struct hurdmm_port *base, void *space, uintptr_t address,
                   uint32_t frame, uint32_t count, unsigned rights,
                   uint32_t *done)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    hmm_assert(!space && count > 0 && rights != HURDMM_NONE);
    hmm_assert_slow(hmm_posix_ranges_find(&port->ranges, address));
    (void)space;
    *done = 0;
    if (hmm_posix_stale(port))
        return ESTALE;
    int error = hmm_posix_memory_back(&port->memory, frame, count);
    if (error)
        return error;
    size_t size = count * port->memory.page;
    hmm_posix_access_changed(&port->access, address, size, port->memory.page);
    error = spares_fill(port) ? map_frames(port, address, frame, count, rights)
                              : ENOMEM;
    hmm_posix_access_changed(&port->access, address, size, port->memory.page);
    if (!error)
        *done = count;
    else
        atomic_fetch_add(&port->lends.mappings_short, 1);
    return error;
}

/* ---- Reclaiming ---- */

static int take_once(struct hmm_posix_port *port, uintptr_t address,
                     size_t size, bool keep_read)
{
    if (!keep_read) {
        int error = clear(port, address, size);
        if (error)
            mend(port, address, size);
        return error;
    }
    /* The right to execute goes too, and comes back with a soft fault: a page
     * that never had it must not get it here. */
    return mprotect((void *)address, size, PROT_READ) ? errno : 0;
}

/* Takes rights from a range, with the help of spare mappings. */
static int take(struct hmm_posix_port *port, uintptr_t address, size_t size,
                bool keep_read)
{
    hmm_assert(size > 0 && size % port->memory.page == 0);
    hmm_posix_access_changed(&port->access, address, size, port->memory.page);
    int error = take_once(port, address, size, keep_read);
    if (error)
        atomic_fetch_add(&port->lends.mappings_short, 1);
    while (error && hmm_posix_spare(port))
        error = take_once(port, address, size, keep_read);
    if (!keep_read)
        forget(port, address, size);
    hmm_posix_access_changed(&port->access, address, size, port->memory.page);
    return error ? ENOMEM : 0;
}

static bool keeps_all(const struct hurdmm_reclaim *row)
{
    return (row->rights & HURDMM_RIGHTS) == HURDMM_RIGHTS;
}

static bool keeps_read(const struct hurdmm_reclaim *row)
{
    return row->rights & HURDMM_READ;
}

/* How many rows, from the first, are neighbours that keep the same rights;
 * *size is of all of them. */
static size_t neighbours(const struct hurdmm_reclaim *rows, size_t count,
                         size_t page, size_t *size)
{
    size_t i = 1;
    hmm_assert(count > 0 && !keeps_all(rows));
    *size = rows[0].count * page;
    while (i < count && rows[i].address == rows[0].address + *size &&
           !keeps_all(&rows[i]) && keeps_read(&rows[i]) == keeps_read(rows)) {
        *size += rows[i].count * page;
        i++;
    }
    return i;
}

int hmm_posix_reclaim(struct hurdmm_port *base,
                      const struct hurdmm_reclaim *rows, size_t count,
                      size_t *done)
{
    struct hmm_posix_port *port = hmm_posix_from(base);
    size_t page = port->memory.page, i = 0;
    int error = hmm_posix_stale(port) ? ESTALE : 0;
    while (i < count && !error) {
        const struct hurdmm_reclaim *row = &rows[i];
        hmm_assert(!row->space && row->count > 0);
        if (keeps_all(row)) {
            i++;
            continue;
        }
        size_t size, run = neighbours(row, count - i, page, &size);
        error = take(port, row->address, size, keeps_read(row));
        /* One by one, as far as it goes. */
        if (error && run > 1) {
            run = 1;
            error =
                take(port, row->address, row->count * page, keeps_read(row));
        }
        if (!error)
            i += run;
    }
    *done = i;
    return error;
}
