/* SPDX-License-Identifier: MIT */
/*
 * The scripted disk.  See disk.h.
 *
 * A call marks its pages busy while it lasts, and copies what it writes twice,
 * before and after it lost the processor: the library promises that no page is
 * filled or written twice at once, and that what is written does not change.
 */
#include <stdlib.h>
#include <string.h>

#include <hurdmm/error.h>
#include <hurdmm/sim.h>

#include "tests/core/disk.h"

static void complain(struct disk *disk, const char *what)
{
    if (disk->complaint == NULL)
        disk->complaint = what;
}

/* Whether the script has this call fail. */
static bool fails(struct disk *disk, unsigned kind)
{
    struct disk_script *script = &disk->script;
    if (script->nth == 0 || (script->kinds & kind) == 0)
        return false;
    if (script->nth > 1) {
        script->nth--;
        return false;
    }
    if (!script->for_ever)
        script->nth = 0;
    disk->failures++;
    if (kind == DISK_IN)
        disk->read_failures++;
    else if (kind != DISK_UNLOCK)
        disk->write_failures++;
    return true;
}

static void dawdle(struct disk *disk, const bool *hold)
{
    for (unsigned i = 0; i < disk->delay; i++)
        hurdmm_sim_yield(disk->port);
    while (hold != NULL && *hold)
        hurdmm_sim_sleep(disk->port, 1000);
}

static void check_range(struct disk *disk, uint64_t offset, uint64_t length)
{
    uint64_t size = hurdmm_store_size(disk->store);
    if (length == 0 || offset % disk->block != 0)
        complain(disk, "a call is empty or begins inside a block");
    if (offset + length > size)
        complain(disk, "a call goes past the end of the store");
    if (length % disk->block != 0 && offset + length != size)
        complain(disk, "a call ends inside a block");
}

static void set_busy(struct disk *disk, unsigned kind, uint64_t offset,
                     uint64_t length, bool on)
{
    for (uint64_t p = offset / disk->page;
         p * disk->page < offset + length && p < DISK_PAGES_MAX; p++) {
        if (on && disk->busy[p] != 0)
            complain(disk, "two calls for one page at once");
        if (on)
            disk->busy[p] |= (uint8_t)kind;
        else
            disk->busy[p] &= (uint8_t)~kind;
    }
    if (on)
        disk->in_flight++;
    else
        disk->in_flight--;
}

void disk_overtaken(struct disk *disk, uint64_t page)
{
    disk->failed[page] = 0;
    disk->busy[page] &= (uint8_t)~DISK_IN;
}

static void set_failed(struct disk *disk, uint64_t offset, uint64_t length,
                       int error)
{
    for (uint64_t p = offset / disk->page;
         p * disk->page < offset + length && p < DISK_PAGES_MAX; p++)
        disk->failed[p] = error;
}

static void announce(struct disk *disk, unsigned kind, uint64_t offset,
                     size_t length)
{
    if (disk->before != NULL)
        disk->before(disk, kind, offset, length);
}

/* Decides how much of a read is done, and with which error. */
static int read_part(struct disk *disk, uint64_t offset, size_t length,
                     size_t *done)
{
    *done = length;
    if (!fails(disk, DISK_IN))
        return 0;
    size_t part = disk->script.partial * disk->page;
    *done = part < length ? part : 0;
    int error = disk->script.error;
    set_failed(disk, offset + *done, length - *done, error != 0 ? error : EIO);
    return error;
}

/* ---- Shadows -------------------------------------------------------------- */

const struct disk_shadow *disk_shadow;

static void set_known(struct disk *disk, uint64_t offset, uint64_t length,
                      bool known)
{
    for (uint64_t p = offset / disk->page;
         p * disk->page < offset + length && p < DISK_PAGES_MAX; p++)
        disk->known[p] = known;
}

void disk_changed(struct disk *disk, uint64_t offset, uint64_t length)
{
    set_known(disk, offset, length, false);
}

/* The shadow may be longer than the disk's store, which ends within a page. */
static size_t whole_pages(const struct disk *disk, uint64_t offset,
                          size_t length)
{
    uint64_t rest = disk->capacity - offset;
    size_t whole = (length + disk->page - 1) / disk->page * disk->page;

    return whole < rest ? whole : (size_t)rest;
}

/* The shadow is given what was written.  What it could not take for want of
 * memory it need not have. */
