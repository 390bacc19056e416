"""Logs whose reader stalls, dies or goes away: standard error, the access log, the journal."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import PATIENCE_SECONDS

from .stage import PYTHON, Outcome, Stage, need_root

PIPE_BYTES = 4096
NOISE = "/noise"  # 100 lines for a request
REQUESTS = 450  # more lines than the queues of two workers take
MARK = b"nnnn"  # in a line of noise, and in the access log's lines about it
LOST = "lost: nobody read them"


class Reader:
    """Reads a FIFO into a file from a thread, as long as it is asked to. `path` is the FIFO."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.heard = ""  # but for noise
        self.noise = 0  # lines
        self._rest = b""
        self._going = threading.Event()
        self._going.set()
        self._ended = False
        self._fd = -1
        self._thread: threading.Thread
        self.open()

    def open(self) -> None:
        """Be there, and read."""
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stall(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    def close(self) -> None:
        """Be gone: who writes gets EPIPE."""
        self._ended = True
        self._going.set()
        self._thread.join(PATIENCE_SECONDS)
        os.close(self._fd)

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while not self._ended:
            self._going.wait()
            poll.poll(20)
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                data = b""
            if data:
                *lines, self._rest = (self._rest + data).split(b"\n")
                said = [line.decode() + "\n" for line in lines if MARK not in line]
                self.noise += len(lines) - len(said)
                self.heard += "".join(said)
            else:
                time.sleep(0.005)  # nobody writes, or nobody has it open


@contextmanager
def _reader(path: Path) -> Iterator[Reader]:
    reader = Reader(path)
    try:
        yield reader
    finally:
        reader.close()


def standard_error_stalls(stage: Stage) -> Outcome:
    """Standard error is a pipe that nobody reads for a while: served as ever, the loss is told of, it stops in time"""
    fifo = stage.directory / "stderr"
    with _reader(fifo) as reader:
        stage.configure()
        daemon = stage.start(["sh", "-c", 'exec "$@" 2>"$0"', str(fifo)], heard=lambda: reader.heard)
        load = stage.load(path=NOISE)
        for _ in range(stage.size(1, 5)):
            reader.stall()
            told = reader.heard.count(LOST)
            load.wait_for_more(REQUESTS)
            reader.go_on()
            stage.lifted()
            if stage.pool != "fork":  # each connection's process has a queue of its own, and takes it along
                daemon.wait(lambda told=told: reader.heard.count(LOST) > told, "what was lost is told of")
        reader.stall()
        load.wait_for_more(50)
        assert stage.tool()("reload").status == 0, "its log does not hold it up"
        reader.go_on()
        stage.recovered()
        reader.stall()
        load.wait_for_more(200)
        return stage.conclude()  # it stops, whoever reads


def standard_error_breaks(stage: Stage) -> Outcome:
    """The reader of standard error dies (EPIPE): served as ever, reloaded and stopped as ever"""
    fifo = stage.directory / "stderr"
    reader = Reader(fifo)
    stage.configure()
    daemon = stage.start(["sh", "-c", 'exec "$@" 2>"$0"', str(fifo)], heard=lambda: reader.heard)
    load = stage.load(path=NOISE)
    reader.close()
    load.wait_for_more(REQUESTS)
    assert stage.tool()("reload").status == 0
    load.wait_for_more(100)
    reader.open()  # another one takes its place
    stage.lifted()
    daemon.wait(lambda: LOST in reader.heard, "what was lost is told of")
    stage.recovered()
    reader.close()
    return stage.conclude()


def access_log_fifo(stage: Stage) -> Outcome:
    """The access log is a FIFO whose reader stalls, leaves and comes back: served as ever, then lines again"""
    fifo = stage.directory / "access"
    with _reader(fifo) as reader:
        stage.configure(rest=f'[log]\naccess_log = "{fifo}"')
        daemon = stage.start()
        load = stage.load()
        reader.stall()
        load.wait_for_more(stage.size(200, 5_000))
        reader.go_on()
        daemon.wait(lambda: "GET /" in reader.heard, "lines")
        reader.close()
        load.wait_for_more(stage.size(200, 5_000))
        assert not daemon.reload(), "a new generation would find nobody who reads (ENXIO)"
        reader.open()
        stage.lifted()
        reader.heard = ""
        daemon.wait(lambda: "GET /" in reader.heard, "lines for the new reader")
        daemon.signal(signal.SIGUSR1)
        load.wait_for_more(50)
        assert daemon.reload()
        stage.recovered()
        return stage.conclude()


# Standard error becomes a stream to the journal, in a mount namespace with a journal socket of the test's own.
_TO_JOURNAL = """
import os, socket, subprocess, sys
stream, place, argv = sys.argv[1], sys.argv[2], sys.argv[3:]
subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)
os.makedirs("/run/systemd/journal")
open("/run/systemd/journal/socket", "w").close()
subprocess.run(["mount", "--bind", place, "/run/systemd/journal/socket"], check=True)
sock = socket.socket(socket.AF_UNIX)
sock.connect(stream)
os.dup2(sock.fileno(), 2)
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
os.execvp(argv[0], argv)
"""


def journal_goes_away(stage: Stage) -> Outcome:
    """The journal's socket is closed, and another takes its place: served as ever"""
    need_root()
    with tempfile.TemporaryDirectory(prefix="miniwsgi-journal-") as directory:  # it is not the daemon's
        return _with_journal(stage, Path(directory))


def _with_journal(stage: Stage, directory: Path) -> Outcome:
    place = directory / "journal"
    entries: list[str] = []
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    journal.bind(str(place))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "stream"))
        listener.listen()
        thread = threading.Thread(target=_take_entries, args=(journal, entries), daemon=True)
        thread.start()
        prefix = ["unshare", "-m", PYTHON, "-c", _TO_JOURNAL, str(directory / "stream"), str(place)]
        daemon = stage.start(prefix, heard=lambda: "\n".join(entries))
        load = stage.load(path=NOISE)
        daemon.wait(lambda: any("is ready" in entry for entry in entries), "entries")
        journal.shutdown(socket.SHUT_RDWR)
        journal.close()
        thread.join(PATIENCE_SECONDS)
        load.wait_for_more(stage.size(200, 5_000))
        assert stage.tool()("reload").status == 0
        load.wait_for_more(50)
        stage.lifted()
        stage.recovered()
        return stage.conclude()


def _take_entries(journal: socket.socket, entries: list[str]) -> None:
    while True:
        try:
            entry = journal.recv(65536)
        except OSError:
            return
        if not entry:
            return
        if MARK not in entry:
            entries.append(entry.decode("utf-8", "replace"))
