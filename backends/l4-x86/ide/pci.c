/* SPDX-License-Identifier: MIT */
/*
 * Finding the controller: PCI configuration by the two ports that every PC has.
 *
 * A controller says for each channel whether it is where PCs always had it, or
 * where its base registers say.
 */
#include "backends/l4-x86/ide/private.h"

#define CONFIG_ADDRESS 0xcf8u
#define CONFIG_DATA 0xcfcu
#define CONFIG_ENABLE 0x80000000u

#define REG_ID 0x00u
#define REG_COMMAND 0x04u
#define REG_CLASS 0x08u
#define REG_HEADER 0x0cu
#define REG_BASE 0x10u
#define REG_IRQ 0x3cu

#define COMMAND_IO 1u
#define COMMAND_MASTER 4u
#define CLASS_IDE 0x0101u
#define INTERFACE_MASTER 0x80u
#define MULTIFUNCTION 0x00800000u

struct place {
    const struct hmm_ide_bus_ops *ops;
    void *bus;
    unsigned device, function;
};

static void address(const struct place *place, unsigned reg)
{
    place->ops->out32(place->bus, CONFIG_ADDRESS,
                      CONFIG_ENABLE | place->device << 11 |
                          place->function << 8 | reg);
}

static uint32_t config_read(const struct place *place, unsigned reg)
{
    hmm_assert(reg % 4 == 0 && reg < 256);
    address(place, reg);
    return place->ops->in32(place->bus, CONFIG_DATA);
}

static void config_write(const struct place *place, unsigned reg,
                         uint32_t value)
{
    hmm_assert(reg % 4 == 0 && reg < 256);
    address(place, reg);
    place->ops->out32(place->bus, CONFIG_DATA, value);
}

/* An I/O base register; 0: it is none, or not set. */
static uint16_t base(const struct place *place, unsigned index)
{
    uint32_t value = config_read(place, REG_BASE + 4 * index);

    return value & 1 ? (uint16_t)(value & 0xfffcu) : 0;
}

static void describe(const struct place *place, unsigned interface,
                     struct hmm_ide_ports ports[2])
{
    uint16_t master = interface & INTERFACE_MASTER ? base(place, 4) : 0;

    for (unsigned i = 0; i < 2; i++) {
        bool native = (interface >> 2 * i & 1) != 0 && base(place, 2 * i) != 0;

        if (native) {
            ports[i].command = base(place, 2 * i);
            ports[i].control = (uint16_t)(base(place, 2 * i + 1) + 2);
            ports[i].irq = config_read(place, REG_IRQ) & 0xff;
        }
        ports[i].master = master != 0 ? (uint16_t)(master + 8 * i) : 0;
    }
}

static bool found(const struct place *place, struct hmm_ide_ports ports[2])
{
    uint32_t class = config_read(place, REG_CLASS), command;

    if (class >> 16 != CLASS_IDE)
        return false;
    describe(place, class >> 8 & 0xff, ports);
    /* The upper half is a status: what is written as 0 stays. */
    command = config_read(place, REG_COMMAND) & 0xffff;
    config_write(place, REG_COMMAND, command | COMMAND_IO | COMMAND_MASTER);
    return true;
}

void hmm_ide_standard_ports(struct hmm_ide_ports ports[2])
{
    ports[0] = (struct hmm_ide_ports){0x1f0, 0x3f6, 0, 14};
    ports[1] = (struct hmm_ide_ports){0x170, 0x376, 0, 15};
}

int hmm_ide_find(const struct hmm_ide_bus_ops *ops, void *bus,
                 struct hmm_ide_ports ports[2])
{
    struct place place = {.ops = ops, .bus = bus};

    hmm_ide_standard_ports(ports);
    for (place.device = 0; place.device < 32; place.device++) {
        unsigned functions;

        place.function = 0;
        if ((config_read(&place, REG_ID) & 0xffff) == 0xffff)
            continue;
        functions = config_read(&place, REG_HEADER) & MULTIFUNCTION ? 8 : 1;
        for (; place.function < functions; place.function++)
            if ((config_read(&place, REG_ID) & 0xffff) != 0xffff &&
                found(&place, ports))
                return 0;
    }
    return ENODEV;
}
