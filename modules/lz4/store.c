/* SPDX-License-Identifier: MIT */
/*
 * Anonymous memory that is kept compressed while it is out of memory.
 *
 * A page goes where it costs least: nowhere, if it is one word over and over; in
 * the arena, if it shrinks by an eighth at least; else, and when the arena is
 * full, to the swap space, or, where there is none, to the arena as it is.  The
 * swap space is used through an anonymous store that is claimed for us: so it
 * never has a page in memory, and lives as long as we do.
 *
 * Words of the table, under `mutex':
 *     0               nothing: reads as zeros
 *     fill   | FILL   one 32-bit word over and over
 *     piece  | PACKED a piece of the arena; as long as a page: not compressed
 *     LOWER           in the swap space
 * Invariants, under `mutex':
 *  1. a piece belongs to one word, the page in the swap space to LOWER only;
 *  2. a page that came back keeps what it has here: if it is not written again
 *     it leaves without us;
 *  3. what replaces a page is stored before the old goes, but for a piece whose
 *     room is needed for the page itself: then the page in memory, which is
 *     dirty and stays so if this fails, is all there is;
 *  4. where the swap space reserves, each page that may be written has a place in
 *     the lower store, or the promise of one, whatever its word says, until it is
 *     discarded.
 *
 * Compressing and expanding are done at a desk, which has room for what lies in
 * between, and a mutex of its own: a piece is copied there before it is expanded,
 * so that it may go at any time.  Lock order: desk, mutex, and the swap space's.
 * `mutex' is never held while bytes are compressed or the swap space works.
 */
#include <lz4.h>

#include <stdbool.h>
#include <string.h>

#include <hurdmm/claim.h>
#include <hurdmm/compressed.h>
#include <hurdmm/error.h>
#include <hurdmm/manager.h>
#include <hurdmm/stores.h>

#include "modules/lz4/arena.h"
#include "modules/lz4/private.h"
#include "modules/lz4/table.h"

#define KIND 3u
#define FILL 1u
#define PACKED 2u
#define LOWER 3u
#define FILL_SHIFT 32u
#define DESKS 4u

/* What compressing needs. */
struct desk {
    uint32_t mutex;
    uint32_t users; /* that have it or wait for it; under the store's mutex */
    void *state;
    char *packed, *page; /* a page each */
};

struct compressed {
    struct hurdmm *manager;
    size_t page_size;
    struct hurdmm_swap *swap;
    struct hurdmm_store *lower; /* in the swap space; NULL: there is none */
    bool reserves;              /* and it promises a place to each page */
    int acceleration;
    struct desk desks[DESKS];
    uint32_t mutex;
    struct hmm_table table;
    struct hmm_arena arena;
    struct hurdmm_compressed_stats stats;
};

static void lock(struct compressed *at)
{
    hurdmm_mutex_lock(at->manager, &at->mutex);
}

static void unlock(struct compressed *at)
{
    hurdmm_mutex_unlock(at->manager, &at->mutex);
}

static uint64_t word_of_piece(const void *piece)
{
    lz4_assert(((uintptr_t)piece & KIND) == 0);
    return (uint64_t)(uintptr_t)piece | PACKED;
}

static void *piece_of_word(uint64_t word)
{
    lz4_assert((word & KIND) == PACKED);
    return (void *)(uintptr_t)(word & ~(uint64_t)KIND);
}

static struct desk *take_desk(struct compressed *at)
{
    struct desk *desk = &at->desks[0];

    lock(at);
    for (unsigned i = 1; i < DESKS && desk->users > 0; i++)
        if (at->desks[i].users < desk->users)
            desk = &at->desks[i];
    desk->users++;
    unlock(at);
    hurdmm_mutex_lock(at->manager, &desk->mutex);
    return desk;
}

static void leave_desk(struct compressed *at, struct desk *desk)
{
    hurdmm_mutex_unlock(at->manager, &desk->mutex);
    lock(at);
    desk->users--;
    unlock(at);
}

/* ---- What a page is kept as ----------------------------------------------- */

/* Counts what a word stands for, up or down. */
static void count_word(struct compressed *at, uint64_t word, uint64_t by)
{
    switch (word & KIND) {
    case FILL:
        at->stats.pages_same += by;
        break;
    case PACKED:
        at->stats.pages_packed += by;
        at->stats.bytes_packed += by * hmm_arena_length(piece_of_word(word));
        break;
    case LOWER:
        at->stats.pages_lower += by;
        break;
    default:
        break;
    }
}

/* Ends what a word stood for, under the mutex; whether the swap space has a page
 * to be told of. */
