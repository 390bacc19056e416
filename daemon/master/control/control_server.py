"""The control API in the loop: what it shows and watches, its server, and its socket made anew if it is removed."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from functools import partial

from miniwsgi.codes import Code
from miniwsgi.manager import messages as ms
from miniwsgi.manager.control.api import Api
from miniwsgi.manager.control.auth import Access
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.manager.http.server import HttpServer
from miniwsgi.metrics.scoreboard_reading import SNAPSHOT_SECONDS

from ...log.error_log import ErrorLog
from ..running.master import Master
from ..sockets.unix_sockets import BindError, SocketFile
from .control_socket import OFF, ControlSocket, bind_control
from .first_answers import FirstAnswers
from .kept_scale import KeptScale
from .managed_master import ManagedMaster
from .silence import Silence

LAST_ANSWERS_SECONDS = 1.0
LOOK_SECONDS = 10.0  # for the disk to say whether the socket is there


class ControlServer:
    """The API, served from `start` to `stop` in the master's loop. What it watches it watches without a socket, too."""

    def __init__(self, master: Master, place: ControlSocket, log: ErrorLog) -> None:
        config = master.config
        self._master = master
        self._place = place
        self._log = log
        self._threads = DaemonThreads()
        self._kept = KeptScale(config.control.state_directory)
        self.managed = ManagedMaster(master, self._kept, self._threads)
        self.slow = self.managed.incidents.slow
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
        self._slow_timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None  # whether the socket is there
        self._renewal: asyncio.Task[None] | None = None
        self._told = ""  # why it cannot be made anew
        master.announcer.no_control = place.why_off

    def restore(self) -> None:
        """Before the start: as many workers as were asked for to be kept."""
        sizing = self._master.supervisor.sizing
        self._kept.read(sizing.refusal)
        if self._kept.error:
            told = f"the number of workers that was kept is not used: {self._kept.error}"
            self._log.warning(Code.SCALE_NOT_KEPT, told)
        elif self._kept.value is not None:
            sizing.override = self._kept.value
            self._log.info(
                f"{self._kept.value} workers, as was asked for at runtime ({self._kept.path}); "
                f"configured are {sizing.turnover.plan.workers}"
            )

    async def start(self) -> None:
        self._tick()
        self._look_for_slow()
        if not self._place.sockets:
            return
        try:
            await self._server.start(self._place.sockets)
        except OSError as error:
            self._log.error(Code.CONTROL_OFF, f"{OFF}: {self._place.name}: {error.strerror}")
            self._master.announcer.no_control = error.strerror or str(error)
        else:
            self._log.info(f"the control API listens on {self._place.name}")

    async def stop(self) -> None:
        """Answer what waits for the end, then close."""
        for timer in (self._timer, self._slow_timer):
            if timer is not None:
                timer.cancel()
        if self._look is not None:
            self._look.cancel()  # the disk may hang
        if self._renewal is not None:
            await self._renewal
        self.managed.event_log.close()
        await self._server.stop(LAST_ANSWERS_SECONDS)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SNAPSHOT_SECONDS, self._tick)
        now = time.monotonic()
        self._look_at_board(now)
        self._silence.look()
        self._first_answers.look(now)
        file = self._place.file
        if file is not None and all(task is None or task.done() for task in (self._look, self._renewal)):
            self._look = asyncio.get_running_loop().create_task(self._look_after(file))

    def _look_at_board(self, now: float) -> None:
        """Each of these reads all of it every few seconds: at most one a second, so that nobody waits for all."""
        _ = (
            self.managed.overview.history.take(now)
            or self._master.fleet.tally.take(now)
            or self.managed.routes_seen.look(now)
        )

    def _look_for_slow(self) -> None:
        self._slow_timer = asyncio.get_running_loop().call_later(self.slow.period_seconds, self._look_for_slow)
        self.slow.look()

    async def _look_after(self, file: SocketFile) -> None:
        try:
            is_missing = await self._threads.run(lambda: file.is_missing, LOOK_SECONDS)
        except OSError:
            return  # the disk does not answer, or there are no threads
        if is_missing:
            self._renewal = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        """Somebody has removed the socket, such as a cleaner of old files: nobody could manage the daemon."""
        place = None
        try:
            place = await self._threads.run(partial(bind_control, self._master.config))
            await self._server.start(place.sockets)
        except (BindError, OSError) as error:
            if place is not None:
                with contextlib.suppress(OSError):  # so that the next look finds nothing there, and tries again
                    place.close()
            if str(error) != self._told:
                self._told = self._master.announcer.no_control = str(error)
                told = f"{OFF}: {self._place.name} was removed and cannot be made anew: {error}"
                self._log.error(Code.CONTROL_OFF, told)
            return
        place.directory = place.directory or self._place.directory
        self._place.sockets, self._place.file, self._place.directory = place.sockets, place.file, place.directory
        self._told = self._master.announcer.no_control = ""
        told = f"the control socket {self._place.name} was removed; it has been made anew"
        self._log.warning(Code.CONTROL_SOCKET_GONE, told)

    def _unknown(self, name: str) -> None:
        what = f"group {name[1:]}" if name.startswith("@") else f"user {name}"
        self._log.warning(Code.GRANTEE_UNKNOWN, f"control grants something to {what}, which does not exist")

    def _denied(self, message: str) -> None:
        self._log.limited("control-denied", "warning", Code.CONTROL_DENIED, f"control API: {message}")

    def _failed(self, message: str, error: BaseException | None) -> None:
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        self._log.error(Code.INTERNAL, f"control API: {message}\n{trace}")
