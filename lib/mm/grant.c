/* SPDX-License-Identifier: MIT */
/* grant.c - weak handles on a range of a container.
 *
 * What a grant lets its holder do is done for him by the container's own
 * functions, after a look at the grant; what is mapped through it is an ordinary
 * region that remembers the grant.  So revoking is unbinding those regions and
 * forgetting the handle.
 */
#include "lib/mm/mm.h"

#define HOLD_MAX_NS UINT64_C(1000000000)

/* A grant that may be good for nothing any more, but that is there. */
static int enter_any(struct hurdmm_grant *grant)
{
    if (!grant)
        return EINVAL;
    if (grant->magic != HMM_MAGIC_GRANT)
        return ESTALE;
    struct hurdmm *manager = grant->manager;
    int err = hmm_enter(manager);
    if (!err && grant->magic != HMM_MAGIC_GRANT) {
        hmm_leave(manager);
        err = ESTALE;
    }
    return err;
}

/* One that still names a container. */
static int enter(struct hurdmm_grant *grant)
{
    int err = enter_any(grant);

    if (!err && !grant->container) {
        hmm_leave(grant->manager);
        err = ESTALE;
    }
    return err;
}

int hurdmm_grant_create(struct hurdmm_container *handle, uint64_t offset,
                        uint64_t length, unsigned rights,
                        struct hurdmm_grant **result)
{
    if (!result || !(rights & HURDMM_READ) || rights & ~HURDMM_RIGHTS)
        return EINVAL;
    int err = hmm_enter_container(handle);
    if (err)
        return err;
    struct hurdmm_store *container = hmm_container_of(handle);
    struct hurdmm *manager = container->manager;
    struct hurdmm_grant *grant = NULL;
    if (!container->container)
        err = ENOTSUP;
    else
        err = hmm_range_check(manager, offset, length);
    if (!err && !(grant = hmm_slab_alloc(&manager->grant_slab)))
        err = ENOMEM;
    if (!err) {
        memset(grant, 0, sizeof *grant);
        grant->magic = HMM_MAGIC_GRANT;
        grant->manager = manager;
        grant->container = container;
        grant->offset = offset;
        grant->length = length;
        grant->rights = rights;
        hmm_list_append(&manager->grants, &grant->link);
    }
    hmm_leave(manager);
    if (!err)
        *result = grant;
    return err;
}

/* The container has gone: its grants are stale. */
void hmm_grants_forget(struct hurdmm_store *container)
{
    struct hmm_list *link;

    hmm_assert(hmm_entered(container->manager));
    HMM_LIST_FOR_EACH(link, &container->manager->grants)
    {
        struct hurdmm_grant *grant =
            HMM_CONTAINER_OF(link, struct hurdmm_grant, link);
        if (grant->container == container)
            grant->container = NULL;
    }
}

/* The first region that was mapped through the grant, or the one after `before'. */
static struct hmm_region *mapped_through(const struct hurdmm_grant *grant,
                                         const struct hmm_region *before)
{
    struct hmm_span *span =
        before             ? hmm_span_next(&before->mapping.by_offset)
        : grant->container ? hmm_span_lowest(&grant->container->cache.mappings)
                           : NULL;

    for (; span; span = hmm_span_next(span)) {
        struct hmm_mapping *mapping =
            HMM_CONTAINER_OF(span, struct hmm_mapping, by_offset);
        struct hmm_region *region =
            HMM_CONTAINER_OF(mapping, struct hmm_region, mapping);
        if (region->grant == grant)
            return region;
    }
    return NULL;
}

/* Unbinds what was mapped through the grant, without dropping the lock: there may
 * be another region at the address then.  EBUSY: some of it is pinned, and all of it
 * stays. */
static int unmap_all(struct hurdmm_grant *grant)
{
    struct hmm_region *region = NULL;
    int err = 0;

    hmm_assert(hmm_entered(grant->manager));
    while (!err && (region = mapped_through(grant, region)) != NULL)
        err = hmm_unbind_check(region->space, region->by_address.first,
                               region->by_address.last);
    while (!err && (region = mapped_through(grant, NULL)) != NULL)
        err = hmm_unbind(region->space, region->by_address.first,
                         region->by_address.last);
    return err;
}

