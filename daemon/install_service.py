"""`miniwsgi install-service`: the units of packaging/systemd, for a miniwsgi that pip installed.

They are the same units as the Debian package's, with the path of this interpreter's commands in them. What differs for
one service, another configuration file or an interpreter below /home, goes into drop-ins beside them. A file that
this command did not write is never replaced.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

UNITS = "miniwsgi.units"  # packaging/systemd, as the wheel carries it
MARK = "# Written by `miniwsgi install-service`, which also replaces it.\n"
PACKAGED = ("/usr/lib/systemd/system", "/lib/systemd/system")
HOMES = ("/home", "/root", "/run/user")  # what ProtectHome= hides
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - only recognised: PrivateTmp= gives the service its own
COMMANDS = ("miniwsgi", "miniwsgictl")
INSTANCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,21}")  # "miniwsgi-" and it are a user's name: at most 31 characters
PLAIN_PATH = re.compile(r"/[\w./+@:~-]*", re.ASCII)  # what systemd reads as it is written


class ServiceError(Exception):
    """Why nothing was installed, in a sentence for the operator."""


@dataclass(frozen=True)
class Service:
    """One service to install: miniwsgi.service, or miniwsgi@INSTANCE.service.

    `commands` is the directory of `miniwsgi` and `miniwsgictl`; `config` the absolute path of the configuration,
    or "" for the one in /etc/miniwsgi; `needs` are the directories that the daemon's interpreter is read from.
    Raises ServiceError for what cannot be written into a unit.
    """

    commands: str
    instance: str = ""
    config: str = ""
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.instance and (not INSTANCE.fullmatch(self.instance) or self.instance == "miniwsgi"):
            raise ServiceError(
                f"instance {self.instance!r}: up to 22 of a-z, 0-9, _ and -, beginning with a letter or a digit; "
                "miniwsgi is the service without an instance"
            )
        for path in (self.commands, self.config, *self.needs):
            if path and not PLAIN_PATH.fullmatch(path):
                raise ServiceError(f"{path}: a path in a unit is absolute and has no spaces, quotes, % or $")
            if _is_below(path, TEMPORARY):
                raise ServiceError(f"{path}: the service has a {TEMPORARY[0]} of its own and would not see it")

    @property
    def unit(self) -> str:
        return f"miniwsgi@{self.instance}.service" if self.instance else "miniwsgi.service"

    @property
    def default_config(self) -> str:
        return f"/etc/miniwsgi/{self.instance or 'miniwsgi'}.toml"

    def files(self) -> dict[str, str]:
        """What to write: absolute path → text."""
        found = {}
        for entry in _units().iterdir():
            if entry.name.endswith((".service", ".socket")) and ("@" in entry.name) == bool(self.instance):
                found[f"/etc/systemd/system/{entry.name}"] = self._adapted(entry.read_text())
        for kind in ("sysusers.d", "tmpfiles.d"):
            for entry in _units().joinpath(kind).iterdir():
                found[f"/etc/{kind}/{entry.name}"] = entry.read_text()
        directory = f"/etc/systemd/system/{self.unit}.d"
        if self.config and self.config != self.default_config:
            start = f"{self.commands}/miniwsgi serve -c {self.config}"
            found[f"{directory}/config.conf"] = f"[Service]\nExecStart=\nExecStart={start}\n"
        if hidden := _outermost(path for path in (*self.needs, self.config) if _is_below(path, HOMES)):
            found[f"{directory}/home.conf"] = (
                "# Of /home, /root and /run/user the service sees what it is made of, and nothing else.\n"
                f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={' '.join(hidden)}\n"
            )
        return {path: MARK + text for path, text in sorted(found.items())}

    def _adapted(self, text: str) -> str:
        text = re.sub(r"^Documentation=man:miniwsgi.*\n", "", text, flags=re.MULTILINE)  # pip has no place for manuals
        return text.replace("/usr/bin/miniwsgi", f"{self.commands}/miniwsgi")


def this_service(instance: str = "", config: str = "") -> Service:
    """The service of this very interpreter. Raises ServiceError if its commands are not installed."""
    beside = (os.path.dirname(os.path.abspath(sys.argv[0])), sysconfig.get_path("scripts"))
    for directory in beside:
        if all(os.access(f"{directory}/{command}", os.X_OK) for command in COMMANDS):
            break
    else:
        raise ServiceError(
            f"there is no {' and '.join(COMMANDS)} in {beside[-1]}: install miniwsgi with pip, and call that one"
        )
    package = Path(__file__).resolve().parents[1]
    needs = {sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix), directory, str(package)}
    return Service(directory, instance, os.path.abspath(config) if config else "", tuple(sorted(needs)))


def install(service: Service, root: str = "/") -> Iterator[str]:
    """Write the service's files below `root`, make its user and directories, have systemd read the units.

    Yields a line for each thing that was done. Raises ServiceError before anything is written, and for a command
    that failed.
    """
    files = service.files()
    under = Path(root)
    if root == "/" and os.geteuid() != 0:
        raise ServiceError("only root may install a service: sudo, or --dry-run, which shows what it would be")
    _refuse_what_is_not_ours(files, under)
    try:
        for name, text in files.items():
            path = under / name.lstrip("/")
            if path.exists() and path.read_text() == text:
                yield f"unchanged  {path}"
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.new")
            unfinished.write_text(text)
            unfinished.chmod(0o644)
            unfinished.replace(path)
            yield f"wrote      {path}"
    except PermissionError as error:
        raise ServiceError(f"{error.filename}: only root may write there; --dry-run shows what it would be") from None
    for command in commands_after(files, root):
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - no shell, our words
        except FileNotFoundError:
            raise ServiceError(f"the files are written, but this machine has no {command[0]}") from None
        if done.returncode:
            raise ServiceError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
        yield f"ran        {' '.join(command)}"


def commands_after(files: Iterable[str], root: str = "/") -> list[list[str]]:
    """What is to be run once the files are written; for another root, its systemd reads the units when it boots."""
    elsewhere = [] if root == "/" else [f"--root={os.path.abspath(root)}"]
    found = []
    for path in files:
        kind, name = os.path.split(path)  # by name: a path would not be one below the root
        if kind == "/etc/sysusers.d":
            found.append(["systemd-sysusers", *elsewhere, name])
        elif kind == "/etc/tmpfiles.d":
            found.append(["systemd-tmpfiles", *elsewhere, "--create", name])
    if root == "/" and os.path.isdir("/run/systemd/system"):
        found.append(["systemctl", "daemon-reload"])
    return found


def _refuse_what_is_not_ours(files: dict[str, str], root: Path) -> None:
    for path in files:
        for directory in PACKAGED:
            packaged = root / directory.lstrip("/") / os.path.basename(path)
            if packaged.exists():
                raise ServiceError(
                    f"{packaged} is there already, from a package: use that, or remove the package first"
                )
        mine = root / path.lstrip("/")
        if mine.is_symlink() or (mine.exists() and not mine.read_text().startswith(MARK)):
            raise ServiceError(f"{mine} was not written by this command: move it away first")


def _units() -> Traversable:
    try:
        return resources.files(UNITS)
    except ModuleNotFoundError:
        raise ServiceError("the units are not part of this installation of miniwsgi: install it with pip") from None


def _is_below(path: str, directories: Iterable[str]) -> bool:
    return any(path == directory or path.startswith(f"{directory}/") for directory in directories)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Without those that lie below another one."""
    found: list[str] = []
    for path in sorted(set(paths)):
        if not _is_below(path, found):
            found.append(path)
    return found
