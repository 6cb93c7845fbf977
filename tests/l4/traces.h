/* SPDX-License-Identifier: MIT */
/* What a script wrote down, as a number and as a line. */
#ifndef TESTS_L4_TRACES_H
#define TESTS_L4_TRACES_H

#include "tests/core/scripts.h"

#define TRACE_SIZE 65536

static inline unsigned long long script_trace_sum(
    const struct script_trace *trace)
{
    unsigned long long sum = 1;
    for (size_t i = 0; i < trace->length; i++)
        sum = (sum ^ (unsigned char)trace->text[i]) * 0x100000001b3u;
    return sum;
}

#endif
