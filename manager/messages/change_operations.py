"""Changes: what can be asked for, and the operation that each becomes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from .base import MAX_WORKERS, RequestBody, ResponseBody

OperationKind = Literal[
    "start", "reload", "recover", "restart", "scale", "drain", "undrain", "stop", "log-level"
]  # fmt: skip
OperationState = Literal["waiting", "running", "succeeded", "failed", "superseded"]
LogLevelName = Literal["debug", "info", "warning", "error"]
StopMode = Literal["graceful", "now"]
DIFFERENCE = r"^[+-]0{0,2}[1-9][0-9]{0,2}$"  # in workers; none of nothing


class Operation(ResponseBody):
    """A change that someone asked for, from the asking to the verdict."""

    id: int
    kind: OperationKind
    detail: str  # "to 8 workers", "of slot 3"
    state: OperationState
    who: str  # for people: "alice (uid 1000, pid 712)", "SIGHUP"
    uid: int | None  # of a client of the control API
    pid: int | None
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    seconds: float  # from the asking to the verdict, or until now
    done: int  # of `total` workers
    total: int
    generation: int | None
    error: str
    traceback: str
    revision: str | None = None  # of the code that its generation runs; null: unknown, or it has no generation
    previous_revision: str | None = None  # of what was in force before
    joined: bool = False  # in the answer to a POST: it had been asked for before, and this request joins it
    code: str = ""  # of the cause, such as "MW2302": see docs/errors.md; "" unless it has failed

    @property
    def ended(self) -> bool:
        return self.state in {"succeeded", "failed", "superseded"}


class OperationList(ResponseBody):
    """GET /v1/operations: the latest first; those that have ended are kept for a while."""

    operations: list[Operation]


class ScaleRequest(RequestBody):
    """POST /v1/scale: either `workers` or `reset`."""

    workers: (
        Annotated[int, Meta(ge=1, le=MAX_WORKERS, description="so many")]
        | Annotated[str, Meta(pattern=DIFFERENCE, description='"+2" or "-1": more or fewer than now')]
        | None
    ) = None
    persist: bool = False  # also across a restart of the daemon
    reset: bool = False  # as configured again


class ReloadRequest(RequestBody):
    """POST /v1/reload: nothing to say. No body says the same."""


class RestartRequest(RequestBody):
    """POST /v1/restart: nothing to say."""


class WorkerRestartRequest(RequestBody):
    """POST /v1/workers/{slot}/restart."""

    mode: StopMode = "graceful"  # "now": it is killed, whatever it runs, and replaced then


class DrainRequest(RequestBody):
    """POST /v1/drain and /v1/undrain: nothing to say."""


class StopRequest(RequestBody):
    """POST /v1/stop."""

    mode: StopMode = "graceful"


class LogLevelRequest(RequestBody):
    """PUT /v1/log-level: either `level` or `reset`."""

    level: LogLevelName | None = None
    reset: bool = False  # as configured again


class LogLevel(ResponseBody):
    """GET and PUT /v1/log-level."""

    level: LogLevelName  # in force, in the master and its workers
    configured: LogLevelName
    overridden: bool
    operation: int | None = None  # PUT: the operation that changed it
