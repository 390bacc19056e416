"""What a worker is, whatever its pool: settings, scoreboard slot, logs, what its engine needs, and its duty."""

from __future__ import annotations

from enum import Enum
from typing import Any, NoReturn

from miniwsgi.codes import Code
from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.slot import Slot

from ..engine.call import Application
from ..engine.choice import Begin, Chosen
from ..engine.contract import Conversation
from ..engine.listening_socket import ListeningSocket
from ..engine.openings.openers import openers
from ..engine.site import Site
from ..log.access_log import AccessLog
from ..log.error_log import ErrorLog
from ..log.error_stream import ErrorStream
from ..settings import Listener, Settings
from ..unpatched import Socket, os
from .certificates import Certificates

NANOSECONDS = 1_000_000_000
FLUSH_SECONDS = 1.0  # for the logs of a process that ends


class Duty(Enum):
    """What the master, or its absence, has ordered."""

    SERVE = "serve"
    CLOSING = "closing"  # serve, but each response is its connection's last
    EMPTY = "empty"  # accept what the kernel has queued, then drain
    DRAIN = "drain"  # accept nothing more, finish what runs, exit


class Context:
    """One worker's belongings. `slot.cells` is written by whoever owns the loop.

    To be made by the thread that imported the application: its context variables are what requests begin with.
    """

    def __init__(
        self,
        settings: Settings,
        board: Board,
        slot: int,
        log: ErrorLog,
        access: AccessLog | None,
        application: Application,
        engine: Chosen,
        certificates: Certificates | None = None,
        *,
        after_crash: bool = False,
    ) -> None:
        self.engine = engine
        self.certificates = Certificates(settings) if certificates is None else certificates
        self.settings = settings
        self.board = board
        self.slot = board.slot(slot)
        self.log = log
        self.access = access
        errors = ErrorStream(log, settings.application_level)
        self.site = Site(settings, self.slot, log, access, application, errors)
        self.site.after_crash = after_crash
        self._uwsgi = engine.begin  # of listeners that speak uwsgi
        if any(listener.protocol == "uwsgi" for listener in settings.listeners):
            from ..engine.uwsgi.conversation import UwsgiConversation

            self._uwsgi = UwsgiConversation
        self._duty = Duty.SERVE
        self.duty = Duty.SERVE if settings.keep_alive_timeout else Duty.CLOSING
        self.openers = openers(self.site, self.begin_of, settings, self.certificates.handshakes())
        self._lost_lines = 0
        self._access_log_fails = False
        self._logged = dict.fromkeys(scoreboard.LOG_LEVELS, 0)

    def __repr__(self) -> str:
        return f"<Context slot={self.slot.index} {self.duty.value}>"

    @property
    def duty(self) -> Duty:
        return self._duty

    @duty.setter
    def duty(self, duty: Duty) -> None:
        self._duty = duty
        self.site.closing = duty is not Duty.SERVE

    def count_in(self, slot: Slot) -> None:
        """From now on count in another slot: the process has been forked, and has counters of its own."""
        self.slot = slot
        self._logged = dict(self.log.counts)
        self._lost_lines, self._access_log_fails = 0, False
        self.site.count_in(slot)

    def begin_of(self, listener: Listener) -> Begin:
        """The class of a listener's conversations: the engine's, or the one that speaks another protocol than HTTP."""
        return self._uwsgi if listener.protocol == "uwsgi" else self.engine.begin

    def accept(self, listening: ListeningSocket, now: int) -> Conversation:
        """Begin a conversation with the next client of a listening socket. Raises OSError."""
        return self.begin_of(listening.listener).accept(self.site, listening, now)

    def converse(self, sock: Socket, listener: Listener, address: Any, now: int) -> Conversation:
        """Begin a conversation with a new client, on a non-blocking socket; `address` is what accept(2) gave."""
        base = self.site.connection_environ(listener, address)
        return self.begin_of(listener)(self.site, sock, base, now)

    def tidy(self) -> None:
        """Once a second: what the logs owe."""
        self.log.sweep()
        self._tell_of_access_log()
        lost = self.log.writer.lost + (self.access.writer.lost if self.access is not None else 0)
        if lost != self._lost_lines:
            self.slot.cells[scoreboard.LOG_LOST] += lost - self._lost_lines
            self._lost_lines = lost
        for at, level in enumerate(scoreboard.LOG_LEVELS, scoreboard.LOGGED):
            count = self.log.counts[level]
            self.slot.cells[at] += count - self._logged[level]
            self._logged[level] = count

    def _tell_of_access_log(self) -> None:
        """Once when it begins to lose lines, and once when it is over: when the notice of them could be written."""
        if self.access is None:
            return
        writer = self.access.writer
        if bool(writer.untold) is self._access_log_fails:
            return
        self._access_log_fails = bool(writer.untold)
        if self._access_log_fails:
            told = f"the access log loses lines: {writer.reason}"
            self.log.warning(Code.LINES_LOST, told, access_log=self.settings.access_log)
        else:
            self.log.info("the access log is written again", access_log=self.settings.access_log, lost=writer.lost)

    def leave_at_once(self, status: int) -> NoReturn:
        """End this process from any thread; what the logs hold is written, the application is not asked."""
        self.tidy()
        self.log.flush(FLUSH_SECONDS)
        if self.access is not None:
            self.access.writer.flush(FLUSH_SECONDS)
        os._exit(status)
