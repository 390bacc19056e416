"""The daemon as a container's first process (PID 1): it is the init of whatever the application starts and leaves.

A PID namespace of its own stands for the container (unshare(1)): PID 1 has no default dispositions there, inherits
all orphans, and with it everything ends.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import ALONE, Daemon, is_alive
from tests.support.service import Service, get
from tests.support.waiting import PATIENCE_SECONDS

NAMESPACE = ["--pid", "--fork", "--mount-proc", "--kill-child"]


@functools.cache
def unshare() -> tuple[str, ...]:
    """The command that a PID namespace takes here; empty if none is permitted."""
    for command in (["unshare", *NAMESPACE], ["unshare", "--user", "--map-root-user", *NAMESPACE]):
        try:
            if subprocess.run([*command, "true"], capture_output=True, timeout=PATIENCE_SECONDS).returncode == 0:
                return tuple(command)
        except OSError:
            return ()
    return ()


pytestmark = pytest.mark.skipif(not unshare(), reason="this machine permits no PID namespace (unshare --pid)")

ORPHANS = """
import os, signal, time

ORDERS = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH, signal.SIGCONT]

def orphan(mode):
    \"\"\"A grandchild whose parent has left: it ends once `held` is gone.\"\"\"
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "stubborn" else signal.SIG_DFL)
            if mode == "listening":
                for number in ORDERS:
                    signal.signal(number, lambda number, _frame: open("heard", "a").write(f"{number}\\n"))
            with open("orphans", "a") as orphans:
                orphans.write("orphan\\n")
            while os.path.exists("held"):
                time.sleep(0.01)
        os._exit(0)
    os.waitpid(child, 0)

def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/orphan":
        orphan(query)
    elif path == "/hold":
        open("begun", "a").close()
        while os.path.exists("held"):
            time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{VERSION} {os.getpid()} {os.getppid()}".encode()]

VERSION = "v1"
"""

LEAVES_A_ZOMBIE = """
import os, sys
child = os.fork()
if child == 0:
    os._exit(0)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Container(Daemon):
    """A daemon that is PID 1 of a namespace of its own. `process` is the runtime: its exit status is the daemon's."""

    def __init__(self, directory: Path, *arguments: str, entry: tuple[str, ...] = ()) -> None:
        """`entry` is the entry point: a command that executes the daemon."""
        super().__init__(directory, *arguments)
        self._argv[:0] = [*unshare(), *entry]

    @property
    def init(self) -> psutil.Process:
        """PID 1, as it is called outside."""
        (first,) = psutil.Process(self.process.pid).children()
        return first

    def signal(self, number: signal.Signals) -> None:
        """What `docker stop`, `docker kill` and the kubelet do: a signal to PID 1, from outside."""
        self.init.send_signal(number)

    def orphans(self) -> list[psutil.Process]:
        """The children of PID 1 that are no launchers, zombies included."""
        found = []
        for child in self.init.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # reaped between two looks
                if child.name() != "mw-launcher":
                    found.append(child)
        return found

    def status(self) -> int:
        """The exit status, once it has ended."""
        return self.process.wait(PATIENCE_SECONDS)


