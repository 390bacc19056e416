"""The master's server and the control API without a daemon: in a loop of their own, on a Unix socket, faked behind.

`Served` stands for what a server serves, `FakeDaemon` for what the API manages. Clients are raw sockets, in threads of
the loop's executor, so that they may block.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
from miniwsgi.manager import changes as ch
from miniwsgi.manager import messages as ms
from miniwsgi.manager.control import managed as mg
from miniwsgi.manager.control.event_log import EventLog
from miniwsgi.manager.http.connection_table import ServerLimits
from miniwsgi.manager.http.exchange import Answer, HttpRefusal, Request, Stream
from miniwsgi.manager.http.server import HttpServer
from miniwsgi.metrics.families import Family, Histogram, Sample
from miniwsgi.metrics.history import Span

from tests.support.ctl_daemon import route
from tests.support.incidents import crash, crash_list, incident, slow_list
from tests.support.waiting import PATIENCE_SECONDS, wait_in_loop

T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def memory() -> ms.WorkerMemory:
    """What a worker's memory holds."""
    return ms.WorkerMemory(
        slot=0, pid=100, taken_at=T0, seconds=60.0, kinds=[ms.MemoryKind("Rss", 34 << 20, 2 << 20)],
        collector=ms.CollectorFigures(True, [1, 2, 3], [700, 10, 10], [9, 8, 7], 12, 0, 35000),
        objects=1500, objects_grown=250, types=[ms.TypeCount("shop.Order", 250, 249), ms.TypeCount("dict", 90, None)],
        not_counted="", tracing="ours", lines=[ms.AllocatingLine("/srv/shop/cart.py", 17, 4096, 12, 2048)],
        not_traced="", traced_bytes=9000, paused_seconds=0.004, cpu_seconds=0.02,
    )  # fmt: skip


# --- a client ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A raw client. Its methods block: call them through `run`."""

    def __init__(self, path: Path, seconds: float = PATIENCE_SECONDS) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        self.socket.connect(str(path))
        self.received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def get(self, target: str, *fields: str, method: str = "GET", body: bytes = b"") -> Response:
        """One request, one response."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.response(head_only=method == "HEAD")

    def response(self, *, head_only: bool = False) -> Response:
        head = self.until(b"\r\n\r\n").decode("latin-1")
        status_line, *lines = head.rstrip("\r\n").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = 0 if head_only else int(fields.get("content-length", 0))
        while len(self.received) < size:
            self._receive()
        body, self.received = self.received[:size], self.received[size:]
        return Response(int(status_line.split(" ")[1]), fields, body)

    def until(self, mark: bytes) -> bytes:
        """What comes up to a mark, and it. Raises EOFError if the end comes first."""
        while mark not in self.received:
            self._receive()
        end = self.received.index(mark) + len(mark)
        found, self.received = self.received[:end], self.received[end:]
        return found

    def chunk(self) -> bytes:
        """One chunk of a stream; b"" at its end."""
        size = int(self.until(b"\r\n"), 16)
        while len(self.received) < size + 2:
            self._receive()
        found, self.received = self.received[:size], self.received[size + 2 :]
        return found

    def rest(self) -> bytes:
        """All that comes until the end."""
        try:
            while True:
                self._receive()
        except (EOFError, ConnectionResetError):
            found, self.received = self.received, b""
            return found

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError(self.received)
        self.received += data

    def close(self) -> None:
        self.socket.close()


async def run(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Call what blocks."""
    return await asyncio.to_thread(function, *args, **named)


# --- something to serve --------------------------------------------------------------------------------------------

Handler = Callable[[Request], Awaitable[Answer | Stream]]


@dataclass
class Served:
    """Answers with its path, or as told for a path."""

    handlers: dict[str, Handler] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    admissions: dict[str, Callable[[Request], Awaitable[None]]] = field(default_factory=dict)

    async def admit(self, request: Request) -> None:
        if (handler := self.admissions.get(request.path)) is not None:
            await handler(request)

    async def respond(self, request: Request) -> Answer | Stream:
        self.requests.append(request)
        handler = self.handlers.get(request.path)
        if handler is not None:
            return await handler(request)
        return Answer(200, f"{request.path} {len(request.body)}".encode(), "text/plain")

    def refuse(self, refusal: HttpRefusal, path: str) -> Answer:
        return Answer(refusal.status, refusal.detail.encode(), "text/plain", refusal.fields)


