/* SPDX-License-Identifier: MIT */
/* The dispatcher: pager and exception handler of every thread.
 *
 *   page fault -> the table allows it        answer with a map item
 *                 an address of a range      queue it for fault_wait
 *                 else, or the port stopped  the access fails
 *
 *   NO_FAULT -> QUEUED -> TAKEN -> NO_FAULT (hmm_l4_fault_end)
 *                  |         |
 *                  +---------+--> STOPPED: no answer will come
 *
 * The answer to a fault goes from the thread that has it straight to the one
 * that faulted, in the dispatcher's name (propagation).  It has a zero timeout:
 * who faulted waits for it, and who does not wait has not faulted.
 *
 * The dispatcher accepts no items: what clients send it can be two words of
 * nonsense at most.  A client that pretends to fault is answered like one that
 * did.
 */
#include "backends/l4-x86/l4_port.h"

#define RUN_PAGES_MAX 64u
#define RUNS_MAX 16u /* in a message */
#define BLOCK_LOG2_MAX 21u
#define EXCEPTION_WORDS 12u

static uint32_t dispatcher;

uint32_t hmm_l4_dispatcher(void)
{
    return dispatcher;
}

/* ---- Answers ---- */

/* Sends what is in the message registers to a thread that faulted. */
static void reply(const struct hmm_l4_thread *thread, uint32_t tag)
{
    volatile uint32_t *mr = utcb();
    if (l4_my_id() != dispatcher) {
        mr[L4_TCR_VIRTUAL_SENDER] = dispatcher;
        tag |= L4_TAG_PROPAGATE;
    }
    mr[0] = tag;
    hmm_l4_ipc(thread->id, L4_NIL,
               L4_TIMEOUTS(L4_TIMEOUT_ZERO, L4_TIMEOUT_NEVER), NULL);
}

/* A row of pages that can be mapped together. */
struct run {
    uint32_t start, length, physical;
    unsigned rights;
};

/* Whether the page at `address' continues a run, `distance' from its origin,
 * and is not mapped yet. */
static bool continues(const struct hmm_l4_space *space, uint32_t address,
                      uint32_t frame, const struct run *origin,
                      uint32_t distance)
{
    const uint32_t *entry = hmm_l4_entry(space, address);
    return entry != NULL && *entry == L4_ENTRY(frame, origin->rights) &&
           hmm_l4_frame_address(space->port, frame) ==
               origin->physical + distance &&
           !hmm_l4_in_large(space->port, frame);
}

/* The run around a page that is lent. */
static struct run run_around(const struct hmm_l4_space *space, uint32_t address,
                             uint32_t entry)
{
    uint32_t frame = L4_ENTRY_FRAME(entry);
    struct run run = {address, L4_PAGE_SIZE,
                      hmm_l4_frame_address(space->port, frame),
                      L4_ENTRY_RIGHTS(entry)};
    uint32_t before = 0;
    uint32_t after = 1;
    while (after < RUN_PAGES_MAX &&
           address + after * L4_PAGE_SIZE < space->end &&
           continues(space, address + after * L4_PAGE_SIZE, frame + after, &run,
                     after * L4_PAGE_SIZE))
        after++;
    while (before < RUN_PAGES_MAX && before < frame &&
           address - before * L4_PAGE_SIZE > space->low &&
           continues(space, address - (before + 1) * L4_PAGE_SIZE,
                     frame - before - 1, &run,
                     0u - (before + 1) * L4_PAGE_SIZE))
        before++;
    run.start -= before * L4_PAGE_SIZE;
    run.physical -= before * L4_PAGE_SIZE;
    run.length = (before + after) * L4_PAGE_SIZE;
    return run;
}

