/* SPDX-License-Identifier: MIT */
/*
 * hurdmm-sort: what its files share.
 *
 *     main.c     options, the order of events, the summary
 *     memory.c   the manager, stores and regions; errors of loads
 *     files.c    the input, the temporary output, the swap file
 *     lines.c    the index of a run, and how it is sorted
 *     runs.c     cuts the input into runs and sorts each
 *     merge.c    merges sorted runs
 *     sink.c     writes lines, to a run or to the output
 *
 * Every error ends the program in fail(), which leaves no output behind.
 */
#ifndef EXAMPLES_SORT_H
#define EXAMPLES_SORT_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hurdmm/file.h>
#include <hurdmm/hurdmm.h>

/* main.c */

/* Says "hurdmm-sort: WHAT: the error", removes the output and exits with 2. */
_Noreturn void fail(const char *what, int error);
static inline void check(const char *what, int error)
{
    if (error != 0)
        fail(what, error);
}

/* Shows how far a phase is, if somebody looks. */
void progress(const char *phase, uint64_t done, uint64_t total);

/* memory.c */

/* A store that is bound as a whole, or, where address is NULL, in pieces. */
struct area {
    const char *name; /* for errors */
    struct hurdmm_store *store;
    char *address;
    uint64_t size;
};

struct memory {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    struct hurdmm_space *space;
    struct hurdmm_block *block;
    struct hurdmm_swap *swap;
    size_t page;
    size_t budget;
    struct area input;  /* the text as it came */
    struct area index;  /* of the run that is being sorted */
    struct area runs;   /* sorted text, run behind run */
    struct area output; /* the text as it goes */
};

/* Starts paging with a budget in bytes; `port` may be NULL.  `size` is that of
 * the text. */
void memory_start(struct memory *memory, const char *port, size_t budget,
                  uint64_t size);
void memory_input(struct memory *memory, const char *name, int fd,
                  uint64_t size);
/* The index and the runs, which leave memory by way of the swap file. */
void memory_work(struct memory *memory, const char *name, int swap_fd);
void memory_output(struct memory *memory, const char *name, int fd,
                   uint64_t size);
/* Makes the output durable and gives up the runs and the index. */
void memory_finish(struct memory *memory);
void memory_end(struct memory *memory);

/* Memory at [offset, offset + length) of an area that is bound in pieces. */
char *memory_bind(struct memory *memory, const struct area *area,
                  uint64_t offset, size_t length);
void memory_unbind(struct memory *memory, char *address, size_t length);

/* Where a failed load or store of memory jumps to, and what must then be called:
 * it reports the error. */
extern sigjmp_buf memory_failed;
_Noreturn void memory_report(void);

/* Explains an error of the area: a page may find no memory because others could
 * not be written.  Does not return. */
_Noreturn void memory_fail(struct memory *memory, const struct area *area,
                           int error);

static inline size_t round_up(uint64_t length, size_t page)
{
    return (size_t)((length + page - 1) & ~(uint64_t)(page - 1));
}

/* files.c */

struct files {
    const char *input_name, *output_name;
    int input, output, swap;
    uint64_t size; /* of the input */
};

void files_open(struct files *files);
/* The output takes its place. */
void files_finish(struct files *files);
/* Removes what was begun; also good for signal handlers. */
void files_abandon(void);

/* lines.c */

/* A line of a run: its first bytes, from `depth` of the sort on, as a number
 * that orders as they do, and where it is. */
struct line {
    uint64_t key;
    uint64_t place; /* offset << 24 | length, cut at LINE_LONG */
};

#define LINE_LONG UINT64_C(0xffffff) /* this long or longer */

/* The text that lines are in; each ends at a newline or at `end`. */
struct text {
    const char *start, *end;
};

struct line line_make(const struct text *text, uint64_t offset,
                      uint64_t length);
const char *line_start(const struct text *text, const struct line *line);
uint64_t line_length(const struct text *text, const struct line *line);

/* The first eight bytes from `depth` on, the first one highest, with zeros
 * after the end. */
uint64_t line_key(const char *start, uint64_t length, uint64_t depth);

/* Less than, equal to or greater than 0, as sort orders them in the C locale;
 * for lines that are the same in their first `skip` bytes, if they have them. */
int line_compare(const char *a, uint64_t a_length, const char *b,
                 uint64_t b_length, uint64_t skip);

/* Sorts lines; their keys are lost. */
void lines_sort(const struct text *text, struct line *lines, size_t count);

/* sink.c */

/* Writes lines one after the other into an area. */
struct sink {
    struct memory *memory;
    const struct area *area;
    uint64_t offset;  /* of the buffer */
    uint64_t settled; /* before this the pages are on their way out */
    char *buffer;
    size_t capacity, used;
};

void sink_open(struct sink *sink, struct memory *memory,
               const struct area *area, uint64_t offset);
void sink_line(struct sink *sink, const char *start, uint64_t length);
/* Returns the offset of the end. */
uint64_t sink_close(struct sink *sink);

/* runs.c, merge.c */

/* A sorted run: lines in [offset, offset + length) of the area of runs. */
struct run {
    uint64_t offset, length;
};

struct runs {
    struct run *run;
    size_t count, capacity;
    uint64_t end; /* of the last one, a multiple of the page */
};

void runs_add(struct runs *runs, uint64_t offset, uint64_t end, size_t page);

/* Sorts the input into runs; if it makes one run only, into the output: true. */
bool runs_make(struct memory *memory, struct runs *runs);
/* Merges the runs into the output. */
void runs_merge(struct memory *memory, struct runs *runs);

#endif /* EXAMPLES_SORT_H */
