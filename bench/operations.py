"""What running a server costs, apart from requests: to start, scale, reload, lose a worker, take up memory.

For those servers that have it; each operation says of each server what was waited for.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.exchange import complaint
from bench.load import Load
from bench.processes import Running, ServerError, memory
from bench.results_file import Results
from bench.servers import HELLO, OURS, Order
from bench.steps import TROUBLE, Step
from bench.trial import Bench
from bench.workloads import PLAIN, Workload

MANAGED = (OURS, "gunicorn-gthread", "uwsgi")  # with a master that starts, replaces and counts workers
CHANGE_SECONDS = 30.0
LOADED_SECONDS = 3.0
SETTLED_SECONDS = 0.7  # of load before a reload


@dataclass(frozen=True, slots=True)
class Taken:
    """One figure."""

    name: str
    unit: str
    value: float
    failed: int | None = None  # requests
    note: str = ""


class Operation(ABC):
    """Something that is done to a server, and measured."""

    name: str
    servers: tuple[str, ...]
    estimate: float  # seconds
    rounds: int | None = None  # None: as many as everything else

    @abstractmethod
    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        """Do it once. Raises ServerError, LoadError, OSError, http.client.HTTPException."""

    def workload(self, application: str = HELLO, workers: int = 1) -> Workload:
        """What is served meanwhile."""
        return Workload(self.name.replace(" ", "-"), self.name, application, self.servers, workers=workers)


class ColdStart(Operation):
    """From exec to the first right answer, compiled files in place."""

    name = "cold start"
    servers = (OURS, "bjoern", "granian", "gunicorn-gthread", "uwsgi", "waitress", "cheroot", "mod_wsgi")
    estimate = 0.8

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        order = bench.order(self.workload())
        with bench.serving(server, order, PLAIN, pinned=False) as running:
            return [Taken(self.name, "s", time.monotonic() - running.started, note="to the first answer")]


class Scale(Operation):
    """From 1 worker to 8."""

    name = "scale 1 to 8"
    servers = MANAGED
    estimate = 2.0
    wanted = 8

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        order = bench.order(self.workload())
        bench = with_flags(bench, "uwsgi", _cheaper(order))
        with bench.serving(server, order, PLAIN, pinned=False) as running:
            if len(running.workers()) != 1:
                raise ServerError(f"begins with {len(running.workers())} workers")
            begin = time.monotonic()
            if server == OURS:
                _call(Path(order.control), f"/v1/scale?wait={CHANGE_SECONDS:.0f}", {"workers": self.wanted})
                note = "until all are ready"
            else:
                for _ in range(self.wanted - 1):
                    if server == "uwsgi":
                        (order.scratch / "fifo").write_bytes(b"+")
                    else:
                        os.kill(running.process.pid, signal.SIGTTIN)
                    time.sleep(0.01)  # equal signals that wait are one
                note = "until all are forked"
            _wait(lambda: len(running.workers()) == self.wanted, f"{self.wanted} workers")
            return [Taken(self.name, "s", time.monotonic() - begin, note=note)]


class Reload(Operation):
    """4 workers are replaced; then again under load, whose failed requests are counted."""

    name = "reload"
    servers = MANAGED
    estimate = 3.5
    workers = 4

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        workload = replace(self.workload(workers=self.workers), connections=16)
        order = bench.order(workload)
        failed = None
        with (
            _notices(order.scratch) as (notices, environment),
            bench.serving(server, order, PLAIN, pinned=False, environment=environment) as running,
        ):
            if server == OURS:
                notices.wait("READY=1")
            elapsed = self._reload(running, server, notices)
            if number == 0:
                load = _loaded_meanwhile(bench, running, workload, lambda: self._reload(running, server, notices))
                failed = load.errors
        note = "4 workers, until the new ones are ready" if server == OURS else "4 workers, until they are new"
        return [Taken(self.name, "s", elapsed, failed, f"{note}; failed requests: of 16 connections, flat out")]

    def _reload(self, running: Running, server: str, notices: Notices) -> float:
        before = set(running.workers())
        begin = time.monotonic()
        os.kill(running.process.pid, signal.SIGHUP)
        if server == OURS:
            notices.wait("RELOADING=1")
            notices.wait("READY=1")
            elapsed = time.monotonic() - begin
        else:
            _wait(lambda: len(now := set(running.workers())) == self.workers and not now & before, "new workers")
            elapsed = time.monotonic() - begin
        fresh = set(running.workers()) - before
        if len(fresh) < self.workers:
            raise ServerError(f"only {len(fresh)} of {self.workers} workers are new after the reload")
        return elapsed


class CrashRecovery(Operation):
    """The only worker is killed: until the next right answer."""

    name = "crash recovery"
    servers = MANAGED
    estimate = 1.5

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        order = bench.order(self.workload())
        with bench.serving(server, order, PLAIN, pinned=False) as running:
            workers = running.workers()
            if len(workers) != 1:
                raise ServerError(f"{len(workers)} workers instead of one")
            begin = time.monotonic()
            os.kill(workers[0], signal.SIGKILL)
            failed = 0
            while True:
                try:
                    wrong = complaint(running.port, PLAIN)
                    break
                except (OSError, http.client.HTTPException):
                    failed += 1
                    if time.monotonic() > begin + CHANGE_SECONDS:
                        raise
                    time.sleep(0.002)
            elapsed = time.monotonic() - begin
        if wrong:
            raise ServerError(f"answers wrongly: {wrong}")
        return [Taken(self.name, "s", elapsed, failed, "the only worker, killed; asked again and again")]


class Memory(Operation):
    """What the processes take after some thousand requests."""

    name = "memory"
    servers = (OURS, "gunicorn-gthread", "uwsgi")
    estimate = 2.5
    rounds = 1

    def measure(self, bench: Bench, server: str, number: int) -> list[Taken]:
        workload = self.workload()
        with bench.serving(server, bench.order(workload), PLAIN) as running:
            bench.load(running, workload)
            root, *_ = running.pids()
            workers = running.workers()
            master, worker = memory(root), memory(workers[0])
        return [
            Taken("memory of the master", "bytes", master.rss, note="resident"),
            Taken("memory of a worker", "bytes", worker.pss, note="its proportional share"),
        ]


# --- means --------------------------------------------------------------------------------------------------------


def with_flags(bench: Bench, server: str, flags: list[str]) -> Bench:
    """The same bench, with one server's command longer by some flags."""
    before = bench.servers[server]
    longer = replace(before, command=lambda programs, order: [*before.command(programs, order), *flags])
    return replace(bench, servers={**bench.servers, server: longer}, commands={})


