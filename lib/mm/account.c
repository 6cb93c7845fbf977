/* SPDX-License-Identifier: MIT */
/* account.c - guarantees, extra frames, and calling them back.
 *
 * An account is charged by lib/physmem for every slot that names a frame in the
 * containers it pays for, so its figures cannot go astray; here is who may ask
 * for more.
 *
 * Invariants
 *   A1  the guarantees of all accounts sum up to the budget less the reserve;
 *   A2  frames that cannot leave (wired) never stand in the way of a guarantee:
 *       all that is wired, and what is guaranteed and not yet used, fit in the
 *       budget together.  Caches give way, since their pages can leave.
 */
#include "lib/mm/mm.h"

int hmm_account_make(struct hurdmm *manager, struct hurdmm_account *parent,
                     struct hurdmm_account **result)
{
    struct hurdmm_account *account = hmm_slab_alloc(&manager->account_slab);

    hmm_assert(hmm_entered(manager));
    hmm_assert(!parent || parent->magic == HMM_MAGIC_ACCOUNT);
    if (!account)
        return ENOMEM;
    memset(account, 0, sizeof *account);
    account->magic = HMM_MAGIC_ACCOUNT;
    account->manager = manager;
    account->parent = parent;
    hmm_list_append(&manager->accounts, &account->link);
    *result = account;
    return 0;
}

/* Takes the lock, if there is such an account: EINVAL, ESTALE. */
static int enter(struct hurdmm_account *account)
{
    if (!account)
        return EINVAL;
    if (account->magic != HMM_MAGIC_ACCOUNT)
        return ESTALE;
    struct hurdmm *manager = account->manager;
    int err = hmm_enter(manager);
    if (!err && account->magic != HMM_MAGIC_ACCOUNT) {
        hmm_leave(manager);
        err = ESTALE;
    }
    return err;
}

static struct hurdmm_account *account_at(struct hmm_list *link)
{
    return HMM_CONTAINER_OF(link, struct hurdmm_account, link);
}

uint64_t hmm_account_promised(const struct hurdmm *manager)
{
    struct hmm_list *link;
    uint64_t sum = 0;

    hmm_assert(hmm_entered(manager));
    HMM_LIST_FOR_EACH(link, &manager->accounts)
    sum +=
        account_at(link) == manager->account ? 0 : account_at(link)->guaranteed;
    return sum;
}

/* What others are guaranteed and do not use yet, and all that is wired. */
static uint64_t spoken_for(const struct hurdmm *manager,
                           const struct hurdmm_account *but)
{
    struct hmm_list *link;
    uint64_t sum = 0;

    HMM_LIST_FOR_EACH(link, &manager->accounts)
    {
        const struct hurdmm_account *account = account_at(link);

        sum += account->payer.wired;
        if (account != but && account != manager->account &&
            account->guaranteed > account->payer.used)
            sum += account->guaranteed - account->payer.used;
    }
    return sum;
}

/* Drops or writes a few pages that the store caches.  EAGAIN, or EDQUOT: none
 * can go. */
static int shed(struct hurdmm_store *store, uint64_t count)
{
    struct hmm_index_cursor cursor;
    uint64_t page, *slot, dirty = UINT64_MAX, block = store->block_pages;

    hmm_assert(!store->container); /* its pages cannot leave */
    for (page = 0;
         count > 0 && hmm_index_seek(&store->cache.index, &cursor, page);) {
        page = cursor.key + 1;
        slot = cursor.value;
        uint64_t first = cursor.key / block * block;
        if (!(*slot & HMM_RANKED) || *slot & (HMM_WRITING | HMM_UNLOCKING) ||
            hmm_range_held(store, first, first + (block - 1)))
            continue;
        if (*slot & HMM_DIRTY) {
            if (!(*slot & HMM_WRITE_ERROR)) /* the laundry would not again */
                dirty = cursor.key;
            continue;
        }
        uint32_t freed = hmm_drop_block(store, cursor.key);
        count -= hmm_min(freed, count);
    }
    if (count == 0)
        return 0;
    if (dirty == UINT64_MAX || !store->ops.page_out ||
        store->flags & HURDMM_STORE_NO_STEAL)
        return EDQUOT;
    /* Also what was lent just now, or nothing might be done, and we be asked again
     * at once, for ever. */
    int err = hmm_launder(store, dirty, 0, UINT64_MAX, HMM_LAUNDER_VICTIM, NULL,
                          NULL);
    return err ? err : EAGAIN;
}

int hmm_account_try(struct hurdmm_store *store, uint64_t count)
{
    const struct hurdmm_account *account = store->account;
    const struct hurdmm *manager = store->manager;
    bool own = account == manager->account;
    uint64_t used = own ? account->payer.wired : account->payer.used;
    uint64_t over = used + count;

    hmm_assert(hmm_entered(store->manager));
    hmm_assert(account->payer.wired <= account->payer.used);
    if (own && !store->container)
        return 0;
    if (over <= account->guaranteed)
        return 0;
    if (over <= account->guaranteed + account->extra_limit &&
        (!store->container ||
         spoken_for(manager, account) + count + manager->reserve <=
             manager->budget))
        return 0;
    if (own)
        return ENOMEM;
    return store->container
               ? EDQUOT
               : shed(store, hmm_min(count, over - account->guaranteed));
}

