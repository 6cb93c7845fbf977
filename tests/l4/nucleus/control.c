/* SPDX-License-Identifier: MIT */
/* The system calls but Ipc.  Each checks all and then acts, so that an error
 * changes nothing; registers that return nothing are overwritten, so that
 * nobody relies on them. */
#include "nucleus.h"

static void spoil(struct frame *frame)
{
    frame->ecx = 0xdead0002;
    frame->edx = 0xdead0003;
    frame->esi = 0xdead0004;
    frame->edi = 0xdead0005;
    frame->ebx = 0xdead0006;
    frame->ebp = 0xdead0007;
}

static void refuse(struct frame *frame, uint32_t error)
{
    current->mr[TCR_ERROR] = error;
    frame->eax = 0;
}

static uint32_t global_of(uint32_t id)
{
    struct thread *local;
    if ((id & 0x3f) != 0 || id == NIL)
        return id;
    local = thread_local(current->space, id);
    if (local == NULL)
        strict("uses %x, which is no local identifier", id);
    return local == NULL ? NIL : local->id;
}

/* ---- ThreadControl ---------------------------------------------------------- */

struct thread_request {
    uint32_t id, space, scheduler, pager, utcb;
};

static bool utcb_fits(const struct space *space, uint32_t utcb)
{
    return space->ready && (utcb & 511) == 0 && utcb >= space->utcb &&
           utcb - space->utcb <= (UINT32_C(1) << space->utcb_log2) - 512;
}

/* From here on it can receive its first message. */
static void activate(struct thread *thread, uint32_t pager)
{
    if (thread_local(thread->space, thread->local) != NULL)
        strict("gives thread %x the UTCB of another, %x", thread->id,
               thread->local);
    thread->mr = space_utcb(thread->space, thread->local);
    memset((void *)(thread->mr - 64), 0, 512);
    thread->mr[TCR_ID] = thread->id;
    thread->mr[TCR_PAGER] = pager;
    thread->purpose = STARTUP;
    thread->from = pager;
    thread->state = WAITING;
    thread->deadline = 0;
}

static uint32_t delete_thread(uint32_t id)
{
    struct thread *thread = thread_by_number(id >> 14);
    if (thread == current)
        return BAD_THREAD;
    if (thread == NULL) {
        strict("deletes %x, which is no thread", id);
        return 0;
    }
    struct space *space = thread->space;
    ipc_forget(thread);
    thread_free(thread);
    if (--space->threads == 0)
        space_free(space);
    return 0;
}

static uint32_t create_thread(const struct thread_request *request)
{
    struct thread *other = thread_find(request->space);
    struct space *space = other != NULL ? other->space : NULL;
    if (request->scheduler == NIL)
        return BAD_THREAD;
    if (request->id != request->space && other == NULL)
        return BAD_SPACE;
    if (request->pager != NIL) {
        if (request->id == request->space || !space->ready)
            return BAD_SPACE;
        if (request->utcb == ANY || !utcb_fits(space, request->utcb))
            return BAD_UTCB_AREA;
    }
    struct thread *thread = thread_new(request->id);
    thread->scheduler = request->scheduler;
    thread->space = request->id == request->space ? space_new() : space;
    thread->space->threads++;
    if (request->utcb != ANY)
        thread->local = request->utcb + 256;
    if (request->pager != NIL)
        activate(thread, request->pager);
    return 0;
}

static void change_space(struct thread *thread, struct space *space)
{
    space->threads++;
    if (--thread->space->threads == 0)
        space_free(thread->space);
    thread->space = space;
}

static uint32_t change_thread(struct thread *thread,
                              const struct thread_request *request)
{
    struct thread *other = thread_find(request->space);
    uint32_t local = thread->local;
    if (other == NULL && request->space != thread->id)
        return BAD_SPACE;
    struct space *space = other != NULL ? other->space : thread->space;
    if (space != thread->space && thread->mr != NULL) {
        strict("moves the active thread %x: not in this nucleus", thread->id);
        return BAD_SPACE;
    }
    if (request->utcb != ANY) {
        if (thread->mr != NULL || !utcb_fits(space, request->utcb))
            return BAD_UTCB_AREA;
        local = request->utcb + 256;
    }
    if (thread->mr == NULL && request->pager != NIL &&
        (local == 0 || !utcb_fits(space, local - 256)))
        return BAD_UTCB_AREA;
    if (space != thread->space)
        change_space(thread, space);
    thread->local = local;
    if (request->pager != NIL && thread->mr == NULL)
        activate(thread, request->pager);
    else if (request->pager != NIL)
        thread->mr[TCR_PAGER] = request->pager;
    if (request->scheduler != NIL)
        thread->scheduler = request->scheduler;
    thread->id = request->id;
    if (thread->mr != NULL)
        thread->mr[TCR_ID] = request->id;
    return 0;
}

