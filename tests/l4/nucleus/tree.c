/* SPDX-License-Identifier: MIT */
/* Mappings: who has which frame from whom.
 *
 * Invariants (tree_check, what a call has touched at its end, the rest in turn):
 *  1. every node has the page-table entry of its address and size, with its
 *     frame, writable if it has that right; and each entry that is no KIP or
 *     UTCB has a node;
 *  2. a child's frames lie in its parent's, its rights are among them, and its
 *     page is not larger;
 *  3. what an Unmap has read and cleared below a mapping is still news for those
 *     above it, and kept in `seen' for them.  What was seen through a mapping
 *     that another one replaces, or that its owner flushes, is lost, as on
 *     Pistachio: whoever wants to know takes the page away first.
 */
#include "nucleus.h"

#define BUCKETS 32768u
#define NODES_A_PAGE (PAGE / sizeof(struct node))

struct node sigma0_node = {.log2 = 32, .rights = READ | WRITE | EXECUTE};

static struct node *buckets[BUCKETS];
static struct node *free_nodes;
static unsigned nodes;
static struct node *node_pages; /* whose first nodes make a list of them */

/* Where this call has changed something. */
static struct {
    struct space *space;
    uint32_t address;
} touched[64];
static unsigned touches;

static void touch(struct space *space, uint32_t address)
{
    if (!options.check || space == NULL)
        return;
    touched[touches++ % 64].space = space;
    touched[(touches - 1) % 64].address = address;
}

unsigned tree_count(void)
{
    return nodes;
}

static uint32_t size_of(unsigned log2)
{
    return UINT32_C(1) << log2;
}

static struct node **bucket_of(const struct space *space, uint32_t address)
{
    uint32_t key = address / PAGE + (uint32_t)(space - spaces) * 0x9e37u;
    return &buckets[(key * 2654435761u) >> 17];
}

static struct node *node_new(void)
{
    if (free_nodes == NULL) {
        struct node *some = page_get();
        some->next = node_pages;
        node_pages = some;
        for (unsigned i = 1; i < NODES_A_PAGE; i++) {
            some[i].next = free_nodes;
            free_nodes = &some[i];
        }
    }
    struct node *node = free_nodes;
    free_nodes = node->next;
    nodes++;
    return memset(node, 0, sizeof *node);
}

struct node *node_find(struct space *space, uint32_t address)
{
    const uint32_t *entry =
        address < USER_END ? page_entry(space, address, false) : NULL;
    if (entry == NULL || (*entry & (PTE_PRESENT | PTE_KERNEL)) != PTE_PRESENT)
        return NULL;
    address &= ~((*entry & PTE_LARGE ? LARGE : PAGE) - 1);
    struct node *node = *bucket_of(space, address);
    while (node != NULL && (node->space != space || node->address != address))
        node = node->chain;
    if (node == NULL)
        stop("tree: %x is mapped and has no node", address);
    return node;
}

static void set_entry(struct node *node, uint32_t status)
{
    uint32_t *upper = &node->space->directory[node->address >> LARGE_LOG2];
    uint32_t *entry = node->log2 == LARGE_LOG2
                          ? upper
                          : page_entry(node->space, node->address, true);
    *entry = node->frame | PTE_PRESENT | PTE_USER | status |
             (node->rights & WRITE ? PTE_WRITE : 0) |
             (node->log2 == LARGE_LOG2 ? PTE_LARGE : 0);
    tlb_drop(node->space, node->address);
    touch(node->space, node->address);
}

/* Reads and clears what the processor saw through this mapping, and what was
 * read below it. */
static unsigned take_status(struct node *node)
{
    uint32_t *entry = page_entry(node->space, node->address, false);
    unsigned status = node->seen;
    node->seen = 0;
    if (*entry & PTE_ACCESSED)
        status |= READ | EXECUTE;
    if (*entry & PTE_DIRTY)
        status |= WRITE;
    if (*entry & (PTE_ACCESSED | PTE_DIRTY)) {
        *entry &= ~(PTE_ACCESSED | PTE_DIRTY);
        tlb_drop(node->space, node->address);
    }
    return status;
}

/* Takes a mapping without children away. */
static void drop(struct node *node, unsigned *status)
{
    unsigned seen = take_status(node);
    if (status != NULL)
        *status |= seen;
    *page_entry(node->space, node->address, false) = 0;
    tlb_drop(node->space, node->address);
    struct node **link = bucket_of(node->space, node->address);
    while (*link != node)
        link = &(*link)->chain;
    *link = node->chain;
    if (node->before != NULL)
        node->before->next = node->next;
    else
        node->parent->child = node->next;
    if (node->next != NULL)
        node->next->before = node->before;
    touch(node->space, node->address);
    touch(node->parent->space, node->parent->address);
    node->space = NULL;
    node->next = free_nodes;
    free_nodes = node;
    nodes--;
}

