"""A worker without a process: one engine's, to which scripts are played over socket pairs, and what is seen of it."""

from __future__ import annotations

import re
import select
import zlib
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from miniwsgi.codes import Code
from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.claim import Claim
from miniwsgi.daemon.engine.site import Site
from miniwsgi.daemon.log.access_log import AccessLog, SelectiveAccessLog
from miniwsgi.daemon.log.access_skip import Lines as Choice
from miniwsgi.daemon.log.access_skip import wanted
from miniwsgi.daemon.log.ring import Append, Ring
from miniwsgi.daemon.routes.routed import Routed
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.scoreboard import SERIES, SERIES_AT, SERIES_CELLS, SLOT_BYTES
from miniwsgi.metrics.slot import Slot

from .answers import Text
from .conversations import SERVERS, Holding

if TYPE_CHECKING:
    from .playing import Play

IDS = 0x0123456789ABCDEF
LISTENER = Listener(0, "127.0.0.1:80", False, "server.name", "80")
UNIX_LISTENER = Listener(0, "unix:/run/x", True, "server.name", "")
ERRORS = object()
DATE = re.compile(rb"Date: \w{3}, [^\r]{20} GMT")
DATES = 7
PLAY = "test.play"  # in an environ: whose it is
# The cells of a slot that tell time: how long requests took and waited. How many they were is told by others.
QUEUE = slice(scoreboard.QUEUE_BUCKETS, scoreboard.QUEUE_BUCKETS + scoreboard.BUCKETS)
THREADS = 3  # the owner of the loop, one that requests are given to, and one that takes the loop over
NEVER_LONG_NS = 10**15
RING_BYTES = 1 << 18  # emptied behind each script

_TIMES = re.compile(rb'\[\d\d/\w{3}/\d{4}:[\d: +]{14}\]|"time":"[^"]{24}"|"duration_ms":[\d.]{5,9}(?=,)')
# Of a traceback.
_OUR_FRAMES = re.compile(r'  File "(?:[^"\n]*/miniwsgi/daemon/|daemon/engine/)[^\n]*\n(?:    [^\n]*\n)*')

Environ = dict[str, Any]


def _is_told_late(entry: Any) -> bool:
    """Whether it is said when an answer is counted: one engine may have called for the next request by then."""
    return bool(entry[0] == "route")


class Log:
    """An error log that remembers. What of a traceback is in the engine differs, as it may."""

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def error(self, code: Code, message: str, /, **fields: object) -> None:
        self.lines.append((str(code), _OUR_FRAMES.sub("", message), sorted(fields.items())))

    def limited(self, key: str, level: str, code: Code, message: str, /, **fields: object) -> None:
        self.lines.append((key, level, str(code), message, sorted(fields.items())))


class Lines:
    """The writer of an access log, whose lines stay in their ring."""

    lost = 0
    untold = 0
    notice = None

    def __init__(self, make_append: Any) -> None:
        self._ring = Ring(memoryview(bytearray(RING_BYTES)), make_append or Append)
        self.append = self._ring.append

    def put(self, line: bytes) -> None:
        assert self._ring.append_anywhere(line)

    def take(self) -> list[bytes]:
        lines = self._ring.peek(RING_BYTES)
        self._ring.advance(len(lines))
        return lines.splitlines(keepends=True)


class Seen:
    """What one script came to. Two of different engines have to be equal: what tells most of a difference is first."""

    __slots__ = ("environs", "sent", "steps", "told", "log", "access", "cells", "series", "texts")  # noqa: RUF023

    def __init__(self) -> None:
        self.steps: list[object] = []  # each call of the contract, its outcome, and what the conversation showed then
        self.environs: list[object] = []  # as the application was given them
        self.told: list[object] = []  # by the application, of what was done to it
        self.sent = b""  # to the client, without the date
        self.log: list[object] = []
        self.access: list[bytes] = []
        self.cells: list[int] = []  # of the slot, but for the clocks
        self.series: list[list[int]] = []  # keys and numbers of requests
        self.texts: list[bytes] = []  # what the threads' sub-slots show


