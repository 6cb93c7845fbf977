/* SPDX-License-Identifier: MIT */
/* Accounts: who pays, how much, and what happens when it is too much. */
#include <hurdmm/account.h>

#include "lib/base/rand.h"
#include "tests/physmem/rig.h"
#include "tests/support/runner.h"

static struct world world;
static struct hurdmm_account *own;

static void begin(void)
{
    const struct world_options options = {.frames = 128};
    world_begin(&world, &options);
    own = hurdmm_account_own(world.manager);
    ck_assert_ptr_nonnull(own);
}

static void end(void)
{
    world_end(&world);
}

static struct hurdmm_account_info info_of(struct hurdmm_account *account)
{
    struct hurdmm_account_info info = {.struct_size = sizeof info};
    ck_assert_int_eq(hurdmm_account_get_info(account, &info), 0);
    return info;
}

static unsigned used_by(struct hurdmm_account *account)
{
    return (unsigned)(info_of(account).used / world.page);
}

static struct hurdmm_account *split(struct hurdmm_account *parent,
                                    unsigned pages)
{
    struct hurdmm_account *account = NULL;
    ck_assert_int_eq(hurdmm_account_split(parent, pages * world.page, &account),
                     0);
    return account;
}

static struct hurdmm_container *paid_by(struct hurdmm_account *account)
{
    struct hurdmm_container *container = rig_container(&world);
    ck_assert_int_eq(hurdmm_account_pay(account, container), 0);
    return container;
}

static int allocate(struct hurdmm_container *container, unsigned first,
                    unsigned pages, unsigned flags, unsigned *done)
{
    uint64_t bytes = 1;
    int error = hurdmm_container_allocate(container, first * world.page,
                                          pages * world.page, flags, &bytes);
    *done = (unsigned)(bytes / world.page);
    return error;
}

/* Who shares the page still does. */
START_TEST(what_a_quota_refuses_is_shared_as_before)
{
    struct hurdmm_account *account = split(own, 1);
    struct hurdmm_container *full = paid_by(account);
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    struct disk *disk = rig_disk(&world, "abcd", 0);
    unsigned allocated;
    size_t done;
    ck_assert_int_eq(allocate(full, 0, 1, 0, &allocated), 0);
    ck_assert_int_eq(
        hurdmm_account_pay(account, hurdmm_store_container(disk->store)), 0);
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_SHARED);
    ck_assert_int_eq(
        hurdmm_store_cache(disk->store, 0, b, 0, 4 * world.page, &done),
        EDQUOT);
    ck_assert_uint_eq(done, 0);
    rig_letter(&world, b, 0, 'X');
    rig_letter(&world, a, 1, 'Y');
    rig_expect(&world, a, "XYcd");
    rig_expect(&world, b, "XYcd");
}
END_TEST

START_TEST(what_is_shared_is_handed_over_as_a_copy)
{
    struct hurdmm_container *a = rig_filled(&world, "abcd");
    struct hurdmm_container *b = rig_container(&world);
    struct disk *disk = rig_disk(&world, "abcd", 0);
    size_t done;
    rig_copied(&world, b, 0, a, 0, 4, HURDMM_COPY_SHARED);
    ck_assert_int_eq(
        hurdmm_store_cache(disk->store, 0, b, 0, 2 * world.page, &done), 0);
    rig_letter(&world, a, 0, 'X');
    rig_letter(&world, a, 2, 'Y');
    rig_expect(&world, a, "XbYd");
    rig_expect(&world, b, "..Yd");
    rig_expect_store(&world, disk->store, "abcd");
    ck_assert_uint_eq(disk->ins, 2);
}
END_TEST

START_TEST(a_split_and_a_destroy_give_back_what_there_was)
{
    uint64_t all = info_of(own).guaranteed;
    struct hurdmm_account *ninety = split(own, 90), *ten;
    ck_assert_uint_eq(info_of(own).guaranteed, all - 90 * world.page);
    ten = split(ninety, 10);
    ck_assert_uint_eq(info_of(ninety).guaranteed, 80 * world.page);
    ck_assert_uint_eq(info_of(ten).guaranteed, 10 * world.page);
    ck_assert_int_eq(hurdmm_account_destroy(ninety), 0);
    ck_assert_uint_eq(info_of(ten).guaranteed, 10 * world.page);
    ck_assert_uint_eq(info_of(own).guaranteed, all - 10 * world.page);
    ck_assert_int_eq(hurdmm_account_destroy(ten), 0);
    ck_assert_uint_eq(info_of(own).guaranteed, all);
}
END_TEST

