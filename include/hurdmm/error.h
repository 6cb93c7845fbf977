/* SPDX-License-Identifier: MIT */
/*
 * The error values of libhurd-mm.
 *
 * Functions return 0 or one of these.  They are the host's errno values where
 * there is a host; elsewhere this header supplies the names, with the numbers
 * that Linux gives them.  Only the names are part of the interface, and no
 * variable `errno' is ever read or written.
 */
#ifndef HURDMM_ERROR_H
#define HURDMM_ERROR_H

#if defined(__has_include)
#if __has_include(<errno.h>)
#include <errno.h>
#endif
#endif

#ifndef EINVAL
#define EPERM 1
#define ENOENT 2
#define EINTR 4
#define EIO 5
#define ENXIO 6
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define ENOSPC 28
#define EROFS 30
#define ERANGE 34
#define EDEADLK 35
#define ELOOP 40
#define EBADMSG 74
#define EOVERFLOW 75
#define ENOTSUP 95
#define ETIMEDOUT 110
#define ESTALE 116
#define EDQUOT 122
#define ECANCELED 125
#endif

#endif /* HURDMM_ERROR_H */
