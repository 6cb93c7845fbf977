/* SPDX-License-Identifier: MIT */
/* container.c - pages naming frames, and the mappings that show them.
 *
 * A frame that goes into a slot is owned and paid for from then on, and one that
 * leaves it is not: own and disown are the only two places, so that at any time
 *   C1  payer->used is the number of frames in the slots of all containers that
 *       this payer pays for, and payer->wired those of wired ones;
 *   C2  a frame's table entry says the one slot that it is in (P1).
 */
#include "hurdmm/error.h"
#include "lib/base/assert.h"
#include "lib/physmem/physmem.h"

void hmm_container_init(struct hmm_container *container,
                        struct hmm_physmem *physmem, struct hmm_payer *payer,
                        bool wired)
{
    hmm_assert(physmem && payer);
    container->physmem = physmem;
    container->payer = payer;
    container->wired = wired;
    hmm_index_init(&container->index, &physmem->nodes);
    hmm_span_tree_init(&container->mappings);
    hmm_span_tree_init(&container->bonds);
    hmm_span_tree_init(&container->dependents);
    container->unread = false;
}

/* The frame left a slot of the container. */
static void disown(struct hmm_container *container, uint32_t frame)
{
    struct hmm_payer *payer = container->payer;

    if (frame == HURDMM_FRAME_NONE)
        return;
    hmm_assert(payer->used > 0 && payer->wired <= payer->used);
    hmm_assert(container->physmem->table[frame].container == container);
    payer->used--;
    payer->wired -= container->wired;
    container->physmem->table[frame].container = NULL;
}

/* The frame, which was in nobody's slot, came into that of `page`. */
static void own(struct hmm_container *container, uint64_t page, uint32_t frame)
{
    if (frame == HURDMM_FRAME_NONE)
        return;
    struct hmm_frame *entry = &container->physmem->table[frame];
    hmm_assert(entry->refs > 0 && !entry->container);
    container->payer->used++;
    container->payer->wired += container->wired;
    entry->container = container;
    entry->page = page;
}

void hmm_container_charge(struct hmm_container *container,
                          struct hmm_payer *payer)
{
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek(&container->index, &cursor, 0);
    uint64_t frames = 0;

    for (; more; more = hmm_index_step(&cursor))
        frames += HMM_SLOT_FRAME(*cursor.value) != HURDMM_FRAME_NONE;
    hmm_assert(container->payer->used >= frames);
    container->payer->used -= frames;
    container->payer->wired -= container->wired ? frames : 0;
    payer->used += frames;
    payer->wired += container->wired ? frames : 0;
    container->payer = payer;
}

void hmm_container_clear(struct hmm_container *container)
{
    struct hmm_index_pair slots[HMM_INDEX_TAKE_MAX];
    unsigned n;

    while ((n = hmm_container_take_some(container, 0, UINT64_MAX, slots)) > 0)
        hmm_frames_drop_slots(container->physmem, slots, n);
}

int hmm_container_put(struct hmm_container *container, uint64_t page,
                      uint64_t slot)
{
    int err = hmm_index_insert(&container->index, page, slot);

    hmm_assert(!(slot & HMM_LENT) || HMM_SLOT_FRAME(slot) != HURDMM_FRAME_NONE);
    if (err)
        return err;
    own(container, page, HMM_SLOT_FRAME(slot));
    if (container->bonds.count > 0) {
        struct hmm_bond *shadowed = hmm_bond_at(container, page);
        if (shadowed)
            shadowed->source->unread = true;
    }
    return 0;
}

unsigned hmm_container_put_row(struct hmm_container *container, uint64_t page,
                               uint64_t slot, unsigned n)
{
    if (container->bonds.count > 0)
        return 0;
    n = hmm_index_insert_row(&container->index, page, slot, n);
    for (unsigned i = 0; i < n; i++)
        own(container, page + i, HMM_SLOT_FRAME(slot) + i);
    return n;
}

