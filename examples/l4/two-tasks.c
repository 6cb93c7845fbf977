/* SPDX-License-Identifier: MIT */
/*
 * A client in an address space of its own, paged by the root task: a region on
 * the disk, a copy on write of it, a page that both share; eviction
 * under all of them.  Then clients that behave badly: each is stopped with its
 * error, and the next one works.
 */
#include <hurdmm/error.h>
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>

#include "examples/l4/client.h"
#include "examples/l4/load.h"
#include "lib/base/string.h"
#include "tests/l4/support.h"

#define BUDGET (1u << 20)
#define SECOND UINT64_C(1000000000)
#define DISK_PAGES (CLIENT_DISK_SIZE / CLIENT_PAGE)
#define COPY_PAGES (CLIENT_COPY_SIZE / CLIENT_PAGE)

static struct hurdmm *manager;
static struct hurdmm_port *port;
static struct hurdmm_block *disk;
static struct hurdmm_store *disk_store, *shared_store, *slow_store;
static uintptr_t shared; /* in our own space */
static struct program program;

/* One client. */
struct client {
    struct hurdmm_l4_task *task;
    struct hurdmm_space *space;
    struct hurdmm_container *copy;
    struct image image;
};

static uint32_t slow_word;

/* Fills after a while. */
static int fill_slowly(void *hook, uint64_t offset, void *buffer, size_t length)
{
    uint32_t word = 0;
    (void)hook;
    (void)offset;
    __atomic_store_n(&slow_word, 1, __ATOMIC_SEQ_CST);
    port->ops->wake(port, &slow_word, 1);
    (void)port->ops->park(port, &word, 0, SECOND / 10);
    memset(buffer, 0, length);
    return 0;
}

/* Made by tests/l4/drives.c, which looks at it in the end. */
static void open_disk(void)
{
    l4_test_zero(hurdmm_l4_disk_open(manager, 0, 0, 0, &disk), "a disk");
    l4_test_equal((long long)disk->size, CLIENT_DISK_SIZE, "it has its size",
                  __FILE__, __LINE__);
    l4_test_zero(hurdmm_block_store_create(manager, disk, 0, 0,
                                           HURDMM_STORE_SHARED, &disk_store),
                 "a store on it");
}

static void make_all(void)
{
    struct hurdmm_options options = {
        .struct_size = sizeof options, .port = port, .budget = BUDGET};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = CLIENT_PAGE,
                                       .rights = HURDMM_READ | HURDMM_WRITE};
    l4_test_zero(hurdmm_create(&options, &manager), "a manager");
    open_disk();
    l4_test_zero(hurdmm_anonymous_create(manager, NULL, CLIENT_PAGE,
                                         HURDMM_STORE_SHARED, &shared_store),
                 "a shared page");
    l4_test_zero(hurdmm_computed_create(manager, CLIENT_PAGE,
                                        HURDMM_STORE_SHARED, fill_slowly, NULL,
                                        &slow_store),
                 "a slow store");
    bind.space = hurdmm_space_own(manager);
    bind.store = shared_store;
    l4_test_zero(hurdmm_bind(&bind, &shared), "the shared page is bound here");
    l4_test_zero(program_find(0, &program), "the client's program");
}

static void bind_at(struct client *client, struct hurdmm_store *store,
                    uintptr_t address, size_t length, unsigned rights)
{
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = client->space,
                                       .store = store,
                                       .address = address,
                                       .length = length,
                                       .rights = rights,
                                       .flags = HURDMM_BIND_EXACT};
    if (store == NULL)
        bind.container = client->copy;
    l4_test_zero(hurdmm_bind(&bind, &address), "a region of the client");
}

static void start(struct client *client, enum client_task what)
{
    const unsigned all = HURDMM_READ | HURDMM_WRITE;
    uint64_t done;
    uintptr_t stack;
    l4_test_zero(hurdmm_l4_task_create(port, &client->task), "a task");
    l4_test_zero(hurdmm_space_create(manager,
                                     hurdmm_l4_task_space(client->task),
                                     &client->space),
                 "its space");
    l4_test_zero(program_load(&program, manager, client->space, CLIENT_STACK,
                              CLIENT_STACK_SIZE, what, &client->image, &stack),
                 "its program");
    l4_test_zero(hurdmm_container_create(manager, &client->copy),
                 "a container");
    l4_test_zero(hurdmm_container_copy(client->copy, 0,
                                       hurdmm_store_container(disk_store), 0,
                                       CLIENT_COPY_SIZE, 0, &done),
                 "a copy of the disk");
    bind_at(client, disk_store, CLIENT_DISK, CLIENT_DISK_SIZE, all);
    bind_at(client, NULL, CLIENT_COPY, CLIENT_COPY_SIZE, all);
    bind_at(client, shared_store, CLIENT_SHARED, CLIENT_PAGE, all);
    bind_at(client, shared_store, CLIENT_FIXED, CLIENT_PAGE, HURDMM_READ);
    bind_at(client, slow_store, CLIENT_SLOW, CLIENT_PAGE, HURDMM_READ);
    l4_test_zero(hurdmm_l4_task_start(client->task, program.entry, stack),
                 "it starts");
}

