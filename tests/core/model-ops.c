/* SPDX-License-Identifier: MIT */
/* The operations: each is done on the library and on the model. */
#include <string.h>

#include <hurdmm/error.h>

#include "tests/core/model.h"

struct range {
    uintptr_t address;
    size_t length;
};

/* A page-aligned range, most often in a region. */
static struct range pick_range(struct model *model, const struct model_op *op)
{
    size_t page = model->page;
    struct range range;
    if (model->region_count > 0 && op->arg[0] % 8 != 0) {
        const struct model_region *region =
            &model->regions[op->arg[0] % model->region_count];
        range.address =
            region->address + op->arg[1] % (region->length / page) * page;
    } else {
        range.address =
            model->config.base + op->arg[1] % (MODEL_WINDOW - 8) * page;
    }
    range.length = (1 + op->arg[2] % 4) * page;
    return range;
}

/* A store that there is; -1: none. */
static int pick_store(struct model *model, unsigned number)
{
    for (unsigned i = 0; i < MODEL_STORES; i++) {
        unsigned index = (number + i) % MODEL_STORES;
        if (model->stores[index].exists)
            return (int)index;
    }
    return -1;
}

/* A range of a store in whole blocks. */
static void pick_blocks(const struct model_store *store, unsigned a, unsigned b,
                        uint64_t *offset, uint64_t *length)
{
    uint64_t block = store->disk.block;
    uint64_t blocks = (store->size + block - 1) / block;
    *offset = blocks == 0 ? 0 : a % blocks * block;
    *length = (1 + b % 6) * block;
}

static enum hurdmm_advice pick_advice(unsigned number)
{
    static const enum hurdmm_advice advice[] = {
        HURDMM_ADVICE_NORMAL, HURDMM_ADVICE_NORMAL, HURDMM_ADVICE_RANDOM,
        HURDMM_ADVICE_SEQUENTIAL, HURDMM_ADVICE_READ_ONCE};
    return advice[number % 5];
}

static unsigned pick_rights(unsigned number)
{
    static const unsigned rights[] = {HURDMM_READ | HURDMM_WRITE,
                                      HURDMM_READ | HURDMM_WRITE,
                                      HURDMM_READ | HURDMM_WRITE,
                                      HURDMM_READ,
                                      HURDMM_READ,
                                      HURDMM_READ | HURDMM_EXECUTE,
                                      HURDMM_NONE,
                                      HURDMM_RIGHTS};
    return rights[number % 8];
}

static uint64_t page_at(const struct model *model,
                        const struct model_region *region, uintptr_t address)
{
    uint64_t offset = region->offset + (address - region->address);
    return offset - offset % model->page;
}

/* What an access to one page may end with. */
static void allow_access(struct model *model, struct model_allow *allow,
                         uintptr_t address, unsigned access)
{
    int hard = model_hard_error(model, address, access);
    const struct model_region *region = model_find(model, address);
    model_permit(allow, hard);
    if (hard == 0)
        model_excuse(model, allow, region->store,
                     page_at(model, region, address));
}

/* ---- Regions ------------------------------------------------------------ */

static void allow_populate(struct model *model, struct model_allow *allow,
                           int index, uint64_t offset, uint64_t length)
{
    struct model_store *store = &model->stores[index];
    if (offset + length > model_round(model, store->size)) {
        allow->ok = false;
        model_permit(allow, ENXIO);
    }
    uint64_t end = model_round(model, store->size);
    for (uint64_t at = offset; at < offset + length && at < end;
         at += model->page)
        model_excuse(model, allow, index, at);
}

static void pick_bind(struct model *model, const struct model_op *op,
                      struct hurdmm_bind_options *bind)
{
    size_t page = model->page;
    const uint16_t *arg = op->arg;
    unsigned window = arg[4] % (MODEL_WINDOW - 8);
    bind->struct_size = sizeof *bind;
    bind->space = model->space;
    bind->length = (1 + arg[2] % 8) * page;
    bind->rights = pick_rights(arg[3]);
    bind->advice = pick_advice(arg[3] / 8);
    bind->address = model->config.base + window * page;
    bind->flags = arg[5] % 8 < 5 ? HURDMM_BIND_EXACT : 0;
    if (arg[5] % 8 == 7)
        bind->address = 0;
    bind->offset = arg[1] % (MODEL_PAGES + 2) * page;
    if (arg[5] / 8 % 16 == 0)
        bind->flags |= HURDMM_BIND_RESERVED;
    else if (arg[5] / 8 % 16 < 3 && bind->rights & HURDMM_READ)
        bind->flags |= HURDMM_BIND_POPULATE;
    /* What was populated could not be taken away again. */
    if (model->port_armed)
        bind->flags &= ~HURDMM_BIND_POPULATE;
    if (arg[3] / 64 % 4 == 0)
        bind->max_rights = bind->rights | HURDMM_READ;
}

static void allow_bind(struct model *model, struct model_allow *allow,
                       const struct hurdmm_bind_options *bind, int index)
{
    allow->ok = true;
    model_excuse(model, allow, -1, 0);
    if (bind->flags & HURDMM_BIND_EXACT &&
        model_overlaps(model, bind->address, bind->length)) {
        allow->ok = false;
        model_permit(allow, EEXIST);
    }
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    if (model_read_only(store) && bind->rights & HURDMM_WRITE) {
        allow->ok = false;
        model_permit(allow, EROFS);
    }
    if (!(store->flags & HURDMM_STORE_SHARED) &&
        model_bound(model, index, bind->offset, bind->length)) {
        allow->ok = false;
        model_permit(allow, EBUSY);
    }
    if (bind->flags & HURDMM_BIND_POPULATE)
        allow_populate(model, allow, index, bind->offset, bind->length);
}

static void do_bind(struct model *model, const struct model_op *op)
{
    int index = pick_store(model, op->arg[0]);
    struct hurdmm_bind_options bind = {0};
    pick_bind(model, op, &bind);
    if (index < 0)
        bind.flags |= HURDMM_BIND_RESERVED;
    if (bind.flags & HURDMM_BIND_RESERVED) {
        index = MODEL_RESERVED;
        bind.flags &= ~HURDMM_BIND_POPULATE;
        bind.rights = bind.max_rights = HURDMM_NONE;
        bind.offset = 0;
        bind.advice = HURDMM_ADVICE_NORMAL;
    } else {
        bind.store = model->stores[index].disk.store;
        if (model_read_only(&model->stores[index]))
            bind.max_rights &= ~HURDMM_WRITE | bind.rights;
    }
    if (model->region_count > MODEL_REGIONS - 24)
        return;
    uintptr_t address = 1;
    int result = hurdmm_bind(&bind, &address);
    model_say(model, "store %d+%#llx at %#lx length %#zx r%u/%u f%u: %d, %#lx",
              index, (unsigned long long)bind.offset,
              (unsigned long)bind.address, bind.length, bind.rights,
              bind.max_rights, bind.flags, result, (unsigned long)address);
    struct model_allow allow = {0};
    allow_bind(model, &allow, &bind, index);
    model_expect(model, &allow, result, "bind");
    if (result != 0) {
        if (address != 1)
            model_fail(model, "a failed bind wrote its result");
        return;
    }
    if (address % model->page != 0 ||
        (bind.flags & HURDMM_BIND_EXACT && address != bind.address) ||
        model_overlaps(model, address, bind.length))
        model_fail(model, "bind chose %#lx", (unsigned long)address);
    unsigned all = HURDMM_RIGHTS;
    if (index >= 0 && model_read_only(&model->stores[index]))
        all &= ~HURDMM_WRITE;
    struct model_region region = {
        .address = address,
        .length = bind.length,
        .store = index,
        .offset = bind.offset,
        .rights = bind.rights,
        .max_rights = bind.max_rights != 0 ? bind.max_rights : all,
    };
    model_insert(model, &region);
}

