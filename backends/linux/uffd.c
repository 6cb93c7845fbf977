/* SPDX-License-Identifier: MIT */
/* Userfaultfd descriptors: how to come by them, what they can do, and the
 * calls on them.
 *
 * There are three ways to a descriptor, tried in this order:
 *   the device /dev/userfaultfd, for those who may open it;
 *   the system call, for the privileged, or where the system allows it to all;
 *   the system call for faults of user mode only, for anybody.
 * What a descriptor can do is fixed when it is first spoken to, so one is opened
 * to be asked, and another one with what is wanted.
 *
 * The kernel may stop in the middle of a range: then it says how far it came,
 * or EAGAIN if it did nothing, because the address space is being changed.  The
 * calls here go on until all is done or there is an error that stays.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "backends/linux/abi.h"
#include "lib/base/assert.h"

static int open_device(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0)
        return -1;
    int fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    int saved = errno;
    (void)close(device);
    errno = saved;
    return fd;
}

static int open_call(void)
{
    return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
}

static int open_user(void)
{
    return (int)syscall(SYS_userfaultfd,
                        O_CLOEXEC | O_NONBLOCK | HMM_UFFD_USER_MODE_ONLY);
}

static const struct way {
    const char *name;
    unsigned without;
    int (*open)(void);
    bool user_only;
} ways[] = {
    {"/dev/userfaultfd", HURDMM_LINUX_NO_DEVICE, open_device, false},
    {"userfaultfd()", HURDMM_LINUX_NO_CALL, open_call, false},
    {"userfaultfd(USER_MODE_ONLY)", HURDMM_LINUX_NO_USER, open_user, true},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* A descriptor with these features; -1 and errno. */
