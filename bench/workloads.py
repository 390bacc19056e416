"""The workloads: what is asked of which servers, how it is loaded, and what a right answer is.

Not every server runs every workload: hello-world is for all, others for those to whom they say something, and the
full run has to end within the hour.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum

from bench.apps.bench_app import CHUNK, CHUNKS, body_of, filler
from bench.exchange import Exchange
from bench.peer_servers import PEERS
from bench.servers import FLOORS, HELLO, IN_PYTHON, OURS, ROAD

MIB = 1024 * 1024
BODY_100K, BODY_1M = body_of(100), body_of(1024)
FILE = filler(10 * MIB)
STATIC_CSS, STATIC_JS = filler(5 * 1024), filler(200 * 1024)
DOCUMENT = json.dumps({"name": "order", "lines": [{"number": i, "text": "x" * 20} for i in range(19)]}).encode()
PLAIN = Exchange()
FRAMEWORK = Exchange(closes=True)
DEEP = 16  # requests at once, as in wrk/pipelined.lua


class How(StrEnum):
    """How a workload is loaded."""

    FLAT_OUT = "flat out"
    IDLE = "beside idle connections"
    SLOW = "beside slow clients"
    CPU_BOUND = "at a fixed rate beside two requests that compute"


@dataclass(frozen=True, slots=True)
class Fixed:
    """Latency at a rate that is the same for all, besides."""

    slow_path: str = ""
    slow_every: int = 0
    every_round: bool = False  # else once


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked, of whom."""

    name: str
    what: str
    application: str
    servers: tuple[str, ...]
    exchange: Exchange = PLAIN
    script: str | None = None  # for wrk, in bench/wrk
    body: bytes = b""  # that the script posts
    connections: int = 64
    threads: int | None = None  # None: what suits an application that does not block
    workers: int = 1
    how: How = How.FLAT_OUT
    others: int = 0  # idle or slow connections
    fixed: Fixed | None = None
    system_calls: bool = False
    framework: bool = False
    shares: bool = False  # say how the workers share the work

    @property
    def pinned(self) -> bool:
        """Whether the server keeps to one core: several workers need more."""
        return self.workers == 1


BROWSER = Exchange(
    fields=(
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
        ("Referer", "http://127.0.0.1/catalogue/page/1"),
        ("Cookie", "session=0f1e2d3c4b5a69788796a5b4c3d2e1f0; theme=dark; consent=1"),
    )
)

_EXTENSIONS = ("bjoern", "fastwsgi", "fastpysgi", "freastal", "peregrine")  # the peers that leave Python least to do
_ALL = (OURS, IN_PYTHON, *(server.name for server in (*FLOORS, *ROAD, *PEERS)))
_FAST = (OURS, *_EXTENSIONS, "granian", "gunicorn-gthread")
_CORE = (*_FAST, "uwsgi", "waitress", "cheroot")
_MORE = (*_CORE, "gevent", "socketify", "m0serve", "pyvoy", "pyruvate")
_WHOLE = (*_MORE, "gunicorn-gevent", "mod_wsgi", "nginx-uwsgi")
GREENLETS = (
    "gunicorn-gevent",
    "gevent",
)  # have all requests in the application at once, however many threads are asked
_THREADED = (
    *(OURS, "granian", "peregrine", "m0serve", "pyvoy", "pyruvate"),
    *("gunicorn-gthread", "uwsgi", "waitress", "cheroot", *GREENLETS),
)


def _blocking(threads: int, servers: tuple[str, ...], fixed: Fixed | None = None) -> Workload:
    plural = "s" if threads > 1 else ""
    return Workload(
        f"blocking-{threads}",
        f"waits 10 ms, {threads} thread{plural} (or processes, or greenlets)",
        "bench_app:blocking",
        servers,
        threads=threads,
        fixed=fixed,
        system_calls=threads > 1,
    )


def _static(ending: str, content: bytes) -> Workload:
    what = f"a static file of {len(content) // 1024} KiB"
    servers = (OURS, "whitenoise", "nginx", "uwsgi", "granian")
    exchange = Exchange(f"/static/site.{ending}", expected=content, sized=False)  # granian says no length
    return Workload(f"static-{ending}", what, "static_app:plain", servers, exchange, script=f"static_{ending}.lua")


def _workers(count: int) -> Workload:
    plural = "s" if count > 1 else ""
    servers = (*_FAST, "uwsgi")
    what = f"hello-world, {count} worker{plural}; load and server share all processors"
    return Workload(f"workers-{count}", what, HELLO, servers, workers=count, shares=True)


def _idle(count: int, servers: tuple[str, ...]) -> Workload:
    what = f"hello-world beside {count:,} idle kept-alive connections"
    return Workload(f"idle-{count}", what, HELLO, servers, how=How.IDLE, others=count)


_HELLO = Workload("hello", "hello-world, minimal head", HELLO, _ALL, fixed=Fixed(), system_calls=True)

