/* SPDX-License-Identifier: MIT */
/* Simulated threads and their scheduler.
 *
 * A thread is READY or blocked; one READY thread is running (`self`).  Who
 * blocks, or loses the processor at a point, chooses the next and switches to
 * it.  Every change of state takes a number, `turn`: those who wait for the
 * same thing are served in its order, or at random (HURDMM_SIM_RANDOM).
 *
 * The clock advances a little at every point.  When all are blocked it jumps to
 * the earliest timeout.  When there is none, or when timeouts alone have kept
 * the machine going for very long, the blocked threads are deadlocked.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/sim/machine.h"

#define POINT_NS 50
/* Points that a thread passes at most under HURDMM_SIM_FAIR. */
#define QUANTUM 1000
/* Jumps of the clock without an application thread's running: a deadlock that
 * periodic threads of the library hide. */
#define IDLE_JUMPS_MAX 100000
#define DEFAULT_STACK ((size_t)256 * 1024)
#define DEFAULT_PERMILLE 100

static bool is_random(const struct hmm_sim *sim)
{
    return sim->options.schedule == HURDMM_SIM_RANDOM;
}

static bool chance(struct hmm_sim *sim, unsigned permille)
{
    return permille != 0 && hmm_rand_below(&sim->rand, 1000) < permille;
}

/* Draws the points until the next switch: uniform, with the mean that makes
 * switches as frequent as was asked. */
static void draw_budget(struct hmm_sim *sim)
{
    if (!is_random(sim)) {
        sim->budget = QUANTUM;
        return;
    }
    unsigned permille = sim->options.switch_permille;
    if (permille == 0)
        permille = DEFAULT_PERMILLE;
    uint64_t most = 2 * 1000 / (uint64_t)permille;
    sim->budget = most < 2 ? 1 : 1 + hmm_rand_below(&sim->rand, most - 1);
}

int hmm_sim_threads_init(struct hmm_sim *sim)
{
    sim->threads = malloc(4 * sizeof *sim->threads);
    if (sim->threads == NULL)
        return ENOMEM;
    sim->thread_capacity = 4;
    sim->thread_count = 1;
    sim->threads[0] = &sim->main;
    sim->main.id = sim->last_id = 1;
    sim->main.application = true;
    sim->main.deadline = HURDMM_FOREVER;
    sim->main.port = &sim->port;
    hmm_sim_context_adopt(&sim->main.context);
    sim->self = &sim->main;
    sim->next_deadline = HURDMM_FOREVER;
    hmm_rand_init(&sim->rand, sim->options.seed);
    draw_budget(sim);
    return 0;
}

static void thread_free(struct hmm_sim_thread *thread)
{
    hmm_sim_context_free(&thread->context);
    free(thread);
}

static void reap(struct hmm_sim *sim)
{
    if (sim->dead != NULL)
        thread_free(sim->dead);
    sim->dead = NULL;
}

void hmm_sim_threads_free(struct hmm_sim *sim)
{
    hmm_assert(sim->self == &sim->main);
    reap(sim);
    for (size_t i = 1; i < sim->thread_count; i++)
        thread_free(sim->threads[i]);
    free(sim->threads);
}

static void forget(struct hmm_sim *sim, struct hmm_sim_thread *thread)
{
    size_t i = 1;
    while (sim->threads[i] != thread)
        i++;
    for (sim->thread_count--; i < sim->thread_count; i++)
        sim->threads[i] = sim->threads[i + 1];
}

static struct hmm_sim_thread *thread_by_id(struct hmm_sim *sim, uint64_t id)
{
    for (size_t i = 0; i < sim->thread_count; i++)
        if (sim->threads[i]->id == id)
            return sim->threads[i];
    return NULL;
}

static void enter_state(struct hmm_sim *sim, struct hmm_sim_thread *thread,
                        enum hmm_sim_state state)
{
    thread->state = state;
    thread->since = ++sim->turn;
}

void hmm_sim_unblock(struct hmm_sim *sim, struct hmm_sim_thread *thread,
                     int result)
{
    hmm_assert(thread->state != THREAD_READY);
    enter_state(sim, thread, THREAD_READY);
    thread->deadline = HURDMM_FOREVER;
    thread->result = result;
}

/* The one of a state (and of a word) to be served next. */
static struct hmm_sim_thread *choose(struct hmm_sim *sim,
                                     enum hmm_sim_state state,
                                     const uint32_t *word,
                                     const struct hmm_sim_thread *except)
{
    struct hmm_sim_thread *best = NULL;
    uint64_t seen = 0;
    for (size_t i = 0; i < sim->thread_count; i++) {
        struct hmm_sim_thread *thread = sim->threads[i];
        if (thread->state != state || thread == except)
            continue;
        if (word != NULL && thread->word != word)
            continue;
        bool better = best == NULL || thread->since < best->since;
        if (is_random(sim) && best != NULL)
            better = hmm_rand_below(&sim->rand, seen + 1) == 0;
        seen++;
        if (better)
            best = thread;
    }
    return best;
}

