/* SPDX-License-Identifier: MIT */
/* The machine's IDE drives: what the driver in ide/ asks of its bus.
 *
 * Ports.  The task has them all since its start (begin.c).
 *
 * Memory.  What the library gives to a store to fill lies at its physical
 * address, and its frame stays while the store is at work; so a device reaches
 * it where it is.  Tables and bounce buffers are frames of a container,
 * contiguous, pinned, and crossing nothing that the hardware cannot cross.
 *
 * Interrupts.  A line has a thread, because an interrupt is a message to the one
 * thread that the kernel was told of, while any thread may wait for a disk:
 *
 *   quiet --message--> raised --wait_irq--> taken --irq_done--> quiet
 *
 * The thread acknowledges on its way back to quiet, when the drive has been
 * looked at and its line is low again.  Such threads are never ended.  Without
 * one (the kernel refuses the line) the driver polls.
 *
 * The port's lock guards all of it.
 */
#include <hurdmm/container.h>
#include <hurdmm/manager.h>

#include "backends/l4-x86/ide/ide.h"
#include "backends/l4-x86/l4_port.h"
#include "lib/base/string.h"

#define CHANNELS 2u
#define LINES 16u
#define LINE_STACK 8192u
#define SERVER_STACK 16384u
#define SERVERS 2u /* one tells of a batch while the drive has another's */
#define GOING_NS UINT64_C(10000000) /* to look again whether the server went */
#define DMA_PIECES 4u
#define SLEEP_LEAST_US 5000u /* below it the clock is looked at */

/* Memory that a channel has for its tables. */
struct dma_piece {
    struct hurdmm_container *container; /* NULL: free */
    void *memory;
    size_t size;
};

struct channel {
    struct hmm_ide ide; /* knows of this channel only */
    struct hmm_ide_disk disks[2];
    struct hurdmm *manager; /* pays for the memory; NULL: no disk is open */
    struct dma_piece pieces[DMA_PIECES];
    /* Who does what nobody waits for; NULL: the kernel had no thread.  `open':
     * they may use `ide'.  `inside': so many do. */
    struct hmm_l4_thread *servers[SERVERS];
    bool open;
    uint32_t inside;
};

struct line {
    struct hmm_l4_thread *thread;
    uint32_t id; /* as the kernel calls it */
    bool attached, raised, taken;
};

static struct channel channels[CHANNELS];
static struct line lines[LINES];
static uint32_t opening; /* a mutex: one thread opens or closes */

/* ---- Ports and time ---- */

static uint8_t bus_in8(void *bus, uint16_t port)
{
    (void)bus;
    return l4_in8(port);
}

