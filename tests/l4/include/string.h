/* SPDX-License-Identifier: MIT */
/* What the tests use of <string.h>, for images (tests/l4/support.c). */
#ifndef TESTS_L4_STRING_H
#define TESTS_L4_STRING_H

#include "lib/base/string.h"

int strcmp(const char *one, const char *two);
size_t strlen(const char *text);

#endif