START_TEST(guarantees_never_exceed_memory)
{
    struct hurdmm_account *account = NULL;
    uint64_t all = info_of(own).guaranteed;
    ck_assert_int_eq(hurdmm_account_split(own, all + world.page, &account),
                     ENOMEM);
    ck_assert_int_eq(hurdmm_account_split(own, world.page + 1, &account),
                     EINVAL);
    account = split(own, 20);
    struct hurdmm_account *child = NULL;
    ck_assert_int_eq(hurdmm_account_split(account, 21 * world.page, &child),
                     ENOMEM);
    ck_assert_int_eq(hurdmm_account_split(account, 20 * world.page, &child), 0);
}
END_TEST

START_TEST(a_split_leaves_what_the_parent_uses)
{
    struct hurdmm_account *account = split(own, 20), *child = NULL;
    struct hurdmm_container *container = paid_by(account);
    unsigned done;
    ck_assert_int_eq(allocate(container, 0, 15, 0, &done), 0);
    ck_assert_int_eq(hurdmm_account_split(account, 6 * world.page, &child),
                     ENOMEM);
    ck_assert_int_eq(hurdmm_account_split(account, 5 * world.page, &child), 0);
}
END_TEST

START_TEST(a_quota_is_exceeded_in_the_middle_of_an_allocation)
{
    struct hurdmm_account *account = split(own, 10);
    struct hurdmm_container *container = paid_by(account);
    unsigned done;
    ck_assert_int_eq(allocate(container, 0, 16, 0, &done), EDQUOT);
    ck_assert_uint_eq(done, 10);
    ck_assert_uint_eq(used_by(account), 10);
    ck_assert_uint_eq(info_of(account).refused, 1);
    rig_expect(&world, container, "0000000000......");
    ck_assert_int_eq(allocate(container, 12, 4, HURDMM_ALL_OR_NONE, &done),
                     EDQUOT);
    ck_assert_uint_eq(done, 0);
    ck_assert_uint_eq(info_of(account).refused, 2);
    ck_assert_int_eq(rig_release(&world, container, 0, 4), 0);
    ck_assert_int_eq(allocate(container, 12, 4, HURDMM_ALL_OR_NONE, &done), 0);
    ck_assert_uint_eq(info_of(account).refused, 2);
    ck_assert_uint_eq(used_by(account), 10);
}
END_TEST

START_TEST(extra_frames_are_had_up_to_their_limit)
{
    struct hurdmm_account *account = split(own, 4);
    struct hurdmm_container *container = paid_by(account);
    unsigned done;
    ck_assert_int_eq(hurdmm_account_set_extra(account, 3 * world.page), 0);
    ck_assert_int_eq(allocate(container, 0, 16, 0, &done), EDQUOT);
    ck_assert_uint_eq(done, 7);
    ck_assert_int_eq(hurdmm_account_set_extra(account, 0), 0);
    ck_assert_uint_eq(used_by(account), 7); /* takes nothing back */
    ck_assert_int_eq(allocate(container, 10, 1, 0, &done), EDQUOT);
}
END_TEST

