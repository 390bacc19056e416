"""Load for an echo: echo_load.py PORT SECONDS CONNECTIONS. What wrk does, for a server that speaks no HTTP.

Each connection sends a request of the size of wrk's, waits for its echo, and sends the next. Prints one JSON
object: {"rate": a second, "p50", "p99", "p999": seconds or null, "errors": wrong echoes and broken connections}.
It is written in Python and does less a second than wrk: read the echo's CPU per request before its rate.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from typing import Any


def load(port: int, seconds: float, connections: int) -> dict[str, Any]:
    """Load 127.0.0.1:port for so long. Raises OSError when it cannot be reached."""
    message = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    sockets: dict[int, socket.socket] = {}
    sent: dict[int, float] = {}
    latencies: list[float] = []
    errors = 0
    clock = time.perf_counter
    with select.epoll() as epoll:
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets[connection.fileno()] = connection
            epoll.register(connection, select.EPOLLIN)
        start = clock()
        for number, connection in sockets.items():
            sent[number] = clock()
            connection.send(message)
        while sockets and (now := clock()) - start < seconds:
            for number, _events in epoll.poll(0.1):
                connection = sockets[number]
                try:
                    right = connection.recv(65536) == message  # so short a message comes in one piece
                    now = clock()
                    if right:
                        latencies.append(now - sent[number])
                        sent[number] = now
                        connection.send(message)
                except OSError:
                    right = False
                if not right:
                    errors += 1
                    del sockets[number]
                    connection.close()
        took = clock() - start
    for connection in sockets.values():
        connection.close()
    latencies.sort()

    def percentile(share: float) -> float | None:
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))] if latencies else None

    return {
        "rate": len(latencies) / took,
        "p50": percentile(0.5),
        "p99": percentile(0.99),
        "p999": percentile(0.999),
        "errors": errors,
    }


if __name__ == "__main__":
    print(json.dumps(load(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
