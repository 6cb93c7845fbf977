/* SPDX-License-Identifier: MIT */
/* hurdmm/account.h - who pays for frames: the memory control objects of 2005.
 *
 * An account has a guaranteed number of frames and may have extra ones.  What is
 * guaranteed is there whenever it is asked for: all guarantees together never
 * exceed what the manager has.  Extra frames are lent as long as nobody with a
 * guarantee needs them.
 *
 * Who pays: every frame is named by one container or store, and the account of
 * that container or store pays for it; so the sum over all accounts, with what
 * the manager's own account pays, is the number of frames in use.  A page that
 * is shared, or copied and not yet written, is paid for by whoever has the
 * frame: the source.  The page that gets a frame of its own (a copy that is
 * settled, or written) pays for that.  Where the source writes, the copy must
 * not be lost for want of quota: the copy's account may then exceed its limit,
 * and can allocate nothing before it is below it again.
 *
 * A manager's own account pays for everything that was given no other.
 */
#ifndef HURDMM_ACCOUNT_H
#define HURDMM_ACCOUNT_H

#include <hurdmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hurdmm_account;

struct hurdmm_account_info {
    size_t struct_size;
    uint64_t guaranteed;  /* bytes */
    uint64_t extra_limit; /* bytes beyond that which it may have */
    uint64_t used;        /* bytes it pays for now */
    uint64_t refused;     /* allocations that ended with EDQUOT */
};

/* The account that pays for what has no other.  It has all that is not
 * guaranteed to others.  NULL for a stale handle. */
struct hurdmm_account *hurdmm_account_own(struct hurdmm *manager);

/* Splits `guaranteed` bytes (whole pages) off an account's guarantee for a new
 * account, a child.  ENOMEM (the parent has not so much left, beside what it
 * uses; or no memory), EINVAL, ESTALE. */
int hurdmm_account_split(struct hurdmm_account *parent, uint64_t guaranteed,
                         struct hurdmm_account **account);

/* Frees what the account paid for: the containers that it pays for are emptied,
 * and pages that stores cache on it are returned to the stores or, where that
 * is impossible, paid for by the parent.  Its guarantee goes back to the parent,
 * its children become the parent's.  EBUSY (pages pinned or mapped, or another call
 * is inside it: a destroy, a call_back), EDEADLK (from a callback), the error of a
 * write-back (nothing is lost, and the account lives on), ESTALE, EINVAL (the
 * manager's own). */
int hurdmm_account_destroy(struct hurdmm_account *account);

/* How many bytes it may have beyond its guarantee, when there are some: 0 at
 * first.  Lowering it takes nothing back: see call_back.  EINVAL, ESTALE. */
int hurdmm_account_set_extra(struct hurdmm_account *account,
                             uint64_t extra_limit);

/* Asks for extra frames back until at most `keep` bytes of them are left: first
 * by `request`, which is told how many bytes are wanted and may free them
 * (release, discard, return) before it returns; what is missing after that, or
 * after `timeout_ns`, is taken: clean pages of stores, then dirty ones when
 * they have been written.  What is in containers cannot be taken: ENOMEM says
 * that some is left, *left (may be NULL) how much.  ESTALE, EINVAL. */
int hurdmm_account_call_back(struct hurdmm_account *account, uint64_t keep,
                             uint64_t timeout_ns,
                             void (*request)(void *hook, uint64_t wanted),
                             void *hook, uint64_t *left);

/* From now on the account pays for the container's, or the store's, frames, those
 * it has included.  EDQUOT (they are too many), EINVAL (another manager's),
 * ESTALE. */
int hurdmm_account_pay(struct hurdmm_account *account,
                       struct hurdmm_container *container);

/* Fills *info up to info->struct_size.  ESTALE, EINVAL. */
int hurdmm_account_get_info(struct hurdmm_account *account,
                            struct hurdmm_account_info *info);

#ifdef __cplusplus
}
#endif

#endif
