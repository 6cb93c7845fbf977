/* SPDX-License-Identifier: MIT */
/* The linux port as a whole: its table of functions, opening and closing, and
 * the public functions of hurdmm/linux.h.
 *
 * What open sets up it sets up in the order of the layers (linux_port.h); what
 * close takes down, and an open that fails half-way, is whatever is there.
 * Ranges are unmapped before the descriptors are closed, because memory without
 * its descriptor would read as zeros.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/syscall.h>
#include <sys/uio.h>

#include "backends/linux/abi.h"
#include "lib/base/assert.h"

#if UINTPTR_MAX > UINT32_MAX
#define SPACE_END ((uintptr_t)1 << 47)
#else
#define SPACE_END ((uintptr_t)UINT32_MAX - 0xfff)
#endif

#define OPTIONS                                                                \
    (HURDMM_LINUX_HOST_SIGNALS | HURDMM_LINUX_NO_DEVICE |                      \
     HURDMM_LINUX_NO_CALL | HURDMM_LINUX_NO_USER | HURDMM_LINUX_NO_INLINE |    \
     HURDMM_LINUX_NO_POISON | HURDMM_LINUX_NO_SCATTER | HURDMM_LINUX_NO_PROC | \
     HURDMM_LINUX_NO_PAGERS | HURDMM_LINUX_NO_ASYNC | HURDMM_LINUX_NO_SHARED)

static const struct hmm_posix_hooks hooks;

struct hmm_linux_port *hmm_linux_from(struct hurdmm_port *base)
{
    struct hmm_linux_port *port = (struct hmm_linux_port *)base;
    hmm_assert(port->posix.hooks == &hooks);
    return port;
}

bool hmm_linux_stale(const struct hmm_linux_port *port)
{
    return hmm_posix_stale(&port->posix);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- Core memory ---- */

/* The first page of each piece says where the one before it is: nothing may be
 * allocated, since the thread that asks may have faulted anywhere. */
struct core {
    struct core *before;
    size_t size;
};

static int port_core_map(struct hurdmm_port *base, size_t size, void **address)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    hmm_assert(size > 0 && size % port->page == 0);
    if (hmm_linux_stale(port))
        return ESTALE;
    if (size > SIZE_MAX - port->page)
        return ENOMEM;
    void *memory = mmap(NULL, size + port->page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return ENOMEM;
    struct core *core = memory;
    core->before = port->core;
    core->size = size + port->page;
    port->core = core;
    *address = (char *)memory + port->page;
    return 0;
}

static void core_close(struct hmm_linux_port *port)
{
    while (port->core) {
        struct core *core = port->core;
        port->core = core->before;
        (void)munmap(core, core->size);
    }
}

