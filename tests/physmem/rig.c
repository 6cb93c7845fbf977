/* SPDX-License-Identifier: MIT */
/* Containers as strings.  See rig.h. */
#include "tests/physmem/rig.h"

#define PAGE_MAX 4096

struct hurdmm_container *rig_container(struct world *world)
{
    struct hurdmm_container *container = NULL;
    ck_assert_int_eq(hurdmm_container_create(world->manager, &container), 0);
    return container;
}

struct hurdmm_container *rig_filled(struct world *world, const char *letters)
{
    struct hurdmm_container *container = rig_container(world);
    for (unsigned i = 0; letters[i] != '\0'; i++) {
        uint64_t done;
        if (letters[i] == '.')
            continue;
        ck_assert_int_eq(hurdmm_container_allocate(container, i * world->page,
                                                   world->page, 0, &done),
                         0);
        rig_letter(world, container, i, letters[i]);
    }
    return container;
}

void rig_letter(struct world *world, struct hurdmm_container *container,
                unsigned page, char letter)
{
    char bytes[PAGE_MAX];
    size_t done;
    memset(bytes, letter, world->page);
    ck_assert_int_eq(hurdmm_container_write(container, page * world->page,
                                            bytes, world->page, &done),
                     0);
}

void rig_store_letter(struct world *world, struct hurdmm_store *store,
                      unsigned page, char letter)
{
    char bytes[PAGE_MAX];
    size_t done;
    memset(bytes, letter, world->page);
    ck_assert_int_eq(hurdmm_store_write(store, page * world->page, bytes,
                                        world->page, &done),
                     0);
}

static char letter_of(const char *bytes, size_t length)
{
    for (size_t i = 1; i < length; i++) {
        if (bytes[i] != bytes[0])
            return '?';
    }
    return bytes[0] == '\0' ? '0' : bytes[0];
}

static char *next_text(void)
{
    static char texts[4][RIG_PAGES + 1];
    static unsigned next;
    char *text = texts[next++ % 4];
    memset(text, 0, RIG_PAGES + 1);
    return text;
}

const char *rig_picture(struct world *world, struct hurdmm_container *container,
                        unsigned pages)
{
    char bytes[PAGE_MAX], *text = next_text();
    size_t done;
    ck_assert_uint_le(pages, RIG_PAGES);
    for (unsigned i = 0; i < pages; i++) {
        int error = hurdmm_container_read(container, i * world->page, bytes,
                                          world->page, &done);
        ck_assert(error == 0 || error == ENOENT);
        text[i] = error ? '.' : letter_of(bytes, world->page);
    }
    return text;
}

const char *rig_store_picture(struct world *world, struct hurdmm_store *store,
                              unsigned pages)
{
    char bytes[PAGE_MAX], *text = next_text();
    size_t done;
    ck_assert_uint_le(pages, RIG_PAGES);
    for (unsigned i = 0; i < pages; i++) {
        ck_assert_int_eq(hurdmm_store_read(store, i * world->page, bytes,
                                           world->page, &done),
                         0);
        text[i] = letter_of(bytes, world->page);
    }
    return text;
}

int rig_copy(struct world *world, struct hurdmm_container *target, unsigned to,
             struct hurdmm_container *source, unsigned from, unsigned pages,
             unsigned flags, unsigned *done)
{
    uint64_t bytes = 1;
    int error = hurdmm_container_copy(target, to * world->page, source,
                                      from * world->page, pages * world->page,
                                      flags, &bytes);
    ck_assert_uint_eq(bytes % world->page, 0);
    *done = (unsigned)(bytes / world->page);
    return error;
}

void rig_copied(struct world *world, struct hurdmm_container *target,
                unsigned to, struct hurdmm_container *source, unsigned from,
                unsigned pages, unsigned flags)
{
    unsigned done;
    ck_assert_int_eq(
        rig_copy(world, target, to, source, from, pages, flags, &done), 0);
    ck_assert_uint_eq(done, pages);
}

int rig_release(struct world *world, struct hurdmm_container *container,
                unsigned first, unsigned pages)
{
    return hurdmm_container_release(container, first * world->page,
                                    pages * world->page);
}

uintptr_t rig_bind(struct world *world, struct hurdmm_container *container,
                   unsigned pages)
{
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = world->space,
        .container = container,
        .length = pages * world->page,
        .rights = HURDMM_READ | HURDMM_WRITE,
    };
    uintptr_t address = 0;
    ck_assert_int_eq(hurdmm_bind(&bind, &address), 0);
    return address;
}

struct disk *rig_disk(struct world *world, const char *letters, unsigned flags)
{
    unsigned pages = (unsigned)strlen(letters);
    struct disk *disk =
        world_disk(world, pages * world->page, flags | HURDMM_STORE_SHARED);
    for (unsigned i = 0; i < pages; i++)
        memset(disk->bytes + i * world->page, letters[i], world->page);
    return disk;
}
