/* SPDX-License-Identifier: MIT */
/* The drives of the simulated PC, and its bus master.  See machine.h. */
#include "backends/l4-x86/ide/registers.h"
#include "tests/ide/machine.h"

#define LATE_NS UINT64_C(50000000)
#define RESET_NS UINT64_C(50000000)
#define FLUSH_NS UINT64_C(1000000)

static size_t size_of(const struct drive *drive)
{
    return (size_t)1 << drive->shift;
}

/* ---- Faults ---- */

static bool is_read(uint8_t command)
{
    return command == IDE_READ_SECTORS || command == IDE_READ_SECTORS_EXT ||
           command == IDE_READ_DMA || command == IDE_READ_DMA_EXT;
}

static bool is_write(uint8_t command)
{
    return command == IDE_WRITE_SECTORS || command == IDE_WRITE_SECTORS_EXT ||
           command == IDE_WRITE_DMA || command == IDE_WRITE_DMA_EXT;
}

static bool is_dma(uint8_t command)
{
    return command == IDE_READ_DMA || command == IDE_READ_DMA_EXT ||
           command == IDE_WRITE_DMA || command == IDE_WRITE_DMA_EXT;
}

static bool is_flush(uint8_t command)
{
    return command == IDE_FLUSH || command == IDE_FLUSH_EXT;
}

/* Whether a fault makes sense for a command. */
static bool applies(enum fault_kind kind, uint8_t command)
{
    bool moves = is_read(command) || is_write(command);

    switch (kind) {
    case FAULT_NONE:
    case FAULT_KINDS:
        return false;
    case FAULT_NEVER_READY:
    case FAULT_GONE:
    case FAULT_SPURIOUS_IRQ:
    case FAULT_MISSING_IRQ:
        return true;
    case FAULT_LATE_DRQ:
        return command == IDE_IDENTIFY || (moves && !is_dma(command));
    case FAULT_ABORT:
    case FAULT_CRC:
    case FAULT_DEVICE:
    case FAULT_NO_MEDIUM:
        return moves || is_flush(command);
    case FAULT_PROTECTED:
        return is_write(command);
    case FAULT_SHORT_IDENTIFY:
        return command == IDE_IDENTIFY;
    case FAULT_DMA:
        return is_dma(command);
    case FAULT_STUCK_DRQ:
        return is_read(command) && !is_dma(command);
    }
    return false;
}

static void fail(struct drive *drive, uint8_t error)
{
    drive->then = THEN_FAIL;
    drive->fail_error = error;
}

static void inject(struct machine_channel *channel, struct drive *drive,
                   enum fault_kind kind)
{
    static const uint8_t errors[FAULT_KINDS] = {
        [FAULT_ABORT] = IDE_ERROR_ABRT,
        [FAULT_CRC] = IDE_ERROR_ICRC | IDE_ERROR_ABRT,
        [FAULT_NO_MEDIUM] = IDE_ERROR_NM,
        [FAULT_PROTECTED] = IDE_ERROR_WP,
    };

    if (errors[kind] != 0)
        fail(drive, errors[kind]);
    drive->late = drive->late || kind == FAULT_LATE_DRQ;
    drive->silent = drive->silent || kind == FAULT_MISSING_IRQ;
    drive->dma_fault = drive->dma_fault || kind == FAULT_DMA;
    drive->stuck_drq = drive->stuck_drq || kind == FAULT_STUCK_DRQ;
    if (kind == FAULT_NEVER_READY)
        drive->state = DRIVE_STUCK;
    if (kind == FAULT_DEVICE) {
        fail(drive, 0);
        drive->fail_device = true;
    }
    if (kind == FAULT_SPURIOUS_IRQ)
        channel->latched = true;
    if (kind == FAULT_SHORT_IDENTIFY)
        drive->identify_words = drive->short_words;
    if (kind == FAULT_GONE)
        drive->present = false;
}

static void inject_due(struct machine_channel *channel, struct drive *drive)
{
    for (unsigned i = 0; i < MACHINE_FAULTS; i++) {
        struct fault *fault = &drive->faults[i];

        if (fault->nth == 0 || !applies(fault->kind, drive->command))
            continue;
        if (--fault->nth != 0)
            continue;
        if (fault->for_ever)
            fault->nth = 1;
        inject(channel, drive, fault->kind);
    }
}

