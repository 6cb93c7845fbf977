/* SPDX-License-Identifier: MIT */
/* Faults: taken from the descriptor by pager threads, or resolved in the signal
 * handler on the thread that faulted.
 *
 * A thread that waits for ever blocks in read() on the descriptor, the cheapest
 * way there is.  Nothing but a fault ends that, so fault_stop makes one: it
 * touches `bell', a page that nobody lends, for as long as `readers' wait.
 * Whoever leaves because of the stop takes itself from `readers' first and then
 * answers the bell; so the thread that rings never waits for nobody.
 *
 * A thread that waits for a time needs poll(), which needs a descriptor that
 * does not block; from the first such wait on all waits are of that kind
 * (`polled'), and `stop_fd' ends them.
 *
 * `faults' says of those that were taken whether their threads were woken since
 * (lending does so): fault_done need not do it again.  A fault for which there
 * was no entry is woken always.  A thread may fault between the call that wakes
 * and the note of it, on a page that has just come and is lent to read: so what
 * is noted is only what waited before the call.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>

#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "backends/linux/abi.h"
#include "lib/base/assert.h"

#define AT_ONCE 16u

int hmm_linux_faults_open(struct hmm_linux_port *port)
{
    int fd = port->uffd.fd[HMM_LINUX_PAGER];
    atomic_store(&port->stopping, 0);
    atomic_store(&port->readers, 0);
    /* The bell would be one more fault that a pager thread has to answer. */
    atomic_store(&port->polled, !!(port->without & HURDMM_LINUX_NO_PAGERS));
    atomic_store(&port->blocking, 0);
    for (unsigned i = 0; i < HMM_LINUX_FAULTS; i++)
        atomic_store(&port->faults[i].word, 0);
    port->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (port->stop_fd < 0)
        return ENOMEM;
    port->bell = mmap(NULL, port->page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (port->bell == MAP_FAILED) {
        (void)close(port->stop_fd);
        port->stop_fd = -1;
        port->bell = NULL;
        return ENOMEM;
    }
    (void)madvise(port->bell, port->page, MADV_DONTFORK);
    int error = hmm_linux_uffd_register(fd, (uintptr_t)port->bell, port->page);
    if (error)
        hmm_linux_faults_close(port);
    return error;
}

void hmm_linux_faults_close(struct hmm_linux_port *port)
{
    hmm_assert(port->bell && port->stop_fd >= 0);
    (void)munmap(port->bell, port->page);
    (void)close(port->stop_fd);
    port->bell = NULL;
    port->stop_fd = -1;
}

/* ---- The entries ---- */

static uintptr_t entry_take(struct hmm_linux_port *port, uintptr_t page)
{
    hmm_assert(page && !(page & HMM_LINUX_FATE));
    for (unsigned i = 0; i < HMM_LINUX_FAULTS; i++) {
        _Atomic uintptr_t *word = &port->faults[i].word;
        uintptr_t free = 0;
        if (!atomic_load_explicit(word, memory_order_relaxed) &&
            atomic_compare_exchange_strong(word, &free, page))
            return i + 1;
    }
    return 0;
}

/* Of the faults that were taken in a range, those of one fate get another. */
static void turn(struct hmm_linux_port *port, uintptr_t address, size_t size,
                 uintptr_t from, uintptr_t to)
{
    for (unsigned i = 0; i < HMM_LINUX_FAULTS; i++) {
        _Atomic uintptr_t *word = &port->faults[i].word;
        uintptr_t old = atomic_load_explicit(word, memory_order_acquire);
        uintptr_t page = old & ~HMM_LINUX_FATE;
        if (page && page - address < size && (old & HMM_LINUX_FATE) == from)
            (void)atomic_compare_exchange_strong(word, &old, page | to);
    }
}

void hmm_linux_waking(struct hmm_linux_port *port, uintptr_t address,
                      size_t size)
{
    turn(port, address, size, 0, HMM_LINUX_WAKING);
}

void hmm_linux_woken(struct hmm_linux_port *port, uintptr_t address,
                     size_t size)
{
    turn(port, address, size, HMM_LINUX_WAKING, HMM_LINUX_WOKEN);
}

/* The lowest page of a fault that was taken in [start, end), or end. */
static uintptr_t next_taken(struct hmm_linux_port *port, uintptr_t start,
                            uintptr_t end)
{
    for (unsigned i = 0; i < HMM_LINUX_FAULTS; i++) {
        uintptr_t page = atomic_load(&port->faults[i].word) & ~HMM_LINUX_FATE;
        if (page && page >= start && page < end)
            end = page;
    }
    return end;
}

