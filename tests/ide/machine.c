/* SPDX-License-Identifier: MIT */
/* The simulated PC: ports, time, memory.  See machine.h. */
#include "backends/l4-x86/ide/registers.h"
#include "tests/ide/machine.h"

#define ACCESS_NS 100u
#define PIIX_ID 0x70108086u
#define PIIX_DEVICE 1u
#define PIIX_FUNCTION 1u
#define PIIX_MASTER 0xc000u

uint64_t machine_random(struct machine *machine, uint64_t below)
{
    machine->seed ^= machine->seed << 13;
    machine->seed ^= machine->seed >> 7;
    machine->seed ^= machine->seed << 17;
    return below == 0 ? 0 : machine->seed % below;
}

void machine_complain(struct machine *machine, const char *what)
{
    if (!machine->complaint)
        machine->complaint = what;
}

uint8_t machine_byte(uint64_t offset)
{
    return (uint8_t)(offset * 29 + (offset >> 9) * 11 + 7);
}

/* ---- Time ---- */

/* Lets everything happen that happens up to `to'. */
static void advance(struct machine *machine, uint64_t to)
{
    for (;;) {
        struct machine_channel *at = NULL;
        struct drive *next = NULL;

        for (unsigned i = 0; i < 4; i++) {
            struct drive *drive = &machine->channels[i / 2].drives[i % 2];

            if (drive->present && drive->state == DRIVE_BUSY &&
                drive->until <= to && (!next || drive->until < next->until)) {
                next = drive;
                at = &machine->channels[i / 2];
            }
        }
        if (!next)
            break;
        if (machine->now < next->until)
            machine->now = next->until;
        drive_event(machine, at, next);
    }
    if (machine->now < to)
        machine->now = to;
}

/* When the next thing happens, at most `limit'. */
static uint64_t next_event(const struct machine *machine, uint64_t limit)
{
    for (unsigned i = 0; i < 4; i++) {
        const struct drive *drive = &machine->channels[i / 2].drives[i % 2];

        if (drive->present && drive->state == DRIVE_BUSY &&
            drive->until < limit)
            limit = drive->until;
    }
    return limit;
}

static void delay(void *bus, uint64_t ns)
{
    struct machine *machine = bus;

    advance(machine, machine->now + ns);
}

static uint64_t get_clock(void *bus)
{
    return ((struct machine *)bus)->now;
}

static int wait_irq(void *bus, unsigned irq, uint64_t timeout_ns)
{
    struct machine *machine = bus;
    uint64_t end = machine->now + timeout_ns;

    machine->waits++;
    if (machine->no_irq)
        return ENOTSUP;
    for (;;) {
        for (unsigned i = 0; i < 2; i++) {
            struct machine_channel *channel = &machine->channels[i];

            if (channel->irq == irq && channel->latched) {
                channel->latched = false;
                return 0;
            }
        }
        if (machine->now >= end)
            return ETIMEDOUT;
        advance(machine, next_event(machine, end));
    }
}

static void irq_done(void *bus, unsigned irq)
{
    struct machine *machine = bus;

    (void)irq;
    machine->irqs_done++;
}

/* ---- Memory ---- */

void machine_memory(struct machine *machine, void *host, uint64_t physical,
                    size_t length)
{
    if (machine->range_count == MACHINE_RANGES)
        abort();
    machine->ranges[machine->range_count++] =
        (struct machine_range){host, physical, length, false};
}

static int dma_allocate(void *bus, size_t size, uint64_t align,
                        uint64_t boundary, uint64_t limit, void **memory,
                        uint64_t *physical)
{
    struct machine *machine = bus;
    uint64_t at = (machine->next_physical + align - 1) & ~(align - 1);

    if (machine->allocations_left == 0)
        return ENOMEM;
    machine->allocations_left--;
    if (at / boundary != (at + size - 1) / boundary)
        at = (at + boundary - 1) & ~(boundary - 1);
    if (at + size > limit)
        return ENOMEM;
    *memory = malloc(size);
    if (!*memory)
        abort();
    machine_memory(machine, *memory, at, size);
    machine->ranges[machine->range_count - 1].allocated = true;
    machine->next_physical = at + size;
    *physical = at;
    return 0;
}

