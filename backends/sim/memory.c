/* SPDX-License-Identifier: MIT */
/* Physical memory: windows, core memory, lending and reclaiming.
 *
 * With HURDMM_PORT_ALIAS the frames' bytes are always at `home`, where windows
 * show them.  Without it they are there while a frame is held; they move to
 * `away` when it is lent, and `home` is filled with junk, so that a window that
 * is used for too long is noticed.
 *
 * HURDMM_SIM_CHECK_FRAMES keeps a sum of the bytes of each lent frame, which
 * only the application's stores renew.  Under AddressSanitizer it also poisons
 * the windows of frames that the library must not touch.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/sim/machine.h"
#include "backends/sim/tools.h"

#define JUNK 0xdb

/* Core memory is aligned to this, or where the host happened to put it would
 * show in what the core can carve from it, and runs would not be equal. */
#define CORE_ALIGN ((size_t)64 << 10)

struct hmm_sim_core {
    struct hmm_sim_core *next;
    void *memory;
};

static bool has_alias(const struct hmm_sim *sim)
{
    return (sim->features & HURDMM_PORT_ALIAS) != 0;
}

static uint8_t *home_of(const struct hmm_sim *sim, uint32_t frame)
{
    return sim->home + ((size_t)frame << sim->page_shift);
}

uint8_t *hmm_sim_bytes(struct hmm_sim *sim, uint32_t frame)
{
    if (has_alias(sim) || sim->frames[frame].lent == 0)
        return home_of(sim, frame);
    return sim->away + ((size_t)frame << sim->page_shift);
}

int hmm_sim_memory_init(struct hmm_sim *sim)
{
    size_t page_size = hmm_sim_page_size(sim);
    size_t size = (size_t)sim->frame_count * page_size;
    sim->frames = calloc(sim->frame_count, sizeof *sim->frames);
    sim->home = aligned_alloc(page_size, size);
    if (!has_alias(sim))
        sim->away = malloc(size);
    if (sim->frames == NULL || sim->home == NULL ||
        (!has_alias(sim) && sim->away == NULL) ||
        hmm_sim_table_init(&sim->table) != 0)
        return ENOMEM;
    if (sim->options.flags & HURDMM_SIM_JUNK)
        memset(sim->home, JUNK, size);
    return 0;
}

void hmm_sim_memory_free(struct hmm_sim *sim)
{
    while (sim->core != NULL) {
        struct hmm_sim_core *next = sim->core->next;
        free(sim->core->memory);
        free(sim->core);
        sim->core = next;
    }
    hmm_sim_table_free(&sim->table);
    if (sim->home != NULL)
        tool_unpoison(sim->home, (size_t)sim->frame_count << sim->page_shift);
    free(sim->home);
    free(sim->away);
    free(sim->frames);
    sim->home = sim->away = NULL;
    sim->frames = NULL;
    sim->frame_count = 0;
}

static void check_call(struct hmm_sim *sim, const char *function)
{
    if (!sim->is_open)
        hmm_sim_violation(sim, "%s: the port is not open", function);
    if (sim->self->cookie == 0)
        hmm_sim_violation(sim,
                          "%s: thread %" PRIu64 " is not in a critical section",
                          function, sim->self->id);
}

void hmm_sim_memory_begin(struct hmm_sim *sim, const char *function)
{
    hmm_sim_point(sim);
    uint64_t id = sim->self->id;
    check_call(sim, function);
    if (sim->busy != 0)
        hmm_sim_violation(sim,
                          "%s: thread %" PRIu64 " is called while "
                          "thread %" PRIu64 " is in a memory function",
                          function, id, sim->busy);
    sim->busy = id;
}

void hmm_sim_memory_end(struct hmm_sim *sim)
{
    sim->busy = 0;
}

/* Calls apart: lend and frame_read where they need no lock. */

static bool calls_apart(const struct hmm_sim *sim)
{
    return (sim->features & HURDMM_PORT_LENDS_APART) != 0;
}

