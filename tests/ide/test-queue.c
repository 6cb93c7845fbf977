/* SPDX-License-Identifier: MIT */
/* Requests in the queue: merged, kept in order, each with its own error. */
#include <pthread.h>
#include <sched.h>

#include "tests/ide/rig.h"
#include "tests/support/runner.h"

#define JOBS 24

static struct rig rig;

/* A request and what became of it. */
struct job {
    struct hurdmm_block_request request;
    struct hurdmm_block_piece piece;
    int error;
    unsigned order; /* from 1; 0: not done */
};

static struct job jobs[JOBS];
static unsigned job_count, job_done;

static void job_ended(struct hurdmm_block_request *request, int error)
{
    struct job *job = request->hook;

    ck_assert_uint_eq(job->order, 0);
    job->error = error;
    job->order = ++job_done;
}

static void begin(unsigned flags)
{
    memset(jobs, 0, sizeof jobs);
    job_count = job_done = 0;
    rig_begin(&rig, flags);
}

static struct job *submit(struct hurdmm_block *block,
                          enum hurdmm_block_kind kind, uint64_t lba,
                          uint64_t count)
{
    struct job *job = &jobs[job_count];
    uint8_t *memory = rig.buffer + 32768 * (job_count + 2);

    if (kind == HURDMM_BLOCK_WRITE)
        memset(memory, (int)job_count + 1, (size_t)count * 512);
    job_count++;
    job->piece = (struct hurdmm_block_piece){memory, (size_t)count * 512};
    job->request = (struct hurdmm_block_request){
        .struct_size = sizeof job->request,
        .kind = kind,
        .piece_count = 1,
        .pieces = &job->piece,
        .offset = lba * 512,
        .done = job_ended,
        .hook = job,
    };
    ck_assert_int_eq(hurdmm_block_submit(block, &job->request), 0);
    return job;
}

/* The same on the rig's disk; what is written goes to the model. */
static struct job *queue(enum hurdmm_block_kind kind, uint64_t lba,
                         uint64_t count)
{
    if (kind == HURDMM_BLOCK_WRITE)
        memset(rig.model + lba * 512, (int)job_count + 1, (size_t)count * 512);
    return submit(&rig.disk.block, kind, lba, count);
}

/* Does all that is queued; how many commands that took. */
static unsigned run(void)
{
    unsigned before = rig.machine.commands;
    int error;

    while ((error = hurdmm_block_serve(&rig.disk.block, 0)) == 0)
        ;
    ck_assert_int_eq(error, ETIMEDOUT);
    ck_assert_uint_eq(job_done, job_count);
    return rig.machine.commands - before;
}

static void end(void)
{
    for (unsigned i = 0; i < job_count; i++) {
        const struct hurdmm_block_request *request = &jobs[i].request;

        if (request->kind == HURDMM_BLOCK_READ && jobs[i].error == 0)
            ck_assert_int_eq(memcmp(jobs[i].piece.memory,
                                    rig.drive->now + request->offset,
                                    jobs[i].piece.length),
                             0);
    }
    rig_end(&rig);
}

START_TEST(neighbours_become_one_command)
{
    begin(0);
    queue(HURDMM_BLOCK_READ, 100, 8);
    queue(HURDMM_BLOCK_READ, 108, 8);
    queue(HURDMM_BLOCK_READ, 92, 8);
    queue(HURDMM_BLOCK_READ, 116, 1);
    ck_assert_uint_eq(run(), 1);
    ck_assert_uint_eq(rig.machine.log[rig.machine.commands - 1].lba, 92);
    ck_assert_uint_eq(rig.machine.log[rig.machine.commands - 1].count, 25);
    ck_assert_uint_eq(rig_stats(&rig)->merged, 3);
    end();
}
END_TEST

START_TEST(writes_merge_too)
{
    begin(0);
    queue(HURDMM_BLOCK_WRITE, 100, 8);
    queue(HURDMM_BLOCK_WRITE, 500, 8);
    queue(HURDMM_BLOCK_WRITE, 108, 8);
    queue(HURDMM_BLOCK_WRITE, 508, 8);
    ck_assert_uint_eq(run(), 2);
    end();
}
END_TEST

