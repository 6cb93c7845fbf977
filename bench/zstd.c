/* SPDX-License-Identifier: MIT */
/* zstd.c - the first thousand random reads of a compressed file.
 *
 * The file is a gibibyte of text, plain, and is in the system's cache.  One side
 * binds it through a budget of 64 MiB and reads; the other runs `zstd -d' over
 * all of it and maps the result.  Both begin with nothing but the file.
 *
 * Needs three gibibytes in TMPDIR or /tmp.
 */
#define _POSIX_C_SOURCE 200809L

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/zstd.h>

#include "bench/report.h"
#include "bench/words.h"
#include "modules/zstd/writer.h"

#define READS 1000u
#define PIECE ((size_t)8 << 20)
#define FRAME ((size_t)64 << 10)

static size_t size = (size_t)1 << 30;
static size_t budget = (size_t)64 << 20;
static size_t rounds = 3;
static char directory[200], packed[240], plain[240];

static void make_names(void)
{
    const char *place = getenv("TMPDIR");

    snprintf(directory, sizeof directory, "%s/bench-zstd.XXXXXX",
             place && strlen(place) < 160 ? place : "/tmp");
    need(mkdtemp(directory) == NULL, "a directory for the files");
    snprintf(packed, sizeof packed, "%s/text.zst", directory);
    snprintf(plain, sizeof plain, "%s/text", directory);
}

static void make_file(void)
{
    struct zst_written written;
    char *text = malloc(PIECE);
    int in, out;

    need(text == NULL, "memory");
    in = open(plain, O_CREAT | O_RDWR, 0600);
    out = open(packed, O_CREAT | O_RDWR, 0600);
    need(in < 0 || out < 0, "files");
    for (size_t at = 0; at < size; at += PIECE) {
        words_fill(text, PIECE, at + 1);
        need(hmm_zst_write_all(in, text, PIECE), "write");
    }
    need(lseek(in, 0, SEEK_SET) != 0, "seek");
    need(hmm_zst_write(in, out, FRAME, 1, &written), "compress");
    free(text);
    close(in);
    close(out);
    need(unlink(plain), "unlink");
}

static uint64_t read_some(const char *memory, uint64_t seed)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < READS; i++)
        sum = sum * 31 +
              ((const volatile unsigned char *)memory)[draw(&seed) % size];
    return sum;
}

static uint64_t ours(uint64_t seed, uint64_t *sum)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = budget};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = size,
                                       .rights = HURDMM_READ,
                                       .advice = HURDMM_ADVICE_RANDOM};
    uint64_t start = now_ns(), took;
    struct hurdmm *manager;
    uintptr_t address;
    int fd = open(packed, O_RDONLY);

    need(fd < 0, "open");
    need(hurdmm_host_port_create(NULL, &options.port), "port");
    need(hurdmm_create(&options, &manager), "manager");
    need(hurdmm_zstd_create(manager, fd, NULL, 0, &bind.store), "store");
    bind.space = hurdmm_space_own(manager);
    need(hurdmm_bind(&bind, &address), "bind");
    *sum = read_some((const char *)address, seed);
    took = now_ns() - start;
    need(hurdmm_destroy(manager, HURDMM_DETACH), "destroy");
    need(hurdmm_host_port_destroy(options.port), "port");
    close(fd);
    return took;
}

/* Whether the program could be run. */
static bool run_zstd(void)
{
    int status = 0;
    pid_t child = fork();

    need(child < 0, "fork");
    if (child == 0) {
        execlp("zstd", "zstd", "-q", "-f", "-d", "-o", plain, packed,
               (char *)NULL);
        _exit(127);
    }
    (void)waitpid(child, &status, 0);
    return status == 0;
}

static uint64_t theirs(uint64_t seed, uint64_t *sum)
{
    uint64_t start = now_ns(), took;
    const char *memory;
    int fd;

    if (!run_zstd())
        return 0;
    fd = open(plain, O_RDONLY);
    memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    need(fd < 0 || memory == MAP_FAILED, "mmap");
    *sum = read_some(memory, seed);
    took = now_ns() - start;
    (void)munmap((void *)(uintptr_t)memory, size);
    close(fd);
    (void)unlink(plain);
    return took;
}

int main(int argc, char **argv)
{
    struct samples us = {0}, them = {0};
    struct figure figure = {.name = "zstd.first1000", .unit = "ms"};

    if (bench_begin(argc, argv).quick) {
        size = (size_t)16 << 20;
        budget = (size_t)1 << 20;
        rounds = 1;
    }
    make_names();
    make_file();
    for (size_t i = 0; i < rounds; i++) {
        uint64_t sum, other = 0, took;

        samples_add(&us, (double)ours(i + 1, &sum));
        took = theirs(i + 1, &other);
        if (took == 0)
            continue; /* there is no zstd here */
        need(sum != other, "the two do not read the same");
        samples_add(&them, (double)took);
    }
    figure.value = median(&us) / 1e6;
    if (them.count == us.count) {
        figure.ratio = median_ratio(&us, &them);
        figure.ratio_max = 0.1;
    }
    figure_print(&figure);
    (void)unlink(packed);
    (void)rmdir(directory);
    return 0;
}
