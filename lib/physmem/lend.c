/* SPDX-License-Identifier: MIT */
/* lend.c - lending frames to the application and taking them back.
 *
 * Taking back goes in batches: pages become rows of the port's reclaim call,
 * neighbours one row.  A page at several addresses (a shared store) becomes
 * several rows; its LENT bits go only when all of them are done.
 *
 * Lending apart.  Where lending copies the page (a microsecond) the lock is not
 * held for it.  The LENT bits are set before the lock is dropped (P2: they may
 * say more than is lent), so for everybody else the page is lent; whoever then
 * takes it back, lends it again, or looks at its bytes, waits first, with the
 * lock held, until no lend goes on any more.  That is never long: a lend needs
 * no lock, waits for nobody, and none begins meanwhile.  So it cannot happen that
 * - a page is taken back, or its region unbound, and is put there afterwards;
 * - a frame's bytes are read where they were while they move;
 * - a write is missed: a page that is lent to write is dirty before it is there.
 * Reading the bytes of pages that are lent to read goes on in the same way (the
 * laundry does so).
 * `apart' is counted down after the port has returned, which publishes what the
 * port has noted of the frames to whoever waits for it.
 */
#include "hurdmm/error.h"
#include "lib/base/assert.h"
#include "lib/base/math.h"
#include "lib/physmem/physmem.h"

#define LOOKS 20000u
#define PAUSE_NS 20000u

/* The slot's bits for what is lent with these rights: who may write may read. */
static uint64_t lent_bits(unsigned rights)
{
    uint64_t bits = rights ? HMM_LENT_READ : 0;

    return rights & HURDMM_WRITE ? bits | HMM_LENT_WRITE : bits;
}

/* How many pages from `page` on have frames that follow each other. */
static uint32_t run_length(const struct hmm_container *container, uint64_t page,
                           uint32_t count)
{
    uint64_t *slot;
    unsigned row = hmm_index_row(&container->index, page, &slot);

    if (row == 0 || HMM_SLOT_FRAME(*slot) == HURDMM_FRAME_NONE)
        return 0;
    uint32_t first = HMM_SLOT_FRAME(*slot), n = 0;
    count = (uint32_t)hmm_min(count,
                              hmm_bank_end(container->physmem, first) - first);
    while (row > 0) {
        for (; row > 0; row--, n++)
            if (n == count || HMM_SLOT_FRAME(*slot++) != first + n)
                return n;
        row = hmm_index_row(&container->index, page + n, &slot);
    }
    return n;
}

/* Notes `count' pages from `page' on as lent; all of them are there. */
static void mark_row(const struct hmm_container *container, uint64_t page,
                     uint32_t count, uint64_t bits)
{
    uint64_t *slot;
    unsigned row;

    while (count > 0 &&
           (row = hmm_index_row(&container->index, page, &slot)) > 0) {
        row = (unsigned)hmm_min(row, count);
        for (unsigned i = 0; i < row; i++)
            hmm_index_mark(&slot[i], bits);
        page += row;
        count -= row;
    }
    hmm_assert(count == 0);
}

int hmm_lend(struct hmm_mapping *mapping, uint64_t page,
             const struct hmm_place *home, uint64_t *slot, uint32_t count,
             unsigned rights, uint32_t *done)
{
    struct hmm_physmem *physmem = mapping->container->physmem;
    uint32_t n = count > 1 ? run_length(home->container, home->page, count) : 1;

    hmm_assert(n > 0 && HMM_SLOT_FRAME(*slot) != HURDMM_FRAME_NONE);
    hmm_assert(!home->read_only || !(rights & HURDMM_WRITE)); /* B3 */
    hmm_assert_slow(hmm_container_slot(home->container, home->page) == slot);
    if (hmm_lends_apart(physmem))
        hmm_lends_wait(physmem);
    int err = physmem->port->ops->lend(physmem->port, mapping->space,
                                       hmm_mapping_address(mapping, page),
                                       HMM_SLOT_FRAME(*slot), n, rights, done);
    hmm_assert(*done <= n && (err || *done == n));
    physmem->lends++;
    physmem->lend_pages += *done;
    if (*done == 1)
        hmm_index_mark(slot, lent_bits(rights));
    else
        mark_row(home->container, home->page, *done, lent_bits(rights));
    return err;
}

