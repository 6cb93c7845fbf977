/* SPDX-License-Identifier: MIT */
/*
 * Descriptors, reads and writes: see file_io.h.
 */
#include "backends/posix/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "backends/posix/file_io.h"

/* More is refused or cut by some systems. */
#define TRANSFER_MAX ((size_t)1 << 30)

_Static_assert(sizeof(off_t) == 8, "offsets of files are 64 bits");

/* A device does not say its length with fstat.  The descriptor's place, which
 * its duplicates share, is put back. */
static int device_length(int fd, uint64_t *length)
{
    off_t place = lseek(fd, 0, SEEK_CUR);
    off_t end;

    if (place < 0)
        return errno;
    end = lseek(fd, 0, SEEK_END);
    if (end < 0 || lseek(fd, place, SEEK_SET) < 0)
        return errno;
    *length = (uint64_t)end;
    return 0;
}

static int examine(int fd, struct hmm_file *file)
{
    struct stat status;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &status) < 0)
        return errno;
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return EINVAL;
    if ((flags & O_ACCMODE) == O_WRONLY)
        return EACCES;
    file->writable = (flags & O_ACCMODE) == O_RDWR;
    if (file->writable && (flags & O_APPEND) != 0)
        return EINVAL;
    file->regular = S_ISREG(status.st_mode);
    file->length = (uint64_t)status.st_size;
    return file->regular ? 0 : device_length(fd, &file->length);
}

int hmm_file_open(int fd, struct hmm_file *file)
{
    struct hmm_file new = {.direct = -1};
    int saved = errno;
    int error = examine(fd, &new);

    if (error == 0) {
        new.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (new.fd < 0)
            error = errno;
        else
            *file = new;
    }
    errno = saved;
    return error;
}

void hmm_file_close(struct hmm_file *file)
{
    int saved = errno;

    close(file->fd);
    if (file->direct >= 0)
        close(file->direct);
    file->fd = file->direct = -1;
    errno = saved;
}

#ifdef O_DIRECT

/* Opens the file once more: how a descriptor goes is common to its duplicates,
 * of which the caller has one. */
static int reopen(const struct hmm_file *file, int how, int *fd)
{
    char name[64];

    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", file->fd);
    *fd = open(name, how | (file->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (*fd >= 0)
        return 0;
    return errno == EINVAL || errno == ENOENT ? ENOTSUP : errno;
}

/* Some take the flag and then refuse, or want more than pages. */
static int try_direct(int fd, size_t page)
{
    void *buffer;
    int error = posix_memalign(&buffer, page, page);

    if (error)
        return error;
    if (pread(fd, buffer, page, 0) < 0)
        error = errno == EINVAL ? ENOTSUP : errno;
    free(buffer);
    return error;
}

int hmm_file_go_direct(struct hmm_file *file, size_t page)
{
    int saved = errno, fd;
    bool was = fcntl(file->fd, F_GETFL) & O_DIRECT;
    int error = reopen(file, was ? 0 : O_DIRECT, &fd);

    if (error == 0) {
        error = try_direct(was ? file->fd : fd, page);
        if (error)
            close(fd);
    }
    if (error == 0) {
        file->direct = was ? file->fd : fd;
        file->fd = was ? fd : file->fd;
        file->align = page;
    }
    errno = saved;
    return error;
}

#else

int hmm_file_go_direct(struct hmm_file *file, size_t page)
{
    (void)file;
    (void)page;
    return ENOTSUP;
}

#endif

int hmm_file_way(const struct hmm_file *file, uint64_t offset,
                 const void *buffer, size_t length, size_t *part)
{
    size_t mask = file->align - 1;

    *part = length < TRANSFER_MAX ? length : TRANSFER_MAX;
    if (file->direct < 0 || length <= mask ||
        ((offset | (uintptr_t)buffer) & mask))
        return file->fd;
    *part &= ~mask;
    return file->direct;
}

/* One call.  Whether a part goes past the cache or not, *done counts on. */
static ssize_t read_part(const struct hmm_file *file, uint64_t offset,
                         char *buffer, size_t length, bool direct)
{
    size_t part;
    int fd = hmm_file_way(file, offset, buffer, length, &part);

    if (!direct)
        fd = file->fd;
    return pread(fd, buffer, part, (off_t)offset);
}

static ssize_t write_part(const struct hmm_file *file, uint64_t offset,
                          const char *buffer, size_t length, bool direct)
{
    size_t part;
    int fd = hmm_file_way(file, offset, buffer, length, &part);

    if (!direct)
        fd = file->fd;
    return pwrite(fd, buffer, part, (off_t)offset);
}

int hmm_file_read(const struct hmm_file *file, uint64_t offset, void *buffer,
                  size_t length, size_t *done)
{
    size_t finished = 0;
    ssize_t got = 1;
    int saved = errno;
    int error = 0;
    bool direct = file->direct >= 0;

    while (finished < length && got != 0 && error == 0) {
        got = read_part(file, offset + finished, (char *)buffer + finished,
                        length - finished, direct);
        if (got > 0)
            finished += (size_t)got;
        else if (direct && (got == 0 || errno != EINTR)) {
            direct = false; /* the plain way has the last word */
            got = 1;
        } else if (got < 0 && errno != EINTR)
            error = errno;
    }
    *done = finished;
    errno = saved;
    return error;
}

int hmm_file_write(const struct hmm_file *file, uint64_t offset,
                   const void *buffer, size_t length, size_t *done)
{
    size_t finished = 0;
    int saved = errno;
    int error = 0;
    bool direct = file->direct >= 0;

    while (finished < length && error == 0) {
        ssize_t put =
            write_part(file, offset + finished, (const char *)buffer + finished,
                       length - finished, direct);
        if (put > 0)
            finished += (size_t)put;
        else if (direct && (put == 0 || errno != EINTR))
            direct = false;
        else if (put == 0)
            error = EIO;
        else if (errno != EINTR)
            error = errno;
    }
    *done = finished;
    errno = saved;
    return error;
}

int hmm_file_length(const struct hmm_file *file, uint64_t *length)
{
    struct stat status;
    int saved = errno;
    int error = 0;

    if (!file->regular)
        *length = file->length;
    else if (fstat(file->fd, &status) == 0)
        *length = (uint64_t)status.st_size;
    else
        error = errno;
    errno = saved;
    return error;
}

int hmm_file_truncate(const struct hmm_file *file, uint64_t length)
{
    int saved = errno;
    int error = 0;

    if (length > INT64_MAX)
        return EFBIG;
    while (ftruncate(file->fd, (off_t)length) < 0 && error == 0)
        if (errno != EINTR)
            error = errno;
    errno = saved;
    return error;
}

int hmm_file_discard(const struct hmm_file *file, uint64_t offset,
                     uint64_t length)
{
#if !defined(HMM_POSIX_PORTABLE) && defined(FALLOC_FL_PUNCH_HOLE)
    int saved = errno;
    int error = 0;

    while (fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t)offset, (off_t)length) < 0 &&
           error == 0)
        if (errno != EINTR)
            error = errno;
    errno = saved;
    return error == EOPNOTSUPP || error == ENOSYS ? 0 : error;
#else
    (void)file, (void)offset, (void)length;
    return 0;
#endif
}

int hmm_file_sync(const struct hmm_file *file)
{
    int saved = errno;
    int error = 0;

    while (fdatasync(file->fd) < 0 && error == 0)
        if (errno != EINTR)
            error = errno;
    errno = saved;
    return error;
}
