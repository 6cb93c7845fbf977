/* SPDX-License-Identifier: MIT */
/* hurdmm/posix.h - the port to POSIX systems.
 *
 * Physical memory is one memory object, mapped once, privately, for the
 * library.  Lending a frame maps its page of the object at the application's
 * address; taking it back maps nothing there, so that the next access raises
 * SIGSEGV or SIGBUS.  The handler of these signals hands the fault over to a
 * thread in fault_wait and sleeps until it is done.
 *
 * What a program should know:
 *
 * - System calls do not fault: read(2) into a page that is not there answers
 *   EFAULT.  Populate or pin it first, or read through the store's cache.
 * - While a thread waits for a page, its asynchronous signals wait too; no
 *   handler of theirs can jump out of the access.  A page that never comes is
 *   left by SIGKILL only.
 * - A fault that is not ours goes to the handler that was there before, with
 *   the mask and flags that it was installed with.  The exception is
 *   SA_ONSTACK: ours always runs on the thread's alternate stack where it has
 *   one, and so does what it calls.
 * - An access that fails is passed on in the same way, as SIGSEGV (EFAULT,
 *   EACCES, EPERM) or SIGBUS (any other error), with the address in si_addr and
 *   the error in si_errno.  Where nothing handles it the process dies of that
 *   signal at that instruction.
 * - Who installs a handler over ours must pass on what is not theirs, or own
 *   the signals (HURDMM_POSIX_HOST_SIGNALS).  The last port to close puts the
 *   old handlers back only where ours are still on top; else ours stay, do
 *   nothing but pass on, and are taken up again by the next port, which trusts
 *   that whoever is above still passes on to them.
 * - A thread that has SIGSEGV or SIGBUS blocked dies at its first fault.
 * - After fork() the child has none of it: regions are inaccessible (SIGSEGV),
 *   ports and what was made with them answer ESTALE.  New ports can be made.
 * - Under Valgrind run with --px-default=allregs-at-mem-access.
 */
#ifndef HURDMM_POSIX_H
#define HURDMM_POSIX_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Installs no handlers; the program calls hurdmm_posix_handle_signal. */
#define HURDMM_POSIX_HOST_SIGNALS 1u
/* Never waits actively.  Else both sides of a hand-over look for each other for
 * some 50 us before they sleep, as long as that has paid off lately: waking a
 * thread on another processor takes longer. */
#define HURDMM_POSIX_NO_SPIN 2u

struct hurdmm_posix_options {
    size_t struct_size;
    unsigned flags;
    size_t stack_size; /* of the port's threads, in bytes; 0: 256 KiB */
};

/* Makes a port, which is then given to one manager.  `options` may be NULL.
 * EINVAL (unknown flags), ENOMEM. */
int hurdmm_posix_create(const struct hurdmm_posix_options *options,
                        struct hurdmm_port **port);

/* EBUSY: a manager uses it.  ESTALE: in a child after fork. */
int hurdmm_posix_destroy(struct hurdmm_port *port);

/* For programs that own SIGSEGV and SIGBUS: call it first in the handler, with
 * the handler's arguments, of which `info' is a siginfo_t.  The handler needs
 * SA_SIGINFO, SA_NODEFER and a mask of all asynchronous signals.  One call is
 * good for all ports of the process.
 * 0: it was ours and is resolved; return from the handler.  ENOENT: it is
 * nobody's here.  Another error: it was ours, and that is why the access fails.
 * Class: signal. */
int hurdmm_posix_handle_signal(int signal, void *info, void *context);

/* For managers with HURDMM_NO_THREADS: a descriptor that polls as readable while
 * faults wait to be taken by fault_wait; it may do so once without one.  It
 * belongs to the port: do not read or close it.
 * EINVAL: the port is not open.  EMFILE, ENFILE, ESTALE. */
int hurdmm_posix_get_fd(struct hurdmm_port *port, int *fd);

struct hurdmm_posix_counters {
    size_t struct_size;
    uint64_t faults;    /* handed over */
    uint64_t failed;    /* ended with an error */
    uint64_t deadlocks; /* of these: the last free pager thread had faulted */
    uint64_t sleeps;    /* faults whose thread slept */
    uint64_t mappings_short; /* lend or reclaim met the limit of mappings */
};

/* What happened since the port was opened.  Only what fits struct_size, which
 * the caller sets, is written.  EINVAL, ESTALE. */
int hurdmm_posix_get_counters(struct hurdmm_port *port,
                              struct hurdmm_posix_counters *counters);

#ifdef __cplusplus
}
#endif

#endif
