"""The file-descriptor store: a master that is started where another one stopped or died goes on with what it left.

The service manager is played by the test, with systemd's protocol (sd_notify(3), sd_listen_fds(3)).
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import ALONE, Daemon
from tests.support.load import Load
from tests.support.metrics_client import Metrics, requests
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

from .test_metrics_live import LOADED

EXEC = """
import os, sys
names = sys.argv[1].split(":") if sys.argv[1] else []
if names:
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
os.execv(sys.executable, [sys.executable, "-m", "miniwsgi.daemon", "serve", *sys.argv[2:]])
"""


class Manager:
    """Keeps what the daemon stores, and passes it to the next one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.runtime = directory / "run"
        self.runtime.mkdir()
        self.store: dict[str, int] = {}
        self.removed: list[str] = []
        self.log_path = directory / "log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.process: subprocess.Popen[bytes] | None = None

    def _listen(self) -> None:
        while True:
            data, fds, _flags, _address = socket.recv_fds(self._notify, 65536, 8)
            for fd in fds:
                os.set_inheritable(fd, False)
            lines = dict(line.partition("=")[::2] for line in data.decode().splitlines())
            name = lines.get("FDNAME", "")
            if "FDSTORE" in lines:
                if name in self.store:
                    os.close(self.store.pop(name))
                [self.store[name]] = fds
            elif "FDSTOREREMOVE" in lines:
                self.removed.append(name)
                if name in self.store:
                    os.close(self.store.pop(name))
            elif "END" in lines:
                return
            if "READY" in lines:
                self._ready.set()

    def start(self, *arguments: str, stored: bool = True) -> int:
        """A daemon that is ready; its pid."""
        self._ready.clear()
        names = list(self.store) if stored else []
        fds = [self.store[name] for name in names]

        def place() -> None:
            """In the child: from descriptor 3 on, as sd_listen_fds(3) has it."""
            copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3 + len(fds)) for fd in fds]  # each a new number
            for number, fd in enumerate(copies):
                os.dup2(fd, 3 + number)

        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", EXEC, ":".join(names), "app", "--chdir", str(self.directory), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    **ALONE,
                    "NOTIFY_SOCKET": str(self.directory / "notify"),
                    "RUNTIME_DIRECTORY": str(self.runtime),
                },
                close_fds=False,
                preexec_fn=place,  # noqa: PLW1509
            )
        assert self._ready.wait(PATIENCE_SECONDS), self.log()
        return self.process.pid

    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def wait_for_log(self, text: str) -> None:
        """A line is written by a thread of its own, perhaps later than what it tells of."""
        as_daemon(self).wait(lambda: text in self.log(), repr(text))

    def end(self, number: signal.Signals) -> int:
        """Signal the daemon, and wait for its end and that of its processes."""
        assert self.process is not None
        daemon = as_daemon(self)
        daemon.processes()
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE_SECONDS)
        daemon.wait(lambda: not daemon.survivors(), "the end of its processes")
        return status

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGTERM)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"END=1", str(self.directory / "notify"))
        self._thread.join(PATIENCE_SECONDS)
        self._notify.close()
        for fd in self.store.values():
            os.close(fd)


@pytest.fixture
def manager(service: Service) -> Iterator[Manager]:
    service.write(LOADED)
    made = Manager(service.directory)
    yield made
    made.close()


def ask(connect: Callable[[], socket.socket]) -> bytes:
    """One request and its answer."""
    with connect() as sock:
        return talk(sock)


def talk(sock: socket.socket) -> bytes:
    sock.settimeout(PATIENCE_SECONDS)
    sock.sendall(b"GET /?token=t HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    while data := sock.recv(65536):
        answer += data
    return answer


def port_of(manager: Manager) -> int:
    """Of the daemon that was started last."""
    assert manager.process is not None
    line = rf"listening on http://127\.0\.0\.1:(\d+) .*pid {manager.process.pid}\)"
    as_daemon(manager).wait(lambda: re.search(line, manager.log()), "its port")
    found = re.search(line, manager.log())
    assert found is not None
    return int(found[1])


def as_daemon(manager: Manager) -> Daemon:
    """For its ways to wait."""
    daemon = Daemon.__new__(Daemon)
    daemon.log = manager.log  # type: ignore[method-assign]
    assert manager.process is not None
    daemon.process, daemon._known = manager.process, {}
    return daemon


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_tcp_listener_and_its_queue_outlast_the_master(manager: Manager, number: signal.Signals) -> None:
    manager.start("--bind", "127.0.0.1:0", "--workers", "1")
    port = port_of(manager)
    connect = lambda: socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)  # noqa: E731
    assert ask(connect).startswith(b"HTTP/1.1 200")
    assert len([name for name in manager.store if "listener" in name]) == 1
    manager.end(number)
    if number is signal.SIGTERM:
        [fd] = [fd for name, fd in manager.store.items() if "listener" in name]
        with socket.socket(fileno=os.dup(fd)) as stored:
            stored.listen(16)  # the queue was made short for the end, and a client's second attempt takes a second
    queued = connect()
    manager.start("--bind", "127.0.0.1:0", "--workers", "1")
    assert port_of(manager) == port
    manager.wait_for_log("taken over from the last start")
    with queued:
        assert talk(queued).startswith(b"HTTP/1.1 200")


