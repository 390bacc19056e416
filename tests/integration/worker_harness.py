"""Workers forked straight from the test process: no master, no launcher, real sockets.

The test plays the master: it holds the listener, the scoreboard and the control channels, and it sees what the
application does through a `Record` (lines in a file) and holds it up with a `Gate` (a pipe). An application is any
function of the test module. A worker inherits nothing but what it needs.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest
from miniwsgi.daemon.channel import Channel, Message
from miniwsgi.daemon.engine.account import threads
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker.certificates import Certificates
from miniwsgi.daemon.worker.hooks import NO_HOOKS, Hooks
from miniwsgi.daemon.worker.lifecycle import run_worker
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import ACCEPTED, CLOSED, CONNECTIONS
from miniwsgi.metrics.slot import Slot

from tests.conformance.client import Response
from tests.support.engines import CHOSEN
from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .worker_client import Client

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]

POOLS: dict[str, dict[str, Any]] = {
    "epoll-1": {"pool": "epoll", "threads": 1},
    "epoll-8": {"pool": "epoll", "threads": 8},
    "prefork": {"pool": "prefork", "threads": 1},
    "fork": {"pool": "fork", "threads": 8},
}


# One for each way to wait for clients. What one thread does otherwise, tests that name epoll-1 ask, and conformance.
SHORT = ("epoll-8", "prefork", "fork")


def pools(*names: str, short: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Run the test in these pools, or in each; its argument `pool` goes to `Site.fork`.

    Those that are not in `short` (else: not named, and not in SHORT) are for the long run.
    """
    now = short or names or SHORT
    return pytest.mark.parametrize(
        "pool", [name if name in now else pytest.param(name, marks=pytest.mark.full) for name in names or POOLS]
    )


class Record:
    """Lines that the application writes, in order, from any process and thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, text: object) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, f"{text}\n".encode())
        os.close(fd)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def wait(self, count: int) -> list[str]:
        """All lines, once there are that many."""
        return wait_for(lambda: len(lines := self.lines()) >= count and lines, f"{count} lines", story=self.lines)


class Gate:
    """Where the application waits until the test lets it pass."""

    def __init__(self) -> None:
        self.fds = (*os.pipe2(os.O_NONBLOCK), *os.pipe2(os.O_NONBLOCK))  # who may pass, and who has come

    def come(self) -> None:
        """Called by the application: it is there, see `wait_for_those_who_come`."""
        os.write(self.fds[3], b".")

    def wait_for_those_who_come(self, count: int) -> None:
        """A request that runs has yet to come to where it waits. Raises AssertionError."""
        for number in range(count):
            came = select.select([self.fds[2]], [], [], PATIENCE_SECONDS)[0]
            assert came, f"{number} of {count} have come to the gate"
            os.read(self.fds[2], 1)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> None:
        os.write(self.fds[3], b".")
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            select.select([self.fds[0]], [], [], seconds)
            try:
                os.read(self.fds[0], 1)
            except BlockingIOError:
                continue  # another thread was faster
            return
        raise TimeoutError("the gate stayed closed")

    def keep_the_interpreter(self) -> None:
        """Wait as C code may: nothing else of Python runs in this process until the gate has been opened."""
        descriptor = ctypes.create_string_buffer(struct.pack("ihh", self.fds[0], select.POLLIN, 0))
        ctypes.PyDLL(None).poll(descriptor, 1, -1)

    def open(self, count: int = 1) -> None:
        os.write(self.fds[1], b"." * count)

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


def links(pid: int) -> list[str]:
    """What the descriptors of a process are."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(fd))
        except FileNotFoundError:
            pass
    return found


