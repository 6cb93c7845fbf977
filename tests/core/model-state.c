/* SPDX-License-Identifier: MIT */
/* The model itself: regions, pins, truth, and what excuses an error. */
#include <stdarg.h>
#include <string.h>

#include <hurdmm/error.h>

#include "tests/core/model.h"

void model_fail(struct model *model, const char *format, ...)
{
    if (model->failure[0] != '\0')
        return;
    int used =
        snprintf(model->failure, sizeof model->failure,
                 "step %u (%s): ", model->step, model_kind_name(model->kind));
    va_list list;
    va_start(list, format);
    vsnprintf(model->failure + used, sizeof model->failure - (size_t)used,
              format, list);
    va_end(list);
}

void model_say(struct model *model, const char *format, ...)
{
    if (!model->verbose)
        return;
    va_list list;
    va_start(list, format);
    printf("  %3u %-12s ", model->step, model_kind_name(model->kind));
    vprintf(format, list);
    printf("\n");
    va_end(list);
    fflush(stdout);
}

void model_permit(struct model_allow *allow, int error)
{
    if (error == 0) {
        allow->ok = true;
        return;
    }
    if (!model_permitted(allow, error) && allow->count < 12)
        allow->errors[allow->count++] = error;
}

bool model_permitted(const struct model_allow *allow, int error)
{
    if (error == 0)
        return allow->ok;
    for (unsigned i = 0; i < allow->count; i++) {
        if (allow->errors[i] == error)
            return true;
    }
    return false;
}

void model_expect(struct model *model, const struct model_allow *allow,
                  int result, const char *what)
{
    if (model_permitted(allow, result))
        return;
    char text[100];
    int used = snprintf(text, sizeof text, "%s", allow->ok ? "0" : "");
    for (unsigned i = 0; i < allow->count && used < 80; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, " %d",
                         allow->errors[i]);
    model_fail(model, "%s ended with %d (%s), not with one of: %s", what,
               result, strerror(result), text);
}

struct model_region *model_find(struct model *model, uintptr_t address)
{
    for (unsigned i = 0; i < model->region_count; i++) {
        struct model_region *region = &model->regions[i];
        if (address >= region->address &&
            address - region->address < region->length)
            return region;
    }
    return NULL;
}

bool model_overlaps(const struct model *model, uintptr_t address, size_t length)
{
    for (unsigned i = 0; i < model->region_count; i++) {
        const struct model_region *region = &model->regions[i];
        if (region->address < address + length &&
            address < region->address + region->length)
            return true;
    }
    return false;
}

bool model_bound(const struct model *model, int store, uint64_t offset,
                 uint64_t length)
{
    for (unsigned i = 0; i < model->region_count; i++) {
        const struct model_region *region = &model->regions[i];
        if (region->store == store && region->offset < offset + length &&
            offset < region->offset + region->length)
            return true;
    }
    return false;
}

void model_insert(struct model *model, const struct model_region *region)
{
    if (model->region_count == MODEL_REGIONS) {
        model_fail(model, "the model has no room for a region");
        return;
    }
    model->regions[model->region_count++] = *region;
}

void model_split(struct model *model, uintptr_t address)
{
    struct model_region *region = model_find(model, address);
    if (region == NULL || region->address == address)
        return;
    struct model_region tail = *region;
    size_t head = address - region->address;
    region->length = head;
    tail.address = address;
    tail.offset += head;
    tail.length -= head;
    model_insert(model, &tail);
}

void model_remove(struct model *model, uintptr_t address, size_t length)
{
    model_split(model, address);
    model_split(model, address + length);
    for (unsigned i = 0; i < model->region_count;) {
        struct model_region *region = &model->regions[i];
        if (region->address >= address && region->address - address < length)
            *region = model->regions[--model->region_count];
        else
            i++;
    }
}

void model_remove_store(struct model *model, int store)
{
    for (unsigned i = 0; i < model->region_count;) {
        if (model->regions[i].store == store)
            model->regions[i] = model->regions[--model->region_count];
        else
            i++;
    }
}

bool model_pinned(const struct model *model, uintptr_t address, size_t length,
                  unsigned access)
{
    for (unsigned i = 0; i < model->pin_count; i++) {
        const struct model_pin *pin = &model->pins[i];
        if (pin->address < address + length &&
            address < pin->address + pin->length &&
            (pin->access & access) == access)
            return true;
    }
    return false;
}

unsigned model_pinned_store(struct model *model, int store, uint64_t offset,
                            uint64_t length)
{
    unsigned pages = 0;
    for (uint64_t at = offset; at < offset + length; at += model->page) {
        bool pinned = false;
        for (unsigned i = 0; i < model->region_count && !pinned; i++) {
            const struct model_region *region = &model->regions[i];
            if (region->store == store && at >= region->offset &&
                at - region->offset < region->length)
                pinned = model_pinned(
                    model, region->address + (uintptr_t)(at - region->offset),
                    model->page, HURDMM_NONE);
        }
        pages += pinned ? 1 : 0;
    }
    return pages;
}

