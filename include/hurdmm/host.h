/* SPDX-License-Identifier: MIT */
/* hurdmm/host.h - the ports of this host, by name.
 *
 * For programs that want "a port", or the one that their user named.  Who wants
 * a port's own options uses its header (hurdmm/posix.h, hurdmm/sim.h).
 */
#ifndef HURDMM_HOST_H
#define HURDMM_HOST_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The names of the ports that were built in, best first; NULL: there are no
 * more.  Class: signal. */
const char *hurdmm_host_port_name(unsigned index);

/* Makes the port of that name, with its default options, or with NULL the best
 * that works here; "sim" is never chosen so.  ENOENT (no such name), ENOTSUP
 * (not on this machine), ENOMEM. */
int hurdmm_host_port_create(const char *name, struct hurdmm_port **port);

/* Destroys a port that hurdmm_host_port_create made.  EBUSY: a manager uses
 * it.  EINVAL: not made there.  ESTALE: in a child after fork. */
int hurdmm_host_port_destroy(struct hurdmm_port *port);

/* Writes a line that says what the port is, what it found on this machine, and
 * why better ones were not chosen, ended by a null byte and cut to `size`
 * bytes.  EINVAL (size is 0). */
int hurdmm_port_describe(struct hurdmm_port *port, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif

#endif
