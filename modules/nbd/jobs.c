/* SPDX-License-Identifier: MIT */
/*
 * Jobs: see private.h.  All of it is under the device's mutex.
 *
 * Jobs are in one list in the order in which they came, and parts are cut off
 * them in that order.  Calls know what was before them, because they waited for
 * it; requests do not, so among them a flush or barrier is cut only when all
 * before it are done, and what comes after it waits for it.
 */
#include "modules/nbd/private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void hmm_nbd_job_add(struct nbd_device *device, struct nbd_job *job)
{
    job->next = NULL;
    *device->jobs_end = job;
    device->jobs_end = &job->next;
}

static void remove_job(struct nbd_device *device, struct nbd_job *job)
{
    struct nbd_job **at = &device->jobs;

    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    if (device->jobs_end == &job->next)
        device->jobs_end = at;
}

/* Scatters what was read into the bounce buffer. */
static void bring_home(const struct nbd_job *job)
{
    const struct hurdmm_block_request *request = job->request;
    const char *from = job->bounce;

    for (unsigned i = 0; i < request->piece_count; i++) {
        memcpy(request->pieces[i].memory, from, request->pieces[i].length);
        from += request->pieces[i].length;
    }
}

static void finish_job(struct nbd_device *device, struct nbd_job *job)
{
    assert(job->pending == 0 && !job->finished);
    remove_job(device, job);
    job->finished = true;
    if (job->error != 0)
        device->stats.failures++;
    if (job->error != 0 && job->kind == NBD_FLUSH)
        device->lost = false; /* it was said */
    if (!job->request) {
        pthread_cond_signal(job->wake);
        return;
    }
    if (job->bounce && job->kind == NBD_READ && job->error == 0)
        bring_home(job);
    job->next = device->done;
    device->done = job;
}

/* A job with nothing left to cut or to wait for. */
static void finish_if_done(struct nbd_device *device, struct nbd_job *job)
{
    if (job->pending == 0 && (job->all_cut || job->error != 0))
        finish_job(device, job);
}

/* Cuts a piece of memory that lies in one piece of the job. */
static void cut_part(struct nbd_device *device, struct nbd_job *job,
                     struct nbd_slot *slot)
{
    size_t most = job->kind == NBD_TRIM ? (size_t)1 << 30 : device->part_max;
    uint64_t rest = job->length - job->cut;

    slot->offset = job->offset + job->cut;
    slot->memory = NULL;
    slot->length = rest < most ? (size_t)rest : most;
    if (job->kind == NBD_READ || job->kind == NBD_WRITE) {
        const struct hurdmm_block_piece *piece = &job->pieces[job->piece];

        if (piece->length - job->within_piece < slot->length)
            slot->length = piece->length - job->within_piece;
        slot->memory = (char *)piece->memory + job->within_piece;
        job->within_piece += slot->length;
        if (job->within_piece == piece->length) {
            job->piece++;
            job->within_piece = 0;
        }
    }
    job->cut += slot->length;
    job->all_cut = job->cut == job->length;
    slot->state = SLOT_READY;
    slot->job = job;
    slot->answered = false;
    job->pending++;
}

bool hmm_nbd_job_cut(struct nbd_device *device, struct nbd_slot *slot)
{
    bool requests = false, barriers = false;

    assert(slot->state == SLOT_FREE);
    for (struct nbd_job *job = device->jobs; job; job = job->next) {
        bool waits = job->ordered && (barriers || (job->barrier && requests));

        if (!waits && !job->all_cut && job->error == 0) {
            cut_part(device, job, slot);
            return true;
        }
        requests = requests || job->ordered;
        barriers = barriers || job->barrier;
    }
    return false;
}

void hmm_nbd_slot_end(struct nbd_device *device, struct nbd_slot *slot,
                      int error)
{
    struct nbd_job *job = slot->job;

    assert(slot->state != SLOT_FREE && job->pending > 0);
    slot->state = SLOT_FREE;
    slot->job = NULL;
    job->pending--;
    if (error != 0 && job->error == 0)
        job->error = error;
    finish_if_done(device, job);
}

void hmm_nbd_job_fail(struct nbd_device *device, struct nbd_job *job, int error)
{
    if (job->error == 0)
        job->error = error;
    for (unsigned i = 0; i < device->slot_count && job->pending > 0; i++) {
        struct nbd_slot *slot = &device->slots[i];

        if (slot->state == SLOT_FREE || slot->job != job)
            continue;
        assert(slot->state == SLOT_READY);
        slot->state = SLOT_FREE;
        slot->job = NULL;
        job->pending--;
    }
    finish_if_done(device, job);
}

void hmm_nbd_jobs_fail(struct nbd_device *device, int error)
{
    while (device->jobs)
        hmm_nbd_job_fail(device, device->jobs, error);
}

struct nbd_job *hmm_nbd_job_late(const struct nbd_device *device, uint64_t now)
{
    for (struct nbd_job *job = device->jobs; job; job = job->next)
        if (job->deadline_ns <= now)
            return job;
    return NULL;
}

uint64_t hmm_nbd_jobs_deadline(const struct nbd_device *device)
{
    uint64_t first = NBD_NEVER;

    for (const struct nbd_job *job = device->jobs; job; job = job->next)
        if (job->deadline_ns < first)
            first = job->deadline_ns;
    return first;
}

void hmm_nbd_jobs_tell(struct nbd_device *device)
{
    struct nbd_job *job = device->done;

    if (!job)
        return;
    device->done = NULL;
    pthread_mutex_unlock(&device->mutex);
    while (job) {
        struct nbd_job *next = job->next;
        struct hurdmm_block_request *request = job->request;
        int error = job->error;

        free(job->bounce);
        free(job);
        request->done(request, error);
        job = next;
    }
    pthread_mutex_lock(&device->mutex);
}
