/* SPDX-License-Identifier: MIT */
/* The process's share of the port: the list of ports that the signal handler
 * reads, the handlers of SIGSEGV and SIGBUS, and fork.
 *
 * The list is an array of slots.  A reader counts itself in, looks at the port,
 * and counts itself out when it has done with it, which is after the fault.
 * detach takes the port out and waits for the readers.  `registry' protects
 * everything that the handler does not read.
 *
 * `previous' is written before our handler is installed, and not while it may
 * run.
 *
 * In the handler all asynchronous signals are masked: while a fault is being
 * answered, nothing may jump out of the frame that holds its record (queue.c).
 * SIGSEGV and SIGBUS are not: the handlers that it passes on to may fault.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include <ucontext.h>

#include "lib/base/assert.h"

#define PORTS_MAX 64u

struct slot {
    _Atomic(struct hmm_posix_port *) port;
    atomic_uint readers;
};

static struct slot slots[PORTS_MAX];
static atomic_uint slots_used;

/* What was there before us. */
struct previous {
    struct sigaction action;
    atomic_uint reset; /* SA_RESETHAND has come true: it is the default now */
};

static const int signals[] = {SIGSEGV, SIGBUS};

#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct previous previous[SIGNALS];

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static unsigned users;       /* ports that need the handlers */
static bool buried[SIGNALS]; /* ours was left below somebody else's */
static bool fork_is_watched;
static atomic_uint forks;

unsigned hmm_posix_forks(void)
{
    return atomic_load(&forks);
}

/* ---- Faults that are ours ---- */

/* The slot of the port that has the address, counted in; NULL: nobody's. */
static struct slot *find(uintptr_t address)
{
    unsigned used = atomic_load(&slots_used);
    for (unsigned i = 0; i < used; i++) {
        atomic_fetch_add(&slots[i].readers, 1);
        struct hmm_posix_port *port = atomic_load(&slots[i].port);
        if (port && hmm_posix_ranges_find(&port->ranges, address))
            return &slots[i];
        atomic_fetch_sub(&slots[i].readers, 1);
    }
    return NULL;
}

static int resolve(struct hmm_posix_port *port, int signal, uintptr_t address,
                   const void *context)
{
    if (port->hooks)
        return port->hooks->resolve(port, signal, address, context);
    /* A child that was made without the handlers of fork has nobody who would
     * answer. */
    if (port->pid != getpid())
        return ENOENT;
    struct hurdmm_fault fault = {.thread = hmm_posix_thread_id(),
                                 .address = address};
    fault.access = hmm_posix_access_decode(&port->access, context, address,
                                           port->memory.page, fault.thread,
                                           &fault.instruction);
    if (fault.access == HURDMM_NONE)
        return 0;
    int error = hmm_posix_queue_wait_for(&port->queue, &fault);
    return error == HMM_POSIX_NOBODY ? ENOENT : error;
}

/* Was it the processor, at an instruction, because of rights or of what backs
 * the page?  Not: kill(), alignment, broken memory, protection keys. */
static bool is_fault(int signal, const siginfo_t *info)
{
    if (signal == SIGSEGV)
        return info->si_code == SEGV_MAPERR || info->si_code == SEGV_ACCERR;
    return signal == SIGBUS &&
           (info->si_code == BUS_ADRERR || info->si_code == BUS_OBJERR);
}

/* Memory that is broken, or that a port with hooks made so. */
static bool is_broken(int signal, const siginfo_t *info)
{
#ifdef BUS_MCEERR_AR
    return signal == SIGBUS && info->si_code == BUS_MCEERR_AR;
#else
    (void)signal;
    (void)info;
    return false;
#endif
}

int hurdmm_posix_handle_signal(int signal, void *siginfo, void *context)
{
    const siginfo_t *info = siginfo;
    bool broken = info && is_broken(signal, info);
    if (!info || !context || (!broken && !is_fault(signal, info)))
        return ENOENT;
    int saved = errno;
    int error = ENOENT;
    uintptr_t address = (uintptr_t)info->si_addr;
    struct slot *slot = find(address);
    if (slot) {
        struct hmm_posix_port *port = atomic_load(&slot->port);
        if (!broken || port->hooks)
            error = resolve(port, signal, address, context);
        atomic_fetch_sub(&slot->readers, 1);
    }
    errno = saved;
    return error;
}

/* ---- Faults that are passed on ---- */

/* As if nothing handled the signal.  If `natural', the instruction raises it
 * again when it is repeated. */
static void die(int signal, bool natural)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    (void)sigaction(signal, &action, NULL);
    if (natural)
        return;
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, signal);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    (void)raise(signal);
}

/* One past the last signal.  Asking for more does no harm. */
#ifndef NSIG
#define NSIG 129
#endif

