/* SPDX-License-Identifier: MIT */
/*
 * The model checker's operations for containers and logical copies; the engine
 * that runs and shrinks sequences is tests/core/model.c.
 *
 * A place is a container, or a store as one.  Each of its pages is a hole or
 * shows a cell: the bytes that must be read there.  Places that show the same
 * cell share it: a write through one is seen through all.  A copy on write makes
 * a new cell with the bytes of that moment, and that is all there is to it.
 *
 * An operation must end as the model says.  ENOMEM is permitted where a failure
 * was scripted and happened, or where the frames that containers hold could
 * fill the budget; then it changed nothing but what it says was done.  EBUSY is
 * permitted while something is pinned.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <hurdmm/error.h>

#include "tests/core/model.h"

#define PAGE 64u
#define PAGES 10u /* of a place */
#define PLAIN 3u  /* places 0, 1, 2: containers */
#define DISK 3u   /* a store whose contents last */
#define SWAP 4u   /* a volatile one */
#define PLACES 5u
#define CELLS (PLACES * PAGES + 1)
#define WINDOWS 2u /* regions of a place */
#define PINS 4u
#define NOBODY 255u

enum kind {
    ALLOCATE,
    RELEASE,
    COPY,
    COPY_RANGES,
    READ,
    WRITE,
    LOAD,
    STORE,
    BIND,
    UNBIND,
    PROTECT,
    PIN,
    UNPIN,
    DESTROY,
    DISCARD,
    RETURN,
    SYNC,
    RESIZE,
    CACHE,
    SUPPLY,
    USE,
    FAIL,
    CALM,
    SETTLE,
    VERIFY,
    KINDS
};

static const struct {
    const char *name;
    unsigned weight;
} kinds[KINDS] = {
    [ALLOCATE] = {"allocate", 12},
    [RELEASE] = {"release", 9},
    [COPY] = {"copy", 24},
    [COPY_RANGES] = {"copy ranges", 3},
    [READ] = {"read", 8},
    [WRITE] = {"write", 12},
    [LOAD] = {"load", 12},
    [STORE] = {"store", 18},
    [BIND] = {"bind", 8},
    [UNBIND] = {"unbind", 3},
    [PROTECT] = {"protect", 3},
    [PIN] = {"pin", 3},
    [UNPIN] = {"unpin", 3},
    [DESTROY] = {"destroy", 3},
    [DISCARD] = {"discard", 4},
    [RETURN] = {"return", 4},
    [SYNC] = {"sync", 2},
    [RESIZE] = {"resize", 2},
    [CACHE] = {"cache", 3},
    [SUPPLY] = {"supply", 2},
    [USE] = {"use", 3},
    [FAIL] = {"fail", 4},
    [CALM] = {"calm", 4},
    [SETTLE] = {"settle", 2},
    [VERIFY] = {"verify", 2},
};

struct cell {
    unsigned shown; /* by so many pages */
    unsigned pins, write_pins;
    unsigned home_place, home_page; /* whose own page it is, or NOBODY */
    uint8_t bytes[PAGE];
};

struct place {
    struct hurdmm_container *container;
    struct hurdmm_store *store; /* NULL: a container of its own */
    uint64_t size;              /* of the store */
    struct disk *disk;          /* outlives the store, while others read it */
    uint8_t *bytes;             /* the disk's */
    struct cell *page[PAGES];
    uintptr_t window[WINDOWS]; /* 0: not bound */
    unsigned rights[WINDOWS];
};

/* What a store is made on. */
struct backing {
    struct backing *next;
    struct disk disk;
    uint8_t bytes[PAGES * PAGE];
};

struct pin {
    struct cell *cell[PAGES];
    unsigned place, window, first, count, access;
};

static struct state {
    struct hurdmm_port *port;
    struct hurdmm *manager;
    const struct model_config *config;
    struct place place[PLACES];
    struct cell cells[CELLS];
    struct backing *backings;
    struct pin pin[PINS];
    unsigned pins;
    bool armed, verbose, pinning;
    uint64_t failures; /* scripted ones, before this operation */
    unsigned step, kind;
    char failure[400];
} state;

/* ---- What is wrong ------------------------------------------------------- */

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void fail(const char *format, ...)
{
    char text[300];
    va_list list;
    if (state.failure[0] != '\0')
        return;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    snprintf(state.failure, sizeof state.failure, "step %u, %s: %s", state.step,
             state.kind < KINDS ? kinds[state.kind].name : "the end", text);
}

static void say(const char *format, ...)
{
    va_list list;
    if (!state.verbose)
        return;
    va_start(list, format);
    printf("  %3u ", state.step);
    vprintf(format, list);
    printf("\n");
    va_end(list);
    fflush(stdout);
}

/* Frames that eviction cannot free, at most. */
static unsigned held_frames(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < CELLS; i++) {
        const struct cell *cell = &state.cells[i];
        if (cell->shown > 0 && (cell->home_place < PLAIN || cell->pins > 0 ||
                                cell->home_place == NOBODY))
            count++;
    }
    return count;
}

static bool failed_now(void)
{
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(state.port, &stats);
    return stats.failures != state.failures;
}

static bool tight(void)
{
    return held_frames() + PAGES + 12 > state.config->frames;
}

/* Judges a result: true if it is to be as the model does it.  False: it ended
 * with an error that is excused, and must have changed nothing. */
static bool judge(int result, int expected, const char *what)
{
    if (result == expected)
        return result == 0;
    if (result == ENOMEM && (failed_now() || tight()))
        return false;
    if (result == EBUSY && state.pins > 0)
        return false;
    fail("%s ended with %d, not %d", what, result, expected);
    return false;
}

/* ---- Cells --------------------------------------------------------------- */

static struct cell *cell_make(unsigned place, unsigned page)
{
    for (unsigned i = 0; i < CELLS; i++) {
        struct cell *cell = &state.cells[i];
        if (cell->shown == 0) {
            *cell = (struct cell){.home_place = place, .home_page = page};
            return cell;
        }
    }
    abort();
}

