/* SPDX-License-Identifier: MIT */
/* The task's threads: their table, their stacks, the lock, sleep and wake.
 *
 * Whoever finds the lock taken yields; all have one priority, so the holder runs
 * before long.
 *
 * A thread's place in the table says its number and, for an own thread, where
 * its UTCB lies, so that a sender is found without a search.  Place 0 is the
 * first thread.  All own threads have one priority.
 *
 * A stack has a page below it that is not there, given up for good.  Stacks are
 * kept for the next thread of their size.
 *
 * A sleeper is woken by one message.  It receives from own threads only; nobody
 * sends it anything else, because faults go to the dispatcher, which never
 * sleeps.  Whoever takes a sleeper out of its queue sends it the message, and
 * waits for it where it is still on its way to the receive; a sleeper whose
 * time was over but who has been taken out waits for that message.
 */
#include "backends/l4-x86/l4_port.h"

#include "lib/base/string.h"

#define SPARE_STACKS 32u
#define SLEEP_QUEUES 32u
#define STACK_PAGES_MIN 2u

struct queue {
    struct hmm_l4_thread *first, *last;
};

static struct hmm_l4_thread threads[L4_THREADS];
static uint32_t versions[L4_THREADS];
static uint32_t first_number; /* the thread number of place 0 */
static uint32_t first_utcb;   /* of place 0 */
static struct queue sleepers[SLEEP_QUEUES];
static struct {
    uint32_t base, pages;
} spare_stacks[SPARE_STACKS];
static uint32_t lock_holder;

/* ---- The lock ---- */