/* The account is looked up: what was asked for may have dropped the lock, and
 * another may pay since. */
void hmm_account_refuse(struct hurdmm_store *store, int err)
{
    hmm_assert(hmm_entered(store->manager));
    store->account->refused += err == EDQUOT;
}

int hmm_account_admit(struct hurdmm_store *store, uint64_t count)
{
    int err = hmm_account_try(store, count);

    hmm_account_refuse(store, err);
    return err;
}

struct hurdmm_account *hurdmm_account_own(struct hurdmm *manager)
{
    return manager && manager->magic == HMM_MAGIC_MANAGER ? manager->account
                                                          : NULL;
}

int hurdmm_account_split(struct hurdmm_account *parent, uint64_t guaranteed,
                         struct hurdmm_account **result)
{
    if (!result)
        return EINVAL;
    int err = enter(parent);
    if (err)
        return err;
    struct hurdmm *manager = parent->manager;
    uint64_t frames = guaranteed >> manager->physmem.page_shift;
    uint64_t used =
        parent == manager->account ? parent->payer.wired : parent->payer.used;
    if (guaranteed & (hmm_page_bytes(manager) - 1))
        err = EINVAL;
    else if (frames > parent->guaranteed || used > parent->guaranteed - frames)
        err = ENOMEM;
    /* A manager works with the pages between its marks. */
    else if (parent == manager->account &&
             parent->guaranteed - frames < manager->high)
        err = ENOMEM;
    struct hurdmm_account *account = NULL;
    if (!err)
        err = hmm_account_make(manager, parent, &account);
    if (!err) {
        hmm_assert(frames <= parent->guaranteed);
        parent->guaranteed -= frames; /* A1 */
        account->guaranteed = frames;
    }
    hmm_leave(manager);
    if (!err)
        *result = account;
    return err;
}

/* The next store or container of a list that the account pays for. */
static struct hurdmm_store *paid_in(struct hmm_list *list,
                                    const struct hurdmm_account *account)
{
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, list)
    {
        struct hurdmm_store *store =
            HMM_CONTAINER_OF(link, struct hurdmm_store, link);
        if (store->account == account)
            return store;
    }
    return NULL;
}

/* The account pays for the store, and all that it has, from now on. */
static void pay(struct hurdmm_account *account, struct hurdmm_store *store)
{
    hmm_assert(account && account->manager == store->manager);
    hmm_container_charge(&store->cache, &account->payer);
    store->account = account;
}

/* Empties a store or container that the account pays for; the parent pays from
 * then on, unless somebody else does already: the lock may be dropped. */
static int empty_one(struct hurdmm_account *account, struct hurdmm_store *store)
{
    int err = 0;

    store->users++;
    if (store->container && !store->zombie) {
        err = store->cache.mappings.count > 0
                  ? EBUSY
                  : hmm_container_release(store, 0, hmm_last_page(store));
    } else if (!store->zombie) {
        if (store->ops.page_out)
            err = hmm_flush(store, 0, hmm_last_page(store));
        if (!err)
            err = hmm_drop_range(store, 0, hmm_last_page(store), false);
    }
    store->users--;
    if (!err && store->account == account)
        pay(account->parent, store);
    return err;
}

/* Empties what the account pays for, also what comes to it meanwhile. */
static int empty(struct hurdmm_account *account)
{
    struct hurdmm *manager = account->manager;
    struct hurdmm_store *store;
    int err = 0;

    hmm_assert(account->users > 0);
    while (!err && ((store = paid_in(&manager->containers, account)) ||
                    (store = paid_in(&manager->stores, account)) ||
                    (store = paid_in(&manager->zombies, account))))
        err = empty_one(account, store);
    return err;
}

int hurdmm_account_destroy(struct hurdmm_account *account)
{
    struct hmm_list *link;
    int err = enter(account);

    if (err)
        return err;
    struct hurdmm *manager = account->manager;
    if (account == manager->account)
        err = EINVAL;
    else if (hmm_in_callback(manager, hmm_thread_self(manager)))
        err = EDEADLK;
    else if (account->users > 0)
        err = EBUSY;
    if (!err) {
        account->users++;
        err = empty(account);
        if (--account->users > 0 && !err)
            err = EBUSY; /* somebody calls frames back since */
    }
    if (!err) {
        hmm_assert(account->payer.used == 0 && account->users == 0);
        HMM_LIST_FOR_EACH(link, &manager->accounts)
        {
            if (account_at(link)->parent == account)
                account_at(link)->parent = account->parent;
        }
        account->parent->guaranteed += account->guaranteed;
        hmm_list_remove(&account->link);
        account->magic = 0;
        hmm_slab_free(&manager->account_slab, account);
    }
    hmm_leave(manager);
    return err;
}

