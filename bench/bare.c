/* SPDX-License-Identifier: MIT */
/* bare.c - the bare hand-over.
 *
 * `state' goes from IDLE to ASKED (handler), to DONE (pager), to IDLE
 * (handler).  Whoever is about to sleep on it says so first and looks again,
 * whoever changes it looks for sleepers afterwards.
 */
#define _GNU_SOURCE

#include "bench/bare.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/posix/word.h"
#include "bench/report.h"
#include "hurdmm/types.h"

#define SPIN_NS 50000u
#define SPIN_STEP 16u

enum { IDLE, ASKED, DONE, STOP };

static struct {
    int fd;
    char *window, *region;
    const char *source;
    size_t page, size;
    atomic_bool spin;
    enum bare_work work;
    uint32_t next_frame;
    uintptr_t address;
    pthread_t pager;
    struct sigaction before;
} bare;

/* Lines of their own, as a good implementation would have it. */
static _Alignas(64) _Atomic uint32_t state;
static _Alignas(64) atomic_uint sleepers;

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Waits until the state is `wanted`, or STOP. */
static uint32_t await(uint32_t wanted)
{
    bool spin = atomic_load_explicit(&bare.spin, memory_order_relaxed);
    uint64_t since_ns = spin ? now_ns() : 0;
    uint32_t seen;

    while (spin && now_ns() - since_ns < SPIN_NS) {
        for (unsigned i = 0; i < SPIN_STEP; i++) {
            seen = atomic_load_explicit(&state, memory_order_acquire);
            if (seen == wanted || seen == STOP)
                return seen;
            relax();
        }
    }
    atomic_fetch_add(&sleepers, 1);
    while ((seen = atomic_load(&state)) != wanted && seen != STOP)
        (void)hmm_posix_word_wait(&state, seen, HURDMM_FOREVER);
    atomic_fetch_sub(&sleepers, 1);
    return seen;
}

static void turn(uint32_t value)
{
    atomic_store(&state, value);
    if (atomic_load(&sleepers) > 0)
        hmm_posix_word_wake(&state, 1);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;

    (void)context;
    if (address - (uintptr_t)bare.region >= bare.size) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        (void)sigaction(signal, &action, NULL);
        return;
    }
    bare.address = address;
    turn(ASKED);
    (void)await(DONE);
    atomic_store_explicit(&state, IDLE, memory_order_release);
}

/* A new page takes the next frame, as a fill does in the library; one that is
 * there has the frame of its number. */
static int answer(void)
{
    size_t offset = (bare.address - (uintptr_t)bare.region) & ~(bare.page - 1);
    size_t frame = offset;

    if (bare.work == BARE_UPGRADE)
        return mprotect(bare.region + offset, bare.page,
                        PROT_READ | PROT_WRITE);
    if (bare.work == BARE_FILL) {
        frame = bare.next_frame++ * bare.page;
        memcpy(bare.window + frame, bare.source + offset, bare.page);
    }
    return mmap(bare.region + offset, bare.page, PROT_READ,
                MAP_SHARED | MAP_FIXED, bare.fd, (off_t)frame) == MAP_FAILED;
}

static void *pager(void *argument)
{
    (void)argument;
    while (await(ASKED) != STOP) {
        if (answer())
            abort();
        turn(DONE);
    }
    return NULL;
}

static void map(int protection, int flags, int fd)
{
    void *there = mmap(bare.region, bare.size, protection,
                       flags | (bare.region ? MAP_FIXED : 0), fd, 0);

    need(there == MAP_FAILED ? errno : 0, "mmap");
    bare.region = there;
}

void bare_start(uint32_t pages, const char *source)
{
    FILE *file = tmpfile();

    need(file ? 0 : errno, "tmpfile");
    bare.page = (size_t)sysconf(_SC_PAGESIZE);
    bare.size = pages * bare.page;
    bare.source = source;
#ifdef MFD_CLOEXEC
    bare.fd = memfd_create("bare", MFD_CLOEXEC);
#else
    bare.fd = dup(fileno(file));
#endif
    (void)fclose(file);
    need(bare.fd < 0 || ftruncate(bare.fd, (off_t)bare.size) ? errno : 0,
         "memory object");
    bare.window =
        mmap(NULL, bare.size, PROT_READ | PROT_WRITE, MAP_SHARED, bare.fd, 0);
    need(bare.window == MAP_FAILED ? errno : 0, "mmap");
    memset(bare.window, 1, bare.size);
    map(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    need(pthread_create(&bare.pager, NULL, pager, NULL), "pthread_create");
}

void bare_stop(void)
{
    turn(STOP);
    need(pthread_join(bare.pager, NULL), "pthread_join");
    atomic_store(&state, IDLE);
    (void)munmap(bare.region, bare.size);
    bare.region = NULL;
    (void)munmap(bare.window, bare.size);
    (void)close(bare.fd);
}

volatile char *bare_begin(enum bare_work work, bool spin)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};

    bare.work = work;
    bare.next_frame = 0;
    atomic_store(&bare.spin, spin);
    if (work == BARE_UPGRADE) {
        map(PROT_READ, MAP_SHARED, bare.fd);
        for (size_t i = 0; i < bare.size; i += bare.page)
            (void)*(volatile char *)(bare.region + i);
    } else {
        map(PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    }
    action.sa_sigaction = on_fault;
    (void)sigemptyset(&action.sa_mask);
    need(sigaction(SIGSEGV, &action, &bare.before) ? errno : 0, "sigaction");
    return bare.region;
}

void bare_end(void)
{
    need(sigaction(SIGSEGV, &bare.before, NULL) ? errno : 0, "sigaction");
}
