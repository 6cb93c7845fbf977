/* SPDX-License-Identifier: MIT */
/*
 * A copy of memory at one instant, while threads write to it.
 *
 * Writers move money between the records of a bank that fills memory.  Again and
 * again all of it is copied logically and written to a file from the copy, while
 * the writers go on.  A transfer writes two records; what they were before is
 * noted in memory first, as in a journal.  So the state of any one instant can
 * be made whole: undo the transfers that are noted as going on, and no money is
 * missing.  Pages that were copied at different instants do not add up.
 *
 * Each file is read again and checked; a wrong one ends the program with 1.
 *
 *   live-snapshot [--size BYTES] [--seconds N] [--threads N] [--port NAME]
 *                 [--output FILE]
 *
 * Build it with
 *     cc live-snapshot.c $(pkg-config --cflags --libs hurdmm) -lpthread
 */
#define _DEFAULT_SOURCE

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>

#define MONEY 1000 /* in each record at first */
#define THREADS_MAX 64u
#define STRIPES 1024u
#define CHUNK ((size_t)1 << 20)

struct record {
    int64_t money;
    uint64_t transfers;
    uint64_t filling[6];
};

/* A writer's journal, in a record of its own. */
struct note {
    _Atomic uint64_t going_on;
    uint64_t number[2];
    int64_t money[2]; /* before */
    uint64_t filling[3];
};

struct writer {
    pthread_t thread;
    unsigned number;
    uint64_t transfers;
    _Atomic uint64_t longest; /* nanoseconds, since it was last asked for */
};

static struct settings {
    uint64_t size;
    unsigned seconds, threads;
    const char *port, *output;
} settings = {UINT64_C(512) << 20, 5, 3, NULL, "live-snapshot.out"};

static struct hurdmm *manager;
static struct hurdmm_store *store;
static struct record *records; /* the first THREADS_MAX are journals */
static uint64_t record_count;
static pthread_mutex_t stripes[STRIPES];
static struct writer writers[THREADS_MAX];
static atomic_bool stop;

