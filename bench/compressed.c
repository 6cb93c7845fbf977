/* SPDX-License-Identifier: MIT */
/* compressed.c - what memory that leaves compressed costs beyond LZ4 itself.
 *
 * Pages of text are written to a compressed memory store, and then as a whole
 * sent out of memory (`out') and brought back (`in'), by calls, so that faults
 * do not count.  The other side compresses the same pages one by one, keeps what
 * becomes of them in one long buffer, and expands them again.
 */
#include <stdlib.h>
#include <string.h>

#include <lz4.h>

#include <hurdmm/compressed.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/posix.h>

#include "bench/report.h"
#include "bench/words.h"

#define PAGE ((size_t)4096)

static size_t size = (size_t)64 << 20;
static size_t rounds = 7;
static char *text, *back;

/* ---- The bare codec ------------------------------------------------------- */

static char *packed;
static int *lengths;

static uint64_t bare_out(void)
{
    uint64_t start = now_ns();
    char *to = packed;

    for (size_t i = 0; i < size / PAGE; i++) {
        lengths[i] = LZ4_compress_fast(text + i * PAGE, to, (int)PAGE,
                                       LZ4_COMPRESSBOUND(PAGE), 1);
        to += lengths[i];
    }
    return now_ns() - start;
}

static uint64_t bare_in(void)
{
    uint64_t start = now_ns();
    const char *from = packed;

    for (size_t i = 0; i < size / PAGE; i++) {
        need(LZ4_decompress_safe(from, back + i * PAGE, lengths[i],
                                 (int)PAGE) != (int)PAGE,
             "LZ4");
        from += lengths[i];
    }
    return now_ns() - start;
}

/* ---- The store ------------------------------------------------------------ */

static struct hurdmm_port *port;
static struct hurdmm *manager;
static struct hurdmm_store *store;

static void begin(void)
{
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .budget = 2 * size,
        .dirty_limit = 2 * size,
    };
    struct hurdmm_compressed_options compressed = {
        .struct_size = sizeof compressed, .arena = size};

    need(hurdmm_posix_create(NULL, &port), "port");
    options.port = port;
    need(hurdmm_create(&options, &manager), "manager");
    need(hurdmm_compressed_create(manager, &compressed, size, 0, &store),
         "store");
}

static void end(void)
{
    need(hurdmm_destroy(manager, HURDMM_DETACH), "destroy");
    need(hurdmm_posix_destroy(port), "port");
}

static void dirty(void)
{
    size_t done;

    need(hurdmm_store_write(store, 0, text, size, &done), "write");
}

static uint64_t store_out(void)
{
    uint64_t start = now_ns();

    need(hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT), "return");
    return now_ns() - start;
}

static uint64_t store_in(void)
{
    uint64_t start = now_ns();
    size_t done;

    need(hurdmm_store_populate(store, 0, size, &done), "populate");
    return now_ns() - start;
}

static void verify(void)
{
    struct hurdmm_compressed_stats stats = {.struct_size = sizeof stats};
    size_t done;

    need(hurdmm_store_read(store, 0, back, size, &done), "read");
    need(memcmp(text, back, size), "what was read is not what was written");
    need(hurdmm_compressed_get_stats(store, &stats), "stats");
    need(stats.pages_packed != size / PAGE, "some pages were not compressed");
}

static void print(const char *name, const struct samples *ours,
                  const struct samples *bare)
{
    struct figure figure = {
        .name = name,
        .value = median(ours) / (double)(size / PAGE) / 1e3,
        .unit = "us/page",
        .ratio = median_ratio(ours, bare),
        .ratio_max = 1 / 0.6,
    };

    figure_print(&figure);
}

int main(int argc, char **argv)
{
    struct samples out = {0}, in = {0}, out_bare = {0}, in_bare = {0};

    if (bench_begin(argc, argv).quick) {
        size = (size_t)2 << 20;
        rounds = 3;
    }
    text = malloc(size);
    back = malloc(size);
    packed = malloc(size + size / 128 + LZ4_COMPRESSBOUND(PAGE));
    lengths = calloc(size / PAGE, sizeof *lengths);
    need(!text || !back || !packed || !lengths, "memory");
    words_fill(text, size, 1);
    begin();
    dirty(); /* all memory is touched once before it counts */
    (void)store_out();
    (void)bare_out();
    (void)bare_in();
    for (size_t i = 0; i < rounds; i++) {
        dirty();
        samples_add(&out, (double)store_out());
        samples_add(&out_bare, (double)bare_out());
        samples_add(&in, (double)store_in());
        samples_add(&in_bare, (double)bare_in());
    }
    verify();
    print("compressed.out", &out, &out_bare);
    print("compressed.in", &in, &in_bare);
    end();
    free(text);
    free(back);
    free(packed);
    free(lengths);
    return 0;
}
