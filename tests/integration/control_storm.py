"""Many clients of the control API at once, while the daemon that they ask is scaled and reloaded under load.

`storm` runs the clients in a process of their own, so that their times are not those of the load client, and returns
what they saw. `python -m tests.integration.control_storm` runs the full form: 10,000 calls of 50 clients, 200
followers half of which never read, 1,000 idle connections, garbage; it prints the figures.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.load import Load, Report
from tests.support.waiting import PATIENCE_SECONDS, wait_for

APP = """\
import os
from urllib.parse import parse_qs

def application(environ, start_response):
    token = parse_qs(environ["QUERY_STRING"]).get("token", [""])[0]
    body = f"v1 {os.getpid()} {token}\\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

# method, target, body, the statuses that are right: a slot or a conflict may come and go meanwhile
CALLS: list[tuple[str, str, bytes, tuple[int, ...]]] = [
    *[("GET", "/status", b"", (200,))] * 8,
    *[("GET", "/workers", b"", (200,))] * 3,
    ("GET", "/workers/0", b"", (200, 404)),
    ("GET", "/operations", b"", (200,)),
    ("GET", "/operations/2", b"", (200, 404)),
    ("GET", "/events?limit=50", b"", (200,)),
    ("GET", "/config", b"", (200,)),
    ("GET", "/log-level", b"", (200,)),
    ("GET", "/openapi.json", b"", (200,)),
    ("HEAD", "/status", b"", (200,)),
    ("GET", "/nothing", b"", (404,)),
    ("POST", "/status", b"", (405,)),
    ("POST", "/scale", b'{"workers": "many"}', (422,)),
    ("PUT", "/log-level", b'{"level": "warning"}', (200,)),
    ("POST", "/config/check", b"{}", (200,)),
    ("GET", "/workers/0/stack", b"", (200, 404)),
]


@dataclass
class Seen:
    """What clients of the API have seen. Times are milliseconds."""

    calls: int = 0
    seconds: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)
    status_p50: float = 0.0
    status_p99: float = 0.0
    status_max: float = 0.0
    all_p99: float = 0.0
    all_max: float = 0.0

    def __str__(self) -> str:
        failed = ", ".join(f"{count} × {what}" for what, count in self.failures.items()) or "0"
        return (
            f"{self.calls:,} calls in {self.seconds:.1f} s, failed: {failed}; status p50 {self.status_p50:.1f} ms, "
            f"p99 {self.status_p99:.1f} ms, slowest {self.status_max:.0f} ms; all p99 {self.all_p99:.1f} ms, "
            f"slowest {self.all_max:.0f} ms"
        )


# --- the clients, in a process of their own ------------------------------------------------------------------------


