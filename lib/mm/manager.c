/* SPDX-License-Identifier: MIT */
/* manager.c - making and ending a manager; its lock; memory of its own.
 *
 * The manager's structure lies in core memory of the port, so that nothing is
 * allocated behind the caller's back and closing the port frees everything.
 * Core memory only grows until then: pieces go to lists of free ones.
 *
 * The lock is taken inside the port's critical section, whose cookie the manager
 * keeps for whoever has the lock; so it is read before the lock is released.
 * Handles are looked at before the lock is taken, to find it, and again after
 * that: their memory is the core's, which stays.
 */
#include "lib/mm/mm.h"

#define CORE_CHUNK 65536u
#define FRAMES_MIN 16u
#define SPINS_MORE 100000
/* As long as a thread takes to wake up. */
#define WAY_NS UINT64_C(50000)

/* The port's calls as lib/base has them for its locks. */
static int park(void *ctx, _Atomic uint32_t *word, uint32_t expected,
                uint64_t timeout_ns)
{
    struct hurdmm *manager = ctx;

    return manager->ops->park(manager->port, (uint32_t *)word, expected,
                              timeout_ns);
}

static void wake(void *ctx, _Atomic uint32_t *word, int count)
{
    struct hurdmm *manager = ctx;

    manager->ops->wake(manager->port, (uint32_t *)word, (unsigned)count);
}

/* The lock, and who waits for it is counted meanwhile. */
static void acquire(struct hurdmm *manager)
{
    if (hmm_lock_try(&manager->lock))
        return;
    __atomic_fetch_add(&manager->entering, 1, __ATOMIC_RELAXED);
    hmm_lock_acquire(&manager->lock, &manager->parker);
    __atomic_fetch_sub(&manager->entering, 1, __ATOMIC_RELAXED);
}

int hmm_enter(struct hurdmm *manager)
{
    uintptr_t cookie;
    int err = manager->ops->critical_enter(manager->port, &cookie);

    if (err)
        return err;
    acquire(manager);
    manager->cookie = cookie;
    return 0;
}

bool hmm_enter_try(struct hurdmm *manager)
{
    uintptr_t cookie;

    if (manager->ops->critical_enter(manager->port, &cookie))
        return false;
    if (!hmm_lock_try(&manager->lock)) {
        manager->ops->critical_leave(manager->port, cookie);
        return false;
    }
    manager->cookie = cookie;
    return true;
}

void hmm_enter_again(struct hurdmm *manager)
{
    if (hmm_enter(manager))
        hmm_broken(manager, "the critical section is gone");
}

void hmm_leave(struct hurdmm *manager)
{
    uintptr_t cookie = manager->cookie;

    hmm_assert(hmm_entered(manager));
    hmm_lock_release(&manager->lock, &manager->parker);
    manager->ops->critical_leave(manager->port, cookie);
}

uintptr_t hmm_step_aside(struct hurdmm *manager)
{
    uintptr_t cookie = manager->cookie;

    hmm_assert(hmm_entered(manager));
    hmm_lock_release(&manager->lock, &manager->parker);
    return cookie;
}

void hmm_step_back(struct hurdmm *manager, uintptr_t cookie)
{
    acquire(manager);
    manager->cookie = cookie;
}

void hmm_give_way(struct hurdmm *manager)
{
    uint32_t nobody = 0;
    bool waits = true;

    hmm_leave(manager);
    /* Who looks at the lock has it at once; who sleeps has been woken, and may
     * need this very processor. */
    for (int i = 0; waits && i <= manager->parker.spins; i++)
        waits = __atomic_load_n(&manager->entering, __ATOMIC_RELAXED) > 0 &&
                !hmm_lock_held(&manager->lock);
    /* Not on the lock's own word: a release wakes one who waits for the lock, and
     * that must not be this thread in his place. */
    if (waits)
        (void)manager->ops->park(manager->port, &nobody, 0, WAY_NS);
    hmm_enter_again(manager);
}

