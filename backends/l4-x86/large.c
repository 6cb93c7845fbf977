/* SPDX-License-Identifier: MIT */
/* Pages of 4 MiB.
 *
 * A leaf of a space's table is *large* while its entries are one row of the
 * frames of an aligned block, with equal rights: lend notes that, and a fault
 * there is answered with one flexpage.  A block is *joined* while it is one page
 * for the kernel:
 *
 *   small --a page of a large leaf is mapped--> joined
 *   joined --a part is to be mapped or taken back--> small
 *
 * To join it, sigma0 is asked for it as one page, which replaces our 1,024; to
 * split it, we give it up and ask for small ones.  So nothing smaller is ever
 * mapped out of a large page: the old mapping database of Pistachio loses such
 * pieces (doc/l4.md).  What was mapped of a block before it changes comes back by
 * faults, which the tables answer.
 *
 * While a block is being split it is not there.  Own threads that use its
 * frames then fault; the dispatcher, which waits for the lock, lets them try
 * again (hmm_l4_is_frame).
 *
 * Invariant, under the lock: port->large counts large leaves of its spaces and
 * joined blocks of its frames.  While it is 0, nobody need look for either.
 */
#include "backends/l4-x86/l4_port.h"

#define BLOCK_MASK (L4_LARGE_SIZE - 1)
#define BLOCKS (L4_WINDOW_END >> L4_LARGE_SHIFT)

static uint32_t joined[BLOCKS / 32];

bool hmm_l4_is_joined(uint32_t physical)
{
    uint32_t block = physical >> L4_LARGE_SHIFT;
    hmm_assert(physical < L4_WINDOW_END);
    return (joined[block / 32] >> block % 32 & 1) != 0;
}

static void note_joined(struct hmm_l4_port *port, uint32_t physical, bool is)
{
    uint32_t block = physical >> L4_LARGE_SHIFT;
    hmm_assert(hmm_l4_is_joined(physical) != is);
    hmm_assert(is || port->large > 0);
    joined[block / 32] ^= UINT32_C(1) << block % 32;
    if (is)
        port->large++;
    else
        port->large--;
}

/* ---- Leaves ---- */

bool hmm_l4_leaf_is_large(const struct hmm_l4_space *space, uint32_t address)
{
    uint32_t leaf = address >> L4_LEAF_SHIFT;
    hmm_assert(leaf < L4_LEAVES);
    return (space->large[leaf / 32] >> leaf % 32 & 1) != 0;
}

void hmm_l4_leaf_forget(struct hmm_l4_space *space, uint32_t address)
{
    uint32_t leaf = address >> L4_LEAF_SHIFT;
    if (!hmm_l4_leaf_is_large(space, address))
        return;
    hmm_assert(space->port->large > 0);
    space->large[leaf / 32] &= ~(UINT32_C(1) << leaf % 32);
    space->port->large--;
}

void hmm_l4_leaves_note(struct hmm_l4_space *space, uint32_t address,
                        uint32_t frame, uint32_t pages)
{
    uint32_t skip = ((0u - address) & BLOCK_MASK) >> L4_PAGE_SHIFT;
    hmm_assert(hmm_l4_locked() && (address & L4_PAGE_MASK) == 0);
    if (!hmm_l4_has_large())
        return; /* the core lends no such pages, but long rows it may */
    for (; pages >= skip && pages - skip >= L4_LEAF_ENTRIES;
         skip += L4_LEAF_ENTRIES) {
        uint32_t at = address + skip * L4_PAGE_SIZE;
        if ((hmm_l4_frame_address(space->port, frame + skip) & BLOCK_MASK) !=
                0 ||
            hmm_l4_row_length(space->port, frame + skip, L4_LEAF_ENTRIES) <
                L4_LEAF_ENTRIES ||
            hmm_l4_leaf_is_large(space, at))
            continue;
        space->large[at >> L4_LEAF_SHIFT >> 5] |= UINT32_C(1)
                                                  << (at >> L4_LEAF_SHIFT) % 32;
        space->port->large++;
    }
}

/* ---- Blocks ---- */

/* Takes away all that is mapped of a block, and notes what was seen. */
static void unmap_block(struct hmm_l4_port *port, uint32_t first,
                        uint32_t physical)
{
    hmm_assert((physical & BLOCK_MASK) == 0);
    hmm_assert(port->frames - first >= L4_LEAF_ENTRIES);
    utcb()[0] = l4_fpage(physical, L4_LARGE_SHIFT, L4_FULL);
    hmm_l4_unmap(0);
    uint8_t rights = (uint8_t)l4_fpage_rights(utcb()[0]);
    for (uint32_t i = 0; rights != 0 && i < L4_LEAF_ENTRIES; i++)
        port->seen[first + i] |= rights;
}

/* What was mapped of it in small pages goes first, for the sake of what was seen:
 * a page over which another is mapped tells nothing.  sigma0 may refuse: then the
 * block stays as it is, and one flexpage maps its small pages. */
