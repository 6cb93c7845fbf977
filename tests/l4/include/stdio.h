/* SPDX-License-Identifier: MIT */
/* What the tests use of <stdio.h>, for images (tests/l4/support.c). */
#ifndef TESTS_L4_STDIO_H
#define TESTS_L4_STDIO_H

#include <stddef.h>

#include "backends/l4-x86/system.h"

#define printf hmm_l4_printf
/* Knows %s only. */
int snprintf(char *text, size_t size, const char *format, ...);

#endif
