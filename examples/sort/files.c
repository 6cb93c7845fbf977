/* SPDX-License-Identifier: MIT */
/*
 * The files: the input; the output, which is written beside its place and moved
 * there when it is complete; the swap file, which has no name.
 */
#define _XOPEN_SOURCE 700

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sort.h"

/* The output under way; the first byte is 0 when there is none. */
static char temporary[PATH_MAX + 8];
/* Its place. */
static char place[PATH_MAX];

static void open_input(struct files *files)
{
    struct stat status;

    files->input = open(files->input_name, O_RDONLY | O_CLOEXEC);
    if (files->input < 0 || fstat(files->input, &status) < 0)
        fail(files->input_name, errno);
    if (S_ISDIR(status.st_mode))
        fail(files->input_name, EISDIR);
    if (!S_ISREG(status.st_mode))
        fail(files->input_name, EINVAL);
    files->size = (uint64_t)status.st_size;
}

/* Where the output goes: a symbolic link stays one.  Gives the mode that the
 * file shall have. */
static mode_t find_place(const char *name)
{
    struct stat status;
    mode_t mask;

    if (strlen(name) >= sizeof place)
        fail(name, ENAMETOOLONG);
    if (!realpath(name, place)) {
        if (errno != ENOENT)
            fail(name, errno);
        strcpy(place, name);
        mask = umask(0);
        umask(mask);
        return 0666 & ~mask;
    }
    if (stat(place, &status) < 0)
        fail(name, errno);
    if (S_ISDIR(status.st_mode))
        fail(name, EISDIR);
    if (!S_ISREG(status.st_mode))
        fail(name, EINVAL);
    /* It is replaced, not written, but who may not write it may not do that. */
    if (access(place, W_OK) < 0)
        fail(name, errno);
    return status.st_mode & 07777;
}

static void open_output(struct files *files)
{
    mode_t mode = find_place(files->output_name);
    char name[sizeof temporary];

    snprintf(name, sizeof name, "%s.XXXXXX", place);
    files->output = mkstemp(name);
    if (files->output < 0)
        fail(files->output_name, errno);
    strcpy(temporary, name);
    if (fchmod(files->output, mode) < 0)
        fail(files->output_name, errno);
}

/* In TMPDIR, or else beside the output. */
static void open_swap(struct files *files)
{
    const char *directory = getenv("TMPDIR");
    const char *slash = strrchr(place, '/');
    int length = slash ? (int)(slash - place) + 1 : 0;
    char name[PATH_MAX + 32];

    if (directory && directory[0] != '\0')
        snprintf(name, sizeof name, "%.*s/hurdmm-sort.XXXXXX", PATH_MAX - 1,
                 directory);
    else
        snprintf(name, sizeof name, "%.*shurdmm-sort.XXXXXX", length, place);
    files->swap = mkstemp(name);
    if (files->swap < 0)
        fail(name, errno);
    unlink(name);
}

void files_open(struct files *files)
{
    open_input(files);
    open_output(files);
    open_swap(files);
}

void files_finish(struct files *files)
{
    if (close(files->output) < 0 || rename(temporary, place) < 0)
        fail(files->output_name, errno);
    temporary[0] = '\0';
    close(files->input);
    close(files->swap);
}

void files_abandon(void)
{
    if (temporary[0] != '\0')
        unlink(temporary);
}