/* Puts item number `i' into the message and notes the pages as mapped. */
static void put_item(const struct hmm_l4_space *space, const struct run *run,
                     unsigned i, uint32_t address, unsigned log2)
{
    volatile uint32_t *mr = utcb();
    uint32_t physical = run->physical + (address - run->start);
    for (uint32_t n = 0; n < UINT32_C(1) << log2; n += L4_PAGE_SIZE)
        *hmm_l4_entry(space, address + n) |= L4_ENTRY_MAPPED;
    mr[1 + 2 * i] = address | L4_ITEM_MAP;
    mr[2 + 2 * i] = l4_fpage(physical, log2, run->rights);
}

/* Puts a run into the message from `at' on, block by block; how many items there
 * are then. */
static unsigned put_run(const struct hmm_l4_space *space, const struct run *run,
                        unsigned items, uint32_t at, unsigned log2,
                        unsigned high)
{
    uint32_t end = run->start + run->length;
    while (items < L4_MAP_ITEMS_MAX) {
        put_item(space, run, items++, at, log2);
        at += UINT32_C(1) << log2;
        if (at == end)
            break;
        log2 = hmm_l4_block_from(at, run->physical + (at - run->start),
                                 end - at, high);
    }
    return items;
}

/* The largest block that can be mapped in a run. */
static unsigned high_of(const struct run *run)
{
    uint32_t offset = run->start ^ run->physical;
    unsigned high = offset == 0 ? 31u : (unsigned)__builtin_ctz(offset);
    return high > BLOCK_LOG2_MAX ? BLOCK_LOG2_MAX : high;
}

/* Whether a page is lent but not mapped. */
static bool is_due(const struct hmm_l4_space *space, uint32_t address)
{
    if (address >= space->end)
        return false;
    const uint32_t *entry = hmm_l4_entry(space, address);
    return entry != NULL && *entry != 0 && (*entry & L4_ENTRY_MAPPED) == 0 &&
           !hmm_l4_in_large(space->port, L4_ENTRY_FRAME(*entry));
}

/* Maps what is lent around the address: the longest block that holds it, what
 * follows of its run, and the runs behind that, as far as nothing in between is
 * not lent, or mapped already. */
static void map_runs(const struct hmm_l4_thread *thread,
                     const struct hmm_l4_space *space, uint32_t address,
                     uint32_t entry)
{
    struct run run = run_around(space, address, entry);
    unsigned high = high_of(&run);
    unsigned log2 =
        hmm_l4_block(address, run.start, run.length, L4_PAGE_SHIFT, high);
    unsigned items = put_run(
        space, &run, 0, address & ~((UINT32_C(1) << log2) - 1), log2, high);
    for (unsigned runs = 1; runs < RUNS_MAX && items < L4_MAP_ITEMS_MAX;
         runs++) {
        uint32_t at = run.start + run.length;
        if (!is_due(space, at))
            break;
        run = run_around(space, at, *hmm_l4_entry(space, at));
        high = high_of(&run);
        hmm_assert(run.start == at); /* what lies before it is mapped */
        log2 = hmm_l4_block_from(at, run.physical, run.length, high);
        items = put_run(space, &run, items, at, log2, high);
    }
    reply(thread, l4_tag(0, 0, 2 * items));
}

/* Whether the page before it in the leaf, or the one behind, may be mapped with
 * the page, or may lie in another leaf. */
static bool has_neighbour(const uint32_t *entry, uint32_t page)
{
    uint32_t place = page >> L4_PAGE_SHIFT & (L4_LEAF_ENTRIES - 1);
    uint32_t bare = L4_ENTRY(L4_ENTRY_FRAME(*entry), L4_ENTRY_RIGHTS(*entry));
    return place == 0 || place == L4_LEAF_ENTRIES - 1 ||
           (entry[1] != 0 && (entry[1] & L4_ENTRY_MAPPED) == 0) ||
           entry[-1] == bare - L4_ENTRY_NEXT;
}

