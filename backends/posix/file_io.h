/* SPDX-License-Identifier: MIT */
/*
 * What the file store and the file block device share: descriptors that are
 * theirs, and reads and writes that are not cut short by signals.
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
    bool regular;    /* a file, not a device: its length can be asked */
    bool writable;   /* the descriptor may write */
    uint64_t length; /* when it was opened */
};

/* Duplicates a descriptor, which must be one that reads, of a file or a block
 * device.  EINVAL (something else; or it appends, which would move every
 * write), EBADF, EACCES (cannot read), or an error of fcntl or fstat. */
int hmm_file_open(int fd, struct hmm_file *file);
void hmm_file_close(struct hmm_file *file);

/* Reads until the range is full, the file ends, which is no error, or something
 * fails; *done says how much was read.  Calls nothing but pread. */
int hmm_file_read(const struct hmm_file *file, uint64_t offset, void *buffer,
                  size_t length, size_t *done);
/* Writes until the range is done or something fails. */
int hmm_file_write(const struct hmm_file *file, uint64_t offset,
                   const void *buffer, size_t length, size_t *done);

/* The file's length now: others may have changed it. */
int hmm_file_length(const struct hmm_file *file, uint64_t *length);
int hmm_file_truncate(const struct hmm_file *file, uint64_t length);

/* What was written is durable afterwards. */
int hmm_file_sync(const struct hmm_file *file);

#endif /* HMM_POSIX_FILE_IO_H */
