/* SPDX-License-Identifier: MIT */
/* What a fault costs, in processor cycles: `make bench-l4' runs it where a cycle
 * is an instruction.  Medians, from before the access until after it. */
#include <hurdmm/hurdmm.h>
#include <hurdmm/l4.h>

#include "backends/l4-x86/l4_port.h"
#include "tests/l4/support.h"

#define PAGES 256u
#define STRIDE (2 * L4_PAGE_SIZE) /* nothing is mapped with its neighbour */
#define BARE 0x80000000u          /* where nobody has reserved anything */

static uint64_t times[PAGES];
static uint32_t frames;

static uint64_t now(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static uint64_t median(void)
{
    for (unsigned i = 1; i < PAGES; i++)
        for (unsigned j = i; j > 0 && times[j - 1] > times[j]; j--) {
            uint64_t time = times[j];
            times[j] = times[j - 1];
            times[j - 1] = time;
        }
    return times[PAGES / 2];
}

/* Touches every page, the stack and the table having been touched before. */
static uint64_t touch(uintptr_t address, uint32_t stride, bool write)
{
    for (unsigned i = 0; i < PAGES; i++) {
        volatile uint32_t *word = (volatile uint32_t *)(address + i * stride);
        uint64_t start = now();
        if (write)
            *word = i;
        else
            (void)*word;
        times[i] = now() - start;
    }
    return median();
}

/* Answers each fault with a page, and knows nothing else. */
static void bare_pager(void *argument)
{
    volatile uint32_t *mr = utcb();
    uint32_t sender = L4_NIL;
    (void)argument;
    for (;;) {
        hmm_l4_ipc(sender, L4_ANY, 0, &sender);
        uint32_t address = mr[1] & ~L4_PAGE_MASK;
        mr[0] = l4_tag(0, 0, 2);
        mr[1] = address | L4_ITEM_MAP;
        mr[2] = l4_fpage(frames + (address - BARE), L4_PAGE_SHIFT, L4_FULL);
    }
}

static uint64_t bare(void)
{
    struct hmm_l4_thread *pager;
    uint32_t usual = utcb()[L4_TCR_PAGER];
    l4_test_zero(hmm_l4_pages_take(PAGES, 0, &frames), "frames");
    l4_test_zero(hmm_l4_thread_start(NULL, 2 * L4_PAGE_SIZE, bare_pager, NULL,
                                     l4_my_id(), &pager),
                 "a bare pager");
    utcb()[L4_TCR_PAGER] = pager->id;
    uint64_t cost = touch(BARE, L4_PAGE_SIZE, true);
    utcb()[L4_TCR_PAGER] = usual;
    return cost;
}

/* Pages that are lent already: the dispatcher answers. */
static uint64_t lent(void)
{
    struct hurdmm_port *port;
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = PAGES};
    struct hurdmm_port_info info = {.struct_size = sizeof info};
    uintptr_t address = 0;
    uint32_t done;
    l4_test_zero(hurdmm_l4_create(NULL, &port), "a port");
    l4_test_zero(port->ops->open(port, &config, &info), "it opens");
    l4_test_zero(port->ops->reserve(port, NULL, &address, PAGES * STRIDE, 0),
                 "a range");
    for (uint32_t i = 0; i < PAGES; i++)
        port->ops->lend(port, NULL, address + i * STRIDE, i * 37 % PAGES, 1,
                        HURDMM_READ | HURDMM_WRITE, &done);
    uint64_t cost = touch(address, STRIDE, true);
    for (uint32_t i = 0; i < PAGES; i++) {
        struct hurdmm_reclaim row = {.address = address + i * STRIDE,
                                     .frame = i * 37 % PAGES,
                                     .count = 1,
                                     .rights = HURDMM_NONE};
        size_t rows;
        l4_test_zero(port->ops->reclaim(port, &row, 1, &rows), "taken back");
    }
    port->ops->release(port, NULL, address, PAGES * STRIDE);
    port->ops->close(port);
    l4_test_zero(hurdmm_l4_destroy(port), "the port goes");
    return cost;
}

/* Resident pages of a store. */
static uint64_t resident(bool write)
{
    struct hurdmm_options options = {.struct_size = sizeof options,
                                     .budget = 2 * PAGES * L4_PAGE_SIZE};
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .length = PAGES * L4_PAGE_SIZE,
                                       .rights = HURDMM_READ | HURDMM_WRITE,
                                       .advice = HURDMM_ADVICE_RANDOM};
    struct hurdmm *manager;
    uintptr_t address;
    size_t done;
    l4_test_zero(hurdmm_l4_create(NULL, &options.port), "a port");
    l4_test_zero(hurdmm_create(&options, &manager), "a manager");
    l4_test_zero(
        hurdmm_anonymous_create(manager, NULL, bind.length, 0, &bind.store),
        "a store");
    l4_test_zero(hurdmm_store_populate(bind.store, 0, bind.length, &done),
                 "its pages");
    bind.space = hurdmm_space_own(manager);
    l4_test_zero(hurdmm_bind(&bind, &address), "a region");
    uint64_t cost = touch(address, L4_PAGE_SIZE, write);
    l4_test_zero(hurdmm_destroy(manager, HURDMM_DETACH), "all goes");
    return cost;
}

static void tell(const char *what, uint64_t cost, uint64_t least)
{
    hmm_l4_printf("COST %s: %llu, %llu above the bare one\n", what, cost,
                  cost - least);
}

void hurdmm_l4_main(void)
{
    l4_tests_begin("cost");
    uint64_t least = bare();
    tell("bare write fault", least, least);
    tell("of a page that is lent", lent(), least);
    tell("write fault, resident", resident(true), least);
    tell("read fault, resident", resident(false), least);
    l4_tests_end();
}
