/* SPDX-License-Identifier: MIT */
/* System calls from C: arguments come on the stack, message registers are in
 * the UTCB before and after.  The kernel clobbers what it does not return in,
 * so that all four registers that C keeps are saved. */

#define UTCB %gs:0

        .macro  enter
        pushl   %ebp
        pushl   %ebx
        pushl   %esi
        pushl   %edi
        .endm

        .macro  leave_
        popl    %edi
        popl    %esi
        popl    %ebx
        popl    %ebp
        ret
        .endm

/* Argument n, from 0, after `enter'. */
#define ARG(n) (20 + 4 * (n))(%esp)

        .macro  global name
        .globl  \name
        .type   \name, @function
\name:
        .endm

        .bss
        .align  4
gate_space_control:     .long 0
gate_thread_control:    .long 0
gate_ipc:               .long 0
gate_unmap:             .long 0
gate_exchange:          .long 0
gate_clock:             .long 0
gate_switch:            .long 0
gate_schedule:          .long 0

        .text

        .macro  gate offset, where
        movl    \offset(%eax), %ecx
        addl    %eax, %ecx
        movl    %ecx, \where
        .endm

global hmm_l4_kernel_interface
        pushl   %esi
        lock
        nop
        popl    %esi
        ret

global hmm_l4_system_init
        movl    4(%esp), %eax
        gate    0xd0, gate_space_control
        gate    0xd4, gate_thread_control
        gate    0xe0, gate_ipc
        gate    0xe8, gate_unmap
        gate    0xec, gate_exchange
        gate    0xf0, gate_clock
        gate    0xf4, gate_switch
        gate    0xf8, gate_schedule
        ret

/* uint32_t hmm_l4_ipc(to, from, timeouts, uint32_t *sender) */
global hmm_l4_ipc
        enter
        movl    UTCB, %edi
        movl    ARG(0), %eax
        movl    ARG(1), %edx
        movl    ARG(2), %ecx
        movl    (%edi), %esi
        call    *gate_ipc
        movl    UTCB, %edi
        movl    %esi, (%edi)
        movl    %ebx, 4(%edi)
        movl    %ebp, 8(%edi)
        movl    ARG(3), %ecx
        testl   %ecx, %ecx
        jz      1f
        movl    %eax, (%ecx)
1:      movl    %esi, %eax
        leave_

/* uint32_t hmm_l4_thread_control(dest, space, scheduler, pager, location) */
global hmm_l4_thread_control
        enter
        movl    ARG(0), %eax
        movl    ARG(1), %esi
        movl    ARG(2), %edx
        movl    ARG(3), %ecx
        movl    ARG(4), %edi
        call    *gate_thread_control
        leave_

/* uint32_t hmm_l4_space_control(space, control, kip, utcb, redirector) */
global hmm_l4_space_control
        enter
        movl    ARG(0), %eax
        movl    ARG(1), %ecx
        movl    ARG(2), %edx
        movl    ARG(3), %esi
        movl    ARG(4), %edi
        call    *gate_space_control
        leave_

/* void hmm_l4_unmap(control) */
global hmm_l4_unmap
        enter
        movl    UTCB, %edi
        movl    ARG(0), %eax
        movl    (%edi), %esi
        call    *gate_unmap
        movl    UTCB, %edi
        movl    %esi, (%edi)
        leave_

/* uint32_t hmm_l4_exchange(dest, control, sp, ip) */
global hmm_l4_exchange
        enter
        movl    ARG(0), %eax
        movl    ARG(1), %ecx
        movl    ARG(2), %edx
        movl    ARG(3), %esi
        xorl    %edi, %edi
        xorl    %ebx, %ebx
        xorl    %ebp, %ebp
        call    *gate_exchange
        leave_

/* uint32_t hmm_l4_schedule(dest, priority, time, processor, preemption) */
global hmm_l4_schedule
        enter
        movl    ARG(0), %eax
        movl    ARG(1), %ecx
        movl    ARG(2), %edx
        movl    ARG(3), %esi
        movl    ARG(4), %edi
        call    *gate_schedule
        leave_

/* void hmm_l4_switch(dest) */
global hmm_l4_switch
        enter
        movl    ARG(0), %eax
        call    *gate_switch
        leave_

/* uint64_t hmm_l4_clock(void) */
global hmm_l4_clock
        enter
        call    *gate_clock
        leave_

        .section .note.GNU-stack, "", @progbits
