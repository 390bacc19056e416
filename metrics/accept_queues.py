"""How many connections wait in a listening socket's accept queue, and how many may.

TCP: TCP_INFO, whose tcpi_unacked and tcpi_sacked mean this for a listening socket (tcp(7), tcp_diag in the kernel).
Unix: the sock_diag netlink protocol (sock_diag(7)). Neither waits for anything but the kernel.
"""

from __future__ import annotations

import os
import socket
import struct

TCP_INFO = struct.Struct("=8B6I")  # of struct tcp_info: eight bytes, then rto, ato, snd_mss, rcv_mss, unacked, sacked
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_REQUEST = 1
UDIAG_SHOW_RQLEN = 0x10
UNIX_DIAG_RQLEN = 4
ANY_COOKIE = 0xFFFFFFFF
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
REQUEST = struct.Struct("=BBHIIIII")  # struct unix_diag_req: family, protocol, pad, states, inode, show, cookie[2]
MESSAGE_BYTES = 16  # struct unix_diag_msg
ATTRIBUTE = struct.Struct("=HH")
LENGTHS = struct.Struct("=II")  # struct unix_diag_rqlen
ALL_STATES = 0xFFFFFFFF


def accept_queue(sock: socket.socket) -> tuple[int, int] | None:
    """Waiting connections and the most that may wait; None where the kernel does not tell."""
    try:
        if sock.family == socket.AF_UNIX:
            return _unix(os.fstat(sock.fileno()).st_ino)
        info = TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size))
    except (OSError, struct.error):
        return None
    return info[12], info[13]


def _unix(inode: int) -> tuple[int, int] | None:
    request = REQUEST.pack(socket.AF_UNIX, 0, 0, ALL_STATES, inode, UDIAG_SHOW_RQLEN, ANY_COOKIE, ANY_COOKIE)
    header = HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_SOCK_DIAG) as netlink:
        netlink.sendto(header + request, (0, 0))
        answer = netlink.recv(4096)  # the kernel has answered by the time sendto returns
    length, kind, *_ = HEADER.unpack_from(answer)
    if kind != SOCK_DIAG_BY_FAMILY:
        return None
    at = HEADER.size + MESSAGE_BYTES
    while at + ATTRIBUTE.size <= length:
        size, name = ATTRIBUTE.unpack_from(answer, at)
        if name == UNIX_DIAG_RQLEN:
            waiting, limit = LENGTHS.unpack_from(answer, at + ATTRIBUTE.size)
            return waiting, limit
        at += max(ATTRIBUTE.size, (size + 3) & ~3)
    return None