START_TEST(merging_can_be_turned_off)
{
    begin(HMM_IDE_NO_MERGE);
    queue(HURDMM_BLOCK_READ, 100, 8);
    queue(HURDMM_BLOCK_READ, 108, 8);
    ck_assert_uint_eq(run(), 2);
    end();
}
END_TEST

START_TEST(reads_and_writes_do_not_merge)
{
    begin(0);
    queue(HURDMM_BLOCK_READ, 100, 8);
    queue(HURDMM_BLOCK_WRITE, 108, 8);
    ck_assert_uint_eq(run(), 2);
    end();
}
END_TEST

START_TEST(a_command_grows_no_longer_than_it_may)
{
    begin(0);
    rig.ide.options.sectors_max = 16;
    queue(HURDMM_BLOCK_READ, 100, 8);
    queue(HURDMM_BLOCK_READ, 108, 9);
    queue(HURDMM_BLOCK_READ, 92, 8);
    ck_assert_uint_eq(run(), 2);
    ck_assert_uint_eq(jobs[2].order, 1);
    end();
}
END_TEST

START_TEST(the_oldest_goes_first)
{
    begin(0);
    for (unsigned i = 0; i < 5; i++)
        queue(HURDMM_BLOCK_READ, 1000 - 100 * i, 4);
    ck_assert_uint_eq(run(), 5);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_uint_eq(jobs[i].order, i + 1);
    end();
}
END_TEST

START_TEST(what_overlaps_keeps_its_order)
{
    begin(0);
    queue(HURDMM_BLOCK_WRITE, 100, 8);
    queue(HURDMM_BLOCK_WRITE, 110, 8);
    queue(HURDMM_BLOCK_WRITE, 108,
          4); /* joins the first; overlaps the second */
    ck_assert_uint_eq(run(), 3);
    ck_assert_uint_eq(jobs[2].order, 3);
    end();
}
END_TEST

START_TEST(nothing_passes_a_flush)
{
    enum hurdmm_block_kind kind =
        _i == 0 ? HURDMM_BLOCK_FLUSH : HURDMM_BLOCK_BARRIER;

    begin(0);
    queue(HURDMM_BLOCK_WRITE, 100, 8);
    queue(kind, 0, 0);
    queue(HURDMM_BLOCK_WRITE, 108, 8);
    ck_assert_uint_eq(run(), 3);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(jobs[i].order, i + 1);
    ck_assert_uint_eq(rig.machine.log[rig.machine.commands - 2].command,
                      IDE_FLUSH_EXT);
    end();
}
END_TEST

START_TEST(a_flush_of_one_drive_is_none_of_the_other)
{
    struct hmm_ide_disk slave;

    memset(jobs, 0, sizeof jobs);
    job_count = job_done = 0;
    rig_plug(&rig, 1);
    machine_plug(&rig.machine, 0, 1, 1000);
    rig_open(&rig, 0);
    ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 0, 1, &slave), 0);
    queue(HURDMM_BLOCK_WRITE, 100, 8);
    submit(&slave.block, HURDMM_BLOCK_FLUSH, 0, 0);
    submit(&slave.block, HURDMM_BLOCK_WRITE, 108, 8);
    queue(HURDMM_BLOCK_WRITE, 108, 8);
    ck_assert_uint_eq(run(), 3);
    ck_assert_uint_eq(jobs[3].order, 2);
    ck_assert_int_eq(hmm_ide_disk_close(&slave), 0);
    end();
}
END_TEST

START_TEST(each_request_gets_its_own_error)
{
    begin(_i == 0 ? 0 : HMM_IDE_NO_DMA);
    rig.drive->bad[rig.drive->bad_count++] = 112;
    for (unsigned i = 0; i < 4; i++)
        queue(HURDMM_BLOCK_READ, 100 + 8 * i, 8);
    run();
    for (unsigned i = 0; i < 4; i++)
        ck_assert_int_eq(jobs[i].error, i == 1 ? EIO : 0);
    end();
}
END_TEST