/* Whether a page in the range is pinned, be it through another region. */
static bool pinned_under(struct model *model, uintptr_t address, size_t length)
{
    for (uintptr_t at = address; at < address + length; at += model->page) {
        const struct model_region *region = model_find(model, at);
        if (region != NULL && region->store >= 0 &&
            model_pinned_store(model, region->store, page_at(model, region, at),
                               model->page) > 0)
            return true;
    }
    return false;
}

static void do_unbind(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    if (op->arg[3] % 4 == 0)
        range.length *= 4;
    int result = hurdmm_unbind(model->space, range.address, range.length);
    model_say(model, "%#lx length %#zx: %d", (unsigned long)range.address,
              range.length, result);
    struct model_allow allow = {.ok = true};
    if (model_pinned(model, range.address, range.length, HURDMM_NONE))
        allow.ok = false;
    if (pinned_under(model, range.address, range.length))
        model_permit(&allow, EBUSY);
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "unbind");
    if (result == 0)
        model_remove(model, range.address, range.length);
}

/* What protect may end with; also whether a reserved region is in the way. */
static bool allow_protect(struct model *model, struct model_allow *allow,
                          struct range range, unsigned rights)
{
    bool reserved = false;
    allow->ok = true;
    for (uintptr_t at = range.address; at < range.address + range.length;
         at += model->page) {
        const struct model_region *region = model_find(model, at);
        if (region == NULL) {
            allow->ok = false;
            model_permit(allow, ENOENT);
            continue;
        }
        if (region->store == MODEL_RESERVED) {
            reserved = true;
            continue;
        }
        if (rights & ~region->max_rights) {
            allow->ok = false;
            model_permit(allow, EACCES);
        }
        if (model_pinned(model, at, model->page, HURDMM_WRITE)) {
            if (!(rights & HURDMM_WRITE))
                allow->ok = false;
            model_permit(allow, EBUSY);
        } else if (pinned_under(model, at, model->page)) {
            model_permit(allow, EBUSY);
        }
    }
    model_excuse(model, allow, -1, 0);
    return reserved;
}

static void do_protect(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    unsigned rights = pick_rights(op->arg[3]);
    struct model_allow allow = {0};
    bool reserved = allow_protect(model, &allow, range, rights);
    if (reserved || model->region_count > MODEL_REGIONS - 24)
        return;
    int result =
        hurdmm_protect(model->space, range.address, range.length, rights);
    model_say(model, "%#lx length %#zx rights %u: %d",
              (unsigned long)range.address, range.length, rights, result);
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "protect");
    if (result != 0)
        return;
    model_split(model, range.address);
    model_split(model, range.address + range.length);
    for (uintptr_t at = range.address; at < range.address + range.length;
         at += model->page) {
        struct model_region *region = model_find(model, at);
        if (region != NULL)
            region->rights = rights;
    }
}

static bool has_hole(struct model *model, struct range range, bool *reserved)
{
    bool hole = false;
    *reserved = false;
    for (uintptr_t at = range.address; at < range.address + range.length;
         at += model->page) {
        const struct model_region *region = model_find(model, at);
        if (region == NULL)
            hole = true;
        else if (region->store == MODEL_RESERVED)
            *reserved = true;
    }
    return hole;
}

static void do_advise(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    enum hurdmm_advice advice = (enum hurdmm_advice)(op->arg[3] % 6);
    int result =
        hurdmm_advise(model->space, range.address, range.length, advice);
    model_say(model, "%#lx length %#zx advice %d: %d",
              (unsigned long)range.address, range.length, (int)advice, result);
    struct model_allow allow = {0};
    bool reserved;
    bool hole = has_hole(model, range, &reserved);
    allow.ok = !hole;
    if (hole || reserved)
        model_permit(&allow, ENOENT);
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "advise");
}

/* ---- Access ------------------------------------------------------------- */

static void fill_bytes(uint8_t *bytes, size_t length, unsigned seed)
{
    struct hmm_rand rand;
    hmm_rand_init(&rand, seed);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)hmm_rand_next(&rand);
}

static struct model_catcher *find_catcher(struct model *model,
                                          uintptr_t address)
{
    for (unsigned i = 0; i < model->catcher_count; i++) {
        struct model_catcher *catcher = &model->catchers[i];
        if (address >= catcher->address &&
            address - catcher->address < catcher->length)
            return catcher;
    }
    return NULL;
}

/* Does it to what regions bind of [address, + length). */
static void each_part(struct model *model, uintptr_t address, size_t length,
                      void (*what)(struct model_store *store, uint64_t offset,
                                   uint64_t length))
{
    while (length > 0) {
        const struct model_region *region = model_find(model, address);
        size_t part = model->page - address % model->page;
        if (part > length)
            part = length;
        if (region != NULL && region->store >= 0)
            what(&model->stores[region->store],
                 region->offset + (address - region->address), part);
        address += part;
        length -= part;
    }
}

/* One access of the application, inside a page. */
static void access_page(struct model *model, uintptr_t address, uint8_t *bytes,
                        size_t length, bool write)
{
    unsigned access = write ? HURDMM_WRITE : HURDMM_READ;
    int hard = model_hard_error(model, address, access);
    struct model_catcher *catcher = find_catcher(model, address);
    uint8_t got[MODEL_PAGE_MAX];
    if (write)
        each_part(model, address, length, model_take);
    int result =
        write ? hurdmm_sim_write(model->port, NULL, address, bytes, length)
              : hurdmm_sim_read(model->port, NULL, address, got, length);
    model_say(model, "%#lx length %#zx: %d", (unsigned long)address, length,
              result);
    struct model_allow allow = {0};
    if (catcher != NULL && (hard == EFAULT || hard == EACCES)) {
        model_excuse(model, &allow, -1, 0);
        int left = model_hard_error(model, address, access);
        if (left == EFAULT || left == EACCES)
            model_permit(&allow, catcher->error);
        if (hard == EFAULT) /* where nothing was ever bound: nobody's */
            model_permit(&allow, EFAULT);
    }
    if (catcher == NULL || model_hard_error(model, address, access) != hard ||
        (hard != EFAULT && hard != EACCES))
        allow_access(model, &allow, address, access);
    model_expect(model, &allow, result, write ? "store" : "load");
    if (result != 0 && write)
        each_part(model, address, length, model_doubt);
    if (result != 0)
        return;
    const struct model_region *region = model_find(model, address);
    if (region == NULL || region->store < 0)
        return;
    uint64_t offset = region->offset + (address - region->address);
    if (write)
        memcpy(model->stores[region->store].truth + offset, bytes, length);
    else
        model_compare(model, region->store, offset, got, length, "load");
}

/* How much of [address, + length), inside a page, can be written so that the
 * model knows what is there: not past the store's end, and whole pages of
 * discardable stores. */
static size_t writable_part(struct model *model, uintptr_t *address,
                            size_t length)
{
    const struct model_region *region = model_find(model, *address);
    if (region == NULL || region->store < 0)
        return length;
    const struct model_store *store = &model->stores[region->store];
    uint64_t offset = region->offset + (*address - region->address);
    uint64_t start = offset - offset % model->page;
    if (start >= store->size)
        return length;
    if (model_discardable(store)) {
        *address -= (uintptr_t)(offset - start);
        offset = start;
        length = model->page;
    }
    if (offset >= store->size)
        return 0;
    return store->size - offset < length ? (size_t)(store->size - offset)
                                         : length;
}

