/* SPDX-License-Identifier: MIT */
/*
 * The file store: a file of the host, or the node of a block device.
 *
 * The file may be changed by others while it is paged; this store then does
 * what shared mappings of files do, but fails where those would lie:
 *  1. the page in which the file ends reads as zeros after the end, and what is
 *     written there after the end goes nowhere;
 *  2. pages that lie after the end altogether cannot be read, nor written, which
 *     would undo the cut: EIO.
 * Between asking for the length and writing, a cut can still come: the system
 * has no call that does both.
 *
 * There are no locks.  page_in calls pread alone, and so may run in a signal
 * handler.
 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include <hurdmm/file.h>
#include <hurdmm/manager.h>

#include "backends/posix/file_io.h"

struct file_store {
    struct hurdmm *manager;
    size_t page_size;
    struct hmm_file file;
};

static size_t round_up(size_t length, size_t page)
{
    return (length + page - 1) & ~(page - 1);
}

static int file_page_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                        void *buffer, size_t length, size_t *done)
{
    struct file_store *file = hook;
    size_t page = file->page_size;
    size_t got, end;
    int error;

    (void)store;
    error = hmm_file_read(&file->file, offset, buffer, length, &got);
    if (error == 0 && got < length) {
        end = round_up(got, page) < length ? round_up(got, page) : length;
        memset((char *)buffer + got, 0, end - got);
        got = end;
        if (got < length)
            error = EIO;
    }
    *done = got;
    return error;
}

static int file_page_out(struct hurdmm_store *store, void *hook,
                         uint64_t offset, const void *buffer, size_t length,
                         size_t *done)
{
    struct file_store *file = hook;
    uint64_t end = 0;
    size_t within = length;
    int error;

    (void)store;
    *done = 0;
    error = hmm_file_length(&file->file, &end);
    if (error != 0)
        return error;
    if (offset >= end)
        return EIO;
    if (end - offset < length)
        within = (size_t)(end - offset);
    error = hmm_file_write(&file->file, offset, buffer, within, done);
    if (error != 0 || within == length)
        return error;
    *done = round_up(within, file->page_size);
    if (*done < length)
        return EIO;
    *done = length;
    return 0;
}

static int file_sync(struct hurdmm_store *store, void *hook, uint64_t offset,
                     uint64_t length)
{
    struct file_store *file = hook;

    (void)store;
    (void)offset;
    (void)length;
    return hmm_file_sync(&file->file);
}

static void file_advise(struct hurdmm_store *store, void *hook, uint64_t offset,
                        uint64_t length, enum hurdmm_advice advice)
{
#ifdef POSIX_FADV_WILLNEED
    struct file_store *file = hook;

    if (advice == HURDMM_ADVICE_WILLNEED && offset <= INT64_MAX &&
        length <= INT64_MAX - offset)
        posix_fadvise(file->file.fd, (off_t)offset, (off_t)length,
                      POSIX_FADV_WILLNEED);
#else
    (void)hook, (void)offset, (void)length, (void)advice;
#endif
    (void)store;
}

static void file_destroy(void *hook)
{
    struct file_store *file = hook;

    hmm_file_close(&file->file);
    hurdmm_deallocate(file->manager, file, sizeof *file);
}

static const struct hurdmm_store_ops file_ops = {
    .struct_size = sizeof file_ops,
    .page_in = file_page_in,
    .page_out = file_page_out,
    .sync = file_sync,
    .advise = file_advise,
    .destroy = file_destroy,
};

/* Checks the file against what is asked of it, and gives it its length. */
static int prepare(const struct hmm_file *file, uint64_t size, unsigned flags)
{
    bool read_only = (flags & HURDMM_STORE_READ_ONLY) != 0;

    if (!read_only && !file->writable)
        return EACCES;
    if (size <= file->length)
        return 0;
    if (read_only || !file->regular)
        return EINVAL;
    return hmm_file_truncate(file, size);
}

static int file_new(struct hurdmm *manager, int fd, struct file_store **file)
{
    void *memory;
    int error;

    error = hurdmm_allocate(manager, sizeof **file, &memory);
    if (error != 0)
        return error;
    *file = memory;
    (*file)->manager = manager;
    (*file)->page_size = hurdmm_page_size(manager);
    error = hmm_file_open(fd, &(*file)->file);
    if (error != 0)
        hurdmm_deallocate(manager, *file, sizeof **file);
    return error;
}

int hurdmm_file_create(struct hurdmm *manager, int fd, uint64_t size,
                       unsigned flags, struct hurdmm_store **store)
{
    const unsigned known =
        HURDMM_STORE_READ_ONLY | HURDMM_STORE_SHARED | HURDMM_STORE_NO_STEAL;
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "file",
        .flags = flags | HURDMM_STORE_SIGNAL_SAFE,
    };
    struct file_store *file;
    int error;

    if (!manager || !store || (flags & ~known) != 0)
        return EINVAL;
    error = file_new(manager, fd, &file);
    if (error != 0)
        return error;
    error = prepare(&file->file, size, flags);
    if ((flags & HURDMM_STORE_READ_ONLY) != 0)
        file->file.writable = false;
    if (error == 0) {
        options.hook = file;
        options.size = size != 0 ? size : file->file.length;
        error = hurdmm_store_create(manager, &file_ops, &options, store);
        if (error != 0 && size > file->file.length)
            (void)hmm_file_truncate(&file->file, file->file.length);
    }
    if (error != 0)
        file_destroy(file);
    return error;
}

/* Cutting: the store first, so that nothing is written past the new end. */
static int cut(struct hurdmm_store *store, const struct hmm_file *file,
               uint64_t old, uint64_t size)
{
    int error = hurdmm_store_resize(store, size);

    if (error != 0)
        return error;
    error = hmm_file_truncate(file, size);
    if (error != 0)
        (void)hurdmm_store_resize(store, old);
    return error;
}

/* Growing: the file first, so that there is something behind each page. */
static int extend(struct hurdmm_store *store, const struct hmm_file *file,
                  uint64_t old, uint64_t size)
{
    int error = hmm_file_truncate(file, size);

    if (error != 0)
        return error;
    error = hurdmm_store_resize(store, size);
    if (error != 0)
        (void)hmm_file_truncate(file, old);
    return error;
}

int hurdmm_file_resize(struct hurdmm_store *store, uint64_t size)
{
    const struct file_store *file;
    uint64_t old;

    if (!store || hurdmm_store_operations(store)->page_in != file_page_in)
        return EINVAL;
    file = hurdmm_store_hook(store);
    if (!file->file.writable)
        return EROFS;
    if (!file->file.regular)
        return EINVAL;
    old = hurdmm_store_size(store);
    return size < old ? cut(store, &file->file, old, size)
                      : extend(store, &file->file, old, size);
}