START_TEST(all_that_is_queued_fails_when_the_disk_goes)
{
    begin(0);
    rig.fragile = true;
    machine_fault(rig.drive, FAULT_GONE, 1, false);
    for (unsigned i = 0; i < 4; i++)
        queue(HURDMM_BLOCK_READ, 100 + 9 * i, 8);
    queue(HURDMM_BLOCK_FLUSH, 0, 0);
    run();
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(jobs[i].error, ENODEV);
    end();
}
END_TEST

START_TEST(wrong_requests_are_not_taken)
{
    struct hurdmm_block_piece piece = {rig.buffer, 512};
    struct hurdmm_block_request request = {
        .struct_size = sizeof request,
        .kind = HURDMM_BLOCK_READ,
        .piece_count = 1,
        .pieces = &piece,
        .done = job_ended,
    };
    struct hurdmm_block *block = &rig.disk.block;

    begin(0);
    piece.memory = rig.buffer;
    request.offset = block->size;
    ck_assert_int_eq(hurdmm_block_submit(block, &request), ENXIO);
    request.offset = 5;
    ck_assert_int_eq(hurdmm_block_submit(block, &request), EINVAL);
    request.offset = 0;
    request.done = NULL;
    ck_assert_int_eq(hurdmm_block_submit(block, &request), EINVAL);
    request.done = job_ended;
    request.kind = (enum hurdmm_block_kind)4;
    ck_assert_int_eq(hurdmm_block_submit(block, &request), EINVAL);
    request.kind = HURDMM_BLOCK_READ;
    request.struct_size = 8;
    ck_assert_int_eq(hurdmm_block_submit(block, &request), EINVAL);
    ck_assert_int_eq(hurdmm_block_submit(block, NULL), EINVAL);
    ck_assert_int_eq(hurdmm_block_serve(block, 0), ETIMEDOUT);
    end();
}
END_TEST

static unsigned yields, commands_then;

static void bus_yield(void *bus)
{
    (void)bus;
    yields++;
    commands_then = rig.machine.commands;
}

START_TEST(who_may_go_first_is_let)
{
    static struct hmm_ide_bus_ops with_yield;

    begin(0);
    yields = 0;
    with_yield = *rig.ide.options.ops;
    with_yield.yield = bus_yield;
    rig.ide.options.ops = &with_yield;
    queue(HURDMM_BLOCK_READ, 100, 8);
    queue(HURDMM_BLOCK_READ, 200, 8);
    ck_assert_uint_eq(yields, 0);
    hurdmm_block_begin(&rig.disk.block);
    ck_assert_uint_eq(yields, 1);
    /* Between two commands, and not after the last. */
    ck_assert_uint_eq(run(), 2);
    ck_assert_uint_eq(yields, 2);
    ck_assert_uint_eq(commands_then, rig.machine.commands - 1);
    end();
}
END_TEST

START_TEST(an_empty_request_is_done)
{
    begin(0);
    queue(HURDMM_BLOCK_READ, 5, 0);
    ck_assert_uint_eq(run(), 0);
    ck_assert_int_eq(jobs[0].error, 0);
    end();
}
END_TEST

START_TEST(a_wait_does_what_was_queued_before)
{
    begin(0);
    queue(HURDMM_BLOCK_WRITE, 100, 8);
    queue(HURDMM_BLOCK_WRITE, 200, 8);
    ck_assert_uint_eq(job_done, 0);
    rig_reads(&rig, 98, 20);
    ck_assert_uint_ge(job_done, 1);
    run();
    end();
}
END_TEST

/* ---- Threads ---- */

#define THREADS 4
#define SLOT 64u /* sectors that a thread owns on each drive */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t park_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t park_cond = PTHREAD_COND_INITIALIZER;
static struct hmm_ide_disk disks[2];
static unsigned parked; /* how often something has parked */

static void bus_lock(void *bus)
{
    (void)bus;
    pthread_mutex_lock(&mutex);
}

static void bus_unlock(void *bus)
{
    (void)bus;
    pthread_mutex_unlock(&mutex);
}

