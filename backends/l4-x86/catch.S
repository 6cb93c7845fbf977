/* SPDX-License-Identifier: MIT */
/* hurdmm_l4_try: where a thread goes on when an access fails.
 *
 * The pad lies on the stack at the stack pointer that it names; the dispatcher
 * sets that stack pointer and hmm_l4_landing as the instruction pointer. */
        .text

        .globl  hurdmm_l4_try
        .type   hurdmm_l4_try, @function
hurdmm_l4_try:
        pushl   %ebp
        pushl   %ebx
        pushl   %esi
        pushl   %edi
        subl    $12, %esp
        movl    %esp, %eax
        pushl   %eax
        pushl   %eax
        call    hmm_l4_pad_push
        addl    $8, %esp
        pushl   36(%esp)
        call    *36(%esp)
        addl    $4, %esp

        .globl  hmm_l4_landing
hmm_l4_landing:
        cld
        pushl   %esp
        call    hmm_l4_pad_pop
        addl    $16, %esp
        popl    %edi
        popl    %esi
        popl    %ebx
        popl    %ebp
        ret

        .section .note.GNU-stack, "", @progbits