def test_a_unix_socket_is_there_while_nobody_serves(manager: Manager) -> None:
    path = manager.runtime / "http.sock"

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(str(path))
        return sock

    manager.start("--bind", f"unix:{path}", "--workers", "1")
    assert ask(connect).startswith(b"HTTP/1.1 200")
    for number in (signal.SIGTERM, signal.SIGKILL):
        manager.end(number)
        queued = connect()
        manager.start("--bind", f"unix:{path}", "--workers", "1")
        with queued:
            assert talk(queued).startswith(b"HTTP/1.1 200")
        assert ask(connect).startswith(b"HTTP/1.1 200")


def test_a_unix_socket_elsewhere_is_removed_at_the_end(manager: Manager) -> None:
    path = manager.directory / "elsewhere.sock"
    manager.start("--bind", f"unix:{path}")
    manager.end(signal.SIGTERM)
    assert not path.exists()


def test_a_listener_whose_path_is_anothers_by_now_is_not_taken_over(manager: Manager) -> None:
    path = manager.runtime / "http.sock"
    manager.start("--bind", f"unix:{path}")
    manager.end(signal.SIGKILL)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))  # and does not listen: stale
    manager.start("--bind", f"unix:{path}")
    assert "taken over" not in manager.log()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        assert talk(sock).startswith(b"HTTP/1.1 200")


def test_what_is_configured_no_more_leaves_the_store(manager: Manager) -> None:
    first, second = manager.runtime / "1.sock", manager.runtime / "2.sock"
    manager.start("--bind", f"unix:{first}")
    before = set(manager.store)
    manager.end(signal.SIGTERM)
    manager.start("--bind", f"unix:{second}")
    after = set(manager.store)
    assert {name for name in before - after if "listener" in name} == set(manager.removed)
    assert len(before) == len(after) == 2
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(str(first))


def test_a_reload_that_changes_binds_changes_the_store(manager: Manager) -> None:
    first, second = manager.runtime / "1.sock", manager.runtime / "2.sock"
    configuration = manager.directory / "c.toml"
    configuration.write_text(f'[server]\nbind = ["unix:{first}", "unix:{second}"]\n')
    pid = manager.start("-c", str(configuration))
    as_daemon(manager).wait(lambda: len(manager.store) == 3, "two listeners and the scoreboard")
    configuration.write_text(f'[server]\nbind = ["unix:{second}"]\n')
    os.kill(pid, signal.SIGHUP)
    as_daemon(manager).wait(lambda: len(manager.store) == 2 and not first.exists(), "the first listener to go")
    assert second.exists()


def test_counters_and_scale_go_on(manager: Manager) -> None:
    metrics = Metrics(manager.directory)
    arguments = ("--bind", "127.0.0.1:0", "--workers", "2", *metrics.arguments)
    pid = manager.start(*arguments)
    with Load(("127.0.0.1", port_of(manager)), connections=4) as load:
        load.wait_for_more(200)
        os.kill(pid, signal.SIGTTIN)
        report = load.stop()
    daemon = as_daemon(manager)
    daemon.wait(lambda: requests(metrics.scrape()) == report.answered, "all requests to be counted")
    daemon.wait(lambda: metrics.scrape()['miniwsgi_workers{state="ready"}'] == 3, "three workers")
    manager.end(signal.SIGKILL)
    manager.start(*arguments)
    daemon.wait(lambda: metrics.scrape()['miniwsgi_workers{state="ready"}'] == 3, "three workers again")
    series = metrics.scrape()
    assert requests(series) == report.answered
    assert series["miniwsgi_connections"] == 0
    manager.end(signal.SIGTERM)
    manager.start(*arguments, stored=False)
    series = metrics.scrape()
    assert requests(series) == 0
    assert series["miniwsgi_workers_target"] == 2


def test_a_scoreboard_of_another_layout_is_discarded(manager: Manager) -> None:
    fd = os.memfd_create("other")
    os.write(fd, b"of another version")
    manager.store["miniwsgi.scoreboard"] = fd
    manager.start("--bind", "127.0.0.1:0")
    manager.wait_for_log("the counters of the last start are not taken over")
    assert "miniwsgi.scoreboard" in manager.removed
    assert os.fstat(manager.store["miniwsgi.scoreboard"]).st_size > 4096
