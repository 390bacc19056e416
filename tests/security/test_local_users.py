"""Local users, and the application against the daemon: descriptors, links where others may write, rights.

Roles and the control socket: test_manager_auth.py, test_control_socket.py; becoming another user:
test_master_process.py.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from miniwsgi.daemon.log.writer import Writer
from miniwsgi.daemon.master.sockets.unix_sockets import BindError, bind_path

from tests.support.service import Service, get
from tests.support.users import STRANGER, as_root

# --- what programs that the application starts inherit ----------------------------------------------------------------

# os.system and posix_spawn hand on every descriptor that is not marked; subprocess closes them itself.
STARTS_PROGRAMS = """
import os, threading

LIST = "ls -l /proc/self/fd > {}"

os.system(LIST.format("at-import"))

def application(environ, start_response):
    os.system(LIST.format("by-system"))
    actions = [(os.POSIX_SPAWN_OPEN, 1, "by-spawn", os.O_WRONLY | os.O_CREAT, 0o600)]
    os.waitpid(os.posix_spawn("/bin/ls", ["ls", "-l", "/proc/self/fd"], os.environ, file_actions=actions), 0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"v1 done"]
"""
LEAVES_A_THREAD = "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"


@pytest.mark.parametrize("preload", ["true", "false", "auto, executed again"])
def test_programs_that_the_application_starts_have_none_of_our_descriptors(preload: str, service: Service) -> None:
    """Neither the listening socket, with which they could take clients and keep the port, nor the counters."""
    again = preload.startswith("auto")
    service.write(STARTS_PROGRAMS + (LEAVES_A_THREAD if again else ""))
    preload = preload.partition(",")[0]
    daemon = service.start("--workers", "1", "--preload", preload, "--bind", f"unix:{service.directory}/http.sock")
    assert get(daemon) == "v1 done"
    assert get(daemon) == "v1 done"
    for name in ("at-import", "by-system", "by-spawn"):
        shown = (service.directory / name).read_text()
        numbers = {int(line.split(" -> ")[0].split()[-1]) for line in shown.splitlines() if " -> " in line}
        assert {0, 1, 2} <= numbers, shown
        assert len(numbers - {0, 1, 2}) == 1, f"only what ls has opened itself:\n{shown}"


def test_the_environ_has_nothing_of_the_process(service: Service) -> None:
    service.write(
        """
        def application(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [repr(environ).encode()]
        """
    )
    daemon = service.start("--workers", "1", environ={"DATABASE_PASSWORD": "sesame-of-the-daemon"})
    assert "sesame" not in get(daemon)


# --- links in directories that somebody else may write ----------------------------------------------------------------


@pytest.fixture
def directory(open_directory: Path) -> Path:
    """One that everybody may write: as a service's own directory is to its user."""
    open_directory.chmod(0o777)
    return open_directory


def put_in_place(monkeypatch: pytest.MonkeyPatch, victim: Path, *, hard: bool) -> None:
    """Between bind(2) and chmod(2) another user replaces the socket by a link to something that is not its own."""

    class Socket(socket.socket):
        def bind(self, address: str) -> None:  # type: ignore[override]
            super().bind(address)
            os.unlink(address)
            if hard:
                os.link(victim, address)
            else:
                os.symlink(victim, address)

    monkeypatch.setattr("miniwsgi.daemon.master.sockets.unix_sockets.socket.socket", Socket)


@pytest.mark.parametrize("kind", ["symbolic link to a file", "symbolic link to a socket", "hard link to a socket"])
def test_the_mode_of_a_socket_is_given_to_no_other_file(
    kind: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = directory / "victim"
    if kind.endswith("file"):
        victim.write_text("secret")
    else:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(victim))
    victim.chmod(0o600)
    put_in_place(monkeypatch, victim, hard=kind.startswith("hard"))
    with pytest.raises(BindError, match="something else has been put in the socket's place"):
        bind_path(str(directory / "http.sock"), 16, 0o666, "", "")
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert not (directory / "http.sock").exists()


def link_of_another_user(path: Path, target: Path | str) -> None:
    path.symlink_to(target)
    if os.geteuid() == 0:
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


@pytest.mark.parametrize("exists", [True, False], ids=["to a file", "to nothing"])
def test_root_writes_no_log_through_another_users_link(exists: bool, directory: Path) -> None:
    victim = directory / "victim"
    if exists:
        victim.write_text("as it was")
    link_of_another_user(directory / "error.log", victim)
    with pytest.raises(OSError, match=r"link that another user has made|No such file"):
        Writer(str(directory / "error.log"), wary=True)
    assert victim.exists() == exists
    assert not exists or victim.read_text() == "as it was"


@as_root
def test_a_link_of_roots_own_is_followed(directory: Path) -> None:
    """Containers have /dev/stderr in the place of a log."""
    (directory / "error.log").symlink_to(directory / "there")
    (directory / "there").touch()
    writer = Writer(str(directory / "error.log"), wary=True)
    writer.put(b"a line\n")
    assert writer.flush(60.0)
    assert (directory / "there").read_bytes() == b"a line\n"
    os.close(writer.fd)


@as_root
def test_a_daemon_that_becomes_another_user_does_not_start_with_such_a_link(service: Service, directory: Path) -> None:
    victim = directory / "victim"
    victim.write_text("as it was")
    link_of_another_user(directory / "error.log", victim)
    who = ("--user", str(STRANGER), "--group", str(STRANGER))
    ended = service.run(*who, "--set", f"log.file={directory}/error.log", "--bind", f"unix:{directory}/http.sock")
    assert ended.returncode == 1
    assert "cannot be opened: it is a link that another user has made" in ended.stderr
    assert victim.read_text() == "as it was"


# --- rights -----------------------------------------------------------------------------------------------------------

RIGHTS = """
import os
from miniwsgi.daemon.master.system.process import drop_privileges
drop_privileges("60001", "60002")
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(status["Uid"].split(), status["Gid"].split(), status["Groups"].split(), *(int(status[name], 16) for name in
      ("CapInh", "CapPrm", "CapEff", "CapAmb")))
for call in (lambda: os.setuid(0), lambda: os.setresuid(-1, 0, -1), lambda: os.setgroups([0]), lambda: os.setgid(0)):
    try:
        call()
    except PermissionError:
        continue
    raise SystemExit("it is root again")
"""


@as_root
def test_nothing_of_root_is_left_in_a_daemon_that_became_another_user() -> None:
    """Real, effective, saved and file-system ids; supplementary groups; capabilities."""
    import sys

    done = subprocess.run([sys.executable, "-c", RIGHTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{['60001'] * 4} {['60002'] * 4} ['60002'] 0 0 0 0"
