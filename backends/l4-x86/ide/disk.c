/* SPDX-License-Identifier: MIT */
/*
 * Disks: what they say they are, transfers as commands, and what is done when a
 * command fails.
 *
 *   ENODEV, ENXIO, EROFS, EBUSY   it would fail again: reported
 *   EIO, ENOTSUP (aborted)        tried again, the last time after a reset
 *   ETIMEDOUT                     reset, tried again
 *
 * The last attempt is by PIO.  Where that makes good what DMA could not, three
 * times in a row, DMA is not used any more.  After a reset the drive says again
 * what it is; one that does not, or is another, is gone for good.
 *
 * The channel belongs to the caller (see queue.c).
 */
#include "backends/l4-x86/ide/private.h"

#define DMA_FAILURES_MAX 3u
#define LBA28_SECTORS (UINT64_C(1) << 28)
#define LBA28_COUNT 256u
#define LBA48_COUNT 65536u
#define SHIFT_MAX 12u

/* ---- What a disk is ---- */

static unsigned word(const unsigned char *words, unsigned index)
{
    hmm_assert(index < 256);
    return words[2 * index] | (unsigned)words[2 * index + 1] << 8;
}

/* Text lies two characters to the word, the first in the high byte. */
static void get_text(const unsigned char *words, unsigned first, unsigned count,
                     char *text)
{
    size_t end = 2 * count;

    for (unsigned i = 0; i < 2 * count; i++) {
        unsigned char c = words[2 * first + (i ^ 1u)];

        text[i] = c >= 0x20 && c < 0x7f ? (char)c : ' ';
    }
    while (end > 0 && text[end - 1] == ' ')
        end--;
    text[end] = '\0';
}

/* The last word may be a checksum over all; a word of ones is none: words that
 * nobody drove read so. */
static bool sum_right(const unsigned char *words)
{
    unsigned char sum = 0;

    if (word(words, 255) == 0xffff)
        return false;
    if ((word(words, 255) & 0xff) != 0xa5)
        return true;
    for (unsigned i = 0; i < 512; i++)
        sum = (unsigned char)(sum + words[i]);
    return sum == 0;
}

/* Words that say what is supported are valid if their top bits are 01. */
static bool supports(const unsigned char *words, unsigned index, unsigned bit)
{
    unsigned value = word(words, index);

    return (value & 0xc000) == 0x4000 && (value >> bit & 1) != 0;
}

static int get_size(const unsigned char *words, struct hmm_ide_disk *disk)
{
    uint64_t sectors = word(words, 60) | (uint64_t)word(words, 61) << 16;
    uint64_t bytes = 512;

    disk->lba48 = supports(words, 83, 10);
    if (disk->lba48)
        sectors = word(words, 100) | (uint64_t)word(words, 101) << 16 |
                  (uint64_t)word(words, 102) << 32 |
                  (uint64_t)word(words, 103) << 48;
    if (supports(words, 106, 12))
        bytes = 2 * (word(words, 117) | (uint64_t)word(words, 118) << 16);
    if (sectors == 0)
        return ENODEV;
    if (sectors > (disk->lba48 ? UINT64_C(1) << 48 : LBA28_SECTORS) ||
        !hmm_is_pow2(bytes) || bytes < 512 || bytes > 1u << SHIFT_MAX)
        return EIO;
    disk->sectors = sectors;
    disk->shift = hmm_log2(bytes);
    return 0;
}

int hmm_ide_parse(const unsigned char words[512], struct hmm_ide_disk *disk)
{
    if (word(words, 0) & 0x8000)
        return word(words, 0) == 0xffff ? EIO : ENOTSUP;
    if (!sum_right(words))
        return EIO;
    if (!(word(words, 49) & 0x0200))
        return ENOTSUP;
    disk->flush = supports(words, 83, 12);
    disk->flush_ext = supports(words, 83, 13);
    disk->cached = supports(words, 83, 12) && (word(words, 85) & 0x20) != 0;
    disk->dma = (word(words, 49) & 0x0100) != 0;
    get_text(words, 27, 20, disk->model);
    get_text(words, 10, 10, disk->serial);
    return get_size(words, disk);
}

