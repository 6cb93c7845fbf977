/* SPDX-License-Identifier: MIT */
/*
 * The version of the library that runs. Keeps no state.
 */
#include <hurdmm/types.h>

uint32_t hurdmm_version(void)
{
    return (uint32_t)HURDMM_VERSION_MAJOR << 16 |
           (uint32_t)HURDMM_VERSION_MINOR << 8 | (uint32_t)HURDMM_VERSION_PATCH;
}
