"""A daemon with two workers under load, what is done to it, and what came of it.

    with Stage(pool, tmp_path) as stage:
        outcome = stage.play(fault)

`play` does the fault while the load runs, waits until everything is as before, and stops the daemon. What the load
may lose is stated by the fault beforehand: as many requests as it has connections, for each worker that is killed.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from tests.support.daemon import Daemon
from tests.support.effort import effort
from tests.support.load import Failure, Load, Report
from tests.support.metrics_client import Port, Series
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .aftermath import Aftermath

WORKERS = 2
CONNECTIONS = 8
CALL_MS = effort(40, 5)  # a call of the load: most of its requests are running whenever a fault strikes
POLL_SECONDS = 0.05  # between two looks at the metrics
WEDGE_SECONDS = 4  # enough for a busy machine not to be taken for a wedged worker
KILLED = {Failure.CLOSED, Failure.RESET, Failure.TRUNCATED}  # requests of a process that was killed
NOISE = b"~" * 64  # in lines of the log that only fill it
HERE = Path(__file__).resolve().parent

BEFORE_THEIR_TIME = ("crash", "oom", "timeout", "wedge", "boot")  # reasons of the metrics

# What each pool is told. Pool fork has a place for each connection in either worker, or the load would wait for itself.
THREADS = 4
POOLS = {
    "epoll-1": "pool = 'epoll'\nthreads = 1",
    "epoll": f"pool = 'epoll'\nthreads = {THREADS}",
    "prefork": "pool = 'prefork'",
    "fork": "pool = 'fork'\nthreads = 16",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a fault may cost, and what an operator finds afterwards. `log` holds regular expressions."""

    kills: int = 0  # workers that end before their time, at most; what they run may be lost
    perhaps: int = 0  # more of them that may or may not end, as chance has it
    reason: str = ""  # under which their ends are counted
    recycled: int = 0  # workers that are replaced in time: nothing may be lost with them
    children: int = 0  # processes of the application that go on until the daemon stops
    unreaped: int = 0  # those that have ended, and for which it has not waited
    log: tuple[str, ...] = ()
    status: str = ""  # of the harmful requests in the access log; "": not looked at
    errors: int = 0  # exceptions of the application that are counted


