/* SPDX-License-Identifier: MIT */
/*
 * The connection, by libnbd's asynchronous calls.  Everything here is under the
 * device's mutex and on the service thread.
 *
 *              work, and time           ready
 *     DOWN ──────────────────► CONNECTING ───► UP
 *      ▲                           │            │
 *      └── failed, late, no work ──┴── dead ────┘
 *
 * A connection that fails counts as an attempt; a part that is answered makes
 * them 0 again, a mere connection does not: a server that always drops us must
 * not keep us busy.  After `retries' attempts more than the first all jobs fail,
 * and the next job begins anew.
 */
#include "modules/nbd/private.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <libnbd.h>

#define PART_MAX ((size_t)256 << 10)
#define BLOCK_MIN 512u

/* ---- Beginning and ending ------------------------------------------------- */

/* A part that was sent may have been done or not: it will be sent again. */
static void take_back(struct nbd_device *device)
{
    for (unsigned i = 0; i < device->slot_count; i++) {
        struct nbd_slot *slot = &device->slots[i];

        if (slot->state != SLOT_SENT)
            continue;
        slot->state = SLOT_READY;
        slot->answered = false;
    }
}

void hmm_nbd_line_drop(struct nbd_device *device)
{
    if (device->line == LINE_UP && device->can_flush &&
        device->writes != device->flushed)
        device->lost = true;
    nbd_close(device->handle);
    device->handle = NULL;
    device->line = LINE_DOWN;
    device->dying = false;
    device->flushed = device->writes;
    take_back(device);
}

/* The connection could not be made, or was lost. */
static void attempt_failed(struct nbd_device *device, uint64_t now, int error)
{
    hmm_nbd_line_drop(device);
    device->attempts++;
    device->next_try_ns = now + device->retry_delay_ns;
    if (device->attempts <= device->retries)
        return;
    device->attempts = 0;
    device->next_try_ns = 0;
    hmm_nbd_jobs_fail(device, device->probed ? EIO : error);
}

static int set_up(struct nbd_device *device)
{
    int result;

    device->handle = nbd_create();
    if (!device->handle)
        return -1;
    if (device->export_name &&
        nbd_set_export_name(device->handle, device->export_name) < 0)
        return -1;
    /* What was not read is never used, so it need not be zeroed first. */
    if (nbd_set_pread_initialize(device->handle, false) < 0)
        return -1;
    result = device->uri
                 ? nbd_aio_connect_uri(device->handle, device->uri)
                 : nbd_aio_connect_unix(device->handle, device->socket_path);
    return result;
}

static int last_error(void)
{
    int error = nbd_get_errno();

    return error != 0 ? error : EIO;
}

static void begin_connecting(struct nbd_device *device, uint64_t now)
{
    device->stats.connections++;
    device->connect_deadline_ns = now + device->timeout_ns;
    device->line = LINE_CONNECTING;
    if (set_up(device) < 0)
        attempt_failed(device, now, last_error());
}

/* What the server is, told once. */
static int probe(struct nbd_device *device, uint64_t size)
{
    int64_t least = nbd_get_block_size(device->handle, LIBNBD_SIZE_MINIMUM);
    int64_t most = nbd_get_block_size(device->handle, LIBNBD_SIZE_MAXIMUM);
    size_t block = BLOCK_MIN;

    if (least > BLOCK_MIN) {
        if (least > 65536 || (least & (least - 1)) != 0)
            return ENOTSUP;
        block = (size_t)least;
    }
    device->part_max = PART_MAX;
    if (most >= (int64_t)block && most < (int64_t)PART_MAX)
        device->part_max = (size_t)most - (size_t)most % block;
    device->can_flush = nbd_can_flush(device->handle) > 0;
    device->can_trim = nbd_can_trim(device->handle) > 0;
    device->can_fua = nbd_can_fua(device->handle) > 0;
    device->read_only = nbd_is_read_only(device->handle) > 0 ||
                        device->flags & HURDMM_NBD_READ_ONLY;
    device->size = size;
    device->block.block_size = block;
    device->block.size = size - size % block;
    device->probed = true;
    return 0;
}

