/* SPDX-License-Identifier: MIT */
/* The ports of this host, by name. */
#include <stdbool.h>
#include <string.h>

#include <hurdmm/error.h>
#include <hurdmm/host.h>
#include <hurdmm/port.h>
#include <hurdmm/posix.h>

#include "tests/support/runner.h"

static bool has_name(const char *name)
{
    for (unsigned i = 0; hurdmm_host_port_name(i) != NULL; i++)
        if (strcmp(hurdmm_host_port_name(i), name) == 0)
            return true;
    return false;
}

START_TEST(the_names_are_those_of_the_ports)
{
    ck_assert(has_name("posix"));
    ck_assert(has_name("sim"));
    ck_assert(!has_name("vax"));
    ck_assert_ptr_null(hurdmm_host_port_name(1000));
}
END_TEST

START_TEST(a_port_is_made_by_its_name)
{
    struct hurdmm_port *port = NULL;
    static const char *const names[] = {"posix", "sim"};
    ck_assert_int_eq(hurdmm_host_port_create(names[_i], &port), 0);
    ck_assert_str_eq(port->ops->name, names[_i]);
    ck_assert_int_eq(hurdmm_host_port_destroy(port), 0);
}
END_TEST

START_TEST(without_a_name_it_is_one_that_works)
{
    struct hurdmm_port *port = NULL;
    struct hurdmm_port_config config = {.struct_size = sizeof config,
                                        .frames = 16};
    struct hurdmm_port_info info = {.struct_size = sizeof info};
    ck_assert_int_eq(hurdmm_host_port_create(NULL, &port), 0);
    ck_assert_str_ne(port->ops->name, "sim");
    ck_assert_int_eq(port->ops->open(port, &config, &info), 0);
    ck_assert_int_eq(hurdmm_host_port_destroy(port), EBUSY);
    port->ops->close(port);
    ck_assert_int_eq(hurdmm_host_port_destroy(port), 0);
}
END_TEST

START_TEST(wrong_arguments_change_nothing)
{
    struct hurdmm_port *port = NULL;
    char text[8] = "before";
    ck_assert_int_eq(hurdmm_host_port_create("vax", &port), ENOENT);
    ck_assert_int_eq(hurdmm_host_port_create("", &port), ENOENT);
    ck_assert_ptr_null(port);
    ck_assert_int_eq(hurdmm_host_port_create("posix", NULL), EINVAL);
    ck_assert_int_eq(hurdmm_host_port_destroy(NULL), EINVAL);
    ck_assert_int_eq(hurdmm_port_describe(NULL, text, sizeof text), EINVAL);
    ck_assert_int_eq(hurdmm_host_port_create("posix", &port), 0);
    ck_assert_int_eq(hurdmm_port_describe(port, text, 0), EINVAL);
    ck_assert_int_eq(hurdmm_port_describe(port, NULL, 8), EINVAL);
    ck_assert_str_eq(text, "before");
    ck_assert_int_eq(hurdmm_host_port_destroy(port), 0);
}
END_TEST

START_TEST(a_description_begins_with_the_name_and_is_cut_to_size)
{
    struct hurdmm_port *port = NULL;
    char text[200], part[8];
    ck_assert_int_eq(hurdmm_host_port_create("posix", &port), 0);
    ck_assert_int_eq(hurdmm_port_describe(port, text, sizeof text), 0);
    ck_assert_int_eq(strncmp(text, "posix: ", 7), 0);
    ck_assert_uint_gt(strlen(text), 20);
    ck_assert_int_eq(hurdmm_port_describe(port, part, sizeof part), 0);
    ck_assert_str_eq(part, "posix: ");
    ck_assert_int_eq(hurdmm_host_port_destroy(port), 0);
}
END_TEST

START_TEST(somebody_elses_port_is_described_but_not_destroyed)
{
    struct hurdmm_port_ops ops = {.struct_size = sizeof ops, .name = "vax"};
    struct hurdmm_port port = {.ops = &ops};
    char text[100];
    ck_assert_int_eq(hurdmm_port_describe(&port, text, sizeof text), 0);
    ck_assert_int_eq(strncmp(text, "vax: ", 5), 0);
    ck_assert_int_eq(hurdmm_host_port_destroy(&port), EINVAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("host");
    TCase *tc = tcase_create("host");
    tcase_add_test(tc, the_names_are_those_of_the_ports);
    tcase_add_loop_test(tc, a_port_is_made_by_its_name, 0, 2);
    tcase_add_test(tc, without_a_name_it_is_one_that_works);
    tcase_add_test(tc, wrong_arguments_change_nothing);
    tcase_add_test(tc, a_description_begins_with_the_name_and_is_cut_to_size);
    tcase_add_test(tc, somebody_elses_port_is_described_but_not_destroyed);
    suite_add_tcase(suite, tc);
    return run_suites("host", &suite, 1);
}
