/* SPDX-License-Identifier: MIT */
/* The L4 port's table of functions: opening and closing, lend and reclaim. */
#include "backends/l4-x86/l4_port.h"

#include "lib/base/string.h"

#define STACK_DEFAULT 32768u
#define UNMAP_MAX 64u

struct hmm_l4_port hmm_l4_ports[L4_PORTS_MAX];

static const struct hurdmm_port_ops ops;

struct hmm_l4_port *hmm_l4_from(struct hurdmm_port *base)
{
    hmm_assert(base->ops == &ops);
    return (struct hmm_l4_port *)(void *)base;
}

static struct hmm_l4_space *space_from(struct hmm_l4_port *port, void *token)
{
    return token == NULL ? &port->own : token;
}

/* ---- Frames ---- */

static const struct hurdmm_bank *bank_of(const struct hmm_l4_port *port,
                                         uint32_t frame)
{
    const struct hurdmm_bank *bank = port->banks;
    hmm_assert(frame < port->frames);
    while (frame - bank->first_frame >= bank->frames)
        bank++;
    return bank;
}

uint32_t hmm_l4_frame_address(const struct hmm_l4_port *port, uint32_t frame)
{
    const struct hurdmm_bank *bank = bank_of(port, frame);
    return (uint32_t)bank->base + (frame - bank->first_frame) * L4_PAGE_SIZE;
}

uint32_t hmm_l4_row_length(const struct hmm_l4_port *port, uint32_t frame,
                           uint32_t count)
{
    const struct hurdmm_bank *bank = bank_of(port, frame);
    uint32_t left = bank->frames - (frame - bank->first_frame);
    return count < left ? count : left;
}

/* ---- Opening and closing ---- */

static void give_banks(struct hmm_l4_port *port)
{
    while (port->bank_count > 0) {
        const struct hurdmm_bank *bank = &port->banks[--port->bank_count];
        hmm_l4_pages_give((uint32_t)bank->base, bank->frames);
    }
    port->frames = 0;
}

static int take_banks(struct hmm_l4_port *port, uint64_t wanted)
{
    while (port->frames < wanted && port->bank_count < HURDMM_BANKS_MAX) {
        uint64_t left = wanted - port->frames;
        uint32_t count = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
        uint32_t base;
        if (hmm_l4_pages_take_most(&count, &base) != 0)
            break;
        port->banks[port->bank_count++] = (struct hurdmm_bank){
            .base = base, .first_frame = port->frames, .frames = count};
        port->frames += count;
    }
    return port->frames == 0 ? ENOMEM : 0;
}

static int port_core_map(struct hurdmm_port *base, size_t size, void **address);

static void give_chunks(struct hmm_l4_port *port)
{
    while (port->chunk_count > 0) {
        const struct hmm_l4_chunk *chunk = &port->chunks[--port->chunk_count];
        hmm_l4_pages_give(chunk->base, chunk->pages);
    }
}

static void describe(const struct hmm_l4_port *port,
                     struct hurdmm_port_info *info)
{
    size_t size = info->struct_size;
    struct hurdmm_port_info now = {
        .struct_size = size,
        .page_size = L4_PAGE_SIZE,
        .page_sizes = L4_PAGE_SIZE | (hmm_l4_has_large() ? L4_LARGE_SIZE : 0),
        .features = HURDMM_PORT_ALIAS | HURDMM_PORT_REFERENCED |
                    HURDMM_PORT_DIRTY | HURDMM_PORT_THREADS |
                    HURDMM_PORT_SPACES,
        .bank_count = port->bank_count,
        .low = L4_CLIENT_LOW, /* of clients; our own begins at own.low */
        .high = port->own.end - 1,
    };
    memcpy(now.banks, port->banks, sizeof now.banks);
    memcpy(info, &now, size < sizeof now ? size : sizeof now);
}

/* The lowest of what the kernel has put into our space. */
static uint32_t space_end(void)
{
    uint32_t kip = (uint32_t)(uintptr_t)hmm_l4_kip & ~L4_PAGE_MASK;
    uint32_t registers =
        (uint32_t)(uintptr_t)utcb() & ~(L4_PAGE_MASK << 10 | L4_PAGE_MASK);
    return kip < registers ? kip : registers;
}

