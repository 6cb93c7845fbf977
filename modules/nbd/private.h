/* SPDX-License-Identifier: MIT */
/*
 * What the files of this module share: a device, its jobs, and the connection.
 *
 * A job is one call's or request's work.  It is done in parts, each of which is
 * one command on the wire and lies in a slot from when it is cut off the job
 * until it is answered; a connection that is lost takes nothing with it: what
 * was sent and not answered is sent again on the next.
 *
 *                cut             send             answered
 *     job ───► slot READY ───► slot SENT ───────────────► slot FREE
 *                  ▲               │
 *                  └── lost ───────┘
 *
 * `mutex' protects all of it but what is constant after creation; the handle of
 * the connection is the service thread's alone.
 */
#ifndef HMM_NBD_PRIVATE_H
#define HMM_NBD_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h>

#include <hurdmm/nbd.h>

#define NBD_SLOTS_MAX 64u
#define NBD_NEVER UINT64_MAX

enum nbd_kind { NBD_READ, NBD_WRITE, NBD_FLUSH, NBD_TRIM, NBD_NOTHING };

struct nbd_job {
    struct nbd_job *next;
    enum nbd_kind kind;
    bool ordered;     /* a request: flushes and barriers keep its place */
    bool barrier;     /* a flush or barrier among requests */
    uint64_t offset;  /* on the device */
    uint64_t length;  /* bytes; a flush has 0 and is one part all the same */
    uint64_t cut;     /* bytes that are in slots or done */
    unsigned pending; /* slots that have a part of it */
    bool all_cut;     /* nothing more is to be cut */
    const struct hurdmm_block_piece *pieces;
    unsigned piece;      /* where the next part begins */
    size_t within_piece; /* and in it */
    int error;           /* the first part's that failed */
    uint64_t deadline_ns;
    bool finished;
    pthread_cond_t *wake;                 /* of who waits; NULL: a request */
    struct hurdmm_block_request *request; /* NULL: a call */
    struct hurdmm_block_piece whole;      /* the memory of a call, or ours */
    void *bounce; /* memory for pieces that are no whole blocks */
};

enum nbd_slot_state { SLOT_FREE, SLOT_READY, SLOT_SENT };

struct nbd_slot {
    enum nbd_slot_state state;
    struct nbd_job *job;
    uint64_t offset;
    void *memory;
    size_t length;
    bool answered; /* set by the callback, with `result' */
    int result;
    uint64_t writes; /* a flush's: writes that were answered when it was sent */
};

enum nbd_line { LINE_DOWN, LINE_CONNECTING, LINE_UP };

struct nbd_device {
    struct hurdmm_block block;
    char *uri, *socket_path, *export_name;
    uint64_t timeout_ns, retry_delay_ns;
    unsigned retries, slot_count, flags;
    pid_t pid;   /* who made it: a child has no service thread */
    bool probed; /* the rest of this block is known */
    bool can_flush, can_trim, can_fua, read_only;
    size_t part_max;
    uint64_t size; /* as the server says: block.size is whole blocks */

    pthread_mutex_t mutex;
    pthread_t thread;
    int wake[2];
    bool stop;
    struct nbd_job *jobs, **jobs_end;
    struct nbd_job *done; /* requests that are to be told */
    struct nbd_slot slots[NBD_SLOTS_MAX];

    enum nbd_line line;
    struct nbd_handle *handle;
    bool dying;        /* the line is of no more use */
    unsigned attempts; /* since a part was answered last */
    uint64_t next_try_ns, connect_deadline_ns;
    uint64_t writes, flushed; /* answered; of these covered by a flush */
    bool lost; /* answered writes may be gone with their server: the next flush
                * must say so */
    struct hurdmm_nbd_stats stats;
};

uint64_t hmm_nbd_now(void);

/* jobs.c; under the mutex. */

/* Appends a job. */
void hmm_nbd_job_add(struct nbd_device *device, struct nbd_job *job);
/* Cuts the next part into a slot; false: no job has one that may go now. */
bool hmm_nbd_job_cut(struct nbd_device *device, struct nbd_slot *slot);
/* A slot's part is done. */
void hmm_nbd_slot_end(struct nbd_device *device, struct nbd_slot *slot,
                      int error);
/* Fails all jobs whose parts are not in the server's hands; the slots are
 * freed. */
void hmm_nbd_jobs_fail(struct nbd_device *device, int error);
/* The job whose deadline has passed, or NULL. */
struct nbd_job *hmm_nbd_job_late(const struct nbd_device *device, uint64_t now);
/* Fails one job; none of its parts may be sent. */
void hmm_nbd_job_fail(struct nbd_device *device, struct nbd_job *job,
                      int error);
/* The first deadline of all jobs, or NBD_NEVER. */
uint64_t hmm_nbd_jobs_deadline(const struct nbd_device *device);
/* Tells requests that are done; leaves the mutex meanwhile. */
void hmm_nbd_jobs_tell(struct nbd_device *device);

/* line.c; under the mutex, by the service thread. */

/* Begins, goes on with or ends a connection as the jobs need. */
void hmm_nbd_line_step(struct nbd_device *device, uint64_t now);
/* Sends what can be sent. */
void hmm_nbd_line_send(struct nbd_device *device);
/* Does what the handle's descriptor is ready for, and ends what was answered. */
void hmm_nbd_line_receive(struct nbd_device *device, short events);
/* Ends the connection; nothing touches anybody's memory afterwards. */
void hmm_nbd_line_drop(struct nbd_device *device);
/* What to poll for; -1: no descriptor. */
int hmm_nbd_line_poll(const struct nbd_device *device, short *events);
/* When the next step is due though nothing is ready, or NBD_NEVER; a line that
 * was lost since the last step is looked after at once. */
uint64_t hmm_nbd_line_deadline(const struct nbd_device *device);

/* service.c: the thread. */
void *hmm_nbd_serve(void *device);
void hmm_nbd_wake(struct nbd_device *device);

#endif /* HMM_NBD_PRIVATE_H */