static void drop_below(struct node *top, unsigned *status)
{
    while (top->child != NULL) {
        struct node *node = top->child;
        while (node->child != NULL)
            node = node->child;
        drop(node, status);
    }
}

static void drop_tree(struct node *top, unsigned *status)
{
    drop_below(top, status);
    drop(top, status);
}

static bool is_above(const struct node *above, const struct node *node)
{
    while (node != NULL && node != above)
        node = node->parent;
    return node != NULL;
}

static void insert(struct node *parent, uint32_t frame, struct space *to,
                   uint32_t address, unsigned log2, unsigned rights)
{
    struct node *node = node_new();
    node->parent = parent;
    node->space = to;
    node->address = address;
    node->frame = frame;
    node->log2 = (uint8_t)log2;
    node->rights = (uint8_t)rights;
    node->next = parent->child;
    if (node->next != NULL)
        node->next->before = node;
    parent->child = node;
    struct node **bucket = bucket_of(to, address);
    node->chain = *bucket;
    *bucket = node;
    set_entry(node, 0);
}

/* Takes away what is in the place of a large page.  False if `from' went with
 * it. */
static bool clear_table(struct space *to, uint32_t address,
                        const struct node *from)
{
    uint32_t *upper = &to->directory[address >> LARGE_LOG2];
    uint32_t *table = from_physical(*upper & ~(PAGE - 1));
    bool left = true;
    for (unsigned i = 0; i < 1024; i++) {
        struct node *node = node_find(to, address + i * PAGE);
        if (node == NULL)
            continue;
        left = left && !is_above(node, from);
        drop_tree(node, NULL);
    }
    *upper = 0;
    page_put(table);
    if (to == loaded_space)
        __asm__ volatile("movl %%cr3, %%eax; movl %%eax, %%cr3" ::
                             : "eax", "memory");
    return left;
}

/* Makes room.  False if nothing is to be mapped there (any more). */
static bool make_room(const struct node *from, uint32_t frame, struct space *to,
                      uint32_t address, unsigned log2, unsigned rights)
{
    uint32_t upper = to->directory[address >> LARGE_LOG2];
    if (log2 == LARGE_LOG2 && (upper & PTE_PRESENT) && !(upper & PTE_LARGE))
        return clear_table(to, address, from);
    struct node *old = node_find(to, address);
    if (old == NULL)
        return true;
    if (old->log2 > log2)
        strict("maps 4 KiB at %x over a mapping of 4 MiB: Pistachio stops",
               address);
    if (old->log2 == log2 && old->frame == frame && old->parent == from) {
        old->rights |= (uint8_t)rights;
        set_entry(old,
                  *page_entry(to, address, false) & (PTE_ACCESSED | PTE_DIRTY));
        return false;
    }
    bool self = is_above(old, from);
    if (self)
        strict("maps onto %x what comes from there", address);
    drop_tree(old, NULL);
    return !self;
}

/* One page of either size. */
static void map_page(struct node *from, uint32_t frame, struct space *to,
                     uint32_t address, unsigned log2, unsigned rights)
{
    if (rights == 0)
        strict("maps %x without rights: Pistachio maps it to be read", address);
    rights &= from->rights;
    if (rights == 0)
        return;
    if (space_reserved(to, address, size_of(log2))) {
        strict("maps over the KIP or UTCB area of the receiver, at %x",
               address);
        return;
    }
    if (make_room(from, frame, to, address, log2, rights))
        insert(from, frame, to, address, log2, rights);
}

/* Where a flexpage and a receive window overlap, given the send base. */
struct overlap {
    uint32_t from, to;
    unsigned log2;
};

static uint32_t low_bits(unsigned log2)
{
    return log2 >= 32 ? ~UINT32_C(0) : size_of(log2) - 1;
}

static struct overlap overlap_of(uint32_t fpage, uint32_t window, uint32_t base)
{
    unsigned send = fpage_log2(fpage), receive = fpage_log2(window);
    uint32_t from = fpage & ~0x3ffu & ~low_bits(send);
    uint32_t to = window & ~0x3ffu & ~low_bits(receive);
    if (send <= receive)
        to |= base & low_bits(receive) & ~low_bits(send);
    else
        from |= base & low_bits(send) & ~low_bits(receive);
    return (struct overlap){from, to, send <= receive ? send : receive};
}