static int bus_park(void *bus, uint32_t *word, uint32_t expected,
                    uint64_t timeout_ns)
{
    (void)bus;
    ck_assert_uint_eq(timeout_ns, HURDMM_FOREVER);
    pthread_mutex_lock(&park_mutex);
    __atomic_fetch_add(&parked, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == expected)
        pthread_cond_wait(&park_cond, &park_mutex);
    pthread_mutex_unlock(&park_mutex);
    return 0;
}

static void bus_wake(void *bus, uint32_t *word)
{
    (void)bus;
    (void)word;
    pthread_mutex_lock(&park_mutex);
    pthread_cond_broadcast(&park_cond);
    pthread_mutex_unlock(&park_mutex);
}

struct worker {
    unsigned number, drives;
    unsigned wrong;
    uint8_t model[2][SLOT * 512], buffer[SLOT * 512];
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    uint64_t seed = worker->number + 1;

    for (size_t n = test_scaled(300); n > 0; n--) {
        unsigned drive, first, count;
        struct hurdmm_block *block;
        uint64_t offset;

        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        drive = (unsigned)(seed >> 33) % worker->drives;
        first = seed >> 35 & (SLOT - 1);
        count = 1 + (unsigned)(seed >> 45) % (SLOT - first);
        block = &disks[drive].block;
        offset = (worker->number * SLOT + first) * 512u;
        if (seed >> 34 & 1) {
            memset(worker->model[drive] + first * 512, (int)(seed >> 50),
                   count * 512);
            worker->wrong +=
                hurdmm_block_write(block, offset,
                                   worker->model[drive] + first * 512,
                                   count * 512) != 0;
        } else {
            worker->wrong += hurdmm_block_read(block, offset, worker->buffer,
                                               count * 512) != 0;
            worker->wrong +=
                memcmp(worker->buffer, worker->model[drive] + first * 512,
                       count * 512) != 0;
        }
        if (n % 16 == 0)
            worker->wrong += hurdmm_block_flush(block) != 0;
    }
    return NULL;
}

static struct worker workers[THREADS];
static pthread_t worker_threads[THREADS];
static struct hmm_ide_bus_ops ops;

/* A channel with two drives, of which so many are opened. */
static void begin_threads(unsigned open, unsigned flags)
{
    struct hmm_ide_options options = {.struct_size = sizeof options};
    struct hmm_ide_ports ports[2];

    rig_plug(&rig, 1);
    machine_plug(&rig.machine, 0, 1, 1000);
    ops = *rig.machine.ops;
    ops.lock = bus_lock;
    ops.unlock = bus_unlock;
    ops.park = bus_park;
    ops.wake = bus_wake;
    options.ops = &ops;
    options.bus = &rig.machine;
    options.flags |= flags;
    ck_assert_int_eq(hmm_ide_find(&ops, &rig.machine, ports), 0);
    ck_assert_int_eq(hmm_ide_init(&rig.ide, &options, ports), 0);
    for (unsigned i = 0; i < open; i++)
        ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 0, i, &disks[i]), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        size_t at = i * SLOT * 512;

        workers[i].number = i;
        workers[i].drives = open;
        for (unsigned d = 0; d < 2; d++)
            memcpy(workers[i].model[d],
                   rig.machine.channels[0].drives[d].now + at, SLOT * 512);
        ck_assert_int_eq(
            pthread_create(&worker_threads[i], NULL, work, &workers[i]), 0);
    }
}

static void join_threads(void)
{
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(worker_threads[i], NULL);
        ck_assert_uint_eq(workers[i].wrong, 0);
        memcpy(rig.model + i * SLOT * 512, workers[i].model[0], SLOT * 512);
    }
}

static void close_disks(unsigned open)
{
    for (unsigned i = 0; i < open; i++)
        ck_assert_int_eq(hmm_ide_disk_close(&disks[i]), 0);
    rig_end(&rig);
}

static void end_threads(unsigned open)
{
    join_threads();
    close_disks(open);
}

START_TEST(threads_share_a_channel)
{
    begin_threads(2, 0);
    ck_assert(
        !(hurdmm_block_capabilities(&disks[0].block) & HURDMM_BLOCK_SERVED));
    end_threads(2);
}
END_TEST

