/* SPDX-License-Identifier: MIT */
/* The client of two-tasks: a program in an address space of its own, that knows
 * nothing of its memory being paged. */
#include "backends/l4-x86/l4_port.h"
#include "examples/l4/client.h"

void client_exit(uint32_t value);
uint32_t client_main(enum client_task task);

static volatile uint32_t *word_at(uint32_t address)
{
    return (volatile uint32_t *)(uintptr_t)address;
}

void client_exit(uint32_t value)
{
    volatile uint32_t *mr = utcb();
    mr[0] = l4_tag(L4_LABEL_EXIT, 1, 0);
    mr[1] = value;
    hmm_l4_ipc(mr[L4_TCR_PAGER], mr[L4_TCR_PAGER],
               L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
}

/* Every page of the disk is looked at, and written to. */
static uint32_t work(void)
{
    uint32_t right = 0;
    for (uint32_t page = 0; page < CLIENT_DISK_SIZE / CLIENT_PAGE; page++) {
        volatile uint32_t *words = word_at(CLIENT_DISK + page * CLIENT_PAGE);
        if (words[0] == client_word(page) && words[1023] == client_word(page))
            right++;
        words[1] = ~client_word(page);
    }
    for (uint32_t page = 0; page < CLIENT_COPY_SIZE / CLIENT_PAGE; page++) {
        volatile uint32_t *words = word_at(CLIENT_COPY + page * CLIENT_PAGE);
        if (words[0] == client_word(page))
            right++;
        words[0] = page;
        if (words[0] != page || words[1023] != client_word(page))
            right--;
    }
    *word_at(CLIENT_SHARED + 4) = *word_at(CLIENT_SHARED) + 1;
    return right;
}

static void send(uint32_t tag)
{
    volatile uint32_t *mr = utcb();
    for (uint32_t i = 1; i < L4_MR_COUNT; i++)
        mr[i] = 0x10101018u * i;
    mr[0] = tag;
    hmm_l4_ipc(mr[L4_TCR_PAGER], L4_NIL,
               L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER), NULL);
}

/* What no client should send: too much, items, what looks like faults, exits
 * and orders that are not its to give. */
static void make_noise(void)
{
    send(l4_tag(0x1234, 63, 0));
    send(l4_tag(L4_LABEL_PAGEFAULT | L4_WRITE, 63, 0));
    send(l4_tag(L4_LABEL_PAGEFAULT, 0, 0));
    send(l4_tag(L4_LABEL_ENDED, 0, 0));
    send(l4_tag(L4_LABEL_START, 3, 0));
    send(l4_tag(L4_LABEL_SIGMA0, 2, 0));
    send(l4_tag(7, 1, 2));
}

static uint32_t divide(volatile uint32_t *zero)
{
    return 1000 / *zero;
}

uint32_t client_main(enum client_task task)
{
    uint32_t zero = 0;
    switch (task) {
    case CLIENT_STRAY:
        return *word_at(0x30000000);
    case CLIENT_STORE_FIXED:
        return *word_at(CLIENT_FIXED) = 1;
    case CLIENT_DIVIDE:
        return divide(&zero);
    case CLIENT_WAIT:
        return *word_at(CLIENT_SLOW);
    case CLIENT_NOISE:
        make_noise();
        return work();
    case CLIENT_WORK:
        break;
    }
    return work();
}
