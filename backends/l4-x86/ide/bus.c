/* SPDX-License-Identifier: MIT */
/*
 * The bus: waiting for drives, resetting them, moving data by PIO.
 *
 * Waiting for an interrupt is never trusted alone.  It is waited for in slices,
 * and after each the drive is looked at: an interrupt that came for nothing
 * changes nothing, one that does not come costs a slice, and after MISSED_MAX
 * such in a row the channel is polled from then on.
 *
 * Every wait has a deadline by the clock.  The delays that were slept are added
 * up too, so that a clock that stands still delays no wait for ever.
 */
#include "backends/l4-x86/ide/private.h"

#define SLICE_NS UINT64_C(100000000)
#define MISSED_MAX 3u
#define DELAY_FIRST_NS UINT64_C(1000)
#define DELAY_MAX_NS UINT64_C(1000000)
#define RESET_HOLD_NS UINT64_C(10000)
#define RESET_REST_NS UINT64_C(2000000)

struct timer {
    uint64_t start, timeout, slept, delay;
};

static struct timer start_timer(const struct hmm_ide_channel *channel,
                                uint64_t timeout_ns)
{
    return (struct timer){
        .start = ide_ops(channel)->clock(ide_bus(channel)),
        .timeout = timeout_ns,
        .delay = DELAY_FIRST_NS,
    };
}

static bool expired(const struct hmm_ide_channel *channel,
                    const struct timer *timer)
{
    uint64_t now = ide_ops(channel)->clock(ide_bus(channel));

    return now - timer->start >= timer->timeout ||
           timer->slept >= timer->timeout;
}

/* Sleeps, longer each time. */
static void rest(const struct hmm_ide_channel *channel, struct timer *timer)
{
    ide_ops(channel)->delay(ide_bus(channel), timer->delay);
    timer->slept += timer->delay;
    if (timer->delay < DELAY_MAX_NS)
        timer->delay *= 2;
}

/* The bus master gave up; nobody interrupts for that. */
static bool master_failed(const struct hmm_ide_channel *channel, unsigned what)
{
    return (what & IDE_WAIT_DMA) &&
           (hmm_ide_master(channel) & IDE_MASTER_ERROR);
}

/* Whether this is the status that is waited for. */
static bool settled(const struct hmm_ide_channel *channel, unsigned what,
                    uint8_t status)
{
    if (hmm_ide_floating(status))
        return true;
    if (master_failed(channel, what))
        return true;
    if (status & IDE_STATUS_BSY)
        return false;
    if (status & (IDE_STATUS_ERR | IDE_STATUS_DF))
        return true;
    return (what & IDE_WAIT_DATA ? IDE_STATUS_DRQ : 0) ==
           (status & IDE_STATUS_DRQ);
}

/* Waits for a slice; whether an interrupt came.  No interrupts: polled. */
static bool wait_slice(struct hmm_ide_channel *channel, uint64_t timeout_ns)
{
    const struct hmm_ide_bus_ops *ops = ide_ops(channel);
    unsigned irq = channel->ports.irq;
    int error;

    error = ops->wait_irq(ide_bus(channel), irq,
                          timeout_ns < SLICE_NS ? timeout_ns : SLICE_NS);
    if (error != 0 && error != ETIMEDOUT) {
        channel->polled = true;
        hmm_ide_control(channel, IDE_CONTROL_NIEN);
    }
    return error == 0;
}

/* Counts an interrupt that was waited for in vain though there was cause. */
static void note_missed(struct hmm_ide_channel *channel)
{
    channel->stats.interrupts_missed++;
    if (++channel->missed < MISSED_MAX)
        return;
    channel->polled = true;
    hmm_ide_control(channel, IDE_CONTROL_NIEN);
}

/* Waits by interrupts until one was for us: then *status is what is waited for,
 * or the drive is only late (EAGAIN), or it went wrong. */
static int wait_interrupt(struct hmm_ide_channel *channel, unsigned what,
                          struct timer *timer, uint8_t *status)
{
    while (!channel->polled) {
        bool came = wait_slice(channel, timer->timeout), good;

        *status =
            came ? hmm_ide_in(channel, IDE_STATUS) : hmm_ide_alternate(channel);
        if (came && ide_ops(channel)->irq_done)
            ide_ops(channel)->irq_done(ide_bus(channel), channel->ports.irq);
        good = settled(channel, what, *status);
        if (good && came)
            channel->missed = 0;
        else if (good && !channel->polled && !master_failed(channel, what))
            note_missed(channel);
        if (good)
            return 0;
        if (expired(channel, timer))
            return ETIMEDOUT;
        if (came && !(*status & IDE_STATUS_BSY))
            break;
        if (came) {
            channel->stats.interrupts_spurious++;
            rest(channel, timer);
        }
    }
    return EAGAIN;
}

