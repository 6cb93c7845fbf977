/* SPDX-License-Identifier: MIT */
/*
 * Compressed files as memory: what is read, what is refused, and what damage
 * does.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hurdmm/zstd.h>

#include "modules/zstd/frames.h"
#include "modules/zstd/hash.h"
#include "modules/zstd/writer.h"
#include "tests/modules/drill.h"
#include "tests/support/runner.h"

#define PLAIN_MAX ((size_t)1 << 20)

static uint8_t plain[PLAIN_MAX], packed[2 * PLAIN_MAX];

static int temporary(void)
{
    char name[] = "/tmp/test-zstd.XXXXXX";
    int file = mkstemp(name);

    ck_assert_int_ge(file, 0);
    unlink(name);
    return file;
}

static int file_of(const void *bytes, size_t length)
{
    int fd = temporary();

    ck_assert_int_eq(hmm_zst_write_all(fd, bytes, length), 0);
    ck_assert_int_eq((int)lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* A compressed file of `length' bytes, which `plain' then has. */
static int compressed(size_t length, size_t frame)
{
    struct zst_written written;
    int in, out = temporary();

    ck_assert_uint_le(length, PLAIN_MAX);
    for (size_t at = 0; at < length; at += 1000)
        drill_fill(plain + at, length - at < 1000 ? length - at : 1000, at,
                   (unsigned)(at / 1000 % 64));
    in = file_of(plain, length);
    ck_assert_int_eq(hmm_zst_write(in, out, frame, 3, &written), 0);
    ck_assert_uint_eq(written.plain, length);
    ck_assert_int_eq((int)lseek(out, 0, SEEK_CUR), (int)written.packed);
    close(in);
    return out;
}

/* The file's bytes in `packed'. */
static size_t load(int fd)
{
    off_t length = lseek(fd, 0, SEEK_END);

    ck_assert_int_le((int)length, (int)sizeof packed);
    ck_assert_int_eq(hmm_zst_read_all(fd, 0, packed, (size_t)length), 0);
    return (size_t)length;
}

static struct drill drill;

/* A simulated machine, a store on the file. */
static int try_open(int fd, const struct hurdmm_zstd_options *options,
                    struct hurdmm_store **store)
{
    return hurdmm_zstd_create(drill.manager, fd, options, 0, store);
}

static struct hurdmm_store *open_store(int fd)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(try_open(fd, NULL, &store), 0);
    return store;
}

static void begin(void)
{
    ck_assert(drill_begin(&drill, "sim", 64));
}

static void end(void)
{
    drill_end(&drill);
}

/* What a page ends with; one that can be read must be right. */
static int read_page(struct hurdmm_store *store, size_t page)
{
    size_t offset = page * drill.page, done;
    size_t rest = (size_t)hurdmm_store_size(store) - offset;
    size_t length = rest < drill.page ? rest : drill.page;
    uint8_t bytes[4096];
    int error = hurdmm_store_read(store, offset, bytes, length, &done);

    if (error == 0)
        ck_assert_mem_eq(bytes, plain + offset, length);
    return error;
}

/* ---- What is read --------------------------------------------------------- */

START_TEST(a_file_reads_as_what_was_compressed)
{
    /* Frames smaller than a page, odd ones, larger than a cluster, one. */
    static const size_t frames[] = {100, 1000, 1024, 4096, 5000, 65536, 300000};
    size_t frame = frames[_i];
    size_t length = frame < 1000 ? 50000 : 250001;
    int fd = compressed(length, frame);

    drill_take(&drill, open_store(fd), DRILL_READ_ONLY, plain);
    close(fd); /* it was duplicated */
    drill_verify(&drill);
    drill_random(&drill, (unsigned)test_scaled(400), frame);
}
END_TEST

START_TEST(an_empty_file_is_an_empty_store)
{
    int fd = compressed(0, 4096);
    struct hurdmm_store *store = open_store(fd);
    uint8_t byte;
    size_t done;

    ck_assert_uint_eq(hurdmm_store_size(store), 0);
    ck_assert_int_eq(hurdmm_store_read(store, 0, &byte, 1, &done), ENXIO);
    close(fd);
}
END_TEST