/* Maps one page. */
static void map_page(const struct hmm_l4_thread *thread,
                     const struct hmm_l4_space *space, uint32_t page,
                     uint32_t *entry)
{
    volatile uint32_t *mr = utcb();
    uint32_t physical =
        hmm_l4_frame_address(space->port, L4_ENTRY_FRAME(*entry));
    mr[1] = page | L4_ITEM_MAP;
    mr[2] = l4_fpage(physical, L4_PAGE_SHIFT, L4_ENTRY_RIGHTS(*entry));
    *entry |= L4_ENTRY_MAPPED;
    reply(thread, l4_tag(0, 0, 2));
}

/* Maps all of the large leaf that the page is in, as one page. */
static void map_leaf(const struct hmm_l4_thread *thread,
                     const struct hmm_l4_space *space, uint32_t page)
{
    uint32_t start = page & ~(L4_LARGE_SIZE - 1);
    uint32_t entry = *hmm_l4_entry(space, start);
    struct run run = {start, L4_LARGE_SIZE,
                      hmm_l4_frame_address(space->port, L4_ENTRY_FRAME(entry)),
                      L4_ENTRY_RIGHTS(entry)};
    put_item(space, &run, 0, start, L4_LARGE_SHIFT);
    reply(thread, l4_tag(0, 0, 2));
}

/* Lends the page if the table says so. */
static bool answer(const struct hmm_l4_thread *thread,
                   struct hmm_l4_space *space)
{
    uint32_t page = thread->fault.address & ~L4_PAGE_MASK;
    uint32_t *entry = hmm_l4_entry(space, page);
    unsigned need = thread->fault.access == HURDMM_WRITE ? L4_WRITE : L4_READ;
    if (entry == NULL || (*entry & need) == 0)
        return false;
    if (space->port->large != 0 && hmm_l4_large_ready(space, page, *entry))
        map_leaf(thread, space, page);
    else if (has_neighbour(entry, page))
        map_runs(thread, space, page, *entry);
    else
        map_page(thread, space, page, entry);
    return true;
}

/* The space in which the thread faulted, if a port has that address. */
static struct hmm_l4_space *space_of(const struct hmm_l4_thread *thread)
{
    if (thread->space != NULL)
        return hmm_l4_range_has(thread->space, thread->fault.address)
                   ? thread->space
                   : NULL;
    for (unsigned i = 0; i < L4_PORTS_MAX; i++)
        if (hmm_l4_ports[i].is_open &&
            hmm_l4_range_has(&hmm_l4_ports[i].own, thread->fault.address))
            return &hmm_l4_ports[i].own;
    return NULL;
}

/* ---- Failures ---- */

void hmm_l4_pad_push(struct hmm_l4_pad *pad, uint32_t sp)
{
    struct hmm_l4_thread *self = hmm_l4_thread_self();
    pad->sp = sp;
    pad->error = 0;
    pad->outer = self->pad;
    self->pad = pad;
}

int hmm_l4_pad_pop(struct hmm_l4_pad *pad)
{
    hmm_l4_thread_self()->pad = pad->outer;
    return pad->error;
}

static void report(const struct hmm_l4_thread *thread, int error)
{
    hmm_l4_printf("L4 PANIC: thread %x: access %u to %08x at %08x fails: "
                  "error %d\n",
                  thread->id, thread->fault.access, thread->fault.address,
                  thread->fault.instruction, error);
}

/* The access fails, in the thread's own way. */
static void fail(struct hmm_l4_thread *thread, int error)
{
    if (thread->task != NULL) {
        struct hurdmm_l4_status status = {
            .state = HURDMM_L4_FAILED,
            .error = error,
            .address = thread->fault.address,
            .instruction = thread->fault.instruction,
        };
        thread->fault_state = L4_STOPPED;
        hmm_l4_task_over(thread->task, &status);
    } else if (thread->pad != NULL) {
        thread->pad->error = error;
        thread->fault_state = L4_NO_FAULT;
        hmm_l4_exchange(thread->id, L4_EXCHANGE_SP | L4_EXCHANGE_IP,
                        thread->pad->sp, (uint32_t)(uintptr_t)hmm_l4_landing);
        reply(thread, l4_tag(0, 0, 0));
    } else {
        thread->fault_state = L4_STOPPED;
        report(thread, error);
    }
}

