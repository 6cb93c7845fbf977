/* SPDX-License-Identifier: MIT */
/*
 * Operation scripts.  See scripts.h.
 *
 * There is one thread of the application, pages are read one by one, and disks
 * fail at a page, not at a call: so the answers are the same whatever the
 * library's own threads do meanwhile.
 */
#include <stdatomic.h>
#include <string.h>

#include <hurdmm/error.h>

#include "tests/core/scripts.h"

#define PAGE SCRIPT_PAGE
#define RW (HURDMM_READ | HURDMM_WRITE)
#define FOR_EVER 1000000u

/* What a disk fails at. */
enum failing { NOTHING, READING, WRITING, UNLOCKING, SYNCING };

struct disk {
    uint8_t *bytes;
    struct hurdmm_store *store;
    /* Atomic for the thread sanitizer, which does not see that an access comes
     * before the fill that it causes. */
    _Atomic(enum failing) failing;
    atomic_uint bad_page;
    atomic_uint times;
    atomic_int error;
};

struct run {
    const struct script_machine *machine;
    struct script_trace *trace;
    unsigned wrong;
    struct hurdmm *manager;
    struct hurdmm_space *space;
    struct disk disks[SCRIPT_DISKS];
};

/* ---- The text ----------------------------------------------------------- */

static void put(struct script_trace *trace, const char *text)
{
    for (; *text != 0 && trace->length + 1 < trace->size; text++)
        trace->text[trace->length++] = *text;
    trace->text[trace->length] = 0;
}

static void put_number(struct script_trace *trace, uint64_t value)
{
    char digits[24];
    unsigned at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    put(trace, digits + at);
}

static void put_error(struct script_trace *trace, int error)
{
    static const struct {
        int error;
        const char *name;
    } names[] = {{0, "ok"},           {EINVAL, "EINVAL"}, {EEXIST, "EEXIST"},
                 {ENOENT, "ENOENT"},  {EACCES, "EACCES"}, {EBUSY, "EBUSY"},
                 {EIO, "EIO"},        {ENXIO, "ENXIO"},   {EROFS, "EROFS"},
                 {ENOMEM, "ENOMEM"},  {EDQUOT, "EDQUOT"}, {EFAULT, "EFAULT"},
                 {ENOSPC, "ENOSPC"},  {EPERM, "EPERM"},   {ESTALE, "ESTALE"},
                 {ENOTSUP, "ENOTSUP"}};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].error == error) {
            put(trace, names[i].name);
            return;
        }
    put(trace, "error ");
    put_number(trace, (uint64_t)error);
}

/* A step answered `error', and should have answered `wanted'. */
static void step(struct run *run, const char *what, int error, int wanted)
{
    put(run->trace, what);
    put(run->trace, ": ");
    put_error(run->trace, error);
    if (error != wanted) {
        put(run->trace, ", WANTED ");
        put_error(run->trace, wanted);
        run->wrong++;
    }
    put(run->trace, "\n");
}

static void value_is(struct run *run, const char *what, uint64_t value,
                     uint64_t wanted)
{
    put(run->trace, what);
    put(run->trace, " = ");
    put_number(run->trace, value);
    if (value != wanted) {
        put(run->trace, ", WANTED ");
        put_number(run->trace, wanted);
        run->wrong++;
    }
    put(run->trace, "\n");
}

/* A value that only has to be the same everywhere. */
static void value(struct run *run, const char *what, uint64_t found)
{
    value_is(run, what, found, found);
}

static uint64_t hash(uint64_t sum, const uint8_t *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ bytes[i]) * 0x100000001b3u;
    return sum;
}

static void contents(struct run *run, const char *what, unsigned disk)
{
    value(run, what,
          hash(1, run->disks[disk].bytes, (size_t)SCRIPT_DISK_PAGES * PAGE));
}

static uint64_t draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* ---- Disks -------------------------------------------------------------- */

/* What is at a place of a disk to begin with. */
static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 12) * 13 + 5);
}

/* How much of a call is done, and its error. */
static int part_done(struct disk *disk, enum failing what, uint64_t offset,
                     size_t length, size_t *done)
{
    uint64_t bad = disk->bad_page * (uint64_t)PAGE;
    *done = length;
    if (disk->failing != what || disk->times == 0 || bad < offset ||
        bad >= offset + length)
        return 0;
    disk->times--;
    *done = (size_t)(bad - offset);
    return disk->error;
}

static int disk_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                   void *buffer, size_t length, size_t *done)
{
    struct disk *disk = hook;
    (void)store;
    int error = part_done(disk, READING, offset, length, done);
    memcpy(buffer, disk->bytes + offset, *done);
    return error;
}

static int disk_out(struct hurdmm_store *store, void *hook, uint64_t offset,
                    const void *buffer, size_t length, size_t *done)
{
    struct disk *disk = hook;
    (void)store;
    int error = part_done(disk, WRITING, offset, length, done);
    memcpy(disk->bytes + offset, buffer, *done);
    return error;
}

static int disk_unlock(struct hurdmm_store *store, void *hook, uint64_t offset,
                       size_t length)
{
    size_t done;
    (void)store;
    return part_done(hook, UNLOCKING, offset, length, &done);
}

static int disk_sync(struct hurdmm_store *store, void *hook, uint64_t offset,
                     uint64_t length)
{
    size_t done;
    (void)store;
    return part_done(hook, SYNCING, offset, (size_t)length, &done);
}

static const struct hurdmm_store_ops disk_ops = {
    .struct_size = sizeof disk_ops,
    .page_in = disk_in,
    .page_out = disk_out,
    .sync = disk_sync,
    .unlock = disk_unlock,
};

/* A store of `size' bytes on a disk. */
static struct hurdmm_store *open_disk(struct run *run, unsigned number,
                                      uint64_t size, unsigned flags)
{
    struct disk *disk = &run->disks[number];
    struct hurdmm_store_options options = {
        .struct_size = sizeof options,
        .name = number == 0 ? "first" : "second",
        .hook = disk,
        .size = size,
        .flags = flags,
    };
    disk->store = NULL;
    step(run, "create a store",
         hurdmm_store_create(run->manager, &disk_ops, &options, &disk->store),
         0);
    return disk->store;
}

static void fail(struct run *run, enum failing what, unsigned page,
                 unsigned times, int error)
{
    struct disk *disk = &run->disks[0];
    disk->bad_page = page;
    disk->times = times;
    disk->error = error;
    disk->failing = what;
}

/* Writes the store of a disk back, ends it, and says what the disk has. */
static void close_disk(struct run *run, unsigned number)
{
    struct hurdmm_store *store = run->disks[number].store;
    step(run, "sync", hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
         0);
    step(run, "destroy", hurdmm_store_destroy(store, HURDMM_DETACH), 0);
    contents(run, "the disk", number);
}