/* Nobody else may be using these frames. */
static void check_unused(struct hmm_sim *sim, const char *function,
                         uint32_t frame, uint32_t count)
{
    for (uint32_t i = frame; i < frame + count; i++)
        if (sim->frames[i].user != 0 && sim->frames[i].user != sim->self->id)
            hmm_sim_violation(sim,
                              "%s: thread %" PRIu64 " is using frame %" PRIu32,
                              function, sim->frames[i].user, i);
}

static void set_user(struct hmm_sim *sim, uint32_t frame, uint32_t count,
                     uint64_t user)
{
    for (uint32_t i = frame; i < frame + count; i++)
        sim->frames[i].user = user;
}

/* Brackets what may be called apart; the others run in between. */
static void use_begin(struct hmm_sim *sim, const char *function, uint32_t frame,
                      uint32_t count)
{
    if (!calls_apart(sim))
        return;
    check_call(sim, function);
    check_unused(sim, function, frame, count);
    set_user(sim, frame, count, sim->self->id);
    hmm_sim_point(sim);
}

static void use_end(struct hmm_sim *sim, uint32_t frame, uint32_t count)
{
    if (!calls_apart(sim))
        return;
    hmm_sim_point(sim);
    set_user(sim, frame, count, 0);
}

/* Checks of frames. */

static bool checks_frames(const struct hmm_sim *sim)
{
    return (sim->options.flags & HURDMM_SIM_CHECK_FRAMES) != 0;
}

static uint64_t sum_of(struct hmm_sim *sim, uint32_t frame)
{
    const uint8_t *bytes = hmm_sim_bytes(sim, frame);
    uint64_t sum = frame;
    for (size_t i = 0; i < hmm_sim_page_size(sim); i += sizeof sum) {
        uint64_t word;
        memcpy(&word, bytes + i, sizeof word);
        sum = (sum ^ word) * UINT64_C(0x100000001b3);
        sum ^= sum >> 32;
    }
    return sum;
}

/* Lets the library's window show what it may see. */
static void guard(struct hmm_sim *sim, uint32_t frame)
{
    const struct hmm_sim_frame *state = &sim->frames[frame];
    /* Where windows stay, what is lent to write may be read all the same: the
     * page may be pinned, which is not known here. */
    bool hidden = !has_alias(sim) && state->lent > 0;
    if (!checks_frames(sim))
        return;
    if (hidden)
        tool_poison(home_of(sim, frame), hmm_sim_page_size(sim));
    else
        tool_unpoison(home_of(sim, frame), hmm_sim_page_size(sim));
}

void hmm_sim_frame_check(struct hmm_sim *sim, uint32_t frame)
{
    if (!checks_frames(sim))
        return;
    tool_unpoison(home_of(sim, frame), hmm_sim_page_size(sim));
    if (sim->frames[frame].lent == 0)
        return;
    uint64_t sum = sum_of(sim, frame);
    if (sum != sim->frames[frame].sum)
        hmm_sim_violation(
            sim, "frame %" PRIu32 " was written by the library while lent",
            frame);
    sim->frames[frame].sum = sum;
}

void hmm_sim_frame_changed(struct hmm_sim *sim, uint32_t frame)
{
    if (checks_frames(sim) && sim->frames[frame].lent > 0)
        sim->frames[frame].sum = sum_of(sim, frame);
    guard(sim, frame);
}

void hmm_sim_frame_leaves(struct hmm_sim *sim, uint32_t frame)
{
    size_t size = hmm_sim_page_size(sim);
    if (!has_alias(sim)) {
        memcpy(hmm_sim_bytes(sim, frame), home_of(sim, frame), size);
        memset(home_of(sim, frame), JUNK, size);
    }
    if (checks_frames(sim))
        sim->frames[frame].sum = sum_of(sim, frame);
}