static bool drop_word(struct compressed *at, uint64_t word)
{
    count_word(at, word, UINT64_MAX);
    if ((word & KIND) == PACKED)
        hmm_arena_give(&at->arena, piece_of_word(word));
    return (word & KIND) == LOWER;
}

/* The page's word becomes `word'. */
static void set_word(struct compressed *at, uint64_t *place, uint64_t word)
{
    drop_word(at, *place);
    *place = word;
    count_word(at, word, 1);
}

/* The longest store of whole pages that there can be. */
static uint64_t longest(size_t page_size)
{
    return (UINT64_MAX - page_size) / page_size * page_size;
}

/* What lies past the end of the lower store is nowhere. */
static void tell_lower(struct compressed *at, uint64_t first, uint64_t last)
{
    uint64_t pages = longest(at->page_size) / at->page_size;

    if (!at->lower || first >= pages)
        return;
    if (last >= pages)
        last = pages - 1;
    hurdmm_claimed_discarded(at->lower, first * at->page_size,
                             (last - first + 1) * at->page_size);
}

/* ---- Out ------------------------------------------------------------------ */

/* Whether the page is one 32-bit word over and over. */
static bool same_filled(const char *page, size_t size, uint64_t *word)
{
    uint32_t first;

    memcpy(&first, page, sizeof first);
    if (memcmp(page, page + sizeof first, size - sizeof first) != 0)
        return false;
    *word = (uint64_t)first << FILL_SHIFT | FILL;
    return true;
}

/* A row of pages on its way out. */
struct row {
    uint64_t page;     /* of the store */
    const char *bytes; /* the page's */
    uint64_t waiting;  /* pages before it that go to the swap space together */
};

/* Writes the pages that wait, and notes it; what was written before an error
 * counts. */
static int write_waiting(struct compressed *at, struct row *row,
                         uint64_t *finished)
{
    size_t length = (size_t)row->waiting * at->page_size, done = 0;
    uint64_t first = row->page - row->waiting;
    int error;

    if (row->waiting == 0)
        return 0;
    error = hurdmm_claimed_page_out(at->lower, first * at->page_size,
                                    row->bytes - length, length, &done);
    row->waiting = 0;
    lock(at);
    for (uint64_t i = 0; i < done / at->page_size; i++) {
        uint64_t *place = hmm_table_find(&at->table, first + i);

        lz4_assert(place);
        set_word(at, place, LOWER);
    }
    unlock(at);
    *finished += done / at->page_size;
    return error != 0 || done == length ? error : EIO;
}

/* Puts bytes into the arena and the page's word to them.  The old piece makes
 * way where the arena is full. */
static int put_piece(struct compressed *at, uint64_t *place, const void *bytes,
                     size_t length)
{
    void *piece;
    int error = hmm_arena_take(&at->arena, length, &piece);

    if (error != 0 && (*place & KIND) == PACKED) {
        set_word(at, place, 0);
        error = hmm_arena_take(&at->arena, length, &piece);
    }
    if (error != 0)
        return error;
    memcpy(piece, bytes, length);
    set_word(at, place, word_of_piece(piece));
    return 0;
}

/* Keeps a page here, if it has room; else the errors of put_piece. */
static int keep_page(struct compressed *at, struct desk *desk, uint64_t page,
                     const char *bytes)
{
    int most = (int)(at->page_size - at->page_size / 8);
    uint64_t *place, word = 0;
    int length = 0, error;
    bool was_lower = false;

    if (!same_filled(bytes, at->page_size, &word))
        length = LZ4_compress_fast_extState(desk->state, bytes, desk->packed,
                                            (int)at->page_size, most,
                                            at->acceleration);
    lock(at);
    error = hmm_table_make(&at->table, page, &place);
    if (error == 0) {
        was_lower = (*place & KIND) == LOWER;
        if (word != 0)
            set_word(at, place, word);
        else if (length > 0)
            error = put_piece(at, place, desk->packed, (size_t)length);
        else if (!at->lower)
            error = put_piece(at, place, bytes, at->page_size);
        else
            error = ENOSPC;
        if (error != 0 && at->lower)
            error = ENOSPC; /* also where there is no memory to grow by */
    }
    if (word == 0 && length <= 0)
        at->stats.incompressible++;
    unlock(at);
    if (error == 0 && was_lower && !at->reserves)
        tell_lower(at, page, page); /* else it may be needed again: 4 */
    return error;
}

/* Does the page of the row that is next: it is kept, or waits with those before
 * it for the swap space.  After an error it is still the row's next, so that
 * those that wait are the ones right before it, as write_waiting takes it. */
