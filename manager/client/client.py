"""The control API from the client's side: one method a route, answers as the types of `messages`.

A `Client` talks to one socket over one kept connection. Nothing here decides what to show or what an error means to an
operator: `TransportError` says why there is no answer, `RequestRefused` carries the daemon's problem document.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from .. import messages
from ..messages import API, PROBLEM_TYPE
from .unix_http import HttpResponse, TransportError, Trouble, UnixConnection

__all__ = ["ANSWER_SECONDS", "Client", "Reply", "RequestRefused", "TransportError", "Trouble"]

ANSWER_SECONDS = 10.0  # for an answer that waits for nothing: the daemon promises 0.1

T = TypeVar("T")


class RequestRefused(Exception):
    """The daemon has answered, and the answer is no."""

    def __init__(self, problem: messages.Problem) -> None:
        super().__init__(problem.detail or problem.title)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """An answer: typed, and as it was sent, with fields that this version does not know."""

    value: T
    raw: bytes


class Client:
    """Calls of one socket. An answer may take `answer_seconds`; all must be over at `end`, of time.monotonic()."""

    def __init__(self, path: str, *, answer_seconds: float = ANSWER_SECONDS, end: float | None = None) -> None:
        self.path = path
        self._answer_seconds = answer_seconds
        self._end = end
        self._connection = UnixConnection(path)

    def __repr__(self) -> str:
        return f"<Client {self.path}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def left(self, at_most: float) -> float:
        """Seconds until all must be over, no more than `at_most`, no less than 0."""
        return at_most if self._end is None else max(0.0, min(at_most, self._end - time.monotonic()))

    # --- what is ------------------------------------------------------------------------------------------

    def status(self) -> Reply[messages.Status]:
        return self._get("/status", messages.Status)

    def workers(self) -> Reply[messages.WorkerList]:
        return self._get("/workers", messages.WorkerList)

    def worker(self, slot: int) -> Reply[messages.Worker]:
        return self._get(f"/workers/{slot}", messages.Worker)

    def stack(self, slot: int) -> Reply[messages.Stack]:
        return self._get(f"/workers/{slot}/stack", messages.Stack)

    def routes(self) -> Reply[messages.RouteList]:
        return self._get("/routes", messages.RouteList)

    def why(self, seconds: int) -> Reply[messages.Why]:
        """What is wrong, after so many seconds of looking."""
        return self._call("GET", f"/why?seconds={seconds}", messages.Why, extra_seconds=seconds)

    def doctor(self) -> Reply[messages.Doctor]:
        return self._get("/doctor", messages.Doctor)

    def memory(self, slot: int, request: messages.MemoryRequest) -> Reply[messages.WorkerMemory]:
        """Takes as long as the request says, and a little more."""
        path = f"/workers/{slot}/memory"
        return self._call("POST", path, messages.WorkerMemory, request, extra_seconds=request.seconds)

    def profile(self, request: messages.ProfileRequest) -> Iterator[dict[str, Any]]:
        """What the daemon and its workers say, line by line; see docs/control-api.md. Takes the connection.

        Whoever goes on no more ends it.
        """
        return (reply.value for reply in self._stream("/profile", dict[str, Any], request))

    def metrics(self, name: str = "") -> Reply[messages.MetricList]:
        """The family of that name, or those whose names begin so; "": all."""
        from urllib.parse import quote

        return self._get("/metrics" + (f"?name={quote(name, safe='')}" if name else ""), messages.MetricList)

    def slow(self, limit: int = messages.MAX_INCIDENTS) -> Reply[messages.SlowList]:
        return self._get(f"/slow?limit={limit}", messages.SlowList)

    def crashes(self, limit: int = messages.MAX_INCIDENTS) -> Reply[messages.CrashList]:
        return self._get(f"/crashes?limit={limit}", messages.CrashList)

    def config(self) -> Reply[messages.ConfigView]:
        return self._get("/config", messages.ConfigView)

    def check_config(self, toml: str | None = None) -> Reply[messages.ConfigReport]:
        """`toml`: a whole file; None: what the daemon would read at a reload."""
        request = messages.ConfigCheckRequest(toml=toml)
        return self._call("POST", "/config/check", messages.ConfigReport, request)

    def log_level(self) -> Reply[messages.LogLevel]:
        return self._get("/log-level", messages.LogLevel)

    # --- changes: each becomes an operation -----------------------------------------------------------------

    def scale(self, request: messages.ScaleRequest) -> Reply[messages.Operation]:
        return self._change("/scale", request)

    def reload(self) -> Reply[messages.Operation]:
        return self._change("/reload")

    def restart(self, slot: int | None = None, mode: messages.StopMode = "graceful") -> Reply[messages.Operation]:
        """One slot, or all of them; "now", of one: its worker is killed."""
        if slot is None:
            return self._change("/restart")
        request = messages.WorkerRestartRequest(mode) if mode != "graceful" else None
        return self._change(f"/workers/{slot}/restart", request)

    def drain(self) -> Reply[messages.Operation]:
        return self._change("/drain")

    def undrain(self) -> Reply[messages.Operation]:
        return self._change("/undrain")

    def stop(self, mode: messages.StopMode) -> Reply[messages.Operation]:
        return self._change("/stop", messages.StopRequest(mode=mode))

    def set_log_level(self, request: messages.LogLevelRequest) -> Reply[messages.LogLevel]:
        return self._call("PUT", "/log-level", messages.LogLevel, request)

    def operation(self, number: int, *, wait_seconds: int = 0) -> Reply[messages.Operation]:
        """As it is; with `wait_seconds`, as it is when it has ended or after so long."""
        path = f"/operations/{number}" + (f"?wait={wait_seconds}" if wait_seconds else "")
        return self._call("GET", path, messages.Operation, extra_seconds=wait_seconds)

    # --- events ---------------------------------------------------------------------------------------------

    def events(self, *, since: int = 0, limit: int = messages.MAX_EVENTS) -> Reply[messages.EventList]:
        """Those that are kept and have a higher number, the latest `limit` of them."""
        return self._get(f"/events?since={since}&limit={limit}", messages.EventList)

    def follow(self, *, since: int | None = None) -> Iterator[Reply[messages.Event]]:
        """Events after `since` (None: after now) as they happen, until the daemon ends. Takes the connection."""
        return self._stream("/events?follow=1" + (f"&since={since}" if since is not None else ""), messages.Event)

    # --- how ------------------------------------------------------------------------------------------------

    def _deadline(self, extra_seconds: float = 0.0) -> float:
        return time.monotonic() + self.left(self._answer_seconds + extra_seconds)

    def _get(self, path: str, kind: type[T]) -> Reply[T]:
        return self._call("GET", path, kind)

    def _change(self, path: str, request: messages.RequestBody | None = None) -> Reply[messages.Operation]:
        return self._call("POST", path, messages.Operation, request)

    def _call(
        self,
        method: str,
        path: str,
        kind: type[T],
        request: messages.RequestBody | None = None,
        *,
        extra_seconds: float = 0.0,
    ) -> Reply[T]:
        """Raises TransportError, RequestRefused."""
        body = None if request is None else msgspec.json.encode(request)
        answer = self._connection.request(method, API + path, body, deadline=self._deadline(extra_seconds))
        if answer.status >= 300 or answer.fields.get("content-type", "").startswith(PROBLEM_TYPE):
            raise RequestRefused(_problem(answer))
        return _decode(answer.body, kind)

    def _stream(self, path: str, kind: type[T], request: messages.RequestBody | None = None) -> Iterator[Reply[T]]:
        """Line by line as they come. Raises RequestRefused at once, TransportError also between lines."""
        body = None if request is None else msgspec.json.encode(request)
        answer, pieces = self._connection.stream(API + path, body, deadline=self._deadline(), end=self._end)
        if answer.status != 200:
            raise RequestRefused(_problem(answer))
        return (_decode(line, kind) for line in _lines(pieces))


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():  # an empty line is a sign of life
                yield line


def _decode(body: bytes, kind: type[T]) -> Reply[T]:
    try:
        return Reply(msgspec.json.decode(body, type=kind), body)
    except msgspec.ValidationError as error:
        raise TransportError(Trouble.VERSION, str(error)) from None
    except (msgspec.DecodeError, RecursionError):  # the latter: of what is nested too deeply
        raise TransportError(Trouble.FOREIGN, "its answer is no JSON") from None


def _problem(answer: HttpResponse) -> messages.Problem:
    try:
        return msgspec.json.decode(answer.body, type=messages.Problem)
    except (msgspec.DecodeError, RecursionError):
        detail = f"it answers {answer.status}, and not as a miniwsgi daemon does"
        raise TransportError(Trouble.FOREIGN, detail) from None
