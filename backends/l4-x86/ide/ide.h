/* SPDX-License-Identifier: MIT */
/*
 * A driver for IDE disks: what its user gives and gets.
 *
 * The driver reaches the hardware through a table of port operations alone, so
 * the same code runs a PC's controller and a simulated one.  It allocates
 * nothing but DMA memory, through that table; its structures are the user's, and
 * stay where they are while disks are open.
 *
 * Use: fill struct hmm_ide_options, find the ports (hmm_ide_find, or the
 * standard ones), hmm_ide_init, hmm_ide_disk_open for each drive there may be,
 * and give &disk.block to whoever wants a block device.
 *
 * Threads.  Any number may use the disks at once if the table has lock, unlock,
 * park and wake.  Whoever waits for a disk does the channel's work meanwhile, so
 * the driver needs no thread of its own; for requests that nobody waits for, a
 * thread that calls hurdmm_block_serve or hmm_ide_serve.
 */
#ifndef HMM_IDE_H
#define HMM_IDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hurdmm/block.h>

/* `bus' is the first argument of all.  Those that say so may be NULL. */
struct hmm_ide_bus_ops {
    size_t struct_size;
    uint8_t (*in8)(void *bus, uint16_t port);
    uint16_t (*in16)(void *bus, uint16_t port);
    uint32_t (*in32)(void *bus, uint16_t port);
    void (*out8)(void *bus, uint16_t port, uint8_t value);
    void (*out16)(void *bus, uint16_t port, uint16_t value);
    void (*out32)(void *bus, uint16_t port, uint32_t value);
    /* `count' 16-bit words in a row: rep insw, rep outsw.  Memory is aligned
     * to 2. */
    void (*in16s)(void *bus, uint16_t port, void *memory, size_t count);
    void (*out16s)(void *bus, uint16_t port, const void *memory, size_t count);

    /* Waits at least so long. */
    void (*delay)(void *bus, uint64_t ns);
    /* Nanoseconds, never going back. */
    uint64_t (*clock)(void *bus);

    /* Returns 0 when the interrupt came, also when that was before the call but
     * after the last one that returned 0: none is lost.  More than came is no
     * harm.  ETIMEDOUT; any other error: there are no interrupts, the driver
     * polls.  NULL: as that. */
    int (*wait_irq)(void *bus, unsigned irq, uint64_t timeout_ns);
    /* The device has been told: the line may interrupt again.  Called once for
     * each wait_irq that returned 0, from the same thread.  May be NULL. */
    void (*irq_done)(void *bus, unsigned irq);

    /* DMA; any may be NULL: then there is none. */
    /* Memory whose physical addresses are consecutive, begin at a multiple of
     * `align', lie below `limit' and cross no multiple of `boundary'. */
    int (*dma_allocate)(void *bus, size_t size, uint64_t align,
                        uint64_t boundary, uint64_t limit, void **memory,
                        uint64_t *physical);
    void (*dma_free)(void *bus, void *memory, size_t size);
    /* Where memory lies, and how far it goes on so: *run is at least 1 and at
     * most `length'.  It stays there until the transfer has ended.  An error:
     * not known; the driver copies. */
    int (*dma_address)(void *bus, const void *memory, size_t length,
                       uint64_t *physical, size_t *run);

    /* Threads: all four, or none of them.  lock and unlock bracket a few lines
     * without I/O.  park sleeps while *word == expected, may return early. */
    void (*lock)(void *bus);
    void (*unlock)(void *bus);
    int (*park)(void *bus, uint32_t *word, uint32_t expected,
                uint64_t timeout_ns);
    void (*wake)(void *bus, uint32_t *word); /* all that are parked on it */
    /* Who was woken may go first, that the drive does not wait for us.  May be
     * NULL. */
    void (*yield)(void *bus);
};

#define HMM_IDE_POLL 1u     /* do not use interrupts */
#define HMM_IDE_NO_DMA 2u   /* nor DMA */
#define HMM_IDE_NO_MERGE 4u /* a command for each request */
#define HMM_IDE_SERVED 8u   /* a thread is in hmm_ide_serve for each channel */

/* 0 in a member but ops and bus is its default. */
struct hmm_ide_options {
    size_t struct_size;
    const struct hmm_ide_bus_ops *ops;
    void *bus;
    unsigned flags;
    unsigned attempts;    /* at a command; 3 */
    unsigned sectors_max; /* in a command; 2048, and what the drive takes */
    uint64_t command_ns;  /* for a command to get on; 5 s */
    uint64_t flush_ns;    /* for a flush; 30 s */
    uint64_t reset_ns;    /* for drives to come back from a reset; 31 s */
};