int hmm_lend_page(const struct hmm_mapping *mapping, uintptr_t address,
                  uint64_t *slot, unsigned rights)
{
    struct hmm_physmem *physmem = mapping->container->physmem;
    uint32_t done;

    hmm_assert(HMM_SLOT_FRAME(*slot) != HURDMM_FRAME_NONE);
    if (hmm_lends_apart(physmem))
        hmm_lends_wait(physmem);
    int err = physmem->port->ops->lend(physmem->port, mapping->space, address,
                                       HMM_SLOT_FRAME(*slot), 1, rights, &done);

    hmm_assert(done <= 1 && (err || done == 1));
    physmem->lends++;
    if (done == 0)
        return err;
    physmem->lend_pages++;
    hmm_index_mark(slot, lent_bits(rights));
    return 0;
}

/* Who lends may have been sent away from its processor, for the sake of this
 * thread even: then looking on does not help. */
void hmm_lends_wait(struct hmm_physmem *physmem)
{
    struct hurdmm_port *port = physmem->port;
    uint32_t count;

    for (unsigned i = 1;
         (count = __atomic_load_n(&physmem->apart, __ATOMIC_ACQUIRE)) > 0; i++)
        if (i % LOOKS == 0)
            port->ops->park(port, &physmem->apart, count, PAUSE_NS);
}

bool hmm_lend_begin(struct hmm_lend_apart *lend, struct hmm_mapping *mapping,
                    uint64_t page, const struct hmm_place *home, uint64_t *slot,
                    uint32_t count, unsigned rights)
{
    struct hmm_physmem *physmem = mapping->container->physmem;
    uint32_t n = count > 1 ? run_length(home->container, home->page, count) : 1;

    hmm_assert(n > 0 && HMM_SLOT_FRAME(*slot) != HURDMM_FRAME_NONE);
    hmm_assert(!home->read_only || !(rights & HURDMM_WRITE)); /* B3 */
    if (!(physmem->info->features & HURDMM_PORT_LENDS_APART) ||
        (*slot & lent_bits(rights)) == lent_bits(rights))
        return false;
    if (*slot & HMM_LENT) /* its bytes may be being read */
        hmm_lends_wait(physmem);
    *lend = (struct hmm_lend_apart){
        .physmem = physmem,
        .space = mapping->space,
        .address = hmm_mapping_address(mapping, page),
        .frame = HMM_SLOT_FRAME(*slot),
        .count = n,
        .rights = rights,
    };
    mark_row(home->container, home->page, n, lent_bits(rights));
    hmm_apart_begin(physmem);
    return true;
}

void hmm_apart_begin(struct hmm_physmem *physmem)
{
    __atomic_fetch_add(&physmem->apart, 1, __ATOMIC_RELAXED);
}

void hmm_apart_end(struct hmm_physmem *physmem)
{
    uint32_t before = __atomic_fetch_sub(&physmem->apart, 1, __ATOMIC_RELEASE);

    hmm_assert(before > 0);
    (void)before;
}

int hmm_lend_go(struct hmm_lend_apart *lend)
{
    struct hmm_physmem *physmem = lend->physmem;
    int err = physmem->port->ops->lend(physmem->port, lend->space,
                                       lend->address, lend->frame, lend->count,
                                       lend->rights, &lend->done);

    hmm_apart_end(physmem);
    return err;
}

void hmm_lend_end(const struct hmm_lend_apart *lend)
{
    lend->physmem->lends++;
    lend->physmem->lend_pages += lend->done;
}

/* ---- Large pages ---- */