int hurdmm_account_set_extra(struct hurdmm_account *account,
                             uint64_t extra_limit)
{
    int err = enter(account);

    if (err)
        return err;
    struct hurdmm *manager = account->manager;
    if (account == manager->account)
        err = EINVAL;
    else
        account->extra_limit = extra_limit >> manager->physmem.page_shift;
    hmm_leave(manager);
    return err;
}

/* Frames beyond the guarantee and what may be kept. */
static uint64_t excess(const struct hurdmm_account *account, uint64_t keep)
{
    uint64_t have = account->guaranteed + keep;

    return account->payer.used > have ? account->payer.used - have : 0;
}

/* Waits until there is no excess, or the time has come. */
static void wait_freed(struct hurdmm_account *account, uint64_t keep,
                       uint64_t deadline)
{
    struct hurdmm *manager = account->manager;

    hmm_assert(account->users > 0);
    while (excess(account, keep) > 0) {
        uint64_t now = manager->ops->clock(manager->port);
        uint32_t ticket = hmm_event_ticket(&manager->progress);

        if (now >= deadline)
            return;
        hmm_leave(manager);
        hmm_event_wait(&manager->progress, ticket, &manager->parker,
                       deadline - now);
        hmm_enter_again(manager);
    }
}

/* Takes what can be taken: pages of stores, clean ones first. */
static void take(struct hurdmm_account *account, uint64_t keep)
{
    struct hurdmm *manager = account->manager;
    struct hmm_list *link;

    for (int dirty = 0; dirty < 2; dirty++) {
        for (link = manager->stores.next;
             link != &manager->stores && excess(account, keep) > 0;
             link = link->next) {
            struct hurdmm_store *store =
                HMM_CONTAINER_OF(link, struct hurdmm_store, link);
            if (store->account != account)
                continue;
            store->users++;
            if (dirty && store->ops.page_out)
                hmm_flush(store, 0, hmm_last_page(store));
            shed(store, excess(account, keep));
            store->users--;
        }
    }
}

int hurdmm_account_call_back(struct hurdmm_account *account, uint64_t keep,
                             uint64_t timeout_ns,
                             void (*request)(void *hook, uint64_t wanted),
                             void *hook, uint64_t *left)
{
    int err = enter(account);

    if (err)
        return err;
    struct hurdmm *manager = account->manager;
    unsigned shift = manager->physmem.page_shift;
    uint64_t frames = keep >> shift, wanted = excess(account, frames);
    uint64_t deadline, rest;
    account->users++;
    if (wanted > 0 && request) {
        deadline = manager->ops->clock(manager->port);
        deadline = timeout_ns > UINT64_MAX - deadline ? UINT64_MAX
                                                      : deadline + timeout_ns;
        hmm_leave(manager);
        request(hook, wanted << shift);
        hmm_enter_again(manager);
        wait_freed(account, frames, deadline);
    }
    if (excess(account, frames) > 0)
        take(account, frames);
    rest = excess(account, frames);
    account->users--;
    hmm_leave(manager);
    if (left)
        *left = rest << shift;
    return rest > 0 ? ENOMEM : 0;
}

int hurdmm_account_pay(struct hurdmm_account *account,
                       struct hurdmm_container *container)
{
    int err = enter(account);

    if (err)
        return err;
    struct hurdmm *manager = account->manager;
    struct hurdmm_store *store = hmm_container_of(container);
    struct hurdmm_account *before;
    if (!store)
        err = EINVAL;
    else if (store->magic != HMM_MAGIC_CONTAINER &&
             store->magic != HMM_MAGIC_STORE)
        err = ESTALE;
    else if (store->manager != manager)
        err = EINVAL;
    if (!err && store->account != account) {
        before = store->account;
        pay(account, store);
        if (account != manager->account &&
            excess(account, account->extra_limit) > 0) {
            pay(before, store);
            account->refused++;
            err = EDQUOT;
        }
    }
    hmm_leave(manager);
    return err;
}

int hurdmm_account_get_info(struct hurdmm_account *account,
                            struct hurdmm_account_info *info)
{
    if (!info || info->struct_size < sizeof info->struct_size)
        return EINVAL;
    int err = enter(account);
    if (err)
        return err;
    unsigned shift = account->manager->physmem.page_shift;
    struct hurdmm_account_info all = {
        .struct_size = info->struct_size,
        .guaranteed = account->guaranteed << shift,
        .extra_limit = account->extra_limit << shift,
        .used = account->payer.used << shift,
        .refused = account->refused,
    };
    hmm_leave(account->manager);
    memcpy(info, &all, (size_t)hmm_min(info->struct_size, sizeof all));
    return 0;
}
