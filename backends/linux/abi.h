/* SPDX-License-Identifier: MIT */
/* The kernel's interface, as far as headers of this system may lack it.
 *
 * Constants of documented kernel interfaces that are newer than the oldest
 * headers that we build with.  Whether the kernel has them is asked at run time
 * (uffd.c), never told from its version.
 */
#ifndef HMM_LINUX_ABI_H
#define HMM_LINUX_ABI_H

#include <stdint.h>

#include <linux/ioctl.h>
#include <linux/userfaultfd.h>

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

#define HMM_UFFD_USER_MODE_ONLY 1

#define HMM_UFFD_POISON (UINT64_C(1) << 14)

struct hmm_uffdio_poison {
    uint64_t start, length, mode;
    int64_t updated;
};

#define HMM_UFFDIO_POISON _IOWR(0xAA, 0x08, struct hmm_uffdio_poison)

struct hmm_uffdio_continue {
    uint64_t start, length, mode;
    int64_t mapped;
};

#define HMM_UFFD_MINOR_SHMEM (UINT64_C(1) << 10)
#define HMM_UFFD_WP_SHMEM (UINT64_C(1) << 12)
#define HMM_UFFDIO_REGISTER_MINOR (UINT64_C(1) << 2)
#define HMM_UFFDIO_CONTINUE_WP (UINT64_C(1) << 1)

#define HMM_UFFDIO_CONTINUE _IOWR(0xAA, 0x07, struct hmm_uffdio_continue)

#define HMM_UFFD_WP_ASYNC (UINT64_C(1) << 15)

struct hmm_pm_scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t inverted, mask, anyof, returned;
};

struct hmm_page_region {
    uint64_t start, end, categories;
};

#define HMM_PAGEMAP_SCAN _IOWR('f', 16, struct hmm_pm_scan)
#define HMM_PM_SCAN_WP_MATCHING 1u
#define HMM_PM_SCAN_CHECK_WPASYNC 2u
#define HMM_PAGE_IS_WRITTEN 2u

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Bits of an entry of /proc/self/pagemap. */
#define HMM_PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define HMM_PAGEMAP_SWAPPED (UINT64_C(1) << 62)

#endif
