"""A fixed response on one epoll loop: loop.py PORT. What HTTP costs when nobody reads the request.

Each end of a head is answered, so that pipelined requests get as many responses as there are; a request with
a body would get too many, and "Connection: close" is not heeded. Sends block, as in echo.py.
"""

from __future__ import annotations

import select
import socket
import sys

END = b"\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 14\r\n\r\nHello, world!\n"


def main(port: int) -> None:
    """Serve 127.0.0.1:port until killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    connections: dict[int, socket.socket] = {}
    begun: dict[int, bytes] = {}  # the last bytes of heads that have not ended: an end may come in two pieces
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
                if data:
                    seen = begun.pop(number, b"") + data
                    connection.sendall(RESPONSE * seen.count(END))
                    if not seen.endswith(END):
                        begun[number] = seen.rpartition(END)[2][-3:]
            except ConnectionError:
                data = b""
            if not data:
                del connections[number]
                begun.pop(number, None)
                connection.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