Do = Callable[["Stage"], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is done to a daemon. `instead` is what is expected in particular pools."""

    name: str
    title: str
    do: Do
    expected: Expected = Expected()
    instead: dict[str, Expected] = field(default_factory=dict)
    configuration: str = ""  # lines after [timeouts]
    short: tuple[str, ...] = ()  # pools of the short form
    pools: tuple[str, ...] = tuple(POOLS)  # of the long one

    def in_pool(self, pool: str) -> Expected:
        return self.instead.get(pool, self.expected)


@dataclass(slots=True)
class Outcome:
    """What was counted."""

    requests: int = 0
    lost: int = 0
    allowed: int = 0
    seconds: float | None = None  # to recover
    left_over: list[str] = field(default_factory=list)


class Stage:
    """A context: the daemon is ready and the load runs on entry; all is gone on exit."""

    def __init__(self, pool: str, directory: Path, configuration: str = "", seed: int = 1) -> None:
        self.pool = pool
        self.directory = directory
        self.seed = seed
        self.access_log = directory / "access.log"
        self.metrics_port = free_port()
        self.aftermath = Aftermath(directory)
        self.victims: set[int] = set()  # workers that the fault itself has killed or stopped
        self.blows = 0  # how many it has struck, if it cannot be told beforehand
        self._lives = 0
        self._file = directory / "miniwsgi.toml"
        self._file.write_text(
            f"[app]\nmodule = 'application'\ndirectory = '{HERE}'\n"
            f"[server]\nworkers = {WORKERS}\n{POOLS[pool]}\n"
            f"[log]\naccess_log = '{self.access_log}'\n"
            f"[timeouts]\nwedge = {WEDGE_SECONDS}\ngraceful = 3\ndrain_idle = 0.5\n{configuration}\n"
        )
        self.daemon: Daemon
        self.load: Load

    def __enter__(self) -> Stage:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.load.stop()
        finally:
            self.daemon.kill()
            for process in self.aftermath.processes():
                process.kill()

    def start(self) -> None:
        """A daemon, ready and at rest; then the load."""
        directory = self.directory / f"life{self._lives}"
        directory.mkdir()
        self._lives += 1
        control = self.aftermath.runtime / "control.sock"
        metrics = f"127.0.0.1:{self.metrics_port}"
        arguments = ("-c", str(self._file), "--control", str(control), "--metrics-bind", metrics)
        self.daemon = _Filtered(directory, self.aftermath.environ, *arguments)
        self.daemon.__enter__()
        try:
            self.daemon.wait_for_log("start: done")
            self.aftermath.watch(self.daemon)
        except BaseException:
            self.daemon.kill()
            raise
        path = f"/?ms={CALL_MS}"
        self.load = Load(self.daemon.address, connections=CONNECTIONS, path=path, pausing=2, seed=self.seed)
        self.load.__enter__()
        self.load.wait_for_more(CONNECTIONS * 2)

    # --- the play -----------------------------------------------------------------------------------------------------

    def play(self, fault: Fault) -> Outcome:
        """Do it, and see that all is as promised. Raises AssertionError."""
        outcome, expected = Outcome(), fault.in_pool(self.pool)
        before = self.exits()
        began = time.monotonic()
        fault.do(self)
        ends = expected.kills + expected.recycled
        self.await_recovery(lambda: self._ends_since(before) >= bool(ends))
        outcome.seconds = time.monotonic() - began
        report = self.load.stop()
        exits = self.exits() - before
        kills = sum(exits[reason] for reason in BEFORE_THEIR_TIME)
        most = max(expected.kills + expected.perhaps, self.blows)
        assert kills <= most, f"workers ended: {dict(exits)}, {most} expected; the log:\n{self.daemon.log()}"
        if expected.reason:
            assert 1 <= exits[expected.reason] <= ends, f"counted as {dict(exits)}"
        outcome.allowed = CONNECTIONS * most
        self.judge(report, outcome)
        for pattern in expected.log:
            self.wait_for(lambda pattern=pattern: re.search(pattern, self.daemon.log()), f"{pattern!r} in the log")  # type: ignore[misc]
        if expected.errors:
            errors = expected.errors
            self.wait_for(lambda: self.metric("miniwsgi_application_errors_total") >= errors, "errors are counted")
        if expected.status:
            self.wait_for(
                lambda: self.statuses(fault.name) == {expected.status}, f"{expected.status} in the access log"
            )
        self.aftermath.assert_recovered(children=expected.children, unreaped=expected.unreaped)
        self.stop()
        return outcome

    def _ends_since(self, before: Counter[str]) -> int:
        return sum((self.exits() - before)[reason] for reason in (*BEFORE_THEIR_TIME, "rss"))

    def judge(self, report: Report, outcome: Outcome, kinds: Set[Failure] = KILLED) -> None:
        """Raises AssertionError if more is lost than allowed, or in another way than by a kill."""
        outcome.requests += report.requests
        outcome.lost += len(report.lost)
        assert {lost.kind for lost in report.lost} <= kinds, report.lost
        assert outcome.lost <= outcome.allowed, f"{outcome.lost} lost, {outcome.allowed} allowed: {report.lost}"

    def stop(self) -> None:
        """SIGTERM; nothing may be left."""
        assert self.daemon.stop() == 0, self.daemon.log()
        self.aftermath.assert_gone()

    def await_recovery(self, condition: Callable[[], bool] = lambda: True) -> None:
        """Wait until both places are filled again, by nobody's victim, and everybody is answered."""
        self.wait_for(lambda: self.whole() and condition(), "recovery")
        self.load.wait_for_more(CONNECTIONS * 3)

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """As Daemon.wait, for conditions that ask for the metrics: not as often."""
        wait_for(condition, what, story=self.daemon.log, every_seconds=POLL_SECONDS)

    def whole(self) -> bool:
        """Whether there are as many ready workers as there should be, and no others."""
        samples = self.metrics()
        ready = samples.get('miniwsgi_workers{state="ready"}', 0)
        everybody = sum(value for name, value in samples.items() if name.startswith("miniwsgi_workers{"))
        workers = self.workers()
        return ready == everybody == WORKERS == len(workers) and not self.victims & set(workers)

    # --- who is there -------------------------------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """The pids of workers, without the processes that pool fork has for connections."""
        return [pid for pid in self.daemon.workers() if self.aftermath.is_worker(pid)]

    # --- what is asked of it ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def client(self, request: bytes) -> Iterator[socket.socket]:
        """A connection of its own on which something has been sent."""
        with socket.create_connection(self.daemon.address, timeout=PATIENCE_SECONDS) as sock:
            sock.sendall(request)
            yield sock

    def ask(self, path: str, body: bytes = b"") -> tuple[int, str]:
        """Status and body of an answer; (0, "") when the connection was closed without one."""
        connection = http.client.HTTPConnection(*self.daemon.address, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST" if body else "GET", path, body or None)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (ConnectionError, http.client.IncompleteRead, http.client.BadStatusLine):
            return 0, ""
        finally:
            connection.close()

    # --- what it tells ------------------------------------------------------------------------------------------------

    def metrics(self) -> Series:
        """All of them now."""
        return Port(self.metrics_port).scrape()

    def metric(self, name: str) -> float:
        """A family's sum over its labels."""
        return Port(self.metrics_port).total(name)

    def exits(self) -> Counter[str]:
        """How many workers have ended, by reason."""
        samples = self.metrics()
        found = [re.fullmatch(r'miniwsgi_worker_exits_total\{reason="(\w+)"\}', name) for name in samples]
        return Counter({match[1]: int(samples[match[0]]) for match in found if match is not None})

    def statuses(self, name: str) -> set[str]:
        """The statuses of the requests for a harm in the access log."""
        text = self.access_log.read_text() if self.access_log.exists() else ""
        return set(re.findall(rf'"\w+ /{re.escape(name)}\b[^"]*" (\d+)', text))


class _Filtered(Daemon):
    """A daemon whose standard error is a pipe, as under a service manager; noise in it is thrown away."""

    def __init__(self, directory: Path, environ: dict[str, str], *arguments: str) -> None:
        super().__init__(directory, *arguments)
        self._environ = environ
        self._kept = directory / "kept.log"
        self._kept.touch()
        self.noise = 0  # bytes that were thrown away
        os.mkfifo(self.log_path)
        self._reader = threading.Thread(target=self._read, name="log", daemon=True)

    def __enter__(self) -> Daemon:
        self._reader.start()
        with mock.patch.dict(os.environ, self._environ):
            return super().__enter__()

    def log(self) -> str:
        return self._kept.read_text("utf-8", "replace")

    def kill(self) -> None:
        super().kill()
        self._reader.join(PATIENCE_SECONDS)  # until nobody has the other end any more

    def _read(self) -> None:
        with self.log_path.open("rb", buffering=0) as pipe, self._kept.open("ab", buffering=0) as kept:
            rest = b""
            while data := pipe.read(1 << 20):
                *lines, rest = (rest + data).split(b"\n")
                told = [line for line in lines if NOISE not in line]
                self.noise += len(data) - sum(len(line) + 1 for line in told)
                if told:
                    kept.write(b"\n".join(told) + b"\n")
            kept.write(rest)