static void do_access(struct model *model, const struct model_op *op,
                      bool write)
{
    struct range range = pick_range(model, op);
    uintptr_t address = range.address + op->arg[3] % model->page;
    size_t length = 1 + op->arg[4] % (2 * model->page);
    uint8_t bytes[MODEL_PAGE_MAX];
    while (length > 0 && model->failure[0] == '\0') {
        size_t part = model->page - address % model->page;
        if (part > length)
            part = length;
        uintptr_t at = address;
        size_t now = write ? writable_part(model, &at, part) : part;
        if (now > 0) {
            fill_bytes(bytes, now, op->arg[5] + (unsigned)length);
            access_page(model, at, bytes, now, write);
        }
        address += part;
        length -= part;
    }
}

/* ---- Read and write through the cache ------------------------------------ */

/* Checks what a call says it has done of `length' bytes from `offset'. */
static void check_store_done(struct model *model, int index, uint64_t offset,
                             size_t length, size_t done, int result, bool write)
{
    const struct model_store *store = &model->stores[index];
    uint64_t room = offset < store->size ? store->size - offset : 0;
    struct model_allow allow = {0};
    if (done > length || done > room || (result == 0) != (done == length)) {
        model_fail(model, "done %zu of %zu with %d, store ends after %llu",
                   done, length, result, (unsigned long long)room);
        return;
    }
    if (done == length)
        return;
    if (write && model_read_only(store))
        model_permit(&allow, EROFS);
    model_excuse(model, &allow, -1, 0);
    if (done == room)
        model_permit(&allow, ENXIO);
    else if (!write || !model_read_only(store))
        model_excuse(model, &allow, index,
                     (offset + done) / model->page * model->page);
    char what[64];
    snprintf(what, sizeof what, "store %d+%#llx", index,
             (unsigned long long)(offset + done));
    model_expect(model, &allow, result, what);
}

static uint8_t transfer[8 * MODEL_PAGE_MAX];

static void do_store_read(struct model *model, const struct model_op *op)
{
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    uint64_t offset = op->arg[1] % (store->size + 2 * model->page);
    size_t length = op->arg[2] % (3 * model->page);
    size_t done = SIZE_MAX;
    int result =
        hurdmm_store_read(store->disk.store, offset, transfer, length, &done);
    model_say(model, "store %d+%#llx length %#zx: %d, %zu", index,
              (unsigned long long)offset, length, result, done);
    check_store_done(model, index, offset, length, done, result, false);
    if (model->failure[0] == '\0')
        model_compare(model, index, offset, transfer, done, "store_read");
}

static void do_store_write(struct model *model, const struct model_op *op)
{
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    uint64_t offset = op->arg[1] % (store->size + model->page);
    size_t length = op->arg[2] % (3 * model->page);
    if (model_discardable(store)) {
        offset -= offset % model->page;
        length -= length % model->page;
        if (offset + length > store->size)
            length = 0;
    }
    if (model_pinned_to_write(model, index, offset, length))
        return;
    fill_bytes(transfer, length, op->arg[3]);
    size_t done = SIZE_MAX;
    model_take(store, offset, length);
    int result =
        hurdmm_store_write(store->disk.store, offset, transfer, length, &done);
    if (done < length)
        model_doubt(store, offset + done, length - done);
    model_say(model, "store %d+%#llx length %#zx: %d, %zu", index,
              (unsigned long long)offset, length, result, done);
    check_store_done(model, index, offset, length, done, result, true);
    if (model->failure[0] != '\0')
        return;
    memcpy(store->truth + offset, transfer, done);
    if (model_discardable(store) && done % model->page != 0)
        model_fail(model, "%zu bytes of whole pages were written", done);
}

/* The first error that nothing can avoid in a range; ENOENT for holes. */
static bool allow_range(struct model *model, struct model_allow *allow,
                        uintptr_t address, unsigned access)
{
    int hard = model_hard_error(model, address, access);
    const struct model_region *region = model_find(model, address);
    if (hard == 0) {
        model_excuse(model, allow, region->store,
                     page_at(model, region, address));
        return false;
    }
    const struct model_catcher *catcher = find_catcher(model, address);
    model_excuse(model, allow, -1, 0);
    if (catcher != NULL)
        model_permit(allow, catcher->error);
    if (region == NULL) {
        model_permit(allow, ENOENT);
        return true;
    }
    model_permit(allow, hard);
    if (region->store == MODEL_RESERVED) {
        model_permit(allow, ENOENT);
        model_permit(allow, EACCES);
    }
    return true;
}

static void check_range_done(struct model *model, uintptr_t address,
                             size_t length, size_t done, int result,
                             unsigned access)
{
    if (done > length || (result == 0) != (done == length)) {
        model_fail(model, "done %zu of %zu with %d", done, length, result);
        return;
    }
    uintptr_t end = address + done;
    for (uintptr_t at = address - address % model->page; done > 0 && at < end;
         at += model->page) {
        if (model_hard_error(model, at, access) != 0)
            model_fail(model, "did what cannot be done at %#lx",
                       (unsigned long)at);
    }
    if (done == length)
        return;
    struct model_allow allow = {0};
    (void)allow_range(model, &allow, end - end % model->page, access);
    model_expect(model, &allow, result, "range");
}

static void do_read(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    uintptr_t address = range.address + op->arg[3] % model->page;
    size_t length = op->arg[4] % (3 * model->page);
    size_t done = SIZE_MAX;
    int result = hurdmm_read(model->space, address, transfer, length, &done);
    model_say(model, "%#lx length %#zx: %d, %zu", (unsigned long)address,
              length, result, done);
    check_range_done(model, address, length, done, result, HURDMM_READ);
    for (size_t at = 0; at < done && model->failure[0] == '\0';) {
        size_t part = model->page - (address + at) % model->page;
        if (part > done - at)
            part = done - at;
        const struct model_region *region = model_find(model, address + at);
        model_compare(model, region->store,
                      region->offset + (address + at - region->address),
                      transfer + at, part, "read");
        at += part;
    }
}

/* Cuts a write by address so that the model knows what is there after. */
static size_t safe_write(struct model *model, uintptr_t address, size_t length)
{
    size_t safe = 0;
    while (safe < length) {
        uintptr_t at = address + safe;
        size_t part = model->page - at % model->page;
        if (part > length - safe)
            part = length - safe;
        uintptr_t moved = at;
        size_t now = writable_part(model, &moved, part);
        if (moved != at || now > part)
            return safe; /* a part of a discardable page */
        const struct model_region *region = model_find(model, at);
        if (region != NULL && region->store >= 0 &&
            model_pinned_to_write(model, region->store,
                                  region->offset + (at - region->address),
                                  part))
            return safe;
        safe += now;
        if (now < part)
            return safe;
    }
    return safe;
}

static void do_write(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    uintptr_t address = range.address + op->arg[3] % model->page;
    size_t length = op->arg[4] % (3 * model->page);
    length = safe_write(model, address, length);
    fill_bytes(transfer, length, op->arg[5]);
    size_t done = SIZE_MAX;
    each_part(model, address, length, model_take);
    int result = hurdmm_write(model->space, address, transfer, length, &done);
    if (done < length)
        each_part(model, address + done, length - done, model_doubt);
    model_say(model, "%#lx length %#zx: %d, %zu", (unsigned long)address,
              length, result, done);
    check_range_done(model, address, length, done, result, HURDMM_WRITE);
    for (size_t at = 0; at < done && model->failure[0] == '\0';) {
        const struct model_region *region = model_find(model, address + at);
        uint64_t offset = region->offset + (address + at - region->address);
        size_t part = model->page - (address + at) % model->page;
        if (part > done - at)
            part = done - at;
        memcpy(model->stores[region->store].truth + offset, transfer + at,
               part);
        at += part;
    }
}

/* ---- Verbs -------------------------------------------------------------- */