void hmm_sim_frame_returns(struct hmm_sim *sim, uint32_t frame)
{
    size_t size = hmm_sim_page_size(sim);
    if (has_alias(sim))
        return;
    tool_unpoison(home_of(sim, frame), size);
    memcpy(home_of(sim, frame), sim->away + ((size_t)frame << sim->page_shift),
           size);
}

/* The library's views. */

static bool good_frames(struct hmm_sim *sim, const char *function,
                        uint32_t frame, uint32_t count)
{
    if (count > 0 && frame < sim->frame_count &&
        count <= sim->frame_count - frame)
        return true;
    hmm_sim_violation(sim, "%s: there are no frames %" PRIu32 " + %" PRIu32,
                      function, frame, count);
    return false;
}

int hmm_sim_window(struct hurdmm_port *port, uint32_t frame, uint32_t count,
                   void **address)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_memory_begin(sim, "window");
    int error = good_frames(sim, "window", frame, count) ? 0 : EINVAL;
    if (error == 0)
        check_unused(sim, "window", frame, count);
    for (uint32_t i = 0; error == 0 && !has_alias(sim) && i < count; i++) {
        if (sim->frames[frame + i].lent == 0)
            continue;
        hmm_sim_violation(sim, "window: frame %" PRIu32 " is lent", frame + i);
        error = EINVAL;
    }
    if (error == 0)
        error = hmm_sim_fallible(sim, HURDMM_SIM_WINDOW);
    if (error == 0)
        *address = home_of(sim, frame);
    HMM_SIM_NOTE(sim, EVENT_WINDOW, frame, count, (uint64_t)error);
    hmm_sim_memory_end(sim);
    return error;
}

/* Whether a frame is held, or lent to read at an address (among others, and
 * where the port may have overtaken the core: or not any more).  Without ALIAS
 * lent to write is as good: the page may be pinned, which is not known here. */
static bool is_readable(struct hmm_sim *sim, uint32_t frame, uint32_t space,
                        uintptr_t address)
{
    if (sim->frames[frame].lent == 0)
        return true;
    bool writable = sim->frames[frame].writable > 0;
    if (writable && has_alias(sim))
        return false;
    if (!writable && sim->features & HURDMM_PORT_OVERTAKES)
        return true;
    const struct hmm_sim_page *page =
        hmm_sim_find(sim, space, address >> sim->page_shift);
    return page != NULL && page->frame == frame;
}

static int read_frame(struct hmm_sim *sim, uint32_t frame, void *space,
                      uintptr_t address, void *buffer)
{
    if (!is_readable(sim, frame, (uint32_t)(uintptr_t)space, address)) {
        hmm_sim_violation(sim,
                          "frame_read: frame %" PRIu32
                          " is not held or lent to read there",
                          frame);
        return EINVAL;
    }
    int error = hmm_sim_fallible(sim, HURDMM_SIM_FRAME_READ);
    if (error == 0) {
        hmm_sim_frame_check(sim, frame);
        memcpy(buffer, hmm_sim_bytes(sim, frame), hmm_sim_page_size(sim));
        guard(sim, frame);
    }
    return error;
}

int hmm_sim_frame_read(struct hurdmm_port *port, uint32_t frame, void *space,
                       uintptr_t address, void *buffer)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    if (!good_frames(sim, "frame_read", frame, 1))
        return EINVAL;
    use_begin(sim, "frame_read", frame, 1);
    int error = read_frame(sim, frame, space, address, buffer);
    use_end(sim, frame, 1);
    HMM_SIM_NOTE(sim, EVENT_FRAME_READ, frame, address, (uint64_t)error);
    return error;
}

static int make_core(size_t size, struct hmm_sim_core **result)
{
    struct hmm_sim_core *core = malloc(sizeof *core);
    if (core == NULL)
        return ENOMEM;
    size_t whole = (size + CORE_ALIGN - 1) / CORE_ALIGN * CORE_ALIGN;
    core->memory = whole < size ? NULL : aligned_alloc(CORE_ALIGN, whole);
    if (core->memory == NULL) {
        free(core);
        return ENOMEM;
    }
    memset(core->memory, 0, size);
    *result = core;
    return 0;
}

