/* SPDX-License-Identifier: MIT */
/*
 * For tests of assertions: whether a function dies.
 */
#ifndef HMM_TESTS_BASE_TRAP_H
#define HMM_TESTS_BASE_TRAP_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs `function' in a child, quietly; says whether it came to a bad end. */
static inline bool dies(void (*function)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);

        if (null >= 0)
            (void)dup2(null, STDERR_FILENO);
        function();
        _exit(0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}

#endif