/* ---- Steps -------------------------------------------------------------- */

static int try_bind(struct run *run, struct hurdmm_store *store,
                    uint64_t offset, size_t length, uintptr_t where,
                    unsigned rights, unsigned flags, uintptr_t *address)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = run->space,
        .store = store,
        .offset = offset,
        .address = where,
        .length = length,
        .rights = rights,
        .flags = flags,
    };
    return hurdmm_bind(&bind, address);
}

/* Binds to read and write, anywhere. */
static uintptr_t bind(struct run *run, struct hurdmm_store *store,
                      uint64_t offset, size_t length)
{
    uintptr_t address = 0;
    step(run, "bind", try_bind(run, store, offset, length, 0, RW, 0, &address),
         0);
    return address;
}

static int load(struct run *run, uintptr_t address, uint8_t *byte)
{
    return run->machine->load(run->machine->hook, address, byte);
}

static int save(struct run *run, uintptr_t address, uint8_t byte)
{
    return run->machine->store(run->machine->hook, address, byte);
}

static void loads(struct run *run, uintptr_t address, uint8_t wanted)
{
    uint8_t byte = 0;
    if (load(run, address, &byte) != 0)
        value_is(run, "a load that fails, its byte", 1000, wanted);
    else
        value_is(run, "a load", byte, wanted);
}

static void load_fails(struct run *run, uintptr_t address)
{
    uint8_t byte;
    value_is(run, "a load fails", load(run, address, &byte) != 0, 1);
}

static void saves(struct run *run, uintptr_t address, uint8_t byte)
{
    value_is(run, "a store fails", save(run, address, byte) != 0, 0);
}

static void save_fails(struct run *run, uintptr_t address)
{
    value_is(run, "a store fails", save(run, address, 0xee) != 0, 1);
}

/* The sum of one byte in every 64 of the range, as the application sees it. */
static void sees(struct run *run, uintptr_t address, size_t length)
{
    uint64_t sum = 1;
    for (size_t i = 0; i < length; i += 64) {
        uint8_t byte = 0;
        if (load(run, address + i, &byte) != 0) {
            value_is(run, "a load fails at", i, length);
            return;
        }
        sum = hash(sum, &byte, 1);
    }
    value(run, "memory", sum);
}

static void state_is(struct run *run, struct hurdmm_store *store, unsigned page,
                     unsigned wanted)
{
    unsigned state = 0;
    step(run, "state",
         hurdmm_store_state(store, page * (uint64_t)PAGE, &state, NULL), 0);
    value_is(run, "it", state, wanted);
}

/* ---- Scripts: regions --------------------------------------------------- */

static void places(struct run *run)
{
    struct hurdmm_store *store =
        open_disk(run, 0, 32 * PAGE, HURDMM_STORE_SHARED);
    uintptr_t base = bind(run, store, 0, 16 * PAGE);
    uintptr_t at = 0;
    step(run, "bind exactly where something is",
         try_bind(run, store, 0, PAGE, base + PAGE, RW, HURDMM_BIND_EXACT, &at),
         EEXIST);
    step(run, "unbind in the middle",
         hurdmm_unbind(run->space, base + 4 * PAGE, 4 * PAGE), 0);
    loads(run, base + 3 * PAGE, byte_at(3 * PAGE));
    load_fails(run, base + 4 * PAGE);
    load_fails(run, base + 8 * PAGE - 1);
    loads(run, base + 8 * PAGE, byte_at(8 * PAGE));
    step(run, "bind exactly in the hole",
         try_bind(run, store, 20 * PAGE, 2 * PAGE, base + 5 * PAGE, RW,
                  HURDMM_BIND_EXACT, &at),
         0);
    value_is(run, "place", (at - base) / PAGE, 5);
    loads(run, at, byte_at(20 * PAGE));
    load_fails(run, base + 4 * PAGE);
    load_fails(run, base + 7 * PAGE);
    step(run, "bind with a hint that is taken",
         try_bind(run, store, 24 * PAGE, 2 * PAGE, base, RW, 0, &at), 0);
    value_is(run, "elsewhere", at - base >= 16 * PAGE, 1);
    loads(run, at + 17, byte_at(24 * PAGE + 17));
    step(run, "unbind all, with holes",
         hurdmm_unbind(run->space, base, 16 * PAGE), 0);
    load_fails(run, base);
    loads(run, at, byte_at(24 * PAGE));
    close_disk(run, 0);
    load_fails(run, at);
}

static void wrong_places(struct run *run)
{
    struct hurdmm_store *store = open_disk(run, 0, 32 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 8 * PAGE);
    uintptr_t at = 0;
    step(run, "bind again", try_bind(run, store, 0, PAGE, 0, RW, 0, &at),
         EBUSY);
    step(run, "bind nothing", try_bind(run, store, 16 * PAGE, 0, 0, RW, 0, &at),
         EINVAL);
    step(run, "bind inside a page",
         try_bind(run, store, 100, PAGE, 0, RW, 0, &at), EINVAL);
    step(run, "bind to write only",
         try_bind(run, store, 16 * PAGE, PAGE, 0, HURDMM_WRITE, 0, &at),
         EINVAL);
    step(run, "unbind inside a page", hurdmm_unbind(run->space, base + 1, PAGE),
         EINVAL);
    step(run, "unbind nothing", hurdmm_unbind(run->space, base, 0), EINVAL);
    step(run, "reserve",
         try_bind(run, NULL, 0, 4 * PAGE, 0, 0, HURDMM_BIND_RESERVED, &at), 0);
    load_fails(run, at);
    step(run, "bind where it is reserved",
         try_bind(run, store, 16 * PAGE, PAGE, at, RW, HURDMM_BIND_EXACT, &at),
         EEXIST);
    step(run, "unbind the reserved", hurdmm_unbind(run->space, at, 4 * PAGE),
         0);
    step(run, "bind there",
         try_bind(run, store, 16 * PAGE, PAGE, at, RW, HURDMM_BIND_EXACT, &at),
         0);
    loads(run, at, byte_at(16 * PAGE));
    saves(run, base, 77);
    loads(run, base, 77);
    close_disk(run, 0);
}

/* What regions there are from `base' on. */
static void list_regions(struct run *run, uintptr_t base, size_t length)
{
    uintptr_t at = base;
    struct hurdmm_region_info info;
    while (at - base < length &&
           hurdmm_region_find(run->space, at, &info) == 0 &&
           info.address - base < length) {
        value(run, "region", (info.address - base) / PAGE);
        value(run, "length", info.length / PAGE);
        value(run, "offset", info.offset / PAGE);
        value(run, "rights", info.rights);
        at = info.address + info.length;
    }
}

