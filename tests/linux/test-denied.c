/* SPDX-License-Identifier: MIT */
/*
 * The linux port for those who may not have everything: an ordinary user, a
 * filter that denies the system call, a machine without the device.  Whatever is
 * left is used, and memory is paged all the same.
 */
#include "tests/linux/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <hurdmm/host.h>

#define DEVICE "/dev/userfaultfd"
#define UNABLE 77 /* exit status: this user cannot take that away */

/* ---- Taking things away, for good: in children --------------------------- */

/* Another user, without capabilities. */
static void become_nobody(void)
{
    if (geteuid() != 0)
        return;
    if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
        _exit(UNABLE);
}

/* userfaultfd() is not permitted from now on. */
static void deny_call(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = 4, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        _exit(UNABLE);
    if (syscall(SYS_userfaultfd, 0) != -1 || errno != EPERM)
        _exit(UNABLE);
}

/* /dev is empty, for this process. */
static void hide_device(void)
{
    if (access(DEVICE, F_OK) && errno == ENOENT)
        return;
    if (unshare(CLONE_NEWNS) ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", "/dev", "tmpfs", 0, NULL) || access(DEVICE, F_OK) == 0)
        _exit(UNABLE);
}

/* ---- What must work then -------------------------------------------------- */

#define PAGES 256u

static uint8_t *disk;

static int disk_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)done;
    memcpy(buffer, disk + offset, length);
    return 0;
}

static int disk_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)done;
    memcpy(disk + offset, buffer, length);
    return 0;
}

static const struct hurdmm_store_ops ops = {
    .struct_size = sizeof ops, .page_in = disk_in, .page_out = disk_out};

/* Reads and writes all of a region in a tenth of the memory, twice. */
static bool pages(struct hurdmm *manager)
{
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .size = PAGES * PAGE,
                                           .flags = HURDMM_STORE_SIGNAL_SAFE};
    struct hurdmm_store *store;
    uintptr_t at;
    if (hurdmm_store_create(manager, &ops, &options, &store))
        return false;
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = hurdmm_space_own(manager),
                                       .store = store,
                                       .length = PAGES * PAGE,
                                       .rights = HURDMM_READ | HURDMM_WRITE};
    if (hurdmm_bind(&bind, &at))
        return false;
    for (unsigned i = 0; i < 2 * PAGES; i++) {
        volatile uint8_t *byte =
            (volatile uint8_t *)(at + i * 7 % PAGES * PAGE + 9);
        if (*byte != i / PAGES)
            return false;
        *byte = (uint8_t)(i / PAGES + 1);
    }
    return hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT) == 0 &&
           disk[9] == 2 && disk[(PAGES - 1) * PAGE + 9] == 2;
}

/* Exits with 0 where the port of this name (NULL: the default) is described by
 * these words, and pages. */
static void expect_port(const char *name, const char *const *words)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = PAGES / 10 * PAGE};
    struct hurdmm *manager;
    char text[512];
    disk = calloc(PAGES, PAGE);
    if (!disk || hurdmm_host_port_create(name, &options.port) ||
        hurdmm_port_describe(options.port, text, sizeof text))
        _exit(1);
    for (; *words; words++)
        if (!strstr(text, *words)) {
            fprintf(stderr, "no '%s' in: %s\n", *words, text);
            _exit(2);
        }
    if (hurdmm_create(&options, &manager))
        _exit(3);
    if (!pages(manager))
        _exit(4);
    if (hurdmm_destroy(manager, HURDMM_DETACH) ||
        hurdmm_host_port_destroy(options.port))
        _exit(5);
    _exit(0);
}

static void an_ordinary_user(void *argument)
{
    static const char *const words[] = {"linux: ", "USER_MODE_ONLY",
                                        "inline is the default", NULL};
    (void)argument;
    become_nobody();
    /* Some systems let everybody have it all. */
    if (access(DEVICE, R_OK | W_OK) == 0 || syscall(SYS_userfaultfd, 0) >= 0)
        _exit(UNABLE);
    expect_port(NULL, words);
}

static void a_user_without_the_call(void *argument)
{
    static const char *const words[] = {"posix",
                                        "no linux port",
                                        "/dev/userfaultfd: Permission denied",
                                        "userfaultfd(): Operation not",
                                        "USER_MODE_ONLY): Operation not",
                                        NULL};
    (void)argument;
    become_nobody();
    if (access(DEVICE, R_OK | W_OK) == 0 || errno != EACCES)
        _exit(UNABLE);
    deny_call();
    expect_port(NULL, words);
}

static void the_call_denied(void *argument)
{
    static const char *const words[] = {
        "linux: userfaultfd by /dev/userfaultfd", NULL};
    (void)argument;
    if (access(DEVICE, R_OK | W_OK))
        _exit(UNABLE);
    deny_call();
    expect_port(NULL, words);
}

static void the_device_absent(void *argument)
{
    static const char *const words[] = {"linux: userfaultfd by userfaultfd()",
                                        "/dev/userfaultfd: No such file", NULL};
    (void)argument;
    hide_device();
    if (syscall(SYS_userfaultfd, 0) < 0)
        _exit(UNABLE);
    expect_port(NULL, words);
}

static void neither_device_nor_call(void *argument)
{
    static const char *const words[] = {"posix", "no linux port",
                                        "/dev/userfaultfd: No such file", NULL};
    (void)argument;
    hide_device();
    deny_call();
    struct hurdmm_port *port;
    if (hurdmm_host_port_create("linux", &port) != ENOTSUP)
        _exit(6);
    expect_port(NULL, words);
}

static const struct {
    void (*body)(void *argument);
    const char *skip;
} cases[] = {
    {an_ordinary_user, "every user may have everything here"},
    {a_user_without_the_call, "every user may have everything here"},
    {the_call_denied, "this user may not have the device"},
    {the_device_absent, "this user cannot hide the device"},
    {neither_device_nor_call, "this user cannot hide the device"},
};

START_TEST(what_is_left_is_used_and_said)
{
    int status = in_child(cases[_i].body, NULL);
    if (WIFEXITED(status) && WEXITSTATUS(status) == UNABLE) {
        test_skip(cases[_i].skip);
        return;
    }
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("denied");
    TCase *tcase = tcase_create("denied");
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, what_is_left_is_used_and_said, 0,
                        sizeof cases / sizeof cases[0]);
    suite_add_tcase(suite, tcase);
    return run_suites("tests/linux/test-denied", &suite, 1);
}
