/* SPDX-License-Identifier: MIT */
/*
 * Cutting the input into runs and sorting each.
 *
 * A run is as much of the input as fits, with its index, into a third of the
 * budget: both stay in memory while it is sorted.  Its text stays where it is,
 * in the pages of the input, until it is written in order.  A run has at least
 * one line, however long: what does not fit is paged.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sort.h"

void runs_add(struct runs *runs, uint64_t offset, uint64_t end, size_t page)
{
    if (runs->count == runs->capacity) {
        size_t capacity = runs->capacity ? 2 * runs->capacity : 64;
        struct run *run = realloc(runs->run, capacity * sizeof *run);

        if (!run)
            fail("list of runs", ENOMEM);
        runs->run = run;
        runs->capacity = capacity;
    }
    runs->run[runs->count].offset = offset;
    runs->run[runs->count].length = end - offset;
    runs->count++;
    runs->end = round_up(end, page);
}

/* Makes the index of the lines from text->start on, as many as fit; text->end
 * becomes the end of the last one's.  Returns their number. */
static size_t make_index(const struct memory *memory, struct text *text,
                         size_t limit)
{
    struct line *lines = (struct line *)(void *)memory->index.address;
    const char *at = text->start;
    size_t count = 0;

    while (at < text->end) {
        size_t bytes = (size_t)(at - text->start);
        const char *end;

        if (count > 0 && bytes + (count + 1) * sizeof *lines > limit)
            break;
        end = memchr(at, '\n', (size_t)(text->end - at));
        if (!end)
            end = text->end;
        lines[count++] = line_make(text, bytes, (uint64_t)(end - at));
        at = end < text->end ? end + 1 : end;
    }
    text->end = at;
    return count;
}

static void write_lines(struct sink *sink, const struct text *text,
                        const struct line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sink_line(sink, line_start(text, &lines[i]),
                  line_length(text, &lines[i]));
}

/* The input up to `end` is not needed any more. */
static void leave_input(struct memory *memory, const char *end)
{
    uint64_t done = (uint64_t)(end - memory->input.address);

    done &= ~(uint64_t)(memory->page - 1);
    if (done > 0)
        (void)hurdmm_store_advise(memory->input.store, 0, done,
                                  HURDMM_ADVICE_DONTNEED);
}

bool runs_make(struct memory *memory, struct runs *runs)
{
    struct line *lines = (struct line *)(void *)memory->index.address;
    const char *start = memory->input.address;
    const char *end = start + memory->input.size;
    bool single = false;
    struct sink sink;

    for (const char *at = start; at < end && !single;) {
        struct text text = {at, end};
        size_t count = make_index(memory, &text, (size_t)memory->index.size);

        single = at == start && text.end == end;
        lines_sort(&text, lines, count);
        sink_open(&sink, memory, single ? &memory->output : &memory->runs,
                  runs->end);
        write_lines(&sink, &text, lines, count);
        runs_add(runs, runs->end, sink_close(&sink), memory->page);
        at = text.end;
        leave_input(memory, at);
        progress("sorting", (uint64_t)(at - start), memory->input.size);
    }
    return single;
}