class Worker:
    """One for each kind of server. It remembers as a worker does; scripts are played to it by `playing`."""

    def __init__(self, engine: str, server: str) -> None:
        self._server = SERVERS[server]
        settings = Settings(
            generation=1, listeners=(), scoreboard_fd=-1, module="x", directory="/", engine=engine,
            **self._server.settings,
        )  # fmt: skip
        self._memory = memoryview(bytearray(SLOT_BYTES))
        self._slot = Slot(0, self._memory)
        self._log = Log()
        self.begin: Any = choice.choose(engine).begin
        self._lines = Lines(self.begin.append)
        writer: Any = self._lines
        access = None
        if self._server.access_log:
            chosen = wanted(settings.access_skip, Choice(settings.access_lines))  # how slow it is is no engine's doing
            make = AccessLog if chosen is None else partial(SelectiveAccessLog, chosen)
            access = make("-", self._server.access_log, writer, faster=self.begin.access_lines)
        application: Any = self._application
        if self._server.routed:
            application = Routed(application, [self._find], lambda environ, _frame: f"by {environ['REQUEST_METHOD']}")
        self.site = Site(settings, self._slot, self._log, access, application, ERRORS)
        self.site.closing = not settings.keep_alive_timeout
        self._seconds = 0
        self.tick()
        ids = self.site.request_ids
        ids.seed, ids.prefix = IDS, f"{IDS:016x}-"
        self.calls: Claim[Any] | None = Claim() if settings.threads > 1 else None
        self.threads = [
            ThreadAccount(number, self._slot, IDS, None if number == 1 else self.calls) for number in range(THREADS)
        ]
        self.plays: dict[str, Play] = {}  # by the name that their environ bears
        self.conversations: dict[int, Any] = {}
        self.epoll = select.epoll()
        self.turn = self.begin.turn(self.epoll, self.conversations, self._unusual, self._go_on, NEVER_LONG_NS)
        self.turn.holds = settings.pool == "epoll"  # others have no turns
        self.hold(Holding.ALL)

    @property
    def open(self) -> int:
        """How many are open, as the slot tells."""
        return self._slot.cells[scoreboard.CONNECTIONS]

    @open.setter
    def open(self, connections: int) -> None:
        self._slot.cells[scoreboard.CONNECTIONS] = connections

    def hold(self, holding: Holding) -> None:
        """From now on, where an engine holds anything."""
        # What a client sends ahead is the turn's or the pool's, which must be the same.
        self.turn.ends_ns = 0 if holding is Holding.NOTHING else NEVER_LONG_NS
        if held := getattr(self.turn, "held", None):
            held.tiny_ns = -1
            held.short_ns, held.old_ns, held.late_ns = holding.value

    def take(self, seen: Seen, *, closely: bool = False) -> None:
        """What has been logged and counted since the last time; `closely`: also what takes long to look at."""
        seen.log, self._log.lines = sorted(self._log.lines, key=_is_told_late), []
        seen.access = [_TIMES.sub(b"", line) for line in self._lines.take()]
        self._look(seen, closely)

    def tick(self) -> None:
        """A second passes, on the clock of the Date field: it has a time of its own here."""
        self._seconds = (self._seconds + 1) % DATES
        date = b"Date: Thu, 01 Jan 1970 00:00:0%d GMT" % self._seconds
        fields = self.site.server_fields
        fields.lines = tuple(DATE.sub(date, line) for line in fields.lines)

    def forget_lines(self) -> None:
        """What has been logged, which nobody wants."""
        self._log.lines.clear()
        self._lines.take()

    def forget_steps(self) -> None:
        """Whether the last thing that a thread did was to begin an answer, or to go on with one."""
        for thread in self.threads:
            self._slot.cells[thread.cell + scoreboard.T_NUMBER] = 0

    def look(self) -> Seen:
        """At what all scripts so far have left."""
        seen = Seen()
        self._look(seen, closely=True)
        return seen

    def _application(self, environ: Environ, start_response: Any) -> Any:
        return self.plays[environ[PLAY]].call(environ, start_response)

    def _find(self, environ: Environ, frame: FrameType | None) -> Any:
        """The route of a request, in one of the ways in which a framework's may be found, by its path."""
        path = environ["PATH_INFO"]
        begins = "" if frame is None else frame.f_code.co_name
        self.plays[environ[PLAY]].is_asked(begins)
        found = (
            path[:3], None, Text(path[:2]), path[:2] * 200, f"{path[:2]} {begins}", len(path), path[:1], 7 // len(path),
        )  # fmt: skip
        return found[zlib.crc32(path.encode()) % len(found)]

    def _unusual(self, thread: ThreadAccount, fd: int, mask: int, now: int) -> int:
        return self._play_of(self.conversations[fd]).unusual(mask, now)

    def _go_on(self, thread: ThreadAccount, conversation: Any, outcome: Any, now: int) -> int:
        return self._play_of(conversation).went_on(outcome, now)

    def _play_of(self, conversation: Any) -> Play:
        return next(play for play in self.plays.values() if play.conversation is conversation)

    def _look(self, seen: Seen, closely: bool) -> None:
        cells = self._slot.cells
        seen.cells = cells[: scoreboard.COUNTERS.stop].tolist()
        waited = seen.cells[QUEUE]
        seen.cells[QUEUE] = [sum(waited)]
        seen.cells[scoreboard.QUEUE_SUM] = 0
        for thread in self.threads:
            at = thread.cell
            cells_of_it = [cells[at + scoreboard.T_STATE], cells[at + scoreboard.T_NUMBER]]
            text = bytes(self._memory[(at + scoreboard.T_TEXT) * 8 : (at + scoreboard.THREAD_CELLS) * 8])
            seen.texts.append(b"%d %d %b" % (*cells_of_it, text))
        if closely:
            for at in range(SERIES_AT, SERIES_AT + SERIES * SERIES_CELLS, SERIES_CELLS):
                if not cells[at]:
                    break
                count = sum(cells[at + scoreboard.S_BUCKETS : at + SERIES_CELLS])
                seen.series.append([cells[at], cells[at + scoreboard.S_SENT], count])
            seen.told += self._slot.route_names()
            seen.told += [len(self.site.answers), len(self.calls or ())]
