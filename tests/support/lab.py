"""A machine for tests: a real systemd as PID 1 of namespaces of its own, over a copy-on-write view of this machine.

It boots in a fraction of a second, is changed and broken at will, and leaves nothing: all its processes end with it,
and with the test run, also when that is killed. Nothing is written but below the given directory. The machine's
processes, network, mounts and journal are not seen in it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.cgroups import PREFIX, hierarchies, make_cgroup, remove_cgroup, sweep, unified
from tests.support.waiting import PATIENCE_SECONDS, wait_for

SYSTEMD = "/lib/systemd/systemd"
COMMANDS = ("unshare", "nsenter", "setpriv", "pivot_root", "dbus-daemon", "systemd-sysusers", "journalctl")
PACKAGES = "systemd dbus util-linux util-linux-extra"  # the last one has pivot_root after Debian 13
FIRST_WITHOUT_V1 = 258  # systemd's version that knows no cgroups of version 1 any more, and ends where it sees some
NAMESPACES = ("--pid", "--mount", "--net", "--ipc", "--uts")
CHECK = """
mount -t tmpfs lab /tmp
mkdir /tmp/upper /tmp/work /tmp/root
mount -t overlay -o lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work lab /tmp/root
mount -t proc proc /tmp/root/proc
mount -t sysfs -o ro sysfs /tmp/root/sys
mount -t cgroup2 cgroup2 /tmp/root/sys/fs/cgroup
"""


@functools.cache
def missing() -> str:
    """Why this machine cannot boot a lab, or ""."""
    if os.geteuid() != 0:
        return "a systemd lab needs root"
    absent = [command for command in COMMANDS if shutil.which(command) is None]
    if absent or not os.path.exists(SYSTEMD):
        return f"a systemd lab needs {', '.join(absent) or SYSTEMD} (Debian: {PACKAGES})"
    known = Path("/proc/filesystems").read_text("ascii").split()
    for kind in ("overlay", "cgroup2"):
        if kind not in known:
            return f"a systemd lab needs {kind} in the kernel"
    if not unified():
        return "a systemd lab needs a cgroup2 mount"
    try:
        for _controllers, parent in hierarchies():
            remove_cgroup(make_cgroup(parent / f"{PREFIX}{os.getpid()}.check"))
    except OSError as error:
        return f"a systemd lab needs to make cgroups: {error}"
    tried = ["unshare", *NAMESPACES, "--cgroup", "--fork", "--kill-child", "sh", "-ec", CHECK]
    done = subprocess.run(tried, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if done.returncode != 0:
        return f"a systemd lab needs CAP_SYS_ADMIN, namespaces and mounts: {done.stderr.strip()}"
    return ""


@functools.cache
def _knows_v1() -> bool:
    shown = subprocess.run([SYSTEMD, "--version"], capture_output=True, text=True, check=True).stdout
    return int(shown.split()[1]) < FIRST_WITHOUT_V1


class Lab:
    """A context: booted on entry, gone on exit. Before that, `seed` is filled with what its root shall have.

    `binds` are directories of this machine, by their place in the lab; they are shared, not copied.
    """

    def __init__(self, directory: Path, binds: dict[str, Path] | None = None) -> None:
        self.seed = directory / "seed"
        self.seed.mkdir()
        (directory / "mount").mkdir()
        self._directory = directory
        self._binds = binds or {}
        self._cgroups: list[Path] = []
        self._pid1 = 0
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Lab:
        sweep()
        try:
            self._boot()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._end()

    def _boot(self) -> None:
        found = hierarchies()
        name = f"{PREFIX}{os.getpid()}.{time.monotonic_ns()}"
        self._cgroups = [make_cgroup(parent / name) for _controllers, parent in found]
        arguments = [
            *(str(self._directory), " ".join(map(str, self._cgroups))),
            " ".join(controllers for controllers, _parent in found if controllers and _knows_v1()),
            *(f"{source}:{place}" for place, source in self._binds.items()),
        ]
        # It dies with us, and everything in it with it, however we end.
        unshare = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "--fork", "--kill-child", "--"]
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*unshare, "bash", str(Path(__file__).with_name("boot.sh")), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        pid = self._directory / "pid"
        self.wait(pid.exists, "the lab's root is made")
        self._pid1 = int(pid.read_text("ascii"))
        self.wait(self._is_up, "systemd is up")
        state = self.run("systemctl", "is-system-running", "--wait").stdout.strip()
        assert state == "running", f"the lab is {state}:\n{self.run('systemctl', '--failed', '--no-pager').stdout}"

    def _is_up(self) -> bool:
        try:
            comm = Path(f"/proc/{self._pid1}/comm").read_text("ascii").strip()
        except OSError:  # it has ended, and `wait` tells what it said
            return False
        return comm == "systemd" and self.path("/run/systemd/private").is_socket()

    def _end(self) -> None:
        if hasattr(self, "_process"):
            # Its first process, with which all others end; unshare, its parent, then collects it and ends too.
            if self._pid1 and self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid1, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
        for cgroup in self._cgroups:
            wait_for(lambda: remove_cgroup(cgroup), f"{cgroup} is gone")  # noqa: B023

    @property
    def is_booted(self) -> bool:
        return self._pid1 != 0

    @property
    def pid1(self) -> int:
        """Its first process, as this machine numbers it; 0 before the boot."""
        return self._pid1

    # --- what is seen of it -------------------------------------------------------------------------------------

    def path(self, place: str) -> Path:
        """A place in the lab as this process can open it; Unix sockets can be connected to."""
        return Path(f"/proc/{self._pid1}/root{place}")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Poll until the condition holds. Raises AssertionError that names `what`, with the journal."""

        def holds() -> object:
            assert self._process.poll() is None, f"the lab has ended: {what}\n{self._story()}"
            return condition()

        wait_for(holds, what, story=self._story, every_seconds=0.05)  # most conditions ask a command in the lab

    def _story(self) -> str:
        log = (self._directory / "log").read_text("utf-8", "replace")
        if not self._pid1 or self._process.poll() is not None:
            return log
        journal = self.run("journalctl", "--no-pager", "--lines=60", "--output=short-monotonic")
        return log + journal.stdout

    # --- what is done in it -------------------------------------------------------------------------------------

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs a command in the lab, as root."""
        return [
            "nsenter",
            "--target",
            str(self._pid1),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "-r",
            "-w",
            "--",
            *arguments,
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command as root, in / and with a clean environment; its exit status and what it wrote."""
        return subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )

    def do(self, *arguments: str) -> str:
        """The same for a command that must succeed: what it wrote. Raises AssertionError with the journal."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stderr}\n{self._story()}"
        return done.stdout

    @staticmethod
    def write(path: Path, text: str) -> None:
        """A file in one step, in directories that are made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.new")
        scratch.write_text(text, "utf-8")
        scratch.rename(path)

    def property(self, unit: str, name: str) -> str:
        """A unit's property, as `systemctl show` tells it."""
        return self.do("systemctl", "show", "--value", "--property", name, unit).strip()

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """The journal's entries that match ("_SYSTEMD_UNIT=x.service", "-u", "x", …), oldest first."""
        lines = self.do("journalctl", "--no-pager", "--output=json", *matches).splitlines()
        return [json.loads(line) for line in lines]

    def messages(self, unit: str) -> str:
        """What the journal holds about a unit, as text."""
        return self.do("journalctl", "--no-pager", "--output=cat", "--unit", unit)