static void dma_free(void *bus, void *memory, size_t size)
{
    struct machine *machine = bus;

    for (unsigned i = 0; i < machine->range_count; i++) {
        struct machine_range *range = &machine->ranges[i];

        if (range->host == memory && range->length == size &&
            range->allocated) {
            free(memory);
            *range = machine->ranges[--machine->range_count];
            return;
        }
    }
    machine_complain(machine, "memory was freed that was not allocated");
}

static int dma_address(void *bus, const void *memory, size_t length,
                       uint64_t *physical, size_t *run)
{
    struct machine *machine = bus;
    uintptr_t at = (uintptr_t)memory;

    for (unsigned i = 0; i < machine->range_count; i++) {
        const struct machine_range *range = &machine->ranges[i];
        size_t within = at - (uintptr_t)range->host;

        if (at < (uintptr_t)range->host || within >= range->length)
            continue;
        *physical = range->physical + within;
        *run = range->length - within;
        if (*run > length)
            *run = length;
        if (machine->run_max != 0 && *run > machine->run_max)
            *run = machine->run_max;
        return 0;
    }
    return EFAULT;
}

/* ---- Ports ---- */

/* The channel that a port belongs to; *reg is counted from `first'. */
static struct machine_channel *find(struct machine *machine, uint16_t port,
                                    size_t first, unsigned count, unsigned *reg)
{
    for (unsigned i = 0; i < 2; i++) {
        unsigned char *channel = (unsigned char *)&machine->channels[i];
        uint16_t base;

        memcpy(&base, channel + first, sizeof base);
        if (base != 0 && port >= base && port < base + count) {
            *reg = (unsigned)(port - base);
            return &machine->channels[i];
        }
    }
    return NULL;
}

#define FIND(machine, port, member, count, reg)                                \
    find(machine, port, offsetof(struct machine_channel, member), count, reg)

static uint8_t task_read(struct machine *machine,
                         struct machine_channel *channel, unsigned reg)
{
    struct drive *drive = &channel->drives[channel->selected];
    uint8_t status = drive_status(machine, channel);

    if (reg == IDE_STATUS) {
        drive->interrupt = false;
        return status;
    }
    if (!drive->present)
        return channel->drives[1 - channel->selected].present ? 0 : 0xff;
    switch (reg) {
    case IDE_ERROR:
        return drive->error;
    case IDE_COUNT:
        return drive->count[0];
    case IDE_LBA_LOW:
        return drive->low[0];
    case IDE_LBA_MID:
        return drive->mid[0];
    case IDE_LBA_HIGH:
        return drive->high[0];
    default:
        return (uint8_t)(channel->selected << 4);
    }
}

static void push(uint8_t pair[2], uint8_t value)
{
    pair[1] = pair[0];
    pair[0] = value;
}

static bool is_busy(const struct machine_channel *channel)
{
    return channel->drives[0].state == DRIVE_BUSY ||
           channel->drives[1].state == DRIVE_BUSY;
}

/* Both drives hear what is written to the task file. */
static void task_write(struct machine *machine, struct machine_channel *channel,
                       unsigned reg, uint8_t value)
{
    struct drive *selected = &channel->drives[channel->selected];

    if (selected->present && selected->state != DRIVE_IDLE)
        machine_complain(machine, "the task file was written while busy");
    if (channel->stays && is_busy(channel))
        return;
    if (reg == IDE_DEVICE)
        channel->selected = value >> 4 & 1;
    for (unsigned i = 0; i < 2; i++) {
        struct drive *drive = &channel->drives[i];

        if (reg == IDE_FEATURES)
            drive->features = value;
        else if (reg == IDE_COUNT)
            push(drive->count, value);
        else if (reg == IDE_LBA_LOW)
            push(drive->low, value);
        else if (reg == IDE_LBA_MID)
            push(drive->mid, value);
        else if (reg == IDE_LBA_HIGH)
            push(drive->high, value);
        else if (reg == IDE_DEVICE)
            drive->device = value & 0xf;
    }
    if (reg == IDE_COMMAND && selected->present)
        drive_command(machine, channel, selected, value);
}

static uint8_t in8(void *bus, uint16_t port)
{
    struct machine *machine = bus;
    struct machine_channel *channel;
    unsigned reg;

    advance(machine, machine->now + ACCESS_NS);
    if ((channel = FIND(machine, port, base, 8, &reg)))
        return task_read(machine, channel, reg);
    if ((channel = FIND(machine, port, control_port, 1, &reg)))
        return drive_status(machine, channel);
    if ((channel = FIND(machine, port, master_port, 8, &reg))) {
        if (reg == IDE_MASTER_STATUS)
            return channel->master_status;
        return reg == IDE_MASTER_COMMAND ? channel->master_command : 0;
    }
    return 0xff;
}

