"""TCP ports for daemons under test, so chosen that no other test and no client takes one before the daemon binds it.

A port that the kernel chooses is free only until somebody else asks: another test process, or a connection that goes
out. These lie below the range from which the kernel chooses, and each is claimed for as long as this process lives, by
an abstract Unix socket of that name (both belong to the network namespace).
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
CHOSEN_BY_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")

_claims: list[socket.socket] = []


def is_listened_on(port: int) -> bool:
    """Whether somebody accepts connections there, on 127.0.0.1."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody has, and that no other caller in any process gets."""
    highest = int(CHOSEN_BY_KERNEL.read_text().split()[0]) - 1
    if highest < LOWEST + 1000:  # the kernel chooses from nearly all of them: claims must do
        highest = 65535
    while True:
        port = random.SystemRandom().randint(LOWEST, highest)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0miniwsgi-test-port-{port}")
            with socket.create_server(("127.0.0.1", port)):
                pass
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
