/* SPDX-License-Identifier: MIT */
/*
 * Registers: reaching them, and what their bits mean.  No state, no waiting but
 * the 400 ns that a drive may take to show what it was told.
 */
#include "backends/l4-x86/ide/private.h"

uint8_t hmm_ide_in(const struct hmm_ide_channel *channel, unsigned reg)
{
    hmm_assert(reg <= IDE_STATUS);
    return ide_ops(channel)->in8(ide_bus(channel),
                                 (uint16_t)(channel->ports.command + reg));
}

void hmm_ide_out(const struct hmm_ide_channel *channel, unsigned reg,
                 uint8_t value)
{
    hmm_assert(reg <= IDE_COMMAND);
    ide_ops(channel)->out8(ide_bus(channel),
                           (uint16_t)(channel->ports.command + reg), value);
}

uint8_t hmm_ide_alternate(const struct hmm_ide_channel *channel)
{
    return ide_ops(channel)->in8(ide_bus(channel), channel->ports.control);
}

void hmm_ide_control(const struct hmm_ide_channel *channel, uint8_t value)
{
    ide_ops(channel)->out8(ide_bus(channel), channel->ports.control, value);
}

/* A read of a port takes a hundred nanoseconds and more on any machine. */
void hmm_ide_settle(const struct hmm_ide_channel *channel)
{
    for (unsigned i = 0; i < 4; i++)
        (void)hmm_ide_alternate(channel);
}

bool hmm_ide_floating(uint8_t status)
{
    return (status | IDE_STATUS_BSY) == 0xff;
}

/* The three bytes of an address from bit `shift' on, or of what is above. */
static void load_lba(const struct hmm_ide_channel *channel, uint64_t lba)
{
    hmm_ide_out(channel, IDE_LBA_LOW, (uint8_t)lba);
    hmm_ide_out(channel, IDE_LBA_MID, (uint8_t)(lba >> 8));
    hmm_ide_out(channel, IDE_LBA_HIGH, (uint8_t)(lba >> 16));
}

void hmm_ide_load(const struct hmm_ide_channel *channel,
                  const struct ide_task *task)
{
    unsigned device = IDE_DEVICE_BASE | IDE_DEVICE_LBA |
                      (task->drive != 0 ? IDE_DEVICE_SLAVE : 0);

    hmm_assert(task->drive <= 1 && task->lba < UINT64_C(1) << 48);
    hmm_ide_out(channel, IDE_FEATURES, task->features);
    if (task->lba48) {
        /* The registers are two bytes deep: what is written first goes down. */
        hmm_ide_out(channel, IDE_COUNT, (uint8_t)(task->count >> 8));
        load_lba(channel, task->lba >> 24);
    } else {
        hmm_assert(task->lba < UINT64_C(1) << 28 && task->count <= 256);
        device |= (unsigned)(task->lba >> 24);
    }
    hmm_ide_out(channel, IDE_COUNT, (uint8_t)task->count);
    load_lba(channel, task->lba);
    hmm_ide_out(channel, IDE_DEVICE, (uint8_t)device);
    hmm_ide_out(channel, IDE_COMMAND, task->command);
    hmm_ide_settle(channel);
}

int hmm_ide_decode(uint8_t status, uint8_t error, bool write)
{
    if (hmm_ide_floating(status))
        return ENODEV;
    if (status & IDE_STATUS_DF)
        return EIO;
    if (!(status & IDE_STATUS_ERR))
        return 0;
    if (error & (IDE_ERROR_NM | IDE_ERROR_MC))
        return ENODEV;
    if (error & IDE_ERROR_IDNF)
        return ENXIO;
    if (write && (error & IDE_ERROR_WP))
        return EROFS;
    if (error & (IDE_ERROR_UNC | IDE_ERROR_ICRC))
        return EIO;
    if (error & IDE_ERROR_MCR)
        return EBUSY;
    return error & IDE_ERROR_ABRT ? ENOTSUP : EIO;
}

uint8_t hmm_ide_master(const struct hmm_ide_channel *channel)
{
    uint16_t port = (uint16_t)(channel->ports.master + IDE_MASTER_STATUS);

    return channel->ports.master == 0
               ? 0
               : ide_ops(channel)->in8(ide_bus(channel), port);
}

void hmm_ide_master_stop(const struct hmm_ide_channel *channel)
{
    uint16_t port = channel->ports.master;
    uint8_t drives;

    if (port == 0)
        return;
    /* Two bits say which drives can do DMA; they are kept as they are. */
    drives = hmm_ide_master(channel) & 0x60u;
    ide_ops(channel)->out8(ide_bus(channel),
                           (uint16_t)(port + IDE_MASTER_COMMAND), 0);
    ide_ops(channel)->out8(
        ide_bus(channel), (uint16_t)(port + IDE_MASTER_STATUS),
        (uint8_t)(drives | IDE_MASTER_ERROR | IDE_MASTER_INTERRUPT));
}
