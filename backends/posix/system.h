/* SPDX-License-Identifier: MIT */
/* What the posix port uses of the system, and what it does without.
 *
 * Every file of the port includes this one first.  The HMM_POSIX_HAS_ macros
 * name what goes beyond POSIX; HMM_POSIX_PORTABLE leaves all of it out, so that
 * the path for other systems is compiled and tested on this one:
 *
 *   FUTEX    sleep on a word by the kernel; else pipes (word_pipe.c)
 *   MEMFD    nameless memory objects; else shm_open, else a temporary file
 *   EVENTFD  a pollable counter; else a pipe
 *   DECODE   the machine context tells writes from reads; else access.c asks
 *            the page
 *   ANONYMOUS  memory from mmap; else posix_memalign
 */
#ifndef HMM_POSIX_SYSTEM_H
#define HMM_POSIX_SYSTEM_H

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#ifdef HMM_POSIX_PORTABLE
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif
#else
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#endif

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <stdint.h>

#include <sys/mman.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

#ifndef HMM_POSIX_PORTABLE

#ifdef HAVE_LINUX_FUTEX_H
#define HMM_POSIX_HAS_FUTEX 1
#endif
#ifdef HAVE_MEMFD_CREATE
#define HMM_POSIX_HAS_MEMFD 1
#endif
#ifdef HAVE_EVENTFD
#define HMM_POSIX_HAS_EVENTFD 1
#endif
#if defined(__linux__) &&                                                      \
    (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__))
#define HMM_POSIX_HAS_DECODE 1
#endif
#ifdef MAP_ANONYMOUS
#define HMM_POSIX_HAS_ANONYMOUS 1
#endif
#ifdef MAP_FIXED_NOREPLACE
#define HMM_POSIX_MAP_THERE MAP_FIXED_NOREPLACE
#endif

#endif

/* Replaces a mapping.  TSan takes a call of mmap for a write to the memory and
 * would report a race with every thread that uses it, so on Linux the system is
 * called directly.  MAP_FAILED and errno, as mmap. */
#if !defined(HMM_POSIX_PORTABLE) && defined(__linux__) &&                      \
    UINTPTR_MAX > UINT32_MAX
#define hmm_posix_remap(address, size, protection, flags, fd, offset)          \
    ((void *)syscall(SYS_mmap, address, size, protection, (flags) | MAP_FIXED, \
                     fd, offset))
#else
#define hmm_posix_remap(address, size, protection, flags, fd, offset)          \
    mmap(address, size, protection, (flags) | MAP_FIXED, fd, offset)
#endif

/* A hint, whose result is looked at. */
#ifndef HMM_POSIX_MAP_THERE
#define HMM_POSIX_MAP_THERE 0
#endif

/* What Valgrind cannot see: that a record handed over is ordered (helgrind), and
 * that an access to a reserved range is no error (memcheck). */
#if !defined(HMM_POSIX_PORTABLE) && defined(__has_include)
#if __has_include(<valgrind/helgrind.h>) && __has_include(<valgrind/memcheck.h>)
#include <valgrind/helgrind.h>
#include <valgrind/memcheck.h>
#define HMM_POSIX_BEFORE(object) ANNOTATE_HAPPENS_BEFORE(object)
#define HMM_POSIX_AFTER(object) ANNOTATE_HAPPENS_AFTER(object)
#define HMM_POSIX_ON_VALGRIND() (RUNNING_ON_VALGRIND != 0)
#define HMM_POSIX_RESERVED(address, size)                                      \
    ((void)VALGRIND_DISABLE_ADDR_ERROR_REPORTING_IN_RANGE(address, size))
#define HMM_POSIX_RELEASED(address, size)                                      \
    ((void)VALGRIND_ENABLE_ADDR_ERROR_REPORTING_IN_RANGE(address, size))
#endif
#endif
#ifndef HMM_POSIX_BEFORE
#define HMM_POSIX_BEFORE(object) ((void)(object))
#define HMM_POSIX_AFTER(object) ((void)(object))
#define HMM_POSIX_ON_VALGRIND() 0
#define HMM_POSIX_RESERVED(address, size) ((void)(address))
#define HMM_POSIX_RELEASED(address, size) ((void)(address))
#endif

#endif