_LIST = (
    _HELLO,
    replace(
        _HELLO,
        name="browser",
        what="hello-world, a browser's 13 fields, values changing from request to request",
        servers=(*_MORE, IN_PYTHON, "gunicorn-gthread-python", "prefork"),
        exchange=BROWSER,
        script="changing.lua",
        fixed=None,
    ),
    replace(
        _HELLO,
        name="browser-same",
        what="hello-world, a browser's 13 fields, always the same",
        servers=(*_FAST, IN_PYTHON),
        exchange=BROWSER,
        script="browser.lua",
        fixed=None,
        system_calls=False,
    ),
    Workload(
        "flask",
        "Flask, hello-world",
        "flask_app:app",
        (*_WHOLE, IN_PYTHON),
        FRAMEWORK,
        fixed=Fixed(),
        system_calls=True,
        framework=True,
    ),
    Workload(
        "django",
        "Django, hello-world, 7 middlewares",
        "django_app:app",
        (*_CORE, IN_PYTHON),
        FRAMEWORK,
        framework=True,
    ),
    Workload(
        "json",
        "JSON of 1 KiB, posted, parsed, written again",
        "bench_app:echo_json",
        (*_CORE, IN_PYTHON),
        Exchange(method="POST", fields=(("Content-Type", "application/json"),), body=DOCUMENT, expected=DOCUMENT),
        script="post.lua",
        body=DOCUMENT,
    ),
    Workload(
        "upload",
        "1 MiB posted, read by the application",
        "bench_app:upload",
        _CORE,
        Exchange("/checked", "POST", body=BODY_1M, expected=f"{len(BODY_1M)} {zlib.crc32(BODY_1M)}\n".encode()),
        script="post.lua",
        body=BODY_1M,
        connections=8,
        system_calls=True,
    ),
    Workload("memory-100k", "100 KiB from memory", "bench_app:memory_100k", _CORE, Exchange(expected=BODY_100K)),
    Workload(
        "memory-1m",
        "1 MiB from memory",
        "bench_app:memory_1m",
        (*_FAST, "uwsgi", "waitress"),
        Exchange(expected=BODY_1M),
        connections=16,
    ),
    Workload(
        "file",
        "10 MiB file by wsgi.file_wrapper",
        "bench_app:file",
        (*_MORE, "mod_wsgi", "nginx-uwsgi"),
        Exchange(expected=FILE),
        connections=8,
        system_calls=True,
    ),
    Workload(
        "stream",
        "a generator of 100 chunks of 1 KiB",
        "bench_app:stream",
        (*_FAST, "waitress", "cheroot", "nginx-uwsgi"),  # uWSGI alone does not say where the answer ends
        Exchange(expected=CHUNK * CHUNKS, sized=False, may_end=True, paced=True),
        system_calls=True,
    ),
    _static("css", STATIC_CSS),
    _static("js", STATIC_JS),
    _blocking(1, (OURS, "epoll-1", "bjoern", "granian", "gunicorn-sync", "waitress")),
    _blocking(8, (*_THREADED, "prefork")),
    _blocking(32, (*_THREADED, "mod_wsgi", "nginx-uwsgi", "prefork"), Fixed()),
    Workload(
        "mixed",
        "1 request in 50 sleeps 100 ms, 32 threads; at a fixed rate the latency is that of the fast ones",
        "bench_app:mixed",
        _THREADED,
        script="mixed.lua",
        threads=32,
        fixed=Fixed("/slow", 50, every_round=True),
    ),
    Workload(
        "beside-cpu",
        "100 requests/s beside two that compute all the time, 8 threads",
        "bench_app:mixed",
        (OURS, "gunicorn-gthread"),
        threads=8,
        how=How.CPU_BOUND,
    ),
    replace(
        _HELLO,
        name="connection-each",
        what="hello-world, a connection for each request",
        servers=(*_CORE, "gunicorn-sync", "stdlib-http", "single", "fork", "epoll-1", "prefork"),
        exchange=Exchange(fields=(("Connection", "close"),), ends=True),
        script="close.lua",
        fixed=None,
    ),
    replace(
        _HELLO,
        name="pipelined",
        what=f"hello-world, {DEEP} requests at once on each connection",
        servers=("loop-c", *_FAST, "socketify", "cheroot"),
        exchange=Exchange(deep=DEEP),
        script="pipelined.lua",
        fixed=None,
        system_calls=False,
    ),
    _idle(1000, (*_CORE,)),
    _idle(10_000, _FAST),
    _workers(1),
    _workers(2),
    _workers(4),
    Workload(
        "slow-clients",
        "hello-world beside 500 clients that send a byte a second",
        HELLO,
        (*_CORE, "gunicorn-gevent", "nginx-uwsgi"),
        how=How.SLOW,
        others=500,
    ),
)


WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in _LIST}

_QUICK: dict[str, tuple[str, ...]] = {
    "hello": (OURS, "freastal", "peregrine", "granian"),
    "browser": (OURS, "freastal", "peregrine"),
    "browser-same": (OURS, "freastal", "peregrine"),
    "flask": (OURS, IN_PYTHON, "bjoern", "freastal"),
    "django": (OURS, "bjoern", "freastal"),
    "json": (OURS, "freastal", "peregrine"),
    "blocking-32": (OURS, "granian", "uwsgi"),
    "mixed": (OURS, "granian"),
    "connection-each": (OURS, "bjoern", "freastal"),
    "pipelined": (OURS, "freastal", "peregrine"),
    "memory-100k": (OURS, "bjoern", "freastal"),
    "memory-1m": (OURS, "bjoern", "fastpysgi"),
    "stream": (OURS, "bjoern", "peregrine"),
    "file": (OURS, "granian", "uwsgi"),
    "beside-cpu": (OURS,),
    "idle-10000": (OURS,),
    "workers-1": (OURS,),
    "workers-2": (OURS,),
    "workers-4": (OURS,),
}


def quick_workloads() -> dict[str, Workload]:
    """The workloads that have targets, on few servers, without what takes a run of its own."""
    found = {}
    for name, servers in _QUICK.items():
        whole = WORKLOADS[name]
        fixed = whole.fixed if whole.fixed and whole.fixed.every_round else None
        found[name] = replace(whole, servers=servers, fixed=fixed, system_calls=False)
    return found