int hmm_enter_manager(struct hurdmm *manager)
{
    if (!manager)
        return EINVAL;
    return manager->magic == HMM_MAGIC_MANAGER ? hmm_enter(manager) : ESTALE;
}

int hmm_enter_space(struct hurdmm_space *space)
{
    if (!space)
        return EINVAL;
    if (space->magic != HMM_MAGIC_SPACE)
        return ESTALE;
    struct hurdmm *manager = space->manager;
    int err = hmm_enter(manager);
    if (!err && space->magic != HMM_MAGIC_SPACE) {
        hmm_leave(manager);
        err = ESTALE;
    }
    return err;
}

int hmm_enter_store(struct hurdmm_store *store)
{
    if (!store)
        return EINVAL;
    if (store->magic != HMM_MAGIC_STORE)
        return ESTALE;
    struct hurdmm *manager = store->manager;
    int err = hmm_enter(manager);
    if (!err && (store->magic != HMM_MAGIC_STORE || store->dying)) {
        hmm_leave(manager);
        err = ESTALE;
    }
    if (!err && (err = hmm_claim_check(store)) != 0)
        hmm_leave(manager);
    return err;
}

uint64_t hmm_thread_self(struct hurdmm *manager)
{
    return manager->ops->thread_self(manager->port);
}

/* The port broke its contract in a way that leaves no state to go on from.  The
 * program may say so in its own way first; it must not come back. */
void hmm_broken(struct hurdmm *manager, const char *what)
{
    if (manager->fatal)
        manager->fatal(manager->hook, what);
    HMM_UNREACHABLE();
}

void hmm_log(struct hurdmm *manager, const char *message)
{
    if (!manager->log)
        return;
    hmm_leave(manager);
    manager->log(manager->hook, message);
    hmm_enter_again(manager);
}

struct hmm_bounce *hmm_bounce_get(struct hurdmm *manager, uint32_t pages)
{
    struct hmm_bounce **at = &manager->bounces, *bounce;

    hmm_assert(hmm_entered(manager) && pages > 0);
    while (*at && (*at)->pages < pages)
        at = &(*at)->next;
    bounce = *at;
    if (bounce) {
        *at = bounce->next;
        return bounce;
    }
    /* Aligned, since that is what some devices want; and one piece, since core
     * memory is not given back: half of one would be lost. */
    size_t page = hmm_page_bytes(manager), length = pages * page;
    char *bytes = hmm_core_alloc(&manager->core, length + sizeof *bounce, page);
    if (!bytes)
        return NULL;
    bounce = (struct hmm_bounce *)(void *)(bytes + length);
    bounce->pages = pages;
    bounce->bytes = bytes;
    return bounce;
}

void hmm_bounce_put(struct hurdmm *manager, struct hmm_bounce *bounce)
{
    if (!bounce)
        return;
    hmm_assert(hmm_entered(manager) && bounce->pages > 0);
    bounce->next = manager->bounces;
    manager->bounces = bounce;
}

int hmm_range_check(const struct hurdmm *manager, uint64_t start,
                    uint64_t length)
{
    uint64_t mask = hmm_page_bytes(manager) - 1;

    if (((start | length) & mask) || !hmm_range_ok(start, length))
        return EINVAL;
    return 0;
}

/* More memory of the library's own, for lib/base. */
static int extend(void *ctx, size_t size, void **address)
{
    struct hurdmm *manager = ctx;

    return manager->ops->core_map(manager->port, size, address);
}

