/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator.  One zone for each bank; a zone is a bitmap of its free
 * pages, 64 a word, with a binary tree above the words.  Each node says of its
 * block, an aligned power of two of pages, how long the longest free run in it
 * is and how large the largest aligned free block; so one walk from the root
 * finds either, and splitting and merging are what happens to the bits.
 *
 *             root               head 0, tail 3, longest 10, rank 1 + 3
 *          /        \
 *        .            .
 *      /   \        /   \
 *  u..uuu.. ........ u.uuuuuu uuuuu...   (8 pages a word drawn, u: used)
 *
 * Pages are numbered from the zone's origin, an address that is aligned to more
 * than the size of the zone, so that the alignment of a number is the alignment
 * of the page in physical memory.  A *block* of height h is 2^h words, numbered
 * by its first page / its size.
 *
 * Invariants:
 *  1. A bit of a word is set iff the page is of the bank and free.
 *  2. A node of height 0 is the summary of its word, a higher one of its two
 *     halves.  Halves that have no page of the bank are used.
 *     One word, the *open* one, counts as used whatever its bits are.
 *  3. zones->free is the number of bits that are set.
 *
 * Single frames come from the open word and go back to it without a look at the
 * tree.  Whatever else looks for frames closes it first, so that no search
 * misses what is free.
 *
 * The words of a run that is taken or given back are written one by one, and so
 * are the nodes between them; but that is 40 bytes for 64 frames, little to
 * what the owner of the frames will do.  All else is O(log n).
 *
 * The caller locks.  Nothing here fails after it has begun to change something.
 */
#include "lib/physmem/zones.h"

#include "hurdmm/error.h"

#include "lib/base/assert.h"
#include "lib/base/math.h"
#include "lib/base/string.h"

/* Of a block with as many frames as 32 bits can number, wherever it begins. */
#define HEIGHT_MAX 28u
#define WORD_ORDER 6u
#define PAGE_SIZE_MIN 64u /* so that no page number is near 2^64 */
#define SLOW_FRAMES_MAX 4096u
#define NOWHERE UINT64_MAX
#define ALL UINT64_MAX

/* What is free in a block. */
struct summary {
    uint32_t head;    /* free pages at its start */
    uint32_t tail;    /* at its end */
    uint32_t longest; /* in its longest run */
    uint32_t rank;    /* 1 + order of the largest aligned free block; 0: none */
};

struct hmm_zone {
    uint64_t origin; /* the physical page that has number 0 */
    uint64_t start;  /* pages of the bank: [start, end) */
    uint64_t end;
    uint64_t *words; /* of height 0 */
    struct summary *nodes;
    uint32_t first_frame;
    unsigned root; /* the height of the one block that holds the bank */
    uint32_t first[HEIGHT_MAX + 1];  /* by height: the first block stored */
    uint32_t count[HEIGHT_MAX + 1];  /* and how many are */
    uint32_t offset[HEIGHT_MAX + 1]; /* where the nodes of this height begin */
};

/* A page of a zone. */
struct place {
    struct hmm_zone *zone;
    uint64_t page;
};

/* A constraint, checked and in pages. */
struct request {
    uint64_t count;
    uint64_t mask; /* bits of the first page number that are decided */
    uint64_t set;  /* and their values, within the mask */
    uint64_t low;  /* the run is within [low, end) */
    uint64_t end;
    uint64_t boundary; /* 0 or at least count */
    uint64_t colour;   /* below colours, which is 1 for any */
    uint64_t colours;
    uint64_t starts; /* bits of a word at which the mask lets runs start */
};

/* Bit numbers that are multiples of 2^order. */
static const uint64_t group_starts[WORD_ORDER] = {
    UINT64_C(0xffffffffffffffff), UINT64_C(0x5555555555555555),
    UINT64_C(0x1111111111111111), UINT64_C(0x0101010101010101),
    UINT64_C(0x0001000100010001), UINT64_C(0x0000000100000001),
};

static unsigned lowest_bit(uint64_t bits)
{
    hmm_assert(bits != 0);
    return (unsigned)__builtin_ctzll(bits);
}

static unsigned log2_up(uint64_t x)
{
    hmm_assert(x != 0);
    return x == 1 ? 0 : hmm_log2(x - 1) + 1;
}

/* ---- Groups of free bits within a word ---- */

/* Of the groups of 2^order bits that `groups' starts, those with a free buddy:
   the starts of free groups of twice the size. */
static uint64_t pair_groups(uint64_t groups, unsigned order)
{
    hmm_assert(order + 1 < WORD_ORDER);
    return groups & groups >> (1u << order) & group_starts[order + 1];
}

/* The starts of the aligned groups of 2^order bits that are all free. */
static uint64_t free_groups(uint64_t free, unsigned order)
{
    for (unsigned i = 0; i < order; i++)
        free = pair_groups(free, i);
    return free;
}

