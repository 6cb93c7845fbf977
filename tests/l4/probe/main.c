/* SPDX-License-Identifier: MIT */
#include "tests/l4/probe/probe.h"

void hmm_l4_begin(void);

static const void *kip;
static uint8_t stacks[32][4096] __attribute__((aligned(4096)));
static uint32_t versions[32];
static uint32_t next_page = 0x1800000;
extern char _end[], __image_start[];

void show(const char *name, uint32_t value)
{
    hmm_l4_printf("%s = %x\n", name, (unsigned)value);
}

void show_ipc(const char *name, uint32_t tag)
{
    if (tag & L4_TAG_ERROR)
        hmm_l4_printf("%s: tag %x error %x\n", name, (unsigned)tag,
                      (unsigned)l4_error_code());
    else
        hmm_l4_printf("%s: tag %x\n", name, (unsigned)tag);
}

/* ---- Threads ---------------------------------------------------------------- */

uint32_t worker_id(unsigned n)
{
    return l4_global_id(60 + n, versions[n] + 1);
}

static uint32_t worker_utcb(unsigned n)
{
    uint32_t first = n >= CLIENT ? 0xb0000000u : 0xbf000000u + 512;
    return first + 512 * (n >= CLIENT ? n - CLIENT : n);
}

uint32_t worker_local(unsigned n)
{
    return worker_utcb(n) + L4_UTCB_MR;
}

/* Created and active, waiting for its first message from us. */
uint32_t worker_new(unsigned n)
{
    uint32_t me = l4_my_id();
    return hmm_l4_thread_control(worker_id(n), me, me, me, worker_utcb(n))
               ? worker_id(n)
               : 0;
}

static void worker_go(unsigned n, void (*entry)(void))
{
    utcb()[1] = (uint32_t)(uintptr_t)entry;
    utcb()[2] = (uint32_t)(uintptr_t)&stacks[n][4080] - 4;
    utcb()[0] = l4_tag(0, 2, 0);
    hmm_l4_ipc(worker_id(n), L4_NIL, NEVER, NULL);
}

uint32_t worker_start(unsigned n, void (*entry)(void))
{
    worker_new(n);
    worker_go(n, entry);
    return worker_id(n);
}

void worker_end(unsigned n)
{
    hmm_l4_thread_control(worker_id(n), L4_NIL, L4_NIL, L4_NIL, ~0u);
    versions[n]++;
}

uint32_t client_start(void (*entry)(void))
{
    uint32_t id = worker_id(CLIENT), me = l4_my_id();
    hmm_l4_thread_control(id, id, me, L4_NIL, ~0u);
    hmm_l4_space_control(id, 0, l4_fpage(0xbff00000, 12, 0),
                         l4_fpage(0xb0000000, 12, 0), 0);
    hmm_l4_thread_control(id, id, me, me, worker_utcb(CLIENT));
    worker_go(CLIENT, entry);
    return id;
}

uint32_t client_wait(uint32_t *sender)
{
    uint32_t tag = hmm_l4_ipc(L4_NIL, L4_ANY, SOON, sender);
    while ((l4_tag_label(tag) & L4_LABEL_KIND) == L4_LABEL_PAGEFAULT &&
           utcb()[1] >= (uint32_t)(uintptr_t)__image_start &&
           utcb()[1] < (uint32_t)(uintptr_t)_end) {
        uint32_t at = utcb()[1] & ~L4_PAGE_MASK;
        utcb()[0] = l4_tag(0, 0, 2);
        utcb()[1] = at | L4_ITEM_MAP;
        utcb()[2] = l4_fpage(at, L4_PAGE_SHIFT, L4_FULL);
        tag = hmm_l4_ipc(*sender, L4_ANY, SOON, sender);
    }
    return tag;
}

void client_end(void)
{
    worker_end(CLIENT);
}

void rest(void)
{
    for (;;)
        hmm_l4_ipc(L4_NIL, l4_my_id(), NEVER, NULL);
}

/* ---- Memory ----------------------------------------------------------------- */

uint32_t memory_take(uint32_t at, unsigned log2, uint32_t *words)
{
    utcb()[L4_BR(0)] = L4_FPAGE_ALL;
    utcb()[0] = l4_tag(L4_LABEL_SIGMA0, 2, 0);
    utcb()[1] = l4_fpage(at, log2, L4_FULL);
    utcb()[2] = 0;
    uint32_t tag = hmm_l4_ipc(SIGMA0, SIGMA0, NEVER, NULL);
    if (words != NULL) {
        words[0] = tag;
        words[1] = utcb()[1];
        words[2] = utcb()[2];
    }
    return l4_fpage_base(utcb()[2]);
}

uint32_t page(void)
{
    uint32_t at = memory_take(next_page, L4_PAGE_SHIFT, NULL);
    if (at != next_page)
        hmm_l4_panic("no page at %x\n", (unsigned)next_page);
    next_page += L4_PAGE_SIZE;
    *(volatile uint32_t *)at = at;
    return at;
}

uint32_t send(uint32_t to, uint32_t label, unsigned untyped, uint32_t timeouts)
{
    utcb()[0] = l4_tag(label, untyped, 0);
    return hmm_l4_ipc(to, L4_NIL, timeouts, NULL);
}

