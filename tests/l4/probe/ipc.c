/* SPDX-License-Identifier: MIT */
/* Messages: errors, timeouts, order, who is named as sender. */
#include "tests/l4/probe/probe.h"

static volatile uint32_t seen[8];

static uint32_t root(void)
{
    return l4_global_id(50, 1);
}

static void sleepy(void)
{
    rest();
}

static void probe_errors(void)
{
    uint32_t nobody = l4_global_id(200, 1);
    uint32_t id = worker_start(0, sleepy);
    uint64_t before;
    show_ipc("send to nobody", send(nobody, 1, 0, NEVER));
    show_ipc("receive from nobody", hmm_l4_ipc(L4_NIL, nobody, AT_ONCE, NULL));
    hmm_l4_switch(id);
    hmm_l4_switch(id);
    show_ipc("send, zero timeout, not waiting for us", send(id, 1, 0, AT_ONCE));
    show_ipc("receive, zero timeout", hmm_l4_ipc(L4_NIL, id, AT_ONCE, NULL));
    before = hmm_l4_clock();
    show_ipc("receive, 50 ms", hmm_l4_ipc(L4_NIL, id, 7u << 10 | 400u, NULL));
    uint64_t took = hmm_l4_clock() - before;
    show("receive, 50 ms: at least 45, at most 300",
         took >= 45000 && took < 300000);
    before = hmm_l4_clock();
    show_ipc("send, 50 ms", send(id, 1, 0, L4_TIMEOUTS(7u << 10 | 400u, 0)));
    took = hmm_l4_clock() - before;
    show("send, 50 ms: at least 45, at most 300",
         took >= 45000 && took < 300000);
    show_ipc("any, zero timeout", hmm_l4_ipc(L4_NIL, L4_ANY, AT_ONCE, NULL));
    show_ipc("any local, zero timeout",
             hmm_l4_ipc(L4_NIL, L4_ANY_LOCAL, AT_ONCE, NULL));
    utcb()[0] = 0x120003;
    show_ipc("nobody to nobody", hmm_l4_ipc(L4_NIL, L4_NIL, NEVER, NULL));
    worker_end(0);
    show_ipc("send to the dead", send(id, 1, 0, NEVER));
    show_ipc("receive from the dead", hmm_l4_ipc(L4_NIL, id, AT_ONCE, NULL));
}

static void tell_one(void)
{
    utcb()[1] = 11;
    send(root(), 0x21, 1, NEVER);
    rest();
}

static void tell_two(void)
{
    utcb()[1] = 22;
    send(root(), 0x22, 1, NEVER);
    rest();
}

static void probe_order(void)
{
    uint32_t sender, first = worker_start(0, tell_one);
    hmm_l4_switch(first);
    uint32_t second = worker_start(1, tell_two);
    hmm_l4_switch(second);
    hmm_l4_ipc(L4_NIL, L4_NIL, NEVER, NULL);
    /* Both have been given time to queue. */
    hmm_l4_ipc(L4_NIL, l4_global_id(50, 1), 7u << 10 | 400u, NULL);
    show_ipc("closed receive passes over the first in the queue",
             hmm_l4_ipc(L4_NIL, second, AT_ONCE, &sender));
    show("its words", utcb()[1]);
    show("sender is named by local id", sender == worker_local(1));
    show_ipc("then the first", hmm_l4_ipc(L4_NIL, L4_ANY, AT_ONCE, &sender));
    show("sender is named by local id", sender == worker_local(0));
    worker_end(0);
    worker_end(1);
}

static void longest(void)
{
    for (unsigned i = 1; i < 64; i++)
        utcb()[i] = i * 3;
    send(root(), 0x23, 63, NEVER);
    rest();
}

static void taker(void)
{
    utcb()[L4_BR(0)] = 0;
    seen[0] = hmm_l4_ipc(L4_NIL, root(), NEVER, NULL);
    seen[1] = l4_error_code();
    utcb()[L4_BR(0)] = L4_FPAGE_ALL;
    seen[2] = hmm_l4_ipc(L4_NIL, root(), NEVER, NULL);
    rest();
}

static void probe_words(void)
{
    uint32_t sum = 0, id = worker_start(0, longest);
    show_ipc("63 words", hmm_l4_ipc(L4_NIL, id, SOON, NULL));
    for (unsigned i = 1; i < 64; i++)
        sum += utcb()[i];
    show("their sum", sum);
    worker_end(0);
    id = worker_start(0, taker);
    hmm_l4_ipc(L4_NIL, root(), 7u << 10 | 100u, NULL);
    show_ipc("map item to one that takes none",
             map_to(id, l4_fpage(page(), 12, 7), WINDOW));
    hmm_l4_ipc(L4_NIL, root(), 7u << 10 | 100u, NULL);
    show("what it sees", seen[0]);
    show("its error", seen[1]);
    utcb()[1] = 7;
    show_ipc("by local id", send(worker_local(0), 0x24, 1, NEVER));
    hmm_l4_ipc(L4_NIL, root(), 7u << 10 | 100u, NULL);
    show("what it sees", seen[2]);
    worker_end(0);
}