static void init_slabs(struct hurdmm *manager)
{
    struct hmm_core *core = &manager->core;

    hmm_slab_init(&manager->space_slab, core, sizeof(struct hurdmm_space), 16,
                  "space");
    hmm_slab_init(&manager->store_slab, core, sizeof(struct hurdmm_store), 16,
                  "store");
    hmm_slab_init(&manager->region_slab, core, sizeof(struct hmm_region), 16,
                  "region");
    hmm_slab_init(&manager->account_slab, core, sizeof(struct hurdmm_account),
                  16, "account");
    hmm_slab_init(&manager->grant_slab, core, sizeof(struct hurdmm_grant), 16,
                  "grant");
    hmm_slab_init(&manager->request_slab, core, sizeof(struct hurdmm_request),
                  16, "request");
    hmm_slab_init(&manager->run_slab, core, hmm_run_size(), 16, "run");
    hmm_slab_init(&manager->waiter_slab, core, sizeof(struct hmm_waiter), 16,
                  "waiter");
    hmm_slab_init(&manager->catcher_slab, core, sizeof(struct hmm_catcher), 16,
                  "catcher");
    hmm_slab_init(&manager->arena_slab, core, sizeof(struct hmm_arena), 16,
                  "arena");
    hmm_grades_init(manager);
    for (unsigned i = 0; i < HMM_SIZE_CLASSES; i++)
        hmm_slab_init(&manager->size_slab[i], core, (size_t)64 << i, 16,
                      "allocate");
}

static void init_lists(struct hurdmm *manager)
{
    struct hmm_list *lists[] = {
        &manager->unused,     &manager->spaces,   &manager->stores,
        &manager->containers, &manager->requests, &manager->calls,
        &manager->waiters,    &manager->ready,    &manager->zombies,
        &manager->accounts,   &manager->grants};

    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        hmm_list_init(lists[i]);
    hmm_lock_init(&manager->lock);
    hmm_event_init(&manager->progress);
    hmm_event_init(&manager->work);
    manager->parker = (struct hmm_parker){park, wake, manager, 0};
    /* Real processors: one that sleeps is woken in 50 us, and the lock is held
     * for some ten of them at most. */
    if (manager->info.pagers > 1)
        manager->parker.spins = SPINS_MORE;
}

/* The figures in pages, defaults filled in; EINVAL when they do not fit. */
static int set_marks(struct hurdmm *manager,
                     const struct hurdmm_options *options)
{
    unsigned shift = manager->physmem.page_shift;
    uint64_t budget = options->budget >> shift;
    uint64_t low = options->low_water >> shift;
    uint64_t high = options->high_water >> shift;
    uint64_t limit = options->dirty_limit >> shift;
    uint64_t pins = options->pin_limit >> shift;
    uint64_t ahead = options->readahead >> shift;

    if (budget < FRAMES_MIN || budget >= UINT32_MAX / 2)
        return EINVAL;
    low = low ? low : hmm_min(hmm_max(budget / 8, 2), (4u << 20 >> shift) + 2);
    high = high ? high : low + hmm_max(low / 2, 1);
    limit = limit ? limit : hmm_frames_stay(manager) ? budget / 2 : budget;
    pins = pins ? pins : budget / 2;
    if (low >= high || high >= budget || limit > budget || pins > budget)
        return EINVAL;
    manager->budget = manager->budget_max = (uint32_t)budget;
    manager->low = (uint32_t)low;
    manager->high = (uint32_t)high;
    manager->dirty_limit = (uint32_t)limit;
    manager->pin_limit = (uint32_t)pins;
    manager->reserve = (uint32_t)hmm_min(budget / 16, 8);
    /* Copies are the library's own memory: they are small where the budget is. */
    manager->copy_pages =
        (uint32_t)hmm_min(hmm_max(budget / 1024, 1), HMM_RUN_MAX / 4);
    ahead = ahead ? ahead : 32;
    ahead = hmm_min(hmm_min(ahead, HMM_RUN_MAX), budget / 8);
    manager->readahead = (uint32_t)hmm_max(ahead, 1);
    hmm_assert(manager->reserve < manager->budget);
    hmm_assert(manager->copy_pages > 0 && manager->readahead <= HMM_RUN_MAX);
    return 0;
}