static void shadow_out(struct disk *disk, uint64_t offset, const void *buffer,
                       size_t length)
{
    size_t whole = whole_pages(disk, offset, length), done = whole;
    uint8_t *bytes;
    if (disk->shadow == NULL || length == 0)
        return;
    const struct hurdmm_store_ops *ops = hurdmm_store_operations(disk->shadow);
    set_known(disk, offset, length, false);
    if (ops->page_out == NULL || (bytes = calloc(1, whole)) == NULL)
        return;
    memcpy(bytes, buffer, length);
    int error = ops->page_out(disk->shadow, hurdmm_store_hook(disk->shadow),
                              offset, bytes, whole, &done);
    if (error == 0 && done != whole)
        complain(disk, "the shadow wrote less without an error");
    if (error == 0)
        set_known(disk, offset, length, true);
    else if (error != ENOMEM)
        complain(disk, "the shadow does not take a page");
    free(bytes);
}

/* What the shadow has must be what the disk has. */
static void shadow_in(struct disk *disk, uint64_t offset, size_t length)
{
    size_t whole = whole_pages(disk, offset, length), done = whole;
    uint8_t *bytes;
    if (disk->shadow == NULL || length == 0 || (bytes = malloc(whole)) == NULL)
        return;
    const struct hurdmm_store_ops *ops = hurdmm_store_operations(disk->shadow);
    int error = ops->page_in(disk->shadow, hurdmm_store_hook(disk->shadow),
                             offset, bytes, whole, &done);
    if (error != 0 && error != ENOMEM)
        complain(disk, "the shadow cannot read a page");
    for (size_t at = 0; at < length && error == 0; at += disk->page) {
        size_t part = length - at < disk->page ? length - at : disk->page;
        if (disk->known[(offset + at) / disk->page] &&
            memcmp(bytes + at, disk->bytes + offset + at, part) != 0)
            complain(disk, "the shadow has other bytes");
    }
    free(bytes);
}

static void shadow_open(struct disk *disk, struct hurdmm *manager)
{
    if (disk_shadow == NULL || !disk_shadow->make(disk, manager))
        return;
    set_known(disk, 0, disk->capacity, true);
    /* One that cannot be written was made with them. */
    if (hurdmm_store_operations(disk->shadow)->page_out == NULL)
        return;
    for (uint64_t at = 0; at < disk->capacity; at += disk->page)
        shadow_out(disk, at, disk->bytes + at,
                   disk->capacity - at < disk->page
                       ? (size_t)(disk->capacity - at)
                       : disk->page);
}

/* ---- Calls ---------------------------------------------------------------- */

static int disk_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    struct disk *disk = hook;
    if (store != disk->store && disk->store != NULL)
        complain(disk, "page_in of another store");
    if (*done != length)
        complain(disk, "page_in: *done does not come in as the length");
    check_range(disk, offset, length);
    set_busy(disk, DISK_IN, offset, length, true);
    disk->ins++;
    disk->last_in_length = length;
    announce(disk, DISK_IN, offset, length);
    dawdle(disk, &disk->hold_in);
    size_t part;
    int error = read_part(disk, offset, length, &part);
    memcpy(buffer, disk->bytes + offset, part);
    set_failed(disk, offset, part, 0);
    disk->bytes_in += part;
    shadow_in(disk, offset, part);
    set_busy(disk, DISK_IN, offset, length, false);
    *done = part;
    return error;
}

static int disk_refill(struct hurdmm_store *store, void *hook, uint64_t offset,
                       void *buffer, size_t length, size_t *done)
{
    struct disk *disk = hook;
    disk->why_discarded++;
    return disk_in(store, hook, offset, buffer, length, done);
}

static int disk_victim(struct hurdmm_store *store, void *hook, uint64_t offset,
                       size_t length)
{
    struct disk *disk = hook;
    if (store != disk->store)
        complain(disk, "asked about another store's page");
    check_range(disk, offset, length);
    if (length > disk->block)
        complain(disk, "asked about more than a block");
    disk->asked++;
    dawdle(disk, NULL);
    uint64_t first = offset / disk->page;
    uint64_t end = (offset + length + disk->page - 1) / disk->page;
    for (uint64_t p = first; p < end; p++)
        if (!disk->idle[p])
            return HURDMM_VICTIM_WRITE;
    for (uint64_t p = first; p < end; p++)
        disk->lost[p] = true;
    disk->dropped++;
    /* Whoever finds it lost may use it before this has returned. */
    announce(disk, DISK_VICTIM, offset, length);
    dawdle(disk, NULL);
    return HURDMM_VICTIM_DROP;
}

static int disk_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
{
    struct disk *disk = hook;
    if (store != disk->store)
        complain(disk, "page_out of another store");
    if (*done != length)
        complain(disk, "page_out: *done does not come in as the length");
    check_range(disk, offset, length);
    set_busy(disk, DISK_OUT, offset, length, true);
    disk->outs++;
    disk->last_out_offset = offset;
    disk->last_out_length = length;
    announce(disk, DISK_OUT, offset, length);
    uint8_t *copy = malloc(length);
    if (copy != NULL)
        memcpy(copy, buffer, length);
    dawdle(disk, &disk->hold_out);
    if (copy != NULL && memcmp(copy, buffer, length) != 0)
        complain(disk, "what is written changes while it is written");
    free(copy);
    size_t part = length;
    int error = 0;
    if (fails(disk, DISK_OUT)) {
        part = disk->script.partial * disk->page;
        part = part < length ? part : 0;
        error = disk->script.error;
    }
    memcpy(disk->bytes + offset, buffer, part);
    disk->bytes_out += part;
    shadow_out(disk, offset, buffer, part);
    set_busy(disk, DISK_OUT, offset, length, false);
    *done = part;
    return error;
}

