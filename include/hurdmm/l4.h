/* SPDX-License-Identifier: MIT */
/* hurdmm/l4.h - the port to L4 X.2 on x86, for a root task.
 *
 * Who needs this header: root tasks that use the library on L4.  The start code
 * of the backend calls hurdmm_l4_main.  doc/l4.md tells how an image is made
 * and run.
 *
 * Physical memory comes from sigma0, as it is asked for, and is seen by the
 * library at its physical address; that address is what
 * hurdmm_container_physical and the banks of the port say, good for DMA.
 * Regions lie from 1 GiB upwards.  A thread that faults sends its fault to the
 * dispatcher, a thread of the port; so every thread of the task must have been
 * made by it (hurdmm_l4_main's own, thread_start), or belong to a task that was
 * created here.
 *
 * Pages are lent when they are first touched: lend only notes what may be
 * mapped.  Lend and take back as the core does, and nobody can tell.
 */
#ifndef HURDMM_L4_H
#define HURDMM_L4_H

#include <hurdmm/block.h>
#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_l4_options {
    size_t struct_size;
    unsigned flags;    /* none yet: 0 */
    size_t stack_size; /* of the port's threads, in bytes; 0: 32 KiB */
};

/* Makes a port, which is then given to one manager.  `options' may be NULL.
 * EINVAL, ENOMEM (there are four). */
int hurdmm_l4_create(const struct hurdmm_l4_options *options,
                     struct hurdmm_port **port);
/* EBUSY: a manager uses it. */
int hurdmm_l4_destroy(struct hurdmm_port *port);

/* Calls body(argument) and returns 0; when an access in it fails, abandons it
 * there and returns the error of the access.  Without it the thread of the root
 * task whose access fails is reported on the console and stopped, and the
 * system with it.  Nests. */
int hurdmm_l4_try(void (*body)(void *argument), void *argument);

/* Client tasks: address spaces with one thread.  The port must be open. */

struct hurdmm_l4_task;

/* What became of a task. */
enum hurdmm_l4_state {
    HURDMM_L4_READY = 0, /* not started */
    HURDMM_L4_RUNNING = 1,
    HURDMM_L4_EXITED = 2, /* it said so: `value' is what it said */
    HURDMM_L4_FAILED = 3  /* an access failed with `error' at `address', or an
                              exception (error 0) number `value' there */
};

struct hurdmm_l4_status {
    size_t struct_size;
    enum hurdmm_l4_state state;
    int error;
    uint32_t value;
    uintptr_t address;
    uintptr_t instruction;
};

/* EAGAIN: there are too many.  ENOMEM: the kernel has no memory left. */
int hurdmm_l4_task_create(struct hurdmm_port *port,
                          struct hurdmm_l4_task **task);
/* The token to give to hurdmm_space_create. */
void *hurdmm_l4_task_space(struct hurdmm_l4_task *task);
/* Begins at `entry' with this stack pointer; what is there must be bound.
 * EBUSY: it was started before. */
int hurdmm_l4_task_start(struct hurdmm_l4_task *task, uintptr_t entry,
                         uintptr_t stack);
/* Waits until it has exited or failed.  ETIMEDOUT. */
int hurdmm_l4_task_wait(struct hurdmm_l4_task *task, uint64_t timeout_ns,
                        struct hurdmm_l4_status *status);
/* Ends it, also while it waits for a page.  Destroy its space first. */
void hurdmm_l4_task_destroy(struct hurdmm_l4_task *task);

/* Boot modules behind the root task, in the order of the command line. */

struct hurdmm_l4_module {
    const void *start; /* where it lies, physically too */
    size_t size;
    const char *line; /* its command line, "" if unknown */
};

/* ENOENT: there are fewer.  EFAULT: sigma0 does not give its memory. */
int hurdmm_l4_get_module(unsigned index, struct hurdmm_l4_module *module);

/* Disks on the PC's two IDE channels: 0 or 1, each with drive 0 (master) and 1
 * (slave).  *block is then good for block stores, partitions and swap; it does
 * its work on the threads that wait for it, and from hurdmm_block_serve. */

#define HURDMM_L4_DISK_POLL 1u   /* without interrupts */
#define HURDMM_L4_DISK_NO_DMA 2u /* every word by the processor */

/* Takes a disk.  The first of a channel resets it, and its flags and manager are
 * those of the channel; the manager pays for 17 pages of tables and buffers
 * (without them there is no DMA).  EINVAL, EBUSY (open already, or the channel
 * belongs to another manager), ENODEV (no drive, or no medium in it), ENOTSUP
 * (not a disk), ETIMEDOUT, EIO (it does not say what it is). */
int hurdmm_l4_disk_open(struct hurdmm *manager, unsigned channel,
                        unsigned drive, unsigned flags,
                        struct hurdmm_block **block);
/* Gives it back, before its manager goes; nobody uses it any more.  EINVAL, or
 * why what the disk has cached could not be written to its medium. */
int hurdmm_l4_disk_close(struct hurdmm_block *block);

/* What the channel of a disk has done since it was opened. */
struct hurdmm_l4_disk_stats {
    size_t struct_size;
    uint64_t commands;     /* of all kinds */
    uint64_t dma_commands; /* of those */
    uint64_t requests;
    uint64_t sectors_read, sectors_written;
    uint64_t bytes_copied; /* that DMA could not reach */
    uint64_t retries;
    uint64_t interrupts_missed;
};
/* EINVAL: not such a disk. */
int hurdmm_l4_disk_get_stats(struct hurdmm_block *block,
                             struct hurdmm_l4_disk_stats *stats);

/* Writes to the console. */
void hurdmm_l4_print(const char *text);

/* What the image supplies.  The task stops when it returns. */
void hurdmm_l4_main(void);

#ifdef __cplusplus
}
#endif

#endif