/* Do the pages from `first` on suit, with the frames from `frame` on? */
static bool all_suit(const struct hmm_container *container, uint64_t first,
                     uint64_t count, uint32_t frame,
                     const struct hmm_suit *suit)
{
    const uint64_t *last = hmm_container_slot(container, first + (count - 1));
    struct hmm_index_cursor cursor;

    if (!last || HMM_SLOT_FRAME(*last) != frame + (count - 1))
        return false; /* as it mostly is, if it is */
    bool more = hmm_index_seek(&container->index, &cursor, first);
    for (uint64_t i = 0; i < count; i++, more = hmm_index_step(&cursor)) {
        if (!more || cursor.key != first + i ||
            HMM_SLOT_FRAME(*cursor.value) != frame + i ||
            (*cursor.value & suit->mask) != suit->bits)
            return false;
    }
    return true;
}

/* Is there a large page of `size` bytes around the page?  Then how many of its
 * pages come before that one. */
static bool find_large(const struct hmm_mapping *mapping, uint64_t page,
                       uint32_t frame, uint64_t size,
                       const struct hmm_suit *suit, bool write,
                       uint64_t *before)
{
    const struct hmm_container *container = mapping->container;
    const struct hmm_physmem *physmem = container->physmem;
    uint64_t address = hmm_mapping_address(mapping, page);
    uint64_t start = address & ~(size - 1), count = size >> physmem->page_shift;
    uint64_t bytes = mapping->by_offset.last - mapping->by_offset.first;

    *before = (address - start) >> physmem->page_shift;
    if (start < mapping->address || start - mapping->address > bytes ||
        size - 1 > bytes - (start - mapping->address) || *before > frame)
        return false;
    uint64_t first = page - *before;
    frame -= (uint32_t)*before;
    if (hmm_bank_end(physmem, frame) - frame < count ||
        hmm_frame_address(physmem, frame) & (size - 1) || suit->end < count ||
        first > suit->end - count ||
        (write && hmm_dependent_in(container, first, first + (count - 1))))
        return false; /* B3 */
    return all_suit(container, first, count, frame, suit);
}

int hmm_lend_large(struct hmm_mapping *mapping, uint64_t page, uint64_t slot,
                   const struct hmm_suit *suit, unsigned rights)
{
    struct hmm_container *container = mapping->container;
    const struct hurdmm_port_info *info = container->physmem->info;
    uint64_t sizes = info->page_sizes & ~(2 * (uint64_t)info->page_size - 1);
    uint32_t frame = HMM_SLOT_FRAME(slot), done;
    uint64_t before;

    hmm_assert(frame != HURDMM_FRAME_NONE && page < suit->end);
    for (uint64_t size; sizes != 0; sizes &= ~size) {
        size = UINT64_C(1) << hmm_log2(sizes);
        if (!find_large(mapping, page, frame, size, suit, rights & HURDMM_WRITE,
                        &before))
            continue;
        struct hmm_place home = {container, page - before, false};
        (void)hmm_lend(
            mapping, home.page, &home, hmm_container_slot(container, home.page),
            (uint32_t)(size >> container->physmem->page_shift), rights, &done);
        if (done > before)
            return 0;
    }
    return ENOENT;
}

/* ---- Taking back ---- */

void hmm_batch_begin(struct hmm_batch *batch, struct hmm_physmem *physmem,
                     unsigned keep)
{
    hmm_assert(!(keep & ~HURDMM_RIGHTS));
    batch->physmem = physmem;
    batch->keep = keep;
    batch->flags = 0;
    batch->mapping = NULL;
    batch->rows = 0;
    batch->pages = 0;
}