static bool dead_for_ever(const struct drive *drive)
{
    for (unsigned i = 0; i < MACHINE_FAULTS; i++)
        if (drive->faults[i].kind == FAULT_NEVER_READY &&
            drive->faults[i].nth != 0 && drive->faults[i].for_ever)
            return true;
    return false;
}

static bool bad(const struct drive *drive, uint64_t lba)
{
    for (unsigned i = 0; i < drive->bad_count; i++)
        if (drive->bad[i] == lba)
            return true;
    return false;
}

/* ---- What it says ---- */

uint8_t drive_status(const struct machine *machine,
                     const struct machine_channel *channel)
{
    const struct drive *drive = &channel->drives[channel->selected];

    if (!drive->present)
        return channel->drives[1 - channel->selected].present ? 0 : 0xff;
    if (machine->now - drive->told_at < 400)
        return drive->old_status;
    return drive->status;
}

void drive_interrupt(struct machine_channel *channel, struct drive *drive)
{
    if (drive->silent || drive->interrupt ||
        &channel->drives[channel->selected] != drive)
        return;
    drive->interrupt = true;
    if (channel->control & IDE_CONTROL_NIEN)
        return;
    channel->latched = true;
    channel->master_status |= IDE_MASTER_INTERRUPT;
}

static void put_word(uint8_t *words, unsigned index, uint64_t value)
{
    words[2 * index] = (uint8_t)value;
    words[2 * index + 1] = (uint8_t)(value >> 8);
}

static void put_text(uint8_t *words, unsigned first, unsigned count,
                     const char *text)
{
    size_t length = strlen(text);

    for (unsigned i = 0; i < 2 * count; i++)
        words[2 * first + (i ^ 1u)] = (uint8_t)(i < length ? text[i] : ' ');
}

void drive_identify(const struct drive *drive, uint8_t words[512])
{
    uint64_t low = drive->sectors < 0xfffffff ? drive->sectors : 0xfffffff;
    uint8_t sum = 0;

    memset(words, 0, 512);
    put_word(words, 0, 0x0040);
    put_text(words, 10, 10, "SIM0001");
    put_text(words, 27, 20, "Simulated disk");
    put_word(words, 49, 0x0200 | (drive->dma ? 0x0100 : 0));
    put_word(words, 53, 6);
    put_word(words, 60, low);
    put_word(words, 61, low >> 16);
    put_word(words, 63, 7);
    put_word(words, 83,
             0x4000 | (drive->lba48 ? 0x0400 : 0) |
                 (drive->has_flush ? 0x1000 : 0) |
                 (drive->has_flush && drive->lba48 ? 0x2000 : 0));
    put_word(words, 84, 0x4000);
    put_word(words, 85, drive->cached ? 0x20 : 0);
    put_word(words, 87, 0x4000);
    put_word(words, 88, drive->no_mode ? 0x003f : 0x203f);
    for (unsigned i = 0; i < 4 && drive->lba48; i++)
        put_word(words, 100 + i, drive->sectors >> 16 * i);
    if (drive->shift > 9) {
        put_word(words, 106, 0x5000);
        put_word(words, 117, size_of(drive) / 2);
        put_word(words, 118, size_of(drive) / 2 >> 16);
    }
    put_word(words, 255, 0xa5);
    for (unsigned i = 0; i < 512; i++)
        sum = (uint8_t)(sum + words[i]);
    words[511] = (uint8_t)-sum;
}

/* ---- What it does ---- */

static void busy(struct machine *machine, struct drive *drive, uint64_t ns,
                 enum drive_then then)
{
    drive->old_status = drive->status;
    drive->told_at = machine->now;
    drive->status = IDE_STATUS_BSY;
    drive->state = DRIVE_BUSY;
    drive->until = machine->now + ns;
    drive->then = then;
}

static void idle(struct machine_channel *channel, struct drive *drive)
{
    drive->state = DRIVE_IDLE;
    drive->status = IDE_STATUS_DRDY;
    drive_interrupt(channel, drive);
}

static void end_in_error(struct machine_channel *channel, struct drive *drive,
                         uint8_t error)
{
    drive->error = error;
    drive->state = DRIVE_IDLE;
    drive->status =
        IDE_STATUS_DRDY | (drive->fail_device ? IDE_STATUS_DF : IDE_STATUS_ERR);
    drive_interrupt(channel, drive);
}

