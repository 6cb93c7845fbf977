/* SPDX-License-Identifier: MIT */
/*
 * Accesses to memory that may fail: tried by a test on its main thread, which
 * goes on where the port ends them with a signal.
 */
#ifndef HMM_TESTS_CORE_TOUCH_H
#define HMM_TESTS_CORE_TOUCH_H

#include <stdint.h>

/* Installs the handlers: before a port is made, which then hands over what it
 * cannot resolve. */
void touch_begin(void);

/* One byte: 0, or EFAULT where the access failed, for whatever reason. */
int touch_load(uintptr_t address, uint8_t *value);
int touch_store(uintptr_t address, uint8_t value);

#endif