/* 1 + the order of the largest aligned group of free bits; not all are free. */
static unsigned word_rank(uint64_t free)
{
    unsigned rank = free != 0;

    hmm_assert(free != ALL);
    for (unsigned order = 0; order + 1 < WORD_ORDER; order++) {
        free = pair_groups(free, order);
        rank += free != 0;
    }
    return rank;
}

/* The most free bits in a row; not all are free.  Both loops are unrolled and
   do not branch on the bits, which are hard to predict. */
static unsigned longest_run(uint64_t free)
{
    uint64_t runs[WORD_ORDER] = {free}; /* the starts of runs of 2^i and more */
    uint64_t starts = ALL;
    unsigned length = 0;

    hmm_assert(free != ALL);
    for (unsigned order = 1; order < WORD_ORDER; order++)
        runs[order] = runs[order - 1] & runs[order - 1] >> (1u << (order - 1));
    for (unsigned order = WORD_ORDER; order-- > 0;) {
        uint64_t longer = starts & runs[order] >> length;

        starts = longer != 0 ? longer : starts;
        length += (unsigned)(longer != 0) << order;
    }
    return length;
}

/* The first bit of the smallest group of at least 2^order free bits that is not
   part of a larger one. */
static unsigned best_group(uint64_t free, unsigned order)
{
    uint64_t groups = free_groups(free, order);

    for (; order + 1 < WORD_ORDER; order++) {
        uint64_t pairs = pair_groups(groups, order);
        uint64_t alone = groups & ~(pairs | pairs << (1u << order));

        if (alone != 0)
            return lowest_bit(alone);
        groups = pairs;
    }
    return lowest_bit(groups);
}

/* The bits of `low' at which a run of `count' free bits starts, at most 64, that
   may reach into the next word, `high'. */
static uint64_t run_starts(uint64_t low, uint64_t high, unsigned count)
{
    hmm_assert(count >= 1 && count <= 64);
    for (unsigned length = 1; length < count;) {
        unsigned step = length < count - length ? length : count - length;

        low &= low >> step | high << (64 - step);
        high &= high >> step;
        length += step;
    }
    return low;
}

/* ---- Summaries ---- */

