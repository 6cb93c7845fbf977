/* SPDX-License-Identifier: MIT */
/* Where the root task begins: there is no stack yet, and what the loader left
 * in .bss is not to be trusted. */
        .text
        .globl  _start
        .type   _start, @function
_start:
        movl    $hmm_l4_first_stack_end, %esp
        cld
        xorl    %eax, %eax
        movl    $__bss_start, %edi
        movl    $_end, %ecx
        subl    %edi, %ecx
        rep stosb
        xorl    %ebp, %ebp
        pushl   %ebp
        call    hmm_l4_begin
1:      jmp     1b

        .section .stack, "aw", @nobits
        .align  16
        .space  65536
        .globl  hmm_l4_first_stack_end
hmm_l4_first_stack_end:

        .section .note.GNU-stack, "", @progbits