void fpage_judge(uint32_t fpage, const char *what)
{
    unsigned log2 = fpage_log2(fpage);
    if (fpage == 0 || log2 == 32)
        return;
    if (fpage & 8)
        strict("%s: flexpage %x has the reserved bit 3 set", what, fpage);
    if (log2 < PAGE_LOG2 || log2 > 32)
        strict("%s: flexpage %x is smaller than a page", what, fpage);
    else if ((fpage & ~0x3ffu) & low_bits(log2))
        strict("%s: flexpage %x is not aligned to its size", what, fpage);
}

void tree_give(uint32_t fpage, struct space *to, uint32_t window, uint32_t base)
{
    struct overlap both = overlap_of(fpage, window, base);
    unsigned log2 = both.log2;
    if (fpage == 0 || log2 < PAGE_LOG2)
        return;
    log2 = log2 >= LARGE_LOG2 && ((both.from | both.to) & (LARGE - 1)) == 0
               ? LARGE_LOG2
               : PAGE_LOG2;
    for (uint64_t at = 0; at < UINT64_C(1) << both.log2; at += size_of(log2))
        if (both.to + at < USER_END)
            map_page(&sigma0_node, both.from + (uint32_t)at, to,
                     both.to + (uint32_t)at, log2, fpage & 7);
}

/* Maps at offset `at', and says how far that brings us. */
static uint32_t map_step(struct space *from, const struct overlap *both,
                         uint32_t at, struct space *to, unsigned rights,
                         bool grant)
{
    uint32_t here = both->from + at, there = both->to + at;
    if (!(from->directory[here >> LARGE_LOG2] & PTE_PRESENT))
        return LARGE - (here & (LARGE - 1));
    struct node *node = node_find(from, here);
    if (node == NULL)
        return PAGE;
    unsigned log2 = PAGE_LOG2;
    if (node->log2 == LARGE_LOG2 && both->log2 >= LARGE_LOG2 &&
        ((here | there) & (LARGE - 1)) == 0)
        log2 = LARGE_LOG2;
    uint32_t frame = node->frame + (here - node->address);
    if (!grant) {
        map_page(node, frame, to, there, log2, rights);
        return size_of(log2);
    }
    if (log2 != node->log2)
        strict("grants a part of the 4 MiB page at %x", node->address);
    map_page(node->parent, frame, to, there, log2, rights & node->rights);
    if (node_find(from, here) == node)
        drop_tree(node, NULL);
    return size_of(log2);
}

void tree_map(struct space *from, uint32_t fpage, struct space *to,
              uint32_t window, uint32_t base, bool grant)
{
    struct overlap both = overlap_of(fpage, window, base);
    if (fpage == 0 || window == 0 || both.log2 < PAGE_LOG2)
        return;
    for (uint64_t at = 0; at < UINT64_C(1) << both.log2;) {
        if (both.from + at >= USER_END || both.to + at >= USER_END)
            break;
        at += map_step(from, &both, (uint32_t)at, to, fpage & 7, grant);
    }
}

/* The next node in the order parents, children, siblings, below `top'. */
static struct node *next_below(struct node *node, const struct node *top,
                               bool skip)
{
    if (!skip && node->child != NULL)
        return node->child;
    while (node != top && node->next == NULL)
        node = node->parent;
    return node == top ? NULL : node->next;
}

/* Unmap of one mapping that was derived from the caller's. */
static void revoke_tree(struct node *top, unsigned rights, unsigned *status)
{
    if (rights & READ) {
        drop_tree(top, status);
        return;
    }
    for (struct node *node = top; node != NULL;
         node = next_below(node, top, false)) {
        *status |= take_status(node);
        if (node->rights & rights) {
            node->rights &= (uint8_t)~rights;
            set_entry(node, 0);
        }
    }
}

/* Unmap of what the caller has at one address: all of it, or the frames from
 * `frame' on. */
static unsigned unmap_node(struct node *own, uint32_t frame, uint32_t size,
                           unsigned rights, bool flush)
{
    unsigned status = 0;
    bool whole = size >= size_of(own->log2);
    for (struct node *node = own->child, *next; node != NULL; node = next) {
        next = node->next;
        if (whole || (node->frame < frame + size &&
                      frame < node->frame + size_of(node->log2)))
            revoke_tree(node, rights, &status);
    }
    own->seen |= (uint8_t)status;
    if (!flush)
        return status;
    if (!whole)
        strict("flushes a part of the 4 MiB page at %x: all of it goes",
               own->address);
    revoke_tree(own, rights, &status);
    return status;
}

