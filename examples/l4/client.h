/* SPDX-License-Identifier: MIT */
/* What two-tasks and its client agree on: where things lie in the client's
 * space, and what it can be told to do. */
#ifndef EXAMPLES_L4_CLIENT_H
#define EXAMPLES_L4_CLIENT_H

#define CLIENT_STACK 0x20000000u /* its end */
#define CLIENT_STACK_SIZE 0x10000u
#define CLIENT_DISK 0x50000000u   /* the disk, to read and write */
#define CLIENT_COPY 0x60000000u   /* a copy on write of its beginning */
#define CLIENT_SHARED 0x70000000u /* a page that both write */
#define CLIENT_FIXED 0x71000000u  /* the same, to read only */
#define CLIENT_SLOW 0x78000000u   /* a store that takes its time */

#define CLIENT_PAGE 4096u
#define CLIENT_DISK_SIZE 0x200000u
#define CLIENT_COPY_SIZE 0x10000u

enum client_task {
    CLIENT_WORK,        /* exits with the number of pages that were right */
    CLIENT_STRAY,       /* reads where nothing is */
    CLIENT_STORE_FIXED, /* writes to what it may only read */
    CLIENT_DIVIDE,      /* by zero */
    CLIENT_NOISE,       /* sends its pager nonsense, then works */
    CLIENT_WAIT         /* for the slow store */
};

/* What the disk has at first, and what is there after the client. */
static inline unsigned client_word(unsigned page)
{
    return 0x5eed0000u + page * 7u;
}

#endif