/* Waits for the holder, at most until his time is over. */
static void wait_hold(struct hurdmm_grant *grant)
{
    struct hurdmm *manager = grant->manager;

    while (grant->held) {
        uint64_t now = manager->ops->clock(manager->port);
        uint32_t ticket = hmm_event_ticket(&manager->progress);

        if (now >= grant->held_until)
            return;
        hmm_leave(manager);
        hmm_event_wait(&manager->progress, ticket, &manager->parker,
                       grant->held_until - now);
        hmm_enter_again(manager);
    }
}

/* EDEADLK: a call is under way that may wait for the callback that asks. */
static int would_wait(const struct hurdmm_grant *grant)
{
    struct hurdmm *manager = grant->manager;

    return grant->users > 0 &&
                   hmm_in_callback(manager, hmm_thread_self(manager))
               ? EDEADLK
               : 0;
}

/* Waits for calls that found the grant good: new ones do not. */
static void wait_users(struct hurdmm_grant *grant)
{
    struct hurdmm *manager = grant->manager;

    hmm_assert(grant->revoking);
    while (grant->users > 0) {
        uint32_t ticket = hmm_event_ticket(&manager->progress);

        hmm_leave(manager);
        hmm_event_wait(&manager->progress, ticket, &manager->parker,
                       HURDMM_FOREVER);
        hmm_enter_again(manager);
    }
}

/* Frees a grant that is revoked and that nobody has open. */
static void bury(struct hurdmm_grant *grant)
{
    if (!grant->revoked || grant->opens > 0)
        return;
    hmm_list_remove(&grant->link);
    grant->magic = 0;
    hmm_slab_free(&grant->manager->grant_slab, grant);
}

int hurdmm_grant_revoke(struct hurdmm_grant *grant)
{
    int err = enter_any(grant);

    if (err)
        return err;
    struct hurdmm *manager = grant->manager;
    if (grant->revoking || grant->revoked)
        err = ESTALE;
    else
        err = would_wait(grant);
    if (err) {
        hmm_leave(manager);
        return err;
    }
    grant->revoking = true;
    wait_hold(grant);
    err = would_wait(grant); /* who holds it may have begun one */
    if (!err) {
        wait_users(grant);
        err = unmap_all(grant);
    }
    grant->revoking = false;
    if (!err) {
        grant->revoked = true;
        grant->container = NULL;
        bury(grant);
    }
    hmm_leave(manager);
    return err;
}

int hurdmm_grant_open(struct hurdmm_grant *grant)
{
    int err = enter(grant);

    if (err)
        return err;
    if (grant->revoking)
        err = ESTALE;
    else
        grant->opens++;
    hmm_leave(grant->manager);
    return err;
}

int hurdmm_grant_close(struct hurdmm_grant *grant)
{
    int err = enter_any(grant);

    if (err)
        return err;
    struct hurdmm *manager = grant->manager;
    if (grant->opens == 0) {
        err = EINVAL;
    } else {
        grant->opens--;
        bury(grant);
    }
    hmm_leave(manager);
    return err;
}

int hurdmm_grant_hold(struct hurdmm_grant *grant, uint64_t timeout_ns)
{
    int err = enter(grant);

    if (err)
        return err;
    struct hurdmm *manager = grant->manager;
    uint64_t now = manager->ops->clock(manager->port);
    if (timeout_ns == 0 || timeout_ns > HOLD_MAX_NS)
        err = EINVAL;
    else if (grant->revoking)
        err = ESTALE;
    else if (grant->held && now < grant->held_until)
        err = EBUSY;
    if (!err) {
        grant->held = true;
        grant->held_until = now + timeout_ns;
    }
    hmm_leave(manager);
    return err;
}

int hurdmm_grant_drop(struct hurdmm_grant *grant)
{
    int err = enter(grant);

    if (err)
        return err;
    struct hurdmm *manager = grant->manager;
    if (!grant->held)
        err = EINVAL;
    grant->held = false;
    hmm_event_signal(&manager->progress, &manager->parker);
    hmm_leave(manager);
    return err;
}

