"""A TCP echo on one epoll loop: echo.py PORT. What a connection costs when nothing is done with it.

Sends block: a client that does not read stops everybody. This is a floor, not a server.
"""

from __future__ import annotations

import select
import socket
import sys


def main(port: int) -> None:
    """Serve 127.0.0.1:port until killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    connections: dict[int, socket.socket] = {}
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    while True:
        for number, _events in epoll.poll():
            if number == listener.fileno():
                connection, _address = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                epoll.register(connection, select.EPOLLIN)
                continue
            connection = connections[number]
            try:
                data = connection.recv(65536)
                connection.sendall(data)
            except ConnectionError:
                data = b""
            if not data:
                del connections[number]
                connection.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