static int put_page(struct compressed *at, struct desk *desk, struct row *row,
                    uint64_t *finished)
{
    int error = keep_page(at, desk, row->page, row->bytes);
    bool kept = error == 0;

    if (error == ENOSPC && at->lower) {
        row->waiting++;
        error = 0;
    }
    if (error != 0)
        return error;
    row->page++;
    row->bytes += at->page_size;
    if (kept) {
        /* Those before it come first, so that what is done is one piece. */
        struct row before = {row->page - 1, row->bytes - at->page_size,
                             row->waiting};

        row->waiting = 0;
        error = write_waiting(at, &before, finished);
        *finished += error == 0;
    }
    return error;
}

/* Puts `count' whole pages; *finished grows by those before the first that could
 * not be stored.  Those that wait are written also after an error: they come
 * before the page that failed.  ENOMEM, or the errors of the swap space. */
static int put_pages(struct compressed *at, uint64_t page, const char *bytes,
                     uint64_t count, uint64_t *finished)
{
    struct row row = {page, bytes, 0};
    struct desk *desk = take_desk(at);
    int error = 0, last;

    for (uint64_t i = 0; i < count && error == 0; i++)
        error = put_page(at, desk, &row, finished);
    leave_desk(at, desk);
    last = write_waiting(at, &row, finished);
    return error != 0 ? error : last;
}

/* The last page of a store that ends within it. */
static int put_tail(struct compressed *at, uint64_t page, const char *bytes,
                    size_t length, uint64_t *finished)
{
    struct desk *desk = take_desk(at);
    struct row row = {page, desk->page, 0};
    int error, last;

    memcpy(desk->page, bytes, length);
    memset(desk->page + length, 0, at->page_size - length);
    error = put_page(at, desk, &row, finished);
    last = write_waiting(at, &row, finished);
    leave_desk(at, desk);
    return error != 0 ? error : last;
}

static int compressed_page_out(struct hurdmm_store *store, void *hook,
                               uint64_t offset, const void *buffer,
                               size_t length, size_t *done)
{
    struct compressed *at = hook;
    uint64_t page = offset / at->page_size, finished = 0;
    uint64_t whole = length / at->page_size;
    size_t tail = length % at->page_size;
    int error;

    (void)store;
    lz4_assert(offset % at->page_size == 0);
    error = whole > 0 ? put_pages(at, page, buffer, whole, &finished) : 0;
    if (error == 0 && tail > 0)
        error = put_tail(at, page + whole,
                         (const char *)buffer + whole * at->page_size, tail,
                         &finished);
    lz4_assert(finished <= whole + (tail > 0));
    lock(at);
    at->stats.pages_out += finished;
    at->stats.pages_refused += error != 0;
    unlock(at);
    *done = error == 0 ? length : (size_t)finished * at->page_size;
    if (*done > length)
        *done = length;
    return error;
}

/* ---- In ------------------------------------------------------------------- */

static void fill_page(char *page, size_t size, uint64_t word)
{
    uint32_t fill = (uint32_t)(word >> FILL_SHIFT);

    if (fill == 0)
        memset(page, 0, size);
    for (size_t i = 0; fill != 0 && i < size; i += sizeof fill)
        memcpy(page + i, &fill, sizeof fill);
}

/* What the table says of a page; a piece is copied to the desk. */
static uint64_t look_up(struct compressed *at, uint64_t page, struct desk *desk,
                        size_t *length)
{
    const uint64_t *place;
    uint64_t word;

    lock(at);
    place = hmm_table_find(&at->table, page);
    word = place ? *place : 0;
    if (desk && (word & KIND) == PACKED) {
        *length = hmm_arena_length(piece_of_word(word));
        lz4_assert(*length <= at->page_size);
        memcpy(desk->packed, piece_of_word(word), *length);
    }
    unlock(at);
    return word;
}

/* Makes a page of what was looked up, which is not in the swap space. */
static int expand(const struct compressed *at, uint64_t word,
                  const struct desk *desk, size_t length, char *page)
{
    if ((word & KIND) != PACKED) {
        fill_page(page, at->page_size, word);
        return 0;
    }
    if (length == at->page_size) {
        memcpy(page, desk->packed, length);
        return 0;
    }
    return LZ4_decompress_safe(desk->packed, page, (int)length,
                               (int)at->page_size) == (int)at->page_size
               ? 0
               : EIO;
}

/* Pages from the swap space that follow each other there: as many of `count' as
 * there are from `page' on. */