/* ---- Opening ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* A page that a child has not: it reads as 0 there. */
static int parent_open(struct hmm_linux_port *port)
{
    void *page = mmap(NULL, port->page, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return ENOMEM;
#ifdef MADV_WIPEONFORK
    (void)madvise(page, port->page, MADV_WIPEONFORK);
#endif
    port->parent = page;
    atomic_store(port->parent, 1);
    return 0;
}

/* Can process_madvise drop pages of the process itself? */
static bool scatter_works(struct hmm_linux_port *port)
{
#ifdef SYS_process_madvise
    char *pages = mmap(NULL, 3 * port->page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return false;
    pages[0] = pages[2 * port->page] = 1;
    struct iovec ranges[2] = {{pages, port->page},
                              {pages + 2 * port->page, port->page}};
    long done =
        syscall(SYS_process_madvise, port->pid_fd, ranges, 2, MADV_DONTNEED, 0);
    bool works =
        done == 2 * (long)port->page && !pages[0] && !pages[2 * port->page];
    (void)munmap(pages, 3 * port->page);
    return works;
#else
    (void)port;
    return false;
#endif
}

/* What is nice to have. */
static void open_helpers(struct hmm_linux_port *port)
{
    port->memory_fd = port->pagemap_fd = port->pid_fd = -1;
    port->scattered = false;
    if (!(port->without & HURDMM_LINUX_NO_PROC)) {
        port->memory_fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
        port->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    }
#ifdef SYS_pidfd_open
    if (!(port->without & HURDMM_LINUX_NO_SCATTER)) {
        port->pid_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        port->scattered = port->pid_fd >= 0 && scatter_works(port);
    }
#endif
}

static int frames_open(struct hmm_linux_port *port, uint64_t frames)
{
    size_t size = (size_t)frames * sizeof(struct hmm_linux_frame);
    if (frames == 0 || frames >= UINT32_MAX / 8)
        return ENOMEM;
    void *table = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        return ENOMEM;
    port->frames = table;
    port->frame_count = (uint32_t)frames;
    for (uint32_t i = 0; i < port->frame_count; i++)
        port->frames[i].slot = HMM_LINUX_NO_SLOT;
    return 0;
}

static void unmap_ranges(struct hmm_linux_port *port)
{
    struct hmm_posix_range_table *table =
        atomic_load(&port->posix.ranges.table);
    size_t count = atomic_load(&port->posix.ranges.count);
    for (size_t i = 0; i < count; i++) {
        uintptr_t start = atomic_load(&table->ranges[i].start);
        (void)munmap((void *)start, atomic_load(&table->ranges[i].end) - start);
    }
}

static void close_layers(struct hmm_linux_port *port)
{
    unmap_ranges(port);
    if (port->bell)
        hmm_linux_faults_close(port);
    hmm_linux_uffd_close(&port->uffd);
    if (port->staging.base)
        hmm_linux_staging_close(&port->staging);
    if (port->frames)
        (void)munmap(port->frames, port->frame_count * sizeof(*port->frames));
    close_fd(&port->memory_fd);
    close_fd(&port->pagemap_fd);
    close_fd(&port->pid_fd);
    if (port->parent)
        (void)munmap((void *)port->parent, port->page);
    core_close(port);
    hmm_linux_shares_close(port);
    hmm_posix_ranges_free(&port->inlines);
    hmm_posix_ranges_free(&port->tracked);
    hmm_posix_ranges_free(&port->posix.ranges);
    hmm_posix_access_close(&port->posix.access);
    hmm_posix_queue_close(&port->posix.queue);
    port->bell = NULL;
    port->frames = NULL;
    port->parent = NULL;
}

static int open_layers(struct hmm_linux_port *port, uint64_t frames)
{
    int error = hmm_linux_uffd_open(&port->uffd, port->without, port->why,
                                    sizeof(port->why));
    if (!error)
        error = hmm_linux_staging_open(&port->staging, (uint32_t)frames,
                                       port->page);
    if (!error)
        error = frames_open(port, frames);
    if (!error)
        error = parent_open(port);
    if (!error)
        error = hmm_linux_faults_open(port);
    if (!error)
        hmm_linux_shares_open(port);
    if (!error)
        error = hmm_posix_signal_attach(
            &port->posix, !(port->posix.flags & HURDMM_POSIX_HOST_SIGNALS));
    return error;
}

static void describe_machine(struct hmm_linux_port *port,
                             struct hurdmm_port_info *info)
{
    memset(info, 0, sizeof(*info));
    info->struct_size = sizeof(*info);
    info->page_size = port->page;
    info->page_sizes = port->page;
    info->features =
        HURDMM_PORT_THREADS | HURDMM_PORT_NO_TRIALS | HURDMM_PORT_LENDS_APART;
    if (!port->uffd.user_only && !(port->without & HURDMM_LINUX_NO_PAGERS))
        info->features |= HURDMM_PORT_SYSCALLS;
    if (port->shares.fd >= 0)
        info->features |= HURDMM_PORT_SHARES;
    if (port->fault && port->uffd.fd[HMM_LINUX_INLINE] >= 0)
        info->features |= HURDMM_PORT_INLINE;
    if (port->fault && hmm_linux_track_works(port))
        info->features |= HURDMM_PORT_TRACKS;
    info->bank_count = 1;
    info->banks[0].frames = port->frame_count;
    info->pagers = hmm_linux_processors();
    info->low = port->posix.low;
    info->high = port->posix.high;
}

/* Sets what close_layers looks at. */
static void begin(struct hmm_linux_port *port,
                  const struct hurdmm_port_config *config)
{
    port->page = (size_t)sysconf(_SC_PAGESIZE);
    port->fault = config->fault;
    port->client = config->client;
    port->core = NULL;
    port->bell = NULL;
    port->frames = NULL;
    port->parent = NULL;
    port->staging.base = NULL;
    memset(&port->shares, 0, sizeof(port->shares));
    port->shares.fd = -1;
    memset(port->blocks.entry, 0, sizeof(port->blocks.entry));
    atomic_flag_clear(&port->blocks.lock);
    atomic_store(&port->blocks.armed, 0);
    port->posix.pid = getpid();
    port->posix.memory.page = port->page;
    port->posix.memory.fd = -1;
    port->posix.low = port->page > 0x10000 ? port->page : 0x10000;
    port->posix.high = SPACE_END - port->page - 1;
    hmm_posix_ranges_init(&port->posix.ranges);
    hmm_posix_ranges_init(&port->inlines);
    hmm_posix_ranges_init(&port->tracked);
    hmm_posix_queue_open(&port->posix.queue, &port->posix.threads, false);
    open_helpers(port);
}

static int port_open(struct hurdmm_port *base,
                     const struct hurdmm_port_config *config,
                     struct hurdmm_port_info *info)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    if (hmm_linux_stale(port))
        return ESTALE;
    if (port->posix.opened)
        return EBUSY;
    uint64_t frames = config->frames;
    if (frames == 0)
        frames = config->bytes / (uint64_t)sysconf(_SC_PAGESIZE);
    int error = hmm_posix_access_open(&port->posix.access);
    if (error)
        return error;
    begin(port, config);
    error = open_layers(port, frames);
    if (error) {
        close_layers(port);
        return error;
    }
    describe_machine(port, info);
    port->posix.opened = true;
    return 0;
}

static void port_close(struct hurdmm_port *base)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    if (hmm_linux_stale(port))
        return;
    hmm_assert(port->posix.opened);
    hmm_posix_signal_detach(&port->posix,
                            !(port->posix.flags & HURDMM_POSIX_HOST_SIGNALS));
    close_layers(port);
    port->posix.opened = false;
}

