/* A fixed response on one epoll loop: loop PORT. The same as loop.py: it answers each end of a head, heeds neither
   bodies nor "Connection: close", and its sends block. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, EVENTS = 256, BUFFER_BYTES = 65536, ANSWERS = 64 };

#define RESPONSE                                                                                                       \
    "HTTP/1.1 200 OK\r\n"                                                                                              \
    "Content-Type: text/plain; charset=utf-8\r\n"                                                                      \
    "Content-Length: 14\r\n"                                                                                           \
    "\r\n"                                                                                                             \
    "Hello, world!\n"

static const char end[] = "\r\n\r\n";
static char answers[ANSWERS * (sizeof RESPONSE - 1)]; /* as many as are sent at a time */
static unsigned char *seen;                           /* how many bytes of `end` a connection's last bytes are */

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(const char *port)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(port)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0)
        give_up("bind");
    if (listen(listener, BACKLOG) < 0)
        give_up("listen");
    return listener;
}

static void watch(int epoll, int number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = number};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event) < 0)
        give_up("epoll_ctl");
}

/* How many heads end in these bytes. */
static size_t heads(int connection, const char *data, ssize_t size)
{
    size_t found = 0;
    unsigned char matched = seen[connection];
    for (ssize_t i = 0; i < size; i++) {
        if (data[i] == end[matched])
            matched++;
        else
            matched = data[i] == end[0];
        if (matched == sizeof end - 1) {
            matched = 0;
            found++;
        }
    }
    seen[connection] = matched;
    return found;
}

/* 0 when the connection has ended. */
static int answer(int connection)
{
    char buffer[BUFFER_BYTES];
    ssize_t got = recv(connection, buffer, sizeof buffer, 0);
    size_t due = got > 0 ? heads(connection, buffer, got) * (sizeof RESPONSE - 1) : 0;
    while (due > 0) {
        /* whole answers are in line: what a short send has left over begins where the copies repeat */
        size_t part = due % (sizeof RESPONSE - 1), from = part ? sizeof RESPONSE - 1 - part : 0;
        size_t size = due < sizeof answers - from ? due : sizeof answers - from;
        ssize_t done = send(connection, answers + from, size, 0);
        if (done < 0)
            return 0;
        due -= (size_t)done;
    }
    return got > 0;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s PORT\n", arguments[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    seen = calloc(files.rlim_cur, 1);
    if (seen == NULL)
        give_up("calloc");
    for (size_t i = 0; i < ANSWERS; i++)
        memcpy(answers + i * (sizeof RESPONSE - 1), RESPONSE, sizeof RESPONSE - 1);
    int listener = listen_on(arguments[1]), epoll = epoll_create1(0), one = 1;
    struct epoll_event events[EVENTS];
    watch(epoll, listener);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int number = events[i].data.fd;
            if (number == listener) {
                int connection = accept(listener, NULL, NULL);
                if (connection < 0)
                    continue;
                setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                seen[connection] = 0;
                watch(epoll, connection);
            } else if (!answer(number)) {
                close(number);
            }
        }
    }
}
