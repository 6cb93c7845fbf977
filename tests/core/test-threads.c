/* SPDX-License-Identifier: MIT */
/*
 * Real threads, on every port of the host that works here: memory whose budget
 * is a tenth of it, or the smallest there is.  And what other libraries of this
 * kind are known to do wrong, by name.
 */
#define _DEFAULT_SOURCE

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/file.h>
#include <hurdmm/host.h>
#include <hurdmm/hurdmm.h>

#include "tests/core/touch.h"
#include "tests/support/runner.h"

#define PAGES 160u
#define FRAMES 16u
#define THREADS 4u
#define ALL (HURDMM_READ | HURDMM_WRITE)

static const char *const port_names[] = {"posix", "linux"};
#define PORTS 2

struct world {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_space *space;
    struct hurdmm_store *store;
    size_t page;
    uint8_t *disk;
    uintptr_t base;
    atomic_int bad_page; /* that cannot be read; -1: none */
};

/* ---- A world ---------------------------------------------------------------- */

static int disk_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    struct world *world = hook;
    (void)store;
    int bad = atomic_load(&world->bad_page);
    size_t good = bad < 0 ? 0 : (size_t)bad * world->page - (size_t)offset;
    int error = bad >= 0 && good < length ? EIO : 0;
    if (error != 0)
        *done = good;
    memcpy(buffer, world->disk + offset, *done);
    return error;
}

static int disk_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
{
    struct world *world = hook;
    (void)store;
    (void)done;
    memcpy(world->disk + offset, buffer, length);
    return 0;
}

static const struct hurdmm_store_ops disk_ops = {
    .struct_size = sizeof disk_ops, .page_in = disk_in, .page_out = disk_out};

static struct hurdmm_store *open_store(struct world *world, unsigned flags)
{
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .hook = world,
                                           .size = PAGES * world->page,
                                           .flags = flags};
    struct hurdmm_store *store;
    ck_assert_int_eq(
        hurdmm_store_create(world->manager, &disk_ops, &options, &store), 0);
    return store;
}

static int try_bind(struct world *world, struct hurdmm_store *store,
                    unsigned page, size_t pages, uintptr_t want, unsigned flags,
                    uintptr_t *address)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = world->space,
                                       .store = store,
                                       .offset = page * world->page,
                                       .address = want,
                                       .length = pages * world->page,
                                       .rights = ALL,
                                       .flags = flags};
    return hurdmm_bind(&bind, address);
}

static uintptr_t bind_pages(struct world *world, struct hurdmm_store *store,
                            unsigned page, size_t pages)
{
    uintptr_t address = 0;
    ck_assert_int_eq(try_bind(world, store, page, pages, 0, 0, &address), 0);
    return address;
}

static void make_manager(struct world *world, unsigned frames)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .port = world->port,
                                     .budget = frames * world->page};
    ck_assert_int_eq(hurdmm_create(&options, &world->manager), 0);
    world->space = hurdmm_space_own(world->manager);
    ck_assert_uint_eq(hurdmm_page_size(world->manager), world->page);
}

/* A port, a manager with so many frames, and a disk of zeros: page i begins
 * with a byte i.  false: there is no such port here, and the test is skipped. */
static bool begin_with(struct world *world, int port, unsigned frames)
{
    memset(world, 0, sizeof *world);
    touch_begin();
    int error = hurdmm_host_port_create(port_names[port], &world->port);
    if (error == ENOENT || error == ENOTSUP) {
        test_skip("the machine does not have this port");
        return false;
    }
    ck_assert_int_eq(error, 0);
    atomic_init(&world->bad_page, -1);
    world->page = (size_t)sysconf(_SC_PAGESIZE);
    world->disk = calloc(PAGES, world->page);
    ck_assert_ptr_nonnull(world->disk);
    make_manager(world, frames);
    world->store = open_store(world, HURDMM_STORE_SHARED);
    return true;
}

static bool begin(struct world *world, int port)
{
    if (!begin_with(world, port, FRAMES))
        return false;
    for (unsigned i = 0; i < PAGES; i++)
        world->disk[i * world->page + 4000] = (uint8_t)i;
    world->base = bind_pages(world, world->store, 0, PAGES);
    return true;
}

