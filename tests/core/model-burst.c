/* SPDX-License-Identifier: MIT */
/*
 * Bursts: several threads of the application work at once, and the model still
 * knows every byte, because each thread writes only its own cells, the nth
 * quarter of every page.  What it reads of its own cells must be what it wrote.
 */
#include <string.h>

#include <hurdmm/error.h>

#include "tests/core/model.h"

#define THREADS 4

struct burst_thread {
    struct model *model;
    struct hmm_rand rand;
    unsigned number;
    unsigned steps;
    unsigned *running;
};

static unsigned lot(struct burst_thread *thread, unsigned bound)
{
    return (unsigned)hmm_rand_below(&thread->rand, bound);
}

/* One of the thread's cells: a store, and where in it. */
static int pick_cell(struct burst_thread *thread, uint64_t *offset,
                     size_t *length)
{
    struct model *model = thread->model;
    int index = (int)lot(thread, MODEL_STORES);
    struct model_store *store = &model->stores[index];
    uint64_t pages = store->size / model->page;
    *length = model->page / THREADS;
    if (!store->exists || model_discardable(store) || pages == 0)
        return -1;
    *offset =
        lot(thread, (unsigned)pages) * model->page + thread->number * *length;
    return index;
}

/* Where an application could reach it; NULL: nowhere. */
static const struct model_region *find_view(struct model *model, int index,
                                            uint64_t offset, unsigned rights)
{
    for (unsigned i = 0; i < model->region_count; i++) {
        const struct model_region *region = &model->regions[i];
        if (region->store == index && offset >= region->offset &&
            offset - region->offset < region->length &&
            (region->rights & rights) == rights)
            return region;
    }
    return NULL;
}

static void check_error(struct burst_thread *thread, int index, uint64_t offset,
                        int error, const char *what)
{
    struct model *model = thread->model;
    struct model_allow allow = {.ok = true};
    model_excuse(model, &allow, index, offset - offset % model->page);
    model_expect(model, &allow, error, what);
}

static void load_cell(struct burst_thread *thread)
{
    struct model *model = thread->model;
    uint64_t offset;
    size_t length;
    uint8_t bytes[MODEL_PAGE_MAX];
    int index = pick_cell(thread, &offset, &length);
    if (index < 0)
        return;
    const struct model_region *region =
        find_view(model, index, offset, HURDMM_READ);
    size_t done = length;
    int error;
    if (region != NULL && lot(thread, 4) != 0)
        error = hurdmm_sim_read(model->port, NULL,
                                region->address +
                                    (uintptr_t)(offset - region->offset),
                                bytes, length);
    else
        error = hurdmm_store_read(model->stores[index].disk.store, offset,
                                  bytes, length, &done);
    model_say(model, "thread %u loads %d+%#llx: %d", thread->number, index,
              (unsigned long long)offset, error);
    check_error(thread, index, offset, error, "a thread's load");
    if (error == 0)
        model_compare(model, index, offset, bytes, length, "a thread's load");
}

static void store_cell(struct burst_thread *thread)
{
    struct model *model = thread->model;
    uint64_t offset;
    size_t length;
    uint8_t bytes[MODEL_PAGE_MAX];
    int index = pick_cell(thread, &offset, &length);
    if (index < 0 || model_read_only(&model->stores[index]))
        return;
    const struct model_region *region =
        find_view(model, index, offset, HURDMM_WRITE);
    memset(bytes, (int)lot(thread, 256), length);
    bytes[length / 2] = (uint8_t)thread->number;
    size_t done = length;
    int error;
    if (region == NULL && model_pinned_to_write(model, index, offset, length))
        return;
    if (region != NULL && (lot(thread, 4) != 0 || model->pin_count > 0))
        error = hurdmm_sim_write(model->port, NULL,
                                 region->address +
                                     (uintptr_t)(offset - region->offset),
                                 bytes, length);
    else
        error = hurdmm_store_write(model->stores[index].disk.store, offset,
                                   bytes, length, &done);
    model_say(model, "thread %u stores %d+%#llx: %d", thread->number, index,
              (unsigned long long)offset, error);
    check_error(thread, index, offset, error, "a thread's store");
    if (error == 0)
        memcpy(model->stores[index].truth + offset, bytes, length);
}

static void verb(struct burst_thread *thread)
{
    struct model *model = thread->model;
    struct model_store *store = &model->stores[lot(thread, MODEL_STORES)];
    uint64_t offset = 0;
    if (!store->exists)
        return;
    if (lot(thread, 2))
        offset = lot(thread, 4) * store->disk.block;
    unsigned wait = lot(thread, 2) ? HURDMM_WAIT : 0;
    int error = 0;
    switch (lot(thread, 3)) {
    case 0:
        error =
            hurdmm_store_flush(store->disk.store, offset, HURDMM_WHOLE, wait);
        break;
    case 1:
        error =
            hurdmm_store_return(store->disk.store, offset, HURDMM_WHOLE, wait);
        break;
    default:
        error =
            hurdmm_store_sync(store->disk.store, offset, HURDMM_WHOLE, wait);
        break;
    }
    model_say(model, "thread %u verb on store %d: %d", thread->number,
              (int)(store - model->stores), error);
    if (error == EINVAL || error == ESTALE || error == EDEADLK)
        model_fail(model, "a thread's verb ended with %d", error);
}