struct hmm_sim_thread *hmm_sim_oldest(struct hmm_sim *sim,
                                      enum hmm_sim_state state)
{
    struct hmm_sim_thread *best = NULL;
    for (size_t i = 0; i < sim->thread_count; i++) {
        struct hmm_sim_thread *thread = sim->threads[i];
        if (thread->state == state &&
            (best == NULL || thread->since < best->since))
            best = thread;
    }
    return best;
}

/* Ends the waits whose time has come. */
static void expire(struct hmm_sim *sim)
{
    if (sim->clock < sim->next_deadline)
        return;
    sim->next_deadline = HURDMM_FOREVER;
    for (size_t i = 0; i < sim->thread_count; i++) {
        struct hmm_sim_thread *thread = sim->threads[i];
        if (thread->deadline <= sim->clock)
            hmm_sim_unblock(sim, thread, ETIMEDOUT);
        else if (thread->deadline < sim->next_deadline)
            sim->next_deadline = thread->deadline;
    }
}

/* Moves the clock to the next timeout; whether there was one. */
static bool jump(struct hmm_sim *sim)
{
    if (sim->next_deadline == HURDMM_FOREVER)
        return false;
    if (sim->clock < sim->next_deadline)
        sim->clock = sim->next_deadline;
    expire(sim);
    return true;
}

/* What may happen at any time and seldom does. */
static void stir(struct hmm_sim *sim)
{
    if (!is_random(sim))
        return;
    if (chance(sim, sim->options.spurious_permille)) {
        struct hmm_sim_thread *parked = choose(sim, THREAD_PARKED, NULL, NULL);
        if (parked != NULL)
            hmm_sim_unblock(sim, parked, 0);
    }
    if (chance(sim, sim->options.early_permille))
        jump(sim);
}

static void print_threads(struct hmm_sim *sim)
{
    static const char *const states[] = {
        [THREAD_READY] = "ready",
        [THREAD_PARKED] = "parked",
        [THREAD_FAULTED] = "waits for the end of a fault",
        [THREAD_FAULT_WAIT] = "waits for faults",
        [THREAD_JOINING] = "joins another",
        [THREAD_SLEEPING] = "sleeps",
        [THREAD_RUN] = "runs the others",
        [THREAD_SETTLING] = "lets the others settle",
        [THREAD_ENDED] = "ended, not joined",
    };
    fprintf(stderr, "simulated machine: seed %" PRIu64 ", clock %" PRIu64 "\n",
            sim->options.seed, sim->clock);
    for (size_t i = 0; i < sim->thread_count; i++) {
        const struct hmm_sim_thread *thread = sim->threads[i];
        fprintf(stderr, "thread %" PRIu64 " of the %s %s%s", thread->id,
                thread->application ? "application" : "library",
                states[thread->state],
                thread->cookie != 0 ? ", in a critical section" : "");
        if (thread->state == THREAD_PARKED)
            fprintf(stderr, " on %p = %" PRIu32, (void *)thread->word,
                    *thread->word);
        if (thread->state == THREAD_FAULTED)
            fprintf(stderr, " at %#" PRIxPTR ", %s", thread->fault.address,
                    thread->fault_taken ? "taken" : "not taken");
        if (thread->state == THREAD_JOINING)
            fprintf(stderr, ": %" PRIu64, thread->joins);
        fprintf(stderr, "\n");
    }
}

/* Nobody can run.  main either gets to know it or is the one who waits in
 * vain. */
static void deadlock(struct hmm_sim *sim)
{
    if (sim->main.state == THREAD_RUN) {
        hmm_sim_unblock(sim, &sim->main, EDEADLK);
        return;
    }
    fprintf(stderr, "simulated machine: main is blocked for ever\n");
    print_threads(sim);
    abort();
}

/* Makes somebody ready if nobody is. */
static struct hmm_sim_thread *next_thread(struct hmm_sim *sim,
                                          const struct hmm_sim_thread *except)
{
    expire(sim);
    stir(sim);
    struct hmm_sim_thread *next = choose(sim, THREAD_READY, NULL, except);
    while (next == NULL) {
        if (except != NULL && except->state == THREAD_READY)
            return NULL;
        if (sim->main.state == THREAD_SETTLING)
            hmm_sim_unblock(sim, &sim->main, 0);
        else if (++sim->idle_jumps > IDLE_JUMPS_MAX || !jump(sim))
            deadlock(sim);
        next = choose(sim, THREAD_READY, NULL, NULL);
    }
    if (next->application)
        sim->idle_jumps = 0;
    return next;
}

