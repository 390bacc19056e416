"""A worker as the master holds it: a pidfd for signals, a control channel for orders, a pipe for stacks.

All three came from the launcher with the message that it was forked. Signals go through the pidfd alone, so
that they cannot reach another process that got the same pid.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from miniwsgi.codes import Code

from ...channel import Channel, Message
from ...settings import Settings
from .link import Link, close_all
from .running_hooks import RunningHooks
from .stacks import NO_STACKS, ORDER_SECONDS, await_stacks, discard, dump_stacks, read_crash

GONE = f"{NO_STACKS}the process is gone"
DEAF_SECONDS = 2.0  # between the ends of the channel and of the process, when it simply exits
DEAF = (
    "it has closed the channel of the master's orders and runs on "
    "(does the application close descriptors that are not its own?)"
)


class EngineInUse(NamedTuple):
    """What a worker says that it runs."""

    name: str
    why: str  # why it is not one that server.engine = "auto" would rather take; "" if it is
    python: str = ""  # which interpreter runs it: "CPython 3.14.1"

    def __str__(self) -> str:
        """For people: "plain: no build for CPython 3.14"."""
        return ": ".join(filter(None, (self.name, self.why)))


class TakenStacks(NamedTuple):
    """What all threads of a worker were doing."""

    text: str  # as faulthandler writes it
    taken_ns: int  # time.monotonic_ns()


class WorkerHandle:
    """One worker. `queues` are the names of our own listeners that it has, by descriptor; `settings` are its own.

    `on_message` gets what it says, `on_death` is called when its process has ended.
    """

    def __init__(
        self,
        slot: int,
        pid: int,
        fds: list[int],
        queues: dict[int, str],
        settings: Settings,
        on_message: Callable[[WorkerHandle, Message], None],
        on_death: Callable[[WorkerHandle], None],
    ) -> None:
        self.slot = slot
        self.pid = pid
        self.queues = queues
        self.settings = settings
        self.hooks = RunningHooks()
        self.log_memory = -1  # what it has not written yet, see log_ring
        self.killed = False  # by the master
        self.requests_before = 0  # that the slot had counted when this worker was forked
        self.latest_stacks: TakenStacks | None = None
        self.answered: set[int] = set()  # threads whose request was answered in the application's place
        self._leads: Channel | None = None  # for orders to its leader's thread, if it has hooks of a leader
        self.pidfd, control_fd, self._stack_fd = fds
        self._on_message = on_message
        self._on_death = on_death
        self._dumping = asyncio.Lock()
        self.owes_stacks = False  # it has not obeyed an order for them: its loop does not turn
        self._loop = asyncio.get_running_loop()
        self._link = Link(Channel.from_fd(control_fd), self._receive, self._fell_silent)
        self._loop.add_reader(self.pidfd, self._died)
        self._open = True
        self._alive = True

    def __repr__(self) -> str:
        return f"<WorkerHandle {self.slot} pid={self.pid}>"

    @property
    def name(self) -> str:
        """For log lines."""
        return f"worker {self.slot} (pid {self.pid})"

    def send(self, kind: str, fds: tuple[int, ...] = (), /, **fields: Any) -> None:
        """An order; see the channel. Lost if the worker is gone. The descriptors are given away."""
        self._link.send(kind, fds, **fields)

    @property
    def may_lead(self) -> bool:
        """Whether it has hooks of a leader."""
        return self._leads is not None

    def lead(self, *, begin: bool) -> None:
        """Have it lead, or see that it does not any more. Lost if the worker is gone."""
        if self._leads is not None:
            try:
                self._leads.send("lead" if begin else "end")
            except OSError:
                pass

    def kill(self) -> None:
        """SIGKILL."""
        self.killed = True
        if self._open:
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass

    async def stacks(self) -> str:
        """What all its threads are doing; one dump at a time."""
        async with self._dumping:
            text = await self._dump_by_order() or await self._dump_by_signal()
        if not text.startswith(NO_STACKS):
            self.latest_stacks = TakenStacks(text, time.monotonic_ns())
        return text

    async def _dump_by_order(self) -> str:
        """ "" if it does not obey."""
        if not self._open:
            return ""
        if discard(self._stack_fd):
            self.owes_stacks = False  # it has obeyed an order of before
        if self.owes_stacks:
            return ""
        self.send("stacks")
        text = await await_stacks(self._stack_fd, ORDER_SECONDS)
        self.owes_stacks = not text
        return text

    async def _dump_by_signal(self) -> str:
        if not self._open:
            return GONE
        return await dump_stacks(self.pid, self.pidfd, self._stack_fd)

    def hear_out(self) -> None:
        """Take what it has said before it ended."""
        self._link.receive_all()

    def close(self) -> None:
        """It is reaped: forget it."""
        if self._open:
            self._open = False
            self._link.close()
            if self._leads is not None:
                self._leads.close()
            self._loop.remove_reader(self.pidfd)
            os.close(self.pidfd)
            os.close(self._stack_fd)
            if self.log_memory >= 0:
                os.close(self.log_memory)

    def take_crash(self) -> tuple[str, bytes]:
        """The stacks of a crash in C code, if there was one, and what it had received last: see `read_crash`."""
        return read_crash(self._stack_fd)

    def _receive(self, message: Message, fds: list[int]) -> None:
        if message["kind"] == "logs" and len(fds) == 1 and self.log_memory < 0:
            (self.log_memory,) = fds
            return
        if message["kind"] == "ready" and len(fds) == 1 and self._leads is None:
            self._leads = Channel.from_fd(fds.pop())
            self._leads.socket.setblocking(False)
        close_all(fds)
        self._on_message(self, message)

    def _fell_silent(self) -> None:
        """The channel is at its end; mostly because the process is."""
        self._loop.call_later(DEAF_SECONDS, self._look_whether_deaf)

    def _look_whether_deaf(self) -> None:
        if self._open and self._alive and not self.killed:
            self._on_message(self, {"kind": "failed", "code": Code.WORKER_FAILED.value, "error": DEAF, "traceback": ""})

    def _died(self) -> None:
        self._alive = False
        self._loop.remove_reader(self.pidfd)  # it stays readable
        self._on_death(self)
