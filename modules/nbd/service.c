/* SPDX-License-Identifier: MIT */
/*
 * The service thread: it owns the connection and sees to deadlines.
 *
 * It holds the mutex but while it waits and while it tells requests.  Whoever
 * adds a job wakes it through a pipe, a byte of which is enough for any number.
 */
#define _POSIX_C_SOURCE 200809L

#include "modules/nbd/private.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

uint64_t hmm_nbd_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void hmm_nbd_wake(struct nbd_device *device)
{
    int saved = errno;

    /* A full pipe wakes as well. */
    while (write(device->wake[1], "", 1) < 0 && errno == EINTR)
        ;
    errno = saved;
}

static void drain(const struct nbd_device *device)
{
    char bytes[64];
    ssize_t got;

    do
        got = read(device->wake[0], bytes, sizeof bytes);
    while (got == (ssize_t)sizeof bytes || (got < 0 && errno == EINTR));
}

/* Jobs that took too long.  What the server has of one is taken from it by
 * ending the connection: nothing else makes sure that no byte comes late. */
static void expire(struct nbd_device *device, uint64_t now)
{
    struct nbd_job *job;

    while ((job = hmm_nbd_job_late(device, now)) != NULL) {
        for (unsigned i = 0; i < device->slot_count; i++)
            if (device->slots[i].state == SLOT_SENT &&
                device->slots[i].job == job)
                hmm_nbd_line_drop(device);
        device->stats.timeouts++;
        hmm_nbd_job_fail(device, job, ETIMEDOUT);
    }
}

/* Milliseconds until then, for poll, rounded up. */
static int wait_ms(uint64_t until, uint64_t now)
{
    uint64_t ms;

    if (until == NBD_NEVER)
        return -1;
    if (until <= now)
        return 0;
    ms = (until - now + 999999) / 1000000;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

static void wait_some(struct nbd_device *device, uint64_t now)
{
    struct pollfd fds[2] = {{.fd = device->wake[0], .events = POLLIN}};
    uint64_t until = hmm_nbd_jobs_deadline(device);
    uint64_t line = hmm_nbd_line_deadline(device);
    int ready;

    fds[1].fd = hmm_nbd_line_poll(device, &fds[1].events);
    pthread_mutex_unlock(&device->mutex);
    ready = poll(fds, 2, wait_ms(line < until ? line : until, now));
    if (ready > 0 && fds[0].revents != 0)
        drain(device);
    pthread_mutex_lock(&device->mutex);
    if (ready > 0 && fds[1].fd >= 0 && fds[1].revents != 0)
        hmm_nbd_line_receive(device, fds[1].revents);
}

void *hmm_nbd_serve(void *argument)
{
    struct nbd_device *device = argument;

    pthread_mutex_lock(&device->mutex);
    while (!device->stop) {
        uint64_t now = hmm_nbd_now();

        expire(device, now);
        hmm_nbd_line_step(device, now);
        hmm_nbd_line_send(device);
        hmm_nbd_jobs_tell(device);
        wait_some(device, now);
    }
    hmm_nbd_line_drop(device);
    hmm_nbd_jobs_fail(device, ECANCELED);
    hmm_nbd_jobs_tell(device);
    pthread_mutex_unlock(&device->mutex);
    return NULL;
}
