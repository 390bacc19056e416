"""systemd's side: what is said to the service manager, and what it passes."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniwsgi.daemon.master.system.systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Notifier, socket.socket]]:
    """A notifier, and the socket of the service manager that it talks to."""
    name = f"@miniwsgi-{secrets.token_hex(8)}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(60)
        yield Notifier({"NOTIFY_SOCKET": name}), sock


def test_ready_comes_with_a_status(manager: tuple[Notifier, socket.socket]) -> None:
    notifier, sock = manager
    notifier.ready("4 workers")
    assert sock.recv(4096) == b"READY=1\nWATCHDOG=1\nSTATUS=4 workers"


def test_reloading_carries_the_time_that_systemd_compares(manager: tuple[Notifier, socket.socket]) -> None:
    notifier, sock = manager
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    lines = dict(line.split("=", 1) for line in sock.recv(4096).decode().splitlines())
    assert lines["RELOADING"] == "1"
    assert before <= int(lines["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_stopping_asks_for_the_time_that_it_may_take(manager: tuple[Notifier, socket.socket]) -> None:
    notifier, sock = manager
    notifier.stopping(45.5)
    assert sock.recv(4096).startswith(b"STOPPING=1")
    assert sock.recv(4096) == b"EXTEND_TIMEOUT_USEC=45500000"


def test_the_same_status_is_sent_once(manager: tuple[Notifier, socket.socket]) -> None:
    notifier, sock = manager
    for text in ("a", "a", "b"):
        notifier.status(text)
    assert [sock.recv(4096), sock.recv(4096)] == [b"STATUS=a", b"STATUS=b"]
    notifier.alive()
    assert sock.recv(4096) == b"WATCHDOG=1"


def test_a_manager_that_does_not_read_or_is_gone_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        notifier = Notifier({"NOTIFY_SOCKET": str(path)})
        for number in range(2000):
            notifier.status(f"{number}")
    path.unlink()
    notifier.ready("x")
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": "/nonexistent/notify"}).ready("x")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "20000000"}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_the_watchdog_is_wanted_of_this_process_or_not(environ: dict[str, str], seconds: float) -> None:
    assert Notifier(environ).watchdog_seconds == seconds


RECEIVER = """
import os, socket, sys
from miniwsgi.daemon.master.system.systemd import listen_fds
socks = [socket.socket() for _ in range(3)]
for number, sock in enumerate(socks):
    os.dup2(sock.fileno(), 60 + number)
for number in range(3):
    os.dup2(60 + number, 3 + number)
environ = {name: value.replace("self", str(os.getpid())) for name, value in
           (argument.split("=", 1) for argument in sys.argv[1:])}
print(listen_fds(environ), flush=True)
os._exit(0)
"""


def passed_sockets(environ: dict[str, str]) -> str:
    """What `listen_fds` finds in a process that has three sockets from descriptor 3 on; "self" is its pid."""
    arguments = [f"{name}={value}" for name, value in environ.items()]
    done = subprocess.run([sys.executable, "-c", RECEIVER, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        (
            {"LISTEN_FDS": "3", "LISTEN_PID": "self", "LISTEN_FDNAMES": "http:http:control"},
            "{'http': [3, 4], 'control': [5]}",
        ),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "self"}, "{'unknown': [3]}"),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, "{}"),
        ({"LISTEN_FDS": "many", "LISTEN_PID": "self"}, "{}"),
        ({}, "{}"),
    ],
)
def test_passed_sockets_by_name(environ: dict[str, str], found: str) -> None:
    assert passed_sockets(environ) == found
