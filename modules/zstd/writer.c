/* SPDX-License-Identifier: MIT */
/*
 * Making a seekable file: see writer.h.
 *
 * A frame is what ZSTD_compress2 makes of a piece of the input; the table comes
 * last, so that a file which was not finished is none.
 */
#define _POSIX_C_SOURCE 200809L

#include "modules/zstd/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <zstd.h>

#include "modules/zstd/hash.h"
#include "modules/zstd/index.h"

struct writer {
    ZSTD_CCtx *context;
    unsigned char *plain, *packed;
    size_t frame, room; /* of plain and of packed */
    struct zst_table table;
    struct zst_written written;
};

int hmm_zst_write_all(int fd, const void *bytes, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t put = write(fd, (const char *)bytes + done, length - done);

        if (put > 0)
            done += (size_t)put;
        else if (put == 0)
            return EIO;
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

/* Reads until the buffer is full or the input ends. */
static int read_full(int fd, void *buffer, size_t length, size_t *got)
{
    *got = 0;
    while (*got < length) {
        ssize_t n = read(fd, (char *)buffer + *got, length - *got);

        if (n == 0)
            break;
        if (n > 0)
            *got += (size_t)n;
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

static void end(struct writer *writer)
{
    ZSTD_freeCCtx(writer->context);
    free(writer->plain);
    free(writer->packed);
    hmm_zst_table_free(&writer->table);
}

static int begin(struct writer *writer, size_t frame, int level)
{
    *writer = (struct writer){.frame = frame};
    if (frame == 0 || frame > ZST_FRAME_MAX || level < ZSTD_minCLevel() ||
        level > ZSTD_maxCLevel())
        return EINVAL;
    writer->room = ZSTD_compressBound(frame);
    writer->context = ZSTD_createCCtx();
    writer->plain = malloc(frame);
    writer->packed = malloc(writer->room);
    if (!writer->context || !writer->plain || !writer->packed)
        return ENOMEM;
    if (ZSTD_isError(ZSTD_CCtx_setParameter(writer->context,
                                            ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(
            ZSTD_CCtx_setParameter(writer->context, ZSTD_c_checksumFlag, 1)))
        return ENOMEM;
    return 0;
}

static int write_frame(struct writer *writer, int out, size_t length)
{
    size_t packed = ZSTD_compress2(writer->context, writer->packed,
                                   writer->room, writer->plain, length);
    int error;

    if (ZSTD_isError(packed))
        return ENOMEM;
    assert(packed <= writer->room);
    error =
        hmm_zst_table_add(&writer->table, (uint32_t)packed, (uint32_t)length,
                          (uint32_t)hmm_zst_hash(writer->plain, length));
    if (error == 0)
        error = hmm_zst_write_all(out, writer->packed, packed);
    writer->written.plain += length;
    writer->written.packed += packed;
    writer->written.frames++;
    return error;
}

static int write_table(struct writer *writer, int out)
{
    int error = hmm_zst_table_end(&writer->table);

    if (error != 0)
        return error;
    writer->written.packed += writer->table.length;
    return hmm_zst_write_all(out, writer->table.bytes, writer->table.length);
}

int hmm_zst_write(int in, int out, size_t frame, int level,
                  struct zst_written *written)
{
    struct writer writer;
    size_t got = frame;
    int error = begin(&writer, frame, level);

    while (error == 0 && got == frame) {
        error = read_full(in, writer.plain, frame, &got);
        if (error == 0 && got > 0)
            error = write_frame(&writer, out, got);
    }
    if (error == 0)
        error = write_table(&writer, out);
    if (error == 0)
        *written = writer.written;
    end(&writer);
    return error;
}
