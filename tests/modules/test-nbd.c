/* SPDX-License-Identifier: MIT */
/*
 * Network block devices: against nbdkit, which may be slow, fail and die, and
 * against peers that break the protocol.
 *
 * No test depends on how busy the machine is.  Where a server must not have
 * answered yet it is stopped, and not merely slow.  Where a call must take too
 * long its time is short, and another call that has to come to its end in that
 * time is made again when it does not.
 */
#define _DEFAULT_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hurdmm/nbd.h>

#include "tests/modules/drill.h"
#include "tests/modules/server.h"
#include "tests/support/runner.h"

#define MIB ((size_t)1 << 20)
#define MS 1000000u
#define SHORT_NS (300 * MS)

static struct server server;
static struct hurdmm_block *block;
static uint8_t bytes[4 * MIB], back[4 * MIB];

static void begin(void)
{
    server_begin(&server);
    block = NULL;
}

static void end(void)
{
    hurdmm_nbd_destroy(block);
    server_end(&server);
}

/* Patient ones: it is Check that ends a test which takes too long. */
static struct hurdmm_nbd_options options_for(const char *path)
{
    return (struct hurdmm_nbd_options){
        .struct_size = sizeof(struct hurdmm_nbd_options),
        .socket_path = path,
        .timeout_ns = (uint64_t)3600000 * MS,
        .retry_delay_ns = 10 * MS,
    };
}

static void connect_with(const struct hurdmm_nbd_options *options)
{
    int error;

    while ((error = hurdmm_nbd_create(options, &block)) == ETIMEDOUT)
        ck_assert_uint_eq(options->timeout_ns, SHORT_NS);
    ck_assert_int_eq(error, 0);
}

static void connect_server(void)
{
    struct hurdmm_nbd_options options = options_for(server.socket);

    connect_with(&options);
}

static struct hurdmm_nbd_stats stats_of(void)
{
    struct hurdmm_nbd_stats stats = {.struct_size = sizeof stats};

    ck_assert_int_eq(hurdmm_nbd_get_stats(block, &stats), 0);
    return stats;
}

static void wait_for_commands(unsigned count)
{
    while (stats_of().commands < count)
        (void)sched_yield();
}

static void noise(uint8_t *to, size_t length, unsigned seed)
{
    for (size_t at = 0; at < length; at += 4096)
        drill_fill(to + at, length - at < 4096 ? length - at : 4096, at,
                   4 * seed + 2);
}

/* ---- The device ----------------------------------------------------------- */

START_TEST(what_is_written_is_read)
{
    if (!server_possible())
        return;
    server_start(&server, "memory", "8M", NULL);
    connect_server();
    ck_assert_uint_eq(block->size, 8 * MIB);
    ck_assert_uint_eq(block->block_size, 512);
    ck_assert_uint_eq(hurdmm_block_capabilities(block) &
                          (HURDMM_BLOCK_ASYNC | HURDMM_BLOCK_READ_ONLY),
                      HURDMM_BLOCK_ASYNC);
    noise(bytes, 4 * MIB, 1);
    ck_assert_int_eq(hurdmm_block_write(block, 3 * MIB + 512, bytes, 4 * MIB),
                     0);
    ck_assert_int_eq(hurdmm_block_flush(block), 0);
    ck_assert_int_eq(hurdmm_block_read(block, 3 * MIB + 512, back, 4 * MIB), 0);
    ck_assert_mem_eq(bytes, back, 4 * MIB);
    ck_assert_int_eq(hurdmm_block_discard(block, 0, MIB), 0);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, 512), 0);
    ck_assert_uint_eq(back[0] | back[511], 0);
}
END_TEST

START_TEST(a_uri_will_do_too)
{
    struct hurdmm_nbd_options options = options_for(NULL);
    char uri[128] = "nbd+unix:///name?socket=";

    if (!server_possible())
        return;
    server_start(&server, "--exportname", "name", "memory", "1M", NULL);
    strcat(uri, server.socket);
    options.uri = uri;
    connect_with(&options);
    ck_assert_uint_eq(block->size, MIB);
}
END_TEST

