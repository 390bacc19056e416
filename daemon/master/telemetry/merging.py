"""The application's own metrics in the master: where prometheus_client keeps its values, and their merge.

The values lie in a private directory that is handed to launchers; what is in there is written by the application's
processes (daemon.worker.prometheus_slots) and read by a process that lives for one merge (metrics.value_merge). The
loop never waits for it, and whatever becomes of it, only the application's families are missing. It starts in 20 ms;
a process that stays would save those, and would have to be watched.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import miniwsgi.metrics
from miniwsgi.codes import Code
from miniwsgi.metrics.value_merge import MAX_BODY_BYTES

from ...log.error_log import ErrorLog, Trouble
from ..running.configurations import PreparedConfig
from ..running.shared_work import SharedWork
from ..system.private_directory import PrivateDirectory, runtime_directory

if TYPE_CHECKING:
    from ...config import Config

MERGE_SECONDS = 2.0
END_SECONDS = 1.0  # for a process that was killed
MAX_REPORT_BYTES = 64 * 1024
PIPE_BYTES = 1 << 20
VARIABLES = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
PREFIX = "miniwsgi-app-metrics-"

# Run with `-I -S -c`: arguments are the folder of metrics and main's. It needs no site-packages.
PROGRAM = """\
import sys, types
package = sys.modules["metrics"] = types.ModuleType("metrics")
package.__path__ = [sys.argv[1]]
from metrics.value_merge import main
main(sys.argv[2:])
"""


class MergeError(Exception):
    """A merge has failed; the text says why."""


class AppMetrics:
    """See the module. `errors` counts merges that failed, by reason; `merge_seconds` is how long the last one took.

    `known` are the pids that the reaper leaves alone; `reap` is called when one of them is gone.
    """

    def __init__(
        self,
        log: ErrorLog,
        environ: Mapping[str, str],
        in_force: Callable[[], PreparedConfig],
        known: set[int],
        reap: Callable[[], None],
    ) -> None:
        self.errors = {"timeout": 0, "failed": 0}
        self.merge_seconds = 0.0
        self._log = log
        self._environ = environ
        self._in_force = in_force
        self._known = known
        self._reap = reap
        self._directory: PrivateDirectory | None = None
        self._merges = SharedWork()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"<AppMetrics {self.directory or 'off'} errors={self.errors}>"

    @property
    def directory(self) -> str:
        """Where values are kept; "" if there is none."""
        return self._directory.path if self._directory is not None else ""

    # --- for launchers ---

    def directory_for(self, config: Config, environment: Mapping[str, str]) -> str:
        """Where a generation with this configuration and environment keeps its values; "" if that is not our affair.

        Makes the directory when it is first asked for: blocks.
        """
        if not _wanted(config):
            return ""
        if taken := _taken(environment):
            self._note_once(
                f"the application's environment sets {taken}: its metrics are left to it, and not on /metrics"
            )
            return ""
        if self._directory is None:
            where = ""
            try:
                base = runtime_directory(self._environ)
                where = f" in {base}"
                self._directory = PrivateDirectory(base, PREFIX)
            except OSError as error:
                self._tell_once(
                    "error",
                    Code.APP_METRICS_HOMELESS,
                    f"no directory for the application's metrics{where}: {error.strerror or error}; it is served all "
                    "the same, its metrics are not on /metrics",
                )
        return self.directory

    # --- for scrapes ---

    async def merged(self, openmetrics: bool) -> bytes:
        """The application's families, as text 0.0.4 or OpenMetrics without its `# EOF`; b"" if there are none.

        Never raises for what becomes of the merge: that is counted and logged. Who asks meanwhile shares it.
        """
        directory = self.directory
        if not directory or not self._ours() or not _has_values(directory):
            return b""
        return await self._merges.ask(openmetrics, lambda: self._merge(directory, openmetrics))

    async def _merge(self, directory: str, openmetrics: bool) -> bytes:
        began = time.monotonic()
        try:
            async with asyncio.timeout(MERGE_SECONDS):
                output = await self._run(directory, "openmetrics" if openmetrics else "text")
            body = self._read_report(output)
        except TimeoutError:
            self._fail("timeout", f"it took more than {MERGE_SECONDS:g} s")
            return b""
        except Exception as error:
            self._fail("failed", str(error) or repr(error))
            return b""
        self.merge_seconds = time.monotonic() - began
        return body

    async def _run(self, directory: str, form: str) -> bytes:
        """What the process writes. It is gone when this returns or raises."""
        process = _start(directory, form)
        self._known.add(process.pid)  # in the same step: the reaper has not seen it yet
        self._processes.add(process)
        try:
            pidfd = os.pidfd_open(process.pid)
        except OSError:
            self._end(process)
            raise
        try:
            return await self._output(process)
        finally:
            process.kill()
            await asyncio.shield(self._bury(process, pidfd))

    async def _output(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        fd = process.stdout.fileno()
        os.set_blocking(fd, False)
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(fd, ready.set)
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                try:
                    part = os.read(fd, PIPE_BYTES)
                except BlockingIOError:
                    ready.clear()
                    await ready.wait()
                    continue
                if not part:
                    return b"".join(parts)
                parts.append(part)
                size += len(part)
                if size > MAX_BODY_BYTES + MAX_REPORT_BYTES:
                    raise MergeError(f"it wrote more than {MAX_BODY_BYTES} bytes")
                await asyncio.sleep(0)  # one part a turn of the loop
        finally:
            loop.remove_reader(fd)

    async def _bury(self, process: subprocess.Popen[bytes], pidfd: int) -> None:
        """Wait for a process that was killed."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            self._end(process)
            loop.call_soon(self._reap)  # it may have stood before orphans in the kernel's queue

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        try:
            process.wait(END_SECONDS)  # at once, unless the kernel holds it
        except subprocess.TimeoutExpired:
            told = f"the merge of the application's metrics does not end (pid {process.pid}): it is left"
            self._log.error(Code.PROCESSES_LEFT, told)
        if process.stdout is not None:
            process.stdout.close()
        self._known.discard(process.pid)
        self._processes.discard(process)

    def _read_report(self, output: bytes) -> bytes:
        """The body; what the merge has to report is logged. Raises MergeError."""
        head, newline, body = output.partition(b"\n")
        if not newline:
            raise MergeError("it ended before it had written anything")
        try:
            report = json.loads(head)
        except ValueError:
            raise MergeError("its report cannot be read") from None
        if "error" in report:
            raise MergeError(report["error"])
        if report["bytes"] != len(body):
            raise MergeError("it ended before it had written everything")
        for name in report["dropped"]:
            self._tell_once(
                "warning",
                Code.APP_METRIC_TAKEN,
                f"the application's metric {name} is left out: the server, or another one, has that name",
            )
        for name in report["damaged"]:
            told = f"the application's metrics: {name} is damaged; what can be read of it counts"
            self._tell_once("warning", Code.APP_METRICS_DAMAGED, told)
        return body

    def _fail(self, reason: str, why: str) -> None:
        self.errors[reason] += 1
        told = f"the application's metrics could not be merged: {why}; /metrics lacks them"
        self._log.limited("app-metrics", "error", Code.APP_METRICS_UNMERGED, told)

    # --- the end ---

    def close(self) -> None:
        """Remove the directory and what runs. Called when the application has ended."""
        self._merges.cancel()
        for process in list(self._processes):
            self._end(process)
        if self._directory is not None:
            self._directory.remove()
            self._directory = None

    def _ours(self) -> bool:
        """Whether the configuration in force leaves its metrics to us."""
        prepared = self._in_force()
        return _wanted(prepared.config) and not _taken(prepared.environment)

    def _tell_once(self, level: Trouble, code: Code, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._log.trouble(level, code, message)

    def _note_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._log.info(message)


def _start(directory: str, form: str) -> subprocess.Popen[bytes]:
    """Not asyncio's, as the reaper must know its pid before it can have ended. Raises OSError."""
    folder = os.path.abspath(miniwsgi.metrics.__path__[0])
    return subprocess.Popen(  # noqa: S603 - no shell: the operator's interpreter, our code
        [sys.executable, "-I", "-S", "-c", PROGRAM, folder, directory, form],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pipesize=PIPE_BYTES,
    )


def _wanted(config: Config) -> bool:
    return bool(config.metrics.bind.address) and config.metrics.application


def _taken(environment: Mapping[str, str]) -> str:
    """The variable by which the application's environment says that it sees to its metrics itself; "" if none does."""
    return next((name for name in VARIABLES if name in environment), "")


def _has_values(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(entry.name.endswith(".db") for entry in entries)
    except OSError:
        return False
