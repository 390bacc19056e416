"""What the supervisor hears: one frozen struct for each thing that can happen.

Events about a worker name its slot: a slot has one worker from the order to fork it until its exit is
reaped, so the slot is enough. Reasons are words for an operator. Nothing here acts.
"""

from __future__ import annotations

from miniwsgi.codes import Code
from miniwsgi.manager.changes import Change
from msgspec import Struct

from .actions import Action
from .exits import ProcessEnd


class Plan(Struct, frozen=True):
    """What a configuration asks of the supervisor. Durations are seconds."""

    workers: int = 1
    surge: int = 0  # 0: a quarter of the target, at least one
    boot_timeout: float = 60.0
    graceful_timeout: float = 30.0
    stop_delay: float = 0.0


class SupervisorEvent(Struct, frozen=True):
    """Something that happened."""


# --- a generation and its launcher --------------------------------------------------------------------------


class Prepared(SupervisorEvent, frozen=True):
    """The generation's configuration is valid and its new listeners are open."""

    generation: int
    plan: Plan


class PrepareFailed(SupervisorEvent, frozen=True):
    """The generation's configuration is refused, or one of its listeners cannot be opened."""

    generation: int
    code: Code
    error: str


class LauncherReady(SupervisorEvent, frozen=True):
    """The launcher can fork."""

    generation: int
    preloaded: bool
    note: str = ""


class RevisionRead(SupervisorEvent, frozen=True):
    """The launcher says which revision of the code it is about to import, or has. None: that is unknown."""

    generation: int
    revision: str | None
    source: str = ""


class LauncherFailed(SupervisorEvent, frozen=True):
    """The launcher says that the application does not import, or it is of another version."""

    generation: int
    code: Code
    error: str
    traceback: str = ""


class LauncherExited(SupervisorEvent, frozen=True):
    """The launcher is reaped, and all that it had to say has been heard."""

    generation: int
    reason: str


# --- workers ------------------------------------------------------------------------------------------------


class WorkerForked(SupervisorEvent, frozen=True):
    slot: int
    pid: int


class ForkFailed(SupervisorEvent, frozen=True):
    slot: int
    error: str


class WorkerReady(SupervisorEvent, frozen=True):
    """`may_lead`: it has hooks of a leader. `revision`: of the code that it has imported; None: unknown."""

    slot: int
    may_lead: bool = False
    revision: str | None = None


class WorkerFailed(SupervisorEvent, frozen=True):
    """The worker says that it cannot boot, or is broken. It is about to exit."""

    slot: int
    code: Code
    error: str
    traceback: str = ""


class WorkerDied(SupervisorEvent, frozen=True):
    """The process has ended and waits to be reaped by its parent."""

    slot: int


class WorkerExited(SupervisorEvent, frozen=True):
    """The worker is reaped: its slot is free.

    `oom`: the kernel has killed something in our cgroup for want of memory since the last exit; None: not known.
    `running`: the requests that it had in hand, in words; `crash`: its stacks if it crashed in C code; `inside`: what
    of ours.
    """

    slot: int
    end: ProcessEnd
    oom: bool | None = None
    running: str = ""
    crash: str = ""
    inside: str = ""


class LeaderStarted(SupervisorEvent, frozen=True):
    """The worker's leader_start has returned."""

    slot: int


class LeaderFailed(SupervisorEvent, frozen=True):
    """The worker's leader_start has raised: it does not lead."""

    slot: int
    error: str
    traceback: str = ""


class LeaderStopped(SupervisorEvent, frozen=True):
    """The worker's leader_stop is over, or it drained before it began to lead."""

    slot: int


class LeaderLate(SupervisorEvent, frozen=True):
    """The worker's leader_start or leader_stop takes too long, and goes on."""

    slot: int
    error: str
    traceback: str = ""


class RecycleAsked(SupervisorEvent, frozen=True):
    """The worker has done its share and wants a successor."""

    slot: int
    reason: str


class OnlyJobsLeft(SupervisorEvent, frozen=True):
    """A draining worker has answered its last request, and waits for threads of the application."""

    slot: int


class RequestTimedOut(SupervisorEvent, frozen=True):
    """A request exceeded request_timeout. The worker accepts nothing more."""

    slot: int
    seconds: float
    request: str


class Wedged(SupervisorEvent, frozen=True):
    """The worker's loop has not turned for `seconds`."""

    slot: int
    seconds: float


class OrderFailed(SupervisorEvent, frozen=True):
    """The master could not carry out an order: nothing will come of it."""

    order: Action
    error: str


class Tick(SupervisorEvent, frozen=True):
    """Time has passed; see `Supervisor.next_wakeup`."""


Input = SupervisorEvent | Change
"""Something that happened, or is asked for."""