/* Answers a request; frees nothing but the request. */
static int answer(struct disk *disk, struct hurdmm_request *request)
{
    struct hurdmm_request_info info;
    hurdmm_request_get_info(request, &info);
    uint8_t *buffer = hurdmm_request_buffer(request);
    if (buffer == NULL) {
        hurdmm_request_complete(request, ENOMEM);
        return 0;
    }
    dawdle(disk, &disk->hold_in);
    size_t part;
    int error = read_part(disk, info.offset, info.length, &part);
    if (error == 0 && part == info.length)
        memcpy(buffer, disk->bytes + info.offset, part);
    else if (error == 0)
        error = EIO;
    set_failed(disk, info.offset, info.length, error);
    disk->bytes_in += error == 0 ? part : 0;
    set_busy(disk, DISK_IN, info.offset, info.length, false);
    hurdmm_request_complete(request, error);
    return 0;
}

struct later {
    struct disk *disk;
    struct hurdmm_request *request;
    struct hurdmm_writeback *write;
};

static void answer_later(void *argument)
{
    struct later later = *(struct later *)argument;
    free(argument);
    hurdmm_sim_yield(later.disk->port);
    (void)answer(later.disk, later.request);
}

static int disk_fault(struct hurdmm_store *store, void *hook,
                      struct hurdmm_request *request)
{
    struct disk *disk = hook;
    struct hurdmm_request_info info;
    hurdmm_request_get_info(request, &info);
    if (info.store != store)
        complain(disk, "a request is for another store");
    check_range(disk, info.offset, info.length);
    disk->ins++;
    disk->last_in_length = info.length;
    disk->last_space_address = info.address;
    if (info.why == HURDMM_WHY_DISCARDED)
        disk->why_discarded++;
    set_busy(disk, DISK_IN, info.offset, info.length, true);
    announce(disk, DISK_IN, info.offset, info.length);
    if (disk->mode == DISK_FULL_NOW)
        return answer(disk, request);
    struct later *later = malloc(sizeof *later);
    if (later == NULL)
        abort();
    *later = (struct later){.disk = disk, .request = request};
    if (hurdmm_sim_spawn(disk->port, answer_later, later, NULL) != 0)
        abort();
    return 0;
}

static int disk_fill_start(struct hurdmm_store *store, void *hook,
                           struct hurdmm_request *request)
{
    struct disk *disk = hook;
    if (disk->starts_max != 0 && disk->in_flight >= disk->starts_max)
        return EBUSY;
    disk->starts++;
    return disk_fault(store, hook, request);
}

static void write_later(void *argument)
{
    struct later later = *(struct later *)argument;
    struct hurdmm_writeback_info info;
    free(argument);
    hurdmm_sim_yield(later.disk->port);
    hurdmm_writeback_get_info(later.write, &info);
    size_t done = info.length;
    later.disk->write_starts--;
    int error = disk_out(info.store, later.disk, info.offset, info.buffer,
                         info.length, &done);
    hurdmm_writeback_complete(later.write, done, error);
}

static int disk_write_start(struct hurdmm_store *store, void *hook,
                            struct hurdmm_writeback *write)
{
    struct disk *disk = hook;
    if (store != disk->store)
        complain(disk, "write_start of another store");
    if (disk->starts_max != 0 &&
        disk->in_flight + disk->write_starts >= disk->starts_max)
        return EBUSY;
    disk->starts++;
    disk->write_starts++;
    struct later *later = malloc(sizeof *later);
    if (later == NULL)
        abort();
    *later = (struct later){.disk = disk, .write = write};
    if (hurdmm_sim_spawn(disk->port, write_later, later, NULL) != 0)
        abort();
    return 0;
}

static void disk_submit(struct hurdmm_store *store, void *hook)
{
    struct disk *disk = hook;
    if (store != disk->store)
        complain(disk, "submit of another store");
    disk->submits++;
}

static int disk_sync(struct hurdmm_store *store, void *hook, uint64_t offset,
                     uint64_t length)
{
    struct disk *disk = hook;
    (void)store;
    disk->syncs++;
    announce(disk, DISK_SYNC, offset, (size_t)length);
    dawdle(disk, NULL);
    if (!fails(disk, DISK_SYNC))
        return 0;
    return disk->script.error != 0 ? disk->script.error : EIO;
}