START_TEST(a_frame_is_decoded_once_for_its_pages)
{
    struct hurdmm_zstd_stats stats = {.struct_size = sizeof stats};
    int fd = compressed(64 * 1024, 16 * 1024);
    struct hurdmm_store *store = open_store(fd);

    for (size_t page = 0; page < 64; page++)
        ck_assert_int_eq(read_page(store, page), 0);
    ck_assert_int_eq(hurdmm_zstd_get_stats(store, &stats), 0);
    ck_assert_uint_eq(stats.frames, 4);
    ck_assert_uint_eq(stats.bytes, 64 * 1024);
    ck_assert_uint_lt(stats.bytes_packed, 64 * 1024);
    ck_assert_uint_eq(stats.frames_decoded, 4);
    ck_assert_uint_eq(stats.frames_failed, 0);
    close(fd);
}
END_TEST

START_TEST(writing_is_refused)
{
    int fd = compressed(10000, 4096);
    struct hurdmm_store *store = open_store(fd);
    size_t done;

    ck_assert_int_eq(hurdmm_store_write(store, 0, "x", 1, &done), EROFS);
    close(fd);
}
END_TEST

START_TEST(beyond_the_file_there_is_nothing)
{
    int fd = compressed(10000, 4096);
    struct hurdmm_store *store = open_store(fd);
    uint8_t byte;
    size_t done;

    ck_assert_int_eq(hurdmm_store_resize(store, 100000), 0);
    ck_assert_int_eq(hurdmm_store_read(store, 50000, &byte, 1, &done), ENXIO);
    ck_assert_int_eq(read_page(store, 0), 0);
    close(fd);
}
END_TEST

/* ---- Damage --------------------------------------------------------------- */

static void change(int fd, off_t at, uint8_t by)
{
    uint8_t byte;

    ck_assert_int_eq((int)pread(fd, &byte, 1, at), 1);
    byte = (uint8_t)(byte ^ by);
    ck_assert_int_eq((int)pwrite(fd, &byte, 1, at), 1);
}

/* The index of an open file, for tests that look into it. */
static struct zst_file index_of(int fd)
{
    struct zst_file file;

    ck_assert_int_eq(hmm_zst_file_open(&file, fd, PLAIN_MAX), 0);
    return file;
}

START_TEST(a_damaged_frame_spoils_its_own_pages_only)
{
    int fd = compressed(100 * 1024, 8 * 1024);
    struct zst_file file = index_of(fd);
    struct hurdmm_store *store = open_store(fd);
    off_t at = (off_t)(file.index.entries[3].packed + 20);

    change(fd, at, 0x10);
    for (size_t page = 0; page < 100; page++)
        ck_assert_int_eq(read_page(store, page), page / 8 == 3 ? EIO : 0);
    /* It is mended; who asks for it to be tried again gets it. */
    change(fd, at, 0x10);
    ck_assert_int_eq(read_page(store, 25), EIO);
    ck_assert_int_eq(
        hurdmm_store_discard(store, 24 * drill.page, 8 * drill.page), 0);
    for (size_t page = 0; page < 100; page++)
        ck_assert_int_eq(read_page(store, page), 0);
    hmm_zst_file_close(&file);
    close(fd);
}
END_TEST

START_TEST(a_load_from_a_damaged_page_fails)
{
    int fd = compressed(100 * 1024, 8 * 1024);
    struct zst_file file = index_of(fd);
    uint64_t value;

    change(fd, (off_t)(file.index.entries[3].packed + 20), 1);
    drill_take(&drill, open_store(fd), DRILL_READ_ONLY, plain);
    ck_assert_int_eq(drill_load(&drill, 25 * 1024, &value), EIO);
    ck_assert_int_eq(drill_load(&drill, 40 * 1024, &value), 0);
    ck_assert_mem_eq(&value, plain + 40 * 1024, sizeof value);
    hmm_zst_file_close(&file);
    close(fd);
}
END_TEST

/* A page that lies in two frames is bad if one of them is. */
START_TEST(pages_across_frames_need_both)
{
    int fd = compressed(50000, 5000);
    struct zst_file file = index_of(fd);
    struct hurdmm_store *store = open_store(fd);

    change(fd, (off_t)(file.index.entries[4].packed + 20), 0x80);
    for (size_t page = 0; page < 48; page++) {
        size_t first = page * 1024, last = first + 1023;

        ck_assert_int_eq(read_page(store, page),
                         first < 25000 && last >= 20000 ? EIO : 0);
    }
    hmm_zst_file_close(&file);
    close(fd);
}
END_TEST

