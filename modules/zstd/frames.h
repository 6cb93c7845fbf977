/* SPDX-License-Identifier: MIT */
/*
 * A seekable file that is open, and what takes its frames apart.
 *
 * A file is constant once it is open and may be used by many threads; a decoder
 * is one thread's at a time.  Errors are errno values; `errno' itself is left as
 * it was.
 */
#ifndef HMM_ZSTD_FRAMES_H
#define HMM_ZSTD_FRAMES_H

#include "modules/zstd/index.h"

struct zst_file {
    int fd;
    uint64_t size; /* when it was opened */
    struct zst_index index;
};

/* Opens a file by a descriptor that reads, which is duplicated.  EBADF, EINVAL
 * (it cannot be read at an offset), EACCES (it does not read), or an error of
 * fcntl or of hmm_zst_index_load, which has `limit'. */
int hmm_zst_file_open(struct zst_file *file, int fd, size_t limit);
void hmm_zst_file_close(struct zst_file *file);

struct zst_decoder {
    void *context;         /* the codec's */
    unsigned char *packed; /* room for any packed frame of the file */
};

/* ENOMEM. */
int hmm_zst_decoder_begin(struct zst_decoder *decoder,
                          const struct zst_file *file);
void hmm_zst_decoder_end(struct zst_decoder *decoder);

/* Puts a frame's plain bytes, all of them, into the buffer, which has room for
 * what the index says.  EIO: the frame is not there any more, is damaged, or is
 * not as long as the index says; the buffer holds junk then, but nothing beyond
 * its length was touched.  Needs no memory. */
int hmm_zst_decode(struct zst_decoder *decoder, const struct zst_file *file,
                   uint32_t frame, void *buffer);

/* What the tool and the tests need beside: all of a range, EIO at the end. */
int hmm_zst_read_all(int fd, uint64_t offset, void *buffer, size_t length);

#endif /* HMM_ZSTD_FRAMES_H */
