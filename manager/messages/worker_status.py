"""Workers, one by one, and what their threads are doing."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import field

from .base import ResponseBody
from .figures import LastMinute

WorkerState = Literal["waiting", "forking", "booting", "ready", "stuck", "draining", "killed"]


class RunningRequest(ResponseBody):
    """A request that a thread of a worker is inside."""

    thread: int
    method: str
    path: str  # without its query
    age_seconds: float


class RunningHook(ResponseBody):
    """A function of `app.hooks` that a process is inside."""

    name: str  # "worker_start"
    slot: int | None  # of its worker; null: a launcher, which has imported the application
    generation: int
    age_seconds: float


LeaderState = Literal["nobody", "starting", "leading", "stopping", "late"]


class Worker(ResponseBody):
    """A worker and its slot."""

    slot: int
    pid: int | None  # null while there is no process
    generation: int | None
    state: WorkerState  # "waiting": its predecessor was lost, the next one is due in `next_in_seconds`
    reason: str  # why it is to leave; "" while it is wanted
    age_seconds: float | None  # since its fork was ordered
    in_state_seconds: float | None
    next_in_seconds: float | None
    heartbeat_age_seconds: float | None  # since its loop last turned
    not_responding_seconds: float | None  # for how long it has not responded; null: it does, or is not to yet
    requests: int  # by this worker
    client_errors: int = field(name="4xx")  # answers of this worker
    server_errors: int = field(name="5xx")
    last_60s: LastMinute
    rate: float | None  # a second, over the last 10 s
    in_flight: list[RunningRequest]
    waiting: int  # complete requests that wait for a thread
    connections: int
    rss_bytes: int | None
    pss_bytes: int | None  # its fair share of what it shares with others
    uss_bytes: int | None  # what would be free without it
    cpu_percent: float | None  # of one CPU, since the last sample (a second or more ago)
    cpu_seconds: float | None
    restarts: int  # successors of lost workers in this slot, whatever slot those had: crashed, wedged, out of time …
    last_exit: str  # why the last one of them, or of this slot, ended
    hooks: list[RunningHook] = field(default_factory=list)
    revision: str | None = None  # of the code that it has imported; null: unknown, or not imported yet
    leader: LeaderState | None = None  # its part in leading the service; null: none
    sockets: int = 0  # open connections that the application has taken over (WebSockets)


class WorkerList(ResponseBody):
    """GET /v1/workers: by slot."""

    workers: list[Worker]


class Stack(ResponseBody):
    """What every thread of a worker is doing, also in C code."""

    slot: int
    pid: int
    taken_at: datetime
    answered: bool  # false: the process is stopped or inside the kernel; `text` says so
    text: str  # as faulthandler writes it, most recent call first; below a thread's heading the request that it runs
    in_flight: list[RunningRequest]
