"""The table of the control API: each path with its role, query parameters, body, answer and handler.

Authorisation, checking and openapi.json all read it; there is no other list of what the API has.
"""

from __future__ import annotations

from typing import Any

from miniwsgi.metrics.history import Span

from .. import messages as ms
from ..http.routing import Parameter, switch, whole_number
from .endpoint import Endpoint, Handler
from .handlers import Handlers
from .metric_families import NAME as NAME_PATTERN
from .metric_families import metric_name


def _number(name: str, least: int, most: int, doc: str, *, expected: str = "") -> Parameter:
    """A whole number from `least` to `most`."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name, whole_number(least, most), expected or f"{least} to {most}", schema, doc)


def _seconds(name: str, least: int, most: int, doc: str) -> Parameter:
    return _number(name, least, most, doc, expected=f"seconds, {least} to {most}")


WAIT = _seconds("wait", 0, ms.MAX_WAIT_SECONDS, "Answer when the operation has ended, or after so many seconds.")
FOLLOW = Parameter(
    "follow",
    switch,
    "0 or 1",
    {"type": "string", "enum": ["0", "1", "false", "true"]},
    "Go on with what happens, one JSON object a line, until the client leaves.",
)
SINCE = _number("since", 0, 10**15 - 1, "Only events after this one.", expected="the id of an event")
LIMIT = _number(
    "limit",
    0,
    ms.MAX_EVENTS,
    "The latest so many. When following without `since`, how many of the past come first (0).",
)
COUNT = _number("limit", 0, ms.MAX_INCIDENTS, "The latest so many.")
SECONDS = _seconds("seconds", 1, ms.MAX_LOOK_SECONDS, f"How long to look ({ms.LOOK_SECONDS}).")
NAME = Parameter(
    "name",
    metric_name,
    "a metric's name, or the beginning of some",
    {"type": "string", "pattern": f"^{NAME_PATTERN.pattern}$"},
    "Only the metric of this name, or else those whose names begin so.",
)
SPAN = Parameter(
    "span",
    Span,
    " or ".join(span.value for span in Span),
    {"type": "string", "enum": [span.value for span in Span]},
    "How far back: 15 minutes in steps of 5 s (if it is not given), an hour in steps of 30 s.",
)
BODY_REFUSALS = (413, 415, 422)


def endpoints(handlers: Handlers, openapi: Handler) -> list[Endpoint]:
    """The table. `openapi` is the handler that describes it."""
    return [
        _get("/status", handlers.status, "status", ms.Status, "The daemon at a glance"),
        _get("/workers", handlers.workers, "workers", ms.WorkerList, "Every worker"),
        _get("/workers/{slot}", handlers.worker, "worker", ms.Worker, "One worker", refusals=(404,)),
        _get(
            "/workers/{slot}/stack", handlers.stack, "stack", ms.Stack, "What every thread of a worker is doing",
            role="operate", refusals=(404,), waits=True,
        ),
        Endpoint(
            "POST", f"{ms.API}/workers/{{slot}}/memory", handlers.memory, ms.JSON_TYPE,
            role="operate", name="memory", summary="What a worker's memory holds",
            body=ms.MemoryRequest, response=ms.WorkerMemory, refusals=(404, 409, 504, *BODY_REFUSALS),
            waits=True,
        ),
        Endpoint(
            "POST", f"{ms.API}/profile", handlers.profile, ms.EVENTS_TYPE,
            role="operate", name="profile", summary="What the threads of workers do, for a while, in JSON lines",
            body=ms.ProfileRequest, refusals=(404, *BODY_REFUSALS),
        ),
        _change(
            "/workers/{slot}/restart", handlers.restart_one, "restartWorker", ms.WorkerRestartRequest,
            "Replace one worker, its successor first or at once", refusals=(404, 409, *BODY_REFUSALS),
        ),
        _change("/scale", handlers.scale, "scale", ms.ScaleRequest, "Change the number of workers"),
        _change("/reload", handlers.reload, "reload", ms.ReloadRequest, "Bring new code and configuration into force"),
        _change("/restart", handlers.restart, "restart", ms.RestartRequest, "Replace all workers one by one"),
        _change("/drain", handlers.drain, "drain", ms.DrainRequest, "Accept nothing more, finish, stay up"),
        _change("/undrain", handlers.undrain, "undrain", ms.DrainRequest, "Serve again"),
        _change("/stop", handlers.stop, "stop", ms.StopRequest, "End the daemon", role="admin"),
        _get(
            "/why", handlers.why, "why", ms.Why, "What is wrong, after some seconds of looking",
            role="operate", query=(SECONDS,), waits=True,
        ),
        _get(
            "/doctor", handlers.doctor, "doctor", ms.Doctor, "What is risky in the configuration and on the host",
            role="operate", waits=True,
        ),
        _get("/operations", handlers.operations, "operations", ms.OperationList, "Changes, the latest first"),
        _get(
            "/operations/{id}", handlers.operation, "operation", ms.Operation, "One change",
            query=(WAIT,), refusals=(404,),
        ),
        _get(
            "/events", handlers.events, "events", ms.EventList, "What has happened, and happens",
            query=(FOLLOW, SINCE, LIMIT), also_produces=ms.EVENTS_TYPE,
        ),
        _get("/slow", handlers.slow, "slow", ms.SlowList, "Slow requests, the latest first", query=(COUNT,)),
        _get("/crashes", handlers.crashes, "crashes", ms.CrashList, "Lost workers, the latest first", query=(COUNT,)),
        _get(
            "/metrics", handlers.metrics, "metrics", ms.MetricList, "What is measured, by family",
            query=(NAME,), refusals=(404,),
        ),
        _get(
            "/history", handlers.history, "history", ms.History, "The last 15 minutes or the last hour, in steps",
            query=(SPAN,),
        ),
        _get("/routes", handlers.routes, "routes", ms.RouteList, "What each route of the application costs"),
        _get("/config", handlers.config, "config", ms.ConfigView, "The configuration in force", role="operate"),
        Endpoint(
            "POST", f"{ms.API}/config/check", handlers.check_config, ms.JSON_TYPE,
            role="operate", name="checkConfig", summary="What a configuration is worth; nothing is executed",
            body=ms.ConfigCheckRequest, response=ms.ConfigReport, refusals=BODY_REFUSALS, waits=True,
        ),
        _get("/log-level", handlers.log_level, "logLevel", ms.LogLevel, "The error log's level"),
        Endpoint(
            "PUT", f"{ms.API}/log-level", handlers.set_log_level, ms.JSON_TYPE,
            role="admin", name="setLogLevel", summary="Change the error log's level while the daemon runs",
            body=ms.LogLevelRequest, response=ms.LogLevel, refusals=(409, *BODY_REFUSALS),
        ),
        _get("/openapi.json", openapi, "openapi", None, "This description"),
    ]  # fmt: skip


def _get(
    path: str, handler: Handler, name: str, response: type[ms.ResponseBody] | None, summary: str, **more: Any
) -> Endpoint:
    return Endpoint("GET", ms.API + path, handler, ms.JSON_TYPE, name=name, response=response, summary=summary, **more)


def _change(path: str, handler: Handler, name: str, body: type[ms.RequestBody], summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        "POST",
        ms.API + path,
        handler,
        ms.JSON_TYPE,
        (WAIT,),
        name=name,
        body=body,
        response=ms.Operation,
        summary=summary,
        **{"role": "operate", "statuses": (200, 202), "refusals": (409, *BODY_REFUSALS), **more},
    )