static void advise(struct burst_thread *thread)
{
    struct model *model = thread->model;
    struct model_store *store = &model->stores[lot(thread, MODEL_STORES)];
    if (!store->exists)
        return;
    enum hurdmm_advice advice =
        lot(thread, 2) ? HURDMM_ADVICE_WILLNEED : HURDMM_ADVICE_DONTNEED;
    int error = hurdmm_store_advise(store->disk.store, 0, 4 * store->disk.block,
                                    advice);
    if (error != 0)
        model_fail(model, "a thread's advice ended with %d", error);
}

static void shrink(struct burst_thread *thread)
{
    struct model *model = thread->model;
    size_t pages = 16 + lot(thread, model->config.frames - 15);
    int error = hurdmm_set_budget(model->manager, pages * model->page);
    check_error(thread, -1, 0, error, "a thread's set_budget");
    model->budget = pages * model->page;
}

/* Binds a page of a shared store at a place of its own, uses it, unbinds. */
static void visit(struct burst_thread *thread)
{
    struct model *model = thread->model;
    uint64_t offset;
    size_t length;
    uint8_t bytes[MODEL_PAGE_MAX];
    int index = pick_cell(thread, &offset, &length);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    if (!(store->flags & HURDMM_STORE_SHARED))
        return;
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = model->space,
        .store = store->disk.store,
        .offset = offset - offset % model->page,
        .length = model->page,
        .rights = HURDMM_READ,
    };
    uintptr_t address;
    int error = hurdmm_bind(&bind, &address);
    check_error(thread, -1, 0, error, "a thread's bind");
    if (error != 0)
        return;
    error = hurdmm_sim_read(model->port, NULL,
                            address + (uintptr_t)(offset - bind.offset), bytes,
                            length);
    check_error(thread, index, offset, error, "a visitor's load");
    if (error == 0)
        model_compare(model, index, offset, bytes, length, "a visitor's load");
    for (unsigned tries = 0; tries < 100; tries++) {
        error = hurdmm_unbind(model->space, address, model->page);
        if (error != ENOMEM)
            break;
        hurdmm_sim_fail(model->port, 0, 0, 0, 0);
    }
    if (error == EBUSY && model->pin_count > 0) {
        /* Pinned through another region: it stays. */
        model_insert(model, &(struct model_region){
                                .address = address,
                                .length = model->page,
                                .store = index,
                                .offset = bind.offset,
                                .rights = bind.rights,
                                .max_rights = model_read_only(store)
                                                  ? HURDMM_READ | HURDMM_EXECUTE
                                                  : HURDMM_RIGHTS,
                            });
        return;
    }
    if (error != 0)
        model_fail(model, "a thread's unbind ended with %d", error);
}

static void burst_body(void *argument)
{
    struct burst_thread *thread = argument;
    for (unsigned i = 0; i < thread->steps && thread->model->failure[0] == '\0';
         i++) {
        switch (lot(thread, 16)) {
        case 0:
            verb(thread);
            break;
        case 1:
            advise(thread);
            break;
        case 2:
            visit(thread);
            break;
        case 3:
            if (thread->number == 0)
                shrink(thread);
            break;
        case 4:
        case 5:
        case 6:
        case 7:
        case 8:
            load_cell(thread);
            break;
        default:
            store_cell(thread);
            break;
        }
    }
    --*thread->running;
}

void model_burst(struct model *model, const struct model_op *op)
{
    struct burst_thread threads[THREADS];
    unsigned count = 2 + op->arg[0] % (THREADS - 1);
    unsigned running = 0;
    for (unsigned i = 0; i < count; i++) {
        threads[i] = (struct burst_thread){
            .model = model,
            .number = i,
            .steps = 1 + op->arg[2] % 6,
            .running = &running,
        };
        hmm_rand_init(&threads[i].rand, op->arg[1] * UINT64_C(4) + i);
        running++;
        if (hurdmm_sim_spawn(model->port, burst_body, &threads[i], NULL) != 0) {
            running--;
            model_fail(model, "no thread");
        }
    }
    for (unsigned tries = 0; running > 0; tries++) {
        hurdmm_sim_sleep(model->port, 10000);
        if (tries == 200000) {
            model_fail(model, "the threads of a burst do not end");
            return;
        }
    }
    for (int i = 0; i < MODEL_STORES; i++) {
        model_note(model, i, false, 0, "");
        model->stores[i].untold_min = 0;
    }
}
