/* SPDX-License-Identifier: MIT */
/* Arithmetic on the words of the L4 interface; see abi.h. */
#include "backends/l4-x86/abi.h"

#include <hurdmm/types.h>

#include "lib/base/assert.h"

unsigned hmm_l4_block(uint32_t address, uint32_t start, uint32_t length,
                      unsigned low, unsigned high)
{
    unsigned best = low;
    uint64_t end = (uint64_t)start + length;
    hmm_assert(low <= high && high < 32);
    for (unsigned log2 = low + 1; log2 <= high; log2++) {
        uint32_t base = address & ~((UINT32_C(1) << log2) - 1);
        if (base < start || base + (UINT64_C(1) << log2) > end)
            break;
        best = log2;
    }
    return best;
}

unsigned hmm_l4_block_from(uint32_t address, uint32_t other, uint32_t length,
                           unsigned high)
{
    unsigned log2 = L4_PAGE_SHIFT;
    hmm_assert(length >= L4_PAGE_SIZE);
    while (log2 < high && ((address | other) >> log2 & 1) == 0 &&
           (UINT32_C(2) << log2) <= length)
        log2++;
    return log2;
}

uint32_t hmm_l4_timeout(uint64_t time_ns)
{
    uint64_t left = time_ns / 1000 + (time_ns % 1000 != 0);
    uint32_t exponent = 0;
    if (time_ns == HURDMM_FOREVER)
        return L4_TIMEOUT_NEVER;
    if (left == 0)
        return L4_TIMEOUT_ZERO;
    while (left > 0x3ff && exponent < 31) {
        left = (left + 1) / 2;
        exponent++;
    }
    if (left > 0x3ff)
        return L4_TIMEOUT_NEVER;
    return exponent << 10 | (uint32_t)left;
}

void hmm_l4_memory_map(const void *kip, struct hmm_l4_memory_map *map)
{
    uint32_t info = l4_kip_word(kip, L4_KIP_MEMORY_INFO);
    map->count = info & 0xffff;
    map->descriptors =
        (const uint32_t *)(const void *)((const char *)kip + (info >> 16));
}

static bool is_virtual(const uint32_t *descriptor)
{
    return (descriptor[0] & 0x200) != 0;
}

/* The first and the last byte that it describes. */
static uint32_t first_of(const uint32_t *descriptor)
{
    return descriptor[0] & ~0x3ffu;
}

static uint32_t last_of(const uint32_t *descriptor)
{
    return descriptor[1] | 0x3ffu;
}

/* Whether the page is conventional memory, all of it: a descriptor may begin or
 * end inside a page. */
static bool is_conventional(const struct hmm_l4_memory_map *map, uint32_t page)
{
    bool conventional = false;
    uint32_t last = page + L4_PAGE_MASK;
    for (unsigned i = 0; i < map->count; i++) {
        const uint32_t *descriptor = &map->descriptors[2 * i];
        if (is_virtual(descriptor) || first_of(descriptor) > last ||
            last_of(descriptor) < page)
            continue;
        bool covers =
            first_of(descriptor) <= page && last_of(descriptor) >= last;
        conventional =
            covers && (descriptor[0] & 0xf) == L4_MEMORY_CONVENTIONAL;
    }
    return conventional;
}

/* The first page after `page` at which any descriptor begins or ends. */
static uint32_t next_edge(const struct hmm_l4_memory_map *map, uint32_t page,
                          uint32_t end)
{
    for (unsigned i = 0; i < map->count; i++) {
        const uint32_t *descriptor = &map->descriptors[2 * i];
        uint32_t edges[] = {
            first_of(descriptor) & ~L4_PAGE_MASK,
            (first_of(descriptor) + L4_PAGE_MASK) & ~L4_PAGE_MASK,
            (last_of(descriptor) + 1) & ~L4_PAGE_MASK,
            (last_of(descriptor) & ~L4_PAGE_MASK) + L4_PAGE_SIZE,
        };
        for (unsigned j = 0; !is_virtual(descriptor) && j < 4; j++)
            if (edges[j] > page && edges[j] < end)
                end = edges[j];
    }
    return end;
}

bool hmm_l4_memory_next(const struct hmm_l4_memory_map *map, uint32_t *start,
                        uint32_t *length, uint32_t end)
{
    uint32_t at = *start;
    while (at < end && !is_conventional(map, at))
        at = next_edge(map, at, end);
    if (at >= end)
        return false;
    uint32_t stop = at;
    while (stop < end && is_conventional(map, stop))
        stop = next_edge(map, stop, end);
    *start = at;
    *length = stop - at;
    return true;
}

static bool same(const char *one, const char *two)
{
    while (*one != '\0' && *one == *two) {
        one++;
        two++;
    }
    return *one == *two;
}

/* The kernel's description: its id, date, version, supplier, then strings: the
 * version, and one a feature, until an empty one. */
bool hmm_l4_has_feature(const void *kip, const char *name)
{
    const char *text =
        (const char *)kip + l4_kip_word(kip, L4_KIP_KERNEL_DESC) + 16;
    for (unsigned strings = 0; strings < 32 && *text != '\0'; strings++) {
        if (strings > 0 && same(text, name))
            return true;
        while (*text != '\0')
            text++;
        text++;
    }
    return false;
}