START_TEST(bad_input_is_refused)
{
    struct hurdmm_nbd_options good = options_for(server.socket), bad;
    struct hurdmm_nbd_stats stats = {.struct_size = sizeof stats};
    struct hurdmm_block *none = NULL;

    if (!server_possible())
        return;
    server_start(&server, "memory", "1M", NULL);
    ck_assert_int_eq(hurdmm_nbd_create(NULL, &none), EINVAL);
    ck_assert_int_eq(hurdmm_nbd_create(&good, NULL), EINVAL);
#define REFUSED(member, value)                                                 \
    bad = good;                                                                \
    bad.member = value;                                                        \
    ck_assert_int_eq(hurdmm_nbd_create(&bad, &none), EINVAL)
    REFUSED(struct_size, 8);
    REFUSED(uri, "nbd://localhost");
    REFUSED(socket_path, NULL);
    REFUSED(in_flight, 65);
    REFUSED(flags, 4);
    REFUSED(timeout_ns, UINT64_MAX);
    REFUSED(retry_delay_ns, UINT64_MAX);
    ck_assert_ptr_null(none);
    connect_with(&good);
    ck_assert_int_eq(block->ops->read(block, 100, back, 512), EINVAL);
    ck_assert_int_eq(block->ops->read(block, 512, back, 100), EINVAL);
    ck_assert_int_eq(block->ops->read(block, MIB, back, 512), ENXIO);
    ck_assert_int_eq(block->ops->read(block, UINT64_MAX - 511, back, 512),
                     ENXIO);
    ck_assert_int_eq(hurdmm_nbd_get_stats(NULL, &stats), EINVAL);
    stats.struct_size = 8;
    ck_assert_int_eq(hurdmm_nbd_get_stats(block, &stats), EINVAL);
    hurdmm_nbd_destroy(NULL);
}
END_TEST

START_TEST(a_read_only_device_is_not_written)
{
    struct hurdmm_nbd_options options = options_for(server.socket);

    if (!server_possible())
        return;
    server_start(&server, "-r", "memory", "1M", NULL);
    connect_with(&options);
    ck_assert_int_eq(block->ops->write(block, 0, bytes, 512), EROFS);
    ck_assert(hurdmm_block_capabilities(block) & HURDMM_BLOCK_READ_ONLY);
    hurdmm_nbd_destroy(block);
    server_kill(&server);
    server_start(&server, "memory", "1M", NULL);
    options.flags = HURDMM_NBD_READ_ONLY;
    connect_with(&options);
    ck_assert_int_eq(block->ops->write(block, 0, bytes, 512), EROFS);
}
END_TEST

START_TEST(nobody_there_is_an_error)
{
    struct hurdmm_nbd_options options = options_for(server.socket);

    ck_assert_int_eq(hurdmm_nbd_create(&options, &block), ENOENT);
    ck_assert_ptr_null(block);
}
END_TEST

START_TEST(a_long_read_is_many_commands_at_once)
{
    struct hurdmm_nbd_options options = options_for(server.socket);

    if (!server_possible())
        return;
    server_start(&server, "pattern", "8M", NULL);
    options.in_flight = 12;
    connect_with(&options);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, 4 * MIB), 0);
    ck_assert_uint_eq(stats_of().in_flight_max, 12);
    ck_assert_uint_eq(stats_of().commands, 16);
    /* The pattern is each word's own offset, big-endian. */
    for (size_t i = 0; i < 4 * MIB; i += 40960) {
        size_t found = 0;

        for (unsigned j = 0; j < 8; j++)
            found = found << 8 | back[i + j];
        ck_assert_uint_eq(found, i);
    }
}
END_TEST

static void *read_one(void *argument)
{
    uint64_t at = (uint64_t)(uintptr_t)argument * 4096;
    uint8_t buffer[4096];
    int error = hurdmm_block_read(block, at, buffer, sizeof buffer);

    return (void *)(uintptr_t)error;
}

START_TEST(threads_read_at_once)
{
    pthread_t threads[8];
    void *error;

    if (!server_possible())
        return;
    server_start(&server, "memory", "8M", NULL);
    connect_server();
    server_stop(&server);
    for (uintptr_t i = 0; i < 8; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_one, (void *)i),
                         0);
    wait_for_commands(8);
    server_go_on(&server);
    for (unsigned i = 0; i < 8; i++) {
        ck_assert_int_eq(pthread_join(threads[i], &error), 0);
        ck_assert_ptr_null(error);
    }
    ck_assert_uint_eq(stats_of().in_flight_max, 8);
}
END_TEST