void hmm_l4_lock(void)
{
    uint32_t me = l4_my_id();
    uint32_t holder = 0;
    while (!__atomic_compare_exchange_n(&lock_holder, &holder, me, false,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        hmm_assert(holder != me);
        hmm_l4_switch(L4_NIL); /* not to the holder: see doc/l4.md, hazards */
        holder = 0;
    }
}

void hmm_l4_unlock(void)
{
    hmm_assert(hmm_l4_locked());
    __atomic_store_n(&lock_holder, 0, __ATOMIC_RELEASE);
}

bool hmm_l4_locked(void)
{
    return __atomic_load_n(&lock_holder, __ATOMIC_RELAXED) == l4_my_id();
}

/* ---- The table ---- */

void hmm_l4_threads_init(void)
{
    first_number = l4_thread_number(l4_my_id());
    first_utcb = (uint32_t)(uintptr_t)utcb() & ~(L4_UTCB_SIZE - 1);
    threads[0].id = l4_my_id();
    threads[0].fault.thread = threads[0].id;
    threads[0].fault.token = (uintptr_t)&threads[0];
    versions[0] = 1;
    hmm_l4_schedule(l4_my_id(), L4_PRIORITY, ~0u, ~0u, ~0u);
}

static uint32_t place_of(const struct hmm_l4_thread *thread)
{
    return (uint32_t)(thread - threads);
}

static uint32_t utcb_of(uint32_t place)
{
    return first_utcb + place * L4_UTCB_SIZE;
}

struct hmm_l4_thread *hmm_l4_thread_by_sender(uint32_t sender)
{
    uint32_t place;
    if (l4_is_local_id(sender))
        place = (sender - first_utcb) / L4_UTCB_SIZE;
    else
        place = l4_thread_number(sender) - first_number;
    if (place >= L4_THREADS || threads[place].id == 0)
        return NULL;
    return &threads[place];
}

struct hmm_l4_thread *hmm_l4_thread_by_id(uint64_t id)
{
    struct hmm_l4_thread *thread = hmm_l4_thread_by_sender((uint32_t)id);
    return thread != NULL && thread->id == id ? thread : NULL;
}

struct hmm_l4_thread *hmm_l4_thread_self(void)
{
    return &threads[l4_thread_number(l4_my_id()) - first_number];
}

struct hmm_l4_thread *hmm_l4_thread_new(bool own)
{
    uint32_t end = own ? L4_OWN_THREADS : L4_THREADS;
    struct hmm_l4_thread *found = NULL;
    hmm_l4_lock();
    for (uint32_t i = own ? 1 : L4_OWN_THREADS; i < end; i++) {
        if (threads[i].id != 0)
            continue;
        found = &threads[i];
        /* A version's lowest six bits are not all zero. */
        do {
            versions[i] = (versions[i] + 1) & 0x3fff;
        } while ((versions[i] & 0x3f) == 0);
        memset(found, 0, sizeof *found);
        found->id = l4_global_id(first_number + i, versions[i]);
        found->fault.thread = found->id;
        found->fault.token = (uintptr_t)found;
        break;
    }
    hmm_l4_unlock();
    return found;
}

/* ---- Stacks ---- */

static uint32_t spare_stack(uint32_t pages)
{
    uint32_t base = 0;
    hmm_l4_lock();
    for (unsigned i = 0; i < SPARE_STACKS && base == 0; i++) {
        if (spare_stacks[i].base == 0 || spare_stacks[i].pages != pages)
            continue;
        base = spare_stacks[i].base;
        spare_stacks[i].base = 0;
    }
    hmm_l4_unlock();
    return base;
}

/* `pages' counts the one that is not there. */
static int stack_take(uint32_t pages, uint32_t *base)
{
    *base = spare_stack(pages);
    if (*base != 0)
        return 0;
    int error = hmm_l4_pages_take(pages, 0, base);
    if (error != 0)
        return error;
    utcb()[0] = l4_fpage(*base, L4_PAGE_SHIFT, L4_FULL);
    hmm_l4_unmap(L4_UNMAP_FLUSH);
    return 0;
}

/* With the lock held.  Where there is no room it is lost, but for the pages
 * that are there. */
static void stack_give(uint32_t base, uint32_t pages)
{
    for (unsigned i = 0; i < SPARE_STACKS; i++) {
        if (spare_stacks[i].base == 0) {
            spare_stacks[i].base = base;
            spare_stacks[i].pages = pages;
            return;
        }
    }
    hmm_l4_pages_give(base + L4_PAGE_SIZE, pages - 1);
}

/* With or without the lock. */
void hmm_l4_thread_free(struct hmm_l4_thread *thread)
{
    bool locked = hmm_l4_locked();
    if (!locked)
        hmm_l4_lock();
    if (thread->stack != 0)
        stack_give(thread->stack, thread->stack_pages);
    thread->stack = 0;
    thread->id = 0;
    if (!locked)
        hmm_l4_unlock();
}

/* ---- Starting and ending ---- */

static _Noreturn void sleep_for_ever(void)
{
    for (;;)
        hmm_l4_ipc(L4_NIL, l4_my_id(),
                   L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
}

/* What an own thread does first.  Its end it tells the dispatcher, so that it
 * is in no lock and on no stack of ours when it is deleted. */
static _Noreturn void run(void)
{
    struct hmm_l4_thread *self = hmm_l4_thread_self();
    utcb()[L4_TCR_EXCEPTION_HANDLER] = hmm_l4_dispatcher();
    utcb()[L4_TCR_PAGER] = hmm_l4_dispatcher();
    self->entry(self->argument);
    utcb()[0] = l4_tag(L4_LABEL_ENDED, 0, 0);
    hmm_l4_ipc(hmm_l4_dispatcher(), L4_NIL,
               L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
    sleep_for_ever();
}

/* Creates the thread, with us as its pager, and sends it off. */
static int launch(struct hmm_l4_thread *thread, uint32_t pager)
{
    uint32_t top = thread->stack + thread->stack_pages * L4_PAGE_SIZE;
    if (hmm_l4_thread_control(thread->id, threads[0].id, threads[0].id, pager,
                              utcb_of(place_of(thread))) == 0)
        return EAGAIN;
    hmm_l4_schedule(thread->id, L4_PRIORITY, ~0u, ~0u, ~0u);
    utcb()[0] = l4_tag(0, 2, 0);
    utcb()[1] = (uint32_t)(uintptr_t)run;
    utcb()[2] = top - 16 - 4; /* as after a call */
    if (pager == l4_my_id() &&
        (hmm_l4_ipc(thread->id, L4_NIL,
                    L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL) &
         L4_TAG_ERROR) != 0)
        hmm_l4_panic("a new thread does not listen");
    return 0;
}

int hmm_l4_thread_start(struct hmm_l4_port *port, size_t stack_size,
                        void (*entry)(void *argument), void *argument,
                        uint32_t pager, struct hmm_l4_thread **result)
{
    uint32_t pages = (uint32_t)((stack_size + L4_PAGE_MASK) >> L4_PAGE_SHIFT);
    struct hmm_l4_thread *thread = hmm_l4_thread_new(true);
    if (thread == NULL)
        return EAGAIN;
    thread->port = port;
    thread->entry = entry;
    thread->argument = argument;
    thread->stack_pages =
        1 + (pages < STACK_PAGES_MIN ? STACK_PAGES_MIN : pages);
    uint32_t stack;
    int error = stack_take(thread->stack_pages, &stack);
    if (error == 0) {
        thread->stack = stack;
        error = launch(thread, pager);
    }
    if (error != 0) {
        hmm_l4_thread_free(thread);
        return error;
    }
    *result = thread;
    return 0;
}

void hmm_l4_thread_ended(struct hmm_l4_thread *thread)
{
    hmm_l4_lock();
    thread->ended = true;
    hmm_l4_rouse(&thread->ended, UINT32_MAX);
}

int hmm_l4_thread_join(uint64_t id)
{
    struct hmm_l4_thread *thread = hmm_l4_thread_by_id(id);
    if (thread == NULL || thread == hmm_l4_thread_self())
        return EINVAL;
    hmm_l4_lock();
    while (!thread->ended) {
        hmm_l4_sleep(&thread->ended, HURDMM_FOREVER);
        hmm_l4_lock();
    }
    hmm_l4_unlock();
    hmm_l4_thread_control(thread->id, L4_NIL, L4_NIL, L4_NIL, ~0u);
    hmm_l4_thread_free(thread);
    return 0;
}

/* ---- Sleep and wake ---- */

static struct queue *queue_of(const void *key)
{
    uint32_t hash = (uint32_t)(uintptr_t)key;
    return &sleepers[(hash >> 2 ^ hash >> 7 ^ hash >> 12) % SLEEP_QUEUES];
}

static void queue_add(struct queue *queue, struct hmm_l4_thread *thread)
{
    thread->sleep_next = NULL;
    if (queue->first == NULL)
        queue->first = thread;
    else
        queue->last->sleep_next = thread;
    queue->last = thread;
}

/* Takes out the thread after `before', or the first. */
static struct hmm_l4_thread *queue_take(struct queue *queue,
                                        struct hmm_l4_thread *before)
{
    struct hmm_l4_thread *taken =
        before == NULL ? queue->first : before->sleep_next;
    if (before == NULL)
        queue->first = taken->sleep_next;
    else
        before->sleep_next = taken->sleep_next;
    if (queue->last == taken)
        queue->last = before;
    taken->key = NULL;
    return taken;
}

/* False: somebody has taken it out before. */
static bool queue_cancel(struct queue *queue, struct hmm_l4_thread *thread)
{
    struct hmm_l4_thread *before = NULL;
    struct hmm_l4_thread *at = queue->first;
    while (at != NULL && at != thread) {
        before = at;
        at = at->sleep_next;
    }
    if (at == NULL)
        return false;
    queue_take(queue, before);
    return true;
}

static bool receive_wake(uint32_t timeout)
{
    uint32_t tag = hmm_l4_ipc(L4_NIL, L4_ANY_LOCAL,
                              L4_TIMEOUTS(L4_TIMEOUT_NEVER, timeout), NULL);
    return (tag & L4_TAG_ERROR) == 0;
}

int hmm_l4_sleep(const void *key, uint64_t timeout_ns)
{
    struct hmm_l4_thread *self = hmm_l4_thread_self();
    struct queue *queue = queue_of(key);
    hmm_assert(hmm_l4_locked() && self->key == NULL);
    if (timeout_ns == 0) {
        hmm_l4_unlock();
        return ETIMEDOUT;
    }
    uint64_t start = timeout_ns == HURDMM_FOREVER ? 0 : hmm_l4_clock();
    self->key = key;
    queue_add(queue, self);
    hmm_l4_unlock();
    if (receive_wake(hmm_l4_timeout(timeout_ns)))
        return 0;
    hmm_l4_lock();
    bool late = queue_cancel(queue, self);
    hmm_l4_unlock();
    while (!late && !receive_wake(L4_TIMEOUT_NEVER))
        ;
    /* The kernel counts in ticks and may be early. */
    return late && (hmm_l4_clock() - start) * 1000 >= timeout_ns ? ETIMEDOUT
                                                                 : 0;
}

uint32_t hmm_l4_rouse_later(const void *key)
{
    struct queue *queue = queue_of(key);
    struct hmm_l4_thread *before = NULL;
    struct hmm_l4_thread *at = queue->first;
    hmm_assert(hmm_l4_locked());
    while (at != NULL && at->key != key) {
        before = at;
        at = at->sleep_next;
    }
    return at == NULL ? L4_NIL : queue_take(queue, before)->id;
}

void hmm_l4_rouse(const void *key, unsigned count)
{
    struct queue *queue = queue_of(key);
    struct queue woken = {NULL, NULL};
    struct hmm_l4_thread *before = NULL;
    struct hmm_l4_thread *at = queue->first;
    while (at != NULL && count > 0) {
        struct hmm_l4_thread *next = at->sleep_next;
        if (at->key == key) {
            queue_add(&woken, queue_take(queue, before));
            count--;
        } else {
            before = at;
        }
        at = next;
    }
    hmm_l4_unlock();
    for (at = woken.first; at != NULL; at = before) {
        before = at->sleep_next; /* it may sleep again once it is woken */
        utcb()[0] = l4_tag(L4_LABEL_WAKE, 0, 0);
        hmm_l4_ipc(at->id, L4_NIL,
                   L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
    }
}
