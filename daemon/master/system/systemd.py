"""systemd: readiness and status (sd_notify(3)), the watchdog (sd_watchdog_enabled(3)), passed sockets
(sd_listen_fds(3)).

Without systemd everything here does nothing. A notification is one datagram, sent without waiting: a
service manager that does not read holds nobody up.
"""

from __future__ import annotations

import array
import os
import socket
import time
from collections.abc import Mapping, Sequence

FIRST_FD = 3  # SD_LISTEN_FDS_START


class Notifier:
    """Messages to the service manager that is named in $NOTIFY_SOCKET, a path or "@abstract"."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self.address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog(environ)
        self._socket: socket.socket | None = None
        self._status = ""

    def __repr__(self) -> str:
        return f"<Notifier {self.address!r} watchdog={self.watchdog_seconds}>"

    def ready(self, status: str) -> None:
        """Started, or reloaded."""
        # A sign of life, too: EXTEND_TIMEOUT_USEC= has put off the watchdog until the next one.
        self.send("READY=1", "WATCHDOG=1", f"STATUS={status}")
        self._status = status

    def reloading(self) -> None:
        """The answer will be `ready`, whatever came of it. The time is what Type=notify-reload asks for."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reloading")
        self._status = "reloading"

    def failed(self, why: str, error: int = 0) -> None:
        """The daemon ends because of this: for `systemctl status`. `error` is an errno, if there is one."""
        self.send(f"STATUS=failed: {' '.join(why.split())}", *([f"ERRNO={error}"] if error else []))

    def stopping(self, seconds: float) -> None:
        """Stopping; it may take so long."""
        self.send("STOPPING=1", "STATUS=stopping")
        self.extend_timeout(seconds)

    def extend_timeout(self, seconds: float) -> None:
        """What is under way, start or stop, may take so long from now."""
        self.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it differs from the last."""
        if text != self._status:
            self.send(f"STATUS={text}")
            self._status = text

    def alive(self) -> None:
        """To be called every `watchdog_seconds` / 2 at the latest."""
        self.send("WATCHDOG=1")

    def store(self, name: str, fd: int) -> None:
        """Have a descriptor kept, and passed again under its name to whoever is started next (FDSTORE=1)."""
        self.send("FDSTORE=1", f"FDNAME={name}", fds=(fd,))

    def forget(self, name: str) -> None:
        """Have all descriptors of that name closed (FDSTOREREMOVE=1)."""
        self.send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def send(self, *lines: str, fds: Sequence[int] = ()) -> None:
        if not self.address:
            return
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            self._socket.sendmsg(["\n".join(lines).encode()], rights, 0, self.address)
        except OSError:
            pass  # nobody listens, or nobody reads: neither is a reason to stop serving


def _watchdog(environ: Mapping[str, str]) -> float:
    """Seconds between signs of life that the service manager wants from this process; 0: none."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if microseconds.isdecimal() else 0.0


def listen_fds(environ: Mapping[str, str]) -> dict[str, list[int]]:
    """The sockets that were passed to this process, by their FileDescriptorName= ("unknown" without one)."""
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[int]] = {}
    for number in range(int(count)):
        fd = FIRST_FD + number
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue
        name = names[number] if number < len(names) and names[number] else "unknown"
        found.setdefault(name, []).append(fd)
    return found