static void show(unsigned place, unsigned page, struct cell *cell)
{
    struct cell **at = &state.place[place].page[page];
    if (cell != NULL)
        cell->shown++;
    if (*at != NULL) {
        (*at)->shown--;
        if ((*at)->home_place == place && (*at)->home_page == page &&
            *at != cell)
            (*at)->home_place = NOBODY;
    }
    *at = cell;
}

/* A page gets bytes of its own. */
static struct cell *show_new(unsigned place, unsigned page)
{
    struct cell *cell = cell_make(place, page);
    show(place, page, cell);
    return cell;
}

static void show_copy(unsigned place, unsigned page, const struct cell *from)
{
    uint8_t bytes[PAGE];
    memcpy(bytes, from->bytes, PAGE);
    memcpy(show_new(place, page)->bytes, bytes, PAGE);
}

static unsigned store_pages(const struct place *place)
{
    return (unsigned)((place->size + PAGE - 1) / PAGE);
}

/* How many bytes of the page are the store's. */
static size_t inside(const struct place *place, unsigned page)
{
    uint64_t start = (uint64_t)page * PAGE;
    if (place->store == NULL || place->size >= start + PAGE)
        return PAGE;
    return place->size > start ? (size_t)(place->size - start) : 0;
}

/* The page has the contents that its store has. */
static void show_disk(unsigned number, unsigned page)
{
    struct place *place = &state.place[number];
    struct cell *cell = place->page[page];
    if (cell == NULL || cell->home_place != number || cell->home_page != page)
        cell = show_new(number, page);
    memset(cell->bytes, 0, PAGE);
    memcpy(cell->bytes, place->bytes + page * PAGE, inside(place, page));
}

static bool pinned_here(unsigned place, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < state.pins; i++) {
        const struct pin *pin = &state.pin[i];
        if (pin->place == place && pin->first < first + count &&
            first < pin->first + pin->count)
            return true;
    }
    return false;
}

static bool write_pinned(unsigned place, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count && i < PAGES; i++) {
        const struct cell *cell = state.place[place].page[i];
        if (cell != NULL && cell->write_pins > 0)
            return true;
    }
    return false;
}

/* ---- Choices ------------------------------------------------------------- */

struct range {
    unsigned place, first, count;
};

static struct range choose(unsigned where, unsigned what, unsigned places)
{
    struct range range = {where % places, what % PAGES, 0};
    range.count = 1 + what / PAGES % (PAGES - range.first);
    return range;
}

static struct place *at(const struct range *range)
{
    return &state.place[range->place];
}

/* ---- Operations ---------------------------------------------------------- */

static void do_allocate(const struct model_op *op)
{
    struct range range = choose(op->arg[0], op->arg[1], PLAIN);
    unsigned flags = op->arg[2] % 2 ? HURDMM_ALL_OR_NONE : 0, room = 0;
    uint64_t done = 77;
    while (room < range.count && at(&range)->page[range.first + room] == NULL)
        room++;
    int expected = room < range.count ? EEXIST : 0;
    if (flags && expected)
        room = 0;
    int result =
        hurdmm_container_allocate(at(&range)->container, range.first * PAGE,
                                  range.count * PAGE, flags, &done);
    say("allocate %u [%u+%u) flags %u: %d, %u", range.place, range.first,
        range.count, flags, result, (unsigned)done);
    if (!judge(result, expected, "allocate") && result != expected)
        room = flags                            ? 0
               : (unsigned)(done / PAGE) < room ? (unsigned)(done / PAGE)
                                                : room;
    if (done != room * PAGE)
        fail("allocate did %u pages, not %u", (unsigned)(done / PAGE), room);
    for (unsigned i = 0; i < room; i++)
        memset(show_new(range.place, range.first + i)->bytes, 0, PAGE);
}

static void do_release(const struct model_op *op)
{
    struct range range = choose(op->arg[0], op->arg[1], PLAIN);
    int expected =
        pinned_here(range.place, range.first, range.count) ? EBUSY : 0;
    int result = hurdmm_container_release(
        at(&range)->container, range.first * PAGE, range.count * PAGE);
    say("release %u [%u+%u): %d", range.place, range.first, range.count,
        result);
    if (judge(result, expected, "release")) {
        for (unsigned i = 0; i < range.count; i++)
            show(range.place, range.first + i, NULL);
    }
}

static unsigned present(const struct range *range)
{
    unsigned count = 0;
    if (at(range)->store != NULL) {
        unsigned pages = store_pages(at(range));
        return range->first >= pages                 ? 0
               : pages - range->first < range->count ? pages - range->first
                                                     : range->count;
    }
    while (count < range->count && at(range)->page[range->first + count])
        count++;
    return count;
}

/* Would a store's page be read through itself, or change what is copied? */
static bool circular(const struct range *from, const struct range *to,
                     unsigned count)
{
    for (unsigned i = 0; at(to)->store && i < count; i++) {
        const struct cell *cell = at(from)->page[from->first + i];
        if (cell && cell->home_place == to->place &&
            cell->home_page >= to->first && cell->home_page < to->first + count)
            return true;
    }
    return false;
}

/* What a copy must end with, and how much it does. */
static int copy_result(const struct range *from, const struct range *to,
                       unsigned flags, unsigned *count)
{
    const struct place *target = at(to);
    unsigned room = 0;
    int error = 0;
    *count = 0;
    if (flags & HURDMM_COPY_SHARED && flags & HURDMM_COPY_MOVE)
        return EINVAL;
    if (from->place == to->place && from->first < to->first + from->count &&
        to->first < from->first + from->count)
        return EINVAL;
    if (to->place == DISK ||
        (target->store && (flags & HURDMM_COPY_MOVE ||
                           to->first + from->count > store_pages(target))) ||
        (flags & HURDMM_COPY_MOVE && from->place >= PLAIN))
        return ENOTSUP;
    *count = present(from);
    if (*count < from->count)
        error = at(from)->store ? ENXIO : ENOENT;
    if (!(flags & HURDMM_COPY_SQUASH) && target->store == NULL) {
        while (room < *count && target->page[to->first + room] == NULL)
            room++;
        if (room < *count) {
            *count = room;
            error = EEXIST;
        }
    }
    if (error && flags & HURDMM_ALL_OR_NONE)
        *count = 0;
    if (*count > 0 && circular(from, to, *count)) {
        *count = 0;
        return EINVAL;
    }
    if (*count > 0 && ((flags & HURDMM_COPY_MOVE &&
                        pinned_here(from->place, from->first, *count)) ||
                       (flags & HURDMM_COPY_SQUASH &&
                        pinned_here(to->place, to->first, *count)))) {
        *count = 0;
        return EBUSY;
    }
    return error;
}

