"""An answer that is there, in the turn of a call that lasts: when its client gets it.

A server that sends what it has at the end of a turn lets it wait for all that the turn still holds. Both requests have
to be ready in one turn for that, so the processes are stopped while they arrive. The application says in its answer
when that was ready, by the clock that all processes share (CLOCK_MONOTONIC): the time counts from then.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.apps.bench_app import SLOW_SECONDS
from bench.figures import median
from bench.operations import Operation, Taken
from bench.processes import ServerError, parse_stat
from bench.servers import OURS
from bench.trial import Bench
from bench.workloads import PLAIN

TIMES = 5  # a round
SHORT_CALLS = 300  # before each: an engine that holds answers only while calls are short sees short ones
CALM_SECONDS = 2.3  # after each: a server that hands over what may block, having seen a call that does, has stopped
ARRIVE_SECONDS = 0.005  # of the fast request before the slow one
ANSWER_SECONDS = 5.0
STOP_SECONDS = 2.0
LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)


class HeldAnswer(Operation):
    """From when an answer is ready to its arrival, a call of 100 ms being next in the same turn."""

    name = "held answer"
    servers = (OURS, "bjoern", "granian")
    estimate = TIMES * (CALM_SECONDS + 0.2) + 1.0
    rounds = 3

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        with bench.serving(server, bench.order(self.workload("bench_app:brief")), PLAIN) as running:
            pids = running.pids()
            with Client(running.port) as fast, Client(running.port) as slow:
                waits = [_wait(fast, slow, pids) for _ in range(TIMES)]
        note = f"behind it a call of {SLOW_SECONDS * 1e3:.0f} ms, which is not to be waited for"
        return [
            Taken(self.name, "s", median(waits) or 0.0, note=note),
            Taken(f"{self.name}, the latest", "s", max(waits), note=f"of {TIMES}"),
        ]


def _wait(fast: Client, slow: Client, pids: Sequence[int]) -> float:
    """Seconds from ready to received. Raises ServerError when the slow call did not last, or nothing was answered."""
    time.sleep(CALM_SECONDS)
    for _ in range(SHORT_CALLS):
        fast.ask("/")
        fast.answer()
    slow.ask("/")
    slow.answer()
    with stopped(pids):
        fast.ask("/told")
        time.sleep(ARRIVE_SECONDS)
        slow.ask("/slow")
        time.sleep(ARRIVE_SECONDS)
        begin = time.monotonic()
    told = fast.answer()
    received = time.monotonic_ns()
    slow.answer()
    if time.monotonic() - begin < SLOW_SECONDS:
        raise ServerError("the slow call did not last")
    return (received - int(told)) / 1e9


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Processes that stand still meanwhile. Raises ServerError when one does not stop."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + STOP_SECONDS
        while any(parse_stat(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace"))[0] != "T" for pid in pids):
            if time.monotonic() > deadline:
                raise ServerError("does not stand still")
            time.sleep(0.001)
        yield
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)


@dataclass
class Client:
    """One connection, on which requests are sent and answers awaited."""

    port: int

    def __enter__(self) -> Client:
        self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def ask(self, path: str) -> None:
        """Send a request. Raises OSError."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())

    def answer(self) -> bytes:
        """Wait for the answer; its body. Raises OSError, ServerError when it does not come whole."""
        got = b""
        while True:
            head, end, body = got.partition(b"\r\n\r\n")
            if end and (length := LENGTH.search(head)) and len(body) >= int(length[1]):
                return body
            data = self._socket.recv(65536)
            if not data:
                raise ServerError(f"closed the connection after {got[:40]!r}")
            got += data
