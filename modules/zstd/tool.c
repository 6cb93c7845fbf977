/* SPDX-License-Identifier: MIT */
/*
 * hurdmm-zst - makes and looks at files that hurdmm_zstd_create reads.
 *
 *     hurdmm-zst compress [-l LEVEL] [-f KIB] IN OUT
 *     hurdmm-zst decompress IN OUT
 *     hurdmm-zst list FILE        a line for each frame
 *     hurdmm-zst verify FILE      decodes every frame, names the bad ones
 *
 * OUT is made under another name beside it and takes its name when it is
 * complete and on the medium: whatever happens meanwhile, there is the old file
 * or none, or all of the new one.  The exit status is 0, 1 when verify found
 * something, 2 when something failed.
 */
#define _DEFAULT_SOURCE
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/stat.h>

#include "modules/zstd/frames.h"
#include "modules/zstd/writer.h"

#define FRAME_KIB 64
#define LEVEL 3

static int usage(void)
{
    fprintf(stderr,
            "usage: hurdmm-zst compress [-l LEVEL] [-f FRAME-KIB] IN OUT\n"
            "       hurdmm-zst decompress IN OUT\n"
            "       hurdmm-zst list FILE\n"
            "       hurdmm-zst verify FILE\n");
    return 2;
}

static int complain(const char *file, int error)
{
    fprintf(stderr, "hurdmm-zst: %s: %s\n", file,
            error == EBADMSG
                ? "not a seekable file, or cut, or its table is wrong"
                : strerror(error));
    return 2;
}

/* An output that has no name yet. */
struct output {
    const char *name;
    char *temporary;
    int fd;
};

/* With the rights that a new file has here. */
static int give_rights(int fd)
{
    mode_t mask = umask(0);

    umask(mask);
    return fchmod(fd, 0666 & ~mask) == 0 ? 0 : errno;
}

static int output_begin(struct output *output, const char *name)
{
    static const char suffix[] = ".XXXXXX";
    size_t length = strlen(name);

    output->name = name;
    output->temporary = malloc(length + sizeof suffix);
    if (!output->temporary)
        return ENOMEM;
    memcpy(output->temporary, name, length);
    memcpy(output->temporary + length, suffix, sizeof suffix);
    output->fd = mkstemp(output->temporary);
    if (output->fd >= 0)
        return give_rights(output->fd);
    free(output->temporary);
    output->temporary = NULL;
    return errno;
}

/* Gives the file its name, or, with an error, throws it away. */
static int output_end(struct output *output, int error)
{
    if (!output->temporary)
        return error;
    if (error == 0 && fsync(output->fd) != 0 && errno != EINVAL)
        error = errno;
    if (close(output->fd) != 0 && error == 0)
        error = errno;
    if (error == 0 && rename(output->temporary, output->name) != 0)
        error = errno;
    if (error != 0)
        (void)unlink(output->temporary);
    free(output->temporary);
    return error;
}

/* A number from LOW to HIGH. */
static bool number(const char *text, long low, long high, long *value)
{
    char *end;

    errno = 0;
    *value = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *value >= low &&
           *value <= high;
}

static void report(const struct zst_written *written)
{
    printf("%" PRIu64 " bytes in %" PRIu32 " frames, %" PRIu64
           " bytes packed (%.1f %%)\n",
           written->plain, written->frames, written->packed,
           written->plain != 0
               ? 100.0 * (double)written->packed / (double)written->plain
               : 100.0);
}