static void offer(struct machine_channel *channel, struct drive *drive,
                  enum drive_state state, unsigned bytes)
{
    drive->state = state;
    drive->at = 0;
    drive->end = bytes;
    drive->status = IDE_STATUS_DRDY | IDE_STATUS_DRQ;
    if (channel)
        drive_interrupt(channel, drive);
}

static void keep_sector(struct drive *drive, uint64_t lba, const uint8_t *from)
{
    memcpy(drive->now + (lba << drive->shift), from, size_of(drive));
    if (drive->cached)
        drive->unflushed[lba] = true;
    else
        memcpy(drive->medium + (lba << drive->shift), from, size_of(drive));
}

static void flush(struct drive *drive)
{
    for (uint64_t i = 0; i < drive->sectors; i++) {
        if (!drive->unflushed[i])
            continue;
        memcpy(drive->medium + (i << drive->shift),
               drive->now + (i << drive->shift), size_of(drive));
        drive->unflushed[i] = false;
    }
}

static void read_next(struct machine_channel *channel, struct drive *drive)
{
    if (bad(drive, drive->lba)) {
        end_in_error(channel, drive, IDE_ERROR_UNC);
        return;
    }
    memcpy(drive->buffer, drive->now + (drive->lba << drive->shift),
           size_of(drive));
    offer(channel, drive, DRIVE_IN, (unsigned)size_of(drive));
}

static void write_next(struct machine_channel *channel, struct drive *drive)
{
    if (bad(drive, drive->lba)) {
        end_in_error(channel, drive, 0x01);
        return;
    }
    keep_sector(drive, drive->lba++, drive->buffer);
    if (--drive->left == 0)
        idle(channel, drive);
    else
        offer(channel, drive, DRIVE_OUT, (unsigned)size_of(drive));
}

void drive_event(struct machine *machine, struct machine_channel *channel,
                 struct drive *drive)
{
    if (drive->late) {
        /* It says that it is ready, and then is not. */
        drive->late = false;
        drive->status = IDE_STATUS_DRDY;
        drive->until += LATE_NS;
        drive_interrupt(channel, drive);
        return;
    }
    switch (drive->then) {
    case THEN_IDLE:
        idle(channel, drive);
        break;
    case THEN_FAIL:
        end_in_error(channel, drive, drive->fail_error);
        break;
    case THEN_IDENTIFY:
        drive_identify(drive, drive->buffer);
        offer(channel, drive, DRIVE_IN, drive->identify_words * 2);
        break;
    case THEN_READ:
        read_next(channel, drive);
        break;
    case THEN_WANT:
        offer(NULL, drive, DRIVE_OUT, (unsigned)size_of(drive));
        break;
    case THEN_WRITE:
        write_next(channel, drive);
        break;
    case THEN_FLUSH:
        flush(drive);
        idle(channel, drive);
        break;
    case THEN_DMA:
        offer(NULL, drive, DRIVE_DMA, 0);
        master_run(machine, channel);
        break;
    }
}

/* Where the command goes and how far; false: not on this drive. */
static bool aim(struct drive *drive, bool ext)
{
    uint64_t count = drive->count[0];

    drive->lba = drive->low[0] | (uint64_t)drive->mid[0] << 8 |
                 (uint64_t)drive->high[0] << 16;
    if (ext) {
        count |= (uint64_t)drive->count[1] << 8;
        drive->lba |= (uint64_t)drive->low[1] << 24 |
                      (uint64_t)drive->mid[1] << 32 |
                      (uint64_t)drive->high[1] << 40;
    } else {
        drive->lba |= (uint64_t)drive->device << 24;
    }
    drive->left = count != 0 ? count : ext ? 65536 : 256;
    return drive->lba < drive->sectors &&
           drive->left <= drive->sectors - drive->lba;
}

/* What comes of a command, faults aside. */
static enum drive_then understand(struct drive *drive, uint8_t command)
{
    bool ext = command == IDE_READ_SECTORS_EXT || command == IDE_READ_DMA_EXT ||
               command == IDE_WRITE_SECTORS_EXT || command == IDE_WRITE_DMA_EXT;