START_TEST(a_checksum_in_the_table_is_enough)
{
    int fd = compressed(50 * 1024, 8 * 1024);
    size_t length = load(fd);
    struct hurdmm_store *store;
    uint8_t *entry = packed + length - 9 - 12 * 7 + 12 * 2;

    entry[8] ^= 1;
    close(fd);
    fd = file_of(packed, length);
    store = open_store(fd);
    for (size_t page = 0; page < 50; page++)
        ck_assert_int_eq(read_page(store, page), page / 8 == 2 ? EIO : 0);
    close(fd);
}
END_TEST

START_TEST(a_file_that_is_cut_while_open_keeps_what_is_left)
{
    int fd = compressed(100 * 1024, 8 * 1024);
    struct zst_file file = index_of(fd);
    struct hurdmm_store *store = open_store(fd);

    ck_assert_int_eq(ftruncate(fd, (off_t)file.index.entries[6].packed + 3), 0);
    for (size_t page = 0; page < 100; page++)
        ck_assert_int_eq(read_page(store, page), page < 48 ? 0 : EIO);
    hmm_zst_file_close(&file);
    close(fd);
}
END_TEST

START_TEST(a_file_that_was_cut_is_refused)
{
    int fd = compressed(20000, 4096);
    size_t length = load(fd);
    struct hurdmm_store *store = NULL;

    close(fd);
    for (size_t cut = 0; cut < length; cut += cut + 200 < length ? 97 : 1) {
        fd = file_of(packed, cut);
        ck_assert_int_eq(try_open(fd, NULL, &store), EBADMSG);
        ck_assert_ptr_null(store);
        close(fd);
    }
}
END_TEST

/* ---- Tables that lie ------------------------------------------------------ */

struct lie {
    const char *what;
    int from_end; /* where, before the end of the file */
    uint8_t bytes[4];
    size_t count;
    int error;
};

/* Five frames with checksums: the footer is the last 9 bytes, the entries the 60
 * before it, the header the 8 before those. */
#define FOOTER 9
#define ENTRY(n) (FOOTER + 60 - 12 * (n))
#define HEADER (FOOTER + 60 + 8)

static const struct lie lies[] = {
    {"another magic", 4, {0xB0}, 1, EBADMSG},
    {"reserved flags", 5, {0x84}, 1, EBADMSG},
    {"no checksums", 5, {0x00}, 1, EBADMSG},
    {"a frame more", FOOTER, {6}, 1, EBADMSG},
    {"a frame less", FOOTER, {4}, 1, EBADMSG},
    {"no frames", FOOTER, {0}, 1, EBADMSG},
    {"frames without end", FOOTER, {0xff, 0xff, 0xff, 0xff}, 4, EBADMSG},
    {"frames up to the limit", FOOTER, {0, 0, 0, 8}, 4, EBADMSG},
    {"not skippable", HEADER, {0x5F}, 1, EBADMSG},
    {"a longer table", HEADER - 4, {70}, 1, EBADMSG},
    {"a table without end", HEADER - 4, {0xff, 0xff, 0xff, 0xff}, 4, EBADMSG},
    {"a frame of nothing", ENTRY(2), {0, 0, 0, 0}, 4, EBADMSG},
    {"a frame past the end", ENTRY(2), {0xff, 0xff, 0xff, 0x7f}, 4, EBADMSG},
    {"a frame up to 4 GiB", ENTRY(4), {0xff, 0xff, 0xff, 0xff}, 4, EBADMSG},
    {"very long contents", ENTRY(1) - 4, {0, 0, 0, 0x40}, 4, EOVERFLOW},
    {"contents up to 4 GiB",
     ENTRY(4) - 4,
     {0xff, 0xff, 0xff, 0xff},
     4,
     EOVERFLOW},
};

START_TEST(a_table_that_lies_is_refused)
{
    const struct lie *lie = &lies[_i];
    int fd = compressed(20000, 4096);
    size_t length = load(fd);
    struct hurdmm_store *store = NULL;

    close(fd);
    memcpy(packed + length - lie->from_end, lie->bytes, lie->count);
    fd = file_of(packed, length);
    ck_assert_msg(try_open(fd, NULL, &store) == lie->error, "%s", lie->what);
    ck_assert_ptr_null(store);
    close(fd);
}
END_TEST