static void check(const char *what, int error)
{
    if (error == 0)
        return;
    fprintf(stderr, "live-snapshot: %s: %s\n", what, strerror(error));
    exit(2);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* The bank at its beginning. */
static int fill(struct hurdmm_store *bank, void *hook, uint64_t offset,
                void *buffer, size_t length, size_t *done)
{
    struct record *record = buffer;
    uint64_t first = offset / sizeof *record;

    (void)bank;
    (void)hook;
    (void)done;
    memset(buffer, 0, length);
    for (size_t i = 0; i < length / sizeof *record; i++)
        record[i].money = first + i < THREADS_MAX ? 0 : MONEY;
    return 0;
}

static const struct hurdmm_store_ops bank_ops = {.struct_size = sizeof bank_ops,
                                                 .page_in = fill};

/* ---- Writers -------------------------------------------------------------- */

static void transfer(struct writer *writer, const uint64_t number[2],
                     int64_t amount)
{
    struct note *note = (struct note *)(void *)&records[writer->number];

    for (int i = 0; i < 2; i++) {
        note->number[i] = number[i];
        note->money[i] = records[number[i]].money;
    }
    atomic_store(&note->going_on, 1);
    records[number[0]].money -= amount;
    records[number[0]].transfers++;
    records[number[1]].money += amount;
    records[number[1]].transfers++;
    atomic_store(&note->going_on, 0);
    writer->transfers++;
}

static void *write_on(void *argument)
{
    struct writer *writer = argument;
    uint64_t lot = writer->number + 1, number[2];

    while (!atomic_load(&stop)) {
        uint64_t start = now();
        for (int i = 0; i < 2; i++) {
            lot = lot * UINT64_C(6364136223846793005) + 1442695040888963407u;
            number[i] =
                THREADS_MAX + (lot >> 20) % (record_count - THREADS_MAX);
        }
        uint64_t one = number[0] % STRIPES, two = number[1] % STRIPES;
        if (one == two)
            continue;
        pthread_mutex_lock(&stripes[one < two ? one : two]);
        pthread_mutex_lock(&stripes[one < two ? two : one]);
        transfer(writer, number, (int64_t)(lot >> 58));
        pthread_mutex_unlock(&stripes[one]);
        pthread_mutex_unlock(&stripes[two]);
        uint64_t pause = now() - start;
        if (pause > atomic_load(&writer->longest))
            atomic_store(&writer->longest, pause);
    }
    return NULL;
}

static uint64_t longest_pause(void)
{
    uint64_t longest = 0;

    for (unsigned i = 0; i < settings.threads; i++) {
        uint64_t pause = atomic_exchange(&writers[i].longest, 0);
        longest = pause > longest ? pause : longest;
    }
    return longest;
}

/* ---- The file ------------------------------------------------------------- */

static void write_file(struct hurdmm_container *copy)
{
    static char chunk[CHUNK];
    FILE *file = fopen(settings.output, "wb");
    size_t done = 0;

    check(settings.output, file == NULL ? errno : 0);
    for (uint64_t offset = 0; offset < settings.size; offset += done) {
        size_t length = settings.size - offset < CHUNK
                            ? (size_t)(settings.size - offset)
                            : CHUNK;
        check("reading the copy",
              hurdmm_container_read(copy, offset, chunk, length, &done));
        if (fwrite(chunk, 1, done, file) != done)
            check(settings.output, errno);
    }
    check(settings.output, fclose(file) != 0 ? errno : 0);
}

static void read_record(FILE *file, uint64_t number, void *record)
{
    if (fseeko(file, (off_t)(number * sizeof(struct record)), SEEK_SET) != 0 ||
        fread(record, sizeof(struct record), 1, file) != 1)
        check(settings.output, EIO);
}

/* What transfers that were going on have taken too much or too little. */
static int64_t in_hands(FILE *file, uint64_t *going_on)
{
    int64_t sum = 0;

    for (unsigned i = 0; i < THREADS_MAX; i++) {
        struct note note;
        struct record record;
        read_record(file, i, &note);
        if (!atomic_load(&note.going_on))
            continue;
        ++*going_on;
        for (int j = 0; j < 2; j++) {
            read_record(file, note.number[j], &record);
            sum += note.money[j] - record.money;
        }
    }
    return sum;
}

/* Is the file the bank at one instant? */
static bool check_file(uint64_t *going_on)
{
    static struct record part[CHUNK / sizeof(struct record)];
    FILE *file = fopen(settings.output, "rb");
    int64_t sum, expected = (int64_t)(record_count - THREADS_MAX) * MONEY;
    uint64_t number = 0;
    size_t count;

    check(settings.output, file == NULL ? errno : 0);
    sum = in_hands(file, going_on);
    rewind(file);
    while ((count = fread(part, sizeof *part, CHUNK / sizeof *part, file)) > 0)
        for (size_t i = 0; i < count; i++, number++)
            sum += number < THREADS_MAX ? 0 : part[i].money;
    fclose(file);
    if (number == record_count && sum == expected)
        return true;
    fprintf(stderr,
            "live-snapshot: %s is of no instant: %" PRIu64 " records, %" PRId64
            " instead of %" PRId64 "\n",
            settings.output, number, sum, expected);
    return false;
}

/* Copies, writes and checks; the longest pause of a writer around the copy. */
static bool snapshot(uint64_t *copying, uint64_t *pause, uint64_t *going_on)
{
    struct hurdmm_container *copy;
    uint64_t done;

    check("container", hurdmm_container_create(manager, &copy));
    (void)longest_pause();
    uint64_t start = now();
    check("copy", hurdmm_container_copy(copy, 0, hurdmm_store_container(store),
                                        0, settings.size, 0, &done));
    uint64_t took = now() - start;
    write_file(copy);
    uint64_t longest = longest_pause();
    check("container", hurdmm_container_destroy(copy));
    *copying = took > *copying ? took : *copying;
    *pause = longest > *pause ? longest : *pause;
    return check_file(going_on);
}

/* ---- The program ---------------------------------------------------------- */

static void make_bank(struct hurdmm_port *port)
{
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .port = port,
        /* The copy may come to differ from the bank in every page. */
        .budget = (size_t)settings.size * 5 / 2 + (1 << 20),
        .dirty_limit = (size_t)settings.size * 2,
    };
    struct hurdmm_store_options bank = {.struct_size = sizeof bank,
                                        .name = "bank",
                                        .size = settings.size,
                                        .flags = HURDMM_STORE_VOLATILE};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = (size_t)settings.size,
                                       .rights = HURDMM_READ | HURDMM_WRITE};
    uintptr_t address;

    check("manager", hurdmm_create(&options, &manager));
    check("store", hurdmm_store_create(manager, &bank_ops, &bank, &store));
    bind.space = hurdmm_space_own(manager);
    bind.store = store;
    check("bind", hurdmm_bind(&bind, &address));
    records = (struct record *)address;
    record_count = settings.size / sizeof *records;
}

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);

    number <<= *end == 'G' ? 30 : *end == 'M' ? 20 : *end == 'K' ? 10 : 0;
    return *end == '\0' || end[1] == '\0' ? number : 0;
}