/* What is guaranteed is there, whatever others did before. */
START_TEST(a_guarantee_holds_though_others_are_greedy)
{
    struct hurdmm_account *account = split(own, 40);
    struct hurdmm_container *mine = paid_by(account);
    struct hurdmm_container *greedy = rig_container(&world);
    struct disk *disk = rig_disk(
        &world, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", 0);
    unsigned done;
    int error = allocate(greedy, 0, 128, 0, &done);
    ck_assert(error == EDQUOT || error == ENOMEM);
    (void)hurdmm_store_populate(disk->store, 0, 52 * world.page, NULL);
    ck_assert_int_eq(allocate(mine, 0, 40, 0, &done), 0);
    ck_assert_uint_eq(done, 40);
}
END_TEST

START_TEST(a_copy_is_paid_for_when_it_gets_a_frame)
{
    struct hurdmm_account *one = split(own, 10), *two = split(own, 10);
    struct hurdmm_container *a = paid_by(one), *b = paid_by(two);
    unsigned done;
    ck_assert_int_eq(allocate(a, 0, 4, 0, &done), 0);
    rig_copied(&world, b, 0, a, 0, 4, 0);
    ck_assert_uint_eq(used_by(one), 4);
    ck_assert_uint_eq(used_by(two), 0);
    rig_letter(&world, b, 1, 'X');
    ck_assert_uint_eq(used_by(two), 1);
    rig_letter(&world, a, 2, 'Y'); /* the copy keeps the old contents */
    ck_assert_uint_eq(used_by(one), 4);
    ck_assert_uint_eq(used_by(two), 2);
    rig_copied(&world, b, 8, a, 0, 4, HURDMM_COPY_MOVE);
    ck_assert_uint_eq(used_by(one) + used_by(two),
                      world_stats(&world).frames_used);
}
END_TEST

/* A copy that must get a page of its own, since its source is written, is not
 * lost for want of quota. */
START_TEST(a_settled_copy_may_exceed_its_quota)
{
    struct hurdmm_account *one = split(own, 10), *two = split(own, 1);
    struct hurdmm_container *a = paid_by(one), *b = paid_by(two);
    unsigned done;
    ck_assert_int_eq(allocate(a, 0, 4, 0, &done), 0);
    for (unsigned i = 0; i < 4; i++)
        rig_letter(&world, a, i, (char)('a' + i));
    rig_copied(&world, b, 0, a, 0, 4, 0);
    for (unsigned i = 0; i < 4; i++)
        rig_letter(&world, a, i, 'X');
    rig_expect(&world, b, "abcd");
    ck_assert_uint_eq(used_by(two), 4);
    ck_assert_int_eq(allocate(b, 8, 1, 0, &done), EDQUOT);
    ck_assert_int_eq(rig_release(&world, b, 0, 4), 0);
    ck_assert_int_eq(allocate(b, 8, 1, 0, &done), 0);
}
END_TEST

START_TEST(a_write_to_a_copy_beyond_the_quota_is_edquot)
{
    struct hurdmm_account *one = split(own, 10), *two = split(own, 1);
    struct hurdmm_container *a = paid_by(one), *b = paid_by(two);
    unsigned done;
    size_t bytes;
    ck_assert_int_eq(allocate(a, 0, 4, 0, &done), 0);
    rig_copied(&world, b, 0, a, 0, 4, 0);
    rig_letter(&world, b, 0, 'X');
    int error = hurdmm_container_write(b, world.page, "Y", 1, &bytes);
    ck_assert_int_eq(error, EDQUOT);
    ck_assert_uint_eq(bytes, 0);
    rig_expect(&world, b, "X000");
}
END_TEST

/* A page that is copied is not what gives way for its copy. */
START_TEST(a_copy_within_a_store_is_written_within_its_quota)
{
    struct hurdmm_account *account = split(own, 4);
    struct disk *disk = rig_disk(&world, "abcdefghijkl", HURDMM_STORE_VOLATILE);
    struct hurdmm_container *cache = hurdmm_store_container(disk->store);
    ck_assert_int_eq(hurdmm_account_pay(account, cache), 0);
    rig_copied(&world, cache, 8, cache, 0, 1, HURDMM_COPY_SQUASH);
    rig_expect_store(&world, disk->store, "abcd");
    ck_assert_uint_eq(used_by(account), 4);
    ck_assert_int_eq(
        hurdmm_store_write(disk->store, 8 * world.page, "X", 1, &(size_t){0}),
        0);
    ck_assert_uint_le(used_by(account), 4);
    rig_expect_store(&world, disk->store, "abcdefgh?jkl");
}
END_TEST

START_TEST(destroying_an_account_frees_what_it_paid_for)
{
    struct hurdmm_account *account = split(own, 20);
    struct hurdmm_container *container = paid_by(account);
    struct disk *disk = rig_disk(&world, "abcdefgh", 0);
    unsigned done;
    ck_assert_int_eq(
        hurdmm_account_pay(account, hurdmm_store_container(disk->store)), 0);
    ck_assert_int_eq(allocate(container, 0, 8, 0, &done), 0);
    rig_store_letter(&world, disk->store, 1, 'X');
    rig_expect_store(&world, disk->store, "aXcdefgh");
    ck_assert_uint_gt(used_by(account), 8);
    ck_assert_int_eq(hurdmm_account_destroy(account), 0);
    ck_assert_int_eq(hurdmm_account_set_extra(account, 0), ESTALE);
    rig_expect(&world, container, "........");
    rig_expect_store(&world, disk->store, "aXcdefgh");
    ck_assert_uint_eq(info_of(own).used / world.page,
                      world_stats(&world).frames_used);
}
END_TEST

START_TEST(the_managers_own_account_cannot_be_destroyed)
{
    ck_assert_int_eq(hurdmm_account_destroy(own), EINVAL);
}
END_TEST

START_TEST(paying_for_too_much_is_edquot)
{
    struct hurdmm_account *account = split(own, 4);
    struct hurdmm_container *container = rig_filled(&world, "abcdefgh");
    ck_assert_int_eq(hurdmm_account_pay(account, container), EDQUOT);
    ck_assert_uint_eq(used_by(account), 0);
    ck_assert_int_eq(rig_release(&world, container, 0, 4), 0);
    ck_assert_int_eq(hurdmm_account_pay(account, container), 0);
    ck_assert_uint_eq(used_by(account), 4);
    ck_assert_int_eq(hurdmm_account_pay(own, container), 0);
    ck_assert_uint_eq(used_by(account), 0);
}
END_TEST

struct asked {
    struct hurdmm_container *container;
    unsigned release; /* pages that it gives back when asked */
    uint64_t wanted;
    unsigned calls;
};

static void asked_for(void *hook, uint64_t wanted)
{
    struct asked *asked = hook;
    asked->calls++;
    asked->wanted = wanted;
    if (asked->release > 0)
        (void)hurdmm_container_release(asked->container, 0,
                                       asked->release * world.page);
}

START_TEST(extra_frames_are_asked_back_first)
{
    struct hurdmm_account *account = split(own, 4);
    struct asked asked = {.container = paid_by(account), .release = 6};
    unsigned done;
    uint64_t left = 9;
    ck_assert_int_eq(hurdmm_account_set_extra(account, 8 * world.page), 0);
    ck_assert_int_eq(allocate(asked.container, 0, 12, 0, &done), 0);
    ck_assert_int_eq(hurdmm_account_call_back(account, 2 * world.page, 1000000,
                                              asked_for, &asked, &left),
                     0);
    ck_assert_uint_eq(asked.calls, 1);
    ck_assert_uint_eq(asked.wanted, 6 * world.page);
    ck_assert_uint_eq(used_by(account), 6);
}
END_TEST

START_TEST(extra_frames_in_containers_cannot_be_taken)
{
    struct hurdmm_account *account = split(own, 4);
    struct asked asked = {.container = paid_by(account), .release = 2};
    unsigned done;
    uint64_t left = 9;
    ck_assert_int_eq(hurdmm_account_set_extra(account, 8 * world.page), 0);
    ck_assert_int_eq(allocate(asked.container, 0, 12, 0, &done), 0);
    ck_assert_int_eq(
        hurdmm_account_call_back(account, 0, 1000000, asked_for, &asked, &left),
        ENOMEM);
    ck_assert_uint_eq(left, 6 * world.page);
}
END_TEST

/* Four frames guaranteed, eight extra, all of them with a store's pages, of which
 * the first is dirty. */
static struct hurdmm_account *overdrawn(struct disk **disk)
{
    struct hurdmm_account *account = split(own, 4);
    *disk = rig_disk(&world, "abcdefghijkl", 0);
    ck_assert_int_eq(
        hurdmm_account_pay(account, hurdmm_store_container((*disk)->store)), 0);
    ck_assert_int_eq(hurdmm_account_set_extra(account, 8 * world.page), 0);
    rig_expect_store(&world, (*disk)->store, "abcdefghijkl");
    rig_store_letter(&world, (*disk)->store, 0, 'X');
    return account;
}

START_TEST(extra_frames_in_stores_are_taken)
{
    struct disk *disk;
    struct hurdmm_account *account = overdrawn(&disk);
    uint64_t left = 9;
    ck_assert_uint_eq(used_by(account), 12);
    ck_assert_int_eq(
        hurdmm_account_call_back(account, 0, 1000000, NULL, NULL, &left), 0);
    ck_assert_uint_le(used_by(account), 4);
    rig_expect_store(&world, disk->store, "Xbcdefghijkl");
}
END_TEST

START_TEST(clean_pages_are_taken_before_dirty_ones)
{
    struct disk *disk;
    struct hurdmm_account *account = overdrawn(&disk);
    uint64_t left = 9;
    ck_assert_int_eq(hurdmm_account_call_back(account, 4 * world.page, 1000000,
                                              NULL, NULL, &left),
                     0);
    ck_assert_uint_le(used_by(account), 8);
    ck_assert_uint_eq(disk->outs, 0);
}
END_TEST

/* ---- The time to give frames back ----------------------------------------- */

static uint64_t clock_now(void)
{
    return world.port->ops->clock(world.port);
}

/* Gives all of a store's pages back, but after a millisecond. */
static void release_later(void *argument)
{
    struct hurdmm_store *store = argument;
    hurdmm_sim_sleep(world.port, 1000000);
    (void)hurdmm_store_return(store, 0, HURDMM_WHOLE, HURDMM_WAIT);
}

static void ask_a_thread(void *hook, uint64_t wanted)
{
    (void)wanted;
    world_spawn(&world, release_later, hook);
}

static void ask_nobody(void *hook, uint64_t wanted)
{
    (void)hook;
    (void)wanted;
}

/* How long a call back takes. */
static uint64_t time_call_back(void (*request)(void *hook, uint64_t wanted),
                               uint64_t timeout_ns)
{
    struct hurdmm_account *account = split(own, 4);
    struct disk *disk = rig_disk(&world, "abcdefghijkl", 0);
    uint64_t left = 9;
    ck_assert_int_eq(
        hurdmm_account_pay(account, hurdmm_store_container(disk->store)), 0);
    ck_assert_int_eq(hurdmm_account_set_extra(account, 8 * world.page), 0);
    rig_expect_store(&world, disk->store, "abcdefghijkl");
    uint64_t start = clock_now();
    ck_assert_int_eq(hurdmm_account_call_back(account, 0, timeout_ns, request,
                                              disk->store, &left),
                     0);
    uint64_t took = clock_now() - start;
    ck_assert_uint_le(used_by(account), 4);
    ck_assert_uint_eq(left, 0);
    world_run(&world);
    rig_expect_store(&world, disk->store, "abcdefghijkl");
    return took;
}

START_TEST(frames_that_come_back_in_time_end_the_wait)
{
    uint64_t took = time_call_back(ask_a_thread, UINT64_C(60000000000));
    ck_assert_uint_ge(took, 1000000);
    ck_assert_uint_lt(took, UINT64_C(30000000000));
}
END_TEST

START_TEST(at_the_deadline_frames_are_taken)
{
    ck_assert_uint_ge(time_call_back(ask_nobody, 100000000), 100000000);
}
END_TEST

/* ---- What others do meanwhile --------------------------------------------- */

struct meanwhile {
    struct hurdmm_account *account, *other;
    struct hurdmm_container *container;
    struct disk *disk;
    volatile int error[2];
};

/* An account with a dirty page whose write does not end before it is told so. */
static void meanwhile_begin(struct meanwhile *meanwhile)
{
    *meanwhile = (struct meanwhile){.error = {-1, -1}};
    meanwhile->account = overdrawn(&meanwhile->disk);
    meanwhile->disk->hold_out = true;
}

static void destroy_first(void *argument)
{
    struct meanwhile *meanwhile = argument;
    meanwhile->error[0] = hurdmm_account_destroy(meanwhile->account);
}

static void destroy_too(void *argument)
{
    struct meanwhile *meanwhile = argument;
    meanwhile->error[1] = hurdmm_account_destroy(meanwhile->account);
    meanwhile->disk->hold_out = false; /* it did not wait for that */
}

START_TEST(of_two_who_destroy_an_account_one_is_told_that_it_is_busy)
{
    struct meanwhile meanwhile;
    meanwhile_begin(&meanwhile);
    world_spawn(&world, destroy_first, &meanwhile);
    while (meanwhile.disk->outs == 0)
        hurdmm_sim_sleep(world.port, 1000);
    world_spawn(&world, destroy_too, &meanwhile);
    while (meanwhile.error[1] == -1)
        hurdmm_sim_sleep(world.port, 1000);
    world_run(&world);
    ck_assert_int_eq(meanwhile.error[0], 0);
    ck_assert_int_eq(meanwhile.error[1], EBUSY);
    ck_assert_uint_eq(info_of(own).used / world.page,
                      world_stats(&world).frames_used);
    rig_expect_store(&world, meanwhile.disk->store, "Xbcdefghijkl");
}
END_TEST

/* What is paid by an account that is being destroyed is emptied, too; and what
 * somebody else pays by then stays his. */
START_TEST(who_pays_what_may_change_while_an_account_is_destroyed)
{
    struct meanwhile meanwhile;
    unsigned done;
    meanwhile_begin(&meanwhile);
    meanwhile.other = split(own, 20);
    meanwhile.container = rig_filled(&world, "abcd");
    world_spawn(&world, destroy_first, &meanwhile);
    while (meanwhile.disk->outs == 0)
        hurdmm_sim_sleep(world.port, 1000);
    ck_assert_int_eq(
        hurdmm_account_pay(meanwhile.other,
                           hurdmm_store_container(meanwhile.disk->store)),
        0);
    ck_assert_int_eq(hurdmm_account_pay(meanwhile.account, meanwhile.container),
                     0);
    meanwhile.disk->hold_out = false;
    world_run(&world);
    ck_assert_int_eq(meanwhile.error[0], 0);
    rig_expect(&world, meanwhile.container, "....");
    ck_assert_int_eq(allocate(meanwhile.container, 0, 4, 0, &done), 0);
    ck_assert_uint_eq(used_by(own), 4);
    rig_expect_store(&world, meanwhile.disk->store, "Xbcdefghijkl");
    ck_assert_uint_eq(used_by(meanwhile.other), 12);
}
END_TEST

static void destroy_when_asked(void *hook, uint64_t wanted)
{
    struct meanwhile *meanwhile = hook;
    (void)wanted;
    meanwhile->error[1] = hurdmm_account_destroy(meanwhile->account);
}

START_TEST(an_account_is_not_destroyed_while_it_is_called_back)
{
    struct meanwhile meanwhile;
    uint64_t left = 9;
    meanwhile_begin(&meanwhile);
    meanwhile.disk->hold_out = false;
    ck_assert_int_eq(hurdmm_account_call_back(meanwhile.account, 0, 1000,
                                              destroy_when_asked, &meanwhile,
                                              &left),
                     0);
    ck_assert_int_eq(meanwhile.error[1], EBUSY);
    ck_assert_uint_le(used_by(meanwhile.account), 4);
    ck_assert_int_eq(hurdmm_account_destroy(meanwhile.account), 0);
}
END_TEST

/* Lets the destroy go on, and does not return before that has ended. */
static void outlast_destroy(void *hook, uint64_t wanted)
{
    struct meanwhile *meanwhile = hook;
    (void)wanted;
    meanwhile->disk->hold_out = false;
    while (meanwhile->error[0] == -1)
        hurdmm_sim_sleep(world.port, 1000);
}

START_TEST(an_account_that_is_called_back_meanwhile_is_not_destroyed)
{
    struct meanwhile meanwhile;
    meanwhile_begin(&meanwhile);
    world_spawn(&world, destroy_first, &meanwhile);
    while (meanwhile.disk->outs == 0)
        hurdmm_sim_sleep(world.port, 1000);
    ck_assert_int_eq(hurdmm_account_call_back(meanwhile.account, 0, 1000,
                                              outlast_destroy, &meanwhile,
                                              NULL),
                     0);
    world_run(&world);
    ck_assert_int_eq(meanwhile.error[0], EBUSY);
    ck_assert_int_eq(hurdmm_account_destroy(meanwhile.account), 0);
    rig_expect_store(&world, meanwhile.disk->store, "Xbcdefghijkl");
}
END_TEST

static void call_back_in_it(struct disk *disk, unsigned kind, uint64_t offset,
                            size_t length)
{
    struct meanwhile *meanwhile = disk->before_hook;
    (void)offset;
    (void)length;
    if (kind == DISK_OUT)
        meanwhile->error[0] = hurdmm_account_call_back(meanwhile->account, 0,
                                                       1000, NULL, NULL, NULL);
}

/* It takes what does not have to wait for the callback. */
START_TEST(a_callback_that_calls_back_does_not_wait_for_itself)
{
    struct meanwhile meanwhile;
    meanwhile_begin(&meanwhile);
    meanwhile.disk->hold_out = false;
    meanwhile.disk->before = call_back_in_it;
    meanwhile.disk->before_hook = &meanwhile;
    for (unsigned i = 0; i < 12; i++)
        rig_store_letter(&world, meanwhile.disk->store, i, 'Y');
    ck_assert_int_eq(
        hurdmm_store_flush(meanwhile.disk->store, 0, HURDMM_WHOLE, HURDMM_WAIT),
        0);
    meanwhile.disk->before = NULL;
    ck_assert_int_eq(meanwhile.error[0], ENOMEM);
}
END_TEST

/* ---- Conservation --------------------------------------------------------- */

#define ACCOUNTS 5u
#define CONTAINERS 5u

static struct hurdmm_account *accounts[ACCOUNTS]; /* 0: the manager's */
static struct hurdmm_container *containers[CONTAINERS];

static void conserved(void)
{
    uint64_t used = 0, guaranteed = 0;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        if (accounts[i] == NULL)
            continue;
        used += info_of(accounts[i]).used;
        guaranteed += info_of(accounts[i]).guaranteed;
    }
    struct hurdmm_stats stats = world_stats(&world);
    ck_assert_uint_eq(used / world.page, stats.frames_used);
    ck_assert_uint_le(guaranteed / world.page, stats.frames_budget);
    world_check(&world);
}