static void protection(struct run *run)
{
    struct hurdmm_store *store = open_disk(run, 0, 16 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 12 * PAGE);
    saves(run, base + 4 * PAGE, 1);
    step(run, "protect from writing",
         hurdmm_protect(run->space, base + 4 * PAGE, 4 * PAGE, HURDMM_READ), 0);
    loads(run, base + 4 * PAGE, 1);
    save_fails(run, base + 4 * PAGE);
    saves(run, base + 3 * PAGE, 2);
    saves(run, base + 8 * PAGE, 3);
    step(run, "protect from all",
         hurdmm_protect(run->space, base + 5 * PAGE, PAGE, HURDMM_NONE), 0);
    load_fails(run, base + 5 * PAGE + 9);
    list_regions(run, base, 12 * PAGE);
    step(run, "allow again", hurdmm_protect(run->space, base, 12 * PAGE, RW),
         0);
    saves(run, base + 5 * PAGE, 4);
    loads(run, base + 4 * PAGE, 1);
    step(run, "unbind one", hurdmm_unbind(run->space, base, PAGE), 0);
    step(run, "protect a hole",
         hurdmm_protect(run->space, base, 2 * PAGE, HURDMM_READ), ENOENT);
    saves(run, base + PAGE, 5);
    list_regions(run, base, 12 * PAGE);
    close_disk(run, 0);

    store = open_disk(run, 1, 4 * PAGE, HURDMM_STORE_READ_ONLY);
    uintptr_t at = 0;
    step(run, "bind a read-only store to write",
         try_bind(run, store, 0, PAGE, 0, RW, 0, &at), EROFS);
    step(run, "bind it to read",
         try_bind(run, store, 0, PAGE, 0, HURDMM_READ, 0, &at), 0);
    loads(run, at + 5, byte_at(5));
    save_fails(run, at + 5);
    step(run, "allow more than it has",
         hurdmm_protect(run->space, at, PAGE, RW), EACCES);
    loads(run, at + 5, byte_at(5));
    close_disk(run, 1);
}

static void advices(struct run *run)
{
    static const enum hurdmm_advice all[] = {
        HURDMM_ADVICE_SEQUENTIAL, HURDMM_ADVICE_RANDOM, HURDMM_ADVICE_WILLNEED,
        HURDMM_ADVICE_DONTNEED,   HURDMM_ADVICE_NORMAL, HURDMM_ADVICE_READ_ONCE,
    };
    struct hurdmm_store *store = open_disk(run, 0, 16 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 16 * PAGE);
    for (unsigned i = 0; i < 16; i += 3)
        saves(run, base + i * PAGE + i, (uint8_t)(100 + i));
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        step(run, "advise",
             hurdmm_advise(run->space, base + 2 * PAGE, 12 * PAGE, all[i]), 0);
        sees(run, base, 16 * PAGE);
        step(run, "advise the store",
             hurdmm_store_advise(store, 0, 16 * PAGE, all[i]), 0);
        loads(run, base + 15 * PAGE + 15, 115);
    }
    step(run, "advise what there is not",
         hurdmm_advise(run->space, base, PAGE, (enum hurdmm_advice)99), EINVAL);
    step(run, "unbind", hurdmm_unbind(run->space, base, PAGE), 0);
    step(run, "advise a hole",
         hurdmm_advise(run->space, base, PAGE, HURDMM_ADVICE_RANDOM), ENOENT);
    close_disk(run, 0);
}

static void two_views(struct run *run)
{
    struct hurdmm_store *store =
        open_disk(run, 0, 16 * PAGE, HURDMM_STORE_SHARED);
    uintptr_t one = bind(run, store, 0, 8 * PAGE);
    uintptr_t two = bind(run, store, 4 * PAGE, 8 * PAGE);
    for (unsigned i = 0; i < 4; i++) {
        saves(run, one + (4 + i) * PAGE, (uint8_t)(10 + i));
        loads(run, two + i * PAGE, (uint8_t)(10 + i));
        saves(run, two + i * PAGE + 1, (uint8_t)(20 + i));
        loads(run, one + (4 + i) * PAGE + 1, (uint8_t)(20 + i));
    }
    step(run, "flush by the second",
         hurdmm_flush(run->space, two, 4 * PAGE, HURDMM_WAIT), 0);
    contents(run, "the disk", 0);
    saves(run, one + 4 * PAGE, 99);
    step(run, "unbind the first", hurdmm_unbind(run->space, one, 8 * PAGE), 0);
    loads(run, two, 99);
    saves(run, two + 2, 98);
    load_fails(run, one + 4 * PAGE);
    close_disk(run, 0);
}

/* ---- Scripts: reading and writing --------------------------------------- */

/* Loads and stores at random places; with fewer frames than pages, too. */
static void traffic(struct run *run)
{
    uint64_t seed = 42;
    struct hurdmm_store *store = open_disk(run, 0, 48 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 48 * PAGE);
    for (unsigned i = 0; i < 1500; i++) {
        uintptr_t at = base + (uintptr_t)(draw(&seed) % (48 * PAGE));
        if (draw(&seed) % 2 != 0) {
            if (save(run, at, (uint8_t)draw(&seed)) != 0)
                value_is(run, "a store fails", at - base, 0);
        } else if (i % 50 == 0) {
            uint8_t byte = 0;
            value_is(run, "a load fails", load(run, at, &byte) != 0, 0);
            value(run, "byte", byte);
        }
        if (i == 700)
            step(run, "flush without waiting",
                 hurdmm_store_flush(store, 0, HURDMM_WHOLE, 0), 0);
    }
    sees(run, base, 48 * PAGE);
    close_disk(run, 0);
}

static void budget(struct run *run)
{
    struct hurdmm_store *store = open_disk(run, 0, 40 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 40 * PAGE);
    for (unsigned i = 0; i < 40; i++)
        saves(run, base + i * PAGE + i, (uint8_t)(200 - i));
    step(run, "less memory", hurdmm_set_budget(run->manager, 16 * PAGE), 0);
    sees(run, base, 40 * PAGE);
    for (unsigned i = 0; i < 40; i += 2)
        saves(run, base + i * PAGE, (uint8_t)i);
    step(run, "far too little memory", hurdmm_set_budget(run->manager, PAGE),
         EINVAL);
    step(run, "all of it again", hurdmm_set_budget(run->manager, 32 * PAGE), 0);
    sees(run, base, 40 * PAGE);
    step(run, "more than there was", hurdmm_set_budget(run->manager, 64 * PAGE),
         EINVAL);
    close_disk(run, 0);
}