static void control_write(struct machine *machine,
                          struct machine_channel *channel, uint8_t value)
{
    bool was = channel->control & IDE_CONTROL_SRST;

    channel->control = value;
    if (was && !(value & IDE_CONTROL_SRST))
        drive_reset(machine, channel);
}

static void master_write(struct machine *machine,
                         struct machine_channel *channel, unsigned reg,
                         uint8_t value)
{
    if (reg == IDE_MASTER_STATUS) {
        channel->master_status &=
            (uint8_t) ~(value & (IDE_MASTER_ERROR | IDE_MASTER_INTERRUPT));
        return;
    }
    if (reg != IDE_MASTER_COMMAND)
        return;
    if ((channel->master_status & IDE_MASTER_ACTIVE) &&
        ((value ^ channel->master_command) & IDE_MASTER_READ) &&
        (value & IDE_MASTER_START))
        machine_complain(machine, "the direction was changed under way");
    channel->master_command = value;
    if (value & IDE_MASTER_START)
        channel->master_status |= IDE_MASTER_ACTIVE;
    else
        channel->master_status &= (uint8_t)~IDE_MASTER_ACTIVE;
    master_run(machine, channel);
}

static void out8(void *bus, uint16_t port, uint8_t value)
{
    struct machine *machine = bus;
    struct machine_channel *channel;
    unsigned reg;

    advance(machine, machine->now + ACCESS_NS);
    if ((channel = FIND(machine, port, base, 8, &reg)))
        task_write(machine, channel, reg, value);
    else if ((channel = FIND(machine, port, control_port, 1, &reg)))
        control_write(machine, channel, value);
    else if ((channel = FIND(machine, port, master_port, 8, &reg)))
        master_write(machine, channel, reg, value);
}

static uint16_t in16(void *bus, uint16_t port)
{
    struct machine *machine = bus;
    struct machine_channel *channel;
    unsigned reg;

    advance(machine, machine->now + ACCESS_NS);
    channel = FIND(machine, port, base, 1, &reg);
    if (!channel || !channel->drives[channel->selected].present)
        return 0xffff;
    return drive_get(machine, &channel->drives[channel->selected]);
}

static void out16(void *bus, uint16_t port, uint16_t value)
{
    struct machine *machine = bus;
    struct machine_channel *channel;
    unsigned reg;

    advance(machine, machine->now + ACCESS_NS);
    channel = FIND(machine, port, base, 1, &reg);
    if (channel && channel->drives[channel->selected].present)
        drive_put(machine, channel, &channel->drives[channel->selected], value);
}

static void in16s(void *bus, uint16_t port, void *memory, size_t count)
{
    unsigned char *at = memory;

    for (size_t i = 0; i < count; i++) {
        uint16_t value = in16(bus, port);

        at[2 * i] = (unsigned char)value;
        at[2 * i + 1] = (unsigned char)(value >> 8);
    }
}

static void out16s(void *bus, uint16_t port, const void *memory, size_t count)
{
    const unsigned char *at = memory;

    for (size_t i = 0; i < count; i++)
        out16(bus, port, (uint16_t)(at[2 * i] | at[2 * i + 1] << 8));
}

/* ---- PCI ---- */

static uint32_t in32(void *bus, uint16_t port)
{
    struct machine *machine = bus;
    uint32_t address = machine->config_address;

    advance(machine, machine->now + ACCESS_NS);
    if (port != 0xcfc || machine->no_pci || !(address & 0x80000000u))
        return UINT32_MAX;
    if ((address >> 8 & 0xffffff) == (0x800000 | PIIX_DEVICE << 3)) {
        /* The bridge, which only says that there are several functions. */
        return (address & 0xfc) == 0    ? 0x70008086u
               : (address & 0xfc) == 8  ? 0x06010000u
               : (address & 0xfc) == 12 ? 0x00800000u
                                        : 0;
    }
    if ((address >> 8 & 0xffffff) !=
        (0x800000 | PIIX_DEVICE << 3 | PIIX_FUNCTION))
        return UINT32_MAX;
    switch (address & 0xfc) {
    case 0x00:
        return PIIX_ID;
    case 0x04:
        return machine->config_command;
    case 0x08:
        return 0x01018000u;
    case 0x20:
        return PIIX_MASTER | 1;
    default:
        return 0;
    }
}