START_TEST(a_disk_opens_while_its_neighbour_works)
{
    begin_threads(1, 0);
    for (size_t n = test_scaled(100); n > 0; n--) {
        ck_assert_int_eq(hmm_ide_disk_open(&rig.ide, 0, 1, &disks[1]), 0);
        ck_assert_int_eq(hmm_ide_disk_close(&disks[1]), 0);
    }
    end_threads(1);
}
END_TEST

/* A thread that does what nobody waits for, until it is told to end. */
struct server {
    pthread_t thread;
    bool over, gone; /* atomic */
    uint32_t done;
};

static void *serve_channel(void *argument)
{
    struct server *server = argument;

    while (!__atomic_load_n(&server->over, __ATOMIC_ACQUIRE))
        (void)hmm_ide_serve(&rig.ide, 0, HURDMM_FOREVER);
    __atomic_store_n(&server->gone, true, __ATOMIC_RELEASE);
    return NULL;
}

static void note_end(struct hurdmm_block_request *request, int error)
{
    struct server *server = request->hook;

    ck_assert_int_eq(error, 0);
    __atomic_fetch_add(&server->done, 1, __ATOMIC_RELEASE);
    bus_wake(NULL, &server->done);
}

START_TEST(a_served_channel_needs_nobody_who_waits)
{
    static struct server server;
    struct hurdmm_block_piece piece[8];
    struct hurdmm_block_request request[8];
    uint32_t done;

    begin_threads(1, HMM_IDE_SERVED);
    ck_assert(hurdmm_block_capabilities(&disks[0].block) & HURDMM_BLOCK_SERVED);
    ck_assert_int_eq(
        pthread_create(&server.thread, NULL, serve_channel, &server), 0);
    for (unsigned i = 0; i < 8; i++) {
        piece[i] =
            (struct hurdmm_block_piece){rig.buffer + i * 4096, (i + 1) * 512};
        request[i] = (struct hurdmm_block_request){
            .struct_size = sizeof request[i],
            .kind = HURDMM_BLOCK_READ,
            .piece_count = 1,
            .pieces = &piece[i],
            .offset = (1024 + i * 50) * 512,
            .done = note_end,
            .hook = &server,
        };
        ck_assert_int_eq(hurdmm_block_submit(&disks[0].block, &request[i]), 0);
    }
    while ((done = __atomic_load_n(&server.done, __ATOMIC_ACQUIRE)) < 8)
        (void)bus_park(NULL, &server.done, done, HURDMM_FOREVER);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_int_eq(memcmp(rig.buffer + i * 4096,
                                rig.model + (1024 + i * 50) * 512,
                                (i + 1) * 512),
                         0);
    join_threads(); /* nobody else makes the server look */
    __atomic_store_n(&server.over, true, __ATOMIC_RELEASE);
    /* It may not wait yet, and not look again before it does. */
    while (!__atomic_load_n(&server.gone, __ATOMIC_ACQUIRE)) {
        hmm_ide_rouse(&rig.ide, 0);
        sched_yield();
    }
    pthread_join(server.thread, NULL);
    close_disks(1);
}
END_TEST

/* The first command takes until another thread waits for the channel. */
static struct server second;

static void *read_second(void *argument)
{
    struct server *server = argument;

    server->done = (uint32_t)hurdmm_block_read(&disks[0].block, 200 * 512,
                                               rig.buffer, 512);
    return NULL;
}

static int wait_for_parked(void *bus, unsigned irq, uint64_t timeout_ns)
{
    if (!second.over) {
        second.over = true;
        ck_assert_int_eq(
            pthread_create(&second.thread, NULL, read_second, &second), 0);
        while (__atomic_load_n(&parked, __ATOMIC_ACQUIRE) == 0)
            sched_yield();
    }
    return rig.machine.ops->wait_irq(bus, irq, timeout_ns);
}

START_TEST(who_came_meanwhile_has_the_channel_next)
{
    begin_threads(1, 0);
    join_threads();
    parked = 0;
    ops.wait_irq = wait_for_parked;
    ck_assert_int_eq(
        hurdmm_block_read(&disks[0].block, 100 * 512, rig.buffer + 4096, 512),
        0);
    pthread_join(second.thread, NULL);
    ck_assert_uint_eq(second.done, 0);
    ck_assert_int_eq(memcmp(rig.buffer, rig.model + 200 * 512, 512), 0);
    close_disks(1);
}
END_TEST