/* A page that is handed over is the new one's own, if it was the old one's. */
static void hand_over(const struct range *from, const struct range *to,
                      unsigned i)
{
    struct cell *cell = at(from)->page[from->first + i];
    bool own =
        cell->home_place == from->place && cell->home_page == from->first + i;
    show(to->place, to->first + i, cell);
    show(from->place, from->first + i, NULL);
    if (own) {
        cell->home_place = to->place;
        cell->home_page = to->first + i;
    }
}

/* Whoever shares a store's page shares what it becomes. */
static void copy_into_store(const struct range *from, const struct range *to,
                            unsigned i, unsigned flags)
{
    const struct cell *cell = at(from)->page[from->first + i];
    struct cell *old = at(to)->page[to->first + i];
    if (flags & HURDMM_COPY_SHARED)
        show(to->place, to->first + i, at(from)->page[from->first + i]);
    else if (old->home_place == to->place && old->home_page == to->first + i)
        memmove(old->bytes, cell->bytes, PAGE);
    else
        show_copy(to->place, to->first + i, cell);
}

static void copy_cells(const struct range *from, const struct range *to,
                       unsigned count, unsigned flags)
{
    for (unsigned i = 0; i < count; i++) {
        struct cell *cell = at(from)->page[from->first + i];
        if (at(to)->store)
            copy_into_store(from, to, i, flags);
        else if (flags & HURDMM_COPY_MOVE)
            hand_over(from, to, i);
        else if (flags & HURDMM_COPY_SHARED)
            show(to->place, to->first + i, cell);
        else
            show_copy(to->place, to->first + i, cell);
    }
}

/* Sharing through a store's page that is itself another's, and a store's page
 * that others share becoming another's, is left out: who sees what after a
 * discard in the middle of such a chain would have to be modelled too. */
static bool knotted(const struct range *from, const struct range *to,
                    unsigned flags)
{
    for (unsigned i = 0; i < from->count; i++) {
        unsigned page = from->first + i;
        const struct cell *cell = at(from)->page[page];
        const struct cell *old = at(to)->page[to->first + i];
        if (!(flags & HURDMM_COPY_SHARED))
            continue;
        if (at(from)->store && inside(at(from), page) < PAGE)
            return true;
        if (cell && at(from)->store &&
            (cell->home_place != from->place || cell->home_page != page))
            return true;
        if (old && at(to)->store && old->shown > 1)
            return true;
        for (unsigned j = 0; cell && at(to)->store && j < PAGES; j++) {
            if (at(to)->page[j] == cell)
                return true;
        }
    }
    return false;
}

static unsigned copy_flags(unsigned lot)
{
    unsigned flags = lot % 2 ? HURDMM_COPY_SQUASH : 0;
    if (lot / 2 % 4 == 0)
        flags |= HURDMM_ALL_OR_NONE;
    if (lot / 8 % 8 < 3)
        flags |= HURDMM_COPY_SHARED;
    else if (lot / 8 % 8 == 3)
        flags |= HURDMM_COPY_MOVE;
    if (lot / 64 % 64 == 0)
        flags |= HURDMM_COPY_SHARED | HURDMM_COPY_MOVE;
    return flags;
}

static void do_copy(const struct model_op *op)
{
    struct range from = choose(op->arg[0], op->arg[1], PLACES);
    struct range to = choose(op->arg[2], op->arg[3], PLACES);
    unsigned flags = copy_flags(op->arg[4]), count;
    uint64_t done = 77;
    if (to.first + from.count > PAGES)
        from.count = PAGES - to.first;
    if (knotted(&from, &to, flags))
        return;
    int expected = copy_result(&from, &to, flags, &count);
    int result = hurdmm_container_copy(at(&to)->container, to.first * PAGE,
                                       at(&from)->container, from.first * PAGE,
                                       from.count * PAGE, flags, &done);
    say("copy %u [%u+%u) to %u [%u) flags %u: %d, %u of %u", from.place,
        from.first, from.count, to.place, to.first, flags, result,
        (unsigned)done / PAGE, count);
    /* Which pages of a store are in memory is its own affair. */
    if (result == EEXIST && at(&to)->store && !(flags & HURDMM_COPY_SQUASH) &&
        done <= from.count * PAGE && expected != ENOTSUP) {
        from.count = (unsigned)(done / PAGE);
        if (from.count > 0)
            expected = copy_result(&from, &to, flags, &count);
        else
            count = 0;
        if (count != from.count)
            fail("copied %u pages though %d", from.count, expected);
    } else if (!judge(result, expected, "copy") && result != expected)
        count = 0;
    if (done != count * PAGE)
        fail("copy did %u pages, not %u", (unsigned)(done / PAGE), count);
    else
        copy_cells(&from, &to, count, flags);
}

/* Do the ranges of several copies disturb each other? */
static bool crossing(const struct range *from, const struct range *to)
{
    return from[0].place == to[1].place || from[1].place == to[0].place ||
           to[0].place == to[1].place || from[0].place == to[0].place ||
           from[1].place == to[1].place;
}

/* Does one range's source show pages of the place that another changes? */
static bool indirect(const struct range *from, const struct range *to)
{
    for (unsigned i = 0; i < from->count; i++) {
        const struct cell *cell = at(from)->page[from->first + i];
        if (cell && at(to)->store && cell->home_place == to->place)
            return true;
    }
    return false;
}