void hmm_l4_fault_end(struct hmm_l4_thread *thread, int error)
{
    hmm_assert(hmm_l4_locked());
    if (error != 0) {
        fail(thread, error);
        return;
    }
    struct hmm_l4_space *space = space_of(thread);
    thread->fault_state = L4_NO_FAULT;
    if (space == NULL || !answer(thread, space))
        reply(thread, l4_tag(0, 0, 0));
}

/* Takes a thread that is going out of its queue. */
void hmm_l4_fault_forget(struct hmm_l4_thread *thread)
{
    struct hmm_l4_port *port = thread->space->port;
    struct hmm_l4_thread **link = &port->faults;
    hmm_assert(hmm_l4_locked());
    while (*link != NULL && *link != thread)
        link = &(*link)->fault_next;
    if (*link == thread) {
        *link = thread->fault_next;
        if (port->faults_end == &thread->fault_next)
            port->faults_end = link;
    }
}

/* ---- What the dispatcher hears ---- */

/* Returns who waits for it. */
static uint32_t queue_fault(struct hmm_l4_port *port,
                            struct hmm_l4_thread *thread)
{
    if (thread->fault_state != L4_FAULT_QUEUED) {
        thread->fault_state = L4_FAULT_QUEUED;
        thread->fault_next = NULL;
        *port->faults_end = thread;
        port->faults_end = &thread->fault_next;
    }
    return hmm_l4_rouse_later(&port->faults);
}

/* Has the core lend what is needed, if it can at once, without the lock
 * meanwhile.  The port may be stopped then, and the thread gone: false.  (Its
 * place may even be another's: then the core looks at a fault of nobody.) */
static bool ask_core(struct hmm_l4_port *port, struct hmm_l4_thread *thread)
{
    uint64_t id = thread->fault.thread;
    if (port->fault_soft == NULL)
        return false;
    port->asking = true;
    hmm_l4_unlock();
    int error = port->fault_soft(port->client, &thread->fault);
    hmm_l4_lock();
    port->asking = false;
    return error == 0 && thread->id == id;
}

/* With the lock held.  Returns whom to wake. */
static uint32_t serve_fault(struct hmm_l4_thread *thread)
{
    struct hmm_l4_space *space = space_of(thread);
    uint32_t id = thread->id;
    if (space == NULL) {
        if (thread->space == NULL && hmm_l4_is_frame(thread->fault.address))
            reply(thread, l4_tag(0, 0, 0)); /* it was being split (large.c) */
        else
            fail(thread, EFAULT);
        return L4_NIL;
    }
    if (answer(thread, space))
        return L4_NIL;
    struct hmm_l4_port *port = space->port;
    if (!port->stopped && ask_core(port, thread) && answer(thread, space))
        return L4_NIL;
    if (thread->id != id)
        return L4_NIL; /* it has gone meanwhile */
    if (!port->stopped)
        return queue_fault(port, thread);
    fail(thread, EFAULT);
    return L4_NIL;
}

/* Returns whom to wake. */
static uint32_t hear_fault(struct hmm_l4_thread *thread, uint32_t tag)
{
    volatile uint32_t *mr = utcb();
    uint32_t address = mr[1];
    uint32_t instruction = mr[2];
    uint32_t woken = L4_NIL;
    hmm_l4_lock();
    if (thread->fault_state != L4_STOPPED) {
        thread->fault.address = address;
        thread->fault.instruction = instruction;
        thread->fault.access =
            l4_tag_label(tag) & L4_WRITE ? HURDMM_WRITE : HURDMM_READ;
        woken = serve_fault(thread);
    }
    hmm_l4_unlock();
    return woken;
}

