"""Real daemons for tests: started with an application and a configuration of the test's own, on free ports.

At the end each is stopped as an operator would, and must leave no process behind.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import ALONE, Daemon
from tests.support.waiting import PATIENCE_SECONDS

HELLO = """
import os, time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(float(environ["QUERY_STRING"]))
    elif environ["PATH_INFO"] == "/hold":
        open("begun", "a").close()
        while os.path.exists("held"):
            time.sleep(0.01)
    elif environ["PATH_INFO"] == "/exit":
        os._exit(int(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{VERSION} {os.getpid()}".encode()]

VERSION = "v1"
"""

# Before an application: while the imports are held, each waits until the test admits one.
HELD_IMPORT = """
import os, time

while os.path.exists("held-imports"):
    try:
        os.unlink("admitted")
        break
    except FileNotFoundError:
        time.sleep(0.01)
"""


class _Daemon(Daemon):
    """A daemon that may take its addresses from its configuration."""

    def __init__(self, directory: Path, arguments: tuple[str, ...], *, bind: bool, under: tuple[str, ...] = ()) -> None:
        super().__init__(directory, *arguments)
        self._argv[:0] = under
        if not bind:
            at = self._argv.index("--bind")
            del self._argv[at : at + 2]


class Service:
    """What a test does with daemons: write an application, serve it, ask it, break it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.daemons: list[Daemon] = []
        self._stamp = 1_700_000_000
        self.write(HELLO)

    def write(self, source: str, name: str = "app.py") -> Path:
        """A source file. Each one is seconds newer than the last, or Python would take the compiled old one."""
        path = self.directory / name
        path.write_text(textwrap.dedent(source), "utf-8")
        self._stamp += 10
        os.utime(path, (self._stamp, self._stamp))
        return path

    def configure(self, text: str) -> str:
        """A configuration file for the application; the path of it."""
        path = self.directory / "miniwsgi.toml"
        path.write_text(f'[app]\nmodule = "app"\ndirectory = "{self.directory}"\n{textwrap.dedent(text)}', "utf-8")
        return str(path)

    def hold(self) -> None:
        """From now on a request for /hold lasts until `release`."""
        (self.directory / "held").touch()

    def hold_imports(self) -> None:
        """From now on an application that begins with HELD_IMPORT is not imported before `admit` or `release`."""
        (self.directory / "held-imports").touch()

    def admit(self) -> None:
        """Let one import go on."""
        (self.directory / "admitted").touch()

    def release(self) -> None:
        """Let everything go on that was held."""
        for name in ("held", "held-imports"):
            (self.directory / name).unlink(missing_ok=True)

    def has_begun(self) -> bool:
        """Whether a request for /hold has come to the application."""
        return (self.directory / "begun").exists()

    def start(
        self, *arguments: str, bind: bool = True, environ: dict[str, str] | None = None, under: tuple[str, ...] = ()
    ) -> Daemon:
        """A daemon that is ready; `app` if no arguments say what to serve. Without `bind` its file says where.

        `under` is a command that executes it.
        """
        directory = self.directory / f"daemon{len(self.daemons)}"
        directory.mkdir()
        chdir = () if "-c" in arguments else ("app", "--chdir", str(self.directory))
        daemon = _Daemon(directory, (*chdir, *arguments), bind=bind, under=under)
        self.daemons.append(daemon)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (environ or {}).items():
                patch.setenv(name, value)
            daemon.__enter__()
        return daemon

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A daemon that is expected to end by itself: its exit status and its log."""
        chdir = () if "-c" in arguments else ("app", "--chdir", str(self.directory))
        return subprocess.run(
            [sys.executable, "-m", "miniwsgi.daemon", "serve", *chdir, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **ALONE},
            cwd=self.directory,
            timeout=PATIENCE_SECONDS,
        )

    def close(self) -> None:
        """Stop what still runs. Raises AssertionError if any of it leaves a process behind."""
        self.release()
        for daemon in self.daemons:
            daemon.processes()
            try:
                if daemon.process.poll() is None:
                    daemon.signal(signal.SIGTERM)
                    daemon.process.wait(PATIENCE_SECONDS)
                daemon.wait(lambda daemon=daemon: not daemon.survivors(), "nothing is left")  # type: ignore[misc]
            finally:
                daemon.kill()


def get(daemon: Daemon, path: str = "/", seconds: float = PATIENCE_SECONDS) -> str:
    """The body of an answer to a GET on a new connection. Raises OSError, http.client.HTTPException."""
    connection = http.client.HTTPConnection(*daemon.address, timeout=seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return f"{response.status} {response.read().decode()}" if response.status != 200 else response.read().decode()
    finally:
        connection.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """See Service."""
    service = Service(tmp_path)
    yield service
    service.close()


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same for tests that do no more than ask the same daemon."""
    service = Service(tmp_path_factory.mktemp("shared"))
    yield service
    service.close()
