/* SPDX-License-Identifier: MIT */
/*
 * An nbdkit server on a Unix domain socket in a directory of its own, started
 * and ended by the test; and a peer that breaks the protocol.
 */
#ifndef HMM_TESTS_MODULES_SERVER_H
#define HMM_TESTS_MODULES_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <pthread.h>

#define SERVER_ARGUMENTS 16

struct server {
    char directory[32];
    char socket[64], file[64], trigger[64];
    pid_t pid; /* 0: not running */
    const char *arguments[SERVER_ARGUMENTS];
};

/* Whether there is nbdkit. */
bool server_installed(void);
/* The same for a test of Check's, which is skipped if not. */
bool server_possible(void);
/* Makes the directory. */
void server_begin(struct server *server);
/* Runs nbdkit with these arguments after its own, NULL last; returns when the
 * socket is there. */
void server_start(struct server *server, ...);
/* The same again, with the arguments of the last start. */
void server_start_again(struct server *server);
/* It does nothing until it goes on: what is sent to it waits. */
void server_stop(struct server *server);
void server_go_on(struct server *server);
/* Ends it as a crash would, and waits for its end; stopped or not. */
void server_kill(struct server *server);
/* Makes the trigger file of the error filter, or takes it away. */
void server_trigger(struct server *server, bool there);
/* Makes `file' of so many bytes of zeros. */
void server_make_file(struct server *server, size_t size);
void server_end(struct server *server);

/* What a false peer does with whoever connects. */
enum peer_kind {
    PEER_SILENT,      /* accepts, and nothing more */
    PEER_DEAF,        /* cannot be sent a command, and does not say so */
    PEER_GARBAGE,     /* begins with what is no NBD */
    PEER_HALF_HELLO,  /* ends in the middle of its first words */
    PEER_HALF_ANSWER, /* answers the first command with half of the bytes, and
                       * is silent then */
    PEER_HANGS_UP,    /* ends the connection at the first command */
    PEER_WRONG_ANSWER /* answers a command that was never given */
};

struct peer {
    char directory[32], socket[64];
    enum peer_kind kind;
    int listener, stop[2];
    pthread_t thread;
};

void peer_begin(struct peer *peer, enum peer_kind kind);
void peer_end(struct peer *peer);

#endif