/* The table can be wrong about what is in a frame in a way that shows only when
 * that is decoded. */
START_TEST(a_frame_of_another_length_is_an_error)
{
    for (unsigned more = 0; more < 2; more++) {
        int fd = compressed(20000, 4096);
        size_t length = load(fd);
        struct hurdmm_store *store;

        close(fd);
        packed[length - ENTRY(2) + 4] = more ? 1 : 0;
        packed[length - ENTRY(2) + 5] = more ? 0x10 : 0x0f;
        fd = file_of(packed, length);
        store = open_store(fd);
        ck_assert_int_eq(read_page(store, 0), 0);
        ck_assert_int_eq(read_page(store, 7), 0);
        ck_assert_int_eq(read_page(store, 9), EIO);
        close(fd);
    }
}
END_TEST

/* Others leave checksums out, and have frames without contents. */
START_TEST(files_of_other_writers_are_read)
{
    static const uint8_t skippable[] = {0x50, 0x2A, 0x4D, 0x18, 3,  0,
                                        0,    0,    'a',  'b',  'c'};
    int fd = compressed(20000, 4096);
    size_t length = load(fd), out = 0;
    struct zst_file file = index_of(fd);
    uint8_t *copy = malloc(length + 100), *table;
    struct hurdmm_store *store;

    close(fd);
    ck_assert_ptr_nonnull(copy);
    for (unsigned i = 0; i < 5; i++) {
        const struct zst_entry *entry = &file.index.entries[i];
        size_t size = (size_t)(entry[1].packed - entry->packed);

        if (i == 2) { /* one that says nothing, in between */
            memcpy(copy + out, skippable, sizeof skippable);
            out += sizeof skippable;
        }
        memcpy(copy + out, packed + entry->packed, size);
        out += size;
    }
    table = copy + out;
    memcpy(table, packed + length - HEADER, 8);
    table[4] = 6 * 8 + 9;
    for (unsigned i = 0, to = 0; i < 5; i++) {
        if (i == 2) {
            memset(table + 8 + 8 * to, 0, 8);
            table[8 + 8 * to++] = sizeof skippable;
        }
        memcpy(table + 8 + 8 * to++, packed + length - ENTRY(i), 8);
    }
    memcpy(table + 8 + 48, packed + length - FOOTER, 9);
    table[8 + 48] = 6;
    table[8 + 48 + 4] = 0x03; /* the free bits may be anything */
    fd = file_of(copy, out + 8 + 48 + 9);
    store = open_store(fd);
    ck_assert_uint_eq(hurdmm_store_size(store), 20000);
    for (size_t page = 0; page < 20; page++)
        ck_assert_int_eq(read_page(store, page), 0);
    hmm_zst_file_close(&file);
    free(copy);
    close(fd);
}
END_TEST

/* Any damage: the file is refused, or each page is right or EIO, or, where the
 * table shifts what follows, at least nothing is touched that should not be. */
START_TEST(random_damage_is_met_with_errors)
{
    int fd = compressed(20000, 2048);
    struct zst_file file = index_of(fd);
    size_t length = load(fd), rounds = test_scaled(3000);
    uint8_t *whole = malloc(length), page[4096];
    unsigned opened = 0, failed = 0;

    ck_assert_ptr_nonnull(whole);
    memcpy(whole, packed, length);
    srand(3);
    for (size_t round = 0; round < rounds; round++) {
        size_t size = length, done;
        struct hurdmm_store *store;
        bool same;
        int error;

        memcpy(packed, whole, length);
        for (int i = rand() % 4; i >= 0; i--) {
            /* Half of it hits the table. */
            size_t last = rand() % 2 ? length : 140;
            size_t at = length - 1 - (size_t)rand() % last;

            packed[at] =
                (uint8_t)(rand() % 3 ? packed[at] ^ 1 << rand() % 8 : rand());
        }
        if (rand() % 8 == 0)
            size = (size_t)rand() % length;
        ck_assert_int_eq((int)pwrite(fd, packed, size, 0), (int)size);
        ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
        error = try_open(fd, NULL, &store);
        if (error != 0) {
            ck_assert(error == EBADMSG || error == EOVERFLOW);
            continue;
        }
        opened++;
        same = hurdmm_store_size(store) == 20000;
        for (uint64_t at = 0; at < hurdmm_store_size(store) && at < 40000;
             at += drill.page) {
            uint64_t rest = hurdmm_store_size(store) - at;
            size_t want = rest < drill.page ? (size_t)rest : drill.page;

            error = hurdmm_store_read(store, at, page, want, &done);
            ck_assert(error == 0 || error == EIO);
            failed += error == EIO;
            if (error == 0 && same && size == length)
                ck_assert_msg(memcmp(page, plain + at, want) == 0 ||
                                  memcmp(packed + length - 140,
                                         whole + length - 140, 140) != 0,
                              "wrong bytes at %u", (unsigned)at);
        }
        ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    }
    if (rounds > 100)
        ck_assert(opened > rounds / 10 && failed > rounds / 10);
    hmm_zst_file_close(&file);
    free(whole);
    close(fd);
}
END_TEST

