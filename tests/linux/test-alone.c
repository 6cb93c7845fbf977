/* SPDX-License-Identifier: MIT */
/*
 * The linux port without pager threads, which is how it works under tools that
 * run one thread at a time: under Valgrind too.  Nothing here may hang there.
 */
#include "tests/linux/rig.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <sys/syscall.h>

#include <hurdmm/host.h>

static const struct rig_options ways[] = {
    {.pages = 256, .budget = 26, .port_flags = HURDMM_LINUX_NO_PAGERS},
    {.pages = 256,
     .budget = 26,
     .port_flags = HURDMM_LINUX_NO_PAGERS,
     .manager_flags = HURDMM_NO_THREADS},
    {.pages = 256,
     .budget = 64,
     .block_pages = 4,
     .port_flags = HURDMM_LINUX_NO_PAGERS,
     .bind_flags = HURDMM_BIND_INLINE},
};

#define WAYS 3

START_TEST(what_is_written_comes_back)
{
    struct rig rig;
    uint32_t state = 1;
    static uint8_t model[256 * PAGE];
    if (!rig_open(&rig, &ways[_i]))
        return;
    ck_assert(rig_is_inline(&rig, &(struct rig_options){.pages = 0}));
    memcpy(model, rig.disk, sizeof model);
    for (size_t i = 0; i < 3000; i++) {
        state = state * 1664525 + 1013904223;
        size_t at = (state >> 4) % sizeof model;
        if (state >> 31)
            rig_at(&rig, 0)[at] = model[at] = (uint8_t)i;
        else
            ck_assert_uint_eq(rig_at(&rig, 0)[at], model[at]);
    }
    rig_check(&rig);
    ck_assert_int_eq(hurdmm_store_sync(rig.store, 0, HURDMM_WHOLE, HURDMM_WAIT),
                     0);
    ck_assert_int_eq(memcmp(rig.disk, model, sizeof model), 0);
    struct hurdmm_linux_counters counters = rig_counters(&rig);
    ck_assert_uint_eq(counters.faults, 0);
    ck_assert_uint_gt(counters.faults_inline, 200);
    rig_close(&rig);
}
END_TEST

START_TEST(an_error_of_the_store_is_a_signal)
{
    struct rig rig;
    catch_install();
    if (!rig_open(&rig, &ways[_i]))
        return;
    atomic_store(&rig.in_error, ETIMEDOUT);
    ck_assert_int_eq(try_read(rig_at(&rig, 5)), SIGBUS);
    atomic_store(&rig.in_error, 0);
    ck_assert_int_eq(try_read(rig_at(&rig, 5)), 0);
    ck_assert_uint_eq(*rig_at(&rig, 5), 6);
    rig_close(&rig);
}
END_TEST

static int nothing_in(struct hurdmm_store *store, void *hook, uint64_t offset,
                      void *buffer, size_t length, size_t *done)
{
    (void)store;
    (void)hook;
    (void)offset;
    (void)done;
    memset(buffer, 0, length);
    return 0;
}

START_TEST(a_store_that_needs_pagers_is_refused)
{
    static const struct hurdmm_store_ops ops = {.struct_size = sizeof ops,
                                                .page_in = nothing_in};
    struct hurdmm_store_options options = {.struct_size = sizeof options,
                                           .size = PAGE,
                                           .flags = HURDMM_STORE_READ_ONLY};
    struct hurdmm_store *store;
    struct rig rig;
    uintptr_t address = 1;
    if (!rig_open(&rig, &ways[_i]))
        return;
    ck_assert_int_eq(hurdmm_store_create(rig.manager, &ops, &options, &store),
                     0);
    struct hurdmm_bind_options bind = {.struct_size = sizeof bind,
                                       .space = rig.space,
                                       .store = store,
                                       .length = PAGE,
                                       .rights = HURDMM_READ};
    ck_assert_int_eq(hurdmm_bind(&bind, &address), ENOTSUP);
    ck_assert_uint_eq(address, 1);
    rig_close(&rig);
}
END_TEST

/* With the call hidden but the device there, the port is not chosen, and it is
 * said why. */
START_TEST(under_a_tool_the_default_is_another_port)
{
    struct hurdmm_port *port;
    char text[512];
    bool hidden = syscall(SYS_userfaultfd, ~0u) == -1 && errno == ENOSYS;
    ck_assert_int_eq(hurdmm_host_port_create(NULL, &port), 0);
    ck_assert_int_eq(hurdmm_port_describe(port, text, sizeof text), 0);
    if (hidden) {
        ck_assert_int_eq(strncmp(text, "posix", 5), 0);
        ck_assert_ptr_nonnull(strstr(text, "no linux port"));
    }
    if (hidden && access("/dev/userfaultfd", F_OK) == 0)
        ck_assert_ptr_nonnull(strstr(text, "hidden by a tool"));
    else
        ck_assert_ptr_null(strstr(text, "hidden by a tool"));
    ck_assert_int_eq(hurdmm_host_port_destroy(port), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("alone");
    TCase *tcase = tcase_create("alone");
    tcase_set_timeout(tcase, 30);
    tcase_add_loop_test(tcase, what_is_written_comes_back, 0, WAYS);
    tcase_add_loop_test(tcase, an_error_of_the_store_is_a_signal, 0, WAYS);
    tcase_add_loop_test(tcase, a_store_that_needs_pagers_is_refused, 0, WAYS);
    tcase_add_test(tcase, under_a_tool_the_default_is_another_port);
    suite_add_tcase(suite, tcase);
    return run_suites("tests/linux/test-alone", &suite, 1);
}
