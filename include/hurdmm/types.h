/* SPDX-License-Identifier: MIT */
/* hurdmm/types.h - words that every other header uses.
 *
 * Functions return 0 or an errno value (never -1, never the variable errno).
 * Results are written through pointers, and only on success unless the comment
 * of a function says otherwise ("amount done" is always written).
 *
 * Ranges are [start, start + length): never inclusive ends.  Offsets into
 * stores and containers are 64-bit bytes, addresses are uintptr_t, amounts of
 * memory are size_t.  A page is the port's base page, asked at run time
 * (hurdmm_page_size); offsets, addresses and lengths are multiples of it
 * where a comment says "page-aligned", else any byte will do.
 *
 * Threading classes named in comments:
 *   any     any thread may call it at any time;
 *   store   as any, and also from inside a store's callbacks;
 *   signal  as any, and also from a signal handler.
 * A function without a class is class "any".  None may be called from a signal
 * handler unless it says "signal".
 *
 * Handles are pointers to structures that only the library sees.  A handle that
 * was destroyed, or that belongs to another manager, gives ESTALE or EINVAL
 * where that can be detected; in a child after fork() every handle is ESTALE.
 */
#ifndef HURDMM_TYPES_H
#define HURDMM_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HURDMM_VERSION_MAJOR 0
#define HURDMM_VERSION_MINOR 1
#define HURDMM_VERSION_PATCH 0

/* The version of the library that is linked, MAJOR << 16 | MINOR << 8 | PATCH.
 * signal class: signal. */
uint32_t hurdmm_version(void);

struct hurdmm;           /* a manager: one instance of the library */
struct hurdmm_port;      /* a platform, made by a backend (hurdmm/port.h) */
struct hurdmm_space;     /* an address space that a manager pages */
struct hurdmm_store;     /* a backing store and its cache */
struct hurdmm_container; /* a name space of byte offsets naming frames */
struct hurdmm_request;
struct hurdmm_writeback; /* a page fault that a full store is answering */

/* Access rights and kinds of access, combined by or. */
#define HURDMM_NONE 0u
#define HURDMM_READ 1u
#define HURDMM_WRITE 2u
#define HURDMM_EXECUTE 4u
#define HURDMM_RIGHTS (HURDMM_READ | HURDMM_WRITE | HURDMM_EXECUTE)

/* Advice for a range, with the meaning that POSIX gives it: it never changes
 * what a later read returns.  READ_ONCE is ours: a page is used once and may
 * go right behind the reader. */
enum hurdmm_advice {
    HURDMM_ADVICE_NORMAL = 0,
    HURDMM_ADVICE_SEQUENTIAL = 1,
    HURDMM_ADVICE_RANDOM = 2,
    HURDMM_ADVICE_WILLNEED = 3,
    HURDMM_ADVICE_DONTNEED = 4,
    HURDMM_ADVICE_READ_ONCE = 5
};

/* A row of pages that were written: hurdmm_region_scan_dirty. */
struct hurdmm_dirty {
    uintptr_t address;
    size_t length;
};

/* Flags of the destroy functions. */
#define HURDMM_DETACH 1u /* take away what is still bound or open first */
#define HURDMM_DROP 2u   /* do not write dirty pages back: they are lost */

/* A timeout that never comes, and a frame number that names no frame. */
#define HURDMM_FOREVER UINT64_MAX
#define HURDMM_FRAME_NONE UINT32_MAX

#ifdef __cplusplus
}
#endif

#endif
