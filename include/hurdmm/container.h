/* SPDX-License-Identifier: MIT */
/* hurdmm/container.h - physical memory by name: byte offsets naming frames.
 *
 * A container is a sparse 64-bit name space of pages, each naming a frame or
 * nothing.  Its frames are held by the library, count against the manager's
 * budget and are never evicted.  The cache of every store is a container too.
 */
#ifndef HURDMM_CONTAINER_H
#define HURDMM_CONTAINER_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An empty container.  ENOMEM, ESTALE.  Class: store. */
int hurdmm_container_create(struct hurdmm *manager,
                            struct hurdmm_container **container);
/* Frees all its frames.  ESTALE.  Class: store. */
int hurdmm_container_destroy(struct hurdmm_container *container);

/* Gives the page-aligned range frames of its own, zeroed.  Stops at the first
 * page that has one (EEXIST) or when memory ends (ENOMEM); with
 * HURDMM_ALL_OR_NONE it then changes nothing.  *done (bytes) is always written;
 * the error is for the first byte not done.  EINVAL, ESTALE.  Class: store. */
#define HURDMM_ALL_OR_NONE 1u
int hurdmm_container_allocate(struct hurdmm_container *container,
                              uint64_t offset, uint64_t length, unsigned flags,
                              uint64_t *done);
/* Gives back every frame in the page-aligned range; holes are ignored.
 * EINVAL, ESTALE.  Class: store. */
int hurdmm_container_release(struct hurdmm_container *container,
                             uint64_t offset, uint64_t length);

/* Any bytes.  Stops at the first hole (ENOENT).  *done is always written.
 * EINVAL, ESTALE.  Class: store. */
int hurdmm_container_read(struct hurdmm_container *container, uint64_t offset,
                          void *buffer, size_t length, size_t *done);
int hurdmm_container_write(struct hurdmm_container *container, uint64_t offset,
                           const void *buffer, size_t length, size_t *done);

#ifdef __cplusplus
}
#endif

#endif
