"""An answer that is there, in the turn of a call that lasts: when its client gets it.

A server that sends what it has at the end of a turn lets it wait for all that the turn still holds. Both requests have
to be ready in one turn for that, so the processes are stopped while they arrive; the time counts from when they go on.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.apps.bench_app import SLOW_SECONDS
from bench.exchange import HELLO_BODY
from bench.figures import median
from bench.operations import Operation, Taken
from bench.processes import ServerError, parse_stat
from bench.servers import IN_PYTHON, OURS
from bench.trial import Bench
from bench.workloads import PLAIN

TIMES = 15  # a round
SHORT_CALLS = 300  # before each: an engine that holds answers only while calls are short sees short ones
ANSWER_SECONDS = 5.0
STOP_SECONDS = 2.0


class HeldAnswer(Operation):
    """From the begin of a turn to the arrival of its first answer, a call of 100 ms being next."""

    name = "held answer"
    servers = (OURS, IN_PYTHON, "bjoern", "fastwsgi", "fastpysgi", "freastal", "peregrine", "granian")
    estimate = 5.0

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        with bench.serving(server, bench.order(self.workload("bench_app:mixed")), PLAIN) as running:
            pids = running.pids()
            with Client(running.port) as fast, Client(running.port) as slow:
                waits = [_wait(fast, slow, pids) for _ in range(TIMES)]
        note = f"behind it a call of {SLOW_SECONDS * 1e3:.0f} ms, which is not to be waited for"
        return [
            Taken(self.name, "s", median(waits) or 0.0, note=note),
            Taken(f"{self.name}, the latest", "s", max(waits), note=f"of {TIMES}"),
        ]


def _wait(fast: Client, slow: Client, pids: Sequence[int]) -> float:
    """Seconds until the fast answer. Raises ServerError when the slow call did not last, or nothing was answered."""
    for _ in range(SHORT_CALLS):
        fast.ask("/")
        fast.answer()
    with stopped(pids):
        fast.ask("/")
        slow.ask("/slow")
        begin = time.perf_counter()
    fast.answer()
    waited = time.perf_counter() - begin
    slow.answer()
    if time.perf_counter() - begin < SLOW_SECONDS:
        raise ServerError("the slow call did not last")
    return waited


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
    """One connection, on which hello-world is asked and awaited."""

    port: int

    def __enter__(self) -> Client:
        self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def ask(self, path: str) -> None:
        """Send a request. Raises OSError."""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())

    def answer(self) -> None:
        """Wait for the answer. Raises OSError, ServerError when there is none."""
        got = b""
        while not got.endswith(b"\r\n\r\n" + HELLO_BODY):
            data = self._socket.recv(65536)
            if not data:
                raise ServerError(f"closed the connection after {got[:40]!r}")
            got += data