static void join(struct hmm_l4_port *port, uint32_t first, uint32_t physical)
{
    hmm_assert(hmm_l4_locked() && !hmm_l4_is_joined(physical));
    unmap_block(port, first, physical);
    if (hmm_l4_sigma0_get(physical, L4_LARGE_SHIFT))
        note_joined(port, physical, true);
}

/* The leaf's pages are mapped no more. */
static void forget_mapped(uint32_t *leaf)
{
    for (uint32_t i = 0; i < L4_LEAF_ENTRIES; i++)
        leaf[i] &= ~(L4_ENTRY_MAPPED | L4_ENTRY_WIDENED);
}

void hmm_l4_block_split(struct hmm_l4_port *port, uint32_t frame)
{
    uint32_t physical = hmm_l4_frame_address(port, frame) & ~BLOCK_MASK;
    uint32_t first = frame - ((hmm_l4_frame_address(port, frame) - physical) >>
                              L4_PAGE_SHIFT);
    hmm_assert(hmm_l4_locked() && hmm_l4_is_joined(physical));
    unmap_block(port, first, physical);
    hmm_l4_pages_split(physical);
    note_joined(port, physical, false);
    /* Leaves that show it would have it joined again by the next fault, and
     * others split it again: both go on in small pages. */
    for (struct hmm_l4_space *space = port->spaces; space != NULL;
         space = space->next)
        for (uint32_t i = 0; i < L4_LEAVES; i++) {
            uint32_t *leaf = space->leaves[i];
            if (!hmm_l4_leaf_is_large(space, i << L4_LEAF_SHIFT) ||
                L4_ENTRY_FRAME(leaf[0]) != first)
                continue;
            hmm_l4_leaf_forget(space, i << L4_LEAF_SHIFT);
            forget_mapped(leaf);
        }
}

void hmm_l4_leaf_break(struct hmm_l4_space *space, uint32_t address)
{
    if (!hmm_l4_leaf_is_large(space, address))
        return;
    hmm_assert(hmm_l4_locked() && hmm_l4_entry(space, address) != NULL);
    uint32_t frame =
        L4_ENTRY_FRAME(*hmm_l4_entry(space, address & ~BLOCK_MASK));
    if (hmm_l4_in_large(space->port, frame))
        hmm_l4_block_split(space->port, frame);
    else
        hmm_l4_leaf_forget(space, address);
    hmm_assert(!hmm_l4_leaf_is_large(space, address));
}

void hmm_l4_leaves_break(struct hmm_l4_space *space, uint32_t address,
                         uint32_t pages)
{
    uint32_t last = address + (pages - 1) * L4_PAGE_SIZE;
    hmm_assert(pages > 0 && last >= address);
    for (uint32_t leaf = address >> L4_LEAF_SHIFT;
         leaf <= last >> L4_LEAF_SHIFT; leaf++) {
        uint32_t at = leaf << L4_LEAF_SHIFT;
        /* All of it changes: there is nothing to be kept in small pages. */
        if (at >= address && last - at >= L4_LARGE_SIZE - L4_PAGE_SIZE)
            hmm_l4_leaf_forget(space, at);
        else
            hmm_l4_leaf_break(space, at);
    }
}

bool hmm_l4_large_ready(struct hmm_l4_space *space, uint32_t page,
                        uint32_t entry)
{
    struct hmm_l4_port *port = space->port;
    uint32_t frame = L4_ENTRY_FRAME(entry);
    uint32_t physical = hmm_l4_frame_address(port, frame);
    bool is_joined = hmm_l4_is_joined(physical);
    hmm_assert(hmm_l4_locked() && entry != 0);
    if (hmm_l4_leaf_is_large(space, page)) {
        uint32_t first = frame - ((physical & BLOCK_MASK) >> L4_PAGE_SHIFT);
        hmm_assert(((physical ^ page) & BLOCK_MASK & ~L4_PAGE_MASK) == 0);
        if (!is_joined)
            join(port, first, physical & ~BLOCK_MASK);
        return true;
    }
    if (is_joined)
        hmm_l4_block_split(port, frame);
    return false;
}

void hmm_l4_blocks_end(struct hmm_l4_port *port, uint32_t first, uint32_t count)
{
    hmm_assert(hmm_l4_locked() && port->frames - first >= count);
    for (uint32_t i = 0; port->large > 0 && i < count;) {
        uint32_t physical = hmm_l4_frame_address(port, first + i);
        if (hmm_l4_is_joined(physical))
            hmm_l4_block_split(port, first + i);
        i += (L4_LARGE_SIZE - (physical & BLOCK_MASK)) >> L4_PAGE_SHIFT;
    }
}

bool hmm_l4_is_frame(uint32_t address)
{
    for (unsigned i = 0; i < L4_PORTS_MAX; i++) {
        const struct hmm_l4_port *port = &hmm_l4_ports[i];
        for (unsigned b = 0; port->used && b < port->bank_count; b++)
            if (address - (uint32_t)port->banks[b].base <
                port->banks[b].frames * L4_PAGE_SIZE)
                return true;
    }
    return false;
}
