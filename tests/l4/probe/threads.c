/* SPDX-License-Identifier: MIT */
/* ThreadControl, SpaceControl, ExchangeRegisters, Schedule. */
#include "tests/l4/probe/probe.h"

#define KEEP 0xffffffffu

static volatile uint32_t count;

static void show_call(const char *name, uint32_t result)
{
    if (result == 0)
        hmm_l4_printf("%s: error %x\n", name, (unsigned)l4_error_code());
    else
        hmm_l4_printf("%s: %x\n", name, (unsigned)result);
}

static void probe_creation(void)
{
    uint32_t me = l4_my_id(), id = worker_id(0), other = worker_id(1);
    show_call("create without scheduler",
              hmm_l4_thread_control(id, me, L4_NIL, me, 0xbf000200));
    show_call("create in a space that is none",
              hmm_l4_thread_control(id, other, me, L4_NIL, KEEP));
    show_call("create active without UTCB",
              hmm_l4_thread_control(id, me, me, me, KEEP));
    show_call("create active, UTCB outside its area",
              hmm_l4_thread_control(id, me, me, me, 0xb0000000));
    show_call("create active, UTCB not aligned",
              hmm_l4_thread_control(id, me, me, me, 0xbf000210));
    show_call("create active in a new space",
              hmm_l4_thread_control(id, id, me, me, 0xbf000200));
    show_call("create a kernel's thread",
              hmm_l4_thread_control(l4_global_id(40, 1), me, me, L4_NIL, KEEP));
    show_call("create by local id",
              hmm_l4_thread_control(0xbf000300, me, me, L4_NIL, KEEP));
    show_call("delete ourselves",
              hmm_l4_thread_control(me, L4_NIL, L4_NIL, L4_NIL, KEEP));
    show_call("create inactive",
              hmm_l4_thread_control(id, me, me, L4_NIL, KEEP));
    show_call("state of the inactive",
              hmm_l4_schedule(id, KEEP, KEEP, KEEP, KEEP));
    show_call("exchange registers of the inactive",
              hmm_l4_exchange(id, 0, 0, 0));
    show_call("activate it without UTCB",
              hmm_l4_thread_control(id, me, L4_NIL, me, KEEP));
    show_call("activate it",
              hmm_l4_thread_control(id, me, L4_NIL, me, 0xbf000200));
    show_call("move its UTCB",
              hmm_l4_thread_control(id, me, L4_NIL, L4_NIL, 0xbf000400));
    show_call("its state", hmm_l4_schedule(id, KEEP, KEEP, KEEP, KEEP));
    show_call("delete it",
              hmm_l4_thread_control(id, L4_NIL, L4_NIL, L4_NIL, KEEP));
}

static void probe_spaces(void)
{
    uint32_t me = l4_my_id(), id = worker_id(CLIENT);
    uint32_t utcbs = l4_fpage(0xb0000000, 12, 0);
    uint32_t kip = l4_fpage(0xb8000000, 12, 0);
    show_call("space of nobody", hmm_l4_space_control(id, 0, kip, utcbs, 0));
    hmm_l4_thread_control(id, id, me, L4_NIL, KEEP);
    show_call("UTCB area of 1 KiB",
              hmm_l4_space_control(id, 0, kip, l4_fpage(0xb0000000, 10, 0), 0));
    show_call("UTCB area above user memory",
              hmm_l4_space_control(id, 0, kip, l4_fpage(0xd0000000, 12, 0), 0));
    show_call("KIP in the UTCB area",
              hmm_l4_space_control(id, 0, utcbs, utcbs, 0));
    show_call("activate a thread before its space",
              hmm_l4_thread_control(id, id, me, me, 0xb0000000));
    show_call("space", hmm_l4_space_control(id, 0, kip, utcbs, 0));
    show_call("space again", hmm_l4_space_control(id, 0, kip, utcbs, 0));
    show_call("then the thread",
              hmm_l4_thread_control(id, id, me, me, 0xb0000000));
    client_end();
}

static void counting(void)
{
    for (;;) {
        count = count + 1;
        hmm_l4_switch(L4_NIL);
    }
}

static void pause_for(unsigned tenths)
{
    hmm_l4_ipc(L4_NIL, l4_my_id(), L4_TIMEOUTS(0, 7u << 10 | (tenths * 8)),
               NULL);
}

