/* SPDX-License-Identifier: MIT */
/* hurdmm/space.h - address spaces that a manager pages.
 *
 * A manager has its own process's space from the start.  Ports with
 * HURDMM_PORT_SPACES can page others: client tasks, simulated spaces.
 */
#ifndef HURDMM_SPACE_H
#define HURDMM_SPACE_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The space of the process that runs the manager.  It lives as long as the
 * manager.  NULL for a stale handle. */
struct hurdmm_space *hurdmm_space_own(struct hurdmm *manager);

/* Begins paging the space that the port knows as `token`, which stays the
 * caller's.  EEXIST (paged already), ENOTSUP (this port has only its own), EINVAL
 * (no token), ENOMEM, ESTALE, or what the port says. */
int hurdmm_space_create(struct hurdmm *manager, void *token,
                        struct hurdmm_space **space);

/* Ends it.  EBUSY while regions are bound (unless HURDMM_DETACH) or pages in it are
 * pinned, and for the manager's own space.  ESTALE, EINVAL; on error nothing is
 * changed. */
int hurdmm_space_destroy(struct hurdmm_space *space, unsigned flags);

/* The manager that it was made with.  The handle must not be stale. */
struct hurdmm *hurdmm_space_manager(const struct hurdmm_space *space);

#ifdef __cplusplus
}
#endif

#endif