static uint32_t thread_control(const struct thread_request *request)
{
    uint32_t number = request->id >> 14;
    if (!is_privileged(current->space))
        return NO_PRIVILEGE;
    if ((request->id & 0x3f) == 0)
        return BAD_SPACE;
    if (number < SYSTEM_BASE)
        return ipc_attach(number, request->pager) ? 0 : BAD_THREAD;
    if (number < USER_BASE)
        return BAD_THREAD;
    if (number < USER_BASE + 2) {
        strict("means sigma0 or sigma1, %x, by ThreadControl", request->id);
        return BAD_THREAD;
    }
    if (request->space == NIL)
        return delete_thread(request->id);
    struct thread *thread = thread_by_number(number);
    return thread == NULL ? create_thread(request)
                          : change_thread(thread, request);
}

void call_thread_control(struct frame *frame)
{
    struct thread_request request = {
        .id = frame->eax,
        .space = global_of(frame->esi),
        .scheduler = global_of(frame->edx),
        .pager = global_of(frame->ecx),
        .utcb = frame->edi,
    };
    uint32_t error = thread_control(&request);
    spoil(frame);
    frame->eax = 1;
    if (error != 0)
        refuse(frame, error);
}

/* ---- SpaceControl ----------------------------------------------------------- */

static bool inside_user(uint32_t fpage)
{
    unsigned log2 = fpage_log2(fpage);
    uint32_t base = fpage & ~0x3ffu;
    return log2 < 32 && base < USER_END &&
           (UINT32_C(1) << log2) <= USER_END - base;
}

static uint32_t space_control(const struct frame *frame)
{
    struct thread *thread = thread_find(frame->eax);
    uint32_t kip_area = frame->edx, utcb = frame->esi;
    if (!is_privileged(current->space))
        return NO_PRIVILEGE;
    if (thread == NULL)
        return BAD_SPACE;
    if (frame->ecx != 0)
        strict("SpaceControl with control %x: ia32 has none", frame->ecx);
    if (frame->edi != NIL && frame->edi != ANY)
        strict("SpaceControl with the redirector %x: Pistachio has none",
               frame->edi);
    if (thread->space->ready)
        return 0;
    if (fpage_log2(utcb) < PAGE_LOG2 || !inside_user(utcb))
        return BAD_UTCB_AREA;
    fpage_judge(utcb, "UTCB area");
    fpage_judge(kip_area, "KIP area");
    uint32_t kip_at = kip_area & ~0x3ffu, utcb_at = utcb & ~0x3ffu;
    uint32_t size = UINT32_C(1) << fpage_log2(utcb);
    if (fpage_log2(kip_area) < PAGE_LOG2 || !inside_user(kip_area) ||
        (kip_at < utcb_at + size && utcb_at < kip_at + PAGE))
        return BAD_KIP_AREA;
    space_areas(thread->space, kip_at, utcb_at, fpage_log2(utcb));
    return 0;
}

void call_space_control(struct frame *frame)
{
    uint32_t error = space_control(frame);
    spoil(frame);
    frame->eax = 1;
    frame->ecx = 0;
    if (error != 0)
        refuse(frame, error);
}

/* ---- ExchangeRegisters ------------------------------------------------------ */

#define EX_HALT 0x001u
#define EX_STOP_RECEIVE 0x002u
#define EX_STOP_SEND 0x004u
#define EX_SP 0x008u
#define EX_IP 0x010u
#define EX_FLAGS 0x020u
#define EX_HANDLE 0x040u
#define EX_PAGER 0x080u
#define EX_MEANS_HALT 0x100u

static struct thread *exchange_target(uint32_t id)
{
    struct thread *thread = thread_find(id), *pager;
    if (thread == NULL || thread->mr == NULL)
        return NULL;
    pager = thread_find(thread_pager(thread));
    if (thread->space != current->space &&
        (pager == NULL || pager->space != current->space))
        return NULL;
    return thread;
}

static void set_registers(struct thread *thread, const struct frame *in)
{
    uint32_t control = in->ecx;
    if (control & EX_SP)
        thread->frame.esp = in->edx;
    if (control & EX_IP)
        thread->frame.eip = in->esi;
    if (control & EX_FLAGS)
        thread->frame.eflags =
            (thread->frame.eflags & ~0x8d5u) | (in->edi & 0x8d5u);
    if (control & EX_HANDLE)
        thread->mr[TCR_HANDLE] = in->ebx;
    if (control & EX_PAGER)
        thread->mr[TCR_PAGER] = global_of(in->ebp);
}

static void set_running(struct thread *thread, uint32_t control)
{
    if (!(control & EX_MEANS_HALT))
        return;
    if (!(control & EX_HALT)) {
        thread->halted = false;
        if (thread->state == HALTED)
            thread_ready(thread);
    } else if (thread->state == READY) {
        thread_block(thread, HALTED);
    } else if (thread->state != HALTED) {
        strict("halts thread %x, which is in an Ipc: Pistachio cannot",
               thread->id);
        thread->halted = true;
    }
}

