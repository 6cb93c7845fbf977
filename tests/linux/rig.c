/* SPDX-License-Identifier: MIT */
/* The rig of the linux port's tests, see rig.h. */
#include "tests/linux/rig.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/mman.h>
#include <sys/wait.h>

#include <hurdmm/host.h>

#define GAP ((size_t)16 << 20)

static int page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    struct rig *rig = hook;
    (void)store;
    (void)done;
    int error = atomic_load(&rig->in_error);
    if (error)
        return error;
    atomic_fetch_add(&rig->reads, 1);
    memcpy(buffer, rig->disk + offset, length);
    return 0;
}

static int page_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
{
    struct rig *rig = hook;
    (void)store;
    (void)done;
    int error = atomic_load(&rig->out_error);
    if (error)
        return error;
    atomic_fetch_add(&rig->writes, 1);
    memcpy(rig->disk + offset, buffer, length);
    return 0;
}

static const struct hurdmm_store_ops ops = {
    .struct_size = sizeof ops, .page_in = page_in, .page_out = page_out};

static void make_disk(struct rig *rig)
{
    rig->disk = mmap(NULL, rig->pages * PAGE, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(rig->disk, MAP_FAILED);
    for (size_t i = 0; i < rig->pages; i++)
        memset(rig->disk + i * PAGE, (int)(uint8_t)(i + 1), PAGE);
}

static void make_store(struct rig *rig, const struct rig_options *options)
{
    struct hurdmm_store_options store = {
        .struct_size = sizeof store,
        .name = "disk",
        .hook = rig,
        .size = rig->pages * PAGE,
        .block_size = options->block_pages * PAGE,
        .flags = options->store_flags | HURDMM_STORE_SIGNAL_SAFE,
    };
    ck_assert_int_eq(
        hurdmm_store_create(rig->manager, &ops, &store, &rig->store), 0);
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = rig->space,
        .store = rig->store,
        .length = rig->pages * PAGE,
        .rights = HURDMM_READ | HURDMM_WRITE,
        .flags = options->bind_flags,
        .advice = options->random ? HURDMM_ADVICE_RANDOM : HURDMM_ADVICE_NORMAL,
    };
    ck_assert_int_eq(hurdmm_bind(&bind, &rig->region), 0);
}

bool rig_open(struct rig *rig, const struct rig_options *options)
{
    struct hurdmm_linux_options linux_options = {
        .struct_size = sizeof linux_options, .flags = options->port_flags};
    /* What anybody maps later goes into this gap, the highest that there is, and
     * not into holes that a test makes in its region. */
    void *gap = mmap(NULL, GAP, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(rig, 0, sizeof *rig);
    int error = hurdmm_linux_create(&linux_options, &rig->port);
    if (error == ENOTSUP) {
        test_skip("the machine does not have this port");
        return false;
    }
    ck_assert_int_eq(error, 0);
    struct hurdmm_options manager = {
        .struct_size = sizeof manager,
        .port = rig->port,
        .budget = options->budget * PAGE,
        .flags = options->manager_flags,
    };
    ck_assert_int_eq(hurdmm_create(&manager, &rig->manager), 0);
    ck_assert_uint_eq(hurdmm_page_size(rig->manager), PAGE);
    rig->space = hurdmm_space_own(rig->manager);
    rig->pages = options->pages;
    make_disk(rig);
    make_store(rig, options);
    if (gap != MAP_FAILED)
        (void)munmap(gap, GAP);
    return true;
}

void rig_close(struct rig *rig)
{
    ck_assert_int_eq(hurdmm_destroy(rig->manager, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_linux_destroy(rig->port), 0);
    munmap(rig->disk, rig->pages * PAGE);
}

volatile uint8_t *rig_at(struct rig *rig, size_t page)
{
    return (volatile uint8_t *)(rig->region + page * PAGE);
}

bool rig_is_inline(struct rig *rig, const struct rig_options *options)
{
    char text[512];
    ck_assert_int_eq(hurdmm_port_describe(rig->port, text, sizeof text), 0);
    return options->bind_flags & HURDMM_BIND_INLINE ||
           strstr(text, "inline is the default") != NULL;
}

void rig_check(struct rig *rig)
{
    const char *what = NULL;
    int error = hurdmm_check(rig->manager, &what);
    ck_assert_msg(!error, "%s", what ? what : "?");
}

struct hurdmm_linux_counters rig_counters(struct rig *rig)
{
    struct hurdmm_linux_counters counters = {.struct_size = sizeof counters};
    ck_assert_int_eq(hurdmm_linux_get_counters(rig->port, &counters), 0);
    return counters;
}

/* ---- Accesses that may fail ---- */

static _Thread_local sigjmp_buf back;

static void catcher(int signal)
{
    siglongjmp(back, signal);
}

void catch_install(void)
{
    struct sigaction action = {.sa_handler = catcher};
    sigemptyset(&action.sa_mask);
    ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
    ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
}

int try_read(volatile uint8_t *address)
{
    int signal = sigsetjmp(back, 1);
    if (!signal)
        (void)*address;
    return signal;
}

int try_write(volatile uint8_t *address, uint8_t value)
{
    int signal = sigsetjmp(back, 1);
    if (!signal)
        *address = value;
    return signal;
}

int in_child(void (*body)(void *argument), void *argument)
{
    int status = 0;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        alarm(20);
        body(argument);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}