static uint16_t bus_in16(void *bus, uint16_t port)
{
    uint16_t value;
    (void)bus;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint32_t bus_in32(void *bus, uint16_t port)
{
    uint32_t value;
    (void)bus;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void bus_out8(void *bus, uint16_t port, uint8_t value)
{
    (void)bus;
    l4_out8(port, value);
}

static void bus_out16(void *bus, uint16_t port, uint16_t value)
{
    (void)bus;
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static void bus_out32(void *bus, uint16_t port, uint32_t value)
{
    (void)bus;
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static void bus_in16s(void *bus, uint16_t port, void *memory, size_t count)
{
    (void)bus;
    __asm__ volatile("rep insw"
                     : "+D"(memory), "+c"(count)
                     : "d"(port)
                     : "memory");
}

static void bus_out16s(void *bus, uint16_t port, const void *memory,
                       size_t count)
{
    (void)bus;
    __asm__ volatile("rep outsw"
                     : "+S"(memory), "+c"(count)
                     : "d"(port)
                     : "memory");
}

static uint64_t bus_clock(void *bus)
{
    (void)bus;
    return hmm_l4_clock() * 1000;
}

/* The clock's step under way counts for nothing. */
static void bus_delay(void *bus, uint64_t ns)
{
    uint64_t us = ns / 1000 + 2;
    uint64_t start = hmm_l4_clock();
    while (hmm_l4_clock() - start < us) {
        if (us < SLEEP_LEAST_US) {
            hmm_l4_switch(L4_NIL);
            continue;
        }
        hmm_l4_lock();
        (void)hmm_l4_sleep(bus, us * 1000);
    }
}

/* ---- Interrupts ---- */

static void listen(void *argument)
{
    struct line *line = argument;
    uint32_t answered = L4_NIL;
    for (;;) {
        utcb()[0] = 0;
        uint32_t tag =
            hmm_l4_ipc(answered, line->id,
                       L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
        if ((tag & L4_TAG_ERROR) != 0)
            continue;
        answered = line->id;
        hmm_l4_lock();
        line->raised = true;
        line->taken = false;
        hmm_l4_rouse(&line->raised, 1);
        hmm_l4_lock();
        while (line->raised || line->taken) {
            (void)hmm_l4_sleep(&line->taken, HURDMM_FOREVER);
            hmm_l4_lock();
        }
        hmm_l4_unlock();
    }
}

/* Has the line's interrupts sent to a thread of its own. */
static void attach(unsigned irq)
{
    struct line *line = &lines[irq];
    line->id = l4_global_id(irq, 1);
    if (line->thread == NULL &&
        hmm_l4_thread_start(NULL, LINE_STACK, listen, line, l4_my_id(),
                            &line->thread) != 0)
        line->thread = NULL;
    if (line->thread != NULL && !line->attached)
        line->attached = hmm_l4_thread_control(line->id, line->id, L4_NIL,
                                               line->thread->id, ~0u) != 0;
}

static int bus_wait_irq(void *bus, unsigned irq, uint64_t timeout_ns)
{
    struct line *line = &lines[irq % LINES];
    uint64_t start = bus_clock(bus);
    uint64_t passed = 0;
    if (!line->attached)
        return ENOTSUP;
    hmm_l4_lock();
    while (!line->raised && passed < timeout_ns) {
        (void)hmm_l4_sleep(&line->raised, timeout_ns - passed);
        passed = bus_clock(bus) - start;
        hmm_l4_lock();
    }
    bool came = line->raised;
    if (came) {
        line->taken = true;
        line->raised = false;
    }
    hmm_l4_unlock();
    return came ? 0 : ETIMEDOUT;
}

static void bus_irq_done(void *bus, unsigned irq)
{
    struct line *line = &lines[irq % LINES];
    (void)bus;
    hmm_l4_lock();
    line->taken = false;
    hmm_l4_rouse(&line->taken, 1);
}

/* ---- Memory for devices ---- */

/* Frames that lie so, pinned: where they are, and where we see them. */
static int allocate(struct hurdmm_container *container, size_t size,
                    const struct hurdmm_constraint *constraint,
                    uint64_t *physical)
{
    struct hurdmm_physical_run run;
    uint64_t done;
    size_t count;
    int error = hurdmm_container_allocate_constrained(
        container, 0, size, HURDMM_CONTIGUOUS, constraint, &done);
    if (error == 0)
        error = hurdmm_container_pin(
            container, 0, size, HURDMM_READ | HURDMM_WRITE, &run, 1, &count);
    if (error == 0) {
        hmm_assert(count == 1 && run.length >= size);
        *physical = run.address;
    }
    return error;
}

static int bus_dma_allocate(void *bus, size_t size, uint64_t align,
                            uint64_t boundary, uint64_t limit, void **memory,
                            uint64_t *physical)
{
    struct channel *channel = bus;
    struct dma_piece *piece = channel->pieces;
    struct hurdmm_constraint constraint = {.struct_size = sizeof constraint,
                                           .high = limit - 1,
                                           .alignment = align,
                                           .boundary = boundary};
    while (piece->container != NULL)
        if (++piece == &channel->pieces[DMA_PIECES])
            return ENOMEM;
    size = (size + L4_PAGE_MASK) & ~(size_t)L4_PAGE_MASK;
    int error = hurdmm_container_create(channel->manager, &piece->container);
    if (error != 0) {
        piece->container = NULL;
        return error;
    }
    error = allocate(piece->container, size, &constraint, physical);
    if (error != 0) {
        (void)hurdmm_container_destroy(piece->container);
        piece->container = NULL;
        return error;
    }
    piece->size = size;
    piece->memory = *memory = (void *)(uintptr_t)*physical;
    return 0;
}

static void bus_dma_free(void *bus, void *memory, size_t size)
{
    struct channel *channel = bus;
    (void)size;
    for (unsigned i = 0; i < DMA_PIECES; i++) {
        struct dma_piece *piece = &channel->pieces[i];
        if (piece->container == NULL || piece->memory != memory)
            continue;
        int error = hurdmm_container_unpin(piece->container, 0, piece->size,
                                           HURDMM_READ | HURDMM_WRITE);
        if (error == 0)
            error = hurdmm_container_destroy(piece->container);
        hmm_assert(error == 0);
        piece->container = NULL;
        return;
    }
}

/* Below the window's end addresses are physical.  What lies above is paged: the
 * driver copies. */
static int bus_dma_address(void *bus, const void *memory, size_t length,
                           uint64_t *physical, size_t *run)
{
    (void)bus;
    uintptr_t at = (uintptr_t)memory;
    if (at >= L4_WINDOW_END || length > L4_WINDOW_END - at)
        return EFAULT;
    *physical = at;
    *run = length;
    return 0;
}

/* ---- Threads ---- */

static void bus_lock(void *bus)
{
    (void)bus;
    hmm_l4_lock();
}

static void bus_unlock(void *bus)
{
    (void)bus;
    hmm_l4_unlock();
}

static int bus_park(void *bus, uint32_t *word, uint32_t expected,
                    uint64_t timeout_ns)
{
    (void)bus;
    hmm_l4_lock();
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != expected) {
        hmm_l4_unlock();
        return 0;
    }
    return hmm_l4_sleep(word, timeout_ns);
}

static void bus_wake(void *bus, uint32_t *word)
{
    (void)bus;
    hmm_l4_lock();
    hmm_l4_rouse(word, UINT32_MAX);
}

/* All threads have one priority. */
static void bus_yield(void *bus)
{
    (void)bus;
    hmm_l4_switch(L4_NIL);
}

static const struct hmm_ide_bus_ops bus_ops = {
    .struct_size = sizeof bus_ops,
    .in8 = bus_in8,
    .in16 = bus_in16,
    .in32 = bus_in32,
    .out8 = bus_out8,
    .out16 = bus_out16,
    .out32 = bus_out32,
    .in16s = bus_in16s,
    .out16s = bus_out16s,
    .delay = bus_delay,
    .clock = bus_clock,
    .wait_irq = bus_wait_irq,
    .irq_done = bus_irq_done,
    .dma_allocate = bus_dma_allocate,
    .dma_free = bus_dma_free,
    .dma_address = bus_dma_address,
    .lock = bus_lock,
    .unlock = bus_unlock,
    .park = bus_park,
    .wake = bus_wake,
    .yield = bus_yield,
};

/* ---- Who does what nobody waits for ---- */

static void serve(void *argument)
{
    struct channel *channel = argument;
    unsigned number = (unsigned)(channel - channels);
    bool inside = false;
    for (;;) {
        hmm_l4_lock();
        if (inside && !channel->open) {
            inside = false;
            channel->inside--;
            hmm_l4_rouse(&channel->inside, UINT32_MAX);
            hmm_l4_lock();
        }
        while (!channel->open) {
            (void)hmm_l4_sleep(&channel->open, HURDMM_FOREVER);
            hmm_l4_lock();
        }
        channel->inside += !inside;
        inside = true;
        hmm_l4_unlock();
        (void)hmm_ide_serve(&channel->ide, number, HURDMM_FOREVER);
    }
}

/* False: there is nobody. */
static bool start_servers(struct channel *channel)
{
    for (unsigned i = 0; i < SERVERS; i++)
        if (channel->servers[i] == NULL &&
            hmm_l4_thread_start(NULL, SERVER_STACK, serve, channel, l4_my_id(),
                                &channel->servers[i]) != 0)
            channel->servers[i] = NULL;
    for (unsigned i = 0; i < SERVERS; i++)
        if (channel->servers[i] != NULL)
            return true;
    return false;
}

/* Lets the servers at the driver, which is ready. */
static void open_to_servers(struct channel *channel)
{
    hmm_l4_lock();
    channel->open = true;
    hmm_l4_rouse(&channel->open, SERVERS);
}

/* Sends the servers away, before the driver goes.  One may be about to wait for
 * work: so they are roused until they have gone. */
static void close_to_servers(struct channel *channel)
{
    hmm_l4_lock();
    channel->open = false;
    while (channel->inside > 0) {
        hmm_l4_unlock();
        hmm_ide_rouse(&channel->ide, (unsigned)(channel - channels));
        hmm_l4_lock();
        if (channel->inside > 0) {
            (void)hmm_l4_sleep(&channel->inside, GOING_NS);
            hmm_l4_lock();
        }
    }
    hmm_l4_unlock();
}

/* ---- The public functions ---- */

/* Makes the driver for a channel ready. */
static int begin(struct channel *channel, unsigned number, unsigned flags,
                 struct hurdmm *manager)
{
    struct hmm_ide_options options = {
        .struct_size = sizeof options, .ops = &bus_ops, .bus = channel};
    struct hmm_ide_ports ports[2];
    if ((flags & HURDMM_L4_DISK_POLL) != 0)
        options.flags |= HMM_IDE_POLL;
    if ((flags & HURDMM_L4_DISK_NO_DMA) != 0)
        options.flags |= HMM_IDE_NO_DMA;
    (void)hmm_ide_find(&bus_ops, channel, ports); /* or the standard ones */
    ports[1 - number].command = 0;
    if ((flags & HURDMM_L4_DISK_POLL) == 0)
        attach(ports[number].irq % LINES);
    if (start_servers(channel))
        options.flags |= HMM_IDE_SERVED;
    channel->manager = manager;
    int error = hmm_ide_init(&channel->ide, &options, ports);
    if (error == 0)
        open_to_servers(channel);
    return error;
}

/* Ends the driver, if no disk is open any more. */
static void end(struct channel *channel)
{
    const struct hmm_ide_channel *at =
        &channel->ide.channels[channel - channels];
    if (at->disks[0] != NULL || at->disks[1] != NULL)
        return;
    close_to_servers(channel);
    int error = hmm_ide_end(&channel->ide);
    hmm_assert(error == 0);
    (void)error;
    channel->manager = NULL;
}

int hurdmm_l4_disk_open(struct hurdmm *manager, unsigned number, unsigned drive,
                        unsigned flags, struct hurdmm_block **block)
{
    const unsigned known = HURDMM_L4_DISK_POLL | HURDMM_L4_DISK_NO_DMA;
    int error = 0;
    if (manager == NULL || number >= CHANNELS || drive > 1 ||
        (flags & ~known) != 0)
        return EINVAL;
    struct channel *channel = &channels[number];
    hurdmm_mutex_lock(manager, &opening);
    if (channel->manager == NULL)
        error = begin(channel, number, flags, manager);
    else if (channel->manager != manager)
        error = EBUSY;
    if (error == 0)
        error = hmm_ide_disk_open(&channel->ide, number, drive,
                                  &channel->disks[drive]);
    if (error == 0)
        *block = &channel->disks[drive].block;
    else if (channel->manager == manager)
        end(channel);
    hurdmm_mutex_unlock(manager, &opening);
    return error;
}

static struct hmm_ide_disk *disk_of(struct hurdmm_block *block)
{
    for (unsigned i = 0; i < CHANNELS; i++)
        for (unsigned drive = 0; drive < 2; drive++)
            if (block == &channels[i].disks[drive].block &&
                channels[i].ide.channels[i].disks[drive] != NULL)
                return &channels[i].disks[drive];
    return NULL;
}

int hurdmm_l4_disk_close(struct hurdmm_block *block)
{
    struct hmm_ide_disk *disk = disk_of(block);
    if (disk == NULL)
        return EINVAL;
    struct channel *channel =
        (struct channel *)(void *)((char *)disk->channel->ide -
                                   offsetof(struct channel, ide));
    struct hurdmm *manager = channel->manager;
    hurdmm_mutex_lock(manager, &opening);
    int error = hmm_ide_disk_close(disk);
    end(channel);
    hurdmm_mutex_unlock(manager, &opening);
    return error;
}

int hurdmm_l4_disk_get_stats(struct hurdmm_block *block,
                             struct hurdmm_l4_disk_stats *stats)
{
    const struct hmm_ide_disk *disk = disk_of(block);
    size_t size = stats->struct_size;
    if (disk == NULL)
        return EINVAL;
    const struct hmm_ide_stats *from = &disk->channel->stats;
    struct hurdmm_l4_disk_stats now = {
        .struct_size = size,
        .commands = from->commands,
        .dma_commands = from->dma_commands,
        .requests = from->requests,
        .sectors_read = from->sectors_read,
        .sectors_written = from->sectors_written,
        .bytes_copied = from->bytes_copied,
        .retries = from->retries,
        .interrupts_missed = from->interrupts_missed,
    };
    memcpy(stats, &now, size < sizeof now ? size : sizeof now);
    return 0;
}