static struct summary summary_of_word(uint64_t free)
{
    if (free == 0)
        return (struct summary){0, 0, 0, 0};
    if (free == ALL)
        return (struct summary){64, 64, 64, WORD_ORDER + 1};
    return (struct summary){lowest_bit(~free), 63 - hmm_log2(~free),
                            longest_run(free), word_rank(free)};
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* The summary of two neighbours of `half' pages each. */
static struct summary join(struct summary a, struct summary b, uint64_t half)
{
    struct summary both = {
        a.head, b.tail, larger(larger(a.longest, b.longest), a.tail + b.head),
        larger(a.rank, b.rank)};

    hmm_assert(a.longest <= half && b.longest <= half);
    hmm_assert(a.head <= a.longest && b.tail <= b.longest);
    if (a.head == half)
        both.head += b.head;
    if (b.tail == half)
        both.tail += a.tail;
    if (a.head == half && b.head == half)
        both.rank++;
    return both;
}

static bool same(struct summary a, struct summary b)
{
    return a.head == b.head && a.tail == b.tail && a.longest == b.longest &&
           a.rank == b.rank;
}

static uint64_t block_pages(unsigned height)
{
    hmm_assert(height <= HEIGHT_MAX);
    return UINT64_C(64) << height;
}

static bool has_block(const struct hmm_zone *zone, unsigned height, uint64_t i)
{
    hmm_assert(height <= zone->root);
    return i - zone->first[height] < zone->count[height];
}

static uint64_t *word_at(const struct hmm_zone *zone, uint64_t i)
{
    hmm_assert(has_block(zone, 0, i));
    return &zone->words[i - zone->first[0]];
}

static uint64_t free_bits(const struct hmm_zone *zone, uint64_t word)
{
    return has_block(zone, 0, word) ? *word_at(zone, word) : 0;
}

static struct summary *node_at(const struct hmm_zone *zone, unsigned height,
                               uint64_t i)
{
    hmm_assert(has_block(zone, height, i));
    return &zone->nodes[zone->offset[height] + (i - zone->first[height])];
}

static struct summary summary_at(const struct hmm_zone *zone, unsigned height,
                                 uint64_t i)
{
    return *node_at(zone, height, i);
}

static struct summary summary_of_zone(const struct hmm_zone *zone)
{
    return summary_at(zone, zone->root, 0);
}

/* What a node ought to be. */
static struct summary summary_of_halves(const struct hmm_zone *zone,
                                        unsigned height, uint64_t i)
{
    return join(summary_at(zone, height - 1, i * 2),
                summary_at(zone, height - 1, i * 2 + 1),
                block_pages(height - 1));
}

/* Brings the nodes above a block up to date, from its parent on, as long as that
   changes them. */
static void renew_above(const struct hmm_zone *zone, unsigned height,
                        uint64_t i, struct summary now)
{
    hmm_assert(has_block(zone, height, i));
    while (height < zone->root) {
        struct summary buddy = summary_at(zone, height, i ^ 1);
        uint64_t half = block_pages(height);

        now = (i & 1) != 0 ? join(buddy, now, half) : join(now, buddy, half);
        i >>= 1;
        struct summary *node = node_at(zone, ++height, i);
        if (same(*node, now))
            return;
        *node = now;
    }
}

/* Says something new of a word. */
static void renew_word(const struct hmm_zone *zone, uint64_t word,
                       struct summary now)
{
    *node_at(zone, 0, word) = now;
    renew_above(zone, 0, word, now);
}

/* Sets the nodes [i, end) of this height to all used or all free. */
static void fill_nodes(const struct hmm_zone *zone, unsigned height, uint64_t i,
                       uint64_t end, bool use)
{
    struct summary all = {0, 0, 0, 0};

    if (!use) {
        all.head = all.tail = all.longest = (uint32_t)block_pages(height);
        all.rank = height + WORD_ORDER + 1;
    }
    for (; i < end; i++)
        *node_at(zone, height, i) = all;
}

/* Brings the nodes above the words [i, last], which are alike but for the two,
   up to date. */
static void renew_run(const struct hmm_zone *zone, uint64_t i, uint64_t last,
                      bool use)
{
    unsigned height = 0;

    hmm_assert(i <= last);
    while (i != last) {
        height++;
        i >>= 1;
        last >>= 1;
        fill_nodes(zone, height, i + 1, last, use);
        *node_at(zone, height, i) = summary_of_halves(zone, height, i);
        *node_at(zone, height, last) = summary_of_halves(zone, height, last);
    }
    renew_above(zone, height, i, summary_at(zone, height, i));
}

/* ---- Changing ---- */

static void change_bits(const struct hmm_zone *zone, uint64_t word,
                        uint64_t bits, bool use)
{
    uint64_t *at = word_at(zone, word);

    hmm_assert((*at & bits) == (use ? bits : 0));
    *at ^= bits;
    *node_at(zone, 0, word) = summary_of_word(*at);
}

/* Takes the pages [page, end), all free, or frees them, all used. */
static void change_run(const struct hmm_zone *zone, uint64_t page, uint64_t end,
                       bool use)
{
    uint64_t head = ALL << (page & 63);
    uint64_t tail = ALL >> (-end & 63);
    uint64_t word = page >> 6;
    uint64_t last = (end - 1) >> 6;

    hmm_assert(zone->start <= page && page < end && end <= zone->end);
    if (word == last) {
        change_bits(zone, word, head & tail, use);
    } else {
        change_bits(zone, word, head, use);
        change_bits(zone, last, tail, use);
        for (uint64_t i = word + 1; i < last; i++)
            *word_at(zone, i) = use ? 0 : ALL;
        fill_nodes(zone, 0, word + 1, last, use);
    }
    renew_run(zone, word, last, use);
}

/* ---- Finding ---- */

/* The height of the largest block that begins with this word. */
static unsigned height_from(const struct hmm_zone *zone, uint64_t word)
{
    unsigned height = word == 0 ? zone->root : lowest_bit(word);

    return height < zone->root ? height : zone->root;
}

/* The first page at or after `page' that is not free, at most zone->end. */
static uint64_t next_used(const struct hmm_zone *zone, uint64_t page)
{
    uint64_t word = page >> 6;
    uint64_t used = ~free_bits(zone, word) & ALL << (page & 63);

    hmm_assert(page >= zone->start && page < zone->end);
    if (used != 0)
        return word << 6 | lowest_bit(used);
    for (word++; has_block(zone, 0, word);) {
        unsigned height = height_from(zone, word);
        struct summary block = summary_at(zone, height, word >> height);

        if (block.head < block_pages(height))
            return (word << 6) + block.head;
        word += UINT64_C(1) << height;
    }
    return zone->end;
}

/* The first run of `count' pages in a block that has one. */
static uint64_t first_run_within(const struct hmm_zone *zone, unsigned height,
                                 uint64_t i, uint64_t count)
{
    hmm_assert(count > 0 && summary_at(zone, height, i).longest >= count);
    while (height-- > 0) {
        struct summary left = summary_at(zone, height, i * 2);
        struct summary right = summary_at(zone, height, i * 2 + 1);
        uint64_t middle = (i * 2 + 1) << (height + WORD_ORDER);

        if (left.longest < count && left.tail + right.head >= count)
            return middle - left.tail;
        i = i * 2 + (left.longest < count);
    }
    uint64_t starts = run_starts(free_bits(zone, i), 0, (unsigned)count);
    return i << 6 | lowest_bit(starts);
}

/* The first page at or after `page' from which `count' pages are free, or
   NOWHERE. */
static uint64_t next_run(const struct hmm_zone *zone, uint64_t page,
                         uint64_t count)
{
    uint64_t word = page >> 6;
    uint64_t free = free_bits(zone, word) & ALL << (page & 63);
    struct summary block = summary_of_word(free);
    uint64_t open = block.tail; /* free pages before `word' */

    hmm_assert(count > 0 && page >= zone->start && page <= zone->end);
    if (block.longest >= count)
        return word << 6 | lowest_bit(run_starts(free, 0, (unsigned)count));
    for (word++; has_block(zone, 0, word);) {
        unsigned height = height_from(zone, word);

        block = summary_at(zone, height, word >> height);
        if (open + block.head >= count)
            return (word << 6) - open;
        if (block.longest >= count)
            return first_run_within(zone, height, word >> height, count);
        open = block.tail + (block.tail == block_pages(height) ? open : 0);
        word += UINT64_C(1) << height;
    }
    return NOWHERE;
}

/* An aligned block of 2^order free pages, or NOWHERE.  Of two halves it is taken
   from the one whose largest block is smaller, which keeps large ones whole. */
static uint64_t find_block(const struct hmm_zone *zone, unsigned order)
{
    struct summary block = summary_of_zone(zone);
    unsigned height = zone->root;
    uint64_t i = 0;

    if (block.rank <= order)
        return NOWHERE;
    while (height > 0 && block.rank <= height + WORD_ORDER) {
        struct summary left = summary_at(zone, --height, i * 2);
        struct summary right = summary_at(zone, height, i * 2 + 1);
        bool go_right = left.rank <= order ||
                        (right.rank > order && right.rank < left.rank);

        i = i * 2 + go_right;
        block = go_right ? right : left;
    }
    if (height > 0 || block.rank > WORD_ORDER)
        return i << (height + WORD_ORDER);
    return i << 6 | best_group(free_bits(zone, i), order);
}

/* ---- Constraints ---- */

/* The first number at or after `page' with the decided bits. */
static uint64_t next_masked(const struct request *request, uint64_t page)
{
    uint64_t mask = request->mask;
    uint64_t wrong = (page ^ request->set) & mask;

    if (wrong == 0)
        return page;
    uint64_t bit = UINT64_C(1) << hmm_log2(wrong);
    uint64_t below = bit | (bit - 1);
    uint64_t up = page & ~below;
    if ((request->set & bit) == 0) {
        /* The bit must go from 1 to 0: carry into a free bit above it.  There
           is one: page numbers have fewer than 64 bits. */
        hmm_assert((page | mask | below) != ALL);
        up = (page | mask | below) + 1;
    }
    return (up & ~mask) | request->set;
}

/* The first page at or after `from' at which the run could lie in this zone if
   all pages were free, or NOWHERE. */
static uint64_t candidate(const struct hmm_zone *zone,
                          const struct request *request, uint64_t from)
{
    uint64_t page =
        hmm_max(zone->origin + hmm_max(from, zone->start), request->low);
    uint64_t end = hmm_min(zone->origin + zone->end, request->end);

    hmm_assert(request->count > 0 && request->colour < request->colours);
    hmm_assert(request->boundary == 0 || request->boundary >= request->count);
    for (;;) {
        if (page < end)
            page = next_masked(request, page);
        if (page >= end || end - page < request->count)
            return NOWHERE;
        if (request->boundary != 0 &&
            (page & (request->boundary - 1)) + request->count >
                request->boundary) {
            page = (page | (request->boundary - 1)) + 1;
            continue;
        }
        uint64_t colour = page % request->colours;
        if (colour == request->colour)
            return page - zone->origin;
        page +=
            (request->colour + request->colours - colour) % request->colours;
    }
}

/* Whether the run could lie in some zone if all pages were free. */
static bool satisfiable(const struct hmm_zones *zones,
                        const struct request *request)
{
    for (uint32_t i = 0; i < zones->count; i++) {
        if (candidate(&zones->zone[i], request, 0) != NOWHERE)
            return true;
    }
    return false;
}

/* A page at or after the used page `page', before which no run starts that
   would do.  Where there are runs but in the wrong places, words are cheaper to
   look at one by one than to find. */
static uint64_t next_start(const struct hmm_zone *zone,
                           const struct request *request, uint64_t page)
{
    uint64_t word = page >> 6;
    uint64_t starts;

    if (request->count > 64)
        return next_run(zone, page, request->count);
    starts = run_starts(free_bits(zone, word), free_bits(zone, word + 1),
                        (unsigned)request->count) &
             ALL << (page & 63);
    if (starts == 0)
        return next_run(zone, page, request->count);
    starts &= request->starts;
    return starts == 0 ? (page | 63) + 1 : word << 6 | lowest_bit(starts);
}

/* Where the run lies that the request gets in this zone, or NOWHERE. */
static uint64_t search_zone(const struct hmm_zone *zone,
                            const struct request *request)
{
    uint64_t page = candidate(zone, request, 0);

    while (page != NOWHERE) {
        uint64_t used = next_used(zone, page);

        if (used - page >= request->count)
            break;
        page = next_start(zone, request, used);
        if (page != NOWHERE)
            page = candidate(zone, request, page);
    }
    return page;
}

static bool search(const struct hmm_zones *zones, const struct request *request,
                   struct place *place)
{
    for (uint32_t i = 0; i < zones->count; i++) {
        place->zone = &zones->zone[i];
        place->page = search_zone(place->zone, request);
        if (place->page != NOWHERE)
            return true;
    }
    return false;
}

/* Decides bits of the start page, to what they are in `set'; false if some were
   decided otherwise before. */
static bool decide(struct request *request, uint64_t mask, uint64_t set)
{
    if (((request->set ^ set) & request->mask & mask) != 0)
        return false;
    request->mask |= mask;
    request->set |= set & mask;
    request->starts = 0;
    for (unsigned i = 0; i < 64; i++) {
        if (((i ^ request->set) & request->mask & 63) == 0)
            request->starts |= UINT64_C(1) << i;
    }
    return true;
}

/* Decides that the run is naturally aligned, if that can be. */
static bool decide_natural(struct request *request)
{
    return hmm_is_pow2(request->count) &&
           decide(request, request->count - 1, 0);
}

static void request_any(struct request *request, uint32_t count)
{
    *request = (struct request){
        .count = count, .end = ALL, .colours = 1, .starts = ALL};
}

static int check_constraint(const struct hmm_constraint *c, uint64_t page_size)
{
    if ((c->alignment != 0 && !hmm_is_pow2(c->alignment)) ||
        (c->boundary != 0 && !hmm_is_pow2(c->boundary)) ||
        (c->high != 0 && c->high < c->low) ||
        (c->colours != 0 && c->colour >= c->colours))
        return EINVAL;
    uint64_t clear = c->must_clear | (page_size - 1);
    if (c->alignment != 0)
        clear |= c->alignment - 1;
    return (c->must_set & clear) == 0 ? 0 : EINVAL;
}

/* Says a valid constraint in pages; ERANGE where no memory could meet it. */
static int resolve(const struct hmm_constraint *c, unsigned page_shift,
                   struct request *request)
{
    uint64_t rest = (UINT64_C(1) << page_shift) - 1;
    uint64_t clear = c->must_clear;

