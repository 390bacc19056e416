"""The applications that are measured. Standard library only: they run in every server's own interpreter."""

from __future__ import annotations

import functools
import json
import os
import time
import zlib
from collections.abc import Iterator
from typing import Any

BODY = b"Hello, world!\n"
HEADERS = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(BODY)))]

BLOCKING_SECONDS = 0.010
SLOW_SECONDS = 0.100
BURN_SECONDS = 0.200
BRIEF_SECONDS = 60e-6
PAUSE_SECONDS = 0.150

KIB = 1024
LINE = bytes(range(32, 127)) + b"\n"
CHUNKS = 100


def filler(size: int) -> bytes:
    """So many bytes, always the same."""
    return (LINE * (size // len(LINE) + 1))[:size]


CHUNK = filler(KIB)


@functools.cache
def body_of(kib: int) -> bytes:
    """So many KiB, made when they are first asked for: who serves hello-world is not charged for them."""
    return filler(kib * KIB)


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """As little as an application can do."""
    start_response("200 OK", HEADERS[:])
    return [BODY]


def blocking(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Waits 10 ms for something else, as for a database."""
    time.sleep(BLOCKING_SECONDS)
    start_response("200 OK", HEADERS[:])
    return [BODY]


def mixed(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Fast, but /slow sleeps 100 ms and /burn keeps the interpreter busy for 200 ms."""
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(SLOW_SECONDS)
    elif path == "/burn":
        end = time.monotonic() + BURN_SECONDS
        while time.monotonic() < end:
            sum(range(1000))
    start_response("200 OK", HEADERS[:])
    return [BODY]


def brief(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Hello-world after 60 µs of computing; on /told when it was ready (CLOCK_MONOTONIC, ns); on /slow 100 ms later."""
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(SLOW_SECONDS)
    end = time.monotonic() + BRIEF_SECONDS
    while time.monotonic() < end:
        pass
    if path != "/told":
        return hello(environ, start_response)
    body = b"%020d" % time.monotonic_ns()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def statuses(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers with the status that the query names, and with its process; without a query as `hello`."""
    query = environ["QUERY_STRING"]
    if not query:
        return hello(environ, start_response)
    body = str(os.getpid()).encode()
    start_response(f"{query} As Asked", [("Content-Length", str(len(body)))])
    return [body]


def echo_json(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Reads a JSON document and writes it again."""
    document = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    body = json.dumps(document).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def upload(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Reads the whole body by 64 KiB and says how long it was; on /checked also what it was."""
    left = int(environ["CONTENT_LENGTH"])
    checked, check, got = environ["PATH_INFO"] == "/checked", 0, 0
    stream = environ["wsgi.input"]
    while left and (data := stream.read(min(left, 64 * KIB))):
        left -= len(data)
        got += len(data)
        if checked:
            check = zlib.crc32(data, check)
    body = f"{got} {check}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def memory_100k(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """100 KiB that are there already."""
    body = body_of(100)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def memory_1m(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """1 MiB that is there already."""
    body = body_of(1024)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


class _Blocks:
    """The file wrapper of PEP 3333's example, for servers without one."""

    def __init__(self, file: Any, size: int) -> None:
        self.file = file
        self.size = size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.file.read(self.size), b"")

    def close(self) -> None:
        self.file.close()


def file(environ: dict[str, Any], start_response: Any) -> Any:
    """The file that BENCH_FILE names, by wsgi.file_wrapper."""
    opened = open(os.environ["BENCH_FILE"], "rb")  # the server closes it
    size = os.fstat(opened.fileno()).st_size
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
    wrap = environ.get("wsgi.file_wrapper") or _Blocks  # socketify has one that is None
    return wrap(opened, 64 * KIB)


def stream(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """100 chunks of 1 KiB from a generator, their number not said before; on /paced 2 of them, with a pause between."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/paced":
        yield CHUNK
        time.sleep(PAUSE_SECONDS)
        yield CHUNK
        return
    for _ in range(CHUNKS):
        yield CHUNK
