/* SPDX-License-Identifier: MIT */
/* What the simulator tells AddressSanitizer, ThreadSanitizer and Valgrind, and
 * nothing where they are not. */
#ifndef HMM_SIM_TOOLS_H
#define HMM_SIM_TOOLS_H

#include <stddef.h>

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define HMM_SIM_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
/* For a function that is left without returning: nothing cleans up the marks
 * around its variables. */
#define TOOL_UNMARKED __attribute__((no_sanitize("address")))
#else
#define HMM_SIM_ASAN 0
#define TOOL_UNMARKED
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define HMM_SIM_TSAN 1
#include <sanitizer/tsan_interface.h>
#else
#define HMM_SIM_TSAN 0
#endif

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif

/* A range of memory becomes a stack, and no longer is one. */
static inline unsigned tool_stack_register(void *start, void *end)
{
#ifdef VALGRIND_STACK_REGISTER
    return (unsigned)VALGRIND_STACK_REGISTER(start, end);
#else
    (void)start;
    (void)end;
    return 0;
#endif
}

static inline void tool_stack_deregister(unsigned registration)
{
#ifdef VALGRIND_STACK_DEREGISTER
    VALGRIND_STACK_DEREGISTER(registration);
#endif
    (void)registration;
}

static inline void *tool_fiber_current(void)
{
#if HMM_SIM_TSAN
    return __tsan_get_current_fiber();
#else
    return NULL;
#endif
}

static inline void *tool_fiber_make(void)
{
#if HMM_SIM_TSAN
    return __tsan_create_fiber(0);
#else
    return NULL;
#endif
}

static inline void tool_fiber_free(void *fiber)
{
#if HMM_SIM_TSAN
    __tsan_destroy_fiber(fiber);
#else
    (void)fiber;
#endif
}

/* Before a switch, and after it on the other side.  fake_stack NULL: the old
 * stack is not used again. */
static inline void tool_switching(void **fake_stack, const void *bottom,
                                  size_t size, void *fiber)
{
#if HMM_SIM_ASAN
    __sanitizer_start_switch_fiber(fake_stack, bottom, size);
#endif
#if HMM_SIM_TSAN
    __tsan_switch_to_fiber(fiber, 0);
#endif
    (void)fake_stack;
    (void)bottom;
    (void)size;
    (void)fiber;
}

static inline void tool_switched(void *fake_stack, const void **old_bottom,
                                 size_t *old_size)
{
#if HMM_SIM_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, old_bottom, old_size);
#endif
    (void)fake_stack;
    (void)old_bottom;
    (void)old_size;
}

static inline void tool_poison(void *start, size_t size)
{
#if HMM_SIM_ASAN
    __asan_poison_memory_region(start, size);
#endif
    (void)start;
    (void)size;
}

static inline void tool_unpoison(void *start, size_t size)
{
#if HMM_SIM_ASAN
    __asan_unpoison_memory_region(start, size);
#endif
    (void)start;
    (void)size;
}

#endif