def storm(path: Path, calls: int, clients: int) -> Seen:
    """Mixed calls by so many clients at once."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.control_storm", "--clients", str(path), str(calls), str(clients)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return Seen(**json.loads(done.stdout))


async def _clients(path: str, calls: int, clients: int) -> Seen:
    failures: Counter[str] = Counter()
    times: dict[str, list[float]] = {}
    started = time.perf_counter()
    left = iter(range(calls))
    await asyncio.gather(*[_client(path, left, random.Random(seed), failures, times) for seed in range(clients)])
    seconds = time.perf_counter() - started
    status = sorted(times["GET /status"])
    every = sorted(value for values in times.values() for value in values)
    return Seen(
        len(every), seconds, dict(failures),
        _share(status, 0.5), _share(status, 0.99), status[-1], _share(every, 0.99), every[-1],
    )  # fmt: skip


def _share(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


async def _client(
    path: str, left: Iterator[int], chance: random.Random, failures: Counter[str], times: dict[str, list[float]]
) -> None:
    """Calls, one after another, on a connection that is renewed now and then."""
    reader = writer = None
    for _ in left:
        method, target, body, right = chance.choice(CALLS)
        name = f"{method} {target}"
        before = time.perf_counter()
        try:
            if writer is None or reader is None or chance.random() < 0.1:
                if writer is not None:
                    writer.close()
                reader, writer = await asyncio.open_unix_connection(path)
            status = await asyncio.wait_for(_call(reader, writer, method, target, body), PATIENCE_SECONDS)
        except Exception as error:
            failures[f"{name}: {error!r}"] += 1
            writer = None
            continue
        times.setdefault(name, []).append((time.perf_counter() - before) * 1e3)
        if status not in right:
            failures[f"{name}: {status}"] += 1
    if writer is not None:
        writer.close()


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, target: str, body: bytes
) -> int:
    head = f"{method} /v1{target} HTTP/1.1\r\nHost: localhost\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    if method != "HEAD":
        json.loads(await reader.readexactly(int(fields["content-length"])))
    return int(lines[0].split()[1])


# --- what is done to the daemon meanwhile --------------------------------------------------------------------------


class Turmoil:
    """A context: from threads of its own it scales a daemon between 1 and 8 workers and reloads it, in a loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changes: Counter[str] = Counter()
        self.failures: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._scale, self._reload)]

    def __enter__(self) -> Turmoil:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(90)

    def has_changed_much(self) -> bool:
        """Whether enough has happened, or something went wrong."""
        changes = self.changes
        return bool(self.failures) or (changes["scale succeeded"] >= 2 and changes["reload succeeded"] >= 1)

    def _scale(self) -> None:
        workers = 8
        while not self._end.wait(0.1):
            self._change("scale", {"workers": workers})
            workers = 9 - workers

    def _reload(self) -> None:
        while not self._end.wait(0.3):
            self._change("reload", None)

    def _change(self, what: str, body: Any) -> None:
        try:
            with Control(self.path) as control:
                answer = control.post(f"/{what}?wait=60", body)
            state = answer["state"] if answer.status == 200 else str(answer.status)
            self.changes[f"{what} {state}"] += 1
            if state != "succeeded":
                self.failures.append(repr(answer))
        except Exception as error:
            self.failures.append(f"{what}: {error!r}")


SPARE_FDS = 2  # that may come and go


class Watch:
    """A context: what the master takes, before and after (with as many workers and clients again), and at most."""

    def __init__(self, daemon: Daemon, path: Path) -> None:
        self._daemon = daemon
        self._path = path
        self._process = psutil.Process(daemon.process.pid)
        self.first_fds = self.last_fds = self.most_fds = 0
        self.first_rss = self.last_rss = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._settle()
        self.first_fds, self.first_rss = self._process.num_fds(), self._rss()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()
        self._settle()
        wait_for(lambda: self._process.num_fds() <= self.first_fds + SPARE_FDS, "its clients have left")
        self.last_fds, self.last_rss = self._process.num_fds(), self._rss()

    def _settle(self) -> None:
        with Control(self._path) as control:
            control.change("/scale", {"reset": True})
            target = control.status()["workers"]["target"]
            self._daemon.wait(lambda: len(control.workers()) == target, "only the target's workers are left")
            launchers = self._daemon.launchers
            self._daemon.wait(lambda: len(launchers()) == 1, "only the last launcher is left")
        time.sleep(0.2)  # for the server to see that its clients have left

    def _run(self) -> None:
        while not self._end.wait(0.2):
            self.most_fds = max(self.most_fds, self._process.num_fds())

    def _rss(self) -> float:
        return float(self._process.memory_info().rss / 2**20)

    def __str__(self) -> str:
        return (
            f"master RSS {self.first_rss:.1f} → {self.last_rss:.1f} MiB, descriptors {self.first_fds} → "
            f"{self.last_fds} (at most {self.most_fds})"
        )


