/* SPDX-License-Identifier: MIT */
/* A world on a real port.  See real.h. */
#include "tests/core/real.h"

#include <unistd.h>

static const struct way {
    const char *port;
    unsigned bind_flags, store_flags;
} ways[REAL_WAYS] = {
    {"posix", 0, 0},
    {"linux", 0, 0},
    {"linux", HURDMM_BIND_INLINE, HURDMM_STORE_SIGNAL_SAFE},
};

/* ---- A world ---- */

static int disk_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    struct real *real = hook;
    (void)store;
    int bad = atomic_load(&real->bad_page);
    size_t good = bad < 0 ? 0 : (size_t)bad * real->page - (size_t)offset;
    int error = bad >= 0 && good < length ? EIO : 0;
    if (error != 0)
        *done = good;
    memcpy(buffer, real->disk + offset, *done);
    return error;
}

static int disk_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
{
    struct real *real = hook;
    (void)store;
    (void)done;
    memcpy(real->disk + offset, buffer, length);
    return 0;
}

static const struct hurdmm_store_ops disk_ops = {
    .struct_size = sizeof disk_ops, .page_in = disk_in, .page_out = disk_out};

struct hurdmm_store *real_store(struct real *real, unsigned flags)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .hook = real,
        .size = REAL_PAGES * real->page,
        .flags = flags | ways[real->way].store_flags};
    struct hurdmm_store *store;
    ck_assert_int_eq(
        hurdmm_store_create(real->manager, &disk_ops, &options, &store), 0);
    return store;
}

int real_try_bind(struct real *real, struct hurdmm_store *store, unsigned page,
                  size_t pages, uintptr_t want, unsigned flags,
                  uintptr_t *address)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = real->space,
                                       .store = store,
                                       .offset = page * real->page,
                                       .address = want,
                                       .length = pages * real->page,
                                       .rights = HURDMM_READ | HURDMM_WRITE,
                                       .flags =
                                           flags | ways[real->way].bind_flags};
    return hurdmm_bind(&bind, address);
}

uintptr_t real_bind(struct real *real, struct hurdmm_store *store,
                    unsigned page, size_t pages)
{
    uintptr_t address = 0;
    ck_assert_int_eq(real_try_bind(real, store, page, pages, 0, 0, &address),
                     0);
    return address;
}

static void make_manager(struct real *real, unsigned frames)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .port = real->port,
                                     .budget = frames * real->page};
    ck_assert_int_eq(hurdmm_create(&options, &real->manager), 0);
    real->space = hurdmm_space_own(real->manager);
    ck_assert_uint_eq(hurdmm_page_size(real->manager), real->page);
}

int real_port(int way, struct hurdmm_port **port)
{
    return hurdmm_host_port_create(ways[way].port, port);
}

bool real_begin_with(struct real *real, int way, unsigned frames)
{
    memset(real, 0, sizeof *real);
    real->way = way;
    touch_begin();
    int error = real_port(way, &real->port);
    if (error == ENOENT || error == ENOTSUP) {
        test_skip("the machine does not have this port");
        return false;
    }
    ck_assert_int_eq(error, 0);
    atomic_init(&real->bad_page, -1);
    real->page = (size_t)sysconf(_SC_PAGESIZE);
    real->disk = calloc(REAL_PAGES, real->page);
    ck_assert_ptr_nonnull(real->disk);
    make_manager(real, frames);
    real->store = real_store(real, HURDMM_STORE_SHARED);
    return true;
}

void real_mark(struct real *real)
{
    for (unsigned i = 0; i < REAL_PAGES; i++)
        real->disk[i * real->page + REAL_MARK] = (uint8_t)i;
}

bool real_begin(struct real *real, int way)
{
    if (!real_begin_with(real, way, REAL_FRAMES))
        return false;
    real_mark(real);
    real->base = real_bind(real, real->store, 0, REAL_PAGES);
    return true;
}

void real_end(struct real *real)
{
    const char *what = "nothing";
    int error = hurdmm_check(real->manager, &what);
    ck_assert_msg(error == 0, "hurdmm_check: %s", what);
    ck_assert_int_eq(hurdmm_destroy(real->manager, HURDMM_DETACH), 0);
    ck_assert_int_eq(hurdmm_host_port_destroy(real->port), 0);
    free(real->disk);
}

uint8_t *real_at(struct real *real, unsigned page)
{
    return (uint8_t *)(real->base + page * real->page);
}

bool real_has_calls(struct real *real)
{
    char text[512];
    ck_assert_int_eq(hurdmm_port_describe(real->port, text, sizeof text), 0);
    return strcmp(ways[real->way].port, "linux") == 0 &&
           ways[real->way].bind_flags == 0 &&
           strstr(text, "inline is the default") == NULL;
}

struct hurdmm_stats real_stats(struct real *real)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    ck_assert_int_eq(hurdmm_get_stats(real->manager, &stats), 0);
    return stats;
}

/* ---- Traffic ---- */

uint64_t real_draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* All words of the traffic lie behind the mutex and the counters. */
static volatile uint64_t *word_of(struct real_worker *worker, unsigned page)
{
    uint8_t *bytes = real_at(worker->real, page) + 1024;
    return (volatile uint64_t *)(void *)bytes + worker->number;
}

static void *work(void *argument)
{
    struct real_worker *worker = argument;
    struct real_shared *shared = (void *)real_at(worker->real, 0);
    atomic_ullong *common = (void *)real_at(worker->real, REAL_PAGES / 2);
    uint64_t seed = worker->number + 1;
    for (size_t i = 0; i < worker->rounds; i++) {
        unsigned page = (unsigned)(real_draw(&seed) % REAL_PAGES);
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

void real_start(struct real *real, struct real_worker *workers, size_t rounds,
                bool locking)
{
    for (unsigned i = 0; i < REAL_THREADS; i++) {
        workers[i] = (struct real_worker){
            .real = real, .number = i, .rounds = rounds, .locking = locking};
        ck_assert_int_eq(
            pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
}

void real_finish(struct real *real, struct real_worker *workers)
{
    size_t all = 0;
    for (unsigned i = 0; i < REAL_THREADS; i++) {
        ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
        ck_assert_uint_eq(workers[i].done, workers[i].rounds);
        all += workers[i].rounds;
        uint64_t sum = 0;
        for (unsigned page = 0; page < REAL_PAGES; page++)
            sum += *word_of(&workers[i], page);
        ck_assert_uint_eq(sum, workers[i].rounds);
    }
    atomic_ullong *common = (void *)real_at(real, REAL_PAGES / 2);
    ck_assert_uint_eq(atomic_load(common), all);
    for (unsigned page = 0; page < REAL_PAGES; page++)
        ck_assert_uint_eq(real_at(real, page)[REAL_MARK], (uint8_t)page);
}