bool model_pinned_to_write(struct model *model, int store, uint64_t offset,
                           uint64_t length)
{
    for (unsigned i = 0; i < model->pin_count; i++) {
        const struct model_pin *pin = &model->pins[i];
        if (!(pin->access & HURDMM_WRITE))
            continue;
        for (uintptr_t at = pin->address; at < pin->address + pin->length;
             at += model->page) {
            const struct model_region *region = model_find(model, at);
            uint64_t page = region->offset + (at - region->address);
            if (region->store == store && page < offset + length &&
                offset < page + model->page)
                return true;
        }
    }
    return false;
}

int model_hard_error(struct model *model, uintptr_t address, unsigned access)
{
    const struct model_region *region = model_find(model, address);
    if (region == NULL || region->store == MODEL_RESERVED)
        return EFAULT;
    if ((region->rights & access) != access)
        return EACCES;
    uint64_t offset = region->offset + (address - region->address);
    offset -= offset % model->page;
    if (offset >= model->stores[region->store].size)
        return ENXIO;
    return 0;
}

bool model_tight(const struct model *model)
{
    if (model->pin_count > 0 || model->container_pages > 0)
        return true;
    for (int i = 0; i < MODEL_STORES; i++) {
        const struct model_store *store = &model->stores[i];
        const struct disk_script *script = &store->disk.script;
        if (!store->exists)
            continue;
        if (store->stuck || store->flags & HURDMM_STORE_NO_STEAL)
            return true;
        if (script->nth != 0 && script->kinds & DISK_OUT)
            return true;
        if (store->disk.write_failures != model->write_failures[i])
            return true;
    }
    return false;
}

static void excuse_port(struct model *model, struct model_allow *allow)
{
    struct hurdmm_sim_stats stats = {.struct_size = sizeof stats};
    hurdmm_sim_get_stats(model->port, &stats);
    if (stats.failures != model->port_failures || model_tight(model))
        model_permit(allow, ENOMEM);
}

void model_excuse(struct model *model, struct model_allow *allow, int index,
                  uint64_t offset)
{
    excuse_port(model, allow);
    if (index < 0)
        return;
    const struct model_store *store = &model->stores[index];
    const struct disk *disk = &store->disk;
    uint64_t first = offset / disk->block * disk->block;
    for (uint64_t at = first; at < first + disk->block; at += model->page) {
        int error = disk->failed[at / model->page];
        if (at / model->page < DISK_PAGES_MAX && error != 0)
            model_permit(allow, error);
    }
    if (disk->failures != model->disk_failures[index]) {
        model_permit(allow, disk->script.error);
        if (disk->script.error == 0 || disk->script.kinds & DISK_IN)
            model_permit(allow, EIO);
        if (disk->script.kinds & DISK_UNLOCK)
            model_permit(allow, ENOSPC);
        if (disk->script.error == 0)
            allow->ok = true;
    }
}

static void set_lost(struct model_store *store, uint64_t offset,
                     uint64_t length, bool lost)
{
    size_t page = store->disk.page;
    for (uint64_t p = offset / page;
         p * page < offset + length && p < DISK_PAGES_MAX; p++) {
        store->disk.lost[p] = lost;
        store->disk.idle[p] = false;
    }
}

void model_take(struct model_store *store, uint64_t offset, uint64_t length)
{
    set_lost(store, offset, length, false);
}

void model_doubt(struct model_store *store, uint64_t offset, uint64_t length)
{
    set_lost(store, offset, length, true);
}

static void compare_page(struct model *model, int index, uint64_t offset,
                         const uint8_t *bytes, size_t length, const char *what)
{
    struct model_store *store = &model->stores[index];
    if (memcmp(bytes, store->truth + offset, length) == 0)
        return;
    uint64_t start = offset - offset % model->page;
    if (model_loses(store, start) &&
        memcmp(bytes, store->bytes + offset, length) == 0) {
        memcpy(store->truth + start, store->bytes + start, model->page);
        return;
    }
    size_t at = 0;
    while (bytes[at] == store->truth[offset + at])
        at++;
    model_fail(model,
               "%s of store %d at %#llx reads %02x where %02x is (%02x on "
               "disk)",
               what, index, (unsigned long long)(offset + at), bytes[at],
               store->truth[offset + at], store->bytes[offset + at]);
}

void model_compare(struct model *model, int index, uint64_t offset,
                   const uint8_t *bytes, size_t length, const char *what)
{
    while (length > 0) {
        size_t part = model->page - (size_t)(offset % model->page);
        if (part > length)
            part = length;
        compare_page(model, index, offset, bytes, part, what);
        offset += part;
        bytes += part;
        length -= part;
    }
}

void model_note(struct model *model, int index, bool waits, int result,
                const char *what)
{
    struct model_store *store = &model->stores[index];
    unsigned more = store->disk.write_failures - store->seen_write_failures;
    store->seen_write_failures = store->disk.write_failures;
    store->stuck |= more > 0;
    if (!waits) {
        store->untold_min += more;
        store->untold_max += more;
        return;
    }
    if (result == 0 && store->untold_min > 0)
        model_fail(model, "%s of store %d does not tell of a failed write",
                   what, index);
    store->untold_min = 0;
    store->untold_max = more;
}
