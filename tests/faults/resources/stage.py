"""Where a fault is shown: a daemon of one pool with an application that can be asked for anything, and a load beside.

A scenario gets a `Stage`, starts the daemon on it, does its harm, and calls `conclude`, which stops the load and the
daemon and asserts what was stated beforehand: how many requests may be lost, and that nothing is left over.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.aftermath import SLACK, Aftermath
from tests.support.control import Control
from tests.support.ctl import Tool
from tests.support.daemon import Daemon
from tests.support.load import Load, Report
from tests.support.waiting import PATIENCE_SECONDS

POOLS = {
    "epoll-1": 'pool = "epoll"\nthreads = 1\n',
    "epoll": 'pool = "epoll"\n',  # threads when the application blocks
    "prefork": 'pool = "prefork"\n',
    "fork": 'pool = "fork"\nthreads = 64\n',
}
WORKERS = 2
CALL_MS = 20  # a call of the load in the short run
NONE = "0"
MANY_FILES = 60_000  # for this process, the client of thousands

# Answers as the load expects them. What it is asked to hold on to, it has until it is asked to let go.
APPLICATION = """
import os, sys, time

VERSION = "v1"
kept = []

def application(environ, start_response):
    path = environ["PATH_INFO"]
    query = dict(pair.split("=", 1) for pair in environ["QUERY_STRING"].split("&") if "=" in pair)
    if path == "/slow":
        time.sleep(int(query["ms"]) / 1000)
    elif path == "/eat":
        bytearray(int(query["mb"]) << 20)
    elif path == "/keep":
        kept.append(b"k" * (int(query["mb"]) << 20))
    elif path == "/noise":
        environ["wsgi.errors"].write(("n" * 200 + "\\n") * 100)
    elif path == "/big":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", query["bytes"])])
        return big(int(query["bytes"]))
    elif path == "/length":
        total = 0
        while block := environ["wsgi.input"].read(65536):
            total += len(block)
        query["token"] = str(total)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{VERSION} {os.getpid()} {query.get('token', '')}\\n".encode()]

def big(left):
    while left:
        block = b"b" * min(65536, left)
        left -= len(block)
        yield block
