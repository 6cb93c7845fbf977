/* SPDX-License-Identifier: MIT */
/* Mappings: within our space, to another, status bits, sizes. */
#include "tests/l4/probe/probe.h"

static volatile uint32_t said[4];
static unsigned mapper; /* the worker that maps what we wait for */

static uint32_t root(void)
{
    return l4_global_id(50, 1);
}

/* A worker that sends us the item in `said'. */
static void map_for_root(void)
{
    for (;;) {
        hmm_l4_ipc(L4_NIL, root(), NEVER, NULL);
        utcb()[1] = said[0];
        utcb()[2] = said[1];
        utcb()[0] = l4_tag(0, 0, 2);
        hmm_l4_ipc(root(), L4_NIL, NEVER, NULL);
    }
}

/* Maps within our space; the window is all of it unless said. */
static uint32_t map_in(uint32_t item, uint32_t fpage, uint32_t window)
{
    said[0] = item;
    said[1] = fpage;
    utcb()[L4_BR(0)] = window;
    utcb()[0] = l4_tag(0x50, 0, 0);
    uint32_t tag = hmm_l4_ipc(worker_id(mapper), worker_id(mapper), SOON, NULL);
    utcb()[L4_BR(0)] = L4_FPAGE_ALL;
    return tag;
}

static uint32_t alias(uint32_t from, uint32_t to, unsigned rights)
{
    return map_in(to | L4_ITEM_MAP, l4_fpage(from, 12, rights), L4_FPAGE_ALL);
}

/* ---- A worker touches, and faults go to us ----------------------------------- */

static volatile uint32_t touch_at;
static volatile bool touch_write;

static void toucher(void)
{
    for (;;) {
        hmm_l4_ipc(L4_NIL, root(), NEVER, NULL);
        if (touch_write)
            *(volatile uint32_t *)touch_at = 1;
        else
            (void)*(volatile uint32_t *)touch_at;
        send(root(), 0x51, 0, NEVER);
    }
}

/* The label of what came of it: 51 none, ffe2 or ffe5 a fault. */
static uint32_t touch(unsigned n, uint32_t at, bool write)
{
    touch_at = at;
    touch_write = write;
    send(worker_id(n), 0x52, 0, NEVER);
    uint32_t tag = hmm_l4_ipc(L4_NIL, worker_id(n), SOON, NULL);
    if (l4_tag_label(tag) != 0x51) {
        if (utcb()[1] != at)
            show("fault at another address", utcb()[1]);
        worker_end(n);
        worker_start(n, toucher);
    }
    return l4_tag_label(tag);
}

static void probe_rights(void)
{
    uint32_t from = page(), w = WINDOW;
    show("touch nothing, read", touch(1, w, false));
    show("touch nothing, write", touch(1, w, true));
    show_ipc("map read-only", alias(from, w, 4));
    show("read", touch(1, w, false));
    show("write", touch(1, w, true));
    show_ipc("the same again with all rights", alias(from, w, 7));
    show("write", touch(1, w, true));
    alias(from, w + 0x1000, 4);
    show_ipc("all rights out of a read-only mapping",
             alias(w + 0x1000, w + 0x2000, 7));
    show("differs: write", touch(1, w + 0x2000, true));
    show("read", touch(1, w + 0x2000, false));
    show("unmap w", unmap_one(l4_fpage(from, 12, 2), false) != 0);
    show("read", touch(1, w, false));
    show("write", touch(1, w, true));
    show("own write still works", (*(volatile uint32_t *)from = 3));
    unmap_one(l4_fpage(from, 12, 1), false);
    show("unmap x, then read", touch(1, w, false));
    unmap_one(l4_fpage(from, 12, 7), false);
    show("unmap all, then read", touch(1, w, false));
    show("grandchild is gone too", touch(1, w + 0x2000, false));
    show_ipc("map with no rights", alias(from, w, 0));
    show("differs: read", touch(1, w, false));
    show_ipc("map write only", alias(from, w, 2));
    show("read", touch(1, w, false));
    show("write", touch(1, w, true));
    unmap_one(l4_fpage(from, 12, 7), false);
}