static void do_copy_ranges(const struct model_op *op)
{
    struct hurdmm_copy_range ranges[2];
    struct range from[2], to[2];
    unsigned flags = HURDMM_COPY_SQUASH | HURDMM_ALL_OR_NONE, count[2];
    int errors[2];
    for (unsigned i = 0; i < 2; i++) {
        from[i] = choose(op->arg[0] + i, op->arg[1 + i], PLACES);
        to[i] = choose(op->arg[0] / PLACES + 2 * i, op->arg[3 + i], PLACES);
        if (to[i].first + from[i].count > PAGES)
            from[i].count = PAGES - to[i].first;
    }
    if (indirect(&from[0], &to[1]) || indirect(&from[1], &to[0]))
        return;
    if (crossing(from, to))
        return;
    for (unsigned i = 0; i < 2; i++) {
        errors[i] = copy_result(&from[i], &to[i], flags, &count[i]);
        ranges[i] = (struct hurdmm_copy_range){
            at(&to[i])->container, to[i].first * PAGE, at(&from[i])->container,
            from[i].first * PAGE, from[i].count * PAGE};
    }
    int result = hurdmm_container_copy_ranges(ranges, 2, HURDMM_COPY_SQUASH);
    say("copy %u [%u+%u) to %u [%u), %u [%u+%u) to %u [%u): %d", from[0].place,
        from[0].first, from[0].count, to[0].place, to[0].first, from[1].place,
        from[1].first, from[1].count, to[1].place, to[1].first, result);
    int expected = errors[0] && result != errors[1] ? errors[0] : errors[1];
    if (judge(result, expected, "copy_ranges")) {
        copy_cells(&from[0], &to[0], count[0], flags);
        copy_cells(&from[1], &to[1], count[1], flags);
    }
}

/* Bytes through the library. */

static void compare(unsigned place, uint64_t offset, const uint8_t *bytes,
                    size_t length, const char *what)
{
    for (size_t i = 0; i < length; i++) {
        uint64_t byte = offset + i;
        const struct cell *cell = state.place[place].page[byte / PAGE];
        if (cell == NULL) {
            fail("%s found something in a hole", what);
            return;
        }
        if (cell->bytes[byte % PAGE] != bytes[i]) {
            fail("%s: place %u page %u byte %u is %02x, not %02x", what, place,
                 (unsigned)(byte / PAGE), (unsigned)(byte % PAGE), bytes[i],
                 cell->bytes[byte % PAGE]);
            return;
        }
    }
}

/* How many bytes from `offset' can be reached, and the error after them. */
static size_t reachable(unsigned number, uint64_t offset, size_t length,
                        int *error)
{
    const struct place *place = &state.place[number];
    size_t count = 0;
    *error = 0;
    if (place->store != NULL) {
        size_t room = offset < place->size ? (size_t)(place->size - offset) : 0;
        if (room < length)
            *error = ENXIO;
        return room < length ? room : length;
    }
    while (count < length && place->page[(offset + count) / PAGE] != NULL)
        count++;
    if (count < length)
        *error = ENOENT;
    return count;
}

static void do_transfer(const struct model_op *op)
{
    bool write = op->kind == WRITE;
    static uint8_t bytes[PAGES * PAGE];
    unsigned number = op->arg[0] % PLACES;
    struct place *place = &state.place[number];
    uint64_t offset = op->arg[1] % (PAGES * PAGE);
    size_t length = 1 + op->arg[2] % (PAGES * PAGE - offset), done = 77;
    int error, result;
    if (op->arg[4] % 2 && length > PAGE)
        length = 1 + length % PAGE;
    size_t count = reachable(number, offset, length, &error);
    if (write && write_pinned(number, (unsigned)(offset / PAGE),
                              (unsigned)((length + 2 * PAGE) / PAGE)))
        return;
    memset(bytes, op->arg[3] % 256, length);
    if (place->store != NULL)
        result =
            write
                ? hurdmm_store_write(place->store, offset, bytes, length, &done)
                : hurdmm_store_read(place->store, offset, bytes, length, &done);
    else
        result = write ? hurdmm_container_write(place->container, offset, bytes,
                                                length, &done)
                       : hurdmm_container_read(place->container, offset, bytes,
                                               length, &done);
    say("%s %u [%u+%u) %02x: %d, %u", write ? "write" : "read", number,
        (unsigned)offset, (unsigned)length, op->arg[3] % 256, result,
        (unsigned)done);
    if (!judge(result, error, write ? "write" : "read") && result != error)
        count = done < count ? done : count;
    if (done != count)
        fail("%u bytes done, not %u", (unsigned)done, (unsigned)count);
    else if (!write)
        compare(number, offset, bytes, count, "read");
    for (size_t i = 0; write && i < count; i++) {
        uint64_t byte = offset + i;
        place->page[byte / PAGE]->bytes[byte % PAGE] = bytes[i];
    }
}

/* Bytes through a region. */

static int access_error(const struct place *place, unsigned window,
                        unsigned page, bool write)
{
    if (write && !(place->rights[window] & HURDMM_WRITE))
        return EACCES;
    if (place->store != NULL)
        return page >= store_pages(place) ? ENXIO : 0;
    return place->page[page] == NULL ? EFAULT : 0;
}

