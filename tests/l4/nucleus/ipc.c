/* SPDX-License-Identifier: MIT */
/* Messages between threads, and from the nucleus in their name.
 *
 *            +--- sent ---> receive phase ---> READY (answered, or no wait)
 *   READY -> send phase                   \--> WAITING -> READY (deliver)
 *            +--- blocked -> SENDING -> (receiver comes) -> receive phase
 *
 * A wait ends by deliver(), or by fail() with an error code.  A sender that was
 * waited for goes on to its receive phase from `pending', not by recursion.
 *
 * Invariants (ipc_check): exactly the SENDING threads are in the queue of the
 * thread that they send to; a WAITING thread with a deadline in the past is
 * woken at the next tick.
 */
#include "nucleus.h"

struct line lines[16];

static struct thread *pending;
static unsigned arrivals;

static uint32_t irq_id(unsigned irq)
{
    return irq << 14 | 1;
}

static volatile uint32_t *words_of(struct thread *thread)
{
    return thread->purpose == OWN ? thread->mr : thread->message;
}

/* ---- Timeouts --------------------------------------------------------------- */

#define ZERO_TIME 0x400u

static bool is_zero(uint32_t time)
{
    return time != 0 && !(time & 0x8000) && (time & 0x3ff) == 0;
}

static void set_deadline(struct thread *thread, uint32_t time)
{
    uint64_t length = (uint64_t)(time & 0x3ff) << (time >> 10 & 0x1f);
    thread->deadline = 0;
    if (time == 0)
        return;
    if (time & 0x8000)
        strict("a point in time as a timeout: Pistachio has it not");
    thread->deadline = tick_us + length + 1;
    if (thread->purpose == OWN && chance(options.timeout))
        thread->deadline += random_below(20) * 1953;
}

/* ---- The end of a wait ------------------------------------------------------ */

static void unqueue(struct thread *sender)
{
    struct thread *receiver = thread_find(sender->to);
    struct thread **link = receiver != NULL ? &receiver->senders : NULL;
    while (link != NULL && *link != NULL && *link != sender)
        link = &(*link)->next_sender;
    if (link != NULL && *link == sender)
        *link = sender->next_sender;
    sender->next_sender = NULL;
}

static void results(struct thread *thread, uint32_t from)
{
    thread->frame.eax = from;
    thread->frame.esi = thread->mr[0];
    thread->frame.ebx = thread->mr[1];
    thread->frame.ebp = thread->mr[2];
    thread->frame.ecx = thread->frame.edx = 0xdead0001;
    thread_ready(thread);
}

static void halt_for(struct thread *thread, uint32_t code)
{
    static const char *const what[] = {"", "page fault", "I/O fault",
                                       "exception", "start"};
    struct thread *before = blamed;
    blamed = thread;
    strict("its %s at ip %x (%x) found no pager or handler %x, code %u",
           what[thread->purpose], thread->frame.eip, thread->message[1],
           thread->to, code);
    blamed = before;
    print("nucleus: thread %x halted: %s at ip %x (%x), nobody answers\n",
          thread->id, what[thread->purpose], thread->frame.eip,
          thread->message[1]);
    thread_block(thread, HALTED);
}

/* Ends a wait by an error: what the caller sees is an error tag. */
static void fail(struct thread *thread, bool receiving, uint32_t code)
{
    bool blocked = thread->state == SENDING || thread->state == WAITING;
    if (thread->state == SENDING)
        unqueue(thread);
    if (thread->purpose != OWN) {
        if (code == IPC_CANCELED || thread->purpose == STARTUP)
            thread_ready(thread); /* faults again, or begins */
        else
            halt_for(thread, code);
        return;
    }
    thread->mr[0] = TAG_ERROR | (blocked ? thread->mr[0] : 0);
    thread->mr[TCR_ERROR] = code << 1 | receiving;
    results(thread, NIL);
}

static void load_registers(struct thread *thread)
{
    const uint32_t *words = thread->message;
    struct frame *frame = &thread->frame;
    if ((words[0] & 0x3f) != 12) {
        strict("an exception is answered by %u words, not 12", words[0] & 0x3f);
        return;
    }
    frame->eip = words[1];
    frame->eflags = (frame->eflags & ~0x8d5u) | (words[2] & 0x8d5u);
    frame->edi = words[5];
    frame->esi = words[6];
    frame->ebp = words[7];
    frame->esp = words[8];
    frame->ebx = words[9];
    frame->edx = words[10];
    frame->ecx = words[11];
    frame->eax = words[12];
}

