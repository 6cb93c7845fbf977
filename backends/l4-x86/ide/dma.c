/* SPDX-License-Identifier: MIT */
/*
 * Bus-master DMA.
 *
 * A table of entries in memory, each a physical address below 4 GiB and a length
 * that crosses no multiple of 64 KiB, both even; the table itself lies in one
 * 64 KiB too.  A length of 64 KiB is written as 0.
 *
 * What lies elsewhere, at an odd address or nobody knows where goes through the
 * bounce buffer, which is one piece that crosses nothing: bytes follow each
 * other in it as they do on the disk.  Once an odd number of bytes has gone
 * through it, all do until the number is even again, so that every entry is.
 *
 * The channel belongs to the caller (see queue.c).
 */
#include "backends/l4-x86/ide/private.h"

#define TABLE_FULL (IDE_TABLE_ENTRIES - 2)

/* A walk over the memory of a transfer. */
struct walk {
    struct hmm_ide_channel *channel;
    struct ide_cursor cursor;
    size_t bytes;   /* done */
    size_t bounced; /* of those, through the bounce buffer */
};

/* A step of a walk: memory that is treated alike. */
struct step {
    unsigned char *memory;
    size_t length;
    uint64_t physical;
    bool bounce;
    size_t at; /* in the bounce buffer */
};

int hmm_ide_dma_begin(struct hmm_ide_channel *channel)
{
    const struct hmm_ide_bus_ops *ops = ide_ops(channel);
    void *table, *bounce;
    int error;

    if (channel->ports.master == 0 || !ops->dma_allocate || !ops->dma_free ||
        !ops->dma_address || (channel->ide->options.flags & HMM_IDE_NO_DMA))
        return ENOTSUP;
    error = ops->dma_allocate(ide_bus(channel), IDE_TABLE_BYTES,
                              IDE_TABLE_BYTES, IDE_DMA_BOUNDARY, IDE_DMA_LIMIT,
                              &table, &channel->table_physical);
    if (error != 0)
        return error;
    error = ops->dma_allocate(ide_bus(channel), IDE_BOUNCE_BYTES,
                              IDE_BOUNCE_BYTES, IDE_DMA_BOUNDARY, IDE_DMA_LIMIT,
                              &bounce, &channel->bounce_physical);
    if (error != 0) {
        ops->dma_free(ide_bus(channel), table, IDE_TABLE_BYTES);
        return error;
    }
    channel->table = table;
    channel->bounce = bounce;
    return 0;
}

void hmm_ide_dma_end(struct hmm_ide_channel *channel)
{
    const struct hmm_ide_bus_ops *ops;

    if (!channel->table)
        return;
    ops = ide_ops(channel);
    ops->dma_free(ide_bus(channel), channel->bounce, IDE_BOUNCE_BYTES);
    ops->dma_free(ide_bus(channel), channel->table, IDE_TABLE_BYTES);
    channel->table = NULL;
}

/* ---- The table ---- */

static void put32(unsigned char *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

static uint32_t get32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}

/* While the table is made the second word is the length, 64 KiB included. */
static void add_entry(struct hmm_ide_channel *channel, uint32_t physical,
                      uint32_t length)
{
    unsigned char *at = channel->table + channel->entries * IDE_ENTRY_SIZE;

    hmm_assert(length > 0 && length <= IDE_DMA_BOUNDARY);
    if (channel->entries > 0 && physical % IDE_DMA_BOUNDARY != 0) {
        unsigned char *last = at - IDE_ENTRY_SIZE;

        if (get32(last) + get32(last + 4) == physical) {
            put32(last + 4, get32(last + 4) + length);
            return;
        }
    }
    hmm_assert(channel->entries < IDE_TABLE_ENTRIES);
    put32(at, physical);
    put32(at + 4, length);
    channel->entries++;
}