/* The mask that the system would have given this handler. */
static void mask_for(const struct sigaction *action, int signal,
                     const ucontext_t *context)
{
    sigset_t set = context->uc_sigmask;
    for (int i = 1; i < NSIG; i++)
        if (sigismember(&action->sa_mask, i) == 1)
            (void)sigaddset(&set, i);
    if (!(action->sa_flags & SA_NODEFER))
        (void)sigaddset(&set, signal);
    (void)pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void call(const struct sigaction *action, int signal, siginfo_t *info,
                 void *context)
{
    mask_for(action, signal, context);
    if (action->sa_flags & SA_SIGINFO)
        action->sa_sigaction(signal, info, context);
    else
        action->sa_handler(signal);
}

/* error: why an access to our memory failed, 0: it is none of ours. */
static void pass_on(int signal, int error, siginfo_t *info, void *context)
{
    siginfo_t failed = *info;
    bool is_ours = error != 0;
    if (is_ours) {
        bool rights = error == EFAULT || error == EACCES || error == EPERM;
        signal = rights ? SIGSEGV : SIGBUS;
        failed.si_signo = signal;
        failed.si_code = rights ? SEGV_ACCERR : BUS_ADRERR;
        failed.si_errno = error;
        info = &failed;
    }
    struct previous *before = &previous[signal == SIGBUS];
    const struct sigaction *action = &before->action;
    bool fault = is_ours || is_fault(signal, info);
    bool handled =
        action->sa_flags & SA_SIGINFO ||
        (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN);
    if (handled && action->sa_flags & (int)SA_RESETHAND)
        handled = !atomic_exchange(&before->reset, 1);
    else if (!handled && action->sa_handler == SIG_IGN && !fault &&
             info->si_code <= 0)
        return;
    if (handled)
        call(action, signal, info, context);
    else
        die(signal, fault && !is_ours);
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    int error = hurdmm_posix_handle_signal(signal, info, context);
    if (error)
        pass_on(signal, error == ENOENT ? 0 : error, info, context);
    errno = saved;
}

/* ---- Installing ---- */

static bool is_ours_on_top(const struct sigaction *action)
{
    return action->sa_flags & SA_SIGINFO && action->sa_sigaction == on_signal;
}

static int install_one(unsigned i)
{
    struct sigaction now;
    if (sigaction(signals[i], NULL, &now))
        return errno;
    if (is_ours_on_top(&now) || buried[i])
        return 0;
    previous[i].action = now;
    atomic_store(&previous[i].reset, 0);
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    hmm_posix_asynchronous(&action.sa_mask);
    return sigaction(signals[i], &action, NULL) ? errno : 0;
}

static void uninstall_one(unsigned i)
{
    struct sigaction now;
    if (sigaction(signals[i], NULL, &now))
        return;
    buried[i] = !is_ours_on_top(&now);
    if (buried[i])
        return;
    struct sigaction action = previous[i].action;
    if (atomic_load(&previous[i].reset)) {
        action.sa_flags = 0;
        action.sa_handler = SIG_DFL;
    }
    (void)sigaction(signals[i], &action, NULL);
}

static int install(void)
{
    if (users++)
        return 0;
    for (unsigned i = 0; i < SIGNALS; i++) {
        int error = install_one(i);
        if (!error)
            continue;
        while (i-- > 0)
            uninstall_one(i);
        users--;
        return error;
    }
    return 0;
}

static void uninstall(void)
{
    hmm_assert(users > 0);
    if (--users)
        return;
    for (unsigned i = 0; i < SIGNALS; i++)
        uninstall_one(i);
}

/* ---- Fork ---- */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&registry);
    for (unsigned i = 0; i < atomic_load(&slots_used); i++) {
        struct hmm_posix_port *port = atomic_load(&slots[i].port);
        if (port)
            hmm_posix_ranges_lock(&port->ranges);
    }
}

static void after_fork(void)
{
    for (unsigned i = 0; i < atomic_load(&slots_used); i++) {
        struct hmm_posix_port *port = atomic_load(&slots[i].port);
        if (port)
            hmm_posix_ranges_unlock(&port->ranges);
    }
    (void)pthread_mutex_unlock(&registry);
}

/* The child keeps the handlers, which pass everything on, and no ports. */
static void in_child(void)
{
    atomic_fetch_add(&forks, 1);
    hmm_posix_word_forked();
    for (unsigned i = 0; i < atomic_load(&slots_used); i++) {
        struct hmm_posix_port *port = atomic_load(&slots[i].port);
        if (port)
            hmm_posix_forked(port);
        atomic_store(&slots[i].port, NULL);
        atomic_store(&slots[i].readers, 0);
    }
    users = 0;
    (void)pthread_mutex_unlock(&registry);
}

/* ---- The list ---- */

static int slot_add(struct hmm_posix_port *port)
{
    for (unsigned i = 0; i < PORTS_MAX; i++) {
        if (atomic_load(&slots[i].port) || atomic_load(&slots[i].readers))
            continue;
        atomic_store(&slots[i].port, port);
        if (i >= atomic_load(&slots_used))
            atomic_store(&slots_used, i + 1);
        return 0;
    }
    return ENOMEM;
}

static void slot_remove(struct hmm_posix_port *port)
{
    for (unsigned i = 0; i < PORTS_MAX; i++) {
        if (atomic_load(&slots[i].port) != port)
            continue;
        atomic_store(&slots[i].port, NULL);
        while (atomic_load(&slots[i].readers))
            (void)sched_yield();
        return;
    }
}

static int attach_locked(struct hmm_posix_port *port, bool with_handlers)
{
    if (!fork_is_watched && pthread_atfork(before_fork, after_fork, in_child))
        return ENOMEM;
    fork_is_watched = true;
    int error = slot_add(port);
    if (error || !with_handlers)
        return error;
    error = install();
    if (error)
        slot_remove(port);
    return error;
}

int hmm_posix_signal_attach(struct hmm_posix_port *port, bool with_handlers)
{
    (void)pthread_mutex_lock(&registry);
    int error = attach_locked(port, with_handlers);
    (void)pthread_mutex_unlock(&registry);
    return error;
}

void hmm_posix_signal_detach(struct hmm_posix_port *port, bool with_handlers)
{
    (void)pthread_mutex_lock(&registry);
    slot_remove(port);
    if (with_handlers)
        uninstall();
    (void)pthread_mutex_unlock(&registry);
}
