/* SPDX-License-Identifier: MIT */
/* hurdmm/zstd.h - compressed files as memory (optional: libhurd-mm-zstd).
 *
 * The file is in the seekable format of Zstandard: frames that are compressed
 * each by itself, and a table that says where they are.  `hurdmm-zst compress'
 * makes one, others do too, and `zstd -d' reads it.
 */
#ifndef HURDMM_ZSTD_H
#define HURDMM_ZSTD_H

#include <hurdmm/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_zstd_options {
    size_t struct_size;
    size_t frame_max;       /* bytes of the longest frame, plain, that is
                             * accepted; 0: 16 MiB */
    unsigned frames_cached; /* decoded frames that are kept, and threads that
                             * decode at once: 1 to 64; 0: 4 */
};

/* A compressed file as a read-only store of its plain bytes.  `fd` is
 * duplicated.  `options` may be NULL.  `flags`: HURDMM_STORE_SHARED; that it is
 * READ_ONLY goes without saying.
 *
 * Memory for frames_cached frames, plain and packed, is taken once.  A page is
 * made from its frame, whole: frames of 32 to 128 KiB suit random access.
 *
 * A frame that is damaged, or is gone since somebody cut the file, or is not as
 * long as the table says, gives EIO for the pages that have bytes of it, and
 * for no others; hurdmm_store_discard makes the next access try again.
 * EBADMSG (not a seekable file, or cut, or its table contradicts its length),
 * EOVERFLOW (a frame is longer than frame_max), EINVAL, EBADF, EACCES (fd does
 * not read), ENOMEM, ESTALE, or an error of the file. */
int hurdmm_zstd_create(struct hurdmm *manager, int fd,
                       const struct hurdmm_zstd_options *options,
                       unsigned flags, struct hurdmm_store **store);

struct hurdmm_zstd_stats {
    size_t struct_size;
    uint64_t frames, bytes, bytes_packed; /* of the file; bytes are plain */
    /* Since the store was made. */
    uint64_t frames_decoded, frames_failed;
    uint64_t frames_found; /* times that a decoded frame was at hand */
};

/* The caller sets stats->struct_size.  EINVAL (not such a store).
 * Class: store. */
int hurdmm_zstd_get_stats(struct hurdmm_store *store,
                          struct hurdmm_zstd_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