static const char *const exception_names[] = {
    "EIP", "EFLAGS", "number", "error", "EDI", "ESI",
    "EBP", "ESP",    "EBX",    "EDX",   "ECX", "EAX"};

static void report_exception(const struct hmm_l4_thread *thread,
                             const uint32_t *registers)
{
    hmm_l4_printf("L4 PANIC: thread %x: exception\n", thread->id);
    for (unsigned i = 0; i < EXCEPTION_WORDS; i++)
        hmm_l4_printf("%s %08x%s", exception_names[i], registers[i],
                      i % 4 == 3 ? "\n" : "  ");
}

/* An own thread goes on at its pad, or is reported with its registers and gets
 * no answer; a task is over. */
static void hear_exception(struct hmm_l4_thread *thread, uint32_t tag)
{
    volatile uint32_t *mr = utcb();
    uint32_t registers[EXCEPTION_WORDS] = {0};
    uint32_t words = l4_tag_untyped(tag);
    for (uint32_t i = 0; i < words && i < EXCEPTION_WORDS; i++)
        registers[i] = mr[1 + i];
    hmm_l4_lock();
    thread->fault_state = L4_STOPPED;
    if (thread->task != NULL) {
        struct hurdmm_l4_status status = {.state = HURDMM_L4_FAILED,
                                          .value = registers[2],
                                          .address = registers[0],
                                          .instruction = registers[0]};
        hmm_l4_task_over(thread->task, &status);
    } else if (thread->pad != NULL && words == EXCEPTION_WORDS) {
        thread->pad->error = EFAULT;
        thread->fault_state = L4_NO_FAULT;
        for (uint32_t i = 0; i < EXCEPTION_WORDS; i++)
            mr[1 + i] = registers[i];
        mr[1] = (uint32_t)(uintptr_t)hmm_l4_landing;
        mr[8] = thread->pad->sp;
        reply(thread, l4_tag(0, EXCEPTION_WORDS, 0));
    } else {
        report_exception(thread, registers);
    }
    hmm_l4_unlock();
}

static void hear_exit(struct hmm_l4_thread *thread)
{
    struct hurdmm_l4_status status = {.state = HURDMM_L4_EXITED,
                                      .value = utcb()[1]};
    hmm_l4_lock();
    thread->fault_state = L4_STOPPED;
    hmm_l4_task_over(thread->task, &status);
    hmm_l4_unlock();
}

/* Sends a task's thread off: it waits for its pager, which we are. */
static void hear_start(void)
{
    volatile uint32_t *mr = utcb();
    uint32_t id = mr[1];
    uint32_t ip = mr[2];
    uint32_t sp = mr[3];
    mr[0] = l4_tag(0, 2, 0);
    mr[1] = ip;
    mr[2] = sp;
    hmm_l4_ipc(id, L4_NIL, L4_TIMEOUTS(L4_TIMEOUT_ZERO, L4_TIMEOUT_NEVER),
               NULL);
}

/* Returns whom to wake. */
static uint32_t hear(uint32_t sender, uint32_t tag)
{
    struct hmm_l4_thread *thread = hmm_l4_thread_by_sender(sender);
    uint32_t kind = l4_tag_label(tag) & L4_LABEL_KIND;
    if (thread == NULL || (tag & L4_TAG_ERROR) != 0)
        return L4_NIL;
    if (kind == L4_LABEL_PAGEFAULT && l4_tag_untyped(tag) == 2)
        return hear_fault(thread, tag);
    if (kind == L4_LABEL_EXCEPTION || kind == L4_LABEL_SYSTEM_EXCEPTION ||
        kind == L4_LABEL_IO_FAULT)
        hear_exception(thread, tag);
    else if (thread->task != NULL && l4_tag_label(tag) == L4_LABEL_EXIT)
        hear_exit(thread);
    else if (thread->task == NULL && l4_tag_label(tag) == L4_LABEL_ENDED)
        hmm_l4_thread_ended(thread);
    else if (thread->task == NULL && l4_tag_label(tag) == L4_LABEL_START)
        hear_start();
    return L4_NIL;
}