class Containers:
    """Starts them, and sees to it that none is left."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.started: list[Container] = []

    def run(self, *arguments: str, entry: tuple[str, ...] = ()) -> Container:
        """One that serves the application and is ready."""
        directory = self.service.directory / f"container{len(self.started)}"
        directory.mkdir()
        container = Container(directory, "app", "--chdir", str(self.service.directory), *arguments, entry=entry)
        self.started.append(container)
        container.__enter__()
        return container

    def run_to_end(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One that is expected to end by itself."""
        return subprocess.run(
            [*unshare(), sys.executable, "-m", "miniwsgi.daemon", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.service.directory,
            env={**os.environ, **ALONE},
            timeout=PATIENCE_SECONDS,
        )


@pytest.fixture
def containers(service: Service) -> Iterator[Containers]:
    service.write(ORPHANS)
    containers = Containers(service)
    yield containers
    service.release()
    for container in containers.started:
        container.kill()
        assert not container.survivors()


def ask(container: Container, path: str) -> Callable[[], str]:
    """Ask in the background; what is returned waits for the answer."""
    answers: list[str] = []

    def run() -> None:
        try:
            answers.append(get(container, path))
        except (OSError, http.client.HTTPException) as error:
            answers.append(f"cut off: {error!r}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def answer() -> str:
        thread.join(PATIENCE_SECONDS)
        return answers[0]

    return answer


def begin(containers: Containers, container: Container) -> Callable[[], str]:
    """A request that lasts until it is released, and runs."""
    containers.service.hold()
    answer = ask(container, "/hold")
    container.wait(containers.service.has_begun, "the request runs")
    return answer


# --- orphans ----------------------------------------------------------------------------------------------------------


def test_orphans_become_its_children_and_are_reaped(containers: Containers) -> None:
    container = containers.run("--workers", "2")
    containers.service.hold()
    for _ in range(20):
        assert get(container, "/orphan").startswith("v1 ")
    container.wait(lambda: len(container.orphans()) == 20, "20 orphans")
    containers.service.release()
    container.wait(lambda: not container.orphans(), "no orphan, not even a zombie")
    assert get(container).startswith("v1 "), "it serves on"
    assert container.stop() == 0
    assert "has crashed" not in container.log()


def test_zombies_of_the_script_that_executed_it_are_reaped(containers: Containers) -> None:
    container = containers.run(entry=(sys.executable, "-c", LEAVES_A_ZOMBIE))
    container.wait(lambda: not container.orphans(), "the zombie is reaped")
    assert container.init.children(), "its launcher"
    assert container.stop() == 0


@pytest.mark.parametrize("mode", ["polite", "stubborn"])
def test_a_stop_ends_orphans_that_still_run(mode: str, containers: Containers) -> None:
    container = containers.run("--workers", "1")
    containers.service.hold()
    get(container, f"/orphan?{mode}")
    container.wait((containers.service.directory / "orphans").exists, "the orphan runs")
    container.processes()
    assert container.stop() == 0
    if mode == "stubborn":  # a polite one may take too long on a busy machine, too
        assert "killed processes that were still running" in container.log()
    assert not container.survivors()


def test_another_users_orphan_does_not_disturb_a_stop(containers: Containers) -> None:
    """What another user starts by `docker exec` and leaves is the child of a daemon that may not signal it."""
    if os.geteuid() != 0 or shutil.which("nsenter") is None or shutil.which("setpriv") is None:
        pytest.skip("only root can start something as another user (nsenter, setpriv)")
    container = containers.run("--workers", "1", entry=("setpriv", "--bounding-set=-kill"))
    enter = ["nsenter", "--target", str(container.init.pid), "--pid"]
    leave = ["setpriv", "--reuid", "65534", "--clear-groups", "sh", "-c", "sleep 1000 & exit 0"]
    subprocess.run([*enter, *leave], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    container.wait(lambda: [orphan.name() for orphan in container.orphans()] == ["sleep"], "their orphan")
    container.processes()
    assert container.stop() == 0
    assert "Traceback" not in container.log()
    container.wait(lambda: not container.survivors(), "the namespace has ended")


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_runs(number: signal.Signals, containers: Containers) -> None:
    container = containers.run("--workers", "1")
    answer = begin(containers, container)
    container.signal(number)
    container.wait_for_log(f"stop is asked for by {number.name}")
    containers.service.release()
    assert container.status() == 0
    assert answer().startswith("v1 ")


def test_a_second_stop_is_at_once(containers: Containers) -> None:
    container = containers.run("--workers", "1", "--set", "timeouts.graceful=1h")
    answer = begin(containers, container)
    container.signal(signal.SIGTERM)
    container.wait_for_log("stop is asked for by SIGTERM")
    container.signal(signal.SIGTERM)
    assert container.status() == 0
    assert answer().startswith("cut off")


def test_sigquit_stops_at_once(containers: Containers) -> None:
    container = containers.run("--workers", "1", "--set", "timeouts.graceful=1h")
    answer = begin(containers, container)
    container.signal(signal.SIGQUIT)
    assert container.status() == 0
    assert answer().startswith("cut off")


def test_sighup_reloads(containers: Containers) -> None:
    container = containers.run("--workers", "1")
    before = container.init.pid
    containers.service.write(ORPHANS.replace('"v1"', '"v2"'))
    assert container.reload()
    container.wait(lambda: get(container).startswith("v2 "), "the new code answers")
    assert container.init.pid == before
    assert container.stop() == 0


def test_a_stop_during_the_start_is_not_lost(containers: Containers) -> None:
    """Here the daemon still reads its configuration; until it has handlers, the kernel would drop the signal."""
    pipe = containers.service.directory / "miniwsgi.toml"
    os.mkfifo(pipe)
    directory = containers.service.directory / "container"
    directory.mkdir()
    container = Container(directory, "-c", str(pipe), "app", "--chdir", str(containers.service.directory))
    containers.started.append(container)

    def start() -> None:
        with contextlib.suppress(AssertionError):  # it never becomes ready
            container.__enter__()

    started = threading.Thread(target=start, daemon=True)
    started.start()
    with pipe.open("w") as configuration:  # waits for the daemon to open it
        container.wait(lambda: hasattr(container, "process"), "its process is known here")
        container.signal(signal.SIGTERM)
        configuration.write("[server]\nworkers = 1\n")
    started.join(PATIENCE_SECONDS)
    assert container.status() == 0
    assert "stop is asked for by SIGTERM" in container.log()


def test_what_is_not_its_business_is_neither_obeyed_nor_forwarded(containers: Containers) -> None:
    container = containers.run("--workers", "1")
    containers.service.hold()
    get(container, "/orphan?listening")
    container.wait((containers.service.directory / "orphans").exists, "the orphan runs")
    before = get(container)
    for number in (signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH, signal.SIGCONT, signal.SIGUSR1, signal.SIGHUP):
        container.signal(number)
    container.wait_for_log("reload: done")  # it has been through all of them
    assert get(container).split()[0] == before.split()[0]
    assert not (containers.service.directory / "heard").exists()
    assert is_alive(container.orphans()[0])
    containers.service.release()
    assert container.stop() == 0


# --- exit statuses ----------------------------------------------------------------------------------------------------


def test_status_1_a_port_in_use(containers: Containers) -> None:
    container = containers.run("--workers", "1")
    second = containers.run_to_end("serve", "app", "--bind", f"127.0.0.1:{container.port}")
    assert second.returncode == 1, second.stderr
    assert f"port {container.port} is in use" in second.stderr


def test_status_2_a_mistake_in_the_configuration(containers: Containers) -> None:
    ended = containers.run_to_end("serve", "app", "--set", "server.workers=many")
    assert ended.returncode == 2, ended.stderr


@pytest.mark.parametrize("preload", ["true", "false"])
def test_status_3_an_application_that_does_not_boot(preload: str, containers: Containers) -> None:
    containers.service.write("import no_such_module\n")
    ended = containers.run_to_end("serve", "app", "--bind", "unix:http.sock", "--preload", preload)
    assert ended.returncode == 3, ended.stderr
    assert "no module named 'no_such_module'" in ended.stderr
