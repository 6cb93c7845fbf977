/* SPDX-License-Identifier: MIT */
/* frames.c - the frame table: which frames are in use, and by whom.
 *
 * The free ones are the zones' business (zones.c).  Here are the references:
 * a frame is freed when the last one is dropped.  On a port where windows stay
 * (HURDMM_PORT_ALIAS) each bank's window is asked for once.
 */
#include "hurdmm/error.h"
#include "lib/base/assert.h"
#include "lib/base/math.h"
#include "lib/base/string.h"
#include "lib/physmem/physmem.h"

#define NODE_PAGE_MIN 8192u

/* The number of the bank that has the frame.  There are few banks. */
static unsigned bank_of(const struct hmm_physmem *physmem, uint32_t frame)
{
    const struct hurdmm_bank *bank = physmem->info->banks;
    unsigned i = 0;

    hmm_assert(frame < physmem->frames);
    while (frame - bank[i].first_frame >= bank[i].frames)
        i++;
    return i;
}

/* On a port with aliases, asks once for a window on each bank; elsewhere windows
 * are asked for as frames are looked at. */
static int open_windows(struct hmm_physmem *physmem)
{
    const struct hurdmm_port_info *info = physmem->info;

    if (!(info->features & HURDMM_PORT_ALIAS))
        return 0;
    for (unsigned i = 0; i < info->bank_count; i++) {
        void *address;
        int err = physmem->port->ops->window(physmem->port,
                                             info->banks[i].first_frame,
                                             info->banks[i].frames, &address);
        if (err)
            return err;
        physmem->windows[i] = address;
    }
    return 0;
}

/* Half of the last slab page is unused on average.  So that this is little beside
 * the index of all frames, which takes about 17 bytes for each, a page is at most
 * an eighth of it; one of 8 KiB has 15 nodes for the room of 16. */
static void init_nodes(struct hmm_physmem *physmem)
{
    hmm_assert(physmem->core != NULL);
    hmm_slab_init(&physmem->nodes, physmem->core, HMM_INDEX_NODE_SIZE,
                  HMM_INDEX_NODE_SIZE, "index node");
    hmm_slab_limit(
        &physmem->nodes,
        (size_t)hmm_max(UINT64_C(2) * physmem->frames, NODE_PAGE_MIN));
}

int hmm_physmem_init(struct hmm_physmem *physmem, struct hurdmm_port *port,
                     const struct hurdmm_port_info *info, struct hmm_core *core,
                     uint32_t limit)
{
    struct hmm_bank banks[HURDMM_BANKS_MAX];
    void *memory;

    hmm_assert(hmm_is_pow2(info->page_size));
    hmm_assert(info->bank_count > 0 && info->bank_count <= HURDMM_BANKS_MAX);
    memset(physmem, 0, sizeof *physmem);
    physmem->port = port;
    physmem->info = info;
    physmem->page_shift = hmm_log2(info->page_size);
    physmem->core = core;
    hmm_slab_init(&physmem->bonds, core, sizeof(struct hmm_bond), 16, "bond");
    for (unsigned i = 0; i < info->bank_count; i++) {
        banks[i].base = info->banks[i].base;
        banks[i].first_frame = info->banks[i].first_frame;
        banks[i].frames = info->banks[i].frames;
        physmem->frames += info->banks[i].frames;
    }
    init_nodes(physmem);
    physmem->limit = limit < physmem->frames ? limit : physmem->frames;
    memory = hmm_core_alloc(
        core, hmm_zones_memory(physmem->frames, info->bank_count), 16);
    physmem->table =
        hmm_core_alloc(core, physmem->frames * sizeof *physmem->table, 16);
    if (!memory || !physmem->table)
        return ENOMEM;
    memset(physmem->table, 0, physmem->frames * sizeof *physmem->table);
    int err = hmm_zones_init(&physmem->zones, memory, info->page_size, banks,
                             info->bank_count);
    return err ? err : open_windows(physmem);
}

/* Frames that the zones just gave: one reference each, nobody's page yet. */
static void begin_use(struct hmm_physmem *physmem, uint32_t first,
                      uint32_t count)
{
    hmm_assert(first < physmem->frames && count <= physmem->frames - first);
    for (uint32_t i = first; i < first + count; i++) {
        struct hmm_frame *frame = &physmem->table[i];
        hmm_assert(frame->refs == 0);
        memset(frame, 0, sizeof *frame);
        frame->refs = 1;
    }
    physmem->used += count;
    hmm_assert(physmem->used <= physmem->limit);
    if (physmem->used > physmem->peak)
        physmem->peak = physmem->used;
}