static void through_the_cache(struct run *run)
{
    static uint8_t buffer[4 * PAGE];
    size_t done = 0;
    struct hurdmm_store *store = open_disk(run, 0, 10 * PAGE + 300, 0);
    uintptr_t base = bind(run, store, 0, 12 * PAGE);
    saves(run, base + 2 * PAGE, 1);
    step(run, "read the store",
         hurdmm_store_read(store, PAGE + 50, buffer, 2 * PAGE, &done), 0);
    value_is(run, "done", done, 2 * PAGE);
    value(run, "read", hash(1, buffer, 2 * PAGE));
    memset(buffer, 0x5a, sizeof buffer);
    step(run, "write the store",
         hurdmm_store_write(store, 4 * PAGE - 9, buffer, PAGE + 18, &done), 0);
    value_is(run, "done", done, PAGE + 18);
    loads(run, base + 4 * PAGE - 10, byte_at(4 * PAGE - 10));
    loads(run, base + 4 * PAGE - 9, 0x5a);
    loads(run, base + 5 * PAGE + 8, 0x5a);
    loads(run, base + 5 * PAGE + 9, byte_at(5 * PAGE + 9));
    step(run, "write past the end",
         hurdmm_store_write(store, 10 * PAGE, buffer, PAGE, &done), ENXIO);
    value_is(run, "done", done, 300);
    step(run, "read past the end",
         hurdmm_store_read(store, 10 * PAGE + 290, buffer, PAGE, &done), ENXIO);
    value_is(run, "done", done, 10);
    loads(run, base + 10 * PAGE + 299, 0x5a);
    close_disk(run, 0);
}

static void by_address(struct run *run)
{
    static uint8_t buffer[4 * PAGE];
    size_t done = 0;
    struct hurdmm_store *store = open_disk(run, 0, 16 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 8 * PAGE);
    saves(run, base + 77, 3);
    step(run, "read", hurdmm_read(run->space, base + 70, buffer, PAGE, &done),
         0);
    value_is(run, "done", done, PAGE);
    value(run, "read", hash(1, buffer, PAGE));
    memset(buffer, 0xa5, sizeof buffer);
    step(run, "write",
         hurdmm_write(run->space, base + 2 * PAGE - 5, buffer, PAGE, &done), 0);
    value_is(run, "done", done, PAGE);
    loads(run, base + 2 * PAGE - 5, 0xa5);
    loads(run, base + 3 * PAGE - 6, 0xa5);
    loads(run, base + 3 * PAGE - 5, byte_at(3 * PAGE - 5));
    step(run, "protect",
         hurdmm_protect(run->space, base + 4 * PAGE, PAGE, HURDMM_READ), 0);
    step(run, "write where it is not allowed",
         hurdmm_write(run->space, base + 4 * PAGE - 7, buffer, PAGE, &done),
         EACCES);
    value_is(run, "done", done, 7);
    step(run, "unbind", hurdmm_unbind(run->space, base + 6 * PAGE, PAGE), 0);
    step(run, "read into a hole",
         hurdmm_read(run->space, base + 6 * PAGE - 11, buffer, PAGE, &done),
         ENOENT);
    value_is(run, "done", done, 11);
    sees(run, base, 6 * PAGE);
    close_disk(run, 0);
}

static void verbs(struct run *run)
{
    struct hurdmm_store *store = open_disk(run, 0, 16 * PAGE, 0);
    uint8_t *bytes = run->disks[0].bytes;
    uintptr_t base = bind(run, store, 0, 16 * PAGE);
    for (unsigned i = 0; i < 8; i++)
        saves(run, base + i * PAGE, 250);
    state_is(run, store, 0, HURDMM_STATE_RESIDENT | HURDMM_STATE_DIRTY);
    step(run, "flush", hurdmm_flush(run->space, base, 2 * PAGE, HURDMM_WAIT),
         0);
    state_is(run, store, 0, HURDMM_STATE_RESIDENT);
    state_is(run, store, 2, HURDMM_STATE_RESIDENT | HURDMM_STATE_DIRTY);
    value_is(run, "on disk", bytes[PAGE], 250);
    value_is(run, "on disk", bytes[2 * PAGE], byte_at(2 * PAGE));
    step(run, "return",
         hurdmm_return(run->space, base + 2 * PAGE, 2 * PAGE, HURDMM_WAIT), 0);
    state_is(run, store, 2, 0);
    value_is(run, "on disk", bytes[3 * PAGE], 250);
    loads(run, base + 2 * PAGE, 250);
    step(run, "discard", hurdmm_discard(run->space, base + 4 * PAGE, 2 * PAGE),
         0);
    state_is(run, store, 4, 0);
    loads(run, base + 4 * PAGE, byte_at(4 * PAGE));
    loads(run, base + 6 * PAGE, 250);
    saves(run, base, 251);
    step(run, "sync", hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
         0);
    value_is(run, "on disk", bytes[0], 251);
    saves(run, base, 252);
    step(run, "sync all", hurdmm_sync_all(run->manager), 0);
    value_is(run, "on disk", bytes[0], 252);
    step(run, "unbind", hurdmm_unbind(run->space, base, PAGE), 0);
    saves(run, base + PAGE, 253);
    step(run, "flush with a hole",
         hurdmm_flush(run->space, base, 2 * PAGE, HURDMM_WAIT), ENOENT);
    value_is(run, "on disk", bytes[PAGE], 253);
    close_disk(run, 0);
}

static void keeping(struct run *run)
{
    size_t done = 0;
    struct hurdmm_store *store = open_disk(run, 0, 32 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 32 * PAGE);
    step(run, "populate",
         hurdmm_populate(run->space, base, 4 * PAGE, HURDMM_READ, &done), 0);
    value_is(run, "done", done, 4 * PAGE);
    state_is(run, store, 3, HURDMM_STATE_RESIDENT);
    state_is(run, store, 4, 0);
    step(run, "pin",
         hurdmm_pin(run->space, base + 8 * PAGE, 2 * PAGE, HURDMM_WRITE), 0);
    saves(run, base + 8 * PAGE, 9);
    step(run, "pin too much",
         hurdmm_pin(run->space, base + 10 * PAGE, 7 * PAGE, HURDMM_READ),
         EDQUOT);
    step(run, "return what is pinned",
         hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT), EBUSY);
    state_is(run, store, 3, 0);
    step(run, "unbind what is pinned",
         hurdmm_unbind(run->space, base + 8 * PAGE, PAGE), EBUSY);
    loads(run, base + 8 * PAGE, 9);
    step(run, "unpin what is not pinned",
         hurdmm_unpin(run->space, base + 9 * PAGE, 2 * PAGE, HURDMM_WRITE),
         EINVAL);
    step(run, "unpin",
         hurdmm_unpin(run->space, base + 8 * PAGE, 2 * PAGE, HURDMM_WRITE), 0);
    step(run, "return it now",
         hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    value_is(run, "on disk", run->disks[0].bytes[8 * PAGE], 9);
    step(run, "populate a store",
         hurdmm_store_populate(store, 30 * PAGE, 2 * PAGE, &done), 0);
    state_is(run, store, 31, HURDMM_STATE_RESIDENT);
    close_disk(run, 0);
}