    if (c->alignment != 0)
        clear |= c->alignment - 1;
    decide(request, (c->must_set | clear) >> page_shift,
           c->must_set >> page_shift);
    request->low = (c->low >> page_shift) + ((c->low & rest) != 0);
    if (c->high != 0)
        request->end = (c->high >> page_shift) + ((c->high & rest) == rest);
    if (c->boundary != 0) {
        request->boundary = c->boundary >> page_shift;
        if (request->boundary < request->count)
            return ERANGE;
    }
    if (c->colours != 0) {
        /* The power of two in the number of colours is a matter of bits. */
        uint64_t bits = (c->colours & -(uint64_t)c->colours) - 1;
        if (!decide(request, bits, c->colour))
            return ERANGE;
        request->colour = c->colour;
        request->colours = c->colours;
    }
    return 0;
}

/* ---- Frames ---- */

/* The place of a frame that exists. */
static struct place place_of(const struct hmm_zones *zones, uint32_t frame)
{
    uint32_t low = 0;
    uint32_t high = zones->count;

    hmm_assert(frame < zones->frames);
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (zones->zone[middle].first_frame <= frame)
            low = middle;
        else
            high = middle;
    }
    struct hmm_zone *zone = &zones->zone[low];
    return (struct place){zone, zone->start + (frame - zone->first_frame)};
}

