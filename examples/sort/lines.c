/* SPDX-License-Identifier: MIT */
/*
 * The index of a run, and how it is sorted: by quicksort on eight bytes of the
 * lines at a time.
 *
 * An entry carries eight bytes of its line, so that most comparisons touch the
 * entry alone.  Where these are equal for many lines, the lines get their next
 * eight bytes and are sorted again: text that lines have in common is looked at
 * once, not once a comparison.
 */
#define _POSIX_C_SOURCE 200809L

#include <string.h>

#include "sort.h"

#define STEP 8u     /* bytes in a key */
#define FEW 12u     /* lines that are sorted by insertion */
#define PATIENCE 16 /* bad pivots until heap sort takes over */
#define LONG_BITS 24

struct line line_make(const struct text *text, uint64_t offset, uint64_t length)
{
    struct line line;

    line.key = line_key(text->start + offset, length, 0);
    line.place =
        offset << LONG_BITS | (length < LINE_LONG ? length : LINE_LONG);
    return line;
}

const char *line_start(const struct text *text, const struct line *line)
{
    return text->start + (line->place >> LONG_BITS);
}

uint64_t line_length(const struct text *text, const struct line *line)
{
    const char *start, *end;

    if ((line->place & LINE_LONG) < LINE_LONG)
        return line->place & LINE_LONG;
    start = line_start(text, line) + LINE_LONG;
    end = memchr(start, '\n', (size_t)(text->end - start));
    return LINE_LONG + (uint64_t)((end ? end : text->end) - start);
}

/* The length if it is at most `max`, else something above `max`: for long lines
 * the end is looked for only if it matters. */
static uint64_t length_up_to(const struct text *text, const struct line *line,
                             uint64_t max)
{
    uint64_t length = line->place & LINE_LONG;

    return length < LINE_LONG || max < LINE_LONG ? length
                                                 : line_length(text, line);
}

uint64_t line_key(const char *start, uint64_t length, uint64_t depth)
{
    const unsigned char *byte = (const unsigned char *)start + depth;
    uint64_t rest = length - depth;
    uint64_t key = 0;

    if (rest >= STEP)
        return (uint64_t)byte[0] << 56 | (uint64_t)byte[1] << 48 |
               (uint64_t)byte[2] << 40 | (uint64_t)byte[3] << 32 |
               (uint64_t)byte[4] << 24 | (uint64_t)byte[5] << 16 |
               (uint64_t)byte[6] << 8 | (uint64_t)byte[7];
    for (unsigned i = 0; i < rest; i++)
        key |= (uint64_t)byte[i] << (56 - 8 * i);
    return key;
}

int line_compare(const char *a, uint64_t a_length, const char *b,
                 uint64_t b_length, uint64_t skip)
{
    uint64_t common = a_length < b_length ? a_length : b_length;
    int order = 0;

    if (skip < common)
        order = memcmp(a + skip, b + skip, (size_t)(common - skip));
    if (order != 0 || a_length == b_length)
        return order;
    return a_length < b_length ? -1 : 1;
}

/* Lines whose keys are from `depth` on, and which are the same before. */
static int compare(const struct text *text, const struct line *a,
                   const struct line *b, uint64_t depth)
{
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return line_compare(line_start(text, a), line_length(text, a),
                        line_start(text, b), line_length(text, b),
                        depth + STEP);
}

static void swap(struct line *a, struct line *b)
{
    struct line c = *a;

    *a = *b;
    *b = c;
}

static void insertion_sort(const struct text *text, struct line *lines,
                           size_t count, uint64_t depth)
{
    for (size_t i = 1; i < count; i++) {
        struct line line = lines[i];
        size_t j = i;

        for (; j > 0 && compare(text, &line, &lines[j - 1], depth) < 0; j--)
            lines[j] = lines[j - 1];
        lines[j] = line;
    }
}

static void sift_down(const struct text *text, struct line *lines, size_t root,
                      size_t count, uint64_t depth)
{
    for (;;) {
        size_t child = 2 * root + 1;

        if (child >= count)
            return;
        if (child + 1 < count &&
            compare(text, &lines[child], &lines[child + 1], depth) < 0)
            child++;
        if (compare(text, &lines[root], &lines[child], depth) >= 0)
            return;
        swap(&lines[root], &lines[child]);
        root = child;
    }
}

