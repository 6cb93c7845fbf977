/* SPDX-License-Identifier: MIT */
/* Accesses that may fail.  See touch.h. */
#define _DEFAULT_SOURCE

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include <check.h>

#include "tests/core/touch.h"

static sigjmp_buf failed;
static volatile sig_atomic_t accessing;

static void handle(int number)
{
    if (accessing)
        siglongjmp(failed, 1);
    signal(number, SIG_DFL); /* the test's own fault: die of it */
}

void touch_begin(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handle;
    sigemptyset(&action.sa_mask);
    ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
    ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
}

int touch_load(uintptr_t address, uint8_t *value)
{
    if (sigsetjmp(failed, 1) != 0) {
        accessing = 0;
        return EFAULT;
    }
    accessing = 1;
    *value = *(const volatile uint8_t *)address;
    accessing = 0;
    return 0;
}

int touch_store(uintptr_t address, uint8_t value)
{
    if (sigsetjmp(failed, 1) != 0) {
        accessing = 0;
        return EFAULT;
    }
    accessing = 1;
    *(volatile uint8_t *)address = value;
    accessing = 0;
    return 0;
}
