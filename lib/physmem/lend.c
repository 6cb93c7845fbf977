/* SPDX-License-Identifier: MIT */
/* lend.c - lending frames to the application and taking them back.
 *
 * Taking back goes in batches: pages become rows of the port's reclaim call,
 * neighbours one row.  A page at several addresses (a shared store) becomes
 * several rows; its LENT bits go only when all of them are done.
 */
#include "hurdmm/error.h"
#include "lib/base/assert.h"
#include "lib/physmem/physmem.h"

static uint64_t lent_bits(unsigned rights)
{
    uint64_t bits = rights ? HMM_LENT_READ : 0;

    return rights & HURDMM_WRITE ? bits | HMM_LENT_WRITE : bits;
}

/* How many pages from `page` on have frames that follow each other. */
static uint32_t run_length(const struct hmm_container *container, uint64_t page,
                           uint32_t count)
{
    struct hmm_index_cursor cursor;
    uint32_t frame = HURDMM_FRAME_NONE, n = 0;

    if (!hmm_index_seek(&container->index, &cursor, page))
        return 0;
    do {
        uint32_t next = HMM_SLOT_FRAME(*cursor.value);

        if (cursor.key != page + n || next == HURDMM_FRAME_NONE)
            break;
        if (n && !hmm_frames_adjacent(container->physmem, frame, next))
            break;
        frame = next;
        n++;
    } while (n < count && hmm_index_step(&cursor));
    return n;
}

int hmm_lend(struct hmm_mapping *mapping, uint64_t page, uint32_t count,
             unsigned rights, uint32_t *done)
{
    struct hmm_container *container = mapping->container;
    struct hmm_physmem *physmem = container->physmem;
    uint32_t n = count > 1 ? run_length(container, page, count) : 1;
    uint64_t *slot = hmm_container_slot(container, page);

    hmm_assert(slot && n > 0 && HMM_SLOT_FRAME(*slot) != HURDMM_FRAME_NONE);
    int err = physmem->port->ops->lend(physmem->port, mapping->space,
                                       hmm_mapping_address(mapping, page),
                                       HMM_SLOT_FRAME(*slot), n, rights, done);
    physmem->lends++;
    physmem->lend_pages += *done;
    for (uint32_t i = 0; i < *done; i++) {
        if (i)
            slot = hmm_container_slot(container, page + i);
        *slot |= lent_bits(rights);
    }
    return err;
}

void hmm_batch_begin(struct hmm_batch *batch, struct hmm_physmem *physmem,
                     unsigned keep)
{
    batch->physmem = physmem;
    batch->keep = keep;
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
    if (row->space != space || row->frame + row->count != frame ||
        row->address + ((uintptr_t)row->count << batch->physmem->page_shift) !=
            address ||
        !hmm_frames_adjacent(batch->physmem, frame - 1, frame))
        return false;
    row->count++;
    return true;
}

static int add_row(struct hmm_batch *batch, void *space, uintptr_t address,
                   uint64_t *slot, bool last)
{
    uint32_t frame = HMM_SLOT_FRAME(*slot);

    if (batch->rows == HMM_BATCH_ROWS || batch->pages == HMM_BATCH_PAGES) {
        int err = hmm_batch_end(batch);
        if (err)
            return err;
    }
    if (!extend_row(batch, space, address, frame)) {
        batch->row[batch->rows++] = (struct hurdmm_reclaim){
            .space = space,
            .address = address,
            .frame = frame,
            .count = 1,
            .rights = batch->keep,
            .status = &batch->status[batch->pages],
        };
    }
    batch->status[batch->pages] = 0;
    batch->page[batch->pages].slot = slot;
    batch->page[batch->pages].row = batch->rows - 1;
    batch->page[batch->pages].last = last;
    batch->pages++;
    return 0;
}

static bool nothing_to_take(const struct hmm_batch *batch, uint64_t slot)
{
    if (batch->keep == HURDMM_RIGHTS)
        return !(slot & HMM_LENT);
    return !(slot & HMM_LENT & ~lent_bits(batch->keep));
}

int hmm_batch_add(struct hmm_batch *batch, struct hmm_container *container,
                  uint64_t page, uint64_t *slot)
{
    uint64_t offset = page << container->physmem->page_shift;
    struct hmm_span *span, *next;

    if (nothing_to_take(batch, *slot))
        return 0;
    span = hmm_span_first_overlap(&container->mappings, offset, offset);
    if (!span && batch->keep != HURDMM_RIGHTS)
        *slot &= ~HMM_LENT | lent_bits(batch->keep);
    for (; span; span = next) {
        struct hmm_mapping *mapping =
            HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset);
        next = hmm_span_next_overlap(span, offset, offset);
        int err = add_row(batch, mapping->space,
                          hmm_mapping_address(mapping, page), slot, !next);
        if (err)
            return err;
    }
    return 0;
}

int hmm_batch_add_one(struct hmm_batch *batch, struct hmm_mapping *mapping,
                      uint64_t page, uint64_t *slot)
{
    if (nothing_to_take(batch, *slot))
        return 0;
    return add_row(batch, mapping->space, hmm_mapping_address(mapping, page),
                   slot, false);
}

int hmm_batch_end(struct hmm_batch *batch)
{
    struct hmm_physmem *physmem = batch->physmem;
    size_t done = 0;

    if (batch->rows == 0)
        return 0;
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
        if (batch->status[i])
            *slot |= HMM_REFERENCED;
    }
    batch->rows = 0;
    batch->pages = 0;
    return err;
}

int hmm_take_back(struct hmm_container *container, uint64_t page,
                  uint64_t *slot, unsigned keep)
{
    struct hmm_batch batch;

    hmm_batch_begin(&batch, container->physmem, keep);
    int err = hmm_batch_add(&batch, container, page, slot);
    return err ? err : hmm_batch_end(&batch);
}