int hmm_sim_core_map(struct hurdmm_port *port, size_t size, void **address)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_memory_begin(sim, "core_map");
    size_t mask = hmm_sim_page_size(sim) - 1;
    if (size == 0 || (size & mask) != 0)
        hmm_sim_violation(sim, "core_map: %#zx is not aligned", size);
    int error = hmm_sim_fallible(sim, HURDMM_SIM_CORE_MAP);
    struct hmm_sim_core *core = NULL;
    if (error == 0)
        error = make_core(size, &core);
    if (error == 0) {
        core->next = sim->core;
        sim->core = core;
        sim->stats.core_bytes += size;
        *address = core->memory;
    }
    HMM_SIM_NOTE(sim, EVENT_CORE_MAP, size, (uint64_t)error);
    hmm_sim_memory_end(sim);
    return error;
}

/* Lending. */

/* Without ALIAS a frame is lent at one address. */
static void check_alias(struct hmm_sim *sim, uint32_t space, uintptr_t page,
                        uint32_t frame)
{
    uint32_t first = sim->frames[frame].first;
    if (has_alias(sim) || first == 0)
        return;
    const struct hmm_sim_page *there = &sim->table.pages[first];
    if (there->space != space || there->page != page)
        hmm_sim_violation(
            sim, "lend: frame %" PRIu32 " is lent at another address", frame);
}

static bool good_lend(struct hmm_sim *sim, uint32_t space, uintptr_t address,
                      uint32_t frame, uint32_t count, unsigned rights)
{
    uintptr_t start = address >> sim->page_shift;
    if (space == sim->options.spaces || !good_frames(sim, "lend", frame, count))
        return false;
    if ((address & (hmm_sim_page_size(sim) - 1)) != 0 ||
        rights == HURDMM_NONE || (rights & ~HURDMM_RIGHTS) != 0) {
        hmm_sim_violation(sim, "lend: bad address %#" PRIxPTR " or rights %#x",
                          address, rights);
        return false;
    }
    if (!hmm_sim_reserved(&sim->spaces[space], start, start + count)) {
        hmm_sim_violation(
            sim, "lend: %#" PRIxPTR " + %" PRIu32 " pages is not reserved",
            address, count);
        return false;
    }
    return true;
}

/* Lends one page; within mappings_max, or not. */
static int lend_one(struct hmm_sim *sim, uint32_t space, uintptr_t page,
                    uint32_t frame, unsigned rights)
{
    check_alias(sim, space, page, frame);
    const struct hmm_sim_page *old = hmm_sim_find(sim, space, page);
    uint32_t old_frame = old == NULL ? HURDMM_FRAME_NONE : old->frame;
    unsigned old_rights = old == NULL ? HURDMM_NONE : old->rights;
    uint64_t before = sim->stats.mappings;
    if (old != NULL)
        hmm_sim_frame_check(sim, old_frame);
    hmm_sim_frame_check(sim, frame);
    int error = hmm_sim_enter(sim, space, page, frame, rights);
    uint64_t limit = sim->options.mappings_max;
    if (error == 0 && limit != 0 && sim->stats.mappings > limit &&
        sim->stats.mappings > before) {
        if (old_frame == HURDMM_FRAME_NONE)
            hmm_sim_cut(sim, hmm_sim_find(sim, space, page), HURDMM_NONE);
        else
            hmm_sim_enter(sim, space, page, old_frame, old_rights);
        error = ENOMEM;
    }
    guard(sim, frame);
    if (old_frame != HURDMM_FRAME_NONE)
        guard(sim, old_frame);
    return error;
}

