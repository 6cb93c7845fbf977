/* SPDX-License-Identifier: MIT */
/* Accesses that are to fail.
 *
 * The kernel has no call to fail one waiting thread.  So the page is made to
 * fail (poisoned, or where that is not to be had without rights), the thread is
 * woken, meets it, and comes to the signal handler, which finds in `entry' why
 * its access failed and makes the page as it was: absent.  Another thread that
 * meets the page meanwhile finds nothing there with its name and repeats its
 * access.
 *
 * `lock' makes sure that a page is never taken for one that fails when bytes
 * have come in its place: lending holds it, and so does the handler from the
 * look at the entry until the page is absent.  Who has it has its asynchronous
 * signals masked, because their handlers may fault.
 *
 * Where no page fails (`armed' is 0, nearly always) lending does without the
 * lock.  A page that is made to fail meanwhile either has its bytes already and
 * is not poisoned then; or it is poisoned first, and the bytes come only when the
 * handler, which has counted `armed' down afterwards, has dropped the poison.
 *
 * A system call that meets the page gives EFAULT and comes to no handler; then
 * the entry stays for the next access of that thread to that page.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <sched.h>

#include "lib/base/assert.h"

void hmm_linux_blocks_lock(struct hmm_linux_port *port)
{
    while (atomic_flag_test_and_set_explicit(&port->blocks.lock,
                                             memory_order_acquire))
        (void)sched_yield();
}

void hmm_linux_blocks_unlock(struct hmm_linux_port *port)
{
    atomic_flag_clear_explicit(&port->blocks.lock, memory_order_release);
}

/* A page that is there, lent to read, cannot be poisoned: then its rights go. */
static void make_fail(struct hmm_linux_port *port,
                      struct hmm_linux_block *block)
{
    int fd = port->uffd.fd[HMM_LINUX_PAGER];
    hmm_assert(block->page && !block->armed);
    block->poisoned =
        port->uffd.poison && !hmm_linux_poison(fd, block->page, port->page);
    block->armed = block->poisoned ||
                   !mprotect((void *)block->page, port->page, PROT_NONE);
    if (block->armed)
        atomic_fetch_add(&port->blocks.armed, 1);
    else /* its region has gone */
        block->page = 0;
}

/* With the lock: the page fails no more.  The caller has seen to that. */
static void disarm(struct hmm_linux_port *port, struct hmm_linux_block *block)
{
    hmm_assert(block->armed && atomic_load(&port->blocks.armed) > 0);
    block->armed = false;
    atomic_fetch_sub(&port->blocks.armed, 1);
}

/* With the lock: the page is as it was before it was made to fail.  When the port
 * has stopped, nothing in its ranges is to be accessible again. */
static void make_good(struct hmm_linux_port *port,
                      struct hmm_linux_block *block)
{
    void *page = (void *)block->page;
    hmm_assert(block->page && block->armed);
    if (block->poisoned)
        (void)madvise(page, port->page, MADV_DONTNEED);
    else if (!atomic_load(&port->stopping))
        (void)mprotect(page, port->page, PROT_READ | PROT_WRITE);
    disarm(port, block);
}

void hmm_linux_unblock(struct hmm_linux_port *port, uintptr_t address,
                       size_t size)
{
    for (unsigned i = 0; i < HMM_LINUX_BLOCKS; i++) {
        struct hmm_linux_block *block = &port->blocks.entry[i];
        if (!block->armed || block->page - address >= size)
            continue;
        if (block->poisoned)
            disarm(port, block); /* what was lent is in its place */
        else
            make_good(port, block);
    }
}

/* The entry of the page and thread, or one that is free, or an old one. */
static struct hmm_linux_block *entry_for(struct hmm_linux_port *port,
                                         uintptr_t page, uint64_t thread)
{
    struct hmm_linux_blocks *blocks = &port->blocks;
    struct hmm_linux_block *free = NULL;
    for (unsigned i = 0; i < HMM_LINUX_BLOCKS; i++) {
        struct hmm_linux_block *block = &blocks->entry[i];
        if (block->page == page && block->thread == thread)
            return block;
        if (!block->page)
            free = block;
    }
    if (free)
        return free;
    return &blocks->entry[blocks->next++ % HMM_LINUX_BLOCKS];
}

void hmm_linux_block(struct hmm_linux_port *port, uintptr_t page,
                     uint64_t thread, int error)
{
    hmm_assert(error > 0 && page && page % port->page == 0);
    uintptr_t cookie = 0;
    (void)hmm_linux_critical_enter(&port->posix.base, &cookie);
    hmm_linux_blocks_lock(port);
    struct hmm_linux_block *block = entry_for(port, page, thread);
    if (block->armed) /* an old one, or the program has dropped the page */
        make_good(port, block);
    *block = (struct hmm_linux_block){page, thread, error, false, false};
    make_fail(port, block);
    hmm_linux_blocks_unlock(port);
    hmm_linux_critical_leave(&port->posix.base, cookie);
    hmm_linux_wake(port->uffd.fd[HMM_LINUX_PAGER], page, port->page);
}

int hmm_linux_blocked(struct hmm_linux_port *port, uintptr_t page,
                      uint64_t thread)
{
    int error = 0;
    uintptr_t cookie = 0;
    (void)hmm_linux_critical_enter(&port->posix.base, &cookie);
    hmm_linux_blocks_lock(port);
    for (unsigned i = 0; i < HMM_LINUX_BLOCKS; i++) {
        struct hmm_linux_block *block = &port->blocks.entry[i];
        if (block->page != page)
            continue;
        if (block->armed)
            make_good(port, block);
        if (block->thread != thread)
            continue;
        error = block->error;
        block->page = 0;
    }
    hmm_linux_blocks_unlock(port);
    hmm_linux_critical_leave(&port->posix.base, cookie);
    if (!error && atomic_load(&port->stopping))
        return ENOENT;
    return error;
}
