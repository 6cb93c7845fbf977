/* SPDX-License-Identifier: MIT */
/*
 * Writing lines one after the other.
 *
 * Lines are gathered in a small buffer and go to the store's cache in whole
 * pages: such pages need not be read before, nor taken by a fault each.  What
 * has been written is not needed soon: it is sent to its file while the next
 * part is made, and makes way for pages that are in use.  So a full disk is
 * found out early, and not by pages that cannot leave.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdlib.h>
#include <string.h>

#include <errno.h>

#include "sort.h"

#define SETTLE (UINT64_C(1) << 20) /* bytes between two hints */

void sink_open(struct sink *sink, struct memory *memory,
               const struct area *area, uint64_t offset)
{
    size_t capacity = memory->budget / 64;

    if (capacity > 256 * 1024)
        capacity = 256 * 1024;
    sink->memory = memory;
    sink->area = area;
    sink->offset = sink->settled = offset;
    sink->capacity = round_up(capacity, memory->page);
    sink->used = 0;
    sink->buffer = malloc(sink->capacity);
    if (!sink->buffer)
        fail("buffer", ENOMEM);
}

/* Lets go of the whole pages that have been written. */
static void settle(struct sink *sink)
{
    uint64_t end = sink->offset & ~(uint64_t)(sink->memory->page - 1);
    uint64_t length = end - sink->settled;
    struct hurdmm_store *store = sink->area->store;

    if (length == 0)
        return;
    (void)hurdmm_store_flush(store, sink->settled, length, 0);
    (void)hurdmm_store_advise(store, sink->settled, length,
                              HURDMM_ADVICE_DONTNEED);
    sink->settled = end;
}

static void empty(struct sink *sink)
{
    struct memory *memory = sink->memory;
    size_t done;
    int error;

    error = hurdmm_store_write(sink->area->store, sink->offset, sink->buffer,
                               sink->used, &done);
    if (error != 0)
        memory_fail(memory, sink->area, error);
    sink->offset += sink->used;
    sink->used = 0;
    if (sink->offset - sink->settled >= SETTLE)
        settle(sink);
}

static void put(struct sink *sink, const char *bytes, uint64_t length)
{
    while (length > 0) {
        size_t room = sink->capacity - sink->used;
        size_t n = length < room ? (size_t)length : room;

        memcpy(sink->buffer + sink->used, bytes, n);
        sink->used += n;
        bytes += n;
        length -= n;
        if (sink->used == sink->capacity)
            empty(sink);
    }
}

void sink_line(struct sink *sink, const char *start, uint64_t length)
{
    put(sink, start, length);
    put(sink, "\n", 1);
}

uint64_t sink_close(struct sink *sink)
{
    int error;

    if (sink->used > 0)
        empty(sink);
    settle(sink);
    free(sink->buffer);
    error = hurdmm_store_flush(sink->area->store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    if (error != 0)
        memory_fail(sink->memory, sink->area, error);
    return sink->offset;
}