int hmm_sim_lend(struct hurdmm_port *port, void *space, uintptr_t address,
                 uint32_t frame, uint32_t count, unsigned rights,
                 uint32_t *done)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    if (!calls_apart(sim))
        hmm_sim_memory_begin(sim, "lend");
    uint32_t number = hmm_sim_space_number(sim, space);
    uint32_t limit = 0;
    uint32_t i = 0;
    int scripted = EINVAL;
    int error = 0;
    bool good = good_lend(sim, number, address, frame, count, rights);
    if (good) {
        use_begin(sim, "lend", frame, count);
        scripted = hmm_sim_fallible(sim, HURDMM_SIM_LEND);
        limit =
            scripted == 0 ? count : (uint32_t)hmm_rand_below(&sim->rand, count);
    }
    while (i < limit && error == 0) {
        if (i > 0)
            hmm_sim_point(sim);
        error = lend_one(sim, number, (address >> sim->page_shift) + i,
                         frame + i, rights);
        i += error == 0 ? 1 : 0;
    }
    error = error != 0 ? error : scripted;
    *done = i;
    sim->stats.lends++;
    sim->stats.pages_lent += i;
    HMM_SIM_NOTE(sim, EVENT_LEND, number, address, frame, count, rights, i,
                 (uint64_t)error);
    if (good)
        use_end(sim, frame, count);
    if (!calls_apart(sim))
        hmm_sim_memory_end(sim);
    return error;
}

/* Reclaiming. */

static bool good_row(struct hmm_sim *sim, const struct hurdmm_reclaim *row,
                     uint32_t space)
{
    uintptr_t start = row->address >> sim->page_shift;
    unsigned kept = row->rights & ~HURDMM_EXECUTE;
    if (space == sim->options.spaces ||
        !good_frames(sim, "reclaim", row->frame, row->count))
        return false;
    if ((row->address & (hmm_sim_page_size(sim) - 1)) != 0 ||
        (row->rights != HURDMM_NONE && row->rights != HURDMM_RIGHTS &&
         kept != HURDMM_READ)) {
        hmm_sim_violation(sim,
                          "reclaim: bad address %#" PRIxPTR " or rights %#x",
                          row->address, row->rights);
        return false;
    }
    if (!hmm_sim_reserved(&sim->spaces[space], start, start + row->count)) {
        hmm_sim_violation(
            sim, "reclaim: %#" PRIxPTR " + %" PRIu32 " pages is not reserved",
            row->address, row->count);
        return false;
    }
    check_unused(sim, "reclaim", row->frame, row->count);
    return true;
}

/* JOINED: if both rows drop, a port may drop all that lies between them too. */
static void check_joined(struct hmm_sim *sim, const struct hurdmm_reclaim *row,
                         const struct hurdmm_reclaim *before)
{
    uint32_t space = hmm_sim_space_number(sim, row->space);
    uintptr_t start = row->address >> sim->page_shift;
    uintptr_t end = before == NULL
                        ? 0
                        : (before->address >> sim->page_shift) + before->count;
    if (space == sim->options.spaces)
        return;
    if (before != NULL && !(before->flags & HURDMM_RECLAIM_DROP))
        return;
    if (before == NULL || before->space != row->space || end > start ||
        !(row->flags & HURDMM_RECLAIM_DROP) ||
        !hmm_sim_reserved(&sim->spaces[space], end - 1, start + 1))
        hmm_sim_violation(sim,
                          "reclaim: %#" PRIxPTR " has no row to be joined with",
                          row->address);
    else if (start > end && hmm_sim_any_lent(sim, space, end, start))
        hmm_sim_violation(sim,
                          "reclaim: pages between %#" PRIxPTR
                          " and the row before it are lent",
                          row->address);
}

/* Whether a row would need more runs than there may be: what it cuts off at
 * its two ends, unless a whole run goes. */
