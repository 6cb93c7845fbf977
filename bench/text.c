/* SPDX-License-Identifier: MIT */
/* text.c - writes a text of so many MiB to standard output, always the same.
 *
 *     text MIB
 *
 * Lines of 1 to 12 words, 40 bytes on the average; words are frequent and rare
 * as in a language, so that many lines begin alike and some are equal.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/report.h"

#define WORDS 20000u

static char words[WORDS][12];

static void make_words(uint64_t *seed)
{
    for (unsigned i = 0; i < WORDS; i++) {
        unsigned length = 1 + (unsigned)(draw(seed) % 10);

        for (unsigned k = 0; k < length; k++)
            words[i][k] = (char)('a' + draw(seed) % 26);
    }
}

/* The lower, the more frequent. */
static const char *word(uint64_t *seed)
{
    uint64_t range = 1 + draw(seed) % WORDS;

    return words[draw(seed) % range];
}

int main(int argc, char **argv)
{
    uint64_t seed = 2005, left = 0;

    if (argc == 2)
        left = strtoull(argv[1], NULL, 10) << 20;
    if (left == 0) {
        (void)fprintf(stderr, "usage: %s MIB\n", argv[0]);
        return 2;
    }
    make_words(&seed);
    while (left > 0) {
        char line[160];
        int length = 0;

        for (uint64_t n = 1 + draw(&seed) % 12; n > 0; n--)
            length += snprintf(line + length, 13, "%s ", word(&seed));
        line[length - 1] = '\n';
        size_t size = (size_t)length < left ? (size_t)length : (size_t)left;
        need(fwrite(line, 1, size, stdout) != size, "standard output");
        left -= size;
    }
    return fflush(stdout) ? 1 : 0;
}
