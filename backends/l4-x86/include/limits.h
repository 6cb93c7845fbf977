/* SPDX-License-Identifier: MIT */
/* The compiler's own <limits.h> ends by asking for a C library's. */
