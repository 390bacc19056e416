"""The servers that are compared: how each is started for a workload, in its best documented configuration.

A `Server` makes an argv from an `Order`; the same order for each, so that nobody gets more threads than
another. Which interpreter runs it is the caller's: miniwsgi's own for miniwsgi, the peers' virtual
environment for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

APPS = Path(__file__).resolve().parent / "apps"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be served, and how."""

    application: str  # MODULE:ATTRIBUTE, importable from bench/apps
    port: int
    workers: int = 1
    threads: int | None = None  # None: the server's own default
    access_log: Path | None = None
    metrics: str = ""  # where miniwsgi's metrics go; "": where it puts them by default


@dataclass(frozen=True, slots=True)
class Server:
    """A contender."""

    name: str
    package: str  # its distribution on PyPI, whose version is reported; "miniwsgi" is run by our own interpreter
    command: Callable[[str, Order], list[str]]  # interpreter, order -> argv
    optional: str = ""  # a module that changes what is measured, and is therefore stated


def _miniwsgi(pool: str) -> Callable[[str, Order], list[str]]:
    def command(python: str, order: Order) -> list[str]:
        argv = [python, "-m", "miniwsgi.daemon", "serve", order.application, "--chdir", str(APPS)]
        argv += ["--bind", f"127.0.0.1:{order.port}", "--workers", str(order.workers), "--pool", pool]
        if order.threads is not None:
            argv += ["--threads", str(order.threads)]
        if order.access_log is not None:
            argv += ["--access-log", str(order.access_log)]
        if order.metrics:
            argv += ["--metrics-bind", order.metrics]
        return argv

    return command


def _gunicorn(worker_class: str, threads: int | None) -> Callable[[str, Order], list[str]]:
    def command(python: str, order: Order) -> list[str]:
        argv = [python, "-m", "gunicorn", order.application, "--chdir", str(APPS)]
        argv += ["--bind", f"127.0.0.1:{order.port}", "--workers", str(order.workers)]
        argv += ["--worker-class", worker_class, "--no-control-socket", "--log-level", "warning"]
        if chosen := order.threads or threads:
            argv += ["--threads", str(chosen)]
        if order.access_log is not None:
            argv += ["--access-logfile", str(order.access_log)]
        return argv

    return command


def _bjoern(python: str, order: Order) -> list[str]:
    return [python, str(APPS / "serve_bjoern.py"), order.application, str(order.port)]


SERVERS: dict[str, Server] = {
    server.name: server
    for server in (
        Server("miniwsgi", "miniwsgi", _miniwsgi("epoll")),
        Server("bjoern", "bjoern", _bjoern),
        # 8 threads do best at hello-world (1: 9,700/s, 4: 12,000, 8: 12,200, 16: 12,100), and are our default
        Server("gunicorn-gthread", "gunicorn", _gunicorn("gthread", 8), optional="gunicorn_h1c"),
    )
}
