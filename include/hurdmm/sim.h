/* SPDX-License-Identifier: MIT */
/* hurdmm/sim.h - a simulated machine: a port whose memory, page tables, clock,
 * threads and failures are the test's.
 *
 * Who needs this header: tests, of the library and of your own stores.  A
 * simulated machine is deterministic: equal options and equal calls give equal
 * runs, to the last context switch; hurdmm_sim_trace_hash says whether two runs
 * were equal.  What depends on it has no use for host threads: everything
 * happens on the host thread that made the machine.
 *
 * Simulated threads.  The host thread that made the machine is simulated thread
 * 1, called main.  More are made by hurdmm_sim_spawn (the application's) and by
 * the port's thread_start (the library's).  They run one at a time, each on a
 * stack of its own, and are switched at *points*: at the beginning of every
 * port function and of every function below that says so, and wherever a thread
 * blocks.  When main blocks, in a verb or in an access, the others run.  A main
 * that can never go on is a failed test: all threads are listed on stderr and
 * the process aborts.
 *
 * Memory.  Addresses of a simulated space are numbers, not pointers: the
 * application loads and stores with hurdmm_sim_read and its like.  An access
 * that the page table does not allow becomes a fault.  It goes to the port
 * configuration's fault function where the machine has HURDMM_PORT_INLINE and
 * there is such a function, else to fault_wait.  The simulated threads of the
 * library are held to the contract of hurdmm/port.h; what breaks it is counted
 * (hurdmm_sim_violations).
 */
#ifndef HURDMM_SIM_H
#define HURDMM_SIM_H

#include <hurdmm/port.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How the next thread is chosen. */
enum hurdmm_sim_schedule {
    /* A thread runs until it blocks or has passed very many points; then the
     * one that has waited longest runs.  The fastest. */
    HURDMM_SIM_FAIR = 0,
    /* A thread also loses the processor at points chosen at random, and the
     * next is chosen at random. */
    HURDMM_SIM_RANDOM = 1
};

/* Checks that cost time, or change what a violation does. */
#define HURDMM_SIM_CHECK_FRAMES 1u /* detect library writes to lent frames */
#define HURDMM_SIM_JUNK 2u  /* frames begin full of junk, not as it was */
#define HURDMM_SIM_ABORT 4u /* abort at the first violation */
#define HURDMM_SIM_SOFT 8u  /* faults are tried by fault_soft first */

/* What a machine is.  A member that is 0 or NULL has the default named beside
 * it, so that a zeroed structure with its struct_size is a good machine. */
struct hurdmm_sim_options {
    size_t struct_size;
    uint64_t seed;
    size_t page_size;    /* a power of two, at least 64; 4096 */
    uint64_t page_sizes; /* other sizes that info reports; none */
    /* Physical memory: `banks` where given, else one bank of `frames` at
     * physical address 0, else of as many as the manager asks for. */
    uint64_t frames;
    const struct hurdmm_bank *banks; /* first_frame is not read */
    unsigned bank_count;             /* at most HURDMM_BANKS_MAX */
    unsigned address_bits;           /* of a space, from 16; as a pointer has */
    unsigned spaces;                 /* including its own; 1 */
    /* HURDMM_PORT_... that are added to (INLINE, OVERTAKES, LENDS_APART, TRACKS)
     * and taken from ALIAS, REFERENCED, DIRTY, THREADS, EXECUTE, and SPACES where
     * there are several. */
    unsigned offer;
    unsigned hide;
    uint64_t mappings_max; /* runs of pages lent at once; no limit */
    unsigned flags;        /* HURDMM_SIM_CHECK_FRAMES, ... */
    enum hurdmm_sim_schedule schedule;
    /* For HURDMM_SIM_RANDOM, in a thousand: how often a point switches (100);
     * how often a choice of the next thread also wakes a parked thread for
     * nothing (0), or moves the clock to the next timeout though somebody could
     * run (0). */
    unsigned switch_permille;
    unsigned spurious_permille;
    unsigned early_permille;
    size_t stack_size; /* of a simulated thread; 256 KiB */
    /* Is given a line of text for every event; for debugging. */
    void (*trace)(void *client, const char *line);
    void *trace_client;
};

/* Makes a machine; options NULL: all defaults.  EINVAL, ENOMEM. */
int hurdmm_sim_create(const struct hurdmm_sim_options *options,
                      struct hurdmm_port **port);

/* Ends it, whatever its threads are doing; called by main.  The port may be
 * open still, as it is after a test of failure. */
void hurdmm_sim_destroy(struct hurdmm_port *port);

/* The token of a space: NULL for 0, its own. */
void *hurdmm_sim_space(struct hurdmm_port *port, unsigned number);

/* The application's accesses.  Any range will do; it is accessed page by page,
 * each part at once, with a point before each.  Faults are waited for.  0, or
 * the error that a fault ended with (EFAULT where no range is reserved); the
 * parts before it have been accessed. */
int hurdmm_sim_read(struct hurdmm_port *port, void *space, uintptr_t address,
                    void *buffer, size_t length);
int hurdmm_sim_write(struct hurdmm_port *port, void *space, uintptr_t address,
                     const void *buffer, size_t length);
/* As read, with the execute right. */
int hurdmm_sim_fetch(struct hurdmm_port *port, void *space, uintptr_t address,
                     void *buffer, size_t length);