static void sizes(struct run *run)
{
    struct hurdmm_store *store = open_disk(run, 0, 8 * PAGE + 100, 0);
    uintptr_t base = bind(run, store, 0, 16 * PAGE);
    loads(run, base + 8 * PAGE + 99, byte_at(8 * PAGE + 99));
    loads(run, base + 8 * PAGE + 100, 0);
    saves(run, base + 8 * PAGE + 101, 44);
    load_fails(run, base + 9 * PAGE);
    step(run, "grow", hurdmm_store_resize(store, 10 * PAGE), 0);
    value_is(run, "size", hurdmm_store_size(store), 10 * PAGE);
    loads(run, base + 9 * PAGE, byte_at(9 * PAGE));
    saves(run, base + 9 * PAGE + 7, 45);
    saves(run, base + 2 * PAGE + 200, 46);
    step(run, "shrink", hurdmm_store_resize(store, 2 * PAGE + 150), 0);
    load_fails(run, base + 9 * PAGE);
    load_fails(run, base + 3 * PAGE);
    loads(run, base + 2 * PAGE + 149, byte_at(2 * PAGE + 149));
    loads(run, base + 2 * PAGE + 150, 0);
    loads(run, base + 2 * PAGE + 200, 0);
    step(run, "grow again", hurdmm_store_resize(store, 6 * PAGE), 0);
    loads(run, base + 2 * PAGE + 200, 0);
    loads(run, base + 3 * PAGE + 1, byte_at(3 * PAGE + 1));
    saves(run, base + 5 * PAGE + 1, 47);
    close_disk(run, 0);
}

/* ---- Scripts: errors ---------------------------------------------------- */

static void bad_reads(struct run *run)
{
    static uint8_t buffer[4 * PAGE];
    size_t done = 0;
    struct hurdmm_store *store = open_disk(run, 0, 16 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 16 * PAGE);
    fail(run, READING, 3, 1, EIO);
    loads(run, base + 2 * PAGE, byte_at(2 * PAGE));
    load_fails(run, base + 3 * PAGE);
    load_fails(run, base + 3 * PAGE);
    state_is(run, store, 3, HURDMM_STATE_FAILED);
    step(run, "forget the error", hurdmm_store_discard(store, 3 * PAGE, PAGE),
         0);
    loads(run, base + 3 * PAGE, byte_at(3 * PAGE));
    fail(run, READING, 5, 1, 0);
    save_fails(run, base + 5 * PAGE);
    step(run, "forget the error", hurdmm_store_discard(store, 5 * PAGE, PAGE),
         0);
    saves(run, base + 5 * PAGE, 1);
    fail(run, READING, 7, FOR_EVER, EIO);
    step(run, "read a bad page",
         hurdmm_store_read(store, 6 * PAGE + 8, buffer, 2 * PAGE, &done), EIO);
    value_is(run, "done", done, PAGE - 8);
    step(run, "read it by address",
         hurdmm_read(run->space, base + 7 * PAGE, buffer, 5, &done), EIO);
    load_fails(run, base + 7 * PAGE);
    load_fails(run, base + 7 * PAGE);
    step(run, "populate it",
         hurdmm_populate(run->space, base + 6 * PAGE, 3 * PAGE, HURDMM_READ,
                         &done),
         EIO);
    value_is(run, "done", done, PAGE);
    step(run, "pin it",
         hurdmm_pin(run->space, base + 6 * PAGE, 3 * PAGE, HURDMM_READ), EIO);
    fail(run, NOTHING, 0, 0, 0);
    step(run, "forget the error", hurdmm_store_discard(store, 7 * PAGE, PAGE),
         0);
    loads(run, base + 7 * PAGE, byte_at(7 * PAGE));
    loads(run, base + 8 * PAGE, byte_at(8 * PAGE));
    close_disk(run, 0);
}

static void bad_writes(struct run *run)
{
    struct hurdmm_store *store = open_disk(run, 0, 16 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 16 * PAGE);
    for (unsigned i = 0; i < 6; i++)
        saves(run, base + i * PAGE, 66);
    fail(run, WRITING, 2, 1, EIO);
    step(run, "flush to a bad page",
         hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT), EIO);
    loads(run, base + 2 * PAGE, 66);
    step(run, "flush again",
         hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT), 0);
    contents(run, "the disk", 0);
    fail(run, WRITING, 1, FOR_EVER, ENOSPC);
    saves(run, base + PAGE, 67);
    saves(run, base + 4 * PAGE, 67);
    step(run, "return to a full disk",
         hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT), ENOSPC);
    loads(run, base + PAGE, 67);
    state_is(run, store, 4, 0);
    step(run, "destroy", hurdmm_store_destroy(store, HURDMM_DETACH), ENOSPC);
    loads(run, base + PAGE, 67);
    fail(run, SYNCING, 0, 1, EIO);
    step(run, "a sync that fails",
         hurdmm_store_sync(store, 0, HURDMM_WHOLE, HURDMM_WAIT), EIO);
    fail(run, UNLOCKING, 9, 1, ENOSPC);
    loads(run, base + 9 * PAGE, byte_at(9 * PAGE));
    save_fails(run, base + 9 * PAGE);
    loads(run, base + 9 * PAGE, byte_at(9 * PAGE));
    saves(run, base + 9 * PAGE, 68);
    close_disk(run, 0);
}

static void lost_writes(struct run *run)
{
    struct hurdmm_store *store = open_disk(run, 0, 8 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 8 * PAGE);
    saves(run, base, 1);
    step(run, "flush", hurdmm_store_flush(store, 0, PAGE, HURDMM_WAIT), 0);
    saves(run, base, 2);
    saves(run, base + PAGE, 2);
    fail(run, WRITING, 0, FOR_EVER, EIO);
    step(run, "destroy while bound", hurdmm_store_destroy(store, 0), EBUSY);
    step(run, "destroy", hurdmm_store_destroy(store, HURDMM_DETACH), EIO);
    step(run, "unbind", hurdmm_unbind(run->space, base, 8 * PAGE), 0);
    step(run, "destroy and lose",
         hurdmm_store_destroy(store, HURDMM_DETACH | HURDMM_DROP), 0);
    value_is(run, "on disk", run->disks[0].bytes[0], 1);
    load_fails(run, base);
}