static void end(struct world *world)
{
    const char *what = "nothing";
    int error = hurdmm_check(world->manager, &what);
    ck_assert_msg(error == 0, "hurdmm_check: %s", what);
    ck_assert_int_eq(hurdmm_destroy(world->manager, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_host_port_destroy(world->port), 0);
    free(world->disk);
}

static uint8_t *at(struct world *world, unsigned page)
{
    return (uint8_t *)(world->base + page * world->page);
}

#define loads(address, wanted)                                                 \
    do {                                                                       \
        uint8_t found = 0;                                                     \
        ck_assert_int_eq(touch_load((uintptr_t)(address), &found), 0);         \
        ck_assert_uint_eq(found, wanted);                                      \
    } while (0)
#define load_fails(address)                                                    \
    do {                                                                       \
        uint8_t found;                                                         \
        ck_assert_int_ne(touch_load((uintptr_t)(address), &found), 0);         \
    } while (0)
#define stores(address, byte)                                                  \
    ck_assert_int_eq(touch_store((uintptr_t)(address), byte), 0)

/* ---- Traffic ---------------------------------------------------------------- */

/* Threads that count in words of their own in pages drawn by lot. */
struct worker {
    pthread_t thread;
    struct world *world;
    unsigned number;
    size_t rounds;
    bool locking;
    size_t done;
};

/* The first page has the mutex, and what it protects; the second one an atomic
 * counter: of all the pages' words the traffic's lie behind these. */
struct shared {
    pthread_mutex_t mutex;
    uint64_t counter;
};

static uint64_t draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static volatile uint64_t *word_of(struct worker *worker, unsigned page)
{
    uint8_t *bytes = at(worker->world, page) + 1024;
    return (volatile uint64_t *)(void *)bytes + worker->number;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct shared *shared = (void *)at(worker->world, 0);
    atomic_ullong *common = (void *)at(worker->world, PAGES / 2);
    uint64_t seed = worker->number + 1;
    for (size_t i = 0; i < worker->rounds; i++) {
        unsigned page = (unsigned)(draw(&seed) % PAGES);
        ++*word_of(worker, page);
        if (worker->locking) {
            pthread_mutex_lock(&shared->mutex);
            shared->counter++;
            pthread_mutex_unlock(&shared->mutex);
        }
        atomic_fetch_add(common, 1);
        worker->done++;
    }
    return NULL;
}

static void start(struct world *world, struct worker *workers, size_t rounds,
                  bool locking)
{
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){
            .world = world, .number = i, .rounds = rounds, .locking = locking};
        ck_assert_int_eq(
            pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
}

/* Waits for them, and adds up what they should have written. */
static void finish(struct world *world, struct worker *workers)
{
    size_t all = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
        ck_assert_uint_eq(workers[i].done, workers[i].rounds);
        all += workers[i].rounds;
        uint64_t sum = 0;
        for (unsigned page = 0; page < PAGES; page++)
            sum += *word_of(&workers[i], page);
        ck_assert_uint_eq(sum, workers[i].rounds);
    }
    atomic_ullong *common = (void *)at(world, PAGES / 2);
    ck_assert_uint_eq(atomic_load(common), all);
    for (unsigned page = 0; page < PAGES; page++)
        ck_assert_uint_eq(at(world, page)[4000], (uint8_t)page);
}

START_TEST(a_mutex_and_a_counter_work_in_paged_memory)
{
    struct world world;
    struct worker workers[THREADS];
    if (!begin(&world, _i))
        return;
    struct shared *shared = (void *)at(&world, 0);
    ck_assert_int_eq(pthread_mutex_init(&shared->mutex, NULL), 0);
    size_t rounds = test_scaled(2000);
    start(&world, workers, rounds, true);
    finish(&world, workers);
    ck_assert_uint_eq(shared->counter, THREADS * rounds);
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(hurdmm_get_stats(world.manager, &stats), 0);
    ck_assert_uint_le(stats.frames_peak, FRAMES);
    ck_assert_uint_gt(stats.evictions, 0);
    ck_assert_int_eq(pthread_mutex_destroy(&shared->mutex), 0);
    end(&world);
}
END_TEST

