"""The control API's place in the daemon: its socket, from before the privileges are dropped to the end, and its
server in the master's loop.

A path that cannot be had is one line in the log and the daemon serves without, unless `control.required`: whoever asks
systemd, or `miniwsgictl`, is told why. An owner or a group that it cannot be given to is a mistake, and no start. A
socket that systemd passes under the name "control" is taken instead of the path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import socket
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from miniwsgi.manager import messages as ms
from miniwsgi.manager.control.api import Api
from miniwsgi.manager.control.auth import Access
from miniwsgi.manager.http.server import HttpServer
from miniwsgi.manager.threads import DaemonThreads
from miniwsgi.metrics.scoreboard_reading import SNAPSHOT_SECONDS

from ...config import Config
from ...log.error_log import ErrorLog
from ..running.master import Master
from ..sockets.unix_sockets import BindError, SocketFile, bind_path
from .first_answers import FirstAnswers
from .kept_scale import KeptScale
from .managed_master import ManagedMaster
from .silence import Silence
from .slow_requests import SlowRequests

SYSTEMD_NAME = "control"  # FileDescriptorName= of a socket unit
BACKLOG = 1024
LAST_ANSWERS_SECONDS = 1.0
LOOK_SECONDS = 10.0  # for the disk to say whether the socket is there
OFF = "the control API is off"


@dataclass(slots=True)
class ControlSocket:
    """Where the API is served. Without sockets it is off, and `why_off` says why."""

    sockets: list[socket.socket]
    file: SocketFile | None = None
    directory: str = ""  # that was made for it
    why_off: str = ""

    @property
    def name(self) -> str:
        return self.file.path if self.file is not None else "a socket of systemd's"

    def close(self) -> None:
        """Remove what was made. Raises OSError if that is not allowed."""
        for sock in self.sockets:
            sock.close()
        if self.file is not None:
            self.file.remove()
        if self.directory:
            try:
                os.rmdir(self.directory)
            except OSError:
                pass  # others have theirs there by now


def open_control(config: Config, passed: Mapping[str, list[int]], log: ErrorLog) -> ControlSocket:
    """The API's socket. Raises BindError if it cannot be had and is required."""
    control = config.control
    if SYSTEMD_NAME in passed:
        return ControlSocket(_adopt(passed[SYSTEMD_NAME]))
    if not control.socket:
        if config.origins.get("control.socket") != "default":
            return ControlSocket([], why_off="control.socket is off")
        why = "there is no runtime directory to put its socket in; --control PATH names one"
        log.info(f"{OFF}: {why}")
        return ControlSocket([], why_off=why)
    try:
        return _bind(config)
    except BindError as error:
        if control.required or error.access:
            raise
        log.warning(f"{OFF}: {error}; --control PATH names another place")
        return ControlSocket([], why_off=str(error))


def _bind(config: Config) -> ControlSocket:
    """Raises BindError."""
    control = config.control
    user = config.server.user if os.geteuid() == 0 else ""
    directory = ""
    if config.origins.get("control.socket") == "default":
        directory = _make_directory(os.path.dirname(control.socket), user)
    sock, file = bind_path(control.socket, BACKLOG, control.mode, user, control.group, keys="control.group")
    return ControlSocket([sock], file, directory)


def _adopt(fds: list[int]) -> list[socket.socket]:
    """Raises BindError for what is no listening Unix socket: without the kernel's word nobody can be trusted."""
    found = []
    for fd in fds:
        sock = socket.socket(fileno=os.dup(fd))
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise BindError(f"the socket that systemd passed as {SYSTEMD_NAME} is no Unix stream socket")
        sock.setblocking(False)
        found.append(sock)
    return found