/* Tries to make the page a part of the last row. */
static bool extend_row(struct hmm_batch *batch, void *space, uintptr_t address,
                       uint32_t frame)
{
    if (batch->rows == 0)
        return false;
    struct hurdmm_reclaim *row = &batch->row[batch->rows - 1];
    if (row->space != space ||
        ((row->flags ^ batch->flags) & ~HURDMM_RECLAIM_JOINED) ||
        row->frame + row->count != frame ||
        row->address + ((uintptr_t)row->count << batch->physmem->page_shift) !=
            address ||
        !hmm_frames_adjacent(batch->physmem, frame - 1, frame))
        return false;
    row->count++;
    return true;
}

/* Adds the page at one address.  Where a full batch goes to the port first, what
 * was added of this page before is done: only its last row says that the page is. */
static int add_row(struct hmm_batch *batch, struct hmm_mapping *mapping,
                   uint64_t page, uint64_t *slot)
{
    uintptr_t address = hmm_mapping_address(mapping, page);
    uint32_t frame = HMM_SLOT_FRAME(*slot);

    hmm_assert(frame != HURDMM_FRAME_NONE && mapping->container);
    if (batch->rows == HMM_BATCH_ROWS || batch->pages == HMM_BATCH_PAGES) {
        int err = hmm_batch_end(batch);
        if (err)
            return err;
    }
    if (!extend_row(batch, mapping->space, address, frame)) {
        unsigned no = batch->mapping == mapping ? 0 : HURDMM_RECLAIM_JOINED;
        batch->row[batch->rows++] = (struct hurdmm_reclaim){
            .space = mapping->space,
            .address = address,
            .frame = frame,
            .count = 1,
            .rights = batch->keep,
            .status = &batch->status[batch->pages],
            .flags = batch->flags & ~no,
        };
    }
    batch->mapping = mapping;
    batch->status[batch->pages] = 0;
    batch->page[batch->pages].slot = slot;
    batch->page[batch->pages].row = batch->rows - 1;
    batch->page[batch->pages].last = false;
    batch->pages++;
    return 0;
}

/* Has the slot nothing that the batch would take (or look at)? */
static bool nothing_to_take(const struct hmm_batch *batch, uint64_t slot)
{
    if (batch->keep == HURDMM_RIGHTS)
        return !(slot & HMM_LENT);
    return !(slot & HMM_LENT & ~lent_bits(batch->keep));
}

/* Adds rows for every address that shows the page: the container's mappings,
 * and those of containers that read it through a bond. */
static int add_rows(struct hmm_batch *batch, struct hmm_container *container,
                    uint64_t page, uint64_t *slot)
{
    struct hmm_place at = {container, page, false};
    int err = 0;

    do {
        uint64_t offset = at.page << container->physmem->page_shift;
        struct hmm_span *span =
            hmm_span_first_overlap(&at.container->mappings, offset, offset);

        for (; span && !err; span = hmm_span_next_overlap(span, offset, offset))
            err = add_row(batch,
                          HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset),
                          at.page, slot);
    } while (!err && hmm_reader_next(container, page, &at));
    return err;
}

int hmm_batch_add(struct hmm_batch *batch, struct hmm_container *container,
                  uint64_t page, uint64_t *slot)
{
    if (nothing_to_take(batch, *slot))
        return 0;
    uint32_t pages = batch->pages, rows = batch->rows;
    int err = add_rows(batch, container, page, slot);
    if (err)
        return err;
    /* When the batch was passed on in between, what is in it now is this
     * page's last part. */
    if (batch->pages > 0 && batch->page[batch->pages - 1].slot == slot)
        batch->page[batch->pages - 1].last = true;
    else if (batch->pages == pages && batch->rows == rows &&
             batch->keep != HURDMM_RIGHTS)
        *slot &= ~HMM_LENT | lent_bits(batch->keep);
    return 0;
}

int hmm_batch_add_view(struct hmm_batch *batch, struct hmm_container *view,
                       uint64_t page, uint64_t *slot)
{
    return nothing_to_take(batch, *slot) ? 0
                                         : add_rows(batch, view, page, slot);
}