"""


class Impossible(Exception):
    """This machine, or this user, cannot show the fault; the text says why."""


class _Daemon(Daemon):
    """A daemon behind a prefix: a command that changes its surroundings and then executes it.

    `heard` is what it has said where the daemon's log is not its standard error's file.
    """

    def __init__(
        self,
        directory: Path,
        prefix: Sequence[str],
        arguments: Sequence[str],
        ready: Callable[[], int],
        heard: Callable[[], str] | None,
    ) -> None:
        super().__init__(directory, *arguments)
        self._argv = [*prefix, *self._argv]
        self._ready = ready
        self._heard = heard

    def log(self) -> str:
        """Everything that it has said."""
        return super().log() + (self._heard() if self._heard is not None else "")

    def _all_ready(self, count: int) -> bool:
        """As the control API has it: lines of a log may be lost."""
        return len(self.workers()) == count == self._ready()

    def workers(self) -> list[int]:
        """The pids of its workers, but not of their children (pool fork), which have the same name."""
        found = self._named("mw-worker")
        pids = {entry.pid for entry in found}
        return [entry.pid for entry in found if entry.parent not in pids]


@dataclass(slots=True)
class Outcome:
    """What came of a fault in one pool: a row of the table."""

    requests: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    allowed: str = NONE
    seconds: float = 0.0  # until it served as before, from the moment the harm was lifted
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Stage:
    """A context, of one pool; `full` in the long run. See the module."""

    def __init__(self, pool: str, full: bool) -> None:
        self.pool = pool
        self.full = full
        self.outcome = Outcome()
        self.directory = Path(tempfile.mkdtemp(prefix="miniwsgi-fault-"))
        self.directory.chmod(0o755)  # other users' daemons read the application
        self.code = self.directory / "code"
        self.configuration = self.directory / "miniwsgi.toml"
        self.aftermath = Aftermath(self.directory)
        self.control_path = self.aftermath.runtime / "control.sock"
        self.loads: list[Load] = []
        self.daemon: Daemon
        self._stamp = 1_700_000_000
        self._daemons: list[Daemon] = []
        self._lifted_at = 0.0
        self.code.mkdir()
        self.release("v1")

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_error: object) -> None:
        for load in self.loads:
            load.finish()
        for daemon in self._daemons:
            daemon.kill()
        for load in self.loads:
            load._thread.join(PATIENCE_SECONDS)  # its requests end with the daemon
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def threaded(self) -> bool:
        """Whether one process serves many connections at a time, whatever they do."""
        return self.pool.startswith("epoll")

    def size(self, short: int, full: int) -> int:
        """How many, in this run."""
        return full if self.full else short

    # --- the daemon ---------------------------------------------------------------------------------------------------

    def release(self, version: str) -> None:
        """The application, in another version."""
        path = self.code / "app.py"
        path.write_text(APPLICATION.replace('"v1"', f'"{version}"'), "utf-8")
        self._stamp += 10  # compiled files are told apart by whole seconds
        os.utime(path, (self._stamp, self._stamp))

    def configure(self, server: str = "", rest: str = "", app: str = "", workers: int = WORKERS) -> None:
        """Write the configuration: lines for [server] and [app], and further tables."""
        text = f'[app]\nmodule = "app"\ndirectory = "{self.code}"\n{app}\n'
        text += f"[server]\nworkers = {workers}\n{POOLS[self.pool]}{textwrap.dedent(server)}\n{textwrap.dedent(rest)}\n"
        scratch = self.configuration.with_suffix(".new")
        scratch.write_text(text, "utf-8")
        scratch.replace(self.configuration)

    def start(
        self,
        prefix: Sequence[str] = (),
        *arguments: str,
        ready: int = WORKERS,
        watch: bool = True,
        heard: Callable[[], str] | None = None,
    ) -> Daemon:
        """Serve the configuration, from when it is at rest. `prefix` is a command that executes its arguments."""
        if not self.configuration.exists():
            self.configure()
        environ = [f"{name}={value}" for name, value in self.aftermath.environ.items()]
        flags = ["-c", str(self.configuration), "--control", str(self.control_path), *arguments]
        daemon = _Daemon(self.directory, ["env", *environ, *prefix], flags, self._ready, heard)
        self.daemon = daemon
        daemon.__enter__()
        self._daemons.append(daemon)
        if ready:
            daemon.wait_for_log("start: done")
            daemon.settle(ready)
        else:  # how many, is the test's to see
            daemon.wait_for_log("start: done")
        if watch:
            self.aftermath.watch(daemon)
        return daemon

    def load(self, *, connections: int = 8, path: str = "", answered: int = 20) -> Load:
        """Keep it busy, from now to `conclude`; it has been answered so often.

        In the short run by calls that last: as many requests are running at any time, for a tenth of the processor's.
        """
        path = path or ("/" if self.full else f"/slow?ms={CALL_MS}")
        load = Load(self.daemon.address, connections=connections, path=path)
        load.__enter__()
        self.loads.append(load)
        load.wait_for_more(answered)
        if not answered:
            load.wait(lambda _report: load.waiting() == connections, "all requests are sent")
        return load

    def _ready(self) -> int:
        """How many workers are ready; -1 if nobody can tell."""
        try:
            with self.control() as control:
                return int(control.status()["workers"]["ready"])
        except OSError:
            return -1

    def control(self) -> Control:
        return Control(self.seen(self.control_path))

    def tool(self) -> Tool:
        return Tool(self.seen(self.control_path))

    def seen(self, path: Path) -> Path:
        """A path as this process reaches what the daemon has there, whatever is mounted for it alone."""
        return Path(f"/proc/{self.daemon.process.pid}/root{path}")

    def worker_memory(self) -> int:
        """Resident bytes of all its workers and their children."""
        return sum(process.memory_info().rss for process in self.daemon.processes()[2:])

    # --- the end ------------------------------------------------------------------------------------------------------

    def lifted(self) -> None:
        """The harm is over: from now on counts how long it takes to serve as before."""
        self._lifted_at = time.monotonic()

    def recovered(self, more: int = 30, workers: int = WORKERS) -> None:
        """Wait until it serves with all its workers again."""
        begin = self._lifted_at or time.monotonic()
        self.daemon.settle(workers)
        for load in self.loads:
            load.wait_for_more(more)
        self.outcome.seconds = time.monotonic() - begin

    def note(self, text: str) -> None:
        """For the table."""
        self.outcome.notes.append(text)

    def conclude(
        self, allowed: Callable[[Report], str] | None = None, *, allowance: str = NONE, slack: int = SLACK
    ) -> Outcome:
        """Assert what was stated: `allowed` says what was lost beyond the allowance, "" if nothing."""
        outcome, daemon = self.outcome, self.daemon
        outcome.allowed = allowance
        reports = self.end_load()
        if daemon.process.poll() is None:
            self.aftermath.assert_recovered(slack)
            status = daemon.stop()
            assert status == 0, f"exit status {status}; its log:\n{daemon.log()}"
        self.aftermath.assert_gone()
        for report in reports:
            beyond = allowed(report) if allowed is not None else report.failures()
            assert not beyond, f"{beyond}: {report}; first {report.lost[:3]}; its log:\n{daemon.log()[-4000:]}"
        assert "the master could not do" not in daemon.log(), daemon.log()[-4000:]
        assert "Task exception was never retrieved" not in daemon.log(), daemon.log()[-4000:]
        outcome.left = self.aftermath.left_over()
        return outcome

    def forget(self) -> None:
        """A daemon that has been stopped leaves room for the next."""
        for name in ("daemon.log", "notify.sock"):
            (self.directory / name).unlink()

    def end_load(self) -> list[Report]:
        """Wait for what is outstanding; what was counted."""
        loads, self.loads = self.loads, []
        for load in loads:
            load.finish()
        reports = [load.stop() for load in loads]
        for report in reports:
            self.outcome.requests += report.requests
            self.outcome.lost.update(report.failures())
        return reports


def allow_many_files() -> int:
    """Have this process open as many files as it may; how many. What it starts may open the same."""
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, MANY_FILES), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (OSError, ValueError):
            continue  # only root may raise the hard limit
        return wanted
    return hard


def need_root() -> None:
    """Raises Impossible."""
    if os.geteuid() != 0:
        raise Impossible("needs root")


PYTHON = sys.executable
