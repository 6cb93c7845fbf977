/* SPDX-License-Identifier: MIT */
/*
 * Descriptors, reads and writes: see file_io.h.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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
    struct hmm_file new;
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
    file->fd = -1;
    errno = saved;
}

int hmm_file_read(const struct hmm_file *file, uint64_t offset, void *buffer,
                  size_t length, size_t *done)
{
    size_t finished = 0;
    ssize_t got = 1;
    int saved = errno;
    int error = 0;

    while (finished < length && got != 0 && error == 0) {
        size_t rest = length - finished;

        got = pread(file->fd, (char *)buffer + finished,
                    rest < TRANSFER_MAX ? rest : TRANSFER_MAX,
                    (off_t)(offset + finished));

        if (got > 0)
            finished += (size_t)got;
        else if (got < 0 && errno != EINTR)
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

    while (finished < length && error == 0) {
        size_t rest = length - finished;
        ssize_t put = pwrite(file->fd, (const char *)buffer + finished,
                             rest < TRANSFER_MAX ? rest : TRANSFER_MAX,
                             (off_t)(offset + finished));

        if (put > 0)
            finished += (size_t)put;
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