    drive->fail_error = IDE_ERROR_ABRT;
    if (is_read(command) || is_write(command)) {
        if ((ext && !drive->lba48) || (is_dma(command) && !drive->dma))
            return THEN_FAIL;
        if (!aim(drive, ext)) {
            drive->fail_error = IDE_ERROR_IDNF;
            return THEN_FAIL;
        }
        return is_dma(command)    ? THEN_DMA
               : is_read(command) ? THEN_READ
                                  : THEN_WANT;
    }
    if (command == IDE_IDENTIFY)
        return drive->atapi ? THEN_FAIL : THEN_IDENTIFY;
    if (is_flush(command))
        return drive->has_flush ? THEN_FLUSH : THEN_FAIL;
    if (command == IDE_SET_FEATURES)
        return drive->features == IDE_FEATURE_MODE ? THEN_IDLE : THEN_FAIL;
    return THEN_FAIL;
}

static void log_command(struct machine *machine,
                        struct machine_channel *channel,
                        const struct drive *drive)
{
    machine->log[machine->commands++ % MACHINE_LOG] = (struct machine_command){
        .channel = (unsigned)(channel - machine->channels),
        .drive = (unsigned)(drive - channel->drives),
        .command = drive->command,
        .lba = drive->lba,
        .count = drive->left,
    };
}

void drive_command(struct machine *machine, struct machine_channel *channel,
                   struct drive *drive, uint8_t command)
{
    enum drive_then then;

    drive->command = command;
    drive->lba = drive->left = 0;
    drive->error = 0;
    drive->interrupt = drive->silent = drive->late = false;
    drive->fail_device = drive->dma_fault = drive->stuck_drq = false;
    drive->identify_words = 256;
    then = understand(drive, command);
    log_command(machine, channel, drive);
    busy(machine, drive,
         (is_flush(command) ? FLUSH_NS : 20000) +
             machine_random(machine, 500000),
         then);
    inject_due(channel, drive);
}

void drive_reset(struct machine *machine, struct machine_channel *channel)
{
    if (!channel->stays)
        channel->selected = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct drive *drive = &channel->drives[i];

        if (!drive->present)
            continue;
        busy(machine, drive, RESET_NS, THEN_IDLE);
        drive->silent = true;
        drive->interrupt = drive->late = false;
        drive->count[0] = drive->low[0] = 1;
        drive->mid[0] = drive->atapi ? 0x14 : 0;
        drive->high[0] = drive->atapi ? 0xeb : 0;
        if (dead_for_ever(drive))
            drive->state = DRIVE_STUCK;
    }
}

/* ---- The data register ---- */

uint16_t drive_get(struct machine *machine, struct drive *drive)
{
    uint16_t value;

    if (drive->state != DRIVE_IN) {
        /* Nobody can know how short an IDENTIFY is. */
        if (drive->command != IDE_IDENTIFY)
            machine_complain(machine, "data was read that was not offered");
        return drive->short_value;
    }
    if (machine->now - drive->told_at < 400)
        machine_complain(machine, "data was read before 400 ns had passed");
    value = (uint16_t)(drive->buffer[drive->at] | drive->buffer[drive->at + 1]
                                                      << 8);
    drive->at += 2;
    if (drive->at < drive->end)
        return value;
    drive->old_status = drive->status;
    drive->told_at = machine->now;
    drive->state = DRIVE_IDLE;
    drive->status = IDE_STATUS_DRDY;
    if (drive->command == IDE_IDENTIFY)
        return value;
    drive->lba++;
    if (--drive->left > 0) {
        drive->status = drive->old_status;
        busy(machine, drive, 5000, THEN_READ);
    } else if (drive->stuck_drq) {
        drive->state = DRIVE_STUCK;
        drive->status = IDE_STATUS_DRDY | IDE_STATUS_DRQ;
    }
    return value;
}

void drive_put(struct machine *machine, struct machine_channel *channel,
               struct drive *drive, uint16_t value)
{
    (void)channel;
    if (drive->state != DRIVE_OUT) {
        machine_complain(machine, "data was written that was not wanted");
        return;
    }
    drive->buffer[drive->at] = (uint8_t)value;
    drive->buffer[drive->at + 1] = (uint8_t)(value >> 8);
    drive->at += 2;
    if (drive->at == drive->end)
        busy(machine, drive, 8000, THEN_WRITE);
}

/* ---- The bus master ---- */

static unsigned char *physical(struct machine *machine, uint64_t at,
                               size_t length)
{
    for (unsigned i = 0; i < machine->range_count; i++) {
        const struct machine_range *range = &machine->ranges[i];

        if (at >= range->physical && at - range->physical < range->length &&
            length <= range->length - (size_t)(at - range->physical))
            return range->host + (at - range->physical);
    }
    machine_complain(machine, "DMA to memory that is none");
    return NULL;
}