/* ---- Requests ------------------------------------------------------------- */

#define REQUESTS 40

struct noted {
    struct hurdmm_block_request request;
    struct hurdmm_block_piece pieces[3];
    int error;
    unsigned turn; /* when it was done; 0: it is not */
    int again;     /* what submitting it once more said */
};

static pthread_mutex_t noted_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t noted_change = PTHREAD_COND_INITIALIZER;
static unsigned noted_turn;

static void note(struct hurdmm_block_request *request, int error)
{
    struct noted *noted = request->hook;

    pthread_mutex_lock(&noted_mutex);
    ck_assert_uint_eq(noted->turn, 0);
    noted->error = error;
    noted->turn = ++noted_turn;
    pthread_cond_broadcast(&noted_change);
    pthread_mutex_unlock(&noted_mutex);
}

static void submit(struct noted *noted, enum hurdmm_block_kind kind,
                   uint64_t offset, unsigned pieces)
{
    noted->turn = 0;
    noted->request = (struct hurdmm_block_request){
        .struct_size = sizeof noted->request,
        .kind = kind,
        .piece_count = pieces,
        .pieces = noted->pieces,
        .offset = offset,
        .done = note,
        .hook = noted,
    };
    ck_assert_int_eq(hurdmm_block_submit(block, &noted->request), 0);
}

static void wait_for_turns(unsigned turns)
{
    pthread_mutex_lock(&noted_mutex);
    while (noted_turn < turns)
        pthread_cond_wait(&noted_change, &noted_mutex);
    pthread_mutex_unlock(&noted_mutex);
}

START_TEST(requests_are_done_and_flushes_keep_their_place)
{
    static struct noted noted[REQUESTS];

    if (!server_possible())
        return;
    server_start(&server, "--filter=delay", "memory", "8M", "wdelay=20ms",
                 NULL);
    connect_server();
    noise(bytes, MIB, 2);
    noted_turn = 0;
    for (unsigned i = 0; i < REQUESTS; i++) {
        uint8_t *at = bytes + i * 4096;

        noted[i].pieces[0] = (struct hurdmm_block_piece){at, 1024};
        noted[i].pieces[1] = (struct hurdmm_block_piece){at + 1024, 3072};
        if (i % 10 == 9)
            submit(&noted[i], HURDMM_BLOCK_FLUSH, 0, 0);
        else
            submit(&noted[i], HURDMM_BLOCK_WRITE, i * 4096, 2);
    }
    wait_for_turns(REQUESTS);
    for (unsigned i = 0; i < REQUESTS; i++) {
        ck_assert_int_eq(noted[i].error, 0);
        ck_assert_uint_eq((noted[i].turn - 1) / 10, i / 10);
        if (i % 10 == 9)
            ck_assert_uint_eq(noted[i].turn, i + 1);
    }
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, REQUESTS * 4096), 0);
    for (unsigned i = 0; i < REQUESTS; i++)
        if (i % 10 != 9)
            ck_assert_mem_eq(back + i * 4096, bytes + i * 4096, 4096);
}
END_TEST

START_TEST(pieces_may_have_any_length)
{
    struct noted noted = {.turn = 0};

    if (!server_possible())
        return;
    server_start(&server, "memory", "8M", NULL);
    connect_server();
    noise(bytes, 2048, 3);
    noted_turn = 0;
    noted.pieces[0] = (struct hurdmm_block_piece){bytes, 100};
    noted.pieces[1] = (struct hurdmm_block_piece){bytes + 100, 1};
    noted.pieces[2] = (struct hurdmm_block_piece){bytes + 101, 2048 - 101};
    submit(&noted, HURDMM_BLOCK_WRITE, 1024, 3);
    wait_for_turns(1);
    ck_assert_int_eq(noted.error, 0);
    for (unsigned i = 0; i < 3; i++)
        noted.pieces[i].memory =
            (uint8_t *)noted.pieces[i].memory - bytes + back;
    submit(&noted, HURDMM_BLOCK_READ, 1024, 3);
    wait_for_turns(2);
    ck_assert_int_eq(noted.error, 0);
    ck_assert_mem_eq(bytes, back, 2048);
}
END_TEST