static void finish_receive(struct thread *thread, uint32_t from)
{
    switch (thread->purpose) {
    case OWN:
        results(thread, from);
        return;
    case EXCEPTION:
        load_registers(thread);
        break;
    case STARTUP:
        if ((thread->message[0] & 0x3f) == 2) {
            thread->frame.eip = thread->message[1];
            thread->frame.esp = thread->message[2];
        }
        break;
    default:
        break;
    }
    thread_ready(thread);
}

/* ---- Transfer --------------------------------------------------------------- */

static uint32_t window_of(struct thread *thread, bool io)
{
    uint32_t window = thread->purpose == OWN ? thread->mr[BR0] & ~0xfu : 0x10;
    if (thread->purpose == STARTUP)
        return 0;
    if (window == 0x10)
        return window;
    return fpage_is_io(window) == io ? window : 0;
}

/* One map or grant item; false if it overflows. */
static bool move_item(struct thread *from, struct thread *to, uint32_t item,
                      uint32_t fpage)
{
    bool io = fpage_is_io(fpage), grant = (item & 0xe) == 0xa;
    uint32_t window = window_of(to, io);
    if (window == 0)
        return false;
    if (io)
        io_map(from->space, fpage, to->space);
    else if (to->purpose == PAGE_FAULT && chance(options.less))
        return true;
    else
        tree_map(from->space, fpage, to->space, window, item & ~0x3ffu, grant);
    return true;
}

static void judge_item(const struct thread *from, uint32_t item, uint32_t fpage)
{
    if (!fpage_is_io(fpage))
        fpage_judge(fpage, "map item");
    if (from->space == &spaces[0] && !fpage_is_io(fpage) && fpage != 0 &&
        node_find(from->space, fpage & ~0xfffu) == NULL &&
        fpage_log2(fpage) == PAGE_LOG2)
        strict("maps %x, where it has no page", fpage);
    if (item & 0x3f0)
        strict("map item %x has reserved bits set", item);
}

static bool transfer(struct thread *from, struct thread *to)
{
    volatile uint32_t *source = words_of(from), *target = words_of(to);
    uint32_t tag = source[0] & ~0xe000u;
    unsigned untyped = tag & 0x3f, all = untyped + (tag >> 6 & 0x3f);
    bool good = all < 64;
    struct thread *before = blamed;
    blamed = from;
    for (unsigned i = 1; i <= untyped; i++)
        target[i] = source[i];
    for (unsigned i = untyped + 1; good && i <= all; i += 2) {
        uint32_t item = source[i], fpage = source[i + 1];
        good = i + 1 <= all && ((item & 0xe) == 8 || (item & 0xe) == 0xa);
        if (!good) {
            strict("typed item %x, word %u of %u, is none to map or grant",
                   item, i, all);
            break;
        }
        judge_item(from, item, fpage);
        target[i] = item;
        target[i + 1] = fpage;
        good = move_item(from, to, item, fpage);
    }
    blamed = before;
    target[0] = good ? tag : tag | TAG_ERROR;
    return good;
}

/* ---- Who may send to whom --------------------------------------------------- */

/* In whose name a thread sends. */
static struct thread *sender_of(struct thread *thread, const struct thread *to)
{
    struct thread *virtual;
    if (thread->purpose != OWN || !(thread->mr[0] & 0x1000))
        return thread;
    uint32_t id = thread->mr[TCR_VIRTUAL_SENDER];
    virtual = (id & 0x3f) == 0 ? thread_local(thread->space, id)
                               : thread_find(id);
    if (virtual != NULL &&
        (virtual->space == thread->space || thread->space == to->space))
        return virtual;
    struct thread *before = blamed;
    blamed = thread;
    strict("propagates for %x, which it may not", id);
    blamed = before;
    thread->mr[0] &= ~0x1000u;
    return thread;
}

static bool accepts(const struct thread *receiver, struct thread *sender)
{
    uint32_t from = receiver->from;
    if (receiver->state != WAITING)
        return false;
    return from == ANY || from == sender->id ||
           from == sender_of(sender, receiver)->id ||
           (from == ANY_LOCAL && sender->space == receiver->space);
}