static void do_access(const struct model_op *op)
{
    bool write = op->kind == STORE;
    uint8_t bytes[PAGE];
    unsigned number = op->arg[0] % PLACES, window = op->arg[4] % WINDOWS;
    struct place *place = &state.place[number];
    unsigned page = op->arg[1] % PAGES, offset = op->arg[2] % PAGE;
    unsigned length = 1 + op->arg[3] % (PAGE - offset);
    if (place->window[window] == 0)
        window = !window;
    if (place->window[window] == 0)
        return;
    /* What is written past a store's end is not kept. */
    if (write && page < store_pages(place) && place->store != NULL &&
        offset + length > inside(place, page))
        return;
    uintptr_t address = place->window[window] + page * PAGE + offset;
    int expected = access_error(place, window, page, write), result;
    memset(bytes, op->arg[5] % 256, length);
    if (write)
        result = hurdmm_sim_write(state.port, NULL, address, bytes, length);
    else
        result = hurdmm_sim_read(state.port, NULL, address, bytes, length);
    say("%s %u.%u page %u [%u+%u) %02x: %d", write ? "store" : "load", number,
        window, page, offset, length, op->arg[5] % 256, result);
    if (!judge(result, expected, write ? "store" : "load"))
        return;
    if (write)
        memcpy(place->page[page]->bytes + offset, bytes, length);
    else
        compare(number, page * PAGE + offset, bytes, length, "load");
}

/* Regions. */

static void do_bind(const struct model_op *op)
{
    unsigned number = op->arg[0] % PLACES, window = op->arg[1] % WINDOWS;
    struct place *place = &state.place[number];
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = hurdmm_space_own(state.manager),
        .store = place->store,
        .container = place->store ? NULL : place->container,
        .length = PAGES * PAGE,
        .rights = op->arg[2] % 4 ? HURDMM_READ | HURDMM_WRITE : HURDMM_READ,
        .max_rights = HURDMM_READ | HURDMM_WRITE,
    };
    uintptr_t address = 0;
    if (place->window[window] != 0)
        return;
    int result = hurdmm_bind(&bind, &address);
    say("bind %u.%u rights %u: %d", number, window, bind.rights, result);
    if (judge(result, 0, "bind")) {
        place->window[window] = address;
        place->rights[window] = bind.rights;
    }
}

static bool pinned_window(unsigned place, unsigned window)
{
    for (unsigned i = 0; i < state.pins; i++) {
        if (state.pin[i].place == place && state.pin[i].window == window)
            return true;
    }
    return false;
}

static void do_unbind(const struct model_op *op)
{
    unsigned number = op->arg[0] % PLACES, window = op->arg[1] % WINDOWS;
    struct place *place = &state.place[number];
    if (place->window[window] == 0)
        return;
    int result = hurdmm_unbind(hurdmm_space_own(state.manager),
                               place->window[window], PAGES * PAGE);
    say("unbind %u.%u: %d", number, window, result);
    if (judge(result, pinned_window(number, window) ? EBUSY : 0, "unbind"))
        place->window[window] = 0;
}

static void do_protect(const struct model_op *op)
{
    unsigned number = op->arg[0] % PLACES, window = op->arg[1] % WINDOWS;
    struct place *place = &state.place[number];
    unsigned rights = op->arg[2] % 2 ? HURDMM_READ | HURDMM_WRITE : HURDMM_READ;
    if (place->window[window] == 0)
        return;
    int result = hurdmm_protect(hurdmm_space_own(state.manager),
                                place->window[window], PAGES * PAGE, rights);
    say("protect %u.%u rights %u: %d", number, window, rights, result);
    if (result == EBUSY && state.pins > 0)
        return;
    if (judge(result, 0, "protect"))
        place->rights[window] = rights;
}

static void do_pin(const struct model_op *op)
{
    struct range range = choose(op->arg[0], op->arg[1], PLACES);
    unsigned window = op->arg[2] % WINDOWS;
    struct place *place = at(&range);
    struct pin *pin = &state.pin[state.pins];
    if (!state.pinning || state.pins == PINS || place->window[window] == 0)
        return;
    range.count = range.count > 3 ? 3 : range.count;
    bool write = op->arg[3] % 2;
    int expected = 0;
    *pin = (struct pin){.place = range.place,
                        .window = window,
                        .first = range.first,
                        .count = range.count,
                        .access =
                            write ? HURDMM_READ | HURDMM_WRITE : HURDMM_READ};
    for (unsigned i = 0; i < range.count && expected == 0; i++)
        expected = access_error(place, window, range.first + i, write);
    int result = hurdmm_pin(hurdmm_space_own(state.manager),
                            place->window[window] + range.first * PAGE,
                            range.count * PAGE, pin->access);
    say("pin %u.%u [%u+%u) access %u: %d", range.place, window, range.first,
        range.count, pin->access, result);
    if (result == EDQUOT || (result == ENOENT && expected == EFAULT) ||
        !judge(result, expected, "pin"))
        return;
    for (unsigned i = 0; i < range.count; i++) {
        pin->cell[i] = place->page[range.first + i];
        pin->cell[i]->pins++;
        pin->cell[i]->write_pins += write;
    }
    state.pins++;
}

static void unpin(unsigned number)
{
    struct pin *pin = &state.pin[number];
    int result = hurdmm_unpin(hurdmm_space_own(state.manager),
                              state.place[pin->place].window[pin->window] +
                                  pin->first * PAGE,
                              pin->count * PAGE, pin->access);
    say("unpin %u.%u [%u+%u): %d", pin->place, pin->window, pin->first,
        pin->count, result);
    if (!judge(result, 0, "unpin"))
        return;
    for (unsigned i = 0; i < pin->count; i++) {
        pin->cell[i]->pins--;
        pin->cell[i]->write_pins -= pin->access & HURDMM_WRITE ? 1 : 0;
    }
    *pin = state.pin[--state.pins];
}

/* Places come and go. */

static void calm(void)
{
    hurdmm_sim_fail(state.port, 0, 0, 0, 0);
    state.armed = false;
}

static int make_place(unsigned number)
{
    struct place *place = &state.place[number];
    if (number < PLAIN)
        return hurdmm_container_create(state.manager, &place->container);
    struct backing *backing = calloc(1, sizeof *backing);
    if (backing == NULL)
        return ENOMEM;
    backing->next = state.backings;
    state.backings = backing;
    for (unsigned i = 0; i < PAGES * PAGE; i++)
        backing->bytes[i] = (uint8_t)(i * 7 + i / PAGE + number * 50);
    place->disk = &backing->disk;
    place->bytes = backing->bytes;
    disk_init(place->disk, state.port, PAGE, place->bytes, PAGES * PAGE);
    int error = disk_open(place->disk, state.manager, PAGES * PAGE, 0,
                          HURDMM_STORE_SHARED |
                              (number == SWAP ? HURDMM_STORE_VOLATILE : 0));
    if (error != 0)
        return error;
    place->store = place->disk->store;
    place->size = PAGES * PAGE;
    place->container = hurdmm_store_container(place->store);
    for (unsigned i = 0; i < PAGES; i++)
        show_disk(number, i);
    return 0;
}