/* After a verb that wrote a range: the disk has what is true. */
static void check_written(struct model *model, int index, uint64_t offset,
                          uint64_t length, const char *what)
{
    struct model_store *store = &model->stores[index];
    if (offset >= store->size)
        return;
    if (offset == 0 && length >= store->size)
        store->stuck = false;
    if (length > store->size - offset)
        length = store->size - offset;
    for (uint64_t i = offset; i < offset + length; i++) {
        if (store->flags & HURDMM_STORE_DISCARDABLE)
            store->truth[i] = store->bytes[i];
        if (model_loses(store, i))
            continue; /* what was dropped may be in memory still, unwritten */
        if (store->truth[i] != store->bytes[i]) {
            model_fail(model, "%s: the disk of store %d has not %#llx", what,
                       index, (unsigned long long)i);
            return;
        }
    }
}

/* What a verb over one store may end with; ENOMEM and untold errors too. */
static void allow_verb(struct model *model, struct model_allow *allow,
                       int index, bool returns, uint64_t offset,
                       uint64_t length)
{
    const struct model_store *store = &model->stores[index];
    uint64_t end = model_round(model, store->size);
    allow->ok = true;
    model_excuse(model, allow, -1, 0);
    if (store->untold_max > 0 ||
        store->disk.write_failures != store->seen_write_failures) {
        model_permit(allow, EIO);
        model_permit(allow, ENOSPC);
    }
    if (length > end - offset || offset > end)
        length = offset > end ? 0 : end - offset;
    if (returns && model_pinned_store(model, index, offset, length) > 0)
        model_permit(allow, EBUSY);
}

typedef int verb_function(struct hurdmm_store *, uint64_t, uint64_t, unsigned);

static const struct {
    const char *name;
    verb_function *call;
    int (*by_address)(struct hurdmm_space *, uintptr_t, size_t, unsigned);
} verbs[3] = {
    {"flush", hurdmm_store_flush, hurdmm_flush},
    {"return", hurdmm_store_return, hurdmm_return},
    {"sync", hurdmm_store_sync, hurdmm_sync},
};

/* Before a verb that must tell of failures: those that have just happened have
 * reached the library when nothing more can run. */
static void settle_failures(struct model *model)
{
    unsigned untold = 0;
    for (int i = 0; i < MODEL_STORES; i++) {
        model_note(model, i, false, 0, "");
        untold += model->stores[i].untold_min;
    }
    if (untold > 0)
        hurdmm_sim_settle(model->port);
    for (int i = 0; i < MODEL_STORES; i++)
        model_note(model, i, false, 0, "");
}

static void do_verb(struct model *model, const struct model_op *op)
{
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    uint64_t offset;
    uint64_t length;
    pick_blocks(store, op->arg[1], op->arg[2], &offset, &length);
    if (op->arg[4] % 4 == 0) {
        offset = 0;
        length = HURDMM_WHOLE;
    }
    unsigned verb = op->arg[3] % 3;
    bool waits = op->arg[5] % 3 != 0;
    settle_failures(model);
    int result = verbs[verb].call(store->disk.store, offset, length,
                                  waits ? HURDMM_WAIT : 0);
    model_say(model, "%s store %d+%#llx length %#llx wait %d: %d",
              verbs[verb].name, index, (unsigned long long)offset,
              (unsigned long long)length, waits, result);
    struct model_allow allow = {0};
    if (length == HURDMM_WHOLE)
        length = model_round(model, store->size);
    allow_verb(model, &allow, index, verb == 1, offset, length);
    model_expect(model, &allow, result, verbs[verb].name);
    model_note(model, index, waits, result, verbs[verb].name);
    if (waits && result == 0)
        check_written(model, index, offset, length, verbs[verb].name);
}

static void do_verb_address(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    unsigned verb = op->arg[3] % 3;
    bool waits = op->arg[5] % 3 != 0;
    bool reserved;
    bool hole = has_hole(model, range, &reserved);
    struct model_allow allow = {0};
    settle_failures(model);
    int result = verbs[verb].by_address(model->space, range.address,
                                        range.length, waits ? HURDMM_WAIT : 0);
    model_say(model, "%s %#lx length %#zx wait %d: %d", verbs[verb].name,
              (unsigned long)range.address, range.length, waits, result);
    bool touched[MODEL_STORES] = {false};
    for (uintptr_t at = range.address; at < range.address + range.length;
         at += model->page) {
        const struct model_region *region = model_find(model, at);
        if (region == NULL || region->store < 0)
            continue;
        uint64_t offset = page_at(model, region, at);
        uint64_t block = model->stores[region->store].disk.block;
        if (offset - offset % block < model->stores[region->store].size)
            touched[region->store] = true;
        allow_verb(model, &allow, region->store, verb == 1,
                   offset - offset % block, block);
        if (verb == 1 && block > model->page) /* perhaps not whole blocks */
            model_permit(&allow, EINVAL);
        if (waits && result == 0)
            check_written(model, region->store, offset, model->page,
                          verbs[verb].name);
    }
    allow.ok = !hole;
    if (hole || reserved)
        model_permit(&allow, ENOENT);
    model_expect(model, &allow, result, verbs[verb].name);
    for (int i = 0; i < MODEL_STORES; i++) {
        struct model_store *store = &model->stores[i];
        unsigned max = store->untold_max;
        if (!waits || !touched[i])
            continue;
        model_note(model, i, true, result, verbs[verb].name);
        if (result != 0) /* it may have been another store's error */
            store->untold_max += max;
    }
}

/* Waits until no page of the range is being written. */
static void wait_written(struct model *model, const struct model_store *store,
                         uint64_t offset, uint64_t length)
{
    for (unsigned tries = 0; tries < 10000; tries++) {
        bool busy = false;
        for (uint64_t at = offset; at < offset + length; at += model->page)
            busy |= (store->disk.busy[at / model->page] & DISK_OUT) != 0;
        if (!busy)
            return;
        hurdmm_sim_sleep(model->port, 100);
    }
    model_fail(model, "a write does not end");
}

static void do_discard(struct model *model, const struct model_op *op)
{
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    uint64_t offset;
    uint64_t length;
    pick_blocks(store, op->arg[1], op->arg[2], &offset, &length);
    uint64_t end = model_round(model, store->size);
    uint64_t cut = offset + length > end ? end - offset : length;
    unsigned pinned = model_pinned_store(model, index, offset, cut);
    if (pinned > 0 && store->block_pages > 1)
        return;
    hurdmm_sim_fail(model->port, 0, 0, 0, 0);
    int result = hurdmm_store_discard(store->disk.store, offset, length);
    model_say(model, "store %d+%#llx length %#llx: %d", index,
              (unsigned long long)offset, (unsigned long long)length, result);
    struct model_allow allow = {.ok = pinned == 0};
    if (pinned > 0)
        model_permit(&allow, EBUSY);
    model_expect(model, &allow, result, "discard");
    wait_written(model, store, offset, cut);
    model_note(model, index, false, 0, "");
    store->untold_min = 0;
    for (uint64_t at = offset; at < offset + cut; at += model->page) {
        if (model_pinned_store(model, index, at, model->page) > 0)
            continue;
        size_t part = store->size - at < model->page
                          ? (size_t)(store->size - at)
                          : model->page;
        memcpy(store->truth + at, store->bytes + at, part);
        store->disk.failed[at / model->page] = 0;
    }
}

static void do_sync_all(struct model *model, const struct model_op *op)
{
    (void)op;
    struct model_allow allow = {0};
    settle_failures(model);
    int result = hurdmm_sync_all(model->manager);
    model_say(model, "%d", result);
    allow.ok = true;
    for (int i = 0; i < MODEL_STORES; i++) {
        struct model_store *store = &model->stores[i];
        if (!store->exists || model_read_only(store))
            continue;
        allow_verb(model, &allow, i, false, 0, store->size);
        model_note(model, i, true, result, "sync_all");
        if (result == 0)
            check_written(model, i, 0, store->size, "sync_all");
    }
    model_expect(model, &allow, result, "sync_all");
}