static void probe_status(void)
{
    uint32_t from = page(), w = WINDOW + 0x10000;
    alias(from, w, 7);
    unmap_one(l4_fpage(from, 12, 0), false);
    show("status of nothing", unmap_one(l4_fpage(from, 12, 0), false));
    touch(1, w, false);
    show("status after read", unmap_one(l4_fpage(from, 12, 0), false));
    show("status again", unmap_one(l4_fpage(from, 12, 0), false));
    touch(1, w, true);
    show("status after write", unmap_one(l4_fpage(from, 12, 0), false));
    show("status again", unmap_one(l4_fpage(from, 12, 0), false));
    touch(1, w, true);
    show("status after a second write",
         unmap_one(l4_fpage(from, 12, 0), false));
    *(volatile uint32_t *)from = 5;
    show("status after our own write", unmap_one(l4_fpage(from, 12, 0), false));
    touch(1, w, true);
    show("unmap w reports", unmap_one(l4_fpage(from, 12, 2), false));
    touch(1, w, false);
    show("unmap all reports", unmap_one(l4_fpage(from, 12, 7), false));
    show("and then", unmap_one(l4_fpage(from, 12, 7), false));
    alias(from, w, 7);
    touch(1, w, true);
    alias(page(), w, 7);
    show("written, then another page mapped over it",
         unmap_one(l4_fpage(from, 12, 0), false));
    alias(from, w, 7);
    touch(1, w, true);
    unmap_one(l4_fpage(w, 12, 7), true);
    show("written, then flushed by its owner",
         unmap_one(l4_fpage(from, 12, 0), false));
    alias(from, w, 7);
    alias(w, w + 0x1000, 7);
    touch(1, w + 0x1000, true);
    show("grandchild written", unmap_one(l4_fpage(from, 12, 0), false));
    touch(1, w + 0x1000, true);
    show("as its parent sees it", unmap_one(l4_fpage(w, 12, 0), false));
    show("and then ours", unmap_one(l4_fpage(from, 12, 0), false));
    unmap_one(l4_fpage(from, 12, 7), false);
}

static void probe_windows(void)
{
    uint32_t words[3], w = WINDOW + 0x20000;
    uint32_t from = memory_take(0x1910000, 16, words);
    for (uint32_t i = 0; i < 16; i++)
        *(volatile uint32_t *)(from + i * 4096) = 0x100 + i;
    show_ipc("16 pages at once",
             map_in(w | L4_ITEM_MAP, l4_fpage(from, 16, 7), L4_FPAGE_ALL));
    show("the tenth", *(volatile uint32_t *)(w + 10 * 4096));
    unmap_one(l4_fpage(from, 16, 7), false);
    show("all are gone", touch(1, w + 0xf000, false));
    show_ipc("through a window of one page, base picks it",
             map_in(0x3000 | L4_ITEM_MAP, l4_fpage(from, 16, 7),
                    l4_fpage(w, 12, 0)));
    show("it is page", *(volatile uint32_t *)w);
    unmap_one(l4_fpage(from, 16, 7), false);
    show_ipc("one page through a window of 16, base says where",
             map_in((w & ~0xffffu) | 0x5000 | L4_ITEM_MAP,
                    l4_fpage(from + 0x2000, 12, 7), l4_fpage(w, 16, 0)));
    show("there is page", *(volatile uint32_t *)(w + 0x5000));
    show_ipc("grant", map_in((w + 0x8000) | L4_ITEM_GRANT,
                             l4_fpage(w + 0x5000, 12, 7), L4_FPAGE_ALL));
    show("now there", *(volatile uint32_t *)(w + 0x8000));
    show("and no more here", touch(1, w + 0x5000, false));
    unmap_one(l4_fpage(from + 0x2000, 12, 7), false);
    show("the first owner takes it away", touch(1, w + 0x8000, false));
    show_ipc("nil", map_in(L4_ITEM_MAP, 0, L4_FPAGE_ALL));
    show("words back", utcb()[1]);
    show("words back", utcb()[2]);
}

