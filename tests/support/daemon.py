"""A real daemon under test: started from the command line, watched through sd_notify, /proc and its log.

It runs in a session of its own; `kill()` ends every process that ever belonged to it, whatever became of
the master.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS, wait_for

STAT_BYTES = 1024  # more than /proc/PID/stat has
ALONE = {"MINIWSGI_CONTROL_SOCKET": "off", "MINIWSGI_METRICS_BIND": "off"}  # several run at once


@dataclass(frozen=True, slots=True)
class Entry:
    """A process as /proc/PID/stat shows it (proc(5))."""

    pid: int
    name: str
    state: str  # one letter: R, S, Z, …
    parent: int


def process_table() -> dict[int, Entry]:
    """All processes of the machine by pid. A fifth of what psutil takes: tests poll it."""
    table = {}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                stat = file.read(STAT_BYTES).decode("utf-8", "replace")
        except OSError:
            continue  # it has just left
        name, _, rest = stat.partition("(")[2].rpartition(")")
        state, parent = rest.split(maxsplit=2)[:2]
        table[pid] = Entry(pid, name, state, int(parent))
    return table


class Daemon:
    """A context: `miniwsgi serve ARGUMENTS` started and ready on entry, gone on exit.

    `directory` takes its log and its notification socket, and is its current directory.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        self.log_path = directory / "daemon.log"
        self._notify_path = directory / "notify.sock"
        self._argv = [sys.executable, "-m", "miniwsgi.daemon", "serve"]
        self._argv += ["--bind", f"127.0.0.1:{self.port}", *arguments]
        self._directory = directory
        self._known: dict[int, psutil.Process] = {}
        self.notices: list[str] = []  # what sd_notify has said, as far as it was read
        self.process: subprocess.Popen[bytes]
        self.notify: socket.socket

    def __enter__(self) -> Daemon:
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self._notify_path))
        self._notify_path.chmod(0o777)  # also for the user that a daemon of root's becomes
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env={**os.environ, **ALONE, "NOTIFY_SOCKET": str(self._notify_path)},
                start_new_session=True,
            )
        try:
            self.wait_for_notice("READY=1")
            self.processes()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill()

    # --- what it says -----------------------------------------------------------------------------

    def log(self) -> str:
        """Everything that it has written to stderr and stdout."""
        return self.log_path.read_text("utf-8", "replace")

    def wait_for_notice(self, wanted: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait for a notification with this line; the notification. Raises AssertionError with the log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.notify.settimeout(0.1)
            try:
                notice = self.notify.recv(65536).decode("utf-8", "replace")
            except TimeoutError:
                if self.process.poll() is not None:
                    break
                continue
            self.notices.append(notice)
            if wanted in notice.splitlines():
                return notice
        raise AssertionError(f"no {wanted}; exit status {self.process.poll()}; its log:\n{self.log()}")

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Wait until its log holds a text so many times."""
        self.wait(lambda: self.log().count(text) >= times, f"{text!r} in the log, {times} times")

    def wait(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Poll until the condition holds. Raises AssertionError that names `what`, with the log."""
        wait_for(condition, what, seconds, story=lambda: f"its log:\n{self.log()}")

    # --- its processes ----------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """The master and its living descendants."""
        return [self._known[entry.pid] for entry in self._family()]

    def _family(self) -> list[Entry]:
        """The same, as one look at the machine's processes shows them; all of them are known from now on."""
        table = process_table()
        family = [table[self.process.pid]] if self.process.pid in table else []
        children: dict[int, list[Entry]] = {}
        for entry in table.values():
            children.setdefault(entry.parent, []).append(entry)
        for entry in family:  # which grows
            family += children.get(entry.pid, [])
        return [entry for entry in family if entry.state not in "ZX" and self._knows(entry)]

    def _knows(self, entry: Entry) -> bool:
        """Whether it has not ended before it could be known."""
        if entry.pid not in self._known or not self._known[entry.pid].is_running():
            try:
                self._known[entry.pid] = psutil.Process(entry.pid)
            except psutil.NoSuchProcess:
                return False
        return True

    def workers(self) -> list[int]:
        """The pids of its workers."""
        return [entry.pid for entry in self._named("mw-worker")]

    def settle(self, workers: int) -> None:
        """Wait until it has so many workers and all of them have booted."""
        self.wait(lambda: self._all_ready(workers), f"{workers} ready workers")

    def _all_ready(self, count: int) -> bool:
        workers = self.workers()
        ready = set(re.findall(r"worker \d+ \(pid (\d+)\) of generation \d+ is ready", self.log()))
        return len(workers) == count and ready.issuperset(map(str, workers))

    def launchers(self) -> list[int]:
        """The pids of its launchers."""
        return [entry.pid for entry in self._named("mw-launcher")]

    def _named(self, prefix: str) -> list[Entry]:
        return [entry for entry in self._family() if entry.name.startswith(prefix)]

    def accepted(self) -> int:
        """How many TCP connections its launchers and workers hold."""
        count = 0
        for process in self.processes()[1:]:
            try:
                count += sum(found.status == "ESTABLISHED" for found in process.net_connections("tcp"))
            except psutil.Error:
                pass  # it has just left
        return count

    def survivors(self) -> list[psutil.Process]:
        """Which of the processes that it ever had are still alive."""
        self.processes()
        return [process for process in self._known.values() if is_alive(process)]

    # --- what is done to it -----------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal."""
        self.process.send_signal(number)

    def reload(self) -> bool:
        """SIGHUP, and wait for its verdict: whether it succeeded."""
        good, bad = self._verdicts()
        self.signal(signal.SIGHUP)
        self.wait(lambda: self._verdicts() != (good, bad), "the reload's verdict")
        self.processes()
        return self._verdicts() == (good + 1, bad)

    def _verdicts(self) -> tuple[int, int]:
        log = self.log()
        return log.count("reload: done"), log.count("reload failed")

    def stop(self) -> int:
        """SIGTERM, and wait; the exit status."""
        self.processes()
        self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End all that ever belonged to it."""
        for process in self.survivors():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.process.wait(PATIENCE_SECONDS)
        psutil.wait_procs(list(self._known.values()), timeout=PATIENCE_SECONDS)
        self.notify.close()


def suspend(pid: int) -> None:
    """SIGSTOP, and wait until all of its threads have stopped: on a busy machine they run on for a while."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")
    wait_for(
        lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads.glob("*/stat")),
        f"{pid} has stopped",
    )


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