/* ---- Memory ------------------------------------------------------------- */

static void do_populate(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    unsigned access = op->arg[3] % 3 == 0 ? HURDMM_WRITE : HURDMM_READ;
    size_t done = SIZE_MAX;
    int result = hurdmm_populate(model->space, range.address, range.length,
                                 access, &done);
    model_say(model, "%#lx length %#zx access %u: %d, %zu",
              (unsigned long)range.address, range.length, access, result, done);
    check_range_done(model, range.address, range.length, done, result, access);
}

/* Pages that would be pinned: distinct ones, and all counts together. */
static void count_pins(struct model *model, const struct model_pin *extra,
                       unsigned *distinct, unsigned *sum)
{
    *sum = 0;
    model->pins[model->pin_count++] = *extra;
    *distinct = 0;
    for (unsigned i = 0; i < model->pin_count; i++)
        *sum += (unsigned)(model->pins[i].length / model->page);
    for (int i = 0; i < MODEL_STORES; i++)
        *distinct += model_pinned_store(model, i, 0,
                                        MODEL_PAGES * (uint64_t)model->page);
    model->pin_count--;
}

static void allow_pin(struct model *model, struct model_allow *allow,
                      const struct model_pin *pin)
{
    unsigned distinct;
    unsigned sum;
    unsigned limit = model->config.frames / 2;
    allow->ok = true;
    for (uintptr_t at = pin->address; at < pin->address + pin->length;
         at += model->page) {
        if (allow_range(model, allow, at, pin->access))
            allow->ok = false;
    }
    count_pins(model, pin, &distinct, &sum);
    if (distinct > limit)
        allow->ok = false;
    if (sum * model->config.block_pages > limit ||
        sum * model->config.block_pages * model->page * 2 > model->budget)
        model_permit(allow, EDQUOT);
}

static void do_pin(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    struct model_pin pin = {range.address, range.length,
                            op->arg[3] % 3 == 0 ? HURDMM_WRITE : HURDMM_READ};
    /* Without aliases it is not known at which of a page's addresses a pinned
     * page is lent. */
    if (model->pin_count >= MODEL_PINS - 1 ||
        model->config.hide & HURDMM_PORT_ALIAS)
        return;
    int result = hurdmm_pin(model->space, pin.address, pin.length, pin.access);
    model_say(model, "%#lx length %#zx access %u: %d",
              (unsigned long)pin.address, pin.length, pin.access, result);
    struct model_allow allow = {0};
    allow_pin(model, &allow, &pin);
    if (!allow.ok && !model_permitted(&allow, ENOMEM) && model_tight(model))
        model_permit(&allow, ENOMEM);
    model_expect(model, &allow, result, "pin");
    if (result != 0)
        return;
    model->pins[model->pin_count++] = pin;
    uint8_t states[4] = {0};
    (void)hurdmm_resident(model->space, pin.address, pin.length, states);
    for (size_t i = 0; i < pin.length / model->page; i++) {
        if (!(states[i] & HURDMM_STATE_PINNED) ||
            !(states[i] & HURDMM_STATE_RESIDENT))
            model_fail(model, "a pinned page is in state %u", states[i]);
    }
}

static void do_unpin(struct model *model, const struct model_op *op)
{
    if (op->arg[1] % 8 == 0) {
        uintptr_t address = model->config.base + MODEL_WINDOW / 2 * model->page;
        if (pinned_under(model, address, model->page))
            return;
        int error =
            hurdmm_unpin(model->space, address, model->page, HURDMM_READ);
        if (error != EINVAL && error != ENOENT)
            model_fail(model, "unpin of what is not pinned: %d", error);
        return;
    }
    if (model->pin_count == 0)
        return;
    struct model_pin *pin = &model->pins[op->arg[0] % model->pin_count];
    int result =
        hurdmm_unpin(model->space, pin->address, pin->length, pin->access);
    model_say(model, "%#lx length %#zx access %u: %d",
              (unsigned long)pin->address, pin->length, pin->access, result);
    if (result != 0)
        model_fail(model, "unpin ended with %d", result);
    *pin = model->pins[--model->pin_count];
}

static void do_resize(struct model *model, const struct model_op *op)
{
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    uint64_t size = 1 + op->arg[1] % (MODEL_PAGES * (uint64_t)model->page);
    if (op->arg[2] % 2 == 0)
        size = model_round(model, size);
    uint64_t old = store->size;
    memset(store->is_cleared, 0, sizeof store->is_cleared);
    hurdmm_sim_settle(model->port);
    unsigned calls = store->disk.outs + store->disk.ins;
    bool busy = store->disk.in_flight > 0;
    if (size > old) {
        memset(store->bytes + old, 0, (size_t)(size - old));
        disk_changed(&store->disk, old, size - old);
    }
    int result = hurdmm_store_resize(store->disk.store, size);
    model_say(model, "store %d from %#llx to %#llx: %d", index,
              (unsigned long long)old, (unsigned long long)size, result);
    struct model_allow allow = {.ok = true};
    uint64_t from = size - size % model->page;
    uint64_t room = MODEL_PAGES * (uint64_t)model->page;
    if (size < old && model_pinned_store(model, index, model_round(model, size),
                                         room - model_round(model, size)) > 0)
        allow.ok = false;
    if (busy || calls != store->disk.outs + store->disk.ins ||
        (size < old && model_pinned_store(model, index, from, room - from) > 0))
        model_permit(&allow, EBUSY);
    /* The page that the new end cuts is read. */
    model_excuse(model, &allow, size < old ? index : -1, from);
    model_expect(model, &allow, result, "resize");
    model_note(model, index, false, 0, "");
    if (result != 0)
        return;
    store->size = size;
    if (size < old) {
        memset(store->truth + size, 0, (size_t)(old - size));
        memset(store->bytes + size, 0, (size_t)(old - size));
        disk_changed(&store->disk, size, old - size);
        store->untold_min = 0;
    }
}

static void do_budget(struct model *model, const struct model_op *op)
{
    size_t pages = 16 + op->arg[0] % (model->config.frames - 15);
    int result = hurdmm_set_budget(model->manager, pages * model->page);
    model_say(model, "%zu pages: %d", pages, result);
    struct model_allow allow = {.ok = true};
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "set_budget");
    model->budget = pages * model->page;
}

/* A page of a store with nothing of its own in the cache. */
static int pick_clean(struct model *model, const struct model_op *op,
                      uint64_t *offset)
{
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return -1;
    struct model_store *store = &model->stores[index];
    uint64_t pages = model_round(model, store->size) / model->page;
    *offset = op->arg[1] % pages * model->page;
    if (store->block_pages > 1 || model_discardable(store) ||
        memcmp(store->truth + *offset, store->bytes + *offset, model->page) !=
            0)
        return -1;
    return index;
}

static void do_supply(struct model *model, const struct model_op *op)
{
    uint64_t offset;
    int index = pick_clean(model, op, &offset);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    size_t done = SIZE_MAX;
    int result = hurdmm_store_supply(store->disk.store, offset,
                                     store->truth + offset, model->page, &done);
    model_say(model, "store %d+%#llx: %d, %zu", index,
              (unsigned long long)offset, result, done);
    struct model_allow allow = {.ok = true};
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "supply");
    if (result == 0 && done != model->page)
        model_fail(model, "supply did %zu", done);
    if (result == 0)
        disk_overtaken(&store->disk, offset / model->page);
}

/* A release needs memory where it cuts something in two. */
static void release(struct model *model, uint64_t offset, uint64_t length)
{
    struct model_allow allow = {.ok = true};
    int result = hurdmm_container_release(model->container, offset, length);
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "container_release");
    if (result == 0)
        return;
    hurdmm_sim_fail(model->port, 0, 0, 0, 0);
    result = hurdmm_container_release(model->container, offset, length);
    if (result != 0)
        model_fail(model, "container_release ends with %d", result);
}