uint32_t tree_unmap(struct space *space, uint32_t fpage, bool flush)
{
    unsigned log2 = fpage_log2(fpage), status = 0;
    uint64_t at = fpage & ~0x3ffu & ~low_bits(log2);
    uint64_t end = at + (UINT64_C(1) << log2);
    if (fpage == 0)
        return 0;
    end = end > USER_END ? USER_END : end;
    while (at < end) {
        uint32_t here = (uint32_t)at;
        struct node *node = node_find(space, here);
        if (node == NULL) {
            at += space->directory[here >> LARGE_LOG2] & PTE_PRESENT
                      ? PAGE
                      : LARGE - (here & (LARGE - 1));
            continue;
        }
        uint64_t stop_at = node->address + UINT64_C(1) * size_of(node->log2);
        stop_at = stop_at > end ? end : stop_at;
        status |= unmap_node(node, node->frame + (here - node->address),
                             (uint32_t)(stop_at - at), fpage & 7, flush);
        at = stop_at;
    }
    return (fpage & ~7u) | status;
}

void tree_clear(struct space *space)
{
    tree_unmap(space, 0x17, true);
}

static void check_node(const struct node *node)
{
    const uint32_t *entry = page_entry(node->space, node->address, false);
    const struct node *parent = node->parent;
    if (entry == NULL || (*entry & ~(PAGE - 1)) != node->frame ||
        !(*entry & PTE_PRESENT) ||
        !(*entry & PTE_WRITE) != !(node->rights & WRITE) ||
        !(*entry & PTE_LARGE) != (node->log2 != LARGE_LOG2))
        stop("check: the entry of %x is not its node's", node->address);
    if ((node->rights & ~parent->rights) || node->log2 > parent->log2)
        stop("check: the mapping at %x is more than its parent", node->address);
    if (parent != &sigma0_node &&
        (node->frame < parent->frame ||
         node->frame + size_of(node->log2) - 1 >
             parent->frame + size_of(parent->log2) - 1))
        stop("check: the mapping at %x is outside its parent", node->address);
    if (node->child != NULL && node->child->parent != node)
        stop("check: a child of %x has another parent", node->address);
    if ((node->before != NULL ? node->before->next : parent->child) != node)
        stop("check: the siblings of %x", node->address);
}

/* The entry of an address, and what the hash table says of it, agree. */
static void check_address(struct space *space, uint32_t address)
{
    struct node *node = space->used ? node_find(space, address) : NULL;
    if (node != NULL) {
        check_node(node);
        if (node->parent != &sigma0_node)
            check_node(node->parent);
        return;
    }
    for (node = *bucket_of(space, address); node != NULL; node = node->chain)
        if (node->space == NULL ||
            (node->space == space && node->address == address))
            stop("check: there is a node of %x, which is not mapped", address);
}

/* A few nodes, from where the last call left off. */
static void check_some_nodes(void)
{
    static struct node *page;
    static unsigned at;
    for (unsigned i = 0; i < 24; i++) {
        if (++at >= NODES_A_PAGE || page == NULL) {
            page = page != NULL && page->next != NULL ? page->next : node_pages;
            at = 1;
        }
        if (page != NULL && page[at].space != NULL)
            check_address(page[at].space, page[at].address);
    }
}

static bool is_reserved(const struct space *space, uint32_t address)
{
    return space->ready ? space_reserved(space, address, PAGE) : false;
}

/* A few entries of page tables, from where the last call left off. */
static void check_some_entries(void)
{
    static unsigned which;
    static uint32_t at;
    for (unsigned i = 0; i < 24; i++) {
        struct space *space = &spaces[which];
        uint32_t *entry =
            space->used && at < USER_END ? page_entry(space, at, false) : NULL;
        if (at >= USER_END || !space->used) {
            which = (which + 1) % SPACES;
            at = 0;
        } else if (entry == NULL || (*entry & PTE_LARGE)) {
            if (entry != NULL)
                check_address(space, at);
            at += LARGE;
        } else {
            if ((*entry & PTE_KERNEL) && !is_reserved(space, at))
                stop("check: a page of the nucleus is mapped at %x", at);
            if ((*entry & (PTE_PRESENT | PTE_KERNEL)) == PTE_PRESENT)
                check_address(space, at);
            at += PAGE;
        }
    }
}

void tree_check(void)
{
    for (unsigned i = 0; i < touches && i < 64; i++)
        check_address(touched[i].space, touched[i].address);
    touches = 0;
    check_some_nodes();
    check_some_entries();
}
