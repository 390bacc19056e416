"""What an application has said, and what it has answered, is in the logs however its process ends."""

from __future__ import annotations

import fcntl
import http.client
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.daemon import ALONE
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS, wait_for

APPLICATION = """\
import ctypes, logging, os, signal, sys, time

logging.basicConfig(format="%(levelname)s:%(name)s:%(message)s")

def end(how):
    if how == "exit":
        os._exit(9)
    if how == "SEGV":
        ctypes.string_at(0)
    if how == "ABRT":
        os.abort()
    os.kill(os.getpid(), signal.SIGKILL)

def app(environ, start_response):
    what, _, how = environ["PATH_INFO"][1:].partition("/")
    if what == "crash":
        print("said by print before", how)
        print("half a line, flushed before", how, end="", flush=True)
        sys.stderr.write(f"said to stderr before {how}\\n")
        environ["wsgi.errors"].write(f"said to wsgi.errors before {how}\\n")
        logging.warning("logged before %s", how)
        end(how)
    if what == "child":
        if not os.fork():
            print("said by a child")
            os._exit(0)
        os.wait()
    if what == "noise":
        for number in range(int(how)):
            print("noise", number, "x" * 100)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
CRASHES = ("exit", "KILL", "SEGV", "ABRT")
SAID = ("said by print", "half a line, flushed", "said to stderr", "said to wsgi.errors", "WARNING:root:logged")


class Reader:
    """Reads a descriptor into `text`, from when it is told to."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._data = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._end, self._ended = os.pipe()

    def start(self) -> None:
        self._thread.start()

    def text(self) -> str:
        return self._data.decode("utf-8", "replace").replace("\r\n", "\n")

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, self._end], [], [])
            if self._end in ready:
                return
            with suppress(OSError):
                self._data += os.read(self._fd, 65536)

    def close(self) -> None:
        os.close(self._ended)
        if self._thread.ident:
            self._thread.join()
        os.close(self._end)
        os.close(self._fd)


class Place:
    """A daemon of one worker whose standard streams lead somewhere."""

    def __init__(self, directory: Path, output: int, *flags: str) -> None:
        (directory / "last.py").write_text(APPLICATION)
        self.port = free_port()
        address = ["--bind", f"127.0.0.1:{self.port}", "--workers", "1", "--access-log", "-"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "miniwsgi.daemon", "serve", "last:app", *address, *flags],
            cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, **ALONE},
        )  # fmt: skip

    def get(self, path: str) -> str:
        """The answer; "" if there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except (http.client.HTTPException, OSError):
            return ""
        finally:
            connection.close()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(PATIENCE_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def standard_output(kind: str, directory: Path) -> Iterator[tuple[int, Reader | None, Callable[[], str]]]:
    """A descriptor to write to, who reads it, and what it has got."""
    if kind == "file":
        path = directory / "output"
        with path.open("ab") as file:
            yield file.fileno(), None, lambda: path.read_text("utf-8", "replace")
        return
    reading, writing = pty.openpty() if kind == "terminal" else os.pipe()
    if kind == "pipe":
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    reader = Reader(reading)
    try:
        yield writing, reader, reader.text
    finally:
        os.close(writing)
        reader.close()


@pytest.mark.parametrize("kind", ["pipe", "file", "terminal"])
def test_what_was_said_and_answered_before_a_crash_is_out(tmp_path: Path, kind: str) -> None:
    with standard_output(kind, tmp_path) as (output, reader, text):
        if reader is not None:
            reader.start()
        place = Place(tmp_path, output)
        try:
            for count, crash in enumerate(CRASHES, 1):
                wait_for(lambda: place.get("/"))
                for number in range(20):
                    assert place.get(f"/before-{crash}-{number}")
                assert place.get(f"/crash/{crash}") == ""
                wanted = [f'"GET /before-{crash}-{number} ' for number in range(20)]
                wanted += [f"{said} before {crash}" for said in SAID]
                wait_for(lambda wanted=wanted: all(line in text() for line in wanted))
                wait_for(lambda count=count: text().count("; the next one in") == count)
            assert text().count('"GET /before-') == 20 * len(CRASHES)
        finally:
            place.close()
    ends = re.findall(r"error .* (\S+) while it ran GET /crash/(\w+) \(request id [\w-]+\); the next", text())
    assert [crash for _end, crash in ends] == list(CRASHES)
    assert text().count("Fatal Python error") == 2
    assert text().count('/last.py", line') >= 2


def test_what_waits_for_a_reader_outlives_its_process(tmp_path: Path) -> None:
    with standard_output("pipe", tmp_path) as (output, reader, text):
        assert reader is not None
        place = Place(tmp_path, output)
        try:
            wait_for(lambda: place.get("/"))
            assert place.get("/noise/100")  # more than the pipe holds
            for number in range(20):
                assert place.get(f"/before-{number}")
            assert place.get("/crash/KILL") == ""
            wait_for(lambda: place.get("/"))  # the successor
            reader.start()
            wanted = [f"noise {number} x" for number in range(100)]
            wanted += [f'"GET /before-{number} ' for number in range(20)] + [f"{said} before KILL" for said in SAID]
            wait_for(lambda: all(line in text() for line in wanted))
        finally:
            place.close()
    order = [int(number) for number in re.findall(r"noise (\d+) x", text())]
    assert order == list(range(100))
    assert "lost" not in text()


@pytest.mark.parametrize("pool", ["fork", "single"])
def test_without_a_ring_lines_are_out_at_once(tmp_path: Path, pool: str) -> None:
    with standard_output("pipe", tmp_path) as (output, reader, text):
        assert reader is not None
        reader.start()
        place = Place(tmp_path, output, "--pool", pool)
        try:
            wait_for(lambda: place.get("/"))
            assert place.get("/child")
            wait_for(lambda: "said by a child" in text())
            for number in range(5):
                assert place.get(f"/before-{number}")
            assert place.get("/crash/SEGV") == ""
            wanted = [f'"GET /before-{number} ' for number in range(5)] + [f"{said} before SEGV" for said in SAID]
            wanted += ["Fatal Python error", '/last.py", line']
            wait_for(lambda: all(line in text() for line in wanted))
        finally:
            place.close()