void call_exchange_registers(struct frame *frame)
{
    struct frame in = *frame;
    bool was_local = (in.eax & 0x3f) == 0;
    struct thread *thread = exchange_target(global_of(in.eax));
    uint32_t state = 0;
    spoil(frame);
    if (in.ecx & ~0x1ffu)
        strict("ExchangeRegisters with control %x: reserved bits", in.ecx);
    if (thread == NULL) {
        frame->ecx = frame->edx = frame->esi = 0;
        refuse(frame, BAD_THREAD);
        return;
    }
    struct frame old = thread == current ? in : thread->frame;
    uint32_t handle = thread->mr[TCR_HANDLE], pager = thread->mr[TCR_PAGER];
    set_registers(thread, &in);
    if (thread->state == SENDING)
        state = EX_STOP_SEND;
    else if (thread->state == WAITING)
        state = EX_STOP_RECEIVE;
    else if (thread->state == HALTED)
        state = EX_HALT;
    if (state & in.ecx & (EX_STOP_SEND | EX_STOP_RECEIVE))
        ipc_cancel(thread, IPC_CANCELED);
    set_running(thread, in.ecx);
    frame->eax = was_local ? thread->id : thread->local;
    frame->ecx = state;
    frame->edx = old.esp;
    frame->esi = old.eip;
    frame->edi = old.eflags;
    frame->ebx = handle;
    frame->ebp = pager;
}

/* ---- Schedule, ThreadSwitch, Unmap, MemoryControl ---------------------------- */

static uint32_t schedule(const struct thread *thread, uint32_t priority,
                         uint32_t time)
{
    const struct thread *scheduler;
    if (thread == NULL)
        return BAD_THREAD;
    scheduler = thread_find(thread->scheduler);
    if (scheduler == NULL || scheduler->space != current->space)
        return NO_PRIVILEGE;
    if (priority != ANY && (priority & 0x1ff) > current->priority &&
        !is_privileged(current->space))
        return NO_PRIVILEGE;
    if (priority != ANY && priority > 255)
        strict("Schedule with priority %x", priority);
    if (time != ANY && (time & 0x80008000u))
        return BAD_THREAD;
    return 0;
}

void call_schedule(struct frame *frame)
{
    static const uint32_t answers[] = {1, 3, 2, 4, 6};
    struct thread *thread = thread_find(global_of(frame->eax));
    uint32_t priority = frame->ecx;
    uint32_t error = schedule(thread, priority, frame->edx);
    if (frame->esi != ANY && frame->esi != 0)
        strict("Schedule to processor %u: there is one", frame->esi);
    spoil(frame);
    frame->edx = 0;
    if (error != 0) {
        refuse(frame, error);
        return;
    }
    frame->eax = answers[thread->state];
    if (priority != ANY)
        thread_set_priority(thread, priority & 0xff);
}

void call_thread_switch(struct frame *frame)
{
    uint32_t id = global_of(frame->eax);
    struct thread *to = thread_find(id);
    if (id != NIL && to == NULL)
        strict("switches to %x, which is no thread", id);
    spoil(frame);
    thread_yield(current);
    if (to != NULL && to->state == READY)
        thread_prefer(to);
}

static void judge_utcb(const struct frame *frame, const char *call)
{
    if (frame->edi != current->local)
        strict("%s with %x for its UTCB, which is at %x", call, frame->edi,
               current->local);
}

void call_unmap(struct frame *frame)
{
    uint32_t control = frame->eax, local = frame->edi;
    bool flush = control & 0x40;
    judge_utcb(frame, "Unmap");
    if (control & ~0x7fu)
        strict("Unmap with control %x: reserved bits", control);
    current->mr[0] = frame->esi;
    for (unsigned i = 0; i <= (control & 0x3f); i++) {
        uint32_t fpage = current->mr[i];
        if (fpage_is_io(fpage)) {
            io_unmap(current->space, fpage, flush);
            continue;
        }
        fpage_judge(fpage, "Unmap");
        current->mr[i] = tree_unmap(current->space, fpage, flush);
    }
    spoil(frame);
    frame->eax = 0xdead0008;
    frame->esi = current->mr[0];
    frame->edi = local;
}

void call_memory_control(struct frame *frame)
{
    uint32_t control = frame->eax, local = frame->edi, error = 0;
    const uint32_t attributes[] = {frame->ecx, frame->edx, frame->ebx,
                                   frame->ebp};
    judge_utcb(frame, "MemoryControl");
    current->mr[0] = frame->esi;
    if (!is_privileged(current->space))
        error = NO_PRIVILEGE;
    else if (control > 63)
        error = BAD_PARAMETER;
    for (unsigned i = 0; error == 0 && i <= control; i++) {
        uint32_t attribute = attributes[current->mr[i] & 3];
        uint32_t value = attribute > 0 ? attribute - 1 : 0;
        if (value > 7 || value == 5 || value == 6)
            error = BAD_PARAMETER; /* else: no cache is emulated */
    }
    spoil(frame);
    frame->edi = local;
    frame->eax = 1;
    if (error != 0)
        refuse(frame, error);
}