static void probe_large(void)
{
    uint32_t from = memory_take(0x1c00000, 22, NULL), w = 0x50000000;
    show("4 MiB from sigma0", from);
    *(volatile uint32_t *)(from + 0x5000) = 0x55;
    show_ipc("map 4 MiB",
             map_in(w | L4_ITEM_MAP, l4_fpage(from, 22, 7), L4_FPAGE_ALL));
    show("inside", *(volatile uint32_t *)(w + 0x5000));
    show_ipc("4 KiB out of it", alias(from + 0x5000, WINDOW, 7));
    show("inside", *(volatile uint32_t *)WINDOW);
    unmap_one(l4_fpage(from, 22, 0), false);
    touch(1, WINDOW, true);
    show("status of that page of the 4 MiB",
         unmap_one(l4_fpage(WINDOW, 12, 0), false));
    touch(1, WINDOW, true);
    show("status of 4 MiB", unmap_one(l4_fpage(from, 22, 0), false));
    unmap_one(l4_fpage(from, 22, 7), false);
    show("all gone", touch(1, w, false));
    show("all gone", touch(1, WINDOW, false));
    alias(from + 0x5000, w, 7);
    alias(from + 0x6000, w + 0x1000, 7);
    unmap_one(l4_fpage(from + 0x5000, 12, 7), false);
    show("4 KiB of 4 MiB unmapped: that child", touch(1, w, false));
    show("the other child", touch(1, w + 0x1000, false));
    show_ipc("4 MiB over 4 KiB",
             map_in(w | L4_ITEM_MAP, l4_fpage(from, 22, 7), L4_FPAGE_ALL));
    show("inside", *(volatile uint32_t *)(w + 0x5000));
    unmap_one(l4_fpage(from, 22, 7), false);
    show("gone", touch(1, w + 0x1000, false));
    alias(from + 0x5000, w, 7);
    show_ipc("4 KiB where 4 MiB was", alias(from + 0x6000, w + 0x3000, 7));
    show("read", touch(1, w + 0x3000, false));
    unmap_one(l4_fpage(from, 22, 7), false);
}

/* ---- Over one another, and chains ---------------------------------------------- */

static void probe_overmap(void)
{
    uint32_t one = page(), two = page(), w = WINDOW + 0x40000;
    alias(one, w, 7);
    alias(w, w + 0x1000, 7);
    touch(1, w, true);
    show_ipc("another page over a mapping", alias(two, w, 7));
    show("its contents", *(volatile uint32_t *)w == two);
    show("what came from the old one", touch(1, w + 0x1000, false));
    show("status of the old one", unmap_one(l4_fpage(one, 12, 0), false));
    touch(1, w, true);
    show("status of the new one", unmap_one(l4_fpage(two, 12, 0), false));
    show_ipc("over itself, with fewer rights", alias(two, w, 4));
    show("write", touch(1, w, true));
    unmap_one(l4_fpage(two, 12, 7), false);
    show("both gone", touch(1, w, false));
}

static void probe_flush(void)
{
    uint32_t from = page(), w = WINDOW + 0x50000;
    alias(from, w, 7);
    alias(w, w + 0x1000, 7);
    touch(1, w + 0x1000, true);
    unmap_one(l4_fpage(w, 12, 2), true);
    show("flush w of the middle, then read it", touch(1, w, false));
    show("write it", touch(1, w, true));
    show("write below it", touch(1, w + 0x1000, true));
    show("read below it", touch(1, w + 0x1000, false));
    show("write above it", touch(1, from, true));
    unmap_one(l4_fpage(w, 12, 7), true);
    show("flush the middle, then read it", touch(1, w, false));
    show("read below it", touch(1, w + 0x1000, false));
    show("read above it", touch(1, from, false));
    unmap_one(l4_fpage(from, 12, 7), true);
    show("flush the top, then read it", touch(1, from, false));
    memory_take(from, 12, NULL);
    show("sigma0 gives it again", touch(1, from, false));
}

static void probe_chain(void)
{
    uint32_t from = page(), w = WINDOW + 0x60000;
    alias(from, w, 7);
    for (uint32_t i = 0; i < 6; i++)
        alias(w + i * 0x1000, w + (i + 1) * 0x1000, 7);
    unmap_one(l4_fpage(from, 12, 0), false);
    touch(1, w + 0x6000, true);
    show("the seventh of a chain is written",
         unmap_one(l4_fpage(from, 12, 0), false));
    touch(1, w + 0x6000, false);
    unmap_one(l4_fpage(w + 0x2000, 12, 7), false);
    show("cut in the middle: above", touch(1, w + 0x2000, false));
    show("below", touch(1, w + 0x3000, false));
    show("the end", touch(1, w + 0x6000, false));
    unmap_one(l4_fpage(from, 12, 7), false);
    show("cut at the top", touch(1, w, false));
    show("cut at the top", touch(1, w + 0x2000, false));
}

