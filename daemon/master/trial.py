"""`miniwsgi check`: the boot of an application without a daemon around it.

A launcher of its own imports it; one worker is forked if there is an app.boot_check to ask for. Blocks, and leaves
nothing that runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from miniwsgi.codes import Code
from miniwsgi.metrics.board import Board

from ..channel import Channel
from ..config import application_environment, daemons_environment, worker_settings
from ..permission import why_not_executed
from ..settings import Listener, Settings
from .running.bootstrap import execute
from .running.launcher_handle import version_mismatch
from .running.link import close_all
from .running.stacks import crash_stacks, dump_stacks_blocking
from .system.process_ends import from_returncode

if TYPE_CHECKING:
    from ..config import Config


@dataclass(frozen=True, slots=True)
class BootFailure:
    """Why the application does not boot: one line, and the application's own traceback, possibly ""."""

    code: Code
    error: str
    traceback: str = ""


def check_application(config: Config, environ: dict[str, str] | None = None) -> BootFailure | None:
    """Import the application as a daemon would, in a launcher of its own, and have a worker ask for app.boot_check.

    None: it boots.
    """
    ours, theirs = Channel.pair()
    board = Board.create()
    nowhere = socket.socket(socket.AF_UNIX)  # a worker has listeners, and nobody knows the name of this one
    nowhere.bind("")
    nowhere.listen()
    listener = Listener(nowhere.fileno(), "check", unix=True, server_name="localhost", server_port="")
    settings = worker_settings(config, generation=0, listeners=[listener], scoreboard_fd=board.fd)._replace(
        preload="true",  # whatever it leaves behind does no harm: one worker is forked, and serves nobody
        log_file="-",  # whoever checks need not be who will own the files
        access_log="",
    )
    environment = application_environment(config, daemons_environment() if environ is None else environ)
    try:
        process = execute(
            config.app.python, settings.module, theirs.fileno(), (nowhere.fileno(), board.fd), environment
        )
    except OSError as error:
        ours.close()
        why = why_not_executed(config.app.python, error)
        return BootFailure(Code.PYTHON_UNUSABLE, f"app.python: {config.app.python} cannot be executed: {why}")
    finally:
        theirs.close()
        nowhere.close()
    try:
        return _await_boot(ours, process, settings, config.timeouts.boot)
    finally:
        ours.close()
        process.kill()
        process.wait()


def _await_boot(
    channel: Channel, process: subprocess.Popen[bytes], settings: Settings, seconds: float
) -> BootFailure | None:
    deadline = time.monotonic() + seconds
    failure = _await_import(channel, process, settings, seconds, deadline)
    if failure is not None or not settings.boot_check:
        return failure
    channel.send("fork", slot=0)
    late = BootFailure(Code.BOOT_LATE, f"the worker was not ready within {seconds:g} s (timeouts.boot)")
    while True:
        channel.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            received = channel.receive()
        except TimeoutError:
            return late
        if received is None:
            return BootFailure(Code.LAUNCHER_LOST, f"the launcher {_exit_of(process)} while it forked a worker")
        message, fds = received
        if message["kind"] == "fork-failed":
            return BootFailure(Code.NOT_FORKED, f"the worker could not be forked: {message['error']}")
        if message["kind"] == "forked" and len(fds) == 3:
            break
        close_all(fds)
    pidfd, control_fd, stacks_fd = fds
    worker = Channel.from_fd(control_fd)
    try:
        return _await_ready(worker, deadline, late)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and the launcher has reaped it
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        worker.close()
        close_all([pidfd, stacks_fd])


def _await_ready(worker: Channel, deadline: float, late: BootFailure) -> BootFailure | None:
    worker.send("begin", after_crash=False)
    while True:
        worker.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            received = worker.receive()
        except TimeoutError:
            return late
        if received is None:
            return BootFailure(Code.CRASHED, "the worker ended while it booted")
        message, fds = received
        close_all(fds)
        if message["kind"] == "ready":
            return None
        if message["kind"] == "failed":
            return BootFailure(Code(message["code"]), message["error"], message["traceback"])


def _await_import(
    channel: Channel, process: subprocess.Popen[bytes], settings: Settings, seconds: float, deadline: float
) -> BootFailure | None:
    stack_fd = -1
    while True:
        channel.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            received = channel.receive()
        except TimeoutError:
            late = f"the application was not imported within {seconds:g} s (timeouts.boot)"
            return BootFailure(Code.BOOT_LATE, late, _stacks(process, stack_fd))
        if received is None:
            crash = crash_stacks(stack_fd) if stack_fd >= 0 else ""
            return BootFailure(
                Code.IMPORT_ENDED, f"the launcher {_exit_of(process)} while it imported the application", crash
            )
        message, fds = received
        match message["kind"]:
            case "hello":
                (stack_fd,) = fds
                if mismatch := version_mismatch(message):
                    return BootFailure(Code.UPGRADED, mismatch)
                channel.send("settings", **settings.to_message())
            case "failed":
                return BootFailure(Code(message["code"]), message["error"], message["traceback"])
            case "imported":
                return None
            case "log" if message["level"] != "info":
                os.write(2, (message["message"] + "\n").encode())


def _exit_of(process: subprocess.Popen[bytes]) -> str:
    try:
        status = process.wait(1.0)
    except subprocess.TimeoutExpired:
        return "closed its channel"
    return from_returncode(status).told()


def _stacks(process: subprocess.Popen[bytes], stack_fd: int) -> str:
    if stack_fd < 0:
        return ""
    pidfd = os.pidfd_open(process.pid)
    try:
        return dump_stacks_blocking(process.pid, pidfd, stack_fd)
    finally:
        os.close(pidfd)
