/* SPDX-License-Identifier: MIT */
/* Breaks one rule that X.2 gives to its users: a strict kernel stops and says
 * which.  The numbers are those of tests/l4/nucleus.sh. */
#include "tests/l4/probe/probe.h"

static void rest_there(void)
{
    rest();
}

static void take_items(void)
{
    for (;;)
        hmm_l4_ipc(L4_NIL, L4_ANY, NEVER, NULL);
}

/* To one that waits and takes mappings. */
static void map_there(uint32_t item, uint32_t fpage)
{
    uint32_t id = worker_start(1, take_items);
    hmm_l4_ipc(L4_NIL, l4_my_id(), 7u << 10 | 100u, NULL);
    *(volatile uint32_t *)(worker_local(1) - 64) = L4_FPAGE_ALL;
    utcb()[0] = l4_tag(0, 0, 2);
    utcb()[1] = item;
    utcb()[2] = fpage;
    hmm_l4_ipc(id, L4_NIL, NEVER, NULL);
}

static void break_mapping(unsigned rule)
{
    uint32_t from = page();
    if (rule == 0)
        unmap_one(l4_fpage(from + 0x1000, 13, 7), false);
    else if (rule == 1)
        unmap_one(l4_fpage(from, 12, 7) | 8, false);
    else if (rule == 2)
        map_there(WINDOW | L4_ITEM_MAP, l4_fpage(from, 10, 7));
    else if (rule == 3)
        map_there(WINDOW | L4_ITEM_MAP, l4_fpage(from, 12, 0));
    else if (rule == 4)
        map_there(WINDOW | L4_ITEM_MAP, l4_fpage(WINDOW + 0x800000, 12, 7));
    else if (rule == 5)
        map_there(0xbf000000 | L4_ITEM_MAP, l4_fpage(from, 12, 7));
    else if (rule == 6)
        map_there(from | L4_ITEM_MAP, l4_fpage(from, 12, 7));
    else if (rule == 7) {
        uint32_t large = memory_take(0x1400000, 22, NULL);
        map_there(0x50000000 | L4_ITEM_MAP, l4_fpage(large, 22, 7));
        worker_end(1);
        map_there(0x50003000 | L4_ITEM_MAP, l4_fpage(from, 12, 7));
    } else if (rule == 8) {
        map_there(0x20, from);
    }
}

static void break_threads(unsigned rule)
{
    uint32_t me = l4_my_id(), id;
    if (rule == 9) {
        hmm_l4_thread_control(worker_id(5), L4_NIL, L4_NIL, L4_NIL, ~0u);
    } else if (rule == 10) {
        id = worker_start(0, rest_there);
        hmm_l4_ipc(L4_NIL, me, 7u << 10 | 100u, NULL);
        hmm_l4_exchange(id, L4_EXCHANGE_HALT, 0, 0);
    } else if (rule == 11) {
        hmm_l4_exchange(me, 0x1000, 0, 0);
    } else if (rule == 12) {
        worker_new(0);
        hmm_l4_thread_control(worker_id(1), me, me, me, 0xbf000200);
    } else if (rule == 13) {
        hmm_l4_schedule(me, 300, ~0u, ~0u, ~0u);
    } else if (rule == 14) {
        id = worker_id(CLIENT);
        hmm_l4_thread_control(id, id, me, L4_NIL, ~0u);
        hmm_l4_space_control(id, 1, l4_fpage(0xb8000000, 12, 0),
                             l4_fpage(0xb0000000, 12, 0), 0);
    }
}

static void break_messages(unsigned rule)
{
    if (rule == 15)
        send(l4_global_id(200, 1), 0, 0, NEVER);
    else if (rule == 16)
        send(0xbf0ff100, 0, 0, NEVER);
    else if (rule == 17)
        send(14u << 14 | 1, 0, 0, NEVER);
    else if (rule == 18) {
        utcb()[L4_BR(0)] = 0;
        utcb()[0] = l4_tag(L4_LABEL_SIGMA0, 2, 0);
        utcb()[1] = l4_fpage(0x1800000, 12, 7);
        hmm_l4_ipc(SIGMA0, SIGMA0, NEVER, NULL);
    } else if (rule == 19) {
        utcb()[0] = 63u << 6 | 1;
        hmm_l4_ipc(SIGMA0, L4_NIL, AT_ONCE, NULL);
    } else if (rule == 20) {
        hmm_l4_ipc(L4_NIL, l4_my_id(), 0x8401, NULL);
    } else if (rule == 21) {
        __asm__ volatile("ud2");
    }
}

void break_rule(unsigned rule)
{
    hmm_l4_printf("breaks rule %u\n", rule);
    break_mapping(rule);
    break_threads(rule);
    break_messages(rule);
    hmm_l4_printf("nobody minded\n");
}