/* Goes on in `next`; returns when it is the caller's turn again. */
static void switch_to(struct hmm_sim *sim, struct hmm_sim_thread *next)
{
    struct hmm_sim_thread *self = sim->self;
    draw_budget(sim);
    if (next == self)
        return;
    sim->stats.switches++;
    HMM_SIM_NOTE(sim, EVENT_SWITCH, next->id);
    sim->self = next;
    hmm_sim_context_switch(&self->context, &next->context,
                           self->state == THREAD_ENDED);
    reap(sim);
}

void hmm_sim_point(struct hmm_sim *sim)
{
    sim->clock += POINT_NS;
    if (sim->clock >= sim->next_deadline)
        expire(sim);
    if (--sim->budget != 0)
        return;
    hurdmm_sim_yield(&sim->port);
}

void hurdmm_sim_yield(struct hurdmm_port *port)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    sim->clock += POINT_NS;
    struct hmm_sim_thread *next = next_thread(sim, sim->self);
    if (next == NULL) {
        draw_budget(sim);
        return;
    }
    enter_state(sim, sim->self, THREAD_READY);
    switch_to(sim, next);
}

int hmm_sim_block(struct hmm_sim *sim, enum hmm_sim_state state,
                  uint64_t timeout_ns)
{
    struct hmm_sim_thread *self = sim->self;
    hmm_assert(self->state == THREAD_READY);
    enter_state(sim, self, state);
    self->deadline = HURDMM_FOREVER;
    if (timeout_ns < HURDMM_FOREVER - sim->clock)
        self->deadline = sim->clock + timeout_ns;
    if (self->deadline < sim->next_deadline)
        sim->next_deadline = self->deadline;
    switch_to(sim, next_thread(sim, NULL));
    hmm_assert(self->state == THREAD_READY);
    return self->result;
}

/* The end of a thread: an application's is forgotten, the library's waits for
 * its join. */
static void end(struct hmm_sim *sim)
{
    struct hmm_sim_thread *self = sim->self;
    HMM_SIM_NOTE(sim, EVENT_THREAD_END, self->id);
    if (self->cookie != 0)
        hmm_sim_violation(sim, "thread %" PRIu64 " ended in a critical section",
                          self->id);
    enter_state(sim, self, THREAD_ENDED);
    for (size_t i = 0; i < sim->thread_count; i++) {
        struct hmm_sim_thread *other = sim->threads[i];
        if (other->state == THREAD_JOINING && other->joins == self->id)
            hmm_sim_unblock(sim, other, 0);
    }
    if (self->application) {
        if (--sim->applications == 0 && sim->main.state == THREAD_RUN)
            hmm_sim_unblock(sim, &sim->main, 0);
        forget(sim, self);
        sim->dead = self;
    }
    switch_to(sim, next_thread(sim, NULL));
    HMM_UNREACHABLE();
}

static void body(void *argument)
{
    struct hmm_sim_thread *thread = argument;
    struct hmm_sim *sim = hmm_sim_of(thread->port);
    reap(sim);
    thread->entry(thread->argument);
    end(sim);
}

static int room_for_thread(struct hmm_sim *sim)
{
    if (sim->thread_count < sim->thread_capacity)
        return 0;
    size_t capacity = 2 * sim->thread_capacity;
    void *threads = realloc(sim->threads, capacity * sizeof *sim->threads);
    if (threads == NULL)
        return ENOMEM;
    sim->threads = threads;
    sim->thread_capacity = capacity;
    return 0;
}

static int start(struct hmm_sim *sim, void (*entry)(void *argument),
                 void *argument, bool application, uint64_t *id)
{
    if (room_for_thread(sim) != 0)
        return ENOMEM;
    struct hmm_sim_thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL)
        return ENOMEM;
    size_t size = sim->options.stack_size;
    int error = hmm_sim_context_make(
        &thread->context, size != 0 ? size : DEFAULT_STACK, body, thread);
    if (error != 0) {
        free(thread);
        return error;
    }
    thread->id = ++sim->last_id;
    thread->application = application;
    thread->deadline = HURDMM_FOREVER;
    thread->entry = entry;
    thread->argument = argument;
    thread->port = &sim->port;
    enter_state(sim, thread, THREAD_READY);
    sim->threads[sim->thread_count++] = thread;
    *id = thread->id;
    return 0;
}