/* Adds consecutive memory; how much of it fits. */
static size_t add_memory(struct hmm_ide_channel *channel, uint64_t physical,
                         size_t length)
{
    size_t done = 0;

    hmm_assert(physical + length <= IDE_DMA_LIMIT);
    while (done < length && channel->entries <= TABLE_FULL) {
        uint64_t at = physical + done;
        size_t room =
            (size_t)(IDE_DMA_BOUNDARY - (at & (IDE_DMA_BOUNDARY - 1)));
        size_t n = length - done < room ? length - done : room;

        add_entry(channel, (uint32_t)at, (uint32_t)n);
        done += n;
    }
    return done;
}

/* Takes the last bytes out again. */
static void trim(struct hmm_ide_channel *channel, size_t excess)
{
    while (excess > 0) {
        unsigned char *last =
            channel->table + (channel->entries - 1) * IDE_ENTRY_SIZE;
        uint32_t length = get32(last + 4);

        hmm_assert(channel->entries > 0);
        if (length > excess) {
            put32(last + 4, length - (uint32_t)excess);
            return;
        }
        channel->entries--;
        excess -= length;
    }
}

static void finish_table(struct hmm_ide_channel *channel)
{
    hmm_assert(channel->entries > 0);
    for (unsigned i = 0; i < channel->entries; i++) {
        unsigned char *at = channel->table + i * IDE_ENTRY_SIZE;
        uint32_t length = get32(at + 4);

        hmm_assert(length % 2 == 0 && get32(at) % 2 == 0);
        put32(at + 4, (length & 0xffffu) |
                          (i + 1 == channel->entries ? IDE_ENTRY_LAST : 0));
    }
}

/* ---- The memory ---- */

/* How much of the step the bus master can reach by itself; 0: nothing. */
static size_t reach(struct walk *walk, struct step *step)
{
    uint64_t physical;
    size_t run;

    if (walk->bounced % 2 != 0 ||
        ide_ops(walk->channel)
                ->dma_address(ide_bus(walk->channel), step->memory,
                              step->length, &physical, &run) != 0)
        return 0;
    hmm_assert(run > 0 && run <= step->length);
    if (physical % 2 != 0 || physical >= IDE_DMA_LIMIT)
        return 0;
    step->physical = physical;
    if (run > IDE_DMA_LIMIT - physical)
        run = (size_t)(IDE_DMA_LIMIT - physical);
    return run & ~(size_t)1;
}

/* Goes on by at most `max' bytes; false: the bounce buffer is full. */
static bool next_step(struct walk *walk, size_t max, struct step *step)
{
    struct ide_cursor before = walk->cursor;
    size_t length;

    step->length = max;
    hmm_ide_next(&walk->cursor, &step->memory, &step->length);
    length = reach(walk, step);
    step->bounce = length == 0;
    if (step->bounce) {
        size_t room = IDE_BOUNCE_BYTES - walk->bounced;

        if (room == 0)
            return false;
        length = step->length < room ? step->length : room;
        step->at = walk->bounced;
        step->physical = walk->channel->bounce_physical + walk->bounced;
        walk->bounced += length;
    }
    walk->cursor = before;
    step->length = length;
    hmm_ide_next(&walk->cursor, &step->memory, &step->length);
    hmm_assert(step->length == length);
    walk->bytes += length;
    return true;
}

/* Copies between the memory of a transfer and the bounce buffer. */
static void copy_bounced(struct hmm_ide_channel *channel,
                         const struct ide_cursor *cursor, size_t bytes,
                         bool write)
{
    struct walk walk = {.channel = channel, .cursor = *cursor};
    struct step step;

    while (walk.bytes < bytes && next_step(&walk, bytes - walk.bytes, &step)) {
        if (!step.bounce)
            continue;
        if (write)
            memcpy(channel->bounce + step.at, step.memory, step.length);
        else
            memcpy(step.memory, channel->bounce + step.at, step.length);
        channel->stats.bytes_copied += step.length;
    }
    hmm_assert(walk.bytes == bytes);
}