static bool row_splits_too_much(struct hmm_sim *sim,
                                const struct hurdmm_reclaim *row,
                                uint32_t space)
{
    uintptr_t start = row->address >> sim->page_shift;
    uintptr_t last = start + row->count - 1;
    uint64_t more = 0;
    if (sim->options.mappings_max == 0 || row->rights == HURDMM_RIGHTS)
        return false;
    const struct hmm_sim_page *first = hmm_sim_find(sim, space, start);
    const struct hmm_sim_page *end = hmm_sim_find(sim, space, last);
    if (first != NULL && (first->rights & ~row->rights) != 0 &&
        hmm_sim_joined(sim, space, start - 1))
        more++;
    if (end != NULL && (end->rights & ~row->rights) != 0 &&
        hmm_sim_joined(sim, space, last))
        more++;
    if (row->rights == HURDMM_NONE && more > 0)
        more--;
    return more > 0 && sim->stats.mappings + more > sim->options.mappings_max;
}

/* Takes what was seen of a page, and its rights. */
static unsigned take(struct hmm_sim *sim, struct hmm_sim_page *page,
                     unsigned rights)
{
    unsigned seen = page->seen;
    page->seen = 0;
    if ((page->rights & ~rights) != 0) {
        hmm_sim_cut(sim, page, rights);
        sim->stats.pages_reclaimed++;
    }
    return seen;
}

/* OVERTAKES: takes the frame from every address. */
static unsigned take_everywhere(struct hmm_sim *sim, uint32_t frame,
                                unsigned rights)
{
    unsigned seen = 0;
    uint32_t next;
    for (uint32_t i = sim->frames[frame].first; i != 0; i = next) {
        next = sim->table.pages[i].frame_next;
        seen |= take(sim, &sim->table.pages[i], rights);
    }
    return seen;
}

static void reclaim_one(struct hmm_sim *sim, const struct hurdmm_reclaim *row,
                        uint32_t space, uint32_t i)
{
    uint32_t frame = row->frame + i;
    unsigned seen = 0;
    unsigned told = 0;
    struct hmm_sim_page *page =
        hmm_sim_find(sim, space, (row->address >> sim->page_shift) + i);
    if (page != NULL && page->frame != frame) {
        hmm_sim_violation(sim,
                          "reclaim: frame %" PRIu32 " is at page %" PRIu32
                          " of %#" PRIxPTR ", not %" PRIu32,
                          page->frame, i, row->address, frame);
        frame = page->frame;
    }
    hmm_sim_frame_check(sim, frame);
    if (sim->features & HURDMM_PORT_OVERTAKES)
        seen = take_everywhere(sim, frame, row->rights);
    else if (page != NULL)
        seen = take(sim, page, row->rights);
    guard(sim, frame);
    if (sim->features & HURDMM_PORT_REFERENCED)
        told |= HURDMM_READ;
    if (sim->features & HURDMM_PORT_DIRTY)
        told |= HURDMM_WRITE;
    if (row->status != NULL)
        row->status[i] = (uint8_t)(seen & told);
}

static int reclaim_row(struct hmm_sim *sim, const struct hurdmm_reclaim *row)
{
    uint32_t space = hmm_sim_space_number(sim, row->space);
    int error = 0;
    if (!good_row(sim, row, space))
        error = EINVAL;
    else if (row_splits_too_much(sim, row, space))
        error = ENOMEM;
    for (uint32_t i = 0; error == 0 && i < row->count; i++) {
        if (i > 0)
            hmm_sim_point(sim);
        reclaim_one(sim, row, space, i);
    }
    HMM_SIM_NOTE(sim, EVENT_RECLAIM, space, row->address, row->frame,
                 row->count, row->rights, (uint64_t)error);
    for (uint32_t i = 0; error == 0 && row->status != NULL && i < row->count;
         i++)
        HMM_SIM_NOTE(sim, EVENT_RECLAIM, i, row->status[i]);
    return error;
}

