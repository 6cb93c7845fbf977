/* SPDX-License-Identifier: MIT */
/* The staging area: where the bytes of held frames are.
 *
 * Slots are given out lowest first, so that few of them ever take memory; those
 * that were used before are used again without a fault.  When many more have
 * memory than are in use, the highest are given back to the system.
 *
 * There are several times as many slots as frames, which costs addresses only:
 * so a row of slots is found although single ones are in use here and there.
 *
 * `lock' is held for a few instructions by whoever takes or gives slots, which
 * lending does without the core's lock; signals are masked then.
 */
#include "backends/linux/linux_port.h"

#include <errno.h>
#include <sched.h>

#include "lib/base/assert.h"

#define SLOTS_PER_FRAME 4u
#define SLOTS_MORE 8192u
/* Slots with memory that may wait to be used again: a part of all frames. */
#define BACKED_PART 32u
#define BACKED_MIN 128u

static size_t words(uint32_t slots)
{
    return slots / 64;
}

int hmm_linux_staging_open(struct hmm_linux_staging *staging, uint32_t frames,
                           size_t page)
{
    uint64_t slots = (uint64_t)frames * SLOTS_PER_FRAME + SLOTS_MORE;
    hmm_assert(page && !(page & (page - 1)));
    slots = slots / 64 * 64;
    if (slots >= UINT32_MAX || slots > PTRDIFF_MAX / page)
        return ENOMEM;
    staging->page = page;
    staging->slots = (uint32_t)slots;
    staging->hint = staging->free_backed = 0;
    staging->free_backed_max = frames / BACKED_PART + BACKED_MIN;
    staging->size = (size_t)slots * page;
    staging->maps_size = 2 * words(staging->slots) * sizeof(uint64_t);
    void *maps = mmap(NULL, staging->maps_size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (maps == MAP_FAILED)
        return ENOMEM;
    void *base = mmap(NULL, staging->size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        (void)munmap(maps, staging->maps_size);
        return ENOMEM;
    }
    (void)madvise(base, staging->size, MADV_DONTFORK);
    (void)madvise(base, staging->size, MADV_NOHUGEPAGE);
    staging->base = base;
    atomic_flag_clear(&staging->lock);
    staging->used = maps;
    staging->backed = staging->used + words(staging->slots);
    return 0;
}

void hmm_linux_staging_close(struct hmm_linux_staging *staging)
{
    (void)munmap(staging->base, staging->size);
    (void)munmap(staging->used, staging->maps_size);
    staging->base = NULL;
}

static bool is_set(const uint64_t *map, uint32_t i)
{
    return map[i / 64] >> i % 64 & 1;
}

/* How many slots from `slot' on are free, up to `most'. */
static uint32_t free_row(const struct hmm_linux_staging *staging, uint32_t slot,
                         uint32_t most)
{
    uint32_t count = 0;
    while (count < most && slot + count < staging->slots &&
           !is_set(staging->used, slot + count))
        count++;
    return count;
}

/* The first row of `count' free slots, or the number of slots. */
static uint32_t find(const struct hmm_linux_staging *staging, uint32_t count)
{
    uint32_t slot = staging->hint;
    hmm_assert(count > 0 && slot % 64 == 0);
    while (slot + count <= staging->slots) {
        uint64_t used = staging->used[slot / 64] >> slot % 64;
        if (used == UINT64_MAX >> slot % 64) {
            slot = (slot / 64 + 1) * 64;
            continue;
        }
        if (used & 1) {
            slot += (uint32_t)__builtin_ctzll(~used);
            continue;
        }
        uint32_t row = free_row(staging, slot, count);
        if (row == count)
            return slot;
        slot += row + 1;
    }
    return staging->slots;
}

static void lock(struct hmm_linux_staging *staging)
{
    while (
        atomic_flag_test_and_set_explicit(&staging->lock, memory_order_acquire))
        (void)sched_yield();
}

static void unlock(struct hmm_linux_staging *staging)
{
    atomic_flag_clear_explicit(&staging->lock, memory_order_release);
}

static int take(struct hmm_linux_staging *staging, uint32_t count,
                uint32_t *first)
{
    hmm_assert(count > 0);
    while (staging->hint < staging->slots &&
           staging->used[staging->hint / 64] == UINT64_MAX)
        staging->hint += 64;
    uint32_t slot = find(staging, count);
    if (slot == staging->slots)
        return ENOMEM;
    hmm_assert(count <= staging->slots - slot);
    for (uint32_t i = slot; i < slot + count; i++) {
        hmm_assert(!is_set(staging->used, i));
        uint64_t bit = UINT64_C(1) << i % 64;
        staging->used[i / 64] |= bit;
        if (staging->backed[i / 64] & bit)
            staging->free_backed--;
        staging->backed[i / 64] |= bit;
    }
    *first = slot;
    return 0;
}

int hmm_linux_slots_take(struct hmm_linux_staging *staging, uint32_t count,
                         uint32_t *first)
{
    lock(staging);
    int error = take(staging, count, first);
    unlock(staging);
    return error;
}

/* The row of free slots with memory that ends before `end'. */
static uint32_t row_below(const struct hmm_linux_staging *staging, uint32_t end)
{
    uint32_t start = end;
    while (start > 0 && is_set(staging->backed, start - 1) &&
           !is_set(staging->used, start - 1))
        start--;
    return start;
}

/* Gives memory of free slots back, the highest first, until half of what may wait
 * is left: so it is not done for every slot that is given. */
static void trim(struct hmm_linux_staging *staging)
{
    uint32_t end = staging->slots;
    while (end > 0 && staging->free_backed > staging->free_backed_max / 2) {
        if (!(end % 64) && !staging->backed[end / 64 - 1]) {
            end -= 64;
            continue;
        }
        uint32_t start = row_below(staging, end);
        if (start == end) {
            end--;
            continue;
        }
        hmm_assert(staging->free_backed >= end - start);
        (void)madvise(hmm_linux_slot(staging, start),
                      (end - start) * staging->page, MADV_DONTNEED);
        for (uint32_t i = start; i < end; i++)
            staging->backed[i / 64] &= ~(UINT64_C(1) << i % 64);
        staging->free_backed -= end - start;
        end = start;
    }
}

void hmm_linux_slots_give(struct hmm_linux_staging *staging, uint32_t first,
                          uint32_t count)
{
    hmm_assert(count > 0 && first < staging->slots);
    hmm_assert(count <= staging->slots - first);
    lock(staging);
    for (uint32_t i = first; i < first + count; i++) {
        hmm_assert(is_set(staging->used, i) && is_set(staging->backed, i));
        staging->used[i / 64] &= ~(UINT64_C(1) << i % 64);
    }
    staging->free_backed += count;
    if (first / 64 * 64 < staging->hint)
        staging->hint = first / 64 * 64;
    if (staging->free_backed > staging->free_backed_max)
        trim(staging);
    unlock(staging);
}