static void do_destroy(const struct model_op *op)
{
    unsigned number = op->arg[0] % PLACES;
    struct place *place = &state.place[number];
    bool bound = place->window[0] || place->window[1];
    int expected = bound ? EBUSY : 0, result;
    if (place->store != NULL)
        result = hurdmm_store_destroy(place->store, 0);
    else
        result = hurdmm_container_destroy(place->container);
    say("destroy %u: %d", number, result);
    if (!judge(result, expected, "destroy"))
        return;
    for (unsigned i = 0; i < PAGES; i++) {
        struct cell *cell = place->page[i];
        if (number == DISK && cell && cell->shown == 1 &&
            memcmp(cell->bytes, place->bytes + i * PAGE, inside(place, i)))
            fail("page %u was not written when its store was destroyed", i);
        show(number, i, NULL);
    }
    calm();
    if (make_place(number) != 0)
        fail("a place cannot be made again");
}

/* Verbs of stores. */

static void do_discard(const struct model_op *op)
{
    struct range range = choose(op->arg[0], op->arg[1], 2);
    range.place += PLAIN;
    unsigned pages = store_pages(at(&range));
    int result = hurdmm_store_discard(at(&range)->store, range.first * PAGE,
                                      range.count * PAGE);
    say("discard %u [%u+%u): %d", range.place, range.first, range.count,
        result);
    /* A part of it is done: ask until all is. */
    for (unsigned i = 0; i < 3 && result != 0; i++) {
        if (result == ENOMEM && tight() && !failed_now()) {
            state.step = UINT32_MAX; /* which pages went is not known */
            return;
        }
        if (result == EBUSY && state.pins == 0)
            break;
        calm();
        while (result == EBUSY && state.pins > 0 && state.failure[0] == '\0')
            unpin(0);
        result = hurdmm_store_discard(at(&range)->store, range.first * PAGE,
                                      range.count * PAGE);
    }
    if (result == ENOMEM && tight()) {
        state.step = UINT32_MAX;
        return;
    }
    if (!judge(result, 0, "discard"))
        return;
    for (unsigned i = 0; i < range.count && range.first + i < pages; i++)
        show_disk(range.place, range.first + i);
}

static void do_verb(const struct model_op *op)
{
    bool drop = op->kind == RETURN;
    struct range range = choose(op->arg[0], op->arg[1], 2);
    range.place += PLAIN;
    struct place *place = at(&range);
    int result =
        drop ? hurdmm_store_return(place->store, range.first * PAGE,
                                   range.count * PAGE, HURDMM_WAIT)
             : hurdmm_store_sync(place->store, 0, HURDMM_WHOLE, HURDMM_WAIT);
    say("%s %u: %d", drop ? "return" : "sync", range.place, result);
    if (!judge(result, 0, drop ? "return" : "sync") || drop ||
        range.place != DISK)
        return;
    for (unsigned i = 0; i < store_pages(place); i++) {
        if (memcmp(place->page[i]->bytes, place->bytes + i * PAGE,
                   inside(place, i)))
            fail("page %u is not on its disk after sync", i);
    }
}

static void do_resize(const struct model_op *op)
{
    unsigned number = PLAIN + op->arg[0] % 2;
    struct place *place = &state.place[number];
    uint64_t size = 1 + op->arg[1] % (PAGES * PAGE);
    unsigned before = store_pages(place), first = (unsigned)(size / PAGE);
    for (unsigned i = first; i < before; i++) {
        if (place->page[i]->shown > 1 || place->page[i]->home_place != number ||
            place->page[i]->pins > 0)
            return;
    }
    int result = hurdmm_store_resize(place->store, size);
    say("resize %u to %u: %d", number, (unsigned)size, result);
    if (!judge(result, 0, "resize"))
        return;
    uint64_t old = place->size;
    place->size = size;
    if (size < old) /* as a file would */
        memset(place->bytes + size, 0, PAGES * PAGE - size);
    if (size < old && size % PAGE != 0)
        memset(place->page[first]->bytes + size % PAGE, 0, PAGE - size % PAGE);
    for (unsigned i = store_pages(place); i < before; i++)
        show(number, i, NULL);
    for (unsigned i = before; i < store_pages(place); i++)
        show_disk(number, i);
}

/* The data of memory that a store gets must be what the store has. */
static bool write_what_is_there(const struct range *from,
                                const struct range *to)
{
    for (unsigned i = 0; i < from->count; i++) {
        struct cell *cell = at(from)->page[from->first + i];
        struct cell *old = at(to)->page[to->first + i];
        size_t done;
        for (unsigned j = 0; j < i && cell; j++) {
            if (at(from)->page[from->first + j] == cell)
                return false; /* it cannot be both */
        }
        if (cell == NULL || cell == old)
            continue;
        if (hurdmm_container_write(at(from)->container,
                                   (from->first + i) * PAGE, old->bytes, PAGE,
                                   &done) != 0)
            return false;
        memcpy(cell->bytes, old->bytes, PAGE);
    }
    return true;
}

/* The container's page is the store's now, for those who share it too. */
static void give(const struct range *from, const struct range *to, unsigned i)
{
    struct cell *cell = at(from)->page[from->first + i];
    struct cell *there = at(to)->page[to->first + i];
    if (cell->home_place == from->place && cell->home_page == from->first + i) {
        for (unsigned j = 0; j < PLACES; j++) {
            for (unsigned k = 0; k < PAGES; k++) {
                if (state.place[j].page[k] == cell)
                    show(j, k, there);
            }
        }
    }
    show(from->place, from->first + i, NULL);
}