int hmm_ide_wait(struct hmm_ide_channel *channel, unsigned what,
                 uint64_t timeout_ns, uint8_t *status)
{
    struct timer timer = start_timer(channel, timeout_ns);

    if ((what & IDE_WAIT_IRQ) && !channel->polled) {
        int error = wait_interrupt(channel, what, &timer, status);

        if (error == ETIMEDOUT)
            return error;
    }
    for (;;) {
        *status = hmm_ide_alternate(channel);
        if (settled(channel, what, *status))
            break;
        if (expired(channel, &timer))
            return ETIMEDOUT;
        rest(channel, &timer);
    }
    *status = hmm_ide_in(channel, IDE_STATUS);
    return hmm_ide_floating(*status) ? ENODEV : 0;
}

/* Waits until the selected drive takes commands, whatever its last one was. */
static int wait_idle(struct hmm_ide_channel *channel, uint64_t timeout_ns)
{
    struct timer timer = start_timer(channel, timeout_ns);

    for (;;) {
        uint8_t status = hmm_ide_alternate(channel);

        if (hmm_ide_floating(status))
            return ENODEV;
        if (!(status & (IDE_STATUS_BSY | IDE_STATUS_DRQ)))
            return 0;
        if (expired(channel, &timer))
            return ETIMEDOUT;
        rest(channel, &timer);
    }
}

int hmm_ide_select(struct hmm_ide_channel *channel, unsigned drive)
{
    uint64_t timeout_ns = channel->ide->options.command_ns;
    int error;

    hmm_assert(drive <= 1);
    error = wait_idle(channel, timeout_ns);
    /* Nobody drives the lines: the other drive may. */
    if (error != 0 && error != ENODEV)
        return error;
    hmm_ide_out(channel, IDE_DEVICE,
                (uint8_t)(IDE_DEVICE_BASE | IDE_DEVICE_LBA |
                          (drive != 0 ? IDE_DEVICE_SLAVE : 0)));
    hmm_ide_settle(channel);
    return wait_idle(channel, timeout_ns);
}

int hmm_ide_reset(struct hmm_ide_channel *channel)
{
    const struct hmm_ide_bus_ops *ops = ide_ops(channel);
    uint64_t timeout_ns = channel->ide->options.reset_ns;
    uint8_t enable = channel->polled ? IDE_CONTROL_NIEN : 0;
    int error;

    channel->stats.resets++;
    hmm_ide_master_stop(channel);
    hmm_ide_control(channel, IDE_CONTROL_SRST | IDE_CONTROL_NIEN);
    ops->delay(ide_bus(channel), RESET_HOLD_NS);
    hmm_ide_control(channel, enable);
    ops->delay(ide_bus(channel), RESET_REST_NS);
    error = wait_idle(channel, timeout_ns);
    if (error != ENODEV)
        return error;
    /* No master: there may be a slave all the same. */
    hmm_ide_out(channel, IDE_DEVICE, IDE_DEVICE_BASE | IDE_DEVICE_SLAVE);
    hmm_ide_settle(channel);
    return wait_idle(channel, timeout_ns);
}

int hmm_ide_start(struct hmm_ide_channel *channel, const struct ide_task *task)
{
    int error = hmm_ide_select(channel, task->drive);

    if (error != 0)
        return error;
    channel->stats.commands++;
    hmm_ide_load(channel, task);
    return 0;
}

int hmm_ide_simple(struct hmm_ide_channel *channel, const struct ide_task *task,
                   uint64_t timeout_ns)
{
    uint8_t status = 0;
    int error = hmm_ide_start(channel, task);

    if (error == 0)
        error = hmm_ide_wait(channel, IDE_WAIT_IRQ, timeout_ns, &status);
    if (error == 0)
        error = hmm_ide_decode(status, hmm_ide_in(channel, IDE_ERROR), false);
    return error;
}

/* ---- Data ---- */

void hmm_ide_next(struct ide_cursor *cursor, unsigned char **memory,
                  size_t *length)
{
    for (;;) {
        const struct hurdmm_block_request *request =
            cursor->requests[cursor->request];
        const struct hurdmm_block_piece *piece;

        if (cursor->piece == request->piece_count) {
            cursor->request++;
            cursor->piece = 0;
            continue;
        }
        piece = &request->pieces[cursor->piece];
        hmm_assert(cursor->within <= piece->length);
        if (cursor->within < piece->length) {
            size_t left = piece->length - cursor->within;

            *memory = (unsigned char *)piece->memory + cursor->within;
            if (*length > left)
                *length = left;
            cursor->within += *length;
            return;
        }
        cursor->piece++;
        cursor->within = 0;
    }
}

