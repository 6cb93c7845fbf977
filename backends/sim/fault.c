/* SPDX-License-Identifier: MIT */
/* The application's accesses, and faults.
 *
 * An access looks at the page table and touches the frame without a point in
 * between, as a processor does.  If it may not, the thread is FAULTED until
 * fault_done, or resolves the fault itself (HURDMM_PORT_INLINE), and repeats
 * the access from its beginning.
 *
 * The faults that wait to be taken are the FAULTED threads whose fault is not
 * taken, in the order of their turns.
 */
#include <inttypes.h>
#include <string.h>

#include "backends/sim/machine.h"

/* An access that faults so often makes no progress. */
#define FAULTS_MAX 10000

enum operation { LOAD, STORE, ADD, COMPARE };

struct access {
    enum operation operation;
    unsigned right;  /* HURDMM_READ, HURDMM_WRITE or HURDMM_EXECUTE */
    uint8_t *buffer; /* STORE only reads it */
    size_t length;
    uint64_t amount; /* of ADD; what COMPARE writes */
};

/* The access itself; EAGAIN: COMPARE found something else. */
static int perform(const struct access *access, uint8_t *bytes)
{
    uint64_t now = 0;
    uint64_t expected = 0;
    int error = 0;
    if (access->operation == LOAD)
        memcpy(access->buffer, bytes, access->length);
    if (access->operation == STORE)
        memcpy(bytes, access->buffer, access->length);
    if (access->operation == LOAD || access->operation == STORE)
        return 0;
    memcpy(&now, bytes, sizeof now);
    memcpy(&expected, access->buffer, sizeof expected);
    memcpy(access->buffer, &now, sizeof now);
    if (access->operation == ADD)
        now += access->amount;
    else if (now == expected)
        now = access->amount;
    else
        error = EAGAIN;
    memcpy(bytes, &now, sizeof now);
    return error;
}

static bool is_allowed(const struct hmm_sim *sim,
                       const struct hmm_sim_page *page, unsigned right)
{
    unsigned rights = page->rights;
    if (rights & HURDMM_WRITE)
        rights |= HURDMM_READ;
    if ((sim->features & HURDMM_PORT_EXECUTE) == 0 && right == HURDMM_EXECUTE)
        right = HURDMM_READ;
    return (rights & right) != 0;
}

/* Touches the page if that is allowed. */
static bool touch(struct hmm_sim *sim, struct hmm_sim_page *page,
                  uintptr_t address, const struct access *access, int *error)
{
    if (page == NULL || !is_allowed(sim, page, access->right))
        return false;
    uint32_t frame = page->frame;
    page->seen |= HURDMM_READ;
    if (access->right == HURDMM_WRITE) {
        page->seen |= HURDMM_WRITE;
        page->written = true;
    }
    hmm_sim_frame_check(sim, frame);
    *error = perform(access, hmm_sim_bytes(sim, frame) +
                                 (address & (hmm_sim_page_size(sim) - 1)));
    hmm_sim_frame_changed(sim, frame);
    return true;
}

/* Has a fault resolved; 0 or its error. */
static int fault(struct hmm_sim *sim, void *space, uintptr_t address,
                 unsigned right)
{
    struct hmm_sim_thread *self = sim->self;
    struct hurdmm_fault found = {
        .space = space,
        .thread = self->id,
        .address = address,
        .access = right,
    };
    sim->stats.faults++;
    HMM_SIM_NOTE(sim, EVENT_FAULT, (uintptr_t)space, address, right);
    if (sim->stopped || !sim->is_open)
        return EFAULT;
    if ((sim->features & HURDMM_PORT_INLINE) && sim->config.fault != NULL)
        return sim->config.fault(sim->config.client, &found);
    if ((sim->options.flags & HURDMM_SIM_SOFT) &&
        sim->config.fault_soft != NULL &&
        sim->config.fault_soft(sim->config.client, &found) == 0)
        return 0;
    self->fault = found;
    self->fault_taken = false;
    struct hmm_sim_thread *waiter = hmm_sim_oldest(sim, THREAD_FAULT_WAIT);
    if (waiter != NULL)
        hmm_sim_unblock(sim, waiter, 0);
    return hmm_sim_block(sim, THREAD_FAULTED, HURDMM_FOREVER);
}

