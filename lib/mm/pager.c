/* SPDX-License-Identifier: MIT */
/* pager.c - the library's threads: pagers, and one for background work.
 *
 * A pager takes one fault at a time, so that the others share what comes while
 * it is inside a store.  With HURDMM_NO_THREADS the host does all of this on a
 * thread of its own by hurdmm_process.
 *
 * No thread holds the lock while it waits.  The end: fault_stop has fault_wait say
 * ECANCELED to each pager, then and from then on; `stopping' is set under the lock,
 * before the signal, and the background thread takes its ticket under the lock
 * before it looks, so that it cannot miss it.
 */
#include "lib/mm/mm.h"

#define PAGERS_DEFAULT 2u
#define PAGERS_MAX 64u

static void pager(void *argument)
{
    struct hurdmm *manager = argument;
    struct hurdmm_fault fault;
    size_t count;

    /* Other errors are of the moment: the port says when it is over. */
    for (;;) {
        int err = manager->ops->fault_wait(manager->port, &fault, 1,
                                           HURDMM_FOREVER, &count);
        if (err == ECANCELED)
            return;
        if (!err && count == 1)
            hmm_fault_serve(manager, &fault);
    }
}

static void background(void *argument)
{
    struct hurdmm *manager = argument;
    bool stopping = false;

    while (!stopping) {
        if (hmm_enter(manager))
            return;
        uint32_t ticket = hmm_event_ticket(&manager->work);
        bool more = hmm_background(manager) || manager->work_due;
        stopping = manager->stopping;
        hmm_leave(manager);
        if (!more && !stopping)
            hmm_event_wait(&manager->work, ticket, &manager->parker,
                           HURDMM_FOREVER);
    }
}

static int start(struct hurdmm *manager, void (*entry)(void *))
{
    int err =
        manager->ops->thread_start(manager->port, entry, manager,
                                   &manager->threads[manager->thread_count]);

    if (!err)
        manager->thread_count++;
    return err;
}

/* All of them, or none: on an error those that run are stopped again.  Nobody else
 * knows the manager yet. */
int hmm_threads_start(struct hurdmm *manager, unsigned pagers)
{
    if (pagers == 0)
        pagers = manager->info.pagers ? manager->info.pagers : PAGERS_DEFAULT;
    if (pagers > PAGERS_MAX)
        return EINVAL;
    manager->threads = hmm_core_alloc(
        &manager->core, (pagers + 1) * sizeof *manager->threads, 16);
    if (!manager->threads)
        return ENOMEM;
    hmm_assert(manager->thread_count == 0 && !manager->stopping);
    int err = start(manager, background);
    for (unsigned i = 0; !err && i < pagers; i++)
        err = start(manager, pager);
    if (err)
        hmm_threads_stop(manager);
    return err;
}

/* Returns when none of them runs; also where there are none.  Not from one of them,
 * nor with the lock.  Faults that nobody has taken fail (fault_stop). */
void hmm_threads_stop(struct hurdmm *manager)
{
    manager->ops->fault_stop(manager->port);
    if (!hmm_enter(manager)) {
        manager->stopping = true;
        hmm_event_signal(&manager->work, &manager->parker);
        hmm_leave(manager);
    }
    while (manager->thread_count > 0)
        manager->ops->thread_join(manager->port,
                                  manager->threads[--manager->thread_count]);
}

/* How many background steps one call of hurdmm_process takes at most, so that
 * faults are not kept waiting. */
#define STEPS_MAX 16

int hurdmm_process(struct hurdmm *manager, uint64_t timeout_ns, size_t *faults)
{
    struct hurdmm_fault fault;
    size_t served = 0, count;
    bool worked = false;
    int err = hmm_enter_manager(manager);

    if (err)
        return err;
    if (hmm_in_callback(manager, hmm_thread_self(manager)))
        err = EDEADLK;
    for (int i = 0; !err && i < STEPS_MAX && hmm_background(manager); i++)
        worked = true;
    hmm_leave(manager);
    while (!err) {
        err =
            manager->ops->fault_wait(manager->port, &fault, 1,
                                     served || worked ? 0 : timeout_ns, &count);
        if (err || count == 0)
            break;
        hmm_fault_serve(manager, &fault);
        served++;
    }
    if (faults)
        *faults = served;
    return err == ETIMEDOUT && (served || worked) ? 0 : err;
}
