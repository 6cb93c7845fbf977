/* SPDX-License-Identifier: MIT */
/* Ranges in which the kernel notes what is written to.
 *
 * They are registered with a descriptor of their own, for which a write to a page
 * with the write-protect bit takes the bit off and goes on: a page without it was
 * written to.  PAGEMAP_SCAN finds those, and puts the bit back in the same step,
 * page by page under the page table's lock, and flushes: a write is before that,
 * and found, or after it, and found the next time.
 *
 * The kernel's copy of the file is not asked for by version but tried out.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <string.h>

#include <sys/ioctl.h>

#include "backends/linux/abi.h"
#include "lib/base/assert.h"

#define REGIONS 64u

/* One call: up to `max' of what is found in [start, end); *stop is how far it
 * came. */
static int scan_some(const struct hmm_linux_port *port, uintptr_t start,
                     uintptr_t end, unsigned flags,
                     struct hmm_page_region *found, size_t max, size_t *count,
                     uintptr_t *stop)
{
    struct hmm_pm_scan scan = {
        .size = sizeof(scan),
        .flags = HMM_PM_SCAN_CHECK_WPASYNC |
                 (flags & HURDMM_TRACK_CLEAR ? HMM_PM_SCAN_WP_MATCHING : 0),
        .start = start,
        .end = end,
        .vec = (uintptr_t)found,
        .vec_len = max,
        .mask = HMM_PAGE_IS_WRITTEN,
        .returned = HMM_PAGE_IS_WRITTEN,
    };
    hmm_assert(start < end && max > 0);
    int got = ioctl(port->pagemap_fd, HMM_PAGEMAP_SCAN, &scan);
    *count = got > 0 ? (size_t)got : 0;
    *stop = got >= 0 ? (uintptr_t)scan.walk_end : start;
    return got >= 0 ? 0 : errno;
}

int hmm_linux_scan(struct hurdmm_port *base, void *space, uintptr_t address,
                   size_t size, unsigned flags, struct hurdmm_dirty *rows,
                   size_t max, size_t *count, uintptr_t *end)
{
    struct hmm_linux_port *port = hmm_linux_from(base);
    struct hmm_page_region found[REGIONS] = {{0}}; /* for checkers of memory */
    uintptr_t last = address + size;
    hmm_assert(!space && size > 0 && max > 0);
    hmm_assert(hmm_posix_ranges_find(&port->tracked, address));
    (void)space;
    *count = 0;
    *end = address;
    if (hmm_linux_stale(port))
        return ESTALE;
    while (*end < last && *count < max) {
        size_t room = max - *count < REGIONS ? max - *count : REGIONS, got;
        int error = scan_some(port, *end, last, flags, found, room, &got, end);
        if (error && error != EINTR && error != EAGAIN)
            return ENOMEM;
        for (size_t i = 0; i < got; i++)
            rows[(*count)++] =
                (struct hurdmm_dirty){(uintptr_t)found[i].start,
                                      (size_t)(found[i].end - found[i].start)};
    }
    return 0;
}

/* Two pages, of which one is written to: what does the kernel say? */
static bool try_out(struct hmm_linux_port *port, char *pages)
{
    int fd = port->uffd.fd[HMM_LINUX_TRACKED];
    uintptr_t start = (uintptr_t)pages, end = start + 2 * port->page, stop;
    struct hmm_page_region found[2] = {{0}};
    size_t count, done;
    if (hmm_linux_uffd_register(fd, start, 2 * port->page))
        return false;
    for (unsigned i = 0; i < 2; i++)
        if (hmm_linux_copy(fd, start + i * port->page, port->staging.base,
                           port->page, true, &done))
            return false;
    *(volatile char *)(pages + port->page) = 1;
    for (unsigned turn = 0; turn < 2; turn++) {
        if (scan_some(port, start, end, HURDMM_TRACK_CLEAR, found, 2, &count,
                      &stop) ||
            stop != end || count != 1 - turn)
            return false;
        if (turn == 0 && found[0].start != start + port->page)
            return false;
    }
    return true;
}

bool hmm_linux_track_works(struct hmm_linux_port *port)
{
    int *fd = &port->uffd.fd[HMM_LINUX_TRACKED];
    hmm_assert(port->staging.base != NULL);
    if (*fd < 0)
        return false;
    char *pages = mmap(NULL, 2 * port->page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool works = false;
    if (pages != MAP_FAILED && port->pagemap_fd >= 0)
        works = try_out(port, pages);
    if (pages != MAP_FAILED)
        (void)munmap(pages, 2 * port->page);
    if (!works) {
        (void)close(*fd);
        *fd = -1;
    }
    return works;
}