/* An access to a part of one page. */
static int access_page(struct hmm_sim *sim, void *space, uintptr_t address,
                       const struct access *access)
{
    uint32_t number = (uint32_t)(uintptr_t)space;
    uintptr_t page = address >> sim->page_shift;
    int error = 0;
    sim->stats.accesses++;
    for (unsigned faults = 0; error == 0; faults++) {
        hmm_sim_point(sim);
        if (touch(sim, hmm_sim_find(sim, number, page), address, access,
                  &error))
            break;
        if (faults == FAULTS_MAX) {
            hmm_sim_violation(
                sim, "the access to %#" PRIxPTR " makes no progress", address);
            error = EFAULT;
        } else if (!hmm_sim_reserved(&sim->spaces[number], page, page + 1)) {
            error = EFAULT;
        } else {
            error = fault(sim, space, address, access->right);
        }
    }
    HMM_SIM_NOTE(sim, EVENT_ACCESS, number, address, access->right,
                 access->length, (uint64_t)error);
    return error;
}

static int access_range(struct hurdmm_port *port, void *space,
                        uintptr_t address, struct access access)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    size_t left = access.length;
    int error = 0;
    if ((uintptr_t)space >= sim->options.spaces)
        return EFAULT;
    if (sim->self->cookie != 0)
        hmm_sim_violation(sim, "access to %#" PRIxPTR " in a critical section",
                          address);
    while (left > 0 && error == 0) {
        if (address > sim->high)
            return EFAULT;
        size_t page_size = hmm_sim_page_size(sim);
        size_t part = page_size - (address & (page_size - 1));
        access.length = part < left ? part : left;
        error = access_page(sim, space, address, &access);
        address += access.length;
        access.buffer += access.length;
        left -= access.length;
    }
    return error;
}

int hurdmm_sim_read(struct hurdmm_port *port, void *space, uintptr_t address,
                    void *buffer, size_t length)
{
    struct access access = {LOAD, HURDMM_READ, buffer, length, 0};
    return access_range(port, space, address, access);
}

int hurdmm_sim_fetch(struct hurdmm_port *port, void *space, uintptr_t address,
                     void *buffer, size_t length)
{
    struct access access = {LOAD, HURDMM_EXECUTE, buffer, length, 0};
    return access_range(port, space, address, access);
}

int hurdmm_sim_write(struct hurdmm_port *port, void *space, uintptr_t address,
                     const void *buffer, size_t length)
{
    struct access access = {STORE, HURDMM_WRITE, (uint8_t *)(uintptr_t)buffer,
                            length, 0};
    return access_range(port, space, address, access);
}

/* A number lies in one page. */
static int access_number(struct hurdmm_port *port, void *space,
                         uintptr_t address, struct access access)
{
    if ((address & (sizeof(uint64_t) - 1)) != 0)
        return EINVAL;
    return access_range(port, space, address, access);
}

int hurdmm_sim_load64(struct hurdmm_port *port, void *space, uintptr_t address,
                      uint64_t *value)
{
    uint8_t bytes[sizeof *value];
    struct access access = {LOAD, HURDMM_READ, bytes, sizeof bytes, 0};
    int error = access_number(port, space, address, access);
    if (error == 0)
        memcpy(value, bytes, sizeof bytes);
    return error;
}

int hurdmm_sim_store64(struct hurdmm_port *port, void *space, uintptr_t address,
                       uint64_t value)
{
    uint8_t bytes[sizeof value];
    memcpy(bytes, &value, sizeof bytes);
    struct access access = {STORE, HURDMM_WRITE, bytes, sizeof bytes, 0};
    return access_number(port, space, address, access);
}