/* ---- Scripts: containers ------------------------------------------------ */

static struct hurdmm_container *container(struct run *run)
{
    struct hurdmm_container *made = NULL;
    step(run, "create a container",
         hurdmm_container_create(run->manager, &made), 0);
    return made;
}

static void allocate(struct run *run, struct hurdmm_container *in,
                     uint64_t page, uint64_t pages, unsigned flags, int wanted,
                     uint64_t wanted_pages)
{
    uint64_t done = 0;
    step(run, "allocate",
         hurdmm_container_allocate(in, page * PAGE, pages * PAGE, flags, &done),
         wanted);
    value_is(run, "done", done, wanted_pages * PAGE);
}

static void writes(struct run *run, struct hurdmm_container *in,
                   uint64_t offset, uint8_t byte)
{
    size_t done = 0;
    step(run, "write", hurdmm_container_write(in, offset, &byte, 1, &done), 0);
}

static void reads(struct run *run, struct hurdmm_container *in, uint64_t offset,
                  int wanted, uint8_t wanted_byte)
{
    size_t done = 0;
    uint8_t byte = 0;
    step(run, "read", hurdmm_container_read(in, offset, &byte, 1, &done),
         wanted);
    value_is(run, "byte", byte, wanted_byte);
}

static void copies(struct run *run, struct hurdmm_container *target,
                   uint64_t page, struct hurdmm_container *source,
                   uint64_t source_page, uint64_t pages, unsigned flags,
                   int wanted)
{
    uint64_t done = 0;
    step(run, "copy",
         hurdmm_container_copy(target, page * PAGE, source, source_page * PAGE,
                               pages * PAGE, flags, &done),
         wanted);
    if (wanted == 0)
        value_is(run, "done", done, pages * PAGE);
    else
        value(run, "done", done);
}

static void frames(struct run *run)
{
    static uint8_t buffer[2 * PAGE];
    size_t done = 0;
    struct hurdmm_container *one = container(run);
    allocate(run, one, 4, 4, 0, 0, 4);
    allocate(run, one, 2, 4, 0, EEXIST, 2);
    allocate(run, one, 0, 4, HURDMM_ALL_OR_NONE, EEXIST, 0);
    allocate(run, one, 100, 1000, HURDMM_ALL_OR_NONE, ENOMEM, 0);
    reads(run, one, 3 * PAGE, 0, 0);
    reads(run, one, PAGE, ENOENT, 0);
    writes(run, one, 5 * PAGE - 1, 7);
    reads(run, one, 5 * PAGE - 1, 0, 7);
    step(run, "release", hurdmm_container_release(one, 0, 4 * PAGE), 0);
    step(run, "write from a hole",
         hurdmm_container_write(one, 4 * PAGE - 1, buffer, 2, &done), ENOENT);
    memset(buffer, 9, sizeof buffer);
    step(run, "write into a hole",
         hurdmm_container_write(one, 7 * PAGE + 6, buffer, PAGE, &done),
         ENOENT);
    value_is(run, "done", done, PAGE - 6);
    uintptr_t at = 0;
    struct hurdmm_bind_options see = {.struct_size = sizeof see,
                                      .space = run->space,
                                      .container = one,
                                      .offset = 4 * PAGE,
                                      .length = 5 * PAGE,
                                      .rights = RW};
    step(run, "bind it", hurdmm_bind(&see, &at), 0);
    loads(run, at + PAGE - 1, 7);
    loads(run, at + 3 * PAGE + 6, 9);
    load_fails(run, at + 4 * PAGE);
    saves(run, at + 2 * PAGE, 8);
    reads(run, one, 6 * PAGE, 0, 8);
    step(run, "unbind", hurdmm_unbind(run->space, at, 5 * PAGE), 0);
    reads(run, one, 6 * PAGE, 0, 8);
    step(run, "destroy", hurdmm_container_destroy(one), 0);
    step(run, "destroy again", hurdmm_container_destroy(one), ESTALE);
}

static void logical_copies(struct run *run)
{
    struct hurdmm_container *one = container(run);
    struct hurdmm_container *two = container(run);
    allocate(run, one, 0, 4, 0, 0, 4);
    for (unsigned i = 0; i < 4; i++)
        writes(run, one, i * PAGE, (uint8_t)(10 + i));
    copies(run, two, 8, one, 0, 4, 0, 0);
    reads(run, two, 9 * PAGE, 0, 11);
    writes(run, two, 9 * PAGE, 21);
    reads(run, one, PAGE, 0, 11);
    writes(run, one, 2 * PAGE, 22);
    reads(run, two, 10 * PAGE, 0, 12);
    copies(run, two, 8, one, 2, 1, 0, EEXIST);
    copies(run, two, 8, one, 2, 1, HURDMM_COPY_SQUASH, 0);
    reads(run, two, 8 * PAGE, 0, 22);
    copies(run, two, 0, one, 3, 2, 0, ENOENT);
    reads(run, two, 0, 0, 13);
    copies(run, two, 20, one, 3, 2, HURDMM_ALL_OR_NONE, ENOENT);
    reads(run, two, 20 * PAGE, ENOENT, 0);
    copies(run, two, 30, one, 0, 1, HURDMM_COPY_SHARED, 0);
    writes(run, two, 30 * PAGE + 1, 30);
    reads(run, one, 1, 0, 30);
    writes(run, one, 2, 31);
    reads(run, two, 30 * PAGE + 2, 0, 31);
    copies(run, two, 40, one, 1, 1, HURDMM_COPY_MOVE, 0);
    reads(run, one, PAGE, ENOENT, 0);
    reads(run, two, 40 * PAGE, 0, 11);
    step(run, "destroy the source", hurdmm_container_destroy(one), 0);
    reads(run, two, 11 * PAGE, 0, 13);
    reads(run, two, 10 * PAGE, 0, 12);
    step(run, "destroy the target", hurdmm_container_destroy(two), 0);
}

