/* SPDX-License-Identifier: MIT */
/* hurdmm/linux.h - the port to Linux by userfaultfd.
 *
 * Frames are numbers; the bytes of a page that is lent are in the region's own
 * private memory, put there and taken away by the kernel in one step.  Faults
 * come in one of two ways, chosen for each binding:
 *
 * - by pager threads (the default), which read them from a descriptor.  Any
 *   store will do.  System calls on absent pages simply work, except where the
 *   system gives an ordinary user only the descriptors that report accesses of
 *   programs themselves: hurdmm_port_describe says so.
 * - inline (HURDMM_BIND_INLINE, hurdmm/region.h), for stores that are
 *   HURDMM_STORE_SIGNAL_SAFE: the faulting thread itself fills the page, in the
 *   handler of SIGBUS.  Faster; but system calls on absent pages give EFAULT:
 *   use hurdmm_pin, hurdmm_populate, hurdmm_read and hurdmm_write.
 *
 * Wired regions (HURDMM_BIND_WIRED, hurdmm/region.h) are there where the kernel
 * has UFFD_FEATURE_WP_ASYNC and PAGEMAP_SCAN (6.7) and /proc can be read:
 * hurdmm_port_describe says whether.  Elsewhere they are ENOTSUP, and the same
 * scans work on ordinary regions.
 *
 * Stores that are HURDMM_STORE_SHARED, and containers, are in shared memory where
 * the system can watch it: so a page is at all its addresses at once, and a lock
 * in it that threads wait for works at each of them.  Elsewhere a page is at the
 * address that was used last.
 *
 * What a program should know:
 *
 * - What hurdmm/posix.h says of signals, of handlers that were there before, of
 *   fork and of accesses that fail is true here too.  A thread that has SIGBUS
 *   blocked dies at its first inline fault.
 * - The program's own madvise(MADV_DONTNEED) on a region discards: the next
 *   access finds what the store has.
 * - The program's own munmap of a region, or of a piece of one, takes its pages
 *   away with what was written to them: accesses are nobody's, calls by address
 *   say ENOENT, and the store's other pages are as they were.  The region is
 *   there until it is unbound, which leaves alone what the program has mapped in
 *   its place; before that, do not map anything there.  A shared store loses
 *   nothing, and unbinding takes the whole range.
 * - mremap of a region moves nothing but what is resident, and what is absent
 *   reads as zeros at the new place: undefined, as is mlock, and closing the
 *   port's descriptors (close_range included), after which absent pages are zeros.
 */
#ifndef HURDMM_LINUX_H
#define HURDMM_LINUX_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Installs no handlers; the program calls hurdmm_posix_handle_signal. */
#define HURDMM_LINUX_HOST_SIGNALS 1u

/* Does without a facility, as on kernels that lack it. */
#define HURDMM_LINUX_NO_DEVICE 0x100u /* /dev/userfaultfd */
#define HURDMM_LINUX_NO_CALL                                                   \
    0x200u                              /* the system call, faults of the kernel
                                        * included */
#define HURDMM_LINUX_NO_USER 0x400u     /* the system call, without those */
#define HURDMM_LINUX_NO_INLINE 0x800u   /* UFFD_FEATURE_SIGBUS */
#define HURDMM_LINUX_NO_POISON 0x1000u  /* UFFDIO_POISON */
#define HURDMM_LINUX_NO_SCATTER 0x2000u /* process_madvise */
#define HURDMM_LINUX_NO_PROC 0x4000u    /* /proc */
#define HURDMM_LINUX_NO_SHARED 0x8000u  /* UFFDIO_CONTINUE in shared memory */

#define HURDMM_LINUX_NO_ASYNC 0x80000u /* UFFD_FEATURE_WP_ASYNC, PAGEMAP_SCAN */

/* No faults go to pager threads: bindings are inline where the store allows it,
 * and ENOTSUP where it does not.  Under tools that run one thread at a time
 * (Valgrind) the port is to be had in this way only, since there a thread that
 * waits for a page would keep the pager from running. */
#define HURDMM_LINUX_NO_PAGERS 0x100000u

/* Pager threads that are useful at most: one for each processor. */
#define HURDMM_LINUX_PAGERS 4u

struct hurdmm_linux_options {
    size_t struct_size;
    unsigned flags;
    size_t stack_size; /* of the port's threads, in bytes; 0: 256 KiB */
};

/* Makes a port, which is then given to one manager.  `options` may be NULL.
 * EINVAL (unknown flags), ENOMEM, ENOTSUP (this machine or user has no
 * userfaultfd that will do: see hurdmm_linux_why_not). */
int hurdmm_linux_create(const struct hurdmm_linux_options *options,
                        struct hurdmm_port **port);
/* EBUSY: a manager uses it.  ESTALE: in a child after fork. */
int hurdmm_linux_destroy(struct hurdmm_port *port);

/* For managers with HURDMM_NO_THREADS: a descriptor that polls as readable while
 * faults wait to be taken.  It belongs to the port: do not read or close it.
 * EINVAL: the port is not open.  ESTALE. */
int hurdmm_linux_get_fd(struct hurdmm_port *port, int *fd);

struct hurdmm_linux_counters {
    size_t struct_size;
    uint64_t faults;         /* taken by pager threads */
    uint64_t faults_inline;  /* taken by the threads that faulted */
    uint64_t failed;         /* ended with an error */
    uint64_t pages_copied;   /* into regions */
    uint64_t pages_gone;     /* the program itself had dropped them */
    uint64_t pages_detached; /* the program itself had unmapped them */
};

/* What happened since the port was made.  Only what fits struct_size, which
 * the caller sets, is written.  EINVAL, ESTALE. */
int hurdmm_linux_get_counters(struct hurdmm_port *port,
                              struct hurdmm_linux_counters *counters);

#ifdef __cplusplus
}
#endif

#endif