START_TEST(the_end_of_a_device_cancels_requests)
{
    struct noted noted = {.turn = 0};

    if (!server_possible())
        return;
    server_start(&server, "memory", "8M", NULL);
    connect_server();
    server_stop(&server);
    noted_turn = 0;
    noted.pieces[0] = (struct hurdmm_block_piece){back, 4096};
    submit(&noted, HURDMM_BLOCK_READ, 0, 1);
    wait_for_commands(1);
    hurdmm_nbd_destroy(block);
    block = NULL;
    ck_assert_uint_eq(noted.turn, 1);
    ck_assert_int_eq(noted.error, ECANCELED);
}
END_TEST

/* Tries it once more, as whoever retries does. */
static void try_again(struct hurdmm_block_request *request, int error)
{
    struct noted *noted = request->hook;

    noted->turn++;
    noted->error = error;
    if (noted->turn == 1)
        noted->again = hurdmm_block_submit(block, request);
}

START_TEST(a_device_that_ends_takes_no_requests)
{
    struct noted noted = {.turn = 0};

    if (!server_possible())
        return;
    server_start(&server, "memory", "8M", NULL);
    connect_server();
    server_stop(&server);
    noted.pieces[0] = (struct hurdmm_block_piece){back, 4096};
    noted.request = (struct hurdmm_block_request){
        .struct_size = sizeof noted.request,
        .kind = HURDMM_BLOCK_READ,
        .piece_count = 1,
        .pieces = noted.pieces,
        .done = try_again,
        .hook = &noted,
    };
    ck_assert_int_eq(hurdmm_block_submit(block, &noted.request), 0);
    wait_for_commands(1);
    hurdmm_nbd_destroy(block);
    block = NULL;
    ck_assert_uint_eq(noted.turn, 1);
    ck_assert_int_eq(noted.error, ECANCELED);
    ck_assert_int_eq(noted.again, ECANCELED);
}
END_TEST

START_TEST(a_child_has_no_device)
{
    int status = 0;
    pid_t child;

    if (!server_possible())
        return;
    server_start(&server, "memory", "1M", NULL);
    connect_server();
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int error = hurdmm_block_read(block, 0, back, 512);

        hurdmm_nbd_destroy(block);
        _exit(error == ESTALE ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, 512), 0);
}
END_TEST

/* ---- Servers that are slow, fail, or die ---------------------------------- */

START_TEST(the_servers_errors_are_told)
{
    char trigger[80] = "error-file=";

    if (!server_possible())
        return;
    strcat(trigger, server.trigger);
    server_start(&server, "--filter=error", "memory", "8M", "error=EIO",
                 "error-rate=100%", trigger, NULL);
    connect_server();
    server_trigger(&server, true);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, MIB), EIO);
    ck_assert_int_eq(hurdmm_block_write(block, 0, bytes, 512), EIO);
    server_trigger(&server, false);
    ck_assert_int_eq(hurdmm_block_write(block, 0, bytes, 512), 0);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, MIB), 0);
    ck_assert_uint_eq(stats_of().connections, 1);
}
END_TEST

START_TEST(a_full_server_says_so)
{
    if (!server_possible())
        return;
    server_start(&server, "full", "1M", NULL);
    connect_server();
    ck_assert_int_eq(hurdmm_block_write(block, 0, bytes, 512), ENOSPC);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, 512), 0);
}
END_TEST

/* The server has one thread: when two of one connection answer and find it
 * closed, nbdkit 1.32 may fail an assertion of its own and die. */
START_TEST(a_server_that_does_not_answer_is_given_up)
{
    struct hurdmm_nbd_options options = options_for(server.socket);
    unsigned late = 1;
    int error;

    if (!server_possible())
        return;
    server_start(&server, "--threads=1", "memory", "8M", NULL);
    options.timeout_ns = SHORT_NS;
    connect_with(&options);
    server_stop(&server);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, MIB), ETIMEDOUT);
    server_go_on(&server);
    while ((error = hurdmm_block_write(block, 0, bytes, 4096)) == ETIMEDOUT)
        late++;
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(stats_of().timeouts, late);
    ck_assert_uint_ge(stats_of().connections, 2);
    ck_assert_uint_le(stats_of().connections, 1 + late);
}
END_TEST

