/* SPDX-License-Identifier: MIT */
/* What a faulting access was: a read, a write or a fetch of instructions.
 *
 * On Linux on x86 and Arm the machine context has it.  Elsewhere the page is
 * asked, by writing a byte of it to a pipe:
 * 1. The page cannot be read: report a read.  If it was a write, the same
 *    access faults again as soon as the page can be read.
 * 2. It can be read.  Either it is a write, or the page came while the handler
 *    was on its way.  So the access is repeated once, and it is a write if the
 *    same thread faults at the same page again and nothing was lent or
 *    reclaimed there in between.
 * Rule 2 needs a note per thread and a version per page.  Both are hashed: a
 * note that another thread overwrote, or a version that another page moved,
 * costs one more repetition and never makes a read a write, but for two threads
 * and pages that share all of a 64-bit hash.
 */
#include "backends/posix/posix_port.h"

#include <errno.h>
#include <fcntl.h>

#include "lib/base/assert.h"

#ifdef HMM_POSIX_HAS_DECODE

#include <ucontext.h>

int hmm_posix_access_open(struct hmm_posix_access *access)
{
    (void)access;
    return 0;
}

void hmm_posix_access_close(struct hmm_posix_access *access)
{
    (void)access;
}

void hmm_posix_access_changed(struct hmm_posix_access *access,
                              uintptr_t address, size_t size, size_t page)
{
    (void)access;
    (void)address;
    (void)size;
    (void)page;
}

#if defined(__x86_64__) || defined(__i386__)

#ifdef __x86_64__
#define REG_INSTRUCTION REG_RIP
#else
#define REG_INSTRUCTION REG_EIP
#endif

/* Bits of the page-fault error code. */
#define ERROR_WRITE 2
#define ERROR_FETCH 16

static unsigned decode(const ucontext_t *context, uintptr_t *instruction)
{
    *instruction = (uintptr_t)context->uc_mcontext.gregs[REG_INSTRUCTION];
    if (context->uc_mcontext.gregs[REG_ERR] & ERROR_WRITE)
        return HURDMM_WRITE;
    if (context->uc_mcontext.gregs[REG_ERR] & ERROR_FETCH)
        return HURDMM_EXECUTE;
    return HURDMM_READ;
}

#else /* aarch64 */

/* The exception syndrome: its class, and "write, not read". */
#define ESR_CLASS(esr) ((esr) >> 26 & 0x3f)
#define ESR_CLASS_FETCH 0x20
#define ESR_WRITE 0x40

/* Finds the syndrome in the list of records behind the registers. */
static uint64_t syndrome(const ucontext_t *context)
{
    const char *at = (const char *)context->uc_mcontext.__reserved;
    const char *end = at + sizeof(context->uc_mcontext.__reserved);
    while ((size_t)(end - at) >= sizeof(struct esr_context)) {
        const struct _aarch64_ctx *head = (const void *)at;
        if (head->magic == ESR_MAGIC)
            return ((const struct esr_context *)(const void *)at)->esr;
        if (head->magic == 0 || head->size == 0)
            break;
        at += head->size;
    }
    return 0;
}

static unsigned decode(const ucontext_t *context, uintptr_t *instruction)
{
    uint64_t esr = syndrome(context);
    *instruction = (uintptr_t)context->uc_mcontext.pc;
    if (ESR_CLASS(esr) == ESR_CLASS_FETCH)
        return HURDMM_EXECUTE;
    return esr & ESR_WRITE ? HURDMM_WRITE : HURDMM_READ;
}

#endif

unsigned hmm_posix_access_decode(struct hmm_posix_access *access,
                                 const void *context, uintptr_t address,
                                 size_t page, uint64_t thread,
                                 uintptr_t *instruction)
{
    hmm_assert(context != NULL && instruction != NULL);
    (void)access;
    (void)address;
    (void)page;
    (void)thread;
    return decode(context, instruction);
}

#else /* ask the page */

int hmm_posix_access_open(struct hmm_posix_access *access)
{
    if (pipe(access->probe))
        return errno;
    for (int i = 0; i < 2; i++) {
        (void)fcntl(access->probe[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(access->probe[i], F_SETFL, O_NONBLOCK);
    }
    for (unsigned i = 0; i < HMM_POSIX_NOTES; i++)
        atomic_init(&access->notes[i], 0);
    for (unsigned i = 0; i < HMM_POSIX_VERSIONS; i++)
        atomic_init(&access->versions[i], 0);
    return 0;
}

void hmm_posix_access_close(struct hmm_posix_access *access)
{
    (void)close(access->probe[0]);
    (void)close(access->probe[1]);
}

void hmm_posix_access_changed(struct hmm_posix_access *access,
                              uintptr_t address, size_t size, size_t page)
{
    size_t count = size / page;
    for (size_t i = 0; i < count && i < HMM_POSIX_VERSIONS; i++)
        atomic_fetch_add(
            &access->versions[(address / page + i) % HMM_POSIX_VERSIONS], 1);
}

static bool can_be_read(struct hmm_posix_access *access, uintptr_t address)
{
    char byte;
    int cancel;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    ssize_t written = write(access->probe[1], (const void *)address, 1);
    if (written == 1)
        (void)!read(access->probe[0], &byte, 1);
    (void)pthread_setcancelstate(cancel, NULL);
    return written == 1;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

unsigned hmm_posix_access_decode(struct hmm_posix_access *access,
                                 const void *context, uintptr_t address,
                                 size_t page, uint64_t thread,
                                 uintptr_t *instruction)
{
    (void)context;
    *instruction = 0;
    uintptr_t number = address / page;
    unsigned version =
        atomic_load(&access->versions[number % HMM_POSIX_VERSIONS]);
    _Atomic uint64_t *note = &access->notes[mix(0, thread) % HMM_POSIX_NOTES];
    if (!can_be_read(access, address)) {
        atomic_store(note, 0);
        return HURDMM_READ;
    }
    uint64_t key = mix(mix(mix(1, thread), number), version) | 1;
    return atomic_exchange(note, key) == key ? HURDMM_WRITE : HURDMM_NONE;
}

#endif
