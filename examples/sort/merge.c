/* SPDX-License-Identifier: MIT */
/*
 * Merging sorted runs, with a tree of losers.
 *
 * Each run is read from its beginning to its end by plain loads: a page that is
 * not there is brought from the swap file, with those that follow it.  What has
 * been read is discarded: its frames and its swap slots are free at once, and it
 * is never written.  Where there are more runs than the budget has room to read
 * ahead for, several are merged into longer ones first.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sort.h"

/* Where a run is being read. */
struct cursor {
    struct run run;
    char *address;        /* of its memory */
    const char *at, *end; /* the line that is next */
    uint64_t key, length; /* of this line */
    uint64_t discarded;   /* bytes from the run's beginning, whole pages */
    bool empty;
};

struct merger {
    struct memory *memory;
    struct cursor *cursors;
    size_t count;
    size_t *tree;  /* [1 .. count - 1]: losers; [0]: the winner */
    size_t window; /* bytes of a run that are discarded together */
};

/* Discards what lies before `at`, if it is worth a call. */
static void discard_read(struct merger *merger, struct cursor *cursor,
                         size_t window)
{
    struct memory *memory = merger->memory;
    uint64_t done = (uint64_t)(cursor->at - cursor->address) &
                    ~(uint64_t)(memory->page - 1);
    int error;

    if (done - cursor->discarded < window)
        return;
    error = hurdmm_store_discard(memory->runs.store,
                                 cursor->run.offset + cursor->discarded,
                                 done - cursor->discarded);
    check("discarding a run", error);
    cursor->discarded = done;
}

static void read_line(struct cursor *cursor)
{
    const char *end;

    if (cursor->at == cursor->end) {
        cursor->empty = true;
        return;
    }
    end = memchr(cursor->at, '\n', (size_t)(cursor->end - cursor->at));
    cursor->length = (uint64_t)(end - cursor->at); /* each line of a run ends */
    cursor->key = line_key(cursor->at, cursor->length, 0);
}

static void next_line(struct merger *merger, struct cursor *cursor)
{
    cursor->at += cursor->length + 1;
    if ((size_t)(cursor->at - cursor->address) - cursor->discarded >=
        merger->window + merger->memory->page)
        discard_read(merger, cursor, merger->window);
    read_line(cursor);
}

static bool before(const struct cursor *a, const struct cursor *b)
{
    if (a->empty || b->empty)
        return !a->empty;
    if (a->key != b->key)
        return a->key < b->key;
    return line_compare(a->at, a->length, b->at, b->length, 8) < 0;
}

/* Plays cursor `i`, whose line is new, up the tree. */
static void replay(struct merger *merger, size_t i)
{
    size_t winner = i;

    for (size_t node = (i + merger->count) / 2; node > 0; node /= 2) {
        size_t loser = merger->tree[node];

        if (before(&merger->cursors[loser], &merger->cursors[winner])) {
            merger->tree[node] = winner;
            winner = loser;
        }
    }
    merger->tree[0] = winner;
}

/* The winner among the leaves below a node; the losers stay in the tree. */
static size_t play(struct merger *merger, size_t node)
{
    size_t left, right;

    if (node >= merger->count)
        return node - merger->count;
    left = play(merger, 2 * node);
    right = play(merger, 2 * node + 1);
    if (before(&merger->cursors[right], &merger->cursors[left])) {
        merger->tree[node] = left;
        return right;
    }
    merger->tree[node] = right;
    return left;
}

static void open_cursor(struct merger *merger, struct cursor *cursor,
                        const struct run *run)
{
    struct memory *memory = merger->memory;

    cursor->run = *run;
    cursor->address = memory_bind(memory, &memory->runs, run->offset,
                                  round_up(run->length, memory->page));
    cursor->at = cursor->address;
    cursor->end = cursor->address + run->length;
    read_line(cursor);
}

static void close_cursor(struct merger *merger, struct cursor *cursor)
{
    struct memory *memory = merger->memory;
    size_t bound = round_up(cursor->run.length, memory->page);

    memory_unbind(memory, cursor->address, bound);
    if (bound > cursor->discarded)
        check("discarding a run",
              hurdmm_store_discard(memory->runs.store,
                                   cursor->run.offset + cursor->discarded,
                                   bound - cursor->discarded));
}

static void merger_open(struct merger *merger, struct memory *memory,
                        const struct run *run, size_t count)
{
    merger->memory = memory;
    merger->count = count;
    merger->cursors = calloc(count, sizeof *merger->cursors);
    merger->tree = calloc(count, sizeof *merger->tree);
    if (!merger->cursors || !merger->tree)
        fail("merging", ENOMEM);
    merger->window = memory->budget / 8 / count;
    if (merger->window > 128 * 1024)
        merger->window = 128 * 1024;
    if (merger->window < memory->page)
        merger->window = memory->page;
    for (size_t i = 0; i < count; i++)
        open_cursor(merger, &merger->cursors[i], &run[i]);
    merger->tree[0] = count > 1 ? play(merger, 1) : 0;
}

static void merger_close(struct merger *merger)
{
    for (size_t i = 0; i < merger->count; i++)
        close_cursor(merger, &merger->cursors[i]);
    free(merger->cursors);
    free(merger->tree);
}

/* Merges `count` runs into the sink. */
static void merge(struct memory *memory, const struct run *run, size_t count,
                  struct sink *sink)
{
    struct merger merger;
    uint64_t shown = sink->offset;

    merger_open(&merger, memory, run, count);
    for (;;) {
        size_t winner = merger.tree[0];
        struct cursor *cursor = &merger.cursors[winner];

        if (cursor->empty)
            break;
        sink_line(sink, cursor->at, cursor->length);
        next_line(&merger, cursor);
        replay(&merger, winner);
        if (sink->offset - shown >= 4 << 20 && sink->area == &memory->output) {
            shown = sink->offset;
            progress("merging", shown, memory->output.size);
        }
    }
    merger_close(&merger);
}

/* Merges groups of `fan_in` runs into one run each. */
static void merge_level(struct memory *memory, struct runs *runs, size_t fan_in)
{
    struct runs longer = {.end = runs->end};
    struct sink sink;

    for (size_t i = 0; i < runs->count; i += fan_in) {
        size_t rest = runs->count - i;

        sink_open(&sink, memory, &memory->runs, longer.end);
        merge(memory, &runs->run[i], rest < fan_in ? rest : fan_in, &sink);
        runs_add(&longer, longer.end, sink_close(&sink), memory->page);
        progress("merging runs", i, runs->count);
    }
    free(runs->run);
    *runs = longer;
}

void runs_merge(struct memory *memory, struct runs *runs)
{
    size_t fan_in = memory->budget / (4 * memory->page);
    struct sink sink;

    while (runs->count > fan_in)
        merge_level(memory, runs, fan_in);
    sink_open(&sink, memory, &memory->output, 0);
    merge(memory, runs->run, runs->count, &sink);
    (void)sink_close(&sink);
}