int hmm_sim_thread_start(struct hurdmm_port *port,
                         void (*entry)(void *argument), void *argument,
                         uint64_t *thread)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    if ((sim->features & HURDMM_PORT_THREADS) == 0)
        return ENOTSUP;
    hmm_sim_point(sim);
    int error = hmm_sim_fallible(sim, HURDMM_SIM_THREAD_START);
    if (error == 0)
        error = start(sim, entry, argument, false, thread);
    HMM_SIM_NOTE(sim, EVENT_THREAD_START, error == 0 ? *thread : 0,
                 (uint64_t)error);
    return error;
}

int hmm_sim_thread_join(struct hurdmm_port *port, uint64_t thread)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    if ((sim->features & HURDMM_PORT_THREADS) == 0)
        return ENOTSUP;
    hmm_sim_point(sim);
    struct hmm_sim_thread *other = thread_by_id(sim, thread);
    if (other == NULL || other->application || other == sim->self) {
        hmm_sim_violation(
            sim, "thread_join: %" PRIu64 " is no thread to be joined", thread);
        return EINVAL;
    }
    if (other->state != THREAD_ENDED) {
        sim->self->joins = thread;
        hmm_sim_block(sim, THREAD_JOINING, HURDMM_FOREVER);
    }
    hmm_assert(other->state == THREAD_ENDED);
    forget(sim, other);
    thread_free(other);
    HMM_SIM_NOTE(sim, EVENT_THREAD_JOIN, thread);
    return 0;
}

uint64_t hmm_sim_thread_self(struct hurdmm_port *port)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    return sim->self->id;
}

int hmm_sim_park(struct hurdmm_port *port, uint32_t *word, uint32_t expected,
                 uint64_t timeout_ns)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    int error = 0;
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == expected) {
        sim->stats.parks++;
        sim->self->word = word;
        error = hmm_sim_block(sim, THREAD_PARKED, timeout_ns);
    }
    HMM_SIM_NOTE(sim, EVENT_PARK, expected, timeout_ns, (uint64_t)error);
    return error;
}

void hmm_sim_wake(struct hurdmm_port *port, uint32_t *word, unsigned count)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    unsigned woken = 0;
    while (woken < count) {
        struct hmm_sim_thread *next = choose(sim, THREAD_PARKED, word, NULL);
        if (next == NULL)
            break;
        hmm_sim_unblock(sim, next, 0);
        woken++;
    }
    sim->stats.wakes += woken;
    HMM_SIM_NOTE(sim, EVENT_WAKE, count, woken);
}

int hmm_sim_critical_enter(struct hurdmm_port *port, uintptr_t *cookie)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    struct hmm_sim_thread *self = sim->self;
    int error = hmm_sim_fallible(sim, HURDMM_SIM_CRITICAL);
    if (self->cookie != 0)
        hmm_sim_violation(
            sim, "critical_enter: thread %" PRIu64 " is in a critical section",
            self->id);
    if (error == 0) {
        self->cookie = (uintptr_t)++sim->turn;
        *cookie = self->cookie;
    }
    HMM_SIM_NOTE(sim, EVENT_CRITICAL_ENTER, (uint64_t)error);
    return error;
}

void hmm_sim_critical_leave(struct hurdmm_port *port, uintptr_t cookie)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    if (sim->self->cookie == 0 || sim->self->cookie != cookie)
        hmm_sim_violation(sim,
                          "critical_leave: thread %" PRIu64
                          " did not enter with this cookie",
                          sim->self->id);
    sim->self->cookie = 0;
    HMM_SIM_NOTE(sim, EVENT_CRITICAL_LEAVE, 0);
}

uint64_t hmm_sim_clock(struct hurdmm_port *port)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_sim_point(sim);
    return sim->clock;
}

int hurdmm_sim_spawn(struct hurdmm_port *port, void (*entry)(void *argument),
                     void *argument, uint64_t *thread)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    uint64_t id;
    int error = start(sim, entry, argument, true, &id);
    if (error != 0)
        return error;
    sim->applications++;
    HMM_SIM_NOTE(sim, EVENT_SPAWN, id);
    if (thread != NULL)
        *thread = id;
    return 0;
}

int hurdmm_sim_run(struct hurdmm_port *port)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_assert(sim->self == &sim->main);
    if (sim->applications == 0)
        return 0;
    return hmm_sim_block(sim, THREAD_RUN, HURDMM_FOREVER);
}

void hurdmm_sim_settle(struct hurdmm_port *port)
{
    struct hmm_sim *sim = hmm_sim_of(port);
    hmm_assert(sim->self == &sim->main);
    hmm_sim_block(sim, THREAD_SETTLING, HURDMM_FOREVER);
}

void hurdmm_sim_sleep(struct hurdmm_port *port, uint64_t time_ns)
{
    hmm_sim_block(hmm_sim_of(port), THREAD_SLEEPING, time_ns);
}