START_TEST(a_server_that_comes_back_is_used_again)
{
    if (!server_possible())
        return;
    server_make_file(&server, 8 * MIB);
    server_start(&server, "file", server.file, NULL);
    connect_server();
    noise(bytes, MIB, 4);
    ck_assert_int_eq(hurdmm_block_write(block, 0, bytes, MIB), 0);
    ck_assert_int_eq(hurdmm_block_flush(block), 0);
    server_kill(&server);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, MIB), EIO);
    server_start_again(&server);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, MIB), 0);
    ck_assert_mem_eq(bytes, back, MIB);
    ck_assert_int_eq(hurdmm_block_flush(block), 0);
}
END_TEST

/* The server dies while a read is under way: the reader sees only a delay. */
START_TEST(what_was_under_way_is_sent_again)
{
    struct hurdmm_nbd_options options = options_for(server.socket);
    pthread_t reader;
    void *error;

    if (!server_possible())
        return;
    server_start(&server, "pattern", "8M", NULL);
    options.retries = UINT_MAX;
    connect_with(&options);
    server_stop(&server);
    ck_assert_int_eq(pthread_create(&reader, NULL, read_one, (void *)1), 0);
    wait_for_commands(1);
    server_kill(&server);
    server_start_again(&server);
    ck_assert_int_eq(pthread_join(reader, &error), 0);
    ck_assert_ptr_null(error);
    ck_assert_uint_eq(stats_of().commands, 2);
}
END_TEST

START_TEST(what_was_not_flushed_may_be_lost_and_that_is_told_once)
{
    struct hurdmm_nbd_options options = options_for(server.socket);

    if (!server_possible())
        return;
    for (unsigned durable = 0; durable < 2; durable++) {
        server_make_file(&server, 8 * MIB);
        server_start(&server, "file", server.file, NULL);
        options.flags = durable ? HURDMM_NBD_DURABLE : 0;
        connect_with(&options);
        ck_assert_int_eq(hurdmm_block_write(block, 0, bytes, 512), 0);
        server_kill(&server);
        server_start_again(&server);
        ck_assert_int_eq(hurdmm_block_read(block, 0, back, 512), 0);
        ck_assert_int_eq(hurdmm_block_flush(block), durable ? 0 : EIO);
        ck_assert_int_eq(hurdmm_block_flush(block), 0);
        hurdmm_nbd_destroy(block);
        block = NULL;
        server_kill(&server);
    }
}
END_TEST

START_TEST(another_server_in_its_place_is_not_spoken_to)
{
    if (!server_possible())
        return;
    server_start(&server, "memory", "8M", NULL);
    connect_server();
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, 512), 0);
    server_kill(&server);
    server_start(&server, "memory", "4M", NULL);
    ck_assert_int_eq(hurdmm_block_read(block, 0, back, 512), EIO);
    server_kill(&server);
    server_start(&server, "-r", "memory", "8M", NULL);
    ck_assert_int_eq(hurdmm_block_write(block, 0, back, 512), EIO);
    server_kill(&server);
    server_start(&server, "memory", "8M", NULL);
    ck_assert_int_eq(hurdmm_block_write(block, 0, back, 512), 0);
}
END_TEST

/* ---- Peers that break the protocol ---------------------------------------- */

/* What a call ends with: at_connect 0 is success; -1 is any error at once. */
static void meet(enum peer_kind kind, int at_connect, int at_read)
{
    struct hurdmm_nbd_options options;
    struct peer peer;

    peer_begin(&peer, kind);
    options = options_for(peer.socket);
    if (at_connect == ETIMEDOUT || at_read == ETIMEDOUT)
        options.timeout_ns = SHORT_NS;
    options.retries = 1;
    if (at_connect != 0) {
        int error = hurdmm_nbd_create(&options, &block);

        ck_assert_int_ne(error, 0);
        ck_assert(at_connect < 0 ? error != ETIMEDOUT : error == at_connect);
        ck_assert_ptr_null(block);
    } else {
        connect_with(&options);
        ck_assert_int_eq(hurdmm_block_read(block, 0, back, 512), at_read);
        hurdmm_nbd_destroy(block);
        block = NULL;
    }
    peer_end(&peer);
}

