/* SPDX-License-Identifier: MIT */
/* See words.h. */
#include "bench/words.h"

#include <string.h>

#include "bench/report.h"

#define VOCABULARY 4096u
#define WORD_MAX 12u

struct word {
    unsigned length;
    char letters[WORD_MAX];
};

static struct word vocabulary[VOCABULARY];

static void make_vocabulary(void)
{
    uint64_t state = 42;

    for (unsigned i = 0; i < VOCABULARY; i++) {
        struct word *word = &vocabulary[i];

        word->length = 2 + (unsigned)(draw(&state) % (WORD_MAX - 2));
        for (unsigned j = 0; j + 1 < word->length; j++)
            word->letters[j] = (char)('a' + draw(&state) % 26);
        word->letters[word->length - 1] = i % 16 == 0 ? '\n' : ' ';
    }
}

void words_fill(char *to, size_t length, uint64_t seed)
{
    if (vocabulary[0].length == 0)
        make_vocabulary();
    for (size_t done = 0; done < length;) {
        /* Each rank twice as often as the one of twice its number. */
        unsigned bits = (unsigned)(draw(&seed) % 13);
        const struct word *word = &vocabulary[draw(&seed) % (1u << bits)];
        size_t part = word->length;

        if (part > length - done)
            part = length - done;
        memcpy(to + done, word->letters, part);
        done += part;
    }
}
