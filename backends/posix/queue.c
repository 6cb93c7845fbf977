/* SPDX-License-Identifier: MIT */
/* The hand-over of faults, from threads in the signal handler to those in
 * fault_wait, and back.
 *
 *   on the faulting thread's stack        state
 *   ------------------------------        -----
 *   wait_for: made, pushed to `arrived'   WAITING
 *   take: moved to `first', given out     WAITING
 *   wait_for: nothing left but to sleep   ASLEEP
 *   done, stop: the end                   DONE; the record is gone
 *
 * Invariants:
 * 1. The thread does not leave its frame before DONE: asynchronous signals are
 *    masked in the handler and nothing there is a point of cancellation.  After
 *    it has set DONE nobody touches the record.
 * 2. A producer pushes and then looks for sleepers; a sleeper makes itself known
 *    and then looks for faults.  So one sees the other.  The same holds for
 *    `stopping'.  A producer that sees a spinner needs no sleeper: a spinner that
 *    gives up says so first and then looks for faults.
 * 3. Only holders of `lock' touch first and last.  A holder's asynchronous
 *    signals are masked, because their handlers may fault and need a taker.
 *
 * `arrived' is emptied as a whole and reversed, so that no node is popped while
 * another taker looks at it, and faults are answered in their order.
 *
 * Waking a thread costs 3 us on the same processor and 50 us on another one
 * that has to be woken too.  So both sides look for each other for as long as
 * sleeping would cost, provided that it has paid lately, and that there are two
 * processors; no more than one taker does so.  The processor is not yielded
 * while looking: a runnable thread, unlike a sleeper, waits for its turn behind
 * threads that compute (4 ms).
 *
 * Whether it pays is learned from doing it only: how long a wait took that was
 * slept through says more about waking threads than about faults.  So after a
 * failure a number of waits are slept through, and then it is tried again.  The
 * faulting thread looks for longer, so that a try of its own can succeed while
 * the taker has to be woken; the taker's next try then finds it awake.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#ifdef HMM_POSIX_HAS_EVENTFD
#include <sys/eventfd.h>
#endif

#include "lib/base/assert.h"

enum { WAITING, ASLEEP, DONE };
enum { LOCK_FREE, LOCK_HELD, LOCK_WANTED };

#define SPIN_TAKER_NS UINT64_C(50000)
#define SPIN_WAITER_NS UINT64_C(100000)
#define SPIN_STEP 16u
/* Spinning goes on while the credit is positive; one failure in a few is
 * forgiven, the next ones are paid with this many waits. */
#define CREDIT_MAX 8
#define CREDIT_LOSS 4
#define CREDIT_PAUSE 32

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

static bool spin_pays(struct hmm_posix_spin *spin)
{
    return atomic_load_explicit(&spin->credit, memory_order_relaxed) > 0;
}

/* Two threads may lose a lesson. */
static void spin_learn(struct hmm_posix_spin *spin, bool spun, bool paid)
{
    int credit = atomic_load_explicit(&spin->credit, memory_order_relaxed);
    if (spun && !paid)
        credit = credit > 1 ? credit - CREDIT_LOSS : -CREDIT_PAUSE;
    else if (credit < (spun ? CREDIT_MAX : 1))
        credit++;
    atomic_store_explicit(&spin->credit, credit, memory_order_relaxed);
}

void hmm_posix_queue_open(struct hmm_posix_queue *queue,
                          struct hmm_posix_threads *threads, bool spin)
{
    queue->threads = threads;
    atomic_init(&queue->arrived, NULL);
    queue->first = queue->last = NULL;
    atomic_init(&queue->first_waits, 0);
    atomic_init(&queue->lock, LOCK_FREE);
    atomic_init(&queue->rings, 0);
    atomic_init(&queue->sleepers, 0);
    atomic_init(&queue->spinner, 0);
    atomic_init(&queue->stopping, 0);
    queue->spin = spin;
    atomic_init(&queue->taker.credit, CREDIT_MAX / 2);
    atomic_init(&queue->waiter.credit, CREDIT_MAX / 2);
    atomic_init(&queue->fd_read, -1);
    atomic_init(&queue->fd_write, -1);
    for (unsigned i = 0; i < HMM_POSIX_THREADS_MAX; i++)
        atomic_init(&queue->pagers[i], 0);
    atomic_init(&queue->pager_count, 0);
    atomic_init(&queue->pagers_blocked, 0);
    atomic_init(&queue->faults, 0);
    atomic_init(&queue->failed, 0);
    atomic_init(&queue->deadlocks, 0);
    atomic_init(&queue->sleeps, 0);
}

