"""The servers that are compared: how each is started for an order, in its best documented configuration.

The same order goes to each, so that nobody gets more threads than another. This module has what a contender
is, the floor, and our own pools; `bench/peer_servers.py` has the peers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

APPS = Path(__file__).resolve().parent / "apps"
FLOOR = Path(__file__).resolve().parent / "floor"
OURS = "miniwsgi"
FORKS = 64  # processes of the pool that has one for each connection
HELLO = "bench_app:hello"


class Kind(StrEnum):
    """What a contender is in the comparison."""

    FLOOR = "floor"  # the least that anybody could do: no WSGI
    ROAD = "road"  # the ways that led to ours, as users can still run them
    OURS = "ours"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be served, and how."""

    application: str  # MODULE:ATTRIBUTE, importable from bench/apps
    port: int
    workers: int = 1
    threads: int | None = None  # None: what suits an application that does not block
    access_log: Path | None = None
    log_format: str = ""  # "json", or the server's own
    metrics: str = ""  # where miniwsgi's metrics go; "": where it puts them by default
    control: str = ""  # where miniwsgi's control socket goes; "off": none
    connections: int | None = None  # how many one worker must hold; None: no more than any server allows
    framework: bool = False  # the application needs a framework, which only the peers' environment surely has
    static: Path | None = None  # a directory of files that are below /static/
    scratch: Path = Path()  # a directory for this server's own files


@dataclass(frozen=True, slots=True)
class Programs:
    """What commands are made of."""

    ours: str  # the interpreter that has miniwsgi
    peers: str  # the interpreter that has the peers and the frameworks
    floor: dict[str, Path] = field(default_factory=dict)  # the floor's programs in C, by name

    def script(self, name: str) -> str:
        """A command that is installed beside the peers' interpreter."""
        return str(Path(self.peers).parent / name)


Command = Callable[[Programs, Order], list[str]]


@dataclass(frozen=True, slots=True)
class Server:
    """A contender."""

    name: str
    kind: Kind
    package: str  # its distribution, whose version is reported; "" for what needs none
    what: str  # one line
    command: Command
    needs: tuple[str, ...] = ()  # further distributions in the peers' environment
    tools: tuple[str, ...] = ()  # programs that must be on PATH
    keeps_alive: bool = True
    most_threads: int | None = None  # how many requests it can have in the application at once; None: as many as asked
    absent: str = ""  # why it cannot take part, if that is known without trying


def _ours(pool: str, threads: int | None = None, engine: str = "") -> Command:
    def command(programs: Programs, order: Order) -> list[str]:
        argv = [programs.ours, "-m", "miniwsgi.daemon", "serve", order.application, "--chdir", str(APPS)]
        argv += ["--bind", f"127.0.0.1:{order.port}", "--pool", pool]
        if pool == "prefork":  # there, a process is what a thread is elsewhere
            argv += ["--workers", str(max(order.workers, order.threads or 1))]
        elif pool == "fork":  # and here, a process is what a connection is
            argv += ["--workers", str(order.workers), "--threads", str(FORKS)]
        elif pool != "single":
            argv += ["--workers", str(order.workers)]
            if chosen := threads or order.threads:
                argv += ["--threads", str(chosen)]
        if order.framework:
            argv += ["--python", programs.peers]
        if order.static is not None:
            argv += ["--static", f"/static/={order.static}"]
        if order.access_log is not None:
            argv += ["--access-log", str(order.access_log)]
        if order.log_format:
            argv += ["--set", f"log.access_log_format={order.log_format}"]
        if engine:
            argv += ["--engine", engine]
        if order.metrics:
            argv += ["--metrics-bind", order.metrics]
        if order.connections:
            argv += ["--set", f"limits.connections={order.connections}"]
        if order.control:
            argv += ["--control", order.control]
        return argv

    return command


def whitenoise(programs: Programs, order: Order) -> list[str]:
    """Ours with WhiteNoise in the application, which is told by $BENCH_STATIC where files are."""
    return _ours("epoll")(programs, replace(order, application="static_app:white", static=None, framework=True))


def _script(path: Path) -> Command:
    return lambda programs, order: [programs.ours, str(path), str(order.port)]


def _compiled(name: str) -> Command:
    return lambda programs, order: [str(programs.floor.get(name, name)), str(order.port)]


FLOORS = (
    Server("echo-c", Kind.FLOOR, "", "a TCP echo in C: epoll, no HTTP", _compiled("echo")),
    Server("echo-python", Kind.FLOOR, "", "a TCP echo in Python: epoll, no HTTP", _script(FLOOR / "echo.py")),
    Server("loop-c", Kind.FLOOR, "", "a fixed response on an epoll loop in C", _compiled("loop")),
    Server("loop-python", Kind.FLOOR, "", "a fixed response on an epoll loop in Python", _script(FLOOR / "loop.py")),
)

ROAD = (
    Server(
        "stdlib-http",
        Kind.ROAD,
        "",
        "the standard library's HTTP/1.0 server, no WSGI: the starting point",
        _script(FLOOR / "stdlib_http.py"),
        keeps_alive=False,
    ),
    Server("single", Kind.ROAD, OURS, "one process, one request at a time", _ours("single"), most_threads=1),
    Server("fork", Kind.ROAD, OURS, "a process per connection", _ours("fork")),
    Server("epoll-1", Kind.ROAD, OURS, "epoll, 1 thread: all inline", _ours("epoll", 1), most_threads=1),
    Server("prefork", Kind.ROAD, OURS, "pre-forked processes, one request each", _ours("prefork")),
)

IN_PYTHON = f"{OURS}-plain"
ENGINES = (
    Server(OURS, Kind.OURS, OURS, "epoll, adaptive threads, the fastest engine there is: the default", _ours("epoll")),
    Server(IN_PYTHON, Kind.OURS, OURS, "the same with the engine in Python", _ours("epoll", engine="plain")),
    Server(f"{OURS}-compiled", Kind.OURS, OURS, "the same, or no start", _ours("epoll", engine="compiled")),
)