static void snapshot(struct run *run)
{
    struct hurdmm_store *store = open_disk(run, 0, 16 * PAGE, 0);
    struct hurdmm_store *image =
        open_disk(run, 1, 16 * PAGE, HURDMM_STORE_VOLATILE);
    uintptr_t base = bind(run, store, 0, 16 * PAGE);
    uintptr_t view = bind(run, image, 0, 16 * PAGE);
    for (unsigned i = 0; i < 16; i += 2)
        saves(run, base + i * PAGE, (uint8_t)(i + 1));
    copies(run, hurdmm_store_container(image), 0, hurdmm_store_container(store),
           0, 16, HURDMM_COPY_SQUASH, 0);
    for (unsigned i = 0; i < 16; i += 3)
        saves(run, base + i * PAGE, (uint8_t)(i + 100));
    for (unsigned i = 1; i < 16; i += 4)
        saves(run, view + i * PAGE, (uint8_t)(i + 150));
    for (unsigned i = 0; i < 16; i++) {
        uint8_t old =
            i % 2 == 0 ? (uint8_t)(i + 1) : byte_at((uint64_t)i * PAGE);
        loads(run, base + i * PAGE, i % 3 == 0 ? (uint8_t)(i + 100) : old);
        loads(run, view + i * PAGE, i % 4 == 1 ? (uint8_t)(i + 150) : old);
    }
    step(run, "flush", hurdmm_store_flush(store, 0, HURDMM_WHOLE, HURDMM_WAIT),
         0);
    sees(run, view, 16 * PAGE);
    copies(run, hurdmm_store_container(store), 0, hurdmm_store_container(image),
           0, 1, HURDMM_COPY_SQUASH, ENOTSUP);
    close_disk(run, 0);
    sees(run, view, 16 * PAGE);
    load_fails(run, base);
    step(run, "destroy", hurdmm_store_destroy(image, HURDMM_DETACH), 0);
}

static void used_is(struct run *run, struct hurdmm_account *account,
                    uint64_t pages)
{
    struct hurdmm_account_info info = {.struct_size = sizeof info};
    step(run, "account", hurdmm_account_get_info(account, &info), 0);
    value_is(run, "pays for", info.used, pages * PAGE);
}

static void accounts(struct run *run)
{
    struct hurdmm_account *own = hurdmm_account_own(run->manager);
    struct hurdmm_account *mine = NULL, *other = NULL;
    struct hurdmm_container *one = container(run);
    step(run, "split off part of a page", hurdmm_account_split(own, 100, &mine),
         EINVAL);
    step(run, "split off too much",
         hurdmm_account_split(own, 1000 * PAGE, &mine), ENOMEM);
    step(run, "split", hurdmm_account_split(own, 4 * PAGE, &mine), 0);
    step(run, "split again", hurdmm_account_split(mine, PAGE, &other), 0);
    step(run, "pay", hurdmm_account_pay(mine, one), 0);
    allocate(run, one, 0, 5, 0, EDQUOT, 3);
    used_is(run, mine, 3);
    step(run, "allow more", hurdmm_account_set_extra(mine, 2 * PAGE), 0);
    allocate(run, one, 3, 4, 0, EDQUOT, 2);
    used_is(run, mine, 5);
    step(run, "end the second", hurdmm_account_destroy(other), 0);
    allocate(run, one, 5, 1, 0, 0, 1);
    step(run, "release", hurdmm_container_release(one, 0, 4 * PAGE), 0);
    used_is(run, mine, 2);
    step(run, "end the manager's own", hurdmm_account_destroy(own), EINVAL);
    step(run, "end the first", hurdmm_account_destroy(mine), 0);
    reads(run, one, 4 * PAGE, ENOENT, 0);
    allocate(run, one, 0, 8, 0, 0, 8);
    step(run, "destroy", hurdmm_container_destroy(one), 0);
}

static void grants(struct run *run)
{
    size_t done = 0;
    uint8_t byte = 5;
    uintptr_t at = 0;
    struct hurdmm_grant *grant = NULL;
    struct hurdmm_container *one = container(run);
    allocate(run, one, 0, 3, 0, 0, 3);
    writes(run, one, 2 * PAGE, 3);
    step(run, "grant",
         hurdmm_grant_create(one, PAGE, 4 * PAGE, HURDMM_READ, &grant), 0);
    step(run, "read", hurdmm_grant_read(grant, PAGE, &byte, 1, &done), 0);
    value_is(run, "byte", byte, 3);
    step(run, "write", hurdmm_grant_write(grant, PAGE, &byte, 1, &done), EPERM);
    step(run, "read a hole",
         hurdmm_grant_read(grant, 2 * PAGE, &byte, 1, &done), ENOENT);
    step(run, "read beyond it",
         hurdmm_grant_read(grant, 4 * PAGE, &byte, 1, &done), ENXIO);
    step(run, "map to write",
         hurdmm_grant_map(grant, 0, PAGE, run->space, RW, &at), EPERM);
    step(run, "map",
         hurdmm_grant_map(grant, 0, 2 * PAGE, run->space, HURDMM_READ, &at), 0);
    loads(run, at + PAGE, 3);
    writes(run, one, 2 * PAGE, 4);
    loads(run, at + PAGE, 4);
    save_fails(run, at);
    step(run, "revoke", hurdmm_grant_revoke(grant), 0);
    load_fails(run, at + PAGE);
    step(run, "read what was revoked",
         hurdmm_grant_read(grant, 0, &byte, 1, &done), ESTALE);
    step(run, "destroy", hurdmm_container_destroy(one), 0);
}

static void pushed(struct run *run)
{
    static uint8_t buffer[2 * PAGE];
    size_t done = 0;
    uint64_t moved = 0;
    struct hurdmm_store *store = open_disk(run, 0, 16 * PAGE, 0);
    uintptr_t base = bind(run, store, 0, 16 * PAGE);
    struct hurdmm_container *one = container(run);
    memset(buffer, 0x33, sizeof buffer);
    saves(run, base + PAGE, 1);
    step(run, "supply", hurdmm_store_supply(store, 0, buffer, 2 * PAGE, &done),
         0);
    loads(run, base + 2, 0x33);
    loads(run, base + PAGE, 1);
    loads(run, base + PAGE + 2, byte_at(PAGE + 2));
    state_is(run, store, 0, HURDMM_STATE_RESIDENT);
    allocate(run, one, 0, 3, 0, 0, 3);
    writes(run, one, 4, 0x44);
    step(run, "cache", hurdmm_store_cache(store, 4 * PAGE, one, 0, PAGE, &done),
         0);
    loads(run, base + 4 * PAGE + 4, 0x44);
    reads(run, one, 4, ENOENT, 0);
    step(run, "cache what is there",
         hurdmm_store_cache(store, 4 * PAGE, one, PAGE, PAGE, &done), EEXIST);
    step(run, "cache a hole",
         hurdmm_store_cache(store, 5 * PAGE, one, 0, PAGE, &done), ENOENT);
    writes(run, one, PAGE, 0x55);
    step(run, "transfer",
         hurdmm_memory_transfer(store, 8 * PAGE, one, PAGE, PAGE, 0, &moved),
         0);
    saves(run, base + 8 * PAGE + 1, 0x56);
    loads(run, base + 8 * PAGE, 0x55);
    reads(run, one, PAGE + 1, 0, 0);
    step(run, "discard", hurdmm_store_discard(store, 0, HURDMM_WHOLE), 0);
    loads(run, base + 2, byte_at(2));
    step(run, "destroy", hurdmm_container_destroy(one), 0);
    close_disk(run, 0);
}