static int port_open(struct hurdmm_port *base,
                     const struct hurdmm_port_config *config,
                     struct hurdmm_port_info *info)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    uint64_t wanted = config->frames;
    void *seen;
    if (port->is_open)
        return EBUSY;
    if (wanted == 0)
        wanted = config->bytes / L4_PAGE_SIZE;
    hmm_l4_space_init(&port->own, port, L4_WINDOW_END, space_end());
    port->spaces = &port->own;
    port->stopped = false;
    port->client = config->client;
    port->fault_soft = NULL;
    if (config->struct_size >=
        offsetof(struct hurdmm_port_config, fault_soft) + sizeof(void *))
        port->fault_soft = config->fault_soft;
    port->faults = NULL;
    port->faults_end = &port->faults;
    int error = take_banks(port, wanted);
    if (error == 0)
        error = port_core_map(
            base, (port->frames + L4_PAGE_MASK) & ~(size_t)L4_PAGE_MASK, &seen);
    if (error != 0) {
        give_banks(port);
        return error;
    }
    port->seen = seen;
    describe(port, info);
    port->is_open = true;
    return 0;
}

static void port_close(struct hurdmm_port *base)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    hmm_l4_lock();
    port->is_open = false;
    hmm_l4_fault_quiet(port);
    for (unsigned i = 0; i < port->bank_count; i++)
        hmm_l4_blocks_end(port, port->banks[i].first_frame,
                          port->banks[i].frames);
    hmm_l4_unlock();
    hmm_l4_space_clear(&port->own);
    hmm_assert(port->large == 0); /* nothing is lent any more */
    give_banks(port);
    give_chunks(port);
}

static int port_window(struct hurdmm_port *base, uint32_t frame, uint32_t count,
                       void **address)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    if (hmm_l4_row_length(port, frame, count) < count)
        return ENOMEM;
    *address = (void *)(uintptr_t)hmm_l4_frame_address(port, frame);
    return 0;
}

static int port_frame_read(struct hurdmm_port *base, uint32_t frame,
                           void *space, uintptr_t address, void *buffer)
{
    (void)space;
    (void)address;
    memcpy(buffer,
           (void *)(uintptr_t)hmm_l4_frame_address(hmm_l4_from(base), frame),
           L4_PAGE_SIZE);
    return 0;
}

/* Where more core memory should lie: behind what there is, so that the pieces are
 * few; at first behind the frames, since stacks and tables are taken from the
 * lowest page on and would soon be in the way. */
static uint32_t core_hint(const struct hmm_l4_port *port)
{
    if (port->chunk_count > 0) {
        const struct hmm_l4_chunk *last = &port->chunks[port->chunk_count - 1];
        return last->base + last->pages * L4_PAGE_SIZE;
    }
    hmm_assert(port->bank_count > 0);
    const struct hurdmm_bank *bank = &port->banks[port->bank_count - 1];
    return (uint32_t)bank->base + bank->frames * L4_PAGE_SIZE;
}

static int port_core_map(struct hurdmm_port *base, size_t size, void **address)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    uint32_t pages = (uint32_t)((size + L4_PAGE_MASK) >> L4_PAGE_SHIFT);
    uint32_t hint = core_hint(port);
    uint32_t at;
    int error = hmm_l4_pages_take(pages, hint, &at);
    if (error != 0)
        return error;
    if (port->chunk_count > 0 && at == hint) {
        port->chunks[port->chunk_count - 1].pages += pages;
    } else if (port->chunk_count == L4_CORE_CHUNKS) {
        hmm_l4_pages_give(at, pages);
        return ENOMEM;
    } else {
        port->chunks[port->chunk_count++] = (struct hmm_l4_chunk){at, pages};
    }
    *address = memset((void *)(uintptr_t)at, 0, pages * L4_PAGE_SIZE);
    return 0;
}

/* ---- Address space ---- */

static int port_reserve(struct hurdmm_port *base, void *token,
                        uintptr_t *address, size_t size, unsigned flags)
{
    struct hmm_l4_space *space = space_from(hmm_l4_from(base), token);
    uint32_t at = (uint32_t)*address;
    if (size > UINT32_MAX)
        return ENOMEM;
    hmm_l4_lock();
    int error = hmm_l4_range_reserve(space, &at, (uint32_t)size,
                                     (flags & HURDMM_RESERVE_EXACT) != 0);
    hmm_l4_unlock();
    if (error == 0)
        *address = at;
    return error;
}

static void port_release(struct hurdmm_port *base, void *token,
                         uintptr_t address, size_t size)
{
    struct hmm_l4_space *space = space_from(hmm_l4_from(base), token);
    hmm_l4_lock();
    (void)hmm_l4_range_release(space, (uint32_t)address, (uint32_t)size);
    hmm_l4_unlock();
}

