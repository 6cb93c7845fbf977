/* SPDX-License-Identifier: MIT */
/* The table of threads, and who runs.
 *
 * Invariants (thread_check): a thread is in the ready queue of its priority
 * exactly when it is READY; the one that runs stays in its queue; a space has as
 * many threads as it counts; threads of a space have UTCBs of their own in its
 * area.
 */
#include "nucleus.h"

#define TABLE 256u

struct thread *current;
struct thread *all_threads[512];
unsigned thread_count;

static struct thread *table[TABLE];
static uint8_t existed[(1u << 18) / 8];
static struct thread *queues[256]; /* heads of rings */
static uint32_t filled[8];         /* a bit for each queue that is not empty */
static struct thread *preferred;
static struct thread *fpu_owner;
/* A page that all may read, at the end of memory: %gs:0. */
static uint32_t local_page[1024] __attribute__((aligned(4096)));
static uint32_t local_table[1024] __attribute__((aligned(4096)));

/* ---- The table -------------------------------------------------------------- */

struct thread *thread_by_number(uint32_t number)
{
    struct thread *thread = table[number % TABLE];
    while (thread != NULL && thread->id >> 14 != number)
        thread = thread->chain;
    return thread;
}

struct thread *thread_find(uint32_t id)
{
    struct thread *thread = thread_by_number(id >> 14);
    return thread != NULL && thread->id == id ? thread : NULL;
}

bool thread_existed(uint32_t number)
{
    return existed[number / 8] >> (number % 8) & 1;
}

struct thread *thread_local(struct space *space, uint32_t local)
{
    for (unsigned i = 0; i < thread_count; i++)
        if (all_threads[i]->space == space && all_threads[i]->mr != NULL &&
            all_threads[i]->local == local)
            return all_threads[i];
    return NULL;
}

struct thread *thread_new(uint32_t id)
{
    if (thread_count == sizeof all_threads / sizeof *all_threads)
        stop("more than %u threads", thread_count);
    struct thread *thread = page_get();
    _Static_assert(sizeof(struct thread) <= PAGE, "a thread is a page");
    thread->used = true;
    thread->id = id;
    thread->state = INACTIVE;
    thread->priority = 100;
    thread->slice = options.slice;
    thread->frame.cs = 0x1b;
    thread->frame.ss = 0x23;
    thread->frame.eflags = options.ports ? 0x202 : 0x3202;
    thread->chain = table[(id >> 14) % TABLE];
    table[(id >> 14) % TABLE] = thread;
    all_threads[thread_count++] = thread;
    existed[(id >> 14) / 8] |= (uint8_t)(1u << ((id >> 14) % 8));
    return thread;
}

void thread_free(struct thread *thread)
{
    struct thread **link = &table[(thread->id >> 14) % TABLE];
    while (*link != thread)
        link = &(*link)->chain;
    *link = thread->chain;
    for (unsigned i = 0; i < thread_count; i++)
        if (all_threads[i] == thread)
            all_threads[i] = all_threads[--thread_count];
    if (fpu_owner == thread)
        fpu_owner = NULL;
    if (preferred == thread)
        preferred = NULL;
    page_put(thread);
}

bool is_privileged(const struct space *space)
{
    return space == &spaces[0];
}

uint32_t id_for(const struct thread *thread, const struct thread *whom)
{
    return thread->space == whom->space ? thread->local : thread->id;
}

uint32_t thread_pager(const struct thread *thread)
{
    return thread->mr[TCR_PAGER];
}

/* ---- Ready queues ----------------------------------------------------------- */

static void enqueue(struct thread *thread)
{
    struct thread **head = &queues[thread->priority];
    if (*head == NULL) {
        *head = thread->next = thread->before = thread;
        filled[thread->priority / 32] |= 1u << (thread->priority % 32);
        return;
    }
    thread->next = *head;
    thread->before = (*head)->before;
    thread->before->next = thread;
    (*head)->before = thread;
}

static void dequeue(struct thread *thread)
{
    struct thread **head = &queues[thread->priority];
    if (thread->next == thread) {
        *head = NULL;
        filled[thread->priority / 32] &= ~(1u << (thread->priority % 32));
    } else {
        thread->next->before = thread->before;
        thread->before->next = thread->next;
        if (*head == thread)
            *head = thread->next;
    }
    thread->next = thread->before = NULL;
}

void thread_ready(struct thread *thread)
{
    if (thread->state == READY)
        return;
    thread->deadline = 0;
    if (thread->halted) {
        thread->state = HALTED;
        return;
    }
    thread->state = READY;
    enqueue(thread);
}

void thread_block(struct thread *thread, enum state state)
{
    if (thread->state == READY)
        dequeue(thread);
    thread->state = state;
}

void thread_set_priority(struct thread *thread, unsigned priority)
{
    bool queued = thread->state == READY;
    if (queued)
        dequeue(thread);
    thread->priority = (uint8_t)priority;
    if (queued)
        enqueue(thread);
}

void thread_yield(struct thread *thread)
{
    thread->slice = options.slice;
    if (thread->state == READY && queues[thread->priority] != NULL) {
        dequeue(thread);
        enqueue(thread);
        preferred = queues[thread->priority];
    }
}