def _cheaper(order: Order) -> list[str]:
    """What uWSGI needs to change the number of its workers while it runs."""
    fifo = str(order.scratch / "fifo")
    return ["--processes", "8", "--cheaper", "1", "--cheaper-initial", "1", "--master-fifo", fifo]


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + CHANGE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"not {what} within {CHANGE_SECONDS:g} s")
        time.sleep(0.005)


def _loaded_meanwhile(bench: Bench, running: Running, workload: Workload, change: Callable[[], object]) -> Load:
    """Load a server, and change it meanwhile."""
    loads: list[Load] = []
    failures: list[BaseException] = []

    def load() -> None:
        try:
            loads.append(bench.wrk(running, workload, LOADED_SECONDS))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        time.sleep(SETTLED_SECONDS)
        change()
    finally:
        thread.join()
    if failures:
        raise failures[0]
    return loads[0]


class _UnixConnection(http.client.HTTPConnection):
    """http.client on a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=2 * CHANGE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _call(path: Path, target: str, body: object) -> None:
    """A change by our control API. Raises ServerError when it does not succeed."""
    connection = _UnixConnection(path)
    try:
        connection.request("POST", target, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    if response.status != 200 or answer.get("state") != "succeeded":
        raise ServerError(f"{target}: {response.status} {answer}")


class Notices:
    """What a daemon says of itself by sd_notify(3)."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def wait(self, wanted: str) -> None:
        """Wait for a line of a message. Raises ServerError."""
        deadline = time.monotonic() + CHANGE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                message = self._socket.recv(65536)
            except TimeoutError:
                break
            if wanted in message.decode("utf-8", "replace").splitlines():
                return
        raise ServerError(f"no {wanted} within {CHANGE_SECONDS:g} s")


@contextmanager
def _notices(directory: Path) -> Iterator[tuple[Notices, dict[str, str]]]:
    """The socket for them, and the environment that names it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        address = directory / "notify.sock"
        sock.bind(str(address))
        yield Notices(sock), {"NOTIFY_SOCKET": str(address)}


# --- steps --------------------------------------------------------------------------------------------------------


@dataclass
class OperationStep(Step):
    """An operation on a server, once."""

    operation: Operation
    server: str
    number: int
    estimate: float

    @property
    def title(self) -> str:
        """For the progress."""
        return f"round {self.number + 1}, {self.operation.name}: {self.server}"

    def run(self, bench: Bench, results: Results) -> None:
        """Do it."""
        if missing := bench.missing(self.server):
            results.operation(self.operation.name, self.server, "").void = missing
            return
        try:
            found = self.operation.measure(bench, self.server, self.number)
        except TROUBLE as error:
            names = [name for name, server in results.operations if server == self.server]
            if not any(name.startswith(self.operation.name) for name in names):
                results.operation(self.operation.name, self.server, "")
                names.append(self.operation.name)
            for name in names:
                if name.startswith(self.operation.name):
                    results.operations[name, self.server].void = str(error) or type(error).__name__
            return
        for taken in found:
            kept = results.operation(taken.name, self.server, taken.unit)
            kept.unit, kept.note = taken.unit, taken.note
            kept.values.append(taken.value)
            if taken.failed is not None:
                kept.failed_requests = (kept.failed_requests or 0) + taken.failed


def idle_connections(results: Results) -> None:
    """The memory of an idle connection is measured under a workload, and an operation's figure as well."""
    for (workload, server), cell in results.cells.items():
        if workload == "idle-10000" and cell.series.get("bytes_each"):
            kept = results.operation("idle connection", server, "bytes")
            kept.values = list(cell.series["bytes_each"])
            kept.note = "10,000 of them, of the whole tree, without kernel memory"
