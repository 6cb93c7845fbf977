/* SPDX-License-Identifier: MIT */
/*
 * The version of the library, when compiling and when running.
 */
#ifndef HURDMM_VERSION_H
#define HURDMM_VERSION_H

#define HURDMM_VERSION_MAJOR 0
#define HURDMM_VERSION_MINOR 1
#define HURDMM_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that runs, as "MAJOR.MINOR.PATCH". It may be newer
 * than the header that the caller was compiled with. */
const char *hurdmm_version(void);

#ifdef __cplusplus
}
#endif

#endif
