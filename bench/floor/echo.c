/* A TCP echo on one epoll loop: echo PORT. The same as echo.py: sends block, 127.0.0.1 only. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, EVENTS = 256, BUFFER_BYTES = 65536 };

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

/* 0 when the connection has ended. */
static int echo(int connection)
{
    char buffer[BUFFER_BYTES];
    ssize_t got = recv(connection, buffer, sizeof buffer, 0);
    for (ssize_t sent = 0, done; sent < got; sent += done)
        if ((done = send(connection, buffer + sent, (size_t)(got - sent), 0)) < 0)
            return 0;
    return got > 0;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s PORT\n", arguments[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
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
                watch(epoll, connection);
            } else if (!echo(number)) {
                close(number);
            }
        }
    }
}