void thread_prefer(struct thread *thread)
{
    preferred = thread;
}

void thread_tick(void)
{
    if (current != NULL && current->state == READY && --current->slice == 0)
        thread_yield(current);
}

static struct thread *best(void)
{
    for (unsigned i = 8; i-- > 0;)
        if (filled[i] != 0)
            return queues[i * 32 + 31 - (unsigned)__builtin_clz(filled[i])];
    return NULL;
}

struct thread *thread_choose(void)
{
    struct thread *first = best();
    if (first == NULL && options.check)
        thread_check(); /* that nobody is ready */
    while (first == NULL) {
        current = NULL; /* a trap from here is none of a thread */
        __asm__ volatile("sti; hlt; cli" ::: "memory");
        first = best();
    }
    struct thread *wanted = preferred;
    preferred = NULL;
    if (wanted != NULL && wanted->state == READY &&
        wanted->priority == first->priority)
        return wanted;
    if (current != NULL && current->state == READY &&
        current->priority == first->priority)
        return current;
    return first;
}

void thread_switch_to(struct thread *thread)
{
    current = thread;
    trap_esp0((uint32_t)(&thread->frame + 1));
    if (local_table[1023] == 0) {
        local_table[1023] = to_physical(local_page) | PTE_PRESENT | PTE_USER;
        kernel_directory[1023] =
            to_physical(local_table) | PTE_PRESENT | PTE_USER;
        for (unsigned i = 0; i < SPACES; i++)
            if (spaces[i].used)
                spaces[i].directory[1023] = kernel_directory[1023];
    }
    local_page[0] = thread->local;
    if (loaded_space != thread->space) {
        loaded_space = thread->space;
        __asm__ volatile("movl %0, %%cr3"
                         :
                         : "r"(loaded_space->directory_at)
                         : "memory");
        trap_ports(loaded_space, false);
    }
    uint32_t cr0;
    __asm__ volatile("movl %%cr0, %0" : "=r"(cr0));
    uint32_t wanted = thread == fpu_owner ? cr0 & ~8u : cr0 | 8u;
    if (wanted != cr0)
        __asm__ volatile("movl %0, %%cr0" : : "r"(wanted));
}

/* The first floating-point instruction since another thread used them. */
void thread_fpu(void)
{
    __asm__ volatile("clts");
    if (fpu_owner != NULL)
        __asm__ volatile("fxsave %0" : "=m"(fpu_owner->fpu));
    if (current->uses_fpu)
        __asm__ volatile("fxrstor %0" : : "m"(current->fpu));
    else
        __asm__ volatile("fninit");
    current->uses_fpu = true;
    fpu_owner = current;
}

static void check_queue(const struct thread *thread)
{
    if ((thread->next != NULL) != (thread->state == READY))
        stop("check: thread %x, state %u, and the ready queue", thread->id,
             thread->state);
    if (thread->next == NULL)
        return;
    if (thread->next->before != thread || thread->before->next != thread ||
        thread->next->priority != thread->priority)
        stop("check: the ready queue at thread %x", thread->id);
    if (thread->deadline != 0)
        stop("check: thread %x is ready and has a deadline", thread->id);
}

static void check_one(struct thread *thread)
{
    check_queue(thread);
    if (thread_by_number(thread->id >> 14) != thread)
        stop("check: thread %x is not in the table", thread->id);
    if (thread->mr == NULL) {
        if (thread->state != INACTIVE)
            stop("check: thread %x, state %u, has no UTCB", thread->id,
                 thread->state);
        return;
    }
    uint32_t utcb = thread->local - 256, area = thread->space->utcb;
    if (thread->mr[TCR_ID] != thread->id || utcb < area ||
        utcb - area >= UINT32_C(1) << thread->space->utcb_log2)
        stop("check: the UTCB of thread %x", thread->id);
    if (thread->frame.cs != 0x1b || thread->frame.ss != 0x23 ||
        !(thread->frame.eflags & 0x200))
        stop("check: the frame of thread %x", thread->id);
}

static unsigned count_queued(void)
{
    unsigned queued = 0;
    for (unsigned i = 0; i < 256; i++) {
        const struct thread *thread = queues[i];
        if ((thread != NULL) != (filled[i / 32] >> (i % 32) & 1))
            stop("check: the ready queue of priority %u", i);
        if (thread == NULL)
            continue;
        do
            queued++;
        while ((thread = thread->next) != queues[i] && queued <= thread_count);
    }
    return queued;
}

void thread_check(void)
{
    unsigned in_spaces = 0, ready = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        check_one(all_threads[i]);
        ready += all_threads[i]->state == READY;
    }
    if (count_queued() != ready)
        stop("check: %u threads are ready, not as many are queued", ready);
    for (unsigned i = 0; i < SPACES; i++)
        in_spaces += spaces[i].used ? spaces[i].threads : 0;
    if (in_spaces != thread_count)
        stop("check: %u threads, but spaces count %u", thread_count, in_spaces);
}