/* The message of `from' ends the wait of `to'. */
static bool deliver(struct thread *from, struct thread *to)
{
    struct thread *name = sender_of(from, to);
    if (!transfer(from, to)) {
        from->mr[TCR_ERROR] = IPC_OVERFLOW << 1;
        from->mr[0] = words_of(to)[0];
        if (to->purpose == OWN)
            to->mr[TCR_ERROR] = IPC_OVERFLOW << 1 | 1;
        finish_receive(to, id_for(name, to));
        if (from->purpose == OWN)
            results(from, from->to);
        return false;
    }
    if (name != from) {
        if (to->purpose == OWN)
            to->mr[TCR_VIRTUAL_SENDER] = from->id;
        if (name->state == WAITING && name->from == from->id)
            name->from = to->id;
    }
    finish_receive(to, id_for(name, to));
    thread_prefer(to);
    return true;
}

/* ---- Interrupts ------------------------------------------------------------- */

static void hand_over(unsigned irq, struct thread *handler)
{
    lines[irq].state = LINE_TAKEN;
    handler->mr[0] = 0xfff00000;
    finish_receive(handler, irq_id(irq));
    thread_prefer(handler);
}

static void tell(unsigned irq)
{
    struct line *line = &lines[irq];
    struct thread *handler = thread_find(line->handler);
    line->order = ++arrivals;
    if (handler == NULL) {
        print("nucleus: the handler %x of IRQ %u is gone\n", line->handler,
              irq);
        line->state = LINE_FREE;
        return;
    }
    line->state = LINE_PENDING;
    if (handler->state == WAITING && handler->purpose == OWN &&
        (handler->from == ANY || handler->from == irq_id(irq)))
        hand_over(irq, handler);
}

/* The line is masked until it is acknowledged. */
void ipc_raise(unsigned irq)
{
    struct line *line = &lines[irq];
    irq_mask(irq, true);
    if (line->state != LINE_OPEN) {
        line->again = line->state != LINE_FREE;
        return;
    }
    line->late = options.late ? random_below(options.late + 1) : 0;
    if (line->late == 0)
        tell(irq);
    else
        line->state = LINE_PENDING;
}

void ipc_tick(void)
{
    for (unsigned irq = 0; irq < 16; irq++) {
        struct line *line = &lines[irq];
        if (line->late > 0 && --line->late == 0 && line->state == LINE_PENDING)
            tell(irq);
        else if (line->state == LINE_OPEN && chance(options.spurious))
            ipc_raise(irq);
    }
}

bool ipc_attach(unsigned irq, uint32_t handler)
{
    struct line *line = &lines[irq];
    if (irq == 2 || irq == 8 || (irq == 0 && options.step))
        return false;
    if (handler == irq_id(irq)) {
        line->state = LINE_FREE;
        line->handler = handler;
        irq_mask(irq, true);
        return true;
    }
    if (thread_find(handler) == NULL)
        return false;
    if (line->state != LINE_FREE && line->handler == handler)
        return true;
    *line = (struct line){LINE_OPEN, handler, 0, false, 0};
    irq_mask(irq, false);
    return true;
}

static void acknowledge(struct thread *thread, unsigned irq)
{
    struct line *line = &lines[irq];
    if (line->state != LINE_TAKEN || line->handler != thread->id) {
        strict("acknowledges IRQ %u, which it was not given", irq);
        return;
    }
    line->state = LINE_OPEN;
    if (line->again) {
        line->again = false;
        ipc_raise(irq);
    } else {
        irq_mask(irq, false);
    }
}

/* The oldest interrupt that waits for this thread, or -1. */
static int waiting_line(const struct thread *thread)
{
    int found = -1;
    for (unsigned irq = 0; irq < 16; irq++)
        if (lines[irq].state == LINE_PENDING && lines[irq].late == 0 &&
            lines[irq].handler == thread->id &&
            (thread->from == ANY || thread->from == irq_id(irq)) &&
            (found < 0 || lines[irq].order < lines[found].order))
            found = (int)irq;
    return found;
}

/* ---- The phases ------------------------------------------------------------- */

static void judge_message(const struct thread *thread)
{
    uint32_t tag = thread->mr[0];
    unsigned all = (tag & 0x3f) + (tag >> 6 & 0x3f);
    if (tag & 0xe000)
        strict("sends a tag with reserved flags: %x", tag);
    if (all > 63)
        strict("sends %u message registers: there are 63", all);
}

