/* SPDX-License-Identifier: MIT */
/*
 * What the files of the driver share.
 *
 *   registers  one register access, a task file, what an error means
 *   bus        waiting, resetting, moving data by PIO
 *   dma        bus-master DMA
 *   disk       identifying, commands with retries
 *   queue      requests, merged; the block device
 *   pci        finding the controller
 *
 * Each uses only what stands above it.  A function that waits does so for a
 * bounded time.
 */
#ifndef HMM_IDE_PRIVATE_H
#define HMM_IDE_PRIVATE_H

#include <hurdmm/error.h>

#include "backends/l4-x86/ide/ide.h"
#include "backends/l4-x86/ide/registers.h"
#include "lib/base/assert.h"
#include "lib/base/math.h"
#include "lib/base/string.h"

#define IDE_BATCH 16u          /* requests that become one command */
#define IDE_TABLE_ENTRIES 512u /* of a PRD table: one page */
#define IDE_TABLE_BYTES (IDE_TABLE_ENTRIES * IDE_ENTRY_SIZE)
#define IDE_BOUNCE_BYTES 65536u
#define IDE_DMA_BOUNDARY 65536u
#define IDE_DMA_LIMIT (UINT64_C(1) << 32)

/* Shortcuts to the table. */
static inline const struct hmm_ide_bus_ops *ide_ops(
    const struct hmm_ide_channel *channel)
{
    return channel->ide->options.ops;
}

static inline void *ide_bus(const struct hmm_ide_channel *channel)
{
    return channel->ide->options.bus;
}

/* Where a transfer is in the memory of its requests. */
struct ide_cursor {
    struct hurdmm_block_request *const *requests;
    unsigned request, piece;
    size_t within; /* the piece */
};

/* A command, ready to be given. */
struct ide_task {
    unsigned drive;
    uint8_t command;
    uint8_t features;
    bool lba48;
    uint32_t count; /* sectors, 0 for none; or what a feature wants */
    uint64_t lba;
};

/* ---- registers ---- */

uint8_t hmm_ide_in(const struct hmm_ide_channel *channel, unsigned reg);
void hmm_ide_out(const struct hmm_ide_channel *channel, unsigned reg,
                 uint8_t value);
/* The status, without taking the interrupt back. */
uint8_t hmm_ide_alternate(const struct hmm_ide_channel *channel);
void hmm_ide_control(const struct hmm_ide_channel *channel, uint8_t value);
/* The 400 ns after which the status is that of what was just written. */
void hmm_ide_settle(const struct hmm_ide_channel *channel);
/* Nobody drives the lines: no drive. */
bool hmm_ide_floating(uint8_t status);
/* Writes the task file, the command last, and settles.  The drive is selected
 * and idle. */
void hmm_ide_load(const struct hmm_ide_channel *channel,
                  const struct ide_task *task);
/* What a status and an error register mean as an errno value, 0 if no error. */
int hmm_ide_decode(uint8_t status, uint8_t error, bool write);
/* IDE_MASTER_... of the channel's bus master; 0: it has none. */
uint8_t hmm_ide_master(const struct hmm_ide_channel *channel);
/* Stops it, whatever it is doing, and forgets what it did. */
void hmm_ide_master_stop(const struct hmm_ide_channel *channel);

/* ---- bus ---- */

#define IDE_WAIT_DATA 1u /* until the drive wants data or has some */
#define IDE_WAIT_IRQ 2u  /* the drive will interrupt */
#define IDE_WAIT_DMA 4u  /* also until the bus master has failed */

/* Waits until the drive is not busy and, without IDE_WAIT_DATA, wants no data,
 * or has failed; *status is then what it says, its interrupt taken back.
 * ETIMEDOUT, ENODEV (nobody drives the lines). */
int hmm_ide_wait(struct hmm_ide_channel *channel, unsigned what,
                 uint64_t timeout_ns, uint8_t *status);
/* Selects a drive and waits until it takes commands. */
int hmm_ide_select(struct hmm_ide_channel *channel, unsigned drive);
/* Resets both drives.  ETIMEDOUT, ENODEV. */
int hmm_ide_reset(struct hmm_ide_channel *channel);
/* Selects, gives the command; it is under way. */
int hmm_ide_start(struct hmm_ide_channel *channel, const struct ide_task *task);
/* A command without data, to its end. */
int hmm_ide_simple(struct hmm_ide_channel *channel, const struct ide_task *task,
                   uint64_t timeout_ns);
/* Moves task->count sectors of `size' bytes through the data register. */
int hmm_ide_pio(struct hmm_ide_channel *channel, const struct ide_task *task,
                struct ide_cursor *cursor, size_t size, bool write);
/* Reads the 512 bytes of IDENTIFY into channel->sector.  EIO: they are not all
 * there. */
int hmm_ide_identify(struct hmm_ide_channel *channel, unsigned drive);

/* The next bytes of a transfer: at most *length of them, at *memory. */
void hmm_ide_next(struct ide_cursor *cursor, unsigned char **memory,
                  size_t *length);

/* ---- dma ---- */

/* Gets memory for tables; an error: there will be no DMA. */
int hmm_ide_dma_begin(struct hmm_ide_channel *channel);
void hmm_ide_dma_end(struct hmm_ide_channel *channel);
/* Describes as much of `bytes' as fits to the bus master, whole sectors; *bytes
 * says how much, 0: the pieces are too small for it.  What it cannot reach is
 * copied, for a write at once. */
void hmm_ide_dma_prepare(struct hmm_ide_channel *channel,
                         const struct ide_cursor *cursor, size_t sector,
                         size_t *bytes, bool write);
/* Gives the command and waits for its end; moves the cursor by `bytes'. */
int hmm_ide_dma(struct hmm_ide_channel *channel, const struct ide_task *task,
                struct ide_cursor *cursor, size_t bytes, bool write);
/* ---- disk ---- */

/* Moves `sectors' from `lba' on, in as many commands as that takes. */
int hmm_ide_transfer(struct hmm_ide_disk *disk, uint64_t lba, uint64_t sectors,
                     struct ide_cursor *cursor, bool write);
int hmm_ide_flush(struct hmm_ide_disk *disk);

/* What IDENTIFY says of a disk; `words' as they came.  ENOTSUP, ENODEV, EIO. */
int hmm_ide_parse(const unsigned char words[512], struct hmm_ide_disk *disk);

/* ---- queue ---- */

/* Waits until nobody else touches the channel's hardware; and lets others. */
void hmm_ide_claim(struct hmm_ide_channel *channel);
void hmm_ide_release(struct hmm_ide_channel *channel);
/* Makes disk->block, of what is known of the disk. */
void hmm_ide_export(struct hmm_ide_disk *disk);

#endif /* HMM_IDE_PRIVATE_H */
