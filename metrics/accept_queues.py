"""How many connections wait in a listening socket's accept queue, how many may, and how many were dropped.

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
UDIAG_SHOW_VFS = 0x02
UDIAG_SHOW_RQLEN = 0x10
UNIX_DIAG_VFS = 1
UNIX_DIAG_RQLEN = 4
ANY_COOKIE = 0xFFFFFFFF
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
REQUEST = struct.Struct("=BBHIIIII")  # struct unix_diag_req: family, protocol, pad, states, inode, show, cookie[2]
SO_MEMINFO = 55  # socket(7); the ninth of its numbers is the count of drops (sk_drops)
MEMINFO = struct.Struct("=9I")
MESSAGE_BYTES = 16  # struct unix_diag_msg
ATTRIBUTE = struct.Struct("=HH")
NUMBERS = struct.Struct("=II")  # struct unix_diag_rqlen: queue and limit; struct unix_diag_vfs: inode and device
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


def dropped(sock: socket.socket) -> int | None:
    """How many attempts to connect the kernel has dropped at a listening TCP socket; None for others.

    Mostly for a full queue. It counts attempts: a client tries several times before it gives up.
    """
    if sock.family == socket.AF_UNIX:
        return None
    try:
        return int(MEMINFO.unpack(sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))[8])
    except (OSError, struct.error):
        return None


def socket_file_inode(sock: socket.socket) -> int | None:
    """The inode of the file that a Unix socket was bound to, whatever it is called by now; None if it has none."""
    try:
        found = _ask(os.fstat(sock.fileno()).st_ino, UDIAG_SHOW_VFS, UNIX_DIAG_VFS)
    except (OSError, struct.error):
        return None
    return found[0] if found is not None else None


def _unix(inode: int) -> tuple[int, int] | None:
    return _ask(inode, UDIAG_SHOW_RQLEN, UNIX_DIAG_RQLEN)


def _ask(inode: int, show: int, attribute: int) -> tuple[int, int] | None:
    """The two numbers of one attribute of a Unix socket (sock_diag(7)). Raises OSError, struct.error."""
    request = REQUEST.pack(socket.AF_UNIX, 0, 0, ALL_STATES, inode, show, ANY_COOKIE, ANY_COOKIE)
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
        if name == attribute:
            first, second = NUMBERS.unpack_from(answer, at + ATTRIBUTE.size)
            return first, second
        at += max(ATTRIBUTE.size, (size + 3) & ~3)
    return None