static void change_account(struct hmm_rand *rand, unsigned number)
{
    struct hurdmm_account *parent = accounts[hmm_rand_below(rand, ACCOUNTS)];
    if (number == 0)
        return;
    if (accounts[number] != NULL) {
        if (hurdmm_account_destroy(accounts[number]) == 0)
            accounts[number] = NULL;
    } else if (parent != NULL) {
        struct hurdmm_account *account = NULL;
        if (hurdmm_account_split(parent, hmm_rand_below(rand, 30) * world.page,
                                 &account) == 0)
            accounts[number] = account;
    }
}

static void change_container(struct hmm_rand *rand, unsigned number)
{
    static const unsigned flags[] = {0, HURDMM_COPY_SQUASH, HURDMM_COPY_SHARED,
                                     HURDMM_COPY_MOVE | HURDMM_COPY_SQUASH,
                                     HURDMM_COPY_SQUASH | HURDMM_ALL_OR_NONE};
    unsigned first = (unsigned)hmm_rand_below(rand, 12), done;
    unsigned pages = 1 + (unsigned)hmm_rand_below(rand, 8);
    unsigned other = (unsigned)hmm_rand_below(rand, CONTAINERS);
    char bytes[WORLD_PAGE] = "";
    size_t amount;
    switch (hmm_rand_below(rand, 8)) {
    case 0:
    case 1:
        (void)allocate(containers[number], first, pages, 0, &done);
        break;
    case 2:
        (void)rig_release(&world, containers[number], first, pages);
        break;
    case 3:
    case 4:
        (void)rig_copy(&world, containers[other], 3, containers[number], first,
                       pages, flags[hmm_rand_below(rand, 5)], &done);
        break;
    case 5:
    case 6:
        (void)hurdmm_container_write(containers[number], first * world.page,
                                     bytes, world.page, &amount);
        break;
    default:
        ck_assert_int_eq(hurdmm_container_destroy(containers[number]), 0);
        containers[number] = rig_container(&world);
    }
}