/* Chooses a DMA mode where nobody has yet.  No DMA if the drive refuses. */
static void choose_mode(struct hmm_ide_disk *disk, const unsigned char *words)
{
    unsigned multiword = word(words, 63), ultra = word(words, 88);
    struct ide_task task = {
        .drive = disk->drive,
        .command = IDE_SET_FEATURES,
        .features = IDE_FEATURE_MODE,
    };

    if (!disk->dma || (multiword & 0x0700) != 0 ||
        ((word(words, 53) & 4) != 0 && (ultra & 0xff00) != 0))
        return;
    if ((multiword & 7) == 0) {
        disk->dma = false;
        return;
    }
    task.count = IDE_MODE_MULTIWORD + hmm_log2(multiword & 7);
    disk->dma = hmm_ide_simple(disk->channel, &task,
                               disk->channel->ide->options.command_ns) == 0;
}

/* Finds out whether there is a drive and what it is. */
static int identify(struct hmm_ide_disk *disk)
{
    struct hmm_ide_channel *channel = disk->channel;
    int error;

    error = hmm_ide_select(channel, disk->drive);
    if (error == 0) {
        /* Registers that keep what is written mean that somebody is there. */
        hmm_ide_out(channel, IDE_COUNT, 0x55);
        hmm_ide_out(channel, IDE_LBA_LOW, 0xaa);
        if (hmm_ide_in(channel, IDE_COUNT) != 0x55 ||
            hmm_ide_in(channel, IDE_LBA_LOW) != 0xaa)
            error = ENODEV;
    }
    if (error == 0)
        error = hmm_ide_identify(channel, disk->drive);
    if (error == 0)
        error = hmm_ide_parse(channel->sector, disk);
    return error;
}

/* ---- Failures ---- */

/* Brings the drive back to where it takes commands; an error: it is gone. */
static int recover(struct hmm_ide_disk *disk)
{
    struct hmm_ide_disk now = {.channel = disk->channel, .drive = disk->drive};
    int error;

    error = hmm_ide_reset(disk->channel);
    if (error == 0)
        error = identify(&now);
    if (error == 0 &&
        (now.sectors != disk->sectors ||
         memcmp(now.serial, disk->serial, sizeof now.serial) != 0))
        error = ENODEV;
    if (error != 0)
        disk->gone = true;
    return error;
}

static bool worth_another(int error)
{
    return error == EIO || error == ENOTSUP || error == ETIMEDOUT;
}

/* After a failed attempt, the `attempt'th of several. */
static int before_next(struct hmm_ide_disk *disk, int error, unsigned attempt)
{
    unsigned attempts = disk->channel->ide->options.attempts;

    disk->channel->stats.retries++;
    if (error == ETIMEDOUT || attempt + 1 >= attempts)
        return recover(disk);
    return 0;
}

/* ---- Transfers ---- */

/* The commands, by whether it writes, by DMA or not, with LBA48 or not. */
static const uint8_t commands[2][2][2] = {
    {{IDE_READ_SECTORS, IDE_READ_SECTORS_EXT},
     {IDE_READ_DMA, IDE_READ_DMA_EXT}},
    {{IDE_WRITE_SECTORS, IDE_WRITE_SECTORS_EXT},
     {IDE_WRITE_DMA, IDE_WRITE_DMA_EXT}},
};

/* The sectors that one command moves at `lba'. */
static uint64_t command_sectors(const struct hmm_ide_disk *disk, uint64_t lba,
                                uint64_t sectors)
{
    uint64_t most = disk->lba48 ? LBA48_COUNT : LBA28_COUNT;

    hmm_assert(lba < disk->sectors && sectors <= disk->sectors - lba);
    most = hmm_min(most, disk->channel->ide->options.sectors_max);
    return hmm_min(most, sectors);
}

/* One attempt at the sectors from `lba' on; *sectors says how many it moved. */
static int attempt_transfer(struct hmm_ide_disk *disk, uint64_t lba,
                            uint64_t *sectors, struct ide_cursor *cursor,
                            bool write, bool dma)
{
    struct ide_task task = {.drive = disk->drive, .lba = lba};
    size_t size = (size_t)1 << disk->shift;
    size_t bytes = (size_t)*sectors << disk->shift;

    if (dma) {
        hmm_ide_dma_prepare(disk->channel, cursor, size, &bytes, write);
        dma = bytes != 0;
    }
    if (dma)
        *sectors = bytes >> disk->shift;
    task.count = (uint32_t)*sectors;
    task.lba48 = lba + *sectors > LBA28_SECTORS || *sectors > LBA28_COUNT;
    task.command = commands[write][dma][task.lba48];
    return dma ? hmm_ide_dma(disk->channel, &task, cursor, bytes, write)
               : hmm_ide_pio(disk->channel, &task, cursor, size, write);
}