void hmm_ide_dma_prepare(struct hmm_ide_channel *channel,
                         const struct ide_cursor *cursor, size_t sector,
                         size_t *bytes, bool write)
{
    struct walk walk = {.channel = channel, .cursor = *cursor};
    struct step step;
    size_t listed = 0, whole;

    channel->entries = 0;
    while (walk.bytes < *bytes &&
           next_step(&walk, *bytes - walk.bytes, &step)) {
        listed += add_memory(channel, step.physical, step.length);
        if (listed < walk.bytes)
            break; /* the table is full */
    }
    whole = listed & ~(sector - 1);
    *bytes = whole;
    if (whole == 0)
        return;
    trim(channel, listed - whole);
    finish_table(channel);
    channel->bounced = walk.bounced > 0;
    if (write && channel->bounced)
        copy_bounced(channel, cursor, whole, true);
}

/* ---- The transfer ---- */

static void start_master(const struct hmm_ide_channel *channel, bool write)
{
    const struct hmm_ide_bus_ops *ops = ide_ops(channel);
    uint16_t port = channel->ports.master;
    unsigned direction = write ? 0 : IDE_MASTER_READ;

    ops->out8(ide_bus(channel), (uint16_t)(port + IDE_MASTER_COMMAND),
              (uint8_t)(direction | IDE_MASTER_START));
}

static void aim_master(const struct hmm_ide_channel *channel, bool write)
{
    const struct hmm_ide_bus_ops *ops = ide_ops(channel);
    uint16_t port = channel->ports.master;

    hmm_ide_master_stop(channel);
    ops->out32(ide_bus(channel), (uint16_t)(port + IDE_MASTER_TABLE),
               (uint32_t)channel->table_physical);
    ops->out8(ide_bus(channel), (uint16_t)(port + IDE_MASTER_COMMAND),
              write ? 0 : IDE_MASTER_READ);
}

/* The drive is done; the last bytes may still be on their way to memory. */
static uint8_t end_master(const struct hmm_ide_channel *channel)
{
    uint8_t status = hmm_ide_master(channel);

    for (unsigned i = 0; i < 100 && (status & IDE_MASTER_ACTIVE); i++) {
        ide_ops(channel)->delay(ide_bus(channel), 10000);
        status = hmm_ide_master(channel);
    }
    hmm_ide_master_stop(channel);
    return status;
}

int hmm_ide_dma(struct hmm_ide_channel *channel, const struct ide_task *task,
                struct ide_cursor *cursor, size_t bytes, bool write)
{
    uint8_t status = 0, master;
    int error;

    error = hmm_ide_select(channel, task->drive);
    if (error != 0)
        return error;
    channel->stats.commands++;
    channel->stats.dma_commands++;
    aim_master(channel, write);
    hmm_ide_load(channel, task);
    start_master(channel, write);
    error = hmm_ide_wait(channel, IDE_WAIT_IRQ | IDE_WAIT_DMA,
                         channel->ide->options.command_ns, &status);
    if (error != 0) {
        hmm_ide_master_stop(channel);
        return error;
    }
    master = end_master(channel);
    error = hmm_ide_decode(status, hmm_ide_in(channel, IDE_ERROR), write);
    if (error == 0 && (master & (IDE_MASTER_ERROR | IDE_MASTER_ACTIVE)))
        error = EIO;
    /* The drive waits for data that will never come: only a reset helps. */
    if (error == EIO && (status & (IDE_STATUS_BSY | IDE_STATUS_DRQ)))
        error = ETIMEDOUT;
    if (error != 0)
        return error;
    if (!write && channel->bounced)
        copy_bounced(channel, cursor, bytes, false);
    for (size_t done = 0; done < bytes;) {
        unsigned char *memory;
        size_t n = bytes - done;

        hmm_ide_next(cursor, &memory, &n);
        done += n;
    }
    return 0;
}