static int disk_unlock(struct hurdmm_store *store, void *hook, uint64_t offset,
                       size_t length)
{
    struct disk *disk = hook;
    (void)store;
    if (offset % disk->block != 0 || length == 0)
        complain(disk, "unlock of what is no block");
    disk->unlocks++;
    announce(disk, DISK_UNLOCK, offset, length);
    if (!fails(disk, DISK_UNLOCK))
        return 0;
    return disk->script.error != 0 ? disk->script.error : ENOSPC;
}

static void disk_evicted(struct hurdmm_store *store, void *hook,
                         uint64_t offset, size_t length)
{
    struct disk *disk = hook;
    (void)store;
    (void)offset;
    (void)length;
    disk->evicted++;
}

static void disk_discarded(struct hurdmm_store *store, void *hook,
                           uint64_t offset, uint64_t length)
{
    struct disk *disk = hook;
    (void)store;
    (void)offset;
    (void)length;
    disk->discarded++;
}

static void disk_advise(struct hurdmm_store *store, void *hook, uint64_t offset,
                        uint64_t length, enum hurdmm_advice advice)
{
    struct disk *disk = hook;
    (void)store;
    (void)offset;
    (void)length;
    (void)advice;
    disk->advised++;
}

static void disk_destroy(void *hook)
{
    struct disk *disk = hook;
    disk->destroys++;
    disk->store = NULL;
    if (disk->shadow != NULL)
        disk_shadow->end(disk);
    disk->shadow = NULL;
}

static const struct hurdmm_store_ops simple_ops = {
    .struct_size = sizeof simple_ops,
    .page_in = disk_in,
    .page_out = disk_out,
    .sync = disk_sync,
    .unlock = disk_unlock,
    .evicted = disk_evicted,
    .discarded = disk_discarded,
    .advise = disk_advise,
    .destroy = disk_destroy,
};

/* Without unlock, whole pages can be written without being read before. */
static const struct hurdmm_store_ops plain_ops = {
    .struct_size = sizeof plain_ops,
    .page_in = disk_in,
    .page_out = disk_out,
    .sync = disk_sync,
    .destroy = disk_destroy,
};

static const struct hurdmm_store_ops full_ops = {
    .struct_size = sizeof full_ops,
    .page_out = disk_out,
    .fault = disk_fault,
    .sync = disk_sync,
    .unlock = disk_unlock,
    .evicted = disk_evicted,
    .discarded = disk_discarded,
    .advise = disk_advise,
    .destroy = disk_destroy,
};

static const struct hurdmm_store_ops asked_ops = {
    .struct_size = sizeof asked_ops,
    .page_in = disk_in,
    .page_out = disk_out,
    .sync = disk_sync,
    .evicted = disk_evicted,
    .discarded = disk_discarded,
    .destroy = disk_destroy,
    .victim = disk_victim,
    .refill = disk_refill,
};

static const struct hurdmm_store_ops ahead_ops = {
    .struct_size = sizeof ahead_ops,
    .page_in = disk_in,
    .page_out = disk_out,
    .sync = disk_sync,
    .unlock = disk_unlock,
    .evicted = disk_evicted,
    .discarded = disk_discarded,
    .advise = disk_advise,
    .destroy = disk_destroy,
    .fill_start = disk_fill_start,
    .write_start = disk_write_start,
    .submit = disk_submit,
};

static const struct hurdmm_store_ops *ops_for(enum disk_mode mode)
{
    if (mode == DISK_ASKED)
        return &asked_ops;
    if (mode == DISK_AHEAD)
        return &ahead_ops;
    if (mode == DISK_PLAIN)
        return &plain_ops;
    return mode == DISK_SIMPLE ? &simple_ops : &full_ops;
}

void disk_init(struct disk *disk, struct hurdmm_port *port, size_t page,
               uint8_t *bytes, uint64_t capacity)
{
    memset(disk, 0, sizeof *disk);
    disk->port = port;
    disk->page = page;
    disk->block = page;
    disk->bytes = bytes;
    disk->capacity = capacity;
}

int disk_open(struct disk *disk, struct hurdmm *manager, uint64_t size,
              size_t block, unsigned flags)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "disk",
        .hook = disk,
        .size = size,
        .block_size = block,
        .flags = flags,
    };
    disk->block = block != 0 ? block : disk->page;
    int error = hurdmm_store_create(manager, ops_for(disk->mode), &options,
                                    &disk->store);
    /* After the disk's: a manager that ends all stores in turn ends it first. */
    if (error == 0)
        shadow_open(disk, manager);
    return error;
}

void disk_fail(struct disk *disk, unsigned kinds, uint64_t nth, int error,
               bool for_ever)
{
    disk->script = (struct disk_script){
        .kinds = kinds, .nth = nth, .for_ever = for_ever, .error = error};
}
