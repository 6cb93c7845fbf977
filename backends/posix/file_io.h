/* SPDX-License-Identifier: MIT */
/*
 * What the file store and the file block device share: descriptors that are
 * theirs, and reads and writes that are not cut short by signals.
 *
 * A file that is read and written past the system's cache has two descriptors.
 * Whole aligned pages go by `direct'; what is not aligned, say the page in which
 * the file ends, and what `direct' leaves undone, goes by `fd'.  The system
 * keeps the two coherent.
 *
 * `errno' is left as it was: these run on threads that belong to somebody else,
 * in the middle of an access to memory.
 */
#ifndef HMM_POSIX_FILE_IO_H
#define HMM_POSIX_FILE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hmm_file {
    int fd;
    int direct;      /* past the system's cache; -1: that was not asked for */
    size_t align;    /* what offsets, buffers and lengths there must be of */
    bool regular;    /* a file, not a device: its length can be asked */
    bool writable;   /* the descriptor may write */
    uint64_t length; /* when it was opened */
};

/* Duplicates a descriptor, which must be one that reads, of a file or a block
 * device.  EINVAL (something else; or it appends, which would move every
 * write), EBADF, EACCES (cannot read), or an error of fcntl or fstat. */
int hmm_file_open(int fd, struct hmm_file *file);
void hmm_file_close(struct hmm_file *file);
/* Gives an open file its `direct'.  ENOTSUP: the system or the file's place has
 * no such thing; or an error of open. */
int hmm_file_go_direct(struct hmm_file *file, size_t page);

/* The descriptor for a transfer, and how many of its bytes, from the first, are
 * for that one. */
int hmm_file_way(const struct hmm_file *file, uint64_t offset,
                 const void *buffer, size_t length, size_t *part);

/* Reads until the range is full, the file ends, which is no error, or something
 * fails; *done says how much was read.  Calls nothing but pread.  With `direct'
 * the bytes of the buffer after those that are there may be written to. */
int hmm_file_read(const struct hmm_file *file, uint64_t offset, void *buffer,
                  size_t length, size_t *done);
/* Writes until the range is done or something fails. */
int hmm_file_write(const struct hmm_file *file, uint64_t offset,
                   const void *buffer, size_t length, size_t *done);

/* The file's length now: others may have changed it. */
int hmm_file_length(const struct hmm_file *file, uint64_t *length);
int hmm_file_truncate(const struct hmm_file *file, uint64_t length);

/* The range is not needed any more: the file gives its room back and reads as
 * zeros there, where the system can do that; else nothing happens. */
int hmm_file_discard(const struct hmm_file *file, uint64_t offset,
                     uint64_t length);

/* What was written is durable afterwards. */
int hmm_file_sync(const struct hmm_file *file);

#endif /* HMM_POSIX_FILE_IO_H */