/* The policy and its state, which is of the size that the policy says. */
static int set_policy(struct hurdmm *manager,
                      const struct hurdmm_options *options)
{
    uint32_t frames = manager->physmem.frames;

    manager->policy =
        options->policy ? options->policy : &hurdmm_policy_default;
    size_t size = manager->policy->memory(frames);
    manager->policy_state = hmm_core_alloc(&manager->core, size + 1, 16);
    if (!manager->policy_state)
        return ENOMEM;
    memset(manager->policy_state, 0, size);
    manager->policy->init(manager->policy_state, frames, options->seed);
    return 0;
}

/* What needs the port to be open and the structure to be there; with the lock.
 * After an error nothing is undone: closing the port frees all. */
static int set_up(struct hurdmm *manager, const struct hurdmm_options *options)
{
    hmm_core_init(&manager->core, extend, manager, CORE_CHUNK);
    init_slabs(manager);
    manager->physmem.page_shift = hmm_log2(manager->info.page_size);
    int err = set_marks(manager, options);
    if (err)
        return err;
    err = hmm_physmem_init(&manager->physmem, manager->port, &manager->info,
                           &manager->core, manager->budget);
    if (err)
        return err;
    if (manager->physmem.frames < manager->budget)
        return ENOMEM;
    err = set_policy(manager, options);
    if (err)
        return err;
    err = hmm_account_make(manager, NULL, &manager->account);
    if (err)
        return err;
    manager->account->guaranteed = manager->budget - manager->reserve;
    return hmm_space_make(manager, NULL, &manager->own);
}

/* EINVAL for what can be said before the port is open. */
static int check_options(const struct hurdmm_options *options)
{
    if (!options || options->struct_size < sizeof *options || !options->port)
        return EINVAL;
    if (options->flags & ~HURDMM_NO_THREADS || options->budget == 0)
        return EINVAL;
    const struct hurdmm_port_ops *ops = options->port->ops;
    if (!ops || ops->version != HURDMM_PORT_VERSION ||
        ops->struct_size < sizeof *ops)
        return EINVAL;
    if (options->policy &&
        options->policy->struct_size < sizeof *options->policy)
        return EINVAL;
    return 0;
}

static int open_port(struct hurdmm_port *port, size_t budget,
                     struct hurdmm_port_info *info)
{
    struct hurdmm_port_config config = {
        .struct_size = sizeof config,
        .bytes = budget, /* the page size is not known yet */
        .fault = hmm_fault_inline,
        .client = port,
        .fault_soft = hmm_fault_soft,
    };

    memset(info, 0, sizeof *info);
    info->struct_size = sizeof *info;
    return port->ops->open(port, &config, info);
}

/* The manager's structure, in the port's core memory. */
static int place(const struct hurdmm_options *options,
                 const struct hurdmm_port_info *info, struct hurdmm **manager)
{
    struct hurdmm_port *port = options->port;
    uintptr_t cookie;
    void *memory;
    int err = port->ops->critical_enter(port, &cookie);

    if (err)
        return err;
    err = port->ops->core_map(
        port, (size_t)hmm_align_up(sizeof **manager, 4096), &memory);
    port->ops->critical_leave(port, cookie);
    if (err)
        return err;
    struct hurdmm *m = memory;
    m->port = port;
    m->ops = port->ops;
    m->info = *info;
    m->flags = options->flags;
    m->log = options->log;
    m->fatal = options->fatal;
    m->hook = options->hook;
    init_lists(m);
    port->manager = m;
    *manager = m;
    return 0;
}

/* Closes the port when making or ending a manager is done with it. */
static void close_port(struct hurdmm_port *port)
{
    port->manager = NULL;
    port->ops->close(port);
}

int hurdmm_create(const struct hurdmm_options *options, struct hurdmm **result)
{
    struct hurdmm_port_info info;
    struct hurdmm *manager;
    int err = check_options(options);

    if (err || !result)
        return EINVAL;
    struct hurdmm_port *port = options->port;
    err = open_port(port, options->budget, &info);
    if (err)
        return err;
    err = place(options, &info, &manager);
    if (!err)
        err = hmm_enter(manager);
    if (!err) {
        err = set_up(manager, options);
        hmm_leave(manager);
    }
    if (!err && !(options->flags & HURDMM_NO_THREADS))
        err = hmm_threads_start(manager, options->pager_threads);
    if (err) {
        close_port(port);
        return err;
    }
    manager->magic = HMM_MAGIC_MANAGER;
    *result = manager;
    return 0;
}

