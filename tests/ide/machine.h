/* SPDX-License-Identifier: MIT */
/*
 * A simulated PC, as far as an IDE driver can see it: ports, time, interrupts,
 * physical memory, a PIIX3 with two channels of two drives.
 *
 * Time passes with every port access (100 ns), delay and wait.  A drive shows
 * what it was told only 400 ns later, as the standard permits: who looks earlier
 * sees what was before.  What no driver may do is kept in `complaint'.
 *
 * A drive has what is on its medium and what its cache holds beyond that: what
 * was not flushed when the power goes may be lost, sector by sector.
 */
#ifndef HMM_TESTS_IDE_MACHINE_H
#define HMM_TESTS_IDE_MACHINE_H

#include <stdlib.h>
#include <string.h>

#include <hurdmm/error.h>

#include "backends/l4-x86/ide/ide.h"

#define MACHINE_RANGES 64
#define MACHINE_LOG 256
#define MACHINE_FAULTS 4
#define DRIVE_BAD 8

enum fault_kind {
    FAULT_NONE,
    FAULT_NEVER_READY,    /* busy for ever; with for_ever, after a reset too */
    FAULT_LATE_DRQ,       /* not busy, but data only 50 ms later */
    FAULT_SPURIOUS_IRQ,   /* interrupts that mean nothing */
    FAULT_MISSING_IRQ,    /* none at the end */
    FAULT_ABORT,          /* ERR, ABRT */
    FAULT_CRC,            /* ERR, ICRC */
    FAULT_DEVICE,         /* DF */
    FAULT_NO_MEDIUM,      /* ERR, NM */
    FAULT_PROTECTED,      /* ERR, WP, of writes */
    FAULT_SHORT_IDENTIFY, /* short_words of it, then short_value */
    FAULT_GONE,           /* unplugged */
    FAULT_DMA,            /* the bus master fails, the drive hangs */
    FAULT_STUCK_DRQ,      /* at the end wants more */
    FAULT_KINDS
};

/* The nth command from now (1: the next) that the fault makes sense for. */
struct fault {
    enum fault_kind kind;
    unsigned nth; /* 0: none */
    bool for_ever;
};

enum drive_state {
    DRIVE_IDLE,
    DRIVE_BUSY, /* until `until', then `then' */
    DRIVE_IN,   /* has data in its buffer */
    DRIVE_OUT,  /* wants data */
    DRIVE_DMA,  /* waits for the bus master */
    DRIVE_STUCK /* until a reset */
};

enum drive_then {
    THEN_IDLE,
    THEN_IDENTIFY,
    THEN_READ,
    THEN_WANT,
    THEN_WRITE,
    THEN_DMA,
    THEN_FLUSH,
    THEN_FAIL
};

struct drive {
    bool present, atapi;
    unsigned shift;
    uint64_t sectors;
    bool lba48, dma, has_flush, cached, no_mode;
    uint8_t *now, *medium; /* with the cache, and without */
    bool *unflushed;       /* by sector */
    uint64_t bad[DRIVE_BAD];
    unsigned bad_count;
    struct fault faults[MACHINE_FAULTS];

    uint8_t features, device, count[2], low[2], mid[2],
        high[2]; /* [1]: earlier */
    uint8_t status, error, old_status;
    uint64_t told_at; /* until 400 ns later old_status is seen */
    enum drive_state state;
    enum drive_then then;
    uint64_t until;
    bool interrupt; /* INTRQ */
    bool silent;    /* this command does not interrupt */
    bool late;
    uint8_t command, fail_error;
    bool fail_device, dma_fault, stuck_drq;
    uint64_t lba, left;
    uint8_t buffer[4096];
    unsigned at, end; /* bytes in the buffer */
    unsigned identify_words, short_words;
    uint16_t short_value;
};

struct machine_channel {
    struct drive drives[2];
    unsigned selected;
    bool
        stays; /* a reset leaves the selection; while it takes its time, all that
                   is written is lost (as in QEMU) */
    uint8_t control;
    uint8_t master_command, master_status;
    uint32_t master_table;
    bool latched; /* the interrupt came */
    uint16_t base, control_port, master_port;
    unsigned irq;
};

struct machine_range {
    unsigned char *host;
    uint64_t physical;
    size_t length;
    bool allocated;
};

struct machine_command {
    unsigned channel, drive;
    uint8_t command;
    uint64_t lba, count;
};

struct machine {
    uint64_t now, seed;
    struct machine_channel channels[2];
    struct machine_range ranges[MACHINE_RANGES];
    unsigned range_count, allocations_left;
    uint64_t next_physical;
    size_t run_max; /* 0: no limit */
    bool no_irq, no_pci;
    uint32_t config_address, config_command;
    struct machine_command log[MACHINE_LOG];
    unsigned commands, entries; /* PRD entries of the last DMA */
    unsigned waits, irqs_done;
    const char *complaint;
    const struct hmm_ide_bus_ops *ops;
};

void machine_init(struct machine *machine, uint64_t seed);
void machine_end(struct machine *machine);
/* Plugs a drive in: 512-byte sectors, LBA48, DMA, a cache.  Byte i of it is
 * machine_byte(i). */
struct drive *machine_plug(struct machine *machine, unsigned channel,
                           unsigned drive, uint64_t sectors);
/* The same with larger sectors. */
struct drive *machine_plug_of(struct machine *machine, unsigned channel,
                              unsigned drive, uint64_t sectors, unsigned shift);
uint8_t machine_byte(uint64_t offset);
void machine_fault(struct drive *drive, enum fault_kind kind, unsigned nth,
                   bool for_ever);
/* Makes memory reachable by DMA at a physical address. */
void machine_memory(struct machine *machine, void *host, uint64_t physical,
                    size_t length);
/* What is not on the medium is lost; of each sector by the toss of a coin if
 * `some'. */
void machine_power_cut(struct machine *machine, struct drive *drive, bool some);
void machine_complain(struct machine *machine, const char *what);
uint64_t machine_random(struct machine *machine, uint64_t below);

/* Between the files. */
void drive_reset(struct machine *machine, struct machine_channel *channel);
void drive_command(struct machine *machine, struct machine_channel *channel,
                   struct drive *drive, uint8_t command);
/* What happens at drive->until. */
void drive_event(struct machine *machine, struct machine_channel *channel,
                 struct drive *drive);
uint16_t drive_get(struct machine *machine, struct drive *drive);
void drive_put(struct machine *machine, struct machine_channel *channel,
               struct drive *drive, uint16_t value);
uint8_t drive_status(const struct machine *machine,
                     const struct machine_channel *channel);
void drive_identify(const struct drive *drive, uint8_t words[512]);
void drive_interrupt(struct machine_channel *channel, struct drive *drive);
/* Runs the bus master, if both sides are ready. */
void master_run(struct machine *machine, struct machine_channel *channel);

#endif