static bool page_is_free(const struct hmm_zone *zone, uint64_t page)
{
    return (free_bits(zone, page >> 6) >> (page & 63) & 1) != 0;
}

static uint32_t frame_at(struct place place)
{
    hmm_assert(place.page >= place.zone->start && place.page < place.zone->end);
    return place.zone->first_frame + (uint32_t)(place.page - place.zone->start);
}

/* All of a small memory; of a large one that would make tests take for ever. */
static void check_slowly(const struct hmm_zones *zones)
{
    hmm_assert_slow(zones->frames > SLOW_FRAMES_MAX || hmm_zones_check(zones));
    (void)zones;
}

/* Takes free pages and says the number of the first frame. */
static uint32_t take(struct hmm_zones *zones, struct place place,
                     uint64_t count)
{
    hmm_assert(count <= zones->free);
    hmm_assert(count <= place.zone->end - place.page);
    change_run(place.zone, place.page, place.page + count, true);
    zones->free -= (uint32_t)count;
    check_slowly(zones);
    return frame_at(place);
}

/* How many frames are free from the hint on. */
static uint64_t free_at(const struct hmm_zones *zones, uint32_t hint,
                        struct place *place)
{
    if (hint >= zones->frames)
        return 0;
    *place = place_of(zones, hint);
    return next_used(place->zone, place->page) - place->page;
}

/* Finds a run anywhere, naturally aligned if `aligned' or if that is easy.  Higher
   banks go first: the lower ones are what constraints ask for. */
