/* SPDX-License-Identifier: MIT */
/* dump.c - a manager as text, a line at a time.
 *
 * A line is made under the lock and written without it, so the callback may do
 * what it likes.  What is listed next is found again by address or number.
 */
#include "lib/mm/mm.h"

#define LINE_MAX 200u

struct line {
    struct hurdmm *manager;
    void (*write)(void *hook, const char *text, size_t length);
    void *hook;
    size_t length;
    char text[LINE_MAX];
};

static void put(struct line *line, const char *text)
{
    while (*text && line->length < LINE_MAX - 1)
        line->text[line->length++] = *text++;
}

static void put_number(struct line *line, uint64_t number, unsigned base)
{
    char digits[24];
    size_t n = sizeof digits;

    digits[--n] = '\0';
    do {
        digits[--n] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    if (base == 16)
        put(line, "0x");
    put(line, digits + n);
}

static void put_field(struct line *line, const char *name, uint64_t number)
{
    put(line, " ");
    put(line, name);
    put(line, " ");
    put_number(line, number, 10);
}

/* Writes the line without the lock, and begins a new one. */
static void end_line(struct line *line)
{
    line->text[line->length++] = '\n';
    hmm_leave(line->manager);
    line->write(line->hook, line->text, line->length);
    hmm_enter_again(line->manager);
    line->length = 0;
}

static void dump_frames(struct line *line)
{
    const struct hurdmm *manager = line->manager;

    put(line, "manager: page");
    put_field(line, "bytes", hmm_page_bytes(manager));
    put_field(line, "budget", manager->budget);
    put_field(line, "used", manager->physmem.used);
    put_field(line, "peak", manager->physmem.peak);
    put_field(line, "dirty", manager->dirty);
    put_field(line, "writing", manager->writing);
    put_field(line, "filling", manager->filling);
    put_field(line, "pinned", manager->pinned);
    put_field(line, "trial", manager->trial);
    put(line, " policy ");
    put(line, manager->policy->name);
    end_line(line);
}

/* The store with the lowest number above `id`. */
static struct hurdmm_store *store_after(struct hurdmm *manager, uint32_t id)
{
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, &manager->stores)
    {
        struct hurdmm_store *store =
            HMM_CONTAINER_OF(link, struct hurdmm_store, link);
        if (store->id > id)
            return store;
    }
    return NULL;
}

static void dump_stores(struct line *line)
{
    struct hurdmm_store *store;
    uint32_t id = 0;

    while ((store = store_after(line->manager, id)) != NULL) {
        id = store->id;
        put(line, "store ");
        put_number(line, id, 10);
        put(line, " ");
        put(line, store->name[0] ? store->name : "-");
        put_field(line, "size", store->size);
        put_field(line, "flags", store->flags);
        put_field(line, "pages", store->cache.index.count);
        put_field(line, "dirty", store->dirty);
        put_field(line, "writing", store->writing);
        put_field(line, "pinned", store->pinned);
        put_field(line, "regions", store->cache.mappings.count);
        if (store->write_error)
            put_field(line, "error", (uint64_t)store->write_error);
        end_line(line);
    }
}

static void put_region(struct line *line, const struct hmm_region *region)
{
    put(line, "region ");
    put_number(line, region->by_address.first, 16);
    put(line, " to ");
    put_number(line, region->by_address.last, 16);
    if (!region->store) {
        put(line, " reserved");
        return;
    }
    put(line, region->rights & HURDMM_READ ? " r" : " -");
    put(line, region->rights & HURDMM_WRITE ? "w" : "-");
    put(line, region->rights & HURDMM_EXECUTE ? "x" : "-");
    put_field(line, "store", region->store->id);
    put_field(line, "offset", region->mapping.by_offset.first);
    put_field(line, "advice", region->advice);
}

/* The n-th space, from 0 on, or NULL. */
static struct hurdmm_space *space_at(struct hurdmm *manager, unsigned n)
{
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, &manager->spaces)
    {
        if (n-- == 0)
            return HMM_CONTAINER_OF(link, struct hurdmm_space, link);
    }
    return NULL;
}

/* What the n-th space has; it may end between two lines. */
static void dump_space(struct line *line, struct hurdmm_space *space,
                       unsigned n)
{
    struct hmm_span *span;
    uint64_t next = 0, last;

    put(line, "space");
    end_line(line);
    while (space_at(line->manager, n) == space &&
           (span = hmm_span_first_overlap(&space->regions, next, UINT64_MAX)) !=
               NULL) {
        last = span->last;
        put_region(line, HMM_CONTAINER_OF(span, struct hmm_region, by_address));
        end_line(line);
        if (last == UINT64_MAX)
            break;
        next = last + 1;
    }
}

int hurdmm_dump(struct hurdmm *manager,
                void (*write)(void *hook, const char *text, size_t length),
                void *hook)
{
    struct line line = {.manager = manager, .write = write, .hook = hook};
    struct hurdmm_space *space;

    if (!write)
        return EINVAL;
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    dump_frames(&line);
    dump_stores(&line);
    for (unsigned n = 0; (space = space_at(manager, n)) != NULL;
         n += space_at(manager, n) == space)
        dump_space(&line, space, n);
    hmm_leave(manager);
    return 0;
}
