"""A daemon that is none: answers the control API on a Unix socket as it is told to, and remembers what was asked.

One thread a connection. What it says is made of the API's own types, so that a field that is renamed fails here.
"""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from miniwsgi.manager import messages as ms

T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


# --- answers with every field ----------------------------------------------------------------------------


def latency(**changed: Any) -> ms.Latency:
    shown = ms.Percentiles("≤ 2.5 ms", "≤ 10 ms", "≤ 250 ms")
    found = ms.Latency(window_seconds=60.0, count=1000, p50=0.0025, p95=0.01, p99=0.25, shown=shown)
    return msgspec.structs.replace(found, **changed)


def operation(number: int = 7, kind: ms.OperationKind = "reload", **changed: Any) -> ms.Operation:
    found = ms.Operation(
        id=number,
        kind=kind,
        detail="",
        state="running",
        who="alice (uid 1000, pid 712)",
        uid=1000,
        pid=712,
        asked_at=T0,
        started_at=T0,
        ended_at=None,
        seconds=0.5,
        done=0,
        total=4,
        generation=8,
        error="",
        traceback="",
    )
    return msgspec.structs.replace(found, **changed)


def worker(slot: int = 0, **changed: Any) -> ms.Worker:
    found = ms.Worker(
        slot=slot,
        pid=4700 + slot,
        generation=7,
        state="ready",
        reason="",
        age_seconds=3725.0,
        in_state_seconds=3724.0,
        next_in_seconds=None,
        heartbeat_age_seconds=0.01,
        not_responding_seconds=None,
        requests=1200,
        client_errors=12,
        server_errors=0,
        last_60s=ms.LastMinute(750, 0.01, 0.0),
        rate=12.5,
        in_flight=[],
        waiting=0,
        connections=3,
        rss_bytes=34 << 20,
        pss_bytes=11 << 20,
        uss_bytes=9 << 20,
        cpu_percent=41.0,
        cpu_seconds=12.5,
        restarts=0,
        last_exit="",
    )
    return msgspec.structs.replace(found, **changed)


def running(path: str = "/report", age_seconds: float = 12.3, thread: int = 1) -> ms.RunningRequest:
    return ms.RunningRequest(thread=thread, method="GET", path=path, age_seconds=age_seconds)


def route(name: str | None = "/orders/<id>", **changed: Any) -> ms.RouteFigures:
    found = ms.RouteFigures(
        name=name,
        requests=1000,
        errors=2,
        statuses={"2xx": 990, "4xx": 8, "5xx": 2},
        duration_seconds=12.5,
        queue_seconds=0.25,
        cpu_seconds=4.5,
        response_bytes=120_000,
        rate=16.7,
        error_share=0.002,
        mean_seconds=0.0125,
        mean_queue_seconds=0.00025,
        cpu_percent=7.5,
        duration=latency(),
    )
    return msgspec.structs.replace(found, **changed)


def status(**changed: Any) -> ms.Status:
    found = ms.Status(
        version="0.1.0",
        pid=4711,
        started_at=T0,
        uptime_seconds=11520.0,
        verdict=ms.Verdict("healthy", ["2 of 2 workers ready"]),
        state="running",
        generation=7,
        preloaded=True,
        application="shop.wsgi:application",
        pool="epoll",
        engine="plain",
        engine_note="",
        threads=8,
        log_level="info",
        workers=counts(),
        listeners=[ms.ListenerStatus("127.0.0.1:8000", "http://127.0.0.1:8000", False, 0, 2048, "http", False)],
        connections=64,
        requests=ms.RequestCounts(
            total=123456,
            client_errors=345,
            server_errors=0,
            last_60s=ms.LastMinute(48000, 0.0025, 0.0),
            rates=ms.Rates(last_1s=812.4, last_10s=790.1, last_60s=None),
            in_flight=3,
            waiting=1,
            errors=0,
            rejected=0,
            aborted=0,
            timed_out=0,
        ),
        duration=latency(),
        duration_total=latency(),
        queue_time=latency(count=0, p50=None, p95=None, p99=None, shown=ms.Percentiles("–", "–", "–")),
        queue_time_total=latency(),
        generations=[ms.GenerationCounts(7, 2, 123456, 345, 0, ms.LastMinute(48000, 0.0025, 0.0))],
        last_reload=None,
        operations=[],
        persist_error="",
        metrics_error="",
        role="admin",
    )
    return msgspec.structs.replace(found, **changed)