static bool find(const struct hmm_zones *zones, uint32_t count, bool aligned,
                 struct place *place)
{
    for (uint32_t i = zones->count; i-- > 0;) {
        struct hmm_zone *zone = &zones->zone[i];

        place->zone = zone;
        place->page = find_block(zone, log2_up(count));
        if (place->page != NOWHERE)
            return true;
        if (aligned || summary_of_zone(zone).longest < count)
            continue;
        place->page = first_run_within(zone, zone->root, 0, count);
        return true;
    }
    return false;
}

/* Lets the tree know again what is free in the open word. */
static void close_word(struct hmm_zones *zones)
{
    const struct hmm_zone *zone = zones->open;

    if (zone == NULL)
        return;
    hmm_assert(summary_at(zone, 0, zones->open_word).longest == 0);
    uint64_t free = free_bits(zone, zones->open_word);
    if (free != 0)
        renew_word(zone, zones->open_word, summary_of_word(free));
    zones->open = NULL;
}

/* Opens the word of this page; none is open. */
static void open_word(struct hmm_zones *zones, struct place place)
{
    hmm_assert(zones->open == NULL);
    zones->open = place.zone;
    zones->open_word = place.page >> WORD_ORDER;
    renew_word(place.zone, zones->open_word, summary_of_word(0));
}

/* Whether all these pages are in the open word. */
static bool in_open_word(const struct hmm_zones *zones, struct place place,
                         uint64_t count)
{
    return place.zone == zones->open && place.page >> 6 == zones->open_word &&
           (place.page + count - 1) >> 6 == zones->open_word;
}

/* Takes the frame `hint', or any one if it is HMM_FRAME_NONE, from the open
   word. */
static bool take_open(struct hmm_zones *zones, uint32_t hint, uint32_t *first)
{
    struct place place = {zones->open, 0};

    if (place.zone == NULL)
        return false;
    uint64_t *word = word_at(place.zone, zones->open_word);
    if (hint != HMM_FRAME_NONE) {
        if (hint >= zones->frames)
            return false;
        place = place_of(zones, hint);
        if (!in_open_word(zones, place, 1) ||
            !page_is_free(place.zone, place.page))
            return false;
    } else {
        if (*word == 0)
            return false;
        place.page = zones->open_word << 6 | lowest_bit(*word);
    }
    hmm_assert(zones->free > 0 && page_is_free(place.zone, place.page));
    *word &= ~(UINT64_C(1) << (place.page & 63));
    zones->free--;
    *first = frame_at(place);
    return true;
}

static int alloc_one(struct hmm_zones *zones, uint32_t hint, uint32_t *first)
{
    struct place place;

    if (take_open(zones, hint, first))
        return 0;
    close_word(zones);
    if (free_at(zones, hint, &place) == 0) {
        hint = HMM_FRAME_NONE;
        if (!find(zones, 1, true, &place))
            return ENOMEM;
    }
    open_word(zones, place);
    bool taken = take_open(zones, hint, first);
    hmm_assert(taken);
    (void)taken;
    check_slowly(zones);
    return 0;
}

static int alloc_any(struct hmm_zones *zones, uint32_t count, uint32_t hint,
                     uint32_t *first)
{
    struct request request;
    struct place place;

    if (count == 0)
        return EINVAL;
    if (count == 1)
        return alloc_one(zones, hint, first);
    close_word(zones);
    if (free_at(zones, hint, &place) >= count ||
        find(zones, count, hmm_is_pow2(count), &place)) {
        *first = take(zones, place, count);
        return 0;
    }
    request_any(&request, count);
    decide_natural(&request);
    return satisfiable(zones, &request) ? ENOMEM : ERANGE;
}

int hmm_zones_alloc(struct hmm_zones *zones, uint32_t count,
                    const struct hmm_constraint *constraint, uint32_t hint,
                    uint32_t *first)
{
    struct request request;
    struct request natural;
    struct place place;

    if (constraint == NULL)
        return alloc_any(zones, count, hint, first);
    if (count == 0 ||
        check_constraint(constraint, UINT64_C(1) << zones->page_shift) != 0)
        return EINVAL;
    request_any(&request, count);
    if (resolve(constraint, zones->page_shift, &request) != 0)
        return ERANGE;
    natural = request;
    close_word(zones);
    if ((free_at(zones, hint, &place) >= count &&
         candidate(place.zone, &request, place.page) == place.page) ||
        (decide_natural(&natural) && search(zones, &natural, &place)) ||
        search(zones, &request, &place)) {
        *first = take(zones, place, count);
        return 0;
    }
    return satisfiable(zones, &request) ? ENOMEM : ERANGE;
}

int hmm_zones_alloc_some(struct hmm_zones *zones, uint32_t want, uint32_t hint,
                         uint32_t *first, uint32_t *got)
{
    struct place place;
    uint64_t count;

    if (want == 0)
        return EINVAL;
    if (want == 1) {
        int error = alloc_one(zones, hint, first);

        if (error == 0)
            *got = 1;
        return error;
    }
    close_word(zones);
    count = hmm_min(free_at(zones, hint, &place), want);
    if (count == 0) {
        count = hmm_min(hmm_zones_largest(zones), want);
        if (count == 0)
            return ENOMEM;
        find(zones, (uint32_t)count, false, &place);
    }
    *first = take(zones, place, count);
    *got = (uint32_t)count;
    return 0;
}

