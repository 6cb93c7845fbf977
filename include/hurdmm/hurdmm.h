/* SPDX-License-Identifier: MIT */
/*
 * The whole of libhurd-mm. Each header below may also be used alone.
 */
#ifndef HURDMM_HURDMM_H
#define HURDMM_HURDMM_H

#include <hurdmm/port.h>
#include <hurdmm/types.h>

#endif