def counts(**changed: Any) -> ms.WorkerCounts:
    found = ms.WorkerCounts(
        target=2,
        configured=2,
        override=None,
        persisted=False,
        booting=0,
        ready=2,
        busy=1,
        draining=0,
        stuck=0,
        not_responding=0,
    )
    return msgspec.structs.replace(found, **changed)


def event(
    number: int, kind: ms.EventKind = "worker.ready", message: str = "worker 0 is ready", **more: Any
) -> ms.Event:
    return ms.Event(id=number, at=T0 + timedelta(seconds=number), kind=kind, message=message, **more)


def problem(status: int, detail: str, **more: Any) -> ms.Problem:
    return ms.Problem(status=status, title="?", detail=detail, **more)


# --- the daemon ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came."""

    method: str
    target: str
    body: Any


@dataclass(slots=True)
class Raw:
    """Bytes to send instead of an answer; then the connection is closed, or with `hold` kept open in silence."""

    data: bytes = b""
    hold: bool = False


Said = ms.ResponseBody | Raw | list[ms.Event] | list[dict[str, Any]]
Answerer = Callable[[Asked], Said]


@dataclass(eq=False)
class FakeDaemon:
    """A context. `answers` has an answer for "METHOD /path" without /v1, or a list that is used up to its last."""

    path: Path
    answers: Mapping[str, Any] = field(default_factory=dict)  # Said, list[Said] or Answerer
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        defaults: dict[str, Said] = {
            "GET /status": status(),
            "GET /workers": ms.WorkerList([worker(0), worker(1)]),
            "GET /events": ms.EventList(events=[], last_id=0, lost=0),
            "GET /log-level": ms.LogLevel(level="info", configured="info", overridden=False),
        }
        self.answers = {**defaults, **self.answers}
        self._open: list[socket.socket] = []

    def __enter__(self) -> FakeDaemon:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(8)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        self.path.unlink(missing_ok=True)

    def run(self, *arguments: str, terminal: bool = False, stdin: str = "") -> Result:
        """`miniwsgictl` on this daemon."""
        return run("--socket", str(self.path), *arguments, terminal=terminal, stdin=stdin)

    def bodies(self, method: str, target: str) -> list[Any]:
        """What was sent to a path, in order."""
        return [asked.body for asked in self.asked if (asked.method, asked.target) == (method, target)]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rwb") as stream:
                while (asked := _request(stream)) is not None:
                    self.asked.append(asked)
                    said = self._answer(asked)
                    if isinstance(said, Raw):
                        stream.write(said.data)
                        stream.flush()
                        if said.hold:
                            stream.read()
                        break
                    stream.write(_response(said))
                    stream.flush()
        except OSError:
            pass
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _answer(self, asked: Asked) -> Said:
        path = asked.target.removeprefix("/v1").partition("?")[0]
        said = self.answers.get(f"{asked.method} {path}")
        if said is None:
            said = problem(404, f"{asked.method} {path}: there is nothing here")
        elif isinstance(said, list) and not (said and isinstance(said[0], ms.Event)):
            said = said.pop(0) if len(said) > 1 else said[0]
        elif callable(said):
            said = said(asked)
        answer: Said = said
        return answer


def _request(stream: Any) -> Asked | None:
    line = stream.readline().decode()
    if not line:
        return None
    method, target, _ = line.split(" ")
    length = 0
    while (field_line := stream.readline().decode().strip()) != "":
        name, _, value = field_line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    body = stream.read(length)
    return Asked(method, target, json.loads(body) if body else None)


def _response(said: Said) -> bytes:
    if isinstance(said, list):  # a stream of events, chunked, one a chunk
        lines = [msgspec.json.encode(found) + b"\n" for found in said]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in lines) + b"0\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    assert not isinstance(said, Raw)
    code = said.status if isinstance(said, ms.Problem) else 200
    kind = ms.PROBLEM_TYPE if isinstance(said, ms.Problem) else ms.JSON_TYPE
    if isinstance(said, ms.Operation) and not said.ended:
        code = 202
    body = msgspec.json.encode(said)
    head = f"HTTP/1.1 {code} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


# --- the tool --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """How a run of `miniwsgictl` ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal(io.StringIO):
    """An output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(*arguments: str, terminal: bool = False, stdin: str = "") -> Result:
    """`miniwsgictl ARGUMENTS` in this process. With `terminal`, standard output is one."""
    from miniwsgi.manager.client.cli import commands

    out, err = Terminal() if terminal else io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.StringIO(stdin)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            commands.main(list(arguments), prog_name="miniwsgictl")
    except SystemExit as end:
        return Result(int(end.code or 0), out.getvalue(), err.getvalue())
    finally:
        sys.stdin = before
    raise AssertionError("click exits")