static int get_lower(struct compressed *at, uint64_t page, char *bytes,
                     uint64_t count, uint64_t *got)
{
    size_t done;
    int error;

    for (*got = 1; *got < count; ++*got)
        if ((look_up(at, page + *got, NULL, NULL) & KIND) != LOWER)
            break;
    error = hurdmm_claimed_page_in(at->lower, page * at->page_size, bytes,
                                   (size_t)*got * at->page_size, &done);
    *got = done / at->page_size;
    return error;
}

static int get_pages(struct compressed *at, struct desk *desk, uint64_t page,
                     char *bytes, uint64_t count, uint64_t *finished)
{
    int error = 0;

    for (uint64_t i = 0, got; i < count && error == 0; i += got) {
        char *to = bytes + i * at->page_size;
        size_t length = 0;
        uint64_t word = look_up(at, page + i, desk, &length);

        if ((word & KIND) == LOWER) {
            error = get_lower(at, page + i, to, count - i, &got);
        } else {
            error = expand(at, word, desk, length, to);
            got = error == 0;
        }
        *finished += got;
    }
    return error;
}

static int compressed_page_in(struct hurdmm_store *store, void *hook,
                              uint64_t offset, void *buffer, size_t length,
                              size_t *done)
{
    struct compressed *at = hook;
    uint64_t page = offset / at->page_size, finished = 0;
    uint64_t whole = length / at->page_size;
    size_t tail = length % at->page_size;
    struct desk *desk = take_desk(at);
    int error;

    (void)store;
    lz4_assert(offset % at->page_size == 0);
    error = get_pages(at, desk, page, buffer, whole, &finished);
    if (error == 0 && tail > 0) {
        error = get_pages(at, desk, page + whole, desk->page, 1, &finished);
        if (error == 0)
            memcpy((char *)buffer + whole * at->page_size, desk->page, tail);
    }
    leave_desk(at, desk);
    lock(at);
    at->stats.pages_in += finished;
    unlock(at);
    *done = error == 0 ? length : (size_t)finished * at->page_size;
    return error;
}

/* ---- The rest ------------------------------------------------------------- */

/* Is there room for a page that does not shrink?  Of several that ask for the
 * last each is told yes: whoever finds it taken stays in memory, dirty. */
static bool fits(struct compressed *at)
{
    uint64_t size = 0, used = 0;
    bool fits;

    if (at->swap)
        hurdmm_swap_usage(at->swap, &size, &used);
    lock(at);
    fits = size - used >= at->page_size ||
           hmm_arena_fits(&at->arena, at->page_size);
    unlock(at);
    return fits;
}

/* Room is asked for as if the page would not shrink; a swap space that reserves
 * promises it. */
static int compressed_unlock(struct hurdmm_store *store, void *hook,
                             uint64_t offset, size_t length)
{
    struct compressed *at = hook;
    int error;

    (void)store;
    (void)length;
    lz4_assert(offset % at->page_size == 0 && length <= at->page_size);
    if (at->reserves)
        error = hurdmm_claimed_unlock(at->lower, offset, at->page_size);
    else
        error = fits(at) ? 0 : ENOSPC;
    if (error != 0) {
        lock(at);
        at->stats.pages_refused++;
        unlock(at);
    }
    return error;
}

static void drop_page(void *hook, uint64_t page, uint64_t word)
{
    (void)page;
    drop_word(hook, word);
}

static void compressed_discarded(struct hurdmm_store *store, void *hook,
                                 uint64_t offset, uint64_t length)
{
    struct compressed *at = hook;
    uint64_t first = offset / at->page_size, last;

    (void)store;
    if (length == 0)
        return;
    last = length - 1 > UINT64_MAX - offset ? UINT64_MAX : offset + length - 1;
    last /= at->page_size;
    lock(at);
    hmm_table_clear(&at->table, first, last, drop_page, at);
    unlock(at);
    tell_lower(at, first, last);
}

static void end_desks(struct compressed *at)
{
    size_t state = (size_t)LZ4_sizeofState();

    for (unsigned i = 0; i < DESKS; i++) {
        struct desk *desk = &at->desks[i];

        hurdmm_deallocate(at->manager, desk->state, state);
        hurdmm_deallocate(at->manager, desk->packed, at->page_size);
        hurdmm_deallocate(at->manager, desk->page, at->page_size);
    }
}

static void compressed_destroy(void *hook)
{
    struct compressed *at = hook;
    struct hurdmm_store *lower = at->lower;

    /* Slots of the swap space go with the store in it. */
    at->lower = NULL;
    hmm_table_clear(&at->table, 0, UINT64_MAX, drop_page, at);
    lz4_assert(at->arena.used == 0);
    hmm_arena_end(&at->arena);
    end_desks(at);
    hurdmm_deallocate(at->manager, at, sizeof *at);
    if (lower && hurdmm_store_unclaim(lower) == 0)
        (void)hurdmm_store_destroy(lower, HURDMM_DROP);
}

