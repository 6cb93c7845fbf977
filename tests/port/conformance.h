/* SPDX-License-Identifier: MIT */
/* The port conformance suite: takes a port and proves that it keeps the
 * contract of hurdmm/port.h.
 *
 * To have a port proven, write a small program beside this file: one struct
 * conformance_target that says how to make the port and how the application
 * touches memory under it, and a main that calls conformance_main.
 * test_sim_port.c is the shortest example.
 *
 * The suite opens the port itself.  It gives config.fault only in the tests of
 * HURDMM_PORT_INLINE, and expects that a port whose config.fault is NULL hands
 * every fault to fault_wait.  It opens and closes one port several times in
 * some tests, and asks for at most CONFORMANCE_FRAMES frames.
 */
#ifndef TESTS_PORT_CONFORMANCE_H
#define TESTS_PORT_CONFORMANCE_H

#include <stdbool.h>

#include <hurdmm/port.h>

#define CONFORMANCE_FRAMES 64u

struct conformance_target {
    const char *name;

    /* Makes a port that is ready to be opened with `frames` frames.  ENOTSUP
     * (this machine cannot) skips the tests. */
    int (*create)(struct hurdmm_port **port, uint64_t frames);
    void (*destroy)(struct hurdmm_port *port);

    /* The application's accesses, by the calling thread, which is one that
     * `run` made or the test's first.  They fault, wait for the fault's end
     * and repeat the access as the platform does.  0, or an errno value if the
     * access failed in the end, in whatever way the platform has (EFAULT where
     * the platform has no number: after a SIGSEGV, say).  `space` is NULL or
     * what `space` below gave. */
    int (*load)(struct hurdmm_port *port, void *space, uintptr_t address,
                uint8_t *value);
    int (*store)(struct hurdmm_port *port, void *space, uintptr_t address,
                 uint8_t value);
    /* Adds to the aligned 64-bit number at `address`, atomically. */
    int (*add)(struct hurdmm_port *port, void *space, uintptr_t address,
               uint64_t amount);

    /* Runs the bodies at the same time, each on a thread of its own, until all
     * have returned.  Not 0: they could not be started, or are all blocked. */
    int (*run)(struct hurdmm_port *port, void (*const bodies[])(void *),
               void *const arguments[], unsigned count);
    /* Lets others run for about this long, by the port's clock. */
    void (*sleep)(struct hurdmm_port *port, uint64_t time_ns);

    /* What the port has against the caller so far, NULL: nothing.  Asked at
     * the end of each test.  May be NULL. */
    const char *(*complaint)(struct hurdmm_port *port);

    /* How many spaces there are besides the port's own, and their tokens, for
     * ports with HURDMM_PORT_SPACES; else 0 and NULL. */
    unsigned spaces;
    void *(*space)(struct hurdmm_port *port, unsigned index);

    /* How many single mappings to make in the test that runs out of them; they
     * may all succeed.  0: that test is left out. */
    unsigned mappings;
    /* The port cannot tell a first write to an absent page from a read: it
     * reports HURDMM_READ, and HURDMM_WRITE when the access is repeated. */
    bool reads_first;
};

/* Runs every test with every target, a test's loop number being the target's
 * number.  Returns what main should return. */
int conformance_main(const struct conformance_target *const targets[],
                     int count);

#endif