void hmm_posix_queue_close(struct hmm_posix_queue *queue)
{
    int fd_read = atomic_load(&queue->fd_read);
    int fd_write = atomic_load(&queue->fd_write);
    if (fd_read >= 0)
        (void)close(fd_read);
    if (fd_write >= 0 && fd_write != fd_read)
        (void)close(fd_write);
    atomic_store(&queue->fd_read, -1);
    atomic_store(&queue->fd_write, -1);
}

/* ---- The descriptor ---- */

/* An eventfd wants eight bytes, and a pipe takes them.  EAGAIN: it is readable
 * already. */
static void fd_raise(struct hmm_posix_queue *queue)
{
    int fd = atomic_load(&queue->fd_write);
    if (fd < 0)
        return;
    uint64_t one = 1;
    int cancel, saved = errno;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    (void)!write(fd, &one, sizeof(one));
    (void)pthread_setcancelstate(cancel, NULL);
    errno = saved;
}

static void fd_drain(struct hmm_posix_queue *queue)
{
    int fd = atomic_load(&queue->fd_read);
    if (fd < 0)
        return;
    char bytes[512];
    int saved = errno;
    ssize_t got;
    do
        got = read(fd, bytes, sizeof(bytes));
    while (got == (ssize_t)sizeof(bytes));
    errno = saved;
}