static bool parse(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--size") == 0)
            settings.size = number_of(argv[i + 1]) & ~(uint64_t)0xffff;
        else if (strcmp(argv[i], "--seconds") == 0)
            settings.seconds = (unsigned)number_of(argv[i + 1]);
        else if (strcmp(argv[i], "--threads") == 0)
            settings.threads = (unsigned)number_of(argv[i + 1]);
        else if (strcmp(argv[i], "--port") == 0)
            settings.port = argv[i + 1];
        else if (strcmp(argv[i], "--output") == 0)
            settings.output = argv[i + 1];
        else
            return false;
    }
    return argc % 2 == 1 && settings.size > 0 && settings.threads > 0 &&
           settings.threads <= THREADS_MAX;
}

/* Snapshots until the time is over, and at least one. */
static bool run(void)
{
    uint64_t end = now() + settings.seconds * UINT64_C(1000000000);
    uint64_t copying = 0, pause = 0, going_on = 0, transfers = 0;
    unsigned count = 0;
    bool good;

    do {
        good = snapshot(&copying, &pause, &going_on);
        count++;
    } while (good && now() < end);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < settings.threads; i++) {
        pthread_join(writers[i].thread, NULL);
        transfers += writers[i].transfers;
    }
    printf("%u snapshots of %" PRIu64 " MiB during %" PRIu64
           " transfers, %" PRIu64 " caught in the middle\n",
           count, settings.size >> 20, transfers, going_on);
    printf("a copy took %.3f ms at most, the longest pause of a writer was "
           "%.3f ms\n",
           (double)copying / 1e6, (double)pause / 1e6);
    return good;
}

int main(int argc, char **argv)
{
    struct hurdmm_port *port;

    if (!parse(argc, argv)) {
        fprintf(stderr, "usage: live-snapshot [--size BYTES] [--seconds N] "
                        "[--threads N] [--port NAME] [--output FILE]\n");
        return 2;
    }
    check("port", hurdmm_host_port_create(settings.port, &port));
    make_bank(port);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_mutex_init(&stripes[i], NULL);
    for (unsigned i = 0; i < settings.threads; i++) {
        writers[i].number = i;
        check("thread",
              pthread_create(&writers[i].thread, NULL, write_on, &writers[i]));
    }
    bool good = run();
    check("destroy", hurdmm_destroy(manager, HURDMM_DETACH));
    check("port", hurdmm_host_port_destroy(port));
    return good ? 0 : 1;
}
