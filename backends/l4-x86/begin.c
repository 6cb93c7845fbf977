/* SPDX-License-Identifier: MIT */
/* From the first instruction to hurdmm_l4_main; boot modules; what a
 * freestanding compiler expects to find. */
#include "backends/l4-x86/l4_port.h"
#include "backends/l4-x86/trap.h"

#include "lib/base/string.h"

#define BOOT_MAGIC 0x14b0021du
#define BOOT_MODULE 1u
#define BOOT_RECORDS_MAX 64u

void *hmm_l4_kip;

/* Every page of the image is there, and ours, before a second thread runs:
 * afterwards nobody but the dispatcher answers our faults. */
static void touch_image(void)
{
    extern char __image_start[], _end[];
    for (volatile char *at = __image_start; at < _end; at += L4_PAGE_SIZE)
        *at = *at;
}

/* Where the kernel guards ports, sigma0 has them. */
static void take_ports(void)
{
    volatile uint32_t *mr = utcb();
    if (!hmm_l4_has_feature(hmm_l4_kip, "ioflexpages"))
        return;
    uint32_t number = l4_kip_word(hmm_l4_kip, L4_KIP_THREAD_INFO) >> 20;
    mr[L4_BR(0)] = l4_io_fpage(0, 16);
    mr[0] = l4_tag(L4_LABEL_SIGMA0, 2, 0);
    mr[1] = l4_io_fpage(0, 16);
    mr[2] = 0;
    hmm_l4_ipc(l4_global_id(number, 1), l4_global_id(number, 1),
               L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
    mr[L4_BR(0)] = 0;
}

void hmm_l4_begin(void)
{
    hmm_l4_kip = hmm_l4_kernel_interface();
    hmm_l4_system_init(hmm_l4_kip);
    touch_image();
    take_ports();
    hmm_l4_console_init();
    hmm_l4_threads_init();
    hmm_l4_memory_init(hmm_l4_kip);
    hmm_l4_dispatcher_start();
    hmm_l4_memory_start();
    hurdmm_l4_main();
    for (;;)
        hmm_l4_ipc(L4_NIL, l4_my_id(),
                   L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
}

void hurdmm_l4_print(const char *text)
{
    hmm_l4_puts(text);
}

/* ---- Boot modules ---- */

static bool map_bytes(uint32_t start, uint32_t size)
{
    uint32_t end = (start + size + L4_PAGE_MASK) & ~L4_PAGE_MASK;
    for (uint32_t at = start & ~L4_PAGE_MASK; at < end; at += L4_PAGE_SIZE)
        if (!hmm_l4_sigma0_get(at, L4_PAGE_SHIFT))
            return false;
    return true;
}

/* The boot information: magic, version, size, first record, records; a record:
 * type, version, distance to the next; a module: start, size, command line. */
int hurdmm_l4_get_module(unsigned index, struct hurdmm_l4_module *module)
{
    uint32_t at = l4_kip_word(hmm_l4_kip, L4_KIP_BOOT_INFO);
    if (at == 0 || !map_bytes(at, L4_PAGE_SIZE))
        return ENOENT;
    const uint32_t *info = (const uint32_t *)(uintptr_t)at;
    if (info[0] != BOOT_MAGIC || !map_bytes(at, info[2]))
        return ENOENT;
    const uint32_t *record = (const uint32_t *)(uintptr_t)(at + info[3]);
    for (uint32_t i = 0; i < info[4] && i < BOOT_RECORDS_MAX; i++) {
        if (record[0] == BOOT_MODULE && index-- == 0) {
            const char *line = "";
            if (record[5] != 0)
                line = (const char *)record + record[5];
            if (!map_bytes(record[3], record[4]))
                return EFAULT;
            *module = (struct hurdmm_l4_module){
                (const void *)(uintptr_t)record[3], record[4], line};
            return 0;
        }
        record =
            (const uint32_t *)(const void *)((const char *)record + record[2]);
    }
    return ENOENT;
}

_Noreturn void hmm_l4_trap(const char *file, int line)
{
    hmm_l4_panic("%s:%d: assertion failed", file, line);
}

/* ---- Memory functions ---- */

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
    void *at = to;
    size_t words = length / 4;
    __asm__ volatile("rep movsl"
                     : "+D"(at), "+S"(from), "+c"(words)
                     :
                     : "memory");
    length &= 3;
    __asm__ volatile("rep movsb"
                     : "+D"(at), "+S"(from), "+c"(length)
                     :
                     : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t length)
{
    unsigned char *a = to;
    const unsigned char *b = from;
    if (a <= b || a >= b + length)
        return memcpy(to, from, length);
    while (length-- > 0)
        a[length] = b[length];
    return to;
}

void *memset(void *to, int byte, size_t length)
{
    void *at = to;
    size_t words = length / 4;
    uint32_t pattern = (uint32_t)(unsigned char)byte * 0x01010101u;
    __asm__ volatile("rep stosl"
                     : "+D"(at), "+c"(words)
                     : "a"(pattern)
                     : "memory");
    length &= 3;
    __asm__ volatile("rep stosb"
                     : "+D"(at), "+c"(length)
                     : "a"(pattern)
                     : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t length)
{
    const unsigned char *one = a;
    const unsigned char *two = b;
    for (size_t i = 0; i < length; i++)
        if (one[i] != two[i])
            return one[i] < two[i] ? -1 : 1;
    return 0;
}
