/* SPDX-License-Identifier: MIT */
/* Where a client program begins: on its stack lies what it is to do. */
        .text
        .globl  _start
        .type   _start, @function
_start:
        cld
        xorl    %ebp, %ebp
        movl    %gs:0, %edi             /* the pager hears exceptions too */
        movl    -48(%edi), %eax
        movl    %eax, -44(%edi)
        call    hmm_l4_kernel_interface
        pushl   %eax
        call    hmm_l4_system_init
        addl    $4, %esp
        call    client_main
        pushl   %eax
        call    client_exit
1:      jmp     1b

        .section .note.GNU-stack, "", @progbits