static void probe_large_rights(void)
{
    uint32_t from = memory_take(0x2000000, 22, NULL), w = 0x50000000;
    show("4 MiB more", from);
    map_in(w | L4_ITEM_MAP, l4_fpage(from, 22, 7), L4_FPAGE_ALL);
    unmap_one(l4_fpage(from, 22, 0), false);
    touch(1, w + 0x123000, false);
    show("status after read", unmap_one(l4_fpage(from, 22, 0), false));
    touch(1, w + 0x321000, true);
    show("status after write", unmap_one(l4_fpage(from, 22, 0), false));
    show("status again", unmap_one(l4_fpage(from, 22, 0), false));
    alias(w + 0x5000, WINDOW, 7);
    touch(1, WINDOW, true);
    show("written in a part of it", unmap_one(l4_fpage(from, 22, 2), false));
    show("w unmapped: read", touch(1, w + 0x123000, false));
    show("write", touch(1, w + 0x123000, true));
    show("write the part", touch(1, WINDOW, true));
    unmap_one(l4_fpage(from, 22, 7), false);
    map_in(w | L4_ITEM_MAP, l4_fpage(from, 22, 7), L4_FPAGE_ALL);
    show_ipc("4 MiB granted", map_in((w + 0x400000) | L4_ITEM_GRANT,
                                     l4_fpage(w, 22, 7), L4_FPAGE_ALL));
    show("here", touch(1, w, false));
    show("there", touch(1, w + 0x400000, true));
    unmap_one(l4_fpage(from, 22, 7), false);
    show("gone", touch(1, w + 0x400000, false));
}

/* ---- MemoryControl ------------------------------------------------------------ */

static uint32_t memory_gate;

static void show_memory_control(const char *name, uint32_t control,
                                uint32_t fpage, uint32_t attribute)
{
    uint32_t result = control, one = attribute, two = attribute;
    uint32_t three = attribute;
    void *here = (void *)(uintptr_t)utcb();
    __asm__ volatile("pushl %%ebp; movl %%ecx, %%ebp; call *%6; popl %%ebp"
                     : "+a"(result), "+c"(one), "+d"(two), "+b"(three),
                       "+S"(fpage), "+D"(here)
                     : "m"(memory_gate)
                     : "memory", "cc");
    hmm_l4_printf("memory control, %s: %u error %u\n", name, (unsigned)result,
                  result == 0 ? (unsigned)l4_error_code() : 0);
}

static void probe_attributes(void)
{
    uint32_t at = page();
    const char *kip = hmm_l4_kernel_interface();
    memory_gate =
        (uint32_t)(uintptr_t)kip + l4_kip_word(kip, L4_KIP_MEMORY_CONTROL);
    show_memory_control("default", 0, l4_fpage(at, 12, 0), 0);
    show_memory_control("write-back", 0, l4_fpage(at, 12, 0), 1);
    show_memory_control("uncached", 0, l4_fpage(at, 12, 0), 4);
    show_memory_control("no such attribute", 0, l4_fpage(at, 12, 0), 6);
    show_memory_control("65 flexpages", 64, l4_fpage(at, 12, 0), 0);
    show("the page is as it was", *(volatile uint32_t *)at == at);
}

/* ---- Another space ------------------------------------------------------------ */

static void client_touch(void)
{
    volatile uint32_t *at = (volatile uint32_t *)WINDOW;
    *at = 77;
    send(root(), 0x60, 0, NEVER);
    (void)*at;
    send(root(), 0x61, 0, NEVER);
    rest();
}

static void probe_other_space(void)
{
    uint32_t sender, from = page(), id = client_start(client_touch);
    show("client faults", l4_tag_label(client_wait(&sender)));
    show("address", utcb()[1]);
    map_to(id, l4_fpage(from, 12, 7), WINDOW);
    show("client goes on", l4_tag_label(client_wait(&sender)));
    show("what it wrote", *(volatile uint32_t *)from);
    show("status and unmap", unmap_one(l4_fpage(from, 12, 7), false));
    show("client faults again", l4_tag_label(client_wait(&sender)));
    map_to(id, l4_fpage(from, 12, 4), WINDOW);
    show("client goes on", l4_tag_label(client_wait(&sender)));
    client_end();
    show("status after it is dead", unmap_one(l4_fpage(from, 12, 7), false));
}

void probe_map(void)
{
    mapper = 4;
    worker_start(4, map_for_root);
    worker_start(1, toucher);
    probe_rights();
    probe_status();
    probe_windows();
    probe_large();
    probe_overmap();
    probe_flush();
    probe_chain();
    probe_large_rights();
    probe_attributes();
    worker_end(1);
    worker_end(4);
    probe_other_space();
}