/* EBUSY: there is something that only HURDMM_DETACH may take away. */
static int busy(const struct hurdmm *manager)
{
    if (!hmm_list_empty(&manager->stores) ||
        !hmm_list_empty(&manager->containers))
        return EBUSY;
    const struct hmm_list *link;
    HMM_LIST_FOR_EACH(link, &manager->spaces)
    {
        const struct hurdmm_space *space =
            HMM_CONTAINER_OF(link, struct hurdmm_space, link);
        if (space->regions.count > 0)
            return EBUSY;
    }
    return 0;
}

/* The first store on which no other stands. */
static struct hurdmm_store *unclaimed(struct hurdmm *manager)
{
    struct hmm_list *link;

    HMM_LIST_FOR_EACH(link, &manager->stores)
    {
        struct hurdmm_store *store =
            HMM_CONTAINER_OF(link, struct hurdmm_store, link);
        if (store->claims == 0)
            return store;
    }
    return NULL;
}

/* Ends all containers, those first on which nothing depends. */
static void bury_containers(struct hurdmm *manager)
{
    struct hmm_list *link;

    while ((link = hmm_list_first(&manager->containers)) != NULL)
        hmm_bury(HMM_CONTAINER_OF(link, struct hurdmm_store, link));
    hmm_reap(manager);
}

/* Takes everything away that a destroy with HURDMM_DETACH may take; drops the
 * lock.  The first error ends it: what is gone by then is gone. */
static int take_away(struct hurdmm *manager, unsigned flags)
{
    struct hmm_list *link;
    int err = 0;

    hmm_assert(hmm_entered(manager) && flags & HURDMM_DETACH);
    HMM_LIST_FOR_EACH(link, &manager->spaces)
    hmm_space_unbind_all(HMM_CONTAINER_OF(link, struct hurdmm_space, link));
    while (!err && !hmm_list_empty(&manager->stores)) {
        struct hurdmm_store *store = unclaimed(manager);

        if (!store) {
            /* Who claims them was destroyed, and lives on for copies of it;
             * with its end it may have ended them. */
            bury_containers(manager);
            if (hmm_list_empty(&manager->stores))
                break;
            store = unclaimed(manager);
        }
        err = store ? hmm_store_destroy(store, flags) : EBUSY;
    }
    if (!err)
        bury_containers(manager);
    return err;
}

int hurdmm_destroy(struct hurdmm *manager, unsigned flags)
{
    struct hmm_list *link;

    if (flags & ~(HURDMM_DETACH | HURDMM_DROP))
        return EINVAL;
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    if (hmm_in_callback(manager, hmm_thread_self(manager)))
        err = EDEADLK;
    else if (!(flags & HURDMM_DETACH))
        err = busy(manager);
    else /* what is pinned can be unpinned only by what would be taken away */
        err = hmm_pins_left(manager) ? EBUSY : take_away(manager, flags);
    hmm_leave(manager);
    if (err)
        return err;
    hmm_threads_stop(manager);
    err = hmm_enter(manager);
    if (err)
        return err;
    manager->reap_due = true; /* what was busy when its dependents went */
    hmm_reap(manager);
    while ((link = hmm_list_first(&manager->spaces)) != NULL)
        hmm_space_end(HMM_CONTAINER_OF(link, struct hurdmm_space, link));
    manager->magic = 0;
    hmm_leave(manager);
    close_port(manager->port);
    return 0;
}

size_t hurdmm_page_size(const struct hurdmm *manager)
{
    return hmm_page_bytes(manager);
}