/* ---- Ends from outside ------------------------------------------------------- */

static void wait_root(void)
{
    seen[0] = hmm_l4_ipc(L4_NIL, root(), NEVER, NULL);
    seen[1] = l4_error_code();
    rest();
}

static void send_root(void)
{
    seen[2] = send(root(), 0x25, 0, NEVER);
    seen[3] = l4_error_code();
    rest();
}

static void doze(void)
{
    hmm_l4_ipc(L4_NIL, root(), 7u << 10 | 100u, NULL);
}

static void probe_cancel(void)
{
    uint32_t waits = worker_start(0, wait_root);
    uint32_t sends = worker_start(1, send_root);
    doze();
    uint32_t told = hmm_l4_exchange(waits, 2, 0, 0);
    show("exchange: a global id is answered by the local one",
         told == worker_local(0));
    told = hmm_l4_exchange(worker_local(1), 4, 0, 0);
    show("exchange: a local id is answered by the global one", told == sends);
    doze();
    show("cancelled receive: tag", seen[0]);
    show("cancelled receive: error", seen[1]);
    show("cancelled send: tag", seen[2]);
    show("cancelled send: error", seen[3]);
    worker_end(0);
    worker_end(1);
}

static void wait_for_three(void)
{
    seen[0] = seen[1] = 0;
    seen[0] = hmm_l4_ipc(L4_NIL, worker_id(3), 7u << 10 | 800u, NULL);
    seen[1] = l4_error_code();
    rest();
}

static void probe_death(void)
{
    worker_start(3, sleepy);
    worker_start(0, wait_for_three);
    doze();
    uint64_t before = hmm_l4_clock();
    worker_end(3);
    doze();
    bool early = hmm_l4_clock() - before < 80000;
    show("the partner is deleted; receiver ended at once",
         early && seen[0] != 0);
    for (unsigned i = 0; i < 12; i++)
        doze();
    show("receiver: tag", seen[0]);
    show("receiver: error", seen[1]);
    worker_end(0);
}

/* ---- Between spaces ---------------------------------------------------------- */

static void client(void)
{
    send(root(), 0x30, 0, NEVER);
    hmm_l4_ipc(L4_NIL, L4_ANY_LOCAL, L4_TIMEOUTS(0, 7u << 10 | 100u), NULL);
    uint32_t error = l4_error_code();
    utcb()[1] = error;
    send(root(), 0x31, 1, NEVER);
    utcb()[1] =
        hmm_l4_thread_control(l4_global_id(90, 1), root(), root(), L4_NIL, ~0u);
    utcb()[2] = l4_error_code();
    send(root(), 0x32, 2, NEVER);
    utcb()[1] = hmm_l4_exchange(root(), 0, 0, 0);
    utcb()[2] = l4_error_code();
    send(root(), 0x33, 2, NEVER);
    rest();
}

static void probe_client(void)
{
    uint32_t sender, id = client_start(client);
    show_ipc("from another space", client_wait(&sender));
    show("sender is named by global id", sender == id);
    show_ipc("to any local of another space, zero timeout",
             send(id, 0x34, 0, AT_ONCE));
    show_ipc("it reports", client_wait(&sender));
    show("its error of waiting for locals", utcb()[1]);
    show_ipc("it tries ThreadControl", client_wait(&sender));
    show("result", utcb()[1]);
    show("error", utcb()[2]);
    show_ipc("it tries ExchangeRegisters on us", client_wait(&sender));
    show("result", utcb()[1]);
    show("error", utcb()[2]);
    client_end();
}

/* ---- Propagation ------------------------------------------------------------- */

static void virtual_one(void)
{
    utcb()[1] = 5;
    utcb()[0] = l4_tag(0x40, 1, 0);
    seen[0] = hmm_l4_ipc(worker_id(1), worker_id(1), NEVER, NULL);
    seen[1] = utcb()[1];
    rest();
}

static void forwarder(void)
{
    hmm_l4_ipc(L4_NIL, worker_id(0), NEVER, NULL);
    utcb()[1] = 6;
    utcb()[L4_TCR_VIRTUAL_SENDER] = worker_id(0);
    utcb()[0] = l4_tag(0x41, 1, 0) | L4_TAG_PROPAGATE;
    hmm_l4_ipc(root(), L4_NIL, NEVER, NULL);
    rest();
}

static void probe_propagation(void)
{
    uint32_t sender;
    worker_start(1, forwarder);
    worker_start(0, virtual_one);
    show_ipc("propagated", hmm_l4_ipc(L4_NIL, L4_ANY, SOON, &sender));
    show("sender is the virtual one", sender == worker_local(0));
    show("actual sender is told",
         utcb()[L4_TCR_VIRTUAL_SENDER] == worker_id(1));
    utcb()[1] = 9;
    show_ipc("answer to the virtual one", send(worker_id(0), 0x42, 1, SOON));
    doze();
    show("it sees", seen[0]);
    show("its word", seen[1]);
    worker_end(0);
    worker_end(1);
}

void probe_ipc(void)
{
    probe_errors();
    probe_order();
    probe_words();
    probe_cancel();
    probe_death();
    probe_client();
    probe_propagation();
}