static int fd_make(int fds[2])
{
#ifdef HMM_POSIX_HAS_EVENTFD
    fds[0] = fds[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fds[0] < 0 ? errno : 0;
#else
    if (pipe(fds))
        return errno;
    for (int i = 0; i < 2; i++) {
        (void)fcntl(fds[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(fds[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
#endif
}

/* ---- The faulting thread ---- */

static void push(struct hmm_posix_queue *queue, struct hmm_posix_record *record)
{
    struct hmm_posix_record *head = atomic_load(&queue->arrived);
    do {
        record->next = head;
        HMM_POSIX_BEFORE(record);
    } while (!atomic_compare_exchange_weak(&queue->arrived, &head, record));
}

/* Ends a fault.  The record is gone when it returns. */
static void finish(struct hmm_posix_record *record, int error)
{
    record->error = error;
    HMM_POSIX_BEFORE(&record->state);
    if (atomic_exchange(&record->state, DONE) == ASLEEP)
        hmm_posix_word_wake(&record->state, 1);
}

static void finish_all(struct hmm_posix_record *record)
{
    while (record) {
        HMM_POSIX_AFTER(record);
        struct hmm_posix_record *next = record->next;
        finish(record, HMM_POSIX_NOBODY);
        record = next;
    }
}

/* Whoever spins sees it by himself, and says so when it is more than he takes. */
static void announce(struct hmm_posix_queue *queue)
{
    if (!atomic_load(&queue->spinner) && atomic_load(&queue->sleepers) > 0) {
        atomic_fetch_add(&queue->rings, 1);
        hmm_posix_word_wake(&queue->rings, 1);
    }
    fd_raise(queue);
    /* Nobody comes any more for what was pushed after the stop. */
    if (atomic_load(&queue->stopping))
        finish_all(atomic_exchange(&queue->arrived, NULL));
}

static bool spin_for_end(struct hmm_posix_record *record)
{
    do {
        for (unsigned i = 0; i < SPIN_STEP; i++) {
            if (atomic_load_explicit(&record->state, memory_order_acquire) ==
                DONE)
                return true;
            relax();
        }
    } while (hmm_posix_now() - record->time_ns < SPIN_WAITER_NS);
    return false;
}

static void wait_for_end(struct hmm_posix_queue *queue,
                         struct hmm_posix_record *record)
{
    bool spun = queue->spin && spin_pays(&queue->waiter);
    bool paid = spun && spin_for_end(record);
    if (queue->spin)
        spin_learn(&queue->waiter, spun, paid);
    if (paid)
        return;
    uint32_t state = WAITING;
    if (!atomic_compare_exchange_strong(&record->state, &state, ASLEEP))
        return;
    atomic_fetch_add(&queue->sleeps, 1);
    while (atomic_load(&record->state) != DONE)
        (void)hmm_posix_word_wait(&record->state, ASLEEP, HURDMM_FOREVER);
}

static bool is_pager(struct hmm_posix_queue *queue, uint64_t thread)
{
    for (unsigned i = 0; i < HMM_POSIX_THREADS_MAX; i++) {
        uint64_t pager =
            atomic_load_explicit(&queue->pagers[i], memory_order_relaxed);
        if (pager == thread)
            return true;
        if (!pager)
            break;
    }
    return false;
}

int hmm_posix_queue_wait_for(struct hmm_posix_queue *queue,
                             const struct hurdmm_fault *fault)
{
    if (atomic_load(&queue->stopping))
        return HMM_POSIX_NOBODY;
    bool pager = is_pager(queue, fault->thread);
    if (pager && atomic_fetch_add(&queue->pagers_blocked, 1) + 1 >=
                     atomic_load(&queue->pager_count)) {
        atomic_fetch_sub(&queue->pagers_blocked, 1);
        atomic_fetch_add(&queue->deadlocks, 1);
        atomic_fetch_add(&queue->failed, 1);
        return EDEADLK;
    }
    struct hmm_posix_record record = {.fault = *fault};
    atomic_init(&record.state, WAITING);
    record.fault.token = (uintptr_t)&record;
    record.time_ns = hmm_posix_now();
    atomic_fetch_add_explicit(&queue->faults, 1, memory_order_relaxed);
    push(queue, &record);
    announce(queue);
    wait_for_end(queue, &record);
    HMM_POSIX_AFTER(&record.state);
    if (pager)
        atomic_fetch_sub(&queue->pagers_blocked, 1);
    if (record.error)
        atomic_fetch_add(&queue->failed, 1);
    return record.error;
}

/* ---- Those who take ---- */

static uintptr_t lock(struct hmm_posix_queue *queue)
{
    uintptr_t mask = hmm_posix_mask(queue->threads);
    uint32_t state = LOCK_FREE;
    if (!atomic_compare_exchange_strong(&queue->lock, &state, LOCK_HELD))
        while (atomic_exchange(&queue->lock, LOCK_WANTED) != LOCK_FREE)
            (void)hmm_posix_word_wait(&queue->lock, LOCK_WANTED,
                                      HURDMM_FOREVER);
    HMM_POSIX_AFTER(&queue->lock);
    return mask;
}

static void unlock(struct hmm_posix_queue *queue, uintptr_t mask)
{
    HMM_POSIX_BEFORE(&queue->lock);
    if (atomic_exchange(&queue->lock, LOCK_FREE) == LOCK_WANTED)
        hmm_posix_word_wake(&queue->lock, 1);
    hmm_posix_unmask(queue->threads, mask);
}

/* Appends what has arrived, oldest first. */
static void collect(struct hmm_posix_queue *queue)
{
    struct hmm_posix_record *record = atomic_exchange(&queue->arrived, NULL);
    struct hmm_posix_record *first = NULL, *last = record;
    while (record) {
        HMM_POSIX_AFTER(record);
        struct hmm_posix_record *next = record->next;
        record->next = first;
        first = record;
        record = next;
    }
    if (!first)
        return;
    if (queue->first)
        queue->last->next = first;
    else
        queue->first = first;
    queue->last = last;
}

static size_t take_some(struct hmm_posix_queue *queue,
                        struct hurdmm_fault *faults, size_t max)
{
    size_t count = 0;
    if (!atomic_load(&queue->first_waits) && !atomic_load(&queue->arrived) &&
        atomic_load(&queue->fd_read) < 0)
        return 0;
    uintptr_t mask = lock(queue);
    fd_drain(queue);
    collect(queue);
    while (count < max && queue->first) {
        faults[count++] = queue->first->fault;
        queue->first = queue->first->next;
    }
    atomic_store(&queue->first_waits, queue->first != NULL);
    if (queue->first)
        announce(queue);
    unlock(queue, mask);
    return count;
}

static bool something(struct hmm_posix_queue *queue)
{
    return atomic_load(&queue->arrived) || atomic_load(&queue->first_waits) ||
           atomic_load(&queue->stopping);
}

static void spin_for_fault(struct hmm_posix_queue *queue, uint64_t since_ns,
                           uint64_t timeout_ns)
{
    uint64_t limit_ns = timeout_ns < SPIN_TAKER_NS ? timeout_ns : SPIN_TAKER_NS;
    if (!queue->spin)
        return;
    if (!spin_pays(&queue->taker)) {
        spin_learn(&queue->taker, false, false);
        return;
    }
    if (atomic_exchange(&queue->spinner, 1))
        return;
    do {
        for (unsigned i = 0; i < SPIN_STEP && !something(queue); i++)
            relax();
    } while (!something(queue) && hmm_posix_now() - since_ns < limit_ns);
    atomic_store(&queue->spinner, 0);
    spin_learn(&queue->taker, true, something(queue));
}

static int sleep_for_fault(struct hmm_posix_queue *queue, uint64_t timeout_ns)
{
    int error = 0;
    uint32_t rings = atomic_load(&queue->rings);
    atomic_fetch_add(&queue->sleepers, 1);
    if (!something(queue))
        error = hmm_posix_word_wait(&queue->rings, rings, timeout_ns);
    atomic_fetch_sub(&queue->sleepers, 1);
    return error;
}

static void pager_add(struct hmm_posix_queue *queue, uint64_t thread)
{
    if (is_pager(queue, thread))
        return;
    for (unsigned i = 0; i < HMM_POSIX_THREADS_MAX; i++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&queue->pagers[i], &none, thread)) {
            atomic_fetch_add(&queue->pager_count, 1);
            return;
        }
    }
}

/* What is left of the time that began at since_ns; 0: it is over. */
static uint64_t time_left(uint64_t since_ns, uint64_t timeout_ns)
{
    if (timeout_ns == 0 || timeout_ns == HURDMM_FOREVER)
        return timeout_ns;
    uint64_t passed_ns = hmm_posix_now() - since_ns;
    return passed_ns < timeout_ns ? timeout_ns - passed_ns : 0;
}

static int take_or_sleep(struct hmm_posix_queue *queue,
                         struct hurdmm_fault *faults, size_t max,
                         uint64_t timeout_ns, size_t *count)
{
    uint64_t since_ns = hmm_posix_now();
    for (;;) {
        if (atomic_load(&queue->stopping))
            return ECANCELED;
        *count = take_some(queue, faults, max);
        if (*count)
            break;
        uint64_t left_ns = time_left(since_ns, timeout_ns);
        if (!left_ns)
            return ETIMEDOUT;
        spin_for_fault(queue, since_ns, timeout_ns);
        left_ns = time_left(since_ns, timeout_ns);
        if (left_ns)
            (void)sleep_for_fault(queue, left_ns);
    }
    return 0;
}

int hmm_posix_queue_take(struct hmm_posix_queue *queue, uint64_t thread,
                         struct hurdmm_fault *faults, size_t max,
                         uint64_t timeout_ns, size_t *count)
{
    hmm_assert(faults != NULL && max > 0);
    size_t taken = 0;
    pager_add(queue, thread);
    int error = take_or_sleep(queue, faults, max, timeout_ns, &taken);
    if (!error)
        *count = taken;
    return error;
}

void hmm_posix_queue_done(struct hmm_posix_queue *queue,
                          const struct hurdmm_fault *fault, int error)
{
    hmm_assert(fault->token != 0 && error >= 0);
    (void)queue;
    finish((struct hmm_posix_record *)fault->token, error);
}

void hmm_posix_queue_stop(struct hmm_posix_queue *queue)
{
    atomic_store(&queue->stopping, 1);
    uintptr_t mask = lock(queue);
    collect(queue);
    struct hmm_posix_record *left = queue->first;
    queue->first = queue->last = NULL;
    atomic_store(&queue->first_waits, 0);
    unlock(queue, mask);
    finish_all(left);
    atomic_fetch_add(&queue->rings, 1);
    hmm_posix_word_wake(&queue->rings, UINT_MAX);
    fd_raise(queue);
}

int hmm_posix_queue_fd(struct hmm_posix_queue *queue, int *fd)
{
    uintptr_t mask = lock(queue);
    int error = 0;
    if (atomic_load(&queue->fd_read) < 0) {
        int fds[2];
        error = fd_make(fds);
        if (!error) {
            atomic_store(&queue->fd_read, fds[0]);
            atomic_store(&queue->fd_write, fds[1]);
        }
    }
    if (!error)
        *fd = atomic_load(&queue->fd_read);
    unlock(queue, mask);
    if (!error && something(queue))
        fd_raise(queue);
    return error;
}