int hurdmm_set_budget(struct hurdmm *manager, size_t budget)
{
    int err = hmm_enter_manager(manager);

    if (err)
        return err;
    uint64_t frames = budget >> manager->physmem.page_shift;
    uint64_t promised = hmm_account_promised(manager);
    if (frames <= manager->high + promised || frames < FRAMES_MIN ||
        frames > manager->budget_max) {
        hmm_leave(manager);
        return EINVAL;
    }
    manager->budget = (uint32_t)frames;
    manager->physmem.limit = manager->budget;
    /* At once: others may be given guarantees while the lock is dropped (A1). */
    manager->account->guaranteed =
        manager->budget - promised - manager->reserve;
    do {
        uint32_t used = manager->physmem.used;
        err = used > manager->physmem.limit
                  ? hmm_reclaim(manager, used - manager->physmem.limit)
                  : 0;
    } while (err == EAGAIN ||
             (!err && manager->physmem.used > manager->physmem.limit));
    /* What cannot leave stays, and counts. */
    if (err && manager->physmem.used > manager->budget) {
        manager->budget = manager->physmem.used;
        manager->physmem.limit = manager->budget;
    }
    hmm_assert(manager->physmem.used <= manager->physmem.limit);
    promised = hmm_account_promised(manager);
    hmm_assert(manager->budget >= promised + manager->reserve);
    manager->account->guaranteed =
        manager->budget - promised - manager->reserve;
    hmm_leave(manager);
    return err;
}

/* Memory for people who write stores: powers of two from slabs, larger pieces
 * from a list of freed ones, first fit of the same size. */

struct hmm_large {
    struct hmm_large *next;
    size_t size;
};

/* 0 for up to 64 bytes, 1 for up to 128, and so on. */
static unsigned size_class(size_t size)
{
    hmm_assert(size > 0);
    return size <= 64 ? 0 : hmm_log2(size - 1) - 5;
}

/* A piece of just this size that was given back, or new memory; NULL. */
static void *large_get(struct hurdmm *manager, size_t size)
{
    for (struct hmm_large **at = &manager->large_free; *at; at = &(*at)->next) {
        struct hmm_large *piece = *at;
        if (piece->size == size) {
            *at = piece->next;
            return piece;
        }
    }
    return hmm_core_alloc(&manager->core, size, 16);
}

/* The room that a large piece takes: a multiple of 4 KiB, so that pieces of
 * about the same size serve each other. */
static size_t large_size(size_t size)
{
    return (size_t)hmm_align_up(size, 4096);
}

int hurdmm_allocate(struct hurdmm *manager, size_t size, void **memory)
{
    void *piece;

    if (!memory || size == 0 || size > SIZE_MAX / 2)
        return EINVAL;
    int err = hmm_enter_manager(manager);
    if (err)
        return err;
    if (size_class(size) < HMM_SIZE_CLASSES)
        piece = hmm_slab_alloc(&manager->size_slab[size_class(size)]);
    else
        piece = large_get(manager, large_size(size));
    hmm_leave(manager);
    if (!piece)
        return ENOMEM;
    memset(piece, 0, size);
    *memory = piece;
    return 0;
}

void hurdmm_deallocate(struct hurdmm *manager, void *memory, size_t size)
{
    if (!memory || size == 0 || hmm_enter_manager(manager))
        return;
    if (size_class(size) < HMM_SIZE_CLASSES) {
        hmm_slab_free(&manager->size_slab[size_class(size)], memory);
    } else {
        struct hmm_large *piece = memory;
        piece->size = large_size(size);
        piece->next = manager->large_free;
        manager->large_free = piece;
    }
    hmm_leave(manager);
}

void hurdmm_mutex_lock(struct hurdmm *manager, uint32_t *mutex)
{
    hmm_lock_acquire((struct hmm_lock *)(void *)mutex, &manager->parker);
}

void hurdmm_mutex_unlock(struct hurdmm *manager, uint32_t *mutex)
{
    hmm_lock_release((struct hmm_lock *)(void *)mutex, &manager->parker);
}
