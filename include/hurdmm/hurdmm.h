/* SPDX-License-Identifier: MIT */
/* hurdmm/hurdmm.h - everything that does not depend on a platform. */
#ifndef HURDMM_HURDMM_H
#define HURDMM_HURDMM_H

#include <hurdmm/account.h>
#include <hurdmm/block.h>
#include <hurdmm/claim.h>
#include <hurdmm/compose.h>
#include <hurdmm/container.h>
#include <hurdmm/discardable.h>
#include <hurdmm/manager.h>
#include <hurdmm/partition.h>
#include <hurdmm/policy.h>
#include <hurdmm/port.h>
#include <hurdmm/region.h>
#include <hurdmm/slab.h>
#include <hurdmm/space.h>
#include <hurdmm/stats.h>
#include <hurdmm/store.h>
#include <hurdmm/stores.h>
#include <hurdmm/types.h>

#endif
