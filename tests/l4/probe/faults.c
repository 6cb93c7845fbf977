/* SPDX-License-Identifier: MIT */
/* What a thread's exceptions and port accesses become. */
#include "tests/l4/probe/probe.h"

static uint32_t root(void)
{
    return l4_global_id(50, 1);
}

static void divide(void)
{
    utcb()[L4_TCR_EXCEPTION_HANDLER] = root();
    uint32_t left = 1;
    __asm__ volatile("xorl %%ecx, %%ecx; movl $0x1234, %%esi; divl %%ecx"
                     : "+a"(left)
                     :
                     : "ecx", "edx", "esi");
    send(root(), 0x70, 0, NEVER);
    rest();
}

static void privileged(void)
{
    utcb()[L4_TCR_EXCEPTION_HANDLER] = root();
    __asm__ volatile("cli");
    send(root(), 0x71, 0, NEVER);
    rest();
}

static void execute_hole(void)
{
    ((void (*)(void))(uintptr_t)0x48000000)();
    rest();
}

/* Shows the exception, and answers with the instruction after it. */
static uint32_t show_exception(uint32_t id, uint32_t tag, unsigned length)
{
    uint32_t sender;
    show_ipc("exception", tag);
    show("number", utcb()[3]);
    if (utcb()[3] == 13)
        show("code", utcb()[4]);
    show("esi", utcb()[6] == 0x1234);
    show("flags", utcb()[2] & 0x3200);
    show("stack is in the image", utcb()[8] < 0x500000);
    utcb()[1] = utcb()[1] + length;
    utcb()[0] = l4_tag(0, 12, 0);
    return hmm_l4_ipc(id, id, SOON, &sender);
}

static void probe_exceptions(void)
{
    uint32_t id = worker_start(0, divide);
    uint32_t tag = hmm_l4_ipc(L4_NIL, id, SOON, NULL);
    show_ipc("then it says", show_exception(id, tag, 2));
    worker_end(0);
    id = worker_start(0, privileged);
    tag = hmm_l4_ipc(L4_NIL, id, SOON, NULL);
    show_ipc("then it says", show_exception(id, tag, 1));
    worker_end(0);
    id = worker_start(0, execute_hole);
    tag = hmm_l4_ipc(L4_NIL, id, SOON, NULL);
    show_ipc("executing a hole", tag);
    show("address", utcb()[1]);
    show("ip", utcb()[2]);
    worker_end(0);
}

static void ports(void)
{
    (void)l4_in8(0x80);
    utcb()[1] = 1;
    send(root(), 0x72, 1, NEVER);
    uint32_t wide;
    __asm__ volatile("inl %1, %0" : "=a"(wide) : "Nd"((uint16_t)0xcfc));
    send(root(), 0x73, 0, NEVER);
    rest();
}

static void probe_ports(void)
{
    uint32_t sender, id = client_start(ports), fpage;
    show_ipc("a port of another space", client_wait(&sender));
    show("flexpage", utcb()[1]);
    fpage = l4_io_fpage(0x80, 0);
    (void)l4_in8(0x80); /* so that it is ours */
    utcb()[0] = l4_tag(0, 0, 2);
    utcb()[1] = L4_ITEM_MAP;
    utcb()[2] = fpage | 6;
    hmm_l4_ipc(id, L4_NIL, NEVER, NULL);
    show_ipc("with the port", client_wait(&sender));
    show_ipc("a double word", client_wait(&sender));
    show("flexpage", utcb()[1]);
    client_end();
}

/* ---- What is taken away, and from whom sigma0 takes faults --------------------- */

static void port_again(void)
{
    (void)l4_in8(0x80);
    send(root(), 0x74, 0, NEVER);
    hmm_l4_ipc(L4_NIL, root(), NEVER, NULL);
    (void)l4_in8(0x80);
    send(root(), 0x75, 0, NEVER);
    rest();
}

static void give_port(uint32_t id)
{
    (void)l4_in8(0x80);
    utcb()[0] = l4_tag(0, 0, 2);
    utcb()[1] = L4_ITEM_MAP;
    utcb()[2] = l4_io_fpage(0x80, 0) | 6;
    hmm_l4_ipc(id, L4_NIL, NEVER, NULL);
}

static void probe_port_unmap(void)
{
    uint32_t sender, id = client_start(port_again);
    show_ipc("a port", client_wait(&sender));
    give_port(id);
    show_ipc("with it", client_wait(&sender));
    utcb()[0] = l4_io_fpage(0x80, 0) | 6;
    hmm_l4_unmap(0);
    send(id, 0, 0, NEVER);
    show_ipc("unmapped", client_wait(&sender));
    show("flexpage", utcb()[1]);
    give_port(id);
    show_ipc("with it again", client_wait(&sender));
    client_end();
}

static volatile uint32_t wanted;

static void fault_to_sigma0(void)
{
    utcb()[L4_TCR_PAGER] = SIGMA0;
    (void)*(volatile uint32_t *)wanted;
    send(root(), 0x76, 0, NEVER);
    rest();
}

static void show_sigma0_fault(const char *name, uint32_t at)
{
    wanted = at;
    uint32_t id = worker_start(0, fault_to_sigma0);
    show_ipc(name, hmm_l4_ipc(L4_NIL, id, SOON, NULL));
    worker_end(0);
}

void probe_faults(void)
{
    show_sigma0_fault("fault at a free page", 0x1a00000);
    show_sigma0_fault("fault in the frame buffer", 0xa8000);
    probe_exceptions();
    probe_ports();
    probe_port_unmap();
}