int hurdmm_sim_add64(struct hurdmm_port *port, void *space, uintptr_t address,
                     uint64_t amount, uint64_t *before)
{
    uint8_t bytes[sizeof amount] = {0};
    struct access access = {ADD, HURDMM_WRITE, bytes, sizeof bytes, amount};
    int error = access_number(port, space, address, access);
    if (error == 0 && before != NULL)
        memcpy(before, bytes, sizeof bytes);
    return error;
}

int hurdmm_sim_compare64(struct hurdmm_port *port, void *space,
                         uintptr_t address, uint64_t *expected,
                         uint64_t desired)
{
    uint8_t bytes[sizeof desired];
    memcpy(bytes, expected, sizeof bytes);
    struct access access = {COMPARE, HURDMM_WRITE, bytes, sizeof bytes,
                            desired};
    int error = access_number(port, space, address, access);
    if (error == EAGAIN)
        memcpy(expected, bytes, sizeof bytes);
    return error;
}

/* The port's functions. */

/* The fault that has waited longest, or NULL. */
static struct hmm_sim_thread *oldest_fault(struct hmm_sim *sim)
{
    struct hmm_sim_thread *best = NULL;
    for (size_t i = 0; i < sim->thread_count; i++) {
        struct hmm_sim_thread *thread = sim->threads[i];
        if (thread->state == THREAD_FAULTED && !thread->fault_taken &&
            (best == NULL || thread->since < best->since))
            best = thread;
    }
    return best;
}

static size_t take_faults(struct hmm_sim *sim, struct hurdmm_fault *faults,
                          size_t max)
{
    size_t taken = 0;
    while (taken < max) {
        struct hmm_sim_thread *thread = oldest_fault(sim);
        if (thread == NULL)
            break;
        thread->fault_taken = true;
        thread->fault.token = (uintptr_t)thread->since;
        faults[taken++] = thread->fault;
    }
    return taken;
}

int hmm_sim_fault_wait(struct hurdmm_port *port, struct hurdmm_fault *faults,
                       size_t max, uint64_t timeout_ns, size_t *count)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    if (max == 0)
        hmm_sim_violation(sim, "fault_wait: for no faults");
    uint64_t end = HURDMM_FOREVER;
    if (timeout_ns < HURDMM_FOREVER - sim->clock)
        end = sim->clock + timeout_ns;
    int error = 0;
    size_t taken = 0;
    while (taken == 0 && error == 0) {
        taken = sim->stopped ? 0 : take_faults(sim, faults, max);
        if (sim->stopped)
            error = ECANCELED;
        else if (taken == 0 && sim->clock >= end)
            error = ETIMEDOUT;
        else if (taken == 0)
            hmm_sim_block(sim, THREAD_FAULT_WAIT,
                          end == HURDMM_FOREVER ? end : end - sim->clock);
    }
    HMM_SIM_NOTE(sim, EVENT_FAULT_WAIT, max, taken, (uint64_t)error);
    if (error == 0)
        *count = taken;
    return error;
}

void hmm_sim_fault_done(struct hurdmm_port *port,
                        const struct hurdmm_fault *fault, int error)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    HMM_SIM_NOTE(sim, EVENT_FAULT_DONE, fault->thread, fault->address,
                 (uint64_t)error);
    for (size_t i = 0; i < sim->thread_count; i++) {
        struct hmm_sim_thread *thread = sim->threads[i];
        if (thread->state != THREAD_FAULTED || !thread->fault_taken ||
            thread->fault.token != fault->token)
            continue;
        hmm_sim_unblock(sim, thread, error);
        return;
    }
    hmm_sim_violation(sim, "fault_done: no such fault, at %#" PRIxPTR,
                      fault->address);
}

void hmm_sim_fault_stop(struct hurdmm_port *port)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    sim->stopped = true;
    for (size_t i = 0; i < sim->thread_count; i++) {
        struct hmm_sim_thread *thread = sim->threads[i];
        if (thread->state == THREAD_FAULT_WAIT)
            hmm_sim_unblock(sim, thread, 0);
        else if (thread->state == THREAD_FAULTED && !thread->fault_taken)
            hmm_sim_unblock(sim, thread, EFAULT);
    }
    HMM_SIM_NOTE(sim, EVENT_FAULT_STOP, 0);
}
