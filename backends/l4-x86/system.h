/* SPDX-License-Identifier: MIT */
/* System calls and the machine: what a task on L4 can do.
 *
 * Messages are composed and found in the calling thread's UTCB: message
 * register i is utcb()[i].  Each call returns what the kernel returned.
 */
#ifndef HMM_L4_SYSTEM_H
#define HMM_L4_SYSTEM_H

#include <stdarg.h>
#include <stddef.h>

#include "backends/l4-x86/abi.h"

/* The calling thread's message register 0. */
static inline volatile uint32_t *utcb(void)
{
    volatile uint32_t *registers;
    __asm__ volatile("movl %%gs:0, %0" : "=r"(registers));
    return registers;
}

static inline uint32_t l4_error_code(void)
{
    return utcb()[L4_TCR_ERROR];
}

static inline uint32_t l4_my_id(void)
{
    return utcb()[L4_TCR_GLOBAL_ID];
}

/* system.S.  The gates are read from the kernel interface page once. */
void *hmm_l4_kernel_interface(void);
void hmm_l4_system_init(void *kip);
/* Sends to `to' and then receives from `from', nil leaving a part out.
 * Returns the tag, and in *sender who sent. */
uint32_t hmm_l4_ipc(uint32_t to, uint32_t from, uint32_t timeouts,
                    uint32_t *sender);
uint32_t hmm_l4_thread_control(uint32_t dest, uint32_t space,
                               uint32_t scheduler, uint32_t pager,
                               uint32_t utcb_location);
uint32_t hmm_l4_space_control(uint32_t space, uint32_t control,
                              uint32_t kip_area, uint32_t utcb_area,
                              uint32_t redirector);
#define L4_UNMAP_FLUSH 0x40u /* from ourselves, too */
void hmm_l4_unmap(uint32_t control);
#define L4_EXCHANGE_SP 0x008u
#define L4_EXCHANGE_IP 0x010u
#define L4_EXCHANGE_HALT 0x101u /* h, with H: the state is meant */
uint32_t hmm_l4_exchange(uint32_t dest, uint32_t control, uint32_t sp,
                         uint32_t ip);
uint32_t hmm_l4_schedule(uint32_t dest, uint32_t priority, uint32_t time,
                         uint32_t processor, uint32_t preemption);
void hmm_l4_switch(uint32_t dest);
/* Microseconds since the kernel was started. */
uint64_t hmm_l4_clock(void);

static inline void l4_out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t l4_in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

/* console.c: the first serial line. */
void hmm_l4_console_init(void);
void hmm_l4_puts(const char *text);
/* %s %d %u %x %c, %llu and %llx; a width with or without a leading 0. */
void hmm_l4_printf(const char *format, ...)
    __attribute__((__format__(__printf__, 1, 2)));
void hmm_l4_vprintf(const char *format, va_list arguments);
/* Says why, and stops the machine where that is possible. */
_Noreturn void hmm_l4_panic(const char *format, ...)
    __attribute__((__format__(__printf__, 1, 2)));

#endif