class World:
    """A server that runs."""

    def __init__(self, server: HttpServer, path: Path, errors: list[str]) -> None:
        self.server = server
        self.path = path
        self.errors = errors
        self.clients: list[Client] = []

    async def client(self, seconds: float = PATIENCE_SECONDS) -> Client:
        client: Client = await run(Client, self.path, seconds)
        self.clients.append(client)
        return client

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await wait_in_loop(condition, what, lambda: f"{self.server} {self.server.connections}")


@asynccontextmanager
async def serving(served: Any, directory: Path, **limits: Any) -> AsyncIterator[World]:
    """Serve on a Unix socket in `directory`; nothing may have gone wrong inside by the end."""
    errors: list[str] = []
    server = HttpServer(served, lambda message, error: errors.append(f"{message}: {error!r}"), ServerLimits(**limits))
    path = directory / "control.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(64)
    sock.setblocking(False)
    await server.start([sock])
    world = World(server, path, errors)
    try:
        yield world
    finally:
        for client in world.clients:
            client.close()
        await server.stop(1.0)
        path.unlink()
    assert world.errors == []
    assert not server.connections


# --- a daemon to manage --------------------------------------------------------------------------------------------


def operation(number: int, kind: ms.OperationKind, state: ms.OperationState, who: str = "somebody") -> ms.Operation:
    ended = None if state in {"waiting", "running"} else T0
    return ms.Operation(
        id=number, kind=kind, detail="", state=state, who=who, uid=0, pid=1, asked_at=T0, started_at=T0, ended_at=ended,
        seconds=0.5, done=0, total=1, generation=None, error="", traceback="",
    )  # fmt: skip


def worker(slot: int) -> ms.Worker:
    return ms.Worker(
        slot=slot, pid=100 + slot, generation=1, state="ready", reason="", age_seconds=1.0, in_state_seconds=1.0,
        next_in_seconds=None, heartbeat_age_seconds=0.1, not_responding_seconds=None, requests=5,
        client_errors=0, server_errors=0, last_60s=ms.LastMinute(5, 0.0, 0.0), rate=0.5, in_flight=[],
        waiting=0, connections=0,
        rss_bytes=1, pss_bytes=1, uss_bytes=1, cpu_percent=0.0, cpu_seconds=0.1, restarts=0, last_exit="",
    )  # fmt: skip


FAMILIES = [
    Family("miniwsgi_workers", "gauge", "Workers.", "", [Sample((("state", "ready"),), 2.0)]),
    Family("miniwsgi_workers_target", "gauge", "Workers that there should be.", "", [Sample((), 2.0)]),
    Family("miniwsgi_worker_requests_total", "counter", "Requests.", "", [Sample((("slot", "0"),), 5.0)]),
    Family(
        "miniwsgi_queue_seconds", "histogram", "Waits.", "seconds", [Sample((), Histogram((0.1, 1.0), (3, 1, 0), 0.5))]
    ),
]