/* How many of the frames [frame, end) are in this frame's zone. */
static uint32_t part_in_zone(const struct hmm_zones *zones,
                             const struct hmm_zone *zone, uint32_t frame,
                             uint32_t end)
{
    bool last = zone + 1 == zones->zone + zones->count;
    uint32_t next = last ? zones->frames : zone[1].first_frame;

    hmm_assert(frame >= zone->first_frame && frame < next);
    return (end < next ? end : next) - frame;
}

/* Whether the pages [page, end) are all in use. */
static bool all_used(const struct hmm_zone *zone, uint64_t page, uint64_t end)
{
    while (page < end) {
        uint64_t free = free_bits(zone, page >> 6) & ALL << (page & 63);

        page = (page | 63) + 1;
        if (page > end)
            free &= ALL >> (page - end);
        if (free != 0)
            return false;
    }
    return true;
}

/* Makes the word of a page that was just freed the open one where there is none
   that has free pages: the next single frame is the one freed last.  A word that
   became all free is left to larger requests. */
static bool reopen(struct hmm_zones *zones, struct place place)
{
    uint64_t *word = word_at(place.zone, place.page >> 6);
    uint64_t bit = UINT64_C(1) << (place.page & 63);

    if ((*word | bit) == ALL ||
        (zones->open != NULL && free_bits(zones->open, zones->open_word) != 0))
        return false;
    close_word(zones);
    *word |= bit;
    open_word(zones, place);
    return true;
}

/* Frees pages that are all in use. */
static void put_back(struct hmm_zones *zones, struct place place,
                     uint64_t count)
{
    hmm_assert(count > 0 && count <= place.zone->end - place.page);
    if (in_open_word(zones, place, count)) {
        *word_at(place.zone, zones->open_word) |=
            ALL >> (64 - count) << (place.page & 63);
        return;
    }
    if (count == 1 && reopen(zones, place))
        return;
    if (count > 1)
        close_word(zones);
    change_run(place.zone, place.page, place.page + count, false);
}

int hmm_zones_free(struct hmm_zones *zones, uint32_t first, uint32_t count)
{
    uint32_t end = first + count;
    uint32_t part;

    if (count == 0 || first >= zones->frames || count > zones->frames - first)
        return EINVAL;
    for (uint32_t frame = first; frame < end; frame += part) {
        struct place place = place_of(zones, frame);

        part = part_in_zone(zones, place.zone, frame, end);
        if (!all_used(place.zone, place.page, place.page + part))
            return EINVAL;
    }
    for (uint32_t frame = first; frame < end; frame += part) {
        struct place place = place_of(zones, frame);

        part = part_in_zone(zones, place.zone, frame, end);
        put_back(zones, place, part);
    }
    hmm_assert(count <= zones->frames - zones->free);
    zones->free += count;
    check_slowly(zones);
    return 0;
}

uint32_t hmm_zones_free_count(const struct hmm_zones *zones)
{
    return zones->free;
}

uint32_t hmm_zones_largest(struct hmm_zones *zones)
{
    uint32_t largest = 0;

    close_word(zones);
    for (uint32_t i = 0; i < zones->count; i++)
        largest = larger(largest, summary_of_zone(&zones->zone[i]).longest);
    return largest;
}

bool hmm_zones_is_free(const struct hmm_zones *zones, uint32_t frame)
{
    if (frame >= zones->frames)
        return false;
    struct place place = place_of(zones, frame);
    return page_is_free(place.zone, place.page);
}

/* ---- Making ---- */

size_t hmm_zones_memory(uint32_t frames, uint32_t banks)
{
    uint64_t words = frames / 64 + UINT64_C(4) * banks;
    uint64_t nodes = words * 2 + UINT64_C(4) * HEIGHT_MAX * banks;
    uint64_t bytes = banks * (uint64_t)sizeof(struct hmm_zone) +
                     words * sizeof(uint64_t) + nodes * sizeof(struct summary);

    return bytes <= SIZE_MAX ? (size_t)bytes : 0;
}

/* Numbers the pages, words and nodes of a bank. */
static void number(struct hmm_zone *zone, const struct hmm_bank *bank,
                   unsigned page_shift)
{
    uint64_t start = bank->base >> page_shift;
    uint64_t words = ((start + bank->frames - 1) >> 6) - (start >> 6) + 1;
    uint64_t align = block_pages(log2_up(words));
    uint32_t nodes = 0;

    *zone = (struct hmm_zone){.origin = hmm_align_down(start, align),
                              .start = start & (align - 1),
                              .first_frame = bank->first_frame};
    zone->end = zone->start + bank->frames;
    zone->root = log2_up(((zone->end - 1) >> 6) + 1);
    hmm_assert(zone->root <= HEIGHT_MAX);
    for (unsigned height = 0; height <= zone->root; height++) {
        unsigned shift = height + WORD_ORDER;

        zone->first[height] = (uint32_t)(zone->start >> shift) & ~1u;
        zone->count[height] = ((uint32_t)((zone->end - 1) >> shift) | 1u) -
                              zone->first[height] + 1;
        zone->offset[height] = nodes;
        nodes += zone->count[height];
    }
}