START_TEST(a_flush_ends_with_evictions_in_flight)
{
    struct world world;
    struct worker workers[THREADS];
    if (!begin(&world, _i))
        return;
    start(&world, workers, test_scaled(2000), false);
    for (size_t i = 0; i < test_scaled(100); i++) {
        ck_assert_int_eq(hurdmm_flush(world.space, world.base,
                                      PAGES * world.page, HURDMM_WAIT),
                         0);
        ck_assert_int_eq(
            hurdmm_store_sync(world.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    }
    finish(&world, workers);
    ck_assert_int_eq(
        hurdmm_store_flush(world.store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    for (unsigned page = 0; page < PAGES; page++)
        ck_assert_mem_eq(at(&world, page), world.disk + page * world.page,
                         world.page);
    end(&world);
}
END_TEST

START_TEST(pages_may_be_returned_and_unbound_beside_traffic)
{
    struct world world;
    struct worker workers[THREADS];
    if (!begin(&world, _i))
        return;
    start(&world, workers, test_scaled(1000), false);
    for (unsigned i = 0; i < test_scaled(100); i++) {
        uintptr_t other =
            bind_pages(&world, world.store, i % 64, 1 + i % FRAMES);
        loads(other + 4000, (uint8_t)(i % 64));
        int error = hurdmm_store_return(world.store, (i % PAGES) * world.page,
                                        4 * world.page, HURDMM_WAIT);
        ck_assert_int_eq(error, 0);
        ck_assert_int_eq(
            hurdmm_unbind(world.space, other, (1 + i % FRAMES) * world.page),
            0);
    }
    finish(&world, workers);
    end(&world);
}
END_TEST

/* ---- Readers and writers ------------------------------------------------------ */

struct pair {
    struct world *world;
    atomic_bool stop;
    atomic_size_t read, written;
};

static void *keep_reading(void *argument)
{
    struct pair *pair = argument;
    uint64_t last = 0;
    while (!atomic_load(&pair->stop)) {
        for (unsigned page = 0; page < 2 * FRAMES; page++) {
            atomic_ullong *word = (void *)at(pair->world, page);
            uint64_t now = atomic_load(word);
            if (page == 0 && now < last)
                return pair; /* a write was lost */
            if (page == 0)
                last = now;
        }
        atomic_fetch_add(&pair->read, 1);
    }
    return NULL;
}

static void *keep_writing(void *argument)
{
    struct pair *pair = argument;
    while (!atomic_load(&pair->stop)) {
        for (unsigned page = 0; page < 2 * FRAMES; page++)
            atomic_fetch_add((atomic_ullong *)(void *)at(pair->world, page), 1);
        atomic_fetch_add(&pair->written, 1);
    }
    return NULL;
}

START_TEST(a_reader_and_a_writer_of_one_region_get_on)
{
    struct world world;
    pthread_t reader, writer;
    void *lost = NULL;
    if (!begin(&world, _i))
        return;
    struct pair pair = {.world = &world};
    ck_assert_int_eq(pthread_create(&reader, NULL, keep_reading, &pair), 0);
    ck_assert_int_eq(pthread_create(&writer, NULL, keep_writing, &pair), 0);
    size_t rounds = test_scaled(50);
    while (atomic_load(&pair.read) < rounds ||
           atomic_load(&pair.written) < rounds)
        usleep(1000);
    atomic_store(&pair.stop, true);
    ck_assert_int_eq(pthread_join(reader, &lost), 0);
    ck_assert_int_eq(pthread_join(writer, NULL), 0);
    ck_assert_ptr_null(lost);
    for (unsigned page = 0; page < 2 * FRAMES; page++)
        ck_assert_uint_eq(
            atomic_load((atomic_ullong *)(void *)at(&world, page)),
            atomic_load(&pair.written));
    end(&world);
}
END_TEST

/* Two counters on pages of their own: the first is never behind the second, and
 * never more than one ahead. */
static void *count_twice(void *argument)
{
    struct pair *pair = argument;
    atomic_ullong *first = (void *)at(pair->world, 1);
    atomic_ullong *second = (void *)at(pair->world, 9);
    while (!atomic_load(&pair->stop)) {
        atomic_fetch_add(first, 1);
        atomic_fetch_add(second, 1);
        atomic_fetch_add(&pair->written, 1);
    }
    return NULL;
}

/* Waits until the writer has written some more. */
static void let_write(struct pair *pair)
{
    size_t before = atomic_load(&pair->written);
    while (atomic_load(&pair->written) == before)
        usleep(100);
}

START_TEST(a_snapshot_is_of_one_instant)
{
    struct world world;
    pthread_t writer;
    if (!begin_with(&world, _i, 4 * FRAMES))
        return;
    world.base = bind_pages(&world, world.store, 0, PAGES);
    struct hurdmm_store *image = open_store(&world, HURDMM_STORE_VOLATILE);
    struct pair pair = {.world = &world};
    ck_assert_int_eq(pthread_create(&writer, NULL, count_twice, &pair), 0);
    for (size_t i = 0; i < test_scaled(100); i++) {
        uint64_t done = 0, first = 0, second = 0;
        size_t got;
        let_write(&pair);
        ck_assert_int_eq(
            hurdmm_container_copy(hurdmm_store_container(image), 0,
                                  hurdmm_store_container(world.store), 0,
                                  16 * world.page, HURDMM_COPY_SQUASH, &done),
            0);
        let_write(&pair);
        ck_assert_int_eq(
            hurdmm_store_read(image, world.page, &first, sizeof first, &got),
            0);
        ck_assert_int_eq(hurdmm_store_read(image, 9 * world.page, &second,
                                           sizeof second, &got),
                         0);
        ck_assert_uint_ge(first, second);
        ck_assert_uint_le(first, second + 1);
        ck_assert_uint_gt(first, 0);
    }
    atomic_store(&pair.stop, true);
    ck_assert_int_eq(pthread_join(writer, NULL), 0);
    end(&world);
}
END_TEST

/* ---- What others do wrong ------------------------------------------------------ */

START_TEST(of_two_regions_one_may_go)
{
    struct world world;
    if (!begin(&world, _i))
        return;
    uintptr_t other = bind_pages(&world, world.store, 8, 8);
    stores(other, 1);
    stores(other + world.page, 2);
    ck_assert_int_eq(hurdmm_unbind(world.space, other, 8 * world.page), 0);
    load_fails(other);
    for (unsigned page = 0; page < PAGES; page++)
        loads(at(&world, page) + 4000, (uint8_t)page);
    loads(at(&world, 8), 1);
    loads(at(&world, 9), 2);
    end(&world);
}
END_TEST

START_TEST(tiny_budgets_are_enough)
{
    for (unsigned frames = 16; frames <= 32; frames += 8) {
        struct world world;
        struct worker workers[THREADS];
        if (!begin_with(&world, _i, frames))
            return;
        for (unsigned i = 0; i < PAGES; i++)
            world.disk[i * world.page + 4000] = (uint8_t)i;
        world.base = bind_pages(&world, world.store, 0, PAGES);
        start(&world, workers, test_scaled(300), false);
        finish(&world, workers);
        end(&world);
    }
}
END_TEST

static int make_file(size_t size)
{
    char name[] = "test-threads-XXXXXX";
    uint8_t bytes[100];
    int fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(name), 0);
    memset(bytes, 7, sizeof bytes);
    for (size_t done = 0; done < size; done += sizeof bytes) {
        size_t piece = size - done < sizeof bytes ? size - done : sizeof bytes;
        ck_assert_int_eq((int)write(fd, bytes, piece), (int)piece);
    }
    return fd;
}

START_TEST(past_the_end_of_a_file_is_nothing)
{
    struct world world;
    struct hurdmm_store *store;
    struct stat now;
    if (!begin(&world, _i))
        return;
    size_t size = 2 * world.page + 100;
    int fd = make_file(size);
    ck_assert_int_eq(hurdmm_file_create(world.manager, fd, 0, 0, &store), 0);
    uintptr_t file = bind_pages(&world, store, 0, 8);
    loads(file + size - 1, 7);
    loads(file + size, 0);
    loads(file + 3 * world.page - 1, 0);
    load_fails(file + 3 * world.page);
    load_fails(file + 7 * world.page);
    stores(file + size - 1, 8);
    stores(file + size, 9);
    ck_assert_int_eq(hurdmm_store_destroy(store, HURDMM_DETACH), 0);
    ck_assert_int_eq(fstat(fd, &now), 0);
    ck_assert_uint_eq((size_t)now.st_size, size);
    uint8_t last;
    ck_assert_int_eq((int)pread(fd, &last, 1, (off_t)size - 1), 1);
    ck_assert_uint_eq(last, 8);
    close(fd);
    end(&world);
}
END_TEST

START_TEST(the_offset_is_honoured)
{
    struct world world;
    if (!begin(&world, _i))
        return;
    uintptr_t other = bind_pages(&world, world.store, 100, 2);
    loads(other + 4000, 100);
    loads(other + world.page + 4000, 101);
    stores(other, 55);
    ck_assert_int_eq(hurdmm_flush(world.space, other, world.page, HURDMM_WAIT),
                     0);
    ck_assert_uint_eq(world.disk[100 * world.page], 55);
    end(&world);
}
END_TEST

START_TEST(an_exact_address_leaves_its_neighbours)
{
    struct world world;
    uintptr_t place;
    if (!begin(&world, _i))
        return;
    uint8_t *own = mmap(NULL, 3 * world.page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(own, MAP_FAILED);
    memset(own, 0x11, 3 * world.page);
    uintptr_t middle = (uintptr_t)own + world.page;
    ck_assert_int_eq(
        try_bind(&world, world.store, 3, 1, middle, HURDMM_BIND_EXACT, &place),
        EEXIST);
    ck_assert_uint_eq(own[world.page], 0x11);
    ck_assert_int_eq(munmap(own + world.page, world.page), 0);
    ck_assert_int_eq(
        try_bind(&world, world.store, 3, 1, middle, HURDMM_BIND_EXACT, &place),
        0);
    ck_assert_uint_eq(place, middle);
    loads(middle + 4000, 3);
    for (size_t i = 0; i < world.page; i++) {
        ck_assert_uint_eq(own[i], 0x11);
        ck_assert_uint_eq(own[2 * world.page + i], 0x11);
    }
    ck_assert_int_eq(hurdmm_unbind(world.space, middle, world.page), 0);
    ck_assert_uint_eq(own[world.page - 1], 0x11);
    ck_assert_uint_eq(own[2 * world.page], 0x11);
    end(&world);
}
END_TEST

START_TEST(a_forked_child_gets_no_zeros)
{
    struct world world;
    int status = 0;
    if (!begin(&world, _i))
        return;
    stores(at(&world, 5), 5);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        _exit(*(volatile uint8_t *)at(&world, 5) == 5 ? 5 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert(WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
    loads(at(&world, 5), 5);
    end(&world);
}
END_TEST

START_TEST(ending_without_unmapping_keeps_writes)
{
    struct world world;
    if (!begin(&world, _i))
        return;
    for (unsigned page = 0; page < PAGES; page++)
        stores(at(&world, page), (uint8_t)(page + 1));
    ck_assert_int_eq(hurdmm_destroy(world.manager, HURDMM_DETACH), 0);
    for (unsigned page = 0; page < PAGES; page++)
        ck_assert_uint_eq(world.disk[page * world.page], (uint8_t)(page + 1));
    load_fails(at(&world, 5));
    ck_assert_int_eq(hurdmm_host_port_destroy(world.port), 0);
    free(world.disk);
}
END_TEST

static unsigned open_files(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        closedir(directory);
    return count;
}

static uint64_t core_bytes(struct world *world)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(hurdmm_get_stats(world->manager, &stats), 0);
    return stats.core_bytes;
}

static void map_and_unmap(struct world *world, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        struct hurdmm_store *store = open_store(world, 0);
        uintptr_t place = bind_pages(world, store, 0, PAGES);
        stores(place, (uint8_t)i);
        loads(place + 5 * world->page + 4000, 5);
        ck_assert_int_eq(
            hurdmm_unbind(world->space, place, PAGES * world->page), 0);
        ck_assert_int_eq(hurdmm_store_destroy(store, 0), 0);
    }
}

START_TEST(mapping_and_unmapping_leaks_nothing)
{
    struct world world;
    if (!begin(&world, _i))
        return;
    map_and_unmap(&world, 10);
    uint64_t bytes = core_bytes(&world);
    unsigned files = open_files();
    map_and_unmap(&world, test_scaled(300));
    ck_assert_uint_eq(core_bytes(&world), bytes);
    ck_assert_uint_eq(open_files(), files);
    end(&world);
}
END_TEST

START_TEST(managers_that_end_leave_no_descriptors)
{
    unsigned files = 0;
    for (unsigned i = 0; i < 5; i++) {
        struct world world;
        if (!begin(&world, _i))
            return;
        loads(at(&world, 7) + 4000, 7);
        end(&world);
        if (i == 0)
            files = open_files();
    }
    ck_assert_uint_eq(open_files(), files);
}
END_TEST

START_TEST(an_error_or_half_an_unmapping_is_survived)
{
    struct world world;
    if (!begin(&world, _i))
        return;
    atomic_store(&world.bad_page, 40);
    load_fails(at(&world, 40));
    ck_assert_int_ne(touch_store(world.base + 40 * world.page, 1), 0);
    loads(at(&world, 41) + 4000, 41);
    loads(at(&world, 39) + 4000, 39);
    ck_assert_int_eq(hurdmm_unbind(world.space, world.base + 38 * world.page,
                                   4 * world.page),
                     0);
    load_fails(at(&world, 38));
    load_fails(at(&world, 41) + world.page - 1);
    for (unsigned page = 0; page < PAGES; page++)
        if (page < 38 || page >= 42)
            loads(at(&world, page) + 4000, (uint8_t)page);
    end(&world);
}
END_TEST

static void add_defects(TCase *c)
{
    tcase_add_loop_test(c, of_two_regions_one_may_go, 0, PORTS);
    tcase_add_loop_test(c, tiny_budgets_are_enough, 0, PORTS);
    tcase_add_loop_test(c, past_the_end_of_a_file_is_nothing, 0, PORTS);
    tcase_add_loop_test(c, the_offset_is_honoured, 0, PORTS);
    tcase_add_loop_test(c, an_exact_address_leaves_its_neighbours, 0, PORTS);
    tcase_add_loop_test(c, a_forked_child_gets_no_zeros, 0, PORTS);
    tcase_add_loop_test(c, ending_without_unmapping_keeps_writes, 0, PORTS);
    tcase_add_loop_test(c, mapping_and_unmapping_leaks_nothing, 0, PORTS);
    tcase_add_loop_test(c, managers_that_end_leave_no_descriptors, 0, PORTS);
    tcase_add_loop_test(c, an_error_or_half_an_unmapping_is_survived, 0, PORTS);
}

static Suite *suite(void)
{
    Suite *s = suite_create("threads");
    TCase *c = tcase_create("threads");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, a_mutex_and_a_counter_work_in_paged_memory, 0,
                        PORTS);
    tcase_add_loop_test(c, a_flush_ends_with_evictions_in_flight, 0, PORTS);
    tcase_add_loop_test(c, pages_may_be_returned_and_unbound_beside_traffic, 0,
                        PORTS);
    tcase_add_loop_test(c, a_reader_and_a_writer_of_one_region_get_on, 0,
                        PORTS);
    tcase_add_loop_test(c, a_snapshot_is_of_one_instant, 0, PORTS);
    suite_add_tcase(s, c);
    c = tcase_create("defects of others");
    tcase_set_timeout(c, 60);
    add_defects(c);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    Suite *const suites[] = {suite()};
    return run_suites("tests/core/test-threads", suites, 1);
}
