/* SPDX-License-Identifier: MIT */
/* Client tasks: an address space with one thread, paged by us.
 *
 * The kernel's page and the thread's UTCB lie in the client's space where they
 * lie in ours; all below them may be bound.  The token of the space is its
 * table.
 */
#include "backends/l4-x86/l4_port.h"

#include "lib/base/string.h"

#define TASKS_MAX 16u

struct hmm_l4_task {
    bool used;
    struct hmm_l4_thread *thread;
    struct hmm_l4_space space;
    struct hurdmm_l4_status status;
};

static struct hmm_l4_task tasks[TASKS_MAX];

static struct hmm_l4_task *from(struct hurdmm_l4_task *task)
{
    return (struct hmm_l4_task *)(void *)task;
}

static struct hmm_l4_task *take_task(void)
{
    struct hmm_l4_task *found = NULL;
    hmm_l4_lock();
    for (unsigned i = 0; i < TASKS_MAX && found == NULL; i++)
        if (!tasks[i].used)
            found = &tasks[i];
    if (found != NULL) {
        memset(found, 0, sizeof *found);
        found->used = true;
    }
    hmm_l4_unlock();
    return found;
}

/* Makes the address space and its thread, which then waits for its start. */
static int make(struct hmm_l4_thread *thread)
{
    uint32_t kip = (uint32_t)(uintptr_t)hmm_l4_kip & ~L4_PAGE_MASK;
    unsigned kip_log2 = l4_kip_word(hmm_l4_kip, L4_KIP_AREA_INFO) & 0x3f;
    uint32_t area = (uint32_t)(uintptr_t)utcb() & ~L4_PAGE_MASK;
    uint32_t id = thread->id;
    if (hmm_l4_thread_control(id, id, l4_my_id(), L4_NIL, ~0u) == 0)
        return ENOMEM;
    if (hmm_l4_space_control(id, 0, l4_fpage(kip, kip_log2, 0),
                             l4_fpage(area, L4_PAGE_SHIFT, 0), L4_NIL) != 0 &&
        hmm_l4_thread_control(id, id, L4_NIL, hmm_l4_dispatcher(), area) != 0) {
        hmm_l4_schedule(id, L4_PRIORITY, ~0u, ~0u, ~0u);
        return 0;
    }
    hmm_l4_thread_control(id, L4_NIL, L4_NIL, L4_NIL, ~0u);
    return ENOMEM;
}

int hurdmm_l4_task_create(struct hurdmm_port *base,
                          struct hurdmm_l4_task **result)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    struct hmm_l4_task *task = take_task();
    if (task == NULL)
        return EAGAIN;
    task->thread = hmm_l4_thread_new(false);
    int error = task->thread == NULL ? EAGAIN : make(task->thread);
    if (error != 0) {
        if (task->thread != NULL)
            hmm_l4_thread_free(task->thread);
        task->used = false;
        return error;
    }
    hmm_l4_space_init(&task->space, port, L4_CLIENT_LOW, port->own.end);
    hmm_l4_lock();
    task->space.next = port->own.next;
    port->own.next = &task->space;
    hmm_l4_unlock();
    task->thread->space = &task->space;
    task->thread->fault.space = &task->space;
    task->thread->task = task;
    *result = (struct hurdmm_l4_task *)(void *)task;
    return 0;
}

void *hurdmm_l4_task_space(struct hurdmm_l4_task *task)
{
    return &from(task)->space;
}

int hurdmm_l4_task_start(struct hurdmm_l4_task *base, uintptr_t entry,
                         uintptr_t stack)
{
    struct hmm_l4_task *task = from(base);
    volatile uint32_t *mr = utcb();
    hmm_l4_lock();
    bool ready = task->status.state == HURDMM_L4_READY;
    if (ready)
        task->status.state = HURDMM_L4_RUNNING;
    hmm_l4_unlock();
    if (!ready)
        return EBUSY;
    mr[0] = l4_tag(L4_LABEL_START, 3, 0);
    mr[1] = task->thread->id;
    mr[2] = (uint32_t)entry;
    mr[3] = (uint32_t)stack;
    hmm_l4_ipc(hmm_l4_dispatcher(), L4_NIL,
               L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
    return 0;
}

/* The sleepers are woken by the caller's unlock and rouse. */
void hmm_l4_task_over(struct hmm_l4_task *task,
                      const struct hurdmm_l4_status *status)
{
    hmm_assert(hmm_l4_locked());
    task->status = *status;
    hmm_l4_rouse(task, UINT32_MAX);
    hmm_l4_lock();
}

int hurdmm_l4_task_wait(struct hurdmm_l4_task *base, uint64_t timeout_ns,
                        struct hurdmm_l4_status *status)
{
    struct hmm_l4_task *task = from(base);
    size_t size = status->struct_size;
    uint64_t start = hmm_l4_clock();
    uint64_t passed = 0;
    hmm_l4_lock();
    while (task->status.state < HURDMM_L4_EXITED && passed < timeout_ns) {
        (void)hmm_l4_sleep(task, timeout_ns == HURDMM_FOREVER
                                     ? HURDMM_FOREVER
                                     : timeout_ns - passed);
        passed = (hmm_l4_clock() - start) * 1000;
        hmm_l4_lock();
    }
    struct hurdmm_l4_status now = task->status;
    hmm_l4_unlock();
    if (now.state < HURDMM_L4_EXITED)
        return ETIMEDOUT;
    now.struct_size = size;
    memcpy(status, &now, size < sizeof now ? size : sizeof now);
    return 0;
}

/* With the lock held: takes its space out of the port's list. */
static void unlink_space(struct hmm_l4_task *task)
{
    struct hmm_l4_space *at = &task->space.port->own;
    hmm_assert(hmm_l4_locked());
    while (at != NULL && at->next != &task->space)
        at = at->next;
    if (at != NULL) /* else the port was closed before */
        at->next = task->space.next;
}

void hurdmm_l4_task_destroy(struct hurdmm_l4_task *base)
{
    struct hmm_l4_task *task = from(base);
    hmm_l4_thread_control(task->thread->id, L4_NIL, L4_NIL, L4_NIL, ~0u);
    hmm_l4_lock();
    hmm_l4_fault_forget(task->thread);
    hmm_l4_thread_free(task->thread);
    hmm_l4_space_clear(&task->space);
    unlink_space(task);
    hmm_l4_unlock();
    task->used = false;
}