START_TEST(the_callers_place_in_the_file_stays)
{
    int fd = compressed(20000, 4096);

    ck_assert_int_eq((int)lseek(fd, 17, SEEK_SET), 17);
    ck_assert_int_eq(read_page(open_store(fd), 0), 0);
    ck_assert_int_eq((int)lseek(fd, 0, SEEK_CUR), 17);
    close(fd);
}
END_TEST

/* ---- What is wrong with the call ------------------------------------------ */

START_TEST(bad_input_is_refused)
{
    struct hurdmm_zstd_options good = {.struct_size = sizeof good}, bad = good;
    struct hurdmm_zstd_stats stats = {.struct_size = sizeof stats};
    int fd = compressed(20000, 4096), pipes[2], only;
    struct hurdmm_store *store = NULL;

    ck_assert_int_eq(pipe(pipes), 0);
    only = open("/dev/null", O_WRONLY);
    ck_assert_int_eq(hurdmm_zstd_create(NULL, fd, NULL, 0, &store), EINVAL);
    ck_assert_int_eq(hurdmm_zstd_create(drill.manager, fd, NULL, 0, NULL),
                     EINVAL);
    ck_assert_int_eq(hurdmm_zstd_create(drill.manager, fd, NULL,
                                        HURDMM_STORE_DISCARDABLE, &store),
                     EINVAL);
    bad.struct_size = 0;
    ck_assert_int_eq(try_open(fd, &bad, &store), EINVAL);
    bad = good;
    bad.frames_cached = 65;
    ck_assert_int_eq(try_open(fd, &bad, &store), EINVAL);
    bad = good;
    bad.frame_max = 4095;
    ck_assert_int_eq(try_open(fd, &bad, &store), EOVERFLOW);
    ck_assert_int_eq(try_open(-1, NULL, &store), EBADF);
    ck_assert_int_eq(try_open(only, NULL, &store), EACCES);
    ck_assert_int_eq(try_open(pipes[0], NULL, &store), EINVAL);
    ck_assert_ptr_null(store);
    ck_assert_int_eq(hurdmm_zstd_get_stats(NULL, &stats), EINVAL);
    good.frame_max = 4096;
    good.frames_cached = 1;
    ck_assert_int_eq(try_open(fd, &good, &store), 0);
    ck_assert_int_eq(read_page(store, 3), 0);
    ck_assert_int_eq(hurdmm_zstd_get_stats(store, NULL), EINVAL);
    stats.struct_size = 0;
    ck_assert_int_eq(hurdmm_zstd_get_stats(store, &stats), EINVAL);
    close(pipes[0]);
    close(pipes[1]);
    close(only);
    close(fd);
}
END_TEST

START_TEST(the_writer_refuses_what_it_cannot_do)
{
    struct zst_written written;
    int in = file_of("abc", 3), out = temporary();

    ck_assert_int_eq(hmm_zst_write(in, out, 0, 3, &written), EINVAL);
    ck_assert_int_eq(hmm_zst_write(in, out, ZST_FRAME_MAX + 1, 3, &written),
                     EINVAL);
    ck_assert_int_eq(hmm_zst_write(in, out, 4096, 100, &written), EINVAL);
    ck_assert_int_eq(hmm_zst_write(-1, out, 4096, 3, &written), EBADF);
    ck_assert_int_eq(hmm_zst_write(in, -1, 4096, 3, &written), EBADF);
    close(in);
    close(out);
}
END_TEST