/* In a child: its ranges are not there (MADV_DONTFORK); the descriptors speak
 * of the parent. */
static void forked(struct hmm_posix_port *posix)
{
    struct hmm_linux_port *port = (struct hmm_linux_port *)posix;
    hmm_linux_uffd_close(&port->uffd);
    close_fd(&port->memory_fd);
    close_fd(&port->shares.fd);
    close_fd(&port->pagemap_fd);
    close_fd(&port->pid_fd);
    close_fd(&port->stop_fd);
}

static const struct hmm_posix_hooks hooks = {
    .resolve = hmm_linux_resolve,
    .forked = forked,
};

static uint64_t port_clock(struct hurdmm_port *base)
{
    (void)base;
    return hmm_posix_now();
}

static const struct hurdmm_port_ops ops = {
    .struct_size = sizeof(ops),
    .version = HURDMM_PORT_VERSION,
    .name = "linux",
    .open = port_open,
    .close = port_close,
    .window = hmm_linux_window,
    .frame_read = hmm_linux_frame_read,
    .core_map = port_core_map,
    .reserve = hmm_linux_reserve,
    .release = hmm_linux_release,
    .lend = hmm_linux_lend,
    .reclaim = hmm_linux_reclaim,
    .fault_wait = hmm_linux_fault_wait,
    .fault_done = hmm_linux_fault_done,
    .fault_stop = hmm_linux_fault_stop,
    .thread_start = hmm_linux_thread_start,
    .thread_join = hmm_linux_thread_join,
    .thread_self = hmm_linux_thread_self,
    .park = hmm_posix_park,
    .wake = hmm_posix_wake,
    .critical_enter = hmm_linux_critical_enter,
    .critical_leave = hmm_linux_critical_leave,
    .clock = port_clock,
    .scan = hmm_linux_scan,
    .share = hmm_linux_share,
};

/* ---- Public functions ---- */

/* 0, or why no port can be opened. */
static int try_out(unsigned without, char *why, size_t size)
{
    struct hmm_linux_uffd uffd;
    int error = hmm_linux_uffd_open(&uffd, without, why, size);
    if (!error)
        hmm_linux_uffd_close(&uffd);
    return error;
}

void hmm_linux_why_not(char *buffer, size_t size)
{
    hmm_assert(size > 0);
    if (!try_out(0, buffer, size))
        buffer[0] = '\0';
}

