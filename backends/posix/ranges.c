/* SPDX-License-Identifier: MIT */
/* The ranges that a port has reserved, read by the signal handler.
 *
 * A sorted array under a version counter: a writer makes it odd, changes, and
 * makes it even; a reader who sees it odd or changed looks again.  Writers have
 * the lock and their asynchronous signals masked and make no system call while
 * it is odd, so that a reader never waits for its own thread, and never long.
 * Everything is sequentially consistent: TSan does not know fences.  A table that
 * was outgrown stays readable until close.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "lib/base/assert.h"

#define CAPACITY_FIRST 16u

void hmm_posix_ranges_init(struct hmm_posix_ranges *ranges)
{
    atomic_init(&ranges->version, 0);
    atomic_init(&ranges->table, NULL);
    atomic_init(&ranges->count, 0);
    atomic_flag_clear(&ranges->lock);
}

void hmm_posix_ranges_free(struct hmm_posix_ranges *ranges)
{
    struct hmm_posix_range_table *table = atomic_load(&ranges->table);
    while (table) {
        struct hmm_posix_range_table *older = table->older;
        free(table);
        table = older;
    }
    hmm_posix_ranges_init(ranges);
}

void hmm_posix_ranges_lock(struct hmm_posix_ranges *ranges)
{
    while (atomic_flag_test_and_set(&ranges->lock))
        (void)sched_yield();
}

void hmm_posix_ranges_unlock(struct hmm_posix_ranges *ranges)
{
    atomic_flag_clear(&ranges->lock);
}

static uintptr_t start_of(struct hmm_posix_range_table *table, size_t i)
{
    return atomic_load(&table->ranges[i].start);
}

static uintptr_t end_of(struct hmm_posix_range_table *table, size_t i)
{
    return atomic_load(&table->ranges[i].end);
}

static void set(struct hmm_posix_range_table *table, size_t i, uintptr_t start,
                uintptr_t end)
{
    atomic_store(&table->ranges[i].start, start);
    atomic_store(&table->ranges[i].end, end);
}

/* Begins and ends a change, of which the caller has the lock. */
static void turn(struct hmm_posix_ranges *ranges)
{
    atomic_fetch_add(&ranges->version, 1);
}

/* The first range that ends after the address. */
static size_t search(struct hmm_posix_range_table *table, size_t count,
                     uintptr_t address)
{
    size_t low = 0;
    while (low < count) {
        size_t middle = low + (count - low) / 2;
        if (end_of(table, middle) <= address)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

/* Makes room for one more. */
static int grow(struct hmm_posix_ranges *ranges)
{
    struct hmm_posix_range_table *old = atomic_load(&ranges->table);
    size_t count = atomic_load(&ranges->count);
    if (old && count < old->capacity)
        return 0;
    size_t capacity = old ? old->capacity * 2 : CAPACITY_FIRST;
    struct hmm_posix_range_table *table =
        malloc(sizeof(*table) + capacity * sizeof(table->ranges[0]));
    if (!table)
        return ENOMEM;
    table->older = old;
    table->capacity = capacity;
    for (size_t i = 0; i < capacity; i++) {
        atomic_init(&table->ranges[i].start, i < count ? start_of(old, i) : 0);
        atomic_init(&table->ranges[i].end, i < count ? end_of(old, i) : 0);
    }
    atomic_store(&ranges->table, table);
    return 0;
}

/* Puts `insert` new places at `at` in place of `remove` old ones. */
static void splice(struct hmm_posix_ranges *ranges, size_t at, size_t remove,
                   size_t insert)
{
    struct hmm_posix_range_table *table = atomic_load(&ranges->table);
    size_t count = atomic_load(&ranges->count);
    hmm_assert(at + remove <= count);
    hmm_assert(count - remove + insert <= table->capacity);
    if (insert < remove) {
        for (size_t i = at + remove; i < count; i++)
            set(table, i - remove + insert, start_of(table, i),
                end_of(table, i));
    } else if (insert > remove) {
        for (size_t i = count; i-- > at + remove;)
            set(table, i - remove + insert, start_of(table, i),
                end_of(table, i));
    }
    atomic_store(&ranges->count, count - remove + insert);
}

int hmm_posix_ranges_add(struct hmm_posix_ranges *ranges, uintptr_t start,
                         uintptr_t end)
{
    hmm_assert(start < end);
    int error = grow(ranges);
    if (error)
        return error;
    struct hmm_posix_range_table *table = atomic_load(&ranges->table);
    size_t count = atomic_load(&ranges->count);
    size_t at = search(table, count, start);
    hmm_assert(at == count || end <= start_of(table, at));
    turn(ranges);
    splice(ranges, at, 0, 1);
    set(table, at, start, end);
    turn(ranges);
    return 0;
}

int hmm_posix_ranges_remove(struct hmm_posix_ranges *ranges, uintptr_t start,
                            uintptr_t end)
{
    hmm_assert(start < end);
    int error = grow(ranges);
    struct hmm_posix_range_table *table = atomic_load(&ranges->table);
    size_t count = atomic_load(&ranges->count);
    size_t at = table ? search(table, count, start) : 0;
    size_t past = at;
    while (past < count && start_of(table, past) < end)
        past++;
    if (past == at)
        return 0;
    uintptr_t first = start_of(table, at), last = end_of(table, past - 1);
    size_t keep = (first < start) + (size_t)(end < last);
    if (keep > past - at && error)
        return error;
    hmm_assert(!(atomic_load(&ranges->version) & 1));
    turn(ranges);
    splice(ranges, at, past - at, keep);
    if (first < start)
        set(table, at++, first, start);
    if (end < last)
        set(table, at, end, last);
    turn(ranges);
    return 0;
}

bool hmm_posix_ranges_find(struct hmm_posix_ranges *ranges, uintptr_t address)
{
    for (;;) {
        unsigned version = atomic_load(&ranges->version);
        bool found = false;
        struct hmm_posix_range_table *table = atomic_load(&ranges->table);
        size_t count = atomic_load(&ranges->count);
        if (table && count <= table->capacity && !(version & 1)) {
            size_t at = search(table, count, address);
            found = at < count && start_of(table, at) <= address;
        }
        if (!(version & 1) && version == atomic_load(&ranges->version))
            return found;
        (void)sched_yield();
    }
}
