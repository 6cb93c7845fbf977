/* SPDX-License-Identifier: MIT */
/* Programs from boot modules: each segment is copied into anonymous memory. */
#include "examples/l4/load.h"

#include <hurdmm/error.h>
#include <hurdmm/l4.h>

#include "lib/base/string.h"

#define PAGE 4096u
#define SEGMENT_LOADED 1u

struct elf_header {
    unsigned char ident[16];
    uint16_t type, machine;
    uint32_t version, entry, program_offset, section_offset, flags;
    uint16_t size, program_entry_size, program_count;
};

struct elf_segment {
    uint32_t type, offset, address, physical, file_size, size, flags, align;
};

static int parse(struct program *program)
{
    struct elf_header header;
    struct elf_segment segment;
    if (program->size < sizeof header)
        return EBADMSG;
    memcpy(&header, program->bytes, sizeof header);
    if (memcmp(header.ident, "\177ELF\1\1", 6) != 0 || header.machine != 3 ||
        header.program_offset > program->size || header.program_count > 16 ||
        (size_t)header.program_count * sizeof segment >
            program->size - header.program_offset)
        return EBADMSG;
    program->entry = header.entry;
    for (unsigned i = 0; i < header.program_count; i++) {
        memcpy(&segment,
               program->bytes + header.program_offset + i * sizeof segment,
               sizeof segment);
        if (segment.type != SEGMENT_LOADED)
            continue;
        if (program->count == SEGMENTS_MAX || segment.address % PAGE != 0 ||
            segment.file_size > segment.size ||
            segment.offset > program->size ||
            segment.file_size > program->size - segment.offset)
            return EBADMSG;
        program->segments[program->count].address = segment.address;
        program->segments[program->count].offset = segment.offset;
        program->segments[program->count].file_size = segment.file_size;
        program->segments[program->count++].size = segment.size;
    }
    return program->count > 0 ? 0 : EBADMSG;
}

int program_find(unsigned number, struct program *program)
{
    struct hurdmm_l4_module module;
    int error = hurdmm_l4_get_module(number, &module);
    if (error != 0)
        return error;
    *program = (struct program){.bytes = module.start, .size = module.size};
    return parse(program);
}

/* Binds a new store at the address. */
static int add_store(struct image *image, struct hurdmm *manager,
                     struct hurdmm_space *space, uintptr_t address, size_t size,
                     struct hurdmm_store **store)
{
    size_t whole = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
    int error = hurdmm_anonymous_create(manager, NULL, whole, 0, store);
    if (error != 0)
        return error;
    image->stores[image->count++] = *store;
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = space,
                                       .store = *store,
                                       .address = address,
                                       .length = whole,
                                       .rights = HURDMM_RIGHTS,
                                       .flags = HURDMM_BIND_EXACT};
    return hurdmm_bind(&bind, &address);
}

static int add_stack(struct image *image, struct hurdmm *manager,
                     struct hurdmm_space *space, uintptr_t end, size_t size,
                     uint32_t argument)
{
    struct hurdmm_store *store;
    uint32_t words[4] = {argument, 0, 0, 0};
    size_t done;
    int error = add_store(image, manager, space, end - size, size, &store);
    if (error != 0)
        return error;
    return hurdmm_store_write(store, size - sizeof words, words, sizeof words,
                              &done);
}

int program_load(const struct program *program, struct hurdmm *manager,
                 struct hurdmm_space *space, uintptr_t stack_end,
                 size_t stack_size, uint32_t argument, struct image *image,
                 uintptr_t *stack)
{
    struct hurdmm_store *store;
    size_t done;
    int error = 0;
    *image = (struct image){.count = 0};
    for (unsigned i = 0; i < program->count && error == 0; i++) {
        error = add_store(image, manager, space, program->segments[i].address,
                          program->segments[i].size, &store);
        if (error == 0)
            error = hurdmm_store_write(
                store, 0, program->bytes + program->segments[i].offset,
                program->segments[i].file_size, &done);
    }
    if (error == 0)
        error =
            add_stack(image, manager, space, stack_end, stack_size, argument);
    if (error == 0)
        *stack = stack_end - 16;
    return error;
}

void image_drop(struct image *image)
{
    while (image->count > 0)
        (void)hurdmm_store_destroy(image->stores[--image->count], HURDMM_DROP);
}
