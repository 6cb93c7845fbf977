/* SPDX-License-Identifier: MIT */
/* What the tests use of <stdlib.h>, for images (tests/l4/support.c). */
#ifndef TESTS_L4_STDLIB_H
#define TESTS_L4_STDLIB_H

#include <stddef.h>

void *malloc(size_t size);
void *calloc(size_t count, size_t size);
_Noreturn void abort(void);
void free(void *bytes);

#endif
