"""Load at a fixed rate: requests are sent when they are due, whether or not earlier ones have been answered.

Latency is counted from when a request was *due*, not from when it could be sent, which corrects for
coordinated omission: a server that stalls is charged for everybody who would have come meanwhile. Arrivals
are a Poisson process with a fixed seed; a request that is due while all connections are busy waits in line,
and the wait counts. The client spins instead of sleeping when the next request is less than a millisecond
away: give it a core of its own.

Runs as a process of its own (`python -m bench.openloop`), prints one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import percentile
from bench.load import LoadError

ROOT = Path(__file__).resolve().parents[1]
SPIN_SECONDS = 0.0012  # epoll_wait counts in milliseconds
GRACE_SECONDS = 3.0  # for the last answers
SEED = 20090610
CURVE = (0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100)  # percentiles


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: each `slow_every`-th request to `slow_path`; `beside` connections on `beside_path`."""

    port: int
    rate: float  # requests a second
    seconds: float
    warm_up: float = 0.5  # seconds before what is counted
    connections: int = 256
    path: str = "/"
    slow_path: str = ""
    slow_every: int = 0
    beside_path: str = ""
    beside: int = 0
    body: bytes = b"Hello, world!\n"


@dataclass(slots=True)
class Outcome:
    """What came of it; latencies in seconds, counted from when a request was due."""

    fast: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)  # how late requests left although a connection was free
    errors: int = 0
    unanswered: int = 0
    closed: int = 0  # connections that the server closed while nothing was asked on them
    beside_answers: int = 0

    def summary(self) -> dict[str, Any]:
        """As JSON-ready data; the percentiles of nothing are null."""
        found: dict[str, Any] = {
            "errors": self.errors,
            "unanswered": self.unanswered,
            "closed": self.closed,
            "beside_answers": self.beside_answers,
        }
        for name, unsorted in (("fast", self.fast), ("slow", self.slow), ("late", self.late)):
            values = sorted(unsorted)
            found[name] = {
                "count": len(values),
                **{f"p{share * 100:g}": percentile(values, share) for share in (0.5, 0.9, 0.99, 0.999)},
                "max": values[-1] if values else None,
            }
        fast = sorted(self.fast)
        found["curve"] = [{"percentile": at, "seconds": percentile(fast, at / 100)} for at in CURVE if fast]
        return found


class _Connection:
    __slots__ = ("beside", "buffer", "counted", "due", "slow", "socket")

    def __init__(self, sock: socket.socket, beside: bool) -> None:
        self.socket = sock
        self.beside = beside
        self.buffer = b""
        self.due = 0.0
        self.slow = False
        self.counted = False


def arrivals(rate: float, seconds: float, seed: int = SEED) -> Iterator[float]:
    """When requests are due: a Poisson process of `rate` a second, as offsets in seconds."""
    chance = random.Random(seed)
    at = chance.expovariate(rate)
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


def run(plan: Plan) -> Outcome:
    """Carry out the plan in this process. Raises OSError when the server cannot be reached."""
    return Client(plan).run()


