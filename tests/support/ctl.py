"""`miniwsgictl` as a process: piped, on a terminal, or run by somebody who may not."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support import ctl_forks
from tests.support.users import NOBODY
from tests.support.waiting import PATIENCE_SECONDS, wait_for

COMMAND = (sys.executable, "-m", "miniwsgi.manager.client")
# Everything is imported before the privileges are gone, by a first run that finds no daemon: the sources and the
# standard library may lie where nobody may look.
AS_NOBODY = f"""
import contextlib, io, os, sys
import msgspec.json
from miniwsgi.manager.client import cli
from miniwsgi.manager.client.commands import stop
from miniwsgi.manager.client.views import config_view, events_view, metrics_view, status_view, workers_view
with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
    cli.commands.main([*sys.argv[1:], "--socket", "/nowhere"], prog_name="miniwsgictl")
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
cli.main()
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Tool:
    """`miniwsgictl --socket SOCKET`."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.environ = {
            name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "MINIWSGI_CONTROL"}
        }
        self.environ["TERM"] = "xterm"

    def __call__(self, *arguments: str, nobody: bool = False, stdin: str = "") -> Ended:
        """Run to its end, nothing being a terminal."""
        started = time.monotonic()
        if not nobody and ctl_forks.can_run(self.environ):
            ended = ctl_forks.run(["--socket", str(self.socket), *arguments], self.environ, stdin, PATIENCE_SECONDS)
            return Ended(*ended, time.monotonic() - started)
        found = subprocess.run(
            self._argv(arguments, nobody),
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=PATIENCE_SECONDS,
        )
        return Ended(found.returncode, found.stdout, found.stderr, time.monotonic() - started)

    def under_way(self, kind: str) -> bool:
        """Whether the daemon is busy with a change of that kind."""
        return any(operation["kind"] == kind for operation in self("status", "-o", "json").json["operations"])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run beside the test."""
        argv = self._argv(arguments, False)
        return subprocess.Popen(argv, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def on_terminal(self, *arguments: str, **environ: str) -> Terminal:
        """Run on a terminal of its own, 80×24."""
        return Terminal(self._argv(arguments, False), {**self.environ, **environ})

    def _argv(self, arguments: tuple[str, ...], nobody: bool) -> list[str]:
        command = [sys.executable, "-c", AS_NOBODY] if nobody else COMMAND
        return [*command, "--socket", str(self.socket), *arguments]


class Terminal:
    """A process on a pseudo-terminal, in a session of its own. A context: killed on exit."""

    def __init__(self, argv: list[str], environ: dict[str, str]) -> None:
        self.output = b""
        self._master, self._slave = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            argv,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)
        self.hang_up()
        os.close(self._slave)

    @property
    def text(self) -> str:
        """All that was written."""
        return self.output.decode("utf-8", "replace")

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def hang_up(self) -> None:
        """Close the terminal under the process."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def read(self, seconds: float) -> bool:
        """Take what is written, waiting at most so long. False: nothing came."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        self.output += os.read(self._master, 65536)
        return True

    def wait_for(self, what: str, since: int = 0) -> int:
        """Read until a text was written after position `since`; the position after it. Raises AssertionError."""
        self.wait(lambda: what in self.text[since:], repr(what))
        return self.text.index(what, since) + len(what)

    def wait(self, condition: Callable[[], object], what: str) -> None:

        def holds() -> bool:
            if condition():
                return True
            more = self.read(0.05) or self.process.poll() is None or condition()
            assert more, f"ended with {self.process.returncode} before {what}: {self.text!r}"
            return False

        wait_for(holds, what, story=lambda: repr(self.text), every_seconds=0)

    def type_until(self, keys: str, what: str, since: int = 0) -> int:
        """Type keys until a text was written after position `since`: they may come while something else is shown."""

        def typed() -> bool:
            found = what in self.text[since:]
            if not found:
                self.type(keys)
                self.read(0.2)
            return found

        self.wait(typed, repr(what))
        return self.text.index(what, since) + len(what)

    def quit(self) -> int:
        """Type q, on whichever page it is, until it has ended; its exit status."""

        def left() -> bool:
            if self.process.poll() is None:
                self.type("q")
                self.read(0.2)
            return self.process.poll() is not None

        self.wait(left, "its end")
        return self.end()

    def end(self) -> int:
        """Read until it has ended; its exit status."""
        self.wait(lambda: self.process.poll() is not None, "its end")
        while self.read(0.05):
            pass
        return self.process.returncode

    def is_clean(self) -> bool:
        """Whether the terminal is as it was: its modes, its cursor, its own screen."""
        while self.read(0):  # what was written before it ended or was suspended
            pass
        screen = self.text.rfind("\x1b[?1049h") <= self.text.rfind("\x1b[?1049l")
        cursor = self.text.rfind("\x1b[?25l") <= self.text.rfind("\x1b[?25h")
        return screen and cursor and termios.tcgetattr(self._slave) == self.before

    def is_suspended(self) -> bool:
        """Whether the process has stopped (a SIGCONT before that would be lost)."""
        return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