uint32_t unmap_one(uint32_t fpage, bool flush)
{
    utcb()[0] = fpage;
    hmm_l4_unmap(flush ? 0x40 : 0);
    return utcb()[0] & 7;
}

uint32_t map_to(uint32_t to, uint32_t fpage, uint32_t at)
{
    utcb()[0] = l4_tag(0, 0, 2);
    utcb()[1] = at | L4_ITEM_MAP;
    utcb()[2] = fpage;
    return hmm_l4_ipc(to, L4_NIL, NEVER, NULL);
}

/* ---- The interface page, sigma0 ---------------------------------------------- */

static void probe_kip(void)
{
    static const uint32_t same[] = {0x00, 0x04, 0x08, 0xa8, 0xac, 0xc4, 0xc8};
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++)
        hmm_l4_printf("kip %x = %x\n", (unsigned)same[i],
                      (unsigned)l4_kip_word(kip, same[i]));
    for (uint32_t offset = 0xd0; offset <= 0xf8; offset += 4)
        if (l4_kip_word(kip, offset) == 0)
            hmm_l4_printf("kip: no gate at %x\n", (unsigned)offset);
    show("kip address", (uint32_t)(uintptr_t)kip);
    show("my id", l4_my_id());
    show("my local id", (uint32_t)(uintptr_t)utcb());
    show("my pager", utcb()[L4_TCR_PAGER]);
    const uint32_t *boot = (const uint32_t *)l4_kip_word(kip, 0xb8);
    memory_take((uint32_t)boot & ~L4_PAGE_MASK, L4_PAGE_SHIFT, NULL);
    show("boot information magic", boot[0]);
    show("boot records", boot[4]);
    for (unsigned i = 0; i < boot[4] && i < 8; i++) {
        const uint32_t *record = (const uint32_t *)((uintptr_t)boot + boot[3]);
        for (unsigned j = 0; j < i; j++)
            record = (const uint32_t *)((uintptr_t)record + record[2]);
        hmm_l4_printf("boot record %u: type %x version %x\n", i,
                      (unsigned)record[0], (unsigned)record[1]);
    }
}

static void show_sigma0(const char *name, uint32_t at, unsigned log2)
{
    uint32_t words[3];
    memory_take(at, log2, words);
    hmm_l4_printf("sigma0 %s: %x %x %x\n", name, (unsigned)words[0],
                  (unsigned)words[1], (unsigned)words[2]);
}

static void ask_sigma0(void)
{
    uint32_t words[3];
    memory_take(0x1900000, 12, words);
    send(l4_global_id(50, 1), 0x20, 0, NEVER);
    rest();
}

static void probe_sigma0(void)
{
    show_sigma0("page", 0x1900000, 12);
    show_sigma0("page again", 0x1900000, 12);
    show_sigma0("16 KiB", 0x1904000, 14);
    show_sigma0("4 MiB", 0x1400000, 22);
    show_sigma0("frame buffer", 0xb8000, 12);
    show_sigma0("device", 0xfebf0000, 12);
    utcb()[0] = l4_tag(L4_LABEL_SIGMA0, 2, 0);
    utcb()[1] = l4_io_fpage(0x1f0, 3);
    utcb()[2] = 0;
    uint32_t tag = hmm_l4_ipc(SIGMA0, SIGMA0, NEVER, NULL);
    hmm_l4_printf("sigma0 ports: %x %x %x\n", (unsigned)tag,
                  (unsigned)utcb()[1], (unsigned)(utcb()[2] & ~7u));
    worker_start(0, ask_sigma0);
    tag = hmm_l4_ipc(L4_NIL, L4_ANY, SOON, NULL);
    show_ipc("another's page from sigma0, asked and done", tag);
    show("what it got", *(volatile uint32_t *)(worker_local(0) + 8));
    worker_end(0);
}

/* The number after rule= on our command line, or -1. */
static int rule_asked(void)
{
    uintptr_t boot = l4_kip_word(kip, L4_KIP_BOOT_INFO);
    memory_take((uint32_t)boot & ~L4_PAGE_MASK, L4_PAGE_SHIFT, NULL);
    const uint32_t *record =
        (const uint32_t *)(boot + ((const uint32_t *)boot)[3]);
    record = (const uint32_t *)((uintptr_t)record + record[2]);
    const char *line = (const char *)record + record[15];
    for (; *line != '\0'; line++)
        if (line[0] == ' ' && line[1] == 'r' && line[5] == '=') {
            int number = 0;
            for (line += 6; *line >= '0' && *line <= '9'; line++)
                number = number * 10 + (*line - '0');
            return number;
        }
    return -1;
}

void hmm_l4_begin(void)
{
    kip = hmm_l4_kernel_interface();
    hmm_l4_system_init((void *)(uintptr_t)kip);
    hmm_l4_console_init();
    for (volatile char *at = __image_start; at < _end; at += 4096)
        *at = *at;
    if (rule_asked() >= 0)
        break_rule((unsigned)rule_asked());
    hmm_l4_printf("\nPROBE BEGINS\n");
    probe_kip();
    probe_sigma0();
    probe_threads();
    probe_ipc();
    probe_map();
    probe_faults();
    hmm_l4_printf("L4 IMAGE ENDS\n");
    rest();
}
