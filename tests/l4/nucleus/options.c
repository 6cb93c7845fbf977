/* SPDX-License-Identifier: MIT */
/* Boot parameters, and the random numbers that perturb. */
#include "nucleus.h"

struct options options = {.strict = 1, .slice = 5, .ports = 1};

static const struct {
    const char *name;
    unsigned *value;
} names[] = {
    {"strict", &options.strict},     {"check", &options.check},
    {"trace", &options.trace},       {"seed", &options.seed},
    {"yield", &options.yield},       {"step", &options.step},
    {"slice", &options.slice},       {"late", &options.late},
    {"spurious", &options.spurious}, {"less", &options.less},
    {"timeout", &options.timeout},   {"cancel", &options.cancel},
    {"refuse", &options.refuse},     {"ports", &options.ports},
};

/* The length of `name' if the text is name=..., else 0. */
static size_t matches(const char *text, const char *name)
{
    size_t length = 0;
    while (name[length] != '\0' && text[length] == name[length])
        length++;
    return name[length] == '\0' && text[length] == '=' ? length : 0;
}

static const char *read_number(const char *text, unsigned *value)
{
    *value = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        *value = *value * 10 + (unsigned)(*text - '0');
    return text;
}

/* All perturbations at once, each weak or strong as the seed has it. */
static void perturb(void)
{
    options.yield = random_below(4) * 100;
    options.slice = 1 + random_below(5);
    options.late = random_below(3) * 2;
    options.spurious = random_below(3) * 20;
    options.less = random_below(3) * 50;
    options.timeout = random_below(3) * 50;
    options.refuse = random_below(3) * 200;
    if (random_below(2) == 0)
        options.step = 1000 + random_below(50000);
}

void options_read(const char *line)
{
    while (*line != '\0') {
        for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
            size_t length = matches(line, names[i].name);
            if (length > 0)
                line = read_number(line + length + 1, names[i].value);
        }
        if (matches(line, "perturb")) {
            line = read_number(line + 8, &options.seed);
            perturb();
        }
        while (*line != '\0' && *line != ' ')
            line++;
        while (*line == ' ')
            line++;
    }
}

static uint32_t next_random(void)
{
    static uint32_t state;
    if (state == 0)
        state = options.seed * 2654435761u + 0x9e3779b9u;
    if (state == 0)
        state = 1;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

bool chance(unsigned per_mille)
{
    return per_mille != 0 && next_random() % 1000 < per_mille;
}

uint32_t random_below(uint32_t bound)
{
    return next_random() % bound;
}
