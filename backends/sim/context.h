/* SPDX-License-Identifier: MIT */
/* Contexts: stacks and switching between them, on one host thread.
 *
 * A context is entered once by setcontext, which makes a system call to set the
 * signal mask; every later switch is _setjmp and _longjmp, which do not.  Tools
 * that follow the stack pointer (AddressSanitizer, ThreadSanitizer, Valgrind)
 * are told of each stack and each switch.
 *
 * Stacks that are no longer used are kept in a small cache of the process.
 */
#ifndef HMM_SIM_CONTEXT_H
#define HMM_SIM_CONTEXT_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

struct hmm_sim_context {
    jmp_buf jump; /* where it goes on, once it has begun */
    void (*entry)(void *argument);
    void *argument;
    void *stack; /* NULL: the host thread's */
    size_t size;
    bool begun;
    struct hmm_sim_context *from; /* who switched to it last */
    /* For the sanitizers. */
    void *fake_stack;
    void *fiber;
    const void *bottom;
    size_t height;
};

/* Makes the context that is running now the one of `context`. */
void hmm_sim_context_adopt(struct hmm_sim_context *context);

/* Makes a context that will call entry(argument), which must not return but
 * switch away with `ends`.  0 or ENOMEM. */
int hmm_sim_context_make(struct hmm_sim_context *context, size_t stack_size,
                         void (*entry)(void *argument), void *argument);

/* Frees what make took.  The context is not running. */
void hmm_sim_context_free(struct hmm_sim_context *context);

/* Goes on in `to`; returns when somebody switches to `from`.  ends: nobody
 * will. */
void hmm_sim_context_switch(struct hmm_sim_context *from,
                            struct hmm_sim_context *to, bool ends);

#endif
