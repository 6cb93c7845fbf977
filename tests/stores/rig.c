/* SPDX-License-Identifier: MIT */
/* See rig.h. */
#include <stdlib.h>
#include <string.h>

#include "tests/stores/rig.h"

static struct ram *ram_of(struct hurdmm_block *block)
{
    return (struct ram *)(void *)block;
}

static int ram_read(struct hurdmm_block *block, uint64_t offset, void *buffer,
                    size_t length)
{
    struct ram *ram = ram_of(block);

    ck_assert_uint_eq(offset % PAGE, 0);
    ck_assert_uint_eq(length % PAGE, 0);
    ck_assert(offset + length <= block->size);
    ram->reads++;
    if (ram->read_error != 0)
        return ram->read_error;
    if (ram->bad_block > offset / PAGE &&
        ram->bad_block <= (offset + length) / PAGE)
        return EIO;
    for (uint64_t at = offset; at < offset + length; at += PAGE)
        ck_assert_msg(ram->written[at / PAGE], "block %u was never written",
                      (unsigned)(at / PAGE));
    memcpy(buffer, ram->bytes + offset, length);
    return 0;
}

static int ram_write(struct hurdmm_block *block, uint64_t offset,
                     const void *buffer, size_t length)
{
    struct ram *ram = ram_of(block);

    ck_assert_uint_eq(offset % PAGE, 0);
    ck_assert_uint_eq(length % PAGE, 0);
    ck_assert(offset + length <= block->size);
    ram->writes++;
    if (ram->write_error != 0)
        return ram->write_error;
    memcpy(ram->bytes + offset, buffer, length);
    memset(ram->written + offset / PAGE, 1, length / PAGE);
    return 0;
}

/* What is discarded is gone. */
static int ram_discard(struct hurdmm_block *block, uint64_t offset,
                       uint64_t length)
{
    struct ram *ram = ram_of(block);

    ram->discards++;
    memset(ram->bytes + offset, 0xdd, (size_t)length);
    memset(ram->written + offset / PAGE, 0, (size_t)(length / PAGE));
    return 0;
}

static const struct hurdmm_block_ops ram_ops = {
    .struct_size = sizeof ram_ops,
    .read = ram_read,
    .write = ram_write,
    .discard = ram_discard,
};

void ram_begin(struct ram *ram, uint64_t size)
{
    memset(ram, 0, sizeof *ram);
    ram->block.ops = &ram_ops;
    ram->block.size = size;
    ram->block.block_size = PAGE;
    ram->bytes = malloc((size_t)size);
    ram->written = calloc((size_t)(size / PAGE) + 1, sizeof *ram->written);
    ck_assert_ptr_nonnull(ram->bytes);
    ck_assert_ptr_nonnull(ram->written);
}

void ram_end(struct ram *ram)
{
    free(ram->bytes);
    free(ram->written);
}

void rig_begin(struct rig *rig, unsigned pages, unsigned swap_pages)
{
    struct hurdmm_sim_options machine = {
        .struct_size = sizeof machine,
        .page_size = PAGE,
        .flags = HURDMM_SIM_CHECK_FRAMES | HURDMM_SIM_JUNK,
    };
    struct hurdmm_options options = {
        .struct_size = sizeof options,
        .budget = pages * PAGE,
    };

    ck_assert_int_eq(hurdmm_sim_create(&machine, &rig->port), 0);
    options.port = rig->port;
    ck_assert_int_eq(hurdmm_create(&options, &rig->manager), 0);
    rig->space = hurdmm_space_own(rig->manager);
    ram_begin(&rig->ram, swap_pages * PAGE);
    ck_assert_int_eq(
        hurdmm_swap_create(rig->manager, &rig->ram.block, &rig->swap), 0);
}

void rig_check(struct rig *rig)
{
    const char *what = "nothing";
    int error = hurdmm_check(rig->manager, &what);

    ck_assert_msg(error == 0, "hurdmm_check: %s", what);
    ck_assert_msg(hurdmm_sim_violations(rig->port, &what) == 0,
                  "the port was misused: %s", what);
}

/* The manager frees the memory of its swap spaces. */
void rig_end(struct rig *rig)
{
    rig_check(rig);
    ck_assert_int_eq(hurdmm_destroy(rig->manager, HURDMM_DETACH), 0);
    hurdmm_sim_destroy(rig->port);
    ram_end(&rig->ram);
}

struct hurdmm_store *rig_anonymous(struct rig *rig, uint64_t size)
{
    struct hurdmm_store *store;

    ck_assert_int_eq(
        hurdmm_anonymous_create(rig->manager, rig->swap, size, 0, &store), 0);
    return store;
}

uintptr_t rig_bind(struct rig *rig, struct hurdmm_store *store, size_t length,
                   unsigned rights)
{
    struct hurdmm_bind_options options = {
        .struct_size = sizeof options,
        .space = rig->space,
        .store = store,
        .length = length,
        .rights = rights,
    };
    uintptr_t address;

    ck_assert_int_eq(hurdmm_bind(&options, &address), 0);
    return address;
}

uint64_t rig_used(struct rig *rig)
{
    uint64_t size, used;

    hurdmm_swap_usage(rig->swap, &size, &used);
    ck_assert_uint_le(used, size);
    return used / PAGE;
}

uint64_t rig_core_bytes(struct rig *rig)
{
    struct hurdmm_stats stats = {.struct_size = sizeof stats};

    ck_assert_int_eq(hurdmm_get_stats(rig->manager, &stats), 0);
    return stats.core_bytes;
}

/* The bytes of the store that are in the page: the last one may be cut. */
static size_t page_length(struct hurdmm_store *store, uint64_t page)
{
    uint64_t rest = hurdmm_store_size(store) - page * PAGE;

    return rest < PAGE ? (size_t)rest : PAGE;
}

static uint8_t byte_of(uint64_t page, unsigned version, size_t i)
{
    return version == 0 ? 0 : (uint8_t)(page * 7 + version * 31 + i * 3 + 1);
}

int put_page(struct hurdmm_store *store, uint64_t page, unsigned version)
{
    uint8_t bytes[PAGE];
    size_t done;

    for (size_t i = 0; i < PAGE; i++)
        bytes[i] = byte_of(page, version, i);
    return hurdmm_store_write(store, page * PAGE, bytes,
                              page_length(store, page), &done);
}

void expect_page(struct hurdmm_store *store, uint64_t page, unsigned version)
{
    size_t length = page_length(store, page);
    uint8_t bytes[PAGE];
    size_t done;
    int error = hurdmm_store_read(store, page * PAGE, bytes, length, &done);

    ck_assert_msg(error == 0, "page %u: error %d", (unsigned)page, error);
    for (size_t i = 0; i < length; i++)
        ck_assert_msg(bytes[i] == byte_of(page, version, i),
                      "page %u, byte %u: %u", (unsigned)page, (unsigned)i,
                      bytes[i]);
}

void expect_error(struct hurdmm_store *store, uint64_t page, int error)
{
    uint8_t byte;
    size_t done;

    ck_assert_int_eq(hurdmm_store_read(store, page * PAGE, &byte, 1, &done),
                     error);
    ck_assert_uint_eq(done, 0);
}