/* Requests of which the first one's end waits for the other's. */
static struct job *first, *other;

static void wait_for_other(struct hurdmm_block_request *request, int error)
{
    struct server *server = first->request.hook;
    uint32_t done;

    ck_assert_ptr_eq(request, &first->request);
    while ((done = __atomic_load_n(&server->done, __ATOMIC_ACQUIRE)) == 0)
        (void)bus_park(NULL, &server->done, done, HURDMM_FOREVER);
    note_end(request, error);
}

START_TEST(the_drive_has_the_next_request_while_one_is_told_of)
{
    static struct server servers[2];
    uint32_t done;

    memset(jobs, 0, sizeof jobs);
    job_count = 0;
    begin_threads(1, HMM_IDE_SERVED);
    join_threads();
    first = &jobs[0];
    other = &jobs[1];
    for (unsigned i = 0; i < 2; i++) {
        jobs[i].piece = (struct hurdmm_block_piece){rig.buffer + i * 4096, 512};
        jobs[i].request = (struct hurdmm_block_request){
            .struct_size = sizeof jobs[i].request,
            .kind = HURDMM_BLOCK_READ,
            .piece_count = 1,
            .pieces = &jobs[i].piece,
            .offset = (100 + i * 50) * 512,
            .done = i == 0 ? wait_for_other : note_end,
            .hook = &servers[0],
        };
    }
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(hurdmm_block_submit(&disks[0].block, &jobs[i].request),
                         0);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&servers[i].thread, NULL, serve_channel,
                                        &servers[i]),
                         0);
    while ((done = __atomic_load_n(&servers[0].done, __ATOMIC_ACQUIRE)) < 2)
        (void)bus_park(NULL, &servers[0].done, done, HURDMM_FOREVER);
    for (unsigned i = 0; i < 2; i++)
        __atomic_store_n(&servers[i].over, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++) {
        while (!__atomic_load_n(&servers[i].gone, __ATOMIC_ACQUIRE)) {
            hmm_ide_rouse(&rig.ide, 0);
            sched_yield();
        }
        pthread_join(servers[i].thread, NULL);
    }
    close_disks(1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ide-queue");
    TCase *queueing = tcase_create("queue");
    TCase *threads = tcase_create("threads");

    tcase_add_test(queueing, neighbours_become_one_command);
    tcase_add_test(queueing, writes_merge_too);
    tcase_add_test(queueing, merging_can_be_turned_off);
    tcase_add_test(queueing, reads_and_writes_do_not_merge);
    tcase_add_test(queueing, a_command_grows_no_longer_than_it_may);
    tcase_add_test(queueing, the_oldest_goes_first);
    tcase_add_test(queueing, what_overlaps_keeps_its_order);
    tcase_add_loop_test(queueing, nothing_passes_a_flush, 0, 2);
    tcase_add_test(queueing, a_flush_of_one_drive_is_none_of_the_other);
    tcase_add_loop_test(queueing, each_request_gets_its_own_error, 0, 2);
    tcase_add_test(queueing, all_that_is_queued_fails_when_the_disk_goes);
    tcase_add_test(queueing, wrong_requests_are_not_taken);
    tcase_add_test(queueing, who_may_go_first_is_let);
    tcase_add_test(queueing, an_empty_request_is_done);
    tcase_add_test(queueing, a_wait_does_what_was_queued_before);
    tcase_add_test(threads, threads_share_a_channel);
    tcase_add_test(threads, a_disk_opens_while_its_neighbour_works);
    tcase_add_test(threads, who_came_meanwhile_has_the_channel_next);
    tcase_add_test(threads, a_served_channel_needs_nobody_who_waits);
    tcase_add_test(threads,
                   the_drive_has_the_next_request_while_one_is_told_of);
    tcase_set_timeout(threads, 60);
    suite_add_tcase(suite, queueing);
    suite_add_tcase(suite, threads);
    return run_suites("tests/ide/test-queue", &suite, 1);
}