/* Makes a zone, all free, with its words and nodes in the memory from `at' on;
   returns the end of what it took. */
static char *zone_init(struct hmm_zone *zone, const struct hmm_bank *bank,
                       unsigned page_shift, char *at)
{
    number(zone, bank, page_shift);

    size_t words = zone->count[0] * sizeof(uint64_t);
    size_t nodes =
        (zone->offset[zone->root] + (size_t)2) * sizeof(struct summary);

    zone->words = (uint64_t *)(void *)at;
    zone->nodes = (struct summary *)(void *)(at + words);
    memset(at, 0, words + nodes);
    change_run(zone, zone->start, zone->end, false);
    return at + words + nodes;
}

static bool bank_ok(const struct hmm_bank *bank, uint64_t page_size)
{
    return bank->frames != 0 && hmm_is_aligned(bank->base, page_size) &&
           bank->frames - 1 <= (UINT64_MAX - bank->base) / page_size;
}

static bool banks_overlap(const struct hmm_bank *a, const struct hmm_bank *b,
                          uint64_t page_size)
{
    return a->base <= b->base + (b->frames - 1) * page_size &&
           b->base <= a->base + (a->frames - 1) * page_size;
}

/* Stores the number of frames of all banks. */
static int check_banks(const struct hmm_bank *banks, uint32_t count,
                       uint64_t page_size, uint32_t *frames)
{
    uint64_t sum = 0;

    if (count == 0 || !hmm_is_pow2(page_size) || page_size < PAGE_SIZE_MIN)
        return EINVAL;
    for (uint32_t i = 0; i < count; i++) {
        if (!bank_ok(&banks[i], page_size) || banks[i].first_frame != sum)
            return EINVAL;
        for (uint32_t j = 0; j < i; j++) {
            if (banks_overlap(&banks[i], &banks[j], page_size))
                return EINVAL;
        }
        sum += banks[i].frames;
        if (sum > HMM_FRAME_NONE)
            return EINVAL;
    }
    *frames = (uint32_t)sum;
    return 0;
}

int hmm_zones_init(struct hmm_zones *zones, void *memory, size_t page_size,
                   const struct hmm_bank *banks, uint32_t count)
{
    struct hmm_zone *zone = memory;
    char *at = (char *)(zone + count);
    uint32_t frames;

    hmm_assert(((uintptr_t)memory & 7) == 0);
    if (check_banks(banks, count, page_size, &frames) != 0)
        return EINVAL;
    *zones = (struct hmm_zones){.zone = zone,
                                .count = count,
                                .frames = frames,
                                .free = frames,
                                .page_shift = hmm_log2(page_size)};
    for (uint32_t i = 0; i < count; i++)
        at = zone_init(&zone[i], &banks[i], zones->page_shift, at);
    hmm_assert((size_t)(at - (char *)memory) <=
               hmm_zones_memory(frames, count));
    check_slowly(zones);
    return 0;
}

/* ---- Checking ---- */

/* Invariant 1 as far as it can be seen, and 2 for words; adds to the number of
   free pages. */
static bool check_words(const struct hmm_zones *zones,
                        const struct hmm_zone *zone, uint64_t *free)
{
    for (uint64_t page = zone->start & ~UINT64_C(63); page < zone->end;
         page++) {
        uint64_t bits = free_bits(zone, page >> 6);
        bool open = zones->open == zone && zones->open_word == page >> 6;

        if (!same(summary_at(zone, 0, page >> 6),
                  summary_of_word(open ? 0 : bits)))
            return false;
        *free += bits >> (page & 63) & 1;
        if (page_is_free(zone, page) && page < zone->start)
            return false;
    }
    return (free_bits(zone, zone->end >> 6) >> (zone->end & 63)) == 0;
}

/* Invariant 2 for what is above the words. */
static bool check_nodes(const struct hmm_zone *zone)
{
    for (unsigned height = 1; height <= zone->root; height++) {
        uint64_t last = (zone->end - 1) >> (height + WORD_ORDER);

        for (uint64_t i = zone->start >> (height + WORD_ORDER); i <= last;
             i++) {
            if (!same(*node_at(zone, height, i),
                      summary_of_halves(zone, height, i)))
                return false;
        }
    }
    return (zone->end - 1) >> (zone->root + WORD_ORDER) == 0;
}

bool hmm_zones_check(const struct hmm_zones *zones)
{
    uint64_t free = 0;

    for (uint32_t i = 0; i < zones->count; i++) {
        if (!check_words(zones, &zones->zone[i], &free) ||
            !check_nodes(&zones->zone[i]))
            return false;
    }
    return free == zones->free;
}
