/* SPDX-License-Identifier: MIT */
/*
 * The version of the library that runs. Keeps no state.
 */
#include <hurdmm/version.h>

#define TEXT(x)   #x
#define STRING(x) TEXT(x)

const char *hurdmm_version(void)
{
    return STRING(HURDMM_VERSION_MAJOR) "." STRING(
        HURDMM_VERSION_MINOR) "." STRING(HURDMM_VERSION_PATCH);
}