/* Puts the true bytes into the container's page; whether they are there. */
static bool fill_container(struct model *model, uint64_t at,
                           const uint8_t *bytes)
{
    struct model_allow allow = {.ok = true};
    uint64_t given = 0;
    size_t written = 0;
    int result = hurdmm_container_allocate(model->container, at, model->page,
                                           HURDMM_ALL_OR_NONE, &given);
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "container_allocate");
    if (result != 0)
        return false;
    result = hurdmm_container_write(model->container, at, bytes, model->page,
                                    &written);
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "container_write");
    if (result == 0 && written != model->page)
        model_fail(model, "container_write did %zu", written);
    return result == 0;
}

static void do_cache(struct model *model, const struct model_op *op)
{
    uint64_t offset;
    int index = pick_clean(model, op, &offset);
    uint64_t at = 100 * (uint64_t)model->page;
    size_t done = SIZE_MAX;
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    if (fill_container(model, at, store->truth + offset)) {
        struct model_allow allow = {.ok = true};
        int result =
            hurdmm_store_cache(store->disk.store, offset, model->container, at,
                               model->page, &done);
        model_say(model, "store %d+%#llx: %d, %zu", index,
                  (unsigned long long)offset, result, done);
        model_permit(&allow, EEXIST);
        model_excuse(model, &allow, -1, 0);
        model_expect(model, &allow, result, "store_cache");
        if (done != (result == 0 ? model->page : 0))
            model_fail(model, "store_cache did %zu with %d", done, result);
        uint8_t byte;
        int there =
            hurdmm_container_read(model->container, at, &byte, 1, &done);
        if (there != (result == 0 ? ENOENT : 0) && there != ENOMEM)
            model_fail(model, "the container's page is %s after %d",
                       there == 0 ? "there" : "gone", result);
        if (result == 0)
            disk_overtaken(&store->disk, offset / model->page);
    }
    release(model, at, model->page);
}

static void do_container(struct model *model, const struct model_op *op)
{
    uint64_t length = model->container_pages * (uint64_t)model->page;
    uint64_t done = UINT64_MAX;
    size_t moved;
    uint8_t byte = 1;
    if (length > 0) {
        int error = hurdmm_container_read(model->container, length - 1, &byte,
                                          1, &moved);
        if (error != ENOMEM && (error != 0 || byte != 0))
            model_fail(model, "a container's page is not zeros");
        release(model, 0, length);
        model->container_pages = 0;
        return;
    }
    unsigned pages = 1 + op->arg[0] % 4;
    length = pages * (uint64_t)model->page;
    int result = hurdmm_container_allocate(model->container, 0, length,
                                           HURDMM_ALL_OR_NONE, &done);
    model_say(model, "%u pages: %d", pages, result);
    struct model_allow allow = {.ok = true};
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "container_allocate");
    if (done != (result == 0 ? length : 0))
        model_fail(model, "container_allocate did %llu with %d",
                   (unsigned long long)done, result);
    if (result == 0)
        model->container_pages = pages;
}

static void do_store_advise(struct model *model, const struct model_op *op)
{
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    uint64_t offset;
    uint64_t length;
    pick_blocks(store, op->arg[1], op->arg[2], &offset, &length);
    enum hurdmm_advice advice =
        op->arg[3] % 2 ? HURDMM_ADVICE_WILLNEED : HURDMM_ADVICE_DONTNEED;
    if (advice == HURDMM_ADVICE_DONTNEED)
        for (uint64_t at = offset; at < store->size && at - offset < length;
             at += model->page)
            store->disk.idle[at / model->page] = true;
    if (store->flags & HURDMM_STORE_DISCARDABLE) {
        int set = hurdmm_store_set_priority(store->disk.store, offset, length,
                                            op->arg[4] % 128 - 64);
        if (set != 0 && set != ENOMEM)
            model_fail(model, "set_priority ended with %d", set);
    }
    int result = hurdmm_store_advise(store->disk.store, offset, length, advice);
    model_say(model, "store %d+%#llx length %#llx advice %d: %d", index,
              (unsigned long long)offset, (unsigned long long)length,
              (int)advice, result);
    if (result != 0)
        model_fail(model, "store_advise ended with %d", result);
}

/* ---- Stores ------------------------------------------------------------- */

static unsigned pick_flags(unsigned number)
{
    unsigned flags = 0;
    if (number % 8 < 5)
        flags |= HURDMM_STORE_SHARED;
    if (number / 8 % 2 == 0)
        flags |= HURDMM_STORE_SIGNAL_SAFE;
    switch (number / 16 % 12) {
    case 0:
        return flags | HURDMM_STORE_READ_ONLY;
    case 1:
        return flags | HURDMM_STORE_DISCARDABLE;
    case 2:
        return flags | HURDMM_STORE_NO_STEAL;
    case 3:
        return flags | HURDMM_STORE_VOLATILE;
    default:
        return flags;
    }
}

int model_create_store(struct model *model, int index, unsigned number)
{
    struct model_store *store = &model->stores[index];
    size_t room = MODEL_PAGES * model->page;
    unsigned made = store->made;
    memset(store->is_cleared, 0, sizeof store->is_cleared);
    disk_init(&store->disk, model->port, model->page, store->bytes, room);
    if (made == 0)
        fill_bytes(store->bytes, room, number);
    store->flags = pick_flags(number);
    store->block_pages = number % 3 == 0 ? model->config.block_pages : 1;
    store->disk.mode = (enum disk_mode)(number / 7 % 6);
    store->disk.delay = model->config.delay;
    store->size = (4 + number % (MODEL_PAGES - 4)) * (uint64_t)model->page;
    if (number / 5 % 3 == 0)
        store->size -= 1 + number % (model->page - 1);
    if (model_discardable(store))
        memset(store->bytes + store->size, 0, (size_t)(room - store->size));
    int result = disk_open(&store->disk, model->manager, store->size,
                           store->block_pages * model->page, store->flags);
    if (result != 0)
        return result;
    memcpy(store->truth, store->bytes, (size_t)store->size);
    memset(store->truth + store->size, 0, room - (size_t)store->size);
    store->exists = true;
    store->untold_min = store->untold_max = store->seen_write_failures = 0;
    store->stuck = false;
    store->made = made + 1;
    return 0;
}

static void do_create(struct model *model, const struct model_op *op)
{
    int index = op->arg[0] % MODEL_STORES;
    if (model->stores[index].exists)
        return;
    int result = model_create_store(model, index, op->arg[1]);
    model_say(model, "store %d flags %u: %d", index, model->stores[index].flags,
              result);
    struct model_allow allow = {.ok = true};
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "store_create");
    model->write_failures[index] = 0;
    model->disk_failures[index] = 0;
}

