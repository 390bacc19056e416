"""Whether a client is still there to get its answer.

One that has only shut down its sending side is, and gets all its answers. TCP shows no difference between that and a
client that has closed, until something is sent: then its kernel resets the connection. While nothing is sent, keepalive
probes ask; they are answered with a reset once the client's kernel has forgotten the connection (a minute on Linux, see
tcp_fin_timeout in tcp(7)). A reset, and a Unix socket that is closed, show at once.
"""

from __future__ import annotations

from ..unpatched import Socket, select, socket

LEFT = select.POLLHUP | select.POLLERR
ENDED = select.POLLRDHUP  # it sends no more

PROBES = (
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),  # seconds
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


def has_left(sock: Socket) -> bool:
    """Look at the connection, from any thread."""
    poller = select.poll()
    poller.register(sock, ENDED)
    for _fd, mask in poller.poll(0):
        if mask & LEFT:
            return True
        probe(sock)
    return False


def probe(sock: Socket) -> None:
    """The client sends no more: have the kernel find out whether it is still there."""
    if sock.family != socket.AF_UNIX and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
        for level, option, value in PROBES:
            sock.setsockopt(level, option, value)