static void block_sending(struct thread *thread, struct thread *to)
{
    struct thread **link = &to->senders;
    uint32_t time = thread->timeouts >> 16;
    if (is_zero(time)) {
        fail(thread, false, IPC_TIMEOUT);
        return;
    }
    while (*link != NULL)
        link = &(*link)->next_sender;
    *link = thread;
    thread->next_sender = NULL;
    thread_block(thread, SENDING);
    set_deadline(thread, time);
}

/* True when the message is sent. */
static bool send_phase(struct thread *thread)
{
    struct thread *to;
    if (thread->purpose == OWN)
        judge_message(thread);
    if (thread->to == SIGMA0) {
        sigma0_request(thread, words_of(thread)[0], words_of(thread));
        return true;
    }
    if (thread->to >> 14 < SYSTEM_BASE && (thread->to & 0x3fff) == 1) {
        acknowledge(thread, thread->to >> 14);
        return true;
    }
    to = thread_find(thread->to);
    if (to == NULL) {
        if (!thread_existed(thread->to >> 14))
            strict("sends to %x, which never was a thread", thread->to);
        fail(thread, false, IPC_NOBODY);
        return false;
    }
    if (accepts(to, thread))
        return deliver(thread, to);
    block_sending(thread, to);
    return false;
}

static struct thread *find_sender(struct thread *thread)
{
    struct thread *sender = thread->senders;
    enum state state = thread->state;
    thread->state = WAITING; /* for accepts() */
    while (sender != NULL && !accepts(thread, sender))
        sender = sender->next_sender;
    thread->state = state;
    return sender;
}

static void take_reply(struct thread *thread)
{
    volatile uint32_t *words = words_of(thread);
    uint32_t fpage = thread->reply[2];
    uint32_t window = window_of(thread, fpage_is_io(fpage));
    thread->reply_ready = false;
    for (unsigned i = 0; i < 3; i++)
        words[i] = thread->reply[i];
    if (window == 0) {
        strict("asks sigma0 without a receive window");
        words[0] |= TAG_ERROR;
        thread->mr[TCR_ERROR] = IPC_OVERFLOW << 1 | 1;
    } else if (fpage_is_io(fpage)) {
        io_give(fpage, thread->space);
    } else {
        tree_give(fpage, thread->space, window, thread->reply[1] & ~0x3ffu);
    }
    finish_receive(thread, SIGMA0);
}

/* Whether the wait can ever end. */
static bool can_come(const struct thread *thread)
{
    uint32_t from = thread->from;
    if (from == SIGMA0)
        strict("waits for sigma0, which has nothing to say");
    return from == ANY || from == ANY_LOCAL || from == SIGMA0 ||
           (from >> 14 < SYSTEM_BASE && (from & 0x3fff) == 1) ||
           thread_find(from) != NULL;
}

static void wait_or_fail(struct thread *thread)
{
    uint32_t time = thread->timeouts & 0xffff;
    if (!can_come(thread))
        fail(thread, true, IPC_NOBODY);
    else if (is_zero(time))
        fail(thread, true, IPC_TIMEOUT);
    else if (thread->purpose == OWN && chance(options.cancel))
        fail(thread, true, IPC_CANCELED);
    else {
        thread_block(thread, WAITING);
        set_deadline(thread, time);
    }
}

static void receive_phase(struct thread *thread)
{
    struct thread *sender;
    int irq;
    if (thread->from == NIL) {
        if (thread->reply_ready)
            strict("does not wait for the answer of sigma0");
        results(thread, NIL);
    } else if (thread->reply_ready &&
               (thread->from == SIGMA0 || thread->from == ANY)) {
        take_reply(thread);
    } else if (thread->purpose == OWN && (irq = waiting_line(thread)) >= 0) {
        hand_over((unsigned)irq, thread);
    } else if ((sender = find_sender(thread)) != NULL) {
        unqueue(sender);
        if (deliver(sender, thread)) {
            sender->next_sender = pending;
            pending = sender;
        }
    } else {
        wait_or_fail(thread);
    }
}

static void begin(struct thread *thread)
{
    thread->reply_ready = false;
    blamed = thread;
    if (thread->to == NIL || send_phase(thread))
        receive_phase(thread);
    while (pending != NULL) {
        struct thread *next = pending;
        pending = next->next_sender;
        next->next_sender = NULL;
        next->deadline = 0;
        blamed = next;
        receive_phase(next);
    }
    blamed = NULL;
}

