/* SPDX-License-Identifier: MIT */
/*
 * The version of the library: one number, said in three places.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <stdio.h>

#include <hurdmm/types.h>

#include "tests/support/runner.h"

START_TEST(the_library_says_the_version_of_its_header)
{
    ck_assert_uint_eq(hurdmm_version() >> 16, HURDMM_VERSION_MAJOR);
    ck_assert_uint_eq(hurdmm_version() >> 8 & 255, HURDMM_VERSION_MINOR);
    ck_assert_uint_eq(hurdmm_version() & 255, HURDMM_VERSION_PATCH);
}
END_TEST

START_TEST(the_header_says_the_version_of_the_package)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", HURDMM_VERSION_MAJOR,
             HURDMM_VERSION_MINOR, HURDMM_VERSION_PATCH);
    ck_assert_str_eq(text, PACKAGE_VERSION);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("version");
    TCase *tcase = tcase_create("version");
    tcase_add_test(tcase, the_library_says_the_version_of_its_header);
    tcase_add_test(tcase, the_header_says_the_version_of_the_package);
    suite_add_tcase(suite, tcase);
    return run_suites("version", &suite, 1);
}
