/* SPDX-License-Identifier: MIT */
/* writer.h - making a seekable file: the format is described in index.h. */
#ifndef HMM_ZSTD_WRITER_H
#define HMM_ZSTD_WRITER_H

#include <stddef.h>
#include <stdint.h>

#define ZST_FRAME_MAX ((size_t)1 << 30) /* the format's limit */

struct zst_written {
    uint64_t plain, packed; /* bytes; packed is the whole file */
    uint32_t frames;
};

/* Reads `in' to its end and writes a seekable file to `out' from where that
 * stands, in frames of `frame' bytes (the last may be shorter).  Each frame has
 * checksums, in itself and in the table.  EINVAL (frame, level), ENOMEM,
 * EOVERFLOW (too many frames), or an error of read or write. */
int hmm_zst_write(int in, int out, size_t frame, int level,
                  struct zst_written *written);

/* Writes all of it. */
int hmm_zst_write_all(int fd, const void *bytes, size_t length);

#endif /* HMM_ZSTD_WRITER_H */
