/* SPDX-License-Identifier: MIT */
/*
 * Open files and decoders: see frames.h.
 *
 * A frame is believed when three things agree: the codec, which also checks the
 * frame's own checksum if it has one, the length in the index, and the index's
 * checksum if it has them.
 */
#define _POSIX_C_SOURCE 200809L

#include "modules/zstd/frames.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "modules/zstd/hash.h"

#define TRANSFER_MAX ((size_t)1 << 30) /* some systems cut longer ones */

int hmm_zst_read_all(int fd, uint64_t offset, void *buffer, size_t length)
{
    int saved = errno, error = 0;

    for (size_t done = 0; done < length && error == 0;) {
        size_t rest = length - done;
        ssize_t got = pread(fd, (char *)buffer + done,
                            rest < TRANSFER_MAX ? rest : TRANSFER_MAX,
                            (off_t)(offset + done));

        if (got > 0)
            done += (size_t)got;
        else if (got == 0)
            error = EIO;
        else if (errno != EINTR)
            error = errno;
    }
    errno = saved;
    return error;
}

static int read_source(void *hook, uint64_t offset, void *buffer, size_t length)
{
    return hmm_zst_read_all(*(const int *)hook, offset, buffer, length);
}

/* The length of a device, which fstat does not say.  The descriptor's place is put
 * back. */
static int device_length(int fd, uint64_t *length)
{
    off_t place = lseek(fd, 0, SEEK_CUR);
    off_t end = place < 0 ? -1 : lseek(fd, 0, SEEK_END);

    if (end < 0 || lseek(fd, place, SEEK_SET) < 0)
        return errno;
    *length = (uint64_t)end;
    return 0;
}

/* Duplicates the descriptor and learns the file's length. */
static int duplicate(struct zst_file *file, int fd)
{
    struct stat status;
    int flags = fcntl(fd, F_GETFL), error = 0;

    if (flags < 0 || fstat(fd, &status) < 0)
        return errno;
    if ((flags & O_ACCMODE) == O_WRONLY)
        return EACCES;
    if (S_ISREG(status.st_mode))
        file->size = (uint64_t)status.st_size;
    else
        error =
            S_ISBLK(status.st_mode) ? device_length(fd, &file->size) : EINVAL;
    if (error != 0)
        return error;
    file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return file->fd < 0 ? errno : 0;
}

int hmm_zst_file_open(struct zst_file *file, int fd, size_t limit)
{
    struct zst_file new = {.fd = -1};
    struct zst_source source = {.read = read_source, .hook = &new.fd};
    int saved = errno;
    int error = duplicate(&new, fd);

    errno = saved;
    if (error != 0)
        return error;
    source.size = new.size;
    error = hmm_zst_index_load(&new.index, &source, limit);
    if (error == 0)
        *file = new;
    else
        close(new.fd);
    errno = saved;
    return error;
}

void hmm_zst_file_close(struct zst_file *file)
{
    int saved = errno;

    hmm_zst_index_free(&file->index);
    close(file->fd);
    file->fd = -1;
    errno = saved;
}

int hmm_zst_decoder_begin(struct zst_decoder *decoder,
                          const struct zst_file *file)
{
    decoder->context = ZSTD_createDCtx();
    decoder->packed = malloc(file->index.packed_max + 1);
    if (decoder->context && decoder->packed)
        return 0;
    hmm_zst_decoder_end(decoder);
    return ENOMEM;
}

void hmm_zst_decoder_end(struct zst_decoder *decoder)
{
    ZSTD_freeDCtx(decoder->context);
    free(decoder->packed);
    *decoder = (struct zst_decoder){0};
}

int hmm_zst_decode(struct zst_decoder *decoder, const struct zst_file *file,
                   uint32_t frame, void *buffer)
{
    const struct zst_entry *entry = &file->index.entries[frame];
    size_t packed = (size_t)(entry[1].packed - entry->packed);
    size_t plain = (size_t)(entry[1].plain - entry->plain);
    size_t got;
    int error;

    assert(frame < file->index.count);
    if (plain == 0)
        return 0;
    assert(packed <= file->index.packed_max && plain <= file->index.plain_max);
    error = hmm_zst_read_all(file->fd, entry->packed, decoder->packed, packed);
    if (error != 0)
        return error;
    got = ZSTD_decompressDCtx(decoder->context, buffer, plain, decoder->packed,
                              packed);
    if (ZSTD_isError(got) || got != plain)
        return EIO;
    if (file->index.checksums &&
        (uint32_t)hmm_zst_hash(buffer, plain) != entry->checksum)
        return EIO;
    return 0;
}