static void do_destroy(struct model *model, const struct model_op *op)
{
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return;
    struct model_store *store = &model->stores[index];
    unsigned flags = op->arg[1] % 4;
    hurdmm_sim_settle(model->port);
    struct model_allow allow = {.ok = true};
    bool bound = model_bound(model, index, 0, UINT64_MAX);
    bool pinned = model_pinned_store(model, index, 0,
                                     MODEL_PAGES * (uint64_t)model->page) > 0;
    if ((bound && !(flags & HURDMM_DETACH)) || pinned)
        allow.ok = false;
    if (!allow.ok || store->disk.in_flight > 0)
        model_permit(&allow, EBUSY);
    if (!(flags & HURDMM_DROP) && store->untold_max > 0) {
        model_permit(&allow, EIO);
        model_permit(&allow, ENOSPC);
    }
    unsigned ins = store->disk.ins;
    int result = hurdmm_store_destroy(store->disk.store, flags);
    if (store->disk.ins != ins) /* something is read ahead */
        model_permit(&allow, EBUSY);
    model_say(model, "store %d flags %u: %d", index, flags, result);
    model_excuse(model, &allow, -1, 0);
    model_note(model, index, false, 0, "");
    if (store->disk.failures != model->disk_failures[index] &&
        !(flags & HURDMM_DROP)) {
        model_permit(&allow, EIO);
        model_permit(&allow, ENOSPC);
    }
    model_expect(model, &allow, result, "store_destroy");
    store->untold_min = 0;
    if (result != 0)
        return;
    if (store->disk.destroys != 1)
        model_fail(model, "destroy was called %u times", store->disk.destroys);
    if (!(flags & HURDMM_DROP) && !(store->flags & HURDMM_STORE_VOLATILE))
        check_written(model, index, 0, store->size, "store_destroy");
    model_remove_store(model, index);
    store->exists = false;
}

/* ---- Failures ----------------------------------------------------------- */

static void do_fail_disk(struct model *model, const struct model_op *op)
{
    static const unsigned kinds[] = {DISK_IN,     DISK_OUT,
                                     DISK_OUT,    DISK_SYNC,
                                     DISK_UNLOCK, DISK_IN | DISK_OUT};
    static const int errors[] = {EIO, ENOSPC, EIO, 0};
    int index = pick_store(model, op->arg[0]);
    if (index < 0)
        return;
    struct disk *disk = &model->stores[index].disk;
    disk_fail(disk, kinds[op->arg[1] % 6], 1 + op->arg[2] % 3,
              errors[op->arg[3] % 4], op->arg[4] % 4 == 0);
    disk->script.partial = op->arg[5] % 3;
    model_say(model, "store %d kinds %u nth %llu error %d for ever %d", index,
              disk->script.kinds, (unsigned long long)disk->script.nth,
              disk->script.error, disk->script.for_ever);
}

static void do_fail_port(struct model *model, const struct model_op *op)
{
    static const unsigned points[] = {HURDMM_SIM_LEND,     HURDMM_SIM_RECLAIM,
                                      HURDMM_SIM_CORE_MAP, HURDMM_SIM_RESERVE,
                                      HURDMM_SIM_WINDOW,   HURDMM_SIM_MEMORY};
    unsigned kinds = points[op->arg[0] % 6];
    hurdmm_sim_fail(model->port, kinds, 1 + op->arg[1] % 6, 0,
                    op->arg[2] % 5 == 0);
    model->port_armed = true;
    model_say(model, "kinds %u nth %u for ever %d", kinds, 1 + op->arg[1] % 6,
              op->arg[2] % 5 == 0);
}

static void do_calm(struct model *model, const struct model_op *op)
{
    (void)op;
    hurdmm_sim_fail(model->port, 0, 0, 0, 0);
    model->port_armed = false;
    for (int i = 0; i < MODEL_STORES; i++)
        model->stores[i].disk.script.nth = 0;
}

static int catch_fault(void *hook, const struct hurdmm_catch_info *info)
{
    struct model *model = hook;
    struct model_catcher *catcher = find_catcher(model, info->address);
    if (catcher == NULL)
        return EFAULT;
    uintptr_t address = info->address - info->address % model->page;
    if (catcher->store < 0 || !model->stores[catcher->store].exists ||
        model_overlaps(model, address, model->page) ||
        model->region_count > MODEL_REGIONS - 24)
        return catcher->error;
    struct model_store *store = &model->stores[catcher->store];
    /* What a write that was chosen without the region would do to a tail, or to
     * a part of a discardable page, the model could not know. */
    if (info->access & HURDMM_WRITE &&
        (store->size < model->page || model_discardable(store)))
        return catcher->error;
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = info->space,
        .store = store->disk.store,
        .offset = 0,
        .address = address,
        .length = model->page,
        .rights = HURDMM_READ,
        .flags = HURDMM_BIND_EXACT,
    };
    if (!model_read_only(store))
        bind.rights |= HURDMM_WRITE;
    int result = hurdmm_bind(&bind, &address);
    if (result != 0)
        return catcher->error;
    struct model_region region = {
        .address = address,
        .length = model->page,
        .store = catcher->store,
        .rights = bind.rights,
        .max_rights = bind.rights | HURDMM_EXECUTE,
    };
    model_insert(model, &region);
    return 0;
}

static void do_catch(struct model *model, const struct model_op *op)
{
    uintptr_t address =
        model->config.base + op->arg[0] % (MODEL_WINDOW - 8) * model->page;
    size_t length = (1 + op->arg[1] % 6) * model->page;
    struct model_allow allow = {.ok = true};
    for (unsigned i = 0; i < model->catcher_count; i++) {
        const struct model_catcher *other = &model->catchers[i];
        if (other->address < address + length &&
            address < other->address + other->length) {
            allow.ok = false;
            model_permit(&allow, EEXIST);
        }
    }
    if (model->catcher_count == MODEL_CATCHERS && allow.ok)
        return;
    int result =
        hurdmm_catch(model->space, address, length, catch_fault, model);
    model_say(model, "%#lx length %#zx: %d", (unsigned long)address, length,
              result);
    model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "catch");
    if (result == 0)
        model->catchers[model->catcher_count++] = (struct model_catcher){
            address, length,
            op->arg[2] % 2 ? (int)(op->arg[3] % MODEL_STORES) : -1,
            op->arg[4] % 2 ? ENODEV : EPERM};
}

static void do_uncatch(struct model *model, const struct model_op *op)
{
    if (model->catcher_count == 0) {
        if (hurdmm_uncatch(model->space, model->config.base) != ENOENT)
            model_fail(model, "uncatch of no catcher is not ENOENT");
        return;
    }
    struct model_catcher *catcher =
        &model->catchers[op->arg[0] % model->catcher_count];
    int result = hurdmm_uncatch(model->space, catcher->address);
    model_say(model, "%#lx: %d", (unsigned long)catcher->address, result);
    if (result != 0)
        model_fail(model, "uncatch ended with %d", result);
    *catcher = model->catchers[--model->catcher_count];
}

/* ---- Looking ------------------------------------------------------------ */

static void do_settle(struct model *model, const struct model_op *op)
{
    if (op->arg[0] % 2)
        hurdmm_sim_settle(model->port);
    else
        hurdmm_sim_sleep(model->port, 1000u * op->arg[1]);
}

static void check_region(struct model *model,
                         const struct hurdmm_region_info *info)
{
    for (uintptr_t at = info->address; at < info->address + info->length;
         at += model->page) {
        const struct model_region *region = model_find(model, at);
        if (region == NULL) {
            model_fail(model, "region_find tells of %#lx, which is no region",
                       (unsigned long)at);
            return;
        }
        struct hurdmm_store *store =
            region->store < 0 ? NULL : model->stores[region->store].disk.store;
        if (info->store != store ||
            (store != NULL && (info->offset + (at - info->address) !=
                                   region->offset + (at - region->address) ||
                               info->rights != region->rights)))
            model_fail(model, "region_find says other things of %#lx",
                       (unsigned long)at);
    }
}

static void inspect_regions(struct model *model)
{
    struct hurdmm_region_info info;
    uintptr_t at = 0;
    size_t pages = 0;
    size_t expected = 0;
    for (unsigned i = 0; i < model->region_count; i++)
        expected += model->regions[i].length / model->page;
    while (hurdmm_region_find(model->space, at, &info) == 0) {
        if (info.address + info.length <= at)
            model_fail(model, "region_find goes back");
        if (model->failure[0] != '\0')
            return;
        check_region(model, &info);
        pages += info.length / model->page;
        at = info.address + info.length;
        if (at == 0)
            break;
    }
    if (pages != expected)
        model_fail(model, "region_find tells of %zu pages, not %zu", pages,
                   expected);
}

