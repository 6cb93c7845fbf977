/* SPDX-License-Identifier: MIT */
/* The ports of this host, by name.
 *
 * `kinds' lists them, best first.  A kind that works is chosen when no name was
 * given if it is `automatic'.  There is no state.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#ifdef HAVE_LINUX_USERFAULTFD_H
#include "backends/linux/linux_port.h"
#endif
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <hurdmm/host.h>
#include <hurdmm/port.h>
#include <hurdmm/posix.h>
#include <hurdmm/sim.h>

struct kind {
    const char *name;
    bool automatic;
    int (*create)(struct hurdmm_port **port);
    int (*destroy)(struct hurdmm_port *port);
    void (*describe)(struct hurdmm_port *port, char *buffer, size_t size);
};

#ifdef HAVE_LINUX_USERFAULTFD_H

static int linux_create(struct hurdmm_port **port)
{
    return hurdmm_linux_create(NULL, port);
}

/* The posix port, and why the better one is not there. */
static void posix_describe(struct hurdmm_port *port, char *buffer, size_t size)
{
    char why[256];
    hmm_posix_describe(port, buffer, size);
    hmm_linux_why_not(why, sizeof(why));
    size_t length = strlen(buffer);
    if (why[0] && length < size)
        (void)snprintf(buffer + length, size - length, "; no linux port (%s)",
                       why);
}

#else
#define posix_describe hmm_posix_describe
#endif

static int posix_create(struct hurdmm_port **port)
{
    return hurdmm_posix_create(NULL, port);
}

static int sim_create(struct hurdmm_port **port)
{
    return hurdmm_sim_create(NULL, port);
}

static int sim_destroy(struct hurdmm_port *port)
{
    hurdmm_sim_destroy(port);
    return 0;
}

static void sim_describe(struct hurdmm_port *port, char *buffer, size_t size)
{
    (void)port;
    (void)snprintf(buffer, size,
                   "sim: a simulated machine; chosen by name only");
}

static const struct kind kinds[] = {
#ifdef HAVE_LINUX_USERFAULTFD_H
    {"linux", true, linux_create, hurdmm_linux_destroy, hmm_linux_describe},
#endif
    {"posix", true, posix_create, hurdmm_posix_destroy, posix_describe},
    {"sim", false, sim_create, sim_destroy, sim_describe},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct kind *kind_of(const struct hurdmm_port *port)
{
    for (size_t i = 0; i < KINDS; i++)
        if (!strcmp(kinds[i].name, port->ops->name))
            return &kinds[i];
    return NULL;
}

const char *hurdmm_host_port_name(unsigned index)
{
    return index < KINDS ? kinds[index].name : NULL;
}

int hurdmm_host_port_create(const char *name, struct hurdmm_port **port)
{
    int error = name ? ENOENT : ENOTSUP;
    if (!port)
        return EINVAL;
    for (size_t i = 0; i < KINDS; i++) {
        if (name ? strcmp(name, kinds[i].name) != 0 : !kinds[i].automatic)
            continue;
        error = kinds[i].create(port);
        if (!error || name)
            break;
    }
    return error;
}

int hurdmm_host_port_destroy(struct hurdmm_port *port)
{
    const struct kind *kind = port ? kind_of(port) : NULL;
    return kind ? kind->destroy(port) : EINVAL;
}

int hurdmm_port_describe(struct hurdmm_port *port, char *buffer, size_t size)
{
    if (!port || !buffer || size == 0)
        return EINVAL;
    const struct kind *kind = kind_of(port);
    if (kind)
        kind->describe(port, buffer, size);
    else
        (void)snprintf(buffer, size, "%s: not a port of this host's",
                       port->ops->name);
    return 0;
}