/* Learns from how a command went. */
static void judge_dma(struct hmm_ide_disk *disk, bool failed, bool dma)
{
    if (dma)
        disk->dma_failures = 0;
    else if (failed && ++disk->dma_failures >= DMA_FAILURES_MAX)
        disk->dma = false;
}

/* One command, with all the attempts that it takes. */
static int transfer_some(struct hmm_ide_disk *disk, uint64_t lba,
                         uint64_t *sectors, struct ide_cursor *cursor,
                         bool write)
{
    unsigned attempts = disk->channel->ide->options.attempts;
    uint64_t want = *sectors;
    bool dma_failed = false;
    int error = 0;

    for (unsigned i = 0; i < attempts; i++) {
        struct ide_cursor at = *cursor;
        bool dma = disk->dma && (i + 1 < attempts || attempts == 1);
        int recovery;

        *sectors = want;
        error = attempt_transfer(disk, lba, sectors, &at, write, dma);
        if (error == 0) {
            *cursor = at;
            judge_dma(disk, dma_failed, dma);
            return 0;
        }
        dma_failed = dma_failed || dma;
        if (!worth_another(error) || i + 1 == attempts)
            break;
        recovery = before_next(disk, error, i + 1);
        if (recovery != 0)
            return recovery;
    }
    if (error == ETIMEDOUT)
        (void)recover(disk); /* the next command is not to find it so */
    if (error == ENODEV && hmm_ide_floating(hmm_ide_alternate(disk->channel)))
        disk->gone = true;
    return error == ENOTSUP ? EIO : error;
}

int hmm_ide_transfer(struct hmm_ide_disk *disk, uint64_t lba, uint64_t sectors,
                     struct ide_cursor *cursor, bool write)
{
    hmm_assert(sectors > 0);
    while (sectors > 0) {
        uint64_t n = command_sectors(disk, lba, sectors);
        int error =
            disk->gone ? ENODEV : transfer_some(disk, lba, &n, cursor, write);

        if (error != 0)
            return error;
        if (write)
            disk->channel->stats.sectors_written += n;
        else
            disk->channel->stats.sectors_read += n;
        lba += n;
        sectors -= n;
    }
    return 0;
}

/* A flush that failed is not tried again: the drive may have dropped what it
 * could not write, and would then say that all is well. */
int hmm_ide_flush(struct hmm_ide_disk *disk)
{
    const struct ide_task task = {
        .drive = disk->drive,
        .command = disk->flush_ext ? IDE_FLUSH_EXT : IDE_FLUSH,
    };
    int error;

    if (disk->gone)
        return ENODEV;
    if (!disk->flush && !disk->flush_ext)
        return 0;
    error = hmm_ide_simple(disk->channel, &task,
                           disk->channel->ide->options.flush_ns);
    if (error == ETIMEDOUT)
        (void)recover(disk);
    return error == ENOTSUP || error == ENXIO ? EIO : error;
}

/* ---- Opening ---- */

/* Whoever was here before may have left a slave selected that is not there: what
 * is read of one says nothing of how long a reset takes.  A drive that is busy is
 * there, and nothing must be written to it. */
static void select_master(struct hmm_ide_channel *channel)
{
    uint8_t status = hmm_ide_alternate(channel);

    if (status & IDE_STATUS_BSY && !hmm_ide_floating(status))
        return;
    hmm_ide_out(channel, IDE_DEVICE, IDE_DEVICE_BASE);
    hmm_ide_settle(channel);
}