class Worker:
    """One worker process, seen as its master sees it."""

    def __init__(self, pid: int, slot: Slot, control: Channel, log: Path) -> None:
        self.pid = pid
        self.slot = slot
        self.cells = slot.cells
        self.control = control
        self.log_path = log
        self.process = psutil.Process(pid)
        self._pidfd = os.pidfd_open(pid)
        self._heard: list[Message] = []
        self._status: int | None = None

    def __repr__(self) -> str:
        return f"<Worker pid={self.pid} {self.slot}>"

    def tell(self, kind: str, **fields: Any) -> None:
        self.control.send(kind, **fields)

    def message(self, kind: str, seconds: float = PATIENCE_SECONDS) -> Message:
        """The next message of this kind. Raises AssertionError if there is none."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self._heard:
                if message["kind"] == kind:
                    self._heard.remove(message)
                    return message
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.control.fileno()], [], [], left)[0]
            assert ready, f"no {kind!r} within {seconds} s, but {self._heard}; log:\n{self.log()}"
            received = self.control.receive()
            assert received is not None, f"no {kind!r} before the end, but {self._heard}; log:\n{self.log()}"
            self._heard.append(received[0])

    def heard(self, kind: str) -> bool:
        """Whether such a message has come by now."""
        while select.select([self.control.fileno()], [], [], 0)[0]:
            received = self.control.receive()
            if received is None:
                break
            self._heard.append(received[0])
        return any(message["kind"] == kind for message in self._heard)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit status (negative: a signal). Raises AssertionError if it does not end."""
        if self._status is None:
            ended = select.select([self._pidfd], [], [], seconds)[0]
            assert ended, f"the worker has not ended within {seconds} s; log:\n{self.log()}"
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def alive(self) -> bool:
        return not select.select([self._pidfd], [], [], 0)[0]

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def at_rest(self, connections: int = 1) -> list[str]:
        """Its descriptors when so many connections have come and gone."""
        cells = self.cells
        wait_for(lambda: cells[ACCEPTED] == cells[CLOSED] == connections and not cells[CONNECTIONS])
        return self.descriptors()

    def descriptors(self) -> list[str]:
        """What its descriptors are, sorted; but for a turn's timer, which is there once it was needed."""
        return sorted(each for each in links(self.pid) if each != "anon_inode:[timerfd]")

    def wait_for_descriptors(self, wanted: list[str]) -> None:
        """Raises AssertionError if it does not come back to these."""
        wait_for(lambda: self.descriptors() == wanted, f"only {wanted}", story=self.descriptors)

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def signal(self, number: int) -> None:
        signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Kill it, and what it has forked, if it is still there."""
        if self._status is None:
            try:
                family = [self.process, *self.process.children(recursive=True)]
            except psutil.NoSuchProcess:
                family = []
            for process in family:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    pass
            self.wait()
        self.control.close()
        os.close(self._pidfd)


class Site:
    """A listener and a scoreboard; workers are forked and clients connected through it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.listener = socket.socket()
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(1024)
        self.address: tuple[str, int] = self.listener.getsockname()
        self.board = Board.create()
        self.record = Record(directory / "record")
        self.workers: list[Worker] = []
        self._gates: list[Gate] = []
        self._clients: list[Client] = []

    def as_listener(self, **options: Any) -> Listener:
        """Ours, as workers know it."""
        name, port = self.address[0], str(self.address[1])
        return Listener(self.listener.fileno(), f"{name}:{port}", False, name, port, **options)

    def gate(self) -> Gate:
        """A gate for workers that are forked afterwards."""
        self._gates.append(Gate())
        return self._gates[-1]

    def fork(
        self,
        application: Application,
        pool: str = "epoll-8",
        *,
        prepare: Callable[[], object] = lambda: None,
        slot: int | None = None,
        ready: bool = True,
        hooks: Hooks = NO_HOOKS,
        certificates: Certificates | None = None,
        **settings: Any,
    ) -> Worker:
        """A worker that is ready. `prepare` is called in it first: the place for patches."""
        slot = len(self.workers) if slot is None else slot
        listener = self.as_listener()
        chosen = Settings(
            **{
                "generation": 1,
                "listeners": (listener,),
                "scoreboard_fd": self.board.fd,
                "module": "",
                "directory": "",
                "engine": CHOSEN,
                **POOLS[pool],
                **settings,
            }
        )
        claimed = self.board.claim(slot)
        masters_end, workers_end = Channel.pair()
        stacks = os.pipe()
        log = self.directory / f"worker-{slot}-{len(self.workers)}.log"
        kept = [workers_end.fileno(), stacks[1], self.board.fd, *(each.fd for each in chosen.listeners)]
        kept += [each.tls.fd for each in chosen.listeners if each.tls is not None]
        kept += [fd for gate in self._gates for fd in gate.fds]
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            _become_worker(chosen, slot, workers_end, application, stacks[1], prepare, kept, log, hooks, certificates)
        workers_end.close()
        for fd in stacks:
            os.close(fd)
        worker = Worker(pid, claimed, masters_end, log)
        self.workers.append(worker)
        if ready:
            assert worker.message("ready")["engine"] == choose(chosen.engine).name
            worker.tell("serve")
        return worker

    def connect(self, *, receive_bytes: int = 0) -> Client:
        client = Client(self.address, receive_bytes=receive_bytes)
        self._clients.append(client)
        return client

    def get(self, path: str, *fields: str) -> Response:
        """The answer on a connection of its own."""
        client = self.connect().get(path, *fields)
        response = client.answer()
        client.close()
        return response

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        for client in self._clients:
            client.close()
        for gate in self._gates:
            gate.close()
        self.listener.close()
        os.close(self.board.fd)


def _become_worker(
    settings: Settings,
    slot: int,
    control: Channel,
    application: Application,
    stack_fd: int,
    prepare: Callable[[], object],
    kept: list[int],
    log: Path,
    hooks: Hooks,
    certificates: Certificates | None,
) -> NoReturn:
    """In the child: leave the test run behind."""
    try:
        # Garbage of the test run has descriptors that are closed below: collected later, it would close those of the
        # worker that got their numbers.
        gc.freeze()
        threads.clear()  # which are the test run's: a thread of the application may get the number of one
        fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for standard in (1, 2):
            os.dup2(fd, standard)
        for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if number > 2 and number not in kept:
                try:
                    os.close(number)
                except OSError:
                    pass  # the directory's own
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", closefd=False)
        atexit._clear()
        for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.settrace(None)
        prepare()
        run_worker(
            settings, slot, control, choose(settings.engine), application, stack_fd,
            hooks=hooks, certificates=certificates,
        )  # fmt: skip
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(70)


@pytest.fixture(name="site")
def made_site(tmp_path: Path) -> Iterator[Site]:
    """A site whose workers end with the test; after a failure their logs are shown."""
    made = Site(tmp_path)
    yield made
    made.close()
    for worker in made.workers:
        if text := worker.log():
            print(f"--- {worker.log_path.name}\n{text}")