/* Frames of a container become a store's. */
static void do_cache(const struct model_op *op)
{
    struct range from = choose(op->arg[0], op->arg[1], PLAIN);
    struct range to = choose(op->arg[2], op->arg[3], 2);
    unsigned how = op->arg[4] % 3; /* cache, transfer, transfer by moving */
    size_t moved = 77;
    uint64_t done = 77;
    int result;
    to.place += PLAIN;
    if (to.first + from.count > store_pages(at(&to)) || state.pins > 0 ||
        knotted(&from, &to, HURDMM_COPY_SHARED) ||
        circular(&from, &to, from.count) || !write_what_is_there(&from, &to))
        return;
    if (how == 0)
        result = hurdmm_store_cache(at(&to)->store, to.first * PAGE,
                                    at(&from)->container, from.first * PAGE,
                                    from.count * PAGE, &moved);
    else
        result = hurdmm_memory_transfer(at(&to)->store, to.first * PAGE,
                                        at(&from)->container, from.first * PAGE,
                                        from.count * PAGE, how == 2, &done);
    done = how == 0 ? moved : done;
    say("%s %u [%u+%u) to %u [%u): %d, %u",
        how == 0   ? "cache"
        : how == 1 ? "transfer"
                   : "move",
        from.place, from.first, from.count, to.place, to.first, result,
        (unsigned)done / PAGE);
    unsigned count = (unsigned)(done / PAGE), there = present(&from);
    if ((result == 0) != (count == from.count) || count > there ||
        (result == ENOENT && count != there))
        fail("%d after %u of %u pages", result, count, there);
    else if (result && result != EEXIST && result != ENOENT)
        (void)judge(result, 0, "cache");
    for (unsigned i = 0; how != 1 && i < count; i++)
        give(&from, &to, i);
}

static void do_supply(const struct model_op *op)
{
    static uint8_t bytes[PAGES * PAGE];
    struct range range = choose(op->arg[0], op->arg[1], 2);
    size_t done = 77;
    range.place += PLAIN;
    struct place *place = at(&range);
    if (range.first + range.count > store_pages(place))
        return;
    /* What is there stays, what is not becomes what the disk has. */
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, place->bytes + range.first * PAGE, range.count * PAGE);
    for (unsigned i = 0; i < range.count; i++) {
        if (memcmp(place->page[range.first + i]->bytes, bytes + i * PAGE,
                   inside(place, range.first + i)))
            return;
        memset(bytes + i * PAGE + inside(place, range.first + i), 0,
               PAGE - inside(place, range.first + i));
    }
    int result = hurdmm_store_supply(place->store, range.first * PAGE, bytes,
                                     range.count * PAGE, &done);
    say("supply %u [%u+%u): %d, %u", range.place, range.first, range.count,
        result, (unsigned)done);
    if (result != EINVAL)
        (void)judge(result, 0, "supply");
}

static void do_use(const struct model_op *op)
{
    struct range from = choose(op->arg[0], op->arg[1], PLAIN);
    struct range to = {SWAP, op->arg[2] % PAGES, 0};
    uint64_t done = 77;
    if (to.first + from.count > store_pages(at(&to)) || state.pins > 0 ||
        knotted(&from, &to, HURDMM_COPY_SHARED) ||
        circular(&from, &to, from.count) || !write_what_is_there(&from, &to))
        return;
    int result =
        hurdmm_memory_use(at(&to)->store, to.first * PAGE, at(&from)->container,
                          from.first * PAGE, from.count * PAGE, &done);
    unsigned count = (unsigned)(done / PAGE), there = present(&from);
    say("use %u [%u+%u) at [%u): %d, %u", from.place, from.first, from.count,
        to.first, result, count);
    if ((result == 0) != (count == from.count) || count > there)
        fail("%d after %u of %u pages", result, count, there);
    if (result && result != EEXIST && result != ENOENT)
        (void)judge(result, 0, "use");
    copy_cells(&from, &to, count, HURDMM_COPY_SHARED);
}

static void do_fail(const struct model_op *op)
{
    static const unsigned points[] = {HURDMM_SIM_MEMORY, HURDMM_SIM_LEND,
                                      HURDMM_SIM_RECLAIM, HURDMM_SIM_CORE_MAP};
    unsigned nth = 1 + op->arg[1] % 6;
    hurdmm_sim_fail(state.port, points[op->arg[0] % 4], nth, 0,
                    op->arg[2] % 3 == 0);
    say("fail %x %u", points[op->arg[0] % 4], nth);
    state.armed = true;
}

static void verify(void)
{
    uint8_t bytes[PAGE];
    size_t done;
    for (unsigned i = 0; i < PLACES && state.failure[0] == '\0'; i++) {
        struct place *place = &state.place[i];
        for (unsigned page = 0; page < PAGES; page++) {
            int expected = 0, result;
            size_t length = inside(place, page);
            if (length == 0)
                continue;
            if (place->store == NULL) {
                expected = place->page[page] ? 0 : ENOENT;
                result = hurdmm_container_read(place->container, page * PAGE,
                                               bytes, length, &done);
            } else {
                result = hurdmm_store_read(place->store, page * PAGE, bytes,
                                           length, &done);
            }
            if (judge(result, expected, "reading all"))
                compare(i, page * PAGE, bytes, length, "reading all");
        }
    }
}

static void do_unpin(const struct model_op *op)
{
    if (state.pins > 0)
        unpin(op->arg[0] % state.pins);
}

static void do_calm(const struct model_op *op)
{
    (void)op;
    calm();
}

static void do_settle(const struct model_op *op)
{
    (void)op;
    hurdmm_sim_settle(state.port);
}

static void do_verify(const struct model_op *op)
{
    (void)op;
    verify();
}