int hmm_batch_add_one(struct hmm_batch *batch, struct hmm_mapping *mapping,
                      uint64_t page, uint64_t *slot)
{
    if (nothing_to_take(batch, *slot))
        return 0;
    return add_row(batch, mapping, page, slot);
}

int hmm_batch_end(struct hmm_batch *batch)
{
    struct hmm_physmem *physmem = batch->physmem;
    size_t done = 0;

    hmm_assert(batch->rows <= batch->pages);
    if (batch->rows == 0)
        return 0;
    hmm_lends_wait(physmem);
    int err = physmem->port->ops->reclaim(physmem->port, batch->row,
                                          batch->rows, &done);
    hmm_assert(err || done == batch->rows);
    physmem->reclaims++;
    for (uint32_t i = 0; i < batch->pages; i++) {
        uint64_t *slot = batch->page[i].slot;

        if (batch->page[i].row >= done)
            continue;
        physmem->reclaim_pages++;
        if (batch->page[i].last && batch->keep != HURDMM_RIGHTS)
            *slot &= ~HMM_LENT | lent_bits(batch->keep);
        if (batch->status[i] & (HURDMM_READ | HURDMM_WRITE))
            *slot |= HMM_REFERENCED;
        if (batch->status[i] & HURDMM_GONE)
            *slot |= HMM_GONE;
    }
    batch->rows = 0;
    batch->pages = 0;
    batch->mapping = NULL;
    return err;
}

/* ---- Ranges ---- */

/* A range of pages that a single mapping shows and nothing else. */
struct plain {
    struct hmm_mapping *mapping;
    uint64_t first, last; /* pages */
};

/* Finds the plain range that begins at `page`: false if there is none. */
static bool find_plain(const struct hmm_container *container, uint64_t page,
                       uint64_t last, struct plain *plain)
{
    unsigned shift = container->physmem->page_shift;
    uint64_t offset = page << shift;
    struct hmm_span *span =
        hmm_span_first_overlap(&container->mappings, offset, offset);
    const struct hmm_span *next;
    const struct hmm_bond *bond;

    if (!span)
        return false;
    last = hmm_min(last, span->last >> shift);
    next = hmm_span_next_overlap(span, offset, span->last);
    if (next && next->first <= offset)
        return false;
    if (next)
        last = hmm_min(last, (next->first >> shift) - 1);
    bond = hmm_dependent_in(container, page, last);
    if (bond && bond->by_source.first <= page)
        return false;
    if (bond)
        last = bond->by_source.first - 1;
    plain->mapping = HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset);
    plain->first = page;
    plain->last = last;
    return true;
}

/* Rows of pages in plain ranges, and the page that each begins with. */
struct sweep {
    struct hmm_container *container;
    unsigned keep;
    uint32_t rows;
    struct hurdmm_reclaim row[HMM_BATCH_ROWS];
    uint64_t page[HMM_BATCH_ROWS];
    uint32_t bank_end; /* of the last row's: rows do not go beyond it */
    bool skipped;      /* a page since then that must keep what it has */
};

/* Passes the rows on; what was taken is no longer noted as lent. */
static int sweep_flush(struct sweep *sweep)
{
    struct hmm_physmem *physmem = sweep->container->physmem;
    size_t done = 0;
    int err = 0;

    if (sweep->rows > 0) {
        hmm_lends_wait(physmem);
        err = physmem->port->ops->reclaim(physmem->port, sweep->row,
                                          sweep->rows, &done);
        physmem->reclaims++;
    }
    hmm_assert(err || done == sweep->rows);
    for (size_t i = 0; i < done; i++) {
        uint64_t first = sweep->page[i];
        uint32_t count = sweep->row[i].count;

        hmm_index_clear_bits(&sweep->container->index, first,
                             first + (count - 1),
                             HMM_LENT & ~lent_bits(sweep->keep));
        physmem->reclaim_pages += count;
    }
    sweep->rows = 0;
    return err;
}

/* Pages that are taken into a row although they have no right to lose, because
 * one request costs a port more than some pages. */
