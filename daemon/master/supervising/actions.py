"""What the supervisor orders: one frozen struct for each thing that its master can do.

The master carries orders out in the sequence in which they come. An order that cannot be carried out comes
back as an event (a fork that fails, a launcher that dies), never as an exception.
"""

from __future__ import annotations

from miniwsgi.codes import Code
from msgspec import Struct

from .exits import ExitReason
from .operations import Operation


class Action(Struct, frozen=True):
    """Something to do."""


# --- a generation -------------------------------------------------------------------------------------------


class PrepareGeneration(Action, frozen=True):
    """Find the configuration (`reread`: anew), open new listeners. → Prepared, PrepareFailed"""

    generation: int
    reread: bool


class BootGeneration(Action, frozen=True):
    """Execute the launcher. → LauncherReady, LauncherFailed, LauncherExited"""

    generation: int


class CommitGeneration(Action, frozen=True):
    """Its configuration is in force: listeners that it no longer has are closed."""

    generation: int


class DiscardGeneration(Action, frozen=True):
    """It never came into force: listeners that were opened for it alone are closed."""

    generation: int


class RetireGeneration(Action, frozen=True):
    """The launcher forks no more and exits with its last worker. → LauncherExited"""

    generation: int


class KillLauncher(Action, frozen=True):
    """SIGKILL, after its stacks are logged, with the code `stacks`. → LauncherExited"""

    generation: int
    reason: str
    stacks: Code | None = None


# --- workers ------------------------------------------------------------------------------------------------


class ForkWorker(Action, frozen=True):
    """→ WorkerForked, ForkFailed; then WorkerReady, WorkerFailed, WorkerExited

    `after_crash`: the slot's last worker crashed, or was killed for want of memory.
    """

    generation: int
    slot: int
    after_crash: bool = False


class DrainWorker(Action, frozen=True):
    """Accept no more, finish within `seconds`, exit. `why`: the same as `reason`, in a word."""

    slot: int
    seconds: float
    reason: str
    why: ExitReason


class FinishWorker(Action, frozen=True):
    """As DrainWorker, for a stop: what waits in the accept queues is answered first."""

    slot: int
    seconds: float


class KillWorker(Action, frozen=True):
    """SIGKILL, after its stacks are logged, with the code `stacks`. → WorkerExited"""

    slot: int
    reason: str
    stacks: Code | None = None


class LeadWorker(Action, frozen=True):
    """Call leader_start, and leader_stop before the end. → LeaderStarted, LeaderFailed, LeaderLate; LeaderStopped"""

    slot: int


class DumpStacks(Action, frozen=True):
    """Log what all threads of the worker are doing."""

    slot: int
    code: Code
    reason: str


# --- the daemon ---------------------------------------------------------------------------------------------


class Serving(Action, frozen=True):
    """The first worker ever is ready."""


class OverrideLogLevel(Action, frozen=True):
    """Of master and workers, whatever is configured; None: as configured again."""

    level: str | None


class AnnounceStop(Action, frozen=True):
    """Not ready any more; workers accept for `delay` seconds more, then have `graceful` to finish."""

    delay: float
    graceful: float


class ShrinkBacklogs(Action, frozen=True):
    """The listeners take no new connections from now on."""


class Exit(Action, frozen=True):
    """All is done: the daemon's exit status."""

    status: int


class LogLine(Action, frozen=True):
    """One line, and the application's traceback if there is one."""

    level: str
    code: Code | None  # of a warning, an error
    message: str
    traceback: str = ""


# --- operations ---------------------------------------------------------------------------------------------


class ChangeAccepted(Action, frozen=True):
    """A change became `operation`, or joined it if it was there before. The first action of each change."""

    operation: Operation
    joined: bool = False


class ChangeDeclined(Action, frozen=True):
    """A change cannot be granted now, because of `operation` if there is one. Then the first and only action of it."""

    reason: str
    operation: Operation | None = None


class OperationEnded(Action, frozen=True):
    """The operation has ended; it carries state, error and traceback."""

    operation: Operation
