"""Files and directories that are taken away under a daemon: its disk, logs, socket, configuration, interpreter."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from .clients import lines_of, post_length
from .stage import PYTHON, Impossible, Outcome, Stage, need_root

MIB = 1 << 20
DISK = 'mount -t tmpfs -o size=2m disk "$0" && exec "$@"'  # seen by the daemon alone


def _on_small_disk(place: Path) -> list[str]:
    """The prefix of a daemon for which a place is a disk of 2 MiB. Raises Impossible."""
    need_root()
    tried = subprocess.run(["unshare", "-m", "sh", "-c", DISK, str(place), "true"], capture_output=True, text=True)
    if tried.returncode:
        raise Impossible(f"needs mount namespaces: {tried.stderr.strip()}")
    return ["unshare", "-m", "sh", "-c", DISK, str(place)]


def spool_disk_full(stage: Stage) -> Outcome:
    """A full disk under the spool: 503 for bodies that do not fit, nothing else; then they fit again"""
    spool = stage.directory / "spool"
    spool.mkdir()
    prefix = _on_small_disk(spool)
    stage.configure(f'spool_directory = "{spool}"', "[limits]\nbody_memory = 1024")
    daemon = stage.start(prefix)
    load = stage.load()
    ballast = stage.seen(spool / "ballast")
    assert post_length(daemon, MIB) == 200
    for _ in range(stage.size(3, 20)):
        daemon.wait(lambda: _wrote(ballast, 2 * MIB - 64 * 1024), "the room of the last body is free")
        assert post_length(daemon, MIB) == 503
        load.wait_for_more(20)
        ballast.unlink()
        stage.lifted()
        assert post_length(daemon, MIB) == 200
    stage.recovered()
    assert list(stage.seen(spool).iterdir()) == []
    return stage.conclude()


def _wrote(path: Path, size: int) -> bool:
    try:
        path.write_bytes(bytes(size))
    except OSError:
        return False
    return True


def log_disk_full(stage: Stage) -> Outcome:
    """A full disk under access log and error log: served as if nothing was, and what was lost is told of"""
    logs = stage.directory / "logs"
    logs.mkdir()
    prefix = _on_small_disk(logs)
    access, errors = logs / "access.log", logs / "error.log"
    stage.configure(rest=f'[log]\naccess_log = "{access}"\nfile = "{errors}"')
    daemon = stage.start(prefix, heard=lambda: _text(stage.seen(errors)))
    load = stage.load()
    seen = stage.seen(access)
    daemon.wait(lambda: seen.stat().st_size > 0, "access log lines")
    ballast = stage.seen(logs / "ballast")
    with ballast.open("wb", buffering=0) as file:
        _fill(file.write)
        load.wait_for_more(stage.size(100, 20_000 if stage.threaded else 2_000))
        size = seen.stat().st_size
        daemon.signal(signal.SIGHUP)  # it logs, and goes on
        load.wait_for_more(50)
    ballast.unlink()
    stage.lifted()
    load.wait_for_more(50)
    daemon.wait(lambda: seen.stat().st_size > size, "access log lines again")
    told = f"lines were lost: {os.strerror(28)}"
    daemon.wait(lambda: told in seen.read_text("utf-8", "replace"), "the lost lines are told of")
    stage.recovered()
    return stage.conclude()


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""  # not yet there, or its disk has gone with the daemon


def _fill(write: Callable[[bytes], int]) -> None:
    for size in (65536, 4096, 1):
        try:
            while write(bytes(size)):
                pass
        except OSError:
            pass


def runtime_directory_read_only(stage: Stage) -> Outcome:
    """A runtime directory that becomes read-only: reload, scale and control work; a stop leaves the file and says so"""
    runtime = stage.aftermath.runtime
    daemon = stage.start(_on_small_disk(runtime))
    load = stage.load()
    remount = ["nsenter", "-t", str(daemon.process.pid), "-m", "mount", "-o", "remount,ro", str(runtime)]
    tried = subprocess.run(remount, capture_output=True, text=True)
    if tried.returncode:
        raise Impossible(f"needs to mount a file system anew: {tried.stderr.strip()}")
    assert daemon.reload()
    assert stage.tool()("status").status == 0
    assert stage.tool()("scale", "3").status == 0
    assert stage.tool()("scale", "2").status == 0
    load.wait_for_more(50)
    stage.lifted()
    stage.recovered()
    outcome = stage.conclude()
    assert "Read-only file system" in daemon.log()
    return outcome


def logs_rotated(stage: Stage) -> Outcome:
    """Log files moved, removed, their directory gone, and SIGUSR1: every line of the access log is there once"""
    logs = stage.directory / "logs"
    logs.mkdir()
    access = logs / "access.log"
    stage.configure(rest=f'[log]\naccess_log = "{access}"')
    daemon = stage.start()
    load = stage.load()
    for number in range(stage.size(5, 40)):
        access.rename(logs / f"access.{number}")
        daemon.signal(signal.SIGUSR1)
        daemon.wait(access.exists, "a new file")
        load.wait_for_more(20)
    gone = stage.directory / "logs.gone"
    logs.rename(gone)
    daemon.signal(signal.SIGUSR1)
    daemon.wait_for_log("cannot be opened again", times=2)
    load.wait_for_more(20)
    gone.rename(logs)
    daemon.signal(signal.SIGUSR1)
    stage.lifted()
    stage.recovered()
    answered = sum(report.answered for report in stage.end_load())
    outcome = stage.conclude()
    lines = sum(lines_of(path, "GET /") for path in logs.iterdir())
    assert lines == answered, f"{lines} lines for {answered} requests"
    stage.note(f"{lines:,} lines")
    return outcome


def control_socket_removed(stage: Stage) -> Outcome:
    """The control socket removed: the tool says what is amiss, the daemon serves on and makes it anew"""
    daemon = stage.start()
    stage.load()
    for _ in range(stage.size(2, 10)):
        stage.control_path.unlink()
        said = stage.tool()("status")
        assert said.status == 0 or str(stage.control_path) in said.err, said
        stage.lifted()
        daemon.wait(lambda: _connects(stage.control_path), "a control socket")
        assert stage.tool()("reload").status == 0
    daemon.wait_for_log("was removed")
    stage.recovered()
    return stage.conclude()


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def configuration_broken(stage: Stage) -> Outcome:
    """The configuration removed, cut in half, unreadable, a directory, no text: a reload fails, the old one stays"""
    stage.configure()
    # So that a file's mode binds root, too.
    bound = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    daemon = stage.start(bound)
    load = stage.load()
    path, whole = stage.configuration, stage.configuration.read_text("utf-8")
    before = sorted(daemon.workers())

    def half() -> None:
        path.write_text(whole[: len(whole) // 2] + '"', "utf-8")

    def directory() -> None:
        path.unlink()
        path.mkdir()

    def binary() -> None:
        path.write_bytes(os.urandom(4096))

    for harm in (path.unlink, half, lambda: path.chmod(0), directory, binary):
        harm()
        assert not daemon.reload(), harm
        assert sorted(daemon.workers()) == before
        load.wait_for_more(20)
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_text(whole, "utf-8")
    stage.lifted()
    assert daemon.reload()
    stage.recovered()
    return stage.conclude()


def interpreter_removed(stage: Stage) -> Outcome:
    """The interpreter of app.python removed, then another file: a reload and a lost launcher fail, until it is back"""
    python = stage.directory / "python"
    good = f'#!/bin/sh\nexec "{PYTHON}" "$@"\n'

    def put(text: str, mode: int = 0o755) -> None:
        scratch = python.with_suffix(".new")
        scratch.write_text(text)
        scratch.chmod(mode)
        scratch.replace(python)

    put(good)
    stage.configure(app=f'python = "{python}"')
    daemon = stage.start()
    load = stage.load()
    before = sorted(daemon.workers())
    python.unlink()
    assert not daemon.reload()
    for text, mode in ((good, 0o644), ("no program\n", 0o755), ("#!/bin/sh\nexit 7\n", 0o755), ("", 0o755)):
        put(text, mode)
        assert not daemon.reload(), text
        assert sorted(daemon.workers()) == before
        load.wait_for_more(20)
    (launcher,) = daemon.launchers()
    os.kill(launcher, signal.SIGKILL)
    daemon.wait_for_log("recover failed", times=2)
    load.wait_for_more(50)
    assert sorted(daemon.workers()) == before
    put(good)
    stage.lifted()
    daemon.wait_for_log("recover: done")
    stage.recovered()
    return stage.conclude()


def application_directory_removed(stage: Stage) -> Outcome:
    """The application's directory removed: what runs goes on, reloads fail until it is back"""
    daemon = stage.start()
    load = stage.load()
    gone = stage.code.with_name("code.gone")
    stage.code.rename(gone)
    assert not daemon.reload()
    load.wait_for_more(50)
    gone.rename(stage.code)
    stage.lifted()
    assert daemon.reload()
    stage.recovered()
    shutil.rmtree(gone, ignore_errors=True)
    return stage.conclude()