/* ---- Scripts: the other kinds of stores ---------------------------------- */

/* Pages from the fifth on cannot be had; the fourth is forgotten. */
static int answer(struct hurdmm_store *store, void *hook,
                  struct hurdmm_request *request)
{
    struct hurdmm_request_info info = {0};
    (void)store;
    (void)hook;
    hurdmm_request_get_info(request, &info);
    if (info.offset >= 5 * PAGE)
        return EIO;
    if (info.offset != 4 * PAGE) {
        uint8_t *buffer = hurdmm_request_buffer(request);
        memset(buffer, (int)(info.offset / PAGE) + 60, info.length);
    }
    hurdmm_request_complete(request, info.offset == 3 * PAGE ? ENOSPC : 0);
    return 0;
}

static void full_store(struct run *run)
{
    static const struct hurdmm_store_ops ops = {
        .struct_size = sizeof ops, .fault = answer, .page_out = disk_out};
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .hook = &run->disks[0],
                                           .size = 8 * PAGE};
    struct hurdmm_store *store = NULL;
    uint8_t buffer[8];
    size_t done = 0;
    step(run, "create a full store",
         hurdmm_store_create(run->manager, &ops, &options, &store), 0);
    run->disks[0].store = store;
    uintptr_t base = bind(run, store, 0, 8 * PAGE);
    loads(run, base + 9, 60);
    loads(run, base + 2 * PAGE, 62);
    saves(run, base + PAGE, 1);
    load_fails(run, base + 3 * PAGE);
    load_fails(run, base + 5 * PAGE);
    step(run, "read", hurdmm_store_read(store, 3 * PAGE, buffer, 8, &done),
         ENOSPC);
    step(run, "read", hurdmm_store_read(store, 6 * PAGE - 4, buffer, 8, &done),
         EIO);
    loads(run, base + PAGE + 1, 61);
    close_disk(run, 0);
}

static int compute(void *hook, uint64_t offset, void *buffer, size_t length)
{
    uint8_t *bytes = buffer;
    (void)hook;
    for (size_t i = 0; i < length; i++)
        bytes[i] = byte_at(offset + i + 1);
    return 0;
}

static void predefined(struct run *run)
{
    struct hurdmm_store *zeros = NULL, *made = NULL;
    uintptr_t at = 0;
    step(run, "anonymous",
         hurdmm_anonymous_create(run->manager, NULL, 8 * PAGE, 0, &zeros), 0);
    step(run, "computed",
         hurdmm_computed_create(run->manager, 64 * PAGE, 0, compute, NULL,
                                &made),
         0);
    uintptr_t base = bind(run, zeros, 0, 8 * PAGE);
    loads(run, base + 3 * PAGE, 0);
    saves(run, base + 3 * PAGE, 7);
    step(run, "bind to read",
         try_bind(run, made, 0, 64 * PAGE, 0, HURDMM_READ, 0, &at), 0);
    sees(run, at, 64 * PAGE);
    loads(run, at + 9 * PAGE, byte_at(9 * PAGE + 1));
    save_fails(run, at + 9 * PAGE);
    loads(run, base + 3 * PAGE, 7);
    step(run, "discard", hurdmm_store_discard(zeros, 0, HURDMM_WHOLE), 0);
    loads(run, base + 3 * PAGE, 0);
    step(run, "destroy", hurdmm_store_destroy(zeros, HURDMM_DETACH), 0);
    step(run, "destroy", hurdmm_store_destroy(made, HURDMM_DETACH), 0);
}

/* ---- Running ------------------------------------------------------------ */

static const struct script {
    const char *name;
    void (*body)(struct run *run);
    unsigned frames;
} scripts[] = {
    {"places", places, 32},
    {"wrong places", wrong_places, 32},
    {"protection", protection, 32},
    {"advices", advices, 32},
    {"two views", two_views, 32},
    {"traffic", traffic, 64},
    {"traffic in little memory", traffic, 16},
    {"budget", budget, 32},
    {"through the cache", through_the_cache, 32},
    {"by address", by_address, 32},
    {"verbs", verbs, 32},
    {"populate and pin", keeping, 32},
    {"sizes", sizes, 32},
    {"bad reads", bad_reads, 32},
    {"bad writes", bad_writes, 32},
    {"lost writes", lost_writes, 32},
    {"frames", frames, 32},
    {"logical copies", logical_copies, 32},
    {"snapshot", snapshot, 64},
    {"snapshot in little memory", snapshot, 24},
    {"accounts", accounts, 32},
    {"grants", grants, 32},
    {"pushed", pushed, 32},
    {"full store", full_store, 32},
    {"predefined stores", predefined, 32},
};

unsigned script_count(void)
{
    return sizeof scripts / sizeof scripts[0];
}

const char *script_name(unsigned number)
{
    return scripts[number].name;
}

static int begin(struct run *run, const struct script *script)
{
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .port = run->machine->port,
        .budget = script->frames * (size_t)PAGE,
        .pin_limit = 8 * PAGE,
        .readahead = PAGE,
        .seed = 1,
    };
    for (unsigned i = 0; i < SCRIPT_DISKS; i++) {
        struct disk *disk = &run->disks[i];
        disk->bytes =
            run->machine->disks + (size_t)i * SCRIPT_DISK_PAGES * PAGE;
        for (size_t j = 0; j < (size_t)SCRIPT_DISK_PAGES * PAGE; j++)
            disk->bytes[j] = byte_at(j);
    }
    int error = hurdmm_create(&options, &run->manager);
    if (error == 0)
        run->space = hurdmm_space_own(run->manager);
    return error;
}

unsigned script_run(unsigned number, const struct script_machine *machine,
                    struct script_trace *trace)
{
    /* Static: it is for threads that the library may have for a while yet. */
    static struct run run;
    const char *what = "nothing";
    memset(&run, 0, sizeof run);
    run.machine = machine;
    run.trace = trace;
    trace->length = 0;
    trace->text[0] = 0;
    put(trace, scripts[number].name);
    put(trace, "\n");
    int error = begin(&run, &scripts[number]);
    step(&run, "create a manager", error, 0);
    if (error != 0)
        return run.wrong;
    scripts[number].body(&run);
    error = hurdmm_check(run.manager, &what);
    step(&run, "check", error, 0);
    if (error != 0)
        put(trace, what);
    step(&run, "destroy the manager", hurdmm_destroy(run.manager, 0), 0);
    return run.wrong;
}