class Client:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self.epoll = select.epoll()
        self.connections: dict[int, _Connection] = {}
        self.idle: deque[_Connection] = deque()
        self.waiting: deque[tuple[float, bool, bool]] = deque()  # due, slow, counted
        self.fast_request = _request(plan.path, plan.port)
        self.slow_request = _request(plan.slow_path or plan.path, plan.port)
        self.beside_request = _request(plan.beside_path or plan.path, plan.port)

    def run(self) -> Outcome:
        """Carry it out. Raises OSError."""
        plan, clock = self.plan, time.perf_counter
        for _ in range(plan.beside):
            self.open(beside=True).socket.send(self.beside_request)
        for _ in range(plan.connections):
            self.idle.append(self.open(beside=False))
        gc.collect()
        gc.disable()
        start = clock() + 0.05
        ahead = 0
        schedule = arrivals(plan.rate, plan.warm_up + plan.seconds)
        due = next(schedule, None)
        while due is not None:
            now = clock()
            while due is not None and start + due <= now:
                ahead += 1
                slow = bool(plan.slow_every) and ahead % plan.slow_every == 0
                self._arrive(start + due, slow, due >= plan.warm_up)
                due = next(schedule, None)
            if due is None:
                break
            pause = start + due - clock()
            self._turn(0 if pause < SPIN_SECONDS else pause - SPIN_SECONDS)
        deadline = clock() + GRACE_SECONDS
        while clock() < deadline and (self.waiting or len(self.idle) < plan.connections):
            self._turn(0.01)
        self.outcome.unanswered = len(self.waiting) + plan.connections - len(self.idle)
        self.close()
        return self.outcome

    def close(self) -> None:
        """Close all connections."""
        for connection in self.connections.values():
            connection.socket.close()
        self.epoll.close()

    def open(self, beside: bool) -> _Connection:
        """One more connection, on which nothing is asked yet. Raises OSError."""
        sock = socket.create_connection(("127.0.0.1", self.plan.port), timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        connection = self.connections[sock.fileno()] = _Connection(sock, beside)
        self.epoll.register(sock.fileno(), select.EPOLLIN)
        return connection

    def _arrive(self, due: float, slow: bool, counted: bool) -> None:
        if not self.idle:
            self.waiting.append((due, slow, counted))
            return
        if counted:
            self.outcome.late.append(time.perf_counter() - due)
        self._send(self.idle.popleft(), due, slow, counted)

    def _send(self, connection: _Connection, due: float, slow: bool, counted: bool) -> None:
        connection.due, connection.slow, connection.counted = due, slow, counted
        try:
            connection.socket.send(self.slow_request if slow else self.fast_request)
        except OSError:
            self.lost(connection)

    def _turn(self, timeout: float) -> None:
        for number, _events in self.epoll.poll(timeout):
            connection = self.connections.get(number)
            if connection is not None:
                self._read(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lost(connection)
            return
        data = connection.buffer + data
        head, found, body = data.partition(b"\r\n\r\n")
        if not found or len(body) < len(self.plan.body):
            connection.buffer = data
            return
        connection.buffer = b""
        outcome = self.outcome
        if body != self.plan.body or not head.startswith(b"HTTP/1.1 200"):
            outcome.errors += 1
        elif connection.beside:
            outcome.beside_answers += 1
        elif connection.counted:
            latency = time.perf_counter() - connection.due
            (outcome.slow if connection.slow else outcome.fast).append(latency)
        if connection.beside:
            connection.socket.send(self.beside_request)
        elif self.waiting:
            self._send(connection, *self.waiting.popleft())
        else:
            self.idle.append(connection)

    def lost(self, connection: _Connection) -> None:
        """The connection broke: an error if an answer was due. A new one takes its place."""
        del self.connections[connection.socket.fileno()]
        connection.socket.close()
        if connection in self.idle:
            self.idle.remove(connection)
            self.outcome.closed += 1
        else:
            self.outcome.errors += 1
        fresh = self.open(connection.beside)
        if connection.beside:
            fresh.socket.send(self.beside_request)
        elif self.waiting:
            self._send(fresh, *self.waiting.popleft())
        else:
            self.idle.append(fresh)


def run_apart(plan: Plan, cpus: Sequence[int]) -> dict[str, Any]:
    """Carry out the plan in a process pinned to `cpus`. Raises LoadError with its complaint."""
    argv = [sys.executable, "-m", "bench.openloop", json.dumps(_as_json(plan))]
    if cpus:
        argv = ["taskset", "-c", ",".join(map(str, cpus)), *argv]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=plan.seconds + plan.warm_up + GRACE_SECONDS + 30,
        start_new_session=True,
    )
    if done.returncode:
        raise LoadError(done.stderr.decode("utf-8", "replace").strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _as_json(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan), "body": plan.body.decode()}


def _request(path: str, port: int) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def main() -> None:
    """The plan as JSON in the first argument; the summary on standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", help="a Plan as JSON")
    fields = json.loads(parser.parse_args().plan)
    plan = Plan(**{**fields, "body": fields["body"].encode()})
    print(json.dumps(run(plan).summary()))


if __name__ == "__main__":
    main()
