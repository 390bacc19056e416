"""A generation as the master sees it: one launcher process, and what it says.

What the launcher says becomes events for the supervisor; what the supervisor orders becomes messages. The
first message must be of this very version: if the package was replaced under a running daemon, its two
halves would not understand each other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from miniwsgi.codes import Code
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics.scoreboard import LAYOUT

from ... import __version__
from ...channel import Channel, Message
from ...permission import why_not_executed
from ...settings import Settings
from ..supervising import events as ev
from ..system.process_ends import from_returncode
from .bootstrap import execute
from .link import Link, close_all
from .running_hooks import RunningHooks
from .stacks import crash_stacks, dump_stacks

if TYPE_CHECKING:
    from ...config import Config

REAP_SECONDS = 1.0  # for a process that was killed

UPGRADED = "miniwsgi was upgraded: restart the service"


class LauncherHandle:
    """One launcher. `emit` takes events; `on_fork` (slot, pid, descriptors), `on_exit` (slot, pid, wait status)."""

    def __init__(
        self,
        number: int,
        config: Config,
        settings: Settings,
        emit: Callable[[ev.SupervisorEvent], None],
        on_fork: Callable[[int, int, list[int]], None],
        on_exit: Callable[[int, int, int], None],
        on_log: Callable[[str, str, Code | None], None],
    ) -> None:
        self.number = number
        self.config = config
        self.settings = settings
        self.hooks = RunningHooks()
        self._emit = emit
        self._on_fork = on_fork
        self._on_exit = on_exit
        self._on_log = on_log
        self._process: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None
        self._pidfd = self._stack_fd = -1
        self._booting = False  # being executed
        self._killed = False  # by us
        self._greeted = False
        self._given_up: dict[int, int] = {}  # slots by pid: workers that could not be taken over, and are not gone yet

    def __repr__(self) -> str:
        return f"<LauncherHandle {self.number} pid={self.pid}>"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    # --- orders ---

    async def boot(self, environment: dict[str, str], threads: DaemonThreads) -> None:
        """Execute it. If that cannot be done, the event LauncherFailed says so.

        A thread does it: it waits until the interpreter is loaded, and the disk where that lies may hang.
        """
        self._booting = True
        try:
            ours, theirs = Channel.pair()
            self._process = await threads.run(partial(self._execute, theirs, environment))
            self._pidfd = os.pidfd_open(self._process.pid)
        except Exception as error:
            if self._process is not None:  # without a pidfd it is of no use; it is our child, so the pid is its own
                self._process.kill()
                self._process.wait(REAP_SECONDS)
            if self._booting:
                self._booting = False  # what is said now has it killed
                reason = (error.strerror or str(error)) if isinstance(error, OSError) else repr(error)
                what = f"app.python: {self.config.app.python} cannot be executed: {reason}"
                self._emit(ev.LauncherFailed(self.number, Code.PYTHON_UNUSABLE, what))
                self._emit(ev.LauncherExited(self.number, "could not be executed"))
            return
        if not self._booting:  # given up meanwhile
            ours.close()
            self._kill()  # whoever reaps orphans finds it
            os.close(self._pidfd)
            self._pidfd = -1
            return
        self._booting = False
        self._link = Link(ours, self._receive, self._kill)
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)

    def _execute(self, channel: Channel, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Blocks. Raises OSError, which says why not."""
        python, settings = self.config.app.python, self.settings
        with channel.socket:
            try:
                return execute(python, settings.module, channel.fileno(), settings.descriptors, environment)
            except OSError as error:
                raise OSError(why_not_executed(python, error)) from None

    def fork(self, slot: int) -> None:
        self._send("fork", slot=slot)

    def tell_of_certificates(self) -> None:
        self._send("certificates")

    def retire(self) -> None:
        self._send("retire")

    def kill(self) -> None:
        """SIGKILL. One that is still being executed is killed when it is."""
        self._killed = True
        self._kill()
        if self._booting:
            self._booting = False
            self._emit(ev.LauncherExited(self.number, "was not executed in time"))

    def _kill(self) -> None:
        """Also called when its channel has ended: it is then of no more use."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass

    async def stacks(self) -> str:
        """What all its threads are doing."""
        if self._pidfd < 0 or self._stack_fd < 0:
            return "no stacks: the launcher has not said hello"
        return await dump_stacks(self.pid, self._pidfd, self._stack_fd)

    def _send(self, kind: str, **fields: object) -> None:
        if self._link is not None:
            self._link.send(kind, **fields)

    # --- what it says ---

    def _receive(self, message: Message, fds: list[int]) -> None:
        kind = message["kind"]
        if kind == "forked" and len(fds) == 3:
            self._on_fork(message["slot"], message["pid"], fds)
            return
        if kind == "hello" and len(fds) == 1:
            self._greet(message, fds[0])
            return
        close_all(fds)
        if kind == "imported":
            self._emit(ev.LauncherReady(self.number, message["preload"], message["note"]))
        elif kind == "revision":
            self._emit(ev.RevisionRead(self.number, message["revision"], message["source"]))
        elif kind == "failed":
            self._emit(ev.LauncherFailed(self.number, Code(message["code"]), message["error"], message["traceback"]))
        elif kind == "forked":
            # Its descriptors did not fit (EMFILE): it cannot be held. Until it is gone it may write into its slot.
            self._given_up[message["pid"]] = message["slot"]
            self._send("kill", pid=message["pid"])
        elif kind == "fork-failed":
            self._emit(ev.ForkFailed(message["slot"], message["error"]))
        elif kind == "exited" and message["pid"] in self._given_up:
            slot = self._given_up.pop(message["pid"])
            self._emit(ev.ForkFailed(slot, "it could not be taken over: too many open files (ulimit -n)"))
        elif kind == "exited":
            self._on_exit(message["slot"], message["pid"], message["status"])
        elif kind == "hook":
            self.hooks.hear(message)
        elif kind == "log":
            code = message["code"]
            self._on_log(message["level"], message["message"], None if code is None else Code(code))

    def _greet(self, message: Message, stack_fd: int) -> None:
        if self._stack_fd >= 0:
            os.close(self._stack_fd)
        self._stack_fd = stack_fd
        self._greeted = True
        if mismatch := version_mismatch(message):
            self._emit(ev.LauncherFailed(self.number, Code.UPGRADED, mismatch))
            return
        self._send("settings", **self.settings.to_message())

    def _ended(self) -> None:
        """Its process has ended: reap it, and hear what it had to say before."""
        assert self._process is not None
        status = self._process.wait()  # at once: the pidfd is readable
        asyncio.get_running_loop().remove_reader(self._pidfd)
        if self._link is not None:
            self._link.receive_all()
            self._link.close()
        os.close(self._pidfd)
        self._pidfd = -1
        if self._stack_fd >= 0:
            if crash := crash_stacks(self._stack_fd):
                self._on_log("error", f"the launcher has crashed\n{crash}", Code.LAUNCHER_LOST)
            os.close(self._stack_fd)
            self._stack_fd = -1
        reason = from_returncode(status).told(ours=self._killed)
        if not self._greeted and status:
            reason += f" before it said hello (is {self.config.app.python} Python 3.11 or newer?)"
        self._emit(ev.LauncherExited(self.number, reason))


def version_mismatch(hello: Message) -> str:
    """Why a launcher does not fit this master; "" if it does."""
    found = (hello.get("version"), hello.get("layout"))
    if found == (__version__, LAYOUT):
        return ""
    return f"{UPGRADED} (it runs {__version__}, on disk is {found[0]})"
