/* SPDX-License-Identifier: MIT */
/* private.h - what the files of this module share: assertions. */
#ifndef HMM_LZ4_PRIVATE_H
#define HMM_LZ4_PRIVATE_H

#ifdef NDEBUG
#define lz4_assert(cond) ((void)(0 && (cond)))
#else
#define lz4_assert(cond) ((cond) ? (void)0 : __builtin_trap())
#endif

#endif /* HMM_LZ4_PRIVATE_H */