static void (*const performers[KINDS])(const struct model_op *op) = {
    [ALLOCATE] = do_allocate, [RELEASE] = do_release,
    [COPY] = do_copy,         [COPY_RANGES] = do_copy_ranges,
    [READ] = do_transfer,     [WRITE] = do_transfer,
    [LOAD] = do_access,       [STORE] = do_access,
    [BIND] = do_bind,         [UNBIND] = do_unbind,
    [PROTECT] = do_protect,   [PIN] = do_pin,
    [UNPIN] = do_unpin,       [DESTROY] = do_destroy,
    [DISCARD] = do_discard,   [RETURN] = do_verb,
    [SYNC] = do_verb,         [RESIZE] = do_resize,
    [CACHE] = do_cache,       [SUPPLY] = do_supply,
    [USE] = do_use,           [FAIL] = do_fail,
    [CALM] = do_calm,         [SETTLE] = do_settle,
    [VERIFY] = do_verify,
};

/* ---- From a seed to a verdict -------------------------------------------- */

void model_config_make(struct model_config *config, uint64_t seed)
{
    struct hmm_rand rand;
    hmm_rand_init(&rand, seed ^ UINT64_C(0x636f6e7461696e));
    *config = (struct model_config){.seed = seed, .page = PAGE};
    config->frames = 24 + (unsigned)hmm_rand_below(&rand, 72);
    config->readahead_pages = 1 + (unsigned)hmm_rand_below(&rand, 4);
    if (hmm_rand_below(&rand, 3) == 0)
        config->hide |= HURDMM_PORT_REFERENCED;
    if (hmm_rand_below(&rand, 3) == 0)
        config->hide |= HURDMM_PORT_DIRTY;
    if (hmm_rand_below(&rand, 3) == 0)
        config->offer |= HURDMM_PORT_INLINE;
    config->random_schedule = hmm_rand_below(&rand, 4) == 0;
    /* Pins keep many operations from being done at all. */
    config->block_pages = hmm_rand_below(&rand, 4) == 0 ? 2 : 1;
}

void model_config_print(const struct model_config *config, FILE *file)
{
    fprintf(file,
            "seed %#llx: %u frames, readahead %u, hide %u, offer %u, random "
            "schedule %d, pins %d\n",
            (unsigned long long)config->seed, config->frames,
            config->readahead_pages, config->hide, config->offer,
            config->random_schedule, config->block_pages == 2);
}

static unsigned weight_of(unsigned kind)
{
    return kinds[kind].weight;
}

unsigned model_ops_make(struct model_op *ops, uint64_t seed, unsigned steps)
{
    struct hmm_rand rand;
    hmm_rand_init(&rand, seed);
    model_ops_draw(ops, steps, &rand, KINDS, weight_of);
    return steps;
}

static void begin(void)
{
    const struct model_config *config = state.config;
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .seed = config->seed,
        .page_size = PAGE,
        .offer = config->offer,
        .hide = config->hide,
        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK,
        .schedule =
            config->random_schedule ? HURDMM_SIM_RANDOM : HURDMM_SIM_FAIR,
        .stack_size = 64 * 1024,
    };
    int error = hurdmm_sim_create(&machine, &state.port);
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .port = state.port,
        .budget = config->frames * PAGE,
        .readahead = config->readahead_pages * PAGE,
        .pager_threads = 1,
        .seed = config->seed,
    };
    if (error == 0)
        error = hurdmm_create(&options, &state.manager);
    for (unsigned i = 0; i < PLACES && error == 0; i++)
        error = make_place(i);
    if (error != 0)
        fail("the beginning failed: %d", error);
}

static void check(void)
{
    const char *what = "";
    if (hurdmm_check(state.manager, &what) != 0)
        fail("hurdmm_check: %s", what);
    if (hurdmm_sim_violations(state.port, &what) != 0)
        fail("the port was misused: %s", what);
    for (const struct backing *b = state.backings; b; b = b->next) {
        if (b->disk.complaint)
            fail("a disk: %s", b->disk.complaint);
    }
}

static void step(const struct model_op *op)
{
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(state.port, &stats);
    state.failures = stats.failures;
    state.kind = op->kind;
    performers[op->kind](op);
    if (state.failure[0] == '\0')
        check();
}

/* Everything works again, and nothing may be lost, or be left. */
static void end(void)
{
    const char *what;
    state.kind = KINDS;
    calm();
    while (state.pins > 0 && state.failure[0] == '\0')
        unpin(0);
    verify();
    for (unsigned i = 0; i < PLAIN; i++) {
        for (unsigned j = 0; j < WINDOWS; j++) {
            if (state.place[i].window[j] &&
                hurdmm_unbind(hurdmm_space_own(state.manager),
                              state.place[i].window[j], PAGES * PAGE) != 0)
                fail("the last unbind");
        }
        int error = hurdmm_container_destroy(state.place[i].container);
        if (error != 0)
            fail("the last destroy: %d", error);
    }
    check();
    int error = hurdmm_destroy(state.manager, HURDMM_DETACH);
    if (error != 0)
        fail("hurdmm_destroy: %d", error);
    if (hurdmm_sim_violations(state.port, &what) != 0)
        fail("the port was misused: %s", what);
    for (const struct backing *b = state.backings; b; b = b->next) {
        if (b->disk.destroys != 1)
            fail("a store was ended %u times", b->disk.destroys);
    }
}

const char *model_run(const struct model_config *config,
                      const struct model_op *ops, unsigned count, bool verbose)
{
    memset(&state, 0, sizeof state);
    state.config = config;
    state.verbose = verbose;
    state.pinning = config->block_pages == 2;
    state.kind = KINDS;
    begin();
    for (unsigned i = 0; i < count && state.failure[0] == '\0'; i++) {
        state.step = i;
        step(&ops[i]);
        if (state.step == UINT32_MAX)
            break;
    }
    bool known = state.step != UINT32_MAX;
    state.step = count;
    if (state.failure[0] == '\0' && known)
        end();
    if (state.port != NULL)
        hurdmm_sim_destroy(state.port);
    while (state.backings != NULL) {
        struct backing *next = state.backings->next;
        free(state.backings);
        state.backings = next;
    }
    return state.failure[0] == '\0' ? NULL : state.failure;
}
