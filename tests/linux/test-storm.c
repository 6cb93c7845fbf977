/* SPDX-License-Identifier: MIT */
/*
 * The linux port in bad weather: millions of faults in a tenth of the memory,
 * evictions by a thread that nobody could help, and other threads that take the
 * address space to pieces meanwhile.
 */
#include "tests/linux/rig.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PAGES ((size_t)2048)
#define THREADS 2u

static const struct rig_options ways[] = {
    {.pages = PAGES, .budget = PAGES / 10},
    {.pages = PAGES, .budget = PAGES / 10, .bind_flags = HURDMM_BIND_INLINE},
};

#define WAYS 2

/* Two programs are made of this, which can run side by side. */
#ifdef STORM_INLINE
#define WAY 1
#define NAME "tests/linux/test-storm-inline"
#else
#define WAY 0
#define NAME "tests/linux/test-storm"
#endif

static struct rig rig;

/* ---- Millions of faults -------------------------------------------------- */

/* In each of SLICES tests; together with what the other configurations do of
 * them, ten millions, which tools/check counts.  Inline ones take a third of the
 * time. */
#define FAULTS_PAGERS ((size_t)200000)
#define FAULTS_INLINE ((size_t)660000)
#define SLICES 10

/* ThreadSanitizer makes a fault ten times as long.  And it keeps signals back
 * until a call that it knows, such as a store's memcpy in the middle of a
 * fault. */
#ifdef __SANITIZE_THREAD__
#define PART 4u
#define WAYS_RUNG 1
#else
#define PART 1u
#define WAYS_RUNG WAYS
#endif

/* In the first page. */
struct locked {
    pthread_mutex_t mutex;
    uint64_t count;
};

struct counter {
    pthread_t thread;
    unsigned number;
    uint64_t target, locked;
    uint32_t *count; /* what the thread's word in each page must be */
    uint64_t wrong;
};

static uint64_t faults(void)
{
    struct hurdmm_linux_counters counters = {.struct_size = sizeof counters};
    (void)hurdmm_linux_get_counters(rig.port, &counters);
    return counters.faults + counters.faults_inline;
}

static volatile uint32_t *word_in(size_t page, unsigned number)
{
    return (volatile uint32_t *)(uintptr_t)rig_at(&rig, page) + 128 + number;
}

static void *count(void *argument)
{
    struct counter *counter = argument;
    struct locked *locked = (struct locked *)(uintptr_t)rig_at(&rig, 0);
    uint32_t state = counter->number + 1;
    for (uint64_t i = 1; i % 256 || faults() < counter->target; i++) {
        state = state * 1664525 + 1013904223;
        size_t page = (state >> 8) % PAGES;
        volatile uint32_t *word = word_in(page, counter->number);
        if (*word != counter->count[page])
            counter->wrong++;
        if (state >> 28 == 0)
            *word = ++counter->count[page];
        if (i % 16)
            continue;
        pthread_mutex_lock(&locked->mutex);
        locked->count++;
        pthread_mutex_unlock(&locked->mutex);
        counter->locked++;
    }
    return NULL;
}

static void start(struct counter *counter, unsigned number, uint64_t target)
{
    *counter = (struct counter){.number = number, .target = target};
    counter->count = calloc(PAGES, sizeof *counter->count);
    ck_assert_ptr_nonnull(counter->count);
    for (size_t page = 0; page < PAGES; page++)
        counter->count[page] = (uint8_t)(page + 1) * 0x01010101u;
    ck_assert_int_eq(pthread_create(&counter->thread, NULL, count, counter), 0);
}

/* The number of times it had the mutex. */
static uint64_t finish(struct counter *counter)
{
    ck_assert_int_eq(pthread_join(counter->thread, NULL), 0);
    ck_assert_uint_eq(counter->wrong, 0);
    for (size_t page = 0; page < PAGES; page++)
        ck_assert_uint_eq(*word_in(page, counter->number),
                          counter->count[page]);
    free(counter->count);
    return counter->locked;
}

static void lock_first_page(bool lock)
{
    int (*call)(struct hurdmm_space *, uintptr_t, size_t, unsigned) =
        lock ? hurdmm_pin : hurdmm_unpin;
    ck_assert_int_eq(
        call(rig.space, rig.region, PAGE, HURDMM_READ | HURDMM_WRITE), 0);
}

