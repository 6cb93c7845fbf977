/* SPDX-License-Identifier: MIT */
/* The words of the L4 X.2 interface on ia32: identifiers, flexpages, message
 * tags, typed items, timeouts, memory descriptors.
 *
 * Arithmetic only, no system call: the tests run it on the host over recorded
 * structures.  A word is 32 bits here, whatever machine compiles this.
 */
#ifndef HMM_L4_ABI_H
#define HMM_L4_ABI_H

#include <stdbool.h>
#include <stdint.h>

#define L4_PAGE_SHIFT 12u
#define L4_PAGE_SIZE 4096u
#define L4_PAGE_MASK 4095u

/* Threads. */
#define L4_NIL 0u
#define L4_ANY 0xffffffffu
#define L4_ANY_LOCAL 0xffffffc0u

static inline uint32_t l4_global_id(uint32_t number, uint32_t version)
{
    return number << 14 | (version & 0x3fffu);
}

static inline uint32_t l4_thread_number(uint32_t id)
{
    return id >> 14;
}

/* The lowest six bits of a global identifier are never all zero. */
static inline bool l4_is_local_id(uint32_t id)
{
    return id != L4_NIL && (id & 0x3fu) == 0;
}

/* UTCB, relative to message register 0 in words. */
#define L4_UTCB_SIZE 512u
#define L4_UTCB_MR 256u /* bytes from its start to message register 0 */
#define L4_MR_COUNT 64u
#define L4_TCR_ERROR (-9)
#define L4_TCR_EXCEPTION_HANDLER (-11)
#define L4_TCR_PAGER (-12)
#define L4_TCR_HANDLE (-13)
#define L4_TCR_GLOBAL_ID (-15)
#define L4_TCR_VIRTUAL_SENDER (-6)
#define L4_BR(i) (-16 - (i))

/* Message tags. */
#define L4_TAG_ERROR 0x8000u
#define L4_TAG_PROPAGATE 0x1000u
#define L4_LABEL_PAGEFAULT 0xffe0u /* and the access in the lowest 3 bits */
#define L4_LABEL_IO_FAULT 0xff80u
#define L4_LABEL_EXCEPTION 0xffb0u
#define L4_LABEL_SYSTEM_EXCEPTION 0xffc0u
#define L4_LABEL_SIGMA0 0xffa0u
#define L4_LABEL_INTERRUPT 0xfff0u
#define L4_LABEL_KIND 0xfff0u

static inline uint32_t l4_tag(uint32_t label, uint32_t untyped, uint32_t typed)
{
    return label << 16 | typed << 6 | untyped;
}

static inline uint32_t l4_tag_label(uint32_t tag)
{
    return tag >> 16;
}

static inline uint32_t l4_tag_untyped(uint32_t tag)
{
    return tag & 0x3fu;
}

static inline uint32_t l4_tag_typed(uint32_t tag)
{
    return tag >> 6 & 0x3fu;
}

/* Rights, as in flexpages and page-fault labels. */
#define L4_READ 4u
#define L4_WRITE 2u
#define L4_EXECUTE 1u
#define L4_FULL 7u

/* Flexpages. */
#define L4_FPAGE_NIL 0u
#define L4_FPAGE_ALL 0x10u

static inline uint32_t l4_fpage(uint32_t base, unsigned log2, unsigned rights)
{
    return base | (uint32_t)log2 << 4 | rights;
}

static inline uint32_t l4_fpage_base(uint32_t fpage)
{
    return fpage & ~0x3ffu;
}

static inline unsigned l4_fpage_log2(uint32_t fpage)
{
    return fpage >> 4 & 0x3fu;
}

static inline unsigned l4_fpage_rights(uint32_t fpage)
{
    return fpage & 7u;
}

static inline uint32_t l4_io_fpage(uint32_t port, unsigned log2)
{
    return port << 16 | (uint32_t)log2 << 10 | 0x20u;
}

/* Typed items are two words: send base and kind, then the flexpage. */
#define L4_ITEM_MAP 0x8u
#define L4_ITEM_GRANT 0xau
#define L4_ITEM_KIND 0xeu
#define L4_MAP_ITEMS_MAX 31u

/* The largest log2 size, from `low` to `high`, of a block that holds `address`
 * and lies in [start, start + length).  At least `low`, which must fit. */
unsigned hmm_l4_block(uint32_t address, uint32_t start, uint32_t length,
                      unsigned low, unsigned high);
/* The largest log2 size of a block that can begin at `address` and, in another
 * place, at `other`, and is not longer than `length`. */
unsigned hmm_l4_block_from(uint32_t address, uint32_t other, uint32_t length,
                           unsigned high);

/* Timeouts: 2^e * m microseconds in 16 bits, send in the upper half of the
 * word that Ipc takes. */
#define L4_TIMEOUT_NEVER 0u
#define L4_TIMEOUT_ZERO 0x400u
#define L4_TIMEOUTS(send, receive) ((uint32_t)(send) << 16 | (receive))
/* The shortest that is not shorter than this; HURDMM_FOREVER is never. */
uint32_t hmm_l4_timeout(uint64_t time_ns);

/* The kernel interface page. */
#define L4_KIP_MAGIC 0x4be6344cu /* "L4", micro, "K" */
#define L4_KIP_SPACE_CONTROL 0xd0u
#define L4_KIP_THREAD_CONTROL 0xd4u
#define L4_KIP_MEMORY_CONTROL 0xdcu
#define L4_KIP_IPC 0xe0u
#define L4_KIP_UNMAP 0xe8u
#define L4_KIP_EXCHANGE 0xecu
#define L4_KIP_CLOCK 0xf0u
#define L4_KIP_SWITCH 0xf4u
#define L4_KIP_SCHEDULE 0xf8u
#define L4_KIP_KERNEL_DESC 0x0cu
#define L4_KIP_MEMORY_INFO 0x54u
#define L4_KIP_UTCB_INFO 0xa8u
#define L4_KIP_AREA_INFO 0xacu
#define L4_KIP_BOOT_INFO 0xb8u
#define L4_KIP_THREAD_INFO 0xc4u
#define L4_KIP_PAGE_INFO 0xc8u

static inline uint32_t l4_kip_word(const void *kip, uint32_t offset)
{
    return *(const uint32_t *)(const void *)((const char *)kip + offset);
}

/* Types of memory in its descriptors; the subtype stands in bits 7-4. */
#define L4_MEMORY_CONVENTIONAL 1u
#define L4_MEMORY_BOOT 0xeu

/* What the kernel interface page says of physical memory. */
struct hmm_l4_memory_map {
    const uint32_t *descriptors; /* two words each; later ones win */
    unsigned count;
};

void hmm_l4_memory_map(const void *kip, struct hmm_l4_memory_map *map);
/* The next piece of conventional memory at or after *start, in whole pages and
 * below `end`: false if there is none. */
bool hmm_l4_memory_next(const struct hmm_l4_memory_map *map, uint32_t *start,
                        uint32_t *length, uint32_t end);
/* Whether the kernel names this in its list of features. */
bool hmm_l4_has_feature(const void *kip, const char *name);

#endif
