/* SPDX-License-Identifier: MIT */
/* Sigma0, which owns all memory that the nucleus left over, and gives it away
 * page by page, each to one thread.  It answers while it is asked; an answer
 * that the asker does not wait for is lost. */
#include "nucleus.h"

#define KIND_CONVENTIONAL 1u
#define KIND_RESERVED 2u
#define KIND_SHARED 4u
#define NOBODY 0u

static uint32_t *owners; /* of each frame of RAM */
static uint8_t *kinds;
static uint32_t frames;

void sigma0_init(uint32_t memory)
{
    frames = memory / PAGE;
    owners = page_run((frames * 4 + PAGE - 1) / PAGE);
    kinds = page_run((frames + PAGE - 1) / PAGE);
    for (uint32_t i = 0; i < frames; i++)
        kinds[i] = (uint8_t)kip_kind(i * PAGE);
}

void sigma0_own(uint32_t start, uint32_t end, uint32_t owner)
{
    for (uint32_t i = start / PAGE; i < (end + PAGE - 1) / PAGE; i++)
        if (i < frames)
            owners[i] = owner;
}

static bool may_have(uint32_t frame, uint32_t who, bool fault)
{
    unsigned kind = frame < frames ? kinds[frame] : kip_kind(frame * PAGE);
    uint32_t owner = frame < frames ? owners[frame] : NOBODY;
    if (owner != NOBODY)
        return owner == who;
    if (kind == KIND_CONVENTIONAL || kind == KIND_SHARED)
        return true;
    return !fault && kind != KIND_RESERVED;
}

static bool take(uint32_t address, unsigned log2, uint32_t who, bool fault)
{
    uint32_t first = address / PAGE;
    uint32_t count = UINT32_C(1) << (log2 - PAGE_LOG2);
    for (uint32_t i = 0; i < count; i++)
        if (!may_have(first + i, who, fault))
            return false;
    for (uint32_t i = 0; i < count && first + i < frames; i++)
        if (kinds[first + i] != KIND_SHARED)
            owners[first + i] = who;
    return true;
}

static bool is_free(uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (owners[first + i] != NOBODY ||
            kinds[first + i] != KIND_CONVENTIONAL)
            return false;
    return true;
}

static bool take_any(unsigned log2, uint32_t who, uint32_t *address)
{
    uint32_t count = UINT32_C(1) << (log2 - PAGE_LOG2);
    for (uint32_t first = 0; first + count <= frames; first += count)
        if (is_free(first, count)) {
            *address = first * PAGE;
            return take(*address, log2, who, false);
        }
    return false;
}

static void answer(struct thread *sender, uint32_t base, uint32_t fpage)
{
    sender->reply_ready = true;
    sender->reply[0] = 2u << 6;
    sender->reply[1] = base | 8;
    sender->reply[2] = fpage;
}

static void page_request(struct thread *sender, uint32_t fpage, bool fault)
{
    unsigned log2 = fpage_log2(fpage);
    uint32_t address = fpage & ~0x3ffu;
    bool any = (fpage & ~0x3ffu) == ~0x3ffu, got = false;
    if (log2 < PAGE_LOG2 || log2 > 31)
        strict("asks sigma0 for a page of 2^%u", log2);
    else if (!fault && log2 > PAGE_LOG2 && chance(options.refuse))
        got = false;
    else if (any)
        got = take_any(log2, sender->id, &address);
    else
        got = take(address &= ~((UINT32_C(1) << log2) - 1), log2, sender->id,
                   fault);
    if (fault && !got)
        strict("faults at %x, ip %x, which sigma0 has not got for it "
               "(kind %u)",
               fpage & ~0xfffu, sender->frame.eip, kip_kind(address));
    answer(sender, got ? address : 0,
           got ? address | log2 << 4 | READ | WRITE | EXECUTE : 0);
}

static void port_request(struct thread *sender, uint32_t fpage)
{
    uint32_t log2 = fpage >> 10 & 0x3f;
    if (log2 > 16)
        strict("asks sigma0 for I/O ports %x", fpage);
    if (!options.ports) {
        strict("asks for I/O ports, but the KIP has no ioflexpages");
        fpage = 0;
    }
    answer(sender, fpage >> 16 & ~0x3ffu, log2 > 16 ? 0 : fpage & ~7u);
}

void sigma0_request(struct thread *sender, uint32_t tag,
                    const volatile uint32_t *words)
{
    uint32_t label = tag >> 16, untyped = tag & 0x3f;
    uint32_t page = words[1] & ~(PAGE - 1);
    if ((untyped != 2 && untyped != 3) || (tag & 0xfc0)) {
        strict("sends sigma0 a message that it drops, tag %x", tag);
        return;
    }
    if ((label & 0xfff8) == 0xffe0)
        page_request(sender, page | PAGE_LOG2 << 4, true);
    else if ((label & 0xfff0) == 0xff80)
        port_request(sender, words[1]);
    else if (label == 0xffa0 && fpage_is_io(words[1]))
        port_request(sender, words[1]);
    else if (label == 0xffa0)
        page_request(sender, words[1], false);
    else
        strict("asks sigma0 what it does not know, tag %x", tag);
}