void hmm_linux_wake_waiting(struct hmm_linux_port *port, uintptr_t address,
                            size_t size)
{
    uintptr_t end = address + size;
    hmm_assert(size > 0 && size % port->page == 0);
    while (address < end) {
        uintptr_t page = next_taken(port, address, end);
        if (page > address)
            hmm_linux_wake(port->uffd.fd[HMM_LINUX_PAGER], address,
                           page - address);
        address = page + port->page;
    }
}

void hmm_linux_fault_done(struct hurdmm_port *base,
                          const struct hurdmm_fault *fault, int error)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    uintptr_t page = fault->address & ~(uintptr_t)(port->page - 1);
    bool woken = false;
    if (hmm_linux_stale(port))
        return;
    if (fault->token) {
        hmm_assert(fault->token <= HMM_LINUX_FAULTS);
        uintptr_t word =
            atomic_exchange(&port->faults[fault->token - 1].word, 0);
        hmm_assert((word & ~HMM_LINUX_FATE) == page);
        woken = word & HMM_LINUX_WOKEN;
    }
    if (error) {
        atomic_fetch_add(&port->failed, 1);
        hmm_linux_block(port, page, fault->thread, error);
    } else if (!woken) {
        hmm_linux_wake(port->uffd.fd[HMM_LINUX_PAGER], page, port->page);
    }
}

/* ---- Waiting ---- */

static void answer_bell(struct hmm_linux_port *port)
{
    size_t done;
    char *zeros = port->staging.base; /* any page will do */
    (void)hmm_linux_copy(port->uffd.fd[HMM_LINUX_PAGER], (uintptr_t)port->bell,
                         zeros, port->page, false, &done);
    hmm_linux_wake(port->uffd.fd[HMM_LINUX_PAGER], (uintptr_t)port->bell,
                   port->page);
}

static bool convert(struct hmm_linux_port *port, const struct uffd_msg *message,
                    struct hurdmm_fault *fault)
{
    if (message->event != UFFD_EVENT_PAGEFAULT)
        return false;
    uintptr_t address = (uintptr_t)message->arg.pagefault.address;
    if (address - (uintptr_t)port->bell < port->page)
        return false;
    bool write = message->arg.pagefault.flags &
                 (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP);
    uintptr_t page = address & ~(uintptr_t)(port->page - 1);
    *fault = (struct hurdmm_fault){
        .thread = message->arg.pagefault.feat.ptid,
        .address = address,
        .access = write ? HURDMM_WRITE : HURDMM_READ,
        .token = entry_take(port, page),
    };
    return true;
}

/* Reads what there is; 0: nothing, or the bell. */
static size_t read_some(struct hmm_linux_port *port,
                        struct hurdmm_fault *faults, size_t max)
{
    struct uffd_msg messages[AT_ONCE];
    size_t most = max < AT_ONCE ? max : AT_ONCE, count = 0;
    hmm_assert(most > 0);
    ssize_t got = read(port->uffd.fd[HMM_LINUX_PAGER], messages,
                       most * sizeof(messages[0]));
    for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(messages[0]); i++)
        if (convert(port, &messages[i], &faults[count]))
            count++;
    if (count)
        atomic_fetch_add_explicit(&port->fault_count, count,
                                  memory_order_relaxed);
    return count;
}

/* What the descriptor is, for good once somebody has polled: who polls must never
 * be held up in read(), where no stop would look for him.  The lock makes that
 * exact, and is taken once or twice in a port's life. */
static void set_blocking(struct hmm_linux_port *port, bool polled)
{
    int fd = port->uffd.fd[HMM_LINUX_PAGER];
    (void)pthread_mutex_lock(&port->threads.lock);
    if (polled)
        atomic_store(&port->polled, 1);
    bool blocking = !atomic_load(&port->polled);
    (void)fcntl(fd, F_SETFL, blocking ? 0 : O_NONBLOCK);
    atomic_store(&port->blocking, blocking);
    (void)pthread_mutex_unlock(&port->threads.lock);
}

/* Waits in read(), or finds that somebody has polled.  0: a stop, or nothing. */
static size_t wait_blocked(struct hmm_linux_port *port,
                           struct hurdmm_fault *faults, size_t max)
{
    size_t count = 0;
    if (!atomic_load(&port->blocking))
        set_blocking(port, false);
    atomic_fetch_add(&port->readers, 1);
    if (!atomic_load(&port->stopping))
        count = read_some(port, faults, max);
    atomic_fetch_sub(&port->readers, 1);
    if (atomic_load(&port->stopping))
        answer_bell(port);
    return count;
}

