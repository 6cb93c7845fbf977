/* SPDX-License-Identifier: MIT */
/*
 * The version of the library.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <stdio.h>

#include <hurdmm/hurdmm.h>

#include "tests/support/runner.h"

START_TEST(the_library_says_the_version_of_the_package)
{
    ck_assert_str_eq(hurdmm_version(), PACKAGE_VERSION);
}
END_TEST

START_TEST(the_header_says_the_version_of_the_library)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", HURDMM_VERSION_MAJOR,
             HURDMM_VERSION_MINOR, HURDMM_VERSION_PATCH);
    ck_assert_str_eq(hurdmm_version(), text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("version");
    TCase *tcase = tcase_create("version");
    tcase_add_test(tcase, the_library_says_the_version_of_the_package);
    tcase_add_test(tcase, the_header_says_the_version_of_the_library);
    suite_add_tcase(suite, tcase);
    return run_suites("version", &suite, 1);
}