static const struct hurdmm_store_ops compressed_ops = {
    .struct_size = sizeof compressed_ops,
    .page_in = compressed_page_in,
    .page_out = compressed_page_out,
    .unlock = compressed_unlock,
    .discarded = compressed_discarded,
    .destroy = compressed_destroy,
};

static int begin_desk(struct compressed *at, struct desk *desk)
{
    void *memory;
    int error =
        hurdmm_allocate(at->manager, (size_t)LZ4_sizeofState(), &desk->state);

    if (error == 0 &&
        (error = hurdmm_allocate(at->manager, at->page_size, &memory)) == 0)
        desk->packed = memory;
    if (error == 0 &&
        (error = hurdmm_allocate(at->manager, at->page_size, &memory)) == 0)
        desk->page = memory;
    return error;
}

/* The store in the swap space, which is as long as ours may ever get. */
static int begin_lower(struct compressed *at, struct hurdmm_swap *swap)
{
    struct hurdmm_store *lower;
    int error = hurdmm_anonymous_create(at->manager, swap,
                                        longest(at->page_size), 0, &lower);

    if (error != 0)
        return error;
    error = hurdmm_store_claim(lower, HURDMM_READ | HURDMM_WRITE);
    if (error != 0) {
        (void)hurdmm_store_destroy(lower, HURDMM_DROP);
        return error;
    }
    at->swap = swap;
    at->lower = lower;
    at->reserves = hurdmm_store_operations(lower)->unlock != NULL;
    return 0;
}

/* All but our store; what was made is in *result also on error. */
static int begin(struct hurdmm *manager,
                 const struct hurdmm_compressed_options *options,
                 struct compressed **result)
{
    struct compressed *at;
    void *memory;
    int error = hurdmm_allocate(manager, sizeof *at, &memory);

    if (error != 0)
        return error;
    *result = at = memory;
    at->manager = manager;
    at->page_size = hurdmm_page_size(manager);
    at->acceleration = options->acceleration ? options->acceleration : 1;
    at->table.manager = manager;
    error = hmm_arena_begin(&at->arena, manager, options->arena, at->page_size);
    for (unsigned i = 0; i < DESKS && error == 0; i++)
        error = begin_desk(at, &at->desks[i]);
    return error == 0 && options->swap ? begin_lower(at, options->swap) : error;
}

static int check_options(const struct hurdmm *manager,
                         const struct hurdmm_compressed_options *options,
                         unsigned flags)
{
    size_t page;

    if (!manager || !options || options->struct_size < sizeof *options ||
        options->acceleration < 0 || (flags & ~HURDMM_STORE_SHARED) != 0)
        return EINVAL;
    page = hurdmm_page_size(manager);
    if (page == 0)
        return ESTALE;
    return page > LZ4_MAX_INPUT_SIZE || options->arena < 2 * page ? EINVAL : 0;
}

int hurdmm_compressed_create(struct hurdmm *manager,
                             const struct hurdmm_compressed_options *given,
                             uint64_t size, unsigned flags,
                             struct hurdmm_store **store)
{
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = "compressed",
        .size = size,
        .flags = flags | HURDMM_STORE_VOLATILE,
    };
    struct compressed *at = NULL;
    int error = check_options(manager, given, flags);

    if (error != 0 || !store)
        return error != 0 ? error : EINVAL;
    if (size > longest(hurdmm_page_size(manager)))
        return EINVAL;
    error = begin(manager, given, &at);
    if (error == 0) {
        options.hook = at;
        error = hurdmm_store_create(manager, &compressed_ops, &options, store);
    }
    if (error != 0 && at)
        compressed_destroy(at);
    return error;
}

int hurdmm_compressed_get_stats(struct hurdmm_store *store,
                                struct hurdmm_compressed_stats *stats)
{
    struct hurdmm_compressed_stats all;
    struct compressed *at;

    if (!store || !stats || stats->struct_size < sizeof *stats ||
        hurdmm_store_operations(store) != &compressed_ops)
        return EINVAL;
    at = hurdmm_store_hook(store);
    lock(at);
    all = at->stats;
    all.arena_used = at->arena.used;
    all.arena_bytes = hmm_arena_bytes(&at->arena);
    unlock(at);
    all.struct_size = stats->struct_size;
    *stats = all; /* it may fault: not with the mutex */
    return 0;
}