static int init(struct hmm_linux_port *port,
                const struct hurdmm_linux_options *options)
{
    if (pthread_mutex_init(&port->posix.threads.lock, NULL))
        return ENOMEM;
    if (pthread_mutex_init(&port->threads.lock, NULL)) {
        (void)pthread_mutex_destroy(&port->posix.threads.lock);
        return ENOMEM;
    }
    port->posix.base.ops = &ops;
    port->posix.hooks = &hooks;
    port->posix.flags = options->flags & HURDMM_LINUX_HOST_SIGNALS
                            ? HURDMM_POSIX_HOST_SIGNALS
                            : 0;
    port->posix.forks = hmm_posix_forks();
    port->posix.threads.stack_size = options->stack_size;
    port->without = options->flags;
    port->stop_fd = -1;
    return 0;
}

int hurdmm_linux_create(const struct hurdmm_linux_options *options,
                        struct hurdmm_port **result)
{
    struct hurdmm_linux_options given = {.struct_size = sizeof(given)};
    char why[256];
    if (options)
        memcpy(&given, options, smaller(options->struct_size, sizeof(given)));
    if (!result || given.flags & ~OPTIONS)
        return EINVAL;
    int error = try_out(given.flags, why, sizeof(why));
    if (error)
        return error;
    struct hmm_linux_port *port = calloc(1, sizeof(*port));
    if (!port)
        return ENOMEM;
    error = init(port, &given);
    if (error)
        free(port);
    else
        *result = &port->posix.base;
    return error;
}

int hurdmm_linux_destroy(struct hurdmm_port *base)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    if (hmm_linux_stale(port))
        return ESTALE;
    if (port->posix.opened)
        return EBUSY;
    (void)pthread_mutex_destroy(&port->threads.lock);
    (void)pthread_mutex_destroy(&port->posix.threads.lock);
    free(port);
    return 0;
}

int hurdmm_linux_get_fd(struct hurdmm_port *base, int *fd)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    if (hmm_linux_stale(port))
        return ESTALE;
    if (!fd || !port->posix.opened)
        return EINVAL;
    *fd = port->uffd.fd[HMM_LINUX_PAGER];
    return 0;
}

int hurdmm_linux_get_counters(struct hurdmm_port *base,
                              struct hurdmm_linux_counters *counters)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    if (hmm_linux_stale(port))
        return ESTALE;
    if (!counters || counters->struct_size < sizeof(counters->struct_size))
        return EINVAL;
    struct hurdmm_linux_counters now = {
        .struct_size = smaller(counters->struct_size, sizeof(now)),
        .faults = atomic_load(&port->fault_count),
        .faults_inline = atomic_load(&port->inline_count),
        .failed = atomic_load(&port->failed),
        .pages_copied = atomic_load(&port->copies),
        .pages_gone = atomic_load(&port->pages_gone),
        .pages_detached = atomic_load(&port->detached),
    };
    memcpy(counters, &now, now.struct_size);
    return 0;
}

void hmm_linux_describe(struct hurdmm_port *base, char *buffer, size_t size)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    struct hmm_linux_uffd uffd = port->uffd;
    char why[sizeof(port->why)];
    memcpy(why, port->why, sizeof(why));
    if (!port->posix.opened &&
        hmm_linux_uffd_open(&uffd, port->without, why, sizeof(why))) {
        (void)snprintf(buffer, size, "linux: no descriptor (%s)", why);
        return;
    }
    bool faults = !uffd.user_only && !(port->without & HURDMM_LINUX_NO_PAGERS);
    (void)snprintf(
        buffer, size,
        "linux: userfaultfd by %s%s%s%s; system calls on absent pages %s; "
        "inline faults %s; failing pages by %s; scattered pages dropped %s; "
        "writes noted by %s; shared pages at %s",
        uffd.way, why[0] ? " (" : "", why, why[0] ? ")" : "",
        faults ? "work" : "give EFAULT, so inline is the default",
        uffd.fd[HMM_LINUX_INLINE] >= 0 ? "possible" : "not possible",
        uffd.poison ? "poison" : "protection",
        port->posix.opened && !port->scattered ? "one by one" : "together",
        uffd.fd[HMM_LINUX_TRACKED] >= 0 ? "faults or the kernel" : "faults",
        (port->posix.opened ? port->shares.fd >= 0 : uffd.minor)
            ? "all addresses at once"
            : "one address at a time");
    if (!port->posix.opened)
        hmm_linux_uffd_close(&uffd);
}