/* A thread of this space by local identifier becomes a global one. */
static uint32_t global_of(struct thread *thread, uint32_t id)
{
    struct thread *local;
    if ((id & 0x3f) != 0 || id == NIL || id == ANY_LOCAL)
        return id;
    local = thread_local(thread->space, id);
    if (local == NULL)
        strict("uses %x, which is no local identifier", id);
    return local == NULL ? UINT32_C(0x3fffd) << 14 | 1 : local->id;
}

void ipc_call(struct thread *thread)
{
    struct frame *frame = &thread->frame;
    frame->eip = frame->ebx;
    thread->mr[0] = frame->esi;
    if (frame->edi != thread->local)
        strict("Ipc with %x for its UTCB, which is at %x", frame->edi,
               thread->local);
    thread->purpose = OWN;
    thread->to = global_of(thread, frame->eax);
    thread->from = global_of(thread, frame->edx);
    thread->timeouts = frame->ecx;
    begin(thread);
}

void ipc_send(struct thread *thread, enum purpose purpose, uint32_t to)
{
    thread->purpose = purpose;
    thread->to = thread->from = to;
    thread->timeouts = 0;
    if (to == NIL)
        halt_for(thread, IPC_NOBODY);
    else
        begin(thread);
}

/* ---- Ends from outside ------------------------------------------------------ */

void ipc_expire(void)
{
    for (unsigned i = 0; i < thread_count; i++) {
        struct thread *thread = all_threads[i];
        if ((thread->state == WAITING || thread->state == SENDING) &&
            thread->deadline != 0 && thread->deadline <= tick_us)
            fail(thread, thread->state == WAITING, IPC_TIMEOUT);
    }
}

void ipc_cancel(struct thread *thread, uint32_t reason)
{
    fail(thread, thread->state == WAITING, reason);
}

/* The thread is about to be no more.  Who waits for it goes on waiting. */
void ipc_forget(struct thread *thread)
{
    if (thread->state == SENDING)
        unqueue(thread);
    thread_block(thread, INACTIVE); /* it may wait for itself */
    while (thread->senders != NULL) {
        if (thread->senders->purpose == OWN)
            strict("deletes %x, to which %x sends: Pistachio leaves that one "
                   "stuck, or crashes at its timeout",
                   thread->id, thread->senders->id);
        fail(thread->senders, false, IPC_NOBODY);
    }
    for (unsigned irq = 0; irq < 16; irq++)
        if (lines[irq].state != LINE_FREE && lines[irq].handler == thread->id) {
            strict("deletes %x, the handler of IRQ %u: Pistachio stands still",
                   thread->id, irq);
            lines[irq].state = LINE_FREE;
            irq_mask(irq, true);
        }
}

static void check_line(unsigned irq)
{
    const struct line *line = &lines[irq];
    bool masked = in8(irq < 8 ? 0x21 : 0xa1) >> (irq % 8) & 1;
    if (irq == 2 || irq == 8 || line->state == LINE_FREE)
        return;
    if (masked == (line->state == LINE_OPEN))
        stop("check: IRQ %u, state %u, and its mask", irq, line->state);
    if (thread_find(line->handler) == NULL)
        stop("check: the handler %x of IRQ %u", line->handler, irq);
}

void ipc_check(void)
{
    unsigned sending = 0, queued = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        const struct thread *thread = all_threads[i];
        bool waits = thread->state == SENDING || thread->state == WAITING;
        sending += thread->state == SENDING;
        if (thread->deadline != 0 && !waits)
            stop("check: %x has a deadline and does not wait", thread->id);
        if (thread->state == WAITING && thread->purpose == OWN &&
            thread->from == NIL)
            stop("check: %x waits for nobody", thread->id);
        for (const struct thread *sender = thread->senders; sender != NULL;
             sender = sender->next_sender) {
            if (++queued > thread_count)
                stop("check: the senders to %x are a ring", thread->id);
            if (sender->state != SENDING || sender->to != thread->id)
                stop("check: %x is queued at %x", sender->id, thread->id);
            if (accepts(thread, (struct thread *)sender))
                stop("check: %x waits for %x, which sends to it", thread->id,
                     sender->id);
        }
    }
    if (sending != queued || pending != NULL || blamed != NULL)
        stop("check: %u threads send, %u are queued", sending, queued);
    for (unsigned irq = 0; irq < 16; irq++)
        if (lines[irq].state != LINE_FREE)
            check_line(irq);
}
