/* SPDX-License-Identifier: MIT */
/* The first serial line, polled, and a small printf.
 *
 * Lines of several threads may mix; a message that a machine judges is written
 * by one call.
 */
#include <stdarg.h>

#include "backends/l4-x86/system.h"

#define COM1 0x3f8u
#define READY_ROUNDS 100000u

void hmm_l4_console_init(void)
{
    l4_out8(COM1 + 1, 0);
    l4_out8(COM1 + 3, 0x80); /* the divisor: 115200 baud */
    l4_out8(COM1 + 0, 1);
    l4_out8(COM1 + 1, 0);
    l4_out8(COM1 + 3, 0x03); /* 8 bits, no parity, 1 stop bit */
    l4_out8(COM1 + 2, 0xc7);
    l4_out8(COM1 + 4, 0x0b);
}

static void put(char c)
{
    unsigned rounds = READY_ROUNDS;
    while ((l4_in8(COM1 + 5) & 0x20) == 0 && --rounds > 0)
        ;
    l4_out8(COM1, (uint8_t)c);
}

void hmm_l4_puts(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            put('\r');
        put(*text);
    }
}

/* What a conversion asks for. */
struct conversion {
    bool zeros;
    bool wide;
    unsigned width;
    char kind;
};

static void put_number(uint64_t value, unsigned base, bool negative,
                       const struct conversion *what)
{
    char digits[24];
    unsigned count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    if (negative)
        put('-');
    for (unsigned i = count + (negative ? 1 : 0); i < what->width; i++)
        put(what->zeros ? '0' : ' ');
    while (count > 0)
        put(digits[--count]);
}

static const char *parse(const char *format, struct conversion *what)
{
    *what = (struct conversion){0};
    what->zeros = *format == '0';
    while (*format >= '0' && *format <= '9')
        what->width = what->width * 10 + (unsigned)(*format++ - '0');
    for (unsigned longs = 0; *format == 'l' || *format == 'z'; format++)
        what->wide = *format == 'l' && ++longs == 2;
    what->kind = *format;
    return *format == '\0' ? format : format + 1;
}

static void put_text(const char *text)
{
    hmm_l4_puts(text != NULL ? text : "(null)");
}

void hmm_l4_vprintf(const char *format, va_list arguments)
{
    struct conversion what;
    while (*format != '\0') {
        if (*format != '%') {
            char one[] = {*format++, '\0'};
            hmm_l4_puts(one);
            continue;
        }
        format = parse(format + 1, &what);
        if (what.kind == 's') {
            put_text(va_arg(arguments, const char *));
        } else if (what.kind == 'c') {
            put((char)va_arg(arguments, int));
        } else if (what.kind == 'd') {
            int64_t value =
                what.wide ? va_arg(arguments, int64_t) : va_arg(arguments, int);
            put_number(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10,
                       value < 0, &what);
        } else if (what.kind == 'u' || what.kind == 'x' || what.kind == 'p') {
            uint64_t value = what.wide ? va_arg(arguments, uint64_t)
                                       : va_arg(arguments, unsigned);
            put_number(value, what.kind == 'u' ? 10 : 16, false, &what);
        } else {
            put('%');
        }
    }
}

void hmm_l4_printf(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    hmm_l4_vprintf(format, arguments);
    va_end(arguments);
}

void hmm_l4_panic(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    hmm_l4_puts("L4 PANIC: ");
    hmm_l4_vprintf(format, arguments);
    va_end(arguments);
    hmm_l4_puts("\n");
    for (;;)
        hmm_l4_ipc(L4_NIL, l4_my_id(),
                   L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
}