/* A server that is another one, by its size, must not be written to. */
static int look(struct nbd_device *device)
{
    int64_t size = nbd_get_size(device->handle);

    if (size < 0)
        return last_error();
    if (!device->probed)
        return probe(device, (uint64_t)size);
    return (uint64_t)size == device->size &&
                   (device->read_only ||
                    nbd_is_read_only(device->handle) == 0) &&
                   (nbd_can_flush(device->handle) > 0) == device->can_flush
               ? 0
               : EIO;
}

static void go_on_connecting(struct nbd_device *device, uint64_t now)
{
    int error = 0;

    if (nbd_aio_is_ready(device->handle) > 0) {
        error = look(device);
        if (error == 0) {
            device->line = LINE_UP;
            return;
        }
    } else if (nbd_aio_is_dead(device->handle) > 0 ||
               nbd_aio_is_closed(device->handle) > 0) {
        error = last_error();
    } else if (now >= device->connect_deadline_ns) {
        error = ETIMEDOUT;
    }
    if (error != 0)
        attempt_failed(device, now, error);
}

/* Whether a line that was up is so no longer.  Sending, too, may find that out:
 * then nothing is left to poll for, and the next step must come by itself. */
static bool is_lost(const struct nbd_device *device)
{
    return device->dying || nbd_aio_is_dead(device->handle) > 0 ||
           nbd_aio_is_closed(device->handle) > 0;
}

void hmm_nbd_line_step(struct nbd_device *device, uint64_t now)
{
    bool work = device->jobs != NULL;

    if (device->line == LINE_DOWN && work && now >= device->next_try_ns)
        begin_connecting(device, now);
    if (device->line == LINE_CONNECTING && !work)
        hmm_nbd_line_drop(device);
    else if (device->line == LINE_CONNECTING)
        go_on_connecting(device, now);
    else if (device->line == LINE_UP && is_lost(device))
        attempt_failed(device, now, EIO);
    assert((device->line == LINE_DOWN) == (device->handle == NULL));
}

/* ---- Sending and receiving ------------------------------------------------ */

static int answered(void *hook, int *error)
{
    struct nbd_slot *slot = hook;

    slot->answered = true;
    slot->result = *error;
    return 1; /* libnbd need not keep it for us */
}

static int64_t send_part(struct nbd_device *device, struct nbd_slot *slot)
{
    nbd_completion_callback done = {.callback = answered, .user_data = slot};
    uint32_t durable = device->flags & HURDMM_NBD_DURABLE && device->can_fua
                           ? LIBNBD_CMD_FLAG_FUA
                           : 0;

    switch (slot->job->kind) {
    case NBD_READ:
        return nbd_aio_pread(device->handle, slot->memory, slot->length,
                             slot->offset, done, 0);
    case NBD_WRITE:
        return nbd_aio_pwrite(device->handle, slot->memory, slot->length,
                              slot->offset, done, durable);
    case NBD_TRIM:
        return nbd_aio_trim(device->handle, slot->length, slot->offset, done,
                            0);
    default:
        assert(slot->job->kind == NBD_FLUSH);
        slot->writes = device->writes;
        return nbd_aio_flush(device->handle, done, 0);
    }
}

/* Whether the part needs no server: it is ended here then. */
static bool needs_no_server(struct nbd_device *device, struct nbd_slot *slot)
{
    enum nbd_kind kind = slot->job->kind;

    if (kind == NBD_FLUSH && device->lost) {
        device->lost = false;
        hmm_nbd_slot_end(device, slot, EIO);
        return true;
    }
    if (kind == NBD_NOTHING || (kind == NBD_FLUSH && !device->can_flush) ||
        (kind == NBD_TRIM && !device->can_trim)) {
        hmm_nbd_slot_end(device, slot, 0);
        return true;
    }
    return false;
}

static void end_slot(struct nbd_device *device, struct nbd_slot *slot);