class FakeDaemon:
    """A `Managed` that does what a test tells it."""

    def __init__(self) -> None:
        self.event_log = EventLog(now=lambda: T0)
        self.asked: list[ch.Change] = []
        self.refusal: mg.ChangeRefused | None = None
        self.inside: ms.WorkerMemory | Exception = memory()
        self.ends_at_once = False
        self.table: dict[int, ms.Operation] = {}
        self.ended = asyncio.Event()
        self.level: ms.LogLevelName = "info"
        self.checked: list[str | None] = []

    def status(self, role: ms.Role) -> ms.Status:
        none = ms.Latency(1.0, 0, None, None, None, ms.Percentiles("–", "–", "–"))
        return ms.Status(
            version="1", pid=1, started_at=T0, uptime_seconds=1.0,
            verdict=ms.Verdict("healthy", ["1 of 1 workers ready"]), state="running", generation=1, preloaded=True,
            application="app", pool="epoll", threads=8, engine="plain", engine_note="", log_level=self.level,
            workers=ms.WorkerCounts(
                target=1, configured=1, override=None, persisted=False, booting=0, ready=1, busy=0, draining=0, stuck=0,
                not_responding=0,
            ),
            listeners=[ms.ListenerStatus("a", "u", False, 0, 1, "http", False)],
            connections=0,
            requests=ms.RequestCounts(
                total=0, client_errors=0, server_errors=0, last_60s=ms.LastMinute(0, None, None),
                rates=ms.Rates(last_1s=0.0, last_10s=None, last_60s=None), in_flight=0, waiting=0, errors=0,
                rejected=0, aborted=0, timed_out=0,
            ),
            duration=none, duration_total=none, queue_time=none, queue_time_total=none, generations=[],
            last_reload=None, operations=self.operations(), persist_error="", metrics_error="", role=role,
        )  # fmt: skip

    async def workers(self) -> list[ms.Worker]:
        return [worker(0), worker(2)]

    async def stack(self, slot: int) -> ms.Stack | None:
        return ms.Stack(slot, 100 + slot, T0, True, "Thread …", []) if slot in {0, 2} else None

    async def why(self, seconds: int) -> ms.Why:
        figures = ms.LookFigures(0, 0.0, None, None, 0.0, 8, 0.0, 0.0, 1, 0)
        return ms.Why(T0, float(seconds), [ms.Finding("healthy", "note", "Nothing is wrong.", [], "")], figures, [])

    async def doctor(self) -> ms.Doctor:
        return ms.Doctor(T0, [ms.Risk("root", "warning", "The application runs as root.", "server.user")], [], [])

    def profile(self, request: ms.ProfileRequest) -> AsyncIterator[bytes]:
        if slots := [slot for slot in request.slots if slot not in {0, 2}]:
            raise mg.NoWorker(slots[0])

        async def lines() -> AsyncIterator[bytes]:
            yield b'{"kind":"profile","slots":[0,2]}\n'

        return lines()

    async def memory(self, slot: int, request: ms.MemoryRequest) -> ms.WorkerMemory:
        if slot not in {0, 2}:
            raise mg.NoWorker(slot)
        if isinstance(self.inside, Exception):
            raise self.inside
        return self.inside

    async def ask(self, change: ch.Change) -> ms.Operation:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(change)
        number = len(self.table) + 1
        if isinstance(change, ch.SetLogLevel):
            self.level = change.level or "info"
        state: ms.OperationState = "succeeded" if self.ends_at_once else "running"
        self.table[number] = operation(number, cast("ms.OperationKind", change.name), state, change.who)
        return self.table[number]

    def end(self, number: int, state: ms.OperationState = "succeeded", error: str = "") -> None:
        """The operation has its verdict."""
        self.table[number] = msgspec.structs.replace(self.table[number], state=state, ended_at=T0, error=error)
        self.ended.set()

    def operations(self) -> list[ms.Operation]:
        return [self.table[number] for number in sorted(self.table, reverse=True)]

    def operation(self, number: int) -> ms.Operation | None:
        return self.table.get(number)

    async def wait(self, number: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            pass

    def slow(self, limit: int) -> ms.SlowList:
        return slow_list(*[incident(), incident("/other")][:limit])

    def crashes(self, limit: int) -> ms.CrashList:
        return crash_list(*[crash(2), crash(1)][:limit])

    def metrics(self) -> list[Family]:
        return FAMILIES

    def history(self, span: Span) -> ms.History:
        return ms.History(span.value, span.step_seconds, [], [])

    def routes(self) -> ms.RouteList:
        return ms.RouteList(window_seconds=60.0, routes=[route("/orders/<id>"), route(None, cpu_seconds=None)])

    def log_level(self) -> ms.LogLevel:
        return ms.LogLevel(level=self.level, configured="info", overridden=self.level != "info")

    def config(self) -> ms.ConfigView:
        return ms.ConfigView(path=None, values=[], file_variables=[], notes=[])

    async def check_config(self, toml: str | None) -> ms.ConfigReport:
        self.checked.append(toml)
        return ms.ConfigReport(valid=True, problems=[], changes=[], restart=[], notes=[])


GET = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"


def scenario(directory: Path, served: Served | None = None, **limits: Any) -> Any:
    """A decorator that runs an async function against a server at once."""

    def decorate(function: Any) -> None:
        async def body() -> None:
            async with serving(served if served is not None else Served(), directory, **limits) as world:
                await function(world)

        asyncio.run(body())

    return decorate
