/* SPDX-License-Identifier: MIT */
/* Where the nucleus is entered: by the boot loader, by traps, interrupts and
 * system calls, and the page of gates that user code calls.
 *
 * The processor and `common' push a struct frame (nucleus.h).  From user mode
 * it lands in the running thread's control block, because the TSS points there,
 * and the nucleus then runs on its one stack; from the nucleus itself (it only
 * waits with interrupts open when nothing can run) it lands on that stack.
 */
#define BASE 0xc0000000
#define KERNEL_CS 0x08
#define USER_DS 0x23

        .section .multiboot, "a"
        .align  4
        .long   0x1badb002              /* multiboot 1 */
        .long   0x00000003              /* modules on pages, memory map */
        .long   -(0x1badb002 + 0x00000003)

        .text
        .globl  boot_entry
boot_entry:
        cli
        cld
        movl    %eax, %esi
        /* The first GiB, less its end, in large pages, below and at BASE. */
        movl    $(kernel_directory - BASE), %edi
        movl    $0x83, %eax             /* present, writable, large */
        movl    $252, %ecx
1:      movl    %eax, (%edi)
        movl    %eax, (BASE >> 20)(%edi)
        addl    $0x400000, %eax
        addl    $4, %edi
        loop    1b
        movl    $(kernel_directory - BASE), %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orl     $0x690, %eax            /* PSE, PGE, FXSR, XMMEXCPT */
        movl    %eax, %cr4
        movl    %cr0, %eax
        andl    $~0x6, %eax
        orl     $0x80010022, %eax       /* PG, WP, NE, MP */
        movl    %eax, %cr0
        movl    $kernel_stack_top, %esp
        pushl   %ebx
        pushl   %esi
        movl    $boot_main, %eax
        call    *%eax
        hlt

/* void machine_segments(const void *gdt_pointer, const void *idt_pointer) */
        .globl  machine_segments
machine_segments:
        movl    4(%esp), %eax
        lgdt    (%eax)
        movl    8(%esp), %eax
        lidt    (%eax)
        ljmp    $KERNEL_CS, $1f
1:      movl    $USER_DS, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %fs
        movl    $0x10, %eax
        movl    %eax, %ss
        movl    $0x2b, %eax
        movl    %eax, %gs
        movl    $0x30, %eax
        ltr     %ax
        ret

/* One stub a vector, sixteen bytes each, so that C can compute their addresses:
 * those without an error code push a zero. */
        .globl  vector_stubs
        .align  16
vector_stubs:
        .set    vector, 0
        .rept   256
        .align  16
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
        pushl   $0
        .endif
        .if vector < 128
        pushl   $vector
        .else
        pushl   $(vector - 256)
        .endif
        jmp     common
        .set    vector, vector + 1
        .endr

common:
        pushal
        cld
        movl    %esp, %eax
        testb   $3, 44(%esp)            /* CS: who was interrupted */
        jz      inside
        movl    $USER_DS, %ecx
        movl    %ecx, %ds
        movl    %ecx, %es
        movl    $kernel_stack_top, %esp
        pushl   %eax
        call    trap_from_user
        .globl  machine_resume
machine_resume:                         /* EAX is the frame to go on with */
        movl    %eax, %esp
        popal
        addl    $8, %esp
        iretl

inside:
        pushl   %eax
        call    trap_from_nucleus
        addl    $4, %esp
        popal
        addl    $8, %esp
        iretl

/* The gates.  Each traps with all registers as the caller left them, and the
 * nucleus answers in registers.  Ipc's return address is taken off the user's
 * stack first, so that a thread that waits can be sent elsewhere without one.
 */
        .section .kip, "aw"
        .globl  kip
kip:
        .skip   0x800
        .macro  gate name, number
        .globl  gate_\name
gate_\name:
        int     $\number
        ret
        .endm
        .globl  gate_ipc
gate_ipc:
        popl    %ebx
        int     $0x90
        ud2
        .globl  gate_lipc
gate_lipc:
        popl    %ebx
        int     $0x90
        ud2
        gate    unmap, 0x91
        gate    exchange_registers, 0x92
        gate    system_clock, 0x93
        gate    thread_switch, 0x94
        gate    schedule, 0x95
        gate    thread_control, 0x96
        gate    space_control, 0x97
        gate    processor_control, 0x98
        gate    memory_control, 0x99

        .bss
        .align  4096
        .globl  kernel_directory
kernel_directory:
        .skip   4096
kernel_stack:
        .skip   16384
        .globl  kernel_stack_top
kernel_stack_top:

        .section .note.GNU-stack, "", @progbits
