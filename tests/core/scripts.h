/* SPDX-License-Identifier: MIT */
/*
 * Operation scripts: what an application sees must not depend on the port.
 *
 * A script works with a manager of its own on a port that it is given, and
 * writes down what every step answered: errors, bytes, states, and what is on
 * the disks at the end, but nothing that depends on time.  So the texts of two
 * ports can be compared.  Most steps also know what they should answer: what
 * differs is marked in the text, and counted.
 *
 * Needs nothing but the library and mem*, so that it runs where there is no
 * host.  Pages are of 4096 bytes.  One script runs at a time.
 */
#ifndef HMM_TESTS_CORE_SCRIPTS_H
#define HMM_TESTS_CORE_SCRIPTS_H

#include <hurdmm/hurdmm.h>

#define SCRIPT_PAGE 4096u
#define SCRIPT_DISK_PAGES 64u
#define SCRIPT_DISKS 2u
/* What a machine needs in `disks'. */
#define SCRIPT_MEMORY ((size_t)SCRIPT_DISKS * SCRIPT_DISK_PAGES * SCRIPT_PAGE)

/* What a script runs on.  load and store are accesses by the application, of
 * one byte: 0, or any error where the access fails. */
struct script_machine {
    struct hurdmm_port *port; /* in use by no manager */
    int (*load)(void *hook, uintptr_t address, uint8_t *value);
    int (*store)(void *hook, uintptr_t address, uint8_t value);
    void *hook;
    uint8_t *disks; /* SCRIPT_MEMORY bytes */
};

/* The text, which ends with a null byte; it is cut where it is too long. */
struct script_trace {
    char *text;
    size_t size; /* of text */
    size_t length;
};

unsigned script_count(void);
const char *script_name(unsigned number);

/* Runs a script; how many steps did not answer what they should.  The port is
 * the caller's again afterwards. */
unsigned script_run(unsigned number, const struct script_machine *machine,
                    struct script_trace *trace);

#endif