static void probe_running(void)
{
    uint32_t id = worker_start(0, counting), before;
    pause_for(30);
    show("it runs while we wait", count > 0);
    show_call("its state", hmm_l4_schedule(id, KEEP, KEEP, KEEP, KEEP));
    show("halt: exchange names it",
         hmm_l4_exchange(id, L4_EXCHANGE_HALT, 0, 0) == worker_local(0));
    before = count;
    pause_for(30);
    show("it rests", count == before);
    show_call("its state", hmm_l4_schedule(id, KEEP, KEEP, KEEP, KEEP));
    hmm_l4_exchange(id, 0x100, 0, 0);
    pause_for(30);
    show("it runs again", count > before);
    show_call("priority 50", hmm_l4_schedule(id, 50, KEEP, KEEP, KEEP));
    show_call("schedule nobody",
              hmm_l4_schedule(worker_id(9), 50, KEEP, KEEP, KEEP));
    worker_end(0);
    id = worker_new(0);
    show_call("state of one that waits to be started",
              hmm_l4_schedule(id, KEEP, KEEP, KEEP, KEEP));
    before = count;
    show("start by exchange",
         hmm_l4_exchange(id, L4_EXCHANGE_IP | L4_EXCHANGE_SP | 6, 0x41e000,
                         (uint32_t)(uintptr_t)counting) != 0);
    pause_for(30);
    show("it runs", count > before);
    worker_end(0);
}

static void probe_interrupts(void)
{
    uint32_t me = l4_my_id(), irq = 0u << 14 | 1, sender;
    show_call("attach IRQ 8", hmm_l4_thread_control(8u << 14 | 1, 8u << 14 | 1,
                                                    L4_NIL, me, KEEP));
    show_call("attach IRQ 5 to nobody",
              hmm_l4_thread_control(5u << 14 | 1, 5u << 14 | 1, L4_NIL,
                                    worker_id(9), KEEP));
    l4_out8(0x43, 0x30);
    l4_out8(0x40, 0xff);
    l4_out8(0x40, 0xff);
    pause_for(80); /* it has come before anybody listens */
    show_call("attach IRQ 0",
              hmm_l4_thread_control(irq, irq, L4_NIL, me, KEEP));
    show_ipc("an old interrupt", hmm_l4_ipc(L4_NIL, irq, AT_ONCE, NULL));
    for (unsigned i = 0; i < 2; i++) {
        utcb()[0] = 0;
        if (i == 0)
            hmm_l4_ipc(L4_NIL, irq, SOON, NULL);
        else
            show_ipc("an interrupt", hmm_l4_ipc(L4_NIL, irq, SOON, &sender));
        utcb()[0] = 0;
        show_ipc("acknowledged", hmm_l4_ipc(irq, L4_NIL, SOON, NULL));
        l4_out8(0x43, 0x30);
        l4_out8(0x40, 0xff);
        l4_out8(0x40, 0x20);
    }
    pause_for(80);
    show_ipc("one that came while we did something else",
             hmm_l4_ipc(L4_NIL, L4_ANY, AT_ONCE, &sender));
    show("from", sender);
    show_call("detach", hmm_l4_thread_control(irq, irq, L4_NIL, irq, KEEP));
}

/* A disk that answers IDENTIFY, and its interrupt. */
static void probe_disk(unsigned line, uint16_t base)
{
    uint32_t me = l4_my_id(), irq = line << 14 | 1, sender = 0;
    uint16_t word = 0;
    show("disk, IRQ", line);
    show_call("attach", hmm_l4_thread_control(irq, irq, L4_NIL, me, KEEP));
    for (unsigned i = 0; i < 2; i++) {
        l4_out8(base + 6, 0xa0);
        l4_out8(base + 7, 0xec);
        utcb()[0] = 0;
        show_ipc("interrupt", hmm_l4_ipc(L4_NIL, L4_ANY, SOON, &sender));
        show("from", sender);
        show("status", l4_in8(base + 7) & 0x89u);
        __asm__ volatile("inw %1, %0" : "=a"(word) : "d"(base));
        show("first word", word);
        for (unsigned j = 1; j < 256; j++)
            __asm__ volatile("inw %1, %0" : "=a"(word) : "d"(base));
        utcb()[0] = 0;
        show_ipc("acknowledged", hmm_l4_ipc(irq, L4_NIL, SOON, NULL));
    }
    show_ipc("another", hmm_l4_ipc(L4_NIL, irq, AT_ONCE, NULL));
    show_call("detach", hmm_l4_thread_control(irq, irq, L4_NIL, irq, KEEP));
    l4_out8(base + 7, 0xec);
    show_ipc("without a handler", hmm_l4_ipc(L4_NIL, L4_ANY, SOON, &sender));
    (void)l4_in8(base + 7);
}

void probe_threads(void)
{
    uint64_t first = hmm_l4_clock();
    probe_creation();
    probe_spaces();
    probe_running();
    probe_interrupts();
    probe_disk(14, 0x1f0);
    probe_disk(15, 0x170);
    show("the clock goes on", hmm_l4_clock() > first);
}
