/* SPDX-License-Identifier: MIT */
/*
 * The frame allocator.  One zone for each bank; a zone is a buddy system that
 * is kept in bitmaps, 64 buddies a word, so that splitting and merging are what
 * happens to the bits of a word and need no code.
 *
 * Pages are numbered by physical address / page size, so that natural alignment
 * is a property of the number.  At level l a bit stands for a block of 64^l
 * aligned pages:
 *
 *   level 2   .......u                     u: something in the block is used
 *   level 1   uu.....u uuuuuuuu            .: all of it is free
 *   level 0   u..uuu.. ........ uu.u.uuu   (8 bits a word drawn)
 *
 * Invariants:
 *  1. A bit of level 0 is set iff the page is in use or is not of the bank.
 *  2. A bit of level l + 1 is set iff the word of level l that it stands for is
 *     not 0, or lies outside the bank.  No word of the highest level is 0.
 *  3. A word's class is 0 when it has no clear bit, WHOLE when it is all clear,
 *     else 1 + the order of its largest aligned group of clear bits.  For each
 *     level and each class between there is an index: a bitmap of the words of
 *     that class, with summary words above it.  WHOLE words need none, they are
 *     free bits one level up.
 *  4. members[l][k] is the number of words in that index.
 *  5. zones->free is the number of clear bits of level 0.
 *
 * So a free block of 2^o pages is looked for at level o / 6, in the lowest class
 * that has one: best fit among words, then best fit within the word.
 *
 * The levels of 1 and 2 and an index have the same shape, a *tree*: words of 64
 * bits, and above them words that say which of those are not 0.  The heights of
 * all trees are numbered alike: a word of height h covers 64^(h + 1) pages, the
 * words of a height are numbered by physical page number / 64^(h + 1), and
 * those that touch the bank are stored, without padding for alignment.
 *
 * The caller locks.  Nothing here fails after it has begun to change something.
 */
#include "lib/physmem/zones.h"

#include "hurdmm/error.h"

#include "lib/base/assert.h"
#include "lib/base/math.h"
#include "lib/base/string.h"

/* Words of 64^1 ... 64^6 pages: more than the frames that 32 bits can number. */
#define LEVELS 6u
#define ORDERS 6u /* aligned groups of 2^0 ... 2^5 bits within a word */
#define WHOLE (ORDERS + 1)
#define PAGE_SIZE_MIN 64u /* so that no page number is near 2^64 */
#define NOWHERE UINT64_MAX
#define ALL UINT64_MAX

struct hmm_zone {
    uint64_t start; /* page numbers [start, end) */
    uint64_t end;
    uint32_t first_frame;
    unsigned levels; /* the least with 64^levels pages > those of the bank */
    uint64_t first_word[LEVELS + 1]; /* by height: the first that is stored */
    uint64_t words[LEVELS + 1];      /* and how many are */
    size_t offset[LEVELS + 2];       /* sum of the words of lower heights */
    uint64_t *used;                  /* heights 0 to levels - 1 */
    uint64_t
        *index[LEVELS]; /* by level, ORDERS of heights level + 1 to levels */
    uint32_t members[LEVELS][ORDERS];
};

struct tree {
    uint64_t *words;
    unsigned base; /* lowest height */
    unsigned top;  /* highest height */
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
    uint64_t
        starts; /* which bits of a word the mask allows a run to start at */
};

/* Bit numbers that are multiples of 2^order. */
static const uint64_t group_starts[ORDERS] = {
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
    return x == 1 ? 0 : hmm_log2(x - 1) + 1;
}

/* ---- Groups of free bits within a word ---- */

/* Of the groups of 2^order bits that `groups' starts, those with a free buddy:
   the starts of free groups of twice the size. */
static uint64_t pair_groups(uint64_t groups, unsigned order)
{
    hmm_assert(order + 1 < ORDERS);
    return groups & groups >> (1u << order) & group_starts[order + 1];
}

