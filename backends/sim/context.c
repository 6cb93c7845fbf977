/* SPDX-License-Identifier: MIT */
/* Contexts; see context.h.
 *
 * Fortified longjmp takes a jump to another stack for an attack, so this file
 * is compiled without it.
 */
#undef _FORTIFY_SOURCE
#define _GNU_SOURCE

#include "backends/sim/context.h"

#include <stdatomic.h>
#include <stdint.h>

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <hurdmm/error.h>

#include "backends/sim/tools.h"
#include "lib/base/assert.h"

#define CACHED_STACKS 64

/* A header at the top of each stack, the first thing to be pushed on. */
struct stack {
    size_t size;
    unsigned registration; /* Valgrind's number for it */
};

/* Stacks that are free, all of one size or another; slots are taken and filled
 * by exchange, so that machines on several host threads can share them. */
static _Atomic(struct stack *) cache[CACHED_STACKS];

static char *stack_base(struct stack *stack)
{
    return (char *)(stack + 1) - stack->size;
}

static struct stack *stack_map(size_t size)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *base = mmap(NULL, guard + size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    if (mprotect(base, guard, PROT_NONE) != 0) {
        munmap(base, guard + size);
        return NULL;
    }
    struct stack *stack = (struct stack *)(void *)(base + guard + size) - 1;
    stack->size = size;
    stack->registration = tool_stack_register(base + guard, stack);
    return stack;
}

static void stack_unmap(struct stack *stack)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *base = stack_base(stack) - guard;
    size_t size = stack->size;
    tool_stack_deregister(stack->registration);
    munmap(base, guard + size);
}

static void stack_give(struct stack *stack)
{
    tool_unpoison(stack_base(stack), stack->size);
    for (size_t i = 0; i < CACHED_STACKS && stack != NULL; i++) {
        struct stack *none = NULL;
        if (atomic_compare_exchange_strong(&cache[i], &none, stack))
            stack = NULL;
    }
    if (stack != NULL)
        stack_unmap(stack);
}

static struct stack *stack_take(size_t size)
{
    for (size_t i = 0; i < CACHED_STACKS; i++) {
        if (atomic_load_explicit(&cache[i], memory_order_relaxed) == NULL)
            continue;
        struct stack *stack = atomic_exchange(&cache[i], NULL);
        if (stack == NULL)
            continue;
        if (stack->size == size)
            return stack;
        stack_unmap(stack);
    }
    return stack_map(size);
}

void hmm_sim_context_adopt(struct hmm_sim_context *context)
{
    *context = (struct hmm_sim_context){.begun = true};
    context->fiber = tool_fiber_current();
}

int hmm_sim_context_make(struct hmm_sim_context *context, size_t stack_size,
                         void (*entry)(void *argument), void *argument)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct stack *stack = stack_take((stack_size + page - 1) & ~(page - 1));
    if (stack == NULL)
        return ENOMEM;
    *context = (struct hmm_sim_context){
        .entry = entry,
        .argument = argument,
        .stack = stack,
        .size = stack->size - sizeof *stack,
        .bottom = stack_base(stack),
        .height = stack->size - sizeof *stack,
    };
    context->fiber = tool_fiber_make();
    return 0;
}

void hmm_sim_context_free(struct hmm_sim_context *context)
{
    tool_fiber_free(context->fiber);
    stack_give(context->stack);
    context->stack = NULL;
}

/* What a context does first.  makecontext passes integers only. */
static void begin(unsigned high, unsigned low)
{
    uintptr_t bits = (uintptr_t)((uint64_t)high << 32 | low);
    struct hmm_sim_context *context = (struct hmm_sim_context *)bits;
    tool_switched(NULL, &context->from->bottom, &context->from->height);
    context->entry(context->argument);
    HMM_UNREACHABLE();
}

TOOL_UNMARKED static void enter(struct hmm_sim_context *context)
{
    ucontext_t first;
    uint64_t bits = (uintptr_t)context;
    getcontext(&first);
    first.uc_stack.ss_sp = stack_base(context->stack);
    first.uc_stack.ss_size = context->size;
    first.uc_link = NULL;
    context->begun = true;
    makecontext(&first, (void (*)(void))begin, 2, (unsigned)(bits >> 32),
                (unsigned)bits);
    setcontext(&first);
    HMM_UNREACHABLE();
}

void hmm_sim_context_switch(struct hmm_sim_context *from,
                            struct hmm_sim_context *to, bool ends)
{
    hmm_assert(from != to);
    to->from = from;
    tool_switching(ends ? NULL : &from->fake_stack, to->bottom, to->height,
                   to->fiber);
    if (_setjmp(from->jump) == 0) {
        if (to->begun)
            _longjmp(to->jump, 1);
        enter(to);
    }
    tool_switched(from->fake_stack, &from->from->bottom, &from->from->height);
}