def _make_directory(path: str, user: str) -> str:
    """Make a default's directory, the daemon user's own; its path if it was not there. Raises BindError."""
    try:
        os.mkdir(path, 0o755 if os.geteuid() == 0 else 0o700)
        if user:
            os.chown(path, int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid, -1)
    except FileExistsError:
        return ""
    except (OSError, LookupError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BindError(f"the directory {path} cannot be made: {reason}") from None
    return path


class Control:
    """The API, served from `start` to `stop` in the master's loop. What it watches it watches without a socket, too."""

    def __init__(self, master: Master, place: ControlSocket, log: ErrorLog) -> None:
        config = master.config
        self._master = master
        self._place = place
        self._log = log
        self._threads = DaemonThreads()
        self._kept = KeptScale(config.control.state_directory)
        self.managed = ManagedMaster(master, self._kept, self._threads)
        self.slow = SlowRequests(master, self.managed.recorder)
        self._silence = Silence(master, self.managed.recorder)
        self._first_answers = FirstAnswers(master, self.managed.recorder)
        self.managed.overview.new_code = lambda: self._first_answers.said
        granted: dict[ms.Role, tuple[str, ...]] = {
            "read": config.control.read,
            "operate": config.control.operate,
            "admin": config.control.admin,
        }
        access = Access(granted, self._threads, self._unknown)
        self.api = Api(self.managed, access, self._denied)
        self._server = HttpServer(self.api, self._failed)
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._told = ""  # why it cannot be made anew
        master.announcer.no_control = place.why_off

    def restore(self) -> None:
        """Before the start: as many workers as were asked for to be kept."""
        sizing = self._master.supervisor.sizing
        self._kept.read(sizing.refusal)
        if self._kept.error:
            self._log.warning(f"the number of workers that was kept is not used: {self._kept.error}")
        elif self._kept.value is not None:
            sizing.override = self._kept.value
            self._log.info(
                f"{self._kept.value} workers, as was asked for at runtime ({self._kept.path}); "
                f"configured are {sizing.turnover.plan.workers}"
            )

    async def start(self) -> None:
        self._tick()
        if not self._place.sockets:
            return
        try:
            await self._server.start(self._place.sockets)
        except OSError as error:
            self._log.error(f"{OFF}: {self._place.name}: {error.strerror}")
            self._master.announcer.no_control = error.strerror or str(error)
        else:
            self._log.info(f"the control API listens on {self._place.name}")

    async def stop(self) -> None:
        """Answer what waits for the end, then close."""
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None:
            await self._renewal
        self.managed.event_log.close()
        await self._server.stop(LAST_ANSWERS_SECONDS)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SNAPSHOT_SECONDS, self._tick)
        now = time.monotonic()
        self.managed.overview.history.take(now)
        self._master.fleet.tally.take(now)
        self.slow.look()
        self._silence.look()
        self._first_answers.look(now)
        file = self._place.file
        if file is not None and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.get_running_loop().create_task(self._look_after(file))

    async def _look_after(self, file: SocketFile) -> None:
        try:
            is_missing = await self._threads.run(lambda: file.is_missing, LOOK_SECONDS)
        except OSError:
            return  # the disk does not answer, or there are no threads
        if is_missing:
            await self._renew()

    async def _renew(self) -> None:
        """Somebody has removed the socket, such as a cleaner of old files: nobody could manage the daemon."""
        place = None
        try:
            place = await self._threads.run(partial(_bind, self._master.config))
            await self._server.start(place.sockets)
        except (BindError, OSError) as error:
            if place is not None:
                with contextlib.suppress(OSError):  # so that the next look finds nothing there, and tries again
                    place.close()
            if str(error) != self._told:
                self._told = self._master.announcer.no_control = str(error)
                self._log.error(f"{OFF}: {self._place.name} was removed and cannot be made anew: {error}")
            return
        place.directory = place.directory or self._place.directory
        self._place.sockets, self._place.file, self._place.directory = place.sockets, place.file, place.directory
        self._told = self._master.announcer.no_control = ""
        self._log.warning(f"the control socket {self._place.name} was removed; it has been made anew")

    def _unknown(self, name: str) -> None:
        what = f"group {name[1:]}" if name.startswith("@") else f"user {name}"
        self._log.warning(f"control grants something to {what}, which does not exist")

    def _denied(self, message: str) -> None:
        self._log.limited("control-denied", "warning", f"control API: {message}")

    def _failed(self, message: str, error: BaseException | None) -> None:
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        self._log.error(f"control API: {message}\n{trace}")