/* Copies between the channel's sector and the memory of the transfer. */
static void copy_sector(struct hmm_ide_channel *channel,
                        struct ide_cursor *cursor, size_t size, bool write)
{
    unsigned char *at = channel->sector, *memory;

    hmm_assert(size <= sizeof channel->sector);
    while (size > 0) {
        size_t n = size;

        hmm_ide_next(cursor, &memory, &n);
        if (write)
            memcpy(at, memory, n);
        else
            memcpy(memory, at, n);
        at += n;
        size -= n;
    }
}

/* One sector through the data register: in place where it lies in one piece. */
static void move_sector(struct hmm_ide_channel *channel,
                        struct ide_cursor *cursor, size_t size, bool write)
{
    const struct hmm_ide_bus_ops *ops = ide_ops(channel);
    uint16_t port = (uint16_t)(channel->ports.command + IDE_DATA);
    struct ide_cursor before = *cursor;
    unsigned char *memory;
    size_t n = size;
    bool copy;

    hmm_ide_next(cursor, &memory, &n);
    copy = n < size || (uintptr_t)memory % 2 != 0;
    if (copy) {
        *cursor = before;
        memory = channel->sector;
    }
    if (copy && write)
        copy_sector(channel, cursor, size, true);
    if (write)
        ops->out16s(ide_bus(channel), port, memory, size / 2);
    else
        ops->in16s(ide_bus(channel), port, memory, size / 2);
    if (copy && !write)
        copy_sector(channel, cursor, size, false);
    hmm_ide_settle(channel);
}

/* Takes data that a command which failed still offers, or the drive would take
 * no other. */
static void drain(struct hmm_ide_channel *channel, uint8_t status, size_t size)
{
    if (status & IDE_STATUS_DRQ)
        ide_ops(channel)->in16s(ide_bus(channel),
                                (uint16_t)(channel->ports.command + IDE_DATA),
                                channel->sector, size / 2);
}

int hmm_ide_pio(struct hmm_ide_channel *channel, const struct ide_task *task,
                struct ide_cursor *cursor, size_t size, bool write)
{
    uint64_t timeout_ns = channel->ide->options.command_ns;
    uint8_t status = 0;
    int error = hmm_ide_start(channel, task);

    for (uint32_t i = 0; error == 0 && i < task->count; i++) {
        /* A drive does not interrupt for the first sector it wants. */
        unsigned irq = write && i == 0 ? 0 : IDE_WAIT_IRQ;

        error = hmm_ide_wait(channel, IDE_WAIT_DATA | irq, timeout_ns, &status);
        if (error == 0)
            error =
                hmm_ide_decode(status, hmm_ide_in(channel, IDE_ERROR), write);
        if (error == 0)
            move_sector(channel, cursor, size, write);
        else if (!write)
            drain(channel, status, size);
    }
    if (error == 0)
        error = hmm_ide_wait(channel, write ? IDE_WAIT_IRQ : 0, timeout_ns,
                             &status);
    if (error == 0)
        error = hmm_ide_decode(status, hmm_ide_in(channel, IDE_ERROR), write);
    return error;
}

/* Reads words of IDENTIFY; EIO when the drive had fewer. */
static int identify_part(struct hmm_ide_channel *channel, unsigned first,
                         unsigned count)
{
    hmm_ide_settle(channel);
    if (!(hmm_ide_alternate(channel) & IDE_STATUS_DRQ))
        return EIO;
    ide_ops(channel)->in16s(ide_bus(channel),
                            (uint16_t)(channel->ports.command + IDE_DATA),
                            channel->sector + 2 * first, count);
    return 0;
}

int hmm_ide_identify(struct hmm_ide_channel *channel, unsigned drive)
{
    const struct ide_task task = {.drive = drive, .command = IDE_IDENTIFY};
    uint64_t timeout_ns = channel->ide->options.command_ns;
    uint8_t status = 0;
    int error = hmm_ide_start(channel, &task);

    if (error != 0)
        return error;
    /* Where a master answers for a slave that is not there. */
    if (hmm_ide_alternate(channel) == 0)
        return ENODEV;
    error = hmm_ide_wait(channel, IDE_WAIT_DATA | IDE_WAIT_IRQ, timeout_ns,
                         &status);
    if (error == 0)
        error = hmm_ide_decode(status, hmm_ide_in(channel, IDE_ERROR), false);
    if (error == 0)
        error = identify_part(channel, 0, 128);
    if (error == 0)
        error = identify_part(channel, 128, 127);
    if (error == 0)
        error = identify_part(channel, 255, 1);
    if (error != 0)
        return error;
    hmm_ide_settle(channel);
    return hmm_ide_wait(channel, 0, timeout_ns, &status);
}