int hmm_sim_reclaim(struct hurdmm_port *port, const struct hurdmm_reclaim *rows,
                    size_t count, size_t *done)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_memory_begin(sim, "reclaim");
    size_t limit = count;
    size_t i = 0;
    int error = 0;
    if (count == 0)
        hmm_sim_violation(sim, "reclaim: no rows");
    int scripted = hmm_sim_fallible(sim, HURDMM_SIM_RECLAIM);
    if (scripted != 0 && count > 0)
        limit = (size_t)hmm_rand_below(&sim->rand, count);
    while (i < limit && error == 0) {
        if (i > 0)
            hmm_sim_point(sim);
        if (rows[i].flags & HURDMM_RECLAIM_JOINED)
            check_joined(sim, &rows[i], i > 0 ? &rows[i - 1] : NULL);
        error = reclaim_row(sim, &rows[i]);
        i += error == 0 ? 1 : 0;
    }
    *done = i;
    sim->stats.reclaims++;
    sim->stats.rows_reclaimed += i;
    hmm_sim_memory_end(sim);
    return error != 0 ? error : scripted;
}

/* One page of a scan; false: there is no room for it. */
static bool scan_one(struct hmm_sim_page *page, uintptr_t address, size_t size,
                     unsigned flags, struct hurdmm_dirty *rows, size_t max,
                     size_t *count)
{
    struct hurdmm_dirty *last = *count > 0 ? &rows[*count - 1] : NULL;
    if (page == NULL || !page->written)
        return true;
    if (last != NULL && last->address + last->length == address)
        last->length += size;
    else if (*count < max)
        rows[(*count)++] = (struct hurdmm_dirty){address, size};
    else
        return false;
    if (flags & HURDMM_TRACK_CLEAR)
        page->written = false;
    return true;
}

int hmm_sim_scan(struct hurdmm_port *port, void *space, uintptr_t address,
                 size_t size, unsigned flags, struct hurdmm_dirty *rows,
                 size_t max, size_t *count, uintptr_t *end)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_memory_begin(sim, "scan");
    uint32_t number = hmm_sim_space_number(sim, space);
    size_t bytes = hmm_sim_page_size(sim);
    int error = 0;
    *count = 0;
    *end = address;
    if (number == sim->options.spaces || max == 0 ||
        !hmm_sim_reserved(&sim->spaces[number], address >> sim->page_shift,
                          (address + size) >> sim->page_shift)) {
        hmm_sim_violation(sim, "scan: %#" PRIxPTR " + %#zx is not reserved",
                          address, size);
        error = EINVAL;
    }
    if (error == 0)
        error = hmm_sim_fallible(sim, HURDMM_SIM_RECLAIM);
    for (; error == 0 && *end != address + size; *end += bytes) {
        if (!scan_one(hmm_sim_find(sim, number, *end >> sim->page_shift), *end,
                      bytes, flags, rows, max, count))
            break;
        hmm_sim_point(sim);
    }
    HMM_SIM_NOTE(sim, EVENT_SCAN, number, address, size, flags, *count,
                 (uint64_t)error);
    hmm_sim_memory_end(sim);
    return error;
}

/* For tests. */

enum hurdmm_sim_lending hurdmm_sim_frame_state(struct hurdmm_port *port,
                                               uint32_t frame)
{
    const struct hmm_sim *sim = hmm_sim_of(port);
    if (frame >= sim->frame_count || sim->frames[frame].lent == 0)
        return HURDMM_SIM_HELD;
    return sim->frames[frame].writable > 0 ? HURDMM_SIM_LENT_TO_WRITE
                                           : HURDMM_SIM_LENT_TO_READ;
}

void *hurdmm_sim_frame_bytes(struct hurdmm_port *port, uint32_t frame)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    if (frame >= sim->frame_count)
        return NULL;
    tool_unpoison(home_of(sim, frame), hmm_sim_page_size(sim));
    return hmm_sim_bytes(sim, frame);
}

uint32_t hurdmm_sim_lookup(struct hurdmm_port *port, void *space,
                           uintptr_t address, unsigned *rights)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    const struct hmm_sim_page *page = hmm_sim_find(
        sim, (uint32_t)(uintptr_t)space, address >> sim->page_shift);
    if (rights != NULL)
        *rights = page == NULL ? HURDMM_NONE : page->rights;
    return page == NULL ? HURDMM_FRAME_NONE : page->frame;
}