static void out32(void *bus, uint16_t port, uint32_t value)
{
    struct machine *machine = bus;
    struct machine_channel *channel;
    unsigned reg;

    advance(machine, machine->now + ACCESS_NS);
    if (port == 0xcf8)
        machine->config_address = value;
    else if (port == 0xcfc && (machine->config_address & 0xfc) == 4)
        machine->config_command = value & 0xffff;
    else if ((channel = FIND(machine, port, master_port, 8, &reg)) &&
             reg == IDE_MASTER_TABLE)
        channel->master_table = value;
}

/* ---- Beginning and end ---- */

static const struct hmm_ide_bus_ops ops = {
    .struct_size = sizeof ops,
    .in8 = in8,
    .in16 = in16,
    .in32 = in32,
    .out8 = out8,
    .out16 = out16,
    .out32 = out32,
    .in16s = in16s,
    .out16s = out16s,
    .delay = delay,
    .clock = get_clock,
    .wait_irq = wait_irq,
    .irq_done = irq_done,
    .dma_allocate = dma_allocate,
    .dma_free = dma_free,
    .dma_address = dma_address,
};

void machine_init(struct machine *machine, uint64_t seed)
{
    memset(machine, 0, sizeof *machine);
    machine->seed = seed * 2 + 88172645463325253u;
    machine->next_physical = 0x12345000;
    machine->allocations_left = 100;
    machine->ops = &ops;
    machine->now = 1000000;
    for (unsigned i = 0; i < 2; i++) {
        struct machine_channel *channel = &machine->channels[i];

        channel->base = i == 0 ? 0x1f0 : 0x170;
        channel->control_port = i == 0 ? 0x3f6 : 0x376;
        channel->master_port = (uint16_t)(PIIX_MASTER + 8 * i);
        channel->irq = 14 + i;
        channel->master_status = 0x60;
    }
}

struct drive *machine_plug_of(struct machine *machine, unsigned channel,
                              unsigned number, uint64_t sectors, unsigned shift)
{
    struct drive *drive = &machine->channels[channel].drives[number];
    size_t bytes = (size_t)sectors << shift;

    memset(drive, 0, sizeof *drive);
    drive->present = true;
    drive->sectors = sectors;
    drive->short_words = 100;
    drive->short_value = 0xffff;
    drive->shift = shift;
    drive->lba48 = drive->dma = drive->has_flush = drive->cached = true;
    drive->status = IDE_STATUS_DRDY;
    drive->now = malloc(bytes);
    drive->medium = malloc(bytes);
    drive->unflushed = calloc((size_t)sectors, sizeof *drive->unflushed);
    if (!drive->now || !drive->medium || !drive->unflushed)
        abort();
    for (size_t i = 0; i < bytes; i++)
        drive->now[i] = drive->medium[i] = machine_byte(i);
    return drive;
}

struct drive *machine_plug(struct machine *machine, unsigned channel,
                           unsigned number, uint64_t sectors)
{
    return machine_plug_of(machine, channel, number, sectors, 9);
}

void machine_end(struct machine *machine)
{
    for (unsigned i = 0; i < 4; i++) {
        struct drive *drive = &machine->channels[i / 2].drives[i % 2];

        free(drive->now);
        free(drive->medium);
        free(drive->unflushed);
    }
    for (unsigned i = 0; i < machine->range_count; i++)
        if (machine->ranges[i].allocated)
            abort(); /* DMA memory was not given back */
}

void machine_fault(struct drive *drive, enum fault_kind kind, unsigned nth,
                   bool for_ever)
{
    for (unsigned i = 0; i < MACHINE_FAULTS; i++) {
        if (drive->faults[i].nth != 0)
            continue;
        drive->faults[i] = (struct fault){kind, nth, for_ever};
        return;
    }
    abort();
}

void machine_power_cut(struct machine *machine, struct drive *drive, bool some)
{
    size_t size = (size_t)1 << drive->shift;

    for (uint64_t i = 0; i < drive->sectors; i++) {
        uint8_t *now = drive->now + i * size;

        if (!drive->unflushed[i])
            continue;
        drive->unflushed[i] = false;
        if (some && machine_random(machine, 2))
            memcpy(drive->medium + i * size, now, size);
        else
            memcpy(now, drive->medium + i * size, size);
    }
}