#define GAP_MAX 16u

/* Do the pages of [page, page + count) have the frames from `frame` on? */
static bool has_run(const struct hmm_container *container, uint64_t page,
                    uint64_t count, uint32_t frame)
{
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t *slot = hmm_container_slot(container, page + i);

        if (!slot || HMM_SLOT_FRAME(*slot) != frame + i)
            return false;
    }
    return true;
}

/* Makes the page, which is of the same plain range as the last one, a part of the
 * last row, with what lies between them if that can only lose what it has not.
 * It has not: pages between lack the right, or they would be in a row. */
static bool sweep_extend(struct sweep *sweep, uint64_t page, uint32_t frame)
{
    if (sweep->rows == 0)
        return false;
    struct hurdmm_reclaim *row = &sweep->row[sweep->rows - 1];
    uint64_t first = sweep->page[sweep->rows - 1], distance = page - first;
    uint64_t gap = distance - row->count;

    if (gap > (sweep->keep ? GAP_MAX : 0) || row->frame + distance != frame ||
        frame >= sweep->bank_end ||
        !has_run(sweep->container, first + row->count, gap,
                 row->frame + row->count))
        return false;
    row->count = (uint32_t)distance + 1;
    return true;
}

/* Adds a page of a plain range. */
static int sweep_add(struct sweep *sweep, const struct plain *plain,
                     uint64_t page, uint32_t frame)
{
    int err = 0;

    if (page > plain->first && !sweep->skipped &&
        sweep_extend(sweep, page, frame))
        return 0;
    sweep->skipped = false;
    if (sweep->rows == HMM_BATCH_ROWS)
        err = sweep_flush(sweep);
    if (err)
        return err;
    sweep->bank_end = hmm_bank_end(sweep->container->physmem, frame);
    sweep->page[sweep->rows] = page;
    sweep->row[sweep->rows++] = (struct hurdmm_reclaim){
        .space = plain->mapping->space,
        .address = hmm_mapping_address(plain->mapping, page),
        .frame = frame,
        .count = 1,
        .rights = sweep->keep,
    };
    return 0;
}

int hmm_take_back_range(struct hmm_container *container, uint64_t first,
                        uint64_t last, unsigned keep, bool pinned_too)
{
    const uint64_t taken = HMM_LENT & ~lent_bits(keep);
    const struct hmm_frame *table = container->physmem->table;
    struct sweep sweep = {.container = container, .keep = keep};
    struct plain plain = {NULL, 1, 0};
    struct hmm_batch rest; /* pages shown at several addresses, or at none */
    struct hmm_index_cursor cursor;
    int err = 0;

    hmm_assert(first <= last && !(keep & HURDMM_WRITE));
    hmm_batch_begin(&rest, container->physmem, keep);
    bool more =
        hmm_index_seek_marked(&container->index, &cursor, first, last, taken);
    for (; !err && more; more = hmm_index_step_marked(&container->index,
                                                      &cursor, last, taken)) {
        uint64_t page = cursor.key;
        uint32_t frame = HMM_SLOT_FRAME(*cursor.value);

        if (!pinned_too && table[frame].pins_write) {
            sweep.skipped = true;
            continue;
        }
        if ((page >= plain.first && page <= plain.last) ||
            find_plain(container, page, last, &plain))
            err = sweep_add(&sweep, &plain, page, frame);
        else
            err = hmm_batch_add(&rest, container, page, cursor.value);
    }
    if (!err)
        err = sweep_flush(&sweep);
    return err ? err : hmm_batch_end(&rest);
}

int hmm_take_back(struct hmm_container *container, uint64_t page,
                  uint64_t *slot, unsigned keep)
{
    struct hmm_batch batch;

    hmm_batch_begin(&batch, container->physmem, keep);
    int err = hmm_batch_add(&batch, container, page, slot);
    return err ? err : hmm_batch_end(&batch);
}