/* ---- Unmap, in batches ---- */

/* Flexpages to unmap, in the message registers, and what frames they are. */
struct batch {
    struct hmm_l4_port *port;
    unsigned count;
    uint32_t frames[UNMAP_MAX];
};

/* The frames are written as they are added, and not before: that would cost
 * more than the rest of a lend. */
static inline void batch_begin(struct batch *batch, struct hmm_l4_port *port)
{
    batch->port = port;
    batch->count = 0;
}

/* Unmaps them and notes what was seen. */
static void batch_unmap(struct batch *batch)
{
    hmm_l4_unmap(batch->count - 1);
    for (unsigned i = 0; i < batch->count; i++) {
        uint32_t fpage = utcb()[i];
        uint32_t pages = UINT32_C(1) << (l4_fpage_log2(fpage) - L4_PAGE_SHIFT);
        for (uint32_t n = 0; n < pages; n++)
            batch->port->seen[batch->frames[i] + n] |=
                (uint8_t)l4_fpage_rights(fpage);
    }
    batch->count = 0;
}

static inline void batch_flush(struct batch *batch)
{
    if (batch->count != 0)
        batch_unmap(batch);
}

static void batch_add(struct batch *batch, uint32_t frame, unsigned log2,
                      unsigned take)
{
    if (batch->count == UNMAP_MAX)
        batch_flush(batch);
    if (log2 < L4_LARGE_SHIFT && hmm_l4_in_large(batch->port, frame)) {
        batch_flush(batch);
        hmm_l4_block_split(batch->port, frame); /* all of it is taken */
        return;
    }
    batch->frames[batch->count] = frame;
    utcb()[batch->count++] =
        l4_fpage(hmm_l4_frame_address(batch->port, frame), log2, take);
}

/* ---- Lending ---- */

static unsigned l4_rights(unsigned rights)
{
    unsigned l4 = 0;
    if (rights != HURDMM_NONE)
        l4 = L4_READ | L4_EXECUTE;
    if ((rights & HURDMM_WRITE) != 0)
        l4 |= L4_WRITE;
    return l4;
}

#define NOT_MAPPED 8u /* no rights */

/* Takes rights from an entry.  Returns those to take from the kernel's mapping:
 * none if only the status is asked for; NOT_MAPPED if there is no mapping. */
static unsigned narrow(uint32_t *entry, unsigned keep)
{
    if (entry == NULL)
        return NOT_MAPPED;
    uint32_t old = *entry;
    unsigned take = ~keep & L4_FULL;
    if (take != 0 && (old & L4_ENTRY_WIDENED) != 0)
        take = L4_FULL;
    *entry &= ~L4_FULL | keep;
    if (take == L4_FULL)
        *entry &= ~(L4_ENTRY_MAPPED | L4_ENTRY_WIDENED);
    if (L4_ENTRY_RIGHTS(*entry) == 0)
        *entry = 0;
    return (old & L4_ENTRY_MAPPED) != 0 ? take : NOT_MAPPED;
}

/* What the page shows now goes, as far as the new entry does not allow it. */
static void replace(struct batch *batch, uint32_t *entry, uint32_t new)
{
    uint32_t old = *entry;
    if (old == 0) {
        *entry = new;
        return;
    }
    bool same = L4_ENTRY_FRAME(old) == L4_ENTRY_FRAME(new);
    unsigned keep = same ? L4_ENTRY_RIGHTS(new) : 0;
    unsigned take = NOT_MAPPED;
    if (!same || (L4_ENTRY_RIGHTS(old) & ~keep) != 0)
        take = narrow(entry, keep);
    if (take != NOT_MAPPED)
        batch_add(batch, L4_ENTRY_FRAME(old), L4_PAGE_SHIFT, take);
    new |= *entry &(L4_ENTRY_MAPPED | L4_ENTRY_WIDENED);
    if ((new &L4_ENTRY_MAPPED) != 0 &&
        (L4_ENTRY_RIGHTS(new) & ~L4_ENTRY_RIGHTS(old)) != 0)
        new |= L4_ENTRY_WIDENED;
    *entry = new;
}

