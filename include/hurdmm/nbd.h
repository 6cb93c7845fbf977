/* SPDX-License-Identifier: MIT */
/* hurdmm/nbd.h - network block devices (optional: libhurd-mm-nbd).
 *
 * A block device that another machine, or another process, serves by the NBD
 * protocol.  As memory: hurdmm_block_store_create.  As swap space:
 * hurdmm_swap_create.
 */
#ifndef HURDMM_NBD_H
#define HURDMM_NBD_H

#include <hurdmm/block.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flags. */
#define HURDMM_NBD_READ_ONLY 1u /* writing is EROFS, whatever the server says */
#define HURDMM_NBD_DURABLE                                                     \
    2u /* each write is durable when it is answered,
        * if the server knows how to promise that */

struct hurdmm_nbd_options {
    size_t struct_size;
    const char *uri; /* nbd://HOST/EXPORT, nbd+unix:///EXPORT?socket=...,
                              * or NULL: */
    const char *socket_path; /* a Unix domain socket */
    const char *export_name; /* with socket_path; NULL: the default */
    uint64_t timeout_ns;     /* the longest that any call takes, and that a
                              * connection may take to be made; 0: 10 seconds */
    unsigned retries;        /* attempts to connect again, one after the other,
                              * before calls fail; 0: 3 */
    uint64_t retry_delay_ns; /* between two; 0: 100 milliseconds */
    unsigned in_flight;      /* commands under way at once, 1 to 64; 0: 16 */
    unsigned flags;
};

/* Connects, and makes a device.  A thread of the device's own does the talking.
 *
 * Any number of calls may be under way at once; long ones are split.  When the
 * connection is lost it is made again, and what was not answered is sent again,
 * so that callers see at most a delay.  When it cannot be made, all calls under
 * way fail with EIO; the next call tries again.  A server that does not answer:
 * ETIMEDOUT, and the connection is given up.  A server that comes back with
 * another size, or read-only, is not spoken to: EIO.
 *
 * Writes that were answered but not flushed when a connection was lost may be
 * gone with their server: the next flush then fails with EIO, once, unless
 * HURDMM_NBD_DURABLE holds.
 *
 * EINVAL (options), ENOMEM, EAGAIN (no thread), ENOTSUP (the server's smallest
 * block is larger than 64 KiB), ETIMEDOUT, or why there is no connection:
 * ECONNREFUSED, ENOENT, and the like. */
int hurdmm_nbd_create(const struct hurdmm_nbd_options *options,
                      struct hurdmm_block **block);

/* Ends it.  No call may be under way; requests that are end with ECANCELED, and
 * so does what their `done' submits then.  Waits for those `done's and for the
 * device's thread, so that it must not be called by one of them.  NULL does
 * nothing.  In a child after fork only the child's part of it. */
void hurdmm_nbd_destroy(struct hurdmm_block *block);

struct hurdmm_nbd_stats {
    size_t struct_size;
    uint64_t connections;   /* begun, the first included */
    uint64_t commands;      /* sent, those sent again included */
    uint64_t timeouts;      /* calls that took too long */
    uint64_t failures;      /* calls that failed, those included */
    uint64_t in_flight_max; /* commands under way at once */
};

/* The caller sets stats->struct_size.  EINVAL (not such a device), ESTALE. */
int hurdmm_nbd_get_stats(struct hurdmm_block *block,
                         struct hurdmm_nbd_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