static void stop(struct client *client)
{
    l4_test_zero(hurdmm_space_destroy(client->space, HURDMM_DETACH),
                 "the space goes");
    hurdmm_l4_task_destroy(client->task);
    l4_test_zero(hurdmm_container_destroy(client->copy), "the copy goes");
    image_drop(&client->image);
}

/* Runs a client to its end. */
static struct hurdmm_l4_status run(enum client_task what)
{
    struct client client;
    struct hurdmm_l4_status status = {.struct_size = sizeof status};
    start(&client, what);
    l4_test_zero(hurdmm_l4_task_wait(client.task, 60 * SECOND, &status),
                 "it ends");
    stop(&client);
    return status;
}

/* What the client did to the disk has happened; what it did to its copy has
 * not; what was shared was seen by both. */
static void look_after_work(void)
{
    volatile uint32_t *words = (volatile uint32_t *)shared;
    uint32_t right = 0;
    for (uint32_t page = 0; page < DISK_PAGES; page++) {
        uint32_t found[2];
        size_t done;
        if (hurdmm_store_read(disk_store, (uint64_t)page * CLIENT_PAGE, found,
                              sizeof found, &done) == 0 &&
            found[0] == client_word(page) && found[1] == ~client_word(page))
            right++;
    }
    l4_test_equal(right, DISK_PAGES, "the disk is as the client left it",
                  __FILE__, __LINE__);
    l4_test_equal(words[1], words[0] + 1, "the shared page is shared", __FILE__,
                  __LINE__);
}

static void work(enum client_task what, uint32_t number)
{
    ((volatile uint32_t *)shared)[0] = number;
    struct hurdmm_l4_status status = run(what);
    l4_test_equal(status.state, HURDMM_L4_EXITED, "the client has exited",
                  __FILE__, __LINE__);
    l4_test_equal(status.value, DISK_PAGES + COPY_PAGES,
                  "it has found everything", __FILE__, __LINE__);
    look_after_work();
}

static void fail(enum client_task what, int error, uintptr_t address)
{
    struct hurdmm_l4_status status = run(what);
    l4_test_equal(status.state, HURDMM_L4_FAILED, "the client has failed",
                  __FILE__, __LINE__);
    l4_test_equal(status.error, error, "with this error", __FILE__, __LINE__);
    if (error != 0)
        l4_test_check(status.address == address, "at this address");
}

/* A client goes while its fault is being served. */
static void leave_early(void)
{
    struct client client;
    slow_word = 0;
    start(&client, CLIENT_WAIT);
    while (__atomic_load_n(&slow_word, __ATOMIC_SEQ_CST) == 0)
        (void)port->ops->park(port, &slow_word, 0, SECOND);
    stop(&client);
}

void hurdmm_l4_main(void)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};
    l4_tests_begin("two-tasks");
    l4_test_zero(hurdmm_l4_create(NULL, &port), "a port");
    make_all();
    work(CLIENT_WORK, 100);
    fail(CLIENT_STRAY, EFAULT, 0x30000000);
    fail(CLIENT_STORE_FIXED, EACCES, CLIENT_FIXED);
    fail(CLIENT_DIVIDE, 0, 0);
    leave_early();
    work(CLIENT_NOISE, 200);
    l4_test_zero(hurdmm_get_stats(manager, &stats), "statistics");
    hmm_l4_printf("%llu faults, %llu pages in, %llu out, %llu evicted\n",
                  stats.faults, stats.pages_in, stats.pages_out,
                  stats.evictions);
    l4_test_check(stats.evictions > DISK_PAGES, "there was eviction");
    l4_test_zero(hurdmm_store_destroy(disk_store, HURDMM_DETACH),
                 "the disk's store goes");
    l4_test_zero(hurdmm_l4_disk_close(disk), "and the disk");
    l4_test_zero(hurdmm_destroy(manager, HURDMM_DETACH), "all goes");
    l4_test_zero(hurdmm_l4_destroy(port), "the port goes");
    l4_tests_end();
}