uint64_t *hmm_container_slot(const struct hmm_container *container,
                             uint64_t page)
{
    return hmm_index_find(&container->index, page);
}

uint64_t hmm_container_take(struct hmm_container *container, uint64_t page)
{
    uint64_t slot = 0;
    int err = hmm_index_remove(&container->index, page, &slot);

    hmm_assert(!err && !(slot & HMM_LENT));
    (void)err;
    disown(container, HMM_SLOT_FRAME(slot));
    return slot;
}

unsigned hmm_container_take_some(struct hmm_container *container,
                                 uint64_t first, uint64_t last,
                                 struct hmm_index_pair *slots)
{
    unsigned n = hmm_index_take(&container->index, first, last, slots);

    hmm_assert(first <= last && n <= HMM_INDEX_TAKE_MAX);
    for (unsigned i = 0; i < n; i++) {
        hmm_assert(!(slots[i].value & HMM_LENT));
        hmm_assert(slots[i].key >= first && slots[i].key <= last);
        disown(container, HMM_SLOT_FRAME(slots[i].value));
    }
    return n;
}

bool hmm_container_within(const struct hmm_container *container, uint64_t first,
                          uint64_t last)
{
    uint64_t lowest, highest;

    return !hmm_index_next(&container->index, 0, &lowest) ||
           (lowest >= first &&
            hmm_index_prev(&container->index, UINT64_MAX, &highest) &&
            highest <= last);
}

void hmm_container_swap(struct hmm_container *container, uint64_t page,
                        uint64_t *slot, uint32_t frame)
{
    hmm_assert(!(*slot & HMM_LENT));
    hmm_assert_slow(hmm_container_slot(container, page) == slot);
    disown(container, HMM_SLOT_FRAME(*slot));
    *slot = (*slot & ~(uint64_t)UINT32_MAX) | frame;
    own(container, page, frame);
}

void hmm_mapping_attach(struct hmm_mapping *mapping,
                        struct hmm_container *container, uint64_t offset,
                        uint64_t length, void *space, uintptr_t address)
{
    hmm_assert(length > 0 && offset <= UINT64_MAX - (length - 1));
    hmm_assert(address <= UINTPTR_MAX - (uintptr_t)(length - 1));
    mapping->container = container;
    mapping->space = space;
    mapping->address = address;
    mapping->by_offset.first = offset;
    mapping->by_offset.last = offset + (length - 1);
    hmm_span_insert(&container->mappings, &mapping->by_offset);
}

void hmm_mapping_detach(struct hmm_mapping *mapping)
{
    hmm_assert(mapping->container);
    hmm_span_remove(&mapping->container->mappings, &mapping->by_offset);
    mapping->container = NULL;
}

uintptr_t hmm_mapping_address(const struct hmm_mapping *mapping, uint64_t page)
{
    uint64_t offset = page << mapping->container->physmem->page_shift;

    hmm_assert(offset >= mapping->by_offset.first &&
               offset <= mapping->by_offset.last);
    return mapping->address + (uintptr_t)(offset - mapping->by_offset.first);
}

bool hmm_container_check(const struct hmm_container *container)
{
    const struct hmm_physmem *physmem = container->physmem;
    struct hmm_index_cursor cursor;
    bool more = hmm_index_seek(&container->index, &cursor, 0);

    for (; more; more = hmm_index_step(&cursor)) {
        uint32_t number = HMM_SLOT_FRAME(*cursor.value);

        if (number == HURDMM_FRAME_NONE) {
            if (*cursor.value & HMM_LENT)
                return false;
            continue;
        }
        const struct hmm_frame *frame = &physmem->table[number];
        if (!frame->refs || frame->container != container ||
            frame->page != cursor.key)
            return false; /* P1 */
    }
    return hmm_index_check(&container->index) &&
           hmm_span_check(&container->mappings) && hmm_bonds_check(container);
}
