/* SPDX-License-Identifier: MIT */
/* Physical memory: one memory object, sparse, and the library's window on it.
 *
 * A frame takes no memory until it is first used.  Then the system is asked to
 * set a page aside (posix_fallocate), because touching a page that it cannot
 * provide would kill the process: so the error is an ENOMEM of window or lend.
 * `backed` remembers for which frames that was done.
 *
 * The object ends where the frames end.  What is mapped from beyond its end can
 * never be read, whatever its rights: space.c makes use of that.
 *
 * Called under the core's lock.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"

/* How many pages to set aside at once: a signal may interrupt it, and then all
 * of the call is done again. */
#define BACK_AT_ONCE 256u

static int object_nameless(void)
{
#ifdef HMM_POSIX_HAS_MEMFD
    return memfd_create("hurdmm", MFD_CLOEXEC);
#else
    return -1;
#endif
}

static int object_shm(void)
{
    char name[64];
    for (unsigned try = 0; try < 100; try++) {
        (void)snprintf(name, sizeof(name), "/hurdmm-%ld-%u", (long)getpid(),
                       try);
        int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd >= 0) {
            (void)shm_unlink(name);
            return fd;
        }
        if (errno != EEXIST)
            break;
    }
    return -1;
}

static int object_file(void)
{
    char name[] = "/tmp/hurdmm-XXXXXX";
    int fd = mkstemp(name);
    if (fd >= 0) {
        (void)unlink(name);
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    return fd;
}

static int object_open(struct hmm_posix_memory *memory)
{
    static const struct {
        const char *kind;
        int (*open)(void);
    } kinds[] = {{"memfd", object_nameless},
                 {"shm_open", object_shm},
                 {"a temporary file", object_file}};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        memory->fd = kinds[i].open();
        memory->kind = kinds[i].kind;
        if (memory->fd >= 0)
            return 0;
    }
    return ENOMEM;
}

static int window_map(struct hmm_posix_memory *memory)
{
    if (ftruncate(memory->fd, (off_t)memory->size))
        return ENOMEM;
    void *window = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, MAP_SHARED,
                        memory->fd, 0);
    if (window == MAP_FAILED)
        return ENOMEM;
    memory->window = window;
#if !defined(HMM_POSIX_PORTABLE) && defined(MADV_DONTFORK)
    (void)madvise(window, memory->size, MADV_DONTFORK);
#endif
    return 0;
}

int hmm_posix_memory_open(struct hmm_posix_memory *memory, uint64_t frames)
{
    memory->page = (size_t)sysconf(_SC_PAGESIZE);
    hmm_assert(memory->page && !(memory->page & (memory->page - 1)));
    if (frames == 0 || frames >= UINT32_MAX ||
        frames > PTRDIFF_MAX / memory->page)
        return ENOMEM;
    memory->frames = (uint32_t)frames;
    memory->size = (size_t)frames * memory->page;
    memory->core = NULL;
    memory->window = NULL;
    memory->backed = calloc((size_t)frames / 8 + 1, 1);
    if (!memory->backed)
        return ENOMEM;
    int error = object_open(memory);
    if (!error) {
        error = window_map(memory);
        if (error)
            (void)close(memory->fd);
    }
    if (error)
        free(memory->backed);
    return error;
}

static void core_free(struct hmm_posix_core *core)
{
#ifdef HMM_POSIX_HAS_ANONYMOUS
    (void)munmap(core->address, core->size);
#else
    free(core->address);
#endif
    free(core);
}

void hmm_posix_memory_close(struct hmm_posix_memory *memory)
{
    while (memory->core) {
        struct hmm_posix_core *core = memory->core;
        memory->core = core->next;
        core_free(core);
    }
    (void)munmap(memory->window, memory->size);
    (void)close(memory->fd);
    free(memory->backed);
    memory->window = NULL;
}

void hmm_posix_memory_forked(struct hmm_posix_memory *memory)
{
    /* The address must stay taken: a window that is used by mistake is to
     * fault, not to find what the child's malloc has put there. */
#ifdef HMM_POSIX_HAS_ANONYMOUS
    (void)mmap(memory->window, memory->size, PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
#else
    (void)mprotect(memory->window, memory->size, PROT_NONE);
#endif
    (void)close(memory->fd);
}

static bool is_backed(const struct hmm_posix_memory *memory, uint32_t frame)
{
    return memory->backed[frame / 8] >> frame % 8 & 1;
}

/* posix_fallocate, from the start again when a signal came. */
static int set_aside(struct hmm_posix_memory *memory, uint32_t frame,
                     uint32_t count)
{
    int error;
    do
        error = posix_fallocate(memory->fd, (off_t)frame * (off_t)memory->page,
                                (off_t)count * (off_t)memory->page);
    while (error == EINTR);
    /* Memory objects that do not know the call are touched at one's own
     * risk. */
    if (error == EINVAL || error == EOPNOTSUPP || error == ENODEV)
        return 0;
    return error ? ENOMEM : 0;
}

int hmm_posix_memory_back(struct hmm_posix_memory *memory, uint32_t frame,
                          uint32_t count)
{
    hmm_assert(count > 0 && frame < memory->frames);
    hmm_assert(count <= memory->frames - frame);
    uint32_t end = frame + count;
    while (frame < end) {
        if (is_backed(memory, frame)) {
            frame++;
            continue;
        }
        uint32_t run = 1;
        while (run < BACK_AT_ONCE && frame + run < end &&
               !is_backed(memory, frame + run))
            run++;
        int error = set_aside(memory, frame, run);
        if (error)
            return error;
        for (uint32_t i = frame; i < frame + run; i++)
            memory->backed[i / 8] |= (uint8_t)(1u << i % 8);
        frame += run;
    }
    return 0;
}

static int core_new(size_t size, size_t page, void **address)
{
#ifdef HMM_POSIX_HAS_ANONYMOUS
    (void)page;
    *address = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return *address == MAP_FAILED ? ENOMEM : 0;
#else
    if (posix_memalign(address, page, size))
        return ENOMEM;
    memset(*address, 0, size);
    return 0;
#endif
}

int hmm_posix_core_map(struct hmm_posix_memory *memory, size_t size,
                       void **address)
{
    hmm_assert(size > 0 && size % memory->page == 0);
    struct hmm_posix_core *core = malloc(sizeof(*core));
    if (!core)
        return ENOMEM;
    core->size = size;
    if (core_new(size, memory->page, &core->address)) {
        free(core);
        return ENOMEM;
    }
    core->next = memory->core;
    memory->core = core;
    *address = core->address;
    return 0;
}