/* Has the holder been promised that nothing is taken from him yet? */
static bool holds(const struct hurdmm_grant *grant)
{
    struct hurdmm *manager = grant->manager;

    return grant->held &&
           manager->ops->clock(manager->port) < grant->held_until;
}

/* May it be used so?  ESTALE, EPERM, ENXIO. */
static int check_use(const struct hurdmm_grant *grant, uint64_t offset,
                     size_t length, unsigned rights)
{
    hmm_assert(hmm_entered(grant->manager));
    if (grant->revoking && !holds(grant))
        return ESTALE;
    if (rights & ~grant->rights)
        return EPERM;
    if (offset > grant->length || length > grant->length - offset)
        return ENXIO;
    return 0;
}

/* Begins a use: says where it is in the container, which stays until the use has
 * ended, as the grant does. */
static int use_begin(struct hurdmm_grant *grant, uint64_t offset, size_t length,
                     unsigned rights, struct hurdmm_container **container,
                     uint64_t *place)
{
    int err = enter(grant);

    if (err)
        return err;
    err = check_use(grant, offset, length, rights);
    *container = (struct hurdmm_container *)(void *)grant->container;
    *place = grant->offset + offset;
    if (!err) {
        grant->users++;
        grant->container->users++;
    }
    hmm_leave(grant->manager);
    return err;
}

/* Ends a use; who revokes the grant may be waiting for that. */
static void use_end(struct hurdmm_grant *grant)
{
    struct hurdmm *manager = grant->manager;

    hmm_enter_again(manager);
    hmm_assert(grant->users > 0 && grant->container->users > 0);
    grant->container->users--;
    grant->users--;
    hmm_event_signal(&manager->progress, &manager->parker);
    hmm_leave(manager);
}

int hurdmm_grant_read(struct hurdmm_grant *grant, uint64_t offset, void *buffer,
                      size_t length, size_t *done)
{
    struct hurdmm_container *container;
    uint64_t place;

    if (!done)
        return EINVAL;
    *done = 0;
    int err = use_begin(grant, offset, length, HURDMM_READ, &container, &place);
    if (err)
        return err;
    err = hurdmm_container_read(container, place, buffer, length, done);
    use_end(grant);
    return err;
}

int hurdmm_grant_write(struct hurdmm_grant *grant, uint64_t offset,
                       const void *buffer, size_t length, size_t *done)
{
    struct hurdmm_container *container;
    uint64_t place;

    if (!done)
        return EINVAL;
    *done = 0;
    int err =
        use_begin(grant, offset, length, HURDMM_WRITE, &container, &place);
    if (err)
        return err;
    err = hurdmm_container_write(container, place, buffer, length, done);
    use_end(grant);
    return err;
}

/* The space is the grant's manager's.  EINVAL, ESTALE. */
static int check_space(const struct hurdmm_grant *grant,
                       const struct hurdmm_space *space)
{
    if (!space)
        return EINVAL;
    if (space->magic != HMM_MAGIC_SPACE)
        return ESTALE;
    return space->manager == grant->manager ? 0 : EINVAL;
}

int hurdmm_grant_map(struct hurdmm_grant *grant, uint64_t offset, size_t length,
                     struct hurdmm_space *space, unsigned rights,
                     uintptr_t *address)
{
    uintptr_t where = 0;

    if (!address || !rights)
        return EINVAL;
    int err = enter(grant);
    if (err)
        return err;
    struct hurdmm_bind_options bind = {
        .struct_size = sizeof bind,
        .space = space,
        .container = (struct hurdmm_container *)(void *)grant->container,
        .offset = grant->offset + offset,
        .length = length,
        .rights = rights,
        .max_rights = rights,
    };
    err = check_use(grant, offset, length, rights);
    if (!err)
        err = check_space(grant, space);
    if (!err)
        err = hmm_bind(grant->manager, &bind, &where);
    /* The lock was not dropped: nobody revokes it in between. */
    if (!err)
        hmm_region_at(space, where)->grant = grant;
    hmm_leave(grant->manager);
    if (!err)
        *address = where;
    return err;
}
