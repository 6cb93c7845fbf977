/* SPDX-License-Identifier: MIT */
/* See server.h. */
#define _DEFAULT_SOURCE

#include "tests/modules/server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>

#include "tests/support/runner.h"

bool server_installed(void)
{
    const char *path = getenv("PATH");
    char name[256];

    for (path = path ? path : "/usr/bin"; path && *path;) {
        size_t length = strcspn(path, ":");

        snprintf(name, sizeof name, "%.*s/nbdkit", (int)length, path);
        if (access(name, X_OK) == 0)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

bool server_possible(void)
{
    if (server_installed())
        return true;
    test_skip("nbdkit is not installed");
    return false;
}

/* Of a server: the model has one, too, and is no test of Check's. */
#define MUST(condition) must(condition, #condition)

static void must(bool condition, const char *text)
{
    if (condition)
        return;
    fprintf(stderr, "nbdkit: not so: %s\n", text);
    abort();
}

static void make_directory(char *directory, size_t size)
{
    snprintf(directory, size, "/tmp/test-nbd.XXXXXX");
    MUST(mkdtemp(directory));
}

void server_begin(struct server *server)
{
    memset(server, 0, sizeof *server);
    make_directory(server->directory, sizeof server->directory);
    snprintf(server->socket, sizeof server->socket, "%s/socket",
             server->directory);
    snprintf(server->file, sizeof server->file, "%s/file", server->directory);
    snprintf(server->trigger, sizeof server->trigger, "%s/trigger",
             server->directory);
}

static void run(struct server *server)
{
    const char *arguments[SERVER_ARGUMENTS + 8] = {
        "nbdkit", "-f", "--exit-with-parent", "-U", server->socket, NULL};
    int quiet = open("/dev/null", O_WRONLY);
    unsigned n = 5;

    for (unsigned i = 0; server->arguments[i]; i++)
        arguments[n++] = server->arguments[i];
    (void)dup2(quiet, 2);
    execvp("nbdkit", (char *const *)(uintptr_t)arguments);
    _exit(127);
}

/* The socket is made before anybody is listened to, so a connection is what
 * tells that the server is there. */
static bool answers(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good;

    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    good = connect(fd, (const struct sockaddr *)&name, sizeof name) == 0;
    close(fd);
    return good;
}

void server_start_again(struct server *server)
{
    (void)unlink(server->socket);
    server->pid = fork();
    MUST(server->pid >= 0);
    if (server->pid == 0)
        run(server);
    for (unsigned i = 0; !answers(server->socket); i++) {
        MUST(waitpid(server->pid, NULL, WNOHANG) == 0);
        MUST(i < 3000);
        (void)poll(NULL, 0, 10);
    }
}

void server_start(struct server *server, ...)
{
    va_list list;
    unsigned n = 0;

    va_start(list, server);
    do
        server->arguments[n] = va_arg(list, const char *);
    while (server->arguments[n++]);
    va_end(list);
    server_start_again(server);
}

void server_stop(struct server *server)
{
    int status;

    MUST(kill(server->pid, SIGSTOP) == 0);
    MUST(waitpid(server->pid, &status, WUNTRACED) == server->pid);
    MUST(WIFSTOPPED(status));
}

void server_go_on(struct server *server)
{
    MUST(kill(server->pid, SIGCONT) == 0);
}

void server_kill(struct server *server)
{
    if (server->pid == 0)
        return;
    MUST(kill(server->pid, SIGKILL) == 0);
    MUST(waitpid(server->pid, NULL, 0) == server->pid);
    server->pid = 0;
}

void server_trigger(struct server *server, bool there)
{
    if (there)
        close(open(server->trigger, O_CREAT | O_WRONLY, 0600));
    else
        (void)unlink(server->trigger);
}

void server_make_file(struct server *server, size_t size)
{
    int fd = open(server->file, O_CREAT | O_RDWR, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
    close(fd);
}

void server_end(struct server *server)
{
    server_kill(server);
    (void)unlink(server->socket);
    (void)unlink(server->file);
    (void)unlink(server->trigger);
    (void)rmdir(server->directory);
}

/* ---- False peers ---------------------------------------------------------- */

/* What servers of the oldest kind say first: size and flags, and 124 zeros. */
static size_t hello(uint8_t *bytes)
{
    static const uint8_t magic[] = {'N',  'B',  'D',  'M',  'A',  'G',
                                    'I',  'C',  0x00, 0x00, 0x42, 0x02,
                                    0x81, 0x86, 0x12, 0x53};

    memset(bytes, 0, 152);
    memcpy(bytes, magic, sizeof magic);
    bytes[21] = 0x10; /* a mebibyte, big-endian */
    bytes[27] = 1;    /* has flags */
    return 152;
}

/* Waits for bytes; false: the test ends. */
static bool wait_for(const struct peer *peer, int fd)
{
    struct pollfd fds[2] = {{.fd = peer->stop[0], .events = POLLIN},
                            {.fd = fd, .events = POLLIN}};

    (void)poll(fds, 2, -1);
    return fds[0].revents == 0;
}

/* Waits until the other side has closed `fd', or the test ends. */
static void wait_for_end(const struct peer *peer, int fd)
{
    struct pollfd fds[2] = {{.fd = peer->stop[0], .events = POLLIN},
                            {.fd = fd, .events = 0}};

    (void)poll(fds, 2, -1);
}

static void say(int fd, const void *bytes, size_t length)
{
    (void)send(fd, bytes, length, MSG_NOSIGNAL);
}

/* Answers a read of which `command' is the head. */
static void answer(const struct peer *peer, int fd, const uint8_t *command)
{
    uint8_t reply[16 + 256] = {0x67, 0x44, 0x66, 0x98};

    memcpy(reply + 8, command + 8, 8);
    if (peer->kind == PEER_WRONG_ANSWER)
        reply[15] ^= 0x55;
    say(fd, reply, sizeof reply);
}

static void converse(const struct peer *peer, int fd)
{
    uint8_t bytes[256], command[28];
    size_t length = hello(bytes);

    if (peer->kind == PEER_GARBAGE)
        memset(bytes, 'x', length);
    if (peer->kind == PEER_HALF_HELLO)
        length = 12;
    if (peer->kind == PEER_DEAF)
        (void)shutdown(fd, SHUT_RD);
    if (peer->kind != PEER_SILENT)
        say(fd, bytes, length);
    if (peer->kind == PEER_DEAF)
        wait_for_end(peer, fd);
    if (peer->kind == PEER_HALF_HELLO || peer->kind == PEER_DEAF)
        return;
    if (peer->kind >= PEER_HALF_ANSWER && wait_for(peer, fd) &&
        recv(fd, command, sizeof command, MSG_WAITALL) == sizeof command &&
        peer->kind != PEER_HANGS_UP)
        answer(peer, fd, command);
    if (peer->kind != PEER_HANGS_UP)
        while (wait_for(peer, fd) && recv(fd, bytes, sizeof bytes, 0) > 0)
            ;
}

static void *serve(void *argument)
{
    const struct peer *peer = argument;

    while (wait_for(peer, peer->listener)) {
        int fd = accept(peer->listener, NULL, NULL);

        if (fd < 0)
            continue;
        converse(peer, fd);
        close(fd);
    }
    return NULL;
}

void peer_begin(struct peer *peer, enum peer_kind kind)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    memset(peer, 0, sizeof *peer);
    peer->kind = kind;
    make_directory(peer->directory, sizeof peer->directory);
    snprintf(peer->socket, sizeof peer->socket, "%s/socket", peer->directory);
    snprintf(name.sun_path, sizeof name.sun_path, "%s", peer->socket);
    peer->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(peer->listener, 0);
    ck_assert_int_eq(
        bind(peer->listener, (const struct sockaddr *)&name, sizeof name), 0);
    ck_assert_int_eq(listen(peer->listener, 8), 0);
    ck_assert_int_eq(pipe(peer->stop), 0);
    ck_assert_int_eq(pthread_create(&peer->thread, NULL, serve, peer), 0);
}

void peer_end(struct peer *peer)
{
    ck_assert_int_eq((int)write(peer->stop[1], "", 1), 1);
    ck_assert_int_eq(pthread_join(peer->thread, NULL), 0);
    close(peer->stop[0]);
    close(peer->stop[1]);
    close(peer->listener);
    (void)unlink(peer->socket);
    (void)rmdir(peer->directory);
}