START_TEST(a_silent_peer)
{
    meet(PEER_SILENT, ETIMEDOUT, 0);
}
END_TEST

/* Only sending finds out that the line is dead: nothing is left to poll for. */
START_TEST(a_line_that_dies_as_it_is_used_is_an_error)
{
    meet(PEER_DEAF, 0, EIO);
}
END_TEST

START_TEST(a_peer_that_talks_of_something_else)
{
    meet(PEER_GARBAGE, -1, 0);
}
END_TEST

START_TEST(a_peer_that_ends_in_the_middle_of_its_words)
{
    meet(PEER_HALF_HELLO, -1, 0);
}
END_TEST

START_TEST(a_peer_that_answers_short)
{
    meet(PEER_HALF_ANSWER, 0, ETIMEDOUT);
}
END_TEST

START_TEST(a_peer_that_hangs_up)
{
    meet(PEER_HANGS_UP, 0, EIO);
}
END_TEST

START_TEST(a_peer_that_answers_what_was_not_asked)
{
    meet(PEER_WRONG_ANSWER, 0, EIO);
}
END_TEST

/* ---- As a store ----------------------------------------------------------- */

static struct hurdmm_store *store_on(struct drill *drill, size_t size)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_block_store_create(drill->manager, block, 0, size, 0, &store),
        0);
    return store;
}

START_TEST(random_use_on_each_port)
{
    struct drill drill;

    if (!server_possible() || !drill_begin(&drill, drill_port(_i), 64))
        return;
    server_start(&server, "memory", "8M", NULL);
    connect_server();
    drill_take(&drill, store_on(&drill, 200 * drill.page - 512), 0, NULL);
    drill_random(&drill, (unsigned)test_scaled(1500), 23);
    drill_end(&drill);
}
END_TEST

START_TEST(threads_use_it_as_memory)
{
    struct drill drill;

    if (!server_possible() || !drill_begin(&drill, drill_port(_i), 64))
        return;
    server_start(&server, "--filter=delay", "memory", "8M", "rdelay=1ms", NULL);
    connect_server();
    drill_take(&drill, store_on(&drill, 200 * drill.page), 0, NULL);
    drill_threads(&drill, (unsigned)test_scaled(2000));
    drill_end(&drill);
}
END_TEST

START_TEST(it_serves_as_swap_space)
{
    struct hurdmm_store *store;
    struct hurdmm_swap *swap;
    struct drill drill;

    if (!server_possible() || !drill_begin(&drill, "sim", 64))
        return;
    server_start(&server, "memory", "8M", NULL);
    connect_server();
    ck_assert_int_eq(hurdmm_swap_create(drill.manager, block, &swap), 0);
    ck_assert_int_eq(hurdmm_anonymous_create(drill.manager, swap,
                                             200 * drill.page, 0, &store),
                     0);
    drill_take(&drill, store, DRILL_FORGETS, NULL);
    drill_random(&drill, (unsigned)test_scaled(1000), 29);
    drill_end(&drill);
}
END_TEST

static void fill_pages(struct drill *drill, unsigned version)
{
    size_t size = (size_t)hurdmm_store_size(drill->store), done;

    for (size_t at = 0; at < size; at += drill->page)
        drill_fill(drill->truth + at, drill->page, at / drill->page, version);
    ck_assert_int_eq(
        hurdmm_store_write(drill->store, 0, drill->truth, size, &done), 0);
}

static void expect_file(struct drill *drill)
{
    size_t size = (size_t)hurdmm_store_size(drill->store);
    int fd = open(server.file, O_RDONLY);

    ck_assert_int_eq((int)pread(fd, back, size, 0), (int)size);
    ck_assert_mem_eq(back, drill->truth, size);
    close(fd);
}

