/* SPDX-License-Identifier: MIT */
/* The rig: an open port and what the tests of the suite do with it again and
 * again.  Its functions assert that the port does what it must; they stand for
 * the core, so memory functions are called in a critical section and under a
 * lock made of park and wake.
 */
#ifndef TESTS_PORT_RIG_H
#define TESTS_PORT_RIG_H

#include <stdatomic.h>
#include <stdbool.h>

#include <check.h>

#include <hurdmm/error.h>
#include <hurdmm/port.h>

#include "tests/port/conformance.h"

#define MS UINT64_C(1000000) /* nanoseconds */
#define READ_WRITE (HURDMM_READ | HURDMM_WRITE)
#define FRAMES 32u /* that a test may use */

/* Asserts with the line of the test and not of the helper. */
#define CHECK_AT(line, condition)                                              \
    ck_assert_msg((condition), "line %d: " #condition, (line))

struct lock {
    uint32_t word; /* 0 free, 1 taken, 2 taken and waited for */
};

struct rig {
    const struct conformance_target *target;
    struct hurdmm_port *port;
    const struct hurdmm_port_ops *ops;
    struct hurdmm_port_info info;
    size_t page;
    uint32_t frames;
    unsigned reserve_flags; /* of every range */
    struct lock lock;
};

/* Makes and opens the port of target number `i`, or says that the test is
 * skipped.  `fault` is NULL or the function for inline faults. */
bool rig_open(struct rig *rig, int i,
              int (*fault)(void *client, const struct hurdmm_fault *fault),
              void *client);
/* Closes and destroys it, after hearing its complaint. */
void rig_close(struct rig *rig);
/* Whether the port has all these features; if not, it is closed, and the test
 * has nothing to say of it. */
bool rig_has(struct rig *rig, unsigned features);

/* A lock that threads sleep on. */
void lock_take(struct rig *rig, struct lock *lock);
void lock_give(struct rig *rig, struct lock *lock);

/* The core's section: critical and alone. */
uintptr_t rig_enter(struct rig *rig);
void rig_leave(struct rig *rig, uintptr_t cookie);

/* Memory functions of the own space; what must succeed is asserted. */
uintptr_t rig_reserve(struct rig *rig, uint32_t pages);
int rig_reserve_at(struct rig *rig, void *space, uintptr_t *address,
                   size_t size, unsigned flags);
void rig_release(struct rig *rig, void *space, uintptr_t address,
                 uint32_t pages);
void rig_lend(struct rig *rig, uintptr_t address, uint32_t frame,
              uint32_t count, unsigned rights);
int rig_lend_in(struct rig *rig, void *space, uintptr_t address, uint32_t frame,
                uint32_t count, unsigned rights, uint32_t *done);
void rig_reclaim(struct rig *rig, uintptr_t address, uint32_t frame,
                 uint32_t count, unsigned rights);
int rig_reclaim_rows(struct rig *rig, const struct hurdmm_reclaim *rows,
                     size_t count, size_t *done);
/* Reclaims everything of a range whose frames follow one another, and
 * releases it. */
void rig_drop(struct rig *rig, uintptr_t address, uint32_t frame,
              uint32_t pages);

/* The window of frames that are held. */
uint8_t *rig_window(struct rig *rig, uint32_t frame, uint32_t count);
/* Fills held frames: frame i with byte + i. */
void rig_fill(struct rig *rig, uint32_t frame, uint32_t count, uint8_t byte);
/* The byte that fills a frame that is held or lent to read at `address`; fails
 * if its bytes differ. */
uint8_t rig_byte(struct rig *rig, uint32_t frame, uintptr_t address);

/* A scene: application threads run while a pager thread answers their faults.
 * Faults are logged.  resolve gives the error to end a fault with. */
#define SCENE_FAULTS 64
#define SCENE_BODIES 8

struct scene {
    struct rig *rig;
    int (*resolve)(struct scene *scene, const struct hurdmm_fault *fault);
    void *data;
    struct hurdmm_fault faults[SCENE_FAULTS]; /* the first */
    atomic_uint fault_count;
    atomic_uint running;
    atomic_uint errors; /* that bodies counted */
    int wait_error;     /* of fault_wait, except a timeout */
};

/* What a body gets. */
struct actor {
    struct scene *scene;
    void (*body)(struct actor *actor);
    unsigned number; /* from 0 */
    uint64_t thread;
    int error; /* for the body to leave something in */
    uint64_t value;
};

/* Answers a fault with EFAULT. */
int refuse(struct scene *scene, const struct hurdmm_fault *fault);

/* Runs `count` threads of one body, or of several. */
void scene_run(struct scene *scene, struct actor *actors, unsigned count);

/* What one access did, with a pager that refuses. */
struct probe {
    int error;
    uint8_t value;
    unsigned faults;
    struct hurdmm_fault fault;
    uint64_t thread;
};

struct probe probe(struct rig *rig, void *space, uintptr_t address,
                   unsigned access, uint8_t value);

/* Accesses of which the outcome is asserted. */
#define EXPECT_LOAD(rig, address, byte)                                        \
    expect_load(__LINE__, rig, NULL, address, byte)
#define EXPECT_STORE(rig, address, byte)                                       \
    expect_store(__LINE__, rig, NULL, address, byte)
#define EXPECT_FAULT(rig, address, access)                                     \
    expect_fault(__LINE__, rig, NULL, address, access)
#define EXPECT_NOBODY(rig, address) expect_nobody(__LINE__, rig, address)

void expect_load(int line, struct rig *rig, void *space, uintptr_t address,
                 uint8_t byte);
void expect_store(int line, struct rig *rig, void *space, uintptr_t address,
                  uint8_t byte);
/* The access becomes a fault of this kind at this page, and fails when the
 * fault does. */
void expect_fault(int line, struct rig *rig, void *space, uintptr_t address,
                  unsigned access);
/* The access fails, and the port has no fault of it. */
void expect_nobody(int line, struct rig *rig, uintptr_t address);

/* The cases of the suite, each made for `count` targets. */
TCase *memory_case(int count);
TCase *lending_case(int count);
TCase *fault_case(int count);
TCase *thread_case(int count);

#endif
