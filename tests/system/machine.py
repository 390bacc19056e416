"""A lab in which miniwsgi is installed, and what tests do with its services: configure, serve, ask, break.

A service is named by its instance: "miniwsgi" is miniwsgi.service, "shop" is miniwsgi@shop.service.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import threading
from pathlib import Path

from tests.support.control import UnixConnection
from tests.support.lab import Lab
from tests.support.waiting import PATIENCE_SECONDS

from .installation import PLACE, install_units

PROBE = Path(__file__).with_name("probe_app.py")
MAIN = "miniwsgi"
# Where the daemon listens by itself; under a socket unit it is "systemd:http".
OWN_SOCKET = "unix:/run/miniwsgi/{name}/http.sock"
METRICS = "unix:/run/miniwsgi/{name}/metrics.sock"
SYSTEMD_SOCKET = "systemd:http"


class Machine(Lab):
    """`installation` is the directory that `install` has filled."""

    def __init__(self, directory: Path, installation: Path) -> None:
        super().__init__(directory, {PLACE: installation})
        install_units(self.seed)

    # --- what is put in place: before the boot below `seed`, later in the lab ---

    def place(self, path: str) -> Path:
        return self.path(path) if self.is_booted else self.seed / path.removeprefix("/")

    def application(self, name: str = MAIN, folder: Path | None = None) -> None:
        """An application in /srv/NAME: the probe, or a copy of a folder."""
        target = self.place(f"/srv/{name}")
        if folder is not None:
            shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True)
            shutil.copy(PROBE, target / "app.py")

    def version(self, version: str, name: str = MAIN) -> None:
        """New code for the probe."""
        source = PROBE.read_text("utf-8").replace('VERSION = "v1"', f'VERSION = "{version}"')
        self.write(self.place(f"/srv/{name}/app.py"), source)
        shutil.rmtree(self.place(f"/srv/{name}/__pycache__"), ignore_errors=True)

    def configure(
        self, name: str = MAIN, *, bind: str = OWN_SOCKET, module: str = "app", workers: int = 2, rest: str = ""
    ) -> None:
        """/etc/miniwsgi/NAME.toml."""
        self.write(
            self.place(f"/etc/miniwsgi/{name}.toml"),
            f'[app]\nmodule = "{module}"\ndirectory = "/srv/{name}"\n\n'
            f'[server]\nbind = ["{bind.format(name=name)}"]\nworkers = {workers}\nthreads = 4\n\n'
            f'[metrics]\nbind = "{METRICS.format(name=name)}"\n\n{rest}\n',
        )

    def drop_in(self, unit: str, text: str) -> None:
        """What an administrator changes in a unit."""
        self.write(self.place(f"/etc/systemd/system/{unit}.d/test.conf"), text)
        if self.is_booted:
            self.do("systemctl", "daemon-reload")

    def switch(self, what: str, on: bool, name: str = MAIN) -> None:
        """Switches of the probe: held, held-imports, broken."""
        switch = self.place(f"/srv/{name}/{what}")
        if on:
            switch.touch()
        else:
            switch.unlink()

    def enable(self, *units: str) -> None:
        """What comes up with the machine: to be said before it boots."""
        command = ["systemctl", f"--root={self.seed}", "enable", *units]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_SECONDS)

    # --- a service ---

    @staticmethod
    def unit(name: str = MAIN, kind: str = "service") -> str:
        return f"{MAIN}.{kind}" if name == MAIN else f"{MAIN}@{name}.{kind}"

    def systemctl(self, verb: str, name: str = MAIN) -> None:
        """A verb for a service that must succeed."""
        self.do("systemctl", verb, self.unit(name))

    def state(self, name: str = MAIN) -> tuple[str, str]:
        shown = self.do("systemctl", "show", "--property=ActiveState,SubState", self.unit(name))
        found = dict(line.split("=", 1) for line in shown.splitlines())
        return found["ActiveState"], found["SubState"]

    def wait_for_workers(self, ready: int, name: str = MAIN) -> None:
        """Until the status line says that all of so many are ready; the start waits for the first one alone."""
        text = f"{ready} of {ready} workers ready"
        self.wait(lambda: text in self.property(self.unit(name), "StatusText"), text)

    def wait_for_state(self, active: str, sub: str, name: str = MAIN) -> None:
        self.wait(lambda: self.state(name) == (active, sub), f"{self.unit(name)} is {active} ({sub})")

    def master(self, name: str = MAIN) -> int:
        """The master's pid in the lab, 0 without one."""
        return int(self.property(self.unit(name), "MainPID"))

    def restarts(self, name: str = MAIN) -> int:
        """How often systemd has started it again by itself."""
        return int(self.property(self.unit(name), "NRestarts"))

    def ctl(self, *arguments: str) -> str:
        """A command of miniwsgictl that must succeed, however slow the machine is."""
        return self.do("miniwsgictl", f"--timeout={PATIENCE_SECONDS:g}", *arguments)

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that goes on while the test does."""
        return subprocess.Popen(self.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    # --- its clients ---

    def address(self, name: str = MAIN, bind: str = OWN_SOCKET) -> str:
        """The path by which a client out here reaches its Unix socket."""
        place = f"/run/miniwsgi/{name}.sock" if bind == SYSTEMD_SOCKET else bind.format(name=name)[len("unix:") :]
        return str(self.path(place))

    def get(self, path: str = "/", name: str = MAIN, bind: str = OWN_SOCKET) -> str:
        """The body of an answer with status 200; else "STATUS BODY". Raises OSError, http.client.HTTPException."""
        return ask(self.address(name, bind), "GET", path)

    def attempt(self, code: str, name: str = MAIN, bind: str = OWN_SOCKET) -> str:
        """What becomes of code that runs in the application: its `result`, or the error's name and errno."""
        return ask(self.address(name, bind), "POST", "/attempt", code.encode())

    def metric(self, series: str, name: str = MAIN) -> float:
        """A value of /metrics; 0 if it is not there."""
        page = ask(str(self.path(METRICS.format(name=name)[len("unix:") :])), "GET", "/metrics")
        found = re.search(rf"^{re.escape(series)} (\S+)", page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def begun(self, name: str = MAIN) -> int:
        """How many requests for /hold have come to the application."""
        path = self.path(f"/var/lib/miniwsgi/{name}/begun")
        return path.stat().st_size if path.exists() else 0


def ask(
    socket_path: str,
    method: str,
    path: str,
    body: bytes | None = None,
    sent: threading.Event | None = None,
    headers: dict[str, str] | None = None,
) -> str:
    """A request over a Unix socket: the body of an answer with status 200, else "STATUS BODY"."""
    connection = UnixConnection(Path(socket_path))
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else headers or {})
        if sent is not None:
            sent.set()
        response = connection.getresponse()
        text = response.read().decode()
        return text if response.status == 200 else f"{response.status} {text}"
    finally:
        connection.close()


class Client(threading.Thread):
    """A request that waits for its answer beside the test. `sent`: it is on its way, and the service's to answer."""

    def __init__(self, socket_path: str, path: str) -> None:
        super().__init__(daemon=True)
        self.sent = threading.Event()
        self._what = socket_path, path
        self._answer = ""
        self.start()

    def run(self) -> None:
        try:
            self._answer = ask(self._what[0], "GET", self._what[1], sent=self.sent)
        except (OSError, http.client.HTTPException) as error:
            self._answer = repr(error)

    @property
    def answer(self) -> str:
        """Waits for it; the error's repr if there was none."""
        self.join(PATIENCE_SECONDS)
        return self._answer
