"""A lab for the Debian package: it is at hand there, not installed; and clients that notice what an upgrade loses."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.support.lab import Lab
from tests.support.waiting import PATIENCE_SECONDS

PACKAGE = "/root/miniwsgi.deb"
NEWER = "/root/newer.deb"
CLIENT = "steady_client.py"
PYTHON = "/usr/bin/python3"
UNDER_LOAD_SECONDS = 10 * PATIENCE_SECONDS  # a package is unpacked and compiled while others compute


class Debian(Lab):
    """`package` is the path of a built package, on this machine."""

    def __init__(self, directory: Path, package: Path) -> None:
        super().__init__(directory)
        root = self.seed / "root"
        root.mkdir()
        shutil.copy(package, self.seed / PACKAGE[1:])
        shutil.copy(Path(__file__).with_name(CLIENT), root)

    def __enter__(self) -> Debian:
        super().__enter__()
        self.path("/usr/sbin/policy-rc.d").unlink(missing_ok=True)  # a container's: "start no services"
        self.path("/var/lib/man-db/auto-update").unlink(missing_ok=True)  # of all of the machine's man pages
        return self

    def dpkg(self, *arguments: str) -> None:
        """Install, remove or purge; it must succeed."""
        done = subprocess.run(
            self.command("dpkg", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=UNDER_LOAD_SECONDS,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        assert done.returncode == 0, f"dpkg {arguments}:\n{done.stdout}"

    def install(self, package: str = PACKAGE) -> None:
        self.dpkg("--force-confold", "--install", package)  # a configuration that is there already stays

    def put(self, place: str, text: str, mode: int = 0o644) -> None:
        """A file of the lab, in one step, in directories that are made."""
        path = self.path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.new")
        scratch.write_text(text, "utf-8")
        scratch.chmod(mode)
        scratch.rename(path)

    def application(self, directory: str, body: str) -> None:
        """An application that answers with the body."""
        self.put(
            f"{directory}/wsgi.py",
            "def application(environ, start_response):\n"
            "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
            f"    return [{body.encode()!r}]\n",
        )

    def configure(self, name: str, directory: str, bind: str, *, python: str = PYTHON, log: str = "") -> None:
        """/etc/miniwsgi/NAME.toml; `log` has lines of the section [log]."""
        self.put(
            f"/etc/miniwsgi/{name}.toml",
            f'[app]\ndirectory = "{directory}"\nmodule = "wsgi:application"\npython = "{python}"\n'
            f'[server]\nbind = "{bind}"\nworkers = 1\n[metrics]\nbind = "off"\n[log]\n{log}\n',
        )

    def environment(self, directory: str, name: str) -> None:
        """A virtual environment in the lab with one package, taken from that of the tests, and what that needs."""
        self.do(PYTHON, "-m", "venv", "--without-pip", directory)
        [site] = self.path(f"{directory}/lib").glob("python3*/site-packages")
        for distribution in _closure(name, {}).values():
            for file in distribution.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    target = site / file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(str(file.locate()), target)

    def get(self, place: str, path: str = "/") -> tuple[int, str]:
        """A request on a Unix socket of the lab: status and body."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_SECONDS)
            connection.connect(str(self.path(place)))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.read().decode()

    def is_active(self, unit: str) -> bool:
        return self.run("systemctl", "is-active", "--quiet", unit).returncode == 0

    def policy(self, status: int) -> None:
        """What an administrator's policy says to package scripts that start, stop or restart; 101 is no."""
        self.put("/usr/sbin/policy-rc.d", f"#!/bin/sh\nexit {status}\n", 0o755)

    def processes(self) -> list[str]:
        """Those of miniwsgi that run, whatever they are called."""
        return self.run("pgrep", "--full", "[/]opt/miniwsgi|^miniwsgi:").stdout.split()

    def traces(self) -> set[str]:
        """What has the name of miniwsgi: in the places of the system, among users, groups and units, processes."""
        places = [place for place in ("/etc", "/opt", "/run", "/usr", "/var") if self.path(place).exists()]
        found = self.do("find", *places, "-xdev", "-iname", "*miniwsgi*").split()
        for database in ("passwd", "group"):
            found += [line for line in self.do("getent", database).splitlines() if "miniwsgi" in line]
        found += self.do("systemctl", "list-units", "--all", "--plain", "--no-legend", "miniwsgi*").splitlines()
        return {*found, *self.processes()}


def _closure(name: str, found: dict[str, metadata.Distribution]) -> dict[str, metadata.Distribution]:
    """A distribution that is installed beside pytest, and all that it needs here."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return found  # for another platform or an older Python
    if name.lower() not in found:
        found[name.lower()] = distribution
        for requirement in distribution.requires or ():
            if match := re.match(r"[\w.-]+(?!.*\bextra ==)", requirement):
                _closure(match[0], found)
    return found


class Clients:
    """steady_client.py in the lab, from entry to exit; `found` is then what came of its requests, by address."""

    def __init__(self, machine: Debian, *addresses: str) -> None:
        self._command = machine.command(PYTHON, f"/root/{CLIENT}", *addresses)
        self.found: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Clients:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin"}
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.found = json.loads(self._process.communicate("", timeout=UNDER_LOAD_SECONDS)[0])
        finally:
            self._process.kill()
            self._process.wait()