/* Dirty pages of a server that died stay, and are written when it is back. */
START_TEST(a_dead_server_takes_nothing_with_it)
{
    struct drill drill;
    unsigned state;
    size_t size;

    if (!server_possible() || !drill_begin(&drill, drill_port(_i), 64))
        return;
    size = 30 * drill.page;
    server_make_file(&server, MIB);
    server_start(&server, "file", server.file, NULL);
    connect_server();
    drill_take(&drill, store_on(&drill, size), 0, NULL);
    fill_pages(&drill, 401);
    ck_assert_int_eq(hurdmm_store_sync(drill.store, 0, size, HURDMM_WAIT), 0);
    expect_file(&drill);
    fill_pages(&drill, 402);
    server_kill(&server);
    ck_assert_int_eq(hurdmm_store_sync(drill.store, 0, size, HURDMM_WAIT), EIO);
    for (size_t at = 0; at < size; at += drill.page) {
        ck_assert_int_eq(hurdmm_store_state(drill.store, at, &state, NULL), 0);
        ck_assert(state & HURDMM_STATE_DIRTY);
    }
    ck_assert_int_eq(hurdmm_store_return(drill.store, 0, size, HURDMM_WAIT),
                     EIO);
    ck_assert_int_eq(drill_load(&drill, 5 * drill.page, &(uint64_t){0}), 0);
    server_start_again(&server);
    ck_assert_int_eq(hurdmm_store_sync(drill.store, 0, size, HURDMM_WAIT), 0);
    expect_file(&drill);
    drill_verify(&drill);
    drill_end(&drill);
}
END_TEST