/* Where a channel is. */
struct hmm_ide_ports {
    uint16_t command; /* the first of eight */
    uint16_t control; /* alternate status and device control */
    uint16_t master;  /* the channel's bus-master registers; 0: none */
    unsigned irq;
};

struct hmm_ide;
struct hmm_ide_disk;

struct hmm_ide_stats {
    uint64_t commands; /* of all kinds */
    uint64_t requests; /* that were done */
    uint64_t merged;   /* of those, without a command of their own */
    uint64_t sectors_read, sectors_written;
    uint64_t dma_commands;
    uint64_t bytes_copied; /* that DMA could not reach */
    uint64_t retries, resets;
    uint64_t interrupts_missed, interrupts_spurious;
};

/* Two drives on one cable.  All of it is the driver's. */
struct hmm_ide_channel {
    struct hmm_ide *ide;
    struct hmm_ide_ports ports;
    struct hmm_ide_disk *disks[2];
    struct hmm_ide_stats stats;
    bool ready;      /* was reset */
    bool polled;     /* interrupts are not used (any more) */
    unsigned missed; /* interrupts, in a row */

    unsigned char *table; /* PRD entries; NULL: no DMA */
    uint64_t table_physical;
    unsigned char *bounce;
    uint64_t bounce_physical;
    unsigned entries; /* in use */
    bool bounced;     /* some of them name the bounce buffer */

    struct hurdmm_block_request *first, *last; /* the queue */
    bool busy;                                 /* somebody is at it */
    unsigned claims;                           /* threads that wait for it */
    uint32_t turn; /* see queue.c; what waits for the channel parks on it */
    _Alignas(4) unsigned char sector[4096];
};

struct hmm_ide {
    struct hmm_ide_options options;
    struct hmm_ide_channel channels[2];
};

struct hmm_ide_disk {
    struct hurdmm_block block; /* first */
    struct hmm_ide_channel *channel;
    unsigned drive; /* 0: master, 1: slave */
    unsigned shift; /* of the sector size */
    uint64_t sectors;
    bool gone; /* it does not answer any more: ENODEV for ever */
    bool lba48, dma, cached, flush, flush_ext;
    unsigned dma_failures; /* that PIO made good, in a row */
    char model[41], serial[21];
};

/* The two channels of every PC, without bus master. */
void hmm_ide_standard_ports(struct hmm_ide_ports ports[2]);
/* Looks for an IDE controller on PCI bus 0, lets it master the bus, and says
 * where its channels are.  ENODEV: there is none. */
int hmm_ide_find(const struct hmm_ide_bus_ops *ops, void *bus,
                 struct hmm_ide_ports ports[2]);

/* Begins: nothing is done to the hardware.  A channel whose `command' is 0 is
 * not there.  EINVAL. */
int hmm_ide_init(struct hmm_ide *ide, const struct hmm_ide_options *options,
                 const struct hmm_ide_ports ports[2]);
/* Ends it, after the disks were closed: gives DMA memory back.  EBUSY. */
int hmm_ide_end(struct hmm_ide *ide);

/* Looks for a disk and takes it.  The first on a channel resets it; the other may
 * be in use meanwhile.  Not from a request's `done'.  EINVAL,
 * EBUSY (open already), ENODEV (no drive, or no medium in it), ENOTSUP (not a
 * disk, or one without LBA), ETIMEDOUT, EIO (it does not say what it is). */
int hmm_ide_disk_open(struct hmm_ide *ide, unsigned channel, unsigned drive,
                      struct hmm_ide_disk *disk);
/* Gives it back; nobody uses it any more.  What it has cached is flushed: the
 * error of that. */
int hmm_ide_disk_close(struct hmm_ide_disk *disk);

/* As hurdmm_block_serve, for both drives of a channel, also where none is open:
 * ETIMEDOUT, also when others did the work, or hmm_ide_rouse was called. */
int hmm_ide_serve(struct hmm_ide *ide, unsigned channel, uint64_t timeout_ns);
/* Whoever waits in hmm_ide_serve for something to do returns. */
void hmm_ide_rouse(struct hmm_ide *ide, unsigned channel);

#endif /* HMM_IDE_H */