/* For what quicksort does badly. */
static void heap_sort(const struct text *text, struct line *lines, size_t count,
                      uint64_t depth)
{
    for (size_t i = count / 2; i > 0; i--)
        sift_down(text, lines, i - 1, count, depth);
    for (size_t i = count; i > 1; i--) {
        swap(&lines[0], &lines[i - 1]);
        sift_down(text, lines, 0, i - 1, depth);
    }
}

static uint64_t median(uint64_t a, uint64_t b, uint64_t c)
{
    if (a < b)
        return b < c ? b : a < c ? c : a;
    return a < c ? a : b < c ? c : b;
}

static uint64_t choose_pivot(const struct line *lines, size_t count)
{
    size_t step = count / 9;
    uint64_t key[3];

    if (count < 64)
        return median(lines[0].key, lines[count / 2].key, lines[count - 1].key);
    for (size_t i = 0; i < 3; i++)
        key[i] = median(lines[3 * i * step].key, lines[(3 * i + 1) * step].key,
                        lines[(3 * i + 2) * step].key);
    return median(key[0], key[1], key[2]);
}

/* Lines that are to be sorted from `depth` on. */
struct part {
    struct line *lines;
    size_t count;
    uint64_t depth;
    unsigned patience;
};

/* Lines that were equal up to the end of their keys: those that end there go to
 * the front, the shorter ones first, the others get their next keys and are
 * what is left to sort. */
static void deepen(const struct text *text, struct part *part)
{
    uint64_t next = part->depth + STEP;
    size_t done = 0;

    for (uint64_t length = part->depth; length <= next; length++)
        for (size_t i = done; i < part->count; i++)
            if (length_up_to(text, &part->lines[i], next) == length)
                swap(&part->lines[i], &part->lines[done++]);
    part->lines += done;
    part->count -= done;
    part->depth = next;
    part->patience = PATIENCE;
    for (size_t i = 0; i < part->count; i++) {
        struct line *line = &part->lines[i];

        line->key = line_key(line_start(text, line),
                             length_up_to(text, line, next + STEP), next);
    }
}

/* Splits by key: less, equal, greater. */
static void split(const struct part *part, struct part parts[3])
{
    struct line *lines = part->lines;
    uint64_t pivot = choose_pivot(lines, part->count);
    size_t less = 0, i = 0, greater = part->count;

    while (i < greater) {
        if (lines[i].key < pivot)
            swap(&lines[i++], &lines[less++]);
        else if (lines[i].key > pivot)
            swap(&lines[i], &lines[--greater]);
        else
            i++;
    }
    for (int k = 0; k < 3; k++)
        parts[k] = *part;
    parts[0].count = less;
    parts[1].lines += less;
    parts[1].count = greater - less;
    parts[2].lines += greater;
    parts[2].count -= greater;
    if (less > part->count / 8 * 7 || parts[2].count > part->count / 8 * 7) {
        parts[0].patience--;
        parts[2].patience--;
    }
}

/* Recursion is into the two smaller parts, so that it is no deeper than the
 * logarithm of the number of lines. */
static void sort_part(const struct text *text, struct part part)
{
    struct part parts[3];

    while (part.count > FEW && part.patience > 0) {
        int largest = 0;

        split(&part, parts);
        if (parts[1].count > FEW)
            deepen(text, &parts[1]);
        for (int i = 1; i < 3; i++)
            if (parts[i].count > parts[largest].count)
                largest = i;
        for (int i = 0; i < 3; i++)
            if (i != largest)
                sort_part(text, parts[i]);
        part = parts[largest];
    }
    if (part.count > FEW)
        heap_sort(text, part.lines, part.count, part.depth);
    else
        insertion_sort(text, part.lines, part.count, part.depth);
}

void lines_sort(const struct text *text, struct line *lines, size_t count)
{
    struct part all = {lines, count, 0, PATIENCE};

    sort_part(text, all);
}