int hmm_frames_take(struct hmm_physmem *physmem, uint32_t want, uint32_t hint,
                    uint32_t *first, uint32_t *got)
{
    hmm_assert(want > 0);
    if (physmem->used >= physmem->limit)
        return ENOMEM;
    if (want > physmem->limit - physmem->used)
        want = physmem->limit - physmem->used;
    int err = hmm_zones_alloc_some(&physmem->zones, want, hint, first, got);
    if (!err)
        begin_use(physmem, *first, *got);
    return err;
}

int hmm_frames_take_run(struct hmm_physmem *physmem, uint32_t count,
                        const struct hmm_constraint *constraint,
                        uint32_t *first)
{
    int err = hmm_zones_alloc(&physmem->zones, count, constraint,
                              HURDMM_FRAME_NONE, first);

    /* Asked first, so that what can never be is told from what is not now. */
    if (!err && (physmem->used >= physmem->limit ||
                 count > physmem->limit - physmem->used)) {
        hmm_zones_free(&physmem->zones, *first, count);
        err = count > physmem->limit ? ERANGE : ENOMEM;
    }
    if (!err)
        begin_use(physmem, *first, count);
    return err;
}

/* Gives frames without references back to the zones. */
static void end_use(struct hmm_physmem *physmem, uint32_t first, uint32_t count)
{
    if (count == 0)
        return;
    int err = hmm_zones_free(&physmem->zones, first, count);
    hmm_assert(err == 0);
    (void)err;
    hmm_assert(physmem->used >= count);
    physmem->used -= count;
}

void hmm_frames_drop(struct hmm_physmem *physmem, uint32_t first,
                     uint32_t count)
{
    uint32_t run = first; /* where the frames to free begin */

    hmm_assert(first <= physmem->frames && count <= physmem->frames - first);
    for (uint32_t i = first; i < first + count; i++) {
        struct hmm_frame *frame = &physmem->table[i];

        hmm_assert(frame->refs > 0);
        if (--frame->refs > 0) {
            end_use(physmem, run, i - run);
            run = i + 1;
            continue;
        }
        hmm_assert(!frame->pins_read && !frame->pins_write);
        frame->container = NULL;
    }
    end_use(physmem, run, first + count - run);
}

void hmm_frames_drop_slots(struct hmm_physmem *physmem,
                           const struct hmm_index_pair *slots, unsigned n)
{
    uint32_t first = HURDMM_FRAME_NONE, count = 0;

    for (unsigned i = 0; i < n; i++) {
        uint32_t frame = HMM_SLOT_FRAME(slots[i].value);

        if (count > 0 &&
            hmm_frames_adjacent(physmem, first + count - 1, frame)) {
            count++;
            continue;
        }
        if (count > 0)
            hmm_frames_drop(physmem, first, count);
        first = frame;
        count = frame != HURDMM_FRAME_NONE;
    }
    if (count > 0)
        hmm_frames_drop(physmem, first, count);
}

int hmm_frames_window(struct hmm_physmem *physmem, uint32_t first,
                      uint32_t count, void **address)
{
    unsigned i = bank_of(physmem, first);

    hmm_assert(count > 0 && count <= hmm_bank_end(physmem, first) - first);
    if (!physmem->windows[i])
        return physmem->port->ops->window(physmem->port, first, count, address);
    uint64_t offset = first - physmem->info->banks[i].first_frame;
    *address = physmem->windows[i] + (offset << physmem->page_shift);
    return 0;
}

uint64_t hmm_frame_address(const struct hmm_physmem *physmem, uint32_t frame)
{
    const struct hurdmm_bank *bank =
        &physmem->info->banks[bank_of(physmem, frame)];

    return bank->base +
           ((uint64_t)(frame - bank->first_frame) << physmem->page_shift);
}

uint32_t hmm_bank_end(const struct hmm_physmem *physmem, uint32_t frame)
{
    const struct hurdmm_bank *bank =
        &physmem->info->banks[bank_of(physmem, frame)];

    return bank->first_frame + bank->frames;
}

bool hmm_frames_adjacent(const struct hmm_physmem *physmem, uint32_t first,
                         uint32_t second)
{
    return second == first + 1 && second < physmem->frames &&
           bank_of(physmem, first) == bank_of(physmem, second);
}

bool hmm_physmem_check(const struct hmm_physmem *physmem)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < physmem->frames; i++) {
        const struct hmm_frame *frame = &physmem->table[i];

        if ((frame->refs == 0) != hmm_zones_is_free(&physmem->zones, i))
            return false;
        used += frame->refs > 0;
        if (!frame->refs || !frame->container)
            continue;
        const uint64_t *slot =
            hmm_container_slot(frame->container, frame->page);
        if (!slot || HMM_SLOT_FRAME(*slot) != i)
            return false; /* P1 */
    }
    return used == physmem->used && hmm_zones_check(&physmem->zones);
}
