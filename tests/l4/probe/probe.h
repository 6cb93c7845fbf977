/* SPDX-License-Identifier: MIT */
/* A root task that asks a kernel how it behaves, and prints the answers: the
 * same lines on every kernel that behaves alike.  Nothing in a line may depend
 * on the machine's speed or on where things happen to lie. */
#ifndef TESTS_L4_PROBE_H
#define TESTS_L4_PROBE_H

#include "backends/l4-x86/system.h"

#define NEVER L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER)
#define AT_ONCE L4_TIMEOUTS(L4_TIMEOUT_ZERO, L4_TIMEOUT_ZERO)
/* Sends for ever, receives for some milliseconds. */
#define SOON L4_TIMEOUTS(L4_TIMEOUT_NEVER, 7u << 10 | 400u)

#define SIGMA0 0xc0001u
#define WINDOW 0x40000000u /* where nothing is, for mappings */
#define CLIENT 20u         /* workers from here on have their own space */

void show(const char *name, uint32_t value);
/* Tag, and the error code if it is an error. */
void show_ipc(const char *name, uint32_t tag);

/* Thread `n', which runs `entry' in our space, paged by us. */
uint32_t worker_id(unsigned n);
uint32_t worker_local(unsigned n);
uint32_t worker_new(unsigned n);
uint32_t worker_start(unsigned n, void (*entry)(void));
void worker_end(unsigned n);
/* The same in a space of its own, which gets the image page by page. */
uint32_t client_start(void (*entry)(void));
/* Answers faults in the image until something else comes from the client. */
uint32_t client_wait(uint32_t *sender);
void client_end(void);
_Noreturn void rest(void);

/* A page or 4 MiB from sigma0, by address or 0 for any: its address or 0. */
uint32_t memory_take(uint32_t at, unsigned log2, uint32_t *words);
uint32_t page(void);
uint32_t send(uint32_t to, uint32_t label, unsigned untyped, uint32_t timeouts);
uint32_t unmap_one(uint32_t fpage, bool flush);
/* Lets `to', which waits for us, have an fpage at an address. */
uint32_t map_to(uint32_t to, uint32_t fpage, uint32_t at);

void probe_ipc(void);
void probe_map(void);
void probe_threads(void);
void probe_faults(void);
void break_rule(unsigned rule);

#endif
