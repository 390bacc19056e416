"""A real daemon for the cases: `python -m miniwsgi.daemon serve` on ports and sockets of its own, in each profile.

Started from a configuration file in a directory of the caller's; ready when it answers. It runs in a session of its
own, and leaving the context ends that, whatever became of its processes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.effort import effort
from tests.support.engines import CHOSEN
from tests.support.ports import free_port

from .case import Case, get
from .exchange import Exchange, Send, run
from .runner import EVERY_WAY, QUICK, Effort, Target

READY_SECONDS = 60.0
STOP_SECONDS = 60.0

# What each profile sets beyond the defaults; the tables say which one they need. `proxied` is also for those who read
# the log: nobody else is refused there.
# The clients of the tests take turns, and a busy machine makes them slow: only `hasty` may call them so.
PATIENT = """
[timeouts]
head = 100
body = 100
send = 100
keep_alive = 100
"""
SMALL_LIMITS = {"request_line": 100, "field_size": 200, "fields": 10, "fields_size": 600, "body_max": 1000}
SMALL = "[limits]\n" + "".join(f"{name} = {value}\n" for name, value in SMALL_LIMITS.items())
PROFILES = {
    "plain": PATIENT,
    "small": SMALL + PATIENT,
    "hasty": """
[timeouts]
head = 1
body = 1
send = 1
keep_alive = 1
drain_idle = 1
""",
    "proxied": '[proxy]\ntrusted = ["127.0.0.1", "::1", "10.0.0.0/8"]\n',
    "forwarded": '[proxy]\ntrusted = ["127.0.0.1", "::1", "10.0.0.0/8"]\nfields = "forwarded"\n',
    "busy": "[limits]\nin_flight = 1\n",
    "full": "[limits]\nconnections = 2\n",
}


def has_ipv6() -> bool:
    """Whether this machine has its loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = has_ipv6()
SCRIPT_NAMES = {"proxied": "/app"}


@dataclass(frozen=True, slots=True)
class Pool:
    """One way to serve, and what its nature allows to be tried at once."""

    name: str
    kind: str
    threads: int
    concurrency: int
    effort: Effort
    slow_workers: int = 1  # what the cases about time need beside each other; 0: they are left out
    selfish: bool = False  # a connection is kept alive only while nobody else has one

    def slow_batches(self, cases: Sequence[Case]) -> list[tuple[list[Case], int]]:
        """Those of the cases that are about time, in batches that may run at once, each with its concurrency."""
        slow = [case for case in cases if case.seconds] if self.slow_workers else []
        lonely = [case for case in slow if self.selfish and case.needs_keep_alive]
        return [(lonely, 1), ([case for case in slow if case not in lonely], len(slow))]


# The parser is fed every cut of every case in tests/unit: here a few show that a pool hands on what it receives.
POOLS = (
    Pool("epoll-1", "epoll", 1, 32, effort(Effort(splits=2), EVERY_WAY)),
    Pool("epoll-adaptive", "epoll", 8, 32, effort(Effort(bytewise=False, splits=1, serving_splits=0), EVERY_WAY)),
    Pool(
        "prefork", "prefork", 1, 1, effort(Effort(splits=1, serving_splits=0), EVERY_WAY), slow_workers=20, selfish=True
    ),
    Pool("fork", "fork", 20, 4, effort(QUICK, EVERY_WAY)),
    # The same code as prefork, without a master.
    Pool("single", "single", 1, 1, QUICK, slow_workers=0, selfish=True),
)


class Server:
    """A context: the daemon is ready on entry and gone on exit; `target` says how to reach it."""

    def __init__(
        self, directory: Path, pool: Pool, profile: str = "plain", workers: int = 1, engine: str = CHOSEN
    ) -> None:
        self.directory = directory
        self.pool = pool
        self.profile = profile
        self.log_path = directory / "daemon.log"
        self.engine = engine
        self.control_path = directory / "control.sock"
        self.records = directory / "records"  # what the application has been called for, a file a token
        self._workers = workers
        self._socket_path = str(directory / "http.sock")
        self.port = free_port()
        self.process: subprocess.Popen[bytes]

    @property
    def target(self) -> Target:
        return Target(
            address=("127.0.0.1", self.port),
            unix=self._socket_path,
            ipv6=("::1", self.port) if IPV6 else "",
            profile=self.profile,
            concurrency=self.pool.concurrency,
        )

    def configuration(self) -> str:
        binds = [f"127.0.0.1:{self.port}", f"unix:{self._socket_path}", *([f"[::1]:{self.port}"] if IPV6 else [])]
        return f"""
[app]
module = "application:application"
directory = "{Path(__file__).parent}"
env = {{ CONFORMANCE_RECORDS = "{self.records}" }}
[server]
bind = {binds}
pool = "{self.pool.kind}"
engine = "{self.engine}"
threads = {self.pool.threads}
workers = {self._workers}
script_name = "{SCRIPT_NAMES.get(self.profile, "")}"
[control]
socket = "{self.control_path}"
[metrics]
bind = ""
{PROFILES[self.profile]}"""

    def __enter__(self) -> Server:
        path = self.directory / "miniwsgi.toml"
        path.write_text(self.configuration())
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "miniwsgi.daemon", "serve", "-c", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"},
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            asking = Exchange([Send(get(b"/", b"Connection: close"))], seconds=READY_SECONDS)
            run([asking], self.target.address)
            if asking.outcome and asking.outcome.responses:
                return
            time.sleep(0.02)
        raise AssertionError(f"the daemon is not ready; exit status {self.process.poll()}; its log:\n{self.log()}")

    def stop(self) -> int:
        """SIGTERM, then what is needed; the master's exit status."""
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.process.wait()
