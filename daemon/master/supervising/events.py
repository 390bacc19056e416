"""What the supervisor hears: one frozen dataclass for each thing that can happen.

Events about a worker name its slot: a slot has one worker from the order to fork it until its exit is
reaped, so the slot is enough. Reasons are words for an operator. Nothing here acts.
"""

from __future__ import annotations

from dataclasses import dataclass

from miniwsgi.manager.changes import Change

from .actions import Action
from .exits import ProcessEnd


@dataclass(frozen=True, slots=True)
class Plan:
    """What a configuration asks of the supervisor. Durations are seconds."""

    workers: int = 1
    surge: int = 0  # 0: a quarter of the target, at least one
    boot_timeout: float = 60.0
    graceful_timeout: float = 30.0
    stop_delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""


# --- a generation and its launcher --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared(Event):
    """The generation's configuration is valid and its new listeners are open."""

    generation: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class PrepareFailed(Event):
    """The generation's configuration is refused, or one of its listeners cannot be opened."""

    generation: int
    error: str


@dataclass(frozen=True, slots=True)
class LauncherReady(Event):
    """The launcher can fork."""

    generation: int
    preloaded: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class LauncherFailed(Event):
    """The launcher says that the application does not import, or it is of another version."""

    generation: int
    error: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class LauncherExited(Event):
    """The launcher is reaped, and all that it had to say has been heard."""

    generation: int
    reason: str


# --- workers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerForked(Event):
    slot: int
    pid: int


@dataclass(frozen=True, slots=True)
class ForkFailed(Event):
    slot: int
    error: str


@dataclass(frozen=True, slots=True)
class WorkerReady(Event):
    slot: int


@dataclass(frozen=True, slots=True)
class WorkerFailed(Event):
    """The worker says that it cannot boot, or is broken. It is about to exit."""

    slot: int
    error: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class WorkerDied(Event):
    """The process has ended and waits to be reaped by its parent."""

    slot: int


@dataclass(frozen=True, slots=True)
class WorkerExited(Event):
    """The worker is reaped: its slot is free.

    `oom`: the kernel has killed something in our cgroup for want of memory since the last exit. `running`: the
    requests that it had in hand, in words; `crash`: its stacks if it crashed in C code.
    """

    slot: int
    end: ProcessEnd
    oom: bool = False
    running: str = ""
    crash: str = ""


@dataclass(frozen=True, slots=True)
class RecycleAsked(Event):
    """The worker has done its share and wants a successor."""

    slot: int
    reason: str


@dataclass(frozen=True, slots=True)
class OnlyJobsLeft(Event):
    """A draining worker has answered its last request, and waits for threads of the application."""

    slot: int


@dataclass(frozen=True, slots=True)
class RequestTimedOut(Event):
    """A request exceeded request_timeout. The worker accepts nothing more."""

    slot: int
    seconds: float
    request: str


@dataclass(frozen=True, slots=True)
class Wedged(Event):
    """The worker's loop has not turned for `seconds`."""

    slot: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OrderFailed(Event):
    """The master could not carry out an order: nothing will come of it."""

    order: Action
    error: str


@dataclass(frozen=True, slots=True)
class Tick(Event):
    """Time has passed; see `Supervisor.next_wakeup`."""


Input = Event | Change
"""Something that happened, or is asked for."""
