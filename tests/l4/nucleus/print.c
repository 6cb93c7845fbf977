/* SPDX-License-Identifier: MIT */
/* The serial line, and the two ways to stop: a fault of the nucleus, and a
 * fault of its caller.  Both end with the word that a test harness knows from
 * real kernels as failure, KD#. */
#include "nucleus.h"

#include <stdarg.h>

#define COM1 0x3f8u

static void put(char c)
{
    if (c == '\n')
        put('\r');
    for (unsigned rounds = 0; rounds < 100000; rounds++)
        if (in8(COM1 + 5) & 0x20)
            break;
    out8(COM1, (uint8_t)c);
}

static void put_text(const char *text)
{
    while (*text != '\0')
        put(*text++);
}

static void put_number(uint64_t value, unsigned base, unsigned width)
{
    char digits[20];
    unsigned count = 0;
    uint32_t high = (uint32_t)(value >> 32), low = (uint32_t)value;
    do { /* 64 by 32 bits, so that no helper of the compiler is needed */
        uint32_t rest = high % base;
        high /= base;
        __asm__("divl %2" : "+a"(low), "+d"(rest) : "r"(base));
        digits[count++] = "0123456789abcdef"[rest];
    } while ((low != 0 || high != 0 || count < width) && count < 20);
    while (count > 0)
        put(digits[--count]);
}

static void print_list(const char *format, va_list list)
{
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        unsigned width = 0;
        while (*++format >= '0' && *format <= '9')
            width = width * 10 + (unsigned)(*format - '0');
        if (*format == 's')
            put_text(va_arg(list, const char *));
        else if (*format == 'c')
            put((char)va_arg(list, int));
        else if (*format == 'l') {
            put_number(va_arg(list, uint64_t), 10, 0);
            format += 2; /* %llu */
        } else
            put_number(va_arg(list, uint32_t), *format == 'u' ? 10 : 16, width);
    }
}

void print(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_list(format, list);
    va_end(list);
}

struct thread *blamed;

static _Noreturn void halt(const struct thread *thread)
{
    if (thread != NULL) {
        print("  thread %x, ", thread->id);
        print_frame(&thread->frame);
    }
    print("  seed=%u, clock %llu us\nKD# the nucleus has stopped\n",
          options.seed, clock_us());
    for (;;)
        __asm__ volatile("cli; hlt");
}

void stop(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    put_text("\nnucleus: STOP: ");
    print_list(format, list);
    put('\n');
    va_end(list);
    halt(current);
}

void strict_at(const char *file, int line, const char *format, ...)
{
    const struct thread *who = blamed != NULL ? blamed : current;
    va_list list;
    if (options.strict == 0 ||
        (options.strict == 1 && who != NULL && !is_privileged(who->space)))
        return;
    va_start(list, format);
    put_text("\nnucleus: RULE: ");
    if (who != NULL)
        print("thread %x: ", who->id);
    print_list(format, list);
    print(" (%s:%u)\n", file, (unsigned)line);
    va_end(list);
    halt(who);
}

void print_frame(const struct frame *frame)
{
    print("vector %x error %x eip %8x cs %x eflags %x\n"
          "  eax %8x ebx %8x ecx %8x edx %8x esi %8x edi %8x ebp %8x",
          frame->vector & 0xff, frame->error, frame->eip, frame->cs,
          frame->eflags, frame->eax, frame->ebx, frame->ecx, frame->edx,
          frame->esi, frame->edi, frame->ebp);
    if (frame->cs & 3)
        print(" esp %8x", frame->esp);
    put('\n');
}

void *memset(void *to, int value, size_t length)
{
    void *at = to;
    size_t words = length / 4, rest = length % 4;
    __asm__ volatile("rep stosl\n\tmovl %3, %%ecx\n\trep stosb"
                     : "+D"(at), "+c"(words)
                     : "a"((value & 0xff) * 0x01010101u), "r"(rest)
                     : "memory");
    return to;
}

void *memcpy(void *to, const void *from, size_t length)
{
    void *at = to;
    __asm__ volatile("rep movsb"
                     : "+D"(at), "+S"(from), "+c"(length)
                     :
                     : "memory");
    return to;
}
