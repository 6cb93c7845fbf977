/* SPDX-License-Identifier: MIT */
/*
 * Memory for a core under test: pieces of the heap, as many as the test allows.
 */
#ifndef HMM_TESTS_BASE_MEMORY_H
#define HMM_TESTS_BASE_MEMORY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MEMORY_PIECES 4096

struct memory {
    void *piece[MEMORY_PIECES];
    size_t size[MEMORY_PIECES];
    size_t count;
    size_t left; /* this many calls succeed */
    size_t calls;
};

static inline void memory_init(struct memory *memory)
{
    memory->count = 0;
    memory->calls = 0;
    memory->left = SIZE_MAX;
}

static inline int memory_extend(void *ctx, size_t size, void **address)
{
    struct memory *memory = ctx;
    void *piece;

    memory->calls++;
    if (memory->left == 0 || memory->count == MEMORY_PIECES)
        return ENOMEM;
    piece = malloc(size);
    if (piece == NULL)
        return ENOMEM;
    if (memory->left != SIZE_MAX)
        memory->left--;
    memory->piece[memory->count] = piece;
    memory->size[memory->count++] = size;
    *address = piece;
    return 0;
}

static inline void memory_free(struct memory *memory)
{
    while (memory->count > 0)
        free(memory->piece[--memory->count]);
}

#endif
