/* SPDX-License-Identifier: MIT */
/* Pieces of ranges that the program itself has unmapped.
 *
 * Nobody tells us: the event that the kernel has for it would stop whoever
 * evicts.  It shows when a call on the descriptor says ENOENT, or in the handler
 * of SIGSEGV, or when a range is about to be dropped or given back.  Then what
 * is not ours any more is *detached*: it leaves the tables of ranges, so that
 * accesses to it are nobody's, and whatever the program has mapped there since
 * is neither read, nor dropped, nor unmapped.
 *
 * Whose a range is, is asked by UFFDIO_CONTINUE, which does nothing to private
 * memory: EINVAL, it is registered, all of it in one piece; ENOENT, it is not.
 * (Kernels without that call say EINVAL always: there ranges are ours until
 * another call fails.)
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <sched.h>

#include <sys/ioctl.h>

#include "backends/linux/abi.h"
#include "lib/base/assert.h"

bool hmm_linux_ours(struct hmm_linux_port *port, uintptr_t address, size_t size)
{
    struct hmm_uffdio_continue range = {.start = address, .length = size};
    hmm_assert(size > 0 && size % port->page == 0);
    /* There the call would do what it says. */
    if (hmm_linux_shown(port, address))
        return hmm_linux_shown(port, address + (size - 1));
    while (ioctl(port->uffd.fd[HMM_LINUX_PAGER], HMM_UFFDIO_CONTINUE, &range)) {
        if (errno != EAGAIN)
            return errno != ENOENT;
        (void)sched_yield();
    }
    return true;
}

/* Nothing is mapped in it at all: then a new mapping has room. */
bool hmm_linux_is_unmapped(uintptr_t address, size_t size)
{
    hmm_assert(size > 0);
    void *there =
        mmap((void *)address, size, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
             -1, 0);
    if (there == MAP_FAILED)
        return false;
    (void)munmap(there, size);
    return (uintptr_t)there == address;
}

/* By halves: what is in one piece costs one call, however large it is. */
void hmm_linux_sort_out(struct hmm_linux_port *port, uintptr_t address,
                        size_t size, hmm_linux_piece *ours,
                        hmm_linux_piece *strange)
{
    hmm_linux_piece *found = NULL;
    size_t half = size / 2 / port->page * port->page;
    hmm_assert(size > 0 && (half > 0 || size == port->page));
    if (hmm_linux_ours(port, address, size)) {
        found = ours;
    } else if (!half || hmm_linux_is_unmapped(address, size)) {
        found = strange;
    } else {
        hmm_linux_sort_out(port, address, half, ours, strange);
        hmm_linux_sort_out(port, address + half, size - half, ours, strange);
        return;
    }
    if (found)
        found(port, address, size);
}

/* A table that cannot grow keeps the piece: then accesses to it fail one by one,
 * as they would otherwise. */
static void forget(struct hmm_linux_port *port, uintptr_t address, size_t size)
{
    if (hmm_posix_ranges_find(&port->posix.ranges, address))
        atomic_fetch_add(&port->detached, size / port->page);
    (void)hmm_posix_ranges_remove(&port->tracked, address, address + size);
    (void)hmm_posix_ranges_remove(&port->inlines, address, address + size);
    (void)hmm_posix_ranges_remove(&port->posix.ranges, address, address + size);
}

void hmm_linux_detach(struct hmm_linux_port *port, uintptr_t address,
                      size_t size)
{
    hmm_assert(port->posix.opened);
    hmm_posix_ranges_lock(&port->posix.ranges);
    hmm_linux_sort_out(port, address, size, NULL, forget);
    hmm_posix_ranges_unlock(&port->posix.ranges);
}
