/* SPDX-License-Identifier: MIT */
/* Programs from boot modules into spaces that a manager pages. */
#ifndef EXAMPLES_L4_LOAD_H
#define EXAMPLES_L4_LOAD_H

#include <hurdmm/hurdmm.h>

#define SEGMENTS_MAX 4

/* An ELF program for ia32, looked at. */
struct program {
    const unsigned char *bytes;
    size_t size;
    uintptr_t entry;
    unsigned count;
    struct {
        uint32_t address, offset, file_size, size;
    } segments[SEGMENTS_MAX];
};

/* What it lives on in one space. */
struct image {
    struct hurdmm_store *stores[SEGMENTS_MAX + 1];
    unsigned count;
};

/* The program in the module with this number behind the root task.  EBADMSG: it
 * is none that can be run here. */
int program_find(unsigned number, struct program *program);
/* Puts it into a space, with a stack that ends at `stack_end' and holds
 * `argument' as if a function had been called with it.  *stack is where the
 * stack pointer belongs. */
int program_load(const struct program *program, struct hurdmm *manager,
                 struct hurdmm_space *space, uintptr_t stack_end,
                 size_t stack_size, uint32_t argument, struct image *image,
                 uintptr_t *stack);
/* After its space has gone. */
void image_drop(struct image *image);

#endif