/* Waits in poll().  Returns early by up to a millisecond. */
static size_t wait_polled(struct hmm_linux_port *port,
                          struct hurdmm_fault *faults, size_t max,
                          uint64_t timeout_ns)
{
    if (!atomic_load(&port->polled) || atomic_load(&port->blocking))
        set_blocking(port, true);
    struct pollfd polled[2] = {
        {.fd = port->uffd.fd[HMM_LINUX_PAGER], .events = POLLIN},
        {.fd = port->stop_fd, .events = POLLIN},
    };
    struct timespec timeout = {
        .tv_sec = (time_t)(timeout_ns / 1000000000u),
        .tv_nsec = (long)(timeout_ns % 1000000000u),
    };
    (void)ppoll(polled, 2, timeout_ns == HURDMM_FOREVER ? NULL : &timeout,
                NULL);
    if (atomic_load(&port->stopping))
        return 0;
    size_t count = read_some(port, faults, max);
    /* It may be the bell that was read, for which a reader waits. */
    if (atomic_load(&port->stopping))
        answer_bell(port);
    return count;
}

int hmm_linux_fault_wait(struct hurdmm_port *base, struct hurdmm_fault *faults,
                         size_t max, uint64_t timeout_ns, size_t *count)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    uint64_t start_ns = hmm_posix_now(), left_ns = timeout_ns;
    hmm_assert(faults != NULL && max > 0);
    if (hmm_linux_stale(port))
        return ESTALE;
    hmm_linux_place(port);
    for (;;) {
        if (atomic_load(&port->stopping))
            return ECANCELED;
        bool blocked =
            timeout_ns == HURDMM_FOREVER && !atomic_load(&port->polled);
        size_t got = blocked ? wait_blocked(port, faults, max)
                             : wait_polled(port, faults, max, left_ns);
        if (got) {
            *count = got;
            return 0;
        }
        if (timeout_ns == HURDMM_FOREVER)
            continue;
        uint64_t passed_ns = hmm_posix_now() - start_ns;
        if (passed_ns >= timeout_ns)
            return atomic_load(&port->stopping) ? ECANCELED : ETIMEDOUT;
        left_ns = timeout_ns - passed_ns;
    }
}

void hmm_linux_fault_stop(struct hurdmm_port *base)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    uint64_t one = 1;
    if (hmm_linux_stale(port) || atomic_exchange(&port->stopping, 1))
        return;
    hmm_linux_space_stop(port);
    (void)!write(port->stop_fd, &one, sizeof(one));
    while (atomic_load(&port->readers) > 0) {
        (void)*(volatile char *)port->bell;
        (void)madvise(port->bell, port->page, MADV_DONTNEED);
    }
}

/* ---- In the signal handler ---- */

static int resolve_inline(struct hmm_linux_port *port, uintptr_t address,
                          const void *context)
{
    struct hurdmm_fault fault = {
        .thread = hmm_linux_thread_self(&port->posix.base),
        .address = address,
    };
    fault.access =
        hmm_posix_access_decode(&port->posix.access, context, address,
                                port->page, fault.thread, &fault.instruction);
    atomic_fetch_add_explicit(&port->inline_count, 1, memory_order_relaxed);
    hmm_linux_handler_enter();
    int error = port->fault(port->client, &fault);
    hmm_linux_handler_leave();
    if (error)
        atomic_fetch_add(&port->failed, 1);
    return error;
}

int hmm_linux_resolve(struct hmm_posix_port *posix, int signal,
                      uintptr_t address, const void *context)
{
    struct hmm_linux_port *port = (struct hmm_linux_port *)posix;
    uintptr_t page = address & ~(uintptr_t)(port->page - 1);
    /* A child that was made without the handlers of fork. */
    if (!atomic_load_explicit(port->parent, memory_order_relaxed))
        return ENOENT;
    /* The program has unmapped it: else this would be repeated for ever. */
    if (signal == SIGSEGV && (!hmm_linux_ours(port, page, port->page) ||
                              hmm_linux_is_unmapped(page, port->page)))
        return ENOENT;
    if (hmm_posix_ranges_find(&port->inlines, address))
        return atomic_load(&port->stopping)
                   ? ENOENT
                   : resolve_inline(port, address, context);
    hmm_linux_handler_enter();
    int error =
        hmm_linux_blocked(port, page, hmm_linux_thread_self(&port->posix.base));
    hmm_linux_handler_leave();
    return error;
}