/* The same for one 64-bit number at a multiple of 8, in the host's byte order.
 * add gives the value from before (NULL: not wanted); compare writes `desired`
 * if the value is *expected, and else gives the value there and EAGAIN.  Both
 * need the write right, whatever they find. */
int hurdmm_sim_load64(struct hurdmm_port *port, void *space, uintptr_t address,
                      uint64_t *value);
int hurdmm_sim_store64(struct hurdmm_port *port, void *space, uintptr_t address,
                       uint64_t value);
int hurdmm_sim_add64(struct hurdmm_port *port, void *space, uintptr_t address,
                     uint64_t amount, uint64_t *before);
int hurdmm_sim_compare64(struct hurdmm_port *port, void *space,
                         uintptr_t address, uint64_t *expected,
                         uint64_t desired);

/* Starts a thread of the application.  It is not joined.  ENOMEM. */
int hurdmm_sim_spawn(struct hurdmm_port *port, void (*entry)(void *argument),
                     void *argument, uint64_t *thread);

/* Runs until all threads of the application have ended; called by main.
 * EDEADLK: those that are left are blocked for ever. */
int hurdmm_sim_run(struct hurdmm_port *port);

/* Lets the others run until all are blocked, without moving the clock to their
 * timeouts. */
void hurdmm_sim_settle(struct hurdmm_port *port);

/* A point at which another thread, if one can, runs. */
void hurdmm_sim_yield(struct hurdmm_port *port);

/* Blocks for this much simulated time. */
void hurdmm_sim_sleep(struct hurdmm_port *port, uint64_t time_ns);

/* Kinds of calls that can be made to fail. */
#define HURDMM_SIM_OPEN 1u
#define HURDMM_SIM_WINDOW 2u
#define HURDMM_SIM_FRAME_READ 4u
#define HURDMM_SIM_CORE_MAP 8u
#define HURDMM_SIM_RESERVE 16u
#define HURDMM_SIM_LEND 32u    /* after some of the pages */
#define HURDMM_SIM_RECLAIM 64u /* after some of the rows */
#define HURDMM_SIM_THREAD_START 128u
#define HURDMM_SIM_CRITICAL 256u /* critical_enter, as in a child after fork */
/* Those that may fail for want of memory. */
#define HURDMM_SIM_MEMORY                                                      \
    (HURDMM_SIM_OPEN | HURDMM_SIM_WINDOW | HURDMM_SIM_CORE_MAP |               \
     HURDMM_SIM_RESERVE | HURDMM_SIM_LEND | HURDMM_SIM_RECLAIM |               \
     HURDMM_SIM_THREAD_START)

/* The nth call from now (1: the next) of the kinds in `points` fails, with
 * `error` or, where that is 0, with ENOMEM (FRAME_READ: EFAULT, CRITICAL:
 * ESTALE); for_ever: and all after it.  Replaces what was asked before; nth 0:
 * nothing fails any more. */
void hurdmm_sim_fail(struct hurdmm_port *port, unsigned points, uint64_t nth,
                     int error, int for_ever);

/* How many calls of these kinds there were. */
uint64_t hurdmm_sim_fallible_calls(struct hurdmm_port *port, unsigned points);

/* How often the contract was broken, and how first (NULL: not wanted; the text
 * lives as long as the machine). */
uint64_t hurdmm_sim_violations(struct hurdmm_port *port, const char **first);

/* A number that is equal for equal runs, and hardly ever for others. */
uint64_t hurdmm_sim_trace_hash(struct hurdmm_port *port);

/* What is known of frames and pages, for tests. */
enum hurdmm_sim_lending {
    HURDMM_SIM_HELD = 0,
    HURDMM_SIM_LENT_TO_READ = 1,
    HURDMM_SIM_LENT_TO_WRITE = 2
};

enum hurdmm_sim_lending hurdmm_sim_frame_state(struct hurdmm_port *port,
                                               uint32_t frame);
/* The bytes of a frame, as a device would see them; NULL: there is no such
 * frame.  On machines without HURDMM_PORT_ALIAS they move when it is lent or
 * taken back. */
void *hurdmm_sim_frame_bytes(struct hurdmm_port *port, uint32_t frame);
/* The frame at a page, or HURDMM_FRAME_NONE, and its rights. */
uint32_t hurdmm_sim_lookup(struct hurdmm_port *port, void *space,
                           uintptr_t address, unsigned *rights);

struct hurdmm_sim_stats {
    size_t struct_size;
    uint64_t lends; /* calls; the next line counts pages */
    uint64_t pages_lent;
    uint64_t reclaims; /* calls; the next lines count rows and pages */
    uint64_t rows_reclaimed;
    uint64_t pages_reclaimed; /* that lost a right */
    uint64_t reserves;
    uint64_t accesses; /* of the application, to one page each */
    uint64_t faults;
    uint64_t switches; /* of threads */
    uint64_t parks;    /* that blocked */
    uint64_t wakes;    /* threads woken */
    uint64_t failures; /* scripted ones that happened */
    uint64_t frames_lent;
    uint64_t mappings; /* runs now, where mappings_max is given */
    uint64_t core_bytes;
    uint64_t clock_ns;
};

void hurdmm_sim_get_stats(struct hurdmm_port *port,
                          struct hurdmm_sim_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