START_TEST(millions_of_faults_lose_no_count)
{
    struct counter counters[THREADS];
    const struct rig_options *way = &ways[WAY];
    uint64_t sum = 0;
    uint64_t target =
        test_scaled((way->bind_flags ? FAULTS_INLINE : FAULTS_PAGERS) / PART);
    if (!rig_open(&rig, way))
        return;
    struct locked *locked = (struct locked *)rig.region;
    /* Who waits for the mutex may not find it absent. */
    bool pins = rig_is_inline(&rig, way);
    if (pins)
        lock_first_page(true);
    ck_assert_int_eq(pthread_mutex_init(&locked->mutex, NULL), 0);
    locked->count = 0;
    for (unsigned i = 0; i < THREADS; i++)
        start(&counters[i], i + (unsigned)_i, target);
    for (unsigned i = 0; i < THREADS; i++)
        sum += finish(&counters[i]);
    ck_assert_uint_eq(locked->count, sum);
    ck_assert_uint_ge(faults(), target);
    test_faults(faults());
    if (pins)
        lock_first_page(false);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

/* ---- Alone --------------------------------------------------------------- */

static const struct rig_options alone = {.pages = 256,
                                         .budget = 26,
                                         .bind_flags = HURDMM_BIND_INLINE,
                                         .manager_flags = HURDMM_NO_THREADS};

/* Whoever sleeps, waits for another thread or takes memory from now on dies.
 * Sanitizers do all of that themselves.  false: there are no filters here. */
static bool forbid_waiting(void)
{
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
#define DIES(name)                                                             \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1),                     \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        DIES(futex),
        DIES(nanosleep),
        DIES(clock_nanosleep),
        DIES(poll),
        DIES(ppoll),
        DIES(sched_yield),
        DIES(mmap),
        DIES(brk),
        DIES(clone),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0],
                                 .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return false;
#endif
    return true;
}

#define UNABLE 77 /* exit status: nothing to test here */

/* Writes pages drawn by lot and looks whether they are what they were. */
static bool write_by_lot(uint8_t *model, size_t steps, uint32_t *state)
{
    for (size_t i = 0; i < steps; i++) {
        *state = *state * 1664525 + 1013904223;
        size_t page = (*state >> 8) % alone.pages;
        if (rig_at(&rig, page)[5] != model[page])
            return false;
        rig_at(&rig, page)[5] = model[page] = (uint8_t)i;
    }
    return true;
}

static void evict_alone(void *argument)
{
    static uint8_t model[256];
    uint32_t state = 3;
    (void)argument;
    if (!rig_open(&rig, &alone))
        _exit(UNABLE);
    for (size_t page = 0; page < alone.pages; page++)
        model[page] = (uint8_t)(page + 1);
    if (!write_by_lot(model, 2000, &state))
        _exit(1);
    if (!forbid_waiting())
        _exit(UNABLE);
    uint64_t before = faults();
    if (!write_by_lot(model, test_scaled(30000), &state))
        _exit(2);
    _exit(faults() > before ? 0 : 3);
}

START_TEST(who_evicts_for_himself_neither_waits_nor_allocates)
{
    int status = in_child(evict_alone, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == UNABLE) {
        test_skip("the machine does not have this port, or no filters");
        return;
    }
    ck_assert_msg(!WIFSIGNALED(status), "it died of signal %d",
                  WTERMSIG(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

/* ---- Faults in signal handlers -------------------------------------------- */

static volatile sig_atomic_t rung;
static atomic_uint wrong;

/* Finds the main thread anywhere: in a fault, in the library, at rest. */
static void ring(int signal)
{
    static uint32_t state = 7;
    (void)signal;
    state = state * 1664525 + 1013904223;
    size_t page = (state >> 8) % PAGES;
    if (rig_at(&rig, page)[100] != (uint8_t)(page + 1))
        atomic_fetch_add(&wrong, 1);
    rig_at(&rig, page)[101] = (uint8_t)state;
    rung++;
}

static void set_bell(long us)
{
    struct itimerval timer = {.it_interval = {0, us}, .it_value = {0, us}};
    ck_assert_int_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

START_TEST(a_signal_handler_may_fault_at_any_time)
{
    struct sigaction action = {.sa_handler = ring, .sa_flags = SA_RESTART};
    uint8_t states[64];
    if (!rig_open(&rig, &ways[_i]))
        return;
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGBUS);
    sigdelset(&action.sa_mask, SIGSEGV);
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    int rings = (int)test_scaled(1500);
    set_bell(300);
    for (size_t i = 0; rung < rings; i = (i * 5 + 3) % PAGES) {
        /* Nothing that runs the store on this thread: who interrupts that is
         * a part of it. */
        if (hurdmm_resident(rig.space, rig.region, sizeof states * PAGE,
                            states))
            atomic_fetch_add(&wrong, 1);
        if (rig_at(&rig, PAGES - 1 - i)[7] != (uint8_t)(PAGES - i))
            atomic_fetch_add(&wrong, 1);
    }
    set_bell(0);
    ck_assert_uint_eq(atomic_load(&wrong), 0);
    rig_check(&rig);
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("storm");
    TCase *tcase = tcase_create("faults");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, millions_of_faults_lose_no_count, 0, SLICES);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("alone");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, who_evicts_for_himself_neither_waits_nor_allocates);
    tcase_add_loop_test(tcase, a_signal_handler_may_fault_at_any_time, 0,
                        WAYS_RUNG);
    suite_add_tcase(suite, tcase);
    return run_suites(NAME, &suite, 1);
}