static void send_slot(struct nbd_device *device, struct nbd_slot *slot)
{
    if (needs_no_server(device, slot))
        return;
    /* The answer may come before the call returns. */
    slot->state = SLOT_SENT;
    slot->answered = false;
    if (send_part(device, slot) >= 0) {
        device->stats.commands++;
        return;
    }
    slot->state = SLOT_READY;
    /* A dead line is looked after by the next step. */
    if (nbd_aio_is_ready(device->handle) > 0 ||
        nbd_aio_is_processing(device->handle) > 0)
        hmm_nbd_slot_end(device, slot, EIO);
}

static void count_in_flight(struct nbd_device *device)
{
    unsigned sent = 0;

    for (unsigned i = 0; i < device->slot_count; i++)
        sent += device->slots[i].state == SLOT_SENT;
    if (sent > device->stats.in_flight_max)
        device->stats.in_flight_max = sent;
}

void hmm_nbd_line_send(struct nbd_device *device)
{
    if (device->line != LINE_UP)
        return;
    for (unsigned i = 0; i < device->slot_count; i++) {
        struct nbd_slot *slot = &device->slots[i];

        if (slot->state == SLOT_READY)
            send_slot(device, slot);
        while (slot->state == SLOT_FREE && hmm_nbd_job_cut(device, slot))
            send_slot(device, slot);
    }
    count_in_flight(device);
    for (unsigned i = 0; i < device->slot_count; i++)
        if (device->slots[i].state == SLOT_SENT && device->slots[i].answered)
            end_slot(device, &device->slots[i]);
}

/* The server's error, as the caller shall see it. */
static int error_of(const struct nbd_slot *slot)
{
    switch (slot->result) {
    case 0:
    case ENOSPC:
        return slot->result;
    case EPERM:
        return slot->job->kind == NBD_READ ? EIO : EROFS;
    case EROFS:
        return EROFS;
    default:
        return EIO;
    }
}

/* A part was answered, by the server or, with ENOTCONN, by libnbd for a line
 * that died: that, and what a server refuses because it ends, is sent again when
 * there is another line. */
static void end_slot(struct nbd_device *device, struct nbd_slot *slot)
{
    if (slot->result == ENOTCONN || slot->result == ESHUTDOWN) {
        device->dying = true;
        return;
    }
    device->attempts = 0;
    if (slot->result == 0 && slot->job->kind == NBD_WRITE &&
        !(device->flags & HURDMM_NBD_DURABLE && device->can_fua))
        device->writes++;
    if (slot->result == 0 && slot->job->kind == NBD_FLUSH &&
        slot->writes > device->flushed)
        device->flushed = slot->writes;
    hmm_nbd_slot_end(device, slot, error_of(slot));
}

void hmm_nbd_line_receive(struct nbd_device *device, short events)
{
    unsigned direction = nbd_aio_get_direction(device->handle);

    if (events & (POLLIN | POLLHUP | POLLERR) &&
        direction & LIBNBD_AIO_DIRECTION_READ)
        (void)nbd_aio_notify_read(device->handle);
    else if (events & (POLLOUT | POLLHUP | POLLERR) &&
             direction & LIBNBD_AIO_DIRECTION_WRITE)
        (void)nbd_aio_notify_write(device->handle);
    for (unsigned i = 0; i < device->slot_count; i++) {
        struct nbd_slot *slot = &device->slots[i];

        if (slot->state == SLOT_SENT && slot->answered)
            end_slot(device, slot);
    }
}

int hmm_nbd_line_poll(const struct nbd_device *device, short *events)
{
    unsigned direction;

    *events = 0;
    if (device->line == LINE_DOWN)
        return -1;
    direction = nbd_aio_get_direction(device->handle);
    if (direction & LIBNBD_AIO_DIRECTION_READ)
        *events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        *events |= POLLOUT;
    return nbd_aio_get_fd(device->handle);
}

uint64_t hmm_nbd_line_deadline(const struct nbd_device *device)
{
    if (device->line == LINE_CONNECTING)
        return device->connect_deadline_ns;
    if (device->line == LINE_UP && is_lost(device))
        return 0;
    return device->line == LINE_DOWN && device->jobs ? device->next_try_ns
                                                     : NBD_NEVER;
}
