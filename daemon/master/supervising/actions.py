"""What the supervisor orders: one frozen dataclass for each thing that its master can do.

The master carries orders out in the sequence in which they come. An order that cannot be carried out comes
back as an event (a fork that fails, a launcher that dies), never as an exception.
"""

from __future__ import annotations

from dataclasses import dataclass

from .operations import Operation


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do."""


# --- a generation -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PrepareGeneration(Action):
    """Find the configuration (`reread`: anew), open new listeners. → Prepared, PrepareFailed"""

    generation: int
    reread: bool


@dataclass(frozen=True, slots=True)
class BootGeneration(Action):
    """Execute the launcher. → LauncherReady, LauncherFailed, LauncherExited"""

    generation: int


@dataclass(frozen=True, slots=True)
class CommitGeneration(Action):
    """Its configuration is in force: listeners that it no longer has are closed."""

    generation: int


@dataclass(frozen=True, slots=True)
class DiscardGeneration(Action):
    """It never came into force: listeners that were opened for it alone are closed."""

    generation: int


@dataclass(frozen=True, slots=True)
class RetireGeneration(Action):
    """The launcher forks no more and exits with its last worker. → LauncherExited"""

    generation: int


@dataclass(frozen=True, slots=True)
class KillLauncher(Action):
    """SIGKILL, after its stacks are logged if `stacks`. → LauncherExited"""

    generation: int
    reason: str
    stacks: bool = False


# --- workers ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ForkWorker(Action):
    """→ WorkerForked, ForkFailed; then WorkerReady, WorkerFailed, WorkerExited"""

    generation: int
    slot: int


@dataclass(frozen=True, slots=True)
class DrainWorker(Action):
    """Accept no more, finish within `seconds`, exit."""

    slot: int
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class FinishWorker(Action):
    """As DrainWorker, for a stop: what waits in the accept queues is answered first."""

    slot: int
    seconds: float


@dataclass(frozen=True, slots=True)
class KillWorker(Action):
    """SIGKILL, after its stacks are logged if `stacks`. → WorkerExited"""

    slot: int
    reason: str
    stacks: bool = False


@dataclass(frozen=True, slots=True)
class DumpStacks(Action):
    """Log what all threads of the worker are doing."""

    slot: int
    reason: str


# --- the daemon ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Serving(Action):
    """The first worker ever is ready."""


@dataclass(frozen=True, slots=True)
class OverrideLogLevel(Action):
    """Of master and workers, whatever is configured; None: as configured again."""

    level: str | None


@dataclass(frozen=True, slots=True)
class AnnounceStop(Action):
    """Not ready any more; workers accept for `delay` seconds more, then have `graceful` to finish."""

    delay: float
    graceful: float


@dataclass(frozen=True, slots=True)
class ShrinkBacklogs(Action):
    """The listeners take no new connections from now on."""


@dataclass(frozen=True, slots=True)
class Exit(Action):
    """All is done: the daemon's exit status."""

    status: int


@dataclass(frozen=True, slots=True)
class Log(Action):
    """One line, and the application's traceback if there is one."""

    level: str
    message: str
    traceback: str = ""


# --- operations ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted(Action):
    """A change became `operation`, or joined it if it was there before. The first action of each change."""

    operation: Operation
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Declined(Action):
    """A change cannot be granted now, because of `operation` if there is one. Then the first and only action of it."""

    reason: str
    operation: Operation | None = None


@dataclass(frozen=True, slots=True)
class Verdict(Action):
    """The operation has ended; it carries state, error and traceback."""

    operation: Operation