START_TEST(what_accounts_pay_is_what_is_in_use)
{
    struct hmm_rand rand;
    hmm_rand_init(&rand, (uint64_t)_i);
    memset(accounts, 0, sizeof accounts);
    accounts[0] = own;
    for (unsigned i = 0; i < CONTAINERS; i++)
        containers[i] = rig_container(&world);
    for (unsigned step = 0; step < 120; step++) {
        unsigned number = (unsigned)hmm_rand_below(&rand, ACCOUNTS);
        unsigned lot = (unsigned)hmm_rand_below(&rand, 10);
        if (hmm_rand_below(&rand, 8) == 0)
            hurdmm_sim_fail(world.port, HURDMM_SIM_MEMORY,
                            1 + hmm_rand_below(&rand, 4), 0, 0);
        if (lot == 0)
            change_account(&rand, number);
        else if (lot == 1 && accounts[number] != NULL)
            (void)hurdmm_account_pay(
                accounts[number],
                containers[hmm_rand_below(&rand, CONTAINERS)]);
        else if (lot == 2 && accounts[number] != NULL)
            (void)hurdmm_account_set_extra(
                accounts[number], hmm_rand_below(&rand, 30) * world.page);
        else
            change_container(&rand, number);
        conserved();
    }
    hurdmm_sim_fail(world.port, 0, 0, 0, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("account");
    TCase *cases = tcase_create("cases");
    tcase_add_checked_fixture(cases, begin, end);
    tcase_add_test(cases, a_split_and_a_destroy_give_back_what_there_was);
    tcase_add_test(cases, what_a_quota_refuses_is_shared_as_before);
    tcase_add_test(cases, what_is_shared_is_handed_over_as_a_copy);
    tcase_add_test(cases, guarantees_never_exceed_memory);
    tcase_add_test(cases, a_split_leaves_what_the_parent_uses);
    tcase_add_test(cases,
                   of_two_who_destroy_an_account_one_is_told_that_it_is_busy);
    tcase_add_test(cases,
                   who_pays_what_may_change_while_an_account_is_destroyed);
    tcase_add_test(cases, an_account_is_not_destroyed_while_it_is_called_back);
    tcase_add_test(cases, a_callback_that_calls_back_does_not_wait_for_itself);
    tcase_add_test(cases,
                   an_account_that_is_called_back_meanwhile_is_not_destroyed);
    tcase_add_test(cases, a_quota_is_exceeded_in_the_middle_of_an_allocation);
    tcase_add_test(cases, extra_frames_are_had_up_to_their_limit);
    tcase_add_test(cases, a_guarantee_holds_though_others_are_greedy);
    tcase_add_test(cases, a_copy_is_paid_for_when_it_gets_a_frame);
    tcase_add_test(cases, a_settled_copy_may_exceed_its_quota);
    tcase_add_test(cases, a_write_to_a_copy_beyond_the_quota_is_edquot);
    tcase_add_test(cases, a_copy_within_a_store_is_written_within_its_quota);
    tcase_add_test(cases, destroying_an_account_frees_what_it_paid_for);
    tcase_add_test(cases, the_managers_own_account_cannot_be_destroyed);
    tcase_add_test(cases, paying_for_too_much_is_edquot);
    tcase_add_test(cases, extra_frames_are_asked_back_first);
    tcase_add_test(cases, extra_frames_in_containers_cannot_be_taken);
    tcase_add_test(cases, extra_frames_in_stores_are_taken);
    tcase_add_test(cases, clean_pages_are_taken_before_dirty_ones);
    tcase_add_test(cases, frames_that_come_back_in_time_end_the_wait);
    tcase_add_test(cases, at_the_deadline_frames_are_taken);
    tcase_add_loop_test(cases, what_accounts_pay_is_what_is_in_use, 0,
                        (int)test_scaled(200));
    suite_add_tcase(suite, cases);
    return run_suites("tests/physmem/test-account", &suite, 1);
}