/* The starts of the aligned groups of 2^order bits that are all free. */
static uint64_t free_groups(uint64_t free, unsigned order)
{
    for (unsigned i = 0; i < order; i++)
        free = pair_groups(free, i);
    return free;
}

static unsigned word_class(uint64_t free)
{
    unsigned class = 0;

    if (free == ALL)
        return WHOLE;
    while (free != 0 && ++class < ORDERS)
        free = pair_groups(free, class - 1);
    return class;
}

/* The first bit of the smallest group of at least 2^order free bits that is not
   part of a larger one. */
static unsigned best_group(uint64_t free, unsigned order)
{
    uint64_t groups = free_groups(free, order);

    for (; order + 1 < ORDERS; order++) {
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

/* ---- Trees ---- */

static struct tree used_tree(const struct hmm_zone *zone)
{
    return (struct tree){zone->used, 0, zone->levels - 1};
}

static struct tree index_tree(const struct hmm_zone *zone, unsigned level,
                              unsigned order)
{
    size_t words = zone->offset[zone->levels + 1] - zone->offset[level + 1];

    hmm_assert(level < zone->levels && order < ORDERS);
    return (struct tree){zone->index[level] + order * words, level + 1,
                         zone->levels};
}

static bool has_word(const struct hmm_zone *zone, unsigned height,
                     uint64_t number)
{
    return number - zone->first_word[height] < zone->words[height];
}

static uint64_t *tree_word(const struct hmm_zone *zone, struct tree tree,
                           unsigned height, uint64_t number)
{
    hmm_assert(height >= tree.base && height <= tree.top);
    hmm_assert(has_word(zone, height, number));
    return &tree.words[zone->offset[height] - zone->offset[tree.base] +
                       (size_t)(number - zone->first_word[height])];
}

/* What a word says.  Outside the bank all is used: the bits for it in summary
   words stand for words that are not there. */
static uint64_t tree_bits(const struct hmm_zone *zone, struct tree tree,
                          unsigned height, uint64_t number)
{
    return has_word(zone, height, number)
               ? *tree_word(zone, tree, height, number)
               : ALL;
}

/* The first bit of the base that is set below bit `i' of this height. */
static uint64_t descend(const struct hmm_zone *zone, struct tree tree,
                        unsigned height, uint64_t i)
{
    while (height-- > tree.base)
        i = i << 6 | lowest_bit(tree_bits(zone, tree, height, i));
    return i;
}

/* The first set bit of the base at or after what bit `i' of this height
   stands for, or NOWHERE. */
static uint64_t seek(const struct hmm_zone *zone, struct tree tree,
                     unsigned height, uint64_t i)
{
    uint64_t word = i >> 6;

    while (has_word(zone, height, word)) {
        uint64_t bits = *tree_word(zone, tree, height, word) & ALL << (i & 63);

        if (bits != 0)
            return descend(zone, tree, height, word << 6 | lowest_bit(bits));
        i = word + 1;
        if (height < tree.top)
            height++;
        else
            i <<= 6;
        word = i >> 6;
    }
    return NOWHERE;
}

static uint64_t tree_first(const struct hmm_zone *zone, struct tree tree)
{
    return seek(zone, tree, tree.top, zone->first_word[tree.top] << 6);
}

static void tree_add(const struct hmm_zone *zone, struct tree tree, uint64_t i)
{
    for (unsigned height = tree.base; height <= tree.top; height++) {
        uint64_t *word = tree_word(zone, tree, height, i >> 6);
        uint64_t old = *word;

        *word = old | UINT64_C(1) << (i & 63);
        if (old != 0)
            return;
        i >>= 6;
    }
}

static void tree_remove(const struct hmm_zone *zone, struct tree tree,
                        uint64_t i)
{
    for (unsigned height = tree.base; height <= tree.top; height++) {
        uint64_t *word = tree_word(zone, tree, height, i >> 6);

        *word &= ~(UINT64_C(1) << (i & 63));
        if (*word != 0)
            return;
        i >>= 6;
    }
}

/* ---- Used pages ---- */

/* The pages of a word that are free. */
static uint64_t free_bits(const struct hmm_zone *zone, uint64_t word)
{
    return ~tree_bits(zone, used_tree(zone), 0, word);
}

/* The first page at or after `page' that is not free, at most zone->end. */
static uint64_t next_used(const struct hmm_zone *zone, uint64_t page)
{
    hmm_assert(page >= zone->start && page < zone->end);
    return hmm_min(seek(zone, used_tree(zone), 0, page), zone->end);
}

/* The first page of the free pages that end with this free page. */
static uint64_t run_start(const struct hmm_zone *zone, uint64_t page)
{
    struct tree used = used_tree(zone);
    unsigned height = 0;
    uint64_t i = page;
    uint64_t bits = 0;

    while (i > zone->first_word[height] << 6) {
        uint64_t word = (i - 1) >> 6;

        bits =
            *tree_word(zone, used, height, word) & ALL >> (63 - ((i - 1) & 63));
        i = word;
        if (bits != 0)
            break;
        if (height < used.top)
            height++;
        else
            i <<= 6;
    }
    if (bits == 0)
        return zone->start;
    i = i << 6 | hmm_log2(bits);
    while (height-- > 0)
        i = i << 6 | hmm_log2(tree_bits(zone, used, height, i));
    return hmm_max(i + 1, zone->start);
}

/* Replaces a word of a level, in the index and above too. */
static void put_word(struct hmm_zone *zone, unsigned level, uint64_t word,
                     uint64_t used)
{
    for (;; level++) {
        uint64_t *at = tree_word(zone, used_tree(zone), level, word);
        unsigned was = word_class(~*at);
        unsigned is = word_class(~used);

        *at = used;
        if (was == is)
            return;
        if (was > 0 && was < WHOLE) {
            zone->members[level][was - 1]--;
            tree_remove(zone, index_tree(zone, level, was - 1), word);
        }
        if (is > 0 && is < WHOLE) {
            zone->members[level][is - 1]++;
            tree_add(zone, index_tree(zone, level, is - 1), word);
        }
        if (was != WHOLE && is != WHOLE)
            return;
        uint64_t bit = UINT64_C(1) << (word & 63);
        word >>= 6;
        used = *tree_word(zone, used_tree(zone), level + 1, word);
        used = is == WHOLE ? used & ~bit : used | bit;
    }
}

/* Sets or clears bits of one word: all must change. */
static void change_bits(struct hmm_zone *zone, unsigned level, uint64_t word,
                        uint64_t bits, bool use)
{
    uint64_t used = *tree_word(zone, used_tree(zone), level, word);

    hmm_assert((used & bits) == (use ? 0 : bits));
    put_word(zone, level, word, used ^ bits);
}

/*
 * Marks the pages [i, end), all free before, used, or the other way round.
 *
 * Whole words in the middle are in no index before and after; they are filled,
 * and what they mean one level up is the next round.
 */
static void change_run(struct hmm_zone *zone, uint64_t i, uint64_t end,
                       bool use)
{
    for (unsigned level = 0; i < end; level++) {
        uint64_t head = ALL << (i & 63);
        uint64_t tail = ALL >> (-end & 63);
        uint64_t word = i >> 6;
        uint64_t last = (end - 1) >> 6;

        if (word == last && (head & tail) != ALL) {
            change_bits(zone, level, word, head & tail, use);
            return;
        }
        if (head != ALL)
            change_bits(zone, level, word++, head, use);
        if (tail != ALL)
            change_bits(zone, level, last--, tail, use);
        i = word;
        end = last + 1;
        if (i < end)
            memset(tree_word(zone, used_tree(zone), level, i), use ? 0xff : 0,
                   (size_t)(end - i) * sizeof(uint64_t));
    }
}

/* ---- Finding free blocks and runs ---- */

/* An aligned free block of at least 2^order pages, the best fit, or NOWHERE. */
static uint64_t best_block(const struct hmm_zone *zone, unsigned order)
{
    unsigned level = order / ORDERS;

    for (order %= ORDERS; level < zone->levels; level++, order = 0) {
        for (unsigned k = order; k < ORDERS; k++) {
            if (zone->members[level][k] == 0)
                continue;
            uint64_t word = tree_first(zone, index_tree(zone, level, k));
            uint64_t used = *tree_word(zone, used_tree(zone), level, word);

            return (word << 6 | best_group(~used, order)) << (level * 6);
        }
    }
    return NOWHERE;
}

/* The order of the largest aligned free block, -1 when no page is free. */
static int largest_order(const struct hmm_zone *zone)
{
    for (unsigned order = zone->levels * ORDERS; order-- > 0;) {
        if (zone->members[order / ORDERS][order % ORDERS] != 0)
            return (int)order;
    }
    return -1;
}

/* The first page at or after `page', a multiple of 2^order, at which one of the
   blocks of this index that have 2^order pages or more begins or goes on. */
static uint64_t next_in_index(const struct hmm_zone *zone, unsigned level,
                              unsigned k, unsigned order, uint64_t page)
{
    struct tree index = index_tree(zone, level, k);
    unsigned group = order > level * ORDERS ? order - level * ORDERS : 0;
    uint64_t i = page >> (level * 6);

    for (uint64_t word = i >> 6;; word++) {
        word = seek(zone, index, index.base, word);
        if (word == NOWHERE)
            return NOWHERE;
        uint64_t from = word == i >> 6 ? ALL << (i & 63) : ALL;
        uint64_t used = *tree_word(zone, used_tree(zone), level, word);
        uint64_t groups = free_groups(~used, group) & from;
        if (groups != 0)
            return hmm_max(page, (word << 6 | lowest_bit(groups))
                                     << (level * 6));
    }
}

/* The first aligned free block of 2^order pages, be it part of a larger one, at
   or after `page', or NOWHERE. */
static uint64_t next_block(const struct hmm_zone *zone, unsigned order,
                           uint64_t page)
{
    unsigned level = order / ORDERS;
    uint64_t best = NOWHERE;

    if (page >= zone->end)
        return NOWHERE;
    page = hmm_align_up(page, UINT64_C(1) << order);
    for (unsigned k = order % ORDERS; level < zone->levels; level++, k = 0) {
        for (; k < ORDERS; k++) {
            if (zone->members[level][k] != 0)
                best =
                    hmm_min(best, next_in_index(zone, level, k, order, page));
        }
    }
    return best;
}

/*
 * The first page at or after `page' with `count' or more free pages, and in
 * *end where those end; or NOWHERE.
 *
 * A run of 2 * 2^o - 1 pages contains an aligned block of 2^o wherever it lies,
 * so that only what is around such blocks is looked at.
 */
static uint64_t next_run(const struct hmm_zone *zone, uint64_t page,
                         uint64_t count, uint64_t *end)
{
    unsigned order = hmm_log2(count + 1) - 1;

    for (;;) {
        uint64_t block = next_block(zone, order, page);

        if (block == NOWHERE)
            return NOWHERE;
        page = hmm_max(page, run_start(zone, block));
        *end = next_used(zone, block);
        if (*end - page >= count)
            return page;
        page = *end;
    }
}

/* ---- Constraints ---- */

/* Moves *page up to the first number with the decided bits. */
static bool next_masked(const struct request *request, uint64_t *page)
{
    uint64_t mask = request->mask;
    uint64_t wrong = (*page ^ request->set) & mask;

    if (wrong == 0)
        return true;
    uint64_t bit = UINT64_C(1) << hmm_log2(wrong);
    uint64_t below = bit | (bit - 1);
    uint64_t up = *page & ~below;
    if ((request->set & bit) == 0) {
        /* The bit must go from 1 to 0: carry into a free bit above it. */
        up = *page | mask | below;
        if (up == ALL)
            return false;
        up++;
    }
    *page = (up & ~mask) | request->set;
    return true;
}

/* The first page at or after `from' at which the run could lie in this zone if
   all pages were free, or NOWHERE. */
static uint64_t candidate(const struct hmm_zone *zone,
                          const struct request *request, uint64_t from)
{
    uint64_t page = hmm_max(from, hmm_max(zone->start, request->low));
    uint64_t end = hmm_min(zone->end, request->end);

    for (;;) {
        if (page >= end || !next_masked(request, &page) || page >= end ||
            end - page < request->count)
            return NOWHERE;
        if (request->boundary != 0 &&
            (page & (request->boundary - 1)) + request->count >
                request->boundary) {
            page = (page | (request->boundary - 1)) + 1;
            continue;
        }
        uint64_t colour = page % request->colours;
        if (colour == request->colour)
            return page;
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
   would do. */
static uint64_t next_start(const struct hmm_zone *zone,
                           const struct request *request, uint64_t page)
{
    uint64_t word = page >> 6;
    uint64_t free, starts, end;

    if (request->count > 64)
        return next_run(zone, page, request->count, &end);
    free = free_bits(zone, word);
    if (free == 0)
        return next_block(zone, 0, page);
    starts =
        run_starts(free, free_bits(zone, word + 1), (unsigned)request->count) &
        request->starts & ALL << (page & 63);
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
            return page;
        page = candidate(zone, request, next_start(zone, request, used));
    }
    return NOWHERE;
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

/* Takes free pages and says the number of the first frame. */
static uint32_t take(struct hmm_zones *zones, struct place place,
                     uint64_t count)
{
    hmm_assert(count <= zones->free);
    hmm_assert(count <= place.zone->end - place.page);
    change_run(place.zone, place.page, place.page + count, true);
    zones->free -= (uint32_t)count;
    hmm_assert_slow(hmm_zones_check(zones));
    return place.zone->first_frame + (uint32_t)(place.page - place.zone->start);
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

/* The best fit among aligned blocks of at least 2^order pages. Higher banks go
   first: the lower ones are what constraints ask for. */
static bool find_block(const struct hmm_zones *zones, unsigned order,
                       struct place *place)
{
    for (uint32_t i = zones->count; i-- > 0;) {
        place->zone = &zones->zone[i];
        place->page = best_block(place->zone, order);
        if (place->page != NOWHERE)
            return true;
    }
    return false;
}

static bool find_any(const struct hmm_zones *zones, uint32_t count,
                     struct place *place)
{
    uint64_t end;

    if (count > zones->free)
        return false;
    if (find_block(zones, log2_up(count), place))
        return true;
    for (uint32_t i = zones->count; i-- > 0 && !hmm_is_pow2(count);) {
        place->zone = &zones->zone[i];
        place->page = next_run(place->zone, place->zone->start, count, &end);
        if (place->page != NOWHERE)
            return true;
    }
    return false;
}

static int alloc_any(struct hmm_zones *zones, uint32_t count, uint32_t hint,
                     uint32_t *first)
{
    struct request request;
    struct place place;

    if (count == 0)
        return EINVAL;
    if (free_at(zones, hint, &place) >= count ||
        find_any(zones, count, &place)) {
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
    if ((free_at(zones, hint, &place) >= count &&
         candidate(place.zone, &request, place.page) == place.page) ||
        (decide_natural(&natural) && search(zones, &natural, &place)) ||
        search(zones, &request, &place)) {
        *first = take(zones, place, count);
        return 0;
    }
    return satisfiable(zones, &request) ? ENOMEM : ERANGE;
}

/* What is free around the largest aligned block, or 0 when nothing is free. */
static uint64_t find_largest(const struct hmm_zones *zones, struct place *place)
{
    int best = -1;

    for (uint32_t i = zones->count; i-- > 0;) {
        int order = largest_order(&zones->zone[i]);

        if (order > best) {
            best = order;
            place->zone = &zones->zone[i];
        }
    }
    if (best < 0)
        return 0;
    uint64_t block = best_block(place->zone, (unsigned)best);
    place->page = run_start(place->zone, block);
    return next_used(place->zone, block) - place->page;
}

int hmm_zones_alloc_some(struct hmm_zones *zones, uint32_t want, uint32_t hint,
                         uint32_t *first, uint32_t *got)
{
    struct place place;
    uint64_t count;

    if (want == 0)
        return EINVAL;
    count = free_at(zones, hint, &place);
    if (count == 0 && find_block(zones, log2_up(want), &place))
        count = want;
    if (count == 0)
        count = find_largest(zones, &place);
    if (count == 0)
        return ENOMEM;
    count = hmm_min(count, want);
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
        change_run(place.zone, place.page, place.page + part, false);
    }
    zones->free += count;
    hmm_assert_slow(hmm_zones_check(zones));
    return 0;
}

uint32_t hmm_zones_free_count(const struct hmm_zones *zones)
{
    return zones->free;
}

uint32_t hmm_zones_largest(const struct hmm_zones *zones)
{
    uint64_t best = 0;

    for (uint32_t i = 0; i < zones->count; i++) {
        const struct hmm_zone *zone = &zones->zone[i];
        int order = largest_order(zone);
        uint64_t page = zone->start;
        uint64_t end;

        if (order >= 0 && UINT64_C(1) << order > best)
            best = (UINT64_C(1) << order) - 1;
        while (page < zone->end &&
               (page = next_run(zone, page, best + 1, &end)) != NOWHERE) {
            best = end - page;
            page = end;
        }
    }
    return (uint32_t)best;
}

bool hmm_zones_is_free(const struct hmm_zones *zones, uint32_t frame)
{
    if (frame >= zones->frames)
        return false;
    struct place place = place_of(zones, frame);
    return page_is_free(place.zone, place.page);
}

/* ---- Making ---- */

/* The least number of levels of which the highest has no whole free word. */
static unsigned levels_for(uint32_t frames)
{
    return hmm_log2(frames) / 6 + 1;
}

/* The words of all trees of one zone, given how many each height has. */
static uint64_t trees_size(const uint64_t *words, unsigned levels)
{
    uint64_t sum = 0;

    for (unsigned height = 0; height <= levels; height++)
        sum += words[height] * ((height < levels) + height * ORDERS);
    return sum;
}

size_t hmm_zones_memory(uint32_t frames, uint32_t banks)
{
    uint64_t words[LEVELS + 1];
    uint64_t bytes;
    unsigned levels = frames == 0 ? 1 : levels_for(frames);

    for (unsigned height = 0; height <= levels; height++)
        words[height] =
            ((uint64_t)frames >> (height + 1) * 6) + UINT64_C(2) * banks;
    bytes = trees_size(words, levels) * sizeof(uint64_t) +
            (uint64_t)banks * sizeof(struct hmm_zone);
    return bytes <= SIZE_MAX ? (size_t)bytes : 0;
}

/* Lays out the trees of a zone from `at' on, all pages used; returns the end. */
static uint64_t *zone_init(struct hmm_zone *zone, const struct hmm_bank *bank,
                           unsigned page_shift, uint64_t *at)
{
    *zone = (struct hmm_zone){.start = bank->base >> page_shift,
                              .first_frame = bank->first_frame,
                              .levels = levels_for(bank->frames),
                              .used = at};
    zone->end = zone->start + bank->frames;
    for (unsigned height = 0; height <= zone->levels; height++) {
        unsigned shift = (height + 1) * 6;

        zone->first_word[height] = zone->start >> shift;
        zone->words[height] =
            ((zone->end - 1) >> shift) - zone->first_word[height] + 1;
        zone->offset[height + 1] =
            zone->offset[height] + (size_t)zone->words[height];
    }
    at += zone->offset[zone->levels];
    memset(zone->used, 0xff, zone->offset[zone->levels] * sizeof(uint64_t));
    for (unsigned level = 0; level < zone->levels; level++) {
        size_t words =
            (zone->offset[zone->levels + 1] - zone->offset[level + 1]) * ORDERS;

        zone->index[level] = at;
        memset(at, 0, words * sizeof(uint64_t));
        at += words;
    }
    hmm_assert(at == zone->used + trees_size(zone->words, zone->levels));
    return at;
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
    uint64_t *at = (uint64_t *)(zone + count);
    uint32_t frames;

    hmm_assert(((uintptr_t)memory & 7) == 0);
    if (check_banks(banks, count, page_size, &frames) != 0)
        return EINVAL;
    *zones = (struct hmm_zones){.zone = zone,
                                .count = count,
                                .frames = frames,
                                .free = frames,
                                .page_shift = hmm_log2(page_size)};
    for (uint32_t i = 0; i < count; i++, zone++) {
        at = zone_init(zone, &banks[i], zones->page_shift, at);
        change_run(zone, zone->start, zone->end, false);
    }
    hmm_assert((uintptr_t)at - (uintptr_t)memory <=
               hmm_zones_memory(frames, count));
    hmm_assert_slow(hmm_zones_check(zones));
    return 0;
}

/* ---- Checking ---- */

/* Invariant 2, and what summary words of an index must be: a bit says whether
   the word below is not 0; where there is none, it is `outside'. */
static bool check_summary(const struct hmm_zone *zone, struct tree tree,
                          bool outside)
{
    for (unsigned height = tree.base + 1; height <= tree.top; height++) {
        uint64_t i = zone->first_word[height] << 6;
        uint64_t end = i + (zone->words[height] << 6);

        for (; i < end; i++) {
            bool is = *tree_word(zone, tree, height, i >> 6) >> (i & 63) & 1;
            bool should = outside;

            if (has_word(zone, height - 1, i))
                should = *tree_word(zone, tree, height - 1, i) != 0;
            if (is != should)
                return false;
        }
    }
    return true;
}

/* Invariants 3 and 4 for the index of one level and class. */
static bool check_index(const struct hmm_zone *zone, unsigned level,
                        unsigned order)
{
    struct tree index = index_tree(zone, level, order);
    uint64_t i = zone->first_word[level + 1] << 6;
    uint64_t end = i + (zone->words[level + 1] << 6);
    uint32_t members = 0;

    for (; i < end; i++) {
        bool is = *tree_word(zone, index, index.base, i >> 6) >> (i & 63) & 1;
        bool should = false;

        if (has_word(zone, level, i)) {
            uint64_t used = *tree_word(zone, used_tree(zone), level, i);
            should = word_class(~used) == order + 1;
        }
        if (is != should)
            return false;
        members += is;
    }
    return members == zone->members[level][order] &&
           check_summary(zone, index, false);
}

static bool check_zone(const struct hmm_zone *zone, uint64_t *free)
{
    unsigned top = zone->levels - 1;
    uint64_t i = zone->first_word[0] << 6;
    uint64_t end = i + (zone->words[0] << 6);

    for (; i < end; i++) {
        if (!page_is_free(zone, i))
            continue;
        if (i < zone->start || i >= zone->end)
            return false;
        ++*free;
    }
    for (i = 0; i < zone->words[top]; i++) {
        if (*tree_word(zone, used_tree(zone), top, zone->first_word[top] + i) ==
            0)
            return false;
    }
    for (unsigned k = 0; k < zone->levels * ORDERS; k++) {
        if (!check_index(zone, k / ORDERS, k % ORDERS))
            return false;
    }
    return check_summary(zone, used_tree(zone), true);
}

bool hmm_zones_check(const struct hmm_zones *zones)
{
    uint64_t free = 0;

    for (uint32_t i = 0; i < zones->count; i++) {
        if (!check_zone(&zones->zone[i], &free))
            return false;
    }
    return free == zones->free;
}