static int compress(int argc, char **argv)
{
    long kib = FRAME_KIB, level = LEVEL;
    struct zst_written written;
    struct output output;
    int in, error, option;

    while ((option = getopt(argc, argv, "l:f:")) != -1)
        if (option == 'l' ? !number(optarg, -100, 22, &level)
                          : option != 'f' || !number(optarg, 1, 1 << 20, &kib))
            return usage();
    if (argc - optind != 2)
        return usage();
    in = open(argv[optind], O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return complain(argv[optind], errno);
    error = output_begin(&output, argv[optind + 1]);
    if (error == 0)
        error = hmm_zst_write(in, output.fd, (size_t)kib * 1024, (int)level,
                              &written);
    error = output_end(&output, error);
    close(in);
    if (error != 0)
        return complain(argv[optind + 1], error);
    report(&written);
    return 0;
}

/* A file, a decoder for it, and room for a frame of it. */
struct input {
    struct zst_file file;
    struct zst_decoder decoder;
    unsigned char *plain;
};

static int input_begin(struct input *input, const char *name)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    int error;

    if (fd < 0)
        return errno;
    error = hmm_zst_file_open(&input->file, fd, ZST_FRAME_MAX);
    close(fd);
    if (error != 0)
        return error;
    input->plain = malloc(input->file.index.plain_max + 1);
    error = input->plain ? hmm_zst_decoder_begin(&input->decoder, &input->file)
                         : ENOMEM;
    if (error != 0) {
        free(input->plain);
        hmm_zst_file_close(&input->file);
    }
    return error;
}

static void input_end(struct input *input)
{
    hmm_zst_decoder_end(&input->decoder);
    free(input->plain);
    hmm_zst_file_close(&input->file);
}

static size_t plain_length(const struct input *input, uint32_t frame)
{
    const struct zst_entry *entry = &input->file.index.entries[frame];

    return (size_t)(entry[1].plain - entry->plain);
}

static int decompress(const char *from, const char *to)
{
    struct output output = {0};
    struct input input;
    int error = input_begin(&input, from);

    if (error != 0)
        return complain(from, error);
    error = output_begin(&output, to);
    for (uint32_t i = 0; i < input.file.index.count && error == 0; i++) {
        error = hmm_zst_decode(&input.decoder, &input.file, i, input.plain);
        if (error == 0)
            error = hmm_zst_write_all(output.fd, input.plain,
                                      plain_length(&input, i));
    }
    error = output_end(&output, error);
    input_end(&input);
    return error != 0 ? complain(to, error) : 0;
}

static int list(const char *name)
{
    struct input input;
    int error = input_begin(&input, name);

    if (error != 0)
        return complain(name, error);
    printf("# frame offset length packed-offset packed-length checksum\n");
    for (uint32_t i = 0; i < input.file.index.count; i++) {
        const struct zst_entry *entry = &input.file.index.entries[i];

        printf("%" PRIu32 " %" PRIu64 " %zu %" PRIu64 " %" PRIu64, i,
               entry->plain, plain_length(&input, i), entry->packed,
               entry[1].packed - entry->packed);
        if (input.file.index.checksums)
            printf(" %08" PRIx32 "\n", entry->checksum);
        else
            printf(" -\n");
    }
    input_end(&input);
    return 0;
}

static int verify(const char *name)
{
    struct input input;
    uint32_t bad = 0;
    int error = input_begin(&input, name);

    if (error != 0)
        return complain(name, error);
    for (uint32_t i = 0; i < input.file.index.count; i++) {
        error = hmm_zst_decode(&input.decoder, &input.file, i, input.plain);
        if (error != 0) {
            printf("frame %" PRIu32 " at %" PRIu64 ": %s\n", i,
                   input.file.index.entries[i].plain, strerror(error));
            bad++;
        }
    }
    printf("%" PRIu32 " frames, %" PRIu32 " bad\n", input.file.index.count,
           bad);
    input_end(&input);
    return bad != 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    int result;

    if (!strcmp(verb, "compress"))
        result = compress(argc - 1, argv + 1);
    else if (!strcmp(verb, "decompress") && argc == 4)
        result = decompress(argv[2], argv[3]);
    else if (!strcmp(verb, "list") && argc == 3)
        result = list(argv[2]);
    else if (!strcmp(verb, "verify") && argc == 3)
        result = verify(argv[2]);
    else
        result = usage();
    if (fflush(stdout) != 0 && result == 0)
        result = complain("standard output", errno);
    return result;
}
