/* SPDX-License-Identifier: MIT */
/* I/O ports: a bitmap a space, and who let whom use which.  There are few such
 * mappings, so that they are a list. */
#include "nucleus.h"

#define GRANTS 256
#define PORT_BYTES 8192u

struct grant {
    struct space *from, *to; /* from null: sigma0; to null: unused */
    uint32_t port, count;
};
static struct grant grants[GRANTS];
static bool changed; /* since the last io_check */

static uint32_t first_port(uint32_t fpage)
{
    return fpage >> 16;
}

static uint32_t port_count(uint32_t fpage)
{
    unsigned log2 = fpage >> 10 & 0x3f;
    return log2 > 16 ? 0 : UINT32_C(1) << log2;
}

static bool is_open(const struct space *space, uint32_t port)
{
    return space->ports != NULL && !(space->ports[port / 8] >> (port % 8) & 1);
}

bool io_open(const struct space *space, unsigned port, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (port + i > 0xffff || !is_open(space, port + i))
            return false;
    return true;
}

/* The bitmap that the grants make. */
static void draw(const struct space *space, uint8_t *ports)
{
    memset(ports, 0xff, PORT_BYTES);
    for (unsigned i = 0; i < GRANTS; i++)
        for (uint32_t j = 0; grants[i].to == space && j < grants[i].count; j++)
            ports[(grants[i].port + j) / 8] &=
                (uint8_t) ~(1u << ((grants[i].port + j) % 8));
}

static void rebuild(struct space *space)
{
    if (space->ports == NULL)
        space->ports = page_run(PORT_BYTES / PAGE);
    draw(space, space->ports);
    trap_ports(space, true);
}

static void add(struct space *from, struct space *to, uint32_t port,
                uint32_t count)
{
    struct grant *unused = NULL;
    for (unsigned i = 0; i < GRANTS; i++) {
        if (grants[i].to == to && grants[i].from == from &&
            grants[i].port == port && grants[i].count == count)
            return;
        if (grants[i].to == NULL)
            unused = &grants[i];
    }
    if (unused == NULL)
        stop("more than %u mappings of I/O ports", GRANTS);
    *unused = (struct grant){from, to, port, count};
    changed = true;
    rebuild(to);
}

void io_give(uint32_t fpage, struct space *to)
{
    add(NULL, to, first_port(fpage), port_count(fpage));
}

void io_map(struct space *from, uint32_t fpage, struct space *to)
{
    if (!io_open(from, first_port(fpage), port_count(fpage))) {
        strict("maps I/O ports %x that it does not have", fpage);
        return;
    }
    if (from != to)
        add(from, to, first_port(fpage), port_count(fpage));
}

static bool touches(const struct grant *grant, uint32_t port, uint32_t count)
{
    return grant->port < port + count && port < grant->port + grant->count;
}

void io_unmap(struct space *space, uint32_t fpage, bool flush)
{
    uint32_t port = first_port(fpage), count = port_count(fpage);
    for (unsigned i = 0; i < GRANTS; i++) {
        struct grant *grant = &grants[i];
        if (grant->to == NULL || !touches(grant, port, count) ||
            !(grant->from == space || (flush && grant->to == space)))
            continue;
        struct space *loser = grant->to;
        uint32_t lost = grant->port << 16 | (fpage & 0xffff);
        *grant = (struct grant){0};
        changed = true;
        rebuild(loser);
        if (loser != space)
            io_unmap(loser, lost, false);
    }
}

void io_clear(struct space *space)
{
    for (unsigned i = 0; i < GRANTS; i++)
        if (grants[i].to == space || grants[i].from == space)
            grants[i] = (struct grant){0};
    space->ports = NULL; /* its pages stay: spaces are few */
}

void io_check(void)
{
    static uint8_t ports[PORT_BYTES];
    for (unsigned i = 0; changed && i < SPACES; i++) {
        const struct space *space = &spaces[i];
        if (!space->used || space->ports == NULL)
            continue;
        draw(space, ports);
        for (unsigned at = 0; at < PORT_BYTES; at++)
            if (ports[at] != space->ports[at])
                stop("check: port %x of space %u", at * 8, i);
    }
    changed = false;
}