@contextmanager
def followers(path: Path, reading: int, silent: int) -> Iterator[list[Any]]:
    """So many followers of events that read, in a thread, and so many that never do. What was read: one list each."""
    read: list[Any] = []
    end = threading.Event()

    async def follow() -> None:
        lines: list[int] = []
        read.append(lines)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /v1/events?follow=1&since=0 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        while True:
            chunk = await reader.readexactly(int(await reader.readuntil(b"\r\n"), 16))
            await reader.readexactly(2)
            lines += [json.loads(line)["id"] for line in chunk.splitlines()]

    async def body() -> None:
        tasks = [asyncio.create_task(follow()) for _ in range(reading)]
        await asyncio.to_thread(end.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(body(),), daemon=True)
    thread.start()
    sockets = [_connected(path) for _ in range(silent)]
    for sock in sockets:
        sock.sendall(b"GET /v1/events?follow=1&since=0 HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        yield read
    finally:
        end.set()
        thread.join(PATIENCE_SECONDS)
        for sock in sockets:
            sock.close()


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE_SECONDS)
    sock.connect(str(path))
    return sock


def garbage(path: Path, rounds: int) -> int:
    """Send what is no request, in many ways; how many were neither answered nor closed in time."""
    chance = random.Random(1)
    ways = [
        lambda: bytes(chance.randrange(256) for _ in range(200)) + b"\r\n\r\n",
        lambda: b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"a" * 100_000,
        lambda: b"GET /" + b"a" * 20_000,
        lambda: b"POST /v1/scale HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        lambda: b"POST /v1/scale HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{\xff\xfe}}",
        lambda: b"\r\n" * 50_000,
    ]
    held = 0
    for number in range(rounds):
        with _connected(path) as sock:
            try:
                sock.sendall(ways[number % len(ways)]())
                sock.recv(65536)
            except TimeoutError:
                held += 1
            except OSError:
                pass
    return held


# --- the full form -------------------------------------------------------------------------------------------------


@contextmanager
def serving(directory: Path, workers: int = 2) -> Iterator[tuple[Daemon, Path]]:
    """A daemon with the application for `Load`."""
    (directory / "app.py").write_text(APP)
    path = directory / "control.sock"
    arguments = ("app", "--chdir", str(directory), "--workers", str(workers), "--control", str(path))
    with Daemon(directory, *arguments) as daemon:
        yield daemon, path


def main() -> None:
    if sys.argv[1:2] == ["--clients"]:
        path, calls, clients = sys.argv[2:]
        print(json.dumps(asdict(asyncio.run(_clients(path, int(calls), int(clients))))))
        return
    with tempfile.TemporaryDirectory() as directory, serving(Path(directory)) as (daemon, path):
        print("quiet:  ", storm(path, 2_000, 50))
        for _ in range(2):
            with Watch(daemon, path) as watch, Load(daemon.address, connections=8) as load:
                with Turmoil(path) as turmoil:
                    print("turmoil:", storm(path, 10_000, 50))
                _print_turmoil(turmoil, load.stop())
            print("        ", watch)
        for _ in range(2):
            with Watch(daemon, path) as watch, followers(path, 100, 100) as read, Load(daemon.address) as load:
                with Turmoil(path) as turmoil:
                    print("200 followers, half of them silent:", storm(path, 4_000, 20))
                _print_turmoil(turmoil, load.stop())
                gaps = sum(seen != list(range(seen[0], seen[0] + len(seen))) for seen in read if seen)
                print(f"         {min(map(len, read))}–{max(map(len, read))} events read by each, {gaps} with gaps")
            print("        ", watch)
        with Watch(daemon, path) as watch:
            idle = [_connected(path) for _ in range(1_000)]
            print("1,000 idle connections:", storm(path, 2_000, 20))
            for sock in idle:
                sock.close()
            print(f"garbage: {garbage(path, 600)} of 600 connections neither answered nor closed in time")
            print("after:  ", storm(path, 2_000, 20))
        print("        ", watch)


def _print_turmoil(turmoil: Turmoil, report: Report) -> None:
    changes = ", ".join(f"{count} × {what}" for what, count in sorted(turmoil.changes.items()))
    print(f"         meanwhile: {changes}; other: {turmoil.failures[:3]}")
    print(f"         load: {report}")


if __name__ == "__main__":
    main()