static int port_lend(struct hurdmm_port *base, void *token, uintptr_t address,
                     uint32_t frame, uint32_t count, unsigned rights,
                     uint32_t *done)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    struct hmm_l4_space *space = space_from(port, token);
    struct batch batch;
    uint32_t i = 0;
    batch_begin(&batch, port);
    hmm_l4_lock();
    if (port->large != 0)
        hmm_l4_leaves_break(space, (uint32_t)address, count);
    for (; i < count; i++) {
        uint32_t at = (uint32_t)address + i * L4_PAGE_SIZE;
        uint32_t *entry = hmm_l4_entry(space, at);
        if (entry == NULL)
            entry = hmm_l4_entry_make(space, at);
        if (entry == NULL)
            break;
        replace(&batch, entry, L4_ENTRY(frame + i, l4_rights(rights)));
    }
    batch_flush(&batch);
    if (i >= L4_LEAF_ENTRIES)
        hmm_l4_leaves_note(space, (uint32_t)address, frame, i);
    hmm_l4_unlock();
    *done = i;
    return i == count ? 0 : ENOMEM;
}

/* ---- Taking back ---- */

/* Whether the pages can go in one flexpage: nobody asked for each one's bits. */
static unsigned block_size(const struct hmm_l4_port *port,
                           const struct hurdmm_reclaim *row, uint32_t i)
{
    uint32_t frame = row->frame + i;
    uint32_t at = hmm_l4_frame_address(port, frame);
    uint32_t count = hmm_l4_row_length(port, frame, row->count - i);
    if (row->status != NULL || row->rights != HURDMM_NONE)
        return L4_PAGE_SHIFT;
    return hmm_l4_block_from(at, at, count * L4_PAGE_SIZE, 21);
}

/* Takes rights from a block of pages, of which `frame' is the first's. */
static void take_block(struct batch *batch, const struct hurdmm_reclaim *row,
                       uint32_t i, unsigned log2, unsigned keep)
{
    const struct hmm_l4_space *space = space_from(batch->port, row->space);
    unsigned take = 0;
    bool mapped = false;
    for (uint32_t n = 0; n < UINT32_C(1) << (log2 - L4_PAGE_SHIFT); n++) {
        uint32_t at = (uint32_t)row->address + (i + n) * L4_PAGE_SIZE;
        unsigned here = narrow(hmm_l4_entry(space, at), keep);
        if (here != NOT_MAPPED) {
            mapped = true;
            take |= here;
        }
    }
    if (mapped && (take != 0 || row->status != NULL))
        batch_add(batch, row->frame + i, log2, take);
}

/* The same where there may be large pages.  Returns how many pages are done, 0 if
 * there is nothing large about the first. */
static uint32_t take_large(struct batch *batch,
                           const struct hurdmm_reclaim *row, uint32_t i,
                           unsigned keep)
{
    struct hmm_l4_space *space = space_from(batch->port, row->space);
    uint32_t frame = row->frame + i;
    uint32_t at = (uint32_t)row->address + i * L4_PAGE_SIZE;
    uint32_t left = hmm_l4_row_length(batch->port, frame, row->count - i);
    uint32_t place = hmm_l4_frame_address(batch->port, frame) >> L4_PAGE_SHIFT &
                     (L4_LEAF_ENTRIES - 1);
    bool joined = hmm_l4_in_large(batch->port, frame);
    bool whole = place == 0 && left >= L4_LEAF_ENTRIES;
    if (joined && keep == L4_FULL) { /* what is known is of all of the block */
        batch_add(batch, frame - place, L4_LARGE_SHIFT, 0);
        place = L4_LEAF_ENTRIES - place;
        return place < left ? place : left;
    }
    if (keep == L4_FULL)
        return 0;
    if (!joined || !whole) {
        batch_flush(batch);
        hmm_l4_leaf_break(space, at);
        if (hmm_l4_in_large(batch->port, frame))
            hmm_l4_block_split(batch->port, frame);
        return 0;
    }
    if (keep == 0 || at % L4_LARGE_SIZE != 0) {
        hmm_l4_leaf_forget(space, at);
        hmm_l4_leaf_forget(space, at + L4_LARGE_SIZE - L4_PAGE_SIZE);
    }
    take_block(batch, row, i, L4_LARGE_SHIFT, keep);
    return L4_LEAF_ENTRIES;
}

static void take_row(struct batch *batch, const struct hurdmm_reclaim *row)
{
    unsigned keep =
        row->rights == HURDMM_RIGHTS ? L4_FULL : l4_rights(row->rights);
    uint32_t pages;
    for (uint32_t i = 0; i < row->count; i += pages) {
        pages = batch->port->large != 0 ? take_large(batch, row, i, keep) : 0;
        if (pages != 0)
            continue;
        unsigned log2 = block_size(batch->port, row, i);
        pages = UINT32_C(1) << (log2 - L4_PAGE_SHIFT);
        take_block(batch, row, i, log2, keep);
    }
}