static int prepare_channel(struct hmm_ide_channel *channel)
{
    int error;

    if (channel->ready)
        return 0;
    if (channel->polled)
        hmm_ide_control(channel, IDE_CONTROL_NIEN);
    select_master(channel);
    if (hmm_ide_floating(hmm_ide_alternate(channel))) {
        /* Nobody, unless only a slave is there. */
        hmm_ide_out(channel, IDE_DEVICE, IDE_DEVICE_BASE | IDE_DEVICE_SLAVE);
        hmm_ide_settle(channel);
        if (hmm_ide_floating(hmm_ide_alternate(channel)))
            return ENODEV;
    }
    error = hmm_ide_reset(channel);
    if (error != 0)
        return error;
    if (!channel->table)
        (void)hmm_ide_dma_begin(channel); /* without it there is PIO */
    channel->ready = true;
    return 0;
}

/* With the channel claimed. */
static int look(struct hmm_ide_disk *disk)
{
    struct hmm_ide_channel *channel = disk->channel;
    int error = prepare_channel(channel);

    if (error == 0)
        error = identify(disk);
    if (error != 0)
        return error;
    disk->dma = disk->dma && channel->table;
    choose_mode(disk, channel->sector);
    return 0;
}

int hmm_ide_disk_open(struct hmm_ide *ide, unsigned channel, unsigned drive,
                      struct hmm_ide_disk *disk)
{
    struct hmm_ide_channel *at;
    int error;

    if (!ide || channel > 1 || drive > 1 || !disk)
        return EINVAL;
    at = &ide->channels[channel];
    if (at->ports.command == 0)
        return ENODEV;
    if (at->disks[drive])
        return EBUSY;
    memset(disk, 0, sizeof *disk);
    disk->channel = at;
    disk->drive = drive;
    hmm_ide_claim(at);
    error = look(disk);
    hmm_ide_release(at);
    if (error != 0)
        return error;
    hmm_ide_export(disk);
    at->disks[drive] = disk;
    return 0;
}

int hmm_ide_disk_close(struct hmm_ide_disk *disk)
{
    int error = disk->cached ? hurdmm_block_flush(&disk->block) : 0;

    hmm_assert(disk->channel->disks[disk->drive] == disk);
    disk->channel->disks[disk->drive] = NULL;
    return error;
}

static int check(const struct hmm_ide_options *options)
{
    const struct hmm_ide_bus_ops *ops = options->ops;
    unsigned threads;

    if (options->struct_size < sizeof *options || !ops ||
        ops->struct_size < sizeof *ops ||
        (options->flags &
         ~(HMM_IDE_POLL | HMM_IDE_NO_DMA | HMM_IDE_NO_MERGE | HMM_IDE_SERVED)))
        return EINVAL;
    if (!ops->in8 || !ops->in16 || !ops->in32 || !ops->out8 || !ops->out16 ||
        !ops->out32 || !ops->in16s || !ops->out16s || !ops->delay ||
        !ops->clock)
        return EINVAL;
    threads = (ops->lock ? 1u : 0) + (ops->unlock ? 1u : 0) +
              (ops->park ? 1u : 0) + (ops->wake ? 1u : 0);
    return threads == 0 || threads == 4 ? 0 : EINVAL;
}

int hmm_ide_init(struct hmm_ide *ide, const struct hmm_ide_options *options,
                 const struct hmm_ide_ports ports[2])
{
    if (!ide || !options || !ports || check(options) != 0)
        return EINVAL;
    memset(ide, 0, sizeof *ide);
    ide->options = *options;
    if (ide->options.attempts == 0)
        ide->options.attempts = 3;
    if (ide->options.sectors_max == 0)
        ide->options.sectors_max = 2048;
    if (ide->options.command_ns == 0)
        ide->options.command_ns = UINT64_C(5000000000);
    if (ide->options.flush_ns == 0)
        ide->options.flush_ns = UINT64_C(30000000000);
    if (ide->options.reset_ns == 0)
        ide->options.reset_ns = UINT64_C(31000000000);
    for (unsigned i = 0; i < 2; i++) {
        ide->channels[i].ide = ide;
        ide->channels[i].ports = ports[i];
        ide->channels[i].polled =
            (options->flags & HMM_IDE_POLL) || !options->ops->wait_irq;
    }
    return 0;
}

int hmm_ide_end(struct hmm_ide *ide)
{
    for (unsigned i = 0; i < 2; i++)
        if (ide->channels[i].disks[0] || ide->channels[i].disks[1])
            return EBUSY;
    for (unsigned i = 0; i < 2; i++)
        hmm_ide_dma_end(&ide->channels[i]);
    return 0;
}