START_TEST(the_hash_is_the_published_one)
{
    ck_assert_uint_eq(hmm_zst_hash("", 0), 0xEF46DB3751D8E999u);
    ck_assert_uint_eq(hmm_zst_hash("a", 1), 0xD24EC4F1A98C6E5Bu);
    ck_assert_uint_eq(hmm_zst_hash("abc", 3), 0x44BC2CF5AD770999u);
}
END_TEST

/* The codec's own checksum of a frame is the same hash, in its last bytes. */
START_TEST(the_hash_is_the_codecs)
{
    int fd = compressed(50000, 5000);
    struct zst_file file = index_of(fd);

    load(fd);
    for (unsigned i = 0; i < file.index.count; i++) {
        const uint8_t *last = packed + file.index.entries[i + 1].packed - 4;

        ck_assert_uint_eq(file.index.entries[i].checksum,
                          last[0] | (uint32_t)last[1] << 8 |
                              (uint32_t)last[2] << 16 |
                              (uint32_t)last[3] << 24);
    }
    hmm_zst_file_close(&file);
    close(fd);
}
END_TEST

/* ---- On all ports --------------------------------------------------------- */

START_TEST(random_use_on_each_port)
{
    int fd;

    if (!drill_begin(&drill, drill_port(_i), 40))
        return;
    fd = compressed(200 * 4096 + 123, 20000);
    drill_take(&drill, open_store(fd), DRILL_READ_ONLY, plain);
    drill_random(&drill, (unsigned)test_scaled(1000), 5);
    drill_end(&drill);
    close(fd);
}
END_TEST

/* More threads than slots for decoded frames. */
START_TEST(threads_read_at_once)
{
    struct hurdmm_zstd_options options = {.struct_size = sizeof options,
                                          .frames_cached = 2};
    struct hurdmm_store *store;
    int fd;

    if (!drill_begin(&drill, drill_port(_i), 40))
        return;
    fd = compressed(200 * 4096, 16384);
    ck_assert_int_eq(try_open(fd, &options, &store), 0);
    drill_take(&drill, store, DRILL_READ_ONLY, plain);
    drill_threads(&drill, (unsigned)test_scaled(3000));
    drill_end(&drill);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("zstd");
    TCase *c = tcase_create("on a simulated machine");

    tcase_add_checked_fixture(c, begin, end);
    tcase_set_timeout(c, 20);
    tcase_add_loop_test(c, a_file_reads_as_what_was_compressed, 0, 7);
    tcase_add_test(c, an_empty_file_is_an_empty_store);
    tcase_add_test(c, a_frame_is_decoded_once_for_its_pages);
    tcase_add_test(c, writing_is_refused);
    tcase_add_test(c, beyond_the_file_there_is_nothing);
    tcase_add_test(c, a_damaged_frame_spoils_its_own_pages_only);
    tcase_add_test(c, a_load_from_a_damaged_page_fails);
    tcase_add_test(c, pages_across_frames_need_both);
    tcase_add_test(c, a_checksum_in_the_table_is_enough);
    tcase_add_test(c, a_file_that_is_cut_while_open_keeps_what_is_left);
    tcase_add_test(c, a_file_that_was_cut_is_refused);
    tcase_add_loop_test(c, a_table_that_lies_is_refused, 0,
                        sizeof lies / sizeof lies[0]);
    tcase_add_test(c, a_frame_of_another_length_is_an_error);
    tcase_add_test(c, files_of_other_writers_are_read);
    tcase_add_test(c, random_damage_is_met_with_errors);
    tcase_add_test(c, the_callers_place_in_the_file_stays);
    tcase_add_test(c, bad_input_is_refused);
    tcase_add_test(c, the_writer_refuses_what_it_cannot_do);
    tcase_add_test(c, the_hash_is_the_published_one);
    tcase_add_test(c, the_hash_is_the_codecs);
    suite_add_tcase(s, c);
    c = tcase_create("on all ports");
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, random_use_on_each_port, 0, DRILL_PORTS);
    tcase_add_loop_test(c, threads_read_at_once, 1, DRILL_PORTS);
    suite_add_tcase(s, c);
    Suite *const suites[] = {s};
    return run_suites("tests/modules/test-zstd", suites, 1);
}
