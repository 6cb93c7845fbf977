/* SPDX-License-Identifier: MIT */
/* hurdmm/file.h - files of the host: as stores and as block devices.
 * Only on ports that have files (posix, linux). */
#ifndef HURDMM_FILE_H
#define HURDMM_FILE_H

#include <hurdmm/block.h>
#include <hurdmm/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A file as a store.  `fd` is duplicated.  Its size is the file's when this is
 * called, or `size` if that is not 0 (a writable file is extended to it, a
 * read-only one must be as long).  `flags`: HURDMM_STORE_READ_ONLY,
 * HURDMM_STORE_SHARED, HURDMM_STORE_NO_STEAL.
 *
 * The last page: bytes past the size read as zeros and are never written; the
 * file never grows by paging.  To grow or cut it, hurdmm_file_resize.  A file
 * that somebody else cuts: pages past its new end fail with EIO when they must
 * be read, and are not written back, so that the cut stays: EIO at flush.
 * EINVAL, EBADF, EACCES (needs more rights than fd has), ENOMEM, ESTALE, or an
 * error of fstat, ftruncate. */
int hurdmm_file_create(struct hurdmm *manager, int fd, uint64_t size,
                       unsigned flags, struct hurdmm_store **store);
/* The same with more to choose. */
#define HURDMM_FILE_DIRECT                                                     \
    1u /* past the system's cache (O_DIRECT), but for the
                              * page in which the file ends; ENOTSUP where the
                              * file's place has no such thing */
#define HURDMM_FILE_ASYNC                                                      \
    2u /* has many reads and writes under way that
                              * nobody waits for: prefetch, readahead and
                              * write-back.  Takes a thread, which uses io_uring
                              * where that is to be had, or several. */
#define HURDMM_FILE_NO_RING                                                    \
    4u /* does without io_uring, as where it is refused \
                                */

struct hurdmm_file_options {
    size_t struct_size;
    int fd;
    uint64_t size;
    unsigned flags;    /* HURDMM_STORE_..., as above */
    unsigned how;      /* HURDMM_FILE_... */
    size_t block_size; /* as for hurdmm_store_create: what is read and written
                        * whole; 0: a page */
    unsigned depth;    /* reads and writes under way at once that nobody waits
                        * for, at most 1024; 0: 64 */
    unsigned threads;  /* that make them without io_uring, at most 16; 0: 4 */
};

/* Also EAGAIN: no thread can be had. */
int hurdmm_file_create_how(struct hurdmm *manager,
                           const struct hurdmm_file_options *options,
                           struct hurdmm_store **store);

/* How a file store reads and writes, and why not by io_uring: a line without a
 * newline, cut at size - 1 bytes.  EINVAL (not a file store). */
int hurdmm_file_describe(struct hurdmm_store *store, char *buffer, size_t size);

/* Changes the file's length and the store's size together.  EINVAL (not a file
 * store), EROFS, EBUSY, ESTALE, or the error of ftruncate. */
int hurdmm_file_resize(struct hurdmm_store *store, uint64_t size);

/* A file (or block device node) as a block device, `fd` duplicated.  With size
 * 0 as long as it is; else it may grow to `size` as it is written.  What is
 * discarded gives its room back to the file system, where that can be.  Not bound
 * to a manager.  EINVAL, EBADF, ENOMEM, or an error of fstat. */
int hurdmm_file_block_create(int fd, uint64_t size, size_t block_size,
                             struct hurdmm_block **block);
void hurdmm_file_block_destroy(struct hurdmm_block *block);

#ifdef __cplusplus
}
#endif

#endif