/* A page that is not in memory is what the disk has. */
static void inspect_store(struct model *model, int index)
{
    struct model_store *store = &model->stores[index];
    for (uint64_t at = 0; at < store->size; at += model->page) {
        unsigned state = 0;
        int error = -1;
        int result = hurdmm_store_state(store->disk.store, at, &state, &error);
        if (result != 0) {
            model_fail(model, "store_state: %d", result);
            return;
        }
        size_t part = store->size - at < model->page
                          ? (size_t)(store->size - at)
                          : model->page;
        if (!(state & HURDMM_STATE_RESIDENT) && !model_loses(store, at) &&
            memcmp(store->truth + at, store->bytes + at, part) != 0)
            model_fail(model, "store %d+%#llx left memory unwritten (%u)",
                       index, (unsigned long long)at, state);
        if (state & HURDMM_STATE_WRITE_ERROR && error == 0)
            model_fail(model, "a write error that is none");
    }
}

static void drop_text(void *hook, const char *text, size_t length)
{
    size_t *sum = hook;
    for (size_t i = 0; i < length; i++)
        *sum += (unsigned char)text[i];
}

static void do_inspect(struct model *model, const struct model_op *op)
{
    inspect_regions(model);
    for (int i = 0; i < MODEL_STORES; i++) {
        if (model->stores[i].exists && model->failure[0] == '\0')
            inspect_store(model, i);
    }
    size_t sum = 0;
    if (op->arg[0] % 8 == 0 &&
        (hurdmm_dump(model->manager, drop_text, &sum) != 0 || sum == 0))
        model_fail(model, "nothing to dump");
}

void model_verify(struct model *model)
{
    for (int i = 0; i < MODEL_STORES; i++) {
        struct model_store *store = &model->stores[i];
        if (!store->exists)
            continue;
        for (uint64_t at = 0; at < store->size && model->failure[0] == '\0';) {
            size_t length = 4 * model->page;
            size_t done = 0;
            if (length > store->size - at)
                length = (size_t)(store->size - at);
            int result = hurdmm_store_read(store->disk.store, at, transfer,
                                           length, &done);
            check_store_done(model, i, at, length, done, result, false);
            if (model->failure[0] == '\0')
                model_compare(model, i, at, transfer, done, "verify");
            at += length;
        }
    }
}

static void do_verify(struct model *model, const struct model_op *op)
{
    (void)op;
    model_verify(model);
}

static void do_load(struct model *model, const struct model_op *op)
{
    do_access(model, op, false);
}

static void do_store(struct model *model, const struct model_op *op)
{
    do_access(model, op, true);
}

/* ---- Scans --------------------------------------------------------------- */

/* One page that a scan has looked at. */
static void check_scanned(struct model *model, uintptr_t address, bool found,
                          bool clears)
{
    const struct model_region *region = model_find(model, address);
    if (region == NULL || region->store < 0)
        return;
    struct model_store *store = &model->stores[region->store];
    uint64_t offset = region->offset + (address - region->address);
    uint64_t page = offset / model->page;
    if (offset >= store->size)
        return;
    /* What may be lost may come to be what it was before. */
    if (!found && store->is_cleared[page] && !model_loses(store, offset) &&
        memcmp(store->cleared + offset, store->truth + offset, model->page) !=
            0)
        model_fail(model, "no scan has found a write to store %d at %#llx",
                   region->store, (unsigned long long)offset);
    if (!clears)
        return;
    memcpy(store->cleared + offset, store->truth + offset, model->page);
    store->is_cleared[page] = true;
}

static void do_scan(struct model *model, const struct model_op *op)
{
    struct range range = pick_range(model, op);
    const struct model_region *region = model_find(model, range.address);
    struct hurdmm_dirty rows[16];
    if (region != NULL && op->arg[5] % 4) {
        range.address = region->address;
        range.length = region->length;
    }
    unsigned flags = op->arg[3] % 4 ? HURDMM_SCAN_CLEAR : 0;
    size_t max = 1 + op->arg[4] % 16, count = SIZE_MAX, done = SIZE_MAX,
           row = 0;
    int result =
        hurdmm_region_scan_dirty(model->space, range.address, range.length,
                                 flags, rows, max, &count, &done);
    model_say(model, "%#lx length %#zx flags %u: %d, %zu rows, %zu",
              (unsigned long)range.address, range.length, flags, result, count,
              done);
    struct model_allow allow = {0};
    bool reserved, hole = has_hole(model, range, &reserved);
    allow.ok = !hole && !reserved;
    if (!allow.ok)
        model_permit(&allow, ENOENT);
    else
        model_excuse(model, &allow, -1, 0);
    model_expect(model, &allow, result, "scan");
    if (count > max || done > range.length || done % model->page != 0 ||
        (result == 0 && done < range.length && count < max)) {
        model_fail(model, "%zu rows, %zu bytes done of %zu", count, done,
                   range.length);
        return;
    }
    for (uintptr_t at = range.address; at < range.address + done;
         at += model->page) {
        while (row < count && rows[row].address + rows[row].length <= at)
            row++;
        check_scanned(model, at, row < count && rows[row].address <= at,
                      flags != 0);
    }
    if (row + 1 < count)
        model_fail(model, "a row lies past what was done");
}

static void (*const operations[OP_KINDS])(struct model *,
                                          const struct model_op *) = {
    [OP_BIND] = do_bind,
    [OP_UNBIND] = do_unbind,
    [OP_PROTECT] = do_protect,
    [OP_ADVISE] = do_advise,
    [OP_LOAD] = do_load,
    [OP_STORE] = do_store,
    [OP_STORE_READ] = do_store_read,
    [OP_STORE_WRITE] = do_store_write,
    [OP_READ] = do_read,
    [OP_WRITE] = do_write,
    [OP_VERB] = do_verb,
    [OP_VERB_ADDRESS] = do_verb_address,
    [OP_DISCARD] = do_discard,
    [OP_SYNC_ALL] = do_sync_all,
    [OP_POPULATE] = do_populate,
    [OP_PIN] = do_pin,
    [OP_UNPIN] = do_unpin,
    [OP_RESIZE] = do_resize,
    [OP_BUDGET] = do_budget,
    [OP_SUPPLY] = do_supply,
    [OP_CACHE] = do_cache,
    [OP_CONTAINER] = do_container,
    [OP_STORE_ADVISE] = do_store_advise,
    [OP_DESTROY] = do_destroy,
    [OP_CREATE] = do_create,
    [OP_FAIL_DISK] = do_fail_disk,
    [OP_FAIL_PORT] = do_fail_port,
    [OP_CALM] = do_calm,
    [OP_CATCH] = do_catch,
    [OP_UNCATCH] = do_uncatch,
    [OP_BURST] = model_burst,
    [OP_SETTLE] = do_settle,
    [OP_INSPECT] = do_inspect,
    [OP_VERIFY] = do_verify,
    [OP_SCAN] = do_scan,
};

static const char *const kind_names[OP_KINDS] = {
    "bind",    "unbind",    "protect",   "advise",  "load",     "store",
    "s_read",  "s_write",   "read",      "write",   "verb",     "verb_at",
    "discard", "sync_all",  "populate",  "pin",     "unpin",    "resize",
    "budget",  "supply",    "cache",     "contain", "s_advise", "destroy",
    "create",  "fail_disk", "fail_port", "calm",    "catch",    "uncatch",
    "burst",   "settle",    "inspect",   "verify",  "scan",
};

const char *model_kind_name(unsigned kind)
{
    return kind < OP_KINDS ? kind_names[kind] : "end";
}

void model_do(struct model *model, const struct model_op *op)
{
    operations[op->kind](model, op);
}