START_TEST(a_failing_server_keeps_pages_dirty)
{
    char trigger[80] = "error-file=";
    struct drill drill;

    if (!server_possible() || !drill_begin(&drill, drill_port(_i), 64))
        return;
    strcat(trigger, server.trigger);
    server_start(&server, "--filter=error", "memory", "8M", "error=EIO",
                 "error-rate=100%", trigger, NULL);
    connect_server();
    drill_take(&drill, store_on(&drill, 30 * drill.page), 0, NULL);
    fill_pages(&drill, 403);
    server_trigger(&server, true);
    ck_assert_int_eq(
        hurdmm_store_sync(drill.store, 0, HURDMM_WHOLE, HURDMM_WAIT), EIO);
    server_trigger(&server, false);
    ck_assert_int_eq(
        hurdmm_store_return(drill.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    server_trigger(&server, true);
    ck_assert_int_eq(
        hurdmm_store_populate(drill.store, 0, drill.page, &(size_t){0}), EIO);
    server_trigger(&server, false);
    ck_assert_int_eq(hurdmm_store_discard(drill.store, 0, HURDMM_WHOLE), 0);
    drill_verify(&drill);
    drill_end(&drill);
}
END_TEST

/* ---- Kill -9 -------------------------------------------------------------- */

#define KILL_PAGES 64u

/* Writes version after version to all pages and tells of each that is synced,
 * until it is killed. */
static void write_for_ever(int tell)
{
    struct drill drill;

    if (!drill_begin(&drill, "posix", 32))
        _exit(1);
    connect_server();
    drill_take(&drill, store_on(&drill, KILL_PAGES * drill.page), 0, NULL);
    for (uint64_t version = 1;; version++) {
        for (size_t page = 0; page < KILL_PAGES; page++) {
            uint64_t *at = (uint64_t *)(drill.address + page * drill.page);

            for (size_t i = 0; i < drill.page / sizeof *at; i++)
                at[i] = version;
        }
        if (hurdmm_store_sync(drill.store, 0, HURDMM_WHOLE, HURDMM_WAIT) != 0 ||
            write(tell, &version, sizeof version) != sizeof version)
            _exit(1);
    }
}

/* Every page is of a version that was synced, or of a later one that was on its
 * way; and no page is of two that are further apart. */
static void expect_versions(uint64_t synced)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int fd = open(server.file, O_RDONLY);

    for (size_t at = 0; at < KILL_PAGES * page; at += page) {
        uint64_t *words = (uint64_t *)(void *)back;

        ck_assert_int_eq((int)pread(fd, back, page, (off_t)at), (int)page);
        for (size_t i = 0; i < page / sizeof *words; i++)
            ck_assert(words[i] >= synced && words[i] <= synced + 1);
    }
    close(fd);
}

/* Kills the writer, or its server, while it writes. */
START_TEST(a_kill_loses_nothing_that_was_synced)
{
    uint64_t version = 0, synced = 0;
    int pipes[2], status;
    pid_t writer;

    if (!server_possible())
        return;
    server_make_file(&server, MIB);
    server_start(&server, "file", server.file, NULL);
    ck_assert_int_eq(pipe(pipes), 0);
    writer = fork();
    ck_assert_int_ge(writer, 0);
    if (writer == 0) {
        close(pipes[0]);
        write_for_ever(pipes[1]);
    }
    close(pipes[1]);
    while (synced < 3 + (unsigned)_i * 2) {
        ck_assert_int_eq((int)read(pipes[0], &version, sizeof version),
                         (int)sizeof version);
        synced = version;
    }
    if (_i % 2 == 0)
        ck_assert_int_eq(kill(writer, SIGKILL), 0);
    else
        server_kill(&server);
    while (read(pipes[0], &version, sizeof version) == sizeof version)
        synced = version;
    ck_assert_int_eq(waitpid(writer, &status, 0), writer);
    /* A writer whose server is gone ends by an error or by a signal. */
    ck_assert(WIFSIGNALED(status) || (_i % 2 != 0 && WEXITSTATUS(status) != 0));
    close(pipes[0]);
    server_kill(&server);
    expect_versions(synced);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("nbd");
    TCase *c = tcase_create("the device");

    tcase_add_checked_fixture(c, begin, end);
    tcase_set_timeout(c, 30);
    tcase_add_test(c, what_is_written_is_read);
    tcase_add_test(c, a_uri_will_do_too);
    tcase_add_test(c, bad_input_is_refused);
    tcase_add_test(c, a_read_only_device_is_not_written);
    tcase_add_test(c, nobody_there_is_an_error);
    tcase_add_test(c, a_long_read_is_many_commands_at_once);
    tcase_add_test(c, threads_read_at_once);
    tcase_add_test(c, requests_are_done_and_flushes_keep_their_place);
    tcase_add_test(c, pieces_may_have_any_length);
    tcase_add_test(c, the_end_of_a_device_cancels_requests);
    tcase_add_test(c, a_device_that_ends_takes_no_requests);
    tcase_add_test(c, a_child_has_no_device);
    tcase_add_test(c, the_servers_errors_are_told);
    tcase_add_test(c, a_full_server_says_so);
    tcase_add_test(c, a_server_that_does_not_answer_is_given_up);
    tcase_add_test(c, a_server_that_comes_back_is_used_again);
    tcase_add_test(c, what_was_under_way_is_sent_again);
    tcase_add_test(c, what_was_not_flushed_may_be_lost_and_that_is_told_once);
    tcase_add_test(c, another_server_in_its_place_is_not_spoken_to);
    tcase_add_test(c, a_silent_peer);
    tcase_add_test(c, a_line_that_dies_as_it_is_used_is_an_error);
    tcase_add_test(c, a_peer_that_talks_of_something_else);
    tcase_add_test(c, a_peer_that_ends_in_the_middle_of_its_words);
    tcase_add_test(c, a_peer_that_answers_short);
    tcase_add_test(c, a_peer_that_hangs_up);
    tcase_add_test(c, a_peer_that_answers_what_was_not_asked);
    suite_add_tcase(s, c);
    c = tcase_create("as a store");
    tcase_add_checked_fixture(c, begin, end);
    tcase_set_timeout(c, 30);
    tcase_add_loop_test(c, random_use_on_each_port, 0, DRILL_PORTS);
    tcase_add_loop_test(c, threads_use_it_as_memory, 1, DRILL_PORTS);
    tcase_add_test(c, it_serves_as_swap_space);
    tcase_add_loop_test(c, a_dead_server_takes_nothing_with_it, 0, DRILL_PORTS);
    tcase_add_loop_test(c, a_failing_server_keeps_pages_dirty, 0, 2);
    tcase_add_loop_test(c, a_kill_loses_nothing_that_was_synced, 0, 6);
    suite_add_tcase(s, c);
    Suite *const suites[] = {s};
    return run_suites("tests/modules/test-nbd", suites, 1);
}