static uint32_t get32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
           (uint32_t)at[3] << 24;
}

/* Reads an entry; false: it is wrong. */
static bool get_entry(struct machine *machine, uint32_t table, unsigned index,
                      uint32_t *at, size_t *length, bool *last)
{
    const unsigned char *entry;

    if (table % 4 != 0 ||
        table / 65536 != (table + (uint64_t)index * 8) / 65536) {
        machine_complain(machine, "a PRD table at a wrong place");
        return false;
    }
    entry = physical(machine, table + (uint64_t)index * 8, 8);
    if (!entry)
        return false;
    *at = get32(entry);
    *length = get32(entry + 4) & 0xffff;
    *last = get32(entry + 4) >> 31;
    if (*length == 0)
        *length = 65536;
    if (*at % 2 != 0 || *length % 2 != 0 || get32(entry + 4) & 0x7fff0000)
        machine_complain(machine, "an odd PRD entry");
    if (*at / 65536 != (*at + (uint64_t)*length - 1) / 65536)
        machine_complain(machine, "a PRD entry crosses 64 KiB");
    return true;
}

/* Moves `total' bytes of the drive's row of sectors; how many had entries. */
static size_t move(struct machine *machine, struct machine_channel *channel,
                   uint8_t *row, size_t total, bool to_memory, bool *more)
{
    size_t done = 0;
    bool last = false;

    machine->entries = 0;
    while (done < total && !last) {
        uint32_t at;
        size_t length;
        unsigned char *memory;

        if (!get_entry(machine, channel->master_table, machine->entries++, &at,
                       &length, &last))
            break;
        *more = length > total - done || !last;
        if (length > total - done)
            length = total - done;
        memory = physical(machine, at, length);
        if (!memory)
            break;
        if (to_memory)
            memcpy(memory, row + done, length);
        else
            memcpy(row + done, memory, length);
        done += length;
    }
    return done;
}

/* The sectors before the first bad one. */
static uint64_t good_sectors(const struct drive *drive)
{
    uint64_t good = 0;

    while (good < drive->left && !bad(drive, drive->lba + good))
        good++;
    return good;
}

static void stuck(struct drive *drive)
{
    drive->state = DRIVE_STUCK;
    drive->status = IDE_STATUS_DRDY | IDE_STATUS_DRQ;
}

static void master_check(struct machine *machine,
                         struct machine_channel *channel,
                         const struct drive *drive)
{
    bool to_memory = is_read(drive->command);

    if (!(machine->config_command & 4))
        machine_complain(machine, "DMA without bus mastering");
    if (to_memory != !!(channel->master_command & IDE_MASTER_READ))
        machine_complain(machine, "DMA in the wrong direction");
}

void master_run(struct machine *machine, struct machine_channel *channel)
{
    struct drive *drive = &channel->drives[channel->selected];
    bool to_memory = is_read(drive->command), more = false;
    size_t size, good, done;
    uint8_t *row;

    if (drive->state != DRIVE_DMA ||
        !(channel->master_status & IDE_MASTER_ACTIVE))
        return;
    master_check(machine, channel, drive);
    if (drive->dma_fault) {
        channel->master_status |= IDE_MASTER_ERROR;
        channel->master_status &= (uint8_t)~IDE_MASTER_ACTIVE;
        stuck(drive);
        return;
    }
    size = (size_t)drive->left << drive->shift;
    good = (size_t)good_sectors(drive) << drive->shift;
    row = malloc(size);
    if (!row)
        abort();
    memcpy(row, drive->now + (drive->lba << drive->shift), size);
    done = move(machine, channel, row, good, to_memory, &more);
    for (size_t i = 0; !to_memory && i + size_of(drive) <= done;
         i += size_of(drive))
        keep_sector(drive, drive->lba + (i >> drive->shift), row + i);
    free(row);
    if (done < good) {
        machine_complain(machine, "a PRD table that is too short");
        stuck(drive);
    } else if (good < size) {
        end_in_error(channel, drive, to_memory ? IDE_ERROR_UNC : 0x01);
    } else {
        if (more)
            machine_complain(machine, "a PRD table that is too long");
        channel->master_status &= (uint8_t)~IDE_MASTER_ACTIVE;
        idle(channel, drive);
    }
}
