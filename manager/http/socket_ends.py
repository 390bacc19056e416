"""Who is at the ends of a connection, by the kernel's word: credentials on a Unix socket, addresses on TCP."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from .exchange import Ends, PeerCredentials

SO_PEERGROUPS = 59  # socket(7); not in Python's socket module
MAX_GROUPS = 256  # getsockopt takes 1 KiB at most; who is in more groups is looked up
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
UNKNOWN_ID = 0xFFFFFFFF


def peer_of(sock: socket.socket) -> PeerCredentials | None:
    """Who connected to a Unix socket; None if the kernel does not tell."""
    try:
        pid, uid, gid = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    except OSError:
        return None
    return PeerCredentials(pid, uid & UNKNOWN_ID, gid & UNKNOWN_ID, _groups_of(sock))


def ends_of(sock: socket.socket) -> Ends | None:
    """The addresses of a TCP connection; None if it has ended already."""
    try:
        client, server = sock.getpeername()[0], sock.getsockname()[0]
    except OSError:
        return None
    return Ends(_address(client), _address(server))


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _groups_of(sock: socket.socket) -> tuple[int, ...] | None:
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MAX_GROUPS)
    except OSError:
        return None
    return struct.unpack(f"{len(data) // 4}I", data)
