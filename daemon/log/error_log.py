"""The error log: what happened, for operators; one line an entry, in text, for the journal, or as JSON.

Used by master, launcher and workers alike, from any thread and from signal handlers; standard library only.
Promises: a call never blocks (see `Writer`) and never raises for what it is given; what comes from outside
cannot forge a line: control characters are escaped, the further lines of a message are indented or in a JSON
string.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Literal

from miniwsgi.codes import Code

from ..unpatched import RLock, os, time
from .fork_reset import start_afresh_in_children
from .journal import PRIORITIES, JournalWriter, entry, open_journal
from .ring import Ring
from .writer import Writer, lost_message

__all__ = ["LEVELS", "ErrorLog", "Writer", "detect_journal", "iso_timestamp", "open_writer"]

LEVELS = ("debug", "info", "warning", "error")
Trouble = Literal["warning", "error"]  # levels of what is not as it should be, which has a code
_NUMBER = {level: number for number, level in enumerate(LEVELS)}
LEVEL_OF_PRIORITY = ("error", "error", "error", "error", "warning", "info", "info", "debug")  # by number: syslog(3)
FORMATS = ("text", "json")

LIMIT_LINES = 5  # of one key …
LIMIT_SECONDS = 10.0  # … in this time; the rest is counted and told in one line
LIMIT_KEYS = 256
CONTINUATION = "    "

# All that moves a terminal's cursor or ends a line, but tab and newline: C0, DEL, C1, Unicode's separators; and what
# shows a line in another order than it has (Unicode's explicit directional formatting, UAX #9).
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_BARE = re.compile(r'[^\s"=\\\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+')


def detect_journal(fd: int = 2, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the descriptor leads to the journal: $JOURNAL_STREAM is its device:inode (systemd.exec(5))."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def open_writer(file: str, *, journal: bool, ring: Ring | None = None) -> Writer:
    """For the error log of a process that runs the application: each entry is out at once, or in `ring`.

    `file` is `log.file`, "-" for standard error. Raises OSError when it cannot be opened.
    """
    if file != "-":
        return Writer(file, at_once=True, ring=ring)
    return open_journal(at_once=True, ring=ring) if journal else Writer(2, at_once=True, ring=ring)


_last: tuple[int, str] = (-1, "")  # a millisecond and its text


def iso_timestamp(now: float) -> str:
    """Seconds since the epoch as 2026-11-20T08:32:36.123Z (RFC 3339)."""
    global _last  # noqa: PLW0603 - one tuple, replaced whole: a race costs one formatting
    cached = _last
    millisecond = int(now * 1000)
    if cached[0] != millisecond:
        second = millisecond // 1000
        text = (
            cached[1][:-4] if cached[0] // 1000 == second else time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        )
        cached = _last = (millisecond, f"{text}{millisecond % 1000:03d}Z")
    return cached[1]


class _Burst:
    """What one key of `ErrorLog.limited` has seen since `started`."""

    __slots__ = ("code", "level", "lines", "message", "started", "suppressed")

    def __init__(self, started: float, level: str, code: Code | None, message: str) -> None:
        self.started = started
        self.level = level
        self.code = code
        self.message = message
        self.lines = self.suppressed = 0


class ErrorLog:
    """Entries of four levels to a `Writer`, standard error by default.

    `source` is the process ("master", "launcher", "worker"), with `slot` shown as "worker/3". `journal`
    replaces the time by a priority prefix. `counts` has the number of entries by level, limited ones
    included. Warnings and errors have a `Code`, which stands before the message; what the application or
    another program says is not ours, and has none: see `said`, `passed_on`. Raises ValueError for an unknown
    level or format.
    """

    def __init__(
        self,
        level: str = "info",
        format: str = "text",
        journal: bool = False,
        source: str = "master",
        slot: int | None = None,
        writer: Writer | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"log format {format!r}: expected one of {', '.join(FORMATS)}")
        self.level = level
        self.format = format
        self.journal = journal
        self.source = source
        self.slot = slot
        if writer is None:
            writer = open_journal() if journal else Writer(2)
        self.writer = writer
        if self.writer.notice is None:
            self.writer.notice = self._lost_line
        self._clock = clock
        self._now = now
        self._after_fork()
        start_afresh_in_children(self)

    def __repr__(self) -> str:
        return f"<ErrorLog {self._who()} level={self.level} {self.format} {self.counts}>"

    def _after_fork(self) -> None:
        self.counts = dict.fromkeys(LEVELS, 0)
        self._bursts: dict[str, _Burst] = {}
        self._lock = RLock()  # re-entrant: signal handlers log too

    @property
    def level(self) -> str:
        """The lowest level that is written. Setting it raises ValueError for an unknown one."""
        return LEVELS[self._threshold]

    @level.setter
    def level(self, level: str) -> None:
        if level not in _NUMBER:
            raise ValueError(f"log level {level!r}: expected one of {', '.join(LEVELS)}")
        self._threshold = _NUMBER[level]

    # A message may have several lines (a traceback); fields are shown as key=value.

    def debug(self, message: str, /, **fields: object) -> None:
        self._log("debug", None, message, fields)

    def info(self, message: str, /, **fields: object) -> None:
        self._log("info", None, message, fields)

    def warning(self, code: Code, message: str, /, **fields: object) -> None:
        self._log("warning", code, message, fields)

    def error(self, code: Code, message: str, /, **fields: object) -> None:
        self._log("error", code, message, fields)

    def trouble(self, level: Trouble, code: Code, message: str, /, **fields: object) -> None:
        """A warning or an error, where data decide which."""
        self._log(level, code, message, fields)

    def said(self, level: str, message: str, /, code: Code | None = None, **fields: object) -> None:
        """A line of the application's own; or of another process of ours, with its code."""
        self._log(level, code, message, fields)

    def passed_on(self, priority: int, message: str) -> None:
        """An entry of another program's, which has said how important it is: 0 to 7, as of syslog(3)."""
        self._log(LEVEL_OF_PRIORITY[priority], None, message, {}, str(priority))

    def limited(self, key: str, level: Trouble, code: Code, message: str, /, **fields: object) -> None:
        """An entry of a class that may be noisy: 5 of a key in 10 s, then one line "…and 123 more: message".

        That line comes with the first entry of any kind after the 10 s, with `flush`, or with `sweep`.
        """
        self._limited(key, level, code, message, fields)

    def limited_info(self, key: str, message: str, /, **fields: object) -> None:
        """As `limited`, of what is as it should be."""
        self._limited(key, "info", None, message, fields)

    def _log(self, level: str, code: Code | None, message: str, fields: Mapping[str, object], number: str = "") -> None:
        if _NUMBER[level] < self._threshold:
            return
        with self._lock:
            self.counts[level] += 1
        if self._bursts:
            self.sweep()
        self.writer.put(self._entry(level, code, message, fields, number))

    def _limited(self, key: str, level: str, code: Code | None, message: str, fields: Mapping[str, object]) -> None:
        if _NUMBER[level] < self._threshold:
            return
        self.sweep()
        with self._lock:
            if key not in self._bursts and len(self._bursts) >= LIMIT_KEYS:
                key = ""  # too many kinds at once: they share one
            burst = self._bursts.get(key)
            if burst is None:
                burst = self._bursts[key] = _Burst(self._clock(), level, code, message)
            if burst.lines >= LIMIT_LINES:
                burst.suppressed += 1
                self.counts[level] += 1
                return
            burst.lines += 1
        self._log(level, code, message, fields)

    def sweep(self, everything: bool = False) -> None:
        """Tell of entries that `limited` held back, once their time is over. Cheap enough for each second."""
        if not self._bursts:
            return
        over = self._clock() - LIMIT_SECONDS
        with self._lock:
            ended = [key for key, burst in self._bursts.items() if everything or burst.started <= over]
            bursts = [self._bursts.pop(key) for key in ended]
        for burst in bursts:
            if burst.suppressed:
                message = f"…and {burst.suppressed} more: {burst.message}"
                self.writer.put(self._entry(burst.level, burst.code, message, {}))

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until everything is written; whether it is."""
        self.sweep(everything=True)
        return self.writer.flush(timeout)

    # --- how an entry looks ---------------------------------------------------------------------------------

    def _who(self) -> str:
        return self.source if self.slot is None else f"{self.source}/{self.slot}"

    def _lost_line(self, lines: int, reason: str) -> bytes:
        return self._entry("warning", Code.LINES_LOST, lost_message(lines, reason), {})

    def _entry(
        self, level: str, code: Code | None, message: object, fields: Mapping[str, object], number: str = ""
    ) -> bytes:
        text = _text(message)
        number = number or PRIORITIES[level]
        if isinstance(self.writer, JournalWriter):
            return self._journal_entry(level, number, code, text, fields)
        priority = f"<{number}>" if self.journal else ""  # sd-daemon(3)
        if self.format == "json":
            lines = [priority + self._json(level, code, text, fields)]
        else:
            lines = _CONTROL.sub(_escape, text.replace("\r\n", "\n").rstrip("\n")).split("\n")
            lines[0] += "".join([f" {key}={_field(value)}" for key, value in fields.items()])
            who = self._who()
            stamp = iso_timestamp(self._now())
            head = f"{priority}{who}: " if self.journal else f"{stamp} {level:<7} {who:<9} "
            if code is not None:
                head += f"{code} "
            lines = [head + lines[0]] + [priority + CONTINUATION + line for line in lines[1:]]
        return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")

    def _journal_entry(
        self, level: str, number: str, code: Code | None, text: str, fields: Mapping[str, object]
    ) -> bytes:
        named = {key: _text(value) for key, value in fields.items() if value is not None}
        if self.format == "json":
            return entry(number, self._json(level, code, text, fields), self.source, self.slot, named, code)
        shown = _CONTROL.sub(_escape, text.replace("\r\n", "\n").rstrip("\n"))
        first, newline, rest = shown.partition("\n")
        first += "".join([f" {key}={_field(value)}" for key, value in fields.items()])
        shown = f"{self._who()}: {'' if code is None else f'{code} '}{first}{newline}{rest}"
        return entry(number, shown, self.source, self.slot, named, code)

    def _json(self, level: str, code: Code | None, text: str, fields: Mapping[str, object]) -> str:
        entry: dict[str, object] = {"ts": iso_timestamp(self._now()), "level": level, "source": self.source}
        if self.slot is not None:
            entry["slot"] = self.slot
        entry["pid"] = os.getpid()
        if code is not None:
            entry["code"] = str(code)
        entry["message"] = text
        if fields:
            entry["fields"] = {key: _json_value(value) for key, value in fields.items()}
        return json.dumps(entry)


def _text(value: object) -> str:
    if type(value) is str:
        return value
    try:
        return str(value)
    except Exception:  # a log must not fail for what it is given
        return f"<unprintable {type(value).__name__}>"


def _field(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = _text(value)
    if _BARE.fullmatch(text):
        return text
    return _CONTROL.sub(_escape, json.dumps(text, ensure_ascii=False))


def _json_value(value: object) -> object:
    if value is None or type(value) in (str, bool, int) or (type(value) is float and math.isfinite(value)):
        return value
    return _text(value)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