static int open_with(const struct way *way, uint64_t features,
                     uint64_t *supported)
{
    int fd = way->open();
    if (fd < 0)
        return -1;
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    if (!ioctl(fd, UFFDIO_API, &api)) {
        *supported = api.features;
        return fd;
    }
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

static int probe(const struct way *way, uint64_t *supported)
{
    int fd = open_with(way, 0, supported);
    if (fd < 0)
        return errno;
    (void)close(fd);
    const uint64_t needed =
        UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_THREAD_ID;
    return (*supported & needed) == needed ? 0 : ENOSYS;
}

static int open_way(struct hmm_linux_uffd *uffd, const struct way *way,
                    unsigned without)
{
    uint64_t supported = 0, ignored;
    int error = probe(way, &supported);
    if (error)
        return error;
    uffd->poison =
        supported & HMM_UFFD_POISON && !(without & HURDMM_LINUX_NO_POISON);
    uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_THREAD_ID;
    const uint64_t shared = HMM_UFFD_MINOR_SHMEM | HMM_UFFD_WP_SHMEM;
    uffd->minor =
        (supported & shared) == shared && !(without & HURDMM_LINUX_NO_SHARED);
    features |= uffd->minor ? shared : 0;
    features |= uffd->poison ? HMM_UFFD_POISON : 0;
    uffd->fd[HMM_LINUX_PAGER] = open_with(way, features, &ignored);
    if (uffd->fd[HMM_LINUX_PAGER] < 0)
        return errno;
    if (supported & UFFD_FEATURE_SIGBUS && !(without & HURDMM_LINUX_NO_INLINE))
        uffd->fd[HMM_LINUX_INLINE] =
            open_with(way, features | UFFD_FEATURE_SIGBUS, &ignored);
    /* Where a page of such a range is absent nobody may be waiting to be told,
     * so the thread that meets it is. */
    if (supported & UFFD_FEATURE_SIGBUS && supported & HMM_UFFD_WP_ASYNC &&
        !(without & HURDMM_LINUX_NO_ASYNC))
        uffd->fd[HMM_LINUX_TRACKED] = open_with(
            way, features | UFFD_FEATURE_SIGBUS | HMM_UFFD_WP_ASYNC, &ignored);
    uffd->way = way->name;
    uffd->user_only = way->user_only;
    return 0;
}

/* The kernel has the device but no such call?  Then something stands between it
 * and the program, such as Valgrind, which runs one thread at a time and does
 * not know that a thread that waits for a page must let others run. */
static bool under_tool(void)
{
    return syscall(SYS_userfaultfd, ~0u) == -1 && errno == ENOSYS &&
           access("/dev/userfaultfd", F_OK) == 0;
}

static void say(char *why, size_t size, const char *step, const char *what)
{
    size_t length = strlen(why);
    if (length < size)
        (void)snprintf(why + length, size - length, "%s%s: %s",
                       length ? "; " : "", step, what);
}

int hmm_linux_uffd_open(struct hmm_linux_uffd *uffd, unsigned without,
                        char *why, size_t size)
{
    why[0] = '\0';
    for (unsigned i = 0; i < HMM_LINUX_MODES; i++)
        uffd->fd[i] = -1;
    if (!(without & HURDMM_LINUX_NO_PAGERS) && under_tool()) {
        say(why, size, "userfaultfd()", "hidden by a tool, pagers would hang");
        return ENOTSUP;
    }
    for (size_t i = 0; i < WAYS; i++) {
        if (without & ways[i].without) {
            say(why, size, ways[i].name, "switched off");
            continue;
        }
        int error = open_way(uffd, &ways[i], without);
        if (!error)
            return 0;
        say(why, size, ways[i].name,
            error == ENOSYS ? "no such call, or no write-protection"
                            : strerror(error));
    }
    return ENOTSUP;
}

void hmm_linux_uffd_close(struct hmm_linux_uffd *uffd)
{
    for (unsigned i = 0; i < HMM_LINUX_MODES; i++) {
        if (uffd->fd[i] >= 0)
            (void)close(uffd->fd[i]);
        uffd->fd[i] = -1;
    }
}

int hmm_linux_uffd_register(int fd, uintptr_t address, size_t size)
{
    struct uffdio_register range = {
        .range = {.start = address, .len = size},
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
    };
    if (ioctl(fd, UFFDIO_REGISTER, &range))
        return errno == ENOMEM ? ENOMEM : ENOTSUP;
    return 0;
}

/* After a call that failed and did nothing: may it be made again? */
static bool again(int error)
{
    if (error != EAGAIN && error != EINTR)
        return false;
    (void)sched_yield();
    return true;
}

int hmm_linux_copy(int fd, uintptr_t to, const void *from, size_t size,
                   bool protect, size_t *done)
{
    hmm_assert(fd >= 0 && size > 0);
    *done = 0;
    while (*done < size) {
        struct uffdio_copy copy = {
            .dst = to + *done,
            .src = (uintptr_t)from + *done,
            .len = size - *done,
            .mode = protect ? UFFDIO_COPY_MODE_WP : 0,
        };
        if (!ioctl(fd, UFFDIO_COPY, &copy)) {
            *done = size;
            break;
        }
        int error = errno;
        if (copy.copy > 0)
            *done += (size_t)copy.copy;
        else if (!again(error))
            return error;
    }
    return 0;
}

int hmm_linux_protect(int fd, uintptr_t address, size_t size, bool protect)
{
    struct uffdio_writeprotect range = {
        .range = {.start = address, .len = size},
        .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    hmm_assert(fd >= 0 && size > 0);
    while (ioctl(fd, UFFDIO_WRITEPROTECT, &range)) {
        int error = errno;
        if (!again(error))
            return error;
    }
    return 0;
}

int hmm_linux_poison(int fd, uintptr_t address, size_t size)
{
    struct hmm_uffdio_poison range = {.start = address, .length = size};
    while (ioctl(fd, HMM_UFFDIO_POISON, &range)) {
        int error = errno;
        if (!again(error))
            return error;
    }
    return 0;
}

void hmm_linux_wake(int fd, uintptr_t address, size_t size)
{
    struct uffdio_range range = {.start = address, .len = size};
    (void)ioctl(fd, UFFDIO_WAKE, &range);
}