static void report_row(struct hmm_l4_port *port,
                       const struct hurdmm_reclaim *row)
{
    for (uint32_t i = 0; i < row->count; i++) {
        uint8_t seen = port->seen[row->frame + i];
        port->seen[row->frame + i] = 0;
        if (row->status == NULL)
            continue;
        row->status[i] = 0;
        if (seen != 0)
            row->status[i] |= HURDMM_READ;
        if ((seen & L4_WRITE) != 0)
            row->status[i] |= HURDMM_WRITE;
    }
}

static int port_reclaim(struct hurdmm_port *base,
                        const struct hurdmm_reclaim *rows, size_t count,
                        size_t *done)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    struct batch batch;
    batch_begin(&batch, port);
    hmm_l4_lock();
    for (size_t i = 0; i < count; i++)
        take_row(&batch, &rows[i]);
    batch_flush(&batch);
    for (size_t i = 0; i < count; i++)
        report_row(port, &rows[i]);
    hmm_l4_unlock();
    *done = count;
    return 0;
}

/* ---- Threads and time ---- */

static int port_thread_start(struct hurdmm_port *base,
                             void (*entry)(void *argument), void *argument,
                             uint64_t *id)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    struct hmm_l4_thread *thread;
    int error = hmm_l4_thread_start(port, port->stack_size, entry, argument,
                                    l4_my_id(), &thread);
    if (error == 0)
        *id = thread->id;
    return error;
}

static int port_thread_join(struct hurdmm_port *base, uint64_t id)
{
    (void)base;
    return hmm_l4_thread_join(id);
}

static uint64_t port_thread_self(struct hurdmm_port *base)
{
    (void)base;
    return l4_my_id();
}

static int port_park(struct hurdmm_port *base, uint32_t *word,
                     uint32_t expected, uint64_t timeout_ns)
{
    (void)base;
    hmm_l4_lock();
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != expected) {
        hmm_l4_unlock();
        return 0;
    }
    return hmm_l4_sleep(word, timeout_ns);
}

static void port_wake(struct hurdmm_port *base, uint32_t *word, unsigned count)
{
    (void)base;
    hmm_l4_lock();
    hmm_l4_rouse(word, count);
}

static int port_critical_enter(struct hurdmm_port *base, uintptr_t *cookie)
{
    (void)base;
    *cookie = 1;
    return 0;
}

static void port_critical_leave(struct hurdmm_port *base, uintptr_t cookie)
{
    (void)base;
    (void)cookie;
}

static uint64_t port_clock(struct hurdmm_port *base)
{
    (void)base;
    return hmm_l4_clock() * 1000;
}

static const struct hurdmm_port_ops ops = {
    .struct_size = sizeof ops,
    .version = HURDMM_PORT_VERSION,
    .name = "l4-x86",
    .open = port_open,
    .close = port_close,
    .window = port_window,
    .frame_read = port_frame_read,
    .core_map = port_core_map,
    .reserve = port_reserve,
    .release = port_release,
    .lend = port_lend,
    .reclaim = port_reclaim,
    .fault_wait = hmm_l4_fault_wait,
    .fault_done = hmm_l4_fault_done,
    .fault_stop = hmm_l4_fault_stop,
    .thread_start = port_thread_start,
    .thread_join = port_thread_join,
    .thread_self = port_thread_self,
    .park = port_park,
    .wake = port_wake,
    .critical_enter = port_critical_enter,
    .critical_leave = port_critical_leave,
    .clock = port_clock,
};

/* ---- The public functions ---- */

int hurdmm_l4_create(const struct hurdmm_l4_options *options,
                     struct hurdmm_port **result)
{
    size_t stack_size = STACK_DEFAULT;
    if (options != NULL && options->flags != 0)
        return EINVAL;
    if (options != NULL && options->stack_size != 0)
        stack_size = options->stack_size;
    for (unsigned i = 0; i < L4_PORTS_MAX; i++) {
        struct hmm_l4_port *port = &hmm_l4_ports[i];
        if (port->used)
            continue;
        memset(port, 0, sizeof *port);
        port->base.ops = &ops;
        port->used = true;
        port->stack_size = stack_size;
        *result = &port->base;
        return 0;
    }
    return ENOMEM;
}

int hurdmm_l4_destroy(struct hurdmm_port *base)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    if (port->is_open)
        return EBUSY;
    port->used = false;
    return 0;
}