/* Wakes who is to serve a fault by the call that waits for the next message. */
static void dispatch(void *argument)
{
    uint32_t woken = L4_NIL;
    (void)argument;
    utcb()[L4_BR(0)] = 0;
    for (;;) {
        uint32_t sender;
        utcb()[0] = l4_tag(L4_LABEL_WAKE, 0, 0);
        uint32_t tag = hmm_l4_ipc(
            woken, L4_ANY, L4_TIMEOUTS(L4_TIMEOUT_NEVER, L4_TIMEOUT_NEVER),
            &sender);
        woken = hear(sender, tag);
    }
}

#define DISPATCHER_STACK 16384u

void hmm_l4_dispatcher_start(void)
{
    struct hmm_l4_thread *thread;
    if (hmm_l4_thread_start(NULL, DISPATCHER_STACK, dispatch, NULL, l4_my_id(),
                            &thread) != 0)
        hmm_l4_panic("no thread for the dispatcher");
    dispatcher = thread->id;
    utcb()[L4_TCR_PAGER] = dispatcher;
    utcb()[L4_TCR_EXCEPTION_HANDLER] = dispatcher;
}

/* ---- The port's functions ---- */

static size_t take(struct hmm_l4_port *port, struct hurdmm_fault *faults,
                   size_t max)
{
    size_t taken = 0;
    while (taken < max && port->faults != NULL) {
        struct hmm_l4_thread *thread = port->faults;
        port->faults = thread->fault_next;
        if (port->faults == NULL)
            port->faults_end = &port->faults;
        if (thread->fault_state != L4_FAULT_QUEUED)
            continue;
        thread->fault_state = L4_FAULT_TAKEN;
        faults[taken++] = thread->fault;
    }
    return taken;
}

int hmm_l4_fault_wait(struct hurdmm_port *base, struct hurdmm_fault *faults,
                      size_t max, uint64_t timeout_ns, size_t *count)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    uint64_t start = timeout_ns == HURDMM_FOREVER ? 0 : base->ops->clock(base);
    uint64_t left = timeout_ns;
    for (int error = 0;;) {
        hmm_l4_lock();
        size_t taken = port->stopped ? 0 : take(port, faults, max);
        if (port->stopped)
            error = ECANCELED;
        if (taken > 0 || error != 0) {
            hmm_l4_unlock();
            if (taken == 0)
                return error;
            *count = taken;
            return 0;
        }
        if (timeout_ns != HURDMM_FOREVER) {
            uint64_t passed = base->ops->clock(base) - start;
            left = passed < timeout_ns ? timeout_ns - passed : 0;
        }
        error = hmm_l4_sleep(&port->faults, left);
    }
}

void hmm_l4_fault_done(struct hurdmm_port *base,
                       const struct hurdmm_fault *fault, int error)
{
    struct hmm_l4_thread *thread = hmm_l4_thread_by_id(fault->thread);
    (void)base;
    hmm_l4_lock();
    if (thread != NULL && thread->fault_state == L4_FAULT_TAKEN)
        hmm_l4_fault_end(thread, error);
    hmm_l4_unlock();
}

void hmm_l4_fault_quiet(const struct hmm_l4_port *port)
{
    while (port->asking) {
        hmm_l4_unlock();
        hmm_l4_switch(L4_NIL);
        hmm_l4_lock();
    }
}

void hmm_l4_fault_stop(struct hurdmm_port *base)
{
    struct hmm_l4_port *port = hmm_l4_from(base);
    struct hurdmm_fault fault;
    hmm_l4_lock();
    port->stopped = true;
    hmm_l4_fault_quiet(port);
    while (take(port, &fault, 1) > 0)
        fail(hmm_l4_thread_by_id(fault.thread), EFAULT);
    hmm_l4_rouse(&port->faults, UINT32_MAX);
}
